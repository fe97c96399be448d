/* The executor against eval: derivatives of networks whose every operator class occurs, within the bound of sums in another order;
 * element-wise work and sums of codes bit for bit. */
#include "tests/unit/suite.h"
#include "trainer/diff.h"
#include "trainer/exec_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Rig { Ctx *ctx; Graph *g; int n; Node *arg[16]; Tensor *x[16]; uint64_t seed; } Rig;
static double uniform(Rig *r) {
  r->seed = r->seed * 6364136223846793005u + 1442695040888963407u;
  return (double)(r->seed >> 11) * 0x1p-52 - 1;
}
static Rig rig(void) {
  Ctx *ctx = ctx_new();
  return (Rig){.ctx = ctx, .g = graph_new(ctx, "t", NULL), .seed = 11};
}
static Node *input(Rig *r, int rank, const int64_t *d) {
  Type t = type_make(F32, rank, d);
  r->x[r->n] = tensor_new(r->ctx, &t);
  for (int64_t i = 0; i < r->x[r->n]->n; i++) tensor_set_f(r->x[r->n], i, uniform(r));
  char name[16];
  snprintf(name, sizeof name, "x%d", r->n);
  return r->arg[r->n++] = graph_arg(r->g, name, &t);
}
#define IN(...) input(&r, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

/* An argument's tensor as the executor wants it. */
static float *laid(const Tensor *t, bool last) {
  float *p = aligned_alloc(64, ((size_t)t->n * 4 + 63) / 64 * 64);
  const float *x = t->data;
  if (!last) { memcpy(p, x, (size_t)t->n * 4); return p; }
  int64_t c = t->t.d[1].n, s = t->n / t->t.d[0].n / c;
  for (int64_t i = 0; i < t->n; i++) p[i / (c * s) * c * s + i % s * c + i / s % c] = x[i];
  return p;
}

/* What nests compute (exec_nest.c), and again by rows: every bit of every output. Returns how many groups had one. */
static int by_rows(Rig *r, Exec *e) {
  int n = 0;
  void *kept[32];
  for (int o = 0; o < r->g->n_outs; o++) {
    int64_t count = 0;
    ck_assert(type_count(&r->g->outs[o].v->t, &count));
    size_t bytes = (size_t)count * store_size(elem_store(r->g->outs[o].v->t.e));
    kept[o] = memcpy(malloc(bytes + 1), exec_out(e, o), bytes);
  }
  for (int s = 0; s < e->steps.n; s++) if (e->steps.p[s].fuse && e->steps.p[s].fuse->code) n++, e->steps.p[s].fuse->code = NULL;
  ck_assert(exec_run(e));
  for (int o = 0; o < r->g->n_outs; o++) {
    int64_t count = 0;
    type_count(&r->g->outs[o].v->t, &count);
    size_t size = store_size(elem_store(r->g->outs[o].v->t.e));
    const char *rows = exec_out(e, o);
    for (int64_t i = 0; i < count; i++) {
      float a = 0, b = 0;
      if (size == 4) memcpy(&a, (char *)kept[o] + 4 * i, 4), memcpy(&b, rows + 4 * i, 4);
      ck_assert_msg(!memcmp((char *)kept[o] + size * (size_t)i, rows + size * (size_t)i, size) || (isnan(a) && isnan(b)), "%s[%d]: a nest has %.9g, rows %.9g", r->g->outs[o].name, (int)i, (double)a, (double)b);
    }
    free(kept[o]);
  }
  return n;
}

/* Runs both twice and compares all outputs; evals: steps that are left to eval, -1 where that does not matter. */
static void same(Rig *r, double tolerance, int evals) {
  Tensor *out[32] = {NULL};
  bool ok = graph_verify(r->ctx, r->g) && graph_eval(r->ctx, r->g, r->x, out, NULL, NULL);
  if (!ok) diag_print(r->ctx, stderr, false);
  ck_assert(ok);
  Dnn *dnn = dnn_new(r->ctx);
  Exec *e = exec_new(r->ctx, dnn, r->g);
  if (!e) diag_print(r->ctx, stderr, false);
  ck_assert_ptr_nonnull(e);
  float *mem[16];
  for (int i = 0; i < r->n; i++) exec_bind(e, i, mem[i] = laid(r->x[i], exec_channels_last(e, i)));
  Str s = {.ctx = r->ctx};
  exec_print(&s, e);
  int found = 0;
  for (const char *p = s.p; (p = strstr(p, "eval: ")); p++) found++;
  ck_assert_msg(evals < 0 || found == evals, "%d steps are left to eval, not %d:\n%s", found, evals, s.p);
  str_free(&s);
  for (int run = 0; run < 2; run++) {
    ck_assert(exec_run(e));
    for (int o = 0; o < r->g->n_outs; o++) {
      Tensor got = *out[o];
      got.data = (void *)(uintptr_t)exec_out(e, o);
      double most = 0;
      for (int64_t i = 0; i < got.n; i++) most = fmax(most, fabs(tensor_f(out[o], i)));
      for (int64_t i = 0; i < got.n; i++)
        ck_assert_msg(fabs(tensor_f(&got, i) - tensor_f(out[o], i)) <= tolerance * most, "run %d output %s[%d]: %.9g, eval %.9g", run, r->g->outs[o].name,
                      (int)i, tensor_f(&got, i), tensor_f(out[o], i));
    }
  }
  by_rows(r, e);
  for (int i = 0; i < r->n; i++) free(mem[i]);
  exec_free(e);
  dnn_free(dnn);
  ctx_free(r->ctx);
}

static void add_gradients(Rig *r, Node *y) {
  Tensor *dy = tensor_new(r->ctx, &y->t);
  for (int64_t i = 0; i < dy->n; i++) tensor_set_f(dy, i, uniform(r));
  Node *grad[16];
  bool ok = graph_vjp(r->g, y, node_const(r->g, dy), r->arg, r->n, grad);
  if (!ok) diag_print(r->ctx, stderr, false);
  ck_assert(ok);
  graph_out(r->g, "y", y);
  for (int i = 0; i < r->n; i++) {
    char name[16];
    snprintf(name, sizeof name, "d%d", i);
    if (grad[i]) graph_out(r->g, name, grad[i]);
  }
}
static void with_gradients(Rig *r, Node *y, double tolerance, int evals) {
  add_gradients(r, y);
  same(r, tolerance, evals);
}

static Node *conv(Rig *r, Node *x, Node *w, int64_t k, int64_t stride, int64_t pad) {
  int64_t out[2], s[2] = {stride, stride}, d[2] = {1, 1}, p[2] = {pad, pad};
  (void)k;
  for (int i = 0; i < 2; i++) out[i] = (x->t.d[2 + i].n + 2 * pad - w->t.d[2 + i].n) / stride + 1;
  return node_conv(r->g, x, w, 1, s, d, p, out, 0, F32);
}
static Node *pool2(Rig *r, Node *x) {
  Type t = x->t;
  Affine acc[4] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0), affine_iter(2, 2, 0), affine_iter(3, 2, 0)};
  acc[2].coef[4] = acc[3].coef[5] = 1;
  t.d[2].n /= 2, t.d[3].n /= 2;
  Iters it = {.n_out = 4, .n_red = 2, .red = {dim_c(2), dim_c(2)}, .acc = {acc}};
  return node_reduce(r->g, S_MAX, x, &t, &it);
}
static Node *relu(Rig *r, Node *x) { return node_map2(r->g, S_MAX, x, node_const_f(r->g, F32, 0)); }
static Node *channels(Rig *r, Node *b) { return node_reshape(r->g, b, 3, (Dim[]){b->t.d[0], {1, 0}, {1, 0}}); }
static Node *bn(Rig *r, Node *x, Node *gamma, Node *beta) {
  return node_new(r->g, OP_BN_TRAIN, &x->t, 3, (Node *[]){x, gamma, beta}, &(Attr){.fill = 1e-5}, NULL);
}

START_TEST(lenet) {
  Rig r = rig();
  Node *x = IN(4, 1, 12, 12), *y = relu(&r, node_map2(r.g, S_ADD, conv(&r, x, IN(5, 1, 3, 3), 3, 1, 0), channels(&r, IN(5))));
  y = pool2(&r, y);
  y = pool2(&r, relu(&r, bn(&r, conv(&r, y, IN(6, 5, 2, 2), 2, 1, 0), IN(6), IN(6))));
  y = node_reshape(r.g, y, 2, (Dim[]){{4, 0}, {24, 0}});
  y = relu(&r, node_map2(r.g, S_ADD, node_matmul(r.g, y, IN(24, 10), F32), IN(10)));
  with_gradients(&r, node_matmul(r.g, y, IN(10, 3), F32), 3e-5, 0);
}
END_TEST

START_TEST(residual) {
  Rig r = rig();
  Node *x = IN(3, 4, 9, 9), *y = relu(&r, bn(&r, x, IN(4), IN(4)));
  Node *a = conv(&r, relu(&r, conv(&r, y, IN(6, 4, 3, 3), 3, 2, 1)), IN(6, 6, 3, 3), 3, 1, 1);
  y = node_map2(r.g, S_ADD, a, conv(&r, y, IN(6, 4, 1, 1), 1, 2, 0));
  y = node_map2(r.g, S_MUL, node_reduce_axes(r.g, S_ADD, y, 12, false), node_const_f(r.g, F32, 1.0 / 25)); /* global average pool */
  with_gradients(&r, node_matmul(r.g, y, IN(6, 5), F32), 3e-5, 0);
}
END_TEST

static Node *grouped(Rig *r, Node *x, Node *w, int groups, int64_t stride, int64_t pad, int64_t dilation) {
  int64_t out[2], s[2] = {stride, stride}, d[2] = {dilation, dilation}, p[2] = {pad, pad};
  for (int i = 0; i < 2; i++) out[i] = (x->t.d[2 + i].n + 2 * pad - dilation * (w->t.d[2 + i].n - 1) - 1) / stride + 1;
  return node_conv(r->g, x, w, groups, s, d, p, out, 0, F32);
}

/* Groups of every form, forward and both gradients, by oneDNN: nothing is left to eval. Bias and ReLU behind, another convolution before. */
START_TEST(groups) {
  static const struct { int64_t in, out, groups, k, stride, pad, dilation; } form[] = {
    {6, 6, 6, 3, 1, 1, 1}, {6, 6, 6, 3, 2, 1, 1}, {6, 6, 6, 5, 1, 2, 1}, {4, 8, 4, 3, 1, 1, 1}, {6, 4, 2, 3, 1, 1, 1}, {6, 9, 3, 3, 2, 1, 1},
    {8, 4, 4, 3, 1, 0, 1}, {6, 6, 2, 1, 1, 0, 1}, {6, 6, 6, 1, 1, 0, 1}, {6, 6, 6, 3, 1, 2, 2}, {6, 6, 1, 3, 1, 1, 1}};
  for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
    Rig r = rig();
    Node *x = conv(&r, IN(2, 3, 8, 8), IN(form[i].in, 3, 3, 3), 3, 1, 1);
    Node *w = IN(form[i].out, form[i].in / form[i].groups, form[i].k, form[i].k);
    Node *y = grouped(&r, relu(&r, x), w, (int)form[i].groups, form[i].stride, form[i].pad, form[i].dilation);
    y = relu(&r, node_map2(r.g, S_ADD, i % 2 ? bn(&r, y, IN(form[i].out), IN(form[i].out)) : y, channels(&r, IN(form[i].out))));
    with_gradients(&r, conv(&r, y, IN(2, form[i].out, 1, 1), 1, 1, 0), 1e-4, 0);
  }
}
END_TEST

/* Average pools: as sums over windows that overlap, have padding, leave a rest, or lie side by side. */
START_TEST(averages) {
  static const struct { int64_t k, stride, pad; } form[] = {{3, 2, 1}, {3, 1, 1}, {2, 2, 0}, {3, 3, 0}, {3, 2, 0}};
  for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
    Rig r = rig();
    Node *x = conv(&r, IN(2, 3, 8, 7), IN(5, 3, 3, 3), 3, 1, 1);
    Type t = x->t;
    Affine acc[4] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0), affine_iter(2, form[i].stride, -form[i].pad), affine_iter(3, form[i].stride, -form[i].pad)};
    acc[2].coef[4] = acc[3].coef[5] = 1;
    for (int d = 2; d < 4; d++) t.d[d].n = (t.d[d].n + 2 * form[i].pad - form[i].k) / form[i].stride + 1;
    Iters it = {.n_out = 4, .n_red = 2, .red = {dim_c(form[i].k), dim_c(form[i].k)}, .acc = {acc}};
    Node *y = node_map2(r.g, S_DIV, node_reduce(r.g, S_ADD, x, &t, &it), node_const_f(r.g, F32, (double)(form[i].k * form[i].k)));
    with_gradients(&r, conv(&r, y, IN(2, 5, 1, 1), 1, 1, 0), 3e-5, 0);
  }
}
END_TEST

START_TEST(fake_quantized) {
  Rig r = rig();
  Node *x = IN(2, 3, 6, 6), *w = IN(4, 3, 3, 3), *sx = IN(1), *sw = IN(1), *z = node_const_f(r.g, F32, 1.5);
  for (int i = 0; i < 2; i++) tensor_set_f(r.x[2 + i], 0, 0.3);
  Node *qx = node_dequant(r.g, node_quant(r.g, x, sx, NULL, UINTK(2), 0, 3, RND_EVEN), sx, NULL, F32);
  Node *qw = node_dequant(r.g, node_quant(r.g, w, sw, z, UINTK(2), 0, 3, RND_EVEN), sw, z, F32);
  with_gradients(&r, conv(&r, qx, qw, 3, 1, 1), 3e-5, 0);
}
END_TEST

/* An input of one channel whose gradient nobody wants, but the step of its quantizer: of several forms. */
START_TEST(first_layers) {
  for (int i = 0; i < 3; i++) {
    Rig r = rig();
    Node *w = IN(4, 1, 3, 3), *step = IN(1), *b = IN(4);
    tensor_set_f(r.x[1], 0, 0.11);
    Type t = type_make(F32, 4, (int64_t[]){3, 1, 9, 8});
    Tensor *image = tensor_new(r.ctx, &t);
    for (int64_t k = 0; k < image->n; k++) tensor_set_f(image, k, uniform(&r));
    Node *x = node_const(r.g, image), *q = node_dequant(r.g, node_quant(r.g, x, step, NULL, INTK(4), -8, 7, RND_EVEN), step, NULL, F32);
    Node *y = relu(&r, node_map2(r.g, S_ADD, conv(&r, q, w, 3, 1 + i / 2, i), channels(&r, b)));
    with_gradients(&r, y, 3e-5, 0);
  }
}
END_TEST

/* Codes and quant_grad by one scale, of many sizes, against eval's divisions: every bit, but of quotients that are no normal numbers, and
 * of what many elements add to the gradient of the scale. */
static void quotients_of(int i, int count) {
  Rig r = rig();
  r.seed += (uint64_t)i * 977;
  Node *x = IN(count), *dy = IN(count), *s = IN(1), *zp = i % 3 ? NULL : node_const_f(r.g, F32, 1.5);
  float scale = i < 40 ? ldexpf(1 + (float)fabs(uniform(&r)), i - 20) : ldexpf(1.7f, 3 * (i - 50));
  tensor_set_f(r.x[2], 0, (double)scale);
  for (int k = 2000; k < count; k++) { /* near ties */
    float tie = (float)(k % 23 - 11) / 2 * scale;
    for (int step = k / 23 % 5 - 2; step; step -= step > 0 ? 1 : -1) tie = nextafterf(tie, step > 0 ? INFINITY : -INFINITY);
    tensor_set_f(r.x[0], k, (double)tie);
  }
  for (int k = 0; k < 2000; k++) tensor_set_f(r.x[0], k, uniform(&r) * 5 * (double)scale);
  static const double odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1e-38};
  for (int k = 0; k < 10; k++) tensor_set_f(r.x[0], k, odd[k]);
  int64_t lo = i % 3 == 1 ? i % 2 ? -2 : -4 : 0, hi = lo ? -lo - 1 : i % 2 ? 3 : i % 4 ? 255 : 1;
  graph_out(r.g, "q", node_cast(r.g, node_quant(r.g, x, s, zp, lo ? INTK(3) : U8, lo, hi, RND_EVEN), F32));
  graph_out(r.g, "dx", node_new(r.g, OP_QUANT_GRAD, &x->t, 3, (Node *[]){dy, x, s}, &(Attr){.lo = lo, .hi = hi, .fill = zp ? 1.5 : 0}, NULL));
  if (count > 8000) { same(&r, 0, 0); return; }
  graph_out(r.g, "ds", node_new(r.g, OP_QUANT_GRAD, &x->t, 3, (Node *[]){dy, x, s}, &(Attr){.lo = lo, .hi = hi, .fill = zp ? 1.5 : 0, .flag = 1}, NULL));
  same(&r, 1e-30, 0);
}
START_TEST(quotients) {
  for (int i = 0; i < 60; i++) quotients_of(i, i / 6 % 2 ? i % 4 ? 9024 : 9001 : 4001);
}
END_TEST

/* The same of many elements, whose codes are counted: the quotient in the gradient of the scale is a product with the inverse. */
START_TEST(many_gradients) {
  for (int i = 0; i < 6; i++) {
    Rig r = rig();
    Node *x = IN(9001), *dy = IN(9001), *s = IN(1);
    tensor_set_f(r.x[2], 0, 0.3 + i);
    for (int k = 0; k < 9001; k++) tensor_set_f(r.x[0], k, 3 * (0.3 + i) * uniform(&r));
    Attr a = {.lo = i % 2 ? -2 : 0, .hi = i % 2 ? 1 : 3, .fill = i % 3 ? 0 : 1.5, .flag = 1};
    graph_out(r.g, "ds", node_new(r.g, OP_QUANT_GRAD, &x->t, 3, (Node *[]){dy, x, s}, &a, NULL));
    same(&r, 1e-6, 0);
  }
}
END_TEST

/* Batch normalization in every place: behind a sum, of two dimensions, with its value read twice; statistics as outputs. */
START_TEST(normalized) {
  static const int64_t channels_of[] = {1, 3, 16, 20, 50, 64, 130};
  for (size_t i = 0; i < sizeof channels_of / sizeof *channels_of; i++) {
    Rig r = rig();
    int64_t c = channels_of[i];
    Node *a = IN(5, c, 7, 6), *b = IN(5, c, 7, 6), *x = node_map2(r.g, S_ADD, node_map2(r.g, S_ADD, a, node_map2(r.g, S_MUL, b, b)), node_const_f(r.g, F32, 3));
    Node *y = relu(&r, bn(&r, x, IN(c), IN(c)));
    for (int flag = 1; flag < 3; flag++)
      graph_out(r.g, flag == 1 ? "mean" : "var", node_new(r.g, OP_BN_TRAIN, &r.arg[2]->t, 3, (Node *[]){x, r.arg[2], r.arg[3]}, &(Attr){.fill = 1e-5, .flag = flag}, NULL));
    y = node_map2(r.g, S_MUL, y, bn(&r, y, r.arg[2], r.arg[3]));
    y = node_reduce_axes(r.g, S_ADD, y, 12, false);
    with_gradients(&r, node_map2(r.g, S_ADD, y, bn(&r, y, r.arg[3], r.arg[2])), 2e-4, 0);
  }
}
END_TEST

START_TEST(extremes) { /* over everything, of every length; NaN wins */
  for (int n = 1; n < 200; n += 7)
    for (int nan = 0; nan < 2; nan++) {
      Rig r = rig();
      Node *x = IN(n, 2, 2, 3);
      if (nan) tensor_set_f(r.x[0], n, NAN);
      for (int k = 0; k < 2; k++) {
        Node *y = node_reduce_axes(r.g, k ? S_MIN : S_MAX, x, 15, false);
        graph_out(r.g, k ? "least" : "greatest", nan ? node_cast(r.g, node_map1(r.g, S_ISNAN, y), F32) : y);
      }
      same(&r, 0, 0);
    }
}
END_TEST

START_TEST(rows_bit_for_bit) {
  for (int s = 1; s < SCALAR_COUNT; s++) {
    if (strchr("I", scalar_info[s].on) || s == S_BITS || s == S_SELECT || s == S_CAST) continue;
    Rig r = rig();
    Node *in[2] = {IN(7, 5, 3, 11), IN(5, 1, 1)}, *y;
    tensor_set_f(r.x[0], 0, NAN), tensor_set_f(r.x[0], 1, -0.0), tensor_set_f(r.x[0], 2, INFINITY), tensor_set_f(r.x[0], 3, 2.5), tensor_set_f(r.x[0], 4, -0.5);
    tensor_set_f(r.x[0], 5, 8388609.0), tensor_set_f(r.x[0], 6, 1e-40);
    y = node_map_as(r.g, (Scalar)s, scalar_info[s].result == 'B' ? BOOL : F32, scalar_info[s].arity, in);
    if (scalar_info[s].result == 'B') y = node_cast(r.g, y, F32);
    graph_out(r.g, "y", y);
    Tensor *out[1] = {NULL};
    ck_assert(graph_eval(r.ctx, r.g, r.x, out, NULL, NULL));
    Dnn *dnn = dnn_new(r.ctx);
    Exec *e = exec_new(r.ctx, dnn, r.g);
    ck_assert_ptr_nonnull(e);
    for (int i = 0; i < r.n; i++) exec_bind(e, i, r.x[i]->data);
    ck_assert(exec_run(e));
    const float *got = exec_out(e, 0), *want = out[0]->data;
    for (int64_t i = 0; i < out[0]->n; i++)
      ck_assert_msg(!memcmp(got + i, want + i, 4) || (isnan(got[i]) && isnan(want[i])), "%s[%d] of %g: %g, eval %g", scalar_info[s].name, (int)i, tensor_f(r.x[0], i), (double)got[i], (double)want[i]);
    exec_free(e);
    dnn_free(dnn);
    ctx_free(r.ctx);
  }
}
END_TEST

#ifdef POPSHIFT_LLVM
/* Layers of a quantized residual network and their gradients, of channels that fill vectors: all their loops are nests, with the rows' bits. */
static void layers_of(int64_t c, int hi, int64_t n) {
  Rig r = rig();
  int64_t h = c < 16 ? 32 : n % 2 ? 17 : 8, wide = n % 2 ? 17 : 16; /* of an odd number of rows of 32 channels half a vector pair is left */
  Node *x = IN(n, c, h, wide), *w = IN(c, c, 1, 1), *sx = IN(1), *sw = IN(1), *gamma = IN(c), *beta = IN(c), *z = node_const_f(r.g, F32, (double)hi / 2);
  tensor_set_f(r.x[2], 0, 0.3), tensor_set_f(r.x[3], 0, 0.4);
  Node *y = relu(&r, bn(&r, x, gamma, beta));
  y = node_dequant(r.g, node_quant(r.g, y, sx, NULL, UINTK(8), 0, hi, RND_EVEN), sx, NULL, F32);
  Node *qw = node_dequant(r.g, node_quant(r.g, w, sw, z, UINTK(8), 0, hi, RND_EVEN), sw, z, F32);
  y = node_map2(r.g, S_ADD, conv(&r, y, qw, 1, 1, 0), x);
  y = node_map3(r.g, S_SELECT, node_map2(r.g, S_LT, y, x), y, node_map2(r.g, S_MIN, bn(&r, y, beta, gamma), node_const_f(r.g, F32, 0.7)));
  add_gradients(&r, y);
  Dnn *dnn = dnn_new(r.ctx);
  Exec *e = exec_new(r.ctx, dnn, r.g);
  ck_assert_ptr_nonnull(e);
  float *mem[16];
  for (int i = 0; i < r.n; i++) exec_bind(e, i, mem[i] = laid(r.x[i], exec_channels_last(e, i)));
  int large = 0, compiled = 0;
  for (int s = 0; s < e->steps.n; s++) {
    const Fuse *f = e->steps.p[s].fuse;
    if (f && f->count >= 8192) large++, compiled += f->code != NULL;
  }
  ck_assert(exec_run(e));
  ck_assert_msg(large > 3 && compiled == large, "%d channels, %d levels: %d of %d large loops are nests", (int)c, hi + 1, compiled, large);
  by_rows(&r, e);
  for (int i = 0; i < r.n; i++) free(mem[i]);
  exec_free(e);
  dnn_free(dnn);
  ctx_free(r.ctx);
}
START_TEST(nests) {
  static const int64_t channels_of[] = {16, 32, 64, 128, 192, 3, 10, 20, 50, 24};
  static const int bits[] = {1, 2, 8};
  for (int i = 0; i < 10; i++) layers_of(channels_of[i], (1 << bits[i % 3]) - 1, 8);
  layers_of(32, 3, 9);
}
END_TEST
#endif

START_TEST(codes_exact) { /* a recognized layer: sums of codes by oneDNN, the product of scales in binary64 */
  Rig r = rig();
  Node *x = IN(3, 4, 8, 8), *s = node_const_f(r.g, F32, 0.01), *q = node_quant(r.g, x, s, NULL, U8, 0, 255, RND_EVEN);
  Type wt = type_make(INTK(4), 4, (int64_t[]){6, 4, 3, 3}), st = type_make(F64, 3, (int64_t[]){6, 1, 1});
  Tensor *w = tensor_new(r.ctx, &wt), *ws = tensor_new(r.ctx, &st);
  for (int64_t i = 0; i < w->n; i++) tensor_set_i(w, i, (int64_t)(uniform(&r) * 7.9));
  for (int64_t i = 0; i < 6; i++) tensor_set_f(ws, i, 0.001 * (1.1 + uniform(&r)));
  int64_t one[2] = {1, 1}, out[2] = {8, 8};
  Node *acc = node_conv(r.g, q, node_const(r.g, w), 1, one, one, one, out, 0, I32);
  Node *y = relu(&r, node_dequant(r.g, acc, node_const(r.g, ws), NULL, F32));
  graph_out(r.g, "y", pool2(&r, y));
  graph_out(r.g, "q", node_quant(r.g, y, node_const_f(r.g, F32, 0.37), node_const_i(r.g, INTK(4), -2), INTK(4), -8, 7, RND_EVEN));
  same(&r, 0, 0);
}
END_TEST

START_TEST(branches) { /* five operands beside each other, and their gradients: slices */
  Rig r = rig();
  Node *x = IN(2, 3, 4, 4), *part[5];
  for (int i = 0; i < 5; i++) part[i] = node_map2(r.g, S_MUL, x, node_const_f(r.g, F32, 0.5 + i));
  with_gradients(&r, conv(&r, node_concat(r.g, 5, part, 1), IN(4, 15, 3, 3), 3, 1, 1), 3e-5, 6);
}
END_TEST

/* Accesses that only look like a convolution or a pool: a part of the channels, one tap of the weights, a tap twice, leftovers. */
START_TEST(look_alikes) {
  static const struct { const char *args, *y, *node; } like[] = {
    {"%x: f32[2,16,8,8]", "f32[2,8,4,4]", "reduce max %x [n c y x | i:2 j:2](n, c, y*2+i, x*2+j)"},
    {"%x: f32[2,4,8,8]", "f32[2,4,4,4]", "reduce max %x [n c y x | i:2 j:2](n, c, y*2+j, x*2+i)"},
    {"%x: f32[2,16,6,6], %w: f32[3,8,3,3]", "f32[2,3,4,4]", "contract mul %x, %w [n m y x | c:8 i:3 j:3](n, c, y+i, x+j)(m, c, i, j)"},
    {"%x: f32[2,4,6,6], %w: f32[3,4,3,3]", "f32[2,3,4,4]", "contract mul %x, %w [n m y x | c:4](n, c, y, x)(m, c, 0, 0)"},
    {"%x: f32[2,4,6,6], %w: f32[3,4,3,3]", "f32[2,3,4,4]", "contract mul %x, %w [n m y x | c:4 i:3](n, c, y+i, x+i)(m, c, i, i)"},
    {"%x: f32[2,4,6,6], %w: f32[3,4,3,3]", "f32[2,3,4,4]", "contract mul %x, %w [n m y x | c:4 i:3 j:3](n, c, y, x)(m, c, i, j)"},
    {"%x: f32[2,4,10,10], %w: f32[3,4,3,3]", "f32[2,3,6,6]", "contract mul %x, %w [n m y x | c:4 i:3 j:3](n, c, y+i, x+j)(m, c, i, j)"},
    {"%x: f32[2,4,6,6], %w: f32[3,4,3,3]", "f32[2,3,4,4]", "contract mul %x, %w [n m y x | c:4 i:3 j:3 k:2](n, c, y+i, x+j)(m, c, i, j)"},
    {"%x: f32[2,4,1,1], %w: f32[4,3,3,3]", "f32[2,3,3,3]", "contract mul %x, %w [n c y x | m:4 i:3 j:3](n, m, (y-i)/2, (x-j)/2)(m, c, i, j)"},
    {"%x: f32[3,4], %w: f32[4,5]", "f32[4,5]", "contract mul %x, %w [m n | k:3](k, m)(m, n)"},
    {"%x: f32[2,2,2,2], %w: f32[2,1,2]", "f32[2,2,2,2]", "map add %x, %w"},
    {"%x: f32[2,3,4,5], %w: f32[3,1,5]", "f32[2,3,4,5]", "map mul %x, %w"}};
  for (size_t i = 0; i < sizeof like / sizeof *like; i++) {
    Rig r = rig();
    Str s = {.ctx = r.ctx};
    str_printf(&s, "popshift.graph 1\ngraph @g(%s) -> (%%y: %s) {\n  %%v: %s = %s\n  return %%v\n}\n", like[i].args, like[i].y, like[i].y, like[i].node);
    graph_free(r.g);
    r.g = graph_parse(r.ctx, "t", s.p, s.n);
    if (!r.g) diag_print(r.ctx, stderr, false);
    ck_assert_ptr_nonnull(r.g);
    for (r.n = 0; r.n < r.g->n_args; r.n++) {
      r.x[r.n] = tensor_new(r.ctx, &r.g->args[r.n]->t);
      for (int64_t k = 0; k < r.x[r.n]->n; k++) tensor_set_f(r.x[r.n], k, uniform(&r));
    }
    str_free(&s);
    same(&r, 1e-5, -1);
  }
}
END_TEST

START_TEST(aliases) { /* a reshape of a group's member is not a member */
  Rig r = rig();
  Node *a = node_map1(r.g, S_NEG, IN(1, 4));
  graph_out(r.g, "b", node_map2(r.g, S_ADD, node_reshape(r.g, a, 1, (Dim[]){{4, 0}}), a));
  same(&r, 0, 0);
}
END_TEST

START_TEST(constants_stay) { /* codes that are copied to floats once outlive buffers that earlier steps use in every run */
  Rig r = rig();
  Node *x = IN(2, 3, 6, 6), *s = node_const_f(r.g, F32, 0.5), *y = relu(&r, conv(&r, relu(&r, x), IN(3, 3, 3, 3), 3, 1, 1));
  Type wt = type_make(INTK(3), 4, (int64_t[]){3, 3, 3, 3});
  Tensor *w = tensor_new(r.ctx, &wt);
  for (int64_t i = 0; i < w->n; i++) tensor_set_i(w, i, i % 7 - 3);
  for (int layer = 0; layer < 3; layer++) {
    Node *q = node_quant(r.g, y, s, NULL, UINTK(2), 0, 3, RND_EVEN);
    int64_t one[2] = {1, 1}, out[2] = {6, 6};
    y = relu(&r, node_dequant(r.g, node_conv(r.g, q, node_const(r.g, w), 1, one, one, one, out, 0, I32), s, NULL, F32));
  }
  graph_out(r.g, "y", y);
  same(&r, 1e-6, 0);
}
END_TEST

START_TEST(labels) { /* what has no loop goes to eval: codes of 64 bits */
  Rig r = rig();
  Node *x = IN(4, 3);
  Type t = type_make(I64, 2, (int64_t[]){1, 3}), lt = type_make(I64, 2, (int64_t[]){4, 1});
  Tensor *iota = tensor_new(r.ctx, &t), *label = tensor_new(r.ctx, &lt);
  for (int i = 0; i < 3; i++) tensor_set_i(iota, i, i);
  for (int i = 0; i < 4; i++) tensor_set_i(label, i, i % 3);
  Node *hot = node_cast(r.g, node_map2(r.g, S_EQ, node_const(r.g, iota), node_const(r.g, label)), F32);
  Node *top = node_reduce_axes(r.g, S_MAX, x, 2, true), *z = node_map1(r.g, S_EXP, node_map2(r.g, S_SUB, x, top));
  Node *sum = node_reduce_axes(r.g, S_ADD, z, 2, true);
  graph_out(r.g, "g", node_map2(r.g, S_SUB, node_map2(r.g, S_DIV, z, sum), hot));
  same(&r, 1e-6, 2);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_exec");
  TCase *t = tcase_create("exec");
  tcase_set_timeout(t, 60);
  TTest const *const tests[] = {lenet, residual, groups, averages, fake_quantized, first_layers, quotients, many_gradients, normalized, extremes, rows_bit_for_bit, codes_exact, branches, look_alikes, aliases, constants_stay, labels};
#ifdef POPSHIFT_LLVM
  tcase_add_test(t, nests);
#endif
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(t, tests[i]);
  suite_add_tcase(s, t);
  return suite_run(s);
}
