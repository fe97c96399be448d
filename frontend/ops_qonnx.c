/* QONNX: quantizers as float operators (qonnx operator definitions; FORMATS 1). Each becomes quant and dequant. */
#include "frontend/import.h"

#include <math.h>
#include <string.h>
#include <strings.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* HALF_UP and HALF_DOWN are ties away from and toward zero; UP and DOWN are away from and toward zero. Brevitas writes DOWN as
 * ROUND_TO_ZERO. */
static bool rounding_named(OpCall *c, const char *s, Round *r) {
  static const struct { const char *name; Round r; } names[] = {
    {"ROUND", RND_EVEN}, {"HALF_EVEN", RND_EVEN}, {"CEIL", RND_CEIL}, {"FLOOR", RND_FLOOR}, {"UP", RND_UP}, {"DOWN", RND_DOWN},
    {"HALF_UP", RND_HALF_UP}, {"HALF_DOWN", RND_HALF_DOWN}, {"ROUND_TO_ZERO", RND_DOWN},
  };
  *r = RND_EVEN;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) if (!strcasecmp(s, names[i].name)) { *r = names[i].r; return true; }
  return ox_fail(c, E0204, "rounding_mode is \"%s\"", s);
}

static bool rounding(OpCall *c, Round *r) { return rounding_named(c, ox_str(c, "rounding_mode"), r); }

/* A constant bit width, the same everywhere. */
static bool bit_width(OpCall *c, int i, int *bits) {
  const Tensor *t = ox_value(c, ox_in(c, i), "the bit width");
  if (!t) return false;
  double v = t->n ? tensor_f(t, 0) : 0;
  for (int64_t k = 1; k < t->n; k++) if (tensor_f(t, k) != v) return ox_fail(c, E0302, "bit widths that differ within a tensor");
  if (!(v >= 1 && v <= 32) || v != floor(v)) return ox_fail(c, E0302, "a bit width of %g", v);
  *bits = (int)v;
  return true;
}

/* The codes of a width: their type, least and greatest. */
typedef struct Codes { Elem e; int64_t lo, hi; } Codes;
static Codes codes(int bits, bool is_signed, bool narrow) {
  int64_t half = INT64_C(1) << (bits - 1);
  return is_signed ? (Codes){INTK(bits), -half + narrow, half - 1} : (Codes){UINTK(bits), 0, 2 * half - 1 - narrow};
}

/* A zero point as quant and dequant take it: *f for quant, *code for dequant, both NULL where it is 0. *code is a code where all
 * are known to be integers, else the float itself. */
static void zero_point(OpCall *c, Node *zp, Node **f, Node **code) {
  *f = *code = zp;
  const Tensor *t = node_is_const(zp) ? zp->a.value : NULL;
  bool zero = t != NULL;
  for (int64_t i = 0; t && i < t->n; i++) {
    double v = tensor_f(t, i);
    if (v != floor(v) || fabs(v) > 1 << 24) return;
    zero = zero && v == 0;
  }
  if (zero) *f = *code = NULL;
  else if (t) *code = ox_fold(c, ox_cast(c, zp, I32));
}

static bool broadcasts(OpCall *c, const Node *x, const Node *p) {
  Type t;
  if (!p || type_broadcast(&x->t, &p->t, &t)) return true;
  return ox_fail(c, E0207, "a scale or zero point does not broadcast to the input");
}

/* quant with zp, then dequant with the same. */
static Node *quant_dequant(OpCall *c, Node *x, Node *scale, Node *zp, Codes k, Round r) {
  Node *f, *code;
  if (!x || !scale || !zp || !broadcasts(c, x, scale) || !broadcasts(c, x, zp)) return NULL;
  zero_point(c, zp, &f, &code);
  return node_dequant(c->g, node_quant(c->g, x, scale, f, k.e, k.lo, k.hi, r), scale, code, x->t.e);
}

bool op_qonnx_quant(OpCall *c) {
  int bits;
  Round r;
  Node *zp = ox_cast(c, c->in[2], F32);
  if (!bit_width(c, 3, &bits) || !rounding(c, &r) || !(zp = ox_fold(c, zp))) return false;
  bool is_signed = ox_int(c, "signed") != 0, narrow = ox_int(c, "narrow") != 0;
  Codes k = bits == 1 && is_signed ? (Codes){BIPOLAR, -1, 1} : codes(bits, is_signed, narrow);
  if (k.lo > k.hi) return ox_fail(c, E0204, "a narrow range of %d bit has no codes", bits);
  return done(c, quant_dequant(c, c->in[0], c->in[1], zp, k, r));
}

/* scale * (x >= 0 ? 1 : -1): quant's scale is 1, so that neither a negative scale nor underflow moves a sign. */
bool op_bipolar_quant(OpCall *c) {
  Node *x = c->in[0], *scale = c->in[1];
  if (!broadcasts(c, x, scale)) return false;
  Node *q = node_quant(c->g, x, ox_num(c, F32, 1), NULL, BIPOLAR, -1, 1, RND_EVEN);
  return done(c, node_dequant(c->g, q, scale, NULL, x->t.e));
}

/* A float rounded to an integer by any of the modes. */
static Node *rounded(OpCall *c, Node *x, Round r) {
  static const char *const text[RND_COUNT] = {
    [RND_EVEN] = "x round", [RND_CEIL] = "x ceil", [RND_FLOOR] = "x floor", [RND_UP] = "x abs ceil x sign mul", [RND_DOWN] = "x trunc",
    [RND_HALF_UP] = "x abs 0.5 add floor x sign mul", [RND_HALF_DOWN] = "x abs 0.5 sub ceil x sign mul",
  };
  Node *args[3] = {x, NULL, NULL};
  return ox_formula(c, text[r], args, 0);
}

Node *ox_rounded(OpCall *c, Node *x, const char *mode) {
  Round r;
  return rounding_named(c, mode, &r) ? rounded(c, x, r) : NULL;
}

/* Version 1 (five inputs): y = round(x / scale + zp); y = mode(y / 2^(in - out)); (y - zp) * scale.
 * Version 2 (six inputs): ts = 2^round(log2(out_scale / scale)); y = mode(clamp(y / ts)); (y - zp / ts) * out_scale. */
bool op_trunc(OpCall *c) {
  bool v2 = ox_in(c, 5) != NULL;
  int in_bits, out_bits;
  Round r;
  if (!bit_width(c, 3, &in_bits) || !bit_width(c, v2 ? 5 : 4, &out_bits) || !rounding(c, &r)) return false;
  Node *x = c->in[0], *scale = ox_cast(c, c->in[1], x->t.e), *zp = ox_cast(c, c->in[2], x->t.e), *args[3] = {x, scale, zp};
  Node *y = ox_formula(c, "x y div z add round", args, 0);
  if (!y) return false;
  if (!v2) {
    args[0] = rounded(c, ox_map2(c, S_MUL, y, ox_num(c, x->t.e, ldexp(1, out_bits - in_bits))), r);
    return done(c, ox_formula(c, "x z sub y mul", args, 0));
  }
  const Tensor *s = ox_value(c, c->in[1], "the scale"), *o = ox_value(c, c->in[4], "the output scale");
  if (!s || !o) return false;
  if (s->n != 1 || o->n != 1 || !(tensor_f(s, 0) > 0) || !(tensor_f(o, 0) > 0)) return ox_fail(c, E0302, "scales of Trunc that are not one positive number");
  int shift = (int)nearbyint(log2(tensor_f(o, 0) / tensor_f(s, 0)));
  Codes k = codes(out_bits, ox_int(c, "signed") != 0, ox_int(c, "narrow") != 0);
  Node *ts = ox_num(c, x->t.e, ldexp(1, -shift)), *zpt = ox_fold(c, ox_map2(c, S_MUL, zp, ts));
  y = ox_map2(c, S_MIN, ox_map2(c, S_MAX, ox_map2(c, S_MUL, y, ts), ox_num(c, x->t.e, (double)k.lo)), ox_num(c, x->t.e, (double)k.hi));
  args[0] = rounded(c, y, r), args[1] = ox_cast(c, c->in[4], x->t.e), args[2] = zpt;
  return done(c, zpt ? ox_formula(c, "x z sub y mul", args, 0) : NULL);
}

/* out_scale * #{t <= x} + out_bias: integers where both are (a bipolar result is 2 * count - 1), else floats of the count. */
bool op_multi_threshold(OpCall *c) {
  Node *x = c->in[0], *t = c->in[1];
  int rank = x->t.rank;
  const char *layout = ox_str(c, "data_layout");
  size_t len = strlen(layout);
  int axis = len && layout[len - 1] == 'C' ? rank - 1 : 1;
  double scale = ox_float(c, "out_scale"), bias = ox_float(c, "out_bias");
  if (t->t.rank != 2 || !ox_static(c, t)) return t->t.rank != 2 ? ox_fail(c, E0207, "thresholds have rank %d, not 2", t->t.rank) : false;
  if (t->t.d[0].n == 1 && axis >= rank) axis = 0;
  if (axis < 0 || axis >= rank || (t->t.d[0].n != 1 && !dim_eq(t->t.d[0], x->t.d[axis]))) return ox_fail(c, E0207, "there are %lld rows of thresholds, not one per channel", (long long)t->t.d[0].n);
  if (!elem_eq(t->t.e, x->t.e)) t = ox_fold(c, ox_cast(c, t, x->t.e));
  double n = (double)t->t.d[1].n, reach = n * fabs(scale) + fabs(bias);
  bool integers = scale == floor(scale) && bias == floor(bias) && reach < 1 << 24;
  double from = integers ? bias : 0, step = integers ? scale : 1, to = from + n * step;
  int64_t lo = (int64_t)(from < to ? from : to), hi = (int64_t)(from < to ? to : from);
  bool bipolar = integers && n == 1 && lo == -1 && hi == 1;
  Type y = x->t;
  y.e = bipolar ? BIPOLAR : elem_for_range(lo, hi);
  Attr a = {.axis = axis};
  Elem p = elem_for_range((int64_t)(from < step ? from : step), (int64_t)(from < step ? step : from));
  Node *in[4] = {x, t, node_const_i(c->g, p, (int64_t)from), node_const_i(c->g, p, (int64_t)step)};
  Node *q = node_dequant(c->g, node_new(c->g, OP_THRESHOLDS, &y, 4, in, &a, NULL), ox_num(c, F32, 1), NULL, x->t.e), *args[3] = {q, NULL, NULL};
  return done(c, integers ? q : ox_formula(c, "x $out_scale mul $out_bias add", args, 0));
}
