#include "ir/graph.h"
#include "tests/unit/suite.h"

#include <string.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

/* A node over these arguments; the rest of its text follows `%0: `. */
#define ARGS "%x: f32[2,3], %s: f32, %c: u8[2,3], %i: i8[3], %l: i64[3], %b: bool[2,3], %p: bases<1>[2,3], %p2: bases<2>[2,3], %h: shift<3>[2,3], " \
  "%w: u32[2,3], %v: u32[4,3], %q: u64[2,3], %n: f32[N,3], %m: f32[M,3], %k: f32[N<=9,3], %d: f64[2,3], %half: f16[2,3], %z: f32[0,3], " \
  "%r: i8[2], %t: i8[2,7], %wt: i8[4,3], %f: f32[4,3], %long: f32[1,1,1,1,1,1,1,1,1,2], %one: i8, %g3: f32[3], %lx: i64[2,3]"

static bool verifies(const char *node) {
  Str s = {.ctx = ctx};
  str_put(&s, "popshift.graph 1\ngraph @g(" ARGS ") -> () {\n%0: ");
  str_put(&s, node);
  str_put(&s, "\nreturn }");
  Graph *g = graph_parse(ctx, "t.ps", s.p, s.n);
  str_free(&s);
  return g;
}

static const char *const right[] = {
  "f32[2,3] = map add %x, %s", "bool[2,3] = map lt %x, %s", "f32[2,3] = map select %b, %x, %s", "i32[2,3] = map add %c, %c",
  "i9[2,3] = map sub %c, %i", "i32[2,3] = map cast %h", "f32[2,3] = map cast %b", "u8[2,3] = map shl %c, %c", "u8[2,3] = map shr %c, %b",
  "bases<1>[2,3] = map mul %p, %p", "bases<2>[2,3] = map select %b, %p2, %p2", "u64[2,3] = map add %q, %q", "bool[2,3] = map not %b",
  "f32[N,3] = map add %n, %s", "f32[N,3] = map add %n, %n", "u8[2,3] = map pop %w", "f16[2,3] = map sqrt %half", "f32[0,3] = map neg %z",
  "f32[6] = reshape %x", "f32[3,N] = reshape %n", "f32[N,1,3] = reshape %n", "f32[0] = reshape %z",
  "f32[3,2] = view %x [n m](m, n)", "f32[2,3] = view %x [n m](n*9223372036854775807, m)", "f32[9,9] = view %x [n m]((n-1)/2, m-3) fill=-7.5", "bases<1>[3,2] = view %p [n m](m, n)",
  "bases<1>[4,3] = view %p [n m](n, m) fill=-1", "f32[N,9] = view %n [n m](n, m-3)", "shift<3>[4,3] = view %h [n m](n, m) fill=-4",
  "f32[2,6] = concat %x, %x axis=1", "f32[2,3] = concat %x, %z axis=0", "f32[N,6] = concat %n, %n axis=1",
  "f32[2,3] = gather %x, %l axis=1", "f32[N,3] = gather %n, %l axis=1", "f32[3,3] = gather %n, %l axis=0",
  "f32 = reduce add %x [| c:2 i:3](c, i)", "i32[3] = reduce add %c [n | c:2](c, n)", "u8[3] = reduce max %c [n | c:2](c, n)", "bool[2] = reduce and %b [n | c:3](n, c)",
  "f32[N] = reduce add %n [n | c:3](n, c)", "i32[2] = reduce add %p [n | c:3](n, c)",
  "i64[2,1] = argreduce max %x axis=1", "i32[1,3] = argreduce min %c axis=0 flag=1", "f32[2,3] = cum mul %x axis=1 flag=3", "i64[3] = cum add %l axis=0",
  "i32[2,4] = contract mul %c, %wt [n m | c:3](n, c)(m, c) kernel=bitserial", "f32[2,4] = contract mul %x, %f [n m | c:3](n, c)(m, c) kernel=float",
  "i32[2,4] = contract and %w, %v [n m | c:3](n, c)(m, c)", "i32[2,4] = contract xor %w, %v, %wt [n m | c:3](n, c)(m, c)(m, c)",
  "i32[2,4] = contract mul %p, %wt [n m | c:3](n, c+1)(m, c)", "f32[N,4] = contract mul %n, %f [n m | c:3](n, c)(m, c)", "i32[4] = contract mul %h, %wt [n | c:3](0, c)(n, c) fill=4",
  "u8[2,3] = quant %x, %s, %c round=even lo=0 hi=255", "bases<1>[2,3] = quant %x, %s round=floor lo=-1 hi=1", "i4[2,3] = quant %x, %s, %s round=even lo=-7 hi=7",
  "f32[2,3] = dequant %c, %s", "f32[2,3] = dequant %c, %s, %i", "f32[2,3] = dequant %p, %d", "f16[2,3] = dequant %h, %s", "f32[2,3] = dequant %c, %s, %s",
  "u3[2,3] = thresholds %c, %t, %r, %r axis=0", "u8[2,3] = requant %c, %one, %one axis=0 shift=0 lo=0 hi=9", "u8 = requant %one, %one, %one axis=0 shift=1 lo=0 hi=9", "u8[2,3] = requant %c, %i, %l axis=1 shift=20 lo=0 hi=255",
  "u32[2,8,1] = pack %c axis=1", "u64[2,1,1] = pack %p axis=1", "u32[2,2,1] = pack %p2 axis=1",
  "f32[2,3] = bn %x, %g3, %g3, %g3, %g3 fill=1e-05", "f32[N,3] = bn %n, %g3, %g3, %g3, %g3", "f32[2,3] = bn_train %x, %g3, %g3", "f32[3] = bn_train %x, %g3, %g3 flag=2",
  "f32[2,3] = quant_grad %x, %x, %s lo=0 hi=3 fill=1.5", "f32[2,3] = quant_grad %x, %x, %g3 lo=-8 hi=7 flag=1", "f32[2,3] = bn_grad %x, %x, %g3", "f32[3] = bn_grad %x, %x, %g3 flag=1", "i64[2] = locate max %x [n | c:3](n, c)", "f32[7] = scatter %x, %lx",
  "i3[2] = const [-4, 3]", "u64 = const 18446744073709551615", "shift<3>[3] = const [-4, 0, 1]", "bases<1>[2] = const [-1, 1]", "bases<2>[2] = const [0, 3]",
};

static const char *const wrong[] = {
  /* map: arity, shapes, element types */
  "f32[2,3] = map add %x", "f32[2,3] = map neg %x, %x", "f32[3,2] = map neg %x", "f32[4,3] = map add %x, %f", "f32[2,3] = map add %x, %d", "f64[2,3] = map add %x, %x",
  "f32[2,3] = map add %x, %c", "i8[2,3] = map add %x, %x", "f32[2,3] = map add %c, %c", "f32[2,3] = map lt %x, %x", "f32[2,3] = map select %x, %x, %x",
  "f32[2,3] = map select %b, %x, %d", "f32[2,3] = map and %x, %x", "u8[2,3] = map sqrt %c", "u8[2,3] = map and %h, %h", "u8[2,3] = map shl %c, %i", "u64[2,3] = map add %q, %c",
  "i8[2,3] = map add %p2, %p2", "bases<1>[2,3] = map add %p, %p", "bases<1>[3] = map cast %i", "f32[2,3] = map cast %p2", "f32[2,3] = map bits %w", "f32[N,3] = map add %n, %m",
  "f32[N,3] = map add %n, %k", "f32[2,3] = map neg %n", "bool[2,3] = map isnan %c",
  /* training */
  "f32[2,3] = bn %x, %g3, %g3, %g3, %s", "f64[2,3] = bn %d, %g3, %g3, %g3, %g3", "f32[3] = bn_train %x, %g3, %g3", "f32[2,3] = bn_train %x, %g3, %g3 flag=1",
  "f32[3] = bn_train %x, %g3, %g3 flag=3", "f32[2,3] = quant_grad %x, %x, %s lo=0 hi=3 flag=2", "f32[2,3] = quant_grad %x, %x, %s lo=3 hi=0", "f32[2,3] = quant_grad %x, %d, %s lo=0 hi=3",
  "f32[2,3] = quant_grad %x, %x, %f lo=0 hi=3", "f32[4,3] = quant_grad %x, %x, %f lo=0 hi=3", "f32[2,3] = quant_grad %x, %x, %s lo=0 hi=8388608", "f32[2,3] = quant_grad %x, %x, %s lo=0 hi=3 fill=nan", "f32[2,3] = bn_grad %f, %x, %g3", "f32[3] = bn_grad %x, %x, %s flag=1", "i32[2] = locate max %x [n | c:3](n, c)", "i64[2] = locate add %x [n | c:3](n, c)",
  "f32[7] = scatter %x, %l", "i8[7] = scatter %x, %lx", "u8[7] = scatter %x, %lx",
  /* movement */
  "f32[5] = reshape %x", "u8[6] = reshape %x", "f32[M,3] = reshape %n", "f32[N,N,3] = reshape %n", "f32[6] = reshape %n",
  "u8[2,3] = view %x [n m](n, m)", "f32[2,3] = view %x [n m](n, (m)/0)", "f32[2] = view %x [n | c:3](n, c)",
  "f32[4,3] = view %x [n m](n*9223372036854775807, m)", "bases<1>[4,3] = view %p [n m](n, m)", "u8[4,3] = view %c [n m](n, m) fill=256", "u8[4,3] = view %c [n m](n, m) fill=0.5",
  "u8[4,3] = view %c [n m](n, m) fill=nan", "shift<3>[4,3] = view %h [n m](n, m) fill=3",
  "f32[2,7] = concat %x, %x axis=1", "f32[2,6] = concat %x, %x axis=2", "f32[2,6] = concat %x, %x axis=-1", "f32[2,6] = concat %x, %d axis=1", "f32[6,3] = concat %x, %n axis=0",
  "f32[4,6] = concat %x, %f axis=1", "f32[2,3] = gather %x, %x axis=1", "f32[2,3] = gather %x, %b axis=1", "f32[2,4] = gather %x, %l axis=1", "f32[2,3] = gather %x, %l axis=2",
  "u8[2,3] = gather %x, %l axis=1", "f32[1] = gather %long, %l axis=10", "f32[1,1,1,1,1,1,1,1,1,2] = gather %long, %c axis=0",
  /* reductions and scans */
  "f32[2] = reduce sub %x [n | c:3](n, c)", "i8[3] = reduce max %c [n | c:2](c, n)", "f32[3] = reduce add %c [n | c:2](c, n)", "f32[2] = reduce and %x [n | c:3](n, c)",
  "i32[2] = reduce add %p2 [n | c:3](n, c)", "bool[2] = reduce add %b [n | c:3](n, c)",
  "i64[2,1] = argreduce add %x axis=1", "i64[2] = argreduce max %x axis=1", "f32[2,1] = argreduce max %x axis=1", "i64[2,1] = argreduce max %x axis=1 flag=2",
  "f32[2,3] = cum max %x axis=1", "f32[2,3] = cum add %x axis=2", "f32[2,3] = cum add %x axis=0 flag=4", "i32[3] = cum add %l axis=0", "bool[2,3] = cum add %b axis=0",
  /* contractions */
  "i32[2,4] = contract add %c, %wt [n m | c:3](n, c)(m, c)", "f32[2,4] = contract mul %c, %wt [n m | c:3](n, c)(m, c)", "i32[2,4] = contract mul %x, %f [n m | c:3](n, c)(m, c)",
  "f32[2,4] = contract mul %x, %wt [n m | c:3](n, c)(m, c)", "f64[2,4] = contract mul %x, %f [n m | c:3](n, c)(m, c)", "i32[2,4] = contract and %c, %wt [n m | c:3](n, c)(m, c)",
  "f32[2,4] = contract and %x, %f [n m | c:3](n, c)(m, c)", "i32[2,2] = contract and %w, %q [n m | c:3](n, c)(m, c)", "i32[2,4] = contract mul %c, %wt [n m | c:4](n, c)(m, c)",
  "i32[2,5] = contract mul %c, %wt [n m | c:3](n, c)(m, c)", "i32[2,4] = contract mul %c, %wt [n m | c:3](n, c)(m, (c)/2)", "i32[2,4] = contract mul %c, %wt [n m | c:3](n, c)(m, c) kernel=float",
  "f32[2,4] = contract mul %x, %f [n m | c:3](n, c)(m, c) kernel=int", "i32[2,4] = contract mul %c, %wt [n m | c:3](n, c)(m, c) fill=0.5",
  "i32[2,4] = contract mul %p, %wt [n m | c:3](n, c+1)(m, c) fill=2", "i32[2,4] = contract mul %p2, %wt [n m | c:3](n, c)(m, c)",
  "f32[2,4] = contract mul %x, %f [n m | c:3](n*4611686018427387904+9223372036854775807, c)(m, c)",
  /* codes */
  "u8[2,3] = quant %x, %s round=even lo=0 hi=256", "u8[2,3] = quant %x, %s round=even lo=5 hi=4", "u8[2,3] = quant %c, %s round=even lo=0 hi=255", "u8[2,3] = quant %x, %c round=even lo=0 hi=255",
  "f32[2,3] = quant %x, %s round=even lo=0 hi=1", "shift<3>[2,3] = quant %x, %s round=even lo=0 hi=1", "u8[4,3] = quant %x, %f round=even lo=0 hi=1", "u8[2,3] = quant %x, %s, %p2 round=even lo=0 hi=1",
  "f32[2,3] = dequant %x, %s", "f32[2,3] = dequant %p2, %s", "u8[2,3] = dequant %c, %s", "f32[2,3] = dequant %c, %i", "f32[2,3] = dequant %c, %s, %p2",
  "u3[2,3] = thresholds %c, %t, %r, %r axis=1", "u3[2,3] = thresholds %x, %t, %r, %r axis=0", "u3[2,3] = thresholds %c, %t, %i, %r axis=0", "u3[2,3] = thresholds %c, %r, %r, %r axis=0",
  "f32[2,3] = thresholds %c, %t, %r, %r axis=0", "u3[2,3] = thresholds %c, %t, %s, %r axis=0", "u3[3,2] = thresholds %c, %t, %r, %r axis=0",
  "u8[2,3] = requant %c, %i, %l axis=0 shift=20 lo=0 hi=255", "u8[2,3] = requant %c, %i, %l axis=1 shift=64 lo=0 hi=255", "u8[2,3] = requant %c, %i, %l axis=1 shift=-1 lo=0 hi=255",
  "u8[2,3] = requant %c, %i, %l axis=1 shift=1 lo=-1 hi=255", "u8[2,3] = requant %x, %i, %l axis=1 shift=1 lo=0 hi=255", "u8[2,3] = requant %c, %s, %l axis=1 shift=1 lo=0 hi=255",
  "u32[8,3,1] = pack %c axis=0", "u16[2,8,1] = pack %c axis=1", "u32[2,8,2] = pack %c axis=1", "u32[2,7,1] = pack %c axis=1", "u32[2,8,1] = pack %x axis=1", "i32[2,8,1] = pack %c axis=1",
  "u32[2,3,1] = pack %h axis=1", "shift<3>[1] = const [3]", "bases<1>[1] = const [0]", "f32[4294967296,4294967296] = view %s [n m]()",
};

START_TEST(right_nodes_verify) {
  bool ok = verifies(right[_i]);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert_msg(ok, "%s", right[_i]);
}
END_TEST

START_TEST(wrong_nodes_do_not) {
  ck_assert_msg(!verifies(wrong[_i]), "%s", wrong[_i]);
  ck_assert_msg(ctx->diags->code == E0209, "%s: %s", wrong[_i], ctx->diags->text); /* it did parse */
  ck_assert_int_eq(ctx->n_errors, 1);
}
END_TEST

/* What text cannot say. Each case breaks one thing of a good graph. */
static Graph *good(void) {
  Graph *g = graph_new(ctx, "g", NULL);
  Type t = type_make(F32, 2, (int64_t[]){2, 3});
  Node *x = graph_arg(g, "x", &t), *y = graph_arg(g, "y", &t);
  Node *sum = node_map2(g, S_ADD, x, y), *w = node_transpose(g, sum, (int[]){1, 0});
  Node *p = node_matmul(g, sum, w, F32);
  graph_out(g, "p", p);
  graph_out(g, "q", sum);
  ck_assert(graph_verify(ctx, g));
  return g;
}

enum { ARG_X, ARG_Y, SUM, TRANSPOSE, PRODUCT };
static void break_id(Graph *g) { g->nodes[SUM]->id = 7; }
static void break_order(Graph *g) { g->nodes[SUM]->in[1] = g->nodes[PRODUCT]; }
static void break_self(Graph *g) { g->nodes[SUM]->in[1] = g->nodes[SUM]; }
static void break_foreign(Graph *g) { g->nodes[SUM]->in[1] = good()->nodes[ARG_Y]; }
static void break_null(Graph *g) { g->nodes[SUM]->in[1] = NULL; }
static void break_arity(Graph *g) { g->nodes[SUM]->n_in = 0; }
static void break_op(Graph *g) { g->nodes[SUM]->op = OP_COUNT; }
static void break_scalar(Graph *g) { g->nodes[SUM]->a.scalar = SCALAR_COUNT; }
static void break_attr(Graph *g) { g->nodes[SUM]->a.axis = 1; }
static void break_fill(Graph *g) { g->nodes[SUM]->a.fill = -0.0; }
static void break_no_iters(Graph *g) { g->nodes[TRANSPOSE]->a.iters = NULL; }
static void break_iters(Graph *g) { g->nodes[SUM]->a.iters = g->nodes[TRANSPOSE]->a.iters; }
static void break_n_out(Graph *g) { g->nodes[TRANSPOSE]->a.iters->n_out = 1; }
static void break_n_red(Graph *g) { g->nodes[PRODUCT]->a.iters->n_red = 15; }
static void break_coef(Graph *g) { g->nodes[TRANSPOSE]->a.iters->acc[0][0].coef[9] = 1; }
static void break_div(Graph *g) { g->nodes[TRANSPOSE]->a.iters->acc[0][0].div = 0; }
static void break_access(Graph *g) { g->nodes[TRANSPOSE]->a.iters->acc[0] = NULL; }
static void break_extent(Graph *g) { g->nodes[PRODUCT]->a.iters->red[0].n = -1; }
static void break_kind(Graph *g) { g->nodes[SUM]->t.e.kind = 99; }
static void break_bits(Graph *g) { g->nodes[SUM]->t.e.bits = 33; }
static void break_rank(Graph *g) { g->nodes[SUM]->t.rank = 99; }
static void break_dim(Graph *g) { g->nodes[ARG_X]->t.d[0].n = -2; }
static void break_sym(Graph *g) { g->nodes[ARG_X]->t.d[0].sym = 5; }
static void break_round(Graph *g) { g->nodes[SUM]->a.round = RND_UP; }
static void break_arg(Graph *g) { g->args[1] = g->args[0]; }
static void break_index(Graph *g) { g->nodes[ARG_Y]->a.index = 0; }
static void break_arg_name(Graph *g) { g->arg_names[1] = "x"; }
static void break_empty_name(Graph *g) { g->arg_names[1] = ""; }
static void break_out_name(Graph *g) { g->outs[1].name = "p"; }
static void break_out(Graph *g) { g->outs[1].v = NULL; }
static void break_fused_out(Graph *g) { g->nodes[SUM]->a.fused = true; }
static void break_fused_arg(Graph *g) { g->nodes[ARG_X]->a.fused = true; }
static void break_selected(Graph *g) { g->props = P_SELECTED; }
static void break_value(Graph *g) { node_const_f(g, F32, 1)->a.value = NULL; }
static void break_value_type(Graph *g) { node_const_f(g, F32, 1)->t.e = I32; }
static void break_half(Graph *g) { ((float *)node_const_f(g, F16, 1)->a.value->data)[0] = 1.0001f; }
static void break_bool(Graph *g) { ((uint8_t *)node_const_i(g, BOOL, 1)->a.value->data)[0] = 2; }
static void break_code(Graph *g) { ((int8_t *)node_const_i(g, INTK(3), 1)->a.value->data)[0] = 4; }
static void (*const breaks[])(Graph *) = {
  break_id, break_order, break_self, break_foreign, break_null, break_arity, break_op, break_scalar, break_attr, break_fill, break_no_iters, break_iters, break_n_out,
  break_n_red, break_coef, break_div, break_access, break_extent, break_kind, break_bits, break_rank, break_dim, break_sym, break_round, break_arg, break_index,
  break_arg_name, break_empty_name, break_out_name, break_out, break_fused_out, break_fused_arg, break_selected, break_value, break_value_type, break_half, break_bool, break_code,
};

START_TEST(broken_graphs_do_not_verify) {
  Graph *g = good();
  breaks[_i](g);
  int errors = ctx->n_errors;
  ck_assert_msg(!graph_verify(ctx, g), "case %d", _i);
  ck_assert_int_eq(ctx->n_errors, errors + 1);
}
END_TEST

START_TEST(static_means_no_symbols) {
  Graph *g = graph_new(ctx, "g", NULL);
  Type t = {.e = F32, .rank = 1, .d = {{-1, graph_sym(g, "N")}}};
  graph_arg(g, "x", &t);
  ck_assert(graph_verify(ctx, g));
  g->props = P_STATIC;
  ck_assert(!graph_verify(ctx, g));
}
END_TEST

int main(void) {
  Suite *s = suite_create("graph_verify");
  TCase *t = tcase_create("graph_verify");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, right_nodes_verify, 0, (int)(sizeof right / sizeof *right));
  tcase_add_loop_test(t, wrong_nodes_do_not, 0, (int)(sizeof wrong / sizeof *wrong));
  tcase_add_loop_test(t, broken_graphs_do_not_verify, 0, (int)(sizeof breaks / sizeof *breaks));
  tcase_add_test(t, static_means_no_symbols);
  suite_add_tcase(s, t);
  return suite_run(s);
}
