#include "ir/graph.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

static Graph *parse(const char *text) { return graph_parse(ctx, "t.ps", text, strlen(text)); }

/* Printed, then read and printed again: the same bytes. */
static char *round_trip(const Graph *g) {
  Str a = {.ctx = ctx}, b = {.ctx = ctx};
  graph_print(&a, g);
  Graph *h = graph_parse(ctx, "t.ps", a.p, a.n);
  if (!h) {
    diag_print(ctx, stderr, false);
    ck_abort_msg("%s", a.p);
  }
  graph_print(&b, h);
  ck_assert_str_eq(a.p, b.p);
  graph_free(h);
  str_free(&b);
  return a.p;
}

/* One of everything; prints to itself. */
static const char everything[] =
  "popshift.graph 1\n"
  "graph @\"a net\"(%x: u8[N,4], %\"in put\": f32[2,3], %b.1: f32[M<=64,\"batch size\"]) -> (%y: i32[N,2], %\"0\": f32[3,2], %x: u8[N,4], %again: i32[N,2]) {\n"
  "  props typed canon\n"
  "  fact \"popshift.classes\" \"cat\\ncaf\\xc3\\xa9 \\\"x\\\"\"\n"
  "  fact \"popshift.input\" \"\"\n"
  "  %0: i8[2,4] = const [1, -2, 3, 4, 5, 6, 7, -8]\n"
  "  %1: i32[N,2] = contract mul %x, %0 [n m | c:4](n, c)(m, c) kernel=int   ; node 5 \"fc\\\"1\\\"\" (Conv)\n"
  "  %2: f32 = const 0.5\n"
  "  %3: f64[6] = const [1e+300, -0, inf, -inf, nan, 0.1]\n"
  "  %4: f16[2] = const [0.5, 65504]\n"
  "  %5: u64[1] = const [18446744073709551615]\n"
  "  %6: shift<3>[3] = const [0, -4, 2]\n"
  "  %7: bases<1>[0,3] = const []\n"
  "  %8: f32[3,2] = view %\"in put\" [n m](m, n) fused   ; node \"\" (\"a b\")\n"
  "  %9: f32[3,2] = map mul %8, %2   ; node 7\n"
  "  %10: f32[4,5] = view %\"in put\" [n m]((n*2-m+1)/2, -m*3+7) fill=-0.5\n"
  "  %11: f32 = reduce add %10 [| c:4 i:5](c, i)\n"
  "  %12: i8[4,5] = quant %10, %2 round=half_up lo=-7 hi=7\n"
  "  %13: f32[4,5] = dequant %12, %2\n"
  "  %14: i32[4,1] = argreduce max %13 axis=1 flag=1\n"
  "  %15: f32[4,5] = cum add %13 axis=0\n"
  "  %16: f32[4,10] = concat %13, %15 axis=1\n"
  "  %17: f32[4,1,10] = gather %16, %14 axis=0\n"
  "  %18: u8[20] = reshape %19\n"
  "  return %1, %9, %x, %1\n"
  "}\n";

START_TEST(everything_prints_to_itself) {
  char *text = strdup(everything), *late = strstr(text, "  %18");
  memmove(late, strstr(text, "  return"), strlen(strstr(text, "  return")) + 1); /* without the node used too early */
  Graph *g = parse(text);
  if (!g) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(g);
  char *printed = round_trip(g);
  /* gather of a rank 2 index has rank 3 */
  ck_assert_str_eq(printed, text);
  ck_assert_str_eq(g->name, "a net");
  ck_assert_str_eq(g->arg_names[1], "in put");
  ck_assert_str_eq(g->outs[1].name, "0");
  ck_assert_ptr_eq(g->outs[2].v, g->args[0]);
  ck_assert_ptr_eq(g->outs[3].v, g->outs[0].v);
  ck_assert_int_eq(g->props, P_TYPED | P_CANON);
  ck_assert_int_eq(g->outs[0].v->loc.node, 5);
  ck_assert_str_eq(g->outs[0].v->loc.name, "fc\"1\"");
  ck_assert_str_eq(g->outs[0].v->loc.op, "Conv");
  ck_assert_str_eq(g->outs[0].v->loc.file, "t.ps");
  ck_assert_int_eq(g->outs[0].v->loc.line, 7);
  ck_assert_str_eq(graph_fact_get(g, "popshift.classes"), "cat\ncaf\xc3\xa9 \"x\"");
  ck_assert_ptr_null(graph_fact_get(g, "popshift.other"));
  free(printed);
  free(text);
  ck_assert_ptr_null(parse(everything));
}
END_TEST

START_TEST(names_numbers_and_comments_are_free) {
  Graph *g = parse("; a comment\npopshift.graph 1 graph @g (%x : f32[]) -> (%y:f32)\n{ ; more\n"
                   "%77: f32 = map neg ; no location\n   %x\n");
  ck_assert_ptr_null(g);
  g = parse("; a comment\npopshift.graph 1 graph @g (%x : f32[ 2 , 3 ]) -> (%y:f32[3,2]\n)\n{ ; more\n"
            "%t: f32[3,2] = view %x [row col](col+0, 1*row) ; nodes are counted from 0\r\n\n"
            "%77: f32[3,2] = map add %t,\n %t\n%\"77\": f32[3,2] = map neg %77\nreturn %\"77\" }");
  ck_assert_ptr_null(g); /* 1*row: a coefficient comes after its iterator */
  g = parse("; a comment\npopshift.graph 1 graph @g (%x : f32[ 2 , 3 ]) -> (%y:f32[3,2]\n)\n{ ; more\n"
            "%t: f32[3,2] = view %x [row col](col+0, row*1) ; nodes are counted from 0\r\n\n"
            "%77: f32[3,2] = map add %t,\n %t\n%\"77\": f32[3,2] = map neg %77\nreturn %\"77\" }");
  ck_assert_ptr_nonnull(g);
  char *text = round_trip(g);
  ck_assert_str_eq(text, "popshift.graph 1\ngraph @g(%x: f32[2,3]) -> (%y: f32[3,2]) {\n  %0: f32[3,2] = view %x [n m](m, n)\n"
                         "  %1: f32[3,2] = map add %0, %0\n  %2: f32[3,2] = map neg %1\n  return %2\n}\n");
  free(text);
}
END_TEST

static const Elem wide[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_INT, 5}, {EK_UINT, 16}, {EK_INT, 32}, {EK_UINT, 64}, {EK_BF16, 16}};

START_TEST(large_constants_are_shared_data) {
  Graph *g = graph_new(ctx, "g", NULL);
  Type t = type_make(wide[_i], 2, (int64_t[]){7, 11});
  Tensor *x = tensor_new(ctx, &t);
  uint32_t state = 7;
  for (int i = 0; i < 77; i++) {
    state = state * 1664525 + 1013904223;
    if (elem_is_float(t.e)) tensor_set_f(x, i, i == 5 ? -INFINITY : (double)(int32_t)state / 3e7);
    else tensor_set_i(x, i, t.e.bits > 31 ? (int32_t)state : (int64_t)(state >> 8) % elem_hi(t.e));
  }
  Node *a = node_const(g, x), *b = node_const(g, x), *c = node_const(g, tensor_copy(x));
  graph_out(g, "a", a);
  graph_out(g, "b", b);
  graph_out(g, "c", c);
  char *text = round_trip(g);
  ck_assert_ptr_nonnull(strstr(text, "const $0\n"));
  ck_assert_ptr_nonnull(strstr(text, "data $1: "));
  ck_assert_ptr_null(strstr(text, "$2"));
  Graph *h = parse(text);
  ck_assert(tensor_eq(h->outs[2].v->a.value, x));
  ck_assert_ptr_eq(h->outs[0].v->a.value, h->outs[1].v->a.value);
  free(text);
}
END_TEST

START_TEST(hex_is_little_endian) {
  Graph *g = parse("popshift.graph 1\ngraph @g() -> (%a: u16[2]) {\n%0: u16[2] = const $5\nreturn %0\n}\ndata $5: u16[2] = hex \"0102\"\n\"0304\"\n");
  ck_assert_ptr_nonnull(g);
  ck_assert_int_eq(tensor_i(g->outs[0].v->a.value, 0), 0x0201);
  ck_assert_int_eq(tensor_i(g->outs[0].v->a.value, 1), 0x0403);
}
END_TEST

START_TEST(extreme_accesses) {
  Graph *g = parse("popshift.graph 1\ngraph @g(%x: f32[2]) -> (%y: f32[1]) {\n"
                   "%0: f32[1] = view %x [n](-n*9223372036854775808+9223372036854775807)\nreturn %0\n}\n");
  ck_assert_ptr_nonnull(g);
  free(round_trip(g));
}
END_TEST

#define HEAD "popshift.graph 1\ngraph @g(%x: f32[2,3]) -> (%y: f32[2,3]) {\n"
#define TAIL "\nreturn %0\n}\n"
static const struct { int line; const char *text; } wrong[] = {
  {1, ""}, {1, "popshift.graph 2"}, {1, "popshift.graph 1"}, {2, "popshift.graph 1\ngraph g"}, {2, "popshift.graph 1\ngraph @g("},
  {2, "popshift.graph 1\ngraph @g(%x: f32[2,3], %x: f32[2])->(){return}"},
  {3, HEAD}, {3, HEAD "garbage"}, {4, HEAD "return %x\n"}, {3, HEAD "return %9 }"}, {4, HEAD "return %x }\nmore"},
  {3, HEAD "return %x, %x }"}, {4, HEAD "%0: f32[2] = const [1, 2]\nreturn %0 }"}, {3, HEAD "props wonderful\n"},
  {3, HEAD "fact \"classes\" \"a\"" TAIL}, {4, HEAD "fact \"popshift.a\"" TAIL}, {4, HEAD "fact \"popshift.a\" \"b\"\nfact \"popshift.a\" \"c\"" TAIL},
  {3, HEAD "%0: f32[2,3] = map neg %1" TAIL}, {3, HEAD "%0: f32[2,3] = map neg %0" TAIL}, {4, HEAD "%0: f32[2,3] = map neg %x\n%0: f32[2,3] = map neg %x" TAIL},
  {3, HEAD "%0: f32[2,3] = nothing %x" TAIL}, {3, HEAD "%0: f32[2,3] = arg" TAIL}, {3, HEAD "%0: f32[2,3] = map nothing %x" TAIL},
  {3, HEAD "%0: f32[2,3] = map none %x" TAIL}, {3, HEAD "%0: f32[2,3] = map neg" TAIL}, {3, HEAD "%0: f32[2,3] = map add %x, %x, %x, %x" TAIL},
  {3, HEAD "%0: f33[2,3] = map neg %x" TAIL}, {3, HEAD "%0: f32[2,-3] = map neg %x" TAIL}, {3, HEAD "%0: f32[99999999999999999999] = map neg %x" TAIL},
  {3, HEAD "%0: f32[1,1,1,1,1,1,1,1,1,1,1] = map neg %x" TAIL}, {3, HEAD "%0: f32[2,3] = map neg %x axis=1" TAIL},
  {3, HEAD "%0: f32[2,3] = map neg %x fused=1" TAIL}, {3, HEAD "%0: f32[2,3] = map neg %x %x" TAIL}, {3, HEAD "%0: f32[2,3] = cum add %x" TAIL},
  {3, HEAD "%0: f32[2,3] = cum add %x axis=1 axis=1" TAIL}, {3, HEAD "%0: f32[2,3] = cum add %x axis=4294967296" TAIL},
  {4, HEAD "%0: f32[2,3] = view %x" TAIL}, {3, HEAD "%0: f32[2,3] = view %x [n](n, n)" TAIL}, {3, HEAD "%0: f32[2,3] = view %x [n n](n, n)" TAIL},
  {3, HEAD "%0: f32[2,3] = view %x [n m](n)" TAIL}, {3, HEAD "%0: f32[2,3] = view %x [n m](n, k)" TAIL}, {3, HEAD "%0: f32[2,3] = view %x [n m](n, (m)/)" TAIL},
  {3, HEAD "%0: f32[2,3] = view %x [n m](n, m*9223372036854775808)" TAIL}, {3, HEAD "%0: f32[2,3] = view %x [n m](n, 9223372036854775807+1)" TAIL},
  {3, HEAD "%0: f32[2,3] = view %x [n m | a:1 b:1 c:1 d:1 e:1 f:1 g:1 h:1 i:1 j:1 k:1 l:1 o:1 p:1 q:1](n, m)" TAIL},
  {3, HEAD "%0: f32[2,3] = view %x [n m](n, m) fill=x" TAIL}, {3, HEAD "%0: f32[2,3] = view %x [n m](n, m) ; node 1 \"a" TAIL},
  {3, HEAD "%0: f32[2,3] = const [1,2,3,4,5]" TAIL}, {3, HEAD "%0: f32[2,3] = const [1,2,3,4,5,6,7]" TAIL}, {3, HEAD "%0: f32[2,3] = const 1" TAIL},
  {3, HEAD "%0: f32[1000000000,1000000000] = const [1]" TAIL}, {3, HEAD "%0: f32[N] = const [1]" TAIL}, {3, HEAD "%0: u8[1] = const [256]" TAIL},
  {3, HEAD "%0: u8[1] = const [1.5]" TAIL}, {3, HEAD "%0: i64[1] = const [9223372036854775808]" TAIL}, {3, HEAD "%0: u64[1] = const [-1]" TAIL},
  {3, HEAD "%0: f32[2,3] = const $0" TAIL}, {3, HEAD "%0: f32[100000] = const $0" TAIL "data $0: f32[100000] = hex \"00\""},
  {6, HEAD "%0: f32[2,3] = const $0" TAIL "data $0: f32[2,3] = hex \"000000000000000000000000000000000000000000000000\" \"00\""},
  {3, HEAD "%0: u8[1] = const $0" "\nreturn %x\n}\n"}, {6, HEAD "%0: u8[1,3] = const [1,2,3]" "\nreturn %x\n}\n" "data $0: u8[1] = hex \"00\""},
  {6, HEAD "%0: u8[1] = const $0" "\nreturn %x\n}\n" "data $0: u8[1] = hex \"0g\""}, {3, HEAD "%\"\\q\": u8[1] = const [1]" TAIL}, {3, HEAD "%\"\\x00\": u8[1] = const [1]" TAIL},
  {3, HEAD "%0: quux<9999999999999999999999> = const 1" TAIL}, {3, HEAD "%11111111111111111111111111: f32 = const 1" TAIL},
};

START_TEST(wrong_texts_are_located) {
  ck_assert_msg(!parse(wrong[_i].text), "%s", wrong[_i].text);
  ck_assert_int_eq(ctx->n_errors, 1);
  ck_assert_msg(ctx->diags->code == E0103, "%s", wrong[_i].text);
  ck_assert_str_eq(ctx->diags->loc.file, "t.ps");
  ck_assert_msg(ctx->diags->loc.line == wrong[_i].line, "line %d: %s: %s", ctx->diags->loc.line, ctx->diags->text, wrong[_i].text);
}
END_TEST

START_TEST(promises_are_not_allocated) {
  int64_t before = ctx->memory_used;
  ck_assert_ptr_null(parse(HEAD "%0: f32[268435456] = const $0\n%1: f32[268435456] = const $1" TAIL));
  ck_assert_int_lt(ctx->memory_used - before, 1 << 20);
  ck_assert_int_eq(ctx->diags->loc.line, 3);
}
END_TEST

START_TEST(limits_hold) {
  limit_set(ctx, "nodes", 2);
  ck_assert_ptr_null(parse(HEAD "%0: f32 = const 1\n%1: f32 = const 1\n%2: f32 = const 1" TAIL));
  ck_assert_int_eq(ctx->diags->code, E0402);
}
END_TEST

/* Every prefix, and every damaged byte of a text: read or refused with errors, nothing worse; what is read prints to itself. */
START_TEST(damaged_texts) {
  char text[sizeof everything + 200];
  strcpy(text, everything);
  strcpy(strstr(text, "  %18"), "  %18: u16[17] = const $0\n  return %1, %9, %x, %1\n}\ndata $0: u16[17] = hex\n"
                                "  \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0011\"\n");
  ck_assert_ptr_nonnull(parse(text));
  size_t n = strlen(text);
  uint32_t state = (uint32_t)_i + 1;
  for (size_t i = 0; i < n; i++) {
    Ctx *outer = ctx;
    ctx = ctx_new();
    Graph *g;
    if (_i == 0) {
      g = graph_parse(ctx, "t.ps", text, i);
    } else {
      state = state * 1664525 + 1013904223;
      char old = text[i];
      text[i] = _i & 1 ? "0%[](),:;*-/ \n\"<$x"[state >> 8 & 15] : (char)(state >> 24);
      g = graph_parse(ctx, "t.ps", text, n);
      text[i] = old;
    }
    if (g) free(round_trip(g));
    else ck_assert_int_gt(ctx->n_errors, 0);
    ctx_free(ctx);
    ctx = outer;
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("graph_text");
  TCase *t = tcase_create("graph_text");
  tcase_set_timeout(t, 60);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, everything_prints_to_itself);
  tcase_add_test(t, names_numbers_and_comments_are_free);
  tcase_add_loop_test(t, large_constants_are_shared_data, 0, (int)(sizeof wide / sizeof *wide));
  tcase_add_test(t, hex_is_little_endian);
  tcase_add_test(t, extreme_accesses);
  tcase_add_loop_test(t, wrong_texts_are_located, 0, (int)(sizeof wrong / sizeof *wrong));
  tcase_add_test(t, promises_are_not_allocated);
  tcase_add_test(t, limits_hold);
  tcase_add_loop_test(t, damaged_texts, 0, 8);
  suite_add_tcase(s, t);
  return suite_run(s);
}
