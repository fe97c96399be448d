#include "passes/access.h"

#include <assert.h>
#include <math.h>
#include <string.h>

bool affine_pure(const Affine *a, int n_iters, int *iter) {
  int found = -1;
  if (a->base != 0 || a->div != 1) return false;
  for (int j = 0; j < n_iters; j++) {
    if (a->coef[j] == 0) continue;
    if (a->coef[j] != 1 || found >= 0) return false;
    found = j;
  }
  *iter = found;
  return found >= 0;
}

/* Divides base, coefficients and divisor by their common divisor where the division is then exact for every index. */
static void affine_reduce(Affine *a, int n_iters) {
  if (a->div == 1 || a->base % a->div != 0) return;
  for (int j = 0; j < n_iters; j++)
    if (a->coef[j] % a->div != 0) return;
  for (int j = 0; j < n_iters; j++) a->coef[j] /= a->div;
  a->base /= a->div;
  a->div = 1;
}

static bool compose_one(const Affine *inner, const Affine *outer, int n_mid, int n_iters, Affine *out) {
  int pure;
  if (affine_pure(inner, n_mid, &pure)) { /* the outer access passes through, its division included */
    *out = outer[pure];
    return true;
  }
  *out = (Affine){.base = inner->base, .div = inner->div};
  for (int j = 0; j < n_mid; j++) {
    int64_t c = inner->coef[j], p;
    if (c == 0) continue;
    if (outer[j].div != 1) return false;
    if (!mul_ok(c, outer[j].base, &p) || !add_ok(out->base, p, &out->base)) return false;
    for (int m = 0; m < n_iters; m++)
      if (!mul_ok(c, outer[j].coef[m], &p) || !add_ok(out->coef[m], p, &out->coef[m])) return false;
  }
  affine_reduce(out, n_iters);
  return true;
}

bool affine_compose(const Affine *inner, int n_inner, const Affine *outer, int n_mid, int n_iters, Affine *out) {
  for (int k = 0; k < n_inner; k++)
    if (!compose_one(&inner[k], outer, n_mid, n_iters, &out[k])) return false;
  return true;
}

bool view_permutation(const Node *v, int perm[MAX_RANK]) {
  const Type *x = &v->in[0]->t;
  bool seen[MAX_RANK] = {false};
  if (v->op != OP_VIEW || x->rank != v->t.rank) return false;
  for (int j = 0; j < x->rank; j++) {
    int i;
    if (!affine_pure(&v->a.iters->acc[0][j], v->t.rank, &i) || seen[i] || !dim_eq(x->d[j], v->t.d[i])) return false;
    seen[i] = true;
    perm[i] = j;
  }
  return true;
}

bool reshape_ones(const Type *from, const Type *to, int from_of[MAX_RANK]) {
  int j = 0;
  const Dim one = dim_c(1);
  for (int i = 0; i < to->rank; i++) {
    while (j < from->rank && dim_eq(from->d[j], one) && !dim_eq(to->d[i], one)) j++;
    if (j < from->rank && dim_eq(from->d[j], to->d[i])) from_of[i] = j++;
    else if (dim_eq(to->d[i], one)) from_of[i] = -1;
    else return false;
  }
  while (j < from->rank)
    if (!dim_eq(from->d[j++], one)) return false;
  return true;
}

int64_t bcast_index(const Type *k, int rank, const int64_t *idx) {
  int64_t at = 0;
  for (int j = 0; j < k->rank; j++) at = at * k->d[j].n + (k->d[j].n == 1 ? 0 : idx[j + rank - k->rank]);
  return at;
}

static bool elem_same(const Tensor *t, int64_t a, int64_t b) {
  size_t size = store_size(t->st);
  return memcmp((const char *)t->data + (size_t)a * size, (const char *)t->data + (size_t)b * size, size) == 0;
}

uint32_t const_varies(const Tensor *k, int rank) {
  uint32_t set = 0;
  int64_t inner = 1;
  for (int j = k->t.rank - 1; j >= 0; j--) {
    int64_t n = k->t.d[j].n, block = inner * n;
    bool varies = false;
    for (int64_t i = 0; i < k->n && !varies; i++)
      if (i % block >= inner) varies = !elem_same(k, i, i - inner);
    if (varies) set |= 1u << (j + rank - k->t.rank);
    inner = block;
  }
  return set;
}

/* A constant with src's element type, of the given shape, whose element i is src's element from(user, idx). */
static Node *const_pick(Graph *g, const Tensor *src, int rank, const int64_t *dims,
                        int64_t (*from)(const void *user, const int64_t *idx), const void *user) {
  Type t = type_make(src->t.e, rank, dims);
  Tensor *y = tensor_new(g->ctx, &t);
  size_t size = store_size(src->st);
  int64_t idx[MAX_RANK] = {0};
  if (!y) return NULL;
  for (int64_t i = 0; i < y->n; i++) {
    memcpy((char *)y->data + (size_t)i * size, (const char *)src->data + (size_t)from(user, idx) * size, size);
    for (int d = rank - 1; d >= 0 && ++idx[d] == dims[d]; d--) idx[d] = 0;
  }
  return node_const(g, y);
}

static int64_t pick_first(const void *user, const int64_t *idx) {
  (void)user, (void)idx;
  return 0;
}

Node *operand_scalar(Graph *g, Node *k) {
  double v;
  int64_t n;
  if (!k) return NULL;
  if (k->t.rank == 0) return k;
  if (node_is_const(k)) {
    if (!k->a.value->n || (!node_uniform(k, &v) && const_varies(k->a.value, k->t.rank))) return NULL;
    return const_pick(g, k->a.value, 0, NULL, pick_first, NULL);
  }
  return type_count(&k->t, &n) && n == 1 ? node_reshape(g, k, 0, NULL) : NULL;
}

/* Shapes cut into the smallest runs of dimensions with equal products; k, full or 1 in each run of `from`, is the same in `to`. */
static Node *across_reshape(Graph *g, const Type *from, const Type *to, Node *k) {
  int f = 0, t = 0;
  int64_t dims[MAX_RANK];
  while (f < from->rank || t < to->rank) {
    int f0 = f, t0 = t;
    int64_t pf = 1, pt = 1;
    if (f < from->rank && t < to->rank && from->d[f].sym && dim_eq(from->d[f], to->d[t])) f++, t++;
    else do {
      bool take_from = (pf <= pt && f < from->rank) || t == to->rank;
      if (take_from ? from->d[f].sym || from->d[f].n == 0 : to->d[t].sym || to->d[t].n == 0) return NULL;
      if (take_from) pf *= from->d[f++].n;
      else pt *= to->d[t++].n;
    } while (pf != pt);
    bool full = false, one = false;
    for (int i = f0; i < f; i++)
      if (from->d[i].n != 1) *(bcast_dim(&k->t, from->rank, i) == 1 ? &one : &full) = true;
    if (full && one) return NULL;
    for (int i = t0; i < t; i++) dims[i] = full ? to->d[i].n : 1;
  }
  Type y = type_make(k->t.e, to->rank, dims);
  Tensor *v = tensor_new(g->ctx, &y);
  if (!v) return NULL;
  assert(v->n == k->a.value->n);
  memcpy(v->data, k->a.value->data, (size_t)v->n * store_size(v->st));
  return node_const(g, v);
}

typedef struct { const Node *move; const Type *k; } PickBelow;

static int64_t pick_below(const void *user, const int64_t *idx) {
  const PickBelow *p = user;
  const Type *x = &p->move->in[0]->t;
  int64_t at[MAX_RANK] = {0};
  for (int j = 0; j < x->rank; j++) {
    const Affine *a = &p->move->a.iters->acc[0][j];
    if (bcast_dim(p->k, x->rank, j) == 1) continue;
    int64_t v = a->base;
    for (int i = 0; i < p->move->t.rank; i++) v += a->coef[i] * idx[i];
    if (v % a->div == 0 && v / a->div >= 0 && v / a->div < x->d[j].n) at[j] = v / a->div; /* outside: any */
  }
  return bcast_index(p->k, x->rank, at);
}

static Node *below_access(Graph *g, const Node *m, Node *k) {
  const Type *x = &m->in[0]->t, *y = &m->t;
  int n_iters = m->a.iters->n_out + m->a.iters->n_red;
  int64_t dims[MAX_RANK];
  for (int i = 0; i < y->rank; i++) dims[i] = 1;
  for (int j = 0; j < x->rank; j++) {
    if (bcast_dim(&k->t, x->rank, j) == 1) continue;
    const Affine *a = &m->a.iters->acc[0][j];
    for (int i = 0; i < n_iters; i++) {
      if (a->coef[i] == 0) continue;
      if (i >= y->rank || y->d[i].sym) return NULL;
      dims[i] = y->d[i].n;
    }
  }
  PickBelow p = {m, &k->t};
  return const_pick(g, k->a.value, y->rank, dims, pick_below, &p);
}

Node *operand_below(Graph *g, const Node *m, Node *k) {
  Node *s = operand_scalar(g, k);
  if (s || !node_is_const(k)) return s;
  switch (m->op) {
  case OP_RESHAPE: return across_reshape(g, &m->in[0]->t, &m->t, k);
  case OP_VIEW: case OP_REDUCE: return below_access(g, m, k);
  case OP_CONCAT: return bcast_dim(&k->t, m->t.rank, m->a.axis) == 1 ? k : NULL;
  default: return NULL;
  }
}

typedef struct { const int *x_of; const Type *k; int rank; } PickAbove;

static int64_t pick_above(const void *user, const int64_t *idx) {
  const PickAbove *p = user;
  int64_t at[MAX_RANK] = {0};
  for (int i = 0; i < p->rank; i++) at[i] = p->x_of[i] < 0 ? 0 : idx[p->x_of[i]];
  return bcast_index(p->k, p->rank, at);
}

/* A dimension of y along which k varies must be a dimension of x, index for index. */
static Node *above_access(Graph *g, const Node *m, Node *k) {
  const Type *x = &m->in[0]->t, *y = &m->t;
  int n_iters = m->a.iters->n_out + m->a.iters->n_red, x_of[MAX_RANK];
  int64_t dims[MAX_RANK];
  for (int j = 0; j < x->rank; j++) dims[j] = 1;
  for (int i = 0; i < y->rank; i++) {
    x_of[i] = -1;
    if (bcast_dim(&k->t, y->rank, i) == 1) continue;
    for (int j = 0, it; j < x->rank && x_of[i] < 0; j++)
      if (affine_pure(&m->a.iters->acc[0][j], n_iters, &it) && it == i && dim_eq(x->d[j], y->d[i])) x_of[i] = j;
    if (x_of[i] < 0) return NULL;
    dims[x_of[i]] = x->d[x_of[i]].n;
  }
  PickAbove p = {x_of, &k->t, y->rank};
  return const_pick(g, k->a.value, x->rank, dims, pick_above, &p);
}

Node *operand_above(Graph *g, const Node *m, Node *k) {
  Node *s = operand_scalar(g, k);
  if (s || !node_is_const(k)) return s;
  switch (m->op) {
  case OP_RESHAPE: return across_reshape(g, &m->t, &m->in[0]->t, k);
  case OP_VIEW: case OP_REDUCE: return above_access(g, m, k);
  case OP_CONCAT: return bcast_dim(&k->t, m->t.rank, m->a.axis) == 1 ? k : NULL;
  default: return NULL;
  }
}

bool code_fits(Elem e, int64_t c) {
  switch (e.kind) {
  case EK_INT: case EK_UINT: case EK_BOOL: return c >= elem_lo(e) && c <= elem_hi(e);
  case EK_BASES: return e.bits == 1 && (c == 1 || c == -1);
  case EK_SHIFT: {
    int64_t m = c < 0 ? -c : c;
    return c == 0 || (m <= elem_hi(e) && (m & (m - 1)) == 0);
  }
  default: return false;
  }
}

bool zp_uniform(const Node *zp, int64_t *z) {
  double v = 0;
  if (zp && !node_uniform(zp, &v)) return false;
  if (v != floor(v) || fabs(v) > 9e15) return false;
  *z = (int64_t)v;
  return true;
}

Node *move_clone(Graph *g, const Node *m, Node *x, double fill) {
  Type t = m->t;
  t.e = x->t.e;
  if (m->op == OP_VIEW) return node_view(g, x, &t, m->a.iters->acc[0], fill);
  if (m->op == OP_REDUCE) return node_reduce(g, m->a.scalar, x, &t, m->a.iters);
  assert(m->op == OP_RESHAPE);
  return node_reshape(g, x, t.rank, t.d);
}

static bool scale_positive(const Node *s) {
  if (!node_is_const(s)) return false;
  for (int64_t i = 0; i < s->a.value->n; i++)
    if (!(tensor_f(s->a.value, i) > 0) || isinf(tensor_f(s->a.value, i))) return false;
  return true;
}

/* The code whose dequantized value has fill's bits. */
static bool fill_code(const Node *dq, double fill, int64_t *code) {
  double s;
  int64_t z;
  if (!node_uniform(dq->in[1], &s) || !zp_uniform(dq->n_in > 2 ? dq->in[2] : NULL, &z)) return false;
  double q = nearbyint(fill / s) + (double)z;
  if (!(fabs(q) < 9e15) || !code_fits(dq->in[0]->t.e, (int64_t)q)) return false;
  double back = dequant_eval((int64_t)q, s, &(Val){.i = z}, I64, dq->in[1]->t.e, dq->t.e);
  *code = (int64_t)q;
  return memcmp(&back, &fill, sizeof back) == 0;
}

static bool same_value(const Node *a, const Node *b) {
  if (a == b) return true;
  return a && b && node_is_const(a) && node_is_const(b) && tensor_eq(a->a.value, b->a.value);
}

static Node *concat_below(Graph *g, const Node *old, Node *const *in) {
  const Node *first = in[0];
  for (int i = 1; i < old->n_in; i++) {
    const Node *d = in[i];
    if (d->op != OP_DEQUANT || d->n_in != first->n_in || !elem_eq(d->in[0]->t.e, first->in[0]->t.e)) return NULL;
    if (!same_value(d->in[1], first->in[1]) || (d->n_in > 2 && !same_value(d->in[2], first->in[2]))) return NULL;
  }
  Node *s = operand_below(g, old, first->in[1]), *z = first->n_in > 2 ? operand_below(g, old, first->in[2]) : NULL;
  if (!s || (first->n_in > 2 && !z)) return NULL;
  Node **q = NEWN(g->arena, Node *, old->n_in);
  for (int i = 0; i < old->n_in; i++) q[i] = in[i]->in[0];
  return node_dequant(g, node_concat(g, old->n_in, q, old->a.axis), s, z, old->t.e);
}

/* Exact because every element of the result is the dequantized value of one code: of the same one (reshape, view, gather, concat),
 * or of the greatest or least, which a positive scale keeps in order (rounding is monotone). */
Node *dequant_below(Rewrite *rw, const Node *old, Node *const *in) {
  Graph *g = rw->g;
  int64_t fill = 0;
  if (old->n_in < 1 || in[0]->op != OP_DEQUANT) return NULL;
  Node *d = in[0], *x, *q = d->in[0], *z = d->n_in > 2 ? d->in[2] : NULL;
  if (z && elem_is_float(z->t.e)) return NULL;
  if (old->op == OP_CONCAT) return concat_below(g, old, in);
  if (old->op == OP_VIEW) {
    bool pads = !access_inside(old, 0), zero = old->a.fill == 0 && !signbit(old->a.fill);
    if (pads && elem_eq(q->t.e, BIPOLAR) && !z && zero && scale_positive(d->in[1]))
      q = node_cast(g, q, INTK(2)); /* 0 is no sign, but a number of i2 */
    else if (pads && !fill_code(d, old->a.fill, &fill))
      return NULL;
  } else if (old->op == OP_REDUCE) {
    if (old->a.scalar != S_MAX && old->a.scalar != S_MIN) return NULL;
    if (!scale_positive(d->in[1]) || (q->t.e.kind == EK_BASES && q->t.e.bits > 1)) return NULL;
  } else if (old->op != OP_RESHAPE && old->op != OP_GATHER)
    return NULL;
  Node *s = operand_below(g, old, d->in[1]);
  if (!s || (z && !(z = operand_below(g, old, z)))) return NULL;
  x = old->op == OP_GATHER ? node_gather(g, q, in[1], old->a.axis) : move_clone(g, old, q, (double)fill);
  rw->changes++;
  return node_dequant(g, x, s, z, old->t.e);
}
