/* Networks, their quantizers and their frozen graphs: training graphs verify and differentiate, freezing keeps what the forward
 * pass computes, and the executor computes a recognized graph's integers exactly. */
#include "passes/pass.h"
#include "tests/unit/suite.h"
#include "trainer/exec.h"
#include "trainer/quantizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef POPSHIFT_LLVM
enum { LLVM_HERE = 1 };
#else
enum { LLVM_HERE = 0 };
#endif

static Recipe *recipe(Ctx *ctx, const char *net, const char *quant) {
  Str s = {.ctx = ctx};
  str_printf(&s, "popshift: recipe/1\nnet: %s\ndata: {train: [a, b], scale: 0.00392156862745098}\nquant: %s\nphases: [{name: p, epochs: 1, lr: constant(0.1)}]\n", net, quant);
  Recipe *r = recipe_parse(ctx, "t.yaml", s.p, s.n);
  if (!r) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(r);
  r->net.classes = 10;
  str_free(&s);
  return r;
}

/* Steps that a calibration could give; statistics and gains that are not the identity. */
static void settle(Net *net) {
  for (int p = 0; p < net->n_p; p++)
    for (int64_t i = 0; i < net->p[p].n; i++) {
      if (net->p[p].role == PARAM_STAT) net->p[p].value[i] += 0.05f * (float)(i % 5);
      if (net->p[p].role == PARAM_VECTOR) net->p[p].value[i] += 0.03f * (float)(i % 3);
    }
  for (int i = 0; i < net->n_site; i++) {
    const Site *s = &net->site[i];
    ActStats stats[2] = {{0.5, 1.1, 0.6, s->up ? 0 : -2, 3.5}, {0.6, 1, 0.7, s->up ? 0 : -3, 3}};
    if (s->weight && site_ops(s)->init_weight) site_ops(s)->init_weight(net, s);
    if (!s->weight && site_ops(s)->init_act) site_ops(s)->init_act(net, s, stats, 2);
  }
}

static Net *make(Ctx *ctx, const char *net, const char *quant, int c, int h, int w) {
  Recipe *r = recipe(ctx, net, quant);
  Net *n = net_builtin(ctx, r, c, h, w);
  if (!n) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(n);
  if (*quant && strcmp(quant, "[]")) net_quantize(n, r, &r->quant);
  settle(n);
  return n;
}

static const char *const nets[] = {"{builtin: mlp}", "{builtin: lenet5, width: 0.3}", "{builtin: resnet8, width: 0.5}"};
#define W2A2 "[{match: first|last, weight: uniq/8, act: uniq/8}, {match: \"*\", weight: uniq/2, act: uniq/2}]"
#define KERNELS "[{match: \"*\", weight: uniq/3, act: uniq/2, grain: kernel}]"
#define ONE_BIT "[{match: first|last}, {match: \"*\", weight: uniq/1, act: uniq/1}]"
static const char *const quants[] = {"[]", W2A2, KERNELS, ONE_BIT};

START_TEST(training_graphs) { /* every parameter but statistics has a gradient */
  Ctx *ctx = ctx_new();
  for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
    for (size_t k = 0; k < sizeof quants / sizeof *quants; k++) {
      Net *net = make(ctx, nets[i], quants[k], 1, 20, 20);
      Arena *a = arena_new(ctx);
      TrainGraph t;
      bool ok = graph_verify(ctx, net->g) && net_train_graph(net, 4, 8, false, a, &t);
      if (!ok) diag_print(ctx, stderr, false);
      ck_assert(ok);
      for (int p = 0; p < net->n_p; p++) {
        ck_assert_msg((t.out_grad[p] >= 0) == (net->p[p].role != PARAM_STAT), "%s %s", nets[i], net->p[p].name);
        ck_assert((t.out_mean[p] >= 0 || t.out_var[p] >= 0) == (net->p[p].role == PARAM_STAT));
      }
      graph_free(t.g);
      arena_free(a);
      net_free(net);
    }
  ctx_free(ctx);
}
END_TEST

static Tensor *images(Ctx *ctx, int64_t n, int c, int h, int w) {
  Type t = type_make(U8, 4, (int64_t[]){n, c, h, w});
  Tensor *x = tensor_new(ctx, &t);
  uint32_t s = 5;
  for (int64_t i = 0; i < x->n; i++) s = s * 1664525u + 1013904223u, ((uint8_t *)x->data)[i] = (uint8_t)(s >> 24);
  return x;
}

/* What an executor makes of x, three times; frees it. compiled: it has contractions that are. */
static void executed(Exec *e, const Tensor *x, const Tensor *want, float tolerance, bool compiled) {
  ck_assert_ptr_nonnull(e);
  Str plan = {.ctx = x->ctx};
  exec_print(&plan, e);
  ck_assert_msg(!!strstr(plan.p, "eval compiled: contract") == compiled && (tolerance > 0 || !compiled || !strstr(plan.p, "eval: contract")), "%s", plan.p);
  str_free(&plan);
  exec_bind(e, 0, x->data);
  for (int run = 0; run < 3; run++) {
    ck_assert(exec_run(e));
    const float *y = exec_out(e, 0), *w = want->data;
    if (tolerance == 0) ck_assert(!memcmp(y, w, (size_t)want->n * sizeof *w));
    for (int64_t j = 0; j < want->n; j++) ck_assert_msg(fabsf(y[j] - w[j]) <= tolerance * (1 + fabsf(w[j])), "run %d [%d]: %g, eval %g", run, (int)j, (double)y[j], (double)w[j]);
  }
  exec_free(e);
}

/* The frozen graph, by eval, before and after recognize, and by the executor. */
START_TEST(frozen) {
  int i = _i / 4, k = _i % 4;
  Ctx *ctx = ctx_new();
  Net *net = make(ctx, nets[i], quants[k], 3, 20, 20);
  Graph *g = net_freeze(net, "frozen", 2);
  ck_assert_ptr_nonnull(g);
  int codes = 0;
  for (int n = 0; n < g->n_nodes; n++) codes += node_is_const(g->nodes[n]) && elem_is_code(g->nodes[n]->t.e) && g->nodes[n]->t.rank > 1;
  ck_assert_int_eq(codes > 0, k > 0); /* weights are codes */
  Tensor *x = images(ctx, 2, 3, 20, 20), *plain[1] = {NULL}, *exact[1] = {NULL}, *bound[1] = {NULL};
  ck_assert(graph_eval(ctx, g, &x, plain, NULL, NULL));

  Graph *b = net_bind(net, 2, true); /* the forward pass in training's form */
  Tensor **in = calloc((size_t)b->n_args, sizeof *in);
  in[0] = tensor_new(ctx, &b->args[0]->t);
  for (int64_t j = 0; j < x->n; j++) tensor_set_f(in[0], j, tensor_f(x, j));
  for (int p = 0; p < net->n_p; p++) in[1 + p] = tensor_new(ctx, &net->p[p].t), memcpy(in[1 + p]->data, net->p[p].value, (size_t)net->p[p].n * 4);
  ck_assert(graph_eval(ctx, b, in, bound, NULL, NULL));
  ck_assert(!memcmp(bound[0]->data, plain[0]->data, (size_t)plain[0]->n * 4));

  State s = {.graph = g};
  PassOptions o = {.target = target_find("x86-64"), .verify_each = true};
  bool ok = passes_standard(ctx, &s, PASS_recognize, &o) && graph_eval(ctx, s.graph, &x, exact, NULL, NULL);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  Dnn *dnn = dnn_new(ctx);
  bool all_codes = k == 1 || k == 2; /* else some layers are float sums, in another order */
  executed(exec_new(ctx, dnn, s.graph), x, exact[0], all_codes ? 0 : k == 3 ? INFINITY : 1e-4f, false);
  executed(exec_new_as(ctx, dnn, s.graph, &(ExecOptions){.exact = true}), x, exact[0], 0, false);
  ExecOptions compiled = {.exact = true, .machine = target_find("x86-64")};
  Exec *first = exec_new_as(ctx, dnn, s.graph, &compiled);
  compiled.like = first; /* which lends its code */
  executed(exec_new_as(ctx, dnn, s.graph, &compiled), x, exact[0], 0, LLVM_HERE && !all_codes);
  executed(first, x, exact[0], 0, LLVM_HERE && !all_codes);
  dnn_free(dnn);
  free(in);
  graph_free(b), graph_free(s.graph);
  net_free(net);
  ctx_free(ctx);
}
END_TEST

START_TEST(refusals) {
  static const struct { const char *net, *text; } bad[] = {
    {"{builtin: lenet}", "net.builtin: there is no network 'lenet'"}, {"{builtin: lenet5, depth: 3}", "net.depth: lenet5 has no such option"},
    {"{builtin: mlp, width: 0}", "net.width: must be above 0 and at most 64"}, {"{builtin: lenet5}", "images of 8x8 are too small for lenet5"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Ctx *ctx = ctx_new();
    Recipe *r = recipe(ctx, bad[i].net, "[]");
    ck_assert_ptr_null(net_builtin(ctx, r, 1, 8, 8));
    if (i < 3) ck_assert(!net_check(r) && ctx->n_errors == 2 && !strcmp(ctx->diags->loc.file, "t.yaml") && ctx->diags->loc.line == 2);
    if (i < 2) ck_assert_str_eq(ctx->diags->hint, !i ? "did you mean 'lenet5'?" : "there are width, norm, variant, bases");
    ck_assert_ptr_nonnull(ctx->diags);
    ck_assert_str_eq(ctx->diags->text, bad[i].text);
    ctx_free(ctx);
  }
}
END_TEST

START_TEST(rows) { /* a row names layers that there are */
  static const struct { const char *quant, *text, *hint; bool refused; } is[] = {
    {"[{match: first|last, weight: uniq/8}, {match: conv2|cnov1, weight: uniq/2}]", "quant.1.match: there is no layer 'cnov1'", NULL, true},
    {"[{match: conv22, weight: uniq/2}]", "quant.0.match: there is no layer 'conv22'", "did you mean 'conv2'?", true},
    {"[{match: conv22}, {match: \"*\", weight: uniq/2}]", "quant.0.match: there is no layer 'conv22'", "did you mean 'conv2'?", true},
    {"[{match: \"cnov*\", weight: uniq/2}, {match: \"*\", weight: uniq/2}]", "quant.0.match: no layer has a name like 'cnov*'", "the layers are conv1, conv2, fc1, fc2", true},
    {"[{match: \"*.skip\"}, {match: \"*\", weight: uniq/2}]", "quant.0: no layer of the network is left for '*.skip'", NULL, false},
    {"[{match: \"*\", weight: uniq/2}, {match: conv2, weight: uniq/4}]", "quant.1: no layer of the network is left for 'conv2'", NULL, false},
    {"[{match: \"*\", weight: twn/2, grain: kernel}]", "twn/2 of layer 'conv1': grain: kernel, but its weights have no step or scale for each output channel", NULL, true},
    {"[{match: \"*\", weight: s3/2, grain: kernel}]", "s3/2 of layer 'conv1': grain: kernel, but without scale: layer its weights have no scale", NULL, true},
    {"[{match: \"*\", act: uniq/4, grain: kernel}]", "uniq/4 of layer 'conv1': grain: kernel, which is of weights", NULL, true},
    {"[{match: \"*\", weight: s3/2, scale: layer, grain: kernel}]", NULL, NULL, false},
    {"[{match: \"*\", weight: alq/2, groups: channel, parts: 4}]", "alq/2 of layer 'conv1': parts are only of groups: part", NULL, true},
    {"[{match: \"*\", weight: none}]", "a quantized phase, and no row of `quant` that quantizes a layer", NULL, true},
    {"[{match: \"conv?|first|fc*\", weight: uniq/2}]", NULL, NULL, false}};
  for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
    Ctx *ctx = ctx_new();
    Recipe *r = recipe(ctx, "{builtin: lenet5, width: 0.2}", is[i].quant);
    Net *net = net_builtin(ctx, r, 1, 20, 20);
    ck_assert_msg(net_can_quantize(net, r, r->phase) == !is[i].refused, "%s", is[i].quant);
    ck_assert_int_eq(ctx->n_errors, is[i].refused);
    const Diag *d = ctx->diags;
    ck_assert(!d == !is[i].text);
    if (d) ck_assert_str_eq(d->text, is[i].text);
    if (d && i < 6) ck_assert(!strcmp(d->loc.file, "t.yaml") && d->loc.line == 4);
    if (is[i].hint) ck_assert_str_eq(d->hint, is[i].hint);
    net_free(net);
    ctx_free(ctx);
  }
}
END_TEST

START_TEST(nothing_to_quantize) { /* a frozen network of codes as a model */
  Ctx *ctx = ctx_new();
  Net *low = make(ctx, nets[0], W2A2, 1, 20, 20);
  Graph *g = net_freeze(low, "low", 0);
  Recipe *r = recipe(ctx, "{onnx: m.onnx}", W2A2);
  Net *net = g ? net_of_graph(ctx, g, r, 1, 20, 20) : NULL;
  ck_assert_ptr_nonnull(net);
  int before = ctx->n_errors;
  ck_assert(!net_can_quantize(net, r, r->phase) && ctx->n_errors == before + 1);
  const Diag *last = ctx->diags;
  while (last->next) last = last->next;
  ck_assert_ptr_nonnull(strstr(last->text, "is the model quantized already?"));
  net_free(net), net_free(low);
  ctx_free(ctx);
}
END_TEST

START_TEST(from_a_graph) { /* a float graph's constants become parameters, and it computes the same; its batch a symbol, NET_BATCH, or 1 */
  Ctx *ctx = ctx_new();
  Recipe *r = recipe(ctx, "{onnx: m.onnx}", W2A2);
  static const char *const of[] = {"{builtin: lenet5, width: 0.2}", "{builtin: mobilenet_v2, width: 0.1}", "{builtin: resnet8, width: 0.3, variant: groupnet}"};
  static const int64_t batch[] = {0, NET_BATCH, 1};
  Net *from = make(ctx, of[_i / 3], "[]", 1, 16, 16);
  Graph *g = graph_new(ctx, "other", NULL), *b = net_bind(from, batch[_i % 3], false);
  Node **map = calloc((size_t)b->n_nodes, sizeof *map);
  graph_sym(g, "batch");
  for (int i = 0; i < b->n_nodes; i++) { /* parameters as constants, the image normalized already */
    const Node *n = b->nodes[i];
    Node *in[5];
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k]->id];
    if (n->op == OP_ARG && n->a.index) {
      Tensor *t = tensor_new(ctx, &n->t);
      memcpy(t->data, from->p[n->a.index - 1].value, (size_t)t->n * 4);
      map[i] = node_const(g, t);
    } else if (n->op == OP_ARG) map[i] = graph_arg(g, "x", &n->t);
    else if (node_is_map(n, S_MUL) && n->in[0]->op == OP_ARG) map[i] = in[0];
    else map[i] = node_clone(g, n, in);
  }
  graph_out(g, "y", map[b->outs[0].v->id]);
  ck_assert(graph_verify(ctx, g));
  Net *net = net_of_graph(ctx, g, r, 1, 16, 16);
  if (!net) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(net);
  ck_assert(_i >= 6 || net->n_p == from->n_p); /* scales that multiply stay constants */
  Graph *f1 = net_freeze(from, "a", 2), *f2 = net_freeze(net, "b", 2);
  Tensor *x = images(ctx, 2, 1, 16, 16), *y1[1], *y2[1];
  ck_assert(graph_eval(ctx, f1, &x, y1, NULL, NULL) && graph_eval(ctx, f2, &x, y2, NULL, NULL));
  ck_assert(tensor_eq(y1[0], y2[0]));
  net_quantize(net, r, &r->quant);
  free(map);
  net_free(net), net_free(from);
  ctx_free(ctx);
}
END_TEST

/* Graphs of one image that with more would mix them, or whose batch is lost. */
START_TEST(mixed) {
  static const struct { const char *body, *op; } bad[] = {
    {"%a: f32[1,1,1,16] = reduce max %x [n c y x | i:16](n, c, i, x)\n  %f: f32[16] = reshape %a\n  %y: f32[1,16] = reshape %f", "reshape"},
    {"%a: f32[1,1,1,16] = reduce add %x [n c y x | m:1 i:16](m, c, i, x)\n  %y: f32[1,16] = reshape %a", "reduce"},
    {"%a: f32[1,1,1,16] = view %x [n c y x](n+c-y, c, 3, x)\n  %y: f32[1,16] = reshape %a", "view"},
    {"%a: f32[1,1,1,16] = reduce max %x [n c y x | i:16](n, c, i, x)\n  %b: f32[2,1,1,16] = concat %a, %a axis=0\n"
     "  %c: f32[1,1,1,16] = view %b [n c y x](1, c, y, x)\n  %y: f32[1,16] = reshape %c", "concat"}};
  Ctx *ctx = ctx_new();
  Str s = {.ctx = ctx};
  str_printf(&s, "popshift.graph 1\ngraph @g(%%x: f32[1,1,16,16]) -> (%%y: f32[1,16]) {\n  %s\n  return %%y\n}\n", bad[_i].body);
  Graph *g = graph_parse(ctx, "t", s.p, s.n);
  str_free(&s);
  if (!g) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(g);
  Recipe *r = recipe(ctx, "{onnx: m.onnx}", "[]");
  r->net.classes = 16;
  ck_assert_ptr_null(net_of_graph(ctx, g, r, 1, 16, 16));
  ck_assert_msg(ctx->diags->code == E0302 && strstr(ctx->diags->text, bad[_i].op), "%s", ctx->diags->text);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_net");
  TCase *t = tcase_create("net");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, training_graphs);
  tcase_add_loop_test(t, frozen, 0, 12);
  tcase_add_test(t, refusals);
  tcase_add_test(t, rows);
  tcase_add_test(t, nothing_to_quantize);
  tcase_add_loop_test(t, from_a_graph, 0, 9);
  tcase_add_loop_test(t, mixed, 0, 4);
  suite_add_tcase(s, t);
  return suite_run(s);
}
