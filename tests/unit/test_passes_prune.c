/* Random integer networks with planted dead channels: constant ones (thresholds never or always reached, rows of zero weights) and unread
 * ones (zero weights in every reader), through convolutions, depthwise ones, residual additions, concats, pools and a flattening. Exactly
 * the planted ones go, and every value stays (verify_each, down to the planned program). */
#include "passes/pass.h"
#include "passes/range.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

enum { NETS = 150, CHANNELS = 24, LAYERS = 16, LEVELS = 3 };
typedef enum Plant { LIVE, FIXED, UNREAD } Plant;

typedef struct Gen {
  Graph *g;
  uint64_t state;
  Node *x;                      /* codes [1, C, H, W] */
  Plant plant[CHANNELS];        /* of x */
  bool wild;                    /* pads whatever the channels are: counts are not exact then */
  bool border;                  /* some fixed channel of x is not 0: padding would differ at the border */
  int64_t want[LAYERS]; int n_layers; /* live channels of layer "L<i>" */
  int planted;
} Gen;

static int below(Gen *r, int n) { /* xorshift64* */
  r->state ^= r->state >> 12;
  r->state ^= r->state << 25;
  r->state ^= r->state >> 27;
  return (int)(r->state * UINT64_C(2685821657736338717) >> 33) % n;
}

static Tensor *tensor(Gen *r, Elem e, int rank, const int64_t *d) {
  Type t = type_make(e, rank, d);
  return tensor_new(r->g->ctx, &t);
}

static int64_t nonzero(Gen *r) { return (below(r, 2) ? 1 : -1) * (1 + below(r, 3)); }

/* Plants for m new channels, at least one live. */
static void plan(Gen *r, int64_t m, Plant *p) {
  for (int64_t i = 0; i < m; i++) p[i] = below(r, 3) ? LIVE : below(r, 2) ? FIXED : UNREAD;
  p[below(r, (int)m)] = LIVE;
}

/* Weights [m, c, k, k]: zero on unread inputs, and in some of the fixed rows. Depthwise: c = 1, row i reads channel i. */
static Node *weights(Gen *r, int64_t m, int64_t c, int64_t k, const Plant *rows, bool depthwise) {
  Tensor *w = tensor(r, INTK(4), 4, (int64_t[]){m, c, k, k});
  for (int64_t i = 0; i < m; i++) {
    bool zero = rows[i] == FIXED && below(r, 2);
    for (int64_t j = 0; j < c * k * k; j++)
      tensor_set_i(w, i * c * k * k + j, zero || (!depthwise && r->plant[j / (k * k)] == UNREAD) ? 0 : nonzero(r));
  }
  return node_const(r->g, w);
}

/* Thresholds of y's channels: live ones inside the proven range, those of fixed channels outside it. */
static Node *levels(Gen *r, Node *y, const Plant *p, bool zero) {
  int64_t m = y->t.d[1].n;
  Tensor *t = tensor(r, I32, 2, (int64_t[]){m, LEVELS}), *base = tensor(r, I8, 1, &m), *step = tensor(r, I8, 1, &m);
  const Range *range = range_of(ranges_new(r->g->arena, r->g), y);
  for (int64_t i = 0; i < m; i++) {
    int64_t lo = range->lo[range->n > 1 ? i : 0], hi = range->hi[range->n > 1 ? i : 0], reached = zero ? 0 : below(r, LEVELS + 1);
    if (p[i] == LIVE) ck_assert_int_lt(lo, hi);
    for (int64_t j = 0; j < LEVELS; j++)
      tensor_set_i(t, i * LEVELS + j, p[i] == FIXED ? (j < reached ? lo - below(r, 5) : hi + 1 + below(r, 5)) : lo + 1 + (hi - lo - 1) * j / LEVELS);
    if (p[i] == FIXED && reached) r->border = true;
    tensor_set_i(step, i, 1);
  }
  Type ty = y->t;
  ty.e = UINTK(2);
  Node *in[4] = {y, node_const(r->g, t), node_const(r->g, base), node_const(r->g, step)};
  return node_new(r->g, OP_THRESHOLDS, &ty, 4, in, &(Attr){.axis = 1}, NULL);
}

/* A convolution to m channels with thresholds; plants p. */
static Node *layer(Gen *r, int64_t m, const Plant *p, bool depthwise, bool same, bool zero) {
  const Type *t = &r->x->t;
  int64_t k = same || t->d[2].n < 3 ? 1 : 1 + 2 * below(r, 2), pad = k == 3 && (r->wild || !r->border) && below(r, 2), c = t->d[1].n;
  char *name = arena_alloc(r->g->arena, 16);
  snprintf(name, 16, "L%d", r->n_layers);
  Node *w = weights(r, m, depthwise ? 1 : c, k, p, depthwise);
  r->g->at = (Loc){.name = name, .line = -1, .node = -1};
  int64_t out[2] = {t->d[2].n + 2 * pad - k + 1, t->d[3].n + 2 * pad - k + 1};
  Node *y = node_conv(r->g, r->x, w, depthwise ? (int)c : 1, (int64_t[]){1, 1}, (int64_t[]){1, 1}, (int64_t[]){pad, pad}, out, 0, I32);
  r->g->at = LOC_NONE;
  r->want[r->n_layers] = 0;
  for (int64_t i = 0; i < m; i++) {
    r->want[r->n_layers] += p[i] == LIVE;
    r->planted += p[i] != LIVE;
  }
  r->n_layers++;
  return levels(r, y, p, zero);
}

static void step(Gen *r) {
  Plant p[CHANNELS];
  int64_t c = r->x->t.d[1].n, m = 2 + below(r, 5);
  bool was = r->border;
  Type t = r->x->t;
  switch (below(r, 5)) {
  case 0: /* depthwise: channels keep their plants; those of one number stay so without padding */
    memcpy(p, r->plant, sizeof p);
    r->border = true; /* no padding: at the border a fixed channel would differ */
    r->x = layer(r, c, p, true, false, !was);
    break;
  case 1: { /* x + f(x): plants meet */
    memcpy(p, r->plant, sizeof p);
    Node *y = layer(r, c, p, false, true, false);
    r->x = node_map_as(r->g, S_ADD, UINTK(8), 2, (Node *[]){node_cast(r->g, r->x, UINTK(8)), node_cast(r->g, y, UINTK(8))});
    break;
  }
  case 2: /* x beside f(x) */
    if (c + m > CHANNELS) return;
    plan(r, m, p);
    Node *y = layer(r, m, p, false, true, false);
    r->x = node_concat(r->g, 2, (Node *[]){r->x, node_cast(r->g, y, r->x->t.e)}, 1);
    memcpy(r->plant + c, p, sizeof *p * (size_t)m);
    break;
  case 3: { /* pool */
    if (t.d[2].n < 2) return;
    Affine acc[4] = {affine_iter(0, 1, 0), affine_iter(1, 1, 0), affine_iter(2, 1, 0), affine_iter(3, 1, 0)};
    Iters it = {.n_out = 4, .n_red = 2, .red = {dim_c(2), dim_c(2)}, .acc = {acc}};
    for (int i = 2; i < 4; i++) {
      acc[i].coef[i + 2] = 1;
      t.d[i].n--;
    }
    r->x = node_reduce(r->g, S_MAX, r->x, &t, &it);
    break;
  }
  default:
    plan(r, m, p);
    r->x = layer(r, m, p, false, false, false);
    r->border = false;
    for (int64_t i = 0; i < m; i++) r->border = r->border || p[i] == FIXED;
    memcpy(r->plant, p, sizeof *p * (size_t)m);
  }
}

static void random_net(Gen *r, Ctx *ctx, int seed, bool wild) {
  *r = (Gen){.wild = wild, .g = graph_new(ctx, "net", NULL), .state = (uint64_t)seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
  Type t = type_make(UINTK(4), 4, (int64_t[]){1, 1 + below(r, 3), wild ? 3 + seed % 3 : 6, wild ? 3 + seed % 3 : 6});
  r->x = graph_arg(r->g, "x", &t);
  Plant p[CHANNELS];
  int64_t m = 3 + below(r, 4);
  plan(r, m, p);
  r->x = layer(r, m, p, false, false, false);
  memcpy(r->plant, p, sizeof *p * (size_t)m);
  for (int64_t i = 0; i < m; i++) r->border = r->border || p[i] == FIXED;
  for (int n = below(r, 6); n > 0 && r->n_layers < LAYERS - 1; n--) step(r);
  const Type *x = &r->x->t;
  int64_t each = x->d[2].n * x->d[3].n, all = x->d[1].n * each;
  Tensor *w = tensor(r, INTK(4), 2, (int64_t[]){2, all});
  for (int64_t i = 0; i < 2 * all; i++) tensor_set_i(w, i, r->plant[i % all / each] == UNREAD ? 0 : nonzero(r));
  Node *flat = node_reshape(r->g, r->x, 2, (Dim[]){dim_c(1), dim_c(all)});
  graph_out(r->g, "y", node_matmul(r->g, flat, node_transpose(r->g, node_const(r->g, w), (int[]){1, 0}), I32));
}

typedef struct Told { int64_t n[DEAD_COUNT]; } Told;
static void told(void *user, Dead why, const Node *at, int64_t n) {
  ck_assert(at->op == (why == DEAD_THRESHOLDS ? OP_THRESHOLDS : OP_CONTRACT));
  ((Told *)user)->n[why] += n;
}

START_TEST(planted_channels_go) {
  Ctx *ctx = ctx_new();
  Gen r;
  random_net(&r, ctx, _i, false);
  State s = {.graph = r.g};
  Told tells = {0};
  PassOptions o = {.verify_each = true, .target = target_find(_i % 2 ? "c99" : "x86-64-v3"), .dead = told, .dead_user = &tells};
  Str before = {.ctx = ctx};
  graph_print(&before, s.graph);
  bool ok = passes_standard(ctx, &s, PASS_prune, &o);
  diag_print(ctx, stderr, false);
  ck_assert_msg(ok, "net %d:\n%s", _i, before.p);
  for (int i = 0; i < s.graph->n_nodes; i++) {
    const Node *n = s.graph->nodes[i];
    if (n->op != OP_CONTRACT || !n->loc.name) continue;
    int64_t l = strtol(n->loc.name + 1, NULL, 10);
    int64_t got = 1;
    for (int d = 1; d < n->t.rank - 2; d++) got *= n->t.d[d].n;
    ck_assert_msg(got == r.want[l], "net %d, layer %d: %d channels, not %d:\n%.3000s", _i, (int)l, (int)got, (int)r.want[l], before.p);
    r.want[l] = -1;
  }
  for (int l = 0; l < r.n_layers; l++) ck_assert_msg(r.want[l] == -1, "net %d: layer %d is gone", _i, l);
  ck_assert_int_eq(tells.n[DEAD_CONSTANT] + tells.n[DEAD_UNREAD], r.planted);
  ok = passes_standard(ctx, &s, -1, &o);
  diag_print(ctx, stderr, false);
  ck_assert_msg(ok, "net %d:\n%s", _i, before.p);
  str_free(&before);
  program_free(s.program);
  ctx_free(ctx);
}
END_TEST

/* Constant channels below padding: at the border they weigh less, and go where a table of their shares is small. Values stay. */
START_TEST(borders_are_exact) {
  int shares = 0, kept = 0;
  for (int seed = 0; seed < NETS / 2; seed++) {
    Ctx *ctx = ctx_new();
    Gen r;
    random_net(&r, ctx, seed, true);
    State s = {.graph = r.g};
    Told tells = {0};
    PassOptions o = {.verify_each = true, .target = target_find("c99"), .dead = told, .dead_user = &tells};
    bool ok = passes_standard(ctx, &s, PASS_prune, &o);
    for (int i = 0; ok && i < s.graph->n_nodes; i++) {
      const Node *n = s.graph->nodes[i];
      shares += node_is_map(n, S_ADD) && n->in[0]->op == OP_CONTRACT && node_is_const(n->in[1]) && n->in[1]->t.d[2].n > 1;
    }
    kept += tells.n[DEAD_CONSTANT] + tells.n[DEAD_UNREAD] < r.planted;
    ok = ok && passes_standard(ctx, &s, -1, &o);
    diag_print(ctx, stderr, false);
    ck_assert_msg(ok, "net %d", seed);
    program_free(s.program);
    ctx_free(ctx);
  }
  ck_assert_int_gt(shares, 0); /* both happen */
  ck_assert_int_gt(kept, 0);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("passes_prune");
  TCase *c = tcase_create("planted");
  tcase_set_timeout(c, 120);
  tcase_add_loop_test(c, planted_channels_go, 0, NETS);
  tcase_add_test(c, borders_are_exact);
  suite_add_tcase(suite, c);
  return suite_run(suite);
}
