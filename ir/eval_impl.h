/* Shared by scalar.c and the eval_*.c files only. */
#ifndef POPSHIFT_IR_EVAL_IMPL_H
#define POPSHIFT_IR_EVAL_IMPL_H

#include "ir/graph.h"

/* A number wrapped to a code type; shift<k> and bases<1> hold numbers, not words, and keep theirs. */
static inline int64_t elem_wrap(Elem e, int64_t v) {
  if (e.kind == EK_SHIFT || (e.kind == EK_BASES && e.bits == 1)) return v;
  int s = 64 - e.bits;
  if (e.kind == EK_INT) return (int64_t)((uint64_t)v << s) >> s;
  return (int64_t)((uint64_t)v << s >> s);
}
static inline bool elem_is_u64(Elem e) { return e.kind == EK_UINT && e.bits == 64; }
/* A value computed in binary64 or binary32 rounded to a float type; 16-bit types by way of binary32. */
double elem_round(Elem, double);
/* A number of a code type as a value of a float type: one rounding, for 16-bit types to binary32 and on. */
double code_to_float(Elem from, Elem to, int64_t);

/* n elements of a tensor from element `first` on, `step` elements apart; store: contiguous. */
void vals_load(const Tensor *, int64_t first, int64_t step, Val *, int n);
void vals_store(Tensor *, int64_t first, const Val *, int n);

/* x seen as [outer, n, inner] around an axis. */
typedef struct Around { int64_t outer, n, inner; } Around;
static inline Around around(const Type *t, int axis) {
  Around a = {1, t->d[axis].n, 1};
  for (int i = 0; i < axis; i++) a.outer *= t->d[i].n;
  for (int i = axis + 1; i < t->rank; i++) a.inner *= t->d[i].n;
  return a;
}

enum { RUN = 256 }; /* elements computed at a time */

/* Where a node is being evaluated: what every op's function gets. Functions of ops fill y, a zeroed tensor of the node's
 * type; false with a diagnostic where memory is short or the work is cancelled. */
typedef struct Eval { Ctx *ctx; const Node *n; Tensor *const *in; Tensor *y; } Eval;
typedef bool EvalOp(const Eval *);
EvalOp eval_map, eval_view, eval_reduce, eval_contract, eval_quant, eval_dequant, eval_thresholds, eval_requant, eval_concat,
  eval_gather, eval_argreduce, eval_cum, eval_pack, eval_bn, eval_bn_train, eval_bn_grad, eval_quant_grad, eval_locate, eval_scatter, eval_bases;
bool eval_cancelled(const Eval *);            /* true with E0602 when the context says stop */
Tensor *eval_tensor(Ctx *, const Node *, const Type *); /* tensor_new, with the node's location in the diagnostic */
/* x itself where its elements lie as `to` does, else a new tensor of `to` (codes keep their low bits; words: zero extended
 * from their own width), freed by the caller. NULL with a diagnostic. */
Tensor *eval_convert(const Eval *, Tensor *x, Elem to, bool words);

#endif
