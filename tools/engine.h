/* The five engines behind one interface: each runs a model on tensors. */
#ifndef POPSHIFT_TOOLS_ENGINE_H
#define POPSHIFT_TOOLS_ENGINE_H

#include "tools/cmd.h"

/* c is $CC (or cc) at -O3; c@O0, c@O2 and c@clang are the same C by other compilers. */
typedef enum EngineKind { ENGINE_EVAL, ENGINE_NEST, ENGINE_C, ENGINE_JIT, ENGINE_HLS, ENGINE_C_O0, ENGINE_C_O2, ENGINE_C_CLANG, ENGINE_COUNT } EngineKind;
extern const char *const engine_names[ENGINE_COUNT];
bool engine_here(EngineKind); /* false for c@clang where clang is not in PATH */

typedef struct Engine Engine;
/* The graph is copied. NULL with a diagnostic: E0307 where the engine is not built in. */
Engine *engine_new(Ctx *, EngineKind, Graph *, const PassOptions *);
/* From a planned or unplanned program: nest, c, jit, or hls for an exact one. The program is kept, not owned. */
Engine *engine_of_program(Ctx *, EngineKind, Program *, const PassOptions *);
/* Whichever of the two the state is. */
Engine *engine_for(Ctx *, EngineKind, const State *, const PassOptions *);
/* ins: of the graph's arg types. outs: new tensors, freed by the caller. */
bool engine_run(Engine *, Tensor *const *ins, Tensor **outs);
/* The same on given memory, in and out as NAME_run has them: nest, c, jit and hls. */
bool engine_call(Engine *, const void *const *ins, void *const *outs);
/* Memory for a program's workspace (free), and an engine, c or jit, that uses it in the place of its own. */
void *engine_workspace(const Program *);
bool engine_share(Engine *, void *workspace);

void engine_free(Engine *);
/* --engine: a list of kinds; `all` is eval, nest, c, jit, hls as far as they are built in. Where it is not given: deflt, ENGINE_COUNT for `all`. */
bool engines_of(Cmd *, EngineKind deflt, EngineKind out[ENGINE_COUNT], int *n);

#endif
