/* Graph: a DAG of operators over typed tensors: what is computed. A node is an operator and its one value.
 * Nodes are immutable once added; a pass builds a new graph from an old one (graph_rewrite). */
#ifndef POPSHIFT_IR_GRAPH_H
#define POPSHIFT_IR_GRAPH_H

#include "ir/type.h"

typedef enum Op {
#define OP(NAME, name, lo, hi, attrs, meaning) OP_##NAME,
#include "ir/ops.def"
#undef OP
  OP_COUNT
} Op;

typedef enum Scalar {
  S_NONE,
#define S(NAME, name, arity, on, result, equation) S_##NAME,
#include "ir/scalar.def"
#undef S
  SCALAR_COUNT
} Scalar;

/* Which attributes an operator has; each is a field of Attr and one row of attr_fields in graph_text.c. */
enum AttrMask {
  AT_SCALAR = 1, AT_AXIS = 2, AT_INDEX = 4, AT_VALUE = 8, AT_ITERS = 16, AT_FILL = 32, AT_FLAG = 64,
  AT_ROUND = 128, AT_LO = 256, AT_HI = 512, AT_SHIFT = 1024, AT_KERNEL = 2048
};

typedef struct OpInfo { const char *name; int min_in, max_in; uint32_t attrs; const char *meaning; } OpInfo;
extern const OpInfo op_info[OP_COUNT];
typedef struct ScalarInfo { const char *name; int arity; char on, result; const char *equation; } ScalarInfo;
extern const ScalarInfo scalar_info[SCALAR_COUNT]; /* [S_NONE].name is NULL */
Scalar scalar_find(const char *name); /* S_NONE where unknown */

typedef enum Round { RND_EVEN, RND_CEIL, RND_FLOOR, RND_UP, RND_DOWN, RND_HALF_UP, RND_HALF_DOWN, RND_COUNT } Round;
extern const char *const round_names[RND_COUNT]; /* up: away from zero; half_up: ties away from zero (FORMATS: QONNX Quant) */

/* Ways of computing a contract; select chooses (passes/select.c). */
typedef enum Kernel { KERNEL_AUTO, KERNEL_FLOAT, KERNEL_INT, KERNEL_BITSERIAL, KERNEL_SHIFT, KERNEL_PACKED, KERNEL_COUNT } Kernel;
extern const char *const kernel_names[KERNEL_COUNT];

/* Affine access. Iterators are numbered: output iterators 0..n_out-1 (the node's dimensions, in order), then reduction
 * iterators. Along an operand's dimension: index = (base + sum coef[j]*iter[j]) / div, which must divide; where it does
 * not, or the index is outside, the access is outside. Printed as einsum does: [n m y x | c:3 i:5 j:5](n, c, y*2+i-1, x*2+j-1). */
#define MAX_ITERS 16
typedef struct Affine { int64_t base, div; int64_t coef[MAX_ITERS]; } Affine; /* div >= 1 */
typedef struct Iters {
  uint8_t n_out, n_red;
  Dim red[MAX_ITERS];     /* extents of the reduction iterators; n_out + n_red <= MAX_ITERS */
  Affine *acc[3];         /* of each operand: one per dimension */
} Iters;

typedef struct Attr {
  Scalar scalar;
  int32_t axis;           /* 0 <= axis < rank */
  int32_t index, flag, shift;
  Round round;
  Kernel kernel;
  int64_t lo, hi;
  double fill;
  Iters *iters;
  const Tensor *value;
  bool fused;             /* any operator: joins its only consumer and gets no buffer (passes/fuse.c); printed as `fused` */
  int32_t certified;      /* levels, tables: the certificate's entry that says what they stand for, from 1; 0: none, below: lost. No part of the
                             meaning: not printed, not compared. Who changes which number goes in gives it another, or none (passes/certificate.h) */
} Attr;

typedef struct Node Node;
struct Node {
  uint16_t op;
  uint32_t id;            /* position in the graph's nodes */
  int n_in;
  Node **in;
  Type t;
  Attr a;
  Loc loc;                /* where it came from: strings live in the graph's arena */
};

typedef struct Output { Node *v; const char *name; } Output;

/* Properties that passes establish and the runner checks (passes/passes.def). */
enum Prop {
  P_TYPED = 1,      /* verifies; every type known */
  P_CANON = 2,      /* canonical spellings */
  P_RECOGNIZED = 4, /* contractions of codes are exact: no contract has dequant operands on both sides */
  P_STATIC = 8,     /* no symbols */
  P_SELECTED = 16,  /* every contract has a kernel */
  P_PLANNED = 32
};

typedef struct Graph {
  Ctx *ctx;
  Arena *arena;
  const char *name;       /* an identifier */
  const char *file;       /* for messages, or NULL */
  Node **nodes; int n_nodes, cap_nodes; /* each after its inputs */
  Node **args; const char **arg_names; int n_args;
  Output *outs; int n_outs;
  const char **syms; int n_syms;        /* symbol i+1 is syms[i] */
  uint32_t props;
  Loc at;                 /* default location of new nodes */
} Graph;

Graph *graph_new(Ctx *, const char *name, const char *file);
void graph_free(Graph *);
uint32_t graph_sym(Graph *, const char *name);          /* finds or adds; from 1 */

/* Builders: the node's type is computed where it follows from the inputs, else given. They assert well-formedness of
 * what the caller must know (bugs); shapes that come from a model are checked by the caller (type_broadcast, ...) or
 * by graph_verify. loc is copied (strings into the arena).
 * NULL takes graph->at, the location that a frontend or a rewrite sets while it builds. */
Node *graph_arg(Graph *, const char *name, const Type *);
void graph_out(Graph *, const char *name, Node *);
Node *node_new(Graph *, Op, const Type *, int n_in, Node *const *in, const Attr *, const Loc *);
Node *node_const(Graph *, const Tensor *);              /* keeps the tensor: owned by the context */
Node *node_const_f(Graph *, Elem, double);              /* rank 0 */
Node *node_const_i(Graph *, Elem, int64_t);
Node *node_map1(Graph *, Scalar, Node *);               /* arity fixed by scalar.def; result shape by broadcasting */
Node *node_map2(Graph *, Scalar, Node *, Node *);
Node *node_map3(Graph *, Scalar, Node *, Node *, Node *);
Node *node_map_as(Graph *, Scalar, Elem result, int n, Node *const *in); /* codes: result type chosen (map add %a %b : i9) */
Node *node_cast(Graph *, Node *, Elem);                 /* the node itself where nothing changes */
Node *node_reshape(Graph *, Node *, int rank, const Dim *dims);
Node *node_view(Graph *, Node *, const Type *shape, const Affine *acc, double fill); /* element type is x's */
Node *node_transpose(Graph *, Node *, const int *perm); /* y dim i = x dim perm[i] */
Node *node_broadcast(Graph *, Node *, int rank, const Dim *dims);
Node *node_slice(Graph *, Node *, int axis, int64_t start, int64_t step, int64_t count); /* step may be negative */
Node *node_pad(Graph *, Node *, const int64_t *before, const int64_t *after, double fill); /* negative crops */
Node *node_concat(Graph *, int n, Node *const *in, int axis);
Node *node_gather(Graph *, Node *x, Node *index, int axis);
/* Reduction over a set of axes; keep: reduced axes stay as 1. Integer sums keep x's element type: cast first. */
Node *node_reduce_axes(Graph *, Scalar, Node *, uint32_t axes, bool keep);
Node *node_reduce(Graph *, Scalar, Node *, const Type *, const Iters *); /* iters are copied */
Node *node_contract(Graph *, Scalar, const Type *, int n_in, Node *const *in, const Iters *, double fill);
Node *node_quant(Graph *, Node *x, Node *scale, Node *zp, Elem, int64_t lo, int64_t hi, Round); /* zp may be NULL */
Node *node_dequant(Graph *, Node *x, Node *scale, Node *zp, Elem);
/* Contract as a batched matrix product: a[batch.., M, K] . b[batch.., K, N], broadcasting batches; ONNX MatMul rules incl. rank 1. NULL where shapes do not fit. */
Node *node_matmul(Graph *, Node *a, Node *b, Elem result);
/* Any-dimensional convolution, x[N, C, spatial..], w[M, C/groups, kernel..]: result [N, M, out..]. out: output extents. */
Node *node_conv(Graph *, Node *x, Node *w, int groups, const int64_t *stride, const int64_t *dilation, const int64_t *pad_before, const int64_t *out, double fill, Elem result);

/* Operator bases; counts' planes are rows of signs and elements of alpha in order. coef: NULL, or i32[k+1] where x is packed. */
Node *node_bases(Graph *, Node *x, Node *signs, Node *alpha, Node *counts, Node *scale, Node *coef, Elem result, Kernel);
/* Terms of a group: signs' second dimension. Planes: its first. Of one block's output: groups. */
static inline int64_t bases_n(const Node *n) { return n->in[1]->t.d[1].n; }

/* What operator bn means, spelled out: five maps over in = x, gamma, beta, mean, var. */
Node *node_bn_spelled(Graph *, Node *const in[5], double epsilon);

Affine affine_iter(int iter, int64_t coef, int64_t base); /* coef*iter + base, div 1 */
Iters *iters_copy(Arena *, const Iters *, const Node *const *in, int n_in);
/* Extents of all iterators (outputs from the type, then reductions). Static types only. Returns their count. */
int iters_extents(const Node *, int64_t ext[MAX_ITERS]);
/* True where operand k of a view, reduce or contract can never be accessed outside. */
bool access_inside(const Node *, int k);
bool attr_eq(const Node *, const Node *); /* same op, type and attributes; inputs are not compared */

/* True and its element as a number where n is a const whose elements are all the same. */
bool node_uniform(const Node *, double *v);
static inline bool node_is_const(const Node *n) { return n->op == OP_CONST; }
static inline bool node_is_map(const Node *n, Scalar s) { return n->op == OP_MAP && n->a.scalar == s; }

/* Rewriting: visits the old graph's live nodes in order and builds a new graph. The rule sees the old node and its
 * already rewritten inputs (in the new graph) and returns the new node, or NULL to clone. Uses are those of the old graph. */
typedef struct Rewrite {
  Graph *old, *g;         /* g: the new one */
  Node **map;             /* old id -> new node, NULL before its turn or when dead */
  int *uses;              /* of old nodes by live nodes and outputs */
  void *user;
  int changes;            /* rules count what they did */
} Rewrite;
typedef Node *RewriteRule(Rewrite *, const Node *old, Node *const *in);
Graph *graph_rewrite(Graph *, RewriteRule *, void *user, int *changes); /* NULL where a rule added an error; dead nodes vanish; args stay */
Node *node_clone(Graph *, const Node *, Node *const *in);               /* same op, type, attributes */

/* Text: printing and parsing are inverse. Comments run from ';' to the end of the line, except the location
 * `; node 5 "fc1" (Conv)`, which is read back. Constants of up to 16 elements are inline, larger ones in `data` lines. */
void graph_print(Str *, const Graph *);
Graph *graph_parse(Ctx *, const char *file, const char *text, size_t n); /* NULL with E0103; the result is verified */
void type_print(Str *, const Graph *syms_of, const Type *);              /* f32[N<=64,3,224,224] */

/* Every rule of the language: arity, types, shapes, axis ranges, iterators, order, value ranges of constants. */
bool graph_verify(Ctx *, const Graph *);

/* The meaning. ins: one per arg, of the arg's type. outs: n_outs new tensors, owned by the caller (tensor_free).
 * hook, where not NULL, sees every computed node and may stop the evaluation by returning false.
 * False with a diagnostic: E0401 memory, E0402 work, E0602 cancelled, E0304 symbols left. */
typedef bool EvalHook(void *user, const Node *, const Tensor *);
bool graph_eval(Ctx *, const Graph *, Tensor *const *ins, Tensor **outs, EvalHook *, void *user);
/* One node on given inputs; for folding and tests. NULL with a diagnostic. */
Tensor *node_eval(Ctx *, const Node *, Tensor *const *ins);
/* Scalar meaning on one element: operands and result as bits of their storage widened to double or int64. */
typedef union Val { double f; int64_t i; } Val; /* f for float types, i for codes (u64 as its two's complement bits) */
Val scalar_eval(Scalar, Elem operand, Elem result, const Val *args);
/* The same on n elements; b and c as the arity asks. */
void scalar_run(Scalar, Elem operand, Elem result, const Val *a, const Val *b, const Val *c, Val *y, int n);
Val quant_eval(double x, double scale, const Val *zp, Elem zp_type, Elem scale_type, const Attr *, Elem result); /* zp may be NULL */
double dequant_eval(int64_t x, double scale, const Val *zp, Elem zp_type, Elem scale_type, Elem result); /* zp may be NULL */
/* The same on n elements, each with its scale and zero point. */
void quant_run(const Val *x, const Val *scale, const Val *zp, Elem zp_type, Elem scale_type, const Attr *, Elem result, Val *y, int n);
void dequant_run(const Val *x, const Val *scale, const Val *zp, Elem zp_type, Elem scale_type, Elem result, Val *y, int n);

#endif
