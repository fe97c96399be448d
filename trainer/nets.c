/* The built-in networks (nets.def). Convolutions and products have He-normal weights (K. He et al., 2015), deviation sqrt(2/fan_in);
 * those before a bn have no bias. */
#include "trainer/net.h"
#include "trainer/rng.h"

#include <math.h>
#include <string.h>

const NetInfo net_info[] = {
#define NET(name, options, what) {#name, options, what},
#include "trainer/nets.def"
#undef NET
};
const int n_net_info = sizeof net_info / sizeof *net_info;

typedef struct Build { Net *net; Graph *g; const Recipe *r; double width; } Build;

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

static int64_t wide(const Build *b, int64_t channels) {
  int64_t c = (int64_t)floor((double)channels * b->width + 0.5);
  return c < 1 ? 1 : c;
}

static Node *conv(Build *b, Node *x, const char *layer, int64_t out, int64_t k, int64_t stride, int64_t pad) {
  int64_t in = x->t.d[1].n, d[4] = {out, in, k, k}, size[2], s[2] = {stride, stride}, one[2] = {1, 1}, p[2] = {pad, pad};
  for (int i = 0; i < 2; i++) size[i] = (x->t.d[2 + i].n + 2 * pad - k) / stride + 1;
  at_layer(b, layer, "Conv");
  return node_conv(b->g, x, param(b, layer, "weight", PARAM_WEIGHT, 4, d, sqrt(2.0 / (double)(in * k * k)), 0), 1, s, one, p, size, 0, F32);
}

static Node *linear(Build *b, Node *x, const char *layer, int64_t out, bool bias) {
  int64_t in = x->t.d[1].n, d[2] = {in, out};
  at_layer(b, layer, "MatMul");
  Node *y = node_matmul(b->g, x, param(b, layer, "weight", PARAM_WEIGHT, 2, d, sqrt(2.0 / (double)in), 0), F32);
  return bias ? node_map2(b->g, S_ADD, y, param(b, layer, "bias", PARAM_VECTOR, 1, &out, 0, 0)) : y;
}

static Node *bn(Build *b, Node *x, const char *layer) {
  int64_t c = x->t.d[1].n;
  at_layer(b, layer, "BatchNormalization");
  Node *in[5] = {x, param(b, layer, "gamma", PARAM_VECTOR, 1, &c, 0, 1), param(b, layer, "beta", PARAM_VECTOR, 1, &c, 0, 0),
                 param(b, layer, "mean", PARAM_STAT, 1, &c, 0, 0), param(b, layer, "var", PARAM_STAT, 1, &c, 0, 1)};
  return node_new(b->g, OP_BN, &x->t, 5, in, &(Attr){.fill = (double)1e-5f}, NULL);
}

static Node *relu(Build *b, Node *x) {
  b->g->at.op = "Relu";
  return node_map2(b->g, S_MAX, x, node_const_f(b->g, F32, 0));
}

static Node *max_pool(Build *b, Node *x) {
  Type t = x->t;
  Affine acc[4] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0), affine_iter(2, 2, 0), affine_iter(3, 2, 0)};
  acc[2].coef[4] = acc[3].coef[5] = 1;
  t.d[2].n /= 2, t.d[3].n /= 2;
  Iters it = {.n_out = 4, .n_red = 2, .red = {dim_c(2), dim_c(2)}, .acc = {acc}};
  b->g->at.op = "MaxPool";
  return node_reduce(b->g, S_MAX, x, &t, &it);
}

static Node *flat(Build *b, Node *x) {
  int64_t n = 1;
  for (int i = 1; i < x->t.rank; i++) n *= x->t.d[i].n;
  return node_reshape(b->g, x, 2, (Dim[]){x->t.d[0], {n, 0}});
}

static Node *global_average(Build *b, Node *x) {
  double n = (double)(x->t.d[2].n * x->t.d[3].n);
  b->g->at.op = "GlobalAveragePool";
  return node_map2(b->g, S_DIV, node_reduce_axes(b->g, S_ADD, x, 12, false), node_const_f(b->g, F32, n));
}

/* The networks */

static Node *net_mlp(Build *b, Node *x, int classes) {
  const NetOption *hidden = recipe_net_option(b->r, "hidden");
  int64_t n = wide(b, hidden ? (int64_t)hidden->value : 128);
  static const char *const fc[] = {"fc1", "fc2", "fc3"}, *const norm[] = {"bn1", "bn2", "bn3"};
  x = flat(b, x);
  for (int i = 0; i < 3; i++) x = relu(b, bn(b, linear(b, x, fc[i], n, false), norm[i]));
  return linear(b, x, "fc4", classes, true);
}

static Node *net_lenet5(Build *b, Node *x, int classes) {
  if (x->t.d[2].n < 16 || x->t.d[3].n < 16) return NULL;
  x = max_pool(b, relu(b, bn(b, conv(b, x, "conv1", wide(b, 20), 5, 1, 0), "bn1")));
  x = max_pool(b, relu(b, bn(b, conv(b, x, "conv2", wide(b, 50), 5, 1, 0), "bn2")));
  x = relu(b, bn(b, linear(b, flat(b, x), "fc1", wide(b, 500), false), "bn3"));
  return linear(b, x, "fc2", classes, true);
}

/* K. He et al., 2016, as UniQ trains it: bn-relu-conv-bn-relu-conv + skip; a 1x1 convolution on the activated input where the shape changes. */
static Node *residual(Build *b, Node *x, int blocks, int classes) {
  if (x->t.d[2].n < 8 || x->t.d[3].n < 8) return NULL;
  x = conv(b, x, "conv1", wide(b, 16), 3, 1, 1);
  for (int stage = 0; stage < 3; stage++)
    for (int i = 0; i < blocks; i++) {
      int64_t c = wide(b, INT64_C(16) << stage), stride = stage && !i ? 2 : 1;
      const char *at = arena_printf(b->net->arena, "stage%d.block%d", stage + 1, i + 1);
#define PART(s) arena_printf(b->net->arena, "%s." s, at)
      Node *y = relu(b, bn(b, x, PART("bn1"))), *skip = stride > 1 || c != x->t.d[1].n ? conv(b, y, PART("skip"), c, 1, stride, 0) : x;
      y = conv(b, y, PART("conv1"), c, 3, stride, 1);
      y = conv(b, relu(b, bn(b, y, PART("bn2"))), PART("conv2"), c, 3, 1, 1);
#undef PART
      b->g->at.op = "Add";
      x = node_map2(b->g, S_ADD, y, skip);
    }
  return linear(b, global_average(b, relu(b, bn(b, x, "bn"))), "fc", classes, true);
}
static Node *net_resnet8(Build *b, Node *x, int classes) { return residual(b, x, 1, classes); }
static Node *net_resnet20(Build *b, Node *x, int classes) { return residual(b, x, 3, classes); }

static Node *(*const makers[])(Build *, Node *, int) = {
#define NET(name, options, what) net_##name,
#include "trainer/nets.def"
#undef NET
};

static Net *wrong(const Recipe *r, int line, Net *net, const char *fmt, const char *word) {
  Loc loc = LOC_NONE;
  loc.file = r->file, loc.line = line;
  diag(r->ctx, E0703, &loc, fmt, word);
  net_free(net);
  return NULL;
}

static bool known_option(int which, const char *key) {
  size_t n = strlen(key);
  for (const char *o = net_info[which].options; n && *o; o += strcspn(o, " "), o += *o == ' ')
    if (!strncmp(o, key, n) && (o[n] == ' ' || !o[n])) return true;
  return !strcmp(key, "width");
}

Net *net_builtin(Ctx *ctx, const Recipe *r, int c, int h, int w) {
  int which = 0;
  const char *names[16];
  for (int i = 0; i < n_net_info; i++) names[i] = net_info[i].name;
  while (which < n_net_info && strcmp(net_info[which].name, r->net.builtin)) which++;
  if (which == n_net_info) {
    const char *near = nearest(r->net.builtin, names, n_net_info);
    wrong(r, r->net.line, NULL, "there is no built-in network '%s'", r->net.builtin);
    diag_hint(ctx, near ? "did you mean '%s'? `popshift list nets` shows them" : "`popshift list nets` shows them%s", near ? near : "");
    return NULL;
  }
  for (int i = 0; i < r->net.n_option; i++)
    if (!known_option(which, r->net.option[i].key)) return wrong(r, r->net.option[i].line, NULL, "the network has no option '%s'", r->net.option[i].key);
  const NetOption *width = recipe_net_option(r, "width");
  if (width && !(width->value > 0 && width->value <= 64)) return wrong(r, width->line, NULL, "width is above 0 and at most 64%s", "");
  const NetOption *hidden = recipe_net_option(r, "hidden");
  if (hidden && !(hidden->value >= 1 && hidden->value <= 65536 && hidden->value == floor(hidden->value)))
    return wrong(r, hidden->line, NULL, "hidden is a whole number from 1 to 65536%s", "");
  Net *net = net_new(ctx, r->net.builtin, (int)r->net.classes);
  Build b = {net, net->g, r, width ? width->value : 1};
  Node *x = net_images(net, r, c, h, w), *y = x ? makers[which](&b, x, net->classes) : NULL;
  if (!x) { net_free(net); return NULL; }
  if (!y) return wrong(r, r->net.line, net, "images are too small for %s", r->net.builtin);
  graph_out(net->g, "logits", y);
  return net;
}
