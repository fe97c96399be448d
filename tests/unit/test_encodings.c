/* Contractions of codes of every encoding, computed as integers and on bit planes, for 32- and 64-bit words and for HLS: Conv of one to three
 * dimensions, grouped, depthwise, strided, dilated, padded with the code of zero or another, ConvTranspose, products with the constant on
 * either side. Every pass and the program give eval's bits. */
#include <stdlib.h>

#include "passes/pass.h"
#include "tests/unit/suite.h"

typedef struct Gen { Graph *g; uint64_t state; } Gen;

static uint32_t rnd(Gen *r, uint32_t below) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(r->state >> 33) % below;
}
static int64_t between(Gen *r, int64_t lo, int64_t hi) { return lo + rnd(r, (uint32_t)(hi - lo + 1)); }

static int64_t number(Gen *r, Elem e) {
  if (elem_eq(e, BIPOLAR)) return rnd(r, 2) ? 1 : -1;
  if (e.kind == EK_SHIFT) {
    int64_t v = INT64_C(1) << rnd(r, (1u << (e.bits - 1)) - 1);
    return rnd(r, 3) ? rnd(r, 2) ? v : -v : 0;
  }
  return between(r, elem_lo(e), elem_hi(e));
}

/* Weights: numbers of a type, or of a set whose values need fewer planes than their type: odd, even, two far numbers, all the same. */
enum { TYPES = 14, SETS = 8 };
static const Elem types[TYPES] = {{EK_UINT, 1}, {EK_UINT, 2}, {EK_UINT, 3}, {EK_UINT, 5}, {EK_UINT, 8}, {EK_INT, 2}, {EK_INT, 3}, {EK_INT, 4}, {EK_INT, 8},
                                  {EK_BASES, 1}, {EK_BASES, 1}, {EK_SHIFT, 2}, {EK_SHIFT, 3}, {EK_BOOL, 1}};
static const struct { Elem e; int n; int64_t v[8]; } sets[SETS] = {
  {{EK_INT, 8}, 3, {-1, 0, 1}}, {{EK_INT, 8}, 2, {-1, 1}}, {{EK_INT, 8}, 4, {-3, -1, 1, 3}}, {{EK_INT, 8}, 8, {-7, -5, -3, -1, 1, 3, 5, 7}},
  {{EK_INT, 16}, 3, {-64, 0, 64}}, {{EK_INT, 16}, 2, {1000, 1004}}, {{EK_INT, 8}, 1, {-5}}, {{EK_INT, 8}, 6, {0, 1, -2, 4, -16, 64}}};

static Node *weights(Gen *r, int kind, int rank, const int64_t *dims) {
  Type t = type_make(kind < TYPES ? types[kind] : sets[kind - TYPES].e, rank, dims);
  Tensor *w = tensor_new(r->g->ctx, &t);
  for (int64_t i = 0; i < w->n; i++) tensor_set_i(w, i, kind < TYPES ? number(r, t.e) : sets[kind - TYPES].v[rnd(r, (uint32_t)sets[kind - TYPES].n)]);
  return node_const(r->g, w);
}

static Node *input(Gen *r, Elem e, int rank, const int64_t *dims) {
  Type t = type_make(e, rank, dims);
  return graph_arg(r->g, "x", &t);
}

/* What may lie outside: 0, or any code. */
static double fill_of(Gen *r, Elem e, bool padded) { return !padded || rnd(r, 2) ? 0 : (double)number(r, e); }

static Node *conv(Gen *r, Elem act, int kind, int sp) {
  int64_t groups = rnd(r, 3) ? 1 : 2 + rnd(r, 2), depthwise = groups > 1 && rnd(r, 2), per = depthwise ? 1 : between(r, 1, 5) * (sp < 3 && rnd(r, 4) == 0 ? 13 : 1);
  int64_t x[5] = {between(r, 1, 2), groups * per}, w[5] = {groups * between(r, 1, 3), per}, out[3], stride[3], dilation[3], pad[3];
  bool padded = false;
  for (int i = 0; i < sp; i++) {
    stride[i] = between(r, 1, 2), dilation[i] = between(r, 1, 2), w[2 + i] = between(r, 1, 3), pad[i] = rnd(r, 2) ? rnd(r, (uint32_t)w[2 + i] + 1) : 0;
    int64_t reach = dilation[i] * (w[2 + i] - 1) + 1;
    x[2 + i] = reach + rnd(r, 4);
    out[i] = (x[2 + i] + 2 * pad[i] - reach) / stride[i] + 1;
    padded = padded || pad[i];
  }
  double fill = fill_of(r, act, padded);
  return node_conv(r->g, input(r, act, 2 + sp, x), weights(r, kind, 2 + sp, w), (int)groups, stride, dilation, pad, out, fill, I32);
}

/* y[n, m, o] = sum over c, k of x[n, c, (o + p - k*d) / s] * w[c, m, k], as ConvTranspose. */
static Node *transposed(Gen *r, Elem act, int kind) {
  int64_t s = between(r, 1, 3), d = between(r, 1, 2), k = between(r, 1, 4), p = rnd(r, (uint32_t)k), n = between(r, 2, 5), c = rnd(r, 4) ? between(r, 1, 6) : 70;
  int64_t out = (n - 1) * s + (k - 1) * d + 1 - 2 * p + rnd(r, (uint32_t)s), outs = between(r, 1, 3);
  if (out < 1) out = 1;
  Affine ax[3] = {affine_iter(0, 1, 0), affine_iter(3, 1, 0), affine_iter(2, 1, p)}, aw[3] = {affine_iter(3, 1, 0), affine_iter(1, 1, 0), affine_iter(4, 1, 0)};
  ax[2].coef[4] = -d;
  ax[2].div = s;
  Iters it = {.n_out = 3, .n_red = 2, .red = {dim_c(c), dim_c(k)}, .acc = {ax, aw}};
  Type t = type_make(I32, 3, (int64_t[]){2, outs, out});
  Node *x = input(r, act, 3, (int64_t[]){2, c, n}), *w = weights(r, kind, 3, (int64_t[]){c, outs, k});
  return node_contract(r->g, S_MUL, &t, 2, (Node *[]){x, w}, &it, 0); /* between the steps nothing is multiplied */
}

static Node *product(Gen *r, Elem act, int kind) {
  int64_t k = rnd(r, 2) ? between(r, 1, 9) : between(r, 60, 140), m = between(r, 1, 4), n = between(r, 1, 4);
  if (rnd(r, 3)) return node_matmul(r->g, input(r, act, 2, (int64_t[]){m, k}), weights(r, kind, 2, (int64_t[]){k, n}), I32);
  return node_matmul(r->g, weights(r, kind, 2, (int64_t[]){m, k}), input(r, act, 3, (int64_t[]){2, k, n}), I32);
}

static Graph *generate(Ctx *ctx, uint64_t seed, int kind) {
  Gen r = {.g = graph_new(ctx, "encodings", NULL), .state = seed * 0x9e3779b97f4a7c15u + 1};
  Elem act = types[rnd(&r, TYPES)];
  int what = (int)rnd(&r, 6);
  Node *y = what < 3 ? conv(&r, act, kind, what + 1) : what == 3 ? transposed(&r, act, kind) : product(&r, act, kind);
  graph_out(r.g, "y", y);
  return r.g;
}

static bool on_planes(const Graph *g) {
  for (int i = 0; i < g->n_nodes; i++) if (g->nodes[i]->op == OP_CONTRACT && g->nodes[i]->a.scalar != S_MUL) return true;
  return false;
}

/* True where the contraction was computed on planes. */
static bool check(uint64_t seed, int kind, int way) {
  static const struct { const char *target; Kernel force; bool hls; } ways[] = {
    {"c99", KERNEL_BITSERIAL, false}, {"cortex-m4", KERNEL_BITSERIAL, false}, {"c99", KERNEL_INT, false}, {"c99", KERNEL_AUTO, true}};
  static const PassId first[] = {PASS_infer, PASS_canon, PASS_recognize, PASS_encode, PASS_canon, PASS_widths, PASS_select, PASS_layout, PASS_fold},
    rest[] = {PASS_fuse, PASS_lower, PASS_schedule, PASS_plan};
  Ctx *ctx = ctx_new();
  Force all = {ways[way].force, NULL};
  PassOptions opt = {.target = target_find(ways[way].target), .hls = ways[way].hls, .force = &all, .n_force = 1, .verify_each = true};
  State s = {.graph = generate(ctx, seed, kind)};
  bool ok = passes_run(ctx, &s, first, sizeof first / sizeof *first, &opt), planes = ok && on_planes(s.graph);
  ok = ok && passes_run(ctx, &s, rest, sizeof rest / sizeof *rest, &opt);
  if (!ok) {
    Str text = {.ctx = ctx};
    graph_print(&text, generate(ctx, seed, kind));
    diag_print(ctx, stderr, false);
    fprintf(stderr, "%s", text.p);
    str_free(&text);
  }
  ck_assert_msg(ok, "seed %llu, weights %d, way %d", (unsigned long long)seed, kind, way);
  program_free(s.program);
  ctx_free(ctx);
  return planes;
}

START_TEST(exact) {
  const char *seeds = getenv("SEEDS");
  int times = seeds ? atoi(seeds) : 60, planes = 0;
  for (int i = 0; i < times; i++)
    for (int way = 0; way < 4; way++) planes += check((uint64_t)(_i * 100000 + i + 1), _i, way);
  ck_assert_int_gt(planes, times / 2); /* of two ways in four; some operands cannot be packed */
}
END_TEST

int main(void) {
  Suite *s = suite_create("encodings");
  TCase *t = tcase_create("encodings");
  tcase_set_timeout(t, 0);
  tcase_add_loop_test(t, exact, 0, TYPES + SETS);
  suite_add_tcase(s, t);
  return suite_run(s);
}
