/* Evaluation of contract: sums of products over affine accesses, in the order of the reduction iterators. */
#include "ir/eval_access.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Numbers that a contraction computes in: operands are converted first. Sums of codes wrap to the result type, which a
 * final wrap of 32- or 64-bit sums does as well. */
typedef enum Kind { K_F32, K_F64, K_I32, K_I64, K_POP } Kind;

/* acc[i*sacc] += a[i*sa] . b[i*sb] (. c[i*sc]) for i < n */
typedef struct Terms {
  void *acc;
  const void *a, *b, *c;
  int64_t sacc, sa, sb, sc, n;
} Terms;
typedef void TermsFn(const Terms *);

/* WORD: operands a and b; NUM: acc and c; OP: the product as a NUM. Strides that make vector code possible are spelled out. */
#define KERNELS(NAME, WORD, NUM, OP) \
  static void NAME(const Terms *t) { \
    NUM *restrict acc = t->acc; \
    const WORD *a = t->a, *b = t->b; \
    const int64_t n = t->n, sacc = t->sacc, sa = t->sa, sb = t->sb; \
    if (sacc == 0) { \
      NUM sum = *acc; \
      if (sa == 1 && sb == 1) for (int64_t i = 0; i < n; i++) sum += OP(a[i], b[i]); \
      else for (int64_t i = 0; i < n; i++) sum += OP(a[i * sa], b[i * sb]); \
      *acc = sum; \
    } else if (sacc == 1 && sa == 1 && sb == 0) { \
      const WORD b0 = *b; \
      for (int64_t i = 0; i < n; i++) acc[i] += OP(a[i], b0); \
    } else if (sacc == 1 && sa == 0 && sb == 1) { \
      const WORD a0 = *a; \
      for (int64_t i = 0; i < n; i++) acc[i] += OP(a0, b[i]); \
    } else if (sacc == 1 && sa == 0) { \
      const WORD a0 = *a; \
      for (int64_t i = 0; i < n; i++) acc[i] += OP(a0, b[i * sb]); \
    } else { \
      for (int64_t i = 0; i < n; i++) acc[i * sacc] += OP(a[i * sa], b[i * sb]); \
    } \
  } \
  static void NAME##_c(const Terms *t) { \
    NUM *restrict acc = t->acc; \
    const WORD *a = t->a, *b = t->b; \
    const NUM *c = t->c; \
    for (int64_t i = 0; i < t->n; i++) acc[i * t->sacc] += OP(a[i * t->sa], b[i * t->sb]) * c[i * t->sc]; \
  }
#define MUL(a, b) ((a) * (b))
#define POP_AND(a, b) (uint64_t)__builtin_popcountll((a) & (b))
#define POP_XOR(a, b) (uint64_t)__builtin_popcountll((a) ^ (b))
KERNELS(mul_f32, float, float, MUL)
KERNELS(mul_f64, double, double, MUL)
KERNELS(mul_i32, uint32_t, uint32_t, MUL)
KERNELS(mul_i64, uint64_t, uint64_t, MUL)
KERNELS(and_pop, uint64_t, uint64_t, POP_AND)
KERNELS(xor_pop, uint64_t, uint64_t, POP_XOR)

static const struct {
  Elem word, num;
  TermsFn *mul[2], *and[2], *xor[2]; /* without and with c */
} kinds[] = {
  [K_F32] = {{EK_FLOAT, 32}, {EK_FLOAT, 32}, .mul = {mul_f32, mul_f32_c}},
  [K_F64] = {{EK_FLOAT, 64}, {EK_FLOAT, 64}, .mul = {mul_f64, mul_f64_c}},
  [K_I32] = {{EK_INT, 32}, {EK_INT, 32}, .mul = {mul_i32, mul_i32_c}},
  [K_I64] = {{EK_INT, 64}, {EK_INT, 64}, .mul = {mul_i64, mul_i64_c}},
  [K_POP] = {{EK_UINT, 64}, {EK_INT, 64}, .and = {and_pop, and_pop_c}, .xor = {xor_pop, xor_pop_c}},
};

typedef struct Contract {
  Loops l;
  int across;              /* the iterator of outputs that are summed side by side (loops_across), or -1 */
  int64_t pitch;           /* sums of each in the block at hand */
  Kind kind;
  TermsFn *kernel;
  Tensor *operand[3];      /* converted; owned where it differs from the input */
  double fill_f;           /* in the kind's word, as one element to point at */
  float fill_f32;
  int64_t fill_i;
  int32_t fill_i32;
  bool skip;               /* outside terms add nothing */
} Contract;

static Kind choose_kind(const Eval *e) {
  const Node *n = e->n;
  if (n->a.scalar != S_MUL) return K_POP;
  if (elem_is_float(n->t.e)) return n->t.e.bits == 64 ? K_F64 : K_F32;
  bool wide = n->t.e.bits > 32;
  for (int k = 0; k < n->n_in; k++) wide |= store_size(e->in[k]->st) > 4;
  return wide ? K_I64 : K_I32;
}

Tensor *eval_convert(const Eval *e, Tensor *x, Elem to, bool words) {
  Elem from = x->t.e;
  assert(elem_is_float(to) || elem_is_code(from));
  if (x->st == elem_store(to) && !(words && from.bits < 64)) return x;
  Type t = x->t;
  t.e = to;
  Tensor *y = eval_tensor(e->ctx, e->n, &t);
  Val v[RUN];
  for (int64_t i = 0; y && i < x->n; i += RUN) {
    int n = (int)(x->n - i < RUN ? x->n - i : RUN);
    vals_load(x, i, 1, v, n);
    if (words) for (int j = 0; j < n; j++) v[j].i = elem_wrap(UINTK(from.bits), v[j].i);
    else if (elem_is_float(to) && elem_is_code(from)) for (int j = 0; j < n; j++) v[j].f = code_to_float(from, to, v[j].i);
    vals_store(y, i, v, n);
  }
  return y;
}

/* True where a term fill . b . c never changes a sum: sums start from +0, so that a product of +-0 adds nothing. */
static bool fill_is_nothing(const Contract *c, const Node *n) {
  if (access_inside(n, 0)) return true;
  if (n->a.fill != 0) return false;
  if (c->kind != K_F32 && c->kind != K_F64) return n->a.scalar != S_XOR;
  for (int k = 1; k < n->n_in; k++)
    for (int64_t i = 0; i < c->operand[k]->n; i++)
      if (!isfinite(tensor_f(c->operand[k], i))) return false;
  return true;
}

static const void *fill_at(const Contract *c) {
  switch (c->kind) {
  case K_F32: return &c->fill_f32;
  case K_F64: return &c->fill_f;
  case K_I32: return &c->fill_i32;
  default: return &c->fill_i;
  }
}

static const void *element(const Tensor *x, int64_t i) { return (const char *)x->data + i * (int64_t)store_size(x->st); }

/* The same terms of `outs` outputs. */
static void add_across(const Contract *c, Terms *t, int outs) {
  const Loops *l = &c->l;
  size_t word = store_size(elem_store(kinds[c->kind].word)), num = store_size(elem_store(kinds[c->kind].num));
  for (int i = 0; i < outs; i++) {
    c->kernel(t);
    if (i + 1 == outs) break;
    t->acc = (char *)t->acc + c->pitch * (int64_t)num;
    t->b = (const char *)t->b + l->acc[1].coef[c->across] * (int64_t)word;
    if (t->c) t->c = (const char *)t->c + l->acc[2].coef[c->across] * (int64_t)num;
  }
}

/* Adds the terms of inner iterator values w0 .. w0+n-1 to `outs` outputs; acc is their sum (sacc 0) or their sums (sacc 1). */
static void add_terms(const Contract *c, void *acc, int64_t sacc, int64_t w0, int64_t n, int outs) {
  const Loops *l = &c->l;
  Span s[3];
  for (int k = 0; k < l->n_acc; k++) {
    s[k] = access_span(&l->acc[k], l->iter, w0, n);
    assert(k == 0 || (s[k].count == n && s[k].step == 1)); /* b and c never lie outside */
  }
  size_t num = store_size(elem_store(kinds[c->kind].num));
  int64_t end = s[0].first + (s[0].count - 1) * s[0].step + 1;
  for (int64_t at = 0; at < n;) { /* pieces all outside or all inside, in order */
    bool inside = s[0].count > 0 && at >= s[0].first && at < end && (at - s[0].first) % s[0].step == 0;
    int64_t step = inside ? s[0].step : 1, done = inside ? (at - s[0].first) / s[0].step : 0;
    int64_t count = inside ? s[0].count - done : (s[0].count > 0 && at < s[0].first ? s[0].first : n) - at;
    if (!inside && s[0].count > 0 && at > s[0].first && at < end) count = s[0].step - (at - s[0].first) % s[0].step;
    if (inside && !c->skip && step > 1) count = 1;
    if (inside || !c->skip) {
      Terms t = {.acc = (char *)acc + at * sacc * (int64_t)num, .sacc = sacc * step, .n = count};
      t.a = inside ? element(c->operand[0], s[0].offset + done * s[0].stride) : fill_at(c);
      t.sa = inside ? s[0].stride : 0;
      t.b = element(c->operand[1], s[1].offset + at * s[1].stride);
      t.sb = s[1].stride * step;
      if (l->n_acc > 2) {
        t.c = element(c->operand[2], s[2].offset + at * s[2].stride);
        t.sc = s[2].stride * step;
      }
      add_across(c, &t, outs);
    }
    at += inside ? (count - 1) * step + 1 : count;
  }
}

/* Sums of one block of outputs, at element `from` of acc, to the result. */
static void store_sums(const Contract *c, const Tensor *acc, int64_t from, int64_t first, int64_t stride, int n) {
  Tensor *y = c->l.e->y;
  Val v[RUN];
  vals_load(acc, from, 1, v, n);
  for (int i = 0; i < n; i++) {
    if (elem_is_float(y->t.e)) v[i].f = elem_round(y->t.e, v[i].f);
    else v[i].i = elem_wrap(y->t.e, v[i].i);
    if (stride != 1) vals_store(y, first + i * stride, &v[i], 1);
  }
  if (stride == 1) vals_store(y, first, v, n);
}

static bool block_sums(Contract *c, Tensor *acc, int64_t w0, int64_t n, int outs) {
  Loops *l = &c->l;
  bool sum = l->inner < 0 || l->inner >= l->n_out; /* the inner iterator is summed over */
  int64_t length = sum && l->inner >= 0 ? l->ext[l->inner] : n, piece = l->single ? 1 : length;
  do {
    for (int64_t i = 0; i < length; i += piece) {
      if (sum) add_terms(c, acc->data, 0, i, piece, outs);
      else add_terms(c, (char *)acc->data + i * (int64_t)store_size(acc->st), 1, w0 + i, piece, outs);
      if (loops_cancelled(l, outs)) return false;
    }
  } while (loops_next(l, l->n_out, l->n_iters));
  return true;
}

static bool all_sums(Contract *c, Tensor *acc) {
  Loops *l = &c->l;
  bool sum = l->inner < 0 || l->inner >= l->n_out;
  int64_t length = sum ? 1 : l->ext[l->inner], stride = sum ? 1 : l->out_stride[l->inner];
  do {
    int64_t first = 0, left = c->across < 0 ? 1 : l->ext[c->across] - l->iter[c->across];
    int outs = left < ACROSS ? (int)left : ACROSS;
    if (c->across >= 0 && l->iter[c->across] % ACROSS) continue; /* summed with those before */
    for (int i = 0; i < l->n_out; i++) first += l->iter[i] * l->out_stride[i];
    for (int64_t w0 = 0; w0 < length; w0 += RUN) {
      int n = (int)(length - w0 < RUN ? length - w0 : RUN);
      c->pitch = n;
      memset(acc->data, 0, (size_t)(outs * n) * store_size(acc->st)); /* +0 in every kind */
      if (!block_sums(c, acc, w0, n, outs)) return false;
      for (int i = 0; i < outs; i++) store_sums(c, acc, i * n, first + w0 * stride + (c->across < 0 ? 0 : i * l->out_stride[c->across]), stride, n);
    }
  } while (loops_next(l, 0, l->n_out));
  return true;
}

bool eval_contract(const Eval *e) {
  const Node *n = e->n;
  Contract c = {.kind = choose_kind(e), .fill_f = n->a.fill, .fill_f32 = (float)n->a.fill};
  int64_t reductions = 1, block = ACROSS * RUN;
  if (!loops_init(&c.l, e)) return false;
  for (int i = c.l.n_out; i < c.l.n_iters; i++) reductions *= c.l.ext[i] > 0;
  if (e->y->n == 0 || reductions == 0) return true;
  bool pop = n->a.scalar != S_MUL, with_c = n->n_in > 2;
  if (elem_is_code(n->in[0]->t.e)) c.fill_i = (int64_t)n->a.fill;
  if (pop) c.fill_i = elem_wrap(UINTK(n->in[0]->t.e.bits), c.fill_i);
  c.fill_i32 = (int32_t)c.fill_i;
  c.across = loops_across(&c.l, c.l.inner);
  c.kernel = (n->a.scalar == S_MUL ? kinds[c.kind].mul : n->a.scalar == S_AND ? kinds[c.kind].and : kinds[c.kind].xor)[with_c];
  assert(c.kernel);
  bool ok = true;
  for (int k = 0; k < n->n_in; k++) {
    c.operand[k] = eval_convert(e, e->in[k], k < 2 ? kinds[c.kind].word : kinds[c.kind].num, pop && k < 2);
    ok = ok && c.operand[k];
  }
  Type t = type_make(kinds[c.kind].num, 1, &block);
  Tensor *acc = ok ? eval_tensor(e->ctx, n, &t) : NULL;
  if (acc) {
    c.skip = fill_is_nothing(&c, n);
    ok = all_sums(&c, acc);
  } else {
    ok = false;
  }
  for (int k = 0; k < n->n_in; k++) if (c.operand[k] != e->in[k]) tensor_free(c.operand[k]);
  tensor_free(acc);
  return ok;
}
