/* Operator tables, graphs and node builders. */
#include "ir/graph.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const OpInfo op_info[OP_COUNT] = {
#define OP(NAME, name, lo, hi, attrs, meaning) [OP_##NAME] = {#name, lo, hi, attrs, meaning},
#include "ir/ops.def"
#undef OP
};

/* The letters of scalar.def's columns. */
enum { F = 'F', I = 'I', B = 'B', A = 'A', C = 'C' };
const ScalarInfo scalar_info[SCALAR_COUNT] = {
#define S(NAME, name, arity, on, result, equation) [S_##NAME] = {#name, arity, on, result, equation},
#include "ir/scalar.def"
#undef S
};

const char *const round_names[RND_COUNT] = {"even", "ceil", "floor", "up", "down", "half_up", "half_down"};
const char *const kernel_names[KERNEL_COUNT] = {"auto", "float", "int", "bitserial", "shift", "packed"};

Scalar scalar_find(const char *name) {
  for (int s = 1; s < SCALAR_COUNT; s++) if (!strcmp(name, scalar_info[s].name)) return (Scalar)s;
  return S_NONE;
}

/* Graphs */

Graph *graph_new(Ctx *ctx, const char *name, const char *file) {
  Arena *a = arena_new(ctx);
  Graph *g = NEW(a, Graph);
  g->ctx = ctx;
  g->arena = a;
  g->name = arena_strdup(a, name);
  g->file = file ? arena_strdup(a, file) : NULL;
  g->at = LOC_NONE;
  return g;
}

void graph_free(Graph *g) { if (g) arena_free(g->arena); }

/* An array with room for one more than n elements: it doubles whenever n is a power of two. */
static void *grow(Graph *g, void *old, int n, size_t size) {
  if (n & (n - 1)) return old;
  return arena_grow(g->arena, old, size * (size_t)n, size * (n ? 2 * (size_t)n : 1));
}

uint32_t graph_sym(Graph *g, const char *name) {
  for (int i = 0; i < g->n_syms; i++) if (!strcmp(g->syms[i], name)) return (uint32_t)i + 1;
  g->syms = grow(g, (void *)(uintptr_t)g->syms, g->n_syms, sizeof *g->syms);
  g->syms[g->n_syms] = arena_strdup(g->arena, name);
  return (uint32_t)++g->n_syms;
}

void graph_fact(Graph *g, const char *key, const char *value) {
  int i = 0;
  while (i < g->n_facts && strcmp(g->facts[i].key, key)) i++;
  if (i == g->n_facts) {
    g->facts = grow(g, g->facts, g->n_facts++, sizeof *g->facts);
    g->facts[i].key = arena_strdup(g->arena, key);
  }
  g->facts[i].value = arena_strdup(g->arena, value);
}

const char *graph_fact_get(const Graph *g, const char *key) {
  for (int i = 0; i < g->n_facts; i++) if (!strcmp(g->facts[i].key, key)) return g->facts[i].value;
  return NULL;
}

void graph_facts_copy(Graph *to, const Graph *from) {
  for (int i = 0; i < from->n_facts; i++) graph_fact(to, from->facts[i].key, from->facts[i].value);
}

/* The text in the graph's own arena: the previous node's copy where it is the same. */
static const char *loc_text(Graph *g, const char *text, const char *previous) {
  if (!text || (previous && !strcmp(text, previous))) return text ? previous : NULL;
  return arena_strdup(g->arena, text);
}

static Loc loc_keep(Graph *g, const Loc *l) {
  Loc r = *l, last = g->n_nodes ? g->nodes[g->n_nodes - 1]->loc : LOC_NONE;
  r.file = loc_text(g, l->file, last.file);
  r.name = loc_text(g, l->name, last.name);
  r.op = loc_text(g, l->op, last.op);
  return r;
}

Iters *iters_copy(Arena *a, const Iters *it, const Node *const *in, int n_in) {
  Iters *r = NEW(a, Iters);
  *r = *it;
  for (int k = 0; k < 3; k++) {
    r->acc[k] = k < n_in ? NEWN(a, Affine, in[k]->t.rank + 1) : NULL;
    if (k < n_in && in[k]->t.rank) memcpy(r->acc[k], it->acc[k], sizeof(Affine) * in[k]->t.rank);
  }
  return r;
}

Node *node_new(Graph *g, Op op, const Type *t, int n_in, Node *const *in, const Attr *attr, const Loc *loc) {
  assert(n_in >= op_info[op].min_in && n_in <= op_info[op].max_in);
  Node *n = NEW(g->arena, Node);
  n->op = (uint16_t)op;
  n->id = (uint32_t)g->n_nodes;
  n->n_in = n_in;
  n->in = NEWN(g->arena, Node *, n_in + 1);
  for (int i = 0; i < n_in; i++) n->in[i] = in[i];
  n->t = *t;
  if (attr) n->a = *attr;
  if (n->a.iters) n->a.iters = iters_copy(g->arena, n->a.iters, (const Node *const *)n->in, n_in);
  n->loc = loc_keep(g, loc ? loc : &g->at);
  if (g->n_nodes == g->cap_nodes) {
    int cap = g->cap_nodes ? 2 * g->cap_nodes : 64;
    g->nodes = arena_grow(g->arena, g->nodes, sizeof *g->nodes * (size_t)g->cap_nodes, sizeof *g->nodes * (size_t)cap);
    g->cap_nodes = cap;
  }
  g->nodes[g->n_nodes++] = n;
  return n;
}

Node *graph_arg(Graph *g, const char *name, const Type *t) {
  Attr a = {.index = g->n_args};
  Node *n = node_new(g, OP_ARG, t, 0, NULL, &a, NULL);
  g->args = grow(g, g->args, g->n_args, sizeof *g->args);
  g->arg_names = grow(g, (void *)(uintptr_t)g->arg_names, g->n_args, sizeof *g->arg_names);
  g->args[g->n_args] = n;
  g->arg_names[g->n_args++] = arena_strdup(g->arena, name);
  return n;
}

void graph_out(Graph *g, const char *name, Node *v) {
  g->outs = grow(g, g->outs, g->n_outs, sizeof *g->outs);
  g->outs[g->n_outs++] = (Output){v, arena_strdup(g->arena, name)};
}

Node *node_clone(Graph *g, const Node *n, Node *const *in) { return node_new(g, (Op)n->op, &n->t, n->n_in, in, &n->a, &n->loc); }

/* Constants */

Node *node_const(Graph *g, const Tensor *t) {
  Attr a = {.value = t};
  return node_new(g, OP_CONST, &t->t, 0, NULL, &a, NULL);
}

Node *node_const_f(Graph *g, Elem e, double v) {
  Type t = type_scalar(e);
  Tensor *x = tensor_new(g->ctx, &t);
  if (!x) ctx_fatal(g->ctx);
  tensor_set_f(x, 0, v);
  return node_const(g, x);
}

Node *node_const_i(Graph *g, Elem e, int64_t v) {
  Type t = type_scalar(e);
  Tensor *x = tensor_new(g->ctx, &t);
  if (!x) ctx_fatal(g->ctx);
  tensor_set_i(x, 0, v);
  return node_const(g, x);
}

bool node_uniform(const Node *n, double *v) {
  if (n->op != OP_CONST || !n->a.value->n) return false;
  const Tensor *x = n->a.value;
  size_t size = store_size(x->st);
  for (int64_t i = 1; i < x->n; i++) /* by bits: +0 and -0 differ */
    if (memcmp(x->data, (const char *)x->data + (size_t)i * size, size)) return false;
  *v = tensor_f(x, 0);
  return size < 8 || x->st == ST_F64 || (fabs(*v) < 0x1p63 && (int64_t)*v == tensor_i(x, 0)); /* else not a double */
}

/* Maps: result shape by broadcasting, result element type by scalar.def. */

Node *node_map_as(Graph *g, Scalar s, Elem result, int n, Node *const *in) {
  assert(n == scalar_info[s].arity);
  Type t = in[0]->t;
  for (int i = 1; i < n; i++) {
    bool fits = type_broadcast(&t, &in[i]->t, &t);
    assert(fits);
    (void)fits;
  }
  t.e = result;
  Attr a = {.scalar = s};
  return node_new(g, OP_MAP, &t, n, in, &a, NULL);
}

static Node *map_n(Graph *g, Scalar s, int n, Node *const *in) {
  Elem e = scalar_info[s].result == 'B' ? BOOL : in[s == S_SELECT ? 1 : 0]->t.e;
  return node_map_as(g, s, e, n, in);
}
Node *node_map1(Graph *g, Scalar s, Node *a) { return map_n(g, s, 1, &a); }
Node *node_map2(Graph *g, Scalar s, Node *a, Node *b) { return map_n(g, s, 2, (Node *[]){a, b}); }
Node *node_map3(Graph *g, Scalar s, Node *a, Node *b, Node *c) { return map_n(g, s, 3, (Node *[]){a, b, c}); }
Node *node_cast(Graph *g, Node *x, Elem e) { return elem_eq(x->t.e, e) ? x : node_map_as(g, S_CAST, e, 1, &x); }

/* Movement */

Node *node_reshape(Graph *g, Node *x, int rank, const Dim *dims) {
  Type t = x->t;
  t.rank = (uint8_t)rank;
  memset(t.d, 0, sizeof t.d);
  for (int i = 0; i < rank; i++) t.d[i] = dims[i];
  return type_eq(&t, &x->t) ? x : node_new(g, OP_RESHAPE, &t, 1, &x, NULL, NULL);
}

Node *node_bn_spelled(Graph *g, Node *const in[5], double epsilon) {
  Node *p[5] = {in[0]};
  Dim d[MAX_RANK];
  for (int i = 0; i < in[0]->t.rank; i++) d[i] = i == 1 ? in[0]->t.d[1] : dim_c(1);
  for (int k = 1; k < 5; k++) p[k] = node_reshape(g, in[k], in[0]->t.rank, d);
  Node *root = node_map1(g, S_SQRT, node_map2(g, S_ADD, p[4], node_const_f(g, F32, epsilon)));
  return node_map2(g, S_ADD, node_map2(g, S_MUL, node_map2(g, S_SUB, p[0], p[3]), node_map2(g, S_DIV, p[1], root)), p[2]);
}

Affine affine_iter(int iter, int64_t coef, int64_t base) {
  Affine a = {.base = base, .div = 1};
  a.coef[iter] = coef;
  return a;
}

Node *node_view(Graph *g, Node *x, const Type *shape, const Affine *acc, double fill) {
  Iters it = {.n_out = shape->rank, .acc = {(Affine *)(uintptr_t)acc}};
  Type t = *shape;
  t.e = x->t.e;
  Attr a = {.iters = &it, .fill = fill};
  return node_new(g, OP_VIEW, &t, 1, &x, &a, NULL);
}

Node *node_transpose(Graph *g, Node *x, const int *perm) {
  Type t = x->t;
  Affine acc[MAX_RANK];
  bool same = true;
  for (int i = 0; i < x->t.rank; i++) {
    t.d[i] = x->t.d[perm[i]];
    acc[perm[i]] = affine_iter(i, 1, 0);
    same = same && perm[i] == i;
  }
  return same ? x : node_view(g, x, &t, acc, 0);
}

Node *node_broadcast(Graph *g, Node *x, int rank, const Dim *dims) {
  Type t = x->t;
  Affine acc[MAX_RANK];
  int lead = rank - x->t.rank;
  assert(lead >= 0);
  t.rank = (uint8_t)rank;
  for (int i = 0; i < rank; i++) t.d[i] = dims[i];
  for (int i = 0; i < x->t.rank; i++) {
    bool one = x->t.d[i].sym == 0 && x->t.d[i].n == 1 && !dim_eq(x->t.d[i], dims[lead + i]);
    acc[i] = affine_iter(lead + i, one ? 0 : 1, 0);
  }
  return type_eq(&t, &x->t) ? x : node_view(g, x, &t, acc, 0);
}

Node *node_slice(Graph *g, Node *x, int axis, int64_t start, int64_t step, int64_t count) {
  Type t = x->t;
  Affine acc[MAX_RANK];
  if (start == 0 && step == 1 && !x->t.d[axis].sym && x->t.d[axis].n == count) return x;
  for (int i = 0; i < t.rank; i++) acc[i] = i == axis ? affine_iter(i, step, start) : affine_iter(i, 1, 0);
  t.d[axis] = dim_c(count);
  return node_view(g, x, &t, acc, 0);
}

Node *node_pad(Graph *g, Node *x, const int64_t *before, const int64_t *after, double fill) {
  Type t = x->t;
  Affine acc[MAX_RANK];
  bool none = true;
  for (int i = 0; i < t.rank; i++) {
    acc[i] = affine_iter(i, 1, -before[i]);
    if (before[i] || after[i]) { none = false; t.d[i] = dim_c(x->t.d[i].n + before[i] + after[i]); }
  }
  return none ? x : node_view(g, x, &t, acc, fill);
}

Node *node_concat(Graph *g, int n, Node *const *in, int axis) {
  if (n == 1) return in[0];
  Type t = in[0]->t;
  t.d[axis] = dim_c(0);
  for (int i = 0; i < n; i++) assert(!in[i]->t.d[axis].sym);
  for (int i = 0; i < n; i++) t.d[axis].n += in[i]->t.d[axis].n;
  Attr a = {.axis = axis};
  return node_new(g, OP_CONCAT, &t, n, in, &a, NULL);
}

Node *node_gather(Graph *g, Node *x, Node *index, int axis) {
  Type t = x->t;
  int r = index->t.rank;
  assert(x->t.rank - 1 + r <= MAX_RANK);
  t.rank = (uint8_t)(x->t.rank - 1 + r);
  for (int i = 0; i < r; i++) t.d[axis + i] = index->t.d[i];
  for (int i = axis + 1; i < x->t.rank; i++) t.d[i - 1 + r] = x->t.d[i];
  for (int i = t.rank; i < MAX_RANK; i++) t.d[i] = dim_c(0);
  Attr a = {.axis = axis};
  return node_new(g, OP_GATHER, &t, 2, (Node *[]){x, index}, &a, NULL);
}

/* Reductions and contractions */

Node *node_reduce(Graph *g, Scalar s, Node *x, const Type *t, const Iters *it) {
  Attr a = {.scalar = s, .iters = (Iters *)(uintptr_t)it};
  return node_new(g, OP_REDUCE, t, 1, &x, &a, NULL);
}

Node *node_reduce_axes(Graph *g, Scalar s, Node *x, uint32_t axes, bool keep) {
  Type t = x->t;
  Affine acc[MAX_RANK];
  Iters it = {.acc = {acc}};
  if (keep && x->t.rank + __builtin_popcount(axes) > MAX_ITERS) { /* too many iterators: put the ones back after */
    for (int i = 0; i < x->t.rank; i++) if (axes >> i & 1) t.d[i] = dim_c(1);
    return node_reshape(g, node_reduce_axes(g, s, x, axes, false), x->t.rank, t.d);
  }
  t.rank = 0;
  memset(t.d, 0, sizeof t.d);
  for (int i = 0; i < x->t.rank; i++)
    if (!(axes >> i & 1)) { acc[i] = affine_iter(t.rank, 1, 0); t.d[t.rank++] = x->t.d[i]; }
    else if (keep) t.d[t.rank++] = dim_c(1);
  it.n_out = t.rank;
  for (int i = 0; i < x->t.rank; i++)
    if (axes >> i & 1) { acc[i] = affine_iter(t.rank + it.n_red, 1, 0); it.red[it.n_red++] = x->t.d[i]; }
  return node_reduce(g, s, x, &t, &it);
}

Node *node_contract(Graph *g, Scalar s, const Type *t, int n_in, Node *const *in, const Iters *it, double fill) {
  Attr a = {.scalar = s, .iters = (Iters *)(uintptr_t)it, .fill = fill};
  return node_new(g, OP_CONTRACT, t, n_in, in, &a, NULL);
}

Node *node_matmul(Graph *g, Node *a, Node *b, Elem result) {
  int ra = a->t.rank, rb = b->t.rank;
  if (!ra || !rb) return NULL;
  int ba = ra > 2 ? ra - 2 : 0, bb = rb > 2 ? rb - 2 : 0, batch = ba > bb ? ba : bb;
  Dim k = a->t.d[ra - 1], kb = b->t.d[rb > 1 ? rb - 2 : 0];
  if (!dim_eq(k, kb)) return NULL;
  Type t = {.e = result};
  Affine acc_a[MAX_RANK], acc_b[MAX_RANK];
  for (int i = 0; i < batch; i++) {
    int ia = i - (batch - ba), ib = i - (batch - bb);
    Dim da = ia >= 0 ? a->t.d[ia] : dim_c(1), db = ib >= 0 ? b->t.d[ib] : dim_c(1);
    bool one_a = !da.sym && da.n == 1, one_b = !db.sym && db.n == 1;
    if (!one_a && !one_b && !dim_eq(da, db)) return NULL;
    t.d[t.rank++] = one_a ? db : da;
    if (ia >= 0) acc_a[ia] = affine_iter(i, one_a && !one_b ? 0 : 1, 0);
    if (ib >= 0) acc_b[ib] = affine_iter(i, one_b && !one_a ? 0 : 1, 0);
  }
  int red = batch + (ra > 1) + (rb > 1);
  if (ra > 1) { acc_a[ra - 2] = affine_iter(t.rank, 1, 0); t.d[t.rank++] = a->t.d[ra - 2]; }
  acc_a[ra - 1] = affine_iter(red, 1, 0);
  if (rb > 1) { acc_b[rb - 1] = affine_iter(t.rank, 1, 0); t.d[t.rank++] = b->t.d[rb - 1]; }
  acc_b[rb > 1 ? rb - 2 : 0] = affine_iter(red, 1, 0);
  Iters it = {.n_out = t.rank, .n_red = 1, .red = {k}, .acc = {acc_a, acc_b}};
  return node_contract(g, S_MUL, &t, 2, (Node *[]){a, b}, &it, 0);
}

Node *node_conv(Graph *g, Node *x, Node *w, int groups, const int64_t *stride, const int64_t *dilation, const int64_t *pad_before,
                const int64_t *out, double fill, Elem result) {
  int sp = x->t.rank - 2, grouped = groups > 1, n_out = 2 + grouped + sp;
  assert(sp >= 0 && n_out <= MAX_RANK && n_out + 1 + sp <= MAX_ITERS);
  int64_t per = w->t.d[0].n / groups;
  Type t = {.e = result, .rank = (uint8_t)n_out};
  Affine ax[MAX_RANK], aw[MAX_RANK];
  Iters it = {.n_out = (uint8_t)n_out, .n_red = (uint8_t)(1 + sp), .acc = {ax, aw}};
  int m = 1 + grouped, c = n_out; /* iterators: n [g] m y.. | c i.. */
  t.d[0] = x->t.d[0];
  if (grouped) t.d[1] = dim_c(groups);
  t.d[m] = dim_c(per);
  it.red[0] = w->t.d[1];
  ax[0] = affine_iter(0, 1, 0);
  ax[1] = affine_iter(c, 1, 0);
  aw[0] = affine_iter(m, 1, 0);
  aw[1] = affine_iter(c, 1, 0);
  if (grouped) { ax[1].coef[1] = w->t.d[1].n; aw[0].coef[1] = per; }
  for (int i = 0; i < sp; i++) {
    t.d[m + 1 + i] = dim_c(out[i]);
    it.red[1 + i] = w->t.d[2 + i];
    ax[2 + i] = affine_iter(m + 1 + i, stride[i], -pad_before[i]);
    ax[2 + i].coef[c + 1 + i] = dilation[i];
    aw[2 + i] = affine_iter(c + 1 + i, 1, 0);
  }
  Node *y = node_contract(g, S_MUL, &t, 2, (Node *[]){x, w}, &it, fill);
  if (!grouped) return y;
  Dim d[MAX_RANK] = {x->t.d[0], w->t.d[0]};
  for (int i = 0; i < sp; i++) d[2 + i] = dim_c(out[i]);
  return node_reshape(g, y, 2 + sp, d);
}

/* Bases */

Node *node_bases(Graph *g, Node *x, Node *signs, Node *alpha, Node *counts, Node *scale, Node *coef, Elem result, Kernel kernel) {
  Type t = x->t;
  t.e = result;
  t.rank = (uint8_t)(t.rank - (coef ? 2 : 1)); /* [.., B, G] */
  t.d[t.rank - 1] = counts->t.d[1];
  Attr a = {.kernel = kernel};
  return node_new(g, OP_BASES, &t, coef ? 6 : 5, (Node *[]){x, signs, alpha, counts, scale, coef}, &a, NULL);
}

/* Quantization */

Node *node_quant(Graph *g, Node *x, Node *scale, Node *zp, Elem e, int64_t lo, int64_t hi, Round r) {
  Type t = x->t;
  bool fits = type_broadcast(&t, &scale->t, &t) && (!zp || type_broadcast(&t, &zp->t, &t));
  assert(fits);
  (void)fits;
  t.e = e;
  Attr a = {.round = r, .lo = lo, .hi = hi};
  return node_new(g, OP_QUANT, &t, zp ? 3 : 2, (Node *[]){x, scale, zp}, &a, NULL);
}

Node *node_dequant(Graph *g, Node *x, Node *scale, Node *zp, Elem e) {
  Type t = x->t;
  bool fits = type_broadcast(&t, &scale->t, &t) && (!zp || type_broadcast(&t, &zp->t, &t));
  assert(fits);
  (void)fits;
  t.e = e;
  return node_new(g, OP_DEQUANT, &t, zp ? 3 : 2, (Node *[]){x, scale, zp}, NULL, NULL);
}

/* Accesses */

int iters_extents(const Node *n, int64_t ext[MAX_ITERS]) {
  const Iters *it = n->a.iters;
  for (int i = 0; i < it->n_out; i++) ext[i] = n->t.d[i].n;
  for (int i = 0; i < it->n_red; i++) ext[it->n_out + i] = it->red[i].n;
  return it->n_out + it->n_red;
}

/* Least and greatest numerator of an access and whether div divides it everywhere; false on overflow. */
static bool affine_range(const Affine *a, const int64_t *ext, int n, int64_t *lo, int64_t *hi, bool *divides) {
  *lo = *hi = a->base;
  *divides = a->base % a->div == 0;
  for (int i = 0; i < n; i++) {
    int64_t far;
    if (!mul_ok(a->coef[i], ext[i] - 1, &far) || !add_ok(*(far > 0 ? hi : lo), far, far > 0 ? hi : lo)) return false;
    *divides = *divides && (ext[i] == 1 || a->coef[i] % a->div == 0);
  }
  return true;
}

bool access_inside(const Node *n, int k) {
  int64_t ext[MAX_ITERS], lo, hi;
  const Type *t = &n->in[k]->t;
  if (!type_static(&n->t) || !type_static(t)) return false;
  for (int i = 0; i < n->a.iters->n_red; i++) if (n->a.iters->red[i].sym) return false;
  int total = iters_extents(n, ext);
  for (int i = 0; i < total; i++) if (ext[i] == 0) return true;
  for (int d = 0; d < t->rank; d++) {
    const Affine *a = &n->a.iters->acc[k][d];
    bool divides;
    if (!affine_range(a, ext, total, &lo, &hi, &divides) || !divides || lo < 0 || hi / a->div >= t->d[d].n) return false;
  }
  return true;
}

static bool iters_eq(const Node *a, const Node *b) {
  const Iters *x = a->a.iters, *y = b->a.iters;
  if (!x || !y) return x == y;
  if (x->n_out != y->n_out || x->n_red != y->n_red) return false;
  for (int i = 0; i < x->n_red; i++) if (!dim_eq(x->red[i], y->red[i])) return false;
  for (int k = 0; k < a->n_in && k < 3; k++)
    if (a->in[k]->t.rank != b->in[k]->t.rank ||
        (a->in[k]->t.rank && memcmp(x->acc[k], y->acc[k], sizeof(Affine) * a->in[k]->t.rank)))
      return false;
  return true;
}

bool attr_eq(const Node *a, const Node *b) {
  const Attr *x = &a->a, *y = &b->a;
  if (a->op != b->op || a->n_in != b->n_in || !type_eq(&a->t, &b->t)) return false;
  if (x->scalar != y->scalar || x->axis != y->axis || x->index != y->index || x->flag != y->flag || x->shift != y->shift ||
      x->round != y->round || x->kernel != y->kernel || x->lo != y->lo || x->hi != y->hi || x->fused != y->fused ||
      memcmp(&x->fill, &y->fill, sizeof x->fill))
    return false;
  if (x->value != y->value && (!x->value || !y->value || !tensor_eq(x->value, y->value))) return false;
  return iters_eq(a, b);
}
