/* Intervals of code expressions: where they show that nothing wraps, plain signed arithmetic is printed, which compilers
 * follow further than modular arithmetic (induction variables, addresses). */
#include "backends/c/c_print.h"

Range c_elem_range(Elem e) {
  if (elem_is_float(e) || (e.kind == EK_UINT && e.bits == 64)) return (Range){0, 0, false};
  return (Range){elem_lo(e), elem_hi(e), true};
}

static Range of(int64_t lo, int64_t hi) { return (Range){lo, hi, true}; }
static bool within(Range r, Range t) { return r.known && t.known && r.lo >= t.lo && r.hi <= t.hi; }
static Range both(Range a, Range b) {
  if (!a.known || !b.known) return (Range){0, 0, false};
  return of(a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi);
}

static bool product(Range a, Range b, Range *r) {
  int64_t v[4];
  if (!mul_ok(a.lo, b.lo, &v[0]) || !mul_ok(a.lo, b.hi, &v[1]) || !mul_ok(a.hi, b.lo, &v[2]) || !mul_ok(a.hi, b.hi, &v[3]))
    return false;
  *r = of(v[0], v[0]);
  for (int i = 1; i < 4; i++) {
    if (v[i] < r->lo) r->lo = v[i];
    if (v[i] > r->hi) r->hi = v[i];
  }
  return true;
}

/* add sub mul neg of numbers a and b without wrapping; false beyond int64. */
static bool exact(Scalar s, Range a, Range b, Range *r) {
  *r = of(0, 0);
  if (!a.known || !b.known) return false;
  switch ((int)s) {
    case S_ADD: return add_ok(a.lo, b.lo, &r->lo) && add_ok(a.hi, b.hi, &r->hi);
    case S_SUB: return !__builtin_sub_overflow(a.lo, b.hi, &r->lo) && !__builtin_sub_overflow(a.hi, b.lo, &r->hi);
    case S_NEG: return !__builtin_sub_overflow(0, a.hi, &r->lo) && !__builtin_sub_overflow(0, a.lo, &r->hi);
    case S_MUL: return product(a, b, r);
    default: return false;
  }
}

bool c_exact(Printer *pr, const Expr *x, Range *r) {
  Range a = c_range(pr, x->a[0]);
  return exact(x->s, a, x->n > 1 ? c_range(pr, x->a[1]) : a, r);
}

static Range quotient(Range a, Range b, bool floor_mod, Scalar s) {
  if (!a.known || !b.known || b.lo <= 0) return (Range){0, 0, false};
  if (s == S_DIV) return of(a.lo < 0 ? a.lo / b.lo : a.lo / b.hi, a.hi < 0 ? a.hi / b.hi : a.hi / b.lo);
  int64_t most = b.hi - 1;
  if (a.lo >= 0) return of(0, a.hi < most ? a.hi : most);
  return floor_mod ? of(0, most) : of(-most, most);
}

static Range scalar_range(Printer *pr, const Expr *x) {
  Range r = {0, 0, false}, a = c_range(pr, x->a[0]), b = x->n > 1 ? c_range(pr, x->a[1]) : a;
  int64_t k;
  switch ((int)x->s) {
    case S_ADD: case S_SUB: case S_MUL: case S_NEG:
      if (!exact(x->s, a, b, &r)) r.known = false;
      return r;
    case S_DIV: return quotient(a, b, false, S_DIV);
    case S_MOD: return quotient(a, b, true, S_MOD);
    case S_FMOD: return quotient(a, b, false, S_FMOD);
    case S_MAX:
      return a.known && b.known ? of(a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi) : r;
    case S_MIN:
      return a.known && b.known ? of(a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi) : r;
    case S_ABS:
      if (a.known && a.lo > INT64_MIN) r = of(0, a.hi > -a.lo ? a.hi : -a.lo);
      return r;
    case S_AND:
      if (b.known && b.lo >= 0 && a.known) r = of(0, a.lo >= 0 && a.hi < b.hi ? a.hi : b.hi);
      return r;
    case S_SHR:
      if (a.known && nx_is_const(x->a[1], &k) && k >= 0 && k < 64) r = of(a.lo >> k, a.hi >> k);
      return r;
    case S_SHL:
      if (a.known && nx_is_const(x->a[1], &k) && k >= 0 && k < 62) r.known = product(a, of(INT64_C(1) << k, INT64_C(1) << k), &r);
      return r;
    case S_SELECT: return both(b, c_range(pr, x->a[2]));
    case S_CAST: return a;
    case S_SIGN: return of(-1, 1);
    case S_POP: return of(0, x->t.e.bits);
    case S_EQ: case S_LT: case S_LE: case S_ISNAN: case S_ISINF: return of(0, 1);
    default: return r;
  }
}

Range c_range(Printer *pr, const Expr *x) {
  Range t = c_elem_range(x->t.e), r = {0, 0, false};
  if (x->t.lanes > 1 || elem_is_float(x->t.e)) return t;
  switch (x->kind) {
    case EX_CONST:
      if (x->t.e.kind != EK_UINT || x->value.i >= 0) return of(x->value.i, x->value.i);
      return t;
    case EX_VAR: return pr->range[x->var];
    case EX_COND: r = both(c_range(pr, x->a[1]), c_range(pr, x->a[2])); break;
    case EX_SCALAR: r = scalar_range(pr, x); break;
    default: break;
  }
  if (!t.known) return r.known && r.lo >= 0 ? r : t; /* u64 */
  return within(r, t) ? r : t;
}
