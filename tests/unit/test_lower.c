/* select, layout, fuse and lower: random small graphs of every operator, evaluated and run as programs, bit for bit. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes/pass.h"
#include "tests/unit/suite.h"

/* Random graphs: the same seed makes the same graph, so that each way of lowering starts from its own copy. */
typedef struct Gen { Graph *g; uint64_t state; Node *pool[64]; int n; } Gen;

static uint32_t rnd(Gen *r, uint32_t below) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(r->state >> 33) % below;
}

static double rnd_float(Gen *r) {
  switch (rnd(r, 12)) {
  case 0: return -0.0;
  case 1: return rnd(r, 6) ? 0.5 * (double)rnd(r, 9) - 2 : (double)NAN;
  case 2: return rnd(r, 6) ? 1e-3 : rnd(r, 2) ? (double)INFINITY : -(double)INFINITY;
  case 3: return ((double)rnd(r, 2000) - 1000) * 1e6;
  default: return ((double)rnd(r, 20001) - 10000) / 1000;
  }
}

static int64_t rnd_code(Gen *r, Elem e) {
  if (e.kind == EK_BASES && e.bits == 1) return rnd(r, 2) ? 1 : -1;
  if (e.kind == EK_SHIFT) {
    int top = (1 << (e.bits - 1)) - 2, s = (int)rnd(r, (uint32_t)top + 2);
    return s > top ? 0 : rnd(r, 2) ? INT64_C(1) << s : -(INT64_C(1) << s);
  }
  uint64_t v = (uint64_t)rnd(r, 1u << 31) << 33 ^ (uint64_t)rnd(r, 1u << 31) << 11 ^ rnd(r, 1u << 31);
  if (e.bits > 16 && rnd(r, 4)) return (int64_t)(v % 201) - (e.kind == EK_INT ? 100 : 0);
  int s = 64 - e.bits;
  return e.kind == EK_INT ? (int64_t)(v << s) >> s : (int64_t)(v << s >> s);
}

static Tensor *rnd_tensor(Gen *r, Ctx *ctx, const Type *t) {
  Tensor *x = tensor_new(ctx, t);
  for (int64_t i = 0; i < x->n; i++)
    if (elem_is_float(t->e)) tensor_set_f(x, i, rnd_float(r));
    else tensor_set_i(x, i, rnd_code(r, t->e));
  return x;
}

static const Elem floats[] = {{EK_FLOAT, 32}, {EK_FLOAT, 32}, {EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_FLOAT, 16}, {EK_BF16, 16}};
static const Elem codes[] = {{EK_INT, 8}, {EK_UINT, 8}, {EK_INT, 32}, {EK_INT, 64}, {EK_INT, 4}, {EK_UINT, 2}, {EK_UINT, 3}, {EK_INT, 16}, {EK_INT, 13}, {EK_UINT, 32}, {EK_INT, 2}, {EK_UINT, 1}};
#define PICK(r, a) (a)[rnd(r, sizeof (a) / sizeof *(a))]

static Elem rnd_elem(Gen *r) {
  switch (rnd(r, 10)) {
  case 0: return BOOL;
  case 1: return BIPOLAR;
  case 2: return rnd(r, 8) ? (Elem){EK_SHIFT, (uint8_t)(2 + rnd(r, 3))} : (Elem){EK_BASES, (uint8_t)(2 + rnd(r, 9))};
  case 3: case 4: case 5: return PICK(r, codes);
  default: return PICK(r, floats);
  }
}

static Type rnd_type(Gen *r, Elem e) {
  Type t = {.e = e, .rank = (uint8_t)rnd(r, 5)};
  for (int i = 0; i < t.rank; i++) t.d[i] = dim_c(rnd(r, 60) ? 1 + rnd(r, 5) : 0);
  return t;
}

static Node *rnd_const(Gen *r, const Type *t) { return node_const(r->g, rnd_tensor(r, r->g->ctx, t)); }

static bool is_word(Elem e) { return e.kind == EK_INT || e.kind == EK_UINT || e.kind == EK_BOOL; }
static bool is_int(Elem e) { return e.kind == EK_INT || e.kind == EK_UINT; }

/* A node of the pool, or a cast of one, of the given class. */
static Node *pick(Gen *r) { return r->pool[rnd(r, (uint32_t)r->n)]; }

static Type shrunk(Gen *r, const Type *t, Elem e) { /* broadcasts with t */
  Type s = {.e = e};
  int drop = rnd(r, 3) ? 0 : (int)rnd(r, (uint32_t)t->rank + 1);
  for (int i = drop; i < t->rank; i++) s.d[s.rank++] = rnd(r, 3) ? t->d[i] : dim_c(1);
  return s;
}

/* Another operand for x: a pool node of the same shape, or a constant that broadcasts. */
static Node *partner(Gen *r, Node *x, Elem e) {
  for (int tries = 0; tries < 6; tries++) {
    Node *y = pick(r);
    Type t;
    if (elem_eq(y->t.e, e) && type_broadcast(&x->t, &y->t, &t)) return y;
  }
  Type t = shrunk(r, &x->t, e);
  return rnd_const(r, &t);
}

static Node *gen_map(Gen *r) {
  static const Scalar unary_f[] = {S_NEG, S_ABS, S_SIGN, S_FLOOR, S_CEIL, S_TRUNC, S_ROUND, S_SQRT, S_EXP, S_TANH, S_LOG, S_ERF, S_ISNAN, S_ISINF};
  static const Scalar binary_f[] = {S_ADD, S_SUB, S_MUL, S_DIV, S_MAX, S_MIN, S_EQ, S_LT, S_LE, S_MOD, S_FMOD, S_POW};
  static const Scalar unary_i[] = {S_NEG, S_ABS, S_SIGN, S_NOT, S_POP};
  static const Scalar binary_i[] = {S_ADD, S_SUB, S_MUL, S_DIV, S_MOD, S_FMOD, S_MAX, S_MIN, S_AND, S_OR, S_XOR, S_EQ, S_LT, S_LE};
  Graph *g = r->g;
  Node *x = pick(r);
  if (rnd(r, 5) == 0) {
    Elem to = rnd_elem(r);
    return is_word(to) || elem_is_float(to) ? node_cast(g, x, to) : x;
  }
  if (rnd(r, 6) == 0) {
    Node *c = partner(r, x, BOOL), *y = partner(r, x, x->t.e);
    Type t = x->t;
    return type_broadcast(&t, &c->t, &t) && type_broadcast(&t, &y->t, &t) ? node_map3(g, S_SELECT, c, x, y) : x;
  }
  if (elem_is_float(x->t.e)) {
    if (rnd(r, 2)) return node_map1(g, PICK(r, unary_f), x);
    return node_map2(g, PICK(r, binary_f), x, partner(r, x, x->t.e));
  }
  if (!is_word(x->t.e)) return node_map_as(g, S_ADD, I32, 2, (Node *[]){x, partner(r, x, x->t.e)});
  if (rnd(r, 8) == 0 && is_int(x->t.e)) {
    Elem by = rnd(r, 2) ? UINTK(3) : U8;
    return node_map_as(g, rnd(r, 2) ? S_SHL : S_SHR, x->t.e, 2, (Node *[]){x, partner(r, x, by)});
  }
  if (rnd(r, 4) == 0) return node_map_as(g, PICK(r, unary_i), is_int(x->t.e) ? x->t.e : I8, 1, &x);
  Scalar s = PICK(r, binary_i);
  Elem e = rnd(r, 3) ? x->t.e : I8, to = scalar_info[s].result == 'B' ? BOOL : rnd(r, 2) ? x->t.e : INTK(1 + (int)rnd(r, 40));
  return node_map_as(g, s, to, 2, (Node *[]){x, partner(r, x, e)});
}

static double rnd_fill(Gen *r, Elem e) {
  if (rnd(r, 2) && (elem_is_float(e) || is_word(e))) return 0;
  if (elem_is_float(e)) return rnd(r, 4) ? 1.5 : (double)NAN;
  return (double)(e.bits > 8 && e.kind != EK_SHIFT ? 3 : rnd_code(r, e));
}

/* Transposes, slices, pads, broadcasts, strides and divisions. */
static Node *gen_view(Gen *r) {
  Node *x = pick(r);
  Type t = x->t;
  Affine acc[MAX_RANK];
  int perm[MAX_RANK];
  if (t.rank == 0) return node_broadcast(r->g, x, 2, (Dim[]){dim_c(2), dim_c(3)});
  for (int i = 0; i < t.rank; i++) perm[i] = i;
  for (int i = t.rank - 1; i > 0 && rnd(r, 2); i--) {
    int j = (int)rnd(r, (uint32_t)i + 1), k = perm[i];
    perm[i] = perm[j];
    perm[j] = k;
  }
  for (int i = 0; i < t.rank; i++) {
    Affine a = affine_iter(perm[i], 1, 0);
    int64_t n = x->t.d[i].n, m = n;
    switch (rnd(r, 7)) {
    case 0: a.coef[perm[i]] = -1, a.base = n - 1; break;
    case 1: a.base = -1, m = n + 2; break;
    case 2: a.coef[perm[i]] = 2, m = n / 2 + 1; break;
    case 3: a.div = 2, m = 2 * n, a.base = (int64_t)rnd(r, 3) - 1; break;
    case 4: a.coef[perm[i]] = 3, a.div = 2, a.base = -(int64_t)rnd(r, 4), m = n + 1; break;
    default: break;
    }
    if (rnd(r, 9) == 0 && t.rank > 1) a.coef[perm[(i + 1) % t.rank]] += 1;
    t.d[perm[i]] = dim_c(m);
    acc[i] = a;
  }
  double fill = rnd_fill(r, x->t.e);
  if (!is_word(t.e) && elem_is_code(t.e) && fill == 0) fill = 1;
  return node_view(r->g, x, &t, acc, fill);
}

static Node *gen_reshape(Gen *r) {
  Node *x = pick(r);
  int64_t n = 1;
  for (int i = 0; i < x->t.rank; i++) n *= x->t.d[i].n;
  Dim d[4];
  int rank = 0;
  for (int64_t f = 2; f <= 5 && rank < 3; f++)
    if (n > 0 && n % f == 0 && rnd(r, 2)) d[rank++] = dim_c(f), n /= f;
  d[rank++] = dim_c(n);
  return node_reshape(r->g, x, rank, d);
}

static Node *gen_concat(Gen *r) {
  Node *x = pick(r), *in[3] = {x};
  int n = 2 + (int)rnd(r, 2);
  if (x->t.rank == 0) return x;
  int axis = (int)rnd(r, x->t.rank);
  for (int k = 1; k < n; k++) {
    Node *y = pick(r);
    bool fits = elem_eq(y->t.e, x->t.e) && y->t.rank == x->t.rank;
    for (int i = 0; fits && i < x->t.rank; i++) fits = i == axis || dim_eq(x->t.d[i], y->t.d[i]);
    Type t = x->t;
    t.d[axis] = dim_c(1 + rnd(r, 3));
    in[k] = fits ? y : rnd_const(r, &t);
  }
  return node_concat(r->g, n, in, axis);
}

static Node *gen_gather(Gen *r) {
  Node *x = pick(r), *index = NULL;
  if (x->t.rank == 0 || x->t.rank > 4) return x;
  int axis = (int)rnd(r, x->t.rank);
  if (x->t.d[axis].n == 0) return x;
  for (int tries = 0; tries < 4; tries++) {
    Node *y = pick(r);
    if (is_int(y->t.e) && y->t.rank < 3) index = y;
  }
  if (!index) {
    Type t = {.e = rnd(r, 2) ? I64 : INTK(4), .rank = (uint8_t)rnd(r, 3)};
    for (int i = 0; i < t.rank; i++) t.d[i] = dim_c(1 + rnd(r, 3));
    index = rnd_const(r, &t);
  }
  return node_gather(r->g, x, index, axis);
}

/* Over axes, or strided, dilated, padded windows of the last dimensions. */
static Node *gen_reduce(Gen *r) {
  Node *x = pick(r);
  Scalar s = rnd(r, 2) ? S_ADD : rnd(r, 4) == 0 ? S_MUL : rnd(r, 2) ? S_MAX : S_MIN;
  Elem e = x->t.e;
  if (is_int(e) && rnd(r, 6) == 0) s = rnd(r, 2) ? S_AND : S_OR;
  if ((s == S_ADD || s == S_MUL) && elem_is_code(e) && !is_int(e)) s = S_MAX;
  if (rnd(r, 2)) return node_reduce_axes(r->g, s, x, rnd(r, 1u << x->t.rank), rnd(r, 2));
  Affine acc[MAX_RANK];
  Iters it = {.n_out = x->t.rank, .acc = {acc}};
  Type t = x->t;
  for (int i = 0; i < t.rank; i++) {
    acc[i] = affine_iter(i, 1, 0);
    if (rnd(r, 2)) continue;
    int64_t k = 1 + rnd(r, 3), stride = 1 + rnd(r, 2), pad = rnd(r, 2), dil = 1 + rnd(r, 2);
    acc[i] = affine_iter(i, stride, -pad);
    acc[i].coef[t.rank + it.n_red] = rnd(r, 12) ? dil : -dil;
    it.red[it.n_red++] = dim_c(k);
    t.d[i] = dim_c(t.d[i].n / stride + 1);
    if (rnd(r, 16) == 0) acc[i].div = 2;
  }
  return node_reduce(r->g, s, x, &t, &it);
}

static Node *gen_argreduce(Gen *r) {
  Node *x = pick(r);
  if (x->t.rank == 0) return x;
  int axis = (int)rnd(r, x->t.rank);
  if (x->t.d[axis].n == 0) return x;
  Type t = x->t;
  t.e = rnd(r, 2) ? I64 : I32;
  t.d[axis] = dim_c(1);
  Attr a = {.scalar = rnd(r, 2) ? S_MAX : S_MIN, .axis = axis, .flag = (int32_t)rnd(r, 2)};
  return node_new(r->g, OP_ARGREDUCE, &t, 1, &x, &a, NULL);
}

static Node *gen_cum(Gen *r) {
  Node *x = pick(r);
  if (x->t.rank == 0 || (elem_is_code(x->t.e) && !is_int(x->t.e))) return x;
  Attr a = {.scalar = rnd(r, 3) ? S_ADD : S_MUL, .axis = (int32_t)rnd(r, x->t.rank), .flag = (int32_t)rnd(r, 4)};
  return node_new(r->g, OP_CUM, &x->t, 1, &x, &a, NULL);
}

static Elem result_of(Gen *r, Elem e) { return elem_is_float(e) ? e : rnd(r, 4) ? I32 : rnd(r, 2) ? I64 : INTK(3 + (int)rnd(r, 25)); }

static Node *gen_matmul(Gen *r) {
  Node *x = pick(r);
  if (x->t.rank == 0 || (x->t.e.kind == EK_BASES && x->t.e.bits > 1)) return x;
  Elem e = elem_is_float(x->t.e) ? x->t.e : rnd_elem(r);
  if (elem_is_float(e) != elem_is_float(x->t.e)) e = I8;
  Type t = {.e = e, .rank = 2};
  t.d[0] = x->t.d[x->t.rank - 1];
  t.d[1] = dim_c(rnd(r, 4) ? 1 + rnd(r, 5) : 28 + rnd(r, 42));
  Node *w = rnd_const(r, &t);
  if (rnd(r, 5) == 0) { /* constant first */
    Type l = {.e = e, .rank = 2, .d = {dim_c(1 + rnd(r, 4)), x->t.rank > 1 ? x->t.d[x->t.rank - 2] : x->t.d[0]}};
    Node *y = node_matmul(r->g, rnd_const(r, &l), x, result_of(r, e));
    return y ? y : x;
  }
  if (x->t.rank == 2 && rnd(r, 3) == 0) return node_matmul(r->g, x, node_transpose(r->g, x, (int[]){1, 0}), result_of(r, x->t.e));
  Node *y = node_matmul(r->g, x, w, result_of(r, e));
  return y ? y : x;
}

/* [1, C, H, W] of anything. */
static Node *gen_conv(Gen *r, Elem act, Elem weight, int64_t channels) {
  Graph *g = r->g;
  Node *x = NULL;
  for (int tries = 0; tries < 8 && !x; tries++) {
    Node *y = pick(r);
    if (y->t.rank == 4 && elem_eq(y->t.e, act) && y->t.d[1].n == channels) x = y;
  }
  Type t = type_make(act, 4, (int64_t[]){1 + rnd(r, 2), channels, 1 + rnd(r, 6), 1 + rnd(r, 6)});
  if (!x) {
    char name[16];
    snprintf(name, sizeof name, "c%d", g->n_args);
    x = graph_arg(g, name, &t);
  }
  int groups = rnd(r, 6) == 0 ? (int)channels : channels % 2 == 0 && rnd(r, 3) == 0 ? 2 : 1;
  int64_t k[2], stride[2], dil[2], pad[2], out[2], m = (int64_t)groups * (1 + rnd(r, rnd(r, 3) ? 3 : 12));
  for (int i = 0; i < 2; i++) {
    int64_t n = x->t.d[2 + i].n;
    k[i] = 1 + rnd(r, 3), stride[i] = 1 + rnd(r, 2), dil[i] = 1 + (rnd(r, 4) == 0), pad[i] = rnd(r, 3);
    int64_t end = n + 2 * pad[i] - dil[i] * (k[i] - 1);
    out[i] = end > 0 ? (end - 1) / stride[i] + 1 : 1;
    if (end <= 0) pad[i] = dil[i] * (k[i] - 1);
  }
  Type w = type_make(weight, 4, (int64_t[]){m, channels / groups, k[0], k[1]});
  double fill = rnd(r, 2) ? 0 : rnd_fill(r, act);
  Node *wn = rnd(r, 12) || elem_is_float(weight) ? rnd_const(r, &w) : NULL;
  if (!wn) {
    char name[16];
    snprintf(name, sizeof name, "w%d", g->n_args);
    wn = graph_arg(g, name, &w);
  }
  return node_conv(g, x, wn, groups, stride, dil, pad, out, fill, result_of(r, act));
}

static Node *gen_any_conv(Gen *r) {
  static const Elem packed[] = {{EK_BASES, 1}, {EK_BASES, 1}, {EK_UINT, 1}, {EK_UINT, 2}, {EK_INT, 2}, {EK_UINT, 4}, {EK_INT, 8}, {EK_UINT, 8}, {EK_BOOL, 1}, {EK_SHIFT, 3}, {EK_SHIFT, 2}, {EK_INT, 4}};
  if (rnd(r, 3) == 0) {
    Elem e = PICK(r, floats);
    return gen_conv(r, e, e, rnd(r, 3) ? 1 + rnd(r, 4) : 1 + rnd(r, 20));
  }
  static const int64_t channels[] = {1, 2, 3, 31, 32, 33, 64, 65, 70};
  return gen_conv(r, PICK(r, packed), PICK(r, packed), PICK(r, channels));
}

static Node *gen_quant(Gen *r) {
  static const Elem to[] = {{EK_INT, 8}, {EK_UINT, 8}, {EK_INT, 4}, {EK_UINT, 2}, {EK_UINT, 3}, {EK_INT, 13}, {EK_INT, 32}, {EK_BASES, 1}, {EK_BASES, 1}, {EK_UINT, 1}, {EK_INT, 40}};
  Node *x = pick(r), *zp = NULL;
  Elem e = PICK(r, to), scale = rnd(r, 3) ? F32 : PICK(r, floats);
  if (!elem_is_float(x->t.e)) x = node_cast(r->g, x, F32);
  Type ts = shrunk(r, &x->t, scale);
  if (rnd(r, 2)) {
    Type tz = shrunk(r, &x->t, rnd(r, 3) ? (rnd(r, 2) ? I8 : U8) : rnd(r, 2) ? F32 : PICK(r, codes));
    zp = rnd(r, 2) ? partner(r, x, tz.e) : rnd_const(r, &tz);
  }
  Type t = x->t;
  Node *s = rnd_const(r, &ts);
  if (!type_broadcast(&t, &ts, &t) || (zp && !type_broadcast(&t, &zp->t, &t))) return x;
  int64_t lo = elem_lo(e), hi = elem_hi(e);
  if (rnd(r, 3) == 0 && e.bits > 1) lo = lo / 2 + 1, hi = hi / 2 + 1;
  return node_quant(r->g, x, s, zp, e, lo, hi, (Round)rnd(r, RND_COUNT));
}

static Node *gen_dequant(Gen *r) {
  Node *x = pick(r), *zp = NULL;
  if (elem_is_float(x->t.e) || (x->t.e.kind == EK_BASES && x->t.e.bits > 1)) return x;
  Type ts = shrunk(r, &x->t, rnd(r, 2) ? F32 : PICK(r, floats)), tz = shrunk(r, &x->t, rnd(r, 2) ? x->t.e : PICK(r, codes));
  if (rnd(r, 2)) zp = rnd_const(r, &tz);
  return node_dequant(r->g, x, rnd_const(r, &ts), zp, PICK(r, floats));
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static Node *gen_thresholds(Gen *r) {
  Node *x = pick(r);
  Elem e = x->t.e, to = rnd(r, 3) ? UINTK(2) : rnd(r, 2) ? I8 : BIPOLAR;
  if (x->t.rank == 0 || (e.kind == EK_BASES && e.bits > 1) || (e.kind == EK_UINT && e.bits == 64)) return x;
  int axis = (int)rnd(r, x->t.rank);
  int64_t rows = rnd(r, 3) ? x->t.d[axis].n : 1, levels = elem_eq(to, BIPOLAR) ? 1 : rnd(r, 3) ? 3 : 1 + rnd(r, 40);
  if (rows == 0) return x;
  Type t = type_make(elem_is_float(e) ? e : rnd(r, 2) ? I32 : INTK(9), 2, (int64_t[]){rows, levels});
  Tensor *v = rnd_tensor(r, r->g->ctx, &t);
  double sorted[64];
  for (int64_t c = 0; rnd(r, 8) && c < rows; c++) {
    for (int64_t j = 0; j < levels; j++) sorted[j] = tensor_f(v, c * levels + j);
    qsort(sorted, (size_t)levels, sizeof *sorted, by_value);
    for (int64_t j = 0; j < levels; j++) {
      if (elem_is_float(t.e)) tensor_set_f(v, c * levels + j, sorted[j]);
      else tensor_set_i(v, c * levels + j, (int64_t)sorted[j]);
    }
  }
  Type one = type_make(I8, (int)rnd(r, 2), (int64_t[]){rnd(r, 2) ? x->t.d[axis].n : 1});
  Tensor *base = tensor_new(r->g->ctx, &one), *step = tensor_new(r->g->ctx, &one);
  bool sign = elem_eq(to, BIPOLAR);
  for (int64_t i = 0; i < base->n; i++) tensor_set_i(base, i, sign ? -1 : 0), tensor_set_i(step, i, sign ? 2 : 1);
  Type y = x->t;
  y.e = to;
  Attr a = {.axis = axis};
  return node_new(r->g, OP_THRESHOLDS, &y, 4, (Node *[]){x, node_const(r->g, v), node_const(r->g, base), node_const(r->g, step)}, &a, NULL);
}

static Node *gen_requant(Gen *r) {
  Node *x = pick(r);
  if (x->t.rank == 0 || elem_is_float(x->t.e) || (x->t.e.kind == EK_UINT && x->t.e.bits == 64)) return x;
  int axis = (int)rnd(r, x->t.rank);
  Type m = type_make(I32, 1, (int64_t[]){rnd(r, 2) ? x->t.d[axis].n : 1}), b = m, t = x->t;
  if (m.d[0].n == 0) return x;
  b.e = I64;
  t.e = rnd(r, 2) ? I8 : UINTK(4);
  Attr a = {.axis = axis, .shift = (int32_t)rnd(r, 64), .lo = elem_lo(t.e), .hi = elem_hi(t.e)};
  return node_new(r->g, OP_REQUANT, &t, 3, (Node *[]){x, rnd_const(r, &m), rnd_const(r, &b)}, &a, NULL);
}

static Node *gen_pack(Gen *r) {
  Node *x = pick(r);
  if (x->t.rank == 0 || elem_is_float(x->t.e) || x->t.e.kind == EK_SHIFT || x->t.e.bits > 16) return x;
  int word = rnd(r, 2) ? 32 : 64, last = x->t.rank - 1;
  Type t = x->t;
  t.e = UINTK(word);
  t.d[last] = dim_c(x->t.e.bits);
  t.d[t.rank++] = dim_c((x->t.d[last].n + word - 1) / word);
  Attr a = {.axis = last};
  return node_new(r->g, OP_PACK, &t, 1, &x, &a, NULL);
}

/* The pool node's last dimension as groups, or a constant of many terms beside it; any counts, none too. */
static Node *gen_bases(Gen *r) {
  Node *x = pick(r);
  bool is_float = elem_is_float(x->t.e);
  if (x->t.rank == 0 || x->t.rank > 4 || (is_float ? x->t.e.bits < 32 : x->t.e.bits > 32) || (x->t.e.kind == EK_BASES && x->t.e.bits > 1)) return x;
  int last = x->t.rank - 1;
  int64_t n = x->t.d[last].n, groups = 1, blocks = 1, outs = rnd(r, 8) ? 1 + rnd(r, 4) : 1;
  if (rnd(r, 3) == 0 && n > 0) { /* more terms: repeated */
    Affine acc[MAX_RANK];
    Type t = x->t;
    int64_t times = 1 + rnd(r, 40);
    t.d[t.rank++] = dim_c(times);
    for (int d = 0; d <= last; d++) acc[d] = affine_iter(d, 1, 0), t.d[d] = x->t.d[d];
    x = node_view(r->g, x, &t, acc, 0);
    t.rank--;
    t.d[last] = dim_c(n * times);
    x = node_reshape(r->g, x, t.rank, t.d);
    n *= times;
  }
  for (int k = 5; k > 1; k--) if (n % k == 0 && rnd(r, 2)) { if (groups == 1) groups = k; else if (n / groups % k == 0) blocks = k; }
  n /= groups * blocks;
  if (n < 1) return x;
  Dim dims[MAX_RANK];
  for (int d = 0; d < last; d++) dims[d] = x->t.d[d];
  dims[last] = dim_c(blocks), dims[last + 1] = dim_c(groups), dims[last + 2] = dim_c(n);
  x = node_reshape(r->g, x, last + 3, dims);
  Type ct = type_make(UINTK(4), 3, (int64_t[]){blocks, outs, groups});
  Tensor *counts = tensor_new(r->g->ctx, &ct);
  int64_t planes = 0;
  int kind = (int)rnd(r, 4);
  for (int64_t i = 0; i < counts->n; i++) {
    int64_t c = kind == 0 ? 0 : kind == 1 ? 2 : rnd(r, 3) ? rnd(r, 3) : rnd(r, 8);
    tensor_set_i(counts, i, c);
    planes += c;
  }
  Type st = type_make(BIPOLAR, 2, (int64_t[]){planes, n}), at = type_make(rnd(r, 3) ? F32 : F64, 1, &planes), one = type_make(rnd(r, 2) ? F32 : F64, (int)rnd(r, 2), (int64_t[]){1});
  return node_bases(r->g, x, rnd_const(r, &st), rnd_const(r, &at), node_const(r->g, counts), rnd_const(r, &one), NULL, rnd(r, 4) ? F32 : F64, KERNEL_AUTO);
}

typedef Node *Maker(Gen *);
static Maker *const makers[] = {gen_map, gen_map, gen_map, gen_map, gen_view, gen_view, gen_reshape, gen_reshape, gen_concat, gen_gather, gen_reduce,
  gen_reduce, gen_argreduce, gen_cum, gen_matmul, gen_any_conv, gen_quant, gen_quant, gen_dequant, gen_thresholds, gen_requant, gen_pack, gen_bases, gen_bases};

static void add(Gen *r, Node *n) {
  int64_t count;
  if (!type_count(&n->t, &count) || count > 6000 || n->t.rank > 6 || r->n == 64) return;
  r->pool[r->n++] = n;
}

static Graph *generate(Ctx *ctx, uint64_t seed) {
  Gen r = {.g = graph_new(ctx, "random", NULL), .state = seed * 0x9e3779b97f4a7c15u + 1};
  int args = 1 + (int)rnd(&r, 3), steps = 1 + (int)rnd(&r, 9);
  for (int i = 0; i < args; i++) {
    char name[16];
    snprintf(name, sizeof name, "x%d", i);
    Type t = rnd_type(&r, rnd_elem(&r));
    add(&r, graph_arg(r.g, name, &t));
  }
  if (r.n == 0) return r.g;
  for (int i = 0; i < steps; i++) {
    add(&r, makers[rnd(&r, sizeof makers / sizeof *makers)](&r));
  }
  graph_out(r.g, "y0", r.pool[r.n - 1]);
  if (rnd(&r, 3) == 0) graph_out(r.g, "y1", pick(&r));
  if (rnd(&r, 6) == 0) graph_out(r.g, "y2", pick(&r));
  return r.g;
}

/* Ways of lowering */

enum { FUSE = 1, BITS = 2, HLS = 4, WORD32 = 8, SHIFTS = 16, PACKED = 32, BARE = 64 }; /* BARE: without multiplication */
static const int ways[] = {0, FUSE, BITS, BITS | FUSE, BITS | FUSE | WORD32, HLS, HLS | FUSE, SHIFTS | FUSE, PACKED, BARE | FUSE, BARE | BITS | WORD32};

static void find_product(void *user, const Expr *x) {
  bool code = x->kind == EX_SCALAR && !elem_is_float(x->t.e);
  if (code && (x->s == S_MUL || x->s == S_DIV || x->s == S_MOD || x->s == S_FMOD || x->s == S_POP)) ++*(int *)user;
}

static void find_products(void *user, const Stmt *s) { stmt_exprs(s, find_product, user); }

/* Nests of which unmultiply says nothing have no product left. */
static bool bare(Ctx *ctx, Program *p, PassOptions *opt) {
  int left = 0, told = ctx->n_errors;
  opt->no_multiply = true;
  pass_unmultiply(p, opt);
  for (int i = 0; i < p->n_nests; i++) stmt_visit(&p->nests[i]->body, find_products, &left);
  return !left || ctx->n_errors > told;
}

static Graph *prepare(Graph *g, int way, PassOptions *opt) {
  if ((g = pass_select(g, opt)) && (g = pass_layout(g, opt)) && way & FUSE) g = pass_fuse(g, opt);
  return g;
}

static bool same(const Tensor *a, const Tensor *b, int64_t *at) {
  size_t size = store_size(a->st);
  for (*at = 0; *at < a->n; ++*at) {
    if (!memcmp((char *)a->data + (size_t)*at * size, (char *)b->data + (size_t)*at * size, size)) continue;
    if (elem_is_float(a->t.e) && isnan(tensor_f(a, *at)) && isnan(tensor_f(b, *at))) continue;
    return false;
  }
  return true;
}

static void show(Ctx *ctx, const Graph *g, const Program *p, uint64_t seed, int way) {
  Str s = {.ctx = ctx};
  fprintf(stderr, "seed %llu way %d\n", (unsigned long long)seed, way);
  if (g) graph_print(&s, g);
  if (p) program_print(&s, p);
  fprintf(stderr, "%s\n", s.p ? s.p : "");
  str_free(&s);
  diag_print(ctx, stderr, false);
}

/* The outputs of the program are those of the graph. */
static bool run_and_compare(Ctx *ctx, const Graph *g, const Program *p, Tensor **ins, Tensor **want) {
  const void *in[16];
  void *out[8];
  Tensor *got[8];
  int64_t at;
  for (int i = 0; i < p->n_ins; i++) in[i] = ins[i]->data;
  for (int i = 0; i < p->n_outs; i++) got[i] = tensor_new(ctx, &g->outs[i].v->t), out[i] = got[i]->data;
  if (!program_run(ctx, p, in, out)) return false;
  for (int i = 0; i < p->n_outs; i++)
    if (!same(got[i], want[i], &at)) {
      fprintf(stderr, "output %d element %lld: %.17g, not %.17g\n", i, (long long)at, tensor_f(got[i], at), tensor_f(want[i], at));
      return false;
    }
  return true;
}

static bool check_way(uint64_t seed, int way, int *skipped) {
  Force all = {way & SHIFTS ? KERNEL_SHIFT : way & PACKED ? KERNEL_PACKED : KERNEL_BITSERIAL, NULL};
  Ctx *ctx = ctx_new();
  Target target = *target_find("c99");
  if (way & WORD32) target.word = 32;
  PassOptions opt = {.target = &target, .hls = way & HLS, .force = &all, .n_force = way & (BITS | SHIFTS | PACKED) ? 1 : 0};
  Graph *g = generate(ctx, seed);
  Tensor *ins[16], *want[8], *laid[8];
  Gen r = {.state = seed + 77};
  if (!graph_verify(ctx, g)) { /* the generator does not know every rule */
    ctx_free(ctx);
    ++*skipped;
    return true;
  }
  for (int i = 0; i < g->n_args; i++) ins[i] = rnd_tensor(&r, ctx, &g->args[i]->t);
  bool ok = graph_eval(ctx, g, ins, want, NULL, NULL);
  if (!ok) show(ctx, g, NULL, seed, way);
  Graph *h = ok ? prepare(generate(ctx, seed), way, &opt) : NULL;
  ok = h && graph_verify(ctx, h) && graph_eval(ctx, h, ins, laid, NULL, NULL);
  int64_t at;
  for (int i = 0; ok && i < h->n_outs; i++) ok = same(laid[i], want[i], &at);
  if (!ok) {
    show(ctx, g, NULL, seed, way);
    show(ctx, h, NULL, seed, way);
  } else {
    Program *p = pass_lower(h, &opt);
    ok = p && (!(way & BARE) || bare(ctx, p, &opt)) && program_verify(ctx, p) && run_and_compare(ctx, g, p, ins, want);
    if (!ok) show(ctx, g, p, seed, way);
  }
  ctx_free(ctx);
  return ok;
}

START_TEST(random_graphs) {
  const char *from = getenv("SEED"), *count = getenv("SEEDS");
  uint64_t first = from ? strtoull(from, NULL, 10) : 1, n = count ? strtoull(count, NULL, 10) : 1500;
  int skipped = 0;
  for (uint64_t seed = first; seed < first + n; seed++)
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
      ck_assert_msg(check_way(seed, ways[i], &skipped), "seed %llu way %d", (unsigned long long)seed, ways[i]);
  ck_assert_int_lt(skipped, (int)(n * sizeof ways / sizeof *ways / 20 + 10));
}
END_TEST

static Graph *parse(Ctx *ctx, const char *text) {
  Graph *g = graph_parse(ctx, "test", text, strlen(text));
  diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(g);
  return g;
}

static const char two_layers[] =
  "popshift.graph 1\n"
  "graph @g(%x: f32[1,4], %a: u2[3,8]) -> (%y: f32[1,2], %z: i32[3,2]) {\n"
  "  props typed static\n"
  "  %w: f32[4,2] = const [1, 2, 3, 4, 5, 6, 7, 8]\n"
  "  %v: i2[2,8] = const [1, 0, -1, 1, 1, 0, 0, -1, 0, 0, 1, 1, -1, -1, -2, 1]\n"
  "  %1: f32[1,2] = contract mul %x, %w [n m | k:4](n, k)(k, m) ; node 3 \"first\" (Gemm)\n"
  "  %2: i32[3,2] = contract mul %a, %v [n m | k:8](n, k)(m, k) ; node 4 \"second\" (MatMul)\n"
  "  return %1, %2\n"
  "}\n";

static Kernel chosen(const char *layer, Kernel kernel, const char *of, int *errors) {
  Ctx *ctx = ctx_new();
  Force f = {kernel, layer};
  PassOptions o = {.target = target_find("c99"), .force = &f, .n_force = 1};
  Graph *g = pass_select(parse(ctx, two_layers), &o);
  Kernel k = KERNEL_AUTO;
  for (int i = 0; g && i < g->n_nodes; i++)
    if (g->nodes[i]->loc.name && !strcmp(g->nodes[i]->loc.name, of)) k = g->nodes[i]->a.kernel;
  *errors = ctx->n_errors;
  ck_assert(ctx->n_errors == 0 || ctx->diags->code == E0308);
  ctx_free(ctx);
  return k;
}

START_TEST(forced) {
  int errors;
  ck_assert_int_eq(chosen("second", KERNEL_AUTO, "second", &errors), KERNEL_INT);
  ck_assert_int_eq(errors, 0);
  ck_assert_int_eq(chosen("second", KERNEL_BITSERIAL, "second", &errors), KERNEL_BITSERIAL);
  ck_assert_int_eq(chosen(NULL, KERNEL_BITSERIAL, "second", &errors), KERNEL_BITSERIAL);
  ck_assert_int_eq(chosen(NULL, KERNEL_BITSERIAL, "first", &errors), KERNEL_FLOAT);
  ck_assert_int_eq(errors, 0);
  chosen("first", KERNEL_BITSERIAL, "first", &errors);
  ck_assert_int_eq(errors, 1);
  chosen("first", KERNEL_INT, "first", &errors);
  ck_assert_int_eq(errors, 1);
  chosen("third", KERNEL_INT, "first", &errors);
  ck_assert_int_eq(errors, 1);
}
END_TEST

START_TEST(explained) {
  Ctx *ctx = ctx_new();
  static const Target machine = {.name = "machine", .word = 64, .features = "", .cost_mac = 0.05, .cost_fmac = 0.0625, .cost_word = 1.2, .cost_pack = 1.5,
                                 .cost_shift = 0.5, .cost_unpack = 0.25};
  PassOptions o = {.target = &machine};
  Graph *g = parse(ctx, two_layers);
  Str s = {.ctx = ctx};
  explain_select(&s, g, &o);
  ck_assert_str_eq(s.p,
    "node 3 \"first\" f32[1,4] . f32[4,2] -> f32[1,2]: float (cheapest)\n"
    "  * float     0.5 cycles\n"
    "    int       impossible: operands are floats\n"
    "    bitserial impossible: operands are floats\n"
    "    shift     impossible: operands are floats\n"
    "    packed    impossible: operands are floats\n"
    "node 4 \"second\" u2[3,8] . i2[2,8] -> i32[3,2]: int (cheapest)\n"
    "    float     impossible: operands are codes\n"
    "  * int       2.4 cycles\n"
    "    bitserial 101 cycles (2 x 2 planes of 1 words)\n"
    "    shift     25.5 cycles (69 additions for 100 products)\n"
    "    packed    14.4 cycles\n");
  str_free(&s);
  ctx_free(ctx);
}
END_TEST

/* Indices beyond 31 bits need 64: a view far into a broadcast that is never made. */
START_TEST(wide_indices) {
  Ctx *ctx = ctx_new();
  Graph *g = parse(ctx,
    "popshift.graph 1\n"
    "graph @g(%x: i8[2]) -> (%y: i8[4]) {\n"
    "  %1: i8[6000000000] = view %x [n]((n)/3000000000) fill=9 fused\n"
    "  %2: i8[4] = view %1 [n](n*1500000000)\n"
    "  return %2\n"
    "}\n");
  Program *p = pass_lower(g, &(PassOptions){.target = target_find("c99")});
  ck_assert(p && program_verify(ctx, p));
  ck_assert(elem_eq(p->index, I64));
  int8_t x[2] = {3, 5}, y[4] = {0};
  ck_assert(program_run(ctx, p, (const void *[]){x}, (void *[]){y}));
  ck_assert(y[0] == 3 && y[1] == 9 && y[2] == 5 && y[3] == 9);
  ctx_free(ctx);
}
END_TEST

int main(void) {
  Suite *s = suite_create("lower");
  TCase *t = tcase_create("lower");
  tcase_set_timeout(t, 600);
  tcase_add_test(t, random_graphs);
  tcase_add_test(t, forced);
  tcase_add_test(t, explained);
  tcase_add_test(t, wide_indices);
  suite_add_tcase(s, t);
  return suite_run(s);
}
