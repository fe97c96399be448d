/* Element-wise functions of one value, or a few: the steps between them and a node below, every other operand constant. They are evaluated with eval's own scalar meaning. Internal to passes/. */
#ifndef POPSHIFT_PASSES_REGION_H
#define POPSHIFT_PASSES_REGION_H

#include "ir/graph.h"

typedef struct RegionStep {
  const Node *n;
  int in[3];             /* of each operand: the step that computes it, -1: constant */
} RegionStep;

enum { LEAVES_MAX = 4, REGION_RUN = 128 };

/* step[0] stands for the base itself (of several, step[k] for leaf[k]), step[first] is the first that computes, step[n-1] the top. All
 * have the shape of the top; of several leaves, dimensions of what lies below the top may be 1. */
typedef struct Region {
  const Node *base, *leaf[LEAVES_MAX]; /* base is leaf[0] */
  int first;             /* the number of leaves */
  RegionStep *step;
  int n;
  uint32_t axes;         /* constants vary along these dimensions of the top */
  int axis;              /* the only one; 0 where rows is 1 */
  int64_t rows;          /* different functions: 1, or the extent of axis; of region_find_positions: row-major positions along axes */
  Arena *arena;
  int64_t row;           /* whose constants are loaded, -1: none */
  Val (*k)[3];           /* constants of the row */
  Val (*v)[REGION_RUN];  /* values of the last evaluation: v[i] of step i */
} Region;

/* The region between base and top; with base NULL, up to the nearest single code value. False where there is none. */
bool region_find(Arena *, const Node *top, const Node *base, Region *);
/* The same where constants may vary along several dimensions; and whether two of its rows have the same constants, bit by bit. */
bool region_find_positions(Arena *, const Node *top, Region *);
bool region_alike(Region *, int64_t row, int64_t other);
/* The same from one code value higher up: r's base joins the region. `uses` counts those of each node; every use of a code
 * value that joins must lie inside the region. */
bool region_extend(Arena *, const Region *r, const int *uses, Region *higher);
/* The region between top and the nearest code values, at most LEAVES_MAX of them. */
bool region_find_leaves(Arena *, const Node *top, Region *);
Val region_eval_leaves(Region *, int64_t row, const Val *x);
/* region_direction in leaf k, the others at x. */
int region_direction_in(Region *, int64_t row, int k, Val *x, Val lo, Val hi);
/* The top's value where the base is x, in row `row`. */
Val region_eval(Region *, int64_t row, Val x);
/* The top's values where the leaves are v[0..first-1][0..n-1], which the caller has filled; n up to REGION_RUN. */
const Val *region_run(Region *, int64_t row, int n);
/* +1 (rising) or -1 (falling) where every step is monotone for x in lo..hi, with no NaN and no wrapping; 0: not proven. */
int region_direction(Region *, int64_t row, Val lo, Val hi);
/* The same of the top alone, a code: where comparisons of monotone steps turn, pieces that select the same are looked at one by one, and the
 * values on both sides of the turn. Base and top are codes. */
int region_climb(Region *, int64_t row, int64_t lo, int64_t hi);

#endif
