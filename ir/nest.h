/* Nest and Program: loops, loads, stores and scalar/vector arithmetic over flat buffers: how it is computed.
 * A Program is a buffer table with planned offsets, a list of nests, and steps. Backends print Programs. */
#ifndef POPSHIFT_IR_NEST_H
#define POPSHIFT_IR_NEST_H

#include "ir/graph.h"

/* Type of a Nest value: an element type, times lanes. Element types here: f32 f64 i<k> u<k> bool (f16, bf16, shift and bases are
 * lowered to their storage). Programs for CPUs use the native widths 8 16 32 64 only (Program.exact is false); HLS
 * programs use exact widths. Arithmetic wraps to the type. lanes: 1, or a power of two up to 512/bits. */
typedef struct NType { Elem e; uint16_t lanes; } NType;
static inline NType nt(Elem e) { NType t = {e, 1}; return t; }
static inline NType ntv(Elem e, int lanes) { NType t = {e, (uint16_t)lanes}; return t; }

typedef enum Space {
  SP_IN,    /* caller's input, read only */
  SP_OUT,   /* caller's output, write only (may be read back after it was written) */
  SP_ROM,   /* constant data */
  SP_ARENA, /* workspace; lives between its first and last step */
  SP_REG    /* small array local to one nest call */
} Space;

/* HLS array partitioning: none, complete, or cyclic by a factor. */
typedef struct Part { enum { PART_NONE, PART_COMPLETE, PART_CYCLIC } kind; int factor; } Part;

typedef struct Buf {
  const char *name; /* an identifier, unique in the program; made from model text by nest_name */
  Elem e;           /* elements lie at elem_store(e); bits of e matter to exact programs only */
  Space sp;
  int64_t n;        /* elements */
  int64_t off;      /* SP_ARENA: byte offset after plan, -1 before; multiple of 64 */
  const void *rom;  /* SP_ROM: n elements at elem_store(e) */
  Part part;
  bool keep;        /* SP_ARENA: lives from run to run; written by init */
} Buf;

/* What the codes of a port mean: (code - zero) * scale. Said in headers, not in a program's text. */
typedef struct PortMeaning {
  const Tensor *scale, *zero;  /* one element, or as many as the extent of axis; NULL: numbers as the model has them; zero NULL: 0 */
  int axis;                    /* of t, along which scale or zero vary */
  Type t;                      /* of the codes, before they were packed */
  int bits;                    /* of a packed code, least significant first in words of 32; 0: not packed */
  bool channels_last;          /* dimension 1 of the model's value lies last */
} PortMeaning;

/* What the caller sees of an input or output. */
typedef struct Port { const char *name; int buf; Type t; } Port; /* name as the model writes it, not escaped */

typedef enum ExprKind {
  EX_CONST,  /* value, splat over the lanes */
  EX_VAR,
  EX_LOAD,   /* buf[index .. index+lanes-1] */
  EX_SCALAR, /* a row of scalar.def, lane by lane; operands of one type (select: a is bool; cast, bits: result given) */
  EX_COND,   /* a ? b : c, only the chosen one is evaluated; lanes of a: 1. For loads that may be outside. */
  EX_SPLAT,  /* a (1 lane) in every lane */
  EX_HRED,   /* sum of a's lanes, wrapping; result 1 lane */
  EX_DOT,    /* a + sums of q neighbouring products: a is i32 x L; b, c are 8-bit codes x 4L (q = 4) or 16-bit x 2L (q = 2); exact, wrapping */
  EX_LUT3,   /* imm: bit i of the result is imm's bit 4a+2b+c (vpternlog's order); codes only */
  EX_SHUF,   /* byte table: r[i] = a[b[i] & 15 of its 16-byte group], 0 where b[i] >= 128; u8 x 16n */
  EX_PERM,   /* r[i] = a[perm[i]], any lanes of one type; with b of a's type: of the lanes of a, then those of b */
  EX_RELANE, /* a's bits as lanes of another width, lane 0 the lowest; integers of two widths, as many bits in all */
  EX_MASK,   /* bit i is lane i of a; a: bool x L, result: u<L>, L = 8, 16, 32 or 64 */
  EX_INTRIN  /* a row of intrin.def */
} ExprKind;

typedef struct Expr Expr;
struct Expr {
  ExprKind kind;
  NType t;
  Scalar s;            /* EX_SCALAR */
  int var, buf, imm;   /* EX_VAR; EX_LOAD; EX_LUT3's table, EX_INTRIN's row */
  int n;               /* operands */
  Expr *a[3];          /* EX_LOAD: a[0] is the index */
  Val value;           /* EX_CONST */
  const uint8_t *perm; /* EX_PERM */
};

typedef enum Mark { MARK_SERIAL, MARK_UNROLL, MARK_VECTOR, MARK_PARALLEL, MARK_PIPELINE, MARK_COUNT } Mark;
extern const char *const mark_names[MARK_COUNT];

typedef enum StmtKind {
  ST_FOR,    /* for var = lo; var < hi; var += step (step > 0 constant) body; lo, hi evaluated once */
  ST_IF,     /* cond, body, other (may be NULL) */
  ST_LET,    /* var = e, never changed; visible to the end of the enclosing block */
  ST_VARDEF, /* var = e, may be SET */
  ST_SET,    /* var := e */
  ST_STORE   /* buf[index ..] := e */
} StmtKind;

typedef struct Stmt Stmt;
typedef struct Block { Stmt *first, **tail; } Block;
struct Stmt {
  StmtKind kind;
  Stmt *next;
  int var, buf;
  Expr *e;             /* FOR: lo; IF: condition; STORE: the value */
  Expr *e2;            /* FOR: hi; STORE: the index */
  int64_t step, max;   /* FOR; max: most iterations that can happen */
  int32_t line;        /* of the text it was read from, else 0 */
  Mark mark; uint16_t ii; /* FOR; ii: initiation interval of a pipelined loop, 0: none asked */
  Block body, other;
};

typedef struct Var { const char *name; NType t; bool is_loop; } Var;

typedef struct Nest {
  const char *name;    /* an identifier, unique */
  Var *vars; int n_vars, cap_vars;
  Block body;
  Loc loc;             /* the layer it came from */
  const char *note;    /* what it is, for comments and reports: "contract int8, thresholds" */
} Nest;

typedef struct Program {
  Ctx *ctx;
  Arena *arena;
  const char *name;    /* an identifier: prefix of every symbol */
  const char *file;    /* the text it was read from: what it does wrong is the text's fault; NULL: lowered, and then ours */
  Elem index;          /* i32 or i64: type of loop variables and indices */
  bool exact;          /* any widths (HLS), else native ones */
  bool no_multiply;    /* codes are not multiplied or divided: backends add nothing of the kind (passes/unmultiply.c) */
  Buf *bufs; int n_bufs, cap_bufs;
  Port *ins; int n_ins;
  Port *outs; int n_outs;
  const PortMeaning *in_means, *out_means; /* of each port, or NULL */
  Nest **nests; int n_nests, cap_nests;
  int *steps; int n_steps, cap_steps; /* nests to call, in order */
  int *inits; int n_inits;            /* nests that init calls: they write what is kept */
  int64_t arena_bytes; /* after plan; -1 before */
  int64_t arena_bound; /* most bytes alive at any one step: no plan can be smaller */
  struct NameSet *names; /* identifiers taken (nest_names.c) */
} Program;

Program *program_new(Ctx *, const char *name);
void program_free(Program *);
/* Identifier from model text: [A-Za-z0-9_], no leading '_' or digit, not a C/C++/HLS keyword or library name, at most 40
 * characters, unique among the program's buffers and nests; prefix tells the kind ("t", "n", "w"). */
const char *nest_name(Program *, const char *prefix, const char *text);
/* True where the text may be the name of a program, buffer, nest or variable. */
bool nest_name_ok(const char *);
int program_buf(Program *, const char *name, Elem, Space, int64_t n, const void *rom);
Nest *program_nest(Program *, const char *name, const Loc *, const char *note); /* adds a step too */

/* Builders. Index arithmetic folds constants and drops +0, *1, *0, /1. All memory is the program's arena. */
int nest_var(Program *, Nest *, const char *name, NType, bool is_loop); /* name is made unique in the nest */
Expr *nx_const_i(Program *, NType, int64_t);
Expr *nx_const_f(Program *, NType, double);
Expr *nx_idx(Program *, int64_t);                       /* constant of the index type */
Expr *nx_var(Program *, const Nest *, int var);
Expr *nx_load(Program *, int buf, Expr *index, int lanes);
Expr *nx1(Program *, Scalar, Expr *);                   /* result type by scalar.def */
Expr *nx2(Program *, Scalar, Expr *, Expr *);
Expr *nx3(Program *, Scalar, Expr *, Expr *, Expr *);
Expr *nx_cast(Program *, Expr *, Elem);                 /* itself where nothing changes */
Expr *nx_bits(Program *, Expr *, Elem);
Expr *nx_cond(Program *, Expr *c, Expr *yes, Expr *no);
Expr *nx_splat(Program *, Expr *, int lanes);
Expr *nx_hred(Program *, Expr *);
Expr *nx_dot(Program *, Expr *acc, Expr *a, Expr *b);
Expr *nx_lut3(Program *, int imm, Expr *, Expr *, Expr *);
Expr *nx_shuf(Program *, Expr *table, Expr *index);
Expr *nx_perm(Program *, Expr *, const uint8_t *perm, int lanes);
Expr *nx_relane(Program *, Expr *, Elem);               /* itself where nothing changes */
Expr *nx_mask(Program *, Expr *);
Expr *nx_perm2(Program *, Expr *, Expr *, const uint8_t *perm, int lanes);
Expr *nx_intrin(Program *, int row, int n, Expr *const *args);
/* f32 rounded to the nearest f16, bf16 number, still an f32: round_f16, round_bf16 of type.h bit by bit. x is used several
 * times: pass a variable. */
Expr *nx_round_f16(Program *, Expr *x);
Expr *nx_round_bf16(Program *, Expr *x);
bool nx_is_const(const Expr *, int64_t *v);             /* 1-lane code constant */
Stmt *ns_for(Program *, Block *into, int var, Expr *lo, Expr *hi, int64_t step, int64_t max); /* returns it: fill ->body; max -1: from constant lo, hi */
Stmt *ns_if(Program *, Block *into, Expr *cond);
void ns_let(Program *, Block *into, int var, Expr *);
Expr *ns_name(Program *, Nest *, Block *into, const char *name, Expr *); /* LETs e, gives the variable; constants and variables as they are */
void ns_vardef(Program *, Block *into, int var, Expr *);
void ns_set(Program *, Block *into, int var, Expr *); /* nothing where e is the variable itself */
void ns_store(Program *, Block *into, int buf, Expr *index, Expr *value);
void block_init(Block *);

/* Intrinsics: operations that one machine has and every machine can do. The meaning is Nest text over $0 $1 $2: the
 * expansion where the feature is missing, the interpreter's rule, and the self-test's judge. */
typedef struct Intrin {
  const char *name;
  NType result, arg[3]; int n;
  const char *feature;  /* as in `gcc -m` and the target tables: "avx512vnni", "avx512vpopcntdq" */
  const char *meaning;  /* Nest expression text */
  const char *c, *c_macro; /* C spelling as a format with %0 %1 %2, and the predefined macro that guards it */
  const char *llvm;     /* LLVM intrinsic, "asm" for an empty instruction, or NULL where the plain expansion is as good */
} Intrin;
extern const Intrin intrins[]; extern const int n_intrins;
Expr *intrin_expand(Program *, int row, Expr *const *args); /* the meaning over these arguments */

/* Text: printing and parsing are inverse. Large ROM data is printed as hex of its little-endian bytes. */
void program_print(Str *, const Program *);
void nest_print(Str *, const Program *, const Nest *);
Program *program_parse(Ctx *, const char *file, const char *text, size_t n); /* NULL with E0103; the result is verified */

/* Types of every expression, variables set before use, stores only to OUT, ARENA and REG, lanes, native widths, names,
 * constant indices inside, planned buffers that live at the same time apart. */
bool program_verify(Ctx *, const Program *);

/* The interpreter: checks every index against its buffer (E0902, for a program from a text E0211, with the nest and statement where
 * outside) and every read of a never-written element of ARENA, REG, OUT. ins, outs: pointers to n elements of each port at their storage. */
bool program_run(Ctx *, const Program *, const void *const *ins, void *const *outs);
/* The same in the caller's workspace of arena_bytes, where kept buffers are what the last run left; first: init runs before. */
bool program_run_in(Ctx *, const Program *, void *workspace, bool first, const void *const *ins, void *const *outs);

/* First and last step that touches an arena buffer; first > last where none does. */
void buf_lifetime(const Program *, int buf, int *first, int *last);
void buf_lifetimes(const Program *, int *first, int *last); /* of all n_bufs buffers at once, any space */
void stmt_visit(const Block *, void (*)(void *user, const Stmt *), void *user);      /* all statements, outer first */
void expr_visit(const Expr *, void (*)(void *user, const Expr *), void *user);
void stmt_exprs(const Stmt *, void (*)(void *user, const Expr *), void *user);       /* of this statement only, all sub-expressions */

#endif
