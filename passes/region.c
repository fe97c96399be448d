#include "passes/region.h"

#include "passes/access.h"

#include <math.h>
#include <string.h>

__extension__ typedef __int128 wide;

static bool fits_shape(const Type *a, const Type *top) {
  if (a->rank != top->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (!dim_eq(a->d[i], top->d[i]) && !dim_eq(a->d[i], dim_c(1))) return false;
  return true;
}

static bool plain_code(Elem e) {
  return elem_is_code(e) && !(e.kind == EK_BASES && e.bits > 1) && !(e.kind == EK_UINT && e.bits == 64);
}

/* A step computes its elements one by one from its non-constant operands. */
static bool is_step(const Node *n) {
  switch (n->op) {
  case OP_MAP: return n->a.scalar != S_BITS;
  case OP_QUANT: return node_is_const(n->in[1]) && (n->n_in < 3 || node_is_const(n->in[2]));
  case OP_DEQUANT: return plain_code(n->in[0]->t.e) && node_is_const(n->in[1]) && (n->n_in < 3 || node_is_const(n->in[2]));
  case OP_THRESHOLDS: return node_is_const(n->in[1]) && node_is_const(n->in[2]) && node_is_const(n->in[3]);
  case OP_REQUANT: return node_is_const(n->in[1]) && node_is_const(n->in[2]);
  default: return false;
  }
}

enum { STEPS_MAX = 64 };

typedef struct Walk {
  Arena *a;
  const Node *stop;      /* fixed base, or NULL */
  uint32_t above;        /* code values with an id below this are leaves; those from it on are steps */
  VEC(const Node *) found;
  int most;              /* leaves looked for; above 1 they, and steps, may have dimensions of 1 */
  const Node *leaf[LEAVES_MAX];
  int n_leaf;
  bool ok;
} Walk;

static void walk_leaf(Walk *w, const Node *x) {
  for (int i = 0; i < w->n_leaf; i++)
    if (w->leaf[i] == x) return;
  if (w->n_leaf == w->most) w->ok = false;
  else w->leaf[w->n_leaf++] = x;
}

static void walk_add(Walk *w, const Node *n) {
  for (int i = 0; i < w->found.n; i++)
    if (w->found.p[i] == n) return;
  vec_push(w->a, &w->found, n);
}

/* Collects the steps above `top`; found is its own work list. */
static void walk(Walk *w, const Node *top) {
  walk_add(w, top);
  for (int i = 0; i < w->found.n && w->ok; i++) {
    const Node *n = w->found.p[i];
    for (int k = 0; k < n->n_in && w->ok; k++) {
      const Node *x = n->in[k];
      if (node_is_const(x)) continue;
      bool leaf = w->stop ? x == w->stop : elem_is_code(x->t.e) && x->t.e.kind != EK_BOOL && x->id < w->above;
      bool shaped = w->most > 1 ? fits_shape(&x->t, &top->t) : type_shape_eq(&x->t, &top->t);
      if (leaf) {
        w->ok = shaped && (w->stop || plain_code(x->t.e));
        if (w->ok) walk_leaf(w, x);
      } else {
        w->ok = is_step(x) && shaped && w->found.n < STEPS_MAX;
        if (w->ok) walk_add(w, x);
      }
    }
  }
  w->ok = w->ok && w->n_leaf > 0;
}

/* Dimensions along which a constant operand of n varies; for thresholds and requant that of their rows. False where one is unknown. */
static bool operand_axes(const Node *n, int k, uint32_t *axes) {
  const Tensor *t = n->in[k]->a.value;
  uint32_t set = 0;
  if (n->op != OP_THRESHOLDS && n->op != OP_REQUANT) {
    set = const_varies(t, n->t.rank);
    if (t->n == 0) return false;
  } else if (t->t.rank > 0 && t->t.d[0].n != 1) set = 1u << n->a.axis;
  for (int i = 0; i < n->t.rank; i++)
    if (set >> i & 1 && n->t.d[i].sym) return false;
  *axes |= set;
  return true;
}

/* positions: constants may vary along several dimensions, rows are then all their positions. */
static bool region_make(Walk *w, bool positions, Region *r) {
  const Node *top = w->found.p[0];
  *r = (Region){.base = w->leaf[0], .first = w->n_leaf, .rows = 1, .row = -1, .arena = w->a};
  r->n = w->found.n + r->first;
  r->step = NEWN(w->a, RegionStep, r->n);
  r->k = arena_alloc(w->a, sizeof *r->k * (size_t)r->n);
  r->v = arena_alloc(w->a, sizeof *r->v * (size_t)r->n);
  for (int i = 1; i < w->found.n; i++) /* into the order of computing: by id */
    for (int j = i; j > 0 && w->found.p[j]->id < w->found.p[j - 1]->id; j--) {
      const Node *t = w->found.p[j];
      w->found.p[j] = w->found.p[j - 1];
      w->found.p[j - 1] = t;
    }
  for (int i = 0; i < w->n_leaf; i++) r->step[i].n = r->leaf[i] = w->leaf[i];
  for (int i = r->first; i < r->n; i++) {
    RegionStep *s = &r->step[i];
    s->n = w->found.p[i - r->first];
    for (int k = 0; k < s->n->n_in && k < 3; k++) {
      s->in[k] = -1;
      for (int j = 0; j < i; j++)
        if (s->n->in[k] == r->step[j].n) s->in[k] = j;
      if (s->in[k] < 0 && !operand_axes(s->n, k, &r->axes)) return false;
    }
  }
  bool several = r->axes & (r->axes - 1);
  if (several && !positions) return false;
  for (int i = 0; i < top->t.rank; i++)
    if (r->axes >> i & 1 && !mul_ok(r->rows, top->t.d[i].n, &r->rows)) return false;
  for (int i = r->first; several && i < r->n; i++)
    if (r->step[i].n->op == OP_THRESHOLDS || r->step[i].n->op == OP_REQUANT) return false;
  r->axis = r->axes ? __builtin_ctz(r->axes) : 0;
  return true;
}

bool region_find(Arena *a, const Node *top, const Node *base, Region *r) {
  Walk w = {.a = a, .stop = base, .above = top->id, .most = 1, .ok = true};
  if (!is_step(top)) return false;
  walk(&w, top);
  return w.ok && region_make(&w, false, r);
}

bool region_find_positions(Arena *a, const Node *top, Region *r) {
  Walk w = {.a = a, .above = top->id, .most = 1, .ok = true};
  if (!is_step(top)) return false;
  walk(&w, top);
  return w.ok && region_make(&w, true, r);
}

bool region_find_leaves(Arena *a, const Node *top, Region *r) {
  Walk w = {.a = a, .above = top->id, .most = LEAVES_MAX, .ok = true};
  if (!is_step(top)) return false;
  walk(&w, top);
  for (int d = 0; w.ok && d < top->t.rank; d++) { /* the leaves alone have the top's shape */
    bool full = false;
    for (int i = 0; i < w.n_leaf; i++) full = full || dim_eq(w.leaf[i]->t.d[d], top->t.d[d]);
    w.ok = full;
  }
  return w.ok && region_make(&w, false, r);
}

bool region_extend(Arena *a, const Region *r, const int *uses, Region *higher) {
  const Node *top = r->step[r->n - 1].n;
  Walk w = {.a = a, .above = r->base->id, .most = 1, .ok = true};
  int inside = 0;
  if (!is_step(r->base)) return false;
  for (int i = 1; i < r->n; i++)
    for (int k = 0; k < r->step[i].n->n_in; k++) inside += r->step[i].n->in[k] == r->base;
  if (uses[r->base->id] != inside) return false;
  walk(&w, top);
  return w.ok && region_make(&w, false, higher);
}

static Val tensor_val(const Tensor *t, int64_t i) {
  Val v;
  if (elem_is_float(t->t.e)) v.f = tensor_f(t, i);
  else v.i = tensor_i(t, i);
  return v;
}

static void load_row(Region *r, int64_t row) {
  const Node *top = r->step[r->n - 1].n;
  int64_t idx[MAX_RANK] = {0}, left = row;
  for (int d = top->t.rank - 1; d >= 0; d--) {
    if (!(r->axes >> d & 1)) continue;
    idx[d] = left % top->t.d[d].n;
    left /= top->t.d[d].n;
  }
  for (int i = r->first; i < r->n; i++) {
    const Node *n = r->step[i].n;
    if (n->op == OP_THRESHOLDS || n->op == OP_REQUANT) continue;
    for (int k = 0; k < n->n_in; k++)
      if (r->step[i].in[k] < 0) r->k[i][k] = tensor_val(n->in[k]->a.value, bcast_index(&n->in[k]->t, n->t.rank, idx));
  }
  r->row = row;
}

bool region_alike(Region *r, int64_t row, int64_t other) {
  Val (*k)[3] = arena_alloc(r->arena, sizeof *k * (size_t)r->n);
  load_row(r, row);
  memcpy(k, r->k, sizeof *k * (size_t)r->n);
  load_row(r, other);
  return !memcmp(k, r->k, sizeof *k * (size_t)r->n);
}

static int64_t row_of(const Tensor *t, int64_t row) { return t->n == 1 || t->t.d[0].n == 1 ? 0 : row; }

/* On n values x. */
static void thresholds_run(const Node *n, int64_t row, const Val *x, Val *y, int count) {
  const Tensor *t = n->in[1]->a.value;
  int64_t levels = t->t.d[1].n, at = (t->t.d[0].n == 1 ? 0 : row) * levels;
  int64_t base = tensor_i(n->in[2]->a.value, row_of(n->in[2]->a.value, row)), step = tensor_i(n->in[3]->a.value, row_of(n->in[3]->a.value, row));
  bool floats = elem_is_float(n->in[0]->t.e);
  int64_t reached[REGION_RUN] = {0};
  for (int64_t j = 0; j < levels; j++) {
    Val v = tensor_val(t, at + j);
    for (int i = 0; i < count; i++) reached[i] += floats ? v.f <= x[i].f : v.i <= x[i].i;
  }
  for (int i = 0; i < count; i++) y[i].i = base + step * reached[i];
}

static void requant_run(const Node *n, int64_t row, const Val *x, Val *y, int count) {
  int64_t m = tensor_i(n->in[1]->a.value, row_of(n->in[1]->a.value, row)), b = tensor_i(n->in[2]->a.value, row_of(n->in[2]->a.value, row));
  for (int i = 0; i < count; i++) {
    int64_t v = (int64_t)((uint64_t)x[i].i * (uint64_t)m + (uint64_t)b) >> n->a.shift;
    y[i].i = v < n->a.lo ? n->a.lo : v > n->a.hi ? n->a.hi : v;
  }
}

/* Step i on n values. */
static void step_run(const Region *r, int i, int n) {
  const RegionStep *s = &r->step[i];
  const Node *p = s->n;
  Val same[3][REGION_RUN], *y = r->v[i];
  const Val *a[3] = {NULL, NULL, NULL};
  if (p->op == OP_THRESHOLDS) { thresholds_run(p, r->row, r->v[s->in[0]], y, n); return; }
  if (p->op == OP_REQUANT) { requant_run(p, r->row, r->v[s->in[0]], y, n); return; }
  for (int k = 0; k < p->n_in; k++) {
    for (int j = 0; s->in[k] < 0 && j < n; j++) same[k][j] = r->k[i][k];
    a[k] = s->in[k] < 0 ? same[k] : r->v[s->in[k]];
  }
  if (p->op == OP_MAP) {
    scalar_run(p->a.scalar, p->in[p->a.scalar == S_SELECT ? 1 : 0]->t.e, p->t.e, a[0], a[1], a[2], y, n);
    return;
  }
  Elem scale = p->in[1]->t.e, zp = p->n_in > 2 ? p->in[2]->t.e : p->t.e;
  if (p->op == OP_QUANT) quant_run(a[0], a[1], a[2], zp, scale, &p->a, p->t.e, y, n);
  else dequant_run(a[0], a[1], a[2], zp, scale, p->t.e, y, n);
}

const Val *region_run(Region *r, int64_t row, int n) {
  if (r->row != row) load_row(r, row);
  for (int i = r->first; i < r->n; i++) step_run(r, i, n);
  return r->v[r->n - 1];
}

Val region_eval_leaves(Region *r, int64_t row, const Val *x) {
  for (int i = 0; i < r->first; i++) r->v[i][0] = x[i];
  return *region_run(r, row, 1);
}

Val region_eval(Region *r, int64_t row, Val x) { return region_eval_leaves(r, row, &x); }

static int sign_of(double v) { return v > 0 ? 1 : v < 0 ? -1 : 0; }

/* What a select chooses: where its condition is the same everywhere, the direction of one operand. */
static int select_direction(const Region *r, int i, const int *dir) {
  const RegionStep *s = &r->step[i];
  if (s->in[0] >= 0 && dir[s->in[0]] != 2) return 0;
  int k = (s->in[0] >= 0 ? r->v[s->in[0]][0].i : r->k[i][0].i) ? 1 : 2;
  return s->in[k] >= 0 ? dir[s->in[k]] : 2;
}

/* Direction of step i from those of its operands, given finite constants: 1, -1; 0 unknown; 2 constant. The values are those at both ends. */
static int step_direction(const Region *r, int i, const int *dir) {
  const RegionStep *s = &r->step[i];
  const Node *n = s->n;
  bool floats = elem_is_float(n->in[0]->t.e);
  if (node_is_map(n, S_SELECT)) return select_direction(r, i, dir);
  int d[3] = {2, 2, 2};
  double k[3] = {0};
  for (int j = 0; j < n->n_in && j < 3; j++) {
    if (s->in[j] >= 0) d[j] = dir[s->in[j]];
    if (s->in[j] >= 0 && d[j] == 2) k[j] = elem_is_float(n->in[j]->t.e) ? r->v[s->in[j]]->f : (double)r->v[s->in[j]]->i;
    else if (s->in[j] < 0 && (n->op == OP_MAP || n->op == OP_QUANT || n->op == OP_DEQUANT))
      k[j] = elem_is_float(n->in[j]->t.e) ? r->k[i][j].f : (double)r->k[i][j].i;
    if (d[j] == 0) return 0;
    if (!isfinite(k[j]) && !(n->op == OP_MAP && !isnan(k[j]) && (n->a.scalar == S_MAX || n->a.scalar == S_MIN))) return 0;
  }
  if (n->op == OP_QUANT || n->op == OP_DEQUANT) { /* infinite or zero scales were refused, or give a constant */
    int g = sign_of(k[1]);
    return s->in[1] >= 0 || s->in[2] > 0 || (n->op == OP_QUANT && g == 0) ? 0 : g == 0 || d[0] == 2 ? 2 : g * d[0];
  }
  if (n->op == OP_THRESHOLDS) {
    int g = sign_of((double)tensor_i(n->in[3]->a.value, row_of(n->in[3]->a.value, r->row)));
    return g == 0 || d[0] == 2 ? 2 : g * d[0];
  }
  if (n->op == OP_REQUANT) {
    int g = sign_of((double)tensor_i(n->in[1]->a.value, row_of(n->in[1]->a.value, r->row)));
    return g == 0 || d[0] == 2 ? 2 : g * d[0];
  }
  bool both = d[0] != 2 && d[1] != 2 && n->n_in > 1;
  int one = d[0] != 2 ? d[0] : d[1];
  double other = d[0] != 2 ? k[1] : k[0];
  switch (n->a.scalar) {
  case S_ADD: case S_MAX: case S_MIN: return both && d[0] != d[1] ? 0 : one;
  case S_SUB: return both ? (d[0] == -d[1] ? d[0] : 0) : d[0] != 2 ? d[0] : d[1] == 2 ? 2 : -d[1];
  case S_MUL: return both ? 0 : sign_of(other) == 0 || one == 2 ? 2 : one * sign_of(other);
  case S_DIV: return both || d[1] != 2 || k[1] == 0 ? 0 : d[0] == 2 ? 2 : d[0] * sign_of(k[1]);
  case S_NEG: return d[0] == 2 ? 2 : -d[0];
  case S_FLOOR: case S_CEIL: case S_TRUNC: case S_ROUND: case S_SQRT: case S_SIGN: return d[0];
  case S_CAST: return n->t.e.kind == EK_BOOL || n->t.e.kind == EK_SHIFT || n->t.e.kind == EK_BASES ? 0 : d[0];
  case S_LT: case S_LE: return one == 2 || (both && d[0] != -d[1]) ? (one == 2 ? 2 : 0) : r->v[i][0].i == r->v[i][1].i ? 2 : d[0] != 2 ? -d[0] : d[1];
  case S_SHR: return floats || both || d[0] == 2 || k[1] < 0 ? 0 : d[0];
  default: return 0;
  }
}

/* At end e of the base's range: finite (then all between is, by monotony), and integer steps that did not wrap. */
static bool end_sound(const Region *r, int e) {
  for (int i = r->first; i < r->n; i++) {
    const RegionStep *s = &r->step[i];
    const Node *n = s->n;
    if (elem_is_float(n->t.e)) {
      if (!isfinite(r->v[i][e].f)) return false;
      continue;
    }
    if (n->op != OP_MAP || elem_is_float(n->in[0]->t.e)) continue;
    wide a[3] = {0}, y;
    for (int k = 0; k < n->n_in; k++) a[k] = s->in[k] < 0 ? r->k[i][k].i : r->v[s->in[k]][e].i;
    switch (n->a.scalar) {
    case S_ADD: y = a[0] + a[1]; break;
    case S_SUB: y = a[0] - a[1]; break;
    case S_MUL: y = a[0] * a[1]; break;
    case S_NEG: y = -a[0]; break;
    case S_CAST: y = a[0]; break;
    case S_DIV: y = a[1] ? a[0] / a[1] : 0; break;
    default: continue;
    }
    if (y != r->v[i][e].i) return false;
  }
  return true;
}

/* Directions of all steps where leaf k is in lo..hi and the others at x; that of the top. */
static int directions(Region *r, int64_t row, int k, const Val *x, Val lo, Val hi, int *dir) {
  for (int i = 0; i < r->first; i++) {
    r->v[i][0] = i == k ? lo : x[i];
    r->v[i][1] = i == k ? hi : x[i];
    dir[i] = i == k ? 1 : 2;
  }
  region_run(r, row, 2);
  for (int i = r->first; i < r->n; i++) dir[i] = 0;
  if (!end_sound(r, 0) || !end_sound(r, 1)) return 0;
  for (int i = r->first; i < r->n; i++) dir[i] = step_direction(r, i, dir);
  return dir[r->n - 1];
}

int region_direction(Region *r, int64_t row, Val lo, Val hi) {
  Val x;
  return region_direction_in(r, row, 0, &x, lo, hi);
}

int region_direction_in(Region *r, int64_t row, int k, Val *x, Val lo, Val hi) {
  int dir[STEPS_MAX + LEAVES_MAX];
  int y = directions(r, row, k, x, lo, hi, dir);
  x[k] = hi;
  for (int i = r->first; i < r->n; i++)
    if (dir[i] == 0) return 0;
  return y == 2 ? 1 : y;
}

/* One direction of two pieces, or of a piece and the step to the next; 2: constant. */
static int join(int a, int b) { return a == 2 || a == b ? b : b == 2 ? a : 0; }

static int climb(Region *r, int64_t row, int64_t lo, int64_t hi, int depth) {
  int dir[STEPS_MAX + LEAVES_MAX], at = r->first;
  int y = directions(r, row, 0, NULL, (Val){.i = lo}, (Val){.i = hi}, dir);
  if (y) return y;
  while (at < r->n && !((dir[at] == 1 || dir[at] == -1) && (node_is_map(r->step[at].n, S_LT) || node_is_map(r->step[at].n, S_LE)))) at++;
  if (at == r->n || depth == 0) return 0;
  int64_t a = lo, b = hi, first = r->v[at][0].i;
  while (b - 1 != a) { /* where the comparison turns */
    int64_t m = (int64_t)((uint64_t)a + ((uint64_t)b - (uint64_t)a) / 2);
    region_eval(r, row, (Val){.i = m});
    if (r->v[at][0].i == first) a = m;
    else b = m;
  }
  int64_t before = region_eval(r, row, (Val){.i = a}).i, behind = region_eval(r, row, (Val){.i = b}).i;
  int left = climb(r, row, lo, a, depth - 1);
  if (left == 0) return 0;
  left = join(left, behind > before ? 1 : behind < before ? -1 : 2);
  return left ? join(left, climb(r, row, b, hi, depth - 1)) : 0;
}

int region_climb(Region *r, int64_t row, int64_t lo, int64_t hi) {
  enum { TURNS = 8 };
  int y = climb(r, row, lo, hi, TURNS);
  return y == 2 ? 1 : y;
}
