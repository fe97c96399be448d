#include "trainer/optim.h"

#include "ir/math.h"

#include <math.h>

const char *const optim_names[OPTIM_KINDS] = {[OPTIM_SGD] = "sgd", [OPTIM_ADAM] = "adam", [OPTIM_AMSGRAD] = "amsgrad", [OPTIM_RADAM] = "radam"};

double schedule_lr(const Schedule *s, int64_t iteration, int64_t per_epoch, double epochs) {
  double warm = floor(s->warm_epochs * (double)per_epoch + 0.5), i = (double)iteration;
  if (i < warm) return s->warm_constant ? s->warm_lr : s->warm_lr + (s->base - s->warm_lr) * (i / warm);
  if (s->kind == LR_COSINE) {
    double all = epochs * (double)per_epoch - warm, at = all > 0 ? (i - warm) / all : 1;
    if (at > 1) at = 1;
    return s->final + (s->base - s->final) * (1 + math_eval(S_COS, 0x1.921fb54442d18p+1 * at, 0)) / 2;
  }
  double lr = s->base;
  if (s->kind == LR_STEP)
    for (int k = 0; k < s->n_at && s->at[k] * (double)per_epoch <= i; k++) lr *= s->factor;
  return lr;
}

int optim_slots(const Optim *o) { return o->kind == OPTIM_AMSGRAD ? 3 : o->kind != OPTIM_SGD ? 2 : o->momentum != 0; }

OptimStep optim_begin(const Optim *o, double lr, int64_t t) {
  OptimStep s = {.o = o, .lr = (float)lr, .decay = (float)o->weight_decay, .momentum = (float)o->momentum};
  if (o->kind == OPTIM_SGD) return s;
  s.beta1 = (float)o->beta1;
  s.beta2 = (float)o->beta2;
  s.epsilon = (float)o->epsilon;
  s.root_correction = (float)sqrt(1 - math_eval(S_POW, o->beta2, (double)t));
  double rate = lr / (1 - math_eval(S_POW, o->beta1, (double)t));
  if (o->kind == OPTIM_RADAM) {
    double power = math_eval(S_POW, o->beta2, (double)t), all = 2 / (1 - o->beta2) - 1, rho = all - 2 * (double)t * power / (1 - power);
    s.adaptive = rho > 4;
    if (s.adaptive) rate *= sqrt((rho - 4) * (rho - 2) * all / ((all - 4) * (all - 2) * rho));
  }
  s.rate = (float)rate;
  return s;
}

static void sgd(const OptimStep *s, const ParamGroup *p, const float *restrict grad, int64_t begin, int64_t end) {
  float lr = s->lr, momentum = s->momentum, mul = p->grad_mul, decay = s->decay * p->decay_mul;
  float *restrict value = p->value, *restrict v = p->state;
  if (momentum == 0) {
    for (int64_t i = begin; i < end; i++) value[i] -= lr * (grad[i] * mul + decay * value[i]);
    return;
  }
  float now = s->o->nesterov ? 1 : 0, later = s->o->nesterov ? momentum : 1; /* multiplying by 0 or 1 is exact */
  for (int64_t i = begin; i < end; i++) {
    float g = grad[i] * mul + decay * value[i];
    v[i] = momentum * v[i] + g;
    value[i] -= lr * (now * g + later * v[i]);
  }
}

static void adam(const OptimStep *s, const ParamGroup *p, const float *restrict grad, int64_t begin, int64_t end) {
  float rate = s->rate, root = s->root_correction, epsilon = s->epsilon, mul = p->grad_mul, decay = s->decay * p->decay_mul;
  float b1 = s->beta1, b2 = s->beta2, c1 = 1 - b1, c2 = 1 - b2;
  float *restrict value = p->value, *restrict m = p->state, *restrict v = p->state + p->n;
  for (int64_t i = begin; i < end; i++) {
    float g = grad[i] * mul + decay * value[i];
    m[i] = b1 * m[i] + c1 * g;
    v[i] = b2 * v[i] + c2 * g * g;
    value[i] -= rate * m[i] / (sqrtf(v[i]) / root + epsilon);
  }
}

static void amsgrad(const OptimStep *s, const ParamGroup *p, const float *restrict grad, int64_t begin, int64_t end) {
  float rate = s->rate, root = s->root_correction, epsilon = s->epsilon, mul = p->grad_mul, decay = s->decay * p->decay_mul;
  float b1 = s->beta1, b2 = s->beta2, c1 = 1 - b1, c2 = 1 - b2;
  float *restrict value = p->value, *restrict m = p->state, *restrict v = p->state + p->n, *restrict top = p->state + 2 * p->n;
  for (int64_t i = begin; i < end; i++) {
    float g = grad[i] * mul + decay * value[i];
    m[i] = b1 * m[i] + c1 * g;
    v[i] = b2 * v[i] + c2 * g * g;
    top[i] = top[i] > v[i] ? top[i] : v[i];
    value[i] -= rate * m[i] / (sqrtf(top[i]) / root + epsilon);
  }
}

/* Its moments without the denominator: the first steps of radam. */
static void moments(const OptimStep *s, const ParamGroup *p, const float *restrict grad, int64_t begin, int64_t end) {
  float rate = s->rate, mul = p->grad_mul, decay = s->decay * p->decay_mul, b1 = s->beta1, b2 = s->beta2, c1 = 1 - b1, c2 = 1 - b2;
  float *restrict value = p->value, *restrict m = p->state, *restrict v = p->state + p->n;
  for (int64_t i = begin; i < end; i++) {
    float g = grad[i] * mul + decay * value[i];
    m[i] = b1 * m[i] + c1 * g;
    v[i] = b2 * v[i] + c2 * g * g;
    value[i] -= rate * m[i];
  }
}

static void radam(const OptimStep *s, const ParamGroup *p, const float *grad, int64_t begin, int64_t end) {
  (s->adaptive ? adam : moments)(s, p, grad, begin, end);
}

void optim_average(const OptimStep *s, const ParamGroup *p, int64_t begin, int64_t end) {
  float keep = (float)s->o->ema, more = 1 - keep, *restrict average = p->average;
  const float *restrict value = p->value;
  for (int64_t i = begin; i < end; i++) average[i] = keep * average[i] + more * value[i];
}

void optim_step(const OptimStep *s, const ParamGroup *p, const float *grad, int64_t begin, int64_t end) {
  static void (*const steps[])(const OptimStep *, const ParamGroup *, const float *, int64_t, int64_t) = {[OPTIM_SGD] = sgd, [OPTIM_ADAM] = adam, [OPTIM_AMSGRAD] = amsgrad, [OPTIM_RADAM] = radam};
  steps[s->o->kind](s, p, grad, begin, end);
}
