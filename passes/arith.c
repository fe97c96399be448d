/* Quantization spelled as arithmetic on floats. What contractions, sums and outputs read, through movements and affine steps with
 * constants, is `wanted` as codes: there
 *   integers, signs, few multiples   a float map whose numbers are proved such (values.h) is dequant(quant(it)), and quant then
 *                                    takes in the steps above it (spell.c): round, clip, division, Where and Sign spellings
 *   casts                            of a code to float is dequant by 1
 *   affine steps                     of dequantized codes join scale and zero point where every code keeps its float; a scale
 *                                    that is a quotient (q / 15) is one of binary64
 * all exactly: a step that would change one bit of one code's value stays. */
#include "passes/spell.h"

#include "passes/access.h"

#include <math.h>
#include <string.h>

static bool passes_on(const Node *n) {
  switch (n->op) {
  case OP_VIEW: case OP_RESHAPE: case OP_CONCAT: case OP_GATHER: return true;
  case OP_REDUCE: return n->a.scalar == S_MAX || n->a.scalar == S_MIN;
  case OP_MAP:
    switch (n->a.scalar) {
    case S_ADD: case S_SUB: case S_MUL: case S_DIV: case S_MAX: case S_MIN: case S_NEG: return elem_is_float(n->t.e);
    case S_CAST: return elem_is_float(n->t.e) && elem_is_float(n->in[0]->t.e);
    default: return false;
    }
  default: return false;
  }
}

static bool codes_read(const Node *n) {
  for (int k = 0; k < n->n_in; k++) if (n->in[k]->op == OP_DEQUANT) return true;
  return false;
}

/* Signs of one magnitude: codes as they are, whatever they were made of. */
static bool signs(const Values *v) { return v->n == 2 && v->v[0] == -v->v[1]; }

void find_wanted(const Graph *g, Facts *facts, bool *wanted) {
  for (int i = 0; i < g->n_outs; i++) wanted[g->outs[i].v->id] = true;
  for (int i = g->n_nodes - 1; i >= 0; i--) {
    const Node *n = g->nodes[i];
    bool reads = (n->op == OP_CONTRACT && n->n_in == 2) || (n->op == OP_REDUCE && n->a.scalar == S_ADD);
    if (!reads && !(wanted[i] && passes_on(n))) continue;
    if (n->op == OP_MAP && elem_eq(n->t.e, F32) && signs(values_of(facts, n)) && !codes_read(n)) continue;
    for (int k = 0; k < n->n_in; k++)
      if (elem_is_float(n->in[k]->t.e) && !(n->op == OP_GATHER && k)) wanted[n->in[k]->id] = true;
  }
}

static Node *one(Graph *g, Elem e) { return node_const_f(g, e, 1); }

/* Codes and their scale from a float */

static Node *as_codes(Rewrite *rw, Node *x, double scale, Elem e, int64_t lo, int64_t hi, double back) {
  Graph *g = rw->g;
  rw->changes++;
  return node_dequant(g, node_quant(g, x, node_const_f(g, F32, scale), NULL, e, lo, hi, RND_EVEN), node_const_f(g, F32, back), NULL, F32);
}

/* The few numbers as codes of their least magnitude: each must come back. */
static bool multiples(const Values *v, double *scale, int64_t *lo, int64_t *hi) {
  double s = 0;
  for (int i = 0; i < v->n; i++)
    if (v->v[i] != 0 && (s == 0 || fabs(v->v[i]) < s)) s = fabs(v->v[i]);
  if (s == 0 || !isfinite(s) || s < 1e-30) return false;
  *lo = INT64_MAX, *hi = INT64_MIN;
  for (int i = 0; i < v->n; i++) {
    double q = nearbyint(v->v[i] / s);
    if (!(fabs(q) <= 1 << 15)) return false;
    const Attr a = {.round = RND_EVEN, .lo = -(1 << 16), .hi = 1 << 16};
    if (quant_eval(v->v[i], s, NULL, I32, F32, &a, I32).i != (int64_t)q || dequant_eval((int64_t)q, s, NULL, I32, F32, F32) != v->v[i]) return false;
    *lo = (int64_t)q < *lo ? (int64_t)q : *lo;
    *hi = (int64_t)q > *hi ? (int64_t)q : *hi;
  }
  *scale = s;
  return true;
}

/* A chain of maps with uniform constants below one test: its value where the test is false, true. NULL: no such chain. */
static Node *test_below(Node *n, double y[2]) {
  const Node *steps[8];
  int k = 0, at[8];
  while (n->op == OP_MAP && n->t.e.kind != EK_BOOL) {
    int var = -1;
    for (int i = 0; i < n->n_in; i++) {
      double c;
      if (node_uniform(n->in[i], &c)) continue;
      if (var >= 0 || !type_shape_eq(&n->t, &n->in[i]->t)) return NULL;
      var = i;
    }
    if (var < 0 || k == 8) return NULL;
    steps[k] = n, at[k++] = var;
    n = n->in[var];
  }
  if (n->op != OP_MAP || k == 0) return NULL;
  for (int b = 0; b < 2; b++) {
    y[b] = b;
    for (int i = k - 1; i >= 0; i--) {
      double args[3] = {0};
      for (int j = 0; j < steps[i]->n_in; j++)
        if (j == at[i]) args[j] = y[b];
        else node_uniform(steps[i]->in[j], &args[j]);
      y[b] = map_value(steps[i], args);
    }
  }
  return n;
}

/* x whose numbers are known: codes. x is the new graph's. */
static Node *known_codes(Rewrite *rw, Node *x, const Values *v) {
  Graph *g = rw->g;
  double s, y[2], limit = 1 << 16;
  int64_t lo, hi;
  if (signs(v)) { /* +-a: a bipolar quant of a test becomes one of what is tested */
    Node *t = test_below(x, y);
    if (t && !isnan(y[0]) && fabs(y[0]) == v->v[1] && y[1] == -y[0]) x = node_map3(g, S_SELECT, t, node_const_f(g, F32, y[1]), node_const_f(g, F32, y[0]));
    return as_codes(rw, x, 1, BIPOLAR, -1, 1, v->v[1]);
  }
  if (v->n == 1) return NULL;
  if (v->whole && v->lo >= -limit && v->hi < limit) return as_codes(rw, x, 1, elem_for_range((int64_t)v->lo, (int64_t)v->hi), (int64_t)v->lo, (int64_t)v->hi, 1);
  if (v->n && multiples(v, &s, &lo, &hi)) return as_codes(rw, x, s, elem_for_range(lo, hi), lo, hi, s);
  return NULL;
}

Node *spell_float(Rewrite *rw, const Node *old, Node *const *in) {
  Spell *s = rw->user;
  Graph *g = rw->g;
  if (!elem_is_float(old->t.e) || !s->wanted[old->id]) return NULL;
  if (old->a.scalar == S_CAST) {
    Node *x = in[0];
    if (elem_is_code(x->t.e) && x->t.e.kind != EK_BOOL && old->t.e.bits >= 32 && !(x->t.e.kind == EK_BASES && x->t.e.bits > 1) && !node_is_const(x)) {
      rw->changes++;
      return node_dequant(g, x, one(g, old->t.e), NULL, old->t.e);
    }
    if (x->op == OP_DEQUANT && elem_eq(x->t.e, F64) && elem_eq(x->in[1]->t.e, F64) && elem_eq(old->t.e, F32) && (x->n_in < 3 || elem_is_code(x->in[2]->t.e))) {
      rw->changes++; /* one rounding more either way */
      return node_dequant(g, x->in[0], x->in[1], x->n_in > 2 ? x->in[2] : NULL, F32);
    }
  }
  if (!elem_eq(old->t.e, F32)) return NULL;
  for (int k = 0; k < old->n_in; k++) if (in[k]->op == OP_DEQUANT && passes_on(old)) return NULL; /* an affine step of codes, or none */
  const Values *v = values_of(s->facts, old);
  if (v->n == 0 && !(v->whole && isfinite(v->lo) && isfinite(v->hi))) return NULL;
  for (int k = 0, consts = 0; k < old->n_in; k++) if ((consts += node_is_const(in[k])) == old->n_in) return NULL;
  return known_codes(rw, node_clone(g, old, in), v);
}

/* Affine steps of dequantized codes */

typedef struct Deq { Node *q, *s, *z; int64_t lo, hi, zu; bool plain; } Deq; /* plain: a known integer zero point for all */

static bool deq_of(const Node *d, Deq *o) {
  if (d->op != OP_DEQUANT || !elem_eq(d->in[1]->t.e, d->t.e) || !type_shape_eq(&d->t, &d->in[0]->t)) return false;
  *o = (Deq){.q = d->in[0], .s = d->in[1], .z = d->n_in > 2 ? d->in[2] : NULL};
  if (o->q->t.e.kind == EK_BASES && o->q->t.e.bits > 1) return false;
  o->plain = zp_uniform(o->z, &o->zu) && !(o->z && elem_is_float(o->z->t.e));
  code_bounds(o->q, &o->lo, &o->hi);
  return true;
}

static double map2(const Node *n, double a, double b) { return map_value(n, (double[]){a, b}); }

enum { CODES_MAX = 1 << 12, CHECKS_MAX = 1 << 22 };

/* old(dequant(q, s), c) is dequant(q, s2) for every code, s2 elementwise: checked one by one where a rounding may differ. */
static bool scales_agree(const Node *old, const Deq *d, bool swapped, double s, double c, double s2, Elem se) {
  const Elem e = old->t.e;
  int64_t lo = d->lo, hi = d->hi;
  if ((uint64_t)hi - (uint64_t)lo >= CODES_MAX) return false;
  for (int64_t q = lo; q <= hi; q++) {
    if (d->q->t.e.kind == EK_BASES && q == 0) continue;
    Val z = {.i = d->zu};
    double x = dequant_eval(q, s, &z, I64, e, e), y = swapped ? map2(old, c, x) : map2(old, x, c);
    if (y != dequant_eval(q, s2, &z, I64, se, e)) return false;
  }
  return true;
}

static bool always_exact(const Deq *d, double s, double c, bool divides) {
  int e;
  if (!isfinite(c) || c == 0) return false;
  if (s == 1 && !divides) return true;
  bool small = d->lo > -(1 << 20) && d->hi < 1 << 20 && fabs(s) > 1e-25 && fabs(s) < 1e25 && fabs(c) > 1e-9 && fabs(c) < 1e9;
  return small && (fabs(frexp(c, &e)) == 0.5 || (!divides && fabs(frexp(s, &e)) == 0.5));
}

/* The scale s*c or s/c in binary32, else binary64, such that every code keeps its float; NULL where there is none. */
static Node *joined_scale(Rewrite *rw, const Node *old, const Deq *d, const Node *c, bool swapped) {
  Graph *g = rw->g;
  bool divides = old->a.scalar == S_DIV;
  Type t;
  int64_t n;
  if (!d->plain || !type_broadcast(&d->s->t, &c->t, &t) || !type_count(&t, &n) || n < 1 || n > 1 << 20) return NULL;
  for (int wide = elem_eq(old->t.e, F64); wide < 2; wide++) {
    Elem se = wide ? F64 : F32;
    int64_t checks = 0, idx[MAX_RANK] = {0};
    bool ok = true;
    t.e = se;
    Tensor *y = tensor_new(g->ctx, &t);
    if (!y) return NULL;
    for (int64_t i = 0; ok && i < n; i++) {
      double s = tensor_f(d->s->a.value, bcast_index(&d->s->t, t.rank, idx)), k = tensor_f(c->a.value, bcast_index(&c->t, t.rank, idx));
      tensor_set_f(y, i, divides ? s / k : s * k);
      double s2 = tensor_f(y, i);
      bool free = always_exact(d, s, k, divides) && !wide;
      if (!free) checks += d->hi - d->lo + 1;
      ok = isfinite(s2) && s2 != 0 && (free || (checks > 0 && checks <= CHECKS_MAX && scales_agree(old, d, swapped, s, k, s2, se)));
      for (int j = t.rank - 1; j >= 0 && ++idx[j] == t.d[j].n; j--) idx[j] = 0;
    }
    if (ok) return node_const(g, y);
    tensor_free(y);
  }
  return NULL;
}

static Node *scaled(Rewrite *rw, const Node *old, const Deq *d, Node *c, bool swapped) {
  Graph *g = rw->g;
  double s;
  if (old->a.scalar == S_DIV && swapped) return NULL;
  if (node_is_const(c) && node_is_const(d->s)) {
    Node *y = joined_scale(rw, old, d, c, swapped);
    return y ? node_dequant(g, d->q, y, d->z, old->t.e) : NULL;
  }
  /* a scale that is not known yet: (q - z) * 1 * c */
  if (old->a.scalar != S_MUL || !node_uniform(d->s, &s) || s != 1 || c->op == OP_DEQUANT) return NULL;
  int64_t n;
  return type_count(&c->t, &n) && n * 4 <= INT32_MAX && c->t.rank <= old->t.rank && !type_shape_eq(&c->t, &old->t) ? node_dequant(g, d->q, c, d->z, old->t.e) : NULL;
}

/* + c: the zero point moves by a whole number of steps, or of half steps, if every code keeps its float. */
static Node *shifted(Rewrite *rw, const Node *old, const Deq *d, const Node *c, bool swapped) {
  Graph *g = rw->g;
  double s, v;
  if (!d->plain || !elem_eq(old->t.e, F32) || !node_uniform(d->s, &s) || s == 0 || !node_uniform(c, &v) || (old->a.scalar == S_SUB && swapped)) return NULL;
  if ((uint64_t)d->hi - (uint64_t)d->lo >= CODES_MAX) return NULL;
  double k = nearbyint(2 * (old->a.scalar == S_SUB ? -v : v) / s) / 2, z = (double)d->zu - k;
  if (!(fabs(k) < 1 << 20) || fabs(z) > 1 << 20) return NULL;
  for (int64_t q = d->lo; q <= d->hi; q++) {
    Val z0 = {.i = d->zu}, zf = {.f = z};
    if (d->q->t.e.kind == EK_BASES && q == 0) continue;
    if (map2(old, dequant_eval(q, s, &z0, I64, F32, F32), v) != dequant_eval(q, s, &zf, F32, F32, F32)) return NULL;
  }
  Node *zp = z == 0 ? NULL : z == floor(z) ? node_const_i(g, I32, (int64_t)z) : node_const_f(g, F32, z);
  return node_dequant(g, d->q, d->s, zp, old->t.e);
}

/* max or min with a number that is a code's, or beyond all of them. */
static Node *clipped(Rewrite *rw, const Node *old, const Deq *d, const Node *c) {
  Graph *g = rw->g;
  double s, v;
  if (!d->plain || !node_uniform(d->s, &s) || !(s > 0) || !isfinite(s) || !node_uniform(c, &v) || !isfinite(v)) return NULL;
  if (d->q->t.e.kind != EK_INT && d->q->t.e.kind != EK_UINT) return NULL;
  double k = nearbyint(v / s) + (double)d->zu;
  if (!(fabs(k) < 1 << 30)) return NULL;
  int64_t at = (int64_t)k;
  if (dequant_eval(at, s, &(Val){.i = d->zu}, I64, d->s->t.e, old->t.e) != v) return NULL;
  if (!code_fits(d->q->t.e, at)) return NULL;
  Node *q = node_map_as(g, old->a.scalar, d->q->t.e, 2, (Node *[]){d->q, node_const_i(g, d->q->t.e, at)});
  return node_dequant(g, q, d->s, d->z, old->t.e);
}

/* Sum of two with power-of-two scales: a sum of integers, exact as long as the numbers are below 2^24 steps. */
static Node *summed(Rewrite *rw, const Node *old, const Deq *a, const Deq *b) {
  Graph *g = rw->g;
  double sa, sb;
  int e;
  if (!a->plain || !b->plain || !elem_eq(old->t.e, F32) || !node_uniform(a->s, &sa) || !node_uniform(b->s, &sb) || !(sa > 0) || !(sb > 0)) return NULL;
  if (frexp(sa, &e) != 0.5 || frexp(sb, &e) != 0.5 || sa > 1e20 || sb > 1e20 || sa < 1e-20 || sb < 1e-20) return NULL;
  double s = fmin(sa, sb), ka = sa / s, kb = sb / s;
  if (ka > 1 << 16 || kb > 1 << 16 || !type_shape_eq(&old->t, &a->q->t) || !type_shape_eq(&old->t, &b->q->t)) return NULL;
  const Deq *d[2] = {a, b};
  Node *x[2];
  int64_t lo[2], hi[2];
  for (int i = 0; i < 2; i++) {
    int64_t k = (int64_t)(i ? kb : ka);
    if (d[i]->lo < -(1 << 20) || d[i]->hi > 1 << 20 || d[i]->zu < -(1 << 20) || d[i]->zu > 1 << 20) return NULL;
    lo[i] = (d[i]->lo - d[i]->zu) * k, hi[i] = (d[i]->hi - d[i]->zu) * k;
    x[i] = d[i]->zu ? node_map_as(g, S_SUB, elem_for_range(d[i]->lo - d[i]->zu, d[i]->hi - d[i]->zu), 2, (Node *[]){d[i]->q, node_const_i(g, I32, d[i]->zu)}) : d[i]->q;
    if (k > 1) x[i] = node_map_as(g, S_MUL, elem_for_range(lo[i], hi[i]), 2, (Node *[]){x[i], node_const_i(g, I32, k)});
  }
  bool sub = old->a.scalar == S_SUB;
  int64_t least = lo[0] + (sub ? -hi[1] : lo[1]), most = hi[0] + (sub ? -lo[1] : hi[1]);
  if (least < -(1 << 24) || most > 1 << 24) return NULL;
  Node *y = node_map_as(g, old->a.scalar, elem_for_range(least, most), 2, x);
  return node_dequant(g, y, node_const_f(g, F32, s), NULL, F32);
}

Node *spell_affine(Rewrite *rw, const Node *old, Node *const *in) {
  const Spell *sp = rw->user;
  Graph *g = rw->g;
  Deq d, e;
  Node *y = NULL;
  if (!sp->wanted[old->id] || !elem_is_float(old->t.e)) return NULL;
  if (old->a.scalar == S_NEG && deq_of(in[0], &d) && node_is_const(d.s)) {
    Tensor *t = tensor_copy(d.s->a.value);
    for (int64_t i = 0; t && i < t->n; i++) tensor_set_f(t, i, -tensor_f(t, i));
    Node *s = t ? node_const(g, t) : NULL;
    y = s ? node_dequant(g, d.q, s, d.z, old->t.e) : NULL;
  } else if (old->n_in == 2) {
    int k = deq_of(in[0], &d) && type_shape_eq(&old->t, &in[0]->t) ? 0 : deq_of(in[1], &d) && type_shape_eq(&old->t, &in[1]->t) ? 1 : -1;
    if (k < 0) return NULL;
    Node *c = in[1 - k];
    switch (old->a.scalar) {
    case S_MUL: case S_DIV: y = scaled(rw, old, &d, c, k == 1); break;
    case S_MAX: case S_MIN: y = clipped(rw, old, &d, c); break;
    case S_ADD: case S_SUB:
      y = shifted(rw, old, &d, c, k == 1);
      if (!y && k == 0 && deq_of(in[1], &e)) y = summed(rw, old, &d, &e);
      break;
    default: break;
    }
  }
  if (y) rw->changes++;
  return y;
}
