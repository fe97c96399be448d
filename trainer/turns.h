/* Outputs of a graph one after another, where arguments may change in between: calibration. */
#ifndef POPSHIFT_TRAINER_TURNS_H
#define POPSHIFT_TRAINER_TURNS_H

#include "ir/graph.h"
#include "trainer/onednn.h"

/* Computes output 0, calls each(user, 0, its value), computes output 1, and so on; what an output needs and an earlier one has computed is not
 * computed again. So `each` may change the arguments that no output up to its own depends on. The graph is static; arg[i] is argument i,
 * row-major at its storage, and so is a value, until `each` returns; false from it ends all. Sums of floats may be added up in another order
 * than in a run of the whole graph. False, with a diagnostic unless `each` said so. */
bool run_in_turns(Ctx *, Dnn *, const Graph *, const void *const *arg, bool (*each)(void *user, int out, const void *value), void *user);

#endif
