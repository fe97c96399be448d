/* The built-in networks: what they weigh and compute, against published numbers; every variant differentiates, and computes the same when it is frozen. */
#include "passes/pass.h"
#include "tests/unit/suite.h"
#include "trainer/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Recipe *recipe(Ctx *ctx, const char *net, int classes) {
  Str s = {.ctx = ctx};
  str_printf(&s, "popshift: recipe/1\nnet: %s\ndata: {train: [a, b]}\nquant: [{match: \"*\", weight: uniq/2, act: uniq/2}]\nphases: [{name: p, epochs: 1, lr: constant(0.1)}]\n", net);
  Recipe *r = recipe_parse(ctx, "t.yaml", s.p, s.n);
  if (!r) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(r);
  r->net.classes = classes;
  str_free(&s);
  return r;
}

static Net *make(Ctx *ctx, const char *net, int classes, int c, int size) {
  Net *n = net_builtin(ctx, recipe(ctx, net, classes), c, size, size);
  if (!n) diag_print(ctx, stderr, false);
  ck_assert_msg(n != NULL, "%s", net);
  return n;
}

static int64_t count(const Net *net, bool vectors) {
  int64_t n = 0;
  for (int i = 0; i < net->n_p; i++) if (net->p[i].role == PARAM_WEIGHT || (vectors && net->p[i].role == PARAM_VECTOR)) n += net->p[i].n;
  return n;
}

static int64_t macs(const Net *net) { /* of one image */
  Graph *g = net_bind(net, 1, false);
  int64_t sum = 0;
  for (int i = 0; i < g->n_nodes; i++) {
    int64_t ext[MAX_ITERS], n = 1;
    if (g->nodes[i]->op != OP_CONTRACT) continue;
    for (int k = iters_extents(g->nodes[i], ext) - 1; k >= 0; k--) n *= ext[k];
    sum += n;
  }
  graph_free(g);
  return sum;
}

/* Weights of convolutions and products, and multiplications of one image in millions: of the papers' networks, of torchvision's where all parameters
 * are given (weights, biases, gains; 1000 classes, 224 pixels; its own counts). */
START_TEST(published) {
  static const struct { const char *net; int classes, c, size; int64_t weights, all; double mmac; } want[] = {
    {"{builtin: lenet5}", 10, 1, 28, 430500, 0, 2.29},
    {"{builtin: lenet5, norm: false}", 10, 1, 28, 430500, 430500 + 20 + 50 + 500 + 10, 2.29},
    {"{builtin: resnet8}", 10, 3, 32, 77360, 0, 12.5},
    {"{builtin: resnet8, activation: post}", 10, 3, 32, 77360, 0, 12.5},
    {"{builtin: resnet20}", 10, 3, 32, 270896, 0, 40.8},
    {"{builtin: resnet32}", 100, 3, 32, 470192, 0, 69.1},
    {"{builtin: vgg_small}", 10, 3, 32, 14022016, 0, 617},
    {"{builtin: vgg_small, width: 0.25}", 10, 3, 32, 878944, 0, 39.2},
    {"{builtin: vgg_small, hidden: 0}", 10, 3, 32, 4574592 + 81920, 0, 608},
    {"{builtin: resnet18}", 10, 3, 32, 11164352, 0, 555},
    {"{builtin: resnet18}", 1000, 3, 224, 0, 11689512, 1814},
    {"{builtin: resnet34}", 1000, 3, 224, 0, 21797672, 3664},
    {"{builtin: resnet50}", 1000, 3, 224, 0, 25557032, 4089},
    {"{builtin: mobilenet_v2}", 1000, 3, 224, 0, 3504872, 301},
    {"{builtin: mobilenet_v2, width: 0.5}", 1000, 3, 224, 0, 1968680, 97}};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    Ctx *ctx = ctx_new();
    Net *net = make(ctx, want[i].net, want[i].classes, want[i].c, want[i].size);
    if (want[i].weights) ck_assert_msg(count(net, false) == want[i].weights, "%s: %" PRId64, want[i].net, count(net, false));
    if (want[i].all) ck_assert_msg(count(net, true) == want[i].all, "%s: %" PRId64, want[i].net, count(net, true));
    double m = (double)macs(net) / 1e6;
    ck_assert_msg(m > 0.995 * want[i].mmac && m < 1.005 * want[i].mmac, "%s: %g million", want[i].net, m);
    net_free(net);
    ctx_free(ctx);
  }
}
END_TEST

START_TEST(bytes) { /* of the float weights, as ALQ counts them: KB of 1000 bytes */
  Ctx *ctx = ctx_new();
  Net *lenet = make(ctx, "{builtin: lenet5, norm: false}", 10, 1, 28), *vgg = make(ctx, "{builtin: vgg_small}", 10, 3, 32);
  ck_assert_int_eq(count(lenet, false) * 4 / 1000, 1722);
  ck_assert_int_eq((count(vgg, false) * 4 + 5000) / 10000, 5609); /* 56.09 MB */
  net_free(lenet), net_free(vgg);
  ctx_free(ctx);
}
END_TEST

static int named(const Net *net, const char *part) {
  int n = 0;
  for (int i = 0; i < net->n_p; i++) n += strstr(net->p[i].name, part) != NULL;
  return n;
}
static int adds(const Net *net) {
  int n = 0;
  for (int i = 0; i < net->g->n_nodes; i++) n += node_is_map(net->g->nodes[i], S_ADD) && net->g->nodes[i]->in[1]->op != OP_ARG;
  return n;
}

/* Ways around: as many additions as the form has. resnet14: 6 blocks, 12 convolutions, 2 of them with a shortcut that has weights. */
START_TEST(forms) {
  static const struct { const char *net; int adds, skips, bases; } want[] = {
    {"{builtin: resnet14}", 6, 2, 0}, {"{builtin: resnet14, variant: plain}", 0, 0, 0}, {"{builtin: resnet14, variant: bireal}", 12, 2, 0},
    {"{builtin: resnet14, variant: groupnet, bases: 3}", 12 * 3 + 12 * 2, 2, 36}, {"{builtin: resnet14, activation: post}", 6, 2, 0},
    {"{builtin: resnet14, activation: none, variant: bireal}", 12, 2, 0}, {"{builtin: resnet50, stem: small, width: 0.125}", 16, 4, 0},
    {"{builtin: resnet50, stem: small, width: 0.125, variant: bireal}", 32, 4, 0}, {"{builtin: mobilenet_v2}", 10, 0, 0},
    {"{builtin: mobilenet_v2, variant: plain}", 0, 0, 0}, {"{builtin: mobilenet_v2, variant: bireal}", 27, 0, 0},
    {"{builtin: vgg_small, width: 0.1}", 0, 0, 0}, {"{builtin: vgg_small, width: 0.1, variant: bireal}", 6, 2, 0},
    {"{builtin: lenet5, variant: bireal}", 1, 1, 0}, {"{builtin: mlp, variant: bireal}", 2, 0, 0}, {"{builtin: mlp, variant: groupnet, bases: 2}", 2 * 2 + 2, 0, 4}};
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    Ctx *ctx = ctx_new();
    Net *net = make(ctx, want[i].net, 10, 3, 32);
    ck_assert_msg(adds(net) == want[i].adds, "%s: %d additions", want[i].net, adds(net));
    ck_assert_msg(named(net, "skip.weight") == want[i].skips, "%s: %d shortcuts", want[i].net, named(net, "skip.weight"));
    ck_assert_msg(named(net, ".scale") == want[i].bases, "%s: %d scales", want[i].net, named(net, ".scale"));
    net_free(net);
    ctx_free(ctx);
  }
}
END_TEST

/* Every network and variant, small, with two bits: all parameters have gradients, and the recognized frozen graph is one of codes. */
START_TEST(variants) {
  static const char *const nets[] = {"mlp, width: 0.1", "lenet5, width: 0.2", "vgg_small, width: 0.04", "resnet8, width: 0.25", "resnet8, width: 0.25, activation: post",
                                     "resnet8, width: 0.25, activation: none", "resnet18, width: 0.05", "resnet18, width: 0.05, stem: large, activation: pre",
                                     "resnet50, width: 0.03", "mobilenet_v2, width: 0.1"};
  static const char *const form[] = {"", ", variant: plain", ", variant: bireal", ", variant: groupnet, bases: 2"};
  Ctx *ctx = ctx_new();
  for (int k = 0; k < 4; k++) {
    char text[128];
    snprintf(text, sizeof text, "{builtin: %s%s}", nets[_i], form[k]);
    Net *net = make(ctx, text, 10, 3, 32);
    Recipe *r = recipe(ctx, text, 10);
    net_quantize(net, r, &r->quant);
    Arena *a = arena_new(ctx);
    TrainGraph t;
    bool ok = graph_verify(ctx, net->g) && net_train_graph(net, 2, 4, false, a, &t);
    if (!ok) diag_print(ctx, stderr, false);
    ck_assert_msg(ok, "%s", text);
    for (int p = 0; p < net->n_p; p++) ck_assert_msg((t.out_grad[p] >= 0) == (net->p[p].role != PARAM_STAT), "%s: %s", text, net->p[p].name);
    graph_free(t.g);
    arena_free(a);
    State s = {.graph = net_freeze(net, "frozen", 1)};
    PassOptions o = {.target = target_find("x86-64")};
    ck_assert_msg(s.graph && passes_standard(ctx, &s, PASS_recognize, &o), "%s", text);
    int floats = 0;
    for (int i = 0; i < s.graph->n_nodes; i++) floats += s.graph->nodes[i]->op == OP_CONTRACT && elem_is_float(s.graph->nodes[i]->in[0]->t.e);
    ck_assert_msg(!floats, "%s: %d layers of floats", text, floats);
    graph_free(s.graph);
    net_free(net);
  }
  ctx_free(ctx);
}
END_TEST

START_TEST(options) {
  static const struct { const char *net, *text; } bad[] = {
    {"{builtin: resnet8, activation: past}", "net.activation: must be one of pre|post|none"}, {"{builtin: resnet8, activation: 1}", "net.activation: must be one of pre|post|none"},
    {"{builtin: resnet8, activation: \"pre|post\"}", "net.activation: must be one of pre|post|none"}, {"{builtin: lenet5, variant: residual}", "net.variant: must be one of plain|bireal|groupnet"},
    {"{builtin: resnet8, variant: plain, norm: false}", "net.norm: resnet8 has no such option"}, {"{builtin: resnet8, bases: 17}", "net.bases: must be a whole number from 1 to 16"},
    {"{builtin: resnet8, bases: many}", "net.bases: must be a whole number from 1 to 16"}, {"{builtin: mlp, hidden: 0}", "net.hidden: must be a whole number from 1 to 65536"},
    {"{builtin: mlp, width: wide}", "net.width: must be above 0 and at most 64"}, {"{builtin: mlp, hiden: 64}", "net.hiden: mlp has no such option"}, {"{builtin: resnet18, stem: large}", "images of 16x16 are too small for resnet18"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Ctx *ctx = ctx_new();
    ck_assert_msg(!net_builtin(ctx, recipe(ctx, bad[i].net, 10), 3, 16, 16), "%s", bad[i].net);
    ck_assert_str_eq(ctx->diags->text, bad[i].text);
    if (strstr(bad[i].net, "hiden")) ck_assert_str_eq(ctx->diags->hint, "did you mean 'hidden'?");
    if (strstr(bad[i].net, "past")) ck_assert_str_eq(ctx->diags->hint, "did you mean 'post'?");
    ctx_free(ctx);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_nets");
  TCase *t = tcase_create("nets");
  tcase_set_timeout(t, 240);
  tcase_add_test(t, published);
  tcase_add_test(t, bytes);
  tcase_add_test(t, forms);
  tcase_add_loop_test(t, variants, 0, 10);
  tcase_add_test(t, options);
  suite_add_tcase(s, t);
  return suite_run(s);
}
