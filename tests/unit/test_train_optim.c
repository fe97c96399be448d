/* Optimizers against binary64 references written the other way round, that splitting a step changes no bit, schedules by hand. */
#include "tests/unit/suite.h"
#include "trainer/optim.h"

#include <math.h>
#include <string.h>

enum { N = 203, STEPS = 40 };

static float gradient(int i, int t, float p) { return 0.3f * p + sinf((float)(i * 7 + t * 13)); } /* some function */

/* One element in binary64, t from 1. */
static void reference(const Optim *o, double lr, int t, double decay, double g, double *p, double *s0, double *s1, double *s2) {
  g += decay * *p;
  if (o->kind == OPTIM_SGD) {
    *s0 = o->momentum * *s0 + g;
    *p -= lr * (o->nesterov ? g + o->momentum * *s0 : *s0);
    return;
  }
  *s0 += (1 - o->beta1) * (g - *s0);
  *s1 += (1 - o->beta2) * (g * g - *s1);
  *s2 = fmax(*s2, *s1);
  if (o->kind == OPTIM_RADAM) { /* Algorithm 2 */
    double all = 2 / (1 - o->beta2) - 1, rho = all - 2 * t * pow(o->beta2, t) / (1 - pow(o->beta2, t)), m = *s0 / (1 - pow(o->beta1, t));
    double r = sqrt((rho - 4) * (rho - 2) * all / ((all - 4) * (all - 2) * rho));
    *p -= rho > 4 ? lr * r * m / (sqrt(*s1 / (1 - pow(o->beta2, t))) + o->epsilon) : lr * m;
    return;
  }
  *p -= lr * (*s0 / (1 - pow(o->beta1, t))) / (sqrt((o->kind == OPTIM_AMSGRAD ? *s2 : *s1) / (1 - pow(o->beta2, t))) + o->epsilon);
}

static const Optim configs[] = {
  {.kind = OPTIM_SGD, .weight_decay = 5e-4},
  {.kind = OPTIM_SGD, .momentum = 0.9},
  {.kind = OPTIM_SGD, .momentum = 0.9, .weight_decay = 5e-2},
  {.kind = OPTIM_SGD, .momentum = 0.9, .nesterov = true, .weight_decay = 5e-4},
  {.kind = OPTIM_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
  {.kind = OPTIM_ADAM, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 1e-2},
  {.kind = OPTIM_AMSGRAD, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
  {.kind = OPTIM_AMSGRAD, .beta1 = 0.8, .beta2 = 0.7, .epsilon = 1e-3, .weight_decay = 1e-2}, /* beta2: v falls, its maximum stays */
  {.kind = OPTIM_RADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8},
  {.kind = OPTIM_RADAM, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 1e-2},
  {.kind = OPTIM_RADAM, .beta1 = 0.8, .beta2 = 0.5, .epsilon = 1e-3}, /* never adaptive */
};

START_TEST(against_reference) {
  const Optim *o = &configs[_i];
  float value[N], state[3 * N] = {0}, grad[N];
  double want[N], s0[N] = {0}, s1[N] = {0}, s2[N] = {0};
  ParamGroup p = {.name = "w", .n = N, .value = value, .state = state, .grad_mul = 0.5f, .decay_mul = 2};
  for (int i = 0; i < N; i++) want[i] = value[i] = (float)cos(i);
  ck_assert_int_eq(optim_slots(o), o->kind == OPTIM_AMSGRAD ? 3 : o->kind != OPTIM_SGD ? 2 : o->momentum != 0);
  for (int t = 1; t <= STEPS; t++) {
    for (int i = 0; i < N; i++) grad[i] = gradient(i, t, (float)want[i]);
    OptimStep step = optim_begin(o, 0.01, t);
    optim_step(&step, &p, grad, 0, N);
    for (int i = 0; i < N; i++) reference(o, 0.01, t, 2 * o->weight_decay, 0.5 * grad[i], &want[i], &s0[i], &s1[i], &s2[i]);
  }
  for (int i = 0; i < N; i++) {
    ck_assert_double_eq_tol(value[i], want[i], 1e-5);
    ck_assert_double_ne(want[i], cos(i));
  }
}
END_TEST

START_TEST(splitting) {
  const Optim *o = &configs[_i];
  float a[N], b[N], sa[3 * N] = {0}, sb[3 * N] = {0}, grad[N];
  ParamGroup pa = {.name = "a", .n = N, .value = a, .state = sa, .grad_mul = 1, .decay_mul = 1}, pb = {.name = "b", .n = N, .value = b, .state = sb, .grad_mul = 1, .decay_mul = 1};
  for (int i = 0; i < N; i++) a[i] = b[i] = (float)cos(i);
  for (int t = 1; t <= STEPS; t++) {
    for (int i = 0; i < N; i++) grad[i] = gradient(i, t, a[i]);
    OptimStep step = optim_begin(o, 0.01, t);
    optim_step(&step, &pa, grad, 0, N);
    for (int at = N, cut; at > 0; at = cut) {
      cut = at - 1 - t % 11 > 0 ? at - 1 - t % 11 : 0;
      optim_step(&step, &pb, grad, cut, at);
    }
    optim_step(&step, &pb, grad, 5, 5);
  }
  ck_assert_mem_eq(a, b, sizeof a);
  ck_assert_mem_eq(sa, sb, sizeof sa);
}
END_TEST

START_TEST(by_hand) { /* two steps of SGD with momentum 1/2, exact in binary32 */
  Optim o = {.kind = OPTIM_SGD, .momentum = 0.5};
  float value = 1, v = 0, g = 1;
  ParamGroup p = {.name = "w", .n = 1, .value = &value, .state = &v, .grad_mul = 1, .decay_mul = 1};
  OptimStep s = optim_begin(&o, 0.25, 1);
  optim_step(&s, &p, &g, 0, 1);
  ck_assert_float_eq(value, 0.75f);
  optim_step(&s, &p, &g, 0, 1); /* v = 1.5 */
  ck_assert_float_eq(value, 0.375f);
  o.nesterov = true, value = 1, v = 0;
  optim_step(&s, &p, &g, 0, 1); /* 1 - (1 + 0.5) / 4 */
  ck_assert_float_eq(value, 0.625f);
  Optim a = {.kind = OPTIM_ADAM, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 0}; /* the first step is lr * sign(g), whatever the size of g */
  float st[2] = {0}, big = -1e6f;
  value = 1;
  p.state = st;
  s = optim_begin(&a, 0.125, 1);
  optim_step(&s, &p, &big, 0, 1);
  ck_assert_float_eq_tol(value, 1.125f, 1e-6f);
}
END_TEST

START_TEST(averages) { /* of 37 numbers over 30 steps, in pieces, against binary64 */
  enum { COUNT = 37 };
  Optim o = {.kind = OPTIM_SGD, .ema = 0.9};
  float value[COUNT], average[COUNT];
  double want[COUNT];
  ParamGroup p = {.name = "w", .n = COUNT, .value = value, .average = average, .grad_mul = 1};
  for (int i = 0; i < COUNT; i++) want[i] = average[i] = value[i] = (float)sin(i);
  for (int t = 1; t <= 30; t++) {
    OptimStep s = optim_begin(&o, 0.1, t);
    for (int i = 0; i < COUNT; i++) value[i] = (float)sin(i + 0.3 * t), want[i] = 0.9 * want[i] + 0.1 * (double)value[i];
    optim_average(&s, &p, t % COUNT, COUNT), optim_average(&s, &p, 0, t % COUNT);
  }
  for (int i = 0; i < COUNT; i++) ck_assert_double_eq_tol(average[i], want[i], 1e-6);
}
END_TEST

START_TEST(schedules) {
  Schedule c = {.kind = LR_CONSTANT, .base = 0.1};
  ck_assert_double_eq(schedule_lr(&c, 0, 10, 5), 0.1);
  ck_assert_double_eq(schedule_lr(&c, 49, 10, 5), 0.1);
  Schedule cos = {.kind = LR_COSINE, .base = 0.2};
  ck_assert_double_eq(schedule_lr(&cos, 0, 10, 4), 0.2);
  ck_assert_double_eq_tol(schedule_lr(&cos, 20, 10, 4), 0.1, 1e-15);
  ck_assert_double_eq_tol(schedule_lr(&cos, 10, 10, 4), 0.1 * (1 + M_SQRT1_2), 1e-15);
  ck_assert_double_eq_tol(schedule_lr(&cos, 40, 10, 4), 0, 1e-17);
  ck_assert_double_eq(schedule_lr(&cos, 60, 10, 4), schedule_lr(&cos, 40, 10, 4)); /* never rises again */
  cos.final = 0.1;
  ck_assert_double_eq_tol(schedule_lr(&cos, 20, 10, 4), 0.15, 1e-15);
  Schedule st = {.kind = LR_STEP, .base = 1, .factor = 0.5, .n_at = 2, .at = {1, 2.5}};
  static const double want[] = {1, 1, 0.5, 0.5, 0.5, 0.25, 0.25};
  for (int i = 0; i < 7; i++) ck_assert_double_eq(schedule_lr(&st, i, 2, 4), want[i]);
}
END_TEST

START_TEST(warm_up) {
  Schedule s = {.kind = LR_COSINE, .base = 0.5, .warm_epochs = 1, .warm_lr = 0.1};
  ck_assert_double_eq(schedule_lr(&s, 0, 4, 3), 0.1);
  ck_assert_double_eq_tol(schedule_lr(&s, 1, 4, 3), 0.2, 1e-15);
  ck_assert_double_eq_tol(schedule_lr(&s, 3, 4, 3), 0.4, 1e-15);
  ck_assert_double_eq(schedule_lr(&s, 4, 4, 3), 0.5); /* the cosine starts after it */
  ck_assert_double_eq_tol(schedule_lr(&s, 8, 4, 3), 0.25, 1e-15);
  s.warm_constant = true;
  ck_assert_double_eq(schedule_lr(&s, 3, 4, 3), 0.1);
  s.warm_epochs = 0.5;
  ck_assert_double_eq(schedule_lr(&s, 1, 4, 3), 0.1);
  ck_assert_double_eq(schedule_lr(&s, 2, 4, 3), 0.5);
  s.warm_epochs = 3; /* all of the phase */
  ck_assert_double_eq(schedule_lr(&s, 11, 4, 3), 0.1);
  ck_assert(isfinite(schedule_lr(&s, 12, 4, 3)));
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_optim");
  TCase *t = tcase_create("optim");
  int n = (int)(sizeof configs / sizeof *configs);
  tcase_add_loop_test(t, against_reference, 0, n);
  tcase_add_loop_test(t, splitting, 0, n);
  tcase_add_test(t, by_hand);
  tcase_add_test(t, averages);
  tcase_add_test(t, schedules);
  tcase_add_test(t, warm_up);
  suite_add_tcase(s, t);
  return suite_run(s);
}
