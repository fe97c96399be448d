/* Every rule of Programs and nests; the first break of a nest, or of the program's tables, is reported. */
#include "ir/nest_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { UNSET, FIXED, CHANGING }; /* of a variable here: out of scope, bound by LET or FOR, bound by VARDEF */

typedef struct Verify {
  Ctx *ctx;
  const Program *p;
  const Nest *n;          /* NULL: the tables */
  const Stmt *st;
  Arena *scratch;
  ErrCode code;
  const char *file;
  uint8_t *state;         /* of each variable of n */
  int depth;
  bool bad;
} Verify;

static bool bad(Verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool bad(Verify *v, const char *fmt, ...) {
  if (v->bad) return false;
  v->bad = true;
  va_list args;
  char text[256];
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  Loc loc = v->n ? v->n->loc : LOC_NONE;
  if (v->file) loc.file = v->file;
  if (v->st && v->st->line) loc.line = v->st->line;
  if (!v->n) return diag(v->ctx, v->code, &loc, "program %s: %s", v->p->name, text);
  diag(v->ctx, v->code, &loc, "nest %s: %s", v->n->name, text);
  if (v->st) {
    Str s = {.ctx = v->ctx};
    stmt_line_print(&s, v->p, v->n, v->st);
    diag_note(v->ctx, "in `%.200s`", s.p);
    str_free(&s);
  }
  return false;
}

/* Types */

static bool elem_ok(const Verify *v, Elem e) {
  if (!elem_valid(e)) return false;
  if (e.kind == EK_FLOAT) return e.bits >= 32;
  if (e.kind == EK_BOOL) return true;
  if (e.kind != EK_INT && e.kind != EK_UINT) return false;
  return v->p->exact || e.bits == 8 || e.bits == 16 || e.bits == 32 || e.bits == 64;
}

static bool type_ok(Verify *v, NType t) {
  if (!elem_ok(v, t.e)) return bad(v, "a value's element type is not allowed here (kind %d, %d bits)", t.e.kind, t.e.bits);
  if (t.lanes < 1 || (t.lanes & (t.lanes - 1)) || (t.lanes > 1 && t.lanes * t.e.bits > 512))
    return bad(v, "%d lanes of %d bits: a power of two up to 512 bits is allowed", t.lanes, t.e.bits);
  return true;
}

static bool must_be(Verify *v, const Expr *x, NType t, const char *what) {
  if (nt_same(x->t, t)) return true;
  Str s = {.ctx = v->ctx};
  ntype_print(&s, x->t);
  str_put(&s, ", not ");
  ntype_print(&s, t);
  bad(v, "%s is %s", what, s.p);
  str_free(&s);
  return false;
}

/* Expressions */

static bool index_ok(Verify *v, int buf, const Expr *index, int lanes) {
  int64_t i;
  if (buf < 0 || buf >= v->p->n_bufs) return bad(v, "buffer %d does not exist", buf);
  if (!must_be(v, index, nt(v->p->index), "an index")) return false;
  const Buf *b = &v->p->bufs[buf];
  if (nx_is_const(index, &i) && (i < 0 || i > b->n - lanes))
    return bad(v, "index %" PRId64 " with %d lanes is outside %s of %" PRId64 " elements", i, lanes, b->name, b->n);
  return true;
}

static bool arithmetic(Scalar s) {
  switch ((int)s) {
    case S_ADD: case S_SUB: case S_MUL: case S_DIV: case S_MOD: case S_FMOD: case S_NEG: case S_ABS: case S_SIGN:
    case S_SHL: case S_SHR: case S_POP: return true;
    default: return false;
  }
}

static bool same_width(Elem a, Elem b) {
  bool floats = elem_is_float(a) || elem_is_float(b);
  return a.bits == b.bits && a.kind != EK_BOOL && b.kind != EK_BOOL && (!floats || a.bits == 32 || a.bits == 64);
}

static bool scalar_ok(Verify *v, const Expr *x) {
  if (x->s <= S_NONE || x->s >= SCALAR_COUNT) return bad(v, "row %d of scalar.def does not exist", x->s);
  const ScalarInfo *r = &scalar_info[x->s];
  Elem e = x->a[x->s == S_SELECT ? 1 : 0]->t.e;
  if (x->s == S_POW || (x->s >= S_EXP && x->s <= S_ERF)) return bad(v, "%s is not expanded into its formula", r->name);
  if (x->n != r->arity) return bad(v, "%s has %d operands, not %d", r->name, x->n, r->arity);
  if (r->on == 'F' && !elem_is_float(e)) return bad(v, "%s is of floats only", r->name);
  if (r->on == 'I' && elem_is_float(e)) return bad(v, "%s is of codes only", r->name);
  if (e.kind == EK_BOOL && arithmetic(x->s)) return bad(v, "%s of bool", r->name);
  if (x->s == S_CAST || x->s == S_BITS) {
    if (x->t.lanes != x->a[0]->t.lanes) return bad(v, "%s changes the lanes", r->name);
    if (x->s == S_BITS && !same_width(x->t.e, e)) return bad(v, "bits between types of other widths");
    return true;
  }
  if (x->s == S_SELECT)
    return must_be(v, x->a[0], ntv(BOOL, x->t.lanes), "select's choice") && must_be(v, x->a[1], x->t, "select's operand") &&
           must_be(v, x->a[2], x->t, "select's operand");
  for (int i = 1; i < x->n; i++) if (!must_be(v, x->a[i], x->a[0]->t, "an operand")) return false;
  NType result = r->result == 'B' ? ntv(BOOL, x->a[0]->t.lanes) : x->a[0]->t;
  return nt_same(x->t, result) || bad(v, "the result of %s has the wrong type", r->name);
}

static bool dot_ok(Verify *v, const Expr *x) {
  NType a = x->a[1]->t, b = x->a[2]->t;
  bool codes = elem_is_int(a.e) && elem_is_int(b.e);
  int q = a.e.bits == 8 ? 4 : 2;
  if (!codes || a.e.bits != b.e.bits || (a.e.bits != 8 && a.e.bits != 16)) return bad(v, "dot is of 8-bit or of 16-bit codes");
  if (!must_be(v, x, ntv(I32, x->t.lanes), "dot") || !must_be(v, x->a[0], x->t, "dot's sum")) return false;
  return (a.lanes == q * x->t.lanes && b.lanes == a.lanes) || bad(v, "dot of %d and %d lanes into %d", a.lanes, b.lanes, x->t.lanes);
}

static bool lanes_ok(Verify *v, const Expr *x) {
  const Expr *a = x->a[0];
  if (!elem_eq(a->t.e, x->t.e)) return bad(v, "splat, hred or perm changes the element type");
  if (x->kind == EX_SPLAT) return a->t.lanes == 1 || bad(v, "splat of %d lanes", a->t.lanes);
  if (x->kind == EX_HRED) {
    if (x->t.lanes != 1) return bad(v, "hred gives %d lanes", x->t.lanes);
    return (elem_is_code(a->t.e) && a->t.e.kind != EK_BOOL) || bad(v, "hred is of integers only");
  }
  if (x->n == 2 && (a->t.lanes < 2 || !must_be(v, x->a[1], a->t, "perm's second operand"))) return bad(v, "perm of two values needs vectors");
  for (int i = 0; i < x->t.lanes; i++)
    if (!x->perm || x->perm[i] >= x->n * a->t.lanes) return bad(v, "perm of a lane that does not exist");
  return true;
}

static bool relane_ok(Verify *v, const Expr *x) {
  NType a = x->a[0]->t;
  if (!elem_is_int(a.e) || !elem_is_int(x->t.e) || a.e.bits == x->t.e.bits) return bad(v, "relane is of integers, to another width");
  return a.lanes * a.e.bits == x->t.lanes * x->t.e.bits || bad(v, "relane of %d bits into %d", a.lanes * a.e.bits, x->t.lanes * x->t.e.bits);
}

static bool mask_ok(Verify *v, const Expr *x) {
  int n = x->a[0]->t.lanes;
  if (n != 8 && n != 16 && n != 32 && n != 64) return bad(v, "mask of %d lanes: 8, 16, 32 or 64 are allowed", n);
  return must_be(v, x->a[0], ntv(BOOL, n), "mask's operand") && must_be(v, x, nt(UINTK(n)), "mask");
}

static bool intrin_ok(Verify *v, const Expr *x) {
  if (x->imm < 0 || x->imm >= n_intrins) return bad(v, "row %d of intrin.def does not exist", x->imm);
  const Intrin *r = &intrins[x->imm];
  if (x->n != r->n) return bad(v, "%s has %d operands, not %d", r->name, x->n, r->n);
  for (int i = 0; i < x->n; i++) if (!must_be(v, x->a[i], r->arg[i], "an operand")) return false;
  return must_be(v, x, r->result, "the result");
}

static bool const_ok(Verify *v, const Expr *x) {
  if (elem_is_code(x->t.e)) return code_wrap(x->t.e, x->value.i) == x->value.i || bad(v, "a constant is no number of its type");
  double f = x->value.f;
  return x->t.e.bits == 64 || f != f || (double)(float)f == f || bad(v, "a constant is no number of f32");
}

static bool var_ok(Verify *v, const Expr *x) {
  if (x->var < 0 || x->var >= v->n->n_vars) return bad(v, "variable %d does not exist", x->var);
  if (v->state[x->var] == UNSET) return bad(v, "variable %s is used before it is set", v->n->vars[x->var].name);
  return must_be(v, x, v->n->vars[x->var].t, "a variable");
}

static bool expr_ok(Verify *v, const Expr *x);

static bool operands_ok(Verify *v, const Expr *x) {
  static const int arity[] = {
    [EX_CONST] = 0, [EX_VAR] = 0, [EX_LOAD] = 1, [EX_COND] = 3, [EX_SPLAT] = 1, [EX_HRED] = 1, [EX_DOT] = 3, [EX_LUT3] = 3,
    [EX_SHUF] = 2, [EX_PERM] = 1, [EX_RELANE] = 1, [EX_MASK] = 1
  };
  bool fixed = x->kind != EX_SCALAR && x->kind != EX_INTRIN && (x->kind != EX_PERM || x->n != 2);
  if (x->n < 0 || x->n > 3 || (fixed && x->n != arity[x->kind])) return bad(v, "an expression has %d operands", x->n);
  if (++v->depth > EXPR_DEPTH) return bad(v, "an expression is nested more than %d deep", EXPR_DEPTH);
  for (int i = 0; i < x->n; i++) if (!expr_ok(v, x->a[i])) return false;
  v->depth--;
  return true;
}

static bool expr_ok(Verify *v, const Expr *x) {
  if (!type_ok(v, x->t) || !operands_ok(v, x)) return false;
  switch (x->kind) {
    case EX_CONST: return const_ok(v, x);
    case EX_VAR: return var_ok(v, x);
    case EX_LOAD:
      return index_ok(v, x->buf, x->a[0], x->t.lanes) &&
             must_be(v, x, ntv(v->p->bufs[x->buf].e, x->t.lanes), "a load");
    case EX_SCALAR: return scalar_ok(v, x);
    case EX_COND:
      return must_be(v, x->a[0], nt(BOOL), "cond's choice") && must_be(v, x->a[1], x->t, "cond's operand") &&
             must_be(v, x->a[2], x->t, "cond's operand");
    case EX_SPLAT: case EX_HRED: case EX_PERM: return lanes_ok(v, x);
    case EX_DOT: return dot_ok(v, x);
    case EX_LUT3:
      if (elem_is_float(x->t.e) || x->imm < 0 || x->imm > 255) return bad(v, "lut3 is of codes, with a table of 8 bits");
      return must_be(v, x->a[0], x->t, "lut3's operand") && must_be(v, x->a[1], x->t, "lut3's operand") &&
             must_be(v, x->a[2], x->t, "lut3's operand");
    case EX_SHUF:
      if (!elem_eq(x->t.e, U8) || x->t.lanes % 16) return bad(v, "shuf is of u8 in groups of 16");
      return must_be(v, x->a[0], x->t, "shuf's table") && must_be(v, x->a[1], x->t, "shuf's index");
    case EX_RELANE: return relane_ok(v, x);
    case EX_MASK: return mask_ok(v, x);
    case EX_INTRIN: return intrin_ok(v, x);
  }
  return bad(v, "an expression's kind %d does not exist", x->kind);
}

/* Statements */

static bool for_ok(Verify *v, const Stmt *s) {
  if (!expr_ok(v, s->e) || !expr_ok(v, s->e2)) return false;
  if (!must_be(v, s->e, nt(v->p->index), "lo") || !must_be(v, s->e2, nt(v->p->index), "hi")) return false;
  if (s->step < 1 || s->max < 0 || s->mark >= MARK_COUNT) return bad(v, "step, max or mark of a loop");
  int64_t trips = const_trips(s), hi;
  if (trips > s->max) return bad(v, "%" PRId64 " iterations, more than max", trips);
  return !nx_is_const(s->e2, &hi) || hi <= elem_hi(v->p->index) - s->step || bad(v, "the loop variable overflows the index type");
}

/* Binds the variable for the rest of its block. */
static bool bind(Verify *v, const Stmt *s, int state) {
  if (s->var < 0 || s->var >= v->n->n_vars) return bad(v, "variable %d does not exist", s->var);
  const Var *var = &v->n->vars[s->var];
  if (v->state[s->var] != UNSET) return bad(v, "variable %s is bound twice", var->name);
  if (var->is_loop != (s->kind == ST_FOR)) return bad(v, "variable %s is %s loop variable", var->name, var->is_loop ? "a" : "no");
  if (s->kind == ST_FOR ? !nt_same(var->t, nt(v->p->index)) : !must_be(v, s->e, var->t, "the value"))
    return bad(v, "loop variable %s has not the index type", var->name);
  v->state[s->var] = (uint8_t)state;
  return true;
}

static bool block_ok(Verify *v, const Block *b, int depth);

static bool store_ok(Verify *v, const Stmt *s) {
  if (!expr_ok(v, s->e) || !expr_ok(v, s->e2) || !index_ok(v, s->buf, s->e2, s->e->t.lanes)) return false;
  const Buf *b = &v->p->bufs[s->buf];
  if (b->sp == SP_IN || b->sp == SP_ROM) return bad(v, "a store to %s, which is read only", b->name);
  return must_be(v, s->e, ntv(b->e, s->e->t.lanes), "the value");
}

static bool stmt_ok(Verify *v, const Stmt *s, int depth) {
  v->st = s;
  v->depth = 0;
  switch (s->kind) {
    case ST_FOR:
      if (!for_ok(v, s) || !bind(v, s, FIXED) || !block_ok(v, &s->body, depth + 1)) return false;
      v->state[s->var] = UNSET;
      return true;
    case ST_IF:
      if (!expr_ok(v, s->e) || !must_be(v, s->e, nt(BOOL), "the condition")) return false;
      return block_ok(v, &s->body, depth + 1) && block_ok(v, &s->other, depth + 1);
    case ST_LET: case ST_VARDEF:
      return expr_ok(v, s->e) && bind(v, s, s->kind == ST_LET ? FIXED : CHANGING);
    case ST_SET:
      if (s->var < 0 || s->var >= v->n->n_vars) return bad(v, "variable %d does not exist", s->var);
      if (v->state[s->var] != CHANGING) return bad(v, "variable %s is not a var in scope", v->n->vars[s->var].name);
      return expr_ok(v, s->e) && must_be(v, s->e, v->n->vars[s->var].t, "the value");
    case ST_STORE: return store_ok(v, s);
  }
  return bad(v, "a statement's kind %d does not exist", s->kind);
}

static bool block_ok(Verify *v, const Block *b, int depth) {
  if (depth > NEST_DEPTH) return bad(v, "blocks are nested more than %d deep", NEST_DEPTH);
  for (const Stmt *s = b->first; s; s = s->next) if (!stmt_ok(v, s, depth)) return false;
  for (const Stmt *s = b->first; s; s = s->next)
    if (s->kind == ST_LET || s->kind == ST_VARDEF) v->state[s->var] = UNSET;
  return true;
}

/* Tables */

static int name_cmp(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The first name that occurs twice or may not be a name; NULL where all are fine. Sorts. */
static const char *name_trouble(const char **names, int n) {
  qsort(names, (size_t)n, sizeof *names, name_cmp);
  for (int i = 0; i < n; i++) if (!nest_name_ok(names[i]) || (i && !strcmp(names[i], names[i - 1]))) return names[i];
  return NULL;
}

static bool names_ok(Verify *v) {
  const Program *p = v->p;
  int n = 0, most = 0;
  const char **all = NEWN(v->scratch, const char *, p->n_bufs + p->n_nests);
  for (int i = 0; i < p->n_bufs; i++) all[n++] = p->bufs[i].name;
  for (int i = 0; i < p->n_nests; i++) {
    all[n++] = p->nests[i]->name;
    if (p->nests[i]->n_vars > most) most = p->nests[i]->n_vars;
  }
  if (!nest_name_ok(p->name)) return bad(v, "the program's name is not allowed");
  const char *twice = name_trouble(all, n);
  if (twice) return bad(v, "the name %s is not allowed or not unique", twice);
  const char **vars = NEWN(v->scratch, const char *, most);
  for (int i = 0; i < p->n_nests; i++) {
    const Nest *nest = p->nests[i];
    for (int k = 0; k < nest->n_vars; k++) {
      vars[k] = nest->vars[k].name;
      if (n && bsearch(&vars[k], all, (size_t)n, sizeof *all, name_cmp)) return bad(v, "%s names a variable and a buffer or nest", vars[k]);
    }
    twice = name_trouble(vars, nest->n_vars);
    if (twice) return bad(v, "nest %s: the name %s is not allowed or not unique", nest->name, twice);
  }
  return true;
}

/* Numbers of types that do not fill their storage. */
static bool rom_ok(Verify *v, const Buf *b) {
  Store st = elem_store(b->e);
  if (elem_is_float(b->e) || (b->e.kind != EK_BOOL && (size_t)b->e.bits == 8 * store_size(st))) return true;
  for (int64_t i = 0; i < b->n; i++) {
    int64_t x = store_get(st, b->rom, i).i;
    if (code_wrap(b->e, x) != x) return bad(v, "%s[%" PRId64 "] is no number of its type", b->name, i);
  }
  return true;
}

static bool buf_ok(Verify *v, const Buf *b) {
  int64_t most = elem_eq(v->p->index, I32) ? INT32_MAX : INT64_C(1) << 48;
  if (!elem_ok(v, b->e)) return bad(v, "buffer %s has an element type that is not allowed", b->name);
  if (b->n < 0 || b->n > most) return bad(v, "buffer %s has %" PRId64 " elements; the index type allows %" PRId64, b->name, b->n, most);
  if ((b->sp == SP_ROM) != (b->rom != NULL)) return bad(v, "buffer %s: data belongs to rom only", b->name);
  if (b->part.kind == PART_CYCLIC && b->part.factor < 1) return bad(v, "buffer %s has no partition factor", b->name);
  if (b->off != -1 && b->sp != SP_ARENA) return bad(v, "buffer %s has an offset", b->name);
  if (b->off < -1 || (b->off >= 0 && b->off % 64)) return bad(v, "buffer %s is not 64-aligned", b->name);
  return b->sp != SP_ROM || rom_ok(v, b);
}

static bool ports_ok(Verify *v, const Port *ports, int n, Space sp, int *uses) {
  for (int i = 0; i < n; i++) {
    const Port *q = &ports[i];
    int64_t count;
    if (q->buf < 0 || q->buf >= v->p->n_bufs || v->p->bufs[q->buf].sp != sp) return bad(v, "port %d has no buffer", i);
    const Buf *b = &v->p->bufs[q->buf];
    if (uses[q->buf]++) return bad(v, "buffer %s has two ports", b->name);
    if (!q->name || !elem_valid(q->t.e) || !type_static(&q->t) || !type_count(&q->t, &count) || count != b->n ||
        elem_store(q->t.e) != elem_store(b->e)) return bad(v, "port %d does not fit buffer %s", i, b->name);
  }
  return true;
}

static bool tables_ok(Verify *v) {
  const Program *p = v->p;
  if (!elem_eq(p->index, I32) && !elem_eq(p->index, I64)) return bad(v, "the index type is neither i32 nor i64");
  for (int i = 0; i < p->n_bufs; i++) if (!buf_ok(v, &p->bufs[i])) return false;
  int *uses = NEWN(v->scratch, int, p->n_bufs);
  if (!ports_ok(v, p->ins, p->n_ins, SP_IN, uses) || !ports_ok(v, p->outs, p->n_outs, SP_OUT, uses)) return false;
  for (int i = 0; i < p->n_bufs; i++)
    if ((p->bufs[i].sp == SP_IN || p->bufs[i].sp == SP_OUT) && !uses[i]) return bad(v, "buffer %s has no port", p->bufs[i].name);
  for (int i = 0; i < p->n_steps; i++)
    if (p->steps[i] < 0 || p->steps[i] >= p->n_nests) return bad(v, "step %d has no nest", i);
  for (int i = 0; i < p->n_inits; i++)
    if (p->inits[i] < 0 || p->inits[i] >= p->n_nests) return bad(v, "init %d has no nest", i);
  for (int i = 0; i < p->n_bufs; i++)
    if (p->bufs[i].keep && p->bufs[i].sp != SP_ARENA) return bad(v, "buffer %s is kept, and not of the arena", p->bufs[i].name);
  return names_ok(v);
}

/* Plan */

typedef struct Span { int64_t off, end; int first, last, buf; } Span;

static int span_cmp(const void *a, const void *b) {
  const Span *x = a, *y = b;
  return x->off != y->off ? (x->off < y->off ? -1 : 1) : x->buf - y->buf;
}

/* Planned buffers that live at one step lie apart, inside the arena. */
static bool plan_ok(Verify *v) {
  const Program *p = v->p;
  int *first = NEWN(v->scratch, int, p->n_bufs), *last = NEWN(v->scratch, int, p->n_bufs), n = 0;
  Span *s = NEWN(v->scratch, Span, p->n_bufs);
  buf_lifetimes(p, first, last);
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (b->sp != SP_ARENA || first[i] > last[i] || b->n == 0) continue;
    if (b->off < 0 && p->arena_bytes >= 0) return bad(v, "buffer %s has no offset", b->name);
    if (b->off < 0) continue;
    int64_t end = b->off + b->n * (int64_t)store_size(elem_store(b->e));
    if (p->arena_bytes >= 0 && end > p->arena_bytes) return bad(v, "buffer %s ends beyond the arena", b->name);
    s[n++] = (Span){b->off, end, first[i], last[i], i};
  }
  qsort(s, (size_t)n, sizeof *s, span_cmp);
  for (int i = 0; i < n; i++)
    for (int k = i + 1; k < n && s[k].off < s[i].end; k++)
      if (s[i].first <= s[k].last && s[k].first <= s[i].last)
        return bad(v, "buffers %s and %s overlap while both live", p->bufs[s[i].buf].name, p->bufs[s[k].buf].name);
  return true;
}

bool verify_as(Ctx *ctx, const Program *p, ErrCode code, const char *file) {
  Verify v = {.ctx = ctx, .p = p, .scratch = arena_new(ctx), .code = code, .file = file};
  bool ok = tables_ok(&v);
  for (int i = 0; ok && i < p->n_nests; i++) {
    v.n = p->nests[i];
    v.state = NEWN(v.scratch, uint8_t, v.n->n_vars);
    ok = block_ok(&v, &v.n->body, 0);
    v.st = NULL;
  }
  v.n = NULL;
  ok = ok && plan_ok(&v);
  arena_free(v.scratch);
  return ok;
}

bool program_verify(Ctx *ctx, const Program *p) { return verify_as(ctx, p, E0902, NULL); }
