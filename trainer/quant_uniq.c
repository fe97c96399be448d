/* UniQ, the learnable symmetric quantizer (uniq.h, Eq. 1-8):
 *   weights      y = D(q - (N-1)/2), q = clamp(round(x/D + (N-1)/2), 0, N-1)     N = 2^bits levels, none of them 0
 *   activations  y = D q,            q = clamp(round(x/D), 0, N-1)
 * An input that may be negative gets codes in two's complement (of one bit: +-D/2): 0 stays a level, so padding is a code.
 * levels: signed puts weights on two's complement codes, too. init: lsq takes LSQ's first steps. */
#include "trainer/quantizer.h"
#include "trainer/uniq.h"

#include <math.h>

static Levels weight_levels(const Site *s) { return row_option(s->row, "levels", 0) != 0 && s->bits > 1 ? LEVELS_SIGNED : LEVELS_SYMMETRIC; }

static Node *uniq_weight(Put *p) {
  Site *s = p->site;
  Node *step = put_param(p, "weight_step", PARAM_QUANT, &p->steps, 1);
  put_last(p)->grad_mul = (float)uniq_grad_scale(s->bits, 1, (double)s->elements);
  return fake_quant(p->g, p->x, step, s->bits, weight_levels(s));
}

static Node *uniq_act(Put *p) {
  Site *s = p->site;
  Node *step = put_param(p, "act_step", PARAM_QUANT, &p->steps, 1);
  put_last(p)->grad_mul = (float)uniq_grad_scale(s->bits, !s->up, (double)s->elements * s->batch);
  return fake_quant(p->g, p->x, step, s->bits, act_levels(s));
}

/* Table 1's step times the deviation of what one step serves. */
static void uniq_init_weight(const Net *net, const Site *s) {
  Param *step = site_param(net, s, 0);
  Arena *scratch = arena_new(net->ctx);
  const Moments *m = weight_moments(scratch, net, s, step);
  double unit = uniq_step_w(s->bits), above = fmax(1, (double)levels_above(s->bits, LEVELS_SIGNED));
  for (int64_t i = 0; i < step->n; i++)
    step_set(step, i, row_option(s->row, "init", 0) != 0 ? 2 * m[i].abs / sqrt(above) : unit * m[i].deviation);
  arena_free(scratch);
}

/* The greatest of Table 1's step times sqrt(2 * mean of squares), the deviation before a ReLU, but no farther than the greatest
 * number that was seen. */
void quant_uniq_init_act(const Net *net, const Site *s, const ActStats *batch, int n) {
  double unit = s->up ? uniq_step_a(s->bits) * sqrt(2) : uniq_step_w(s->bits), step = 0, top = 0, above = (double)levels_above(s->bits, act_levels(s));
  for (int i = 0; i < n; i++) step = fmax(step, unit * sqrt(batch[i].square)), top = fmax(top, fmax(batch[i].max, -batch[i].min));
  step = fmin(step, top / (above > 0 ? above : 0.5));
  if (s->row->act.q == QUANT_UNIQ && row_option(s->row, "init", 0) != 0) step = 2 * batch[0].abs / sqrt(fmax(1, above));
  step_set(site_param(net, s, 0), 0, step);
}

const QuantizerOps quant_uniq = {.weight = uniq_weight, .act = uniq_act, .init_weight = uniq_init_weight, .init_act = quant_uniq_init_act};
