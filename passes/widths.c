/* widths: every code value gets the narrowest type that its exact range (range.h) allows, accumulators the narrowest i<k> that holds
 * every partial sum in any order of the terms. Numbers stay the same, so operators that only read numbers read the narrower type;
 * where a type matters (outputs, words, concats) a cast restores it. Thresholds outside the range go. */
#include "passes/access.h"
#include "passes/certificate_add.h"
#include "passes/pass.h"
#include "passes/range.h"

typedef struct Widths { Ranges *ranges; bool *is_out; Certificate *certificate; } Widths;

static Elem signed_for(int64_t lo, int64_t hi) { return elem_for_range(lo < 0 ? lo : hi == INT64_MAX ? INT64_MIN : -hi - 1, hi); }

static bool is_word(Elem e) { return e.kind == EK_INT || e.kind == EK_UINT; }

/* Result type of a node that computes codes. */
static Elem narrowed(Rewrite *rw, const Node *old) {
  Widths *w = rw->user;
  int64_t lo, hi, plo, phi;
  Elem e = old->t.e, y;
  bool sums = old->op == OP_CONTRACT || (old->op == OP_REDUCE && old->a.scalar == S_ADD);
  if (w->is_out[old->id] || !is_word(e) || !range_hull(w->ranges, old, &lo, &hi)) return e;
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

/* t clipped to what x can be: lo and below is always reached, hi + 1 and above never; columns that no row reaches go. */
static Node *narrow_thresholds(Rewrite *rw, const Node *old, Node *const *in) {
  Widths *w = rw->user;
  int64_t lo, hi;
  Node *x[4] = {in[0], in[1], in[2], in[3]};
  if (node_is_const(in[1]) && elem_is_code(in[1]->t.e) && range_hull(w->ranges, old->in[0], &lo, &hi) && hi < INT64_MAX) {
    const Tensor *t = in[1]->a.value;
    certificate_narrow(w->certificate, w->ranges, old);
    int64_t rows = t->t.d[0].n, levels = t->t.d[1].n, used = 0, least = hi + 1, most = lo;
    for (int64_t i = 0; i < t->n; i++) {
      int64_t v = tensor_i(t, i);
      v = v < lo ? lo : v > hi ? hi + 1 : v;
      if (v <= hi && i % levels >= used) used = i % levels + 1;
      least = v < least ? v : least;
      most = v > most ? v : most;
    }
    if (used == 0) used = 1;
    Elem e = in[0]->t.e;
    if (!is_word(e) || t->n == 0 || !code_fits(e, least) || !code_fits(e, most)) e = elem_for_range(least, most);
    if (t->n && (used < levels || e.bits < t->t.e.bits)) {
      Type y = type_make(e, 2, (int64_t[]){rows, used});
      Tensor *n = tensor_new(rw->g->ctx, &y);
      if (!n) return NULL;
      for (int64_t i = 0; i < n->n; i++) {
        int64_t v = tensor_i(t, i / used * levels + i % used);
        tensor_set_i(n, i, v < lo ? lo : v > hi ? hi + 1 : v);
      }
      x[1] = node_const(rw->g, n);
    }
  }
  return rebuild(rw->g, old, x, narrowed(rw, old));
}

/* A constant operand of an arithmetic map. */
static Node *narrow_const(Graph *g, Node *k) {
  int64_t lo = INT64_MAX, hi = INT64_MIN;
  if (!node_is_const(k) || !is_word(k->t.e) || k->a.value->n == 0 || (k->t.e.kind == EK_UINT && k->t.e.bits == 64)) return k;
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
  if (old->a.scalar == S_CAST && is_word(old->t.e) && elem_is_code(in[0]->t.e)) {
    Widths *w = rw->user;
    int64_t lo, hi; /* a cast that keeps every number is not needed */
    bool keeps = is_word(in[0]->t.e) && range_hull(w->ranges, old->in[0], &lo, &hi);
    keeps = keeps && lo >= elem_lo(old->t.e) && hi <= elem_hi(old->t.e);
    return keeps && !w->is_out[old->id] ? in[0] : node_cast(rw->g, in[0], old->t.e);
  }
  bool closed = !is_word(old->t.e) && old->t.e.kind != EK_BOOL; /* shift, bases: the types must agree */
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
  case OP_DEQUANT: case OP_ARGREDUCE: return NULL; /* they read numbers */
  default: return changed ? strict(rw, old, in, old->t.e) : NULL;
  }
}

Graph *pass_widths(Graph *old, const PassOptions *opt) {
  Arena *scratch = arena_new(old->ctx);
  Widths w = {ranges_new(scratch, old), NEWN(scratch, bool, old->n_nodes + 1), opt->certificate};
  for (int i = 0; i < old->n_outs; i++) w.is_out[old->outs[i].v->id] = true;
  Graph *g = graph_rewrite(old, widths_rule, &w, NULL);
  arena_free(scratch);
  graph_free(old);
  return g;
}
