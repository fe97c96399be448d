/* Element types, dimensions, types and tensors. An element type says which numbers a code can be; a scale is an
 * operand, never part of the type (docs/ARCHITECTURE.md, "Number types"). */
#ifndef POPSHIFT_IR_TYPE_H
#define POPSHIFT_IR_TYPE_H

#include "ir/base.h"

#define MAX_RANK 10

typedef enum ElemKind {
  EK_FLOAT, /* f16 f32 f64: f16 is rounded at every graph value and computed in f32 */
  EK_BF16,  /* likewise */
  EK_INT,   /* i<k>, k = 1..64 */
  EK_UINT,  /* u<k>, k = 1..64 */
  EK_BOOL,  /* 0 or 1 */
  EK_SHIFT, /* shift<k>, k = 2..7: 0 or +-2^e, 0 <= e <= 2^(k-1)-2 */
  EK_BASES  /* bases<k>, k = 1..16: k signs; bases<1> is the number -1 or +1; for k > 1 a value's meaning needs its alphas */
} ElemKind;

typedef struct Elem { uint8_t kind, bits; } Elem;

#define F32 ((Elem){EK_FLOAT, 32})
#define F64 ((Elem){EK_FLOAT, 64})
#define F16 ((Elem){EK_FLOAT, 16})
#define BF16 ((Elem){EK_BF16, 16})
#define INTK(k) ((Elem){EK_INT, (uint8_t)(k)})
#define UINTK(k) ((Elem){EK_UINT, (uint8_t)(k)})
#define I8 INTK(8)
#define I32 INTK(32)
#define I64 INTK(64)
#define U8 UINTK(8)
#define BOOL ((Elem){EK_BOOL, 1})
#define BIPOLAR ((Elem){EK_BASES, 1})

static inline bool elem_eq(Elem a, Elem b) { return a.kind == b.kind && a.bits == b.bits; }
static inline bool elem_is_float(Elem e) { return e.kind == EK_FLOAT || e.kind == EK_BF16; }
static inline bool elem_is_code(Elem e) { return !elem_is_float(e); } /* an exact integer */
static inline bool elem_is_int(Elem e) { return e.kind == EK_INT || e.kind == EK_UINT; } /* no bool, power of two or sign */
bool elem_valid(Elem);
/* Least and greatest number of a code type (bases<k>, k > 1: of the plane word). Not for floats. elem_hi of u63 and u64 is INT64_MAX:
 * numbers of u64 above it exist, and pass through int64_t as their two's complement bits. */
int64_t elem_lo(Elem);
int64_t elem_hi(Elem);
/* Narrowest i<k> or u<k> (u where lo >= 0) that holds lo..hi. */
Elem elem_for_range(int64_t lo, int64_t hi);
void elem_print(Str *, Elem);                       /* f32 i8 u3 bool shift<3> bases<1> */
bool elem_parse(const char *text, size_t n, Elem *); /* all of text */

/* How one element lies in a Tensor: the narrowest native type that holds every number of the element type.
 * f16 and bf16 lie as binary32 holding a rounded value; shift<k> and bases<1> lie as the number; bases<k> as the plane
 * word, bit i set where plane i is +1. Packing is a kernel's affair, never a tensor's. */
typedef enum Store { ST_F32, ST_F64, ST_I8, ST_U8, ST_I16, ST_U16, ST_I32, ST_U32, ST_I64, ST_U64 } Store;
Store elem_store(Elem);
size_t store_size(Store);

/* A dimension: a constant, a symbol, or a symbol with an upper bound. */
typedef struct Dim {
  int64_t n;    /* the constant; of a symbol its bound, -1 without one */
  uint32_t sym; /* 0: constant; else index into the graph's symbols, from 1 */
} Dim;
static inline Dim dim_c(int64_t n) { Dim d = {n, 0}; return d; }
static inline bool dim_eq(Dim a, Dim b) { return a.n == b.n && a.sym == b.sym; }

typedef struct Type {
  Elem e;
  uint8_t rank;
  Dim d[MAX_RANK];
} Type;

Type type_make(Elem, int rank, const int64_t *dims);
Type type_scalar(Elem);
bool type_eq(const Type *, const Type *);
bool type_shape_eq(const Type *, const Type *);  /* whatever the element types */
bool type_static(const Type *);              /* no symbols */
bool type_count(const Type *, int64_t *n);   /* elements; false where not static or over 2^62 */
/* Shape of numpy-style broadcasting (aligned at the last dimension); false where they do not fit. Element type is a's. */
bool type_broadcast(const Type *a, const Type *b, Type *out);

/* A value: dense, row-major, at the storage of its element type. */
struct Tensor {
  Tensor *next, **link; /* the context's list */
  Ctx *ctx;
  Type t;               /* static */
  int64_t n;            /* elements */
  Store st;
  void *data;           /* n * store_size(st) bytes; 64-aligned */
};

/* Zeroed. NULL with E0401/E0402 where the memory limit would be passed, or the type is not static. */
Tensor *tensor_new(Ctx *, const Type *);
void tensor_free(Tensor *);   /* NULL is fine; otherwise freed with the context */
Tensor *tensor_copy(const Tensor *);
double tensor_f(const Tensor *, int64_t i);            /* element i as a number (u64 above 2^63 rounds) */
int64_t tensor_i(const Tensor *, int64_t i);           /* likewise; floats truncate, u64 wraps */
void tensor_set_f(Tensor *, int64_t i, double);        /* float types: rounds to the element type */
void tensor_set_i(Tensor *, int64_t i, int64_t);       /* code types: v must be a number of the type */
bool tensor_eq(const Tensor *, const Tensor *);        /* same type, same bits (NaNs by bits) */
/* Elements differing by more than atol + rtol*|b|; NaN equals NaN; for codes any difference. first: index or -1. */
int64_t tensor_diff(const Tensor *a, const Tensor *b, double atol, double rtol, int64_t *first, double *worst);
/* One element rounded to a 16-bit float type, half to even. */
float round_f16(float);
float round_bf16(float);
float f16_to_f32(uint16_t);
uint16_t f32_to_f16(float);

#endif
