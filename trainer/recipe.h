/* Recipes: what to train, on what, how. A recipe is strict YAML of version `popshift: recipe/1` (schema: recipe_decode.c's
 * tables); everything unknown, repeated, of a wrong type or out of range is refused with file, line, key and suggestion. */
#ifndef POPSHIFT_TRAINER_RECIPE_H
#define POPSHIFT_TRAINER_RECIPE_H

#include "ir/doc.h"
#include "trainer/alq.h"
#include "trainer/optim.h"

enum { RECIPE_FILES = 64, RECIPE_CHANNELS = 64, RECIPE_OPTIONS = 16, RECIPE_QUANT = 64, RECIPE_PHASES = 128, RECIPE_CLASSES = 256 };

typedef struct NetOption { const char *key, *text; double value; const char *file; int line; } NetOption; /* text: NULL where it is a number */

typedef struct RecipeNet {
  const char *builtin, *onnx;    /* one of them, the other NULL; onnx relative to Recipe.dir */
  const char *where; int line;   /* of what names it: the file, or the --set */
  int64_t classes;               /* of builtin nets; 0 where the recipe does not say */
  NetOption option[RECIPE_OPTIONS]; /* other scalar options of a builtin net, in the recipe's order; checked by who builds it */
  int n_option;
} RecipeNet;

typedef enum FilesKind {
  FILES_PAIR,                    /* images, labels: each IDX, .npy or .npz:NAME */
  FILES_CIFAR,                   /* batches, .bin */
  FILES_CSV,                     /* one table, .csv: labels are a column */
  FILES_FOLDER                   /* a folder with one of pictures for each class */
} FilesKind;
typedef struct RecipeFiles { const char *name[RECIPE_FILES]; int n, line; FilesKind kind; } RecipeFiles; /* one .npz: a pair of the same name twice */
typedef enum CifarLabel { CIFAR_ANY, CIFAR_FINE, CIFAR_COARSE } CifarLabel;

typedef struct RecipeData {
  RecipeFiles train, test;       /* test.n = 0: none */
  double scale;                  /* 1 */
  double mean[RECIPE_CHANNELS], std[RECIPE_CHANNELS];
  int n_mean, n_std;             /* 0: none; 1: for all channels */
  int crop;                      /* pixels of padding around, 0: no random crop */
  bool flip;
  int cutout;                    /* side of a square that is left out, 0: none */
  CifarLabel label;
  int label_column;              /* of CSV, from 1: 1 */
  bool nhwc;                     /* of arrays of four dimensions: channels are the last */
  int shape[3];                  /* channels, height, width of a sample; 0: as the file has them */
  int size[2];                   /* pictures of folders get this height and width; 0: all must have one size */
  int channels;                  /* and 1 or 3 of these; 0: as the first has */
  const char *classes[RECIPE_CLASSES]; int n_classes; /* their names; 0: none */
  const char *class_file;        /* or a file with a name a line, or NULL */
  int64_t samples;               /* the first of the training set; 0: all */
  double validation;             /* part of them that is not trained on; 0: none */
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
  const char *file; int line;    /* the recipe, or a --set */
} QuantRow;
typedef struct QuantRows { QuantRow *row; int n; } QuantRows;

/* Stochastic structured precision (B. Zhuang et al., Alg. 2): in iteration i of the phase each fragment's weights, and its inputs, are
 * left unrounded with probability start * max(0, 1 - i / (until * the phase's iterations)), independently. */
typedef struct Ssp { double start, until; bool layers; } Ssp; /* start 0: none; a fragment is a block, or a layer */

/* What only training has (extras.h). Taps: where blocks end, where layers of blocks end, or where blocks end that shrink the image. */
typedef enum TapAt { TAP_BLOCK, TAP_LAYER, TAP_DOWN } TapAt;
typedef enum AuxMode { AUX_NONE, AUX_ONE_PASS, AUX_TWO_PASS } AuxMode;
typedef struct Auxiliary { AuxMode mode; TapAt at; double weight; } Auxiliary;
typedef struct Supervision { TapAt at; double weight; } Supervision;                      /* weight 0: none */
typedef struct Distill { const char *teacher; double temperature, weight; } Distill;      /* teacher NULL: none; relative to dir */
/* Of a phase that trains weights quantized by alq; the others of the network have the phase's optimizer. */
typedef struct PhaseAlq { AlqMode mode; double prune, top_k; } PhaseAlq; /* prune: part of the alphas that goes; top_k: part of a layer's that may go in a step */

typedef struct Phase {
  const char *name;
  bool quant;
  bool keep;                     /* the network is frozen, evaluated and written at its end */
  QuantRows rows;                /* its own where it has some, else the recipe's */
  bool own_rows;
  Optim optim;
  Schedule lr;
  PhaseAlq alq;
  int64_t epochs;
  Ssp ssp;                       /* of quantized phases */
  int64_t calibrate;             /* batches that set step sizes before a quantized phase */
  int64_t statistics;            /* batches from which batch normalization's running statistics are taken anew before the phase; 0: they stay */
  int line;
} Phase;

typedef struct Recipe {
  Ctx *ctx;
  const char *file, *dir;        /* dir: the recipe's folder, where relative names start */
  RecipeNet net;
  RecipeData data;
  int64_t batch, shards;         /* shards divides batch */
  uint64_t seed;                 /* at most 2^53 */
  int64_t sign_epochs;           /* between snapshots of the weights' signs in a phase */
  const char *init;              /* a run's folder or checkpoint whose parameters training begins with; NULL: none; relative to dir */
  double label_smoothing;        /* e: targets are (1-e) onehot + e/classes */
  Auxiliary auxiliary;
  Supervision supervision;
  Distill distill;
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
/* Canonical text with every default written out, in any folder of an equal recipe: names of models and runs are absolute (the data's are not). */
void recipe_print(Str *, const Recipe *);
bool recipe_same(const Recipe *, const char *text); /* the text is that of an equal recipe in the same folder; it says nothing of one that is none */

/* The first row that matches, or NULL. `layer` is the layer's name; NULL matches only first, last and "*". */
const QuantRow *recipe_quant(const QuantRows *, const char *layer, bool first, bool last);
bool rows_have(const QuantRows *, Quantizer weight); /* some row quantizes weights by it */
/* What the row says of an option of its quantizers (of a choice: its number), or otherwise. */
double row_option(const QuantRow *, const char *key, double otherwise);
/* A name of the recipe as a path: absolute names stay, others lie in data_dir, or where that is NULL in the recipe's folder. */
const char *recipe_path(const Recipe *, const char *data_dir, const char *name);
const NetOption *recipe_net_option(const Recipe *, const char *key); /* NULL where absent */

#endif
