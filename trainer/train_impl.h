/* Shared by the train*.c files only. */
#ifndef POPSHIFT_TRAINER_TRAIN_IMPL_H
#define POPSHIFT_TRAINER_TRAIN_IMPL_H

#include "runtime/pool.h"
#include "trainer/dataset.h"
#include "trainer/exec.h"
#include "trainer/ranks.h"
#include "trainer/train.h"
#include "trainer/trainlog.h"

/* One thread's own: nothing here is shared. */
typedef struct Worker {
  Ctx *ctx;
  Dnn *dnn;
  Exec *train, *test;
  float *x;                /* [shard, image] */
  int32_t *label;
  int64_t *label64;
  bool failed;
} Worker;

/* What one shard of a batch left, in memory of its own. */
typedef struct Shard { float *grad, *stat; double loss; int64_t correct; } Shard;

typedef struct Trainer {
  Ctx *ctx;
  Arena *arena;
  const Recipe *r;
  const TrainOptions *o;
  Net *net;
  Dataset *train, *valid, *test; /* the last two may be NULL */
  Transform augment, plain;
  bool normalizes;         /* the network has the recipe's normalization in it */
  Rng shuffle;
  Ranks ranks;
  RtPool *pool;
  int lock;                /* file that one run at a time holds; 0: none */
  int threads;
  Worker *worker;
  Shard *shard;
  int64_t shard_size, per_epoch;
  /* of the phase's graphs */
  Arena *phase_arena;
  TrainGraph tg;
  Graph *test_graph;
  bool last_train;         /* images are wanted channels last */
  int64_t n_values;        /* floats of all parameters, one after another */
  int64_t *offset;         /* [n_p + 1] of a parameter in them */
  float *precision;        /* of the step: what is rounded (extras.h) */
  double *stat_count;      /* by parameter: elements behind a batch statistic */
  ParamGroup *group;
  const float **grad;      /* by parameter: of the whole batch, once summed */
  /* where the run is */
  int phase;
  int64_t epoch, step;     /* in the phase, in the epoch: done */
  int64_t iteration;       /* over all phases */
  double loss; int64_t correct, seen; /* of the epoch so far */
  int8_t *sign;            /* [signs_count] of the weights of all layers, -1, 0, 1: the last snapshot */
  int32_t *order;          /* the epoch's permutation */
  double seconds; int64_t images; /* of the phase as run now */
} Trainer;

static inline int64_t image_floats(const Trainer *t) { return (int64_t)t->train->c * t->train->h * t->train->w; }
/* Of the optimizer, for parameter p. */
static inline int64_t state_floats(const Trainer *t, int p) {
  const Param *q = &t->net->p[p];
  return param_is_trained(q) && !q->taken ? optim_slots(&t->r->phase[t->phase].optim) * q->n : 0;
}
/* A file of the run. */
static inline const char *path_in(const Trainer *t, const char *name) { return arena_printf(t->arena, "%s/%s", t->o->out, name); }

/* train_step.c */
bool phase_build(Trainer *);                         /* graphs, plans and buffers for the net as it is */
void phase_free(Trainer *);
void take_averages(Trainer *);                       /* the phase ends with them: values become the averages where there are such */
bool train_batch(Trainer *);                         /* one step from t->step; adds to loss, correct, seen */
/* Accuracy of a graph with batch shard_size whose output 0 are logits, on a data set; predictions may be NULL. u8: the input is bytes. */
bool evaluate(Trainer *, const Graph *, const Dataset *, bool u8, int32_t *predictions, double *accuracy);
bool estimate_statistics(Trainer *);                 /* running statistics: the mean of the phase's first `statistics` batches; before its first step */
bool workers_ok(Trainer *);                          /* false where one has failed: its diagnostics become the trainer's */

Exec *params_run(Trainer *, const Graph *);          /* a graph of the net's arguments that no image matters to, run; NULL with a diagnostic */

/* calibrate.c */
bool calibrate(Trainer *);                           /* step sizes of a net just quantized */

/* metrics.c */
int64_t signs_count(const Net *);
bool signs_take(Trainer *);                          /* a snapshot of the weights as they are */
bool metrics_collect(Trainer *, Metrics *);          /* what is logged with the epoch that ends; takes a snapshot when it is time */

/* facts.c */
bool net_facts(Trainer *, const char *of_model);     /* class_fact and input_fact of the net; of_model: the latter, where the model itself says it */

/* train_state.c */
bool state_init(Trainer *);                          /* the net's parameters from the recipe's init, by name; E0703 where one has another size or none is there */
bool state_save(Trainer *);
bool state_load(Trainer *, bool *found);             /* before the first phase is built: also quantizes the net where it was; no checkpoint: true, not found */

#endif
