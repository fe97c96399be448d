/* The run: phases of epochs of steps, and what is written between. */
#include "trainer/train_impl.h"

#include "passes/pass.h"
#include "trainer/curves.h"
#include "trainer/extras.h"
#include "trainer/quantizer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Setting up */

/* The test set by the training set's names: a folder that has not all of them has the same numbers, one that has others is refused. */
static Dataset *load_test(Trainer *t) {
  const Dataset *train = t->train;
  Recipe *r = NEW(t->arena, Recipe);
  *r = *t->r;
  if (train->class_name) {
    r->data.class_file = NULL;
    r->data.n_classes = train->classes;
    memmove(r->data.classes, train->class_name, sizeof *train->class_name * (size_t)train->classes);
  }
  return dataset_load(t->ctx, t->arena, r, &r->data.test, t->o->data_dir, train->classes, 0);
}

static bool load_data(Trainer *t) {
  const Recipe *r = t->r;
  int classes = (int)r->net.classes;
  t->train = dataset_load(t->ctx, t->arena, r, &r->data.train, t->o->data_dir, classes, r->data.samples);
  if (!t->train) {
    if (!t->o->data_dir && diag_exit(t->ctx) == EXIT_IO) diag_hint(t->ctx, "without --data DIR, files are looked for beside the recipe");
    return false;
  }
  if (r->data.test.n && !(t->test = load_test(t))) return false;
  if (t->test && !t->test->real != !t->train->real) dataset_as_real(t->arena, t->test), dataset_as_real(t->arena, t->train);
  Loc loc = LOC_NONE;
  loc.file = r->file;
  if (r->data.validation > 0 && !(t->valid = dataset_split(t->arena, t->train, r->data.validation, (Rng){r->seed, RNG_SPLIT})))
    return diag(t->ctx, E0703, &loc, "data.validation: %g of %lld images is none of them", r->data.validation, (long long)t->train->n);
  if (t->test && (t->test->c != t->train->c || t->test->h != t->train->h || t->test->w != t->train->w))
    return diag(t->ctx, E0703, &loc, "test images are %dx%dx%d, training images %dx%dx%d", t->test->c, t->test->h, t->test->w, t->train->c, t->train->h, t->train->w);
  if (t->train->n < r->batch) return diag(t->ctx, E0703, &loc, "%lld images%s are fewer than a batch of %lld", (long long)t->train->n, t->valid ? ", without those of validation," : "", (long long)r->batch);
  t->shard_size = r->batch / r->shards;
  if (r->shards % t->ranks.count) return diag(t->ctx, E0703, &loc, "%lld shards cannot be shared out evenly among %d ranks", (long long)r->shards, t->ranks.count);
  if (t->shard_size > 4096) return diag(t->ctx, E0703, &loc, "a shard has %lld images, at most 4096 can be", (long long)t->shard_size);
  t->per_epoch = t->train->n / r->batch;
  t->order = NEWN(t->arena, int32_t, t->train->n);
  /* raw bytes go in: the network normalizes (net_images) */
  Recipe *raw = NEW(t->arena, Recipe);
  *raw = *r;
  raw->data.scale = 1, raw->data.n_mean = raw->data.n_std = 0;
  if (!transform_init(&t->augment, t->arena, raw, t->train, LAYOUT_NCHW, true) || !transform_init(&t->plain, t->arena, raw, t->train, LAYOUT_NCHW, false)) return false;
  transform_hole(&t->augment, r, t->train);
  return true;
}

/* Phase i is the first with quantizers, or has rows of its own. */
static bool new_rows(const Recipe *r, int i) { return r->phase[i].quant && (r->phase[i].own_rows || !i || !r->phase[i - 1].quant); }

/* The file that the recipe's teacher is in: itself, or of a run that of its last kept phase in float. */
static const char *teacher_file(Trainer *t) {
  const char *path = recipe_path(t->r, NULL, t->r->distill.teacher);
  struct stat s;
  if (stat(path, &s) || !S_ISDIR(s.st_mode)) return path;
  const Recipe *run = recipe_read(t->ctx, arena_printf(t->arena, "%s/recipe.yaml", path));
  const Phase *last = NULL;
  for (int i = 0; run && i < run->n_phase; i++) if (!run->phase[i].quant && run->phase[i].keep) last = &run->phase[i];
  if (last) return arena_printf(t->arena, "%s/%s.onnx", path, last->name);
  Loc loc = LOC_NONE;
  if (run) loc.file = run->file, diag(t->ctx, E0703, &loc, "a teacher is a network in float: this run keeps none");
  return NULL;
}

static Net *load_teacher(Trainer *t, const Recipe *with) {
  const Dataset *d = t->train;
  const char *path = teacher_file(t);
  Graph *g = path && t->o->load ? t->o->load(t->o->user, path) : NULL;
  if (!g && *t->r->distill.teacher != '/' && diag_exit(t->ctx) == EXIT_IO) diag_hint(t->ctx, "distill.teacher is relative to the recipe's folder");
  if (!g) return NULL;
  Recipe *r = NEW(t->arena, Recipe);
  *r = *with;
  if (g->n_args && elem_eq(g->args[0]->t.e, U8)) r->data.scale = 1, r->data.n_mean = r->data.n_std = 0; /* it normalizes bytes itself */
  return net_of_graph(t->ctx, g, r, d->c, d->h, d->w);
}

/* A shard normalizes by itself: one number to a channel would become 0, whatever it is. */
static bool shards_normalize(const Trainer *t) {
  const Graph *g = t->net->g;
  Loc loc = LOC_NONE;
  loc.file = t->r->file;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    int64_t each = t->shard_size;
    for (int k = 2; k < n->t.rank; k++) each *= n->t.d[k].n;
    if (n->op != OP_BN || each > 1) continue;
    diag(t->ctx, E0703, &loc, "a shard of one image is one number to each channel of '%s': batch normalization needs two", n->loc.name ? n->loc.name : "bn");
    return diag_hint(t->ctx, "fewer shards than %lld, or a larger batch", (long long)t->r->shards), false;
  }
  return true;
}

static bool make_net(Trainer *t) {
  const Recipe *r = t->r;
  const Dataset *d = t->train;
  Recipe *with = NEW(t->arena, Recipe);
  *with = *r;
  with->net.classes = d->classes;
  const char *input = NULL;
  t->normalizes = true;
  if (r->net.builtin) t->net = net_builtin(t->ctx, with, d->c, d->h, d->w);
  else {
    Graph *g = t->o->load ? t->o->load(t->o->user, recipe_path(r, NULL, r->net.onnx)) : NULL;
    if (g && g->n_args && elem_eq(g->args[0]->t.e, U8)) {
      t->normalizes = false;
      input = graph_fact_get(g, "popshift.input");
      if (input) input = arena_strdup(t->arena, input);
    }
    t->net = g ? net_of_graph(t->ctx, g, with, d->c, d->h, d->w) : NULL;
  }
  if (!t->net) return false;
  t->net->real = d->real;
  for (int64_t i = 0; d->real && i < d->n * dataset_sample(d); i++) t->net->negative = t->net->negative || d->real[i] < 0;
  if (!net_facts(t, input)) return false;
  Net *teacher = r->distill.teacher ? load_teacher(t, with) : NULL;
  bool ok = (teacher || !r->distill.teacher) && net_add_extras(t->net, r, teacher) && shards_normalize(t);
  for (int i = 0; ok && i < r->n_phase; i++)
    if (r->phase[i].quant && new_rows(r, i)) ok = net_can_quantize(t->net, r, &r->phase[i]);
  if (ok) t->sign = NEWN(t->arena, int8_t, signs_count(t->net) + 1);
  return ok;
}

static bool make_workers(Trainer *t) {
  t->pool = rt_pool_new(t->o->threads);
  if (!t->pool) return diag(t->ctx, E0902, NULL, "threads cannot be had");
  t->threads = rt_pool_threads(t->pool);
  t->worker = NEWN(t->arena, Worker, t->threads);
  t->shard = NEWN(t->arena, Shard, t->r->shards);
  for (int i = 0; i < t->threads; i++) {
    Worker *w = &t->worker[i];
    w->ctx = ctx_new();
    w->ctx->limits = t->ctx->limits;
    w->ctx->limits.work = INT64_MAX;
    if (!(w->dnn = dnn_new(w->ctx))) return diag(t->ctx, E0902, NULL, "oneDNN does not start");
    w->x = arena_aligned(t->arena, (size_t)(t->shard_size * image_floats(t)) * sizeof(float));
    w->label = NEWN(t->arena, int32_t, t->shard_size);
    w->label64 = NEWN(t->arena, int64_t, t->shard_size);
  }
  return true;
}

/* One run at a time in a folder: the lock ends with the process. */
static bool lock_folder(Trainer *t) {
  t->lock = open(path_in(t, ".lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (t->lock < 0) return diag(t->ctx, E0502, NULL, "cannot write in '%s': %s", t->o->out, strerror(errno));
  return !lockf(t->lock, F_TLOCK, 0) || diag(t->ctx, E0502, NULL, "another run is using '%s'", t->o->out);
}

static bool make_folder(Trainer *t) {
  if (t->ranks.me) return true;
  struct stat s;
  if (mkdir(t->o->out, 0777) && errno != EEXIST) return diag(t->ctx, E0502, NULL, "cannot make folder '%s': %s", t->o->out, strerror(errno));
  if (stat(t->o->out, &s) || !S_ISDIR(s.st_mode)) return diag(t->ctx, E0502, NULL, "'%s' is not a folder", t->o->out);
  return lock_folder(t);
}

/* A run that starts: no checkpoint of an earlier one stays, or --resume would go on with that; nor its result, or a sweep would take it for this one's. */
static bool write_recipe(Trainer *t) {
  static const char *const names[] = {"result.json", "checkpoint.ckpt"};
  if (t->ranks.me) return true;
  for (int i = 0; i < 2; i++) {
    const char *old = path_in(t, names[i]);
    bool gone = !unlink(old);
    if (!gone && errno != ENOENT) return diag(t->ctx, E0502, NULL, "cannot remove '%s': %s", old, strerror(errno));
    if (gone && i && !t->o->quiet) fprintf(stderr, "the run in '%s' begins anew; --resume would have gone on with the one that was there\n", t->o->out); /* now, not at the end */
  }
  Str text = {.ctx = t->ctx};
  recipe_print(&text, t->r);
  bool ok = file_write(t->ctx, path_in(t, "recipe.yaml"), text.p, text.n);
  str_free(&text);
  return ok;
}

/* Curves */

/* The learning rate and every metric of the log, as series over the epochs. */
static CurveSeries *series_of(Arena *arena, const LogRow *rows, int n, int *count) {
  VEC(CurveSeries) v = {0};
  Metric *all = NULL;
  for (int i = 0; i < n; i++) {
    all = NEWN(arena, Metric, rows[i].n_metric + 1);
    all[0] = (Metric){"learning rate.all layers", rows[i].lr};
    for (int k = 0; k < rows[i].n_metric; k++) all[k + 1] = rows[i].metric[k];
    for (int k = 0; k <= rows[i].n_metric; k++) {
      int s = 0;
      while (s < v.n && strcmp(v.p[s].name, all[k].name)) s++;
      if (s == v.n) vec_push(arena, &v, ((CurveSeries){.name = all[k].name, .epoch = NEWN(arena, double, n), .value = NEWN(arena, double, n)}));
      v.p[s].epoch[v.p[s].n] = (double)rows[i].epoch;
      v.p[s].value[v.p[s].n++] = all[k].value;
    }
  }
  *count = v.n;
  return v.p;
}

static bool draw_curves(Trainer *t) {
  LogRow *rows;
  int n;
  Arena *scratch = arena_new(t->ctx);
  if (!trainlog_read(t->ctx, scratch, path_in(t, "log.jsonl"), &rows, &n)) return arena_free(scratch), false;
  Curves c = {.title = t->net->g->name, .subtitle = t->r->file};
  CurvePoint *p = NEWN(scratch, CurvePoint, n + 1);
  CurvePhase *ph = NEWN(scratch, CurvePhase, t->r->n_phase);
  for (int i = 0; i < n; i++)
    p[i] = (CurvePoint){(double)rows[i].epoch, rows[i].loss, rows[i].accuracy, rows[i].test_accuracy, rows[i].validation_accuracy};
  double at = 0;
  for (int i = 0; i < t->r->n_phase; at = ph[i++].end) ph[i] = (CurvePhase){t->r->phase[i].name, at, at + (double)t->r->phase[i].epochs};
  c.series = series_of(scratch, rows, n, &c.n_series);
  c.point = p, c.n_point = n, c.phase = ph, c.n_phase = t->r->n_phase;
  Str svg = {.ctx = t->ctx}, html = {.ctx = t->ctx}, recipe = {.ctx = t->ctx};
  recipe_print(&recipe, t->r);
  curves_svg(&svg, &c);
  curves_html(&html, &c, recipe.p);
  bool ok = file_write(t->ctx, path_in(t, "curves.svg"), svg.p, svg.n) && file_write(t->ctx, path_in(t, "curves.html"), html.p, html.n);
  str_free(&svg), str_free(&html), str_free(&recipe);
  arena_free(scratch);
  return ok;
}

/* Epochs */

enum { DRAW_SECONDS = 10 }; /* between pages of a run that goes on */
typedef struct Show { ProgressLine line; TrainLog *log; double saved, drawn, validation_accuracy, test_accuracy; int64_t epochs_before, epochs_all; } Show;

static Progress progress_of(const Trainer *t, const Show *s) {
  double rate = t->seconds > 0 ? (double)t->images / t->seconds : 0;
  int64_t left = s->epochs_all * t->per_epoch - t->iteration;
  return (Progress){.phase = t->r->phase[t->phase].name, .epoch = s->epochs_before + t->epoch + 1, .epochs = s->epochs_all, .step = t->step, .steps = t->per_epoch,
                    .loss = t->seen ? t->loss / (double)t->seen : 0, .accuracy = t->seen ? (double)t->correct / (double)t->seen : 0,
                    .validation_accuracy = s->validation_accuracy, .test_accuracy = s->test_accuracy, .images_per_second = rate, .seconds_left = rate > 0 ? (double)(left * t->r->batch) / rate : NAN};
}

static bool interrupted(Trainer *t, Show *s) {
  if (!ranks_any(&t->ranks, t->ctx->cancel && *t->ctx->cancel)) return false; /* all stop after the same step */
  progress_clear(&s->line);
  if (state_save(t)) diag(t->ctx, E0602, NULL, "interrupted; the state is in %s", path_in(t, "checkpoint.ckpt"));
  return true;
}

static bool run_epoch(Trainer *t, Show *s) {
  rng_permutation(t->shuffle, (uint64_t)(t->iteration / t->per_epoch), t->train->n, t->order);
  if (!t->step) t->loss = 0, t->correct = t->seen = 0;
  while (t->step < t->per_epoch) {
    if (interrupted(t, s)) return false;
    double start = clock_seconds();
    if (!train_batch(t)) { progress_clear(&s->line); return false; }
    double end = clock_seconds();
    t->seconds += end - start, t->images += t->r->batch;
    Progress p = progress_of(t, s);
    progress_show(&s->line, &p, end);
    if (end - s->saved > t->o->save_seconds && t->step < t->per_epoch) {
      if (!state_save(t)) return false;
      s->saved = clock_seconds();
    }
  }
  return true;
}

/* Validation and test accuracy of the weights as they are, or their averages; NaN without such images. */
static bool test_all(Trainer *t, Show *s) {
  s->validation_accuracy = s->test_accuracy = NAN;
  return (!t->valid || evaluate(t, t->test_graph, t->valid, false, NULL, &s->validation_accuracy)) &&
         (!t->test || evaluate(t, t->test_graph, t->test, false, NULL, &s->test_accuracy));
}

static bool end_epoch(Trainer *t, Show *s) {
  const Phase *ph = &t->r->phase[t->phase];
  if (!test_all(t, s)) { /* interrupted, it goes on with the test: the epoch's steps are done */
    if (t->ctx->cancel && *t->ctx->cancel) state_save(t);
    return false;
  }
  Progress p = progress_of(t, s);
  progress_epoch(&s->line, &p);
  LogRow row = {.phase = ph->name, .phase_index = t->phase, .epoch = p.epoch, .iteration = t->iteration, .loss = p.loss, .accuracy = p.accuracy,
                .validation_accuracy = s->validation_accuracy, .test_accuracy = s->test_accuracy, .lr = schedule_lr(&ph->lr, (t->epoch + 1) * t->per_epoch - 1, t->per_epoch, (double)ph->epochs),
                .images_per_second = p.images_per_second, .seconds = t->seconds};
  Metrics m = {.arena = arena_new(t->ctx)};
  bool ok = metrics_collect(t, &m);
  row.metric = m.p, row.n_metric = m.n;
  ok = ok && (t->ranks.me || trainlog_write(s->log, &row));
  arena_free(m.arena);
  if (!ok) return false;
  t->epoch++, t->step = 0;
  s->saved = clock_seconds();
  if (!state_save(t)) return false;
  if (s->saved - s->drawn < DRAW_SECONDS) return true;
  s->drawn = s->saved;
  return t->ranks.me || draw_curves(t);
}

/* The frozen graph by its exact meaning: after recognize, contractions of codes are integers, and the executor computes them exactly. */
static bool frozen(Trainer *t, PhaseResult *res) {
  State s = {.graph = net_freeze(t->net, t->net->g->name, t->shard_size)};
  PassOptions o = {.target = target_find("x86-64")};
  int32_t *pred = NEWN(t->arena, int32_t, t->test->n);
  bool ok = s.graph && passes_standard(t->ctx, &s, PASS_recognize, &o);
  if (ok) net_warn_of_floats(t->net, s.graph);
  ok = ok && evaluate(t, s.graph, t->test, !t->net->real, pred, &res->frozen_accuracy);
  graph_free(s.graph);
  res->predictions = pred, res->n_predictions = t->test->n;
  return ok;
}

static bool end_phase(Trainer *t, const Show *s) {
  const Phase *ph = &t->r->phase[t->phase];
  take_averages(t);
  if (ph->optim.ema > 0 && !state_save(t)) return false; /* what begins with this run begins with them */
  PhaseResult res = {.name = ph->name, .quantized = net_quantized(t->net), .train_loss = t->seen ? t->loss / (double)t->seen : NAN,
                     .train_accuracy = t->seen ? (double)t->correct / (double)t->seen : NAN, .validation_accuracy = s->validation_accuracy, .test_accuracy = s->test_accuracy,
                     .images_per_second = t->seconds > 0 ? (double)t->images / t->seconds : NAN, .net = t->net, .frozen_accuracy = NAN};
  if (!ph->keep) return t->ranks.me || draw_curves(t);
  if (t->test && net_quantized(t->net) && !frozen(t, &res)) return false;
  return t->ranks.me || (draw_curves(t) && (!t->o->phase_done || t->o->phase_done(t->o->user, &res)));
}

static bool begin_phase(Trainer *t) {
  const Phase *ph = &t->r->phase[t->phase];
  t->epoch = t->step = 0;
  t->loss = 0, t->correct = t->seen = 0;
  if (new_rows(t->r, t->phase)) {
    net_quantize(t->net, t->r, &ph->rows);
    if (!calibrate(t)) return false;
  }
  return phase_build(t) && (!ph->statistics || estimate_statistics(t)) && signs_take(t) && state_save(t);
}

static bool run_phases(Trainer *t, Show *s, bool resumed) {
  bool ok = true;
  for (; ok && t->phase < t->r->n_phase; t->phase++) {
    const Phase *ph = &t->r->phase[t->phase];
    t->seconds = 0, t->images = 0;
    s->epochs_before = 0;
    for (int i = 0; i < t->phase; i++) s->epochs_before += t->r->phase[i].epochs;
    s->validation_accuracy = s->test_accuracy = NAN;
    if (!resumed) ok = begin_phase(t);
    resumed = false;
    if (ok && t->epoch == ph->epochs) ok = test_all(t, s); /* nothing left to train: resumed at the end, or calibration alone */
    while (ok && t->epoch < ph->epochs) ok = run_epoch(t, s) && end_epoch(t, s);
    ok = ok && end_phase(t, s);
  }
  return ok;
}

bool train_run(Ctx *ctx, const Recipe *r, const TrainOptions *o) {
  Arena *arena = arena_new(ctx);
  Trainer t = {.ctx = ctx, .arena = arena, .r = r, .o = o, .shuffle = {r->seed, RNG_SHUFFLE}};
  bool ranks = ranks_start(ctx, &t.ranks);
  if (o->first) *o->first = !t.ranks.me;
  Show s = {.line = progress_new(stderr, o->quiet || !ranks || t.ranks.me), .saved = clock_seconds(), .drawn = clock_seconds(), .validation_accuracy = NAN, .test_accuracy = NAN};
  bool resumed = false;
  for (int i = 0; i < r->n_phase; i++) s.epochs_all += r->phase[i].epochs;
  bool ok = ranks && load_data(&t) && make_net(&t) && make_workers(&t) && make_folder(&t) && (!o->resume || state_load(&t, &resumed));
  if (ok) ranks_any(&t.ranks, false); /* all have read the checkpoint before the first removes or replaces it */
  if (ok && !resumed) ok = state_init(&t) && write_recipe(&t);
  if (ok && o->resume && !resumed) diag_warn(ctx, E0801, NULL, "there is no checkpoint in '%s' yet: the run starts anew", o->out);
  if (ok && !t.ranks.me) ok = (s.log = trainlog_open(ctx, path_in(&t, "log.jsonl"), resumed ? t.iteration : -1)) != NULL;
  ok = ok && run_phases(&t, &s, resumed);
  progress_clear(&s.line);
  if (!ok && ctx->cancel && *ctx->cancel && t.lock > 0 && !access(path_in(&t, "checkpoint.ckpt"), F_OK)) diag_hint(ctx, "the same command with --resume goes on");
  if (t.lock > 0) close(t.lock);
  trainlog_close(s.log);
  phase_free(&t);
  for (int i = 0; i < t.threads; i++) dnn_free(t.worker[i].dnn), ctx_free(t.worker[i].ctx);
  rt_pool_free(t.pool);
  net_free(t.net);
  arena_free(arena);
  ranks_end(&t.ranks, ok);
  return ok;
}
