/* Inside of the lower pass: Graph -> Program by pull. A node that keeps a buffer becomes one nest: loops over its
 * dimensions around the expression of one element; a fused producer is computed in place, a kept one is loaded.
 * Index arithmetic is done on linear forms and becomes expressions only where a load, a bound or a test needs them. */
#ifndef POPSHIFT_PASSES_LOWER_H
#define POPSHIFT_PASSES_LOWER_H

#include "ir/math.h"
#include "passes/pass.h"
#include "passes/range.h"

/* A linear form c + sum k*atom of the index type, and what is known of its values: lo <= form <= hi. Terms are sorted by
 * atom, no k is 0. Lives in the pass's scratch arena. */
typedef struct Term { int atom; int64_t k; } Term;
typedef struct Lin { int64_t c, lo, hi; int n; const Term *t; } Lin;

/* What a linear form is made of: a loop variable, any other expression, or the quotient or remainder of a form by d. */
typedef struct Atom {
  enum { ATOM_EXPR, ATOM_DIV, ATOM_MOD } kind;
  Expr *e;                 /* ATOM_EXPR */
  Lin of; int64_t d;       /* ATOM_DIV, ATOM_MOD: of >= 0, d > 0 */
  int64_t lo, hi;
} Atom;

/* Loops over adjacent dimensions become one where every index used inside steps alike. The dry run of a nest notes its
 * loops and indices; the second run builds it with what was found. */
typedef struct Loops {
  const void *key;         /* whose loops: a node; NULL: the nest's own */
  int nd, dim[MAX_ITERS], atom[MAX_ITERS]; /* dimensions of extent 1 have no loop and are not counted */
  int64_t ext[MAX_ITERS];
  uint32_t apart;          /* bit i: loop i does not join i+1 */
} Loops;

/* A value computed once in this block and used again: node and index to its variable. */
typedef struct Memo { const Node *n; const Lin *idx; Expr *e; } Memo;

/* A contraction computed for a block of elements at once (lower_tile.c). */
enum { TILE_ROWS = 8 };
typedef struct Tile {
  int seen;                /* contractions that the dry run met */
  const Node *met; const Lin *idx; /* the last one and its index, */
  Loops loops; Atom *atoms;/* over these loops of the nest */
  const Node *n;           /* the one to be tiled, or NULL */
  int dim, iter, row_dim;  /* lanes: dimension of the nest's node, output iterator of n; rows: dimension */
  int64_t size; int rows;  /* lanes, rows; 1: none */
  int buf[TILE_ROWS];      /* accumulators */
  int rank; Lin first[MAX_RANK]; /* the block's first element */
  const Node *ready;       /* accumulators are filled for this node: the element in row, lane is wanted */
  int row; Lin lane;
  Expr *sum;               /* the wanted sum itself, where it is no element of an accumulator */
  struct Lanes *lanes;     /* of a contraction of words (lower_lanes.c) */
} Tile;

/* Pairs of planes of a contraction of words (lower_planes.c). */
enum { MOST_PAIRS = 64 };
typedef struct Pairs {
  int iter[2], extent[2];    /* plane iterator of operands 0 and 1, counted among the reductions, -1 for none; its extent */
  int slot[MOST_PAIRS];      /* accumulator of each pair */
  int64_t coef[MOST_PAIRS];  /* of each accumulator */
  int n, var[MOST_PAIRS];
} Pairs;

/* Where a nest stores its elements: a buffer of this shape, the element's index moved by offset along axis. */
typedef struct Place { int buf; const Type *t; int axis; int64_t offset; } Place;

/* A constant as fields of bits in words, made once (lower_packed.c). */
typedef struct BitTable { const Tensor *of; int bits, word, buf; } BitTable;
/* A constant whose elements k apart lie side by side in a copy. */
typedef struct Strided { int buf; int64_t k; int copy; } Strided;

/* How codes are packed over lanes (lower_pack.c). */
typedef struct PackLanes { int dim, lanes; bool failed; } PackLanes;

typedef struct Lower {
  Graph *g;
  Program *p;
  const PassOptions *opt;
  Arena *tmp;
  int *buf;                /* by node id: its buffer, -1 without one */
  Ranges *ranges;          /* of the graph's codes */
  int64_t **sums;          /* by node id: least and greatest sum of a contraction, NULL where not known yet */
  const int *uses;         /* by node id */
  Place to;                /* where the nest's element goes */
  Nest *nest;
  Block *at;               /* where statements go */
  VEC(Atom) atoms;
  VEC(Lin) used;           /* of the dry run: forms that became expressions */
  VEC(Loops) loops;
  VEC(BitTable) tables;
  VEC(Memo) memo;          /* innermost last; block_leave drops what is no longer visible */
  bool dry;
  int guarded;             /* tests around what is being computed */
  bool wide;               /* an index may need 64 bits */
  Tile tile;
  VEC(struct ShiftTable *) shifts; /* of shift contractions, made once */
  PackLanes *pack;
  VEC(Strided) strided;    /* by lower_widen.c */
  int nibbles;             /* buffer of byte counts + 1, 0: none yet (lower_count.c) */
  struct { const Node *n; int beside, lanes; struct PlaneTables *planar; } bases; /* buffers and tables of the node whose nest was tried last (lower_bases.c) */
} Lower;

/* lower_lin.c: linear forms. */
Lin lin_c(int64_t c);
Lin lin_atom(Lower *, Expr *, int64_t lo, int64_t hi);
Lin lin_mad(Lower *, Lin x, Lin y, int64_t k);          /* x + k*y */
Lin lin_div(Lower *, Lin, int64_t d);                   /* x / d and x mod d, x >= 0 where it is evaluated */
Lin lin_mod(Lower *, Lin, int64_t d);
Lin lin_within(Lin, int64_t lo, int64_t hi);            /* the caller knows lo <= x <= hi */
bool lin_eq(Lin, Lin);
Expr *lin_expr(Lower *, Lin);
Lin lin_flat(Lower *, const Type *, const Lin *idx);    /* row-major position */
void lin_unflat(Lower *, Lin flat, const Type *, Lin *idx);
Lin lin_access(Lower *, const Affine *, const Lin *iters, int n); /* numerator: base + sum coef*iter, not divided */

/* lower_loop.c: blocks and loops. */
typedef struct Scope { Block *at; int memo; } Scope;
Scope block_enter(Lower *, Block *);
void block_leave(Lower *, Scope);
/* Loops over nd extents; idx receives the forms of all dimensions. lo and hi, where not NULL, bound dimension i where
 * lo[i] is not NULL. */
Scope loops_open(Lower *, const void *key, int nd, const int64_t *ext, Lin *idx, Expr *const *lo, Expr *const *hi);
Loops *loops_find(Lower *, const void *key);            /* as the dry run noted them; NULL where it did not */
typedef void LowerBody(Lower *, const Node *);
void nest_build(Lower *, const char *name, const Node *, const char *note, LowerBody *);

/* lower.c */
void element_body(Lower *, const Node *);
Expr *element_value(Lower *, const Node *root, const Lin *idx);
Lin element_place(Lower *, const Node *root, const Lin *idx); /* its position in the buffer */
void store_element(Lower *, const Node *root, const Lin *idx, Expr *); /* NULL: the root's own value */

/* lower_expr.c: the expression of one element. */
Expr *value(Lower *, const Node *, const Lin *idx);     /* loaded, or computed where the node has no buffer */
Expr *compute(Lower *, const Node *, const Lin *idx);   /* computed */
Expr *let(Lower *, const char *name, Expr *);           /* its value in a variable of this block */
Expr *load(Lower *, int buf, const Type *, const Lin *idx);
Expr *choose(Lower *, Expr *cond, const Node *, const Lin *idx, Expr *otherwise); /* cond ? value : otherwise, NULL cond: value */
Expr *in_range(Lower *, Lin x, int64_t div, int64_t extent, Lin *index, bool *never); /* test of one access; NULL: always inside */
int rom_buf(Lower *, const Node *);                     /* buffer of a constant, made on demand */

/* lower_scalar.c: types and element-wise operations. */
Elem lower_elem(const Lower *, Elem);                   /* type of a Nest value that holds such an element */
Elem common_elem(const Lower *, Elem a, Elem b);          /* narrowest that holds the numbers of both */
Expr *wrap_to(Lower *, Expr *, Elem, int64_t lo, int64_t hi); /* an exact result in lo..hi, wrapped to a code type */
Expr *round_to(Lower *, Expr *, Elem);                  /* f32 to a 16-bit float type's value */
Expr *map_expr(Lower *, const Node *, Expr **args);
Expr *quant_expr(Lower *, const Node *, Expr *x, Expr *scale, Expr *zp);
Expr *dequant_expr(Lower *, const Node *, Expr *x, Expr *scale, Expr *zp);

/* lower_reduce.c, lower_table.c: operators with loops or tables of their own. */
Expr *contract_expr(Lower *, const Node *, const Lin *idx);
typedef void ContractBody(Lower *, const Node *, const Lin *it, bool skip, void *user);
/* it: output iterators set, reductions are added. unrolled: bit j: reduction j has no loop, the body counts it itself. */
void contract_loops(Lower *, const Node *, Lin *it, uint32_t unrolled, ContractBody *, void *user);
Elem contract_elem(const Lower *, const Node *);        /* of the accumulator */
Expr *contract_zero(Lower *, Elem acc);
Expr *contract_operand(Lower *, const Node *, int k, const Lin *it, bool skip);
Expr *contract_product(Lower *, const Node *, Expr *const *x, Elem acc);
Expr *contract_result(Lower *, const Node *, Expr *sum); /* rounded or wrapped to the node's type */
Expr *reduce_expr(Lower *, const Node *, const Lin *idx);
Expr *argreduce_expr(Lower *, const Node *, const Lin *idx);
Expr *thresholds_expr(Lower *, const Node *, const Lin *idx, Expr *x);
Expr *requant_expr(Lower *, const Node *, const Lin *idx, Expr *x);
Expr *word_bits(Lower *, Expr *, Elem);                 /* zero extended from the width of the element type */
/* lower_planes.c: a contract of words weighted by plane coefficients, planes unrolled; NULL where it is not of that form. */
Expr *planes_expr(Lower *, const Node *, Lin *it);
/* lower_shift.c: kernel shift; its activations keep a buffer (passes/fuse.c). */
Expr *shift_expr(Lower *, const Node *, const Lin *idx);
/* lower_packed.c: a stream of fields of `bits`, the first at the low end, in words of 32 or 64 bits and `spare` zero words behind: its buffer,
 * called prefix_name. An element of a constant that lies so. */
int bit_table(Lower *, const char *prefix, const char *name, const Tensor *, int bits, int word, int spare);
Expr *packed_value(Lower *, const Node *, const Lin *idx);
bool pairs_find(const Node *, Pairs *);                /* without a table of coefficients: one pair; false where the table has another form */
/* lower_tile.c */
bool tile_over(Lower *, const Loops *);                /* keeps the dry run's loops; true where the contraction's index is made of them only */
void tile_note(Lower *, const Node *, const Lin *idx);
bool tile_decide(Lower *);                             /* after a dry run: whether the nest's contraction is to be tiled */
void tile_body(Lower *, const Node *root);
Expr *tile_value(Lower *, const Node *);
int tile_iter(const Lower *, const Node *, int atom);  /* the output iterator that is this loop of the nest and no other's; -1: none */
bool tile_known(const Tile *, const Loops *, Lin);     /* true where the form is made of the nest's own loops only */
Lin tile_moved(Lower *, Lin, const Lin *idx);          /* a form of the dry run over the nest's loops, now over the given index */
Lin tile_start(Lower *, Lin number, int64_t size, int64_t n); /* first element of a block: blocks of size, the last one ending at n */
bool contract_depends(const Node *, int k, int v);     /* whether iterator v moves operand k */
/* lower_lanes.c: a contraction of words with output channels in the lanes of vectors */
void lanes_probe(Lower *, const Node *root);           /* body of a dry run that notes the contraction and its index */
bool lanes_wanted(const Lower *, const Node *root);
bool lanes_decide(Lower *, const Node *root);
void lanes_body(Lower *, const Node *root);
bool lanes_fit(Lower *);                               /* after its dry run; false: another body is to be tried */
void cum_body(Lower *, const Node *);
void pack_body(Lower *, const Node *);
/* lower_bases.c */
void bases_body(Lower *, const Node *);
void pack_rest(Lower *, const Node *);                 /* the last words, which are not whole */
/* lower_pack.c */
bool pack_lanes_next(Lower *, const Node *pack, int i); /* candidate i into l->pack; false: there are no more */
void pack_lanes_body(Lower *, const Node *pack);

#endif
