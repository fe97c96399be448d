/* bases: alphas found again from weights, and contractions whose weights have them through the whole pipeline, passes and programs compared
 * with eval bit by bit; what recognition leaves alone. */
#include <math.h>
#include <stdlib.h>

#include "passes/bases.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

typedef struct Gen { Graph *g; uint64_t state; } Gen;

static uint32_t rnd(Gen *r, uint32_t below) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(r->state >> 33) % below;
}
static float unit(Gen *r) { return (float)rnd(r, 1u << 24) * 0x1p-24f; }

/* n weights of `count` alphas, summed in binary32 as training does. */
static void group(Gen *r, float *w, int64_t n, int64_t stride, int count) {
  float alpha[MOST_BASES], size = 0.02f + 0.1f * unit(r);
  for (int i = 0; i < count; i++) alpha[i] = size, size *= 0.35f + 0.3f * unit(r);
  for (int64_t k = 0; k < n; k++) {
    float v = 0;
    for (int i = 0; i < count; i++) v += rnd(r, 2) ? alpha[i] : -alpha[i];
    w[k * stride] = v;
  }
}

/* As few alphas as made them, or fewer, which give the weights within rounding; of 25 to 500 terms, where no level or some are missing. */
START_TEST(alphas_come_back) {
  Gen r = {.state = (uint64_t)_i + 1};
  int count = _i % (MOST_BASES + 1), found;
  float w[500], alpha[MOST_BASES];
  uint8_t code[500];
  for (int times = 0; times < 40; times++) {
    int64_t n = count < 4 ? 9 + rnd(&r, 400) : count == 4 ? 25 + rnd(&r, 400) : 100 * (count - 4) + rnd(&r, 300);
    group(&r, w, n, 1, count);
    found = bases_fit(w, n, alpha, code);
    ck_assert_msg(found >= 0 && found <= count, "%d alphas, %lld terms: found %d", count, (long long)n, found);
    for (int64_t k = 0; k < n; k++) {
      double v = 0, most = 0;
      for (int i = 0; i < found; i++) v += code[k] >> i & 1 ? alpha[i] : -alpha[i], most += fabs(alpha[i]);
      ck_assert(fabs(v - w[k]) <= most * 0x1p-21);
    }
  }
}
END_TEST

START_TEST(no_alphas) {
  Gen r = {.state = 5};
  float w[100], alpha[MOST_BASES], bad[4] = {1, NAN, 1, 1};
  uint8_t code[100];
  for (int i = 0; i < 100; i++) w[i] = unit(&r) - 0.5f;
  ck_assert_int_eq(bases_fit(w, 100, alpha, code), -1);
  ck_assert_int_eq(bases_fit(w, 9, alpha, code), -1); /* nine magnitudes of no structure */
  ck_assert_int_eq(bases_fit(bad, 4, alpha, code), -1);
}
END_TEST

/* Contractions */

typedef struct Shape { int sp, groups, stride, dilation, pad; int64_t batch, channels, outs, size[3], kernel[3]; } Shape;
static const Shape shapes[] = {
  {2, 1, 1, 1, 0, 1, 4, 5, {6, 6}, {5, 5}}, {2, 1, 2, 1, 2, 2, 3, 4, {7, 8}, {5, 5}}, {2, 1, 1, 2, 3, 1, 2, 4, {9, 9}, {4, 4}},
  {2, 2, 1, 1, 1, 2, 8, 6, {5, 5}, {3, 3}}, {2, 6, 1, 1, 2, 1, 6, 6, {5, 6}, {5, 5}}, {2, 4, 2, 1, 1, 1, 4, 8, {6, 6}, {5, 5}},
  {1, 1, 1, 1, 2, 2, 6, 5, {20}, {9}}, {3, 1, 1, 1, 1, 1, 3, 4, {4, 5, 4}, {3, 3, 3}}, {3, 1, 2, 1, 0, 1, 2, 3, {5, 5, 5}, {3, 3, 3}},
  {2, 1, 1, 1, 0, 1, 64, 7, {3, 3}, {1, 1}}, {0, 1, 1, 1, 0, 3, 96, 9, {0}, {0}}, {-1, 1, 1, 1, 0, 3, 400, 6, {0}, {0}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, WAYS = 4 };
enum { KERNELWISE, CHANNELWISE, SUBCHANNEL, PIXELWISE };

static Node *weights(Gen *r, const Shape *s, int way, bool empty) {
  int64_t dims[5] = {s->outs, s->channels / s->groups}, taps = 1, c = dims[1], rank = 2;
  for (int i = 0; i < s->sp; i++) dims[rank++] = s->kernel[i], taps *= s->kernel[i];
  if (s->sp < 0) dims[0] = c, dims[1] = s->outs; /* [K, N] */
  Type t = type_make(F32, (int)rank, dims);
  Tensor *w = tensor_new(r->g->ctx, &t);
  float *at = w->data;
  int64_t terms = c * taps, parts = way == KERNELWISE ? c : way == SUBCHANNEL ? 2 : 1;
  if (c % parts) parts = 1;
  for (int64_t o = 0; o < s->outs; o++)
    for (int64_t g = 0; g < (way == PIXELWISE ? taps : parts); g++) {
      int count = empty || rnd(r, 3) == 0 ? 0 : 1 + (int)rnd(r, 2);
      if (s->sp < 0) group(r, at + g * (c / parts) * s->outs + o, c / parts, s->outs, count);
      else if (way == PIXELWISE) group(r, at + o * terms + g, c, taps, count);
      else group(r, at + o * terms + g * (terms / parts), terms / parts, 1, count);
    }
  return node_const(r->g, w);
}

/* x -> codes (kind 0: floats as they are) -> the contraction -> y. */
static Graph *network(Ctx *ctx, uint64_t seed, const Shape *s, int way, int kind) {
  Gen r = {.g = graph_new(ctx, "bases", NULL), .state = seed};
  int64_t dims[5] = {s->batch, s->channels}, out[3], stride[3], dilation[3], pad[3];
  for (int i = 0; i < s->sp; i++) {
    dims[2 + i] = s->size[i];
    stride[i] = s->stride, dilation[i] = s->dilation, pad[i] = s->pad;
    out[i] = (s->size[i] + 2 * s->pad - s->dilation * (s->kernel[i] - 1) - 1) / s->stride + 1;
  }
  Type t = type_make(F32, 2 + (s->sp > 0 ? s->sp : 0), dims);
  Node *x = graph_arg(r.g, "x", &t), *w = weights(&r, s, way, seed % 7 == 6);
  static const struct { Elem e; int64_t lo, hi, z; } codes[] = {{{0, 0}, 0, 0, 0}, {{EK_UINT, 2}, 0, 3, 0}, {{EK_UINT, 8}, 0, 255, 128}, {{EK_INT, 8}, -128, 127, 0}, {{EK_BASES, 1}, -1, 1, 0}};
  if (kind) {
    Elem e = codes[kind].e;
    Node *scale = node_const_f(r.g, F32, kind == 1 ? 0.7 : 0.03), *z = codes[kind].z ? node_const_i(r.g, e, codes[kind].z) : NULL;
    x = node_dequant(r.g, node_quant(r.g, x, scale, z, e, codes[kind].lo, codes[kind].hi, RND_EVEN), scale, z, F32);
  }
  Node *y = s->sp < 0 ? node_matmul(r.g, x, w, F32) : node_conv(r.g, x, w, s->groups, stride, dilation, pad, out, 0, F32);
  graph_out(r.g, "y", y);
  return r.g;
}

static bool has_op(const Graph *g, Op op) {
  for (int i = 0; i < g->n_nodes; i++) if (g->nodes[i]->op == op) return true;
  return false;
}

/* Within what rounding of the weights and of a sum in binary32 may move: the float graph beside the recognized one. */
static void near(Ctx *ctx, const Graph *a, const Graph *b, uint64_t seed) {
  Gen r = {.state = seed + 99};
  Tensor *x = tensor_new(ctx, &a->args[0]->t), *y[2];
  for (int64_t i = 0; i < x->n; i++) tensor_set_f(x, i, 4 * unit(&r) - 2);
  ck_assert(graph_eval(ctx, a, &x, &y[0], NULL, NULL) && graph_eval(ctx, b, &x, &y[1], NULL, NULL));
  for (int64_t i = 0; i < y[0]->n; i++)
    ck_assert_msg(fabs(tensor_f(y[0], i) - tensor_f(y[1], i)) < 1e-4, "seed %llu: %g, %g", (unsigned long long)seed, tensor_f(y[0], i), tensor_f(y[1], i));
}

START_TEST(pipeline) {
  const Shape *s = &shapes[_i];
  static const struct { const char *target; bool hls; Kernel force; } ways[] = {
    {"c99", false, KERNEL_INT}, {"x86-64-v3", false, KERNEL_BITSERIAL}, {"cortex-m4", false, KERNEL_BITSERIAL}, {"c99", true, KERNEL_AUTO}, {"x86-64-v4", false, KERNEL_INT},
    {"x86-64-v3", false, KERNEL_INT}};
  int kinds = 5, found = 0;
  for (int i = 0; i < 20; i++) {
    uint64_t seed = (uint64_t)(_i * 20 + i + 1);
    int way = i / kinds % WAYS, kind = i % kinds, k = (i + _i) % 6;
    Ctx *ctx = ctx_new();
    Force all = {ways[k].force, NULL};
    PassOptions opt = {.target = target_find(ways[k].target), .hls = ways[k].hls, .force = &all, .n_force = 1, .verify_each = true};
    Graph *g = network(ctx, seed, s, way, kind);
    State at = {.graph = network(ctx, seed, s, way, kind)};
    bool ok = passes_standard(ctx, &at, PASS_recognize, &opt);
    diag_print(ctx, stderr, false);
    ck_assert_msg(ok, "shape %d, way %d, kind %d: recognize", _i, way, kind);
    found += has_op(at.graph, OP_BASES);
    near(ctx, g, at.graph, seed);
    graph_free(at.graph);
    at.graph = g;
    ok = passes_standard(ctx, &at, -1, &opt);
    diag_print(ctx, stderr, false);
    ck_assert_msg(ok, "shape %d, way %d, kind %d", _i, way, kind);
    program_free(at.program);
    ctx_free(ctx);
  }
  ck_assert_int_ge(found, 4); /* of the others a group is too short, or all groups are empty: nothing to save, or nothing at all */
}
END_TEST

/* Random floats, and codes of one scale, are not taken for bases. */
START_TEST(left_alone) {
  Ctx *ctx = ctx_new();
  for (int i = 0; i < 6; i++) {
    Gen r = {.g = graph_new(ctx, "plain", NULL), .state = (uint64_t)i + 1};
    Type xt = type_make(F32, 2, (int64_t[]){1, 64}), wt = type_make(F32, 2, (int64_t[]){64, 8});
    Tensor *w = tensor_new(ctx, &wt);
    for (int64_t k = 0; k < w->n; k++) tensor_set_f(w, k, i < 2 ? unit(&r) - 0.5 : 0.1f * (float)((int)rnd(&r, i == 2 ? 2 : 7) - (i == 2 ? 0 : 3)));
    Node *x = graph_arg(r.g, "x", &xt);
    graph_out(r.g, "y", node_matmul(r.g, x, node_const(r.g, w), F32));
    State s = {.graph = r.g};
    PassOptions opt = {.target = target_find("c99")};
    ck_assert(passes_standard(ctx, &s, PASS_recognize, &opt));
    ck_assert_msg(!has_op(s.graph, OP_BASES), "case %d", i);
    graph_free(s.graph);
  }
  ctx_free(ctx);
}
END_TEST

/* What verify refuses; the first is right. */
START_TEST(refused) {
  static const char *const nodes[] = {
    "bases %x, %s, %a, %c, %k", "bases %x, %s, %a, %short, %k", "bases %x, %s, %one, %c, %k", "bases %x, %c, %a, %c, %k", "bases %x, %s, %a, %c, %a", "bases %x, %s, %a, %c, %k, %p kernel=bitserial",
    "bases %x, %s, %a, %c, %k kernel=99", "bases %y, %s, %a, %c, %k"};
  for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
    Ctx *ctx = ctx_new();
    Str s = {.ctx = ctx};
    str_printf(&s, "popshift.graph 1\ngraph @g(%%x: u2[1,2,3], %%y: u2[1,2,4]) -> (%%z: f32[1,2]) {\n  %%s: bases<1>[2,3] = const [1, 1, -1, 1, 1, 1]\n  %%a: f32[2] = const [1, 2]\n"
               "  %%one: f32[1] = const [1]\n  %%c: u1[1,2,2] = const [1, 0, 0, 1]\n  %%short: u1[1,2,2] = const [1, 0, 0, 0]\n  %%k: f32 = const 1\n  %%p: i32[2] = const [1, 0]\n"
               "  %%v: f32[1,2] = %s\n  return %%v\n}\n", nodes[i]);
    Graph *g = graph_parse(ctx, "t", s.p, s.n);
    if (i == 0) diag_print(ctx, stderr, false);
    ck_assert_msg(!g == (i > 0) && (ctx->n_errors > 0) == (i > 0), "%s", nodes[i]);
    str_free(&s);
    ctx_free(ctx);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("bases");
  TCase *t = tcase_create("bases");
  tcase_set_timeout(t, 0);
  tcase_add_loop_test(t, alphas_come_back, 0, 2 * (MOST_BASES + 1));
  tcase_add_test(t, no_alphas);
  tcase_add_loop_test(t, pipeline, 0, SHAPES);
  tcase_add_test(t, left_alone);
  tcase_add_test(t, refused);
  suite_add_tcase(s, t);
  return suite_run(s);
}
