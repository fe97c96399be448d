/* Which contractions and reductions are a convolution, one of its gradients, a matrix product or a pool: by their accesses alone, so
 * derivatives, imported models and recognized integer graphs are found alike. The three faces of a convolution of g groups,
 *
 *   y[n,(g,m),p]   = sum c,k  x[n, (g,c), p*s + k*d - pad] w[(g,m),c,k]
 *   dx[n,(g,c),h]  = sum m,k  dy[n, (g,m), (h + pad - k*d)/s] w[(g,m),c,k]
 *   dw[(g,m),c,k]  = sum n,p  x[n, (g,c), p*s + k*d - pad] dy[n,(g,m),p]
 *
 * share one relation, h = p*s + k*d - pad, per spatial dimension. Channels may be one dimension or one each for the group and what is in it:
 * what counts is where they lie. Values of [n,g,c,h..] lie channels last only as [n,(g,c),h..]: such operands are reshapes of that, and such results
 * are read by one reshape alone, which is then what matches. */
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

enum { PART_X, PART_W, PART_Y };
/* A contract as one face: which operand is each part, -1 the result; nd spatial dimensions. */
typedef struct Face { const Walk *w; int nd, of[3]; const Type *t[3]; } Face;

/* Access of a part's dimension d. */
static Affine access(const Face *f, int part, int d) { return f->of[part] < 0 ? affine_iter(d, 1, 0) : f->w->n->a.iters->acc[f->of[part]][d]; }
static int axis(const Face *f, int part, int i) { return f->t[part]->rank - f->nd + i; } /* of spatial dimension i */
/* Iterator that a part's dimension is, all of it, as at() says. */
static int iter_at(const Face *f, int part, int d) { return f->of[part] < 0 ? out_iter(f->w, d) : at(f->w, f->of[part], d); }

/* Where dimensions from .. to - 1 lie, as a sum over iterators; the number of elements, 0 where they do not lie so. */
static int64_t lies_at(const Face *f, int part, int from, int to, int64_t coef[MAX_ITERS]) {
  int64_t step = 1;
  memset(coef, 0, sizeof(int64_t) * MAX_ITERS);
  for (int d = to - 1; d >= from; step *= f->t[part]->d[d--].n) {
    const Affine a = access(f, part, d);
    int64_t top = 0;
    for (int i = 0; i < f->w->total; i++) {
      if (f->w->ext[i] == 1) continue;
      if (a.coef[i] < 0) return 0;
      coef[i] += step * a.coef[i], top += a.coef[i] * (f->w->ext[i] - 1);
    }
    if (a.base || a.div != 1 || top >= f->t[part]->d[d].n) return 0;
  }
  return step;
}

/* Channels: x's are g*C + c, y's g*M + m, w's (g*M + m)*C + c, with an iterator at most for each of g, m and c. */
static bool channels(const Face *f, DnnConv *v, int *c, int *m) {
  int64_t at_part[3][MAX_ITERS];
  const Walk *w = f->w;
  int g = -1;
  *c = *m = -1;
  int64_t nx = lies_at(f, PART_X, 1, axis(f, PART_X, 0), at_part[PART_X]), ny = lies_at(f, PART_Y, 1, axis(f, PART_Y, 0), at_part[PART_Y]);
  int64_t nw = lies_at(f, PART_W, 0, axis(f, PART_W, 0), at_part[PART_W]);
  for (int i = 0; i < w->total; i++) {
    bool x = at_part[PART_X][i], k = at_part[PART_W][i], y = at_part[PART_Y][i];
    int *is_part = x && k && y ? &g : x && k ? c : y && k ? m : NULL;
    if (!x && !k && !y) continue;
    if (!is_part || *is_part >= 0) return false;
    *is_part = i;
  }
  int64_t groups = extent(w, g), in = extent(w, *c), out = extent(w, *m);
  if (g >= 0 && (at_part[PART_X][g] != in || at_part[PART_Y][g] != out || at_part[PART_W][g] != in * out)) return false;
  if (*c >= 0 && (at_part[PART_X][*c] != 1 || at_part[PART_W][*c] != 1)) return false;
  if (*m >= 0 && (at_part[PART_Y][*m] != 1 || at_part[PART_W][*m] != in)) return false;
  v->groups = groups, v->ic = groups * in, v->oc = groups * out;
  return nx == v->ic && ny == v->oc && nw == v->oc * in;
}

/* p = (h + pad - k*dilation)/stride. */
static bool unwindow(const Walk *w, const Affine *a, int h, int tap, int64_t *stride, int64_t *dilation, int64_t *pad) {
  if (a->base < 0 || (tap >= 0 && !a->coef[tap]) || (h >= 0 && !a->coef[h])) return false;
  *stride = a->div, *pad = a->base, *dilation = 1;
  for (int i = 0; i < w->total; i++) {
    if (!a->coef[i] || w->ext[i] == 1) continue;
    if (i == h ? a->coef[i] != 1 : i != tap || a->coef[i] > 0) return false;
    if (i == tap) *dilation = -a->coef[i];
  }
  return true;
}

/* Every window must start at or after -pad and the last may reach behind x: what oneDNN's padding can say. */
static bool reaches(const DnnConv *c) {
  for (int d = 0; d < c->nd; d++) if (c->pad[d] > c->dilation[d] * (c->k[d] - 1) || c->stride[d] * (c->out[d] - 1) - c->pad[d] >= c->in[d]) return false;
  return true;
}

static bool match_face(const Face *f, Match *m) {
  static const MatchKind kinds[] = {[PART_X] = MATCH_CONV_GRAD_X, [PART_W] = MATCH_CONV_GRAD_W, [PART_Y] = MATCH_CONV};
  const Walk *w = f->w;
  int made = f->of[PART_X] < 0 ? PART_X : f->of[PART_W] < 0 ? PART_W : PART_Y, wide = made == PART_X ? PART_Y : PART_X; /* wide: read by windows */
  bool inside = access_inside(w->n, 0);
  if (!zero_outside(w->n) || (f->of[wide] != 0 && (made == PART_Y || !inside))) return false;
  DnnConv *v = &m->conv;
  *v = (DnnConv){.nd = f->nd, .n = f->t[PART_X]->d[0].n};
  int red[5] = {-1, -1, -1, -1, -1}, c, o;
  if (!channels(f, v, &c, &o)) return false;
  int batch = iter_at(f, PART_X, 0);
  if (batch == -2 || iter_at(f, PART_Y, 0) != batch || v->n != f->t[PART_Y]->d[0].n) return false;
  red[0] = made == PART_X ? o : made == PART_W ? batch : c;
  for (int i = 0; i < f->nd; i++) {
    int tap = made == PART_W ? out_iter(w, axis(f, PART_W, i)) : iter_at(f, PART_W, axis(f, PART_W, i));
    int p = wide == PART_Y ? -1 : iter_at(f, PART_Y, axis(f, PART_Y, i)), h = wide == PART_Y ? out_iter(w, axis(f, PART_X, i)) : -1;
    if (tap == -2 || p == -2) return false;
    red[1 + i] = made == PART_W ? p : tap;
    const Affine a = access(f, wide, axis(f, wide, i));
    bool fits = wide == PART_Y ? unwindow(w, &a, h, tap, &v->stride[i], &v->dilation[i], &v->pad[i]) : window(w, &a, p, tap, &v->stride[i], &v->dilation[i], &v->pad[i]);
    if (!fits) return false;
    v->in[i] = f->t[PART_X]->d[axis(f, PART_X, i)].n, v->k[i] = f->t[PART_W]->d[axis(f, PART_W, i)].n, v->out[i] = f->t[PART_Y]->d[axis(f, PART_Y, i)].n;
  }
  m->kind = kinds[made];
  m->x = wide == PART_Y ? f->of[PART_Y] : f->of[PART_X], m->w = made == PART_W ? f->of[PART_Y] : f->of[PART_W];
  return reductions_are(w, 1 + f->nd, red) && reaches(v);
}

/* Operand k without the reshapes that make dimensions of its groups; NULL where it lies otherwise than [n, channels, spatial..]. */
static const Node *whole(const Node *n, int k, int nd) {
  const Node *x = n->in[k];
  int rank = x->t.rank;
  if (rank == nd + 2) return x;
  while (x->op == OP_RESHAPE && x->t.rank != nd + 2) x = x->in[0];
  bool same = x->t.rank == nd + 2 && dim_eq(x->t.d[0], n->in[k]->t.d[0]);
  for (int i = 0; i < nd; i++) same = same && dim_eq(x->t.d[2 + i], n->in[k]->t.d[rank - nd + i]);
  return same ? x : NULL;
}

static bool match_conv(const Walk *w, bool reshaped, Match *m) {
  static const int roles[][3] = {{0, 1, -1}, {-1, 1, 0}, {-1, 0, 1}, {0, -1, 1}, {1, -1, 0}}; /* operands of x, w, y */
  const Node *n = w->n;
  for (int nd = 3; nd >= 1; nd--)
    for (int r = 0; r < 5; r++) {
      Face f = {.w = w, .nd = nd, .of = {roles[r][0], roles[r][1], roles[r][2]}};
      bool ok = true;
      for (int part = 0; part < 3; part++) {
        f.t[part] = f.of[part] < 0 ? &n->t : &n->in[f.of[part]]->t;
        ok = ok && (f.t[part]->rank == nd + 2 || f.t[part]->rank == nd + 3);
      }
      if (f.of[PART_W] >= 0 && (n->t.rank == nd + 3) != reshaped) ok = false;
      if (!ok || !match_face(&f, m)) continue;
      m->in[0] = whole(n, m->x, nd), m->in[1] = f.of[PART_W] < 0 ? whole(n, m->w, nd) : n->in[m->w];
      if (m->in[0] && m->in[1]) return true;
    }
  return false;
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

/* max, or add of floats, over windows. */
static bool match_pool(const Node *n, Match *m) {
  Walk walk = {.n = n, .n_out = n->a.iters->n_out}, *w = &walk;
  walk.total = iters_extents(n, walk.ext);
  const Type *x = &n->in[0]->t;
  bool sum = n->a.scalar == S_ADD && elem_eq(n->t.e, F32);
  Sum whole_sum;
  if (x->rank != n->t.rank || x->rank < 3 || x->rank > 5) return false;
  if (sum ? sum_match(n, false, &whole_sum) : n->a.scalar != S_MAX || !(elem_eq(n->t.e, F32) || small_code(n->t.e))) return false;
  DnnPool *p = &m->pool;
  *p = (DnnPool){.kind = sum ? DNN_AVG_PAD : DNN_MAX, .nd = x->rank - 2, .n = x->d[0].n, .c = x->d[1].n};
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
  m->kind = MATCH_POOL, m->x = 0;
  m->in[0] = n->in[0];
  return reductions_are(w, p->nd, red);
}

/* dx[n,c,h] = sum k  dy[n, c, (h + pad - k*d)/s]: of sums over windows. */
static bool match_sum_grad(const Node *n, Match *m) {
  Walk walk = {.n = n, .n_out = n->a.iters->n_out}, *w = &walk;
  walk.total = iters_extents(n, walk.ext);
  const Type *y = &n->in[0]->t;
  if (n->a.scalar != S_ADD || !elem_eq(n->t.e, F32) || y->rank != n->t.rank || y->rank < 3 || y->rank > 5) return false;
  DnnPool *p = &m->pool;
  *p = (DnnPool){.kind = DNN_AVG_PAD, .nd = y->rank - 2, .n = y->d[0].n, .c = y->d[1].n};
  if (!is(w, 0, 0, out_iter(w, 0)) || !is(w, 0, 1, out_iter(w, 1))) return false;
  int red[3];
  for (int d = 0; d < p->nd; d++) {
    const Affine *a = &n->a.iters->acc[0][2 + d];
    int tap = -1;
    for (int i = w->n_out; i < w->total; i++) if (a->coef[i] && w->ext[i] > 1) tap = i;
    red[d] = tap;
    p->in[d] = n->t.d[2 + d].n, p->k[d] = extent(w, tap), p->out[d] = y->d[2 + d].n;
    if (!unwindow(w, a, out_iter(w, 2 + d), tap, &p->stride[d], &p->dilation[d], &p->pad[d])) return false;
    if (p->pad[d] > p->dilation[d] * (p->k[d] - 1) || p->stride[d] * (p->out[d] - 1) - p->pad[d] >= p->in[d]) return false;
  }
  m->kind = MATCH_SUM_GRAD, m->x = 0;
  m->in[0] = n->in[0];
  return reductions_are(w, p->nd, red);
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
    if (pool.kind != MATCH_POOL) continue; /* S_MAX, as where says */
    *m = (Match){.kind = MATCH_POOL_GRAD, .pool = pool.pool, .x = 0, .in = {n->in[0]}, .forward = f};
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

static bool match_contract(const Node *n, bool reshaped, Match *m) {
  Walk w = {.n = n, .n_out = n->a.iters->n_out};
  w.total = iters_extents(n, w.ext);
  if (n->n_in != 2 || n->a.scalar != S_MUL || !sums_fit(&w)) return false;
  if (match_conv(&w, reshaped, m)) return true;
  if (reshaped || !access_inside(n, 0) || !(match_product(&w, 0, m) || match_product(&w, 1, m))) return false;
  m->in[0] = n->in[m->x], m->in[1] = n->in[m->w];
  return true;
}

Match match_node(const Graph *g, const Node *n) {
  Match m = {.kind = MATCH_NONE};
  bool ok = false;
  if (n->op == OP_SCATTER) ok = elem_eq(n->t.e, F32) && match_pool_grad(g, n, &m);
  else if (n->op == OP_REDUCE) ok = match_pool(n, &m) || match_sum_grad(n, &m);
  else if (n->op == OP_CONTRACT) ok = match_contract(n, false, &m);
  else if (n->op == OP_RESHAPE && n->in[0]->op == OP_CONTRACT && n->t.rank + 1 == n->in[0]->t.rank) {
    ok = match_contract(n->in[0], true, &m) && m.kind != MATCH_CONV_GRAD_W;
    const Type *t = &n->in[0]->t; /* groups and their channels become one dimension, the others stay */
    for (int i = 0; i < n->t.rank; i++) ok = ok && (i == 1 || dim_eq(n->t.d[i], t->d[i + (i > 1)]));
  }
  return ok ? m : (Match){.kind = MATCH_NONE};
}
