/* Transcendental functions with the same bits in every engine: math.def's formulas as C, and as Nest expressions. */
#ifndef POPSHIFT_IR_MATH_H
#define POPSHIFT_IR_MATH_H

#include "ir/nest.h"

/* True of the rows that math.def defines: exp .. erf, pow. */
bool math_has(Scalar);
/* The formula on binary64; b is used by pow only. */
double math_eval(Scalar, double a, double b);
/* The formula as LETs added to a block; a and b are f32 or f64 of any lanes (b NULL unless pow). The result has a's type:
 * an f32 is widened first and the result rounded once. */
Expr *math_expand(Program *, Nest *, Block *, Scalar, Expr *a, Expr *b);

#endif
