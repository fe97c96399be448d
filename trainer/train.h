/* Training as a recipe says: phases of epochs, data in shards, checkpoints, logs, curves.
 *
 * The bits of a run depend on the recipe, the data and the processor's instruction set alone. The global batch is cut into
 * recipe.shards shards; each is computed by one thread; gradients and statistics of shards are added in one fixed binary tree. How
 * many threads there are only decides who computes a shard, and a run that was killed goes on from its last checkpoint to the same end. */
#ifndef POPSHIFT_TRAINER_TRAIN_H
#define POPSHIFT_TRAINER_TRAIN_H

#include "passes/pass.h"
#include "trainer/net.h"

/* What a phase ended with. */
typedef struct PhaseResult {
  const char *name;
  bool quantized;
  double train_loss, train_accuracy, validation_accuracy, test_accuracy; /* of the last epoch; NaN where unknown; accuracies in 0 .. 1 */
  double images_per_second;                         /* of training, whole phase as run now */
  const Net *net;
  const int32_t *predictions; int64_t n_predictions; /* of the frozen graph's exact meaning on the test set (quantized phases); else NULL */
  double frozen_accuracy;
} PhaseResult;

typedef struct TrainOptions {
  const char *data_dir;          /* where the recipe's data lie; NULL: its folder */
  const char *out;               /* folder of the run, made where it is not there: checkpoint.ckpt log.jsonl recipe.yaml curves.svg curves.html */
  int threads;                   /* 0: as many as the machine has */
  bool resume, quiet, verbose;
  const Target *machine;         /* this processor, for what the frozen network's test compiles (ExecOptions); NULL: eval's functions */
  double save_seconds;           /* between checkpoints within an epoch */
  Graph *(*load)(void *user, const char *path);      /* a float graph from a file (net: {onnx: FILE}); NULL with a diagnostic */
  bool (*phase_done)(void *user, const PhaseResult *); /* of several ranks (ranks.h) the first calls it */
  bool *first;                   /* or NULL: set to whether this process is the first of its ranks, which writes */
  void *user;
} TrainOptions;

/* False with a diagnostic; E0602 where ctx->cancel was set: a checkpoint is there then, once a phase has begun to train. */
bool train_run(Ctx *, const Recipe *, const TrainOptions *);

#endif
