/* The float compute of training, by oneDNN 2.6 (onednn.c alone sees its header): convolution, matrix product and pooling,
 * forward and backward, f32. Activations are dense, channels last [n, spatial.., c]; weights are dense in the graph's
 * order [oc, ic/groups, k..]; vectors are [c]. Buffers are the caller's, 64-aligned where speed matters, and no output overlaps an input.
 * A Dnn and its operations belong to one thread at a time and compute in that thread alone: every call sets OpenMP's thread count of
 * the calling thread to 1, so bits depend on the machine's instruction set, never on OMP_NUM_THREADS or on how many workers run.
 * Diagnostics and scratch go to the Ctx, which is not shared between threads either: give each worker its own. */
#ifndef POPSHIFT_TRAINER_ONEDNN_H
#define POPSHIFT_TRAINER_ONEDNN_H

#include "ir/base.h"

typedef struct Dnn Dnn;     /* engine, stream and the scratch that its operations share */
typedef struct DnnOp DnnOp; /* a prepared operation on fixed shapes: made once, run many times */

Dnn *dnn_new(Ctx *);        /* NULL with E0902 where oneDNN does not start */
void dnn_free(Dnn *);       /* after its operations; NULL is fine */
void dnn_op_free(DnnOp *);  /* NULL is fine */

/* Operands of dnn_run; each maker says which it reads and writes. The others are ignored. */
typedef struct DnnArgs {
  const float *x, *w, *b, *dy;
  float *y, *dx, *dw, *db;
  void *ws;                 /* dnn_workspace bytes, 64-aligned, kept by the caller from pool_forward to pool_grad */
} DnnArgs;

/* False with E0902: an operand is missing, or oneDNN failed. Outputs are written whole, never added to. */
bool dnn_run(DnnOp *, const DnnArgs *);
size_t dnn_workspace(const DnnOp *); /* bytes of DnnArgs.ws; 0 for all but max pooling */

/* The makers give NULL with a diagnostic: E0207 shapes that do not fit, E0307 what oneDNN refuses, E0401 scratch beyond the limit. */

/* nd = 1..3 spatial dimensions; the first nd entries of each array count. Dilation 1 is dense. pad lies before x; behind x lies what
 * out asks for, or the windows leave less than a stride of x over: positions that no window reaches get gradient 0. */
typedef struct DnnConv {
  int nd;
  int64_t n, groups, ic, oc;
  int64_t in[3], k[3], out[3], stride[3], dilation[3], pad[3];
} DnnConv;

DnnOp *dnn_conv_forward(Dnn *, const DnnConv *, bool bias, bool relu); /* x, w, b -> y = conv(x, w) + b, then max(0, .) */
DnnOp *dnn_conv_grad_x(Dnn *, const DnnConv *);                        /* dy, w -> dx */
DnnOp *dnn_conv_grad_w(Dnn *, const DnnConv *, bool bias);             /* x, dy -> dw, db */

/* y[i] = x[i] . w[i] + b over i < batch: [m, k] . [k, n] + [n]. Strides in floats of {batch, row, column}: row-major or transposed,
 * with the other stride at least the dense dimension. A batch stride of 0 in x or w repeats one matrix; y's matrices do
 * not overlap. A transposed y with bias works, but only in oneDNN's slow reference loops. */
typedef struct DnnMatmul {
  int64_t batch, m, n, k;
  int64_t x[3], w[3], y[3];
  bool bias;
} DnnMatmul;

DnnOp *dnn_matmul(Dnn *, const DnnMatmul *); /* x, w, b -> y */

/* Pooling. DNN_MAX: of equal elements the first in the window's row-major order wins, and takes the gradient.
 * DNN_AVG divides by the elements inside x, DNN_AVG_PAD by the window's size. Every window must reach into x, which is finite. Dilated
 * windows run in oneDNN's slow reference loops. */
typedef enum DnnPoolKind { DNN_MAX, DNN_AVG, DNN_AVG_PAD } DnnPoolKind;
typedef struct DnnPool {
  DnnPoolKind kind;
  int nd;
  int64_t n, c;
  int64_t in[3], k[3], out[3], stride[3], dilation[3], pad[3]; /* as in DnnConv */
} DnnPool;

DnnOp *dnn_pool_forward(Dnn *, const DnnPool *); /* x -> y, ws */
DnnOp *dnn_pool_grad(Dnn *, const DnnPool *);    /* dy, ws -> dx */

#endif
