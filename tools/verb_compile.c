/* compile: a model to C, LLVM code, objects, or an HLS project. */
#include "tools/certificate.h"
#include "tools/engine.h"
#include "tools/ends.h"
#include "tools/report.h"

#include "backends/c/c_backend.h"
#include "backends/hls/hls_backend.h"
#include "runtime/cpu.h"
#if POPSHIFT_LLVM
#include "backends/llvm/llvm_backend.h"
#endif

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef enum Emit { EMIT_C, EMIT_LL, EMIT_BC, EMIT_ASM, EMIT_OBJ, EMIT_SO, EMIT_HLS, EMIT_COUNT } Emit;
static const struct { const char *name, *suffix; } emits[EMIT_COUNT] = {
  [EMIT_C] = {"c", ".c"}, [EMIT_LL] = {"ll", ".ll"}, [EMIT_BC] = {"bc", ".bc"}, [EMIT_ASM] = {"asm", ".s"},
  [EMIT_OBJ] = {"obj", ".o"}, [EMIT_SO] = {"so", ".so"}, [EMIT_HLS] = {"hls", ""}};

typedef struct Job {
  Cmd *c;
  Model model;
  PassOptions opt;
  Ends ends;
  bool want[EMIT_COUNT];
  int n_want;
  const char *out, *stem, *dir; /* OUT; OUT without suffix; folder of OUT */
  const char *name;
  double clock_ns;              /* 0: the default of HLS */
  Graph *fused;                 /* a copy of the graph after fuse, for the report and the certificate; NULL without either */
  Str explained;                /* what --explain says */
  Program *program;             /* native widths, planned; of several variants the first */
  CVariant *variants; int n_variants; /* of several targets, the best first; else none */
  const Target **variant_target;
  const char **class_name; int n_classes; const char *input; /* what the model says of itself */
} Job;

static bool ident_ok(const char *s) {
  if (!isalpha((unsigned char)*s) || strlen(s) > 40) return false;
  for (; *s; s++) if (!isalnum((unsigned char)*s) && *s != '_') return false;
  return true;
}

/* What to emit: --emit, else OUT's suffix; a folder or a name without suffix is an HLS project only where asked for. */
static bool job_emits(Job *j) {
  const char *list = cmd_get(j->c, FLAG_emit);
  size_t len = strlen(j->out);
  if (!list) {
    for (int e = 0; e < EMIT_HLS; e++) {
      size_t k = strlen(emits[e].suffix);
      if (len > k && !strcmp(j->out + len - k, emits[e].suffix)) { j->want[e] = true; j->n_want = 1; return true; }
    }
    diag(j->c->ctx, E0701, NULL, "cannot tell from '%s' what to generate", j->out);
    diag_hint(j->c->ctx, "name it .c .ll .bc .s .o or .so, or give --emit c,ll,bc,asm,obj,so,hls");
    return false;
  }
  while (*list) {
    size_t n = strcspn(list, ",");
    int e = 0;
    while (e < EMIT_COUNT && (strlen(emits[e].name) != n || strncmp(list, emits[e].name, n))) e++;
    if (e == EMIT_COUNT) return diag(j->c->ctx, E0701, NULL, "--emit takes c,ll,bc,asm,obj,so,hls, not '%.*s'", (int)n, list);
    if (!j->want[e]) j->n_want++;
    j->want[e] = true;
    list += n + (list[n] == ',');
  }
  return j->n_want > 0 || diag(j->c->ctx, E0701, NULL, "--emit names nothing");
}

static bool job_paths(Job *j) {
  Arena *a = j->c->ctx->own;
  if (!strcmp(j->out, "-") && (j->n_want != 1 || !(j->want[EMIT_LL] || j->want[EMIT_ASM])))
    return diag(j->c->ctx, E0701, NULL, "only --emit ll or asm goes to standard output; the others are several files or bytes");
  const char *slash = strrchr(j->out, '/'), *dot = strrchr(j->out, '.');
  j->dir = slash ? arena_strndup(a, j->out, (size_t)(slash - j->out)) : ".";
  j->stem = dot && (!slash || dot > slash) ? arena_strndup(a, j->out, (size_t)(dot - j->out)) : j->out;
  j->name = cmd_get(j->c, FLAG_name);
  if (!j->name) j->name = !strcmp(j->out, "-") ? ident_from_path(j->c, j->model.path) : ident_from_path(j->c, j->out);
  return ident_ok(j->name) || diag(j->c->ctx, E0701, NULL, "--name takes an identifier of letters, digits and _ (at most 40), not '%s'", j->name);
}

static const char *job_file(Job *j, Emit e) { /* the asked name where one thing is emitted, else OUT's stem */
  return j->n_want == 1 && !cmd_has(j->c, FLAG_emit) ? j->out : j->n_want == 1 ? j->out : arena_printf(j->c->ctx->own, "%s%s", j->stem, emits[e].suffix);
}

/* The header goes beside every result that C code links with; the source only where asked for. */
static bool emit_c(Job *j) {
  OutFiles files = {0};
  COptions o = {.name = j->name, .word = j->opt.target->word / 8, .model_sha = j->model.is_onnx ? j->model.sha : NULL,
                .class_name = j->class_name, .n_classes = j->n_classes, .input = j->input};
  bool ok = j->n_variants ? c_emit_variants(j->c->ctx, j->variants, j->n_variants, &o, &files) : c_emit(j->c->ctx, j->program, &o, &files);
  for (int i = 0; ok && i < files.n; i++) {
    size_t n = strlen(files.p[i].name);
    bool source = n > 2 && !strcmp(files.p[i].name + n - 2, ".c");
    if (source && !j->want[EMIT_C]) continue;
    const char *path = source ? job_file(j, EMIT_C) : arena_printf(j->c->ctx->own, "%s/%s", j->dir, files.p[i].name);
    ok = file_write(j->c->ctx, path, files.p[i].text.p, files.p[i].text.n);
  }
  out_files_free(&files);
  return ok;
}

#if POPSHIFT_LLVM
static bool emit_so(Job *j, const Str *obj) {
  const char *dir = temp_dir(j->c->ctx), *cc = getenv("CC");
  if (!dir) return false;
  Arena *a = j->c->ctx->own;
  const char *o = arena_printf(a, "%s/m.o", dir), *so = arena_printf(a, "%s/m.so", dir);
  const char *argv[] = {cc && *cc ? cc : "cc", "-shared", "-Wl,--build-id=none", "-o", so, o, "-lm", NULL};
  char *bytes;
  size_t n;
  bool ok = file_write(j->c->ctx, o, obj->p, obj->n) && sh(j->c->ctx, argv, "the linker (cc, or $CC)") == 0 && file_read(j->c->ctx, so, &bytes, &n);
  if (ok) { ok = file_write(j->c->ctx, job_file(j, EMIT_SO), bytes, n); free(bytes); }
  temp_dir_remove(dir);
  return ok;
}

/* A target's features as LLVM writes them: +a,+b. */
static const char *features_of(Job *j, const Target *t) {
  Str s = {.ctx = j->c->ctx};
  for (const char *f = t->features; *f;) {
    size_t n = strcspn(f, ",");
    str_printf(&s, "%s+%.*s", s.n ? "," : "", (int)n, f);
    f += n + (f[n] == ',');
  }
  const char *text = s.n ? arena_strdup(j->c->ctx->own, s.p) : NULL;
  str_free(&s);
  return text;
}

static bool emit_llvm(Job *j) {
  static const struct { Emit e; LlvmKind kind; } kinds[] = {
    {EMIT_LL, LLVM_LL}, {EMIT_BC, LLVM_BC}, {EMIT_ASM, LLVM_ASM}, {EMIT_OBJ, LLVM_OBJ}, {EMIT_SO, LLVM_OBJ}};
  LlvmVariant *v = NEWN(j->c->ctx->own, LlvmVariant, j->n_variants + 1);
  LlvmOptions o = {.triple = cmd_get(j->c, FLAG_triple), .cpu = cmd_get(j->c, FLAG_cpu), .features = cmd_get(j->c, FLAG_features), .opt = 3};
  if (!o.triple) { /* the target's machine; its features go with its processor */
    o.triple = j->opt.target->triple;
    if (!o.cpu && !o.features) o.features = features_of(j, j->opt.target);
    if (!o.cpu) o.cpu = j->opt.target->cpu;
  }
  for (int i = 0; i < j->n_variants; i++) {
    const Target *t = j->variant_target[i];
    v[i] = (LlvmVariant){j->variants[i].p, j->variants[i].machine, {.triple = j->variant_target[0]->triple, .cpu = t->cpu, .features = features_of(j, t), .opt = 3}};
    if (*v[i].machine.arch && strcmp(v[i].machine.arch, v[0].machine.arch))
      return diag(j->c->ctx, E0307, NULL, "an object is for one architecture: %s is for %s, %s for %s", v[0].machine.name, v[0].machine.arch, v[i].machine.name, v[i].machine.arch);
  }
  bool ok = true;
  for (size_t i = 0; ok && i < sizeof kinds / sizeof *kinds; i++) {
    if (!j->want[kinds[i].e]) continue;
    Str s = {.ctx = j->c->ctx};
    ok = (j->n_variants ? llvm_emit_variants(j->c->ctx, v, j->n_variants, kinds[i].kind, &s) : llvm_emit(j->c->ctx, j->program, &o, kinds[i].kind, &s)) &&
         (kinds[i].e == EMIT_SO ? emit_so(j, &s) : file_write(j->c->ctx, job_file(j, kinds[i].e), s.p, s.n));
    str_free(&s);
  }
  return ok;
}
#else
static bool emit_llvm(Job *j) { return diag(j->c->ctx, E0307, NULL, "LLVM is not built in: configure with -DPOPSHIFT_LLVM=ON (needs LLVM 19)"); }
#endif

/* Keeps what --json and --explain are to say. */
static void watch(void *user, PassId p, bool after, const Graph *g, const Program *prog) {
  Job *j = user;
  (void)prog;
  if (!after || !g) return;
  if (p == PASS_fuse && (cmd_has(j->c, FLAG_json) || j->opt.certificate) && !j->fused) j->fused = graph_copy((Graph *)(uintptr_t)g);
  if (p == PASS_recognize && cmd_has(j->c, FLAG_explain)) explain_recognize(&j->explained, g);
  if (p == PASS_select && cmd_has(j->c, FLAG_explain)) {
    if (j->n_variants) str_printf(&j->explained, "target %s\n", j->opt.target->name);
    explain_select(&j->explained, g, &j->opt);
  }
}

/* The report, and what was explained: as its member, or as text. */
static void say(Job *j, const Program *p) {
  if (!cmd_has(j->c, FLAG_json)) {
    if (j->explained.n) fputs(j->explained.p, strcmp(j->out, "-") ? stdout : stderr);
    return;
  }
  Report r;
  report_make(&r, j->c->ctx->own, j->fused, p, j->opt.target);
  json_t *o = report_json(&r, j->c->ctx, j->model.sha, j->opt.target->name);
  if (j->n_variants) { /* the layers are the first's */
    json_t *names = json_array();
    for (int i = 0; i < j->n_variants; i++) json_array_append_new(names, json_string(j->variants[i].machine.name));
    json_object_set_new(o, "variants", names);
  }
  if (cmd_has(j->c, FLAG_explain)) {
    json_t *lines = json_array();
    for (char *at = j->explained.p, *end; at && *at; at = end + 1) {
      end = strchr(at, '\n');
      *end = 0;
      json_array_append_new(lines, json_text(j->c->ctx->own, at));
    }
    json_object_set_new(o, "explain", lines);
  }
  json_print(o);
}

/* --certificate: of the program that is reported. Fuse cannot be watched where it is left out: then the certificate is refused. */
static bool certify(Job *j) {
  const char *path = cmd_get(j->c, FLAG_certificate);
  Ctx *ctx = j->c->ctx;
  if (!path) return true;
  if (!j->fused) return diag(ctx, E0307, NULL, "--certificate starts from a graph and needs pass fuse");
  json_t *o = certificate_json(j->opt.certificate, ctx, j->fused, j->model.sha, j->opt.target->name);
  char *text = json_dumps(o, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
  bool ok = text && file_write(ctx, path, text, strlen(text));
  json_decref(o);
  free(text);
  return ok;
}

/* Test vectors: seeded random inputs and what eval makes of them. */
static bool hls_vectors(Job *j, Graph *g, HlsOptions *o) {
  Ctx *ctx = j->c->ctx;
  int64_t n;
  if (!cmd_int(j->c, FLAG_vectors, 4, 0, 10000, &n)) return false;
  Engine *e = engine_new(ctx, ENGINE_EVAL, g, &j->opt);
  if (!e) return false;
  Tensor **in = NEWN(ctx->own, Tensor *, n * g->n_args + 1), **out = NEWN(ctx->own, Tensor *, n * g->n_outs + 1);
  bool ok = true;
  for (int64_t v = 0; ok && v < n; v++) {
    for (int i = 0; ok && i < g->n_args; i++)
      ok = (in[v * g->n_args + i] = tensor_random(ctx, &g->args[i]->t, (uint64_t)(v * g->n_args + i + 1))) != NULL;
    ok = ok && engine_run(e, in + v * g->n_args, out + v * g->n_outs);
  }
  engine_free(e);
  o->n_vectors = (int)n;
  o->in = (const Tensor *const *)in;
  o->out = (const Tensor *const *)out;
  return ok;
}

static bool emit_hls(Job *j, Graph *g) {
  HlsOptions o = {.name = j->name, .part = cmd_get(j->c, FLAG_part), .clock_ns = j->clock_ns};
  PassOptions opt = j->opt;
  State s = {.graph = graph_copy(g)};
  OutFiles files = {0};
  opt.hls = true;
  if (j->n_want > 1) opt.certificate = NULL;
  if (j->n_want == 1) { /* else the native program is what is reported */
    j->opt.hls = true;
    opt.dump = watch;
    opt.dump_user = j;
  }
  bool ok = hls_vectors(j, g, &o) && passes_standard(j->c->ctx, &s, -1, &opt) &&
            hls_emit(j->c->ctx, s.program, &o, &files);
  static const char *const folders[] = {"", "/include", "/tb_data"};
  for (int i = 0; ok && i < 3; i++) {
    const char *d = arena_printf(j->c->ctx->own, "%s%s", j->out, folders[i]);
    struct stat st;
    if (mkdir(d, 0777) && (stat(d, &st) || !S_ISDIR(st.st_mode))) ok = diag(j->c->ctx, E0502, &(Loc){.file = d, .line = -1, .node = -1}, "cannot make the folder");
  }
  for (int i = 0; ok && i < files.n; i++) {
    const char *path = arena_printf(j->c->ctx->own, "%s/%s", j->out, files.p[i].name);
    ok = file_write(j->c->ctx, path, files.p[i].text.p, files.p[i].text.n);
    if (ok && strlen(path) > 3 && !strcmp(path + strlen(path) - 3, ".sh")) chmod(path, 0755);
  }
  out_files_free(&files);
  if (ok && j->n_want == 1) {
    ok = certify(j);
    if (ok) say(j, s.program);
  }
  if (s.program) program_free(s.program);
  return ok;
}

/* Values of flags whose other values belong to later versions. */
static bool only(Cmd *c, FlagId f, const char *flag, const char *value) {
  const char *s = cmd_get(c, f);
  return !s || !strcmp(s, value) || diag(c->ctx, E0306, NULL, "--%s %s is not available in this version", flag, s);
}

/* Flags that only some of the results have. */
static bool flags_fit(Job *j) {
  static const struct { FlagId f; const char *name; bool hls; } some[] = {
    {FLAG_part, "part", true}, {FLAG_clock, "clock", true}, {FLAG_vectors, "vectors", true},
    {FLAG_triple, "triple", false}, {FLAG_cpu, "cpu", false}, {FLAG_features, "features", false}};
  bool llvm = j->n_want > j->want[EMIT_C] + j->want[EMIT_HLS];
  for (size_t i = 0; i < sizeof some / sizeof *some; i++)
    if (cmd_has(j->c, some[i].f) && !(some[i].hls ? j->want[EMIT_HLS] : llvm))
      return diag(j->c->ctx, E0701, NULL, "--%s is for --emit %s", some[i].name, some[i].hls ? "hls" : "ll,bc,asm,obj,so");
  if (j->want[EMIT_HLS] && cmd_has(j->c, FLAG_no_multiply)) return diag(j->c->ctx, E0701, NULL, "--no-multiply is for --emit c,ll,bc,asm,obj,so: HLS multiplies exact widths");
  if (!cmd_double(j->c, FLAG_clock, 0, 0, &j->clock_ns)) return false;
  if (cmd_has(j->c, FLAG_clock) && j->clock_ns == 0) return diag(j->c->ctx, E0701, NULL, "--clock takes nanoseconds above 0");
  return !cmd_has(j->c, FLAG_json) || strcmp(j->out, "-") || diag(j->c->ctx, E0701, NULL, "--json and -o - both write to standard output");
}

/* Several targets: the most features first, the portable one last, added where it is not asked for. */
static bool variants_of(Job *j) {
  int n, k = 0;
  const Target *const *list = targets_of(j->c, &n), *t = target_find("c99");
  if (!list || n < 2) return list != NULL;
  Arena *a = j->c->ctx->own;
  j->variants = NEWN(a, CVariant, n + 1);
  j->variant_target = NEWN(a, const Target *, n + 1);
  for (int i = 0; i < n; i++) {
    RtMachine m = {list[i]->name, target_arch(list[i]), list[i]->features};
    size_t len;
    const char *unknown = rt_feature_unknown(&m, &len);
    if (!*m.arch && !*m.features) { t = list[i]; continue; }
    if (!rt_arch_macro(m.arch) || unknown)
      return unknown ? diag(j->c->ctx, E0307, NULL, "target %s: no processor can be asked for '%.*s', so it cannot be one of several", m.name, (int)len, unknown) :
             diag(j->c->ctx, E0307, NULL, "target %s: processors '%s' cannot be asked, so it cannot be one of several", m.name, m.arch);
    int at = k++;
    for (; at > 0 && rt_features_count(&j->variants[at - 1].machine) < rt_features_count(&m); at--) {
      j->variants[at] = j->variants[at - 1];
      j->variant_target[at] = j->variant_target[at - 1];
    }
    j->variants[at] = (CVariant){NULL, m};
    j->variant_target[at] = list[i];
  }
  j->variants[k] = (CVariant){NULL, {t->name, "", ""}};
  j->variant_target[k] = t;
  j->n_variants = k + 1;
  return !(cmd_has(j->c, FLAG_triple) || cmd_has(j->c, FLAG_cpu) || cmd_has(j->c, FLAG_features)) ||
         diag(j->c->ctx, E0701, NULL, "--triple, --cpu and --features are for one target");
}

/* The native program, or one for each variant. */
static bool programs_of(Job *j) {
  Ctx *ctx = j->c->ctx;
  PassOptions o = j->opt;
  o.dump = watch;
  o.dump_user = j;
  if (j->n_variants && !j->model.s.graph) return diag(ctx, E0307, NULL, "several targets start from a graph, and this is a program");
  for (int i = 0; i < j->n_variants; i++) {
    State s = {.graph = graph_copy(j->model.s.graph)};
    j->opt.target = o.target = j->variant_target[i];
    if (!s.graph || !passes_standard(ctx, &s, -1, &o)) return false;
    if (o.n_keep && !program_keep(s.program, o.keep, o.keep_first, o.n_keep)) return false;
    ends_describe(&j->ends, s.program);
    s.program->name = arena_strdup(s.program->arena, j->name);
    j->variants[i].p = s.program;
  }
  if (!j->n_variants) {
    if (!passes_standard(ctx, &j->model.s, -1, &o)) return false;
    if (o.n_keep && !program_keep(j->model.s.program, o.keep, o.keep_first, o.n_keep)) return false;
    ends_describe(&j->ends, j->model.s.program);
    j->model.s.program->name = arena_strdup(j->model.s.program->arena, j->name);
  }
  j->program = j->n_variants ? (Program *)(uintptr_t)j->variants[0].p : j->model.s.program;
  j->opt.target = j->n_variants ? j->variant_target[0] : j->opt.target;
  return true;
}

int verb_compile(Cmd *c) {
  Job j = {.c = c, .out = cmd_get(c, FLAG_out), .explained = {.ctx = c->ctx}};
  const char *path = cmd_model(c);
  if (!path) return EXIT_USAGE;
  if (!j.out || !*j.out) { diag(c->ctx, E0701, NULL, "compile needs -o OUT"); return EXIT_USAGE; }
  j.model.path = path;
  if (!only(c, FLAG_weights, "weights", "inline") || !job_emits(&j) || !job_paths(&j) || !flags_fit(&j) || !model_pass_options(c, &j.opt) || !variants_of(&j))
    return diag_exit(c->ctx);
  if (!model_load(c, path, &j.model)) return diag_exit(c->ctx);
  j.n_classes = model_classes(c->ctx, j.model.s.graph, &j.class_name);
  j.input = model_input(c->ctx, j.model.s.graph);
  if (!model_ends(c, &j.model, &j.opt, &j.ends)) return diag_exit(c->ctx);
  if (cmd_has(c, FLAG_certificate)) j.opt.certificate = certificate_new(c->ctx);
  bool native = j.n_want > j.want[EMIT_HLS], ok = true;
  if (j.want[EMIT_HLS] && !j.model.s.graph) {
    diag(c->ctx, E0307, NULL, "an HLS project starts from a graph, and this is a program");
    return EXIT_UNSUPPORTED;
  }
  if (j.want[EMIT_HLS] && j.opt.n_keep) {
    diag(c->ctx, E0307, NULL, "an HLS project does not keep outputs (--state)");
    return EXIT_UNSUPPORTED;
  }
  if (j.want[EMIT_HLS]) ok = emit_hls(&j, j.model.s.graph);
  if (ok && native) ok = programs_of(&j) && (!strcmp(j.out, "-") || emit_c(&j)) && (j.n_want == j.want[EMIT_C] + j.want[EMIT_HLS] || emit_llvm(&j));
  ok = ok && (!native || certify(&j));
  if (ok && native) say(&j, j.program);
  str_free(&j.explained);
  ends_free(&j.ends);
  if (j.fused) graph_free(j.fused);
  for (int i = 0; i < j.n_variants; i++) if (j.variants[i].p) program_free((Program *)(uintptr_t)j.variants[i].p);
  if (j.model.s.program) program_free(j.model.s.program);
  if (j.model.s.graph) graph_free(j.model.s.graph);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
