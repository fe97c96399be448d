/* Recognition of bases: a contraction of floats whose constant weights are, group by group, sums of a few signed alphas. Fixes the meaning:
 * the weights are those sums, the terms of a group are added before they are multiplied, and all in binary64 (ops.def).
 * Groups are runs of the reduction: with the channels outermost, a channel's whole sum cut into equal parts (all channels, some, one: ALQ's
 * channel-, sub-channel- and kernel-wise groups), or at each tap the channels or a part of them (pixel-wise). Of those that fit, the one of
 * fewest bits: signs, 32 for each alpha, 4 for each count. */
#include "passes/bases.h"

#include <math.h>
#include <stdlib.h>

#include "passes/access.h"

typedef struct Weights {
  const Node *c; int k;        /* the contraction, its operand of weights */
  Arena *a;
  int pos[3][MAX_ITERS], n[3]; /* output iterators that the activations read alone (or nobody), that both read, that the weights read alone */
  int red[MAX_ITERS];          /* reduction iterators, the channels first */
  int64_t rows, terms, channels;
  float *w; bool *have;        /* [rows, terms] in that order, and which rows are read */
} Weights;
enum { ALONE, BOTH, WEIGHTS };

/* A way to cut terms into groups, and what came out. */
typedef struct Grouping {
  bool taps_first;
  int64_t n, groups;           /* terms of a group; groups of a row */
  double bits;
  uint8_t *counts;             /* [rows, groups] */
  int64_t planes;
  float *alpha; uint8_t *code; /* [rows, groups, MOST_BASES]; [rows, terms] */
} Grouping;

static int64_t extent(const Node *c, int iter) {
  return iter < c->a.iters->n_out ? c->t.d[iter].n : c->a.iters->red[iter - c->a.iters->n_out].n;
}

static bool reads_iter(const Node *c, int k, int iter) {
  for (int d = 0; d < c->in[k]->t.rank; d++)
    if (c->a.iters->acc[k][d].coef[iter]) return true;
  return false;
}

/* The reduction iterator of channels: alone in its dimension of the activations, but for what the weights read too. */
static int channels_of(const Weights *w) {
  const Iters *it = w->c->a.iters;
  int x = 1 - w->k;
  for (int j = 0; j < it->n_red; j++)
    for (int d = 0; d < w->c->in[x]->t.rank; d++) {
      if (!it->acc[x][d].coef[it->n_out + j]) continue;
      bool alone = true;
      for (int i = 0; i < it->n_out + it->n_red; i++)
        if (i != it->n_out + j && it->acc[x][d].coef[i] && (i >= it->n_out || !reads_iter(w->c, w->k, i))) alone = false;
      if (alone) return j;
    }
  return 0;
}

/* Next values of these iterators, the last fastest. */
static void next(const Node *c, const int *which, int n, int64_t *iter) {
  for (int i = n - 1; i >= 0; i--) {
    if (++iter[which[i]] < extent(c, which[i])) return;
    iter[which[i]] = 0;
  }
}

/* The terms of a row, read when they are asked for: most layers are told from bases by a few rows. */
static const float *row_terms(Weights *w, int64_t row) {
  const Iters *it = w->c->a.iters;
  const Node *x = w->c->in[w->k];
  int64_t iter[MAX_ITERS] = {0}, left = row;
  float *to = w->w + row * w->terms;
  if (w->have[row]) return to;
  for (int p = WEIGHTS; p >= BOTH; p--)
    for (int i = w->n[p] - 1; i >= 0; i--) {
      int64_t n = extent(w->c, w->pos[p][i]);
      iter[w->pos[p][i]] = left % n;
      left /= n;
    }
  for (int64_t q = 0; q < w->terms; q++) {
    int64_t flat = 0;
    for (int d = 0; d < x->t.rank; d++) {
      int64_t v = it->acc[w->k][d].base;
      for (int i = 0; i < it->n_out + it->n_red; i++) v += it->acc[w->k][d].coef[i] * iter[i];
      flat = flat * x->t.d[d].n + v / it->acc[w->k][d].div;
    }
    to[q] = (float)tensor_f(x->a.value, flat);
    next(w->c, w->red, it->n_red, iter);
  }
  w->have[row] = true;
  return to;
}

/* False where the contraction is none of floats by constant weights, all of its reductions among the weights' iterators. */
static bool weights_of(Weights *w, const Node *c) {
  const Iters *it = c->a.iters;
  if (c->n_in != 2 || c->a.scalar != S_MUL || !elem_eq(c->t.e, F32) || !type_static(&c->t) || c->a.fill != 0) return false;
  w->c = c;
  w->k = node_is_const(c->in[1]) ? 1 : 0;
  if (!node_is_const(c->in[w->k]) || node_is_const(c->in[1 - w->k]) || !access_inside(c, w->k) || !type_static(&c->in[1 - w->k]->t)) return false;
  w->rows = w->terms = 1;
  for (int i = 0; i < it->n_out; i++) {
    bool by_w = reads_iter(c, w->k, i), by_x = reads_iter(c, 1 - w->k, i);
    int p = !by_w ? ALONE : by_x ? BOTH : WEIGHTS;
    w->pos[p][w->n[p]++] = i;
    if (by_w && !mul_ok(w->rows, c->t.d[i].n, &w->rows)) return false;
  }
  for (int j = 0; j < it->n_red; j++) {
    if (!reads_iter(c, w->k, it->n_out + j) || !mul_ok(w->terms, it->red[j].n, &w->terms)) return false;
  }
  if (w->n[WEIGHTS] == 0 && w->n[BOTH] == 0) return false;
  if (w->rows < 1 || w->terms < 1 || w->rows * w->terms > c->in[w->k]->a.value->n || it->n_red < 1) return false;
  int channel = channels_of(w), n = 0;
  w->red[n++] = it->n_out + channel;
  for (int j = 0; j < it->n_red; j++) if (j != channel) w->red[n++] = it->n_out + j;
  w->channels = it->red[channel].n;
  return true;
}

/* Whole multiples, up to 127, of the least magnitude: codes of one scale, which need no alphas. */
static bool equally_spaced(const float *w, int64_t n) {
  float least = INFINITY;
  for (int64_t i = 0; i < n; i++) if (w[i] != 0 && fabsf(w[i]) < least) least = fabsf(w[i]);
  for (int64_t i = 0; i < n; i++) {
    double k = rint((double)w[i] / least);
    if (w[i] != 0 && (!(fabs(k) <= 127) || (float)(k * least) != w[i])) return false;
  }
  return true;
}

/* Terms of one group, gathered. */
static const float *group_terms(Weights *w, const Grouping *g, int64_t row, int64_t group, float *buffer) {
  int64_t taps = w->terms / w->channels, from = group * g->n;
  const float *at = row_terms(w, row);
  if (!g->taps_first) return at + from;
  for (int64_t i = 0; i < g->n; i++) buffer[i] = at[(from + i) % w->channels * taps + (from + i) / w->channels];
  return buffer;
}

/* A few groups from all over: false where one does not fit, or they take more than floats do. */
static bool looks_fit(Weights *w, const Grouping *g, float *buffer) {
  enum { SAMPLES = 16 };
  int64_t all = w->rows * g->groups, n = all < SAMPLES ? all : SAMPLES;
  uint8_t *code = NEWN(w->a, uint8_t, g->n + 1);
  float alpha[MOST_BASES];
  double bits = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t at = i * (all / n);
    int k = bases_fit(group_terms(w, g, at / g->groups, at % g->groups, buffer), g->n, alpha, code);
    if (k < 0) return false;
    bits += k * (double)(g->n + 32);
  }
  return bits <= 32.0 * (double)(n * g->n);
}

/* Fits all groups; false where one does not, or the bits reach `limit`. */
static bool try_grouping(Weights *w, Grouping *g, double limit) {
  float *buffer = NEWN(w->a, float, g->n + 1);
  int64_t all = w->rows * g->groups;
  if (!looks_fit(w, g, buffer)) return false;
  g->counts = NEWN(w->a, uint8_t, all + 1);
  g->alpha = NEWN(w->a, float, all * MOST_BASES + 1);
  g->code = NEWN(w->a, uint8_t, w->rows * w->terms + 1);
  g->bits = 4.0 * (double)all;
  g->planes = 0;
  for (int64_t i = 0; i < all && g->bits < limit; i++) {
    int k = bases_fit(group_terms(w, g, i / g->groups, i % g->groups, buffer), g->n, g->alpha + i * MOST_BASES, g->code + i * g->n);
    if (k < 0) return false;
    g->counts[i] = (uint8_t)k;
    g->planes += k;
    g->bits += k * (double)(g->n + 32);
  }
  return g->bits < limit;
}

/* The cheapest grouping; false where none takes less than half of the bits that floats take. */
static bool best_grouping(Weights *w, Grouping *best) {
  enum { LEAST_TERMS = 4 }; /* fewer are no group: an alpha takes eight times their signs */
  int64_t taps = w->terms / w->channels;
  double limit = 16.0 * (double)(w->rows * w->terms);
  bool found = false;
  for (int first = 0; first < (taps > 1 ? 2 : 1); first++)
    for (int64_t parts = 1; parts <= w->channels; parts++) {
      Grouping now = {.taps_first = first, .groups = first ? taps * parts : parts};
      now.n = w->terms / now.groups;
      if (w->channels % parts || now.n < LEAST_TERMS || !try_grouping(w, &now, limit)) continue;
      limit = now.bits;
      *best = now;
      found = true;
    }
  return found;
}

static Node *constant(Graph *g, Elem e, int rank, const int64_t *dims, Tensor **t) {
  Type type = type_make(e, rank, dims);
  *t = tensor_new(g->ctx, &type);
  return *t ? node_const(g, *t) : NULL;
}

/* Operands signs, alpha, counts. */
static bool operands(Graph *g, const Weights *w, const Grouping *b, int64_t blocks, Node *out[3]) {
  Tensor *signs, *alpha, *counts;
  out[0] = constant(g, BIPOLAR, 2, (int64_t[]){b->planes, b->n}, &signs);
  out[1] = constant(g, F32, 1, &b->planes, &alpha);
  out[2] = constant(g, UINTK(3), 3, (int64_t[]){blocks, w->rows / blocks, b->groups}, &counts);
  if (!out[0] || !out[1] || !out[2]) return false;
  int64_t e = 0;
  for (int64_t i = 0; i < counts->n; i++) {
    tensor_set_i(counts, i, b->counts[i]);
    for (int j = 0; j < b->counts[i]; j++, e++) {
      tensor_set_f(alpha, e, b->alpha[i * MOST_BASES + j]);
      for (int64_t r = 0; r < b->n; r++) tensor_set_i(signs, e * b->n + r, b->code[i * b->n + r] >> j & 1 ? 1 : -1);
    }
  }
  return true;
}

/* The numbers that the activations are, and their scale: codes less their zero point, or the floats themselves. */
static Node *numbers_of(Graph *g, Node *x, bool padded, Node **scale) {
  int64_t z = 0, one;
  Node *q = x->op == OP_DEQUANT ? x->in[0] : x;
  bool codes = x->op == OP_DEQUANT && type_count(&x->in[1]->t, &one) && one == 1 && zp_uniform(x->n_in > 2 ? x->in[2] : NULL, &z);
  codes = codes && q->t.e.bits <= 24 && !(q->t.e.kind == EK_BASES && q->t.e.bits > 1) && llabs(z) <= 1 << 24 && type_shape_eq(&q->t, &x->t);
  if (!codes) {
    *scale = node_const_f(g, F32, 1);
    return x;
  }
  *scale = x->in[1];
  if (z) return node_map_as(g, S_SUB, elem_for_range(elem_lo(q->t.e) - z, elem_hi(q->t.e) - z), 2, (Node *[]){q, node_const_i(g, elem_for_range(z < 0 ? z : 0, z), z)});
  return q->t.e.kind == EK_BASES && padded ? node_cast(g, q, INTK(2)) : q; /* 0 is no code of +-1 */
}

/* x as [.., B, G, n]: its dimensions as the contraction accesses them. */
static Node *grouped(Graph *g, const Weights *w, const Grouping *b, Node *x, int64_t blocks) {
  const Iters *it = w->c->a.iters;
  int order[MAX_ITERS], n = 0;
  Affine acc[MAX_RANK];
  Type t = {.e = x->t.e}, joined = {.e = x->t.e};
  for (int p = ALONE; p <= BOTH; p++) for (int i = 0; i < w->n[p]; i++) order[n++] = w->pos[p][i];
  for (int j = b->taps_first; j < it->n_red + b->taps_first; j++) order[n++] = w->red[j % it->n_red];
  if (n > MAX_RANK || w->n[ALONE] + 3 > MAX_RANK) return NULL;
  for (int i = 0; i < n; i++) t.d[t.rank++] = dim_c(extent(w->c, order[i]));
  for (int d = 0; d < x->t.rank; d++) {
    const Affine *old = &it->acc[1 - w->k][d];
    acc[d] = (Affine){.base = old->base, .div = old->div};
    for (int i = 0; i < n; i++) acc[d].coef[i] = old->coef[order[i]];
  }
  x = node_view(g, x, &t, acc, 0);
  for (int i = 0; i < w->n[ALONE]; i++) joined.d[joined.rank++] = t.d[i];
  joined.d[joined.rank++] = dim_c(blocks);
  joined.d[joined.rank++] = dim_c(b->groups);
  joined.d[joined.rank++] = dim_c(b->n);
  return node_reshape(g, x, joined.rank, joined.d);
}

/* [.., B, O] with the iterators where the contraction has them. */
static Node *arranged(Graph *g, const Weights *w, Node *y) {
  Dim dims[MAX_RANK];
  int perm[MAX_RANK], n = 0;
  for (int p = ALONE; p <= WEIGHTS; p++)
    for (int i = 0; i < w->n[p]; i++) {
      perm[w->pos[p][i]] = n;
      dims[n++] = w->c->t.d[w->pos[p][i]];
    }
  return node_transpose(g, node_reshape(g, y, n, dims), perm);
}

static Node *rewritten(Rewrite *rw, const Weights *w, const Grouping *b, Node *x) {
  Graph *g = rw->g;
  Node *part[3], *scale;
  int64_t blocks = 1;
  for (int i = 0; i < w->n[BOTH]; i++) blocks *= w->c->t.d[w->pos[BOTH][i]].n;
  x = numbers_of(g, x, !access_inside(w->c, 1 - w->k), &scale);
  x = grouped(g, w, b, x, blocks);
  if (!x || !operands(g, w, b, blocks, part)) return NULL;
  rw->changes++;
  return arranged(g, w, node_bases(g, x, part[0], part[1], part[2], scale, NULL, F32, KERNEL_AUTO));
}

Node *bases_contract(Rewrite *rw, const Node *old, Node *const *in) {
  Arena *a = arena_new(rw->g->ctx);
  Weights w = {.a = a};
  Grouping b;
  Node *y = NULL;
  if (weights_of(&w, old)) {
    w.w = NEWN(a, float, w.rows * w.terms + 1);
    w.have = NEWN(a, bool, w.rows);
    bool codes = true;
    for (int64_t r = 0; r < w.rows && codes; r++) codes = equally_spaced(row_terms(&w, r), w.terms);
    if (!codes && best_grouping(&w, &b)) y = rewritten(rw, &w, &b, in[1 - w.k]);
  }
  arena_free(a);
  return y;
}
