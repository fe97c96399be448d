/* math.def's formulas as C functions, and the choice among them. */
#include "ir/math.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static inline int64_t bits_of(double v) { int64_t w; memcpy(&w, &v, sizeof w); return w; }
static inline double from_bits(int64_t w) { double v; memcpy(&v, &w, sizeof v); return v; }

#define PART1(NAME, ...) static double math_##NAME(double X) { __VA_ARGS__ }
#define PART2(NAME, ...) static double math_##NAME(double X, double Y) { __VA_ARGS__ }
#define MATH1 PART1
#define MATH2 PART2
#define LET(name, value) const double name = value;
#define LETI(name, word) const int64_t name = word;
#define RESULT(value) return value;
#define USE1(NAME, a) math_##NAME(a)
#define USE2(NAME, a, b) math_##NAME(a, b)
#define F(x) ((double)(x))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define DIV(a, b) ((a) / (b))
#define SQRT(a) sqrt(a)
#define NEG(a) (-(a))
#define ABS(a) fabs(a)
#define FLOOR(a) floor(a)
#define SELECT(c, a, b) ((c) ? (a) : (b))
#define LT(a, b) ((a) < (b))
#define LE(a, b) ((a) <= (b))
#define EQ(a, b) ((a) == (b))
#define I(x) ((int64_t)(x))
#define IADD(a, b) ((int64_t)((uint64_t)(a) + (uint64_t)(b)))
#define ISUB(a, b) ((int64_t)((uint64_t)(a) - (uint64_t)(b)))
#define IAND(a, b) ((a) & (b))
#define IXOR(a, b) ((a) ^ (b))
#define ISHL(a, b) ((int64_t)((uint64_t)(a) << (b)))
#define ISHR(a, b) ((a) >> (b))
#define BITS(a) bits_of(a)
#define FROMBITS(a) from_bits(a)
#include "ir/math.def"

bool math_has(Scalar s) {
  switch (s) {
  case S_EXP: case S_LOG: case S_SIN: case S_COS: case S_TAN: case S_ASIN: case S_ACOS: case S_ATAN: case S_SINH:
  case S_COSH: case S_TANH: case S_ASINH: case S_ACOSH: case S_ATANH: case S_ERF: case S_POW:
    return true;
  default:
    return false;
  }
}

double math_eval(Scalar s, double a, double b) {
  switch (s) {
  case S_EXP: return math_EXP(a);
  case S_LOG: return math_LOG(a);
  case S_SIN: return math_SIN(a);
  case S_COS: return math_COS(a);
  case S_TAN: return math_TAN(a);
  case S_ASIN: return math_ASIN(a);
  case S_ACOS: return math_ACOS(a);
  case S_ATAN: return math_ATAN(a);
  case S_SINH: return math_SINH(a);
  case S_COSH: return math_COSH(a);
  case S_TANH: return math_TANH(a);
  case S_ASINH: return math_ASINH(a);
  case S_ACOSH: return math_ACOSH(a);
  case S_ATANH: return math_ATANH(a);
  case S_ERF: return math_ERF(a);
  case S_POW: return math_POW(a, b);
  default: assert(!"a row of math.def"); return 0;
  }
}
