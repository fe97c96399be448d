/* prune: what is always the same number is a constant, and what nobody needs is not computed.
 *   constant   a code value whose range (range.h) is one number at every element
 *   slices     channels, groups, whatever stands or falls together (slices.h): a sum leaves out terms of zero weights, and terms that
 *              are the same number everywhere, whose share of the sum is added as a constant
 *   shares     what is added to an integer moves into the thresholds or the line of the requant that reads it
 * Padding is `fill` whatever the channel, so a constant other than fill has less weight at the border: its share is then a number
 * for every position, and is taken out where that table is smaller than the weights that go.
 * Rounds go on until nothing changes: what went may have been all that read others. */
#include "passes/access.h"
#include "passes/certificate_add.h"
#include "passes/pass.h"
#include "passes/slices.h"

#include <string.h>

typedef struct Prune { Arena *scratch; Ranges *ranges; Slices *s; bool *is_out; const PassOptions *o; } Prune;

static void tell(const Prune *p, Dead why, const Node *n, int64_t count) {
  if (p->o->dead && count) p->o->dead(p->o->dead_user, why, n, count);
}

/* Constants */

/* Output channels: outputs along the iterators that the weights move with. */
static int64_t channels_of(const Node *n) {
  int64_t rows = 1;
  for (int i = 0; i < n->t.rank; i++)
    for (int k = 0, used = 0; k < n->n_in && !used; k++)
      for (int j = 0; node_is_const(n->in[k]) && j < n->in[k]->t.rank && !used; j++)
        if ((used = n->a.iters->acc[k][j].coef[i] != 0)) rows *= n->t.d[i].n;
  return rows;
}

static Node *constant_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Prune *p = rw->user;
  (void)in;
  if (node_is_const(old) || !type_static(&old->t) || elem_is_float(old->t.e)) return NULL;
  if (old->op == OP_VIEW && node_is_const(old->in[0])) return NULL; /* a broadcast one already */
  const Range *r = range_of(p->ranges, old);
  for (int64_t i = 0; r && i < r->n; i++)
    if (r->lo[i] != r->hi[i]) return NULL;
  if (!r || r->n == 0) return NULL;
  Type t = type_make(old->t.e, old->t.rank, r->d);
  Tensor *v = tensor_new(rw->g->ctx, &t);
  if (!v) return NULL;
  for (int64_t i = 0; i < v->n; i++) tensor_set_i(v, i, r->lo[i]);
  rw->changes++;
  if (old->op == OP_CONTRACT) tell(p, DEAD_CONSTANT, old, channels_of(old));
  return node_broadcast(rw->g, node_const(rw->g, v), old->t.rank, old->t.d);
}

/* Slices */

/* The tensor without the indices that go: dimension j follows iterator iter[j] of n, or none (-1). */
static Tensor *cut(Slices *s, const Node *n, const Tensor *t, const int *iter) {
  int64_t d[MAX_RANK], idx[MAX_RANK] = {0}, at = 0;
  bool same = true;
  for (int j = 0; j < t->t.rank; j++) {
    d[j] = iter[j] < 0 ? t->t.d[j].n : slices_kept(s, n, iter[j]);
    same = same && d[j] == t->t.d[j].n;
  }
  if (same) return (Tensor *)(uintptr_t)t;
  Type type = type_make(t->t.e, t->t.rank, d);
  Tensor *y = tensor_new(t->ctx, &type);
  size_t size = store_size(t->st);
  for (int64_t i = 0; y && i < t->n; i++) {
    bool gone = false;
    for (int j = 0; j < t->t.rank; j++) gone = gone || (iter[j] >= 0 && slice_gone(s, n, iter[j], idx[j]));
    if (!gone) memcpy((char *)y->data + (size_t)at++ * size, (const char *)t->data + (size_t)i * size, size);
    for (int j = t->t.rank - 1; j >= 0 && ++idx[j] == t->t.d[j].n; j--) idx[j] = 0;
  }
  return y;
}

/* Which iterator dimension j of constant operand k follows, where it has more than one index. In blocks it is cut by other means. */
static int follows(const Node *n, int k, int j) {
  const Type *x = &n->in[k]->t;
  int off = n->t.rank - x->rank;
  if (x->d[j].n == 1) return -1;
  switch ((Op)n->op) {
  case OP_MAP: case OP_QUANT: case OP_DEQUANT: return j + off;
  case OP_THRESHOLDS: case OP_REQUANT: return k > 0 && j == 0 ? n->a.axis : -1;
  case OP_CONCAT: return j == n->a.axis ? -1 : j;
  case OP_VIEW: case OP_REDUCE: case OP_CONTRACT: {
    Move m = access_move(n, k, j);
    return m.kind == MOVE_SAME ? m.outer : -1;
  }
  default: return -1;
  }
}

/* A constant whose dimension is moved along in blocks, or which is part of a concat: the kept indices one by one. */
static Tensor *cut_blocks(Slices *s, const Node *n, const Tensor *t, int j, int iter, int64_t per, int64_t from) {
  int64_t d[MAX_RANK], at = 0, kept = 0, inner = 1;
  for (int i = 0; i < t->t.rank; i++) d[i] = t->t.d[i].n;
  for (int64_t c = 0; c < d[j]; c++) kept += !slice_gone(s, n, iter, from + c / per);
  if (kept == d[j]) return (Tensor *)(uintptr_t)t;
  for (int i = j + 1; i < t->t.rank; i++) inner *= d[i];
  int64_t extent = d[j];
  d[j] = kept;
  Type type = type_make(t->t.e, t->t.rank, d);
  Tensor *y = tensor_new(t->ctx, &type);
  size_t size = store_size(t->st) * (size_t)inner;
  for (int64_t b = 0; y && b < t->n / inner; b++)
    if (!slice_gone(s, n, iter, from + b % extent / per)) memcpy((char *)y->data + (size_t)at++ * size, (const char *)t->data + (size_t)b * size, size);
  return y;
}

/* Operand k in the new graph; NULL where nothing of it stays, or without memory. from: where it begins along a concat's axis. */
static Node *operand(Rewrite *rw, const Node *n, Node *const *in, int k, int64_t from) {
  Slices *s = ((Prune *)rw->user)->s;
  int iter[MAX_RANK];
  if (!node_is_const(n->in[k])) return in[k];
  const Tensor *v = n->in[k]->a.value;
  for (int j = 0; j < v->t.rank; j++) iter[j] = follows(n, k, j);
  Tensor *y = cut(s, n, v, iter);
  for (int j = 0; y && j < v->t.rank; j++) {
    if (n->op == OP_CONCAT && j == n->a.axis) y = cut_blocks(s, n, y, j, j, 1, from);
    else if (n->a.iters && v->t.d[j].n > 1 && access_move(n, k, j).kind == MOVE_BLOCKS) {
      Move m = access_move(n, k, j);
      y = cut_blocks(s, n, y, j, m.outer, m.per, 0);
    }
  }
  if (y && y->n == 0 && v->n != 0) return NULL;
  return y == v ? in[k] : y ? node_const(rw->g, y) : NULL;
}

static Type kept_type(Slices *s, const Node *n) {
  Type t = n->t;
  for (int i = 0; i < t.rank; i++)
    if (!t.d[i].sym) t.d[i].n = slices_kept(s, n, i);
  return t;
}

/* Accesses: extents shrink, and a view's offset loses what goes before it. */
static void kept_iters(Slices *s, const Node *n, Iters *it, Affine acc[3][MAX_RANK]) {
  *it = *n->a.iters;
  for (int r = 0; r < it->n_red; r++)
    if (!it->red[r].sym) it->red[r].n = slices_kept(s, n, n->t.rank + r);
  for (int k = 0; k < n->n_in; k++) {
    for (int j = 0; j < n->in[k]->t.rank; j++) {
      Affine *a = &acc[k][j];
      *a = n->a.iters->acc[k][j];
      int64_t base = a->base;
      if (!node_is_const(n->in[k]) && access_move(n, k, j).kind == MOVE_SHIFT)
        for (int64_t c = 0; c < base && c < n->in[k]->t.d[j].n; c++) a->base -= slice_gone(s, n->in[k], j, c);
    }
    it->acc[k] = acc[k];
  }
}

static Node *add_share(Rewrite *rw, const Node *old, Node *y) {
  Slices *s = ((Prune *)rw->user)->s;
  int share = s->share_iter[old->id], iter[MAX_RANK];
  bool any = false;
  for (int64_t at = 0; share >= 0 && at < slices_dim(old, share).n; at++)
    any = any || (s->term[s->first[old->id][share] + at] >= TERM_SHARE && slice_gone(s, old, share, at));
  if (!any) return y;
  Tensor *t = slices_share(s, old);
  for (int j = 0; t && j < t->t.rank; j++) iter[j] = t->t.d[j].n == 1 ? -1 : j;
  t = t ? cut(s, old, t, iter) : NULL;
  bool zero = true;
  for (int64_t i = 0; t && i < t->n; i++) zero = zero && tensor_i(t, i) == 0;
  return !t ? NULL : zero ? y : node_map_as(rw->g, S_ADD, y->t.e, 2, (Node *[]){y, node_const(rw->g, t)});
}

/* Output slices of a layer that go: those that are or become one number, and the others. */
static void tell_slices(Prune *p, const Node *n) {
  int64_t constant = 0, all = 0;
  for (int i = 0; i < n->t.rank; i++)
    for (int64_t at = 0; at < n->t.d[i].n; at++)
      if (slice_gone(p->s, n, i, at)) {
        all++;
        constant += slice_fixed(p->s, n, i, at);
      }
  tell(p, DEAD_CONSTANT, n, constant);
  tell(p, DEAD_UNREAD, n, all - constant);
}

static bool touched(Slices *s, const Node *n) {
  for (int i = 0; i < slices_iters(n); i++)
    if (!slices_dim(n, i).sym && slices_kept(s, n, i) < slices_dim(n, i).n) return true;
  for (int k = 0; k < n->n_in; k++)
    for (int j = 0; !node_is_const(n->in[k]) && j < n->in[k]->t.rank; j++)
      if (!n->in[k]->t.d[j].sym && slices_kept(s, n->in[k], j) < n->in[k]->t.d[j].n) return true;
  return false;
}

/* The dimension whose rows a certified node has: -1 where it is not known, or all have one. */
static int rows_axis(const Node *n) {
  const Node *x = n->op == OP_GATHER ? n->in[1] : NULL;
  if (!x) return n->a.axis;
  while (node_is_map(x, S_CAST)) x = x->in[0];
  if (!node_is_map(x, S_ADD) || !node_is_const(x->in[1])) return -1;
  uint32_t axes = const_varies(x->in[1]->a.value, n->t.rank); /* the rows' places in the table */
  return axes && !(axes & (axes - 1)) ? __builtin_ctz(axes) : -1;
}

/* The certificate's entry of the rows that stay. */
static int cut_entry(Prune *p, const Node *old) {
  int64_t rows = certificate_rows(p->o->certificate, old->a.certified), n = 0;
  int axis = rows > 1 ? rows_axis(old) : -1;
  if (rows <= 1) return old->a.certified;
  if (axis < 0 || old->t.d[axis].sym || old->t.d[axis].n != rows) return CERT_LOST;
  int64_t *kept = NEWN(p->scratch, int64_t, rows);
  for (int64_t r = 0; r < rows; r++)
    if (!slice_gone(p->s, old, axis, r)) kept[n++] = r;
  return certificate_cut(p->o->certificate, old->a.certified, kept, n);
}

static Node *slices_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Prune *p = rw->user;
  Iters it;
  Affine acc[3][MAX_RANK];
  if (node_is_const(old) || !touched(p->s, old)) return NULL;
  rw->changes++;
  if (old->op == OP_CONTRACT) tell_slices(p, old);
  if (slices_vanish(p->s, old)) return node_const_i(rw->g, I8, 0); /* nobody reads it */
  Type t = kept_type(p->s, old);
  Attr a = old->a;
  Node **x = NEWN(p->scratch, Node *, old->n_in + 1);
  int n = 0;
  int64_t from = 0;
  for (int k = 0; k < old->n_in; k++) {
    bool dropped = old->op == OP_CONCAT && slices_vanish(p->s, old->in[k]);
    Node *v = dropped ? NULL : operand(rw, old, in, k, from);
    if (v) x[n++] = v;
    else if (old->op != OP_CONCAT) return NULL; /* no memory: told */
    if (old->op == OP_CONCAT) from += old->in[k]->t.d[a.axis].n;
  }
  if (old->op == OP_CONCAT && n == 1) return x[0];
  if (a.certified > 0) a.certified = cut_entry(p, old);
  if (a.iters) {
    kept_iters(p->s, old, &it, acc);
    a.iters = &it;
  }
  Node *y = node_new(rw->g, (Op)old->op, &t, n, x, &a, &old->loc);
  return old->op == OP_CONTRACT ? add_share(rw, old, y) : y;
}

/* Shares */

/* c[row] of a constant that varies along `axis` only. */
static bool row_constant(const Node *c, int rank, int axis, int64_t *rows) {
  uint32_t set = node_is_const(c) && elem_is_int(c->t.e) && c->a.value->n ? const_varies(c->a.value, rank) : ~0u;
  if (set & ~(1u << axis)) return false;
  *rows = set ? bcast_dim(&c->t, rank, axis) : 1;
  return true;
}

static int64_t row_at(const Node *c, int rank, int axis, int64_t row) {
  int64_t idx[MAX_RANK] = {0};
  idx[axis] = row;
  return tensor_i(c->a.value, bcast_index(&c->t, rank, idx));
}

/* Rows of constant operand k of `old`, as many as `rows`, each of its elements through f; the element type holds them all. */
static Node *map_rows(Rewrite *rw, const Node *old, int k, const Node *c, int64_t rows, bool (*f)(const Node *old, int64_t row, int64_t v, int64_t add, int64_t *y)) {
  const Tensor *t = old->in[k]->a.value;
  int64_t d[2] = {t->t.rank ? t->t.d[0].n : 1, t->t.rank > 1 ? t->t.d[1].n : 1}, lo = 0, hi = 0;
  if (d[0] > rows) rows = d[0];
  int64_t *v = NEWN(((Prune *)rw->user)->scratch, int64_t, rows * d[1] + 1);
  for (int64_t i = 0; i < rows * d[1]; i++) {
    int64_t row = i / d[1], add = row_at(c, old->t.rank, old->a.axis, row);
    if (!f(old, row, tensor_i(t, (d[0] > 1 ? row : 0) * d[1] + i % d[1]), add, &v[i])) return NULL;
    lo = v[i] < lo ? v[i] : lo;
    hi = v[i] > hi ? v[i] : hi;
  }
  Elem e = t->t.e;
  if (lo < elem_lo(e) || hi > elem_hi(e)) e = elem_for_range(lo < 0 ? lo : -1, hi);
  Type type = type_make(e, t->t.rank > 1 ? 2 : 1, (int64_t[]){rows, d[1]});
  Tensor *y = tensor_new(rw->g->ctx, &type);
  for (int64_t i = 0; y && i < y->n; i++) tensor_set_i(y, i, v[i]);
  return y ? node_const(rw->g, y) : NULL;
}

/* t <= x + c where t - c <= x. */
static bool lower_threshold(const Node *old, int64_t row, int64_t t, int64_t c, int64_t *y) {
  (void)old, (void)row;
  return !__builtin_sub_overflow(t, c, y);
}

/* (x + c)*m + b = x*m + (b + c*m) */
static bool raise_offset(const Node *old, int64_t row, int64_t b, int64_t c, int64_t *y) {
  const Tensor *m = old->in[1]->a.value;
  int64_t p;
  return mul_ok(tensor_i(m, m->n > 1 ? row : 0), c, &p) && add_ok(p, b, y);
}

static Node *share_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Prune *p = rw->user;
  int64_t rows, lo, hi, c_lo, c_hi;
  if (old->op != OP_THRESHOLDS && old->op != OP_REQUANT) return NULL;
  const Node *add = old->in[0];
  if (!node_is_map(add, S_ADD) || !elem_is_int(add->t.e) || !type_eq(&add->t, &add->in[0]->t)) return NULL;
  const Node *c = add->in[1];
  for (int k = 1; k < old->n_in; k++)
    if (!node_is_const(old->in[k])) return NULL;
  if (!row_constant(c, old->t.rank, old->a.axis, &rows)) return NULL;
  if (!range_hull(p->ranges, add->in[0], &lo, &hi) || !range_hull(p->ranges, c, &c_lo, &c_hi)) return NULL;
  if (!add_ok(lo, c_lo, &lo) || !add_ok(hi, c_hi, &hi) || lo < elem_lo(add->t.e) || hi > elem_hi(add->t.e)) return NULL; /* may wrap */
  int k = old->op == OP_THRESHOLDS ? 1 : 2;
  Node *x[4] = {rw->map[add->in[0]->id], in[1], in[2], old->n_in > 3 ? in[3] : NULL};
  if (!(x[k] = map_rows(rw, old, k, c, rows, old->op == OP_THRESHOLDS ? lower_threshold : raise_offset))) return NULL;
  Attr a = old->a;
  if (a.certified > 0) {
    int64_t *share = NEWN(p->scratch, int64_t, rows);
    for (int64_t r = 0; r < rows; r++) share[r] = row_at(c, old->t.rank, old->a.axis, r);
    a.certified = certificate_share(p->o->certificate, p->ranges, a.certified, add->in[0], a.axis, share, rows);
  }
  rw->changes++;
  return node_new(rw->g, (Op)old->op, &old->t, old->n_in, x, &a, &old->loc);
}

/* One rule over the graph with fresh ranges; counts its changes. */
static Graph *sweep(Graph *old, RewriteRule *rule, const PassOptions *o, int *changes) {
  if (!old) return NULL;
  Prune p = {.scratch = arena_new(old->ctx), .o = o};
  p.ranges = ranges_new(p.scratch, old);
  if (rule == slices_rule) p.s = slices_find(p.scratch, old, p.ranges);
  Graph *g = graph_rewrite(old, rule, &p, changes);
  arena_free(p.scratch);
  graph_free(old);
  return g;
}

Graph *pass_prune(Graph *g, const PassOptions *o) {
  enum { ROUNDS = 64 };
  for (int round = 0, changes = 1; g && changes && round < ROUNDS; round++) {
    changes = 0;
    g = sweep(g, constant_rule, o, &changes);
    g = sweep(g, slices_rule, o, &changes);
    g = sweep(g, share_rule, o, &changes);
  }
  return g;
}
