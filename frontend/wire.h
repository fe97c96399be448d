/* The protobuf wire format, looked at before protobuf-c sees it: protobuf-c recurses, and believes what lengths say. */
#ifndef POPSHIFT_FRONTEND_WIRE_H
#define POPSHIFT_FRONTEND_WIRE_H

#include "ir/base.h"

/* The messages of onnx.proto that can hold other messages, or that lie in them. W_LEAF: holds no messages. */
typedef enum WireMsg {
  W_NONE, W_MODEL, W_GRAPH, W_NODE, W_ATTRIBUTE, W_TENSOR, W_SPARSE, W_VALUE_INFO, W_TYPE, W_TYPE_TENSOR, W_TYPE_MAP,
  W_TYPE_ELEM, W_SHAPE, W_FUNCTION, W_TRAINING, W_ANNOTATION, W_NODE_DEVICE, W_SHARDING, W_SHARDED_DIM, W_LEAF, W_COUNT
} WireMsg;

/* True where the bytes are a well-formed message of that kind: lengths inside their parents, nesting within
 * limits.depth, wire types of message fields right, no singular message twice. False with E0101 (not the format, cut
 * short) or E0102, both with the byte's offset. Time is linear in the number of fields, space in limits.depth. */
bool wire_check(Ctx *, const char *file, const char *bytes, size_t n, WireMsg root);

#endif
