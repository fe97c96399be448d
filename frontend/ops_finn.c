/* Operators of QONNX and FINN beside the quantizers (qonnx operator definitions; FORMATS 1): channels last, FloatQuant,
 * XnorPopcountMatMul, QuantAvgPool2d. */
#include "frontend/import.h"

#include <math.h>
#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* Channels last */

static Node *channels(OpCall *c, Node *x, bool to_first) {
  int perm[MAX_RANK], rank = x ? x->t.rank : 0;
  for (int i = 0; i < rank; i++) perm[i] = to_first ? (i == 1 ? rank - 1 : i > 1 ? i - 1 : 0) : i == rank - 1 ? 1 : i > 0 ? i + 1 : 0;
  return ox_fold(c, ox_transpose(c, x, perm));
}

/* The operator of the default domain between two transpositions; a convolution's weights are [M, k.., C], too. */
static bool channels_last(OpCall *c, Importer *first, int operands) {
  for (int i = 0; i < operands; i++) {
    if (c->in[i]->t.rank < 2) return ox_fail(c, E0207, "input %d has rank %d", i, c->in[i]->t.rank);
    c->in[i] = channels(c, c->in[i], true);
  }
  return first(c) && done(c, channels(c, c->out[0], false));
}

bool op_conv_last(OpCall *c) { return channels_last(c, op_conv, 2); }
bool op_max_pool_last(OpCall *c) { return channels_last(c, op_max_pool, 1); }
bool op_batch_norm_last(OpCall *c) {
  c->opset = 9;
  return channels_last(c, op_batch_norm, 1);
}

/* Popcount of equal bits: of 0 and 1, each pair gives 1 where both are the same; the bipolar product is 2P - K. */
bool op_xnor_popcount(OpCall *c) {
  Node *x[2];
  int rank = c->in[0]->t.rank;
  if (rank < 1 || c->in[0]->t.d[rank - 1].sym) return rank < 1 ? ox_fail(c, E0207, "operand 0 has rank 0") : ox_static(c, c->in[0]);
  for (int k = 0; k < 2; k++) x[k] = ox_fold(c, ox_formula(c, "x 2 mul 1 sub", (Node *[3]){c->in[k], NULL, NULL}, 0));
  if (!x[0] || !x[1]) return false;
  Node *y = node_matmul(c->g, x[0], x[1], c->in[0]->t.e);
  if (!y) return ox_fail(c, E0207, "the operands' shapes do not fit a matrix product");
  return done(c, ox_formula(c, "x n add 0.5 mul", (Node *[3]){y, NULL, NULL}, (double)c->in[0]->t.d[rank - 1].n));
}

/* Sums of k x k windows without padding, shifted right so that obits hold them. */
bool op_quant_avg_pool(OpCall *c) {
  int64_t k = ox_int(c, "kernel"), s = ox_int(c, "stride"), ibits = ox_int(c, "ibits"), obits = ox_int(c, "obits");
  bool last = !strcmp(ox_str(c, "data_layout"), "NHWC");
  Node *x = last ? channels(c, c->in[0], true) : c->in[0];
  if (!x) return false;
  if (x->t.rank != 4) return ox_fail(c, E0207, "the input has rank %d, not 4", x->t.rank);
  if (k < 1 || k > 1 << 15 || s < 1 || s > 1 << 30 || ibits < 1 || ibits > 32 || obits < 1 || obits > 32) return ox_fail(c, E0204, "kernel, stride or bit widths beyond what they may be");
  Type t = x->t;
  Affine a[4];
  Iters it = {.n_out = 4, .n_red = 2, .red = {dim_c(k), dim_c(k)}, .acc = {a}};
  for (int i = 0; i < 4; i++) {
    a[i] = affine_iter(i, i < 2 ? 1 : s, 0);
    if (i < 2) continue;
    if (x->t.d[i].sym) return ox_static(c, x);
    if (x->t.d[i].n < k) return ox_fail(c, E0207, "the window of %lld is larger than dimension %d", (long long)k, i);
    t.d[i] = dim_c((x->t.d[i].n - k) / s + 1);
    a[i].coef[4 + i - 2] = 1;
  }
  int accumulator = 0;
  for (uint64_t most = ((UINT64_C(1) << ibits) - 1) * (uint64_t)(k * k); most; most >>= 1) accumulator++;
  int shift = accumulator > obits ? accumulator - (int)obits : 0;
  Node *y = ox_formula(c, "x n mul floor", (Node *[3]){node_reduce(c->g, S_ADD, x, &t, &it), NULL, NULL}, ldexp(1, -shift));
  return done(c, last ? channels(c, y, false) : y);
}

/* A constant number, the same everywhere. */
static bool number(OpCall *c, int i, const char *what, double *v) {
  const Tensor *t = ox_value(c, ox_in(c, i), what);
  if (!t) return false;
  *v = t->n ? tensor_f(t, 0) : NAN;
  for (int64_t k = 1; k < t->n; k++) if (tensor_f(t, k) != *v) return ox_fail(c, E0302, "%s that differs within a tensor", what);
  return !isnan(*v) || ox_fail(c, E0204, "%s is not a number", what);
}

/* x / scale to a float of ew exponent and m mantissa bits: a multiple of 2^e, e = max(floor(log2 |x|) - m, 1 - bias - m), clipped, * scale.
 * floor(log2 |x|) counts the powers of two that |x| reaches; above the greatest exponent the clip decides. */
bool op_float_quant(OpCall *c) {
  double ew, m, bias, most;
  if (!number(c, 2, "the exponent's width", &ew) || !number(c, 3, "the mantissa's width", &m) || !number(c, 4, "the exponent's bias", &bias) || !number(c, 5, "the greatest value", &most)) return false;
  if (!ox_int(c, "saturation")) return ox_fail(c, E0302, "a float quantizer that does not saturate");
  if (!(ew >= 1 && ew <= 8) || ew != floor(ew) || !(m >= 0 && m <= 23) || m != floor(m) || !(fabs(bias) <= 200) || bias != floor(bias)) return ox_fail(c, E0302, "a float of %g exponent and %g mantissa bits with bias %g", ew, m, bias);
  int least = (int)(1 - bias), n = (1 << (int)ew) - 2 > 0 ? (1 << (int)ew) - 2 : 1; /* 2^least is the least normal number */
  double top = (2 - ldexp(1, -(int)m)) * ldexp(1, (1 << (int)ew) - 1 - (int)bias), limit = fmin(top, most);
  if (least - m < -126 || least + n > 127 || c->in[0]->t.rank == 0 || !elem_eq(c->in[0]->t.e, F32)) return ox_fail(c, E0302, "a float quantizer of scalars, of half floats or beyond the exponents of binary32");
  Node *x = ox_map2(c, S_DIV, c->in[0], ox_cast(c, c->in[1], F32)), *size = ox_map1(c, S_ABS, x);
  if (!size || !type_shape_eq(&x->t, &c->in[0]->t)) return size ? ox_fail(c, E0207, "the scale does not broadcast to the input") : false;
  Tensor *t = ox_tensor(c, F32, 2, (int64_t[]){1, n}), *steps = ox_tensor(c, F32, 1, (int64_t[]){n + 1});
  if (!t || !steps) return false;
  for (int i = 0; i < n; i++) tensor_set_f(t, i, ldexp(1, least + 1 + i));
  for (int i = 0; i <= n; i++) tensor_set_f(steps, i, ldexp(1, least + i - (int)m));
  Type y = x->t;
  y.e = elem_for_range(0, n);
  Node *count = node_new(c->g, OP_THRESHOLDS, &y, 4, (Node *[]){size, node_const(c->g, t), node_const_i(c->g, UINTK(1), 0), node_const_i(c->g, UINTK(1), 1)}, &(Attr){.axis = 0}, NULL);
  Node *step = node_gather(c->g, node_const(c->g, steps), ox_cast(c, count, I32), 0), *q = ox_rounded(c, ox_map2(c, S_DIV, x, step), ox_str(c, "rounding_mode"));
  Node *v = ox_map2(c, S_MUL, q, step);
  v = ox_map2(c, S_MIN, ox_map2(c, S_MAX, v, ox_num(c, F32, -limit)), ox_num(c, F32, limit));
  return done(c, ox_map2(c, S_MUL, v, ox_cast(c, c->in[1], F32)));
}
