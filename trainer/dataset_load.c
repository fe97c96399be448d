/* Data sets from files. Whatever a file declares, the readers of runtime/ take no more memory than the limits; what is wrong has its file. */
#include "trainer/dataset.h"

#include "runtime/cifar.h"
#include "runtime/csv.h"
#include "runtime/npz.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SIDE = 65535, PIXELS = 3 * 32 * 32 };

static Loc in_file(const char *path) { return (Loc){path, -1, -1, NULL, NULL}; }

static bool data_wrong(Ctx *ctx, const char *path, const char *what) {
  Loc loc = in_file(path);
  return diag(ctx, E0104, &loc, "%s", what);
}

static uint64_t data_limit(const Ctx *ctx) { return ctx->limits.file < 0 ? 0 : (uint64_t)ctx->limits.file; }

static bool data_openable(Ctx *ctx, const char *path) {
  Loc loc = in_file(path);
  struct stat st;
  if (access(path, R_OK)) return diag(ctx, E0501, &loc, "cannot open: %s", strerror(errno));
  return stat(path, &st) || !S_ISDIR(st.st_mode) || diag(ctx, E0501, &loc, "cannot read: %s", strerror(EISDIR));
}

/* Arrays */

static double element(const RtArray *a, int64_t i) {
  const void *p = (const char *)a->data + i * a->size;
  switch (a->kind == 'f' ? 16 + a->size : a->kind == 'i' ? a->size : 32 + a->size) {
    case 16 + 2: { uint16_t v; memcpy(&v, p, 2); return (double)f16_to_f32(v); }
    case 16 + 4: { float v; memcpy(&v, p, 4); return (double)v; }
    case 16 + 8: { double v; memcpy(&v, p, 8); return v; }
    case 1: return *(const int8_t *)p;
    case 2: { int16_t v; memcpy(&v, p, 2); return v; }
    case 4: { int32_t v; memcpy(&v, p, 4); return v; }
    case 8: { int64_t v; memcpy(&v, p, 8); return (double)v; }
    case 32 + 2: { uint16_t v; memcpy(&v, p, 2); return v; }
    case 32 + 4: { uint32_t v; memcpy(&v, p, 4); return v; }
    case 32 + 8: { uint64_t v; memcpy(&v, p, 8); return (double)v; }
    default: return *(const uint8_t *)p;
  }
}

/* Memory for s->n samples of c x h x w. */
static void make_room(Arena *arena, Dataset *s, bool real) {
  size_t n = (size_t)s->n * (size_t)dataset_sample(s);
  if (real) s->real = arena_alloc(arena, n * sizeof *s->real);
  else s->image = arena_alloc(arena, n);
  if (!s->label) s->label = arena_alloc(arena, (size_t)s->n);
}

/* What one sample is: by `shape`, else by the array's dimensions. */
static bool sample_shape(Ctx *ctx, const RecipeData *d, const char *path, const RtArray *a, Dataset *s) {
  const int64_t *n = a->dims;
  int64_t c = 1, h = 1, w = 1;
  Loc loc = in_file(path);
  if (a->rank < 2 || a->rank > 4) return data_wrong(ctx, path, "images must be [N,features], [N,H,W], [N,C,H,W] or, with layout: nhwc, [N,H,W,C]");
  if (a->rank == 4) c = n[d->nhwc ? 3 : 1], h = n[d->nhwc ? 1 : 2], w = n[d->nhwc ? 2 : 3];
  else if (a->rank == 3) h = n[1], w = n[2];
  else w = n[1];
  if (!a->n) return data_wrong(ctx, path, "no images");
  if (d->shape[0]) {
    if (c * h * w != (int64_t)d->shape[0] * d->shape[1] * d->shape[2])
      return diag(ctx, E0104, &loc, "samples have %" PRId64 " numbers, the recipe's data.shape %" PRId64, c * h * w, (int64_t)d->shape[0] * d->shape[1] * d->shape[2]);
    c = d->shape[0], h = d->shape[1], w = d->shape[2];
  }
  if (c > MAX_SIDE || h > MAX_SIDE || w > MAX_SIDE) return data_wrong(ctx, path, "images of more than 65535 pixels or channels on a side");
  if (c > RECIPE_CHANNELS) {
    diag(ctx, E0104, &loc, "images of %" PRId64 " channels, at most %d can be", c, RECIPE_CHANNELS);
    if (a->rank == 4 && n[3] <= 4) diag_hint(ctx, "where the channels are the last dimension, data.layout: nhwc says so");
    return false;
  }
  s->c = (int)c, s->h = (int)h, s->w = (int)w;
  return true;
}

/* The first s->n samples. Bytes and bools stay bytes. */
static bool take_images(Ctx *ctx, Arena *arena, const char *path, const RtArray *a, bool nhwc, Dataset *s) {
  int64_t pixels = (int64_t)s->h * s->w, size = dataset_sample(s);
  bool bytes = a->size == 1 && a->kind != 'i', last = nhwc && a->rank == 4;
  make_room(arena, s, !bytes);
  if (bytes && !last) {
    memcpy(s->image, a->data, (size_t)(s->n * size));
    return true;
  }
  for (int64_t i = 0; i < s->n; i++)
    for (int64_t k = 0; k < size; k++) {
      int64_t to = i * size + k, from = last ? i * size + k % pixels * s->c + k / pixels : to;
      if (bytes) { s->image[to] = ((const uint8_t *)a->data)[from]; continue; }
      s->real[to] = (float)element(a, from);
      if (isfinite(s->real[to])) continue;
      Loc loc = in_file(path);
      return diag(ctx, E0104, &loc, "sample %" PRId64 " has a number that is not finite", i);
    }
  return true;
}

/* Where sample i is: of CSV its line. */
static Loc of_sample(const Ctx *ctx, const char *path, bool csv, int64_t i) {
  int line = csv ? rt_csv_line(path, data_limit(ctx), i) : 0;
  return (Loc){path, line ? line : -1, -1, NULL, NULL};
}

static bool take_labels(Ctx *ctx, Arena *arena, const char *path, bool csv, const RtArray *a, Dataset *s) {
  if (a->rank != 1 && !(a->rank == 2 && a->dims[1] == 1)) return data_wrong(ctx, path, "labels must be [N]");
  s->label = arena_alloc(arena, (size_t)s->n);
  for (int64_t i = 0; i < s->n; i++) {
    double v = element(a, i);
    if (!(v >= 0 && v < RECIPE_CLASSES && v == floor(v))) {
      Loc loc = of_sample(ctx, path, csv, i);
      return diag(ctx, E0104, &loc, "label %g of sample %" PRId64 " is no whole number of 0 .. %d", v, i, RECIPE_CLASSES - 1);
    }
    s->label[i] = (uint8_t)v;
  }
  return true;
}

static bool read_array(Ctx *ctx, const char *spec, RtArray *a) {
  const char *colon = rt_npz_colon(spec);
  if (!data_openable(ctx, colon ? arena_strndup(ctx->own, spec, (size_t)(colon - spec)) : spec)) return false;
  const char *wrong = rt_any_read(spec, data_limit(ctx), a);
  return !wrong || data_wrong(ctx, spec, wrong);
}

/* FILE.npz without a name: its arrays images and labels, or x and y. */
static bool name_arrays(Ctx *ctx, const char *path[2]) {
  static const char *const names[][2] = {{"images", "labels"}, {"x", "y"}, {"data", "labels"}};
  bool open = false;
  for (int k = 0; k < 2; k++) {
    const char *colon = rt_npz_colon(path[k]);
    if (!colon || *colon) continue;
    if (!open && !data_openable(ctx, path[k])) return false;
    open = true;
    int i = 0;
    while (i < 3 && !(rt_npz_has(path[k], names[i][0]) && rt_npz_has(path[k], names[i][1]))) i++;
    if (i < 3) path[k] = arena_printf(ctx->own, "%s:%s", path[k], names[i][k]);
    else { /* what is wrong with it as an archive, or that it has no images */
      RtArray images = {0};
      bool has = read_array(ctx, arena_printf(ctx->own, "%s:images", path[k]), &images);
      rt_array_free(&images);
      if (has) data_wrong(ctx, path[k], "it has images, but no labels");
      diag_hint(ctx, "[FILE.npz:NAME, FILE.npz:NAME] says which arrays; without names they are images and labels, x and y, or data and labels");
      return false;
    }
  }
  return true;
}

/* The first `samples` of images and labels. */
static bool take_pair(Ctx *ctx, Arena *arena, const RecipeData *d, const char *path[2], int64_t samples, Dataset *s) {
  RtArray image = {0}, label = {0};
  bool ok = name_arrays(ctx, path) && read_array(ctx, path[0], &image) && read_array(ctx, path[1], &label);
  ok = ok && sample_shape(ctx, d, path[0], &image, s);
  if (ok && (!label.rank || image.dims[0] != label.dims[0])) {
    Loc loc = in_file(path[1]);
    ok = diag(ctx, E0104, &loc, "%" PRId64 " labels for the %" PRId64 " images of '%s'", label.rank ? label.dims[0] : 1, image.dims[0], path[0]);
  }
  if (ok) s->n = samples && samples < image.dims[0] ? samples : image.dims[0];
  ok = ok && take_labels(ctx, arena, path[1], false, &label, s) && take_images(ctx, arena, path[0], &image, d->nhwc, s);
  rt_array_free(&image);
  rt_array_free(&label);
  return ok;
}

/* The label column out of a table, and what is left of it as samples: bytes where the whole file has only such. */
static bool take_csv(Ctx *ctx, Arena *arena, const RecipeData *d, const char *path, int64_t samples, Dataset *s) {
  RtArray table = {0}, label = {0}, image = {0};
  int line = 0, at = d->label_column - 1;
  Loc loc = in_file(path);
  if (!data_openable(ctx, path)) return false;
  const char *wrong = rt_csv_read(path, 0, data_limit(ctx), &table, &line);
  if (line) loc.line = line;
  bool ok = !wrong || diag(ctx, E0104, &loc, "%s", wrong);
  int64_t rows = ok ? table.dims[0] : 0, columns = ok ? table.dims[1] : 0, kept = columns - 1;
  if (ok && rows < 1) ok = data_wrong(ctx, path, "no images");
  if (ok && (at >= columns || columns < 2)) ok = diag(ctx, E0104, &loc, "%" PRId64 " columns: labels are to be in column %d (data.label_column), pixels in the others", columns, at + 1);
  const float *x = table.data;
  bool bytes = true;
  for (int64_t i = 0; ok && i < rows * columns; i++) bytes = bytes && (i % columns == at || (x[i] >= 0 && x[i] <= 255 && x[i] == floorf(x[i])));
  if (ok && (wrong = rt_array_new(&image, bytes ? 'u' : 'f', bytes ? 1 : 4, 2, (int64_t[]){rows, kept}, data_limit(ctx)))) ok = data_wrong(ctx, path, wrong);
  if (ok && (wrong = rt_array_new(&label, 'f', 4, 1, &rows, data_limit(ctx)))) ok = data_wrong(ctx, path, wrong);
  for (int64_t i = 0; ok && i < rows; i++)
    for (int64_t k = 0; k < columns; k++) {
      float v = x[i * columns + k];
      int64_t to = i * kept + k - (k > at);
      if (k == at) ((float *)label.data)[i] = v;
      else if (bytes) ((uint8_t *)image.data)[to] = (uint8_t)v;
      else ((float *)image.data)[to] = v;
    }
  if (ok) s->n = samples && samples < rows ? samples : rows;
  ok = ok && sample_shape(ctx, d, path, &image, s) && take_labels(ctx, arena, path, true, &label, s) && take_images(ctx, arena, path, &image, false, s);
  rt_array_free(&table);
  rt_array_free(&image);
  rt_array_free(&label);
  return ok;
}

/* Classes of a CIFAR file of n records: by their size. */
static int cifar_classes(const RecipeData *d, const char *path, int64_t n) {
  struct stat st;
  return d->label == CIFAR_COARSE ? 20 : !stat(path, &st) && st.st_size == n * (PIXELS + 1) ? 10 : 100;
}

/* The first `samples` of CIFAR batches one after the other. */
static bool take_cifar(Ctx *ctx, Arena *arena, const RecipeData *d, const char *const *path, int n, int64_t samples, Dataset *s) {
  RtArray image[RECIPE_FILES] = {0}, label[RECIPE_FILES] = {0};
  static const int bytes_of[] = {[CIFAR_ANY] = 0, [CIFAR_FINE] = 2, [CIFAR_COARSE] = RT_CIFAR_COARSE};
  bool ok = true;
  for (int i = 0; i < n && ok && (!samples || s->n < samples); i++) {
    if (!(ok = data_openable(ctx, path[i]))) break;
    const char *wrong = rt_cifar_read(path[i], bytes_of[d->label], data_limit(ctx), &image[i], &label[i]);
    ok = !wrong || data_wrong(ctx, path[i], wrong);
    if (!ok) break;
    int classes = cifar_classes(d, path[i], image[i].dims[0]);
    s->n += image[i].dims[0], s->classes = classes > s->classes ? classes : s->classes;
  }
  if (ok) {
    if (samples && samples < s->n) s->n = samples;
    s->c = 3, s->h = s->w = 32;
    make_room(arena, s, false);
    int64_t at = 0;
    for (int i = 0; i < n && at < s->n; i++) {
      int64_t take = image[i].dims[0] < s->n - at ? image[i].dims[0] : s->n - at;
      memcpy(s->image + at * PIXELS, image[i].data, (size_t)take * PIXELS);
      memcpy(s->label + at, label[i].data, (size_t)take);
      at += take;
    }
  }
  for (int i = 0; i < n; i++) {
    rt_array_free(&image[i]);
    rt_array_free(&label[i]);
  }
  return ok;
}

/* Names of classes */

/* A name a line; empty lines at the end do not count. NULL, with a diagnostic unless the file need not be there. */
static const char **read_names(Ctx *ctx, Arena *arena, const char *path, int *n) {
  char *text;
  size_t bytes;
  VEC(const char *) v = {0};
  if (!file_read(ctx, path, &text, &bytes)) return NULL;
  for (char *p = text; *p;) {
    size_t len = strcspn(p, "\r\n");
    vec_push(arena, &v, arena_strndup(arena, p, len));
    p += len;
    p += *p == '\r';
    p += *p == '\n';
  }
  free(text);
  while (v.n && !*v.p[v.n - 1]) v.n--;
  *n = v.n;
  return v.p;
}

/* The name files that lie beside CIFAR's batches. */
static const char *cifar_names(Ctx *ctx, const RecipeData *d, const char *batch, int classes) {
  const char *slash = strrchr(batch, '/'), *name = classes == 10 ? "batches.meta.txt" : d->label == CIFAR_COARSE ? "coarse_label_names.txt" : "fine_label_names.txt";
  const char *path = slash ? arena_printf(ctx->own, "%.*s/%s", (int)(slash - batch), batch, name) : name;
  return access(path, R_OK) ? NULL : path;
}

/* The recipe's data with the names that a file holds, if it says one, as if it listed them. */
static const RecipeData *listed(Ctx *ctx, Arena *arena, const Recipe *r, const char *data_dir) {
  if (!r->data.class_file) return &r->data;
  RecipeData *d = NEW(arena, RecipeData);
  int n = 0;
  const char *path = recipe_path(r, data_dir, r->data.class_file), **names = read_names(ctx, arena, path, &n);
  Loc loc = in_file(path);
  *d = r->data;
  if (!names && ctx->n_errors) return NULL;
  if (n < 2 || n > RECIPE_CLASSES) return diag(ctx, E0104, &loc, "%d names of classes, not 2 .. %d", n, RECIPE_CLASSES), NULL;
  memcpy(d->classes, names, sizeof *names * (size_t)n);
  d->n_classes = n;
  return d;
}

/* Names that the recipe has, or that lie beside CIFAR's batches, or none; a folder has named its own. */
static bool name_classes(Ctx *ctx, Arena *arena, const Recipe *r, const RecipeData *d, FilesKind kind, const char *first, Dataset *s) {
  int n = d->n_classes;
  Loc loc = in_file(d->class_file ? d->class_file : r->file);
  const char *path = !n && kind == FILES_CIFAR ? cifar_names(ctx, d, first, s->classes) : NULL;
  if (s->class_name || (!n && !path)) return true;
  s->class_name = n ? d->classes : (const char *const *)read_names(ctx, arena, path, &n);
  if (path) loc = in_file(path);
  return n == s->classes || diag(ctx, path || d->class_file ? E0104 : E0703, &loc, "%d names of classes, the data have %d", n, s->classes);
}

static bool check_labels(Ctx *ctx, const char *path, bool csv, int classes, Dataset *s) {
  int most = 0;
  Loc loc = in_file(path);
  if (s->class_name && classes && s->classes != classes) return diag(ctx, E0104, &loc, "%d classes are named here, not %d", s->classes, classes);
  for (int64_t i = 0; i < s->n; i++) {
    if (s->label[i] > most) most = s->label[i];
    if (!classes || s->label[i] < classes) continue;
    loc = of_sample(ctx, path, csv, i);
    return diag(ctx, E0104, &loc, "label %d of sample %" PRId64 " is not one of %d classes", s->label[i], i, classes);
  }
  if (classes || !s->classes) s->classes = classes ? classes : most + 1;
  return true;
}

Dataset *dataset_load(Ctx *ctx, Arena *arena, const Recipe *r, const RecipeFiles *files, const char *data_dir, int classes, int64_t samples) {
  Dataset *s = NEW(arena, Dataset);
  const char *path[RECIPE_FILES];
  const RecipeData *d = listed(ctx, arena, r, data_dir);
  bool ok = false;
  if (!d) return NULL;
  for (int i = 0; i < files->n; i++) path[i] = recipe_path(r, data_dir, files->name[i]);
  switch (files->kind) {
    case FILES_PAIR: ok = take_pair(ctx, arena, d, path, samples, s); break;
    case FILES_CIFAR: ok = take_cifar(ctx, arena, d, path, files->n, samples, s); break;
    case FILES_CSV: ok = take_csv(ctx, arena, d, path[0], samples, s); break;
    case FILES_FOLDER: ok = dataset_folder(ctx, arena, d, path[0], samples, s); break;
  }
  const char *labels = files->kind == FILES_CIFAR ? path[0] : path[files->n - 1];
  ok = ok && check_labels(ctx, labels, files->kind == FILES_CSV, classes, s) && name_classes(ctx, arena, r, d, files->kind, path[0], s);
  return ok ? s : NULL;
}
