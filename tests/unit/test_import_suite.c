/* ONNX's own tests through import and evaluation: folders with model.onnx and test_data_set_*. With arguments, runs those
 * folders' tests and says what became of each: test_import_suite [-v] DIR... */
#include "frontend/frontend.h"
#include "tests/unit/suite.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEBIAN "/usr/share/libonnx-testdata/data/"

typedef enum Fate { PASSED, FAILED, UNSUPPORTED, BROKEN, FATES } Fate;
static const char *const fate_names[] = {"passed", "failed", "unsupported", "broken"};

static Tensor *read_pb(Ctx *ctx, const char *dir, const char *what, int i, char **name, bool *there) {
  char path[4096], *bytes;
  size_t n;
  struct stat st;
  snprintf(path, sizeof path, "%s/%s_%d.pb", dir, what, i);
  *there = stat(path, &st) == 0;
  if (!*there || !file_read(ctx, path, &bytes, &n)) return NULL;
  Tensor *t = onnx_read_tensor(ctx, path, bytes, n, name);
  free(bytes);
  return t;
}

/* Some of the standard's files hold bf16 values as u16. */
static Tensor *as_bf16(Tensor *x, const Type *want) {
  if (!elem_eq(x->t.e, UINTK(16)) || !elem_eq(want->e, BF16)) return x;
  Type t = x->t;
  t.e = BF16;
  Tensor *y = tensor_new(x->ctx, &t);
  for (int64_t i = 0; i < x->n; i++) {
    uint32_t bits = (uint32_t)tensor_i(x, i) << 16;
    memcpy((float *)y->data + i, &bits, 4);
  }
  return y;
}

static void say(const Ctx *ctx, char *why, size_t n) {
  const Diag *d = ctx->diags;
  while (d && !d->is_error) d = d->next;
  snprintf(why, n, "%s %s: %s", d ? err_info[d->code].code : "", d && d->loc.op ? d->loc.op : "", d ? d->text : "");
}

/* Errors of a class that says "not supported" or asks for what the test does not give. */
static Fate fate_of(const Ctx *ctx) {
  const Diag *d = ctx->diags;
  while (d && !d->is_error) d = d->next;
  return d && err_info[d->code].exit == EXIT_UNSUPPORTED ? UNSUPPORTED : BROKEN;
}

enum { MAX_IO = 32 };

/* Vectors of other runtimes that differ by more than the order of sums: by name, what is allowed, and why. */
static const struct { const char *name; double atol, rtol; } wide[] = {
  {"micro_kws_m_qdq", 1.01 / 255, 0},    /* one step of the last quantizer: a tie */
  {"squeezenet_fp16", 2e-5, 5e-3},       /* f16 rounded at every value here; the runtime keeps f32 inside fused nodes */
};

/* The graph on the inputs against the outputs there are. */
static Fate evaluate(Ctx *ctx, const Graph *g, Tensor *const *in, int n_in, const char *dir, double atol, char *why, size_t n) {
  Tensor *args[MAX_IO], *out[MAX_IO];
  Fate fate = PASSED;
  double rtol = 1e-3;
  for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
    if (strstr(dir, wide[i].name)) { atol = wide[i].atol; rtol = wide[i].rtol; }
  if (g->n_args > n_in || g->n_outs > MAX_IO) { snprintf(why, n, "%d arguments, %d inputs", g->n_args, n_in); return BROKEN; }
  for (int i = 0; i < g->n_args; i++) {
    args[i] = as_bf16(in[i], &g->args[i]->t);
    if (type_eq(&args[i]->t, &g->args[i]->t)) continue;
    snprintf(why, n, "input %d has another type than the graph's", i);
    return BROKEN;
  }
  if (!graph_eval(ctx, g, args, out, NULL, NULL)) { say(ctx, why, n); return FAILED; }
  for (int i = 0; i < g->n_outs; i++) {
    bool there;
    Tensor *want = read_pb(ctx, dir, "output", i, NULL, &there);
    if (!want) { if (there) { say(ctx, why, n); fate = UNSUPPORTED; } continue; }
    want = as_bf16(want, &out[i]->t);
    int64_t first;
    double worst;
    if (!type_eq(&want->t, &out[i]->t)) {
      Str a = {.ctx = ctx}, b = {.ctx = ctx};
      type_print(&a, g, &out[i]->t);
      type_print(&b, g, &want->t);
      snprintf(why, n, "output %d is %s, should be %s", i, a.p, b.p);
      str_free(&a);
      str_free(&b);
      fate = FAILED;
    } else if (tensor_diff(out[i], want, atol, rtol, &first, &worst)) {
      snprintf(why, n, "output %d at %lld: %g, should be %g", i, (long long)first, tensor_f(out[i], first), tensor_f(want, first));
      fate = FAILED;
    }
  }
  return fate;
}

/* Inputs come in the order of the graph's inputs that have no initializer; shapes and axes among them are bound. */
static Fate run_set(const char *model, const char *dir, double atol, char *why, size_t n) {
  Ctx *ctx = ctx_new();
  Tensor *in[MAX_IO];
  char *names[MAX_IO] = {NULL}, *bytes = NULL;
  InputBind binds[MAX_IO];
  ShapeBind shapes[MAX_IO];
  size_t size = 0;
  int n_in = 0;
  bool there = true;
  Fate fate = BROKEN;
  while (n_in < MAX_IO && (in[n_in] = read_pb(ctx, dir, "input", n_in, &names[n_in], &there)) != NULL) {
    binds[n_in] = (InputBind){names[n_in], in[n_in], true};
    shapes[n_in] = (ShapeBind){.input = names[n_in], .rank = in[n_in]->t.rank, .if_there = true};
    for (int i = 0; i < in[n_in]->t.rank; i++) shapes[n_in].dim[i] = in[n_in]->t.d[i].n;
    n_in++;
  }
  if (there) { say(ctx, why, n); fate = UNSUPPORTED; }
  else if (file_read(ctx, model, &bytes, &size)) {
    ImportOptions opt = {.binds = binds, .n_binds = n_in, .shapes = shapes, .n_shapes = n_in, .batch = 1};
    Graph *g = onnx_import(ctx, model, bytes, size, &opt);
    if (g) fate = evaluate(ctx, g, in, n_in, dir, atol, why, n);
    else { say(ctx, why, n); fate = fate_of(ctx); }
    graph_free(g);
  }
  for (int i = 0; i < MAX_IO; i++) free(names[i]);
  free(bytes);
  ctx_free(ctx);
  return fate;
}

static Fate run_folder(const char *dir, double atol, char *why, size_t n) {
  char model[2048], set[2048];
  struct stat st;
  Fate worst = PASSED;
  snprintf(model, sizeof model, "%s/model.onnx", dir);
  if (stat(model, &st)) return FATES;
  for (int i = 0; i < 20 && worst == PASSED; i++) {
    snprintf(set, sizeof set, "%s/test_data_set_%d", dir, i);
    if (stat(set, &st)) break;
    worst = run_set(model, set, atol, why, n);
  }
  return worst;
}

/* Files that contradict the standard: bf16 truncated instead of rounded; an operand of another type than the model declares. */
static const char *const wrong_data[] = {
  "test_cast_FLOAT_to_BFLOAT16", "test_castlike_BFLOAT16_to_FLOAT", "test_castlike_BFLOAT16_to_FLOAT_expanded",
  "test_castlike_FLOAT_to_BFLOAT16", "test_castlike_FLOAT_to_BFLOAT16_expanded",
};
static bool has_wrong_data(const char *name) {
  for (size_t i = 0; i < sizeof wrong_data / sizeof wrong_data[0]; i++) if (!strcmp(name, wrong_data[i])) return true;
  return false;
}

/* Under sanitizers these take longer than all the others together; the release build runs them. */
static bool too_heavy(const char *name) {
#ifdef POPSHIFT_HOSTILE
  return !strcmp(name, "super_resolution") || !strcmp(name, "squeezenet_fp16") || !strcmp(name, "nanodet_m_320");
#else
  return name == NULL;
#endif
}
#ifdef POPSHIFT_HOSTILE
enum { SHARED_LEAST = 21 };
#else
enum { SHARED_LEAST = 24 };
#endif

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Runs every folder below dir; verbose: a line for each that did not pass. */
static void run_suite(const char *dir, bool verbose, double atol, int count[FATES]) {
  DIR *d = opendir(dir);
  char *name[4096], why[1024], path[1280];
  int n = 0;
  for (struct dirent *e; d && (e = readdir(d)) != NULL;) if (e->d_name[0] != '.' && n < 4096) name[n++] = strdup(e->d_name);
  if (d) closedir(d);
  qsort(name, (size_t)n, sizeof *name, by_name);
  for (int i = 0; i < n; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, name[i]);
    why[0] = 0;
    Fate f = has_wrong_data(name[i]) || too_heavy(name[i]) ? FATES : run_folder(path, atol, why, sizeof why);
    if (f < FATES) count[f]++;
    if (f < FATES && (verbose ? f != PASSED : f == FAILED || f == BROKEN)) printf("%s %s: %s\n", fate_names[f], name[i], why);
    free(name[i]);
  }
}

static void suite_passes(const char *dir, double atol, int least) {
  int count[FATES] = {0};
  struct stat st;
  if (stat(dir, &st)) { printf("skipped: %s is not there\n", dir); return; }
  run_suite(dir, false, atol, count);
  printf("%s: %d passed, %d failed, %d unsupported, %d broken\n", dir, count[PASSED], count[FAILED], count[UNSUPPORTED], count[BROKEN]);
  fflush(stdout);
  ck_assert_int_eq(count[FAILED], 0);
  ck_assert_int_eq(count[BROKEN], 0);
  ck_assert_int_ge(count[PASSED], least);
}

START_TEST(node_tests) { suite_passes(DEBIAN "node", 1e-7, 698); } END_TEST
START_TEST(operator_tests) { suite_passes(DEBIAN "pytorch-operator", 1e-7, 24); } END_TEST
START_TEST(converted_tests) { suite_passes(DEBIAN "pytorch-converted", 1e-7, 59); } END_TEST
START_TEST(simple_tests) { suite_passes(DEBIAN "simple", 1e-7, 7); } END_TEST
START_TEST(own_tests) { suite_passes(TEST_DIR "/onnx", 1e-6, 35); } END_TEST

/* Sums of thousands of products in another order than the runtime that made the vectors: values near 0 differ by 1e-5. */
START_TEST(shared_models) { suite_passes(SHARED_DIR "/data/models", 2e-5, SHARED_LEAST); } END_TEST

int main(int argc, char **argv) {
  if (argc > 1) {
    int count[FATES] = {0}, i = 1;
    bool verbose = !strcmp(argv[1], "-v");
    for (i += verbose; i < argc; i++) run_suite(argv[i], verbose, 1e-7, count);
    for (int f = 0; f < FATES; f++) printf("%d %s\n", count[f], fate_names[f]);
    return count[FAILED] + count[BROKEN] ? 1 : 0;
  }
  Suite *s = suite_create("import_suite");
  TCase *t = tcase_create("onnx");
  tcase_set_timeout(t, 600);
  tcase_add_test(t, node_tests);
  tcase_add_test(t, operator_tests);
  tcase_add_test(t, converted_tests);
  tcase_add_test(t, simple_tests);
  tcase_add_test(t, own_tests);
  tcase_add_test(t, shared_models);
  suite_add_tcase(s, t);
  return suite_run(s);
}
