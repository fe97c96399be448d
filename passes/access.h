/* Affine accesses composed, and constant operands carried across data movement. Internal to passes/. */
#ifndef POPSHIFT_PASSES_ACCESS_H
#define POPSHIFT_PASSES_ACCESS_H

#include "ir/graph.h"

/* out = inner over outer: the inner access has n_mid variables, each of which is an outer access over n_iters iterators.
 * False where a division stands between, or a coefficient overflows. */
bool affine_compose(const Affine *inner, int n_inner, const Affine *outer, int n_mid, int n_iters, Affine *out);
/* The access is iterator *iter itself. */
bool affine_pure(const Affine *, int n_iters, int *iter);
/* A view that only reorders dimensions: y dim i is x dim perm[i]. */
bool view_permutation(const Node *view, int perm[MAX_RANK]);
/* A reshape that only adds or drops dimensions of 1: from_of[i] is the dimension of `from` that dimension i of `to` is, or -1. */
bool reshape_ones(const Type *from, const Type *to, int from_of[MAX_RANK]);

/* A rank-0 node with k's value where k is a uniform constant or has one element; else NULL. */
Node *operand_scalar(Graph *, Node *k);
/* Operand k of an element-wise operation, broadcasting against the input of `move` (reshape, view, reduce, concat, gather), for the
 * same operation below it; and the other way round. NULL where no such constant exists. */
Node *operand_below(Graph *, const Node *move, Node *k);
Node *operand_above(Graph *, const Node *move, Node *k);
/* Extent of dimension i of `shape` in tensor type k that broadcasts against it: 1 or full. */
static inline int64_t bcast_dim(const Type *k, int rank, int i) {
  int j = i - (rank - k->rank);
  return j < 0 ? 1 : k->d[j].n;
}
/* Index in k (broadcasting against rank dimensions) of the element at idx. */
int64_t bcast_index(const Type *k, int rank, const int64_t *idx);
/* Dimensions of the shape of that rank along which the constant's values vary, as a bit set. */
uint32_t const_varies(const Tensor *k, int rank);

/* Dequant at in[0] moved below the exact data movement `old`: the new node, or NULL where bits would change. */
Node *dequant_below(Rewrite *, const Node *old, Node *const *in);
/* Value of a zero point: absent or constant and uniform. */
bool zp_uniform(const Node *zp, int64_t *z);
/* `c` as a code of element type e. */
bool code_fits(Elem e, int64_t c);
/* The movement applied to another value: same accesses and shape, element type of the new input; fill is given. */
Node *move_clone(Graph *, const Node *move, Node *x, double fill);

#endif
