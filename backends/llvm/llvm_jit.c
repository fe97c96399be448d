/* The JIT: the object that llvm_emit would give for this machine, linked into the process by ORC. */
#include "backends/llvm/llvm_impl.h"
#include "runtime/popshift_rt.h"

#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <stdlib.h>
#include <string.h>

typedef int InitEntry(void *workspace, size_t bytes, const void *env);
typedef int RunEntry(void *workspace, const void *const *in, void *const *out, size_t batch); /* the structs hold pointers only */

struct LlvmJit {
  Ctx *ctx;
  LLVMOrcLLJITRef jit;
  InitEntry *init;
  RunEntry *run;
};

static bool fail(Ctx *ctx, const char *what, LLVMErrorRef e) {
  char *text = LLVMGetErrorMessage(e);
  diag(ctx, E0307, NULL, "JIT: %s: %s", what, text);
  LLVMDisposeErrorMessage(text);
  return false;
}

/* fn: where the address of NAME_WHAT goes. */
static bool entry_of(Ctx *ctx, LlvmJit *j, const char *name, const char *what, void *fn) {
  Str symbol = {.ctx = ctx};
  LLVMOrcExecutorAddress address = 0;
  str_printf(&symbol, "%s_%s", name, what);
  LLVMErrorRef e = LLVMOrcLLJITLookup(j->jit, &address, symbol.p);
  str_free(&symbol);
  if (e)
    return fail(ctx, "cannot link", e);
  uintptr_t a = (uintptr_t)address;
  memcpy(fn, &a, sizeof a);
  return true;
}

static bool link_object(Ctx *ctx, LlvmJit *j, LLVMMemoryBufferRef object, const char *name) {
  LLVMErrorRef e = LLVMOrcCreateLLJIT(&j->jit, NULL);
  if (e) {
    LLVMDisposeMemoryBuffer(object);
    return fail(ctx, "cannot start", e);
  }
  LLVMOrcJITDylibRef lib = LLVMOrcLLJITGetMainJITDylib(j->jit);
  LLVMOrcDefinitionGeneratorRef process; /* memcpy, memset, fmod: what the code generator calls */
  e = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(j->jit), NULL, NULL);
  if (e) {
    LLVMDisposeMemoryBuffer(object);
    return fail(ctx, "cannot see the process", e);
  }
  LLVMOrcJITDylibAddGenerator(lib, process);
  e = LLVMOrcLLJITAddObjectFile(j->jit, lib, object); /* takes the object */
  if (e)
    return fail(ctx, "cannot add the object", e);
  return entry_of(ctx, j, name, "init", &j->init) && entry_of(ctx, j, name, "run", &j->run);
}

/* Only code for this machine can be linked into it. */
static bool check_host(Ctx *ctx, const LlvmOptions *o) {
  if (!o->triple)
    return true;
  char *host = LLVMGetDefaultTargetTriple(), *asked = LLVMNormalizeTargetTriple(o->triple);
  bool same = !strncmp(asked, host, strcspn(host, "-") + 1);
  if (!same)
    diag(ctx, E0307, NULL, "JIT: this machine is %s, not %s", host, asked);
  LLVMDisposeMessage(host);
  LLVMDisposeMessage(asked);
  return same;
}

static bool compile(Ctx *ctx, const Program *p, const LlvmOptions *o, LLVMMemoryBufferRef *object) {
  LlvmTarget t;
  bool ok = false;
  if (!check_host(ctx, o))
    return false;
  if (llvm_target_open(ctx, o, true, &t)) {
    LLVMContextRef c = LLVMContextCreate();
    LLVMModuleRef m = llvm_build(ctx, p, o, &t, c);
    if (m) {
      ok = llvm_codegen(ctx, &t, m, LLVMObjectFile, object);
      LLVMDisposeModule(m);
    }
    LLVMContextDispose(c);
  }
  llvm_target_close(&t);
  return ok;
}

LlvmJit *llvm_jit_new(Ctx *ctx, const Program *p, const LlvmOptions *o) {
  LLVMMemoryBufferRef object;
  if (!compile(ctx, p, o, &object))
    return NULL;
  LlvmJit *j = calloc(1, sizeof *j);
  if (!j) {
    LLVMDisposeMemoryBuffer(object);
    diag(ctx, E0401, NULL, "JIT: out of memory");
    return NULL;
  }
  j->ctx = ctx;
  if (link_object(ctx, j, object, p->name))
    return j;
  llvm_jit_free(j);
  return NULL;
}

bool llvm_jit_init(LlvmJit *j, void *workspace, size_t bytes) {
  int status = j->init(workspace, bytes, NULL);
  return status == POPSHIFT_OK || diag(j->ctx, E0902, NULL, "JIT: init returns status %d", status);
}

bool llvm_jit_run(LlvmJit *j, void *workspace, const void *const *ins, void *const *outs) {
  int status = j->run(workspace, ins, outs, 1);
  return status == POPSHIFT_OK || diag(j->ctx, E0902, NULL, "JIT: run returns status %d", status);
}

void llvm_jit_free(LlvmJit *j) {
  if (!j)
    return;
  if (j->jit) {
    LLVMErrorRef e = LLVMOrcDisposeLLJIT(j->jit);
    if (e)
      LLVMConsumeError(e);
  }
  free(j);
}
