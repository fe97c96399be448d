/* infer: every rule of the verifier, and whether all dimensions are constants. */
#include "passes/pass.h"

static bool graph_is_static(const Graph *g) {
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (!type_static(&n->t)) return false;
    for (int k = 0; n->a.iters && k < n->a.iters->n_red; k++)
      if (n->a.iters->red[k].sym) return false;
  }
  return true;
}

Graph *pass_infer(Graph *g, const PassOptions *opt) {
  (void)opt;
  if (!graph_verify(g->ctx, g)) {
    graph_free(g);
    return NULL;
  }
  g->props |= P_TYPED | (graph_is_static(g) ? P_STATIC : 0);
  return g;
}
