/* Shared by the files of backends/llvm only. */
#ifndef POPSHIFT_BACKENDS_LLVM_IMPL_H
#define POPSHIFT_BACKENDS_LLVM_IMPL_H

#include "backends/llvm/llvm_backend.h"

#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/TargetMachine.h>

/* What a machine can do beyond generic IR. The C API cannot tell the features of a CPU, so each is asked for by compiling
 * a few lines of generic IR whose best code needs it, and looking for that instruction (llvm_target.c). Names are gcc's. */
typedef enum Feature {
#define FEATURE(ID, name, arch, needle, reg, ir) FT_##ID,
#include "backends/llvm/features.def"
#undef FEATURE
  FEATURE_COUNT,
  FT_NONE = -1
} Feature;

typedef struct LlvmTarget {
  Ctx *ctx;
  LLVMTargetMachineRef tm;
  LLVMTargetDataRef layout;
  char *triple, *cpu, *features; /* LLVM's: LLVMDisposeMessage */
  bool big_endian;
  bool x86;
  signed char has[FEATURE_COUNT]; /* -1: not asked yet */
} LlvmTarget;

/* False with E0307 and LLVM's message. jit: this machine's CPU and features where none are given. */
bool llvm_target_open(Ctx *, const LlvmOptions *, bool jit, LlvmTarget *);
void llvm_target_close(LlvmTarget *);
bool llvm_target_has(LlvmTarget *, Feature);
bool llvm_target_has_named(LlvmTarget *, const char *feature); /* false for names that are in no row */

/* Values of one statement's expressions: what the Program shares is computed once. A stack, so that what one side of a
 * COND computed is forgotten after it. */
typedef struct Memo {
  struct MemoEntry { const Expr *x; LLVMValueRef v; int next; } *p; /* next: older one of the same head, -1 */
  int n, cap;
  int head[256];
} Memo;

typedef struct DotLoop DotLoop;

/* State while one module is built. */
typedef struct Gen {
  Ctx *ctx;
  const Program *p;
  Program scratch;        /* p with an arena of its own: expansions of intrinsics */
  LlvmTarget *target;
  LLVMContextRef c;
  LLVMModuleRef m;
  LLVMBuilderRef b;
  LLVMTypeRef i1, i8, i32, size, ptr;
  LLVMValueRef *rom;      /* by buffer: the global, else NULL */
  LLVMValueRef *fns;      /* by nest */
  /* of the nest at hand */
  const Nest *nest;
  LLVMValueRef fn;
  LLVMValueRef *at;       /* by buffer: address of its first element */
  LLVMValueRef *vars;     /* by variable: its value, or its address where `in_memory` */
  bool *in_memory;
  Memo memo;
  const DotLoop *dot;     /* the loops at hand end in this one, or NULL */
} Gen;

/* llvm_module.c */
LLVMModuleRef llvm_module(Gen *); /* fills and returns g->m, made where it is NULL; g has ctx, p, target, c */

/* llvm_stmt.c */
LLVMBasicBlockRef llvm_block(Gen *, const char *name);
LLVMValueRef llvm_entry_alloca(Gen *, LLVMTypeRef, const char *name);
void llvm_nest(Gen *, int nest, int **args);          /* sets fns[nest], args[nest]: buffers of its parameters, ended by -1 */
void llvm_for(Gen *, const Stmt *);
void llvm_machine_attributes(Gen *, LLVMValueRef fn);

/* llvm_expr.c */
LLVMTypeRef llvm_type(Gen *, NType);                 /* of values: bool is i1, codes are i<bits> */
LLVMTypeRef llvm_mem_type(Gen *, Elem, int lanes);   /* in memory: at elem_store */
LLVMValueRef llvm_expr(Gen *, const Expr *);
void llvm_memo_cut(Gen *, int n);                    /* forgets all but the first n values */
LLVMValueRef llvm_address(Gen *, int buf, LLVMValueRef index); /* of an element */
LLVMValueRef llvm_to_memory(Gen *, Elem, int lanes, LLVMValueRef);
unsigned llvm_align(Elem);

/* llvm_vector.c: expressions whose best form differs by machine */
LLVMValueRef llvm_dot(Gen *, const Expr *, LLVMValueRef *a);
bool llvm_has_dot(Gen *, int bits, bool a_signed, bool b_signed); /* by instructions */
LLVMValueRef llvm_dot_of(Gen *, int bits, int lanes, bool a_signed, bool b_signed, LLVMValueRef *a);
LLVMValueRef llvm_lut3(Gen *, const Expr *, LLVMValueRef *a);
LLVMValueRef llvm_shuf(Gen *, const Expr *, LLVMValueRef *a);
LLVMValueRef llvm_perm(Gen *, const Expr *, LLVMValueRef *);
LLVMValueRef llvm_opaque(Gen *, LLVMValueRef); /* the value by no instruction, unknown to the optimizer */
LLVMValueRef llvm_intrin(Gen *, const Expr *, LLVMValueRef *a); /* NULL where the machine lacks it */

/* llvm_dotloop.c */
bool llvm_dot_loop(Gen *, const Stmt *); /* true: the loop is done */

/* llvm_scalar.c */
bool llvm_has_scalar(Scalar); /* false: a row that never reaches a Program */
LLVMValueRef llvm_scalar(Gen *, Scalar, NType operand, NType result, LLVMValueRef *a);
/* A generic intrinsic, overloaded over the given types. */
LLVMValueRef llvm_call(Gen *, const char *name, int n_types, LLVMTypeRef *types, int n, LLVMValueRef *args);
static inline bool llvm_is_signed(Elem e) { return e.kind == EK_INT || e.kind == EK_SHIFT; }

/* llvm_emit.c: module, optimized and verified; NULL with a diagnostic. */
LLVMModuleRef llvm_build(Ctx *, const Program *, const LlvmOptions *, LlvmTarget *, LLVMContextRef);
bool llvm_optimize(Ctx *, LlvmTarget *, LLVMModuleRef, int opt);
void llvm_listen(Ctx *, LLVMContextRef); /* LLVM's errors become diagnostics */
bool llvm_write(Ctx *, LlvmTarget *, LLVMModuleRef, LlvmKind, Str *out);
bool llvm_codegen(Ctx *, LlvmTarget *, LLVMModuleRef, LLVMCodeGenFileType, LLVMMemoryBufferRef *);
bool llvm_fail(Ctx *, const char *what, char *message); /* E0307; disposes the message */

#endif
