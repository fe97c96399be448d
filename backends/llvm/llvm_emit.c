/* Program -> module -> optimized -> text or bytes. */
#include "backends/llvm/llvm_impl.h"

#include <assert.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

/* Remarks and warnings (a loop that did not vectorize) are LLVM's own affair; errors are diagnostics. */
static void on_diagnostic(LLVMDiagnosticInfoRef info, void *user) {
  if (LLVMGetDiagInfoSeverity(info) == LLVMDSError)
    llvm_fail(user, "LLVM", LLVMGetDiagInfoDescription(info));
}

bool llvm_optimize(Ctx *ctx, LlvmTarget *t, LLVMModuleRef m, int opt) {
  char *message = NULL;
  if (LLVMVerifyModule(m, LLVMReturnStatusAction, &message)) {
    diag(ctx, E0902, NULL, "LLVM module: %s", message);
    LLVMDisposeMessage(message);
    return false;
  }
  LLVMDisposeMessage(message);
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMPassBuilderOptionsSetSLPVectorization(options, opt >= 2);
  LLVMPassBuilderOptionsSetLoopVectorization(options, opt >= 2);
  LLVMPassBuilderOptionsSetLoopInterleaving(options, opt >= 2);
  char passes[] = "default<O0>";
  passes[9] = (char)('0' + opt);
  LLVMErrorRef e = LLVMRunPasses(m, passes, t->tm, options);
  LLVMDisposePassBuilderOptions(options);
  if (!e)
    return true;
  char *text = LLVMGetErrorMessage(e);
  diag(ctx, E0902, NULL, "LLVM passes: %s", text);
  LLVMDisposeErrorMessage(text);
  return false;
}

void llvm_listen(Ctx *ctx, LLVMContextRef c) { LLVMContextSetDiagnosticHandler(c, on_diagnostic, ctx); }

LLVMModuleRef llvm_build(Ctx *ctx, const Program *p, const LlvmOptions *o, LlvmTarget *t, LLVMContextRef c) {
  llvm_listen(ctx, c);
  Gen g = {.ctx = ctx, .p = p, .target = t, .c = c};
  LLVMModuleRef m = llvm_module(&g);
  if (!llvm_optimize(ctx, t, m, o->opt)) {
    LLVMDisposeModule(m);
    return NULL;
  }
  return m;
}

bool llvm_codegen(Ctx *ctx, LlvmTarget *t, LLVMModuleRef m, LLVMCodeGenFileType type, LLVMMemoryBufferRef *out) {
  char *message = NULL;
  int errors = ctx->n_errors;
  if (LLVMTargetMachineEmitToMemoryBuffer(t->tm, m, type, &message, out))
    return llvm_fail(ctx, t->triple, message);
  if (ctx->n_errors > errors) { /* said by the diagnostic handler */
    LLVMDisposeMemoryBuffer(*out);
    return false;
  }
  return true;
}

bool llvm_write(Ctx *ctx, LlvmTarget *t, LLVMModuleRef m, LlvmKind kind, Str *out) {
  if (kind == LLVM_LL) {
    char *text = LLVMPrintModuleToString(m);
    str_put(out, text);
    LLVMDisposeMessage(text);
    return true;
  }
  LLVMMemoryBufferRef bytes;
  if (kind == LLVM_BC)
    bytes = LLVMWriteBitcodeToMemoryBuffer(m);
  else if (!llvm_codegen(ctx, t, m, kind == LLVM_ASM ? LLVMAssemblyFile : LLVMObjectFile, &bytes))
    return false;
  str_putn(out, LLVMGetBufferStart(bytes), LLVMGetBufferSize(bytes));
  LLVMDisposeMemoryBuffer(bytes);
  return true;
}

bool llvm_emit(Ctx *ctx, const Program *p, const LlvmOptions *o, LlvmKind kind, Str *out) {
  LlvmTarget t;
  bool ok = false;
  if (llvm_target_open(ctx, o, false, &t)) {
    LLVMContextRef c = LLVMContextCreate();
    LLVMModuleRef m = llvm_build(ctx, p, o, &t, c);
    if (m) {
      ok = llvm_write(ctx, &t, m, kind, out);
      LLVMDisposeModule(m);
    }
    LLVMContextDispose(c);
  }
  llvm_target_close(&t);
  return ok;
}
