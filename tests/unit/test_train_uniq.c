/* UniQ's Table 1, its Eq. 8 and the optimum that both define; its initialization against LSQ's. */
#include "tests/unit/suite.h"
#include "trainer/uniq.h"

#include <math.h>

/* UniQ, Table 1: unit steps and signal-to-quantization-noise ratios in dB, 1 to 4 bits. */
static const double step_w[] = {1.596, 0.996, 0.586, 0.335}, sqnr_w[] = {4.4, 9.3, 14.3, 19.4};
static const double step_a[] = {1.224, 0.651, 0.353, 0.193}, sqnr_a[] = {5.5, 11.6, 17.2, 22.7};
#define RECTIFIED_VARIANCE (0.5 - 0.15915494309189535) /* signal power of activations in the table: 1/2 - 1/(2 pi) */

static double db(double signal, double noise) { return 10 * log10(signal / noise); }

START_TEST(table_1) {
  for (int b = 1; b <= 4; b++) {
    ck_assert_double_eq_tol(uniq_step_w(b), step_w[b - 1], 1e-3);
    ck_assert_double_eq_tol(uniq_step_a(b), step_a[b - 1], 1e-3);
    ck_assert_double_eq_tol(db(1, uniq_error_w(b, uniq_step_w(b))), sqnr_w[b - 1], 0.1);
    ck_assert_double_eq_tol(db(RECTIFIED_VARIANCE, uniq_error_a(b, uniq_step_a(b))), sqnr_a[b - 1], 0.1);
  }
  static const double w[] = {1.595769, 0.995687, 0.586019, 0.335201, 0.188139}, a[] = {1.224006, 0.650770, 0.353411, 0.193249, 0.105488};
  for (int b = 1; b <= 5; b++) { /* more digits, computed independently */
    ck_assert_double_eq_tol(uniq_step_w(b), w[b - 1], 1e-6);
    ck_assert_double_eq_tol(uniq_step_a(b), a[b - 1], 2e-6);
  }
  ck_assert_double_eq_tol(uniq_step_w(8), 0.030762, 1e-6);
  ck_assert_double_eq_tol(uniq_step_a(8), 0.016528, 2e-6);
}
END_TEST

START_TEST(eq_8) { /* the slope is that of the error, and 0 at the optimum */
  for (int b = 1; b <= 8; b++) {
    ck_assert_double_eq_tol(uniq_slope_w(b, uniq_step_w(b)), 0, 1e-7);
    for (double s = 0.5; s < 2.1; s += 0.5) {
      double d = s * uniq_step_w(b), h = 1e-5 * d;
      double want = (uniq_error_w(b, d + h) - uniq_error_w(b, d - h)) / (2 * h);
      ck_assert_double_eq_tol(uniq_slope_w(b, d), want, 1e-4 * (1 + fabs(want)));
      ck_assert_double_le(uniq_error_w(b, uniq_step_w(b)), uniq_error_w(b, d) + 1e-12);
      ck_assert_double_le(uniq_error_a(b, uniq_step_a(b)), uniq_error_a(b, s * uniq_step_a(b)) + 1e-12);
    }
  }
}
END_TEST

START_TEST(error_by_sampling) { /* the closed forms against a sum over a fine grid */
  for (int b = 1; b <= 4; b++)
    for (double d = 0.3; d < 1.5; d += 0.4) {
      double w = 0, a = 0, h = 1e-3, top = (double)(1 << b) - 1;
      for (double x = h / 2; x < 9; x += h) {
        double p = exp(-x * x / 2) / sqrt(2 * M_PI) * h, r = fmin(fmax(rint((x + d * top / 2) / d), 0), top), q = fmin(rint(x / d), top);
        w += 2 * p * pow(x - (d * r - d * top / 2), 2);
        a += p * pow(x - d * q, 2);
      }
      ck_assert_double_eq_tol(uniq_error_w(b, d), w, 1e-5);
      ck_assert_double_eq_tol(uniq_error_a(b, d), a, 1e-5);
    }
}
END_TEST

START_TEST(better_than_lsq) { /* LSQ starts at 2 E|x| / sqrt(Qp): at 2 bits 6.71 dB against 9.25 for weights, 9.51 against 11.63 for activations */
  double mean_abs = sqrt(2 / M_PI), half_mean = mean_abs / 2;
  for (int b = 2; b <= 4; b++) {
    double qp_w = (double)(1 << (b - 1)) - 1, qp_a = (double)(1 << b) - 1, lsq_w = 2 * mean_abs / sqrt(qp_w), lsq_a = 2 * half_mean / sqrt(qp_a);
    double ours = db(1, uniq_error_w(b, uniq_step_w(b))), theirs = db(1, uniq_error_w(b, lsq_w)); /* LSQ's step in the same quantizer */
    ck_assert_double_gt(ours, theirs + 2.5);
    if (b == 2) ck_assert_double_eq_tol(theirs, 6.71, 0.01);
    ck_assert_double_gt(db(RECTIFIED_VARIANCE, uniq_error_a(b, uniq_step_a(b))), db(RECTIFIED_VARIANCE, uniq_error_a(b, lsq_a)));
    if (b == 2) ck_assert_double_eq_tol(db(RECTIFIED_VARIANCE, uniq_error_a(b, lsq_a)), 9.51, 0.01);
  }
}
END_TEST

START_TEST(gradient_scale) {
  ck_assert_double_eq_tol(uniq_grad_scale(2, 1, 100), 0.1, 1e-12);
  ck_assert_double_eq_tol(uniq_grad_scale(1, 1, 100), 0.1, 1e-12); /* never more than one over the root of the count */
  ck_assert_double_eq_tol(uniq_grad_scale(2, 0, 12), 1.0 / 6, 1e-12);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_uniq");
  TCase *t = tcase_create("uniq");
  TTest const *const tests[] = {table_1, eq_8, error_by_sampling, better_than_lsq, gradient_scale};
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(t, tests[i]);
  suite_add_tcase(s, t);
  return suite_run(s);
}
