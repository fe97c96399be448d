/* Activations of ALQ (section 4): x is x_ref + sum of +-gamma[i], the nearest of 2^k levels, which follow the data's least squares. The least
 * level is held at 0 (x_ref = sum of gamma), so that padding stays a level; x = sum of level[i] where bit i is set, level = 2 gamma. Levels
 * descend, and each is at least the sum of those after it: then bits can be taken one after another, and still give the nearest level:
 *   rest_0 = x;  bit_i = rest_i > (level[i] + sum of those after it) / 2;  rest_(i+1) = rest_i - bit_i level[i]
 * The layer's sum is one sum per bit, which compile to binary ones; its derivative is that of one sum over all, straight through where
 * 0 < x < the greatest level. After each step, as LQ-Nets has it (D. Zhang et al., ECCV 2018): level = 0.9 level + 0.1 (least squares of the
 * batch's x by its bits). */
#include "trainer/quantizer.h"

#include <math.h>

/* Parameters: a level and a step (twice the threshold) for each bit, then sums of bit_i bit_j [k, k] and of bit_i x [k]. */
static Param *level_of(const Net *net, const Site *s, int i) { return site_param(net, s, 2 * i); }

static Node *total(Graph *g, Node *x) {
  return node_reshape(g, node_reduce_axes(g, S_ADD, x, (1u << x->t.rank) - 1, false), 1, (Dim[]){dim_c(1)});
}

Node *alq_act(Put *p) {
  Graph *g = p->g;
  int k = p->site->bits, n = 0;
  Node *x = p->x, *rest = x, *sum = NULL, *top = NULL, *bit[ALQ_BITS], *of[ALQ_BITS * (ALQ_BITS + 1)];
  for (int i = 0; i < k; i++) {
    Node *level = put_param(p, arena_printf(p->net->arena, "act_level%d", i + 1), PARAM_TABLE, &p->steps, 1);
    Node *step = put_param(p, arena_printf(p->net->arena, "act_step%d", i + 1), PARAM_TABLE, &p->steps, 1);
    Node *code = node_quant(g, rest, step, NULL, UINTK(1), 0, 1, RND_EVEN), *part = p->plane[i] = node_dequant(g, code, level, NULL, F32);
    bit[i] = node_cast(g, code, F32);
    if (i + 1 < k) rest = node_map2(g, S_SUB, rest, part);
    sum = sum ? node_map2(g, S_ADD, sum, part) : part;
    top = top ? node_map2(g, S_ADD, top, level) : level;
  }
  p->n_plane = k;
  for (int i = 0; i < k; i++) for (int j = 0; j < k; j++) of[n++] = total(g, i == j ? bit[i] : node_map2(g, S_MUL, bit[i], bit[j]));
  for (int i = 0; i < k; i++) of[n++] = total(g, node_map2(g, S_MUL, bit[i], x));
  put_stat(p, "act_sums", node_concat(g, n, of, 0));
  return straight(g, sum, node_map2(g, S_MIN, node_map2(g, S_MAX, x, node_const_f(g, F32, 0)), top));
}

/* Thresholds of levels that keep the order; from the least on, each is raised to the sum of those after it. */
static void set_levels(const Net *net, const Site *s, const double *level) {
  double after = 0;
  for (int i = s->bits - 1; i >= 0; i--) {
    double v = fmax(level[i], fmax(after, 1e-8));
    level_of(net, s, i)->value[0] = (float)v;
    site_param(net, s, 2 * i + 1)->value[0] = (float)(v + after);
    after += v;
  }
}

void alq_init_act(const Net *net, const Site *s, const ActStats *batch, int n) {
  double level[ALQ_BITS];
  first_step_act(net, s, batch, n, false);
  double unit = (double)level_of(net, s, 0)->value[0];
  for (int i = 0; i < s->bits; i++) level[i] = ldexp(unit, s->bits - 1 - i);
  set_levels(net, s, level);
}

void alq_after(const After *a) {
  if (a->site->weight) return;
  int k = a->site->bits;
  const float *sums = site_param(a->net, a->site, 2 * k)->value;
  double m[ALQ_BITS][ALQ_BITS], level[ALQ_BITS];
  for (int i = 0; i < k; i++) {
    for (int j = 0; j < k; j++) m[i][j] = (double)sums[i * k + j];
    level[i] = (double)sums[k * k + i];
  }
  if (!alq_cholesky(m, level, k)) return; /* a bit that no element has: levels wait */
  for (int i = 0; i < k; i++) level[i] = 0.9 * (double)level_of(a->net, a->site, i)->value[0] + 0.1 * level[i];
  set_levels(a->net, a->site, level);
}
