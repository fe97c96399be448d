/* Numbers by name that an epoch is logged with, beside loss and accuracy; of each layer, and as FAMILY.all over the layers of fewer than
 * 8 bits, or over all where there are none (networks in float):
 *   wsvr   % of the weights whose sign is the opposite of that in the snapshot before (S3, section 5.2)
 *   wsvr0  the same, but 0 is a sign, too
 *   wlvr   % of the weights that are 0; of 8 bits and more, |w| below 0.03 of the layer's greatest
 *   bits   that a weight's codes take on average: of ALQ its alphas, which get fewer
 * and what quantizers add. Weights are those that the layer computes with. Signs are taken when a phase begins and every sign_epochs
 * epochs in it; they are part of a checkpoint. */
#include "trainer/train_impl.h"

#include "trainer/quantizer.h"

#include <math.h>
#include <string.h>

void metric_add(Metrics *m, const char *family, const char *of, double value) {
  Metric row = {arena_printf(m->arena, "%s.%s", family, of), value};
  vec_push(m->arena, m, row);
}

int64_t signs_count(const Net *net) {
  int64_t n = 0;
  for (int p = 0; p < net->n_p; p++) if (net->p[p].role == PARAM_WEIGHT) n += net->p[p].n;
  return n;
}

/* By parameter: the weights that its layer computes with, in the arena; NULL of what are none. */
static const float **effective(Trainer *t, Arena *a) {
  const Net *net = t->net;
  const float **w = NEWN(a, const float *, net->n_p + 1);
  int sites = 0, at = 0;
  for (int p = 0; p < net->n_p; p++) if (net->p[p].role == PARAM_WEIGHT) w[p] = net->p[p].value;
  for (int i = 0; i < net->n_site; i++) sites += net->site[i].weight;
  if (!sites) return w;
  Graph *g = net_weight_graph(net);
  Exec *e = params_run(t, g);
  for (int i = 0; e && i < net->n_site; i++) {
    const Site *s = &net->site[i];
    if (!s->weight) continue;
    float *y = NEWN(a, float, net->p[s->w].n);
    memcpy(y, exec_out(e, at++), (size_t)net->p[s->w].n * sizeof *y);
    w[s->w] = y;
  }
  if (!e) w = NULL;
  exec_free(e);
  graph_free(g);
  return w;
}

static int8_t sign_of(float v) { return (int8_t)((v > 0) - (v < 0)); }

/* Sums over one layer, or over several. */
typedef struct Tally { double n, flips, changes, low, bits; } Tally;

static void add_tally(Tally *to, const Tally *x) {
  to->n += x->n, to->flips += x->flips, to->changes += x->changes, to->low += x->low, to->bits += x->bits;
}

static Tally tally(const float *w, int64_t n, double bits, const int8_t *before) {
  Tally t = {.n = (double)n, .bits = bits * (double)n};
  float most = 0;
  for (int64_t i = 0; i < n; i++) most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
  float low = bits < 8 ? 0 : 0.03f * most;
  for (int64_t i = 0; i < n; i++) {
    int8_t s = sign_of(w[i]);
    t.low += fabsf(w[i]) < low || w[i] == 0;
    t.changes += s != before[i], t.flips += s * before[i] < 0;
  }
  return t;
}

static void put_tally(Metrics *m, const char *of, const Tally *t, bool signs) {
  if (t->n == 0) return;
  if (signs) metric_add(m, "wsvr", of, 100 * t->flips / t->n), metric_add(m, "wsvr0", of, 100 * t->changes / t->n);
  metric_add(m, "wlvr", of, 100 * t->low / t->n);
  metric_add(m, "bits", of, t->bits / t->n);
}

static void keep_signs(const Net *net, const float *const *w, int8_t *to) {
  for (int p = 0; p < net->n_p; p++)
    for (int64_t i = 0; w[p] && i < net->p[p].n; i++) *to++ = sign_of(w[p][i]);
}

bool signs_take(Trainer *t) {
  Arena *scratch = arena_new(t->ctx);
  const float **w = effective(t, scratch);
  if (w) keep_signs(t->net, w, t->sign);
  arena_free(scratch);
  return w != NULL;
}

bool metrics_collect(Trainer *t, Metrics *m) {
  const Net *net = t->net;
  bool signs = (t->epoch + 1) % t->r->sign_epochs == 0;
  const float **w = effective(t, m->arena);
  if (!w) return false;
  Tally all = {0}, low = {0};
  const int8_t *before = t->sign;
  for (int p = 0; p < net->n_p; p++) {
    if (!w[p]) continue;
    double bits = net_code_bits(net, p);
    Tally one = tally(w[p], net->p[p].n, bits, before);
    before += net->p[p].n;
    if (p >= net_n_plain(net)) continue; /* of branches that only training has */
    put_tally(m, net_layer_name(net, p, m->arena), &one, signs);
    add_tally(&all, &one);
    if (bits < 8) add_tally(&low, &one);
  }
  put_tally(m, "all", low.n > 0 ? &low : &all, signs);
  for (int i = 0; i < net->n_site; i++) if (site_ops(&net->site[i])->metrics) site_ops(&net->site[i])->metrics(net, &net->site[i], m);
  if (signs) keep_signs(net, w, t->sign);
  return true;
}
