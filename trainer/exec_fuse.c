/* Groups of element-wise nodes, computed a block of elements at a time so that what lies between them never leaves the first cache.
 * Every node of a group has a register: a slot of one block, or the part of its buffer where others read it; an operand that repeats (a
 * scalar, one number per channel) is spread into a slot, once where the pattern divides the block. */
#include "trainer/exec_impl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const Loops *loops_best(void) {
#ifdef POPSHIFT_X86_LOOPS
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) return &loops_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &loops_avx2;
#endif
  return &loops_plain;
}

/* What can be in a group */

bool small_code(Elem e) { return elem_is_code(e) && e.bits <= 22 && !(e.kind == EK_BASES && e.bits > 1); }
static bool number(Elem e) { return elem_eq(e, F32) || small_code(e); }

/* The exact result of an operation on codes is a number of its type: it never wraps. */
static bool never_wraps(const Node *n) {
  double lo[3] = {0}, hi[3] = {0}, l, h;
  for (int k = 0; k < n->n_in; k++) lo[k] = (double)elem_lo(n->in[k]->t.e), hi[k] = (double)elem_hi(n->in[k]->t.e);
  switch (n->a.scalar) {
  case S_ADD: l = lo[0] + lo[1], h = hi[0] + hi[1]; break;
  case S_SUB: l = lo[0] - hi[1], h = hi[0] - lo[1]; break;
  case S_MUL: h = fmax(fmax(lo[0] * lo[1], hi[0] * hi[1]), fmax(lo[0] * hi[1], hi[0] * lo[1]));
              l = fmin(fmin(lo[0] * lo[1], hi[0] * hi[1]), fmin(lo[0] * hi[1], hi[0] * lo[1])); break;
  case S_MAX: case S_MIN: l = fmin(lo[0], lo[1]), h = fmax(hi[0], hi[1]); break;
  case S_CAST: l = lo[0], h = hi[0]; break;
  case S_SELECT: l = fmin(lo[1], lo[2]), h = fmax(hi[1], hi[2]); break;
  default: return false;
  }
  return l >= (double)elem_lo(n->t.e) && h <= (double)elem_hi(n->t.e);
}

static bool map_fusable(const Node *n) {
  Scalar s = n->a.scalar;
  Elem x = n->in[s == S_SELECT]->t.e, y = n->t.e;
  for (int k = 0; k < n->n_in; k++) if (!number(n->in[k]->t.e)) return false;
  if (!number(y)) return false;
  if (s == S_AND || s == S_OR || s == S_XOR || s == S_NOT) return elem_eq(x, BOOL);
  if (s == S_CAST && elem_eq(x, F32)) return elem_eq(y, F32);
  if (s == S_CAST && elem_eq(y, F32)) return true;
  if (scalar_info[s].result == 'B') return s == S_EQ || s == S_LT || s == S_LE || elem_eq(x, F32);
  if (elem_eq(x, F32)) return s != S_BITS;
  return never_wraps(n);
}

bool view_spreads(const Node *n, Type *t) {
  const Type *x = &n->in[0]->t;
  int before = -1;
  *t = (Type){.e = x->e, .rank = n->t.rank};
  for (int i = 0; i < n->t.rank; i++) t->d[i] = dim_c(1);
  for (int d = 0; d < x->rank; d++) {
    const Affine *a = &n->a.iters->acc[0][d];
    int found = -1;
    if (a->base || a->div != 1) return false;
    for (int i = 0; i < n->t.rank; i++) {
      if (!a->coef[i] || n->t.d[i].n == 1) continue;
      if (found >= 0 || a->coef[i] != 1 || n->t.d[i].n != x->d[d].n) return false;
      found = i;
    }
    if (found < 0 ? x->d[d].n != 1 : found <= before) return false;
    if (found >= 0) t->d[found] = x->d[d], before = found;
  }
  return true;
}

bool fusable(const Node *n) {
  Type t;
  if (!type_static(&n->t)) return false;
  if (n->op == OP_VIEW) return elem_eq(n->t.e, F32) && view_spreads(n, &t);
  if (n->op == OP_MAP) return map_fusable(n);
  if (n->op == OP_QUANT) {
    bool code_zp = n->n_in > 2 && elem_is_code(n->in[2]->t.e);
    if (n->n_in > 2 && !code_zp && !elem_eq(n->in[2]->t.e, F32)) return false;
    double z = 0;
    if (!elem_eq(n->in[0]->t.e, F32) || !elem_eq(n->in[1]->t.e, F32) || n->a.round != RND_EVEN || !small_code(n->t.e) || n->t.e.kind == EK_BASES) return false;
    return !code_zp || (node_uniform(n->in[2], &z) && fabs(z) < 0x1p21);
  }
  if (n->op == OP_QUANT_GRAD) return true;
  if (n->op != OP_DEQUANT || !elem_eq(n->t.e, F32)) return false;
  /* codes, or sums of codes that the executor keeps as floats */
  bool codes = small_code(n->in[0]->t.e) || elem_eq(n->in[0]->t.e, I32);
  if (elem_eq(n->in[1]->t.e, F64)) return codes && n->n_in == 2 && node_is_const(n->in[1]);
  return codes && elem_eq(n->in[1]->t.e, F32) && (n->n_in < 3 || number(n->in[2]->t.e));
}

bool read_pattern(const Type *loop, bool last, const Type *t, bool t_last, Read *r) {
  int64_t stride[MAX_RANK] = {0}, step = 1, expect = 1;
  int lead = loop->rank - t->rank, rank = loop->rank;
  for (int i = t->rank - 1; i >= 0; i--) { /* t's own strides, by its dimensions */
    int d = dim_at(t, t_last, i);
    if (t->d[d].n != 1) stride[lead + d] = step;
    step *= t->d[d].n;
  }
  *r = (Read){.inner = 1, .mid = 1, .whole = true};
  int runs = 0; /* of dimensions that t has */
  bool within = false;
  int64_t elements = 1;
  for (int i = rank - 1; i >= 0; i--) {
    int d = dim_at(loop, last, i);
    int64_t n = loop->d[d].n;
    if (n == 1) continue;
    if (stride[d]) {
      if (!within && ++runs == 2) r->outer = elements;
      if (runs > 2 || stride[d] != expect) return false;
      expect *= n;
      if (runs == 1) r->mid *= n;
    } else {
      if (runs == 2) return false;
      r->whole = false;
      if (!runs) r->inner *= n;
    }
    within = stride[d] != 0;
    elements *= n;
  }
  if (!runs) r->inner = 1; /* a scalar: mid = 1 */
  return true;
}

/* Plans */

enum { CACHE = 6144, LEAST = 256 }; /* floats: of all slots of a group, and of one */

static int source_of(Exec *e, Fuse *f, const Step *s, const Node *n, int k) {
  const Node *x = n->in[k];
  Read r;
  int value = group_operand(e, n, k, s->last, &r, false);
  assert(value >= 0);
  r.value = value;
  for (int i = 0; i < f->n_sources; i++)
    if (f->source[i].read.value == r.value && f->source[i].read.inner == r.inner && f->source[i].read.outer == r.outer && f->source[i].read.whole == r.whole) return f->source[i].reg;
  f->source[f->n_sources] = (Source){.reg = f->n_regs, .read = r};
  f->n_regs += elem_eq(x->t.e, F64) ? 2 : 1;
  return f->source[f->n_sources++].reg;
}

bool fuse_sums(const Exec *e, const Node *n, const Step *s, Sum *sum) {
  const Node *x = n->in[0];
  if (s->kind != STEP_FUSE || n->a.scalar != S_ADD || !group_member(s, (int)x->id) || !sum_match(n, s->last, sum) || !e->v[x->id].count) return false;
  if (sum->n == 1) return sum->folded[0];
  for (int i = 0; i < s->sums.n; i++) { /* blocks begin with the first of ext[1] numbers, for every sum */
    int64_t c = e->v[s->sums.p[i]].count;
    if (c != 1 && c != sum->ext[1]) return false;
  }
  return sum->n == 2 && sum->folded[0] && sum->ext[1] <= BLOCK;
}

static void add_sums(Exec *e, Fuse *f, const Step *s) {
  f->sum = NEWN(e->arena, FuseSum, s->sums.n + 1);
  for (int i = 0; i < s->sums.n; i++) {
    const Node *n = e->g->nodes[s->sums.p[i]];
    FuseSum *to = &f->sum[f->n_sums++];
    Sum sum;
    fuse_sums(e, n, s, &sum);
    *to = (FuseSum){.value = (int)n->id, .c = sum.out, .width = sum.out > 1 ? sum_width(sum.out) : 1};
    for (int k = 0; k < f->n_ops; k++) if (f->op[k].n == n->in[0]) to->reg = f->op[k].reg;
    to->total = NEWN(e->arena, double, to->c);
    to->acc = arena_aligned(e->arena, (size_t)to->width * sizeof(float));
  }
}

/* Slots of one block in f->memory: of sources that are spread, for good (two where they are f64); of values that nobody else reads, until
 * their last reader in the group; at most as many as it takes. slot: by register, -1 none. Returns their number. */
static int give_slots(const Exec *e, Fuse *f, int *slot, Arena *scratch) {
  int n = 0, n_free = 0, *last = NEWN(scratch, int, f->n_regs + 1), *idle = NEWN(scratch, int, f->n_regs + 1);
  for (int i = 0; i < f->n_regs; i++) slot[i] = -1;
  for (int i = 0; i < f->n_sources; i++) {
    if (f->source[i].read.whole) continue;
    slot[f->source[i].reg] = n;
    n += elem_eq(e->v[f->source[i].read.value].t.e, F64) ? 2 : 1;
  }
  for (int i = 0; i < f->n_ops; i++)
    for (int k = 0; k < 3; k++) if (f->op[i].in[k] >= 0) last[f->op[i].in[k]] = i;
  for (int i = 0; i < f->n_sums; i++) last[f->sum[i].reg] = f->n_ops;
  for (int i = 0; i < f->n_ops; i++) {
    const FuseOp *op = &f->op[i];
    if (!e->v[op->value].kept) slot[op->reg] = n_free ? idle[--n_free] : n++;
    for (int j = 0; j <= i; j++) /* those whose last reader this was; itself, where nobody reads it */
      if (slot[f->op[j].reg] >= 0 && (last[f->op[j].reg] > j ? last[f->op[j].reg] : j) == i) idle[n_free++] = slot[f->op[j].reg];
  }
  return n;
}

/* A block that is a multiple of the channels keeps their registers as they are, and sums want it; of 16 besides, for the nests (exec_nest.c). */
static int64_t period_of(const Fuse *f) {
  int64_t period = 1;
  for (int i = 0; i < f->n_sources; i++) {
    const Read *r = &f->source[i].read;
    if (!r->whole && !r->outer && r->inner == 1 && r->mid > 1 && r->mid <= BLOCK && (period == 1 || period == r->mid)) period = r->mid;
  }
  for (int i = 0; i < f->n_sums; i++) if (f->sum[i].c > 1) period = f->sum[i].c;
  int64_t both = period;
  while (both % 16) both += period;
  return 64 % both == 0 ? 64 : both <= BLOCK ? both : period;
}

static void place(Exec *e, Fuse *f) {
  Arena *scratch = arena_new(e->ctx);
  int *slot = NEWN(scratch, int, f->n_regs + 1), n = give_slots(e, f, slot, scratch);
  int64_t period = period_of(f), fits = CACHE / (n + 1);
  fits = fits < LEAST ? LEAST : fits > BLOCK ? BLOCK : fits;
  f->block = (int)(fits < period ? period : fits / period * period);
  int64_t apart = (f->block + 15) / 16 * 16 + 48; /* slots a multiple of 4096 bytes apart would wait for each other's stores */
  float *memory = arena_aligned(e->arena, (size_t)((n + 1) * apart) * sizeof(float));
  f->at = NEWN(e->arena, float *, f->n_regs);
  for (int i = 0; i < f->n_regs; i++) f->at[i] = slot[i] < 0 ? NULL : memory + slot[i] * apart;
  arena_free(scratch);
}

Fuse *fuse_new(Exec *e, const Step *s) {
  Fuse *f = NEW(e->arena, Fuse);
  f->op = NEWN(e->arena, FuseOp, s->nodes.n);
  f->source = NEWN(e->arena, Source, 3 * s->nodes.n);
  f->count = e->v[s->nodes.p[0]].count;
  for (int i = 0; i < s->nodes.n; i++) {
    const Node *n = e->g->nodes[s->nodes.p[i]];
    FuseOp *op = &f->op[f->n_ops++];
    *op = (FuseOp){.n = n, .value = (int)n->id, .in = {-1, -1, -1}, .row = n->op == OP_MAP ? e->loops->row[n->a.scalar] : NULL};
    double z;
    for (int k = 0; k < n->n_in; k++) {
      if (n->op == OP_QUANT && k == 2 && !elem_eq(n->in[2]->t.e, F32)) {
        op->zp_code = node_uniform(n->in[2], &z), op->code = (float)z;
        continue;
      }
      if (!group_member(s, (int)n->in[k]->id)) { op->in[k] = source_of(e, f, s, n, k); continue; }
      for (int j = 0; j < i; j++) if (f->op[j].n == n->in[k]) op->in[k] = f->op[j].reg;
    }
    op->one = n->n_in > 1 && e->v[n->in[n->op == OP_QUANT_GRAD ? 2 : 1]->id].count == 1;
    op->reg = f->n_regs++;
  }
  add_sums(e, f, s);
  place(e, f);
  return f;
}

/* Cuts of quantizers */

static float number_at(int64_t order) { /* binary32 in order: -infinity is the first */
  int32_t bits = (int32_t)(order < 0 ? INT64_C(-2147483648) - order - 1 : order);
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* The least x with x/scale + zp above, or not below, a bound; NaN: none. */
static float cut(float scale, float zp, float bound, bool above) {
  int64_t lo = -INT64_C(0x7f800001), hi = INT64_C(0x7f800001); /* at lo it does not hold, at hi, behind infinity, it does */
  while (hi - lo > 1) {
    int64_t mid = lo + (hi - lo) / 2;
    float u = number_at(mid) / scale + zp;
    *((above ? u > bound : u >= bound) ? &hi : &lo) = mid;
  }
  return hi > INT64_C(0x7f800000) ? NAN : number_at(hi);
}

/* False where the scale is none. Half-way cases go to the even code. */
static bool find_cuts(const FuseOp *op, float scale, float zp, Cuts *c) {
  float lo = (float)op->n->a.lo, hi = (float)op->n->a.hi;
  if (!(scale > 0) || isinf(scale)) return false;
  *c = (Cuts){.lo = lo, .nan = lo > 0 ? lo : hi < 0 ? hi : 0, .zp = zp, .inverse = 1 / scale, .within = cut(scale, zp, lo, true), .end = cut(scale, zp, hi, false)};
  for (int k = 0; k < CUTS; k++) c->code[k] = lo + (float)k < hi ? cut(scale, zp, lo + (float)k + 0.5f, (op->n->a.lo + k) % 2 == 0) : NAN;
  if (isnan(c->within)) c->within = INFINITY, c->end = -INFINITY;
  if (isnan(c->end)) c->end = INFINITY;
  return true;
}

/* One run */

#define SPREAD(T) \
  static void spread_##T(T *y, const T *x, int64_t start, int n, const Read *r) { \
    if (r->mid == 1 && !r->outer) { for (int i = 0; i < n; i++) y[i] = *x; return; } \
    int64_t c = start / r->inner % r->mid, left = r->inner - start % r->inner; \
    for (int i = 0; i < n; c = c + 1 == r->mid ? 0 : c + 1, left = r->inner) { \
      const T *at = r->outer ? x + (start + i) / r->outer * r->mid : x; \
      for (; left > 0 && i < n; left--) y[i++] = at[c]; \
    } \
  }
SPREAD(float)
SPREAD(double)

static void spread(const Exec *e, const Fuse *f, const Source *s, int64_t start, int n) {
  const Value *v = &e->v[s->read.value];
  if (elem_eq(v->t.e, F64)) spread_double((double *)(void *)f->at[s->reg], v->data, start, n, &s->read);
  else spread_float(f->at[s->reg], v->data, start, n, &s->read);
}

static bool steady(const Fuse *f, const Read *r) { return !r->outer && (r->mid == 1 || (r->inner == 1 && f->block % r->mid == 0)); }

static void slow_row(const FuseOp *op, float *y, float *const *at, int n) {
  const Node *node = op->n;
  Elem x = node->in[node->a.scalar == S_SELECT]->t.e;
  for (int i = 0; i < n; i++) {
    Val a[3];
    for (int k = 0; k < node->n_in; k++) {
      float v = at[op->in[k]][i];
      if (elem_is_float(node->in[k]->t.e)) a[k].f = (double)v;
      else a[k].i = (int64_t)v;
    }
    Val r = scalar_eval(node->a.scalar, x, node->t.e, a);
    y[i] = elem_is_float(node->t.e) ? (float)r.f : (float)r.i;
  }
}

static void run_op(const Loops *l, const FuseOp *op, float *const *at, int n) {
  const Node *node = op->n;
  float *y = at[op->reg], lo = (float)node->a.lo, hi = (float)node->a.hi;
  const float *in[3];
  for (int k = 0; k < 3; k++) in[k] = op->in[k] < 0 ? NULL : at[op->in[k]];
  if (op->row) op->row(y, in[0], in[1], in[2], n);
  else if (op->cuts && node->op == OP_QUANT) l->quant_cut(y, in[0], &op->cut, n);
  else if (op->cuts) (node->a.flag ? l->quant_ds_cut : l->quant_dx_cut)(y, in[0], in[1], &op->cut, n);
  else if (node->op == OP_VIEW) memcpy(y, in[0], (size_t)n * sizeof *y);
  else if (node->op == OP_QUANT) l->quant(y, in[0], in[1], in[2], op->zp_code ? op->code : 0, lo, hi, op->one, n);
  else if (node->op == OP_QUANT_GRAD) (node->a.flag ? l->quant_ds : l->quant_dx)(y, in[0], in[1], in[2], (float)node->a.fill, lo, hi, op->one, n);
  else if (node->op == OP_DEQUANT && elem_eq(node->in[1]->t.e, F64)) l->dequant_f64(y, in[0], (const double *)(const void *)in[1], n);
  else if (node->op == OP_DEQUANT) l->dequant(y, in[0], in[1], in[2], n);
  else slow_row(op, y, at, n);
}

bool fuse_cuts(const Fuse *f, const FuseOp *op) {
  const Node *n = op->n;
  bool grad = n->op == OP_QUANT_GRAD, few = n->a.hi - n->a.lo <= CUTS, dx = grad && !n->a.flag;
  if ((!grad && n->op != OP_QUANT) || !op->one || op->zp_code || f->count < WORTH || !(few || dx)) return false;
  return grad || op->in[2] < 0 || node_uniform(n->in[2], &(double){0});
}

static float first_of(const Exec *e, const Fuse *f, int reg) { /* of a source that is one number */
  int i = 0;
  while (f->source[i].reg != reg) i++;
  return *(const float *)e->v[f->source[i].read.value].data;
}

/* Before the first block, when scales are there. False: a quantizer that could have cuts has none. */
static bool prepare(const Exec *e, Fuse *f) {
  bool all = true;
  for (int i = 0; i < f->n_ops; i++) {
    FuseOp *op = &f->op[i];
    bool grad = op->n->op == OP_QUANT_GRAD;
    op->cuts = false;
    if (!fuse_cuts(f, op)) continue;
    float zp = grad ? (float)op->n->a.fill : op->in[2] >= 0 ? first_of(e, f, op->in[2]) : 0;
    op->cuts = find_cuts(op, first_of(e, f, op->in[grad ? 2 : 1]), zp, &op->cut);
    all = all && op->cuts;
  }
  return all;
}

static void add_up(const Loops *l, const FuseSum *s, const float *x, int n) {
  if (s->c == 1) { *s->total += (double)l->sum(x, n); return; }
  memset(s->acc, 0, (size_t)s->width * sizeof *s->acc);
  l->columns(s->acc, x, s->width, n);
  sum_fold(s->acc, s->width, s->c, s->total);
}

void fuse_run(Exec *e, Fuse *f) {
  if (prepare(e, f) && f->code && fuse_run_code(e, f)) return;
  for (int i = 0; i < f->n_sums; i++) memset(f->sum[i].total, 0, (size_t)f->sum[i].c * sizeof(double));
  for (int i = 0; i < f->n_ops; i++) if (e->v[f->op[i].value].kept) f->at[f->op[i].reg] = e->v[f->op[i].value].data;
  for (int64_t start = 0; start < f->count; start += f->block) {
    int n = (int)(f->count - start < f->block ? f->count - start : f->block);
    for (int i = 0; i < f->n_sources; i++) {
      const Source *s = &f->source[i];
      const Value *v = &e->v[s->read.value];
      if (s->read.whole) f->at[s->reg] = elem_eq(v->t.e, F64) ? (float *)(void *)((double *)v->data + start) : (float *)v->data + start;
      else if (start == 0 || !steady(f, &s->read)) spread(e, f, s, start, n);
    }
    for (int i = 0; i < f->n_ops; i++) run_op(e->loops, &f->op[i], f->at, n);
    for (int i = 0; i < f->n_sums; i++) add_up(e->loops, &f->sum[i], f->at[f->sum[i].reg], n);
    for (int i = 0; i < f->n_ops; i++) if (e->v[f->op[i].value].kept) f->at[f->op[i].reg] += f->block;
  }
  for (int i = 0; i < f->n_sums; i++)
    for (int64_t k = 0; k < f->sum[i].c; k++) ((float *)e->v[f->sum[i].value].data)[k] = (float)f->sum[i].total[k];
}
