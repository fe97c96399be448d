#include "passes/levels.h"

static Node *const_codes(Graph *g, Elem e, int rank, const int64_t *dims, Tensor **y) {
  Type t = type_make(e, rank, dims);
  *y = tensor_new(g->ctx, &t);
  return *y ? node_const(g, *y) : NULL;
}

/* Rows alike need one row only. */
static int64_t distinct_rows(const Levels *p) {
  for (int64_t i = 1; i < p->rows; i++) {
    const Stairs *a = &p->row[0], *b = &p->row[i];
    if (a->y0 != b->y0 || a->n != b->n || (a->n && a->step != b->step)) return p->rows;
    for (int64_t j = 0; j < a->n; j++)
      if (a->at[j] != b->at[j] || (a->under && a->under[j] != b->under[j])) return p->rows;
  }
  return 1;
}

/* Unused levels of a row hold a number above the base's range: they are never reached. */
Node *levels_thresholds(Graph *g, const Levels *p, Node *x) {
  int64_t rows = distinct_rows(p), levels = p->most ? p->most : 1, most = p->hi[0], least = p->lo[0];
  for (int64_t i = 0; i < p->rows; i++) {
    if (p->hi[i] > most) most = p->hi[i];
    if (p->lo[i] < least) least = p->lo[i];
  }
  bool unused = false;
  for (int64_t i = 0; i < rows; i++) unused = unused || p->row[i].n < levels;
  if (most == INT64_MAX) return NULL;
  Elem e = elem_is_int(x->t.e) ? x->t.e : I32;
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
  Attr a = {.axis = rows > 1 ? p->axis : 0};
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

Node *levels_requant(Graph *g, Arena *scratch, const Levels *p, Node *x) {
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
  Attr a = {.axis = rows > 1 ? p->axis : 0, .shift = shift, .lo = ylo, .hi = yhi};
  return node_new(g, OP_REQUANT, &y, 3, (Node *[]){x, nm, nb}, &a, NULL);
}

/* Entries of a table over the hull of the rows' ranges; 0 where it is too large. */
int64_t levels_table_size(const Levels *p, int64_t *least, int64_t *range) {
  int64_t lo = p->lo[0], hi = p->hi[0];
  for (int64_t i = 1; i < p->rows; i++) {
    if (p->lo[i] < lo) lo = p->lo[i];
    if (p->hi[i] > hi) hi = p->hi[i];
  }
  uint64_t n = (uint64_t)hi - (uint64_t)lo + 1;
  if (n == 0 || n > TABLE_RANGE || n * (uint64_t)p->rows > TABLE_MAX) return 0;
  *least = lo;
  *range = (int64_t)n;
  return (int64_t)n * p->rows;
}

/* y = table[row * range + x - lo]. Entries outside a row's own range are never read. */
Node *levels_table(Graph *g, const Levels *p, LevelsFn *f, void *user, Node *x) {
  int64_t lo, range, size = levels_table_size(p, &lo, &range), dims[MAX_RANK];
  Tensor *t, *o;
  if (!size) return NULL;
  Node *table = const_codes(g, p->result, 1, &size, &t);
  if (!table) return NULL;
  for (int64_t i = 0; i < size; i++) {
    int64_t row = i / range, v = lo + i % range;
    v = v < p->lo[row] ? p->lo[row] : v > p->hi[row] ? p->hi[row] : v;
    tensor_set_i(t, i, f(user, row, v));
  }
  for (int i = 0; i < x->t.rank; i++) dims[i] = i == p->axis ? p->rows : 1;
  Node *offset = const_codes(g, I32, p->rows > 1 ? x->t.rank : 0, dims, &o);
  if (!offset) return NULL;
  for (int64_t i = 0; i < o->n; i++) tensor_set_i(o, i, i * range - lo);
  Node *index = node_cast(g, x, I32);
  if (p->rows > 1 || lo != 0) index = node_map2(g, S_ADD, index, offset);
  return node_gather(g, table, index, 0);
}
