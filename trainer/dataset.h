/* Labelled images in memory as bytes, and batches of them as floats. A batch depends on the seed, the epoch and its samples'
 * indices only: any thread may make any part of it. */
#ifndef POPSHIFT_TRAINER_DATASET_H
#define POPSHIFT_TRAINER_DATASET_H

#include "trainer/recipe.h"
#include "trainer/rng.h"

typedef struct Dataset {
  int64_t n;
  int c, h, w;
  uint8_t *image;                /* [n, c, h, w] */
  uint8_t *label;                /* [n], each below classes */
  int classes;
} Dataset;

/* An IDX pair (images u8 [N,H,W] or [N,C,H,W], labels u8 [N]) or CIFAR batches one after the other; the first `samples` of
 * them (0: all). classes 0: the greatest label plus 1. NULL with E0104 or E0501 naming the file. Lives in the arena. */
Dataset *dataset_load(Ctx *, Arena *, const Recipe *, const RecipeFiles *, const char *data_dir, int classes, int64_t samples);

typedef enum Layout { LAYOUT_NCHW, LAYOUT_NHWC } Layout;

/* From bytes to floats: (raw*scale - mean[c]) / std[c] in binary64, rounded once (as `popshift score` does). */
typedef struct Transform {
  Layout layout;
  int c;
  int crop;                      /* padding by raw 0, then a window at a random place: dy, dx in 0 .. 2*crop */
  bool flip;                     /* left to right, with probability 1/2 */
  Rng rng;
  float (*value)[256];           /* [c][256], in the arena */
} Transform;

/* False with E0703 where mean and std do not fit the channels. augment false: neither crop nor flip, for test sets. */
bool transform_init(Transform *, Arena *, const Recipe *, const Dataset *, Layout, bool augment);

/* Samples index[0 .. n-1] of the data set to x [n, c, h, w] or [n, h, w, c], and their labels (NULL: not wanted). */
void dataset_batch(const Dataset *, const Transform *, const int32_t *index, int64_t n, int64_t epoch, float *x, int32_t *label);

#endif
