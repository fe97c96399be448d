/* ONNX Runtime as a process of Python, for comparisons of speed: it loads a model once and then times runs when asked. */
#ifndef POPSHIFT_TOOLS_PEER_H
#define POPSHIFT_TOOLS_PEER_H

#include "ir/base.h"

typedef struct Peer Peer;
/* python: the interpreter. NULL with a diagnostic where it has no onnxruntime, or that does not load the model. dims: DIM=N,.. or "". */
Peer *peer_start(Ctx *, const char *python, const char *model, int threads, const char *dims);
/* Seconds of one inference, the mean of `runs`; false with a diagnostic where the process ended. */
bool peer_time(Peer *, int64_t runs, double *seconds);
const char *peer_version(const Peer *);
void peer_stop(Peer *);

#endif
