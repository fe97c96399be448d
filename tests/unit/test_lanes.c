/* Contractions over lanes: random layers of few bits, forced bit-serial (lower_lanes.c), of up to 16 bits, multiplied in words (lower_dot.c,
 * layout_last.c), and of signed alphas (lower_bases.c), for every target that has vectors; the interpreter's outputs are eval's. What follows the contraction is stored by vectors,
 * turned about, lane by lane, or packed. */
#include "passes/pass.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

#ifdef POPSHIFT_HOSTILE
enum { LAYERS = 60 };
#else
enum { LAYERS = 160 };
#endif

typedef enum Kind { OF_BITS, OF_CODES, OF_FLOATS, OF_ALPHAS } Kind;
typedef struct Gen { Graph *g; uint64_t state; } Gen;

static int below(Gen *r, int n) { /* xorshift64* */
  r->state ^= r->state >> 12;
  r->state ^= r->state << 25;
  r->state ^= r->state >> 27;
  return (int)((r->state * UINT64_C(2685821657736338717)) >> 40) % n;
}
static int between(Gen *r, int lo, int hi) { return lo + below(r, hi - lo + 1); }
static int one_of(Gen *r, int n, const int *of) { return of[below(r, n)]; }

static int64_t code_of(Gen *r, Elem e) {
  if (e.kind == EK_BASES) return below(r, 2) ? 1 : -1;
  return between(r, (int)elem_lo(e), (int)elem_hi(e));
}

static void number(Gen *r, Tensor *t, int64_t i) {
  if (elem_is_float(t->t.e)) tensor_set_f(t, i, between(r, -1000, 1000) / 512.0 + between(r, -9, 9) * 1e-5);
  else tensor_set_i(t, i, code_of(r, t->t.e));
}

static Node *codes(Gen *r, Elem e, int rank, const int64_t *d) {
  Type t = type_make(e, rank, d);
  Tensor *v = tensor_new(r->g->ctx, &t);
  for (int64_t i = 0; i < v->n; i++) number(r, v, i);
  return node_const(r->g, v);
}

static const Elem acts[] = {{EK_BASES, 1}, {EK_UINT, 1}, {EK_UINT, 2}, {EK_INT, 2}, {EK_UINT, 3}};
static const Elem weights[] = {{EK_BASES, 1}, {EK_BASES, 1}, {EK_INT, 2}, {EK_SHIFT, 2}, {EK_UINT, 2}};
static const Elem wide_acts[] = {{EK_UINT, 2}, {EK_UINT, 8}, {EK_INT, 8}, {EK_INT, 4}, {EK_BASES, 1}, {EK_UINT, 12}};
static const Elem wide_weights[] = {{EK_INT, 3}, {EK_INT, 8}, {EK_INT, 9}, {EK_UINT, 8}, {EK_SHIFT, 2}};

/* Levels per channel, and codes of the type; for one bit also falling ones. */
static Node *stairs(Gen *r, Node *x, Elem to, int axis) {
  int64_t m = x->t.d[axis].n, levels = to.kind == EK_BASES ? 1 : (INT64_C(1) << to.bits) - 1;
  Type tt = type_make(I32, 2, (int64_t[]){m, levels}), bt = type_make(I8, 1, &m);
  Tensor *t = tensor_new(r->g->ctx, &tt), *base = tensor_new(r->g->ctx, &bt), *step = tensor_new(r->g->ctx, &bt);
  bool falls = below(r, 3) == 0;
  for (int64_t c = 0; c < m; c++) {
    int at = between(r, -40, 20);
    bool down = falls && below(r, 2);
    for (int64_t j = 0; j < levels; j++) tensor_set_i(t, c * levels + j, at += between(r, 0, 12));
    int64_t first = to.kind == EK_BASES ? -1 : 0, by = to.kind == EK_BASES ? 2 : 1;
    tensor_set_i(base, c, down ? first + by * levels : first);
    tensor_set_i(step, c, down ? -by : by);
  }
  Type y = x->t;
  y.e = to;
  Attr a = {.axis = axis};
  return node_new(r->g, OP_THRESHOLDS, &y, 4, (Node *[]){x, node_const(r->g, t), node_const(r->g, base), node_const(r->g, step)}, &a, NULL);
}

static Node *layer(Gen *r, Node *x, Elem w, int64_t m, bool plain) {
  Elem sum = elem_is_float(w) ? F32 : I32;
  if (x->t.rank == 2) {
    Node *k = codes(r, w, 2, (int64_t[]){m, x->t.d[1].n});
    Affine a[2] = {affine_iter(0, 1, 0), affine_iter(2, 1, 0)}, b[2] = {affine_iter(1, 1, 0), affine_iter(2, 1, 0)};
    Iters it = {.n_out = 2, .n_red = 1, .red = {x->t.d[1]}, .acc = {a, b}};
    Type y = type_make(sum, 2, (int64_t[]){x->t.d[0].n, m});
    return node_new(r->g, OP_CONTRACT, &y, 2, (Node *[]){x, k}, &(Attr){.scalar = S_MUL, .iters = &it}, NULL);
  }
  int64_t k = plain ? 1 : between(r, 1, 3), p = below(r, (int)k), s = plain ? 1 : between(r, 1, 2), out[2];
  for (int i = 0; i < 2; i++) {
    if (x->t.d[2 + i].n + 2 * p < k) p = k - 1;
    out[i] = (x->t.d[2 + i].n + 2 * p - k) / s + 1;
  }
  Node *q = codes(r, w, 4, (int64_t[]){m, x->t.d[1].n, k, k});
  return node_conv(r->g, x, q, 1, (int64_t[]){s, s}, (int64_t[]){1, 1}, (int64_t[]){p, p}, out, 0, sum);
}

static Node *ending(Gen *r, Node *x) {
  static const int perm[4] = {0, 2, 3, 1};
  bool real = elem_is_float(x->t.e);
  switch (below(r, real ? 5 : 6)) {
  case 0: return x;
  case 1: return node_map2(r->g, S_MUL, node_cast(r->g, x, F32), node_const_f(r->g, F32, 0.25));
  case 2: return real ? node_map1(r->g, S_ABS, x) : stairs(r, x, below(r, 2) ? BIPOLAR : UINTK(between(r, 1, 2)), 1);
  case 3: return x->t.rank == 4 ? node_transpose(r->g, x, perm) : x;
  case 4: return node_map2(r->g, S_MAX, x, real ? node_const_f(r->g, F32, 0) : node_const_i(r->g, x->t.e, 0));
  default: return node_cast(r->g, node_map2(r->g, S_MIN, node_map2(r->g, S_MAX, x, node_const_i(r->g, I32, -128)), node_const_i(r->g, I32, 127)), I8);
  }
}

/* A layer of bases, of one position or a few. */
static Graph *generate_bases(Ctx *ctx, uint64_t seed) {
  static const Elem of[] = {{EK_FLOAT, 32}, {EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_UINT, 2}, {EK_INT, 8}, {EK_UINT, 30}};
  Gen r = {graph_new(ctx, "bases", NULL), seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
  int64_t d[4] = {one_of(&r, 4, (const int[]){1, 1, 3, 8}), between(&r, 1, 2), between(&r, 1, 4), between(&r, 1, 90)}, outs = between(&r, 16, 70), planes = 0;
  Type t = type_make(of[below(&r, 6)], 4, d), ct = type_make(UINTK(4), 3, (int64_t[]){d[1], outs, d[2]}), one = type_make(F32, 1, (int64_t[]){1});
  Tensor *counts = tensor_new(ctx, &ct), *scale = tensor_new(ctx, &one);
  int most = between(&r, 0, 3) * 2 + 1;
  for (int64_t i = 0; i < counts->n; i++) {
    int c = below(&r, 5) ? between(&r, most / 2, most) : 0;
    tensor_set_i(counts, i, c);
    planes += c;
  }
  tensor_set_f(scale, 0, below(&r, 2) ? 1 : 0.37);
  Type at = type_make(below(&r, 8) ? F32 : F64, 1, &planes);
  Tensor *alphas = tensor_new(ctx, &at);
  for (int64_t i = 0; i < planes; i++) tensor_set_f(alphas, i, between(&r, 1, 999) / 777.0);
  Node *x = graph_arg(r.g, "x", &t), *signs = codes(&r, BIPOLAR, 2, (int64_t[]){planes, d[3]});
  graph_out(r.g, "y", node_bases(r.g, x, signs, node_const(r.g, alphas), node_const(r.g, counts), node_const(r.g, scale), NULL, below(&r, 4) ? F32 : F64, KERNEL_AUTO));
  r.g->props = 0;
  return r.g;
}

static Graph *generate(Ctx *ctx, uint64_t seed, Kind kind) {
  if (kind == OF_ALPHAS) return generate_bases(ctx, seed);
  static const int channels[] = {5, 8, 12, 16, 17, 20, 24, 32, 40, 48, 64, 64, 96, 100, 128, 160};
  enum { KINDS = sizeof channels / sizeof *channels };
  Gen r = {graph_new(ctx, "lanes", NULL), seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
  bool full = below(&r, 4) == 0;
  Elem e = kind == OF_FLOATS ? F32 : kind == OF_CODES ? wide_acts[below(&r, 6)] : acts[below(&r, 5)];
  int64_t c = between(&r, 1, 130), d[4] = {1, c, between(&r, 1, 7), between(&r, 1, 9)}, f[2] = {between(&r, 1, 5), between(&r, 1, 600)};
  Type t = full ? type_make(e, 2, f) : type_make(e, 4, d);
  Node *x = graph_arg(r.g, "x", &t);
  for (int n = between(&r, 1, 2); n > 0; n--) {
    bool sum = kind != OF_BITS && below(&r, 3) == 0;
    int64_t m = one_of(&r, KINDS, channels);
    Elem w = kind == OF_FLOATS ? F32 : kind == OF_CODES ? wide_weights[below(&r, 5)] : weights[below(&r, 5)];
    Node *y = layer(&r, x, w, m, sum);
    x = sum ? node_map2(r.g, below(&r, 2) ? S_ADD : S_MAX, y, layer(&r, x, w, m, true)) : y;
    if (n > 1 && kind != OF_FLOATS) x = stairs(&r, x, acts[below(&r, 3)], 1);
  }
  graph_out(r.g, "y", ending(&r, x));
  r.g->props = 0;
  return r.g;
}

static void count_vectors(void *user, const Expr *x) {
  if ((x->kind == EX_SPLAT && x->t.lanes > 1 && x->t.e.bits == 64) || x->kind == EX_DOT || (x->kind == EX_SPLAT && x->t.lanes > 1 && elem_is_float(x->t.e))) ++*(int *)user;
}
static void count_in(void *user, const Stmt *s) { stmt_exprs(s, count_vectors, user); }

static int check_target(Ctx *ctx, const char *name, Tensor *in, Tensor *want, uint64_t seed, Kind kind) {
  Force f = {kind == OF_BITS ? KERNEL_BITSERIAL : kind == OF_FLOATS ? KERNEL_FLOAT : KERNEL_INT, NULL};
  PassOptions o = {.target = target_find(name), .force = &f, .n_force = 1};
  State s = {.graph = generate(ctx, seed, kind)};
  int vectors = 0;
  static const PassId ids[] = {PASS_infer, PASS_canon, PASS_select, PASS_layout, PASS_fold, PASS_cse, PASS_dce, PASS_fuse, PASS_lower, PASS_schedule, PASS_plan};
  bool ok = passes_run(ctx, &s, ids, sizeof ids / sizeof *ids, &o) && program_verify(ctx, s.program);
  diag_print(ctx, stderr, false);
  ck_assert_msg(ok, "seed %llu target %s", (unsigned long long)seed, name);
  Tensor *got = tensor_new(ctx, &want->t);
  ok = program_run(ctx, s.program, (const void *[]){in->data}, (void *[]){got->data});
  diag_print(ctx, stderr, false);
  ck_assert_msg(ok && !memcmp(got->data, want->data, (size_t)want->n * store_size(want->st)), "seed %llu target %s", (unsigned long long)seed, name);
  for (int i = 0; i < s.program->n_nests; i++) stmt_visit(&s.program->nests[i]->body, count_in, &vectors);
  return vectors;
}

static void check_layers(Kind kind, int n_names, const char *const *names) {
  int with[8] = {0};
  const char *from = getenv("SEED"), *count = getenv("SEEDS");
  uint64_t first = from ? strtoull(from, NULL, 10) : 1, n = count ? strtoull(count, NULL, 10) : LAYERS;
  for (uint64_t seed = first; seed < first + n; seed++) {
    Ctx *ctx = ctx_new();
    Graph *g = generate(ctx, seed, kind);
    Gen r = {g, seed + 99};
    Tensor *in = tensor_new(ctx, &g->args[0]->t), *want;
    for (int64_t i = 0; i < in->n; i++) number(&r, in, i);
    ck_assert(graph_verify(ctx, g) && graph_eval(ctx, g, &in, &want, NULL, NULL));
    for (int k = 0; k < n_names; k++) with[k] += check_target(ctx, names[k], in, want, seed, kind) > 0;
    ctx_free(ctx);
  }
  for (int k = 0; k < n_names; k++) ck_assert_msg(with[k] * 2 > (int)n, "%s: only %d of %d programs have vectors of words", names[k], with[k], (int)n);
}

START_TEST(random_layers) {
  static const char *const names[] = {"x86-64-v4-vpopcnt", "x86-64-v4", "x86-64-v3", "aarch64"};
  check_layers(OF_BITS, 4, names);
}
END_TEST

START_TEST(random_products) {
  static const char *const names[] = {"x86-64-v4-vnni", "x86-64-v4", "x86-64-v3", "aarch64-dotprod"};
  check_layers(OF_CODES, 4, names);
}
END_TEST

START_TEST(random_floats) {
  static const char *const names[] = {"x86-64-v4", "x86-64-v3", "aarch64"};
  check_layers(OF_FLOATS, 3, names);
}
END_TEST

START_TEST(random_bases) {
  static const char *const names[] = {"x86-64-v4", "x86-64-v3"};
  check_layers(OF_ALPHAS, 2, names);
}
END_TEST

int main(void) {
  Suite *s = suite_create("lanes");
  TCase *t = tcase_create("lanes");
  tcase_set_timeout(t, 600);
  tcase_add_test(t, random_layers);
  tcase_add_test(t, random_products);
  tcase_add_test(t, random_floats);
  tcase_add_test(t, random_bases);
  suite_add_tcase(s, t);
  return suite_run(s);
}
