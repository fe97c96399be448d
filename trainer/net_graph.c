/* A float graph from elsewhere as a network: constants that contractions, additions and bn read become its parameters. One that takes
 * bytes (as frozen networks do) normalizes them itself; for one that takes floats the recipe's normalization is put in front. */
#include "trainer/net.h"

#include <string.h>

/* How a constant is used: the role that it gets, or -1. */
static int role_of(const Node *n, int k) {
  const Node *c = n->in[k];
  if (!node_is_const(c) || !elem_eq(c->t.e, F32) || !c->a.value->n) return -1;
  if (n->op == OP_CONTRACT && n->a.scalar == S_MUL) return PARAM_WEIGHT;
  if (n->op == OP_BN && k) return k < 3 ? PARAM_VECTOR : PARAM_STAT;
  if (n->op == OP_MAP && n->a.scalar == S_ADD && c->a.value->n > 1) return PARAM_VECTOR;
  return -1;
}

static bool wrong(const Net *net, const Graph *g, const char *what) {
  return diag(net->ctx, E0702, &(Loc){.file = g->file, .line = -1, .node = -1}, "not a classifier of images: %s", what);
}

static bool check_ports(const Net *net, const Graph *g, int c, int h, int w) {
  if (g->n_args != 1) return wrong(net, g, "it has more inputs than one, or none");
  const Type *t = &g->args[0]->t;
  if (t->rank != 4 || (!elem_eq(t->e, F32) && !elem_eq(t->e, U8))) return wrong(net, g, "its input is not f32[N,C,H,W] or u8[N,C,H,W]");
  if (t->d[1].n != c || t->d[2].n != h || t->d[3].n != w) return wrong(net, g, "the data's images do not have its input's size");
  if (!t->d[0].sym && t->d[0].n != NET_BATCH && t->d[0].n != 1) return wrong(net, g, "the batch is fixed; export it with a symbolic first dimension");
  if (g->n_outs != 1 || g->outs[0].v->t.rank != 2 || !elem_eq(g->outs[0].v->t.e, F32)) return wrong(net, g, "its output is not f32[N,classes]");
  if (g->outs[0].v->t.d[1].n != net->classes) return wrong(net, g, "its classes are not the data's");
  return true;
}

static const char *param_name(Net *net, const Node *c, const Node *user, int role) {
  static const char *const what[] = {[PARAM_WEIGHT] = "weight", [PARAM_VECTOR] = "bias", [PARAM_STAT] = "stat"};
  if (c->loc.name && *c->loc.name) return net_unique(net, c->loc.name);
  return net_unique(net, arena_printf(net->arena, "%s.%s", user->loc.name && *user->loc.name ? user->loc.name : "layer", what[role]));
}

/* A softmax at the end, exp(y - max) / sum: the logits y. The loss has a softmax of its own. */
static const Node *logits_of(const Net *net, const Graph *g) {
  const Node *y = g->outs[0].v;
  if (!node_is_map(y, S_DIV) || !node_is_map(y->in[0], S_EXP) || !node_is_map(y->in[0]->in[0], S_SUB)) return y;
  const Node *sum = y->in[1], *logits = y->in[0]->in[0]->in[0];
  if (sum->op != OP_REDUCE || sum->a.scalar != S_ADD || sum->in[0] != y->in[0] || !type_eq(&logits->t, &y->t)) return y;
  diag_warn(net->ctx, E0802, &y->loc, "the softmax at the end is left out: the loss has its own, and the greatest logit is the same");
  return logits;
}

/* NET_BATCH as the symbol; false where a dimension mixes it with others. */
static bool free_batch(Type *t) {
  for (int i = 0; i < t->rank; i++) {
    if (!t->d[i].sym && t->d[i].n == NET_BATCH) t->d[i] = (Dim){-1, 1};
    if (!t->d[i].sym && t->d[i].n && t->d[i].n % NET_BATCH == 0) return false;
  }
  return true;
}

static Node *with_free_batch(Net *net, const Node *n, Node *const *in) {
  Type t = n->t;
  Attr a = n->a;
  Iters it;
  bool ok = free_batch(&t) && (n->op != OP_CONST || type_eq(&t, &n->t));
  if (a.iters) {
    it = *a.iters;
    for (int i = 0; i < it.n_red; i++) ok = ok && (it.red[i].sym || it.red[i].n % NET_BATCH || !it.red[i].n); /* no sums over the batch */
    for (int k = 0; k < n->n_in; k++)
      for (int d = 0; d < n->in[k]->t.rank; d++) ok = ok && (it.acc[k][d].base % NET_BATCH || !it.acc[k][d].base); /* nor turned round */
    a.iters = &it;
  }
  if (ok) return node_new(net->g, (Op)n->op, &t, n->n_in, in, &a, &n->loc);
  diag(net->ctx, E0302, &n->loc, "%s mixes the images of a batch", op_info[n->op].name);
  return NULL;
}

Net *net_of_graph(Ctx *ctx, Graph *old, const Recipe *r, int c, int h, int w) {
  Net *net = net_new(ctx, old->name, (int)r->net.classes);
  bool ok = check_ports(net, old, c, h, w);
  if (ok && !old->args[0]->t.d[0].sym && old->args[0]->t.d[0].n == 1) ok = (old = net_free_batch(ctx, old)) != NULL;
  if (!old) { net_free(net); return NULL; }
  Arena *scratch = arena_new(ctx);
  bool bytes = ok && elem_eq(old->args[0]->t.e, U8);
  Node **map = NEWN(scratch, Node *, old->n_nodes + 1), **weight = NEWN(scratch, Node *, old->n_nodes + 1), *x = ok ? net_images(net, r, c, h, w) : NULL;
  ok = ok && x;
  if (ok && bytes) x = net->g->args[0];
  if (ok && bytes && (r->data.scale != 1 || r->data.n_mean || r->data.n_std))
    diag_warn(ctx, E0802, &(Loc){.file = old->file, .line = -1, .node = -1}, "the model takes bytes and normalizes them itself: the recipe's scale, mean and std are not used");
  if (ok) map[old->args[0]->id] = x;
  Graph *g = net->g;
  for (int i = 0; ok && i < old->n_nodes; i++) {
    const Node *n = old->nodes[i];
    if (n->op == OP_ARG) continue;
    Node **in = NEWN(scratch, Node *, n->n_in + 1);
    g->at = n->loc;
    for (int k = 0; k < n->n_in; k++) {
      int role = role_of(n, k);
      uint32_t id = n->in[k]->id;
      in[k] = role == PARAM_WEIGHT && weight[id] ? weight[id] : map[id]; /* weights may be shared; equal constants of other roles are not one parameter */
      if (role < 0 || (role == PARAM_WEIGHT && weight[id])) continue;
      int p = net_param(net, param_name(net, n->in[k], n, role), (ParamRole)role, &n->in[k]->t);
      memcpy(net->p[p].value, n->in[k]->a.value->data, (size_t)net->p[p].n * sizeof(float));
      in[k] = graph_arg(g, net->p[p].name, &n->in[k]->t);
      if (role == PARAM_WEIGHT) weight[id] = in[k];
    }
    if (bytes && node_is_map(n, S_CAST) && elem_eq(in[0]->t.e, n->t.e)) map[i] = in[0];
    else map[i] = with_free_batch(net, n, in);
    ok = map[i] != NULL;
  }
  if (ok) graph_out(g, "logits", map[logits_of(net, old)->id]);
  arena_free(scratch);
  graph_free(old);
  if (ok) return net;
  net_free(net);
  return NULL;
}
