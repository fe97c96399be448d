/* Gradients against central differences in binary64: every row of scalar.def, every structural rule, fake quantization
 * against the straight-through surrogate, and UniQ's Eq. 6. */
#include "tests/unit/suite.h"
#include "trainer/diff.h"

#include <math.h>
#include <stdlib.h>

typedef struct Rig { Ctx *ctx; Graph *g; int n; Node *arg[4]; Tensor *x[4]; uint64_t seed; } Rig;

static double uniform(Rig *r) { /* in (-1, 1), never near 0 */
  r->seed = r->seed * 6364136223846793005u + 1442695040888963407u;
  double v = (double)(r->seed >> 11) * 0x1p-53;
  return (v < 0.5 ? -1 : 1) * (0.1 + 0.9 * fabs(2 * v - 1));
}

static Rig rig(void) {
  Ctx *ctx = ctx_new();
  return (Rig){.ctx = ctx, .g = graph_new(ctx, "t", NULL), .seed = 7};
}

static Node *input(Rig *r, Elem e, int rank, const int64_t *d, double scale, double shift) {
  Type t = type_make(e, rank, d);
  r->x[r->n] = tensor_new(r->ctx, &t);
  for (int64_t i = 0; i < r->x[r->n]->n; i++) tensor_set_f(r->x[r->n], i, uniform(r) * scale + shift);
  char name[16];
  snprintf(name, sizeof name, "x%d", r->n);
  return r->arg[r->n++] = graph_arg(r->g, name, &t);
}
#define IN(...) input(&r, F64, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}, 1, 0)
#define IN_AT(scale, shift, ...) input(&r, F64, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}, scale, shift)

static double loss(Rig *r, const Tensor *dy) {
  Tensor *out[8] = {NULL};
  ck_assert(graph_eval(r->ctx, r->g, r->x, out, NULL, NULL));
  double sum = 0;
  for (int64_t i = 0; i < dy->n; i++) sum += tensor_f(out[0], i) * tensor_f(dy, i);
  for (int i = 0; i < r->g->n_outs; i++) tensor_free(out[i]);
  return sum;
}

/* Differentiates y and compares with (loss(x + h) - loss(x - h)) / 2h at every element of every input. */
static void check_close(Rig *r, Node *y, double h, double tolerance) {
  ck_assert_ptr_nonnull(y);
  Tensor *dy = tensor_new(r->ctx, &y->t);
  for (int64_t i = 0; i < dy->n; i++) tensor_set_f(dy, i, uniform(r));
  Node *grad[4] = {NULL};
  bool ok = graph_vjp(r->g, y, node_const(r->g, dy), r->arg, r->n, grad);
  if (!ok) diag_print(r->ctx, stderr, false);
  ck_assert(ok);
  graph_out(r->g, "y", y);
  for (int k = 0; k < r->n; k++) {
    ck_assert_ptr_nonnull(grad[k]);
    ck_assert(type_eq(&grad[k]->t, &r->arg[k]->t));
    char name[16];
    snprintf(name, sizeof name, "d%d", k);
    graph_out(r->g, name, grad[k]);
  }
  ok = graph_verify(r->ctx, r->g);
  if (!ok) diag_print(r->ctx, stderr, false);
  ck_assert(ok);
  Tensor *out[8] = {NULL};
  ck_assert(graph_eval(r->ctx, r->g, r->x, out, NULL, NULL));
  for (int k = 0; k < r->n; k++)
    for (int64_t i = 0; i < r->x[k]->n; i++) {
      double x = tensor_f(r->x[k], i);
      tensor_set_f(r->x[k], i, x + h);
      double up = loss(r, dy);
      tensor_set_f(r->x[k], i, x - h);
      double down = loss(r, dy), got = tensor_f(out[1 + k], i), want = (up - down) / (2 * h);
      tensor_set_f(r->x[k], i, x);
      ck_assert_msg(fabs(got - want) <= tolerance * (1 + fabs(want)), "input %d element %d: %.9g, differences say %.9g", k, (int)i, got, want);
    }
  ctx_free(r->ctx);
}
static void check(Rig *r, Node *y) { check_close(r, y, 1e-5, 1e-6); }

START_TEST(rows) {
  static const struct { Scalar s; double scale, shift; } at[] = {
    {S_ADD, 1, 0}, {S_SUB, 1, 0}, {S_MUL, 1, 0}, {S_DIV, 1, 0}, {S_MOD, 1, 3.2}, {S_FMOD, 1, 3.2}, {S_POW, 0.8, 1.5}, {S_MAX, 1, 0}, {S_MIN, 1, 0},
    {S_NEG, 1, 0}, {S_ABS, 1, 0}, {S_SQRT, 1, 1.5}, {S_EXP, 1, 0}, {S_LOG, 1, 1.5}, {S_SIN, 1, 0}, {S_COS, 1, 0}, {S_TAN, 1, 0},
    {S_ASIN, 0.9, 0}, {S_ACOS, 0.9, 0}, {S_ATAN, 1, 0}, {S_SINH, 1, 0}, {S_COSH, 1, 0}, {S_TANH, 1, 0}, {S_ASINH, 1, 0}, {S_ACOSH, 0.8, 2.5},
    {S_ATANH, 0.9, 0}, {S_ERF, 1, 0}};
  bool seen[SCALAR_COUNT] = {false};
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    Rig r = rig();
    Node *a = IN_AT(at[i].scale, at[i].shift, 2, 3), *b = scalar_info[at[i].s].arity > 1 ? IN_AT(at[i].scale, at[i].shift, 3) : NULL;
    seen[at[i].s] = true;
    check(&r, b ? node_map2(r.g, at[i].s, a, b) : node_map1(r.g, at[i].s, a));
  }
  for (int s = 1; s < SCALAR_COUNT; s++) { /* a row with formulas is tried above or below */
    ck_assert_msg(derivatives[s].known, "%s has no row in derive.def", scalar_info[s].name);
    if (derivatives[s].operand[0]) ck_assert_msg(seen[s] || s == S_CAST, "%s is not tried", scalar_info[s].name);
  }
}
END_TEST

START_TEST(select_and_cast) {
  Rig r = rig();
  Node *a = IN(2, 3), *b = IN(3);
  check(&r, node_map3(r.g, S_SELECT, node_map2(r.g, S_LT, a, node_const_f(r.g, F64, 0.2)), node_map2(r.g, S_MUL, a, b), b));
  r = rig();
  a = input(&r, F32, 1, (int64_t[]){5}, 1, 0);
  check_close(&r, node_cast(r.g, a, F64), 1e-2, 1e-4);
}
END_TEST

START_TEST(broadcasts) {
  Rig r = rig();
  Node *a = IN(2, 1, 3), *b = IN(4, 1);
  check(&r, node_map2(r.g, S_MUL, a, b));
  r = rig();
  a = IN(2, 1);
  check(&r, node_broadcast(r.g, a, 3, (Dim[]){{3, 0}, {2, 0}, {4, 0}}));
}
END_TEST

START_TEST(movement) {
  Rig r = rig();
  check(&r, node_transpose(r.g, IN(2, 3, 4), (int[]){2, 0, 1}));
  r = rig();
  check(&r, node_slice(r.g, IN(3, 9), 1, 7, -2, 4));
  r = rig();
  check(&r, node_slice(r.g, IN(3, 9), 1, 4, 1, 1));
  r = rig();
  check(&r, node_pad(r.g, IN(2, 3), (int64_t[]){1, 2}, (int64_t[]){0, -1}, 0));
  r = rig();
  Node *a = IN(2, 3), *b = IN(2, 2);
  check(&r, node_concat(r.g, 2, (Node *[]){a, b}, 1));
  r = rig();
  a = IN(2, 6);
  check(&r, node_map2(r.g, S_MUL, node_reshape(r.g, a, 2, (Dim[]){{3, 0}, {4, 0}}), IN(4)));
  r = rig();
  Type it = type_make(I64, 1, (int64_t[]){4});
  Tensor *index = tensor_new(r.ctx, &it);
  for (int i = 0; i < 4; i++) tensor_set_i(index, i, (int64_t[]){2, 0, -1, 2}[i]);
  check(&r, node_gather(r.g, IN(2, 3, 2), node_const(r.g, index), 1));
  for (int flag = 0; flag < 4; flag++) {
    r = rig();
    a = IN(2, 4);
    check(&r, node_new(r.g, OP_CUM, &a->t, 1, &a, &(Attr){.scalar = S_ADD, .axis = 1, .flag = flag}, NULL));
  }
}
END_TEST

START_TEST(reductions) {
  for (int keep = 0; keep < 2; keep++) {
    Rig r = rig();
    check(&r, node_reduce_axes(r.g, S_ADD, IN(2, 3, 4), 5, keep));
    r = rig();
    check(&r, node_reduce_axes(r.g, S_MAX, IN(2, 3, 4), 6, keep));
    r = rig();
    check(&r, node_reduce_axes(r.g, S_MIN, IN(2, 3, 4), 1, keep));
  }
}
END_TEST

/* Pools: windows that overlap, leave remainders, reach outside. */
static Node *pool(Rig *r, Scalar s, Node *x, int64_t k, int64_t stride, int64_t pad, int64_t out) {
  Type t = x->t;
  t.d[2] = dim_c(out);
  Affine acc[3] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0), affine_iter(2, stride, -pad)};
  acc[2].coef[3] = 1;
  Iters it = {.n_out = 3, .n_red = 1, .red = {dim_c(k)}, .acc = {acc}};
  return node_reduce(r->g, s, x, &t, &it);
}

START_TEST(pools) {
  static const int64_t shape[][4] = {{2, 2, 0, 4}, {3, 2, 1, 4}, {3, 1, 1, 9}, {2, 3, 0, 3}};
  for (int i = 0; i < 4; i++)
    for (int max = 0; max < 2; max++) {
      Rig r = rig();
      check(&r, pool(&r, max ? S_MAX : S_ADD, IN(2, 3, 9), shape[i][0], shape[i][1], shape[i][2], shape[i][3]));
    }
}
END_TEST

START_TEST(products) {
  Rig r = rig();
  Node *a = IN(3, 4), *b = IN(4, 2);
  check(&r, node_matmul(r.g, a, b, F64));
  r = rig();
  a = IN(2, 1, 3, 4), b = IN(3, 4, 2);
  check(&r, node_matmul(r.g, a, b, F64));
  r = rig();
  a = IN(4), b = IN(3, 4, 2);
  check(&r, node_matmul(r.g, a, b, F64));
}
END_TEST

START_TEST(convolutions) {
  static const struct { int groups; int64_t in, k, stride, dilation, pad, out; } c[] = {
    {1, 7, 3, 1, 1, 0, 5}, {1, 7, 3, 1, 1, 1, 7}, {1, 8, 3, 2, 1, 1, 4}, {2, 7, 3, 1, 2, 2, 7}, {4, 7, 2, 3, 1, 0, 2}, {1, 5, 1, 2, 1, 0, 3}, {2, 9, 5, 2, 1, 2, 5}, {1, 1, 3, 1, 1, 1, 1}, {1, 2, 3, 2, 1, 1, 1}};
  for (size_t i = 0; i < sizeof c / sizeof *c; i++)
    for (int nd = 1; nd < 3; nd++) {
      Rig r = rig();
      int64_t xd[4] = {2, 4, c[i].in, c[i].in}, wd[4] = {4, 4 / c[i].groups, c[i].k, c[i].k}, two[2][5];
      Node *x = input(&r, F64, 2 + nd, xd, 1, 0), *w = input(&r, F64, 2 + nd, wd, 1, 0);
      for (int d = 0; d < nd; d++) two[0][d] = c[i].stride, two[1][d] = c[i].dilation;
      check(&r, node_conv(r.g, x, w, c[i].groups, two[0], two[1], (int64_t[]){c[i].pad, c[i].pad}, (int64_t[]){c[i].out, c[i].out}, 0, F64));
    }
}
END_TEST

/* Fake quantization: the surrogate replaces rounding by the identity plus the rounding error at the point, which stays. */
static double surrogate(double x, double scale, double zp, double lo, double hi, double x0, double scale0) {
  double u0 = x0 / scale0 + zp, c0 = fmin(fmax(u0, lo), hi), u = x / scale + zp;
  double error = rint(c0) - c0, q = (u0 <= lo ? lo : u0 >= hi ? hi : u) + error;
  return (q - zp) * scale;
}

START_TEST(fake_quant) {
  for (int bits = 1; bits <= 8; bits++)
    for (int weights = 0; weights < 2; weights++) {
      Rig r = rig();
      Node *x = IN_AT(2, 0, 40), *scale = IN_AT(0.01, weights ? 0.7 : 0.4, 1);
      double hi = (1 << bits) - 1, z = weights ? hi / 2 : 0, h = 1e-6;
      Node *zp = node_const_f(r.g, F64, z);
      Node *q = node_quant(r.g, x, scale, weights ? zp : NULL, UINTK(bits), 0, (int64_t)hi, RND_EVEN);
      Node *y = node_dequant(r.g, q, scale, weights ? zp : NULL, F64), *grad[2];
      Tensor *dy = tensor_new(r.ctx, &y->t), *out[3] = {NULL};
      for (int i = 0; i < 40; i++) tensor_set_f(dy, i, uniform(&r));
      ck_assert(graph_vjp(r.g, y, node_const(r.g, dy), r.arg, 2, grad));
      graph_out(r.g, "y", y), graph_out(r.g, "dx", grad[0]), graph_out(r.g, "ds", grad[1]);
      bool ok = graph_verify(r.ctx, r.g) && graph_eval(r.ctx, r.g, r.x, out, NULL, NULL);
      if (!ok) diag_print(r.ctx, stderr, false);
      ck_assert(ok);
      double s = tensor_f(r.x[1], 0), ds = 0, uniq = 0, alpha = s * hi / 2;
      for (int i = 0; i < 40; i++) {
        double v = tensor_f(r.x[0], i), g = tensor_f(dy, i), yi = tensor_f(out[0], i);
        ck_assert_double_eq_tol(yi, surrogate(v, s, z, 0, hi, v, s), 1e-12);
        double dx = (surrogate(v + h, s, z, 0, hi, v, s) - surrogate(v - h, s, z, 0, hi, v, s)) / (2 * h);
        ck_assert_double_eq_tol(tensor_f(out[1], i), g * dx, 1e-8);
        ds += g * (surrogate(v, s + h, z, 0, hi, v, s) - surrogate(v, s - h, z, 0, hi, v, s)) / (2 * h);
        if (weights) uniq += g * (fabs(v) < alpha ? rint(v / s - 0.5 + (hi + 1) / 2) - (hi + 1) / 2 + 0.5 - v / s : (v < 0 ? -1 : 1) * hi / 2); /* Eq. 6 */
        else uniq += g * (v <= 0 ? 0 : v < s * hi ? rint(v / s) - v / s : hi);
      }
      ck_assert_double_eq_tol(tensor_f(out[2], 0), ds, 1e-6);
      ck_assert_double_eq_tol(tensor_f(out[2], 0), uniq, 1e-9);
      ctx_free(r.ctx);
    }
}
END_TEST

START_TEST(fake_quant_alone) { /* a quant whose dequant has another scale */
  Rig r = rig();
  Node *x = IN(30), *s1 = IN_AT(0.01, 0.3, 1), *s2 = IN_AT(0.01, 0.5, 1), *grad[3];
  Node *y = node_dequant(r.g, node_quant(r.g, x, s1, NULL, INTK(3), -2, 2, RND_EVEN), s2, NULL, F64);
  Tensor *one = tensor_new(r.ctx, &y->t), *out[3] = {NULL};
  for (int i = 0; i < 30; i++) tensor_set_f(one, i, 1);
  ck_assert(graph_vjp(r.g, y, node_const(r.g, one), r.arg, 3, grad));
  for (int i = 0; i < 3; i++) graph_out(r.g, (const char *[]){"a", "b", "c"}[i], grad[i]);
  ck_assert(graph_verify(r.ctx, r.g) && graph_eval(r.ctx, r.g, r.x, out, NULL, NULL));
  double a = tensor_f(r.x[1], 0), b = tensor_f(r.x[2], 0), d1 = 0, d2 = 0;
  for (int i = 0; i < 30; i++) {
    double v = tensor_f(r.x[0], i), u = v / a, q = fmin(fmax(rint(u), -2), 2);
    bool in = u > -2 && u < 2;
    ck_assert_double_eq_tol(tensor_f(out[0], i), in ? b / a : 0, 1e-12);
    d1 -= in ? b * v / (a * a) : 0;
    d2 += q;
  }
  ck_assert_double_eq_tol(tensor_f(out[1], 0), d1, 1e-9);
  ck_assert_double_eq_tol(tensor_f(out[2], 0), d2, 1e-9);
  ctx_free(r.ctx);
}
END_TEST

START_TEST(batch_norm) { /* binary32 with sums in binary64: coarser differences */
  for (int train = 0; train < 2; train++) {
    Rig r = rig();
    Node *x = input(&r, F32, 3, (int64_t[]){4, 2, 3}, 1, 0), *p[4] = {input(&r, F32, 1, (int64_t[]){2}, 0.5, 1), input(&r, F32, 1, (int64_t[]){2}, 1, 0)};
    Type c = type_make(F32, 1, (int64_t[]){2});
    Tensor *m = tensor_new(r.ctx, &c), *s = tensor_new(r.ctx, &c);
    for (int i = 0; i < 2; i++) tensor_set_f(m, i, 0.1 * i), tensor_set_f(s, i, 0.7 + i);
    p[2] = node_const(r.g, m), p[3] = node_const(r.g, s);
    Node *in[5] = {x, p[0], p[1], p[2], p[3]};
    check_close(&r, node_new(r.g, train ? OP_BN_TRAIN : OP_BN, &x->t, train ? 3 : 5, in, &(Attr){.fill = 1e-3}, NULL), 2e-2, 4e-3);
  }
}
END_TEST

START_TEST(moved_codes) { /* between quant and dequant; x that broadcasts against the steps */
  Rig r = rig();
  Node *x = IN_AT(0.2, 0, 2, 6), *s = node_const_f(r.g, F64, 1), *q = node_quant(r.g, x, s, NULL, INTK(3), -4, 3, RND_EVEN), *grad[1];
  Node *y = node_dequant(r.g, node_transpose(r.g, node_reshape(r.g, q, 2, (Dim[]){{3, 0}, {4, 0}}), (int[]){1, 0}), node_const_f(r.g, F64, 2), NULL, F64);
  ck_assert(graph_vjp(r.g, y, y, &x, 1, grad) && grad[0] && type_eq(&grad[0]->t, &x->t));
  graph_out(r.g, "d", grad[0]);
  ck_assert(graph_verify(r.ctx, r.g));
  ctx_free(r.ctx);
  r = rig();
  x = IN(1);
  Type st = type_make(F64, 1, (int64_t[]){4});
  Tensor *steps = tensor_new(r.ctx, &st);
  for (int i = 0; i < 4; i++) tensor_set_f(steps, i, 1 + i);
  s = node_const(r.g, steps);
  y = node_dequant(r.g, node_quant(r.g, x, s, NULL, INTK(3), -4, 3, RND_EVEN), s, NULL, F64);
  ck_assert(graph_vjp(r.g, y, y, &x, 1, grad) && type_eq(&grad[0]->t, &x->t));
  ctx_free(r.ctx);
}
END_TEST

START_TEST(refusals) {
  Rig r = rig();
  Node *x = IN(3, 3), *grad[1];
  Affine acc[2] = {affine_iter(0, 1, 0), affine_iter(0, 1, 0)}; /* the diagonal */
  Type t = type_make(F64, 1, (int64_t[]){3});
  Node *y = node_view(r.g, x, &t, acc, 0);
  ck_assert(!graph_vjp(r.g, y, y, &x, 1, grad));
  ck_assert_int_eq(r.ctx->n_errors, 1);
  ck_assert_int_eq(r.ctx->diags->code, E0301);
  y = node_reduce_axes(r.g, S_MUL, x, 1, false);
  ck_assert(!graph_vjp(r.g, y, y, &x, 1, grad));
  y = node_const_f(r.g, F64, 1);
  ck_assert(graph_vjp(r.g, y, y, &x, 1, grad) && !grad[0]); /* nothing depends on it */
  ctx_free(r.ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_diff");
  TCase *t = tcase_create("diff");
  tcase_set_timeout(t, 60);
  TTest const *const tests[] = {rows, select_and_cast, broadcasts, movement, reductions, pools, products, convolutions, fake_quant, fake_quant_alone, batch_norm, moved_codes, refusals};
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(t, tests[i]);
  suite_add_tcase(s, t);
  return suite_run(s);
}
