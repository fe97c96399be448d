/* Programs as text: printing. The grammar, which nest_parse.c reads:
 *
 *   file    := "popshift.program" "1" "program" "@"NAME "index" ("i32"|"i64") ["exact"] ["no_multiply"] "{" item* "}"
 *   item    := buffer | "plan" INT "bound" INT | nest | "run" NAME          ; bytes of the arena, and of its lower bound
 *   buffer  := ("in"|"out") NAME ":" array [part] "port" INT STRING ELEM "[" INT,* "]"
 *            | "rom" NAME ":" array [part] "=" ("{" NUM,* "}" | "hex" STRING+)   ; hex: little-endian bytes
 *            | "arena" NAME ":" array [part] ["at" INT]
 *            | "reg" NAME ":" array [part]
 *   array   := ELEM "[" INT "]"
 *   part    := "part" ("complete" | "cyclic" INT)
 *   nest    := "nest" NAME [STRING] block          ; the location comment, `; node 5 "fc1" (Conv)`, follows the "{"
 *   block   := "{" stmt* "}"
 *   stmt    := "for" NAME expr ".." expr ["step" INT] ["max" INT] [MARK] ["ii" INT] block
 *            | "if" expr block ["else" block]
 *            | ("let"|"var") NAME ":" TYPE "=" expr
 *            | NAME ":=" expr
 *            | NAME "[" expr [":" LANES] "]" ":=" expr
 *   expr    := NUM | TYPE "(" NUM ")"              ; bare where the place tells the type (see below)
 *            | NAME | NAME "[" expr [":" LANES] "]"
 *            | ROW "(" expr,+ ")"                  ; a row of scalar.def
 *            | ("cast"|"bits") "<" ELEM ">" "(" expr ")" | "splat" "<" LANES ">" "(" expr ")" | "hred" "(" expr ")"
 *            | "cond" "(" expr "," expr "," expr ")" | "dot" "(" expr "," expr "," expr ")"
 *            | "lut3" "<" INT ">" "(" expr "," expr "," expr ")" | "shuf" "(" expr "," expr ")"
 *            | "perm" "<" INT,+ ">" "(" expr ["," expr] ")" | "relane" "<" ELEM ">" "(" expr ")" | "mask" "(" expr ")"
 *            | "@"INTRIN "(" expr,* ")" | "$"DIGIT   ; $: in intrin.def only
 *   TYPE    := ELEM ["x" LANES]                    ; f32, u8x64
 *
 * The place tells the type of loop bounds and indices (the index type), conditions (bool), what is stored or set, and, within
 * an operation, of operands whose type is that of the result or of the first operand (expr_wants). Numbers of f32 and f64 are
 * shortest decimals, inf, nan, or nan:HEX for NaNs of other bits than 0x7ff8000000000000 (as binary64).
 * A ";" begins a comment up to the end of the line. */
#include "ir/nest_impl.h"

#include <inttypes.h>
#include <string.h>

const char *const space_names[SP_REG + 1] = {
  [SP_IN] = "in", [SP_OUT] = "out", [SP_ROM] = "rom", [SP_ARENA] = "arena", [SP_REG] = "reg"
};

/* What operand i of x must be for its constants to go bare, from x's own wanted type and the operands before it;
 * lanes 0: unknown, the type is written. */
NType expr_wants(const Expr *x, NType own, int i, Elem index) {
  static const NType unknown = {{0, 0}, 0};
  NType first = i ? x->a[0]->t : unknown;
  switch (x->kind) {
    case EX_LOAD: return nt(index);
    case EX_SCALAR:
      if (x->s == S_CAST || x->s == S_BITS) return unknown;
      if (x->s == S_SELECT) return i == 0 ? (own.lanes ? ntv(BOOL, own.lanes) : unknown) : own.lanes || i == 1 ? own : x->a[1]->t;
      return scalar_info[x->s].result == 'A' && own.lanes ? own : first;
    case EX_COND: return i == 0 ? nt(BOOL) : own.lanes || i == 1 ? own : x->a[1]->t;
    case EX_SPLAT: return own.lanes ? nt(own.e) : unknown;
    case EX_DOT: return i == 0 ? own : unknown;
    case EX_LUT3: case EX_SHUF: return own.lanes ? own : first;
    case EX_INTRIN: return intrins[x->imm].arg[i];
    case EX_CONST: case EX_VAR: case EX_HRED: case EX_PERM: case EX_RELANE: case EX_MASK: return unknown;
  }
  return unknown;
}

void ntype_print(Str *s, NType t) {
  elem_print(s, t.e);
  if (t.lanes != 1) str_printf(s, "x%d", t.lanes);
}

static void number_print(Str *s, Elem e, Val v) {
  uint64_t bits;
  memcpy(&bits, &v.f, 8);
  if (!elem_is_float(e)) {
    if (e.kind == EK_UINT) str_printf(s, "%" PRIu64, (uint64_t)v.i);
    else str_printf(s, "%" PRId64, v.i);
  } else if (v.f != v.f && bits != UINT64_C(0x7ff8000000000000)) {
    str_printf(s, "nan:%" PRIx64, bits);
  } else if (e.bits == 32) {
    str_f32(s, (float)v.f);
  } else {
    str_f64(s, v.f);
  }
}

typedef struct Out { Str *s; const Program *p; const Nest *n; } Out;

static void expr_print(const Out *o, const Expr *x, NType want);

static void operands_print(const Out *o, const Expr *x, NType want) {
  str_put(o->s, "(");
  for (int i = 0; i < x->n; i++) {
    if (i) str_put(o->s, ", ");
    expr_print(o, x->a[i], expr_wants(x, want, i, o->p->index));
  }
  str_put(o->s, ")");
}

static void access_print(const Out *o, int buf, const Expr *index, int lanes) {
  str_printf(o->s, "%s[", o->p->bufs[buf].name);
  expr_print(o, index, nt(o->p->index));
  if (lanes != 1) str_printf(o->s, ":%d", lanes);
  str_put(o->s, "]");
}

static void head_print(const Out *o, const Expr *x) {
  switch (x->kind) {
    case EX_SCALAR:
      str_put(o->s, scalar_info[x->s].name);
      if (x->s == S_CAST || x->s == S_BITS) { str_put(o->s, "<"); elem_print(o->s, x->t.e); str_put(o->s, ">"); }
      break;
    case EX_COND: str_put(o->s, "cond"); break;
    case EX_SPLAT: str_printf(o->s, "splat<%d>", x->t.lanes); break;
    case EX_HRED: str_put(o->s, "hred"); break;
    case EX_DOT: str_put(o->s, "dot"); break;
    case EX_LUT3: str_printf(o->s, "lut3<%d>", x->imm); break;
    case EX_SHUF: str_put(o->s, "shuf"); break;
    case EX_MASK: str_put(o->s, "mask"); break;
    case EX_RELANE:
      str_put(o->s, "relane<");
      elem_print(o->s, x->t.e);
      str_put(o->s, ">");
      break;
    case EX_PERM:
      str_put(o->s, "perm<");
      for (int i = 0; i < x->t.lanes; i++) str_printf(o->s, i ? ",%d" : "%d", x->perm[i]);
      str_put(o->s, ">");
      break;
    case EX_INTRIN: str_printf(o->s, "@%s", intrins[x->imm].name); break;
    case EX_CONST: case EX_VAR: case EX_LOAD: break;
  }
}

static void expr_print(const Out *o, const Expr *x, NType want) {
  if (x->kind == EX_CONST) {
    bool bare = nt_same(x->t, want);
    if (!bare) { ntype_print(o->s, x->t); str_put(o->s, "("); }
    number_print(o->s, x->t.e, x->value);
    if (!bare) str_put(o->s, ")");
  } else if (x->kind == EX_VAR) {
    str_put(o->s, o->n->vars[x->var].name);
  } else if (x->kind == EX_LOAD) {
    access_print(o, x->buf, x->a[0], x->t.lanes);
  } else {
    head_print(o, x);
    operands_print(o, x, want);
  }
}

int64_t const_trips(const Stmt *s) {
  int64_t lo, hi;
  if (s->step < 1 || !nx_is_const(s->e, &lo) || !nx_is_const(s->e2, &hi)) return -1;
  return hi > lo ? (hi - lo - 1) / s->step + 1 : 0;
}

/* The statement without its blocks and line end: also for messages of the interpreter. */
static void line_print(const Out *o, const Stmt *s) {
  const Var *v = s->var >= 0 ? &o->n->vars[s->var] : NULL;
  NType index = nt(o->p->index);
  switch (s->kind) {
    case ST_FOR:
      str_printf(o->s, "for %s ", v->name);
      expr_print(o, s->e, index);
      str_put(o->s, "..");
      expr_print(o, s->e2, index);
      if (s->step != 1) str_printf(o->s, " step %" PRId64, s->step);
      if (s->max != const_trips(s)) str_printf(o->s, " max %" PRId64, s->max);
      if (s->mark != MARK_SERIAL) str_printf(o->s, " %s", mark_names[s->mark]);
      if (s->ii) str_printf(o->s, " ii %d", s->ii);
      break;
    case ST_IF:
      str_put(o->s, "if ");
      expr_print(o, s->e, nt(BOOL));
      break;
    case ST_LET: case ST_VARDEF:
      str_printf(o->s, "%s %s: ", s->kind == ST_LET ? "let" : "var", v->name);
      ntype_print(o->s, v->t);
      str_put(o->s, " = ");
      expr_print(o, s->e, v->t);
      break;
    case ST_SET:
      str_printf(o->s, "%s := ", v->name);
      expr_print(o, s->e, v->t);
      break;
    case ST_STORE:
      access_print(o, s->buf, s->e2, s->e->t.lanes);
      str_put(o->s, " := ");
      expr_print(o, s->e, s->e->t);
      break;
  }
}

void stmt_line_print(Str *s, const Program *p, const Nest *n, const Stmt *st) {
  line_print(&(Out){s, p, n}, st);
}

static void block_print(const Out *o, const Block *b, int indent) {
  for (const Stmt *s = b->first; s; s = s->next) {
    str_printf(o->s, "%*s", indent, "");
    line_print(o, s);
    if (s->kind == ST_FOR || s->kind == ST_IF) {
      str_put(o->s, " {\n");
      block_print(o, &s->body, indent + 2);
      if (s->other.first) {
        str_printf(o->s, "%*s} else {\n", indent, "");
        block_print(o, &s->other, indent + 2);
      }
      str_printf(o->s, "%*s}", indent, "");
    }
    str_put(o->s, "\n");
  }
}

static void loc_print(Str *s, const Loc *l) {
  if (l->node < 0 && !l->name && !l->op) return;
  str_put(s, " ;");
  if (l->node >= 0) str_printf(s, " node %d", l->node);
  if (l->name) { str_put(s, " "); str_quoted(s, l->name); }
  if (!l->op) return;
  bool plain = l->op[0] && !l->op[strspn(l->op, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")];
  str_put(s, " (");
  if (plain) str_put(s, l->op);
  else str_quoted(s, l->op);
  str_put(s, ")");
}

void nest_print(Str *s, const Program *p, const Nest *n) {
  str_printf(s, "  nest %s ", n->name);
  if (n->note) { str_quoted(s, n->note); str_put(s, " "); }
  str_put(s, "{");
  loc_print(s, &n->loc);
  str_put(s, "\n");
  block_print(&(Out){s, p, n}, &n->body, 4);
  str_put(s, "  }\n");
}

Val store_get(Store st, const void *data, int64_t i) {
  Val v = {0};
  switch (st) {
    case ST_F32: v.f = (double)((const float *)data)[i]; break;
    case ST_F64: v.f = ((const double *)data)[i]; break;
    case ST_I8: v.i = ((const int8_t *)data)[i]; break;
    case ST_U8: v.i = ((const uint8_t *)data)[i]; break;
    case ST_I16: v.i = ((const int16_t *)data)[i]; break;
    case ST_U16: v.i = ((const uint16_t *)data)[i]; break;
    case ST_I32: v.i = ((const int32_t *)data)[i]; break;
    case ST_U32: v.i = ((const uint32_t *)data)[i]; break;
    case ST_I64: v.i = ((const int64_t *)data)[i]; break;
    case ST_U64: v.i = (int64_t)((const uint64_t *)data)[i]; break;
  }
  return v;
}

void store_set(Store st, void *data, int64_t i, Val v) {
  switch (st) {
    case ST_F32: ((float *)data)[i] = (float)v.f; break;
    case ST_F64: ((double *)data)[i] = v.f; break;
    case ST_I8: ((int8_t *)data)[i] = (int8_t)v.i; break;
    case ST_U8: ((uint8_t *)data)[i] = (uint8_t)v.i; break;
    case ST_I16: ((int16_t *)data)[i] = (int16_t)v.i; break;
    case ST_U16: ((uint16_t *)data)[i] = (uint16_t)v.i; break;
    case ST_I32: ((int32_t *)data)[i] = (int32_t)v.i; break;
    case ST_U32: ((uint32_t *)data)[i] = (uint32_t)v.i; break;
    case ST_I64: ((int64_t *)data)[i] = v.i; break;
    case ST_U64: ((uint64_t *)data)[i] = (uint64_t)v.i; break;
  }
}

/* Little-endian bytes, element by element, 32 a line. */
static void hex_print(Str *s, const Buf *b) {
  static const char digits[] = "0123456789abcdef";
  size_t size = store_size(elem_store(b->e)), total = (size_t)b->n * size;
  str_put(s, "hex");
  for (size_t at = 0; at < total; at += 32) {
    char line[65];
    size_t k = 0;
    for (size_t i = at; i < total && i < at + 32; i++) {
      uint64_t word = 0;
      if (size == 1) word = ((const uint8_t *)b->rom)[i];
      else if (size == 2) word = ((const uint16_t *)b->rom)[i / 2];
      else if (size == 4) word = ((const uint32_t *)b->rom)[i / 4];
      else word = ((const uint64_t *)b->rom)[i / 8];
      unsigned byte = (unsigned)(word >> 8 * (i % size)) & 255;
      line[k++] = digits[byte >> 4];
      line[k++] = digits[byte & 15];
    }
    line[k] = 0;
    str_printf(s, "\n    \"%s\"", line);
  }
}

/* Up to 16 elements inline; NaNs keep their bits as hex only. */
static void rom_print(Str *s, const Buf *b) {
  bool hex = b->n > 16;
  for (int64_t i = 0; !hex && elem_is_float(b->e) && i < b->n; i++) {
    double v = store_get(elem_store(b->e), b->rom, i).f;
    hex = v != v;
  }
  str_put(s, " = ");
  if (hex) { hex_print(s, b); return; }
  str_put(s, "{");
  for (int64_t i = 0; i < b->n; i++) {
    if (i) str_put(s, ", ");
    Val v = store_get(elem_store(b->e), b->rom, i);
    number_print(s, b->e, v);
  }
  str_put(s, "}");
}

static void port_print(Str *s, const Port *ports, int n, int buf) {
  for (int i = 0; i < n; i++) {
    if (ports[i].buf != buf) continue;
    str_printf(s, " port %d ", i);
    str_quoted(s, ports[i].name);
    str_put(s, " ");
    elem_print(s, ports[i].t.e);
    str_put(s, "[");
    for (int k = 0; k < ports[i].t.rank; k++) str_printf(s, k ? ",%" PRId64 : "%" PRId64, ports[i].t.d[k].n);
    str_put(s, "]");
  }
}

static void buf_print(Str *s, const Program *p, int i) {
  const Buf *b = &p->bufs[i];
  str_printf(s, "  %s %s : ", space_names[b->sp], b->name);
  elem_print(s, b->e);
  str_printf(s, "[%" PRId64 "]", b->n);
  if (b->part.kind == PART_COMPLETE) str_put(s, " part complete");
  if (b->part.kind == PART_CYCLIC) str_printf(s, " part cyclic %d", b->part.factor);
  if (b->sp == SP_IN) port_print(s, p->ins, p->n_ins, i);
  if (b->sp == SP_OUT) port_print(s, p->outs, p->n_outs, i);
  if (b->keep) str_put(s, " keep");
  if (b->sp == SP_ARENA && b->off >= 0) str_printf(s, " at %" PRId64, b->off);
  if (b->sp == SP_ROM) rom_print(s, b);
  str_put(s, "\n");
}

void program_print(Str *s, const Program *p) {
  str_printf(s, "popshift.program 1\nprogram @%s index ", p->name);
  elem_print(s, p->index);
  str_printf(s, "%s%s {\n", p->exact ? " exact" : "", p->no_multiply ? " no_multiply" : "");
  for (int i = 0; i < p->n_bufs; i++) buf_print(s, p, i);
  if (p->arena_bytes >= 0) str_printf(s, "  plan %" PRId64 " bound %" PRId64 "\n", p->arena_bytes, p->arena_bound);
  for (int i = 0; i < p->n_nests; i++) nest_print(s, p, p->nests[i]);
  for (int i = 0; i < p->n_inits; i++) str_printf(s, "  init %s\n", p->nests[p->inits[i]]->name);
  for (int i = 0; i < p->n_steps; i++) str_printf(s, "  run %s\n", p->nests[p->steps[i]]->name);
  str_put(s, "}\n");
}
