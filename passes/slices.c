/* What can go. A slice does not go alone: every index of every dimension of every value, and of every iterator, is an item; items
 * that stay or go together are linked (element-wise operations, accesses by one iterator, reshapes, concats), and a class of linked
 * items goes as a whole. What must stay is pinned: inputs, outputs, dimensions that are moved along in any other way (windows,
 * strides), terms of sums that cannot be left out. Constants have no items: each use takes the part that it needs. */
#include "passes/slices.h"

#include "passes/access.h"

#include <assert.h>

enum { EXTENT_MAX = 1 << 16, SHARE_WORK = 1 << 26 };

static bool has_items(const Slices *s, const Node *n) { return s->live[n->id] && !node_is_const(n); }

static int item(const Slices *s, const Node *n, int i, int64_t at) {
  int first = s->first[n->id] ? s->first[n->id][i] : -1;
  return first < 0 ? -1 : first + (int)at;
}

static int root_of(Slices *s, int i) {
  while (s->link[i] != i) i = s->link[i] = s->link[s->link[i]];
  return i;
}

static void pin_item(Slices *s, int i) { if (i >= 0) s->pinned[root_of(s, i)] = true; }

static void pin(Slices *s, const Node *n, int i) {
  for (int64_t k = 0; item(s, n, i, 0) >= 0 && k < slices_dim(n, i).n; k++) pin_item(s, item(s, n, i, k));
}

/* The whole value. */
static void pin_all(Slices *s, const Node *n) {
  for (int i = 0; has_items(s, n) && i < n->t.rank; i++) pin(s, n, i);
}

/* An item that is not there stays. */
static void join(Slices *s, int a, int b) {
  if (a < 0 || b < 0) {
    pin_item(s, a < 0 ? b : a);
    return;
  }
  a = root_of(s, a), b = root_of(s, b);
  if (a == b) return;
  s->link[b] = a;
  s->pinned[a] = s->pinned[a] || s->pinned[b];
}

static void join_dims(Slices *s, const Node *a, int i, const Node *b, int j) {
  Dim d = slices_dim(a, i);
  if (d.sym || !dim_eq(d, slices_dim(b, j))) { pin(s, a, i); pin(s, b, j); }
  else for (int64_t k = 0; k < d.n; k++) join(s, item(s, a, i, k), item(s, b, j, k));
}

static void link_broadcast(Slices *s, const Node *n) {
  for (int k = 0; k < n->n_in; k++) {
    const Node *x = n->in[k];
    for (int j = 0, off = n->t.rank - x->t.rank; has_items(s, x) && j < x->t.rank; j++)
      if (dim_eq(x->t.d[j], n->t.d[j + off])) join_dims(s, n, j + off, x, j);
      else pin(s, x, j);
  }
}

/* thresholds, requant: rows of constants follow the axis. */
static void link_rows(Slices *s, const Node *n) {
  for (int i = 0; has_items(s, n->in[0]) && i < n->t.rank; i++) join_dims(s, n, i, n->in[0], i);
  for (int k = 1; k < n->n_in; k++)
    if (!node_is_const(n->in[k])) {
      pin_all(s, n->in[k]);
      if (n->t.rank) pin(s, n, n->a.axis);
    }
}

Move access_move(const Node *n, int k, int j) {
  const Affine *a = &n->a.iters->acc[k][j];
  Dim x = n->in[k]->t.d[j];
  Move m = {MOVE_OTHER, -1, -1, 1};
  if (a->div != 1 || x.sym) return m;
  for (int i = 0; i < slices_iters(n); i++) {
    if (a->coef[i] == 0) continue;
    if (slices_dim(n, i).sym) return m;
    if (slices_dim(n, i).n == 1) continue; /* always 0 */
    if (m.outer < 0) m.outer = i;
    else if (m.inner < 0) m.inner = i;
    else return m;
  }
  if (m.outer < 0) return m;
  if (m.inner >= 0 && a->coef[m.outer] < a->coef[m.inner]) {
    int t = m.outer;
    m.outer = m.inner, m.inner = t;
  }
  m.per = m.inner < 0 ? 1 : slices_dim(n, m.inner).n;
  if (a->coef[m.outer] != m.per || (m.inner >= 0 && a->coef[m.inner] != 1)) return m;
  if (a->base == 0 && slices_dim(n, m.outer).n * m.per == x.n) m.kind = m.inner < 0 ? MOVE_SAME : MOVE_BLOCKS;
  else if (m.inner < 0 && n->op == OP_VIEW) m.kind = MOVE_SHIFT;
  return m;
}

/* Dimension j of operand k and the iterators that move along it. */
static void link_access(Slices *s, const Node *n, int k, int j) {
  const Node *x = n->in[k];
  const Affine *a = &n->a.iters->acc[k][j];
  bool items = has_items(s, x);
  Move m = access_move(n, k, j);
  switch (m.kind) {
  case MOVE_SAME: if (items) join_dims(s, n, m.outer, x, j); break;
  case MOVE_BLOCKS:
    pin(s, n, m.inner);
    for (int64_t i = 0; items && i < x->t.d[j].n; i++) join(s, item(s, n, m.outer, i / m.per), item(s, x, j, i));
    break;
  case MOVE_SHIFT: /* what the view does not reach has no link */
    for (int64_t i = 0; i < slices_dim(n, m.outer).n; i++) {
      int64_t at = i + a->base;
      if (!items || at < 0 || at >= x->t.d[j].n) pin_item(s, item(s, n, m.outer, i));
      else join(s, item(s, n, m.outer, i), item(s, x, j, at));
    }
    break;
  case MOVE_OTHER:
    if (items) pin(s, x, j);
    for (int i = 0; i < slices_iters(n); i++)
      if (a->coef[i] != 0) pin(s, n, i);
  }
}

/* Runs of dimensions with equal products; in each the outermost ones of both sides, block by block. */
static void link_reshape(Slices *s, const Node *n) {
  const Node *x = n->in[0];
  const Type *from = &x->t, *to = &n->t;
  int f = 0, t = 0;
  int64_t count;
  bool known = has_items(s, x) && type_static(from) && type_static(to) && type_count(to, &count) && count > 0;
  if (!known) pin_all(s, x), pin_all(s, n);
  while (known && (f < from->rank || t < to->rank)) {
    int f0 = f, t0 = t;
    int64_t pf = 1, pt = 1;
    do {
      if ((pf <= pt && f < from->rank) || t == to->rank) pf *= from->d[f++].n;
      else pt *= to->d[t++].n;
    } while (pf != pt);
    while (f0 < f && from->d[f0].n == 1) pin(s, x, f0++);
    while (t0 < t && to->d[t0].n == 1) pin(s, n, t0++);
    for (int i = f0 + 1; i < f; i++) pin(s, x, i);
    for (int i = t0 + 1; i < t; i++) pin(s, n, i);
    if (f0 == f || t0 == t) continue;
    int64_t a = from->d[f0].n, b = to->d[t0].n, most = a > b ? a : b;
    if (most % a || most % b) { pin(s, x, f0); pin(s, n, t0); }
    else for (int64_t i = 0; i < most; i++) join(s, item(s, x, f0, i / (most / a)), item(s, n, t0, i / (most / b)));
  }
}

static void link_concat(Slices *s, const Node *n) {
  int64_t at = 0;
  for (int k = 0; k < n->n_in; k++) {
    const Node *x = n->in[k];
    for (int i = 0; has_items(s, x) && i < n->t.rank; i++)
      if (i != n->a.axis) join_dims(s, n, i, x, i);
      else for (int64_t c = 0; c < x->t.d[i].n; c++) join(s, item(s, n, i, at + c), item(s, x, i, c));
    at += x->t.d[n->a.axis].n;
  }
}

static void link_node(Slices *s, const Node *n) {
  switch ((Op)n->op) {
  case OP_CONST: break;
  case OP_MAP: case OP_QUANT: case OP_DEQUANT: link_broadcast(s, n); break;
  case OP_THRESHOLDS: case OP_REQUANT: link_rows(s, n); break;
  case OP_RESHAPE: link_reshape(s, n); break;
  case OP_CONCAT: link_concat(s, n); break;
  case OP_VIEW: case OP_REDUCE: case OP_CONTRACT:
    for (int k = 0; k < n->n_in; k++)
      for (int j = 0; j < n->in[k]->t.rank; j++) link_access(s, n, k, j);
    break;
  default:
    pin_all(s, n);
    for (int k = 0; k < n->n_in; k++) pin_all(s, n->in[k]);
  }
}

/* Terms of sums */

/* The only dimension of operand k along which iterator i moves, index for index; -1 where there is no such. */
static int dim_moved_by(const Node *n, int k, int i) {
  int found = -1;
  for (int j = 0; j < n->in[k]->t.rank; j++) {
    if (n->a.iters->acc[k][j].coef[i] == 0) continue;
    Move m = access_move(n, k, j);
    if (m.kind != MOVE_SAME || m.outer != i || found >= 0) return -1;
    found = j;
  }
  return found;
}

/* Every weight at index `at` of dimension j is zero. */
static bool zero_weights(const Tensor *w, int j, int64_t at) {
  int64_t inner = 1, n = w->t.d[j].n;
  for (int d = j + 1; d < w->t.rank; d++) inner *= w->t.d[d].n;
  for (int64_t i = 0; i < w->n / n; i++)
    if (tensor_i(w, (i / inner * n + at) * inner + i % inner) != 0) return false;
  return true;
}

bool slice_constant(Ranges *rs, const Node *n, int dim, int64_t at, int64_t *v) {
  const Range *r = range_of(rs, n);
  int64_t inner = 1;
  if (!r || r->n == 0) return false;
  for (int d = dim + 1; d < n->t.rank; d++) inner *= r->d[d];
  if (r->d[dim] == 1) at = 0;
  *v = r->lo[at * inner];
  for (int64_t i = 0; i < r->n / r->d[dim]; i++) {
    int64_t e = (i / inner * r->d[dim] + at) * inner + i % inner;
    if (r->lo[e] != *v || r->hi[e] != *v) return false;
  }
  return true;
}

/* Products of numbers: words of planes mean nothing without their alphas. */
static bool sums_products(const Node *n) {
  if (n->op != OP_CONTRACT || n->a.scalar != S_MUL) return false;
  for (int k = 0; k < n->n_in; k++)
    if (elem_is_float(n->in[k]->t.e) || (n->in[k]->t.e.kind == EK_BASES && n->in[k]->t.e.bits > 1)) return false;
  return true;
}

/* A constant operand's number at one place has a share where every other operand is constant. */
static bool may_share(const Node *n, int k) {
  for (int j = 0; j < n->n_in; j++)
    if (j != k && !node_is_const(n->in[j])) return false;
  return sums_products(n) && elem_is_int(n->t.e) && type_static(&n->t);
}

static Term term_of(Slices *s, const Node *n, int i, int64_t at, int *operand, int64_t *v) {
  Term best = TERM_STAYS;
  for (int k = 0; k < n->n_in && best != TERM_ZERO; k++) {
    int j = dim_moved_by(n, k, i);
    if (j < 0) continue;
    int64_t c;
    bool inside = k > 0 || access_inside(n, k), none = inside || n->op == OP_REDUCE || n->a.fill == 0; /* what lies outside adds nothing */
    if (node_is_const(n->in[k])) {
      if (none && zero_weights(n->in[k]->a.value, j, at)) best = TERM_ZERO;
      continue;
    }
    if (!slice_constant(s->ranges, n->in[k], j, at, &c)) continue;
    if (c == 0 && none) best = TERM_ZERO;
    else if (may_share(n, k)) {
      best = inside || (double)c == n->a.fill ? TERM_SHARE : TERM_SHARE_BORDER;
      *operand = k;
      *v = c;
    }
  }
  return best;
}

/* Shares along one iterator only; the next round sees to others. */
static void find_terms(Slices *s, const Node *n) {
  bool sums = elem_is_code(n->t.e) && (sums_products(n) || (n->op == OP_REDUCE && n->a.scalar == S_ADD));
  for (int i = n->t.rank; i < slices_iters(n); i++)
    for (int64_t at = 0; item(s, n, i, 0) >= 0 && at < slices_dim(n, i).n; at++) {
      int me = item(s, n, i, at), operand = -1;
      Term t = sums ? term_of(s, n, i, at, &operand, &s->value[me]) : TERM_STAYS;
      if (t >= TERM_SHARE && s->share_iter[n->id] >= 0 && s->share_iter[n->id] != i) t = TERM_STAYS;
      if (t >= TERM_SHARE) s->share_iter[n->id] = i, s->share_operand[n->id] = operand;
      s->term[me] = t;
      if (t == TERM_STAYS) pin_item(s, me);
    }
}

bool slice_gone(Slices *s, const Node *n, int i, int64_t at) {
  int me = item(s, n, i, at);
  return me >= 0 && !s->pinned[root_of(s, me)];
}

bool slice_fixed(Slices *s, const Node *n, int i, int64_t at) {
  int me = item(s, n, i, at);
  return me >= 0 && s->fixed[root_of(s, me)];
}

int64_t slices_kept(Slices *s, const Node *n, int i) {
  int64_t kept = slices_dim(n, i).n;
  for (int64_t at = slices_dim(n, i).n - 1; at >= 0 && item(s, n, i, 0) >= 0; at--) kept -= slice_gone(s, n, i, at);
  return kept;
}

bool slices_vanish(Slices *s, const Node *n) {
  for (int i = 0; has_items(s, n) && i < n->t.rank; i++)
    if (slices_dim(n, i).n > 0 && item(s, n, i, 0) >= 0 && slices_kept(s, n, i) == 0) return true;
  return false;
}

/* Shares */

/* Iterators that the share depends on: of the weights' accesses, at a border of the operand's too. */
static void share_extents(Slices *s, const Node *n, bool border, int64_t ext[MAX_ITERS]) {
  iters_extents(n, ext);
  for (int i = 0; i < n->t.rank; i++) {
    bool used = false;
    for (int k = 0; k < n->n_in; k++)
      for (int j = 0; (border || k != s->share_operand[n->id]) && j < n->in[k]->t.rank; j++) used = used || n->a.iters->acc[k][j].coef[i] != 0;
    if (!used) ext[i] = 1;
  }
}

static bool border_goes(Slices *s, const Node *n) {
  int i = s->share_iter[n->id];
  for (int64_t at = 0; i >= 0 && at < slices_dim(n, i).n; at++)
    if (s->term[item(s, n, i, at)] == TERM_SHARE_BORDER && slice_gone(s, n, i, at)) return true;
  return false;
}

/* A table of shares for every position must be smaller than the weights that go, and quick to make. */
static bool share_pays(Slices *s, const Node *n) {
  int64_t ext[MAX_ITERS], table = 1, weights = 0, work = 1;
  int share = s->share_iter[n->id], total = slices_iters(n);
  bool border = border_goes(s, n);
  share_extents(s, n, border, ext);
  for (int i = 0; i < total; i++) {
    if (i < n->t.rank) table *= ext[i];
    if (!mul_ok(work, ext[i], &work)) return false;
  }
  if (work > SHARE_WORK) return false;
  for (int k = 0; k < n->n_in; k++)
    if (k != s->share_operand[n->id]) weights += n->in[k]->a.value->n * (int64_t)store_size(n->in[k]->a.value->st);
  int64_t extent = slices_dim(n, share).n;
  weights = weights / extent * (extent - slices_kept(s, n, share));
  int64_t lo, hi; /* widths will give the table about the type of the sums */
  Elem e = range_hull(s->ranges, n, &lo, &hi) ? elem_for_range(lo, hi) : n->t.e;
  return !border || table * (int64_t)store_size(elem_store(e)) <= weights;
}

static int64_t affine_at(const Affine *a, int total, const int64_t *idx, bool *outside, int64_t extent) {
  int64_t v = a->base;
  for (int i = 0; i < total; i++) v += a->coef[i] * idx[i];
  *outside = *outside || v % a->div != 0 || v < 0 || v / a->div >= extent;
  return v / a->div;
}

/* One term of the contract with operand k's number c: products in 2^64, as wrapping wants. */
static uint64_t share_term(const Node *n, int k, int64_t c, const int64_t *idx) {
  uint64_t product = 1;
  int total = slices_iters(n);
  for (int o = 0; o < n->n_in; o++) {
    const Type *t = &n->in[o]->t;
    bool outside = false;
    int64_t at = 0;
    for (int j = 0; j < t->rank; j++) at = at * t->d[j].n + affine_at(&n->a.iters->acc[o][j], total, idx, &outside, t->d[j].n);
    product *= outside ? (uint64_t)(int64_t)n->a.fill : o == k ? (uint64_t)c : (uint64_t)tensor_i(n->in[o]->a.value, at);
  }
  return product;
}

Tensor *slices_share(Slices *s, const Node *n) {
  int64_t ext[MAX_ITERS], idx[MAX_ITERS] = {0}, inner = 1;
  int share = s->share_iter[n->id], total = slices_iters(n);
  share_extents(s, n, border_goes(s, n), ext);
  Type t = type_make(n->t.e, n->t.rank, ext);
  Tensor *y = tensor_new(s->g->ctx, &t);
  if (!y) return NULL;
  for (int i = n->t.rank; i < total; i++) inner *= ext[i];
  for (int64_t o = 0; o < y->n; o++) {
    uint64_t sum = 0;
    for (int64_t r = 0; r < inner; r++) {
      int me = item(s, n, share, idx[share]);
      if (s->term[me] >= TERM_SHARE && slice_gone(s, n, share, idx[share])) sum += share_term(n, s->share_operand[n->id], s->value[me], idx);
      for (int i = total - 1; i >= 0 && ++idx[i] == ext[i]; i--) idx[i] = 0;
    }
    tensor_set_i(y, o, scalar_eval(S_CAST, I64, n->t.e, &(Val){.i = (int64_t)sum}).i);
  }
  return y;
}

/* Finding */

static void add_items(Slices *s, const Node *n) {
  int iters = slices_iters(n);
  s->first[n->id] = NEWN(s->a, int, iters + 1);
  for (int i = 0; i < iters; i++) {
    Dim d = slices_dim(n, i);
    bool some = !d.sym && d.n > 0 && d.n <= EXTENT_MAX;
    s->first[n->id][i] = some ? s->n_items : -1;
    if (some) s->n_items += (int)d.n;
  }
}

/* A sum keeps a term, and shares pay; what breaks that stays. True where something was pinned. */
static bool pin_exceptions(Slices *s, const Node *n) {
  bool pinned = false;
  int share = s->share_iter[n->id];
  for (int i = n->t.rank; i < slices_iters(n); i++)
    if (item(s, n, i, 0) >= 0 && slices_kept(s, n, i) == 0) {
      pin_item(s, item(s, n, i, 0));
      pinned = true;
    }
  if (share < 0 || share_pays(s, n)) return pinned;
  for (int64_t at = 0; at < slices_dim(n, share).n; at++)
    if (s->term[item(s, n, share, at)] >= TERM_SHARE && slice_gone(s, n, share, at)) {
      pin_item(s, item(s, n, share, at));
      pinned = true;
    }
  return pinned;
}

Slices *slices_find(Arena *a, const Graph *g, Ranges *ranges) {
  Slices *s = NEW(a, Slices);
  *s = (Slices){.a = a, .g = g, .ranges = ranges, .live = NEWN(a, bool, g->n_nodes + 1), .first = NEWN(a, int *, g->n_nodes + 1),
                .share_iter = NEWN(a, int, g->n_nodes + 1), .share_operand = NEWN(a, int, g->n_nodes + 1)};
  for (int i = 0; i < g->n_outs; i++) s->live[g->outs[i].v->id] = true;
  for (int i = g->n_nodes - 1; i >= 0; i--)
    for (int k = 0; s->live[i] && k < g->nodes[i]->n_in; k++) s->live[g->nodes[i]->in[k]->id] = true;
  for (int i = 0; i < g->n_nodes; i++) {
    s->share_iter[i] = s->share_operand[i] = -1;
    if (has_items(s, g->nodes[i])) add_items(s, g->nodes[i]);
  }
  s->link = NEWN(a, int, s->n_items + 1);
  s->pinned = NEWN(a, bool, s->n_items + 1);
  s->term = NEWN(a, Term, s->n_items + 1);
  s->value = NEWN(a, int64_t, s->n_items + 1);
  for (int i = 0; i < s->n_items; i++) s->link[i] = i;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (!has_items(s, n)) continue;
    if (n->op == OP_ARG) pin_all(s, n);
    else link_node(s, n);
    find_terms(s, n);
  }
  for (int i = 0; i < g->n_outs; i++) pin_all(s, g->outs[i].v);
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < g->n_nodes; i++)
      if (has_items(s, g->nodes[i]) && !slices_vanish(s, g->nodes[i])) again = pin_exceptions(s, g->nodes[i]) || again;
  }
  s->fixed = NEWN(a, bool, s->n_items + 1);
  for (int i = 0; i < g->n_nodes; i++)
    for (int d = 0; has_items(s, g->nodes[i]) && d < g->nodes[i]->t.rank; d++)
      for (int64_t at = 0, v; item(s, g->nodes[i], d, 0) >= 0 && at < g->nodes[i]->t.d[d].n; at++)
        if (slice_gone(s, g->nodes[i], d, at) && slice_constant(ranges, g->nodes[i], d, at, &v))
          s->fixed[root_of(s, item(s, g->nodes[i], d, at))] = true;
  return s;
}
