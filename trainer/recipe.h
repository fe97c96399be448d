/* Recipes: what to train, on what, how. A recipe is strict YAML of version `popshift: recipe/1` (schema: recipe_decode.c's
 * tables); everything unknown, repeated, of a wrong type or out of range is refused with file, line, key and suggestion. */
#ifndef POPSHIFT_TRAINER_RECIPE_H
#define POPSHIFT_TRAINER_RECIPE_H

#include "ir/doc.h"
#include "trainer/optim.h"

enum { RECIPE_FILES = 64, RECIPE_CHANNELS = 64, RECIPE_OPTIONS = 16, RECIPE_QUANT = 64, RECIPE_PHASES = 16 };

typedef struct NetOption { const char *key, *text; double value; int line; } NetOption; /* text: NULL where it is a number */

typedef struct RecipeNet {
  const char *builtin, *onnx;    /* one of them, the other NULL; onnx relative to Recipe.dir */
  int line;
  int64_t classes;               /* of builtin nets; 0 where the recipe does not say */
  NetOption option[RECIPE_OPTIONS]; /* other scalar options of a builtin net, in the recipe's order; checked by who builds it */
  int n_option;
} RecipeNet;

typedef struct RecipeFiles { const char *name[RECIPE_FILES]; int n, line; bool cifar; } RecipeFiles; /* not cifar: images, labels */

typedef struct RecipeData {
  RecipeFiles train, test;       /* test.n = 0: none */
  double scale;                  /* 1 */
  double mean[RECIPE_CHANNELS], std[RECIPE_CHANNELS];
  int n_mean, n_std;             /* 0: none; 1: for all channels */
  int crop;                      /* pixels of padding around, 0: no random crop */
  bool flip;
  int64_t samples;               /* the first of the training set; 0: all */
} RecipeData;

typedef enum Quantizer {
  QUANT_NONE,
#define Q(NAME, name, lo, hi, w, a, options, what) QUANT_##NAME,
#include "trainer/quantizers.def"
#undef Q
  QUANTIZER_COUNT
} Quantizer;
/* options: what a row may say besides, "key=least..most" or "key=choice|choice", with spaces between. */
typedef struct QuantizerInfo { const char *name; int lo, hi; bool weight, act; const char *options, *what; } QuantizerInfo;
extern const QuantizerInfo quantizer_info[QUANTIZER_COUNT];

typedef enum Grain { GRAIN_LAYER, GRAIN_KERNEL } Grain; /* one step size per layer, or per output channel */
typedef struct QuantSpec { Quantizer q; int bits; } QuantSpec; /* bits 0 where QUANT_NONE */
typedef struct QuantOption { const char *key, *text; double value; } QuantOption; /* text: of a choice, value then its number from 0; else NULL */
typedef struct QuantRow {
  const char *match;             /* first, last or a glob on the layer's name, several with | between */
  QuantSpec weight, act;
  Grain grain;                   /* of the weights */
  QuantOption option[RECIPE_OPTIONS]; /* of its quantizers */
  int n_option;
  int line;
} QuantRow;
typedef struct QuantRows { QuantRow *row; int n; } QuantRows;

typedef struct Phase {
  const char *name;
  bool quant;
  QuantRows rows;                /* its own where it has some, else the recipe's */
  bool own_rows;
  Optim optim;
  Schedule lr;
  int64_t epochs;
  int64_t calibrate;             /* batches that set step sizes before a quantized phase */
  int line;
} Phase;

typedef struct Recipe {
  Ctx *ctx;
  const char *file, *dir;        /* dir: the recipe's folder, where relative names start */
  RecipeNet net;
  RecipeData data;
  int64_t batch, shards;         /* shards divides batch */
  uint64_t seed;                 /* at most 2^53 */
  const char *init;              /* a run's folder or checkpoint whose parameters training begins with; NULL: none; relative to dir */
  QuantRows quant;
  Phase phase[RECIPE_PHASES];
  int n_phase;
  Doc *root      ;              /* the text as a tree, for recipe_set */
} Recipe;

/* NULL with a diagnostic (E0703, or what reading a file gives). A recipe lives as long as the context. */
Recipe *recipe_parse(Ctx *, const char *file, const char *text, size_t n);
Recipe *recipe_read(Ctx *, const char *path);
/* --set KEY=VALUE, n of them, which only together must be right: KEY is a dotted path, list elements by number (phases.0.epochs, data.mean.1), VALUE is YAML. A key that the schema
 * has and the recipe has not is added; a number one past a list's end adds an element. On failure the recipe is unchanged. */
bool recipe_set(Recipe *, const char *const *assignments, int n);
/* Canonical text with every default written out; parses back to an equal recipe. */
void recipe_print(Str *, const Recipe *);

/* The first row that matches, or NULL. `layer` is the layer's name; NULL matches only first, last and "*". */
const QuantRow *recipe_quant(const QuantRows *, const char *layer, bool first, bool last);
/* What the row says of an option of its quantizers (of a choice: its number), or otherwise. */
double row_option(const QuantRow *, const char *key, double otherwise);
/* A name of the recipe as a path: absolute names stay, others lie in data_dir, or where that is NULL in the recipe's folder. */
const char *recipe_path(const Recipe *, const char *data_dir, const char *name);
const NetOption *recipe_net_option(const Recipe *, const char *key); /* NULL where absent */

#endif
