/* Shared by the nest_*.c files only. */
#ifndef POPSHIFT_IR_NEST_IMPL_H
#define POPSHIFT_IR_NEST_IMPL_H

#include "ir/nest.h"

enum { NEST_DEPTH = 256, EXPR_DEPTH = 2000 }; /* most nested statements and operands: parser and verifier refuse more */

const char *nest_name_global(Program *, const char *name);                   /* marks the name taken; its copy */
const char *nest_name_var(Program *, const char *nest, const char *text);    /* unique among the nest's variables */

/* Copies of a code wrapped to its type: sign or zero extended to 64 bits; bool: v & 1. */
static inline int64_t code_wrap(Elem e, int64_t v) {
  if (e.kind == EK_BOOL) return v & 1;
  int s = 64 - e.bits;
  if (e.kind == EK_INT) return (int64_t)((uint64_t)v << s) >> s;
  return (int64_t)((uint64_t)v << s >> s);
}

#endif
