/* fuse: marks the nodes that get no buffer. Their consumer computes an element where it needs one, so a mark is right
 * only where no element is computed much more often than before:
 *   - a view or reshape is arithmetic on indices: always, unless it tests a border inside someone's reduction;
 *   - an element-wise node: where its consumers read each element at most once, or all are computed in one nest at the same index;
 *   - a contraction or reduction: where its consumers are element-wise in one nest, or its one consumer takes each element
 *     once without a test; for targets with vectors one contraction in a nest.
 * A view that scatters what a reduction reads again and again keeps a buffer: one copy is cheaper than strided loads. */
#include "passes/lower_lanes.h"
#include "passes/pass.h"

#include <math.h>

typedef struct Fuse {
  const Graph *g;
  int *uses;
  bool *mark;
  int *root;        /* node in whose nest this one is computed: itself or, fused, its consumers' */
  bool *aligned;    /* its index is its root's index, element by element */
  bool *direct;     /* computed once per element of its root, on a path of element-wise operators and movements */
  double *visits;   /* how often an element is asked for in all, over the elements there are: at most 1 */
  int *size;        /* of roots: nodes computed in the nest */
  bool one;         /* a nest computes one contraction over lanes */
  bool *contracts;  /* of roots: one is computed in the nest */
  int **users; int *n_users;
} Fuse;

enum { MOST_IN_NEST = 128 };

static double elements(const Type *t) {
  int64_t n = 1;
  type_count(t, &n);
  return n > 0 ? (double)n : 1;
}

static bool is_elementwise(const Node *n) {
  return n->op == OP_MAP || n->op == OP_QUANT || n->op == OP_DEQUANT || n->op == OP_THRESHOLDS || n->op == OP_REQUANT;
}

/* Arithmetic on indices; a constant table of them is as good. */
static bool is_movement(const Node *n) {
  return n->op == OP_VIEW || n->op == OP_RESHAPE || (n->op == OP_GATHER && node_is_const(n->in[1]));
}

/* Elements of operand x that one computation of all of u's elements reads. */
static double reads(const Node *u, const Node *x) {
  double n = elements(&u->t);
  switch (u->op) {
  case OP_REDUCE: case OP_CONTRACT:
    for (int j = 0; j < u->a.iters->n_red; j++) n *= (double)u->a.iters->red[j].n;
    return n;
  case OP_BASES: /* a group again for each plane of any output */
    return elements(&x->t) * elements(&u->in[2]->t) / elements(&u->in[3]->t) * (double)u->in[3]->t.d[1].n;
  case OP_ARGREDUCE: case OP_CONCAT: case OP_PACK: case OP_CUM: return elements(&x->t);
  default: return n;
  }
}

/* Visits of each element of n by all that is computed under user u. */
static double visits_by(const Fuse *f, const Node *n, const Node *u) {
  int times = 0;
  bool per_channel = u->op == OP_THRESHOLDS || u->op == OP_REQUANT;
  if (per_channel && u->in[0] != n) return INFINITY; /* a table: keep it */
  for (int k = 0; k < u->n_in; k++) times += u->in[k] == n;
  if (is_elementwise(u)) times = 1; /* the same index: computed once */
  return times * f->visits[u->id] * reads(u, n) / elements(&n->t);
}

/* All users in one nest, at n's own index. */
static bool all_aligned(const Fuse *f, const Node *n) {
  for (int i = 0; i < f->n_users[n->id]; i++) {
    const Node *u = f->g->nodes[f->users[n->id][i]];
    bool per_channel = u->op == OP_THRESHOLDS || u->op == OP_REQUANT;
    for (int k = 1; per_channel && k < u->n_in; k++)
      if (u->in[k] == n) return false;
    if (!is_elementwise(u) || !f->aligned[u->id] || !type_shape_eq(&u->t, &n->t)) return false;
    if (f->root[u->id] != f->root[f->users[n->id][0]]) return false;
  }
  return true;
}

/* Steps through x one by one along its last dimension, if at all. */
static bool keeps_rows(const Node *view) {
  const Node *x = view->in[0];
  int last = view->t.rank - 1;
  while (last >= 0 && view->t.d[last].n == 1) last--;
  if (last < 0 || view->op != OP_VIEW) return true;
  for (int d = 0; d < x->t.rank; d++) {
    const Affine *a = &view->a.iters->acc[0][d];
    bool row = true;
    for (int e = d + 1; e < x->t.rank; e++) row = row && x->t.d[e].n == 1;
    if (a->coef[last] && (!row || a->coef[last] != 1 || a->div != 1)) return false;
  }
  return true;
}

static bool is_inside(const Node *n) { return n->op != OP_VIEW || access_inside(n, 0); }

/* A border test, a division of indices or a stride in the inner loop of a reduction costs more than a buffer. */
static bool movement_fits(const Fuse *f, const Node *n) {
  for (int i = 0; i < f->n_users[n->id]; i++) {
    const Node *u = f->g->nodes[f->users[n->id][i]];
    bool again = f->visits[u->id] * reads(u, n) > 2 * elements(&n->t);
    if (again && (!is_inside(n) || !keeps_rows(n))) return false;
    if (n->op == OP_VIEW && u->op == OP_RESHAPE && f->visits[u->id] > 1) return false;
  }
  return true;
}

/* A contraction's or reduction's one consumer takes each element once; words are packed where codes fall out of them. */
static bool heavy_fits(const Fuse *f, const Node *n, const Node *u) {
  if (f->n_users[n->id] != 1 || !f->direct[u->id] || visits_by(f, n, u) > 1) return false;
  const Node *root = f->g->nodes[f->root[u->id]];
  return root->op != OP_PACK || n->a.kernel == KERNEL_BITSERIAL;
}

/* An element-wise node that ends a contraction: it joins that, and what it gives is stored, not the wider sums. */
static bool ends_contraction(const Fuse *f, const Node *n) {
  while (is_elementwise(n) && f->n_users[n->id] == 1) {
    const Node *x = NULL;
    for (int k = 0; k < n->n_in; k++)
      if (!node_is_const(n->in[k]) && type_shape_eq(&n->in[k]->t, &n->t)) x = n->in[k];
    if (!x || f->n_users[x->id] != 1) return false;
    if (x->op == OP_CONTRACT) return true;
    n = x->op == OP_RESHAPE ? x->in[0] : x;
    if (n->op == OP_CONTRACT) return f->n_users[n->id] == 1;
  }
  return false;
}

/* Kernel shift walks its activations' buffer by a table of places; the elements of a reshape are as many places. */
static bool feeds_shift(const Fuse *f, const Node *n) {
  for (int i = 0; i < f->n_users[n->id]; i++) {
    const Node *u = f->g->nodes[f->users[n->id][i]];
    if (u->op == OP_CONTRACT && u->a.kernel == KERNEL_SHIFT) return true;
    if (u->op == OP_RESHAPE && f->mark[u->id] && feeds_shift(f, u)) return true;
  }
  return false;
}

static bool fits(const Fuse *f, const Node *n) {
  const Node *first = f->g->nodes[f->users[n->id][0]];
  bool one = f->n_users[n->id] == 1;
  if (f->size[f->root[first->id]] >= MOST_IN_NEST) return false;
  if (n->op != OP_RESHAPE && feeds_shift(f, n)) return false;
  if (is_movement(n)) return movement_fits(f, n);
  if (is_elementwise(n) && !f->direct[first->id] && ends_contraction(f, n)) return false;
  if (is_elementwise(n) || n->op == OP_GATHER) return all_aligned(f, n) || (one && visits_by(f, n, first) <= 1);
  if (n->op == OP_CONTRACT && f->one && f->contracts[f->root[first->id]]) return false;
  if (n->op == OP_CONTRACT || n->op == OP_REDUCE || n->op == OP_ARGREDUCE) return all_aligned(f, n) || heavy_fits(f, n, first);
  return false;
}

static void consider(Fuse *f, const Node *n) {
  int id = (int)n->id;
  bool keeps = n->op == OP_CONST || n->op == OP_ARG || f->n_users[id] == 0 || f->uses[id] < 0;
  f->mark[id] = !keeps && fits(f, n);
  f->root[id] = id;
  f->contracts[id] = n->op == OP_CONTRACT;
  f->aligned[id] = n->op != OP_CONCAT && n->op != OP_CUM && n->op != OP_PACK && n->op != OP_BASES;
  f->visits[id] = 1;
  bool heavy = n->op == OP_CONTRACT || n->op == OP_REDUCE || n->op == OP_ARGREDUCE || n->op == OP_CUM || n->op == OP_BASES;
  f->direct[id] = !heavy && is_inside(n);
  if (!f->mark[id]) return;
  const Node *first = f->g->nodes[f->users[id][0]];
  f->root[id] = f->root[first->id];
  f->size[f->root[id]]++;
  f->contracts[f->root[id]] |= n->op == OP_CONTRACT;
  f->aligned[id] = all_aligned(f, n);
  for (int i = 0; i < f->n_users[id]; i++) f->direct[id] = f->direct[id] && f->direct[f->users[id][i]];
  f->visits[id] = 0;
  if (f->aligned[id]) f->visits[id] = f->visits[first->id];
  else for (int i = 0; i < f->n_users[id]; i++) f->visits[id] += visits_by(f, n, f->g->nodes[f->users[id][i]]);
}

/* Users of each live node; uses: -1 for outputs, else how many. */
static void find_users(Fuse *f, Arena *a) {
  const Graph *g = f->g;
  bool *live = NEWN(a, bool, g->n_nodes + 1);
  for (int i = 0; i < g->n_outs; i++) live[g->outs[i].v->id] = true, f->uses[g->outs[i].v->id] = -1;
  for (int i = g->n_nodes - 1; i >= 0; i--)
    for (int k = 0; live[i] && k < g->nodes[i]->n_in; k++) live[g->nodes[i]->in[k]->id] = true;
  for (int pass = 0; pass < 2; pass++) {
    for (int i = 0; i < g->n_nodes; i++)
      for (int k = 0; live[i] && k < g->nodes[i]->n_in; k++) {
        int x = (int)g->nodes[i]->in[k]->id, n = f->n_users[x];
        if (pass && n && f->users[x][n - 1] == i) continue; /* one entry per user */
        if (pass) f->users[x][n] = i;
        f->n_users[x]++;
      }
    for (int i = 0; !pass && i < g->n_nodes; i++) {
      f->users[i] = NEWN(a, int, f->n_users[i] + 1);
      f->n_users[i] = 0;
    }
  }
}

static Node *fuse_rule(Rewrite *rw, const Node *n, Node *const *in) {
  const Fuse *f = rw->user;
  if (f->mark[n->id] == n->a.fused) return NULL;
  Attr a = n->a;
  a.fused = f->mark[n->id];
  rw->changes++;
  return node_new(rw->g, (Op)n->op, &n->t, n->n_in, in, &a, &n->loc);
}

Graph *pass_fuse(Graph *g, const PassOptions *opt) {
  Arena *a = arena_new(g->ctx);
  int n = g->n_nodes + 1;
  Fuse f = {.g = g, .uses = NEWN(a, int, n), .mark = NEWN(a, bool, n), .root = NEWN(a, int, n), .aligned = NEWN(a, bool, n), .direct = NEWN(a, bool, n),
            .visits = NEWN(a, double, n), .size = NEWN(a, int, n), .users = NEWN(a, int *, n), .n_users = NEWN(a, int, n), .contracts = NEWN(a, bool, n)};
  int bits;
  f.one = !opt->hls && lanes_target(opt->target, &bits);
  find_users(&f, a);
  for (int i = g->n_nodes - 1; i >= 0; i--) consider(&f, g->nodes[i]);
  Graph *r = graph_rewrite(g, fuse_rule, &f, NULL);
  arena_free(a);
  graph_free(g);
  return r;
}
