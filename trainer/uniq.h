/* UniQ, the learnable symmetric quantizer (trainer's quantize.c puts it into graphs; ../docs/TRAINING.md says how):
 *   weights      y = D*r - D(N-1)/2,  r = clamp(round((x + D(N-1)/2)/D), 0, N-1)      N = 2^bits levels, none of them 0
 *   activations  y = D*r,             r = clamp(round(x/D), 0, N-1)
 * Here: the mean squared error of a step size D for a Gaussian of unit variance (weights; activations: its positive part), and the
 * best step (UniQ, Eq. 7, 8 and Table 1). */
#ifndef POPSHIFT_TRAINER_UNIQ_H
#define POPSHIFT_TRAINER_UNIQ_H

#include <stdint.h>

double uniq_error_w(int bits, double step);   /* D_w: E[(x - Q(x))^2] */
double uniq_slope_w(int bits, double step);   /* Eq. 8: dD_w/dstep */
double uniq_error_a(int bits, double step);   /* D_a: the integral over x > 0 */
double uniq_step_w(int bits);                 /* where Eq. 8 is 0; bits 1..16 */
double uniq_step_a(int bits);
/* LSQ's scale of step gradients, which UniQ's code uses: 1/sqrt(elements * levels above 0). */
double uniq_grad_scale(int bits, int is_weight, double elements);

#endif
