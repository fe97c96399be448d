/* layout of what surrounds products over lanes (lower_dot.c): a contraction gives its channels last, and a view of them in the order that the
 * graph had; element-wise operators compute above such views; what reads by affine accesses reads below them, and has channels last as well. Of those views
 * few are left, at the graph's ends; between layers channels are neighbours in memory. */
#include "passes/access.h"
#include "passes/contract.h"

#include <string.h>

/* A view made here, which view_permutation knows. */
static bool is_last(const Last *l, const Node *n) {
  if (n->op != OP_VIEW) return false;
  for (int i = l->views.n - 1; i >= 0; i--)
    if (l->views.p[i] == n) return true;
  return false;
}

static Node *seen_as(Last *l, Graph *g, Node *x, const int *perm) {
  Node *view = node_transpose(g, x, perm);
  if (view != x) vec_push(l->tmp, &l->views, view);
  return view;
}

int last_channel(const Node *n) {
  int rank = n->in[0]->t.rank;
  if (rank < 1 || n->t.rank < 3) return -1;
  const Affine *a = &n->a.iters->acc[0][rank - 1];
  int found = -1;
  int64_t ext[MAX_ITERS];
  int total = iters_extents(n, ext);
  for (int i = 0; i < total; i++) {
    if (!a->coef[i] || ext[i] == 1) continue;
    if (found >= 0 || i >= n->a.iters->n_out || a->coef[i] != 1 || a->div != 1) return -1;
    found = i;
  }
  return found;
}

Node *last_result(Last *l, Graph *g, const Node *n, int v) {
  const Iters *old = n->a.iters;
  int rank = n->t.rank, perm[MAX_RANK], order[MAX_RANK], k = 0;
  Iters it = *old;
  Affine acc[3][MAX_RANK];
  Type t = n->t;
  for (int i = 0; i < rank; i++)
    if (i != v) order[k++] = i;
  order[k] = v;
  for (int j = 0; j < rank; j++) perm[order[j]] = j, t.d[j] = n->t.d[order[j]];
  for (int o = 0; o < n->n_in; o++) {
    it.acc[o] = acc[o];
    memcpy(acc[o], old->acc[o], sizeof(Affine) * n->in[o]->t.rank);
    for (int d = 0; d < n->in[o]->t.rank; d++)
      for (int j = 0; j < rank; j++) acc[o][d].coef[j] = old->acc[o][d].coef[order[j]];
  }
  Attr a = n->a;
  a.iters = &it;
  return seen_as(l, g, node_new(g, (Op)n->op, &t, n->n_in, n->in, &a, &n->loc), perm);
}

bool last_reads(Last *l, const Node *n, Node *const *in, LastReads *r) {
  bool any = false;
  if ((n->op != OP_VIEW && n->op != OP_REDUCE && n->op != OP_CONTRACT) || !l->views.n) return false;
  r->n = *n;
  r->it = *n->a.iters;
  for (int k = 0; k < n->n_in; k++) {
    int perm[MAX_RANK], rank = n->in[k]->t.rank;
    memcpy(r->acc[k], n->a.iters->acc[k], sizeof(Affine) * rank);
    r->it.acc[k] = r->acc[k];
    r->in[k] = in[k];
    if (!is_last(l, in[k])) continue;
    any = true;
    view_permutation(in[k], perm);
    for (int i = 0; i < rank; i++) r->acc[k][perm[i]] = n->a.iters->acc[k][i];
    r->in[k] = in[k]->in[0];
  }
  r->n.a.iters = &r->it;
  r->n.in = r->in;
  return any;
}

/* Operand x of element-wise n, which goes above views as `view` is; NULL where it is not to be had so. */
static Node *operand_last(const Last *l, Graph *g, const Node *n, Node *x, const Node *view) {
  int perm[MAX_RANK], theirs[MAX_RANK];
  if (!is_last(l, x) || !type_shape_eq(&x->t, &n->t)) return operand_above(g, view, x);
  view_permutation(view, perm), view_permutation(x, theirs);
  return memcmp(theirs, perm, sizeof *perm * (size_t)n->t.rank) ? NULL : x->in[0];
}

/* Of a concat all inputs, of a gather by a constant list the first. */
static Node *joined_last(Last *l, Graph *g, const Node *n, Node *const *in) {
  int perm[MAX_RANK], theirs[MAX_RANK], count = n->op == OP_GATHER ? 1 : n->n_in;
  Node **of = NEWN(l->tmp, Node *, n->n_in);
  if (n->op == OP_GATHER && (!node_is_const(in[1]) || in[1]->t.rank != 1)) return NULL;
  for (int k = 0; k < n->n_in; k++) of[k] = in[k];
  for (int k = 0; k < count; k++) {
    if (!is_last(l, in[k])) return NULL;
    view_permutation(in[k], k ? theirs : perm);
    if (k && memcmp(perm, theirs, sizeof *perm * (size_t)n->t.rank)) return NULL;
    of[k] = in[k]->in[0];
  }
  Attr a = n->a;
  Type t = n->t;
  for (int i = 0; i < n->t.rank; i++) t.d[perm[i]] = n->t.d[i];
  a.axis = perm[a.axis];
  return seen_as(l, g, node_new(g, (Op)n->op, &t, n->n_in, of, &a, &n->loc), perm);
}

Node *last_follow(Last *l, Graph *g, const Node *n, Node *const *in) {
  bool table = n->op == OP_THRESHOLDS || n->op == OP_REQUANT;
  int perm[MAX_RANK], from = -1;
  Node *of[4];
  if (n->op == OP_CONCAT || n->op == OP_GATHER) return joined_last(l, g, n, in);
  if (!table && n->op != OP_MAP && n->op != OP_QUANT && n->op != OP_DEQUANT) return NULL;
  for (int k = 0; k < (table ? 1 : n->n_in) && from < 0; k++)
    if (l->views.n && is_last(l, in[k]) && type_shape_eq(&in[k]->t, &n->t)) from = k;
  if (from < 0) return NULL;
  view_permutation(in[from], perm);
  for (int k = 0; k < n->n_in; k++)
    if (!(of[k] = table && k > 0 ? in[k] : operand_last(l, g, n, in[k], in[from]))) return NULL;
  Attr a = n->a;
  Type t = n->t;
  for (int i = 0; i < n->t.rank; i++) t.d[perm[i]] = n->t.d[i];
  if (table) a.axis = perm[a.axis];
  return seen_as(l, g, node_new(g, (Op)n->op, &t, n->n_in, of, &a, &n->loc), perm);
}
