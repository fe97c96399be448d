/* Frontend: ONNX in and out. Opset versions, functions, domains and sequences end here; eval never sees them. */
#ifndef POPSHIFT_FRONTEND_H
#define POPSHIFT_FRONTEND_H

#include "ir/graph.h"

typedef struct DimBind { const char *name; int64_t lo, hi; } DimBind;           /* --dim NAME=N (lo = hi) or LO..HI */
typedef struct ShapeBind { const char *input; int rank; int64_t dim[MAX_RANK]; bool if_there; /* no error where the model has no such input */ } ShapeBind;
/* --bind: the input becomes a constant. if_needed: it stays an argument, and its value is used only where an operator needs
 * a constant (a shape, axes): the graph is then right for that value only, and the model need not have such an input. */
typedef struct InputBind { const char *input; const Tensor *value; bool if_needed; } InputBind;

typedef struct ImportOptions {
  const DimBind *dims; int n_dims;
  const ShapeBind *shapes; int n_shapes;
  const InputBind *binds; int n_binds;
  int64_t batch;                   /* unknown leading dimensions of inputs become this, with a remark where it is 1; 0: they stay unknown */
  const char *external_root;       /* folder of external data; NULL: the model's */
  bool (*also)(void *user, const char *value); void *also_user; /* values of the model's nodes that become outputs too, in order, or NULL */
} ImportOptions;

/* Imports model bytes; file names them in messages. NULL with diagnostics: all unsupported nodes at once. Inputs that have an
 * initializer are constants; the graph holds nothing of bytes. The result is verified. */
Graph *onnx_import(Ctx *, const char *file, const char *bytes, size_t n, const ImportOptions *);

/* Writing: the three ways in which quantized values are said (docs/ONNX.md). */
typedef enum OnnxFormat { ONNX_QDQ, ONNX_QONNX, ONNX_FUNCTIONS, ONNX_FORMATS } OnnxFormat;
extern const char *const onnx_format_names[ONNX_FORMATS];
#define ONNX_WRITE_OLDEST 13
#define ONNX_WRITE_NEWEST 28
#define ONNX_WRITE_DEFAULT 21
/* The graph, of any stage, as model bytes: the same bytes for the same graph. What it reads back as evaluates to the same bits.
 * False with diagnostics, one for every node that the format cannot say, and nothing in out. */
bool onnx_export(Ctx *, const Graph *, OnnxFormat, int opset, Str *out);

/* A TensorProto (input_0.pb) as a tensor. NULL with E0104. name: malloc'd copy of its name, or NULL not wanted. */
Tensor *onnx_read_tensor(Ctx *, const char *file, const char *bytes, size_t n, char **name);

/* Facts of the model file that the Graph does not keep. */
typedef struct OnnxInfo { int64_t ir_version; const char *producer, *producer_version; int n_opsets;
  struct { const char *domain; int64_t version; } opsets[16]; int n_nodes; } OnnxInfo;
bool onnx_info(Ctx *, Arena *, const char *file, const char *bytes, size_t n, OnnxInfo *);

/* The operators, one row each, for `ops`: since and upto are opset versions of the domain that are read. */
typedef struct OnnxOp { const char *domain, *name; int since, upto; const char *limits; /* what is left out, or "" */ } OnnxOp;
int onnx_op_count(void);
OnnxOp onnx_op_get(int i);
/* For `ops --missing`: distinct domain.op of the model that no row covers, with their node counts. */
bool onnx_missing(Ctx *, const char *file, const char *bytes, size_t n, Str *report, int *n_missing);
#endif
