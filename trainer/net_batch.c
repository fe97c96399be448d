/* A graph for one image becomes one for N: the leading dimension of 1 of its input is followed through the graph, and where it goes the symbol stands. */
#include "trainer/net.h"

#include <string.h>

typedef struct Free { Graph *g; Arena *scratch; Node **map; int *at; /* by old id: the dimension that is the batch, -1 none */ } Free;

static const Dim symbol = {-1, 1};

/* Which dimension of n it becomes: -1 where nothing of the batch comes in, -2 where images would be mixed, or it is not known.
 * Element-wise: operands are aligned at their last dimensions. */
static int of_elements(const Free *f, const Node *n) {
  int at = -1;
  for (int k = 0; k < n->n_in; k++) {
    int was = f->at[n->in[k]->id];
    if (was < 0) continue;
    was += n->t.rank - n->in[k]->t.rank;
    if (at >= 0 && was != at) return -2;
    at = was;
  }
  for (int k = 0; at >= 0 && k < n->n_in; k++) { /* what has no batch must repeat over it */
    int d = at - (n->t.rank - n->in[k]->t.rank);
    if (f->at[n->in[k]->id] < 0 && d >= 0 && n->in[k]->t.d[d].n != 1) return -2;
  }
  return at;
}

/* An output iterator reads it and nothing else of more than one step; acc: the accesses, mended so that operands without a batch do not move with it. */
static int of_accesses(const Free *f, const Node *n, Affine acc[3][MAX_RANK]) {
  int at = -1;
  for (int k = 0; k < n->n_in; k++) {
    memcpy(acc[k], n->a.iters->acc[k], sizeof(Affine) * n->in[k]->t.rank);
    int was = f->at[n->in[k]->id], it = -1;
    if (was < 0) continue;
    Affine *a = &acc[k][was];
    for (int i = 0; i < MAX_ITERS; i++) {
      if (!a->coef[i]) continue;
      if (it >= 0 || i >= n->t.rank || a->coef[i] != 1) return -2;
      it = i;
    }
    if (it < 0) it = 0, a->coef[0] = 1; /* the only index that there was */
    if (a->base || a->div != 1 || n->t.rank < 1 || n->t.d[it].n != 1 || (at >= 0 && at != it)) return -2;
    at = it;
  }
  for (int k = 0; at >= 0 && k < n->n_in; k++)
    for (int d = 0; d < n->in[k]->t.rank; d++) if (d != f->at[n->in[k]->id]) acc[k][d].coef[at] = 0;
  return at;
}

/* The first dimension of 1 with as many elements before it. */
static int of_reshape(const Free *f, const Node *n) {
  int was = f->at[n->in[0]->id];
  int64_t before = 1, product = 1;
  for (int d = 0; d < was; d++) before *= n->in[0]->t.d[d].n;
  if (was < 0) return -1;
  for (int d = 0; d < n->t.rank; product *= n->t.d[d++].n) if (product == before && n->t.d[d].n == 1) return d;
  return -2;
}

static int of_axis(const Free *f, const Node *n) {
  int at = f->at[n->in[0]->id];
  for (int k = 1; k < n->n_in && n->op == OP_CONCAT; k++) if (f->at[n->in[k]->id] != at) return -2;
  if (n->op == OP_GATHER && f->at[n->in[1]->id] >= 0) return -2;
  if (at >= 0 && at == n->a.axis) return -2;
  return n->op == OP_GATHER && at > n->a.axis ? at + n->in[1]->t.rank - 1 : at;
}

static bool free_node(Free *f, const Node *n) {
  Type t = n->t;
  Attr a = n->a;
  Iters it;
  Node **in = NEWN(f->scratch, Node *, n->n_in + 1);
  Affine acc[3][MAX_RANK];
  int at = -1;
  for (int k = 0; k < n->n_in; k++) in[k] = f->map[n->in[k]->id];
  switch (n->op) {
  case OP_CONST: break;
  case OP_MAP: case OP_QUANT: case OP_DEQUANT: at = of_elements(f, n); break;
  case OP_VIEW: case OP_REDUCE: case OP_CONTRACT:
    at = of_accesses(f, n, acc);
    it = *n->a.iters;
    for (int k = 0; k < n->n_in; k++) it.acc[k] = acc[k];
    a.iters = &it;
    break;
  case OP_RESHAPE: at = of_reshape(f, n); break;
  case OP_CONCAT: case OP_GATHER: case OP_CUM: case OP_ARGREDUCE: at = of_axis(f, n); break;
  case OP_BN: at = f->at[n->in[0]->id]; break;
  default:
    for (int k = 0; k < n->n_in; k++) if (f->at[n->in[k]->id] >= 0) at = -2;
  }
  if (at < -1) return false;
  if (at >= 0) t.d[at] = symbol;
  f->at[n->id] = at;
  f->map[n->id] = node_new(f->g, (Op)n->op, &t, n->n_in, in, &a, &n->loc);
  return true;
}

Graph *net_free_batch(Ctx *ctx, Graph *old) {
  Arena *scratch = arena_new(ctx);
  Free f = {graph_new(ctx, old->name, NULL), scratch, NEWN(scratch, Node *, old->n_nodes + 1), NEWN(scratch, int, old->n_nodes + 1)};
  bool ok = true;
  graph_sym(f.g, "N");
  f.g->file = old->file;
  for (int i = 0; i < old->n_args; i++) {
    Type t = old->args[i]->t;
    t.d[0] = symbol;
    f.map[old->args[i]->id] = graph_arg(f.g, old->arg_names[i], &t);
  }
  for (int i = 0; ok && i < old->n_nodes; i++)
    if (old->nodes[i]->op != OP_ARG && !(ok = free_node(&f, old->nodes[i])))
      diag(ctx, E0302, &old->nodes[i]->loc, "the model is for one image, and with more of them %s would mix them: export it with a symbolic first dimension", op_info[old->nodes[i]->op].name);
  for (int i = 0; ok && i < old->n_outs; i++) graph_out(f.g, old->outs[i].name, f.map[old->outs[i].v->id]);
  ok = ok && graph_verify(ctx, f.g);
  arena_free(scratch);
  graph_free(old);
  if (ok) return f.g;
  graph_free(f.g);
  return NULL;
}
