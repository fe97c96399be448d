/* score: a metric over labelled data, on any engine. */
#include "tools/ends.h"
#include "tools/report.h"

#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum Metric { TOP1, TOP5, MSE, PSNR, METRIC_COUNT } Metric;
static const char *const metric_names[METRIC_COUNT] = {"top1", "top5", "mse", "psnr"};
#define MAX_CHANNELS 64

typedef struct Job {
  Cmd *c;
  Ports p;                            /* as the model has them */
  Ends ends;
  Metric metric;
  Tensor *x;                          /* [N, ...] */
  int64_t *labels, n;
  Tensor *want;                       /* mse, psnr: [N, ...] */
  double scale, mean[MAX_CHANNELS], std[MAX_CHANNELS];
  int n_mean, n_std;
  int64_t *pred;                      /* of the engine now running */
  const char **class_name; int n_classes; /* what the model says of itself */
} Job;

static bool read_data(Job *j) {
  Cmd *c = j->c;
  const char *inputs = cmd_get(c, FLAG_inputs), *labels = cmd_get(c, FLAG_labels);
  int64_t n_labels, samples, per;
  if (!inputs || !labels) return diag(c->ctx, E0701, NULL, "score needs --inputs and --labels");
  if (!(j->x = samples_read(c->ctx, inputs))) return false;
  if (j->x->t.rank < 1) return diag(c->ctx, E0702, NULL, "'%s' has no leading axis of samples", inputs);
  j->n = j->x->t.d[0].n;
  if (j->metric == MSE || j->metric == PSNR) {
    if (!(j->want = samples_read(c->ctx, labels))) return false;
    n_labels = j->want->t.rank ? j->want->t.d[0].n : 0;
  } else if (!labels_read(c->ctx, labels, &j->labels, &n_labels)) return false;
  if (n_labels < j->n) return diag(c->ctx, E0702, NULL, "%" PRId64 " labels for %" PRId64 " samples", n_labels, j->n);
  if (!cmd_int(c, FLAG_samples, j->n, 1, INT64_MAX, &samples)) return false;
  if (samples < j->n) j->n = samples;
  if (!j->n) return diag(c->ctx, E0702, NULL, "no samples");
  if (j->p.n_in != 1) return diag(c->ctx, E0702, NULL, "score is for models of one input, this has %d", j->p.n_in);
  if (!type_count(&j->p.in[0], &per)) return diag(c->ctx, E0304, NULL, "the input has an unknown dimension");
  if (per * j->x->t.d[0].n != j->x->n)
    return diag(c->ctx, E0702, NULL, "a sample has %" PRId64 " elements, the model wants %" PRId64, j->x->n / j->x->t.d[0].n, per);
  if (elem_is_code(j->p.in[0].e) && (cmd_has(c, FLAG_scale) || j->n_mean || j->n_std))
    return diag(c->ctx, E0701, NULL, "the model takes codes: --scale, --mean and --std are for models that take floats");
  int64_t channels = j->p.in[0].rank > 1 ? j->p.in[0].d[1].n : 1;
  if ((j->n_mean > 1 && j->n_mean != channels) || (j->n_std > 1 && j->n_std != channels))
    return diag(c->ctx, E0702, NULL, "--mean and --std take one number or one per channel, the model has %" PRId64, channels);
  for (int i = 0; i < j->n_std; i++) if (j->std[i] == 0) return diag(c->ctx, E0701, NULL, "--std 0 would divide by zero");
  return true;
}

/* Sample s as the model's input: (raw * scale - mean) / std in binary64, rounded once. Channel: the model's second dimension. */
static Tensor *input_of(Job *j, int64_t s) {
  const Type *t = &j->p.in[0];
  Tensor *x = tensor_new(j->c->ctx, t);
  if (!x) return NULL;
  int64_t channels = t->rank > 1 ? t->d[1].n : 1, plane = x->n / (t->rank ? t->d[0].n : 1) / (channels ? channels : 1);
  bool plain = j->scale == 1 && !j->n_mean && !j->n_std;
  for (int64_t i = 0; i < x->n; i++) {
    if (elem_is_code(t->e)) { tensor_set_i(x, i, tensor_i(j->x, s * x->n + i)); continue; }
    double v = tensor_f(j->x, s * x->n + i);
    if (!plain) {
      int64_t ch = plane ? i / plane % channels : 0;
      v *= j->scale;
      if (j->n_mean) v -= j->mean[j->n_mean == 1 ? 0 : ch];
      if (j->n_std) v /= j->std[j->n_std == 1 ? 0 : ch];
    }
    tensor_set_f(x, i, v);
  }
  return x;
}

static int64_t rank_of_label(const Tensor *y, int64_t label) { /* how many classes are ahead of it: greater, or equal and earlier */
  int64_t ahead = 0;
  double v = tensor_f(y, label);
  for (int64_t i = 0; i < y->n; i++) {
    double w = tensor_f(y, i);
    ahead += w > v || (w == v && i < label);
  }
  return ahead;
}

static int64_t argmax(const Tensor *y) {
  int64_t best = 0;
  for (int64_t i = 1; i < y->n; i++) if (tensor_f(y, i) > tensor_f(y, best)) best = i;
  return best;
}

static bool score_one(Job *j, int64_t s, const Tensor *y, double *sum) {
  if (j->metric == TOP1 || j->metric == TOP5) {
    int64_t label = j->labels[s];
    if (label < 0 || label >= y->n) return diag(j->c->ctx, E0702, NULL, "label %" PRId64 " of sample %" PRId64 " is not one of %" PRId64 " classes", label, s, y->n);
    j->pred[s] = argmax(y);
    *sum += rank_of_label(y, label) < (j->metric == TOP1 ? 1 : 5);
    return true;
  }
  int64_t base = j->want->n / j->want->t.d[0].n;
  if (base != y->n) return diag(j->c->ctx, E0702, NULL, "a label has %" PRId64 " elements, the output %" PRId64, base, y->n);
  double e = 0;
  for (int64_t i = 0; i < y->n; i++) {
    double d = tensor_f(y, i) - tensor_f(j->want, s * base + i);
    e += d * d;
  }
  *sum += e / (double)y->n;
  return true;
}

static bool score_engine(Job *j, Engine *e, double *sum, double *seconds) {
  Tensor **out = NEWN(j->c->ctx->own, Tensor *, j->p.n_out + 1);
  bool tty = isatty(2) && !cmd_has(j->c, FLAG_quiet);
  double start = clock_seconds(), shown = start;
  *sum = *seconds = 0;
  for (int64_t s = 0; s < j->n; s++) {
    Tensor *x = input_of(j, s);
    if (!x) return false;
    double t0 = clock_seconds();
    bool ok = ends_run(j->c->ctx, &j->ends, e, &x, out);
    double t1 = clock_seconds();
    *seconds += t1 - t0;
    if (ok) ok = score_one(j, s, out[0], sum);
    tensor_free(x);
    for (int o = 0; ok && o < j->p.n_out; o++) tensor_free(out[o]);
    if (!ok) return false;
    if (tty && t1 - shown > 0.5) {
      shown = t1;
      fprintf(stderr, "\r%" PRId64 " of %" PRId64 ", %.0f s left  ", s + 1, j->n, (t1 - start) / (double)(s + 1) * (double)(j->n - s - 1));
    }
  }
  if (tty) fprintf(stderr, "\r%40s\r", "");
  return true;
}

static void report(Job *j, EngineKind k, double sum, double seconds, json_t *all, bool label) {
  const char *m = metric_names[j->metric];
  double v = sum / (double)j->n, rate = seconds > 0 ? (double)j->n / seconds : 0;
  bool top = j->metric == TOP1 || j->metric == TOP5;
  if (j->metric == PSNR) v = 10 * log10(1 / v);
  if (all) {
    json_t *o = json_pack("{s:s s:s s:o s:I s:f}", "engine", engine_names[k], "metric", m, "value", json_number(top ? 100 * v : v), "samples", (json_int_t)j->n, "per_second", rate);
    if (top) json_object_set_new(o, "correct", json_integer((json_int_t)sum));
    json_array_append_new(all, o);
    return;
  }
  if (label) printf("%-5s ", engine_names[k]);
  if (top) printf("%s: %.2f %% (%.0f of %" PRId64 "), %.0f images/s\n", m, 100 * v, sum, j->n, rate);
  else printf("%s: %.6g over %" PRId64 ", %.0f images/s\n", m, v, j->n, rate);
}

/* With -v, of each class of the data: how many there are, and are right. */
static void report_classes(const Job *j) {
  int64_t most = j->n_classes - 1;
  if (j->metric > TOP5 || !cmd_has(j->c, FLAG_verbose) || cmd_has(j->c, FLAG_json)) return;
  for (int64_t i = 0; i < j->n; i++) if (j->labels[i] > most) most = j->labels[i];
  int64_t *all = NEWN(j->c->ctx->own, int64_t, 2 * (most + 1)), *right = all + most + 1;
  for (int64_t i = 0; i < j->n; i++) all[j->labels[i]]++, right[j->labels[i]] += j->pred[i] == j->labels[i];
  for (int64_t k = 0; k <= most; k++) {
    Str name = {.ctx = j->c->ctx};
    if (k < j->n_classes) str_quoted(&name, j->class_name[k]);
    if (all[k]) printf("  class %3" PRId64 " %-24s %6.2f %% (%" PRId64 " of %" PRId64 ")\n", k, name.n ? name.p : "", 100 * (double)right[k] / (double)all[k], right[k], all[k]);
    str_free(&name);
  }
}

static bool write_predictions(Job *j) {
  const char *path = cmd_get(j->c, FLAG_predictions);
  if (!path || j->metric > TOP5) return true;
  Str s = {.ctx = j->c->ctx};
  for (int64_t i = 0; i < j->n; i++) str_printf(&s, "%" PRId64 "\n", j->pred[i]);
  bool ok = file_write(j->c->ctx, path, s.p, s.n);
  str_free(&s);
  return ok;
}

int verb_score(Cmd *c) {
  Job j = {.c = c};
  Model m;
  PassOptions opt;
  EngineKind kind[ENGINE_COUNT];
  int n_kind, metric = 0;
  const char *path = cmd_model(c), *name = cmd_get(c, FLAG_metric);
  while (name && metric < METRIC_COUNT && strcmp(name, metric_names[metric])) metric++;
  if (metric == METRIC_COUNT) { diag(c->ctx, E0701, NULL, "--metric takes top1, top5, mse or psnr, not '%s'", name); return EXIT_USAGE; }
  j.metric = (Metric)metric;
  if (!path || !cmd_double(c, FLAG_scale, 1, -DBL_MAX, &j.scale) || !cmd_doubles(c, FLAG_mean, j.mean, MAX_CHANNELS, &j.n_mean) ||
      !cmd_doubles(c, FLAG_std, j.std, MAX_CHANNELS, &j.n_std) || !model_pass_options(c, &opt) || !engines_of(c, ENGINE_EVAL, kind, &n_kind))
    return EXIT_USAGE;
  if (!model_load_static(c, path, &m)) return diag_exit(c->ctx);
  j.n_classes = model_classes(c->ctx, m.s.graph, &j.class_name);
  if (!model_ends(c, &m, &opt, &j.ends)) return diag_exit(c->ctx);
  j.p = j.ends.model;
  if (!read_data(&j)) return diag_exit(c->ctx);
  int64_t *first = NULL;
  json_t *all = cmd_has(c, FLAG_json) ? json_array() : NULL;
  bool ok = true, same = true;
  for (int k = 0; ok && k < n_kind; k++) {
    double sum, seconds;
    j.pred = NEWN(c->ctx->own, int64_t, j.n);
    Engine *e = engine_for(c->ctx, kind[k], &m.s, &opt);
    ok = e && score_engine(&j, e, &sum, &seconds);
    if (ok) report(&j, kind[k], sum, seconds, all, n_kind > 1), report_classes(&j);
    engine_free(e);
    if (first && ok) same = same && !memcmp(first, j.pred, (size_t)j.n * sizeof *first);
    if (!first) first = j.pred;
  }
  if (all && json_array_size(all) == 1 && n_kind == 1) json_print(json_incref(json_array_get(all, 0)));
  else if (all && ok) json_print(json_incref(all));
  json_decref(all);
  if (ok) ok = write_predictions(&j);
  if (ok && !same) ok = diag(c->ctx, E0601, NULL, "the engines do not predict the same classes");
  ends_free(&j.ends);
  model_free(&m);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
