/* Inside of lower: contractions over lanes, of words of bits or of codes that multiply. */
#ifndef POPSHIFT_PASSES_LOWER_LANES_H
#define POPSHIFT_PASSES_LOWER_LANES_H

#include "passes/lower.h"

/* What is made of a vector of words: each counted by the popcount of its lanes; carry-save, which leaves fewer words to count; dot products. */
typedef enum Count { COUNT_EACH, COUNT_CARRY, COUNT_DOT } Count;

enum { LANE_VECS = 8, LANE_PLANES = 5, LANE_CODE_BITS = 8 }; /* planes of carries: sums of up to 31 words */

/* Dot products (lower_dot.c): words of q neighbouring codes. */
typedef struct Dots {
  int q; Elem act, weight; /* codes of a word; as what they multiply */
  int64_t flip;            /* turns top bits of an activation's bytes, whose sign is the other one: number + 128 or - 128 */
  int n_run, run[MAX_ITERS]; /* reductions along which the activations are neighbours, the fastest first */
  int64_t len;             /* activations of such a run */
  int start;               /* buffer of first sums, where flip is: what turning has added */
} Dots;

typedef struct Lanes {
  Count count;
  int w;                   /* operand of the constant words */
  int lanes, vecs;         /* lanes of 64 bits (dot products: of 32); vectors of a block of channels */
  int rows;                /* most rows of a block */
  int parts; Elem piece;   /* vectors whose counts share one, as this type */
  Pairs pairs;
  Dots dots;
  int64_t channels;
  int words; int64_t block_words; /* the constant words laid out anew, of one block */
  Lin block;               /* number of the block at hand */
  Expr *counts[MOST_PAIRS][TILE_ROWS][LANE_VECS]; /* what lanes_count leaves: by coefficient, row and vector */
  int sums;                /* buffer of one group, -1 before it is needed */
  bool failed;             /* an element that is packed has no form over lanes */
} Lanes;

bool lanes_target(const Target *, int *bits);          /* whether it has vectors, and of how many bits */
int64_t lanes_extent(const Lanes *, const Node *, int reduction);
void lanes_row(Lower *, int r, Lin *it);
/* lower_lanes_out.c: what becomes of the counts of group g (parts vectors). */
void lanes_store(Lower *, const Node *root, int g);    /* elements, all rows */
/* Codes of row r as bits at `at` of the words of their planes; false where they have no form over lanes. */
bool lanes_bits(Lower *, const Node *pack, int r, int g, int at, Expr **word);
void lanes_pack(Lower *, const Node *pack, Lin word, int r, Expr *const *bits); /* stores them */
/* lower_count.c */
void lanes_count(Lower *);
/* lower_dot.c */
bool dot_plan(const Lower *, const Node *, Lanes *);   /* operands, words and lanes; false where it cannot be so */
void dot_vecs(Lanes *);                                /* vectors and rows of a block; lanes may be more than channels */
void dot_lay(Lower *, Lanes *);                        /* the constant words, and first sums */
void dot_count(Lower *);                               /* into counts[0] */

/* lower_widen.c: statements and expressions over one element, with a variable for its lane and one for a value that differs by lane,
 * as vectors. */
typedef struct WideVar { int var; Expr *wide; } WideVar;
typedef struct Widen {
  Lower *l;
  int lanes, lane, sum;    /* variables */
  Expr *sums;              /* the lanes of sum */
  VEC(WideVar) vars;
  Block *into;
} Widen;
void widen_init(Widen *, Lower *, int lanes, int lane, int sum, Expr *sums);
bool widen_block(Widen *, const Block *one, Block *into); /* false, and nothing added, where a statement has no such form */
Expr *widen(Widen *, Expr *);                          /* NULL where it has none */
Expr *widen_simple(Program *, Expr *);                 /* a bool that depends on one comparison only is that or its opposite */

#endif
