#include "trainer/alq.h"

#include "ir/math.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 256 };          /* elements between two loops over the same data */
const char *const alq_mode_names[ALQ_MODES] = {[ALQ_BASIS] = "basis", [ALQ_COORD] = "coord", [ALQ_PRUNE] = "prune", [ALQ_STE] = "ste", [ALQ_RECONSTRUCT] = "reconstruct"};
static const double lambda = 1e-6; /* ALQ, below Eq. 23 */

AlqStep alq_step(double lr, double beta1, double beta2, double epsilon, double decay, int64_t t) {
  return (AlqStep){.beta1 = (float)beta1, .beta2 = (float)beta2, .epsilon = (float)epsilon, .decay = (float)decay,
                   .rate = (float)(lr / (1 - math_eval(S_POW, beta1, (double)t))), .root = (float)sqrt(1 - math_eval(S_POW, beta2, (double)t))};
}

double alq_bits(int64_t n, int64_t groups, int64_t planes, int most) {
  int lut = 1;
  while (1 << lut <= most) lut++;
  return (double)(n + 32) * (double)planes + (double)lut * (double)groups;
}

/* Levels */

/* Merged alpha by alpha: from levels l upwards come l - a and l + a, both upwards; of equal ones the lesser code first. */
void alq_levels(const float *alpha, int k, AlqLevels *to) {
  double now[ALQ_LEVELS] = {0}, next[ALQ_LEVELS];
  uint8_t code[ALQ_LEVELS] = {0}, next_code[ALQ_LEVELS];
  for (int i = 0; i < k; i++) {
    double a = (double)alpha[i];
    int n = 1 << i, minus = 0, plus = 0;
    for (int to_i = 0; to_i < 2 * n; to_i++) {
      bool low = plus == n || (minus < n && now[minus] - a <= now[plus] + a);
      next[to_i] = low ? now[minus] - a : now[plus] + a;
      next_code[to_i] = (uint8_t)(low ? code[minus++] : code[plus++] | n);
    }
    memcpy(now, next, sizeof now), memcpy(code, next_code, sizeof code);
  }
  to->n = 1 << k;
  memcpy(to->code, code, sizeof code);
  for (int i = 0; i < to->n; i++) {
    to->level[i] = to->by_code[code[i]] = (float)now[i];
    if (i) to->mid[i - 1] = (float)((now[i - 1] + now[i]) / 2);
  }
}

/* Index of the nearest level: how many middles lie below x. */
static int below(const AlqLevels *l, float x) {
  int at = 0;
  for (int half = l->n / 2; half; half /= 2) at += x > l->mid[at + half - 1] ? half : 0;
  return at;
}

int alq_nearest(const AlqLevels *l, float x) { return l->code[below(l, x)]; }

/* Least squares */

static double sign_of(int code, int i) { return code >> i & 1 ? 1 : -1; }

bool alq_cholesky(double a[][ALQ_BITS], double *y, int k) {
  for (int i = 0; i < k; i++) { /* A = L L', then L y' = y, L' x = y' */
    for (int j = 0; j <= i; j++) {
      double s = a[i][j];
      for (int r = 0; r < j; r++) s -= a[i][r] * a[j][r];
      if (i == j && !(s > 0 && isfinite(s))) return false;
      a[i][j] = i == j ? sqrt(s) : s / a[j][j];
    }
    for (int r = 0; r < i; r++) y[i] -= a[i][r] * y[r];
    y[i] /= a[i][i];
  }
  for (int i = k - 1; i >= 0; i--) {
    for (int r = i + 1; r < k; r++) y[i] -= a[r][i] * y[r];
    y[i] /= a[i][i];
  }
  for (int i = 0; i < k; i++) if (!isfinite((float)y[i])) return false;
  return true;
}

bool alq_solve(const double *h, const double *hx, int k, double ridge, double *alpha) {
  double a[ALQ_BITS][ALQ_BITS] = {{0}}, y[ALQ_BITS] = {0};
  for (int c = 0; c < 1 << k; c++)
    for (int i = 0; i < k; i++) {
      y[i] += sign_of(c, i) * hx[c];
      for (int j = 0; j <= i; j++) a[i][j] += sign_of(c, i) * sign_of(c, j) * h[c];
    }
  for (int i = 0; i < k; i++) a[i][i] += ridge;
  if (!alq_cholesky(a, y, k)) return false;
  memcpy(alpha, y, (size_t)k * sizeof *y);
  return true;
}

/* Which alphas are negative; they are made positive. */
static int made_positive(float *alpha, int k) {
  int mask = 0;
  for (int i = 0; i < k; i++) if (alpha[i] < 0) alpha[i] = -alpha[i], mask |= 1 << i;
  return mask;
}

static void flip(float *code, int64_t n, int mask) {
  for (int64_t j = 0; mask && j < n; j++) code[j] = (float)((int)code[j] ^ mask);
}

int alq_sketch(const float *w, int64_t n, int most, double sigma, float *code, float *alpha) {
  double all = 0, rest, a[ALQ_BITS], h[ALQ_LEVELS], hx[ALQ_LEVELS];
  int k = 0;
  for (int64_t j = 0; j < n; j++) all += (double)w[j] * (double)w[j], code[j] = 0;
  for (rest = all; k < most && rest > sigma * all; k++) {
    memset(h, 0, sizeof h), memset(hx, 0, sizeof hx);
    for (int64_t j = 0; j < n; j++) {
      int c = (int)code[j];
      double e = (double)w[j];
      for (int i = 0; i < k; i++) e -= sign_of(c, i) * a[i];
      if (e >= 0) c |= 1 << k;
      code[j] = (float)c, h[c]++, hx[c] += (double)w[j];
    }
    double grown[ALQ_BITS];
    if (!alq_solve(h, hx, k + 1, 0, grown)) { /* a group of so few numbers that its bases span them */
      for (int64_t j = 0; j < n; j++) code[j] = (float)((int)code[j] & ((1 << k) - 1));
      break;
    }
    memcpy(a, grown, sizeof a);
    rest = 0;
    for (int64_t j = 0; j < n; j++) {
      double e = (double)w[j];
      for (int i = 0; i <= k; i++) e -= sign_of((int)code[j], i) * a[i];
      rest += e * e;
    }
  }
  for (int i = 0; i < k; i++) alpha[i] = (float)a[i];
  flip(code, n, made_positive(alpha, k));
  return k;
}

/* Steps */

static void moments(const AlqStep *s, int64_t n, const float *restrict grad, float *restrict m, float *restrict v, float *restrict top) {
  float b1 = s->beta1, b2 = s->beta2, c1 = 1 - b1, c2 = 1 - b2;
  for (int64_t j = 0; j < n; j++) {
    m[j] = b1 * m[j] + c1 * grad[j];
    v[j] = b2 * v[j] + c2 * grad[j] * grad[j];
    top[j] = top[j] > v[j] ? top[j] : v[j];
  }
}

/* h, and where x goes without constraints: x - p/h. */
static void freely(const AlqStep *s, int64_t n, const float *restrict x, const float *restrict m, const float *restrict top, float *restrict h, float *restrict to) {
  float rate = s->rate, root = s->root, epsilon = s->epsilon;
  for (int64_t j = 0; j < n; j++) {
    h[j] = (sqrtf(top[j]) + epsilon) / root;
    to[j] = x[j] - rate * m[j] / h[j];
  }
}

/* Sums over the elements of a code. */
typedef struct Sums { double h[ALQ_LEVELS], hx[ALQ_LEVELS], m[ALQ_LEVELS], v, top; } Sums;

/* Moments of the alphas from those of the weights: B'm, and the diagonals of B'VB, which are sums since B's elements are +-1. */
static void carry_moments(const AlqGroup *g, const Sums *sum) {
  for (int i = 0; i < g->k; i++) {
    double m = 0;
    for (int c = 0; c < 1 << g->k; c++) m += sign_of(c, i) * sum->m[c];
    g->am[i] = (float)m, g->av[i] = (float)sum->v, g->atop[i] = (float)sum->top;
  }
}

void alq_restore(const AlqGroup *g) {
  AlqLevels l;
  alq_levels(g->alpha, g->k, &l);
  for (int64_t j = 0; j < g->n; j++) g->w[j] = l.by_code[(int)g->code[j]];
}

/* Codes nearest to the target by the alphas as they are, then alphas by the codes (optimization speed-up, Eq. 22-23). */
static void project(const AlqStep *s, AlqMode mode, const AlqGroup *g, const float *grad) {
  AlqLevels l;
  Sums sum = {.v = 0};
  double alpha[ALQ_BITS];
  bool latent = mode != ALQ_BASIS;
  alq_levels(g->alpha, g->k, &l);
  moments(s, g->n, grad, g->m, g->v, g->top);
  for (int64_t at = 0; at < g->n; at += CHUNK) {
    int64_t n = g->n - at < CHUNK ? g->n - at : CHUNK;
    float h[CHUNK], x[CHUNK];
    freely(s, n, (latent ? g->latent : g->w) + at, g->m + at, g->top + at, h, x);
    if (latent) memcpy(g->latent + at, x, (size_t)n * sizeof *x);
    for (int64_t j = 0; j < n; j++) {
      int c = alq_nearest(&l, x[j]);
      double weight = mode == ALQ_RECONSTRUCT ? 1 : (double)h[j];
      g->code[at + j] = (float)c;
      sum.h[c] += weight, sum.hx[c] += weight * (double)x[j], sum.m[c] += (double)g->m[at + j];
      sum.v += (double)g->v[at + j], sum.top += (double)g->top[at + j];
    }
  }
  for (int i = 0; i < g->k; i++) alpha[i] = (double)g->alpha[i];
  if (alq_solve(sum.h, sum.hx, g->k, lambda, alpha)) for (int i = 0; i < g->k; i++) g->alpha[i] = (float)alpha[i];
  carry_moments(g, &sum);
  int mask = made_positive(g->alpha, g->k);
  flip(g->code, g->n, mask);
  for (int i = 0; i < g->k; i++) if (mask >> i & 1) g->am[i] = -g->am[i];
  alq_restore(g);
}

/* Moments of weights and alphas; the alphas' gradient is B'G (Eq. 14), and L2's. */
static void alpha_moments(const AlqStep *s, const AlqGroup *g, const float *grad) {
  double by_code[ALQ_LEVELS] = {0};
  float ga[ALQ_BITS];
  moments(s, g->n, grad, g->m, g->v, g->top);
  for (int64_t j = 0; j < g->n; j++) by_code[(int)g->code[j]] += (double)grad[j];
  for (int i = 0; i < g->k; i++) {
    double d = 0;
    for (int c = 0; c < 1 << g->k; c++) d += sign_of(c, i) * by_code[c];
    ga[i] = (float)d + s->decay * g->alpha[i];
  }
  moments(s, g->k, ga, g->am, g->av, g->atop);
}

static void coordinates(const AlqStep *s, const AlqGroup *g, const float *grad) {
  float h[ALQ_BITS], to[ALQ_BITS];
  alpha_moments(s, g, grad);
  freely(s, g->k, g->alpha, g->am, g->atop, h, to);
  memcpy(g->alpha, to, (size_t)g->k * sizeof *to);
  int mask = made_positive(g->alpha, g->k);
  flip(g->code, g->n, mask);
  for (int i = 0; i < g->k; i++) if (mask >> i & 1) g->am[i] = -g->am[i];
  alq_restore(g);
}

void alq_group_step(const AlqStep *s, AlqMode mode, const AlqGroup *g, const float *grad) {
  if (mode == ALQ_COORD) coordinates(s, g, grad);
  else project(s, mode, g, grad);
}

void alq_importance(const AlqStep *s, const AlqGroup *g, const float *grad, float *f) {
  alpha_moments(s, g, grad);
  for (int i = 0; i < g->k; i++) {
    float h = (sqrtf(g->atop[i]) + s->epsilon) / s->root, a = g->alpha[i];
    f[i] = -s->rate * g->am[i] * a + 0.5f * h * a * a;
  }
}

void alq_drop(AlqGroup *g, int i) {
  int low = (1 << i) - 1;
  g->k--;
  for (int64_t j = 0; j < g->n; j++) {
    int c = (int)g->code[j];
    g->code[j] = (float)((c & low) | (c >> 1 & ~low));
  }
  float *const all[] = {g->alpha, g->am, g->av, g->atop};
  for (int a = 0; a < 4; a++) {
    memmove(all[a] + i, all[a] + i + 1, (size_t)(g->k - i) * sizeof(float));
    all[a][g->k] = 0;
  }
  alq_restore(g);
}
