/* What recognize found, for --explain: a line per contraction: the codes of its operands, where they come from and the scale of the
 * result; or why it is one of floats. */
#include "passes/pass.h"
#include "passes/weights.h"

#include <string.h>

static void put_elem(Str *s, Elem e) { elem_print(s, e); }

static void put_place(Str *s, const Node *n) {
  if (n->loc.op) {
    str_put(s, " by ");
    str_quoted(s, n->loc.op);
  }
  if (n->loc.node >= 0) str_printf(s, " of node %d", n->loc.node);
  if (n->loc.name && *n->loc.name) {
    str_put(s, " ");
    str_quoted(s, n->loc.name);
  }
}

/* One value, or how many and between which: constants only. */
static void put_scale(Str *s, const Node *k) {
  double lo, hi;
  if (!node_is_const(k) || !k->a.value->n) { str_put(s, "a computed scale"); return; }
  lo = hi = tensor_f(k->a.value, 0);
  for (int64_t i = 1; i < k->a.value->n; i++) {
    double v = tensor_f(k->a.value, i);
    lo = v < lo ? v : lo, hi = v > hi ? v : hi;
  }
  if (k->a.value->n == 1) str_printf(s, "scale %.9g", lo);
  else str_printf(s, "%lld scales in %.9g..%.9g", (long long)k->a.value->n, lo, hi);
}

/* Through what keeps codes as they are. */
static const Node *codes_from(const Node *n) {
  while ((n->op == OP_VIEW || n->op == OP_RESHAPE || n->op == OP_GATHER || n->op == OP_REDUCE || n->op == OP_CONCAT || n->op == OP_MAP) && n->n_in > 0 &&
         !node_is_const(n) && elem_is_code(n->in[0]->t.e))
    n = n->in[0];
  return n;
}

static void put_codes(Str *s, const Node *n) {
  const Node *q = codes_from(n);
  put_elem(s, n->t.e);
  if (node_is_const(n)) {
    int64_t lo = INT64_MAX, hi = INT64_MIN;
    for (int64_t i = 0; i < n->a.value->n; i++) {
      int64_t v = tensor_i(n->a.value, i);
      lo = v < lo ? v : lo, hi = v > hi ? v : hi;
    }
    if (n->a.value->n) str_printf(s, " constants %lld..%lld", (long long)lo, (long long)hi);
    return;
  }
  if (q->op == OP_ARG) { str_put(s, " of an input"); return; }
  if (q->op == OP_QUANT) {
    if (!elem_eq(q->t.e, BIPOLAR)) str_printf(s, " %lld..%lld", (long long)q->a.lo, (long long)q->a.hi);
    str_put(s, ", ");
    put_scale(s, q->in[1]);
  }
  put_place(s, q);
}

/* The dequant of a contraction's sum, with a correction between; NULL where something else reads it. */
static const Node *result_scale(const Graph *g, const Node *c) {
  const Node *sum = c;
  for (int i = (int)c->id + 1; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (n->n_in < 1 || n->in[0] != sum) continue;
    if (n->op == OP_DEQUANT) return n->in[1];
    if (node_is_map(n, S_ADD) && node_is_const(n->in[1])) sum = n;
  }
  return NULL;
}

/* Why an operand of a float contraction is none of codes; false where it is. */
static bool put_reason(Str *s, Graph *g, const Node *c, int k) {
  const Node *x = c->in[k];
  const char *why = "";
  Node *q, *scale;
  if (x->op == OP_DEQUANT) return false;
  str_printf(s, "operand %d is ", k);
  if (node_is_const(x)) {
    if (type_static(&c->t) && weight_codes(g, c, k, c->in, &q, &scale, &why)) {
      put_elem(s, q->t.e);
      str_put(s, " constants, ");
      put_scale(s, scale);
    } else
      str_printf(s, "float: %s", why);
    return true;
  }
  while ((x->op == OP_VIEW || x->op == OP_RESHAPE) && x->in[0]->op != OP_CONST) x = x->in[0];
  str_put(s, x->op == OP_ARG ? "a float input" : "float");
  if (x->op != OP_ARG) put_place(s, x);
  return true;
}

static Node *as_it_is(Rewrite *rw, const Node *old, Node *const *in) { (void)rw, (void)old, (void)in; return NULL; }

/* Weights are looked at in a copy: the graph stays as it is. */
void explain_recognize(Str *s, const Graph *old) {
  Graph *g = graph_rewrite((Graph *)(uintptr_t)old, as_it_is, NULL, NULL);
  for (int i = 0, n = g ? g->n_nodes : 0; i < n; i++) {
    const Node *c = g->nodes[i];
    if (c->op != OP_CONTRACT || c->a.scalar != S_MUL) continue;
    str_printf(s, "node %d ", c->loc.node);
    str_quoted(s, c->loc.name ? c->loc.name : "");
    if (elem_is_code(c->t.e)) {
      str_put(s, ": codes: ");
      put_codes(s, c->in[0]);
      str_put(s, " . ");
      put_codes(s, c->in[1]);
      str_put(s, " -> ");
      put_elem(s, c->t.e);
      const Node *scale = result_scale(g, c);
      if (scale) str_put(s, ", "), put_scale(s, scale);
    } else {
      str_put(s, ": float: ");
      bool any = false;
      for (int k = 0; k < c->n_in; k++) {
        Str one = {.ctx = s->ctx};
        if (put_reason(&one, g, c, k)) str_printf(s, "%s%s", any ? "; " : "", one.p), any = true;
        str_free(&one);
      }
      if (!any) str_put(s, "scales vary along what is summed, or codes are wider than 32 bits");
    }
    str_put(s, "\n");
  }
  graph_free(g);
}
