/* The table of intrinsics, and their expansion into plain expressions. */
#include "ir/nest_impl.h"

#include <assert.h>

/* In this table types are initializers of constants, which compound literals are not. */
#undef I8
#undef I32
#undef U8
#undef BOOL
#undef UINTK
#undef INTK
#define INTK(k) {EK_INT, k}
#define UINTK(k) {EK_UINT, k}
#define I8 INTK(8)
#define I32 INTK(32)
#define U8 UINTK(8)
#define BOOL {EK_BOOL, 1}
#define nt(...) {__VA_ARGS__, 1}
#define ntv(...) {__VA_ARGS__}
#define INTRIN(name_, result_, n_, a0, a1, a2, feature_, meaning_, c_, macro_, llvm_) \
  {.name = #name_, .result = result_, .arg = {a0, a1, a2}, .n = n_, .feature = feature_, .meaning = meaning_, .c = c_, \
   .c_macro = macro_, .llvm = llvm_},
const Intrin intrins[] = {
#include "ir/intrin.def"
};
#undef INTRIN
const int n_intrins = sizeof intrins / sizeof *intrins;

/* A copy of x with the arguments in place of the meaning's variables. */
static Expr *substitute(Program *p, const Expr *x, Expr *const *args) {
  if (x->kind == EX_VAR) return args[x->var];
  Expr *y = expr_new(p, x->kind, x->t, x->n, NULL, NULL, NULL);
  *y = *x;
  for (int i = 0; i < x->n; i++) y->a[i] = substitute(p, x->a[i], args);
  return y;
}

Expr *intrin_expand(Program *p, int row, Expr *const *args) {
  const Intrin *r = &intrins[row];
  Program *scratch = program_new(p->ctx, "meanings");
  Nest params = {.name = r->name};
  for (int i = 0; i < r->n; i++) nest_var(scratch, &params, "a", r->arg[i], false);
  const Expr *m = meaning_parse(p, &params, r->meaning, r->result);
  assert(m && "a meaning of intrin.def parses: test_nest_intrin");
  Expr *x = substitute(p, m, args);
  program_free(scratch);
  return x;
}
