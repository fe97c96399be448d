#include "passes/range.h"

#include "passes/access.h"
#include "passes/region.h"

#include <assert.h>
#include <math.h>
#include <string.h>

__extension__ typedef __int128 wide;

Ranges *ranges_new(Arena *a, const Graph *g) {
  Ranges *r = NEW(a, Ranges);
  r->a = a;
  r->g = g;
  return r;
}

static Range *range_make(Ranges *rs, int rank, const int64_t *d) {
  Range *r = NEW(rs->a, Range);
  r->n = 1;
  for (int i = 0; i < rank; i++) r->n *= r->d[i] = d ? d[i] : 1;
  r->lo = NEWN(rs->a, int64_t, r->n + 1);
  r->hi = NEWN(rs->a, int64_t, r->n + 1);
  return r;
}

static Range *range_one(Ranges *rs, int rank, int64_t lo, int64_t hi) {
  Range *r = range_make(rs, rank, NULL);
  r->lo[0] = lo;
  r->hi[0] = hi;
  return r;
}

static Range *range_elem(Ranges *rs, const Node *n) { return range_one(rs, n->t.rank, elem_lo(n->t.e), elem_hi(n->t.e)); }

static void hull_of(const Range *r, int64_t *lo, int64_t *hi) {
  *lo = r->lo[0], *hi = r->hi[0];
  for (int64_t i = 1; i < r->n; i++) {
    if (r->lo[i] < *lo) *lo = r->lo[i];
    if (r->hi[i] > *hi) *hi = r->hi[i];
  }
}

static int64_t range_index(const Range *r, int r_rank, int rank, const int64_t *idx) {
  int64_t at = 0;
  for (int j = 0; j < r_rank; j++) at = at * r->d[j] + (r->d[j] == 1 ? 0 : idx[j + rank - r_rank]);
  return at;
}

static void next_index(int rank, const int64_t *d, int64_t *idx) {
  for (int i = rank - 1; i >= 0 && ++idx[i] == d[i]; i--) idx[i] = 0;
}

/* The hull along the dimensions that are not kept. */
static Range *collapse(Ranges *rs, const Range *r, int rank, uint32_t keep) {
  int64_t d[MAX_RANK] = {0}, idx[MAX_RANK] = {0};
  bool same = true;
  for (int i = 0; i < rank; i++) {
    d[i] = keep >> i & 1 ? r->d[i] : 1;
    same = same && d[i] == r->d[i];
  }
  Range *y = range_make(rs, rank, d);
  if (same) {
    memcpy(y->lo, r->lo, (size_t)r->n * sizeof *r->lo);
    memcpy(y->hi, r->hi, (size_t)r->n * sizeof *r->hi);
    return y;
  }
  for (int64_t i = 0; i < y->n; i++) y->lo[i] = INT64_MAX, y->hi[i] = INT64_MIN;
  for (int64_t i = 0; i < r->n; i++) {
    int64_t at = range_index(y, rank, rank, idx);
    if (r->lo[i] < y->lo[at]) y->lo[at] = r->lo[i];
    if (r->hi[i] > y->hi[at]) y->hi[at] = r->hi[i];
    next_index(rank, r->d, idx);
  }
  return y;
}

/* Stores lo..hi at i where it lies inside the type, else false: the operation may wrap. */
static bool put(Range *r, int64_t i, Elem e, wide lo, wide hi) {
  if (lo < elem_lo(e) || hi > elem_hi(e)) return false;
  r->lo[i] = (int64_t)lo;
  r->hi[i] = (int64_t)hi;
  return true;
}

static void corners(wide *lo, wide *hi, const wide c[4]) {
  *lo = *hi = c[0];
  for (int i = 1; i < 4; i++) {
    if (c[i] < *lo) *lo = c[i];
    if (c[i] > *hi) *hi = c[i];
  }
}

static wide wmin(wide a, wide b) { return a < b ? a : b; }
static wide wmax(wide a, wide b) { return a > b ? a : b; }

/* Interval of one scalar operation on codes, before wrapping. False where nothing is known. */
static bool scalar_interval(Scalar s, const int64_t *l, const int64_t *h, wide *lo, wide *hi) {
  switch (s) {
  case S_ADD: *lo = (wide)l[0] + l[1], *hi = (wide)h[0] + h[1]; return true;
  case S_SUB: *lo = (wide)l[0] - h[1], *hi = (wide)h[0] - l[1]; return true;
  case S_MUL:
    corners(lo, hi, (wide[]){(wide)l[0] * l[1], (wide)l[0] * h[1], (wide)h[0] * l[1], (wide)h[0] * h[1]});
    return true;
  case S_DIV:
    if (l[1] <= 0) return false;
    corners(lo, hi, (wide[]){l[0] / l[1], l[0] / h[1], h[0] / l[1], h[0] / h[1]});
    return true;
  case S_MOD: if (l[1] <= 0) return false; *lo = 0, *hi = h[1] - 1; return true;
  case S_MAX: *lo = wmax(l[0], l[1]), *hi = wmax(h[0], h[1]); return true;
  case S_MIN: *lo = wmin(l[0], l[1]), *hi = wmin(h[0], h[1]); return true;
  case S_NEG: *lo = -(wide)h[0], *hi = -(wide)l[0]; return true;
  case S_ABS: *lo = l[0] > 0 ? l[0] : h[0] < 0 ? -(wide)h[0] : 0, *hi = wmax(-(wide)l[0], h[0]); return true;
  case S_SIGN: *lo = l[0] > 0 ? 1 : l[0] == 0 ? 0 : -1, *hi = h[0] < 0 ? -1 : h[0] == 0 ? 0 : 1; return true;
  case S_SHR:
    if (l[1] < 0 || h[1] > 62) return false;
    *lo = l[0] >> (l[0] < 0 ? l[1] : h[1]), *hi = h[0] >> (h[0] < 0 ? h[1] : l[1]);
    return true;
  case S_AND:
    if (l[0] < 0 && l[1] < 0) return false;
    *lo = 0, *hi = l[0] < 0 ? h[1] : l[1] < 0 ? h[0] : wmin(h[0], h[1]);
    return true;
  case S_SELECT: *lo = wmin(l[1], l[2]), *hi = wmax(h[1], h[2]); return true;
  case S_CAST: *lo = l[0], *hi = h[0]; return true;
  case S_EQ: case S_LT: case S_LE: case S_ISNAN: case S_ISINF: *lo = 0, *hi = 1; return true;
  default: return false;
  }
}

static Range *map_range(Ranges *rs, const Node *n) {
  const Range *a[3] = {0};
  int64_t d[MAX_RANK] = {0}, idx[MAX_RANK] = {0}, count = 1;
  if (n->t.e.kind == EK_BOOL && n->a.scalar != S_SELECT) return range_elem(rs, n);
  for (int i = 0; i < n->t.rank; i++) d[i] = 1;
  for (int k = 0; k < n->n_in; k++) {
    if (!(a[k] = range_of(rs, n->in[k]))) return range_elem(rs, n);
    for (int j = 0, off = n->t.rank - n->in[k]->t.rank; j < n->in[k]->t.rank; j++)
      if (a[k]->d[j] != 1) d[j + off] = a[k]->d[j];
  }
  for (int i = 0; i < n->t.rank; i++) count *= d[i];
  if (count > RANGE_MAX)
    for (int k = 0; k < n->n_in; k++) a[k] = collapse(rs, a[k], n->in[k]->t.rank, 0);
  Range *y = range_make(rs, n->t.rank, count > RANGE_MAX ? NULL : d);
  for (int64_t i = 0; i < y->n; i++) {
    int64_t l[3] = {0}, h[3] = {0};
    wide lo, hi;
    for (int k = 0; k < n->n_in; k++) {
      int64_t at = range_index(a[k], n->in[k]->t.rank, n->t.rank, idx);
      l[k] = a[k]->lo[at], h[k] = a[k]->hi[at];
    }
    if (!scalar_interval(n->a.scalar, l, h, &lo, &hi) || !put(y, i, n->t.e, lo, hi)) return range_elem(rs, n);
    next_index(n->t.rank, y->d, idx);
  }
  return y;
}

static Range *const_range(Ranges *rs, const Node *n) {
  const Tensor *t = n->a.value;
  bool each = t->n <= RANGE_MAX && t->n > 0;
  int64_t d[MAX_RANK] = {0};
  for (int i = 0; i < t->t.rank; i++) d[i] = t->t.d[i].n;
  Range *y = range_make(rs, n->t.rank, each ? d : NULL);
  if (!each) y->lo[0] = t->n ? INT64_MAX : 0, y->hi[0] = t->n ? INT64_MIN : 0;
  for (int64_t i = 0; i < t->n; i++) {
    int64_t v = tensor_i(t, i), at = each ? i : 0;
    if (each || v < y->lo[at]) y->lo[at] = v;
    if (each || v > y->hi[at]) y->hi[at] = v;
  }
  return y;
}

/* Through an access: a dimension of x that is an output iterator itself keeps its ranges, others collapse. */
static Range *access_range(Ranges *rs, const Node *n) {
  const Type *x = &n->in[0]->t;
  const Range *r = range_of(rs, n->in[0]);
  int64_t d[MAX_RANK] = {0}, idx[MAX_RANK] = {0}, at[MAX_RANK] = {0};
  int y_of[MAX_RANK], n_iters = n->a.iters->n_out + n->a.iters->n_red;
  uint32_t keep = 0;
  if (!r) return NULL;
  for (int i = 0; i < n->t.rank; i++) d[i] = 1;
  for (int j = 0; j < x->rank; j++) {
    int i;
    if (r->d[j] == 1 || !affine_pure(&n->a.iters->acc[0][j], n_iters, &i) || i >= n->t.rank) continue;
    if (n->t.d[i].n != r->d[j] || d[i] != 1) continue;
    keep |= 1u << j;
    y_of[j] = i;
    d[i] = r->d[j];
  }
  r = collapse(rs, r, x->rank, keep);
  Range *y = range_make(rs, n->t.rank, d);
  for (int64_t i = 0; i < y->n; i++) {
    for (int j = 0; j < x->rank; j++) at[j] = keep >> j & 1 ? idx[y_of[j]] : 0;
    int64_t from = range_index(r, x->rank, x->rank, at);
    y->lo[i] = r->lo[from];
    y->hi[i] = r->hi[from];
    next_index(n->t.rank, d, idx);
  }
  return y;
}

static Range *view_range(Ranges *rs, const Node *n) {
  Range *y = access_range(rs, n);
  int64_t fill = (int64_t)n->a.fill;
  if (!y || access_inside(n, 0)) return y;
  for (int64_t i = 0; i < y->n; i++) {
    if (fill < y->lo[i]) y->lo[i] = fill;
    if (fill > y->hi[i]) y->hi[i] = fill;
  }
  return y;
}

/* Dimensions f0..f of the operand hold the same elements as t0..t of the result; known: more than one range. */
typedef struct Run { int f0, f, t0, t; bool known; } Run;

/* Smallest runs with equal products; their count, or -1 where symbols or empty dimensions stand between. */
static int reshape_runs(const Type *from, const Type *to, Run *runs) {
  int f = 0, t = 0, n = 0;
  while (f < from->rank || t < to->rank) {
    int64_t pf = 1, pt = 1;
    Run r = {.f0 = f, .t0 = t};
    if (f < from->rank && t < to->rank && dim_eq(from->d[f], to->d[t])) f++, t++;
    else do {
      bool take_from = (pf <= pt && f < from->rank) || t == to->rank;
      if (take_from && f == from->rank) return -1;
      Dim m = take_from ? from->d[f] : to->d[t];
      if (m.sym || m.n == 0) return -1;
      if (take_from) pf *= m.n, f++;
      else pt *= m.n, t++;
    } while (pf != pt);
    r.f = f, r.t = t;
    runs[n++] = r;
  }
  return n;
}

/* Each run keeps its ranges where the result has not too many. */
static Range *reshape_range(Ranges *rs, const Node *n) {
  const Type *from = &n->in[0]->t, *to = &n->t;
  const Range *r = range_of(rs, n->in[0]);
  Run runs[2 * MAX_RANK];
  int64_t d[MAX_RANK] = {0}, idx[MAX_RANK] = {0}, at[MAX_RANK] = {0}, count = 1;
  if (!r) return NULL;
  int n_runs = reshape_runs(from, to, runs);
  for (int k = 0; k < n_runs; k++) {
    for (int i = runs[k].f0; i < runs[k].f; i++) runs[k].known = runs[k].known || r->d[i] > 1;
    for (int i = runs[k].t0; i < runs[k].t; i++)
      if (!mul_ok(count, d[i] = runs[k].known ? to->d[i].n : 1, &count)) count = INT64_MAX;
  }
  if (n_runs < 0 || count > RANGE_MAX) {
    const Range *one = collapse(rs, r, from->rank, 0);
    return range_one(rs, to->rank, one->lo[0], one->hi[0]);
  }
  Range *y = range_make(rs, to->rank, d);
  for (int64_t e = 0; e < y->n; e++) {
    for (int k = 0; k < n_runs; k++) {
      int64_t v = 0;
      for (int i = runs[k].t0; runs[k].known && i < runs[k].t; i++) v = v * to->d[i].n + idx[i];
      for (int i = runs[k].f - 1; i >= runs[k].f0; i--) {
        at[i] = v % (from->d[i].sym ? 1 : from->d[i].n);
        v /= from->d[i].sym ? 1 : from->d[i].n;
      }
    }
    int64_t src = range_index(r, from->rank, from->rank, at);
    y->lo[e] = r->lo[src];
    y->hi[e] = r->hi[src];
    next_index(to->rank, d, idx);
  }
  return y;
}

/* Sums of a contract or an add-reduce. Element i of lo, hi: the whole sum; plo, phi: every partial sum. */
typedef struct Sums { Range *whole; wide plo, phi; } Sums;

static wide red_product(const Iters *it, uint32_t skip) {
  wide p = 1;
  for (int i = 0; i < it->n_red; i++)
    if (!(skip >> i & 1)) {
      if (it->red[i].sym && it->red[i].n < 0) return (wide)1 << 62;
      p *= it->red[i].n;
      if (p > (wide)1 << 62) return (wide)1 << 62;
    }
  return p;
}

static wide clamp62(wide v) { return v > (wide)1 << 62 ? (wide)1 << 62 : v < -((wide)1 << 62) ? -((wide)1 << 62) : v; }

/* Ranges of operand k where the iterators run to ext (1: those that do not matter): dimensions that such iterators alone reach keep theirs. */
typedef struct Operand { const Range *r; const Affine *acc; int rank; wide lo, hi; } Operand; /* lo..hi: of what is outside, or empty */

static bool operand_ranges(Ranges *rs, const Node *n, int k, const int64_t *ext, Operand *o) {
  int64_t all[MAX_ITERS];
  int total = iters_extents(n, all), rank = n->in[k]->t.rank;
  const Range *r = range_of(rs, n->in[k]);
  uint32_t keep = 0;
  if (!r || r->n == 0) return false;
  bool inside = access_inside(n, k);
  *o = (Operand){.acc = n->a.iters->acc[k], .rank = rank, .lo = inside ? INT64_MAX : (wide)n->a.fill, .hi = inside ? INT64_MIN : (wide)n->a.fill};
  for (int j = 0; j < rank; j++) {
    const Affine *a = &o->acc[j];
    wide least = a->base, most = a->base;
    bool known = a->div == 1;
    for (int i = 0; i < total; i++) {
      known = known && (a->coef[i] == 0 || ext[i] == all[i]);
      *(a->coef[i] < 0 ? &least : &most) += (wide)a->coef[i] * (all[i] - 1);
    }
    if (known && least >= 0 && most < r->d[j]) keep |= 1u << j;
  }
  o->r = collapse(rs, r, rank, keep);
  return true;
}

static void operand_at(const Operand *o, int total, const int64_t *idx, wide *lo, wide *hi) {
  int64_t at = 0;
  for (int j = 0; j < o->rank; j++) {
    int64_t v = o->r->d[j] == 1 ? 0 : o->acc[j].base;
    for (int i = 0; i < total && o->r->d[j] != 1; i++) v += o->acc[j].coef[i] * idx[i];
    at = at * o->r->d[j] + v;
  }
  *lo = wmin(o->lo, o->r->lo[at]);
  *hi = wmax(o->hi, o->r->hi[at]);
}

/* Weights w at operand kw by the other operand's ranges: sums for every combination of the output iterators that w's access reads. */
static bool weighted_sums(Ranges *rs, const Node *n, int kw, Sums *s) {
  const Iters *it = n->a.iters;
  const Tensor *w = n->in[kw]->a.value;
  int64_t d[MAX_RANK] = {0}, ext[MAX_ITERS], idx[MAX_ITERS] = {0}, inner = 1;
  int total = iters_extents(n, ext), rank = n->in[kw]->t.rank;
  uint32_t red_used = 0;
  wide rows = 1;
  Operand x;
  for (int i = 0; i < total; i++) {
    bool used = false;
    for (int j = 0; j < rank; j++) used = used || it->acc[kw][j].coef[i] != 0;
    if (!used) ext[i] = 1;
    else if (i >= it->n_out) red_used |= 1u << (i - it->n_out);
    if (ext[i] < 1) return false;
    if (i < it->n_out) rows *= d[i] = ext[i];
    else inner *= ext[i];
    if (rows > RANGE_MAX) return false;
  }
  if (!operand_ranges(rs, n, 1 - kw, ext, &x)) return false;
  wide times = red_product(it, red_used);
  s->whole = range_make(rs, n->t.rank, d);
  s->plo = s->phi = 0;
  for (int64_t r = 0; r < s->whole->n; r++) {
    wide lo = 0, hi = 0, plo = 0, phi = 0, alo, ahi;
    for (int64_t q = 0; q < inner; q++) {
      int64_t at = 0;
      for (int j = 0; j < rank; j++) {
        const Affine *a = &it->acc[kw][j];
        int64_t v = a->base;
        for (int i = 0; i < total; i++) v += a->coef[i] * idx[i];
        at = at * n->in[kw]->t.d[j].n + v / a->div;
      }
      int64_t c = tensor_i(w, at);
      operand_at(&x, total, idx, &alo, &ahi);
      wide tl = c * (c > 0 ? alo : ahi) * times, th = c * (c > 0 ? ahi : alo) * times;
      lo = clamp62(lo + tl), hi = clamp62(hi + th);
      plo = clamp62(plo + wmin(tl, 0)), phi = clamp62(phi + wmax(th, 0));
      next_index(total, ext, idx);
    }
    s->whole->lo[r] = (int64_t)lo;
    s->whole->hi[r] = (int64_t)hi;
    s->plo = wmin(s->plo, plo);
    s->phi = wmax(s->phi, phi);
  }
  return true;
}

/* Sums of `terms` terms of lo..hi each. */
static void uniform_sums(Ranges *rs, const Node *n, wide terms, wide lo, wide hi, Sums *s) {
  wide slo = clamp62(clamp62(lo) * terms), shi = clamp62(clamp62(hi) * terms);
  s->plo = wmin(slo, 0);
  s->phi = wmax(shi, 0);
  s->whole = range_one(rs, n->t.rank, (int64_t)slo, (int64_t)shi);
}

static bool word_sums(Ranges *rs, const Node *n, Sums *s) { /* popcounts of words */
  uniform_sums(rs, n, red_product(n->a.iters, 0), 0, n->in[0]->t.e.bits, s);
  return true;
}

/* An add-reduce: as many terms as the reduction has, each of the range that the window's elements share. */
static bool reduce_sums(Ranges *rs, const Node *n, Sums *s) {
  wide terms = red_product(n->a.iters, 0);
  bool fewer = !access_inside(n, 0);
  s->whole = access_range(rs, n);
  s->plo = s->phi = 0;
  for (int64_t i = 0; s->whole && i < s->whole->n; i++) {
    wide lo = clamp62(clamp62(s->whole->lo[i]) * terms), hi = clamp62(clamp62(s->whole->hi[i]) * terms);
    s->plo = wmin(s->plo, lo);
    s->phi = wmax(s->phi, hi);
    s->whole->lo[i] = (int64_t)(fewer ? wmin(lo, 0) : lo);
    s->whole->hi[i] = (int64_t)(fewer ? wmax(hi, 0) : hi);
  }
  return s->whole != NULL;
}

static bool sums_of(Ranges *rs, const Node *n, Sums *s) {
  int64_t lo[3], hi[3];
  if (n->op == OP_REDUCE) return reduce_sums(rs, n, s);
  if (n->a.scalar != S_MUL) return n->n_in == 2 && word_sums(rs, n, s);
  for (int k = 0; k < n->n_in; k++)
    if (!range_hull(rs, n->in[k], &lo[k], &hi[k])) return false;
  if (!access_inside(n, 0)) {
    lo[0] = (int64_t)wmin(lo[0], (wide)n->a.fill);
    hi[0] = (int64_t)wmax(hi[0], (wide)n->a.fill);
  }
  if (n->n_in == 2)
    for (int k = 1; k >= 0; k--)
      if (node_is_const(n->in[k]) && access_inside(n, k) && weighted_sums(rs, n, k, s)) return true;
  wide l = lo[0], h = hi[0];
  for (int k = 1; k < n->n_in; k++) {
    corners(&l, &h, (wide[]){l * lo[k], l * hi[k], h * lo[k], h * hi[k]});
    l = clamp62(l), h = clamp62(h);
  }
  uniform_sums(rs, n, red_product(n->a.iters, 0), l, h, s);
  return true;
}

static Range *sum_range(Ranges *rs, const Node *n) {
  Sums s;
  if (!sums_of(rs, n, &s)) return range_elem(rs, n);
  int64_t lo, hi;
  hull_of(s.whole, &lo, &hi);
  return lo < elem_lo(n->t.e) || hi > elem_hi(n->t.e) ? range_elem(rs, n) : s.whole;
}

/* True where operand k walks reductions only, each of its dimensions one of its own and all of it: it is read as a whole. */
static bool walks_whole(const Node *n, int k) {
  const Iters *it = n->a.iters;
  uint32_t seen = 0;
  for (int d = 0; d < n->in[k]->t.rank; d++) {
    const Affine *a = &it->acc[k][d];
    int found = -1;
    for (int i = 0; i < it->n_out + it->n_red; i++) {
      if (!a->coef[i]) continue;
      if (found >= 0 || a->coef[i] != 1 || i < it->n_out) return false;
      found = i - it->n_out;
    }
    if (a->base || a->div != 1 || found < 0 || seen >> found & 1 || it->red[found].n != n->in[k]->t.d[d].n) return false;
    seen |= 1u << found;
  }
  return true;
}

/* Popcounts of words, weighted by a constant table or not at all. */
static Range *count_range(Ranges *rs, const Node *n) {
  int bits = n->in[0]->t.e.bits > n->in[1]->t.e.bits ? n->in[0]->t.e.bits : n->in[1]->t.e.bits;
  wide all = red_product(n->a.iters, 0), lo = 0, hi = all * bits;
  if (n->n_in > 2) {
    if (!node_is_const(n->in[2]) || n->in[2]->a.value->n < 1 || !walks_whole(n, 2)) return range_elem(rs, n);
    hi = 0;
    for (int64_t i = 0; i < n->in[2]->a.value->n; i++) {
      int64_t c = tensor_i(n->in[2]->a.value, i);
      *(c < 0 ? &lo : &hi) += (wide)c * bits * (all / n->in[2]->a.value->n);
      if (clamp62(lo) != lo || clamp62(hi) != hi) return range_elem(rs, n);
    }
  }
  if (lo < elem_lo(n->t.e) || hi > elem_hi(n->t.e)) return range_elem(rs, n);
  return range_one(rs, n->t.rank, (int64_t)lo, (int64_t)hi);
}

bool range_partial(Ranges *rs, const Node *n, int64_t *lo, int64_t *hi) {
  Sums s;
  if (!sums_of(rs, n, &s)) return false;
  *lo = (int64_t)clamp62(s.plo);
  *hi = (int64_t)clamp62(s.phi);
  return s.plo > -((wide)1 << 62) && s.phi < (wide)1 << 62;
}

/* True where every window of a reduction has an element: each iterator must move one dimension only. */
static bool windows_filled(const Node *n) {
  const Iters *it = n->a.iters;
  int64_t ext[MAX_ITERS];
  if (access_inside(n, 0)) return true;
  if (!type_static(&n->t) || !type_static(&n->in[0]->t)) return false;
  int total = iters_extents(n, ext);
  for (int i = 0; i < total; i++) {
    int moved = 0;
    if (ext[i] < 1) return false;
    for (int j = 0; j < n->in[0]->t.rank; j++) moved += it->acc[0][j].coef[i] != 0;
    if (moved > 1 && ext[i] > 1) return false;
  }
  for (int j = 0; j < n->in[0]->t.rank; j++) {
    const Affine *a = &it->acc[0][j];
    int64_t e[MAX_ITERS], idx[MAX_ITERS] = {0}, outs = 1, reds = 1;
    for (int i = 0; i < total; i++) {
      e[i] = a->coef[i] ? ext[i] : 1;
      if (i < it->n_out) outs *= e[i];
      else reds *= e[i];
      if (outs > 1 << 20 || reds > 1 << 20) return false;
    }
    for (int64_t o = 0; o < outs; o++) {
      bool any = false;
      for (int64_t r = 0; r < reds; r++, next_index(total, e, idx)) {
        int64_t v = a->base;
        for (int i = 0; i < total; i++) v += a->coef[i] * idx[i];
        any = any || (v % a->div == 0 && v >= 0 && v / a->div < n->in[0]->t.d[j].n);
      }
      if (!any) return false;
    }
  }
  return true;
}

static Range *reduce_range(Ranges *rs, const Node *n) {
  if (n->a.scalar == S_ADD) return sum_range(rs, n);
  if ((n->a.scalar == S_MAX || n->a.scalar == S_MIN) && windows_filled(n)) return access_range(rs, n);
  return range_elem(rs, n);
}

/* Along the axis each element keeps its input's ranges, other dimensions collapse. */
static Range *concat_range(Ranges *rs, const Node *n) {
  const Type *t = &n->t;
  int64_t d[MAX_RANK] = {0}, at = 0;
  bool each = t->d[n->a.axis].n <= RANGE_MAX;
  for (int i = 0; i < t->rank; i++) d[i] = i == n->a.axis && each ? t->d[i].n : 1;
  Range *y = range_make(rs, t->rank, d);
  for (int64_t i = 0; i < y->n; i++) y->lo[i] = INT64_MAX, y->hi[i] = INT64_MIN;
  for (int k = 0; k < n->n_in; k++) {
    const Range *r = range_of(rs, n->in[k]);
    if (!r) return NULL;
    r = collapse(rs, r, t->rank, 1u << n->a.axis);
    for (int64_t i = 0; i < n->in[k]->t.d[n->a.axis].n; i++, at++) {
      int64_t from = r->n == 1 ? 0 : i, to = each ? at : 0;
      if (r->lo[from] < y->lo[to]) y->lo[to] = r->lo[from];
      if (r->hi[from] > y->hi[to]) y->hi[to] = r->hi[from];
    }
  }
  return at ? y : range_elem(rs, n);
}

static Range *gather_range(Ranges *rs, const Node *n) {
  int64_t lo, hi;
  return range_hull(rs, n->in[0], &lo, &hi) ? range_one(rs, n->t.rank, lo, hi) : NULL;
}

/* base + step * (thresholds that x's range can reach), channel by channel. */
static Range *thresholds_range(Ranges *rs, const Node *n) {
  int64_t d[MAX_RANK] = {0};
  for (int k = 1; k < 4; k++)
    if (!node_is_const(n->in[k])) return range_elem(rs, n);
  const Tensor *t = n->in[1]->a.value, *base = n->in[2]->a.value, *step = n->in[3]->a.value;
  const Range *x = range_of(rs, n->in[0]);
  int64_t rows = t->t.d[0].n, levels = t->t.d[1].n;
  if (rows < base->n) rows = base->n;
  if (rows < step->n) rows = step->n;
  if (rows > RANGE_MAX || t->t.d[0].n < 1 || base->n < 1 || step->n < 1) return range_elem(rs, n);
  if (x) x = collapse(rs, x, n->t.rank, 1u << n->a.axis);
  if (x && x->n > rows) rows = x->n;
  for (int i = 0; i < n->t.rank; i++) d[i] = i == n->a.axis ? rows : 1;
  Range *y = range_make(rs, n->t.rank, d);
  for (int64_t r = 0; r < rows; r++) {
    int64_t least = 0, most = levels, from = x && x->n > 1 ? r : 0, row = t->t.d[0].n > 1 ? r : 0;
    if (x) {
      most = 0;
      for (int64_t j = 0; j < levels; j++) {
        int64_t v = tensor_i(t, row * levels + j);
        least += v <= x->lo[from];
        most += v <= x->hi[from];
      }
    }
    wide b = tensor_i(base, base->n == 1 ? 0 : r), s = tensor_i(step, step->n == 1 ? 0 : r);
    if (!put(y, r, n->t.e, wmin(b + s * least, b + s * most), wmax(b + s * least, b + s * most))) return range_elem(rs, n);
  }
  return y;
}

/* Of a quant below a float contract with rows of zero weights: such a row gives +0, -0 or, of an infinity or NaN, NaN, whatever the
 * input. Where all three end in one code, the row is that code. */
static Range *quant_range(Ranges *rs, const Node *n) {
  const Node *c = n->in[0];
  Region r;
  while (c->op == OP_MAP) { /* the chain's first operand that is not constant leads on */
    int k = 0;
    while (k < c->n_in && node_is_const(c->in[k])) k++;
    if (k == c->n_in) break;
    c = c->in[k];
  }
  Range *y = range_one(rs, n->t.rank, n->a.lo, n->a.hi);
  int axis, j = 0, total = c->op == OP_CONTRACT ? c->a.iters->n_out + c->a.iters->n_red : 0, kw = total && node_is_const(c->in[0]) ? 0 : 1;
  if (!total || c->n_in != 2 || c->a.scalar != S_MUL || !elem_is_float(c->t.e) || !node_is_const(c->in[kw])) return y;
  const Tensor *w = c->in[kw]->a.value;
  while (j < w->t.rank && !(affine_pure(&c->a.iters->acc[kw][j], total, &axis) && axis < c->t.rank && c->t.d[axis].n == w->t.d[j].n)) j++;
  if (j == w->t.rank || w->n == 0 || w->t.d[j].n > RANGE_MAX || !elem_is_float(w->t.e)) return y;
  if (!region_find(rs->a, n, c, &r)) return y;
  if (r.rows > 1 && r.axis != axis) return y;
  int64_t d[MAX_RANK], rows = w->t.d[j].n, inner = 1;
  for (int i = 0; i < n->t.rank; i++) d[i] = i == axis ? rows : 1;
  for (int i = j + 1; i < w->t.rank; i++) inner *= w->t.d[i].n;
  bool *used = NEWN(rs->a, bool, rows);
  for (int64_t i = 0; i < w->n; i++) used[i / inner % rows] |= tensor_f(w, i) != 0;
  y = range_make(rs, n->t.rank, d);
  for (int64_t i = 0; i < rows; i++) {
    int64_t row = r.rows > 1 ? i : 0, plus = 0, minus = 1, nan = 1;
    if (!used[i]) {
      plus = region_eval(&r, row, (Val){.f = 0.0}).i;
      minus = region_eval(&r, row, (Val){.f = -0.0}).i;
      nan = region_eval(&r, row, (Val){.f = NAN}).i;
    }
    bool one = !used[i] && plus == minus && plus == nan;
    y->lo[i] = one ? plus : n->a.lo;
    y->hi[i] = one ? plus : n->a.hi;
  }
  return y;
}

static Range *range_compute(Ranges *rs, const Node *n) {
  Elem e = n->t.e;
  if (elem_is_float(e) || (e.kind == EK_UINT && e.bits == 64) || (e.kind == EK_BASES && e.bits > 1)) return NULL;
  Range *y = NULL;
  switch ((Op)n->op) {
  case OP_CONST: y = const_range(rs, n); break;
  case OP_MAP: y = map_range(rs, n); break;
  case OP_VIEW: y = view_range(rs, n); break;
  case OP_RESHAPE: y = reshape_range(rs, n); break;
  case OP_CONCAT: y = concat_range(rs, n); break;
  case OP_GATHER: y = gather_range(rs, n); break;
  case OP_REDUCE: y = reduce_range(rs, n); break;
  case OP_CONTRACT: y = n->a.scalar == S_MUL ? sum_range(rs, n) : count_range(rs, n); break;
  case OP_QUANT: if (e.kind != EK_BASES) y = quant_range(rs, n); break;
  case OP_REQUANT: y = range_one(rs, n->t.rank, n->a.lo, n->a.hi); break;
  case OP_THRESHOLDS: y = thresholds_range(rs, n); break;
  case OP_ARGREDUCE:
    if (!n->in[0]->t.d[n->a.axis].sym) y = range_one(rs, n->t.rank, 0, n->in[0]->t.d[n->a.axis].n - 1);
    break;
  default: break;
  }
  return y ? y : range_elem(rs, n);
}

const Range *range_of(Ranges *rs, const Node *n) {
  assert(n->id < (uint32_t)rs->g->n_nodes && rs->g->nodes[n->id] == n);
  while ((uint32_t)rs->of.n <= n->id) {
    Range *r = range_compute(rs, rs->g->nodes[rs->of.n]);
    vec_push(rs->a, &rs->of, r);
  }
  return rs->of.p[n->id];
}

bool range_hull(Ranges *rs, const Node *n, int64_t *lo, int64_t *hi) {
  const Range *r = range_of(rs, n);
  if (!r) return false;
  hull_of(r, lo, hi);
  return true;
}
