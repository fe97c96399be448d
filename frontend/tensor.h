/* TensorProto -> Tensor, and the files beside a model that hold large tensors. */
#ifndef POPSHIFT_FRONTEND_TENSOR_H
#define POPSHIFT_FRONTEND_TENSOR_H

#include "ir/type.h"
#include "onnx.pb-c.h"

/* Where a TensorProto comes from. bad: the code of an error in its data (E0208 in a model, E0104 in a tensor file). */
typedef struct TensorSource { Ctx *ctx; Loc loc; ErrCode bad; const char *root; } TensorSource;

/* The element type of a TensorProto.DataType; false where Popshift has none (strings, complex, float8 and smaller). */
bool onnx_elem(int data_type, Elem *);
const char *onnx_elem_name(int data_type); /* "FLOAT8E5M2", or "type 99" where the number is unknown */

/* The inverse: the DataType of just these numbers, 0 where ONNX has none; and the bits of one value in raw_data. */
int onnx_type_of(Elem);
int onnx_type_bits(int data_type);

/* The value, owned by the context. NULL with src->bad, E0105 (external data), E0303 (type), E0401 or E0402. The bytes that
 * the shape needs are compared with the bytes present before anything is allocated. */
Tensor *onnx_tensor(const TensorSource *src, const Onnx__TensorProto *);

/* Opens a regular file with one link strictly below folder `root`, following no symbolic link. -1 with E0105. */
int external_open(const TensorSource *src, const char *location);
/* offset and length of the external data as its entries say, checked against the file; then `need` bytes read into an
 * arena. length -1: to the end of the file. NULL with E0105. */
const uint8_t *external_read(const TensorSource *src, Arena *, const Onnx__TensorProto *, int64_t need);

/* Protobuf-c allocates from an arena: its memory counts against limits.memory and goes with the arena. */
ProtobufCAllocator onnx_allocator(Arena *);

#endif
