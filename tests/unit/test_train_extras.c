/* What only training has (extras.h): nothing of it is in the net's graph, in what is evaluated or exported; the gradients of all losses are
 * those of the objective; precision is drawn as the paper says and leaves out the rounding alone. */
#include "tests/unit/suite.h"
#include "trainer/extras.h"
#include "trainer/quantizer.h"
#include "trainer/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Recipe *recipe(Ctx *ctx, const char *net, const char *extras, const char *rows) {
  const char *text = arena_printf(ctx->own, "popshift: recipe/1\nnet: {builtin: %s, classes: 4}\ndata: {train: [a, b], scale: 0.01}\nbatch: 8\n%squant: [%s]\n"
                                  "phases: [{epochs: 1, lr: constant(0.1)}, {quant: %s, epochs: 1, lr: constant(0.1)}]\n", net, extras, rows, *rows ? "true" : "false");
  Recipe *r = recipe_parse(ctx, "t.yaml", text, strlen(text));
  if (!r) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(r);
  return r;
}

static Net *network(Ctx *ctx, const Recipe *r) {
  Net *net = net_builtin(ctx, r, 2, 8, 8);
  ck_assert_ptr_nonnull(net);
  ck_assert(net_add_extras(net, r, NULL));
  return net;
}

static void quantize(Net *net, const Recipe *r) {
  net_quantize(net, r, &r->quant);
  for (int i = 0; i < net->n_site; i++) {
    const Site *s = &net->site[i];
    if (s->weight && site_ops(s)->init_weight) site_ops(s)->init_weight(net, s);
    if (!s->weight && site_ops(s)->init_act) site_ops(s)->init_act(net, s, &(ActStats){0.5, 0.8, 0.6, s->up ? 0 : -2, 2}, 1);
  }
}

static char *text_of(Ctx *ctx, const Graph *g) {
  Str s = {.ctx = ctx};
  graph_print(&s, g);
  char *text = arena_strdup(ctx->own, s.p);
  str_free(&s);
  return text;
}

/* Arguments of a step's graph: images, parameters, all rounded, labels; and an evaluation. */
static Tensor **arguments(Ctx *ctx, const Net *net, const TrainGraph *t) {
  Tensor **args = NEWN(ctx->own, Tensor *, t->g->n_args);
  for (int i = 0; i < t->g->n_args; i++) args[i] = tensor_new(ctx, &t->g->args[i]->t);
  for (int64_t i = 0; i < args[0]->n; i++) tensor_set_f(args[0], i, (double)(i * 37 % 101));
  for (int p = 0; p < net->n_p; p++) memcpy(args[1 + p]->data, net->p[p].value, (size_t)net->p[p].n * sizeof(float));
  for (int k = 0; k < t->n_precision; k++) tensor_set_f(args[t->arg_precision + k], 0, 1);
  for (int64_t i = 0; i < args[t->g->n_args - 1]->n; i++) tensor_set_i(args[t->g->n_args - 1], i, i % 4);
  return args;
}

static Tensor **run(Ctx *ctx, const TrainGraph *t, Tensor *const *args) {
  Tensor **out = NEWN(ctx->own, Tensor *, t->g->n_outs);
  ck_assert(graph_eval(ctx, t->g, (Tensor **)(uintptr_t)args, out, NULL, NULL));
  return out;
}

static double sum(const Tensor *t) {
  double s = 0;
  for (int64_t i = 0; i < t->n; i++) s += tensor_f(t, i);
  return s;
}

static double objective(Ctx *ctx, const TrainGraph *t, Tensor *const *args) { return sum(run(ctx, t, args)[t->out_objective]); }

#define PLAIN "resnet8, width: 0.2, variant: plain, activation: post"
#define W2A2 "{match: first|last, weight: uniq/8, act: uniq/8}, {match: \"*\", weight: dorefa/2, act: dorefa/2}"

static const char *const kinds[] = {"auxiliary: {mode: one-pass}\n", "auxiliary: {mode: two-pass, weight: 0.5}\n", "auxiliary: {mode: one-pass, at: layer}\n",
                                    "auxiliary: {mode: two-pass, at: layer}\n", "supervision: {weight: 0.3}\n", "supervision: {weight: 0.3, at: block}\n",
                                    "supervision: {weight: 0.3, at: layer}\nauxiliary: {mode: one-pass}\nlabel_smoothing: 0.1\n"};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* The same text of the network's graph, of what is evaluated, and of what is exported, in float and quantized; parameters of the same values. */
START_TEST(leaves_nothing) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, PLAIN, kinds[_i], W2A2), *bare = recipe(ctx, PLAIN, "", W2A2);
  Net *net = network(ctx, r), *want = network(ctx, bare);
  ck_assert(want->n_aux == 0 && net->n_aux > 0);
  for (int round = 0; round < 3; round++) {
    if (round) quantize(net, r), quantize(want, bare);
    net->ssp = round == 2 ? &(Ssp){0.5, 0.5, false} : NULL;
    ck_assert_int_eq(net->n_p - net->n_aux, want->n_p);
    ck_assert_int_eq(net_n_plain(net), net_n_plain(want));
    for (int p = 0; p < want->n_p; p++) {
      ck_assert_str_eq(net->p[p].name, want->p[p].name);
      ck_assert(!memcmp(net->p[p].value, want->p[p].value, (size_t)want->p[p].n * sizeof(float)));
    }
    Arena *a = arena_new(ctx);
    TrainGraph t;
    ck_assert(net_train_graph(net, 2, 4, false, a, &t) && t.out_objective != t.out_loss);
    for (int p = 0; p < net->n_p; p++) {
      bool statistic = net->p[p].role == PARAM_STAT;
      ck_assert_msg((t.out_grad[p] >= 0) == param_is_trained(&net->p[p]) && (t.out_mean[p] >= 0 || t.out_var[p] >= 0) == statistic, "%s", net->p[p].name);
    }
    ck_assert_str_eq(text_of(ctx, net->g), text_of(ctx, want->g));
    ck_assert_str_eq(text_of(ctx, net_bind(net, 4, true)), text_of(ctx, net_bind(want, 4, true)));
    ck_assert_str_eq(text_of(ctx, net_freeze(net, "frozen", 1)), text_of(ctx, net_freeze(want, "frozen", 1)));
    graph_free(t.g);
    arena_free(a);
  }
  net_free(net), net_free(want);
  ctx_free(ctx);
}
END_TEST

/* Every parameter's gradient along its own direction against the objective's difference, in float. */
static void check_gradients(Ctx *ctx, const Net *net, bool running, const char *what) {
  Arena *a = arena_new(ctx);
  TrainGraph t;
  ck_assert(net_train_graph(net, 4, 4, running, a, &t));
  Tensor **args = arguments(ctx, net, &t), **out = run(ctx, &t, args);
  int checked = 0;
  for (int p = 0; p < net->n_p; p++) {
    if (t.out_grad[p] < 0) continue;
    const Tensor *d = out[t.out_grad[p]];
    double size = 0, top = 0, h;
    for (int64_t i = 0; i < d->n; i++) size += tensor_f(d, i) * tensor_f(d, i), top = fmax(top, fabs(tensor_f(d, i)));
    if (size < 1e-8) continue;
    h = 5e-5 / fmax(top, 1e-3);
    double y[2];
    float *v = args[1 + p]->data;
    for (int side = 0; side < 2; side++) {
      for (int64_t i = 0; i < d->n; i++) v[i] = net->p[p].value[i] + (float)((side ? -h : h) * tensor_f(d, i));
      y[side] = objective(ctx, &t, args);
    }
    memcpy(v, net->p[p].value, (size_t)net->p[p].n * sizeof(float));
    double got = (y[0] - y[1]) / (2 * h) / 4;
    ck_assert_msg(fabs(got - size) < 0.05 * size + 2e-4, "%s %s: difference %g, gradient %g", what, net->p[p].name, got, size);
    checked++;
  }
  ck_assert(checked > 10);
  graph_free(t.g);
  arena_free(a);
}

START_TEST(gradients) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, PLAIN, kinds[_i], "");
  Net *net = network(ctx, r);
  check_gradients(ctx, net, false, kinds[_i]);
  net_free(net);
  ctx_free(ctx);
}
END_TEST

/* In a phase that prunes no statistics move, the auxiliary module's neither: its normalization reads them. */
START_TEST(running_statistics) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, PLAIN, kinds[_i], "");
  Net *net = network(ctx, r);
  Arena *a = arena_new(ctx);
  TrainGraph t;
  int moved = 0;
  ck_assert(net_train_graph(net, 4, 4, true, a, &t));
  for (int i = 0; i < t.g->n_nodes; i++) ck_assert(t.g->nodes[i]->op != OP_BN_TRAIN);
  Tensor **args = arguments(ctx, net, &t), **out = run(ctx, &t, args);
  double loss = sum(out[t.out_loss]), all = sum(out[t.out_objective]);
  for (int p = 0; p < net->n_p; p++) {
    ck_assert_msg(t.out_mean[p] < 0 && t.out_var[p] < 0, "%s", net->p[p].name);
    if (p < net->n_p - net->n_aux || net->p[p].role != PARAM_STAT) continue;
    tensor_set_f(args[1 + p], 0, 9), out = run(ctx, &t, args), tensor_set_f(args[1 + p], 0, (double)net->p[p].value[0]);
    moved += fabs(sum(out[t.out_objective]) - all) > 1e-6;
    ck_assert_double_eq(sum(out[t.out_loss]), loss);
  }
  ck_assert_msg(moved > 5 || !strncmp(kinds[_i], "super", 5), "%d of the module's statistics are read", moved);
  graph_free(t.g);
  arena_free(a);
  check_gradients(ctx, net, true, kinds[_i]);
  net_free(net);
  ctx_free(ctx);
}
END_TEST

START_TEST(distillation) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, PLAIN, "distill: {teacher: t.onnx, temperature: 3, weight: 0.7}\n", ""), *tr = recipe(ctx, "resnet8, width: 0.3", "", "");
  Net *net = net_builtin(ctx, r, 2, 8, 8), *teacher = net_builtin(ctx, tr, 2, 8, 8);
  ck_assert(net_add_extras(net, r, teacher) && net->n_aux == 0);
  check_gradients(ctx, net, false, "distill");
  Arena *a = arena_new(ctx);
  TrainGraph t, plain;
  ck_assert(net_train_graph(net, 4, 4, false, a, &t));
  net->teacher = NULL;
  ck_assert(net_train_graph(net, 4, 4, false, a, &plain) && plain.out_objective == plain.out_loss);
  net->teacher = teacher;
  Tensor **args = arguments(ctx, net, &t), **out = run(ctx, &t, args), *logits[1], **targs = NEWN(ctx->own, Tensor *, 1 + teacher->n_p);
  Graph *tg = net_bind(teacher, 4, true);
  targs[0] = args[0];
  for (int p = 0; p < teacher->n_p; p++) targs[1 + p] = tensor_new(ctx, &teacher->p[p].t), memcpy(targs[1 + p]->data, teacher->p[p].value, (size_t)teacher->p[p].n * sizeof(float));
  ck_assert(graph_eval(ctx, tg, targs, logits, NULL, NULL));
  double q[4][4], kl = 0; /* the student's log probabilities: minus its loss of each label */
  for (int label = 0; label < 4; label++) {
    Tensor **with = arguments(ctx, net, &plain);
    for (int b = 0; b < 4; b++) tensor_set_i(with[plain.g->n_args - 1], b, label);
    Tensor **loss = run(ctx, &plain, with);
    for (int b = 0; b < 4; b++) q[b][label] = -tensor_f(loss[plain.out_loss], b);
  }
  for (int b = 0; b < 4; b++) {
    double lp = 0, lq = 0;
    for (int k = 0; k < 4; k++) lp += exp(tensor_f(logits[0], 4 * b + k) / 3), lq += exp(q[b][k] / 3);
    for (int k = 0; k < 4; k++) {
      double p = exp(tensor_f(logits[0], 4 * b + k) / 3) / lp;
      kl += 0.7 * 9 * p * (log(p) - q[b][k] / 3 + log(lq));
    }
  }
  double got = sum(out[t.out_objective]) - sum(out[t.out_loss]);
  ck_assert_msg(kl > 0 && fabs(got - kl) < 1e-4, "%g, formula %g", got, kl);
  net_free(net);
  ctx_free(ctx);
}
END_TEST

/* Smoothed targets: the loss is (1-e) of the label's and e of the mean over classes. */
START_TEST(smoothing) {
  Ctx *ctx = ctx_new();
  double loss[2];
  for (int i = 0; i < 2; i++) {
    Recipe *r = recipe(ctx, PLAIN, i ? "label_smoothing: 1\n" : "", "");
    Net *net = network(ctx, r);
    Arena *a = arena_new(ctx);
    TrainGraph t;
    ck_assert(net_train_graph(net, 4, 4, false, a, &t));
    double all = 0;
    Tensor **args = arguments(ctx, net, &t);
    for (int label = 0; label < (i ? 1 : 4); label++) {
      for (int k = 0; k < 4; k++) tensor_set_i(args[t.g->n_args - 1], k, label);
      all += sum(run(ctx, &t, args)[t.out_loss]) / (i ? 1 : 4);
    }
    loss[i] = all;
    check_gradients(ctx, net, false, "smoothing");
    net_free(net);
  }
  ck_assert_msg(fabs(loss[0] - loss[1]) < 1e-5 * loss[0], "%g, not %g", loss[1], loss[0]);
  ctx_free(ctx);
}
END_TEST

/* Shares of what is rounded, 1 - start (1 - t / until); weights and inputs, and fragments, apart; the same again. */
START_TEST(draws) {
  enum { N = 20000, M = 6 };
  Ssp p = {0.5, 0.5, false};
  for (double t = 0; t < 0.8; t += 0.15) {
    double share[M] = {0}, both = 0, want = 1 - fmax(0, 0.5 * (1 - t / 0.5));
    for (int i = 0; i < N; i++) {
      float now[M], again[M];
      ssp_draw(&p, 7, i, t, M, now), ssp_draw(&p, 7, i, t, M, again);
      ck_assert(!memcmp(now, again, sizeof now));
      for (int k = 0; k < M; k++) share[k] += (double)now[k] / N;
      both += (double)(now[0] * now[1]) / N;
    }
    for (int k = 0; k < M; k++) ck_assert_msg(fabs(share[k] - want) < 4.5 * sqrt(0.25 / N) && (t < 0.5 || share[k] > 1 - 1e-9), "%g of %d, not %g", share[k], k, want);
    ck_assert(fabs(both - want * want) < 4.5 * sqrt(0.25 / N));
  }
}
END_TEST

START_TEST(fragments) {
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "resnet14, width: 0.2", "", W2A2);
  Net *net = network(ctx, r);
  int of[64];
  quantize(net, r);
  ck_assert_int_eq(net->n_site, 2 * 16); /* conv1, 6 blocks of 2, two shortcuts, fc */
  ck_assert_int_eq(net_fragments(net, false, of), 8);
  for (int i = 0; i < net->n_site; i++) {
    const char *layer = net->site[i].layer;
    int stage, block, want = !strcmp(layer, "conv1") ? 0 : 7;
    if (sscanf(layer, "stage%d.block%d", &stage, &block) == 2) want = 2 * (stage - 1) + block;
    ck_assert_msg(of[i] == want, "%s: %d", layer, of[i]);
  }
  ck_assert_int_eq(net_fragments(net, true, of), 16);
  for (int i = 0; i < net->n_site; i++) ck_assert_int_eq(of[i], i / 2);
  net_free(net);
  r = recipe(ctx, "lenet5, width: 0.2", "", W2A2), net = net_builtin(ctx, r, 2, 28, 28);
  quantize(net, r);
  ck_assert_int_eq(net->n_site, 2 * 4);
  ck_assert_int_eq(net_fragments(net, false, of), 4); /* conv1, conv2, and behind blocks fc1 and fc2 apart */
  for (int i = 0; i < net->n_site; i++) ck_assert_int_eq(of[i], i / 2);
  net_free(net);
  Recipe *blocks = recipe(ctx, "mlp", "", W2A2);
  blocks->phase[1].ssp = (Ssp){0.5, 0.5, false};
  net = net_builtin(ctx, blocks, 2, 8, 8);
  ck_assert(!net_add_extras(net, blocks, NULL));
  ctx_free(ctx);
}
END_TEST

/* What a number is before it is rounded. p: the step; all: of weights w. */
static double whole(const char *q, bool weight, double x, double step, const double *all, int n) {
  double c = fmin(1, fmax(-1, x)), max = 0;
  for (int i = 0; i < n; i++) max = fmax(max, fabs(tanh(all[i])));
  if (!strcmp(q, "dorefa/2")) return weight ? tanh(x) / max : fmin(1, fmax(0, x));
  if (!strcmp(q, "uniq/2")) return weight ? fmin(1.5 * step, fmax(-1.5 * step, x)) : fmin(3 * step, fmax(0, x));
  if (!strcmp(q, "lsq/2")) return weight ? fmin(step, fmax(-2 * step, x)) : fmin(3 * step, fmax(0, x));
  if (!strcmp(q, "lqnet/2")) return weight ? x : fmin(step, fmax(0, x)); /* step: the top level */
  return weight ? c : c * (2 - fabs(c));
}

/* One layer, relu(x) W: with everything rounded a step has the bits of one without ssp; with nothing the loss is that of the formulas. */
START_TEST(precision) {
  static const char *const quantizers[] = {"dorefa/2", "uniq/2", "lsq/2", "lqnet/2", "bireal/1"};
  enum { C = 3, N = 4, B = 4 };
  const char *q = quantizers[_i];
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "mlp", "", arena_printf(ctx->own, "{match: \"*\", weight: %s, act: %s}", q, q));
  Net *net = net_new(ctx, "layer", N);
  Type ct = type_make(F32, 2, (int64_t[]){C, N});
  Node *x = net_images(net, r, C, 1, 1);
  x = node_map2(net->g, S_MAX, node_map2(net->g, S_SUB, node_reshape(net->g, x, 2, (Dim[]){x->t.d[0], dim_c(C)}), node_const_f(net->g, F32, 0.2)), node_const_f(net->g, F32, 0));
  int w = net_param(net, "fc.weight", PARAM_WEIGHT, &ct);
  rng_fill_normal((Rng){3, RNG_INIT}, 0, net->p[w].n, 0.6f, net->p[w].value);
  graph_out(net->g, "logits", node_matmul(net->g, x, graph_arg(net->g, "fc.weight", &ct), F32));
  quantize(net, r);

  Arena *a = arena_new(ctx);
  TrainGraph plain, t;
  ck_assert(net_train_graph(net, B, B, false, a, &plain) && plain.n_precision == 0);
  Tensor **want = run(ctx, &plain, arguments(ctx, net, &plain));
  net->ssp = &(Ssp){0.5, 0.5, true};
  ck_assert(net_train_graph(net, B, B, false, a, &t) && t.n_precision == 2);
  Tensor **args = arguments(ctx, net, &t), **out = run(ctx, &t, args);
  ck_assert(!memcmp(out[t.out_loss]->data, want[plain.out_loss]->data, B * sizeof(float)));
  for (int p = 0; p < net->n_p; p++)
    for (int64_t i = 0; t.out_grad[p] >= 0 && i < net->p[p].n; i++) ck_assert_double_eq(tensor_f(out[t.out_grad[p]], i), tensor_f(want[plain.out_grad[p]], i));

  double ws[C * N], step[2];
  for (int i = 0; i < C * N; i++) ws[i] = (double)net->p[w].value[i];
  for (int k = 0; k < 2; k++) {
    const Site *s = &net->site[k];
    step[k] = !s->n ? 0 : (double)(strcmp(q, "lqnet/2") ? site_param(net, s, 0)->value[0] : site_param(net, s, 1)->value[3]);
    tensor_set_f(args[t.arg_precision + k], 0, 0);
  }
  out = run(ctx, &t, args);
  for (int b = 0; b < B; b++) {
    double y[N] = {0}, all = 0;
    for (int i = 0; i < C; i++)
      for (int o = 0; o < N; o++) {
        double v = fmax(0, 0.01 * tensor_f(args[0], b * C + i) - 0.2);
        y[o] += whole(q, false, v, step[1], ws, C * N) * whole(q, true, ws[i * N + o], step[0], ws, C * N);
      }
    for (int o = 0; o < N; o++) all += exp(y[o]);
    double loss = log(all) - y[b % 4];
    ck_assert_msg(fabs(loss - tensor_f(out[t.out_loss], b)) < 1e-5, "%s: loss %g, formula %g", q, tensor_f(out[t.out_loss], b), loss);
  }
  net_free(net);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_extras");
  TCase *c = tcase_create("extras");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, leaves_nothing, 0, KINDS);
  tcase_add_loop_test(c, gradients, 0, KINDS);
  tcase_add_loop_test(c, running_statistics, 0, KINDS);
  tcase_add_test(c, distillation);
  tcase_add_test(c, smoothing);
  tcase_add_test(c, draws);
  tcase_add_test(c, fragments);
  tcase_add_loop_test(c, precision, 0, 5);
  suite_add_tcase(s, c);
  return suite_run(s);
}
