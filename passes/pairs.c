#include "passes/pairs.h"

#include "passes/certificate_add.h"
#include "passes/access.h"
#include "passes/levels.h"

#include <math.h>
#include <stdlib.h>

enum {
  PAIRS_MAX = 1 << 16,     /* pairs of codes of one row: two bytes */
  PAIRS_ALL = 1 << 20,     /* of all rows */
  PAIR_TABLE = 1 << 17,    /* entries of a table where nothing smaller serves: two rows of all pairs of bytes */
  SHIFT_MAX = 20           /* bits of the factors p, q: with codes of 9 bits their sum fits i32 */
};

typedef struct Pair { int64_t acc; int32_t at; } Pair; /* at: index in a row of y */

typedef struct Pairs {
  Region r;
  int64_t alo, ahi, blo, bhi, n; /* n pairs; pair (a, b) is number (a - alo) * (bhi - blo + 1) + b - blo */
  int64_t *y;                    /* [rows][n] */
  int64_t unit;
} Pairs;

static bool tabulate(Arena *scratch, Ranges *rs, Pairs *p) {
  if (!range_hull(rs, p->r.base, &p->alo, &p->ahi) || !range_hull(rs, p->r.leaf[1], &p->blo, &p->bhi)) return false;
  uint64_t na = (uint64_t)p->ahi - (uint64_t)p->alo + 1, nb = (uint64_t)p->bhi - (uint64_t)p->blo + 1;
  if (na == 0 || nb == 0 || na > PAIRS_MAX || nb > PAIRS_MAX || na * nb > PAIRS_MAX) return false;
  p->n = (int64_t)(na * nb);
  if (p->n * p->r.rows > PAIRS_ALL) return false;
  p->y = NEWN(scratch, int64_t, p->n * p->r.rows);
  for (int64_t row = 0, i = 0; row < p->r.rows; row++)
    for (int64_t a = p->alo; a <= p->ahi; a++)
      for (int64_t b = p->blo; b <= p->bhi; b++) p->y[i++] = region_eval_leaves(&p->r, row, (Val[]){{.i = a}, {.i = b}}).i;
  return true;
}

/* The uniform scale by which base k enters; 0 where there is none. */
static double entry_scale(const Region *r, int k) {
  double s;
  for (int i = r->first; i < r->n; i++)
    if (r->step[i].n->op == OP_DEQUANT && r->step[i].in[0] == k) return node_uniform(r->step[i].n->in[1], &s) && isfinite(s) ? s : 0;
  return 0;
}

static int by_acc(const void *x, const void *y) {
  const Pair *a = x, *b = y;
  return a->acc < b->acc ? -1 : a->acc > b->acc ? 1 : a->at - b->at;
}

/* One row as a staircase of the sorted sums; false where equal sums differ or values turn back. */
static bool row_stairs(Arena *scratch, const Pairs *p, const Pair *sorted, const int64_t *y, Stairs *s) {
  int64_t last = p->n - 1, rise = y[sorted[last].at] - y[sorted[0].at], dir = rise < 0 ? -1 : 1;
  *s = (Stairs){.lo = sorted[0].acc, .hi = sorted[last].acc, .y0 = y[sorted[0].at], .step = dir * p->unit, .n = rise * dir / p->unit};
  if (rise % p->unit) return false;
  s->at = NEWN(scratch, int64_t, s->n + 1);
  s->under = NEWN(scratch, int64_t, s->n + 1);
  int64_t done = 0;
  for (int64_t i = 1; i <= last; i++) {
    int64_t d = (y[sorted[i].at] - y[sorted[i - 1].at]) * dir;
    if (d < 0 || d / p->unit > s->n - done || (d > 0 && sorted[i].acc == sorted[i - 1].acc) || d % p->unit) return false;
    for (; d > 0; d -= p->unit, done++) {
      s->at[done] = sorted[i].acc;
      s->under[done] = sorted[i - 1].acc;
    }
  }
  return done == s->n;
}

/* Each row as a staircase of the sums that `sorted` holds. */
static bool all_stairs(Arena *scratch, const Pairs *p, Pair *sorted, Levels *l) {
  qsort(sorted, (size_t)p->n, sizeof *sorted, by_acc);
  l->most = 0;
  for (int64_t row = 0; row < l->rows; row++) {
    if (!row_stairs(scratch, p, sorted, p->y + row * p->n, &l->row[row])) return false;
    l->lo[row] = sorted[0].acc;
    l->hi[row] = sorted[p->n - 1].acc;
    if (l->row[row].n > l->most) l->most = l->row[row].n;
  }
  return true;
}

static bool try_factors(Arena *scratch, const Pairs *p, int64_t fa, int64_t fb, Pair *sorted, Levels *l) {
  int64_t i = 0;
  for (int64_t a = p->alo; a <= p->ahi; a++)
    for (int64_t b = p->blo; b <= p->bhi; b++, i++) sorted[i] = (Pair){fa * a + fb * b, (int32_t)i};
  return all_stairs(scratch, p, sorted, l);
}

static Node *scaled(Graph *g, Node *x, int64_t f) {
  return f == 1 ? x : node_map_as(g, S_MUL, I32, 2, (Node *[]){x, node_const_i(g, I32, f)});
}

/* Levels of fa*a + fb*b, the factors in the ratio of the scales: the coarsest that keep every pair apart that must be, and that serve a
 * requant line; `any`: thresholds will do. */
static Node *weighted_sum(Graph *g, Arena *scratch, const Pairs *p, Levels *l, Node *a, Node *b, bool any, int64_t factor[2]) {
  double sa = entry_scale(&p->r, 0), sb = entry_scale(&p->r, 1), big = fmax(fabs(sa), fabs(sb));
  Pair *sorted = NEWN(scratch, Pair, p->n);
  if (sa == 0 || sb == 0 || a->t.e.kind == EK_SHIFT || b->t.e.kind == EK_SHIFT) return NULL;
  for (int k = 0; k <= SHIFT_MAX; k++) {
    int64_t fa = (int64_t)nearbyint(ldexp(sa / big, k)), fb = (int64_t)nearbyint(ldexp(sb / big, k));
    if (!fa || !fb || !try_factors(scratch, p, fa, fb, sorted, l)) continue;
    factor[0] = fa, factor[1] = fb;
    Node *sum = node_map_as(g, S_ADD, I32, 2, (Node *[]){scaled(g, a, fa), scaled(g, b, fb)});
    if (any || l->most <= LEVELS_FEW) return levels_thresholds(g, l, sum);
    Node *y = levels_requant(g, scratch, l, sum);
    if (y) return y;
  }
  return NULL;
}

/* The uniform zero point by which base k enters. */
static int64_t entry_zero(const Region *r, int k) {
  int64_t z = 0;
  for (int i = r->first; i < r->n; i++)
    if (r->step[i].n->op == OP_DEQUANT && r->step[i].in[0] == k) return zp_uniform(r->step[i].n->n_in > 2 ? r->step[i].n->in[2] : NULL, &z) ? z : 0;
  return 0;
}

static Node *less_zero(Graph *g, Node *x, int64_t z) {
  return z == 0 ? x : node_map_as(g, S_SUB, I32, 2, (Node *[]){x, node_const_i(g, I32, z)});
}

/* Levels of (a - za) * (b - zb): a gate. */
static Node *product(Graph *g, Arena *scratch, const Pairs *p, Levels *l, Node *a, Node *b, bool any) {
  int64_t za = entry_zero(&p->r, 0), zb = entry_zero(&p->r, 1), i = 0;
  Pair *sorted = NEWN(scratch, Pair, p->n);
  if (a->t.e.kind == EK_SHIFT || b->t.e.kind == EK_SHIFT || llabs(za) > PAIRS_MAX || llabs(zb) > PAIRS_MAX) return NULL;
  for (int64_t x = p->alo; x <= p->ahi; x++)
    for (int64_t y = p->blo; y <= p->bhi; y++, i++) sorted[i] = (Pair){(x - za) * (y - zb), (int32_t)i};
  if (!all_stairs(scratch, p, sorted, l)) return NULL;
  if (sorted[0].acc < INT32_MIN || sorted[p->n - 1].acc > INT32_MAX) return NULL;
  Node *y = node_map_as(g, S_MUL, I32, 2, (Node *[]){less_zero(g, a, za), less_zero(g, b, zb)});
  return any || l->most <= LEVELS_FEW ? levels_thresholds(g, l, y) : levels_requant(g, scratch, l, y);
}

static Node *pair_table(Graph *g, const Pairs *p, Elem result, Node *a, Node *b) {
  int64_t n = p->n * p->r.rows, width = p->bhi - p->blo + 1, d[MAX_RANK];
  Type t = type_make(result, 1, &n);
  Tensor *table = tensor_new(g->ctx, &t);
  for (int i = 0; i < a->t.rank; i++) d[i] = i == p->r.axis ? p->r.rows : 1;
  Type ot = type_make(I32, p->r.rows > 1 ? a->t.rank : 0, d);
  Tensor *offset = tensor_new(g->ctx, &ot);
  if (!table || !offset) return NULL;
  for (int64_t i = 0; i < n; i++) tensor_set_i(table, i, p->y[i]);
  for (int64_t i = 0; i < offset->n; i++) tensor_set_i(offset, i, i * p->n - p->alo * width - p->blo);
  Node *index = node_map_as(g, S_ADD, I32, 2, (Node *[]){scaled(g, a, width), b});
  index = node_map2(g, S_ADD, index, node_const(g, offset));
  return node_gather(g, node_const(g, table), index, 0);
}

/* Notes what y stands for. */
static Node *certify(Certificate *c, Arena *scratch, Ranges *rs, const Pairs *p, Node *y, const int64_t factor[2], bool offset) {
  CertEntry form = {.lo = NEWN(scratch, int64_t, p->r.rows), .hi = NEWN(scratch, int64_t, p->r.rows), .lo2 = p->blo, .hi2 = p->bhi,
                    .factor = {factor[0], factor[1]}, .offset = offset};
  for (int64_t i = 0; i < p->r.rows; i++) form.lo[i] = p->alo, form.hi[i] = p->ahi;
  if (c && y) y->a.certified = certificate_add(c, rs, &p->r, &form);
  return y;
}

static Node *table_of(Graph *g, Arena *scratch, Ranges *rs, const Pairs *p, const Levels *l, Node *a, Node *b, Certificate *c) {
  int64_t width = p->bhi - p->blo + 1;
  bool offset = l->rows > 1 || p->alo * width + p->blo != 0; /* canon drops x + 0 */
  return certify(c, scratch, rs, p, pair_table(g, p, l->result, a, b), (int64_t[]){width, 1}, offset);
}

Node *pair_levels(Rewrite *rw, Arena *scratch, Ranges *rs, const Node *top, Certificate *c) {
  Graph *g = rw->g;
  Pairs p = {.unit = top->t.e.kind == EK_BASES ? 2 : 1};
  if (top->t.e.kind == EK_SHIFT || !region_find_leaves(scratch, top, &p.r) || p.r.first < 2) return NULL;
  if (p.r.first > 2 || !tabulate(scratch, rs, &p)) return sum_levels(rw, scratch, rs, top, &p.r);
  Levels l = {.result = top->t.e, .axis = p.r.axis, .rows = p.r.rows};
  int64_t f[2];
  Node *a = rw->map[p.r.base->id], *b = rw->map[p.r.leaf[1]->id], *y;
  l.lo = NEWN(scratch, int64_t, l.rows);
  l.hi = NEWN(scratch, int64_t, l.rows);
  l.row = NEWN(scratch, Stairs, l.rows);
  if ((y = weighted_sum(g, scratch, &p, &l, a, b, false, f))) return certify(c, scratch, rs, &p, y, f, false);
  if ((y = product(g, scratch, &p, &l, a, b, false))) return y;
  if (p.n * l.rows <= TABLE_CHEAP) return table_of(g, scratch, rs, &p, &l, a, b, c);
  if ((y = weighted_sum(g, scratch, &p, &l, a, b, true, f))) return certify(c, scratch, rs, &p, y, f, false);
  if ((y = product(g, scratch, &p, &l, a, b, true)) || (y = sum_levels(rw, scratch, rs, top, &p.r))) return y;
  return p.n * l.rows <= PAIR_TABLE ? table_of(g, scratch, rs, &p, &l, a, b, c) : NULL;
}
