/* Element-wise operators as ONNX nodes. */
#include "frontend/export.h"

#include <string.h>

/* The operator that says a row on floats by itself, and whether it says it on integers of ONNX's own types, too. */
static const struct { const char *op; bool codes; } plain[SCALAR_COUNT] = {
  [S_ADD] = {"Add", true}, [S_SUB] = {"Sub", true}, [S_MUL] = {"Mul", true}, [S_DIV] = {"Div", false}, [S_POW] = {"Pow", false},
  [S_MAX] = {"Max", true}, [S_MIN] = {"Min", true}, [S_NEG] = {"Neg", false}, [S_ABS] = {"Abs", false}, [S_SIGN] = {"Sign", false},
  [S_FLOOR] = {"Floor", false}, [S_CEIL] = {"Ceil", false}, [S_ROUND] = {"Round", false}, [S_SQRT] = {"Sqrt", false},
  [S_EXP] = {"Exp", false}, [S_LOG] = {"Log", false}, [S_SIN] = {"Sin", false}, [S_COS] = {"Cos", false}, [S_TAN] = {"Tan", false},
  [S_ASIN] = {"Asin", false}, [S_ACOS] = {"Acos", false}, [S_ATAN] = {"Atan", false}, [S_SINH] = {"Sinh", false},
  [S_COSH] = {"Cosh", false}, [S_TANH] = {"Tanh", false}, [S_ASINH] = {"Asinh", false}, [S_ACOSH] = {"Acosh", false},
  [S_ATANH] = {"Atanh", false}, [S_ERF] = {"Erf", false}, [S_EQ] = {"Equal", true}, [S_LT] = {"Less", true},
  [S_LE] = {"LessOrEqual", true}, [S_ISNAN] = {"IsNaN", false}, [S_ISINF] = {"IsInf", false}, [S_SELECT] = {"Where", true},
};

static bool is_u64(Elem e) { return e.kind == EK_UINT && e.bits == 64; }
/* IsInf and LessOrEqual of 16-bit floats came late. */
static bool through_f32(const Export *x, const Node *n) {
  Elem e = n->in[n->n_in - 1]->t.e;
  return elem_is_float(e) && e.bits == 16 && ((n->a.scalar == S_ISINF && x->opset < 20) || (n->a.scalar == S_LE && x->opset < 16));
}

/* Floats */

static const char *write_floats(Export *x, const Node *n, const char *const *in) {
  Elem e = n->in[0]->t.e;
  const char *zero, *r;
  switch (n->a.scalar) {
  case S_TRUNC: return x3(x, "Where", x2(x, "Less", in[0], x_float(x, e, 0)), x1(x, "Ceil", in[0]), x1(x, "Floor", in[0]));
  case S_FMOD: case S_MOD:
    r = x2(x, "Mod", in[0], in[1]);
    x_attr_i(x, "fmod", 1);
    if (n->a.scalar == S_FMOD) return r;
    zero = x_float(x, e, 0);
    return x3(x, "Where", x2(x, "And", x1(x, "Not", x2(x, "Equal", r, zero)), x2(x, "Xor", x2(x, "Less", r, zero), x2(x, "Less", in[1], zero))),
              x2(x, "Add", r, in[1]), r);
  default: return x_fail(x, E0302, "has no ONNX spelling");
  }
}

/* max(x, +0) of x's own shape. */
static bool is_relu(const Node *n) {
  double v;
  if (n->a.scalar != S_MAX || !elem_is_float(n->t.e) || !node_uniform(n->in[1], &v) || v != 0 || __builtin_signbit(v)) return false;
  return type_eq(&n->t, &n->in[0]->t);
}

/* Codes */

/* Least and greatest sum, difference or product fit the result. */
static bool result_fits(const Node *n) {
  Elem a = n->in[0]->t.e, b = n->in[n->n_in - 1]->t.e, y = n->t.e;
  int64_t lo[2] = {elem_lo(a), elem_lo(b)}, hi[2] = {elem_hi(a), elem_hi(b)}, least = INT64_MAX, most = INT64_MIN;
  if (is_u64(a) || is_u64(b) || is_u64(y) || n->n_in != 2) return false;
  for (int i = 0; i < 4; i++) {
    int64_t p = i & 1 ? hi[0] : lo[0], q = i & 2 ? hi[1] : lo[1], r;
    bool ok = n->a.scalar == S_ADD ? add_ok(p, q, &r) : n->a.scalar == S_SUB ? !__builtin_sub_overflow(p, q, &r) : mul_ok(p, q, &r);
    if (!ok) return false;
    least = r < least ? r : least;
    most = r > most ? r : most;
  }
  return least >= elem_lo(y) && most <= elem_hi(y);
}

static const char *where(Export *x, const char *c, const char *a, const char *b) { return x3(x, "Where", c, a, b); }

/* a / b, mod and fmod with 0 for b = 0; 1 takes the place of divisors that processors trap on. */
static const char *divide(Export *x, Scalar s, Elem w, const char *a, const char *b) {
  const char *zero = x_int(x, w, 0), *one = x_int(x, w, 1), *is_zero = x2(x, "Equal", b, zero), *bad = is_zero, *minus = NULL, *y;
  if (w.kind == EK_INT) {
    minus = x2(x, "Equal", b, x_int(x, w, -1));
    bad = x2(x, "Or", is_zero, minus);
  }
  const char *safe = where(x, bad, one, b);
  if (s == S_DIV) {
    y = x2(x, "Div", a, safe);
    if (minus) y = where(x, minus, x2(x, "Sub", zero, a), y);
  } else {
    y = x2(x, "Mod", a, safe);
    if (s == S_FMOD) x_attr_i(x, "fmod", 1);
  }
  return where(x, is_zero, zero, y);
}

/* a * 2^b and floor(a / 2^b) in i64; u: a is u64. */
static const char *shifted(Export *x, Scalar s, const char *a, const char *b, bool u) {
  int64_t p[64], n = 64;
  for (int i = 0; i < 64; i++) p[i] = (int64_t)(UINT64_C(1) << i);
  const char *zero = x_int(x, I64, 0), *over = x2(x, "Less", x_int(x, I64, s == S_SHL || u ? 63 : 62), b), *y;
  if (s == S_SHL) {
    y = x2(x, "Mul", a, x2(x, "Gather", x_indices(x, 1, &n, p), x2(x, "Min", b, x_int(x, I64, 63))));
    return where(x, over, zero, y);
  }
  if (u) {
    y = x2(x, "BitShift", x_cast(x, a, I64, UINTK(64)), x_cast(x, x2(x, "Min", b, x_int(x, I64, 63)), I64, UINTK(64)));
    x_attr_s(x, "direction", "RIGHT");
    return where(x, over, zero, x_cast(x, y, UINTK(64), I64));
  }
  n = 63;
  const char *pow = x2(x, "Gather", x_indices(x, 1, &n, p), x2(x, "Min", b, x_int(x, I64, 62)));
  y = x2(x, "Div", x2(x, "Sub", a, x2(x, "Mod", a, pow)), pow);
  return where(x, over, where(x, x2(x, "Less", a, zero), x_int(x, I64, -1), zero), y);
}

static const char *bitwise(Export *x, const Node *n, Elem w, const char *const *a) {
  static const char *const ops[SCALAR_COUNT] = {[S_AND] = "BitwiseAnd", [S_OR] = "BitwiseOr", [S_XOR] = "BitwiseXor"};
  if (x->opset < 18) return x_fail(x, E0302, "needs opset 18");
  return x_to(x, x2(x, ops[n->a.scalar], a[0], a[1]), w, n->t.e, false);
}

/* Operands in the work type, where u64 is ordered as i64 is for rows that compare. */
static const char *write_codes(Export *x, const Node *n, const char *const *in) {
  Scalar s = n->a.scalar;
  Elem y = n->t.e, e = n->in[0]->t.e, w = s == S_SHL || s == S_SHR || s == S_POP ? I64 : x_work(n, 0);
  bool picks = s == S_MAX || s == S_MIN, compares = picks || s == S_LT || s == S_LE;
  const char *a[3] = {NULL}, *r;
  if (is_u64(e) && (s == S_DIV || s == S_MOD || s == S_FMOD)) w = e;
  for (int k = 0; k < n->n_in; k++) a[k] = compares ? x_ordered(x, in[k], n->in[k]->t.e, w) : x_cast(x, in[k], n->in[k]->t.e, w);
  switch (s) {
  case S_ADD: case S_SUB: case S_MUL: return x_to(x, x2(x, plain[s].op, a[0], a[1]), w, y, result_fits(n));
  case S_NEG: return x_to(x, x2(x, "Sub", x_int(x, w, 0), a[0]), w, y, false);
  case S_NOT: return e.kind == EK_BOOL ? x_to(x, x2(x, "Sub", x_int(x, w, 1), a[0]), w, y, true) : x_to(x, x2(x, "Sub", x_int(x, w, -1), a[0]), w, y, false);
  case S_ABS: return is_u64(e) ? x_to(x, a[0], w, y, false) : x_to(x, x1(x, "Abs", a[0]), w, y, false);
  case S_SIGN:
    if (!is_u64(e)) return x_to(x, x1(x, "Sign", a[0]), w, y, false);
    return x_to(x, where(x, x2(x, "Equal", a[0], x_int(x, w, 0)), x_int(x, w, 0), x_int(x, w, 1)), w, y, false);
  case S_MAX: case S_MIN:
    r = x2(x, plain[s].op, a[0], a[1]);
    if (is_u64(e)) r = x2(x, "Add", r, x_int(x, I64, INT64_MIN));
    return x_to(x, r, w, y, elem_eq(y, e) && elem_eq(y, n->in[1]->t.e));
  case S_EQ: case S_LT: case S_LE: return x2(x, plain[s].op, a[0], a[1]);
  case S_DIV: case S_MOD: case S_FMOD: return x_to(x, divide(x, s, w, a[0], a[1]), w, y, false);
  case S_AND: case S_OR: case S_XOR: return bitwise(x, n, w, a);
  case S_SHL: case S_SHR: return x_to(x, shifted(x, s, a[0], x_cast(x, in[1], n->in[1]->t.e, I64), is_u64(e)), I64, y, false);
  case S_POP: return x_to(x, x_popcount(x, a[0], e.bits), I64, y, false);
  default: return x_fail(x, E0302, "has no ONNX spelling");
  }
}

static const char *write_select(Export *x, const Node *n, const char *const *in) {
  Elem y = n->t.e, w = x_work(n, 1);
  if (elem_is_float(y)) return x3(x, "Where", in[0], in[1], in[2]);
  bool same = elem_eq(y, n->in[1]->t.e) && elem_eq(y, n->in[2]->t.e);
  return x_to(x, where(x, in[0], x_cast(x, in[1], n->in[1]->t.e, w), x_cast(x, in[2], n->in[2]->t.e, w)), w, y, same);
}

/* Casts */

static bool own_type(Elem e) { return elem_is_float(e) || elem_eq(e, x_carrier(e)); }

/* Float to a code of an odd width: truncated and saturated, NaN gives 0. */
static const char *write_saturate(Export *x, const Node *n, const char *const *in) {
  Elem e = n->in[0]->t.e, to = n->t.e, w = to.bits < 24 ? I32 : I64, f = e.bits == 64 ? F64 : F32;
  const char *v = x_cast(x, in[0], e, f);
  v = where(x, x1(x, "IsNaN", v), x_float(x, f, 0), v);
  v = x3(x, "Clip", v, x_float(x, f, w.bits == 32 ? -0x1p30 : -0x1p62), x_float(x, f, w.bits == 32 ? 0x1p30 : 0x1p62));
  v = x3(x, "Clip", x_cast(x, v, f, w), x_int(x, w, elem_lo(to)), x_int(x, w, elem_hi(to)));
  return x_cast(x, v, w, to);
}

static const char *write_wrap(Export *x, const Node *n, const char *const *in) {
  Elem w = x_work(n, 0);
  return x_to(x, x_cast(x, in[0], n->in[0]->t.e, w), w, n->t.e, false);
}

static const char *write_cast(Export *x, const Node *n, const char *const *in) {
  Elem e = n->in[0]->t.e, to = n->t.e;
  if (elem_is_float(to) || to.kind == EK_BOOL) { /* to bool: a != 0, as ONNX has it */
    return x_cast(x, in[0], e, to);
  }
  if (own_type(to)) return x_cast(x, in[0], e, to);
  if (elem_is_float(e)) return to.bits > 62 ? x_fail(x, E0302, "from a float to %d bits", to.bits) : x_wrap(x, n, in, write_saturate, false);
  if (elem_lo(e) >= elem_lo(to) && elem_hi(e) <= elem_hi(to) && !is_u64(e)) return x_cast(x, in[0], e, to);
  return x_wrap(x, n, in, write_wrap, false);
}

/* True where one operator says it: all types are the same, and ONNX's own. */
static bool is_plain(const Node *n) {
  Elem e = n->in[0]->t.e;
  if (!plain[n->a.scalar].codes || !own_type(e)) return false;
  for (int k = 1; k < n->n_in; k++) if (!elem_eq(n->in[k]->t.e, e)) return false;
  if (n->a.scalar == S_EQ) return true;
  return e.kind != EK_BOOL && (scalar_info[n->a.scalar].result == 'B' || elem_eq(n->t.e, e)) &&
         !(e.bits == 16 && (n->a.scalar == S_MAX || n->a.scalar == S_MIN));
}

static bool all_bool(const Node *n) {
  for (int k = 0; k < n->n_in; k++) if (n->in[k]->t.e.kind != EK_BOOL) return false;
  return n->t.e.kind == EK_BOOL;
}

const char *write_map(Export *x, const Node *n, const char *const *in) {
  static const char *const logic[SCALAR_COUNT] = {[S_AND] = "And", [S_OR] = "Or", [S_XOR] = "Xor", [S_NOT] = "Not"};
  Scalar s = n->a.scalar;
  Elem e = n->in[0]->t.e;
  if (s == S_CAST) return write_cast(x, n, in);
  if (s == S_SELECT) {
    bool one = elem_is_float(n->t.e) || (elem_eq(n->in[1]->t.e, n->in[2]->t.e) && elem_eq(n->in[1]->t.e, n->t.e) && x_carrier(n->t.e).bits != 16);
    return one ? x3(x, "Where", in[0], in[1], in[2]) : x_wrap(x, n, in, write_select, false);
  }
  if (elem_is_float(e)) {
    if (through_f32(x, n)) {
      const char *wide[2] = {x_cast(x, in[0], e, F32), n->n_in > 1 ? x_cast(x, in[1], e, F32) : NULL};
      return x_node(x, plain[s].op, n->n_in, wide);
    }
    if (is_relu(n)) return x1(x, "Relu", in[0]);
    return plain[s].op ? x_node(x, plain[s].op, n->n_in, in) : x_wrap(x, n, in, write_floats, false);
  }
  if (logic[s] && all_bool(n)) return x_node(x, logic[s], n->n_in, in);
  return is_plain(n) ? x_node(x, plain[s].op, n->n_in, in) : x_wrap(x, n, in, write_codes, false);
}
