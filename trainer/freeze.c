/* From a network in training to a graph for inference: parameters become constants, fake-quantized weights the codes that they stand
 * for, the image argument raw bytes (floats, where the data are). What the graph computes is what the trainer's forward pass with running statistics computes. */
#include "trainer/net_impl.h"

#include <string.h>

Node *param_const(Graph *g, const Param *p) {
  Tensor *t = tensor_new(g->ctx, &p->t);
  if (!t) ctx_fatal(g->ctx);
  memcpy(t->data, p->value, (size_t)p->n * sizeof(float));
  return node_const(g, t);
}

/* What depends on parameters alone becomes a constant; but codes stay codes, with their scales. */
static Node *folded(Graph *g, Node *n, Arena *scratch) {
  if (!n->n_in || n->op == OP_DEQUANT) return n;
  Tensor **in = NEWN(scratch, Tensor *, n->n_in);
  for (int k = 0; k < n->n_in; k++) {
    if (!node_is_const(n->in[k])) return n;
    in[k] = (Tensor *)(uintptr_t)n->in[k]->a.value;
  }
  Tensor *t = node_eval(g->ctx, n, in);
  return t ? node_const(g, t) : NULL;
}

static Node *keep(Rewrite *rw, const Node *old, Node *const *in) {
  (void)rw, (void)old, (void)in;
  return NULL;
}

Graph *net_freeze(const Net *net, const char *name, int64_t batch) {
  Graph *old = net_bind(net, batch, false), *g = graph_new(net->ctx, name, NULL);
  Arena *scratch = arena_new(net->ctx);
  int most = 1;
  for (int i = 0; i < old->n_nodes; i++) if (old->nodes[i]->n_in > most) most = old->nodes[i]->n_in;
  Node **map = NEWN(scratch, Node *, old->n_nodes + 1), **in = NEWN(scratch, Node *, most);
  bool ok = true;
  if (!batch) graph_sym(g, old->syms[0]);
  if (net->class_fact) graph_fact(g, "popshift.classes", net->class_fact);
  if (net->input_fact) graph_fact(g, "popshift.input", net->input_fact);
  for (int i = 0; i < old->n_args; i++) {
    Type t = old->args[i]->t;
    const Param *p = i ? &net->p[i - 1] : NULL;
    if (p) g->at.name = p->name;
    if (!p && !net->real) t.e = U8;
    map[old->args[i]->id] = p ? param_const(g, p) : node_cast(g, graph_arg(g, old->arg_names[i], &t), F32);
    g->at = LOC_NONE;
  }
  for (int i = 0; ok && i < old->n_nodes; i++) {
    const Node *n = old->nodes[i];
    if (n->op == OP_ARG) continue;
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k]->id];
    g->at = n->loc;
    map[i] = node_clone(g, n, in);
    map[i] = folded(g, map[i], scratch);
    ok = map[i] != NULL;
  }
  g->at = LOC_NONE;
  for (int i = 0; ok && i < old->n_outs; i++) graph_out(g, old->outs[i].name, map[old->outs[i].v->id]);
  arena_free(scratch);
  graph_free(old);
  Graph *live = ok ? graph_rewrite(g, keep, NULL, NULL) : NULL;
  graph_free(g);
  if (live && !graph_verify(net->ctx, live)) { graph_free(live); live = NULL; }
  return live;
}
