/* train and quantize: a recipe run by the trainer. Each phase that ends leaves its network in the run's folder: as .ir of batch 1,
 * and as ONNX (QDQ) with a symbolic batch. */
#include "tools/cmd.h"

#ifdef POPSHIFT_TRAINER
#include "tools/runs.h"
#include "trainer/ranks.h"
#include "trainer/train.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Run { Cmd *c; const char *out, *model; json_t *phases; const TrainOptions *o; bool first; } Run; /* model: to start from, or NULL; first: of the ranks */

static Graph *load_float(void *user, const char *path) {
  Run *run = user;
  Model m;
  if (!model_load_batch(run->c, path, NET_BATCH, &m)) return NULL;
  if (m.s.graph) return m.s.graph;
  diag(run->c->ctx, E0702, NULL, "'%s' is a program, not a graph", path);
  model_free(&m);
  return NULL;
}

static bool write_graph(Run *run, const PhaseResult *r) {
  Ctx *ctx = run->c->ctx;
  Graph *g = net_freeze(r->net, r->net->g->name, 1);
  if (!g) return false;
  Str s = {.ctx = ctx};
  graph_print(&s, g);
  bool ok = file_write(ctx, arena_printf(ctx->own, "%s/%s.ir", run->out, r->name), s.p, s.n);
  str_free(&s);
  graph_free(g);
  if (!ok || !(g = net_freeze(r->net, r->net->g->name, 0))) return false;
  Str onnx = {.ctx = ctx};
  ok = onnx_export(ctx, g, ONNX_QDQ, ONNX_WRITE_DEFAULT, &onnx) && file_write(ctx, arena_printf(ctx->own, "%s/%s.onnx", run->out, r->name), onnx.p, onnx.n);
  str_free(&onnx);
  graph_free(g);
  return ok;
}

static bool write_predictions(Run *run, const PhaseResult *r) {
  Str s = {.ctx = run->c->ctx};
  for (int64_t i = 0; i < r->n_predictions; i++) str_printf(&s, "%" PRId32 "\n", r->predictions[i]);
  bool ok = !r->predictions || file_write(run->c->ctx, arena_printf(run->c->ctx->own, "%s/%s.predictions", run->out, r->name), s.p, s.n);
  str_free(&s);
  return ok;
}

static void put_number(json_t *o, const char *key, double v) { if (isfinite(v)) json_object_set_new(o, key, json_real(v)); }

/* Bytes of the parameters as floats, and with weights as packed codes. */
static void weight_bytes(const Net *net, int64_t *as_float, int64_t *packed) {
  double bits = 0;
  *as_float = 0;
  for (int p = 0; p < net_n_plain(net); p++) {
    bits += (double)net->p[p].n * net_weight_bits(net, p);
    *as_float += 4 * net->p[p].n;
  }
  *packed = (int64_t)ceil(bits / 8);
}

/* Of the weights of layers: how many, bits of their codes alone, and bits with what describes them; floats count 32. */
typedef struct Codes { double n, bits, all; } Codes;

static Codes weight_codes(const Net *net) {
  Codes c = {0};
  for (int p = 0; p < net_n_plain(net); p++) {
    double n = (double)net->p[p].n;
    if (net->p[p].role == PARAM_WEIGHT) c.n += n, c.bits += n * net_code_bits(net, p), c.all += n * net_weight_bits(net, p);
  }
  return c;
}

static const char *in_run(const Run *run, const char *name) { return arena_printf(run->c->ctx->own, "%s/%s", run->out, name); }

/* The phases that have ended, of this process and, where it goes on, of those before. */
static bool write_result(const Run *run, const char *state) {
  json_t *o = json_pack("{s:s s:s s:s s:O}", "schema", RESULT_SCHEMA, "run", run->out, "state", state, "phases", run->phases);
  bool ok = json_file_write(run->c->ctx, in_run(run, "result.json"), o);
  json_decref(o);
  return ok;
}

/* Replaces what an earlier process said of the phase, which was killed between its end and the next one's first checkpoint. */
static void add_phase(Run *run, json_t *phase) {
  const json_t *name = json_object_get(phase, "name");
  for (size_t i = 0; i < json_array_size(run->phases); i++)
    if (json_equal(json_object_get(json_array_get(run->phases, i), "name"), name)) {
      json_array_set_new(run->phases, i, phase);
      return;
    }
  json_array_append_new(run->phases, phase);
}

static bool phase_done(void *user, const PhaseResult *r) {
  Run *run = user;
  int64_t as_float, packed;
  if (!write_graph(run, r) || !write_predictions(run, r)) return false;
  json_t *o = json_object();
  json_object_set_new(o, "name", json_string(r->name));
  json_object_set_new(o, "quantized", json_boolean(r->quantized));
  json_object_set_new(o, "model", json_string(arena_printf(run->c->ctx->own, "%s/%s.onnx", run->out, r->name)));
  put_number(o, "train_loss", r->train_loss), put_number(o, "train_accuracy", r->train_accuracy);
  put_number(o, "validation_accuracy", r->validation_accuracy), put_number(o, "test_accuracy", r->test_accuracy), put_number(o, "frozen_accuracy", r->frozen_accuracy);
  put_number(o, "images_per_second", r->images_per_second);
  weight_bytes(r->net, &as_float, &packed);
  json_object_set_new(o, "float_bytes", json_integer(as_float)), json_object_set_new(o, "weight_bytes", json_integer(packed));
  Codes codes = weight_codes(r->net);
  if (codes.n > 0) put_number(o, "weight_bits", codes.bits / codes.n), json_object_set_new(o, "code_bytes", json_integer((json_int_t)ceil(codes.all / 8)));
  add_phase(run, o);
  if (!write_result(run, "running")) return false;
  if (!cmd_has(run->c, FLAG_json) && !cmd_has(run->c, FLAG_quiet)) {
    printf("%s: ", r->name);
    if (isfinite(r->validation_accuracy)) printf("validation accuracy %.2f %%, ", 100 * r->validation_accuracy);
    if (isfinite(r->test_accuracy)) printf("test accuracy %.2f %%, ", 100 * r->test_accuracy);
    if (isfinite(r->frozen_accuracy)) printf("in exact integers %.2f %%, ", 100 * r->frozen_accuracy);
    printf("weights %" PRId64 " bytes", packed);
    if (codes.n > 0) printf(" (layers %.0f: %.3f bits a weight, 1/%.1f of floats)", ceil(codes.all / 8), codes.bits / codes.n, 32 * codes.n / codes.all);
    printf(", %s/%s.onnx\n", run->out, r->name);
    fflush(stdout);
  }
  return true;
}

static bool options(Cmd *c, TrainOptions *o) {
  int64_t threads;
  double save;
  if (!cmd_int(c, FLAG_threads, 0, 1, 64, &threads) || !cmd_double(c, FLAG_save_every, 20, 0, &save)) return false;
  o->threads = (int)threads;
  o->save_seconds = save;
  o->machine = target_native();
  o->data_dir = cmd_get(c, FLAG_data);
  o->resume = cmd_has(c, FLAG_resume), o->quiet = cmd_has(c, FLAG_quiet), o->verbose = cmd_has(c, FLAG_verbose);
  return true;
}

/* A path from anywhere: the recipe's are relative to its folder. NULL with E0501. */
static const char *absolute(Cmd *c, const char *name) {
  char *path = realpath(name, NULL);
  if (!path) diag(c->ctx, E0501, &(Loc){.file = name, .line = -1, .node = -1}, "cannot open: %s", strerror(errno));
  const char *copy = path ? arena_strdup(c->ctx->own, path) : NULL;
  free(path);
  return copy;
}

static bool start_from(Cmd *c, Recipe *r, const char *model) {
  if (cmd_get(c, FLAG_init) && !(r->init = absolute(c, cmd_get(c, FLAG_init)))) return false;
  if (!model) return true;
  r->net.builtin = NULL, r->net.n_option = 0;
  return (r->net.onnx = absolute(c, model)) != NULL;
}

static Recipe *recipe_of(const Run *run, const char *const *set, int n) {
  Cmd *c = run->c;
  const char *path = cmd_get(c, FLAG_recipe);
  if (!path) { diag(c->ctx, E0701, NULL, "which recipe? --recipe FILE"); return NULL; }
  Recipe *r = recipe_read(c->ctx, path);
  return r && (!n || recipe_set(r, set, n)) && start_from(c, r, run->model) && net_check(r) ? r : NULL;
}

/* result.json of a folder that holds a run of this recipe, else NULL. */
static json_t *result_of(const Run *run, const Recipe *r) {
  Ctx *ctx = run->c->ctx;
  const char *path = in_run(run, "recipe.yaml");
  char *text;
  size_t n;
  if (access(path, F_OK) || !file_read(ctx, path, &text, &n)) return NULL;
  bool same = strlen(text) == n && recipe_same(r, text);
  free(text);
  return same ? result_read(ctx, run->out, false) : NULL;
}

static bool train(Run *run, const Recipe *r, TrainOptions *o) {
  Ctx *ctx = run->c->ctx;
  json_t *before = o->resume && !access(in_run(run, "checkpoint.ckpt"), F_OK) ? result_of(run, r) : NULL;
  json_array_clear(run->phases);
  if (before) json_array_extend(run->phases, json_object_get(before, "phases"));
  json_decref(before);
  if (ctx->n_errors) return false;
  o->out = run->out;
  run->first = true;
  o->first = &run->first;
  if (train_run(ctx, r, o)) return !run->first || write_result(run, "finished");
  if (run->first && ctx->n_errors == 1 && diag_exit(ctx) == EXIT_MISMATCH) write_result(run, "diverged");
  return false;
}

/* One run of a sweep: one that has ended is not run again. */
static RunEnd sweep_one(void *user, const char *folder, const char *const *set, int n, bool *skipped) {
  Run *run = user;
  Ctx *ctx = run->c->ctx;
  TrainOptions o = *run->o;
  run->out = folder;
  Recipe *r = recipe_of(run, set, n);
  if (!r) return RUN_FAILED;
  json_t *result = o.resume ? result_of(run, r) : NULL;
  const char *state = result ? result_state(result) : "running";
  bool diverged = !strcmp(state, "diverged");
  *skipped = diverged || !strcmp(state, "finished");
  json_decref(result);
  if (*skipped) return diverged ? RUN_DIVERGED : RUN_OK;
  if (ctx->n_errors) return RUN_FAILED;
  if (train(run, r, &o)) return RUN_OK;
  if (ctx->n_errors != 1 || diag_exit(ctx) != EXIT_MISMATCH) return RUN_FAILED;
  for (Diag *d = ctx->diags; d; d = d->next) /* the others go on: it is said as a warning */
    if (d->is_error) d->is_error = false, d->text = arena_printf(ctx->own, "%s: %s", folder, d->text);
  ctx->n_errors = 0;
  return RUN_DIVERGED;
}

/* Every recipe of a sweep is right, or nothing is trained. */
static RunEnd check_one(void *user, const char *folder, const char *const *set, int n, bool *skipped) {
  (void)folder, (void)skipped;
  return recipe_of(user, set, n) ? RUN_OK : RUN_FAILED;
}

/* A sweep under mpirun is refused: MPI starts once in a process, and a sweep has many runs. The first rank says so and fails; the others end
 * well, or mpirun might end the first before it has said it. */
static bool one_rank(Cmd *c) {
  diag(c->ctx, E0307, NULL, "a sweep (--set with several values) is not shared out among ranks");
  diag_hint(c->ctx, "without mpirun its runs go one after another; mpirun takes one run, with one value for each --set");
  return false;
}

static bool run_recipe(Run *run) {
  Cmd *c = run->c;
  TrainOptions o = {.load = load_float, .phase_done = phase_done, .user = run};
  const char *out = cmd_get(c, FLAG_out) ? cmd_get(c, FLAG_out) : c->verb == VERB_quantize ? "quantized" : "run";
  if (!strcmp(out, "-")) return diag(c->ctx, E0701, NULL, "a run is a folder, not standard output: -o DIR");
  run->o = &o;
  run->out = out;
  if (!options(c, &o)) return false;
  if (sweep_asked(c) && ranks_told().count > 1) return ranks_told().me || one_rank(c);
  if (sweep_asked(c)) return sweep_each(c, check_one, run) && sweep_run(c, out, sweep_one, run);
  const Recipe *r = recipe_of(run, c->flag[FLAG_set].v, c->flag[FLAG_set].n);
  if (!r || !train(run, r, &o)) return false;
  if (!cmd_has(c, FLAG_json) || !run->first) return true;
  json_t *top = json_pack("{s:s s:s s:O}", "schema", RESULT_SCHEMA, "run", out, "phases", run->phases);
  json_dumpf(top, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2) | JSON_REAL_PRECISION(6));
  putchar('\n');
  json_decref(top);
  return true;
}

static int run_and_free(Cmd *c, const char *model) {
  Run run = {.c = c, .phases = json_array(), .model = model};
  bool ok = run_recipe(&run);
  json_decref(run.phases);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}

int verb_train(Cmd *c) {
  if (c->n_args) {
    diag(c->ctx, E0701, NULL, "train takes no model: the recipe names the network (`popshift quantize MODEL` starts from one)");
    if (strstr(c->args[0], ".yaml")) diag_hint(c->ctx, "did you mean --recipe %s?", c->args[0]);
    return EXIT_USAGE;
  }
  return run_and_free(c, NULL);
}

int verb_quantize(Cmd *c) {
  const char *model = cmd_model(c);
  return model ? run_and_free(c, model) : EXIT_USAGE;
}

#else

static int not_built(Cmd *c) {
  diag(c->ctx, E0307, NULL, "the trainer is not built in (configure with -DPOPSHIFT_TRAINER=ON)");
  return EXIT_UNSUPPORTED;
}
int verb_train(Cmd *c) { return not_built(c); }
int verb_quantize(Cmd *c) { return not_built(c); }

#endif
