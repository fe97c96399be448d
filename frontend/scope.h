/* Names of one graph or function body while it is imported (import.c, call.c) or written (export.c). */
#ifndef POPSHIFT_FRONTEND_SCOPE_H
#define POPSHIFT_FRONTEND_SCOPE_H

#include "frontend/import.h"

typedef struct NameSlot { const char *name; Node *node; int32_t made_by; bool bad, set; } NameSlot;
/* Open addressing over FNV-1a; never iterated, so that its order is nowhere seen. */
typedef struct Names { NameSlot *slot; int cap, n; Arena *arena; } Names;
NameSlot *names_get(Names *, const char *name);  /* adds an empty slot where there is none */
NameSlot *names_find(const Names *, const char *name);

struct Scope {
  const Scope *parent;             /* of the call; NULL for the model's graph */
  const Scope *outer;              /* whose names are seen too: of the graph around a body */
  const Onnx__NodeProto *call;
  const Onnx__FunctionProto *fn;
  Names *names;
  const char *prefix;              /* of node names: "fc1/", or "" */
  int32_t index;                   /* of the call in the model's graph, -1 there */
  int depth;
};

const Onnx__AttributeProto *scope_attr(const Scope *, const Onnx__NodeProto *, const char *name);

#endif
