/* Quantizers. Where QuantizeLinear and DequantizeLinear mean exactly what the graph does they say it, else standard operators do,
 * in a model-local function under `functions`. Values (q - zp) * scale are looked at as a whole: QONNX says quant and dequant in one
 * node, and weights are a constant that reads back as the same codes. */
#include "frontend/export.h"

#include <math.h>
#include <string.h>

#define QONNX "qonnx.custom_op.general"

/* Parameters */

/* Scale or zero point p against x: 0 one value; 1 one per index at *axis; -1 neither. */
static int layout(const Type *x, const Type *p, int *axis) {
  int lead = x->rank - p->rank, found = 0;
  if (lead < 0) return -1;
  for (int i = 0; i < p->rank; i++) {
    if (dim_eq(p->d[i], dim_c(1))) continue;
    if (found++ || p->d[i].sym || !dim_eq(p->d[i], x->d[lead + i])) return -1;
    *axis = lead + i;
  }
  return found;
}

/* p as one value or a vector of count. */
static const char *parameter(Export *x, const Node *p, const char *v, int data_type, int64_t count) {
  Type t = {.e = p->t.e, .rank = count ? 1 : 0, .d = {dim_c(count)}};
  if (!node_is_const(p)) return x_reshape(x, v, &p->t, &t);
  const Tensor *c = p->a.value;
  if (count && c->n == 1) { /* a scalar zero point beside scales per channel */
    Type row = type_make(c->t.e, 1, &count);
    Tensor *all = tensor_new(x->ctx, &row);
    if (!all) return NULL;
    for (int64_t i = 0; i < count; i++) {
      if (elem_is_float(c->t.e)) tensor_set_f(all, i, tensor_f(c, 0));
      else tensor_set_i(all, i, tensor_i(c, 0));
    }
    v = x_tensor(x, all, data_type, 1, &count, elem_is_float(c->t.e) ? "scale" : "zero_point");
    tensor_free(all);
    return v;
  }
  return x_tensor(x, c, data_type, count ? 1 : 0, &count, elem_is_float(c->t.e) ? "scale" : "zero_point");
}

/* The range of a 2- to 32-bit type of ONNX. */
static void type_range(int data_type, int64_t *lo, int64_t *hi) {
  Elem e = I8;
  onnx_elem(data_type, &e);
  *lo = elem_lo(e), *hi = elem_hi(e);
}

static bool const_within(const Node *n, int64_t lo, int64_t hi) {
  if (!node_is_const(n) || elem_is_float(n->t.e)) return false;
  for (int64_t i = 0; i < n->a.value->n; i++) if (tensor_i(n->a.value, i) < lo || tensor_i(n->a.value, i) > hi) return false;
  return true;
}

/* Scale and zero point of QuantizeLinear or DequantizeLinear around codes of data_type: written to p[0], p[1]; the axis in *axis,
 * -1 where there is none. zp NULL: zeros. False, with nothing written, where they do not fit. */
static bool linear(Export *x, const Type *of, const Node *scale, const Node *zp, const char *zp_value, int data_type, bool want_zp, int *axis,
                   const char **p) {
  int64_t lo, hi, count = 0, zero = 0;
  int at = 0, zp_at = 0, per = layout(of, &scale->t, &at), zp_per = zp ? layout(of, &zp->t, &zp_at) : 0;
  type_range(data_type, &lo, &hi);
  if (per < 0 || zp_per < 0 || (per && zp_per && at != zp_at) || !elem_eq(scale->t.e, F32)) return false;
  if (zp && !const_within(zp, lo, hi) && (node_is_const(zp) || onnx_type_of(x_carrier(zp->t.e)) != data_type)) return false;
  if (per || zp_per) {
    *axis = per ? at : zp_at;
    count = of->d[*axis].n;
    if ((!per && !node_is_const(scale)) || (zp && !zp_per && !node_is_const(zp)) || count < 1) return false;
  } else *axis = -1;
  p[0] = parameter(x, scale, x_value(x, scale), onnx_type_of(F32), count);
  p[1] = NULL;
  if (zp) p[1] = parameter(x, zp, zp_value, data_type, count);
  else if (want_zp) {
    Type t = count ? type_make(I8, 1, &count) : type_scalar(I8);
    Tensor *zeros = tensor_new(x->ctx, &t);
    if (!zeros) return false;
    p[1] = count ? x_tensor(x, zeros, data_type, 1, &count, "zero_point") : x_tensor(x, zeros, data_type, 0, &zero, "zero_point");
    tensor_free(zeros);
  }
  return p[0] && (p[1] || !(zp || want_zp));
}

/* quant */

static const char *rounded(Export *x, Round r, const char *v, Elem w) {
  switch (r) {
  case RND_EVEN: return x1(x, "Round", v);
  case RND_CEIL: return x1(x, "Ceil", v);
  case RND_FLOOR: return x1(x, "Floor", v);
  default: break;
  }
  const char *a = x1(x, "Abs", v), *half = x_float(x, w, 0.5);
  if (r == RND_HALF_UP) a = x2(x, "Add", a, half);
  if (r == RND_HALF_DOWN) a = x2(x, "Sub", a, half);
  a = x1(x, r == RND_UP || r == RND_HALF_DOWN ? "Ceil" : "Floor", a);
  return x3(x, "Where", x2(x, "Less", v, x_float(x, w, 0)), x1(x, "Neg", a), a);
}

/* The meaning of quant in standard operators: beyond 2^62 nothing is told apart, NaN counts as 0 after rounding. */
static const char *quant_body(Export *x, const Node *n, const char *const *in) {
  Elem w = n->in[1]->t.e.bits == 64 ? F64 : F32, zp = n->n_in > 2 ? n->in[2]->t.e : I32;
  bool bipolar = elem_eq(n->t.e, BIPOLAR), with_zp = n->n_in > 2;
  const char *v = x2(x, "Div", x_cast(x, in[0], n->in[0]->t.e, w), x_cast(x, in[1], n->in[1]->t.e, w));
  if (with_zp && (bipolar || elem_is_float(zp))) v = x2(x, "Add", v, x_cast(x, in[2], zp, w));
  if (bipolar) return x3(x, "Where", x2(x, "LessOrEqual", x_float(x, w, 0), v), x_int(x, I8, 1), x_int(x, I8, -1));
  v = rounded(x, n->a.round, v, w);
  v = x3(x, "Where", x1(x, "IsNaN", v), x_float(x, w, 0), v);
  v = x_cast(x, x3(x, "Clip", v, x_float(x, w, -0x1p62), x_float(x, w, 0x1p62)), w, I64);
  if (with_zp && !elem_is_float(zp)) v = x2(x, "Add", v, x_cast(x, in[2], zp, I64));
  v = x3(x, "Clip", v, x_int(x, I64, n->a.lo), x_int(x, I64, n->a.hi));
  return x_cast(x, v, I64, n->t.e);
}

/* QuantizeLinear, and Clip where the codes are fewer than the type's. */
static const char *quantize_linear(Export *x, const Node *n, const char *const *in) {
  Elem c = x_carrier(n->t.e);
  const char *p[2];
  int64_t lo = elem_lo(c), hi = elem_hi(c);
  Type t = n->in[0]->t;
  int axis;
  t.e = n->t.e;
  if (n->a.round != RND_EVEN || elem_eq(n->t.e, BIPOLAR) || n->t.e.kind == EK_BOOL || !type_eq(&t, &n->t) || !elem_eq(n->in[0]->t.e, F32)) return NULL;
  if (c.bits > (x->opset >= 21 ? 16 : 8) || (n->n_in > 2 && elem_is_float(n->in[2]->t.e))) return NULL;
  if (!linear(x, &n->t, n->in[1], n->n_in > 2 ? n->in[2] : NULL, n->n_in > 2 ? in[2] : NULL, onnx_type_of(c), true, &axis, p)) return NULL;
  const char *v = x3(x, "QuantizeLinear", in[0], p[0], p[1]);
  if (axis >= 0) x_attr_i(x, "axis", axis);
  if (n->a.lo == lo && n->a.hi == hi) return v;
  return x3(x, "Clip", v, x_int(x, c, n->a.lo), x_int(x, c, n->a.hi));
}

/* Said by a function under qdq and qonnx, too: they have no other word for it. */
static const char *own_function(Export *x, const Node *n, const char *const *in, Writer *w) {
  OnnxFormat format = x->format;
  if (format != ONNX_FUNCTIONS) {
    Loc loc = n->loc;
    if (!loc.op) loc.op = op_info[n->op].name;
    diag_warn(x->ctx, E0801, &loc, "%s has no %s spelling and becomes a model-local function", op_info[n->op].name, onnx_format_names[format]);
  }
  x->format = ONNX_FUNCTIONS;
  const char *v = x_wrap(x, n, in, w, false);
  x->format = format;
  return v;
}

const char *write_quant(Export *x, const Node *n, const char *const *in) {
  if (n->n_in > 2 && !elem_is_float(n->in[2]->t.e) && n->in[2]->t.e.bits > 62) return x_fail(x, E0302, "a zero point of %d bits", n->in[2]->t.e.bits);
  const char *v = quantize_linear(x, n, in);
  return v ? v : own_function(x, n, in, quant_body);
}

/* dequant */

static const char *dequant_body(Export *x, const Node *n, const char *const *in) {
  Elem w = n->in[1]->t.e.bits == 64 ? F64 : F32;
  Elem first = n->n_in > 2 && elem_is_float(n->in[2]->t.e) ? w : I64; /* where x - zp is computed */
  const char *v = x_cast(x, in[0], n->in[0]->t.e, first);
  if (n->n_in > 2) v = x2(x, "Sub", v, x_cast(x, in[2], n->in[2]->t.e, first));
  v = x2(x, "Mul", x_cast(x, v, first, w), x_cast(x, in[1], n->in[1]->t.e, w));
  return x_cast(x, v, w, n->t.e);
}

/* The narrowest type of ONNX that the constant's numbers fit, DequantizeLinear's types only; 0 where there is none. */
static int narrowest(const Export *x, const Tensor *t, const Node *zp) {
  static const Elem types[] = {{EK_UINT, 2}, {EK_INT, 2}, {EK_UINT, 4}, {EK_INT, 4}, {EK_UINT, 8}, {EK_INT, 8}, {EK_UINT, 16}, {EK_INT, 16}, {EK_INT, 32}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    int type = onnx_type_of(types[i]);
    bool is_signed = t->t.e.kind != EK_UINT && t->t.e.kind != EK_BOOL, ok = x_has_type(x, type) && (types[i].bits != 16 || x->opset >= 21);
    if (!ok || (types[i].kind == EK_INT) != is_signed || (types[i].bits == 32 && zp)) continue;
    if (zp && !const_within(zp, elem_lo(types[i]), elem_hi(types[i]))) continue;
    for (int64_t k = 0; ok && k < t->n; k++) ok = tensor_i(t, k) >= elem_lo(types[i]) && tensor_i(t, k) <= elem_hi(types[i]);
    if (ok) return type;
  }
  return 0;
}

/* DequantizeLinear of value v, or of the codes where they are constant. */
static const char *dequantize_linear(Export *x, const Node *n, const Node *q, const Tensor *codes, const char *v, const Node *scale, const Node *zp,
                                     const char *zp_value) {
  int type = codes ? narrowest(x, codes, zp) : onnx_type_of(x_carrier(q->t.e)), axis;
  const char *p[2];
  int64_t dims[MAX_RANK];
  Type t = q->t;
  t.e = n->t.e;
  if (!type || !type_eq(&t, &n->t) || (zp && elem_is_float(zp->t.e)) || !elem_eq(n->t.e, F32) || q->t.e.kind == EK_BOOL) return NULL;
  Elem c = F32;
  onnx_elem(type, &c);
  if (c.bits > 32 || (c.bits == 32 && (c.kind == EK_UINT || zp)) || (c.bits == 16 && x->opset < 21)) return NULL;
  if (!linear(x, &n->t, scale, zp, zp_value, type, false, &axis, p)) return NULL;
  for (int i = 0; codes && i < codes->t.rank; i++) dims[i] = codes->t.d[i].n;
  if (codes) v = x_tensor(x, codes, type, codes->t.rank, dims, "codes");
  v = x_node(x, "DequantizeLinear", p[1] ? 3 : 2, (const char *const[]){v, p[0], p[1]});
  if (axis >= 0) x_attr_i(x, "axis", axis);
  return v;
}

const char *write_dequant(Export *x, const Node *n, const char *const *in) {
  const Node *q = n->in[0];
  const char *v = dequantize_linear(x, n, q, node_is_const(q) ? q->a.value : NULL, in[0], n->in[1], n->n_in > 2 ? n->in[2] : NULL, n->n_in > 2 ? in[2] : NULL);
  return v ? v : x_wrap(x, n, in, dequant_body, false);
}

/* Codes to codes */

static bool only_functions(Export *x, const Node *n) {
  if (x->format == ONNX_FUNCTIONS) return true;
  x_fail(x, E0302, "the format %s cannot say %s; functions can", onnx_format_names[x->format], op_info[n->op].name);
  return false;
}

/* A table with one row, or one per channel of x, in front of `last` more dimensions. */
static const char *rows(Export *x, const Node *n, int k, const char *v) {
  int64_t axes[MAX_RANK];
  int after = n->in[0]->t.rank - 1 - n->a.axis;
  if (n->in[k]->t.rank == 0) return v;
  for (int i = 0; i < after; i++) axes[i] = 1 + i;
  return x_axes(x, "Unsqueeze", v, after > 0 ? after : 0, axes);
}

static const char *thresholds_body(Export *x, const Node *n, const char *const *in) {
  Elem e = n->in[0]->t.e, t = n->in[1]->t.e, w = elem_is_float(e) ? (e.bits == 64 || t.bits == 64 ? F64 : F32) : I64;
  int64_t last = -1;
  const char *v = elem_is_float(e) ? x_cast(x, in[0], e, w) : x_ordered(x, in[0], e, w);
  const char *levels = elem_is_float(t) ? x_cast(x, in[1], t, w) : x_ordered(x, in[1], t, w);
  v = x2(x, "LessOrEqual", rows(x, n, 1, levels), x_axes(x, "Unsqueeze", v, 1, &last));
  v = x_reduce(x, "ReduceSum", x_cast(x, v, BOOL, I64), 1, &last, false);
  v = x2(x, "Mul", v, rows(x, n, 3, x_cast(x, in[3], n->in[3]->t.e, I64)));
  v = x2(x, "Add", v, rows(x, n, 2, x_cast(x, in[2], n->in[2]->t.e, I64)));
  if (n->t.rank == 0) v = x2(x, "Reshape", v, x_ints(x, 0, NULL));
  return x_to(x, v, I64, n->t.e, false);
}

const char *write_thresholds(Export *x, const Node *n, const char *const *in) {
  return only_functions(x, n) ? x_wrap(x, n, in, thresholds_body, false) : NULL;
}

static const char *requant_body(Export *x, const Node *n, const char *const *in) {
  const char *v = x2(x, "Mul", x_cast(x, in[0], n->in[0]->t.e, I64), rows(x, n, 1, x_cast(x, in[1], n->in[1]->t.e, I64)));
  v = x2(x, "Add", v, rows(x, n, 2, x_cast(x, in[2], n->in[2]->t.e, I64)));
  v = x_shift_right(x, v, I64, n->a.shift);
  v = x3(x, "Clip", v, x_int(x, I64, n->a.lo), x_int(x, I64, n->a.hi));
  if (n->t.rank == 0) v = x2(x, "Reshape", v, x_ints(x, 0, NULL));
  return x_cast(x, v, I64, n->t.e);
}

const char *write_requant(Export *x, const Node *n, const char *const *in) {
  return only_functions(x, n) ? x_wrap(x, n, in, requant_body, false) : NULL;
}

/* x [.., K] as [.., words * W/32, 32], then per plane p bits floor(x / 2^p) mod 2, weighed by 2^i and summed; halves of 64-bit words
 * are put together after, since runtimes sum i64 exactly below 2^53 only. */
static const char *pack_body(Export *x, const Node *n, const char *const *in) {
  enum { HALF = 32 };
  Elem e = n->in[0]->t.e;
  int rank = n->in[0]->t.rank;
  int64_t width = n->t.e.bits, k = n->in[0]->t.d[rank - 1].n, words = n->t.d[rank].n, planes = n->t.d[rank - 1].n, half = HALF;
  int64_t before[MAX_RANK] = {0}, after[MAX_RANK] = {0}, power[64], shape[MAX_RANK + 2], at = rank - 1, last = -1;
  if (rank + 3 > MAX_RANK) return x_fail(x, E0302, "rank %d", rank);
  if (planes > 62) return x_fail(x, E0302, "codes of %lld bits", (long long)planes);
  const char *v = x_cast(x, in[0], e, I64), *part[2];
  if (elem_eq(e, BIPOLAR)) v = x_cast(x, x2(x, "Less", x_int(x, I64, 0), v), BOOL, I64);
  after[rank - 1] = words * width - k;
  v = x_pad(x, v, I64, rank, before, after, 0);
  for (int i = 0; i < rank - 1; i++) shape[i] = 0;
  shape[rank - 1] = words, shape[rank] = width / HALF, shape[rank + 1] = HALF;
  v = x2(x, "Reshape", v, x_ints(x, rank + 2, shape));
  v = x_axes(x, "Unsqueeze", v, 1, &at);
  for (int i = 0; i < 64; i++) power[i] = (int64_t)(UINT64_C(1) << i);
  const char *plane = x_indices(x, 4, (int64_t[]){planes, 1, 1, 1}, power);
  v = x2(x, "Div", x2(x, "Sub", v, x2(x, "Mod", v, plane)), plane);
  v = x2(x, "Mul", x2(x, "Mod", v, x_int(x, I64, 2)), x_indices(x, 1, &half, power));
  v = x_reduce(x, "ReduceSum", v, 1, &last, false);
  for (int i = 0; i < width / HALF; i++) {
    part[i] = x2(x, "Gather", v, x_int(x, I64, i));
    x_attr_i(x, "axis", last);
  }
  v = width == HALF ? part[0] : x2(x, "Add", part[0], x2(x, "Mul", part[1], x_int(x, I64, INT64_C(1) << HALF)));
  return x_cast(x, v, I64, n->t.e);
}

const char *write_pack(Export *x, const Node *n, const char *const *in) { return only_functions(x, n) ? x_wrap(x, n, in, pack_body, true) : NULL; }

/* Values (q - zp) * scale */

struct Decode {
  enum { QUANT, BIPOLAR_QUANT, LINEAR } kind; /* a QONNX node; DequantizeLinear of constant codes */
  const Node *x, *scale, *zp;                 /* x NULL: constant codes; zp NULL: zeros */
  const Tensor *codes;
  int bits;
  bool is_signed, narrow;
  Round round;
  double factor;                              /* of the scale */
};

/* n as (q - zp) * scale: dequant, or its spelling in float where zp is no integer. */
typedef struct Affinity { const Node *q, *scale, *zp; } Affinity;
static bool affinity(const Node *n, Affinity *a) {
  Type t = n->t;
  if (!elem_eq(n->t.e, F32)) return false;
  if (n->op == OP_DEQUANT) *a = (Affinity){n->in[0], n->in[1], n->n_in > 2 ? n->in[2] : NULL};
  else if (node_is_map(n, S_MUL) && node_is_map(n->in[0], S_SUB) && node_is_map(n->in[0]->in[0], S_CAST) && node_is_const(n->in[0]->in[1]))
    *a = (Affinity){n->in[0]->in[0]->in[0], n->in[1], n->in[0]->in[1]};
  else return false;
  t.e = a->q->t.e;
  return elem_is_code(t.e) && type_eq(&t, &a->q->t) && elem_eq(a->scale->t.e, F32) && (!a->zp || node_is_const(a->zp));
}

/* Equal constants, of whatever types. NULL is zero. */
static bool same_numbers(const Node *a, const Node *b) {
  const Node *one = a ? a : b;
  if (!one || a == b) return true;
  if (!node_is_const(one) || (a && b && !node_is_const(b))) return false;
  const Tensor *t = one->a.value;
  if (a && b && (b->t.rank != a->t.rank || b->a.value->n != t->n)) return false;
  for (int i = 0; a && b && i < a->t.rank; i++) if (!dim_eq(a->t.d[i], b->t.d[i])) return false;
  for (int64_t i = 0; i < t->n; i++) if (tensor_f(t, i) != (a && b ? tensor_f(b->a.value, i) : 0)) return false;
  return true;
}

/* lo..hi as a width of QONNX's quantizers. */
static bool width_of(int64_t lo, int64_t hi, Decode *d) {
  for (int b = 1; b <= 32; b++)
    for (int narrow = 0; narrow < 2; narrow++)
      for (int s = 0; s < 2; s++) {
        int64_t half = INT64_C(1) << (b - 1), least = s ? -half + narrow : 0, most = s ? half - 1 : 2 * half - 1 - narrow;
        if (lo != least || hi != most || (b == 1 && (s || narrow))) continue;
        d->bits = b, d->is_signed = s, d->narrow = narrow;
        return true;
      }
  return false;
}

static bool is_one(const Node *n) {
  double v;
  return node_uniform(n, &v) && v == 1;
}

/* quant and the same affinity below it as one QONNX node. */
static Decode *pair_find(Export *x, const Affinity *a) {
  const Node *q = a->q, *zp = q->n_in > 2 ? q->in[2] : NULL;
  Decode d = {.kind = QUANT, .x = q->in[0], .scale = a->scale, .zp = a->zp, .round = q->a.round, .factor = 1};
  bool same = q->in[1] == a->scale || (node_is_const(q->in[1]) && node_is_const(a->scale) && type_eq(&q->in[1]->t, &a->scale->t) &&
                                       tensor_eq(q->in[1]->a.value, a->scale->a.value));
  Type t = q->in[0]->t;
  t.e = q->t.e;
  if (!elem_eq(q->in[0]->t.e, F32) || !type_eq(&t, &q->t)) return NULL;
  if (elem_eq(q->t.e, BIPOLAR) && is_one(q->in[1]) && !zp && same_numbers(a->zp, NULL)) d.kind = BIPOLAR_QUANT;
  else if (!same || (zp && !elem_is_float(zp->t.e) && !same_numbers(zp, NULL)) || !same_numbers(zp, a->zp)) return NULL;
  else if (elem_eq(q->t.e, BIPOLAR)) d.bits = 1, d.is_signed = true;
  else if (!width_of(q->a.lo, q->a.hi, &d)) return NULL;
  if (!d.zp || (zp && elem_is_float(zp->t.e))) d.zp = zp;
  Decode *r = NEW(x->arena, Decode);
  *r = d;
  return r;
}

/* Codes c = 2r - (N-1), all odd, for r in 0..N-1: UniQ's symmetric levels. N, or 0. */
static int64_t odd_levels(const Tensor *t) {
  int64_t most = 0;
  for (int64_t i = 0; i < t->n; i++) {
    int64_t c = tensor_i(t, i), m = c < 0 ? -c : c;
    if (!(c & 1)) return 0;
    most = m > most ? m : most;
  }
  for (int64_t n = 4; n <= 1 << 16; n *= 2) if (most < n && most >= n / 2) return n;
  return 0;
}

static bool halves(const Node *zp) {
  for (int64_t i = 0; zp && i < zp->a.value->n; i++) {
    double v = 2 * tensor_f(zp->a.value, i);
    if (v != floor(v) || fabs(v) > 1 << 16) return false;
  }
  return true;
}

static bool integral(const Node *zp) {
  for (int64_t i = 0; zp && i < zp->a.value->n; i++) if (tensor_f(zp->a.value, i) != floor(tensor_f(zp->a.value, i))) return false;
  return true;
}

/* Scales that a factor of 2 leaves exact. */
static bool normal(const Node *scale) {
  if (!node_is_const(scale)) return false;
  for (int64_t i = 0; i < scale->a.value->n; i++) {
    double v = fabs(tensor_f(scale->a.value, i));
    if (!(v > 0x1p-120 && v < 0x1p120)) return false;
  }
  return true;
}

/* Codes as 2q - 2zp, in i32; zp broadcasts. One code for every element: NULL where they pass 2^20. */
static Tensor *doubled(Export *x, const Tensor *q, const Node *zp) {
  Type t = q->t;
  t.e = I32;
  Tensor *y = tensor_new(x->ctx, &t);
  int64_t stride[MAX_RANK] = {0}, step = 1, at[MAX_RANK] = {0};
  for (int i = zp->t.rank - 1; i >= 0; i--) {
    int64_t n = zp->t.d[i].n;
    stride[q->t.rank - zp->t.rank + i] = n == 1 ? 0 : step;
    step *= n;
  }
  for (int64_t i = 0; y && i < q->n; i++) {
    int64_t off = 0, c = tensor_i(q, i);
    for (int d = 0; d < q->t.rank; d++) off += at[d] * stride[d];
    if (c > 1 << 20 || c < -(1 << 20)) return NULL;
    tensor_set_i(y, i, 2 * c - (int64_t)(2 * tensor_f(zp->a.value, off)));
    for (int d = q->t.rank - 1; d >= 0; d--) {
      if (++at[d] < q->t.d[d].n) break;
      at[d] = 0;
    }
  }
  return y;
}

/* Constant codes behind quant of constants: computed here. NULL where they are not constant. */
static const Tensor *constant_codes(Export *x, const Node *q) {
  if (node_is_const(q)) return q->a.value;
  if (x->format != ONNX_QDQ || q->op != OP_QUANT) return NULL;
  Tensor *in[3];
  for (int k = 0; k < q->n_in; k++) {
    if (!node_is_const(q->in[k])) return NULL;
    in[k] = (Tensor *)(uintptr_t)q->in[k]->a.value;
  }
  return node_eval(x->ctx, q, in);
}

static Decode *codes_find(Export *x, const Affinity *a) {
  const Tensor *codes = constant_codes(x, a->q);
  if (!codes || codes->t.e.bits > 30 || (a->zp && a->zp->t.rank > codes->t.rank)) return NULL;
  Decode d = {.kind = x->format == ONNX_QONNX ? QUANT : LINEAR, .scale = a->scale, .zp = a->zp, .codes = codes, .factor = 1};
  if (d.kind == LINEAR && !integral(a->zp)) {
    if (!halves(a->zp) || !normal(a->scale) || !(d.codes = doubled(x, codes, a->zp))) return NULL;
    d.zp = NULL;
    d.factor = 0.5;
  }
  if (d.kind == LINEAR && !narrowest(x, d.codes, d.zp)) return NULL;
  if (d.kind == QUANT) {
    int64_t lo = 0, hi = 0, n = same_numbers(a->zp, NULL) && normal(a->scale) ? odd_levels(codes) : 0;
    for (int64_t i = 0; i < codes->n; i++) {
      int64_t c = tensor_i(codes, i);
      lo = c < lo ? c : lo, hi = c > hi ? c : hi;
    }
    if (!node_is_const(a->scale)) return NULL;
    for (int64_t i = 0; i < a->scale->a.value->n; i++) if (!(tensor_f(a->scale->a.value, i) > 0x1p-60)) return NULL; /* X / scale must come back */
    if (elem_eq(codes->t.e, BIPOLAR) && same_numbers(a->zp, NULL)) d.kind = BIPOLAR_QUANT;
    else if (n) {
      Type t = codes->t;
      t.e = I32;
      Tensor *r = tensor_new(x->ctx, &t), *z = tensor_new(x->ctx, &(Type){.e = F32});
      if (!r || !z) return NULL;
      for (int64_t i = 0; i < r->n; i++) tensor_set_i(r, i, (tensor_i(codes, i) + n - 1) / 2);
      tensor_set_f(z, 0, (double)(n - 1) / 2);
      Node *zn = NEW(x->arena, Node);
      *zn = (Node){.op = OP_CONST, .t = z->t, .a = {.value = z}, .loc = LOC_NONE};
      d.codes = r, d.zp = zn, d.factor = 2;
      width_of(0, n - 1, &d);
    } else {
      Elem e = codes->t.e.kind == EK_SHIFT || codes->t.e.kind == EK_BASES ? elem_for_range(-(lo < 0), hi > -lo ? hi : -lo) : codes->t.e;
      d.is_signed = e.kind == EK_INT;
      d.bits = e.bits;
      d.narrow = d.is_signed && e.bits > 1 && lo > elem_lo(e);
      if (e.kind == EK_BOOL || (e.bits == 1 && d.is_signed)) return NULL;
    }
  }
  Decode *r = NEW(x->arena, Decode);
  *r = d;
  return r;
}

Decode *decode_find(Export *x, const Node *n) {
  Affinity a;
  if (!affinity(n, &a) || (x->format == ONNX_FUNCTIONS && n->op == OP_DEQUANT)) return NULL; /* functions: for the float spelling only */
  if (x->format == ONNX_QONNX && a.q->op == OP_QUANT) return pair_find(x, &a);
  return codes_find(x, &a);
}

int decode_operands(const Decode *d, const Node *operands[4]) {
  int n = 0;
  if (d->x) operands[n++] = d->x;
  operands[n++] = d->scale;
  if (d->zp && d->x) operands[n++] = d->zp;
  return n;
}

/* A tensor times a factor, in f32 and owned by the context; the same shape. */
static Tensor *times(Export *x, const Tensor *was, double factor) {
  Type t = was->t;
  t.e = F32;
  Tensor *y = tensor_new(x->ctx, &t);
  for (int64_t i = 0; y && i < y->n; i++) tensor_set_f(y, i, tensor_f(was, i) * factor);
  return y;
}

/* (code - zp) * scale in f32, the float that the quantizer gives the code back for. */
static const char *decoded(Export *x, const Node *n, const Decode *d) {
  Type scalar = type_scalar(F32);
  Tensor *codes = times(x, d->codes, 1), *scale = times(x, d->scale->a.value, d->factor);
  Tensor *zp = d->zp ? times(x, d->zp->a.value, 1) : tensor_new(x->ctx, &scalar), *diff = NULL, *y = NULL;
  const char *v = NULL;
  if (codes && scale && zp) {
    Node in[3] = {{.op = OP_ARG, .t = codes->t}, {.op = OP_ARG, .t = zp->t}, {.op = OP_ARG, .t = scale->t}};
    Node sub = {.op = OP_MAP, .n_in = 2, .in = (Node *[]){&in[0], &in[1]}, .t = n->t, .a = {.scalar = S_SUB}, .loc = n->loc}, mul = sub;
    mul.in = (Node *[]){&in[0], &in[2]};
    mul.a.scalar = S_MUL;
    diff = node_eval(x->ctx, &sub, (Tensor *[]){codes, zp});
    y = diff ? node_eval(x->ctx, &mul, (Tensor *[]){diff, scale}) : NULL;
  }
  int64_t dims[MAX_RANK];
  for (int i = 0; i < n->t.rank; i++) dims[i] = n->t.d[i].n;
  if (y) v = x_tensor(x, y, onnx_type_of(F32), n->t.rank, dims, "weight");
  tensor_free(codes), tensor_free(scale), tensor_free(zp), tensor_free(diff), tensor_free(y);
  return v;
}

static const char *scaled(Export *x, const Decode *d) {
  if (d->factor == 1) return x_value(x, d->scale);
  Tensor *t = times(x, d->scale->a.value, d->factor);
  int64_t dims[MAX_RANK];
  if (!t) return NULL;
  for (int i = 0; i < t->t.rank; i++) dims[i] = t->t.d[i].n;
  const char *v = x_tensor(x, t, onnx_type_of(F32), t->t.rank, dims, "scale");
  tensor_free(t);
  return v;
}

static const char *linear_codes(Export *x, const Node *n, const Decode *d) {
  Node q = {.op = OP_CONST, .t = d->codes->t, .a = {.value = d->codes}}, s = *d->scale;
  if (d->factor == 1) return dequantize_linear(x, n, &q, d->codes, NULL, d->scale, d->zp, NULL);
  Tensor *t = times(x, d->scale->a.value, d->factor);
  if (!t) return NULL;
  s.a.value = t;
  const char *v = dequantize_linear(x, n, &q, d->codes, NULL, &s, d->zp, NULL);
  tensor_free(t);
  return v;
}

const char *decode_write(Export *x, const Node *n, const Decode *d) {
  static const char *const modes[RND_COUNT] = {"ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"};
  if (d->kind == LINEAR) return linear_codes(x, n, d);
  const char *in[4] = {d->x ? x_value(x, d->x) : decoded(x, n, d), scaled(x, d)}, *v;
  if (!in[0] || !in[1]) return NULL;
  x->qonnx = true;
  if (d->kind == BIPOLAR_QUANT) {
    v = x_node(x, "BipolarQuant", 2, in);
    x_domain(x, QONNX);
    return v;
  }
  int64_t dims[MAX_RANK];
  if (!d->zp) in[2] = x_float(x, F32, 0);
  else if (node_is_const(d->zp)) {
    for (int i = 0; i < d->zp->t.rank; i++) dims[i] = d->zp->t.d[i].n;
    in[2] = x_tensor(x, d->zp->a.value, onnx_type_of(F32), d->zp->t.rank, dims, "zero_point");
  } else in[2] = x_value(x, d->zp);
  in[3] = x_float(x, F32, d->bits);
  v = x_node(x, "Quant", 4, in);
  x_domain(x, QONNX);
  x_attr_i(x, "signed", d->is_signed);
  x_attr_i(x, "narrow", d->narrow);
  x_attr_s(x, "rounding_mode", modes[d->round]);
  return v;
}
