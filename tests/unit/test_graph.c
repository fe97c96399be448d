#include "ir/graph.h"
#include "tests/unit/suite.h"

#include <string.h>

static Ctx *ctx;
static Graph *g;
static void setup(void) { ctx = ctx_new(); g = graph_new(ctx, "g", NULL); }
static void teardown(void) { ctx_free(ctx); }

static Node *arg(const char *name, Elem e, int rank, const int64_t *d) {
  Type t = type_make(e, rank, d);
  return graph_arg(g, name, &t);
}
#define D(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

/* The last line before `return` of the printed graph. */
static void last_is(const char *want) {
  Str s = {.ctx = ctx};
  graph_print(&s, g);
  char *end = strstr(s.p, "\n  return"), *line = end;
  while (line[-1] != '\n') line--;
  *end = 0;
  ck_assert_str_eq(line + 2, want);
  str_free(&s);
  ck_assert(graph_verify(ctx, g));
}

START_TEST(tables) {
  for (int i = 0; i < OP_COUNT; i++) ck_assert(op_info[i].name && op_info[i].min_in <= op_info[i].max_in && *op_info[i].meaning);
  for (int i = 1; i < SCALAR_COUNT; i++) {
    ck_assert_int_eq(scalar_find(scalar_info[i].name), i);
    ck_assert(strchr("FIB", scalar_info[i].on) && strchr("ABC", scalar_info[i].result) && scalar_info[i].arity >= 1 && scalar_info[i].arity <= 3);
  }
  ck_assert_int_eq(scalar_find("nothing"), S_NONE);
  for (int i = 0; i < RND_COUNT; i++) ck_assert_ptr_nonnull(round_names[i]);
  for (int i = 0; i < KERNEL_COUNT; i++) ck_assert_ptr_nonnull(kernel_names[i]);
}
END_TEST

START_TEST(locations_are_copied) {
  char name[] = "fc1", op[] = "MatMul";
  g->at = (Loc){NULL, -1, 5, name, op};
  Node *a = arg("x", F32, D(2)), *b = node_map1(g, S_NEG, a);
  memset(name, 'z', 3);
  memset(op, 'z', 3);
  ck_assert_str_eq(a->loc.name, "fc1");
  ck_assert_str_eq(b->loc.op, "MatMul");
  Node *c = node_new(g, OP_MAP, &b->t, 1, &b, &(Attr){.scalar = S_ABS}, &(Loc){NULL, -1, 6, "other", NULL});
  ck_assert_str_eq(c->loc.name, "other");
  ck_assert_ptr_null(c->loc.op);
}
END_TEST

START_TEST(symbols_are_found_again) {
  char name[8];
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "s%d", i);
    ck_assert_uint_eq(graph_sym(g, name), i + 1);
  }
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "s%d", i);
    ck_assert_uint_eq(graph_sym(g, name), i + 1);
  }
}
END_TEST

START_TEST(maps_take_their_types_from_operands) {
  Node *a = arg("a", F32, D(2, 1, 4)), *b = arg("b", F32, D(3, 1)), *i = arg("i", I8, D(4));
  node_map2(g, S_ADD, a, b);
  last_is("%0: f32[2,3,4] = map add %a, %b");
  Node *c = node_map2(g, S_LT, a, b);
  last_is("%1: bool[2,3,4] = map lt %a, %b");
  node_map3(g, S_SELECT, c, a, b);
  last_is("%2: f32[2,3,4] = map select %1, %a, %b");
  node_map_as(g, S_ADD, INTK(9), 2, (Node *[]){i, i});
  last_is("%3: i9[4] = map add %i, %i");
  node_cast(g, i, F32);
  last_is("%4: f32[4] = map cast %i");
  ck_assert_ptr_eq(node_cast(g, i, I8), i);
}
END_TEST

START_TEST(movement_is_affine) {
  Node *x = arg("x", F32, D(2, 3, 4));
  node_transpose(g, x, (int[]){2, 0, 1});
  last_is("%0: f32[4,2,3] = view %x [n m y](m, y, n)");
  ck_assert_ptr_eq(node_transpose(g, x, (int[]){0, 1, 2}), x);
  node_slice(g, x, 2, 3, -2, 2);
  last_is("%1: f32[2,3,2] = view %x [n m y](n, m, -y*2+3)");
  ck_assert_ptr_eq(node_slice(g, x, 2, 0, 1, 4), x);
  node_pad(g, x, (int64_t[]){0, 1, -1}, (int64_t[]){0, 2, 0}, 0.5);
  last_is("%2: f32[2,6,3] = view %x [n m y](n, m-1, y+1) fill=0.5");
  Node *one = arg("one", F32, D(3, 1));
  node_broadcast(g, one, 3, (Dim[]){dim_c(5), dim_c(3), dim_c(7)});
  last_is("%3: f32[5,3,7] = view %one [n m y](m, 0)");
  node_reshape(g, x, 2, (Dim[]){dim_c(6), dim_c(4)});
  last_is("%4: f32[6,4] = reshape %x");
  node_concat(g, 2, (Node *[]){x, x}, 1);
  last_is("%5: f32[2,6,4] = concat %x, %x axis=1");
  Node *index = arg("index", I64, D(5, 6));
  node_gather(g, x, index, 1);
  last_is("%6: f32[2,5,6,4] = gather %x, %index axis=1");
}
END_TEST

START_TEST(reductions) {
  Node *x = arg("x", F32, D(2, 3, 4));
  node_reduce_axes(g, S_ADD, x, 5, false);
  last_is("%0: f32[3] = reduce add %x [n | c:2 i:4](c, n, i)");
  node_reduce_axes(g, S_MAX, x, 2, true);
  last_is("%1: f32[2,1,4] = reduce max %x [n m y | c:3](n, c, y)");
  node_reduce_axes(g, S_ADD, x, 7, false);
  last_is("%2: f32 = reduce add %x [| c:2 i:3 j:4](c, i, j)");
  Node *deep = arg("deep", F32, D(1, 2, 1, 2, 1, 2, 1, 2, 1, 2)); /* 10 + 10 iterators are too many */
  Node *y = node_reduce_axes(g, S_ADD, deep, 1023, true);
  ck_assert_int_eq(y->t.rank, 10);
  ck_assert_int_eq(y->op, OP_RESHAPE);
  ck_assert(graph_verify(ctx, g));
}
END_TEST

static const struct { int ra, rb; int64_t a[5], b[5]; const char *line; } products[] = {
  {2, 2, {2, 3}, {3, 4}, "%0: f32[2,4] = contract mul %a, %b [n m | c:3](n, c)(c, m)"},
  {1, 2, {3}, {3, 4}, "%0: f32[4] = contract mul %a, %b [n | c:3](c)(c, n)"},
  {2, 1, {2, 3}, {3}, "%0: f32[2] = contract mul %a, %b [n | c:3](n, c)(c)"},
  {1, 1, {3}, {3}, "%0: f32 = contract mul %a, %b [| c:3](c)(c)"},
  {4, 3, {5, 1, 2, 3}, {6, 3, 4}, "%0: f32[5,6,2,4] = contract mul %a, %b [n m y x | c:3](n, 0, y, c)(m, c, x)"},
  {3, 4, {7, 2, 3}, {5, 1, 3, 4}, "%0: f32[5,7,2,4] = contract mul %a, %b [n m y x | c:3](m, y, c)(n, 0, c, x)"},
  {3, 1, {7, 2, 3}, {3}, "%0: f32[7,2] = contract mul %a, %b [n m | c:3](n, m, c)(c)"},
  {1, 3, {3}, {7, 3, 4}, "%0: f32[7,4] = contract mul %a, %b [n m | c:3](c)(n, c, m)"},
  {2, 2, {2, 3}, {4, 3}, NULL},
  {3, 3, {2, 1, 3}, {4, 3, 1}, NULL},
  {0, 1, {0}, {3}, NULL},
};

START_TEST(matmul) {
  Node *a = arg("a", F32, products[_i].ra, products[_i].a), *b = arg("b", F32, products[_i].rb, products[_i].b);
  Node *y = node_matmul(g, a, b, F32);
  ck_assert_int_eq(!y, !products[_i].line);
  if (y) last_is(products[_i].line);
}
END_TEST

START_TEST(convolution) {
  Node *x = arg("x", U8, D(1, 4, 8, 9)), *w = arg("w", I8, D(6, 4, 3, 3)), *wg = arg("wg", I8, D(6, 2, 3, 3));
  int64_t stride[] = {2, 1}, dilation[] = {1, 2}, pad[] = {1, 0}, out[] = {4, 5};
  Node *y = node_conv(g, x, w, 1, stride, dilation, pad, out, 0, I32);
  last_is("%0: i32[1,6,4,5] = contract mul %x, %w [n m y x | c:4 i:3 j:3](n, c, y*2+i-1, x+j*2)(m, c, i, j)");
  ck_assert(!access_inside(y, 0) && access_inside(y, 1));
  pad[0] = 0;
  out[0] = 3;
  ck_assert(access_inside(node_conv(g, x, w, 1, stride, dilation, pad, out, 0, I32), 0));
  y = node_conv(g, x, wg, 2, stride, dilation, pad, out, 0, I32);
  last_is("%3: i32[1,6,3,5] = reshape %2");
  ck_assert_int_eq(y->in[0]->t.rank, 5);
  ck_assert_int_eq(y->in[0]->a.iters->acc[0][1].coef[1], 2); /* group * C/groups + c */
  ck_assert_int_eq(y->in[0]->a.iters->acc[1][0].coef[1], 3); /* group * M/groups + m */
  ck_assert(access_inside(y->in[0], 0) && access_inside(y->in[0], 1));
}
END_TEST

START_TEST(convolution_in_one_and_three_dimensions) {
  Node *x = arg("x", F32, D(2, 3, 8)), *w = arg("w", F32, D(4, 3, 3)), *x3 = arg("x3", F32, D(1, 1, 4, 4, 4)), *w3 = arg("w3", F32, D(1, 1, 2, 2, 2));
  int64_t one[] = {1, 1, 1}, zero[] = {0, 0, 0}, out[] = {6}, out3[] = {3, 3, 3};
  node_conv(g, x, w, 1, one, one, zero, out, 0, F32);
  last_is("%0: f32[2,4,6] = contract mul %x, %w [n m y | c:3 i:3](n, c, y+i)(m, c, i)");
  node_conv(g, x3, w3, 1, one, one, zero, out3, 0, F32);
  last_is("%1: f32[1,1,3,3,3] = contract mul %x3, %w3 [n m y x u | c:1 i:2 j:2 k:2](n, c, y+i, x+j, u+k)(m, c, i, j, k)");
}
END_TEST

/* Against enumeration: access_inside is exact for div 1. */
START_TEST(inside_is_exact) {
  Node *x = arg("x", F32, D(5));
  for (int64_t base = -6; base <= 6; base++)
    for (int64_t coef = -3; coef <= 3; coef++)
      for (int64_t n = 0; n <= 5; n++)
        for (int64_t div = 1; div <= 3; div++) {
          Affine a = affine_iter(0, coef, base);
          a.div = div;
          Type t = type_make(F32, 1, &n);
          bool inside = true;
          for (int64_t i = 0; i < n; i++) {
            int64_t v = base + coef * i;
            inside = inside && v >= 0 && v % div == 0 && v / div < 5;
          }
          ck_assert_int_eq(access_inside(node_view(g, x, &t, &a, 0), 0), inside);
        }
}
END_TEST

START_TEST(inside_does_not_overflow) {
  Node *x = arg("x", F32, D(5));
  Affine a = affine_iter(0, INT64_MAX / 2, 4);
  Type t = type_make(F32, 1, (int64_t[]){10});
  ck_assert(!access_inside(node_view(g, x, &t, &a, 0), 0));
}
END_TEST

START_TEST(uniform_constants) {
  double v;
  Type t = type_make(F32, 1, (int64_t[]){3});
  Tensor *x = tensor_new(ctx, &t);
  for (int i = 0; i < 3; i++) tensor_set_f(x, i, 2.5);
  ck_assert(node_uniform(node_const(g, x), &v) && v == 2.5);
  ck_assert(node_uniform(node_const_f(g, F64, -0.0), &v) && v == 0);
  ck_assert(node_uniform(node_const_i(g, I64, INT64_C(1) << 62), &v) && v == 0x1p62);
  ck_assert(!node_uniform(node_const_i(g, I64, INT64_MAX), &v));
  Tensor *zeros = tensor_new(ctx, &t);
  tensor_set_f(zeros, 1, -0.0);
  ck_assert(!node_uniform(node_const(g, zeros), &v));
  t = type_make(F32, 1, (int64_t[]){0});
  ck_assert(!node_uniform(node_const(g, tensor_new(ctx, &t)), &v));
  ck_assert(!node_uniform(arg("x", F32, D(1)), &v));
}
END_TEST

START_TEST(attributes_compare) {
  Node *x = arg("x", F32, D(2, 3)), *y = arg("y", F32, D(2, 3));
  ck_assert(attr_eq(node_map1(g, S_NEG, x), node_map1(g, S_NEG, y)));
  ck_assert(!attr_eq(node_map1(g, S_NEG, x), node_map1(g, S_ABS, x)));
  ck_assert(attr_eq(node_transpose(g, x, (int[]){1, 0}), node_transpose(g, y, (int[]){1, 0})));
  ck_assert(!attr_eq(node_slice(g, x, 1, 0, 1, 2), node_slice(g, x, 1, 1, 1, 2)));
  ck_assert(attr_eq(node_const_f(g, F32, 1), node_const_f(g, F32, 1)));
  ck_assert(!attr_eq(node_const_f(g, F32, 0.0), node_const_f(g, F32, -0.0)));
}
END_TEST

/* neg(neg(x)) -> x */
static Node *drop_neg(Rewrite *rw, const Node *n, Node *const *in) {
  ck_assert_int_eq(rw->uses[n->id] > 0, 1);
  if (!node_is_map(n, S_NEG) || !node_is_map(in[0], S_NEG)) return NULL;
  rw->changes++;
  return in[0]->in[0];
}
static Node *refuse(Rewrite *rw, const Node *n, Node *const *in) {
  (void)in;
  diag(rw->old->ctx, E0302, &n->loc, "no");
  return NULL;
}

START_TEST(rewriting) {
  int changes = 0;
  Type ts = {.e = F32, .rank = 2, .d = {{-1, graph_sym(g, "N")}, {3, 0}}};
  Node *unused = arg("unused", F32, D(1)), *x = graph_arg(g, "x", &ts);
  g->at = (Loc){NULL, -1, 3, "layer", "Neg"};
  Node *y = node_map1(g, S_NEG, node_map1(g, S_NEG, x)), *dead = node_map1(g, S_ABS, x), *z = node_map1(g, S_ABS, y);
  (void)unused;
  (void)dead;
  graph_out(g, "z", z);
  graph_out(g, "same", x);
  g->props = P_TYPED;
  Graph *h = graph_rewrite(g, drop_neg, NULL, &changes);
  graph_free(g);
  ck_assert_int_eq(changes, 1);
  ck_assert(graph_verify(ctx, h));
  Str s = {.ctx = ctx};
  graph_print(&s, h);
  ck_assert_str_eq(s.p, "popshift.graph 1\ngraph @g(%unused: f32[1], %x: f32[N,3]) -> (%z: f32[N,3], %same: f32[N,3]) {\n  props typed\n"
    "  %0: f32[N,3] = map neg %x   ; node 3 \"layer\" (Neg)\n  %1: f32[N,3] = map abs %x   ; node 3 \"layer\" (Neg)\n  return %1, %x\n}\n");
  str_free(&s);
  ck_assert_ptr_null(graph_rewrite(h, refuse, NULL, NULL));
  ck_assert_int_eq(ctx->n_errors, 1); /* stopped at once */
  ck_assert(graph_verify(ctx, h));
}
END_TEST

int main(void) {
  Suite *s = suite_create("graph");
  TCase *t = tcase_create("graph");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, tables);
  tcase_add_test(t, locations_are_copied);
  tcase_add_test(t, symbols_are_found_again);
  tcase_add_test(t, maps_take_their_types_from_operands);
  tcase_add_test(t, movement_is_affine);
  tcase_add_test(t, reductions);
  tcase_add_loop_test(t, matmul, 0, (int)(sizeof products / sizeof *products));
  tcase_add_test(t, convolution);
  tcase_add_test(t, convolution_in_one_and_three_dimensions);
  tcase_add_test(t, inside_is_exact);
  tcase_add_test(t, inside_does_not_overflow);
  tcase_add_test(t, uniform_constants);
  tcase_add_test(t, attributes_compare);
  tcase_add_test(t, rewriting);
  suite_add_tcase(s, t);
  return suite_run(s);
}
