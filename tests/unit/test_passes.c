/* Goldens: tests/passes/PASS/X.ir through PASS prints X.out (UPDATE=1 rewrites), with values compared before and after; and the runner. */
#include "passes/pass.h"
#include "tests/unit/suite.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILES_MAX = 256 };
typedef struct Case { char pass[32], name[64]; } Case;
static Case cases[FILES_MAX];

static int by_name(const void *a, const void *b) {
  const Case *x = a, *y = b;
  int c = pass_find(x->pass) - pass_find(y->pass);
  return c ? c : strcmp(x->name, y->name);
}

/* Folders named like graph passes, in them X.ir. */
static int find_cases(void) {
  int n = 0;
  for (int p = 0; p < PASS_COUNT; p++) {
    char path[1024];
    snprintf(path, sizeof path, TEST_DIR "/passes/%s", pass_info[p].name);
    DIR *d = pass_info[p].level == LEVEL_GRAPH ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
      size_t k = strlen(e->d_name);
      if (k < 4 || k >= sizeof cases[0].name || strcmp(e->d_name + k - 3, ".ir") || n == FILES_MAX) continue;
      snprintf(cases[n].pass, sizeof cases[n].pass, "%s", pass_info[p].name);
      snprintf(cases[n].name, sizeof cases[n].name, "%.*s", (int)(k - 3), e->d_name);
      n++;
    }
    if (d) closedir(d);
  }
  qsort(cases, (size_t)n, sizeof *cases, by_name);
  return n;
}

static Graph *read_graph(Ctx *ctx, const char *path) {
  char *text;
  size_t n;
  if (!file_read(ctx, path, &text, &n)) return NULL;
  Graph *g = graph_parse(ctx, path, text, n);
  free(text);
  return g;
}

START_TEST(golden) {
  const Case *c = &cases[_i];
  Ctx *ctx = ctx_new();
  char path[1024];
  snprintf(path, sizeof path, TEST_DIR "/passes/%s/%s.ir", c->pass, c->name);
  State s = {.graph = read_graph(ctx, path)};
  PassId ids[] = {(PassId)pass_find(c->pass), PASS_dce}; /* without what the pass made useless */
  PassOptions o = {.verify_each = true, .target = target_find("c99")};
  bool ok = s.graph && passes_run(ctx, &s, ids, 2, &o);
  diag_print(ctx, stderr, false);
  ck_assert_msg(ok, "%s does not run", path);
  Str out = {.ctx = ctx};
  graph_print(&out, s.graph);
  snprintf(path, sizeof path, TEST_DIR "/passes/%s/%s.out", c->pass, c->name);
  if (getenv("UPDATE")) ck_assert(file_write(ctx, path, out.p, out.n));
  char *want;
  size_t n;
  ck_assert_msg(file_read(ctx, path, &want, &n), "no %s", path);
  ck_assert_msg(n == out.n && !memcmp(want, out.p, n), "%s differs; now:\n%s", path, out.p);
  free(want);
  str_free(&out);
  graph_free(s.graph);
  ctx_free(ctx);
}
END_TEST

static Graph *parse(Ctx *ctx, const char *text) { return graph_parse(ctx, "t.ir", text, strlen(text)); }

/* A float contract of two dequants: select's graph may hold it, widths' may not. */
static const char float_net[] =
  "popshift.graph 1\n"
  "graph @g(%x: i8[1,2]) -> (%y: f32[1,1]) {\n"
  "  %s: f32 = const 0.5\n"
  "  %1: f32[1,2] = dequant %x, %s\n"
  "  %w: i8[1,2] = const [1, 2]\n"
  "  %2: f32[1,2] = dequant %w, %s\n"
  "  %3: f32[1,1] = contract mul %1, %2 [n m | k:2](n, k)(m, k)\n"
  "  return %3\n"
  "}\n";

START_TEST(needs_are_checked) {
  Ctx *ctx = ctx_new();
  State s = {.graph = parse(ctx, float_net)};
  PassId id = PASS_widths;
  ck_assert(!passes_run(ctx, &s, &id, 1, &(PassOptions){0}));
  ck_assert_ptr_null(s.graph);
  ck_assert_int_eq(ctx->diags->code, E0701);
  ck_assert_ptr_nonnull(strstr(ctx->diags->text, "recognized"));
  ctx_free(ctx);
}
END_TEST

START_TEST(needs_that_hold_are_found) {
  Ctx *ctx = ctx_new();
  State s = {.graph = parse(ctx, float_net)};
  PassId ids[] = {PASS_canon, PASS_recognize, PASS_widths};
  ck_assert(passes_run(ctx, &s, ids, 3, &(PassOptions){.verify_each = true}));
  ck_assert_uint_eq(s.graph->props & (P_TYPED | P_RECOGNIZED), P_TYPED | P_RECOGNIZED);
  graph_free(s.graph);
  ctx_free(ctx);
}
END_TEST

static void count_dumps(void *user, PassId id, bool after, const Graph *g, const Program *p) {
  int *n = user;
  ck_assert_int_eq(id, PASS_canon);
  ck_assert((g != NULL) != (p != NULL));
  n[after]++;
}

START_TEST(dumps_and_skips) {
  Ctx *ctx = ctx_new();
  State s = {.graph = parse(ctx, float_net)};
  PassId ids[] = {PASS_canon, PASS_cse};
  int n[2] = {0, 0};
  double seconds[PASS_COUNT] = {0};
  PassOptions o = {.skip = 1u << PASS_cse, .dump = count_dumps, .dump_user = n, .seconds = seconds};
  ck_assert(passes_run(ctx, &s, ids, 2, &o));
  ck_assert_int_eq(n[0], 1);
  ck_assert_int_eq(n[1], 1);
  ck_assert(seconds[PASS_canon] > 0 && seconds[PASS_cse] == 0);
  graph_free(s.graph);
  ctx_free(ctx);
}
END_TEST

START_TEST(standard_stops_where_asked) {
  Ctx *ctx = ctx_new();
  State s = {.graph = parse(ctx, float_net)};
  PassOptions o = {.verify_each = true, .target = target_find("c99")};
  ck_assert(passes_standard(ctx, &s, PASS_recognize, &o));
  ck_assert_ptr_nonnull(s.graph);
  ck_assert(s.graph->props & P_RECOGNIZED && !(s.graph->props & P_SELECTED));
  ck_assert(passes_standard(ctx, &s, PASS_select, &o));
  ck_assert(s.graph->props & P_SELECTED);
  ck_assert(passes_standard(ctx, &s, -1, &o));
  ck_assert_ptr_nonnull(s.program);
  ck_assert_int_ge(s.program->arena_bytes, 0);
  program_free(s.program);
  diag_print(ctx, stderr, false);
  ctx_free(ctx);
}
END_TEST

START_TEST(names_are_found) {
  for (int i = 0; i < PASS_COUNT; i++) ck_assert_int_eq(pass_find(pass_info[i].name), i);
  ck_assert_int_eq(pass_find("no such pass"), -1);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("passes");
  TCase *goldens = tcase_create("golden"), *runner = tcase_create("runner");
  int n = find_cases();
  tcase_set_timeout(goldens, 60);
  if (n == 0) {
    fprintf(stderr, "no goldens beneath " TEST_DIR "/passes\n");
    return EXIT_FAILURE;
  }
  tcase_add_loop_test(goldens, golden, 0, n);
  tcase_add_test(runner, names_are_found);
  tcase_add_test(runner, needs_are_checked);
  tcase_add_test(runner, needs_that_hold_are_found);
  tcase_add_test(runner, dumps_and_skips);
  tcase_add_test(runner, standard_stops_where_asked);
  suite_add_tcase(suite, goldens);
  suite_add_tcase(suite, runner);
  return suite_run(suite);
}
