/* unmultiply: with --no-multiply, integer code without one multiplication or division; nothing without it.
 *   v*c, v a loop's variable:  a variable of its own that grows by step*c each time round
 *   x*c                        canonical signed digits of c: shifts, adds, subtracts
 *   x*y                        the bits of the narrower one mask shifted copies of the other
 *   x/c, x mod c               by powers of two; else a reciprocal, exact for the range that x has
 *   pop(x)                     halves added, down to one byte
 * What is left (vectors, products of wide values, division by values) is told, nest by nest. Floats stay as they are: before
 * lowering, integer_part tells where there are any between the first quant and the last dequant. */
#include "passes/pass.h"
#include "passes/shiftadd.h"

#include <string.h>

typedef struct Span { int64_t lo, hi; } Span;
typedef struct Step { int var; int64_t factor; int by; } Step; /* variable `by` is var*factor */
typedef struct Seen { const Expr *old; Expr *now; } Seen;

typedef struct Un {
  Program *p;
  Nest *n;
  Arena *a;
  Span *span; int cap;   /* by variable */
  Span *rom;             /* by buffer of constants; lo > hi: not known yet */
  VEC(Step) steps;       /* of the loops around */
  VEC(Seen) seen;        /* of the statement at hand */
  Block before;          /* what comes before it */
  const char *left;      /* what could not be replaced in this nest */
} Un;

/* Ranges */

static Span type_span(Elem e) {
  if (elem_is_float(e)) return (Span){INT64_MIN, INT64_MAX};
  return (Span){elem_lo(e), e.kind == EK_UINT && e.bits == 64 ? INT64_MAX : elem_hi(e)};
}

/* Scanned once for each buffer. */
static Span rom_span(const Un *u, int buf) {
  const Buf *b = &u->p->bufs[buf];
  if (u->rom[buf].lo <= u->rom[buf].hi) return u->rom[buf];
  Tensor t = {.t = {.e = b->e}, .n = b->n, .st = elem_store(b->e), .data = (void *)(uintptr_t)b->rom};
  Span s = {INT64_MAX, INT64_MIN};
  for (int64_t i = 0; i < b->n; i++) {
    int64_t v = tensor_i(&t, i);
    if (v < s.lo) s.lo = v;
    if (v > s.hi) s.hi = v;
  }
  return u->rom[buf] = s;
}

static Span span_of(const Un *u, const Expr *x);

static bool products(Span a, Span b, Span *r) {
  int64_t v[4];
  if (!mul_ok(a.lo, b.lo, &v[0]) || !mul_ok(a.lo, b.hi, &v[1]) || !mul_ok(a.hi, b.lo, &v[2]) || !mul_ok(a.hi, b.hi, &v[3])) return false;
  *r = (Span){v[0], v[0]};
  for (int i = 1; i < 4; i++) {
    if (v[i] < r->lo) r->lo = v[i];
    if (v[i] > r->hi) r->hi = v[i];
  }
  return true;
}

/* False where nothing is known beyond the type. */
static bool scalar_span(const Un *u, const Expr *x, Span *r) {
  Span a = span_of(u, x->a[0]), b = x->n > 1 ? span_of(u, x->a[1]) : a;
  int64_t k = -1;
  bool fixed = x->n > 1 && nx_is_const(x->a[1], &k);
  switch ((int)x->s) {
  case S_ADD: return add_ok(a.lo, b.lo, &r->lo) && add_ok(a.hi, b.hi, &r->hi);
  case S_SUB: return !__builtin_sub_overflow(a.lo, b.hi, &r->lo) && !__builtin_sub_overflow(a.hi, b.lo, &r->hi);
  case S_MUL: return products(a, b, r);
  case S_NEG: return !__builtin_sub_overflow(0, a.hi, &r->lo) && !__builtin_sub_overflow(0, a.lo, &r->hi);
  case S_MAX: return *r = (Span){a.lo > b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi}, true;
  case S_MIN: return *r = (Span){a.lo < b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi}, true;
  case S_AND: return *r = (Span){0, a.lo >= 0 && a.hi < b.hi ? a.hi : b.hi}, b.lo >= 0;
  case S_SHR: return *r = (Span){a.lo >> (k & 63), a.hi >> (k & 63)}, fixed && k >= 0 && k < 64;
  case S_SHL: return fixed && k >= 0 && k < 62 && products(a, (Span){INT64_C(1) << k, INT64_C(1) << k}, r);
  case S_DIV: return *r = (Span){a.lo / (fixed && k > 0 ? k : 1), a.hi / (fixed && k > 0 ? k : 1)}, fixed && k > 0;
  case S_MOD: case S_FMOD: return *r = (Span){0, a.hi < k ? a.hi : k - 1}, fixed && k > 0 && a.lo >= 0;
  case S_SELECT: *r = span_of(u, x->a[2]);
    return *r = (Span){b.lo < r->lo ? b.lo : r->lo, b.hi > r->hi ? b.hi : r->hi}, true;
  case S_CAST: return *r = a, !elem_is_float(x->a[0]->t.e);
  case S_POP: return *r = (Span){0, x->t.e.bits}, true;
  case S_EQ: case S_LT: case S_LE: case S_ISNAN: case S_ISINF: return *r = (Span){0, 1}, true;
  default: return false;
  }
}

static Span span_of(const Un *u, const Expr *x) {
  Span t = type_span(x->t.e), r = t;
  if (x->t.lanes > 1 || elem_is_float(x->t.e)) return t;
  bool known = false;
  if (x->kind == EX_CONST) return (Span){x->value.i, x->value.i};
  if (x->kind == EX_VAR) return x->var < u->cap ? u->span[x->var] : t;
  if (x->kind == EX_LOAD && u->p->bufs[x->buf].sp == SP_ROM && u->p->bufs[x->buf].n) r = rom_span(u, x->buf), known = true;
  if (x->kind == EX_COND) {
    Span a = span_of(u, x->a[1]), b = span_of(u, x->a[2]);
    r = (Span){a.lo < b.lo ? a.lo : b.lo, a.hi > b.hi ? a.hi : b.hi};
    known = true;
  }
  if (x->kind == EX_SCALAR) known = scalar_span(u, x, &r);
  return known && r.lo >= t.lo && r.hi <= t.hi ? r : t;
}

static void span_set(Un *u, int var, Span s) {
  if (var >= u->cap) {
    int cap = 2 * (var + 8);
    u->span = arena_grow(u->a, u->span, sizeof *u->span * (size_t)u->cap, sizeof *u->span * (size_t)cap);
    for (; u->cap < cap; u->cap++) u->span[u->cap] = (Span){INT64_MIN, INT64_MAX};
  }
  u->span[var] = s;
}

/* Expressions */

static void find_load(void *user, const Expr *x) {
  if (x->kind == EX_LOAD || x->kind == EX_COND) *(bool *)user = true;
}

/* x in a variable before the statement; loads that a condition guards are left where they are. */
typedef struct Place { Un *u; bool guarded; } Place;

static Expr *named(void *user, Expr *x) {
  Place *at = user;
  Un *u = at->u;
  bool loads = false;
  expr_visit(x, find_load, &loads);
  if (x->kind == EX_CONST || x->kind == EX_VAR || (at->guarded && loads)) return x;
  Expr *v = ns_name(u->p, u->n, &u->before, "m", x);
  span_set(u, v->var, span_of(u, x));
  return v;
}

static Expr *product(Un *u, Expr *a, Expr *b, bool guarded) {
  Place at = {u, guarded};
  int64_t c;
  if (nx_is_const(a, &c)) { Expr *swap = a; a = b; b = swap; }
  if (nx_is_const(b, &c)) {
    for (int i = u->steps.n - 1; a->kind == EX_VAR && i >= 0; i--)
      if (u->steps.p[i].var == a->var && u->steps.p[i].factor == c) return nx_var(u->p, u->n, u->steps.p[i].by);
    return sa_times(u->p, named(&at, a), c);
  }
  Span sa = span_of(u, a), sb = span_of(u, b);
  if ((uint64_t)sa.hi - (uint64_t)sa.lo < (uint64_t)sb.hi - (uint64_t)sb.lo) {
    Expr *swap = a; a = b; b = swap;
    sb = sa;
  }
  return sa_product(u->p, named(&at, a), named(&at, b), sb.lo, sb.hi);
}

/* x / d toward zero, or what is left of it. */
static Expr *quotient(Un *u, Scalar s, Expr *x, Expr *divisor, bool guarded) {
  Program *p = u->p;
  Place at = {u, guarded};
  int64_t d;
  Span r = span_of(u, x);
  Expr *zero = nx_const_i(p, x->t, 0);
  if (!nx_is_const(divisor, &d) || d < 0) return NULL;
  if (d == 0) return zero;
  if (x->t.e.kind == EK_UINT && x->t.e.bits == 64 && r.hi == INT64_MAX) return NULL;
  x = named(&at, x);
  int64_t far = r.lo >= 0 ? r.hi : r.lo == INT64_MIN ? INT64_MAX : -r.lo > r.hi ? -r.lo : r.hi;
  Expr *minus = r.lo < 0 ? named(&at, nx2(p, S_LT, x, zero)) : NULL, *size = x;
  if (minus) size = named(&at, nx_cast(p, nx3(p, S_SELECT, minus, nx1(p, S_NEG, x), x), UINTK(x->t.e.bits)));
  Expr *q = sa_quotient(p, size, d, far);
  if (!q) return NULL;
  q = nx_cast(p, q, x->t.e);
  if (minus) q = named(&at, q), q = nx3(p, S_SELECT, minus, nx1(p, S_NEG, q), q);
  if (s == S_DIV) return q;
  if (!minus && (d & (d - 1)) == 0) return nx2(p, S_AND, x, nx_const_i(p, x->t, d - 1));
  q = named(&at, q);
  Expr *rest = nx2(p, S_SUB, x, sa_times(p, q, d));
  if (s == S_FMOD || !minus) return rest;
  rest = named(&at, rest);
  return nx3(p, S_SELECT, nx2(p, S_LT, rest, zero), nx2(p, S_ADD, rest, nx_const_i(p, x->t, d)), rest);
}

static Expr *replaced(Un *u, Expr *x, bool guarded) {
  Scalar s = x->kind == EX_SCALAR ? x->s : S_NONE;
  bool code = !elem_is_float(x->t.e), divides = s == S_DIV || s == S_MOD || s == S_FMOD;
  Expr *y = x;
  if (code && s == S_MUL && x->t.e.kind == EK_BOOL) y = nx2(u->p, S_AND, x->a[0], x->a[1]);
  else if (code && x->t.lanes == 1 && s == S_MUL) y = product(u, x->a[0], x->a[1], guarded);
  else if (code && x->t.lanes == 1 && divides) y = quotient(u, s, x->a[0], x->a[1], guarded);
  else if (code && x->t.lanes == 1 && s == S_POP) y = sa_count(u->p, x->a[0], named, &(Place){u, guarded});
  else if ((code && (s == S_MUL || s == S_POP || divides)) || x->kind == EX_DOT) y = NULL;
  if (y) return y;
  u->left = x->kind == EX_DOT || x->t.lanes > 1 ? "vectors are multiplied" : s == S_MUL ? "two wide values are multiplied" :
            "a value is divided by what is not constant, or is too wide";
  return x;
}

/* x without multiplications; expressions may be shared: x is kept. */
static Expr *rewritten(Un *u, Expr *x, bool guarded) {
  for (int i = 0; i < u->seen.n; i++)
    if (u->seen.p[i].old == x) return u->seen.p[i].now;
  if (x->n == 0) return x;
  Expr *y = NEW(u->p->arena, Expr);
  *y = *x;
  for (int i = 0; i < x->n; i++) y->a[i] = rewritten(u, x->a[i], guarded || (x->kind == EX_COND && i > 0));
  y = replaced(u, y, guarded);
  if (!guarded) vec_push(u->a, &u->seen, ((Seen){x, y}));
  return y;
}

/* Loops */

typedef struct Factors { int var; int64_t c[8]; int n; } Factors;

static void find_factor(void *user, const Expr *x) {
  Factors *f = user;
  int64_t c;
  Digit d[64];
  if (x->kind != EX_SCALAR || x->s != S_MUL || x->t.lanes > 1 || elem_is_float(x->t.e)) return;
  const Expr *v = x->a[0], *k = x->a[1];
  if (v->kind != EX_VAR || v->var != f->var || !nx_is_const(k, &c) || csd_digits(c, d) < 2) return;
  for (int i = 0; i < f->n; i++)
    if (f->c[i] == c) return;
  if (f->n < (int)(sizeof f->c / sizeof *f->c)) f->c[f->n++] = c;
}

static void find_factors(void *user, const Stmt *s) { stmt_exprs(s, find_factor, user); }

static void block(Un *u, Block *b);

/* Multiples of the loop's variable run along with it. */
static void loop(Un *u, Stmt *s) {
  Program *p = u->p;
  Span lo = span_of(u, s->e), hi = span_of(u, s->e2);
  int outer = u->steps.n;
  Factors f = {.var = s->var};
  stmt_visit(&s->body, find_factors, &f);
  span_set(u, s->var, (Span){lo.lo, hi.hi - 1 > lo.lo ? hi.hi - 1 : lo.lo});
  for (int i = 0; i < f.n; i++) {
    int by = nest_var(p, u->n, "s", nt(p->index), false);
    Span r = type_span(p->index), c = {f.c[i], f.c[i]};
    products(u->span[s->var], c, &r);
    span_set(u, by, r);
    ns_vardef(p, &u->before, by, sa_times(p, named(&(Place){u, false}, s->e), f.c[i]));
    vec_push(u->a, &u->steps, ((Step){s->var, f.c[i], by}));
  }
  Block before = u->before;
  block(u, &s->body);
  for (int i = outer; i < u->steps.n; i++) {
    int by = u->steps.p[i].by;
    ns_set(p, &s->body, by, sa_keep(p, nx2(p, S_ADD, nx_var(p, u->n, by), nx_idx(p, s->step * u->steps.p[i].factor))));
  }
  u->before = before;
  u->steps.n = outer;
}

static void block(Un *u, Block *b) {
  for (Stmt **at = &b->first; *at; at = &(*at)->next) {
    Stmt *s = *at;
    block_init(&u->before);
    u->seen.n = 0;
    if (s->e) s->e = rewritten(u, s->e, false);
    if (s->e2) s->e2 = rewritten(u, s->e2, false);
    if (s->kind == ST_LET) span_set(u, s->var, span_of(u, s->e));
    if (s->kind == ST_VARDEF) span_set(u, s->var, type_span(u->n->vars[s->var].t.e));
    if (s->kind == ST_FOR) loop(u, s);
    if (u->before.first) {
      *at = u->before.first;
      *u->before.tail = s;
      at = u->before.tail;
    }
    if (s->kind == ST_IF) {
      block(u, &s->body);
      block(u, &s->other);
    }
  }
}

bool pass_unmultiply(Program *p, const PassOptions *opt) {
  if (!opt || !opt->no_multiply) return true;
  Un u = {.p = p, .a = arena_new(p->ctx)};
  bool ok = true;
  p->no_multiply = true;
  u.rom = NEWN(u.a, Span, p->n_bufs + 1);
  for (int i = 0; i < p->n_bufs; i++) u.rom[i] = (Span){1, 0};
  for (int i = 0; i < p->n_nests; i++) {
    u.n = p->nests[i];
    u.cap = 0;
    u.left = NULL;
    block(&u, &u.n->body);
    if (u.left) ok = diag(p->ctx, E0309, &u.n->loc, "--no-multiply: %s in %s", u.left, u.n->note ? u.n->note : u.n->name);
  }
  arena_free(u.a);
  return ok;
}

/* Floats inside the quantized part: values that come from codes and become codes again, through arithmetic. */

bool integer_part(Ctx *ctx, const Graph *g) {
  Arena *a = arena_new(ctx);
  bool *from = NEWN(a, bool, g->n_nodes + 1), *to = NEWN(a, bool, g->n_nodes + 1), ok = true, any = false;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    any = any || (elem_is_code(n->t.e) && n->op != OP_CONST);
    for (int k = 0; k < n->n_in; k++) from[i] = from[i] || from[n->in[k]->id];
    from[i] = from[i] || n->op == OP_DEQUANT || (n->op == OP_THRESHOLDS && elem_is_float(n->t.e));
  }
  for (int i = g->n_nodes - 1; i >= 0; i--) {
    const Node *n = g->nodes[i];
    bool becomes = to[i] || (elem_is_code(n->t.e) && n->op != OP_ARG && n->op != OP_CONST);
    for (int k = 0; k < n->n_in; k++)
      if (elem_is_float(n->in[k]->t.e)) to[n->in[k]->id] = to[n->in[k]->id] || becomes;
  }
  for (int i = 0, told = -1; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    bool again = n->loc.node >= 0 && n->loc.node == told; /* once a layer of the model */
    bool moves = n->op == OP_VIEW || n->op == OP_RESHAPE || n->op == OP_CONCAT || n->op == OP_GATHER || n->op == OP_CONST;
    if (!elem_is_float(n->t.e) || !from[i] || !to[i] || moves || again) continue;
    told = n->loc.node;
    ok = diag(ctx, E0309, &n->loc, "--no-multiply: %s of floats between codes and codes", n->op == OP_MAP ? scalar_info[n->a.scalar].name : op_info[n->op].name);
  }
  if (!any) ok = diag(ctx, E0309, &(Loc){.file = g->file, .line = -1, .node = -1}, "--no-multiply: nothing is quantized");
  arena_free(a);
  return ok;
}
