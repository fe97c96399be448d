/* The first layer where values differ: between an engine and eval, or between eval and stored values of a folder. */
#ifndef POPSHIFT_TOOLS_BISECT_H
#define POPSHIFT_TOOLS_BISECT_H

#include "tools/engine.h"

/* Engine k on g, whose outputs differ from eval's for these inputs. Says, as the newest diagnostic's note, which node is the first that
 * differs while everything it reads is the same. False where an engine cannot be made. */
bool bisect_engine(Cmd *, EngineKind k, Graph *g, Tensor *const *in, const PassOptions *);
/* Values stored as DIR/NAME.npy (characters of NAME that a file cannot have, and /, as _), compared with eval's in the order of the
 * model's nodes: the first that differs by more than the tolerances, or by more than one step of its quantization, goes into say, and *agree is false. */
bool bisect_stored(Cmd *, const char *model, const char *dir, Tensor *const *in, const PassOptions *, double rtol, double atol, bool *agree, Str *say);
/* Elements of a and b that are not the same bits (NaN is NaN); first: index or -1. */
int64_t bits_differ(const Tensor *a, const Tensor *b, int64_t *first);
/* The step of the quantization that a value ends in, 0 where it ends in none. */
double step_of(const Node *);

#endif
