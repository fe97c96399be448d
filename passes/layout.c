/* layout: a bit-serial contraction becomes operators with exact meaning: pack of the activations, constant words of the
 * weights, and a contract of words over [.. | plane a, plane w, other reductions.., word].
 * With a number = oa + sum ca[p]*a_p and a weight = ow + sum cw[q]*w_q in bits (contract.h),
 *   sum a*w = sum_pq ca[p]*cw[q]*pop(a_p and w_q) + ow * sum_p ca[p]*pop(a_p) + oa * sum w
 *   signs by signs: sum a*w = K - 2*pop(a xor w)
 *   other activations by signs: 2*pop(a and w) - pop(a) = pop(w) - pop(a xor w), so that no sum of activations is needed:
 *     sum a*w = sum_p ca[p]*pop(w) - sum_p ca[p]*pop(a_p xor w) + oa * sum w.
 * Outside the activations a word is 0, which reads as the number oa; where the fill is another number, or oa is not 0, a
 * constant tensor corrects: C = fill*W - (fill - oa)*I, W the sum of all weights of an output, I of those that meet an
 * activation inside. It varies near borders only: equal slices are kept once and gathered. */
#include "passes/contract.h"
#include "passes/lower_lanes.h"

#include <assert.h>
#include <string.h>

typedef struct Build { Rewrite *rw; Graph *g; const Node *n; Node *const *in; const Target *target; BitPlan p; Type t; } Build; /* t: of the sums, at a width of machines */

static int64_t extent(const Node *n, int iter) {
  return iter < n->a.iters->n_out ? n->t.d[iter].n : n->a.iters->red[iter - n->a.iters->n_out].n;
}

Node *folded(Graph *g, Node *n) {
  Tensor *ins[3];
  if (!n || n->n_in == 0 || n->n_in > 3) return n;
  for (int k = 0; k < n->n_in; k++) {
    if (!node_is_const(n->in[k])) return n;
    ins[k] = (Tensor *)(uintptr_t)n->in[k]->a.value;
  }
  Tensor *t = node_eval(g->ctx, n, ins);
  return t ? node_const(g, t) : NULL;
}

static Node *map_to(Graph *g, Scalar s, Elem e, Node *a, Node *b) {
  return folded(g, node_map_as(g, s, e, 2, (Node *[]){a, b}));
}

static Node *const_i(Graph *g, int64_t v) { return node_const_i(g, v == (int32_t)v ? I32 : I64, v); }

/* The operand with its packed dimension split off and last: [other dimensions.., the other iterator, K], then as words. */
static Node *packed(const Build *b, const PackSide *s) {
  Graph *g = b->g;
  Node *x = b->in[s->operand];
  if (s->planes.least || s->planes.shift) { /* a constant's values */
    x = map_to(g, S_SUB, I64, folded(g, node_cast(g, x, I64)), const_i(g, s->planes.least));
    x = x ? map_to(g, S_SHR, I64, x, node_const_i(g, UINTK(6), s->planes.shift)) : NULL;
  }
  x = x ? folded(g, node_cast(g, x, s->planes.packed)) : NULL;
  if (!x) return NULL;
  Type t = {.e = x->t.e};
  Affine acc[MAX_RANK];
  for (int d = 0; d < x->t.rank; d++) {
    if (d == s->dim) continue;
    acc[d] = affine_iter(t.rank, 1, 0);
    t.d[t.rank++] = x->t.d[d];
  }
  acc[s->dim] = (Affine){.div = 1};
  if (s->other >= 0) {
    acc[s->dim].coef[t.rank] = b->n->a.iters->acc[s->operand][s->dim].coef[s->other];
    t.d[t.rank++] = dim_c(extent(b->n, s->other));
  }
  acc[s->dim].coef[t.rank] = 1;
  t.d[t.rank++] = dim_c(b->p.k);
  bool moves = s->dim != x->t.rank - 1 || s->other >= 0 || x->t.d[s->dim].n != b->p.k;
  if (moves) x = folded(g, node_view(g, x, &t, acc, 0));
  if (!x) return NULL;
  Type w = t;
  w.e = UINTK(b->target->word);
  w.rank++;
  w.d[t.rank - 1] = dim_c(s->planes.n);
  w.d[t.rank] = dim_c((b->p.k + b->target->word - 1) / b->target->word);
  Attr a = {.axis = t.rank - 1};
  return folded(g, node_new(g, OP_PACK, &w, 1, &x, &a, NULL));
}

/* Iterators of the contract of words: plane a, plane w, the old reductions but the packed one, word. */
static int new_iter(const Build *b, int old) {
  int n_out = b->n->a.iters->n_out, j = old - n_out;
  assert(j != b->p.iter);
  return old < n_out ? old : n_out + 2 + j - (j > b->p.iter);
}

static int packed_access(const Build *b, const PackSide *s, int plane_iter, int word_iter, Affine *acc) {
  const Iters *it = b->n->a.iters;
  int r = 0;
  for (int d = 0; d < b->in[s->operand]->t.rank; d++) {
    if (d == s->dim) continue;
    const Affine *old = &it->acc[s->operand][d];
    Affine a = {.base = old->base, .div = old->div};
    for (int i = 0; i < it->n_out + it->n_red; i++)
      if (old->coef[i]) a.coef[new_iter(b, i)] = old->coef[i];
    acc[r++] = a;
  }
  if (s->other >= 0) acc[r++] = affine_iter(s->other, 1, 0);
  acc[r++] = affine_iter(plane_iter, 1, 0);
  acc[r++] = affine_iter(word_iter, 1, 0);
  return r;
}

/* Weights +-1 by other activations. */
static bool by_signs(const BitPlan *p) { return p->sum && p->weight.planes.n == 1 && p->weight.planes.coef[0] == 2 && p->weight.planes.offset == -1; }

static Node *coefficients(const Build *b, int na, int nw) {
  Type t = type_make(I32, 2, (int64_t[]){na, nw});
  Tensor *c = tensor_new(b->g->ctx, &t);
  if (!c) return NULL;
  for (int i = 0; i < na; i++)
    for (int j = 0; j < nw; j++)
      tensor_set_i(c, i * nw + j, by_signs(&b->p) ? -b->p.act.planes.coef[i] : b->p.act.planes.coef[i] * b->p.weight.planes.coef[j]);
  return node_const(b->g, c);
}

static void word_iters(const Build *b, int na, int nw, int64_t words, Iters *it) {
  const Iters *old = b->n->a.iters;
  it->n_out = old->n_out;
  it->red[it->n_red++] = dim_c(na);
  it->red[it->n_red++] = dim_c(nw);
  for (int j = 0; j < old->n_red; j++)
    if (j != b->p.iter) it->red[it->n_red++] = old->red[j];
  it->red[it->n_red++] = dim_c(words);
}

/* The words with a border of 0 where the contraction reads outside, the access moved: then nothing is outside. One copy is
 * cheaper than a test per word; no copy where the border would be larger than what it surrounds. */
static Node *bordered(const Build *b, Node *act, const Iters *it, Affine *acc) {
  int64_t before[MAX_RANK] = {0}, after[MAX_RANK] = {0}, n = 1, all = 1;
  for (int d = 0; d < act->t.rank; d++) {
    int64_t lo = acc[d].base, hi = acc[d].base, ext = act->t.d[d].n;
    if (acc[d].div != 1) return act;
    for (int i = 0; i < it->n_out + it->n_red; i++) {
      int64_t far = acc[d].coef[i] * ((i < it->n_out ? b->n->t.d[i].n : it->red[i - it->n_out].n) - 1);
      *(far > 0 ? &hi : &lo) += far;
    }
    before[d] = lo < 0 ? -lo : 0;
    after[d] = hi >= ext ? hi - ext + 1 : 0;
    n *= ext;
    if (!mul_ok(all, ext + before[d] + after[d], &all)) return act;
  }
  if (all == n || all > 8 * n) return act;
  for (int d = 0; d < act->t.rank; d++) acc[d].base += before[d];
  return node_pad(b->g, act, before, after, 0);
}

/* sum_pq ca*cw*pop(a_p and w_q), or pop(a xor w), or sum_p -ca*pop(a_p xor w). */
static Node *words_contract(const Build *b, Node *act, Node *weight) {
  int na = b->p.act.planes.n, nw = b->p.weight.planes.n, n_out = b->n->a.iters->n_out;
  Affine acc_a[MAX_RANK], acc_w[MAX_RANK], acc_c[2] = {affine_iter(n_out, 1, 0), affine_iter(n_out + 1, 1, 0)};
  Iters it = {.acc = {acc_a, acc_w, acc_c}};
  word_iters(b, na, nw, act->t.d[act->t.rank - 1].n, &it);
  int word = n_out + it.n_red - 1;
  packed_access(b, &b->p.act, n_out, word, acc_a);
  packed_access(b, &b->p.weight, n_out + 1, word, acc_w);
  int bits;
  if (lanes_target(b->target, &bits)) act = bordered(b, act, &it, acc_a); /* elsewhere memory is dearer than a test */
  Attr a = {.scalar = b->p.xor_ || by_signs(&b->p) ? S_XOR : S_AND, .iters = &it, .kernel = KERNEL_BITSERIAL};
  if (b->p.act.operand == 1) { /* nothing lies outside then: the operands may change places */
    it.acc[0] = acc_w;
    it.acc[1] = acc_a;
  }
  Node *in[3] = {b->p.act.operand ? weight : act, b->p.act.operand ? act : weight, b->p.xor_ ? NULL : coefficients(b, na, nw)};
  if (!b->p.xor_ && !in[2]) return NULL;
  return node_new(b->g, OP_CONTRACT, &b->t, b->p.xor_ ? 2 : 3, in, &a, NULL);
}

/* sum_p ca*pop(a_p) over each output's reduction, once for all outputs that share it. */
static Node *act_sum(const Build *b, Node *act) {
  int na = b->p.act.planes.n, n_out = b->n->a.iters->n_out;
  Affine acc_a[MAX_RANK], acc_c[1] = {affine_iter(n_out, 1, 0)};
  Iters it = {.acc = {acc_a, NULL, acc_c}};
  Type t = b->t;
  word_iters(b, na, 1, act->t.d[act->t.rank - 1].n, &it);
  int rank = packed_access(b, &b->p.act, n_out, n_out + it.n_red - 1, acc_a);
  for (int i = 0; i < n_out; i++) {
    bool used = false;
    for (int d = 0; d < rank; d++) used = used || acc_a[d].coef[i];
    if (!used) t.d[i] = dim_c(1);
  }
  Type ct = type_make(I32, 1, (int64_t[]){na});
  Tensor *c = tensor_new(b->g->ctx, &ct);
  if (!c) return NULL;
  for (int p = 0; p < na; p++) tensor_set_i(c, p, b->p.act.planes.coef[p]);
  Attr a = {.scalar = S_AND, .iters = &it, .kernel = KERNEL_BITSERIAL};
  Node *ones = node_const_i(b->g, UINTK(b->target->word), b->target->word == 64 ? -1 : (int64_t)UINT32_MAX);
  return node_new(b->g, OP_CONTRACT, &t, 3, (Node *[]){act, ones, node_const(b->g, c)}, &a, NULL);
}

/* Correction */

bool dim_inside(const Node *n, int operand, int d) {
  const Affine *a = &n->a.iters->acc[operand][d];
  int64_t lo = a->base, hi = a->base;
  bool divides = a->base % a->div == 0;
  for (int i = 0; i < n->a.iters->n_out + n->a.iters->n_red; i++) {
    int64_t far = a->coef[i] * (extent(n, i) - 1);
    if (far > 0) hi += far;
    else lo += far;
    divides = divides && (extent(n, i) == 1 || a->coef[i] % a->div == 0);
  }
  return divides && lo >= 0 && hi / a->div < n->in[operand]->t.d[d].n;
}

/* Sum of the weights that meet an activation inside (border) or of all, over the output dimensions that matter. */
static Node *weight_sum(const Build *b, Node *sums, bool border) {
  const Node *n = b->n;
  const Iters *old = n->a.iters;
  int ao = b->p.act.operand, wo = b->p.weight.operand, rank = 0;
  int64_t dims[MAX_RANK];
  Affine acc_a[MAX_RANK], acc_w[MAX_RANK];
  Iters it = {.n_out = old->n_out, .acc = {acc_a, acc_w}};
  Type t = n->t;
  t.e = I64;
  for (int j = 0; j < old->n_red; j++)
    if (j != b->p.iter) it.red[it.n_red++] = old->red[j];
  for (int side = 0; side < 2; side++) {
    int o = side ? wo : ao, r = 0;
    for (int d = 0; d < n->in[o]->t.rank; d++) {
      if (side ? d == b->p.weight.dim : d == b->p.act.dim || !border || dim_inside(n, ao, d)) continue;
      const Affine *from = &old->acc[o][d];
      Affine a = {.base = from->base, .div = from->div};
      for (int i = 0; i < old->n_out + old->n_red; i++)
        if (from->coef[i]) a.coef[i < old->n_out ? i : new_iter(b, i) - 2] = from->coef[i];
      if (!side) dims[rank++] = n->in[o]->t.d[d].n;
      (side ? acc_w : acc_a)[r++] = a;
    }
  }
  for (int i = 0; i < old->n_out; i++) {
    bool used = false;
    for (int d = 0; d < rank; d++) used = used || acc_a[d].coef[i];
    for (int d = 0; d < sums->t.rank; d++) used = used || acc_w[d].coef[i];
    if (!used) t.d[i] = dim_c(1);
  }
  Type ot = type_make(I64, rank, dims);
  Tensor *ones = tensor_new(b->g->ctx, &ot);
  if (!ones) return NULL;
  for (int64_t i = 0; i < ones->n; i++) tensor_set_i(ones, i, 1);
  Attr a = {.scalar = S_MUL, .iters = &it, .kernel = KERNEL_INT};
  return folded(b->g, node_new(b->g, OP_CONTRACT, &t, 2, (Node *[]){node_const(b->g, ones), sums}, &a, NULL));
}

static bool slices_equal(const Tensor *t, int axis, int64_t a, int64_t b) {
  int64_t inner = 1, outer = 1;
  for (int d = 0; d < axis; d++) outer *= t->t.d[d].n;
  for (int d = axis + 1; d < t->t.rank; d++) inner *= t->t.d[d].n;
  size_t bytes = (size_t)inner * store_size(t->st), row = bytes * (size_t)t->t.d[axis].n;
  for (int64_t i = 0; i < outer; i++) {
    const char *at = (const char *)t->data + (size_t)i * row;
    if (memcmp(at + (size_t)a * bytes, at + (size_t)b * bytes, bytes)) return false;
  }
  return true;
}

/* The constant along axis as a smaller one and a table of its slices; itself where that does not halve it. */
static Node *distinct_slices(Graph *g, Node *c, int axis, Node **index) {
  const Tensor *t = c->a.value;
  int64_t n = t->t.d[axis].n, kinds = 0;
  *index = NULL;
  if (n < 4) return c;
  Type it = type_make(I32, 1, &n);
  Tensor *which = tensor_new(g->ctx, &it), *first = tensor_new(g->ctx, &it);
  if (!which || !first) return NULL;
  for (int64_t i = 0; i < n; i++) {
    int64_t k = 0;
    while (k < kinds && !slices_equal(t, axis, tensor_i(first, k), i)) k++;
    if (k == kinds && kinds == n / 2) return c;
    if (k == kinds) tensor_set_i(first, kinds++, i);
    tensor_set_i(which, i, k);
  }
  *index = node_const(g, which);
  Node *kept = folded(g, node_slice(g, node_const(g, first), 0, 0, 1, kinds));
  return kept ? folded(g, node_gather(g, c, kept, axis)) : NULL;
}

static bool of_weights(const Build *b, int out) {
  int w = b->p.weight.operand;
  for (int d = 0; d < b->n->in[w]->t.rank; d++)
    if (b->n->a.iters->acc[w][d].coef[out]) return true;
  return false;
}

/* Adds the constant c to y, keeping equal slices once. */
static Node *add_correction(const Build *b, Node *y, Node *c) {
  Graph *g = b->g;
  Node *index[MAX_RANK];
  int64_t lo = 0, hi = 0;
  for (int64_t i = 0; i < c->a.value->n; i++) {
    int64_t v = tensor_i(c->a.value, i);
    if (v < lo) lo = v;
    if (v > hi) hi = v;
  }
  if (lo == 0 && hi == 0) return y;
  Elem e = elem_for_range(lo < -128 ? lo : -128, hi); /* signed, at least a byte */
  c = folded(g, node_cast(g, c, INTK(e.bits <= 8 ? 8 : e.bits <= 16 ? 16 : e.bits <= 32 ? 32 : 64)));
  for (int d = 0; c && d < y->t.rank; d++) c = distinct_slices(g, c, d, &index[d]);
  if (!c) return NULL;
  int perm[MAX_RANK], back[MAX_RANK], r = 0; /* dimensions of the weights last: neighbouring outputs read neighbours */
  for (int last = 0; last < 2; last++)
    for (int d = 0; d < y->t.rank; d++)
      if (of_weights(b, d) == (last == 1)) back[d] = r, perm[r++] = d;
  c = folded(g, node_transpose(g, c, perm));
  for (int d = 0; c && d < y->t.rank; d++)
    if (index[d]) c = node_gather(g, c, index[d], back[d]);
  c = c ? node_transpose(g, c, back) : NULL;
  if (!c) return NULL;
  return node_map_as(g, S_ADD, y->t.e, 2, (Node *[]){y, node_cast(g, c, y->t.e)});
}

static Node *corrected(const Build *b, Node *y) {
  Graph *g = b->g;
  const Node *n = b->n;
  int64_t fill = (int64_t)n->a.fill, oa = b->p.act.planes.offset;
  bool border = !access_inside(n, b->p.act.operand) && fill != oa;
  if (!border && (b->p.xor_ || oa == 0)) return y;
  Node *w = folded(g, node_cast(g, b->in[b->p.weight.operand], I64));
  Node *sums = w ? folded(g, node_reduce_axes(g, S_ADD, w, 1u << b->p.weight.dim, false)) : NULL;
  Node *all = sums ? weight_sum(b, sums, false) : NULL, *met = !border ? all : sums ? weight_sum(b, sums, true) : NULL;
  if (!all || !met) return NULL;
  /* signs by signs already count what lies outside as oa */
  int64_t f = b->p.xor_ ? fill - oa : fill;
  Node *c = map_to(g, S_MUL, I64, all, node_const_i(g, I64, border ? f : oa));
  if (border && c) {
    Node *m = map_to(g, S_MUL, I64, met, node_const_i(g, I64, fill - oa));
    c = m ? map_to(g, S_SUB, I64, c, m) : NULL;
  }
  return c ? add_correction(b, y, c) : NULL;
}

/* sum_p ca[p]*pop(w) of all weights of an output. */
static Node *sign_counts(const Build *b) {
  Graph *g = b->g;
  int64_t sum = 0, k = 1;
  for (int p = 0; p < b->p.act.planes.n; p++) sum += b->p.act.planes.coef[p];
  for (int j = 0; j < b->n->a.iters->n_red; j++) k *= b->n->a.iters->red[j].n;
  Node *w = folded(g, node_cast(g, b->in[b->p.weight.operand], I64));
  Node *sums = w ? folded(g, node_reduce_axes(g, S_ADD, w, 1u << b->p.weight.dim, false)) : NULL;
  Node *all = sums ? weight_sum(b, sums, false) : NULL; /* 2*pop(w) - k */
  all = all ? map_to(g, S_ADD, I64, all, node_const_i(g, I64, k)) : NULL;
  all = all ? map_to(g, S_SHR, I64, all, node_const_i(g, UINTK(8), 1)) : NULL;
  return all ? map_to(g, S_MUL, I64, all, node_const_i(g, I64, sum)) : NULL;
}

static Node *bitserial(const Build *b) {
  Graph *g = b->g;
  Elem e = b->t.e;
  Node *act = packed(b, &b->p.act), *weight = packed(b, &b->p.weight);
  Node *y = act && weight ? words_contract(b, act, weight) : NULL;
  if (!y) return NULL;
  if (b->p.xor_) {
    int64_t k = 1;
    for (int j = 0; j < b->n->a.iters->n_red; j++) k *= b->n->a.iters->red[j].n;
    Node *total = folded(g, node_cast(g, const_i(g, k), e));
    if (!total) return NULL;
    y = node_map_as(g, S_SUB, e, 2, (Node *[]){total, node_map_as(g, S_ADD, e, 2, (Node *[]){y, y})});
  }
  if (by_signs(&b->p)) {
    Node *c = sign_counts(b);
    y = c ? add_correction(b, y, c) : NULL;
    if (!y) return NULL;
  } else if (b->p.sum) {
    Node *s = act_sum(b, act);
    if (!s) return NULL;
    int64_t ow = b->p.weight.planes.offset;
    if (ow != -1) s = node_map_as(g, S_MUL, e, 2, (Node *[]){s, const_i(g, ow)});
    y = node_map_as(g, ow == -1 ? S_SUB : S_ADD, e, 2, (Node *[]){y, s});
  }
  y = corrected(b, y);
  return y ? node_cast(g, y, b->n->t.e) : NULL;
}

typedef struct Layout { const PassOptions *opt; Last last; } Layout;

static Node *layout_contract(Rewrite *rw, const Node *n, Node *const *in, const PassOptions *opt) {
  Build b = {.rw = rw, .g = rw->g, .n = n, .in = in, .target = opt->target};
  const char *why = "no target";
  if (n->op != OP_CONTRACT || n->a.scalar != S_MUL) return NULL;
  if (n->a.kernel == KERNEL_SHIFT) return layout_shift(rw->g, n, in);
  if (n->a.kernel != KERNEL_BITSERIAL) return opt->hls ? NULL : layout_dense(rw->g, n, in, opt);
  if (!opt->target || !bitserial_plan(n, opt->target, &b.p, &why)) {
    diag(rw->g->ctx, E0308, &n->loc, "kernel bitserial is not possible here: %s", why);
    return NULL;
  }
  int bits = 8 * (int)store_size(elem_store(n->t.e));
  b.t = n->t;
  b.t.e = INTK(bits < 16 ? 16 : bits); /* wraps as the node's own type at the end */
  rw->changes++;
  return bitserial(&b);
}

static Node *layout_rule(Rewrite *rw, const Node *n, Node *const *in) {
  Layout *l = rw->user;
  LastReads below;
  bool reads = last_reads(&l->last, n, in, &below);
  if (reads) n = &below.n, in = below.in;
  if (n->op == OP_BASES) return layout_bases(rw->g, n, in, l->opt);
  if (n->op != OP_CONTRACT && !reads) return last_follow(&l->last, rw->g, n, in);
  Node *y = n->op == OP_CONTRACT ? layout_contract(rw, n, in, l->opt) : NULL;
  if (rw->g->ctx->n_errors) return NULL;
  bool lanes = n->op == OP_CONTRACT && dot_lanes(n, l->opt);
  if (!lanes && !reads) return y;
  if (!y) y = node_clone(rw->g, n, in);
  int v = !lanes ? last_channel(n) : dot_channel(n);
  return v < 0 || (y->op != OP_CONTRACT && n->op == OP_CONTRACT) ? y : last_result(&l->last, rw->g, y, v);
}

Graph *pass_layout(Graph *g, const PassOptions *opt) {
  Layout l = {.opt = opt, .last = {.tmp = arena_new(g->ctx)}};
  Graph *r = graph_rewrite(g, layout_rule, &l, NULL);
  arena_free(l.last.tmp);
  graph_free(g);
  return r;
}
