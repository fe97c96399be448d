/* Reductions, running sums, and positions of extremes. */
#include "frontend/import.h"

#include <stdlib.h>
#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* The reduced axes; all where none are named, unless noop_with_empty_axes. *n: count of reduced elements. */
static bool reduced(OpCall *c, uint32_t *axes, bool *nothing, double *n) {
  const Type *t = &c->in[0]->t;
  bool absent;
  if (!ox_axes(c, c->opset < 18 || !ox_in(c, 1) ? "axes" : NULL, 1, t->rank, axes, &absent)) return false;
  *nothing = !*axes && ox_int(c, "noop_with_empty_axes") != 0;
  if (!*axes && !*nothing) *axes = (1u << t->rank) - 1;
  *n = 1;
  for (int i = 0; i < t->rank; i++) {
    if (!(*axes >> i & 1)) continue;
    if (t->d[i].sym) return ox_static(c, c->in[0]);
    *n *= (double)t->d[i].n;
  }
  return true;
}

/* how: "before|reduction|after", the formulas over x, and n in the last. */
bool op_reduce(OpCall *c) {
  uint32_t axes;
  bool nothing;
  double n;
  const char *bar = strchr(c->row->how, '|'), *bar2 = strchr(bar + 1, '|');
  if (!reduced(c, &axes, &nothing, &n)) return false;
  char *before = arena_strndup(c->g->arena, c->row->how, (size_t)(bar - c->row->how));
  char *name = arena_strndup(c->g->arena, bar + 1, (size_t)(bar2 - bar - 1));
  Node *x[3] = {c->in[0], NULL, NULL};
  x[0] = ox_formula(c, before, x, 0);
  if (!nothing) x[0] = ox_reduce(c, scalar_find(name), x[0], axes, ox_int(c, "keepdims") != 0);
  return done(c, ox_formula(c, bar2 + 1, x, n));
}

/* log sum e^(x - m) + m with m the maximum, 0 where that is infinite. */
bool op_reduce_log_sum_exp(OpCall *c) {
  uint32_t axes;
  bool nothing;
  double n;
  if (!reduced(c, &axes, &nothing, &n)) return false;
  Node *args[3] = {c->in[0], NULL, NULL};
  if (nothing) return done(c, ox_formula(c, "x exp log", args, 0));
  Node *max = ox_reduce(c, S_MAX, c->in[0], axes, true), *m[3] = {max, NULL, NULL};
  m[0] = max = ox_formula(c, "x isinf 0 x select", m, 0);
  args[1] = max;
  Node *sum = ox_reduce(c, S_ADD, ox_formula(c, "x y sub exp", args, 0), axes, true), *pair[3] = {sum, max, NULL};
  Node *y = ox_formula(c, "x log y add", pair, 0);
  if (!y || ox_int(c, "keepdims")) return done(c, y);
  Dim d[MAX_RANK];
  int rank = 0;
  for (int i = 0; i < y->t.rank; i++) if (!(axes >> i & 1)) d[rank++] = y->t.d[i];
  return done(c, ox_reshape_d(c, y, rank, d));
}

bool op_arg(OpCall *c) {
  int axis;
  Type t = c->in[0]->t;
  if (!ox_axis(c, ox_int(c, "axis"), t.rank, &axis)) return false;
  if (t.d[axis].sym) return ox_static(c, c->in[0]);
  if (t.d[axis].n == 0) return ox_fail(c, E0207, "dimension %d is empty", axis);
  t.e = I64;
  t.d[axis] = dim_c(1);
  Attr a = {.scalar = scalar_find(c->row->how), .axis = axis, .flag = ox_int(c, "select_last_index") != 0};
  Node *y = node_new(c->g, OP_ARGREDUCE, &t, 1, c->in, &a, NULL);
  if (ox_int(c, "keepdims")) return done(c, y);
  Dim d[MAX_RANK];
  int rank = 0;
  for (int i = 0; i < t.rank; i++) if (i != axis) d[rank++] = t.d[i];
  return done(c, ox_reshape_d(c, y, rank, d));
}

bool op_cum(OpCall *c) {
  int axis;
  const Tensor *v = ox_value(c, c->in[1], "the axis");
  if (!v) return false;
  if (v->n != 1) return ox_fail(c, E0207, "the axis is not a scalar");
  if (!ox_axis(c, tensor_i(v, 0), c->in[0]->t.rank, &axis)) return false;
  Attr a = {.scalar = scalar_find(c->row->how), .axis = axis, .flag = (ox_int(c, "exclusive") ? 1 : 0) | (ox_int(c, "reverse") ? 2 : 0)};
  return done(c, node_new(c->g, OP_CUM, &c->in[0]->t, 1, c->in, &a, NULL));
}
