/* Programs: names, builders, text, verifier. */
#include "ir/nest_impl.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

static const char good[] =
  "popshift.program 1\n"
  "program @kws index i32 {\n"
  "  in x : f32[490] port 0 \"inp.1\" f32[1,1,10,49]\n"
  "  in xs : i8[6] port 1 \"\" shift<3>[2,3]\n"
  "  out y : f32[12] port 0 \"out \\\"q\\\" \\x01\" f32[1,12]\n"
  "  rom w3 : i8[4] = {-128, 0, 1, 127}\n"
  "  rom w4 : f32[3] = {0.1, -0, inf}\n"
  "  rom w5 : u16[18] = hex\n"
  "    \"0000010002000300040005000600070008000900ff00ffff00010203fe00fe00\"\n"
  "    \"01020304\"\n"
  "  arena t4 : u8[256] at 0\n"
  "  arena t5 : f64[2] part cyclic 2 at 256\n"
  "  reg r : i32[16] part complete\n"
  "  plan 320 bound 272\n"
  "  nest n5_fc1 \"contract int, thresholds\" { ; node 5 \"fc1\" (MatMul)\n"
  "    for i 0..256 unroll {\n"
  "      var acc: i32 = 0\n"
  "      for k 0..490 step 2 pipeline ii 1 {\n"
  "        acc := add(acc, mul(cast<i32>(x[k]), 3))\n"
  "      }\n"
  "      if lt(acc, -7) {\n"
  "        t4[i] := cast<u8>(acc)\n"
  "      } else {\n"
  "        let v: i32x16 = r[0:16]\n"
  "        t4[i] := cast<u8>(hred(select(lt(i32x16(0), v), v, splat<16>(acc))))\n"
  "      }\n"
  "      for k 0..add(i, 1) max 256 {\n"
  "        r[mod(k, 16)] := cond(eq(k, 3), 5, r[0])\n"
  "      }\n"
  "    }\n"
  "  }\n"
  "  nest n6 {\n"
  "    let d: i32x4 = dot(0, u8x16(1), i8x16(-1))\n"
  "    let b: u8x16 = shuf(perm<15,14,13,12,11,10,9,8,7,6,5,4,3,2,1,0>(u8x16(9)), lut3<150>(1, 2, 3))\n"
  "    let e: i32x4 = @sdot_4(d, cast<i8>(b), 7)\n"
  "    let q: bool = isnan(f64(nan))\n"
  "    t5[1] := nan:fff8000000000001\n"
  "    t5[0:2] := -0.25\n"
  "    t5[0] := cast<f64>(t4[3])\n"
  "    y[cast<i32>(q)] := cast<f32>(hred(e))\n"
  "  }\n"
  "  run n5_fc1\n"
  "  run n6\n"
  "}\n";

static char *print(const Program *p) {
  Str s = {.ctx = ctx};
  program_print(&s, p);
  return s.p;
}

static Program *parse(const char *text) { return program_parse(ctx, "t.nest", text, strlen(text)); }

START_TEST(text_round_trip) {
  Program *p = parse(good);
  if (!p) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(p);
  char *text = print(p);
  ck_assert_str_eq(text, good);
  ck_assert_int_eq(p->nests[0]->loc.node, 5);
  ck_assert_str_eq(p->nests[0]->loc.op, "MatMul");
  ck_assert_int_eq(((const uint16_t *)p->bufs[5].rom)[17], 0x0403);
  free(text);
}
END_TEST

/* The good text with one place changed: the error names the line. */
static const struct { const char *from, *to; int line; const char *says; } wrong[] = {
  {"program 1", "program 2", 1, "version"},
  {"@kws", "@int", 2, "name"},
  {"index i32", "index u32", -1, "index type"},
  {"f32[490] port 0", "f32[491] port 0", -1, "port 0 does not fit"},
  {"port 0 \"inp.1\"", "port 2 \"inp.1\"", -1, "port 0 has no buffer"},
  {"port 1 \"\"", "port 0 \"\"", 4, "port number"},
  {"{-128,", "{-129,", 6, "number of the type"},
  {"i8[4]", "i8[5]", 6, "expected `,`"},
  {"u16[18]", "u16[19]", 0, "more data"},
  {"u16[18]", "u16[17]", 10, "end of the data"},
  {"u16[18]", "u16[281474976710656]", 8, "as much data"},
  {"fe00fe00", "fe00fe0g", 9, "hex"},
  {"part cyclic 2 at 256", "part cyclic 2 at 192", -1, "overlap"},
  {"part cyclic 2 at 256", "part cyclic 2 at 264", -1, "64-aligned"},
  {"plan 320", "plan 256", -1, "beyond the arena"},
  {"arena t5 : f64[2]", "arena t4 : f64[2]", 12, "free"},
  {"reg r : i32[16]", "reg r : f16[16]", -1, "element type"},
  {"reg r : i32[16]", "reg r : i31[16]", -1, "element type"},
  {"for i 0..256", "for i 0..256 step 0", 16, "step"},
  {"max 256", "", 27, "max"},
  {"var acc: i32 = 0", "let acc: i32 = 0", 19, "not a var"},
  {"x[k]", "x[acc2]", 19, "scope"},
  {"x[k]", "x2[k]", 19, "buffer"},
  {"cast<i32>(x[k])", "cast<i64>(x[k])", 19, "operand"},
  {"cast<i32>(x[k])", "x[k]", 19, "operand"},
  {"if lt(acc, -7)", "if add(acc, i32(-7))", 21, "condition"},
  {"t4[i] := cast<u8>(acc)", "x[i] := cast<f32>(acc)", 22, "read only"},
  {"t4[i] := cast<u8>(acc)", "t4[i] := acc", 22, "value"},
  {"t4[i] := cast<u8>(acc)", "t4[256] := cast<u8>(acc)", 22, "outside"},
  {"t4[i] := cast<u8>(acc)", "t4[i:2] := cast<u8>(acc)", 22, "lanes"},
  {"t4[i] := cast<u8>(acc)", "i := acc", 22, "not a var"},
  {"r[0:16]", "r[1:16]", 24, "outside"},
  {"let v: i32x16 = r[0:16]", "let v: i32x3 = r[0:3]", 24, "lanes"},
  {"select(lt(i32x16(0), v), v,", "select(v, v,", 25, "choice"},
  {"isnan(f64(nan))", "isnan(erf(f64(nan)))", 36, "not expanded"},
  {"isnan(f64(nan))", "isnan(nan)", 36, "TYPE(number)"},
  {"isnan(f64(nan))", "isnan(i32(1))", 36, "floats only"},
  {"isnan(f64(nan))", "add(bool(1), 1)", 36, "bool"},
  {"isnan(f64(nan))", "cast<bool>(bits<i32>(f64(1)))", 36, "width"},
  {"dot(0, u8x16(1), i8x16(-1))", "dot(0, u8x8(1), i8x16(-1))", 33, "dot"},
  {"perm<15,", "perm<16,", 34, "lane"},
  {"isnan(f64(nan))", "lt(relane<u64>(u8x4(1)), u64(1))", 36, "lanes"},
  {"isnan(f64(nan))", "lt(relane<i8>(u8(1)), i8(1))", 36, "relane"},
  {"isnan(f64(nan))", "lt(cast<i32>(mask(boolx4(1))), i32(1))", 36, "element type"},
  {"isnan(f64(nan))", "lt(perm<2>(i32(1), i32(2)), i32(1))", 36, "perm"},
  {"@sdot_4(d,", "@sdot_5(d,", 35, "intrin.def"},
  {"@sdot_4(d,", "@sdot_4($0,", 35, "argument"},
  {"nan:fff8000000000001", "nan:fff0000000000000", 37, "NaN"},
  {"for k 0..add(i, 1)", "for i 0..add(i, 1)", 27, "free"},
  {"let q: bool", "let t4: bool", 36, "free"},
  {"let q: bool", "let for: bool", 36, "free"},
  {"run n6", "run n7", 0, NULL},
  {"  run n6\n}\n", "  run n6\n", 44, "end of text"},
  {"  run n6\n}\n", "  run n6\n}\n}", 45, "expected the end"},
  {"\"contract int", "\"contract \\z", 15, "escape"},
};

START_TEST(text_errors) {
  const char *at = strstr(good, wrong[_i].from);
  ck_assert_ptr_nonnull(at);
  Str s = {.ctx = ctx};
  str_putn(&s, good, (size_t)(at - good));
  str_put(&s, wrong[_i].to);
  str_put(&s, at + strlen(wrong[_i].from));
  Program *p = program_parse(ctx, "t.nest", s.p, s.n);
  bool fine = !p && ctx->n_errors == 1 && ctx->diags->code == E0103;
  if (wrong[_i].line > 0) fine = fine && ctx->diags->loc.line == wrong[_i].line;
  if (wrong[_i].line < 0) fine = fine && ctx->diags->loc.line < 0;
  if (wrong[_i].says) fine = fine && strstr(ctx->diags->text, wrong[_i].says);
  if (!fine) diag_print(ctx, stderr, false);
  ck_assert_msg(fine, "case %d: %s", _i, wrong[_i].to);
  str_free(&s);
}
END_TEST

/* Every prefix of the text is refused, and no byte changed may do harm. */
START_TEST(text_cut_and_noise) {
  for (size_t n = 0; n + 2 < sizeof good; n++) {
    Ctx *c = ctx_new();
    ck_assert_ptr_null(program_parse(c, "t.nest", good, n));
    ck_assert_int_eq(c->n_errors, 1);
    ctx_free(c);
  }
  uint32_t seed = 1;
  char text[sizeof good];
  for (int i = 0; i < 20000; i++) {
    memcpy(text, good, sizeof good);
    for (int k = 0; k < 2; k++) {
      seed = seed * 1664525u + 1013904223u;
      text[(seed >> 8) % (sizeof good - 1)] = " ()[]{}<>,:;.=@$\"\\0179-abxirtfn\n"[(seed >> 3) % 32];
    }
    Ctx *c = ctx_new();
    Program *p = program_parse(c, "t.nest", text, sizeof good - 1);
    ck_assert(!p == (c->n_errors > 0));
    ctx_free(c);
  }
}
END_TEST

START_TEST(text_depth) {
  Str s = {.ctx = ctx};
  str_put(&s, "popshift.program 1 program @p index i32 { arena a : i32[1] nest n { a[0] := ");
  for (int i = 0; i < 100000; i++) str_put(&s, "neg(");
  ck_assert_ptr_null(program_parse(ctx, "t.nest", s.p, s.n));
  str_free(&s);
  s = (Str){.ctx = ctx};
  str_put(&s, "popshift.program 1 program @p index i32 { nest n { ");
  for (int i = 0; i < 100000; i++) str_put(&s, "if 1 {");
  ck_assert_ptr_null(program_parse(ctx, "t.nest", s.p, s.n));
  str_free(&s);
}
END_TEST

/* Names */

START_TEST(names) {
  Program *p = program_new(ctx, "net");
  ck_assert_str_eq(nest_name(p, "t", "4"), "t4");
  ck_assert_str_eq(nest_name(p, "t", "4"), "t4_2");
  ck_assert_str_eq(nest_name(p, "w", "conv1.weight"), "w_conv1_weight");
  ck_assert_str_eq(nest_name(p, NULL, "int"), "int_");
  ck_assert_str_eq(nest_name(p, NULL, "int"), "int__2");
  ck_assert_str_eq(nest_name(p, NULL, "__x__y"), "x_y");
  ck_assert_str_eq(nest_name(p, "", "9lives"), "v9lives");
  ck_assert_str_eq(nest_name(p, NULL, ""), "v");
  ck_assert_str_eq(nest_name(p, NULL, "*/ \n system(\"rm\")"), "system_rm");
  ck_assert_str_eq(nest_name(p, NULL, "\xc3\xa9t\xc3\xa9"), "t");
  const char *longest = nest_name(p, "n", "a/very/long/name/that/somebody/gave/to/his/layer/in/a/model");
  ck_assert_uint_le(strlen(longest), 40);
  const char *longest2 = nest_name(p, "n", "a/very/long/name/that/somebody/gave/to/his/layer/in/a/model/too");
  ck_assert_uint_le(strlen(longest2), 40);
  ck_assert_str_ne(longest, longest2);
  Nest *n = program_nest(p, nest_name(p, "n", "1"), NULL, NULL);
  ck_assert_str_eq(n->vars == NULL ? "" : "x", "");
  int a = nest_var(p, n, "i", nt(I32), true), b = nest_var(p, n, "i", nt(I32), true), c = nest_var(p, n, "t4", nt(I32), false);
  ck_assert_str_eq(n->vars[a].name, "i");
  ck_assert_str_eq(n->vars[b].name, "i_2");
  ck_assert_str_eq(n->vars[c].name, "t4_3"); /* t4 and t4_2 are buffers */
  ck_assert_str_eq(nest_name(p, NULL, "i"), "i_3"); /* i and i_2 would be hidden in the nest */
  const char *many[300];
  for (int i = 0; i < 300; i++) {
    many[i] = nest_name(p, "t", i % 2 ? "Relu" : "Relu_2");
    ck_assert(nest_name_ok(many[i]));
    for (int k = 0; k < i; k++) ck_assert_str_ne(many[i], many[k]);
  }
}
END_TEST

START_TEST(names_not_allowed) {
  static const char *const no[] = {"", "_a", "9", "a b", "int", "NULL", "y1", "ap_int", "while", "memcpy", "uint8_t", "nest",
                                   "a23456789012345678901234567890123456789012"};
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) ck_assert_msg(!nest_name_ok(no[i]), "%s", no[i]);
  ck_assert(nest_name_ok("a2345678901234567890123456789012345678_0"));
}
END_TEST

/* Builders */

START_TEST(folding) {
  Program *p = program_new(ctx, "net");
  Nest *n = program_nest(p, "n1", NULL, NULL);
  Expr *x = nx_var(p, n, nest_var(p, n, "x", nt(I32), false)), *c0 = nx_idx(p, 0), *c1 = nx_idx(p, 1), *c7 = nx_idx(p, 7);
  int64_t v;
  ck_assert_ptr_eq(nx2(p, S_ADD, x, c0), x);
  ck_assert_ptr_eq(nx2(p, S_ADD, c0, x), x);
  ck_assert_ptr_eq(nx2(p, S_SUB, x, c0), x);
  ck_assert_ptr_eq(nx2(p, S_MUL, c1, x), x);
  ck_assert_ptr_eq(nx2(p, S_DIV, x, c1), x);
  ck_assert(nx_is_const(nx2(p, S_MUL, x, c0), &v) && v == 0);
  ck_assert(nx_is_const(nx2(p, S_MOD, x, c1), &v) && v == 0);
  ck_assert(nx_is_const(nx2(p, S_ADD, c7, nx2(p, S_MUL, c7, c7)), &v) && v == 56);
  Expr *sum = nx2(p, S_ADD, nx2(p, S_ADD, x, c7), nx_idx(p, -7));
  ck_assert_ptr_eq(sum, x);
  Expr *prod = nx2(p, S_MUL, nx2(p, S_MUL, x, c7), c7);
  ck_assert(prod->a[0] == x && nx_is_const(prod->a[1], &v) && v == 49);
  Expr *yes = nx2(p, S_LT, c0, c1);
  ck_assert(yes->t.e.kind == EK_BOOL && nx_is_const(yes, &v) && v == 1);
  ck_assert_ptr_eq(nx_cond(p, yes, x, c7), x);
  ck_assert_ptr_eq(nx3(p, S_SELECT, yes, x, c7), x);
  ck_assert_ptr_eq(nx_cast(p, x, I32), x);
  ck_assert(nx_is_const(nx_cast(p, nx_idx(p, 300), U8), &v) && v == 44);
  ck_assert(nx_is_const(nx_const_i(p, nt(I8), 200), &v) && v == -56);
  ck_assert_ptr_eq(ns_name(p, n, &n->body, "y", x), x);
  Expr *y = ns_name(p, n, &n->body, "y", prod);
  ck_assert(y->kind == EX_VAR && n->body.first->kind == ST_LET);
}
END_TEST

START_TEST(lifetimes) {
  Program *p = program_new(ctx, "net");
  int t[4], first, last;
  for (int i = 0; i < 4; i++) t[i] = program_buf(p, nest_name(p, "t", NULL), F32, SP_ARENA, 8, NULL);
  for (int k = 0; k < 3; k++) {
    Nest *n = program_nest(p, nest_name(p, "n", NULL), NULL, NULL);
    Expr *i = nx_var(p, n, nest_var(p, n, "i", nt(I32), true));
    Stmt *s = ns_for(p, &n->body, i->var, nx_idx(p, 0), nx_idx(p, 8), 1, -1);
    ck_assert_int_eq(s->max, 8);
    ns_store(p, &s->body, t[k], i, k ? nx_load(p, t[k - 1], i, 1) : nx_const_f(p, nt(F32), 1));
  }
  buf_lifetime(p, t[0], &first, &last);
  ck_assert(first == 0 && last == 1);
  buf_lifetime(p, t[1], &first, &last);
  ck_assert(first == 1 && last == 2);
  buf_lifetime(p, t[3], &first, &last);
  ck_assert_int_gt(first, last);
  ck_assert(program_verify(ctx, p));
  p->nests[2]->body.first->step = 0;
  ck_assert(!program_verify(ctx, p));
  ck_assert_int_eq(ctx->diags->code, E0902);
}
END_TEST

int main(void) {
  Suite *s = suite_create("nest");
  TCase *t = tcase_create("nest");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 120);
  tcase_add_test(t, text_round_trip);
  tcase_add_loop_test(t, text_errors, 0, sizeof wrong / sizeof *wrong);
  tcase_add_test(t, text_cut_and_noise);
  tcase_add_test(t, text_depth);
  tcase_add_test(t, names);
  tcase_add_test(t, names_not_allowed);
  tcase_add_test(t, folding);
  tcase_add_test(t, lifetimes);
  suite_add_tcase(s, t);
  return suite_run(s);
}
