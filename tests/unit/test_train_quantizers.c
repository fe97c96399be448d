/* Every quantizer of the trainer against its formulas, written down again here in binary64: the numbers it gives, the derivatives by
 * its operand and by its parameters, what calibration sets, and that its options are read. A new row of quantizers.def without a
 * formula here fails. */
#include "tests/unit/suite.h"
#include "trainer/diff.h"
#include "trainer/quantizer.h"
#include "trainer/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4, C = 3 }; /* a layer of C inputs and N outputs */

/* What a formula says of x[i] of n: y, dy/dx, dy/dparameter (of one number, or of element i). p: the quantizer's parameters. */
enum { PARAMS = 16 };
typedef struct Point { double y, dx, dp[PARAMS]; } Point;
typedef struct Case { int bits; bool weight, up; const double *x; int n; const Net *net; const Site *s; double p[PARAMS][64]; } Case;
typedef Point Formula(const Case *, int i);

static double clip(double v, double lo, double hi) { return v < lo ? lo : v > hi ? hi : v; }

/* y = D (clamp(rint(v/D + z)) - z) */
static Point uniform_levels(double v, double d, double z, double lo, double hi) {
  double u = v / d + z;
  bool inside = u > lo && u < hi;
  return (Point){d * (rint(clip(u, lo, hi)) - z), inside, {rint(clip(u, lo, hi)) - z - (inside ? v / d : 0)}};
}

static Point uniq(const Case *c, int i) {
  double top = (1 << c->bits) - 1;
  if (c->weight || (!c->up && c->bits == 1)) return uniform_levels(c->x[i], c->p[0][0], top / 2, 0, top);
  return c->up ? uniform_levels(c->x[i], c->p[0][0], 0, 0, top) : uniform_levels(c->x[i], c->p[0][0], 0, -(1 << (c->bits - 1)), (1 << (c->bits - 1)) - 1);
}

static Point lsq(const Case *c, int i) {
  double half = 1 << (c->bits - 1);
  return uniform_levels(c->x[i], c->p[0][0], 0, !c->weight && c->up ? 0 : -half, !c->weight && c->up ? 2 * half - 1 : half - 1);
}

static Point lsqplus(const Case *c, int i) {
  if (c->weight || c->up) return lsq(c, i);
  Point q = uniform_levels(c->x[i] - c->p[1][0], c->p[0][0], 0, 0, (1 << c->bits) - 1);
  return (Point){q.y + c->p[1][0], q.dx, {q.dp[0], 1 - q.dx}};
}

static Point dorefa(const Case *c, int i) {
  double n = (1 << c->bits) - 1, mean = 0, max = 0, t = tanh(c->x[i]);
  if (!c->weight) { double u = c->x[i]; return (Point){rint(clip(u, 0, 1) * n) / n, u > 0 && u < 1, {0}}; }
  for (int k = 0; k < c->n; k++) mean += fabs(c->x[k]) / c->n, max = fmax(max, fabs(tanh(c->x[k])));
  if (c->bits == 1) return (Point){c->x[i] > 0 ? mean : -mean, 1, {0}};
  return (Point){2 * rint(n * (t / (2 * max) + 0.5)) / n - 1, (1 - t * t) / max, {0}};
}

static Point pact(const Case *c, int i) {
  double n = (1 << c->bits) - 1, x = c->x[i], a = c->p[0][0];
  return (Point){rint(clip(x, 0, a) * n / a) * a / n, x > 0 && x < a, {x >= a}};
}

static Point twn(const Case *c, int i) {
  double d = 0, a = 0, kept = 0;
  for (int k = 0; k < c->n; k++) d += 0.7 * fabs(c->x[k]) / c->n;
  for (int k = 0; k < c->n; k++) if (fabs(c->x[k]) > d) a += fabs(c->x[k]), kept++;
  return (Point){fabs(c->x[i]) > d ? (c->x[i] > 0 ? a : -a) / kept : 0, 1, {0}};
}

/* METHODS: with S_t = b_t (S_{t-1} + 1), dw_t = G s z 2^S ln2 (S_{t-1} + 1) b_{t+1} .. b_T. */
static int s3_top(int bits) { return bits == 2 ? 0 : bits - 1; }

/* Latents of T planes from p[at] on: S, and dS/dw_t in d[at..]. */
static double planes(const Case *c, int i, int at, int top, double *d) {
  double s = 0;
  for (int t = 0; t < top; t++) {
    double b = c->p[at + t][i] > 0;
    d[at + t] = s + 1;
    for (int k = 0; k < t; k++) d[at + k] *= b;
    s = b * (s + 1);
  }
  return s;
}

static Point s3(const Case *c, int i) {
  Point q = {0};
  int top = s3_top(c->bits);
  double sign = c->x[i] >= 0 ? 1 : -1, z = c->p[0][i] > 0, power = exp2(planes(c, i, 1, top, q.dp));
  q.y = sign * z * power, q.dx = z * power, q.dp[0] = sign * power;
  for (int t = 1; t <= top; t++) q.dp[t] *= sign * z * power * log(2);
  return q;
}

static Point denseshift(const Case *c, int i) {
  Point q = {0};
  int top = (1 << (c->bits - 1)) - 1;
  double sign = c->x[i] >= 0 ? 1 : -1, s = planes(c, i, 0, top, q.dp);
  q.y = sign * exp2(s), q.dx = sqrt(s + 1);
  for (int t = 0; t < top; t++) q.dp[t] *= sign / (2 * sqrt(s + 1));
  return q;
}

static Point staircase(const Case *c, int i) {
  int top = s3_top(c->bits);
  double lo = INFINITY, hi = -INFINITY, sign = c->x[i] >= 0 ? 1 : -1, z = c->p[0][i] > 0;
  for (int k = 0; k < c->n; k++) lo = fmin(lo, c->p[1][k]), hi = fmax(hi, c->p[1][k]);
  double power = exp2(clip(rint((c->p[1][i] - lo) / (hi - lo) * (top + 1) - 0.5), 0, top));
  return (Point){sign * z * power, z * power, {sign * power, sign * z * power * log(2) * (top + 1) / (hi - lo)}};
}

static Point deepshift_q(const Case *c, int i) {
  double k = clip(rint(log2(fabs(c->x[i]))), -((1 << (c->bits - 1)) - 1), 0);
  return (Point){copysign(exp2(k), c->x[i]), 1, {0}};
}

static Point deepshift_ps(const Case *c, int i) {
  double v = rint(c->x[i]), y = (v > 0) - (v < 0), power = exp2(rint(c->p[0][i]));
  return (Point){y * power, 1, {y * power * log(2)}};
}

/* Tables: which are frozen, at which level; that they are the right ones is the test `inq_parts`. */
static Point inq(const Case *c, int i) {
  bool frozen = c->p[0][i] != 0;
  return (Point){frozen ? c->p[1][i] : c->x[i], !frozen, {0}};
}

/* A multiple of the least power of two that the top level has at most 255 of. */
static double on_grid(double level, double top) {
  double unit = 0x1p-40;
  while (top / unit > 255) unit *= 2;
  return floor(level / unit + 0.5) * unit;
}

/* The nearest of all sums of the basis, those of inputs on their grid; x lies at [inputs][N], channels are N. */
static Point lqnet(const Case *c, int i) {
  const Param *basis = site_param(c->net, c->s, 0);
  double best = 0, top = 0, x = c->x[i];
  for (int k = 0; k < c->bits && !c->weight; k++) top += (double)basis->value[k];
  for (int e = 0; e < 1 << c->bits; e++) {
    double level = 0;
    for (int k = 0; k < c->bits; k++) level += (e >> k & 1 ? 1 : c->weight ? -1 : 0) * (double)basis->value[c->weight ? k * N + i % N : k];
    if (!c->weight) level = on_grid(level, top);
    if (!e || fabs(level - x) < fabs(best - x)) best = level;
  }
  top = on_grid(top, top);
  return (Point){best, c->weight || (x > 0 && x < top), {0}};
}

static Point bireal(const Case *c, int i) {
  double x = c->x[i], mean = 0;
  if (!c->weight) return (Point){x > 0 ? 1 : -1, fabs(x) < 1 ? 2 - 2 * fabs(x) : 0, {0}};
  for (int k = i % N; k < c->n; k += N) mean += fabs(c->x[k]) * N / c->n;
  return (Point){x > 0 ? mean : -mean, fabs(x) < 1, {0}};
}

/* Weights are read as they are (test_train_alq has their steps); inputs take the nearest of the sums of levels p[0], p[2], .. */
static Point alq(const Case *c, int i) {
  double best = INFINITY, y = 0, top = 0;
  if (c->weight) return (Point){c->x[i], 1, {0}};
  for (int code = 0; code < 1 << c->bits; code++) {
    double v = 0;
    for (int b = 0; b < c->bits; b++) v += code >> b & 1 ? c->p[2 * b][0] : 0;
    if (fabs(c->x[i] - v) < best) best = fabs(c->x[i] - v), y = v;
    top = fmax(top, v);
  }
  return (Point){y, c->x[i] > 0 && c->x[i] < top, {0}};
}

static Formula *const formulas[QUANTIZER_COUNT] = {
  [QUANT_UNIQ] = uniq, [QUANT_LSQ] = lsq, [QUANT_LSQPLUS] = lsqplus, [QUANT_DOREFA] = dorefa, [QUANT_PACT] = pact, [QUANT_TWN] = twn,
  [QUANT_S3] = s3, [QUANT_DENSESHIFT] = denseshift, [QUANT_STAIRCASE] = staircase, [QUANT_DEEPSHIFT_Q] = deepshift_q, [QUANT_DEEPSHIFT_PS] = deepshift_ps,
  [QUANT_INQ] = inq,
  [QUANT_LQNET] = lqnet, [QUANT_BIREAL] = bireal,
  [QUANT_ALQ] = alq,
};

static Recipe *recipe(Ctx *ctx, const char *row) {
  const char *text = arena_printf(ctx->own, "popshift: recipe/1\nnet: {builtin: mlp, classes: 4}\ndata: {train: [a, b]}\nbatch: 8\nquant: [{match: \"*\", %s}]\nphases: [{quant: true, epochs: 1, lr: constant(0.1)}]\n", row);
  Recipe *r = recipe_parse(ctx, "t.yaml", text, strlen(text));
  if (!r) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(r);
  return r;
}

/* x [2, C, 1, 1] -> (relu) -> a product with weights [C, N]: one layer. */
static Net *layer(Ctx *ctx, const Recipe *r, bool up, uint32_t seed) {
  Net *net = net_new(ctx, "layer", N);
  Type ct = type_make(F32, 2, (int64_t[]){C, N});
  Node *x = net_images(net, r, C, 1, 1);
  x = node_reshape(net->g, x, 2, (Dim[]){x->t.d[0], dim_c(C)});
  x = up ? node_map2(net->g, S_MAX, x, node_const_f(net->g, F32, 0)) : node_map2(net->g, S_SUB, x, node_const_f(net->g, F32, 0.25));
  int w = net_param(net, "fc.weight", PARAM_WEIGHT, &ct);
  rng_fill_normal((Rng){seed, RNG_INIT}, 0, net->p[w].n, 0.6f, net->p[w].value);
  graph_out(net->g, "logits", node_matmul(net->g, x, graph_arg(net->g, "fc.weight", &ct), F32));
  return net;
}

/* The one quantized operand as a graph of its own: y, and its derivatives under dy[i] = 0.3 + 0.1 i by x and by the trained parameters. */
typedef struct Ran { Tensor *y, *dx, *dp[PARAMS]; int n_p; } Ran;

static Ran run_operand(const Net *net, const float *in) {
  const Site *s = net->site;
  Arena *a = net->ctx->own;
  Net one = *net;
  one.g = graph_new(net->ctx, "one", NULL);
  graph_sym(one.g, "N");
  Node **map = NEWN(a, Node *, net->g->n_nodes);
  for (int k = 0; k < net->g->n_args; k++) map[net->g->args[k]->id] = graph_arg(one.g, net->g->arg_names[k], &net->g->args[k]->t);
  for (int k = 0; k <= s->y; k++) {
    const Node *o = net->g->nodes[k];
    Node *ins[64];
    for (int j = 0; j < o->n_in; j++) ins[j] = map[o->in[j]->id];
    if (o->op != OP_ARG) map[k] = node_clone(one.g, o, ins);
  }
  Type dt = map[s->y]->t;
  Node *dy = graph_arg(one.g, "dy", &dt), *wrt[PARAMS + 1] = {map[s->x]}, *grad[PARAMS + 1];
  int n = 1;
  for (int i = 0; i < s->n; i++) if (param_is_trained(site_param(net, s, i))) wrt[n++] = one.g->args[1 + s->first + i];
  ck_assert(graph_vjp(one.g, map[s->y], dy, wrt, n, grad));
  graph_out(one.g, "y", map[s->y]);
  for (int i = 0; i < n; i++) { ck_assert_ptr_nonnull(grad[i]); graph_out(one.g, arena_printf(a, "d%d", i), grad[i]); }
  Graph *b = net_bind(&one, 2, false);
  Tensor *args[PARAMS + 4], *out[PARAMS + 2] = {NULL};
  for (int k = 0; k < b->n_args; k++) args[k] = tensor_new(net->ctx, &b->args[k]->t);
  for (int i = 0; i < 2 * C; i++) tensor_set_f(args[0], i, (double)in[i]);
  for (int k = 0; k < net->n_p; k++) for (int64_t i = 0; i < net->p[k].n; i++) tensor_set_f(args[1 + k], i, (double)net->p[k].value[i]);
  for (int64_t i = 0; i < args[b->n_args - 1]->n; i++) tensor_set_f(args[b->n_args - 1], i, 0.3 + 0.1 * (double)i);
  ck_assert(graph_eval(net->ctx, b, args, out, NULL, NULL));
  Ran r = {.y = out[0], .dx = out[1], .n_p = n - 1};
  for (int i = 1; i < n; i++) r.dp[i - 1] = out[1 + i];
  return r;
}

static void check_row(Quantizer q, int bits, bool weight, bool up, uint32_t seed) {
  Ctx *ctx = ctx_new();
  const char *options = quantizer_info[q].options, *latents = strstr(options, "latents=") && seed % 3 ? ", latents: plain, sigma: 0.7" : "";
  bool has_scale = strstr(options, "scale=") && seed % 2;
  Recipe *r = recipe(ctx, arena_printf(ctx->own, "%s: %s/%d%s%s", weight ? "weight" : "act", quantizer_info[q].name, bits, latents, has_scale ? ", scale: layer" : ""));
  Net *net = layer(ctx, r, up, seed);
  net_quantize(net, r, &r->quant);
  ck_assert_int_eq(net->n_site, 1);
  Site *s = net->site;
  ck_assert(s->weight == weight && (weight || s->up == up) && s->bits == bits && s->n <= PARAMS);
  ActStats stats[2] = {{0.4, 0.5, 0.6, up ? 0 : -0.7, 1.1}, {0.3, 0.6, 0.5, up ? 0 : -0.9, 1.3}};
  if (weight && site_ops(s)->init_weight) site_ops(s)->init_weight(net, s);
  if (!weight && site_ops(s)->init_act) site_ops(s)->init_act(net, s, stats, 1), site_ops(s)->init_act(net, s, stats, 2);
  double x[32];
  int n = weight ? C * N : 2 * C;
  float in[32];
  rng_fill_normal((Rng){seed + 1, RNG_INIT}, 0, 32, 0.8f, in);
  for (int i = 0; i < n; i++) x[i] = weight ? (double)net->p[0].value[i] : up ? fmax(0, (double)in[i]) : (double)(in[i] - 0.25f);
  Case c = {.bits = bits, .weight = weight, .up = up, .x = x, .n = n, .net = net, .s = s};
  for (int i = 0; i < s->n; i++) for (int64_t k = 0; k < site_param(net, s, i)->n; k++) c.p[i][k] = (double)site_param(net, s, i)->value[k];

  Arena *a = arena_new(ctx);
  TrainGraph tg;
  ck_assert(net_train_graph(net, 2, 2, false, a, &tg));
  for (int k = 0; k < net->n_p; k++) ck_assert_int_eq(tg.out_grad[k] >= 0, param_is_trained(&net->p[k]));
  for (int k = 0; k < tg.g->n_nodes; k++) ck_assert(tg.g->nodes[k]->op != OP_STRAIGHT);
  graph_free(tg.g);

  Ran ran = run_operand(net, in);
  double dp[PARAMS][C * N] = {{0}};
  for (int i = 0; i < n; i++) {
    Point want = formulas[q](&c, i);
    double d = 0.3 + 0.1 * i;
    if (has_scale) {
      double scale = c.p[s->n - 1][0], y = want.y;
      for (int k = 0; k < s->n; k++) want.dp[k] *= scale;
      want.y *= scale, want.dx *= scale, want.dp[s->n - 1] = y;
    }
    ck_assert_msg(fabs(tensor_f(ran.y, i) - want.y) < 2e-6, "%s/%d y[%d] of %g: %g, formula %g", quantizer_info[q].name, bits, i, x[i], tensor_f(ran.y, i), want.y);
    ck_assert_msg(fabs(tensor_f(ran.dx, i) - d * want.dx) < 2e-6 * fmax(1, fabs(d * want.dx)), "%s/%d dx[%d] of %g: %g, formula %g", quantizer_info[q].name, bits, i, x[i],
                  tensor_f(ran.dx, i), d * want.dx);
    for (int k = 0; k < s->n; k++) dp[k][site_param(net, s, k)->n == 1 ? 0 : i] += d * want.dp[k];
  }
  for (int k = 0; k < ran.n_p; k++)
    for (int64_t i = 0; i < ran.dp[k]->n; i++)
      ck_assert_msg(fabs(tensor_f(ran.dp[k], i) - dp[k][i]) < 3e-5 * fmax(1, fabs(dp[k][i])), "%s/%d d%s[%d]: %g, formula %g", quantizer_info[q].name, bits,
                    site_param(net, s, k)->name, (int)i, tensor_f(ran.dp[k], i), dp[k][i]);
  ctx_free(ctx);
}

START_TEST(formulas_hold) {
  const QuantizerInfo *info = &quantizer_info[_i];
  ck_assert_msg(formulas[_i] != NULL, "%s has no formula in this test", info->name);
  ck_assert(info->weight == (quantizer_ops[_i]->weight != NULL) && info->act == (quantizer_ops[_i]->act != NULL));
  for (int bits = info->lo; bits <= info->hi && bits <= 4; bits++)
    for (uint32_t seed = 1; seed < 40; seed++) {
      if (info->weight) check_row((Quantizer)_i, bits, true, false, seed);
      if (info->act) check_row((Quantizer)_i, bits, false, true, seed);
      if (info->act && _i != QUANT_ALQ) check_row((Quantizer)_i, bits, false, false, seed); /* alq's are never negative */
    }
}
END_TEST

/* The sum of squares of x minus the nearest levels. */
static double misfit(const Case *c) {
  double e = 0;
  for (int i = 0; i < c->n; i++) { double d = c->x[i] - lqnet(c, i).y; e += d * d; }
  return e;
}

/* LQ-Net's step against least squares over the codes by normal equations written out for two bases (weights; inputs have the same solver, and their sums
 * are compared with those of the operand), and many steps fit better. */
START_TEST(lqnet_steps) {
  Ctx *ctx = ctx_new();
  for (int weight = 0; weight < 2; weight++)
    for (uint32_t seed = 1; seed < 20; seed++) {
      Recipe *r = recipe(ctx, weight ? "weight: lqnet/2" : "act: lqnet/2");
      Net *net = layer(ctx, r, true, seed);
      net_quantize(net, r, &r->quant);
      Site *s = net->site;
      const Param *v = site_param(net, s, 0);
      double x[32], was = 0;
      int n = weight ? C * N : 8 * C, channels = weight ? N : 1;
      float in[32];
      rng_fill_normal((Rng){seed, RNG_QUANT}, 0, 32, 0.7f, in);
      for (int i = 0; i < n; i++) x[i] = weight ? (double)net->p[0].value[i] : fmax(0, (double)in[i]);
      if (weight) site_ops(s)->init_weight(net, s);
      else site_ops(s)->init_act(net, s, &(ActStats){0.3, 0.25, 0.4, 0, 1}, 1);
      Case c = {.bits = 2, .weight = weight, .up = true, .x = x, .n = n, .net = net, .s = s};
      for (int step = 0; step < 60; step++) {
        double want[2][N];
        for (int ch = 0; ch < channels; ch++) {
          double a = 1e-4, b = 0, d = 1e-4, p = 1e-4 * (double)v->value[ch], q = 1e-4 * (double)v->value[channels + ch];
          for (int i = ch; i < n; i += channels) {
            double y = lqnet(&c, i).y, e[2] = {0, 0}, least = 1e9;
            for (int k = 0; k < 4; k++) {
              double e0 = k & 1 ? 1 : weight ? -1 : 0, e1 = k & 2 ? 1 : weight ? -1 : 0, off = fabs(e0 * (double)v->value[ch] + e1 * (double)v->value[channels + ch] - y);
              if (off < least) least = off, e[0] = e0, e[1] = e1;
            }
            a += e[0] * e[0], b += e[0] * e[1], d += e[1] * e[1], p += e[0] * x[i], q += e[1] * x[i];
          }
          double f0 = (d * p - b * q) / (a * d - b * b), f1 = (a * q - b * p) / (a * d - b * b);
          if (weight) f0 = fabs(f0), f1 = fabs(f1);
          want[0][ch] = fmax(1e-8, 0.9 * (double)v->value[ch] + 0.1 * f0), want[1][ch] = fmax(1e-8, 0.9 * (double)v->value[channels + ch] + 0.1 * f1);
        }
        if (!weight) { /* what the step's graph sums */
          const float *level = site_param(net, s, 1)->value;
          float *sums = site_param(net, s, 3)->value;
          memset(sums, 0, 8 * sizeof *sums);
          for (int i = 0; i < n; i++)
            for (int k = 0; k < 4; k++)
              if (!k || x[i] > (double)((level[k - 1] + level[k]) * 0.5f)) sums[k] += k > 0, sums[4 + k] += (float)x[i];
          s->batch = 8;
        }
        site_ops(s)->after(&(After){net, s, r, r->phase, step, 1});
        for (int ch = 0; ch < channels; ch++)
          for (int k = 0; k < 2; k++)
            ck_assert_msg(fabs((double)v->value[k * channels + ch] - want[k][ch]) < 1e-5, "v%d %g, formula %g", k, (double)v->value[k * channels + ch], want[k][ch]);
        if (!step) was = misfit(&c);
      }
      ck_assert(misfit(&c) < was * 1.001);
      net_free(net);
    }
  ctx_free(ctx);
}
END_TEST

/* The sums that the step's graph gives are those of the batch. */
START_TEST(lqnet_sums) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "act: lqnet/2");
  Net *net = layer(ctx, r, true, 5);
  Arena *a = arena_new(ctx);
  TrainGraph t;
  net_quantize(net, r, &r->quant);
  Site *s = net->site;
  site_ops(s)->init_act(net, s, &(ActStats){0.3, 0.25, 0.4, 0, 1}, 1);
  ck_assert(net_train_graph(net, 8, 8, false, a, &t));
  int p = s->first + 3;
  ck_assert(t.out_sum[p] >= 0 && t.out_grad[p] < 0 && net->p[p].n == 8);
  Tensor *args[8], *out[16] = {NULL};
  for (int i = 0; i < t.g->n_args; i++) args[i] = tensor_new(ctx, &t.g->args[i]->t);
  for (int i = 0; i < 8 * C; i++) tensor_set_f(args[0], i, i / 8.0 - 0.5);
  for (int k = 0; k < net->n_p; k++) for (int64_t i = 0; i < net->p[k].n; i++) tensor_set_f(args[1 + k], i, (double)net->p[k].value[i]);
  ck_assert(graph_eval(ctx, t.g, args, out, NULL, NULL));
  const float *level = site_param(net, s, 1)->value;
  for (int k = 0; k < 4; k++) {
    double count = 0, sum = 0;
    for (int i = 0; i < 8 * C; i++) {
      double x = fmax(0, i / 8.0 - 0.5);
      if (!k || x > (double)((level[k - 1] + level[k]) * 0.5f)) count += k > 0, sum += x;
    }
    ck_assert_double_eq(tensor_f(out[t.out_sum[p]], k), count);
    ck_assert(fabs(tensor_f(out[t.out_sum[p]], 4 + k) - sum) < 1e-5);
  }
  ctx_free(ctx);
}
END_TEST

/* Put in again, a network has the quantizers of the new rows alone. */
START_TEST(again) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "weight: uniq/2, act: lsqplus/3, init: lsq"), *other = recipe(ctx, "weight: dorefa/1");
  Net *net = layer(ctx, r, false, 3);
  ck_assert(!net_quantized(net));
  net_quantize(net, r, &r->quant);
  ck_assert(net_quantized(net) && net->n_site == 2 && net->n_p == 4 && net->n_plain == 1 && graph_verify(ctx, net->g));
  ck_assert_double_eq(net_weight_bits(net, 0), 2);
  ck_assert_double_eq(row_option(net->site[0].row, "init", 0), 1);
  net_quantize(net, other, &other->quant);
  ck_assert(net->n_site == 1 && net->n_p == 1 && graph_verify(ctx, net->g));
  ck_assert_double_eq(net_weight_bits(net, 0), 1);
  net_free(net);
  ctx_free(ctx);
}
END_TEST

/* A network of one layer of 12 weights with these quantizers, initialised. */
static Net *quantized(Ctx *ctx, const char *row, uint32_t seed) {
  Recipe *r = recipe(ctx, row);
  Net *net = layer(ctx, r, false, seed);
  net_quantize(net, r, &r->quant);
  if (site_ops(net->site)->init_weight) site_ops(net->site)->init_weight(net, net->site);
  return net;
}

/* S3's Eq. 6 (2 bits), 8 and 9 (3 bits; 4 bits with a plane more) on latents of every sign, 0 being off, and of the sign's positive; and the
 * gradients against differences of the surrogate, which has each Heaviside plus the latent's change in place of it. */
static const int steps_of[2][2] = {{0, 1}, {0, 2}}; /* S_2 by 1(w_1), 1(w_2) */

static double surrogate(const double *h, int top) { /* sign, sparse, b_1 .. b_T */
  double s = 0;
  for (int t = 0; t < top; t++) s = h[2 + t] * (s + 1);
  return h[0] * h[1] * exp2(s);
}

START_TEST(s3_truth_table) {
  int bits = _i, top = s3_top(bits), latents = 2 + top, rows = 1;
  for (int k = 0; k < latents; k++) rows *= 3;
  Ctx *ctx = ctx_new();
  Net *net = quantized(ctx, arena_printf(ctx->own, "weight: s3/%d", bits), 1);
  static const float value[3] = {-0.25f, 0, 0.5f};
  float in[2 * C] = {0};
  bool seen[17] = {false};
  for (int from = 0; from < rows; from += C * N) {
    for (int i = 0; i < C * N; i++)
      for (int k = 0, row = (from + i) % rows; k < latents; k++, row /= 3) (k ? site_param(net, net->site, k - 1) : &net->p[0])->value[i] = value[row % 3];
    Ran ran = run_operand(net, in);
    for (int i = 0; i < C * N; i++) {
      double h[5] = {net->p[0].value[i] >= 0 ? 1 : -1};
      int b[4] = {0};
      for (int k = 1; k < latents; k++) h[k] = b[k - 1] = site_param(net, net->site, k - 1)->value[i] > 0;
      int s = top == 0 ? 0 : top == 2 ? steps_of[b[1]][b[2]] : b[3] * (steps_of[b[1]][b[2]] + 1);
      ck_assert_double_eq(tensor_f(ran.y, i), h[0] * b[0] * (1 << s));
      seen[8 + (int)tensor_f(ran.y, i)] = true;
      for (int k = 0; k < latents; k++) {
        double up[5], down[5], e = 1e-6, d = 0.3 + 0.1 * i;
        memcpy(up, h, sizeof up), memcpy(down, h, sizeof down);
        up[k] += e, down[k] -= e;
        double want = d * (surrogate(up, top) - surrogate(down, top)) / (2 * e), got = tensor_f(k ? ran.dp[k - 1] : ran.dx, i);
        ck_assert_msg(fabs(got - want) < 1e-5 * fmax(1, fabs(want)), "s3/%d row %d latent %d: %g, difference %g", bits, from + i, k, got, want);
      }
    }
  }
  for (int v = -8; v <= 8; v++) { /* every level and no other */
    bool level = abs(v) <= 1 << top && (v == 0 || !(abs(v) & (abs(v) - 1)));
    ck_assert(seen[8 + v] == level);
  }
  ctx_free(ctx);
}
END_TEST

/* What latents begin as, and that seeds and parameters have numbers of their own. */
START_TEST(s3_latents) {
  Ctx *ctx = ctx_new();
  Net *dense = quantized(ctx, "weight: s3/3, sigma: 0.01", 1), *plain = quantized(ctx, "weight: s3/3, latents: plain", 1), *kept = quantized(ctx, "weight: s3/3, latents: kept", 1);
  const Site *s = dense->site;
  ck_assert(s->n == 3 && s->fan_out == N);
  bool negative = false;
  for (int i = 0; i < C * N; i++) {
    ck_assert(site_param(dense, s, 0)->value[i] > 0 && site_param(dense, s, 1)->value[i] < 0 && site_param(dense, s, 2)->value[i] < 0);
    ck_assert(fabs((double)dense->p[0].value[i]) < 0.05 && site_param(dense, s, 1)->value[i] != site_param(dense, s, 2)->value[i]);
    ck_assert_float_eq_tol(plain->p[0].value[i], dense->p[0].value[i] * 100 * sqrtf(2.0f / N), 1e-5f);
    negative = negative || site_param(plain, plain->site, 0)->value[i] < 0;
  }
  ck_assert(negative);
  Net *was = layer(ctx, recipe(ctx, "weight: none"), false, 1);
  ck_assert(!memcmp(kept->p[0].value, was->p[0].value, C * N * sizeof(float)) && memcmp(dense->p[0].value, was->p[0].value, C * N * sizeof(float)));
  for (int k = 0; k < 3; k++) ck_assert(site_param(dense, s, k)->decay_mul == 1 && (site_param(dense, s, k)->prior > 0) == (k == 0));
  Net *shift = quantized(ctx, "weight: denseshift/3", 1);
  bool above = false, below = false;
  for (int i = 0; i < C * N; i++) {
    float v = site_param(shift, shift->site, 2)->value[i];
    above = above || v > 0, below = below || v < 0;
    ck_assert(fabsf(v) < 0.006f && fabsf(shift->p[0].value[i]) < 0.006f);
  }
  ck_assert(above && below && shift->site->n == 3);
  Net *scaled = quantized(ctx, "weight: s3/2, scale: layer, grain: kernel", 1);
  double square = 0;
  for (int i = 0; i < C * N; i++) square += pow((double)was->p[0].value[i], 2) / (C * N);
  const Param *scale = site_param(scaled, scaled->site, 1);
  ck_assert(scaled->site->n == 2 && scale->n == N && scale->decay_mul == 0);
  for (int i = 0; i < N; i++) ck_assert_double_eq_tol((double)scale->value[i], sqrt(square), 1e-6);
  Net *linear = quantized(ctx, "weight: s3/2, prior: 0.5, prior_decay: linear", 1), *none = quantized(ctx, "weight: s3/2, prior: 0", 1);
  ck_assert(site_param(linear, linear->site, 0)->prior == 0.5f && site_param(linear, linear->site, 0)->prior_decay == PRIOR_LINEAR);
  ck_assert(site_param(none, none->site, 0)->prior == 0);
  ctx_free(ctx);
}
END_TEST

/* DeepShift-PS: signs do not decay while it is there; exponents come back into their range. */
START_TEST(deepshift_range) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "weight: deepshift_ps/4"), *other = recipe(ctx, "weight: twn/2");
  Net *net = layer(ctx, r, false, 2);
  net_quantize(net, r, &r->quant);
  Site *s = net->site;
  site_ops(s)->init_weight(net, s);
  Param *e = site_param(net, s, 0);
  ck_assert(net->p[0].decay_mul == 0 && e->decay_mul == 0);
  for (int i = 0; i < C * N; i++) ck_assert(e->value[i] >= -6 && e->value[i] <= 0 && fabsf(net->p[0].value[i]) <= 1);
  e->value[0] = 0.25f, e->value[1] = -6.5f, e->value[2] = -5.75f;
  site_ops(s)->after(&(After){net, s, r, r->phase, 0, 1});
  ck_assert(e->value[0] == 0 && e->value[1] == -6 && e->value[2] == -5.75f);
  net_quantize(net, other, &other->quant);
  ck_assert(net->p[0].decay_mul == 1);
  ctx_free(ctx);
}
END_TEST

/* INQ: 12 weights, 4, 7, 10 and 12 of them by size; levels by hand; frozen ones come back where they were moved. */
START_TEST(inq_parts) {
  static const float w[C * N] = {0.3f, -1.4f, 0.02f, 0.75f, -0.751f, 0.004f, 1.1f, -0.09f, 0.55f, -0.2f, 0.0001f, -0.39f};
  static const float level[C * N] = {0.25f, -1, 0.015625f, 1, -1, 0.0078125f, 1, -0.0625f, 0.5f, -0.25f, 0, -0.5f}; /* n1 = 0, n2 = -7 */
  static const int part[C * N] = {2, 1, 3, 1, 1, 4, 1, 3, 2, 3, 4, 2};
  static const int part_at[9] = {1, 1, 1, 2, 2, 2, 3, 3, 3};
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "weight: inq/5");
  Net *net = layer(ctx, r, false, 2);
  memcpy(net->p[0].value, w, sizeof w);
  net_quantize(net, r, &r->quant);
  Site *s = net->site;
  site_ops(s)->init_weight(net, s);
  Phase ph = {.epochs = 3};
  for (int64_t step = 0; step <= 9; step++) { /* before step */
    int now = step < 9 ? part_at[step] : 4, frozen = 0;
    for (int i = 0; i < C * N; i++) {
      float want = part[i] <= now ? level[i] : w[i];
      frozen += part[i] <= now;
      ck_assert_msg(net->p[0].value[i] == want, "step %d, weight %d: %g, not %g", (int)step, i, (double)net->p[0].value[i], (double)want);
      if (part[i] <= now) net->p[0].value[i] += 0.01f; /* what momentum does to it */
    }
    ck_assert_double_eq_tol(site_ops(s)->width(net, s), (5.0 * frozen + 32.0 * (C * N - frozen)) / (C * N), 1e-12);
    Metrics m = {.arena = ctx->own};
    site_ops(s)->metrics(net, s, &m);
    ck_assert(m.n == 1 && !strcmp(m.p->name, "frozen.fc") && fabs(m.p->value - 100.0 * frozen / (C * N)) < 1e-9);
    if (step < 9) site_ops(s)->after(&(After){net, s, r, &ph, step, 3});
  }
  static const struct { int table; float v; bool ok; } file[] = {{2, 1030, false}, {2, -151, false}, {2, 0.5f, false}, {2, 128, true}, {0, 2, false}, {0, 0.5f, false}, {0, 0, true}};
  for (size_t i = 0; i < sizeof file / sizeof *file; i++) { /* a checkpoint's tables: frozen, level, top */
    site_param(net, s, file[i].table)->value[0] = file[i].v;
    ck_assert_msg(site_ops(s)->valid(net, s) == file[i].ok, "table %d with %g", file[i].table, (double)file[i].v);
    site_param(net, s, file[i].table)->value[0] = file[i].table == 0;
  }
  ctx_free(ctx);
}
END_TEST

/* Quantizers of more parameters than a network has room for at first. */
START_TEST(many_parameters) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "weight: denseshift/4");
  Net *net = layer(ctx, r, false, 2);
  Type t = type_make(F32, 1, (int64_t[]){2});
  while (net->n_p < 60) net_param(net, net_unique(net, "v"), PARAM_VECTOR, &t);
  for (int k = 1; k < 60; k++) graph_arg(net->g, net->p[k].name, &t);
  net_quantize(net, r, &r->quant);
  ck_assert(net->n_p == 67 && net->site->n == 7);
  for (int i = 0; i < 7; i++) ck_assert(site_param(net, net->site, i)->n == C * N && site_param(net, net->site, i)->decay_mul == 1);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_quantizers");
  TCase *c = tcase_create("quantizers");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, formulas_hold, QUANT_NONE + 1, QUANTIZER_COUNT);
  tcase_add_test(c, lqnet_steps);
  tcase_add_test(c, lqnet_sums);
  tcase_add_test(c, again);
  tcase_add_loop_test(c, s3_truth_table, 2, 5);
  tcase_add_test(c, s3_latents);
  tcase_add_test(c, deepshift_range);
  tcase_add_test(c, inq_parts);
  tcase_add_test(c, many_parameters);
  suite_add_tcase(s, c);
  return suite_run(s);
}
