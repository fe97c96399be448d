/* Optimizers on flat arrays of binary32, and learning rates as a function of the iteration. Element i of a step depends on
 * element i of its operands alone, so threads may split [begin, end) anyhow without changing a bit. */
#ifndef POPSHIFT_TRAINER_OPTIM_H
#define POPSHIFT_TRAINER_OPTIM_H

#include <stdbool.h>
#include <stdint.h>

typedef enum LrKind { LR_CONSTANT, LR_COSINE, LR_STEP } LrKind;
enum { LR_STEPS = 16 };

/* Learning rate of a phase. With i the iteration in the phase from 0, P iterations per epoch, E epochs, W = round(warm_epochs*P):
 *   i < W     warm-up: linear    warm_lr + (base - warm_lr) * i/W        constant   warm_lr
 *   constant  base
 *   cosine    final + (base - final) * (1 + cos(pi * (i-W)/(E*P-W))) / 2                       (I. Loshchilov, F. Hutter, ICLR 2017)
 *   step      base * factor^#{k : at[k]*P <= i}; the epochs at[k] count from the phase's start, warm-up included */
typedef struct Schedule {
  LrKind kind;
  double base, final, factor;
  int n_at;
  double at[LR_STEPS];           /* epochs, ascending */
  double warm_epochs, warm_lr;   /* 0 epochs: none */
  bool warm_constant;
} Schedule;

double schedule_lr(const Schedule *, int64_t iteration, int64_t per_epoch, double epochs);

typedef enum OptimKind { OPTIM_SGD, OPTIM_ADAM, OPTIM_AMSGRAD, OPTIM_RADAM, OPTIM_KINDS } OptimKind;

typedef struct Optim {
  OptimKind kind;
  double momentum;               /* sgd */
  bool nesterov;
  double beta1, beta2, epsilon;  /* all but sgd */
  double weight_decay;           /* L2: added to the gradient */
  double ema;                    /* above 0: averages of values that keep so much of themselves a step */
} Optim;

/* One parameter: what of it does not change from step to step. */
typedef struct ParamGroup {
  const char *name;
  int64_t n;
  float *value;                  /* [n] */
  float *state;                  /* [optim_slots * n], zero before the first step: v of SGD; m, then v, of Adam; then the greatest v of AMSGrad */
  float grad_mul;                /* gradients are multiplied by it first; 1 for most */
  float decay_mul;               /* times Optim.weight_decay; 0 for parameters that do not decay */
  float *average;                /* [n], begins as value; NULL without ema */
} ParamGroup;

extern const char *const optim_names[OPTIM_KINDS];

int optim_slots(const Optim *);  /* floats of state per element: 1 to 3 (SGD without momentum: 0) */

/* The numbers of one step, equal for all parameters; computed once. */
typedef struct OptimStep {
  const Optim *o;
  float lr, momentum, decay, beta1, beta2, epsilon;
  float root_correction;         /* adam: sqrt(1 - beta2^t) */
  float rate;                    /* adam: lr / (1 - beta1^t); radam: times r */
  bool adaptive;                 /* radam: the variance of its denominator is finite */
} OptimStep;
OptimStep optim_begin(const Optim *, double lr, int64_t t); /* t: steps since state was zero, from 1 */

/* Elements [begin, end) of one parameter, p the value, every operation rounded to binary32:
 *   g = grad*grad_mul + (weight_decay*decay_mul) * p
 *   sgd   v = momentum*v + g;  p -= lr * (nesterov ? g + momentum*v : v)                 (PyTorch's convention: lr outside v)
 *   adam  m = beta1*m + (1-beta1)*g;  v = beta2*v + (1-beta2)*g*g;
 *         p -= rate * m / (sqrt(v)/root_correction + epsilon)                            (D. P. Kingma, J. Ba, ICLR 2015)
 *   amsgrad  top = max(top, v) after adam's m and v;  p -= rate * m / (sqrt(top)/root_correction + epsilon)  (S. J. Reddi et al., ICLR 2018)
 *   radam    adam with rate times r where rho > 4, else p -= rate * m;  rho = i - 2 t beta2^t/(1 - beta2^t), i = 2/(1-beta2) - 1,
 *            r = sqrt((rho-4)(rho-2) i / ((i-4)(i-2) rho))                                      (L. Liu et al., ICLR 2020)
 * With ema > 0, then average = ema*average + (1-ema)*p: optim_average, once p is what the step leaves. */
void optim_step(const OptimStep *, const ParamGroup *, const float *grad, int64_t begin, int64_t end);
void optim_average(const OptimStep *, const ParamGroup *, int64_t begin, int64_t end);

#endif
