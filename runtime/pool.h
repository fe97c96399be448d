/* A small persistent thread pool that offers the contract's parallel_for. Static partition: piece t of T is items
 * n*t/T .. n*(t+1)/T, always by the same thread; the caller is thread 0. Workers spin for a short time and then sleep. */
#ifndef POPSHIFT_RT_POOL_H
#define POPSHIFT_RT_POOL_H

#include "runtime/popshift_rt.h"

typedef struct RtPool RtPool;

/* threads: 1..256 in all, the caller's included; 0: as many as the machine has online. NULL where threads cannot be had. */
RtPool *rt_pool_new(int threads);
void rt_pool_free(RtPool *); /* NULL is fine; no parallel_for may be running */
int rt_pool_threads(const RtPool *);

/* A popshift_parallel_for: user is the RtPool. A call from inside a task, or while another thread's call is running, runs
 * serially in the calling thread. */
void rt_pool_for(void *user, size_t n, popshift_task *task, void *arg);

#endif
