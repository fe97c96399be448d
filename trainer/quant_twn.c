/* TWN (F. Li, B. Zhang, B. Liu, 2016): t = 1 where w > d, -1 where w < -d, else 0, with d = 0.7 mean|w| of the layer; y = a t with
 * a = mean |w| over |w| > d; the gradient of y goes to w unchanged. */
#include "trainer/quantizer.h"

static Node *twn_weight(Put *p) {
  Graph *g = p->g;
  Node *w = p->x, *size = node_map1(g, S_ABS, w), *none = node_const_f(g, F32, 0);
  uint32_t all = (1u << w->t.rank) - 1;
  Node *d = node_map2(g, S_MUL, node_reduce_axes(g, S_ADD, size, all, true), node_const_f(g, F32, 0.7 / (double)p->net->p[p->site->w].n));
  Node *kept = node_cast(g, node_map2(g, S_LT, d, size), F32);
  Node *count = node_map2(g, S_MAX, node_reduce_axes(g, S_ADD, kept, all, true), node_const_f(g, F32, 1));
  Node *a = node_map2(g, S_DIV, node_reduce_axes(g, S_ADD, node_map2(g, S_MUL, size, kept), all, true), count);
  Node *t = node_map2(g, S_SUB, node_cast(g, node_map2(g, S_LT, none, w), F32), node_cast(g, node_map2(g, S_LT, w, none), F32));
  return straight(g, node_map2(g, S_MUL, node_map2(g, S_MUL, t, kept), a), w);
}

const QuantizerOps quant_twn = {.weight = twn_weight};
