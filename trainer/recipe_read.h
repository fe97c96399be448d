/* Readers of values that the schema's files share. Each reads one kind of value; reading goes on after an error, so that all are told at once. */
#ifndef POPSHIFT_TRAINER_RECIPE_READ_H
#define POPSHIFT_TRAINER_RECIPE_READ_H

#include "trainer/recipe_impl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct Decoder {
  Ctx *ctx;
  Recipe *r;
  Str path;                      /* of the value being read, as --set takes it */
  Loc loc;
} Decoder;

typedef struct Field Field;
typedef bool Reader(Decoder *, const Doc *, void *to, const Field *);
struct Field {
  const char *key;
  Reader *read;
  size_t at;                     /* offsetof in the struct */
  double lo, hi;                 /* of numbers */
  bool required;
};
#define FIELDS(...) (const Field[]){__VA_ARGS__}, (int)(sizeof (const Field[]){__VA_ARGS__} / sizeof(Field))

static inline const Loc *at(Decoder *d, const Doc *n) {
  d->loc = LOC_NONE;
  d->loc.file = n->file;
  d->loc.line = n->line;
  return &d->loc;
}

static inline const char *path(const Decoder *d) { return d->path.n ? d->path.p : "recipe"; }

static inline size_t enter(Decoder *d, const char *key, int index) {
  size_t was = d->path.n;
  if (was) str_put(&d->path, ".");
  if (key) str_put(&d->path, key);
  else str_printf(&d->path, "%d", index);
  return was;
}

static inline void leave(Decoder *d, size_t was) {
  d->path.n = was;
  d->path.p[was] = 0;
}

static inline bool is_shape(Decoder *d, const Doc *n, DocShape shape) {
  static const char *const names[] = {"a single value", "a list", "a map"};
  return n->shape == shape || diag(d->ctx, E0703, at(d, n), "%s: must be %s, not %s", path(d), names[shape], names[n->shape]);
}

static inline bool suggest(Decoder *d, const char *word, const char *const *names, int n) {
  const char *near = nearest(word, names, n);
  if (near) diag_hint(d->ctx, "did you mean '%s'?", near);
  return false;
}

/* One of n names, its index to *which. */
static inline bool one_of(Decoder *d, const Doc *n, const char *word, const char *const *names, int count, int *which) {
  *which = 0;
  for (int i = 0; i < count; i++) if (!strcmp(word, names[i])) { *which = i; return true; }
  Str all = {.ctx = d->ctx};
  for (int i = 0; i < count; i++) str_printf(&all, "%s%s", i == 0 ? "" : i == count - 1 ? " or " : ", ", names[i]);
  diag(d->ctx, E0703, at(d, n), "%s: must be %s, not '%.100s'", path(d), all.p, word);
  str_free(&all);
  return suggest(d, word, names, count);
}

static inline bool read_map(Decoder *d, const Doc *n, void *to, const Field *fields, int count) {
  if (!is_shape(d, n, SHAPE_MAP)) return false;
  bool ok = true;
  for (int i = 0; i < n->item.n; i++) {
    const DocItem *item = &n->item.p[i];
    const Field *f = fields;
    while (f < fields + count && strcmp(f->key, item->key)) f++;
    size_t was = enter(d, item->key, 0);
    if (f < fields + count) ok = f->read(d, item->v, (char *)to + f->at, f) && ok;
    else {
      const char *names[32];
      for (int k = 0; k < count; k++) names[k] = fields[k].key;
      at(d, item->v);
      d->loc.line = item->line;
      ok = diag(d->ctx, E0703, &d->loc, "%s: unknown key", path(d));
      suggest(d, item->key, names, count);
    }
    leave(d, was);
  }
  for (int k = 0; k < count; k++)
    if (fields[k].required && !doc_find(n, fields[k].key))
      ok = diag(d->ctx, E0703, at(d, n), "%s: key '%s' is missing", path(d), fields[k].key);
  return ok;
}

/* Values */

static inline bool number(Decoder *d, const Doc *n, const char *text, size_t len, double lo, double hi, double *to) {
  if (n->quoted || !parse_f64(text, len, to) || isnan(*to))
    return diag(d->ctx, E0703, at(d, n), "%s: '%.*s' is not a number", path(d), (int)(len < 100 ? len : 100), text);
  return (*to >= lo && *to <= hi) || diag(d->ctx, E0703, at(d, n), "%s: %g is not in %g .. %g", path(d), *to, lo, hi);
}

static inline bool read_f64(Decoder *d, const Doc *n, void *to, const Field *f) {
  return is_shape(d, n, SHAPE_SCALAR) && number(d, n, n->text, strlen(n->text), f->lo, f->hi, to);
}

static inline bool integer(Decoder *d, const Doc *n, const Field *f, int64_t *v) {
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  if (n->quoted || !parse_i64(n->text, strlen(n->text), v))
    return diag(d->ctx, E0703, at(d, n), "%s: '%.100s' is not an integer", path(d), n->text);
  return (*v >= f->lo && (double)*v <= f->hi) || diag(d->ctx, E0703, at(d, n), "%s: %" PRId64 " is not in %.0f .. %.0f", path(d), *v, f->lo, f->hi);
}

static inline bool read_i64(Decoder *d, const Doc *n, void *to, const Field *f) { return integer(d, n, f, to); }

static inline bool read_int(Decoder *d, const Doc *n, void *to, const Field *f) {
  int64_t v;
  if (!integer(d, n, f, &v)) return false;
  *(int *)to = (int)v;
  return true;
}

static inline bool read_seed(Decoder *d, const Doc *n, void *to, const Field *f) {
  int64_t v;
  if (!integer(d, n, f, &v)) return false;
  *(uint64_t *)to = (uint64_t)v;
  return true;
}

static inline bool read_bool(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {"false", "true"};
  int which;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->quoted ? "a text" : n->text, names, 2, &which)) return false;
  *(bool *)to = which;
  return true;
}

static inline bool read_text(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  if (!*n->text) return diag(d->ctx, E0703, at(d, n), "%s: must not be empty", path(d));
  *(const char **)to = n->text;
  return true;
}

static inline bool read_version(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)to, (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  return !strcmp(n->text, "recipe/1") || diag(d->ctx, E0703, at(d, n), "%s: '%.100s' is not recipe/1, the version that is read here", path(d), n->text);
}

/* 1 .. most numbers, each in lo .. hi. */
static inline bool read_numbers(Decoder *d, const Doc *n, double *to, int *count, int most, double lo, double hi) {
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  if (n->item.n < 1 || n->item.n > most) return diag(d->ctx, E0703, at(d, n), "%s: %d numbers, not 1 .. %d", path(d), n->item.n, most);
  bool ok = true;
  for (int i = 0; i < n->item.n; i++) {
    size_t was = enter(d, NULL, i);
    ok = read_f64(d, n->item.p[i].v, to + i, &(Field){.lo = lo, .hi = hi}) && ok;
    leave(d, was);
  }
  *count = n->item.n;
  return ok;
}

/* recipe_data.c: the map `data`. */
bool recipe_read_data(Decoder *, const Doc *, void *to, const Field *);

#endif
