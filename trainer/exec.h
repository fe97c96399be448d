/* The trainer's executor: a graph planned once for fixed shapes and run many times, by oneDNN where an access is a convolution, a
 * matrix product or a pool, by fused loops where nodes are element-wise, and by eval's own functions elsewhere. Results follow
 * ir/ops.def; float sums of contract and reduce have another order than eval's, so they differ from it by at most (K+8)*eps*sum|a*b|, and
 * so does batch normalization; everything else, and sums of codes that stay below 2^24, has eval's bits, but for quotients of quant_grad
 * below 2^-100. */
#ifndef POPSHIFT_TRAINER_EXEC_H
#define POPSHIFT_TRAINER_EXEC_H

#include "ir/graph.h"
#include "passes/pass.h"
#include "trainer/onednn.h"

typedef struct Exec Exec;

/* Plans g (static, verified; it must outlive the plan). Everything it makes belongs to ctx and dnn, which one thread uses at a time.
 * NULL with a diagnostic. */
Exec *exec_new(Ctx *ctx, Dnn *dnn, const Graph *g);
/* exact: float sums in eval's order, so that every value of contract and reduce has eval's bits on every machine; slower. Then machine is this
 * processor's target, for which contractions are compiled; NULL, or in a build without LLVM: eval's own functions, much slower. like: of the
 * same graph and options, whose compiled code this one runs, too, on another thread; it lives as long. NULL: none. */
typedef struct ExecOptions { bool exact; const Target *machine; const Exec *like; } ExecOptions;
Exec *exec_new_as(Ctx *, Dnn *, const Graph *g, const ExecOptions *);
void exec_free(Exec *); /* NULL is fine */

/* Arguments lie in the caller's memory, at the storage of their type (f32: float), 64-aligned where speed matters, row-major; but
 * argument 0 as [n, spatial.., c] where exec_channels_last says so. */
bool exec_channels_last(const Exec *, int arg);
void exec_bind(Exec *, int arg, const void *data);

/* One run on what is bound; false with a diagnostic. The outputs lie row-major at their storage until the next run. */
bool exec_run(Exec *);
const void *exec_out(const Exec *, int out);

/* One line per step: what computes which nodes, and nodes left to eval (slow; "eval in order": exact asks for it): for tests and -v. */
void exec_print(Str *, const Exec *);

#endif
