#include "passes/values.h"

#include <math.h>
#include <string.h>

Facts *facts_new(Arena *a) {
  Facts *f = NEW(a, Facts);
  *f = (Facts){.a = a};
  return f;
}

void code_bounds(const Node *q, int64_t *lo, int64_t *hi) {
  *lo = elem_lo(q->t.e), *hi = elem_hi(q->t.e);
  if (q->op == OP_QUANT && q->t.e.kind != EK_BASES) *lo = q->a.lo, *hi = q->a.hi;
  if (node_is_map(q, S_CAST) && elem_is_code(q->in[0]->t.e)) {
    int64_t l, h;
    code_bounds(q->in[0], &l, &h);
    if (l >= *lo && h <= *hi) *lo = l, *hi = h;
  }
  if (!node_is_const(q) || !q->a.value->n) return;
  *lo = *hi = tensor_i(q->a.value, 0);
  for (int64_t i = 1; i < q->a.value->n; i++) {
    int64_t v = tensor_i(q->a.value, i);
    if (v < *lo) *lo = v;
    if (v > *hi) *hi = v;
  }
}

double map_value(const Node *m, const double *args) {
  Val a[3] = {{0}, {0}, {0}};
  for (int k = 0; k < m->n_in; k++) a[k] = val_of(m->in[k]->t.e, args[k]);
  Val y = scalar_eval(m->a.scalar, m->in[m->a.scalar == S_SELECT ? 1 : 0]->t.e, m->t.e, a);
  return elem_is_float(m->t.e) ? y.f : (double)y.i;
}

static const Values unknown = {.lo = -INFINITY, .hi = INFINITY};

static bool is_whole(double v) { return v == floor(v) && isfinite(v); }

static void bounds(Values *y, double lo, double hi) {
  y->lo = isnan(lo) ? -INFINITY : lo;
  y->hi = isnan(hi) ? INFINITY : hi;
}

/* One number more; y->n is -1 where there are too many. */
static void put(Values *y, double v) {
  int i = 0;
  if (y->n < 0) return;
  if (isnan(v)) { y->n = -1; return; }
  while (i < y->n && y->v[i] < v) i++;
  if (i < y->n && y->v[i] == v) return;
  if (y->n == VALUES_MAX) { y->n = -1; return; }
  memmove(y->v + i + 1, y->v + i, sizeof *y->v * (size_t)(y->n - i));
  y->v[i] = v == 0 ? 0 : v;
  y->n++;
}

/* Bounds and wholeness of the numbers put. */
static bool settle(Values *y) {
  if (y->n <= 0) { y->n = 0; return false; }
  y->lo = y->v[0], y->hi = y->v[y->n - 1], y->whole = true;
  for (int i = 0; i < y->n; i++) y->whole = y->whole && is_whole(y->v[i]);
  return true;
}

static Values of_const(const Tensor *t) {
  Values y = {.lo = INFINITY, .hi = -INFINITY, .whole = true};
  for (int64_t i = 0; i < t->n; i++) {
    double v = tensor_f(t, i);
    if (isnan(v)) return unknown;
    put(&y, v);
    y.lo = fmin(y.lo, v), y.hi = fmax(y.hi, v);
    y.whole = y.whole && is_whole(v);
  }
  if (t->n == 0) return unknown;
  if (y.n < 0) y.n = 0;
  return y;
}

static Values of_code(const Node *n) {
  int64_t lo, hi;
  Values y = {.whole = true};
  code_bounds(n, &lo, &hi);
  y.lo = (double)lo, y.hi = (double)hi;
  if (elem_eq(n->t.e, BIPOLAR)) put(&y, -1), put(&y, 1);
  else if (n->t.e.kind != EK_SHIFT && (uint64_t)hi - (uint64_t)lo < VALUES_MAX) for (int64_t v = lo; v <= hi; v++) put(&y, (double)v);
  return y;
}

static Values of_dequant(const Node *n) {
  Values y = {.whole = false}, q = of_code(n->in[0]);
  double s, z = 0;
  if (!node_uniform(n->in[1], &s) || (n->n_in > 2 && !node_uniform(n->in[2], &z)) || !isfinite(s) || fabs(q.lo) > 9e15 || fabs(q.hi) > 9e15) return unknown;
  Elem zp = n->n_in > 2 ? n->in[2]->t.e : I32;
  Val zv = val_of(zp, z);
  for (int i = 0; i < q.n; i++) put(&y, dequant_eval((int64_t)q.v[i], s, n->n_in > 2 ? &zv : NULL, zp, n->in[1]->t.e, n->t.e));
  if (settle(&y)) return y;
  double a = dequant_eval((int64_t)q.lo, s, n->n_in > 2 ? &zv : NULL, zp, n->in[1]->t.e, n->t.e);
  double b = dequant_eval((int64_t)q.hi, s, n->n_in > 2 ? &zv : NULL, zp, n->in[1]->t.e, n->t.e);
  bounds(&y, fmin(a, b), fmax(a, b));
  y.whole = is_whole(s) && is_whole(z);
  return y;
}

/* All combinations of the operands' numbers, where they are few. */
static bool combine(const Node *n, const Values *const *x, Values *y) {
  double args[3] = {0};
  int k[3] = {1, 1, 1};
  for (int i = 0; i < n->n_in; i++) {
    if (x[i]->n == 0) return false;
    k[i] = x[i]->n;
  }
  *y = (Values){.n = 0};
  for (int a = 0; a < k[0]; a++)
    for (int b = 0; b < k[1]; b++)
      for (int c = 0; c < k[2] && y->n >= 0; c++) {
        const int at[3] = {a, b, c};
        for (int i = 0; i < n->n_in; i++) args[i] = x[i]->v[at[i]];
        put(y, map_value(n, args));
      }
  return settle(y);
}

static double map2(const Node *n, double a, double b) { return map_value(n, (double[]){a, b}); }

static void corners(const Node *n, const Values *a, const Values *b, Values *y) {
  double c[4] = {map2(n, a->lo, b->lo), map2(n, a->lo, b->hi), map2(n, a->hi, b->lo), map2(n, a->hi, b->hi)}, lo = c[0], hi = c[0];
  for (int i = 0; i < 4; i++) {
    if (isnan(c[i])) return;
    lo = fmin(lo, c[i]), hi = fmax(hi, c[i]);
  }
  bounds(y, lo, hi);
}

/* select(x == c, a, x): x's numbers with a for c. */
static bool replaced(const Node *n, const Values *const *x, Values *y) {
  const Node *t = n->in[0];
  double c;
  *y = (Values){.n = 0};
  if (!node_is_map(t, S_EQ) || x[1]->n != 1 || !x[2]->n) return false;
  if (!(t->in[0] == n->in[2] && node_uniform(t->in[1], &c)) && !(t->in[1] == n->in[2] && node_uniform(t->in[0], &c))) return false;
  put(y, x[1]->v[0]);
  for (int i = 0; i < x[2]->n; i++) if (x[2]->v[i] != c) put(y, x[2]->v[i]);
  return settle(y);
}

/* Integers stay integers where sums and products are exact: below 2^24 in binary32 (a rounded one is an integer, too). */
static Values bounds_of_map(Facts *f, const Node *n) {
  const Values *x[3] = {&unknown, &unknown, &unknown}, *a, *b;
  Values y = unknown;
  for (int k = 0; k < n->n_in; k++) x[k] = values_of(f, n->in[k]);
  if (n->a.scalar == S_SELECT && replaced(n, x, &y)) return y;
  if (combine(n, x, &y)) return y;
  y = unknown;
  a = x[0], b = x[1];
  switch (n->a.scalar) {
  case S_ADD: bounds(&y, map2(n, a->lo, b->lo), map2(n, a->hi, b->hi)); y.whole = a->whole && b->whole; break;
  case S_SUB: bounds(&y, map2(n, a->lo, b->hi), map2(n, a->hi, b->lo)); y.whole = a->whole && b->whole; break;
  case S_MUL: corners(n, a, b, &y); y.whole = a->whole && b->whole; break;
  case S_DIV: if (b->lo > 0 || b->hi < 0) corners(n, a, b, &y); break;
  case S_MAX: bounds(&y, fmax(a->lo, b->lo), fmax(a->hi, b->hi)); y.whole = a->whole && b->whole; break;
  case S_MIN: bounds(&y, fmin(a->lo, b->lo), fmin(a->hi, b->hi)); y.whole = a->whole && b->whole; break;
  case S_NEG: bounds(&y, -a->hi, -a->lo); y.whole = a->whole; break;
  case S_ABS: bounds(&y, a->lo > 0 ? a->lo : a->hi < 0 ? -a->hi : 0, fmax(-a->lo, a->hi)); y.whole = a->whole; break;
  case S_SIGN:
    y.n = 0;
    if (a->lo < 0) put(&y, -1);
    if (a->lo <= 0 && a->hi >= 0) put(&y, 0);
    if (a->hi > 0) put(&y, 1);
    if (!settle(&y)) return unknown;
    break;
  case S_FLOOR: case S_CEIL: case S_TRUNC: case S_ROUND:
    bounds(&y, map_value(n, &a->lo), map_value(n, &a->hi));
    y.whole = true;
    break;
  case S_TANH: case S_ERF: bounds(&y, -1, 1); break;
  case S_EXP: y.lo = 0; break;
  case S_SELECT: bounds(&y, fmin(b->lo, x[2]->lo), fmax(b->hi, x[2]->hi)); y.whole = b->whole && x[2]->whole; break;
  case S_CAST:
    if (elem_is_float(n->in[0]->t.e)) bounds(&y, map_value(n, &a->lo), map_value(n, &a->hi));
    else if (n->t.e.bits >= 32) bounds(&y, (float)a->lo, (float)a->hi); /* binary64 rounds less: both are bounds below 2^24, loose above */
    y.whole = a->whole && n->t.e.bits >= 32;
    break;
  default: break;
  }
  return y;
}

static Values of_map(Facts *f, const Node *n) {
  Values y = bounds_of_map(f, n);
  if (y.n == 0 && y.whole && y.hi - y.lo < VALUES_MAX)
    for (double v = y.lo; v <= y.hi; v++) put(&y, v);
  return y;
}

static Values hull(const Values *a, const Values *b) {
  Values y = {.lo = fmin(a->lo, b->lo), .hi = fmax(a->hi, b->hi), .whole = a->whole && b->whole};
  if (!a->n || !b->n) return y;
  y = *a;
  for (int i = 0; i < b->n; i++) put(&y, b->v[i]);
  if (y.n < 0) y.n = 0;
  y.lo = fmin(a->lo, b->lo), y.hi = fmax(a->hi, b->hi), y.whole = a->whole && b->whole;
  return y;
}

static Values of_node(Facts *f, const Node *n) {
  if (node_is_const(n)) return of_const(n->a.value);
  if (n->op == OP_MAP && (elem_is_float(n->t.e) || n->t.e.kind == EK_BOOL)) return n->t.e.kind == EK_BOOL ? of_code(n) : of_map(f, n);
  if (elem_is_code(n->t.e)) return (n->t.e.kind == EK_BASES && n->t.e.bits > 1) || (n->t.e.kind == EK_UINT && n->t.e.bits == 64) ? unknown : of_code(n);
  switch (n->op) {
  case OP_DEQUANT: return of_dequant(n);
  case OP_RESHAPE: case OP_GATHER: return *values_of(f, n->in[0]);
  case OP_REDUCE: return n->a.scalar == S_MAX || n->a.scalar == S_MIN ? (Values){.lo = values_of(f, n->in[0])->lo, .hi = values_of(f, n->in[0])->hi} : unknown;
  case OP_VIEW: {
    Values fill = {.lo = n->a.fill, .hi = n->a.fill, .whole = is_whole(n->a.fill), .n = 1, .v = {n->a.fill}};
    return access_inside(n, 0) ? *values_of(f, n->in[0]) : hull(values_of(f, n->in[0]), &fill);
  }
  case OP_CONCAT: {
    Values y = *values_of(f, n->in[0]);
    for (int i = 1; i < n->n_in; i++) y = hull(&y, values_of(f, n->in[i]));
    return y;
  }
  default: return unknown;
  }
}

static Values **slot_of(Facts *f, uint32_t id) {
  if ((int)id >= f->n) {
    int n = 2 * (int)id + 64;
    f->of = arena_grow(f->a, f->of, sizeof *f->of * (size_t)f->n, sizeof *f->of * (size_t)n);
    f->n = n;
  }
  return &f->of[id];
}

const Values *values_of(Facts *f, const Node *n) {
  enum { DEPTH_MAX = 200 };
  if (*slot_of(f, n->id)) return f->of[n->id];
  if (f->depth == DEPTH_MAX) return &unknown;
  Values *v = NEW(f->a, Values);
  f->depth++;
  *v = of_node(f, n);
  f->depth--;
  return *slot_of(f, n->id) = v;
}
