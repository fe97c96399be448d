#include "frontend/tensor.h"
#include "frontend/frontend.h"
#include "frontend/wire.h"

#include <stdlib.h>
#include <string.h>

/* Which field of a TensorProto holds the values where raw_data does not. */
typedef enum Field { IN_NONE, IN_FLOAT, IN_INT32, IN_INT64, IN_DOUBLE, IN_UINT64, IN_STRING } Field;
static const char *const field_names[] = {"", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data"};

/* bits: of one value in raw_data. ok: Popshift has the element type e. */
typedef struct DataType { const char *name; uint8_t bits; Field field; bool ok; Elem e; } DataType;
static const DataType types[] = {
  [1] = {"FLOAT", 32, IN_FLOAT, true, {EK_FLOAT, 32}},
  [2] = {"UINT8", 8, IN_INT32, true, {EK_UINT, 8}},
  [3] = {"INT8", 8, IN_INT32, true, {EK_INT, 8}},
  [4] = {"UINT16", 16, IN_INT32, true, {EK_UINT, 16}},
  [5] = {"INT16", 16, IN_INT32, true, {EK_INT, 16}},
  [6] = {"INT32", 32, IN_INT32, true, {EK_INT, 32}},
  [7] = {"INT64", 64, IN_INT64, true, {EK_INT, 64}},
  [8] = {.name = "STRING"},
  [9] = {"BOOL", 8, IN_INT32, true, {EK_BOOL, 1}},
  [10] = {"FLOAT16", 16, IN_INT32, true, {EK_FLOAT, 16}},
  [11] = {"DOUBLE", 64, IN_DOUBLE, true, {EK_FLOAT, 64}},
  [12] = {"UINT32", 32, IN_UINT64, true, {EK_UINT, 32}},
  [13] = {"UINT64", 64, IN_UINT64, true, {EK_UINT, 64}},
  [14] = {.name = "COMPLEX64"},
  [15] = {.name = "COMPLEX128"},
  [16] = {"BFLOAT16", 16, IN_INT32, true, {EK_BF16, 16}},
  [17] = {.name = "FLOAT8E4M3FN"},
  [18] = {.name = "FLOAT8E4M3FNUZ"},
  [19] = {.name = "FLOAT8E5M2"},
  [20] = {.name = "FLOAT8E5M2FNUZ"},
  [21] = {"UINT4", 4, IN_INT32, true, {EK_UINT, 4}},
  [22] = {"INT4", 4, IN_INT32, true, {EK_INT, 4}},
  [23] = {.name = "FLOAT4E2M1"},
  [24] = {.name = "FLOAT8E8M0"},
  [25] = {"UINT2", 2, IN_INT32, true, {EK_UINT, 2}},
  [26] = {"INT2", 2, IN_INT32, true, {EK_INT, 2}},
  [27] = {.name = "FLOAT6E2M3"},
  [28] = {.name = "FLOAT6E3M2"},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

bool onnx_elem(int data_type, Elem *e) {
  if (data_type < 1 || data_type >= N_TYPES || !types[data_type].ok) return false;
  *e = types[data_type].e;
  return true;
}

const char *onnx_elem_name(int data_type) {
  return data_type >= 1 && data_type < N_TYPES ? types[data_type].name : data_type == 0 ? "UNDEFINED" : "a type that ONNX does not know";
}

int onnx_type_of(Elem e) {
  for (int i = 1; i < N_TYPES; i++) if (types[i].ok && elem_eq(types[i].e, e)) return i;
  return 0;
}

int onnx_type_bits(int data_type) { return types[data_type].bits; }

/* Element i from its bits as ONNX lays them, `bits` wide, lowest first. */
static void put_bits(Tensor *t, int64_t i, uint64_t bits) {
  Elem e = t->t.e;
  uint32_t word = (uint32_t)bits;
  if (e.kind == EK_BF16) word <<= 16;
  switch (t->st) {
  case ST_F32:
    if (e.kind == EK_FLOAT && e.bits == 16) ((float *)t->data)[i] = f16_to_f32((uint16_t)bits);
    else memcpy((float *)t->data + i, &word, 4);
    break;
  case ST_U8: ((uint8_t *)t->data)[i] = e.kind == EK_BOOL ? bits != 0 : (uint8_t)bits; break;
  case ST_I8: { /* sign extension of 2, 4 and 8 bits */
    unsigned unused = 8u - e.bits;
    ((int8_t *)t->data)[i] = (int8_t)((int8_t)(uint8_t)(bits << unused) >> unused);
    break;
  }
  case ST_I16: case ST_U16: ((uint16_t *)t->data)[i] = (uint16_t)bits; break;
  case ST_I32: case ST_U32: ((uint32_t *)t->data)[i] = word; break;
  case ST_F64: case ST_I64: case ST_U64: memcpy((uint64_t *)t->data + i, &bits, 8); break;
  }
}

static void unpack_raw(Tensor *t, int bits, const uint8_t *p) {
  if (bits < 8) {
    int per = 8 / bits;
    for (int64_t i = 0; i < t->n; i++) put_bits(t, i, (uint64_t)(p[i / per] >> i % per * bits) & ((1u << bits) - 1));
    return;
  }
  int width = bits / 8;
  for (int64_t i = 0; i < t->n; i++, p += width) {
    uint64_t v = 0;
    for (int b = 0; b < width; b++) v |= (uint64_t)p[b] << 8 * b;
    put_bits(t, i, v);
  }
}

/* int32_data holds narrower values one per entry, 2- and 4-bit ones a byte of them per entry; all within their width. */
static bool unpack_int32(const TensorSource *src, Tensor *t, const DataType *type, const int32_t *p) {
  bool is_signed = t->t.e.kind == EK_INT && type->bits >= 8;
  int width = type->bits < 8 ? 8 : type->bits, per = type->bits < 8 ? 8 / type->bits : 1;
  int64_t lo = is_signed ? -(INT64_C(1) << (width - 1)) : type->bits < 8 ? -128 : 0;
  int64_t hi = is_signed ? (INT64_C(1) << (width - 1)) - 1 : (INT64_C(1) << width) - 1;
  for (int64_t i = 0; i < t->n; i++) {
    int32_t v = p[i / per];
    if (v < lo || v > hi) return diag(src->ctx, src->bad, &src->loc, "int32_data has %d, not a value of %s", v, type->name);
    put_bits(t, i, per == 1 ? (uint64_t)v : ((uint64_t)v >> i % per * type->bits) & ((1u << type->bits) - 1));
  }
  return true;
}

static bool unpack_field(const TensorSource *src, Tensor *t, const DataType *type, const Onnx__TensorProto *p) {
  switch (type->field) {
  case IN_FLOAT: memcpy(t->data, p->float_data, (size_t)t->n * 4); return true;
  case IN_DOUBLE: memcpy(t->data, p->double_data, (size_t)t->n * 8); return true;
  case IN_INT64: memcpy(t->data, p->int64_data, (size_t)t->n * 8); return true;
  case IN_INT32: return unpack_int32(src, t, type, p->int32_data);
  default:
    for (int64_t i = 0; i < t->n; i++) {
      if (type->bits == 32 && p->uint64_data[i] > UINT32_MAX)
        return diag(src->ctx, src->bad, &src->loc, "uint64_data has a value beyond UINT32");
      put_bits(t, i, p->uint64_data[i]);
    }
    return true;
  }
}

/* The type from dims and data_type, and its count of elements and bytes in raw_data. */
static bool header(const TensorSource *src, const Onnx__TensorProto *p, Type *t, int64_t *n, int64_t *raw_bytes) {
  Elem e;
  if (!p->has_data_type || p->data_type == 0) return diag(src->ctx, src->bad, &src->loc, "the tensor has no element type");
  if (!onnx_elem(p->data_type, &e)) return diag(src->ctx, E0303, &src->loc, "tensors of %s are not supported", onnx_elem_name(p->data_type));
  int64_t max_rank = src->ctx->limits.rank < MAX_RANK ? src->ctx->limits.rank : MAX_RANK, bits;
  if ((int64_t)p->n_dims > max_rank)
    return diag(src->ctx, E0402, &src->loc, "the tensor has %zu dimensions, more than %lld", p->n_dims, (long long)max_rank);
  bool fits = true, empty = false;
  *n = 1;
  for (size_t i = 0; i < p->n_dims; i++) {
    if (p->dims[i] < 0) return diag(src->ctx, src->bad, &src->loc, "dimension %zu is %lld", i, (long long)p->dims[i]);
    empty |= p->dims[i] == 0;
    fits = fits && mul_ok(*n, p->dims[i], n);
  }
  if (empty) *n = 0;
  else if (!fits || *n > INT64_C(1) << 56) return diag(src->ctx, src->bad, &src->loc, "the shape has more than 2^56 elements");
  *t = type_make(e, (int)p->n_dims, p->dims);
  bits = *n * types[p->data_type].bits;
  *raw_bytes = (bits + 7) / 8;
  return true;
}

/* At most one value field, and the right one, with as many values as the shape has. */
static bool fields_fit(const TensorSource *src, const Onnx__TensorProto *p, int64_t n, int64_t raw_bytes, bool external) {
  const DataType *type = &types[p->data_type];
  size_t have[] = {[IN_NONE] = 0, p->n_float_data, p->n_int32_data, p->n_int64_data, p->n_double_data, p->n_uint64_data, p->n_string_data};
  for (int f = IN_FLOAT; f <= IN_STRING; f++)
    if (have[f] && (f != (int)type->field || p->has_raw_data || external))
      return diag(src->ctx, src->bad, &src->loc, "%s has values, where a tensor of %s has them elsewhere", field_names[f], type->name);
  if (external)
    return !p->has_raw_data || diag(src->ctx, src->bad, &src->loc, "the tensor has raw_data and external data");
  int64_t need = p->has_raw_data || type->bits < 8 ? raw_bytes : n;
  int64_t got = (int64_t)(p->has_raw_data ? p->raw_data.len : have[type->field]);
  if (got == need) return true;
  return diag(src->ctx, src->bad, &src->loc, "%s has %lld %s, the shape needs %lld", p->has_raw_data ? "raw_data" : field_names[type->field],
              (long long)got, p->has_raw_data ? "bytes" : "values", (long long)need);
}

Tensor *onnx_tensor(const TensorSource *src, const Onnx__TensorProto *p) {
  Type type;
  int64_t n = 0, raw_bytes = 0;
  if (!header(src, p, &type, &n, &raw_bytes)) return NULL;
  bool external = p->has_data_location && p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
  if (p->segment) { diag(src->ctx, src->bad, &src->loc, "the tensor is a segment of a larger one"); return NULL; }
  if (!fields_fit(src, p, n, raw_bytes, external)) return NULL;
  Arena *scratch = arena_new(src->ctx);
  const uint8_t *raw = p->has_raw_data ? p->raw_data.data : NULL;
  bool ok = !external || (raw = external_read(src, scratch, p, raw_bytes)) != NULL;
  Tensor *t = ok ? tensor_new(src->ctx, &type) : NULL;
  if (t && n > 0) {
    if (p->has_raw_data || external) unpack_raw(t, types[p->data_type].bits, raw);
    else if (!unpack_field(src, t, &types[p->data_type], p)) { tensor_free(t); t = NULL; }
  }
  arena_free(scratch);
  return t;
}

static void *pb_alloc(void *arena, size_t n) { return arena_alloc(arena, n); }
static void pb_free(void *arena, void *p) { (void)arena, (void)p; }
ProtobufCAllocator onnx_allocator(Arena *arena) { return (ProtobufCAllocator){pb_alloc, pb_free, arena}; }

Tensor *onnx_read_tensor(Ctx *ctx, const char *file, const char *bytes, size_t n, char **name) {
  TensorSource src = {.ctx = ctx, .loc = LOC_NONE, .bad = E0104, .root = NULL};
  src.loc.file = file;
  if (name) *name = NULL;
  if (!wire_check(ctx, file, bytes, n, W_TENSOR)) return NULL;
  Arena *arena = arena_new(ctx);
  ProtobufCAllocator alloc = onnx_allocator(arena);
  Onnx__TensorProto *p = onnx__tensor_proto__unpack(&alloc, n, (const uint8_t *)bytes);
  Tensor *t = NULL;
  if (!p) diag(ctx, E0104, &src.loc, "the file is not a tensor");
  else if (p->has_data_location && p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
    diag(ctx, E0104, &src.loc, "the tensor's data is in another file");
  else t = onnx_tensor(&src, p);
  if (t && name) {
    size_t len = p->name ? strlen(p->name) : 0;
    *name = calloc(1, len + 1);
    if (*name && len) memcpy(*name, p->name, len);
  }
  arena_free(arena);
  return t;
}
