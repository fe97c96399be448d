#include "trainer/dataset.h"

#include "runtime/cifar.h"
#include "runtime/idx.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static bool wrong_file(Ctx *ctx, const char *path, ErrCode code, const char *what) {
  Loc loc = LOC_NONE;
  loc.file = path;
  return diag(ctx, code, &loc, "%s", what);
}

static uint64_t limit_of(const Ctx *ctx) { return ctx->limits.file < 0 ? 0 : (uint64_t)ctx->limits.file; }

static bool openable(Ctx *ctx, const char *path) {
  Loc loc = LOC_NONE;
  loc.file = path;
  return access(path, R_OK) == 0 || diag(ctx, E0501, &loc, "cannot open: %s", strerror(errno));
}

static bool read_idx(Ctx *ctx, const char *path, RtArray *a) {
  if (!openable(ctx, path)) return false;
  const char *wrong = rt_idx_read(path, limit_of(ctx), a);
  return wrong ? wrong_file(ctx, path, E0104, wrong) : true;
}

/* The first `samples` of an IDX pair. */
static bool take_idx(Ctx *ctx, Arena *arena, const char *path[2], int64_t samples, Dataset *s) {
  RtArray image = {0}, label = {0};
  bool ok = read_idx(ctx, path[0], &image) && read_idx(ctx, path[1], &label);
  if (ok && (image.kind != 'u' || image.size != 1 || image.rank < 3 || image.rank > 4))
    ok = wrong_file(ctx, path[0], E0104, "images must be unsigned bytes [N,H,W] or [N,C,H,W]");
  if (ok && (label.kind != 'u' || label.size != 1 || label.rank != 1)) ok = wrong_file(ctx, path[1], E0104, "labels must be unsigned bytes [N]");
  if (ok && image.dims[0] != label.dims[0]) {
    Loc loc = LOC_NONE;
    loc.file = path[1];
    ok = diag(ctx, E0104, &loc, "%" PRId64 " labels for the %" PRId64 " images of '%s'", label.dims[0], image.dims[0], path[0]);
  }
  const int64_t *d = image.dims + (image.rank == 4);
  if (ok && (!image.n || d[1] > 65535 || d[2] > 65535 || (image.rank == 4 && d[0] > 65535))) ok = wrong_file(ctx, path[0], E0104, "no images, or of more than 65535 pixels or channels on a side");
  if (ok) {
    s->n = samples && samples < image.dims[0] ? samples : image.dims[0];
    s->c = image.rank == 4 ? (int)d[0] : 1;
    s->h = (int)d[1];
    s->w = (int)d[2];
    size_t bytes = (size_t)(image.n / image.dims[0] * s->n);
    s->image = arena_alloc(arena, bytes);
    s->label = arena_alloc(arena, (size_t)s->n);
    memcpy(s->image, image.data, bytes);
    memcpy(s->label, label.data, (size_t)s->n);
  }
  rt_array_free(&image);
  rt_array_free(&label);
  return ok;
}

/* The first `samples` of CIFAR batches one after the other. */
static bool take_cifar(Ctx *ctx, Arena *arena, const char *const *path, int n, int64_t samples, Dataset *s) {
  enum { PIXELS = 3 * 32 * 32 };
  RtArray image[RECIPE_FILES] = {0}, label[RECIPE_FILES] = {0};
  bool ok = true;
  for (int i = 0; i < n && ok && (!samples || s->n < samples); i++) {
    if (!(ok = openable(ctx, path[i]))) break;
    const char *wrong = rt_cifar_read(path[i], 0, limit_of(ctx), &image[i], &label[i]);
    ok = !wrong || wrong_file(ctx, path[i], E0104, wrong);
    if (ok) s->n += image[i].dims[0];
  }
  if (ok) {
    if (samples && samples < s->n) s->n = samples;
    s->c = 3, s->h = s->w = 32;
    s->image = arena_alloc(arena, (size_t)s->n * PIXELS);
    s->label = arena_alloc(arena, (size_t)s->n);
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

Dataset *dataset_load(Ctx *ctx, Arena *arena, const Recipe *r, const RecipeFiles *files, const char *data_dir, int classes, int64_t samples) {
  Dataset *s = NEW(arena, Dataset);
  const char *path[RECIPE_FILES];
  for (int i = 0; i < files->n; i++) path[i] = recipe_path(r, data_dir, files->name[i]);
  if (!(files->cifar ? take_cifar(ctx, arena, path, files->n, samples, s) : take_idx(ctx, arena, path, samples, s))) return NULL;
  int most = 0;
  for (int64_t i = 0; i < s->n; i++) {
    if (s->label[i] > most) most = s->label[i];
    if (!classes || s->label[i] < classes) continue;
    Loc loc = LOC_NONE;
    loc.file = path[files->n - 1];
    diag(ctx, E0104, &loc, "label %d of sample %" PRId64 " is not one of %d classes", s->label[i], i, classes);
    return NULL;
  }
  s->classes = classes ? classes : most + 1;
  return s;
}

bool transform_init(Transform *t, Arena *arena, const Recipe *r, const Dataset *s, Layout layout, bool augment) {
  const RecipeData *d = &r->data;
  *t = (Transform){.layout = layout, .c = s->c, .rng = {r->seed, RNG_AUGMENT}};
  if ((d->n_mean > 1 && d->n_mean != s->c) || (d->n_std > 1 && d->n_std != s->c))
    return diag(r->ctx, E0703, &(Loc){r->file, -1, -1, NULL, NULL}, "data: mean and std take one number or one per channel, the images have %d", s->c);
  if (augment) t->crop = d->crop, t->flip = d->flip;
  t->value = arena_alloc(arena, sizeof *t->value * (size_t)s->c);
  for (int c = 0; c < s->c; c++)
    for (int raw = 0; raw < 256; raw++) {
      double v = raw * d->scale;
      if (d->n_mean) v -= d->mean[d->n_mean == 1 ? 0 : c];
      if (d->n_std) v /= d->std[d->n_std == 1 ? 0 : c];
      t->value[c][raw] = (float)v;
    }
  return true;
}

/* One plane [h, w] to x with a step between pixels: pixel (y, x) is (y + dy, x' + dx) of the source, 0 outside, where x' counts
 * from the right if flipped. */
static void plane(const uint8_t *from, int h, int w, int dy, int dx, bool flip, const float *value, float *x, int step) {
  for (int i = 0; i < h; i++) {
    int y = i + dy;
    const uint8_t *row = from + (int64_t)y * w;
    for (int j = 0; j < w; j++, x += step) {
      int at = (flip ? w - 1 - j : j) + dx;
      *x = value[y >= 0 && y < h && at >= 0 && at < w ? row[at] : 0];
    }
  }
}

static void plain(const uint8_t *from, int64_t n, const float *value, float *x, int step) {
  for (int64_t i = 0; i < n; i++, x += step) *x = value[from[i]];
}

void dataset_batch(const Dataset *s, const Transform *t, const int32_t *index, int64_t n, int64_t epoch, float *x, int32_t *label) {
  int64_t pixels = (int64_t)s->h * s->w, size = pixels * s->c;
  uint64_t e = (uint64_t)epoch;
  for (int64_t i = 0; i < n; i++, x += size) {
    uint64_t at = 4 * (uint64_t)index[i];
    const uint8_t *from = s->image + index[i] * size;
    int dy = t->crop ? (int)rng_below(t->rng, e, at, 2 * (uint32_t)t->crop + 1) - t->crop : 0;
    int dx = t->crop ? (int)rng_below(t->rng, e, at + 1, 2 * (uint32_t)t->crop + 1) - t->crop : 0;
    bool flip = t->flip && rng_below(t->rng, e, at + 2, 2);
    for (int c = 0; c < s->c; c++) {
      bool nhwc = t->layout == LAYOUT_NHWC;
      float *to = nhwc ? x + c : x + c * pixels;
      if (t->crop || flip) plane(from + c * pixels, s->h, s->w, dy, dx, flip, t->value[c], to, nhwc ? s->c : 1);
      else plain(from + c * pixels, pixels, t->value[c], to, nhwc ? s->c : 1);
    }
    if (label) label[i] = s->label[index[i]];
  }
}
