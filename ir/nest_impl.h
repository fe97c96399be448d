/* Shared by the nest_*.c files only. */
#ifndef POPSHIFT_IR_NEST_IMPL_H
#define POPSHIFT_IR_NEST_IMPL_H

#include "ir/nest.h"

enum { NEST_DEPTH = 256, EXPR_DEPTH = 2000 }; /* most nested statements and operands: parser and verifier refuse more */

/* Identifiers: buffers have the id of their index, nests NEST_ID + index, variables their index in the nest n. */
#define NEST_ID (1 << 30)
const char *name_take(Program *, const char *name, int id);                          /* its copy */
const char *name_take_var(Program *, const char *nest, const char *text, int id);    /* made unique among the nest's variables */
int name_find(const Program *, const Nest *n, const char *name);                     /* n NULL: buffers and nests; -1 where unknown */

/* A code wrapped to its type: sign or zero extended to 64 bits; bool: v & 1. */
static inline int64_t code_wrap(Elem e, int64_t v) {
  if (e.kind == EK_BOOL) return v & 1;
  int s = 64 - e.bits;
  if (e.kind == EK_INT) return (int64_t)((uint64_t)v << s) >> s;
  return (int64_t)((uint64_t)v << s >> s);
}

static inline bool nt_same(NType a, NType b) { return elem_eq(a.e, b.e) && a.lanes == b.lanes; }
Expr *expr_new(Program *, ExprKind, NType, int n, Expr *, Expr *, Expr *);  /* as given, nothing folds */
Stmt *stmt_new(Program *, Block *into, StmtKind, int var, int buf, Expr *e, Expr *e2);
bool verify_as(Ctx *, const Program *, ErrCode, const char *file);               /* program_verify, with this code of its errors */
int64_t const_trips(const Stmt *);             /* iterations of a FOR with constant lo and hi, else -1 */
Val store_get(Store, const void *data, int64_t i);
void store_set(Store, void *data, int64_t i, Val);

/* Text (nest_text.c). */
extern const char *const space_names[SP_REG + 1];
NType expr_wants(const Expr *, NType own, int i, Elem index);
void ntype_print(Str *, NType);
void stmt_line_print(Str *, const Program *, const Nest *, const Stmt *); /* one statement without its blocks */
/* intrin.def's meanings: $k are variables k of type arg[k] of a nest without statements (nest_parse.c). NULL with E0103. */
Expr *meaning_parse(Program *, const Nest *, const char *text, NType want);

#endif
