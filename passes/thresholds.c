/* thresholds: a quant (or float thresholds, or float-to-code cast) whose value is an element-wise function of one integer, every other
 * operand constant, becomes integers only. The function is evaluated by eval's own scalar meaning, on exactly the range the integer
 * can have, so every rounding, tie, negative gain and dead channel is kept:
 *   region     quant <- steps <- code (region.h); higher codes are tried first: a quant in between joins where nobody else reads it
 *   staircase  where every step is provably monotone, its levels are found by bisection; where not, the range is scanned
 *   result     thresholds (up to 15 levels); a requant line that meets every level exactly; a table; else thresholds */
#include "passes/access.h"
#include "passes/pass.h"
#include "passes/range.h"
#include "passes/region.h"
#include "passes/stairs.h"

#include <assert.h>

enum {
  SCAN_MAX = 1 << 26,      /* evaluations of functions not proven monotone */
  TABLE_RANGE = 1 << 16,   /* entries of a table's row */
  TABLE_MAX = 1 << 20,     /* of all rows */
  TABLE_CHEAP = 1 << 14,   /* a table of this size is better than many thresholds */
  LEVELS_FEW = 15,         /* up to here thresholds are preferred */
  LEVELS_MAX = 1 << 16,    /* of one row */
  LEVELS_ALL = 1 << 22     /* of all rows */
};

typedef struct Work { Ranges *ranges; } Work;

/* What is known of one candidate. */
typedef struct Plan {
  Region r;
  Elem result;
  int64_t *lo, *hi;        /* [rows] range of the base */
  bool ready, possible;    /* what follows is computed; the base's range is known */
  bool stairs;             /* every row is a staircase */
  Stairs *row;
  int64_t levels;          /* most of any row */
} Plan;

typedef struct RowFn { Region *r; int64_t row; } RowFn;

static int64_t row_value(void *user, int64_t x) {
  RowFn *f = user;
  return region_eval(f->r, f->row, (Val){.i = x}).i;
}

/* Range of the base in every row. */
static bool row_ranges(Arena *a, Ranges *rs, Plan *p) {
  const Node *base = p->r.base;
  const Range *r = range_of(rs, base);
  int64_t idx[MAX_RANK] = {0};
  if (!r || r->n == 0) return false;
  p->lo = NEWN(a, int64_t, p->r.rows);
  p->hi = NEWN(a, int64_t, p->r.rows);
  for (int64_t i = 0; i < p->r.rows; i++) p->lo[i] = INT64_MAX, p->hi[i] = INT64_MIN;
  for (int64_t i = 0; i < r->n; i++) {
    bool each = r->d[p->r.axis] > 1;
    int64_t first = each && p->r.rows > 1 ? idx[p->r.axis] : 0, last = each || p->r.rows == 1 ? first : p->r.rows - 1;
    for (int64_t k = first; k <= last; k++) {
      if (r->lo[i] < p->lo[k]) p->lo[k] = r->lo[i];
      if (r->hi[i] > p->hi[k]) p->hi[k] = r->hi[i];
    }
    for (int d = base->t.rank - 1; d >= 0 && ++idx[d] == r->d[d]; d--) idx[d] = 0;
  }
  return true;
}

/* Scans a row: +1, -1 where the values only rise or fall, 0 else. */
static int scan_direction(Plan *p, int64_t row) {
  bool rises = true, falls = true;
  RowFn f = {&p->r, row};
  int64_t last = row_value(&f, p->lo[row]);
  for (int64_t x = p->lo[row]; x < p->hi[row] && (rises || falls); x++) {
    int64_t y = row_value(&f, x + 1);
    rises = rises && y >= last;
    falls = falls && y <= last;
    last = y;
  }
  return rises ? 1 : falls ? -1 : 0;
}

static bool find_stairs(Arena *a, Plan *p) {
  int64_t unit = p->result.kind == EK_BASES ? 2 : 1, all = 0, scanned = 0;
  if (p->result.kind == EK_SHIFT) return false;
  p->row = NEWN(a, Stairs, p->r.rows);
  for (int64_t i = 0; i < p->r.rows; i++) {
    int dir = region_direction(&p->r, i, (Val){.i = p->lo[i]}, (Val){.i = p->hi[i]});
    if (dir == 0) {
      uint64_t n = (uint64_t)p->hi[i] - (uint64_t)p->lo[i] + 1;
      if (n == 0 || n > SCAN_MAX || (scanned += (int64_t)n) > SCAN_MAX) return false;
      if (!scan_direction(p, i)) return false;
    }
    RowFn f = {&p->r, i};
    if (!stairs_find(a, row_value, &f, p->lo[i], p->hi[i], unit, LEVELS_MAX, &p->row[i])) return false;
    if (p->row[i].n > p->levels) p->levels = p->row[i].n;
    if ((all += p->row[i].n) > LEVELS_ALL) return false;
  }
  return true;
}

static Node *const_codes(Graph *g, Elem e, int rank, const int64_t *dims, Tensor **y) {
  Type t = type_make(e, rank, dims);
  *y = tensor_new(g->ctx, &t);
  return *y ? node_const(g, *y) : NULL;
}

/* Rows alike need one row only. */
static int64_t distinct_rows(const Plan *p) {
  for (int64_t i = 1; i < p->r.rows; i++) {
    const Stairs *a = &p->row[0], *b = &p->row[i];
    if (a->y0 != b->y0 || a->n != b->n || (a->n && a->step != b->step)) return p->r.rows;
    for (int64_t j = 0; j < a->n; j++)
      if (a->at[j] != b->at[j]) return p->r.rows;
  }
  return 1;
}

/* Unused levels of a row hold a number above the base's range: they are never reached. */
static Node *emit_thresholds(Graph *g, const Plan *p, Node *x) {
  int64_t rows = distinct_rows(p), levels = p->levels ? p->levels : 1, most = p->hi[0], least = p->lo[0];
  for (int64_t i = 0; i < p->r.rows; i++) {
    if (p->hi[i] > most) most = p->hi[i];
    if (p->lo[i] < least) least = p->lo[i];
  }
  bool unused = false;
  for (int64_t i = 0; i < rows; i++) unused = unused || p->row[i].n < levels;
  if (most == INT64_MAX) return NULL;
  Elem e = x->t.e.kind == EK_INT || x->t.e.kind == EK_UINT ? x->t.e : I32;
  if (most + unused > elem_hi(e) || least < elem_lo(e)) e = elem_for_range(least, most + unused);
  Elem ye = elem_for_range(-2, 1);
  for (int64_t i = 0; i < rows; i++) {
    int64_t lo = elem_lo(ye), hi = elem_hi(ye), y0 = p->row[i].y0;
    if (y0 < lo || y0 > hi) ye = elem_for_range(y0 < lo ? y0 : lo, y0 > hi ? y0 : hi);
  }
  if (ye.bits < 8) ye = I8;
  Tensor *t, *b, *s;
  Node *in[4] = {x, const_codes(g, e, 2, (int64_t[]){rows, levels}, &t), const_codes(g, ye, 1, &rows, &b), const_codes(g, I8, 1, &rows, &s)};
  if (!in[1] || !in[2] || !in[3]) return NULL;
  for (int64_t i = 0; i < rows; i++) {
    const Stairs *r = &p->row[i];
    for (int64_t j = 0; j < levels; j++) tensor_set_i(t, i * levels + j, j < r->n ? r->at[j] : elem_hi(e));
    tensor_set_i(b, i, r->y0);
    tensor_set_i(s, i, r->step);
  }
  Type y = x->t;
  y.e = p->result;
  Attr a = {.axis = rows > 1 ? p->r.axis : 0};
  return node_new(g, OP_THRESHOLDS, &y, 4, in, &a, NULL);
}

/* One element where all are the same. */
static Node *const_row(Graph *g, const int64_t *v, int64_t n) {
  Tensor *t;
  int64_t same = 1;
  while (same < n && v[same] == v[0]) same++;
  if (same == n) n = 1;
  Node *k = const_codes(g, I64, 1, &n, &t);
  for (int64_t i = 0; k && i < n; i++) tensor_set_i(t, i, v[i]);
  return k;
}

static Node *emit_requant(Graph *g, Arena *scratch, const Plan *p, Node *x) {
  int64_t rows = distinct_rows(p), ylo = INT64_MAX, yhi = INT64_MIN;
  int64_t *m = NEWN(scratch, int64_t, rows), *b = NEWN(scratch, int64_t, rows);
  int shift;
  if (p->result.kind != EK_INT && p->result.kind != EK_UINT) return NULL;
  for (int64_t i = 0; i < rows; i++) {
    int64_t y0 = p->row[i].y0, y1 = y0 + p->row[i].step * p->row[i].n;
    if ((y0 < y1 ? y0 : y1) < ylo) ylo = y0 < y1 ? y0 : y1;
    if ((y0 > y1 ? y0 : y1) > yhi) yhi = y0 > y1 ? y0 : y1;
  }
  if (!stairs_lines(scratch, p->row, rows, ylo, yhi, m, b, &shift)) return NULL;
  Node *nm = const_row(g, m, rows), *nb = const_row(g, b, rows);
  if (!nm || !nb) return NULL;
  Type y = x->t;
  y.e = p->result;
  Attr a = {.axis = rows > 1 ? p->r.axis : 0, .shift = shift, .lo = ylo, .hi = yhi};
  return node_new(g, OP_REQUANT, &y, 3, (Node *[]){x, nm, nb}, &a, NULL);
}

/* Entries of a table over the hull of the rows' ranges; 0 where it is too large. */
static int64_t table_size(const Plan *p, int64_t *least, int64_t *range) {
  int64_t lo = p->lo[0], hi = p->hi[0];
  for (int64_t i = 1; i < p->r.rows; i++) {
    if (p->lo[i] < lo) lo = p->lo[i];
    if (p->hi[i] > hi) hi = p->hi[i];
  }
  uint64_t n = (uint64_t)hi - (uint64_t)lo + 1;
  if (n == 0 || n > TABLE_RANGE || n * (uint64_t)p->r.rows > TABLE_MAX) return 0;
  *least = lo;
  *range = (int64_t)n;
  return (int64_t)n * p->r.rows;
}

/* y = table[row * range + x - lo]. Entries outside a row's own range are never read. */
static Node *emit_table(Graph *g, Plan *p, Node *x) {
  int64_t lo, range, size = table_size(p, &lo, &range), dims[MAX_RANK];
  Tensor *t, *o;
  if (!size) return NULL;
  Node *table = const_codes(g, p->result, 1, &size, &t);
  if (!table) return NULL;
  for (int64_t i = 0; i < size; i++) {
    int64_t row = i / range, v = lo + i % range;
    v = v < p->lo[row] ? p->lo[row] : v > p->hi[row] ? p->hi[row] : v;
    RowFn f = {&p->r, row};
    tensor_set_i(t, i, row_value(&f, v));
  }
  for (int i = 0; i < x->t.rank; i++) dims[i] = i == p->r.axis ? p->r.rows : 1;
  Node *offset = const_codes(g, I32, p->r.rows > 1 ? x->t.rank : 0, dims, &o);
  if (!offset) return NULL;
  for (int64_t i = 0; i < o->n; i++) tensor_set_i(o, i, i * range - lo);
  Node *index = node_cast(g, x, I32);
  if (p->r.rows > 1 || lo != 0) index = node_map2(g, S_ADD, index, offset);
  return node_gather(g, table, index, 0);
}

/* cheap: a form that costs little at run time; else any. */
static Node *emit(Graph *g, Arena *scratch, Ranges *ranges, Plan *p, Node *x, bool cheap) {
  int64_t lo, range, size;
  Node *y;
  if (!p->ready) {
    p->ready = true;
    p->possible = row_ranges(scratch, ranges, p);
    p->stairs = p->possible && find_stairs(scratch, p);
  }
  if (!p->possible) return NULL;
  size = table_size(p, &lo, &range);
  if (p->stairs) {
    if (p->levels <= LEVELS_FEW) return emit_thresholds(g, p, x);
    if ((y = emit_requant(g, scratch, p, x))) return y;
    if (size && size <= TABLE_CHEAP) return emit_table(g, p, x);
    return cheap || p->levels * p->r.rows > TABLE_MAX ? NULL : emit_thresholds(g, p, x);
  }
  return size && (!cheap || size <= TABLE_CHEAP) ? emit_table(g, p, x) : NULL;
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
    *p = (Plan){.r = r, .result = old->t.e};
    found = region_extend(scratch, &p->r, rw->uses, &r);
  }
  for (int cheap = 1; cheap >= 0 && !y; cheap--)
    for (int i = n - 1; i >= 0 && !y; i--)
      y = emit(rw->g, scratch, w->ranges, &plan[i], rw->map[plan[i].r.base->id], cheap);
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
  Work w = {ranges_new(scratch, old)};
  (void)opt;
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
