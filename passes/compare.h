/* Evaluation before and after a pass, for the runner. Internal to passes/. */
#ifndef POPSHIFT_PASSES_COMPARE_H
#define POPSHIFT_PASSES_COMPARE_H

#include "passes/pass.h"

enum { COMPARE_SETS = 2 };
/* Random inputs, and the outputs of the last state evaluated on them. */
typedef struct Compare {
  Ctx *ctx;
  Arena *a;
  bool on;               /* false: dimensions or work are beyond what can be evaluated */
  int n_in, n_out;
  Tensor **in[COMPARE_SETS], **out[COMPARE_SETS];
} Compare;

/* Inputs: floats normally distributed, codes uniform over their type, always the same. max_work: element operations, 0: any. */
void compare_init(Compare *, Ctx *, const Graph *, int64_t max_work);
void compare_free(Compare *);
typedef enum Check { CHECK_NONE, CHECK_BITS, CHECK_CODES } Check;
/* Evaluates the state and replaces the outputs. BITS: they must be the same bits. CODES: on one set at least, half of the elements lie
 * within 5 % of the output's spread: sums were rounded once instead of term by term, and a tie that falls the other way may grow through
 * later layers. Else *what (in c->a) says where they differ. */
bool compare_state(Compare *, const Graph *, const Program *, Check, const char **what);

#endif
