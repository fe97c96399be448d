/* Normalizations and softmax. Each is written in one fixed order of operations, in the input's type (16-bit floats in f32):
 * thresholds of later quantizers depend on it, and every engine follows it. */
#include "frontend/import.h"

#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* [n] for every channel: a vector as [1, n, 1..]. */
static Node *per_channel(OpCall *c, Node *v, const Type *x, const char *what) {
  if (v->t.rank != 1 || x->rank < 2 || !dim_eq(v->t.d[0], x->d[1])) { ox_fail(c, E0207, "%s does not have one value per channel", what); return NULL; }
  return ox_fold(c, ox_along(c, v, 1, x->rank));
}

/* Operator bn where everything is f32; else y = (x - mean) * (scale / sqrt(var + eps)) + bias in x's type, each operation
 * rounded; the parenthesis on the right is constant where its operands are. */
bool op_batch_norm(OpCall *c) {
  Node *x = c->in[0], *p[4];
  static const char *const what[] = {"scale", "bias", "mean", "variance"};
  if (ox_int(c, "training_mode")) return ox_fail(c, E0302, "BatchNormalization in training mode");
  if (c->opset < 9 && !ox_int(c, "spatial")) return ox_fail(c, E0302, "BatchNormalization that is not spatial");
  bool plain = elem_eq(x->t.e, F32) && x->t.rank > 1 && c->opset >= 7;
  for (int i = 0; i < 4; i++) plain = plain && elem_eq(c->in[i + 1]->t.e, F32) && c->in[i + 1]->t.rank == 1 && dim_eq(c->in[i + 1]->t.d[0], x->t.d[1]);
  if (plain) return done(c, node_new(c->g, OP_BN, &x->t, 5, c->in, &(Attr){.fill = (double)(float)ox_float(c, "epsilon")}, NULL));
  for (int i = 0; i < 4; i++) {
    p[i] = ox_cast(c, c->in[i + 1], x->t.e);
    if (!(p[i] = per_channel(c, p[i], &x->t, what[i]))) return false;
  }
  Node *args[3] = {p[0], p[3], NULL};
  Node *gain = ox_fold(c, ox_formula(c, "x  y n add sqrt  div", args, ox_float(c, "epsilon")));
  return done(c, ox_map2(c, S_ADD, ox_map2(c, S_MUL, ox_map2(c, S_SUB, x, p[2]), gain), p[1]));
}

/* Mean over axes that stay as 1; the axes must be static. */
static Node *mean(OpCall *c, Node *x, uint32_t axes) {
  if (!x) return NULL;
  double n = 1;
  for (int i = 0; i < x->t.rank; i++) {
    if (!(axes >> i & 1)) continue;
    if (x->t.d[i].sym) { ox_static(c, x); return NULL; }
    n *= (double)x->t.d[i].n;
  }
  return ox_map2(c, S_DIV, ox_reduce(c, S_ADD, x, axes, true), ox_num(c, x->t.e, n));
}

/* (x - m) / sqrt(mean((x - m)^2) + eps), m the mean over axes. */
static Node *standardize(OpCall *c, Node *x, uint32_t axes, double eps, Node **m, Node **inv) {
  *m = mean(c, x, axes);
  Node *d = ox_map2(c, S_SUB, x, *m), *v[3] = {mean(c, ox_map2(c, S_MUL, d, d), axes), NULL, NULL};
  *inv = v[0] ? ox_formula(c, "1  x n add sqrt  div", v, eps) : NULL;
  return ox_map2(c, S_MUL, d, *inv);
}

static bool from_axis(OpCall *c, uint32_t *axes) {
  int axis, rank = c->in[0]->t.rank;
  if (!ox_axis(c, ox_int(c, "axis"), rank, &axis)) return false;
  *axes = ((1u << rank) - 1) & ~((1u << axis) - 1);
  return true;
}

/* stash_type 1: in f32 at least. Outputs: y, mean, 1 / standard deviation. */
bool op_layer_norm(OpCall *c) {
  Node *m, *inv, *x = c->in[0];
  uint32_t axes;
  if (!from_axis(c, &axes)) return false;
  Node *y = standardize(c, x, axes, ox_float(c, "epsilon"), &m, &inv);
  y = ox_map2(c, S_MUL, y, ox_cast(c, c->in[1], x->t.e));
  if (ox_in(c, 2)) y = ox_map2(c, S_ADD, y, ox_cast(c, c->in[2], x->t.e));
  if (c->n_out > 1) c->out[1] = m;
  if (c->n_out > 2) c->out[2] = inv;
  return done(c, y);
}

bool op_rms_norm(OpCall *c) {
  Node *x = c->in[0];
  uint32_t axes;
  if (!from_axis(c, &axes)) return false;
  Node *v[3] = {mean(c, ox_map2(c, S_MUL, x, x), axes), NULL, NULL};
  Node *inv = v[0] ? ox_formula(c, "1  x n add sqrt  div", v, ox_float(c, "epsilon")) : NULL;
  return done(c, ox_map2(c, S_MUL, ox_map2(c, S_MUL, x, inv), ox_cast(c, c->in[1], x->t.e)));
}

bool op_instance_norm(OpCall *c) {
  Node *x = c->in[0], *m, *inv, *scale, *bias;
  if (x->t.rank < 3) return ox_fail(c, E0207, "the input has rank %d", x->t.rank);
  if (!(scale = per_channel(c, c->in[1], &x->t, "scale")) || !(bias = per_channel(c, c->in[2], &x->t, "bias"))) return false;
  Node *y = standardize(c, x, (1u << x->t.rank) - 4, ox_float(c, "epsilon"), &m, &inv);
  return done(c, ox_map2(c, S_ADD, ox_map2(c, S_MUL, y, scale), bias));
}

/* scale and bias: per group before opset 21, per channel since. */
bool op_group_norm(OpCall *c) {
  Node *x = c->in[0], *m, *inv;
  int rank = x->t.rank;
  int64_t g = ox_int(c, "num_groups"), dims[MAX_RANK];
  if (rank < 3 || !ox_static(c, x)) return rank < 3 ? ox_fail(c, E0207, "the input has rank %d", rank) : false;
  if (g < 1 || x->t.d[1].n % g) return ox_fail(c, E0204, "num_groups is %lld, the input has %lld channels", (long long)g, (long long)x->t.d[1].n);
  int64_t n = x->t.d[1].n / g, grouped[] = {x->t.d[0].n, g, n, ox_count(&x->t, 2, rank)};
  int64_t per_group[] = {1, g, 1, 1}, per_ch[] = {1, g, n, 1};
  for (int i = 0; i < rank; i++) dims[i] = x->t.d[i].n;
  Node *y = standardize(c, ox_reshape(c, x, 4, grouped), 12, ox_float(c, "epsilon"), &m, &inv);
  for (int i = 1; i < 3; i++) {
    Node *p = c->in[i];
    bool wide = c->opset >= 21;
    if (p->t.rank != 1 || p->t.d[0].sym || p->t.d[0].n != (wide ? g * n : g)) return ox_fail(c, E0207, "input %d has the wrong length", i);
    y = ox_map2(c, i == 1 ? S_MUL : S_ADD, y, ox_fold(c, ox_reshape(c, p, 4, wide ? per_ch : per_group)));
  }
  return done(c, ox_reshape(c, y, rank, dims));
}

/* (x - E x) / (sqrt(E x^2 - (E x)^2) + 1e-9). */
bool op_mean_variance_norm(OpCall *c) {
  Node *x = c->in[0];
  uint32_t axes;
  bool absent;
  if (!ox_axes(c, "axes", 1, x->t.rank, &axes, &absent)) return false;
  if (absent) {
    if (x->t.rank != 4) return ox_fail(c, E0207, "the input has rank %d, axes 0, 2, 3 are meant", x->t.rank);
    axes = 13;
  }
  Node *m = mean(c, x, axes), *args[3] = {mean(c, ox_map2(c, S_MUL, x, x), axes), m, NULL};
  Node *sd = args[0] && m ? ox_formula(c, "x y y mul sub sqrt 1e-9 add", args, 0) : NULL;
  return done(c, ox_map2(c, S_DIV, ox_map2(c, S_SUB, x, m), sd));
}

bool op_lp_norm(OpCall *c) {
  Node *x = c->in[0];
  int axis;
  int64_t p = ox_int(c, "p");
  if (!ox_axis(c, ox_int(c, "axis"), x->t.rank, &axis)) return false;
  if (p != 1 && p != 2) return ox_fail(c, E0204, "p is %lld", (long long)p);
  Node *norm = ox_reduce(c, S_ADD, p == 1 ? ox_map1(c, S_ABS, x) : ox_map2(c, S_MUL, x, x), 1u << axis, true);
  if (p == 2) norm = ox_map1(c, S_SQRT, norm);
  Node *args[3] = {norm, x, NULL};
  return done(c, ox_formula(c, "x 0 eq  0  y x div  select", args, 0));
}

/* x / (bias + alpha / size * sum of squares of `size` neighbouring channels)^beta. */
bool op_lrn(OpCall *c) {
  Node *x = c->in[0];
  int64_t size = ox_int(c, "size"), rank = x->t.rank;
  if (rank < 2) return ox_fail(c, E0207, "the input has rank %d", (int)rank);
  if (size < 1 || size > 1 << 20) return ox_fail(c, E0204, "size is %lld", (long long)size);
  Affine acc[MAX_RANK];
  for (int i = 0; i < rank; i++) acc[i] = affine_iter(i, 1, 0);
  acc[1].base = -((size - 1) / 2);
  acc[1].coef[rank] = 1;
  Iters it = {.n_out = (uint8_t)rank, .n_red = 1, .red = {dim_c(size)}, .acc = {acc}};
  Node *args[3] = {node_reduce(c->g, S_ADD, ox_map2(c, S_MUL, x, x), &x->t, &it), x, ox_num(c, x->t.e, ox_float(c, "beta"))};
  Node *scale = ox_num(c, x->t.e, ox_float(c, "alpha") / (double)size);
  args[0] = ox_map2(c, S_MUL, args[0], scale);
  return done(c, ox_formula(c, "y  x $bias add  z pow  div", args, 0));
}

/* Before opset 13 everything from the axis on is one dimension. Returns x as [before, along, after] where flat. */
static Node *softmax_axis(OpCall *c, Node *x, int64_t opset, const char *attr, int *axis, bool *flat) {
  const Onnx__AttributeProto *a = ox_attr(c, attr);
  int rank = x->t.rank;
  *flat = opset < 13;
  int64_t v = a ? a->i : strcmp(c->row->name, "QLinearSoftmax") ? (opset < 13 ? 1 : -1) : -1;
  if (opset < 13 && v == rank) { *axis = 1; int64_t d[2]; if (!ox_static(c, x)) return NULL; d[0] = ox_count(&x->t, 0, rank), d[1] = 1; return ox_reshape(c, x, 2, d); }
  if (!ox_axis(c, v, rank, axis)) return NULL;
  if (!*flat) return x;
  if (*axis == rank - 1) { *flat = false; return x; } /* the same along the last one */
  if (!ox_static(c, x)) return NULL;
  int64_t d[2] = {ox_count(&x->t, 0, *axis), ox_count(&x->t, *axis, rank)};
  *axis = 1;
  return ox_reshape(c, x, 2, d);
}

/* e = exp(x - max); e / sum(e), or (x - max) - log(sum(e)). */
Node *ox_softmax(OpCall *c, Node *x, bool log, int64_t opset) {
  int axis;
  bool flat;
  if (!x) return NULL;
  if (x->t.rank == 0) { /* one element */
    ox_fail(c, E0207, "the input has rank 0");
    return NULL;
  }
  Node *in = softmax_axis(c, x, opset, "axis", &axis, &flat);
  if (!in) return NULL;
  Node *d = ox_map2(c, S_SUB, in, ox_reduce(c, S_MAX, in, 1u << axis, true)), *e = d ? ox_map1(c, S_EXP, d) : NULL;
  Node *sum = ox_reduce(c, S_ADD, e, 1u << axis, true);
  Node *y = log ? ox_map2(c, S_SUB, d, sum ? ox_map1(c, S_LOG, sum) : NULL) : ox_map2(c, S_DIV, e, sum);
  return flat ? ox_reshape_d(c, y, x->t.rank, x->t.d) : y;
}

bool op_softmax(OpCall *c) { return done(c, ox_softmax(c, c->in[0], !strcmp(c->row->how, "log"), c->opset)); }

/* 1 at the first maximum, else 0. */
bool op_hardmax(OpCall *c) {
  int axis;
  bool flat;
  Node *x = c->in[0]->t.rank ? softmax_axis(c, c->in[0], c->opset, "axis", &axis, &flat) : NULL;
  if (!x) return c->in[0]->t.rank ? false : ox_fail(c, E0207, "the input has rank 0");
  if (x->t.d[axis].sym) return ox_static(c, x);
  int64_t n = x->t.d[axis].n;
  if (n == 0) return ox_fail(c, E0207, "dimension %d is empty", axis);
  Type t = x->t;
  t.e = I64;
  t.d[axis] = dim_c(1);
  Attr a = {.scalar = S_MAX, .axis = axis};
  Node *first = node_new(c->g, OP_ARGREDUCE, &t, 1, &x, &a, NULL);
  Tensor *iota = ox_tensor(c, I64, 1, &n);
  if (!iota) return false;
  for (int64_t i = 0; i < n; i++) tensor_set_i(iota, i, i);
  Node *y = ox_cast(c, ox_map2(c, S_EQ, first, ox_along(c, node_const(c->g, iota), axis, x->t.rank)), x->t.e);
  return done(c, flat ? ox_reshape_d(c, y, c->in[0]->t.rank, c->in[0]->t.d) : y);
}
