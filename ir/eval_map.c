/* Evaluation of element-wise operators: map, quant, dequant (operands broadcast), thresholds, requant (along an axis). */
#include "ir/eval_impl.h"

#include <assert.h>
#include <math.h>

/* Walk over a node's elements in order, with the offset of each operand's element; adjacent dimensions that every operand
 * crosses evenly are merged, so that the last one is as long as it can be. */
typedef struct Walk {
  int rank;                                /* >= 1 */
  int64_t ext[MAX_RANK], it[MAX_RANK];
  int n_in;
  int64_t stride[3][MAX_RANK], off[3];     /* in elements; 0 along broadcast dimensions */
  int64_t pos;                             /* in the node */
} Walk;

static void walk_dims(Walk *w, const Node *n) {
  int64_t step[3] = {1, 1, 1};
  w->rank = n->t.rank;
  w->n_in = n->n_in;
  for (int i = n->t.rank - 1; i >= 0; i--) {
    w->ext[i] = n->t.d[i].n;
    for (int k = 0; k < n->n_in; k++) {
      int d = i - (n->t.rank - n->in[k]->t.rank);
      int64_t ext = d < 0 ? 1 : n->in[k]->t.d[d].n;
      w->stride[k][i] = ext == 1 ? 0 : step[k];
      step[k] *= ext;
    }
  }
}

static void walk_init(Walk *w, const Node *n) {
  Walk all = {0};
  walk_dims(&all, n);
  *w = (Walk){.n_in = n->n_in};
  for (int i = 0; i < all.rank; i++) {
    if (all.ext[i] == 1) continue;
    int last = w->rank - 1;
    bool even = last >= 0;
    for (int k = 0; even && k < n->n_in; k++) even = w->stride[k][last] == all.stride[k][i] * all.ext[i];
    if (!even) { last = w->rank++; w->ext[last] = 1; }
    w->ext[last] *= all.ext[i];
    for (int k = 0; k < n->n_in; k++) w->stride[k][last] = all.stride[k][i];
  }
  if (w->rank == 0) w->ext[w->rank++] = 1;
}

/* To the next row of the last dimension; false after the last. */
static bool walk_next(Walk *w) {
  w->pos += w->ext[w->rank - 1];
  for (int i = w->rank - 2; i >= 0; i--) {
    for (int k = 0; k < w->n_in; k++) w->off[k] += w->stride[k][i];
    if (++w->it[i] < w->ext[i]) return true;
    for (int k = 0; k < w->n_in; k++) w->off[k] -= w->stride[k][i] * w->ext[i];
    w->it[i] = 0;
  }
  return false;
}

/* Computes v[n_in] -> y for n elements. */
typedef void RunOp(const Node *, Val (*v)[RUN], Val *y, int n);

static bool eval_rows(const Eval *e, RunOp *op) {
  Val v[3][RUN], y[RUN];
  Walk w;
  walk_init(&w, e->n);
  if (e->y->n == 0) return true;
  int last = w.rank - 1;
  do {
    for (int64_t i = 0; i < w.ext[last]; i += RUN) {
      int n = (int)(w.ext[last] - i < RUN ? w.ext[last] - i : RUN);
      for (int k = 0; k < w.n_in; k++) vals_load(e->in[k], w.off[k] + i * w.stride[k][last], w.stride[k][last], v[k], n);
      op(e->n, v, y, n);
      vals_store(e->y, w.pos + i, y, n);
      if ((i & 0xfffff) == 0 && eval_cancelled(e)) return false;
    }
  } while (walk_next(&w));
  return true;
}

static void map_run(const Node *n, Val (*v)[RUN], Val *y, int count) {
  Elem operand = n->in[n->a.scalar == S_SELECT ? 1 : 0]->t.e;
  scalar_run(n->a.scalar, operand, n->t.e, v[0], n->n_in > 1 ? v[1] : NULL, n->n_in > 2 ? v[2] : NULL, y, count);
}

static void quant_rows(const Node *n, Val (*v)[RUN], Val *y, int count) {
  Elem x = n->in[0]->t.e, scale = n->in[1]->t.e, zp = n->n_in > 2 ? n->in[2]->t.e : I32;
  assert(elem_is_float(scale));
  for (int i = 0; !elem_is_float(x) && i < count; i++) v[0][i].f = code_to_float(x, F64, v[0][i].i);
  quant_run(v[0], v[1], n->n_in > 2 ? v[2] : NULL, zp, scale, &n->a, n->t.e, y, count);
}

static void dequant_rows(const Node *n, Val (*v)[RUN], Val *y, int count) {
  Elem zp = n->n_in > 2 ? n->in[2]->t.e : I32;
  assert(elem_is_code(n->in[0]->t.e) && elem_is_float(n->in[1]->t.e));
  dequant_run(v[0], v[1], n->n_in > 2 ? v[2] : NULL, zp, n->in[1]->t.e, n->t.e, y, count);
}

static void quant_grad_rows(const Node *n, Val (*v)[RUN], Val *y, int count) {
  float zp = (float)n->a.fill, lo = (float)n->a.lo, hi = (float)n->a.hi;
  for (int i = 0; i < count; i++) {
    float dy = (float)v[0][i].f, w = (float)v[1][i].f / (float)v[2][i].f, u = w + zp;
    bool inside = lo < u && u < hi;
    float r = u != u ? 0 : rintf(u), q = r < lo ? lo : r > hi ? hi : r;
    y[i].f = n->a.flag ? (double)(dy * (q - zp - (inside ? w : 0))) : inside ? (double)dy : 0;
  }
}

bool eval_map(const Eval *e) { return eval_rows(e, map_run); }
bool eval_quant(const Eval *e) { return eval_rows(e, quant_rows); }
bool eval_dequant(const Eval *e) { return eval_rows(e, dequant_rows); }
bool eval_quant_grad(const Eval *e) { return eval_rows(e, quant_grad_rows); }

/* Along an axis */

/* op sees the channel c and n elements of x of that channel. */
typedef void ChannelOp(const Eval *, const void *user, int64_t c, const Val *x, Val *y, int n);

static bool eval_channels(const Eval *e, ChannelOp *op, const void *user) {
  const Type *t = &e->n->t;
  Val x[RUN], y[RUN];
  int64_t inner = 1, channels = t->rank ? t->d[e->n->a.axis].n : 1;
  for (int i = e->n->a.axis + 1; i < t->rank; i++) inner *= t->d[i].n;
  for (int64_t row = 0, pos = 0; pos < e->y->n; row++, pos += inner) {
    for (int64_t i = 0; i < inner; i += RUN) {
      int n = (int)(inner - i < RUN ? inner - i : RUN);
      vals_load(e->in[0], pos + i, 1, x, n);
      op(e, user, row % channels, x, y, n);
      vals_store(e->y, pos + i, y, n);
    }
    if ((row & 0xfff) == 0 && eval_cancelled(e)) return false;
  }
  return true;
}

/* Element c of an operand that may have one element for all channels. */
static Val channel(const Tensor *t, int64_t c) {
  Val v;
  vals_load(t, t->n == 1 ? 0 : c, 1, &v, 1);
  return v;
}

/* Thresholds as comparable numbers, and whether each row ascends. */
typedef struct Levels { int64_t n; bool is_float, sorted; const Val *t; } Levels;

/* u64 in the order of int64. */
static Val ordered(Elem e, Val v) {
  if (elem_is_u64(e)) v.i ^= INT64_MIN;
  return v;
}
static bool reached(const Levels *l, Val t, Val x) { return l->is_float ? t.f <= x.f : t.i <= x.i; }

static int64_t count_levels(const Levels *l, int64_t row, Val x) {
  int64_t lo = 0, n = 0;
  const Val *t = l->t + row * l->n;
  if (!l->sorted) {
    for (int64_t j = 0; j < l->n; j++) n += reached(l, t[j], x);
    return n;
  }
  for (int64_t hi = l->n; lo < hi;) {
    int64_t mid = lo + (hi - lo) / 2;
    if (reached(l, t[mid], x)) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

static void thresholds_run(const Eval *e, const void *user, int64_t c, const Val *x, Val *y, int n) {
  const Levels *l = user;
  uint64_t base = (uint64_t)channel(e->in[2], c).i, step = (uint64_t)channel(e->in[3], c).i;
  int64_t row = e->in[1]->t.d[0].n == 1 ? 0 : c;
  for (int i = 0; i < n; i++) {
    uint64_t count = (uint64_t)count_levels(l, row, ordered(e->n->in[0]->t.e, x[i]));
    y[i].i = elem_wrap(e->n->t.e, (int64_t)(base + step * count));
  }
}

bool eval_thresholds(const Eval *e) {
  const Tensor *t = e->in[1];
  Type type = t->t;
  type.e = elem_is_float(t->t.e) ? F64 : I64; /* lies as Val does */
  Tensor *copy = eval_tensor(e->ctx, e->n, &type);
  if (!copy) return false;
  Val *v = copy->data;
  Levels l = {.n = t->t.d[1].n, .is_float = elem_is_float(t->t.e), .sorted = true, .t = v};
  for (int64_t i = 0; i < t->n; i++) {
    vals_load(t, i, 1, &v[i], 1);
    v[i] = ordered(t->t.e, v[i]);
    if (i % l.n) l.sorted = l.sorted && reached(&l, v[i - 1], v[i]);
  }
  bool ok = eval_channels(e, thresholds_run, &l);
  tensor_free(copy);
  return ok;
}

static void requant_run(const Eval *e, const void *user, int64_t c, const Val *x, Val *y, int n) {
  (void)user;
  const Attr *a = &e->n->a;
  uint64_t m = (uint64_t)channel(e->in[1], c).i, b = (uint64_t)channel(e->in[2], c).i;
  for (int i = 0; i < n; i++) {
    int64_t v = (int64_t)((uint64_t)x[i].i * m + b) >> (a->shift > 63 ? 63 : a->shift);
    y[i].i = v < a->lo ? a->lo : v > a->hi ? a->hi : v;
  }
}

bool eval_requant(const Eval *e) { return eval_channels(e, requant_run, NULL); }
