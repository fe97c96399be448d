/* Nest -> code of the interpreter. Lane-wise arithmetic whose operands do not change in a loop is placed before that loop
 * (it cannot fail, so doing it too often or in vain is harmless); loads, conditions and what reads a `var` stay in place. */
#include "ir/nest_code.h"

#include <assert.h>
#include <string.h>

typedef struct Ref { int reg, level; } Ref;         /* level: of the loop, 0 none, in which the value may change */
typedef VEC(Ins) InsVec;
typedef struct Level { InsVec pre, body; int64_t pre_cost, cost; } Level;
typedef struct Memo { const Expr *x; Ref r; } Memo; /* expressions of one statement: a shared one is computed once */
typedef struct Const { int reg, lanes; Slot v; } Const;

enum { CHANGES = -1 };                              /* level of a variable that may be SET */

typedef struct Compile {
  Arena *arena;
  Program *meanings;
  const Program *p;
  const RunBuf *bufs;
  const Stmt *st;
  Level level[NEST_DEPTH + 2];
  int depth, n_slots;
  Ref *vars;              /* of the nest's variables */
  const Ref *args;        /* $0 $1 $2 inside a meaning */
  VEC(Memo) seen;
  int *seen_at, seen_cap, seen_used; /* hash: index into seen + 1 */
  VEC(Const) consts;      /* their registers keep their values */
} Compile;

static int new_reg(Compile *c, int lanes) {
  int r = c->n_slots;
  c->n_slots += lanes;
  return r;
}

/* Where code whose operands change in the given loop goes: into the open block, or before the loop inside that one. */
static void emit(Compile *c, int level, Ins ins) {
  assert(level >= 0 && level <= c->depth);
  if (level == c->depth) {
    vec_push(c->arena, &c->level[level].body, ins);
    c->level[level].cost += ins.lanes;
  } else {
    vec_push(c->arena, &c->level[level + 1].pre, ins);
    c->level[level + 1].pre_cost += ins.lanes;
  }
}

/* Shared expressions */

static uint32_t memo_hash(const Expr *x) {
  uint64_t h = (uint64_t)(uintptr_t)x * UINT64_C(0x9e3779b97f4a7c15); /* places only: never in any output */
  return (uint32_t)(h >> 40);
}

static const Ref *memo_find(const Compile *c, const Expr *x) {
  if (!c->seen_cap) return NULL;
  for (uint32_t h = memo_hash(x) & (uint32_t)(c->seen_cap - 1); c->seen_at[h]; h = (h + 1) & (uint32_t)(c->seen_cap - 1))
    if (c->seen_at[h] <= c->seen.n && c->seen.p[c->seen_at[h] - 1].x == x) return &c->seen.p[c->seen_at[h] - 1].r;
  return NULL;
}

static void memo_place(Compile *c, int i) {
  uint32_t mask = (uint32_t)(c->seen_cap - 1), h = memo_hash(c->seen.p[i].x) & mask;
  while (c->seen_at[h]) h = (h + 1) & mask;
  c->seen_at[h] = i + 1;
  c->seen_used++;
}

static void memo_add(Compile *c, const Expr *x, Ref r) {
  vec_push(c->arena, &c->seen, ((Memo){x, r}));
  if (2 * c->seen_used + 2 < c->seen_cap) { memo_place(c, c->seen.n - 1); return; }
  if (4 * c->seen.n >= c->seen_cap) {
    c->seen_cap = c->seen_cap ? 2 * c->seen_cap : 64;
    c->seen_at = NEWN(c->arena, int, c->seen_cap);
  } else {
    memset(c->seen_at, 0, sizeof *c->seen_at * (size_t)c->seen_cap);
  }
  c->seen_used = 0;
  for (int i = 0; i < c->seen.n; i++) memo_place(c, i);
}

/* Forgets what was computed since there were n: a branch that may not be taken, or a meaning's expressions. Places of the
 * table stay taken until it is rebuilt; a place whose index is in use again is recognized by its expression. */
static void memo_cut(Compile *c, int n) { c->seen.n = n; }

/* Instructions of expressions */

static bool is_signed(Elem e) { return e.kind == EK_INT; }
static uint8_t shift_of(Elem e) { return (uint8_t)(elem_is_float(e) ? 0 : 64 - e.bits); }

/* F f32, D f64, S signed, U unsigned: index of the columns below. */
static int class_of(Elem e) { return elem_is_float(e) ? (e.bits == 32 ? 0 : 1) : is_signed(e) ? 2 : 3; }

#define ALL(x) {CODE_##x##_F, CODE_##x##_D, CODE_##x##_S, CODE_##x##_U}
#define FLOATS(x) {CODE_##x##_F, CODE_##x##_D, CODE_SCALAR, CODE_SCALAR}
#define CODES(x) {CODE_SCALAR, CODE_SCALAR, CODE_##x##_S, CODE_##x##_U}
#define ANY(x) {CODE_SCALAR, CODE_SCALAR, CODE_##x##_X, CODE_##x##_X}
static const uint16_t row_code[SCALAR_COUNT][4] = {
  [S_ADD] = ALL(ADD), [S_SUB] = ALL(SUB), [S_MUL] = ALL(MUL), [S_DIV] = ALL(DIV), [S_MOD] = CODES(MOD),
  [S_FMOD] = {CODE_SCALAR, CODE_SCALAR, CODE_FMOD_S, CODE_MOD_U}, [S_MAX] = ALL(MAX), [S_MIN] = ALL(MIN), [S_NEG] = ALL(NEG),
  [S_ABS] = {CODE_ABS_F, CODE_ABS_D, CODE_ABS_S, CODE_MOVE_X}, [S_FLOOR] = FLOATS(FLOOR), [S_CEIL] = FLOATS(CEIL),
  [S_TRUNC] = FLOATS(TRUNC), [S_ROUND] = FLOATS(ROUND), [S_SQRT] = FLOATS(SQRT), [S_AND] = ANY(AND), [S_OR] = ANY(OR),
  [S_XOR] = ANY(XOR), [S_NOT] = CODES(NOT), [S_SHL] = CODES(SHL), [S_SHR] = CODES(SHR), [S_POP] = CODES(POP),
  [S_EQ] = {CODE_EQ_F, CODE_EQ_D, CODE_EQ_X, CODE_EQ_X}, [S_LT] = ALL(LT), [S_LE] = ALL(LE), [S_ISNAN] = FLOATS(ISNAN),
  [S_SELECT] = {CODE_SELECT_X, CODE_SELECT_X, CODE_SELECT_X, CODE_SELECT_X}
};

static uint16_t cast_code(Elem from, Elem to) {
  int a = class_of(from), b = class_of(to);
  static const uint16_t table[4][4] = { /* from, to; codes to codes wrap */
    {CODE_MOVE_X, CODE_FD, CODE_TO_S_F, CODE_TO_U_F}, {CODE_DF, CODE_MOVE_X, CODE_TO_S_D, CODE_TO_U_D},
    {CODE_FROM_S_F, CODE_FROM_S_D, CODE_WRAP_S, CODE_WRAP_U}, {CODE_FROM_U_F, CODE_FROM_U_D, CODE_WRAP_S, CODE_WRAP_U}
  };
  if (to.kind == EK_BOOL) return a == 0 ? CODE_BOOL_F : a == 1 ? CODE_BOOL_D : CODE_BOOL_X;
  return table[a][b];
}

static uint16_t bits_code(Elem from, Elem to) {
  int a = class_of(from), b = class_of(to);
  if (a == b) return CODE_MOVE_X;
  if (a == 0) return b == 2 ? CODE_BITS_FS : CODE_BITS_FU;
  if (b == 0) return CODE_BITS_TO_F;
  if (a == 1 || b == 1) return CODE_MOVE_X;
  return b == 2 ? CODE_WRAP_S : CODE_WRAP_U;
}

static Ins scalar_ins(const Expr *x) {
  Elem e = x->a[x->s == S_SELECT ? 1 : 0]->t.e, shift = x->s == S_CAST ? x->t.e : e;
  Ins ins = {.op = row_code[x->s][class_of(e)], .s = shift_of(shift)};
  if (x->s == S_CAST) ins.op = cast_code(e, x->t.e);
  if (x->s == S_BITS) ins.op = bits_code(e, x->t.e);
  if (ins.op == 0 && x->s != S_ADD) ins.op = CODE_SCALAR; /* rows without a line above; [0] is the add of f32 or of codes */
  if (ins.op == CODE_SCALAR) ins.p = x;
  else if (x->t.lanes > 1) ins.op++;                      /* NAME_V follows NAME */
  return ins;
}

static Slot const_slot(const Expr *x) {
  Slot v = {.i = x->value.i};
  if (elem_is_float(x->t.e) && x->t.e.bits == 32) { v.u = 0; v.f = (float)x->value.f; }
  if (elem_is_float(x->t.e) && x->t.e.bits == 64) v.d = x->value.f;
  return v;
}

static Ref constant(Compile *c, const Expr *x) {
  Slot v = const_slot(x);
  for (int i = c->consts.n - 1, most = 64; i >= 0 && most; i--, most--)
    if (c->consts.p[i].v.u == v.u && c->consts.p[i].lanes == x->t.lanes) return (Ref){c->consts.p[i].reg, 0};
  Const k = {new_reg(c, x->t.lanes), x->t.lanes, v};
  vec_push(c->arena, &c->consts, k);
  return (Ref){k.reg, 0};
}

static Ref expr(Compile *c, const Expr *x, int into);

static Ref variable(Compile *c, const Expr *x) {
  Ref r = c->args ? c->args[x->var] : c->vars[x->var];
  if (r.level == CHANGES) r.level = c->depth;
  return r;
}

static const Access *access(Compile *c, int buf) {
  Access *a = NEW(c->arena, Access);
  *a = (Access){c->bufs[buf].data, c->bufs[buf].map, c->p->bufs[buf].n, buf, c->st};
  return a;
}

static Ref load(Compile *c, const Expr *x, int into) {
  static const uint16_t codes[][3] = {
#define R(st, type, m) [ST_##st] = {CODE_LD_##st, CODE_LDW_##st, CODE_LDV_##st},
    CODE_STORES(R)
#undef R
  };
  Ref index = expr(c, x->a[0], -1), r = {into < 0 ? new_reg(c, x->t.lanes) : into, c->depth};
  int how = x->t.lanes > 1 ? 2 : c->bufs[x->buf].map ? 1 : 0;
  emit(c, c->depth, (Ins){.op = codes[elem_store(x->t.e)][how], .lanes = x->t.lanes, .d = r.reg, .a = index.reg,
                          .p = access(c, x->buf)});
  return r;
}

/* Only the chosen operand is evaluated. */
static Ref cond(Compile *c, const Expr *x, int into) {
  Ref choice = expr(c, x->a[0], -1), r = {into < 0 ? new_reg(c, x->t.lanes) : into, c->depth};
  InsVec *body = &c->level[c->depth].body;
  int seen = c->seen.n, test = body->n;
  emit(c, c->depth, (Ins){.op = CODE_JUMP_ZERO, .lanes = 1, .a = choice.reg});
  expr(c, x->a[1], r.reg);
  memo_cut(c, seen);
  int over = body->n;
  emit(c, c->depth, (Ins){.op = CODE_JUMP, .lanes = 1});
  body->p[test].imm = body->n - test;
  expr(c, x->a[2], r.reg);
  memo_cut(c, seen);
  body->p[over].imm = body->n - over;
  return r;
}

static Ref intrinsic(Compile *c, const Expr *x) {
  const Intrin *row = &intrins[x->imm];
  Ref args[3];
  for (int i = 0; i < x->n; i++) args[i] = expr(c, x->a[i], -1);
  Nest params = {.name = row->name};
  for (int i = 0; i < row->n; i++) nest_var(c->meanings, &params, "a", row->arg[i], false);
  const Expr *m = meaning_parse(c->meanings, &params, row->meaning, row->result);
  assert(m && "a meaning of intrin.def parses: test_intrin");
  const Ref *outer = c->args;
  int seen = c->seen.n;
  c->args = args;
  Ref r = expr(c, m, -1);
  c->args = outer;
  memo_cut(c, seen);
  return r;
}

static uint16_t special_code(ExprKind k) {
  switch ((int)k) {
    case EX_SPLAT: return CODE_SPLAT;
    case EX_HRED: return CODE_HRED;
    case EX_DOT: return CODE_DOT;
    case EX_LUT3: return CODE_LUT3;
    case EX_SHUF: return CODE_SHUF;
    case EX_RELANE: return CODE_RELANE;
    case EX_MASK: return CODE_MASK;
    default: return CODE_PERM;
  }
}

/* The other kinds: operands, then one instruction. Only lane-wise ones may write a register that they read. */
static Ref plain(Compile *c, const Expr *x, int into) {
  Ref r = {-1, 0};
  Ins ins = x->kind == EX_SCALAR ? scalar_ins(x) : (Ins){.op = special_code(x->kind), .s = shift_of(x->t.e), .p = x};
  int32_t *operand[3] = {&ins.a, &ins.b, &ins.c};
  for (int i = 0; i < x->n; i++) {
    Ref a = expr(c, x->a[i], -1);
    *operand[i] = a.reg;
    if (a.level > r.level) r.level = a.level;
  }
  bool direct = into >= 0 && x->kind == EX_SCALAR;
  if (into >= 0) r.level = c->depth;
  r.reg = ins.d = direct ? into : new_reg(c, x->t.lanes);
  ins.lanes = x->t.lanes;
  emit(c, r.level, ins);
  return r;
}

static void move(Compile *c, int to, int from, int lanes) {
  if (to != from)
    emit(c, c->depth, (Ins){.op = lanes > 1 ? CODE_MOVE_X_V : CODE_MOVE_X, .lanes = (uint16_t)lanes, .d = to, .a = from});
}

/* Code for x. into: the register that gets the value, in place, or -1: anywhere. */
static Ref expr(Compile *c, const Expr *x, int into) {
  const Ref *known = x->n ? memo_find(c, x) : NULL;
  Ref r;
  if (known) r = *known;
  else {
    switch (x->kind) {
      case EX_CONST: r = constant(c, x); break;
      case EX_VAR: r = variable(c, x); break;
      case EX_LOAD: r = load(c, x, into); break;
      case EX_COND: r = cond(c, x, into); break;
      case EX_INTRIN: r = intrinsic(c, x); break;
      default: r = plain(c, x, into); break;
    }
    if (x->n && r.reg != into) memo_add(c, x, r);
  }
  if (into >= 0 && r.reg != into) { move(c, into, r.reg, x->t.lanes); r = (Ref){into, c->depth}; }
  return r;
}

/* Statements */

static void block(Compile *c, const Block *b);

static int copied(Compile *c, const Expr *x) {
  Ref r = expr(c, x, -1);
  if (x->kind != EX_VAR || c->vars[x->var].level != CHANGES) return r.reg;
  int reg = new_reg(c, x->t.lanes);
  move(c, reg, r.reg, x->t.lanes);
  return reg;
}

static void append(Compile *c, InsVec *to, const InsVec *from) {
  for (int i = 0; i < from->n; i++) vec_push(c->arena, to, from->p[i]);
}

static void loop(Compile *c, const Stmt *s) {
  int lo = expr(c, s->e, -1).reg, hi = copied(c, s->e2), var = new_reg(c, 1);
  Level *outer = &c->level[c->depth], *inner = &c->level[++c->depth];
  inner->pre.n = inner->body.n = 0;
  inner->cost = inner->pre_cost = 0;
  c->vars[s->var] = (Ref){var, c->depth};
  block(c, &s->body);
  c->depth--;
  Loop *l = NEW(c->arena, Loop);
  *l = (Loop){s->step, s->max, inner->cost + 1, inner->body.n, s};
  append(c, &outer->body, &inner->pre);
  outer->cost += inner->pre_cost;
  emit(c, c->depth, (Ins){.op = CODE_FOR, .lanes = 1, .d = var, .a = lo, .b = hi, .p = l});
  append(c, &outer->body, &inner->body);
  emit(c, c->depth, (Ins){.op = CODE_END, .lanes = 1, .d = var, .b = hi, .imm = -inner->body.n, .p = l});
}

static void branch(Compile *c, const Stmt *s) {
  Ref choice = expr(c, s->e, -1);
  InsVec *body = &c->level[c->depth].body;
  int test = body->n;
  emit(c, c->depth, (Ins){.op = CODE_JUMP_ZERO, .lanes = 1, .a = choice.reg});
  block(c, &s->body);
  int over = body->n;
  if (s->other.first) emit(c, c->depth, (Ins){.op = CODE_JUMP, .lanes = 1});
  body->p[test].imm = body->n - test;
  if (!s->other.first) return;
  block(c, &s->other);
  body->p[over].imm = body->n - over;
}

static void store(Compile *c, const Stmt *s) {
  static const uint16_t codes[][2] = {
#define R(st, type, m) [ST_##st] = {CODE_ST_##st, CODE_STV_##st},
    CODE_STORES(R)
#undef R
  };
  Ref value = expr(c, s->e, -1), index = expr(c, s->e2, -1);
  emit(c, c->depth, (Ins){.op = codes[elem_store(s->e->t.e)][s->e->t.lanes > 1], .lanes = s->e->t.lanes, .a = index.reg,
                          .b = value.reg, .p = access(c, s->buf)});
}

static void statement(Compile *c, const Stmt *s) {
  c->st = s;
  memo_cut(c, 0);
  switch (s->kind) {
    case ST_FOR: loop(c, s); break;
    case ST_IF: branch(c, s); break;
    case ST_LET:
      c->vars[s->var] = expr(c, s->e, -1);
      if (s->e->kind == EX_VAR && c->vars[s->e->var].level == CHANGES) {
        int reg = new_reg(c, s->e->t.lanes);
        move(c, reg, c->vars[s->var].reg, s->e->t.lanes);
        c->vars[s->var] = (Ref){reg, c->depth};
      }
      break;
    case ST_VARDEF:
      c->vars[s->var] = (Ref){new_reg(c, s->e->t.lanes), CHANGES};
      expr(c, s->e, c->vars[s->var].reg);
      break;
    case ST_SET: expr(c, s->e, c->vars[s->var].reg); break;
    case ST_STORE: store(c, s); break;
  }
}

static void block(Compile *c, const Block *b) {
  for (const Stmt *s = b->first; s; s = s->next) statement(c, s);
}

/* The nest's REG buffers, each once. */
typedef struct Regs { Arena *arena; const Program *p; bool *seen; VEC(int) v; } Regs;

static void add_reg(Regs *r, int buf) {
  if (r->p->bufs[buf].sp != SP_REG || r->seen[buf]) return;
  r->seen[buf] = true;
  vec_push(r->arena, &r->v, buf);
}
static void add_load(void *user, const Expr *x) { if (x->kind == EX_LOAD) add_reg(user, x->buf); }
static void add_stmt(void *user, const Stmt *s) {
  if (s->kind == ST_STORE) add_reg(user, s->buf);
  stmt_exprs(s, add_load, user);
}

NestCode *nest_compile(Arena *arena, Program *meanings, const Program *p, const Nest *n, const RunBuf *bufs) {
  Compile *c = NEW(arena, Compile);
  *c = (Compile){.arena = arena, .meanings = meanings, .p = p, .bufs = bufs, .vars = NEWN(arena, Ref, n->n_vars)};
  block(c, &n->body);
  Level *top = &c->level[0];
  emit(c, 0, (Ins){.op = CODE_STOP, .lanes = 1});
  NestCode *code = NEW(arena, NestCode);
  *code = (NestCode){.ins = top->body.p, .cost = top->cost, .n_slots = c->n_slots};
  code->image = NEWN(arena, Slot, c->n_slots);
  for (int i = 0; i < c->consts.n; i++)
    for (int l = 0; l < c->consts.p[i].lanes; l++) code->image[c->consts.p[i].reg + l] = c->consts.p[i].v;
  Regs r = {.arena = arena, .p = p, .seen = NEWN(arena, bool, p->n_bufs)};
  stmt_visit(&n->body, add_stmt, &r);
  code->regs = r.v.p;
  code->n_regs = r.v.n;
  return code;
}
