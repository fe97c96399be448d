/* Whole models: the program's text reads back to the same text, and the program that was read gives every bit of the graph
 * before lower, for CPUs and for HLS. Skipped where the shared models are absent. */
#include "frontend/frontend.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

static const char *const models[] = {
  "data/models/mnist-8/model.onnx", "data/models/micro_kws_m_static_fp32/model.onnx", "data/models/micro_kws_m_qdq/model.onnx",
  "data/models/micro_kws_m_static_qoperator/model.onnx", "data/models/tract_lgbm_classifier_tensor/model.onnx",
  "data/models/ort_conv_qdq_s8s8_perchannel/model.onnx", "data/lowbit/tfc/TFC_1W1A.onnx", "data/lowbit/tfc/TFC_2W2A.onnx",
  "data/lowbit/kws/kws_w3a3.onnx"
};
enum { N_MODELS = sizeof models / sizeof *models, MOST_PORTS = 16 };

static uint64_t seed = 88172645463325252u;
static uint32_t rnd(void) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

static Tensor *random_input(Ctx *ctx, const Type *t) {
  Tensor *x = tensor_new(ctx, t);
  for (int64_t i = 0; i < x->n; i++) {
    if (elem_is_float(t->e)) tensor_set_f(x, i, rnd() / 4294967296.0 * 2 - 0.7);
    else tensor_set_i(x, i, t->e.kind == EK_BOOL ? rnd() % 2 : (int64_t)(rnd() % 100));
  }
  return x;
}

static Program *reread(Ctx *ctx, const Program *p) {
  Str a = {.ctx = ctx}, b = {.ctx = ctx};
  program_print(&a, p);
  Program *q = program_parse(ctx, "printed", a.p, a.n);
  if (!q) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(q);
  program_print(&b, q);
  ck_assert(a.n == b.n && !memcmp(a.p, b.p, a.n));
  str_free(&a);
  str_free(&b);
  return q;
}

START_TEST(model) {
  Ctx *ctx = ctx_new();
  char path[512], *bytes;
  size_t n;
  snprintf(path, sizeof path, "%s/%s", SHARED_DIR, models[_i % N_MODELS]);
  FILE *f = fopen(path, "rb");
  if (!f) { ctx_free(ctx); return; }
  fclose(f);
  ck_assert(file_read(ctx, path, &bytes, &n));
  PassOptions options = {.target = target_find(_i / N_MODELS == 1 ? "x86-64-v4-vpopcnt" : "c99"), .hls = _i / N_MODELS == 2};
  State s = {.graph = onnx_import(ctx, path, bytes, n, &(ImportOptions){.batch = 1})};
  bool ok = s.graph && passes_standard(ctx, &s, PASS_fuse, &options);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  Tensor *in[MOST_PORTS], *want[MOST_PORTS], *got[MOST_PORTS];
  const void *ins[MOST_PORTS];
  void *outs[MOST_PORTS];
  ck_assert(s.graph->n_args <= MOST_PORTS && s.graph->n_outs <= MOST_PORTS);
  for (int i = 0; i < s.graph->n_args; i++) {
    in[i] = random_input(ctx, &s.graph->args[i]->t);
    ins[i] = in[i]->data;
  }
  ok = graph_eval(ctx, s.graph, in, want, NULL, NULL) && passes_standard(ctx, &s, -1, &options);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  Program *p = reread(ctx, s.program);
  for (int i = 0; i < p->n_outs; i++) {
    got[i] = tensor_new(ctx, &p->outs[i].t);
    outs[i] = got[i]->data;
  }
  ok = program_run(ctx, p, ins, outs);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  for (int i = 0; i < p->n_outs; i++) ck_assert_msg(tensor_eq(got[i], want[i]), "%s output %d", models[_i % N_MODELS], i);
  free(bytes);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("nest_models");
  TCase *t = tcase_create("models");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, model, 0, 3 * N_MODELS);
  suite_add_tcase(s, t);
  return suite_run(s);
}
