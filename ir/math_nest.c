/* math.def's formulas as Nest expressions, in LETs. */
#include "ir/math.h"

#include <assert.h>
#include <math.h>

typedef struct Build { Program *p; Nest *n; Block *into; int lanes; } Build;

/* Arguments are named here and not at the use: C leaves the order of a call's arguments open, the text must not. */
#define PART1(NAME, ...) \
  static Expr *build_##NAME(const Build *b_, Expr *x_) { LET(X, x_) __VA_ARGS__ }
#define PART2(NAME, ...) \
  static Expr *build_##NAME(const Build *b_, Expr *x_, Expr *y_) { LET(X, x_) LET(Y, y_) __VA_ARGS__ }
#define MATH1 PART1
#define MATH2 PART2
#define LET(name, value) Expr *name = ns_name(b_->p, b_->n, b_->into, #name, value);
#define LETI(name, word) LET(name, word)
#define RESULT(value) return value;
#define USE1(NAME, a) build_##NAME(b_, a)
#define USE2(NAME, a, b) build_##NAME(b_, a, b)
#define F(x) nx_const_f(b_->p, ntv(F64, b_->lanes), (double)(x))
#define ADD(a, b) nx2(b_->p, S_ADD, a, b)
#define SUB(a, b) nx2(b_->p, S_SUB, a, b)
#define MUL(a, b) nx2(b_->p, S_MUL, a, b)
#define DIV(a, b) nx2(b_->p, S_DIV, a, b)
#define SQRT(a) nx1(b_->p, S_SQRT, a)
#define NEG(a) nx1(b_->p, S_NEG, a)
#define ABS(a) nx1(b_->p, S_ABS, a)
#define FLOOR(a) nx1(b_->p, S_FLOOR, a)
#define SELECT(c, a, b) nx3(b_->p, S_SELECT, c, a, b)
#define LT(a, b) nx2(b_->p, S_LT, a, b)
#define LE(a, b) nx2(b_->p, S_LE, a, b)
#define EQ(a, b) nx2(b_->p, S_EQ, a, b)
#define I(x) nx_const_i(b_->p, ntv(I64, b_->lanes), (int64_t)(x))
#define IADD(a, b) ADD(a, b)
#define ISUB(a, b) SUB(a, b)
#define IAND(a, b) nx2(b_->p, S_AND, a, b)
#define IXOR(a, b) nx2(b_->p, S_XOR, a, b)
#define ISHL(a, b) nx2(b_->p, S_SHL, a, b)
#define ISHR(a, b) nx2(b_->p, S_SHR, a, b)
#define BITS(a) nx_bits(b_->p, a, I64)
#define FROMBITS(a) nx_bits(b_->p, a, F64)
#include "ir/math.def"

static Expr *expand(const Build *b, Scalar s, Expr *x, Expr *y) {
  switch (s) {
  case S_EXP: return build_EXP(b, x);
  case S_LOG: return build_LOG(b, x);
  case S_SIN: return build_SIN(b, x);
  case S_COS: return build_COS(b, x);
  case S_TAN: return build_TAN(b, x);
  case S_ASIN: return build_ASIN(b, x);
  case S_ACOS: return build_ACOS(b, x);
  case S_ATAN: return build_ATAN(b, x);
  case S_SINH: return build_SINH(b, x);
  case S_COSH: return build_COSH(b, x);
  case S_TANH: return build_TANH(b, x);
  case S_ASINH: return build_ASINH(b, x);
  case S_ACOSH: return build_ACOSH(b, x);
  case S_ATANH: return build_ATANH(b, x);
  case S_ERF: return build_ERF(b, x);
  case S_POW: return build_POW(b, x, y);
  default: assert(!"a row of math.def"); return NULL;
  }
}

Expr *math_expand(Program *p, Nest *n, Block *into, Scalar s, Expr *a, Expr *b) {
  assert(math_has(s) && a->t.e.kind == EK_FLOAT && a->t.e.bits >= 32 && !b == (scalar_info[s].arity == 1));
  Build build = {p, n, into, a->t.lanes};
  return nx_cast(p, expand(&build, s, nx_cast(p, a, F64), b ? nx_cast(p, b, F64) : NULL), a->t.e);
}
