/* Exact ranges of code values, from the constants' actual values. Internal to passes/. */
#ifndef POPSHIFT_PASSES_RANGE_H
#define POPSHIFT_PASSES_RANGE_H

#include "ir/graph.h"

/* Least and greatest number of a code value's elements: one pair for each element of a shape that broadcasts against the
 * value's: d[i] is 1 or the value's extent. n <= RANGE_MAX pairs. */
typedef struct Range { int64_t d[MAX_RANK]; int64_t n, *lo, *hi; } Range;
enum { RANGE_MAX = 1 << 16 };

/* Ranges of one graph's nodes, computed in order up to the node asked for; the graph may grow meanwhile. */
typedef struct Ranges { Arena *a; const Graph *g; VEC(Range *) of; } Ranges;
Ranges *ranges_new(Arena *, const Graph *);
/* NULL for floats, u64 and words of planes. Values lie inside: a result that would wrap has its type's whole range. */
const Range *range_of(Ranges *, const Node *);
/* Hull over all elements. False where range_of is NULL. */
bool range_hull(Ranges *, const Node *, int64_t *lo, int64_t *hi);
/* Bounds of every partial sum of a contract or an add-reduce of codes, in any order of its terms. False where they pass 2^62. */
bool range_partial(Ranges *, const Node *, int64_t *lo, int64_t *hi);

#endif
