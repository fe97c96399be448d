/* Types of Nest values and the element-wise operations over them. */
#include "passes/lower.h"

#include <assert.h>

/* CPU programs use the native type that stores the element; exact (HLS) programs the narrowest integer. */
Elem lower_elem(const Lower *l, Elem e) {
  if (elem_is_float(e)) return e.bits == 64 ? F64 : F32;
  if (e.kind == EK_BOOL) return BOOL;
  if (l->opt->hls) {
    if (e.kind == EK_SHIFT) return elem_for_range(elem_lo(e), elem_hi(e));
    if (e.kind == EK_BASES) return e.bits == 1 ? INTK(2) : UINTK(e.bits);
    return e;
  }
  switch (elem_store(e)) {
  case ST_I8: return I8;
  case ST_U8: return U8;
  case ST_I16: return INTK(16);
  case ST_U16: return UINTK(16);
  case ST_I32: return I32;
  case ST_U32: return UINTK(32);
  case ST_I64: return I64;
  default: return UINTK(64);
  }
}

static bool is_u64(Elem e) { return e.kind == EK_UINT && e.bits == 64; }

/* Narrowest Nest type that holds the numbers of both. A u64 with a signed operand is left at 64 bits. */
Elem common_elem(const Lower *l, Elem a, Elem b) {
  if (elem_eq(a, b)) return lower_elem(l, a);
  if (is_u64(a) || is_u64(b)) return UINTK(64);
  int64_t lo = elem_lo(a) < elem_lo(b) ? elem_lo(a) : elem_lo(b), hi = elem_hi(a) > elem_hi(b) ? elem_hi(a) : elem_hi(b);
  return lower_elem(l, elem_for_range(lo, hi));
}

Expr *wrap_to(Lower *l, Expr *e, Elem to, int64_t lo, int64_t hi) {
  Program *p = l->p;
  Elem t = lower_elem(l, to);
  if (to.kind == EK_BOOL) {
    if (e->t.e.kind == EK_BOOL) return e;
    return nx_cast(p, nx2(p, S_AND, e, nx_const_i(p, e->t, 1)), BOOL);
  }
  e = nx_cast(p, e, t);
  bool fits = !is_u64(to) && lo >= elem_lo(to) && hi <= elem_hi(to);
  if (fits || l->opt->hls || (to.kind != EK_INT && to.kind != EK_UINT) || t.bits == to.bits) return e;
  if (to.kind == EK_UINT) return nx2(p, S_AND, e, nx_const_i(p, nt(t), elem_hi(to)));
  Expr *by = nx_const_i(p, nt(t), t.bits - to.bits);
  return nx2(p, S_SHR, nx2(p, S_SHL, e, by), by);
}

Expr *round_to(Lower *l, Expr *e, Elem to) {
  if (to.bits != 16) return nx_cast(l->p, e, lower_elem(l, to));
  e = let(l, "h", nx_cast(l->p, e, F32));
  return to.kind == EK_BF16 ? nx_round_bf16(l->p, e) : nx_round_f16(l->p, e);
}

static Expr *float_expr(Lower *l, Scalar s, Elem to, int n, Expr **x) {
  Program *p = l->p;
  if (math_has(s)) {
    for (int k = 0; k < n; k++) x[k] = let(l, "x", x[k]);
    return round_to(l, math_expand(p, l->nest, l->at, s, x[0], n > 1 ? x[1] : NULL), to);
  }
  if (s == S_MOD || s == S_FMOD)
    for (int k = 0; k < n; k++) x[k] = let(l, "x", x[k]);
  Expr *e = n == 1 ? nx1(p, s, x[0]) : nx2(p, s, x[0], x[1]);
  return scalar_info[s].result == 'B' ? e : round_to(l, e, to);
}

static Expr *cast_expr(Lower *l, const Node *n, Expr *x) {
  Program *p = l->p;
  Elem from = n->in[0]->t.e, to = n->t.e;
  if (elem_is_float(to)) return round_to(l, x, to);
  if (to.kind == EK_BOOL) return nx_cast(p, x, BOOL);
  if (!elem_is_float(from)) {
    int64_t lo = INT64_MIN, hi = INT64_MAX;
    if (!range_hull(l->ranges, n->in[0], &lo, &hi)) lo = INT64_MIN, hi = INT64_MAX;
    return wrap_to(l, x, to, lo, hi);
  }
  Elem t = lower_elem(l, to);
  Expr *e = nx_cast(p, x, t); /* saturates to t */
  if (t.bits == to.bits) return e;
  e = nx2(p, S_MIN, e, nx_const_i(p, nt(t), elem_hi(to)));
  return elem_lo(to) ? nx2(p, S_MAX, e, nx_const_i(p, nt(t), elem_lo(to))) : e;
}

/* Greatest and least exact result of a ring operation on codes; false where 64 bits may not hold it. */
static bool ring_range(Lower *l, const Node *n, int64_t *lo, int64_t *hi) {
  int64_t al, ah, bl, bh, c[4];
  Scalar s = n->a.scalar;
  if (!range_hull(l->ranges, n->in[0], &al, &ah) || !range_hull(l->ranges, n->in[n->n_in - 1], &bl, &bh)) return false;
  switch ((int)s) {
  case S_ADD: return add_ok(al, bl, lo) && add_ok(ah, bh, hi);
  case S_SUB: return !__builtin_sub_overflow(al, bh, lo) && !__builtin_sub_overflow(ah, bl, hi);
  case S_NEG: return !__builtin_sub_overflow(0, ah, lo) && !__builtin_sub_overflow(0, al, hi);
  case S_MUL:
    if (!mul_ok(al, bl, &c[0]) || !mul_ok(al, bh, &c[1]) || !mul_ok(ah, bl, &c[2]) || !mul_ok(ah, bh, &c[3])) return false;
    *lo = *hi = c[0];
    for (int i = 1; i < 4; i++) {
      if (c[i] < *lo) *lo = c[i];
      if (c[i] > *hi) *hi = c[i];
    }
    return true;
  case S_AND: case S_OR: case S_XOR:
    *lo = al < bl ? al : bl, *hi = ah > bh ? ah : bh;
    return al == 0 && bl == 0;
  default: return false;
  }
}

/* A shift's type: wide enough that the count, limited to 64, is a number of it. */
static Elem shift_elem(Lower *l, Elem t, Expr **by) {
  if ((*by)->t.e.kind == EK_BOOL) *by = nx_cast(l->p, *by, U8);
  if ((*by)->t.e.bits > 6) *by = nx2(l->p, S_MIN, *by, nx_const_i(l->p, (*by)->t, 64));
  return t.bits < 8 ? (Elem){t.kind, 8} : t;
}

static Expr *code_expr(Lower *l, const Node *n, Expr **x) {
  Program *p = l->p;
  Scalar s = n->a.scalar;
  Elem a = n->in[0]->t.e, b = n->n_in > 1 ? n->in[1]->t.e : a, r = n->t.e;
  int64_t lo = INT64_MIN, hi = INT64_MAX;
  switch ((int)s) {
  case S_ADD: case S_SUB: case S_MUL: case S_NEG: case S_AND: case S_OR: case S_XOR: case S_NOT: case S_SHL: {
    if (!ring_range(l, n, &lo, &hi)) lo = INT64_MIN, hi = INT64_MAX;
    if (s == S_NOT && a.kind == EK_BOOL) return wrap_to(l, nx1(p, s, x[0]), r, 0, 1);
    if (a.kind == EK_BOOL && b.kind == EK_BOOL && r.kind == EK_BOOL && (s == S_AND || s == S_OR || s == S_XOR)) return nx2(p, s, x[0], x[1]);
    Elem t = r.kind == EK_BOOL ? U8 : lower_elem(l, r);
    if (s == S_SHL) t = shift_elem(l, t, &x[1]);
    for (int k = 0; k < n->n_in; k++) x[k] = nx_cast(p, x[k], t);
    return wrap_to(l, n->n_in > 1 ? nx2(p, s, x[0], x[1]) : nx1(p, s, x[0]), r, lo, hi);
  }
  case S_EQ: case S_LT: case S_LE: {
    Elem t = common_elem(l, a, b);
    return nx2(p, s, nx_cast(p, x[0], t), nx_cast(p, x[1], t));
  }
  case S_POP: {
    Elem t = a.kind == EK_BOOL ? U8 : lower_elem(l, a);
    x[0] = nx_cast(p, x[0], t);
    if (t.bits > a.bits && a.kind == EK_INT)
      x[0] = nx2(p, S_AND, x[0], nx_const_i(p, nt(t), (INT64_C(1) << a.bits) - 1));
    return wrap_to(l, nx1(p, s, x[0]), r, 0, a.bits);
  }
  default: { /* div mod fmod max min abs sign shr: in a type that holds operands and result */
    Elem t = common_elem(l, a, b);
    if (s != S_SHR || elem_lo(b)) t = common_elem(l, is_u64(a) ? a : t, r);
    if (is_u64(a)) t = a;
    if (t.kind == EK_BOOL) t = U8;
    if (s == S_SHR) t = shift_elem(l, t, &x[1]);
    for (int k = 0; k < n->n_in; k++) x[k] = nx_cast(p, x[k], t);
    return wrap_to(l, n->n_in > 1 ? nx2(p, s, x[0], x[1]) : nx1(p, s, x[0]), r, INT64_MIN, INT64_MAX);
  }
  }
}

Expr *map_expr(Lower *l, const Node *n, Expr **x) {
  Scalar s = n->a.scalar;
  if (s == S_CAST) return cast_expr(l, n, x[0]);
  if (s == S_SELECT) {
    Elem t = lower_elem(l, n->t.e);
    return nx3(l->p, s, x[0], nx_cast(l->p, x[1], t), nx_cast(l->p, x[2], t));
  }
  return elem_is_float(n->in[0]->t.e) ? float_expr(l, s, n->t.e, n->n_in, x) : code_expr(l, n, x);
}
