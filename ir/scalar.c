/* The rows of scalar.def, quant and dequant on single elements. */
#include "ir/eval_impl.h"
#include "ir/math.h"

#include <assert.h>
#include <math.h>
#include <string.h>

double elem_round(Elem e, double v) {
  if (e.bits == 64) return v;
  float f = (float)v;
  if (e.kind == EK_BF16) return round_bf16(f);
  return e.bits == 16 ? round_f16(f) : f;
}

double code_to_float(Elem from, Elem to, int64_t v) {
  if (elem_is_u64(from)) return to.bits == 64 ? (double)(uint64_t)v : elem_round(to, (float)(uint64_t)v);
  return to.bits == 64 ? (double)v : elem_round(to, (float)v);
}

static int64_t float_to_code(Elem e, double v) {
  if (isnan(v)) return 0;
  if (elem_is_u64(e)) return v >= 0x1p64 ? -1 : v <= 0 ? 0 : (int64_t)(uint64_t)v;
  int64_t lo = elem_lo(e), hi = elem_hi(e);
  return v >= (double)hi ? hi : v <= (double)lo ? lo : (int64_t)v; /* (double)INT64_MAX is 2^63 */
}

/* One element after another; the operation is chosen once. */
#define EACH(value) for (int i = 0; i < n; i++) value; return

/* Float rows in binary64. For binary32 operands + - * / and sqrt in binary64, rounded to binary32, are the binary32
 * operations (2*24 + 2 <= 53: S. Figueroa, When is double rounding innocuous?, 1995); fmod is exact. */
static inline double float_mod(double a, double b) {
  double r = fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static void float_rows(Scalar s, const Val *a, const Val *b, Val *y, int n) {
  switch (s) {
  case S_ADD: EACH(y[i].f = a[i].f + b[i].f);
  case S_SUB: EACH(y[i].f = a[i].f - b[i].f);
  case S_MUL: EACH(y[i].f = a[i].f * b[i].f);
  case S_DIV: EACH(y[i].f = a[i].f / b[i].f);
  case S_MOD: EACH(y[i].f = float_mod(a[i].f, b[i].f));
  case S_FMOD: EACH(y[i].f = fmod(a[i].f, b[i].f));
  case S_MAX: EACH(y[i].f = a[i].f > b[i].f || a[i].f != a[i].f ? a[i].f : b[i].f);
  case S_MIN: EACH(y[i].f = a[i].f < b[i].f || a[i].f != a[i].f ? a[i].f : b[i].f);
  case S_NEG: EACH(y[i].f = -a[i].f);
  case S_ABS: EACH(y[i].f = fabs(a[i].f));
  case S_SIGN: EACH(y[i].f = a[i].f > 0 ? 1 : a[i].f < 0 ? -1 : a[i].f == 0 ? 0 : a[i].f);
  case S_FLOOR: EACH(y[i].f = floor(a[i].f));
  case S_CEIL: EACH(y[i].f = ceil(a[i].f));
  case S_TRUNC: EACH(y[i].f = trunc(a[i].f));
  case S_ROUND: EACH(y[i].f = rint(a[i].f));
  case S_SQRT: EACH(y[i].f = sqrt(a[i].f));
  default: EACH(y[i].f = math_eval(s, a[i].f, b ? b[i].f : 0));
  }
}

static bool float_tests(Scalar s, const Val *a, const Val *b, int i) {
  switch (s) {
  case S_EQ: return a[i].f == b[i].f;
  case S_LT: return a[i].f < b[i].f;
  case S_LE: return a[i].f <= b[i].f;
  case S_ISNAN: return isnan(a[i].f);
  case S_ISINF: return isinf(a[i].f);
  default: assert(!"a test of floats"); return false;
  }
}

static inline int64_t code_div(int64_t a, int64_t b) {
  return b == 0 ? 0 : b == -1 ? (int64_t)-(uint64_t)a : a / b;
}
static inline int64_t code_fmod(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
static inline int64_t code_mod(int64_t a, int64_t b) {
  int64_t r = code_fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static inline int64_t code_shl(int64_t a, int64_t b) { return (uint64_t)b > 63 ? 0 : (int64_t)((uint64_t)a << b); }
static inline int64_t code_shr(int64_t a, int64_t b) { return a >> ((uint64_t)b > 63 ? 63 : b); }

#define U(v) ((uint64_t)(v).i)
/* Rows whose result depends on the sign bit's meaning, for u64. */
static bool u64_rows(Scalar s, const Val *a, const Val *b, Val *y, int i) {
  switch (s) {
  case S_DIV: y[i].i = b[i].i ? (int64_t)(U(a[i]) / U(b[i])) : 0; return true;
  case S_MOD: case S_FMOD: y[i].i = b[i].i ? (int64_t)(U(a[i]) % U(b[i])) : 0; return true;
  case S_MAX: y[i] = U(a[i]) > U(b[i]) ? a[i] : b[i]; return true;
  case S_MIN: y[i] = U(a[i]) < U(b[i]) ? a[i] : b[i]; return true;
  case S_ABS: y[i] = a[i]; return true;
  case S_SIGN: y[i].i = a[i].i != 0; return true;
  case S_SHR: y[i].i = U(b[i]) > 63 ? 0 : (int64_t)(U(a[i]) >> b[i].i); return true;
  case S_LT: y[i].i = U(a[i]) < U(b[i]); return true;
  case S_LE: y[i].i = U(a[i]) <= U(b[i]); return true;
  default: return false;
  }
}

static void code_rows(Scalar s, Elem e, const Val *a, const Val *b, Val *y, int n) {
  switch (s) {
  case S_ADD: EACH(y[i].i = (int64_t)(U(a[i]) + U(b[i])));
  case S_SUB: EACH(y[i].i = (int64_t)(U(a[i]) - U(b[i])));
  case S_MUL: EACH(y[i].i = (int64_t)(U(a[i]) * U(b[i])));
  case S_DIV: EACH(y[i].i = code_div(a[i].i, b[i].i));
  case S_MOD: EACH(y[i].i = code_mod(a[i].i, b[i].i));
  case S_FMOD: EACH(y[i].i = code_fmod(a[i].i, b[i].i));
  case S_MAX: EACH(y[i].i = a[i].i > b[i].i ? a[i].i : b[i].i);
  case S_MIN: EACH(y[i].i = a[i].i < b[i].i ? a[i].i : b[i].i);
  case S_NEG: EACH(y[i].i = (int64_t)-U(a[i]));
  case S_ABS: EACH(y[i].i = a[i].i < 0 ? (int64_t)-U(a[i]) : a[i].i);
  case S_SIGN: EACH(y[i].i = (a[i].i > 0) - (a[i].i < 0));
  case S_AND: EACH(y[i].i = a[i].i & b[i].i);
  case S_OR: EACH(y[i].i = a[i].i | b[i].i);
  case S_XOR: EACH(y[i].i = a[i].i ^ b[i].i);
  case S_NOT: EACH(y[i].i = e.kind == EK_BOOL ? !a[i].i : ~a[i].i);
  case S_SHL: EACH(y[i].i = code_shl(a[i].i, b[i].i));
  case S_SHR: EACH(y[i].i = code_shr(a[i].i, b[i].i));
  case S_POP: EACH(y[i].i = __builtin_popcountll(U(a[i]) << (64 - e.bits)));
  case S_EQ: EACH(y[i].i = a[i].i == b[i].i);
  case S_LT: EACH(y[i].i = a[i].i < b[i].i);
  case S_LE: EACH(y[i].i = a[i].i <= b[i].i);
  default: assert(!"a row of codes");
  }
}

static Val cast(Elem from, Elem to, Val v) {
  if (to.kind == EK_BOOL) return (Val){.i = elem_is_float(from) ? v.f != 0 : v.i != 0};
  if (elem_is_float(from)) return elem_is_float(to) ? (Val){.f = elem_round(to, v.f)} : (Val){.i = float_to_code(to, v.f)};
  return elem_is_float(to) ? (Val){.f = code_to_float(from, to, v.i)} : (Val){.i = elem_wrap(to, v.i)};
}

static Val bits(Elem from, Elem to, Val v) {
  assert(from.bits == to.bits && (from.bits == 32 || from.bits == 64));
  int64_t w = v.i; /* the bits of a double, too */
  if (elem_is_float(from) && from.bits == 32) {
    float f = (float)v.f;
    int32_t i;
    memcpy(&i, &f, sizeof i);
    w = i;
  }
  if (!elem_is_float(to)) return (Val){.i = elem_wrap(to, w)};
  if (to.bits == 64) return (Val){.i = w};
  int32_t i = (int32_t)w;
  float f;
  memcpy(&f, &i, sizeof f);
  return (Val){.f = f};
}

void scalar_run(Scalar s, Elem operand, Elem result, const Val *a, const Val *b, const Val *c, Val *y, int n) {
  bool test = scalar_info[s].result == 'B';
  if (s == S_CAST) { EACH(y[i] = cast(operand, result, a[i])); }
  if (s == S_BITS) { EACH(y[i] = bits(operand, result, a[i])); }
  if (s == S_SELECT) {
    for (int i = 0; i < n; i++) y[i] = a[i].i ? b[i] : c[i];
    if (elem_is_float(result)) return; /* codes: b and c may be wider than the result */
  } else if (elem_is_float(operand)) {
    if (test) { EACH(y[i].i = float_tests(s, a, b, i)); }
    float_rows(s, a, b, y, n);
  } else {
    bool done = false;
    if (elem_is_u64(operand)) for (int i = 0; i < n; i++) done = u64_rows(s, a, b, y, i);
    if (!done) code_rows(s, operand, a, b, y, n);
    if (test) return;
  }
  if (result.bits == 64 && result.kind != EK_SHIFT) return;
  if (elem_eq(result, F32)) { EACH(y[i].f = (float)y[i].f); }
  if (elem_is_float(result)) { EACH(y[i].f = elem_round(result, y[i].f)); }
  EACH(y[i].i = elem_wrap(result, y[i].i));
}

Val scalar_eval(Scalar s, Elem operand, Elem result, const Val *args) {
  int arity = scalar_info[s].arity;
  Val y;
  scalar_run(s, operand, result, args, arity > 1 ? args + 1 : NULL, arity > 2 ? args + 2 : NULL, &y, 1);
  return y;
}

/* Quant and dequant */

static double round_mode(Round mode, double v, bool f32) {
  double a = fabs(v);
  switch (mode) {
  case RND_EVEN: return rint(v);
  case RND_CEIL: return ceil(v);
  case RND_FLOOR: return floor(v);
  case RND_UP: return copysign(ceil(a), v);
  case RND_DOWN: return trunc(v);
  case RND_HALF_UP: return copysign(floor(f32 ? (double)((float)a + 0.5f) : a + 0.5), v);
  case RND_HALF_DOWN: return copysign(ceil(f32 ? (double)((float)a - 0.5f) : a - 0.5), v);
  default: assert(!"a rounding mode"); return v;
  }
}

Val quant_eval(double x, double scale, const Val *zp, Elem zp_type, Elem scale_type, const Attr *attr, Elem result) {
  bool f32 = scale_type.bits != 64, float_zp = zp && elem_is_float(zp_type);
  bool bipolar = result.kind == EK_BASES && result.bits == 1;
  double v = f32 ? (double)((float)x / (float)scale) : x / scale;
  if (zp && (float_zp || bipolar)) {
    double z = float_zp ? zp->f : code_to_float(zp_type, f32 ? F32 : F64, zp->i);
    v = f32 ? (double)((float)v + (float)z) : v + z;
  }
  if (bipolar) return (Val){.i = v >= 0 ? 1 : -1};
  v = round_mode(attr->round, v, f32);
  int64_t q = isnan(v) ? 0 : v >= 0x1p62 ? INT64_C(1) << 62 : v <= -0x1p62 ? -(INT64_C(1) << 62) : (int64_t)v;
  if (zp && !float_zp && !add_ok(q, zp->i, &q)) q = zp->i < 0 ? INT64_MIN : INT64_MAX;
  return (Val){.i = q < attr->lo ? attr->lo : q > attr->hi ? attr->hi : q};
}

double dequant_eval(int64_t x, double scale, const Val *zp, Elem zp_type, Elem scale_type, Elem result) {
  bool f32 = scale_type.bits != 64;
  if (zp && elem_is_float(zp_type)) return elem_round(result, f32 ? (double)(((float)x - (float)zp->f) * (float)scale) : ((double)x - zp->f) * scale);
  int64_t d = (int64_t)((uint64_t)x - (uint64_t)(zp ? zp->i : 0));
  return elem_round(result, f32 ? (double)((float)d * (float)scale) : (double)d * scale);
}

/* quant_eval of the common kind: codes without a zero point, or with one of codes. rint(v) is v + 1.5*2^52 - 1.5*2^52 where |v| < 2^51. */
static void quant_even(const Val *x, const Val *scale, const Val *zp, bool f32, const Attr *attr, Val *y, int n) {
  const double big = 0x1.8p52;
  for (int i = 0; i < n; i++) {
    double v = f32 ? (double)((float)x[i].f / (float)scale[i].f) : x[i].f / scale[i].f;
    if (!(fabs(v) < 0x1p51)) v = isnan(v) ? 0 : v > 0 ? fmin(rint(v), 0x1p62) : fmax(rint(v), -0x1p62);
    else v = v + big - big;
    int64_t q = (int64_t)v;
    if (zp && !add_ok(q, zp[i].i, &q)) q = zp[i].i < 0 ? INT64_MIN : INT64_MAX;
    y[i].i = q < attr->lo ? attr->lo : q > attr->hi ? attr->hi : q;
  }
}

void quant_run(const Val *x, const Val *scale, const Val *zp, Elem zp_type, Elem scale_type, const Attr *attr, Elem result, Val *y, int n) {
  if (attr->round == RND_EVEN && result.kind != EK_BASES && !(zp && elem_is_float(zp_type))) quant_even(x, scale, zp, scale_type.bits != 64, attr, y, n);
  else for (int i = 0; i < n; i++) y[i] = quant_eval(x[i].f, scale[i].f, zp ? &zp[i] : NULL, zp_type, scale_type, attr, result);
}

void dequant_run(const Val *x, const Val *scale, const Val *zp, Elem zp_type, Elem scale_type, Elem result, Val *y, int n) {
  if (elem_eq(result, F32) && scale_type.bits != 64 && !(zp && elem_is_float(zp_type))) {
    EACH(y[i].f = (double)((float)(int64_t)((uint64_t)x[i].i - (uint64_t)(zp ? zp[i].i : 0)) * (float)scale[i].f));
  }
  EACH(y[i].f = dequant_eval(x[i].i, scale[i].f, zp ? &zp[i] : NULL, zp_type, scale_type, result));
}

/* Elements of tensors */

#define STORES(X) X(ST_F32, float, f, double) X(ST_F64, double, f, double) \
  X(ST_I8, int8_t, i, int64_t) X(ST_U8, uint8_t, i, int64_t) X(ST_I16, int16_t, i, int64_t) X(ST_U16, uint16_t, i, int64_t) \
  X(ST_I32, int32_t, i, int64_t) X(ST_U32, uint32_t, i, int64_t) X(ST_I64, int64_t, i, int64_t) X(ST_U64, uint64_t, i, int64_t)

void vals_load(const Tensor *x, int64_t first, int64_t step, Val *v, int n) {
  switch (x->st) {
#define CASE(ST, T, field, W) \
  case ST: { const T *p = (const T *)x->data + first; for (int i = 0; i < n; i++) v[i].field = (W)p[i * step]; break; }
  STORES(CASE)
#undef CASE
  }
}

void vals_store(Tensor *y, int64_t first, const Val *v, int n) {
  switch (y->st) {
#define CASE(ST, T, field, W) \
  case ST: { T *p = (T *)y->data + first; for (int i = 0; i < n; i++) p[i] = (T)v[i].field; break; }
  STORES(CASE)
#undef CASE
  }
}
