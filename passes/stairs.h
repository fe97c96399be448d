/* Staircases: a monotone code-valued function of an integer, as thresholds, and as a line rounded down. Internal to passes/. */
#ifndef POPSHIFT_PASSES_STAIRS_H
#define POPSHIFT_PASSES_STAIRS_H

#include "ir/base.h"

/* f on lo..hi: y0 = f(lo), then n steps of `step` (+-unit): at[j] is the least x where j+1 steps are done; at rises. */
typedef struct Stairs {
  int64_t lo, hi, y0, step, n, *at;
  int64_t *under;          /* under[j]: the greatest x that occurs with fewer than j+1 steps done; NULL: at[j] - 1 */
} Stairs;

typedef void StairsFn(void *user, const int64_t *x, int64_t *y, int n); /* y[i] = f(x[i]); n up to STAIRS_RUN */
enum { STAIRS_RUN = 64 };
/* The ends and the number of levels of a monotone f; unit: distance of neighbouring codes. False where a value is no multiple, or n > max. */
bool stairs_ends(StairsFn *, void *user, int64_t lo, int64_t hi, int64_t unit, int64_t max, Stairs *);
/* `at` of what stairs_ends found. */
void stairs_find(Arena *, StairsFn *, void *user, Stairs *);
/* at[i], i < n: the least x where level j + i of *s is reached, searched from at[i]; the ends of *s reach none of them, and all. */
void stairs_near(StairsFn *, void *user, const Stairs *s, int64_t j, int64_t n, int64_t *at);
/* False where a few of the levels, of steps +-1, already leave no room for a line: stairs_lines would find none. `at` is not needed. */
bool stairs_may_be_line(StairsFn *, void *user, const Stairs *);

/* m[i], b[i] and one shift such that clamp(floor((x*m + b) / 2^shift), ylo, yhi) is each staircase, on its whole range, without
 * overflow of i64. False where no such line was found; the least shift that serves all rows is taken. Steps must be +-1. */
bool stairs_lines(Arena *, const Stairs *rows, int64_t n, int64_t ylo, int64_t yhi, int64_t *m, int64_t *b, int *shift);

#endif
