/* ALQ against the paper's statements, each written down again: Theorem A.1, the monotone residual of sketching, Eq. 19 by exhaustive search,
 * Eq. 23 by elimination and by perturbation, Eq. 26 and the paper's bytes, AMSGrad in the alphas' domain, the order and the schedule of
 * pruning, weights that are always B alpha; and the levels of its activations. */
#include "tests/unit/suite.h"
#include "trainer/diff.h"
#include "trainer/quantizer.h"
#include "trainer/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide;
enum { MOST = 500 };
enum { CODE, LATENT, M, V, TOP, ALPHA, ALPHA_M, ALPHA_V, ALPHA_TOP, COUNT, CLOCK }; /* a site's parameters (quant_alq.c) */

static float number(uint32_t seed, int64_t i) { return rng_normal((Rng){seed, RNG_INIT}, 7, (uint64_t)i); }
static int sign(float code, int i) { return (int)code >> i & 1 ? 1 : -1; }
static double sum_of(const float *alpha, int k, float code) {
  double v = 0;
  for (int i = 0; i < k; i++) v += sign(code, i) * (double)alpha[i];
  return v;
}

/* Determinant by Bareiss's elimination, exact in integers. */
static bool singular(wide a[ALQ_BITS][ALQ_BITS], int k) {
  wide before = 1;
  for (int p = 0; p < k; before = a[p][p], p++) {
    int r = p;
    while (r < k && !a[r][p]) r++;
    if (r == k) return true;
    for (int j = 0; j < k; j++) { wide t = a[p][j]; a[p][j] = a[r][j]; a[r][j] = t; }
    for (int i = p + 1; i < k; i++)
      for (int j = p + 1; j < k; j++) a[i][j] = (a[i][j] * a[p][p] - a[i][p] * a[p][j]) / before;
  }
  return false;
}

static const int64_t sizes[] = {9, 25, 64, 400, 500};

START_TEST(sketching) { /* Alg. 1: bases are linearly independent (Theorem A.1); every basis more leaves less */
  for (uint32_t seed = 1; seed <= 60; seed++) {
    int64_t n = sizes[seed % 5];
    float w[MOST], code[MOST], alpha[ALQ_BITS];
    double before = 0, all = 0;
    for (int64_t j = 0; j < n; j++) w[j] = 0.05f * number(seed, j), all += (double)w[j] * (double)w[j];
    before = all;
    for (int most = 1; most <= ALQ_BITS; most++) {
      int k = alq_sketch(w, n, most, 1e-6, code, alpha);
      double rest = 0;
      wide gram[ALQ_BITS][ALQ_BITS] = {{0}};
      for (int64_t j = 0; j < n; j++) {
        double e = (double)w[j] - sum_of(alpha, k, code[j]);
        rest += e * e;
        for (int i = 0; i < k; i++) for (int l = 0; l < k; l++) gram[i][l] += sign(code[j], i) * sign(code[j], l);
      }
      ck_assert(k == most || before <= 1.01e-6 * all);
      if (k < most) break;
      ck_assert_msg(rest < before, "seed %u: %d bases leave %g, one fewer %g", seed, k, rest, before);
      ck_assert_msg(!singular(gram, k), "seed %u: %d bases of %lld numbers depend on each other", seed, k, (long long)n);
      for (int i = 0; i < k; i++) ck_assert(alpha[i] >= 0);
      before = rest;
    }
    ck_assert(before < 0.05 * all);
  }
  float zero[9] = {0}, code[9], alpha[ALQ_BITS];
  ck_assert_int_eq(alq_sketch(zero, 9, 6, 1e-6, code, alpha), 0);
}
END_TEST

START_TEST(nearest_level) { /* Eq. 19 */
  for (uint32_t seed = 1; seed <= 300; seed++) {
    int k = (int)(seed % (ALQ_BITS + 1));
    float alpha[ALQ_BITS];
    AlqLevels l;
    for (int i = 0; i < k; i++) alpha[i] = fabsf(number(seed, i)), alpha[i] = seed % 4 == 0 && i ? alpha[0] : alpha[i]; /* equal ones, too */
    alq_levels(alpha, k, &l);
    ck_assert_int_eq(l.n, 1 << k);
    for (int c = 0; c < l.n; c++) ck_assert(l.by_code[c] == (float)sum_of(alpha, k, (float)c) || fabs((double)l.by_code[c] - sum_of(alpha, k, (float)c)) < 1e-6);
    for (int i = 0; i + 1 < l.n; i++) ck_assert(l.level[i] <= l.level[i + 1]);
    for (int t = 0; t < 200; t++) {
      double x = 3 * (double)number(seed, 100 + t), best = INFINITY, got = fabs(x - sum_of(alpha, k, (float)alq_nearest(&l, (float)x)));
      for (int c = 0; c < 1 << k; c++) best = fmin(best, fabs((double)(float)x - sum_of(alpha, k, (float)c)));
      ck_assert_msg(got <= best + 1e-6, "seed %u, %d alphas: %g is %g from its level, %g from the nearest", seed, k, x, got, best);
    }
  }
}
END_TEST

static double cost(const double *h, const double *x, const float *code, int64_t n, int k, const double *alpha, double ridge) {
  double s = 0;
  for (int64_t j = 0; j < n; j++) {
    double e = x[j];
    for (int i = 0; i < k; i++) e -= sign(code[j], i) * alpha[i];
    s += h[j] * e * e;
  }
  for (int i = 0; i < k; i++) s += ridge * alpha[i] * alpha[i];
  return s;
}

START_TEST(least_squares) { /* Eq. 23 */
  for (uint32_t seed = 1; seed <= 100; seed++) {
    int64_t n = sizes[1 + seed % 4];
    int k = 1 + (int)(seed % ALQ_BITS);
    double h[MOST], x[MOST], by_h[ALQ_LEVELS] = {0}, by_hx[ALQ_LEVELS] = {0}, alpha[ALQ_BITS], a[ALQ_BITS][ALQ_BITS + 1] = {{0}}, ridge = 1e-6;
    float code[MOST];
    for (int64_t j = 0; j < n; j++) {
      h[j] = 1e-4 + fabs((double)number(seed, j)), x[j] = (double)number(seed, 1000 + j);
      code[j] = (float)rng_below((Rng){seed, RNG_INIT}, 9, (uint64_t)j, 1u << k);
      by_h[(int)code[j]] += h[j], by_hx[(int)code[j]] += h[j] * x[j];
      for (int i = 0; i < k; i++) {
        for (int l = 0; l < k; l++) a[i][l] += h[j] * sign(code[j], i) * sign(code[j], l);
        a[i][k] += h[j] * sign(code[j], i) * x[j];
      }
    }
    for (int i = 0; i < k; i++) a[i][i] += ridge;
    ck_assert(alq_solve(by_h, by_hx, k, ridge, alpha));
    for (int p = 0; p < k; p++) /* elimination, B and H written out */
      for (int r = 0; r < k; r++)
        for (int l = k; r != p && l >= p; l--) a[r][l] -= a[r][p] / a[p][p] * a[p][l];
    double least = cost(h, x, code, n, k, alpha, ridge);
    for (int i = 0; i < k; i++) {
      ck_assert_double_eq_tol(alpha[i], a[i][k] / a[i][i], 1e-9 * (1 + fabs(alpha[i])));
      for (int by = -1; by <= 1; by += 2) {
        double other[ALQ_BITS];
        memcpy(other, alpha, sizeof other);
        other[i] += by * 1e-3;
        ck_assert(cost(h, x, code, n, k, other, ridge) > least);
      }
    }
  }
  double none[ALQ_LEVELS] = {0}, alpha[2] = {3, 4};
  ck_assert(!alq_solve(none, none, 2, 0, alpha) && alpha[0] == 3 && alpha[1] == 4);
}
END_TEST

/* A group with state as after some steps, and a gradient. */
typedef struct Holder { AlqGroup g; float w[MOST], code[MOST], m[MOST], v[MOST], top[MOST], latent[MOST], grad[MOST], a[4][ALQ_BITS]; } Holder;

static void hold(Holder *h, int64_t n, int most, uint32_t seed) {
  memset(h, 0, sizeof *h);
  h->g = (AlqGroup){n, 0, h->w, h->code, h->m, h->v, h->top, h->latent, h->a[0], h->a[1], h->a[2], h->a[3]};
  for (int64_t j = 0; j < n; j++) {
    h->latent[j] = 0.05f * number(seed, j), h->grad[j] = 0.01f * number(seed, 2000 + j), h->m[j] = 0.004f * number(seed, 3000 + j);
    h->v[j] = 1e-5f * fabsf(number(seed, 4000 + j)), h->top[j] = h->v[j] * 1.5f;
  }
  h->g.k = alq_sketch(h->latent, n, most, 1e-6, h->code, h->a[0]);
  for (int i = 0; i < h->g.k; i++) h->a[1][i] = 0.01f * number(seed, 5000 + i), h->a[2][i] = 1e-4f, h->a[3][i] = 2e-4f;
  alq_restore(&h->g);
}

static void is_sum(const AlqGroup *g) {
  for (int64_t j = 0; j < g->n; j++) ck_assert(fabs((double)g->w[j] - sum_of(g->alpha, g->k, g->code[j])) < 1e-7);
  for (int i = 0; i < g->k; i++) ck_assert(g->alpha[i] >= 0);
}

/* m, v, top after the gradient, and p, h of Eq. 10, in binary64. */
static void after(const AlqStep *s, double *m, double *v, double *top, double g, double *p, double *h) {
  *m = (double)s->beta1 * *m + (1 - (double)s->beta1) * g, *v = (double)s->beta2 * *v + (1 - (double)s->beta2) * g * g, *top = fmax(*top, *v);
  *p = (double)s->rate * *m, *h = (sqrt(*top) + (double)s->epsilon) / (double)s->root;
}

START_TEST(steps) {
  static Holder now, was;
  for (uint32_t seed = 1; seed <= 120; seed++) {
    AlqMode mode = (AlqMode[]){ALQ_BASIS, ALQ_COORD, ALQ_STE, ALQ_RECONSTRUCT}[seed % 4];
    AlqStep s = alq_step(seed % 3 ? 1e-3 : 0.02, 0.9, 0.999, 1e-8, 0, 5 + seed);
    hold(&now, sizes[1 + seed % 4], 1 + (int)(seed / 4 % ALQ_BITS), seed), hold(&was, sizes[1 + seed % 4], 1 + (int)(seed / 4 % ALQ_BITS), seed);
    AlqGroup *g = &now.g;
    alq_group_step(&s, mode, g, now.grad);
    is_sum(g);
    double model = 0, by_w = 0, by_free = 0, ga[ALQ_BITS] = {0}, am[ALQ_BITS] = {0}, av = 0, at = 0;
    for (int64_t j = 0; j < g->n; j++) {
      double m = (double)was.m[j], v = (double)was.v[j], top = (double)was.top[j], p, h, x;
      after(&s, &m, &v, &top, (double)now.grad[j], &p, &h);
      ck_assert(fabs(m - (double)now.m[j]) < 1e-8 && fabs(v - (double)now.v[j]) < 1e-10 && fabs(top - (double)now.top[j]) < 1e-10);
      double d = (double)now.w[j] - (double)was.w[j];
      model += p * d + h / 2 * d * d;
      x = mode >= ALQ_STE ? (double)was.latent[j] - p / h : (double)was.w[j] - p / h;
      if (mode >= ALQ_STE) ck_assert(fabs((double)now.latent[j] - x) < 1e-6);
      double weight = mode == ALQ_RECONSTRUCT ? 1 : h;
      by_w += weight * ((double)was.w[j] - x) * ((double)was.w[j] - x), by_free += weight * ((double)now.w[j] - x) * ((double)now.w[j] - x);
      for (int i = 0; i < g->k; i++) ga[i] += sign(was.code[j], i) * (double)now.grad[j], am[i] += sign(now.code[j], i) * m;
      av += v, at += top;
    }
    for (int i = 0; i < g->k && mode != ALQ_COORD; i++) /* no other alpha, for the same codes, is nearer in the norm */
      for (int by = -1; by <= 1; by += 2) {
        double other = 0, by_alpha = 0.02 * by * (1e-3 + (double)g->alpha[i]);
        for (int64_t j = 0; j < g->n; j++) {
          double m = (double)was.m[j], v = (double)was.v[j], top = (double)was.top[j], p, h;
          after(&s, &m, &v, &top, (double)now.grad[j], &p, &h);
          double e = (double)now.w[j] + sign(now.code[j], i) * by_alpha - ((double)(mode >= ALQ_STE ? was.latent : was.w)[j] - p / h);
          other += (mode == ALQ_RECONSTRUCT ? 1 : h) * e * e;
        }
        ck_assert_msg(other > by_free, "seed %u: alpha %d is not the least squares'", seed, i);
      }
    if (mode == ALQ_BASIS) ck_assert_msg(model <= 1e-9, "seed %u: the loss of Eq. 18 rises by %g", seed, model);
    if (mode != ALQ_COORD) {
      ck_assert_msg(by_free <= by_w * 1.000001 + 1e-9, "seed %u: the projection is farther than the weights before: %g, %g", seed, by_free, by_w);
      for (int i = 0; i < g->k; i++) ck_assert(fabs(now.a[1][i] - am[i]) < 1e-5 && fabs(now.a[2][i] - av) < 1e-6 && fabs(now.a[3][i] - at) < 1e-6);
      continue;
    }
    for (int i = 0; i < g->k; i++) { /* Eq. 14, 21; codes flip where an alpha turns */
      double m = (double)was.a[1][i], v = (double)was.a[2][i], top = (double)was.a[3][i], p, h;
      after(&s, &m, &v, &top, ga[i], &p, &h);
      double to = (double)was.a[0][i] - p / h;
      ck_assert_msg(fabs(fabs(to) - (double)now.a[0][i]) < 1e-6, "seed %u: alpha %g, wanted %g", seed, (double)now.a[0][i], to);
      for (int64_t j = 0; j < g->n && fabs(to) > 1e-6; j++) ck_assert((sign(now.code[j], i) == sign(was.code[j], i)) == (to > 0));
      ck_assert(fabs((to < 0 ? -m : m) - (double)now.a[1][i]) < 1e-6);
    }
  }
}
END_TEST

START_TEST(bytes) {
  for (int bits = 1; bits <= 6; bits++) /* Eq. 26: 32N / (IN + 32 I N/n), n = 400, N = 400000; and 3 bits or fewer for each count */
    ck_assert_double_eq_tol(32 * 400000.0 / (alq_bits(400, 1000, 1000 * bits, 6) - 3 * 1000), 32.0 / (bits + bits * 32.0 / 400), 1e-9);
  ck_assert_double_eq(alq_bits(25, 20, 0, 1), 20);
  Ctx *ctx = ctx_new();
  const char *text = "popshift: recipe/1\nnet: {builtin: lenet5, classes: 10}\ndata: {train: [a, b]}\nquant: [{match: \"conv*\", weight: alq/6, groups: kernel}, "
                     "{match: fc1, weight: alq/6, groups: part, parts: 2}, {match: fc2, weight: alq/6}]\nphases: [{quant: true, epochs: 1, lr: constant(0.1)}]\n";
  Recipe *r = recipe_parse(ctx, "t.yaml", text, strlen(text));
  ck_assert_ptr_nonnull(r);
  r->net.classes = 10;
  Net *net = net_builtin(ctx, r, 1, 28, 28);
  ck_assert_ptr_nonnull(net);
  int64_t n = 0;
  double bits = 0;
  for (int p = 0; p < net->n_p; p++) if (net->p[p].role == PARAM_WEIGHT) n += net->p[p].n;
  ck_assert_int_eq(4 * n, 1722000); /* the paper's 1720 KB; a KB is 1000 bytes */
  net_quantize(net, r, &r->quant);
  for (int i = 0; i < net->n_site; i++) site_ops(&net->site[i])->init_weight(net, &net->site[i]);
  for (int p = 0; p < net->n_plain; p++) if (net->p[p].role == PARAM_WEIGHT) bits += (double)net->p[p].n * net_weight_bits(net, p);
  double groups = 20 + 1000 + 1000 + 10, planes = 6 * groups; /* every group of so many random numbers has six */
  ck_assert_double_eq_tol(bits, 6 * 430500 + 32 * planes + 3 * groups, 1);
  ck_assert_double_eq(net_code_bits(net, 0), 6);
  net_free(net);
  ctx_free(ctx);
}
END_TEST

START_TEST(groups) { /* which weights [O, C, kh, kw] a group has, in which order */
  static const char *const way[] = {"groups: channel", "groups: kernel", "groups: pixel", "groups: part, parts: 2"};
  Ctx *ctx = ctx_new();
  const char *text = arena_printf(ctx->own, "popshift: recipe/1\nnet: {builtin: lenet5, classes: 4, width: 0.2}\ndata: {train: [a, b]}\nquant: [{match: conv2, weight: alq/3, %s}]\n"
                                            "phases: [{quant: true, epochs: 1, lr: constant(1e-4)}]\n", way[_i]);
  Recipe *r = recipe_parse(ctx, "t.yaml", text, strlen(text));
  ck_assert_ptr_nonnull(r);
  r->net.classes = 4;
  Net *net = net_builtin(ctx, r, 1, 16, 16);
  net_quantize(net, r, &r->quant);
  Site *s = net->site;
  site_ops(s)->init_weight(net, s);
  const Param *w = &net->p[s->w];
  int64_t o = w->t.d[0].n, c = w->t.d[1].n, taps = w->t.d[2].n * w->t.d[3].n, all = site_param(net, s, COUNT)->n, n = site_param(net, s, CODE)->n / all;
  ck_assert((o == 10 && c == 4 && taps == 25 && all == o * (int64_t[]){1, c, taps, 2}[_i] && all * n == w->n));
  for (int64_t q = 0; q < all; q++)
    for (int64_t j = 0; j < n; j++) {
      int64_t each = all / o, at = q / each * c * taps + (_i == 2 ? j * taps + q % each : q % each * n + j);
      double want = sum_of(site_param(net, s, ALPHA)->value + q * ALQ_BITS, (int)site_param(net, s, COUNT)->value[q], site_param(net, s, CODE)->value[q * n + j]);
      ck_assert(fabs((double)w->value[at] - want) < 1e-6);
    }
  net_free(net);
  ctx_free(ctx);
}
END_TEST

/* Two layers, channelwise and in parts, with alphas of equal moments: what pruning takes, and when. */
static void serially(void *pool, size_t n, void (*task)(void *, size_t, size_t), void *arg) { (void)pool; task(arg, 0, n); }


static int all_of(const Net *net, const Site *s) {
  const Param *count = site_param(net, s, COUNT);
  int sum = 0;
  for (int64_t q = 0; q < count->n; q++) sum += (int)count->value[q];
  return sum;
}

static void check_prune(double top_k, uint32_t seed) {
  Ctx *ctx = ctx_new();
  const char *text = arena_printf(ctx->own, "popshift: recipe/1\nnet: {builtin: mlp, hidden: 12, classes: 4}\ndata: {train: [a, b]}\nquant: [{match: \"fc1|fc3\", weight: alq/4}, "
    "{match: \"*\", weight: alq/4, groups: part, parts: 3}]\nphases: [{quant: true, alq: prune, prune: 0.6, top_k: %.17g, epochs: 2, lr: constant(1e-4)}]\n", top_k);
  Recipe *r = recipe_parse(ctx, "t.yaml", text, strlen(text));
  if (!r) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(r);
  r->net.classes = 4, r->seed = seed;
  Net *net = net_builtin(ctx, r, 1, 4, 4);
  net_quantize(net, r, &r->quant);
  ck_assert_int_eq(net->n_site, 4);
  Arena *a = arena_new(ctx);
  const float **grad = NEWN(a, const float *, net->n_p);
  for (int p = 0; p < net->n_plain; p++) {
    float *g = NEWN(a, float, net->p[p].n);
    for (int64_t i = 0; i < net->p[p].n; i++) g[i] = 1e-3f * number(seed, 100 * p + i);
    grad[p] = g;
  }
  int start = 0;
  for (int i = 0; i < 4; i++) {
    Site *s = &net->site[i];
    ck_assert(net->p[s->w].taken);
    site_ops(s)->init_weight(net, s), start += all_of(net, s);
  }
  enum { PER_EPOCH = 5 };
  for (int it = 0; it < 2 * PER_EPOCH; it++) {
    /* what Eq. 13 says of every alpha, from the state before */
    double f[4][64 * ALQ_BITS];
    int before[4], left = 0, limit_hit = 0;
    float kept[4][64 * ALQ_BITS];
    for (int i = 0; i < 4; i++) {
      Site *s = &net->site[i];
      const Param *count = site_param(net, s, COUNT), *code = site_param(net, s, CODE);
      before[i] = all_of(net, s);
      int64_t n = code->n / count->n, c = 0, outs = net->p[s->w].t.d[1].n, each = count->n / outs;
      AlqStep step = alq_step(1e-4, 0.9, 0.999, 1e-8, 0, it + 1);
      for (int64_t q = 0; q < count->n; q++)
        for (int k = 0; k < (int)count->value[q]; k++, c++) {
          double g = 0, m = (double)site_param(net, s, ALPHA_M)->value[q * ALQ_BITS + k], v = (double)site_param(net, s, ALPHA_V)->value[q * ALQ_BITS + k];
          double top = (double)site_param(net, s, ALPHA_TOP)->value[q * ALQ_BITS + k], alpha = (double)site_param(net, s, ALPHA)->value[q * ALQ_BITS + k], p, h;
          for (int64_t j = 0; j < n; j++) g += sign(code->value[q * n + j], k) * (double)grad[s->w][(q % each * n + j) * outs + q / each];
          after(&step, &m, &v, &top, g, &p, &h);
          f[i][c] = -p * alpha + h / 2 * alpha * alpha, kept[i][c] = (float)alpha;
        }
    }
    site_ops(net->site)->update(&(Update){net, r, r->phase, it, PER_EPOCH, 1e-4, grad, serially, NULL}, QUANT_ALQ);
    /* which went: alphas keep their order, and differ */
    double worst_gone = -INFINITY, best_kept = INFINITY;
    for (int i = 0; i < 4; i++) {
      Site *s = &net->site[i];
      const Param *count = site_param(net, s, COUNT);
      int c = 0, now = all_of(net, s), last = 0;
      left += now;
      last = now == 1;
      for (int64_t q = 0, k = 0; c < before[i]; c++) {
        while (q < count->n && k == (int64_t)count->value[q]) q++, k = 0;
        bool stays = q < count->n && site_param(net, s, ALPHA)->value[q * ALQ_BITS + k] == kept[i][c];
        if (stays) k++, best_kept = last ? best_kept : fmin(best_kept, f[i][c]);
        else worst_gone = fmax(worst_gone, f[i][c]);
      }
      int gone = before[i] - now;
      if (top_k < 1 && it + 1 < 2 * PER_EPOCH) ck_assert_msg(gone <= (int)(top_k * before[i]) + 1, "%d of layer %d's %d", gone, i, before[i]);
      limit_hit += top_k < 1;
      for (int64_t q = 0; q < count->n; q++) { /* weights follow */
        int64_t n = site_param(net, s, CODE)->n / count->n, outs = net->p[s->w].t.d[1].n, each = count->n / outs;
        for (int64_t j = 0; j < n; j++)
          ck_assert(fabs((double)net->p[s->w].value[(q % each * n + j) * outs + q / each] - sum_of(site_param(net, s, ALPHA)->value + q * ALQ_BITS, (int)count->value[q], site_param(net, s, CODE)->value[q * n + j])) < 1e-6);
      }
    }
    if (!limit_hit) {
      ck_assert_msg(worst_gone <= best_kept * (1 + 1e-4) + 1e-9, "step %d: one of importance %g went, one of %g stays", it, worst_gone, best_kept);
      ck_assert_int_eq(left, (int)floor(start - start * 0.6 * (it + 1) / (2 * PER_EPOCH) + 0.5));
    }
  }
  const QuantizerOps *ops = site_ops(net->site);
  float *code = site_param(net, net->site, CODE)->value, *count = site_param(net, net->site, COUNT)->value, was = *code, had = *count;
  ck_assert(ops->valid(net, net->site) && ops->valid(net, net->site + 1));
  *code = -1; ck_assert(!ops->valid(net, net->site));
  *code = 64; ck_assert(!ops->valid(net, net->site));
  *code = was, *count = 7; ck_assert(!ops->valid(net, net->site));
  *count = 0.5f; ck_assert(!ops->valid(net, net->site));
  *count = had;
  int end = 0;
  for (int i = 0; i < 4; i++) end += all_of(net, &net->site[i]);
  ck_assert_int_eq(end, (int)floor(start * 0.4 + 0.5));
  arena_free(a);
  net_free(net);
  ctx_free(ctx);
}

START_TEST(pruning) { check_prune(_i % 2 ? 1 : 0.05, (uint32_t)_i + 1); }
END_TEST

START_TEST(refused) {
  static const struct { const char *rows, *says; } bad[] = {
    {"{match: fc1, weight: alq/2, groups: kernel}", "one tap"}, {"{match: fc2, weight: alq/2, groups: part, parts: 5}", "do not divide"},
    {"{match: fc1, act: alq/2}", "may be negative"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Ctx *ctx = ctx_new();
    const char *text = arena_printf(ctx->own, "popshift: recipe/1\nnet: {builtin: mlp, hidden: 12, classes: 4}\ndata: {train: [a, b], mean: [0.5]}\nquant: [%s]\nphases: [{quant: true, epochs: 1, lr: constant(1e-4)}]\n", bad[i].rows);
    Recipe *r = recipe_parse(ctx, "t.yaml", text, strlen(text));
    ck_assert_ptr_nonnull(r);
    r->net.classes = 4;
    Net *net = net_builtin(ctx, r, 1, 4, 4);
    ck_assert(!net_can_quantize(net, r, r->phase));
    ck_assert(ctx->diags && ctx->diags->code == E0703 && strstr(ctx->diags->text, bad[i].says) && ctx->diags->loc.line == 4);
    net_free(net);
    ctx_free(ctx);
  }
}
END_TEST

/* Levels of activations keep their order and are the batch's least squares in the end. */
START_TEST(activations) {
  Ctx *ctx = ctx_new();
  const char *text = "popshift: recipe/1\nnet: {builtin: mlp, hidden: 12, classes: 4}\ndata: {train: [a, b]}\nquant: [{match: fc2, act: alq/3}]\nphases: [{quant: true, epochs: 1, lr: constant(1e-4)}]\n";
  Recipe *r = recipe_parse(ctx, "t.yaml", text, strlen(text));
  r->net.classes = 4;
  Net *net = net_builtin(ctx, r, 1, 4, 4);
  net_quantize(net, r, &r->quant);
  Site *s = net->site;
  ck_assert(net->n_site == 1 && net->stat.n == 1 && graph_verify(ctx, net->g));
  ActStats stats = {0.4, 1, 0.5, 0, 4};
  site_ops(s)->init_act(net, s, &stats, 1);
  double error = INFINITY;
  for (int it = 0; it < 60; it++) {
    double level[3], step[3], sums[12] = {0}, e = 0;
    for (int i = 0; i < 3; i++) level[i] = (double)site_param(net, s, 2 * i)->value[0], step[i] = (double)site_param(net, s, 2 * i + 1)->value[0];
    for (int i = 0; i < 3; i++) {
      double rest = i == 0 ? level[1] + level[2] : i == 1 ? level[2] : 0;
      ck_assert(level[i] >= rest * (1 - 1e-6) && fabs(step[i] - level[i] - rest) < 1e-6);
    }
    for (int j = 0; j < 2000; j++) {
      double x = fmax(0, (double)number(5, j)), rest = x, bit[3], best = INFINITY;
      for (int i = 0; i < 3; i++) bit[i] = rest > step[i] / 2, rest -= bit[i] * level[i];
      for (int c = 0; c < 8; c++) best = fmin(best, fabs(x - (c & 1) * level[2] - (c >> 1 & 1) * level[1] - (c >> 2) * level[0]));
      ck_assert(fabs(rest) <= best + 1e-6); /* bit by bit, and yet the nearest */
      e += rest * rest;
      for (int i = 0; i < 3; i++) { for (int k = 0; k < 3; k++) sums[3 * i + k] += bit[i] * bit[k]; sums[9 + i] += bit[i] * x; }
    }
    if (it > 40) ck_assert_msg(e <= error * 1.001, "%d: error %g, before %g", it, e, error);
    error = e;
    for (int i = 0; i < 12; i++) site_param(net, s, 6)->value[i] = (float)sums[i];
    site_ops(s)->after(&(After){net, s, r, r->phase, it, 60});
  }
  ck_assert_msg(error / 2000 < 0.02, "mean squared error %g", error / 2000);
  net_free(net);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_alq");
  TCase *c = tcase_create("alq");
  tcase_set_timeout(c, 120);
  tcase_add_test(c, sketching);
  tcase_add_test(c, nearest_level);
  tcase_add_test(c, least_squares);
  tcase_add_test(c, steps);
  tcase_add_test(c, bytes);
  tcase_add_loop_test(c, groups, 0, 4);
  tcase_add_loop_test(c, pruning, 0, 10);
  tcase_add_test(c, refused);
  tcase_add_test(c, activations);
  suite_add_tcase(s, c);
  return suite_run(s);
}
