/* Groups of weights as sums of signed alphas, and the steps that train them: adaptive loss-aware quantization (Z. Qu, Z. Zhou, Y. Cheng,
 * L. Thiele, "Adaptive Loss-aware Quantization for Multi-bit Networks", CVPR 2020; ALQ below). Numbers alone: which weights a group has,
 * and where state is kept, is quant_alq.c's.
 *   w[j] = sum over i < k of (code[j] >> i & 1 ? alpha[i] : -alpha[i]),  alpha >= 0, 0 <= k <= ALQ_BITS; k = 0: w = 0
 * One step of a group with the gradient G of the loss by w, AMSGrad's moments m, v, top = max of v (of the v that is not corrected):
 *   p = lr/(1-beta1^t) m,  h = (sqrt(top) + epsilon) / sqrt(1-beta2^t):  the loss near w is  p (x - w) + h/2 (x - w)^2      Eq. 10 */
#ifndef POPSHIFT_TRAINER_ALQ_H
#define POPSHIFT_TRAINER_ALQ_H

#include <stdbool.h>
#include <stdint.h>

enum { ALQ_BITS = 6, ALQ_LEVELS = 1 << ALQ_BITS };

typedef enum AlqMode {
  ALQ_BASIS,       /* codes, then alphas, nearest to w - p/h in h's norm: Eq. 19, 23 */
  ALQ_COORD,       /* AMSGrad on the alphas, codes stay: Eq. 21 */
  ALQ_PRUNE,       /* moments and importance of the alphas, which go where they are least: Eq. 13 */
  ALQ_STE,         /* float weights take the gradient's step and are projected in h's norm ("STE with loss-aware") */
  ALQ_RECONSTRUCT, /* and projected by squared error ("STE with rec. error") */
  ALQ_MODES
} AlqMode;
extern const char *const alq_mode_names[ALQ_MODES];

/* All in memory of the caller's; codes are whole numbers in binary32, as parameters are. */
typedef struct AlqGroup {
  int64_t n; int k;
  float *w, *code, *m, *v, *top;  /* [n] */
  float *latent;                  /* [n]: float weights of the two STE steps */
  float *alpha, *am, *av, *atop;  /* [ALQ_BITS] room; [k] used; moments in the alphas' domain */
} AlqGroup;

/* The numbers of one step. */
typedef struct AlqStep { float beta1, beta2, epsilon, rate, root, decay; } AlqStep; /* rate: lr/(1-beta1^t); root: sqrt(1-beta2^t); decay: L2 of alphas */
AlqStep alq_step(double lr, double beta1, double beta2, double epsilon, double decay, int64_t t); /* t from 1 */

/* Structured sketching (Alg. 1): n numbers of w to codes and at most `most` alphas, fewer where the squared error falls to sigma of the
 * squares. Returns how many; 0 where all w are 0. */
int alq_sketch(const float *w, int64_t n, int most, double sigma, float *code, float *alpha);

/* The 2^k levels, upwards, and the middles between neighbours. */
typedef struct AlqLevels { int n; float by_code[ALQ_LEVELS], level[ALQ_LEVELS], mid[ALQ_LEVELS]; uint8_t code[ALQ_LEVELS]; } AlqLevels;
void alq_levels(const float *alpha, int k, AlqLevels *);
int alq_nearest(const AlqLevels *, float x); /* code of the level nearest to x, by binary search: Eq. 19 */

/* Solves a x = y for symmetric a, of which the lower half is read, x in y. False where a is not positive definite in binary64, or x not finite in binary32. */
bool alq_cholesky(double a[][ALQ_BITS], double *y, int k);

/* alpha = (B' H B + lambda I)^-1 B' H x from the sums over all elements of equal code of h, and of h*x: Eq. 23. False, and alpha as it
 * was, where the matrix is not positive definite in binary64. */
bool alq_solve(const double *h, const double *hx, int k, double lambda, double *alpha);

/* A step of any mode but ALQ_PRUNE; k >= 1. */
void alq_group_step(const AlqStep *, AlqMode, const AlqGroup *, const float *grad);
/* ALQ_PRUNE: moments take the gradient, and f[i] is the loss that Eq. 13 expects where alpha[i] goes. */
void alq_importance(const AlqStep *, const AlqGroup *, const float *grad, float *f);
void alq_drop(AlqGroup *, int i);             /* alpha[i] and its signs go; k falls by one; w follows */
void alq_restore(const AlqGroup *);           /* w = B alpha */

/* Bits that G groups of n weights with `planes` alphas in all take: signs, alphas in binary32, and each group's count out of 0 .. most. */
double alq_bits(int64_t n, int64_t groups, int64_t planes, int most);

#endif
