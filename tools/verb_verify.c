/* verify: eval against stored results, every other engine against eval, on one model or a tree of them. */
#include "tools/ends.h"
#include "tools/bisect.h"
#include "tools/report.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Job {
  Cmd *c;
  Ctx *ctx;
  PassOptions opt;
  EngineKind kind[ENGINE_COUNT];
  int n_kind;
  double rtol, atol;
  int64_t n_random;
  bool verbose, each_pass;
} Job;

/* One set of inputs with the results that somebody stored (NULL: none). */
typedef struct Vectors { const char *name; Tensor **in, **want; } Vectors;

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Entries of a folder whose names start with prefix, sorted; n = -1 where it cannot be read. */
static const char **entries(Ctx *ctx, const char *dir, const char *prefix, int *n) {
  VEC(const char *) v = {0};
  DIR *d = opendir(dir);
  struct dirent *e;
  *n = -1;
  if (!d) return NULL;
  while ((e = readdir(d)))
    if (e->d_name[0] != '.' && !strncmp(e->d_name, prefix, strlen(prefix))) vec_push(ctx->own, &v, arena_strdup(ctx->own, e->d_name));
  closedir(d);
  if (v.n) qsort(v.p, (size_t)v.n, sizeof *v.p, by_name);
  *n = v.n;
  return v.p;
}

/* PREFIX_i.pb of a set, for port i: by the name inside the file where it is one of the model's, else by the number. */
static bool read_ports(Job *j, const char *dir, const char *prefix, int n, const char *(*port_name)(const Graph *, int), const Graph *g, Tensor **t) {
  for (int i = 0; i < n; i++) {
    const char *path = arena_printf(j->ctx->own, "%s/%s_%d.pb", dir, prefix, i);
    char *name = NULL;
    if (access(path, R_OK)) continue;
    Tensor *x = tensor_read(j->ctx, path, &name);
    if (!x) { free(name); return false; }
    int at = i;
    for (int k = 0; name && k < n; k++) if (!strcmp(port_name(g, k), name)) at = k;
    free(name);
    t[at] = x;
  }
  return true;
}
static const char *arg_name(const Graph *g, int i) { return g->arg_names[i]; }
static const char *out_name(const Graph *g, int i) { return g->outs[i].name; }

static bool read_set(Job *j, const char *dir, const char *label, const Graph *g, Vectors *v) {
  *v = (Vectors){label, NEWN(j->ctx->own, Tensor *, g->n_args + 1), NEWN(j->ctx->own, Tensor *, g->n_outs + 1)};
  if (!read_ports(j, dir, "input", g->n_args, arg_name, g, v->in) || !read_ports(j, dir, "output", g->n_outs, out_name, g, v->want)) return false;
  for (int i = 0; i < g->n_args; i++) {
    if (!v->in[i]) return diag(j->ctx, E0702, NULL, "%s has no value for input '%s'", dir, g->arg_names[i]);
    if (!(v->in[i] = tensor_as(j->ctx, v->in[i], &g->args[i]->t))) return false;
  }
  return true;
}

static bool random_set(Job *j, int k, const Graph *g, Vectors *v) {
  *v = (Vectors){arena_printf(j->ctx->own, "random %d", k), NEWN(j->ctx->own, Tensor *, g->n_args + 1), NEWN(j->ctx->own, Tensor *, g->n_outs + 1)};
  for (int i = 0; i < g->n_args; i++)
    if (!(v->in[i] = tensor_random(j->ctx, &g->args[i]->t, (uint64_t)(1000 * k + i + 1)))) return false;
  return true;
}

/* eval against a stored result. Codes, and floats that end in a quantization, may be one step off where a float sum of
 * another order falls on the other side of a rounding; reported, not silent. */
static bool check_stored(Job *j, const Graph *g, const Vectors *v, Tensor *const *got, Str *say) {
  for (int o = 0; o < g->n_outs; o++) {
    if (!v->want[o]) continue;
    Tensor *want = tensor_as(j->ctx, v->want[o], &got[o]->t);
    if (!want) return false;
    int64_t first;
    double worst, step = step_of(g->outs[o].v);
    bool half = elem_eq(got[o]->t.e, F16) || elem_eq(got[o]->t.e, BF16); /* its own rounding is 2^-11 or 2^-8 at every graph value */
    int64_t bad = tensor_diff(got[o], want, j->atol, half && j->rtol < 1e-2 ? 1e-2 : j->rtol, &first, &worst);
    bool quantized = step > 0 || (elem_is_code(got[o]->t.e) && g->outs[o].v->op == OP_QUANT);
    if (!step) step = 1;
    if (bad && quantized && worst <= step * 1.001) {
      str_printf(say, "; output '%s': %" PRId64 " of %" PRId64 " codes one step from the stored ones", g->outs[o].name, bad, want->n);
      bad = 0;
    } else if (quantized && !bad) str_printf(say, "; output '%s': all %" PRId64 " codes as stored", g->outs[o].name, want->n);
    double a = first >= 0 ? tensor_f(got[o], first) : 0, b = first >= 0 ? tensor_f(want, first) : 0;
    tensor_free(want);
    if (bad)
      return diag(j->ctx, E0601, NULL, "%s: output '%s' of eval differs from the stored one in %" PRId64 " of %" PRId64
                  " elements, first at %" PRId64 ": %.9g, stored %.9g", v->name, g->outs[o].name, bad, got[o]->n, first, a, b);
  }
  return true;
}

static bool check_engine(Job *j, const Graph *g, const Vectors *v, const Ends *ends, EngineKind k, Engine *e, Tensor *const *want) {
  Tensor **got = NEWN(j->ctx->own, Tensor *, g->n_outs + 1);
  if (!ends_run(j->ctx, ends, e, v->in, got)) return false;
  for (int o = 0; o < g->n_outs; o++) {
    int64_t first, bad = bits_differ(got[o], want[o], &first);
    if (bad)
      return diag(j->ctx, E0601, NULL, "%s: output '%s' of engine %s differs from eval in %" PRId64 " of %" PRId64 " elements, first at %" PRId64
                  ": %.9g, eval %.9g", v->name, g->outs[o].name, engine_names[k], bad, got[o]->n, first, tensor_f(got[o], first), tensor_f(want[o], first));
    tensor_free(got[o]);
  }
  return true;
}

/* How far fixing the meaning moved the outputs: the imported graph in float against eval. A report, never a failure. */
static bool report_raw(Job *j, const Graph *raw, const Vectors *v, Tensor *const *meaning, Str *say) {
  Tensor **got = NEWN(j->ctx->own, Tensor *, raw->n_outs + 1);
  if (!graph_eval(j->ctx, raw, v->in, got, NULL, NULL)) return false;
  for (int o = 0; o < raw->n_outs; o++) {
    int64_t first;
    double worst, step = step_of(raw->outs[o].v);
    int64_t n = tensor_diff(got[o], meaning[o], step > 0 ? step / 2 : 0, step > 0 ? 0 : 1e-5, &first, &worst);
    if (n) str_printf(say, "; output '%s': %" PRId64 " of %" PRId64 " values differ from the raw float graph, by %.3g at most", raw->outs[o].name, n, got[o]->n, worst);
    tensor_free(got[o]);
  }
  return true;
}

/* --each-pass: the native pipeline, and that of hls where it is one of the engines. */
static bool check_passes(Job *j, Graph *g, const Vectors *sets, int n_sets, Str *say) {
  Tensor *const **in = NEWN(j->ctx->own, Tensor *const *, n_sets + 1);
  bool hls = false, ok = true;
  for (int s = 0; s < n_sets; s++) in[s] = sets[s].in;
  for (int k = 0; k < j->n_kind; k++) hls = hls || j->kind[k] == ENGINE_HLS;
  for (int h = 0; ok && h <= hls; h++) {
    PassOptions o = j->opt;
    o.hls = h;
    ok = passes_compared(j->ctx, g, in, n_sets, &o, say);
  }
  return ok;
}

static bool verify_sets(Job *j, Graph *g, const Vectors *sets, int n_sets, Str *say) {
  if (j->each_pass && !check_passes(j, g, sets, n_sets, say)) return false;
  Engine *eval = engine_new(j->ctx, ENGINE_EVAL, g, &j->opt), *e[ENGINE_COUNT] = {0};
  Model ported = {.s.graph = graph_copy(g)}; /* what engines run: with the ends that flags ask for */
  Ends ends;
  bool ok = eval && model_ends(j->c, &ported, &j->opt, &ends);
  for (int k = 0; ok && k < j->n_kind; k++)
    if (j->kind[k] != ENGINE_EVAL || ends.on) ok = (e[k] = engine_new(j->ctx, j->kind[k], ported.s.graph, &j->opt)) != NULL;
  for (int s = 0; ok && s < n_sets; s++) {
    Tensor **want = NEWN(j->ctx->own, Tensor *, g->n_outs + 1);
    ok = engine_run(eval, sets[s].in, want) && check_stored(j, g, &sets[s], want, say);
    if (ok && !(g->props & P_RECOGNIZED)) ok = report_raw(j, g, &sets[s], want, say);
    for (int k = 0; ok && k < j->n_kind; k++)
      if (e[k] && !check_engine(j, g, &sets[s], &ends, j->kind[k], e[k], want)) {
        ok = false;
        if (cmd_has(j->c, FLAG_bisect)) bisect_engine(j->c, j->kind[k], g, sets[s].in, &j->opt);
      }
    for (int o = 0; ok && o < g->n_outs; o++) tensor_free(want[o]);
  }
  for (int k = 0; k < j->n_kind; k++) engine_free(e[k]);
  engine_free(eval);
  if (ok) ends_free(&ends);
  model_free(&ported);
  return ok;
}

/* The stored inputs of a set by their names, as the model is read with: their shapes and, where an operator needs a constant, their
 * values. Files without a name are found by their number later; files that are no tensor (sequences, optionals) are left to read_set,
 * after the model itself was read or refused. */
static bool readable(const char *path) {
  Ctx *try = ctx_new();
  bool ok = tensor_read(try, path, NULL) != NULL;
  ctx_free(try);
  return ok;
}

static bool given_inputs(Job *j, const char *dir, InputBind **given, int *n) {
  VEC(InputBind) v = {0};
  for (int i = 0;; i++) {
    const char *path = arena_printf(j->ctx->own, "%s/input_%d.pb", dir, i);
    char *name = NULL;
    if (access(path, R_OK)) break;
    if (!readable(path)) continue;
    Tensor *t = tensor_read(j->ctx, path, &name);
    if (t && name && *name) {
      InputBind b = {.input = arena_strdup(j->ctx->own, name), .value = t, .if_needed = true};
      vec_push(j->ctx->own, &v, b);
    }
    free(name);
    if (!t) return false;
  }
  *given = v.p;
  *n = v.n;
  return true;
}

/* One folder of stored vectors (dir), or n_random random ones (dir NULL). */
static bool verify_set(Job *j, const char *path, const char *dir, const char *label, int64_t n_random, Str *say) {
  Model m;
  InputBind *given = NULL;
  int n_given = 0, n_sets = dir ? 1 : (int)n_random;
  if (dir && !given_inputs(j, dir, &given, &n_given)) return false;
  if (!model_load_as(j->c, path, given, n_given, &m)) return false;
  Graph *g = m.s.graph;
  if (!g) return diag(j->ctx, E0307, NULL, "verify starts from a graph, and this is a program");
  if (!graph_static(j->ctx, g)) { graph_free(g); return false; }
  Vectors *sets = NEWN(j->ctx->own, Vectors, n_sets + 1);
  for (int k = 0; k < n_sets; k++)
    if (dir ? !read_set(j, dir, label, g, &sets[k]) : !random_set(j, k, g, &sets[k])) return false;
  bool ok = verify_sets(j, g, sets, n_sets, say);
  if (dir && cmd_has(j->c, FLAG_bisect) && m.is_onnx) {
    Str first = {.ctx = j->ctx};
    bool agree = false;
    if (!bisect_stored(j->c, path, dir, sets[0].in, &j->opt, j->rtol, j->atol, &agree, &first)) ok = false;
    else if (agree && first.p) str_printf(say, "; %s", first.p);
    else if (!agree && ok) ok = diag(j->ctx, E0601, NULL, "%s", first.p);
    else if (!agree) diag_note(j->ctx, "%s", first.p);
    str_free(&first);
  }
  graph_free(g);
  return ok;
}

/* Vectors beside a model (test_data_set_*) or in DIR itself (given: there must be some), then random ones where there are none or they are asked for. */
static bool verify_model(Job *j, const char *path, const char *data, bool given, int64_t n_random, Str *say) {
  int n_dirs = 0;
  const char **dirs = data ? entries(j->ctx, data, "test_data_set_", &n_dirs) : NULL;
  if (n_dirs < 0) n_dirs = 0;
  bool flat = data && !n_dirs && !access(arena_printf(j->ctx->own, "%s/input_0.pb", data), R_OK), ok = true;
  if (given && !n_dirs && !flat)
    return diag(j->ctx, E0501, &(Loc){.file = data, .line = -1, .node = -1}, "no input_0.pb and no test_data_set_* in this folder");
  if (!n_dirs && !flat && !n_random) n_random = 3;
  for (int i = 0; ok && i < n_dirs; i++) ok = verify_set(j, path, arena_printf(j->ctx->own, "%s/%s", data, dirs[i]), dirs[i], 0, say);
  if (ok && flat) ok = verify_set(j, path, data, data, 0, say);
  if (ok && n_random) ok = verify_set(j, path, NULL, NULL, n_random, say);
  if (ok) str_printf(say, "; %d stored and %d random input sets", n_dirs + flat, (int)n_random);
  return ok;
}

/* ---- a tree of folders, each verified in a process of its own: a crash is one failure */

typedef VEC(const char *) Names;

static void find_models(Ctx *ctx, const char *dir, int depth, Names *out) {
  int n;
  if (!access(arena_printf(ctx->own, "%s/model.onnx", dir), R_OK)) { vec_push(ctx->own, out, dir); return; }
  const char **e = depth ? entries(ctx, dir, "", &n) : (n = 0, NULL);
  for (int i = 0; i < n; i++) {
    struct stat st;
    const char *sub = arena_printf(ctx->own, "%s/%s", dir, e[i]);
    if (!stat(sub, &st) && S_ISDIR(st.st_mode)) find_models(ctx, sub, depth - 1, out);
  }
}

typedef struct Child { pid_t pid; int fd; int test; char text[4096]; size_t n; } Child;

/* In the child: verifies one folder, writes the line to fd, exits with the class of the result. */
static void child_main(Job *j, const char *dir, int fd) {
  Str say = {.ctx = j->ctx};
  alarm(600);
  bool ok = verify_model(j, arena_printf(j->ctx->own, "%s/model.onnx", dir), dir, false, j->n_random, &say);
  int rc = ok ? EXIT_OK : diag_exit(j->ctx);
  FILE *f = fdopen(fd, "w");
  if (f && !ok) diag_print(j->ctx, f, false);
  else if (f && say.p) fputs(say.p, f);
  if (f) fclose(f);
  _exit(rc);
}

static bool child_start(Job *j, Child *ch, const char *dir, int test) {
  int p[2];
  if (pipe(p)) return diag(j->ctx, E0503, NULL, "cannot make a pipe: %s", strerror(errno));
  fflush(NULL);
  pid_t pid = fork();
  if (pid < 0) return diag(j->ctx, E0503, NULL, "cannot start a process: %s", strerror(errno));
  if (!pid) { close(p[0]); child_main(j, dir, p[1]); }
  close(p[1]);
  *ch = (Child){.pid = pid, .fd = p[0], .test = test};
  return true;
}

/* Reads what a child says; true when it has ended, with its wait status. */
static bool child_poll(Child *ch, int *status) {
  char sink[4096];
  bool full = ch->n + 1 >= sizeof ch->text;
  ssize_t got = full ? read(ch->fd, sink, sizeof sink) : read(ch->fd, ch->text + ch->n, sizeof ch->text - 1 - ch->n);
  if (got > 0) { if (!full) ch->n += (size_t)got; return false; }
  close(ch->fd);
  waitpid(ch->pid, status, 0);
  ch->text[ch->n] = 0;
  return true;
}

typedef struct Tally { int passed, failed, skipped, crashed; } Tally;

static void conclude(Job *j, Child *ch, int status, const char *dir, Tally *t, json_t *list) {
  const char *base = strrchr(dir, '/'), *what;
  base = base ? base + 1 : dir;
  int rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (rc == EXIT_OK) { t->passed++; what = "passed"; }
  else if (rc == EXIT_UNSUPPORTED) { t->skipped++; what = "skipped"; }
  else { t->failed++; what = rc < 0 ? "crashed" : "failed"; t->crashed += rc < 0; }
  if (list && ch->n && ch->text[ch->n - 1] == '\n') ch->text[--ch->n] = 0;
  if (list) json_array_append_new(list, json_pack("{s:o s:s s:o}", "test", json_text(j->ctx->own, base), "result", what, "text", json_text(j->ctx->own, ch->text)));
  else if (j->verbose || (rc != EXIT_OK && rc != EXIT_UNSUPPORTED)) printf("%s %s%s%s", what, base, ch->n ? ": " : "", ch->n ? ch->text : "\n");
  if (!list && j->verbose && ch->n && ch->text[ch->n - 1] != '\n') putchar('\n');
}

static void tally_json(const Tally *t, json_t *list) {
  json_print(json_pack("{s:i s:i s:i s:i s:o}", "passed", t->passed, "failed", t->failed, "skipped", t->skipped, "crashed", t->crashed, "tests", list));
}

static int verify_suite(Job *j, const char *root) {
  Names tests = {0};
  int64_t width;
  Tally t = {0};
  if (!cmd_int(j->c, FLAG_threads, sysconf(_SC_NPROCESSORS_ONLN), 1, 64, &width)) return EXIT_USAGE;
  find_models(j->ctx, root, 8, &tests);
  if (!tests.n) { diag(j->ctx, E0501, &(Loc){.file = root, .line = -1, .node = -1}, "no folder with a model.onnx in it"); return EXIT_IO; }
  Child ch[64];
  int running = 0, next = 0;
  json_t *list = cmd_has(j->c, FLAG_json) ? json_array() : NULL;
  bool tty = isatty(2) && !list;
  while ((next < tests.n && !*j->ctx->cancel) || running) {
    while (running < width && next < tests.n && !*j->ctx->cancel) {
      if (!child_start(j, &ch[running], tests.p[next], next)) return EXIT_IO;
      running++;
      next++;
    }
    struct pollfd pf[64];
    for (int i = 0; i < running; i++) pf[i] = (struct pollfd){.fd = ch[i].fd, .events = POLLIN};
    if (poll(pf, (nfds_t)running, 1000) < 0 && errno != EINTR) return EXIT_IO;
    for (int i = running - 1; i >= 0; i--) {
      int status;
      if (!pf[i].revents || !child_poll(&ch[i], &status)) continue;
      conclude(j, &ch[i], status, tests.p[ch[i].test], &t, list);
      ch[i] = ch[--running];
    }
    if (tty) fprintf(stderr, "\r%d of %d ", next - running, tests.n);
  }
  if (tty) fprintf(stderr, "\r%20s\r", "");
  if (list) {
    tally_json(&t, list);
  } else printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped);
  return *j->ctx->cancel ? EXIT_INTERRUPTED : t.failed ? EXIT_MISMATCH : EXIT_OK;
}

/* `all` of one model: the generated C by every compiler that is here. A suite is compiled once. */
static void all_compilers(Job *j) {
  for (int k = ENGINE_HLS + 1; k < ENGINE_COUNT; k++)
    if (engine_here((EngineKind)k)) j->kind[j->n_kind++] = (EngineKind)k;
    else diag_warn(j->ctx, E0801, NULL, "engine %s is left out: its compiler is not here", engine_names[k]);
}

int verb_verify(Cmd *c) {
  Job j = {.c = c, .ctx = c->ctx, .verbose = cmd_has(c, FLAG_verbose)};
  const char *suite = cmd_get(c, FLAG_suite), *against = cmd_get(c, FLAG_against);
  if (against && !strcmp(against, "ort")) { diag(c->ctx, E0306, NULL, "--against ort is not available in this version"); return EXIT_UNSUPPORTED; }
  if (!model_pass_options(c, &j.opt) || !engines_of(c, suite ? ENGINE_EVAL : ENGINE_COUNT, j.kind, &j.n_kind) || !cmd_int(c, FLAG_inputs, 0, 0, 10000, &j.n_random) ||
      !cmd_double(c, FLAG_rtol, 1e-3, 0, &j.rtol) || !cmd_double(c, FLAG_atol, 1e-5, 0, &j.atol))
    return EXIT_USAGE;
  j.each_pass = cmd_has(c, FLAG_each_pass);
  if (suite) {
    if (c->n_args) { diag(c->ctx, E0701, NULL, "verify takes a model or --suite DIR, not both"); return EXIT_USAGE; }
    return verify_suite(&j, suite);
  }
  const char *path = cmd_model(c);
  if (!path) return EXIT_USAGE;
  if (!cmd_has(c, FLAG_engine) || strstr(cmd_get(c, FLAG_engine), "all")) all_compilers(&j);
  const char *slash = strrchr(path, '/');
  Str say = {.ctx = c->ctx};
  bool ok = verify_model(&j, path, against ? against : slash ? arena_strndup(c->ctx->own, path, (size_t)(slash - path)) : ".", against != NULL, j.n_random, &say);
  int rc = ok ? EXIT_OK : diag_exit(c->ctx);
  if (cmd_has(c, FLAG_json)) {
    Str text = {.ctx = c->ctx};
    for (const Diag *d = c->ctx->diags; d; d = d->next) if (d->is_error) str_printf(&text, "%s%s", text.n ? "; " : "", d->text);
    Tally t = {ok, !ok && rc != EXIT_UNSUPPORTED, !ok && rc == EXIT_UNSUPPORTED, 0};
    json_t *list = json_array();
    json_array_append_new(list, json_pack("{s:o s:s s:o}", "test", json_text(c->ctx->own, path), "result", ok ? "passed" : t.skipped ? "skipped" : "failed",
                                          "text", json_text(c->ctx->own, ok ? say.p ? say.p : "" : text.p ? text.p : "")));
    tally_json(&t, list);
    str_free(&text);
  } else printf("%s %s%s\n", ok ? "passed" : rc == EXIT_UNSUPPORTED ? "skipped" : "failed", path, say.p ? say.p : "");
  if (!cmd_has(c, FLAG_json)) printf("%d passed, %d failed, %d skipped\n", ok, !ok && rc != EXIT_UNSUPPORTED, !ok && rc == EXIT_UNSUPPORTED);
  str_free(&say);
  return rc;
}
