/* How a contraction of codes can be computed on bit planes: what select weighs and layout builds. */
#ifndef POPSHIFT_PASSES_CONTRACT_H
#define POPSHIFT_PASSES_CONTRACT_H

#include "passes/pass.h"

#define MAX_PLANES 8

/* Codes as bits: number = offset + sum coef[p]*bit p. What pack takes is `packed`: the number itself, or (number - least) >> shift. */
typedef struct Planes { int n, shift; int64_t coef[MAX_PLANES], offset, least; Elem packed; } Planes;
/* The planes of a node's codes: of their type, or of the values of a constant where those need fewer. False where more than 8 are needed. */
bool planes_of(const Node *, Planes *);

/* One operand with its packed dimension: accessed as other + k, where other has at most one iterator. */
typedef struct PackSide { int operand, dim, other; Planes planes; } PackSide; /* other: iterator, or -1 */
typedef struct BitPlan {
  PackSide act, weight;
  int iter;              /* packed reduction iterator, counted from 0 among the reductions */
  int64_t k;             /* its extent */
  int64_t words;         /* words of one plane over the whole reduction of one output */
  bool sum;              /* a sum of the activations is needed: weights with an offset */
  bool xor_;             /* signs by signs */
} BitPlan;
/* False with a reason where the contraction cannot be bit-serial. */
bool bitserial_plan(const Node *, const Target *, BitPlan *, const char **why);

/* candidates.c: a way of computing contractions that multiply. KERNEL_AUTO has no row. */
typedef struct Candidate {
  bool (*possible)(const Node *, const PassOptions *, const char **why); /* false with a reason */
  double (*cost)(const Node *, const Target *);                          /* cycles, where it is possible */
  void (*note)(Str *, const Node *, const PassOptions *);                /* more for --explain; or NULL */
  double (*bytes)(const Node *, const Target *);                         /* of constant data */
} Candidate;
extern const Candidate candidates[KERNEL_COUNT];
double contract_macs(const Node *); /* products of a contraction */
int bases_lanes(const Node *, const PassOptions *); /* lower_bases.c: terms of bases that are added at once */
/* layout_bases.c: how a node of operator bases is computed. */
typedef struct BasesCost { double terms, packed; bool can_pack; int planes; int64_t words; } BasesCost; /* cycles; planes, words of one group */
BasesCost bases_cost(const Node *, const PassOptions *);
Kernel bases_kernel(const Node *, const PassOptions *, Kernel forced);
Node *layout_bases(Graph *, const Node *, Node *const *in, const PassOptions *); /* on packed planes; NULL where its kernel is another */

/* lower_shift.c: by adds, subtracts and shifts alone. */
bool shift_possible(const Node *, const char **why);
double shift_terms(const Node *, double *lists); /* additions of activations and lists of them, over all outputs */
double shift_bytes(const Node *, const Target *);
Node *layout_shift(Graph *, const Node *, Node *const *in); /* activations padded where they are read outside; NULL where nothing changes */

/* lower_packed.c: as int, with weights of less than a byte packed into words. */
bool packed_possible(const Node *, const char **why);
double packed_bytes(const Node *, const Target *);

/* lower_dot.c: what a target multiplies at once: vectors of so many bits, 0 without any; bytes by signed bytes, the others signed or not;
 * pairs of signed 16 bits. Whether a contraction of codes or of f32 is computed so, its second operand constant, where its layout allows. */
typedef struct DotMachine { int bits; bool bytes, act_signed, pairs; } DotMachine;
DotMachine dot_machine(const Target *);
bool dot_lanes(const Node *, const PassOptions *);
int dot_word(const Node *, const Target *);            /* numbers in a word: 4 bytes, 2 of 16 bits, 1 float; 0: it cannot be so */
int dot_channel(const Node *);                         /* the longest output iterator that walks the second operand alone; -1: none */

/* layout_last.c: channels last around such contractions. */
typedef struct Last { Arena *tmp; VEC(const Node *) views; } Last; /* the views in the graph's order that were made */
/* n, reading what the views among `in` are of; false where there are none. Lives as long as r. */
typedef struct LastReads { Node n; Iters it; Affine acc[3][MAX_RANK]; Node *in[3]; } LastReads;
bool last_reads(Last *, const Node *n, Node *const *in, LastReads *r);
int last_channel(const Node *);                        /* the output iterator that walks the last dimension of operand 0; -1: none */
Node *last_result(Last *, Graph *, const Node *, int v); /* with output iterator v last, seen in its own order */
Node *last_follow(Last *, Graph *, const Node *n, Node *const *in); /* an element-wise n above such views; NULL where it stays */

/* layout.c: the node itself, or a constant where all inputs are. NULL with a diagnostic. */
Node *folded(Graph *, Node *);
/* layout_dense.c: the contraction with its operands laid out anew; NULL where nothing moves. */
Node *layout_dense(Graph *, const Node *, Node *const *in, const PassOptions *);
/* True where operand k of a view, reduce or contract is never outside along its dimension d. */
bool dim_inside(const Node *, int k, int d);

#endif
