/* INQ (A. Zhou et al., ICLR 2017): levels 0 and +-2^n, n2 <= n <= n1, with n1 = floor(log2(4/3 max|w|)) of the layer as it is at first
 * and n2 = n1 + 1 - 2^(b-2) (of 5 bits n1 - 7), to which |w| goes by the arithmetic middle between neighbours, and below 2^n2 / 2 to 0.
 * When the phase begins the 30 % of the layer's weights that are greatest in size go there and are frozen; after a third of its steps
 * 60 % are, after two thirds 80 %, and after the last step all. The others train on in float. The paper's learning
 * rate begins anew with each part; here it is the phase's. Tables: frozen, 1 of such weights; level, their values; top, n1. */
#include "trainer/quantizer.h"

#include <math.h>
#include <stdlib.h>

enum { INQ_FROZEN, INQ_LEVEL, INQ_TOP };

static Node *inq_weight(Put *p) {
  Graph *g = p->g;
  Node *frozen = put_param(p, "frozen", PARAM_TABLE, &p->x->t, 0), *level = put_param(p, "level", PARAM_TABLE, &p->x->t, 0);
  Type one = type_make(F32, 1, (int64_t[]){1});
  put_param(p, "top", PARAM_TABLE, &one, 0);
  Node *is = node_map2(g, S_LT, node_const_f(g, F32, 0), frozen), *none = node_const_f(g, F32, 0);
  return straight(g, node_map3(g, S_SELECT, is, level, p->x), node_map3(g, S_SELECT, is, none, p->x));
}

static float inq_level(double w, int n1, int bits) {
  double v = fabs(w), y = ldexp(1, n1), least = ldexp(1, n1 + 1 - (1 << (bits - 2)));
  while (y > least && v < 0.75 * y) y /= 2; /* halfway between y/2 and y */
  return v < 0.5 * least ? 0 : (float)copysign(y, w);
}

/* Of the k-th fourth of a phase, k from 1. */
static int64_t inq_count(int64_t n, int part) {
  static const int percent[] = {0, 30, 60, 80, 100};
  return (n * percent[part] + 50) / 100;
}

typedef struct Rank { float size; int64_t i; } Rank;

static int greater(const void *pa, const void *pb) {
  const Rank *a = pa, *b = pb;
  return a->size != b->size ? (a->size < b->size ? 1 : -1) : a->i < b->i ? -1 : 1;
}

/* Freezes the greatest of those that are not until `count` are. */
static void inq_freeze(const Net *net, const Site *s, int64_t count) {
  float *frozen = site_param(net, s, INQ_FROZEN)->value, *level = site_param(net, s, INQ_LEVEL)->value;
  Param *w = &net->p[s->w];
  Arena *scratch = arena_new(net->ctx);
  Rank *r = NEWN(scratch, Rank, w->n + 1);
  int64_t n = 0;
  for (int64_t i = 0; i < w->n; i++) if (frozen[i] == 0) r[n++] = (Rank){fabsf(w->value[i]), i};
  qsort(r, (size_t)n, sizeof *r, greater);
  for (int64_t k = 0; k < n && w->n - n + k < count; k++) {
    int64_t i = r[k].i;
    frozen[i] = 1;
    level[i] = inq_level((double)w->value[i], (int)site_param(net, s, INQ_TOP)->value[0], s->bits);
  }
  arena_free(scratch);
}

static void inq_keep(const Net *net, const Site *s) {
  const float *frozen = site_param(net, s, INQ_FROZEN)->value, *level = site_param(net, s, INQ_LEVEL)->value;
  Param *w = &net->p[s->w];
  for (int64_t i = 0; i < w->n; i++) w->value[i] = frozen[i] != 0 ? level[i] : w->value[i];
}

static void inq_init(const Net *net, const Site *s) {
  const Param *w = &net->p[s->w];
  double most = 0;
  for (int64_t i = 0; i < w->n; i++) most = fmax(most, fabs((double)w->value[i]));
  int exponent;
  frexp(most > 1e-30 ? 4 * most / 3 : 1e-30, &exponent); /* in [2^(exponent-1), 2^exponent) */
  site_param(net, s, INQ_TOP)->value[0] = (float)(exponent - 1);
  inq_freeze(net, s, inq_count(w->n, 1));
  inq_keep(net, s);
}

static int inq_part(int64_t done, int64_t all) { return done >= all ? 4 : (int)(done * 3 / all) + 1; }

/* Momentum and decay have moved frozen weights, too: they come back. */
static void inq_after(const After *a) {
  int64_t all = a->phase->epochs * a->per_epoch, n = a->net->p[a->site->w].n;
  int part = inq_part(a->iteration + 1, all);
  if (part != inq_part(a->iteration, all)) inq_freeze(a->net, a->site, inq_count(n, part));
  inq_keep(a->net, a->site);
}

/* Marks of what is frozen, and an exponent as inq_init finds. */
static bool inq_valid(const Net *net, const Site *s) {
  const Param *frozen = site_param(net, s, INQ_FROZEN);
  float top = site_param(net, s, INQ_TOP)->value[0];
  bool marks = true;
  for (int64_t i = 0; i < frozen->n; i++) marks = marks && (frozen->value[i] == 0 || frozen->value[i] == 1);
  return marks && top >= -150 && top <= 128 && top == floorf(top);
}

static double inq_share(const Net *net, const Site *s) {
  const Param *frozen = site_param(net, s, INQ_FROZEN);
  double n = 0;
  for (int64_t i = 0; i < frozen->n; i++) n += (double)frozen->value[i];
  return n / (double)frozen->n;
}

static double inq_width(const Net *net, const Site *s) {
  double share = inq_share(net, s);
  return share * s->bits + (1 - share) * 32;
}

static void inq_metrics(const Net *net, const Site *s, Metrics *m) { metric_add(m, "frozen", s->layer, 100 * inq_share(net, s)); }

const QuantizerOps quant_inq = {.weight = inq_weight, .init_weight = inq_init, .after = inq_after, .width = inq_width, .metrics = inq_metrics, .valid = inq_valid};
