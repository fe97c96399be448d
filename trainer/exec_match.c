/* Which contractions and reductions are a convolution, one of its gradients, a matrix product or a pool: by their accesses alone, so
 * derivatives, imported models and recognized integer graphs are found alike. The three faces of a convolution,
 *
 *   y[n,m,p]  = sum c,k  x[n, c, p*s + k*d - pad] w[m,c,k]
 *   dx[n,c,h] = sum m,k  dy[n, m, (h + pad - k*d)/s] w[m,c,k]
 *   dw[m,c,k] = sum n,p  x[n, c, p*s + k*d - pad] dy[n,m,p]
 *
 * share one relation, h = p*s + k*d - pad, per spatial dimension. */
#include "trainer/exec_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Iterator that an access is, or -1 (a constant 0, where the dimension has one element) or -2 (something else). */
static int pure(const Affine *a, const int64_t *ext, int total) {
  int it = -1;
  for (int i = 0; i < total; i++) {
    if (!a->coef[i] || ext[i] == 1) continue;
    if (it >= 0 || a->coef[i] != 1) return -2;
    it = i;
  }
  return it >= 0 ? (a->base == 0 && a->div == 1 ? it : -2) : a->base == 0 ? -1 : -2;
}

typedef struct Walk { const Node *n; int total, n_out; int64_t ext[MAX_ITERS]; } Walk;

static int64_t extent(const Walk *w, int it) { return it < 0 ? 1 : w->ext[it]; }
/* Iterator that dimension d of operand k is, all of it: -1 where it has one element, -2 where the access is something else. */
static int at(const Walk *w, int k, int d) {
  int it = pure(&w->n->a.iters->acc[k][d], w->ext, w->total);
  return it != -2 && extent(w, it) == w->n->in[k]->t.d[d].n ? it : -2;
}
static bool is(const Walk *w, int k, int d, int it) { return at(w, k, d) == it; }
/* The reductions of more than one step are these, each once (-1: none). */
static bool reductions_are(const Walk *w, int n, const int *it) {
  uint32_t seen = 0;
  for (int i = 0; i < n; i++) {
    if (it[i] < 0) continue;
    if (it[i] < w->n_out || seen >> it[i] & 1) return false;
    seen |= 1u << it[i];
  }
  for (int i = w->n_out; i < w->total; i++) if (w->ext[i] > 1 && !(seen >> i & 1)) return false;
  return true;
}
/* Iterator of output dimension d: -1 where it has one element. */
static int out_iter(const Walk *w, int d) { return w->ext[d] == 1 ? -1 : d; }

/* index = p*s + k*d - pad with p and k of the given iterators. */
static bool window(const Walk *w, const Affine *a, int p, int k, int64_t *stride, int64_t *dilation, int64_t *pad) {
  *stride = *dilation = 1;
  if (a->div != 1) return false;
  for (int i = 0; i < w->total; i++) {
    if (!a->coef[i] || w->ext[i] == 1) continue;
    if (i == p) *stride = a->coef[i];
    else if (i == k) *dilation = a->coef[i];
    else return false;
  }
  *pad = -a->base;
  if ((p >= 0 && !a->coef[p]) || (k >= 0 && !a->coef[k])) return false;
  return *stride > 0 && *dilation > 0 && *pad >= 0;
}

static bool zero_outside(const Node *n) { return n->a.fill == 0 || access_inside(n, 0); }

static DnnConv conv_of(const Type *x, const Type *w, const Type *y) {
  DnnConv c = {.nd = x->rank - 2, .n = x->d[0].n, .groups = 1, .ic = x->d[1].n, .oc = y->d[1].n};
  for (int d = 0; d < c.nd; d++) {
    c.in[d] = x->d[2 + d].n, c.k[d] = w->d[2 + d].n, c.out[d] = y->d[2 + d].n;
    c.stride[d] = c.dilation[d] = 1;
  }
  return c;
}

/* Every window must start at or after -pad and the last may reach behind x: what oneDNN's padding can say. */
static bool reaches(const DnnConv *c) {
  for (int d = 0; d < c->nd; d++) if (c->pad[d] > c->dilation[d] * (c->k[d] - 1) || c->stride[d] * (c->out[d] - 1) - c->pad[d] >= c->in[d]) return false;
  return true;
}

static bool match_forward(const Walk *w, int x, int k, Match *m) {
  const Node *n = w->n;
  const Type *tx = &n->in[x]->t, *tw = &n->in[k]->t;
  int rank = n->t.rank;
  if (x != 0 || !zero_outside(n) || tx->rank != rank || tw->rank != rank) return false;
  int c = at(w, x, 1), red[4] = {c};
  if (!is(w, x, 0, out_iter(w, 0)) || !is(w, k, 0, out_iter(w, 1)) || c == -2 || !is(w, k, 1, c)) return false;
  m->conv = conv_of(tx, tw, &n->t);
  for (int d = 0; d < m->conv.nd; d++) {
    int tap = red[1 + d] = at(w, k, 2 + d);
    if (tap == -2) return false;
    if (!window(w, &n->a.iters->acc[x][2 + d], out_iter(w, 2 + d), tap, &m->conv.stride[d], &m->conv.dilation[d], &m->conv.pad[d])) return false;
  }
  m->kind = MATCH_CONV, m->x = x, m->w = k;
  return reductions_are(w, 1 + m->conv.nd, red) && reaches(&m->conv);
}

static bool match_grad_x(const Walk *w, int y, int k, Match *m) {
  const Node *n = w->n;
  const Type *ty = &n->in[y]->t, *tw = &n->in[k]->t;
  int rank = n->t.rank;
  if ((y != 0 && !access_inside(n, 0)) || !zero_outside(n) || ty->rank != rank || tw->rank != rank) return false;
  int c = at(w, y, 1), red[4] = {c};
  if (!is(w, y, 0, out_iter(w, 0)) || c == -2 || !is(w, k, 0, c) || !is(w, k, 1, out_iter(w, 1))) return false;
  m->conv = conv_of(&n->t, tw, ty);
  for (int d = 0; d < m->conv.nd; d++) { /* p = (h + pad - k*dilation)/stride */
    const Affine *a = &n->a.iters->acc[y][2 + d];
    int tap = red[1 + d] = at(w, k, 2 + d), h = out_iter(w, 2 + d);
    if (tap == -2 || a->base < 0 || (tap >= 0 && !a->coef[tap])) return false;
    m->conv.stride[d] = a->div, m->conv.pad[d] = a->base;
    for (int i = 0; i < w->total; i++) {
      if (!a->coef[i] || w->ext[i] == 1) continue;
      if (i == h ? a->coef[i] != 1 : i != tap || a->coef[i] > 0) return false;
      if (i == tap) m->conv.dilation[d] = -a->coef[i];
    }
    if (h >= 0 && !a->coef[h]) return false;
  }
  m->kind = MATCH_CONV_GRAD_X, m->x = y, m->w = k;
  return reductions_are(w, 1 + m->conv.nd, red) && reaches(&m->conv);
}

static bool match_grad_w(const Walk *w, int x, int y, Match *m) {
  const Node *n = w->n;
  const Type *tx = &n->in[x]->t, *ty = &n->in[y]->t;
  int rank = n->t.rank;
  if ((x != 0 && !access_inside(n, 0)) || !zero_outside(n) || tx->rank != rank || ty->rank != rank) return false;
  int batch = at(w, x, 0), red[4] = {batch};
  if (batch == -2 || !is(w, y, 0, batch) || !is(w, x, 1, out_iter(w, 1)) || !is(w, y, 1, out_iter(w, 0))) return false;
  m->conv = conv_of(tx, &n->t, ty);
  for (int d = 0; d < m->conv.nd; d++) {
    int p = red[1 + d] = at(w, y, 2 + d);
    if (p == -2) return false;
    if (!window(w, &n->a.iters->acc[x][2 + d], p, out_iter(w, 2 + d), &m->conv.stride[d], &m->conv.dilation[d], &m->conv.pad[d])) return false;
  }
  m->kind = MATCH_CONV_GRAD_W, m->x = x, m->w = y;
  return reductions_are(w, 1 + m->conv.nd, red) && reaches(&m->conv);
}

/* Matrix products. Iterators fall into batch (both operands and the result), row (x and the result), column (w and the result) and
 * inner (both operands); those of one class must walk through memory as one. */
typedef struct Class { int it[MAX_ITERS], n; int64_t ext, stride[3]; } Class; /* strides in x, w, y */

static bool merge(const Walk *w, Class *c, int64_t s[3][MAX_ITERS]) {
  c->ext = 1;
  for (int t = 0; t < 3; t++) c->stride[t] = c->n ? s[t][c->it[c->n - 1]] : 0;
  for (int j = c->n - 1; j >= 0; j--) {
    for (int t = 0; t < 3; t++) if (s[t][c->it[j]] != c->stride[t] * c->ext) return false;
    c->ext *= w->ext[c->it[j]];
  }
  return true;
}

static bool dense_rows(int64_t outer, int64_t inner, int64_t rows, int64_t cols) { /* row-major or transposed */
  return (inner == 1 && outer >= cols) || (outer == 1 && inner >= rows);
}

static bool match_product(const Walk *w, int first, Match *m) {
  const Node *n = w->n;
  int64_t s[3][MAX_ITERS] = {{0}}, step = 1;
  Class c[4] = {0}; /* batch, row, column, inner */
  for (int k = 0; k < 2; k++) {
    const Type *t = &n->in[k ^ first]->t;
    step = 1;
    for (int d = t->rank - 1; d >= 0; step *= t->d[d--].n) {
      int i = at(w, k ^ first, d);
      if (i == -2 || (i == -1 && t->d[d].n != 1)) return false;
      if (i >= 0 && (s[k][i] || w->ext[i] != t->d[d].n)) return false;
      if (i >= 0) s[k][i] = step;
    }
  }
  step = 1;
  for (int d = n->t.rank - 1; d >= 0; step *= w->ext[d--]) s[2][d] = step;
  for (int i = 0; i < w->total; i++) {
    if (w->ext[i] == 1) continue;
    bool x = s[0][i], k = s[1][i], y = i < w->n_out;
    int which = x && k && y ? 0 : x && y ? 1 : k && y ? 2 : x && k ? 3 : -1;
    if (which < 0) return false;
    c[which].it[c[which].n++] = i;
  }
  for (int j = 0; j < 4; j++) if (!merge(w, &c[j], s)) return false;
  for (int j = 0; j < 4; j++) if (!c[j].n) for (int t = 0; t < 3; t++) c[j].stride[t] = 1;
  if (!c[0].n) c[0].stride[0] = c[0].stride[1] = c[0].stride[2] = 0;
  DnnMatmul *p = &m->product;
  *p = (DnnMatmul){.batch = c[0].ext, .m = c[1].ext, .n = c[2].ext, .k = c[3].ext,
                   .x = {c[0].stride[0], c[1].stride[0], c[3].stride[0]}, .w = {c[0].stride[1], c[3].stride[1], c[2].stride[1]},
                   .y = {c[0].stride[2], c[1].stride[2], c[2].stride[2]}};
  if (p->m == 1) p->x[1] = p->k * p->x[2], p->y[1] = p->n * p->y[2]; /* strides of one row or column: any that are dense */
  if (p->k == 1) p->x[2] = 1, p->w[1] = p->n * p->w[2];
  if (p->n == 1) p->w[2] = 1, p->y[2] = 1, p->y[1] = p->m == 1 ? 1 : p->y[1], p->w[1] = p->k == 1 ? 1 : p->w[1];
  m->kind = MATCH_PRODUCT, m->x = first, m->w = !first;
  return dense_rows(p->x[1], p->x[2], p->m, p->k) && dense_rows(p->w[1], p->w[2], p->k, p->n) && dense_rows(p->y[1], p->y[2], p->m, p->n) && p->y[2] == 1;
}

static bool match_pool(const Walk *w, Match *m) {
  const Node *n = w->n;
  const Type *x = &n->in[0]->t;
  if (n->a.scalar != S_MAX || x->rank != n->t.rank || x->rank < 3 || x->rank > 5) return false;
  DnnPool *p = &m->pool;
  *p = (DnnPool){.kind = DNN_MAX, .nd = x->rank - 2, .n = x->d[0].n, .c = x->d[1].n};
  if (!is(w, 0, 0, out_iter(w, 0)) || !is(w, 0, 1, out_iter(w, 1))) return false;
  int red[3], before = -1;
  for (int d = 0; d < p->nd; d++) {
    const Affine *a = &n->a.iters->acc[0][2 + d];
    int tap = -1;
    for (int i = w->n_out; i < w->total; i++) if (a->coef[i] && w->ext[i] > 1) tap = i;
    red[d] = tap;
    if (tap >= 0 && tap < before) return false; /* of equal elements the first in row-major order counts */
    if (tap >= 0) before = tap;
    p->in[d] = x->d[2 + d].n, p->k[d] = extent(w, tap), p->out[d] = n->t.d[2 + d].n;
    if (!window(w, a, out_iter(w, 2 + d), tap, &p->stride[d], &p->dilation[d], &p->pad[d])) return false;
    if (p->pad[d] > p->dilation[d] * (p->k[d] - 1) || p->stride[d] * (p->out[d] - 1) - p->pad[d] >= p->in[d]) return false;
  }
  if (!reductions_are(w, p->nd, red)) return false;
  m->kind = MATCH_POOL, m->x = 0;
  return true;
}

static bool same_iters(const Node *a, const Node *b) {
  const Iters *p = a->a.iters, *q = b->a.iters;
  if (a->a.scalar != b->a.scalar || p->n_out != q->n_out || p->n_red != q->n_red || !type_shape_eq(&a->t, &b->t)) return false;
  for (int i = 0; i < p->n_red; i++) if (!dim_eq(p->red[i], q->red[i])) return false;
  return !memcmp(p->acc[0], q->acc[0], sizeof(Affine) * a->in[0]->t.rank);
}

/* scatter(dy, locate(x)) beside the pool of x. */
static bool match_pool_grad(const Graph *g, const Node *n, Match *m) {
  const Node *where = n->in[1], *x;
  if (where->op != OP_LOCATE || !type_eq(&where->in[0]->t, &n->t)) return false;
  x = where->in[0];
  for (uint32_t i = x->id + 1; i < where->id; i++) {
    const Node *f = g->nodes[i];
    if (f->op != OP_REDUCE || f->in[0] != x || !same_iters(f, where)) continue;
    Match pool = match_node(g, f);
    if (pool.kind != MATCH_POOL) continue;
    *m = (Match){.kind = MATCH_POOL_GRAD, .pool = pool.pool, .x = 0, .forward = f};
    return true;
  }
  return false;
}

/* The greatest sum of |w| that one result can see: dimensions that output iterators alone read are kept apart. */
static double weight_sum(const Walk *w, const Node *k) {
  const Iters *it = w->n->a.iters;
  const Tensor *t = k->a.value;
  int64_t keep[MAX_RANK], groups = 1, repeats = 1;
  for (int d = 0; d < t->t.rank; d++) {
    bool out = false, red = false;
    for (int i = 0; i < w->total; i++) if (it->acc[1][d].coef[i] && w->ext[i] > 1) *(i < w->n_out ? &out : &red) = true;
    keep[d] = out && !red;
    if (keep[d]) groups *= t->t.d[d].n;
  }
  for (int i = w->n_out; i < w->total; i++) { /* reductions that w does not read add the same weight again */
    bool reads = false;
    for (int d = 0; d < t->t.rank; d++) reads = reads || it->acc[1][d].coef[i];
    if (!reads) repeats *= w->ext[i];
  }
  double *sum = calloc((size_t)groups + 1, sizeof *sum), most = 0;
  if (!sum) return INFINITY;
  for (int64_t i = 0; i < t->n; i++) {
    int64_t g = 0, scale = 1, rest = i;
    for (int d = t->t.rank - 1; d >= 0; rest /= t->t.d[d--].n)
      if (keep[d]) g += rest % t->t.d[d].n * scale, scale *= t->t.d[d].n;
    most = fmax(most, sum[g] += fabs(tensor_f(t, i)));
  }
  free(sum);
  return most * (double)repeats;
}

/* Sums of codes are exact in binary32 below 2^24, and must not wrap: bounded by the types, or by weights that are constant. */
static bool sums_fit(const Walk *w) {
  const Node *n = w->n;
  if (elem_is_float(n->t.e)) return elem_eq(n->t.e, F32);
  double most[2], limit = fmin(0x1p24, fmin(-(double)elem_lo(n->t.e), (double)elem_hi(n->t.e))), terms = 1;
  for (int i = w->n_out; i < w->total; i++) terms *= (double)w->ext[i];
  for (int k = 0; k < 2; k++) {
    Elem e = n->in[k]->t.e;
    if (elem_is_float(e) || (e.kind == EK_BASES && e.bits > 1)) return false;
    most[k] = fmax(-(double)elem_lo(e), (double)elem_hi(e));
  }
  if (most[0] * most[1] * terms < limit) return true;
  return node_is_const(n->in[1]) && most[0] * weight_sum(w, n->in[1]) < limit;
}

Match match_node(const Graph *g, const Node *n) {
  Match m = {.kind = MATCH_NONE};
  if (n->op == OP_SCATTER) return elem_eq(n->t.e, F32) && match_pool_grad(g, n, &m) ? m : (Match){.kind = MATCH_NONE};
  if (n->op != OP_CONTRACT && n->op != OP_REDUCE) return m;
  Walk w = {.n = n, .n_out = n->a.iters->n_out};
  w.total = iters_extents(n, w.ext);
  if (n->op == OP_REDUCE) return (elem_eq(n->t.e, F32) || small_code(n->t.e)) && match_pool(&w, &m) ? m : (Match){.kind = MATCH_NONE};
  if (n->n_in != 2 || n->a.scalar != S_MUL || !sums_fit(&w)) return m;
  if (n->t.rank >= 3 && n->t.rank <= 5) {
    if (match_forward(&w, 0, 1, &m)) return m;
    if (match_grad_x(&w, 0, 1, &m) || match_grad_x(&w, 1, 0, &m)) return m;
    if (match_grad_w(&w, 0, 1, &m) || match_grad_w(&w, 1, 0, &m)) return m;
  }
  if (access_inside(n, 0) && (match_product(&w, 0, &m) || match_product(&w, 1, &m))) return m;
  return (Match){.kind = MATCH_NONE};
}
