/* Printing of Nests as C text: what the C and the HLS backend share. Native element types print as <stdint.h> types, the
 * others (exact programs only) as ap_int<W>, ap_uint<W>. Names that the backends add all begin with the prefix or "end_";
 * program names that do are printed with "p_" before them, so the two never meet. */
#ifndef POPSHIFT_BACKENDS_C_PRINT_H
#define POPSHIFT_BACKENDS_C_PRINT_H

#include "ir/nest.h"

/* How tightly a text binds; an operand that binds less than its place asks for gets parentheses. */
typedef enum Prec { PREC_LOOSE, PREC_ADD, PREC_MUL, PREC_UNARY, PREC_ATOM } Prec;

/* Numbers that a code expression can have. Not known: u64 beyond int64, floats. */
typedef struct Range { int64_t lo, hi; bool known; } Range;

enum Needs { NEED_MATH = 1, NEED_STRING = 2, NEED_LANES = 4, NEED_UNROLL = 8, NEED_WORDS = 16, NEED_MACHINE = 32, NEED_SCALAR = 64 };

/* Small functions that generated code calls; each is printed once, before its first use (helpers.def). */
typedef enum Help {
  HELP_NONE,
#define HELP(NAME, name, arity, scalar, lanes) HELP_##NAME,
#include "backends/c/helpers.def"
#undef HELP
  HELP_COUNT
} Help;

typedef struct Used { Help help; NType t, from; int imm; const uint8_t *perm; const char *name; } Used;

typedef struct Named { const Expr *x; const char *name; } Named;

typedef struct Printer {
  Ctx *ctx;
  const Program *p;
  Program meanings;       /* p's tables with an arena of its own: expansions of intrinsics */
  Arena *arena;           /* scratch */
  const char *name, *upper;
  const char *variant;    /* what functions have between the prefix and their names: "", or "v0_" of several variants */
  const char *const *rom_name; /* by buffer, where variants share constants; NULL: their own names */
  bool hls;
  unsigned needs;
  Str *o;                 /* where text goes */
  Str helpers;
  VEC(Used) used;
  bool *words;            /* by buffer: c_rom_is_words */
  /* of the nest at hand */
  const Nest *nest;
  Range *range;           /* by variable */
  int *uses;              /* reads of each variable by statements that are printed */
  bool *modular;          /* by variable: held as its unsigned type, all SETs are modular sums */
  uint8_t *reads, *writes;/* by buffer: touched by statements that are printed */
  bool has_lanes;         /* the nest has vectors */
  VEC(Named) named;       /* deep expressions of the statement at hand that have a constant of their own */
  int n_named;            /* of the whole nest */
  const Stmt *const *tasks; int n_tasks; /* parallel loops that are printed as calls of their tasks */
  void (*task_call)(struct Printer *, int task, int indent);
} Printer;

/* c_names.c */
bool c_printer_open(Printer *, Ctx *, const Program *, const char *name, bool hls); /* E0701 where the name is not allowed */
void c_printer_close(Printer *);
const char *c_local(Printer *, const char *name);    /* a buffer or variable inside a function */
const char *c_global(Printer *, const char *name);   /* a nest at file scope: with the prefix */
const char *c_rom_name(Printer *, int buf);          /* a constant at file scope */
void c_comment(Str *, const char *text);             /* model text inside a block comment: printable, at most 120 characters */
void c_loc_comment(Str *, const Nest *);             /* a line: node 5 'fc1' (Conv): note */
const char *c_type(Printer *, NType);                /* of values; bool is int in C */
const char *c_unsigned(Printer *, NType);            /* of modular arithmetic: at least 32 bits, lanes as they are */
const char *c_mask(Printer *, NType);                /* of comparisons of lanes: 0 or -1 at the operands' width */
const char *c_mem_type(Printer *, Elem);             /* of elements of buffers */
const char *c_suffix(Printer *, NType);              /* i32, f32x8: in names */
bool c_is_ap(const Printer *, Elem);                 /* prints as ap_int, ap_uint */
bool c_uses_float(const Program *);

/* c_range.c */
Range c_elem_range(Elem);
Range c_range(Printer *, const Expr *);
bool c_exact(Printer *, const Expr *, Range *);      /* add sub mul neg: the numbers without wrapping; false beyond int64 */

/* c_helpers.c */
const char *c_help(Printer *, Help, NType t, NType from, int imm, const uint8_t *perm); /* its name; prints it at the first call */
bool c_lane_pop(Printer *, Str *, const Used *);     /* popcount of lanes; false where no machine has more than lane by lane */
void c_lane_help(Printer *, Str *, const Used *);    /* c_lane_help.c: bodies of helpers that only lanes need */

/* c_expr.c, c_lanes.c */
typedef struct Row { const char *text; Prec prec; Help help; unsigned needs; } Row;
extern const Row c_float_rows[SCALAR_COUNT], c_code_rows[SCALAR_COUNT];
void c_expr(Printer *, const Expr *, Prec least);
/* text with %l0 %a0 %m0 %u0 %x0 for operand 0 at each precedence, %n0 an operand that is a constant as plain digits,
 * %r0 %q0 modular operands, %t %o %U %M the result's type, the operand's, c_unsigned, c_mask, %f the suffix of math functions. */
void c_text(Printer *, const Expr *, const char *text);
const char *c_named(const Printer *, const Expr *);  /* NULL: none */
bool c_modular(Printer *, const Expr *);             /* printed in unsigned arithmetic */
void c_unsigned_expr(Printer *, const Expr *, Prec least); /* its bits as c_unsigned */
Help c_unsigned_help(Help);                          /* of a code row, for unsigned operands */
void c_const(Printer *, NType, Val, Prec least);
void c_lanes(Printer *, const Expr *, Prec least);   /* lanes > 1 in result or operands */
void c_mask_expr(Printer *, const Expr *, int bits); /* bool lanes as masks of so many bits */

/* c_stmt.c */
void c_nest_open(Printer *, const Nest *);           /* ranges, uses, buffers of the nest */
void c_block(Printer *, const Block *, int indent);
void c_indent(Printer *, int n);
bool c_alive(const Printer *, const Stmt *);         /* false: a variable that nobody reads, or x := x */

/* c_data.c */
bool c_rom_is_words(const Buf *);                    /* large data, and floats without decimal form */
void c_rom(Printer *, int buf);                      /* words: a union of 64-bit words and, in member e, the elements */

#endif
