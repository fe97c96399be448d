/* Inside of lower: the nest of bases. */
#ifndef POPSHIFT_PASSES_LOWER_BASES_H
#define POPSHIFT_PASSES_LOWER_BASES_H

#include "passes/lower_lanes.h"

typedef struct PlaneTables PlaneTables;
typedef struct Bases {
  const Node *n;
  int64_t terms, planes, blocks, outs, groups;
  int word;               /* bits that are taken at once */
  int signs, counts;      /* buffers; counts -1: all groups have `same` planes */
  int64_t same, most;     /* of a group */
  int count_bits;         /* as a power of two: 0, 1, 2 */
  Elem acc;               /* of a group's sum */
  int lanes, beside;      /* positions at once, 1: none; the buffer where their numbers lie beside each other, */
  int result;             /* and that of their results */
  PlaneTables *planar;    /* planes at once, or NULL */
} Bases;

Expr *plane_count(Lower *, const Bases *, Lin flat);          /* planes of a group: a constant, or bits of the table */
Expr *bases_scaled(Lower *, const Bases *, Expr *total);      /* y of a sum of alphas */

/* lower_bases_planes.c. Chunks of planes that are summed side by side; 0: they are not to be. most: of one group, or NULL. */
int64_t planes_chunks(const Node *, const PassOptions *, int64_t *most);
/* Tables in the order of its loops, made once for a node; NULL where there are no such chunks. */
PlaneTables *planes_tables(Lower *, const Bases *);
void planes_body(Lower *, const Bases *, Lin *out, int lead); /* all outputs of one position */

#endif
