/* Widening: statements over one element as statements over the lanes of vectors. What does not depend on the lane stays as it is and
 * is splat where it meets a vector; loads must walk by one element from lane to lane, or not at all, or through a constant, of
 * which a copy is made in that order. Loops, tests and variables that are set have no such form. */
#include "passes/lower_lanes.h"

#include <assert.h>
#include <string.h>

void widen_init(Widen *w, Lower *l, int lanes, int lane, int sum, Expr *sums) {
  *w = (Widen){.l = l, .lanes = lanes, .lane = lane, .sum = sum, .sums = sums};
}

static Expr *wide_var(const Widen *w, int var) {
  for (int i = w->vars.n - 1; i >= 0; i--)
    if (w->vars.p[i].var == var) return w->vars.p[i].wide;
  return NULL;
}

static bool differs(const Widen *w, const Expr *x) {
  if (x->kind == EX_VAR) return x->var == w->lane || x->var == w->sum || wide_var(w, x->var);
  for (int i = 0; i < x->n; i++)
    if (differs(w, x->a[i])) return true;
  return false;
}

/* Indices */

/* How far x steps from lane to lane; false where that is not one distance, or other things than loop variables differ. */
static bool stride_of(const Widen *w, const Expr *x, int64_t *k) {
  int64_t a, b, c;
  *k = x->kind == EX_VAR && x->var == w->lane;
  if (*k || !differs(w, x)) return true;
  if (x->kind != EX_SCALAR || x->n != 2 || !stride_of(w, x->a[0], &a) || !stride_of(w, x->a[1], &b)) return false;
  if (x->s == S_ADD) return *k = a + b, true;
  if (x->s == S_SUB) return *k = a - b, true;
  if (x->s == S_MUL && nx_is_const(x->a[1], &c)) return *k = a * c, true;
  if (x->s == S_MUL && nx_is_const(x->a[0], &c)) return *k = b * c, true;
  return false;
}

/* x with this for the lane. */
static Expr *at_lane(Widen *w, Expr *x, Expr *lane) {
  if (x->kind == EX_VAR) return x->var == w->lane ? lane : x;
  if (!differs(w, x)) return x;
  return nx2(w->l->p, x->s, at_lane(w, x->a[0], lane), at_lane(w, x->a[1], lane));
}

/* x / k where every term but a constant is a multiple of k, which is added to *rest; NULL where some is not. */
static Expr *quotient(Program *p, Expr *x, int64_t k, int64_t *rest) {
  int64_t c;
  if (nx_is_const(x, &c)) {
    int64_t q = c / k - (c % k < 0);
    *rest += c - q * k;
    return nx_idx(p, q);
  }
  if (x->kind != EX_SCALAR || x->n != 2) return NULL;
  if (x->s == S_MUL && nx_is_const(x->a[1], &c)) return c % k ? NULL : nx2(p, S_MUL, x->a[0], nx_idx(p, c / k));
  if (x->s != S_ADD) return NULL;
  Expr *a = quotient(p, x->a[0], k, rest), *b = a ? quotient(p, x->a[1], k, rest) : NULL;
  return b ? nx2(p, S_ADD, a, b) : NULL;
}

/* The constant with elements k apart side by side: element k*i + r lies at r*(n/k) + i. One copy for all nests. */
static int restrided(Lower *l, int buf, int64_t k) {
  const Buf *b = &l->p->bufs[buf];
  for (int i = 0; i < l->strided.n; i++)
    if (l->strided.p[i].buf == buf && l->strided.p[i].k == k) return l->strided.p[i].copy;
  size_t size = store_size(elem_store(b->e));
  char *to = NEWN(l->p->arena, char, b->n * (int64_t)size);
  for (int64_t i = 0; i < b->n; i++) memcpy(to + (size_t)(i % k * (b->n / k) + i / k) * size, (const char *)b->rom + (size_t)i * size, size);
  Strided s = {buf, k, program_buf(l->p, nest_name(l->p, "w", b->name), b->e, SP_ROM, b->n, to)};
  vec_push(l->tmp, &l->strided, s);
  return s.copy;
}

static Expr *wide_load(Widen *w, Expr *x) {
  Program *p = w->l->p;
  const Buf *b = &p->bufs[x->buf];
  int64_t k, rest = 0;
  if (!stride_of(w, x->a[0], &k) || x->t.e.bits * w->lanes > 512) return NULL;
  Expr *first = at_lane(w, x->a[0], nx_idx(p, 0));
  if (k == 0) return nx_splat(p, nx_load(p, x->buf, first, 1), w->lanes);
  if (k == 1) return nx_load(p, x->buf, first, w->lanes);
  if (b->sp != SP_ROM || k < 2 || b->n % k) return NULL;
  Expr *q = quotient(p, first, k, &rest);
  if (!q || rest < 0 || rest >= k) return NULL;
  int64_t add = rest * (b->n / k);
  return nx_load(p, restrided(w->l, x->buf, k), add ? nx2(p, S_ADD, q, nx_idx(p, add)) : q, w->lanes);
}

/* Expressions */

/* Sums and products of codes modulo the lower bits need no more than those bits. */
static Expr *narrow(Program *p, Expr *x, Elem e) {
  bool ring = x->s == S_ADD || x->s == S_SUB || x->s == S_MUL || x->s == S_NEG || x->s == S_AND || x->s == S_OR || x->s == S_XOR || x->s == S_NOT;
  if (x->t.e.kind == EK_BOOL || elem_is_float(x->t.e) || x->t.e.bits <= e.bits) return nx_cast(p, x, e);
  if (x->kind == EX_SCALAR && x->s == S_CAST && !elem_is_float(x->a[0]->t.e)) return narrow(p, x->a[0], e);
  if (x->kind != EX_SCALAR || !ring) return nx_cast(p, x, e);
  return x->n == 1 ? nx1(p, x->s, narrow(p, x->a[0], e)) : nx2(p, x->s, narrow(p, x->a[0], e), narrow(p, x->a[1], e));
}

static Expr *wide_scalar(Widen *w, Expr *x) {
  Program *p = w->l->p;
  Expr *a[3] = {NULL}, *less = x;
  bool code = x->s == S_CAST && !elem_is_float(x->t.e) && x->t.e.kind != EK_BOOL && !elem_is_float(x->a[0]->t.e);
  if (code && x->a[0]->t.e.kind != EK_BOOL && x->a[0]->t.e.bits > x->t.e.bits) less = narrow(p, x->a[0], x->t.e);
  if (less->kind != EX_SCALAR || less->s != S_CAST || less->a[0] != x->a[0]) {
    if (less != x) return widen(w, less);
  }
  for (int i = 0; i < x->n; i++)
    if (!(a[i] = widen(w, x->a[i]))) return NULL;
  if (x->t.e.bits * w->lanes > 512 || x->s == S_BITS) return NULL;
  if (x->s == S_CAST) return nx_cast(p, a[0], x->t.e);
  return x->n == 1 ? nx1(p, x->s, a[0]) : x->n == 2 ? nx2(p, x->s, a[0], a[1]) : nx3(p, x->s, a[0], a[1], a[2]);
}

Expr *widen(Widen *w, Expr *x) {
  if (x->t.lanes != 1) return NULL;
  if (!differs(w, x)) return x->t.e.bits * w->lanes > 512 ? NULL : nx_splat(w->l->p, x, w->lanes);
  if (x->kind == EX_VAR) return x->var == w->sum ? w->sums : x->var == w->lane ? NULL : wide_var(w, x->var);
  if (x->kind == EX_LOAD) return wide_load(w, x);
  return x->kind == EX_SCALAR ? wide_scalar(w, x) : NULL;
}

/* Comparisons */

/* The one comparison or bool that x depends on besides constants: false where there are more, or something else. */
static bool one_bool(Expr *x, Expr **found) {
  if (x->kind == EX_CONST) return true;
  if (x->t.e.kind == EK_BOOL && (x->kind != EX_SCALAR || (x->s != S_AND && x->s != S_OR && x->s != S_NOT))) {
    if (*found && *found != x) return false;
    *found = x;
    return true;
  }
  if (x->kind != EX_SCALAR) return false;
  for (int i = 0; i < x->n; i++)
    if (!one_bool(x->a[i], found)) return false;
  return true;
}

static Val value_of(const Expr *x, const Expr *b, int64_t is) {
  Val v[3] = {{0}};
  if (x == b) return (Val){.i = is};
  if (x->kind == EX_CONST) return x->value;
  for (int i = 0; i < x->n; i++) v[i] = value_of(x->a[i], b, is);
  return scalar_eval(x->s, x->a[x->s == S_SELECT ? 1 : 0]->t.e, x->t.e, v);
}

/* Called with a comparison of what is to be simplified. */
Expr *widen_simple(Program *p, Expr *x) {
  Expr *found = NULL;
  for (int i = 0; i < x->n; i++)
    if (x->kind != EX_SCALAR || elem_is_float(x->a[i]->t.e) || !one_bool(x->a[i], &found)) return x;
  if (!found) return x;
  bool no = value_of(x, found, 0).i != 0, yes = value_of(x, found, 1).i != 0;
  if (no == yes) return nx_const_i(p, nt(BOOL), yes);
  return yes ? found : nx1(p, S_NOT, found);
}

/* Statements */

static bool wide_let(Widen *w, const Stmt *s) {
  Program *p = w->l->p;
  if (!differs(w, s->e)) {
    ns_let(p, w->into, s->var, s->e);
    return true;
  }
  Expr *v = widen(w, s->e);
  if (!v) return false;
  WideVar x = {s->var, ns_name(p, w->l->nest, w->into, w->l->nest->vars[s->var].name, v)};
  vec_push(w->l->tmp, &w->vars, x);
  return true;
}

bool widen_block(Widen *w, const Block *one, Block *into) {
  Block *wide = NEW(w->l->tmp, Block);
  block_init(wide);
  w->into = wide;
  for (const Stmt *s = one->first; s; s = s->next)
    if (s->kind != ST_LET || !wide_let(w, s)) return false;
  if (!wide->first) return true;
  *into->tail = wide->first;
  into->tail = wide->tail;
  return true;
}
