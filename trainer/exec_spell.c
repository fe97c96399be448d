/* The graph as the executor computes it best. Batch normalization and its derivatives become element-wise nodes and sums around the
 * statistics, so they join the loops of their neighbours. Gradients of x that only a step size wants are not computed where x has one or
 * two channels. Cheap element-wise nodes are made anew for what reads them past a step that
 * cannot join a loop: a ReLU's or quantizer's value is computed again in the backward loops, not kept in memory until then. */
#include "trainer/exec_impl.h"

#include <string.h>

/* Batch normalization */

typedef struct Sums { const Node *dy, *x; double eps; Node *dbeta, *dgamma; } Sums;
typedef struct Spell { Arena *arena; VEC(Node *) stat; VEC(Sums) sums; } Spell;

static Node *statistic(Rewrite *rw, Node *x, Node *gamma, double eps, int flag) {
  Spell *s = rw->user;
  for (int i = 0; i < s->stat.n; i++) if (s->stat.p[i]->in[0] == x && s->stat.p[i]->a.flag == flag && s->stat.p[i]->a.fill == eps) return s->stat.p[i];
  Node *n = node_new(rw->g, OP_BN_TRAIN, &gamma->t, 3, (Node *[]){x, gamma, gamma}, &(Attr){.fill = eps, .flag = flag}, NULL);
  vec_push(s->arena, &s->stat, n);
  return n;
}

static Node *along(Graph *g, Node *per_channel, const Type *x) { /* [c] as [1, c, 1..] */
  Dim d[MAX_RANK];
  for (int i = 0; i < x->rank; i++) d[i] = i == 1 ? x->d[1] : dim_c(1);
  return node_reshape(g, per_channel, x->rank, d);
}

static Node *root_of(Rewrite *rw, Node *x, Node *gamma, double eps) { /* sqrt(var + eps) */
  Node *var = statistic(rw, x, gamma, eps, 2);
  return node_map1(rw->g, S_SQRT, node_map2(rw->g, S_ADD, var, node_const_f(rw->g, F32, eps)));
}

static Node *centred(Rewrite *rw, Node *x, Node *gamma, double eps) { /* a node for each use: no loop reads another's */
  return node_map2(rw->g, S_SUB, x, along(rw->g, statistic(rw, x, gamma, eps, 1), &x->t));
}

/* y = (x - mean) * (gamma/root) + beta */
static Node *spell_forward(Rewrite *rw, Node *x, Node *gamma, Node *beta, double eps) {
  Graph *g = rw->g;
  Node *gain = node_map2(g, S_DIV, gamma, root_of(rw, x, gamma, eps));
  return node_map2(g, S_ADD, node_map2(g, S_MUL, centred(rw, x, gamma, eps), along(g, gain, &x->t)), along(g, beta, &x->t));
}

/* dbeta = sum dy, dgamma = (sum dy*(x - mean)) / root */
static Sums sums_of(Rewrite *rw, Node *dy, Node *x, Node *gamma, double eps) {
  Spell *s = rw->user;
  Graph *g = rw->g;
  for (int i = 0; i < s->sums.n; i++) if (s->sums.p[i].dy == dy && s->sums.p[i].x == x && s->sums.p[i].eps == eps) return s->sums.p[i];
  uint32_t axes = ((1u << x->t.rank) - 1) & ~2u;
  Sums n = {.dy = dy, .x = x, .eps = eps, .dbeta = node_reduce_axes(g, S_ADD, dy, axes, false)};
  Node *products = node_reduce_axes(g, S_ADD, node_map2(g, S_MUL, dy, centred(rw, x, gamma, eps)), axes, false);
  n.dgamma = node_map2(g, S_DIV, products, root_of(rw, x, gamma, eps));
  vec_push(s->arena, &s->sums, n);
  return n;
}

/* dx = gamma/root * (dy - dbeta/N - (x - mean) * dgamma/(root*N)), N elements a channel */
static Node *spell_dx(Rewrite *rw, Node *dy, Node *x, Node *gamma, double eps) {
  Graph *g = rw->g;
  int64_t count = 1;
  for (int i = 0; i < x->t.rank; i++) count *= i == 1 ? 1 : x->t.d[i].n;
  Sums s = sums_of(rw, dy, x, gamma, eps);
  Node *n = node_const_f(g, F32, (double)count), *root = root_of(rw, x, gamma, eps);
  Node *level = node_map2(g, S_DIV, s.dbeta, n), *slope = node_map2(g, S_DIV, node_map2(g, S_DIV, s.dgamma, root), n);
  Node *inner = node_map2(g, S_SUB, node_map2(g, S_SUB, dy, along(g, level, &x->t)), node_map2(g, S_MUL, centred(rw, x, gamma, eps), along(g, slope, &x->t)));
  return node_map2(g, S_MUL, inner, along(g, node_map2(g, S_DIV, gamma, root), &x->t));
}

/* A first layer's gradient of x serves its quantizer's step alone, and of one or two channels oneDNN computes sixteen. With
 * quant_grad's flag 1 = dx * l(x), dx the convolution's gradient by dy and w: sum dx*l(x) = sum dy*conv(l(x), w). */
static Node *spell_step(Rewrite *rw, const Node *n) {
  Graph *g = rw->g;
  const Node *q = n->in[0], *dx = q->in[0];
  int64_t count = 0;
  if (q->op != OP_QUANT_GRAD || !q->a.flag || rw->uses[q->id] != 1 || rw->uses[dx->id] != 1 || !type_count(&n->t, &count) || count != 1) return NULL;
  Match m = match_node(rw->old, dx);
  if (m.kind != MATCH_CONV_GRAD_X || m.conv.groups != 1 || m.conv.ic > 2) return NULL;
  Node *x = rw->map[q->in[1]->id], *dy = rw->map[m.in[0]->id], *w = rw->map[m.in[1]->id];
  Node *one = node_broadcast(g, node_const_f(g, F32, 1), x->t.rank, x->t.d);
  Node *level = node_new(g, OP_QUANT_GRAD, &x->t, 3, (Node *[]){one, x, rw->map[q->in[2]->id]}, &q->a, NULL);
  const DnnConv *c = &m.conv;
  Node *y = node_map2(g, S_MUL, dy, node_conv(g, level, w, 1, c->stride, c->dilation, c->pad, c->out, 0, F32));
  return node_reshape(g, node_reduce_axes(g, S_ADD, y, (1u << y->t.rank) - 1, false), n->t.rank, n->t.d);
}

static Node *spell(Rewrite *rw, const Node *n, Node *const *in) {
  double eps = n->a.fill;
  if (n->op == OP_REDUCE && n->a.scalar == S_ADD) return spell_step(rw, n);
  if (n->op == OP_BN_TRAIN) return n->a.flag ? statistic(rw, in[0], in[1], eps, n->a.flag) : spell_forward(rw, in[0], in[1], in[2], eps);
  if (n->op != OP_BN_GRAD) return NULL;
  if (!n->a.flag) return spell_dx(rw, in[0], in[1], in[2], eps);
  Sums s = sums_of(rw, in[0], in[1], in[2], eps);
  return n->a.flag == 1 ? s.dgamma : s.dbeta;
}

/* Anew */

enum { DEEP = 12 }; /* nodes upon each other that are made anew */
typedef struct Anew {
  const Graph *old;
  int *level;              /* by id: steps that join no loop on the longest way to it; loops of one level are one loop, or can be */
  bool *kept;              /* in memory to the end */
  Node **copy; int *copy_level;
} Anew;

static bool loops(const Node *n) { return fusable(n) || n->op == OP_RESHAPE; }

static int64_t count_of(const Node *n) {
  int64_t count = 0;
  return type_count(&n->t, &count) ? count : 0;
}

/* Costs less than to write its value and read it again, and reads one value of its own size in its place; derivatives read what they
 * are multiplied by besides, which their readers do, too. */
static bool cheap(const Node *n) {
  int whole = 0, most = 1;
  int64_t count = count_of(n);
  Scalar s = n->a.scalar;
  bool map = n->op == OP_MAP && (s == S_ADD || s == S_SUB || s == S_MUL || s == S_MAX || s == S_MIN || s == S_NEG || s == S_ABS || s == S_LT || s == S_LE ||
                                 s == S_SELECT || s == S_CAST);
  if (count < WORTH || !fusable(n) || (!map && n->op != OP_QUANT && n->op != OP_DEQUANT && n->op != OP_QUANT_GRAD)) return false;
  if (n->op == OP_QUANT_GRAD || (map && s == S_SELECT)) most = 2;
  for (int k = 0; k < n->n_in; k++) whole += count_of(n->in[k]) == count;
  return whole == 1 || whole == most;
}

static Node *made_anew(Rewrite *rw, const Node *n, int level, int depth) {
  Anew *a = rw->user;
  if (a->copy[n->id] && a->copy_level[n->id] == level) return a->copy[n->id];
  Node *in[3];
  for (int k = 0; k < n->n_in; k++) {
    const Node *x = n->in[k];
    in[k] = depth && cheap(x) && !a->kept[x->id] ? made_anew(rw, x, level, depth - 1) : rw->map[x->id];
  }
  a->copy_level[n->id] = level;
  return a->copy[n->id] = node_clone(rw->g, n, in);
}

static Node *read_anew(Rewrite *rw, const Node *n, Node *const *given) {
  Anew *a = rw->user;
  Node *in[3];
  bool any = false;
  if (n->n_in > 3) return NULL;
  int level = a->level[n->id] - !loops(n); /* what is no loop reads what loops before it made */
  for (int k = 0; k < n->n_in; k++) {
    const Node *x = n->in[k];
    bool anew = a->level[x->id] < level && cheap(x) && !a->kept[x->id];
    in[k] = anew ? made_anew(rw, x, level, DEEP) : given[k];
    any = any || anew;
  }
  return any ? node_clone(rw->g, n, in) : NULL;
}

static void find_levels(const Graph *g, Anew *a) {
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    for (int k = 0; k < n->n_in; k++) if (a->level[n->in[k]->id] > a->level[i]) a->level[i] = a->level[n->in[k]->id];
    if (!loops(n) && n->op != OP_ARG && n->op != OP_CONST) a->level[i]++;
  }
  for (int i = 0; i < g->n_outs; i++) a->kept[g->outs[i].v->id] = true;
}

Graph *exec_spell(const Graph *given) {
  Graph *old = (Graph *)(uintptr_t)given; /* graph_rewrite only reads it */
  Arena *scratch = arena_new(given->ctx);
  Spell s = {.arena = scratch};
  Graph *spelled = graph_rewrite(old, spell, &s, NULL), *g = NULL;
  if (spelled) {
    size_t n = (size_t)spelled->n_nodes + 1;
    Anew a = {spelled, NEWN(scratch, int, n), NEWN(scratch, bool, n), NEWN(scratch, Node *, n), NEWN(scratch, int, n)};
    find_levels(spelled, &a);
    g = graph_rewrite(spelled, read_anew, &a, NULL);
    graph_free(spelled);
  }
  arena_free(scratch);
  return g;
}
