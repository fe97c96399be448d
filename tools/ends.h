/* The model's ends as --io, --layout and --state ask for them. */
#ifndef POPSHIFT_TOOLS_ENDS_H
#define POPSHIFT_TOOLS_ENDS_H

#include "passes/edges.h"
#include "tools/engine.h"

/* Ports that the caller sees, in order; kept pairs are none of them. e.n_in + e.n_out is 0 where no flag was given: ports are the model's. */
typedef struct Ends {
  bool on;                  /* some flag was given */
  Edges e;
  Ports model, port;        /* what the model has there, and what the port has */
  Keep *keep; int n_keep;   /* by number among all ports of the graph */
  Tensor **first;           /* of each pair: zero, as the input has it */
} Ends;

/* Reads the flags and rewrites m's graph; leaves it alone where there are none. The options get the kept pairs. False with a diagnostic. */
bool model_ends(Cmd *, Model *, PassOptions *, Ends *);
void ends_free(Ends *);
/* Runs an engine on values as the model has them; outs likewise. */
bool ends_run(Ctx *, const Ends *, Engine *, Tensor *const *ins, Tensor **outs);
/* For headers: what the codes of a program's ports mean. */
void ends_describe(const Ends *, Program *);

#endif
