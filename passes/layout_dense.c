/* layout of contractions that multiply: what the innermost loop walks lies side by side.
 *   codes that are multiplied in words over lanes (lower_dot.c): channels last, activations padded;
 *   codes with a long reduction iterator c (channels, features): c last in both operands and innermost, a plain dot product;
 *   otherwise an output iterator v of a constant operand alone (output channels): v last there, a tile of neighbouring outputs;
 *   otherwise one that both operands step along (channels of a depthwise convolution): v last in both.
 * An operand that is accessed outside where that adds something is padded in a copy, so that the loops have no test.
 * Sums of codes may change their order, sums of floats keep it. Constants move at compile time, activations by a view. */
#include "passes/access.h"
#include "passes/contract.h"

#include <math.h>
#include <string.h>

enum { DOT_LEAST = 16, LANES_LEAST = 4, MOST_PADDED = 64 };

typedef struct Dense { Graph *g; const Node *n; Node *in[3]; Iters it; Affine acc[3][MAX_RANK]; } Dense;

/* The dimension of operand k that iterator i walks with step 1, alone in that: -1 where there is none. */
static int walked(const Node *n, int k, int i) {
  int found = -1;
  for (int d = 0; d < n->in[k]->t.rank; d++) {
    const Affine *a = &n->a.iters->acc[k][d];
    if (!a->coef[i]) continue;
    if (found >= 0 || a->coef[i] != 1 || a->div != 1) return -2;
    found = d;
  }
  return found;
}

static bool move_last(Dense *b, int k, int dim) {
  Node *x = b->in[k];
  int rank = x->t.rank, perm[MAX_RANK], r = 0;
  bool moves = false;
  for (int d = dim + 1; d < rank; d++) moves = moves || x->t.d[d].n != 1;
  if (!moves) return true;
  for (int d = 0; d < rank; d++)
    if (d != dim) perm[r++] = d;
  perm[r] = dim;
  x = folded(b->g, node_transpose(b->g, x, perm));
  if (!x) return false;
  Affine old[MAX_RANK];
  memcpy(old, b->acc[k], sizeof old);
  for (int d = 0; d < rank; d++) b->acc[k][d] = old[perm[d]];
  b->in[k] = x;
  return true;
}

/* Reduction iterator j becomes the last. */
static void iterate_last(Dense *b, int j) {
  int from = b->it.n_out + j, end = b->it.n_out + b->it.n_red;
  Dim d = b->it.red[j];
  memmove(&b->it.red[j], &b->it.red[j + 1], sizeof d * (size_t)(end - from - 1));
  b->it.red[b->it.n_red - 1] = d;
  for (int k = 0; k < b->n->n_in; k++)
    for (int i = 0; i < b->in[k]->t.rank; i++) {
      int64_t *c = b->acc[k][i].coef, moved = c[from];
      memmove(&c[from], &c[from + 1], sizeof *c * (size_t)(end - from - 1));
      c[end - 1] = moved;
    }
}

static int dot_iter(const Node *n) {
  int best = -1;
  if (elem_is_float(n->t.e) || n->n_in != 2) return -1;
  for (int j = 0; j < n->a.iters->n_red; j++) {
    int at = n->a.iters->n_out + j;
    if (n->a.iters->red[j].n < DOT_LEAST || walked(n, 0, at) < 0 || walked(n, 1, at) < 0) continue;
    if (best < 0 || n->a.iters->red[j].n > n->a.iters->red[best].n) best = j;
  }
  return best;
}

/* The output iterator to tile: longest of those that only a constant operand walks, else of those that both walk. */
static int lane_iter(const Node *n, bool both) {
  int best = -1;
  for (int v = 0; v < n->t.rank; v++) {
    int w[2] = {walked(n, 0, v), walked(n, 1, v)};
    bool fits = both ? w[0] >= 0 && w[1] >= 0 && dim_inside(n, 0, w[0]) && dim_inside(n, 1, w[1]) :
                (w[0] == -1 && w[1] >= 0 && node_is_const(n->in[1])) || (w[1] == -1 && w[0] >= 0 && node_is_const(n->in[0]));
    if (fits && n->t.d[v].n >= LANES_LEAST && (best < 0 || n->t.d[v].n > n->t.d[best].n)) best = v;
  }
  return best;
}

static bool all_finite(const Node *n) {
  if (!elem_is_float(n->t.e)) return true;
  if (!node_is_const(n)) return false;
  for (int64_t i = 0; i < n->a.value->n; i++)
    if (!isfinite(tensor_f(n->a.value, i))) return false;
  return true;
}

/* Where terms outside the first operand are not nothing, or words of it are read, it is padded to what is accessed, in a copy. */
static void pad_first(Dense *b, bool words) {
  const Node *n = b->n;
  int64_t before[MAX_RANK] = {0}, after[MAX_RANK] = {0}, ext[MAX_ITERS];
  int total = iters_extents(n, ext);
  bool clips = !words && n->a.fill == 0 && all_finite(n->in[1]) && !elem_is_float(n->t.e); /* floats are computed in blocks of rows */
  Elem e = b->in[0]->t.e;
  bool signs = n->a.fill == 0 && e.kind == EK_BASES && e.bits == 1;
  if (access_inside(n, 0) || clips || !(signs || elem_is_float(e) || code_fits(e, (int64_t)n->a.fill))) return;
  for (int d = 0; d < n->in[0]->t.rank; d++) {
    const Affine *a = &b->acc[0][d];
    int64_t lo = a->base, hi = a->base, far;
    if (a->div != 1) return;
    for (int i = 0; i < total; i++)
      if (!mul_ok(a->coef[i], ext[i] - 1, &far) || !add_ok(far > 0 ? hi : lo, far, far > 0 ? &hi : &lo)) return;
    before[d] = lo < 0 ? -lo : 0;
    after[d] = hi >= n->in[0]->t.d[d].n ? hi - n->in[0]->t.d[d].n + 1 : 0;
    if (before[d] + after[d] > n->in[0]->t.d[d].n + MOST_PADDED) return;
  }
  if (signs) b->in[0] = node_cast(b->g, b->in[0], INTK(2)); /* and 0 outside */
  b->in[0] = node_pad(b->g, b->in[0], before, after, n->a.fill);
  for (int d = 0; d < n->in[0]->t.rank; d++) b->acc[0][d].base += before[d];
}

/* The reduction iterator that words are made of (lower_dot.c): channels, which no output iterator walks, else the longest. */
static int word_iter(const Node *n) {
  int best = -1;
  bool alone = false;
  for (int j = 0; j < n->a.iters->n_red; j++) {
    int at = n->a.iters->n_out + j, d = walked(n, 0, at);
    bool own = d >= 0;
    if (d < 0 || walked(n, 1, at) < 0 || n->a.iters->red[j].n < 2) continue;
    for (int v = 0; v < n->a.iters->n_out; v++) own = own && !n->a.iters->acc[0][d].coef[v];
    if (best >= 0 && (own == alone ? n->a.iters->red[j].n <= n->a.iters->red[best].n : alone)) continue;
    best = j;
    alone = own;
  }
  return best;
}

Node *layout_dense(Graph *g, const Node *n, Node *const *in, const PassOptions *opt) {
  Dense b = {.g = g, .n = n, .it = *n->a.iters};
  if (n->n_in != 2) return NULL;
  for (int k = 0; k < 2; k++) {
    b.in[k] = in[k];
    memcpy(b.acc[k], n->a.iters->acc[k], sizeof(Affine) * n->in[k]->t.rank);
    b.it.acc[k] = b.acc[k];
  }
  bool words = dot_lanes(n, opt);
  if (words && dot_word(n, opt->target) == 2) b.in[0] = node_cast(g, b.in[0], INTK(16));
  pad_first(&b, words);
  int j = elem_is_float(n->t.e) ? -1 : words ? word_iter(n) : dot_iter(n), at = n->a.iters->n_out + j;
  if (j < 0) {
    at = lane_iter(n, false);
    if (at < 0) at = lane_iter(n, true);
  }
  for (int k = 0; at >= 0 && k < 2; k++) {
    int d = walked(n, k, at);
    if (d >= 0 && !move_last(&b, k, d)) return NULL;
  }
  if (j >= 0) iterate_last(&b, j);
  if (b.in[0] == in[0] && b.in[1] == in[1] && (j < 0 || j == n->a.iters->n_red - 1)) return NULL;
  Attr a = n->a;
  a.iters = &b.it;
  return node_new(g, OP_CONTRACT, &n->t, 2, b.in, &a, NULL);
}
