/* dce: what nobody reads goes. graph_rewrite visits live nodes only, so keeping each is enough. */
#include "passes/pass.h"

static Node *keep(Rewrite *rw, const Node *old, Node *const *in) {
  (void)rw, (void)old, (void)in;
  return NULL;
}

Graph *pass_dce(Graph *old, const PassOptions *opt) {
  (void)opt;
  Graph *g = graph_rewrite(old, keep, NULL, NULL);
  graph_free(old);
  return g;
}
