/* LSQ (S. K. Esser et al., ICLR 2020): y = D clamp(round(x/D), -2^(b-1), 2^(b-1)-1), inputs that are never negative 0 .. 2^b-1; the
 * step D is learned by Eq. 3, its gradient scaled by 1/sqrt(elements * greatest code). Steps begin at 2 mean|x| / sqrt(greatest
 * code), of inputs on the first batch. init: own takes UniQ's first steps.
 * LSQ+ (Y. Bhalgat et al., CVPR workshops 2020): inputs have a learned offset B, y = D clamp(round((x-B)/D)) + B; weights begin at
 * max|mean +- 3 deviations| / 2^(b-1), inputs with the range of the first batch. */
#include "trainer/quantizer.h"
#include "trainer/uniq.h"

#include <math.h>

static Node *lsq_weight(Put *p) { return put_step_weight(p, LEVELS_SIGNED); }

static void lsq_init_weight(const Net *net, const Site *s) { first_step_weight(net, s, row_option(s->row, "init", 1) != 0); }
static void lsq_init_act(const Net *net, const Site *s, const ActStats *batch, int n) { first_step_act(net, s, batch, n, row_option(s->row, "init", 1) != 0); }

const QuantizerOps quant_lsq = {.grain = true, .weight = lsq_weight, .act = put_step_act, .init_weight = lsq_init_weight, .init_act = lsq_init_act};

static Node *lsqplus_act(Put *p) {
  Site *s = p->site;
  if (s->up) return put_step_act(p);
  float scale = (float)uniq_grad_scale(s->bits, 0, (double)s->elements * s->batch);
  Node *step = put_param(p, "act_step", PARAM_QUANT, &p->steps, 1);
  put_last(p)->grad_mul = scale;
  Node *offset = put_param(p, "act_offset", PARAM_QUANT, &p->steps, 0);
  put_last(p)->grad_mul = scale;
  return node_map2(p->g, S_ADD, fake_quant(p->g, node_map2(p->g, S_SUB, p->x, offset), step, s->bits, LEVELS_UP), offset);
}

static void lsqplus_init_weight(const Net *net, const Site *s) {
  Param *step = site_param(net, s, 0);
  Arena *scratch = arena_new(net->ctx);
  const Moments *m = weight_moments(scratch, net, s, step);
  for (int64_t i = 0; i < step->n; i++) step_set(step, i, (fabs(m[i].mean) + 3 * m[i].deviation) / (double)(INT64_C(1) << (s->bits - 1)));
  arena_free(scratch);
}

static void lsqplus_init_act(const Net *net, const Site *s, const ActStats *batch, int n) {
  (void)n;
  double low = s->up ? 0 : batch->min;
  step_set(site_param(net, s, 0), 0, (batch->max - low) / (double)levels_above(s->bits, LEVELS_UP));
  if (!s->up) site_param(net, s, 1)->value[0] = (float)low;
}

const QuantizerOps quant_lsqplus = {.grain = true, .weight = lsq_weight, .act = lsqplus_act, .init_weight = lsqplus_init_weight, .init_act = lsqplus_init_act};
