/* Labelled images in memory, as bytes or floats, and batches of them as floats. A batch depends on the seed, the epoch and its samples'
 * indices only: any thread may make any part of it. */
#ifndef POPSHIFT_TRAINER_DATASET_H
#define POPSHIFT_TRAINER_DATASET_H

#include "ir/type.h"
#include "trainer/recipe.h"
#include "trainer/rng.h"

typedef struct Dataset {
  int64_t n;
  int c, h, w;
  uint8_t *image;                /* [n, c, h, w]; NULL where real is not */
  float *real;                   /* [n, c, h, w], finite; NULL where the files have bytes */
  uint8_t *label;                /* [n], each below classes */
  int classes;
  const char *const *class_name; /* [classes], or NULL */
} Dataset;

static inline int64_t dataset_sample(const Dataset *s) { return (int64_t)s->c * s->h * s->w; }

/* What the recipe's files hold, whose kinds recipe.h lists; the first `samples` of it (0: all). classes 0: as many as the folder or the
 * recipe names, or CIFAR's records may have, else the greatest label plus 1. NULL with E0104 or E0501 naming the file. Lives in the arena. */
Dataset *dataset_load(Ctx *, Arena *, const Recipe *, const RecipeFiles *, const char *data_dir, int classes, int64_t samples);
void dataset_as_real(Arena *, Dataset *); /* its bytes as floats */
/* Takes round(part * n) samples out, the last ones of the Rng's permutation, and gives them as a set of its own; both stay in their order. NULL
 * where that is none or all. */
Dataset *dataset_split(Arena *, Dataset *, double part, Rng);

/* Inside dataset_*.c */
bool dataset_folder(Ctx *, Arena *, const RecipeData *, const char *path, int64_t samples, Dataset *);

typedef enum Layout { LAYOUT_NCHW, LAYOUT_NHWC } Layout;

/* From bytes to floats: (raw*scale - mean[c]) / std[c] in binary64, rounded once (as `popshift score` does). */
typedef struct Transform {
  Layout layout;
  int c;
  int crop;                      /* padding by raw 0, then a window at a random place: dy, dx in 0 .. 2*crop */
  bool flip;                     /* left to right, with probability 1/2 */
  int cutout;                    /* side of a square around a random pixel that gets the hole's value (DeVries and Taylor, 2017); 0: none */
  Rng rng;
  const RecipeData *data;        /* scale, mean, std */
  float (*value)[256];           /* [c][256], in the arena: of bytes */
  float *hole;                   /* [c] */
} Transform;

/* False with E0703 where mean and std do not fit the channels. augment false: as they are, for test sets. The recipe outlives the transform. */
bool transform_init(Transform *, Arena *, const Recipe *, const Dataset *, Layout, bool augment);

/* The hole's value: what the normalization of this recipe, where it comes later, makes 0, or is nearest to it. transform_init takes its own. */
void transform_hole(Transform *, const Recipe *, const Dataset *);

/* Samples index[0 .. n-1] of the data set to x [n, c, h, w] or [n, h, w, c], and their labels (NULL: not wanted). */
void dataset_batch(const Dataset *, const Transform *, const int32_t *index, int64_t n, int64_t epoch, float *x, int32_t *label);

#endif
