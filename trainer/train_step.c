/* Steps: shards in parallel, then the sum of their gradients in one tree and the optimizer, in parallel over elements. */
#include "trainer/train_impl.h"

#include "ir/math.h"
#include "trainer/extras.h"
#include "trainer/quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Which of the pool's threads has the piece of n items that begins here (rt_pool_for's partition); 0 in a serial call. */
static int piece_of(const Trainer *t, size_t n, size_t begin, size_t end) {
  for (int i = 0; i < t->threads; i++)
    if (n * (size_t)i / (size_t)t->threads == begin && n * (size_t)(i + 1) / (size_t)t->threads == end) return i;
  return 0;
}

bool workers_ok(Trainer *t) {
  for (int i = 0; i < t->threads; i++) {
    Worker *w = &t->worker[i];
    if (!w->failed) continue;
    const Diag *d = w->ctx->diags;
    return diag(t->ctx, d ? d->code : E0902, d ? &d->loc : NULL, "%s", d ? d->text : "a worker failed");
  }
  return true;
}

/* Plans */

static bool plan(Worker *w, Exec **e, Exec *made) {
  exec_free(*e);
  *e = made;
  w->failed = w->failed || !*e;
  return *e != NULL;
}

static void show_plan(const Trainer *t, const Exec *e) {
  if (!t->o->verbose || t->ranks.me) return;
  Str s = {.ctx = t->ctx};
  exec_print(&s, e);
  fputs(s.p ? s.p : "", stderr);
  str_free(&s);
}

/* n: the net's own, or all of them. */
static void bind_params(const Trainer *t, Exec *e, int n, bool averages) {
  for (int p = 0; p < n; p++) exec_bind(e, 1 + p, averages && t->group[p].average ? t->group[p].average : t->net->p[p].value);
}

Exec *params_run(Trainer *t, const Graph *g) {
  Worker *w = t->worker;
  Exec *e = NULL;
  if (plan(w, &e, exec_new(w->ctx, w->dnn, g))) {
    bind_params(t, e, t->net->n_p - t->net->n_aux, false);
    if (exec_run(e)) return e;
    w->failed = true;
  }
  exec_free(e);
  workers_ok(t);
  return NULL;
}

/* Parameters, one after another: values stay in the net; gradients of a shard, and optimizer state, lie at the same offsets. */
static void lay_out(Trainer *t) {
  Arena *a = t->phase_arena;
  t->offset = NEWN(a, int64_t, t->net->n_p + 1);
  t->group = NEWN(a, ParamGroup, t->net->n_p + 1);
  t->stat_count = NEWN(a, double, t->net->n_p + 1);
  for (int p = 0; p < t->net->n_p; p++) {
    const Param *q = &t->net->p[p];
    t->offset[p + 1] = t->offset[p] + (q->role != PARAM_TABLE || t->tg.out_sum[p] >= 0 ? q->n : 0);
    t->group[p] = (ParamGroup){.name = q->name, .n = q->n, .value = q->value, .state = NEWN(a, float, state_floats(t, p) + 1),
                               .grad_mul = q->grad_mul, .decay_mul = q->decay_mul};
    if (t->r->phase[t->phase].optim.ema > 0 && t->tg.out_grad[p] >= 0 && !q->taken) {
      t->group[p].average = NEWN(a, float, q->n + 1);
      memcpy(t->group[p].average, q->value, (size_t)q->n * sizeof *q->value);
    }
    int out = t->tg.out_mean[p] >= 0 ? t->tg.out_mean[p] : t->tg.out_var[p];
    int64_t n = 0;
    if (out >= 0 && type_count(&t->tg.g->outs[out].v->in[0]->t, &n)) t->stat_count[p] = (double)n / (double)q->n;
  }
  t->n_values = t->offset[t->net->n_p];
  t->grad = NEWN(a, const float *, t->net->n_p + 1);
  for (int64_t s = 0; s < t->r->shards; s++) {
    t->shard[s].grad = NEWN(a, float, t->n_values + 1);
    t->shard[s].stat = NEWN(a, float, t->n_values + 1);
  }
  for (int p = 0; p < t->net->n_p; p++) t->grad[p] = t->shard[0].grad + t->offset[p];
}

bool phase_build(Trainer *t) {
  const Phase *ph = &t->r->phase[t->phase];
  phase_free(t);
  t->phase_arena = arena_new(t->ctx);
  t->net->ssp = ph->ssp.start > 0 ? &ph->ssp : NULL;
  if (!net_train_graph(t->net, t->shard_size, t->r->batch, ph->quant && ph->alq.mode == ALQ_PRUNE, t->phase_arena, &t->tg)) { t->tg.g = NULL; return false; }
  t->precision = NEWN(t->phase_arena, float, t->tg.n_precision + 1);
  t->test_graph = net_bind(t->net, t->shard_size, true);
  lay_out(t);
  for (int i = 0; i < t->threads; i++) {
    Worker *w = &t->worker[i];
    if (!plan(w, &w->train, exec_new_as(w->ctx, w->dnn, t->tg.g, &(ExecOptions){.like = i ? t->worker->train : NULL})) ||
        !plan(w, &w->test, exec_new_as(w->ctx, w->dnn, t->test_graph, &(ExecOptions){.like = i ? t->worker->test : NULL}))) return workers_ok(t);
    bind_params(t, w->train, t->net->n_p, false), bind_params(t, w->test, t->net->n_p - t->net->n_aux, true);
    exec_bind(w->train, 0, w->x), exec_bind(w->test, 0, w->x);
    for (int k = 0; k < t->tg.n_precision; k++) exec_bind(w->train, t->tg.arg_precision + k, &t->precision[k]);
    exec_bind(w->train, t->tg.g->n_args - 1, w->label64);
  }
  t->last_train = exec_channels_last(t->worker->train, 0);
  show_plan(t, t->worker->train);
  return true;
}

void phase_free(Trainer *t) {
  for (int i = 0; i < t->threads; i++) {
    exec_free(t->worker[i].train), exec_free(t->worker[i].test);
    t->worker[i].train = t->worker[i].test = NULL;
  }
  graph_free(t->tg.g), graph_free(t->test_graph);
  t->tg.g = t->test_graph = NULL;
  if (t->phase_arena) arena_free(t->phase_arena);
  t->phase_arena = NULL;
}

void take_averages(Trainer *t) {
  for (int p = 0; p < t->net->n_p; p++) if (t->group[p].average) memcpy(t->net->p[p].value, t->group[p].average, (size_t)t->net->p[p].n * sizeof(float));
}

/* One batch */

static void run_shard(Trainer *t, Worker *w, int64_t s) {
  const int32_t *index = t->order + t->step * t->r->batch + s * t->shard_size;
  Shard *sh = &t->shard[s];
  Transform tr = t->augment;
  tr.layout = t->last_train ? LAYOUT_NHWC : LAYOUT_NCHW;
  int64_t epoch = t->iteration / t->per_epoch; /* over all phases */
  dataset_batch(t->train, &tr, index, t->shard_size, epoch, w->x, w->label);
  for (int64_t i = 0; i < t->shard_size; i++) w->label64[i] = w->label[i];
  if (!exec_run(w->train)) { w->failed = true; return; }
  const float *loss = exec_out(w->train, t->tg.out_loss), *correct = exec_out(w->train, t->tg.out_correct);
  sh->loss = 0, sh->correct = 0;
  for (int64_t i = 0; i < t->shard_size; i++) sh->loss += (double)loss[i], sh->correct += correct[i] != 0;
  for (int p = 0; p < t->net->n_p; p++) {
    int g = t->tg.out_grad[p], m = t->tg.out_mean[p] >= 0 ? t->tg.out_mean[p] : t->tg.out_var[p] >= 0 ? t->tg.out_var[p] : t->tg.out_sum[p];
    size_t bytes = (size_t)t->net->p[p].n * sizeof(float);
    if (g >= 0) memcpy(sh->grad + t->offset[p], exec_out(w->train, g), bytes);
    if (m >= 0) memcpy(sh->stat + t->offset[p], exec_out(w->train, m), bytes);
  }
}

/* This rank's shards: so many, from `me` times as many on. */
static int64_t own_shards(const Trainer *t) { return t->r->shards / t->ranks.count; }

static void shards_task(void *arg, size_t begin, size_t end) {
  Trainer *t = arg;
  Worker *w = &t->worker[piece_of(t, (size_t)own_shards(t), begin, end)];
  for (size_t s = begin; s < end && !w->failed; s++) run_shard(t, w, own_shards(t) * t->ranks.me + (int64_t)s);
}

typedef struct Sweep { Trainer *t; OptimStep step; double done; } Sweep; /* done: part of the phase before the step, 0 .. 1 */
enum { STRIP = 2048 }; /* elements summed over shards while they are in the first cache */

/* Shards that ranks sum up before they exchange them: their own, where those are a subtree. */
static int64_t subtree(const Trainer *t) {
  int64_t n = own_shards(t);
  return t->ranks.count > 1 && !(n & (n - 1)) ? n : 1;
}

/* Sums of shards, in the tree ((0+1)+(2+3))+.., into shard `first` of `count`; from a stride on: what is below is there. */
static void tree_sum(Trainer *t, bool stat, int64_t first, int64_t count, int64_t stride, int64_t begin, int64_t end) {
  for (; stride < count; stride *= 2)
    for (int64_t s = first; s + stride < first + count; s += 2 * stride) {
      float *restrict a = stat ? t->shard[s].stat : t->shard[s].grad;
      const float *b = stat ? t->shard[s + stride].stat : t->shard[s + stride].grad;
      for (int64_t i = begin; i < end; i++) a[i] += b[i];
    }
}

/* running = (1 - part) running + part batch, the batch being its shards added up, its variance unbiased. */
static void update_statistics(Trainer *t, int p, double part, int64_t begin, int64_t end) {
  if (t->tg.out_mean[p] < 0 && t->tg.out_var[p] < 0) return;
  tree_sum(t, true, 0, t->r->shards, subtree(t), t->offset[p] + begin, t->offset[p] + end);
  const float *sum = t->shard[0].stat + t->offset[p];
  double n = t->stat_count[p], scale = (t->tg.out_var[p] >= 0 && n > 1 ? n / (n - 1) : 1) / (double)t->r->shards;
  float *v = t->net->p[p].value;
  for (int64_t i = begin; i < end; i++) v[i] = (float)((1 - part) * (double)v[i] + part * scale * (double)sum[i]);
}

/* What is left of a prior after this part of the phase. */
static double prior_factor(PriorDecay decay, double done) {
  return decay == PRIOR_LINEAR ? 1 - done : decay == PRIOR_COSINE ? (1 + math_eval(S_COS, 0x1.921fb54442d18p+1 * done, 0)) / 2 : 1;
}

static void update_range(const Sweep *u, int p, int64_t begin, int64_t end) {
  Trainer *t = u->t;
  Param *q = &t->net->p[p];
  int64_t at = t->offset[p];
  if (q->role == PARAM_STAT) {
    update_statistics(t, p, 0.1, begin, end);
    return;
  }
  if (t->tg.out_sum[p] >= 0) {
    tree_sum(t, true, 0, t->r->shards, subtree(t), at + begin, at + end);
    memcpy(q->value + begin, t->shard[0].stat + at + begin, (size_t)(end - begin) * sizeof(float));
  }
  if (t->tg.out_grad[p] < 0) return;
  tree_sum(t, false, 0, t->r->shards, subtree(t), at + begin, at + end);
  if (q->taken) return;
  if (q->prior > 0) {
    float *restrict grad = t->shard[0].grad + at, alpha = (float)((double)q->prior * prior_factor(q->prior_decay, u->done));
    for (int64_t i = begin; i < end; i++) grad[i] -= q->value[i] < 0 ? alpha : 0;
  }
  optim_step(&u->step, &t->group[p], t->shard[0].grad + at, begin, end);
  if (q->least > 0) for (int64_t i = begin; i < end; i++) if (!(q->value[i] >= q->least)) q->value[i] = q->least;
  if (t->group[p].average) optim_average(&u->step, &t->group[p], begin, end);
}

static void update_task(void *arg, size_t begin, size_t end) {
  const Sweep *u = arg;
  const Trainer *t = u->t;
  for (int p = 0; p < t->net->n_p; p++) {
    int64_t lo = (int64_t)begin - t->offset[p], hi = (int64_t)end - t->offset[p], n = t->offset[p + 1] - t->offset[p];
    for (int64_t i = lo < 0 ? 0 : lo; i < hi && i < n; i += STRIP) {
      int64_t stop = i + STRIP < hi ? i + STRIP : hi;
      update_range(u, p, i, stop < n ? stop : n);
    }
  }
}

/* The weights that quantizers step themselves, by quantizer. */
static void quantizers_update(Trainer *t, const Phase *ph, int64_t iteration, double lr) {
  bool due[QUANTIZER_COUNT] = {false};
  for (int k = 0; k < t->net->n_site; k++) if (t->net->site[k].weight && site_ops(&t->net->site[k])->update) due[t->net->site[k].row->weight.q] = true;
  for (int q = 0; q < QUANTIZER_COUNT; q++)
    if (due[q]) quantizer_ops[q]->update(&(Update){t->net, t->r, ph, iteration, t->per_epoch, lr, t->grad, rt_pool_for, t->pool}, (Quantizer)q);
}

static void subtree_task(void *arg, size_t begin, size_t end) {
  Trainer *t = arg;
  for (int64_t i = (int64_t)begin; i < (int64_t)end; i += STRIP)
    for (int stat = 0; stat < 2; stat++)
      tree_sum(t, stat, own_shards(t) * t->ranks.me, subtree(t), 1, i, i + STRIP < (int64_t)end ? i + STRIP : (int64_t)end);
}

/* All ranks get the subtrees of all, and add them up in the same order as one would. */
static void exchange(Trainer *t) {
  if (t->ranks.count == 1) return;
  rt_pool_for(t->pool, (size_t)t->n_values, subtree_task, t);
  for (int64_t s = 0; s < t->r->shards; s++) {
    Shard *sh = &t->shard[s];
    int owner = (int)(s / own_shards(t));
    ranks_send(&t->ranks, owner, &sh->loss, sizeof sh->loss), ranks_send(&t->ranks, owner, &sh->correct, sizeof sh->correct);
    if (s % subtree(t)) continue;
    ranks_send(&t->ranks, owner, sh->grad, t->n_values * (int64_t)sizeof(float));
    ranks_send(&t->ranks, owner, sh->stat, t->n_values * (int64_t)sizeof(float));
  }
}

/* The batch at t->step: what each shard leaves, of all ranks. */
static bool run_shards(Trainer *t) {
  rt_pool_for(t->pool, (size_t)own_shards(t), shards_task, t);
  if (!workers_ok(t)) return false;
  exchange(t);
  return true;
}

bool train_batch(Trainer *t) {
  const Phase *ph = &t->r->phase[t->phase];
  int64_t i = t->epoch * t->per_epoch + t->step;
  if (t->tg.n_precision) ssp_draw(&ph->ssp, t->r->seed, t->iteration, (double)i / (double)(ph->epochs * t->per_epoch), t->tg.n_precision, t->precision);
  if (!run_shards(t)) return false;
  Sweep u = {t, optim_begin(&ph->optim, schedule_lr(&ph->lr, i, t->per_epoch, (double)ph->epochs), i + 1), (double)i / (double)(ph->epochs * t->per_epoch)};
  rt_pool_for(t->pool, (size_t)t->n_values, update_task, &u);
  quantizers_update(t, ph, i, u.step.lr);
  for (int k = 0; k < t->net->n_site; k++) {
    const QuantizerOps *ops = site_ops(&t->net->site[k]);
    if (ops->after) ops->after(&(After){t->net, &t->net->site[k], t->r, ph, i, t->per_epoch});
  }
  double loss = 0;
  for (int64_t s = 0; s < t->r->shards; s++) loss += t->shard[s].loss, t->correct += t->shard[s].correct;
  t->loss += loss;
  t->seen += t->r->batch;
  t->step++, t->iteration++;
  return isfinite(loss) || diag(t->ctx, E0603, NULL, "the loss is no longer finite after %lld iterations: a smaller learning rate may help", (long long)t->iteration);
}

bool estimate_statistics(Trainer *t) {
  int64_t n = t->r->phase[t->phase].statistics < t->per_epoch ? t->r->phase[t->phase].statistics : t->per_epoch;
  rng_permutation(t->shuffle, UINT64_C(1) << 41, t->train->n, t->order);
  for (int k = 0; k < t->tg.n_precision; k++) t->precision[k] = 1; /* everything is rounded, as in tests */
  for (; t->step < n; t->step++) {
    if (ranks_any(&t->ranks, t->ctx->cancel && *t->ctx->cancel)) return diag(t->ctx, E0602, NULL, "interrupted while estimating statistics");
    if (!run_shards(t)) return false;
    for (int p = 0; p < t->net->n_p; p++)
      if (t->net->p[p].role == PARAM_STAT) update_statistics(t, p, 1 / (double)(t->step + 1), 0, t->net->p[p].n);
  }
  t->step = 0;
  return true;
}

/* Evaluation */

typedef struct Test { Trainer *t; Exec **e; const Dataset *d; bool u8, last; int32_t *pred; int64_t first, n_chunks, *correct; } Test; /* chunks of this rank: n_chunks from first */

static void test_chunk(Test *test, Worker *w, Exec *e, int64_t chunk) {
  Trainer *t = test->t;
  int64_t size = t->shard_size, from = chunk * size, n = test->d->n - from < size ? test->d->n - from : size, image = image_floats(t);
  int32_t index[4096];
  for (int64_t i = 0; i < size; i++) index[i] = (int32_t)(from + (i < n ? i : n - 1)); /* the last repeats */
  if (test->u8) {
    uint8_t *x = (uint8_t *)w->x;
    for (int64_t i = 0; i < size; i++) memcpy(x + i * image, test->d->image + index[i] * image, (size_t)image);
    for (int64_t i = 0; i < n; i++) w->label[i] = test->d->label[from + i];
  } else {
    Transform tr = t->plain;
    tr.layout = test->last ? LAYOUT_NHWC : LAYOUT_NCHW;
    dataset_batch(test->d, &tr, index, size, 0, w->x, w->label);
  }
  if (!exec_run(e)) { w->failed = true; return; }
  const float *y = exec_out(e, 0);
  for (int64_t i = 0; i < n; i++) {
    int best = 0;
    for (int k = 1; k < t->net->classes; k++) if (y[i * t->net->classes + k] > y[i * t->net->classes + best]) best = k;
    if (test->pred) test->pred[from + i] = best;
    test->correct[chunk] += best == w->label[i];
  }
}

/* One rank alone may stop within a test: of several all must come to its end. */
static bool test_stopped(const Trainer *t) { return t->ranks.count == 1 && t->ctx->cancel && *t->ctx->cancel; }

static void test_task(void *arg, size_t begin, size_t end) {
  Test *test = arg;
  int piece = piece_of(test->t, (size_t)test->n_chunks, begin, end);
  Worker *w = &test->t->worker[piece];
  for (size_t c = begin; c < end && !w->failed && !test_stopped(test->t); c++) test_chunk(test, w, test->e[piece], test->first + (int64_t)c);
}

bool evaluate(Trainer *t, const Graph *g, const Dataset *d, bool u8, int32_t *predictions, double *accuracy) {
  Arena *scratch = arena_new(t->ctx);
  Test test = {.t = t, .d = d, .u8 = u8, .pred = predictions, .e = NEWN(scratch, Exec *, t->threads), .first = 0};
  int64_t all = (d->n + t->shard_size - 1) / t->shard_size;
  test.correct = NEWN(scratch, int64_t, all);
  test.first = all * t->ranks.me / t->ranks.count, test.n_chunks = all * (t->ranks.me + 1) / t->ranks.count - test.first;
  if (predictions) memset(predictions, 0, (size_t)d->n * sizeof *predictions);
  bool own = g != t->test_graph;
  for (int i = 0; i < t->threads; i++) {
    Worker *w = &t->worker[i];
    ExecOptions o = {.exact = true, .machine = t->o->machine, .like = i ? test.e[0] : NULL};
    if (own && plan(w, &test.e[i], exec_new_as(w->ctx, w->dnn, g, &o))) exec_bind(test.e[i], 0, w->x);
    if (!own) test.e[i] = w->test;
  }
  bool ok = workers_ok(t);
  if (ok) test.last = exec_channels_last(test.e[0], 0);
  if (ok && own) show_plan(t, test.e[0]);
  if (ok) rt_pool_for(t->pool, (size_t)test.n_chunks, test_task, &test);
  ok = ok && workers_ok(t);
  if (ok && test_stopped(t)) ok = diag(t->ctx, E0602, NULL, "interrupted while testing");
  int64_t correct = 0;
  for (int64_t c = 0; c < all; c++) correct += test.correct[c];
  if (ok) ranks_sum(&t->ranks, &correct);
  if (ok && predictions) ranks_join(&t->ranks, predictions, d->n);
  *accuracy = (double)correct / (double)d->n;
  for (int i = 0; own && i < t->threads; i++) exec_free(test.e[i]);
  arena_free(scratch);
  return ok;
}
