/* Random numbers without state: Philox4x32-10 (J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers:
 * as easy as 1, 2, 3", SC 2011) of a key and a 128-bit counter, so that a number depends on its name alone: on the seed, on
 * what it is for, and on where in the counter it lies (epoch, sample, element), never on who asked before. */
#ifndef POPSHIFT_TRAINER_RNG_H
#define POPSHIFT_TRAINER_RNG_H

#include <stdint.h>

/* What numbers are for: equal seeds give unrelated numbers in different streams. Numbers are never reused. */
typedef enum RngStream { RNG_INIT = 1, RNG_SHUFFLE = 2, RNG_AUGMENT = 3, RNG_QUANT = 4, RNG_PRECISION = 5, RNG_SPLIT = 6 } RngStream;

typedef struct Rng { uint64_t seed; uint32_t stream; } Rng;

/* The bijection itself: ten rounds of the counter under the key. */
void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Block lo of row hi: four words. By convention hi is what changes seldom (epoch, parameter), lo what changes often. The
 * stream is added (as a multiple of 2^56) to hi, thus hi < 2^56: streams share the key and never a counter. */
void rng_block(Rng, uint64_t hi, uint64_t lo, uint32_t out[4]);
float rng_uniform(Rng, uint64_t hi, uint64_t lo);          /* k / 2^24 of [0, 1), from word 0 */
/* Standard normal: Box-Muller in binary64 with the formulas of ir/math.h, rounded once; the same bits everywhere. */
float rng_normal(Rng, uint64_t hi, uint64_t lo);
/* Uniform in 0 .. n-1 without bias (words that would bias are passed over); n >= 1. */
uint32_t rng_below(Rng, uint64_t hi, uint64_t lo, uint32_t n);
/* A permutation of 0 .. n-1 (Fisher-Yates), one per epoch; n < 2^31. */
void rng_permutation(Rng, uint64_t epoch, int64_t n, int32_t *out);
/* The whole of an array, element i from counter (hi, i): uniform in [lo, hi), or normal times deviation. */
void rng_fill_uniform(Rng, uint64_t row, int64_t n, float from, float to, float *out);
void rng_fill_normal(Rng, uint64_t row, int64_t n, float deviation, float *out);

#endif
