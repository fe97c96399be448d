/* HLS backend: exact Program -> a Vitis-style project that also C-simulates with the project's own ap_int shim. */
#ifndef POPSHIFT_BACKENDS_HLS_H
#define POPSHIFT_BACKENDS_HLS_H

#include "ir/nest.h"

typedef struct HlsOptions {
  const char *name;      /* top function; NULL: the program's name */
  const char *part;      /* NULL: a default, named in the project */
  double clock_ns;       /* 0: 10 */
  int n_vectors;         /* test vectors, from eval */
  const Tensor *const *in;  /* [n_vectors * n_ins] */
  const Tensor *const *out; /* [n_vectors * n_outs] */
} HlsOptions;

/* Files: NAME.cpp NAME.h, NAME_tb.cpp (returns nonzero where a vector differs), tb_data/, include/ap_int.h shim, project.tcl,
 * csim.sh. The program is exact and planned. NAME.cpp also exports `extern "C" void NAME_bridge(const void *const *ins,
 * void *const *outs)` on plain storage, for the C simulation in process. False with a diagnostic. */
bool hls_emit(Ctx *, const Program *, const HlsOptions *, OutFiles *files);
#endif
