/* contract as MatMul, Gemm, Conv, ConvTranspose, MatMulInteger, ConvInteger or Einsum where one says it, with sums in the same
 * order; else as a product and ReduceSum. Sums of codes are exact in any order. */
#include "frontend/export_access.h"

#include <string.h>

/* A contraction in the type w that it is computed in. */
typedef struct Product { const Node *n; const char *v[3]; Elem w; Dim ext[MAX_ITERS]; int total, n_out; } Product;

static const Affine *acc(const Product *p, int k, int d) { return &p->n->a.iters->acc[k][d]; }
static bool straight(const Product *p, int k, int d, int iter) { return x_straight(p->ext, p->total, acc(p, k, d), p->n->in[k]->t.d[d], iter); }

/* Matrix products */

/* Batch dimension d of operand k is output iterator `iter`, or 1 and broadcast. */
static bool batch(const Product *p, int k, int d, int iter) {
  if (straight(p, k, d, iter)) return true;
  return dim_eq(p->n->in[k]->t.d[d], dim_c(1)) && x_affine(p->ext, p->total, acc(p, k, d), 0, 1, 0, NULL, NULL);
}

static bool is_matmul(const Product *p) {
  const Node *n = p->n;
  if (n->n_in != 2 || n->a.iters->n_red != 1) return false;
  int ra = n->in[0]->t.rank, rb = n->in[1]->t.rank, red = p->n_out;
  int ba = ra > 2 ? ra - 2 : 0, bb = rb > 2 ? rb - 2 : 0, b = ba > bb ? ba : bb;
  if (!ra || !rb || p->n_out != b + (ra > 1) + (rb > 1)) return false;
  if (!straight(p, 0, ra - 1, red) || !straight(p, 1, rb > 1 ? rb - 2 : 0, red)) return false;
  if ((ra > 1 && !straight(p, 0, ra - 2, b)) || (rb > 1 && !straight(p, 1, rb - 1, b + (ra > 1)))) return false;
  for (int i = 0; i < ba; i++) if (!batch(p, 0, i, b - ba + i)) return false;
  for (int i = 0; i < bb; i++) if (!batch(p, 1, i, b - bb + i)) return false;
  for (int i = 0; i < b; i++) { /* someone has the batch's extent */
    int ia = i - (b - ba), ib = i - (b - bb);
    if (!(ia >= 0 && dim_eq(n->in[0]->t.d[ia], p->ext[i])) && !(ib >= 0 && dim_eq(n->in[1]->t.d[ib], p->ext[i]))) return false;
  }
  return true;
}

/* Two matrices, at least one of them transposed. */
static const char *gemm(Export *x, const Product *p) {
  const Node *n = p->n;
  if (n->n_in != 2 || n->a.iters->n_red != 1 || p->n_out != 2 || n->in[0]->t.rank != 2 || n->in[1]->t.rank != 2) return NULL;
  for (int ta = 0; ta < 2; ta++)
    for (int tb = 0; tb < 2; tb++) {
      if (!straight(p, 0, ta, 0) || !straight(p, 0, !ta, 2) || !straight(p, 1, tb, 2) || !straight(p, 1, !tb, 1)) continue;
      const char *v = x2(x, "Gemm", p->v[0], p->v[1]);
      if (ta) x_attr_i(x, "transA", 1);
      if (tb) x_attr_i(x, "transB", 1);
      return v;
    }
  return NULL;
}

/* Convolutions */

typedef struct ConvWindow { int sp; int64_t groups, stride[MAX_RANK], dilation[MAX_RANK], pads[2 * MAX_RANK], extra[MAX_RANK], fill[2 * MAX_RANK]; } ConvWindow;

/* y[n, (g), m, o..] = sum over c, k.. of x[n, g*C + c, o*stride + k*dilation - pad] * w[g*M + m, c, k..], as node_conv builds it. */
static bool is_conv(const Product *p, ConvWindow *w) {
  const Node *n = p->n;
  const Type *x = &n->in[0]->t, *k = &n->in[1]->t;
  int sp = x->rank - 2, g = p->n_out - 2 - sp, m = 1 + g, c = p->n_out;
  if (n->n_in != 2 || sp < 1 || sp > 4 || k->rank != x->rank || g < 0 || g > 1 || n->a.iters->n_red != 1 + sp || !type_static(k) || x->d[1].sym) return false;
  int64_t per = p->ext[m].n, ch = k->d[1].n;
  *w = (ConvWindow){.sp = sp, .groups = g ? p->ext[1].n : 1};
  if (p->ext[m].sym || w->groups < 1 || k->d[0].n != w->groups * per || x->d[1].n != w->groups * ch) return false;
  if (!straight(p, 0, 0, 0) || !straight(p, 1, 1, c) || !dim_eq(p->ext[c], k->d[1])) return false;
  if (!x_affine(p->ext, p->total, acc(p, 0, 1), 0, 1, 1 + g, (int[]){c, 1}, (int64_t[]){1, ch})) return false;
  if (!x_affine(p->ext, p->total, acc(p, 1, 0), 0, 1, 1 + g, (int[]){m, 1}, (int64_t[]){1, per})) return false;
  for (int i = 0; i < sp; i++) {
    const Affine *a = acc(p, 0, 2 + i);
    int o = m + 1 + i, r = c + 1 + i;
    if (x->d[2 + i].sym || p->ext[o].sym || !straight(p, 1, 2 + i, r)) return false;
    int64_t kernel = k->d[2 + i].n, out = p->ext[o].n;
    w->stride[i] = out > 1 ? a->coef[o] : 1;
    w->dilation[i] = kernel > 1 ? a->coef[r] : 1;
    if (kernel < 1 || out < 1 || w->stride[i] < 1 || w->dilation[i] < 1) return false;
    if (!x_affine(p->ext, p->total, a, a->base, 1, 2, (int[]){o, r}, (int64_t[]){w->stride[i], w->dilation[i]})) return false;
    int64_t reach = w->dilation[i] * (kernel - 1) + 1, after = (out - 1) * w->stride[i] + reach + a->base - x->d[2 + i].n;
    w->pads[i] = -a->base;
    w->pads[sp + i] = after > 0 ? after : 0;
    if (w->pads[i] < 0 || (x->d[2 + i].n + w->pads[i] + w->pads[sp + i] - reach) / w->stride[i] + 1 != out) return false;
  }
  return true;
}

static void window_attrs(Export *x, const ConvWindow *w) {
  x_attr_i(x, "group", w->groups);
  x_attr_is(x, "strides", w->sp, w->stride);
  x_attr_is(x, "pads", 2 * w->sp, w->pads);
  x_attr_is(x, "dilations", w->sp, w->dilation);
}

/* Padding with another number than 0 is put there before. e: of the value. */
static const char *padded(Export *x, const Product *p, ConvWindow *w, const char *v, Elem e) {
  int64_t before[MAX_RANK] = {0}, after[MAX_RANK] = {0};
  if (p->n->a.fill == 0) return v;
  for (int i = 0; i < w->sp; i++) {
    before[2 + i] = w->pads[i], after[2 + i] = w->pads[w->sp + i];
    w->pads[i] = w->pads[w->sp + i] = 0;
  }
  return x_pad(x, v, e, 2 + w->sp, before, after, p->n->a.fill);
}

/* A value of dimensions that ONNX has merged, and its type; the node's own shape by a last Reshape. */
static const char *split(Export *x, const Node *n, const char *v, const Type *merged) {
  x->raw[n->id].v = v;
  x->raw[n->id].t = *merged;
  return x_reshape(x, v, merged, &n->t);
}

/* [n, g, m, ..] as [n, g*m, ..]. */
static Type merged(const Type *t, bool groups) {
  Type r = *t;
  if (!groups) return r;
  r.d[1] = dim_c(t->d[1].n * t->d[2].n);
  for (int i = 2; i + 1 < t->rank; i++) r.d[i] = t->d[i + 1];
  r.rank--;
  r.d[r.rank] = dim_c(0);
  return r;
}

static bool is_byte(Elem e) { return elem_is_code(e) && x_carrier(e).bits == 8 && e.kind != EK_BOOL; }

/* y[n, g, m, o..] = sum over c, k.. of x[n, g, c, (o + before - k*dilation) / stride] * w[g, c, m, k..], as the frontend builds it. */
static bool is_transposed(const Product *p, ConvWindow *w) {
  const Node *n = p->n;
  const Type *x = &n->in[0]->t, *k = &n->in[1]->t;
  int sp = x->rank - 3, c = p->n_out;
  if (n->n_in != 2 || sp < 1 || sp > 4 || k->rank != x->rank || p->n_out != x->rank || n->a.iters->n_red != 1 + sp || n->a.fill != 0) return false;
  if (!straight(p, 0, 0, 0) || !straight(p, 0, 1, 1) || !straight(p, 0, 2, c) || !straight(p, 1, 0, 1) || !straight(p, 1, 1, c) || !straight(p, 1, 2, 2)) return false;
  *w = (ConvWindow){.sp = sp, .groups = x->d[1].n};
  for (int i = 0; i < sp; i++) {
    const Affine *a = acc(p, 0, 3 + i);
    int o = 3 + i, r = c + 1 + i;
    if (x->d[3 + i].sym || p->ext[o].sym || !type_static(k) || !straight(p, 1, 3 + i, r)) return false;
    int64_t kernel = k->d[3 + i].n;
    w->stride[i] = a->div;
    w->dilation[i] = kernel > 1 ? -a->coef[r] : 1;
    if (kernel < 1 || x->d[3 + i].n < 1 || w->dilation[i] < 1 || a->base < 0) return false;
    if (!x_affine(p->ext, p->total, a, a->base, a->div, 2, (int[]){o, r}, (int64_t[]){1, -w->dilation[i]})) return false;
    int64_t after = w->stride[i] * (x->d[3 + i].n - 1) + w->dilation[i] * (kernel - 1) + 1 - a->base - p->ext[o].n;
    w->pads[i] = a->base;
    w->pads[sp + i] = after > 0 ? after : 0;
    w->extra[i] = after < 0 ? -after : 0;
    if (w->extra[i] && w->extra[i] >= w->stride[i] && w->extra[i] >= w->dilation[i]) return false;
  }
  return true;
}

/* x [n, g, c, ..] and w [g, c, m, ..] as ConvTranspose has them: the values before a reshape where it made them so. */
static const char *regrouped(Export *x, const Node *n, const char *v, int at) {
  Type t = n->t;
  t.d[at] = dim_c(t.d[at].n * t.d[at + 1].n);
  for (int i = at + 1; i + 1 < n->t.rank; i++) t.d[i] = n->t.d[i + 1];
  t.rank--;
  t.d[t.rank] = dim_c(0);
  if (n->op == OP_RESHAPE && type_eq(&n->in[0]->t, &t)) return x_value(x, n->in[0]);
  if (!node_is_const(n)) return x_reshape(x, v, &n->t, &t);
  int64_t d[MAX_RANK];
  for (int i = 0; i < t.rank; i++) d[i] = t.d[i].n;
  return x_tensor(x, n->a.value, onnx_type_of(x_carrier(n->t.e)), t.rank, d, "weight");
}

static const char *transposed(Export *x, const Product *p, const ConvWindow *w) {
  const Node *n = p->n;
  Type t = merged(&n->t, true);
  const char *v = x2(x, "ConvTranspose", regrouped(x, n->in[0], p->v[0], 1), regrouped(x, n->in[1], p->v[1], 0));
  bool extra = false;
  for (int i = 0; i < w->sp; i++) extra |= w->extra[i] != 0;
  window_attrs(x, w);
  if (extra) x_attr_is(x, "output_padding", w->sp, w->extra);
  return split(x, n, v, &t);
}

/* Everything else */

/* Operands by iterators, then Einsum where every iterator is a dimension of someone and sums keep their order. */
static const char *einsum(Export *x, const Product *p, const char **v, Spread *s) {
  char text[4 * MAX_ITERS + 8];
  int len = 0, last = p->n_out - 1;
  uint32_t there = 0, order = 0;
  for (int k = 0; k < p->n->n_in; k++)
    for (int i = 0; i < s[k].n; i++) {
      int j = s[k].label[i];
      if (j < p->n_out || order >> j & 1) continue;
      order |= 1u << j;
      if (elem_is_float(p->w) && j < last) return NULL;
      last = j;
    }
  for (int j = p->n_out; j < p->total; j++) if (!(order >> j & 1)) return NULL;
  const char *in[3];
  for (int k = 0; k < p->n->n_in; k++) { /* broadcast dimensions have no letter */
    int64_t drop[MAX_ITERS];
    int n_drop = 0;
    if (k) text[len++] = ',';
    for (int i = 0; i < s[k].n; i++) {
      int j = s[k].label[i];
      bool moves = dim_eq(p->ext[j], dim_c(1));
      for (int d = 0; d < p->n->in[k]->t.rank; d++) moves |= acc(p, k, d)->coef[j] != 0;
      if (!moves) { drop[n_drop++] = i; continue; }
      there |= 1u << j;
      text[len++] = (char)('a' + j);
    }
    in[k] = x_axes(x, "Squeeze", v[k], n_drop, drop);
  }
  Spread out = {0};
  text[len++] = '-', text[len++] = '>';
  for (int j = 0; j < p->n_out; j++) if (there >> j & 1) { text[len++] = (char)('a' + j); out.label[out.n++] = j; }
  text[len] = 0;
  const char *y = x_node(x, "Einsum", p->n->n_in, in);
  x_attr_s(x, "equation", text);
  return x_arrange(x, y, p->n_out, &out);
}

static const char *product(Export *x, const Product *p, const char **v, Spread *s) {
  const char *y = NULL;
  int64_t axes[MAX_ITERS];
  int n = p->n->n_in, red = p->total - p->n_out;
  for (int k = 0; k < n; k++) {
    const char *a = x_arrange(x, v[k], p->total, &s[k]);
    y = y ? x2(x, "Mul", y, a) : a;
  }
  for (int i = 0; i < red; i++) axes[i] = p->n_out + i;
  if (!red) { /* of one product: the sum still starts from 0 */
    axes[0] = p->n_out;
    y = x_axes(x, "Unsqueeze", y, 1, axes);
  }
  y = red ? x_full(x, p->n, n, y, p->total, p->ext, p->w) : y;
  return y ? x_reduce(x, "ReduceSum", y, red ? red : 1, axes, false) : NULL;
}

static const char *general(Export *x, const Product *p) {
  Spread s[3];
  const char *v[3];
  for (int k = 0; k < p->n->n_in; k++)
    if (!(v[k] = x_spread(x, p->n, k, p->v[k], p->w, k ? 0 : p->n->a.fill, &s[k]))) return NULL;
  const char *y = p->total > p->n_out ? einsum(x, p, v, s) : NULL;
  if (!y) y = product(x, p, v, s);
  return y ? x_full(x, p->n, p->n->n_in, y, p->n_out, p->ext, p->w) : NULL;
}

/* Any of the ways, in p->w, a float or i32 or i64. */
static const char *in_type(Export *x, const Product *p) {
  ConvWindow w;
  const char *v;
  bool is_float = elem_is_float(p->w);
  if (is_matmul(p)) return x2(x, "MatMul", p->v[0], p->v[1]);
  if (is_float && (v = gemm(x, p)) != NULL) return v;
  if (is_float && is_conv(p, &w)) {
    Type t = merged(&p->n->t, p->n_out > 2 + w.sp);
    v = x2(x, "Conv", padded(x, p, &w, p->v[0], p->w), p->v[1]);
    window_attrs(x, &w);
    return split(x, p->n, v, &t);
  }
  return is_float && is_transposed(p, &w) ? transposed(x, p, &w) : general(x, p);
}

/* Greatest absolute value of all terms together; false beyond 2^62. */
static bool greatest_sum(const Product *p, int64_t *most) {
  *most = 1;
  for (int k = 0; k < p->n->n_in; k++) {
    Elem e = p->n->in[k]->t.e;
    int64_t lo = elem_lo(e), hi = elem_hi(e), m = lo == INT64_MIN ? INT64_MAX : -lo > hi ? -lo : hi;
    if (!mul_ok(*most, m, most)) return false;
  }
  for (int j = p->n_out; j < p->total; j++) if (p->ext[j].sym || !mul_ok(*most, p->ext[j].n, most)) return false;
  return *most < INT64_C(1) << 62;
}

/* Codes: as operators of bytes, in f32 where all sums are exact, else in wide integers. */
static const char *codes(Export *x, Product *p, const char *const *in) {
  const Node *n = p->n;
  int64_t most;
  bool bounded = greatest_sum(p, &most), fits = bounded && most <= elem_hi(n->t.e) && most < -(elem_lo(n->t.e) + 1);
  bool bytes = n->n_in == 2 && is_byte(n->in[0]->t.e) && is_byte(n->in[1]->t.e) && (n->t.e.bits <= 32 || (bounded && most < INT64_C(1) << 31));
  bool exact = bounded && most < 1 << 24;
  ConvWindow w;
  if (n->t.e.kind == EK_UINT && n->t.e.bits < 32) fits = false;
  if (bytes && n->t.e.bits != 31 && is_conv(p, &w) && (w.sp <= 2 || !exact)) {
    Type t = merged(&n->t, p->n_out > 2 + w.sp);
    t.e = I32;
    const char *v = x2(x, "ConvInteger", padded(x, p, &w, in[0], n->in[0]->t.e), in[1]);
    window_attrs(x, &w);
    v = x_to(x, v, I32, n->t.e, fits);
    return split(x, n, v, &t);
  }
  if (bytes && n->t.e.bits != 31 && n->in[0]->t.rank > 1 && n->in[1]->t.rank > 1 && is_matmul(p))
    return x_to(x, x2(x, "MatMulInteger", in[0], in[1]), I32, n->t.e, fits);
  p->w = is_conv(p, &w) && exact ? F32 : x_work(n, 0);
  for (int k = 0; k < n->n_in; k++) p->v[k] = x_cast(x, in[k], n->in[k]->t.e, p->w);
  const char *v = in_type(x, p);
  if (!v) return NULL;
  x->raw[n->id].v = NULL; /* of another type than the result */
  if (elem_is_float(p->w)) { v = x_cast(x, v, p->w, I32); return x_to(x, v, I32, n->t.e, fits && n->t.e.bits <= 32); }
  return x_to(x, v, p->w, n->t.e, fits);
}

/* Popcounts of words against each other, by iterators: bits, times c, summed. */
static const char *popcounts(Export *x, const Node *n, const char *const *in) {
  Elem e = n->in[0]->t.e;
  int64_t axes[MAX_ITERS];
  int red = n->a.iters->n_red;
  if (x->opset < 18) return x_fail(x, E0302, "needs opset 18");
  const char *v = x2(x, n->a.scalar == S_AND ? "BitwiseAnd" : "BitwiseXor", x_cast(x, in[0], e, I64), x_cast(x, in[1], e, I64));
  v = x_popcount(x, v, e.bits);
  if (n->n_in > 2) v = x2(x, "Mul", v, x_cast(x, in[2], n->in[2]->t.e, I64));
  for (int i = 0; i < red; i++) axes[i] = n->t.rank + i;
  if (red) v = x_reduce(x, "ReduceSum", v, red, axes, false);
  return x_to(x, v, I64, n->t.e, false);
}

const char *x_bits(Export *x, const char *v, Elem e, Elem w) {
  Elem c = e.bits <= 32 ? UINTK(32) : UINTK(64);
  int64_t shift[64], last = -1, width = e.bits;
  for (int i = 0; i < 64; i++) shift[i] = i;
  v = x_axes(x, "Unsqueeze", x_cast(x, v, e, c), 1, &last);
  v = x2(x, "BitShift", v, x_cast(x, x_indices(x, 1, &width, shift), I64, c));
  x_attr_s(x, "direction", "RIGHT");
  return x_cast(x, x2(x, "Mod", x_cast(x, v, c, I64), x_int(x, I64, 2)), I64, w);
}

/* [.., W] bits of words in w; xor: [.., 2W], such that bits of a xor b are products: a and not a against not b and b. */
static const char *unpacked(Export *x, const Node *n, int k, const char *v, Elem w) {
  v = x_bits(x, v, n->in[k]->t.e, w);
  if (n->a.scalar == S_AND) return v;
  const char *not = x2(x, "Sub", x_int(x, w, 1), v);
  v = k ? x2(x, "Concat", not, v) : x2(x, "Concat", v, not);
  x_attr_i(x, "axis", -1);
  return v;
}

/* Popcounts as a contraction of bits with one more iterator; NULL where a limit on dimensions stands against it. */
static const char *bits(Export *x, const Product *p, const char *const *in) {
  const Node *n = p->n;
  Elem w = n->t.e.bits <= 32 && (n->n_in < 3 || x_carrier(n->in[2]->t.e).bits < 32 || elem_eq(n->in[2]->t.e, I32)) ? I32 : I64;
  Iters it = *n->a.iters;
  Affine dims[2][MAX_RANK];
  Node y = *n, *operands[3], wide[2];
  Product q = *p;
  if (p->total == MAX_ITERS || n->in[0]->t.rank == MAX_RANK || n->in[1]->t.rank == MAX_RANK) return NULL;
  if (!access_inside(n, 0) && (n->a.scalar == S_XOR || n->a.fill != 0)) return NULL;
  int64_t width = n->in[0]->t.e.bits * (n->a.scalar == S_XOR ? 2 : 1);
  it.red[it.n_red++] = dim_c(width);
  for (int k = 0; k < n->n_in; k++) {
    operands[k] = n->in[k];
    if (k == 2) continue;
    wide[k] = *n->in[k];
    wide[k].t.e = w;
    for (int d = 0; d < wide[k].t.rank; d++) dims[k][d] = n->a.iters->acc[k][d];
    dims[k][wide[k].t.rank] = affine_iter(p->total, 1, 0);
    wide[k].t.d[wide[k].t.rank++] = dim_c(width);
    it.acc[k] = dims[k];
    operands[k] = &wide[k];
  }
  y.in = operands;
  y.a.iters = &it;
  y.a.scalar = S_MUL;
  q.n = &y;
  q.w = w;
  q.total = x_extents(&y, q.ext);
  for (int k = 0; k < n->n_in; k++) q.v[k] = k < 2 ? unpacked(x, n, k, in[k], w) : x_cast(x, in[k], n->in[k]->t.e, w);
  const char *v = general(x, &q);
  return v ? x_to(x, v, w, n->t.e, false) : NULL;
}

static const char *words(Export *x, const Product *p, const char *const *in) {
  const Node *n = p->n;
  Spread s[3];
  const char *v[3], *y = bits(x, p, in);
  if (y) return y;
  for (int k = 0; k < n->n_in; k++) {
    if (!(v[k] = x_spread(x, n, k, in[k], n->in[k]->t.e, k ? 0 : n->a.fill, &s[k]))) return NULL;
    v[k] = x_arrange(x, v[k], p->total, &s[k]);
  }
  v[0] = x_full(x, n, n->n_in, v[0], p->total, p->ext, n->in[0]->t.e);
  return v[0] ? x_wrap(x, n, v, popcounts, false) : NULL;
}

const char *write_contract(Export *x, const Node *n, const char *const *in) {
  Product p = {.n = n, .n_out = n->t.rank, .w = n->t.e.bits == 64 ? F64 : F32};
  p.total = x_extents(n, p.ext);
  if (n->a.scalar != S_MUL) return words(x, &p, in);
  if (elem_is_code(n->t.e)) return codes(x, &p, in);
  for (int k = 0; k < n->n_in; k++) p.v[k] = x_cast(x, in[k], n->t.e, p.w);
  const char *v = in_type(x, &p);
  if (!elem_eq(p.w, n->t.e)) x->raw[n->id].v = NULL;
  return v ? x_cast(x, v, p.w, n->t.e) : NULL;
}
