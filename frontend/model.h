/* A model file, read and checked as far as it goes without knowing operators. */
#ifndef POPSHIFT_FRONTEND_MODEL_H
#define POPSHIFT_FRONTEND_MODEL_H

#include "frontend/import.h"

/* functions: the model's, sorted by name, domain and overload. */
typedef struct Model { Ctx *ctx; Arena *arena; Loc loc; const Onnx__ModelProto *p; const Onnx__FunctionProto **functions; } Model;

/* Reads and checks: wire format, IR version, opsets, functions unique, counts. The message lives in the arena. */
bool model_read(Model *, Ctx *, Arena *, const char *file, const char *bytes, size_t n);

/* What a node is: a function of the model, an operator of the table, or neither. fn: the function whose body it is in, or NULL. */
typedef struct Resolved { const Onnx__FunctionProto *fn; const OpRow *row, *other; int64_t opset; const char *domain; } Resolved;
Resolved model_resolve(const Model *, const Onnx__FunctionProto *in, const Onnx__NodeProto *);
/* Calls see for every node that the graph reaches, once per body, with its index in the body. */
typedef void SeeNode(void *user, const Onnx__FunctionProto *in, int index, const Onnx__NodeProto *, const Resolved *);
void model_walk(const Model *, SeeNode *, void *user);
/* Reports every node that no row covers, E0301 (the first thousand). True where there is none. */
bool model_supported(const Model *);

static inline const char *text_of(const char *s) { return s ? s : ""; }

/* Warns where an initializer is not of the data type that the model claims for it (annotate.c). */
struct Names;
void annotations_check(Ctx *, Arena *, const char *file, const Model *, const struct Names *);

#endif
