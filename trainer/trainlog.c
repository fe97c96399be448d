#include "trainer/trainlog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char schema[] = "popshift.trainlog/1";
static const struct { const char *key; size_t at; } numbers[] = {
  {"loss", offsetof(LogRow, loss)}, {"accuracy", offsetof(LogRow, accuracy)}, {"validation_accuracy", offsetof(LogRow, validation_accuracy)},
  {"test_accuracy", offsetof(LogRow, test_accuracy)}, {"lr", offsetof(LogRow, lr)}, {"images_per_second", offsetof(LogRow, images_per_second)},
  {"seconds", offsetof(LogRow, seconds)}};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

struct TrainLog { Ctx *ctx; const char *path; int fd; };

static bool wrong_log(Ctx *ctx, ErrCode code, const char *path, int line, const char *text) {
  Loc loc = LOC_NONE;
  loc.file = path;
  loc.line = line;
  return diag(ctx, code, &loc, "%s", text);
}

/* Reading */

static bool metrics_of(Arena *arena, json_t *o, LogRow *row) {
  const char *name;
  json_t *v;
  if (!o) return true;
  if (!json_is_object(o)) return false;
  Metric *m = NEWN(arena, Metric, json_object_size(o) + 1);
  json_object_foreach(o, name, v) {
    if (!json_is_number(v)) return false;
    m[row->n_metric++] = (Metric){arena_strdup(arena, name), json_number_value(v)};
  }
  row->metric = m;
  return true;
}

static bool row_of(Arena *arena, const json_t *o, LogRow *row) {
  const char *s = json_string_value(json_object_get(o, "schema")), *kind = json_string_value(json_object_get(o, "kind"));
  const char *phase = json_string_value(json_object_get(o, "phase"));
  const json_t *index = json_object_get(o, "phase_index"), *epoch = json_object_get(o, "epoch"), *iteration = json_object_get(o, "iteration");
  if (!s || strcmp(s, schema) || !kind || !phase || !json_is_integer(index) || !json_is_integer(epoch) || !json_is_integer(iteration)) return false;
  json_int_t i = json_integer_value(index);
  if (strcmp(kind, "epoch") || i < 0 || i > INT32_MAX) return false;
  *row = (LogRow){.phase = arena_strdup(arena, phase), .phase_index = (int)i,
                  .epoch = json_integer_value(epoch), .iteration = json_integer_value(iteration)};
  for (int k = 0; k < NUMBERS; k++) {
    const json_t *v = json_object_get(o, numbers[k].key);
    if (v && !json_is_number(v)) return false;
    *(double *)((char *)row + numbers[k].at) = v ? json_number_value(v) : NAN;
  }
  return metrics_of(arena, json_object_get(o, "metrics"), row);
}

/* The line at text[*at], which moves behind it. 1: read; 0: at the end, or cut short there; -1: an error was told. */
static int next_row(Ctx *ctx, Arena *arena, const char *path, const char *text, size_t n, size_t *at, int line, LogRow *row) {
  const char *begin = text + *at, *end = *at < n ? memchr(begin, '\n', n - *at) : NULL;
  if (!end) return 0;
  json_error_t error;
  json_t *o = json_loadb(begin, (size_t)(end - begin), JSON_REJECT_DUPLICATES, &error);
  if (!o) return wrong_log(ctx, E0103, path, line, error.text), -1;
  bool ok = row_of(arena, o, row);
  json_decref(o);
  if (!ok) return wrong_log(ctx, E0103, path, line, "not a line of a training log"), -1;
  *at = (size_t)(end + 1 - text);
  return 1;
}

bool trainlog_read(Ctx *ctx, Arena *arena, const char *path, LogRow **rows, int *n) {
  char *text;
  size_t bytes, at = 0;
  VEC(LogRow) v = {0};
  LogRow row;
  int got = 1;
  if (!file_read(ctx, path, &text, &bytes)) return false;
  while ((got = next_row(ctx, arena, path, text, bytes, &at, v.n + 1, &row)) > 0) vec_push(arena, &v, row);
  free(text);
  *rows = v.p;
  *n = v.n;
  return got == 0;
}

/* Writing */

/* Rewrites the log with only the lines up to this iteration. A log that is not there is empty. */
static bool cut_back(Ctx *ctx, const char *path, int64_t iteration) {
  char *text;
  size_t n, at = 0, was = 0;
  LogRow row;
  int got, line = 1;
  if (access(path, F_OK) && errno == ENOENT) return true;
  if (!file_read(ctx, path, &text, &n)) return false;
  Str kept = {.ctx = ctx};
  Arena *scratch = arena_new(ctx);
  for (; (got = next_row(ctx, scratch, path, text, n, &at, line, &row)) > 0; was = at, line++)
    if (row.iteration <= iteration) str_putn(&kept, text + was, at - was);
  arena_free(scratch);
  free(text);
  bool ok = got == 0 && (kept.n == n || file_write(ctx, path, kept.p ? kept.p : "", kept.n));
  str_free(&kept);
  return ok;
}

TrainLog *trainlog_open(Ctx *ctx, const char *path, int64_t iteration) {
  if (iteration >= 0 && !cut_back(ctx, path, iteration)) return NULL;
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (iteration < 0 ? O_TRUNC : 0), 0666);
  if (fd < 0) {
    wrong_log(ctx, E0502, path, -1, strerror(errno));
    return NULL;
  }
  TrainLog *l = NEW(ctx->own, TrainLog);
  *l = (TrainLog){ctx, arena_strdup(ctx->own, path), fd};
  return l;
}

bool trainlog_write(TrainLog *l, const LogRow *row) {
  json_t *o = json_pack("{s:s s:s s:s s:i s:I s:I}", "schema", schema, "kind", "epoch", "phase", row->phase, "phase_index", row->phase_index,
                        "epoch", (json_int_t)row->epoch, "iteration", (json_int_t)row->iteration);
  for (int k = 0; o && k < NUMBERS; k++) {
    double v = *(const double *)((const char *)row + numbers[k].at);
    if (isfinite(v)) json_object_set_new(o, numbers[k].key, json_real(v));
  }
  json_t *metrics = row->n_metric && o ? json_object() : NULL;
  for (int k = 0; k < row->n_metric && metrics; k++) if (isfinite(row->metric[k].value)) json_object_set_new(metrics, row->metric[k].name, json_real(row->metric[k].value));
  if (metrics) json_object_set_new(o, "metrics", metrics);
  char *text = o ? json_dumps(o, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(o);
  if (!text) ctx_fatal(l->ctx);
  Str s = {.ctx = l->ctx};
  str_put(&s, text);
  str_put(&s, "\n");
  free(text);
  ssize_t done;
  do done = write(l->fd, s.p, s.n);
  while (done < 0 && errno == EINTR);
  bool ok = done == (ssize_t)s.n || wrong_log(l->ctx, E0502, l->path, -1, done < 0 ? strerror(errno) : "the disk is full");
  str_free(&s);
  return ok;
}

void trainlog_close(TrainLog *l) {
  if (l && l->fd >= 0) close(l->fd);
  if (l) l->fd = -1;
}

/* Progress */

void progress_text(Str *s, const Progress *p) {
  int width = snprintf(NULL, 0, "%" PRId64, p->steps);
  str_printf(s, "%s %" PRId64 "/%" PRId64 " [%*" PRId64 "/%" PRId64 "] loss %.4f, %.2f %%", p->phase, p->epoch, p->epochs, width, p->step, p->steps, p->loss, 100 * p->accuracy);
  if (isfinite(p->validation_accuracy)) str_printf(s, ", validation %.2f %%", 100 * p->validation_accuracy);
  if (isfinite(p->test_accuracy)) str_printf(s, ", test %.2f %%", 100 * p->test_accuracy);
  if (p->images_per_second > 0) str_printf(s, ", %.0f images/s", p->images_per_second);
  if (!(p->seconds_left >= 1 && p->seconds_left < 1e9)) return;
  int64_t left = (int64_t)p->seconds_left;
  if (left >= 3600) str_printf(s, ", %" PRId64 ":%02d:%02d left", left / 3600, (int)(left / 60 % 60), (int)(left % 60));
  else str_printf(s, ", %d:%02d left", (int)(left / 60), (int)(left % 60));
}

ProgressLine progress_new(FILE *f, bool quiet) { return (ProgressLine){.f = f, .terminal = isatty(fileno(f)), .quiet = quiet, .shown = -INFINITY}; }

static void put_line(ProgressLine *l, const Progress *p) {
  Str s = {0};
  progress_text(&s, p);
  fprintf(l->f, "%s%-*s", l->terminal ? "\r" : "", l->terminal ? l->width : 0, s.p);
  l->width = (int)s.n;
  str_free(&s);
}

void progress_show(ProgressLine *l, const Progress *p, double now) {
  if (l->quiet || !l->terminal || now - l->shown < 0.1) return;
  put_line(l, p);
  fflush(l->f);
  l->shown = now;
}

void progress_epoch(ProgressLine *l, const Progress *p) {
  if (l->quiet) return;
  put_line(l, p);
  fputc('\n', l->f);
  fflush(l->f);
  l->width = 0;
}

void progress_clear(ProgressLine *l) {
  if (!l->quiet && l->terminal && l->width) fprintf(l->f, "\r%*s\r", l->width, "");
  fflush(l->f);
  l->width = 0;
}
