/* Contractions of codes with constant weights by adds, subtracts and one shift for each power of two:
 *   sum w*x = sum over e of 2^e * (sum of x where w has digit +2^e  -  sum of x where w has digit -2^e), e downwards,
 * digits canonical and signed, so 0, 1, -1 and powers of two have at most one. A table lists for each row (the weights of one output),
 * exponent and sign the places of its activations, counted from the first that the output reads: zeros cost nothing.
 * Sums of codes may change their order. */
#include "passes/access.h"
#include "passes/contract.h"
#include "passes/lower.h"
#include "passes/shiftadd.h"

#include <string.h>

enum { MOST_PLACES = 1 << 24, MOST_PADDED = 64 };

/* Weights */

static int weight_of(const Node *n) { return node_is_const(n->in[1]) ? 1 : 0; }

/* Extents that the padded first operand needs along each dimension: elements before and after it. */
static bool padding(const Node *n, int64_t *before, int64_t *after) {
  int64_t ext[MAX_ITERS];
  int total = iters_extents(n, ext);
  for (int d = 0; d < n->in[0]->t.rank; d++) {
    const Affine *a = &n->a.iters->acc[0][d];
    int64_t lo = a->base, hi = a->base, far, len = n->in[0]->t.d[d].n;
    for (int i = 0; i < total; i++)
      if (!mul_ok(a->coef[i], ext[i] - 1, &far) || !add_ok(far > 0 ? hi : lo, far, far > 0 ? &hi : &lo)) return false;
    before[d] = lo < 0 ? -lo : 0;
    after[d] = hi >= len ? hi - len + 1 : 0;
    if (before[d] + after[d] > len + MOST_PADDED) return false;
  }
  return true;
}

bool shift_possible(const Node *n, const char **why) {
  int64_t before[MAX_RANK], after[MAX_RANK], places = 1, ext[MAX_ITERS];
  if (n->a.scalar != S_MUL || n->n_in != 2) return *why = "not a product of two codes", false;
  if (elem_is_float(n->in[0]->t.e) || elem_is_float(n->in[1]->t.e) || elem_is_float(n->t.e)) return *why = "operands are floats", false;
  int w = weight_of(n), act = 1 - w;
  if (!node_is_const(n->in[w])) return *why = "no operand is constant", false;
  for (int k = 0; k < 2; k++)
    if ((n->in[k]->t.e.kind == EK_BASES && n->in[k]->t.e.bits > 1) || (n->in[k]->t.e.kind == EK_UINT && n->in[k]->t.e.bits == 64))
      return *why = "codes are not numbers of 64 bits", false;
  if (!access_inside(n, w)) return *why = "weights accessed outside", false;
  for (int d = 0; d < n->in[act]->t.rank; d++)
    if (n->a.iters->acc[act][d].div != 1) return *why = "activations are not a fixed step apart", false;
  if (!access_inside(n, act) && (act || !padding(n, before, after))) return *why = "too much lies outside the activations", false;
  int total = iters_extents(n, ext);
  for (int i = 0; i < total; i++) {
    bool row = i < n->a.iters->n_out;
    for (int d = 0; row && d < n->in[w]->t.rank; d++)
      if (n->a.iters->acc[w][d].coef[i]) row = false;
    if (!row && (!mul_ok(places, ext[i], &places) || places > MOST_PLACES)) return *why = "too many weights", false;
  }
  return true;
}

double shift_terms(const Node *n, double *lists) {
  Digit d[64];
  const Tensor *w = n->in[weight_of(n)]->a.value;
  double digits = 0, outputs = contract_macs(n);
  bool used[64][2] = {{false}};
  for (int64_t i = 0; i < w->n; i++) {
    int k = csd_digits(tensor_i(w, i), d);
    digits += k;
    while (k-- > 0) used[d[k].exp][d[k].sign < 0] = true;
  }
  for (int j = 0; j < n->a.iters->n_red; j++) outputs /= (double)n->a.iters->red[j].n;
  *lists = 0;
  for (int e = 0; e < 64; e++) *lists += outputs * (used[e][0] + used[e][1]);
  return w->n ? digits / (double)w->n * contract_macs(n) : 0;
}

/* Two bytes a place: one where all of them are near. */
double shift_bytes(const Node *n, const Target *t) {
  double lists, outputs = contract_macs(n), terms = shift_terms(n, &lists), weights = (double)n->in[weight_of(n)]->a.value->n;
  (void)t;
  return outputs > 0 ? 2 * (terms + lists) * weights / outputs : 0;
}

Node *layout_shift(Graph *g, const Node *n, Node *const *in) {
  int64_t before[MAX_RANK] = {0}, after[MAX_RANK] = {0};
  Affine acc[2][MAX_RANK];
  Iters it = *n->a.iters;
  Node *x[2] = {in[0], in[1]};
  if (access_inside(n, 0) || !padding(n, before, after)) return NULL;
  for (int k = 0; k < 2; k++) {
    memcpy(acc[k], n->a.iters->acc[k], sizeof(Affine) * n->in[k]->t.rank);
    it.acc[k] = acc[k];
  }
  Elem e = x[0]->t.e;
  if (!code_fits(e, (int64_t)n->a.fill) || e.kind == EK_BASES || e.kind == EK_SHIFT) { /* the fill must be a number of the type */
    int64_t fill = (int64_t)n->a.fill;
    x[0] = node_cast(g, x[0], elem_for_range(fill < elem_lo(e) ? fill : elem_lo(e), fill > elem_hi(e) ? fill : elem_hi(e)));
  }
  x[0] = node_pad(g, x[0], before, after, n->a.fill);
  for (int d = 0; d < x[0]->t.rank; d++) acc[0][d].base += before[d];
  Attr a = n->a;
  a.iters = &it;
  return node_new(g, OP_CONTRACT, &n->t, 2, x, &a, NULL);
}

/* Tables */

typedef struct Group { int exp, sign; } Group; /* one list of places per row */
typedef struct ShiftTable {
  const Node *n;
  Group group[128]; int n_groups; /* those that some row has, exponents downwards */
  int rows[MAX_ITERS]; int64_t stride[MAX_ITERS], n_rows; /* output iterators that choose the row, and their strides */
  int64_t first;              /* place of the first activation that an output reads, from where all reductions are 0; <= 0 */
  int64_t far;                /* greatest place */
  int starts, places;         /* buffers */
} ShiftTable;

/* Step of each iterator through the activations, row-major. */
static void steps_of(const Node *n, int k, int64_t *step) {
  int64_t stride = 1;
  memset(step, 0, sizeof *step * MAX_ITERS);
  for (int d = n->in[k]->t.rank - 1; d >= 0; d--) {
    for (int i = 0; i < n->a.iters->n_out + n->a.iters->n_red; i++) step[i] += stride * n->a.iters->acc[k][d].coef[i];
    stride *= n->in[k]->t.d[d].n;
  }
}

static int64_t base_of(const Node *n, int k) {
  int64_t stride = 1, base = 0;
  for (int d = n->in[k]->t.rank - 1; d >= 0; d--) base += stride * n->a.iters->acc[k][d].base, stride *= n->in[k]->t.d[d].n;
  return base;
}

typedef struct Term1 { int64_t at; int8_t sign; uint8_t exp; } Term1; /* sign*2^exp * activation */
typedef VEC(Term1) Terms;

/* Digits of one row's weights, in the order of the activations. */
static void row_places(Lower *l, const ShiftTable *t, int64_t row, const int64_t *wstep, const int64_t *xstep, Terms *v) {
  const Node *n = t->n;
  const Iters *its = n->a.iters;
  const Tensor *w = n->in[weight_of(n)]->a.value;
  int64_t r[MAX_ITERS] = {0}, at = base_of(n, weight_of(n));
  Digit d[64];
  for (int i = 0; i < its->n_out; i++)
    if (t->rows[i]) at += row / t->stride[i] % n->t.d[i].n * wstep[i];
  v->n = 0;
  for (bool more = true; more;) {
    int64_t wi = at, xi = -t->first;
    for (int j = 0; j < its->n_red; j++) wi += r[j] * wstep[its->n_out + j], xi += r[j] * xstep[its->n_out + j];
    int k = csd_digits(tensor_i(w, wi), d);
    for (int i = 0; i < k; i++) vec_push(l->tmp, v, ((Term1){xi, d[i].sign, d[i].exp}));
    int j = its->n_red - 1;
    for (; j >= 0 && ++r[j] == its->red[j].n; j--) r[j] = 0;
    more = j >= 0;
  }
}

static int rom_of(Lower *l, const Node *n, const char *name, Elem e, const int64_t *v, int64_t count) {
  size_t size = store_size(elem_store(e));
  char *data = arena_alloc(l->p->arena, size * (size_t)(count + 1));
  for (int64_t i = 0; i < count; i++) {
    if (size == 1) data[i] = (char)v[i];
    else if (size == 2) ((uint16_t *)(void *)data)[i] = (uint16_t)v[i];
    else ((int32_t *)(void *)data)[i] = (int32_t)v[i];
  }
  return program_buf(l->p, nest_name(l->p, name, n->loc.name ? n->loc.name : "const"), e, SP_ROM, count, data);
}

static Elem narrow(int64_t most) { return most < 256 ? U8 : most < 65536 ? UINTK(16) : I32; }

/* The row's number and what is walked from the first reduction on. */
static void table_shape(ShiftTable *t, const int64_t *xstep) {
  const Node *n = t->n;
  const Iters *its = n->a.iters;
  int w = weight_of(n);
  t->n_rows = 1;
  for (int i = its->n_out - 1; i >= 0; i--) {
    for (int d = 0; d < n->in[w]->t.rank; d++) t->rows[i] = t->rows[i] || its->acc[w][d].coef[i];
    if (!t->rows[i]) continue;
    t->stride[i] = t->n_rows;
    t->n_rows *= n->t.d[i].n;
  }
  for (int j = 0; j < its->n_red; j++) {
    int64_t far = xstep[its->n_out + j] * (its->red[j].n - 1);
    if (far < 0) t->first += far;
    else t->far += far;
  }
  t->far -= t->first;
}

static ShiftTable *table_new(Lower *l, const Node *n) {
  ShiftTable *t = NEW(l->tmp, ShiftTable);
  int64_t wstep[MAX_ITERS], xstep[MAX_ITERS], size = 1, total = 0, k = 0;
  bool used[64][2] = {{false}};
  *t = (ShiftTable){.n = n};
  steps_of(n, weight_of(n), wstep);
  steps_of(n, 1 - weight_of(n), xstep);
  table_shape(t, xstep);
  Terms v = {0};
  for (int j = 0; j < n->a.iters->n_red; j++) size *= n->a.iters->red[j].n;
  if (size == 0) return t;
  for (int64_t r = 0; r < t->n_rows; r++) {
    row_places(l, t, r, wstep, xstep, &v);
    for (int i = 0; i < v.n; i++) used[v.p[i].exp][v.p[i].sign < 0] = true;
    total += v.n;
  }
  for (int e = 63; e >= 0; e--)
    for (int s = 0; s < 2; s++)
      if (used[e][s]) t->group[t->n_groups++] = (Group){e, s ? -1 : 1};
  int64_t *places = NEWN(l->tmp, int64_t, total + 1), *starts = NEWN(l->tmp, int64_t, t->n_rows * t->n_groups + 1);
  for (int64_t r = 0; r < t->n_rows; r++) {
    row_places(l, t, r, wstep, xstep, &v);
    for (int q = 0; q < t->n_groups; q++) {
      starts[r * t->n_groups + q] = k;
      for (int i = 0; i < v.n; i++)
        if (v.p[i].exp == t->group[q].exp && v.p[i].sign == t->group[q].sign) places[k++] = v.p[i].at;
    }
  }
  starts[t->n_rows * t->n_groups] = k;
  if (t->n_groups) {
    t->starts = rom_of(l, n, "starts", narrow(total), starts, t->n_rows * t->n_groups + 1);
    t->places = rom_of(l, n, "places", narrow(t->far), places, total);
  }
  return t;
}

/* Both runs of a nest use one table. */
static const ShiftTable *table_of(Lower *l, const Node *n) {
  for (int i = 0; i < l->shifts.n; i++)
    if (l->shifts.p[i]->n == n) return l->shifts.p[i];
  ShiftTable *t = table_new(l, n);
  vec_push(l->tmp, &l->shifts, t);
  return t;
}

/* Code */

static Expr *read_rom(Lower *l, const char *name, int buf, Lin at) {
  return let(l, name, nx_cast(l->p, nx_load(l->p, buf, lin_expr(l, lin_within(at, 0, l->p->bufs[buf].n - 1)), 1), l->p->index));
}

/* acc := acc +- activations at the places first..end-1. */
static void add_places(Lower *l, const ShiftTable *t, int x, Lin base, int acc, int sign, Expr *first, Expr *end) {
  Program *p = l->p;
  int var = nest_var(p, l->nest, "k", nt(p->index), true);
  Stmt *loop = ns_for(p, l->at, var, first, end, 1, t->far + 1);
  Scope s = block_enter(l, &loop->body);
  Lin k = lin_atom(l, nx_var(p, l->nest, var), 0, p->bufs[t->places].n - 1);
  Lin at = lin_mad(l, base, lin_atom(l, read_rom(l, "at", t->places, k), 0, t->far), 1);
  Expr *sum = nx_var(p, l->nest, acc), *v = nx_load(p, x, lin_expr(l, lin_within(at, 0, p->bufs[x].n - 1)), 1);
  ns_set(p, l->at, acc, nx2(p, sign < 0 ? S_SUB : S_ADD, sum, nx_cast(p, v, sum->t.e)));
  block_leave(l, s);
}

Expr *shift_expr(Lower *l, const Node *n, const Lin *idx) {
  Program *p = l->p;
  const ShiftTable *t = table_of(l, n);
  NType acc = nt(contract_elem(l, n));
  const Node *x = n->in[1 - weight_of(n)];
  int64_t step[MAX_ITERS];
  while (x->op == OP_RESHAPE && l->buf[x->id] < 0) x = x->in[0];
  int buf = node_is_const(x) ? rom_buf(l, x) : l->buf[x->id];
  Lin base = lin_c(base_of(n, 1 - weight_of(n)) + t->first), row = lin_c(0);
  steps_of(n, 1 - weight_of(n), step);
  for (int i = 0; i < n->a.iters->n_out; i++) {
    base = lin_mad(l, base, idx[i], step[i]);
    if (t->rows[i]) row = lin_mad(l, row, idx[i], t->stride[i] * t->n_groups);
  }
  int var = nest_var(p, l->nest, "acc", acc, false), exp = t->n_groups ? t->group[0].exp : 0;
  ns_vardef(p, l->at, var, contract_zero(l, acc.e));
  Expr *sum = nx_var(p, l->nest, var), *first = NULL;
  base = lin_atom(l, let(l, "base", lin_expr(l, base)), base.lo, base.hi);
  for (int q = 0; q < t->n_groups; q++) {
    if (!first) first = read_rom(l, "from", t->starts, lin_mad(l, row, lin_c(q), 1));
    Expr *end = read_rom(l, "to", t->starts, lin_mad(l, row, lin_c(q + 1), 1));
    if (t->group[q].exp < exp) ns_set(p, l->at, var, nx2(p, S_SHL, sum, nx_const_i(p, acc, exp - t->group[q].exp)));
    exp = t->group[q].exp;
    add_places(l, t, buf, base, var, t->group[q].sign, first, end);
    first = end;
  }
  if (exp) ns_set(p, l->at, var, nx2(p, S_SHL, sum, nx_const_i(p, acc, exp)));
  return contract_result(l, n, sum);
}
