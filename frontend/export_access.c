/* view and reduce as ONNX nodes, and operands of contract laid out by iterators: what an affine access reads, in Pad, Slice,
 * Gather, Transpose and Expand. */
#include "frontend/export_access.h"

#include <string.h>

/* Iterators that move an index: coefficient not 0, extent not 1. */
static int moving(const Affine *a, const Dim *ext, int total, int *iter) {
  int n = 0;
  for (int j = 0; j < total; j++) if (a->coef[j] && !dim_eq(ext[j], dim_c(1))) iter[n++] = j;
  return n;
}

int x_extents(const Node *n, Dim ext[MAX_ITERS]) {
  const Iters *it = n->a.iters;
  for (int i = 0; i < it->n_out; i++) ext[i] = n->t.d[i];
  for (int i = 0; i < it->n_red; i++) ext[it->n_out + i] = it->red[i];
  return it->n_out + it->n_red;
}

bool x_affine(const Dim *ext, int total, const Affine *a, int64_t base, int64_t div, int n, const int *iter, const int64_t *coef) {
  if (a->base != base || a->div != div) return false;
  for (int j = 0; j < total; j++) {
    int64_t want = 0;
    for (int k = 0; k < n; k++) if (iter[k] == j) want += coef[k];
    if (a->coef[j] != want && !dim_eq(ext[j], dim_c(1))) return false;
  }
  return true;
}

bool x_straight(const Dim *ext, int total, const Affine *a, Dim of, int iter) {
  return x_affine(ext, total, a, 0, 1, 1, &iter, (int64_t[]){1}) && dim_eq(ext[iter], of);
}

/* One dimension of an operand: how its index runs. */
typedef struct Run {
  enum { WHOLE, ONE, PIECE, TABLE } kind;
  int iter[MAX_ITERS], n;   /* moving iterators */
  int64_t start, step, size; /* PIECE: a slice of the padded dimension; TABLE: entries */
  int64_t before, after;    /* padding */
  int64_t *table;
} Run;

/* The index as a table over its iterators, in order; `outside` where the access lies outside. False where that is too large. */
static bool fill_table(Export *x, const Affine *a, const Dim *ext, int64_t of, Run *r) {
  int64_t at[MAX_ITERS] = {0};
  r->kind = TABLE;
  r->size = 1;
  for (int i = 0; i < r->n; i++) if (!mul_ok(r->size, ext[r->iter[i]].n, &r->size) || r->size > x->ctx->limits.fold / 8) return false;
  r->table = NEWN(x->arena, int64_t, r->size + 1);
  for (int64_t e = 0; e < r->size; e++) {
    int64_t v = a->base;
    for (int i = 0; i < r->n; i++) v += a->coef[r->iter[i]] * at[i];
    bool inside = v >= 0 && v % a->div == 0 && v / a->div < of;
    r->table[e] = inside ? v / a->div : of;
    if (!inside) r->after = 1;
    for (int i = r->n - 1; i >= 0; i--) {
      if (++at[i] < ext[r->iter[i]].n) break;
      at[i] = 0;
    }
  }
  return true;
}

static bool run_of(Export *x, const Affine *a, const Dim *ext, int total, Dim of, Run *r) {
  *r = (Run){.n = moving(a, ext, total, r->iter)};
  r->n = moving(a, ext, total, r->iter);
  if (r->n == 1 && x_straight(ext, total, a, of, r->iter[0])) { r->kind = WHOLE; return true; }
  bool fixed = !of.sym;
  for (int i = 0; i < r->n; i++) fixed = fixed && !ext[r->iter[i]].sym;
  if (!fixed) { x_fail(x, E0304, "an access needs dimensions that are not known"); return false; }
  if (r->n == 0 && of.n == 1 && a->base == 0) { r->kind = ONE; return true; }
  int64_t count = r->n == 1 ? ext[r->iter[0]].n : 0, last;
  if (r->n == 1 && a->div == 1 && count > 0 && mul_ok(a->coef[r->iter[0]], count - 1, &last) && add_ok(last, a->base, &last)) {
    int64_t c = a->coef[r->iter[0]], lo = c > 0 ? a->base : last, hi = c > 0 ? last : a->base;
    bool inside = lo >= 0 && hi < of.n, overlaps = c == 1 && lo < of.n && hi >= 0;
    r->before = lo < 0 ? -lo : 0;
    r->after = hi >= of.n ? hi - of.n + 1 : 0;
    if (inside || overlaps) {
      r->kind = PIECE;
      r->start = a->base + r->before, r->step = c, r->size = count;
      return true;
    }
  }
  r->before = r->after = 0;
  if (fill_table(x, a, ext, of.n, r)) return true;
  x_fail(x, E0402, "an index of more than %lld bytes (--limit fold=N)", (long long)x->ctx->limits.fold);
  return false;
}

/* Two dimensions share an iterator: one table over the elements in a row. */
static const char *spread_flat(Export *x, const Node *n, int k, const char *v, Elem e, double fill, const Dim *ext, int total, Spread *s) {
  const Type *t = &n->in[k]->t;
  int64_t count, stride[MAX_RANK], at[MAX_ITERS] = {0}, size = 1, dims[MAX_ITERS], step = 1;
  bool used[MAX_ITERS] = {false}, outside = false;
  if (!type_count(t, &count)) return x_fail(x, E0304, "an access needs dimensions that are not known");
  for (int d = t->rank - 1; d >= 0; d--) { stride[d] = step; step *= t->d[d].n; }
  for (int d = 0; d < t->rank; d++) {
    int iter[MAX_ITERS], m = moving(&n->a.iters->acc[k][d], ext, total, iter);
    for (int i = 0; i < m; i++) used[iter[i]] = true;
  }
  for (int j = 0; j < total; j++) {
    if (!used[j]) continue;
    if (ext[j].sym) return x_fail(x, E0304, "an access needs dimensions that are not known");
    if (!mul_ok(size, ext[j].n, &size) || size > x->ctx->limits.fold / 8) return x_fail(x, E0402, "an index of more than %lld bytes (--limit fold=N)", (long long)x->ctx->limits.fold);
    dims[s->n] = ext[j].n;
    s->label[s->n++] = j;
  }
  int64_t *table = NEWN(x->arena, int64_t, size + 1);
  for (int64_t i = 0; i < size; i++) {
    for (int d = 0; d < t->rank; d++) {
      const Affine *a = &n->a.iters->acc[k][d];
      int64_t p = a->base;
      for (int j = 0; j < s->n; j++) p += a->coef[s->label[j]] * at[j];
      bool inside = p >= 0 && p % a->div == 0 && p / a->div < t->d[d].n;
      table[i] = inside && table[i] >= 0 ? table[i] + p / a->div * stride[d] : -1;
    }
    if (table[i] < 0) { table[i] = count; outside = true; }
    for (int j = s->n - 1; j >= 0; j--) {
      if (++at[j] < dims[j]) break;
      at[j] = 0;
    }
  }
  v = x2(x, "Reshape", v, x_ints(x, 1, (int64_t[]){-1}));
  v = x_pad(x, v, e, 1, (int64_t[]){0}, (int64_t[]){outside}, fill);
  return !v ? NULL : x2(x, "Gather", v, x_indices(x, s->n, dims, table));
}

/* Dimensions of extent 1 that nothing moves along take the place of an iterator that is nowhere else: first one that is written
 * there, then the one that broadcasting would put there. Those left over are squeezed. */
static const char *place_ones(Export *x, const Node *n, int k, const char *v, const Dim *ext, int total, Spread *s, const int *dim) {
  bool taken[MAX_ITERS] = {false};
  int64_t drop[MAX_ITERS];
  int n_drop = 0, kept = 0, lead = n->t.rank - n->in[k]->t.rank;
  for (int i = 0; i < s->n; i++) if (s->label[i] >= 0) taken[s->label[i]] = true;
  for (int i = 0; i < s->n; i++) {
    if (s->label[i] >= 0) continue;
    int to = -1, guess = dim[i] + lead;
    for (int j = 0; j < total && to < 0; j++) if (n->a.iters->acc[k][dim[i]].coef[j] && !taken[j] && dim_eq(ext[j], dim_c(1))) to = j;
    if (to < 0 && guess >= 0 && guess < n->t.rank && !taken[guess]) to = guess;
    if (to >= 0) taken[to] = true;
    s->label[i] = to;
  }
  for (int i = 0; i < s->n; i++) {
    if (s->label[i] < 0) drop[n_drop++] = i;
    else s->label[kept++] = s->label[i];
  }
  s->n = kept;
  return x_axes(x, "Squeeze", v, n_drop, drop);
}

static const char *slices(Export *x, const char *v, const Run *r, const Type *t) {
  int64_t start[MAX_RANK], end[MAX_RANK], axis[MAX_RANK], step[MAX_RANK];
  int n = 0;
  bool steps = false;
  for (int d = 0; d < t->rank; d++) {
    if (r[d].kind != PIECE || (r[d].start == 0 && r[d].step == 1 && r[d].size == t->d[d].n + r[d].before + r[d].after)) continue;
    int64_t last = r[d].start + r[d].step * (r[d].size - 1);
    start[n] = r[d].start;
    end[n] = r[d].step > 0 ? last + 1 : last > 0 ? last - 1 : INT64_MIN + 1;
    axis[n] = d;
    step[n++] = r[d].step;
    steps |= r[d].step != 1;
  }
  if (!n) return v;
  const char *in[5] = {v, x_ints(x, n, start), x_ints(x, n, end), x_ints(x, n, axis)};
  if (steps) in[4] = x_ints(x, n, step);
  return x_node(x, "Slice", steps ? 5 : 4, in);
}

const char *x_spread(Export *x, const Node *n, int k, const char *v, Elem e, double fill, Spread *s) {
  const Type *t = &n->in[k]->t;
  Dim ext[MAX_ITERS];
  Run r[MAX_RANK];
  int total = x_extents(n, ext), uses[MAX_ITERS] = {0}, dim[MAX_ITERS];
  int64_t before[MAX_RANK], after[MAX_RANK];
  s->n = 0;
  for (int d = 0; d < t->rank; d++) {
    int iter[MAX_ITERS], m = moving(&n->a.iters->acc[k][d], ext, total, iter);
    for (int i = 0; i < m; i++) if (uses[iter[i]]++) return spread_flat(x, n, k, v, e, fill, ext, total, s);
  }
  for (int d = 0; d < t->rank; d++) {
    if (!run_of(x, &n->a.iters->acc[k][d], ext, total, t->d[d], &r[d])) return NULL;
    before[d] = r[d].before, after[d] = r[d].after;
  }
  v = x_pad(x, v, e, t->rank, before, after, fill);
  if (!v) return NULL;
  v = slices(x, v, r, t);
  for (int d = t->rank - 1; d >= 0; d--) {
    if (r[d].kind != TABLE) continue;
    int64_t dims[MAX_ITERS];
    for (int i = 0; i < r[d].n; i++) dims[i] = ext[r[d].iter[i]].n;
    v = x2(x, "Gather", v, x_indices(x, r[d].n, dims, r[d].table));
    x_attr_i(x, "axis", d);
  }
  for (int d = 0; d < t->rank; d++) {
    if (r[d].kind == ONE) { dim[s->n] = d; s->label[s->n++] = -1; }
    else for (int i = 0; i < r[d].n; i++) { dim[s->n] = d; s->label[s->n++] = r[d].iter[i]; }
  }
  return place_ones(x, n, k, v, ext, total, s, dim);
}

const char *x_arrange(Export *x, const char *v, int upto, Spread *s) {
  int perm[MAX_ITERS] = {0};
  int64_t missing[MAX_ITERS];
  int n = 0, n_missing = 0;
  for (int j = 0; j < upto; j++) {
    int at = -1;
    for (int i = 0; i < s->n; i++) if (s->label[i] == j) at = i;
    if (at >= 0) perm[n++] = at;
    else missing[n_missing++] = j;
  }
  v = x_axes(x, "Unsqueeze", x_transpose(x, v, n, perm), n_missing, missing);
  s->n = upto;
  for (int j = 0; j < upto; j++) s->label[j] = j;
  return v;
}

const char *x_full(Export *x, const Node *n, int n_acc, const char *v, int total, const Dim *ext, Elem e) {
  bool whole = true;
  Type t = {.e = e, .rank = (uint8_t)total};
  for (int j = 0; j < total; j++) {
    bool moves = dim_eq(ext[j], dim_c(1));
    for (int k = 0; k < n_acc; k++)
      for (int d = 0; d < n->in[k]->t.rank; d++) moves |= n->a.iters->acc[k][d].coef[j] != 0;
    whole = whole && moves;
  }
  if (whole) return v;
  if (total > MAX_RANK) return x_fail(x, E0302, "%d iterators", total);
  for (int j = 0; j < total; j++) t.d[j] = ext[j];
  return x_expand(x, v, &t);
}

const char *write_view(Export *x, const Node *n, const char *const *in) {
  Spread s;
  Dim ext[MAX_ITERS];
  int total = x_extents(n, ext);
  const char *v = x_spread(x, n, 0, in[0], n->t.e, n->a.fill, &s);
  return v ? x_full(x, n, 1, x_arrange(x, v, total, &s), total, ext, n->t.e) : NULL;
}

/* Reduce */

static double neutral(Scalar s, Elem e) {
  switch (s) {
  case S_MUL: return 1;
  case S_MAX: return elem_is_float(e) ? -__builtin_inf() : (double)elem_lo(e);
  case S_MIN: return elem_is_float(e) ? __builtin_inf() : (double)elem_hi(e);
  case S_AND: return -1;
  default: return 0;
  }
}

/* A window of max over x [N, C, spatial..]: MaxPool with its pads. */
static const char *max_pool(Export *x, const Node *n, const char *const *in) {
  const Iters *it = n->a.iters;
  const Type *t = &n->in[0]->t;
  Elem e = x_carrier(n->t.e);
  Dim ext[MAX_ITERS];
  int total = x_extents(n, ext), sp = t->rank - 2;
  int64_t kernel[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK], pads[2 * MAX_RANK];
  if (n->a.scalar != S_MAX || sp < 1 || n->t.rank != t->rank || it->n_red != sp || !(elem_is_float(e) || e.bits == 8) || e.kind == EK_BF16) return NULL;
  for (int i = 0; i < 2; i++) if (!x_straight(ext, total, &it->acc[0][i], t->d[i], i)) return NULL;
  for (int i = 0; i < sp; i++) {
    const Affine *a = &it->acc[0][2 + i];
    int iter[2] = {2 + i, 2 + sp + i};
    if (t->d[2 + i].sym || ext[2 + i].sym || ext[2 + sp + i].sym) return NULL;
    int64_t out = ext[2 + i].n;
    kernel[i] = ext[2 + sp + i].n;
    stride[i] = out > 1 ? a->coef[2 + i] : 1;
    dilation[i] = kernel[i] > 1 ? a->coef[2 + sp + i] : 1;
    if (kernel[i] < 1 || stride[i] < 1 || dilation[i] < 1 || !x_affine(ext, total, a, a->base, 1, 2, iter, (int64_t[]){stride[i], dilation[i]})) return NULL;
    int64_t reach = dilation[i] * (kernel[i] - 1) + 1, after = (out - 1) * stride[i] + reach + a->base - t->d[2 + i].n;
    pads[i] = -a->base;
    pads[sp + i] = after > 0 ? after : 0;
    if (pads[i] < 0 || pads[i] >= kernel[i] || pads[sp + i] >= kernel[i] || (t->d[2 + i].n + pads[i] + pads[sp + i] - reach) / stride[i] + 1 != out) return NULL;
  }
  const char *v = x1(x, "MaxPool", in[0]);
  x_attr_is(x, "kernel_shape", sp, kernel);
  x_attr_is(x, "strides", sp, stride);
  x_attr_is(x, "pads", 2 * sp, pads);
  x_attr_is(x, "dilations", sp, dilation);
  return v;
}

/* Bits of words: halves against each other, until one is left of the last dimension. */
static const char *halve(Export *x, const Node *n, const char *v, int64_t count) {
  int64_t axis = n->t.rank, zero = 0;
  const char *op = n->a.scalar == S_AND ? "BitwiseAnd" : "BitwiseOr", *axes = x_ints(x, 1, &axis);
  if (x->opset < 18) return x_fail(x, E0302, "needs opset 18");
  while (count > 1) {
    int64_t h = count / 2, two = 2 * h;
    const char *a = x_node(x, "Slice", 4, (const char *const[]){v, x_ints(x, 1, &zero), x_ints(x, 1, &h), axes});
    const char *b = x_node(x, "Slice", 4, (const char *const[]){v, x_ints(x, 1, &h), x_ints(x, 1, &two), axes});
    const char *y = x2(x, op, a, b);
    if (count & 1) {
      const char *rest = x_node(x, "Slice", 4, (const char *const[]){v, x_ints(x, 1, &two), x_ints(x, 1, &count), axes});
      y = x2(x, "Concat", y, rest);
      x_attr_i(x, "axis", axis);
    }
    v = y;
    count -= h;
  }
  return x_axes(x, "Squeeze", v, 1, &axis);
}

/* Reduces the dimensions of s that are reduction iterators. Their order counts for floats, that of the others always. */
static const char *fold(Export *x, const Node *n, const char *op, const char *v, Spread *s, Elem w) {
  Dim ext[MAX_ITERS];
  int total = x_extents(n, ext), n_out = n->t.rank, last_out = -1, last_red = -1, n_axes = 0;
  bool sorted = s->n > 0, all = true;
  int64_t axes[MAX_ITERS];
  uint32_t there = 0;
  for (int i = 0; i < s->n; i++) {
    int j = s->label[i], *last = j < n_out ? &last_out : &last_red;
    sorted = sorted && j > *last;
    *last = j;
    there |= 1u << j;
  }
  for (int j = n_out; j < total; j++) all = all && (there >> j & 1);
  if (!sorted || !all || total == n_out) {
    v = x_arrange(x, v, total, s);
    if (total == n_out) { /* of one element: still starts from 0 */
      int64_t axis = total;
      return x_reduce(x, op, x_axes(x, "Unsqueeze", v, 1, &axis), 1, &axis, false);
    }
  }
  if (!(v = all ? v : x_full(x, n, 1, v, total, ext, w))) return NULL;
  bool keep = s->n == n_out; /* every reduced dimension stands where an output of extent 1 belongs */
  for (int i = 0; i < s->n; i++) {
    bool red = s->label[i] >= n_out;
    if (red) axes[n_axes++] = i;
    keep = keep && (red ? !(there >> i & 1) && dim_eq(ext[i], dim_c(1)) : s->label[i] == i);
  }
  v = x_reduce(x, op, v, n_axes, axes, keep);
  if (keep) return v;
  Spread out = {0};
  for (int i = 0; i < s->n; i++) if (s->label[i] < n_out) out.label[out.n++] = s->label[i];
  return x_arrange(x, v, n_out, &out);
}

/* Outputs that no operand moves along hold one value that stands for all. */
static const char *spread_outputs(Export *x, const Node *n, const char *v, Elem w) {
  Dim ext[MAX_ITERS];
  x_extents(n, ext);
  return v ? x_full(x, n, n->n_in, v, n->t.rank, ext, w) : NULL;
}

static bool empty(const Node *n) {
  for (int i = 0; i < n->a.iters->n_red; i++) if (dim_eq(n->a.iters->red[i], dim_c(0))) return true;
  return false;
}

static const char *reduce_words(Export *x, const Node *n, const char *const *in) {
  const Iters *it = n->a.iters;
  Elem e = n->in[0]->t.e, w = x_work(n, 0);
  Spread s;
  Dim ext[MAX_ITERS];
  int total = x_extents(n, ext);
  int64_t count = 1;
  bool logic = e.kind == EK_BOOL;
  const char *v = x_cast(x, in[0], e, w);
  v = x_spread(x, n, 0, v, w, logic && n->a.scalar == S_AND ? 1 : neutral(n->a.scalar, w), &s);
  if (!v) return NULL;
  if (logic) return x_to(x, spread_outputs(x, n, fold(x, n, n->a.scalar == S_AND ? "ReduceMin" : "ReduceMax", v, &s, w), w), w, n->t.e, true);
  v = x_full(x, n, 1, x_arrange(x, v, total, &s), total, ext, w);
  Type from = {.e = w, .rank = (uint8_t)total}, to = n->t;
  for (int i = 0; i < total && total <= MAX_RANK; i++) from.d[i] = ext[i];
  for (int i = 0; i < it->n_red; i++) {
    if (it->red[i].sym) return x_fail(x, E0304, "a reduced dimension is not known");
    count *= it->red[i].n;
  }
  if (!v || total > MAX_RANK || n->t.rank == MAX_RANK) return x_fail(x, E0302, "%d iterators", total);
  to.d[to.rank++] = dim_c(count);
  v = x_reshape(x, v, &from, &to);
  v = v ? halve(x, n, v, count) : NULL;
  return v ? x_to(x, v, w, n->t.e, false) : NULL;
}

const char *write_reduce(Export *x, const Node *n, const char *const *in) {
  static const char *const ops[SCALAR_COUNT] = {[S_ADD] = "ReduceSum", [S_MUL] = "ReduceProd", [S_MAX] = "ReduceMax", [S_MIN] = "ReduceMin"};
  Elem e = n->in[0]->t.e, w = elem_is_float(e) ? (e.bits == 64 ? F64 : F32) : x_work(n, 0);
  bool picks = n->a.scalar == S_MAX || n->a.scalar == S_MIN, u64 = e.kind == EK_UINT && e.bits == 64;
  Spread s;
  if (empty(n)) {
    double start = n->a.scalar == S_AND && n->t.e.kind == EK_BOOL ? 1 : neutral(n->a.scalar, n->t.e);
    if (u64 && n->a.scalar == S_MIN) return x_fail(x, E0302, "over no element of u64");
    if (elem_is_float(n->t.e)) return x_expand(x, x_float(x, n->t.e, start), &n->t);
    return x_expand(x, x_to(x, x_int(x, I64, n->a.scalar == S_MAX ? elem_lo(n->t.e) : n->a.scalar == S_MIN ? elem_hi(n->t.e) : (int64_t)start), I64, n->t.e, false), &n->t);
  }
  const char *v = max_pool(x, n, in);
  if (v) return v;
  if (!ops[n->a.scalar]) return reduce_words(x, n, in);
  v = picks ? x_ordered(x, in[0], e, w) : x_cast(x, in[0], e, w);
  Elem range = picks && !u64 ? e : w; /* what fill counts as the least or greatest of */
  v = x_spread(x, n, 0, v, w, neutral(n->a.scalar, range), &s);
  v = v ? spread_outputs(x, n, fold(x, n, ops[n->a.scalar], v, &s, w), w) : NULL;
  if (v && picks && u64) v = x2(x, "Add", v, x_int(x, I64, INT64_MIN));
  if (!v) return NULL;
  return elem_is_float(e) ? x_cast(x, v, w, n->t.e) : x_to(x, v, w, n->t.e, picks && elem_eq(e, n->t.e));
}
