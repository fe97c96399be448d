/* LQ-Nets (D. Zhang et al., ECCV 2018): levels are all sums of a learned basis v, b numbers for each output channel of weights or for the
 * input:
 *   weights  sum +-v_i           inputs  sum e_i v_i with e_i of 0 and 1, so the lowest level is 0
 * and x becomes the nearest level, at midpoints the lower. After each step v = 0.9 v + 0.1 (B^T B + 1e-4 I)^-1 (B^T x + 1e-4 v), least squares
 * of x in its codes B: of the weights as they are, of the batch's inputs. Straight through; for inputs between 0 and the top level.
 * v begins as s 2^i with s = 0.6745 d / 2^(b-1), d the channel's deviation, and of inputs 0.6745 * 2 d / (2^b-1), d the deviation before a ReLU
 * (1 in the paper, whose inputs are normalized). Of equal levels, and where all of v_i would be negative, v stays at 1e-8 or more.
 *
 * Levels of inputs are rounded to multiples of the least power of two that the top level has at most 255 of, so that a frozen layer's input is
 * unsigned codes of 8 bits at unequal distances, and its sums are of integers. Weights are `bases` (docs/ARCHITECTURE.md).
 *
 * The normal equations need no codes, only how many x lie in each level and their sum. Levels are a table in ascending order, so that
 * the graph only compares; the codes of ascending levels follow from v. Parameters: v [b, channels], levels [2^b, channels]; of
 * inputs the unit of their levels, and what is summed. */
#include "trainer/alq.h"
#include "trainer/quantizer.h"

#include <math.h>

enum { MOST_BITS = 4, MOST_LEVELS = 1 << MOST_BITS };

typedef struct Level { float value; int code; } Level;

/* The levels of a basis, ascending; of equal ones by code. */
static void levels_of(const Site *s, const double *v, Level *l) {
  int n = 1 << s->bits;
  for (int c = 0; c < n; c++) {
    double sum = 0;
    for (int i = 0; i < s->bits; i++) sum += (c >> i & 1 ? 1 : s->weight ? -1 : 0) * v[i];
    int at = c;
    for (; at && l[at - 1].value > (float)sum; at--) l[at] = l[at - 1];
    l[at] = (Level){(float)sum, c};
  }
}

/* 2^e, the least that top is at most 255 of. */
static double unit_of(double top) {
  int e;
  double m = frexp(top / 255, &e); /* top / 255 = m 2^e, m of [0.5, 1) */
  return top > 0 ? ldexp(1, e - (m == 0.5)) : 1;
}

/* Channel c's basis to its parameters, with the levels. */
static void basis_set(const Net *net, const Site *s, int64_t c, const double *v) {
  Param *basis = site_param(net, s, 0), *levels = site_param(net, s, 1);
  int64_t channels = basis->n / s->bits;
  double kept[MOST_BITS];
  Level l[MOST_LEVELS];
  for (int i = 0; i < s->bits; i++) basis->value[i * channels + c] = (float)(v[i] > 1e-8 ? v[i] : 1e-8), kept[i] = (double)basis->value[i * channels + c];
  levels_of(s, kept, l);
  double unit = unit_of((double)l[(1 << s->bits) - 1].value);
  if (!s->weight) site_param(net, s, 2)->value[0] = (float)unit;
  for (int k = 0; k < 1 << s->bits; k++) levels->value[k * channels + c] = s->weight ? l[k].value : (float)(unit * floor((double)l[k].value / unit + 0.5));
}

/* One step of channel c, with how many numbers each level has, and their sums. */
static void refit(const Net *net, const Site *s, int64_t c, const double *count, const double *sum) {
  const Param *basis = site_param(net, s, 0);
  int64_t channels = basis->n / s->bits;
  double v[MOST_BITS] = {0}, a[MOST_BITS][ALQ_BITS] = {{0}}, r[MOST_BITS] = {0};
  Level l[MOST_LEVELS];
  for (int i = 0; i < s->bits; i++) v[i] = (double)basis->value[i * channels + c], r[i] = 1e-4 * v[i], a[i][i] = 1e-4;
  levels_of(s, v, l);
  for (int k = 0; k < 1 << s->bits; k++)
    for (int i = 0; i < s->bits; i++) {
      double e = l[k].code >> i & 1 ? 1 : s->weight ? -1 : 0;
      r[i] += e * sum[k];
      for (int j = 0; j < s->bits; j++) a[i][j] += e * (l[k].code >> j & 1 ? 1 : s->weight ? -1 : 0) * count[k];
    }
  if (!alq_cholesky(a, r, s->bits)) return; /* not with the ridge, unless numbers are no longer finite */
  for (int i = 0; i < s->bits; i++) v[i] = 0.9 * v[i] + 0.1 * (s->weight ? fabs(r[i]) : r[i]);
  basis_set(net, s, c, v);
}

/* The graph */

static Node *row(Graph *g, Node *table, int k, const Type *t) { return node_reshape(g, node_slice(g, table, 0, k, 1, 1), t->rank, t->d); }

/* The two parameters, and x's level. above: [levels - 1], whether x lies above each midpoint. top: the highest level. */
static Node *nearest_level(Put *p, const char *what, const Type *channels, Node **above, Node **top) {
  Graph *g = p->g;
  Type t = {.e = F32, .rank = (uint8_t)(channels->rank + 1), .d = {dim_c(p->site->bits)}};
  for (int i = 0; i < channels->rank; i++) t.d[i + 1] = channels->d[i];
  put_param(p, arena_printf(p->net->arena, "%s_basis", what), PARAM_TABLE, &t, 1);
  t.d[0].n = INT64_C(1) << p->site->bits;
  Node *levels = put_param(p, arena_printf(p->net->arena, "%s_levels", what), PARAM_TABLE, &t, 0);
  Node *half = node_const_f(g, F32, 0.5), *y = row(g, levels, 0, channels), *now = y;
  for (int k = 1; k < 1 << p->site->bits; k++) {
    Node *next = row(g, levels, k, channels);
    above[k - 1] = node_map2(g, S_LT, node_map2(g, S_MUL, node_map2(g, S_ADD, now, next), half), p->x);
    y = node_map3(g, S_SELECT, above[k - 1], next, y);
    now = next;
  }
  *top = now;
  return y;
}

static Node *lqnet_weight(Put *p) {
  Node *above[MOST_LEVELS], *top;
  return straight(p->g, nearest_level(p, "weight", &p->channels, above, &top), p->x);
}

static Node *lqnet_act(Put *p) {
  Graph *g = p->g;
  Type one = type_make(F32, 1, (int64_t[]){1});
  uint32_t all = (1u << p->x->t.rank) - 1;
  int n = 1 << p->site->bits;
  Node *above[MOST_LEVELS], *top, *part[2 * MOST_LEVELS], *none = node_const_f(g, F32, 0);
  Node *y = nearest_level(p, "act", &one, above, &top);
  y = fake_quant(g, y, put_param(p, "act_unit", PARAM_TABLE, &one, 1), 8, LEVELS_UP); /* changes nothing, and says that there are codes */
  y = straight(g, y, node_map2(g, S_MIN, top, node_map2(g, S_MAX, p->x, none)));
  for (int k = 0; k < n; k++) { /* over the batch: x above each midpoint, and their sums; the first of all x */
    Node *count = k ? node_cast(g, above[k - 1], F32) : NULL, *x = k ? node_map3(g, S_SELECT, above[k - 1], p->x, none) : p->x;
    part[k] = k ? node_reshape(g, node_reduce_axes(g, S_ADD, count, all, false), 1, one.d) : node_const(g, tensor_new(g->ctx, &one));
    part[n + k] = node_reshape(g, node_reduce_axes(g, S_ADD, x, all, false), 1, one.d);
  }
  put_stat(p, "act_sums", node_concat(g, 2 * n, part, 0));
  return y;
}

/* Training */

/* The basis without its first dimension, as something that stands for each channel. */
static Param channels_of(const Param *basis) {
  Param c = {.t = basis->t, .n = basis->n / basis->t.d[0].n};
  c.t.rank--;
  for (int i = 0; i < c.t.rank; i++) c.t.d[i] = basis->t.d[i + 1];
  return c;
}

static void begin(const Net *net, const Site *s, int64_t c, double unit) {
  double v[MOST_BITS] = {0};
  for (int i = 0; i < s->bits; i++) v[i] = unit * (1 << i);
  basis_set(net, s, c, v);
}

static void lqnet_init_weight(const Net *net, const Site *s) {
  Arena *scratch = arena_new(net->ctx);
  Param channels = channels_of(site_param(net, s, 0));
  const Moments *m = weight_moments(scratch, net, s, &channels);
  for (int64_t c = 0; c < channels.n; c++) begin(net, s, c, 0.6745 * m[c].deviation / (1 << (s->bits - 1)));
  arena_free(scratch);
}

static void lqnet_init_act(const Net *net, const Site *s, const ActStats *batch, int n) {
  double square = 0;
  for (int i = 0; i < n; i++) square += batch[i].square / n;
  begin(net, s, 0, 0.6745 * 2 * sqrt(2 * square) / ((1 << s->bits) - 1));
}

static void after_act(const After *a) {
  const Site *s = a->site;
  const float *sums = site_param(a->net, s, 3)->value;
  int n = 1 << s->bits;
  double count[MOST_LEVELS], sum[MOST_LEVELS], all = (double)s->elements * s->batch;
  for (int k = 0; k < n; k++) {
    double below = k ? (double)sums[k] : all, x = (double)sums[n + k]; /* at level k or above */
    count[k] = below - (k + 1 < n ? (double)sums[k + 1] : 0);
    sum[k] = x - (k + 1 < n ? (double)sums[n + k + 1] : 0);
  }
  refit(a->net, s, 0, count, sum);
}

static void after_weight(const After *a) {
  const Site *s = a->site;
  const Param *w = &a->net->p[s->w], *levels = site_param(a->net, s, 1);
  Param channels = channels_of(site_param(a->net, s, 0));
  int n = 1 << s->bits;
  Arena *scratch = arena_new(a->net->ctx);
  double *count = NEWN(scratch, double, 2 * n * channels.n), *sum = count + n * channels.n;
  for (int64_t i = 0; i < w->n; i++) {
    int64_t c = weight_step(w, &channels, i);
    int k = 0;
    while (k + 1 < n && (levels->value[k * channels.n + c] + levels->value[(k + 1) * channels.n + c]) * 0.5f < w->value[i]) k++;
    count[c * n + k]++, sum[c * n + k] += (double)w->value[i];
  }
  for (int64_t c = 0; c < channels.n; c++) refit(a->net, s, c, count + c * n, sum + c * n);
  arena_free(scratch);
}

static void lqnet_after(const After *a) {
  if (a->site->weight) after_weight(a);
  else after_act(a);
}

const QuantizerOps quant_lqnet = {.grain = true, .weight = lqnet_weight, .act = lqnet_act, .init_weight = lqnet_init_weight, .init_act = lqnet_init_act, .after = lqnet_after};
