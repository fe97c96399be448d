/* What the writers of operators share: an ONNX file in the making, and one-line builders of its nodes. A value is its name. */
#ifndef POPSHIFT_FRONTEND_EXPORT_H
#define POPSHIFT_FRONTEND_EXPORT_H

#include "frontend/frontend.h"
#include "frontend/scope.h"
#include "frontend/tensor.h"

#define POPSHIFT_DOMAIN "popshift"

/* Nodes of the graph or of a function, and the names taken there.. */
typedef struct Body { VEC(Onnx__NodeProto *) nodes; Names names; int temps; const char *base; } Body;
enum { CONST_NAME = -2 }; /* made_by of a constant whose name says its value */

typedef struct Decode Decode;
typedef struct Export {
  Ctx *ctx;
  Arena *arena;                                   /* everything until it is packed */
  const Graph *g;
  OnnxFormat format;
  int opset;
  Body main, *body;                               /* body: the one written to */
  VEC(Onnx__TensorProto *) inits;
  VEC(Onnx__FunctionProto *) functions;
  Names keys;                                     /* of functions: made_by is the index */
  const char **value;                             /* by node id; NULL before its turn */
  struct Raw { const char *v; Type t; } *raw;     /* by node id: the value before a last reshape, or v NULL */
  Decode **decode;                                /* by node id: what export_quant.c writes as one, or NULL */
  const Node *at;                                 /* the node being written, for messages */
  bool qonnx;                                     /* an operator of that domain was written */
  int serial;                                     /* of provisional names */
} Export;

/* Error at the node being written: NULL. Writing goes on, so that all are told. */
const char *x_fail(Export *, ErrCode, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The element type that carries e in ONNX: itself, or the next wider integer of 8 to 64 bits. */
Elem x_carrier(Elem);
bool x_has_type(const Export *, int data_type);   /* 4-bit integers since opset 21, 2-bit ones since 25 */

/* Nodes: appended to the body; the one output is returned. Attributes go to the newest node. */
const char *x_node(Export *, const char *op, int n_in, const char *const *in);
static inline const char *x1(Export *x, const char *op, const char *a) { return x_node(x, op, 1, &a); }
static inline const char *x2(Export *x, const char *op, const char *a, const char *b) { return x_node(x, op, 2, (const char *const[]){a, b}); }
static inline const char *x3(Export *x, const char *op, const char *a, const char *b, const char *c) {
  return x_node(x, op, 3, (const char *const[]){a, b, c});
}
void x_domain(Export *, const char *domain);
void x_attr_i(Export *, const char *name, int64_t);
void x_attr_f(Export *, const char *name, float);
void x_attr_is(Export *, const char *name, int n, const int64_t *);
void x_attr_s(Export *, const char *name, const char *);

char *x_provisional(Export *, const char *base);  /* room for base and a number */

/* Values of nodes and constants. */
const char *x_value(Export *, const Node *);      /* constants are written when first asked for */
const char *x_ints(Export *, int n, const int64_t *); /* i64[n] */
const char *x_int(Export *, Elem, int64_t);       /* rank 0 */
const char *x_float(Export *, Elem, double);
static inline const char *x_num(Export *x, Elem e, double v) { /* 2^63 stands for the greatest i64 */
  return elem_is_float(e) ? x_float(x, e, v) : x_int(x, e, v >= 0x1p63 ? INT64_MAX : (int64_t)v);
}
const char *x_tensor(Export *, const Tensor *, int data_type, int rank, const int64_t *dims, const char *base); /* its values under another type and shape */
const char *x_indices(Export *, int rank, const int64_t *dims, const int64_t *v); /* i64 */

const char *x_cast(Export *, const char *v, Elem from, Elem to);          /* between carriers; v itself where they are the same */
const char *x_reshape(Export *, const char *v, const Type *from, const Type *to);
const char *x_transpose(Export *, const char *v, int rank, const int *perm);
const char *x_expand(Export *, const char *v, const Type *to);
const char *x_axes(Export *, const char *op, const char *v, int n, const int64_t *axes); /* Squeeze or Unsqueeze; v where n is 0 */
const char *x_reduce(Export *, const char *op, const char *v, int n, const int64_t *axes, bool keep);
const char *x_pad(Export *, const char *v, Elem, int rank, const int64_t *before, const int64_t *after, double fill);

/* A writer returns the value of a node from those of its inputs, or NULL after x_fail. It may look at the node's attributes and
 * at the types of the node and its inputs, not at the inputs themselves where it is called by x_wrap. */
typedef const char *Writer(Export *, const Node *, const char *const *in);
/* The writer's nodes as one call of a model-local function where the format is `functions`, else in place. dims: the writer
 * depends on dimensions, not only on ranks and element types. */
const char *x_wrap(Export *, const Node *, const char *const *in, Writer *, bool dims);
/* Integer arithmetic. x_work: i32 or i64, whichever all operands and the result (mod 2^32) can be computed in. */
Elem x_work(const Node *, int first);
const char *x_to(Export *, const char *v, Elem work, Elem to, bool fits); /* wrapped to `to`, unless it fits, in to's carrier */
const char *x_ordered(Export *, const char *v, Elem from, Elem work);     /* to work; u64 in the order of i64 */
const char *x_shift_right(Export *, const char *v, Elem work, int shift); /* floor(v / 2^shift), shift <= 63 */
const char *x_popcount(Export *, const char *v, int bits);                /* of the low bits of an i64 */
const char *x_bits(Export *, const char *v, Elem e, Elem to);             /* [.., W]: bits of words e, the low one first, as 0 and 1 of `to` */

Writer write_map, write_view, write_reduce, write_contract, write_quant, write_dequant, write_thresholds, write_requant, write_pack, write_bases;

/* export_quant.c: values (q - zp) * scale that the format says as one node; NULL where there is none. operands: the nodes it needs. */
Decode *decode_find(Export *, const Node *);
int decode_operands(const Decode *, const Node *operands[4]);
const char *decode_write(Export *, const Node *, const Decode *);

#endif
