/* Linear forms over loop variables: indices of loads, bounds of loops and tests, kept exact so that reshapes and views
 * melt into plain strides and divisions appear only where nothing else does. */
#include "passes/lower.h"

#include <assert.h>

#define FAR (INT64_C(1) << 61) /* no bound known */

static int64_t clamp_far(int64_t v) {
  return v > FAR ? FAR : v < -FAR ? -FAR : v;
}

/* a + k*b between -FAR and FAR; |a| <= FAR. */
static int64_t far_mad(int64_t a, int64_t k, int64_t b) {
  int64_t kb;
  if (!mul_ok(k, b, &kb)) kb = (k < 0) == (b < 0) ? FAR : -FAR;
  return clamp_far(a + clamp_far(kb));
}

Lin lin_c(int64_t c) {
  return (Lin){.c = c, .lo = c, .hi = c};
}

static Lin lin_of_atom(Lower *l, int atom) {
  Term *t = NEW(l->tmp, Term);
  *t = (Term){atom, 1};
  return (Lin){.lo = l->atoms.p[atom].lo, .hi = l->atoms.p[atom].hi, .n = 1, .t = t};
}

Lin lin_atom(Lower *l, Expr *e, int64_t lo, int64_t hi) {
  Atom a = {.kind = ATOM_EXPR, .e = e, .lo = lo, .hi = hi};
  vec_push(l->tmp, &l->atoms, a);
  return lin_of_atom(l, l->atoms.n - 1);
}

Lin lin_within(Lin x, int64_t lo, int64_t hi) {
  if (x.lo < lo) x.lo = lo;
  if (x.hi > hi) x.hi = hi;
  return x;
}

bool lin_eq(Lin a, Lin b) {
  if (a.c != b.c || a.n != b.n) return false;
  for (int i = 0; i < a.n; i++)
    if (a.t[i].atom != b.t[i].atom || a.t[i].k != b.t[i].k) return false;
  return true;
}

/* Bounds from those of the atoms. */
static void lin_bounds(const Lower *l, Lin *x) {
  int64_t lo = x->c, hi = x->c;
  for (int i = 0; i < x->n; i++) {
    const Atom *a = &l->atoms.p[x->t[i].atom];
    int64_t k = x->t[i].k;
    lo = far_mad(lo, k, k > 0 ? a->lo : a->hi);
    hi = far_mad(hi, k, k > 0 ? a->hi : a->lo);
  }
  if (x->lo < lo) x->lo = lo;
  if (x->hi > hi) x->hi = hi;
}

/* d*k*(of / d) + k*(of mod d) = k*of: rejoins what a reshape took apart. True where something was replaced. */
static bool rejoin(Lower *l, Lin *x) {
  for (int i = 0; i < x->n; i++) {
    const Atom *q = &l->atoms.p[x->t[i].atom];
    if (q->kind != ATOM_DIV || x->t[i].k % q->d) continue;
    for (int j = 0; j < x->n; j++) {
      const Atom *r = &l->atoms.p[x->t[j].atom];
      if (r->kind != ATOM_MOD || r->d != q->d || x->t[i].k != x->t[j].k * q->d || !lin_eq(r->of, q->of)) continue;
      int64_t k = x->t[j].k;
      Lin of = q->of, rest = {.c = x->c, .lo = -FAR, .hi = FAR};
      Term *t = NEWN(l->tmp, Term, x->n);
      for (int m = 0; m < x->n; m++)
        if (m != i && m != j) t[rest.n++] = x->t[m];
      rest.t = t;
      lin_bounds(l, &rest);
      Lin y = lin_mad(l, rest, of, k);
      *x = lin_within(y, x->lo, x->hi);
      return true;
    }
  }
  return false;
}

Lin lin_mad(Lower *l, Lin x, Lin y, int64_t k) {
  if (k == 0 || (y.n == 0 && y.c == 0)) return x;
  Lin r = {.c = x.c + k * y.c};
  r.lo = far_mad(x.lo, k, k > 0 ? y.lo : y.hi);
  r.hi = far_mad(x.hi, k, k > 0 ? y.hi : y.lo);
  Term *t = NEWN(l->tmp, Term, x.n + y.n + 1);
  int i = 0, j = 0;
  while (i < x.n || j < y.n) {
    bool from_x = j == y.n || (i < x.n && x.t[i].atom <= y.t[j].atom);
    bool from_y = i == x.n || (j < y.n && y.t[j].atom <= x.t[i].atom);
    Term s = {from_x ? x.t[i].atom : y.t[j].atom, (from_x ? x.t[i].k : 0) + (from_y ? k * y.t[j].k : 0)};
    i += from_x, j += from_y;
    if (s.k) t[r.n++] = s;
  }
  r.t = t;
  lin_bounds(l, &r);
  while (rejoin(l, &r)) continue;
  return r;
}

/* Splits x = d*whole + rest, where rest has the terms that d does not divide; 0 <= rest.c < d. */
static void split(Lower *l, Lin x, int64_t d, Lin *whole, Lin *rest) {
  int64_t c = x.c % d < 0 ? x.c % d + d : x.c % d;
  Term *tw = NEWN(l->tmp, Term, x.n + 1), *tr = NEWN(l->tmp, Term, x.n + 1);
  *whole = (Lin){.c = (x.c - c) / d, .lo = -FAR, .hi = FAR, .t = tw};
  *rest = (Lin){.c = c, .lo = -FAR, .hi = FAR, .t = tr};
  for (int i = 0; i < x.n; i++) {
    if (x.t[i].k % d == 0) tw[whole->n++] = (Term){x.t[i].atom, x.t[i].k / d};
    else tr[rest->n++] = x.t[i];
  }
  lin_bounds(l, whole);
  lin_bounds(l, rest);
}

static Lin div_mod_atom(Lower *l, Lin of, int64_t d, int kind) {
  for (int i = 0; i < l->atoms.n; i++) {
    const Atom *a = &l->atoms.p[i];
    if ((int)a->kind == kind && a->d == d && lin_eq(a->of, of) && a->of.lo == of.lo && a->of.hi == of.hi)
      return lin_of_atom(l, i);
  }
  Atom a = {.of = of, .d = d};
  if (kind == ATOM_DIV) a.kind = ATOM_DIV, a.lo = of.lo / d, a.hi = of.hi / d;
  else a.kind = ATOM_MOD, a.lo = 0, a.hi = of.hi < d - 1 ? of.hi : d - 1;
  vec_push(l->tmp, &l->atoms, a);
  return lin_of_atom(l, l->atoms.n - 1);
}

Lin lin_div(Lower *l, Lin x, int64_t d) {
  Lin whole, rest;
  x = lin_within(x, 0, FAR);
  if (d == 1) return x;
  if (x.hi < d) return lin_c(0);
  split(l, x, d, &whole, &rest);
  if (rest.lo >= 0 && rest.hi < d) return lin_within(whole, 0, x.hi / d);
  return div_mod_atom(l, x, d, ATOM_DIV);
}

Lin lin_mod(Lower *l, Lin x, int64_t d) {
  Lin whole, rest;
  x = lin_within(x, 0, FAR);
  if (d == 1) return lin_c(0);
  if (x.hi < d) return x;
  split(l, x, d, &whole, &rest);
  if (rest.lo >= 0 && rest.hi < d) return rest;
  return div_mod_atom(l, x, d, ATOM_MOD);
}

static Expr *atom_expr(Lower *l, int i) {
  Atom a = l->atoms.p[i];
  if (a.kind == ATOM_EXPR) return a.e;
  return nx2(l->p, a.kind == ATOM_DIV ? S_DIV : S_FMOD, lin_expr(l, a.of), lin_expr(l, lin_c(a.d)));
}

Expr *lin_expr(Lower *l, Lin x) {
  if (l->dry) vec_push(l->tmp, &l->used, x);
  int64_t most = x.c < 0 ? -x.c : x.c; /* of any partial sum */
  for (int i = 0; i < x.n; i++) {
    const Atom *a = &l->atoms.p[x.t[i].atom];
    int64_t k = x.t[i].k < 0 ? -x.t[i].k : x.t[i].k;
    int64_t lo = a->lo < 0 ? -a->lo : a->lo, hi = a->hi < 0 ? -a->hi : a->hi;
    int64_t far = lo > hi ? lo : hi;
    most = far_mad(most, k, far ? far : 1);
  }
  if (most > INT32_MAX) {
    l->wide = true;
    if (l->p->index.bits < 64) return nx_idx(l->p, 0); /* lower starts again with 64-bit indices */
  }
  Expr *sum = NULL;
  for (int i = 0; i < x.n; i++) {
    Expr *e = atom_expr(l, x.t[i].atom);
    bool minus = x.t[i].k < 0 && sum;
    int64_t k = minus ? -x.t[i].k : x.t[i].k;
    e = nx2(l->p, S_MUL, e, nx_idx(l->p, k));
    sum = !sum ? e : nx2(l->p, minus ? S_SUB : S_ADD, sum, e);
  }
  if (!sum) return nx_idx(l->p, x.c);
  if (x.c == 0) return sum;
  return x.c < 0 ? nx2(l->p, S_SUB, sum, nx_idx(l->p, -x.c)) : nx2(l->p, S_ADD, sum, nx_idx(l->p, x.c));
}

Lin lin_flat(Lower *l, const Type *t, const Lin *idx) {
  Lin flat = lin_c(0);
  int64_t stride = 1;
  for (int i = t->rank - 1; i >= 0; i--) {
    if (t->d[i].n != 1) flat = lin_mad(l, flat, idx[i], stride);
    stride *= t->d[i].n;
  }
  return stride > 0 ? lin_within(flat, 0, stride - 1) : flat;
}

void lin_unflat(Lower *l, Lin flat, const Type *t, Lin *idx) {
  for (int i = t->rank - 1; i >= 0; i--) {
    int64_t d = t->d[i].n > 0 ? t->d[i].n : 1;
    idx[i] = i == 0 ? lin_within(flat, 0, d - 1) : lin_mod(l, flat, d);
    flat = i == 0 ? flat : lin_div(l, flat, d);
  }
}

Lin lin_access(Lower *l, const Affine *a, const Lin *iters, int n) {
  Lin x = lin_c(a->base);
  for (int i = 0; i < n; i++) x = lin_mad(l, x, iters[i], a->coef[i]);
  return x;
}
