/* Operators that loop inside one element: contract, reduce, argreduce; and cum, which loops along its axis. Accumulation
 * is in the order of the reduction iterators, the last fastest, as graph_eval has it. */
#include "passes/lower.h"

#include <assert.h>
#include <math.h>

/* Where the reduction loops of a node run: bounds of single iterators, and a test that guards all loops. */
typedef struct Clip { Expr *lo[MAX_ITERS], *hi[MAX_ITERS], *guard; bool never; } Clip;

static Expr *both(Lower *l, Expr *a, Expr *b) {
  return !a ? b : !b ? a : nx2(l->p, S_AND, a, b);
}

/* Bounds iterator j (extent r, step c >= 1) so that 0 <= rest + c*j < extent. */
static void clip_iter(Lower *l, Clip *clip, int j, int64_t r, int64_t c, Lin rest, int64_t extent) {
  Program *p = l->p;
  Lin minus = lin_mad(l, lin_c(0), rest, -1), room = lin_mad(l, lin_c(extent), rest, -1);
  Expr *zero = nx_idx(p, 0);
  if (rest.lo < 0) {
    Expr *lo = nx2(p, S_MAX, lin_expr(l, minus), zero);
    if (c > 1) lo = nx2(p, S_DIV, nx2(p, S_ADD, lo, lin_expr(l, lin_c(c - 1))), lin_expr(l, lin_c(c)));
    clip->lo[j] = clip->lo[j] ? nx2(p, S_MAX, clip->lo[j], lo) : lo;
  }
  if (rest.hi + c * (r - 1) >= extent) {
    Expr *hi = lin_expr(l, room);
    if (c > 1) hi = nx2(p, S_DIV, nx2(p, S_ADD, nx2(p, S_MAX, hi, zero), lin_expr(l, lin_c(c - 1))), lin_expr(l, lin_c(c)));
    clip->hi[j] = nx2(p, S_MIN, clip->hi[j] ? clip->hi[j] : lin_expr(l, lin_c(r)), hi);
  }
}

/* Takes what lies outside operand k out of the loops where each of its dimensions depends on at most one reduction
 * iterator. it: forms of the output iterators. False, and nothing changed, where a dimension does not. */
static bool clip_operand(Lower *l, Clip *clip, const Node *n, int k, const Lin *it) {
  const Iters *its = n->a.iters;
  const Type *t = &n->in[k]->t;
  for (int d = 0; d < t->rank; d++) {
    const Affine *a = &its->acc[k][d];
    int used = 0;
    for (int j = 0; j < its->n_red; j++) {
      int64_t c = a->coef[its->n_out + j];
      if (c < 0) return false;
      used += c != 0;
    }
    if (used > 1 || (used && a->div != 1)) return false;
  }
  for (int d = 0; d < t->rank; d++) {
    const Affine *a = &its->acc[k][d];
    Lin rest = lin_access(l, a, it, its->n_out), index;
    int j = 0;
    clip->never = clip->never || t->d[d].n == 0;
    while (j < its->n_red && !a->coef[its->n_out + j]) j++;
    if (j < its->n_red) clip_iter(l, clip, j, its->red[j].n, a->coef[its->n_out + j], rest, t->d[d].n);
    else clip->guard = both(l, clip->guard, in_range(l, rest, a->div, t->d[d].n, &index, &clip->never));
  }
  return true;
}

/* Index of operand k under all iterators; the test of what may be outside, or NULL. inside: nothing can be. */
static Expr *operand_index(Lower *l, const Node *n, int k, const Lin *it, bool inside, Lin *in, bool *never) {
  const Iters *its = n->a.iters;
  Expr *test = NULL;
  for (int d = 0; d < n->in[k]->t.rank; d++) {
    const Affine *a = &its->acc[k][d];
    int64_t extent = n->in[k]->t.d[d].n;
    Lin x = lin_access(l, a, it, its->n_out + its->n_red);
    if (inside) in[d] = lin_within(lin_div(l, x, a->div), 0, extent - 1);
    else test = both(l, test, in_range(l, x, a->div, extent, &in[d], never));
  }
  return test;
}

static bool reduction_extents(const Node *n, int64_t *ext) {
  bool any = true;
  for (int j = 0; j < n->a.iters->n_red; j++) {
    ext[j] = n->a.iters->red[j].n;
    any = any && ext[j] > 0;
  }
  return any;
}

/* A constant of finite numbers: 0 times any of them is 0. */
static bool all_finite(const Node *n) {
  if (!elem_is_float(n->t.e)) return true;
  if (!node_is_const(n)) return false;
  for (int64_t i = 0; i < n->a.value->n; i++)
    if (!isfinite(tensor_f(n->a.value, i))) return false;
  return true;
}

/* Accumulators of codes are at least 32 bits wide: sums wrap alike, and products of bytes need no narrowing. */
static Elem acc_elem(const Lower *l, Elem e) {
  Elem a = lower_elem(l, e);
  return elem_is_float(a) || a.bits >= 32 || l->opt->hls ? a : I32;
}

/* The bits of a word, zero extended from their own width. */
Expr *word_bits(Lower *l, Expr *x, Elem e) {
  Elem t = UINTK(x->t.e.kind == EK_BOOL ? 8 : x->t.e.bits);
  x = nx_cast(l->p, x, t);
  if (e.kind != EK_INT || t.bits == e.bits) return x;
  return nx2(l->p, S_AND, x, nx_const_i(l->p, nt(t), (INT64_C(1) << e.bits) - 1));
}

Expr *contract_product(Lower *l, const Node *n, Expr *const *x, Elem acc) {
  Program *p = l->p;
  Expr *e;
  if (n->a.scalar == S_MUL) e = nx2(p, S_MUL, nx_cast(p, x[0], acc), nx_cast(p, x[1], acc));
  else {
    Expr *a = word_bits(l, x[0], n->in[0]->t.e), *b = word_bits(l, x[1], n->in[1]->t.e);
    Elem t = a->t.e.bits > b->t.e.bits ? a->t.e : b->t.e;
    e = nx_cast(p, nx1(p, S_POP, nx2(p, n->a.scalar, nx_cast(p, a, t), nx_cast(p, b, t))), acc);
  }
  return n->n_in > 2 ? nx2(p, S_MUL, e, nx_cast(p, x[2], acc)) : e;
}

/* Greatest magnitude of the sum, for the wrap at its end; INT64_MAX: not known. */
static int64_t sum_bound(const Node *n, const int64_t *ext) {
  int64_t bound = 1;
  for (int j = 0; j < n->a.iters->n_red; j++)
    if (!mul_ok(bound, ext[j], &bound)) return INT64_MAX;
  for (int k = 0; k < n->n_in; k++) {
    Elem e = n->in[k]->t.e;
    if (e.bits > 62 && n->a.scalar == S_MUL) return INT64_MAX;
    bool word = n->a.scalar != S_MUL && k < 2; /* the words of a popcount count once */
    int64_t most = word ? (k ? 1 : e.bits) : -elem_lo(e) > elem_hi(e) ? -elem_lo(e) : elem_hi(e);
    if (!mul_ok(bound, most, &bound)) return INT64_MAX;
  }
  return bound;
}

Elem contract_elem(const Lower *l, const Node *n) {
  for (int k = 0; n->a.scalar == S_MUL && k < n->n_in; k++)
    if (elem_is_float(n->t.e) && elem_is_float(n->in[k]->t.e) && n->in[k]->t.e.bits == 64) return F64;
  return acc_elem(l, n->t.e);
}

Expr *contract_zero(Lower *l, Elem acc) {
  return elem_is_float(acc) ? nx_const_f(l->p, nt(acc), 0) : nx_const_i(l->p, nt(acc), 0);
}

Expr *contract_operand(Lower *l, const Node *n, int k, const Lin *it, bool skip) {
  Program *p = l->p;
  Lin in[MAX_RANK];
  bool never = false;
  NType t = nt(lower_elem(l, n->in[k]->t.e));
  Expr *fill = elem_is_float(t.e) ? nx_const_f(p, t, k ? 0 : n->a.fill) : nx_const_i(p, t, k ? 0 : (int64_t)n->a.fill);
  Expr *test = operand_index(l, n, k, it, (k == 0 && skip) || access_inside(n, k), in, &never);
  if (n->a.kernel == KERNEL_PACKED && node_is_const(n->in[k])) return packed_value(l, n->in[k], in);
  return never ? fill : choose(l, test, n->in[k], in, fill);
}

void contract_loops(Lower *l, const Node *n, Lin *it, uint32_t unrolled, ContractBody *body, void *user) {
  const Iters *its = n->a.iters;
  bool rest_finite = true;
  int64_t ext[MAX_ITERS];
  Clip clip = {.guard = NULL};
  for (int k = 1; k < n->n_in; k++) rest_finite = rest_finite && all_finite(n->in[k]);
  bool skip = !access_inside(n, 0) && n->a.fill == 0 && rest_finite && n->a.scalar != S_XOR && clip_operand(l, &clip, n, 0, it);
  if (!reduction_extents(n, ext) || clip.never) return;
  for (int j = 0; j < its->n_red; j++)
    if (unrolled >> j & 1) ext[j] = 1;
  Scope outer = {l->at, l->memo.n};
  if (clip.guard) block_enter(l, &ns_if(l->p, l->at, clip.guard)->body);
  loops_open(l, n, its->n_red, ext, it + its->n_out, clip.lo, clip.hi);
  body(l, n, it, skip, user);
  block_leave(l, outer);
}

/* Bounds of a contraction of codes; from the weights themselves, computed once. */
static void contract_range(Lower *l, const Node *n, int64_t *lo, int64_t *hi) {
  int64_t ext[MAX_ITERS], *known = l->sums[n->id];
  if (!known) {
    known = l->sums[n->id] = NEWN(l->tmp, int64_t, 2);
    reduction_extents(n, ext);
    int64_t bound = sum_bound(n, ext);
    if (n->a.scalar != S_MUL || !range_partial(l->ranges, n, &known[0], &known[1]))
      known[0] = bound == INT64_MAX ? INT64_MIN : -bound, known[1] = bound;
  }
  *lo = known[0], *hi = known[1];
}

Expr *contract_result(Lower *l, const Node *n, Expr *sum) {
  int64_t lo, hi;
  if (elem_is_float(n->t.e)) return round_to(l, sum, n->t.e);
  contract_range(l, n, &lo, &hi);
  return wrap_to(l, sum, n->t.e, lo, hi);
}

static void add_product(Lower *l, const Node *n, const Lin *it, bool skip, void *user) {
  Expr *sum = user, *x[3];
  for (int k = 0; k < n->n_in; k++) x[k] = contract_operand(l, n, k, it, skip);
  ns_set(l->p, l->at, sum->var, nx2(l->p, S_ADD, sum, contract_product(l, n, x, sum->t.e)));
}

Expr *contract_expr(Lower *l, const Node *n, const Lin *idx) {
  Elem acc = contract_elem(l, n);
  Lin it[MAX_ITERS];
  for (int d = 0; d < n->a.iters->n_out; d++) it[d] = idx[d];
  if (n->a.kernel == KERNEL_SHIFT && access_inside(n, 0)) return shift_expr(l, n, idx); /* a border that layout was not asked to pad has no places */
  tile_note(l, n, idx);
  if (n->a.scalar != S_MUL && n->n_in > 2) {
    Expr *e = planes_expr(l, n, it);
    if (e) return e;
  }
  int var = nest_var(l->p, l->nest, "acc", nt(acc), false);
  ns_vardef(l->p, l->at, var, contract_zero(l, acc));
  Expr *sum = nx_var(l->p, l->nest, var);
  contract_loops(l, n, it, 0, add_product, sum);
  return contract_result(l, n, sum);
}

/* Neutral element of a reduction. */
static Expr *neutral(Lower *l, Scalar s, Elem acc, Elem e) {
  NType t = nt(acc);
  if (elem_is_float(acc)) {
    double v = s == S_MUL ? 1 : s == S_MAX ? -(double)INFINITY : s == S_MIN ? (double)INFINITY : 0;
    return nx_const_f(l->p, t, v);
  }
  int64_t v = s == S_MUL ? 1 : s == S_MAX ? elem_lo(e) : s == S_MIN ? elem_hi(e) : s == S_AND ? -1 : 0;
  bool u64 = e.kind == EK_UINT && e.bits == 64;
  if (s == S_AND && e.kind == EK_UINT) v = elem_hi(e);
  if ((s == S_MIN || s == S_AND) && u64) v = -1;
  return nx_const_i(l->p, t, v);
}

Expr *reduce_expr(Lower *l, const Node *n, const Lin *idx) {
  Program *p = l->p;
  const Iters *its = n->a.iters;
  Scalar s = n->a.scalar;
  bool never = false;
  Elem acc = s == S_ADD || s == S_MUL ? acc_elem(l, n->t.e) : lower_elem(l, n->t.e);
  Lin it[MAX_ITERS], in[MAX_RANK];
  int64_t ext[MAX_ITERS];
  Clip clip = {.guard = NULL};
  for (int d = 0; d < its->n_out; d++) it[d] = idx[d];
  bool inside = access_inside(n, 0) || clip_operand(l, &clip, n, 0, it);
  int var = nest_var(p, l->nest, "acc", nt(acc), false);
  ns_vardef(p, l->at, var, neutral(l, s, acc, n->t.e));
  Expr *sum = nx_var(p, l->nest, var);
  if (reduction_extents(n, ext) && !clip.never) {
    Scope outer = {l->at, l->memo.n};
    if (clip.guard) block_enter(l, &ns_if(p, l->at, clip.guard)->body);
    loops_open(l, n, its->n_red, ext, it + its->n_out, clip.lo, clip.hi);
    Expr *test = operand_index(l, n, 0, it, inside, in, &never);
    if (!never) {
      if (test) block_enter(l, &ns_if(p, l->at, test)->body);
      ns_set(p, l->at, var, nx2(p, s, sum, nx_cast(p, value(l, n->in[0], in), acc)));
    }
    block_leave(l, outer);
  }
  if (elem_is_float(acc)) return round_to(l, sum, n->t.e);
  int64_t lo = INT64_MIN, hi = INT64_MAX;
  if (s == S_ADD && !range_partial(l->ranges, n, &lo, &hi)) lo = INT64_MIN, hi = INT64_MAX;
  return s == S_ADD || s == S_MUL ? wrap_to(l, sum, n->t.e, lo, hi) : sum;
}

/* First of two values wins: better, or a NaN where none was. */
static Expr *better(Lower *l, const Node *n, Expr *x, Expr *best) {
  Program *p = l->p;
  Expr *a = n->a.scalar == S_MAX ? best : x, *b = n->a.scalar == S_MAX ? x : best;
  bool is_float = elem_is_float(x->t.e);
  Expr *wins = nx2(p, n->a.flag ? S_LE : S_LT, a, b);
  if (!is_float) return wins;
  Expr *x_nan = nx1(p, S_ISNAN, x), *best_nan = nx1(p, S_ISNAN, best);
  Expr *by_nan = n->a.flag ? x_nan : nx2(p, S_AND, x_nan, nx1(p, S_NOT, best_nan));
  return nx2(p, S_OR, wins, by_nan);
}

Expr *argreduce_expr(Lower *l, const Node *n, const Lin *idx) {
  Program *p = l->p;
  const Node *x = n->in[0];
  int axis = n->a.axis;
  Elem e = lower_elem(l, x->t.e), to = lower_elem(l, n->t.e);
  Lin in[MAX_RANK];
  for (int d = 0; d < x->t.rank; d++) in[d] = idx[d];
  in[axis] = lin_c(0);
  int best = nest_var(p, l->nest, "best", nt(e), false), at = nest_var(p, l->nest, "at", nt(to), false);
  ns_vardef(p, l->at, best, value(l, x, in));
  ns_vardef(p, l->at, at, nx_const_i(p, nt(to), 0));
  int64_t ext = x->t.d[axis].n;
  if (ext > 1) {
    int64_t rest = ext - 1;
    Lin k;
    Scope outer = loops_open(l, n, 1, &rest, &k, NULL, NULL);
    in[axis] = lin_mad(l, k, lin_c(1), 1);
    Expr *v = let(l, "v", value(l, x, in));
    Stmt *s = ns_if(p, l->at, better(l, n, v, nx_var(p, l->nest, best)));
    ns_set(p, &s->body, best, v);
    ns_set(p, &s->body, at, nx_cast(p, lin_expr(l, in[axis]), to));
    block_leave(l, outer);
  }
  return nx_var(p, l->nest, at);
}

/* The nest of a cum: loops over the other dimensions, then along the axis with a running value. */
void cum_body(Lower *l, const Node *n) {
  Program *p = l->p;
  int axis = n->a.axis;
  Lin idx[MAX_RANK];
  int64_t ext[MAX_RANK], along = n->t.d[axis].n;
  for (int d = 0; d < n->t.rank; d++) ext[d] = d == axis ? 1 : n->t.d[d].n;
  Scope outer = loops_open(l, NULL, n->t.rank, ext, idx, NULL, NULL);
  Elem acc = acc_elem(l, n->t.e);
  int var = nest_var(p, l->nest, "acc", nt(acc), false);
  ns_vardef(p, l->at, var, neutral(l, n->a.scalar, acc, n->t.e));
  Expr *sum = nx_var(p, l->nest, var);
  loops_open(l, n, 1, &along, &idx[axis], NULL, NULL);
  if (n->a.flag & 2) idx[axis] = lin_mad(l, lin_c(along - 1), idx[axis], -1);
  Expr *x = let(l, "v", nx_cast(p, value(l, n->in[0], idx), acc));
  Expr *next = nx2(p, n->a.scalar, sum, x), *to = lin_expr(l, lin_flat(l, &n->t, idx));
  bool is_float = elem_is_float(acc);
  Expr *out = is_float ? round_to(l, sum, n->t.e) : wrap_to(l, sum, n->t.e, INT64_MIN, INT64_MAX);
  if (n->a.flag & 1) ns_store(p, l->at, l->buf[n->id], to, out);
  ns_set(p, l->at, var, next);
  if (!(n->a.flag & 1)) ns_store(p, l->at, l->buf[n->id], to, out);
  block_leave(l, outer);
}
