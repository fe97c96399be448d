/* math.def's formulas against the C library in long double: dense samples of every row, and the special values. */
#include "ir/math.h"
#include "tests/unit/holds.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef long double Wide(long double);
static const struct Row {
  Scalar s;
  Wide *f;
  double lo, hi;   /* sampled evenly; half of the samples of ranges around 0 are scaled down towards it */
  double ulp;      /* of binary64 */
} rows[] = {
  {S_EXP, expl, -708, 709.7, 1.1}, {S_EXP, expl, -1, 1, 1.1},
  {S_LOG, logl, 0.25, 4, 1.1}, {S_LOG, logl, 1e-300, 1e300, 1.1},
  {S_SIN, sinl, -7, 7, 2}, {S_SIN, sinl, -1e6, 1e6, 2}, {S_SIN, sinl, -1e12, 1e12, 2},
  {S_COS, cosl, -7, 7, 2}, {S_COS, cosl, -1e6, 1e6, 2}, {S_COS, cosl, -1e12, 1e12, 2},
  {S_TAN, tanl, -7, 7, 3.2}, {S_TAN, tanl, -1e5, 1e5, 3.2},
  {S_ASIN, asinl, -1, 1, 3.2}, {S_ACOS, acosl, -1, 1, 2}, {S_ATAN, atanl, -3, 3, 2}, {S_ATAN, atanl, -1e6, 1e6, 2},
  {S_SINH, sinhl, -3, 3, 2}, {S_SINH, sinhl, -710, 710, 2}, {S_COSH, coshl, -3, 3, 2}, {S_COSH, coshl, -710, 710, 2},
  {S_TANH, tanhl, -1, 1, 3.2}, {S_TANH, tanhl, -25, 25, 3.2},
  {S_ASINH, asinhl, -1, 1, 3.2}, {S_ASINH, asinhl, -1e8, 1e8, 3.2}, {S_ACOSH, acoshl, 1, 1.1, 3.2}, {S_ACOSH, acoshl, 1, 1e10, 3.2},
  {S_ATANH, atanhl, -0.1, 0.1, 3.2}, {S_ATANH, atanhl, -1, 1, 3.2}, {S_ERF, erfl, -1.2, 1.2, 2}, {S_ERF, erfl, -6.5, 6.5, 2},
};
enum { ROWS = sizeof rows / sizeof rows[0], SAMPLES = 60000 };

static uint64_t rng_state;
static double rng(void) { /* [0, 1) */
  rng_state = rng_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (double)(rng_state >> 11) * 0x1p-53;
}

/* Distance from the exact value in units of the last place of its binary<digits> neighbour. */
static long double ulps(double y, long double exact, int digits, int least) {
  if (isnan(y) || isnan(exact)) return isnan(y) && isnan(exact) ? 0 : INFINITY;
  if (isinf(y)) return isinf(exact) && (y > 0) == (exact > 0) ? 0 : INFINITY;
  int e;
  frexpl(exact, &e);
  return fabsl(y - exact) / ldexpl(1, e - digits > least ? e - digits : least);
}

static double sample(const struct Row *r, int i) {
  double x = r->lo + (r->hi - r->lo) * rng();
  return r->lo < 0 && i & 1 ? x * exp(-40 * rng()) : x;
}

START_TEST(accuracy) {
  const struct Row *r = &rows[_i];
  rng_state = (uint64_t)_i;
  for (int i = 0; i < SAMPLES; i++) {
    double x = sample(r, i), y = math_eval(r->s, x, 0);
    holds_msg(ulps(y, r->f(x), 53, -1074) <= r->ulp, "%s(%a) = %a", scalar_info[r->s].name, x, y);
    float xf = (float)x, yf = (float)math_eval(r->s, xf, 0);
    if (isinf(yf)) continue; /* beyond binary32 */
    holds_msg(ulps(yf, r->f(xf), 24, -149) <= 0.5001L, "%s(%a) = %a in binary32", scalar_info[r->s].name, xf, yf);
  }
}
END_TEST

START_TEST(accuracy_pow) {
  rng_state = 7;
  for (int i = 0; i < 4 * SAMPLES; i++) {
    double x = exp((rng() - 0.5) * (i & 1 ? 2 : 1400)), y = (rng() - 0.5) * 1400 / fabs(log(x));
    if (i & 2) { x = (float)x; y = (float)y; }
    long double exact = powl(x, y);
    double z = math_eval(S_POW, x, y);
    if (exact > 0x1.fffffffffffffp1023L) continue;
    holds_msg(ulps(z, exact, 53, -1074) <= 32, "pow(%a, %a) = %a", x, y, z);
    if (i & 2 && exact < 0x1.fffffep127L) holds(ulps((float)z, exact, 24, -149) <= 0.5001L);
  }
}
END_TEST

static const double specials[] = {
  0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, -3, 1.5, -1.5, 2.5, 10, 100, 1e5, 1e300, -1e300, 1e-300, -1e-300, 0x1p-1074, -0x1p-1074,
  0x1p-149, 0x1.fffffep127, INFINITY, -INFINITY, NAN, 0x1.fffffffffffffp-1, 0x1.0000000000001p0, -0x1.fffffffffffffp-1,
  4503599627370497.0, 9007199254740993.0, -9007199254740992.0, 750, -750, 709.9, -745.2, 88.8, -104, 22, 1e9,
};
enum { SPECIALS = sizeof specials / sizeof specials[0] };

static bool agree(double a, double b) {
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
  return signbit(a) == signbit(b) && (a == b || fabs(a - b) <= 1e-14 * fabs(b) || fabs(a - b) <= 0x1p-1073);
}

START_TEST(special_values) {
  for (int k = 0; k < ROWS; k++)
    for (int i = 0; i < SPECIALS; i++) {
      double x = specials[i], y = math_eval(rows[k].s, x, 0);
      bool circle = rows[k].s == S_SIN || rows[k].s == S_COS || rows[k].s == S_TAN;
      if (circle && isfinite(x) && fabs(x) > 0x1p40) ck_assert(isfinite(y));
      else ck_assert_msg(agree(y, (double)rows[k].f(x)), "%s(%a) = %a", scalar_info[rows[k].s].name, x, y);
    }
}
END_TEST

START_TEST(special_pow) {
  for (int i = 0; i < SPECIALS; i++)
    for (int j = 0; j < SPECIALS; j++) {
      double x = specials[i], y = specials[j], z = math_eval(S_POW, x, y);
      ck_assert_msg(agree(z, pow(x, y)), "pow(%a, %a) = %a, not %a", x, y, z, pow(x, y));
    }
}
END_TEST

/* Rows of the table are exactly those that scalar.def calls formulas. */
START_TEST(every_row) {
  int n = 0;
  for (int s = 0; s < SCALAR_COUNT; s++) n += math_has((Scalar)s);
  ck_assert_int_eq(n, 16);
  for (int k = 0; k < ROWS; k++) ck_assert(math_has(rows[k].s));
}
END_TEST

/* The Nest expansion computes the same bits, in f64 and f32. */
static void run_nest(Scalar s, Elem e, const void *a, const void *b, void *y, int64_t n) {
  Ctx *ctx = ctx_new();
  Program *p = program_new(ctx, "m");
  int bufs[3], var;
  const char *names[3] = {"a", "b", "y"};
  p->ins = NEWN(p->arena, Port, 2);
  p->outs = NEWN(p->arena, Port, 1);
  for (int i = 0; i < 3; i++) {
    bufs[i] = program_buf(p, names[i], e, i < 2 ? SP_IN : SP_OUT, n, NULL);
    Port port = {.name = names[i], .buf = bufs[i], .t = type_make(e, 1, &n)};
    if (i < 2) p->ins[p->n_ins++] = port;
    else p->outs[p->n_outs++] = port;
  }
  Nest *nest = program_nest(p, "f", NULL, scalar_info[s].name);
  var = nest_var(p, nest, "i", nt(p->index), true);
  Stmt *loop = ns_for(p, &nest->body, var, nx_idx(p, 0), nx_idx(p, n), 1, n);
  Expr *x = ns_name(p, nest, &loop->body, "va", nx_load(p, bufs[0], nx_var(p, nest, var), 1));
  Expr *z = ns_name(p, nest, &loop->body, "vb", nx_load(p, bufs[1], nx_var(p, nest, var), 1));
  Expr *r = math_expand(p, nest, &loop->body, s, x, scalar_info[s].arity == 2 ? z : NULL);
  ns_store(p, &loop->body, bufs[2], nx_var(p, nest, var), r);
  bool ok = program_verify(ctx, p) && program_run(ctx, p, (const void *[]){a, b}, (void *[]){y});
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  ctx_free(ctx);
}

START_TEST(nest_expansion) {
  enum { N = 2000 };
  static double a[N], b[N], y[N];
  static float af[N], bf[N], yf[N];
  Scalar s = (Scalar)_i;
  if (!math_has(s)) return;
  rng_state = (uint64_t)_i;
  for (int i = 0; i < N; i++) {
    a[i] = i < SPECIALS * SPECIALS ? specials[i % SPECIALS] : (rng() - 0.5) * exp(20 * rng() - 10);
    b[i] = i < SPECIALS * SPECIALS ? specials[i / SPECIALS] : (rng() - 0.5) * exp(20 * rng() - 10);
    af[i] = (float)a[i];
    bf[i] = (float)b[i];
  }
  run_nest(s, F64, a, b, y, N);
  run_nest(s, F32, af, bf, yf, N);
  for (int i = 0; i < N; i++) {
    double want = math_eval(s, a[i], b[i]);
    float want_f = (float)math_eval(s, af[i], bf[i]);
    holds(!memcmp(&want, &y[i], sizeof want) || (isnan(want) && isnan(y[i])));
    holds(!memcmp(&want_f, &yf[i], sizeof want_f) || (isnan(want_f) && isnan(yf[i])));
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("math");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, accuracy, 0, ROWS);
  tcase_add_test(t, accuracy_pow);
  tcase_add_test(t, special_values);
  tcase_add_test(t, special_pow);
  tcase_add_test(t, every_row);
  tcase_add_loop_test(t, nest_expansion, 0, SCALAR_COUNT);
  suite_add_tcase(s, t);
  return suite_run(s);
}
