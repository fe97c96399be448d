/* What recognize leaves behind, for the runner's check. Internal to passes/. */
#ifndef POPSHIFT_PASSES_RECOGNIZE_H
#define POPSHIFT_PASSES_RECOGNIZE_H

#include "ir/graph.h"

/* A float contract of dequantized operands that can be an exact contract of codes. */
bool contract_recognizable(const Node *n, Node *const *in);

/* The quant `old` of a softmax of codes (softmax.c) in integers; lo, hi: bounds of the codes. NULL where it is none. */
Node *softmax_of_codes(Rewrite *, const Node *old, Node *const *in, int64_t lo, int64_t hi);
/* The codes that the softmax under a quant reads, or NULL. */
Node *softmax_codes(Node *const *in);

#endif
