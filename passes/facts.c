/* What is known of the contracts of a graph after select. */
#include "passes/contract.h"
#include "passes/range.h"

int layer_facts(Arena *a, const Graph *g, const Target *t, LayerFact **facts) {
  VEC(LayerFact) v = {0};
  Ranges *ranges = ranges_new(a, g);
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    LayerFact f = {.n = n, .cycles = -1};
    if (n->op != OP_CONTRACT) continue;
    f.known = elem_is_code(n->t.e) && range_hull(ranges, n, &f.lo, &f.hi);
    if (t && n->a.scalar == S_MUL && candidates[n->a.kernel].cost && type_static(&n->t)) f.cycles = candidates[n->a.kernel].cost(n, t);
    vec_push(a, &v, f);
  }
  *facts = v.p;
  return v.n;
}
