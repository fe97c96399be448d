/* Target machines: which triple, CPU and features, and what they can do. */
#include "backends/llvm/llvm_impl.h"

#include <assert.h>
#include <llvm-c/IRReader.h>
#include <llvm-c/Target.h>
#include <string.h>
#include <unistd.h>

typedef struct FeatureRow { const char *name, *arch, *needle, *reg, *ir; } FeatureRow;
static const FeatureRow feature_rows[FEATURE_COUNT] = {
#define FEATURE(ID, name, arch, needle, reg, ir) [FT_##ID] = {name, arch, needle, reg, ir},
#include "backends/llvm/features.def"
#undef FEATURE
};

bool llvm_fail(Ctx *ctx, const char *what, char *message) {
  for (char *c = message; c && *c; c++)
    if (*c == '\n')
      *c = c[1] ? ' ' : 0;
  diag(ctx, E0307, NULL, "%s: %s", what, message ? message : "no message");
  LLVMDisposeMessage(message);
  return false;
}

/* LLVM has no way to ask whether a CPU or feature name is known: it writes a complaint to the standard error and goes on
 * with a generic machine. So the descriptor is turned to a temporary file while the machine is made, and the complaint is
 * what was written. NULL where there was none, else malloc'd by LLVM's rules. */
static char *complaint_of(LLVMTargetRef t, const char *triple, const char *cpu, const char *features,
                          LLVMCodeGenOptLevel level, LLVMTargetMachineRef *tm) {
  char text[512];
  size_t n = 0;
  FILE *trap = tmpfile();
  fflush(stderr);
  int saved = trap ? dup(2) : -1;
  if (saved >= 0)
    dup2(fileno(trap), 2);
  *tm = LLVMCreateTargetMachine(t, triple, cpu, features, level, LLVMRelocPIC, LLVMCodeModelDefault);
  if (saved >= 0) {
    dup2(saved, 2);
    close(saved);
    rewind(trap);
    n = fread(text, 1, sizeof text - 1, trap);
  }
  if (trap)
    fclose(trap);
  text[n] = 0;
  char *end = strstr(text, " (ignoring"); /* one line, and what LLVM would have done is not what we do */
  if (end)
    *end = 0;
  return n ? LLVMCreateMessage(text) : NULL;
}

static bool starts(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

/* GPUs and the like have no plain functions of pointers. */
static bool check_arch(Ctx *ctx, const char *triple) {
  static const char *const no[] = {"amdgcn", "r600", "nvptx", "spirv", "bpf", "dxil"};
  for (size_t i = 0; i < sizeof no / sizeof *no; i++)
    if (starts(triple, no[i]))
      return diag(ctx, E0307, NULL, "target %s does not run programs of plain functions", triple);
  return !starts(triple, "xtensa") || diag(ctx, E0307, NULL, "LLVM 19's code generator for %s is not complete", triple);
}

/* The machine where none is asked for: what compilers for the triple assume. Floats of 32-bit x86 are exact with SSE2 only. */
typedef struct Default { const char *arch, *os, *cpu, *features; } Default;
static const Default defaults[] = {
  {"x86_64", "", "x86-64", ""}, {"i386", "", "pentium4", ""}, {"i486", "", "pentium4", ""}, {"i586", "", "pentium4", ""},
  {"i686", "", "pentium4", ""}, {"riscv64", "linux", "generic-rv64", "+m,+a,+f,+d,+c"}, {"riscv64", "", "generic-rv64", "+m,+a,+c"},
  {"riscv32", "linux", "generic-rv32", "+m,+a,+f,+d,+c"}, {"riscv32", "", "generic-rv32", "+m,+a,+c"},
  {"loongarch64", "", "loongarch64", ""}, {"", "", "generic", ""}
};

static const Default *default_of(const char *triple) {
  const Default *d = defaults;
  while (!starts(triple, d->arch) || !strstr(triple, d->os)) /* the last row fits all */
    d++;
  return d;
}

/* NEON of 32-bit ARM flushes subnormal floats, and LLVM does use it for them; the scalar unit is exact. */
static bool flushes(const char *triple) {
  return (starts(triple, "arm") && !starts(triple, "arm64")) || starts(triple, "thumb");
}

static bool choose_cpu(Ctx *ctx, const LlvmOptions *o, bool jit, LlvmTarget *t) {
  const Default *d = default_of(t->triple);
  bool host = jit && !o->cpu, no_neon = flushes(t->triple);
  t->cpu = host ? LLVMGetHostCPUName() : LLVMCreateMessage(o->cpu ? o->cpu : d->cpu);
  char *base = host ? LLVMGetHostCPUFeatures() : LLVMCreateMessage(o->cpu || o->features ? "" : d->features);
  const char *parts[3] = {base, o->features ? o->features : "", no_neon ? "-neon" : ""};
  Str s = {.ctx = ctx};
  str_put(&s, "");
  for (int i = 0; i < 3; i++)
    str_printf(&s, "%s%s", s.n && parts[i][0] ? "," : "", parts[i]);
  t->features = LLVMCreateMessage(s.p);
  str_free(&s);
  LLVMDisposeMessage(base);
  if (no_neon && o->features && strstr(o->features, "+neon"))
    return diag(ctx, E0307, NULL, "target %s: +neon would flush subnormal floats to zero", t->triple);
  return true;
}

static bool asks_for_help(const char *text) { return strstr(text, "help") != NULL; } /* LLVM would print its manual */

bool llvm_target_open(Ctx *ctx, const LlvmOptions *o, bool jit, LlvmTarget *t) {
  static const LLVMCodeGenOptLevel levels[] = {LLVMCodeGenLevelNone, LLVMCodeGenLevelLess, LLVMCodeGenLevelDefault,
                                               LLVMCodeGenLevelAggressive};
  *t = (LlvmTarget){.ctx = ctx};
  memset(t->has, -1, sizeof t->has);
  assert(o->opt >= 0 && o->opt <= 3);
  LLVMInitializeAllTargetInfos();
  LLVMInitializeAllTargets();
  LLVMInitializeAllTargetMCs();
  LLVMInitializeAllAsmPrinters();
  LLVMInitializeAllAsmParsers();
  t->triple = o->triple ? LLVMNormalizeTargetTriple(o->triple) : LLVMGetDefaultTargetTriple();
  LLVMTargetRef target;
  char *message = NULL;
  if (LLVMGetTargetFromTriple(t->triple, &target, &message))
    return llvm_fail(ctx, "target", message);
  if (!check_arch(ctx, t->triple))
    return false;
  if (!LLVMTargetHasTargetMachine(target) || !LLVMTargetHasAsmBackend(target))
    return diag(ctx, E0307, NULL, "LLVM cannot emit code for %s", t->triple);
  if (!choose_cpu(ctx, o, jit, t))
    return false;
  if (asks_for_help(t->cpu) || asks_for_help(t->features))
    return diag(ctx, E0307, NULL, "target %s: '%s' is not a CPU or feature", t->triple, "help");
  message = complaint_of(target, t->triple, t->cpu, t->features, levels[o->opt], &t->tm);
  if (message)
    return llvm_fail(ctx, t->triple, message);
  if (!t->tm)
    return diag(ctx, E0307, NULL, "LLVM has no machine for %s", t->triple);
  t->layout = LLVMCreateTargetDataLayout(t->tm);
  t->x86 = starts(t->triple, "x86_64") || (starts(t->triple, "i") && strstr(t->triple, "86-"));
  t->big_endian = LLVMByteOrder(t->layout) == LLVMBigEndian;
  LLVMSetTargetMachineAsmVerbosity(t->tm, 0);
  return true;
}

void llvm_target_close(LlvmTarget *t) {
  if (t->layout)
    LLVMDisposeTargetData(t->layout);
  if (t->tm)
    LLVMDisposeTargetMachine(t->tm);
  LLVMDisposeMessage(t->triple);
  LLVMDisposeMessage(t->cpu);
  LLVMDisposeMessage(t->features);
}

static bool line_has(const char *text, const char *needle, const char *reg) {
  for (const char *p = text; (p = strstr(p, needle)) != NULL; p += strlen(needle)) {
    const char *end = strchr(p, '\n'), *r = strstr(p, reg);
    if (r && (!end || r < end))
      return true;
  }
  return false;
}

static void note_error(LLVMDiagnosticInfoRef info, void *user) {
  if (LLVMGetDiagInfoSeverity(info) == LLVMDSError)
    *(bool *)user = true;
}

static bool probe(LlvmTarget *t, const FeatureRow *f) {
  Str s = {.ctx = t->ctx};
  str_printf(&s, "target triple = \"%s\"\ndefine void @p(ptr %%a, ptr %%b, ptr %%c) { %s ret void }\n", t->triple, f->ir);
  LLVMContextRef c = LLVMContextCreate();
  LLVMModuleRef m = NULL;
  LLVMMemoryBufferRef asm_text = NULL;
  char *message = NULL;
  bool refused = false;
  LLVMContextSetDiagnosticHandler(c, note_error, &refused);
  bool failed = LLVMParseIRInContext(c, LLVMCreateMemoryBufferWithMemoryRangeCopy(s.p, s.n, "probe"), &m, &message);
  assert(!failed && "features.def: ir does not parse");
  bool found = false;
  if (!failed && !LLVMTargetMachineEmitToMemoryBuffer(t->tm, m, LLVMAssemblyFile, &message, &asm_text)) {
    const char *text = LLVMGetBufferStart(asm_text);
    Str copy = {.ctx = t->ctx};
    str_putn(&copy, text, LLVMGetBufferSize(asm_text));
    found = f->needle[0] ? line_has(copy.p, f->needle, f->reg) : !refused;
    str_free(&copy);
    LLVMDisposeMemoryBuffer(asm_text);
  }
  if (message)
    LLVMDisposeMessage(message);
  if (m)
    LLVMDisposeModule(m);
  LLVMContextDispose(c);
  str_free(&s);
  return found;
}

bool llvm_target_has(LlvmTarget *t, Feature f) {
  const FeatureRow *row = &feature_rows[f];
  if (t->has[f] < 0)
    t->has[f] = starts(t->triple, row->arch) && probe(t, row);
  return t->has[f] == 1;
}

bool llvm_target_has_named(LlvmTarget *t, const char *feature) {
  for (int f = 0; f < FEATURE_COUNT; f++)
    if (!strcmp(feature_rows[f].name, feature))
      return llvm_target_has(t, (Feature)f);
  return false;
}
