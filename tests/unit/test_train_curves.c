/* Curves: well-formed pictures of ordinary and of strange runs, escaped texts, gaps, and numbers where they should be. */
#include "tests/unit/suite.h"
#include "trainer/curves.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static Ctx *c;
static Str s;

static void setup(void) {
  c = ctx_new();
  s = (Str){.ctx = c};
}

static void teardown(void) {
  str_free(&s);
  ctx_free(c);
}

static int count(const char *text, const char *what) {
  int n = 0;
  for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
  return n;
}

/* Elements nest, attributes are quoted, texts have no bare & or <. Enough of XML for what is written here. */
static void well_formed(const char *p) {
  const char *open[64];
  int depth = 0;
  while (*p) {
    if (*p == '&') ck_assert_msg(!strncmp(p, "&lt;", 4) || !strncmp(p, "&gt;", 4) || !strncmp(p, "&amp;", 5) || !strncmp(p, "&quot;", 6) || !strncmp(p, "&#39;", 5), "%.20s", p);
    ck_assert_int_ne(*p, '>');
    if (*p++ != '<') continue;
    bool close = *p == '/';
    const char *name = p += close;
    while (isalnum((unsigned char)*p)) p++;
    size_t n = (size_t)(p - name);
    ck_assert_msg(n > 0, "%.30s", name - 1);
    for (bool quoted = false; quoted || *p != '>'; p++) {
      ck_assert(*p && *p != '<');
      quoted ^= *p == '"';
    }
    bool alone = p[-1] == '/';
    p++;
    if (close) ck_assert_msg(depth > 0 && !strncmp(open[--depth], name, n) && !isalnum((unsigned char)open[depth][n]), "%.40s", name);
    else if (!alone) {
      ck_assert_int_lt(depth, 64);
      open[depth++] = name;
    }
  }
  ck_assert_int_eq(depth, 0);
}

static void check_svg(const Curves *k) {
  s.n = 0;
  curves_svg(&s, k);
  well_formed(s.p);
  static const char *const before[] = {"x=\"", "y=\"", "x1=\"", "y1=\"", "x2=\"", "y2=\"", "cx=\"", "cy=\"", " d=\"", "width=\"", "height=\"", "translate("};
  for (size_t i = 0; i < sizeof before / sizeof *before; i++)
    for (const char *p = s.p; (p = strstr(p, before[i]));) {
      p += strlen(before[i]);
      size_t n = strcspn(p, "\")");
      ck_assert_msg(strspn(p, "0123456789.-MLH ") == n, "%s%.40s", before[i], p);
    }
}

static const CurvePoint points[] = {{1, 0.9, 0.7, 0.72, NAN}, {2, 0.6, 0.8, 0.79, NAN}, {3, 0.4, 0.85, NAN, NAN}, {4, 0.5, 0.83, 0.84, NAN}, {5, 0.3, 0.9, 0.84, NAN}};
static const CurvePhase phases[] = {{"float", 0, 3}, {"w2 <&\"'> caf\xc3\xa9", 3, 5}};

START_TEST(ordinary) {
  Curves k = {"A <title> & \"more\"", "sub & title", points, 5, phases, 2, NULL, 0};
  check_svg(&k);
  ck_assert_int_eq(count(s.p, "<path class=\"c-line c-train\""), 2); /* the line and its key */
  ck_assert_int_eq(count(s.p, "<circle"), 5 + 4 + 5 + 2);
  ck_assert_int_eq(count(s.p, "class=\"c-band\""), 2);
  ck_assert_ptr_nonnull(strstr(s.p, "A &lt;title&gt; &amp; &quot;more&quot;"));
  ck_assert_ptr_nonnull(strstr(s.p, ">w2 &lt;&amp;&quot;&#39;&gt; caf\?\?<"));
  ck_assert_ptr_nonnull(strstr(s.p, ">best test 84.00 % after epoch 4<"));
  ck_assert_ptr_nonnull(strstr(s.p, "<title>epoch 2: test accuracy 79.00 %</title>"));
  ck_assert(strstr(s.p, ">90.00 %<") && strstr(s.p, ">84.00 %<") && strstr(s.p, ">0.3000<"));
  ck_assert(strstr(s.p, ">accuracy, %<") && strstr(s.p, ">loss<") && strstr(s.p, ">epoch<") && strstr(s.p, "prefers-color-scheme:dark"));
  const char *test = strstr(strstr(s.p, "<path class=\"c-line c-test\"") + 1, "<path class=\"c-line c-test\""); /* a gap where epoch 3 was not tested */
  size_t n = strcspn(test, "/");
  int moves = 0, draws = 0;
  for (size_t i = 0; i < n; i++) moves += test[i] == 'M', draws += test[i] == 'L';
  ck_assert(moves == 2 && draws == 2);
}
END_TEST

START_TEST(places) { /* epoch e of 5 is at 74 + 798 e/5; the axis of losses is 0 .. 1 over 558 .. 418 */
  Curves k = {"t", NULL, points, 5, phases, 2, NULL, 0};
  check_svg(&k);
  ck_assert_ptr_nonnull(strstr(s.p, "c-loss\" d=\"M233.6 432L393.2 474L552.8 502L712.4 488L872 516\""));
}
END_TEST

START_TEST(validation) { /* a line, a key and a column of its own, and the best epoch is its */
  CurvePoint p[5];
  memcpy(p, points, sizeof p);
  for (int i = 0; i < 5; i++) p[i].validation_accuracy = (double[]){0.7, 0.78, 0.855, 0.82, 0.85}[i];
  Curves k = {"t", NULL, p, 5, phases, 2, NULL, 0};
  check_svg(&k);
  ck_assert_int_eq(count(s.p, "<path class=\"c-line c-valid\""), 2);
  ck_assert_ptr_nonnull(strstr(s.p, ">best validation 85.50 % after epoch 3<"));
  ck_assert_ptr_nonnull(strstr(s.p, "<title>epoch 2: validation accuracy 78.00 %</title>"));
  ck_assert_int_eq(count(s.p, "c-ring c-valid"), 2);
  s.n = 0;
  curves_html(&s, &k, NULL);
  ck_assert_int_eq(count(s.p, "<th>validation accuracy</th>"), 1);
  ck_assert_ptr_nonnull(strstr(s.p, "<tr class=\"best\"><td>3</td><td>float</td><td>0.4000</td><td>85.00 %</td><td>85.50 %</td><td></td></tr>"));
  for (int i = 0; i < 5; i++) p[i].validation_accuracy = NAN;
  s.n = 0;
  curves_html(&s, &k, NULL);
  ck_assert_ptr_null(strstr(s.p, "c-line c-valid\""));
  ck_assert_ptr_null(strstr(s.p, "validation accuracy"));
}
END_TEST

START_TEST(strange) {
  enum { N = 1000 };
  CurvePoint p[N];
  for (int i = 0; i < N; i++) p[i] = (CurvePoint){i + 1, 1, 1, 1, NAN};
  Curves k = {"", "", p, N, NULL, 0, NULL, 0};
  check_svg(&k); /* flat at 100 % */
  ck_assert_int_eq(count(s.p, "<circle"), 2);
  for (k.n_point = 0; k.n_point < 3; k.n_point++) check_svg(&k);
  k.n_point = N;
  for (int i = 0; i < N; i++) p[i] = (CurvePoint){i / 7.0, pow(10, i - 500), 0.5 + 1e-9 * i, i % 3 ? NAN : 0, 0.5};
  check_svg(&k);
  for (int i = 0; i < N; i++) p[i] = (CurvePoint){i, NAN, INFINITY, -INFINITY, INFINITY};
  check_svg(&k);
  for (int i = 0; i < N; i++) p[i] = (CurvePoint){NAN, -1, -1, 2, -1};
  check_svg(&k);
  p[0].epoch = 1e9;
  check_svg(&k);
  CurvePhase many[40];
  char name[500];
  memset(name, 'x', sizeof name);
  name[499] = 0;
  for (int i = 0; i < 40; i++) many[i] = (CurvePhase){name, i, i + 1};
  k = (Curves){name, name, points, 5, many, 40, NULL, 0};
  check_svg(&k);
  k.n_phase = 1;
  check_svg(&k);
  many[0] = (CurvePhase){"", 0, 0};
  k = (Curves){"", NULL, NULL, 0, many, 1, NULL, 0};
  check_svg(&k);
}
END_TEST

/* Families by the name up to the first dot, one panel each, whatever the names and numbers are. */
START_TEST(families) {
  double epoch[] = {1, 2, 3}, low[] = {0.1, NAN, 0.3}, high[] = {1e40, 2, -5}, same[] = {4, 4, 4}, one[] = {7};
  const CurveSeries series[] = {{"learning rate.all layers", epoch, low, 3}, {"wsvr.conv1", epoch, low, 3}, {"bits.conv1", epoch, same, 3}, {"wsvr.<conv2>", epoch, high, 3},
                                {"alone", epoch, one, 1}, {"wsvr", epoch, same, 0}, {"", epoch, same, 3}};
  Curves k = {"t", NULL, points, 5, phases, 2, series, 7};
  curves_html(&s, &k, NULL);
  char *body = strstr(s.p, "<body>");
  Str inner = {.ctx = c};
  str_putn(&inner, body, (size_t)(strstr(body, "</html>") - body));
  well_formed(inner.p);
  str_free(&inner);
  ck_assert_int_eq(count(s.p, "<svg"), 1 + 5);
  ck_assert_int_eq(count(s.p, "<h2>wsvr</h2>"), 1);
  ck_assert_ptr_nonnull(strstr(s.p, "<title>wsvr.&lt;conv2&gt;</title>"));
  ck_assert_int_eq(count(s.p, "nan"), 0);
  ck_assert_int_eq(count(s.p, "inf"), 0);
}
END_TEST

START_TEST(page) {
  Curves k = {"A & B", NULL, points, 5, phases, 2, NULL, 0};
  curves_html(&s, &k, "popshift: recipe/1\nnet: {onnx: <b>}\n");
  char *body = strstr(s.p, "<body>");
  ck_assert(!strncmp(s.p, "<!DOCTYPE html>", 15) && body);
  Str inner = {.ctx = c};
  str_putn(&inner, body, (size_t)(strstr(body, "</html>") - body));
  well_formed(inner.p);
  str_free(&inner);
  ck_assert_int_eq(count(s.p, "<tr"), 6);
  ck_assert_ptr_nonnull(strstr(s.p, "<tr class=\"best\"><td>4</td><td>w2 &lt;&amp;&quot;&#39;&gt; caf\?\?</td><td>0.5000</td><td>83.00 %</td><td>84.00 %</td></tr>"));
  ck_assert_ptr_nonnull(strstr(s.p, "<tr><td>3</td><td>float</td><td>0.4000</td><td>85.00 %</td><td></td></tr>"));
  ck_assert_ptr_nonnull(strstr(s.p, "<pre>popshift: recipe/1\nnet: {onnx: &lt;b&gt;}\n</pre>"));
  ck_assert_int_eq(count(s.p, "<svg"), 1);
  s.n = 0;
  curves_html(&s, &k, NULL);
  ck_assert_int_eq(count(s.p, "<pre>"), 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("train_curves");
  TCase *t = tcase_create("curves");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, ordinary);
  tcase_add_test(t, places);
  tcase_add_test(t, validation);
  tcase_add_test(t, strange);
  tcase_add_test(t, families);
  tcase_add_test(t, page);
  suite_add_tcase(suite, t);
  return suite_run(suite);
}
