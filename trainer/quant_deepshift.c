/* DeepShift (M. Elhoushi et al., CVPR workshops 2021), weights +-2^s without scale:
 * Q    y = sign(w) 2^k, k = round(log2|w|) clamped to -(2^(b-1)-1) .. 0, ties of the logarithm having no binary32 number; the gradient
 *      of y goes to w unchanged.
 * PS   trains the sign v (the layer's weight parameter) and the exponent e: y = sign(round(v)) 2^round(e), e clamped to
 *      -(2^(b-1)-2) .. 0 after every step. dv = G, without the factor 2^e; de = G y ln 2. At first v is uniform in -1 .. 1 and e over its
 *      range; neither has weight decay. */
#include "trainer/quantizer.h"

/* Exponents 0 .. -most; digits of most. */
static int q_digits(const Site *s) { return s->bits - 1; }
static int ps_most(const Site *s) { return (1 << (s->bits - 1)) - 2; }

static Node *deepshift_q_weight(Put *p) {
  Graph *g = p->g;
  Node *w = p->x, *none = node_const_f(g, F32, 0), *one = node_const_f(g, F32, 1), *v = node_map1(g, S_ABS, w), *y = NULL;
  for (int b = q_digits(p->site) - 1; b >= 0; b--) { /* the exponent's binary digits: v below 2^(1/2 - 2^b) has this one */
    double part = 1 / (double)(UINT32_C(1) << (1 << b)); /* 0x1.6a09e8p0: the first binary32 number above the root of 2 */
    Node *has = node_map2(g, S_LT, v, node_const_f(g, F32, 0x1.6a09e8p0 * part)), *f = node_map3(g, S_SELECT, has, node_const_f(g, F32, part), one);
    y = y ? node_map2(g, S_MUL, y, f) : f;
    if (b) v = node_map2(g, S_MUL, v, node_map3(g, S_SELECT, has, node_const_f(g, F32, 1 / part), one));
  }
  Node *sign = node_map2(g, S_SUB, node_cast(g, node_map2(g, S_LT, none, w), F32), node_cast(g, node_map2(g, S_LT, w, none), F32));
  return straight(g, node_map2(g, S_MUL, sign, y), w);
}

const QuantizerOps quant_deepshift_q = {.weight = deepshift_q_weight};

static Node *deepshift_ps_weight(Put *p) {
  Graph *g = p->g;
  Node *e = put_param(p, "exponent", PARAM_QUANT, &p->x->t, 0), *half = node_const_f(g, F32, 0.5);
  p->net->p[p->site->w].decay_mul = 0;
  Node *power = halvings(g, node_map1(g, S_NEG, node_map1(g, S_ROUND, e)), p->site->bits - 1);
  Node *v = p->x, *above = node_map2(g, S_LT, half, v), *below = node_map2(g, S_LT, v, node_const_f(g, F32, -0.5)); /* +-0.5 round to 0 */
  Node *y = node_map2(g, S_MUL, node_map2(g, S_SUB, node_cast(g, above, F32), node_cast(g, below, F32)), power);
  Node *by_e = node_map2(g, S_MUL, stop_gradient(g, y), node_map2(g, S_MUL, e, node_const_f(g, F32, 0x1.62e42fefa39efp-1)));
  return straight(g, y, node_map2(g, S_ADD, v, by_e));
}

static void deepshift_ps_init(const Net *net, const Site *s) {
  fill_uniform(net, s, s->w, -1, 1);
  fill_uniform(net, s, s->first, -ps_most(s), 0);
}

static void deepshift_ps_after(const After *a) {
  Param *e = site_param(a->net, a->site, 0);
  float least = (float)-ps_most(a->site);
  for (int64_t i = 0; i < e->n; i++) e->value[i] = e->value[i] < least ? least : e->value[i] > 0 ? 0 : e->value[i];
}

const QuantizerOps quant_deepshift_ps = {.weight = deepshift_ps_weight, .init_weight = deepshift_ps_init, .after = deepshift_ps_after};
