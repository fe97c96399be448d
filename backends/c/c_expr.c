/* Expressions of one lane as C. */
#include "backends/c/c_print.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Rows of scalar.def over floats, and over codes where nothing can go wrong; help: what is called instead. */
const Row c_float_rows[SCALAR_COUNT] = {
  [S_ADD] = {"%a0 + %m1", PREC_ADD, 0, 0}, [S_SUB] = {"%a0 - %m1", PREC_ADD, 0, 0}, [S_MUL] = {"%m0 * %u1", PREC_MUL, 0, 0},
  [S_DIV] = {"%m0 / %u1", PREC_MUL, 0, 0}, [S_MOD] = {.help = HELP_MODF}, [S_FMOD] = {"fmod%f(%l0, %l1)", PREC_ATOM, 0, NEED_MATH},
  [S_MAX] = {.help = HELP_FMAX}, [S_MIN] = {.help = HELP_FMIN}, [S_NEG] = {"-%u0", PREC_LOOSE, 0, 0},
  [S_ABS] = {"fabs%f(%l0)", PREC_ATOM, 0, NEED_MATH}, [S_SIGN] = {.help = HELP_FSIGN},
  [S_FLOOR] = {"floor%f(%l0)", PREC_ATOM, 0, NEED_MATH}, [S_CEIL] = {"ceil%f(%l0)", PREC_ATOM, 0, NEED_MATH},
  [S_TRUNC] = {"trunc%f(%l0)", PREC_ATOM, 0, NEED_MATH}, [S_ROUND] = {"rint%f(%l0)", PREC_ATOM, 0, NEED_MATH},
  [S_SQRT] = {"sqrt%f(%l0)", PREC_ATOM, 0, NEED_MATH}, [S_EQ] = {.help = HELP_FEQ}, [S_LT] = {"%a0 < %a1", PREC_LOOSE, 0, 0},
  [S_LE] = {"%a0 <= %a1", PREC_LOOSE, 0, 0}, [S_ISNAN] = {"!(%a0 <= %a0)", PREC_UNARY, 0, 0}, [S_ISINF] = {.help = HELP_ISINF},
  [S_SELECT] = {"%u0 ? %u1 : %u2", PREC_LOOSE, HELP_SELECT, 0}, [S_BITS] = {.help = HELP_BITS}
};
const Row c_code_rows[SCALAR_COUNT] = {
  [S_ADD] = {"%a0 + %m1", PREC_ADD, 0, 0}, [S_SUB] = {"%a0 - %m1", PREC_ADD, 0, 0}, [S_MUL] = {"%m0 * %u1", PREC_MUL, 0, 0},
  [S_NEG] = {"-%u0", PREC_LOOSE, 0, 0}, [S_DIV] = {"%m0 / %u1", PREC_MUL, HELP_DIVS, 0},
  [S_MOD] = {"%m0 %% %u1", PREC_MUL, HELP_MODS, 0}, [S_FMOD] = {"%m0 %% %u1", PREC_MUL, HELP_FMODS, 0},
  [S_MAX] = {.help = HELP_MAX}, [S_MIN] = {.help = HELP_MIN}, [S_ABS] = {.help = HELP_ABS}, [S_SIGN] = {.help = HELP_SIGN},
  [S_AND] = {"%u0 & %u1", PREC_LOOSE, 0, 0}, [S_OR] = {"%u0 | %u1", PREC_LOOSE, 0, 0}, [S_XOR] = {"%u0 ^ %u1", PREC_LOOSE, 0, 0},
  [S_NOT] = {"~%u0", PREC_UNARY, 0, 0}, [S_SHL] = {"%q0 << %n1", PREC_LOOSE, HELP_SHL, 0},
  [S_SHR] = {"%u0 >> %n1", PREC_LOOSE, HELP_SHRS, 0}, [S_POP] = {.help = HELP_POP}, [S_EQ] = {"%a0 == %a1", PREC_LOOSE, 0, 0},
  [S_LT] = {"%a0 < %a1", PREC_LOOSE, 0, 0}, [S_LE] = {"%a0 <= %a1", PREC_LOOSE, 0, 0},
  [S_SELECT] = {"%u0 ? %u1 : %u2", PREC_LOOSE, HELP_SELECT, 0}, [S_BITS] = {.help = HELP_BITS}
};

static bool is_signed(Elem e) { return e.kind == EK_INT; }
static bool is_narrow(Elem e) { return e.bits < 32 && e.kind != EK_BOOL; }

/* Constants */

static void float_const(Printer *pr, Elem e, double v, Prec least) {
  if (!isfinite(v)) {
    uint64_t bits = 0;
    NType word = nt(UINTK(e.bits));
    if (e.bits == 32) { float f = (float)v; uint32_t w; memcpy(&w, &f, 4); bits = w; }
    else memcpy(&bits, &v, 8);
    str_printf(pr->o, "%s(", c_help(pr, HELP_BITS, nt(e), word, 0, NULL));
    str_printf(pr->o, e.bits == 32 ? "0x%" PRIx64 "u" : "UINT64_C(0x%" PRIx64 ")", bits);
    str_put(pr->o, ")");
    return;
  }
  Str s = {.ctx = pr->ctx};
  if (e.bits == 32) str_f32(&s, (float)v);
  else str_f64(&s, v);
  bool parens = s.p[0] == '-' && least > PREC_LOOSE;
  str_printf(pr->o, "%s%s%s%s%s", parens ? "(" : "", s.p, strpbrk(s.p, ".e") ? "" : ".0", e.bits == 32 ? "f" : "", parens ? ")" : "");
  str_free(&s);
}

static void code_const(Printer *pr, Elem e, int64_t v, Prec least) {
  bool named = v == INT64_MIN || (v == INT32_MIN && e.bits == 32);
  bool parens = v < 0 && e.kind == EK_INT && least > PREC_LOOSE && !named;
  if (parens) str_put(pr->o, "(");
  if (e.kind == EK_UINT && e.bits > 32) str_printf(pr->o, "UINT64_C(%" PRIu64 ")", (uint64_t)v);
  else if (e.kind == EK_UINT && e.bits == 32) str_printf(pr->o, "%" PRId64 "u", v);
  else if (v == INT64_MIN) str_put(pr->o, "INT64_MIN");
  else if (v == INT32_MIN && e.bits == 32) str_put(pr->o, "INT32_MIN");
  else if (e.bits > 32) str_printf(pr->o, v < 0 ? "-INT64_C(%" PRId64 ")" : "INT64_C(%" PRId64 ")", v < 0 ? -v : v);
  else str_printf(pr->o, "%" PRId64, v);
  if (parens) str_put(pr->o, ")");
}

void c_const(Printer *pr, NType t, Val v, Prec least) {
  if (t.lanes == 1 && c_is_ap(pr, t.e)) {
    str_printf(pr->o, "%s(", c_type(pr, t));
    code_const(pr, t.e, v.i, PREC_LOOSE);
    str_put(pr->o, ")");
    return;
  }
  if (t.lanes == 1) {
    if (elem_is_float(t.e)) float_const(pr, t.e, v.f, least);
    else code_const(pr, t.e, v.i, least);
    return;
  }
  str_printf(pr->o, "(%s){", c_type(pr, t));
  for (int i = 0; i < t.lanes; i++) {
    if (i) str_put(pr->o, ", ");
    if (elem_is_float(t.e)) float_const(pr, t.e, v.f, PREC_LOOSE);
    else code_const(pr, t.e.kind == EK_BOOL ? I8 : t.e, t.e.kind == EK_BOOL ? -v.i : v.i, PREC_LOOSE);
  }
  str_put(pr->o, "}");
}

const char *c_named(const Printer *pr, const Expr *x) {
  for (int i = 0; i < pr->named.n; i++) if (pr->named.p[i].x == x) return pr->named.p[i].name;
  return NULL;
}

/* Modular arithmetic */

static bool is_ring(const Expr *x) {
  return x->kind == EX_SCALAR && (x->s == S_ADD || x->s == S_SUB || x->s == S_MUL || x->s == S_NEG) && !elem_is_float(x->t.e);
}

/* Numbers that plain C arithmetic gives without overflow and, for narrow types, without counting on int's width. */
static bool fits(Printer *pr, const Expr *x) {
  Range r, most = {INT16_MIN, INT16_MAX, true};
  if (!c_exact(pr, x, &r)) return false;
  if (x->t.e.bits >= 32) most = c_elem_range(x->t.e);
  return r.lo >= most.lo && r.hi <= most.hi;
}

bool c_modular(Printer *pr, const Expr *x) {
  if (c_named(pr, x) || !is_ring(x) || x->t.lanes != 1 || x->t.e.kind == EK_BOOL || c_is_ap(pr, x->t.e)) return false;
  return (is_signed(x->t.e) || is_narrow(x->t.e)) && !fits(pr, x);
}

/* A constant addend, negated where the operation turns: a + (-3) prints as a - 3. */
static bool turns(const Expr *x, int64_t *v) {
  return x->kind == EX_SCALAR && (x->s == S_ADD || x->s == S_SUB) && nx_is_const(x->a[1], v) && is_signed(x->t.e) && *v < 0 &&
         *v > INT64_MIN && !(x->t.e.bits == 32 && *v == INT32_MIN);
}

static void unsigned_const(Printer *pr, Elem e, int64_t v) {
  if (e.bits > 32) str_printf(pr->o, "UINT64_C(%" PRIu64 ")", (uint64_t)v);
  else str_printf(pr->o, "%" PRIu32 "u", (uint32_t)v);
}

void c_unsigned_expr(Printer *pr, const Expr *x, Prec least) {
  int64_t v;
  if (nx_is_const(x, &v)) { unsigned_const(pr, x->t.e, v); return; }
  if (x->kind == EX_VAR && pr->modular && pr->modular[x->var]) {
    str_put(pr->o, c_local(pr, pr->nest->vars[x->var].name));
    return;
  }
  bool native_unsigned = x->t.e.kind == EK_UINT && !is_narrow(x->t.e) && !c_is_ap(pr, x->t.e);
  if (native_unsigned) { c_expr(pr, x, least); return; }
  if (!c_modular(pr, x)) {
    /* gcc's -Wsign-conversion warns of (uint32_t)x next to a wider operand where x is int8_t or int16_t, but not of x + 0 */
    const Expr *y = x->kind == EX_SCALAR && x->s == S_CAST && !c_named(pr, x) ? x->a[0] : x;
    bool extends = x->t.e.bits <= 32 && is_narrow(y->t.e) && is_signed(y->t.e) && !c_is_ap(pr, y->t.e);
    str_printf(pr->o, extends ? "(%s)(" : "(%s)", c_unsigned(pr, x->t));
    c_expr(pr, extends ? y : x, extends ? PREC_ADD : PREC_UNARY);
    if (extends) str_put(pr->o, " + 0)");
    return;
  }
  Prec own = x->s == S_MUL ? PREC_MUL : PREC_ADD;
  bool parens = own < least;
  if (parens) str_put(pr->o, "(");
  if (x->s == S_NEG) str_put(pr->o, "0u");
  else c_unsigned_expr(pr, x->a[0], own);
  bool minus = x->s == S_SUB || x->s == S_NEG;
  if (turns(x, &v)) {
    str_put(pr->o, minus ? " + " : " - ");
    unsigned_const(pr, x->t.e, -v);
  } else {
    str_put(pr->o, x->s == S_MUL ? " * " : minus ? " - " : " + ");
    c_unsigned_expr(pr, x->a[x->s == S_NEG ? 0 : 1], x->s == S_MUL ? PREC_UNARY : PREC_MUL);
  }
  if (parens) str_put(pr->o, ")");
}

/* Rows */

/* True where the plain spelling of this code row is defined and means the row. */
static bool is_plain(Printer *pr, const Expr *x) {
  Range a = c_range(pr, x->a[0]), b = x->n > 1 ? c_range(pr, x->a[1]) : a;
  bool sign = is_signed(x->t.e);
  int64_t k;
  switch ((int)x->s) {
    case S_DIV: case S_FMOD: case S_MOD: {
      bool zero = !b.known || (b.lo <= 0 && b.hi >= 0), minus = sign && b.lo <= -1 && b.hi >= -1;
      if (!b.known && nx_is_const(x->a[1], &k)) zero = k == 0;
      if (zero || (minus && a.lo <= elem_lo(x->t.e))) return false;
      return x->s != S_MOD || !sign || (a.known && a.lo >= 0 && b.lo > 0);
    }
    case S_SHL: return b.known && b.lo >= 0 && b.hi < x->t.e.bits;
    case S_SHR: return b.known && b.lo >= 0 && b.hi < x->t.e.bits && (!sign || (a.known && a.lo >= 0));
    default: return true;
  }
}

typedef struct Find { bool load; } Find;
static void find_load(void *user, const Expr *x) {
  if (x->kind == EX_LOAD || x->kind == EX_COND) ((Find *)user)->load = true;
}

/* SELECT evaluates both sides: loads go to a function's arguments, so that compilers need not branch around them. */
static bool has_load(const Expr *x) {
  Find f = {false};
  for (int i = 1; i < x->n; i++) expr_visit(x->a[i], find_load, &f);
  return f.load;
}

/* Compilers warn of comparisons with a constant at an end of the operand's type, or beyond: those are called. */
static Help decided(const Expr *x) {
  bool edge = false;
  for (int i = 0; i < 2 && x->n == 2; i++) {
    Elem e = x->a[i]->t.e;
    int64_t v;
    if (nx_is_const(x->a[1 - i], &v)) edge = edge || v <= elem_lo(e) || v >= elem_hi(e) || (e.kind == EK_UINT && v < 0);
  }
  return !edge ? HELP_NONE : x->s == S_LT ? HELP_LT : x->s == S_LE ? HELP_LE : HELP_EQ;
}

Help c_unsigned_help(Help h) {
  return h == HELP_DIVS ? HELP_DIVU : h == HELP_MODS || h == HELP_FMODS ? HELP_MODU : h == HELP_SHRS ? HELP_SHRU :
         h == HELP_SIGN ? HELP_SIGNU : h;
}

static Row code_cast(Printer *pr, const Expr *x) {
  Elem from = x->a[0]->t.e, to = x->t.e;
  if (to.kind == EK_BOOL && !elem_is_float(from)) return (Row){"%a0 != 0", PREC_LOOSE, 0, 0};
  if (to.kind == EK_BOOL) return (Row){"!(%a0 <= 0 && %a0 >= 0)", PREC_UNARY, 0, 0};
  if (elem_is_float(from) && !elem_is_float(to)) return (Row){.help = HELP_SAT};
  if (c_is_ap(pr, to)) return (Row){"%t(%l0)", PREC_ATOM, 0, 0};
  return (Row){"(%t)%u0", PREC_UNARY, 0, 0};
}

/* The spelling of a scalar expression of one lane. */
static Row pick(Printer *pr, const Expr *x) {
  const Expr *first = x->a[x->s == S_SELECT ? 1 : 0];
  Elem e = first->t.e;
  if (x->s == S_CAST) return code_cast(pr, x);
  if (x->s == S_BITS && !elem_is_float(e) && !elem_is_float(x->t.e)) return (Row){"(%t)%u0", PREC_UNARY, 0, 0};
  Row r = elem_is_float(e) ? c_float_rows[x->s] : c_code_rows[x->s];
  if (x->s == S_BITS) return r;
  if (x->s == S_SELECT) {
    if (has_load(x) && !c_is_ap(pr, e)) return (Row){.help = HELP_SELECT};
    r.help = HELP_NONE;
  }
  if (elem_is_float(e)) return r;
  if (e.kind == EK_UINT || e.kind == EK_BOOL) r.help = c_unsigned_help(r.help);
  if ((e.kind == EK_UINT || e.kind == EK_BOOL) && x->s == S_ABS) return (Row){"%l0", PREC_LOOSE, 0, 0};
  if (e.kind == EK_BOOL && x->s == S_NOT) return (Row){"!%u0", PREC_UNARY, 0, 0};
  if (!r.text || (r.help && !is_plain(pr, x))) return (Row){.help = r.help};
  r.help = HELP_NONE;
  bool test = scalar_info[x->s].result == 'B';
  if (test && decided(x)) return (Row){.help = decided(x)};
  if (test || x->t.e.kind == EK_BOOL) return r;
  if (c_is_ap(pr, x->t.e)) {
    r = (Row){arena_printf(pr->arena, "%%t(%s)", x->s == S_SHL ? "%u0 << %n1" : r.text), PREC_ATOM, 0, 0};
  } else if (is_narrow(x->t.e) || (x->s == S_SHL && is_signed(x->t.e))) {
    r = (Row){arena_printf(pr->arena, "(%%t)(%s)", r.text), PREC_UNARY, 0, 0};
  }
  return r;
}

static void count_print(Printer *pr, const Expr *x) {
  int64_t v;
  if (nx_is_const(x, &v)) str_printf(pr->o, "%" PRId64, v);
  else if (c_is_ap(pr, x->t.e)) { str_put(pr->o, "(int)"); c_expr(pr, x, PREC_UNARY); }
  else c_expr(pr, x, PREC_UNARY);
}

static void operand_print(Printer *pr, const Expr *x, char level, int k) {
  const Expr *a = x->a[k];
  switch (level) {
    case 'l': c_expr(pr, a, PREC_LOOSE); break;
    case 'a': c_expr(pr, a, PREC_ADD); break;
    case 'm': c_expr(pr, a, PREC_MUL); break;
    case 'u': c_expr(pr, a, PREC_UNARY); break;
    case 'x': c_expr(pr, a, PREC_ATOM); break;
    case 'n': count_print(pr, a); break;
    case 'q': c_unsigned_expr(pr, a, PREC_UNARY); break;
    default: assert(!"a level of operands");
  }
}

void c_text(Printer *pr, const Expr *x, const char *text) {
  for (const char *c = text; *c; c++) {
    if (*c != '%') { str_putn(pr->o, c, 1); continue; }
    switch (*++c) {
      case '%': str_put(pr->o, "%"); break;
      case 't': str_put(pr->o, c_type(pr, x->t)); break;
      case 'o': str_put(pr->o, c_type(pr, x->a[0]->t)); break;
      case 'U': str_put(pr->o, c_unsigned(pr, x->t)); break;
      case 'M': str_put(pr->o, c_mask(pr, x->a[0]->t)); break;
      case 'f': str_put(pr->o, x->a[0]->t.e.bits == 32 ? "f" : ""); break;
      default: operand_print(pr, x, c[0], c[1] - '0'); c++; break;
    }
  }
}

static void row_print(Printer *pr, const Expr *x, Row r, Prec least) {
  pr->needs |= r.needs;
  if (r.help) {
    const Expr *first = x->a[x->s == S_SELECT ? 1 : 0];
    str_printf(pr->o, "%s(", c_help(pr, r.help, x->t, first->t, 0, NULL));
    for (int i = 0; i < x->n; i++) {
      if (i) str_put(pr->o, ", ");
      c_expr(pr, x->a[i], PREC_LOOSE);
    }
    str_put(pr->o, ")");
    return;
  }
  int64_t v;
  bool parens = r.prec < least;
  if (parens) str_put(pr->o, "(");
  if (turns(x, &v) && !c_is_ap(pr, x->t.e) && !is_narrow(x->t.e)) {
    c_expr(pr, x->a[0], PREC_ADD);
    str_put(pr->o, x->s == S_ADD ? " - " : " + ");
    code_const(pr, x->t.e, -v, PREC_MUL);
  } else {
    c_text(pr, x, r.text);
  }
  if (parens) str_put(pr->o, ")");
}

static void modular_print(Printer *pr, const Expr *x, Prec least) {
  bool parens = least > PREC_UNARY;
  str_printf(pr->o, parens ? "((%s)(" : "(%s)(", c_type(pr, x->t));
  c_unsigned_expr(pr, x, PREC_LOOSE);
  str_put(pr->o, parens ? "))" : ")");
}

static void var_print(Printer *pr, const Expr *x, Prec least) {
  const char *name = c_local(pr, pr->nest->vars[x->var].name);
  if (!pr->modular || !pr->modular[x->var]) { str_put(pr->o, name); return; }
  str_printf(pr->o, least > PREC_UNARY ? "((%s)%s)" : "(%s)%s", c_type(pr, x->t), name);
}

static void load_print(Printer *pr, const Expr *x) {
  const Buf *b = &pr->p->bufs[x->buf];
  bool rom = b->sp == SP_ROM;
  str_put(pr->o, rom ? c_rom_name(pr, x->buf) : c_local(pr, b->name));
  if (rom && pr->words[x->buf]) str_put(pr->o, ".e");
  str_put(pr->o, "[");
  c_expr(pr, x->a[0], PREC_LOOSE);
  str_put(pr->o, "]");
}

static void cond_print(Printer *pr, const Expr *x, Prec least) {
  bool narrow = is_narrow(x->t.e) && !elem_is_float(x->t.e);
  bool parens = narrow ? least > PREC_UNARY : least > PREC_LOOSE;
  if (parens) str_put(pr->o, "(");
  if (narrow) str_printf(pr->o, "(%s)(", c_type(pr, x->t));
  c_text(pr, x, "%u0 ? %u1 : %u2");
  if (narrow) str_put(pr->o, ")");
  if (parens) str_put(pr->o, ")");
}

void c_expr(Printer *pr, const Expr *x, Prec least) {
  bool lanes = x->t.lanes > 1;
  const char *name = c_named(pr, x);
  if (name) { str_put(pr->o, name); return; }
  for (int i = 0; i < x->n; i++) lanes = lanes || x->a[i]->t.lanes > 1;
  if (lanes || x->kind == EX_INTRIN || x->kind == EX_DOT) { c_lanes(pr, x, least); return; }
  switch (x->kind) {
    case EX_CONST: c_const(pr, x->t, x->value, least); break;
    case EX_VAR: var_print(pr, x, least); break;
    case EX_LOAD: load_print(pr, x); break;
    case EX_COND: cond_print(pr, x, least); break;
    case EX_SCALAR:
      if (c_modular(pr, x)) modular_print(pr, x, least);
      else row_print(pr, x, pick(pr, x), least);
      break;
    case EX_LUT3:
      str_put(pr->o, c_help(pr, HELP_LUT3, x->t, x->t, x->imm, NULL));
      c_text(pr, x, "(%l0, %l1, %l2)");
      break;
    case EX_SPLAT: case EX_HRED: case EX_PERM: c_expr(pr, x->a[0], least); break; /* of one lane */
    default: c_lanes(pr, x, least); break;
  }
}
