#include "passes/weights.h"

#include "passes/access.h"

#include <math.h>
#include <string.h>

enum { CODE_MAX = 1 << 15 };

/* Distinct magnitudes of one group, at most so many: codes have no more. */
typedef struct Group { float *v; int n, cap; float most; bool bad; } Group;


/* Greatest common divisor of two magnitudes as far as their roundings tell: a remainder below `noise` is none. */
static double common(double a, double b, double noise) {
  while (b > noise) {
    double r = fabs(a - nearbyint(a / b) * b);
    a = b;
    b = r;
  }
  return a;
}

/* A binary32 number s with fl(q * s) = v for every v, q = round(v / s0): the intersection of what each allows; 0 where it is empty. */
static double scale_for(const Group *g, double s0) {
  double lo = 0, hi = INFINITY;
  for (int i = 0; i < g->n; i++) {
    double v = (double)g->v[i], q = nearbyint(v / s0);
    if (q < 1 || q > CODE_MAX) return 0;
    double below = (double)nextafterf(g->v[i], 0), above = (double)nextafterf(g->v[i], INFINITY);
    lo = fmax(lo, (v + below) / 2 / q), hi = fmin(hi, (v + above) / 2 / q);
  }
  float s = (float)((lo + hi) / 2), c[3] = {s, nextafterf(s, 0), nextafterf(s, INFINITY)};
  for (int k = 0; k < 3; k++) {
    bool all = c[k] > 0;
    for (int i = 0; all && i < g->n; i++) all = (float)nearbyint((double)g->v[i] / s0) * c[k] == g->v[i];
    if (all) return (double)c[k];
  }
  return 0;
}

/* The scale of a group's magnitudes, 0 where there is none. The greatest common divisor errs by its remainders' roundings. */
static double group_scale(Group *g) {
  if (g->bad || g->n == 0) return g->bad ? 0 : 1;
  double s = (double)g->v[g->n - 1], noise = s * 0x1p-20;
  for (int i = g->n - 1; i >= 0; i--) s = common((double)g->v[i], s, noise);
  if ((double)g->most / s > CODE_MAX) return 0;
  double t = scale_for(g, (double)g->most / nearbyint((double)g->most / s)); /* the largest has the least error */
  return t;
}

static void group_put(Group *g, double value) {
  float v = (float)fabs(value);
  if (!isfinite(v) || (v != 0 && v < 0x1p-100f) || v > 0x1p100f) { g->bad = true; return; }
  if (v == 0 || g->bad) return;
  int lo = 0, hi = g->n;
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (g->v[mid] < v) lo = mid + 1;
    else hi = mid;
  }
  if (lo < g->n && g->v[lo] == v) return;
  if (g->n == g->cap) { g->bad = true; return; }
  memmove(g->v + lo + 1, g->v + lo, sizeof *g->v * (size_t)(g->n - lo));
  g->v[lo] = v;
  g->n++;
  if (v > g->most) g->most = v;
}

/* Dimensions of operand k that only output iterators move. */
static uint32_t outer_dims(const Node *c, int k) {
  const Iters *it = c->a.iters;
  uint32_t set = 0;
  for (int d = 0; d < c->in[k]->t.rank; d++) {
    bool inner = false, outer = false;
    for (int i = 0; i < it->n_out + it->n_red; i++) *(i < it->n_out ? &outer : &inner) |= it->acc[k][d].coef[i] != 0;
    if (outer && !inner) set |= 1u << d;
  }
  return set;
}

/* Index of element i's group: its position along the dimensions of `set`. */
static int64_t group_of(const Type *t, uint32_t set, int64_t i) {
  int64_t at = 0, step = 1;
  for (int d = t->rank - 1; d >= 0; d--) {
    if (set >> d & 1) at += i % t->d[d].n * step, step *= t->d[d].n;
    i /= t->d[d].n;
  }
  return at;
}

/* Scales of all groups; NULL where one has none. */
static double *scales(Arena *a, const Tensor *w, uint32_t set, int64_t n, const char **why) {
  enum { DISTINCT_MAX = 4096 };
  Group *g = NEWN(a, Group, n);
  double *s = NEWN(a, double, n);
  int cap = n > 1 ? 512 : DISTINCT_MAX;
  for (int64_t i = 0; i < n; i++) g[i].v = NEWN(a, float, cap), g[i].cap = cap;
  for (int64_t i = 0; i < w->n; i++) group_put(&g[group_of(&w->t, set, i)], tensor_f(w, i));
  for (int64_t i = 0; i < n; i++) {
    s[i] = group_scale(&g[i]);
    if (s[i] > 0) continue;
    *why = g[i].bad ? arena_printf(w->ctx->own, "weights take more than %d magnitudes", cap)
                    : arena_printf(w->ctx->own, "weights take %d magnitudes that are no multiples of one scale", g[i].n);
    return NULL;
  }
  return s;
}

bool weight_codes(Graph *g, const Node *c, int k, Node *const *in, Node **codes, Node **scale, const char **why) {
  const Tensor *w = in[k]->a.value;
  uint32_t set = 0;
  int64_t n = 1, most = 0, least = 0, dims[MAX_RANK];
  if (!elem_eq(w->t.e, F32) || w->n < 1) return *why = "weights are not binary32", false;
  Arena *scratch = arena_new(g->ctx);
  double *s = scales(scratch, w, 0, 1, why);
  if (!s) {
    set = outer_dims(c, k);
    for (int d = 0; d < w->t.rank; d++) if (set >> d & 1) n *= w->t.d[d].n;
    if (n > 1 && n * 512 * 4 < g->ctx->limits.fold) s = scales(scratch, w, set, n, why);
  }
  for (int d = 0; d < w->t.rank; d++) dims[d] = set >> d & 1 ? w->t.d[d].n : 1;
  Type st = type_make(F32, set ? w->t.rank : 0, dims), qt = w->t;
  for (int64_t i = 0; s && i < w->n; i++) {
    int64_t q = (int64_t)nearbyint(tensor_f(w, i) / s[group_of(&w->t, set, i)]);
    most = q > most ? q : most, least = q < least ? q : least;
  }
  qt.e = elem_for_range(least, most);
  Tensor *ts = s ? tensor_new(g->ctx, &st) : NULL, *tq = ts ? tensor_new(g->ctx, &qt) : NULL;
  for (int64_t i = 0; tq && i < n; i++) tensor_set_f(ts, i, s[i]);
  for (int64_t i = 0; tq && i < w->n; i++) tensor_set_i(tq, i, (int64_t)nearbyint(tensor_f(w, i) / s[group_of(&w->t, set, i)]));
  arena_free(scratch);
  if (!tq) return false;
  *codes = node_const(g, tq), *scale = node_const(g, ts);
  return true;
}
