/* The rows of scalar.def on single elements against the C language's own arithmetic, casts, quant and dequant. */
#include "ir/graph.h"
#include "tests/unit/holds.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rng_state = 1;
static uint64_t rng(void) {
  rng_state = rng_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return rng_state ^ rng_state >> 29;
}

/* Any bit pattern, often a special one. */
static float any_f32(void) {
  static const float special[] = {0, -0.0f, 1, -1, 0.5f, 1.5f, -2.5f, INFINITY, -INFINITY, NAN, 0x1p-149f, -0x1p-126f, 0x1.fffffep127f, 3};
  uint32_t u = (uint32_t)(rng() >> 16);
  float f;
  memcpy(&f, &u, 4);
  return rng() % 4 ? f : special[rng() % (sizeof special / sizeof *special)];
}
static int64_t any_code(Elem e) {
  int64_t lo = elem_lo(e), hi = elem_hi(e);
  if (rng() % 4 == 0) return rng() % 2 ? lo : hi;
  if (e.bits == 64) return (int64_t)rng() >> rng() % 64;
  return lo + (int64_t)(rng() % ((uint64_t)hi - (uint64_t)lo + 1));
}

static double f1(Scalar s, Elem e, double a) { return scalar_eval(s, e, e, (Val[]){{.f = a}}).f; }
static double f2(Scalar s, Elem e, double a, double b) { return scalar_eval(s, e, e, (Val[]){{.f = a}, {.f = b}}).f; }
static int64_t test2(Scalar s, Elem e, double a, double b) { return scalar_eval(s, e, BOOL, (Val[]){{.f = a}, {.f = b}}).i; }
static int64_t i1(Scalar s, Elem e, Elem r, int64_t a) { return scalar_eval(s, e, r, (Val[]){{.i = a}}).i; }
static int64_t i2(Scalar s, Elem e, Elem r, int64_t a, int64_t b) { return scalar_eval(s, e, r, (Val[]){{.i = a}, {.i = b}}).i; }
static int64_t to_code(double v, Elem r) { return scalar_eval(S_CAST, F32, r, (Val[]){{.f = v}}).i; }

static void same(double got, float want) {
  float g = (float)got;
  holds((double)g == got || isnan(got));
  holds_msg((isnan(g) && isnan(want)) || !memcmp(&g, &want, 4), "%a, not %a", g, want);
}

START_TEST(binary32) {
  for (int i = 0; i < 40000; i++) {
    float a = any_f32(), b = any_f32();
    volatile float sum = a + b, difference = a - b, product = a * b, quotient = a / b;
    same(f2(S_ADD, F32, a, b), sum);
    same(f2(S_SUB, F32, a, b), difference);
    same(f2(S_MUL, F32, a, b), product);
    same(f2(S_DIV, F32, a, b), quotient);
    same(f2(S_FMOD, F32, a, b), fmodf(a, b));
    same(f1(S_SQRT, F32, a), sqrtf(a));
    same(f1(S_FLOOR, F32, a), floorf(a));
    same(f1(S_CEIL, F32, a), ceilf(a));
    same(f1(S_TRUNC, F32, a), truncf(a));
    same(f1(S_ROUND, F32, a), rintf(a));
    same(f1(S_NEG, F32, a), -a);
    same(f1(S_ABS, F32, a), fabsf(a));
    same(f2(S_MAX, F32, a, b), a > b || isnan(a) ? a : b);
    same(f2(S_MIN, F32, a, b), a < b || isnan(a) ? a : b);
    holds(test2(S_LT, F32, a, b) == (a < b));
    holds(test2(S_LE, F32, a, b) == (a <= b));
    holds(test2(S_EQ, F32, a, b) == (a == b));
    holds(test2(S_ISNAN, F32, a, b) == (isnan(a) != 0));
    holds(test2(S_ISINF, F32, a, b) == (isinf(a) != 0));
    same(scalar_eval(S_SELECT, F32, F32, (Val[]){{.i = i & 1}, {.f = a}, {.f = b}}).f, i & 1 ? a : b);
  }
}
END_TEST

START_TEST(float_cases) {
  ck_assert(f2(S_MOD, F32, 5.5, 3) == 2.5 && f2(S_MOD, F32, -5.5, 3) == 0.5 && f2(S_MOD, F32, 5.5, -3) == -0.5);
  ck_assert(f2(S_MOD, F32, 6, 3) == 0 && isnan(f2(S_MOD, F32, 6, 0)) && isnan(f2(S_MOD, F32, INFINITY, 3)));
  ck_assert(f2(S_FMOD, F32, -5.5, 3) == -2.5);
  ck_assert(isnan(f2(S_MAX, F32, NAN, 1)) && isnan(f2(S_MAX, F32, 1, NAN)) && isnan(f2(S_MIN, F64, NAN, 1)) && isnan(f2(S_MIN, F64, 1, NAN)));
  ck_assert(f1(S_SIGN, F32, -3) == -1 && f1(S_SIGN, F32, 0.1) == 1 && isnan(f1(S_SIGN, F32, NAN)));
  ck_assert(f1(S_SIGN, F32, -0.0) == 0 && !signbit(f1(S_SIGN, F32, -0.0)) && signbit(f1(S_NEG, F32, 0)) && !signbit(f1(S_ABS, F32, -0.0)));
  ck_assert(f1(S_ROUND, F32, 2.5) == 2 && f1(S_ROUND, F32, 3.5) == 4 && f1(S_ROUND, F32, -0.5) == 0);
  /* one rounding in the type: 2^24 + 1, and binary16's 2048 + 1 */
  ck_assert(f2(S_ADD, F32, 0x1p24, 1) == 0x1p24 && f2(S_ADD, F64, 0x1p24, 1) == 0x1p24 + 1 && f2(S_ADD, F16, 2048, 1) == 2048);
  ck_assert(f2(S_ADD, F16, 2048, 3) == 2052 && f2(S_MUL, BF16, 1.0078125, 1.0078125) == 1.015625 && isinf(f2(S_MUL, F16, 256, 256)));
  same(f1(S_EXP, F32, 1), 2.718281828f);
  same(f2(S_POW, F32, -2, 3), -8);
}
END_TEST

__extension__ typedef __int128 Big;

START_TEST(codes) {
  static const uint8_t widths[] = {1, 2, 3, 7, 8, 9, 16, 31, 32, 33, 63, 64};
  for (int i = 0; i < 30000; i++) {
    uint8_t k = widths[rng() % sizeof widths];
    bool is_signed = rng() % 2;
    if (!is_signed && k == 64) continue; /* its own test */
    Elem e = is_signed ? INTK(k) : UINTK(k);
    Big a = any_code(e), b = any_code(e), m = (Big)1 << 64;
    int64_t shift = (int64_t)(rng() % 70), x = (int64_t)a, y = (int64_t)b;
#define WRAPPED(v) ((int64_t)(uint64_t)(((v) % m + m) % m))
    holds(i2(S_ADD, e, I64, x, y) == WRAPPED(a + b));
    holds(i2(S_SUB, e, I64, x, y) == WRAPPED(a - b));
    holds(i2(S_MUL, e, I64, x, y) == WRAPPED(a * b));
    holds(i2(S_DIV, e, I64, x, y) == WRAPPED(b ? a / b : 0));
    holds(i2(S_FMOD, e, I64, x, y) == (b ? (int64_t)(a % b) : 0));
    holds(i2(S_MOD, e, I64, x, y) == (b ? (int64_t)((a % b + b) % b) : 0));
    holds(i2(S_MAX, e, e, x, y) == (x > y ? x : y) && i2(S_MIN, e, e, x, y) == (x < y ? x : y));
    holds(i2(S_AND, e, e, x, y) == (x & y) && i2(S_OR, e, e, x, y) == (x | y) && i2(S_XOR, e, e, x, y) == (x ^ y));
    holds(i2(S_LT, e, BOOL, x, y) == (x < y) && i2(S_LE, e, BOOL, x, y) == (x <= y) && i2(S_EQ, e, BOOL, x, y) == (x == y));
    holds(i1(S_NEG, e, I64, x) == WRAPPED(-a) && i1(S_ABS, e, I64, x) == WRAPPED(a < 0 ? -a : a));
    holds(i1(S_SIGN, e, I64, x) == (a > 0) - (a < 0));
    holds(i2(S_SHR, e, e, x, shift) == (int64_t)(shift > 63 ? -(a < 0) : a >> shift));
    holds(i2(S_SHL, e, I64, x, shift) == (shift > 63 ? 0 : (int64_t)((uint64_t)x << shift)));
    int bits = 0;
    for (int j = 0; j < k; j++) bits += x >> (j > 63 ? 63 : j) & 1;
    holds(i1(S_POP, e, UINTK(8), x) == bits);
    int64_t narrow = i2(S_ADD, e, e, x, y);
    holds(narrow >= elem_lo(e) && narrow <= elem_hi(e) && (a + b - narrow) % ((Big)1 << k) == 0);
  }
}
END_TEST

START_TEST(code_cases) {
  Elem u64 = UINTK(64);
  ck_assert(i2(S_SUB, U8, U8, 3, 5) == 254 && i2(S_ADD, I8, I8, 127, 1) == -128 && i2(S_ADD, INTK(9), INTK(9), 127, 1) == 128);
  ck_assert(i2(S_DIV, I8, I8, -128, -1) == -128 && i2(S_DIV, I64, I64, INT64_MIN, -1) == INT64_MIN && i2(S_MOD, I64, I64, INT64_MIN, -1) == 0);
  ck_assert(i2(S_DIV, I32, I32, -7, 2) == -3 && i2(S_MOD, I32, I32, -7, 2) == 1 && i2(S_FMOD, I32, I32, -7, 2) == -1);
  ck_assert(i2(S_MOD, I32, I32, 7, -2) == -1 && i2(S_DIV, I32, I32, 7, 0) == 0);
  ck_assert(i1(S_NOT, BOOL, BOOL, 0) == 1 && i1(S_NOT, BOOL, BOOL, 1) == 0 && i1(S_NOT, U8, U8, 5) == 250 && i1(S_NOT, I8, I8, 5) == -6);
  ck_assert(i2(S_SHL, U8, U8, 3, 7) == 128 && i2(S_SHL, U8, U8, 3, 9) == 0 && i2(S_SHR, I8, I8, -128, 100) == -1);
  ck_assert(i2(S_DIV, u64, u64, -2, 3) == (int64_t)(UINT64_C(0xfffffffffffffffe) / 3) && i2(S_MOD, u64, u64, -1, 10) == 5);
  ck_assert(i2(S_MAX, u64, u64, -1, 1) == -1 && i2(S_MIN, u64, u64, -1, 1) == 1 && i2(S_LT, u64, BOOL, 1, -1) == 1 && i2(S_LE, u64, BOOL, -1, 1) == 0);
  ck_assert(i2(S_SHR, u64, u64, -1, 60) == 15 && i2(S_SHR, u64, u64, -1, 64) == 0 && i1(S_ABS, u64, u64, -5) == -5 && i1(S_SIGN, u64, u64, -5) == 1);
  ck_assert(i1(S_POP, I8, I8, -1) == 8 && i1(S_POP, UINTK(64), U8, -1) == 64 && i1(S_POP, I64, U8, INT64_MIN) == 1);
  ck_assert(i1(S_NEG, BIPOLAR, BIPOLAR, 1) == -1 && i2(S_MUL, BIPOLAR, BIPOLAR, -1, -1) == 1 && i1(S_NEG, ((Elem){EK_SHIFT, 3}), ((Elem){EK_SHIFT, 3}), 4) == -4);
}
END_TEST

START_TEST(casts) {
  ck_assert(to_code(3.99, I8) == 3 && to_code(-3.99, I8) == -3 && to_code(1e9, I8) == 127 && to_code(-1e9, I8) == -128);
  ck_assert(to_code(NAN, I32) == 0 && to_code(INFINITY, I32) == INT32_MAX && to_code(-INFINITY, I32) == INT32_MIN && to_code(-1, U8) == 0);
  ck_assert(to_code(0x1p63, I64) == INT64_MAX && to_code(-0x1p63, I64) == INT64_MIN && to_code(-0x1p70, I64) == INT64_MIN);
  ck_assert(to_code(0x1p63, UINTK(64)) == INT64_MIN && to_code(0x1p64, UINTK(64)) == -1 && to_code(-5, UINTK(64)) == 0 && to_code(300, UINTK(3)) == 7);
  ck_assert(to_code(0.1, BOOL) == 1 && to_code(0, BOOL) == 0 && to_code(-0.0, BOOL) == 0 && to_code(NAN, BOOL) == 1);
  ck_assert(i1(S_CAST, I32, I8, 300) == 44 && i1(S_CAST, I32, U8, -1) == 255 && i1(S_CAST, I32, BOOL, 256) == 1 && i1(S_CAST, U8, I8, 200) == -56);
  Val u = {.i = -1}, odd = {.i = (INT64_C(1) << 24) + 1}, tie = {.i = (INT64_C(1) << 60) + (INT64_C(1) << 36) + 1};
  ck_assert(scalar_eval(S_CAST, UINTK(64), F64, &u).f == 0x1p64 && scalar_eval(S_CAST, I64, F64, &u).f == -1);
  ck_assert(scalar_eval(S_CAST, I32, F32, &odd).f == 0x1p24 && scalar_eval(S_CAST, I32, F64, &odd).f == 0x1p24 + 1);
  ck_assert(scalar_eval(S_CAST, I64, F32, &tie).f == 0x1p60 + 0x1p37); /* not rounded twice */
  Val v = {.f = 1.0 + 0x1p-24 + 0x1p-40}, big = {.f = 70000}, half = {.f = 1 + 0x1p-11};
  ck_assert(scalar_eval(S_CAST, F64, F32, &v).f == 1.0 + 0x1p-23);
  ck_assert(isinf(scalar_eval(S_CAST, F32, F16, &big).f) && scalar_eval(S_CAST, F32, F16, &half).f == 1 && scalar_eval(S_CAST, F16, F32, &half).f == half.f);
  for (int i = 0; i < 20000; i++) {
    float f = any_f32();
    uint32_t w;
    memcpy(&w, &f, 4);
    int64_t got = scalar_eval(S_BITS, F32, UINTK(32), (Val[]){{.f = f}}).i;
    holds(got == w || isnan(f));
    float back = (float)scalar_eval(S_BITS, UINTK(32), F32, (Val[]){{.i = w}}).f;
    holds(!memcmp(&back, &f, 4) || isnan(f));
  }
  ck_assert(i1(S_BITS, F64, I64, 5) == 5 && scalar_eval(S_BITS, F32, I32, (Val[]){{.f = -0.0}}).i == INT32_MIN);
}
END_TEST

static int64_t q(double x, double scale, Round r) {
  Attr a = {.round = r, .lo = -128, .hi = 127};
  int64_t narrow = quant_eval(x, scale, NULL, I8, F32, &a, I8).i, wide = quant_eval(x, scale, NULL, I8, F64, &a, I8).i;
  ck_assert_int_eq(narrow, wide);
  return narrow;
}

/* FORMATS 1.2: values -2.5 -1.5 -0.5 0.5 1.5 2.5 and -2.7 -2.2 2.2 2.7 in each mode. */
START_TEST(rounding_modes) {
  static const double x[] = {-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -2.7, -2.2, 2.2, 2.7, 0};
  static const int want[RND_COUNT][11] = {
    [RND_EVEN] = {-2, -2, 0, 0, 2, 2, -3, -2, 2, 3, 0},      [RND_CEIL] = {-2, -1, 0, 1, 2, 3, -2, -2, 3, 3, 0},
    [RND_FLOOR] = {-3, -2, -1, 0, 1, 2, -3, -3, 2, 2, 0},    [RND_UP] = {-3, -2, -1, 1, 2, 3, -3, -3, 3, 3, 0},
    [RND_DOWN] = {-2, -1, 0, 0, 1, 2, -2, -2, 2, 2, 0},      [RND_HALF_UP] = {-3, -2, -1, 1, 2, 3, -3, -2, 2, 3, 0},
    [RND_HALF_DOWN] = {-2, -1, 0, 0, 1, 2, -3, -2, 2, 3, 0},
  };
  for (int r = 0; r < RND_COUNT; r++)
    for (int i = 0; i < 11; i++) ck_assert_msg(q(x[i], 1, (Round)r) == want[r][i], "%s of %g", round_names[r], x[i]);
}
END_TEST

START_TEST(quant_cases) {
  Attr a = {.lo = -128, .hi = 127}, u4 = {.lo = 0, .hi = 15};
  ck_assert(q(1000, 1, RND_EVEN) == 127 && q(-1000, 1, RND_EVEN) == -128 && q(INFINITY, 1, RND_EVEN) == 127 && q(NAN, 1, RND_EVEN) == 0);
  ck_assert(q(1, 0, RND_EVEN) == 127 && q(1e30, 1e-30, RND_FLOOR) == 127);
  /* a code zero point is added after rounding, a float one before */
  Val z = {.i = 3}, zf = {.f = 0.25}, huge = {.i = INT64_MAX};
  ck_assert(quant_eval(2.5, 1, &z, U8, F32, &u4, UINTK(4)).i == 5 && quant_eval(-9, 1, &z, U8, F32, &u4, UINTK(4)).i == 0);
  ck_assert(quant_eval(NAN, 1, &z, U8, F32, &u4, UINTK(4)).i == 3 && quant_eval(1e30, 1, &huge, I64, F32, &u4, UINTK(4)).i == 15);
  ck_assert(quant_eval(2.5, 1, &zf, F32, F32, &u4, UINTK(4)).i == 3 && quant_eval(2.25, 1, &zf, F32, F32, &u4, UINTK(4)).i == 2);
  /* the division is of the scale's type: 0.3f / 0.1f rounds to 3 in binary32 */
  float x = 0.35f, s = 0.1f;
  volatile float ratio = x / s;
  holds(quant_eval(x, s, NULL, I8, F32, &a, I8).i == (int64_t)rintf(ratio));
  int differ = 0;
  for (int i = 0; i < 50000; i++) {
    float scale = ldexpf(1 + (float)(rng() % 8388608) / 8388608, -4), v = ((float)(rng() % 200) - 99.5f) * scale;
    volatile float d = v / scale;
    int64_t n = quant_eval(v, scale, NULL, I8, F32, &a, I8).i, w = quant_eval(v, scale, NULL, I8, F64, &a, I8).i;
    holds(n == (int64_t)fminf(fmaxf(rintf(d), -128), 127));
    differ += n != w;
  }
  ck_assert_int_gt(differ, 0);
  /* bipolar: zero and -0 are +1 */
  ck_assert(quant_eval(0, 1, NULL, I8, F32, &a, BIPOLAR).i == 1 && quant_eval(-0.0, 1, NULL, I8, F32, &a, BIPOLAR).i == 1);
  ck_assert(quant_eval(-0.1, 1, NULL, I8, F32, &a, BIPOLAR).i == -1 && quant_eval(-1, 2, &(Val){.f = 0.5}, F32, F32, &a, BIPOLAR).i == 1);
}
END_TEST

START_TEST(dequant_cases) {
  ck_assert(dequant_eval(5, 0.5, &(Val){.i = 3}, I32, F32, F32) == 1 && dequant_eval(-128, 0.25, NULL, I32, F64, F32) == -32);
  for (int i = 0; i < 20000; i++) {
    int64_t x = (int64_t)(rng() % (INT64_C(1) << 31)) - (1 << 30);
    float s = ldexpf(1 + (float)(rng() % 8388608) / 8388608, -7);
    double wide = s * 1.0000000001;
    volatile float product = (float)x * s;
    holds(dequant_eval(x, s, NULL, I32, F32, F32) == product);
    holds(dequant_eval(x, wide, &(Val){.i = 7}, I32, F64, F32) == (float)((double)(x - 7) * wide));
    holds(dequant_eval(x, wide, &(Val){.i = 7}, I32, F64, F64) == (double)(x - 7) * wide);
  }
}
END_TEST

/* Many at once are each as alone, whatever number comes. */
START_TEST(runs) {
  enum { N = 64 };
  static const double special[] = {0, -0.0, 0.5, 1.5, 2.5, -2.5, 0x1p50, 0x1.00000000000018p51, -0x1p51, 0x1p53, 0x1p62, -0x1p62, 1e300, -1e300, INFINITY, -INFINITY, NAN};
  const Elem zps[] = {I8, I64, F32}, results[] = {I8, U8, I32, BIPOLAR}, scales[] = {F32, F64};
  for (int times = 0; times < 3000; times++) {
    Val x[N], k[N], zp[N], y[N], code[N];
    Elem ze = zps[rng() % 3], se = scales[rng() % 2], e = results[rng() % 4], fe = rng() % 2 ? F32 : F64;
    Attr a = {.round = times % 2 ? RND_EVEN : (Round)(rng() % RND_COUNT), .lo = elem_lo(e), .hi = elem_hi(e)};
    bool with = rng() % 2;
    for (int i = 0; i < N; i++) {
      x[i].f = rng() % 3 ? ((double)(rng() % 4096) - 2048) / 8 : special[rng() % 17];
      k[i].f = rng() % 8 ? ldexp(1 + (double)(rng() % 16) / 16, (int)(rng() % 8) - 4) : special[rng() % 17];
      zp[i].i = elem_eq(ze, I64) && rng() % 4 == 0 ? (rng() % 2 ? INT64_MAX : INT64_MIN) : (int64_t)(rng() % 256) - 128;
      code[i].i = rng() % 4 ? (int64_t)(rng() % 512) - 256 : (int64_t)((uint64_t)rng() << 33 ^ rng());
      if (elem_is_float(ze)) zp[i].f = (double)(rng() % 256) / 8;
    }
    quant_run(x, k, with ? zp : NULL, ze, se, &a, e, y, N);
    for (int i = 0; i < N; i++) holds(y[i].i == quant_eval(x[i].f, k[i].f, with ? &zp[i] : NULL, ze, se, &a, e).i);
    dequant_run(code, k, with ? zp : NULL, ze, se, fe, y, N);
    for (int i = 0; i < N; i++) {
      double one = dequant_eval(code[i].i, k[i].f, with ? &zp[i] : NULL, ze, se, fe);
      holds(y[i].f == one || (isnan(one) && isnan(y[i].f)));
    }
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("scalar");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, binary32);
  tcase_add_test(t, float_cases);
  tcase_add_test(t, codes);
  tcase_add_test(t, code_cases);
  tcase_add_test(t, casts);
  tcase_add_test(t, rounding_modes);
  tcase_add_test(t, quant_cases);
  tcase_add_test(t, dequant_cases);
  tcase_add_test(t, runs);
  suite_add_tcase(s, t);
  return suite_run(s);
}
