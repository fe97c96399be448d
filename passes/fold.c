/* fold: what has only constant inputs is evaluated, up to limits.fold bytes. Until recognize has run, a dequantized constant stays
 * where a contract, a movement or an output may want its codes. */
#include "passes/pass.h"

static Node *fold_rule(Rewrite *rw, const Node *old, Node *const *in) {
  const bool *element_wise = rw->user;
  int64_t n;
  Tensor *v[4096];
  if (old->n_in == 0 || old->n_in > 4096) return NULL;
  for (int i = 0; i < old->n_in; i++) {
    if (!node_is_const(in[i])) return NULL;
    v[i] = (Tensor *)(uintptr_t)in[i]->a.value;
  }
  if (old->op == OP_DEQUANT && !element_wise[old->id] && !(rw->old->props & P_RECOGNIZED)) return NULL;
  if (!type_count(&old->t, &n) || n > rw->g->ctx->limits.fold / (int64_t)store_size(elem_store(old->t.e))) return NULL;
  bool movement = old->op == OP_GATHER || old->op == OP_VIEW || old->op == OP_RESHAPE;
  if (movement && rw->old->props & P_SELECTED && n / 2 > in[0]->a.value->n) return NULL; /* layout's tables stay small */
  Tensor *y = node_eval(rw->g->ctx, old, v);
  if (!y) return NULL;
  rw->changes++;
  return node_const(rw->g, y);
}

/* [id]: every user is a map, a quant, or a scale or zero point. */
static void find_users(const Graph *g, bool *element_wise) {
  for (int i = 0; i < g->n_nodes; i++) element_wise[i] = true;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    for (int k = 0; k < n->n_in; k++)
      if (n->op != OP_MAP && n->op != OP_QUANT && !(n->op == OP_DEQUANT && k > 0)) element_wise[n->in[k]->id] = false;
  }
  for (int i = 0; i < g->n_outs; i++) element_wise[g->outs[i].v->id] = false;
}

Graph *pass_fold(Graph *old, const PassOptions *opt) {
  Arena *scratch = arena_new(old->ctx);
  bool *element_wise = NEWN(scratch, bool, old->n_nodes + 1);
  int changes = 0;
  (void)opt;
  find_users(old, element_wise);
  Graph *g = graph_rewrite(old, fold_rule, element_wise, &changes);
  arena_free(scratch);
  graph_free(old);
  return g;
}
