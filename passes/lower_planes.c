/* Contractions of words under a table of coefficients, one per pair of planes: the planes of one step are loaded once and
 * all their pairs counted, one accumulator for each distinct coefficient. Sums of codes may change their order. */
#include "passes/lower.h"

/* The reduction iterator that dimension d of operand k follows alone and in full; -1: it is none. */
static int follows(const Node *n, int k, int d) {
  const Affine *a = &n->a.iters->acc[k][d];
  int found = -1;
  if (a->base || a->div != 1) return -1;
  for (int i = 0; i < n->a.iters->n_out + n->a.iters->n_red; i++) {
    if (!a->coef[i]) continue;
    if (found >= 0 || a->coef[i] != 1 || i < n->a.iters->n_out) return -1;
    found = i - n->a.iters->n_out;
  }
  return found >= 0 && n->a.iters->red[found].n == n->in[k]->t.d[d].n ? found : -1;
}

static bool uses_iter(const Node *n, int k, int j) {
  for (int d = 0; d < n->in[k]->t.rank; d++)
    if (n->a.iters->acc[k][d].coef[n->a.iters->n_out + j]) return true;
  return false;
}

/* Each dimension of the coefficients is a plane of just one of the operands. */
static bool find_iters(const Node *n, Pairs *p) {
  const Node *c = n->in[2];
  if (!node_is_const(c) || c->t.rank > 2 || c->a.value->n > MOST_PAIRS || c->a.value->n < 1) return false;
  for (int d = 0; d < c->t.rank; d++) {
    int j = follows(n, 2, d);
    if (j < 0 || uses_iter(n, 0, j) == uses_iter(n, 1, j)) return false;
    int k = uses_iter(n, 1, j);
    if (p->iter[k] >= 0) return false;
    p->iter[k] = j;
    p->extent[k] = (int)c->t.d[d].n;
  }
  return true;
}

static int64_t coefficient(const Node *n, const Pairs *p, int a, int w) {
  const Node *c = n->in[2];
  int64_t at = 0;
  for (int d = 0; d < c->t.rank; d++) at = at * c->t.d[d].n + (follows(n, 2, d) == p->iter[0] ? a : w);
  return tensor_i(c->a.value, at);
}

bool pairs_find(const Node *n, Pairs *p) {
  p->iter[0] = p->iter[1] = -1;
  p->extent[0] = p->extent[1] = 1;
  p->n = 0;
  if (n->n_in > 2 && !find_iters(n, p)) return false;
  for (int a = 0; a < p->extent[0]; a++)
    for (int w = 0; w < p->extent[1]; w++) {
      int64_t c = n->n_in > 2 ? coefficient(n, p, a, w) : 1;
      int s = 0;
      while (s < p->n && p->coef[s] != c) s++;
      if (s == p->n) p->coef[p->n++] = c;
      p->slot[a * p->extent[1] + w] = s;
    }
  return true;
}

static void count_pairs(Lower *l, const Node *n, const Lin *it, bool skip, void *user) {
  const Pairs *p = user;
  Program *g = l->p;
  Expr *plane[2][MOST_PAIRS], *sum[MOST_PAIRS];
  Lin at[MAX_ITERS];
  int n_out = n->a.iters->n_out;
  for (int i = 0; i < n_out + n->a.iters->n_red; i++) at[i] = it[i];
  for (int k = 0; k < 2; k++)
    for (int q = 0; q < p->extent[k]; q++) {
      if (p->iter[k] >= 0) at[n_out + p->iter[k]] = lin_c(q);
      plane[k][q] = let(l, k ? "w" : "a", word_bits(l, contract_operand(l, n, k, at, skip), n->in[k]->t.e));
    }
  for (int s = 0; s < p->n; s++) sum[s] = nx_var(g, l->nest, p->var[s]);
  for (int a = 0; a < p->extent[0]; a++)
    for (int w = 0; w < p->extent[1]; w++) {
      int s = p->slot[a * p->extent[1] + w];
      Expr *count = nx1(g, S_POP, nx2(g, n->a.scalar, plane[0][a], plane[1][w]));
      sum[s] = nx2(g, S_ADD, sum[s], nx_cast(g, count, sum[s]->t.e));
    }
  for (int s = 0; s < p->n; s++) ns_set(g, l->at, p->var[s], sum[s]);
}

Expr *planes_expr(Lower *l, const Node *n, Lin *it) {
  Pairs p = {.n = 0};
  Elem acc = contract_elem(l, n);
  if (elem_is_float(acc) || !pairs_find(n, &p)) return NULL;
  for (int s = 0; s < p.n; s++) {
    p.var[s] = nest_var(l->p, l->nest, "acc", nt(acc), false);
    ns_vardef(l->p, l->at, p.var[s], nx_const_i(l->p, nt(acc), 0));
  }
  uint32_t unrolled = 0;
  for (int k = 0; k < 2; k++)
    if (p.iter[k] >= 0) unrolled |= 1u << p.iter[k];
  contract_loops(l, n, it, unrolled, count_pairs, &p);
  Expr *total = NULL;
  for (int s = 0; s < p.n; s++) {
    Expr *e = nx2(l->p, S_MUL, nx_var(l->p, l->nest, p.var[s]), nx_const_i(l->p, nt(acc), p.coef[s]));
    total = total ? nx2(l->p, S_ADD, total, e) : e;
  }
  return contract_result(l, n, total);
}
