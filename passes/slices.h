/* Slices of values along their dimensions that nobody needs. Internal to passes/ (prune). */
#ifndef POPSHIFT_PASSES_SLICES_H
#define POPSHIFT_PASSES_SLICES_H

#include "passes/range.h"

/* How a dimension of an operand is moved along: by one iterator, index for index; by two, in blocks of `per` (outer*per + inner);
 * by one, at an offset (views only); or otherwise. */
typedef enum MoveKind { MOVE_SAME, MOVE_BLOCKS, MOVE_SHIFT, MOVE_OTHER } MoveKind;
typedef struct Move { MoveKind kind; int outer, inner; int64_t per; } Move;
Move access_move(const Node *, int operand, int dim);

/* A term of a sum stays, is zero, or is the same number times weights, wherever it stands: then its share of the sum is constant. */
typedef enum Term { TERM_STAYS, TERM_ZERO, TERM_SHARE, TERM_SHARE_BORDER } Term; /* BORDER: of less weight where the access is outside */

typedef struct Slices {
  Arena *a;
  const Graph *g;
  Ranges *ranges;
  bool *live;                        /* of node ids, like the next three */
  int **first;                       /* item of index 0 of each iterator: dimensions, then reductions; -1 where it has none */
  int *share_iter, *share_operand;   /* of a contract: the iterator and the operand of its TERM_SHAREs; -1 */
  int n_items, *link;                /* union-find */
  bool *pinned;                      /* of roots */
  Term *term;                        /* of items of reduction iterators */
  int64_t *value;                    /* of TERM_SHARE items: the operand's number */
  bool *fixed;                       /* of roots: some value of the class is one number there */
} Slices;

/* Everything lies in the arena; the graph and its ranges stay as they are. */
Slices *slices_find(Arena *, const Graph *, Ranges *);
static inline int slices_iters(const Node *n) { return n->t.rank + (n->a.iters ? n->a.iters->n_red : 0); }
static inline Dim slices_dim(const Node *n, int i) { return i < n->t.rank ? n->t.d[i] : n->a.iters->red[i - n->t.rank]; }
bool slice_gone(Slices *, const Node *, int iter, int64_t at);
bool slice_fixed(Slices *, const Node *, int iter, int64_t at); /* it, or what goes with it, is one number */
int64_t slices_kept(Slices *, const Node *, int iter); /* indices of the iterator that stay; of a symbol its bound */
bool slices_vanish(Slices *, const Node *);            /* nothing of the value stays */
/* Every element of the slice is *v. */
bool slice_constant(Ranges *, const Node *, int dim, int64_t at, int64_t *v);
/* What the terms that go add to the contract, wrapped to its type: extents 1 or the contract's. NULL with a diagnostic. */
Tensor *slices_share(Slices *, const Node *);

#endif
