/* encode: constant codes that a contract reads get the narrowest element type of their actual values: +-1 bases<1>,
 * 0 and +-2^e shift<k> where that has fewer bits (ternary codes have two either way), else i<k> or u<k>.
 * A contract's sum does not depend on how its operands' numbers are typed. */
#include "passes/pass.h"

/* Least k of shift<k> with all these numbers; 64 where none has. */
static int shift_bits(const Tensor *t) {
  int k = 2;
  for (int64_t i = 0; i < t->n; i++) {
    int64_t v = tensor_i(t, i), m = v < 0 ? -v : v;
    if (v == INT64_MIN || m & (m - 1)) return 64;
    while (k < 7 && m > elem_hi((Elem){EK_SHIFT, (uint8_t)k})) k++;
    if (m > elem_hi((Elem){EK_SHIFT, (uint8_t)k})) return 64;
  }
  return k;
}

static Elem narrowest(const Tensor *t) {
  int64_t lo = INT64_MAX, hi = INT64_MIN;
  bool signs = true;
  for (int64_t i = 0; i < t->n; i++) {
    int64_t v = tensor_i(t, i);
    if (v < lo) lo = v;
    if (v > hi) hi = v;
    signs = signs && (v == 1 || v == -1);
  }
  if (t->n == 0) return t->t.e;
  Elem e = signs ? BIPOLAR : elem_for_range(lo, hi);
  int k = shift_bits(t);
  return k < e.bits ? (Elem){EK_SHIFT, (uint8_t)k} : e;
}

static Node *encoded(Graph *g, Node *w) {
  Elem e = w->t.e;
  if (!node_is_const(w) || (e.kind != EK_INT && e.kind != EK_UINT) || (e.kind == EK_UINT && e.bits == 64)) return w;
  Elem best = narrowest(w->a.value);
  if (best.bits >= e.bits) return w;
  Type t = w->t;
  t.e = best;
  Tensor *y = tensor_new(g->ctx, &t);
  if (!y) return w;
  for (int64_t i = 0; i < y->n; i++) tensor_set_i(y, i, tensor_i(w->a.value, i));
  return node_const(g, y);
}

static Node *encode_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Node *x[3];
  bool changed = false;
  if (old->op != OP_CONTRACT || old->a.scalar != S_MUL || elem_is_float(old->t.e)) return NULL;
  for (int k = 0; k < old->n_in; k++) {
    x[k] = k == 0 && !access_inside(old, 0) ? in[k] : encoded(rw->g, in[k]); /* the fill must stay a number of the type */
    changed = changed || x[k] != in[k];
  }
  if (!changed) return NULL;
  rw->changes++;
  return node_new(rw->g, OP_CONTRACT, &old->t, old->n_in, x, &old->a, NULL);
}

Graph *pass_encode(Graph *old, const PassOptions *opt) {
  (void)opt;
  Graph *g = graph_rewrite(old, encode_rule, NULL, NULL);
  graph_free(old);
  return g;
}
