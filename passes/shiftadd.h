/* Products, quotients and counts of bits as shifts, adds, subtracts and masks over Nest expressions. Internal to passes/.
 * Compilers know these forms too and may turn them back into a multiplication; each term that could become one passes through the
 * intrinsic `keep`, which gives its operand and which no optimizer sees through. */
#ifndef POPSHIFT_PASSES_SHIFTADD_H
#define POPSHIFT_PASSES_SHIFTADD_H

#include "ir/nest.h"

/* Canonical signed digits: c = sum of sign*2^exp, no two exponents adjacent, the greatest first; at most 64. Their count. */
typedef struct Digit { int8_t sign; uint8_t exp; } Digit;
int csd_digits(int64_t c, Digit digits[64]);

/* Of one-lane codes of native widths. x is used several times: a variable, or cheap. */
Expr *sa_keep(Program *, Expr *x);                              /* x, opaque to compilers */
Expr *sa_times(Program *, Expr *x, int64_t c);                  /* x*c, wrapping */
/* x*y for y in lo..hi, by the bits of y; NULL where they are more than 33. */
Expr *sa_product(Program *, Expr *x, Expr *y, int64_t lo, int64_t hi);
/* floor(x/d) for 0 <= x <= hi, d > 0; NULL where hi >= 2^31 or so and d is no power of two. */
Expr *sa_quotient(Program *, Expr *x, int64_t d, int64_t hi);
Expr *sa_count(Program *, Expr *x, Expr *(*name)(void *user, Expr *), void *user); /* pop(x); name: the value in a variable */

#endif
