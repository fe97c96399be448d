/* Tensors from files: .npy, .npz, TensorProto .pb, idx, CIFAR batches, label columns. */
#include "tools/cmd.h"

#include "runtime/cifar.h"
#include "runtime/csv.h"
#include "runtime/npy.h"
#include "runtime/npz.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Loc at(const char *path) { return (Loc){path, -1, -1, NULL, NULL}; }

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n >= k && !strcmp(s + n - k, suffix);
}

/* Element types of arrays: the tensor's storage is the array's own, except f2. */
static Elem array_elem(const RtArray *a) {
  if (a->kind == 'f') return (Elem){EK_FLOAT, (uint8_t)(8 * a->size)};
  if (a->kind == 'b') return BOOL;
  return a->kind == 'i' ? INTK(8 * a->size) : UINTK(8 * a->size);
}

static Tensor *from_array(Ctx *ctx, const char *path, RtArray *a) {
  Loc l = at(path);
  Tensor *t = NULL;
  if (a->rank > MAX_RANK) diag(ctx, E0104, &l, "%d dimensions, at most %d are read", a->rank, MAX_RANK);
  else {
    Type type = type_make(array_elem(a), a->rank, a->dims);
    t = tensor_new(ctx, &type);
  }
  if (t && a->kind == 'f' && a->size == 2)
    for (int64_t i = 0; i < t->n; i++) ((float *)t->data)[i] = f16_to_f32(((const uint16_t *)a->data)[i]);
  else if (t) memcpy(t->data, a->data, (size_t)t->n * store_size(t->st));
  rt_array_free(a);
  return t;
}

static bool may_read(Ctx *ctx, const char *path) {
  Loc l = at(path);
  struct stat st;
  if (access(path, R_OK)) return diag(ctx, E0501, &l, "cannot open: %s", strerror(errno));
  return stat(path, &st) || !S_ISDIR(st.st_mode) || diag(ctx, E0501, &l, "cannot read: %s", strerror(EISDIR));
}

static Tensor *read_array(Ctx *ctx, const char *path, const char *(*read)(const char *, uint64_t, RtArray *)) {
  RtArray a = {0};
  Loc l = at(path);
  const char *colon = rt_npz_colon(path);
  if (!may_read(ctx, colon ? arena_strndup(ctx->own, path, (size_t)(colon - path)) : path)) return NULL;
  const char *wrong = read(path, (uint64_t)ctx->limits.memory, &a);
  if (!wrong) return from_array(ctx, path, &a);
  diag(ctx, E0104, &l, "%s", wrong);
  return NULL;
}

Tensor *tensor_read(Ctx *ctx, const char *path, char **name) {
  if (name) *name = NULL;
  if (ends_with(path, ".npy")) return read_array(ctx, path, rt_npy_read);
  char *bytes;
  size_t n;
  if (!file_read(ctx, path, &bytes, &n)) return NULL;
  Tensor *t = onnx_read_tensor(ctx, path, bytes, n, name);
  free(bytes);
  return t;
}

static const char *cifar_images(const char *path, uint64_t max, RtArray *a) {
  RtArray labels = {0};
  const char *wrong = rt_cifar_read(path, 0, max, a, &labels);
  rt_array_free(&labels);
  return wrong;
}

static const char *fine_labels(const char *path, uint64_t max, RtArray *a) {
  RtArray images = {0};
  const char *wrong = rt_cifar_read(path, 0, max, &images, a);
  rt_array_free(&images);
  return wrong;
}

static const char *coarse_labels(const char *path, uint64_t max, RtArray *a) {
  RtArray images = {0};
  const char *wrong = rt_cifar_read(path, RT_CIFAR_COARSE, max, &images, a);
  rt_array_free(&images);
  return wrong;
}

Tensor *samples_read(Ctx *ctx, const char *path) {
  if (ends_with(path, ".bin")) return read_array(ctx, path, cifar_images);
  return read_array(ctx, path, rt_any_read);
}

bool tensor_write(Ctx *ctx, const char *path, const Tensor *t) {
  RtArray a = {.rank = t->t.rank, .n = t->n, .data = t->data, .size = (uint8_t)store_size(t->st)};
  a.kind = t->t.e.kind == EK_BOOL ? 'b' : t->st == ST_F32 || t->st == ST_F64 ? 'f' : t->st == ST_I8 || t->st == ST_I16 || t->st == ST_I32 || t->st == ST_I64 ? 'i' : 'u';
  for (int i = 0; i < t->t.rank; i++) a.dims[i] = t->t.d[i].n;
  unsigned char *bytes;
  size_t n;
  Loc l = at(path);
  const char *wrong = rt_npy_format(&a, &bytes, &n);
  if (wrong) return diag(ctx, E0502, &l, "%s", wrong);
  bool ok = file_write(ctx, path, (const char *)bytes, n);
  free(bytes);
  return ok;
}

/* splitmix64 of the seed and the element's number: the same data on every machine. */
static uint64_t draw(uint64_t seed, uint64_t i) {
  uint64_t z = seed * 0xbf58476d1ce4e5b9u + (i + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

Tensor *tensor_random(Ctx *ctx, const Type *t, uint64_t seed) {
  Tensor *x = tensor_new(ctx, t);
  for (int64_t i = 0; x && i < x->n; i++) {
    uint64_t r = draw(seed, (uint64_t)i);
    if (elem_is_float(t->e)) { tensor_set_f(x, i, (double)(r >> 11) * 0x1p-52 - 1); continue; }
    int64_t lo = elem_lo(t->e), hi = elem_hi(t->e);
    uint64_t span = (uint64_t)hi - (uint64_t)lo + 1;
    int64_t v = span ? (int64_t)((uint64_t)lo + r % span) : (int64_t)r;
    if (t->e.kind == EK_BASES && t->e.bits == 1) v = r & 1 ? 1 : -1;
    if (t->e.kind == EK_SHIFT) { int e = (int)(r % (uint64_t)(1 << (t->e.bits - 1))); v = e == 0 ? 0 : (r >> 32 & 1 ? -1 : 1) * (INT64_C(1) << (e - 1)); }
    tensor_set_i(x, i, v);
  }
  return x;
}

Tensor *tensor_as(Ctx *ctx, const Tensor *x, const Type *t) {
  int64_t n;
  if (!type_count(t, &n)) { diag(ctx, E0304, NULL, "a port of the model has an unknown dimension"); return NULL; }
  if (n != x->n) { diag(ctx, E0702, NULL, "data has %lld elements, the model wants %lld", (long long)x->n, (long long)n); return NULL; }
  Tensor *y = tensor_new(ctx, t);
  if (!y) return NULL;
  if (elem_eq(x->t.e, t->e)) { memcpy(y->data, x->data, (size_t)n * store_size(y->st)); return y; }
  if (elem_eq(t->e, BF16) && x->st == ST_U16) { /* files of ONNX 1.12 hold bf16 as its bits */
    for (int64_t i = 0; i < n; i++) {
      uint32_t bits = (uint32_t)((const uint16_t *)x->data)[i] << 16;
      memcpy((float *)y->data + i, &bits, 4);
    }
    return y;
  }
  bool to_code = elem_is_code(t->e), from_code = elem_is_code(x->t.e);
  for (int64_t i = 0; i < n; i++) {
    double f = from_code ? 0 : tensor_f(x, i);
    int64_t v = from_code ? tensor_i(x, i) : (int64_t)f;
    if (!to_code) { tensor_set_f(y, i, from_code ? tensor_f(x, i) : f); continue; }
    if ((!from_code && (double)v != f) || v < elem_lo(t->e) || (v > elem_hi(t->e) && t->e.bits < 63)) {
      diag(ctx, E0702, NULL, "element %lld of the data is not a number of the model's type", (long long)i);
      tensor_free(y);
      return NULL;
    }
    tensor_set_i(y, i, v);
  }
  return y;
}

/* The column (from 1) of every line; a first line that has no number there is a header. */
static bool csv_column(Ctx *ctx, const char *path, int column, int64_t **out, int64_t *count) {
  RtArray a = {0};
  Loc l = at(path);
  if (!may_read(ctx, path)) return false;
  int line;
  const char *wrong = rt_csv_read(path, column, (uint64_t)ctx->limits.memory, &a, &line);
  if (wrong && line) l.line = line;
  if (wrong) return diag(ctx, E0104, &l, "column %d: %s", column, wrong);
  *out = NEWN(ctx->own, int64_t, a.n + 1);
  *count = a.n;
  bool ok = true;
  for (int64_t i = 0; ok && i < a.n; i++) {
    double v = ((const double *)a.data)[i];
    ok = (v == floor(v) && fabs(v) < 0x1p53) || diag(ctx, E0104, &l, "column %d holds %g in row %lld: no whole number", column, v, (long long)i + 1);
    (*out)[i] = ok ? (int64_t)v : 0;
  }
  rt_array_free(&a);
  return ok;
}

bool labels_read(Ctx *ctx, const char *spec, int64_t **labels, int64_t *n) {
  const char *colon = strrchr(spec, ':');
  char *end = NULL;
  long column = colon ? strtol(colon + 1, &end, 10) : 0;
  bool has_column = colon && colon[1] && !*end && !rt_npz_colon(spec);
  if (has_column && (column < 1 || column > 10000)) return diag(ctx, E0701, NULL, "--labels FILE:COLUMN counts columns from 1, not '%s'", spec);
  const char *path = has_column ? arena_strndup(ctx->own, spec, (size_t)(colon - spec)) : spec;
  if (has_column || ends_with(path, ".csv") || ends_with(path, ".txt")) return csv_column(ctx, path, has_column ? (int)column : 1, labels, n);
  bool coarse = ends_with(path, ".bin:coarse");
  if (coarse) path = arena_strndup(ctx->own, path, strlen(path) - strlen(":coarse"));
  Tensor *t = coarse ? read_array(ctx, path, coarse_labels) : ends_with(path, ".bin") ? read_array(ctx, path, fine_labels) : samples_read(ctx, path);
  if (!t) return false;
  *labels = NEWN(ctx->own, int64_t, t->n + 1);
  *n = t->n;
  for (int64_t i = 0; i < t->n; i++) (*labels)[i] = tensor_i(t, i);
  tensor_free(t);
  return true;
}
