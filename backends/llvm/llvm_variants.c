/* Several variants in one module: each variant's functions carry its processor's attributes, LLVM's ConstantMerge keeps equal constants
 * once, and a few functions of IR text ask the processor. The workspace begins with the number of the variant that init chose. */
#include "backends/llvm/llvm_impl.h"
#include "runtime/popshift_rt.h"

#include <llvm-c/IRReader.h>
#include <llvm-c/Linker.h>
#include <string.h>

enum { HEAD = 64 };

typedef struct Text { Str s; const char *name, *size; } Text; /* size: LLVM's type of a size_t */

/* IR text: `N is the model's name, `W the type of sizes. */
static void put(Text *t, const char *text) {
  for (const char *c = text; *c; c++) {
    if (*c != '`') str_putn(&t->s, c, 1);
    else str_put(&t->s, *++c == 'N' ? t->name : t->size);
  }
}

/* Null or equal to a name. */
static const char same[] =
  "define internal i1 @`N.same(ptr %a, ptr %b) #0 {\nentry:\n  %n = icmp eq ptr %a, null\n  br i1 %n, label %yes, label %loop\n"
  "loop:\n  %i = phi `W [0, %entry], [%j, %next]\n  %pa = getelementptr i8, ptr %a, `W %i\n  %pb = getelementptr i8, ptr %b, `W %i\n"
  "  %ca = load i8, ptr %pa\n  %cb = load i8, ptr %pb\n  %eq = icmp eq i8 %ca, %cb\n  br i1 %eq, label %next, label %no\n"
  "next:\n  %j = add `W %i, 1\n  %end = icmp eq i8 %ca, 0\n  br i1 %end, label %yes, label %loop\nyes:\n  ret i1 true\nno:\n  ret i1 false\n}\n";

/* A register of CPUID, a to d as 0 to 3, 0 where there is no such leaf; whether the system saves registers. */
static const char x86[] =
  "define internal i32 @`N.cpuid(i32 %leaf, i32 %sub, i32 %reg) #0 {\n"
  "  %m = call {i32, i32, i32, i32} asm sideeffect \"cpuid\", \"={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}\"(i32 0, i32 0)\n"
  "  %most = extractvalue {i32, i32, i32, i32} %m, 0\n  %no = icmp ult i32 %most, %leaf\n  br i1 %no, label %none, label %ask\nnone:\n  ret i32 0\n"
  "ask:\n  %r = call {i32, i32, i32, i32} asm sideeffect \"cpuid\", \"={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}\"(i32 %leaf, i32 %sub)\n"
  "  %a = extractvalue {i32, i32, i32, i32} %r, 0\n  %b = extractvalue {i32, i32, i32, i32} %r, 1\n"
  "  %c = extractvalue {i32, i32, i32, i32} %r, 2\n  %d = extractvalue {i32, i32, i32, i32} %r, 3\n"
  "  %is0 = icmp eq i32 %reg, 0\n  %is1 = icmp eq i32 %reg, 1\n  %is2 = icmp eq i32 %reg, 2\n"
  "  %cd = select i1 %is2, i32 %c, i32 %d\n  %bcd = select i1 %is1, i32 %b, i32 %cd\n  %abcd = select i1 %is0, i32 %a, i32 %bcd\n  ret i32 %abcd\n}\n"
  "define internal i1 @`N.saves(i32 %mask) #0 {\n  %c = call i32 @`N.cpuid(i32 1, i32 0, i32 2)\n  %x = and i32 %c, 134217728\n"
  "  %has = icmp ne i32 %x, 0\n  br i1 %has, label %ask, label %no\nno:\n  ret i1 false\n"
  "ask:\n  %r = call {i32, i32} asm sideeffect \"xgetbv\", \"={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}\"(i32 0)\n"
  "  %a = extractvalue {i32, i32} %r, 0\n  %on = and i32 %a, %mask\n  %all = icmp eq i32 %on, %mask\n  ret i1 %all\n}\n";

static const char workspace_checks[] =
  "entry:\n  %null = icmp eq ptr %w, null\n  br i1 %null, label %bad, label %there\nbad:\n  ret i32 1\n"
  "there:\n  %at = ptrtoint ptr %w to `W\n  %low = and `W %at, 63\n  %off = icmp ne `W %low, 0\n  br i1 %off, label %badly, label %aligned\n"
  "badly:\n  ret i32 2\naligned:\n  %rest = getelementptr i8, ptr %w, `W 64\n";

/* Whether this processor runs variant v. */
static void can(Text *t, const RtMachine *m, int v) {
  RtTest tests[RT_TESTS];
  uint32_t saves;
  int n = rt_tests(m, tests, &saves), k = 0;
  put(t, "define internal i1 @`N.can");
  str_printf(&t->s, "%d() #0 {\n  %%y0 = icmp eq i32 0, 0\n", v);
  for (; k < n; k++) {
    if (*m->arch == 'x') {
      str_printf(&t->s, "  %%r%d = call i32 @%s.cpuid(i32 %d, i32 %d, i32 %d)\n  %%b%d = and i32 %%r%d, %u\n  %%t%d = icmp eq i32 %%b%d, %u\n", k, t->name,
                 tests[k].leaf, tests[k].sub, tests[k].reg - 'a', k, k, tests[k].mask, k, k, tests[k].mask);
    } else {
      str_printf(&t->s, "  %%r%d = call i64 asm sideeffect \"mrs $0, ID_AA64ISAR0_EL1\", \"=r\"()\n  %%b%d = and i64 %%r%d, %llu\n  %%t%d = icmp ne i64 %%b%d, 0\n", k,
                 k, k, 15ULL << tests[k].bit, k, k);
    }
    str_printf(&t->s, "  %%y%d = and i1 %%y%d, %%t%d\n", k + 1, k, k);
  }
  if (saves) str_printf(&t->s, "  %%s = call i1 @%s.saves(i32 %u)\n  %%y%d = and i1 %%y%d, %%s\n", t->name, saves, k + 1, k);
  str_printf(&t->s, "  ret i1 %%y%d\n}\n", k + (saves != 0));
}

static void init_text(Text *t, int n, int64_t need) {
  put(t, "define signext i32 @`N_init(ptr %w, `W %bytes, ptr %env) #0 {\n");
  put(t, workspace_checks);
  put(t, "  %small = icmp ult `W %bytes, ");
  str_printf(&t->s, "%lld\n", (long long)need);
  put(t, "  br i1 %small, label %less, label %fits\nless:\n  ret i32 3\nfits:\n  %left = sub `W %bytes, 64\n"
         "  %none = icmp eq ptr %env, null\n  br i1 %none, label %choose, label %has\nhas:\n"
         "  %place = getelementptr {ptr, `W, ptr, ptr, ptr}, ptr %env, i32 0, i32 4\n  %given = load ptr, ptr %place\n  br label %choose\n"
         "choose:\n  %asked = phi ptr [null, %fits], [%given, %has]\n  br label %v0\n");
  for (int v = 0; v < n; v++) {
    str_printf(&t->s, "v%d:\n  %%s%d = call i1 @%s.same(ptr %%asked, ptr @%s.name%d)\n  br i1 %%s%d, label %%t%d, label %%v%d\n", v, v, t->name, t->name, v, v, v, v + 1);
    str_printf(&t->s, "t%d:\n  %%c%d = call i1 @%s.can%d()\n  br i1 %%c%d, label %%g%d, label %%v%d\n", v, v, t->name, v, v, v, v + 1);
    str_printf(&t->s, "g%d:\n  store i32 %d, ptr %%w\n  %%r%d = call i32 @%s.v%d_init(ptr %%rest, %s %%left, ptr %%env)\n  ret i32 %%r%d\n", v, v, v, t->name, v, t->size, v);
  }
  str_printf(&t->s, "v%d:\n  store i32 %d, ptr %%w\n  ret i32 %d\n}\n", n, n, POPSHIFT_VARIANT);
}

static void run_text(Text *t, int n) {
  put(t, "define signext i32 @`N_run(ptr %w, ptr %in, ptr %out, `W %batch) #0 {\n");
  put(t, workspace_checks);
  str_put(&t->s, "  %v = load i32, ptr %w\n  switch i32 %v, label %none [\n");
  for (int v = 0; v < n; v++) str_printf(&t->s, "    i32 %d, label %%v%d\n", v, v);
  str_put(&t->s, "  ]\n");
  for (int v = 0; v < n; v++)
    str_printf(&t->s, "v%d:\n  %%r%d = call i32 @%s.v%d_run(ptr %%rest, ptr %%in, ptr %%out, %s %%batch)\n  ret i32 %%r%d\n", v, v, t->name, v, t->size, v);
  str_printf(&t->s, "none:\n  ret i32 %d\n}\n", POPSHIFT_VARIANT);
}

/* The functions that ask and choose, linked to the variants' in m. */
static bool dispatcher(Ctx *ctx, const LlvmVariant *v, int n, LlvmTarget *base, LLVMContextRef c, LLVMModuleRef m) {
  Text t = {.s = {.ctx = ctx}, .name = v->p->name, .size = LLVMPointerSize(base->layout) == 8 ? "i64" : "i32"};
  int64_t most = 0;
  for (int i = 0; i < n; i++) {
    if (v[i].p->arena_bytes > most) most = v[i].p->arena_bytes;
    str_printf(&t.s, "@%s.name%d = private unnamed_addr constant [%zu x i8] c\"%s\\00\"\n", t.name, i, strlen(v[i].machine.name) + 1, v[i].machine.name);
    str_printf(&t.s, "declare i32 @%s.v%d_init(ptr, %s, ptr)\ndeclare i32 @%s.v%d_run(ptr, ptr, ptr, %s)\n", t.name, i, t.size, t.name, i, t.size);
  }
  put(&t, same);
  if (!strcmp(v->machine.arch, "x86_64")) put(&t, x86);
  for (int i = 0; i < n; i++) can(&t, &v[i].machine, i);
  init_text(&t, n, most + HEAD);
  run_text(&t, n);
  str_printf(&t.s, "attributes #0 = { nounwind \"target-cpu\"=\"%s\" \"target-features\"=\"%s\" }\n", base->cpu, base->features);
  LLVMModuleRef chooser = NULL;
  char *message = NULL;
  bool ok = !LLVMParseIRInContext(c, LLVMCreateMemoryBufferWithMemoryRangeCopy(t.s.p, t.s.n, "variants"), &chooser, &message);
  str_free(&t.s);
  if (!ok) {
    diag(ctx, E0902, NULL, "variants: %s", message);
    LLVMDisposeMessage(message);
    return false;
  }
  LLVMSetTarget(chooser, base->triple);
  LLVMSetModuleDataLayout(chooser, base->layout);
  return !LLVMLinkModules2(m, chooser) || diag(ctx, E0902, NULL, "variants: LLVM cannot link them");
}

/* One module of all variants, not yet optimized; targets[n - 1] is the plain one. */
static LLVMModuleRef module_of(Ctx *ctx, const LlvmVariant *v, int n, LlvmTarget *targets, LLVMContextRef c, Arena *a) {
  LLVMModuleRef m = LLVMModuleCreateWithNameInContext(v->p->name, c);
  LLVMSetSourceFileName(m, v->p->name, strlen(v->p->name));
  LLVMSetTarget(m, targets[n - 1].triple);
  LLVMSetModuleDataLayout(m, targets[n - 1].layout);
  for (int i = 0; i < n; i++) {
    Program p = *v[i].p;
    p.name = arena_printf(a, "%s.v%d", v->p->name, i);
    Gen g = {.ctx = ctx, .p = &p, .target = &targets[i], .c = c, .m = m};
    llvm_module(&g);
  }
  if (!dispatcher(ctx, v, n, &targets[n - 1], c, m)) {
    LLVMDisposeModule(m);
    return NULL;
  }
  for (int i = 0; i < 2 * n; i++)
    LLVMSetLinkage(LLVMGetNamedFunction(m, arena_printf(a, "%s.v%d_%s", v->p->name, i / 2, i % 2 ? "run" : "init")), LLVMInternalLinkage);
  return m;
}

bool llvm_emit_variants(Ctx *ctx, const LlvmVariant *v, int n, LlvmKind kind, Str *out) {
  Arena *a = arena_new(ctx);
  LlvmTarget *t = NEWN(a, LlvmTarget, n);
  int opened = 0;
  bool ok = true;
  for (int i = 0; ok && i < n; i++) {
    RtTest tests[RT_TESTS];
    uint32_t saves;
    if (v[i].machine.features[0] && !rt_tests(&v[i].machine, tests, &saves))
      ok = diag(ctx, E0307, NULL, "target %s: its processors cannot be asked for %s, so an object is for it or for others", v[i].machine.name, v[i].machine.features);
  }
  for (; ok && opened < n; opened++) ok = llvm_target_open(ctx, &v[opened].o, false, &t[opened]);
  if (ok) {
    LLVMContextRef c = LLVMContextCreate();
    llvm_listen(ctx, c);
    LLVMModuleRef m = module_of(ctx, v, n, t, c, a);
    ok = m && llvm_optimize(ctx, &t[n - 1], m, v->o.opt) && llvm_write(ctx, &t[n - 1], m, kind, out);
    if (m)
      LLVMDisposeModule(m);
    LLVMContextDispose(c);
  }
  for (int i = 0; i < opened; i++)
    llvm_target_close(&t[i]);
  arena_free(a);
  return ok;
}
