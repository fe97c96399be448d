/* Element types, shapes, tensors. */
#include "ir/type.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Element types */

static const struct { const char *prefix; uint8_t lo, hi; bool angle; } kinds[] = {
  [EK_FLOAT] = {"f", 16, 64, false}, [EK_BF16] = {"bf", 16, 16, false}, [EK_INT] = {"i", 1, 64, false},
  [EK_UINT] = {"u", 1, 64, false}, [EK_BOOL] = {"bool", 1, 1, false}, [EK_SHIFT] = {"shift", 2, 7, true},
  [EK_BASES] = {"bases", 1, 16, true},
};

bool elem_valid(Elem e) {
  if (e.kind > EK_BASES || e.bits < kinds[e.kind].lo || e.bits > kinds[e.kind].hi) return false;
  return e.kind != EK_FLOAT || e.bits == 16 || e.bits == 32 || e.bits == 64;
}

int64_t elem_hi(Elem e) {
  assert(elem_is_code(e));
  switch (e.kind) {
  case EK_INT: return (int64_t)((UINT64_C(1) << (e.bits - 1)) - 1);
  case EK_UINT: return e.bits >= 63 ? INT64_MAX : (INT64_C(1) << e.bits) - 1;
  case EK_SHIFT: return INT64_C(1) << ((1 << (e.bits - 1)) - 2);
  case EK_BASES: return e.bits == 1 ? 1 : (INT64_C(1) << e.bits) - 1;
  default: return 1;
  }
}

int64_t elem_lo(Elem e) {
  assert(elem_is_code(e));
  switch (e.kind) {
  case EK_INT: return -elem_hi(e) - 1;
  case EK_SHIFT: return -elem_hi(e);
  case EK_BASES: return e.bits == 1 ? -1 : 0;
  default: return 0;
  }
}

Elem elem_for_range(int64_t lo, int64_t hi) {
  assert(lo <= hi);
  int k = 1;
  if (lo >= 0) {
    while (k < 63 && hi >> k) k++;
    return UINTK(k);
  }
  while (k < 64 && (lo < -(INT64_C(1) << (k - 1)) || hi > (INT64_C(1) << (k - 1)) - 1)) k++;
  return INTK(k);
}

void elem_print(Str *s, Elem e) {
  const char *prefix = kinds[e.kind].prefix;
  if (e.kind == EK_BOOL) str_put(s, prefix);
  else str_printf(s, kinds[e.kind].angle ? "%s<%d>" : "%s%d", prefix, e.bits);
}

bool elem_parse(const char *text, size_t n, Elem *e) {
  for (int kind = 0; kind <= EK_BASES; kind++) {
    size_t np = strlen(kinds[kind].prefix), end = n;
    if (n < np || memcmp(text, kinds[kind].prefix, np)) continue;
    int64_t bits;
    if (kind == EK_BOOL) {
      if (n != np) continue;
      *e = BOOL;
      return true;
    }
    if (kinds[kind].angle) {
      if (n < np + 3 || text[np] != '<' || text[n - 1] != '>') continue;
      np++;
      end--;
    }
    if (end == np || text[np] == '0' || text[np] == '-' || !parse_i64(text + np, end - np, &bits) || bits > 64) continue;
    *e = (Elem){(uint8_t)kind, (uint8_t)bits};
    return elem_valid(*e);
  }
  return false;
}

Store elem_store(Elem e) {
  if (elem_is_float(e)) return e.bits == 64 ? ST_F64 : ST_F32;
  bool is_signed = e.kind == EK_INT || e.kind == EK_SHIFT || (e.kind == EK_BASES && e.bits == 1);
  int bits = e.bits;
  if (e.kind == EK_SHIFT) bits = e.bits == 7 ? 64 : 1 << (e.bits - 1); /* 2^(2^(k-1)-2) and its negative */
  int i = bits <= 8 ? 0 : bits <= 16 ? 2 : bits <= 32 ? 4 : 6;
  return (Store)(ST_I8 + i + !is_signed);
}

size_t store_size(Store st) {
  static const uint8_t size[] = {[ST_F32] = 4, [ST_F64] = 8, [ST_I8] = 1, [ST_U8] = 1, [ST_I16] = 2, [ST_U16] = 2,
                                 [ST_I32] = 4, [ST_U32] = 4, [ST_I64] = 8, [ST_U64] = 8};
  return size[st];
}

/* Types */

Type type_make(Elem e, int rank, const int64_t *dims) {
  assert(rank >= 0 && rank <= MAX_RANK);
  Type t = {.e = e, .rank = (uint8_t)rank};
  for (int i = 0; i < rank; i++) t.d[i] = dim_c(dims[i]);
  return t;
}

Type type_scalar(Elem e) { return type_make(e, 0, NULL); }

bool type_eq(const Type *a, const Type *b) {
  if (!elem_eq(a->e, b->e) || a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (!dim_eq(a->d[i], b->d[i])) return false;
  return true;
}

bool type_shape_eq(const Type *a, const Type *b) {
  Type t = *a;
  t.e = b->e;
  return type_eq(&t, b);
}

bool type_static(const Type *t) {
  for (int i = 0; i < t->rank; i++)
    if (t->d[i].sym) return false;
  return true;
}

bool type_count(const Type *t, int64_t *n) {
  bool zero = false, fits = true;
  int64_t r = 1;
  for (int i = 0; i < t->rank; i++) {
    if (t->d[i].sym) return false;
    zero |= t->d[i].n == 0;
    if (t->d[i].n) fits = fits && mul_ok(r, t->d[i].n, &r) && r <= INT64_C(1) << 62;
  }
  *n = zero ? 0 : r;
  return zero || fits;
}

bool type_broadcast(const Type *a, const Type *b, Type *out) {
  Type t = {.e = a->e, .rank = a->rank > b->rank ? a->rank : b->rank};
  for (int i = 0; i < t.rank; i++) {
    int ia = i - (t.rank - a->rank), ib = i - (t.rank - b->rank);
    Dim da = ia < 0 ? dim_c(1) : a->d[ia], db = ib < 0 ? dim_c(1) : b->d[ib];
    if (dim_eq(da, dim_c(1))) t.d[i] = db;
    else if (dim_eq(db, dim_c(1)) || dim_eq(da, db)) t.d[i] = da;
    else return false;
  }
  *out = t;
  return true;
}

/* Tensors */

Tensor *tensor_new(Ctx *ctx, const Type *t) {
  int64_t n, bytes;
  if (!type_static(t)) { diag(ctx, E0304, NULL, "a tensor needs known dimensions"); return NULL; }
  size_t size = store_size(elem_store(t->e));
  if (!type_count(t, &n) || !mul_ok(n, (int64_t)size, &bytes) || bytes > INT64_MAX / 2) {
    diag(ctx, E0402, NULL, "a tensor has more than 2^62 bytes");
    return NULL;
  }
  int64_t total = (bytes + 63) / 64 * 64 + 64, left = ctx->limits.memory - ctx->memory_used;
  void *data = NULL;
  Tensor *x = NULL;
  if (total <= left && (uint64_t)total < SIZE_MAX / 2) {
    x = calloc(1, sizeof *x);
    if (x && posix_memalign(&data, 64, (size_t)(bytes ? bytes : 1))) { free(x); x = NULL; }
  }
  if (!x) {
    diag(ctx, E0401, NULL, "a tensor of %lld bytes passes the memory limit of %lld bytes (--limit memory=N)",
         (long long)bytes, (long long)ctx->limits.memory);
    return NULL;
  }
  memset(data, 0, (size_t)bytes);
  *x = (Tensor){.next = ctx->tensors, .link = &ctx->tensors, .ctx = ctx, .t = *t, .n = n, .st = elem_store(t->e), .data = data};
  if (x->next) x->next->link = &x->next;
  ctx->tensors = x;
  ctx->memory_used += total;
  return x;
}

void tensor_free(Tensor *x) {
  if (!x) return;
  int64_t bytes = x->n * (int64_t)store_size(x->st);
  x->ctx->memory_used -= (bytes + 63) / 64 * 64 + 64;
  *x->link = x->next;
  if (x->next) x->next->link = x->link;
  free(x->data);
  free(x);
}

Tensor *tensor_copy(const Tensor *x) {
  Tensor *y = tensor_new(x->ctx, &x->t);
  if (y) memcpy(y->data, x->data, (size_t)x->n * store_size(x->st));
  return y;
}

int64_t tensor_i(const Tensor *x, int64_t i) {
  assert(i >= 0 && i < x->n);
  switch (x->st) {
  case ST_I8: return ((const int8_t *)x->data)[i];
  case ST_U8: return ((const uint8_t *)x->data)[i];
  case ST_I16: return ((const int16_t *)x->data)[i];
  case ST_U16: return ((const uint16_t *)x->data)[i];
  case ST_I32: return ((const int32_t *)x->data)[i];
  case ST_U32: return ((const uint32_t *)x->data)[i];
  case ST_I64: return ((const int64_t *)x->data)[i];
  case ST_U64: return (int64_t)((const uint64_t *)x->data)[i];
  default: break;
  }
  double v = tensor_f(x, i);
  if (isnan(v)) return 0;
  return v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v;
}

double tensor_f(const Tensor *x, int64_t i) {
  assert(i >= 0 && i < x->n);
  switch (x->st) {
  case ST_F32: return ((const float *)x->data)[i];
  case ST_F64: return ((const double *)x->data)[i];
  case ST_U64: return (double)((const uint64_t *)x->data)[i];
  default: return (double)tensor_i(x, i);
  }
}

/* Binary64 to binary32 rounding to odd: a second rounding to fewer bits then gives the correctly rounded result. */
static float round_odd(double v) {
  float f = (float)v;
  if ((double)f == v || isnan(v)) return f;
  uint32_t u;
  memcpy(&u, &f, 4);
  if (fabs((double)f) > fabs(v)) u--;
  u |= 1;
  memcpy(&f, &u, 4);
  return f;
}

void tensor_set_f(Tensor *x, int64_t i, double v) {
  assert(i >= 0 && i < x->n && elem_is_float(x->t.e));
  if (x->st == ST_F64) ((double *)x->data)[i] = v;
  else if (x->t.e.kind == EK_BF16) ((float *)x->data)[i] = round_bf16(round_odd(v));
  else ((float *)x->data)[i] = x->t.e.bits == 16 ? round_f16(round_odd(v)) : (float)v;
}

void tensor_set_i(Tensor *x, int64_t i, int64_t v) {
  assert(i >= 0 && i < x->n && elem_is_code(x->t.e));
  assert(x->st == ST_U64 || (v >= elem_lo(x->t.e) && v <= elem_hi(x->t.e)));
  switch (x->st) {
  case ST_I8: ((int8_t *)x->data)[i] = (int8_t)v; break;
  case ST_U8: ((uint8_t *)x->data)[i] = (uint8_t)v; break;
  case ST_I16: ((int16_t *)x->data)[i] = (int16_t)v; break;
  case ST_U16: ((uint16_t *)x->data)[i] = (uint16_t)v; break;
  case ST_I32: ((int32_t *)x->data)[i] = (int32_t)v; break;
  case ST_U32: ((uint32_t *)x->data)[i] = (uint32_t)v; break;
  case ST_I64: ((int64_t *)x->data)[i] = v; break;
  default: ((uint64_t *)x->data)[i] = (uint64_t)v; break;
  }
}

bool tensor_eq(const Tensor *a, const Tensor *b) {
  return type_eq(&a->t, &b->t) && !memcmp(a->data, b->data, (size_t)a->n * store_size(a->st));
}

int64_t tensor_diff(const Tensor *a, const Tensor *b, double atol, double rtol, int64_t *first, double *worst) {
  assert(a->n == b->n);
  int64_t count = 0, at = -1;
  double most = 0;
  bool is_float = elem_is_float(a->t.e) || elem_is_float(b->t.e);
  for (int64_t i = 0; i < a->n; i++) {
    bool differs;
    double x = tensor_f(a, i), y = tensor_f(b, i), d = fabs(x - y);
    if (!is_float) {
      differs = tensor_i(a, i) != tensor_i(b, i);
      if (differs && d == 0) d = 1; /* equal only as doubles */
    } else if (isnan(x) || isnan(y)) {
      differs = isnan(x) != isnan(y);
      d = differs ? INFINITY : 0;
    } else if (isinf(x) || isinf(y)) {
      differs = x != y;
      d = differs ? INFINITY : 0;
    } else {
      differs = d > atol + rtol * fabs(y);
    }
    if (d > most) most = d;
    if (!differs) continue;
    count++;
    if (at < 0) at = i;
  }
  if (first) *first = at;
  if (worst) *worst = most;
  return count;
}

/* 16-bit floats (IEEE 754 binary16; bfloat16 is the upper half of binary32) */

float f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = (h >> 10) & 31, fraction = h & 1023, u;
  if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact in binary32 */
    float f = (float)fraction * 0x1p-24f;
    return sign ? -f : f;
  }
  if (exponent == 31) u = sign | 0x7f800000u | fraction << 13;
  else u = sign | (exponent + 112) << 23 | fraction << 13;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

uint16_t f32_to_f16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x1ff)); /* NaN, made quiet */
  if (u >= 0x47800000u) return (uint16_t)(sign | 0x7c00);                    /* 2^16 and above */
  if (u < 0x38800000u) { /* below 2^-14: count units of 2^-24, ties to even by the exact scaled addition */
    float a;
    memcpy(&a, &u, 4);
    return (uint16_t)(sign | (uint16_t)rintf(a * 0x1p24f));
  }
  u += 0xfff + (u >> 13 & 1); /* half to even; a carry out of 65504 gives infinity's code */
  return (uint16_t)(sign | (uint16_t)((u - 0x38000000u) >> 13));
}

float round_f16(float f) { return f16_to_f32(f32_to_f16(f)); }

float round_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) u = (u | 0x00400000u) & 0xffff0000u;
  else u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
  memcpy(&f, &u, 4);
  return f;
}
