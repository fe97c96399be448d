/* Every rule of the graph language. Looks at nothing it has not checked: a graph from anywhere is safe to verify. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/graph_impl.h"

typedef struct Verify { Ctx *ctx; const Graph *g; Arena *scratch; } Verify;

static bool bad(const Verify *v, const Node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool bad(const Verify *v, const Node *n, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char text[600];
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  Loc loc = n ? n->loc : LOC_NONE;
  if (!loc.file) loc.file = v->g->file;
  bool scalar = n && op_info[n->op].attrs & AT_SCALAR && n->a.scalar > S_NONE && n->a.scalar < SCALAR_COUNT;
  const char *op = n ? op_info[n->op].name : "graph";
  return diag(v->ctx, E0209, &loc, "%s%s%s: %s", op, scalar ? " " : "", scalar ? scalar_info[n->a.scalar].name : "", text);
}

static const char *show(const Verify *v, const Type *t) {
  Str s = {.ctx = v->ctx};
  type_print(&s, v->g, t);
  const char *text = arena_strdup(v->scratch, s.p);
  str_free(&s);
  return text;
}

/* Element classes */

static bool is_word(Elem e) { return elem_is_int(e) || e.kind == EK_BOOL; }
static bool is_u64(Elem e) { return e.kind == EK_UINT && e.bits == 64; }
static bool is_planes(Elem e) { return e.kind == EK_BASES && e.bits > 1; }
/* A code that is a number by itself. */
static bool is_number(Elem e) { return elem_is_code(e) && !is_planes(e); }

/* Shapes */

static bool want_shape(const Verify *v, const Node *n, const Type *shape) {
  return type_shape_eq(&n->t, shape) || bad(v, n, "result %s, but the operands give %s", show(v, &n->t), show(v, shape));
}

/* The node's shape is its operands' broadcast. */
static bool broadcast_rule(const Verify *v, const Node *n) {
  Type t = n->in[0]->t;
  for (int i = 1; i < n->n_in; i++)
    if (!type_broadcast(&t, &n->in[i]->t, &t))
      return bad(v, n, "%s does not broadcast with %s", show(v, &n->in[i]->t), show(v, &t));
  return want_shape(v, n, &t);
}

static bool axis_rule(const Verify *v, const Node *n) {
  int rank = n->in[0]->t.rank;
  return (n->a.axis >= 0 && n->a.axis < rank) || bad(v, n, "axis %d of rank %d", n->a.axis, rank);
}

/* Along axis of x; a scalar's only axis is 0. */
static bool channel_rule(const Verify *v, const Node *n) {
  return (n->in[0]->t.rank == 0 && n->a.axis == 0) || axis_rule(v, n);
}

/* Operand k is a table of 1 row, or one row per index at axis of x; of the given rank, or rank 0 where that is 1. */
static bool rows_rule(const Verify *v, const Node *n, int k, int rank) {
  const Type *t = &n->in[k]->t;
  if (t->rank == 0 && rank == 1) return true;
  if (t->rank != rank) return bad(v, n, "operand %d has rank %d, not %d", k, t->rank, rank);
  const Type *x = &n->in[0]->t;
  if (dim_eq(t->d[0], dim_c(1)) || (x->rank && dim_eq(t->d[0], x->d[n->a.axis]))) return true;
  return bad(v, n, "operand %d is %s: one row, or as many as axis %d of %s", k, show(v, t), n->a.axis, show(v, x));
}

static bool range_rule(const Verify *v, const Node *n) {
  int64_t least = elem_lo(n->t.e), most = elem_hi(n->t.e);
  if (n->a.lo <= n->a.hi && n->a.lo >= least && n->a.hi <= most) return true;
  return bad(v, n, "lo=%" PRId64 " hi=%" PRId64 " do not lie in order within %" PRId64 "..%" PRId64, n->a.lo, n->a.hi, least,
             most);
}

static bool type_rule(const Verify *v, const Node *n, const Type *t) {
  int64_t count;
  if (!elem_valid(t->e)) return bad(v, n, "no such element type");
  if (t->rank > MAX_RANK) return bad(v, n, "rank %d", t->rank);
  for (int i = 0; i < t->rank; i++) {
    if (t->d[i].sym > (uint32_t)v->g->n_syms) return bad(v, n, "dimension %d has an unknown symbol", i);
    if (t->d[i].n < (t->d[i].sym ? -1 : 0)) return bad(v, n, "dimension %d is negative", i);
  }
  return !type_static(t) || type_count(t, &count) || bad(v, n, "more than 2^62 elements");
}

/* Leaves */

static bool is_shift_number(int64_t x) {
  uint64_t m = x < 0 ? -(uint64_t)x : (uint64_t)x;
  return !(m & (m - 1));
}

static bool element_fits(const Tensor *x, int64_t i) {
  Elem e = x->t.e;
  if (elem_is_float(e)) {
    if (e.bits != 16) return true;
    float f = (float)tensor_f(x, i);
    return isnan(f) || (e.kind == EK_BF16 ? round_bf16(f) : round_f16(f)) == f;
  }
  int64_t c = tensor_i(x, i);
  if (is_u64(e)) return true;
  if (c < elem_lo(e) || c > elem_hi(e)) return false;
  if (e.kind == EK_SHIFT) return is_shift_number(c);
  return e.kind != EK_BASES || e.bits > 1 || c != 0;
}

static bool const_rule(const Verify *v, const Node *n) {
  const Tensor *x = n->a.value;
  int64_t count;
  if (!x) return bad(v, n, "no value");
  if (!type_eq(&x->t, &n->t)) return bad(v, n, "type %s with a value of type %s", show(v, &n->t), show(v, &x->t));
  if (!type_count(&x->t, &count) || count != x->n || x->st != elem_store(x->t.e))
    return bad(v, n, "a tensor that contradicts its type");
  for (int64_t i = 0; i < x->n; i++)
    if (!element_fits(x, i)) return bad(v, n, "element %" PRId64 " is not a number of %s", i, show(v, &n->t));
  return true;
}

static bool arg_rule(const Verify *v, const Node *n) {
  int i = n->a.index;
  return (i >= 0 && i < v->g->n_args && v->g->args[i] == n) || bad(v, n, "not the graph's argument %d", i);
}

/* Element by element */

static bool map_floats(const Verify *v, const Node *n, int first) {
  const ScalarInfo *s = &scalar_info[n->a.scalar];
  Elem e = n->in[first]->t.e;
  if (s->on == 'I') return bad(v, n, "takes codes, not %s", show(v, &n->in[first]->t));
  for (int i = first + 1; i < n->n_in; i++)
    if (!elem_eq(n->in[i]->t.e, e)) return bad(v, n, "operands %s and %s", show(v, &n->in[first]->t), show(v, &n->in[i]->t));
  return s->result != 'A' || elem_eq(n->t.e, e) || bad(v, n, "result %s of operands %s", show(v, &n->t), show(v, &n->in[first]->t));
}

static bool map_codes(const Verify *v, const Node *n, int first) {
  const ScalarInfo *s = &scalar_info[n->a.scalar];
  Scalar k = n->a.scalar;
  Elem e = n->in[first]->t.e, y = n->t.e;
  if (s->on == 'F') return bad(v, n, "takes floats, not %s", show(v, &n->in[first]->t));
  bool same = true, is_shift = k == S_SHL || k == S_SHR;
  for (int i = first; i < n->n_in; i++) {
    Elem x = n->in[i]->t.e;
    if (!elem_is_code(x)) return bad(v, n, "operands %s and %s", show(v, &n->in[first]->t), show(v, &n->in[i]->t));
    if (is_planes(x) && k != S_SELECT) return bad(v, n, "%s is not a number without its alphas", show(v, &n->in[i]->t));
    if (s->on == 'I' && !is_word(x)) return bad(v, n, "takes words, not %s", show(v, &n->in[i]->t));
    if (is_shift && i == 1) {
      if (x.kind != EK_UINT && x.kind != EK_BOOL) return bad(v, n, "shifts by %s, which is not unsigned", show(v, &n->in[1]->t));
      continue;
    }
    same = same && elem_eq(x, e);
    if (is_u64(x) != is_u64(e)) return bad(v, n, "u64 with another type");
  }
  if (s->result != 'A') return true;
  if (!elem_is_code(y)) return bad(v, n, "result %s of codes", show(v, &n->t));
  if (is_word(y) && !is_planes(e)) return true;
  bool closed = k == S_SELECT || k == S_MAX || k == S_MIN || k == S_NEG || (k == S_MUL && elem_eq(y, BIPOLAR));
  return (closed && same && elem_eq(y, e)) || bad(v, n, "result %s of operands %s", show(v, &n->t), show(v, &n->in[first]->t));
}

static bool map_rule(const Verify *v, const Node *n) {
  Scalar k = n->a.scalar;
  const ScalarInfo *s = &scalar_info[k];
  if (k == S_BITS) return bad(v, n, "is of Nest only");
  if (n->n_in != s->arity) return bad(v, n, "%d operands, not %d", n->n_in, s->arity);
  if (!broadcast_rule(v, n)) return false;
  Elem x = n->in[0]->t.e;
  if (k == S_CAST) {
    if (is_planes(x) || is_planes(n->t.e)) return bad(v, n, "bases<k> is not a number without its alphas");
    bool same = elem_eq(x, n->t.e);
    return same || is_word(n->t.e) || elem_is_float(n->t.e) || bad(v, n, "to %s", show(v, &n->t));
  }
  if (k == S_SELECT && !elem_eq(x, BOOL)) return bad(v, n, "condition %s is not bool", show(v, &n->in[0]->t));
  if (s->result == 'B' && !elem_eq(n->t.e, BOOL)) return bad(v, n, "result %s is not bool", show(v, &n->t));
  int first = k == S_SELECT;
  return elem_is_float(n->in[first]->t.e) ? map_floats(v, n, first) : map_codes(v, n, first);
}

/* x and scale in float types, zero point a code or a float. */
static bool quant_rule(const Verify *v, const Node *n) {
  Elem y = n->t.e, scale = n->in[1]->t.e;
  if (!broadcast_rule(v, n)) return false;
  if (!elem_is_float(n->in[0]->t.e) || !elem_is_float(scale)) return bad(v, n, "x and scale are floats");
  if (n->n_in == 3 && is_planes(n->in[2]->t.e)) return bad(v, n, "zero point %s", show(v, &n->in[2]->t));
  if (!is_word(y) && !elem_eq(y, BIPOLAR)) return bad(v, n, "result %s", show(v, &n->t));
  if ((unsigned)n->a.round >= RND_COUNT) return bad(v, n, "no such rounding");
  return range_rule(v, n);
}

static bool dequant_rule(const Verify *v, const Node *n) {
  if (!broadcast_rule(v, n)) return false;
  if (!is_number(n->in[0]->t.e)) return bad(v, n, "x is a code, not %s", show(v, &n->in[0]->t));
  if (!elem_is_float(n->in[1]->t.e) || !elem_is_float(n->t.e)) return bad(v, n, "scale and result are floats");
  return n->n_in < 3 || !is_planes(n->in[2]->t.e) || bad(v, n, "zero point %s", show(v, &n->in[2]->t));
}

static bool thresholds_rule(const Verify *v, const Node *n) {
  Elem x = n->in[0]->t.e, t = n->in[1]->t.e;
  if (!want_shape(v, n, &n->in[0]->t) || !channel_rule(v, n)) return false;
  if (is_planes(x) || is_planes(t) || elem_is_float(x) != elem_is_float(t) || is_u64(x) != is_u64(t))
    return bad(v, n, "x %s does not compare with t %s", show(v, &n->in[0]->t), show(v, &n->in[1]->t));
  if (!is_number(n->t.e) || !is_number(n->in[2]->t.e) || !is_number(n->in[3]->t.e))
    return bad(v, n, "base, step and result are codes");
  return rows_rule(v, n, 1, 2) && rows_rule(v, n, 2, 1) && rows_rule(v, n, 3, 1);
}

static bool requant_rule(const Verify *v, const Node *n) {
  if (!want_shape(v, n, &n->in[0]->t) || !channel_rule(v, n)) return false;
  for (int i = 0; i < 3; i++)
    if (!is_number(n->in[i]->t.e) || is_u64(n->in[i]->t.e))
      return bad(v, n, "operand %d is %s, not a code in i64", i, show(v, &n->in[i]->t));
  if (!is_word(n->t.e)) return bad(v, n, "result %s", show(v, &n->t));
  if (n->a.shift < 0 || n->a.shift > 63) return bad(v, n, "shift=%d", n->a.shift);
  return range_rule(v, n) && rows_rule(v, n, 1, 1) && rows_rule(v, n, 2, 1);
}

/* Accesses */

/* No numerator overflows, whatever the iterators: a symbol counts with its bound, or 2^31 without one. */
static bool affine_rule(const Verify *v, const Node *n, const Affine *a, const int64_t *ext, int total) {
  int64_t lo = a->base, hi = a->base, far;
  if (a->div < 1) return bad(v, n, "divisor %" PRId64, a->div);
  for (int i = 0; i < MAX_ITERS; i++) {
    if (!a->coef[i]) continue;
    if (i >= total) return bad(v, n, "a coefficient of an iterator that there is not");
    if (!mul_ok(a->coef[i], ext[i] > 0 ? ext[i] - 1 : 0, &far) || !add_ok(far > 0 ? hi : lo, far, far > 0 ? &hi : &lo))
      return bad(v, n, "an access overflows");
  }
  return true;
}

static bool iters_rule(const Verify *v, const Node *n) {
  const Iters *it = n->a.iters;
  int64_t ext[MAX_ITERS];
  int total = it->n_out + it->n_red;
  if (it->n_out != n->t.rank) return bad(v, n, "%d output iterators of rank %d", it->n_out, n->t.rank);
  if (total > MAX_ITERS) return bad(v, n, "%d iterators, more than %d", total, MAX_ITERS);
  if (n->op == OP_VIEW && it->n_red) return bad(v, n, "reduction iterators");
  for (int i = 0; i < total; i++) {
    Dim d = i < it->n_out ? n->t.d[i] : it->red[i - it->n_out];
    if (d.sym > (uint32_t)v->g->n_syms || d.n < (d.sym ? -1 : 0)) return bad(v, n, "extent of iterator %d", i);
    ext[i] = d.n < 0 ? INT64_C(1) << 31 : d.n;
  }
  for (int k = 0; k < n->n_in; k++)
    for (int d = 0; d < n->in[k]->t.rank; d++) {
      if (!it->acc[k]) return bad(v, n, "no access of operand %d", k);
      if (!affine_rule(v, n, &it->acc[k][d], ext, total)) return false;
    }
  return true;
}

static bool is_static(const Node *n, int k) {
  for (int i = 0; i < n->a.iters->n_red; i++) if (n->a.iters->red[i].sym) return false;
  return type_static(&n->t) && type_static(&n->in[k]->t);
}

/* A code's fill is an integer within x's range; bases<1> and shift<k> may be padded with 0 in a contract only. */
static bool fill_rule(const Verify *v, const Node *n) {
  Elem x = n->in[0]->t.e;
  double f = n->a.fill;
  if (elem_is_float(x)) return true;
  if (f == 0 && (n->op == OP_CONTRACT || is_word(x) || !is_static(n, 0) || access_inside(n, 0))) return true;
  if (!(f == floor(f)) || f < (double)elem_lo(x) || f > (double)elem_hi(x) || fabs(f) > 0x1p53 || (elem_eq(x, BIPOLAR) && f == 0))
    return bad(v, n, "fill=%g outside %s", f, show(v, &n->in[0]->t));
  return x.kind != EK_SHIFT || is_shift_number((int64_t)f) || bad(v, n, "fill=%g outside %s", f, show(v, &n->in[0]->t));
}

static bool view_rule(const Verify *v, const Node *n) {
  if (!elem_eq(n->t.e, n->in[0]->t.e)) return bad(v, n, "result %s of %s", show(v, &n->t), show(v, &n->in[0]->t));
  return iters_rule(v, n) && fill_rule(v, n);
}

static bool reduce_rule(const Verify *v, const Node *n) {
  Scalar k = n->a.scalar;
  Elem x = n->in[0]->t.e;
  bool sums = k == S_ADD || k == S_MUL, picks = k == S_MAX || k == S_MIN, bits = k == S_AND || k == S_OR;
  bool same = elem_eq(n->t.e, x);
  if (!sums && !picks && !bits) return bad(v, n, "does not reduce");
  if (bits && !is_word(x)) return bad(v, n, "takes words, not %s", show(v, &n->in[0]->t));
  if (is_planes(x)) return bad(v, n, "%s is not a number without its alphas", show(v, &n->in[0]->t));
  bool fits = same && (elem_is_float(x) || !sums || elem_is_int(x));
  if (sums && elem_is_code(x) && elem_is_int(n->t.e)) fits = true;
  return fits ? iters_rule(v, n) : bad(v, n, "result %s of %s", show(v, &n->t), show(v, &n->in[0]->t));
}

static bool contract_elems(const Verify *v, const Node *n) {
  Elem a = n->in[0]->t.e, y = n->t.e;
  bool floats = elem_is_float(a), words = n->a.scalar != S_MUL;
  if (n->a.scalar != S_MUL && n->a.scalar != S_AND && n->a.scalar != S_XOR) return bad(v, n, "is mul, and, or xor");
  for (int k = 0; k < n->n_in; k++) {
    Elem e = n->in[k]->t.e;
    bool ok = floats ? elem_eq(e, a) && !words : words && k < 2 ? e.kind == EK_UINT && elem_eq(e, a) : is_number(e) && !is_u64(e);
    if (!ok) return bad(v, n, "operand %d is %s, the first %s", k, show(v, &n->in[k]->t), show(v, &n->in[0]->t));
  }
  if (floats ? !elem_eq(y, a) : !elem_is_int(y)) return bad(v, n, "result %s of %s", show(v, &n->t), show(v, &n->in[0]->t));
  Kernel k = n->a.kernel;
  if ((unsigned)k >= KERNEL_COUNT) return bad(v, n, "no such kernel");
  return k == KERNEL_AUTO || (k == KERNEL_FLOAT) == floats || bad(v, n, "kernel=%s of %s", kernel_names[k], show(v, &n->in[0]->t));
}

static bool contract_rule(const Verify *v, const Node *n) {
  if (!contract_elems(v, n) || !iters_rule(v, n) || !fill_rule(v, n)) return false;
  for (int k = 1; k < n->n_in; k++)
    if (is_static(n, k) && !access_inside(n, k)) return bad(v, n, "operand %d is accessed outside", k);
  return true;
}

/* Movement and scans */

/* Symbols match one to one, and the constant extents have the same product. */
static bool reshape_rule(const Verify *v, const Node *n) {
  Type c[2] = {n->in[0]->t, n->t};
  uint32_t sym[2][MAX_RANK];
  int n_sym[2] = {0, 0};
  int64_t count[2];
  if (!elem_eq(c[0].e, c[1].e)) return bad(v, n, "result %s of %s", show(v, &n->t), show(v, &n->in[0]->t));
  for (int k = 0; k < 2; k++) {
    for (int i = 0; i < c[k].rank; i++)
      if (c[k].d[i].sym) {
        sym[k][n_sym[k]++] = c[k].d[i].sym;
        c[k].d[i] = dim_c(1);
      }
    if (!type_count(&c[k], &count[k])) return bad(v, n, "more than 2^62 elements");
  }
  bool fits = count[0] == count[1] && n_sym[0] == n_sym[1];
  for (int i = 0; fits && i < n_sym[0]; i++) {
    int j = 0;
    while (j < n_sym[1] && sym[1][j] != sym[0][i]) j++;
    fits = j < n_sym[1];
    if (fits) sym[1][j] = 0;
  }
  return fits || bad(v, n, "%s to %s", show(v, &n->in[0]->t), show(v, &n->t));
}

/* Operand k is f32[C], C the extent of dimension 1 of x. */
static bool per_channel(const Verify *v, const Node *n, int k, const Type *x) {
  const Type *t = &n->in[k]->t;
  if (elem_eq(t->e, F32) && t->rank == 1 && dim_eq(t->d[0], x->d[1])) return true;
  return bad(v, n, "operand %d is %s, not one f32 for each channel", k, show(v, t));
}

static bool bn_rule(const Verify *v, const Node *n) {
  const Type *x = &n->in[n->op == OP_BN_GRAD]->t;
  if (!elem_eq(x->e, F32) || x->rank < 2) return bad(v, n, "of %s", show(v, x));
  for (int k = n->op == OP_BN_GRAD ? 2 : 1; k < n->n_in; k++) if (!per_channel(v, n, k, x)) return false;
  if (n->op == OP_BN_GRAD && !type_eq(&n->in[0]->t, x)) return bad(v, n, "%s beside %s", show(v, &n->in[0]->t), show(v, x));
  if (n->a.flag < 0 || n->a.flag > 2) return bad(v, n, "flag=%d", n->a.flag);
  Type c = {.e = F32, .rank = 1, .d = {x->d[1]}};
  return want_shape(v, n, n->a.flag ? &c : x);
}

/* Codes and zp small enough that binary32 has them. */
static bool quant_grad_rule(const Verify *v, const Node *n) {
  const Type *x = &n->in[1]->t;
  if (!elem_eq(x->e, F32) || !type_eq(&n->in[0]->t, x) || !elem_eq(n->in[2]->t.e, F32)) return bad(v, n, "of %s and %s", show(v, &n->in[0]->t), show(v, x));
  if (n->a.flag < 0 || n->a.flag > 1) return bad(v, n, "flag=%d", n->a.flag);
  if (n->a.lo > n->a.hi || n->a.lo < -(1 << 22) || n->a.hi > 1 << 22 || !(n->a.fill > -0x1p22 && n->a.fill < 0x1p22)) return bad(v, n, "codes beyond 22 bits");
  return broadcast_rule(v, n) && want_shape(v, n, x);
}

static bool straight_rule(const Verify *v, const Node *n) {
  const Type *a = &n->in[0]->t;
  if (!elem_is_float(a->e) || !type_eq(a, &n->in[1]->t)) return bad(v, n, "of %s and %s", show(v, a), show(v, &n->in[1]->t));
  return want_shape(v, n, a);
}

static bool locate_rule(const Verify *v, const Node *n) {
  if (n->a.scalar != S_MAX && n->a.scalar != S_MIN) return bad(v, n, "is max or min");
  if (!elem_eq(n->t.e, I64) || is_planes(n->in[0]->t.e)) return bad(v, n, "result %s of %s", show(v, &n->t), show(v, &n->in[0]->t));
  return iters_rule(v, n);
}

static bool scatter_rule(const Verify *v, const Node *n) {
  Type x = n->in[0]->t;
  if (!elem_eq(n->in[1]->t.e, I64)) return bad(v, n, "index %s is not i64", show(v, &n->in[1]->t));
  if (!elem_eq(x.e, n->t.e) || (elem_is_code(x.e) && !elem_is_int(x.e))) return bad(v, n, "result %s of %s", show(v, &n->t), show(v, &n->in[0]->t));
  x.e = I64;
  return type_eq(&x, &n->in[1]->t) || bad(v, n, "%s at %s", show(v, &n->in[0]->t), show(v, &n->in[1]->t));
}

static bool concat_rule(const Verify *v, const Node *n) {
  if (!axis_rule(v, n)) return false;
  Type t = n->in[0]->t;
  int64_t sum = 0;
  for (int k = 0; k < n->n_in; k++) {
    const Type *x = &n->in[k]->t;
    if (!elem_eq(x->e, n->t.e)) return bad(v, n, "operand %d is %s, the result %s", k, show(v, x), show(v, &n->t));
    if (x->rank != t.rank || x->d[n->a.axis].sym || !add_ok(sum, x->d[n->a.axis].n, &sum))
      return bad(v, n, "operand %d, %s, along axis %d", k, show(v, x), n->a.axis);
    for (int i = 0; i < t.rank; i++)
      if (i != n->a.axis && !dim_eq(x->d[i], t.d[i])) return bad(v, n, "%s beside %s", show(v, x), show(v, &n->in[0]->t));
  }
  t.d[n->a.axis] = dim_c(sum);
  return want_shape(v, n, &t);
}

static bool gather_rule(const Verify *v, const Node *n) {
  const Type *x = &n->in[0]->t, *index = &n->in[1]->t;
  if (!axis_rule(v, n)) return false;
  if (!elem_is_int(index->e)) return bad(v, n, "index %s is not an integer", show(v, index));
  if (!elem_eq(n->t.e, x->e)) return bad(v, n, "result %s of %s", show(v, &n->t), show(v, x));
  if (x->rank - 1 + index->rank > MAX_RANK) return bad(v, n, "rank %d", x->rank - 1 + index->rank);
  if (dim_eq(x->d[n->a.axis], dim_c(0)) && index->rank == 0) return bad(v, n, "nothing to choose from in %s", show(v, x));
  Type t = {.e = x->e};
  for (int i = 0; i < n->a.axis; i++) t.d[t.rank++] = x->d[i];
  for (int i = 0; i < index->rank; i++) t.d[t.rank++] = index->d[i];
  for (int i = n->a.axis + 1; i < x->rank; i++) t.d[t.rank++] = x->d[i];
  return want_shape(v, n, &t);
}

static bool argreduce_rule(const Verify *v, const Node *n) {
  if (!axis_rule(v, n)) return false;
  Type t = n->in[0]->t;
  if (n->a.scalar != S_MAX && n->a.scalar != S_MIN) return bad(v, n, "is max or min");
  if (is_planes(t.e) || !elem_is_int(n->t.e)) return bad(v, n, "result %s of %s", show(v, &n->t), show(v, &t));
  if (n->a.flag < 0 || n->a.flag > 1) return bad(v, n, "flag=%d", n->a.flag);
  t.d[n->a.axis] = dim_c(1);
  return want_shape(v, n, &t);
}

static bool cum_rule(const Verify *v, const Node *n) {
  Elem x = n->in[0]->t.e;
  if (!axis_rule(v, n)) return false;
  if (n->a.scalar != S_ADD && n->a.scalar != S_MUL) return bad(v, n, "is add or mul");
  if (!elem_eq(n->t.e, x) || (elem_is_code(x) && !elem_is_int(x)))
    return bad(v, n, "result %s of %s", show(v, &n->t), show(v, &n->in[0]->t));
  if (n->a.flag < 0 || n->a.flag > 3) return bad(v, n, "flag=%d", n->a.flag);
  return want_shape(v, n, &n->in[0]->t);
}

static bool pack_rule(const Verify *v, const Node *n) {
  const Type *x = &n->in[0]->t;
  Type t = *x;
  if (!axis_rule(v, n)) return false;
  if (n->a.axis != x->rank - 1 || x->d[n->a.axis].sym) return bad(v, n, "axis %d is not the last, of known extent", n->a.axis);
  if (!is_word(x->e) && x->e.kind != EK_BASES) return bad(v, n, "%s has no planes", show(v, x));
  if (n->t.e.kind != EK_UINT || (n->t.e.bits != 32 && n->t.e.bits != 64)) return bad(v, n, "words of %s", show(v, &n->t));
  if (x->rank == MAX_RANK) return bad(v, n, "rank %d", x->rank + 1);
  t.d[t.rank - 1] = dim_c(x->e.bits);
  t.d[t.rank++] = dim_c(x->d[n->a.axis].n / n->t.e.bits + (x->d[n->a.axis].n % n->t.e.bits > 0));
  return want_shape(v, n, &t);
}

/* The value of operand k of bases is known, of this rank. */
static const Tensor *known(const Verify *v, const Node *n, int k, int rank) {
  const Node *c = n->in[k];
  if (node_is_const(c) && c->t.rank == rank) return c->a.value;
  bad(v, n, "operand %d is %s, not a constant of rank %d", k, show(v, &c->t), rank);
  return NULL;
}

static bool bases_elems(const Verify *v, const Node *n) {
  Elem x = n->in[0]->t.e, counts = n->in[3]->t.e, scale = n->in[4]->t.e;
  bool words = n->n_in == 6, numbers = elem_is_float(x) ? x.bits >= 32 : is_number(x) && x.bits <= 32;
  int64_t one;
  if (words ? x.kind != EK_UINT || (x.bits != 32 && x.bits != 64) : !numbers) return bad(v, n, "of %s", show(v, &n->in[0]->t));
  if (!elem_eq(n->in[1]->t.e, BIPOLAR)) return bad(v, n, "signs are %s", show(v, &n->in[1]->t));
  if (!elem_is_float(n->in[2]->t.e) || n->in[2]->t.e.bits < 32) return bad(v, n, "alphas are %s", show(v, &n->in[2]->t));
  if (counts.kind != EK_UINT) return bad(v, n, "counts are %s", show(v, &n->in[3]->t));
  if (!elem_is_float(scale) || scale.bits < 32 || !type_count(&n->in[4]->t, &one) || one != 1) return bad(v, n, "the scale is %s", show(v, &n->in[4]->t));
  if (words && !elem_eq(n->in[5]->t.e, I32)) return bad(v, n, "coefficients are %s", show(v, &n->in[5]->t));
  if ((unsigned)n->a.kernel >= KERNEL_COUNT || (words && n->a.kernel != KERNEL_BITSERIAL)) return bad(v, n, "no such kernel");
  return (elem_is_float(n->t.e) && n->t.e.bits >= 32) || bad(v, n, "result %s", show(v, &n->t));
}

static bool bases_rule(const Verify *v, const Node *n) {
  if (!bases_elems(v, n)) return false;
  const Tensor *signs = known(v, n, 1, 2), *alpha = signs ? known(v, n, 2, 1) : NULL, *counts = alpha ? known(v, n, 3, 3) : NULL;
  const Type *x = &n->in[0]->t;
  int words = n->n_in == 6, last = x->rank - 1;
  int64_t planes = 0;
  if (!counts || (words && !known(v, n, 5, 1))) return false;
  for (int64_t i = 0; i < counts->n; i++) {
    if (tensor_i(counts, i) < 0 || tensor_i(counts, i) > 15) return bad(v, n, "a group of more than 15 planes");
    planes += tensor_i(counts, i);
  }
  if (planes != signs->t.d[0].n || planes != alpha->n) return bad(v, n, "%" PRId64 " planes, signs %s, alphas %s", planes, show(v, &signs->t), show(v, &alpha->t));
  if (last < 2 + words || signs->t.d[1].n < 1) return bad(v, n, "of %s", show(v, x));
  Type t = *x;
  t.rank = (uint8_t)(last - 1 - words); /* the dimensions before, and B */
  bool fits = dim_eq(x->d[t.rank - 1], counts->t.d[0]) && dim_eq(x->d[t.rank], counts->t.d[2]);
  t.rank++;
  t.d[t.rank - 1] = counts->t.d[1];
  if (!words) fits = fits && dim_eq(x->d[last], signs->t.d[1]);
  else fits = fits && dim_eq(x->d[last - 1], dim_c(n->in[5]->t.d[0].n - 1)) && dim_eq(x->d[last], dim_c((signs->t.d[1].n + x->e.bits - 1) / x->e.bits));
  if (!fits) return bad(v, n, "%s does not fit counts %s and signs %s", show(v, x), show(v, &counts->t), show(v, &signs->t));
  return want_shape(v, n, &t);
}

/* The table */

static bool (*const rules[OP_COUNT])(const Verify *, const Node *) = {
  [OP_CONST] = const_rule, [OP_ARG] = arg_rule, [OP_MAP] = map_rule, [OP_VIEW] = view_rule, [OP_RESHAPE] = reshape_rule,
  [OP_CONCAT] = concat_rule, [OP_GATHER] = gather_rule, [OP_REDUCE] = reduce_rule, [OP_ARGREDUCE] = argreduce_rule,
  [OP_CUM] = cum_rule, [OP_CONTRACT] = contract_rule, [OP_QUANT] = quant_rule, [OP_DEQUANT] = dequant_rule,
  [OP_THRESHOLDS] = thresholds_rule, [OP_REQUANT] = requant_rule, [OP_PACK] = pack_rule,
  [OP_BN] = bn_rule, [OP_BN_TRAIN] = bn_rule, [OP_BN_GRAD] = bn_rule, [OP_QUANT_GRAD] = quant_grad_rule, [OP_LOCATE] = locate_rule, [OP_STRAIGHT] = straight_rule, [OP_BASES] = bases_rule, [OP_SCATTER] = scatter_rule,
};

/* Attributes are there exactly where ops.def says so: printing loses the others. */
static bool attrs_rule(const Verify *v, const Node *n) {
  uint32_t has = op_info[n->op].attrs;
  const Attr *a = &n->a;
  for (int i = 0; i < ATTR_FIELDS; i++)
    if (!(has & attr_fields[i].mask) && !field_is_zero(&attr_fields[i], a))
      return bad(v, n, "has no attribute %s", attr_fields[i].name);
  if (has & AT_SCALAR ? a->scalar <= S_NONE || a->scalar >= SCALAR_COUNT : a->scalar != S_NONE)
    return bad(v, n, "scalar operation %d", (int)a->scalar);
  if (!(has & AT_ITERS) != !a->iters || !(has & AT_VALUE) != !a->value || (!(has & AT_INDEX) && a->index))
    return bad(v, n, "an attribute is missing or too many");
  return true;
}

static bool node_rule(const Verify *v, const Node *n, int i) {
  const Graph *g = v->g;
  if (n->op >= OP_COUNT) return bad(v, NULL, "node %d has no such operator", i);
  if (n->id != (uint32_t)i) return bad(v, n, "node %d calls itself %" PRIu32, i, n->id);
  if (n->n_in < op_info[n->op].min_in || n->n_in > op_info[n->op].max_in) return bad(v, n, "%d operands", n->n_in);
  for (int k = 0; k < n->n_in; k++) {
    const Node *x = n->in[k];
    if (!x || x->id >= (uint32_t)i || g->nodes[x->id] != x) return bad(v, n, "operand %d does not come before it", k);
  }
  if (n->a.fused && (n->op == OP_CONST || n->op == OP_ARG)) return bad(v, n, "cannot be fused");
  return type_rule(v, n, &n->t) && attrs_rule(v, n) && rules[n->op](v, n);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Names are there, and differ. */
static bool names_rule(const Verify *v, const char **names, int n, const char *what) {
  for (int i = 0; i < n; i++)
    if (!names[i] || !*names[i]) return bad(v, NULL, "%s %d has no name", what, i);
  if (n) qsort(names, (size_t)n, sizeof *names, by_text);
  for (int i = 1; i < n; i++)
    if (!strcmp(names[i - 1], names[i])) return bad(v, NULL, "two %ss are called %.100s", what, names[i]);
  return true;
}

static bool ports_rule(const Verify *v) {
  const Graph *g = v->g;
  const char **names = NEWN(v->scratch, const char *, g->n_args > g->n_outs ? g->n_args : g->n_outs);
  for (int i = 0; i < g->n_args; i++) {
    const Node *n = g->args[i];
    if (!n || n->op != OP_ARG || n->a.index != i || n->id >= (uint32_t)g->n_nodes || g->nodes[n->id] != n)
      return bad(v, NULL, "argument %d is not one", i);
    names[i] = g->arg_names[i];
  }
  if (!names_rule(v, names, g->n_args, "argument")) return false;
  for (int i = 0; i < g->n_outs; i++) {
    const Node *n = g->outs[i].v;
    if (!n || n->id >= (uint32_t)g->n_nodes || g->nodes[n->id] != n) return bad(v, NULL, "output %d is of no node", i);
    if (n->a.fused) return bad(v, n, "an output cannot be fused");
    names[i] = g->outs[i].name;
  }
  return names_rule(v, names, g->n_outs, "output");
}

/* Promised properties that are rules of the language itself. */
static bool props_rule(const Verify *v, const Node *n) {
  if (v->g->props & P_STATIC && !type_static(&n->t)) return bad(v, n, "%s in a static graph", show(v, &n->t));
  if (v->g->props & P_SELECTED && n->op == OP_CONTRACT && n->a.kernel == KERNEL_AUTO) return bad(v, n, "no kernel was selected");
  return true;
}

bool graph_verify(Ctx *ctx, const Graph *g) {
  Verify v = {.ctx = ctx, .g = g, .scratch = arena_new(ctx)};
  bool ok = true;
  for (int i = 0; ok && i < g->n_nodes; i++) ok = node_rule(&v, g->nodes[i], i) && props_rule(&v, g->nodes[i]);
  ok = ok && ports_rule(&v);
  arena_free(v.scratch);
  return ok;
}
