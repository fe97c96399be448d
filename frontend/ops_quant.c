/* Quantized operators of ONNX and com.microsoft: each becomes dequant, the float operator, quant. passes/recognize.c makes
 * exact integers of them. */
#include "frontend/import.h"

#include <math.h>
#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* p of x's rank, one value per block along dimension `at`, repeated so that it has x's extent there. */
static Node *blocks_along(OpCall *c, const Node *x, Node *p, int at, int64_t block) {
  int64_t dims[MAX_RANK], apart[MAX_RANK + 1];
  int rank = x->t.rank;
  for (int i = 0; i < rank; i++) dims[i] = p->t.d[i].n;
  for (int i = 0, k = 0; i < rank; i++) { apart[k++] = dims[i]; if (i == at) apart[k++] = 1; }
  Node *y = ox_reshape(c, p, rank + 1, apart);
  apart[at + 1] = block;
  dims[at] *= block;
  y = ox_reshape(c, ox_broadcast_to(c, y, rank + 1, apart), rank, dims);
  return ox_fold(c, y ? node_slice(c->g, y, at, 0, 1, x->t.d[at].n) : NULL);
}

/* Scale or zero point against x: one value; a vector along axis; or x's rank with every n-th dimension in blocks. */
static Node *parameter(OpCall *c, const Node *x, Node *p, int axis) {
  int rank = x->t.rank;
  if (!ox_static(c, p)) return NULL;
  if (p->t.rank == 0) return p;
  if (p->t.rank == 1 && p->t.d[0].n == 1 && !(rank && x->t.d[axis].n == 1 && !x->t.d[axis].sym && rank == 1)) return ox_fold(c, ox_reshape(c, p, 0, NULL));
  if (p->t.rank == 1 && (rank != 1 || dim_eq(p->t.d[0], x->t.d[0]))) {
    if (!dim_eq(p->t.d[0], x->t.d[axis])) { ox_fail(c, E0207, "a scale or zero point has %lld values, axis %d another size", (long long)p->t.d[0].n, axis); return NULL; }
    return ox_fold(c, ox_along(c, p, axis, rank));
  }
  int64_t dims[MAX_RANK];
  int at = -1;
  if (p->t.rank != rank) { ox_fail(c, E0207, "a scale or zero point has rank %d, the value has %d", p->t.rank, rank); return NULL; }
  for (int i = 0; i < rank; i++) {
    if (x->t.d[i].sym) { ox_static(c, x); return NULL; }
    dims[i] = p->t.d[i].n;
    if (dim_eq(p->t.d[i], x->t.d[i]) || dims[i] == 1) continue;
    if (at >= 0 || dims[i] < 1) { ox_fail(c, E0207, "a scale or zero point does not fit the value"); return NULL; }
    at = i;
  }
  if (at < 0) return p;
  int64_t n = x->t.d[at].n, block = (n + dims[at] - 1) / dims[at]; /* the last block may be cut */
  int64_t given = strstr(c->row->attrs, "block_size") ? ox_int(c, "block_size") : 0;
  if (given > 0 && given < n) block = given;
  if ((n + block - 1) / block != dims[at] || rank >= MAX_RANK) { ox_fail(c, E0207, "blocks of %lld do not fit %lld", (long long)block, (long long)n); return NULL; }
  return blocks_along(c, x, p, at, block);
}

Node *ox_quant(OpCall *c, Node *x, Node *scale, Node *zp, Elem e, int axis) {
  if (!x || !scale || (zp && !elem_eq(zp->t.e, e))) {
    if (x && scale) ox_fail(c, E0206, "the zero point has another type than the result");
    return NULL;
  }
  if (!elem_is_float(x->t.e)) x = ox_cast(c, x, F32);
  scale = parameter(c, x, scale, axis);
  if (zp) zp = parameter(c, x, zp, axis);
  return scale ? node_quant(c->g, x, scale, zp, e, elem_lo(e), elem_hi(e), RND_EVEN) : NULL;
}

Node *ox_dequant(OpCall *c, Node *x, Node *scale, Node *zp, int axis, Elem result) {
  if (!x || !scale) return NULL;
  if (zp && !elem_eq(zp->t.e, x->t.e)) { ox_fail(c, E0206, "the zero point has another type than its value"); return NULL; }
  bool with_zp = zp != NULL;
  scale = parameter(c, x, scale, axis);
  if (zp) zp = parameter(c, x, zp, axis);
  return scale && (zp || !with_zp) ? node_dequant(c->g, x, scale, zp, result) : NULL;
}

/* The axis of per-axis parameters; of no matter where there are none. */
static bool quant_axis(OpCall *c, int *axis) {
  int rank = c->in[0]->t.rank;
  *axis = 0;
  return c->in[1]->t.rank == 0 || (c->in[1]->t.rank == 1 && dim_eq(c->in[1]->t.d[0], dim_c(1))) || ox_axis(c, ox_int(c, "axis"), rank, axis);
}

bool op_quantize(OpCall *c) {
  int axis;
  Elem e = ox_in(c, 2) ? c->in[2]->t.e : U8;
  bool ml = *c->row->domain != 0;
  int64_t dtype = ml ? 0 : ox_int(c, "output_dtype"), precision = ml ? 0 : ox_int(c, "precision");
  if (!ox_in(c, 2) && dtype && !onnx_elem(dtype > 0 && dtype < 1000 ? (int)dtype : -1, &e)) return ox_fail(c, E0303, "output_dtype is not supported");
  if (precision == 11) return ox_fail(c, E0302, "division in binary64");
  if (!elem_is_code(e) || e.kind == EK_BOOL) return ox_fail(c, E0206, "the result is not an integer type");
  return quant_axis(c, &axis) && done(c, ox_quant(c, c->in[0], c->in[1], ox_in(c, 2), e, axis));
}

bool op_dequantize(OpCall *c) {
  int axis;
  Elem e = c->in[1]->t.e;
  int64_t dtype = *c->row->domain ? 0 : ox_int(c, "output_dtype");
  if (dtype && (!onnx_elem(dtype > 0 && dtype < 1000 ? (int)dtype : -1, &e) || !elem_is_float(e))) return ox_fail(c, E0303, "output_dtype is not supported");
  if (ox_in(c, 2) && !elem_eq(c->in[0]->t.e, c->in[2]->t.e)) return ox_fail(c, E0206, "the zero point has another type than the input");
  return quant_axis(c, &axis) && done(c, ox_dequant(c, c->in[0], c->in[1], ox_in(c, 2), axis, e));
}

/* scale = (max(x, 0) - min(x, 0)) / 255, zero point = clamp(round(-min / scale)), in u8. */
bool op_dynamic_quantize(OpCall *c) {
  Node *x = ox_cast(c, c->in[0], F32);
  uint32_t all = (1u << x->t.rank) - 1;
  if (!ox_static(c, x)) return false;
  Node *range[3] = {ox_reduce(c, S_MAX, x, all, false), ox_reduce(c, S_MIN, x, all, false), NULL};
  Node *scale = ox_formula(c, "x 0 max  y 0 min  sub 255 div", range, 0);
  Node *args[3] = {range[1], scale, NULL};
  Node *zp = ox_cast(c, ox_formula(c, "0  x 0 min  sub y div  0 max 255 min round", args, 0), U8);
  if (c->n_out > 1) c->out[1] = scale;
  if (c->n_out > 2) c->out[2] = zp;
  return zp && done(c, ox_quant(c, x, scale, zp, U8, 0));
}

/* Operand at i with its scale and zero point after it. */
static Node *deq(OpCall *c, int i, int axis) { return ox_dequant(c, c->in[i], c->in[i + 1], ox_in(c, i + 2), axis, F32); }
/* y to the type of its zero point at i + 1, or of `like` where there is none. */
static Node *req(OpCall *c, Node *y, int i, const Node *like, int axis) {
  return ox_quant(c, y, c->in[i], ox_in(c, i + 1), ox_in(c, i + 1) ? c->in[i + 1]->t.e : like->t.e, axis);
}

/* An i32 bias in steps of the product of the operands' scales. */
static Node *wide_bias(OpCall *c, Node *b, Node *s1, Node *s2, int axis, int rank) {
  if (!elem_eq(b->t.e, I32)) { ox_fail(c, E0206, "the bias is not i32"); return NULL; }
  Node *scale = ox_fold(c, ox_map2(c, S_MUL, s1->t.rank == 1 && dim_eq(s1->t.d[0], dim_c(1)) ? ox_reshape(c, s1, 0, NULL) : s1, s2));
  Node *y = ox_dequant(c, b, scale, NULL, 0, F32);
  return b->t.rank == 1 ? ox_along(c, y, axis, rank) : y;
}

bool op_qlinear_conv(OpCall *c) {
  Node *y = ox_conv(c, deq(c, 0, 1), deq(c, 3, 0), F32), *b = ox_in(c, 8);
  if (!y) return false;
  if (b && (b->t.rank != 1 || !dim_eq(b->t.d[0], y->t.d[1]))) return ox_fail(c, E0207, "the bias does not have one value per channel");
  if (b) y = ox_map2(c, S_ADD, y, wide_bias(c, b, c->in[1], c->in[4], 1, y->t.rank));
  return done(c, y ? req(c, y, 6, c->in[0], 1) : NULL);
}

/* a's parameters may be per row, b's per column. */
bool op_qlinear_matmul(OpCall *c) {
  int ra = c->in[0]->t.rank, rb = c->in[3]->t.rank;
  Node *a = deq(c, 0, ra > 1 ? ra - 2 : 0), *b = deq(c, 3, rb ? rb - 1 : 0);
  if (!a || !b) return false;
  Node *y = node_matmul(c->g, a, b, F32);
  if (!y) return ox_fail(c, E0207, "the operands' shapes do not fit a matrix product");
  return done(c, req(c, y, 6, c->in[0], y->t.rank > 1 ? y->t.rank - 2 : 0));
}

/* a, scale, zp, b, scale, zp, [c], y scale, y zp: a float result where y has no scale. */
bool op_qgemm(OpCall *c) {
  bool ta = ox_int(c, "transA") != 0, tb = ox_int(c, "transB") != 0;
  double alpha = ox_float(c, "alpha");
  Node *y = ox_gemm(c, deq(c, 0, ta ? 1 : 0), deq(c, 3, tb ? 0 : 1)), *b = ox_in(c, 6);
  if (y && alpha != 1) y = ox_map2(c, S_MUL, y, ox_num(c, F32, alpha));
  if (y && b) {
    Node *s = alpha != 1 ? ox_map2(c, S_MUL, c->in[1], ox_num(c, F32, alpha)) : c->in[1];
    Node *bias = s ? wide_bias(c, b, s, c->in[4], 1, 2) : NULL;
    Type t = y->t;
    y = ox_map2(c, S_ADD, y, bias);
    if (y && !type_eq(&y->t, &t)) return ox_fail(c, E0207, "C does not broadcast to the result");
  }
  return done(c, y && ox_in(c, 7) ? req(c, y, 7, c->in[0], 0) : y);
}

bool op_qlinear_binary(OpCall *c) {
  Node *args[3] = {deq(c, 0, 0), deq(c, 3, 0), NULL};
  Node *y = args[1] ? ox_formula(c, c->row->how, args, 0) : NULL;
  return done(c, y ? req(c, y, 6, c->in[0], 0) : NULL);
}

bool op_qlinear_unary(OpCall *c) {
  Node *args[3] = {deq(c, 0, 0), NULL, NULL}, *y = ox_formula(c, c->row->how, args, 0);
  return done(c, y ? req(c, y, 3, c->in[0], 0) : NULL);
}

bool op_qlinear_softmax(OpCall *c) {
  Node *y = ox_softmax(c, deq(c, 0, 0), false, ox_int(c, "opset"));
  return done(c, y ? req(c, y, 3, c->in[0], 0) : NULL);
}

/* Channels last is channels first between two transpositions. */
bool op_qlinear_pool(OpCall *c) {
  Node *x = deq(c, 0, 0), *y;
  bool last = ox_int(c, "channels_last") != 0;
  int rank = x ? x->t.rank : 0, to[MAX_RANK], back[MAX_RANK];
  if (!x) return false;
  if (rank < 3) return ox_fail(c, E0207, "the input has rank %d", rank);
  for (int i = 0; i < rank; i++) {
    to[i] = i == 1 ? rank - 1 : i > 1 ? i - 1 : 0;
    back[i] = i == rank - 1 ? 1 : i > 0 ? i + 1 : 0;
  }
  if (last) x = ox_transpose(c, x, to);
  if (strcmp(c->row->how, "global")) y = ox_average_pool(c, x);
  else {
    for (int i = 2; i < rank; i++) if (x->t.d[i].sym) return ox_static(c, x);
    y = ox_map2(c, S_DIV, ox_reduce(c, S_ADD, x, (1u << rank) - 4, true), ox_num(c, F32, (double)ox_count(&x->t, 2, rank)));
  }
  if (last) y = ox_transpose(c, y, back);
  return done(c, y ? req(c, y, 3, c->in[0], 0) : NULL);
}

/* y scale, y zp, then x, scale, zp for each input. */
bool op_qlinear_concat(OpCall *c) {
  int axis, n = (c->n_in - 2) / 3;
  if (n < 1 || c->n_in != 2 + 3 * n || n > 1024) return ox_fail(c, E0205, "%d inputs are not y's two and three for each operand", c->n_in);
  Node **in = NEWN(c->g->arena, Node *, n);
  for (int i = 0; i < n; i++) {
    Node *x = c->in[2 + 3 * i], *s = c->in[3 + 3 * i];
    if (!x || !s || !elem_is_code(x->t.e) || !elem_is_float(s->t.e)) return ox_fail(c, E0206, "operand %d is not a quantized value with its scale", i);
    in[i] = deq(c, 2 + 3 * i, 0);
    if (!in[i]) return false;
    if (i == 0 && !ox_axis(c, ox_int(c, "axis"), in[0]->t.rank, &axis)) return false;
    if (in[i]->t.rank != in[0]->t.rank || in[i]->t.d[axis].sym) return ox_fail(c, E0207, "operand %d does not fit operand 0", i);
    for (int d = 0; d < in[0]->t.rank; d++)
      if (d != axis && !dim_eq(in[i]->t.d[d], in[0]->t.d[d])) return ox_fail(c, E0207, "operand %d differs in dimension %d", i, d);
  }
  Node *zp = ox_in(c, 1), *y = node_concat(c->g, n, in, axis);
  if (!elem_is_float(c->in[0]->t.e)) return ox_fail(c, E0206, "the scale is not a float");
  return done(c, ox_quant(c, y, c->in[0], zp, zp ? zp->t.e : c->in[2]->t.e, 0));
}

/* Code i of row r in packed bytes, the lowest bits first; every row begins with a byte. */
static int64_t packed_code(const Tensor *t, int64_t row_bytes, int64_t r, int64_t i, int bits) {
  int64_t per = 8 / bits, at = r * row_bytes + i / per;
  return tensor_i(t, at) >> (i % per * bits) & ((1 << bits) - 1);
}

/* A[.., K] . W^T, W[N, K] = (codes - zero points) * scales in blocks of K; codes packed in bytes [N, blocks, block_size * bits / 8]. */
bool op_matmul_nbits(OpCall *c) {
  int64_t k = ox_int(c, "K"), n = ox_int(c, "N"), bits = ox_int(c, "bits"), block = ox_int(c, "block_size");
  const Tensor *b = ox_value(c, c->in[1], "the weights"), *zp = ox_in(c, 3) ? ox_value(c, c->in[3], "the zero points") : NULL;
  if (!b || (ox_in(c, 3) && !zp)) return false;
  if (ox_in(c, 4) || ox_int(c, "weight_prepacked")) return ox_fail(c, E0302, "permuted or packed weights");
  if ((bits != 2 && bits != 4 && bits != 8) || k < 1 || n < 1 || k > INT32_MAX || n > INT32_MAX || block < 16 || block > 1 << 20 || (block & (block - 1)))
    return ox_fail(c, E0204, "K, N, bits or block_size beyond what they may be");
  int64_t blocks = (k + block - 1) / block, row = blocks * block * bits / 8, zp_row = (blocks * bits + 7) / 8, count;
  bool floats = zp && elem_is_float(zp->t.e);
  if (!elem_eq(b->t.e, U8) || b->n != n * row) return ox_fail(c, E0207, "the weights have %lld bytes, not %lld", (long long)b->n, (long long)(n * row));
  if (zp && (floats ? zp->n != n * blocks : !elem_eq(zp->t.e, U8) || zp->n != n * zp_row)) return ox_fail(c, E0207, "the zero points do not fit the weights");
  if (!type_count(&c->in[2]->t, &count) || count != n * blocks) return ox_fail(c, E0207, "there is not one scale per block");
  Elem e = UINTK(bits), f = c->in[0]->t.e, ze = floats ? F32 : e;
  Tensor *q = ox_tensor(c, e, 2, (int64_t[]){n, k}), *z = ox_tensor(c, ze, 2, (int64_t[]){n, blocks});
  if (!q || !z) return false;
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < k; j++) tensor_set_i(q, i * k + j, packed_code(b, row, i, j, (int)bits));
    for (int64_t j = 0; j < blocks; j++) {
      if (floats) tensor_set_f(z, i * blocks + j, tensor_f(zp, i * blocks + j));
      else tensor_set_i(z, i * blocks + j, zp ? packed_code(zp, zp_row, i, j, (int)bits) : INT64_C(1) << (bits - 1));
    }
  }
  Node *scale = ox_fold(c, ox_reshape(c, ox_cast(c, c->in[2], F32), 2, (int64_t[]){n, blocks})), *w, *qn = node_const(c->g, q);
  Node *zn = blocks_along(c, qn, node_const(c->g, z), 1, block);
  scale = scale ? blocks_along(c, qn, scale, 1, block) : NULL;
  if (!scale || !zn) return false;
  w = node_dequant(c->g, qn, scale, zn, F32);
  Node *y = node_matmul(c->g, ox_cast(c, c->in[0], F32), ox_transpose(c, w, (int[]){1, 0}), F32);
  if (!y) return ox_fail(c, E0207, "the operands' shapes do not fit a matrix product");
  if (ox_in(c, 5)) y = ox_map2(c, S_ADD, y, ox_cast(c, c->in[5], F32));
  return done(c, ox_cast(c, y, f));
}
