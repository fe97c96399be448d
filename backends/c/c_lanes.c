/* Expressions over several lanes as GNU vectors. Lanes of bool are masks, 0 or -1: int8_t lanes in variables, at the width
 * of the operands next to comparisons and selects. */
#include "backends/c/c_print.h"

#include <inttypes.h>

static void mask_const(Printer *pr, int lanes, int bits, int64_t v) {
  c_const(pr, ntv(INTK(bits), lanes), (Val){.i = v ? -1 : 0}, PREC_ATOM);
}

static int natural_bits(const Expr *x) {
  bool test = x->kind == EX_SCALAR && (scalar_info[x->s].result == 'B' || x->s == S_CAST);
  Elem e = test ? x->a[0]->t.e : BOOL;
  return e.kind == EK_BOOL ? 8 : e.bits;
}

/* A vector operand; bool as masks of 8 bits. */
static void lane_operand(Printer *pr, const Expr *x) {
  if (x->t.e.kind == EK_BOOL) c_mask_expr(pr, x, 8);
  else c_expr(pr, x, PREC_UNARY);
}

static void compare_print(Printer *pr, const Expr *x, const char *op) {
  str_printf(pr->o, "(%s)(", c_mask(pr, x->a[0]->t));
  lane_operand(pr, x->a[0]);
  str_put(pr->o, op);
  lane_operand(pr, x->a[1]);
  str_put(pr->o, ")");
}

static void against(Printer *pr, const Expr *a, const char *op, Val v) {
  str_printf(pr->o, "(%s)(", c_mask(pr, a->t));
  lane_operand(pr, a);
  str_put(pr->o, op);
  c_const(pr, a->t, v, PREC_ATOM);
  str_put(pr->o, ")");
}

static void test_print(Printer *pr, const Expr *x) {
  const Expr *a = x->a[0];
  bool real = elem_is_float(a->t.e);
  double most = a->t.e.bits == 32 ? 3.4028234663852886e38 : 1.7976931348623157e308;
  Val zero = {.i = 0};
  if (real) zero.f = 0;
  switch ((int)x->s) {
    case S_LT: compare_print(pr, x, a->t.e.kind == EK_BOOL ? " > " : " < "); break; /* true is -1 */
    case S_LE: compare_print(pr, x, a->t.e.kind == EK_BOOL ? " >= " : " <= "); break;
    case S_EQ:
      if (!real) { compare_print(pr, x, " == "); break; }
      compare_print(pr, x, " <= ");
      str_put(pr->o, " & ");
      compare_print(pr, x, " >= ");
      break;
    case S_ISNAN:
      str_printf(pr->o, "~(%s)(", c_mask(pr, a->t));
      lane_operand(pr, a);
      str_put(pr->o, " <= ");
      lane_operand(pr, a);
      str_put(pr->o, ")");
      break;
    case S_ISINF:
      against(pr, a, " > ", (Val){.f = most});
      str_put(pr->o, " | ");
      against(pr, a, " < ", (Val){.f = -most});
      break;
    default: /* cast to bool; a NaN is true */
      if (!real) { against(pr, a, " != ", zero); break; }
      str_put(pr->o, "~(");
      against(pr, a, " <= ", zero);
      str_put(pr->o, " & ");
      against(pr, a, " >= ", zero);
      str_put(pr->o, ")");
      break;
  }
}

static bool is_test(const Expr *x) {
  return x->kind == EX_SCALAR && (scalar_info[x->s].result == 'B' || (x->s == S_CAST && x->a[0]->t.e.kind != EK_BOOL));
}

void c_mask_expr(Printer *pr, const Expr *x, int bits) {
  int64_t v = x->value.i;
  if (x->kind == EX_CONST) { mask_const(pr, x->t.lanes, bits, v); return; }
  bool both = x->kind == EX_SCALAR && (x->s == S_AND || x->s == S_OR || x->s == S_XOR || x->s == S_MAX || x->s == S_MIN);
  if (both || (x->kind == EX_SCALAR && x->s == S_NOT)) {
    str_put(pr->o, x->s == S_NOT ? "(~" : "(");
    c_mask_expr(pr, x->a[0], bits);
    if (both) {
      str_put(pr->o, x->s == S_XOR ? " ^ " : x->s == S_OR || x->s == S_MAX ? " | " : " & ");
      c_mask_expr(pr, x->a[1], bits);
    }
    str_put(pr->o, ")");
    return;
  }
  int own = natural_bits(x);
  if (own != bits) str_printf(pr->o, "%s(", c_help(pr, HELP_RESIZE, ntv(INTK(bits), x->t.lanes), ntv(INTK(own), x->t.lanes), 0, NULL));
  if (is_test(x)) {
    str_put(pr->o, "(");
    test_print(pr, x);
    str_put(pr->o, ")");
  } else {
    c_expr(pr, x, PREC_UNARY);
  }
  if (own != bits) str_put(pr->o, ")");
}

/* Scalar rows */

static void call(Printer *pr, const Expr *x, Help help, NType from, int imm) {
  str_printf(pr->o, "%s(", c_help(pr, help, x->t, from, imm, x->perm));
  for (int i = 0; i < x->n; i++) {
    if (i) str_put(pr->o, ", ");
    if (x->a[i]->t.lanes > 1) lane_operand(pr, x->a[i]);
    else c_expr(pr, x->a[i], PREC_LOOSE);
  }
  str_put(pr->o, ")");
}

static void cast_print(Printer *pr, const Expr *x) {
  const Expr *a = x->a[0];
  Elem from = a->t.e, to = x->t.e;
  const char *t = c_type(pr, x->t);
  if (from.kind == EK_BOOL) {
    str_put(pr->o, elem_is_float(to) ? "__builtin_convertvector(-(" : "(");
    if (!elem_is_float(to)) str_printf(pr->o, "(%s)-(", t);
    c_mask_expr(pr, a, to.bits);
    if (elem_is_float(to)) str_printf(pr->o, "), %s)", t);
    else str_put(pr->o, "))");
  } else if (elem_is_float(from) && !elem_is_float(to)) {
    call(pr, x, HELP_SAT, a->t, 0);
  } else if (from.bits == to.bits) {
    bool kinds = elem_is_float(from) == elem_is_float(to);
    str_printf(pr->o, kinds ? "((%s)" : "__builtin_convertvector(", t);
    c_expr(pr, a, kinds ? PREC_UNARY : PREC_LOOSE);
    if (kinds) str_put(pr->o, ")");
    else str_printf(pr->o, ", %s)", t);
  } else if (!elem_is_float(from) && !elem_is_float(to)) {
    call(pr, x, HELP_RESIZE, a->t, 0);
  } else {
    str_put(pr->o, "__builtin_convertvector(");
    c_expr(pr, a, PREC_LOOSE);
    str_printf(pr->o, ", %s)", t);
  }
}

static void select_print(Printer *pr, const Expr *x) {
  int bits = x->t.e.kind == EK_BOOL ? 8 : x->t.e.bits;
  str_printf(pr->o, "%s(", c_help(pr, HELP_SELECT, x->t, x->t, 0, NULL));
  c_mask_expr(pr, x->a[0], bits);
  str_put(pr->o, ", ");
  lane_operand(pr, x->a[1]);
  str_put(pr->o, ", ");
  lane_operand(pr, x->a[2]);
  str_put(pr->o, ")");
}

static bool shift_print(Printer *pr, const Expr *x) {
  const Expr *by = x->a[1];
  if (by->kind != EX_CONST || by->value.i < 0 || by->value.i >= x->t.e.bits) return false;
  c_text(pr, x, x->s == S_SHL ? "((%t)((%U)%u0 << " : "(%u0 >> ");
  str_printf(pr->o, x->s == S_SHL ? "%" PRId64 "))" : "%" PRId64 ")", by->value.i);
  return true;
}

static void scalar_print(Printer *pr, const Expr *x) {
  Elem e = x->a[x->s == S_SELECT ? 1 : 0]->t.e;
  bool real = elem_is_float(e);
  Row r = real ? c_float_rows[x->s] : c_code_rows[x->s];
  switch ((int)x->s) {
    case S_ADD: case S_SUB: case S_MUL: {
      const char *op = x->s == S_ADD ? "+" : x->s == S_SUB ? "-" : "*";
      bool plain = real || e.kind == EK_UINT;
      c_text(pr, x, arena_printf(pr->arena, plain ? "(%%u0 %s %%u1)" : "((%%t)((%%U)%%u0 %s (%%U)%%u1))", op));
      return;
    }
    case S_NEG: c_text(pr, x, real ? "(-%u0)" : "((%t)-(%U)%u0)"); return;
    case S_DIV: if (real) { c_text(pr, x, "(%u0 / %u1)"); return; } break;
    case S_AND: c_text(pr, x, "(%u0 & %u1)"); return;
    case S_OR: c_text(pr, x, "(%u0 | %u1)"); return;
    case S_XOR: c_text(pr, x, "(%u0 ^ %u1)"); return;
    case S_NOT: c_text(pr, x, "(~%u0)"); return;
    case S_SHL: case S_SHR: if (shift_print(pr, x)) return; break;
    case S_SELECT: select_print(pr, x); return;
    case S_CAST: cast_print(pr, x); return;
    case S_BITS: c_text(pr, x, "((%t)%u0)"); return;
    case S_FLOOR: r.help = HELP_FLOOR; break;
    case S_CEIL: r.help = HELP_CEIL; break;
    case S_TRUNC: r.help = HELP_TRUNC; break;
    case S_ROUND: r.help = HELP_ROUND; break;
    case S_SQRT: r.help = HELP_SQRT; break;
    case S_FMOD: if (real) r.help = HELP_FMODF; break;
    case S_ABS: if (real) r.help = HELP_FABS; break;
    default: break;
  }
  if (e.kind == EK_UINT) {
    if (x->s == S_ABS) { c_expr(pr, x->a[0], PREC_UNARY); return; }
    r.help = c_unsigned_help(r.help);
  }
  call(pr, x, r.help, x->a[0]->t, 0);
}

static void load_print(Printer *pr, const Expr *x) {
  const Buf *b = &pr->p->bufs[x->buf];
  bool rom = b->sp == SP_ROM;
  str_printf(pr->o, "%s(&%s%s[", c_help(pr, HELP_LOAD, x->t, x->t, 0, NULL), rom ? c_rom_name(pr, x->buf) : c_local(pr, b->name),
             rom && pr->words[x->buf] ? ".e" : "");
  c_expr(pr, x->a[0], PREC_LOOSE);
  str_put(pr->o, "])");
}

void c_lanes(Printer *pr, const Expr *x, Prec least) {
  switch (x->kind) {
    case EX_CONST: c_const(pr, x->t, x->value, least); break;
    case EX_VAR: str_put(pr->o, c_local(pr, pr->nest->vars[x->var].name)); break;
    case EX_LOAD: load_print(pr, x); break;
    case EX_SCALAR:
      if (x->t.e.kind == EK_BOOL && x->s != S_SELECT) c_mask_expr(pr, x, 8);
      else scalar_print(pr, x);
      break;
    case EX_COND:
      str_put(pr->o, "(");
      c_expr(pr, x->a[0], PREC_UNARY);
      str_put(pr->o, " ? ");
      lane_operand(pr, x->a[1]);
      str_put(pr->o, " : ");
      lane_operand(pr, x->a[2]);
      str_put(pr->o, ")");
      break;
    case EX_SPLAT: call(pr, x, HELP_SPLAT, x->t, 0); break;
    case EX_HRED: call(pr, x, HELP_HRED, x->a[0]->t, 0); break;
    case EX_DOT: call(pr, x, HELP_DOT, x->a[1]->t, x->a[2]->t.e.kind); break;
    case EX_LUT3: call(pr, x, HELP_LUT3, x->t, x->imm); break;
    case EX_SHUF: call(pr, x, HELP_SHUF, x->t, 0); break;
    case EX_PERM: call(pr, x, HELP_PERM, x->a[0]->t, x->n == 2 ? 2 : 0); break;
    case EX_RELANE: call(pr, x, HELP_RELANE, x->a[0]->t, 0); break;
    case EX_MASK: {
      int bits = natural_bits(x->a[0]);
      str_printf(pr->o, "%s(", c_help(pr, HELP_MASK, x->t, ntv(INTK(bits), x->a[0]->t.lanes), 0, NULL));
      c_mask_expr(pr, x->a[0], bits);
      str_put(pr->o, ")");
      break;
    }
    case EX_INTRIN: call(pr, x, HELP_INTRIN, x->t, x->imm); break;
  }
}
