/* Random low-bit networks of 1 to 12 layers, as a frontend would build them: convolutions of one to three dimensions (groups, depthwise,
 * dilation, strides, transposed), matrix products, batch normalization, activations, quantizers of every width and rounding, residual
 * adds, concatenations, pools, splits whose halves have different scales, shuffles. The seed is the network. */
#ifndef POPSHIFT_TESTS_RANDOM_GRAPH_H
#define POPSHIFT_TESTS_RANDOM_GRAPH_H

#include "ir/graph.h"

#include <math.h>

enum { LAYERS_MOST = 12, VALUES_MOST = 64, ELEMENTS_MOST = 1500 };

/* x: the value that the next layer reads; old: values that later layers may come back to. */
typedef struct Rnd { Graph *g; uint64_t state; Node *x, *old[VALUES_MOST]; int n_old; } Rnd;

static uint64_t rnd_bits(Rnd *r) { /* xorshift64* */
  r->state ^= r->state >> 12;
  r->state ^= r->state << 25;
  r->state ^= r->state >> 27;
  return r->state * UINT64_C(2685821657736338717);
}
static int rnd_below(Rnd *r, int n) { return (int)((rnd_bits(r) >> 33) % (uint64_t)n); }
static int rnd_in(Rnd *r, int lo, int hi) { return lo + rnd_below(r, hi - lo + 1); }
static double rnd_unit(Rnd *r) { return (double)(rnd_bits(r) >> 11) * 0x1p-53; }
static bool rnd_chance(Rnd *r, double p) { return rnd_unit(r) < p; }

static double rnd_scale(Rnd *r) {
  if (rnd_chance(r, 0.02)) return 1e-13;
  return rnd_chance(r, 0.4) ? ldexp(1, -rnd_in(r, 0, 6)) : 0.01 + 0.4 * rnd_unit(r);
}
static double rnd_gain(Rnd *r) {
  if (rnd_chance(r, 0.06)) return 0;
  return (rnd_chance(r, 0.7) ? 1 : -1) * (rnd_chance(r, 0.05) ? 1e-12 : 0.2 + 1.8 * rnd_unit(r));
}
static double rnd_offset(Rnd *r) { return rnd_chance(r, 0.3) ? (double)rnd_in(r, -8, 8) / 4 : 3 * rnd_unit(r) - 1.5; }
static double rnd_variance(Rnd *r) { return rnd_chance(r, 0.05) ? 0 : 0.05 + 2 * rnd_unit(r); }

static Node *rnd_floats(Rnd *r, int rank, const int64_t *d, double (*f)(Rnd *)) {
  Type t = type_make(F32, rank, d);
  Tensor *v = tensor_new(r->g->ctx, &t);
  for (int64_t i = 0; i < v->n; i++) tensor_set_f(v, i, f(r));
  return node_const(r->g, v);
}

static int64_t rnd_code(Rnd *r, Elem e) {
  if (e.kind == EK_BASES) return rnd_chance(r, 0.5) ? 1 : -1;
  if (e.kind == EK_SHIFT) return rnd_chance(r, 0.3) ? 0 : (rnd_chance(r, 0.5) ? 1 : -1) * (INT64_C(1) << rnd_in(r, 0, (1 << (e.bits - 1)) - 2));
  return rnd_in(r, (int)elem_lo(e), (int)elem_hi(e));
}

static Node *rnd_codes(Rnd *r, Elem e, int rank, const int64_t *d) {
  Type t = type_make(e, rank, d);
  Tensor *v = tensor_new(r->g->ctx, &t);
  for (int64_t i = 0; i < v->n; i++) tensor_set_i(v, i, rnd_code(r, e));
  return node_const(r->g, v);
}

static int64_t rnd_dim(const Node *x, int i) { return x->t.d[i].n; }
static int64_t rnd_count(const Node *x) { int64_t n; return type_count(&x->t, &n) ? n : INT64_MAX; }
static Node *rnd_f(Rnd *r, double v) { return node_const_f(r->g, F32, v); }

/* One value per channel (dimension 1), or one for all. */
static Node *rnd_per_channel(Rnd *r, const Node *x, double (*f)(Rnd *)) {
  int64_t d[MAX_RANK];
  if (x->t.rank < 2 || rnd_chance(r, 0.3)) return rnd_floats(r, 0, NULL, f);
  for (int i = 1; i < x->t.rank; i++) d[i - 1] = i == 1 ? rnd_dim(x, 1) : 1;
  return rnd_floats(r, x->t.rank - 1, d, f);
}

static Node *rnd_quantized(Rnd *r, Node *x) {
  Graph *g = r->g;
  Node *s = rnd_chance(r, 0.25) ? rnd_per_channel(r, x, rnd_scale) : rnd_floats(r, 0, NULL, rnd_scale), *z = NULL, *q;
  Round round = rnd_chance(r, 0.5) ? RND_EVEN : (Round)rnd_below(r, RND_COUNT);
  int kind = rnd_below(r, 6), k = rnd_in(r, 1, 8);
  if (kind == 0) q = node_quant(g, x, s, NULL, BIPOLAR, -1, 1, RND_EVEN);
  else if (kind == 1) {
    z = rnd_chance(r, 0.3) ? rnd_f(r, rnd_chance(r, 0.5) ? 0 : (double)rnd_in(r, 0, (1 << k) - 1)) : NULL;
    q = node_quant(g, x, s, z, UINTK(k), 0, (1 << k) - 1 - (k > 1 && rnd_chance(r, 0.2)), round);
  } else if (kind <= 3) {
    bool narrow = k > 1 && rnd_chance(r, 0.5);
    q = node_quant(g, x, s, NULL, INTK(k), -(1 << (k - 1)) + narrow, (1 << (k - 1)) - 1, round);
  } else {
    Elem e = kind == 4 ? INTK(k) : UINTK(k);
    z = rnd_codes(r, e, 0, NULL);
    q = node_quant(g, x, s, z, e, elem_lo(e), elem_hi(e), RND_EVEN);
    if (k > 2 && rnd_chance(r, 0.2)) q = node_map2(g, S_MAX, q, node_const_i(g, e, rnd_in(r, (int)elem_lo(e), 0)));
    if (k > 2 && rnd_chance(r, 0.2)) q = node_map2(g, S_MIN, q, node_const_i(g, e, rnd_in(r, 1, (int)elem_hi(e))));
  }
  return node_dequant(g, q, s, z, F32);
}

static void rnd_quantize(Rnd *r) { r->x = rnd_quantized(r, r->x); }

/* Weights [m, ..], quantized: codes with a scale per tensor or output channel (dimension `axis`), or floats behind a quant. */
static Node *rnd_weight(Rnd *r, int rank, const int64_t *d, int axis) {
  int64_t ds[MAX_RANK];
  for (int i = 0; i < rank; i++) ds[i] = i == axis ? d[i] : 1;
  Node *s = rnd_chance(r, 0.5) ? rnd_floats(r, rank, ds, rnd_scale) : rnd_floats(r, 0, NULL, rnd_scale), *z = NULL;
  int kind = rnd_below(r, 7);
  Elem e = kind == 0 ? BIPOLAR : kind == 1 ? (Elem){EK_SHIFT, (uint8_t)rnd_in(r, 2, 4)} : kind < 5 ? INTK(rnd_in(r, 2, 8)) : UINTK(rnd_in(r, 1, 8));
  if (kind > 3 && rnd_chance(r, 0.5)) z = rnd_codes(r, e, rnd_chance(r, 0.3) ? rank : 0, ds);
  if ((kind == 2 || kind == 0) && rnd_chance(r, 0.5)) {
    Node *q = node_quant(r->g, rnd_floats(r, rank, d, rnd_offset), s, NULL, e, elem_lo(e) + (kind && rnd_chance(r, 0.5)), elem_hi(e), RND_EVEN);
    return node_dequant(r->g, q, s, NULL, F32);
  }
  return node_dequant(r->g, rnd_codes(r, e, rank, d), s, z, F32);
}

static void rnd_bias(Rnd *r) { if (rnd_chance(r, 0.5)) r->x = node_map2(r->g, S_ADD, r->x, rnd_per_channel(r, r->x, rnd_offset)); }

static void rnd_conv(Rnd *r) {
  Node *x = r->x;
  int sp = x->t.rank - 2;
  int64_t c = rnd_dim(x, 1), m = rnd_in(r, 1, 5), w[MAX_RANK], stride[MAX_RANK], dil[MAX_RANK], pad[MAX_RANK], out[MAX_RANK], n = rnd_dim(x, 0);
  int64_t groups = rnd_chance(r, 0.3) ? c : c % 2 == 0 && rnd_chance(r, 0.3) ? 2 : 1;
  if (sp < 1) return;
  if (groups > 1) m = groups * rnd_in(r, 1, 2);
  w[0] = m, w[1] = c / groups;
  for (int i = 0; i < sp; i++) {
    w[2 + i] = rnd_in(r, 1, 3);
    dil[i] = rnd_chance(r, 0.2) ? 2 : 1;
    stride[i] = rnd_in(r, 1, 2);
    pad[i] = rnd_below(r, (int)w[2 + i]);
    int64_t span = rnd_dim(x, 2 + i) + 2 * pad[i] - (w[2 + i] - 1) * dil[i] - 1;
    if (span < 0) return;
    n *= out[i] = span / stride[i] + 1;
  }
  if (n * m > ELEMENTS_MOST) return;
  r->x = node_conv(r->g, x, rnd_weight(r, 2 + sp, w, 0), (int)groups, stride, dil, pad, out, 0, F32);
  rnd_bias(r);
}

/* y[n, m, o..] = sum over c, k.. of x[n, c, (o + pad - k) / stride] * w[c, m, k..] */
static void rnd_conv_transpose(Rnd *r) {
  Node *x = r->x;
  int sp = x->t.rank - 2, no = 2 + sp;
  int64_t c = rnd_dim(x, 1), m = rnd_in(r, 1, 3), w[MAX_RANK] = {c, m}, n = rnd_dim(x, 0) * m;
  if (sp < 1) return;
  Type t = {.e = F32, .rank = (uint8_t)no, .d = {x->t.d[0], dim_c(m)}};
  Affine ax[MAX_RANK], aw[MAX_RANK];
  Iters it = {.n_out = (uint8_t)no, .n_red = (uint8_t)(1 + sp), .red = {dim_c(c)}, .acc = {ax, aw}};
  ax[0] = affine_iter(0, 1, 0), ax[1] = affine_iter(no, 1, 0), aw[0] = affine_iter(no, 1, 0), aw[1] = affine_iter(1, 1, 0);
  for (int i = 0; i < sp; i++) {
    int64_t k = rnd_in(r, 1, 3), s = rnd_in(r, 1, 2), pad = rnd_below(r, (int)k), out = s * (rnd_dim(x, 2 + i) - 1) + k - 2 * pad;
    if (out < 1) return;
    n *= out;
    w[2 + i] = k;
    t.d[2 + i] = dim_c(out);
    it.red[1 + i] = dim_c(k);
    ax[2 + i] = affine_iter(2 + i, 1, pad);
    ax[2 + i].coef[no + 1 + i] = -1;
    ax[2 + i].div = s;
    aw[2 + i] = affine_iter(no + 1 + i, 1, 0);
  }
  if (n > ELEMENTS_MOST) return;
  r->x = node_contract(r->g, S_MUL, &t, 2, (Node *[]){x, rnd_weight(r, no, w, 1)}, &it, 0);
  rnd_bias(r);
}

static void rnd_dense(Rnd *r) {
  int64_t k = rnd_dim(r->x, r->x->t.rank - 1), m = rnd_in(r, 1, 8);
  if (r->x->t.rank > 3) { /* flatten */
    int64_t n = rnd_count(r->x) / rnd_dim(r->x, 0);
    r->x = node_reshape(r->g, r->x, 2, (Dim[]){r->x->t.d[0], dim_c(n)});
    k = n;
  }
  Node *w = rnd_chance(r, 0.5) ? rnd_weight(r, 2, (int64_t[]){k, m}, 1) : node_transpose(r->g, rnd_weight(r, 2, (int64_t[]){m, k}, 0), (int[]){1, 0});
  r->x = node_matmul(r->g, r->x, w, F32);
  if (rnd_chance(r, 0.3)) r->x = node_map2(r->g, S_MUL, r->x, rnd_f(r, 0.5)); /* Gemm's alpha */
  rnd_bias(r);
}

static void rnd_norm(Rnd *r) {
  int64_t c = r->x->t.rank > 1 ? rnd_dim(r->x, 1) : 0;
  if (r->x->t.rank < 2) return;
  Node *in[5] = {r->x, rnd_floats(r, 1, &c, rnd_gain), rnd_floats(r, 1, &c, rnd_offset), rnd_floats(r, 1, &c, rnd_offset), rnd_floats(r, 1, &c, rnd_variance)};
  r->x = node_bn_spelled(r->g, in, 1e-5);
}

static void rnd_activate(Rnd *r) {
  Graph *g = r->g;
  Node *x = r->x, *a;
  switch (rnd_below(r, 12)) {
  case 0: case 1: case 2: r->x = node_map2(g, S_MAX, x, rnd_f(r, 0)); break;
  case 3: r->x = node_map2(g, S_MIN, node_map2(g, S_MAX, x, rnd_f(r, -1)), rnd_f(r, 1)); break;
  case 4: r->x = node_map2(g, S_MIN, node_map2(g, S_MAX, x, rnd_f(r, 0)), rnd_f(r, 6)); break;
  case 5: r->x = node_map3(g, S_SELECT, node_map2(g, S_LT, x, rnd_f(r, 0)), node_map2(g, S_MUL, x, rnd_f(r, 0.1)), x); break;
  case 6: r->x = node_map1(g, S_SIGN, x); break;
  case 7: r->x = node_map1(g, S_TANH, x); break;
  case 8: r->x = node_map2(g, S_DIV, rnd_f(r, 1), node_map2(g, S_ADD, node_map1(g, S_EXP, node_map1(g, S_NEG, x)), rnd_f(r, 1))); break;
  case 9: r->x = node_map1(g, rnd_chance(r, 0.5) ? S_ABS : S_FLOOR, x); break;
  case 10: /* hard swish */
    a = node_map2(g, S_MIN, node_map2(g, S_MAX, node_map2(g, S_ADD, x, rnd_f(r, 3)), rnd_f(r, 0)), rnd_f(r, 6));
    r->x = node_map2(g, S_DIV, node_map2(g, S_MUL, x, a), rnd_f(r, 6));
    break;
  default: r->x = node_map2(g, rnd_chance(r, 0.5) ? S_MUL : S_SUB, rnd_per_channel(r, x, rnd_gain), x);
  }
}

static void rnd_pool(Rnd *r) {
  Node *x = r->x;
  int rank = x->t.rank, sp = rank - 2;
  if (sp < 1) return;
  Type t = x->t;
  bool max = rnd_chance(r, 0.5);
  Affine acc[MAX_RANK] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0)};
  Iters it = {.n_out = (uint8_t)rank, .n_red = (uint8_t)sp, .acc = {acc}};
  int64_t window = 1;
  for (int i = 2; i < rank; i++) {
    int64_t k = rnd_in(r, 1, 2), s = rnd_in(r, 1, 2), p = k > 1 && max && rnd_chance(r, 0.3);
    if (t.d[i].n + 2 * p < k) return;
    acc[i] = affine_iter(i, s, -p);
    acc[i].coef[rank + i - 2] = 1;
    it.red[i - 2] = dim_c(k);
    t.d[i].n = (t.d[i].n + 2 * p - k) / s + 1;
    window *= k;
  }
  r->x = node_reduce(r->g, max ? S_MAX : S_ADD, x, &t, &it);
  if (!max) r->x = node_map2(r->g, S_DIV, r->x, rnd_f(r, (double)window));
}

/* A global average, as GlobalAveragePool. */
static void rnd_average(Rnd *r) {
  uint32_t axes = 0;
  int64_t n = 1;
  for (int i = 2; i < r->x->t.rank; i++) axes |= 1u << i, n *= rnd_dim(r->x, i);
  if (axes) r->x = node_map2(r->g, S_DIV, node_reduce_axes(r->g, S_ADD, r->x, axes, true), rnd_f(r, (double)n));
}

/* An earlier value of x's shape; with axis >= 0 it may differ there. NULL where there is none. */
static Node *rnd_other(Rnd *r, int axis) {
  for (int i = 0, at = rnd_below(r, r->n_old); i < r->n_old; i++) {
    Node *o = r->old[(at + i) % r->n_old];
    bool fits = o->t.rank == r->x->t.rank;
    for (int k = 0; fits && k < o->t.rank; k++) fits = k == axis || dim_eq(o->t.d[k], r->x->t.d[k]);
    if (fits && o != r->x) return o;
  }
  return NULL;
}

static void rnd_join(Rnd *r) {
  bool add = rnd_chance(r, 0.6);
  int axis = add ? -1 : rnd_below(r, r->x->t.rank);
  Node *o = rnd_other(r, axis);
  if (!o || rnd_count(o) + rnd_count(r->x) > ELEMENTS_MOST) return;
  if (!add) r->x = node_concat(r->g, 2, rnd_chance(r, 0.5) ? (Node *[]){o, r->x} : (Node *[]){r->x, o}, axis);
  else r->x = node_map2(r->g, rnd_chance(r, 0.85) ? S_ADD : rnd_chance(r, 0.5) ? S_SUB : S_MUL, r->x, o);
}

/* Two halves along the channels, each with a quantizer of its own, joined again. */
static void rnd_split(Rnd *r) {
  if (r->x->t.rank < 2 || rnd_dim(r->x, 1) < 2) return;
  int64_t c = rnd_dim(r->x, 1), k = rnd_in(r, 1, (int)c - 1);
  Node *a = rnd_quantized(r, node_slice(r->g, r->x, 1, 0, 1, k)), *b = rnd_quantized(r, node_slice(r->g, r->x, 1, k, 1, c - k));
  r->x = node_concat(r->g, 2, (Node *[]){a, b}, 1);
}

static void rnd_shuffle(Rnd *r) {
  Graph *g = r->g;
  Node *x = r->x;
  int rank = x->t.rank, perm[MAX_RANK];
  int64_t d[MAX_RANK] = {0}, e[MAX_RANK] = {0};
  switch (rnd_below(r, 4)) {
  case 0:
    for (int i = 0; i < rank; i++) perm[i] = i;
    for (int i = rank - 1; i > 1; i--) {
      int j = rnd_in(r, 1, i), t = perm[i];
      perm[i] = perm[j], perm[j] = t;
    }
    r->x = node_transpose(g, x, perm);
    break;
  case 1:
    d[rank - 1] = 1, e[rank - 1] = rnd_below(r, 2);
    r->x = node_pad(g, x, d, e, rnd_chance(r, 0.6) ? 0 : 0.5);
    break;
  case 2: r->x = node_slice(g, x, rank - 1, rnd_dim(x, rank - 1) - 1, -1, rnd_dim(x, rank - 1)); break;
  default: /* the last two dimensions become one, or the last but the batch */
    if (rank > 2) {
      Dim n[MAX_RANK];
      for (int i = 0; i < rank; i++) n[i] = x->t.d[i];
      n[rank - 2] = dim_c(n[rank - 2].n * n[rank - 1].n);
      r->x = node_reshape(g, x, rank - 1, n);
    }
  }
}

/* A product of two activations, as attention has it: x[.., M, K] . x[.., M, K]^T. */
static void rnd_attend(Rnd *r) {
  int rank = r->x->t.rank, perm[MAX_RANK];
  if (rank < 2 || rank > 3 || rnd_dim(r->x, rank - 2) > 8) return;
  for (int i = 0; i < rank; i++) perm[i] = i;
  perm[rank - 1] = rank - 2, perm[rank - 2] = rank - 1;
  Node *q = rnd_quantized(r, r->x), *k = rnd_quantized(r, r->x);
  r->x = node_matmul(r->g, q, node_transpose(r->g, k, perm), F32);
}

static void rnd_layer(Rnd *r) {
  switch (rnd_below(r, 16)) {
  case 0: case 1: case 2: case 3: rnd_conv(r); break;
  case 4: rnd_conv_transpose(r); break;
  case 5: case 6: rnd_dense(r); break;
  case 7: rnd_norm(r); break;
  case 8: rnd_pool(r); break;
  case 9: rnd_chance(r, 0.3) ? rnd_average(r) : rnd_pool(r); break;
  case 10: case 11: case 12: rnd_join(r); break;
  case 13: rnd_split(r); break;
  case 14: rnd_shuffle(r); break;
  default: rnd_attend(r);
  }
  if (rnd_chance(r, 0.4)) rnd_norm(r);
  for (int n = rnd_below(r, 3); n > 0; n--) rnd_activate(r);
  if (rnd_chance(r, 0.75)) rnd_quantize(r);
}

static Graph *random_graph(Ctx *ctx, uint64_t seed) {
  Rnd r = {.g = graph_new(ctx, "net", NULL), .state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
  int rank = rnd_in(&r, 2, 5);
  int64_t d[5] = {rnd_in(&r, 1, 2), rnd_in(&r, 1, 4)};
  for (int i = 2; i < rank; i++) d[i] = rnd_in(&r, rank == 5 ? 2 : 3, rank == 5 ? 4 : 7);
  if (rank == 2) d[1] = rnd_in(&r, 2, 16);
  Type t = type_make(F32, rank, d);
  r.x = graph_arg(r.g, "x", &t);
  if (rnd_chance(&r, 0.9)) rnd_quantize(&r);
  for (int n = rnd_in(&r, 1, LAYERS_MOST); n > 0; n--) {
    if (r.n_old < VALUES_MOST) r.old[r.n_old++] = r.x;
    rnd_layer(&r);
  }
  if (rnd_chance(&r, 0.2)) graph_out(r.g, "z", r.old[rnd_below(&r, r.n_old)]);
  graph_out(r.g, "y", r.x);
  return r.g;
}

/* An input of a size that the seed tells: small, ordinary, or large enough to saturate. */
static Tensor *random_input(Ctx *ctx, const Type *t, uint64_t seed) {
  Rnd r = {.state = seed * UINT64_C(0x9E3779B97F4A7C15) + 99};
  Tensor *x = tensor_new(ctx, t);
  double size = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 0.1 : 100;
  for (int64_t i = 0; x && i < x->n; i++)
    tensor_set_f(x, i, rnd_chance(&r, 0.1) ? (double)rnd_in(&r, -8, 8) / 4 : size * (2 * rnd_unit(&r) - 1));
  return x;
}

#endif
