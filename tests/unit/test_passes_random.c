/* Random quantized networks through the whole pipeline, every pass compared with eval bit by bit (verify_each): quantizers of every
 * spelling, rounding and sign, zero points, per-channel scales and gains of both signs, padding, groups, pools, shuffles. */
#include "passes/pass.h"
#include "passes/range.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NETS = 150 };

/* exact: scales are powers of two and steps few, so that floats compute without rounding. */
typedef struct Gen { Graph *g; uint64_t state; Node *x; bool exact; } Gen;

static uint64_t bits(Gen *r) { /* xorshift64* */
  r->state ^= r->state >> 12;
  r->state ^= r->state << 25;
  r->state ^= r->state >> 27;
  return r->state * UINT64_C(2685821657736338717);
}
static int below(Gen *r, int n) { return (int)(bits(r) >> 33) % n; }
static int between(Gen *r, int lo, int hi) { return lo + below(r, hi - lo + 1); }
static double unit(Gen *r) { return (double)(bits(r) >> 11) * 0x1p-53; }
static bool chance(Gen *r, double p) { return unit(r) < p; }
static double scale(Gen *r) { return r->exact || chance(r, 0.3) ? ldexp(1, -between(r, 1, 6)) : 0.01 + 0.3 * unit(r); }
static double gain(Gen *r) { return (chance(r, 0.5) ? 1 : -1) * (chance(r, 0.1) ? 1e-12 : 0.2 + 1.8 * unit(r)); }
static double offset(Gen *r) { return r->exact ? (double)between(r, -8, 8) / 4 : 3 * unit(r) - 1.5; }

static Node *floats(Gen *r, int rank, const int64_t *d, double (*f)(Gen *)) {
  Type t = type_make(F32, rank, d);
  Tensor *v = tensor_new(r->g->ctx, &t);
  for (int64_t i = 0; i < v->n; i++) tensor_set_f(v, i, f(r));
  return node_const(r->g, v);
}

static Node *codes(Gen *r, Elem e, int rank, const int64_t *d) {
  Type t = type_make(e, rank, d);
  Tensor *v = tensor_new(r->g->ctx, &t);
  for (int64_t i = 0; i < v->n; i++)
    tensor_set_i(v, i, e.kind == EK_BASES ? (chance(r, 0.5) ? 1 : -1) : between(r, (int)elem_lo(e), (int)elem_hi(e)));
  return node_const(r->g, v);
}

/* One value per channel (dimension 1 of 4, the last of 2), or one for all. */
static Node *per_channel(Gen *r, double (*f)(Gen *)) {
  const Type *t = &r->x->t;
  if (chance(r, 0.3)) return floats(r, 0, NULL, f);
  if (t->rank == 4) return floats(r, 3, (int64_t[]){t->d[1].n, 1, 1}, f);
  return floats(r, 1, &t->d[t->rank - 1].n, f);
}

static void quantize(Gen *r) {
  Graph *g = r->g;
  Node *s = chance(r, 0.2) ? per_channel(r, scale) : floats(r, 0, NULL, scale), *z = NULL, *q;
  Round round = chance(r, 0.6) ? RND_EVEN : (Round)below(r, RND_COUNT);
  int kind = below(r, 5), k = between(r, 1, 4);
  if (kind == 0)
    q = node_quant(g, r->x, s, NULL, BIPOLAR, -1, 1, RND_EVEN);
  else if (kind == 1)
    q = node_quant(g, r->x, s, chance(r, 0.5) ? node_const_f(g, F32, 0) : NULL, UINTK(k), 0, (1 << k) - 1, round);
  else if (kind == 2)
    q = node_quant(g, r->x, s, NULL, INTK(k + 1), -(1 << k) + below(r, 2), (1 << k) - 1, round);
  else {
    Elem e = kind == 3 ? I8 : U8;
    z = codes(r, e, 0, NULL);
    q = node_quant(g, r->x, s, z, e, elem_lo(e), elem_hi(e), RND_EVEN);
    if (chance(r, 0.3)) q = node_map2(g, S_MAX, q, node_const_i(g, e, between(r, (int)elem_lo(e), 0)));
    if (chance(r, 0.3)) q = node_map2(g, S_MIN, q, node_const_i(g, e, between(r, 1, 100)));
  }
  r->x = node_dequant(g, q, s, z, F32);
}

static Node *weight(Gen *r, int rank, const int64_t *d) {
  int64_t ds[4] = {d[0], 1, 1, 1};
  Node *s = chance(r, 0.5) ? floats(r, rank, ds, scale) : floats(r, 0, NULL, scale), *z = NULL;
  int kind = below(r, 4);
  Elem e = kind == 0 ? BIPOLAR : kind == 1 ? INTK(between(r, 2, 5)) : kind == 2 ? I8 : U8;
  if (kind >= 2 && chance(r, 0.6)) z = chance(r, 0.4) ? codes(r, e, rank, ds) : codes(r, e, 0, NULL);
  if (kind == 1 && chance(r, 0.5)) return node_dequant(r->g, node_quant(r->g, floats(r, rank, d, offset), s, NULL, e, elem_lo(e), elem_hi(e), RND_EVEN), s, NULL, F32);
  return node_dequant(r->g, codes(r, e, rank, d), s, z, F32);
}

static Node *f(Gen *r, double v) { return node_const_f(r->g, F32, v); }

static void element_wise(Gen *r) {
  Graph *g = r->g;
  Node *a;
  for (int n = below(r, 4); n > 0; n--)
    switch (r->exact ? between(r, 2, 6) : below(r, 13)) {
    case 0: r->x = node_map2(g, S_MUL, r->x, per_channel(r, gain)); break;
    case 1: r->x = node_map2(g, S_DIV, r->x, per_channel(r, gain)); break;
    case 2: r->x = node_map2(g, S_ADD, r->x, per_channel(r, offset)); break;
    case 3: r->x = node_map2(g, S_SUB, per_channel(r, offset), r->x); break;
    case 4: r->x = node_map2(g, S_MAX, r->x, f(r, 0)); break;
    case 5: r->x = node_map2(g, S_MIN, node_map2(g, S_MAX, r->x, f(r, -0.5)), f(r, 1.5)); break;
    case 6: r->x = node_map1(g, S_NEG, r->x); break;
    case 7: r->x = node_map1(g, S_TANH, r->x); break;
    case 8: r->x = node_map1(g, S_FLOOR, r->x); break;
    case 9: r->x = node_map1(g, S_ABS, r->x); break;
    case 10: /* hard swish */
      a = node_map2(g, S_MIN, node_map2(g, S_MAX, node_map2(g, S_ADD, r->x, f(r, 3)), f(r, 0)), f(r, 6));
      r->x = node_map2(g, S_DIV, node_map2(g, S_MUL, r->x, a), f(r, 6));
      break;
    case 11: r->x = node_map3(g, S_SELECT, node_map2(g, S_LT, r->x, f(r, 0)), node_map2(g, S_MUL, r->x, f(r, 0.1)), r->x); break;
    default: quantize(r);
    }
}

static void conv(Gen *r) {
  const Type *t = &r->x->t;
  int64_t k = between(r, 1, 3), p = below(r, (int)k), s = between(r, 1, 2), out[2], c = t->d[1].n, m = between(r, 1, 4);
  int groups = chance(r, 0.4) ? (int)c : 1;
  if (groups > 1) m = c * between(r, 1, 2);
  for (int i = 0; i < 2; i++) {
    if (t->d[2 + i].n + 2 * p < k) return;
    out[i] = (t->d[2 + i].n + 2 * p - k) / s + 1;
  }
  Node *w = weight(r, 4, (int64_t[]){m, c / groups, k, k});
  r->x = node_conv(r->g, r->x, w, groups, (int64_t[]){s, s}, (int64_t[]){1, 1}, (int64_t[]){p, p}, out, 0, F32);
}

static void pool(Gen *r) {
  Type t = r->x->t;
  bool max = chance(r, 0.5);
  int64_t p = chance(r, 0.3), s = between(r, 1, 2);
  Affine acc[4] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0), affine_iter(2, s, -p), affine_iter(3, s, -p)};
  Iters it = {.n_out = 4, .n_red = 2, .red = {dim_c(2), dim_c(2)}, .acc = {acc}};
  for (int i = 2; i < 4; i++) {
    if (t.d[i].n < 2) return;
    acc[i].coef[i + 2] = 1;
    t.d[i].n = (t.d[i].n + 2 * p - 2) / s + 1;
  }
  r->x = node_reduce(r->g, max ? S_MAX : S_ADD, r->x, &t, &it);
  if (!max) r->x = node_map2(r->g, S_DIV, r->x, f(r, 4));
}

static void shuffle(Gen *r) {
  Graph *g = r->g;
  const Type *t = &r->x->t;
  Node *other;
  switch (below(r, 6)) {
  case 0: r->x = node_transpose(g, r->x, (int[]){0, 1, 3, 2}); break;
  case 1: r->x = node_pad(g, r->x, (int64_t[]){0, 0, 1, 0}, (int64_t[]){0, 0, 0, 1}, chance(r, 0.5) ? 0 : 0.5); break;
  case 2: r->x = node_slice(g, r->x, 2, t->d[2].n - 1, -1, t->d[2].n); break;
  case 3:
    other = r->x;
    element_wise(r);
    if (r->x->t.rank == 4 && r->x->t.d[1].n < 9) r->x = node_concat(g, 2, (Node *[]){other, r->x}, 1);
    break;
  case 4:
    other = r->x;
    element_wise(r);
    r->x = node_map2(g, S_ADD, r->x, other);
    break;
  default: {
    int64_t n = t->d[1].n * t->d[2].n * t->d[3].n;
    r->x = node_reshape(g, r->x, 2, (Dim[]){t->d[0], dim_c(n)});
  }
  }
}

static void dense(Gen *r) {
  int64_t d[2] = {between(r, 1, 4), r->x->t.d[1].n};
  r->x = node_matmul(r->g, r->x, node_transpose(r->g, weight(r, 2, d), (int[]){1, 0}), F32);
}

static Graph *random_net(Ctx *ctx, int seed, bool exact) {
  Gen r = {.exact = exact, .g = graph_new(ctx, "net", NULL), .state = (uint64_t)seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
  Type t = type_make(F32, 4, (int64_t[]){1, between(&r, 1, 3), between(&r, 4, 6), between(&r, 4, 6)});
  r.x = graph_arg(r.g, "x", &t);
  quantize(&r);
  for (int n = between(&r, 1, 4); n > 0; n--) {
    if (r.x->t.rank == 2) dense(&r);
    else if (chance(&r, 0.5)) conv(&r);
    else if (chance(&r, 0.5)) pool(&r);
    else shuffle(&r);
    element_wise(&r);
    if (chance(&r, 0.8)) quantize(&r);
  }
  graph_out(r.g, "y", r.x);
  return r.g;
}

START_TEST(every_pass_keeps_its_promise) {
  Ctx *ctx = ctx_new();
  State s = {.graph = random_net(ctx, _i, false)};
  PassOptions o = {.verify_each = true, .target = target_find(_i % 2 ? "c99" : "x86-64-v3"), .hls = _i % 7 == 0};
  Str before = {.ctx = ctx};
  graph_print(&before, s.graph);
  bool ok = passes_standard(ctx, &s, -1, &o);
  diag_print(ctx, stderr, false);
  ck_assert_msg(ok, "net %d:\n%s", _i, before.p);
  str_free(&before);
  program_free(s.program);
  ctx_free(ctx);
}
END_TEST

/* recognize may only change roundings: where there are none, every bit stays. */
START_TEST(recognize_is_exact) {
  Ctx *ctx = ctx_new();
  State s = {.graph = random_net(ctx, _i, true)};
  Tensor *in = tensor_new(ctx, &s.graph->args[0]->t), *before, *after;
  Gen r = {.state = (uint64_t)_i + 99};
  for (int64_t i = 0; i < in->n; i++) tensor_set_f(in, i, (double)between(&r, -64, 64) / 16);
  ck_assert(graph_eval(ctx, s.graph, &in, &before, NULL, NULL));
  ck_assert(passes_standard(ctx, &s, PASS_recognize, &(PassOptions){0}));
  ck_assert(graph_eval(ctx, s.graph, &in, &after, NULL, NULL));
  if (!tensor_eq(before, after)) {
    Str t = {.ctx = ctx};
    graph_print(&t, s.graph);
    ck_abort_msg("net %d:\n%s", _i, t.p);
  }
  graph_free(s.graph);
  ctx_free(ctx);
}
END_TEST

/* Every element of a code value lies in its range. */
static bool inside(void *user, const Node *n, const Tensor *v) {
  const Range *r = range_of(user, n);
  int64_t idx[MAX_RANK] = {0};
  for (int64_t i = 0; r && i < v->n; i++) {
    int64_t at = 0, x = tensor_i(v, i);
    for (int d = 0; d < n->t.rank; d++) at = at * r->d[d] + (r->d[d] == 1 ? 0 : idx[d]);
    if (x < r->lo[at] || x > r->hi[at]) ck_abort_msg("%s %u: %lld", op_info[n->op].name, n->id, (long long)x);
    for (int d = n->t.rank - 1; d >= 0 && ++idx[d] == n->t.d[d].n; d--) idx[d] = 0;
  }
  return true;
}

START_TEST(ranges_hold) {
  static const PassId stages[] = {PASS_recognize, PASS_sink, PASS_thresholds};
  Ctx *ctx = ctx_new();
  State s = {.graph = random_net(ctx, _i, false)};
  Tensor *in = tensor_new(ctx, &s.graph->args[0]->t), *out;
  Gen r = {.state = (uint64_t)_i + 7};
  for (size_t k = 0; k < sizeof stages / sizeof *stages; k++) {
    ck_assert(passes_standard(ctx, &s, stages[k], &(PassOptions){0}));
    Ranges *ranges = ranges_new(s.graph->arena, s.graph);
    for (int set = 0; set < 4; set++) { /* small, large and huge inputs: the last saturate */
      for (int64_t i = 0; i < in->n; i++) tensor_set_f(in, i, (2 * unit(&r) - 1) * pow(10, set));
      ck_assert(graph_eval(ctx, s.graph, &in, &out, inside, ranges));
      tensor_free(out);
    }
  }
  graph_free(s.graph);
  ctx_free(ctx);
}
END_TEST

/* A broken pass: when `pass` has run for the n-th time, a constant of what it left is one more. */
typedef struct Breaker { PassId pass; Op op; int operand, times; bool done; } Breaker;

static void break_after(void *user, PassId p, bool after, const Graph *g, const Program *prog) {
  Breaker *b = user;
  (void)prog;
  if (!after || p != b->pass || !g || b->done || --b->times > 0) return;
  for (int i = 0; i < g->n_nodes && !b->done; i++) {
    const Node *n = g->nodes[i];
    if (n->op != b->op || !node_is_const(n->in[b->operand])) continue;
    Tensor *t = (Tensor *)(uintptr_t)n->in[b->operand]->a.value;
    for (int64_t k = 0; k < t->n; k++) tensor_set_i(t, k, tensor_i(t, k) > 0 ? tensor_i(t, k) - 1 : tensor_i(t, k) + 1);
    b->done = true;
  }
}

START_TEST(a_broken_pass_is_named) {
  static const char text[] =
    "popshift.graph 1\ngraph @net(%x: f32[2,6]) -> (%y: f32[2,4]) {\n  %1: f32 = const 0.25\n  %2: i4[2,6] = quant %x, %1 round=even lo=-8 hi=7\n"
    "  %3: f32[2,6] = dequant %2, %1\n  %4: i8[6,4] = const [3, -1, 2, 5, 7, -2, 1, 1, 4, -6, 3, 2, 1, 1, -5, 6, 2, 2, -1, 3, 1, 4, -2, 5]\n"
    "  %5: f32[6,4] = dequant %4, %1\n  %6: f32[2,4] = contract mul %3, %5 [n m | c:6](n, c)(c, m)\n  %7: f32 = const 0.5\n"
    "  %8: i3[2,4] = quant %6, %7 round=even lo=-4 hi=3\n  %9: f32[2,4] = dequant %8, %7\n  return %9\n}\n";
  static const struct { PassId pass; Op op; int operand; } faults[] = {
    {PASS_recognize, OP_COUNT, 0}, {PASS_canon, OP_DEQUANT, 0}, {PASS_encode, OP_CONTRACT, 1}, {PASS_sink, OP_CONTRACT, 1}, {PASS_thresholds, OP_THRESHOLDS, 2},
    {PASS_widths, OP_THRESHOLDS, 2}, {PASS_select, OP_CONTRACT, 1}, {PASS_layout, OP_THRESHOLDS, 2}, {PASS_fuse, OP_THRESHOLDS, 2}};
  Ctx *ctx = ctx_new();
  Graph *g = graph_parse(ctx, "net", text, sizeof text - 1);
  ck_assert_ptr_nonnull(g);
  Tensor *in[2], *const *sets[2] = {&in[0], &in[1]};
  Gen r = {.state = 7};
  for (int k = 0; k < 2; k++) {
    in[k] = tensor_new(ctx, &g->args[0]->t);
    for (int64_t i = 0; i < in[k]->n; i++) tensor_set_f(in[k], i, 4 * unit(&r) - 2);
  }
  Breaker b = {faults[_i].pass, faults[_i].op, faults[_i].operand, 1, false};
  PassOptions o = {.target = target_find("c99"), .dump = break_after, .dump_user = &b};
  Str say = {.ctx = ctx};
  bool ok = passes_compared(ctx, g, sets, 2, &o, &say), fault = faults[_i].op != OP_COUNT;
  ck_assert_int_eq(b.done, fault);
  ck_assert_int_eq(ok, !fault);
  if (fault) {
    const Diag *first = ctx->diags;
    char want[80];
    snprintf(want, sizeof want, "pass %s (step ", pass_info[faults[_i].pass].name);
    ck_assert_msg(first && first->code == E0901 && !strncmp(first->text, want, strlen(want)) && strstr(first->text, " changes "), "%s", first ? first->text : "nothing");
  } else ck_assert_msg(strstr(say.p, "steps of the native pipeline keep every value") != NULL, "%s", say.p);
  str_free(&say);
  graph_free(g);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("passes_random");
  TCase *c = tcase_create("random");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, every_pass_keeps_its_promise, 0, NETS);
  tcase_add_loop_test(c, recognize_is_exact, 0, NETS);
  tcase_add_loop_test(c, ranges_hold, 0, NETS);
  tcase_add_loop_test(c, a_broken_pass_is_named, 0, 9);
  suite_add_tcase(suite, c);
  return suite_run(suite);
}
