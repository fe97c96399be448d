/* Networks in training: their parameters, graphs bound to a batch, and the graph of one step. */
#include "trainer/net_impl.h"

#include "trainer/diff.h"
#include "trainer/extras.h"
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
  net_free(net->teacher);
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

Param *net_param_room(Net *net) {
  if (net->n_p == net->cap_p) {
    int cap = net->cap_p ? 2 * net->cap_p : 64;
    net->p = arena_grow(net->arena, net->p, sizeof *net->p * (size_t)net->cap_p, sizeof *net->p * (size_t)cap);
    net->cap_p = cap;
  }
  return &net->p[net->n_p];
}

int net_param(Net *net, const char *name, ParamRole role, const Type *t) {
  Param *p = net_param_room(net);
  *p = (Param){.name = arena_strdup(net->arena, name), .role = role, .t = *t, .grad_mul = 1, .decay_mul = role == PARAM_QUANT ? 0 : 1};
  bool known = type_count(t, &p->n);
  assert(known && elem_eq(t->e, F32));
  (void)known;
  p->value = arena_aligned(net->arena, (size_t)p->n * sizeof(float));
  return net->n_p++;
}

void net_tap(Net *net, const Node *x, bool block) {
  Tap t = {(int)x->id, (int)x->id, block};
  if (x->t.rank != 4) return;
  if (net->tap.n && net->tap.p[net->tap.n - 1].node == t.node) net->tap.p[net->tap.n - 1].block |= block;
  else vec_push(net->arena, &net->tap, t);
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

static Dim bound(const Bind *b, Dim d) { return d.sym ? b->n : d; }

Node *bind_node(Graph *g, const Node *old, Node *const *in, const Bind *b) {
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

/* The net's arguments in a new graph; map: by old id. */
static Graph *bind_args(const Net *net, const Bind *b, Node **map) {
  Graph *g = graph_new(net->ctx, net->g->name, NULL);
  if (b->n.sym) graph_sym(g, net->g->syms[0]);
  for (int i = 0; i < net->g->n_args; i++) {
    Type t = net->g->args[i]->t;
    for (int k = 0; k < t.rank; k++) t.d[k] = bound(b, t.d[k]);
    map[net->g->args[i]->id] = graph_arg(g, net->g->arg_names[i], &t);
  }
  return g;
}

/* And its nodes; of a step's graph (else NULL) quantizers may be left out. */
static void bind_nodes(Graph *g, const Net *net, const Bind *b, Node **map, Arena *scratch, const Step *step) {
  for (int i = 0; i < net->g->n_nodes; i++) {
    const Node *n = net->g->nodes[i];
    if (n->op == OP_ARG) continue;
    Node **in = NEWN(scratch, Node *, n->n_in + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k]->id];
    map[i] = bind_node(g, n, in, b);
    if (step) map[i] = extras_precision(step, i, map[i], map);
  }
}

static Graph *bind_graph(const Net *net, const Bind *b, Node **map, Arena *scratch) {
  Graph *g = bind_args(net, b, map);
  bind_nodes(g, net, b, map, scratch, NULL);
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

void step_add(Step *s, Node *loss, double weight, Node *y, Node *dy) {
  if (weight != 1) loss = node_map2(s->g, S_MUL, loss, node_const_f(s->g, F32, weight));
  s->objective = s->objective ? node_map2(s->g, S_ADD, s->objective, loss) : loss;
  vec_push(s->scratch, &s->y, y);
  vec_push(s->scratch, &s->dy, dy);
}

/* With e = exp(y - top): loss = log(sum e) - sum target (y - top), dy = (e / sum e - target) weight / total. */
void step_cross_entropy(Step *s, Node *y, double weight) {
  Graph *g = s->g;
  g->at = LOC_NONE;
  g->at.name = "loss";
  Node *top = node_reduce_axes(g, S_MAX, y, 2, true), *below = node_map2(g, S_SUB, y, top), *e = node_map1(g, S_EXP, below);
  Node *sum = node_reduce_axes(g, S_ADD, e, 2, true), *mine = node_reduce_axes(g, S_ADD, node_map2(g, S_MUL, below, s->target), 2, true);
  Node *dy = node_map2(g, S_DIV, node_map2(g, S_SUB, node_map2(g, S_DIV, e, sum), s->target), node_const_f(g, F32, (double)s->total / weight));
  step_add(s, node_map2(g, S_SUB, node_map1(g, S_LOG, sum), mine), weight, y, dy);
}

/* The one-hot labels, smoothed where the recipe says so; the loss; and whether the first greatest logit is the label's. */
static void add_loss(Step *s, TrainGraph *t, Node *y, Node *label) {
  Graph *g = t->g;
  Type k = type_make(I64, 2, (int64_t[]){1, y->t.d[1].n});
  Tensor *iota = tensor_new(g->ctx, &k);
  double smooth = s->net->extras ? s->net->extras->label_smoothing : 0;
  if (!iota) ctx_fatal(g->ctx);
  for (int64_t i = 0; i < iota->n; i++) tensor_set_i(iota, i, i);
  g->at = LOC_NONE;
  g->at.name = "loss";
  s->target = node_cast(g, node_map2(g, S_EQ, node_const(g, iota), label), F32);
  if (smooth > 0) s->target = node_map2(g, S_ADD, node_map2(g, S_MUL, s->target, node_const_f(g, F32, 1 - smooth)), node_const_f(g, F32, smooth / (double)k.d[1].n));
  Type pick = type_make(I64, 2, (int64_t[]){y->t.d[0].n, 1});
  Node *best = node_new(g, OP_ARGREDUCE, &pick, 1, &y, &(Attr){.scalar = S_MAX, .axis = 1}, NULL);
  t->out_loss = g->n_outs;
  step_cross_entropy(s, y, 1);
  graph_out(g, "loss", s->objective);
  t->out_correct = g->n_outs;
  graph_out(g, "correct", node_cast(g, node_map2(g, S_EQ, best, label), F32));
}

/* Statistics of every bn_train, and sums for quantizers, as outputs of the parameters that hold them. */
static void add_statistics(const Step *s, TrainGraph *t) {
  const Net *net = s->net;
  for (int i = 0; i < s->bn.n; i++) {
    Node *x = s->bn.p[i].bn;
    for (int flag = 1; flag < 3; flag++) {
      int p = flag == 1 ? s->bn.p[i].mean : s->bn.p[i].var;
      if (p < 0) continue;
      (flag == 1 ? t->out_mean : t->out_var)[p] = t->g->n_outs;
      Node *v = node_new(t->g, OP_BN_TRAIN, &net->p[p].t, 3, x->in, &(Attr){.fill = x->a.fill, .flag = flag}, NULL);
      graph_out(t->g, arena_printf(t->g->arena, "batch %s", net->p[p].name), v);
    }
  }
  for (int i = 0; i < net->stat.n; i++) {
    int p = net->stat.p[i].p;
    t->out_sum[p] = t->g->n_outs;
    graph_out(t->g, arena_printf(t->g->arena, "sums for %s", net->p[p].name), s->map[net->stat.p[i].node]);
  }
}

static Node *take_value(Rewrite *rw, const Node *old, Node *const *in) {
  (void)rw;
  return old->op == OP_STRAIGHT ? in[0] : NULL;
}

/* Arguments, the forward pass and the losses. */
static void build_step(Step *s, TrainGraph *t, int64_t batch) {
  Net *net = s->net;
  Graph *g = t->g = s->g = bind_args(net, &s->bind, s->map);
  Type one = type_make(F32, 1, (int64_t[]){1}), lt = type_make(I64, 2, (int64_t[]){batch, 1});
  for (int i = s->make ? net->n_p : net->n_p - net->n_aux; i < net->n_p; i++) graph_arg(g, net->p[i].name, &net->p[i].t);
  t->arg_precision = g->n_args;
  if (net->ssp) t->n_precision = 2 * net_fragments(net, net->ssp->layers, NEWN(s->scratch, int, net->n_site + 1));
  if (t->n_precision) s->rounded = NEWN(s->scratch, Node *, t->n_precision);
  for (int k = 0; k < t->n_precision; k++) s->rounded[k] = graph_arg(g, arena_printf(g->arena, "rounded %d", k), &one);
  Node *label = graph_arg(g, "label", &lt);
  for (int k = 0; k < t->n_precision; k++) s->rounded[k] = node_map2(g, S_LT, node_const_f(g, F32, 0.5), s->rounded[k]);
  bind_nodes(g, net, &s->bind, s->map, s->scratch, s);
  for (int i = 0; i < net->g->n_nodes; i++) {
    const Node *n = net->g->nodes[i];
    BatchNorm bn = {s->map[i], -1, -1};
    if (n->op != OP_BN || s->bind.bn != BN_BATCH) continue;
    if (n->in[3]->op == OP_ARG) bn.mean = n->in[3]->a.index - 1;
    if (n->in[4]->op == OP_ARG) bn.var = n->in[4]->a.index - 1;
    vec_push(s->scratch, &s->bn, bn);
  }
  add_loss(s, t, s->map[net->g->outs[0].v->id], label);
  t->out_objective = t->out_loss;
  if (net->extras) extras_build(s);
  if (s->y.n == 1) return;
  t->out_objective = g->n_outs;
  graph_out(g, "objective", s->objective);
}

static Step step_of(Net *net, int64_t batch, int64_t total, bool running, Arena *scratch) {
  return (Step){.net = net, .next = net->n_p - net->n_aux, .bind = {dim_c(batch), running ? BN_SPELL : BN_BATCH, true}, .map = NEWN(scratch, Node *, net->g->n_nodes + 1),
                .total = total, .scratch = scratch};
}

void net_make_extras(Net *net) {
  Arena *scratch = arena_new(net->ctx);
  TrainGraph t = {0};
  Step s = step_of(net, 1, 1, false, scratch);
  s.make = true;
  build_step(&s, &t, 1);
  graph_free(t.g);
  arena_free(scratch);
}

bool net_train_graph(const Net *net, int64_t batch, int64_t total, bool running, Arena *arena, TrainGraph *t) {
  Arena *scratch = arena_new(net->ctx);
  Step s = step_of((Net *)(uintptr_t)net, batch, total, running, scratch); /* which it changes only where it makes parameters */
  *t = (TrainGraph){0};
  build_step(&s, t, batch);
  int **outs[] = {&t->out_grad, &t->out_mean, &t->out_var, &t->out_sum};
  for (int k = 0; k < 4; k++) {
    *outs[k] = NEWN(arena, int, net->n_p + 1);
    for (int i = 0; i < net->n_p; i++) (*outs[k])[i] = -1;
  }
  add_statistics(&s, t);
  Node **wrt = NEWN(scratch, Node *, net->n_p + 1), **grad = NEWN(scratch, Node *, net->n_p + 1);
  int n = 0;
  for (int i = 0; i < net->n_p; i++) if (param_is_trained(&net->p[i])) wrt[n++] = t->g->args[1 + i];
  bool ok = graph_vjp_sum(t->g, s.y.n, s.y.p, s.dy.p, wrt, n, grad);
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

Graph *net_weight_graph(const Net *net) {
  Arena *scratch = arena_new(net->ctx);
  Node **map = NEWN(scratch, Node *, net->g->n_nodes + 1);
  Graph *g = bind_graph(net, &(Bind){dim_c(1), BN_KEEP, false}, map, scratch);
  for (int i = 0; i < net->n_site; i++)
    if (net->site[i].weight) graph_out(g, arena_printf(g->arena, "weights of %s", net->site[i].layer), map[net->site[i].y]);
  arena_free(scratch);
  return g;
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
