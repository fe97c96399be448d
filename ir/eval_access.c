/* Affine accesses along one iterator. */
#include "ir/eval_access.h"

#define INDEX_MAX (INT64_C(1) << 60) /* of indices before division and of offsets: their sums do not overflow */


/* Range of base + sum coef*iter; false on overflow. */
static bool affine_bounds(const Affine *a, const int64_t *ext, int n, int64_t *lo, int64_t *hi) {
  *lo = *hi = a->base;
  for (int i = 0; i < n; i++) {
    int64_t far;
    if (!mul_ok(a->coef[i], ext[i] - 1, &far) || !add_ok(far < 0 ? *lo : *hi, far, far < 0 ? lo : hi)) return false;
  }
  return true;
}

static bool access_init(Access *a, const Tensor *x, const Affine *dims, const int64_t *ext, int n_iters, int inner) {
  *a = (Access){.n_iters = n_iters, .inner = inner, .rank = x->t.rank, .dim = dims, .linear = true};
  int64_t stride = 1, reach = 0;
  int divided = 0;
  for (int d = a->rank - 1; d >= 0; d--) {
    int64_t lo, hi, part;
    a->extent[d] = x->t.d[d].n;
    a->stride[d] = stride;
    if (!affine_bounds(&dims[d], ext, n_iters, &lo, &hi) || lo < -INDEX_MAX || hi > INDEX_MAX) return false;
    if (!mul_ok(-lo > hi ? -lo : hi, stride, &part) || !add_ok(reach, part, &reach) || reach > INDEX_MAX) return false;
    if (!mul_ok(a->extent[d], dims[d].div, &part) || part > INDEX_MAX) return false;
    a->may_leave[d] = lo < 0 || hi / dims[d].div >= a->extent[d];
    if (dims[d].div > 1) {
      a->linear = false;
      divided += inner >= 0 && dims[d].coef[inner] != 0;
    }
    a->base += dims[d].base * stride;
    for (int i = 0; i < n_iters; i++) if (ext[i] > 1) a->coef[i] += dims[d].coef[i] * stride;
    stride *= a->extent[d];
  }
  a->single = divided > 1;
  return true;
}

/* Keeps of lo..hi-1 the r with 0 <= v + c*r < n. */
static void clip(int64_t v, int64_t c, int64_t n, int64_t *lo, int64_t *hi) {
  int64_t l, h; /* first r inside, and the one after the last */
  if (c == 0) {
    if (v < 0 || v >= n) *hi = *lo;
    return;
  }
  if (c < 0) { v = n - 1 - v; c = -c; }
  if (c == 1) { l = -v; h = n - v; }
  else {
    l = v >= 0 ? 0 : (-v + c - 1) / c;
    h = v >= n ? 0 : (n - v + c - 1) / c;
  }
  if (l > *lo) *lo = l;
  if (h < *hi) *hi = h;
  if (*hi < *lo) *hi = *lo;
}

static int64_t gcd(int64_t a, int64_t b) {
  while (b) { int64_t r = a % b; a = b; b = r; }
  return a;
}

static int64_t index_at(const Access *a, int d, const int64_t *iter, int64_t w0) {
  const Affine *f = &a->dim[d];
  int64_t v = f->base;
  for (int i = 0; i < a->n_iters; i++) v += f->coef[i] * iter[i];
  return a->inner >= 0 ? v + f->coef[a->inner] * w0 : v;
}

static Span span_linear(const Access *a, const int64_t *iter, int64_t w0, int64_t n) {
  int64_t lo = 0, hi = n, off = a->base, c = a->inner >= 0 ? a->coef[a->inner] : 0;
  for (int d = 0; d < a->rank; d++)
    if (a->may_leave[d]) clip(index_at(a, d, iter, w0), a->inner >= 0 ? a->dim[d].coef[a->inner] : 0, a->extent[d], &lo, &hi);
  if (lo == hi) return (Span){.step = 1};
  for (int i = 0; i < a->n_iters; i++) off += a->coef[i] * iter[i];
  return (Span){lo, hi - lo, 1, off + c * (w0 + lo), c};
}

/* With divisors: v + c*r must be divisible, which holds for every step-th r from a first one on, or never. */
static Span span_divided(const Access *a, const int64_t *iter, int64_t w0, int64_t n) {
  int64_t lo = 0, hi = n, first = 0, step = 1, v[MAX_RANK];
  for (int d = 0; d < a->rank; d++) {
    int64_t c = a->inner >= 0 && n > 1 ? a->dim[d].coef[a->inner] : 0, div = a->dim[d].div;
    v[d] = index_at(a, d, iter, w0);
    clip(v[d], c, (a->extent[d] - 1) * div + 1, &lo, &hi);
    if (div == 1) continue;
    int64_t s = div / gcd(c < 0 ? -c : c, div), r = 0;
    while (r < s && r < n && (v[d] + c * r) % div) r++;
    if (r == s || r == n) hi = lo;
    if (s > 1) { first = r; step = s; }
  }
  if (first < lo) first += (lo - first + step - 1) / step * step;
  if (first >= hi) return (Span){.step = 1};
  Span span = {.first = first, .count = (hi - first + step - 1) / step, .step = step};
  for (int d = 0; d < a->rank; d++) {
    int64_t c = a->inner >= 0 && n > 1 ? a->dim[d].coef[a->inner] : 0, div = a->dim[d].div;
    span.offset += (v[d] + c * first) / div * a->stride[d];
    if (span.count > 1) span.stride += c * step / div * a->stride[d];
  }
  return span;
}

Span access_span(const Access *a, const int64_t *iter, int64_t w0, int64_t n) {
  return a->linear ? span_linear(a, iter, w0, n) : span_divided(a, iter, w0, n);
}

int loops_across(const Loops *l, int inner) {
  const Node *n = l->e->n;
  const Iters *it = n->a.iters;
  int best = -1;
  for (int k = 1; k < l->n_acc; k++)
    for (int d = 0; d < n->in[k]->t.rank; d++) if (it->acc[k][d].div > 1) return -1;
  for (int i = 0; i < l->n_out; i++) {
    bool reads = false;
    for (int d = 0; d < n->in[0]->t.rank; d++) reads |= it->acc[0][d].coef[i] != 0;
    if (i != inner && !reads && l->ext[i] > 1 && (best < 0 || l->ext[i] > l->ext[best])) best = i;
  }
  return best;
}

/* Estimated nanoseconds per element with the iterator innermost: overhead of a span spread over its elements, worse for
 * strided elements, and a sum's latency where the iterator is a reduction. */
static double inner_cost(const Loops *l, int iter) {
  const Node *n = l->e->n;
  double length = (double)(l->ext[iter] < RUN || iter >= l->n_out ? l->ext[iter] : RUN);
  int across = n->op == OP_CONTRACT ? loops_across(l, iter) : -1;
  double outs = across < 0 ? 1 : l->ext[across] < ACROSS ? (double)l->ext[across] : ACROSS; /* each costs a call */
  double cost = (25 / outs + (across < 0 ? 0 : 4)) / length + (iter >= l->n_out ? 1.2 : 0.4);
  if (iter < l->n_out && l->out_stride[iter] != 1) cost += 0.4;
  for (int k = 0; k < l->n_acc; k++) {
    const Type *t = &n->in[k]->t;
    double stride = 1, step = 0;
    for (int d = t->rank - 1; d >= 0; d--) {
      step += (double)n->a.iters->acc[k][d].coef[iter] * stride;
      stride *= (double)t->d[d].n;
    }
    if (step != 0 && step != 1) cost += 0.4;
  }
  return cost;
}

bool loops_init(Loops *l, const Eval *e) {
  const Iters *it = e->n->a.iters;
  *l = (Loops){.e = e, .n_out = it->n_out, .inner = -1, .n_acc = e->n->n_in};
  l->n_iters = iters_extents(e->n, l->ext);
  int64_t stride = 1;
  for (int i = l->n_out - 1; i >= 0; i--) { l->out_stride[i] = stride; stride *= l->ext[i]; }
  int last = -1; /* only the last reduction iterator may be innermost: sums keep their order */
  for (int i = l->n_out; i < l->n_iters; i++) if (l->ext[i] > 1) last = i;
  for (int i = 0; i < l->n_iters; i++) {
    if (l->ext[i] < 2 || (i >= l->n_out && i != last)) continue;
    if (l->inner < 0 || inner_cost(l, i) < inner_cost(l, l->inner)) l->inner = i;
  }
  for (int k = 0; k < l->n_acc; k++) {
    if (!access_init(&l->acc[k], e->in[k], it->acc[k], l->ext, l->n_iters, l->inner))
      return diag(e->ctx, E0402, &e->n->loc, "indices of operand %d pass 64 bits", k);
    l->single |= l->acc[k].single;
  }
  return true;
}

bool loops_next(Loops *l, int from, int to) {
  for (int i = to - 1; i >= from; i--) {
    if (i == l->inner) continue;
    if (++l->iter[i] < l->ext[i]) return true;
    l->iter[i] = 0;
  }
  return false;
}

bool loops_cancelled(Loops *l, int64_t spans) {
  int64_t before = l->ticks >> 12;
  l->ticks += spans;
  return l->ticks >> 12 != before && eval_cancelled(l->e);
}
