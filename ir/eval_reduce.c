/* Evaluation of view (elements by an affine access) and reduce (folds over one, outside elements left out). */
#include "ir/eval_access.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* View */

static void copy_elements(void *y, int64_t sy, const void *x, int64_t sx, int64_t n, size_t size) {
#define COPY(T) { T *to = y; const T *from = x; for (int64_t i = 0; i < n; i++) to[i * sy] = from[i * sx]; }
  if (sy == 1 && sx == 1) memcpy(y, x, (size_t)n * size);
  else if (size == 1) COPY(uint8_t)
  else if (size == 2) COPY(uint16_t)
  else if (size == 4) COPY(uint32_t)
  else COPY(uint64_t)
#undef COPY
}

static void fill_tensor(Tensor *y, double fill) {
  Val v[RUN];
  for (int i = 0; i < RUN; i++) {
    if (elem_is_float(y->t.e)) v[i].f = elem_round(y->t.e, fill);
    else v[i].i = (int64_t)fill;
  }
  for (int64_t i = 0; i < y->n; i += RUN) vals_store(y, i, v, (int)(y->n - i < RUN ? y->n - i : RUN));
}

bool eval_view(const Eval *e) {
  Loops l;
  if (!loops_init(&l, e)) return false;
  if (e->y->n == 0) return true;
  if (!access_inside(e->n, 0)) fill_tensor(e->y, e->n->a.fill);
  size_t size = store_size(e->y->st);
  assert(e->in[0]->st == e->y->st);
  int64_t length = l.inner < 0 ? 1 : l.ext[l.inner], piece = l.single ? 1 : length;
  do {
    int64_t first = 0, stride = l.inner < 0 ? 0 : l.out_stride[l.inner];
    for (int i = 0; i < l.n_out; i++) first += l.iter[i] * l.out_stride[i];
    for (int64_t w0 = 0; w0 < length; w0 += piece) {
      Span s = access_span(&l.acc[0], l.iter, w0, piece);
      char *y = (char *)e->y->data + (first + (w0 + s.first) * stride) * (int64_t)size;
      if (s.count)
        copy_elements(y, stride * s.step, (const char *)e->in[0]->data + s.offset * (int64_t)size, s.stride, s.count, size);
      if (loops_cancelled(&l, 1)) return false;
    }
  } while (loops_next(&l, 0, l.n_out));
  return true;
}

/* Reduce */

typedef enum Kind { K_F32, K_F64, K_I32, K_I64, K_U64, KIND_COUNT } Kind;

/* acc[i*sacc] = acc[i*sacc] op x[i*sx] for i < n */
typedef void Fold(void *acc, int64_t sacc, const void *x, int64_t sx, int64_t n);

#define FOLD(NAME, T, OP) \
  static void NAME(void *acc_, int64_t sacc, const void *x_, int64_t sx, int64_t n) { \
    T *restrict acc = acc_; \
    const T *x = x_; \
    if (sacc == 0) { \
      T y = *acc; \
      for (int64_t i = 0; i < n; i++) y = OP(y, x[i * sx]); \
      *acc = y; \
    } else if (sacc == 1 && sx == 1) { \
      for (int64_t i = 0; i < n; i++) acc[i] = OP(acc[i], x[i]); \
    } else { \
      for (int64_t i = 0; i < n; i++) acc[i * sacc] = OP(acc[i * sacc], x[i * sx]); \
    } \
  }
#define ADD(a, b) ((a) + (b))
#define MUL(a, b) ((a) * (b))
#define MAX(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))
#define MIN(a, b) ((a) < (b) || (a) != (a) ? (a) : (b))
#define AND(a, b) ((a) & (b))
#define OR(a, b) ((a) | (b))
FOLD(add_f32, float, ADD) FOLD(add_f64, double, ADD) FOLD(add_u32, uint32_t, ADD) FOLD(add_u64, uint64_t, ADD)
FOLD(mul_f32, float, MUL) FOLD(mul_f64, double, MUL) FOLD(mul_u32, uint32_t, MUL) FOLD(mul_u64, uint64_t, MUL)
FOLD(max_f32, float, MAX) FOLD(max_f64, double, MAX) FOLD(max_i32, int32_t, MAX) FOLD(max_i64, int64_t, MAX)
FOLD(min_f32, float, MIN) FOLD(min_f64, double, MIN) FOLD(min_i32, int32_t, MIN) FOLD(min_i64, int64_t, MIN)
FOLD(max_u64, uint64_t, MAX) FOLD(min_u64, uint64_t, MIN)
FOLD(and_u32, uint32_t, AND) FOLD(and_u64, uint64_t, AND) FOLD(or_u32, uint32_t, OR) FOLD(or_u64, uint64_t, OR)

static Fold *const folds[SCALAR_COUNT][KIND_COUNT] = {
  [S_ADD] = {[K_F32] = add_f32, [K_F64] = add_f64, [K_I32] = add_u32, [K_I64] = add_u64, [K_U64] = add_u64},
  [S_MUL] = {[K_F32] = mul_f32, [K_F64] = mul_f64, [K_I32] = mul_u32, [K_I64] = mul_u64, [K_U64] = mul_u64},
  [S_MAX] = {[K_F32] = max_f32, [K_F64] = max_f64, [K_I32] = max_i32, [K_I64] = max_i64, [K_U64] = max_u64},
  [S_MIN] = {[K_F32] = min_f32, [K_F64] = min_f64, [K_I32] = min_i32, [K_I64] = min_i64, [K_U64] = min_u64},
  [S_AND] = {[K_I32] = and_u32, [K_I64] = and_u64, [K_U64] = and_u64},
  [S_OR] = {[K_I32] = or_u32, [K_I64] = or_u64, [K_U64] = or_u64},
};
static const Elem kind_elem[KIND_COUNT] = {
  [K_F32] = {EK_FLOAT, 32}, [K_F64] = {EK_FLOAT, 64}, [K_I32] = {EK_INT, 32}, [K_I64] = {EK_INT, 64}, [K_U64] = {EK_UINT, 64}
};

/* What a fold over no element gives: the least number for max (-inf for floats), and so on. */
static Val neutral(Scalar s, Elem e) {
  bool is_float = elem_is_float(e);
  switch (s) {
  case S_MUL: return is_float ? (Val){.f = 1} : (Val){.i = 1};
  case S_MAX: return is_float ? (Val){.f = -INFINITY} : (Val){.i = elem_lo(e)};
  case S_MIN: return is_float ? (Val){.f = INFINITY} : (Val){.i = elem_is_u64(e) ? -1 : elem_hi(e)};
  case S_AND: return (Val){.i = -1};
  default: return is_float ? (Val){.f = 0} : (Val){.i = 0};
  }
}

static Kind choose_kind(const Tensor *x, Elem result) {
  switch (x->st) {
  case ST_F32: return K_F32;
  case ST_F64: return K_F64;
  case ST_U64: return K_U64;
  case ST_I64: case ST_U32: return K_I64;
  default: return result.bits > 32 ? K_I64 : K_I32; /* sums wrap to the result's type */
  }
}

typedef struct Reduce { Loops l; Fold *fold; const Tensor *x; Tensor *acc; Val start; } Reduce;

/* Folds x into acc for outputs w0 .. w0+n-1 of the inner iterator, or into one where that is folded over. */
static bool fold_block(Reduce *r, int64_t w0, int64_t n) {
  Loops *l = &r->l;
  bool sum = l->inner < 0 || l->inner >= l->n_out;
  int64_t length = sum && l->inner >= 0 ? l->ext[l->inner] : n, piece = l->single ? 1 : length;
  size_t size = store_size(r->x->st);
  do {
    for (int64_t i = 0; i < length; i += piece) {
      Span s = access_span(&l->acc[0], l->iter, sum ? i : w0 + i, piece);
      char *acc = (char *)r->acc->data + (sum ? 0 : (i + s.first) * (int64_t)size);
      if (s.count)
        r->fold(acc, sum ? 0 : s.step, (const char *)r->x->data + s.offset * (int64_t)size, s.stride, s.count);
      if (loops_cancelled(l, 1)) return false;
    }
  } while (loops_next(l, l->n_out, l->n_iters));
  return true;
}

static bool fold_all(Reduce *r, bool empty) {
  Loops *l = &r->l;
  Tensor *y = l->e->y;
  bool sum = l->inner < 0 || l->inner >= l->n_out;
  int64_t length = sum ? 1 : l->ext[l->inner], stride = sum ? 1 : l->out_stride[l->inner];
  do {
    int64_t first = 0;
    for (int i = 0; i < l->n_out; i++) first += l->iter[i] * l->out_stride[i];
    for (int64_t w0 = 0; w0 < length; w0 += RUN) {
      int n = (int)(length - w0 < RUN ? length - w0 : RUN);
      Val v[RUN];
      for (int i = 0; i < n; i++) v[i] = r->start;
      vals_store(r->acc, 0, v, n);
      if (!empty && !fold_block(r, w0, n)) return false;
      vals_load(r->acc, 0, 1, v, n);
      for (int i = 0; i < n; i++) {
        if (elem_is_float(y->t.e)) v[i].f = elem_round(y->t.e, v[i].f);
        else v[i].i = elem_wrap(y->t.e, v[i].i);
        vals_store(y, first + (w0 + i) * stride, &v[i], 1);
      }
    }
  } while (loops_next(l, 0, l->n_out));
  return true;
}

bool eval_reduce(const Eval *e) {
  Kind kind = choose_kind(e->in[0], e->n->t.e);
  Reduce r = {.fold = folds[e->n->a.scalar][kind], .start = neutral(e->n->a.scalar, e->n->t.e)};
  assert(r.fold && elem_is_float(e->n->t.e) == elem_is_float(e->in[0]->t.e));
  if (!loops_init(&r.l, e)) return false;
  if (e->y->n == 0) return true;
  bool empty = false;
  for (int i = r.l.n_out; i < r.l.n_iters; i++) empty |= r.l.ext[i] == 0;
  Type t = type_make(kind_elem[kind], 1, (int64_t[]){RUN});
  Tensor *x = eval_convert(e, e->in[0], kind_elem[kind], false);
  r.x = x;
  r.acc = x ? eval_tensor(e->ctx, e->n, &t) : NULL;
  bool ok = r.acc && fold_all(&r, empty);
  if (x != e->in[0]) tensor_free(x);
  tensor_free(r.acc);
  return ok;
}
