/* What pass thresholds replaces: for each function of one or two integers, the steps it was made of, their constants, and on which integers
 * it was replaced. The numbers are copied while the pass holds the old graph; the node that stands for the function carries the entry's
 * number (Attr.certified), through which the finished graph's constants are found again. */
#ifndef POPSHIFT_PASSES_CERTIFICATE_H
#define POPSHIFT_PASSES_CERTIFICATE_H

#include "ir/graph.h"

/* An operand of a step: the value numbered `from` (0, 1: the integers that go in; then the steps), or -1 and n constants: one for every row,
 * or one for all; of thresholds `levels` for each. */
typedef struct CertOperand { int from; Elem e; int64_t n; Val *v; } CertOperand;
typedef struct CertStep { Op op; Scalar scalar; Elem e; Round round; int64_t lo, hi, levels; int shift, n_in; CertOperand in[4]; } CertStep;

/* Why an integer stays in its range: it is a sum of codes a in alo..ahi times constants, whose positive and negative ones add up to pos[i] and
 * neg[i] for the sums of row[i]. n 0: not such a sum; the range follows from the type or from what the compiler knows. terms: constants of a sum. */
typedef struct CertSums { int64_t n, *pos, *neg, *row, alo, ahi, terms; } CertSums;

typedef struct CertEntry {
  const char *layer, *op;  /* of the node that computed the integer, and the operator */
  Elem in[2], out;
  int n_in, n_steps;
  CertStep *step;
  int64_t rows, *lo, *hi;  /* [rows] of the first integer */
  int64_t *kept;           /* [rows] which of the function's rows these are, where prune took others; NULL: all */
  int64_t *share;          /* [rows] what the first integer lost to prune: the steps get the integer and this; NULL: nothing */
  int64_t lo2, hi2;        /* of the second */
  CertSums sums;
  int64_t factor[2];       /* two integers: the form takes factor[0]*x + factor[1]*y; one: 1, 0 */
  int64_t *sum_lo, *sum_hi;/* [rows] two integers: where that sum lies (those low in one and high in the other need not meet); NULL: not known */
  bool offset;             /* the table's index has an offset added */
} CertEntry;

typedef struct Certificate { Arena *a; VEC(CertEntry) entry; } Certificate;
Certificate *certificate_new(Ctx *); /* lives as long as the context */

#endif
