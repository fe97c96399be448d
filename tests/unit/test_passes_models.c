/* Real low-bit models: after widths no contract is fed by floats computed from codes, and every bit is recognize's. Skipped where the
 * data is absent (POPSHIFT_SHARED or the folder beside the checkout). */
#include "frontend/frontend.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Model { const char *path; int contracts; } Model; /* contracts of codes that it has in the end */
static const Model models[] = {
  {"lowbit/kws/kws_w3a3.onnx", 4},
  {"lowbit/tfc/TFC_1W1A.onnx", 4},
  {"lowbit/tfc/TFC_1W2A.onnx", 4},
  {"lowbit/tfc/TFC_2W2A.onnx", 4},
  {"models/micro_kws_m_qdq/model.onnx", 6},
  {"models/micro_kws_m_static_qoperator/model.onnx", 6},
};
enum { MODELS = sizeof models / sizeof *models };

static const char *find(const char *name, char *path, size_t n) {
  const char *shared = getenv("POPSHIFT_SHARED");
  snprintf(path, n, "%s/data/%s", shared ? shared : SHARED_DIR, name);
  return access(path, R_OK) == 0 ? path : NULL;
}

/* Contracts of codes; fails where one has a float among its ancestors that comes from codes. */
static int count_contracts(const Graph *g) {
  bool *codes = calloc((size_t)g->n_nodes, sizeof *codes), *mixed = calloc((size_t)g->n_nodes, sizeof *mixed);
  int n = 0;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *v = g->nodes[i];
    codes[i] = elem_is_code(v->t.e) && v->op != OP_CONST;
    for (int k = 0; k < v->n_in; k++) {
      codes[i] = codes[i] || codes[v->in[k]->id];
      mixed[i] = mixed[i] || mixed[v->in[k]->id];
    }
    mixed[i] = mixed[i] || (elem_is_float(v->t.e) && codes[i]);
    if (v->op == OP_CONTRACT) ck_assert_msg(!mixed[i], "a float feeds contract %d", i);
    n += v->op == OP_CONTRACT && elem_is_code(v->t.e);
  }
  free(codes);
  free(mixed);
  return n;
}

static void evaluate(Ctx *ctx, const Graph *g, Tensor **out) {
  Tensor *in = tensor_new(ctx, &g->args[0]->t);
  for (int64_t i = 0; i < in->n; i++) tensor_set_f(in, i, sin((double)(i * i % 1009)) * (double)(i % 7));
  ck_assert_int_eq(g->n_args, 1);
  ck_assert(graph_eval(ctx, g, &in, out, NULL, NULL));
  tensor_free(in);
}

START_TEST(integers_only) {
  const Model *m = &models[_i];
  char path[1024], *bytes;
  size_t n;
  if (!find(m->path, path, sizeof path)) {
    printf("skipped: no %s\n", m->path);
    return;
  }
  Ctx *ctx = ctx_new();
  ck_assert(file_read(ctx, path, &bytes, &n));
  State s = {.graph = onnx_import(ctx, path, bytes, n, &(ImportOptions){.batch = 1})};
  ck_assert_ptr_nonnull(s.graph);
  Tensor *before[4], *after[4];
  ck_assert(passes_standard(ctx, &s, PASS_recognize, &(PassOptions){0}));
  ck_assert_int_le(s.graph->n_outs, 4);
  evaluate(ctx, s.graph, before);
  ck_assert(passes_standard(ctx, &s, PASS_widths, &(PassOptions){0}));
  evaluate(ctx, s.graph, after);
  for (int i = 0; i < s.graph->n_outs; i++) ck_assert(tensor_eq(before[i], after[i]));
  ck_assert_int_eq(count_contracts(s.graph), m->contracts);
  graph_free(s.graph);
  free(bytes);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("passes_models");
  TCase *c = tcase_create("models");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, integers_only, 0, MODELS);
  suite_add_tcase(suite, c);
  return suite_run(suite);
}
