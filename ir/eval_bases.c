/* Evaluation of bases: groups of weights as sums of a few signed alphas. */
#include "ir/eval_impl.h"

enum { LANES = 32 }; /* positions that are summed side by side */

/* s[l] = sum over r, in order, of sign[r] * x[r, l]; compiled for wider vectors too: a sum is a lane's own, so the bits are the same. */
typedef double Vec __attribute__((vector_size(64), may_alias)); /* 8 positions */
typedef void PlaneSum(double *s, const double *x, const signed char *sign, int64_t n);

static void plane_plain(double *s, const double *x, const signed char *sign, int64_t n) {
  for (int l = 0; l < LANES; l += 8) {
    Vec a = {0};
    for (int64_t r = 0; r < n; r++) a += (double)sign[r] * *(const Vec *)(const void *)(x + r * LANES + l);
    *(Vec *)(void *)(s + l) = a;
  }
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx512f,prefer-vector-width=512"))) static void plane_avx512(double *s, const double *x, const signed char *sign, int64_t n) {
  Vec a = {0}, b = {0}, c = {0}, d = {0};
  for (int64_t r = 0; r < n; r++) {
    const Vec *v = (const Vec *)(const void *)(x + r * LANES);
    double k = sign[r];
    a += k * v[0], b += k * v[1], c += k * v[2], d += k * v[3];
  }
  Vec *to = (Vec *)(void *)s;
  to[0] = a, to[1] = b, to[2] = c, to[3] = d;
}
static PlaneSum *plane_sum(void) { return __builtin_cpu_supports("avx512f") ? plane_avx512 : plane_plain; }
#else
static PlaneSum *plane_sum(void) { return plane_plain; }
#endif

/* Numbers of some positions' groups in binary64, [n, LANES]: position l begins at element at + l*step. */
static void numbers(const Tensor *x, int64_t at, int64_t step, int lanes, int64_t n, double *to) {
  Val v[RUN];
  bool is_float = elem_is_float(x->t.e);
  for (int l = 0; l < lanes; l++)
    for (int64_t r = 0; r < n; r += RUN) {
      int m = (int)(n - r < RUN ? n - r : RUN);
      vals_load(x, at + l * step + r, 1, v, m);
      for (int i = 0; i < m; i++) to[(r + i) * LANES + l] = is_float ? v[i].f : (double)v[i].i;
    }
}

/* y[b, ..] of these positions: sums of floats in order, those of codes exact in any. Returns the next plane. */
static int64_t block_of_numbers(const Eval *e, PlaneSum *add, const double *x, int lanes, int64_t plane, int64_t b, int64_t to) {
  const Tensor *counts = e->in[3];
  int64_t n = bases_n(e->n), outs = counts->t.d[1].n, groups = counts->t.d[2].n, row = counts->t.d[0].n * outs;
  for (int64_t o = 0; o < outs; o++) {
    double sum[LANES] = {0};
    for (int64_t g = 0; g < groups; g++)
      for (int64_t j = tensor_i(counts, (b * outs + o) * groups + g); j > 0; j--, plane++) {
        const signed char *sign = (const signed char *)e->in[1]->data + plane * n;
        double alpha = tensor_f(e->in[2], plane), s[LANES] __attribute__((aligned(64)));
        add(s, x + g * n * LANES, sign, n);
        for (int l = 0; l < LANES; l++) sum[l] += alpha * s[l];
      }
    for (int l = 0; l < lanes; l++) vals_store(e->y, to + l * row + o, &(Val){.f = elem_round(e->n->t.e, sum[l] * tensor_f(e->in[4], 0))}, 1);
  }
  return plane;
}

static bool by_numbers(const Eval *e) {
  const Tensor *counts = e->in[3];
  int64_t blocks = counts->t.d[0].n, outs = counts->t.d[1].n, groups = counts->t.d[2].n, size = groups * bases_n(e->n), row = blocks * outs;
  Type t = type_make(F64, 1, (int64_t[]){(size + 1) * LANES});
  Tensor *number = eval_tensor(e->ctx, e->n, &t);
  bool ok = number != NULL;
  double *x = ok ? number->data : NULL;
  x += ok ? (64 - (uintptr_t)x % 64) % 64 / sizeof(double) : 0; /* vectors lie on lines */
  for (int64_t i = 0, all = row > 0 ? e->y->n / row : 0; ok && i < all; i += LANES) {
    int lanes = all - i < LANES ? (int)(all - i) : LANES;
    int64_t plane = 0;
    for (int64_t b = 0; ok && b < blocks; b++) {
      numbers(e->in[0], (i * blocks + b) * size, blocks * size, lanes, size, x);
      plane = block_of_numbers(e, plane_sum(), x, lanes, plane, b, i * row + b * outs);
      ok = !eval_cancelled(e);
    }
  }
  tensor_free(number);
  return ok;
}

/* Codes whose sums may leave binary64's integers. */
static double wide_sum(const Tensor *x, int64_t at, const signed char *sign, int64_t n) {
  int64_t s = 0;
  for (int64_t r = 0; r < n; r++) s += sign[r] < 0 ? -tensor_i(x, at + r) : tensor_i(x, at + r);
  return (double)s;
}

/* The same from packed planes [k, words]. */
static double packed_sum(const Eval *e, int64_t at, const signed char *sign, int64_t n) {
  const Tensor *x = e->in[0], *coef = e->in[5];
  int64_t k = coef->n - 1, words = x->t.d[x->t.rank - 1].n, width = x->t.e.bits, s = 0;
  for (int64_t r = 0; r < n; r++) {
    int64_t number = tensor_i(coef, k);
    for (int64_t p = 0; p < k; p++)
      number += tensor_i(coef, p) * (tensor_i(x, at + p * words + r / width) >> r % width & 1);
    s += sign[r] < 0 ? -number : number;
  }
  return (double)s;
}

/* One position's y[b, ..]: x's groups start at `at`, `size` elements each. Returns the next plane. */
static int64_t block(const Eval *e, int64_t plane, int64_t b, int64_t at, int64_t size, int64_t to) {
  const Tensor *counts = e->in[3];
  int64_t n = bases_n(e->n), outs = counts->t.d[1].n, groups = counts->t.d[2].n;
  for (int64_t o = 0; o < outs; o++) {
    double sum = 0;
    for (int64_t g = 0; g < groups; g++)
      for (int64_t j = tensor_i(counts, (b * outs + o) * groups + g); j > 0; j--, plane++) {
        const signed char *sign = (const signed char *)e->in[1]->data + plane * n;
        double s = e->n->n_in == 6 ? packed_sum(e, at + g * size, sign, n) : wide_sum(e->in[0], at + g * size, sign, n);
        double term = tensor_f(e->in[2], plane) * s;
        sum += term;
      }
    double y = sum * tensor_f(e->in[4], 0);
    vals_store(e->y, to + o, &(Val){.f = elem_round(e->n->t.e, y)}, 1);
  }
  return plane;
}

bool eval_bases(const Eval *e) {
  const Tensor *x = e->in[0], *counts = e->in[3];
  int64_t blocks = counts->t.d[0].n, outs = counts->t.d[1].n, groups = counts->t.d[2].n;
  int64_t size = bases_n(e->n), row = blocks * outs;
  if (e->n->n_in == 6) size = x->t.d[x->t.rank - 2].n * x->t.d[x->t.rank - 1].n;
  if (e->n->n_in == 5 && (elem_is_float(x->t.e) || (x->t.e.bits <= 32 && size < 1 << 20))) return by_numbers(e);
  for (int64_t i = 0; row > 0 && i < e->y->n / row; i++) {
    int64_t plane = 0;
    for (int64_t b = 0; b < blocks; b++) {
      plane = block(e, plane, b, (i * blocks + b) * groups * size, size, i * row + b * outs);
      if (eval_cancelled(e)) return false;
    }
  }
  return true;
}
