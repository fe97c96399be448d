/* The nest of bases: at every position a plane counter runs through all groups of all outputs; a group's planes are a loop whose end
 * is read from a table, so that an empty group costs one look. Three tables: the signs of all planes without a gap between them
 * (bit plane*n + r), counts in 1, 2 or 4 bits, and the alphas.
 *   codes or floats   each term is added or subtracted by its sign: on machines with vectors for several positions of the last dimension at once,
 *                     whose numbers are first laid beside each other, [b, g, r, position]; without such positions for several planes at once
 *                     (lower_bases_planes.c)
 *   packed planes a_p sum sign*number = sum_p c[p]*(pop(s) - pop(a_p xor s)) + c[k]*(2*pop(s) - n), s the group's signs */
#include "passes/lower_bases.h"

#include <stdlib.h>

/* Lanes of binary64 that divide the last dimension of positions. */
static int position_lanes(const Node *n, const PassOptions *opt) {
  int lead = n->t.rank - 2, bits;
  if (n->n_in == 6 || opt->hls || !n->in[1]->t.d[0].n || lead < 1 || !lanes_target(opt->target, &bits)) return 1;
  int lanes = bits / 64;
  while (n->t.d[lead - 1].n % lanes) lanes /= 2;
  return lanes;
}

int bases_lanes(const Node *n, const PassOptions *opt) {
  int lanes = position_lanes(n, opt);
  return lanes > 1 ? lanes : planes_chunks(n, opt, NULL) ? 8 : 1;
}

static Bases bases_of(Lower *l, const Node *n) {
  const Tensor *counts = n->in[3]->a.value;
  const char *name = n->loc.name ? n->loc.name : "bases";
  Elem x = n->in[0]->t.e;
  bool packed = n->n_in == 6;
  int64_t far = 0, reach;
  Bases b = {.n = n, .terms = bases_n(n), .planes = n->in[1]->t.d[0].n, .blocks = counts->t.d[0].n, .outs = counts->t.d[1].n,
             .groups = counts->t.d[2].n, .word = packed ? x.bits : 32, .counts = -1, .acc = F64, .lanes = 1};
  for (int64_t i = 0; i < counts->n; i++) {
    int64_t c = tensor_i(counts, i);
    if (i && c != tensor_i(counts, 0)) b.counts = 0;
    if (c > b.most) b.most = c;
  }
  b.same = b.most;
  b.count_bits = b.most > 3 ? 2 : b.most > 1;
  if (packed) /* of every number and of partial sums */
    for (int64_t p = 0; p < n->in[5]->a.value->n; p++) far += 2 * llabs(tensor_i(n->in[5]->a.value, p));
  else if (elem_is_code(x)) far = -elem_lo(x) > elem_hi(x) ? -elem_lo(x) : elem_hi(x);
  if (packed || elem_is_code(x)) b.acc = mul_ok(far, b.terms, &reach) && reach <= INT32_MAX ? I32 : I64;
  b.lanes = position_lanes(n, l->opt);
  b.planar = b.lanes == 1 ? planes_tables(l, &b) : NULL;
  if (b.planes && !b.planar) b.signs = bit_table(l, "signs", name, n->in[1]->a.value, 1, b.word, b.terms % b.word != 0);
  if (b.counts == 0 && b.planes && !b.planar) b.counts = bit_table(l, "counts", name, counts, 1 << b.count_bits, 32, 0);
  return b;
}

/* W sign bits from bit `at` on. */
static Expr *sign_word(Lower *l, const Bases *b, Lin at) {
  Program *p = l->p;
  int shift = b->word == 64 ? 6 : 5;
  Elem w = UINTK(b->word);
  Elem u = UINTK(p->index.bits);
  Expr *bit = let(l, "bit", nx_cast(p, lin_expr(l, at), u));
  Expr *i = nx_cast(p, nx2(p, S_SHR, bit, nx_const_i(p, bit->t, shift)), p->index);
  if (b->terms % b->word == 0) return nx_load(p, b->signs, i, 1);
  i = let(l, "k", i);
  Expr *by = let(l, "s", nx_cast(p, nx2(p, S_AND, bit, nx_const_i(p, bit->t, b->word - 1)), w));
  Expr *low = nx2(p, S_SHR, nx_load(p, b->signs, i, 1), by);
  Expr *high = nx2(p, S_SHL, nx_load(p, b->signs, nx2(p, S_ADD, i, nx_idx(p, 1)), 1), nx_const_i(p, nt(w), 1));
  return nx2(p, S_OR, low, nx2(p, S_SHL, high, nx2(p, S_SUB, nx_const_i(p, nt(w), b->word - 1), by)));
}

/* c * e; powers of two by shifts. */
static Expr *times(Lower *l, Expr *e, int64_t c) {
  int by = 0;
  while (by < 62 && INT64_C(1) << by < c) by++;
  if (c > 1 && INT64_C(1) << by == c) return nx2(l->p, S_SHL, e, nx_const_i(l->p, e->t, by));
  return nx2(l->p, S_MUL, e, nx_const_i(l->p, e->t, c));
}

/* v or -v, in all lanes, by bit 0 of `bit`: without a product or a jump. */
static Expr *signed_lanes(Lower *l, Expr *v, Expr *bit) {
  Program *p = l->p;
  Elem u = UINTK(v->t.e.bits);
  int lanes = v->t.lanes;
  Expr *minus = nx_cast(p, nx2(p, S_XOR, bit, nx_const_i(p, bit->t, 1)), u);
  if (elem_is_float(v->t.e)) {
    Expr *flip = nx_splat(p, nx2(p, S_SHL, minus, nx_const_i(p, nt(u), u.bits - 1)), lanes);
    return nx_bits(p, nx2(p, S_XOR, nx_bits(p, v, u), flip), v->t.e);
  }
  Expr *mask = let(l, "m", nx_splat(p, nx1(p, S_NEG, nx_cast(p, minus, v->t.e)), lanes)); /* 0 or -1 */
  return nx2(p, S_SUB, nx2(p, S_XOR, v, mask), mask);
}

/* Index of the numbers of term r of in's group. */
static Expr *beside(Lower *l, const Bases *b, const Lin *in, int rank) {
  Lin group = lin_mad(l, in[rank - 2], in[rank - 3], b->groups);
  Lin term = lin_mad(l, in[rank - 1], group, b->terms);
  return lin_expr(l, lin_mad(l, lin_c(0), term, b->lanes));
}

/* sum := sum +- the terms of the word `signs`, `count` of them from r0 on; in: index of x. */
static void add_signed(Lower *l, const Bases *b, Expr *sum, Expr *signs, Lin r0, int64_t count, Lin *in, const void *key) {
  Program *p = l->p;
  const Node *x = b->n->in[0];
  Lin i;
  Scope outer = loops_open(l, key, 1, &count, &i, NULL, NULL);
  in[x->t.rank - 1] = lin_within(lin_mad(l, r0, i, 1), 0, b->terms - 1);
  Expr *number = b->lanes > 1 ? nx_load(p, b->beside, beside(l, b, in, x->t.rank), b->lanes) : value(l, x, in);
  Expr *v = let(l, "x", nx_cast(p, number, b->acc));
  Expr *bit = nx2(p, S_AND, nx2(p, S_SHR, signs, nx_cast(p, lin_expr(l, i), signs->t.e)), nx_const_i(p, signs->t, 1));
  Expr *plus = nx_cast(p, bit, BOOL);
  if (b->lanes > 1 || elem_is_float(b->acc)) ns_set(p, l->at, sum->var, nx2(p, S_ADD, sum, signed_lanes(l, v, bit)));
  else ns_set(p, l->at, sum->var, nx3(p, S_SELECT, plus, nx2(p, S_ADD, sum, v), nx2(p, S_SUB, sum, v)));
  block_leave(l, outer);
}

/* sum := sum + the word's share of sum_p c[p]*(pop(s) - pop(a_p xor s)) + 2*c[k]*pop(s). */
static void add_counts(Lower *l, const Bases *b, Expr *sum, Expr *signs, Expr *mask, Lin word, Lin *in) {
  Program *p = l->p;
  const Node *x = b->n->in[0];
  const Tensor *coef = b->n->in[5]->a.value;
  int64_t k = coef->n - 1, off = tensor_i(coef, k);
  Expr *ones = let(l, "ones", nx_cast(p, nx1(p, S_POP, signs), b->acc)), *all = off ? times(l, ones, 2 * off) : NULL;
  in[x->t.rank - 1] = word;
  for (int64_t q = 0; q < k; q++) {
    in[x->t.rank - 2] = lin_c(q);
    Expr *plane = nx_cast(p, value(l, x, in), signs->t.e);
    if (mask && x->op != OP_PACK) plane = nx2(p, S_AND, plane, mask); /* what pack gives is 0 there */
    Expr *differ = nx_cast(p, nx1(p, S_POP, nx2(p, S_XOR, plane, signs)), b->acc);
    Expr *part = times(l, nx2(p, S_SUB, ones, differ), tensor_i(coef, q));
    all = all ? nx2(p, S_ADD, all, part) : part;
  }
  if (all) ns_set(p, l->at, sum->var, nx2(p, S_ADD, sum, all));
}

/* One word of signs of the plane that starts at bit `first`: `count` terms from W*word on. */
static void add_word(Lower *l, const Bases *b, Expr *sum, Lin first, Lin word, int64_t count, Lin *in, const void *key) {
  Lin r0 = lin_mad(l, lin_c(0), word, b->word);
  Expr *s = sign_word(l, b, lin_mad(l, first, r0, 1));
  bool packed = b->n->n_in == 6;
  Expr *mask = packed && count < b->word ? nx_const_i(l->p, s->t, (int64_t)((UINT64_C(1) << count) - 1)) : NULL;
  s = let(l, "w", mask ? nx2(l->p, S_AND, s, mask) : s);
  if (packed) add_counts(l, b, sum, s, mask, word, in);
  else add_signed(l, b, sum, s, r0, count, in, key);
}

/* sum over r of sign*x of the plane whose number is in `plane`. */
static Expr *plane_sum(Lower *l, const Bases *b, Expr *plane, Lin *in) {
  Program *p = l->p;
  const char *key = (const char *)b->n;
  int64_t full = b->terms / b->word, rest = b->terms % b->word, off = b->n->n_in == 6 ? tensor_i(b->n->in[5]->a.value, b->n->in[5]->a.value->n - 1) : 0;
  NType t = ntv(b->acc, b->lanes);
  int var = nest_var(p, l->nest, "acc", t, false);
  Expr *start = elem_is_float(b->acc) ? nx_const_f(p, t, 0) : nx_const_i(p, t, -off * b->terms);
  ns_vardef(p, l->at, var, start);
  Expr *sum = nx_var(p, l->nest, var);
  Lin first = lin_mad(l, lin_c(0), lin_atom(l, plane, 0, b->planes - 1), b->terms), word;
  if (full) {
    Scope outer = loops_open(l, key + 3, 1, &full, &word, NULL, NULL);
    add_word(l, b, sum, first, word, b->word, in, key + 4);
    block_leave(l, outer);
  }
  if (rest) add_word(l, b, sum, first, lin_c(full), rest, in, key + 5);
  return nx_cast(p, sum, F64);
}

Expr *plane_count(Lower *l, const Bases *b, Lin flat) {
  Program *p = l->p;
  NType w = nt(UINTK(32));
  if (b->counts < 0) return nx_idx(p, b->same);
  Expr *i = let(l, "i", nx_cast(p, lin_expr(l, flat), UINTK(p->index.bits)));
  int each = 5 - b->count_bits; /* counts of a word, as a power of two */
  Expr *word = nx_load(p, b->counts, nx_cast(p, nx2(p, S_SHR, i, nx_const_i(p, i->t, each)), p->index), 1);
  Expr *by = nx_cast(p, nx2(p, S_AND, i, nx_const_i(p, i->t, (1 << each) - 1)), UINTK(32));
  if (b->count_bits) by = nx2(p, S_SHL, by, nx_const_i(p, w, b->count_bits));
  return nx_cast(p, nx2(p, S_AND, nx2(p, S_SHR, word, by), nx_const_i(p, w, (1 << (1 << b->count_bits)) - 1)), p->index);
}

/* y[.., b, o] at one position; in: x's leading dimensions are set. */
static void output(Lower *l, const Bases *b, Expr *plane, const Lin *bo, Lin *in, int g_dim, Expr *total) {
  Program *p = l->p;
  const char *key = (const char *)b->n;
  Lin g, one = lin_c(0);
  Expr *none = NULL;
  Scope outer = loops_open(l, key + 1, 1, &b->groups, &g, NULL, NULL);
  in[g_dim] = g;
  Expr *count = plane_count(l, b, lin_flat(l, &b->n->in[3]->t, (Lin[]){bo[0], bo[1], g}));
  loops_open(l, key + 2, 1, &b->most, &one, &none, &count);
  Lin alpha = lin_atom(l, plane, 0, b->planes - 1);
  Expr *sum = plane_sum(l, b, plane, in);
  Expr *term = nx2(p, S_MUL, nx_splat(p, nx_cast(p, value(l, b->n->in[2], &alpha), F64), b->lanes), sum);
  ns_set(p, l->at, total->var, nx2(p, S_ADD, total, term));
  ns_set(p, l->at, plane->var, nx2(p, S_ADD, plane, nx_idx(p, 1)));
  block_leave(l, outer);
}

/* Buffers of positions beside each other: made for the dry run of the nest, and used by it. */
static void beside_buffers(Lower *l, Bases *b) {
  Program *p = l->p;
  const Node *n = b->n;
  const char *name = n->loc.name ? n->loc.name : "";
  if (l->bases.n != n) {
    l->bases.n = n;
    l->bases.beside = program_buf(p, nest_name(p, "beside", name), lower_elem(l, n->in[0]->t.e), SP_ARENA, b->blocks * b->groups * b->terms * b->lanes, NULL);
    l->bases.lanes = program_buf(p, nest_name(p, "lanes", name), lower_elem(l, n->t.e), SP_REG, b->lanes, NULL);
  }
  b->beside = l->bases.beside, b->result = l->bases.lanes;
}

/* The numbers of the positions at hand, from the index `first` on, beside each other. */
static void lay_beside(Lower *l, const Bases *b, const Lin *first, int lead) {
  Program *p = l->p;
  const Node *x = b->n->in[0];
  const char *key = (const char *)b->n;
  Lin in[MAX_RANK];
  int64_t ext[3] = {b->blocks, b->groups, b->terms};
  for (int d = 0; d < lead; d++) in[d] = first[d];
  Scope outer = loops_open(l, key + 6, 3, ext, in + lead, NULL, NULL);
  for (int t = 0; t < b->lanes; t++) {
    in[lead - 1] = lin_mad(l, first[lead - 1], lin_c(t), 1);
    Expr *v = value(l, x, in);
    ns_store(p, l->at, b->beside, nx2(p, S_ADD, beside(l, b, in, lead + 3), nx_idx(p, t)), v);
  }
  block_leave(l, outer);
}

/* y of the positions at hand: each lane to its own. */
static void store_lanes(Lower *l, const Bases *b, Lin *out, int lead, Expr *y) {
  Program *p = l->p;
  const Node *n = b->n;
  if (b->lanes == 1) { ns_store(p, l->at, l->buf[n->id], lin_expr(l, lin_flat(l, &n->t, out)), y); return; }
  Lin first = out[lead - 1];
  ns_store(p, l->at, b->result, nx_idx(p, 0), y);
  for (int t = 0; t < b->lanes; t++) {
    out[lead - 1] = lin_mad(l, first, lin_c(t), 1);
    ns_store(p, l->at, l->buf[n->id], lin_expr(l, lin_flat(l, &n->t, out)), nx_load(p, b->result, nx_idx(p, t), 1));
  }
  out[lead - 1] = first;
}

Expr *bases_scaled(Lower *l, const Bases *b, Expr *total) {
  Program *p = l->p;
  const Node *scale = b->n->in[4];
  Lin at[MAX_RANK]; /* it has one element */
  for (int d = 0; d < scale->t.rank; d++) at[d] = lin_c(0);
  Expr *y = nx2(p, S_MUL, total, nx_splat(p, nx_cast(p, value(l, scale, at), F64), b->lanes));
  return nx_cast(p, y, lower_elem(l, b->n->t.e));
}

void bases_body(Lower *l, const Node *n) {
  Program *p = l->p;
  Bases b = bases_of(l, n);
  int lead = n->t.rank - 2; /* dimensions before B and O */
  Lin out[MAX_RANK], in[MAX_RANK];
  int64_t ext[MAX_RANK], bo[2] = {b.blocks, b.outs};
  for (int d = 0; d < lead; d++) ext[d] = d == lead - 1 ? n->t.d[d].n / b.lanes : n->t.d[d].n;
  Scope outer = loops_open(l, NULL, lead, ext, out, NULL, NULL);
  if (b.lanes > 1) {
    out[lead - 1] = lin_mad(l, lin_c(0), out[lead - 1], b.lanes);
    beside_buffers(l, &b);
    lay_beside(l, &b, out, lead);
  }
  if (b.planar) { planes_body(l, &b, out, lead); block_leave(l, outer); return; }
  int var = nest_var(p, l->nest, "plane", nt(p->index), false);
  ns_vardef(p, l->at, var, nx_idx(p, 0));
  loops_open(l, n, 2, bo, out + lead, NULL, NULL);
  NType t = ntv(F64, b.lanes);
  int total = nest_var(p, l->nest, "sum", t, false);
  ns_vardef(p, l->at, total, nx_const_f(p, t, 0));
  for (int d = 0; d <= lead; d++) in[d] = out[d];
  if (b.planes) output(l, &b, nx_var(p, l->nest, var), out + lead, in, lead + 1, nx_var(p, l->nest, total));
  store_lanes(l, &b, out, lead, bases_scaled(l, &b, nx_var(p, l->nest, total)));
  block_leave(l, outer);
}
