/* Networks in training: their parameters, graphs bound to a batch, and the graph of one step. */
#include "trainer/net.h"

#include "trainer/diff.h"
#include "trainer/quantizer.h"

#include <assert.h>
#include <math.h>
#include <string.h>

Net *net_new(Ctx *ctx, const char *name, int classes) {
  Arena *arena = arena_new(ctx);
  Net *net = NEW(arena, Net);
  *net = (Net){.ctx = ctx, .arena = arena, .g = graph_new(ctx, name, NULL), .classes = classes};
  graph_sym(net->g, "N");
  return net;
}

void net_free(Net *net) {
  if (!net) return;
  graph_free(net->g);
  graph_free(net->plain);
  arena_free(net->arena);
}

const char *net_unique(Net *net, const char *base) {
  const char *name = base;
  for (int i = 2;; i++) {
    bool clash = !strcmp(name, "image") || !strcmp(name, "label");
    for (int p = 0; p < net->n_p; p++) clash = clash || !strcmp(net->p[p].name, name);
    if (!clash) return name;
    name = arena_printf(net->arena, "%s.%d", base, i);
  }
}

int net_param(Net *net, const char *name, ParamRole role, const Type *t) {
  if (net->n_p == net->cap_p) {
    int cap = net->cap_p ? 2 * net->cap_p : 64;
    net->p = arena_grow(net->arena, net->p, sizeof *net->p * (size_t)net->cap_p, sizeof *net->p * (size_t)cap);
    net->cap_p = cap;
  }
  Param *p = &net->p[net->n_p];
  *p = (Param){.name = arena_strdup(net->arena, name), .role = role, .t = *t, .grad_mul = 1, .decay_mul = role == PARAM_QUANT ? 0 : 1};
  bool known = type_count(t, &p->n);
  assert(known && elem_eq(t->e, F32));
  (void)known;
  p->value = arena_aligned(net->arena, (size_t)p->n * sizeof(float));
  return net->n_p++;
}

static Node *per_channel(Graph *g, const double *v, int n, int c) {
  Type t = type_make(F32, 3, (int64_t[]){c, 1, 1});
  Tensor *k = tensor_new(g->ctx, &t);
  if (!k) ctx_fatal(g->ctx);
  for (int i = 0; i < c; i++) tensor_set_f(k, i, v[n == 1 ? 0 : i]);
  return node_const(g, k);
}

Node *net_images(Net *net, const Recipe *r, int c, int h, int w) {
  const RecipeData *d = &r->data;
  double gain[RECIPE_CHANNELS], shift[RECIPE_CHANNELS];
  Loc loc = LOC_NONE;
  loc.file = r->file;
  if (c > RECIPE_CHANNELS || (d->n_mean > 1 && d->n_mean != c) || (d->n_std > 1 && d->n_std != c)) {
    diag(net->ctx, E0703, &loc, "mean and std take one number or one per channel; the images have %d", c);
    return NULL;
  }
  Type t = {.e = F32, .rank = 4, .d = {{-1, 1}, {c, 0}, {h, 0}, {w, 0}}};
  Node *x = graph_arg(net->g, "image", &t);
  for (int i = 0; i < c; i++) {
    double std = d->n_std ? d->std[d->n_std == 1 ? 0 : i] : 1;
    gain[i] = d->scale / std;
    shift[i] = d->n_mean ? d->mean[d->n_mean == 1 ? 0 : i] / std : 0;
  }
  net->g->at = LOC_NONE;
  net->g->at.name = "normalize";
  x = node_map2(net->g, S_MUL, x, per_channel(net->g, gain, c, c));
  return d->n_mean ? node_map2(net->g, S_SUB, x, per_channel(net->g, shift, c, c)) : x;
}

/* Binding */

typedef enum BindBn { BN_KEEP, BN_SPELL, BN_BATCH } BindBn;
typedef struct Bind { Dim n; BindBn bn; bool surrogates; } Bind; /* bn stays, becomes maps, or bn_train; straight stays or is its value */

static Dim bound(const Bind *b, Dim d) { return d.sym ? b->n : d; }

/* A node over new operands with the batch in place of the symbol. */
static Node *bind_node(Graph *g, const Node *old, Node *const *in, const Bind *b) {
  Type t = old->t;
  Attr a = old->a;
  Iters it;
  for (int i = 0; i < t.rank; i++) t.d[i] = bound(b, t.d[i]);
  if (a.iters) {
    it = *a.iters;
    for (int i = 0; i < it.n_red; i++) it.red[i] = bound(b, it.red[i]);
    a.iters = &it;
  }
  if (b->bn == BN_SPELL && old->op == OP_BN) return node_bn_spelled(g, in, a.fill);
  if (!b->surrogates && old->op == OP_STRAIGHT) return in[0];
  if (b->bn == BN_BATCH && old->op == OP_BN) return node_new(g, OP_BN_TRAIN, &t, 3, in, &a, &old->loc);
  return node_new(g, (Op)old->op, &t, old->n_in, in, &a, &old->loc);
}

/* Nodes of the net in a new graph; map: by old id. */
static Graph *bind_graph(const Net *net, const Bind *b, Node **map, Arena *scratch) {
  Graph *g = graph_new(net->ctx, net->g->name, NULL);
  if (b->n.sym) graph_sym(g, net->g->syms[0]);
  for (int i = 0; i < net->g->n_args; i++) {
    Type t = net->g->args[i]->t;
    for (int k = 0; k < t.rank; k++) t.d[k] = bound(b, t.d[k]);
    map[net->g->args[i]->id] = graph_arg(g, net->g->arg_names[i], &t);
  }
  for (int i = 0; i < net->g->n_nodes; i++) {
    const Node *n = net->g->nodes[i];
    if (n->op == OP_ARG) continue;
    Node **in = NEWN(scratch, Node *, n->n_in + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k]->id];
    map[i] = bind_node(g, n, in, b);
  }
  return g;
}

Graph *net_bind(const Net *net, int64_t batch, bool spell_bn) {
  Arena *scratch = arena_new(net->ctx);
  Node **map = NEWN(scratch, Node *, net->g->n_nodes + 1);
  Graph *g = bind_graph(net, &(Bind){batch ? dim_c(batch) : (Dim){-1, 1}, spell_bn ? BN_SPELL : BN_KEEP, false}, map, scratch);
  for (int i = 0; i < net->g->n_outs; i++) graph_out(g, net->g->outs[i].name, map[net->g->outs[i].v->id]);
  arena_free(scratch);
  return g;
}

/* The step */

/* Cross-entropy of softmax, and its gradient by the logits: loss = top + log(sum exp(y - top)) - y[label], dy = (softmax - onehot)/total. */
static void add_loss(TrainGraph *t, Node *y, Node *label, int64_t total, Node **seed) {
  Graph *g = t->g;
  Type k = type_make(I64, 2, (int64_t[]){1, y->t.d[1].n});
  Tensor *iota = tensor_new(g->ctx, &k);
  if (!iota) ctx_fatal(g->ctx);
  for (int64_t i = 0; i < iota->n; i++) tensor_set_i(iota, i, i);
  g->at = LOC_NONE;
  g->at.name = "loss";
  Node *hot = node_cast(g, node_map2(g, S_EQ, node_const(g, iota), label), F32);
  Node *top = node_reduce_axes(g, S_MAX, y, 2, true), *below = node_map2(g, S_SUB, y, top), *e = node_map1(g, S_EXP, below);
  Node *sum = node_reduce_axes(g, S_ADD, e, 2, true), *mine = node_reduce_axes(g, S_ADD, node_map2(g, S_MUL, below, hot), 2, true);
  Type pick = type_make(I64, 2, (int64_t[]){y->t.d[0].n, 1});
  Node *best = node_new(g, OP_ARGREDUCE, &pick, 1, &y, &(Attr){.scalar = S_MAX, .axis = 1}, NULL);
  t->out_loss = g->n_outs;
  graph_out(g, "loss", node_map2(g, S_SUB, node_map1(g, S_LOG, sum), mine));
  t->out_correct = g->n_outs;
  graph_out(g, "correct", node_cast(g, node_map2(g, S_EQ, best, label), F32));
  *seed = node_map2(g, S_DIV, node_map2(g, S_SUB, node_map2(g, S_DIV, e, sum), hot), node_const_f(g, F32, (double)total));
}

static void add_gauges(const Net *net, TrainGraph *t, Node *const *map) {
  for (int i = 0; i < net->n_gauge; i++) {
    const Gauge *k = &net->gauge[i];
    t->out_gauge[k->p] = t->g->n_outs;
    graph_out(t->g, arena_printf(t->g->arena, "shard's %s", net->p[k->p].name), map[k->node]);
  }
}

/* Statistics of every bn_train, as outputs of the parameters that hold them. */
static void add_statistics(const Net *net, TrainGraph *t, Node *const *map) {
  for (int i = 0; i < net->g->n_nodes; i++) {
    const Node *n = net->g->nodes[i];
    if (n->op != OP_BN) continue;
    Node *x = map[i];
    for (int flag = 1; flag < 3; flag++) {
      int p = n->in[2 + flag]->op == OP_ARG ? n->in[2 + flag]->a.index - 1 : -1;
      if (p < 0) continue;
      (flag == 1 ? t->out_mean : t->out_var)[p] = t->g->n_outs;
      Node *s = node_new(t->g, OP_BN_TRAIN, &n->in[2 + flag]->t, 3, x->in, &(Attr){.fill = n->a.fill, .flag = flag}, NULL);
      graph_out(t->g, arena_printf(t->g->arena, "batch %s", net->p[p].name), s);
    }
  }
}

static Node *take_value(Rewrite *rw, const Node *old, Node *const *in) {
  (void)rw;
  return old->op == OP_STRAIGHT ? in[0] : NULL;
}

bool net_train_graph(const Net *net, int64_t batch, int64_t total, bool running, Arena *arena, TrainGraph *t) {
  Arena *scratch = arena_new(net->ctx);
  Node **map = NEWN(scratch, Node *, net->g->n_nodes + 1), *seed;
  *t = (TrainGraph){.g = bind_graph(net, &(Bind){dim_c(batch), running ? BN_SPELL : BN_BATCH, true}, map, scratch)};
  t->out_grad = NEWN(arena, int, net->n_p + 1), t->out_mean = NEWN(arena, int, net->n_p + 1), t->out_var = NEWN(arena, int, net->n_p + 1), t->out_gauge = NEWN(arena, int, net->n_p + 1);
  for (int i = 0; i < net->n_p; i++) t->out_grad[i] = t->out_mean[i] = t->out_var[i] = t->out_gauge[i] = -1;
  Type lt = type_make(I64, 2, (int64_t[]){batch, 1});
  Node *y = map[net->g->outs[0].v->id];
  add_loss(t, y, graph_arg(t->g, "label", &lt), total, &seed);
  if (!running) add_statistics(net, t, map);
  add_gauges(net, t, map);
  Node **wrt = NEWN(scratch, Node *, net->n_p + 1), **grad = NEWN(scratch, Node *, net->n_p + 1);
  int n = 0;
  for (int i = 0; i < net->n_p; i++) if (param_is_trained(&net->p[i])) wrt[n++] = t->g->args[1 + i];
  bool ok = graph_vjp(t->g, y, seed, wrt, n, grad);
  for (int i = 0, k = 0; ok && i < net->n_p; i++) {
    if (!param_is_trained(&net->p[i])) continue;
    Node *d = grad[k++];
    if (!d) continue;
    t->out_grad[i] = t->g->n_outs;
    graph_out(t->g, arena_printf(t->g->arena, "gradient of %s", net->p[i].name), d);
  }
  ok = ok && graph_verify(net->ctx, t->g);
  arena_free(scratch);
  Graph *plain = ok ? graph_rewrite(t->g, take_value, NULL, NULL) : NULL; /* derivatives are there: surrogates have done their part */
  graph_free(t->g);
  t->g = plain;
  return plain != NULL;
}

/* mean x, mean x^2, mean |x|, min x, max x as one vector. */
static Node *act_stats(Graph *g, Node *x) {
  int64_t n;
  type_count(&x->t, &n);
  uint32_t all = (1u << x->t.rank) - 1;
  Node *count = node_const_f(g, F32, (double)n), *of[ACT_STATS] = {x, node_map2(g, S_MUL, x, x), node_map1(g, S_ABS, x)};
  for (int i = 0; i < 3; i++) of[i] = node_map2(g, S_DIV, node_reduce_axes(g, S_ADD, of[i], all, false), count);
  of[3] = node_reduce_axes(g, S_MIN, x, all, false), of[4] = node_reduce_axes(g, S_MAX, x, all, false);
  for (int i = 0; i < ACT_STATS; i++) of[i] = node_reshape(g, of[i], 1, (Dim[]){dim_c(1)});
  return node_concat(g, ACT_STATS, of, 0);
}

Graph *net_calibration_graph(const Net *net, int64_t batch) {
  Arena *scratch = arena_new(net->ctx);
  Node **map = NEWN(scratch, Node *, net->g->n_nodes + 1);
  Graph *g = bind_graph(net, &(Bind){dim_c(batch), BN_BATCH, false}, map, scratch);
  for (int i = 0; i < net->n_site; i++)
    if (!net->site[i].weight) graph_out(g, arena_printf(g->arena, "input of %s", net->site[i].layer), act_stats(g, map[net->site[i].x]));
  arena_free(scratch);
  return g;
}
