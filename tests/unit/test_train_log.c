/* The training log: round trip, cutting back on resuming, what is not a log; the line of progress as text. */
#include "tests/unit/suite.h"
#include "trainer/trainlog.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];
static Ctx *c;

static void setup(void) {
  strcpy(path, "/tmp/popshift_log_XXXXXX");
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  close(fd);
  c = ctx_new();
}

static void teardown(void) {
  unlink(path);
  ctx_free(c);
}

static LogRow row(int64_t iteration) {
  return (LogRow){iteration > 5 ? "caf\xc3\xa9 \"2\"" : "float", iteration > 5, iteration / 2, iteration, 0.5 / (double)iteration, 0.25, iteration == 4 ? 0.625 : NAN, iteration % 2 ? NAN : 0.75, 0.1, INFINITY, 12.5, NULL, 0};
}

static void write_rows(int64_t from, int64_t to, int64_t resume) {
  TrainLog *l = trainlog_open(c, path, resume);
  diag_print(c, stderr, false);
  ck_assert_ptr_nonnull(l);
  for (int64_t i = from; i <= to; i++) {
    LogRow r = row(i);
    ck_assert(trainlog_write(l, &r));
  }
  trainlog_close(l);
}

static void expect_rows(int n) {
  LogRow *r;
  int got;
  ck_assert(trainlog_read(c, c->own, path, &r, &got));
  ck_assert_int_eq(got, n);
  for (int i = 0; i < n; i++) {
    LogRow w = row(i + 1);
    ck_assert(!strcmp(r[i].phase, w.phase) && r[i].phase_index == w.phase_index && r[i].epoch == w.epoch && r[i].iteration == i + 1);
    ck_assert_double_eq_tol(r[i].loss, w.loss, 1e-9);
    ck_assert(r[i].accuracy == 0.25 && (i == 3 ? r[i].validation_accuracy == 0.625 : isnan(r[i].validation_accuracy)) && isnan(r[i].test_accuracy) == (i % 2 == 0) && r[i].lr == 0.1 && isnan(r[i].images_per_second) && r[i].seconds == 12.5);
  }
}

START_TEST(round_trip) {
  write_rows(1, 10, -1);
  expect_rows(10);
  write_rows(1, 7, -1); /* a new run replaces it */
  expect_rows(7);
  char *text;
  size_t n;
  ck_assert(file_read(c, path, &text, &n));
  static const char first[] = "{\"schema\": \"popshift.trainlog/1\", \"kind\": \"epoch\", \"phase\": \"float\", \"phase_index\": 0, \"epoch\": 0, \"iteration\": 1, "
                              "\"loss\": 0.5, \"accuracy\": 0.25, \"lr\": 0.1, \"seconds\": 12.5}\n";
  ck_assert_mem_eq(text, first, sizeof first - 1);
  free(text);
}
END_TEST

START_TEST(metrics) {
  Metrics m = {.arena = c->own};
  metric_add(&m, "wsvr", "conv1", 0.125);
  metric_add(&m, "wsvr", "a \"b\"", 3);
  metric_add(&m, "sqnr", "fc", NAN);
  LogRow w = row(2), *r;
  w.metric = m.p, w.n_metric = m.n;
  TrainLog *l = trainlog_open(c, path, -1);
  ck_assert(trainlog_write(l, &w));
  trainlog_close(l);
  char *text;
  size_t bytes;
  int n;
  ck_assert(file_read(c, path, &text, &bytes));
  ck_assert_ptr_nonnull(strstr(text, "\"metrics\": {\"wsvr.conv1\": 0.125, \"wsvr.a \\\"b\\\"\": 3.0}}\n"));
  free(text);
  ck_assert(trainlog_read(c, c->own, path, &r, &n) && n == 1 && r->n_metric == 2);
  ck_assert(!strcmp(r->metric[0].name, "wsvr.conv1") && r->metric[0].value == 0.125 && !strcmp(r->metric[1].name, "wsvr.a \"b\"") && r->metric[1].value == 3);
}
END_TEST

START_TEST(resumes) {
  write_rows(1, 10, -1);
  write_rows(5, 8, 4);
  expect_rows(8);
  write_rows(9, 9, 8);
  expect_rows(9);
  char *text;
  size_t n;
  ck_assert(file_read(c, path, &text, &n));
  ck_assert(file_write(c, path, text, n - 3)); /* killed while it wrote the ninth */
  free(text);
  expect_rows(8);
  write_rows(9, 10, 100);
  expect_rows(10);
  write_rows(1, 3, 0);
  expect_rows(3);
  unlink(path);
  write_rows(1, 2, 7); /* a log that was lost */
  expect_rows(2);
}
END_TEST

START_TEST(refuses) {
  static const struct { const char *text; int line; } rows[] = {
    {"hello\n", 1}, {"[]\n", 1}, {"{}\n", 1}, {"\n", 1},
    {"{\"schema\": \"popshift.trainlog/2\", \"kind\": \"epoch\", \"phase\": \"f\", \"phase_index\": 0, \"epoch\": 0, \"iteration\": 1}\n", 1},
    {"{\"schema\": \"popshift.trainlog/1\", \"kind\": \"stop\", \"phase\": \"f\", \"phase_index\": 0, \"epoch\": 0, \"iteration\": 1}\n", 1},
    {"{\"schema\": \"popshift.trainlog/1\", \"kind\": \"epoch\", \"phase\": \"f\", \"phase_index\": -1, \"epoch\": 0, \"iteration\": 1}\n", 1},
    {"{\"schema\": \"popshift.trainlog/1\", \"kind\": \"epoch\", \"phase\": \"f\", \"phase_index\": 0, \"epoch\": 0, \"iteration\": 1}\n{\"a\"\n", 2},
    {"{\"schema\": \"popshift.trainlog/1\", \"kind\": \"epoch\", \"phase\": \"f\", \"phase_index\": 0, \"epoch\": 0, \"iteration\": 1, \"loss\": \"x\"}\n", 1},
    {"{\"schema\": \"popshift.trainlog/1\", \"kind\": \"epoch\", \"phase\": \"f\", \"phase_index\": 0, \"epoch\": 0, \"iteration\": 1, \"metrics\": [1]}\n", 1},
    {"{\"schema\": \"popshift.trainlog/1\", \"kind\": \"epoch\", \"phase\": \"f\", \"phase_index\": 0, \"epoch\": 0, \"iteration\": 1, \"metrics\": {\"a\": \"b\"}}\n", 1}};
  LogRow *r;
  int n;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    ck_assert(file_write(c, path, rows[i].text, strlen(rows[i].text)));
    int errors = c->n_errors;
    ck_assert(!trainlog_read(c, c->own, path, &r, &n));
    ck_assert_ptr_null(trainlog_open(c, path, 5));
    ck_assert_int_eq(c->n_errors, errors + 2);
    const Diag *d = c->diags;
    while (d->next) d = d->next;
    ck_assert(d->code == E0103 && d->loc.line == rows[i].line);
    char *text;
    size_t bytes;
    ck_assert(file_read(c, path, &text, &bytes)); /* and it was left alone */
    ck_assert_str_eq(text, rows[i].text);
    free(text);
  }
  ck_assert(!trainlog_read(c, c->own, "/nowhere/log", &r, &n));
  ck_assert_ptr_null(trainlog_open(c, "/nowhere/log", -1));
  TrainLog *full = access("/dev/full", W_OK) ? NULL : trainlog_open(c, "/dev/full", -1);
  LogRow w = row(1);
  if (full) ck_assert(!trainlog_write(full, &w));
  trainlog_close(full);
}
END_TEST

START_TEST(progress) {
  Str s = {.ctx = c};
  Progress p = {"float", 3, 12, 7, 469, 0.43125, 0.84211, NAN, NAN, 10250.4, 62.9};
  progress_text(&s, &p);
  ck_assert_str_eq(s.p, "float 3/12 [  7/469] loss 0.4313, 84.21 %, 10250 images/s, 1:02 left");
  s.n = 0;
  p = (Progress){"w2a2", 12, 12, 469, 469, NAN, 0.5, 0.8125, 0.875, 0, 3723};
  progress_text(&s, &p);
  ck_assert_str_eq(s.p, "w2a2 12/12 [469/469] loss nan, 50.00 %, validation 81.25 %, test 87.50 %, 1:02:03 left");
  FILE *f = fopen(path, "w+"); /* no terminal: a line per epoch and nothing else */
  ProgressLine l = progress_new(f, false), quiet = progress_new(f, true);
  progress_show(&l, &p, 0);
  progress_epoch(&l, &p);
  progress_epoch(&quiet, &p);
  progress_clear(&l);
  fclose(f);
  char *text;
  size_t n;
  ck_assert(file_read(c, path, &text, &n));
  ck_assert(n == s.n + 1 && !memcmp(text, s.p, s.n) && text[s.n] == '\n');
  free(text);
  f = fopen(path, "w+"); /* a shorter text covers a longer one */
  l = (ProgressLine){.f = f, .terminal = true, .shown = -1};
  progress_show(&l, &p, 0);
  progress_show(&l, &p, 0.05);
  p.seconds_left = 0;
  progress_show(&l, &p, 0.2);
  progress_epoch(&l, &p);
  fclose(f);
  ck_assert(file_read(c, path, &text, &n));
  ck_assert_str_eq(text, "\rw2a2 12/12 [469/469] loss nan, 50.00 %, validation 81.25 %, test 87.50 %, 1:02:03 left\rw2a2 12/12 [469/469] loss nan, 50.00 %, validation 81.25 %, test 87.50 %              "
                         "\rw2a2 12/12 [469/469] loss nan, 50.00 %, validation 81.25 %, test 87.50 %\n");
  free(text);
  str_free(&s);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_log");
  TCase *t = tcase_create("log");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, round_trip);
  tcase_add_test(t, metrics);
  tcase_add_test(t, resumes);
  tcase_add_test(t, refuses);
  tcase_add_test(t, progress);
  suite_add_tcase(s, t);
  return suite_run(s);
}
