/* ALQ (Z. Qu et al., CVPR 2020; alq.h has its arithmetic): weights in groups, each a sum of up to `bits` signed alphas. The layer's weights
 * are those sums: the graph reads them as they are, and no float weights lie behind them but in the two STE modes. Groups (options):
 *   kernel    the taps of one input channel of one output channel          part   a channel's whole sum in `parts` equal parts of its inputs
 *   pixel     the input channels at one tap of one output channel          channel  all of an output channel
 * What a phase does with them is its `alq` (alq.h, AlqMode). prune takes alphas of the whole network, those whose loss seems least. */
#include "trainer/quantizer.h"
#include "trainer/rng.h"

#include <math.h>
#include <stdlib.h>

enum { GROUP_CHANNEL, GROUP_KERNEL, GROUP_PIXEL, GROUP_PART };

/* Where a layer's groups lie: element j of group q of row o is weight row[o] + offset[q*n + j]. */
typedef struct Groups { int64_t rows, each, n, all; int64_t *row, *offset; float *scratch; } Groups; /* each: groups of a row; all = rows * each; scratch: [all, 2, n] */

/* Parameters in the order they are put; those of elements are in the groups' order. */
enum { CODE, LATENT, M, V, TOP, ALPHA, ALPHA_M, ALPHA_V, ALPHA_TOP, COUNT, CLOCK, TABLES };
enum { CLOCK_STEPS, CLOCK_START, CLOCKS }; /* steps taken; alphas of the layer when the phase of pruning began */

static float *table(const Net *net, const Site *s, int which) { return site_param(net, s, which)->value; }

static bool is_output(const Node *layer, int k, int d) {
  for (int i = 0; i < layer->t.rank; i++) if (layer->a.iters->acc[k][d].coef[i]) return true;
  return false;
}

/* Channels and taps of the weights' sums: the first dimension that is no output, and the others. */
static void sums_of(const Node *layer, int k, int64_t *channels, int64_t *taps) {
  *channels = 0, *taps = 1;
  for (int d = 0; d < layer->in[k]->t.rank; d++) {
    int64_t n = layer->in[k]->t.d[d].n;
    if (is_output(layer, k, d)) continue;
    if (*channels) *taps *= n;
    else *channels = n;
  }
}

static const char *alq_wrong(const Node *layer, int k, const QuantRow *row, bool weight, bool up) {
  int64_t channels, taps;
  if (!weight) return up ? NULL : "its input may be negative, and the levels of alq begin at 0";
  sums_of(layer, k, &channels, &taps);
  if (!channels) return "its weights have no inputs that are summed";
  if (row_option(row, "parts", 0) > 0 && (int)row_option(row, "groups", GROUP_CHANNEL) != GROUP_PART) return "parts are only of groups: part";
  switch ((int)row_option(row, "groups", GROUP_CHANNEL)) {
  case GROUP_KERNEL: return taps > 1 ? NULL : "groups: kernel, but its kernel has one tap";
  case GROUP_PART: {
    double parts = row_option(row, "parts", 2);
    return parts == floor(parts) && channels % (int64_t)parts == 0 ? NULL : "parts do not divide its inputs";
  }
  default: return NULL;
  }
}

/* Row and offset tables of the weights at operand k. */
static const Groups *groups_of(Arena *a, const Node *layer, int k, const QuantRow *row) {
  Groups *g = NEW(a, Groups);
  const Type *t = &layer->in[k]->t;
  int64_t stride[MAX_RANK], channels, taps, at[MAX_RANK] = {0};
  int way = (int)row_option(row, "groups", GROUP_CHANNEL), first = -1;
  sums_of(layer, k, &channels, &taps);
  stride[t->rank - 1] = 1;
  for (int d = t->rank - 2; d >= 0; d--) stride[d] = stride[d + 1] * t->d[d + 1].n;
  g->rows = 1;
  for (int d = 0; d < t->rank; d++) if (is_output(layer, k, d)) g->rows *= t->d[d].n;
  g->each = way == GROUP_KERNEL ? channels : way == GROUP_PIXEL ? taps : way == GROUP_PART ? (int64_t)row_option(row, "parts", 2) : 1;
  g->n = channels * taps / g->each;
  g->all = g->rows * g->each;
  g->scratch = NEWN(a, float, 2 * g->all * g->n + 1);
  g->row = NEWN(a, int64_t, g->rows), g->offset = NEWN(a, int64_t, channels * taps);
  for (int64_t o = 0; o < g->rows; o++) {
    for (int d = 0; d < t->rank; d++) g->row[o] += at[d] * stride[d];
    for (int d = t->rank - 1; d >= 0; d--) {
      if (!is_output(layer, k, d)) continue;
      if (++at[d] < t->d[d].n) break;
      at[d] = 0;
    }
  }
  for (int d = 0; d < t->rank; d++) if (first < 0 && !is_output(layer, k, d)) first = d;
  for (int64_t i = 0; i < channels * taps; i++) {
    int64_t c = i / taps, tap = i % taps, rest = tap, flat = c * stride[first];
    for (int d = t->rank - 1; d > first; d--) if (!is_output(layer, k, d)) flat += rest % t->d[d].n * stride[d], rest /= t->d[d].n;
    g->offset[way == GROUP_PIXEL ? tap * channels + c : i] = flat;
  }
  return g;
}

static Node *alq_weight(Put *p) {
  Site *s = p->site;
  for (const Site *other = p->net->site; other < s; other++) /* weights that layers share are quantized once */
    if (other->weight && other->w == s->w && site_ops(other) == site_ops(s)) {
      s->own = other->own, s->first = other->first, s->n = other->n;
      return p->x;
    }
  const Groups *g = groups_of(p->net->arena, p->layer, p->k, s->row);
  static const char *const name[TABLES] = {"alq_code", "alq_latent", "alq_m", "alq_v", "alq_top", "alq_alpha", "alq_alpha_m", "alq_alpha_v", "alq_alpha_top", "alq_count", "alq_clock"};
  s->own = g;
  for (int i = 0; i < TABLES; i++) {
    Type t = type_make(F32, 1, (int64_t[]){i < ALPHA ? g->all * g->n : i < COUNT ? g->all * ALQ_BITS : i == COUNT ? g->all : CLOCKS});
    put_param(p, name[i], PARAM_TABLE, &t, 0);
  }
  return p->x;
}

/* A group's numbers, its weights and gradient gathered into buffers of g->n. */
static AlqGroup group_at(const Net *net, const Site *s, int64_t q, float *w) {
  const Groups *g = s->own;
  int64_t e = q * g->n, a = q * ALQ_BITS;
  return (AlqGroup){.n = g->n, .k = (int)table(net, s, COUNT)[q], .w = w, .code = table(net, s, CODE) + e, .latent = table(net, s, LATENT) + e,
                    .m = table(net, s, M) + e, .v = table(net, s, V) + e, .top = table(net, s, TOP) + e, .alpha = table(net, s, ALPHA) + a,
                    .am = table(net, s, ALPHA_M) + a, .av = table(net, s, ALPHA_V) + a, .atop = table(net, s, ALPHA_TOP) + a};
}

static void gather(const Groups *g, int64_t q, const float *from, float *to) {
  const float *at = from + g->row[q / g->each];
  const int64_t *offset = g->offset + q % g->each * g->n;
  for (int64_t j = 0; j < g->n; j++) to[j] = at[offset[j]];
}

static void put_back(const Groups *g, int64_t q, const float *from, float *to) {
  float *at = to + g->row[q / g->each];
  const int64_t *offset = g->offset + q % g->each * g->n;
  for (int64_t j = 0; j < g->n; j++) at[offset[j]] = from[j];
}

static void alq_init(const Net *net, const Site *s) {
  const Groups *g = s->own;
  float *w = net->p[s->w].value;
  float *buffer = g->scratch;
  for (const Site *other = net->site; other < s; other++) if (other->own == s->own) return;
  for (int64_t q = 0; q < g->all; q++) {
    AlqGroup x = group_at(net, s, q, buffer);
    gather(g, q, w, x.latent);
    x.k = alq_sketch(x.latent, g->n, s->bits, row_option(s->row, "sigma", 1e-6), x.code, x.alpha);
    table(net, s, COUNT)[q] = (float)x.k;
    alq_restore(&x);
    put_back(g, q, buffer, w);
  }
}

/* Steps */

typedef struct Work { const Update *u; const Site *s; AlqStep step; AlqMode mode; float *f; } Work; /* f: [all, ALQ_BITS] */

static void groups_task(void *arg, size_t begin, size_t end) {
  const Work *work = arg;
  const Update *u = work->u;
  const Site *s = work->s;
  const Groups *g = s->own;
  float *value = u->net->p[s->w].value, *w = g->scratch + 2 * (int64_t)begin * g->n, *grad = w + g->n; /* the piece's own */
  for (int64_t q = (int64_t)begin; q < (int64_t)end; q++) {
    AlqGroup x = group_at(u->net, s, q, w);
    if (!x.k) continue; /* an empty group stays empty */
    gather(g, q, value, w);
    gather(g, q, u->grad[s->w], grad);
    if (!u->iteration && table(u->net, s, CLOCK)[CLOCK_STEPS] > 1) for (int64_t j = 0; j < g->n; j++) x.latent[j] = w[j]; /* STE begins here, or with the floats before the sketch */
    if (work->mode == ALQ_PRUNE) { alq_importance(&work->step, &x, grad, work->f + q * ALQ_BITS); continue; }
    alq_group_step(&work->step, work->mode, &x, grad);
    put_back(g, q, w, value);
  }
}

/* A layer, where it is the first with these weights. */
static bool first_of(const Net *net, const Site *s, Quantizer q) {
  if (!s->weight || s->row->weight.q != q) return false;
  for (const Site *other = net->site; other < s; other++) if (other->own == s->own) return false;
  return true;
}

static int64_t planes(const Net *net, const Site *s) {
  int64_t sum = 0;
  for (int64_t q = 0; q < ((const Groups *)s->own)->all; q++) sum += (int64_t)table(net, s, COUNT)[q];
  return sum;
}

/* An alpha that may go. */
typedef struct Candidate { float f; const Site *s; int64_t q; int i; } Candidate;

/* By importance; equal ones by place, so that the order is one. NaN goes last. */
static int by_importance(const void *a, const void *b) {
  const Candidate *x = a, *y = b;
  if (x->f < y->f || (x->f == x->f && y->f != y->f)) return -1;
  if (x->f > y->f || (y->f == y->f && x->f != x->f)) return 1;
  if (x->s != y->s) return x->s < y->s ? -1 : 1;
  return x->q != y->q ? (x->q < y->q ? -1 : 1) : x->i - y->i;
}

/* The layer's alphas of least importance: top_k of them, the fraction rounded at random, but never the last of the layer. Returns the
 * list's new length. */
static int64_t candidates(const Work *w, Candidate *list, int64_t n, bool all) {
  const Net *net = w->u->net;
  const Groups *g = w->s->own;
  int64_t have = 0, most;
  Candidate *mine = list + n;
  for (int64_t q = 0; q < g->all; q++)
    for (int i = 0; i < (int)table(net, w->s, COUNT)[q]; i++) mine[have++] = (Candidate){w->f[q * ALQ_BITS + i], w->s, q, i};
  qsort(mine, (size_t)have, sizeof *mine, by_importance);
  double share = w->u->phase->alq.top_k * (double)have;
  most = (int64_t)floor(share + (double)rng_uniform((Rng){w->u->r->seed, RNG_QUANT}, (uint64_t)w->s->first, (uint64_t)table(net, w->s, CLOCK)[CLOCK_STEPS]));
  if (all || most > have - 1) most = all ? have - 1 : most < have ? most : have - 1;
  return n + (most > 0 ? most : 0);
}

static int by_place_down(const void *a, const void *b) {
  const Candidate *x = a, *y = b;
  if (x->s != y->s) return x->s < y->s ? -1 : 1;
  return x->q != y->q ? (x->q < y->q ? -1 : 1) : y->i - x->i;
}

/* Takes the first n of the list away; of one group the later alpha first, so that places stay. */
static void drop(const Update *u, Candidate *list, int64_t n) {
  qsort(list, (size_t)n, sizeof *list, by_place_down);
  for (Candidate *c = list; c < list + n; c++) {
    AlqGroup x = group_at(u->net, c->s, c->q, ((const Groups *)c->s->own)->scratch);
    alq_drop(&x, c->i);
    table(u->net, c->s, COUNT)[c->q] = (float)x.k;
    put_back(c->s->own, c->q, x.w, u->net->p[c->s->w].value);
  }
}

/* How many alphas are too many: the count falls from that of the phase's start to (1 - prune) of it, evenly over the phase's steps. */
static int64_t due(const Update *u, Quantizer quantizer, int64_t *all) {
  double start = 0, at = (double)(u->iteration + 1) / (double)(u->phase->epochs * u->per_epoch);
  *all = 0;
  for (const Site *s = u->net->site; s < u->net->site + u->net->n_site; s++) {
    if (!first_of(u->net, s, quantizer)) continue;
    float *clock = table(u->net, s, CLOCK);
    if (!u->iteration) clock[CLOCK_START] = (float)planes(u->net, s);
    start += (double)clock[CLOCK_START];
    *all += planes(u->net, s);
  }
  return *all - (int64_t)floor(start - start * u->phase->alq.prune * at + 0.5);
}

/* Alg. 2: the least of every layer's top_k compete in one list. The last step of a phase takes all that is left to take. */
static void prune(const Update *u, Quantizer quantizer, Work *work, int n, Arena *scratch) {
  int64_t all, go = due(u, quantizer, &all), listed = 0;
  bool last = u->iteration + 1 == u->phase->epochs * u->per_epoch;
  Candidate *list = NEWN(scratch, Candidate, all + 1);
  for (int i = 0; i < n; i++) listed = candidates(&work[i], list, listed, last);
  qsort(list, (size_t)listed, sizeof *list, by_importance);
  drop(u, list, go < 0 ? 0 : go < listed ? go : listed);
}

static void alq_update(const Update *u, Quantizer quantizer) {
  const Optim *o = &u->phase->optim;
  Arena *scratch = arena_new(u->net->ctx);
  Work *work = NEWN(scratch, Work, u->net->n_site + 1);
  int n = 0;
  for (const Site *s = u->net->site; s < u->net->site + u->net->n_site; s++) {
    if (!first_of(u->net, s, quantizer)) continue;
    const Groups *g = s->own;
    float *clock = table(u->net, s, CLOCK);
    clock[CLOCK_STEPS]++;
    work[n] = (Work){u, s, alq_step(u->lr, o->beta1, o->beta2, o->epsilon, o->weight_decay, (int64_t)clock[CLOCK_STEPS]), u->phase->alq.mode, NULL};
    if (work[n].mode == ALQ_PRUNE) work[n].f = NEWN(scratch, float, g->all * ALQ_BITS);
    u->each(u->pool, (size_t)g->all, groups_task, &work[n]);
    n++;
  }
  if (u->phase->alq.mode == ALQ_PRUNE) prune(u, quantizer, work, n, scratch);
  arena_free(scratch);
}

/* Counts within their room, codes of no more bits than that. */
static bool alq_valid(const Net *net, const Site *s) {
  if (!s->weight) return true;
  const Groups *g = s->own;
  const float *count = table(net, s, COUNT), *code = table(net, s, CODE), *clock = table(net, s, CLOCK);
  for (int64_t q = 0; q < g->all; q++) {
    if (!(count[q] >= 0 && count[q] <= ALQ_BITS && count[q] == floorf(count[q]))) return false;
    for (int64_t j = 0; j < g->n; j++) if (!(code[q * g->n + j] >= 0 && code[q * g->n + j] < (float)(1 << (int)count[q]))) return false;
  }
  return clock[CLOCK_STEPS] >= 0 && clock[CLOCK_STEPS] < 0x1p24f;
}

/* What they take */

static double alq_code_bits(const Net *net, const Site *s) {
  const Groups *g = s->own;
  return (double)planes(net, s) / (double)g->all;
}

static double alq_width(const Net *net, const Site *s) {
  const Groups *g = s->own;
  return alq_bits(g->n, g->all, planes(net, s), s->bits) / (double)(g->all * g->n);
}

const QuantizerOps quant_alq = {.weight = alq_weight, .act = alq_act, .init_weight = alq_init, .init_act = alq_init_act, .after = alq_after, .update = alq_update, .width = alq_width, .code_bits = alq_code_bits, .wrong = alq_wrong,
                                 .valid = alq_valid,
                                 .in_float = "its groups are too small for their alphas to be told from them, or take half of the floats' bytes; fewer bits or larger groups help"};
