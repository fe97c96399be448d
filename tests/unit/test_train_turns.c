/* Outputs in turns: each is what a run of the whole graph gives with the arguments as they are then, and nothing is computed twice. */
#include "tests/unit/suite.h"
#include "trainer/exec.h"
#include "trainer/quantizer.h"
#include "trainer/turns.h"

#include <math.h>

typedef struct Check { Ctx *ctx; Dnn *dnn; Net *net; const Graph *g; const void **arg; int stop, calls; } Check;

/* The output is the whole graph's, but for the order in which the executor adds up; then the input's quantizer gets its first values, as in calibration. */
static bool compare(void *user, int out, const void *value) {
  Check *c = user;
  Exec *e = exec_new(c->ctx, c->dnn, c->g);
  ck_assert_ptr_nonnull(e);
  for (int i = 0; i < c->g->n_args; i++) exec_bind(e, i, c->arg[i]);
  ck_assert(!exec_channels_last(e, 0) && exec_run(e)); /* images of one channel */
  const float *want = exec_out(e, out), *got = value;
  for (int k = 0; k < ACT_STATS; k++) ck_assert_msg(fabsf(got[k] - want[k]) <= 1e-5f * fabsf(want[k]), "output %d: %a, of the whole %a", out, (double)got[k], (double)want[k]);
  ck_assert(got[1] > 0); /* it is not all zeros */
  ActStats stats = {(double)got[0], (double)got[1], (double)got[2], (double)got[3], (double)got[4]};
  exec_free(e);
  for (int i = 0, at = 0; i < c->net->n_site; i++) {
    const Site *s = &c->net->site[i];
    if (!s->weight && at++ == out) site_ops(s)->init_act(c->net, s, &stats, 1);
  }
  return ++c->calls != c->stop;
}

static const struct { const char *net, *quant; } nets[] = {
  {"{builtin: lenet5, classes: 10, width: 0.3}", "[{match: \"*\", weight: uniq/2, act: uniq/2}]"},
  {"{builtin: resnet8, classes: 10, width: 0.5}", "[{match: first|last, act: lsq/8}, {match: \"*\", weight: dorefa/2, act: pact/3}]"},
  {"{builtin: resnet8, classes: 10, width: 0.5, activation: post}", "[{match: \"*\", weight: lqnet/2, act: lqnet/2}]"}};

START_TEST(as_the_whole) {
  Ctx *ctx = ctx_new();
  Str s = {.ctx = ctx};
  str_printf(&s, "popshift: recipe/1\nnet: %s\ndata: {train: [a, b]}\nquant: %s\nphases: [{name: p, epochs: 1, lr: constant(0.1)}]\n", nets[_i].net, nets[_i].quant);
  Recipe *r = recipe_parse(ctx, "t.yaml", s.p, s.n);
  ck_assert_ptr_nonnull(r);
  Net *net = net_builtin(ctx, r, 1, 20, 20);
  ck_assert_ptr_nonnull(net);
  net_quantize(net, r, &r->quant);
  for (int i = 0; i < net->n_site; i++) {
    const Site *site = &net->site[i];
    if (site->weight && site_ops(site)->init_weight) site_ops(site)->init_weight(net, site);
  }
  Graph *g = net_calibration_graph(net, 3);
  Check c = {.ctx = ctx, .dnn = dnn_new(ctx), .net = net, .g = g, .arg = NEWN(ctx->own, const void *, g->n_args + 1)};
  float *x = arena_aligned(ctx->own, 3 * 400 * sizeof *x);
  rng_fill_uniform((Rng){5, RNG_INIT}, 0, 3 * 400, 0, 1, x);
  c.arg[0] = x;
  for (int i = 1; i < g->n_args; i++) c.arg[i] = net->p[i - 1].value;
  ck_assert(run_in_turns(ctx, c.dnn, g, c.arg, compare, &c));
  ck_assert(c.calls == g->n_outs && c.calls >= 4);
  c.calls = 0, c.stop = 2; /* false ends it */
  ck_assert(!run_in_turns(ctx, c.dnn, g, c.arg, compare, &c) && c.calls == 2 && !ctx->n_errors);
  diag_print(ctx, stderr, false);
  graph_free(g);
  net_free(net);
  dnn_free(c.dnn);
  str_free(&s);
  ctx_free(ctx);
}
END_TEST

static bool change(void *user, int out, const void *value) {
  float **to = user;
  to[1 + out] = (float *)(uintptr_t)value;
  if (!out) to[0][0] = 100;
  static const float want[] = {6, 42, 100, 6};
  ck_assert(*(const float *)value == want[out]);
  return true;
}

START_TEST(once) { /* 2a is computed for output 0 and is 6 for output 1, though a has changed; an argument and an output again are outputs, too */
  Ctx *ctx = ctx_new();
  Dnn *dnn = dnn_new(ctx);
  Graph *g = graph_new(ctx, "once", NULL);
  Type t = type_make(F32, 1, (int64_t[]){1});
  Node *a = graph_arg(g, "a", &t), *twice = node_map2(g, S_ADD, a, a), *seven = node_map2(g, S_MUL, twice, node_const_f(g, F32, 7));
  graph_out(g, "twice", twice), graph_out(g, "seven", seven), graph_out(g, "a", a), graph_out(g, "again", twice);
  float value = 3, *seen[5] = {&value};
  ck_assert(run_in_turns(ctx, dnn, g, (const void *[]){&value}, change, seen));
  ck_assert(seen[4] == seen[1]);
  graph_free(g);
  dnn_free(dnn);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_turns");
  TCase *t = tcase_create("turns");
  tcase_add_loop_test(t, as_the_whole, 0, (int)(sizeof nets / sizeof *nets));
  tcase_add_test(t, once);
  suite_add_tcase(s, t);
  return suite_run(s);
}
