/* The auxiliary gradient module, additional losses, distillation, stochastic structured precision (extras.h): nodes of a step's graph. */
#include "trainer/extras.h"

#include "trainer/net_impl.h"
#include "trainer/quantizer.h"
#include "trainer/rng.h"

#include <math.h>
#include <string.h>

/* Parameters: made once, in the order in which the graph is; then taken in that order. */

typedef struct Fill { double deviation; float value; int like; } Fill; /* normal numbers, or those of parameter like - 1, or one number */

static Node *param(Step *s, const char *name, ParamRole role, int rank, const int64_t *d, const Fill *fill) {
  Net *net = s->net;
  if (!s->make) return s->g->args[1 + s->next++];
  Type t = type_make(F32, rank, d);
  int id = net_param(net, net_unique(net, name), role, &t);
  Param *p = &net->p[id];
  const Recipe *r = net->extras;
  if (fill->deviation > 0) rng_fill_normal((Rng){r->seed, RNG_INIT}, (UINT64_C(1) << 32) + (uint64_t)net->n_aux, p->n, (float)fill->deviation, p->value);
  else if (fill->like) memcpy(p->value, net->p[fill->like - 1].value, (size_t)p->n * sizeof *p->value), p->like = fill->like;
  else for (int64_t i = 0; i < p->n; i++) p->value[i] = fill->value;
  net->n_aux++;
  return graph_arg(s->g, p->name, &t);
}

static int last_param(const Step *s) { return s->make ? s->net->n_p - 1 : s->next - 1; }

static const char *name_of(const Step *s, const char *at, const char *what) { return arena_printf(s->net->arena, "%s.%s", at, what); }

/* Layers */

/* As the network's are in this phase: by the batch, or by running statistics. */
static Node *add_bn(Step *s, Node *x, const char *at) {
  int64_t c = x->t.d[1].n;
  Node *in[5] = {x};
  in[1] = param(s, name_of(s, at, "gamma"), PARAM_VECTOR, 1, &c, &(Fill){.value = 1});
  in[2] = param(s, name_of(s, at, "beta"), PARAM_VECTOR, 1, &c, &(Fill){0});
  in[3] = param(s, name_of(s, at, "mean"), PARAM_STAT, 1, &c, &(Fill){0});
  in[4] = param(s, name_of(s, at, "var"), PARAM_STAT, 1, &c, &(Fill){.value = 1});
  if (s->bind.bn != BN_BATCH) return node_bn_spelled(s->g, in, (double)1e-5f);
  BatchNorm bn = {node_new(s->g, OP_BN_TRAIN, &x->t, 3, in, &(Attr){.fill = (double)1e-5f}, NULL), last_param(s) - 1, last_param(s)};
  vec_push(s->scratch, &s->bn, bn);
  return bn.bn;
}

/* A 1x1 convolution to the shape of `like`, then bn. Weights are normal of deviation sqrt(2 / outputs). */
static Node *adapt(Step *s, Node *x, const Type *like, const char *at) {
  int64_t out = like->d[1].n, d[4] = {out, x->t.d[1].n, 1, 1}, size[2], stride[2], one[2] = {1, 1}, none[2] = {0, 0};
  for (int i = 0; i < 2; i++) {
    int64_t n = x->t.d[2 + i].n;
    size[i] = like->d[2 + i].n;
    stride[i] = (n + size[i] - 1) / size[i];
    if ((size[i] - 1) * stride[i] > n - 1) stride[i] = (n - 1) / (size[i] - 1);
  }
  Node *w = param(s, name_of(s, at, "weight"), PARAM_WEIGHT, 4, d, &(Fill){.deviation = sqrt(2.0 / (double)out)});
  return add_bn(s, node_conv(s->g, x, w, 1, stride, one, none, size, 0, F32), at);
}

static Node *relu(Step *s, Node *x) { return node_map2(s->g, S_MAX, x, node_const_f(s->g, F32, 0)); }

/* Average pool and a product with bias. */
static Node *classify(Step *s, Node *x, const char *at) {
  int64_t classes = s->net->classes, d[2] = {x->t.d[1].n, classes};
  Node *n = node_const_f(s->g, F32, (double)(x->t.d[2].n * x->t.d[3].n));
  x = node_map2(s->g, S_DIV, node_reduce_axes(s->g, S_ADD, x, 12, false), n);
  x = node_matmul(s->g, x, param(s, name_of(s, at, "weight"), PARAM_WEIGHT, 2, d, &(Fill){.deviation = sqrt(2.0 / (double)d[0])}), F32);
  return node_map2(s->g, S_ADD, x, param(s, name_of(s, at, "bias"), PARAM_VECTOR, 1, &classes, &(Fill){0}));
}

/* Taps */

static bool tap_at(const Net *net, int i, TapAt at) {
  const Tap *t = &net->tap.p[i];
  int before = i - 1;
  if (at == TAP_LAYER || !i) return true;
  while (before > 0 && !net->tap.p[before].block) before--;
  const Type *now = &net->g->nodes[t->node]->t, *was = before < 0 ? now : &net->g->nodes[net->tap.p[before].node]->t;
  return t->block && (at == TAP_BLOCK || now->d[2].n < was->d[2].n || now->d[3].n < was->d[3].n);
}

/* The second pass */

/* A bn over parameters of its own, which begin as the network's are. */
static Node *private_bn(Step *s, const Node *n, Node *const *in) {
  static const ParamRole roles[] = {PARAM_VECTOR, PARAM_VECTOR, PARAM_VECTOR, PARAM_STAT, PARAM_STAT};
  Node *with[5] = {in[0], in[1], in[2], in[3], in[4]};
  BatchNorm bn = {NULL, -1, -1};
  for (int k = 1; k < 5; k++) {
    if (n->in[k]->op != OP_ARG) continue;
    const Param *p = &s->net->p[n->in[k]->a.index - 1];
    int64_t c = p->n;
    with[k] = param(s, arena_printf(s->net->arena, "auxiliary.%s", p->name), roles[k], 1, &c, &(Fill){.like = n->in[k]->a.index});
    if (k > 2) *(k == 3 ? &bn.mean : &bn.var) = last_param(s);
  }
  bn.bn = bind_node(s->g, n, with, &s->bind);
  if (s->bind.bn == BN_BATCH) vec_push(s->scratch, &s->bn, bn);
  return bn.bn;
}

/* What depends on the images up to the last tap once more: by id in the net's graph. Quantized weights are the same nodes. */
static Node **second_pass(Step *s) {
  const Net *net = s->net;
  const Graph *g = net->g;
  int last = net->tap.p[net->tap.n - 1].node;
  Node **map = NEWN(s->scratch, Node *, g->n_nodes + 1);
  bool *seen = NEWN(s->scratch, bool, g->n_nodes + 1);
  for (int i = 0; i <= last; i++) {
    const Node *n = g->nodes[i];
    Node **in = NEWN(s->scratch, Node *, n->n_in + 1);
    seen[i] = n->op == OP_ARG && n->a.index == 0;
    for (int k = 0; k < n->n_in; k++) seen[i] = seen[i] || seen[n->in[k]->id], in[k] = map[n->in[k]->id];
    if (!seen[i] || n->op == OP_ARG) map[i] = s->map[i];
    else {
      map[i] = n->op == OP_BN ? private_bn(s, n, in) : bind_node(s->g, n, in, &s->bind);
      map[i] = extras_precision(s, i, map[i], map);
    }
  }
  return map;
}

/* Losses */

static void auxiliary(Step *s, const Auxiliary *a) {
  bool one = a->mode == AUX_ONE_PASS;
  Node **map = one ? s->map : second_pass(s), *b = NULL;
  for (int i = 0, at = 0; i < s->net->tap.n; i++) {
    if (!tap_at(s->net, i, a->at)) continue;
    Node *x = map[s->net->tap.p[i].node];
    const char *name = arena_printf(s->net->arena, "auxiliary%d", at++);
    s->g->at = LOC_NONE, s->g->at.name = name;
    Node *y = adapt(s, x, &x->t, name);
    if (b && !type_shape_eq(&b->t, &y->t)) b = adapt(s, b, &y->t, name_of(s, name, "down"));
    b = b ? node_map2(s->g, S_ADD, b, y) : y;
    if (one && at > 1) b = relu(s, b);
  }
  step_cross_entropy(s, classify(s, b, "auxiliary.fc"), a->weight);
}

static void supervision(Step *s, const Supervision *u) {
  int last = s->net->tap.n - 1;
  for (int i = 1; i < last; i++) {
    if (!tap_at(s->net, i, u->at)) continue;
    const char *name = arena_printf(s->net->arena, "supervision%d", i);
    s->g->at = LOC_NONE, s->g->at.name = name;
    step_cross_entropy(s, classify(s, relu(s, s->map[s->net->tap.p[i].node]), name), u->weight);
  }
}

static Node *softmax(Graph *g, Node *y, Node **log) {
  Node *below = node_map2(g, S_SUB, y, node_reduce_axes(g, S_MAX, y, 2, true)), *e = node_map1(g, S_EXP, below), *sum = node_reduce_axes(g, S_ADD, e, 2, true);
  *log = node_map2(g, S_SUB, below, node_map1(g, S_LOG, sum));
  return node_map2(g, S_DIV, e, sum);
}

/* dy of weight T^2 KL(softmax(z/T) || softmax(y/T)): weight T (softmax(y/T) - softmax(z/T)); z are the teacher's, with its running statistics. */
static void distill(Step *s, const Distill *d, Node *y) {
  const Net *teacher = s->net->teacher;
  Graph *g = s->g;
  Bind b = {s->bind.n, BN_SPELL, false};
  Node **map = NEWN(s->scratch, Node *, teacher->g->n_nodes + 1), *t = node_const_f(g, F32, d->temperature);
  for (int i = 0; i < teacher->g->n_nodes; i++) {
    const Node *n = teacher->g->nodes[i];
    Node **in = NEWN(s->scratch, Node *, n->n_in + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k]->id];
    if (n->op == OP_ARG) map[i] = n->a.index ? param_const(g, &teacher->p[n->a.index - 1]) : g->args[0];
    else map[i] = bind_node(g, n, in, &b);
  }
  g->at = LOC_NONE, g->at.name = "distill";
  Node *log_p, *log_q, *p = softmax(g, node_map2(g, S_DIV, map[teacher->g->outs[0].v->id], t), &log_p), *q = softmax(g, node_map2(g, S_DIV, y, t), &log_q);
  Node *kl = node_reduce_axes(g, S_ADD, node_map2(g, S_MUL, p, node_map2(g, S_SUB, log_p, log_q)), 2, true);
  Node *dy = node_map2(g, S_MUL, node_map2(g, S_SUB, q, p), node_const_f(g, F32, d->weight * d->temperature / (double)s->total));
  step_add(s, kl, d->weight * d->temperature * d->temperature, y, dy);
}

void extras_build(Step *s) {
  const Recipe *r = s->net->extras;
  if (r->auxiliary.mode) auxiliary(s, &r->auxiliary);
  if (r->supervision.weight > 0) supervision(s, &r->supervision);
  if (s->net->teacher) distill(s, &r->distill, s->map[s->net->g->outs[0].v->id]);
}

bool net_add_extras(Net *net, const Recipe *r, Net *teacher) {
  Loc loc = LOC_NONE;
  bool blocks = r->auxiliary.mode || r->supervision.weight > 0;
  for (int i = 0; i < r->n_phase; i++) blocks = blocks || (r->phase[i].ssp.start > 0 && !r->phase[i].ssp.layers);
  loc.file = r->file;
  net->extras = r;
  net->teacher = teacher;
  if (blocks && net->tap.n < 2) {
    diag(net->ctx, E0703, &loc, "auxiliary, supervision and ssp of blocks need to know where the network's blocks end, and of '%s' that is not known", net->g->name);
    return diag_hint(net->ctx, "built-in networks of convolutions say it; `fragment: layer` works for any network"), false;
  }
  net_make_extras(net);
  return true;
}

/* Stochastic structured precision (Alg. 2). Not rounded: neither what is clipped nor the scale changes. */

/* The quantized number x*, before it is rounded: straight's surrogate, but what is a constant to derivatives stays; of dequant of quant x
 * between the bounds; of other nodes the same over such operands. */
static Node *unrounded(Graph *g, Node *y, const Node *x, int depth) {
  if (y == x || !y->n_in || !depth) return y;
  if (y->op == OP_STRAIGHT) return y->in[1]->op == OP_CONST ? y : y->in[1];
  if (y->op == OP_DEQUANT && y->in[0]->op == OP_QUANT) {
    const Node *q = y->in[0];
    Node *bound[2];
    for (int k = 0; k < 2; k++) {
      bound[k] = node_const_f(g, F32, (double)(k ? q->a.hi : q->a.lo));
      if (q->n_in > 2) bound[k] = node_map2(g, S_SUB, bound[k], node_cast(g, q->in[2], F32));
      bound[k] = node_map2(g, S_MUL, bound[k], q->in[1]);
    }
    return node_map2(g, S_MIN, node_map2(g, S_MAX, q->in[0], bound[0]), bound[1]);
  }
  Node *in[8];
  bool changed = false;
  if (y->n_in > 8) return y;
  for (int k = 0; k < y->n_in; k++) in[k] = unrounded(g, y->in[k], x, depth - 1), changed = changed || in[k] != y->in[k];
  return changed ? node_clone(g, y, in) : y;
}

int net_fragments(const Net *net, bool layers, int *of) {
  int n = 0, last = -1, blocks = 0;
  for (int k = 0; k < net->tap.n; k++) blocks += net->tap.p[k].block;
  for (int i = 0; i < net->n_site; i++) {
    int layer = net->site[i].at, block = 0;
    bool other = !i || layer != net->site[i - 1].at;
    for (int k = 0; k < net->tap.n; k++) block += net->tap.p[k].block && net->tap.p[k].plain < layer;
    n += layers || block == blocks ? other : block != last; /* behind the last block's end each layer is one */
    last = block, of[i] = n - 1;
  }
  return n;
}

Node *extras_precision(const Step *s, int i, Node *y, Node *const *map) {
  const Net *net = s->net;
  if (!s->rounded) return y;
  for (int k = 0; k < net->n_site; k++) {
    if (net->site[k].y != i) continue;
    int *of = NEWN(s->scratch, int, net->n_site);
    net_fragments(net, net->ssp->layers, of);
    return node_map3(s->g, S_SELECT, s->rounded[2 * of[k] + !net->site[k].weight], y, unrounded(s->g, y, map[net->site[k].x], 32));
  }
  return y;
}

void ssp_draw(const Ssp *p, uint64_t seed, int64_t iteration, double t, int n, float *rounded) {
  double delta = p->start * (1 - t / p->until);
  for (int k = 0; k < n; k++) rounded[k] = (double)rng_uniform((Rng){seed, RNG_PRECISION}, (uint64_t)iteration, (uint64_t)k) >= delta;
}
