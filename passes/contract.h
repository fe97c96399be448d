/* How a contraction of codes can be computed on bit planes: what select weighs and layout builds. */
#ifndef POPSHIFT_PASSES_CONTRACT_H
#define POPSHIFT_PASSES_CONTRACT_H

#include "passes/pass.h"

#define MAX_PLANES 8

/* Codes as bits: number = offset + sum coef[p]*bit p. */
typedef struct Planes { int n; int64_t coef[MAX_PLANES], offset; Elem packed; } Planes; /* packed: the type that pack takes */
bool planes_of(Elem, Planes *); /* false where more than 8 bits are needed */

/* One operand with its packed dimension: accessed as other + k, where other has at most one iterator. */
typedef struct PackSide { int operand, dim, other; Planes planes; } PackSide; /* other: iterator, or -1 */
typedef struct BitPlan {
  PackSide act, weight;
  int iter;              /* packed reduction iterator, counted from 0 among the reductions */
  int64_t k;             /* its extent */
  int64_t words;         /* words of one plane over the whole reduction of one output */
  bool sum;              /* a sum of the activations is needed: signed one-bit weights, other activations */
  bool xor_;             /* signs by signs */
} BitPlan;
/* False with a reason where the contraction cannot be bit-serial. */
bool bitserial_plan(const Node *, const Target *, BitPlan *, const char **why);

/* candidates.c: a way of computing contractions that multiply. KERNEL_AUTO has no row. */
typedef struct Candidate {
  bool (*possible)(const Node *, const PassOptions *, const char **why); /* false with a reason */
  double (*cost)(const Node *, const Target *);                          /* cycles, where it is possible */
  void (*note)(Str *, const Node *, const PassOptions *);                /* more for --explain; or NULL */
} Candidate;
extern const Candidate candidates[KERNEL_COUNT];
double contract_macs(const Node *); /* products of a contraction */

/* layout_dense.c: the contraction with its operands laid out anew; NULL where nothing moves. */
Node *layout_dense(Graph *, const Node *, Node *const *in);
/* True where operand k of a view, reduce or contract is never outside along its dimension d. */
bool dim_inside(const Node *, int k, int d);

#endif
