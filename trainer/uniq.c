/* Integrals over a level's interval have closed forms in the normal density p and distribution P:
 *   int p = P(b) - P(a)      int x p = p(a) - p(b)      int x^2 p = P(b) - P(a) + a p(a) - b p(b) */
#include "trainer/uniq.h"

#include "ir/math.h"

#include <math.h>

typedef struct Moments { double m0, m1, m2; } Moments;

static double density(double x) { return isinf(x) ? 0 : math_eval(S_EXP, -x * x / 2, 0) * 0.3989422804014327; }
/* 1 - P(x) */
static double tail(double x) { return isinf(x) ? 0 : (1 - math_eval(S_ERF, x * 0.7071067811865476, 0)) / 2; }

static Moments moments(double a, double b) {
  Moments m = {tail(a) - tail(b), density(a) - density(b), 0};
  m.m2 = m.m0 + (isinf(a) ? 0 : a * density(a)) - (isinf(b) ? 0 : b * density(b));
  return m;
}

/* Interval i = 1..N/2 of the positive weights is ((i-1)D, iD), the last to infinity; its level (2i-1)/2 D. */
static Moments interval_w(int bits, double step, int64_t i) {
  int64_t half = INT64_C(1) << (bits - 1);
  return moments((double)(i - 1) * step, i == half ? INFINITY : (double)i * step);
}

double uniq_error_w(int bits, double step) {
  double sum = 0;
  for (int64_t i = 1; i <= INT64_C(1) << (bits - 1); i++) {
    Moments m = interval_w(bits, step, i);
    double level = (double)(2 * i - 1) / 2 * step;
    sum += m.m2 - 2 * level * m.m1 + level * level * m.m0;
  }
  return 2 * sum;
}

double uniq_slope_w(int bits, double step) {
  double sum = 0;
  for (int64_t i = 1; i <= INT64_C(1) << (bits - 1); i++) {
    Moments m = interval_w(bits, step, i);
    double odd = (double)(2 * i - 1);
    sum -= odd * 2 * (m.m1 - odd / 2 * step * m.m0);
  }
  return sum;
}

double uniq_error_a(int bits, double step) {
  double sum = 0;
  int64_t n = INT64_C(1) << bits;
  for (int64_t i = 0; i < n; i++) {
    Moments m = moments(i ? ((double)i - 0.5) * step : 0, i == n - 1 ? INFINITY : ((double)i + 0.5) * step);
    double level = (double)i * step;
    sum += m.m2 - 2 * level * m.m1 + level * level * m.m0;
  }
  return sum;
}

/* Golden section: the errors have one minimum between no range at all and six deviations. */
static double least(double (*error)(int, double), int bits) {
  const double ratio = 0.6180339887498949;
  double a = 1e-6, b = 12.0 / (double)(INT64_C(1) << bits), c = b - ratio * (b - a), d = a + ratio * (b - a), fc = error(bits, c), fd = error(bits, d);
  for (int i = 0; i < 60; i++) {
    if (fc < fd) b = d, d = c, fd = fc, c = b - ratio * (b - a), fc = error(bits, c);
    else a = c, c = d, fc = fd, d = a + ratio * (b - a), fd = error(bits, d);
  }
  return (a + b) / 2;
}

double uniq_step_w(int bits) {
  double a = 1e-6, b = 12.0 / (double)(INT64_C(1) << bits); /* the root of Eq. 8 by bisection: sharper than a minimum */
  for (int i = 0; i < 80; i++) {
    double m = (a + b) / 2;
    if (uniq_slope_w(bits, m) < 0) a = m;
    else b = m;
  }
  return (a + b) / 2;
}

double uniq_step_a(int bits) { return least(uniq_error_a, bits); }

double uniq_grad_scale(int bits, int is_weight, double elements) {
  double above = is_weight ? (double)((INT64_C(1) << (bits - 1)) - 1) : (double)((INT64_C(1) << bits) - 1);
  return 1 / sqrt(elements * (above < 1 ? 1 : above));
}
