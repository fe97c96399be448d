/* The ranks of one run, started by mpirun: each computes some shards of every batch, all have all parameters, and the first writes.
 * Without MPI at build (POPSHIFT_MPI), or without mpirun, there is one. Whoever fails leaves without a word to the others; mpirun ends
 * them. What is shared lies in memory of the same size on all ranks, and all make the same calls in the same order. */
#ifndef POPSHIFT_TRAINER_RANKS_H
#define POPSHIFT_TRAINER_RANKS_H

#include "ir/base.h"

typedef struct Ranks { int me, count; } Ranks;

Ranks ranks_told(void);                       /* what mpirun says in the environment, before anything is started; {0, 1} without it */
bool ranks_start(Ctx *, Ranks *);             /* E0307 under mpirun with more ranks than one where it is not built in */
void ranks_end(const Ranks *, bool ok);
bool ranks_any(const Ranks *, bool);          /* true on all where it is on some; all have come here */
void ranks_send(const Ranks *, int from, void *data, int64_t bytes); /* from one to all */
void ranks_sum(const Ranks *, int64_t *sum);  /* over ranks, on all */
void ranks_join(const Ranks *, int32_t *data, int64_t n); /* element-wise sums on all: of parts that are 0 elsewhere */

#endif
