/* What the importers of operators share: the table of operators, one call of an operator, and checked builders.
 * A Node * of NULL means "an error was reported": every ox_ builder passes NULL on, so that formulas need no checks. */
#ifndef POPSHIFT_FRONTEND_IMPORT_H
#define POPSHIFT_FRONTEND_IMPORT_H

#include "frontend/frontend.h"
#include "frontend/tensor.h"

typedef struct Import Import;
typedef struct Scope Scope;
typedef struct OpCall OpCall;

/* Sets c->out[0..]; false with a diagnostic. An output left NULL without one is a bug. */
typedef bool Importer(OpCall *);

enum RowFlag {
  ROW_UP = 1 /* f16 and bf16 inputs are computed in f32, outputs rounded once */
};

/* One row of operators.def. types: a letter per input, the last one repeats:
 *   a any, f float, n float or integer, i integer, b bool, l i32 or i64;
 *   = as input 0, ^ as the input before; a capital: may be absent though one after it is there.
 * attrs: "name:kind[=default]" with kind i f s t g (one), I F S (lists), K (ints, one per spatial dimension of input 0),
 *   P (two per spatial dimension), R (one per dimension of input 0), X (a sparse tensor); ! must be there. */
typedef struct OpRow {
  const char *domain, *name;
  int since, upto;
  Importer *fn;
  const char *how; /* the importer's own: a formula, a reduction */
  int8_t min_in, max_in, max_out; /* max_in -1: any number */
  uint8_t flags;
  const char *types, *attrs, *limits;
} OpRow;
extern const OpRow onnx_rows[];
extern const int onnx_n_rows;
#define ONNX_NEWEST 28 /* the newest opset of the default domain that the table was read against */
#define ONNX_IR_NEWEST 14
#define QONNX_DOMAIN "qonnx.custom_op.general"

/* The row of an operator, NULL where there is none. any: a row of that name for another opset, or NULL. */
const OpRow *onnx_row(const char *domain, const char *name, int64_t opset, const OpRow **any);

struct OpCall {
  Import *im;
  Ctx *ctx;
  Graph *g;
  const OpRow *row;
  const Onnx__NodeProto *p;
  const Scope *scope;
  int64_t opset;
  Node **in; int n_in;   /* NULL where absent */
  Node **out; int n_out; /* as many as the node names */
  bool bad;              /* a body reads what failed before: no error of this node */
  Loc loc;
};

/* Errors, at the node: false, or NULL for builders. */
bool ox_fail(OpCall *, ErrCode, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Attributes: of the node, through the function call where they refer to one, else the table's default. */
const Onnx__AttributeProto *ox_attr(const OpCall *, const char *name); /* NULL where absent */
int64_t ox_int(const OpCall *, const char *name);                      /* absent without default: 0 */
double ox_float(const OpCall *, const char *name);
const char *ox_str(OpCall *, const char *name);                        /* absent without default: "" */
int ox_ints(const OpCall *, const char *name, const int64_t **v);      /* count; -1 where absent */
bool ox_attrs_check(OpCall *);                                         /* all attributes against the row */

/* Operands. */
static inline Node *ox_in(const OpCall *c, int i) { return i < c->n_in ? c->in[i] : NULL; }
const char *import_root(const Import *); /* folder of external data */
const Tensor *ox_value(OpCall *, Node *, const char *what);            /* E0305 where it is not constant */
Node *ox_fold(OpCall *, Node *);                                       /* a const where its inputs all are, else itself */
/* Integers of constant operand i: a list of at most max. Count, or -1 with a diagnostic. */
int ox_list(OpCall *, int i, const char *what, int64_t *v, int max);
bool ox_static(OpCall *, const Node *);                                /* E0304 where a dimension is a symbol */
bool ox_axis(OpCall *, int64_t axis, int rank, int *out);              /* negative from the end; E0204 */
/* Axes of operand i or of the attribute: bits. absent: true where neither is there. */
bool ox_axes(OpCall *, const char *attr, int i, int rank, uint32_t *bits, bool *absent);
int64_t ox_count(const Type *, int from, int to);                      /* product of static dims [from, to) */

/* A body graph (attribute of kind g): its constants are read once, its nodes at every step. Names of the graphs around it are seen.
 * ox_body: NULL with a diagnostic, also where it does not have n_in inputs. step -1: there are no steps. */
typedef struct Body Body;
Body *ox_body(OpCall *, const Onnx__GraphProto *, int n_in);
bool ox_body_step(OpCall *, Body *, int64_t step, Node *const *in, Node **out);

/* Builders. */
Node *ox_num(OpCall *, Elem, double);
Node *ox_map(OpCall *, Scalar, int n, Node *const *in);                /* E0206 and E0207 where operands do not fit */
Node *ox_map1(OpCall *, Scalar, Node *);
Node *ox_map2(OpCall *, Scalar, Node *, Node *);
Node *ox_map3(OpCall *, Scalar, Node *, Node *, Node *);
Node *ox_cast(OpCall *, Node *, Elem);
/* A formula in postfix: numbers, x y z (args), n (the number n), $name (a float attribute), rows of scalar.def.
 * Numbers take x's element type, after a row that gives bool they keep it. */
Node *ox_formula(OpCall *, const char *text, Node *const *args, double n);
Node *ox_reshape(OpCall *, Node *, int rank, const int64_t *dims);
Node *ox_reshape_d(OpCall *, Node *, int rank, const Dim *dims);
Node *ox_broadcast_to(OpCall *, Node *, int rank, const int64_t *dims);
Node *ox_along(OpCall *, Node *, int axis, int rank);                  /* a vector as [1.., n, ..1] of that rank */
Node *ox_reduce(OpCall *, Scalar, Node *, uint32_t axes, bool keep);
Node *ox_gather_list(OpCall *, Node *, int axis, const int64_t *index, int64_t n);
Node *ox_const_ints(OpCall *, Elem, int rank, const int64_t *dims, const int64_t *v); /* NULL where memory ends */
Tensor *ox_tensor(OpCall *, Elem, int rank, const int64_t *dims);      /* refuses more than limits.fold bytes */
Node *ox_transpose(OpCall *, Node *, const int *perm);

/* Windows of convolutions and pools. All sizes are positive, all products fit in 63 bits. */
#define MAX_SPATIAL 4
typedef struct Window {
  int n;
  int64_t in[MAX_SPATIAL], kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL], before[MAX_SPATIAL], after[MAX_SPATIAL],
      out[MAX_SPATIAL];
} Window;
bool ox_window(OpCall *, const Node *x, const int64_t *kernel, Window *);
Node *ox_conv(OpCall *, Node *x, Node *w, Elem result);                /* attributes of Conv; no bias */
Node *ox_average_pool(OpCall *, Node *x);
Node *ox_softmax(OpCall *, Node *x, bool log, int64_t opset);
Node *ox_gemm(OpCall *, Node *a, Node *b);                             /* transA, transB; no alpha */

/* Quantization: scale and zp may be per tensor, per axis (a vector) or blocked (x's rank). */
Node *ox_quant(OpCall *, Node *x, Node *scale, Node *zp, Elem, int axis);
Node *ox_dequant(OpCall *, Node *x, Node *scale, Node *zp, int axis, Elem result);

Node *ox_rounded(OpCall *, Node *x, const char *mode);                 /* to an integer, by a name of QONNX's */

#define ROW(domain, name, since, upto, fn, how, min_in, max_in, max_out, flags, types, attrs, limits) Importer fn;
#include "frontend/operators.def"
#undef ROW

#endif
