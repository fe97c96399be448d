/* Weights whose groups are sums of a few signed alphas (ALQ: Qu et al., "Adaptive Loss-aware Quantization for Multi-bit Networks",
 * CVPR 2020). Internal to passes/. */
#ifndef POPSHIFT_PASSES_BASES_H
#define POPSHIFT_PASSES_BASES_H

#include "ir/graph.h"

enum { MOST_BASES = 6 };
/* Finite numbers w[r] = sum over i of alpha[i] * (codes[r] >> i & 1 ? 1 : -1), each within 2^-21 of the sum of |alpha|: what up to eight
 * roundings to binary32 may have moved it by. Alphas are binary32 numbers, as few as are found; codes[n]. Returns how many, 0 where all
 * w are 0; -1 where more than MOST_BASES are needed. */
int bases_fit(const float *w, int64_t n, float alpha[MOST_BASES], uint8_t *codes);

/* The contraction of floats `old` on rewritten inputs as node bases, where its constant weights are of that form in less than half of their
 * bytes and no row is of equally spaced numbers alone; else NULL. */
Node *bases_contract(Rewrite *, const Node *old, Node *const *in);

#endif
