/* Sums over dimensions, extremes over all of them, and the statistics of batch normalization. Runs of floats are added in 64 lanes or row upon row, at most CHUNK
 * at a time, and the partial sums in binary64: the order is fixed by the shape alone. */
#include "trainer/exec_impl.h"

#include <string.h>

enum { CHUNK = 128 }; /* rows, or 64ths of a run, whose sums stay in binary32 */

bool sum_match(const Node *n, bool last, Sum *s) {
  if (n->op != OP_REDUCE || (n->a.scalar != S_ADD && n->a.scalar != S_MAX && n->a.scalar != S_MIN) || !elem_eq(n->t.e, F32)) return false;
  const Type *x = &n->in[0]->t;
  const Iters *it = n->a.iters;
  int64_t ext[MAX_ITERS], product = 1, all = 1;
  int total = iters_extents(n, ext), before = -1;
  uint32_t seen = 0;
  *s = (Sum){.of = n->a.scalar, .out = 1};
  for (int i = 0; i < x->rank; i++) {
    int d = dim_at(x, last, i), found = -1;
    const Affine *a = &it->acc[0][d];
    all *= x->d[d].n;
    for (int k = 0; k < total; k++) {
      if (!a->coef[k] || ext[k] == 1) continue;
      if (found >= 0 || a->coef[k] != 1 || seen >> k & 1) return false;
      found = k;
    }
    if (a->base || a->div != 1 || (found < 0 ? 1 : ext[found]) != x->d[d].n) return false;
    if (found < 0) continue;
    seen |= 1u << found;
    bool folded = found >= it->n_out;
    if (!folded && found < before) return false; /* the result would be permuted */
    if (!folded) before = found, s->out *= ext[found];
    if (s->n && s->folded[s->n - 1] == folded) s->ext[s->n - 1] *= ext[found];
    else s->ext[s->n] = ext[found], s->folded[s->n++] = folded;
  }
  for (int k = 0; k < total; k++) product *= ext[k];
  return product == all && all > 0 && (s->of == S_ADD || (s->n == 1 && s->folded[0]));
}

static double run_sum(const Loops *l, const float *x, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i += 64 * CHUNK) total += (double)l->sum(x + i, n - i < 64 * CHUNK ? n - i : 64 * CHUNK);
  return total;
}

int64_t sum_width(int64_t c) {
  int64_t k = 1;
  while (c < 64 && k < 16 && (c * k < 64 || c * k % 16)) k++; /* 16 rows are enough for whole vectors */
  return c * k;
}

void sum_fold(const float *acc, int64_t width, int64_t c, double *y) {
  for (int64_t i = 0; i < width; i += c)
    for (int64_t k = 0; k < c; k++) y[k] += (double)acc[i + k];
}

typedef struct Run { const Loops *l; const Sum *s; double *total; float *acc; } Run;

/* Adds rows of c at x, x + c, ..: count of them. */
static void add_rows(const Run *r, const float *x, int64_t count, int64_t c, double *y) {
  int64_t width = sum_width(c), piece = width * CHUNK;
  for (int64_t i = 0; i < count * c; i += piece) {
    memset(r->acc, 0, (size_t)width * sizeof *r->acc);
    r->l->columns(r->acc, x + i, width, count * c - i < piece ? count * c - i : piece);
    sum_fold(r->acc, width, c, y);
  }
}

static void sum_from(const Run *r, int seg, const float *x, int64_t size, double *y) {
  const Sum *s = r->s;
  if (seg == s->n) { *y += (double)*x; return; }
  if (seg == s->n - 1 && s->folded[seg]) { *y += run_sum(r->l, x, s->ext[seg]); return; }
  if (seg == s->n - 1) { for (int64_t i = 0; i < s->ext[seg]; i++) y[i] += (double)x[i]; return; }
  if (seg == s->n - 2 && s->folded[seg]) { add_rows(r, x, s->ext[seg], s->ext[seg + 1], y); return; }
  int64_t inner = size / s->ext[seg], out = 1;
  for (int k = seg + 1; k < s->n; k++) if (!s->folded[k]) out *= s->ext[k];
  for (int64_t i = 0; i < s->ext[seg]; i++) sum_from(r, seg + 1, x + i * inner, inner, s->folded[seg] ? y : y + i * out);
}

void sum_run(const Loops *l, const Sum *s, const float *x, float *y, double *scratch) {
  Run r = {l, s, scratch, (float *)(scratch + s->out)};
  int64_t size = 1;
  for (int k = 0; k < s->n; k++) size *= s->ext[k];
  if (s->of != S_ADD) { *y = l->extreme(x, size, s->of == S_MIN); return; }
  memset(scratch, 0, (size_t)s->out * sizeof *scratch);
  sum_from(&r, 0, x, size, scratch);
  for (int64_t i = 0; i < s->out; i++) y[i] = (float)scratch[i];
}

/* Statistics. Pieces that stay in the first cache: sums, then squares of what is left of the piece's own mean; pieces are put together in
 * binary64 (T. Chan, G. Golub, R. LeVeque, 1983). */

enum { PIECE = 4096 };

static void put_together(int64_t c, double before, double rows, const double *sum, const double *square, const float *about, double *mean, double *m2) {
  for (int64_t k = 0; k < c; k++) {
    double own = sum[k] / rows, off = own - (double)about[k], delta = own - mean[k];
    m2[k] += square[k] - rows * off * off + delta * delta * (before * rows / (before + rows));
    mean[k] += delta * (rows / (before + rows));
  }
}

void stats_run(const Loops *l, const float *x, int64_t rows, int64_t c, float *mean, float *var, double *scratch) {
  int64_t width = sum_width(c), piece = width > PIECE ? width : PIECE / width * width;
  double *mean_d = scratch, *m2 = scratch + c, *sum = m2 + c, *square = sum + c;
  float *acc = (float *)(void *)(square + c), *about = acc + width;
  memset(scratch, 0, (size_t)(2 * c) * sizeof *scratch);
  for (int64_t i = 0; i < rows * c; i += piece) {
    int64_t n = rows * c - i < piece ? rows * c - i : piece;
    memset(sum, 0, (size_t)(2 * c) * sizeof *sum);
    memset(acc, 0, (size_t)width * sizeof *acc);
    l->columns(acc, x + i, width, n);
    sum_fold(acc, width, c, sum);
    for (int64_t k = 0; k < width; k++) about[k] = (float)(sum[k % c] / (double)(n / c));
    memset(acc, 0, (size_t)width * sizeof *acc);
    l->squares(acc, x + i, about, width, n);
    sum_fold(acc, width, c, square);
    put_together(c, (double)(i / c), (double)(n / c), sum, square, about, mean_d, m2);
  }
  for (int64_t k = 0; k < c; k++) mean[k] = (float)mean_d[k], var[k] = (float)(m2[k] / (double)rows);
}
