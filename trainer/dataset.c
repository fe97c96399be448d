/* Batches of a data set as floats, augmented. Reading: dataset_load.c, dataset_folder.c. */
#include "trainer/dataset.h"

#include <math.h>
#include <string.h>

void dataset_as_real(Arena *arena, Dataset *s) {
  int64_t n = s->n * dataset_sample(s);
  if (s->real) return;
  s->real = arena_alloc(arena, (size_t)n * sizeof *s->real);
  for (int64_t i = 0; i < n; i++) s->real[i] = s->image[i];
}

static void move_sample(const Dataset *from, int64_t i, Dataset *to, int64_t k) {
  int64_t size = dataset_sample(from);
  if (from->image) memmove(to->image + k * size, from->image + i * size, (size_t)size);
  if (from->real) memmove(to->real + k * size, from->real + i * size, (size_t)size * sizeof *to->real);
  to->label[k] = from->label[i];
}

Dataset *dataset_split(Arena *arena, Dataset *s, double part, Rng rng) {
  int64_t n = (int64_t)floor(part * (double)s->n + 0.5), kept = 0;
  if (n < 1 || n >= s->n) return NULL;
  Dataset *out = NEW(arena, Dataset);
  int32_t *order = NEWN(arena, int32_t, s->n);
  bool *goes = NEWN(arena, bool, s->n);
  *out = *s;
  out->n = 0, out->label = NEWN(arena, uint8_t, n);
  if (s->image) out->image = arena_alloc(arena, (size_t)(n * dataset_sample(s)));
  if (s->real) out->real = arena_alloc(arena, (size_t)(n * dataset_sample(s)) * sizeof *s->real);
  rng_permutation(rng, 0, s->n, order);
  for (int64_t i = s->n - n; i < s->n; i++) goes[order[i]] = true;
  for (int64_t i = 0; i < s->n; i++) {
    if (goes[i]) move_sample(s, i, out, out->n++);
    else move_sample(s, i, s, kept++);
  }
  s->n = kept;
  return out;
}

static double seen(const RecipeData *d, int c, double raw) {
  double v = raw * d->scale;
  if (d->n_mean) v -= d->mean[d->n_mean == 1 ? 0 : c];
  if (d->n_std) v /= d->std[d->n_std == 1 ? 0 : c];
  return v;
}

void transform_hole(Transform *t, const Recipe *r, const Dataset *s) {
  const RecipeData *d = &r->data;
  for (int c = 0; c < t->c; c++) {
    double raw = d->n_mean ? d->mean[d->n_mean == 1 ? 0 : c] / d->scale : 0;
    if (!s->real) raw = fmin(fmax(nearbyint(raw), 0), 255);
    t->hole[c] = (float)seen(t->data, c, raw);
  }
}

bool transform_init(Transform *t, Arena *arena, const Recipe *r, const Dataset *s, Layout layout, bool augment) {
  const RecipeData *d = &r->data;
  *t = (Transform){.layout = layout, .c = s->c, .rng = {r->seed, RNG_AUGMENT}, .data = d};
  if ((d->n_mean > 1 && d->n_mean != s->c) || (d->n_std > 1 && d->n_std != s->c))
    return diag(r->ctx, E0703, &(Loc){r->file, -1, -1, NULL, NULL}, "data: mean and std take one number or one per channel, the images have %d", s->c);
  if (augment) t->crop = d->crop, t->flip = d->flip, t->cutout = d->cutout;
  t->hole = NEWN(arena, float, s->c);
  transform_hole(t, r, s);
  t->value = arena_alloc(arena, sizeof *t->value * (size_t)s->c);
  for (int c = 0; c < s->c; c++)
    for (int raw = 0; raw < 256; raw++) t->value[c][raw] = (float)seen(d, c, raw);
  return true;
}

/* Where a plane's pixels come from: pixel (y, x) is (y + dy, x' + dx) of the source, raw 0 outside, where x' counts from the right if flipped;
 * and the square around (cy, cx), whose pixels get the hole's value: rows and columns cy - side/2 .. cy - side/2 + side - 1. */
typedef struct Place { int dy, dx, cy, cx, side; bool flip; } Place;

static bool in_hole(const Place *p, int y, int x) {
  int top = p->cy - p->side / 2, left = p->cx - p->side / 2;
  return y >= top && y < top + p->side && x >= left && x < left + p->side;
}

/* One plane [h, w] of sample `sample` to x with a step between pixels. */
static void plane(const Dataset *s, const Transform *t, int64_t sample, int c, const Place *p, float *x, int step) {
  int64_t pixels = (int64_t)s->h * s->w, first = sample * dataset_sample(s) + c * pixels;
  const uint8_t *bytes = s->real ? NULL : s->image + first;
  const float *real = s->real ? s->real + first : NULL, *value = t->value[c];
  for (int i = 0; i < s->h; i++)
    for (int j = 0; j < s->w; j++, x += step) {
      int y = i + p->dy, at = (p->flip ? s->w - 1 - j : j) + p->dx;
      int64_t from = (int64_t)y * s->w + at;
      if (p->side && in_hole(p, i, j)) *x = t->hole[c];
      else if (y < 0 || y >= s->h || at < 0 || at >= s->w) *x = value[0];
      else *x = bytes ? value[bytes[from]] : (float)seen(t->data, c, (double)real[from]);
    }
}

static void plain(const uint8_t *from, int64_t n, const float *value, float *x, int step) {
  for (int64_t i = 0; i < n; i++, x += step) *x = value[from[i]];
}

/* Four random numbers of a sample and epoch: dy, dx, flip, and where the hole is. */
static Place place_of(const Dataset *s, const Transform *t, int32_t index, int64_t epoch) {
  uint64_t e = (uint64_t)epoch, at = 4 * (uint64_t)index;
  Place p = {.side = t->cutout};
  uint32_t span = 2 * (uint32_t)t->crop + 1;
  if (t->crop) p.dy = (int)rng_below(t->rng, e, at, span) - t->crop, p.dx = (int)rng_below(t->rng, e, at + 1, span) - t->crop;
  p.flip = t->flip && rng_below(t->rng, e, at + 2, 2);
  if (!p.side) return p;
  uint32_t middle = rng_below(t->rng, e, at + 3, (uint32_t)s->h * (uint32_t)s->w);
  p.cy = (int)(middle / (uint32_t)s->w), p.cx = (int)(middle % (uint32_t)s->w);
  return p;
}

void dataset_batch(const Dataset *s, const Transform *t, const int32_t *index, int64_t n, int64_t epoch, float *x, int32_t *label) {
  int64_t pixels = (int64_t)s->h * s->w, size = dataset_sample(s);
  bool nhwc = t->layout == LAYOUT_NHWC;
  for (int64_t i = 0; i < n; i++, x += size) {
    Place p = place_of(s, t, index[i], epoch);
    for (int c = 0; c < s->c; c++) {
      float *to = nhwc ? x + c : x + c * pixels;
      if (s->real || t->crop || p.flip || p.side) plane(s, t, index[i], c, &p, to, nhwc ? s->c : 1);
      else plain(s->image + index[i] * size + c * pixels, pixels, t->value[c], to, nhwc ? s->c : 1);
    }
    if (label) label[i] = s->label[index[i]];
  }
}
