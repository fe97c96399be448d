/* Resize and Upsample: axis by axis, a gather of constant positions, or a weighted sum of a few of them. */
#include "frontend/import.h"

#include <math.h>
#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

typedef enum Coord { C_HALF_PIXEL, C_HALF_PIXEL_SYMMETRIC, C_PYTORCH, C_ALIGN, C_ASYMMETRIC, C_TF_CROP, C_TF_HALF, C_COUNT } Coord;
static const char *const coord_names[C_COUNT] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                                                 "tf_crop_and_resize", "tf_half_pixel_for_nn"};
typedef enum Mode { M_NEAREST, M_LINEAR, M_CUBIC } Mode;
typedef enum Near { N_PREFER_FLOOR, N_PREFER_CEIL, N_FLOOR, N_CEIL, N_COUNT } Near;
static const char *const near_names[N_COUNT] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};

/* One axis: in and out elements, the scale the model says, and the part of the input that is cropped (0..1). */
typedef struct Axis { int64_t in, out; double scale, from, to; } Axis;
typedef struct Resize { Mode mode; Coord coord; Near near; double cubic, fill; bool antialias, exclude; } Resize;

/* Where in the input output element o lies. */
static double position(const Resize *r, const Axis *a, int64_t o) {
  double x = (double)o, in = (double)a->in, out = a->scale * in; /* not rounded, as the standard's tests have it */
  switch (r->coord) {
  case C_ALIGN: return out == 1 ? 0 : x * (in - 1) / (out - 1);
  case C_ASYMMETRIC: return x / a->scale;
  case C_TF_CROP: return out > 1 ? a->from * (in - 1) + x * (a->to - a->from) * (in - 1) / (out - 1) : 0.5 * (a->from + a->to) * (in - 1);
  case C_PYTORCH: return out == 1 ? -0.5 : (x + 0.5) / a->scale - 0.5;
  case C_TF_HALF: return (x + 0.5) / a->scale;
  case C_HALF_PIXEL_SYMMETRIC: return in / 2 * (1 - (double)a->out / out) + (x + 0.5) / a->scale - 0.5;
  default: return (x + 0.5) / a->scale - 0.5;
  }
}

static int64_t nearest_of(const Resize *r, double x) {
  switch (r->near) {
  case N_FLOOR: return (int64_t)floor(x);
  case N_CEIL: return (int64_t)ceil(x);
  case N_PREFER_CEIL: return (int64_t)floor(x + 0.5);
  default: return (int64_t)ceil(x - 0.5);
  }
}

static double linear(double d) { return d < 1 ? 1 - d : 0; }
static double cubic(double a, double d) {
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* Positions and weights of one output element: taps of them, weights of one sum. */
static void taps_of(const Resize *r, const Axis *a, int64_t o, int taps, int64_t *at, double *w) {
  double x = position(r, a, o), shrink = r->antialias && a->scale < 1 ? a->scale : 1, sum = 0;
  int64_t first = (int64_t)floor(x) - taps / 2 + 1;
  for (int k = 0; k < taps; k++) {
    int64_t i = first + k;
    double d = fabs(x - (double)i) * shrink;
    w[k] = r->mode == M_LINEAR ? linear(d) : cubic(r->cubic, d);
    if (r->exclude && (i < 0 || i >= a->in)) w[k] = 0;
    at[k] = i < 0 ? 0 : i >= a->in ? a->in - 1 : i;
    sum += w[k];
  }
  for (int k = 0; k < taps; k++) w[k] = sum != 0 ? w[k] / sum : 0;
}

static Node *along(OpCall *c, const Tensor *v, int axis, int rank) { return ox_along(c, node_const(c->g, v), axis, rank); }

/* sum over taps of gather(x, at) * w, in order. */
static Node *weighted(OpCall *c, Node *x, int axis, const Resize *r, const Axis *a) {
  double support = (r->mode == M_LINEAR ? 1 : 2) / (r->antialias && a->scale < 1 ? a->scale : 1);
  if (support > 4096) { ox_fail(c, E0302, "a scale below 1/2000"); return NULL; }
  int taps = 2 * (int)ceil(support), rank = x->t.rank;
  int64_t *at = NEWN(c->g->arena, int64_t, taps), n = a->out;
  double *w = NEWN(c->g->arena, double, taps);
  Node *y = NULL;
  Tensor **index = NEWN(c->g->arena, Tensor *, taps), **weight = NEWN(c->g->arena, Tensor *, taps);
  for (int k = 0; k < taps; k++)
    if (!(index[k] = ox_tensor(c, I64, 1, &n)) || !(weight[k] = ox_tensor(c, x->t.e, 1, &n))) return NULL;
  for (int64_t o = 0; o < n; o++) {
    taps_of(r, a, o, taps, at, w);
    for (int k = 0; k < taps; k++) { tensor_set_i(index[k], o, at[k]); tensor_set_f(weight[k], o, w[k]); }
  }
  for (int k = 0; k < taps; k++) {
    Node *part = ox_map2(c, S_MUL, node_gather(c->g, x, node_const(c->g, index[k]), axis), along(c, weight[k], axis, rank));
    y = y ? ox_map2(c, S_ADD, y, part) : part;
  }
  return y;
}

static Node *nearest_axis(OpCall *c, Node *x, int axis, const Resize *r, const Axis *a) {
  Tensor *index = ox_tensor(c, I64, 1, &a->out);
  if (!index) return NULL;
  for (int64_t o = 0; o < a->out; o++) {
    int64_t i = nearest_of(r, position(r, a, o));
    tensor_set_i(index, o, i < 0 ? 0 : i >= a->in ? a->in - 1 : i);
  }
  return node_gather(c->g, x, node_const(c->g, index), axis);
}

/* tf_crop_and_resize: the fill where the position lies outside the input. */
static Node *filled(OpCall *c, Node *y, int axis, const Resize *r, const Axis *a) {
  Tensor *inside = ox_tensor(c, BOOL, 1, &a->out);
  if (!inside || !y) return NULL;
  for (int64_t o = 0; o < a->out; o++) {
    double x = position(r, a, o);
    tensor_set_i(inside, o, x >= 0 && x <= (double)a->in - 1);
  }
  return ox_map3(c, S_SELECT, along(c, inside, axis, y->t.rank), y, ox_num(c, y->t.e, r->fill));
}

static Node *resize(OpCall *c, Node *x, const Resize *r, const Axis *axes) {
  if (r->mode != M_NEAREST && !elem_is_float(x->t.e)) {
    Elem e = x->t.e; /* integers go through f32 and truncate */
    return ox_cast(c, resize(c, ox_cast(c, x, F32), r, axes), e);
  }
  for (int i = 0; x && i < x->t.rank; i++) {
    const Axis *a = &axes[i];
    if (a->in == a->out && a->scale == 1 && (r->coord != C_TF_CROP || (a->from == 0 && a->to == 1))) continue;
    if (x->t.d[i].sym) { ox_static(c, x); return NULL; }
    if (a->in == 0) { ox_fail(c, E0207, "dimension %d is empty", i); return NULL; }
    x = r->mode == M_NEAREST ? nearest_axis(c, x, i, r, a) : weighted(c, x, i, r, a);
  }
  for (int i = 0; x && r->coord == C_TF_CROP && i < x->t.rank; i++) x = filled(c, x, i, r, &axes[i]);
  return x;
}

static bool pick(OpCall *c, const char *attr, const char *const *names, int n, int *i) {
  const char *s = ox_str(c, attr);
  for (*i = 0; *i < n; ++*i) if (!strcmp(s, names[*i])) return true;
  return ox_fail(c, E0204, "%s is \"%s\"", attr, s);
}

/* Out extents and scales from `scales` or `sizes`, for the axes that are named. */
static bool extents(OpCall *c, const Node *scales, const Tensor *sizes, Axis *a, int rank, const int64_t *axes, int n_axes) {
  const Tensor *s = sizes;
  double least = 0;
  if (!sizes && !(s = ox_value(c, (Node *)(uintptr_t)scales, "scales"))) return false;
  if (s->n != n_axes) return ox_fail(c, E0207, "%lld scales or sizes for %d axes", (long long)s->n, n_axes);
  const char *policy = sizes && c->opset >= 18 ? ox_str(c, "keep_aspect_ratio_policy") : "stretch";
  bool smaller = !strcmp(policy, "not_larger"), keep = smaller || !strcmp(policy, "not_smaller");
  for (int k = 0; k < n_axes; k++) {
    int i;
    if (!ox_axis(c, axes[k], rank, &i)) return false;
    double v = tensor_f(s, k), ratio = sizes ? v / (double)a[i].in : v;
    if (!(v > 0) || !(ratio * (double)a[i].in < 1e9)) return ox_fail(c, E0204, "a scale or size is %g", v);
    if (k == 0 || (smaller ? ratio < least : ratio > least)) least = ratio;
    a[i].scale = ratio;
    a[i].out = sizes ? (int64_t)v : (int64_t)floor((double)a[i].in * v);
  }
  for (int k = 0; keep && k < n_axes; k++) {
    int i;
    if (!ox_axis(c, axes[k], rank, &i)) return false;
    a[i].scale = least;
    a[i].out = (int64_t)floor(least * (double)a[i].in + 0.5);
  }
  return true;
}

static bool regions(OpCall *c, Axis *a, int rank, const int64_t *axes, int n_axes) {
  const Tensor *roi = ox_value(c, ox_in(c, 1), "roi");
  if (!roi) return false;
  if (roi->n != 2 * n_axes) return ox_fail(c, E0207, "roi has %lld values", (long long)roi->n);
  for (int k = 0; k < n_axes; k++) {
    int i;
    if (!ox_axis(c, axes[k], rank, &i)) return false;
    a[i].from = tensor_f(roi, k), a[i].to = tensor_f(roi, n_axes + k);
    if (!(fabs(a[i].from) < 1e6) || !(fabs(a[i].to) < 1e6)) return ox_fail(c, E0204, "roi is not finite");
  }
  return true;
}

static bool is_empty(const Node *n) { return !n || (n->t.rank == 1 && dim_eq(n->t.d[0], dim_c(0))); }

bool op_resize(OpCall *c) {
  static const char *const modes[] = {"nearest", "linear", "cubic"};
  Node *x = c->in[0], *scales = ox_in(c, c->opset < 11 ? 1 : 2), *size_node = c->opset < 11 ? NULL : ox_in(c, 3);
  Axis a[MAX_RANK];
  Resize r = {.fill = ox_float(c, "extrapolation_value"), .cubic = ox_float(c, "cubic_coeff_a"), .exclude = ox_int(c, "exclude_outside") != 0};
  int rank = x->t.rank, mode, coord = C_ASYMMETRIC, near = N_FLOOR;
  const int64_t *axes;
  int64_t all[MAX_RANK];
  int n_axes = ox_ints(c, "axes", &axes);
  for (int i = 0; i < rank; i++) { all[i] = i; a[i] = (Axis){x->t.d[i].n, x->t.d[i].n, 1, 0, 1}; }
  if (!ox_static(c, x)) return false;
  if (n_axes < 0) axes = all, n_axes = rank;
  if (n_axes > MAX_RANK || !pick(c, "mode", modes, 3, &mode)) return false;
  if (c->opset >= 11 && (!pick(c, "coordinate_transformation_mode", coord_names, C_COUNT, &coord) || !pick(c, "nearest_mode", near_names, N_COUNT, &near))) return false;
  r.mode = (Mode)mode, r.coord = (Coord)coord, r.near = (Near)near;
  r.antialias = ox_int(c, "antialias") != 0 && r.mode != M_NEAREST;
  if (is_empty(scales) == is_empty(size_node)) return ox_fail(c, E0205, "either scales or sizes");
  const Tensor *sizes = is_empty(size_node) ? NULL : ox_value(c, size_node, "sizes");
  if (!is_empty(size_node) && !sizes) return false;
  if (!extents(c, scales, sizes, a, rank, axes, n_axes)) return false;
  if (r.coord == C_TF_CROP && !regions(c, a, rank, axes, n_axes)) return false;
  return done(c, resize(c, x, &r, a));
}

/* Scales of at least 1, an attribute before opset 9. */
bool op_upsample(OpCall *c) {
  static const char *const modes[] = {"nearest", "linear", "bilinear"};
  Node *x = c->in[0];
  Axis a[MAX_RANK];
  int mode, rank = x->t.rank;
  if (!ox_static(c, x) || !pick(c, "mode", modes, 3, &mode)) return false;
  const Onnx__AttributeProto *attr = ox_attr(c, "scales");
  const Tensor *t = NULL;
  if (c->opset < 9 ? !attr : !(t = ox_value(c, ox_in(c, 1), "scales"))) return c->opset < 9 ? ox_fail(c, E0203, "attribute scales is missing") : false;
  if ((t ? t->n : (int64_t)attr->n_floats) != rank) return ox_fail(c, E0207, "scales does not have one value per dimension");
  for (int i = 0; i < rank; i++) {
    double s = t ? tensor_f(t, i) : (double)attr->floats[i], in = (double)x->t.d[i].n;
    if (!(s >= 1) || !(s * in < 1e9)) return ox_fail(c, E0204, "a scale is %g", s);
    a[i] = (Axis){x->t.d[i].n, (int64_t)floor(in * s), s, 0, 1};
  }
  Resize r = {.mode = mode ? M_LINEAR : M_NEAREST, .coord = C_ASYMMETRIC, .near = N_FLOOR};
  return done(c, resize(c, x, &r, a));
}
