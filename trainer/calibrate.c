/* First values of quantizers: of weights from the weights as they are, of inputs from calibration batches of one shard each, in the layers' order.
 *
 * An input is measured behind the quantizers before it, as these begin. In the first batch that goes input by input, and what is computed
 * for one is there for the next (turns.h), so that the batch takes one run; from the second on all inputs are measured in one run behind
 * the quantizers as the batches before left them. */
#include "trainer/train_impl.h"

#include "trainer/quantizer.h"
#include "trainer/turns.h"

typedef struct Calibration {
  Trainer *t;
  const Graph *g;          /* output i: ActStats of input i */
  const void **arg;        /* of g */
  const Site **act;        /* [g->n_outs] */
  int64_t batches;
  ActStats *stats;         /* [inputs, batches] */
  Transform tr;
} Calibration;

static bool batch_of(Calibration *c, int64_t b) {
  Trainer *t = c->t;
  Worker *w = t->worker;
  if (t->ctx->cancel && *t->ctx->cancel) return diag(t->ctx, E0602, NULL, "interrupted while calibrating");
  dataset_batch(t->train, &c->tr, t->order + b * t->shard_size, t->shard_size, 0, w->x, w->label);
  return true;
}

static void take(const Calibration *c, int i, int64_t b, const float *v) {
  const Site *s = c->act[i];
  ActStats *of = c->stats + i * c->batches;
  of[b] = (ActStats){(double)v[0], (double)v[1], (double)v[2], (double)v[3], (double)v[4]};
  if (site_ops(s)->init_act) site_ops(s)->init_act(c->t->net, s, of, (int)b + 1);
}

static bool take_first(void *user, int i, const void *value) {
  take(user, i, 0, value);
  return true;
}

static bool first_batch(Calibration *c) {
  Worker *w = c->t->worker;
  if (!batch_of(c, 0)) return false;
  w->failed = !run_in_turns(w->ctx, w->dnn, c->g, c->arg, take_first, c);
  return workers_ok(c->t);
}

static bool other_batches(Calibration *c) {
  Worker *w = c->t->worker;
  Exec *e = exec_new(w->ctx, w->dnn, c->g);
  w->failed = !e;
  for (int i = 0; e && i < c->g->n_args; i++) exec_bind(e, i, c->arg[i]);
  bool ok = e != NULL;
  if (ok) c->tr.layout = exec_channels_last(e, 0) ? LAYOUT_NHWC : LAYOUT_NCHW;
  for (int64_t b = 1; ok && b < c->batches; b++) {
    if (!(ok = batch_of(c, b))) break;
    w->failed = !(ok = exec_run(e));
    for (int i = 0; ok && i < c->g->n_outs; i++) take(c, i, b, exec_out(e, i));
  }
  exec_free(e);
  return workers_ok(c->t) && ok;
}

bool calibrate(Trainer *t) {
  Net *net = t->net;
  Arena *scratch = arena_new(t->ctx);
  Graph *g = net_calibration_graph(net, t->shard_size);
  Calibration c = {.t = t, .g = g, .arg = NEWN(scratch, const void *, g->n_args + 1), .act = NEWN(scratch, const Site *, net->n_site + 1), .tr = t->plain};
  int64_t all = t->train->n / t->shard_size;
  c.batches = t->r->phase[t->phase].calibrate * t->r->shards;
  if (c.batches > all) c.batches = all; /* each image once */
  c.stats = NEWN(scratch, ActStats, g->n_outs * c.batches + 1);
  c.arg[0] = t->worker->x;
  for (int i = 1; i < g->n_args; i++) c.arg[i] = net->p[i - 1].value;
  for (int i = 0, at = 0; i < net->n_site; i++) {
    const Site *s = &net->site[i];
    if (!s->weight) c.act[at++] = s;
    else if (site_ops(s)->init_weight) site_ops(s)->init_weight(net, s);
  }
  rng_permutation(t->shuffle, UINT64_C(1) << 40, t->train->n, t->order);
  bool ok = first_batch(&c) && (c.batches < 2 || other_batches(&c));
  graph_free(g);
  arena_free(scratch);
  return ok;
}
