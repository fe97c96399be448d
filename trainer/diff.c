/* Differentiation: nodes are visited from y back to its inputs; each adds to the gradients of its operands. A scalar row has its
 * formulas in derive.def. view, add-reduce and contract share one rule, since the adjoint of an affine access is one again:
 *
 *   y[o] = sum over r of a[A(o,r)] b[B(o,r)]      da[i] = sum over what A leaves free of dy[o] b[B(o,r)]
 *
 * Each dimension of a, i = (base + sum coef*iter)/div, is solved for one iterator, which gets the exact division by its
 * coefficient; iterators that no dimension is solved for are summed over. So the gradients of a convolution are a transposed
 * convolution and a correlation, of an average pool an unpooling, of a broadcast a sum, and all are ordinary nodes. */
#include "trainer/diff.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const Derivative derivatives[SCALAR_COUNT] = {
#define D(ROW, da, db, dc) [S_##ROW] = {true, {da, db, dc}},
#include "trainer/derive.def"
#undef D
};

typedef struct Vjp {
  Graph *g;
  Node **grad;       /* by id of nodes up to y: the sum so far, or NULL */
  bool *wanted;      /* depends on one of wrt */
} Vjp;

static void accumulate(Vjp *v, const Node *x, Node *d) {
  if (!v->wanted[x->id] || !d) return;
  assert(type_eq(&d->t, &x->t) || elem_is_code(x->t.e));
  Node **sum = &v->grad[x->id];
  *sum = *sum ? node_map2(v->g, S_ADD, *sum, d) : d;
}

static bool no_derivative(Vjp *v, const Node *n, const char *why) {
  return diag(v->g->ctx, E0301, &n->loc, "no derivative of %s%s", op_info[n->op].name, why);
}

Node *sum_to(Graph *g, Node *x, const Type *t) {
  uint32_t axes = 0;
  int lead = x->t.rank - t->rank;
  for (int i = 0; i < x->t.rank; i++)
    if (i < lead || (t->d[i - lead].n == 1 && !dim_eq(t->d[i - lead], x->t.d[i]))) axes |= 1u << i;
  if (axes) x = node_reduce_axes(g, S_ADD, x, axes, false);
  return node_reshape(g, x, t->rank, t->d);
}

/* Element-wise rows */

/* A formula of derive.def over the node and its gradient. */
static Node *formula(Vjp *v, const char *text, const Node *n, Node *dy) {
  Node *stack[16];
  int top = 0;
  for (const char *at = text; *at;) {
    size_t len = strcspn(at, " ");
    char word[32] = "";
    assert(len < sizeof word);
    memcpy(word, at, len);
    at += len + strspn(at + len, " ");
    Scalar s = scalar_find(word);
    if (s != S_NONE) {
      int arity = scalar_info[s].arity;
      assert(top >= arity);
      top -= arity;
      stack[top] = arity == 1 ? node_map1(v->g, s, stack[top]) : arity == 2 ? node_map2(v->g, s, stack[top], stack[top + 1])
                                                               : node_map3(v->g, s, stack[top], stack[top + 1], stack[top + 2]);
    } else if (len == 1 && strchr("gyabc", *word)) {
      stack[top] = *word == 'g' ? dy : *word == 'y' ? (Node *)(uintptr_t)n : n->in[*word - 'a'];
    } else {
      stack[top] = node_const_f(v->g, dy->t.e, strtod(word, NULL));
    }
    top++;
    assert(top < 16);
  }
  assert(top == 1);
  return stack[0];
}

static bool map_rule(Vjp *v, const Node *n, Node *dy) {
  const Derivative *d = &derivatives[n->a.scalar];
  for (int k = 0; k < n->n_in; k++) {
    const Node *x = n->in[k];
    if (!v->wanted[x->id] || !d->operand[k]) continue;
    if (n->a.scalar == S_CAST && !elem_is_float(x->t.e)) accumulate(v, x, dy); /* codes as numbers */
    if (!elem_is_float(x->t.e)) continue;
    Node *gx = formula(v, d->operand[k], n, dy);
    accumulate(v, x, sum_to(v->g, node_cast(v->g, gx, x->t.e), &x->t));
  }
  return true;
}

/* Affine accesses */

/* What stands for an old iterator in the adjoint: (affine over the new iterators) / its div, or 0 where it has one value only. */
typedef struct Solved { Affine at; bool solved; } Solved;

typedef struct Adjoint {
  const Node *n;
  int k, total;
  int64_t ext[MAX_ITERS];
  int pivot[MAX_RANK];         /* iterator that dimension j of operand k is solved for; -1: none appears */
  Solved to[MAX_ITERS];
  Iters it;                    /* of the new node */
  Type t;                      /* its type; dimensions with pivot -1 have extent 1 */
} Adjoint;

/* Chooses the iterators to solve for: the longest, output iterators first, each once. */
static bool choose_pivots(Adjoint *a) {
  const Iters *it = a->n->a.iters;
  const Affine *acc = it->acc[a->k];
  uint32_t taken = 0;
  int appears[MAX_ITERS] = {0};
  for (int j = 0; j < a->t.rank; j++)
    for (int i = 0; i < a->total; i++) appears[i] += acc[j].coef[i] && a->ext[i] > 1;
  for (int j = 0; j < a->t.rank; j++) {
    int best = -1;
    bool more = a->t.d[j].n > 1; /* than one index: an output iterator of one step then has its range to check */
    for (int i = 0; i < a->total; i++) more = more || (acc[j].coef[i] && a->ext[i] > 1);
    for (int i = 0; i < a->total; i++) {
      bool out = i < it->n_out;
      if (!acc[j].coef[i] || (a->ext[i] <= 1 && !(out && more))) continue;
      if (appears[i] > 1) return false; /* a diagonal */
      bool better = best < 0 || out > (best < it->n_out) || (out == (best < it->n_out) && a->ext[i] > a->ext[best]);
      if (better && !(taken >> i & 1)) best = i;
    }
    a->pivot[j] = best;
    if (best >= 0) taken |= 1u << best;
  }
  return true;
}

/* The new iterators and what the old ones are in them. False where a reduction iterator would leave its range. */
static bool solve(Adjoint *a) {
  const Iters *it = a->n->a.iters;
  const Affine *acc = it->acc[a->k];
  int rank = a->t.rank;
  uint32_t solved = 0;
  for (int j = 0; j < rank; j++) if (a->pivot[j] >= 0) solved |= 1u << a->pivot[j];
  a->it.n_out = (uint8_t)rank;
  for (int i = 0; i < a->total; i++) {
    a->to[i].at = (Affine){.div = 1};
    if ((solved >> i & 1) || a->ext[i] <= 1) continue;
    if (rank + a->it.n_red >= MAX_ITERS) return false;
    a->to[i].at.coef[rank + a->it.n_red] = 1;
    a->it.red[a->it.n_red++] = dim_c(a->ext[i]);
  }
  for (int j = 0; j < rank; j++) {
    int p = a->pivot[j];
    if (p < 0) continue;
    int64_t c = acc[j].coef[p], sign = c < 0 ? -1 : 1;
    Affine e = {.base = -sign * acc[j].base, .div = sign * c};
    e.coef[j] = sign * acc[j].div;
    bool alone = true;
    for (int i = 0; i < a->total; i++) {
      if (i == p || !acc[j].coef[i] || a->ext[i] <= 1) continue;
      for (int m = 0; m < MAX_ITERS; m++) e.coef[m] -= sign * acc[j].coef[i] * a->to[i].at.coef[m];
      alone = false;
    }
    bool covers = alone && e.base == 0 && e.div == 1 && e.coef[j] == 1 && a->ext[p] == a->n->in[a->k]->t.d[j].n;
    if (p >= it->n_out && !covers) return false; /* nothing would check its range */
    a->to[p] = (Solved){e, true};
  }
  return true;
}

/* An access of another operand in the new iterators; false where two divisions meet. */
static bool substitute(const Adjoint *a, const Affine *old, Affine *out) {
  *out = (Affine){.base = old->base, .div = old->div};
  for (int i = 0; i < a->total; i++) {
    const Affine *e = &a->to[i].at;
    if (!old->coef[i] || a->ext[i] <= 1) continue;
    if (e->div != 1) {
      bool only = old->base == 0 && old->div == 1 && old->coef[i] == 1;
      for (int m = 0; m < a->total; m++) only = only && (m == i || !old->coef[m]);
      if (!only) return false;
      *out = *e;
      return true;
    }
    out->base += old->coef[i] * e->base;
    for (int m = 0; m < MAX_ITERS; m++) out->coef[m] += old->coef[i] * e->coef[m];
  }
  return true;
}

static bool outside(const Adjoint *a, const Affine *acc, const Type *t) {
  int64_t ext[MAX_ITERS];
  for (int i = 0; i < a->t.rank; i++) ext[i] = a->t.d[i].n;
  for (int i = 0; i < a->it.n_red; i++) ext[a->t.rank + i] = a->it.red[i].n;
  for (int d = 0; d < t->rank; d++) {
    int64_t lo = acc[d].base, hi = acc[d].base;
    for (int i = 0; i < a->t.rank + a->it.n_red; i++) *(acc[d].coef[i] > 0 ? &hi : &lo) += acc[d].coef[i] * (ext[i] - 1);
    if (acc[d].div != 1 || lo < 0 || hi >= t->d[d].n) return true;
  }
  return false;
}

/* A constant index of a longer dimension: the gradient lies there, zeros elsewhere. */
static Node *put_at(Vjp *v, const Adjoint *a, Node *y) {
  const Affine *acc = a->n->a.iters->acc[a->k];
  const Type *x = &a->n->in[a->k]->t;
  int64_t before[MAX_RANK] = {0}, after[MAX_RANK] = {0};
  for (int j = 0; j < x->rank; j++)
    if (a->pivot[j] < 0) {
      if (acc[j].base % acc[j].div) return NULL; /* always outside */
      before[j] = acc[j].base / acc[j].div;
      after[j] = x->d[j].n - 1 - before[j];
    }
  return node_pad(v->g, y, before, after, 0);
}

/* Gradient of operand k of a view, add-reduce or contract. NULL where its access cannot be turned round. */
static Node *adjoint(Vjp *v, const Node *n, Node *dy, int k) {
  Adjoint a = {.n = n, .k = k, .total = iters_extents(n, a.ext), .t = n->in[k]->t};
  a.t.e = dy->t.e; /* of codes, too, gradients are floats */
  if (!choose_pivots(&a)) return NULL;
  for (int j = 0; j < a.t.rank; j++) if (a.pivot[j] < 0) a.t.d[j] = dim_c(1);
  if (!solve(&a)) return NULL;
  Node *in[3] = {dy};
  Affine acc[3][MAX_RANK];
  int n_in = 1, out_of = 0, at = 0;
  double fill = 0;
  for (int o = 0; o < n->t.rank; o++) acc[0][o] = a.to[o].at;
  out_of += outside(&a, acc[0], &dy->t);
  for (int m = 0; m < n->n_in; m++) {
    if (m == k || n->op != OP_CONTRACT) continue;
    in[n_in] = n->in[m];
    for (int d = 0; d < n->in[m]->t.rank; d++)
      if (!substitute(&a, &n->a.iters->acc[m][d], &acc[n_in][d])) return NULL;
    if (outside(&a, acc[n_in], &in[n_in]->t)) out_of++, at = n_in, fill = m == 0 ? n->a.fill : 0;
    n_in++;
  }
  if (out_of > 1) return NULL;
  if (at) { /* the operand that may be outside comes first */
    Affine first[MAX_RANK];
    Node *x = in[0];
    memcpy(first, acc[0], sizeof first), memcpy(acc[0], acc[at], sizeof first), memcpy(acc[at], first, sizeof first);
    in[0] = in[at], in[at] = x;
  }
  for (int m = 0; m < n_in; m++) a.it.acc[m] = acc[m];
  Node *y = n_in > 1 ? node_contract(v->g, S_MUL, &a.t, n_in, in, &a.it, fill)
          : a.it.n_red ? node_reduce(v->g, S_ADD, dy, &a.t, &a.it) : node_view(v->g, dy, &a.t, acc[0], 0);
  return put_at(v, &a, y);
}

/* A dimension whose index is a number in mixed radix, g*per + c with c < per (channels of groups), splits into one dimension for
 * each digit. Returns how many there are, 0 where the index is none; digit: iterators, the most significant first. */
static int radix(const Affine *acc, int64_t extent, const int64_t *ext, int total, int digit[MAX_ITERS]) {
  int n = 0;
  int64_t weight = 1;
  if (acc->base || acc->div != 1) return 0;
  for (bool found = true; found && weight < extent;) {
    found = false;
    for (int i = 0; i < total && !found; i++)
      if (acc->coef[i] == weight && ext[i] > 1) {
        memmove(digit + 1, digit, (size_t)n++ * sizeof *digit);
        digit[0] = i;
        weight *= ext[i];
        found = true;
      }
  }
  for (int i = 0, seen = 0; i < total; i++) if (acc->coef[i] && ext[i] > 1 && ++seen > n) return 0;
  return weight == extent ? n : 0;
}

/* The node with such dimensions split by reshapes of its operands; NULL where there are none, or too many. */
static Node *split(Vjp *v, const Node *n) {
  int64_t ext[MAX_ITERS];
  int total = iters_extents(n, ext), splits = 0;
  Affine acc[3][MAX_RANK] = {0};
  Node *in[3];
  Attr a = n->a;
  Iters it = *n->a.iters;
  for (int k = 0; k < n->n_in; k++) {
    Type t = {.e = n->in[k]->t.e};
    for (int d = 0; d < n->in[k]->t.rank; d++) {
      int digit[MAX_ITERS], digits = radix(&n->a.iters->acc[k][d], n->in[k]->t.d[d].n, ext, total, digit);
      if (t.rank + (digits > 1 ? digits : 1) > MAX_RANK) return NULL;
      if (digits < 2) { acc[k][t.rank] = n->a.iters->acc[k][d], t.d[t.rank++] = n->in[k]->t.d[d]; continue; }
      for (int i = 0; i < digits; i++) acc[k][t.rank] = affine_iter(digit[i], 1, 0), t.d[t.rank++] = dim_c(ext[digit[i]]);
      splits++;
    }
    in[k] = node_reshape(v->g, n->in[k], t.rank, t.d);
    it.acc[k] = acc[k];
  }
  a.iters = &it;
  return splits ? node_new(v->g, (Op)n->op, &n->t, n->n_in, in, &a, &n->loc) : NULL;
}

static bool affine_rule(Vjp *v, const Node *n, Node *dy) {
  if (n->op == OP_CONTRACT && n->a.scalar != S_MUL) return no_derivative(v, n, " of words");
  for (int k = 0; k < n->n_in; k++) {
    if (!v->wanted[n->in[k]->id]) continue;
    Node *parts = n->op == OP_CONTRACT ? split(v, n) : NULL, *d = parts ? adjoint(v, parts, dy, k) : NULL; /* else group by group over all channels */
    if (!d) d = adjoint(v, n, dy, k);
    if (!d && !parts && (parts = split(v, n))) d = adjoint(v, parts, dy, k);
    if (!d) return no_derivative(v, n, " through this access");
    accumulate(v, n->in[k], node_reshape(v->g, d, n->in[k]->t.rank, n->in[k]->t.d));
  }
  return true;
}

static bool reduce_rule(Vjp *v, const Node *n, Node *dy) {
  Node *x = n->in[0];
  if (n->a.scalar == S_ADD) return affine_rule(v, n, dy);
  if (n->a.scalar != S_MAX && n->a.scalar != S_MIN) return no_derivative(v, n, " mul");
  Type at = n->t;
  at.e = I64;
  Node *where = node_new(v->g, OP_LOCATE, &at, 1, &x, &(Attr){.scalar = n->a.scalar, .iters = n->a.iters}, &n->loc);
  accumulate(v, x, node_new(v->g, OP_SCATTER, &x->t, 2, (Node *[]){dy, where}, NULL, &n->loc));
  return true;
}

/* The rest */

static bool reshape_rule(Vjp *v, const Node *n, Node *dy) {
  accumulate(v, n->in[0], node_reshape(v->g, dy, n->in[0]->t.rank, n->in[0]->t.d));
  return true;
}

static bool concat_rule(Vjp *v, const Node *n, Node *dy) {
  int64_t at = 0;
  for (int k = 0; k < n->n_in; at += n->in[k++]->t.d[n->a.axis].n)
    accumulate(v, n->in[k], node_slice(v->g, dy, n->a.axis, at, 1, n->in[k]->t.d[n->a.axis].n));
  return true;
}

/* Positions in x, gathered as its elements are, say where scatter adds. */
static bool gather_rule(Vjp *v, const Node *n, Node *dy) {
  Node *x = n->in[0], *index = n->in[1];
  if (!v->wanted[x->id]) return true;
  Type t = x->t;
  t.e = I64;
  Tensor *iota = tensor_new(v->g->ctx, &t);
  if (!iota) return false;
  for (int64_t i = 0; i < iota->n; i++) ((int64_t *)iota->data)[i] = i;
  Node *where = node_gather(v->g, node_const(v->g, iota), index, n->a.axis);
  t.e = dy->t.e;
  accumulate(v, x, node_new(v->g, OP_SCATTER, &t, 2, (Node *[]){dy, where}, NULL, &n->loc));
  return true;
}

static bool cum_rule(Vjp *v, const Node *n, Node *dy) {
  if (n->a.scalar != S_ADD) return no_derivative(v, n, " mul");
  Attr a = n->a;
  a.flag ^= 2; /* the other way */
  accumulate(v, n->in[0], node_new(v->g, OP_CUM, &n->t, 1, &dy, &a, &n->loc));
  return true;
}

/* The unrounded code u = x/scale + zp and whether it lies strictly between the bounds. */
static Node *unrounded(Vjp *v, const Node *q, Node **inside) {
  Graph *g = v->g;
  Elem e = q->in[0]->t.e;
  Node *u = node_map2(g, S_DIV, q->in[0], node_cast(g, q->in[1], e));
  if (q->n_in > 2) u = node_map2(g, S_ADD, u, node_cast(g, q->in[2], e));
  Node *above = node_map2(g, S_LT, node_const_f(g, e, (double)q->a.lo), u);
  Node *below = node_map2(g, S_LT, u, node_const_f(g, e, (double)q->a.hi));
  *inside = node_map2(g, S_AND, above, below);
  return u;
}

static Node *zero_of(Vjp *v, const Node *n) { return node_const_f(v->g, n->t.e, 0); }

/* Codes, zero points and bounds as quant_grad has them. */
static bool plain_pair(const Node *n, double *zp) {
  const Node *q = n->in[0], *x = q->in[0];
  *zp = 0;
  if (!elem_eq(n->t.e, F32) || !elem_eq(x->t.e, F32) || !elem_eq(n->in[1]->t.e, F32) || !type_eq(&x->t, &n->t) || q->a.round != RND_EVEN) return false;
  if (n->n_in > 2 && (!elem_eq(n->in[2]->t.e, F32) || !node_uniform(n->in[2], zp) || !(*zp > -0x1p22 && *zp < 0x1p22))) return false;
  return q->a.lo >= -(1 << 22) && q->a.hi <= 1 << 22;
}

static void plain_pair_rule(Vjp *v, const Node *n, Node *dy, double zp) {
  Graph *g = v->g;
  Node *q = n->in[0], *x = q->in[0], *in[3] = {dy, x, n->in[1]};
  Attr a = {.lo = q->a.lo, .hi = q->a.hi, .fill = zp};
  if (v->wanted[x->id]) accumulate(v, x, node_new(g, OP_QUANT_GRAD, &x->t, 3, in, &a, NULL));
  a.flag = 1;
  if (v->wanted[in[2]->id]) accumulate(v, in[2], sum_to(g, node_new(g, OP_QUANT_GRAD, &x->t, 3, in, &a, NULL), &in[2]->t));
}

/* y = (q - zp)*scale: dscale = sum dy*(q - zp). Of codes from quant with the same scale and zero point (fake quantization):
 * dx = dy inside the bounds; dscale = sum dy*(q - zp - (inside ? x/scale : 0)), UniQ's Eq. 6 and LSQ's Eq. 3. */
static bool dequant_rule(Vjp *v, const Node *n, Node *dy) {
  Graph *g = v->g;
  Node *q = n->in[0], *scale = n->in[1], *zp = n->n_in > 2 ? n->in[2] : NULL;
  bool pair = q->op == OP_QUANT && q->in[1] == scale && (q->n_in > 2 ? q->in[2] : NULL) == zp && q->t.e.kind != EK_BASES;
  double z;
  if (pair && plain_pair(n, &z)) { plain_pair_rule(v, n, dy, z); return true; }
  Node *level = node_cast(g, q, dy->t.e);
  if (zp) level = node_map2(g, S_SUB, level, node_cast(g, zp, dy->t.e));
  if (pair) {
    Node *inside, *u = unrounded(v, q, &inside);
    if (zp) u = node_map2(g, S_SUB, u, node_cast(g, zp, dy->t.e));
    Node *dx = node_map3(g, S_SELECT, inside, dy, zero_of(v, dy)), *x = q->in[0];
    accumulate(v, x, node_cast(g, sum_to(g, dx, &x->t), x->t.e));
    level = node_map2(g, S_SUB, level, node_map3(g, S_SELECT, inside, u, zero_of(v, u)));
  } else if (v->wanted[q->id]) {
    accumulate(v, q, sum_to(g, node_map2(g, S_MUL, dy, scale), &q->t));
  }
  if (v->wanted[scale->id]) accumulate(v, scale, sum_to(g, node_map2(g, S_MUL, dy, level), &scale->t));
  return true;
}

/* dy: the gradient of the codes. du/dx = 1/scale, du/dscale = -x/scale^2, inside the bounds. */
static bool quant_rule(Vjp *v, const Node *n, Node *dy) {
  Graph *g = v->g;
  Node *x = n->in[0], *scale = node_cast(g, n->in[1], x->t.e), *inside;
  unrounded(v, n, &inside);
  Node *dx = node_map2(g, S_DIV, node_map3(g, S_SELECT, inside, dy, zero_of(v, dy)), scale);
  accumulate(v, x, sum_to(g, dx, &x->t));
  if (v->wanted[n->in[1]->id])
    accumulate(v, n->in[1], sum_to(g, node_map1(g, S_NEG, node_map2(g, S_MUL, dx, node_map2(g, S_DIV, x, scale))), &n->in[1]->t));
  return true;
}

/* With fixed statistics: dx = dy*gain, dgamma = sum dy*(x - mean)/sqrt(var + eps), dbeta = sum dy. */
static bool bn_rule(Vjp *v, const Node *n, Node *dy) {
  Graph *g = v->g;
  Node *p[5] = {n->in[0]};
  Dim d[MAX_RANK];
  for (int i = 0; i < n->t.rank; i++) d[i] = i == 1 ? n->t.d[1] : dim_c(1);
  for (int k = 1; k < 5; k++) p[k] = node_reshape(g, n->in[k], n->t.rank, d);
  Node *root = node_map1(g, S_SQRT, node_map2(g, S_ADD, p[4], node_const_f(g, F32, n->a.fill)));
  accumulate(v, n->in[0], node_map2(g, S_MUL, dy, node_map2(g, S_DIV, p[1], root)));
  Node *h = node_map2(g, S_DIV, node_map2(g, S_SUB, p[0], p[3]), root);
  accumulate(v, n->in[1], node_reshape(g, sum_to(g, node_map2(g, S_MUL, dy, h), &p[1]->t), 1, n->in[1]->t.d));
  accumulate(v, n->in[2], node_reshape(g, sum_to(g, dy, &p[2]->t), 1, n->in[2]->t.d));
  return !(v->wanted[n->in[3]->id] || v->wanted[n->in[4]->id]) || no_derivative(v, n, " by its statistics");
}

static bool bn_train_rule(Vjp *v, const Node *n, Node *dy) {
  if (n->a.flag) return no_derivative(v, n, "'s statistics");
  Node *in[3] = {dy, n->in[0], n->in[1]};
  for (int k = 0; k < 3; k++)
    if (v->wanted[n->in[k]->id])
      accumulate(v, n->in[k], node_new(v->g, OP_BN_GRAD, &n->in[k]->t, 3, in, &(Attr){.fill = n->a.fill, .flag = k}, &n->loc));
  return true;
}

/* The gradient goes where the surrogate is, as if that had been computed. */
static bool straight_rule(Vjp *v, const Node *n, Node *dy) {
  accumulate(v, n->in[1], dy);
  return true;
}

typedef bool Rule(Vjp *, const Node *, Node *dy);
static Rule *const rules[OP_COUNT] = {
  [OP_MAP] = map_rule, [OP_VIEW] = affine_rule, [OP_CONTRACT] = affine_rule, [OP_REDUCE] = reduce_rule, [OP_RESHAPE] = reshape_rule,
  [OP_CONCAT] = concat_rule, [OP_GATHER] = gather_rule, [OP_CUM] = cum_rule, [OP_QUANT] = quant_rule, [OP_DEQUANT] = dequant_rule,
  [OP_BN] = bn_rule, [OP_BN_TRAIN] = bn_train_rule, [OP_STRAIGHT] = straight_rule,
}; /* the others give codes, or are derivatives themselves */

/* Gradients flow through floats, and through the codes of quant where they are only moved. */
static bool carries(const Node *n) {
  if (n->op == OP_ARGREDUCE || n->op == OP_LOCATE || n->op == OP_THRESHOLDS || n->op == OP_REQUANT || n->op == OP_PACK) return false;
  bool moves = n->op == OP_VIEW || n->op == OP_RESHAPE || n->op == OP_CONCAT || n->op == OP_GATHER;
  return elem_is_float(n->t.e) || n->op == OP_QUANT || moves;
}

bool graph_vjp_sum(Graph *g, int n_y, Node *const *y, Node *const *dy, Node *const *wrt, int n, Node **grads) {
  uint32_t top = 0;
  for (int k = 0; k < n_y; k++) {
    assert(type_eq(&y[k]->t, &dy[k]->t) && elem_is_float(y[k]->t.e));
    if (y[k]->id > top) top = y[k]->id;
  }
  Arena *scratch = arena_new(g->ctx);
  Vjp v = {.g = g, .grad = NEWN(scratch, Node *, top + 1), .wanted = NEWN(scratch, bool, g->n_nodes + 1)};
  Loc at = g->at;
  bool ok = true;
  for (int i = 0; i < n; i++) if (wrt[i]->id <= top) v.wanted[wrt[i]->id] = true;
  for (uint32_t i = 0; i <= top; i++)
    for (int k = g->nodes[i]->op == OP_STRAIGHT; k < g->nodes[i]->n_in; k++) v.wanted[i] = v.wanted[i] || (v.wanted[g->nodes[i]->in[k]->id] && carries(g->nodes[i]));
  for (int k = 0; k < n_y; k++) accumulate(&v, y[k], dy[k]);
  for (int64_t i = top; i >= 0; i--) {
    const Node *node = g->nodes[i];
    if (!v.grad[i] || node->op == OP_ARG || node->op == OP_CONST) continue;
    g->at = node->loc;
    ok = (rules[node->op] ? rules[node->op](&v, node, v.grad[i]) : no_derivative(&v, node, "")) && ok;
  }
  g->at = at;
  for (int i = 0; i < n; i++) grads[i] = wrt[i]->id <= top ? v.grad[wrt[i]->id] : NULL;
  arena_free(scratch);
  return ok;
}

bool graph_vjp(Graph *g, Node *y, Node *dy, Node *const *wrt, int n, Node **grads) { return graph_vjp_sum(g, 1, &y, &dy, wrt, n, grads); }
