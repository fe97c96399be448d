#include "frontend/wire.h"

/* Which fields of a message are messages (onnx.proto). All their numbers are below 32. */
typedef struct Edge { uint8_t msg, field, sub; bool many; } Edge;
static const Edge edges[] = {
  {W_MODEL, 7, W_GRAPH, false}, {W_MODEL, 8, W_LEAF, true}, {W_MODEL, 14, W_LEAF, true}, {W_MODEL, 20, W_TRAINING, true},
  {W_MODEL, 25, W_FUNCTION, true}, {W_MODEL, 26, W_LEAF, true},
  {W_GRAPH, 1, W_NODE, true}, {W_GRAPH, 5, W_TENSOR, true}, {W_GRAPH, 11, W_VALUE_INFO, true}, {W_GRAPH, 12, W_VALUE_INFO, true},
  {W_GRAPH, 13, W_VALUE_INFO, true}, {W_GRAPH, 14, W_ANNOTATION, true}, {W_GRAPH, 15, W_SPARSE, true}, {W_GRAPH, 16, W_LEAF, true},
  {W_NODE, 5, W_ATTRIBUTE, true}, {W_NODE, 9, W_LEAF, true}, {W_NODE, 10, W_NODE_DEVICE, true},
  {W_ATTRIBUTE, 5, W_TENSOR, false}, {W_ATTRIBUTE, 6, W_GRAPH, false}, {W_ATTRIBUTE, 10, W_TENSOR, true},
  {W_ATTRIBUTE, 11, W_GRAPH, true}, {W_ATTRIBUTE, 14, W_TYPE, false}, {W_ATTRIBUTE, 15, W_TYPE, true},
  {W_ATTRIBUTE, 22, W_SPARSE, false}, {W_ATTRIBUTE, 23, W_SPARSE, true},
  {W_TENSOR, 3, W_LEAF, false}, {W_TENSOR, 13, W_LEAF, true}, {W_TENSOR, 16, W_LEAF, true},
  {W_SPARSE, 1, W_TENSOR, false}, {W_SPARSE, 2, W_TENSOR, false},
  {W_VALUE_INFO, 2, W_TYPE, false}, {W_VALUE_INFO, 4, W_LEAF, true},
  {W_TYPE, 1, W_TYPE_TENSOR, false}, {W_TYPE, 4, W_TYPE_ELEM, false}, {W_TYPE, 5, W_TYPE_MAP, false}, {W_TYPE, 7, W_LEAF, false},
  {W_TYPE, 8, W_TYPE_TENSOR, false}, {W_TYPE, 9, W_TYPE_ELEM, false},
  {W_TYPE_TENSOR, 2, W_SHAPE, false}, {W_TYPE_MAP, 2, W_TYPE, false}, {W_TYPE_ELEM, 1, W_TYPE, false}, {W_SHAPE, 1, W_LEAF, true},
  {W_FUNCTION, 7, W_NODE, true}, {W_FUNCTION, 9, W_LEAF, true}, {W_FUNCTION, 11, W_ATTRIBUTE, true},
  {W_FUNCTION, 12, W_VALUE_INFO, true}, {W_FUNCTION, 14, W_LEAF, true},
  {W_TRAINING, 1, W_GRAPH, false}, {W_TRAINING, 2, W_GRAPH, false}, {W_TRAINING, 3, W_LEAF, true}, {W_TRAINING, 4, W_LEAF, true},
  {W_ANNOTATION, 2, W_LEAF, true}, {W_NODE_DEVICE, 2, W_SHARDING, true}, {W_SHARDING, 3, W_LEAF, true},
  {W_SHARDING, 4, W_SHARDED_DIM, true}, {W_SHARDED_DIM, 2, W_LEAF, true},
};

typedef struct Frame { WireMsg msg; size_t end; uint32_t seen; } Frame; /* seen: bit f where singular message field f was */

typedef struct Wire {
  Ctx *ctx; Loc loc;
  const uint8_t *p; size_t n, at;
  uint8_t sub[W_COUNT][32]; bool many[W_COUNT][32];
} Wire;

static bool cut(Wire *w, size_t at) { return diag(w->ctx, E0101, &w->loc, "the file ends inside a field, at byte %zu", at); }

/* A varint within end. */
static bool varint(Wire *w, size_t end, uint64_t *v) {
  size_t start = w->at;
  *v = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (w->at >= end) return end == w->n ? cut(w, start) :
      diag(w->ctx, E0102, &w->loc, "a number at byte %zu passes the end of its message", start);
    uint8_t b = w->p[w->at++];
    *v |= (uint64_t)(b & 127) << shift;
    if (!(b & 128)) return true;
  }
  return diag(w->ctx, E0101, &w->loc, "a number at byte %zu has more than 10 bytes", start);
}

static bool skip(Wire *w, size_t end, uint64_t bytes, size_t field_at) {
  if (bytes <= end - w->at) { w->at += (size_t)bytes; return true; }
  if (bytes > w->n - w->at)
    return diag(w->ctx, E0101, &w->loc, "the field at byte %zu claims %llu bytes, the file has %zu more", field_at,
                (unsigned long long)bytes, w->n - w->at);
  return diag(w->ctx, E0102, &w->loc, "the field at byte %zu claims %llu bytes, its message has %zu more", field_at,
              (unsigned long long)bytes, end - w->at);
}

/* One field of the message on top. Descends into a message field: *into is its kind and *end its end, else W_NONE. */
static bool field(Wire *w, Frame *top, WireMsg *into, size_t *end) {
  size_t start = w->at;
  uint64_t tag, v;
  *into = W_NONE;
  if (!varint(w, top->end, &tag)) return false;
  uint64_t number = tag >> 3;
  if (number == 0 || number >= UINT64_C(1) << 29)
    return diag(w->ctx, E0101, &w->loc, "not an ONNX file: byte %zu starts no field", start);
  WireMsg sub = number < 32 ? w->sub[top->msg][number] : W_NONE;
  if (sub != W_NONE && (tag & 7) != 2)
    return diag(w->ctx, E0101, &w->loc, "not an ONNX file: the field at byte %zu should be a message", start);
  switch (tag & 7) {
  case 0: return varint(w, top->end, &v);
  case 1: return skip(w, top->end, 8, start);
  case 5: return skip(w, top->end, 4, start);
  case 2: break;
  default: return diag(w->ctx, E0101, &w->loc, "not an ONNX file: the field at byte %zu has wire type %d", start, (int)(tag & 7));
  }
  if (!varint(w, top->end, &v)) return false;
  size_t body = w->at;
  if (!skip(w, top->end, v, start)) return false;
  if (sub == W_NONE) return true;
  if (!w->many[top->msg][number]) { /* protobuf would merge them, in quadratic time; a type is one of its kinds */
    uint32_t bit = top->msg == W_TYPE ? 1 : UINT32_C(1) << number;
    if (top->seen & bit) return diag(w->ctx, E0102, &w->loc, "the message at byte %zu is there twice", start);
    top->seen |= bit;
  }
  *into = sub;
  *end = body + (size_t)v;
  w->at = body;
  return true;
}

bool wire_check(Ctx *ctx, const char *file, const char *bytes, size_t n, WireMsg root) {
  Arena *arena = arena_new(ctx);
  Wire *w = NEW(arena, Wire);
  w->ctx = ctx, w->loc = LOC_NONE, w->loc.file = file, w->p = (const uint8_t *)bytes, w->n = n;
  for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
    w->sub[edges[i].msg][edges[i].field] = edges[i].sub;
    w->many[edges[i].msg][edges[i].field] = edges[i].many;
  }
  VEC(Frame) stack = {0};
  vec_push(arena, &stack, ((Frame){root, n, 0}));
  bool ok = true;
  while (ok && stack.n) {
    Frame *top = &stack.p[stack.n - 1];
    if (w->at == top->end) { stack.n--; continue; }
    WireMsg into;
    size_t end;
    ok = field(w, top, &into, &end);
    if (!ok || into == W_NONE) continue;
    if (stack.n >= ctx->limits.depth)
      ok = diag(ctx, E0102, &w->loc, "messages nest deeper than %lld, at byte %zu", (long long)ctx->limits.depth, w->at);
    else
      vec_push(arena, &stack, ((Frame){into, end, 0}));
  }
  arena_free(arena);
  return ok;
}
