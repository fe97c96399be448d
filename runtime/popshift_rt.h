/* Contract between generated code and the program around it. Generated headers repeat these types under the model's
 * prefix (NAME_env, NAME_status); the layout is this one. Includes nothing but the fixed-width integers. */
#ifndef POPSHIFT_RT_H
#define POPSHIFT_RT_H

#include <stddef.h>
#include <stdint.h>

/* A piece of parallel work: items begin <= i < end. Pieces are disjoint and may run at once, in any order. */
typedef void popshift_task(void *arg, size_t begin, size_t end);

/* Runs task over pieces that together are 0..n-1 and returns after the last one has ended; what the pieces wrote is then
 * visible to the caller. task must not be kept. n = 0 does nothing. */
typedef void popshift_parallel_for(void *user, size_t n, popshift_task *task, void *arg);

/* What the host gives to NAME_init. All zero is the same as no env at all: weights inside the code, one thread. */
typedef struct popshift_env {
  const void *weights;                 /* side file of weights, 64-aligned, or NULL */
  size_t size;                         /* its bytes */
  popshift_parallel_for *parallel_for; /* or NULL: one thread */
  void *user;                          /* first argument of parallel_for */
  const char *variant;                 /* of code for several processors: the one to take; NULL: the best that runs */
} popshift_env;

typedef enum popshift_status {
  POPSHIFT_OK = 0,
  POPSHIFT_NULL = 1,  /* a pointer that must not be NULL is */
  POPSHIFT_ALIGN = 2, /* workspace not 64-aligned, or a buffer not aligned to its element */
  POPSHIFT_SIZE = 3,  /* workspace or weights too small */
  POPSHIFT_COUNT = 4, /* batch so large that an address would overflow */
  POPSHIFT_VARIANT = 5 /* env's variant is none of the code's, or not for this processor */
} popshift_status;

#endif
