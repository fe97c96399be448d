/* Every quantizer of the trainer against its formulas, written down again here in binary64: the numbers it gives, the derivatives by
 * its operand and by its parameters, what calibration sets, and that its options are read. A new row of quantizers.def without a
 * formula here fails. */
#include "trainer/diff.h"
#include "trainer/quantizer.h"
#include "trainer/rng.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4, C = 3 }; /* a layer of C inputs and N outputs */

/* What a formula says of x[i] of n: y, dy/dx, dy/dparameter. p: the quantizer's parameters, each of one number. */
typedef struct Point { double y, dx, dp[16]; } Point;
typedef struct Case { int bits; bool weight, up; const double *x; int n; const double *p; } Case;
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
  if (c->weight || (!c->up && c->bits == 1)) return uniform_levels(c->x[i], c->p[0], top / 2, 0, top);
  return c->up ? uniform_levels(c->x[i], c->p[0], 0, 0, top) : uniform_levels(c->x[i], c->p[0], 0, -(1 << (c->bits - 1)), (1 << (c->bits - 1)) - 1);
}

static Point lsq(const Case *c, int i) {
  double half = 1 << (c->bits - 1);
  return uniform_levels(c->x[i], c->p[0], 0, !c->weight && c->up ? 0 : -half, !c->weight && c->up ? 2 * half - 1 : half - 1);
}

static Point lsqplus(const Case *c, int i) {
  if (c->weight || c->up) return lsq(c, i);
  Point q = uniform_levels(c->x[i] - c->p[1], c->p[0], 0, 0, (1 << c->bits) - 1);
  return (Point){q.y + c->p[1], q.dx, {q.dp[0], 1 - q.dx}};
}

static Point dorefa(const Case *c, int i) {
  double n = (1 << c->bits) - 1, mean = 0, max = 0, t = tanh(c->x[i]);
  if (!c->weight) { double u = c->x[i]; return (Point){rint(clip(u, 0, 1) * n) / n, u > 0 && u < 1, {0}}; }
  for (int k = 0; k < c->n; k++) mean += fabs(c->x[k]) / c->n, max = fmax(max, fabs(tanh(c->x[k])));
  if (c->bits == 1) return (Point){c->x[i] > 0 ? mean : -mean, 1, {0}};
  return (Point){2 * rint(n * (t / (2 * max) + 0.5)) / n - 1, (1 - t * t) / max, {0}};
}

static Point pact(const Case *c, int i) {
  double n = (1 << c->bits) - 1, x = c->x[i], a = c->p[0];
  return (Point){rint(clip(x, 0, a) * n / a) * a / n, x > 0 && x < a, {x >= a}};
}

static Point twn(const Case *c, int i) {
  double d = 0, a = 0, kept = 0;
  for (int k = 0; k < c->n; k++) d += 0.7 * fabs(c->x[k]) / c->n;
  for (int k = 0; k < c->n; k++) if (fabs(c->x[k]) > d) a += fabs(c->x[k]), kept++;
  return (Point){fabs(c->x[i]) > d ? (c->x[i] > 0 ? a : -a) / kept : 0, 1, {0}};
}

/* Weights are read as they are (test_train_alq has their steps); inputs take the nearest of the sums of levels p[0], p[2], .. */
static Point alq(const Case *c, int i) {
  double best = INFINITY, y = 0, top = 0;
  if (c->weight) return (Point){c->x[i], 1, {0}};
  for (int code = 0; code < 1 << c->bits; code++) {
    double v = 0;
    for (int b = 0; b < c->bits; b++) v += code >> b & 1 ? c->p[2 * b] : 0;
    if (fabs(c->x[i] - v) < best) best = fabs(c->x[i] - v), y = v;
    top = fmax(top, v);
  }
  return (Point){y, c->x[i] > 0 && c->x[i] < top, {0}};
}

static Formula *const formulas[QUANTIZER_COUNT] = {
  [QUANT_UNIQ] = uniq, [QUANT_LSQ] = lsq, [QUANT_LSQPLUS] = lsqplus, [QUANT_DOREFA] = dorefa, [QUANT_PACT] = pact, [QUANT_TWN] = twn, [QUANT_ALQ] = alq,
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

/* The quantized operand as a graph of its own: y from x and the parameters, and its derivatives under dy. */
static void check_row(Quantizer q, int bits, bool weight, bool up, uint32_t seed) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, arena_printf(ctx->own, "%s: %s/%d", weight ? "weight" : "act", quantizer_info[q].name, bits));
  Net *net = layer(ctx, r, up, seed);
  net_quantize(net, r, &r->quant);
  ck_assert_int_eq(net->n_site, 1);
  Site *s = net->site;
  ck_assert(s->weight == weight && (weight || s->up == up) && s->bits == bits);
  ActStats stats[2] = {{0.4, 0.5, 0.6, up ? 0 : -0.7, 1.1}, {0.3, 0.6, 0.5, up ? 0 : -0.9, 1.3}};
  if (weight && site_ops(s)->init_weight) site_ops(s)->init_weight(net, s);
  if (!weight && site_ops(s)->init_act) site_ops(s)->init_act(net, s, stats, 1), site_ops(s)->init_act(net, s, stats, 2);
  double x[32], p[16];
  int n = weight ? C * N : 2 * C;
  float in[32];
  rng_fill_normal((Rng){seed + 1, RNG_INIT}, 0, 32, 0.8f, in);
  for (int i = 0; i < n; i++) x[i] = weight ? (double)net->p[0].value[i] : up ? fmax(0, (double)in[i]) : (double)(in[i] - 0.25f);
  for (int i = 0; i < s->n; i++) p[i] = (double)site_param(net, s, i)->value[0];

  Arena *a = arena_new(ctx);
  TrainGraph tg;
  ck_assert(net_train_graph(net, 2, 2, false, a, &tg));
  for (int k = 0; k < net->n_p; k++) ck_assert_int_eq(tg.out_grad[k] >= 0, param_is_trained(&net->p[k]));
  for (int k = 0; k < tg.g->n_nodes; k++) ck_assert(tg.g->nodes[k]->op != OP_STRAIGHT);
  graph_free(tg.g);

  /* the operand alone: the net's graph with it as its output */
  Node *y = NULL, *operand = net->g->nodes[s->x];
  for (int k = 0; k < net->g->n_nodes; k++)
    if (net->g->nodes[k]->op == OP_CONTRACT) y = net->g->nodes[k]->in[weight];
  ck_assert_ptr_nonnull(y);
  Net one = *net;
  one.g = graph_new(ctx, "one", NULL);
  graph_sym(one.g, "N");
  Node **map = NEWN(a, Node *, net->g->n_nodes);
  for (int k = 0; k < net->g->n_args; k++) map[net->g->args[k]->id] = graph_arg(one.g, net->g->arg_names[k], &net->g->args[k]->t);
  for (int k = 0; k <= (int)y->id; k++) {
    const Node *o = net->g->nodes[k];
    Node *ins[64];
    for (int j = 0; j < o->n_in; j++) ins[j] = map[o->in[j]->id];
    if (o->op != OP_ARG) map[k] = node_clone(one.g, o, ins);
  }
  Type dt = y->t;
  Node *dy = graph_arg(one.g, "dy", &dt), *wrt[18] = {map[operand->id]}, *grad[18];
  int n_wrt = 1;
  for (int i = 0; i < s->n; i++) if (param_is_trained(site_param(net, s, i))) wrt[n_wrt++] = one.g->args[1 + s->first + i];
  ck_assert(graph_vjp(one.g, map[y->id], dy, wrt, n_wrt, grad));
  graph_out(one.g, "y", map[y->id]);
  for (int i = 0; i < n_wrt; i++) { ck_assert_ptr_nonnull(grad[i]); graph_out(one.g, arena_printf(a, "d%d", i), grad[i]); }
  Graph *b = net_bind(&one, 2, false);
  Tensor *args[24], *out[24] = {NULL};
  for (int k = 0; k < b->n_args; k++) args[k] = tensor_new(ctx, &b->args[k]->t);
  for (int i = 0; i < 2 * C; i++) tensor_set_f(args[0], i, (double)in[i]);
  for (int k = 0; k < net->n_p; k++) for (int64_t i = 0; i < net->p[k].n; i++) tensor_set_f(args[1 + k], i, (double)net->p[k].value[i]);
  for (int64_t i = 0; i < args[b->n_args - 1]->n; i++) tensor_set_f(args[b->n_args - 1], i, 0.3 + 0.1 * (double)i);
  ck_assert(graph_eval(ctx, b, args, out, NULL, NULL));

  Case c = {bits, weight, up, x, n, p};
  double dp[16] = {0};
  for (int i = 0; i < n; i++) {
    Point want = formulas[q](&c, i);
    double d = 0.3 + 0.1 * i;
    ck_assert_msg(fabs(tensor_f(out[0], i) - want.y) < 2e-6, "%s/%d y[%d] of %g: %g, formula %g", quantizer_info[q].name, bits, i, x[i], tensor_f(out[0], i), want.y);
    ck_assert_msg(fabs(tensor_f(out[1], i) - d * want.dx) < 2e-6, "%s/%d dx[%d] of %g: %g, formula %g", quantizer_info[q].name, bits, i, x[i], tensor_f(out[1], i), d * want.dx);
    for (int k = 0; k < s->n; k++) dp[k] += d * want.dp[k]; /* trained ones come first */
  }
  for (int k = 0; k + 1 < n_wrt; k++)
    ck_assert_msg(fabs(tensor_f(out[2 + k], 0) - dp[k]) < 3e-5, "%s/%d d%s: %g, formula %g", quantizer_info[q].name, bits, site_param(net, s, k)->name, tensor_f(out[2 + k], 0), dp[k]);
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

int main(void) {
  Suite *s = suite_create("train_quantizers");
  TCase *c = tcase_create("quantizers");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, formulas_hold, QUANT_NONE + 1, QUANTIZER_COUNT);
  tcase_add_test(c, again);
  suite_add_tcase(s, c);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
