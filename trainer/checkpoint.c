#include "trainer/checkpoint.h"

#include "runtime/array.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 16, MAX_ENTRIES = 1000000 };
static const char magic[MAGIC_BYTES + 1] = "popshift.ckpt 1\n";
static const struct { const char *name; size_t size; } kinds[CKPT_KINDS] = {
  [CKPT_F32] = {"f32", 4}, [CKPT_F64] = {"f64", 8}, [CKPT_I64] = {"i64", 8}, [CKPT_U8] = {"u8", 1}};

struct Ckpt {
  Ctx *ctx;
  Arena *arena;
  const char *file;              /* of one that was read */
  VEC(CkptEntry) entry;
  int *by_hash, n_hash;          /* open addressing; entry number plus 1, 0 empty; a power of two */
};

static uint64_t fnv(uint64_t h, const void *bytes, size_t n) {
  for (const unsigned char *p = bytes, *end = p + n; p < end; p++) h = (h ^ *p) * UINT64_C(0x100000001b3);
  return h;
}
#define FNV_START UINT64_C(0xcbf29ce484222325)

Ckpt *ckpt_new(Ctx *ctx) {
  Arena *a = arena_new(ctx);
  Ckpt *k = NEW(a, Ckpt);
  k->ctx = ctx;
  k->arena = a;
  return k;
}

void ckpt_free(Ckpt *k) { if (k) arena_free(k->arena); }

/* Where the name is, or where it would go. */
static int *slot(const Ckpt *k, const char *name) {
  int at = (int)(fnv(FNV_START, name, strlen(name)) & (unsigned)(k->n_hash - 1));
  while (k->by_hash[at] && strcmp(k->entry.p[k->by_hash[at] - 1].name, name)) at = (at + 1) & (k->n_hash - 1);
  return &k->by_hash[at];
}

const CkptEntry *ckpt_find(const Ckpt *k, const char *name) {
  int at = k->n_hash ? *slot(k, name) : 0;
  return at ? &k->entry.p[at - 1] : NULL;
}

/* False where the name is there already. */
static bool add(Ckpt *k, CkptEntry e) {
  if (ckpt_find(k, e.name)) return false;
  vec_push(k->arena, &k->entry, e);
  if (2 * k->entry.n > k->n_hash) {
    k->n_hash = k->n_hash ? 2 * k->n_hash : 16;
    k->by_hash = NEWN(k->arena, int, k->n_hash);
    for (int i = 0; i < k->entry.n; i++) *slot(k, k->entry.p[i].name) = i + 1;
  } else *slot(k, e.name) = k->entry.n;
  return true;
}

void ckpt_put(Ckpt *k, const char *name, CkptKind kind, int64_t count, const void *data) {
  bool fresh = add(k, (CkptEntry){arena_strdup(k->arena, name), kind, count, data});
  assert(fresh && *name && count >= 0);
  (void)fresh;
}

void ckpt_put_i64(Ckpt *k, const char *name, int64_t v) {
  int64_t *p = NEW(k->arena, int64_t);
  *p = v;
  ckpt_put(k, name, CKPT_I64, 1, p);
}

void ckpt_put_text(Ckpt *k, const char *name, const char *text) { ckpt_put(k, name, CKPT_U8, (int64_t)strlen(text), text); }

/* Writing */

static void swap(unsigned char *p, size_t n, size_t size) {
  for (size_t i = 0; i + size <= n; i += size)
    for (size_t a = i, b = i + size - 1; a < b; a++, b--) {
      unsigned char t = p[a];
      p[a] = p[b];
      p[b] = t;
    }
}

static void put_bytes(Str *s, const void *p, size_t n, size_t size) {
  str_putn(s, p, n);
  if (!rt_host_is_little()) swap((unsigned char *)s->p + s->n - n, n, size);
}

static void put_u64(Str *s, uint64_t v) { put_bytes(s, &v, 8, 8); }
static void put_u32(Str *s, uint32_t v) { put_bytes(s, &v, 4, 4); }
static void put_padding(Str *s) { str_putn(s, "\0\0\0\0\0\0\0", (8 - s->n % 8) % 8); }

bool ckpt_write(const Ckpt *k, const char *path) {
  Str s = {.ctx = k->ctx};
  str_putn(&s, magic, MAGIC_BYTES);
  put_u64(&s, (uint64_t)k->entry.n);
  for (int i = 0; i < k->entry.n; i++) {
    const CkptEntry *e = &k->entry.p[i];
    size_t name = strlen(e->name), size = kinds[e->kind].size;
    put_u32(&s, e->kind);
    put_u32(&s, (uint32_t)name);
    put_u64(&s, (uint64_t)e->count);
    str_putn(&s, e->name, name);
    put_padding(&s);
    if (e->count) put_bytes(&s, e->data, (size_t)e->count * size, size);
    put_padding(&s);
  }
  put_u64(&s, fnv(FNV_START, s.p, s.n));
  bool ok = file_replace(k->ctx, path, s.p, s.n);
  str_free(&s);
  return ok;
}

/* Reading: every length is compared with what is left before it is used. */

static uint64_t get_u64(const unsigned char *p) {
  uint64_t v = 0;
  for (int i = 8; i-- > 0;) v = v << 8 | p[i];
  return v;
}

static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

/* One entry at *p, which moves behind it; NULL, or what is wrong. */
static const char *get_entry(Ckpt *k, const unsigned char **p, size_t left) {
  if (left < 16) return "cut short";
  uint64_t kind = get_u64(*p) & 0xffffffff, name = get_u64(*p) >> 32, count = get_u64(*p + 8);
  if (kind >= CKPT_KINDS) return "an entry of unknown kind";
  if (!name || name > (uint64_t)k->ctx->limits.name) return "an entry's name is empty or longer than limits allow";
  left -= 16;
  if (padded(name) > left) return "cut short";
  left -= padded(name);
  if (count > left / kinds[kind].size || padded(count * kinds[kind].size) > left) return "cut short";
  const unsigned char *text = *p + 16, *data = text + padded(name);
  if (memchr(text, 0, name)) return "an entry's name has a zero byte in it";
  size_t bytes = count * kinds[kind].size;
  unsigned char *copy = arena_alloc(k->arena, bytes + 1); /* NUL after texts */
  if (bytes) memcpy(copy, data, bytes);
  if (!rt_host_is_little()) swap(copy, bytes, kinds[kind].size);
  *p = data + padded(bytes);
  CkptEntry e = {arena_strndup(k->arena, (const char *)text, name), (CkptKind)kind, (int64_t)count, copy};
  return add(k, e) ? NULL : "two entries of the same name";
}

static const char *get_all(Ckpt *k, const unsigned char *p, size_t n) {
  if (n < MAGIC_BYTES || memcmp(p, magic, MAGIC_BYTES)) {
    bool other = n >= 14 && !memcmp(p, magic, 14);
    return other ? "a checkpoint of another version" : "not a checkpoint";
  }
  if (n < MAGIC_BYTES + 16) return "cut short";
  const unsigned char *end = p + n - 8;
  if (get_u64(end) != fnv(FNV_START, p, n - 8)) return "cut short or damaged: the checksum differs";
  uint64_t count = get_u64(p += MAGIC_BYTES);
  if (count > MAX_ENTRIES) return "more than 1000000 entries";
  p += 8;
  for (uint64_t i = 0; i < count; i++) {
    const char *wrong = get_entry(k, &p, (size_t)(end - p));
    if (wrong) return wrong;
  }
  return p == end ? NULL : "bytes after the last entry";
}

static bool wrong_entry(const Ckpt *k, const char *name, const char *what) {
  Loc loc = LOC_NONE;
  loc.file = k->file;
  return diag(k->ctx, E0106, &loc, "'%.200s' %s", name, what);
}

Ckpt *ckpt_parse(Ctx *ctx, const char *file, const void *bytes, size_t n) {
  Ckpt *k = ckpt_new(ctx);
  Loc loc = LOC_NONE;
  loc.file = k->file = arena_strdup(k->arena, file);
  const char *wrong = get_all(k, bytes, n);
  if (!wrong) return k;
  diag(ctx, E0106, &loc, "%s", wrong);
  ckpt_free(k);
  return NULL;
}

Ckpt *ckpt_read(Ctx *ctx, const char *path) {
  char *bytes;
  size_t n;
  if (!file_read(ctx, path, &bytes, &n)) return NULL;
  Ckpt *k = ckpt_parse(ctx, path, bytes, n);
  free(bytes);
  return k;
}

const void *ckpt_get(const Ckpt *k, const char *name, CkptKind kind, int64_t count) {
  const CkptEntry *e = ckpt_find(k, name);
  char what[128];
  if (e && e->kind == kind && (count < 0 || e->count == count)) return e->data;
  if (!e) wrong_entry(k, name, "is not in the checkpoint");
  else {
    if (count < 0) snprintf(what, sizeof what, "is %s, not %s", kinds[e->kind].name, kinds[kind].name);
    else snprintf(what, sizeof what, "is %s[%" PRId64 "], not %s[%" PRId64 "]", kinds[e->kind].name, e->count, kinds[kind].name, count);
    wrong_entry(k, name, what);
  }
  return NULL;
}

bool ckpt_get_i64(const Ckpt *k, const char *name, int64_t *v) {
  const int64_t *p = ckpt_get(k, name, CKPT_I64, 1);
  if (p) *v = *p;
  return p;
}

const char *ckpt_get_text(const Ckpt *k, const char *name) {
  const char *p = ckpt_get(k, name, CKPT_U8, -1);
  if (p && k->file && strlen(p) == (size_t)ckpt_find(k, name)->count) return p;
  if (p) wrong_entry(k, name, "is not a text");
  return NULL;
}
