/* Programs and nests: lifetimes, builders of expressions and statements, visitors. */
#include "ir/nest_impl.h"

#include <assert.h>
#include <string.h>

const char *const mark_names[MARK_COUNT] = {
  [MARK_SERIAL] = "serial", [MARK_UNROLL] = "unroll", [MARK_VECTOR] = "vector", [MARK_PARALLEL] = "parallel",
  [MARK_PIPELINE] = "pipeline"
};

/* Lifetimes */

Program *program_new(Ctx *ctx, const char *name) {
  Arena *a = arena_new(ctx);
  Program *p = NEW(a, Program);
  p->ctx = ctx;
  p->arena = a;
  p->index = I32;
  p->arena_bytes = p->arena_bound = -1;
  assert(nest_name_ok(name));
  p->name = arena_strdup(a, name);
  return p;
}

void program_free(Program *p) {
  if (p) arena_free(p->arena);
}

int program_buf(Program *p, const char *name, Elem e, Space sp, int64_t n, const void *rom) {
  assert(nest_name_ok(name) && n >= 0 && (sp == SP_ROM) == (rom != NULL));
  Buf b = {.name = name_take(p, name, p->n_bufs), .e = e, .sp = sp, .n = n, .off = -1, .rom = rom};
  VEC(Buf) v = {p->bufs, p->n_bufs, p->cap_bufs};
  vec_push(p->arena, &v, b);
  p->bufs = v.p; p->n_bufs = v.n; p->cap_bufs = v.cap;
  return p->n_bufs - 1;
}

void block_init(Block *b) {
  b->first = NULL;
  b->tail = &b->first;
}

Nest *program_nest(Program *p, const char *name, const Loc *loc, const char *note) {
  assert(nest_name_ok(name));
  Nest *n = NEW(p->arena, Nest);
  n->name = name_take(p, name, NEST_ID + p->n_nests);
  n->loc = LOC_NONE;
  if (loc) {
    n->loc = *loc;
    if (loc->file) n->loc.file = arena_strdup(p->arena, loc->file);
    if (loc->name) n->loc.name = arena_strdup(p->arena, loc->name);
    if (loc->op) n->loc.op = arena_strdup(p->arena, loc->op);
  }
  n->note = note ? arena_strdup(p->arena, note) : NULL;
  block_init(&n->body);
  VEC(Nest *) v = {p->nests, p->n_nests, p->cap_nests};
  vec_push(p->arena, &v, n);
  p->nests = v.p; p->n_nests = v.n; p->cap_nests = v.cap;
  VEC(int) s = {p->steps, p->n_steps, p->cap_steps};
  vec_push(p->arena, &s, p->n_nests - 1);
  p->steps = s.p; p->n_steps = s.n; p->cap_steps = s.cap;
  return n;
}

int nest_var(Program *p, Nest *n, const char *name, NType t, bool is_loop) {
  Var var = {.name = name_take_var(p, n->name, name, n->n_vars), .t = t, .is_loop = is_loop};
  VEC(Var) v = {n->vars, n->n_vars, n->cap_vars};
  vec_push(p->arena, &v, var);
  n->vars = v.p; n->n_vars = v.n; n->cap_vars = v.cap;
  return n->n_vars - 1;
}

/* Expressions */

Expr *expr_new(Program *p, ExprKind kind, NType t, int n, Expr *a, Expr *b, Expr *c) {
  Expr *x = NEW(p->arena, Expr);
  x->kind = kind; x->t = t; x->n = n;
  x->a[0] = a; x->a[1] = b; x->a[2] = c;
  x->var = x->buf = -1;
  return x;
}

Expr *nx_const_i(Program *p, NType t, int64_t v) {
  Expr *x = expr_new(p, EX_CONST, t, 0, NULL, NULL, NULL);
  if (elem_is_float(t.e)) x->value.f = t.e.bits == 32 ? (double)(float)v : (double)v;
  else x->value.i = code_wrap(t.e, v);
  return x;
}

Expr *nx_const_f(Program *p, NType t, double v) {
  assert(t.e.kind == EK_FLOAT);
  Expr *x = expr_new(p, EX_CONST, t, 0, NULL, NULL, NULL);
  x->value.f = t.e.bits == 32 ? (double)(float)v : v;
  return x;
}

Expr *nx_idx(Program *p, int64_t v) {
  assert(v >= elem_lo(p->index) && v <= elem_hi(p->index));
  return nx_const_i(p, nt(p->index), v);
}

Expr *nx_var(Program *p, const Nest *n, int var) {
  assert(var >= 0 && var < n->n_vars);
  Expr *x = expr_new(p, EX_VAR, n->vars[var].t, 0, NULL, NULL, NULL);
  x->var = var;
  return x;
}

Expr *nx_load(Program *p, int buf, Expr *index, int lanes) {
  assert(buf >= 0 && buf < p->n_bufs && nt_same(index->t, nt(p->index)));
  Expr *x = expr_new(p, EX_LOAD, ntv(p->bufs[buf].e, lanes), 1, index, NULL, NULL);
  x->buf = buf;
  return x;
}

bool nx_is_const(const Expr *x, int64_t *v) {
  if (x->kind != EX_CONST || x->t.lanes != 1 || elem_is_float(x->t.e)) return false;
  *v = x->value.i;
  return true;
}

/* A code constant of any lanes. */
static bool code_const(const Expr *x, int64_t *v) {
  if (x->kind != EX_CONST || elem_is_float(x->t.e)) return false;
  *v = x->value.i;
  return true;
}

static NType scalar_type(Scalar s, const Expr *a, const Expr *b) {
  if (s == S_SELECT) return b->t;
  assert(scalar_info[s].result != 'C');
  return scalar_info[s].result == 'B' ? ntv(BOOL, a->t.lanes) : a->t;
}

static Expr *scalar(Program *p, Scalar s, int n, Expr *a, Expr *b, Expr *c) {
  assert(scalar_info[s].arity == n);
  Expr *x = expr_new(p, EX_SCALAR, scalar_type(s, a, b), n, a, b, c);
  x->s = s;
  return x;
}

/* x op c of codes where op is associative modulo 2^k: (y op d) op c is y op (d op c). */
static Expr *fold_assoc(Program *p, Scalar s, Expr *a, int64_t c) {
  int64_t d;
  if (a->kind != EX_SCALAR || a->s != s || !code_const(a->a[1], &d)) return NULL;
  uint64_t v = s == S_ADD ? (uint64_t)c + (uint64_t)d : (uint64_t)c * (uint64_t)d;
  return nx2(p, s, a->a[0], nx_const_i(p, a->t, (int64_t)v));
}

/* a op c with a constant code c; NULL where nothing folds. */
static Expr *fold_right(Program *p, Scalar s, Expr *a, Expr *b, int64_t c) {
  bool is_bool = a->t.e.kind == EK_BOOL;
  switch ((int)s) {
    case S_ADD: return is_bool ? NULL : c == 0 ? a : fold_assoc(p, s, a, c);
    case S_SUB: return !is_bool && c == 0 ? a : NULL;
    case S_MUL: return c == 0 ? b : c == 1 ? a : is_bool ? NULL : fold_assoc(p, s, a, c);
    case S_DIV: return c == 1 && !is_bool ? a : NULL;
    case S_MOD: case S_FMOD: return c == 1 ? nx_const_i(p, a->t, 0) : NULL;
    case S_AND: return c == 0 ? b : c == code_wrap(a->t.e, -1) ? a : NULL;
    case S_OR: return c == 0 ? a : c == code_wrap(a->t.e, -1) ? b : NULL;
    case S_XOR: case S_SHL: case S_SHR: return c == 0 ? a : NULL;
    default: return NULL;
  }
}

static bool commutes(Scalar s) {
  return s == S_ADD || s == S_MUL || s == S_AND || s == S_OR || s == S_XOR;
}

Expr *nx1(Program *p, Scalar s, Expr *a) {
  int64_t v;
  if (code_const(a, &v) && scalar_info[s].on != 'F' && scalar_info[s].result != 'C') {
    NType t = scalar_type(s, a, NULL);
    return nx_const_i(p, t, scalar_eval(s, a->t.e, t.e, (Val[]){{.i = v}}).i);
  }
  return scalar(p, s, 1, a, NULL, NULL);
}

Expr *nx2(Program *p, Scalar s, Expr *a, Expr *b) {
  assert(nt_same(a->t, b->t));
  int64_t va, vb;
  bool ca = code_const(a, &va), cb = code_const(b, &vb);
  if (ca && cb) {
    NType t = scalar_type(s, a, b);
    return nx_const_i(p, t, scalar_eval(s, a->t.e, t.e, (Val[]){{.i = va}, {.i = vb}}).i);
  }
  if (ca && commutes(s)) {
    Expr *swap = a; a = b; b = swap;
    vb = va; cb = true;
  }
  Expr *folded = cb ? fold_right(p, s, a, b, vb) : NULL;
  return folded ? folded : scalar(p, s, 2, a, b, NULL);
}

Expr *nx3(Program *p, Scalar s, Expr *a, Expr *b, Expr *c) {
  assert(nt_same(b->t, c->t) && a->t.lanes == b->t.lanes);
  int64_t v;
  if (s == S_SELECT && code_const(a, &v)) return v ? b : c;
  return scalar(p, s, 3, a, b, c);
}

/* The same bits at another type of the width, or another representation of the number. */
static Expr *convert(Program *p, Scalar s, Expr *a, Elem e) {
  int64_t v;
  if (elem_eq(a->t.e, e)) return a;
  NType t = ntv(e, a->t.lanes);
  if (code_const(a, &v) && !elem_is_float(e)) return nx_const_i(p, t, scalar_eval(s, a->t.e, e, (Val[]){{.i = v}}).i);
  Expr *x = expr_new(p, EX_SCALAR, t, 1, a, NULL, NULL);
  x->s = s;
  return x;
}

Expr *nx_cast(Program *p, Expr *a, Elem e) { return convert(p, S_CAST, a, e); }
Expr *nx_bits(Program *p, Expr *a, Elem e) { return convert(p, S_BITS, a, e); }

Expr *nx_cond(Program *p, Expr *c, Expr *yes, Expr *no) {
  assert(nt_same(c->t, nt(BOOL)) && nt_same(yes->t, no->t));
  int64_t v;
  if (nx_is_const(c, &v)) return v ? yes : no;
  return expr_new(p, EX_COND, yes->t, 3, c, yes, no);
}

Expr *nx_splat(Program *p, Expr *a, int lanes) {
  assert(a->t.lanes == 1);
  if (lanes == 1) return a;
  if (a->kind == EX_CONST) {
    Expr *x = expr_new(p, EX_CONST, ntv(a->t.e, lanes), 0, NULL, NULL, NULL);
    x->value = a->value;
    return x;
  }
  return expr_new(p, EX_SPLAT, ntv(a->t.e, lanes), 1, a, NULL, NULL);
}

Expr *nx_hred(Program *p, Expr *a) {
  return a->t.lanes == 1 ? a : expr_new(p, EX_HRED, nt(a->t.e), 1, a, NULL, NULL);
}

Expr *nx_dot(Program *p, Expr *acc, Expr *a, Expr *b) {
  assert(a->t.lanes == b->t.lanes && a->t.e.bits == b->t.e.bits);
  assert(a->t.lanes == acc->t.lanes * (a->t.e.bits == 8 ? 4 : 2));
  return expr_new(p, EX_DOT, acc->t, 3, acc, a, b);
}

Expr *nx_lut3(Program *p, int imm, Expr *a, Expr *b, Expr *c) {
  assert(nt_same(a->t, b->t) && nt_same(b->t, c->t) && imm >= 0 && imm < 256);
  Expr *x = expr_new(p, EX_LUT3, a->t, 3, a, b, c);
  x->imm = imm;
  return x;
}

Expr *nx_shuf(Program *p, Expr *table, Expr *index) {
  assert(nt_same(table->t, index->t));
  return expr_new(p, EX_SHUF, table->t, 2, table, index, NULL);
}

Expr *nx_perm(Program *p, Expr *a, const uint8_t *perm, int lanes) {
  return nx_perm2(p, a, NULL, perm, lanes);
}

Expr *nx_perm2(Program *p, Expr *a, Expr *b, const uint8_t *perm, int lanes) {
  Expr *x = expr_new(p, EX_PERM, ntv(a->t.e, lanes), b ? 2 : 1, a, b, NULL);
  uint8_t *copy = NEWN(p->arena, uint8_t, lanes);
  memcpy(copy, perm, (size_t)lanes);
  x->perm = copy;
  return x;
}

Expr *nx_relane(Program *p, Expr *a, Elem e) {
  if (a->t.e.bits == e.bits) return nx_bits(p, a, e);
  return expr_new(p, EX_RELANE, ntv(e, a->t.lanes * a->t.e.bits / e.bits), 1, a, NULL, NULL);
}

Expr *nx_mask(Program *p, Expr *a) {
  assert(a->t.e.kind == EK_BOOL && a->t.lanes >= 8 && a->t.lanes <= 64);
  return expr_new(p, EX_MASK, nt(UINTK(a->t.lanes)), 1, a, NULL, NULL);
}

Expr *nx_intrin(Program *p, int row, int n, Expr *const *args) {
  assert(row >= 0 && row < n_intrins && n == intrins[row].n);
  Expr *x = expr_new(p, EX_INTRIN, intrins[row].result, n, NULL, NULL, NULL);
  for (int i = 0; i < n; i++) {
    assert(nt_same(args[i]->t, intrins[row].arg[i]));
    x->a[i] = args[i];
  }
  x->imm = row;
  return x;
}

/* Rounding to 16-bit floats */

typedef struct Word { Program *p; int lanes; } Word; /* u32 arithmetic on the bits of an f32 */

static Expr *word(const Word *w, int64_t v) { return nx_const_i(w->p, ntv(UINTK(32), w->lanes), v); }
static Expr *wadd(const Word *w, Expr *a, Expr *b) { return nx2(w->p, S_ADD, a, b); }
static Expr *wand(const Word *w, Expr *a, int64_t mask) { return nx2(w->p, S_AND, a, word(w, mask)); }

/* The word rounded at bit k, ties to even; the carry runs into the exponent. */
static Expr *round_at(const Word *w, Expr *u, int k) {
  Expr *odd = wand(w, nx2(w->p, S_SHR, u, word(w, k)), 1);
  return wand(w, wadd(w, wadd(w, u, word(w, (1 << (k - 1)) - 1)), odd), (int64_t)(UINT32_MAX >> k << k));
}

/* NaNs are made quiet and lose the low bits of their payload; everything else is y. */
static Expr *unless_nan(const Word *w, Expr *x, Expr *u, Expr *y, int k) {
  Expr *quiet = wand(w, nx2(w->p, S_OR, u, word(w, 0x00400000)), (int64_t)(UINT32_MAX >> k << k));
  return nx_bits(w->p, nx3(w->p, S_SELECT, nx1(w->p, S_ISNAN, x), quiet, y), F32);
}

Expr *nx_round_bf16(Program *p, Expr *x) {
  Word w = {p, x->t.lanes};
  Expr *u = nx_bits(p, x, UINTK(32));
  return unless_nan(&w, x, u, round_at(&w, u, 16), 16);
}

Expr *nx_round_f16(Program *p, Expr *x) {
  Word w = {p, x->t.lanes};
  Expr *u = nx_bits(p, x, UINTK(32)), *a = wand(&w, u, 0x7fffffff), *sign = wand(&w, u, INT64_C(0x80000000));
  Expr *normal = round_at(&w, a, 13);
  Expr *large = nx2(p, S_LE, word(&w, 0x47800000), normal); /* 2^16 and above: infinity */
  /* Below 2^-14 the unit is 2^-24, which is that of a binary32 in 0.5 .. 1: adding 0.5 rounds, taking it away is exact. */
  Expr *half = nx_const_f(p, ntv(F32, w.lanes), 0.5);
  Expr *small = nx_bits(p, nx2(p, S_SUB, nx2(p, S_ADD, nx_bits(p, a, F32), half), half), UINTK(32));
  Expr *is_small = nx2(p, S_LT, a, word(&w, 0x38800000));
  Expr *y = nx3(p, S_SELECT, is_small, small, nx3(p, S_SELECT, large, word(&w, 0x7f800000), normal));
  return unless_nan(&w, x, u, nx2(p, S_OR, y, sign), 13);
}

/* Statements */

Stmt *stmt_new(Program *p, Block *into, StmtKind kind, int var, int buf, Expr *e, Expr *e2) {
  Stmt *s = NEW(p->arena, Stmt);
  s->kind = kind; s->var = var; s->buf = buf; s->e = e; s->e2 = e2;
  s->max = -1;
  block_init(&s->body);
  block_init(&s->other);
  *into->tail = s;
  into->tail = &s->next;
  return s;
}

Stmt *ns_for(Program *p, Block *into, int var, Expr *lo, Expr *hi, int64_t step, int64_t max) {
  assert(step > 0);
  int64_t a, b;
  if (max < 0) {
    bool known = nx_is_const(lo, &a) && nx_is_const(hi, &b);
    assert(known);
    max = known && b > a ? (b - a - 1) / step + 1 : 0;
  }
  Stmt *s = stmt_new(p, into, ST_FOR, var, -1, lo, hi);
  s->step = step;
  s->max = max;
  return s;
}

Stmt *ns_if(Program *p, Block *into, Expr *cond) { return stmt_new(p, into, ST_IF, -1, -1, cond, NULL); }
void ns_let(Program *p, Block *into, int var, Expr *e) { stmt_new(p, into, ST_LET, var, -1, e, NULL); }
void ns_vardef(Program *p, Block *into, int var, Expr *e) { stmt_new(p, into, ST_VARDEF, var, -1, e, NULL); }
void ns_set(Program *p, Block *into, int var, Expr *e) {
  if (e->kind != EX_VAR || e->var != var) stmt_new(p, into, ST_SET, var, -1, e, NULL);
}

Expr *ns_name(Program *p, Nest *n, Block *into, const char *name, Expr *e) {
  if (e->kind == EX_CONST || e->kind == EX_VAR) return e;
  int var = nest_var(p, n, name, e->t, false);
  ns_let(p, into, var, e);
  return nx_var(p, n, var);
}

void ns_store(Program *p, Block *into, int buf, Expr *index, Expr *value) {
  assert(buf >= 0 && buf < p->n_bufs && elem_eq(value->t.e, p->bufs[buf].e) && nt_same(index->t, nt(p->index)));
  stmt_new(p, into, ST_STORE, -1, buf, value, index);
}

/* Visitors */

void stmt_visit(const Block *b, void (*f)(void *user, const Stmt *), void *user) {
  for (const Stmt *s = b->first; s; s = s->next) {
    f(user, s);
    stmt_visit(&s->body, f, user);
    stmt_visit(&s->other, f, user);
  }
}

void expr_visit(const Expr *x, void (*f)(void *user, const Expr *), void *user) {
  f(user, x);
  for (int i = 0; i < x->n; i++) expr_visit(x->a[i], f, user);
}

void stmt_exprs(const Stmt *s, void (*f)(void *user, const Expr *), void *user) {
  if (s->e) expr_visit(s->e, f, user);
  if (s->e2) expr_visit(s->e2, f, user);
}

typedef struct Touch { int *first, *last, step; } Touch;

static void touch(Touch *t, int buf) {
  if (t->step < t->first[buf]) t->first[buf] = t->step;
  if (t->step > t->last[buf]) t->last[buf] = t->step;
}

static void touch_expr(void *user, const Expr *x) {
  if (x->kind == EX_LOAD) touch(user, x->buf);
}

static void touch_stmt(void *user, const Stmt *s) {
  if (s->kind == ST_STORE) touch(user, s->buf);
  stmt_exprs(s, touch_expr, user);
}

void buf_lifetimes(const Program *p, int *first, int *last) {
  for (int b = 0; b < p->n_bufs; b++) { first[b] = p->n_steps; last[b] = -1; }
  Touch t = {first, last, 0};
  for (t.step = 0; t.step < p->n_steps; t.step++) stmt_visit(&p->nests[p->steps[t.step]]->body, touch_stmt, &t);
  for (int b = 0; b < p->n_bufs; b++)
    if (p->bufs[b].keep) { first[b] = 0; last[b] = p->n_steps - 1; }
}

void buf_lifetime(const Program *p, int buf, int *first, int *last) {
  Arena *scratch = arena_new(p->ctx);
  int *f = NEWN(scratch, int, p->n_bufs), *l = NEWN(scratch, int, p->n_bufs);
  buf_lifetimes(p, f, l);
  *first = f[buf]; *last = l[buf];
  arena_free(scratch);
}
