/* Affine accesses as ONNX nodes: shared by export_access.c and export_contract.c. */
#ifndef POPSHIFT_FRONTEND_EXPORT_ACCESS_H
#define POPSHIFT_FRONTEND_EXPORT_ACCESS_H

#include "frontend/export.h"

/* A value whose dimensions are iterators, in some order; iterators that are missing are broadcast along. A dimension of an
 * iterator may be 1 where its extent is not. */
typedef struct Spread { int n; int label[MAX_ITERS]; } Spread;

int x_extents(const Node *, Dim ext[MAX_ITERS]);
/* a = (base + sum coef[i]*iter[i]) / div; iterators of extent 1 do not count. */
bool x_affine(const Dim *ext, int total, const Affine *a, int64_t base, int64_t div, int n, const int *iter, const int64_t *coef);
/* a is just that iterator, from end to end of a dimension `of`. */
bool x_straight(const Dim *ext, int total, const Affine *a, Dim of, int iter);

/* Operand k of n, whose value in element type e is v, by iterators; NULL after an error. */
const char *x_spread(Export *, const Node *n, int k, const char *v, Elem e, double fill, Spread *);
/* All iterators below upto in their order, missing ones of extent 1. */
const char *x_arrange(Export *, const char *v, int upto, Spread *);
/* v [iterators below total in order] expanded along those that none of the first n_acc operands moves along. */
const char *x_full(Export *, const Node *n, int n_acc, const char *v, int total, const Dim *ext, Elem e);

#endif
