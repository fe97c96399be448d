/* recognize fixes the meaning (docs/ARCHITECTURE.md): one quant/dequant vocabulary, and exact integers for contractions of codes.
 *   spelling   clip of codes after quant narrows its bounds (QCDQ); quant of its own dequant vanishes; a float zero point of 0 vanishes
 *              a zero point of k + 1/2 doubles the codes (UniQ's weights: odd integers of half the scale)
 *   concat     of codes whose scales are small multiples of one: codes of that scale
 *   movement   dequant moves below reshape, view, gather, concat, max and min pools, where bits stay (dequant_below)
 *   contract   contract(dequant(a, sa, za), dequant(w, sw, zw)) = dequant(sum (a-za)(w-zw), sa*sw): the sum in i32, or i64 where
 *              i32 may not hold it, the product of the scales in binary64, one rounding to the result
 *   reduce     an add-reduce of dequantized codes likewise (average pools)
 *   softmax    of codes, quantized again: a table, an exact sum, one division (softmax.c)
 * Zero points: a constant operand takes its own in (w - zw); that of codes times a constant is a constant correction
 * -za * sum_r w, the padding being za, the code of zero; else it is subtracted from the codes first. */
#include "passes/recognize.h"

#include "passes/access.h"
#include "passes/bases.h"
#include "passes/pass.h"
#include "passes/spell.h"
#include "passes/weights.h"

#include <assert.h>
#include <math.h>

__extension__ typedef __int128 wide;

/* Contractions */

typedef struct Operand { Node *q, *s, *z; int64_t zu; bool z_const; } Operand; /* zu: the uniform zero point where z_const */

static bool operand_of(const Node *n, Operand *o) {
  if (n->op != OP_DEQUANT || !elem_is_float(n->t.e)) return false;
  *o = (Operand){.q = n->in[0], .s = n->in[1], .z = n->n_in > 2 ? n->in[2] : NULL};
  Elem e = o->q->t.e;
  if ((e.kind == EK_BASES && e.bits > 1) || e.bits > 32) return false;
  int64_t lo, hi; /* a scale of binary64 is a quotient that narrow codes were given, or of a contraction, whose sum shall not be multiplied */
  code_bounds(o->q, &lo, &hi);
  if (o->s->t.e.bits > 32 && (lo < -(1 << 16) || hi > 1 << 16)) return false;
  if (o->z && elem_is_float(o->z->t.e) && !zp_uniform(o->z, &o->zu)) return false;
  o->z_const = zp_uniform(o->z, &o->zu);
  for (int i = 0; i < n->t.rank; i++)
    if (o->q->t.rank != n->t.rank || !dim_eq(o->q->t.d[i], n->t.d[i])) return false;
  return true;
}

/* Operand k's scale depends on output iterators only, and is known, or has one element. */
static bool scale_outside(const Node *c, int k, const Node *s, const Type *x) {
  const Iters *it = c->a.iters;
  int64_t n;
  if (type_count(&s->t, &n) && n == 1) return true;
  if (!node_is_const(s)) return false;
  uint32_t varies = const_varies(s->a.value, x->rank);
  for (int d = 0; d < x->rank; d++) {
    if (!(varies >> d & 1)) continue;
    for (int r = 0; r < it->n_red; r++)
      if (it->acc[k][d].coef[it->n_out + r]) return false;
  }
  return true;
}

bool contract_recognizable(const Node *n, Node *const *in) {
  Operand a, w;
  if (n->op != OP_CONTRACT || n->n_in != 2 || n->a.scalar != S_MUL) return false;
  if (!elem_is_float(n->t.e) || !type_static(&n->t)) return false;
  if (!operand_of(in[0], &a) || !operand_of(in[1], &w)) return false;
  if (!access_inside(n, 1) || (n->a.fill != 0 && !access_inside(n, 0))) return false;
  return scale_outside(n, 0, a.s, &in[0]->t) && scale_outside(n, 1, w.s, &in[1]->t);
}

/* q - z as codes of their own. */
static Node *without_zero(Graph *g, const Operand *o) {
  int64_t qlo, qhi, zlo, zhi;
  if (!o->z || (o->z_const && o->zu == 0)) return o->q;
  code_bounds(o->q, &qlo, &qhi);
  if (o->z_const) zlo = zhi = o->zu;
  else code_bounds(o->z, &zlo, &zhi);
  Elem e = elem_for_range(qlo - zhi, qhi - zlo);
  Node *z = o->z_const ? node_const_i(g, elem_for_range(zlo, zhi), o->zu) : o->z;
  return folded_map(g, S_SUB, e, o->q, z); /* a constant at once: the sums below read it */
}

/* Output iterators that operand k's dimensions in `dims` read: the result's shape with other dimensions 1. */
static void read_dims(const Node *c, int k, uint32_t dims, int64_t out[MAX_RANK]) {
  for (int d = 0; d < c->in[k]->t.rank; d++)
    for (int i = 0; i < c->t.rank; i++)
      if (dims >> d & 1 && c->a.iters->acc[k][d].coef[i] && c->t.d[i].n > 1) out[i] = c->t.d[i].n;
}

/* Index of operand k's dimension d at these iterators, clamped inside (fill positions: any value serves). */
static int64_t access_at(const Node *c, int k, int d, const int64_t *iter, int n_iters) {
  const Affine *a = &c->a.iters->acc[k][d];
  int64_t v = a->base;
  for (int i = 0; i < n_iters; i++) v += a->coef[i] * iter[i];
  v /= a->div;
  return v < 0 ? 0 : v >= c->in[k]->t.d[d].n ? c->in[k]->t.d[d].n - 1 : v;
}

static double scale_at(const Node *c, int k, const Node *s, const int64_t *o) {
  int64_t idx[MAX_RANK];
  for (int d = 0; d < c->in[k]->t.rank; d++) idx[d] = access_at(c, k, d, o, c->t.rank);
  return tensor_f(s->a.value, bcast_index(&s->t, c->in[k]->t.rank, idx));
}

/* Operand k's scale in binary64, broadcasting against the result. */
static Node *scale_side(Graph *g, const Node *c, int k, Node *s) {
  int64_t dims[MAX_RANK], o[MAX_ITERS] = {0};
  if (!node_is_const(s)) {
    s = operand_scalar(g, s);
    return s ? node_cast(g, s, F64) : NULL;
  }
  for (int i = 0; i < c->t.rank; i++) dims[i] = 1;
  read_dims(c, k, const_varies(s->a.value, c->in[k]->t.rank), dims);
  bool one = true;
  for (int i = 0; i < c->t.rank; i++) one = one && dims[i] == 1;
  Type t = type_make(F64, one ? 0 : c->t.rank, dims);
  Tensor *y = tensor_new(g->ctx, &t);
  if (!y) return NULL;
  for (int64_t i = 0; i < y->n; i++) {
    tensor_set_f(y, i, scale_at(c, k, s, o));
    for (int d = c->t.rank - 1; d >= 0 && ++o[d] == dims[d]; d--) o[d] = 0;
  }
  return node_const(g, y);
}

/* sa * sw in binary64: exact where both have at most 24 bits, else rounded once. */
static Node *scale_product(Graph *g, const Node *c, const Operand *a, const Operand *w) {
  Node *sa = scale_side(g, c, 0, a->s), *sw = scale_side(g, c, 1, w->s);
  if (!sa || !sw) return NULL;
  Node *p = node_map2(g, S_MUL, sa, sw);
  if (!node_is_const(sa) || !node_is_const(sw)) return p;
  Tensor *y = node_eval(g->ctx, p, (Tensor *[]){(Tensor *)(uintptr_t)sa->a.value, (Tensor *)(uintptr_t)sw->a.value});
  return y ? node_const(g, y) : NULL;
}

/* For every combination of the output iterators that constant operand 1 reads: sum of w and of |w| over the reduction. */
typedef struct WeightSums { int64_t dims[MAX_RANK], n; wide *sum, *abs; } WeightSums;

static bool weight_sums(Arena *arena, const Node *c, const Tensor *w, WeightSums *s) {
  int64_t ext[MAX_ITERS], idx[MAX_ITERS] = {0}, inner = 1;
  int total = iters_extents(c, ext), rank = c->in[1]->t.rank;
  s->n = 1;
  for (int i = 0; i < c->t.rank; i++) s->dims[i] = 1;
  read_dims(c, 1, UINT32_MAX, s->dims);
  for (int i = 0; i < c->t.rank; i++) s->n *= ext[i] = s->dims[i];
  for (int i = c->t.rank; i < total; i++) inner *= ext[i];
  if (s->n > INT32_MAX || s->n < 1) return false;
  s->sum = arena_alloc(arena, sizeof(wide) * (size_t)s->n);
  s->abs = arena_alloc(arena, sizeof(wide) * (size_t)s->n);
  for (int64_t r = 0; r < s->n; r++)
    for (int64_t q = 0; q < inner; q++) {
      int64_t at[MAX_RANK];
      for (int d = 0; d < rank; d++) at[d] = access_at(c, 1, d, idx, total);
      int64_t v = tensor_i(w, bcast_index(&w->t, rank, at));
      s->sum[r] += v;
      s->abs[r] += v < 0 ? -v : v;
      for (int i = total - 1; i >= 0 && ++idx[i] == ext[i]; i--) idx[i] = 0;
    }
  return true;
}

static wide wabs(wide v) { return v < 0 ? -v : v; }
static wide wmax(wide a, wide b) { return a > b ? a : b; }

static wide terms_of(const Iters *it) {
  wide n = 1;
  for (int i = 0; i < it->n_red; i++) n *= it->red[i].n;
  return n;
}

static Node *int_contract(Graph *g, const Node *old, Node *qa, Node *qw, Elem acc, int64_t fill) {
  Type t = old->t;
  t.e = acc;
  if (qa->t.e.kind == EK_BASES && !access_inside(old, 0)) qa = node_cast(g, qa, INTK(2)); /* 0 is no code of +-1 */
  return node_contract(g, S_MUL, &t, 2, (Node *[]){qa, qw}, old->a.iters, access_inside(old, 0) ? 0 : (double)fill);
}

/* acc - za * sum_r w, with the padding at za. */
static Node *corrected(Graph *g, const Node *old, Node *qa, Node *qw, Elem acc, int64_t za, const WeightSums *s) {
  Type t = type_make(acc, old->t.rank, s->dims);
  Tensor *k = tensor_new(g->ctx, &t);
  if (!k) return NULL;
  for (int64_t i = 0; i < k->n; i++) tensor_set_i(k, i, (int64_t)(-(wide)za * s->sum[i]));
  Node *c = int_contract(g, old, qa, qw, acc, za);
  return node_map2(g, S_ADD, c, node_const(g, k));
}

/* The operands, a constant float one as dequantized codes where the other one is: in the meaning of dequant, bit by bit. */
static Node *const *with_weights(Rewrite *rw, const Node *old, Node *const *in, Node *to[2]) {
  if (old->op != OP_CONTRACT || old->n_in != 2 || old->a.scalar != S_MUL || !elem_eq(old->t.e, F32) || !type_static(&old->t)) return in;
  for (int k = 0; k < 2; k++) {
    Operand o;
    Node *q, *s;
    const char *why;
    if (!node_is_const(in[k]) || !operand_of(in[1 - k], &o) || !weight_codes(rw->g, old, k, in, &q, &s, &why)) continue;
    to[1 - k] = in[1 - k];
    to[k] = node_dequant(rw->g, q, s, NULL, F32);
    return to;
  }
  return in;
}

static Node *recognize_contract(Rewrite *rw, const Node *old, Node *const *in) {
  Graph *g = rw->g;
  Operand a, w;
  WeightSums s = {.n = 0};
  int64_t lo, hi, wlo, whi;
  Node *with[2];
  in = with_weights(rw, old, in, with);
  if (!contract_recognizable(old, in)) return NULL;
  operand_of(in[0], &a);
  operand_of(in[1], &w);
  Node *scale = scale_product(g, old, &a, &w), *qw = without_zero(g, &w), *y;
  if (!scale || !qw) return NULL;
  Arena *scratch = arena_new(g->ctx);
  bool sums = node_is_const(qw) && weight_sums(scratch, old, qw->a.value, &s);
  bool correct = sums && a.z_const && a.zu != 0 && code_fits(a.q->t.e, a.zu) && !node_is_const(a.q);
  Node *qa = correct ? a.q : without_zero(g, &a);
  if (!qa) return NULL;
  code_bounds(qa, &lo, &hi);
  wide most = wmax(wabs(lo), wabs(hi)), bound = 0;
  if (correct) most += wabs(a.zu); /* the sum and its correction both fit */
  if (sums)
    for (int64_t i = 0; i < s.n; i++) bound = wmax(bound, most * s.abs[i]);
  else {
    code_bounds(qw, &wlo, &whi);
    bound = most * wmax(wabs(wlo), wabs(whi)) * terms_of(old->a.iters);
  }
  /* reductions that the weights do not read repeat their sums */
  y = correct ? corrected(g, old, qa, qw, bound <= INT32_MAX ? I32 : I64, a.zu, &s)
              : int_contract(g, old, qa, qw, bound <= INT32_MAX ? I32 : I64, 0);
  arena_free(scratch);
  if (!y) return NULL;
  rw->changes++;
  return node_dequant(g, y, scale, NULL, old->t.e);
}

/* A constant in binary64, or a cast of what is not known. */
static Node *in_f64(Graph *g, Node *s) {
  if (!node_is_const(s)) return node_cast(g, s, F64);
  Node *c = node_cast(g, s, F64);
  Tensor *y = node_is_const(c) ? NULL : node_eval(g->ctx, c, (Tensor *[]){(Tensor *)(uintptr_t)s->a.value});
  return y ? node_const(g, y) : node_is_const(c) ? c : NULL;
}

/* Sum of dequantized codes of one scale per result element. Where every window is full, n terms share one correction -n*z. */
static Node *recognize_sum(Rewrite *rw, const Node *old, Node *const *in) {
  Graph *g = rw->g;
  Operand a;
  int64_t lo, hi;
  if (old->a.scalar != S_ADD || !elem_is_float(old->t.e) || !type_static(&old->t) || !operand_of(in[0], &a)) return NULL;
  if (!scale_outside(old, 0, a.s, &in[0]->t)) return NULL;
  wide n = terms_of(old->a.iters);
  bool correct = a.z_const && a.zu != 0 && access_inside(old, 0) && elem_is_int(a.q->t.e);
  Node *s = operand_below(g, old, a.s), *q = correct ? a.q : without_zero(g, &a);
  if (!s || !q || !(s = in_f64(g, s))) return NULL;
  code_bounds(q, &lo, &hi);
  wide bound = n * (wmax(wabs(lo), wabs(hi)) + (correct ? wabs(a.zu) : 0));
  if (bound > INT64_MAX) return NULL;
  Type t = old->t;
  t.e = bound <= INT32_MAX ? I32 : I64;
  Node *y = node_reduce(g, S_ADD, q, &t, old->a.iters);
  if (correct) y = node_map2(g, S_ADD, y, node_const_i(g, t.e, (int64_t)(-n * a.zu)));
  rw->changes++;
  return node_dequant(g, y, s, NULL, old->t.e);
}

/* The greatest f32 s of which all n scales are small whole multiples, which then are exact; 0: none. */
enum { MOST_MULTIPLE = 256, MOST_PARTS = 16 };
static double common_scale(const double *scale, int n) {
  double least = scale[0];
  for (int i = 1; i < n; i++) least = fmin(least, scale[i]);
  for (int parts = 1; parts <= MOST_PARTS; parts++) {
    double s = least / parts;
    bool exact = s == (double)(float)s && s * parts == least;
    for (int i = 0; i < n && exact; i++) {
      double m = scale[i] / s; /* s*m of 24 and 8 bits is exact in binary64 */
      exact = m == floor(m) && m <= MOST_MULTIPLE && s * m == scale[i];
    }
    if (exact) return s;
  }
  return 0;
}

/* concat of dequantized codes whose scales, zero points or widths differ: dequant(concat((q - z)*m), s), each scale being m*s. The
 * product of code and scale is the same real number, so its one rounding is, too. */
static Node *recognize_concat(Rewrite *rw, const Node *old, Node *const *in) {
  Graph *g = rw->g;
  Arena *scratch = arena_new(g->ctx);
  Operand *o = NEWN(scratch, Operand, old->n_in);
  double *scale = NEWN(scratch, double, old->n_in);
  int64_t lo, hi, least = INT64_MAX, most = INT64_MIN;
  bool ok = old->op == OP_CONCAT && elem_eq(old->t.e, F32) && old->n_in > 1;
  for (int i = 0; i < old->n_in && ok; i++)
    ok = operand_of(in[i], &o[i]) && o[i].z_const && elem_eq(o[i].s->t.e, F32) && node_uniform(o[i].s, &scale[i]) && scale[i] > 0 && elem_is_int(o[i].q->t.e);
  double s = ok ? common_scale(scale, old->n_in) : 0;
  Node **q = NEWN(g->arena, Node *, old->n_in);
  for (int i = 0; i < old->n_in && s > 0; i++) {
    int64_t m = (int64_t)(scale[i] / s);
    q[i] = without_zero(g, &o[i]);
    code_bounds(q[i], &lo, &hi);
    if (lo < -(1 << 20) || hi > 1 << 20) s = 0;
    else if (m > 1) q[i] = folded_map(g, S_MUL, elem_for_range(lo * m, hi * m), q[i], node_const_i(g, elem_for_range(0, m), m));
    least = lo * m < least ? lo * m : least, most = hi * m > most ? hi * m : most;
  }
  arena_free(scratch);
  if (!(s > 0)) return NULL;
  for (int i = 0; i < old->n_in; i++) q[i] = node_cast(g, q[i], elem_for_range(least, most));
  rw->changes++;
  return node_dequant(g, node_concat(g, old->n_in, q, old->a.axis), node_const_f(g, F32, s), NULL, F32);
}

static Node *recognize_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Node *y;
  switch (old->op) {
  case OP_QUANT: {
    y = spell_quant(rw, old, in);
    Node *q = y ? NULL : softmax_codes(in);
    int64_t lo, hi;
    if (!q) return y;
    code_bounds(q, &lo, &hi);
    return softmax_of_codes(rw, old, in, lo, hi);
  }
  case OP_DEQUANT: return spell_dequant(rw, old, in);
  case OP_MAP:
    if (elem_is_code(old->t.e)) return spell_codes(rw, old, in);
    y = spell_affine(rw, old, in);
    return y ? y : spell_float(rw, old, in);
  case OP_CONTRACT: return recognize_contract(rw, old, in);
  case OP_REDUCE:
    y = recognize_sum(rw, old, in);
    return y ? y : dequant_below(rw, old, in);
  case OP_CONCAT: y = dequant_below(rw, old, in); return y ? y : recognize_concat(rw, old, in);
  case OP_VIEW: case OP_RESHAPE: case OP_GATHER: return dequant_below(rw, old, in);
  default: return NULL;
  }
}

/* After all else: what is still a contraction of floats. */
static Node *bases_rule(Rewrite *rw, const Node *old, Node *const *in) { return old->op == OP_CONTRACT ? bases_contract(rw, old, in) : NULL; }

Graph *pass_recognize(Graph *g, const PassOptions *opt) {
  enum { ROUNDS = 64 }; /* one step per quantizer and round */
  (void)opt;
  for (int round = 0, changes = 1; g && changes && round < ROUNDS; round++) {
    Graph *old = g;
    Arena *scratch = arena_new(old->ctx);
    Spell s = {.facts = facts_new(scratch), .fresh = facts_new(scratch), .wanted = NEWN(scratch, bool, old->n_nodes + 1)};
    find_wanted(old, s.facts, s.wanted);
    changes = 0;
    g = graph_rewrite(old, recognize_rule, &s, &changes);
    arena_free(scratch);
    graph_free(old);
  }
  Graph *last = g ? graph_rewrite(g, bases_rule, NULL, NULL) : NULL;
  graph_free(g);
  return last;
}
