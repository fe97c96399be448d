/* DoReFa (S. Zhou et al., 2016): weights t = tanh(w) / max|tanh w|, y = 2 round(n (t/2 + 1/2)) / n - 1 with n = 2^b - 1, straight
 * through the rounding, the maximum a constant to derivatives; of one bit y = mean|w| sign(w), straight through. Activations
 * clip(x, 0, 1) in n steps. PACT (J. Choi et al., 2018): activations clip(x, 0, a) in n steps; the bound a is learned, its gradient
 * 1 where x reaches it, and decays as weights do; it begins at `alpha`, or where that is 0 or absent at the greatest input seen. */
#include "trainer/quantizer.h"

#include <math.h>

static Node *dorefa_weight(Put *p) {
  Graph *g = p->g;
  Node *w = p->x, *t = node_map1(g, S_TANH, w);
  uint32_t all = (1u << w->t.rank) - 1;
  if (p->site->bits == 1) {
    Node *mean = node_map2(g, S_DIV, node_reduce_axes(g, S_ADD, node_map1(g, S_ABS, w), all, true), node_const_f(g, F32, (double)p->net->p[p->site->w].n));
    return straight(g, fake_quant(g, w, node_map2(g, S_MUL, mean, node_const_f(g, F32, 2)), 1, LEVELS_SYMMETRIC), w);
  }
  t = node_map2(g, S_DIV, t, stop_gradient(g, node_reduce_axes(g, S_MAX, node_map1(g, S_ABS, t), all, true)));
  Node *step = node_const_f(g, F32, 2 / (double)levels_above(p->site->bits, LEVELS_UP));
  return straight(g, fake_quant(g, t, step, p->site->bits, LEVELS_SYMMETRIC), t);
}

static Node *dorefa_act(Put *p) {
  return fake_quant(p->g, p->x, node_const_f(p->g, F32, 1 / (double)levels_above(p->site->bits, LEVELS_UP)), p->site->bits, LEVELS_UP);
}

const QuantizerOps quant_dorefa = {.weight = dorefa_weight, .act = dorefa_act};

static Node *pact_act(Put *p) {
  Graph *g = p->g;
  Node *alpha = put_param(p, "act_bound", PARAM_QUANT, &p->steps, 1);
  put_last(p)->decay_mul = 1;
  Node *step = node_map2(g, S_DIV, alpha, node_const_f(g, F32, (double)levels_above(p->site->bits, LEVELS_UP)));
  Node *clipped = node_map2(g, S_MIN, alpha, node_map2(g, S_MAX, p->x, node_const_f(g, F32, 0)));
  return straight(g, fake_quant(g, p->x, step, p->site->bits, LEVELS_UP), clipped);
}

static void pact_init_act(const Net *net, const Site *s, const ActStats *batch, int n) {
  double top = 0, alpha = row_option(s->row, "alpha", 0);
  for (int i = 0; i < n; i++) top = fmax(top, batch[i].max);
  step_set(site_param(net, s, 0), 0, alpha > 0 ? alpha : top);
}

const QuantizerOps quant_pact = {.act = pact_act, .init_act = pact_init_act};
