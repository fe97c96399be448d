/* bench: seconds of one inference. Every contestant (an engine of ours, ONNX Runtime on this model or another) is built first; then they
 * take turns in many rounds of short samples, so that what else the machine does meets all alike. The best sample and the median are
 * told; ratios are of the best ones. */
#include "tools/engine.h"
#include "tools/peer.h"
#include "tools/report.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 16, ROUNDS = 60 };
#define SAMPLE_SECONDS 4e-3 /* short enough to fit between what else runs, long enough for the clock */

typedef struct Contestant {
  const char *name;
  Engine *engine; Peer *peer;     /* one of them */
  const void **in; void **out;    /* of the engine */
  int64_t runs;                   /* of a sample */
  double *sample; int n;          /* seconds of one inference */
  double best, median;
} Contestant;

typedef struct Bench {
  Cmd *c;
  PassOptions opt;
  int64_t rounds, threads;
  const char *python;
  EngineKind kind[ENGINE_COUNT]; int n_kind;
  Contestant who[MOST]; int n;
  int64_t macs;                   /* of the model at hand; 0: not known */
} Bench;

/* Contestants */

static bool once(Contestant *w, int64_t runs, double *seconds) {
  if (w->peer) return peer_time(w->peer, runs, seconds);
  double start = clock_seconds();
  for (int64_t i = 0; i < runs; i++)
    if (!engine_call(w->engine, w->in, w->out)) return false;
  *seconds = (clock_seconds() - start) / (double)runs;
  return true;
}

/* Runs until a sample has its length; the first run meets cold memory and is not counted. */
static bool warm_up(Bench *b, Contestant *w) {
  double s;
  if (!once(w, 1, &s) || !once(w, 1, &s)) return false;
  for (w->runs = 1; s * (double)w->runs < SAMPLE_SECONDS && w->runs < 1 << 20;) {
    w->runs *= 2;
    if (!once(w, w->runs, &s)) return false;
  }
  w->sample = NEWN(b->c->ctx->own, double, b->rounds);
  w->n = 0;
  return true;
}

static Contestant *join(Bench *b, const char *name) {
  if (b->n == MOST) { diag(b->c->ctx, E0701, NULL, "more than %d contestants", MOST); return NULL; }
  Contestant *w = &b->who[b->n++];
  *w = (Contestant){.name = name};
  return w;
}

static bool join_engine(Bench *b, const Model *m, EngineKind kind) {
  Ctx *ctx = b->c->ctx;
  Ports p;
  Contestant *w = join(b, engine_names[kind]);
  if (!w || !(w->engine = engine_for(ctx, kind, &m->s, &b->opt))) return false;
  model_ports(b->c, m, &p);
  w->in = NEWN(ctx->own, const void *, p.n_in + 1);
  w->out = NEWN(ctx->own, void *, p.n_out + 1);
  for (int i = 0; i < p.n_in; i++) {
    Tensor *t = tensor_random(ctx, &p.in[i], (uint64_t)i + 1);
    if (!t) return false;
    w->in[i] = t->data;
  }
  for (int i = 0; i < p.n_out; i++) {
    Tensor *t = tensor_new(ctx, &p.out[i]);
    if (!t) return false;
    w->out[i] = t->data;
  }
  return true;
}

static bool join_peer(Bench *b, const char *path, const char *name) {
  Str dims = {.ctx = b->c->ctx};
  for (int i = 0; i < b->c->flag[FLAG_dim].n; i++) str_printf(&dims, i ? ",%s" : "%s", b->c->flag[FLAG_dim].v[i]);
  Contestant *w = join(b, name);
  bool ok = w && (w->peer = peer_start(b->c->ctx, b->python, path, (int)b->threads, dims.n ? dims.p : "")) != NULL;
  str_free(&dims);
  return ok;
}

static bool join_peers(Bench *b, const Model *m) {
  Cmd *c = b->c;
  for (int i = 0; i < c->flag[FLAG_against].n; i++) {
    if (strcmp(c->flag[FLAG_against].v[i], "ort")) return diag(c->ctx, E0701, NULL, "--against takes ort, not '%s'", c->flag[FLAG_against].v[i]);
    if (!m->is_onnx) {
      diag(c->ctx, E0701, NULL, "ONNX Runtime does not read %s", m->path);
      diag_hint(c->ctx, "--against-model FILE.onnx compares with another model");
      return false;
    }
    if (!join_peer(b, m->path, "ort")) return false;
  }
  for (int i = 0; i < c->flag[FLAG_against_model].n; i++) {
    const char *path = c->flag[FLAG_against_model].v[i];
    if (!join_peer(b, path, arena_printf(c->ctx->own, "ort:%s", path))) return false;
  }
  return true;
}

/* Measuring */

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static bool measure(Bench *b) {
  for (int i = 0; i < b->n; i++)
    if (!warm_up(b, &b->who[i])) return false;
  double start = clock_seconds();
  for (int64_t r = 0; r < b->rounds; r++) {
    for (int i = 0; i < b->n; i++) {
      Contestant *w = &b->who[i];
      if (!once(w, w->runs, &w->sample[w->n++])) return false;
    }
    if (b->c->ctx->cancel && *b->c->ctx->cancel) return diag(b->c->ctx, E0602, NULL, "interrupted after %lld rounds", (long long)r + 1);
    if (clock_seconds() - start > 5 && !cmd_has(b->c, FLAG_quiet)) {
      fprintf(stderr, "round %lld of %lld\n", (long long)r + 1, (long long)b->rounds);
      start = clock_seconds();
    }
  }
  for (int i = 0; i < b->n; i++) {
    Contestant *w = &b->who[i];
    qsort(w->sample, (size_t)w->n, sizeof *w->sample, by_value);
    w->best = w->sample[0];
    w->median = w->sample[w->n / 2];
  }
  return true;
}

static void say_text(const Bench *b, const char *path) {
  printf("%s: %lld rounds, %lld thread%s%s%s\n", path, (long long)b->rounds, (long long)b->threads, b->threads > 1 ? "s" : "",
         ", target ", b->opt.target->name);
  for (int i = 0; i < b->n; i++) {
    const Contestant *w = &b->who[i];
    printf("  %-12s best %10.2f us  median %10.2f us", w->name, w->best * 1e6, w->median * 1e6);
    if (b->macs && w->engine) printf("  %8.1f GMAC/s", (double)b->macs / w->best * 1e-9);
    for (int k = 0; w->engine && k < b->n; k++)
      if (b->who[k].peer) printf("  %.2fx %s", b->who[k].best / w->best, b->who[k].name);
    if (w->peer) printf("  (ONNX Runtime %s)", peer_version(w->peer));
    printf("\n");
  }
}

static json_t *say_json(const Bench *b, const char *path, json_t *layers) {
  Arena *a = b->c->ctx->own;
  json_t *all = json_array();
  for (int i = 0; i < b->n; i++) {
    const Contestant *w = &b->who[i];
    json_t *o = json_pack("{s:o s:o s:o}", "name", json_text(a, w->name), "best_us", json_number(w->best * 1e6), "median_us", json_number(w->median * 1e6));
    if (b->macs && w->engine) json_object_set_new(o, "gmac_per_s", json_number((double)b->macs / w->best * 1e-9));
    if (w->peer) json_object_set_new(o, "version", json_text(a, peer_version(w->peer)));
    json_t *ratios = json_object();
    for (int k = 0; w->engine && k < b->n; k++)
      if (b->who[k].peer) json_object_set_new(ratios, b->who[k].name, json_number(b->who[k].best / w->best));
    if (w->engine) json_object_set_new(o, "ratio", ratios);
    else json_decref(ratios);
    json_array_append_new(all, o);
  }
  json_t *o = json_pack("{s:o s:s s:I s:I s:I s:o}", "model", json_text(a, path), "target", b->opt.target->name, "threads", (json_int_t)b->threads,
                        "rounds", (json_int_t)b->rounds, "macs", (json_int_t)b->macs, "contestants", all);
  if (layers) json_object_set_new(o, "layers", layers);
  return o;
}

/* Layers: every step of the program is compiled by itself and all run in order on the same memory. */

static void keep_fused(void *user, PassId p, bool after, const Graph *g, const Program *prog) {
  Graph **to = user;
  (void)prog;
  if (after && g && p == PASS_fuse && !*to) *to = graph_copy((Graph *)(uintptr_t)g);
}

typedef struct Uses { bool *used; } Uses;
static void use_expr(void *user, const Expr *x) { if (x->kind == EX_LOAD) ((Uses *)user)->used[x->buf] = true; }
static void use_stmt(void *user, const Stmt *s) { stmt_exprs(s, use_expr, user); }

/* The program of one step: the other steps' constants are left out. */
static Program *step_of(Arena *a, const Program *p, int step) {
  Program *q = NEW(a, Program);
  Uses u = {NEWN(a, bool, p->n_bufs + 1)};
  *q = *p;
  q->nests = NEWN(a, Nest *, 1);
  q->steps = NEWN(a, int, 1);
  q->nests[0] = p->nests[p->steps[step]];
  q->n_nests = q->n_steps = 1;
  stmt_visit(&q->nests[0]->body, use_stmt, &u);
  q->bufs = NEWN(a, Buf, p->n_bufs + 1);
  memcpy(q->bufs, p->bufs, sizeof *q->bufs * (size_t)p->n_bufs);
  for (int i = 0; i < p->n_bufs; i++)
    if (q->bufs[i].sp == SP_ROM && !u.used[i]) q->bufs[i].n = 1;
  return q;
}

static bool layers_time(Bench *b, const Program *p, Contestant *ports, Engine **step, double *best) {
  for (int k = 0; k < p->n_steps; k++) best[k] = 1e30;
  for (int64_t r = 0; r < b->rounds; r++)
    for (int k = 0; k < p->n_steps; k++) {
      double start = clock_seconds();
      if (!engine_call(step[k], ports->in, ports->out)) return false;
      double s = clock_seconds() - start;
      if (s < best[k]) best[k] = s;
    }
  return true;
}

static void layers_say(Bench *b, const Program *p, EngineKind kind, const double *best, json_t *json) {
  double all = 0;
  for (int k = 0; k < p->n_steps; k++) all += best[k];
  if (!json) printf("  engine %s, best of each step:\n", engine_names[kind]);
  for (int k = 0; k < p->n_steps; k++) {
    const Nest *n = p->nests[p->steps[k]];
    const char *layer = n->loc.name ? n->loc.name : "";
    if (json)
      json_array_append_new(json, json_pack("{s:s s:s s:o s:o s:o}", "engine", engine_names[kind], "nest", n->name, "layer", json_text(b->c->ctx->own, layer),
                                            "what", json_text(b->c->ctx->own, n->note ? n->note : ""), "best_us", json_number(best[k] * 1e6)));
    else printf("  %10.2f us %5.1f %%  %-24s %s\n", best[k] * 1e6, 100 * best[k] / all, n->name, n->note ? n->note : "");
  }
}

static bool layers(Bench *b, const Program *p, Contestant *ports, json_t *json) {
  Ctx *ctx = b->c->ctx;
  Arena *a = arena_new(ctx);
  Engine **step = NEWN(a, Engine *, p->n_steps + 1);
  double *best = NEWN(a, double, p->n_steps + 1);
  bool ok = true;
  for (int e = 0; ok && e < b->n_kind; e++) {
    if (b->kind[e] != ENGINE_C && b->kind[e] != ENGINE_JIT) continue;
    void *workspace = engine_workspace(p);
    for (int k = 0; ok && k < p->n_steps; k++) {
      if (!cmd_has(b->c, FLAG_quiet) && p->n_steps > 8) fprintf(stderr, "engine %s: compiling step %d of %d\n", engine_names[b->kind[e]], k + 1, p->n_steps);
      ok = (step[k] = engine_of_program(ctx, b->kind[e], step_of(a, p, k), &b->opt)) != NULL && engine_share(step[k], workspace);
    }
    ok = ok && layers_time(b, p, ports, step, best);
    if (ok) layers_say(b, p, b->kind[e], best, json);
    for (int k = 0; k < p->n_steps; k++) { engine_free(step[k]); step[k] = NULL; }
    free(workspace);
  }
  arena_free(a);
  return ok;
}

/* One model */

static bool count_macs(Bench *b, Model *m, Program **program) {
  Graph *fused = NULL;
  State s = {.graph = m->s.graph ? graph_copy(m->s.graph) : NULL, .program = m->s.graph ? NULL : m->s.program};
  PassOptions o = b->opt;
  Report r;
  o.dump = keep_fused;
  o.dump_user = &fused;
  if (!passes_standard(b->c->ctx, &s, -1, &o)) return false;
  report_make(&r, b->c->ctx->own, fused, s.program, b->opt.target);
  b->macs = r.macs;
  if (fused) graph_free(fused);
  *program = s.program;
  return true;
}

static void leave(Bench *b) {
  for (int i = 0; i < b->n; i++) {
    engine_free(b->who[i].engine);
    peer_stop(b->who[i].peer);
  }
  b->n = 0;
}

static bool bench(Bench *b, const char *path, json_t *all) {
  Model m;
  Program *program = NULL;
  if (!model_load_static(b->c, path, &m)) return false;
  bool ok = count_macs(b, &m, &program);
  for (int k = 0; ok && k < b->n_kind; k++) ok = join_engine(b, &m, b->kind[k]);
  ok = ok && join_peers(b, &m) && measure(b);
  json_t *steps = ok && all && cmd_has(b->c, FLAG_layers) ? json_array() : NULL;
  if (ok && !all) say_text(b, path);
  if (ok && cmd_has(b->c, FLAG_layers)) ok = layers(b, program, &b->who[0], steps);
  if (ok && all) json_array_append_new(all, say_json(b, path, steps));
  leave(b);
  if (m.s.graph && program) program_free(program);
  model_free(&m);
  return ok;
}

int verb_bench(Cmd *c) {
  Bench b = {.c = c};
  const char *env = getenv("POPSHIFT_PYTHON");
  b.python = cmd_get(c, FLAG_python) ? cmd_get(c, FLAG_python) : env && *env ? env : "python3";
  if (!c->n_args) { diag(c->ctx, E0701, NULL, "bench needs a model"); return EXIT_USAGE; }
  if (!model_pass_options(c, &b.opt) || !cmd_int(c, FLAG_rounds, ROUNDS, 1, 1000000, &b.rounds) || !cmd_int(c, FLAG_threads, 1, 1, 1024, &b.threads))
    return EXIT_USAGE;
  if (!engines_of(c, ENGINE_C, b.kind, &b.n_kind)) return EXIT_USAGE;
#if POPSHIFT_LLVM
  if (!cmd_has(c, FLAG_engine)) b.kind[b.n_kind++] = ENGINE_JIT;
#endif
  json_t *all = cmd_has(c, FLAG_json) ? json_array() : NULL;
  bool ok = true;
  for (int i = 0; ok && i < c->n_args; i++) ok = bench(&b, c->args[i], all);
  if (all) json_print(json_pack("{s:s s:o}", "schema", "popshift.bench/1", "models", all));
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
