/* Levels of one group of weights -> alphas. Levels come in pairs +-v; distinct magnitudes, sorted downwards, are v[0] > v[1] > ...
 *   1 to 3 alphas a >= b >= c >= 0: v = a;  a+b, a-b;  a+b+c, a+b-c, a-b+c, |a-b-c|: solved
 *   4 to 6        2*alpha is the difference of the many pairs of levels that one sign tells apart: the most frequent differences are
 *                 tried, until all levels are sums of a choice of them
 *   m magnitudes  are m alphas, whatever they are: v[0] the sum of all, v[k] that with one sign changed */
#include "passes/bases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LEVELS = 1 << (MOST_BASES - 1), MOST_DIFFERENCES = 14 };

typedef struct Fit {
  int m;                      /* magnitudes */
  double v[MOST_LEVELS];      /* downwards */
  double eps;
  double alpha[MOST_BASES];
  int code[MOST_LEVELS];      /* of +v: bit i set where alpha[i] counts positive */
} Fit;

static double tolerance(const double *alpha, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += fabs(alpha[i]);
  return sum * 0x1p-21;
}

static double level(const double *alpha, int n, int code) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += code >> i & 1 ? alpha[i] : -alpha[i];
  return sum;
}

/* Magnitudes of w; false where there are too many. Those nearer than rounding are one. */
static bool magnitudes(Fit *f, const float *w, int64_t n) {
  double most = 0;
  for (int64_t r = 0; r < n; r++) {
    if (!isfinite(w[r])) return false;
    most = fmax(most, fabs(w[r]));
  }
  f->eps = most * 0x1p-22;
  f->m = 0;
  for (int64_t r = 0; r < n; r++) {
    double v = fabs(w[r]);
    int i = 0;
    while (i < f->m && f->v[i] > v + f->eps) i++;
    if (i < f->m && f->v[i] >= v - f->eps) continue;
    if (f->m == MOST_LEVELS) return false;
    memmove(f->v + i + 1, f->v + i, sizeof *f->v * (size_t)(f->m - i));
    f->v[i] = v;
    f->m++;
  }
  return true;
}

/* Codes of all magnitudes as sums of n alphas; false where one is none. */
static bool decode(Fit *f, int n) {
  double far = tolerance(f->alpha, n), sum[1 << MOST_BASES] = {0};
  for (int i = 0; i < n; i++) /* as level() adds */
    for (int c = (1 << i) - 1; c >= 0; c--) sum[c | 1 << i] = sum[c] + f->alpha[i], sum[c] -= f->alpha[i];
  for (int k = 0; k < f->m; k++) {
    double best = INFINITY;
    for (int c = 0; c < 1 << n; c++) {
      double d = fabs(sum[c] - f->v[k]);
      if (d < best) best = d, f->code[k] = c;
    }
    if (!(best <= 2 * far)) return false;
  }
  return true;
}

/* Least squares of the alphas over the magnitudes under their codes, by elimination; alphas stay where that is singular. */
static void refine(Fit *f, int n) {
  double a[MOST_BASES][MOST_BASES + 1] = {{0}};
  for (int k = 0; k < f->m; k++)
    for (int i = 0; i < n; i++) {
      double s = f->code[k] >> i & 1 ? 1 : -1;
      for (int j = 0; j < n; j++) a[i][j] += s * (f->code[k] >> j & 1 ? 1 : -1);
      a[i][n] += s * f->v[k];
    }
  for (int i = 0; i < n; i++) {
    int p = i;
    for (int r = i + 1; r < n; r++) if (fabs(a[r][i]) > fabs(a[p][i])) p = r;
    if (fabs(a[p][i]) < 1e-9) return;
    for (int j = 0; j <= n; j++) { double t = a[i][j]; a[i][j] = a[p][j]; a[p][j] = t; }
    for (int r = 0; r < n; r++)
      for (int j = n; r != i && j >= i; j--) a[r][j] -= a[r][i] / a[i][i] * a[i][j];
  }
  for (int i = 0; i < n; i++) f->alpha[i] = a[i][n] / a[i][i];
}

/* Differences of levels that occur most often, halved. */
typedef struct Difference { double d; int count; } Difference;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static int by_count(const void *a, const void *b) {
  const Difference *x = a, *y = b;
  return x->count != y->count ? y->count - x->count : (x->d < y->d) - (x->d > y->d);
}

static int frequent(const Fit *f, Difference best[MOST_DIFFERENCES]) {
  enum { LEVELS = 2 * MOST_LEVELS };
  double u[LEVELS], d[LEVELS * (LEVELS - 1) / 2];
  Difference all[LEVELS * (LEVELS - 1) / 2];
  int n = 0, nd = 0, kinds = 0;
  for (int k = 0; k < f->m; k++) {
    u[n++] = f->v[k];
    if (f->v[k] > f->eps) u[n++] = -f->v[k];
  }
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      if (u[i] - u[j] > f->eps) d[nd++] = (u[i] - u[j]) / 2;
  qsort(d, (size_t)nd, sizeof *d, by_value);
  for (int i = 0, last; i < nd; i = last) {
    double sum = 0;
    for (last = i; last < nd && d[last] - d[i] <= 4 * f->eps; last++) sum += d[last];
    all[kinds++] = (Difference){sum / (last - i), last - i};
  }
  qsort(all, (size_t)kinds, sizeof *all, by_count);
  if (!kinds || all[0].count <= 2) return 0; /* each difference of any levels occurs twice: +-v; more often is structure */
  if (kinds > MOST_DIFFERENCES) kinds = MOST_DIFFERENCES;
  for (int i = 0; i < kinds; i++) best[i] = all[i];
  return kinds;
}

/* Chooses the alphas from `at` on among the differences from `from` on. */
static bool choose(Fit *f, int n, int at, const Difference *d, int kinds, int from) {
  if (at == n) {
    double all = 0;
    for (int i = 0; i < n; i++) all += f->alpha[i];
    return f->v[0] - all <= 2 * tolerance(f->alpha, n) && decode(f, n); /* no level is above their sum */
  }
  for (int i = from; i <= kinds - (n - at); i++) {
    f->alpha[at] = d[i].d;
    if (choose(f, n, at + 1, d, kinds, i + 1)) return true;
  }
  return false;
}

static bool solve(Fit *f, int n) {
  const double *v = f->v;
  double *a = f->alpha, last = f->m > 1 ? v[1] : 0;
  Difference d[MOST_DIFFERENCES];
  if (f->m > 1 << (n - 1)) return false;
  switch (n) {
  case 1: a[0] = v[0]; break;
  case 2: a[0] = (v[0] + last) / 2, a[1] = (v[0] - last) / 2; break;
  case 3: a[0] = (v[1] + v[2]) / 2, a[1] = (v[0] - v[2]) / 2, a[2] = (v[0] - v[1]) / 2; break; /* m >= 3: fewer had fewer alphas */
  default: {
    int kinds = frequent(f, d);
    if (choose(f, n, 0, d, kinds, 0)) return true;
    if (f->m != n) return false;
    a[n - 1] = v[0];
    for (int k = 1; k < n; k++) a[k - 1] = (v[0] - v[k]) / 2, a[n - 1] -= a[k - 1];
  }
  }
  return decode(f, n);
}

/* Alphas in binary32, and the codes of all w. */
static bool finish(Fit *f, int n, const float *w, int64_t count, float *alpha, uint8_t *codes) {
  refine(f, n);
  for (int i = 0; i < n; i++) f->alpha[i] = alpha[i] = (float)f->alpha[i];
  double far = tolerance(f->alpha, n);
  for (int64_t r = 0; r < count; r++) {
    double best = INFINITY;
    for (int k = 0; k < f->m; k++)
      for (int minus = 0; minus < 2; minus++) {
        int c = minus ? ~f->code[k] & ((1 << n) - 1) : f->code[k];
        double d = fabs(level(f->alpha, n, c) - (double)w[r]);
        if (d < best) best = d, codes[r] = (uint8_t)c;
      }
    if (!(best <= far)) return false;
  }
  return true;
}

int bases_fit(const float *w, int64_t n, float alpha[MOST_BASES], uint8_t *codes) {
  Fit f;
  if (!magnitudes(&f, w, n)) return -1;
  if (f.m == 0 || (f.m == 1 && f.v[0] == 0)) return 0;
  for (int k = f.m == 1 ? 1 : f.m == 2 ? 2 : f.m <= 4 ? 3 : 4; k <= MOST_BASES; k++)
    if (solve(&f, k) && finish(&f, k, w, n, alpha, codes)) return k;
  return -1;
}
