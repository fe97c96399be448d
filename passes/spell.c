/* Spellings of quant, of dequant and of steps on codes (head of recognize.c). All are the same function for every number; NaN counts as
 * quant counts it, and zero has no sign. */
#include "passes/spell.h"

#include "passes/access.h"

#include <math.h>

static bool same_const(const Node *a, const Node *b) {
  if (a == b) return true;
  return a && b && node_is_const(a) && node_is_const(b) && tensor_eq(a->a.value, b->a.value);
}

static bool shape_of(const Node *n, const Node *x) { return type_shape_eq(&n->t, &x->t); }

Node *folded_map(Graph *g, Scalar s, Elem e, Node *a, Node *b) {
  Node *y = node_map_as(g, s, e, 2, (Node *[]){a, b});
  if (!node_is_const(a) || !node_is_const(b)) return y;
  Tensor *t = node_eval(g->ctx, y, (Tensor *[]){(Tensor *)(uintptr_t)a->a.value, (Tensor *)(uintptr_t)b->a.value});
  return t ? node_const(g, t) : NULL;
}

/* quant(dequant(q, s, z), s, z) is q: |q - z| < 2^20 leaves the two roundings far from a tie. */
static Node *quant_of_dequant(Rewrite *rw, const Node *old, Node *const *in) {
  Node *d = in[0];
  int64_t lo, hi, z = 0, z2 = 0;
  if (d->op != OP_DEQUANT || !elem_eq(d->t.e, F32) || !elem_eq(in[1]->t.e, F32) || !same_const(d->in[1], in[1])) return NULL;
  if (old->t.e.kind == EK_BASES || (old->n_in > 2 && elem_is_float(in[2]->t.e))) return NULL;
  if (!zp_uniform(d->n_in > 2 ? d->in[2] : NULL, &z) || !zp_uniform(old->n_in > 2 ? in[2] : NULL, &z2) || z != z2) return NULL;
  if (!node_is_const(in[1])) return NULL;
  for (int64_t i = 0; i < in[1]->a.value->n; i++) {
    double s = fabs(tensor_f(in[1]->a.value, i));
    if (!(s > 1e-30 && s < 1e30)) return NULL;
  }
  Node *q = d->in[0];
  code_bounds(q, &lo, &hi);
  if (lo < old->a.lo || hi > old->a.hi || lo - z < -(1 << 20) || hi - z > 1 << 20 || !shape_of(old, q)) return NULL;
  rw->changes++;
  return node_cast(rw->g, q, old->t.e);
}

/* The float steps above a quant, taken in one by one. Scale 1 until a division is taken. */
typedef struct Peel { Node *x, *scale, *zp; int64_t lo, hi; Round round; bool bipolar, one; } Peel;

/* The constant operand of a binary map, and which it is; the other one has the result's shape. */
static Node *const_side(const Node *n, Node *const *in, int *other) {
  for (int k = 1; k >= 0 && n->n_in == 2; k--)
    if (node_is_const(in[k]) && !node_is_const(in[1 - k]) && shape_of(n, in[1 - k])) {
      *other = 1 - k;
      return in[k];
    }
  return NULL;
}

static double rounded(Round r, double v) {
  Attr a = {.round = r, .lo = INT64_MIN, .hi = INT64_MAX};
  return (double)quant_eval(v, 1, NULL, I32, F32, &a, I64).i;
}

/* clamp(round(max(y, c)) + z) = clamp(round(y) + z) with bounds that c narrows, because rounding keeps order. */
static bool peel_clip(Peel *p, const Node *n, Node *y, const Node *c) {
  double v;
  int64_t z = 0;
  if (p->bipolar || !p->one || !node_uniform(c, &v) || isnan(v) || (p->zp && (elem_is_float(p->zp->t.e) || !zp_uniform(p->zp, &z)))) return false;
  v = fmax(fmin(v, 0x1p40), -0x1p40);
  int64_t b = (int64_t)rounded(p->round, v) + z;
  b = b < p->lo ? p->lo : b > p->hi ? p->hi : b;
  if (n->a.scalar == S_MAX) p->lo = b;
  else p->hi = b;
  p->x = y;
  return true;
}

static bool power_of_two(double v) {
  int e;
  return isfinite(v) && v != 0 && fabs(frexp(v, &e)) == 0.5 && e > -100 && e < 100;
}

/* 1/c where every element is a power of two. */
static Node *reciprocal(Graph *g, const Node *c) {
  const Tensor *t = c->a.value;
  for (int64_t i = 0; i < t->n; i++) if (!power_of_two(tensor_f(t, i))) return NULL;
  Tensor *y = t->n ? tensor_new(g->ctx, &t->t) : NULL;
  for (int64_t i = 0; y && i < y->n; i++) tensor_set_f(y, i, 1 / tensor_f(t, i));
  return y ? node_const(g, y) : NULL;
}

static bool peel_scale(Graph *g, Peel *p, const Node *n, Node *y, Node *c, int other) {
  Node *s = n->a.scalar == S_MUL ? reciprocal(g, c) : other == 0 ? c : NULL;
  if (!p->one || !s) return false;
  for (int64_t i = 0; i < s->a.value->n; i++) {
    double v = tensor_f(s->a.value, i);
    if (!isfinite(v) || v == 0 || (p->bipolar && v < 0 && !p->zp)) return false; /* 0 / -s would be -0: still >= 0 */
  }
  p->x = y, p->scale = s, p->one = false;
  return true;
}

/* round(y + c): an integer zero point where y rounds to integers by itself, else a float one, which quant adds just so. */
static bool peel_sum(Graph *g, Peel *p, const Node *n, Node *y, const Node *c, int other, bool whole) {
  double v;
  if (!p->one || p->zp || !node_uniform(c, &v) || !isfinite(v) || (n->a.scalar == S_SUB && other != 0)) return false;
  if (n->a.scalar == S_SUB) v = -v;
  if (whole && v == floor(v) && fabs(v) <= 1 << 24 && !p->bipolar) p->zp = node_const_i(g, I32, (int64_t)v);
  else if (!whole || p->bipolar) p->zp = node_const_f(g, F32, v);
  else return false;
  p->x = y;
  return true;
}

/* select(isnan(v), 0, v), as quant counts NaN; a test of v against 0 under a bipolar quant. */
static bool peel_select(Peel *p, const Node *n) {
  double a, b, c;
  Node *t = n->in[0], *x;
  if (!p->one || p->zp || !shape_of(n, t)) return false;
  if (!p->bipolar && node_is_map(t, S_ISNAN) && t->in[0] == n->in[2] && node_uniform(n->in[1], &a) && a == 0) {
    p->x = n->in[2];
    return true;
  }
  if (!p->bipolar || !node_uniform(n->in[1], &a) || !node_uniform(n->in[2], &b) || (a >= 0) == (b >= 0)) return false;
  if (node_is_map(t, S_LE) && node_uniform(t->in[0], &c) && c == 0 && a >= 0) x = t->in[1];      /* 0 <= x ? 1 : -1 */
  else if (node_is_map(t, S_LT) && node_uniform(t->in[1], &c) && c == 0 && a < 0) x = t->in[0];  /* x < 0 ? -1 : 1 */
  else return false;
  if (!shape_of(n, x) || !elem_eq(x->t.e, F32)) return false;
  p->x = x;
  return true;
}

static bool peel_one(Graph *g, Peel *p, Facts *facts) {
  static const Round rounds[SCALAR_COUNT] = {[S_ROUND] = RND_EVEN, [S_CEIL] = RND_CEIL, [S_FLOOR] = RND_FLOOR, [S_TRUNC] = RND_DOWN};
  Node *n = p->x, *c;
  int other;
  if (n->op != OP_MAP || !elem_eq(n->t.e, F32)) return false;
  switch (n->a.scalar) {
  case S_ROUND: case S_CEIL: case S_FLOOR: case S_TRUNC:
    if (p->bipolar || !p->one || (p->zp && elem_is_float(p->zp->t.e)) || p->round != RND_EVEN) return false;
    p->round = rounds[n->a.scalar]; /* what is rounded stays as it is under round-half-even */
    p->x = n->in[0];
    return true;
  case S_SELECT: return peel_select(p, n);
  case S_SIGN: { /* of what is not 0 */
    const Values *v = values_of(facts, n->in[0]);
    bool zero = v->lo <= 0 && v->hi >= 0;
    for (int i = 0; i < v->n; i++) zero = i == 0 ? v->v[i] == 0 : zero || v->v[i] == 0;
    if (!p->bipolar || p->zp || zero) return false;
    p->x = n->in[0];
    return true;
  }
  default: break;
  }
  if (!(c = const_side(n, n->in, &other))) return false;
  switch (n->a.scalar) {
  case S_MAX: case S_MIN: return peel_clip(p, n, n->in[other], c);
  case S_MUL: case S_DIV: return peel_scale(g, p, n, n->in[other], c, other);
  case S_ADD: case S_SUB: {
    const Values *v = values_of(facts, n->in[other]);
    return !(p->round != RND_EVEN && !v->whole) && peel_sum(g, p, n, n->in[other], c, other, v->whole);
  }
  default: return false;
  }
}

static Node *peeled(Rewrite *rw, const Node *old, Node *const *in) {
  Graph *g = rw->g;
  double s;
  Peel p = {in[0], in[1], old->n_in > 2 ? in[2] : NULL, old->a.lo, old->a.hi, old->a.round, elem_eq(old->t.e, BIPOLAR), true};
  if (!elem_eq(in[0]->t.e, F32) || !elem_eq(in[1]->t.e, F32) || !node_uniform(in[1], &s) || s != 1 || in[1]->t.rank > 0) return NULL;
  if (in[0]->op != OP_MAP || !shape_of(old, in[0])) return NULL;
  bool any = false;
  while (peel_one(g, &p, ((Spell *)rw->user)->fresh)) any = true;
  if (!any) return NULL;
  rw->changes++;
  return node_quant(g, p.x, p.scale, p.zp, old->t.e, p.lo, p.hi, p.round);
}

Node *spell_quant(Rewrite *rw, const Node *old, Node *const *in) {
  int64_t z;
  if (old->n_in > 2 && elem_is_float(in[2]->t.e) && zp_uniform(in[2], &z) && z == 0) {
    rw->changes++; /* round(x/s + 0) = round(x/s) */
    return node_quant(rw->g, in[0], in[1], NULL, old->t.e, old->a.lo, old->a.hi, old->a.round);
  }
  Node *y = quant_of_dequant(rw, old, in);
  return y ? y : peeled(rw, old, in);
}

/* Codes */

/* max or min of a quant's codes with a constant: its bounds narrow. */
static Node *clip_codes(Rewrite *rw, const Node *old, Node *q, const Node *c) {
  double v;
  if (!type_eq(&q->t, &old->t) || !node_uniform(c, &v)) return NULL;
  int64_t lo = q->a.lo, hi = q->a.hi, b = tensor_i(c->a.value, 0);
  if (old->a.scalar == S_MAX) lo = b > lo ? b : lo;
  else hi = b < hi ? b : hi;
  if (lo > hi) return NULL;
  rw->changes++;
  return node_quant(rw->g, q->in[0], q->in[1], q->n_in > 2 ? q->in[2] : NULL, q->t.e, lo, hi, q->a.round);
}

/* quant + c: c joins the zero point. */
static Node *shift_codes(Rewrite *rw, const Node *old, Node *q, const Node *k) {
  double v;
  int64_t z, lo, hi;
  if (!shape_of(old, q) || !elem_is_int(old->t.e) || !node_uniform(k, &v) || fabs(v) > 0x1p30 || (q->n_in > 2 && elem_is_float(q->in[2]->t.e))) return NULL;
  int64_t c = old->a.scalar == S_SUB ? -(int64_t)v : (int64_t)v;
  if (!zp_uniform(q->n_in > 2 ? q->in[2] : NULL, &z) || z < -(1 << 30) || z > 1 << 30) return NULL;
  if (!add_ok(q->a.lo, c, &lo) || !add_ok(q->a.hi, c, &hi) || lo < elem_lo(old->t.e) || hi > elem_hi(old->t.e)) return NULL; /* may wrap */
  rw->changes++;
  Node *zp = z + c ? node_const_i(rw->g, I64, z + c) : NULL;
  return node_quant(rw->g, q->in[0], q->in[1], zp, old->t.e, lo, hi, q->a.round);
}

/* A cast of integers to codes is a quant of them. The numbers of a 64-bit cast are proved to lie inside, others saturate alike. */
static Node *cast_to_codes(Rewrite *rw, const Node *old, Node *x) {
  Spell *s = rw->user;
  const Values *v = values_of(s->facts, old->in[0]);
  int64_t lo = elem_lo(old->t.e), hi = elem_hi(old->t.e);
  if (!elem_eq(x->t.e, F32) || !v->whole || !elem_is_int(old->t.e)) return NULL;
  if (old->t.e.bits > 32) {
    if (!(v->lo >= -0x1p62 && v->hi <= 0x1p62) || (old->t.e.kind == EK_UINT && v->lo < 0)) return NULL;
    lo = (int64_t)v->lo, hi = (int64_t)v->hi;
    if (v->lo >= -0x1p31 && v->hi <= 0x1p31 && x->op != OP_MAP) return NULL; /* indices */
  }
  rw->changes++;
  return node_quant(rw->g, x, node_const_f(rw->g, F32, 1), NULL, old->t.e, lo, hi, RND_EVEN);
}

/* select(test, 1, -1) of codes is the bipolar quant of what is tested, or of a float that says the same. */
static Node *select_codes(Rewrite *rw, const Node *old, Node *const *in) {
  Graph *g = rw->g;
  double a, b;
  if (!elem_is_int(old->t.e) || !node_uniform(in[1], &a) || !node_uniform(in[2], &b) || fabs(a) != 1 || a != -b || !shape_of(old, in[0])) return NULL;
  const Node *t = in[0];
  if (!node_is_map(t, S_LE) && !node_is_map(t, S_LT)) return NULL;
  if (!elem_eq(t->in[0]->t.e, F32)) return NULL;
  Node *f = node_map3(g, S_SELECT, in[0], node_const_f(g, F32, a), node_const_f(g, F32, b));
  rw->changes++;
  return node_cast(g, node_quant(g, f, node_const_f(g, F32, 1), NULL, BIPOLAR, -1, 1, RND_EVEN), old->t.e);
}

Node *spell_codes(Rewrite *rw, const Node *old, Node *const *in) {
  int other;
  if (old->a.scalar == S_SELECT) return select_codes(rw, old, in);
  if (old->a.scalar == S_CAST) {
    Node *q = in[0];
    if (elem_is_float(q->t.e)) return cast_to_codes(rw, old, q);
    if (q->op != OP_QUANT || !elem_is_int(q->t.e) || !elem_is_int(old->t.e) || rw->uses[old->in[0]->id] != 1) return NULL;
    if (q->a.lo < elem_lo(old->t.e) || q->a.hi > elem_hi(old->t.e)) return NULL;
    rw->changes++;
    return node_quant(rw->g, q->in[0], q->in[1], q->n_in > 2 ? q->in[2] : NULL, old->t.e, q->a.lo, q->a.hi, q->a.round);
  }
  const Node *c = const_side(old, in, &other);
  if (!c || in[other]->op != OP_QUANT || !elem_is_int(in[other]->t.e) || rw->uses[old->in[other]->id] != 1) return NULL;
  switch (old->a.scalar) {
  case S_MAX: case S_MIN: return clip_codes(rw, old, in[other], c);
  case S_ADD: return shift_codes(rw, old, in[other], c);
  case S_SUB: return other == 0 ? shift_codes(rw, old, in[other], c) : NULL;
  default: return NULL;
  }
}

/* Dequant */

/* dequant(q, s, k + 1/2) = dequant(2q - (2k + 1), s/2): both products are the same real number, and halving is exact. */
static Node *half_zero(Graph *g, const Node *old, Node *const *in, int64_t lo, int64_t hi) {
  double z;
  Node *q = in[0], *s = in[1];
  if (!node_uniform(in[2], &z) || z != floor(2 * z) / 2 || z == floor(z) || fabs(z) > 1 << 20 || !elem_eq(s->t.e, F32) || !node_is_const(s)) return NULL;
  if (lo < -(1 << 20) || hi > 1 << 20 || (q->t.e.kind != EK_INT && q->t.e.kind != EK_UINT) || q->t.e.bits > 32) return NULL;
  for (int64_t i = 0; i < s->a.value->n; i++) if (!(fabs(tensor_f(s->a.value, i)) >= 0x1p-100)) return NULL;
  int64_t odd = (int64_t)(2 * z);
  int64_t ends[] = {2 * lo, 2 * hi, 2 * lo - odd, 2 * hi - odd, odd}, least = -1, most = 1; /* a signed type of all these numbers */
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) least = ends[i] < least ? ends[i] : least, most = ends[i] > most ? ends[i] : most;
  Elem doubled = elem_for_range(least, most);
  Elem narrow = elem_for_range(2 * lo - odd, 2 * hi - odd);
  Node *twice = folded_map(g, S_MUL, doubled, q, node_const_i(g, INTK(3), 2)), *half = folded_map(g, S_MUL, F32, s, node_const_f(g, F32, 0.5));
  Node *codes = twice ? folded_map(g, S_SUB, narrow, twice, node_const_i(g, doubled, odd)) : NULL;
  return codes && half ? node_dequant(g, codes, half, NULL, old->t.e) : NULL;
}

/* Codes whose zero point is a step before: q' = q +- c, where nothing wraps. */
static Node *codes_below_sum(Node *q, int64_t *z) {
  int other;
  double v;
  int64_t lo, hi;
  if (q->op != OP_MAP || (q->a.scalar != S_ADD && q->a.scalar != S_SUB) || !elem_is_int(q->t.e)) return NULL;
  const Node *c = const_side(q, q->in, &other);
  if (!c || (q->a.scalar == S_SUB && other != 0) || !node_uniform(c, &v) || fabs(v) > 0x1p30) return NULL;
  Node *x = q->in[other];
  code_bounds(x, &lo, &hi);
  int64_t k = q->a.scalar == S_ADD ? (int64_t)v : -(int64_t)v;
  if (x->t.e.kind == EK_BOOL || x->t.e.bits > 32 + 32 * (lo > INT32_MIN && hi < INT32_MAX)) return NULL;
  if (lo < -0x1p40 || hi > 0x1p40 || lo + k < elem_lo(q->t.e) || hi + k > elem_hi(q->t.e)) return NULL;
  *z = *z - k;
  return x;
}

/* Float zero points that are integers become code zero points, those of 0 vanish; casts that only widen codes vanish. */
Node *spell_dequant(Rewrite *rw, const Node *old, Node *const *in) {
  int64_t z = 0, lo, hi;
  Node *q = in[0], *zp = old->n_in > 2 ? in[2] : NULL, *x;
  if (!shape_of(old, q)) return NULL;
  bool uniform = zp_uniform(zp, &z), floats = zp && elem_is_float(zp->t.e), changed = false;
  code_bounds(q, &lo, &hi);
  if (zp && uniform && z == 0) zp = NULL, changed = true;
  else if (floats && uniform && lo - z > -(1 << 24) && hi - z < 1 << 24)
    zp = node_const_i(rw->g, code_fits(q->t.e, z) ? q->t.e : I32, z), changed = true;
  if (floats) {
    Node *y = half_zero(rw->g, old, in, lo, hi);
    if (y) rw->changes++;
    if (y) return y;
  }
  if (uniform && !(zp && elem_is_float(zp->t.e)) && (x = codes_below_sum(q, &z)) && shape_of(old, x)) {
    q = x, changed = true;
    zp = z ? node_const_i(rw->g, code_fits(q->t.e, z) ? q->t.e : I64, z) : NULL;
  }
  while (node_is_map(q, S_CAST) && elem_is_code(q->in[0]->t.e) && q->in[0]->t.e.kind != EK_BOOL && (!zp || elem_is_code(zp->t.e)) &&
         elem_lo(q->in[0]->t.e) >= elem_lo(q->t.e) && elem_hi(q->in[0]->t.e) <= elem_hi(q->t.e) && !(zp && elem_eq(q->in[0]->t.e, BIPOLAR))) {
    q = q->in[0];
    changed = true;
  }
  if (!changed) return NULL;
  rw->changes++;
  return node_dequant(rw->g, q, in[1], zp, old->t.e);
}
