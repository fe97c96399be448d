/* Sums over dimensions. Runs of floats are added in 16 lanes or row upon row, at most CHUNK at a time, and the partial sums in
 * binary64: the order is fixed by the shape alone. */
#include "trainer/exec_impl.h"

#include <string.h>

enum { CHUNK = 256 }; /* rows, or 16ths of a run, whose sums stay in binary32 */

bool sum_match(const Node *n, bool last, Sum *s) {
  if (n->op != OP_REDUCE || n->a.scalar != S_ADD || !elem_eq(n->t.e, F32)) return false;
  const Type *x = &n->in[0]->t;
  const Iters *it = n->a.iters;
  int64_t ext[MAX_ITERS], product = 1, all = 1;
  int total = iters_extents(n, ext), before = -1;
  uint32_t seen = 0;
  *s = (Sum){.out = 1};
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
  return product == all && all > 0;
}

static double run_sum(const Loops *l, const float *x, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i += 16 * CHUNK) total += (double)l->sum(x + i, n - i < 16 * CHUNK ? n - i : 16 * CHUNK);
  return total;
}

typedef struct Run { const Loops *l; const Sum *s; double *total; float *rows; } Run;

/* Adds rows of `width` at x, x + width, ..: count of them. */
static void add_rows(const Run *r, const float *x, int64_t count, int64_t width, double *y) {
  for (int64_t i = 0; i < count; i += CHUNK) {
    int64_t end = i + CHUNK < count ? i + CHUNK : count;
    memset(r->rows, 0, (size_t)width * sizeof *r->rows);
    for (int64_t k = i; k < end; k++) r->l->add(r->rows, x + k * width, width);
    for (int64_t c = 0; c < width; c++) y[c] += (double)r->rows[c];
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
  memset(scratch, 0, (size_t)s->out * sizeof *scratch);
  sum_from(&r, 0, x, size, scratch);
  for (int64_t i = 0; i < s->out; i++) y[i] = (float)scratch[i];
}
