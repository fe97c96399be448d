/* Operators with tables or layouts of their own: thresholds, requant, pack. */
#include "passes/lower.h"

#include <assert.h>

enum { COUNTED_LEVELS = 15 }; /* more levels than this are searched */

/* Row C of a per-channel operand: its index from the element's, 0 where the operand has one row. */
static Lin channel(const Node *n, const Type *t, const Lin *idx) {
  return t->rank == 0 || t->d[0].n == 1 ? lin_c(0) : idx[n->a.axis];
}

static Expr *channel_value(Lower *l, const Node *n, int operand, const Lin *idx, Elem as) {
  const Node *x = n->in[operand];
  Lin in[MAX_RANK];
  in[0] = channel(n, &x->t, idx);
  return nx_cast(l->p, value(l, x, in), as);
}

static bool rows_sorted(const Node *t) {
  if (!node_is_const(t)) return false;
  int64_t levels = t->t.d[1].n, rows = t->t.d[0].n;
  bool is_float = elem_is_float(t->t.e), u64 = t->t.e.kind == EK_UINT && t->t.e.bits == 64;
  for (int64_t c = 0; c < rows; c++)
    for (int64_t j = c * levels + 1; j < (c + 1) * levels; j++) {
      if (is_float ? !(tensor_f(t->a.value, j - 1) <= tensor_f(t->a.value, j)) :
          u64 ? (uint64_t)tensor_i(t->a.value, j - 1) > (uint64_t)tensor_i(t->a.value, j) : tensor_i(t->a.value, j - 1) > tensor_i(t->a.value, j))
        return false;
    }
  return true;
}

/* Type in which x and its thresholds compare exactly. */
static Elem compare_elem(const Lower *l, Elem x, Elem t) {
  if (elem_is_float(x) || elem_is_float(t)) return x.bits == 64 || t.bits == 64 || elem_is_code(x) || elem_is_code(t) ? F64 : F32;
  Elem e = common_elem(l, x, t);
  return e.kind == EK_UINT && e.bits == 64 ? I64 : e; /* as graph_eval compares */
}

/* #{j : t[C,j] <= x} by halving: the greatest count whose last threshold is <= x, in steps of powers of two. */
static Expr *count_search(Lower *l, const Node *t, Lin row, Expr *x, Elem cmp) {
  Program *p = l->p;
  int64_t levels = t->t.d[1].n, step = 1;
  Expr *count = nx_idx(p, 0), *zero = nx_idx(p, 0);
  while (step * 2 <= levels) step *= 2;
  for (; step > 0; step /= 2) {
    Lin at = lin_atom(l, count, 0, levels), in[2] = {row, lin_mad(l, lin_within(at, 0, levels - step), lin_c(step - 1), 1)};
    Expr *next = nx2(p, S_ADD, count, nx_idx(p, step));
    Expr *test = nx2(p, S_LE, nx_cast(p, value(l, t, in), cmp), x);
    int64_t reach = 0; /* greatest count so far */
    for (int64_t s = step * 2; s <= levels; s *= 2) reach += s;
    if (reach + step > levels) test = nx_cond(p, nx2(p, S_LE, next, nx_idx(p, levels)), test, nx_const_i(p, nt(BOOL), 0));
    count = let(l, "n", nx2(p, S_ADD, count, nx3(p, S_SELECT, test, nx_idx(p, step), zero)));
  }
  return count;
}

static Expr *count_levels(Lower *l, const Node *t, Lin row, Expr *x, Elem cmp, Elem as) {
  Program *p = l->p;
  int64_t levels = t->t.d[1].n;
  Expr *count = nx_const_i(p, nt(as), 0);
  if (levels > COUNTED_LEVELS && rows_sorted(t)) return nx_cast(p, count_search(l, t, row, x, cmp), as);
  if (levels <= COUNTED_LEVELS) {
    for (int64_t j = 0; j < levels; j++) {
      Lin in[2] = {row, lin_c(j)};
      Expr *reached = nx_cast(p, nx2(p, S_LE, nx_cast(p, value(l, t, in), cmp), x), as);
      count = nx2(p, S_ADD, reached, count);
    }
    return count;
  }
  int var = nest_var(p, l->nest, "n", nt(as), false);
  ns_vardef(p, l->at, var, count);
  Lin in[2] = {row};
  Scope outer = loops_open(l, t, 1, &levels, &in[1], NULL, NULL);
  Expr *reached = nx_cast(p, nx2(p, S_LE, nx_cast(p, value(l, t, in), cmp), x), as);
  ns_set(p, l->at, var, nx2(p, S_ADD, nx_var(p, l->nest, var), reached));
  block_leave(l, outer);
  return nx_var(p, l->nest, var);
}

Expr *thresholds_expr(Lower *l, const Node *n, const Lin *idx, Expr *x) {
  Program *p = l->p;
  const Node *t = n->in[1];
  Elem cmp = compare_elem(l, n->in[0]->t.e, t->t.e), to = n->t.e;
  Elem as = elem_is_float(to) ? lower_elem(l, to) : to.bits > 32 ? I64 : I32;
  x = let(l, "x", nx_cast(p, x, cmp));
  Expr *count = count_levels(l, t, channel(n, &t->t, idx), x, cmp, elem_is_float(to) ? I32 : as);
  Expr *base = channel_value(l, n, 2, idx, as), *step = channel_value(l, n, 3, idx, as);
  Expr *y = nx2(p, S_MUL, nx_cast(p, count, as), step);
  if (elem_is_float(to)) return round_to(l, nx2(p, S_ADD, base, round_to(l, y, to)), to);
  return wrap_to(l, nx2(p, S_ADD, y, base), to, INT64_MIN, INT64_MAX);
}

Expr *requant_expr(Lower *l, const Node *n, const Lin *idx, Expr *x) {
  Program *p = l->p;
  NType w = nt(I64);
  Expr *y = nx2(p, S_MUL, nx_cast(p, x, I64), channel_value(l, n, 1, idx, I64));
  y = nx2(p, S_ADD, y, channel_value(l, n, 2, idx, I64));
  y = nx2(p, S_SHR, y, nx_const_i(p, w, n->a.shift > 63 ? 63 : n->a.shift));
  y = nx2(p, S_MIN, nx2(p, S_MAX, y, nx_const_i(p, w, n->a.lo)), nx_const_i(p, w, n->a.hi));
  return wrap_to(l, y, n->t.e, n->a.lo, n->a.hi);
}

/* Bit i of each plane word from the code x: y[.., p, w] |= ((x >> p) & 1) << i. */
static void pack_bit(Lower *l, const Node *n, Expr *x, Expr *i, const int *plane, int planes) {
  Program *p = l->p;
  Elem word = lower_elem(l, n->t.e);
  bool sign = n->in[0]->t.e.kind == EK_BASES && n->in[0]->t.e.bits == 1;
  NType w = nt(word);
  Expr *one = nx_const_i(p, w, 1), *shift = nx_cast(p, i, word);
  Expr *bits = sign ? NULL : let(l, "c", nx_cast(p, x, word));
  for (int k = 0; k < planes; k++) {
    Expr *bit;
    if (sign) bit = nx_cast(p, nx2(p, S_LT, nx_const_i(p, x->t, 0), x), word);
    else bit = nx2(p, S_AND, k ? nx2(p, S_SHR, bits, nx_const_i(p, w, k)) : bits, one);
    Expr *old = nx_var(p, l->nest, plane[k]);
    ns_set(p, l->at, plane[k], nx2(p, S_OR, old, nx2(p, S_SHL, bit, shift)));
  }
}

/* Words w0..w0+words-1 of every row, bits 0..bits-1 of each. */
static void pack_words(Lower *l, const Node *n, const void *key, int64_t w0, int64_t words, int64_t bits) {
  Program *p = l->p;
  const Node *x = n->in[0];
  int rank = x->t.rank, planes = (int)n->t.d[rank - 1].n, plane[64];
  int64_t ext[MAX_RANK], w_bits = n->t.e.bits;
  Lin in[MAX_RANK], out[MAX_RANK], i;
  if (!words || !bits) return;
  for (int d = 0; d < rank - 1; d++) ext[d] = x->t.d[d].n;
  ext[rank - 1] = words;
  Scope outer = loops_open(l, key, rank, ext, in, NULL, NULL);
  Lin word = lin_mad(l, in[rank - 1], lin_c(w0), 1);
  for (int k = 0; k < planes; k++) {
    plane[k] = nest_var(p, l->nest, "plane", nt(lower_elem(l, n->t.e)), false);
    ns_vardef(p, l->at, plane[k], nx_const_i(p, nt(lower_elem(l, n->t.e)), 0));
  }
  Scope inner = loops_open(l, (const char *)key + 1, 1, &bits, &i, NULL, NULL);
  Expr *bit = lin_expr(l, i);
  in[rank - 1] = lin_mad(l, i, word, w_bits);
  pack_bit(l, n, let(l, "x", value(l, x, in)), bit, plane, planes);
  block_leave(l, inner);
  for (int d = 0; d < rank - 1; d++) out[d] = in[d];
  out[rank] = word;
  for (int k = 0; k < planes; k++) {
    out[rank - 1] = lin_c(k);
    ns_store(p, l->at, l->buf[n->id], lin_expr(l, lin_flat(l, &n->t, out)), nx_var(p, l->nest, plane[k]));
  }
  block_leave(l, outer);
}

void pack_rest(Lower *l, const Node *n) {
  int64_t w = n->t.e.bits, k = n->in[0]->t.d[n->in[0]->t.rank - 1].n;
  pack_words(l, n, (const char *)n + 2, k / w, k % w != 0, k % w);
}

void pack_body(Lower *l, const Node *n) {
  int64_t w = n->t.e.bits, k = n->in[0]->t.d[n->in[0]->t.rank - 1].n;
  pack_words(l, n, n, 0, k / w, w);
  pack_rest(l, n);
}
