/* Staircases: levels against a scan, on functions of every shape, and how often the function is asked; lines against the function at every
 * integer; what rules a line out never does so where there is one; a piecewise monotone region is proven without a scan. */
#include "passes/region.h"
#include "passes/stairs.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>

static uint32_t rnd(uint64_t *s, uint32_t below) {
  *s = *s * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*s >> 33) % below;
}

/* round(slope * x + offset) clamped; of kink != 0 the slope is `kink` times that below 0; values are multiples of unit. */
typedef struct F { double slope, offset, kink; int64_t lo, hi, unit; int64_t asked; } F;

static int64_t value(const F *f, int64_t x) {
  double y = f->slope * (double)x * (x < 0 && f->kink != 0 ? f->kink : 1) + f->offset;
  return (int64_t)fmin(fmax(rint(y / (double)f->unit), (double)f->lo), (double)f->hi) * f->unit;
}

static void values(void *user, const int64_t *x, int64_t *y, int n) {
  F *f = user;
  ck_assert_int_le(n, STAIRS_RUN);
  f->asked += n;
  for (int i = 0; i < n; i++) y[i] = value(f, x[i]);
}

static F random_fn(uint64_t *s, int64_t *lo, int64_t *hi) {
  int64_t levels = 1 + rnd(s, 300), range = 1 + rnd(s, 20000);
  double size = 0.2 + 2.0 * rnd(s, 1000) / 1000.0;
  *lo = -(int64_t)rnd(s, (uint32_t)range + 1);
  *hi = *lo + range;
  return (F){.slope = (rnd(s, 2) ? 1 : -1) * size * (double)levels / (double)range, .offset = rnd(s, 100) / 7.0 - 5, .kink = rnd(s, 3) ? 0 : rnd(s, 2) ? 0.1 : 7,
             .lo = -levels / 2, .hi = levels - levels / 2, .unit = rnd(s, 4) ? 1 : 2};
}

START_TEST(levels_are_where_they_are) {
  uint64_t s = (uint64_t)_i + 1;
  Ctx *ctx = ctx_new();
  for (int times = 0; times < 100; times++) {
    int64_t lo, hi;
    F f = random_fn(&s, &lo, &hi);
    Stairs y;
    ck_assert(stairs_ends(values, &f, lo, hi, f.unit, 1 << 16, &y));
    ck_assert_int_eq(y.y0, value(&f, lo));
    ck_assert_int_eq(y.y0 + y.n * y.step, value(&f, hi));
    stairs_find(ctx->own, values, &f, &y);
    int64_t j = 0;
    for (int64_t x = lo; x <= hi; x++)
      for (; j < y.n && (value(&f, x) - y.y0) / y.step > j; j++) ck_assert_msg(y.at[j] == x, "level %lld of %lld at %lld, found %lld", (long long)j, (long long)y.n, (long long)x, (long long)y.at[j]);
    ck_assert_int_eq(j, y.n);
    for (int64_t i = 0; i < y.n; i++) y.at[i] += (int64_t)rnd(&s, 41) - 20; /* found again from guesses */
    Stairs exact = y;
    stairs_find(ctx->own, values, &f, &exact);
    stairs_near(values, &f, &y, 0, y.n, y.at);
    for (int64_t i = 0; i < y.n; i++) ck_assert_int_eq(y.at[i], exact.at[i]);
  }
  ctx_free(ctx);
}
END_TEST

/* The ends of i64, where differences do not fit i64. */
START_TEST(widest_ranges) {
  Ctx *ctx = ctx_new();
  F f = {.slope = 0x1p-60, .lo = -7, .hi = 7, .unit = 1};
  Stairs y;
  ck_assert(stairs_ends(values, &f, INT64_MIN, INT64_MAX, 1, 100, &y));
  ck_assert_int_eq(y.n, 14);
  stairs_find(ctx->own, values, &f, &y);
  for (int64_t j = 0; j < y.n; j++) ck_assert(value(&f, y.at[j]) > -7 + j && value(&f, y.at[j] - 1) <= -7 + j);
  ck_assert(!stairs_ends(values, &f, INT64_MIN, INT64_MAX, 1, 13, &y));
  f.unit = 3;
  ck_assert(!stairs_ends(values, &f, -1, INT64_MAX, 2, 100, &y)); /* 21 is no multiple of 2 */
  ctx_free(ctx);
}
END_TEST

/* Regular steps are asked for three times a level at most, however wide. */
START_TEST(few_questions) {
  Ctx *ctx = ctx_new();
  for (int kink = 0; kink < 2; kink++) {
    F f = {.slope = 65535.0 / (1 << 26), .kink = kink ? 0.1 : 0, .lo = -40000, .hi = 40000, .unit = 1};
    Stairs y;
    ck_assert(stairs_ends(values, &f, -(1 << 25), 1 << 25, 1, 1 << 16, &y));
    stairs_find(ctx->own, values, &f, &y);
    ck_assert_msg(f.asked < 3 * y.n, "%lld values asked for %lld levels", (long long)f.asked, (long long)y.n);
    int64_t m, b, asked = f.asked;
    int shift;
    bool line = stairs_lines(ctx->own, &y, 1, y.y0, y.y0 + y.n, &m, &b, &shift);
    ck_assert_int_eq(line, !kink);
    ck_assert_int_eq(stairs_may_be_line(values, &f, &y), !kink);
    ck_assert_int_lt(f.asked - asked, 2000);
  }
  ctx_free(ctx);
}
END_TEST

START_TEST(lines_are_exact) {
  uint64_t s = (uint64_t)_i + 100;
  Ctx *ctx = ctx_new();
  int lines = 0;
  for (int times = 0; times < 60; times++) {
    int64_t m[2], b[2], lo, hi;
    int shift;
    Stairs y[2];
    F f[2];
    f[0] = random_fn(&s, &lo, &hi), f[0].unit = 1;
    f[1] = f[0], f[1].slope *= -0.7, f[1].offset += 1.3;
    int64_t ylo = INT64_MAX, yhi = INT64_MIN;
    for (int r = 0; r < 2; r++) {
      ck_assert(stairs_ends(values, &f[r], lo, hi, 1, 1 << 16, &y[r]));
      stairs_find(ctx->own, values, &f[r], &y[r]);
      int64_t end = y[r].y0 + y[r].step * y[r].n;
      ylo = y[r].y0 < ylo ? y[r].y0 : ylo, ylo = end < ylo ? end : ylo;
      yhi = y[r].y0 > yhi ? y[r].y0 : yhi, yhi = end > yhi ? end : yhi;
    }
    bool found = stairs_lines(ctx->own, y, 2, ylo, yhi, m, b, &shift);
    ck_assert(found || f[0].kink != 0); /* the function itself is a line, but for the kink */
    for (int r = 0; r < 2 && found; r++) {
      ck_assert(stairs_may_be_line(values, &f[r], &y[r]));
      for (int64_t x = lo; x <= hi; x++) {
        int64_t v = (x * m[r] + b[r]) >> shift;
        ck_assert_int_eq(v < ylo ? ylo : v > yhi ? yhi : v, value(&f[r], x));
      }
    }
    lines += found;
  }
  ck_assert_int_gt(lines, 20);
  ctx_free(ctx);
}
END_TEST

/* quant(select(x < 0, x * a, x)) of an i32: rises for a >= 0, turns for a < 0, and a comparison that turns at no integer of the range. */
START_TEST(pieces_are_proven) {
  Ctx *ctx = ctx_new();
  Graph *g = graph_new(ctx, "leaky", NULL);
  Type t = type_make(I32, 1, (int64_t[]){4});
  Node *x = graph_arg(g, "x", &t), *top[3];
  static const double slope[3] = {0.1, -0.1, 0};
  Node *y = node_dequant(g, x, node_const_f(g, F32, 0.001), NULL, F32), *below = node_map2(g, S_LT, y, node_const_f(g, F32, 0));
  for (int k = 0; k < 3; k++)
    top[k] = node_quant(g, node_map3(g, S_SELECT, below, node_map2(g, S_MUL, y, node_const_f(g, F32, slope[k])), y), node_const_f(g, F32, 0.5), NULL, INTK(16), -32768, 32767, RND_EVEN);
  const int64_t lo = -(INT64_C(1) << 30), hi = INT64_C(1) << 30;
  static const int whole[3] = {1, 0, 1}, left[3] = {1, -1, 1};
  for (int k = 0; k < 3; k++) {
    Region r;
    ck_assert(region_find(ctx->own, top[k], NULL, &r));
    ck_assert_int_eq(region_climb(&r, 0, lo, hi), whole[k]);
    ck_assert_int_eq(region_climb(&r, 0, lo, -1), left[k]);
    ck_assert_int_eq(region_climb(&r, 0, 0, hi), 1);
    ck_assert_int_eq(region_direction(&r, 0, (Val){.i = lo}, (Val){.i = hi}), 0); /* the steps themselves turn */
    for (int64_t i = 0; i < REGION_RUN; i++) r.v[0][i].i = lo + i * 16777259;
    Val many[REGION_RUN];
    const Val *v = region_run(&r, 0, REGION_RUN);
    for (int i = 0; i < REGION_RUN; i++) many[i] = v[i];
    for (int64_t i = 0; i < REGION_RUN; i++) ck_assert_int_eq(region_eval(&r, 0, (Val){.i = lo + i * 16777259}).i, many[i].i);
  }
  graph_free(g);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("stairs");
  TCase *t = tcase_create("stairs");
  tcase_set_timeout(t, 60);
  tcase_add_loop_test(t, levels_are_where_they_are, 0, 8);
  tcase_add_test(t, widest_ranges);
  tcase_add_test(t, few_questions);
  tcase_add_loop_test(t, lines_are_exact, 0, 4);
  tcase_add_test(t, pieces_are_proven);
  suite_add_tcase(s, t);
  return suite_run(s);
}
