/* LLVM backend: Program -> .ll .bc .s .o .so through the LLVM 19 C API, and a JIT (ORC). Functions that take LlvmOptions are not
 * for two threads at once: they register LLVM's targets, and turn the standard error aside while LLVM looks at CPU names. */
#ifndef POPSHIFT_BACKENDS_LLVM_H
#define POPSHIFT_BACKENDS_LLVM_H

#include "ir/nest.h"
#include "runtime/cpu.h"

typedef enum LlvmKind { LLVM_LL, LLVM_BC, LLVM_ASM, LLVM_OBJ } LlvmKind;
typedef struct LlvmOptions {
  const char *triple;    /* NULL: this machine */
  const char *cpu;       /* NULL: this machine's for the JIT, else what compilers for the triple assume: "x86-64", "generic" */
  const char *features;  /* LLVM's "+a,-b", or NULL */
  int opt;               /* 0..3 */
} LlvmOptions;

/* The module has the C interface of the generated C: NAME_init, NAME_run. out gets text or bytes. False with a diagnostic. */
bool llvm_emit(Ctx *, const Program *, const LlvmOptions *, LlvmKind, Str *out);

/* Several programs of one model, each for its processor, in one module: init chooses the first that the processor can run. The order is that
 * of preference; the last one runs on every processor of the triple. All have one triple; E0307 where a processor cannot be asked. */
typedef struct LlvmVariant { const Program *p; RtMachine machine; LlvmOptions o; } LlvmVariant;
bool llvm_emit_variants(Ctx *, const LlvmVariant *, int n, LlvmKind, Str *out);

typedef struct LlvmJit LlvmJit;
LlvmJit *llvm_jit_new(Ctx *, const Program *, const LlvmOptions *); /* NULL with a diagnostic; copies what it needs of the program */
/* Pointers to the ports' elements at their storage. workspace: program->arena_bytes, 64-aligned. */
bool llvm_jit_run(LlvmJit *, void *workspace, const void *const *ins, void *const *outs);
void llvm_jit_free(LlvmJit *);
#endif
