/* Constant floats that are small integers times a scale. Internal to passes/. */
#ifndef POPSHIFT_PASSES_WEIGHTS_H
#define POPSHIFT_PASSES_WEIGHTS_H

#include "ir/graph.h"

/* Codes and scales of operand k of a float contract, a constant: one scale, else one per index along the dimensions that no reduction
 * reads, such that dequant(codes, scales) has every bit of every weight but zero's sign. False where there are none; then *why (in the
 * context's memory, or a literal) says so. */
bool weight_codes(Graph *, const Node *contract, int k, Node *const *in, Node **codes, Node **scale, const char **why);

#endif
