/* Shared by the exec_*.c files only. */
#ifndef POPSHIFT_TRAINER_EXEC_IMPL_H
#define POPSHIFT_TRAINER_EXEC_IMPL_H

#include "ir/nest.h"
#include "trainer/exec.h"

/* How a value lies: as eval stores it, row-major; or its numbers as float, which holds them exactly (floats, and codes below 2^24),
 * row-major or channels last [n, spatial.., c]. Of f32 the first two are the same. */
typedef enum Lie { LIE_STORED, LIE_ROWS, LIE_LAST, LIE_COUNT } Lie;

/* Dimension of the type that lies at place i in memory. */
static inline int dim_at(const Type *t, bool last, int i) { return !last || i == 0 ? i : i == t->rank - 1 ? 1 : i + 1; }

/* The value of a node, or a copy that lies otherwise. */
typedef struct Value {
  Type t;
  int64_t count;
  Lie lie;
  bool live, kept;         /* kept: has memory, since another step reads it or it is an output */
  int step;                /* that computes it; -1: constant or argument */
  int alias;               /* value whose memory this is, or -1 */
  int as[LIE_COUNT];       /* the same value lying otherwise, or -1 */
  void *data;
} Value;

/* contract, reduce and scatter nodes that oneDNN can compute, and which of their operands play which part. */
typedef enum MatchKind { MATCH_NONE, MATCH_CONV, MATCH_CONV_GRAD_X, MATCH_CONV_GRAD_W, MATCH_PRODUCT, MATCH_POOL, MATCH_POOL_GRAD,
               MATCH_SUM_GRAD } MatchKind; /* POOL: of max, or of sums: averages times the window's size; SUM_GRAD: the latter's */
typedef struct Match {
  MatchKind kind;
  int x, w;             /* operands: x or dy, and w; grad_w: x and dy */
  const Node *in[2];    /* those, without reshapes of their channels */
  DnnConv conv;
  DnnPool pool;
  DnnMatmul product;
  const Node *forward;  /* MATCH_POOL_GRAD: the pool whose workspace it reads */
} Match;
/* Static types; operands row-major, for the strides of products. Of a reshape: the grouped convolution that it alone is to read. */
Match match_node(const Graph *, const Node *);

/* Element-wise groups. An operand is read whole, or repeats: element i is data[i / inner % mid + (outer ? i / outer * mid : 0)]. */
typedef struct Read { int value; int64_t inner, mid, outer; bool whole; } Read;
typedef struct Fuse Fuse;
bool small_code(Elem);                                        /* its numbers are kept as floats */
bool fusable(const Node *);                                   /* by operator and types alone */
bool view_spreads(const Node *view, Type *aligned);           /* a view that only repeats x: x's type with dimensions of 1 put in */
bool read_pattern(const Type *loop, bool last, const Type *t, bool t_last, Read *); /* t broadcast against the loop */

typedef enum StepKind { STEP_FUSE, STEP_DNN, STEP_SUM, STEP_STATS, STEP_LIE, STEP_EVAL } StepKind;
typedef struct Step {
  StepKind kind;
  VEC(int) nodes;          /* ids of nodes it computes: one, but for groups and STEP_STATS; none for STEP_LIE */
  VEC(int) sums;           /* STEP_FUSE: ids of sums over its nodes, added up as they are computed */
  int in[2], out[2];       /* values, -1 none: of STEP_DNN by the parts they play; STEP_STATS: mean and variance; groups: none */
  int *operand, n_operand; /* STEP_EVAL: values of the node's operands */
  struct Alone *alone;     /* STEP_EVAL: what computes it in eval's place (exec_exact.c), or NULL */
  bool last;               /* STEP_FUSE: layout of the loop */
  Fuse *fuse;
  DnnOp *op;
  Match match;
  struct Sum *sum;
  double *scratch;
  void *ws;                /* of max pooling */
} Step;

struct Exec {
  Ctx *ctx;
  Arena *arena;
  Dnn *dnn;
  Graph *g;                /* as exec_spell left it */
  Value *v; int n_v, cap_v; /* by node id, then the copies */
  struct { Step *p; int n, cap; } steps;
  Match *match;            /* by node id */
  DnnOp **op;              /* by node id: of matched nodes */
  int *uses;               /* by node id: operands of others that it is, and outputs */
  int *outs;               /* values of the outputs, as eval stores them */
  const struct Loops *loops; /* of this processor */
  bool *waiting;           /* by node id: not planned yet */
  int from;                /* while planning: the first step that may take a node (plan_tree) */
  bool ran;                /* copies of constants are there */
  ExecOptions o;
  VEC(struct Compiled { const char *text; struct LlvmJit *jit; }) compiled; /* by the text of their programs */
};

Graph *exec_spell(const Graph *);                      /* exec_spell.c: a new graph of the same arguments and outputs; NULL with a diagnostic */

/* exec_lie.c: where values lie, and the copies that lie otherwise. */
bool lies_same(const Type *);                          /* channels last is row-major */
bool lies_as(const Value *, Lie);                      /* the same memory would be read */
int value_copy(Exec *, int value, Lie);                /* a value for such a copy, made by the step that comes next; there is none yet */
int value_as(Exec *, int value, Lie);                  /* adds a step where there is no such copy yet */
void lie_run(const Value *from, Value *to);
void lie_move(const Type *, const float *x, float *y, bool to_last); /* numbers from row-major to channels last, or back */
void choose_lies(Exec *);                              /* each node's own lie, by what reads and writes it */
bool step_once(const Exec *, const Step *);            /* a copy of a constant */
void assign_memory(Exec *);                            /* buffers by lifetime */
/* Value that a group with this layout reads as operand k of n, and how; -1 where it cannot without a new copy (add: make one). */
int group_operand(Exec *, const Node *n, int k, bool last, Read *, bool add);

enum { BLOCK = 1024 };   /* the most elements that a group computes at a time */
enum { WORTH = 8192 };   /* elements from which a loop pays for cuts, for compiling it, and for making values anew instead of keeping them */
/* Where a quantizer of one scale changes: u = x/scale + zp grows with x, so codes are counted by comparisons, with all bits of the
 * division's. code[k]: the least x whose code is lo + k + 1, NaN behind the last of up to 4 codes; x is inside from within to below end. */
enum { CUTS = 3 };
typedef struct Cuts { float code[CUTS], within, end, lo, nan, zp, inverse; } Cuts;
/* y = row(a, b, c) on n floats; exact where scalar.c is. NULL: no loop, element by element through scalar_eval. */
typedef void BlockOp(float *restrict y, const float *a, const float *b, const float *c, int n);
typedef struct Loops {
  BlockOp *row[SCALAR_COUNT];
  /* clamp(round(x/scale + zp)) + code, then as quant_eval; zp may be NULL; one: all of scale are equal */
  void (*quant)(float *restrict y, const float *x, const float *scale, const float *zp, float code, float lo, float hi, bool one, int n);
  void (*quant_cut)(float *restrict y, const float *x, const Cuts *, int n);
  void (*quant_dx_cut)(float *restrict y, const float *dy, const float *x, const Cuts *, int n);
  void (*quant_ds_cut)(float *restrict y, const float *dy, const float *x, const Cuts *, int n); /* x/scale by its inverse: within 2 ulp */
  /* quant_grad's flags 0 and 1 */
  void (*quant_dx)(float *restrict y, const float *dy, const float *x, const float *scale, float zp, float lo, float hi, bool one, int n);
  void (*quant_ds)(float *restrict y, const float *dy, const float *x, const float *scale, float zp, float lo, float hi, bool one, int n);
  void (*dequant)(float *restrict y, const float *x, const float *scale, const float *zp, int n);
  void (*dequant_f64)(float *restrict y, const float *x, const double *scale, int n); /* exact product rounded once */
  float (*sum)(const float *x, int64_t n);                    /* 64 running sums, then a tree */
  float (*extreme)(const float *x, int64_t n, bool least);    /* NaN wins; of zeros any */
  /* acc[i % width] += x[i], or += (x[i] - mean[i % width])^2: in order of i */
  void (*columns)(float *restrict acc, const float *x, int64_t width, int64_t n);
  void (*squares)(float *restrict acc, const float *x, const float *mean, int64_t width, int64_t n);
} Loops;
extern const Loops loops_plain, loops_avx2, loops_avx512;
const Loops *loops_best(void); /* of this processor: the bits are the same */

static inline bool group_member(const Step *s, int node) {
  for (int i = 0; i < s->nodes.n; i++) if (s->nodes.p[i] == node) return true;
  return false;
}
typedef struct Source { int reg; Read read; float *padded; } Source; /* an f64 scale takes two registers; padded: exec_nest.c's copy */
typedef struct FuseOp {
  const Node *n;
  int value, reg, in[3];   /* the value's id; registers, -1 none */
  BlockOp *row;
  bool zp_code, one;       /* quantizers: the zero point is the number `code`; the scale is one number */
  float code;
  bool cuts; Cuts cut;     /* of this run */
} FuseOp;
typedef struct FuseSum { int reg, value; int64_t c, width; double *total; float *acc; } FuseSum; /* over [.., c] */
struct Fuse {
  int64_t count;
  int block, n_ops, n_sources, n_regs, n_sums;
  FuseOp *op;
  Source *source;
  FuseSum *sum;
  float **at;              /* where each register is for the block at hand */
  struct LlvmJit *code;    /* the group as one compiled nest, or NULL */
  const void **code_in;    /* its ports' data */
  void **code_out;
};
Fuse *fuse_new(Exec *, const Step *);
void fuse_run(Exec *, Fuse *);
bool fuse_cuts(const Fuse *, const FuseOp *); /* a quantizer that has cuts wherever its scale is a positive number */

/* exec_nest.c: groups as Programs of one nest, compiled by LLVM where the build has it; the same bits, and several times as fast. */
Program *fuse_program(const Exec *, const Fuse *);       /* NULL: not for vectors, or too small to be worth it */
void fuse_compile(Exec *);                               /* all groups; those of one text once */
bool fuse_run_code(const Exec *, Fuse *);
void fuse_free_code(Exec *);
/* exec_exact.c: float sums in eval's order. */
bool exact_sum(const Exec *, const Node *);              /* of a value that is to have it */
void exact_compile(Exec *);
bool exact_run(const Exec *, const Step *);              /* of a step that is compiled */

/* y = sum of x over some dimensions, adjacent dimensions of one kind merged; or its greatest or least number over all. */
typedef struct Sum { Scalar of; int n; int64_t ext[MAX_RANK]; bool folded[MAX_RANK]; int64_t out; } Sum;
bool sum_match(const Node *reduce, bool last, Sum *);
int64_t sum_width(int64_t c);  /* a multiple of c whose rows are added well: floats that a partial sum of [.., c] takes */
void sum_fold(const float *acc, int64_t width, int64_t c, double *y); /* y[i % c] += acc[i] */
bool fuse_sums(const Exec *, const Node *reduce, const Step *, Sum *); /* the group can add up its value as it computes it */
void sum_run(const Loops *, const Sum *, const float *x, float *y, double *scratch); /* scratch: out doubles + sum_width(out) floats */
/* Mean and biased variance of each column of [rows, c]; scratch: 4c doubles, then 2 sum_width(c) floats. */
void stats_run(const Loops *, const float *x, int64_t rows, int64_t c, float *mean, float *var, double *scratch);

#endif
