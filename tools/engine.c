/* Engines: eval (the meaning), nest (interpreter), c (compiled by cc), jit (ORC), hls (C simulation), behind engine.h. */
#include "tools/engine.h"

#include "backends/c/c_backend.h"
#include "backends/hls/hls_backend.h"
#if POPSHIFT_LLVM
#include "backends/llvm/llvm_backend.h"
#endif

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

const char *const engine_names[ENGINE_COUNT] = {
  [ENGINE_EVAL] = "eval", [ENGINE_NEST] = "nest", [ENGINE_C] = "c", [ENGINE_JIT] = "jit", [ENGINE_HLS] = "hls"};

typedef int CRun(void *workspace, const void *in, const void *out, size_t batch);
typedef int CInit(void *workspace, size_t bytes, const void *env);
typedef void HlsRun(const void *const *ins, void *const *outs);

struct Engine {
  Ctx *ctx;
  EngineKind kind;
  Graph *graph;              /* eval */
  Program *program;          /* the others */
  bool own_program;
  void *lib;                 /* c, hls */
  CRun *c_run;
  HlsRun *hls_run;
  void *workspace;           /* c, jit: aligned to 64 */
  bool shared;               /* it is somebody else's */
#if POPSHIFT_LLVM
  LlvmJit *jit;
#endif
};

/* A function of a loaded library; ISO C has no cast from object to function pointer, POSIX says the bits serve. */
static bool symbol(Engine *e, const char *name, void *fn) {
  void *p = dlsym(e->lib, name);
  if (!p) return diag(e->ctx, E0902, NULL, "generated code has no symbol %s", name);
  memcpy(fn, &p, sizeof p);
  return true;
}

static bool load_library(Engine *e, const char *dir, const OutFiles *files, const char *const *argv, const char *what) {
  bool ok = true;
  for (int i = 0; ok && i < files->n; i++)
    ok = file_write(e->ctx, arena_printf(e->ctx->own, "%s/%s", dir, files->p[i].name), files->p[i].text.p, files->p[i].text.n);
  if (!ok || sh(e->ctx, argv, what) != 0) return false;
  e->lib = dlopen(arena_printf(e->ctx->own, "%s/m.so", dir), RTLD_NOW | RTLD_LOCAL);
  return e->lib || diag(e->ctx, E0503, NULL, "cannot load generated code: %s", dlerror());
}

/* Whether this processor has all of the target's instructions. */
static bool host_has(const Target *t) {
#if defined(__x86_64__) && defined(__GNUC__)
  bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
  bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
  const char *f = t->features ? t->features : "";
  if (!t->cpu || (strstr(f, "avx512vnni") && !__builtin_cpu_supports("avx512vnni")) ||
      (strstr(f, "avx512vpopcntdq") && !__builtin_cpu_supports("avx512vpopcntdq"))) return false;
  return !strcmp(t->cpu, "x86-64") || (!strcmp(t->cpu, "x86-64-v3") && v3) || (!strcmp(t->cpu, "x86-64-v4") && v4);
#elif defined(__aarch64__)
  return !strcmp(t->name, "aarch64");
#else
  (void)t;
  return false;
#endif
}

const Target *engine_host(void) {
  const Target *best = target_find("c99");
  for (int i = 0; i < n_targets; i++)
    if (host_has(&targets[i])) best = &targets[i]; /* the rows of a family are in the order of what they can */
  return best;
}

/* The target's instructions, as the C compiler names them, where this processor has them; else what the compiler assumes.
 * Up to 6 flags are added to argv. */
static void machine_flags(Arena *a, const Target *t, const char **argv) {
  int n = 0;
  if (!t || !t->cpu || !strcmp(t->cpu, "x86-64") || !host_has(t)) return;
  argv[n++] = arena_printf(a, "-march=%s", t->cpu);
  for (const char *f = t->features ? t->features : ""; *f && n < 6; f += strcspn(f, ","), f += *f == ',')
    if (*f == '+') argv[n++] = arena_printf(a, "-m%.*s", (int)strcspn(f, ",") - 1, f + 1);
}

static bool make_c(Engine *e, const Target *target) {
  const char *dir = temp_dir(e->ctx), *name = e->program->name;
  if (!dir) return false;
  OutFiles files = {0};
  COptions o = {0};
  Arena *a = e->ctx->own;
  const char *cc = getenv("CC");
  const char *argv[16] = {cc && *cc ? cc : "cc", "-std=c99", "-O3", "-fPIC", "-shared", "-o", arena_printf(a, "%s/m.so", dir),
                          arena_printf(a, "%s/%s.c", dir, name), "-lm"};
  machine_flags(a, target, argv + 9);
  CInit *init = NULL;
  bool ok = c_emit(e->ctx, e->program, &o, &files) && load_library(e, dir, &files, argv, "the C compiler (cc, or $CC)") &&
            symbol(e, arena_printf(a, "%s_init", name), &init) && symbol(e, arena_printf(a, "%s_run", name), &e->c_run);
  if (ok) {
    size_t bytes = ((size_t)e->program->arena_bytes + 4096) / 64 * 64; /* the header says the exact size; more is allowed */
    e->workspace = aligned_alloc(64, bytes);
    int rc = e->workspace ? init(e->workspace, bytes, NULL) : -1;
    if (rc) ok = diag(e->ctx, E0902, NULL, "%s_init returned %d", name, rc);
  }
  out_files_free(&files);
  temp_dir_remove(dir);
  return ok;
}

static bool make_hls(Engine *e) {
  const char *dir = temp_dir(e->ctx), *name = e->program->name;
  if (!dir) return false;
  OutFiles files = {0};
  HlsOptions o = {0};
  Arena *a = e->ctx->own;
  const char *cxx = getenv("CXX");
  const char *argv[] = {cxx && *cxx ? cxx : "c++", "-std=c++14", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w", arena_printf(a, "-I%s/include", dir),
                        "-o", arena_printf(a, "%s/m.so", dir), arena_printf(a, "%s/%s.cpp", dir, name), NULL};
  bool ok = hls_emit(e->ctx, e->program, &o, &files) && load_library(e, dir, &files, argv, "the C++ compiler (c++, or $CXX)") &&
            symbol(e, arena_printf(a, "%s_bridge", name), &e->hls_run);
  out_files_free(&files);
  temp_dir_remove(dir);
  return ok;
}

static bool make_jit(Engine *e) {
#if POPSHIFT_LLVM
  LlvmOptions o = {.opt = 2};
  e->workspace = aligned_alloc(64, ((size_t)e->program->arena_bytes + 4096) / 64 * 64);
  return (e->jit = llvm_jit_new(e->ctx, e->program, &o)) != NULL;
#else
  return diag(e->ctx, E0307, NULL, "engine jit is not built in: configure with -DPOPSHIFT_LLVM=ON (needs LLVM 19)");
#endif
}

static bool make(Engine *e, const PassOptions *opt) {
  switch (e->kind) {
  case ENGINE_C: return make_c(e, opt ? opt->target : NULL);
  case ENGINE_JIT: return make_jit(e);
  case ENGINE_HLS: return make_hls(e);
  default: return true;
  }
}

static Engine *engine_start(Ctx *ctx, EngineKind kind) {
  Engine *e = calloc(1, sizeof *e);
  if (!e) abort();
  e->ctx = ctx;
  e->kind = kind;
  return e;
}

Engine *engine_of_program(Ctx *ctx, EngineKind kind, Program *p, const PassOptions *opt) {
  if (kind == ENGINE_EVAL) { diag(ctx, E0307, NULL, "engine eval runs graphs, and this is a program"); return NULL; }
  if (p->exact != (kind == ENGINE_HLS) && kind != ENGINE_NEST) {
    diag(ctx, E0307, NULL, "engine %s does not run a program with %s widths", engine_names[kind], p->exact ? "exact" : "native");
    return NULL;
  }
  Engine *e = engine_start(ctx, kind);
  e->program = p;
  if (p->arena_bytes < 0 && !pass_plan(p, opt)) { engine_free(e); return NULL; }
  if (!make(e, opt)) { engine_free(e); return NULL; }
  return e;
}

Engine *engine_new(Ctx *ctx, EngineKind kind, Graph *g, const PassOptions *opt) {
  State s = {.graph = graph_copy(g)};
  PassOptions o = *opt;
  o.hls = kind == ENGINE_HLS;
  if (!s.graph) return NULL;
  bool raw = kind == ENGINE_EVAL && (s.graph->props & (P_RECOGNIZED | P_SELECTED)); /* already past the fixing of the meaning */
  if (!raw && !passes_standard(ctx, &s, kind == ENGINE_EVAL ? PASS_recognize : -1, &o)) return NULL;
  if (kind == ENGINE_EVAL) {
    Engine *e = engine_start(ctx, kind);
    e->graph = s.graph;
    return e;
  }
  Engine *e = engine_of_program(ctx, kind, s.program, &o);
  if (e) e->own_program = true;
  else program_free(s.program);
  return e;
}

Engine *engine_for(Ctx *ctx, EngineKind kind, const State *s, const PassOptions *opt) {
  return s->graph ? engine_new(ctx, kind, s->graph, opt) : engine_of_program(ctx, kind, s->program, opt);
}

bool engine_call(Engine *e, const void *const *in, void *const *out) {
  int rc = 0;
  switch (e->kind) {
  case ENGINE_NEST: return program_run(e->ctx, e->program, in, out);
  case ENGINE_C: rc = e->c_run(e->workspace, in, out, 1); break;
  case ENGINE_HLS: e->hls_run(in, out); break;
#if POPSHIFT_LLVM
  case ENGINE_JIT: return llvm_jit_run(e->jit, e->workspace, in, out);
#endif
  default: return diag(e->ctx, E0307, NULL, "engine %s does not run on given memory", engine_names[e->kind]);
  }
  return !rc || diag(e->ctx, E0902, NULL, "%s_run returned %d", e->program->name, rc);
}

void *engine_workspace(const Program *p) {
  size_t bytes = ((size_t)p->arena_bytes + 4096) / 64 * 64; /* a header says the exact size; more is allowed */
  void *w = aligned_alloc(64, bytes);
  if (!w) abort();
  return memset(w, 0, bytes);
}

bool engine_share(Engine *e, void *workspace) {
  if (e->kind != ENGINE_C && e->kind != ENGINE_JIT) return diag(e->ctx, E0307, NULL, "engine %s has no workspace", engine_names[e->kind]);
  free(e->workspace);
  e->workspace = workspace;
  e->shared = true;
  return true;
}

bool engine_run(Engine *e, Tensor *const *ins, Tensor **outs) {
  if (e->kind == ENGINE_EVAL) return graph_eval(e->ctx, e->graph, ins, outs, NULL, NULL);
  const Program *p = e->program;
  const void **in = calloc((size_t)p->n_ins + 1, sizeof *in);
  void **out = calloc((size_t)p->n_outs + 1, sizeof *out);
  bool ok = in && out;
  for (int i = 0; ok && i < p->n_ins; i++) in[i] = ins[i]->data;
  for (int i = 0; ok && i < p->n_outs; i++) {
    ok = (outs[i] = tensor_new(e->ctx, &p->outs[i].t)) != NULL;
    if (ok) out[i] = outs[i]->data;
  }
  /* A program from a text may leave its buffers, which compiled code does not notice: it runs here first. */
  if (ok && e->kind != ENGINE_NEST && p->file) ok = program_run(e->ctx, p, in, out);
  ok = ok && engine_call(e, in, out);
  free(in);
  free(out);
  return ok;
}

void engine_free(Engine *e) {
  if (!e) return;
#if POPSHIFT_LLVM
  if (e->jit) llvm_jit_free(e->jit);
#endif
  if (e->lib) dlclose(e->lib);
  if (!e->shared) free(e->workspace);
  if (e->graph) graph_free(e->graph);
  if (e->own_program) program_free(e->program);
  free(e);
}

bool engines_of(Cmd *c, EngineKind deflt, EngineKind out[ENGINE_COUNT], int *n) {
  const char *s = cmd_get(c, FLAG_engine);
  *n = 0;
  if (!s) { out[(*n)++] = deflt; return true; }
  while (*s) {
    size_t len = strcspn(s, ",");
    if (len == 3 && !strncmp(s, "all", 3)) {
      *n = 0;
      for (int k = 0; k < ENGINE_COUNT; k++) {
#if !POPSHIFT_LLVM
        if (k == ENGINE_JIT) continue;
#endif
        out[(*n)++] = (EngineKind)k;
      }
      return true;
    }
    int k = 0;
    while (k < ENGINE_COUNT && (strlen(engine_names[k]) != len || strncmp(s, engine_names[k], len))) k++;
    if (k == ENGINE_COUNT || *n == ENGINE_COUNT)
      return diag(c->ctx, E0701, NULL, "--engine takes eval, nest, c, jit, hls or all, not '%s'", cmd_get(c, FLAG_engine));
    out[(*n)++] = (EngineKind)k;
    s += len + (s[len] == ',');
  }
  return *n > 0 || diag(c->ctx, E0701, NULL, "--engine names nothing");
}
