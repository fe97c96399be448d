/* softmax of codes that is quantized again, in integers: recognize fixes its meaning.
 *   quant(e / sum e), e = exp(x - max x), x = dequant(q, s, z), along one axis
 *   E[k] = round(2^B exp(-s k)) for k = max q - q, a table from eval's own exp in binary64; S = sum E, exact
 *   y = clamp(floor(E / (S sy) + 1/2) + zy): the scale sy = m 2^-x is taken as it is, so that one division of exact integers,
 *       (E 2^(x+1) + S m) / (2 S m), gives it; half a step goes up
 * B is the greatest up to 24 for which nothing passes 2^62. An entry of E is off by 2^-25 of the greatest: float's own error. */
#include "passes/recognize.h"

#include "passes/access.h"

#include <math.h>
#include <stdlib.h>

enum { BITS_MOST = 24, BITS_LEAST = 16, CODES_MOST = 1 << 12 };

/* The axis that a reduction of x over all of one dimension leaves as 1; -1: it is another. */
static int reduced_axis(const Node *n) {
  const Iters *it = n->a.iters;
  int axis = -1, j;
  if (it->n_red != 1 || n->t.rank != n->in[0]->t.rank) return -1;
  for (int d = 0; d < n->t.rank; d++) {
    if (!affine_pure(&it->acc[0][d], it->n_out + 1, &j)) return -1;
    if (j == d) { if (!dim_eq(n->t.d[d], n->in[0]->t.d[d])) return -1; continue; }
    if (j != it->n_out || axis >= 0 || n->t.d[d].n != 1 || n->t.d[d].sym || !dim_eq(it->red[0], n->in[0]->t.d[d])) return -1;
    axis = d;
  }
  return axis;
}

static bool same_operand(const Node *a, const Node *b) {
  return a == b || (a && b && node_is_const(a) && node_is_const(b) && tensor_eq(a->a.value, b->a.value));
}

typedef struct Softmax {
  Node *q, *max;           /* codes; their greatest along the axis */
  double s, sy;
  int64_t zy, range, terms; /* codes' k is 0..range; terms of a sum */
  int bits, x; int64_t m;  /* B; sy = m 2^-x */
} Softmax;

static bool match(const Node *old, Node *const *in, Softmax *f) {
  Node *div = in[0], *e, *sum, *d, *a, *b;
  if (!node_is_map(div, S_DIV) || !elem_eq(div->t.e, F32) || old->t.e.kind == EK_BASES || (old->a.round != RND_EVEN && old->a.round != RND_HALF_UP)) return false;
  e = div->in[0], sum = div->in[1];
  if (sum->op != OP_REDUCE || sum->a.scalar != S_ADD || sum->in[0] != e || !node_is_map(e, S_EXP) || !node_is_map(e->in[0], S_SUB)) return false;
  d = e->in[0], a = d->in[0], b = d->in[1];
  if (a->op != OP_DEQUANT || b->op != OP_DEQUANT || a->n_in != b->n_in || !type_shape_eq(&a->t, &a->in[0]->t)) return false;
  f->q = a->in[0], f->max = b->in[0];
  if (f->max->op != OP_REDUCE || f->max->a.scalar != S_MAX || f->max->in[0] != f->q) return false;
  if (!same_operand(a->in[1], b->in[1]) || (a->n_in > 2 && !same_operand(a->in[2], b->in[2]))) return false;
  int axis = reduced_axis(sum);
  if (axis < 0 || reduced_axis(f->max) != axis || sum->in[0]->t.d[axis].sym) return false;
  f->terms = sum->in[0]->t.d[axis].n;
  return node_uniform(a->in[1], &f->s) && f->s > 0 && isfinite(f->s) && node_uniform(in[1], &f->sy) && f->sy > 0 && isfinite(f->sy) &&
         zp_uniform(old->n_in > 2 ? in[2] : NULL, &f->zy) && f->terms > 0;
}

Node *softmax_codes(Node *const *in) {
  const Node *div = in[0];
  if (!node_is_map(div, S_DIV) || !node_is_map(div->in[0], S_EXP) || !node_is_map(div->in[0]->in[0], S_SUB)) return NULL;
  Node *x = div->in[0]->in[0]->in[0];
  return x->op == OP_DEQUANT ? x->in[0] : NULL;
}

/* B, x and m; false where they do not exist. */
static bool fit(Softmax *f) {
  int e;
  double fraction = frexp(f->sy, &e); /* sy = fraction 2^e */
  int terms_bits = 0;
  while (INT64_C(1) << terms_bits < f->terms && terms_bits < 40) terms_bits++;
  f->m = (int64_t)ldexp(fraction, 24);
  f->x = 24 - e;
  while (f->m % 2 == 0) f->m /= 2, f->x--;
  int m_bits = 64 - __builtin_clzll((uint64_t)f->m);
  if (f->x < 0 || ldexp((double)f->m, -f->x) != f->sy) return false;
  for (f->bits = BITS_MOST; f->bits >= BITS_LEAST; f->bits--)
    if (f->bits + f->x + 2 <= 61 && f->bits + 1 + terms_bits + m_bits + 1 <= 61) return true;
  return false;
}

static Node *table_of(Graph *g, const Softmax *f) {
  Type t = type_make(elem_for_range(0, INT64_C(1) << f->bits), 1, (int64_t[]){f->range + 1});
  Tensor *y = tensor_new(g->ctx, &t);
  for (int64_t k = 0; y && k <= f->range; k++) {
    Val x = {.f = -f->s * (double)k};
    tensor_set_i(y, k, (int64_t)nearbyint(ldexp(scalar_eval(S_EXP, F64, F64, &x).f, f->bits)));
  }
  return y ? node_const(g, y) : NULL;
}

static Node *times(Graph *g, Node *x, int64_t f) {
  return f == 1 ? x : node_map2(g, S_MUL, x, node_const_i(g, I64, f));
}

Node *softmax_of_codes(Rewrite *rw, const Node *old, Node *const *in, int64_t lo, int64_t hi) {
  Graph *g = rw->g;
  Softmax f;
  if (!match(old, in, &f)) return NULL;
  f.range = hi - lo;
  if (f.range < 1 || f.range >= CODES_MOST || f.q->t.e.bits > 32 || (f.q->t.e.kind != EK_INT && f.q->t.e.kind != EK_UINT) || !fit(&f)) return NULL;
  if (llabs(f.zy) > 1 << 20 || llabs(old->a.lo) > INT64_C(1) << 40 || llabs(old->a.hi) > INT64_C(1) << 40) return NULL;
  Node *table = table_of(g, &f);
  if (!table) return NULL;
  Node *sum0 = in[0]->in[1], *k = node_map_as(g, S_SUB, I32, 2, (Node *[]){f.max, f.q});
  Node *e = node_cast(g, node_gather(g, table, k, 0), I64);
  Type t = sum0->t;
  t.e = I64;
  Node *sum = node_reduce(g, S_ADD, e, &t, sum0->a.iters);
  Node *half = times(g, sum, f.m), *whole = times(g, half, 2);
  Node *y = node_map2(g, S_DIV, node_map2(g, S_ADD, times(g, e, INT64_C(2) << f.x), half), whole);
  if (f.zy) y = node_map2(g, S_ADD, y, node_const_i(g, I64, f.zy));
  y = node_map2(g, S_MIN, y, node_const_i(g, I64, old->a.hi));
  y = node_map2(g, S_MAX, y, node_const_i(g, I64, old->a.lo));
  rw->changes++;
  return node_cast(g, y, old->t.e);
}
