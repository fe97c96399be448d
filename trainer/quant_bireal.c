/* Bi-Real Net (Z. Liu et al., ECCV 2018), one bit: inputs sign(x) with the derivative 2 - 2|x| where |x| < 1, that of c (2 - |c|) with
 * c = clip(x, -1, 1); weights mean|w| sign(w), the mean of each output channel a constant to derivatives, straight through where |w| < 1.
 * sign(0) = -1. Numbers that are never negative have one sign: layers of such inputs want no ReLU before them (`activation: none`). */
#include "trainer/quantizer.h"

static Node *clipped(Graph *g, Node *x) { return node_map2(g, S_MIN, node_map2(g, S_MAX, x, node_const_f(g, F32, -1)), node_const_f(g, F32, 1)); }

static Node *bireal_weight(Put *p) {
  Graph *g = p->g;
  uint32_t axes = 0;
  int64_t outputs = 1;
  for (int i = 0; i < p->channels.rank; i++) {
    if (p->channels.d[i].n == 1) axes |= 1u << i;
    outputs *= p->channels.d[i].n;
  }
  Node *sum = node_reduce_axes(g, S_ADD, node_map1(g, S_ABS, p->x), axes, true);
  Node *step = node_map2(g, S_MUL, sum, node_const_f(g, F32, 2 * (double)outputs / (double)p->net->p[p->site->w].n));
  step = node_map2(g, S_MAX, step, node_const_f(g, F32, 1e-12));
  return straight(g, fake_quant(g, p->x, step, 1, LEVELS_SYMMETRIC), clipped(g, p->x));
}

static Node *bireal_act(Put *p) {
  Graph *g = p->g;
  Node *c = clipped(g, p->x), *around = node_map2(g, S_SUB, node_const_f(g, F32, 2), node_map1(g, S_ABS, c));
  return straight(g, fake_quant(g, p->x, node_const_f(g, F32, 2), 1, LEVELS_SYMMETRIC), node_map2(g, S_MUL, c, around));
}

const QuantizerOps quant_bireal = {.grain = true, .weight = bireal_weight, .act = bireal_act};
