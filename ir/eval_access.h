/* Affine accesses along one iterator: what view, reduce and contract share. eval_*.c only. */
#ifndef POPSHIFT_IR_EVAL_ACCESS_H
#define POPSHIFT_IR_EVAL_ACCESS_H

#include "ir/eval_impl.h"

/* An operand's access, prepared for inner loops over iterator `inner` (-1: none). */
typedef struct Access {
  int n_iters, inner, rank;
  const Affine *dim;                        /* one per dimension of the operand */
  int64_t extent[MAX_RANK], stride[MAX_RANK];
  bool may_leave[MAX_RANK];                 /* the index may be outside */
  bool linear;                              /* no divisors: the offset is base + sum coef[i] * iter[i] */
  int64_t base, coef[MAX_ITERS];
  bool single;                              /* several divided dimensions use the inner iterator: spans of 1 only */
} Access;

/* The part of w0 .. w0+n-1 of the inner iterator that lies inside: w0 + first + i*step for i < count, with the operand's
 * elements at offset + i*stride. */
typedef struct Span { int64_t first, count, step, offset, stride; } Span;

/* The loop nest around the inner loops. iter[inner] stays 0. */
typedef struct Loops {
  const Eval *e;
  int n_iters, n_out, inner;
  int64_t ext[MAX_ITERS], out_stride[MAX_ITERS]; /* of the node's elements */
  int64_t iter[MAX_ITERS];
  int n_acc;
  Access acc[3];
  bool single;
  int64_t ticks;                            /* spans since the start: when to look at ctx->cancel */
} Loops;

/* Chooses the inner iterator and prepares all operands. False with E0402 where indices do not fit in 64 bits. */
bool loops_init(Loops *, const Eval *);
/* The output iterator, but `inner`, of most values that operand 0 does not read and the others read evenly: contract sums up to ACROSS of
 * its outputs side by side, for which spans are looked for once. -1: none. */
enum { ACROSS = 64 };
int loops_across(const Loops *, int inner);
Span access_span(const Access *, const int64_t *iter, int64_t w0, int64_t n);
/* Next values of the iterators from..to-1 without the inner one, the last fastest; false after the last, all 0 again. */
bool loops_next(Loops *, int from, int to);
bool loops_cancelled(Loops *, int64_t spans); /* after so many more of them */

#endif
