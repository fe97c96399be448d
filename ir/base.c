/* Contexts, diagnostics, arenas, growable text, numbers as text, whole files. */
#define _DEFAULT_SOURCE /* madvise */
#include "ir/base.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/type.h"

const ErrInfo err_info[ERR_COUNT] = {
#define E(code, exit, what) [E##code] = {"E" #code, exit, what},
#include "ir/errors.def"
#undef E
};

/* Context */

_Noreturn void ctx_fatal(Ctx *ctx) {
  if (ctx && ctx->fatal) ctx->fatal(ctx, ctx->fatal_user);
  else fputs("popshift: error E0401: more memory than the limit (--limit memory=N)\n", stderr);
  exit(EXIT_LIMIT);
}

Ctx *ctx_new(void) {
  Ctx *ctx = calloc(1, sizeof *ctx);
  if (!ctx) ctx_fatal(NULL);
  ctx->diag_tail = &ctx->diags;
  ctx->limits = (Limits){
#define LIMIT(key, deflt, what) .key = deflt,
#include "ir/limits.def"
#undef LIMIT
  };
  ctx->own = arena_new(ctx);
  return ctx;
}

void ctx_free(Ctx *ctx) {
  if (!ctx) return;
  while (ctx->tensors) tensor_free(ctx->tensors);
  while (ctx->arenas) arena_free(ctx->arenas);
  free(ctx);
}

/* Edit distance with unit costs, two letters exchanged being one; words longer than the table count as far. */
static int distance(const char *a, const char *b) {
  enum { MAX = 64 };
  size_t na = strlen(a), nb = strlen(b);
  if (na >= MAX || nb >= MAX) return MAX;
  int row[3][MAX + 1]; /* of letters i - 2, i - 1, i of a */
  for (size_t i = 0; i <= na; i++) {
    int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
    now[0] = (int)i;
    for (size_t j = 1; j <= nb; j++) {
      if (!i) { now[j] = (int)j; continue; }
      int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]), cost = last[j - 1] + (x != y);
      if (last[j] + 1 < cost) cost = last[j] + 1;
      if (now[j - 1] + 1 < cost) cost = now[j - 1] + 1;
      if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < cost) cost = before[j - 2] + 1;
      now[j] = cost;
    }
  }
  return row[na % 3][nb];
}

static const char *closest(const char *word, const char *const *names, int n, int *dist) {
  const char *best = NULL;
  for (int i = 0; i < n; i++) {
    int d = distance(word, names[i]);
    if (!best || d < *dist) { best = names[i]; *dist = d; }
  }
  return best;
}

const char *nearest(const char *word, const char *const *names, int n) {
  int d = 0, len = (int)strlen(word);
  const char *best = closest(word, names, n, &d);
  return best && d <= (len < 6 ? 1 : len / 3) ? best : NULL;
}

const char *limit_set(Ctx *ctx, const char *key, int64_t value) {
  static const char *const keys[] = {
#define LIMIT(k, deflt, what) #k,
#include "ir/limits.def"
#undef LIMIT
  };
  int64_t *const fields[] = {
#define LIMIT(k, deflt, what) &ctx->limits.k,
#include "ir/limits.def"
#undef LIMIT
  };
  int n = (int)(sizeof keys / sizeof *keys), d = 0;
  for (int i = 0; i < n; i++)
    if (!strcmp(key, keys[i])) { *fields[i] = value; return NULL; }
  return closest(key, keys, n, &d);
}

/* Diagnostics */

static const char *keep(Ctx *ctx, const char *s) { return s ? arena_strdup(ctx->own, s) : NULL; }

static char *arena_vprintf(Arena *a, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  assert(n >= 0);
  char *p = arena_alloc(a, (size_t)n + 1);
  vsnprintf(p, (size_t)n + 1, fmt, again);
  va_end(again);
  return p;
}

static void diag_add(Ctx *ctx, ErrCode code, bool is_error, const Loc *loc, const char *fmt, va_list ap) {
  Diag *d = NEW(ctx->own, Diag);
  *d = (Diag){.code = code, .is_error = is_error, .loc = loc ? *loc : LOC_NONE};
  d->loc.file = keep(ctx, d->loc.file);
  d->loc.name = keep(ctx, d->loc.name);
  d->loc.op = keep(ctx, d->loc.op);
  d->text = arena_vprintf(ctx->own, fmt, ap);
  *ctx->diag_tail = d;
  ctx->diag_tail = &d->next;
  ctx->n_errors += is_error;
}

bool diag(Ctx *ctx, ErrCode code, const Loc *loc, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  diag_add(ctx, code, true, loc, fmt, ap);
  va_end(ap);
  return false;
}

void diag_warn(Ctx *ctx, ErrCode code, const Loc *loc, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  diag_add(ctx, code, false, loc, fmt, ap);
  va_end(ap);
}

static Diag *newest(Ctx *ctx) {
  assert(ctx->diags);
  return (Diag *)((char *)ctx->diag_tail - offsetof(Diag, next));
}

void diag_note(Ctx *ctx, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  newest(ctx)->note = arena_vprintf(ctx->own, fmt, ap);
  va_end(ap);
}

void diag_hint(Ctx *ctx, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  newest(ctx)->hint = arena_vprintf(ctx->own, fmt, ap);
  va_end(ap);
}

/* At most `max` bytes of text, outside printable ASCII as \n, \t or \xNN; quotes and backslashes too when quoting. */
static void put_escaped(Str *s, const char *text, size_t max, bool quoting) {
  size_t i = 0;
  for (; text[i] && i < max; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '\n') str_put(s, "\\n");
    else if (c == '\t') str_put(s, "\\t");
    else if (c < 32 || c > 126) str_printf(s, "\\x%02x", c);
    else if (quoting && (c == '"' || c == '\\')) str_printf(s, "\\%c", c);
    else str_putn(s, text + i, 1);
  }
  if (text[i]) str_put(s, "...");
}

static void print_loc(Str *s, const Loc *l) {
  enum { NAME = 120 };
  if (l->file) {
    put_escaped(s, l->file, 4096, false);
    if (l->line >= 0) str_printf(s, ":%d", l->line);
    str_put(s, ": ");
  }
  if (l->node < 0 && !l->name && !l->op) return;
  str_put(s, "node");
  if (l->node >= 0) str_printf(s, " %d", l->node);
  if (l->name && *l->name) {
    str_put(s, " \"");
    put_escaped(s, l->name, NAME, true);
    str_put(s, "\"");
  }
  if (l->op) {
    str_put(s, " (");
    put_escaped(s, l->op, NAME, false);
    str_put(s, ")");
  }
  str_put(s, ": ");
}

void diag_print(const Ctx *ctx, FILE *f, bool colour) {
  enum { TEXT = 2000 };
  for (const Diag *d = ctx->diags; d; d = d->next) {
    Str s = {0};
    print_loc(&s, &d->loc);
    const char *what = d->is_error ? "error" : d->code == E0801 ? "remark" : "warning";
    const char *on = colour ? (d->is_error ? "\033[1;31m" : "\033[1;35m") : "", *off = colour ? "\033[0m" : "";
    str_printf(&s, "%s%s %s:%s ", on, what, err_info[d->code].code, off);
    put_escaped(&s, d->text, TEXT, false);
    str_put(&s, "\n");
    const char *const more[2] = {d->note, d->hint};
    for (int i = 0; i < 2; i++) {
      if (!more[i]) continue;
      str_put(&s, i ? "  hint: " : "  note: ");
      put_escaped(&s, more[i], TEXT, false);
      str_put(&s, "\n");
    }
    fwrite(s.p, 1, s.n, f);
    str_free(&s);
  }
}

DiagMark diag_mark(const Ctx *ctx) { return (DiagMark){ctx->diag_tail, ctx->n_errors}; }

void diag_drop(Ctx *ctx, DiagMark m) {
  *m.tail = NULL;
  ctx->diag_tail = m.tail;
  ctx->n_errors = m.errors;
}

int diag_exit(const Ctx *ctx) {
  for (const Diag *d = ctx->diags; d; d = d->next)
    if (d->is_error) return err_info[d->code].exit;
  return EXIT_OK;
}

/* Arena: blocks of growing size; in hostile builds one block per allocation, so that the sanitizer sees its bounds. */

typedef struct ArenaBlock { struct ArenaBlock *next; size_t pad; } ArenaBlock; /* 16 bytes, then the memory */

struct Arena {
  Ctx *ctx;
  Arena *next, **link;
  ArenaBlock *blocks;
  char *at, *end;         /* free part of the newest ordinary block */
  size_t next_size;
  int64_t bytes;
};

Arena *arena_new(Ctx *ctx) {
  Arena *a = calloc(1, sizeof *a);
  if (!a) ctx_fatal(ctx);
  a->ctx = ctx;
  a->next_size = 4096;
  a->next = ctx->arenas;
  if (a->next) a->next->link = &a->next;
  a->link = &ctx->arenas;
  ctx->arenas = a;
  return a;
}

void arena_free(Arena *a) {
  if (!a) return;
  for (ArenaBlock *b = a->blocks, *next; b; b = next) {
    next = b->next;
    free(b);
  }
  a->ctx->memory_used -= a->bytes;
  *a->link = a->next;
  if (a->next) a->next->link = a->link;
  free(a);
}

/* Large blocks in large pages, where the system has them: what trains or evaluates walks through tens of megabytes again and again. */
static void want_large_pages(char *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
  enum { PAGE = 1 << 21 };
  size_t skip = (PAGE - (uintptr_t)p % PAGE) % PAGE;
  if (bytes >= skip + 2 * PAGE) (void)madvise(p + skip, (bytes - skip) / PAGE * PAGE, MADV_HUGEPAGE); /* a wish: nothing depends on it */
#else
  (void)p, (void)bytes;
#endif
}

static void *block_new(Arena *a, size_t bytes) {
  size_t total = bytes + sizeof(ArenaBlock);
  int64_t limit = a->ctx->limits.memory, used = a->ctx->memory_used;
  if (total < bytes || limit < used || total > (uint64_t)(limit - used)) ctx_fatal(a->ctx);
  ArenaBlock *b = calloc(1, total);
  if (!b) ctx_fatal(a->ctx);
  want_large_pages((char *)b, total);
  b->next = a->blocks;
  a->blocks = b;
  a->bytes += (int64_t)total;
  a->ctx->memory_used += (int64_t)total;
  return b + 1;
}

void *arena_alloc(Arena *a, size_t bytes) {
#ifdef POPSHIFT_HOSTILE
  return block_new(a, bytes ? bytes : 1);
#else
  enum { LARGEST = 1 << 20 };
  if (bytes > SIZE_MAX - 64) ctx_fatal(a->ctx);
  bytes = bytes ? (bytes + 15) & ~(size_t)15 : 16;
  if (bytes <= (size_t)(a->end - a->at)) {
    void *p = a->at;
    a->at += bytes;
    return p;
  }
  if (bytes >= a->next_size / 4) return block_new(a, bytes);
  a->at = block_new(a, a->next_size);
  a->end = a->at + a->next_size;
  if (a->next_size < LARGEST) a->next_size *= 2;
  void *p = a->at;
  a->at += bytes;
  return p;
#endif
}

void *arena_aligned(Arena *a, size_t bytes) {
  char *p = arena_alloc(a, bytes + 63);
  return p + (64 - (uintptr_t)p % 64) % 64;
}

void *arena_grow(Arena *a, void *old, size_t old_bytes, size_t new_bytes) {
  void *p = arena_alloc(a, new_bytes);
  if (old_bytes) memcpy(p, old, old_bytes < new_bytes ? old_bytes : new_bytes);
  return p;
}

char *arena_strndup(Arena *a, const char *s, size_t n) {
  char *p = arena_alloc(a, n + 1);
  memcpy(p, s, n);
  return p;
}

char *arena_strdup(Arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

char *arena_printf(Arena *a, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *p = arena_vprintf(a, fmt, ap);
  va_end(ap);
  return p;
}

/* Text */

static void str_room(Str *s, size_t n) {
  if (n > SIZE_MAX / 4 || s->n > SIZE_MAX / 4) ctx_fatal(s->ctx);
  if (s->n + n + 1 <= s->cap) return;
  size_t cap = s->cap ? s->cap : 64;
  while (cap < s->n + n + 1) cap *= 2;
  char *p = realloc(s->p, cap);
  if (!p) ctx_fatal(s->ctx);
  s->p = p;
  s->cap = cap;
}

void str_putn(Str *s, const char *bytes, size_t n) {
  str_room(s, n);
  if (n) memcpy(s->p + s->n, bytes, n);
  s->n += n;
  s->p[s->n] = 0;
}

void str_put(Str *s, const char *text) { str_putn(s, text, strlen(text)); }

void str_printf(Str *s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  assert(n >= 0);
  str_room(s, (size_t)n);
  va_start(ap, fmt);
  vsnprintf(s->p + s->n, (size_t)n + 1, fmt, ap);
  va_end(ap);
  s->n += (size_t)n;
}

void str_free(Str *s) {
  free(s->p);
  s->p = NULL;
  s->n = s->cap = 0;
}

void str_quoted(Str *s, const char *text) {
  str_put(s, "\"");
  put_escaped(s, text, SIZE_MAX, true);
  str_put(s, "\"");
}

void str_html(Str *s, const char *text) {
  for (const char *p = text; *p; p++) {
    unsigned char ch = (unsigned char)*p;
    if (ch == '<') str_put(s, "&lt;");
    else if (ch == '>') str_put(s, "&gt;");
    else if (ch == '&') str_put(s, "&amp;");
    else if (ch == '"') str_put(s, "&quot;");
    else if (ch == '\'') str_put(s, "&#39;");
    else if (ch == '\n' || (ch >= 32 && ch < 127)) str_putn(s, p, 1);
    else str_put(s, "?");
  }
}

/* Puts what printf made of a number, with the locale's decimal separator as '.'. */
static void put_number(Str *s, const char *text) {
  bool in_separator = false;
  for (; *text; text++) {
    bool plain = isdigit((unsigned char)*text) || strchr("+-e", *text);
    if (plain) str_putn(s, text, 1);
    else if (!in_separator) str_put(s, ".");
    in_separator = !plain;
  }
}

/* Finds the fewest significant digits that read back, then writes integers of up to 15 digits without an exponent. */
static void put_shortest(Str *s, double v, bool single) {
  if (isnan(v)) { str_put(s, "nan"); return; }
  if (isinf(v)) { str_put(s, v < 0 ? "-inf" : "inf"); return; }
  char text[64];
  int digits = 1, most = single ? 9 : 17;
  for (; digits < most; digits++) {
    snprintf(text, sizeof text, "%.*e", digits - 1, v);
    if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v) break;
  }
  snprintf(text, sizeof text, "%.*e", digits - 1, v);
  int exponent = atoi(strchr(text, 'e') + 1);
  snprintf(text, sizeof text, "%.*g", exponent >= digits && exponent < 15 ? exponent + 1 : digits, v);
  put_number(s, text);
}

void str_f64(Str *s, double v) { put_shortest(s, v, false); }
void str_f32(Str *s, float v) { put_shortest(s, v, true); }

/* Copies a decimal number to text with the locale's separator; false where it is not one, or too long. */
static bool to_locale(const char *from, size_t n, char *text, size_t cap) {
  const char *point = localeconv()->decimal_point;
  size_t i = 0, at = 0, np = strlen(point);
  int digits = 0, points = 0;
  if (n && from[0] == '-') text[at++] = from[i++];
  for (; i < n && at + np + 1 < cap; i++) {
    if (isdigit((unsigned char)from[i])) { text[at++] = from[i]; digits++; }
    else if (from[i] == '.' && !points++) { memcpy(text + at, point, np); at += np; }
    else break;
  }
  if (i < n && digits && (from[i] == 'e' || from[i] == 'E') && at + 2 < cap) {
    text[at++] = from[i++];
    if (i < n && (from[i] == '+' || from[i] == '-')) text[at++] = from[i++];
    size_t first = i;
    for (; i < n && isdigit((unsigned char)from[i]) && at + 1 < cap; i++) text[at++] = from[i];
    if (i == first) return false;
  }
  text[at] = 0;
  return i == n && digits;
}

static bool parse_special(const char *text, size_t n, double *v) {
  if (n == 3 && !memcmp(text, "nan", 3)) *v = NAN;
  else if (n == 3 && !memcmp(text, "inf", 3)) *v = INFINITY;
  else if (n == 4 && !memcmp(text, "-inf", 4)) *v = -INFINITY;
  else return false;
  return true;
}

bool parse_f64(const char *text, size_t n, double *v) {
  char buf[512];
  if (parse_special(text, n, v)) return true;
  if (!to_locale(text, n, buf, sizeof buf)) return false;
  *v = strtod(buf, NULL);
  return true;
}

bool parse_f32(const char *text, size_t n, float *v) {
  char buf[512];
  double special;
  if (parse_special(text, n, &special)) { *v = (float)special; return true; }
  if (!to_locale(text, n, buf, sizeof buf)) return false;
  *v = strtof(buf, NULL);
  return true;
}

bool parse_i64(const char *text, size_t n, int64_t *v) {
  bool negative = n && text[0] == '-';
  if (n == negative) return false;
  int64_t r = 0;
  for (size_t i = negative; i < n; i++) {
    if (!isdigit((unsigned char)text[i])) return false;
    int digit = text[i] - '0';
    if (!mul_ok(r, 10, &r) || !add_ok(r, negative ? -digit : digit, &r)) return false;
  }
  *v = r;
  return true;
}

/* Files */

double clock_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool file_read(Ctx *ctx, const char *path, char **bytes, size_t *n) {
  Loc loc = LOC_NONE;
  loc.file = path;
  FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
  if (!f) return diag(ctx, E0501, &loc, "cannot open: %s", strerror(errno));
  size_t cap = 1 << 16, have = 0, limit = ctx->limits.file < 0 ? 0 : (size_t)ctx->limits.file;
  struct stat st;
  if (!fstat(fileno(f), &st) && S_ISREG(st.st_mode) && st.st_size >= 0 && (uint64_t)st.st_size < limit)
    cap = (size_t)st.st_size + 2;
  char *p = malloc(cap);
  bool too_long = false;
  int error = 0;
  while (p) {
    size_t got = fread(p + have, 1, cap - 1 - have, f);
    have += got;
    too_long = have > limit;
    if (!got && ferror(f)) error = errno ? errno : EIO;
    if (!got || too_long) break;
    if (have == cap - 1) {
      char *more = realloc(p, cap *= 2);
      if (!more) free(p);
      p = more;
    }
  }
  if (f != stdin) fclose(f);
  if (!p) return diag(ctx, E0401, &loc, "no memory for the file");
  if (error || too_long) {
    free(p);
    return error ? diag(ctx, E0501, &loc, "cannot read: %s", strerror(error))
                 : diag(ctx, E0402, &loc, "file is longer than %zu bytes (--limit file=N)", limit);
  }
  p[have] = 0;
  *bytes = p;
  *n = have;
  return true;
}

static bool write_all(int fd, const char *bytes, size_t n) {
  while (n) {
    ssize_t done = write(fd, bytes, n < (1u << 30) ? n : (1u << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    bytes += done;
    n -= (size_t)done;
  }
  return true;
}

/* Fills and closes the new file temp, then renames it to path; temp is gone after a failure. errno, or 0. */
static int fill_and_rename(int fd, const char *temp, const char *path, const char *bytes, size_t n, bool sync) {
  int error = 0;
  errno = 0;
  if (!write_all(fd, bytes, n)) error = errno ? errno : EIO;
  if (!error && sync && fsync(fd)) error = errno;
  if (close(fd) && !error) error = errno;
  if (!error && rename(temp, path)) error = errno;
  if (error) unlink(temp);
  return error;
}

/* Writes beside `path` under a name that did not exist, then renames. errno on failure, 0 on success. */
static int write_renamed(const char *path, const char *bytes, size_t n) {
  Str temp = {0};
  int fd = -1, error;
  for (int attempt = 0; fd < 0 && attempt < 1000; attempt++) {
    temp.n = 0;
    str_printf(&temp, "%s.tmp%ld-%d", path, (long)getpid(), attempt);
    fd = open(temp.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno != EEXIST) break;
  }
  error = fd < 0 ? errno : fill_and_rename(fd, temp.p, path, bytes, n, false);
  str_free(&temp);
  return error;
}

static int sync_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char *dir = strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
  int fd = dir ? open(*dir ? dir : ".", O_RDONLY | O_CLOEXEC) : -1, error = fd < 0 || fsync(fd) ? errno : 0;
  if (fd >= 0) close(fd);
  free(dir);
  return error == EINVAL ? 0 : error; /* a file system without it */
}

bool file_replace(Ctx *ctx, const char *path, const char *bytes, size_t n) {
  Str temp = {.ctx = ctx};
  str_printf(&temp, "%s.tmp", path);
  int fd = open(temp.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  int error = fd < 0 ? errno : fill_and_rename(fd, temp.p, path, bytes, n, true);
  if (!error) error = sync_folder(path);
  str_free(&temp);
  Loc loc = LOC_NONE;
  loc.file = path;
  return !error || diag(ctx, E0502, &loc, "cannot write: %s", strerror(error));
}

bool file_write(Ctx *ctx, const char *path, const char *bytes, size_t n) {
  Loc loc = LOC_NONE;
  loc.file = path;
  if (!strcmp(path, "-")) {
    if (fwrite(bytes, 1, n, stdout) != n || fflush(stdout)) return diag(ctx, E0502, &loc, "cannot write: %s", strerror(errno));
    return true;
  }
  struct stat st;
  int error = 0;
  if (!stat(path, &st) && !S_ISREG(st.st_mode)) { /* a device or a pipe is written in place, never replaced */
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || !write_all(fd, bytes, n)) error = errno ? errno : EIO;
    if (fd >= 0 && close(fd) && !error) error = errno;
  } else {
    char *target = realpath(path, NULL); /* a link stays a link: its target is replaced */
    error = write_renamed(target ? target : path, bytes, n);
    free(target);
  }
  return error ? diag(ctx, E0502, &loc, "cannot write: %s", strerror(error)) : true;
}

Str *out_file(OutFiles *files, Arena *a, const char *name) {
  files->arena = a;
  OutFile f = {.name = arena_strdup(a, name), .text = {.ctx = a->ctx}};
  vec_push(a, files, f);
  return &files->p[files->n - 1].text;
}

void out_files_free(OutFiles *files) {
  for (int i = 0; i < files->n; i++) str_free(&files->p[i].text);
  *files = (OutFiles){0};
}
