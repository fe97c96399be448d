/* Layers and blocks of the built-in networks. Convolutions and products have He-normal weights (K. He et al., 2015), deviation
 * sqrt(2/fan_in); those before a bn have no bias. */
#include "trainer/nets_impl.h"
#include "trainer/rng.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int64_t nb_wide(const Build *b, int64_t channels) {
  int64_t c = (int64_t)floor((double)channels * b->width + 0.5);
  return c < 1 ? 1 : c;
}

const char *nb_name(const Build *b, const char *fmt, ...) {
  char text[128];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return arena_strdup(b->net->arena, text);
}

static Node *param(Build *b, const char *layer, const char *what, ParamRole role, int rank, const int64_t *d, double deviation, float fill) {
  Type t = type_make(F32, rank, d);
  const char *name = arena_printf(b->net->arena, "%s.%s", layer, what);
  int i = net_param(b->net, name, role, &t);
  Param *p = &b->net->p[i];
  if (deviation > 0) rng_fill_normal((Rng){b->r->seed, RNG_INIT}, (uint64_t)i, p->n, (float)deviation, p->value);
  else for (int64_t k = 0; k < p->n; k++) p->value[k] = fill;
  return graph_arg(b->g, name, &t);
}

static void at_layer(Build *b, const char *layer, const char *op) {
  b->g->at = LOC_NONE;
  b->g->at.name = layer, b->g->at.op = op;
}

/* Layers */

Node *nb_conv(Build *b, Node *x, const char *layer, const Conv *c, bool bias) {
  int64_t groups = c->groups ? c->groups : 1, in = x->t.d[1].n / groups, d[4] = {c->out, in, c->k, c->k}, per_channel[3] = {c->out, 1, 1};
  int64_t size[2], s[2] = {c->stride, c->stride}, one[2] = {1, 1}, p[2] = {c->pad, c->pad};
  for (int i = 0; i < 2; i++) size[i] = (x->t.d[2 + i].n + 2 * c->pad - c->k) / c->stride + 1;
  at_layer(b, layer, "Conv");
  Node *w = param(b, layer, "weight", PARAM_WEIGHT, 4, d, sqrt(2.0 / (double)(in * c->k * c->k)), 0);
  Node *y = node_conv(b->g, x, w, (int)groups, s, one, p, size, 0, F32);
  return bias ? node_map2(b->g, S_ADD, y, param(b, layer, "bias", PARAM_VECTOR, 3, per_channel, 0, 0)) : y;
}

Node *nb_linear(Build *b, Node *x, const char *layer, int64_t out, bool bias) {
  int64_t in = x->t.d[1].n, d[2] = {in, out};
  at_layer(b, layer, "MatMul");
  Node *y = node_matmul(b->g, x, param(b, layer, "weight", PARAM_WEIGHT, 2, d, sqrt(2.0 / (double)in), 0), F32);
  return bias ? node_map2(b->g, S_ADD, y, param(b, layer, "bias", PARAM_VECTOR, 1, &out, 0, 0)) : y;
}

Node *nb_bn(Build *b, Node *x, const char *layer) {
  int64_t c = x->t.d[1].n;
  at_layer(b, layer, "BatchNormalization");
  Node *in[5] = {x, param(b, layer, "gamma", PARAM_VECTOR, 1, &c, 0, 1), param(b, layer, "beta", PARAM_VECTOR, 1, &c, 0, 0),
                 param(b, layer, "mean", PARAM_STAT, 1, &c, 0, 0), param(b, layer, "var", PARAM_STAT, 1, &c, 0, 1)};
  return node_new(b->g, OP_BN, &x->t, 5, in, &(Attr){.fill = (double)1e-5f}, NULL);
}

Node *nb_act(Build *b, Node *x) {
  if (b->act == ACT_NONE) return x;
  b->g->at.op = b->six ? "Clip" : "Relu";
  x = node_map2(b->g, S_MAX, x, node_const_f(b->g, F32, 0));
  return b->six ? node_map2(b->g, S_MIN, x, node_const_f(b->g, F32, 6)) : x;
}

Node *nb_add(Build *b, Node *x, Node *y, const char *at) {
  at_layer(b, at, "Add");
  return node_map2(b->g, S_ADD, x, y);
}

/* Windows of k x k over [N,C,H,W]; what lies outside is left out. */
static Node *window(Build *b, Node *x, Scalar s, int64_t k, int64_t stride, int64_t pad, int64_t height, int64_t width) {
  Type t = x->t;
  Affine acc[4] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0), affine_iter(2, stride, -pad), affine_iter(3, stride, -pad)};
  acc[2].coef[4] = acc[3].coef[5] = 1;
  t.d[2].n = height, t.d[3].n = width;
  Iters it = {.n_out = 4, .n_red = 2, .red = {dim_c(k), dim_c(k)}, .acc = {acc}};
  return node_reduce(b->g, s, x, &t, &it);
}

Node *nb_max_pool(Build *b, Node *x, int64_t k, int64_t stride, int64_t pad) {
  b->g->at.op = "MaxPool";
  return window(b, x, S_MAX, k, stride, pad, (x->t.d[2].n + 2 * pad - k) / stride + 1, (x->t.d[3].n + 2 * pad - k) / stride + 1);
}

Node *nb_flat(Build *b, Node *x) {
  int64_t n = 1;
  for (int i = 1; i < x->t.rank; i++) n *= x->t.d[i].n;
  return node_reshape(b->g, x, 2, (Dim[]){x->t.d[0], {n, 0}});
}

Node *nb_global_average(Build *b, Node *x) {
  double n = (double)(x->t.d[2].n * x->t.d[3].n);
  b->g->at.op = "GlobalAveragePool";
  return node_map2(b->g, S_DIV, node_reduce_axes(b->g, S_ADD, x, 12, false), node_const_f(b->g, F32, n));
}

bool nb_small_stem(const Build *b, const Node *image) {
  const char *stem = nb_word(b, "stem");
  if (strcmp(stem, "auto")) return !strcmp(stem, "small");
  return image->t.d[2].n < 64 || image->t.d[3].n < 64;
}

/* Ways around */

/* Averages over squares of s = the greatest of ceil(size / size of y): zeros lie around where that does not divide. */
static Node *average_to(Build *b, Node *x, const Type *y) {
  int64_t s = 1, before[4] = {0}, after[4] = {0};
  for (int d = 2; d < 4; d++) {
    int64_t ratio = (x->t.d[d].n + y->d[d].n - 1) / y->d[d].n;
    if (ratio > s) s = ratio;
  }
  if (s == 1) return x;
  for (int d = 2; d < 4; d++) before[d] = (s * y->d[d].n - x->t.d[d].n) / 2, after[d] = s * y->d[d].n - x->t.d[d].n - before[d];
  bool even = !before[2] && !before[3] && !after[2] && !after[3];
  b->g->at.op = "AveragePool";
  if (!even) x = node_pad(b->g, x, before, after, 0);
  return node_map2(b->g, S_DIV, window(b, x, S_ADD, s, s, 0, y->d[2].n, y->d[3].n), node_const_f(b->g, F32, (double)(s * s)));
}

/* x with the shape of y: itself; or averages, then a 1x1 convolution and bn where the channels change. */
static Node *way_around(Build *b, Node *x, const Type *y, const char *layer) {
  const char *skip = nb_name(b, "%s.skip", layer);
  at_layer(b, skip, "");
  if (x->t.rank == 4) x = average_to(b, x, y);
  if (x->t.d[1].n == y->d[1].n) return x;
  x = nb_conv(b, x, skip, &(Conv){y->d[1].n, 1, 1, 0, 0}, !b->norm);
  return b->norm ? nb_bn(b, x, nb_name(b, "%s.bn", skip)) : x;
}

/* Scales of the bases, parameters id: uniform in 0 .. 1, divided by their sum, so what goes around keeps its size at first. */
static void fill_scales(Build *b, int n, const int *id) {
  double sum = 0, u[16];
  for (int k = 0; k < n; k++) sum += u[k] = (double)rng_uniform((Rng){b->r->seed, RNG_INIT}, (uint64_t)id[k], 0) + 0x1p-25;
  for (int k = 0; k < n; k++) *b->net->p[id[k]].value = (float)(u[k] / sum);
}

Node *nb_layer(Build *b, Node *x, const Layer *l) {
  Node *sum = NULL, *around = NULL;
  int scale[16];
  for (int k = 0; k < b->bases; k++) {
    const char *base = b->bases > 1 ? nb_name(b, ".base%d", k + 1) : "", *conv = nb_name(b, "%s%s", l->conv, base);
    bool bias = !l->bn && !b->norm;
    Node *y = l->hidden ? nb_linear(b, x, conv, l->hidden, bias) : nb_conv(b, x, conv, &l->c, bias);
    if (l->pool) y = nb_max_pool(b, y, 2, 2, 0);
    if (l->bn) y = nb_bn(b, y, nb_name(b, "%s%s", l->bn, base));
    bool fits = y->t.rank == 4 || type_eq(&y->t, &l->from->t); /* ways around products only where units are as many */
    if (l->skip && fits && !around) around = way_around(b, l->from, &y->t, l->conv);
    if (around) y = nb_add(b, y, around, conv);
    if (b->bases > 1) {
      at_layer(b, conv, "Mul");
      y = node_map2(b->g, S_MUL, y, param(b, conv, "scale", PARAM_VECTOR, 1, (int64_t[]){1}, 0, 1));
      scale[k] = b->net->n_p - 1;
    }
    sum = sum ? nb_add(b, sum, y, l->conv) : y;
  }
  if (b->bases > 1) fill_scales(b, b->bases, scale);
  return sum;
}

/* Blocks */

/* As He et al. have it: a strided 1x1 convolution, with bn behind where activations are; before, it reads the activated input. */
static Node *projection(Build *b, Node *x, const Type *y, const char *at, int64_t stride) {
  if (stride == 1 && x->t.d[1].n == y->d[1].n) return x;
  x = nb_conv(b, x, at, &(Conv){y->d[1].n, 1, stride, 0, 0}, false);
  return b->act == ACT_PRE ? x : nb_bn(b, x, nb_name(b, "%s.bn", at));
}

Node *nb_block(Build *b, Node *x, const Block *k) {
  bool each = b->variant == VARIANT_BIREAL || b->variant == VARIANT_GROUPNET, pre = b->act == ACT_PRE;
  bool whole = b->variant == VARIANT_RESIDUAL || (each && k->narrow);
  int64_t stride = 1;
  Node *in = x, *first = x;
  for (int i = 0; i < k->n; i++) {
    const Conv *c = &k->c[i];
    const char *conv = nb_name(b, "%s.conv%d", k->at, i + 1), *bn = nb_name(b, "%s.bn%d", k->at, i + 1);
    Node *h = pre ? nb_act(b, nb_bn(b, x, bn)) : x;
    if (!i) first = h;
    bool same = c->stride == 1 && c->out == x->t.d[1].n;
    Layer l = {.conv = conv, .bn = pre ? NULL : bn, .c = *c, .from = same ? x : h};
    l.skip = each && (!k->narrow || (c->k > 1 && c->out == x->t.d[1].n));
    x = nb_layer(b, h, &l);
    stride *= c->stride;
    if (!pre && i + 1 < k->n) x = nb_act(b, x);
  }
  bool changes = stride > 1 || in->t.d[1].n != x->t.d[1].n;
  if (whole && !(k->mobile && changes)) {
    Node *skip = changes ? projection(b, pre ? first : in, &x->t, nb_name(b, "%s.skip", k->at), stride) : in;
    x = nb_add(b, x, skip, k->at);
  }
  if (!pre && !k->mobile) b->g->at.name = k->at, x = nb_act(b, x);
  return x;
}
