/* Real models of the shared data folder through import and evaluation; skipped with a message where it is absent. */
#include "frontend/frontend.h"
#include "runtime/npy.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DATA SHARED_DIR "/data/"

static bool there(const char *path) {
  struct stat st;
  if (stat(path, &st) == 0) return true;
  printf("skipped: %s is not there\n", path);
  return false;
}

static Graph *load(Ctx *ctx, const char *path) {
  char *bytes;
  size_t n;
  ImportOptions opt = {.batch = 1};
  ck_assert(file_read(ctx, path, &bytes, &n));
  Graph *g = onnx_import(ctx, path, bytes, n, &opt);
  free(bytes);
  if (!g) diag_print(ctx, stderr, false);
  return g;
}

/* count samples of in.npy, one by one, against out.npy. worst: the greatest difference; beyond: how many pass
 * 1e-3 * |want| + 1e-4. Returns how many samples have another first maximum. */
static int run_npy(const char *model, const char *in_path, const char *out_path, int64_t count, double *worst, int64_t *beyond) {
  Ctx *ctx = ctx_new();
  Graph *g = load(ctx, model);
  RtArray in = {0}, out = {0};
  ck_assert_ptr_nonnull(g);
  ck_assert_ptr_null(rt_npy_read(in_path, 1 << 30, &in));
  ck_assert_ptr_null(rt_npy_read(out_path, 1 << 30, &out));
  ck_assert_int_eq(g->n_args, 1);
  ck_assert_int_eq(g->n_outs, 1);
  Tensor *x = tensor_new(ctx, &g->args[0]->t), *y;
  int64_t per = out.n / out.dims[0];
  int other = 0;
  *worst = 0;
  *beyond = 0;
  for (int64_t i = 0; i < count && i < in.dims[0]; i++) {
    memcpy(x->data, (const float *)in.data + i * x->n, (size_t)x->n * 4);
    ck_assert(graph_eval(ctx, g, &x, &y, NULL, NULL));
    ck_assert_int_eq(y->n, per);
    const float *want = (const float *)out.data + i * per, *got = y->data;
    int64_t best_want = 0, best_got = 0;
    for (int64_t k = 0; k < per; k++) {
      double d = fabs((double)got[k] - (double)want[k]);
      if (!(d <= *worst)) *worst = d;
      *beyond += !(d <= 1e-3 * fabs((double)want[k]) + 1e-4);
      if (want[k] > want[best_want]) best_want = k;
      if (got[k] > got[best_got]) best_got = k;
    }
    other += best_want != best_got;
    tensor_free(y);
  }
  graph_free(g);
  ctx_free(ctx);
  rt_array_free(&in);
  rt_array_free(&out);
  return other;
}

START_TEST(tfc) {
  static const char *const nets[] = {"TFC_1W1A", "TFC_1W2A", "TFC_2W2A"};
  for (int i = 0; i < 3; i++) {
    char path[3][512];
    double worst;
    int64_t beyond;
    snprintf(path[0], 512, DATA "lowbit/tfc/%s.onnx", nets[i]);
    snprintf(path[1], 512, DATA "lowbit/tfc/%s.in.npy", nets[i]);
    snprintf(path[2], 512, DATA "lowbit/tfc/%s.out.npy", nets[i]);
    if (!there(path[0])) return;
    ck_assert_int_eq(run_npy(path[0], path[1], path[2], 64, &worst, &beyond), 0);
    ck_assert_int_eq(beyond, 0);
  }
} END_TEST

START_TEST(kws) {
  double worst;
  int64_t beyond;
  if (!there(DATA "lowbit/kws/kws_w3a3.onnx")) return;
  ck_assert_int_eq(run_npy(DATA "lowbit/kws/kws_w3a3.onnx", DATA "lowbit/kws/inputs_1000.npy", DATA "lowbit/kws/outputs_1000.npy", 200, &worst, &beyond), 0);
  ck_assert_int_eq(beyond, 0);
} END_TEST

/* The reference sums in binary64: a value that lies on a tie of the last quantizer may fall to the next of 255 steps. */
START_TEST(espcn) {
  double worst;
  int64_t beyond;
  const char *dir = DATA "lowbit/espcn/espcn_subpixel_w4a4";
  char path[3][512];
  snprintf(path[0], 512, "%s.onnx", dir);
  snprintf(path[1], 512, "%s.in.npy", dir);
  snprintf(path[2], 512, "%s.out.npy", dir);
  if (!there(path[0])) return;
  run_npy(path[0], path[1], path[2], 1, &worst, &beyond);
  ck_assert_int_le(beyond, 20); /* of 196 608 */
  ck_assert_double_le(worst, 1.01 / 255);
} END_TEST

int main(void) {
  Suite *s = suite_create("import_data");
  TCase *t = tcase_create("data");
  tcase_set_timeout(t, 600);
  tcase_add_test(t, tfc);
  tcase_add_test(t, kws);
  tcase_add_test(t, espcn);
  suite_add_tcase(s, t);
  return suite_run(s);
}
