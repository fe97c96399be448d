/* sink: between an integer and the next quant only element-wise steps remain.
 *   down   dequant moves below reshape, view, gather, concat, max and min pools (dequant_below: bits stay)
 *   up     quant, with the constant element-wise steps above it, moves above reshape, view, concat (the same elements), and above
 *          max and min pools: max f(x) = f(max x) for a rising f, min for a falling one; that needs values without NaN, so
 *          the steps must come from a code by provably monotone finite steps (region_direction) */
#include "passes/access.h"
#include "passes/pass.h"
#include "passes/range.h"
#include "passes/region.h"
#include "passes/values.h"

#include <math.h>

typedef struct Sink { Arena *scratch; Ranges *ranges; } Sink;

/* The steps from quant up to a movement, in order of computing: the movement's value is operand 0 of the first. */
enum { CHAIN_MAX = 16 };
typedef struct Chain { const Node *move, *step[CHAIN_MAX]; int n; } Chain;

static bool is_move(const Node *n) {
  return n->op == OP_RESHAPE || n->op == OP_VIEW || n->op == OP_CONCAT ||
         (n->op == OP_REDUCE && (n->a.scalar == S_MAX || n->a.scalar == S_MIN));
}

static bool find_chain(const Rewrite *rw, const Node *quant, Chain *c) {
  const Node *n = quant;
  c->n = 0;
  for (;;) {
    if (c->n == CHAIN_MAX || (n != quant && (n->op != OP_MAP || rw->uses[n->id] != 1))) return false;
    for (int k = 1; k < n->n_in; k++)
      if (!node_is_const(n->in[k])) return false;
    if (n->n_in < 1 || node_is_const(n->in[0]) || n->in[0]->t.rank != n->t.rank) return false;
    for (int i = 0; i < n->t.rank; i++)
      if (!dim_eq(n->in[0]->t.d[i], n->t.d[i])) return false;
    c->step[c->n++] = n;
    n = n->in[0];
    if (is_move(n)) break;
  }
  for (int i = 0, j = c->n - 1; i < j; i++, j--) {
    const Node *t = c->step[i];
    c->step[i] = c->step[j];
    c->step[j] = t;
  }
  c->move = n;
  return rw->uses[n->id] == 1;
}

/* The steps applied to x, an input of the movement; NULL where a constant does not move. */
static Node *steps_above(Rewrite *rw, const Chain *c, Node *x) {
  Graph *g = rw->g;
  for (int i = 0; i < c->n; i++) {
    const Node *s = c->step[i];
    Node *in[3] = {x};
    Type t = x->t;
    for (int k = 1; k < s->n_in; k++) {
      if (!(in[k] = operand_above(g, c->move, rw->map[s->in[k]->id]))) return NULL;
      if (!type_broadcast(&t, &in[k]->t, &t) || t.rank != x->t.rank) return NULL;
    }
    t.e = s->t.e;
    x = node_new(g, (Op)s->op, &t, s->n_in, in, &s->a, &s->loc);
  }
  return x;
}

/* Every value of x is finite in every row, and the steps below x are monotone: +1, -1; else 0. */
static int pool_direction(Rewrite *rw, const Chain *c, const Node *x, const Node *quant) {
  Sink *s = rw->user;
  Region whole, steps;
  int64_t lo, hi;
  int dir = 0;
  if (!region_find(s->scratch, quant, NULL, &whole) || !region_find(s->scratch, quant, x, &steps)) return 0;
  if (steps.n != c->n + 1 || !range_hull(s->ranges, whole.base, &lo, &hi)) return 0;
  int at = -1;
  for (int i = 0; i < whole.n; i++)
    if (whole.step[i].n == x) at = i;
  if (at < 0) return 0;
  for (int64_t r = 0; r < whole.rows; r++) {
    if (!region_direction(&whole, r, (Val){.i = lo}, (Val){.i = hi})) return 0;
    double a = INFINITY, b = -INFINITY;
    for (int end = 0; end < 2; end++) {
      region_eval(&whole, r, (Val){.i = end ? hi : lo});
      a = fmin(a, whole.v[at]->f), b = fmax(b, whole.v[at]->f);
    }
    for (int64_t q = steps.rows == whole.rows ? r : 0; q < (steps.rows == whole.rows ? r + 1 : steps.rows); q++) {
      int d = region_direction(&steps, q, val_of(x->t.e, a), val_of(x->t.e, b));
      if (d == 0 || (dir && d != dir)) return 0;
      dir = d;
    }
  }
  return dir;
}

/* Quant of a padding value: the same in every row. */
static bool fill_above(Rewrite *rw, const Chain *c, const Node *x, const Node *quant, double *fill) {
  Sink *s = rw->user;
  Region steps;
  if (access_inside(c->move, 0)) return true;
  if (!region_find(s->scratch, quant, x, &steps) || steps.rows != 1) return false;
  *fill = (double)region_eval(&steps, 0, val_of(x->t.e, c->move->a.fill)).i;
  return true;
}

static Node *quant_above(Rewrite *rw, const Node *old) {
  Graph *g = rw->g;
  Chain c;
  if (elem_is_code(old->in[0]->t.e) || (old->t.e.kind == EK_BASES && old->t.e.bits > 1)) return NULL;
  if (!find_chain(rw, old, &c)) return NULL;
  if (c.move->op == OP_CONCAT) {
    Node **q = NEWN(g->arena, Node *, c.move->n_in);
    for (int i = 0; i < c.move->n_in; i++)
      if (!(q[i] = steps_above(rw, &c, rw->map[c.move->in[i]->id]))) return NULL;
    rw->changes++;
    return node_concat(g, c.move->n_in, q, c.move->a.axis);
  }
  Node *x = rw->map[c.move->in[0]->id], *q = node_is_const(x) ? NULL : steps_above(rw, &c, x), *y;
  double fill = 0;
  if (!q) return NULL;
  if (c.move->op == OP_REDUCE) {
    int dir = pool_direction(rw, &c, x, q);
    if (!dir) return NULL;
    Type t = c.move->t;
    t.e = q->t.e;
    y = node_reduce(g, (c.move->a.scalar == S_MAX) == (dir > 0) ? S_MAX : S_MIN, q, &t, c.move->a.iters);
  } else {
    if (c.move->op == OP_VIEW && !fill_above(rw, &c, x, q, &fill)) return NULL;
    y = move_clone(g, c.move, q, fill);
  }
  rw->changes++;
  return y;
}

static Node *sink_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Sink *s = rw->user;
  s->ranges->g = rw->g;
  if (old->op == OP_QUANT) return quant_above(rw, old);
  return dequant_below(rw, old, in);
}

Graph *pass_sink(Graph *g, const PassOptions *opt) {
  enum { ROUNDS = 32 }; /* one movement per quant and round */
  (void)opt;
  for (int round = 0, changes = 1; g && changes && round < ROUNDS; round++) {
    Graph *old = g;
    Sink s = {.scratch = arena_new(old->ctx)};
    changes = 0;
    s.ranges = ranges_new(s.scratch, old);
    g = graph_rewrite(old, sink_rule, &s, &changes);
    arena_free(s.scratch);
    graph_free(old);
  }
  return g;
}
