/* Evaluation of what training adds: batch normalization with the batch's own statistics and its derivatives, and the pair that
 * carries gradients back through a choice: locate (where a window's extreme lies) and scatter (adding up at such places).
 * Statistics and sums of derivatives are binary64 in row-major order, rounded once. */
#include "ir/eval_impl.h"

#include <math.h>

bool eval_bn(const Eval *e) {
  const float *x = e->in[0]->data, *gamma = e->in[1]->data, *beta = e->in[2]->data, *mean = e->in[3]->data, *var = e->in[4]->data;
  float *y = e->y->data, eps = (float)e->n->a.fill;
  Around p = around(&e->n->t, 1);
  for (int64_t i = 0; i < p.outer * p.n; i++) {
    int64_t c = i % p.n;
    float gain = gamma[c] / sqrtf(var[c] + eps);
    for (int64_t k = i * p.inner; k < (i + 1) * p.inner; k++) y[k] = (x[k] - mean[c]) * gain + beta[c];
  }
  return !eval_cancelled(e);
}

typedef struct Moments { double mean, var; } Moments;
static Moments moments(const float *x, Around p, int64_t c) {
  Moments m = {0, 0};
  double count = (double)(p.outer * p.inner);
  for (int64_t n = 0; n < p.outer; n++)
    for (int64_t i = 0; i < p.inner; i++) m.mean += (double)x[(n * p.n + c) * p.inner + i];
  m.mean /= count;
  for (int64_t n = 0; n < p.outer; n++)
    for (int64_t i = 0; i < p.inner; i++) {
      double d = (double)x[(n * p.n + c) * p.inner + i] - m.mean;
      m.var += d * d;
    }
  m.var /= count;
  return m;
}

bool eval_bn_train(const Eval *e) {
  const float *x = e->in[0]->data, *gamma = e->in[1]->data, *beta = e->in[2]->data;
  float *y = e->y->data;
  Around p = around(&e->in[0]->t, 1);
  for (int64_t c = 0; c < p.n; c++) {
    Moments m = moments(x, p, c);
    if (e->n->a.flag) { y[c] = (float)(e->n->a.flag == 1 ? m.mean : m.var); continue; }
    double gain = (double)gamma[c] / sqrt(m.var + e->n->a.fill);
    for (int64_t n = 0; n < p.outer; n++)
      for (int64_t i = (n * p.n + c) * p.inner, k = 0; k < p.inner; k++, i++) y[i] = (float)(((double)x[i] - m.mean) * gain + (double)beta[c]);
    if (eval_cancelled(e)) return false;
  }
  return true;
}

/* With h = (x - mean)/sqrt(var + eps) and N elements a channel: dbeta = sum dy, dgamma = sum dy*h,
 * dx = gamma/sqrt(var + eps) * (dy - dbeta/N - h*dgamma/N)  (Ioffe and Szegedy, 2015). */
bool eval_bn_grad(const Eval *e) {
  const float *dy = e->in[0]->data, *x = e->in[1]->data, *gamma = e->in[2]->data;
  float *y = e->y->data;
  Around p = around(&e->in[0]->t, 1);
  double count = (double)(p.outer * p.inner);
  for (int64_t c = 0; c < p.n; c++) {
    Moments m = moments(x, p, c);
    double inv = 1 / sqrt(m.var + e->n->a.fill), dbeta = 0, dgamma = 0;
    for (int64_t n = 0; n < p.outer; n++)
      for (int64_t i = (n * p.n + c) * p.inner, k = 0; k < p.inner; k++, i++) {
        dbeta += (double)dy[i];
        dgamma += (double)dy[i] * ((double)x[i] - m.mean) * inv;
      }
    if (e->n->a.flag) { y[c] = (float)(e->n->a.flag == 1 ? dgamma : dbeta); continue; }
    for (int64_t n = 0; n < p.outer; n++)
      for (int64_t i = (n * p.n + c) * p.inner, k = 0; k < p.inner; k++, i++)
        y[i] = (float)((double)gamma[c] * inv * ((double)dy[i] - dbeta / count - ((double)x[i] - m.mean) * inv * dgamma / count));
    if (eval_cancelled(e)) return false;
  }
  return true;
}

/* Adds x[i] at y[index[i]]; the sums run in binary64 where floats, and wrap where codes. */
bool eval_scatter(const Eval *e) {
  const Tensor *x = e->in[0], *index = e->in[1];
  Elem t = e->y->t.e;
  double *sum = NULL;
  Tensor *wide = NULL;
  if (elem_is_float(t)) {
    Type w = e->y->t;
    w.e = F64;
    if (!(wide = eval_tensor(e->ctx, e->n, &w))) return false;
    sum = wide->data;
  }
  for (int64_t i = 0; i < x->n; i++) {
    int64_t at = tensor_i(index, i);
    if (at < 0 || at >= e->y->n) continue;
    if (sum) sum[at] += tensor_f(x, i);
    else tensor_set_i(e->y, at, elem_wrap(t, (int64_t)((uint64_t)tensor_i(e->y, at) + (uint64_t)tensor_i(x, i))));
  }
  for (int64_t i = 0; sum && i < e->y->n; i++) tensor_set_f(e->y, i, sum[i]);
  tensor_free(wide);
  return !eval_cancelled(e);
}

/* Row-major position that operand 0's access names at the iterators' values, or -1 outside. */
static int64_t position(const Affine *acc, const Type *x, const int64_t *iter, int n_iters) {
  int64_t at = 0;
  for (int d = 0; d < x->rank; d++) {
    int64_t i = acc[d].base;
    for (int k = 0; k < n_iters; k++) i += acc[d].coef[k] * iter[k];
    if (i % acc[d].div || i < 0 || (i /= acc[d].div) >= x->d[d].n) return -1;
    at = at * x->d[d].n + i;
  }
  return at;
}

/* Steps the iterators from..to-1, the last fastest; false after the last, all 0 again. */
static bool next(int64_t *iter, const int64_t *ext, int from, int to) {
  for (int k = to - 1; k >= from; k--) {
    if (++iter[k] < ext[k]) return true;
    iter[k] = 0;
  }
  return false;
}

bool eval_locate(const Eval *e) {
  const Tensor *x = e->in[0];
  const Iters *it = e->n->a.iters;
  int64_t ext[MAX_ITERS], iter[MAX_ITERS] = {0}, o = 0, *y = e->y->data;
  int total = iters_extents(e->n, ext);
  bool empty = false, max = e->n->a.scalar == S_MAX;
  for (int i = it->n_out; i < total; i++) empty |= ext[i] == 0;
  if (!e->y->n) return true;
  do {
    int64_t best = -1;
    double top = 0;
    if (!empty) do {
      int64_t at = position(it->acc[0], &x->t, iter, total);
      if (at < 0) continue;
      double v = tensor_f(x, at);
      if (best >= 0 && (isnan(top) || !(isnan(v) || (max ? v > top : v < top)))) continue;
      best = at;
      top = v;
    } while (next(iter, ext, it->n_out, total));
    y[o++] = best;
    if ((o & 0xfff) == 0 && eval_cancelled(e)) return false;
  } while (next(iter, ext, 0, it->n_out));
  return true;
}
