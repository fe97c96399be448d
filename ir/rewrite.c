/* Rewriting: a new graph from the live nodes of an old one. */
#include "ir/graph.h"

/* Marks what outputs need and counts uses by live nodes and outputs. Nodes come after their inputs, so one sweep back does it. */
static void count_uses(const Graph *g, int *uses) {
  for (int i = 0; i < g->n_outs; i++) uses[g->outs[i].v->id]++;
  for (int i = g->n_nodes - 1; i >= 0; i--)
    if (uses[i]) for (int k = 0; k < g->nodes[i]->n_in; k++) uses[g->nodes[i]->in[k]->id]++;
}

Graph *graph_rewrite(Graph *old, RewriteRule *rule, void *user, int *changes) {
  Graph *g = graph_new(old->ctx, old->name, old->file);
  Arena *scratch = arena_new(old->ctx);
  Rewrite rw = {.old = old, .g = g, .user = user};
  rw.map = NEWN(scratch, Node *, old->n_nodes + 1);
  rw.uses = NEWN(scratch, int, old->n_nodes + 1);
  int errors = old->ctx->n_errors;
  count_uses(old, rw.uses);
  g->props = old->props;
  graph_facts_copy(g, old);
  for (int i = 0; i < old->n_syms; i++) graph_sym(g, old->syms[i]);
  for (int i = 0; i < old->n_args; i++) {
    g->at = old->args[i]->loc;
    rw.map[old->args[i]->id] = graph_arg(g, old->arg_names[i], &old->args[i]->t);
  }
  VEC(Node *) in = {0};
  for (int i = 0; i < old->n_nodes && old->ctx->n_errors == errors; i++) {
    const Node *n = old->nodes[i];
    if (n->op == OP_ARG || !rw.uses[i]) continue;
    in.n = 0;
    for (int k = 0; k < n->n_in; k++) vec_push(scratch, &in, rw.map[n->in[k]->id]);
    g->at = n->loc;
    Node *made = rule(&rw, n, in.p);
    if (old->ctx->n_errors != errors) break;
    rw.map[i] = made ? made : node_clone(g, n, in.p);
  }
  g->at = LOC_NONE;
  bool ok = old->ctx->n_errors == errors;
  for (int i = 0; ok && i < old->n_outs; i++) graph_out(g, old->outs[i].name, rw.map[old->outs[i].v->id]);
  if (changes) *changes += rw.changes;
  arena_free(scratch);
  if (ok) return g;
  graph_free(g);
  return NULL;
}
