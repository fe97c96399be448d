/* Pools: reductions over windows. */
#include "frontend/import.h"

#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* y[n, c, o..] = reduction over k.. of x[n, c, o * stride + k * dilation - before]; what lies outside is left out. */
static Node *window_reduce(OpCall *c, Scalar s, Node *x, const Window *w) {
  if (!x) return NULL;
  Type t = {.e = x->t.e, .rank = x->t.rank, .d = {x->t.d[0], x->t.d[1]}};
  Affine acc[MAX_RANK] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0)};
  Iters it = {.n_out = t.rank, .n_red = (uint8_t)w->n, .acc = {acc}};
  for (int i = 0; i < w->n; i++) {
    t.d[2 + i] = dim_c(w->out[i]);
    it.red[i] = dim_c(w->kernel[i]);
    acc[2 + i] = affine_iter(2 + i, w->stride[i], -w->before[i]);
    acc[2 + i].coef[t.rank + i] = w->dilation[i];
  }
  return node_reduce(c->g, s, x, &t, &it);
}

static bool pool_window(OpCall *c, const Node *x, Window *w) {
  const int64_t *kernel;
  if (x->t.rank < 3) return ox_fail(c, E0207, "the input has rank %d", x->t.rank);
  return ox_ints(c, "kernel_shape", &kernel) >= 0 && ox_window(c, x, kernel, w);
}

bool op_max_pool(OpCall *c) {
  Window w;
  return pool_window(c, c->in[0], &w) && done(c, window_reduce(c, S_MAX, c->in[0], &w));
}

/* How many positions of the window at output o lie in [-before, in + after), or in [0, in) without padding. */
static int64_t covered(const Window *w, int i, int64_t o, bool padding) {
  int64_t n = 0, lo = padding ? -w->before[i] : 0, hi = w->in[i] + (padding ? w->after[i] : 0);
  for (int64_t k = 0; k < w->kernel[i]; k++) {
    int64_t at = o * w->stride[i] + k * w->dilation[i] - w->before[i];
    n += at >= lo && at < hi;
  }
  return n;
}

/* Sum over the window / count, one division. The count is a scalar where it is the same everywhere. */
Node *ox_average_pool(OpCall *c, Node *x) {
  Window w;
  if (!x || !pool_window(c, x, &w)) return NULL;
  bool padding = ox_int(c, "count_include_pad") != 0, same = true;
  int64_t work, *axis[MAX_SPATIAL];
  Tensor *count = ox_tensor(c, x->t.e, w.n, w.out);
  if (!count) return NULL;
  for (int i = 0; i < w.n; i++) {
    if (!mul_ok(w.out[i], w.kernel[i], &work) || work > 1 << 28) { ox_fail(c, E0402, "the window is too large"); return NULL; }
    axis[i] = NEWN(c->g->arena, int64_t, w.out[i]);
    for (int64_t o = 0; o < w.out[i]; o++) {
      axis[i][o] = covered(&w, i, o, padding);
      same = same && axis[i][o] == axis[i][0];
    }
  }
  for (int64_t at = 0; at < count->n; at++) {
    int64_t left = at, n_here = 1;
    for (int i = w.n - 1; i >= 0; i--) { n_here *= axis[i][left % w.out[i]]; left /= w.out[i]; }
    tensor_set_f(count, at, (double)n_here);
  }
  Node *n = same && count->n ? ox_num(c, x->t.e, tensor_f(count, 0)) : node_const(c->g, count);
  return ox_map2(c, S_DIV, window_reduce(c, S_ADD, x, &w), n);
}

bool op_average_pool(OpCall *c) { return done(c, ox_average_pool(c, c->in[0])); }

bool op_global_pool(OpCall *c) {
  Node *x = c->in[0];
  if (x->t.rank < 3) return ox_fail(c, E0207, "the input has rank %d", x->t.rank);
  for (int i = 2; i < x->t.rank; i++) if (x->t.d[i].sym) return ox_static(c, x);
  bool max = strstr(c->row->how, "|max|") != NULL;
  Node *y = ox_reduce(c, max ? S_MAX : S_ADD, x, (1u << x->t.rank) - 4, true);
  return done(c, max ? y : ox_map2(c, S_DIV, y, ox_num(c, x->t.e, (double)ox_count(&x->t, 2, x->t.rank))));
}

/* (sum |x|^p)^(1/p). */
bool op_lp_pool(OpCall *c) {
  Node *x = c->in[0], *y;
  int64_t p = ox_int(c, "p");
  if (p < 1 || p > 1000) return ox_fail(c, E0204, "p is %lld", (long long)p);
  Node *power = ox_map1(c, S_ABS, x);
  if (p != 1) power = p == 2 ? ox_map2(c, S_MUL, x, x) : ox_map2(c, S_POW, power, ox_num(c, x->t.e, (double)p));
  if (!strcmp(c->row->how, "global")) {
    if (x->t.rank < 3) return ox_fail(c, E0207, "the input has rank %d", x->t.rank);
    y = ox_reduce(c, S_ADD, power, (1u << x->t.rank) - 4, true);
  } else {
    Window w;
    if (!pool_window(c, x, &w)) return false;
    y = window_reduce(c, S_ADD, power, &w);
  }
  if (p != 1) y = p == 2 ? ox_map1(c, S_SQRT, y) : ox_map2(c, S_POW, y, ox_num(c, x->t.e, 1.0 / (double)p));
  return done(c, y);
}
