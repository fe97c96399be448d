/* S3, sign-sparse-shift (X. Li et al., NeurIPS 2022): a weight is {2 1(w_sign) - 1} 1(w_sparse) 2^S (Eq. 6, 9) with S_0 = 0,
 * S_t = 1(w_t) (S_{t-1} + 1) (Eq. 8): of 2 bits 0, +-1 (no shift plane), of 3 bits 0, +-1, +-2, +-4 (two), of 4 bits up to +-8 (three).
 * Every Heaviside is straight through with factor 1, the sign's too; w_sign is the layer's weight parameter, and 0 is positive. With G
 * the gradient of the weight:
 *   dw_sign = G 1(w_sparse) 2^S,   dw_sparse = G sign 2^S - [w_sparse < 0] alpha,   dS = G sign 1(w_sparse) 2^S ln 2
 * and S's recursion by the chain rule; alpha is Eq. 7's weight (prior), constant over the phase or falling to 0.
 * DenseShift (X. Li et al., ICLR 2023): no zeros, sign 2^S with 2^(b-1) - 1 planes, differentiated as sign sqrt(S + 1).
 * staircase (S3's appendix A.1): S3 with one latent w for S, which is rescaled by its extremes to -0.5 .. T + 0.5 and rounded,
 * straight through; the extremes are constants to derivatives.
 * Normal latents of deviation sigma, or where that is 0 or absent sqrt(2/(positions of the kernel * output channels)), DenseShift's
 * 1e-3. latents: dense has w_sparse = |N|, w_t = -|N|, so all weights begin as +-1; plain has N everywhere; kept is dense, but the sign's
 * latents are the weights as they are; DenseShift's begin plain. There is no scale, which batch normalization would undo; scale: layer trains one
 * (grain: kernel one per output channel). */
#include "trainer/quantizer.h"
#include "trainer/uniq.h"

#include <math.h>

enum { LATENT_DENSE, LATENT_PLAIN, LATENT_KEPT };
static const double ln2 = 0x1.62e42fefa39efp-1;

/* 1(w) of 0s and 1s, straight through. */
static Node *heaviside(Graph *g, Node *w) { return straight(g, node_cast(g, node_map2(g, S_LT, node_const_f(g, F32, 0), w), F32), w); }

static Node *sign_of(Graph *g, Node *w) {
  Node *positive = node_map2(g, S_LE, node_const_f(g, F32, 0), w);
  return straight(g, node_map3(g, S_SELECT, positive, node_const_f(g, F32, 1), node_const_f(g, F32, -1)), w);
}

/* power is 2^s; to derivatives, with d2^s/ds = 2^s ln 2. */
static Node *exp2_of(Graph *g, Node *power, Node *s) {
  return straight(g, power, node_map2(g, S_MUL, node_map2(g, S_MUL, s, node_const_f(g, F32, ln2)), stop_gradient(g, power)));
}

/* Eq. 8 over latents w1 .. wT; *power: 2^S. */
static Node *shift_planes(Put *p, int planes, Node **power) {
  Graph *g = p->g;
  Node *s = NULL, *one = node_const_f(g, F32, 1);
  *power = NULL;
  for (int t = 1; t <= planes; t++) {
    Node *w = put_latent(p, arena_printf(p->net->arena, "shift%d", t)), *b = heaviside(g, w);
    Node *on = node_map2(g, S_LT, node_const_f(g, F32, 0), w), *two = node_const_f(g, F32, 2);
    s = s ? node_map2(g, S_MUL, b, node_map2(g, S_ADD, s, one)) : b;
    *power = node_map3(g, S_SELECT, on, *power ? node_map2(g, S_MUL, *power, two) : two, one);
  }
  return s;
}

static int s3_planes(const Site *s) { return s->bits == 2 ? 0 : s->bits - 1; }
static int denseshift_planes(const Site *s) { return (1 << (s->bits - 1)) - 1; }

/* Parameters of a site: sparse, but of DenseShift; shift1 .. shiftT, or the staircase's shift; the scale, if there is one. */

static Node *scaled(Put *p, Node *y) {
  if (row_option(p->site->row, "scale", 0) == 0) return y;
  Node *scale = put_param(p, "weight_scale", PARAM_QUANT, &p->steps, 1);
  put_last(p)->grad_mul = (float)uniq_grad_scale(p->site->bits, 1, (double)p->site->elements);
  return node_map2(p->g, S_MUL, y, scale);
}

static Node *sparse(Put *p) {
  Node *w = put_latent(p, "sparse");
  put_last(p)->prior = (float)row_option(p->site->row, "prior", 1e-5);
  put_last(p)->prior_decay = (PriorDecay)row_option(p->site->row, "prior_decay", 0);
  return heaviside(p->g, w);
}

static Node *s3_weight(Put *p) {
  Graph *g = p->g;
  Node *y = node_map2(g, S_MUL, sign_of(g, p->x), sparse(p)), *power, *s = shift_planes(p, s3_planes(p->site), &power);
  return scaled(p, s ? node_map2(g, S_MUL, y, exp2_of(g, power, s)) : y);
}

static Node *denseshift_weight(Put *p) {
  Graph *g = p->g;
  Node *sign = sign_of(g, p->x), *power, *s = shift_planes(p, denseshift_planes(p->site), &power);
  Node *root = node_map1(g, S_SQRT, node_map2(g, S_ADD, s, node_const_f(g, F32, 1)));
  return scaled(p, straight(g, node_map2(g, S_MUL, sign, power), node_map2(g, S_MUL, sign, root)));
}

static Node *staircase_weight(Put *p) {
  Graph *g = p->g;
  int top = s3_planes(p->site);
  Node *y = node_map2(g, S_MUL, sign_of(g, p->x), sparse(p)), *w = put_latent(p, "shift");
  uint32_t all = (1u << w->t.rank) - 1;
  Node *least = stop_gradient(g, node_reduce_axes(g, S_MIN, w, all, true)), *most = stop_gradient(g, node_reduce_axes(g, S_MAX, w, all, true));
  Node *width = node_map2(g, S_MAX, node_map2(g, S_SUB, most, least), node_const_f(g, F32, 1e-30));
  Node *u = node_map2(g, S_MUL, node_map2(g, S_DIV, node_map2(g, S_SUB, w, least), width), node_const_f(g, F32, top + 1));
  u = node_map2(g, S_SUB, u, node_const_f(g, F32, 0.5));
  Node *level = node_map2(g, S_MAX, node_const_f(g, F32, 0), node_map2(g, S_MIN, node_const_f(g, F32, top), node_map1(g, S_ROUND, u)));
  Node *below = node_map2(g, S_SUB, node_const_f(g, F32, top), level); /* 2^level = 2^top / 2^(top - level) */
  Node *power = node_map2(g, S_MUL, halvings(g, below, 2), node_const_f(g, F32, 1 << top));
  return scaled(p, node_map2(g, S_MUL, y, exp2_of(g, power, straight(g, level, u))));
}

/* New latents. `sparse`: the first parameter is w_sparse; `planes`: the others are w_t, else one is the staircase's. */
static void init_latents(const Net *net, const Site *s, double sigma, int latents, bool sparse_first, bool planes) {
  int kind = (int)row_option(s->row, "latents", latents), n = s->n - (row_option(s->row, "scale", 0) != 0);
  const Param *sign = &net->p[s->w];
  double square = 0;
  for (int64_t i = 0; i < sign->n; i++) square += (double)sign->value[i] * (double)sign->value[i];
  if (kind != LATENT_KEPT) fill_normal(net, s, s->w, sigma);
  for (int k = 0; k < n; k++) {
    Param *q = site_param(net, s, k);
    bool above = sparse_first && k == 0;
    fill_normal(net, s, s->first + k, sigma);
    if (kind != LATENT_PLAIN && (above || planes))
      for (int64_t i = 0; i < q->n; i++) q->value[i] = above ? fabsf(q->value[i]) : -fabsf(q->value[i]);
  }
  for (int64_t i = 0; n < s->n && i < site_param(net, s, n)->n; i++)
    step_set(site_param(net, s, n), i, sqrt(square / (double)sign->n)); /* +-1 is then as large as the weights were */
}

static double sigma_of(const Site *s, double otherwise) {
  double sigma = row_option(s->row, "sigma", 0);
  return sigma > 0 ? sigma : otherwise;
}

static void s3_init(const Net *net, const Site *s) { init_latents(net, s, sigma_of(s, sqrt(2 / (double)s->fan_out)), LATENT_DENSE, true, true); }
static void staircase_init(const Net *net, const Site *s) { init_latents(net, s, sigma_of(s, sqrt(2 / (double)s->fan_out)), LATENT_DENSE, true, false); }
static void denseshift_init(const Net *net, const Site *s) { init_latents(net, s, sigma_of(s, 1e-3), LATENT_PLAIN, false, true); }

/* Eq. 7: what the prior has still to push above 0. */
static void s3_metrics(const Net *net, const Site *s, Metrics *m) {
  const Param *w = site_param(net, s, 0);
  double sum = 0;
  for (int64_t i = 0; i < w->n; i++) if (w->value[i] < 0) sum -= (double)w->value[i];
  metric_add(m, "rsparse", s->layer, sum);
}

const QuantizerOps quant_s3 = {.grain = true, .weight = s3_weight, .init_weight = s3_init, .metrics = s3_metrics};
const QuantizerOps quant_staircase = {.grain = true, .weight = staircase_weight, .init_weight = staircase_init, .metrics = s3_metrics};
const QuantizerOps quant_denseshift = {.grain = true, .weight = denseshift_weight, .init_weight = denseshift_init};
