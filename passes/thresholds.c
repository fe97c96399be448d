/* thresholds: a quant (or float thresholds, or float-to-code cast) whose value is an element-wise function of one integer, every other
 * operand constant, becomes integers only. The function is evaluated by eval's own scalar meaning, on exactly the range the integer
 * can have, so every rounding, tie, negative gain and dead channel is kept:
 *   region     quant <- steps <- code (region.h); higher codes are tried first: a quant in between joins where nobody else reads it
 *   staircase  where every step is provably monotone, its levels are found by bisection; where not, the range is scanned
 *   positions  where constants vary along several dimensions (averages at borders), a table for each different function
 *   result     thresholds (up to 15 levels); a requant line that meets every level exactly; a table; else thresholds
 * A function of two small codes (a residual addition, a gate) becomes levels of their weighted sum or product, or a table of all pairs
 * (pairs.c); one of a sum of more, or larger, integers becomes levels of the weighted sum (sums.c). */
#include "passes/access.h"
#include "passes/certificate_add.h"
#include "passes/levels.h"
#include "passes/pairs.h"
#include "passes/pass.h"
#include "passes/range.h"
#include "passes/region.h"

#include <assert.h>

enum {
  SCAN_MAX = 1 << 26,      /* evaluations of functions not proven monotone */
  LEVELS_MAX = 1 << 16,    /* of one row */
  LEVELS_ALL = 1 << 22     /* of all rows */
};

typedef struct Work { Ranges *ranges; Certificate *certificate; } Work;

/* What is known of one candidate. */
typedef struct Plan {
  Region r, inner;         /* inner: from the base to the candidate's before, where there is one; n 0: not yet looked for */
  bool ready, possible;    /* what follows is computed; the base's range is known */
  Levels l;                /* row: NULL where some row is no staircase */
  bool found, lineless;    /* l.row[].at are found; no line serves */
  int64_t row, lo, hi;     /* the last answer of direction_of */
  int dir;
} Plan;

typedef struct RowFn { Region *r; int64_t row; } RowFn;

static void row_values(void *user, const int64_t *x, int64_t *y, int n) {
  RowFn *f = user;
  for (int i = 0; i < n; i++) f->r->v[0][i].i = x[i];
  const Val *v = region_run(f->r, f->row, n);
  for (int i = 0; i < n; i++) y[i] = v[i].i;
}
_Static_assert((int)STAIRS_RUN <= (int)REGION_RUN, "asked for at once");

static int64_t table_value(void *user, int64_t row, int64_t x) { return region_eval(user, row, (Val){.i = x}).i; }

/* Range of the base in every row. */
static bool row_ranges(Arena *a, Ranges *rs, Plan *p) {
  const Node *base = p->r.base;
  const Range *r = range_of(rs, base);
  int64_t idx[MAX_RANK] = {0};
  if (!r || r->n == 0) return false;
  p->l.lo = NEWN(a, int64_t, p->l.rows);
  p->l.hi = NEWN(a, int64_t, p->l.rows);
  for (int64_t i = 0; i < p->l.rows; i++) p->l.lo[i] = INT64_MAX, p->l.hi[i] = INT64_MIN;
  for (int64_t i = 0; i < r->n; i++) {
    bool each = r->d[p->l.axis] > 1;
    int64_t first = each && p->l.rows > 1 ? idx[p->l.axis] : 0, last = each || p->l.rows == 1 ? first : p->l.rows - 1;
    for (int64_t k = first; k <= last; k++) {
      if (r->lo[i] < p->l.lo[k]) p->l.lo[k] = r->lo[i];
      if (r->hi[i] > p->l.hi[k]) p->l.hi[k] = r->hi[i];
    }
    for (int d = base->t.rank - 1; d >= 0 && ++idx[d] == r->d[d]; d--) idx[d] = 0;
  }
  return true;
}

/* Whether values that follow last go on as they did; *last becomes the last of them. */
static void follow(const Val *y, int n, int64_t *last, bool *rises, bool *falls) {
  for (int i = 0; i < n; i++) {
    *rises = *rises && y[i].i >= *last;
    *falls = *falls && y[i].i <= *last;
    *last = y[i].i;
  }
}

/* Scans, first here and there: +1, -1 where the values only rise or fall, 0 else. */
static int scan_direction(Plan *p, int64_t row, int64_t lo, int64_t hi) {
  int64_t last = region_eval(&p->r, row, (Val){.i = lo}).i, first = last, n;
  bool rises = true, falls = true;
  for (int64_t i = 0; i < REGION_RUN; i++) p->r.v[0][i].i = lo + (int64_t)((double)(hi - lo) * (double)i / REGION_RUN);
  follow(region_run(&p->r, row, REGION_RUN), REGION_RUN, &last, &rises, &falls);
  last = first;
  for (int64_t x = lo; x < hi && (rises || falls); x += n) {
    n = hi - x < REGION_RUN ? hi - x : REGION_RUN;
    for (int64_t i = 0; i < n; i++) p->r.v[0][i].i = x + 1 + i;
    follow(region_run(&p->r, row, (int)n), (int)n, &last, &rises, &falls);
  }
  return rises ? 1 : falls ? -1 : 0;
}

/* As region_climb, in plan[i]; where that proves nothing, the function is one of few codes, or scanned. *left: values that may be scanned. */
static int direction_of(Arena *a, Plan *plan, int i, int64_t row, int64_t lo, int64_t hi, int64_t *left) {
  Plan *p = &plan[i];
  int d = region_climb(&p->r, row, lo, hi);
  if (d) return d;
  if (p->dir && p->row == row && p->lo == lo && p->hi == hi) return p->dir;
  if (i > 0 && (p->inner.n || region_find(a, plan[i - 1].r.base, p->r.base, &p->inner))) {
    int64_t at = p->inner.rows > 1 ? row : 0, few = TABLE_RANGE;
    int inner = region_climb(&p->inner, at, lo, hi);
    int64_t y0 = region_eval(&p->inner, at, (Val){.i = inner < 0 ? hi : lo}).i, y1 = region_eval(&p->inner, at, (Val){.i = inner < 0 ? lo : hi}).i;
    if (inner && y1 - y0 < TABLE_RANGE) d = inner * direction_of(a, plan, i - 1, plan[i - 1].r.rows > 1 ? row : 0, y0, y1, &few);
  }
  uint64_t n = (uint64_t)hi - (uint64_t)lo + 1;
  if (!d && n != 0 && n <= (uint64_t)*left) {
    *left -= (int64_t)n;
    d = scan_direction(p, row, lo, hi);
  }
  p->dir = d, p->row = row, p->lo = lo, p->hi = hi;
  return d;
}

static bool find_ends(Arena *a, Plan *plan, int i) {
  Plan *p = &plan[i];
  int64_t unit = p->l.result.kind == EK_BASES ? 2 : 1, all = 0, left = SCAN_MAX;
  if (p->l.result.kind == EK_SHIFT) return false;
  p->l.row = NEWN(a, Stairs, p->l.rows);
  for (int64_t row = 0; row < p->l.rows; row++) {
    Stairs *s = &p->l.row[row];
    RowFn f = {&p->r, row};
    if (!direction_of(a, plan, i, row, p->l.lo[row], p->l.hi[row], &left)) return false;
    if (!stairs_ends(row_values, &f, p->l.lo[row], p->l.hi[row], unit, LEVELS_MAX, s)) return false;
    if (s->n > p->l.most) p->l.most = s->n;
    if ((all += s->n) > LEVELS_ALL) return false;
  }
  return true;
}

static const Levels *find_levels(Arena *a, Plan *p) {
  for (int64_t row = 0; row < p->l.rows && !p->found; row++) {
    RowFn f = {&p->r, row};
    stairs_find(a, row_values, &f, &p->l.row[row]);
  }
  p->found = true;
  return &p->l;
}

static Node *emit_line(Graph *g, Arena *scratch, Plan *p, Node *x) {
  for (int64_t row = 0; row < p->l.rows && !p->lineless; row++) {
    RowFn f = {&p->r, row};
    p->lineless = !stairs_may_be_line(row_values, &f, &p->l.row[row]);
  }
  Node *y = p->lineless ? NULL : levels_requant(g, scratch, find_levels(scratch, p), x);
  p->lineless = !y;
  return y;
}

/* CHEAP: forms that cost little at run time; FAIR: that take no more numbers than a table of 16 bits has; then any. */
enum { ANY, FAIR, CHEAP };

static Node *emit(Graph *g, Arena *scratch, Ranges *ranges, Plan *plan, int i, Node *x, int effort) {
  int64_t lo, range, size;
  Plan *p = &plan[i];
  Node *y;
  if (!p->ready) {
    p->ready = true;
    p->possible = row_ranges(scratch, ranges, p);
    if (p->possible && !find_ends(scratch, plan, i)) p->l.row = NULL;
  }
  if (!p->possible) return NULL;
  size = levels_table_size(&p->l, &lo, &range);
  if (effort >= FAIR && size > (effort == CHEAP ? TABLE_CHEAP : TABLE_RANGE)) size = 0;
  if (!p->l.row) return size ? levels_table(g, &p->l, table_value, &p->r, x) : NULL;
  if (p->l.most <= LEVELS_FEW) return levels_thresholds(g, find_levels(scratch, p), x);
  if ((y = emit_line(g, scratch, p, x))) return y;
  if (size && (size <= TABLE_CHEAP || (p->l.most > UINT8_MAX && size <= 2 * p->l.most * p->l.rows))) return levels_table(g, &p->l, table_value, &p->r, x);
  if (effort == CHEAP || p->l.most * p->l.rows > (effort == FAIR ? TABLE_RANGE : TABLE_MAX)) return NULL;
  return levels_thresholds(g, find_levels(scratch, p), x);
}

/* Notes what y stands for. */
static void certify(Work *w, const Plan *p, Node *y) {
  CertEntry form = {.lo = p->l.lo, .hi = p->l.hi, .factor = {1, 0}};
  int64_t least, range;
  if (!w->certificate) return;
  form.offset = y->op == OP_GATHER && levels_table_size(&p->l, &least, &range) && (p->l.rows > 1 || least != 0); /* as levels_table has it */
  y->a.certified = certificate_add(w->certificate, w->ranges, &p->r, &form);
}

/* A function that differs from position to position (averages at borders): a table for each different one, its place added to x. */
static Node *position_table(Rewrite *rw, Arena *a, Ranges *ranges, const Node *top) {
  enum { POSITIONS = 1 << 12, CLASSES = 64 };
  Graph *g = rw->g;
  Region r;
  int64_t lo, hi, first[CLASSES], n = 0, dims[MAX_RANK];
  if (!region_find_positions(a, top, &r) || r.rows > POSITIONS || !range_hull(ranges, r.base, &lo, &hi) || hi - lo >= TABLE_RANGE) return NULL;
  for (int i = 0; i < top->t.rank; i++) dims[i] = r.axes >> i & 1 ? top->t.d[i].n : 1;
  int64_t range = hi - lo + 1, size;
  Type t = type_make(I32, top->t.rank, dims);
  Tensor *place = tensor_new(g->ctx, &t);
  for (int64_t i = 0; place && i < r.rows; i++) {
    int64_t k = 0;
    while (k < n && !region_alike(&r, first[k], i)) k++;
    if (k == CLASSES) return NULL;
    if (k == n) first[n++] = i;
    tensor_set_i(place, i, k * range - lo);
  }
  if (!place || (size = n * range) > TABLE_MAX) return NULL;
  t = type_make(top->t.e, 1, &size);
  Tensor *table = tensor_new(g->ctx, &t);
  for (int64_t i = 0; table && i < size; i++) tensor_set_i(table, i, region_eval(&r, first[i / range], (Val){.i = lo + i % range}).i);
  if (!table) return NULL;
  return node_gather(g, node_const(g, table), node_map2(g, S_ADD, node_cast(g, rw->map[r.base->id], I32), node_const(g, place)), 0);
}

static bool is_top(const Node *n) {
  Elem e = n->t.e;
  if (n->t.rank == 0 || (e.kind == EK_BASES && e.bits > 1) || e.kind == EK_BOOL) return false;
  if (n->op == OP_QUANT) return true;
  if (n->op != OP_THRESHOLDS && !node_is_map(n, S_CAST)) return false;
  return elem_is_code(e) && elem_is_float(n->in[0]->t.e) && !(e.kind == EK_UINT && e.bits == 64);
}

static Node *thresholds_rule(Rewrite *rw, const Node *old, Node *const *in) {
  enum { CANDIDATES = 8 };
  Work *w = rw->user;
  Plan plan[CANDIDATES];
  int n = 0;
  Node *y = NULL;
  (void)in;
  if (!is_top(old)) return NULL;
  Arena *scratch = arena_new(rw->g->ctx);
  Region r;
  bool found = region_find(scratch, old, NULL, &r);
  while (found && n < CANDIDATES) {
    Plan *p = &plan[n++];
    *p = (Plan){.r = r, .l = {.result = old->t.e, .axis = r.axis, .rows = r.rows}};
    found = region_extend(scratch, &p->r, rw->uses, &r);
  }
  for (int effort = CHEAP; effort >= ANY && !y; effort--)
    for (int i = n - 1; i >= 0 && !y; i--)
      if ((y = emit(rw->g, scratch, w->ranges, plan, i, rw->map[plan[i].r.base->id], effort))) certify(w, &plan[i], y);
  if (!y && n == 0) y = position_table(rw, scratch, w->ranges, old);
  if (!y && n == 0) y = pair_levels(rw, scratch, w->ranges, old, w->certificate);
  arena_free(scratch);
  if (y) rw->changes++;
  return y;
}

/* Levels of codes move above a movement of the same elements that nobody else reads: narrower codes move, and the levels meet the
 * contract that feeds them. */
static Node *raise_rule(Rewrite *rw, const Node *old, Node *const *in) {
  const Node *m = old->n_in ? old->in[0] : NULL;
  int64_t rows = 1, from, to;
  if ((old->op != OP_THRESHOLDS && old->op != OP_REQUANT) || elem_is_float(m->t.e)) return NULL;
  if ((m->op != OP_RESHAPE && m->op != OP_VIEW) || rw->uses[m->id] != 1) return NULL;
  if (m->op == OP_VIEW && !access_inside(m, 0)) return NULL;
  const Type *x = &m->in[0]->t;
  if (node_is_const(m->in[0]) || x->rank == 0 || !type_count(x, &from) || !type_count(&m->t, &to) || from > to) return NULL;
  Attr a = old->a;
  for (int k = 1; k < old->n_in; k++)
    if (old->in[k]->t.rank > 0 && old->in[k]->t.d[0].n > rows) rows = old->in[k]->t.d[0].n;
  if (rows > 1) {
    int from_of[MAX_RANK], axis = -1, it;
    if (m->op == OP_RESHAPE) axis = reshape_ones(x, &m->t, from_of) ? from_of[a.axis] : -1;
    for (int j = 0; m->op == OP_VIEW && j < x->rank && axis < 0; j++)
      if (affine_pure(&m->a.iters->acc[0][j], m->t.rank, &it) && it == a.axis && dim_eq(x->d[j], m->t.d[it])) axis = j;
    if (axis < 0) return NULL;
    a.axis = axis;
  } else
    a.axis = 0;
  Node **v = NEWN(rw->g->arena, Node *, old->n_in);
  for (int k = 1; k < old->n_in; k++) v[k] = in[k];
  v[0] = rw->map[m->in[0]->id];
  Type t = *x;
  t.e = old->t.e;
  rw->changes++;
  return move_clone(rw->g, m, node_new(rw->g, (Op)old->op, &t, old->n_in, v, &a, NULL), 0);
}

Graph *pass_thresholds(Graph *old, const PassOptions *opt) {
  enum { ROUNDS = 16 };
  Arena *scratch = arena_new(old->ctx);
  Work w = {ranges_new(scratch, old), opt->certificate};
  Graph *g = graph_rewrite(old, thresholds_rule, &w, NULL);
  arena_free(scratch);
  graph_free(old);
  for (int round = 0, changes = 1; g && changes && round < ROUNDS; round++) {
    old = g;
    changes = 0;
    g = graph_rewrite(old, raise_rule, NULL, &changes);
    graph_free(old);
  }
  return g;
}
