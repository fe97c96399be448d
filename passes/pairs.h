/* Functions of two integers as integers. Internal to passes/. */
#ifndef POPSHIFT_PASSES_PAIRS_H
#define POPSHIFT_PASSES_PAIRS_H

#include "ir/graph.h"
#include "passes/certificate.h"
#include "passes/range.h"
#include "passes/region.h"

/* A quant of two small codes (a residual addition): levels of p*a + q*b, checked for every pair of codes, or a table of all pairs. NULL
 * where neither is possible. Products (gates): levels of (a - za) * (b - zb). What a weighted sum or a table stands for goes into the
 * certificate, where there is one. */
Node *pair_levels(Rewrite *, Arena *scratch, Ranges *of_old, const Node *top, Certificate *);
/* A quant of a sum of the region's leaves, whose combinations may be too many to list, as levels of a weighted sum (sums.c); or NULL. */
Node *sum_levels(Rewrite *, Arena *scratch, Ranges *of_old, const Node *top, const Region *);

#endif
