/* Engines: eval (the meaning), nest (interpreter), c (compiled by cc), jit (ORC), hls (C simulation), behind engine.h. */
#include "passes/edges.h"
#include "runtime/cpu.h"
#include "tools/engine.h"

#include "backends/c/c_backend.h"
#include "backends/hls/hls_backend.h"
#if POPSHIFT_LLVM
#include "backends/llvm/llvm_backend.h"
#endif

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const engine_names[ENGINE_COUNT] = {
  [ENGINE_EVAL] = "eval", [ENGINE_NEST] = "nest", [ENGINE_C] = "c", [ENGINE_JIT] = "jit", [ENGINE_HLS] = "hls",
  [ENGINE_C_O0] = "c@O0", [ENGINE_C_O2] = "c@O2", [ENGINE_C_CLANG] = "c@clang"};

bool engine_here(EngineKind k) {
  const char *p = getenv("PATH");
  if (k != ENGINE_C_CLANG) return true;
  for (size_t n; p && *p; p += n + (p[n] == ':')) {
    char path[4096];
    n = strcspn(p, ":");
    if ((size_t)snprintf(path, sizeof path, "%.*s/clang", (int)n, p) < sizeof path && !access(path, X_OK)) return true;
  }
  return false;
}

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
  void *workspace;           /* c, jit, nest that keeps values: aligned to 64 */
  bool ran;                  /* what is kept was written */
  const Keep *keep; int n_keep; /* eval, hls: the program has these ports, and held[k] is what input keep[k].in gets next */
  Tensor **held;
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

/* The target's flags, where it is this processor; else what the compiler assumes. Up to `most` are added to argv. */
static void machine_flags(Arena *a, const Target *t, const char **argv, int most) {
  RtMachine m = {t ? t->name : "", t ? target_arch(t) : "", t ? t->features : ""};
  if (!t || !*m.arch || !rt_machine_is_this(&m)) return;
  int n = 0;
  for (const char *f = t->gcc; *f && n < most; f += strspn(f, " ")) {
    size_t len = strcspn(f, " ");
    argv[n++] = arena_strndup(a, f, len);
    f += len;
  }
}

static bool make_c(Engine *e, const Target *target) {
  const char *dir = temp_dir(e->ctx), *name = e->program->name;
  if (!dir) return false;
  OutFiles files = {0};
  COptions o = {0};
  Arena *a = e->ctx->own;
  const char *cc = e->kind == ENGINE_C_CLANG ? "clang" : getenv("CC");
  const char *argv[32] = {cc && *cc ? cc : "cc", "-std=c99", e->kind == ENGINE_C_O0 ? "-O0" : e->kind == ENGINE_C_O2 ? "-O2" : "-O3", "-fPIC", "-shared", "-o", arena_printf(a, "%s/m.so", dir),
                          arena_printf(a, "%s/%s.c", dir, name), "-lm"};
  machine_flags(a, target, argv + 9, 20);
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
  return (e->jit = llvm_jit_new(e->ctx, e->program, &o)) && llvm_jit_init(e->jit, e->workspace, (size_t)e->program->arena_bytes);
#else
  return diag(e->ctx, E0307, NULL, "engine jit is not built in: configure with -DPOPSHIFT_LLVM=ON (needs LLVM 19)");
#endif
}

static bool make(Engine *e, const PassOptions *opt) {
  switch (e->kind) {
  case ENGINE_C: case ENGINE_C_O0: case ENGINE_C_O2: case ENGINE_C_CLANG: return make_c(e, opt ? opt->target : NULL);
  case ENGINE_JIT: return make_jit(e);
  case ENGINE_HLS: return make_hls(e);
  case ENGINE_NEST:
    if (e->program->n_inits) e->workspace = aligned_alloc(64, (size_t)e->program->arena_bytes / 64 * 64 + 64);
    return true;
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

/* What eval and hls, whose functions have all ports, keep from run to run. */
static void hold(Engine *e, const PassOptions *opt) {
  e->keep = opt->keep;
  e->n_keep = opt->n_keep;
  e->held = calloc((size_t)e->n_keep + 1, sizeof *e->held);
  for (int k = 0; e->held && k < e->n_keep; k++) e->held[k] = tensor_copy(opt->keep_first[k]);
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
    hold(e, opt);
    return e;
  }
  if (o.n_keep && kind != ENGINE_HLS && !program_keep(s.program, o.keep, o.keep_first, o.n_keep)) { program_free(s.program); return NULL; }
  Engine *e = engine_of_program(ctx, kind, s.program, &o);
  if (!e) { program_free(s.program); return NULL; }
  e->own_program = true;
  if (kind == ENGINE_HLS) hold(e, opt);
  return e;
}

Engine *engine_for(Ctx *ctx, EngineKind kind, const State *s, const PassOptions *opt) {
  return s->graph ? engine_new(ctx, kind, s->graph, opt) : engine_of_program(ctx, kind, s->program, opt);
}

bool engine_call(Engine *e, const void *const *in, void *const *out) {
  int rc = 0;
  switch (e->kind) {
  case ENGINE_NEST: {
    bool first = !e->ran;
    e->ran = true;
    return program_run_in(e->ctx, e->program, e->workspace, first, in, out);
  }
  case ENGINE_C: case ENGINE_C_O0: case ENGINE_C_O2: case ENGINE_C_CLANG: rc = e->c_run(e->workspace, in, out, 1); break;
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

static bool run_ports(Engine *e, Tensor *const *ins, Tensor **outs) {
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
  if (ok && e->kind != ENGINE_NEST && p->file) ok = program_run_in(e->ctx, p, NULL, true, in, out);
  ok = ok && engine_call(e, in, out);
  free(in);
  free(out);
  return ok;
}

/* The caller's ports and the held ones as all ports. */
static bool run_held(Engine *e, Tensor *const *ins, Tensor **outs) {
  int n_in = e->graph ? e->graph->n_args : e->program->n_ins, n_out = e->graph ? e->graph->n_outs : e->program->n_outs;
  Tensor **x = calloc((size_t)n_in + 1, sizeof *x), **y = calloc((size_t)n_out + 1, sizeof *y);
  bool ok = x && y;
  for (int k = 0; ok && k < e->n_keep; k++) x[e->keep[k].in] = e->held[k];
  for (int i = 0, at = 0; ok && i < n_in; i++) if (!x[i]) x[i] = ins[at++];
  ok = ok && run_ports(e, x, y);
  for (int k = 0; ok && k < e->n_keep; k++) {
    tensor_free(e->held[k]);
    e->held[k] = y[e->keep[k].out];
    y[e->keep[k].out] = NULL;
  }
  for (int o = 0, at = 0; ok && o < n_out; o++) if (y[o]) outs[at++] = y[o];
  free(x);
  free(y);
  return ok;
}

bool engine_run(Engine *e, Tensor *const *ins, Tensor **outs) { return e->n_keep ? run_held(e, ins, outs) : run_ports(e, ins, outs); }

void engine_free(Engine *e) {
  if (!e) return;
  for (int k = 0; k < e->n_keep; k++) tensor_free(e->held[k]);
  free(e->held);
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
  if (!s && deflt == ENGINE_COUNT) s = "all";
  if (!s) { out[(*n)++] = deflt; return true; }
  while (*s) {
    size_t len = strcspn(s, ",");
    if (len == 3 && !strncmp(s, "all", 3)) {
      *n = 0;
      for (int k = 0; k <= ENGINE_HLS; k++) {
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
      return diag(c->ctx, E0701, NULL, "--engine takes eval, nest, c, c@O0, c@O2, c@clang, jit, hls or all, not '%s'", cmd_get(c, FLAG_engine));
    out[(*n)++] = (EngineKind)k;
    s += len + (s[len] == ',');
  }
  return *n > 0 || diag(c->ctx, E0701, NULL, "--engine names nothing");
}
