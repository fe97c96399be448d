/* canon: one spelling per meaning, every rule exact in bits:
 *   maps     x*1, x/1, x+(-0), x-0, --x, max(max(x,c),c) vanish; a constant is the right operand; casts that lose nothing merge
 *   shapes   reshape of reshape, view of view compose; what changes nothing vanishes
 *   access   a view feeding a contract, reduce or view joins its access; a permutation of their result joins their iterators;
 *            so do dimensions of 1
 *   bn         its five operations, which thresholds and sink know */
#include "passes/canon.h"

#include "passes/access.h"
#include "passes/pass.h"

#include <math.h>
#include <string.h>

static bool uniform_bits(const Node *n, double v) {
  double u;
  return node_uniform(n, &u) && memcmp(&u, &v, sizeof u) == 0;
}

/* x unchanged by `old`: same type, and c is the operation's neutral element. */
static bool neutral(const Node *old, const Node *x, const Node *c) {
  double v;
  bool floats = elem_is_float(old->t.e);
  if (!type_eq(&old->t, &x->t) || !node_uniform(c, &v)) return false;
  switch (old->a.scalar) {
  case S_MUL: case S_DIV: return v == 1;
  case S_ADD: return floats ? uniform_bits(c, -0.0) : v == 0; /* -0 + +0 is +0 */
  case S_SUB: return floats ? uniform_bits(c, 0.0) : v == 0;
  case S_OR: case S_XOR: case S_SHL: case S_SHR: return v == 0;
  default: return false;
  }
}

/* No element is zero or NaN: then max and min do not depend on the order of their operands. */
static bool ordered(const Node *c) {
  if (!node_is_const(c)) return false;
  if (elem_is_code(c->t.e)) return true;
  for (int64_t i = 0; i < c->a.value->n; i++) {
    double v = tensor_f(c->a.value, i);
    if (v == 0 || isnan(v)) return false;
  }
  return true;
}

static bool commutes(Scalar s, const Node *c) {
  switch (s) {
  case S_ADD: case S_MUL: case S_AND: case S_OR: case S_XOR: case S_EQ: return true;
  case S_MAX: case S_MIN: return ordered(c);
  default: return false;
  }
}

/* Every number of a is a number of b. */
static bool elem_within(Elem a, Elem b) {
  if (elem_is_float(a) || elem_is_float(b)) {
    if (!elem_is_float(a) || !elem_is_float(b)) return false;
    return elem_eq(a, b) || (b.kind == EK_FLOAT && a.bits <= b.bits && !(a.kind == EK_BF16 && b.bits < 32));
  }
  if (a.kind == EK_BASES && a.bits > 1) return false;
  if (b.kind != EK_INT && b.kind != EK_UINT) return false;
  return elem_lo(a) >= elem_lo(b) && elem_hi(a) <= elem_hi(b) && !(a.kind == EK_UINT && a.bits == 64 && b.kind == EK_INT);
}

static Node *canon_map(Rewrite *rw, const Node *old, Node *const *in) {
  Graph *g = rw->g;
  if (old->a.scalar == S_CAST) {
    Node *x = in[0];
    if (type_eq(&x->t, &old->t)) return x;
    bool merges = node_is_map(x, S_CAST) && elem_within(x->in[0]->t.e, x->t.e) && old->t.e.kind != EK_BOOL;
    return merges ? node_cast(g, x->in[0], old->t.e) : NULL;
  }
  if (old->a.scalar == S_NEG && node_is_map(in[0], S_NEG) && type_eq(&in[0]->in[0]->t, &old->t)) return in[0]->in[0];
  if (old->n_in != 2) return NULL;
  if (neutral(old, in[0], in[1])) return in[0];
  if (commutes(old->a.scalar, in[0]) && node_is_const(in[0]) && !node_is_const(in[1]) && elem_eq(in[0]->t.e, in[1]->t.e))
    return neutral(old, in[1], in[0]) ? in[1] : node_map_as(g, old->a.scalar, old->t.e, 2, (Node *[]){in[1], in[0]});
  if ((old->a.scalar == S_MAX || old->a.scalar == S_MIN) && node_is_map(in[0], old->a.scalar) && in[0]->in[1] == in[1] &&
      type_eq(&in[0]->t, &old->t))
    return in[0]; /* a > c or not: once c is in, c changes nothing */
  return NULL;
}

static bool view_is_identity(const Node *old, const Node *x) {
  int perm[MAX_RANK];
  if (!type_eq(&x->t, &old->t) || !view_permutation(old, perm)) return false;
  for (int i = 0; i < old->t.rank; i++)
    if (perm[i] != i) return false;
  return true;
}

/* Composes the access of operand k of `old` with the view that is its input. The view may be left (outside) only where it does not
 * matter: the view is inside, or `old`'s own access is inside and may take over the view's fill. */
static bool absorb(const Node *old, const Node *v, int k, Affine *acc, double *fill) {
  const Iters *it = old->a.iters;
  int perm[MAX_RANK];
  bool pads = old->op != OP_REDUCE && k == 0;
  if (v->op != OP_VIEW) return false;
  if (!access_inside(old, k)) {
    if (!pads && old->op != OP_REDUCE) return false;
    if (!view_permutation(v, perm)) return false; /* outside the view's result is outside its operand */
  } else if (!access_inside(v, 0)) {
    if (!pads) return false;
    *fill = v->a.fill;
  }
  return affine_compose(v->a.iters->acc[0], v->in[0]->t.rank, it->acc[k], v->t.rank, it->n_out + it->n_red, acc);
}

/* At old's location. */
static Node *with_access(Graph *g, const Node *old, Node *const *in, const Iters *it, const Type *t, double fill) {
  Attr a = old->a;
  a.iters = (Iters *)(uintptr_t)it;
  a.fill = fill;
  return node_new(g, (Op)old->op, t, old->n_in, in, &a, &old->loc);
}

/* A reshape that only adds or drops 1s, as an access over its result's dimensions. */
static bool reshape_access(const Node *r, Affine *acc) {
  int from_of[MAX_RANK];
  if (r->op != OP_RESHAPE || !reshape_ones(&r->in[0]->t, &r->t, from_of)) return false;
  for (int j = 0; j < r->in[0]->t.rank; j++) acc[j] = (Affine){.div = 1};
  for (int i = 0; i < r->t.rank; i++)
    if (from_of[i] >= 0) acc[from_of[i]] = affine_iter(i, 1, 0);
  return true;
}

static Node *canon_operands(Rewrite *rw, const Node *old, Node *const *in) {
  Iters it = *old->a.iters;
  Node *x[3];
  Affine acc[3][MAX_RANK], ones[MAX_RANK];
  double fill = old->a.fill;
  bool any = false;
  for (int k = 0; k < old->n_in; k++) {
    x[k] = in[k];
    if (absorb(old, in[k], k, acc[k], &fill)) ;
    else if (access_inside(old, k) && reshape_access(in[k], ones) &&
             affine_compose(ones, in[k]->in[0]->t.rank, it.acc[k], in[k]->t.rank, it.n_out + it.n_red, acc[k])) ;
    else continue;
    x[k] = in[k]->in[0];
    it.acc[k] = acc[k];
    any = true;
  }
  if (fill != 0 && old->op != OP_REDUCE && access_inside(old, 0) && !any) { /* never read */
    fill = 0;
    any = true;
  }
  if (!any) return NULL;
  rw->changes++;
  return with_access(rw->g, old, x, &it, &old->t, fill);
}

/* Output iterators renamed: iterator i of the result is to_of[i]'s dimension of y; -1: it is always 0 and goes. */
static Node *renamed(Graph *g, const Node *c, const int to_of[MAX_RANK], const Type *y) {
  Iters it = *c->a.iters;
  Affine acc[3][MAX_RANK];
  it.n_out = y->rank;
  if (it.n_out + it.n_red > MAX_ITERS) return NULL;
  for (int k = 0; k < c->n_in; k++) {
    for (int d = 0; d < c->in[k]->t.rank; d++) {
      const Affine *a = &c->a.iters->acc[k][d];
      acc[k][d] = (Affine){.base = a->base, .div = a->div};
      for (int i = 0; i < c->t.rank; i++)
        if (to_of[i] >= 0) acc[k][d].coef[to_of[i]] = a->coef[i];
      for (int i = 0; i < it.n_red; i++) acc[k][d].coef[y->rank + i] = a->coef[c->t.rank + i];
    }
    it.acc[k] = acc[k];
  }
  Type t = *y;
  t.e = c->t.e;
  return with_access(g, c, c->in, &it, &t, c->a.fill);
}

static Node *permuted_result(Rewrite *rw, const Node *old, const Node *c) {
  int to_of[MAX_RANK], perm[MAX_RANK];
  if ((c->op != OP_CONTRACT && c->op != OP_REDUCE) || rw->uses[old->in[0]->id] != 1) return NULL;
  for (int i = 0; i < MAX_RANK; i++) to_of[i] = -1;
  if (old->op == OP_VIEW) {
    if (!view_permutation(old, perm)) return NULL;
    for (int i = 0; i < old->t.rank; i++) to_of[perm[i]] = i;
  } else {
    int from_of[MAX_RANK];
    if (!reshape_ones(&c->t, &old->t, from_of)) return NULL;
    for (int i = 0; i < old->t.rank; i++)
      if (from_of[i] >= 0) to_of[from_of[i]] = i;
  }
  return renamed(rw->g, c, to_of, &old->t);
}

static Node *canon_view(Rewrite *rw, const Node *old, Node *const *in) {
  if (view_is_identity(old, in[0])) return in[0];
  Node *y = canon_operands(rw, old, in);
  return y ? y : permuted_result(rw, old, in[0]);
}

static Node *canon_reshape(Rewrite *rw, const Node *old, Node *const *in) {
  Node *x = in[0];
  while (x->op == OP_RESHAPE) x = x->in[0];
  if (type_eq(&x->t, &old->t)) return x;
  Node *y = x == in[0] ? permuted_result(rw, old, x) : NULL;
  return y ? y : x != in[0] ? node_reshape(rw->g, x, old->t.rank, old->t.d) : NULL;
}

/* Constant operand second: products commute. Both accesses must be inside, because only the first may lie outside. */
static Node *canon_contract(Rewrite *rw, const Node *old, Node *const *in) {
  if (old->n_in == 2 && node_is_const(in[0]) && !node_is_const(in[1]) && access_inside(old, 0) && access_inside(old, 1)) {
    Iters it = *old->a.iters;
    it.acc[0] = old->a.iters->acc[1];
    it.acc[1] = old->a.iters->acc[0];
    rw->changes++;
    return with_access(rw->g, old, (Node *[]){in[1], in[0]}, &it, &old->t, 0);
  }
  return canon_operands(rw, old, in);
}

static Node *canon_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Node *y = NULL;
  int before = rw->changes;
  switch (old->op) {
  case OP_MAP: y = canon_map(rw, old, in); break;
  case OP_VIEW: y = canon_view(rw, old, in); break;
  case OP_RESHAPE: y = canon_reshape(rw, old, in); break;
  case OP_REDUCE: y = canon_operands(rw, old, in); break;
  case OP_CONTRACT: y = canon_contract(rw, old, in); break;
  case OP_BN: y = node_bn_spelled(rw->g, in, old->a.fill); break;
  case OP_CONCAT: y = old->n_in == 1 ? in[0] : NULL; break;
  default: break;
  }
  if (y && rw->changes == before) rw->changes++;
  return y;
}

Graph *pass_canon(Graph *g, const PassOptions *opt) {
  enum { ROUNDS = 16 }; /* each round can only shorten chains; real models need two or three */
  (void)opt;
  for (int round = 0, changes = 1; g && changes && round < ROUNDS; round++) {
    Graph *old = g;
    changes = 0;
    g = graph_rewrite(old, canon_rule, NULL, &changes);
    graph_free(old);
  }
  return g;
}

bool graph_is_canon(const Graph *g) {
  int changes = 0;
  Graph *again = graph_rewrite((Graph *)(uintptr_t)g, canon_rule, NULL, &changes);
  graph_free(again);
  return again && changes == 0;
}
