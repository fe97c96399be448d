/* What is known of the numbers that a node can take, over all its elements. NaN is left out everywhere: what is recognised by these facts
 * counts it as quant does. Internal to passes/. */
#ifndef POPSHIFT_PASSES_VALUES_H
#define POPSHIFT_PASSES_VALUES_H

#include "ir/graph.h"

enum { VALUES_MAX = 16 };
typedef struct Values {
  double lo, hi;         /* bounds, perhaps infinite */
  bool whole;            /* integers all */
  int n;                 /* where not 0: these numbers at most, ascending */
  double v[VALUES_MAX];
} Values;

typedef struct Facts { Arena *a; Values **of; int n, depth; } Facts; /* of one graph; of: by node id, NULL where not asked yet */

Facts *facts_new(Arena *);
const Values *values_of(Facts *, const Node *);
/* Bounds of a code value, cheaply: quant's own, a constant's, else the type's. */
void code_bounds(const Node *q, int64_t *lo, int64_t *hi);
/* A code or float type's number as a Val. */
static inline Val val_of(Elem e, double v) {
  return elem_is_float(e) ? (Val){.f = v} : (Val){.i = v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v};
}
/* The element-wise operation on numbers, in the node's types. */
double map_value(const Node *map, const double *args);

#endif
