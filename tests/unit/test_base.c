#include "ir/base.h"
#include "tests/unit/suite.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/type.h"

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

START_TEST(arena_is_zeroed_and_aligned) {
  Arena *a = arena_new(ctx);
  for (size_t n = 0; n < 3000; n += 37) {
    char *p = arena_alloc(a, n);
    ck_assert_uint_eq((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < n; i++) ck_assert_int_eq(p[i], 0);
    memset(p, 0xff, n);
  }
  char *big = arena_alloc(a, 5 << 20), *small = arena_strdup(a, "x");
  big[(5 << 20) - 1] = 1;
  ck_assert_str_eq(small, "x");
  ck_assert_int_gt(ctx->memory_used, 5 << 20);
  int64_t before = ctx->memory_used;
  arena_free(a);
  ck_assert_int_lt(ctx->memory_used, before - (5 << 20));
}
END_TEST

static jmp_buf escape;
static void on_fatal(Ctx *c, void *user) {
  ++*(int *)user;
  (void)c;
  longjmp(escape, 1);
}

START_TEST(arena_past_the_limit_is_fatal) {
  int calls = 0;
  ctx->fatal = on_fatal;
  ctx->fatal_user = &calls;
  limit_set(ctx, "memory", ctx->memory_used + 100000);
  Arena *a = arena_new(ctx);
  if (!setjmp(escape)) {
    for (;;) arena_alloc(a, 1000);
  }
  if (!setjmp(escape)) arena_alloc(a, SIZE_MAX - 3);
  ck_assert_int_eq(calls, 2);
  ck_assert_int_le(ctx->memory_used, ctx->limits.memory);
}
END_TEST

START_TEST(vectors_grow) {
  Arena *a = arena_new(ctx);
  VEC(int) v = {0};
  for (int i = 0; i < 1000; i++) vec_push(a, &v, i);
  for (int i = 0; i < 1000; i++) ck_assert_int_eq(v.p[i], i);
}
END_TEST

START_TEST(limits_by_name) {
  ck_assert_ptr_null(limit_set(ctx, "nodes", 7));
  ck_assert_int_eq(ctx->limits.nodes, 7);
  ck_assert_str_eq(limit_set(ctx, "memery", 7), "memory");
  ck_assert_ptr_nonnull(limit_set(ctx, "", 7));
}
END_TEST

START_TEST(suggestions) {
  const char *const names[] = {"Conv", "MatMul", "QuantizeLinear"};
  ck_assert_str_eq(nearest("Matmul", names, 3), "MatMul");
  ck_assert_str_eq(nearest("QuantiseLinear", names, 3), "QuantizeLinear");
  static const char *const keys[] = {"train", "scale", "std"};
  ck_assert_str_eq(nearest("sclae", keys, 3), "scale"); /* an exchange is one slip */
  ck_assert_ptr_null(nearest("Softmax", names, 3));
  ck_assert_ptr_null(nearest("x", names, 0));
}
END_TEST

static char *printed(void) {
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  diag_print(ctx, f, false);
  fclose(f);
  return text;
}

START_TEST(diagnostics_are_one_escaped_line) {
  char name[] = "conv\n\"3\"\x1b[31m";
  Loc l = {"m.onnx", -1, 17, name, "Conv"};
  diag_warn(ctx, E0802, NULL, "first");
  ck_assert_int_eq(diag_exit(ctx), 0);
  ck_assert(!diag(ctx, E0402, &l, "bad \x01 value %d", 5));
  diag_note(ctx, "a note");
  diag_hint(ctx, "a hint");
  name[0] = 'X'; /* the context has its own copy */
  diag(ctx, E0204, &(Loc){"t.ps", 3, -1, NULL, NULL}, "second");
  char *text = printed();
  ck_assert_str_eq(text, "warning E0802: first\n"
    "m.onnx: node 17 \"conv\\n\\\"3\\\"\\x1b[31m\" (Conv): error E0402: bad \\x01 value 5\n  note: a note\n  hint: a hint\n"
    "t.ps:3: error E0204: second\n");
  ck_assert_int_eq(diag_exit(ctx), EXIT_LIMIT);
  ck_assert_int_eq(ctx->n_errors, 2);
  free(text);
}
END_TEST

START_TEST(long_names_are_cut) {
  char name[4000];
  memset(name, 'a', sizeof name - 1);
  name[sizeof name - 1] = 0;
  diag(ctx, E0204, &(Loc){NULL, -1, 1, name, NULL}, "x");
  char *text = printed();
  ck_assert_uint_lt(strlen(text), 200);
  ck_assert_ptr_nonnull(strstr(text, "aaa...\""));
  free(text);
}
END_TEST

static const struct { double v; const char *text; } doubles[] = {
  {0, "0"}, {-0.0, "-0"}, {1, "1"}, {-10, "-10"}, {100000, "100000"}, {0.1, "0.1"}, {1.0 / 3, "0.3333333333333333"}, {1e22, "1e+22"},
  {5e-324, "5e-324"}, {1.7976931348623157e308, "1.7976931348623157e+308"}, {123456789012345.0, "123456789012345"}, {1e-5, "1e-05"},
  {INFINITY, "inf"}, {-INFINITY, "-inf"}, {NAN, "nan"}, {9007199254740993.0, "9007199254740992"}, {0.30000000000000004, "0.30000000000000004"},
};

START_TEST(numbers_are_shortest) {
  Str s = {.ctx = ctx};
  str_f64(&s, doubles[_i].v);
  ck_assert_str_eq(s.p, doubles[_i].text);
  double back;
  ck_assert(parse_f64(s.p, s.n, &back));
  ck_assert(!memcmp(&back, &doubles[_i].v, sizeof back) || isnan(back));
  str_free(&s);
}
END_TEST

START_TEST(floats_read_back) {
  uint32_t state = 1;
  Str s = {.ctx = ctx};
  for (int i = 0; i < 20000; i++) {
    state = state * 1664525 + 1013904223;
    float f, back;
    memcpy(&f, &state, 4);
    s.n = 0;
    str_f32(&s, f);
    ck_assert_msg(parse_f32(s.p, s.n, &back), "%s", s.p);
    ck_assert_msg(!memcmp(&f, &back, 4) || (isnan(f) && isnan(back)), "%s", s.p);
  }
  s.n = 0;
  str_f32(&s, 0.1f);
  ck_assert_str_eq(s.p, "0.1");
  str_free(&s);
}
END_TEST

START_TEST(numbers_that_are_not) {
  double d;
  int64_t i;
  static const char *const no[] = {"", "-", ".", "e5", "1e", "1e+", "1.2.3", "0x10", "1 ", " 1", "+1", "infinity", "NAN", "1,5", "1e5x"};
  for (size_t k = 0; k < sizeof no / sizeof *no; k++) ck_assert_msg(!parse_f64(no[k], strlen(no[k]), &d), "%s", no[k]);
  ck_assert(parse_i64("-9223372036854775808", 20, &i) && i == INT64_MIN);
  ck_assert(parse_i64("9223372036854775807", 19, &i) && i == INT64_MAX);
  ck_assert(!parse_i64("9223372036854775808", 19, &i));
  ck_assert(!parse_i64("-", 1, &i) && !parse_i64("", 0, &i) && !parse_i64("1.0", 3, &i) && !parse_i64("--1", 3, &i));
}
END_TEST

START_TEST(quoting) {
  Str s = {.ctx = ctx};
  str_quoted(&s, "a\"b\\c\n\t\x7f\xc3\xa9");
  ck_assert_str_eq(s.p, "\"a\\\"b\\\\c\\n\\t\\x7f\\xc3\\xa9\"");
  str_free(&s);
}
END_TEST

START_TEST(files_are_whole_or_not_there) {
  char dir[] = "/tmp/popshift-test-XXXXXX", path[64], link_path[64], *bytes;
  size_t n;
  struct stat st;
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/a", dir);
  snprintf(link_path, sizeof link_path, "%s/l", dir);
  ck_assert(file_write(ctx, path, "one\0two", 7));
  ck_assert(file_read(ctx, path, &bytes, &n));
  ck_assert_uint_eq(n, 7);
  ck_assert_mem_eq(bytes, "one\0two", 8);
  free(bytes);
  ck_assert_int_eq(symlink("a", link_path), 0);
  ck_assert(file_write(ctx, link_path, "3", 1));
  ck_assert(!lstat(link_path, &st) && S_ISLNK(st.st_mode));
  ck_assert(file_read(ctx, path, &bytes, &n) && n == 1 && *bytes == '3');
  free(bytes);
  ck_assert(file_write(ctx, "/dev/null", "x", 1));
  ck_assert(!stat("/dev/null", &st) && S_ISCHR(st.st_mode));
  ck_assert_int_eq(ctx->n_errors, 0);
  limit_set(ctx, "file", 0);
  ck_assert(!file_read(ctx, path, &bytes, &n));
  ck_assert(!file_read(ctx, dir, &bytes, &n));
  ck_assert(!file_read(ctx, "/nowhere/x", &bytes, &n));
  ck_assert(!file_write(ctx, "/nowhere/x", "x", 1));
  ck_assert_int_eq(ctx->n_errors, 4);
  ck_assert_int_eq(ctx->diags->code, E0402);
  ck_assert_int_eq(ctx->diags->next->code, E0501);
  ck_assert(!unlink(link_path) && !unlink(path) && !rmdir(dir)); /* nothing else was left */
}
END_TEST

START_TEST(output_files) {
  Arena *a = arena_new(ctx);
  OutFiles files = {0};
  for (int i = 0; i < 20; i++) str_printf(out_file(&files, a, "x.c"), "%d", i);
  ck_assert_int_eq(files.n, 20);
  ck_assert_str_eq(files.p[13].text.p, "13");
  out_files_free(&files);
}
END_TEST

int main(void) {
  Suite *s = suite_create("base");
  TCase *t = tcase_create("base");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, arena_is_zeroed_and_aligned);
  tcase_add_test(t, arena_past_the_limit_is_fatal);
  tcase_add_test(t, vectors_grow);
  tcase_add_test(t, limits_by_name);
  tcase_add_test(t, suggestions);
  tcase_add_test(t, diagnostics_are_one_escaped_line);
  tcase_add_test(t, long_names_are_cut);
  tcase_add_loop_test(t, numbers_are_shortest, 0, (int)(sizeof doubles / sizeof *doubles));
  tcase_add_test(t, floats_read_back);
  tcase_add_test(t, numbers_that_are_not);
  tcase_add_test(t, quoting);
  tcase_add_test(t, files_are_whole_or_not_there);
  tcase_add_test(t, output_files);
  suite_add_tcase(s, t);
  return suite_run(s);
}
