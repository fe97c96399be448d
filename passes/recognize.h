/* What recognize leaves behind, for the runner's check. Internal to passes/. */
#ifndef POPSHIFT_PASSES_RECOGNIZE_H
#define POPSHIFT_PASSES_RECOGNIZE_H

#include "ir/graph.h"

/* A float contract of dequantized operands that can be an exact contract of codes. */
bool contract_recognizable(const Node *n, Node *const *in);

#endif
