/* widths: every code value gets the narrowest type that its exact range (range.h) allows, accumulators the narrowest i<k> that holds
 * every partial sum in any order of the terms. Numbers stay the same, so operators that only read numbers read the narrower type;
 * where a type matters (outputs, words, concats) a cast restores it. Thresholds outside the range go. */
#include "passes/access.h"
#include "passes/certificate_add.h"
#include "passes/pass.h"
#include "passes/range.h"

typedef struct Widths { Arena *scratch; Ranges *ranges; bool *is_out; const PassOptions *opt; } Widths;

static Elem signed_for(int64_t lo, int64_t hi) { return elem_for_range(lo < 0 ? lo : hi == INT64_MAX ? INT64_MIN : -hi - 1, hi); }

/* Result type of a node that computes codes. */
static Elem narrowed(Rewrite *rw, const Node *old) {
  Widths *w = rw->user;
  int64_t lo, hi, plo, phi;
  Elem e = old->t.e, y;
  bool sums = old->op == OP_CONTRACT || (old->op == OP_REDUCE && old->a.scalar == S_ADD);
  if (w->is_out[old->id] || !elem_is_int(e) || !range_hull(w->ranges, old, &lo, &hi)) return e;
  if (sums) {
    if (!range_partial(w->ranges, old, &plo, &phi)) return e;
    y = signed_for(plo < lo ? plo : lo, phi > hi ? phi : hi);
  } else
    y = elem_for_range(lo, hi);
  return y.bits < e.bits ? y : e;
}

static Node *rebuild(Graph *g, const Node *old, Node *const *in, Elem e) {
  Type t = old->t;
  t.e = e;
  return node_new(g, (Op)old->op, &t, old->n_in, in, &old->a, &old->loc);
}

/* The old types back. */
static Node *strict(Rewrite *rw, const Node *old, Node *const *in, Elem e) {
  Node **x = NEWN(rw->g->arena, Node *, old->n_in + 1);
  for (int k = 0; k < old->n_in; k++) x[k] = node_cast(rw->g, in[k], old->in[k]->t.e);
  return rebuild(rw->g, old, x, e);
}

static bool fill_fits(const Node *old, Elem e) {
  double f = old->a.fill;
  return f == 0 || (f == (double)(int64_t)f && code_fits(e, (int64_t)f));
}

/* A value whose type is its inputs': of the narrowest type that all of them fit, restored for outputs. */
static Node *follow(Rewrite *rw, const Node *old, Node *const *in, int n_data) {
  Widths *w = rw->user;
  Elem e = in[0]->t.e;
  Node **x = NEWN(rw->g->arena, Node *, old->n_in + 1);
  for (int k = 0; k < old->n_in; k++) x[k] = in[k];
  bool same = true;
  for (int k = 1; k < n_data; k++) same = same && elem_eq(in[k]->t.e, e);
  if (!same) {
    int64_t lo = elem_lo(e), hi = elem_hi(e);
    for (int k = 1; k < n_data; k++) {
      if (elem_lo(in[k]->t.e) < lo) lo = elem_lo(in[k]->t.e);
      if (elem_hi(in[k]->t.e) > hi) hi = elem_hi(in[k]->t.e);
    }
    e = elem_for_range(lo, hi);
    if (e.bits >= old->t.e.bits) e = old->t.e;
    for (int k = 0; k < n_data; k++) x[k] = node_cast(rw->g, in[k], e);
  }
  if (old->op == OP_VIEW && !fill_fits(old, e)) return strict(rw, old, in, old->t.e);
  Node *y = rebuild(rw->g, old, x, e);
  return w->is_out[old->id] ? node_cast(rw->g, y, old->t.e) : y;
}

/* Maps whose result depends on their operands' numbers only. */
static bool reads_numbers(Scalar s) { return s != S_POP && s != S_SHL && s != S_NOT && s != S_BITS; }

/* Thresholds that x's range can and does not always reach, of every row: dead ones do not decide anything. */
typedef struct Live {
  int64_t rows, levels, most, dead;      /* most: live ones of a row */
  int64_t *lo, *hi, *always;             /* of a row: range of x; thresholds that x always reaches */
  bool moved;                            /* some row has always > 0 */
} Live;

static bool find_live(Rewrite *rw, const Node *old, const Tensor *t, Live *l) {
  Widths *w = rw->user;
  int64_t hull_lo, hull_hi, axis = old->a.axis;
  const Range *r = range_of(w->ranges, old->in[0]);
  if (!r || !range_hull(w->ranges, old->in[0], &hull_lo, &hull_hi) || hull_hi == INT64_MAX) return false;
  *l = (Live){.rows = t->t.d[0].n, .levels = t->t.d[1].n};
  l->lo = NEWN(w->scratch, int64_t, l->rows + 1);
  l->hi = NEWN(w->scratch, int64_t, l->rows + 1);
  l->always = NEWN(w->scratch, int64_t, l->rows + 1);
  for (int64_t i = 0; i < l->rows; i++) {
    bool each = l->rows > 1 && r->d[axis] == l->rows;
    l->lo[i] = each ? INT64_MAX : hull_lo, l->hi[i] = each ? INT64_MIN : hull_hi;
  }
  int64_t inner = 1;
  for (int d = (int)axis + 1; d < old->t.rank; d++) inner *= r->d[d];
  for (int64_t i = 0; l->rows > 1 && r->d[axis] == l->rows && i < r->n; i++) {
    int64_t row = i / inner % l->rows;
    l->lo[row] = r->lo[i] < l->lo[row] ? r->lo[i] : l->lo[row];
    l->hi[row] = r->hi[i] > l->hi[row] ? r->hi[i] : l->hi[row];
  }
  for (int64_t i = 0; i < l->rows; i++) {
    int64_t live = 0;
    for (int64_t j = 0; j < l->levels; j++) {
      int64_t v = tensor_i(t, i * l->levels + j);
      l->always[i] += v <= l->lo[i];
      live += v > l->lo[i] && v <= l->hi[i];
    }
    l->most = live > l->most ? live : l->most;
    l->dead += l->levels - live;
    l->moved = l->moved || l->always[i] > 0;
  }
  return true;
}

/* Live thresholds in the table's columns; what is left of a row is above its range. With as many columns as before, those that are
 * always reached stay, at the range's least number: then base need not know them. */
static int64_t *live_values(Arena *a, const Tensor *t, const Live *l, int64_t columns) {
  int64_t *v = NEWN(a, int64_t, l->rows * columns + 1);
  for (int64_t i = 0; i < l->rows; i++) {
    int64_t at = i * columns, end = at + columns;
    for (int64_t j = 0; j < l->levels; j++) {
      int64_t x = tensor_i(t, i * l->levels + j);
      if (x > l->hi[i] || (x <= l->lo[i] && columns < l->levels)) continue;
      v[at++] = x < l->lo[i] ? l->lo[i] : x;
    }
    while (at < end) v[at++] = l->hi[i] + 1;
  }
  return v;
}

/* The table in x's type where that has all its numbers. */
static Node *live_table(Graph *g, Elem e, const Live *l, const int64_t *v, int64_t columns) {
  int64_t least = v[0], most = v[0];
  for (int64_t i = 0; i < l->rows * columns; i++) {
    least = v[i] < least ? v[i] : least;
    most = v[i] > most ? v[i] : most;
  }
  if (!elem_is_int(e) || !code_fits(e, least) || !code_fits(e, most)) e = elem_for_range(least, most);
  Type y = type_make(e, 2, (int64_t[]){l->rows, columns});
  Tensor *n = tensor_new(g->ctx, &y);
  for (int64_t i = 0; n && i < n->n; i++) tensor_set_i(n, i, v[i]);
  return n ? node_const(g, n) : NULL;
}

/* base + step * always, row by row. NULL where it does not fit. */
static Node *live_base(Graph *g, const Tensor *base, const Tensor *step, const Live *l) {
  int64_t rows = l->rows, lo = elem_lo(I8), hi = elem_hi(I8);
  Node *k = NULL;
  if (base->n > rows) rows = base->n;
  if (step->n > rows) rows = step->n;
  for (int write = 0; write < 2; write++) {
    Tensor *y = NULL;
    if (write) {
      Type t = type_make(elem_for_range(lo, hi), 1, &rows);
      if (!(y = tensor_new(g->ctx, &t))) return NULL;
      k = node_const(g, y);
    }
    for (int64_t i = 0; i < rows; i++) {
      int64_t s = tensor_i(step, step->n > 1 ? i : 0), v;
      if (!mul_ok(s, l->always[l->rows > 1 ? i : 0], &v) || !add_ok(v, tensor_i(base, base->n > 1 ? i : 0), &v)) return NULL;
      lo = v < lo ? v : lo;
      hi = v > hi ? v : hi;
      if (write) tensor_set_i(y, i, v);
    }
  }
  return k;
}

/* Thresholds out of reach go where that makes the table smaller: columns, and bits. */
static Node *narrow_thresholds(Rewrite *rw, const Node *old, Node *const *in) {
  Widths *w = rw->user;
  Live l;
  Node *x[4] = {in[0], in[1], in[2], in[3]};
  bool known = node_is_const(in[1]) && node_is_const(in[2]) && node_is_const(in[3]) && elem_is_code(in[1]->t.e);
  if (!known || in[1]->a.value->n == 0 || !find_live(rw, old, in[1]->a.value, &l)) return rebuild(rw->g, old, x, narrowed(rw, old));
  certificate_narrow(w->opt->certificate, w->ranges, old, l.rows, l.lo, l.hi);
  const Tensor *t = in[1]->a.value;
  int64_t columns = l.most ? l.most : 1;
  Node *base = columns < l.levels && l.moved ? live_base(rw->g, in[2]->a.value, in[3]->a.value, &l) : in[2];
  if (!base) base = in[2], columns = l.levels;
  Node *table = live_table(rw->g, in[0]->t.e, &l, live_values(w->scratch, t, &l, columns), columns);
  if (!table) return NULL;
  if (columns < l.levels || table->t.e.bits < t->t.e.bits) x[1] = table, x[2] = base;
  if (w->opt->dead && l.dead) w->opt->dead(w->opt->dead_user, DEAD_THRESHOLDS, old, l.dead);
  return rebuild(rw->g, old, x, narrowed(rw, old));
}

/* A constant operand of an arithmetic map. */
static Node *narrow_const(Graph *g, Node *k) {
  int64_t lo = INT64_MAX, hi = INT64_MIN;
  if (!node_is_const(k) || !elem_is_int(k->t.e) || k->a.value->n == 0 || (k->t.e.kind == EK_UINT && k->t.e.bits == 64)) return k;
  for (int64_t i = 0; i < k->a.value->n; i++) {
    int64_t v = tensor_i(k->a.value, i);
    lo = v < lo ? v : lo;
    hi = v > hi ? v : hi;
  }
  Type t = k->t;
  t.e = elem_for_range(lo, hi);
  if (t.e.bits >= k->t.e.bits) return k;
  Tensor *y = tensor_new(g->ctx, &t);
  for (int64_t i = 0; y && i < y->n; i++) tensor_set_i(y, i, tensor_i(k->a.value, i));
  return y ? node_const(g, y) : k;
}

static Node *narrow_map(Rewrite *rw, const Node *old, Node *const *in) {
  Node *x[3];
  if (!reads_numbers(old->a.scalar)) return strict(rw, old, in, old->t.e);
  bool sums = old->a.scalar == S_ADD || old->a.scalar == S_SUB || old->a.scalar == S_MUL;
  for (int k = 0; k < old->n_in; k++) x[k] = sums ? narrow_const(rw->g, in[k]) : in[k];
  if (old->a.scalar == S_CAST && elem_is_int(old->t.e) && elem_is_code(in[0]->t.e)) {
    Widths *w = rw->user;
    int64_t lo, hi; /* a cast that keeps every number is not needed */
    bool keeps = elem_is_int(in[0]->t.e) && range_hull(w->ranges, old->in[0], &lo, &hi);
    keeps = keeps && lo >= elem_lo(old->t.e) && hi <= elem_hi(old->t.e);
    return keeps && !w->is_out[old->id] ? in[0] : node_cast(rw->g, in[0], old->t.e);
  }
  bool closed = !elem_is_int(old->t.e) && old->t.e.kind != EK_BOOL; /* shift, bases: the types must agree */
  return closed ? strict(rw, old, in, old->t.e) : rebuild(rw->g, old, x, narrowed(rw, old));
}

static Node *widths_rule(Rewrite *rw, const Node *old, Node *const *in) {
  bool codes = elem_is_code(old->t.e), changed = false;
  for (int k = 0; k < old->n_in; k++) changed = changed || !elem_eq(in[k]->t.e, old->in[k]->t.e);
  switch ((Op)old->op) {
  case OP_CONTRACT:
    if (!codes) return NULL;
    if (old->a.scalar != S_MUL) return strict(rw, old, in, narrowed(rw, old));
    if (!fill_fits(old, in[0]->t.e)) {
      Node *x[3] = {node_cast(rw->g, in[0], old->in[0]->t.e), in[1], old->n_in > 2 ? in[2] : NULL};
      return rebuild(rw->g, old, x, narrowed(rw, old));
    }
    return rebuild(rw->g, old, in, narrowed(rw, old));
  case OP_REDUCE:
    if (!codes) return NULL;
    if (old->a.scalar == S_MAX || old->a.scalar == S_MIN) return changed ? follow(rw, old, in, 1) : NULL;
    return old->a.scalar == S_ADD ? rebuild(rw->g, old, in, narrowed(rw, old)) : strict(rw, old, in, old->t.e);
  case OP_VIEW: case OP_RESHAPE: return changed ? follow(rw, old, in, 1) : NULL;
  case OP_GATHER: return changed ? follow(rw, old, in, 1) : NULL;
  case OP_CONCAT: return changed ? follow(rw, old, in, old->n_in) : NULL;
  case OP_MAP: return codes && elem_is_code(in[0]->t.e) ? narrow_map(rw, old, in) : NULL;
  case OP_QUANT: case OP_REQUANT: return codes ? rebuild(rw->g, old, in, narrowed(rw, old)) : NULL;
  case OP_THRESHOLDS: return narrow_thresholds(rw, old, in);
  case OP_DEQUANT: case OP_ARGREDUCE: case OP_BASES: return NULL; /* they read numbers */
  default: return changed ? strict(rw, old, in, old->t.e) : NULL;
  }
}

Graph *pass_widths(Graph *old, const PassOptions *opt) {
  Arena *scratch = arena_new(old->ctx);
  Widths w = {scratch, ranges_new(scratch, old), NEWN(scratch, bool, old->n_nodes + 1), opt};
  for (int i = 0; i < old->n_outs; i++) w.is_out[old->outs[i].v->id] = true;
  Graph *g = graph_rewrite(old, widths_rule, &w, NULL);
  arena_free(scratch);
  graph_free(old);
  return g;
}
