/* sums: a quant of a sum of several integers, too many combinations to list (an accumulator and a skip connection, three codes).
 *   F(a, c): the codes, a the integer of the widest range, c a combination of all others
 *   proof    for every c, F is monotone in a (region_direction_in), so that t[j](c), the first a at level j, says all about F
 *   search   factors f such that S = sum f[k] x[k] has, for every level j, all S at t[j](c) above all S just before: then F is a
 *            staircase of S, exactly; its levels become a requant line or thresholds (levels.h)
 *   choices  where float's rounding at ties differs from combination to combination, S alone does not say: two lines, of the levels that
 *            are sure and that are possible, and where they differ a table over level and combination
 * Factors are in the ratio of the slopes, of each row, at the step where the leaves meet; the smallest that serve are taken. */
#include "passes/pairs.h"

#include "passes/access.h"
#include "passes/levels.h"
#include "passes/region.h"

#include <math.h>
#include <stdlib.h>

enum {
  COMBINATIONS = 1 << 16,
  LEVELS_ALL = 1 << 24,    /* levels of all combinations and rows: 64 MiB */
  SMALL = 32,              /* small multiples tried */
  SHIFTS = 34,             /* then a level is 2^k, k = 1..34 */
  TRIALS = SMALL + SHIFTS + 30, /* then the greatest factor has up to 30 bits */
  SUM_BITS = 44,           /* |S| < 2^44: a line of it fits i64 */
  CHOICES = 1 << 17        /* entries of a table of choices */
};

typedef struct Sums {
  Region r;
  int n, wide;             /* leaves; the one of the widest range */
  int64_t lo[LEAVES_MAX], hi[LEAVES_MAX];
  int64_t combos, unit;
  double step;             /* of the quant, where it is one for all; else 0 */
  int64_t *y0, *levels;    /* [rows] */
  int *dir;                /* [rows] of F in the wide leaf */
  int32_t **t;             /* [rows][combos * levels]: first step of the wide leaf, from where F is least, at this level; none: its count */
  double (*slope)[LEAVES_MAX]; /* [rows] */
  int64_t (*f)[LEAVES_MAX];    /* [rows] */
} Sums;

static int64_t count(const Sums *s, int k) { return s->hi[k] - s->lo[k] + 1; }

/* Leaves' values of combination c. */
static void leaf_values(const Sums *s, int64_t c, Val *x) {
  for (int k = s->n - 1; k >= 0; k--) {
    if (k == s->wide) continue;
    x[k].i = s->lo[k] + c % count(s, k);
    c /= count(s, k);
  }
}

static int64_t wide_at(const Sums *s, int64_t row, int64_t u) { return s->dir[row] > 0 ? s->lo[s->wide] + u : s->hi[s->wide] - u; }

/* Ranges and the wide leaf; false where there are too many combinations. */
static bool ranges_fit(Ranges *rs, Sums *s) {
  s->n = s->r.first;
  s->combos = 1;
  for (int k = 0; k < s->n; k++) {
    if (s->r.leaf[k]->t.e.kind == EK_SHIFT || !range_hull(rs, s->r.leaf[k], &s->lo[k], &s->hi[k])) return false;
    if (s->lo[k] < -(INT64_C(1) << 30) || s->hi[k] > INT64_C(1) << 30) return false;
    if (count(s, k) > count(s, s->wide)) s->wide = k;
  }
  for (int k = 0; k < s->n; k++)
    if (k != s->wide && (count(s, k) > COMBINATIONS || (s->combos *= count(s, k)) > COMBINATIONS)) return false;
  return true;
}

/* The first step that reads all leaves; -1 where it does not add. */
static int meeting(const Sums *s) {
  uint32_t reads[LEAVES_MAX + 65] = {0}, all = (1u << s->n) - 1;
  for (int i = 0; i < s->r.n; i++) {
    const RegionStep *p = &s->r.step[i];
    if (i < s->n) reads[i] = 1u << i;
    for (int k = 0; i >= s->n && k < p->n->n_in && k < 3; k++) if (p->in[k] >= 0) reads[i] |= reads[p->in[k]];
    if (reads[i] == all) return node_is_map(p->n, S_ADD) || node_is_map(p->n, S_SUB) ? i : -1;
  }
  return -1;
}

static void find_slopes(Sums *s, int at, int64_t row) {
  bool floats = elem_is_float(s->r.step[at].n->t.e);
  Val x[LEAVES_MAX];
  for (int k = 0; k < s->n; k++) {
    double v[2];
    for (int j = 0; j < s->n; j++) x[j].i = s->lo[j];
    for (int end = 0; end < 2; end++) {
      x[k].i = end ? s->hi[k] : s->lo[k];
      region_eval_leaves(&s->r, row, x);
      v[end] = floats ? s->r.v[at]->f : (double)s->r.v[at]->i;
    }
    s->slope[row][k] = s->hi[k] > s->lo[k] ? (v[1] - v[0]) / (double)(s->hi[k] - s->lo[k]) : 0;
  }
}

/* Direction in the wide leaf, the same for all combinations; least and greatest level. */
static bool find_ends(Sums *s, int64_t row) {
  int64_t least = INT64_MAX, most = INT64_MIN;
  int dir = 0;
  for (int64_t c = 0; c < s->combos; c++) {
    Val x[LEAVES_MAX];
    leaf_values(s, c, x);
    int d = region_direction_in(&s->r, row, s->wide, x, (Val){.i = s->lo[s->wide]}, (Val){.i = s->hi[s->wide]});
    if (d == 0 || (dir && d != dir)) return false;
    dir = d;
    for (int end = 0; end < 2; end++) {
      int64_t y = s->r.v[s->r.n - 1][end].i;
      if (y < least) least = y;
      if (y > most) most = y;
    }
  }
  s->dir[row] = dir;
  s->y0[row] = least;
  s->levels[row] = (most - least) / s->unit;
  return (most - least) % s->unit == 0;
}

typedef struct Combination { Sums *s; int64_t row; Val x[LEAVES_MAX]; } Combination;

/* Codes at the wide leaf's steps u, from where F is least. */
static void codes_at(void *user, const int64_t *u, int64_t *y, int n) {
  Combination *c = user;
  for (int k = 0; k < c->s->n; k++)
    for (int i = 0; i < n; i++) c->s->r.v[k][i] = k == c->s->wide ? (Val){.i = wide_at(c->s, c->row, u[i])} : c->x[k];
  const Val *v = region_run(&c->s->r, c->row, n);
  for (int i = 0; i < n; i++) y[i] = v[i].i;
}
_Static_assert((int)STAIRS_RUN <= (int)REGION_RUN, "asked for at once");

/* t of one combination. All its levels lie about as far from those of the combination before, guess[], as one in their middle does; at: room. */
static void find_steps(Sums *s, int64_t row, int64_t c, const int32_t *guess, int32_t *t, int64_t *at) {
  int64_t n = count(s, s->wide), ends[2] = {0, n - 1}, y[2], most = s->levels[row];
  Combination of = {.s = s, .row = row};
  leaf_values(s, c, of.x);
  codes_at(&of, ends, y, 2);
  int64_t from = (y[0] - s->y0[row]) / s->unit, to = (y[1] - s->y0[row]) / s->unit; /* levels below `from` are reached at 0, those from `to` on never */
  Stairs line = {.lo = 0, .hi = n - 1, .y0 = s->y0[row], .step = s->unit};
  for (int64_t j = 0; j < from; j++) t[j] = 0;
  for (int64_t j = to; j < most; j++) t[j] = (int32_t)n;
  if (from >= to) return;
  int64_t middle = from, above = to; /* the first level that was beyond half the way */
  while (guess && middle < above) {
    int64_t m = (middle + above) / 2;
    if (guess[m] < n / 2) middle = m + 1;
    else above = m;
  }
  if (middle == to) middle--;
  int64_t pivot = guess ? guess[middle] : 0;
  stairs_near(codes_at, &of, &line, middle, 1, &pivot);
  for (int64_t j = from; j < to; j++) at[j] = guess ? guess[j] + pivot - guess[middle] : pivot;
  stairs_near(codes_at, &of, &line, from, to - from, at + from);
  for (int64_t j = from; j < to; j++) t[j] = (int32_t)at[j];
}

static int64_t sum_at(const Sums *s, int64_t row, const Val *x) {
  int64_t y = 0;
  for (int k = 0; k < s->n; k++) y += s->f[row][k] * x[k].i;
  return y;
}

/* The row as a staircase of S; false where two sums would have to be told apart; `all`: at and under are filled all the same. */
static bool row_stairs(Sums *s, int64_t row, bool all, Stairs *y) {
  int64_t n = count(s, s->wide), levels = s->levels[row];
  for (int64_t j = 0; j < levels; j++) y->at[j] = INT64_MAX, y->under[j] = INT64_MIN;
  y->lo = INT64_MAX, y->hi = INT64_MIN;
  for (int64_t c = 0; c < s->combos; c++) {
    Val x[LEAVES_MAX];
    const int32_t *t = s->t[row] + c * levels;
    leaf_values(s, c, x);
    for (int end = 0; end < 2; end++) {
      x[s->wide].i = wide_at(s, row, end ? n - 1 : 0);
      int64_t v = sum_at(s, row, x);
      if (v < y->lo) y->lo = v;
      if (v > y->hi) y->hi = v;
    }
    for (int64_t j = 0; j < levels; j++) {
      x[s->wide].i = wide_at(s, row, t[j]);
      int64_t v = sum_at(s, row, x), before = v - (s->dir[row] > 0 ? 1 : -1) * s->f[row][s->wide];
      if (t[j] < n && v < y->at[j]) y->at[j] = v;
      if (t[j] > 0 && before > y->under[j]) y->under[j] = before;
      if (!all && y->under[j] >= y->at[j]) return false;
    }
  }
  y->y0 = s->y0[row];
  y->step = s->unit;
  y->n = levels;
  for (int64_t j = 1; j < levels; j++) /* levels in order: S that reaches j + 1 is not below one that reaches j */
    if (y->at[j] < y->at[j - 1]) return false;
  return true;
}

/* Factors number `trial`, such that F rises with S: multiples 1..SMALL of the least slope, then a power of two for a level (so
 * that the line's own factor is 1), then bits of the greatest. False where one
 * vanishes or S is too large. */
static bool factors(Sums *s, int trial) {
  for (int64_t row = 0; row < s->r.rows; row++) {
    double big = 0, least = INFINITY, most = 0;
    for (int k = 0; k < s->n; k++) big = fmax(big, fabs(s->slope[row][k])), least = fmin(least, fabs(s->slope[row][k]));
    bool level = trial >= SMALL && trial < SMALL + SHIFTS;
    if (level && s->step == 0) return false;
    double unit = trial < SMALL ? (trial + 1) / least : level ? ldexp(1 / s->step, trial - SMALL + 1) : ldexp(1 / big, trial - SMALL - SHIFTS + 1);
    int sign = (s->slope[row][s->wide] > 0) == (s->dir[row] > 0) ? 1 : -1;
    for (int k = 0; k < s->n; k++) {
      s->f[row][k] = sign * (int64_t)nearbyint(fmin(fabs(s->slope[row][k] * unit), 0x1p60)) * (s->slope[row][k] < 0 ? -1 : 1);
      if (s->f[row][k] == 0) return false;
      most += fabs((double)s->f[row][k]) * fmax(fabs((double)s->lo[k]), fabs((double)s->hi[k]));
    }
    if (most >= ldexp(1, SUM_BITS)) return false;
  }
  return true;
}

/* Leaf k times its factors. */
static Node *scaled_leaf(Graph *g, const Sums *s, int k, Node *x, Elem e) {
  int64_t dims[MAX_RANK], same = 1;
  for (int i = 0; i < x->t.rank; i++) dims[i] = i == s->r.axis ? s->r.rows : 1;
  while (same < s->r.rows && s->f[same][k] == s->f[0][k]) same++;
  Type t = type_make(e, same == s->r.rows ? 0 : x->t.rank, dims);
  Tensor *f = tensor_new(g->ctx, &t);
  if (!f) return NULL;
  for (int64_t i = 0; i < f->n; i++) tensor_set_i(f, i, s->f[i][k]);
  return f->n == 1 && s->f[0][k] == 1 ? x : node_map_as(g, S_MUL, e, 2, (Node *[]){x, node_const(g, f)});
}

static Node *sum_node(Rewrite *rw, const Sums *s) {
  double most = 0; /* of each term and each sum on the way */
  for (int64_t row = 0; row < s->r.rows; row++) {
    double terms = 0;
    for (int k = 0; k < s->n; k++) terms += fabs((double)s->f[row][k]) * fmax(fabs((double)s->lo[k]), fabs((double)s->hi[k]));
    most = fmax(most, terms);
  }
  Elem e = most < 0x1p31 ? I32 : I64;
  Node *y = NULL;
  for (int k = 0; k < s->n; k++) {
    Node *x = scaled_leaf(rw->g, s, k, rw->map[s->r.leaf[k]->id], e);
    if (!x) return NULL;
    y = y ? node_map_as(rw->g, S_ADD, e, 2, (Node *[]){y, x}) : x;
  }
  return y;
}

/* The number of the combination. */
static Node *combination(Rewrite *rw, const Sums *s) {
  Graph *g = rw->g;
  int64_t stride = 1, base = 0;
  Node *y = NULL;
  for (int k = s->n - 1; k >= 0; k--) {
    if (k == s->wide) continue;
    Node *x = rw->map[s->r.leaf[k]->id];
    if (stride != 1) x = node_map_as(g, S_MUL, I32, 2, (Node *[]){x, node_const_i(g, I32, stride)});
    y = y ? node_map_as(g, S_ADD, I32, 2, (Node *[]){y, x}) : x;
    base += s->lo[k] * stride;
    stride *= count(s, k);
  }
  return node_map_as(g, S_SUB, I32, 2, (Node *[]){y, node_const_i(g, I32, base)});
}

/* What a requant of one row gives. */
static int64_t line_at(const Node *y, int64_t x) {
  int64_t v = (x * tensor_i(y->in[1]->a.value, 0) + tensor_i(y->in[2]->a.value, 0)) >> y->a.shift;
  return v < y->a.lo ? y->a.lo : v > y->a.hi ? y->a.hi : v;
}

/* Entry 1 + level * combinations + combination: whether the one sum in the level's window is at that level; entry 0 is 0. */
static Node *choice_table(Graph *g, const Sums *s, const Node *may, int64_t window) {
  int64_t levels = s->levels[0], n = 1 + levels * s->combos;
  Type t = type_make(UINTK(1), 1, &n);
  Tensor *table = tensor_new(g->ctx, &t);
  for (int64_t c = 0; table && c < s->combos; c++) {
    Val x[LEAVES_MAX];
    leaf_values(s, c, x);
    for (int64_t j = 0; j < levels; j++) {
      int64_t u = s->t[0][c * levels + j];
      x[s->wide].i = wide_at(s, 0, u);
      bool first = u < count(s, s->wide) && line_at(may, sum_at(s, 0, x) - window) <= s->y0[0] + j;
      tensor_set_i(table, 1 + j * s->combos + c, first);
    }
  }
  return table ? node_const(g, table) : NULL;
}

/* A line that may reach level j from m[j] on, and surely does from m[j] + |f| on, f the wide leaf's factor: each combination has at most
 * one sum between, and a table says of it. y = sure + table[(may - sure) * (1 + ...)]. */
static Node *choices(Rewrite *rw, Arena *a, Sums *s, const Levels *result) {
  Graph *g = rw->g;
  int64_t n = s->levels[0];
  Stairs y = {.at = NEWN(a, int64_t, n + 1), .under = NEWN(a, int64_t, n + 1)};
  if (s->r.rows != 1 || s->unit != 1 || n * s->combos >= CHOICES || (result->result.kind != EK_INT && result->result.kind != EK_UINT)) return NULL;
  for (int trial = 0; trial < TRIALS; trial++) {
    if (!factors(s, trial)) continue;
    int64_t window = llabs(s->f[0][s->wide]), j = 0;
    row_stairs(s, 0, true, &y);
    for (; j < n; j++) {
      if (y.under[j] > INT64_MIN) y.under[j] -= window;
      if (y.under[j] >= y.at[j] || (j && y.at[j] < y.at[j - 1])) break;
    }
    y.y0 = s->y0[0], y.step = 1, y.n = n;
    Levels l = {.result = I64, .rows = 1, .lo = &y.lo, .hi = &y.hi, .row = &y, .most = n};
    Node *x = j == n ? sum_node(rw, s) : NULL, *may = x ? levels_requant(g, a, &l, x) : NULL, *sure, *table, *index;
    if (!may || (double)tensor_i(may->in[1]->a.value, 0) * (double)window > ldexp(1, may->a.shift)) continue; /* windows would overlap */
    Attr attr = may->a;
    sure = node_map_as(g, S_SUB, x->t.e, 2, (Node *[]){x, node_const_i(g, x->t.e, window)});
    sure = node_new(g, OP_REQUANT, &may->t, 3, (Node *[]){sure, may->in[1], may->in[2]}, &attr, NULL);
    if (!(table = choice_table(g, s, may, window))) return NULL;
    index = node_map_as(g, S_SUB, I32, 2, (Node *[]){may, node_const_i(g, I64, y.y0 + 1)});
    index = node_map_as(g, S_MUL, I32, 2, (Node *[]){index, node_const_i(g, I32, s->combos)});
    index = node_map_as(g, S_ADD, I32, 2, (Node *[]){index, combination(rw, s)});
    index = node_map_as(g, S_ADD, I32, 2, (Node *[]){index, node_const_i(g, I32, 1)});
    index = node_map_as(g, S_MUL, I32, 2, (Node *[]){node_map_as(g, S_SUB, I32, 2, (Node *[]){may, sure}), index});
    return node_map_as(g, S_ADD, result->result, 2, (Node *[]){sure, node_gather(g, table, index, 0)});
  }
  return NULL;
}

static bool prepare(Arena *a, Ranges *rs, Sums *s) {
  int at;
  int64_t all = 0, rows = s->r.rows;
  if (!ranges_fit(rs, s) || (at = meeting(s)) < 0 || count(s, s->wide) > INT32_MAX / 2 || s->combos * rows > LEVELS_ALL / 4) return false;
  s->y0 = NEWN(a, int64_t, rows);
  s->levels = NEWN(a, int64_t, rows);
  s->dir = NEWN(a, int, rows);
  s->t = NEWN(a, int32_t *, rows);
  s->slope = arena_alloc(a, sizeof *s->slope * (size_t)rows);
  s->f = arena_alloc(a, sizeof *s->f * (size_t)rows);
  for (int64_t row = 0; row < rows; row++) {
    if (!find_ends(s, row) || s->levels[row] > COMBINATIONS || (all += s->levels[row] * s->combos) > LEVELS_ALL) return false;
    find_slopes(s, at, row);
    for (int k = 0; k < s->n; k++) if (!isfinite(s->slope[row][k]) || s->slope[row][k] == 0) return false;
  }
  for (int64_t row = 0; row < rows; row++) {
    int64_t n = s->levels[row], *room = NEWN(a, int64_t, n + 1);
    s->t[row] = NEWN(a, int32_t, n * s->combos + 1);
    for (int64_t c = 0; c < s->combos; c++) find_steps(s, row, c, c ? s->t[row] + (c - 1) * n : NULL, s->t[row] + c * n, room);
  }
  return true;
}

Node *sum_levels(Rewrite *rw, Arena *a, Ranges *rs, const Node *top, const Region *r) {
  Sums s = {.r = *r, .unit = top->t.e.kind == EK_BASES ? 2 : 1};
  Levels l = {.result = top->t.e, .axis = r->axis, .rows = r->rows};
  int least = -1;
  if (top->op != OP_QUANT || !node_uniform(top->in[1], &s.step) || !isfinite(s.step)) s.step = 0;
  s.step = fabs(s.step);
  if (top->t.e.kind == EK_SHIFT || !prepare(a, rs, &s)) return NULL;
  l.lo = NEWN(a, int64_t, l.rows);
  l.hi = NEWN(a, int64_t, l.rows);
  l.row = NEWN(a, Stairs, l.rows);
  for (int64_t row = 0; row < l.rows; row++) {
    l.row[row].at = NEWN(a, int64_t, s.levels[row] + 1);
    l.row[row].under = NEWN(a, int64_t, s.levels[row] + 1);
    if (s.levels[row] > l.most) l.most = s.levels[row];
  }
  for (int pass = 0; pass < 2; pass++) { /* a line where one serves, else thresholds of the coarsest sum */
    for (int trial = pass ? least : 0; trial < TRIALS; trial++) {
      bool fits = factors(&s, trial);
      for (int64_t row = 0; fits && row < l.rows; row++) {
        fits = row_stairs(&s, row, false, &l.row[row]);
        l.lo[row] = l.row[row].lo, l.hi[row] = l.row[row].hi;
      }
      if (!fits) continue;
      if (least < 0) least = trial;
      Node *x = sum_node(rw, &s);
      if (!x) return NULL;
      if (pass || l.most <= LEVELS_FEW) return l.most * l.rows <= TABLE_MAX ? levels_thresholds(rw->g, &l, x) : NULL;
      Node *y = levels_requant(rw->g, a, &l, x);
      if (y) return y;
    }
    if (least < 0) break;
  }
  return choices(rw, a, &s, &l);
}
