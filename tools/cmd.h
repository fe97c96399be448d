/* The command: verbs and flags as two tables, one parsed Cmd that every verb gets. */
#ifndef POPSHIFT_TOOLS_CMD_H
#define POPSHIFT_TOOLS_CMD_H

#include "frontend/frontend.h"
#include "passes/pass.h"

typedef enum FlagId {
#define FLAG(id, long_, short_, arg, verbs, available, help) FLAG_##id,
#include "tools/flags.def"
#undef FLAG
  FLAG_COUNT
} FlagId;

typedef enum VerbId {
#define VERB(name, args, available, what) VERB_##name,
#include "tools/verbs.def"
#undef VERB
  VERB_COUNT
} VerbId;
#define VERB_LETTERS "crsvbiplonqtyd" /* in the order of verbs.def; flags.def names verbs by these */

typedef struct Cmd {
  Ctx *ctx;
  VerbId verb;
  const char **args; int n_args;
  struct { const char **v; int n; } flag[FLAG_COUNT]; /* given values in order; a flag without argument has v = "" */
} Cmd;

static inline bool cmd_has(const Cmd *c, FlagId f) { return c->flag[f].n > 0; }
static inline const char *cmd_get(const Cmd *c, FlagId f) { return c->flag[f].n ? c->flag[f].v[c->flag[f].n - 1] : NULL; }
/* Number of a flag, deflt where it is not given; false with E0701 where it is not a number in lo..hi. */
bool cmd_int(Cmd *, FlagId, int64_t deflt, int64_t lo, int64_t hi, int64_t *);
bool cmd_double(Cmd *, FlagId, double deflt, double least, double *);
/* Comma-separated finite numbers into v (at most max); *n = 0 where not given. */
bool cmd_doubles(Cmd *, FlagId, double *v, int max, int *n);
/* "NAME=REST": splits at the first '=' where NAME is not empty; name is in the context's arena. */
const char *cmd_split(Cmd *, const char *text, const char **rest); /* NULL where there is no '=' */
/* The one model argument, or NULL with E0701. */
const char *cmd_model(Cmd *);

#define VERB(name, args, available, what) int verb_##name(Cmd *);
#include "tools/verbs.def"
#undef VERB

/* model.c: a model from .onnx, .ir (graph or program text); flags --dim --shape --bind --external-data-root apply to ONNX. */
typedef struct Model {
  const char *path;
  char sha[65];            /* hex SHA-256 of the file */
  State s;                 /* a graph, or a program from text */
  bool is_onnx;
  int n_outs;              /* outputs that the model has; the others were asked for (model_load_exposed) */
} Model;
bool model_load(Cmd *, const char *path, Model *);        /* an unknown leading dimension of an input is taken as 1 */
bool model_load_batch(Cmd *, const char *path, int64_t batch, Model *); /* as batch; 0: it stays unknown */
bool model_load_static(Cmd *, const char *path, Model *); /* E0304 where a dimension is not known */
/* The same for given inputs (name, value; n of them): shapes are theirs, and an operator that needs a constant may use their values. */
bool model_load_as(Cmd *, const char *path, const InputBind *, int n, Model *);
/* The values of an ONNX model's nodes for which `also` is true are outputs too, after the model's own. */
bool model_load_exposed(Cmd *, const char *path, bool (*also)(void *user, const char *value), void *user, Model *);
/* facts.c: what a trained model says of itself, in the context's arena. Names of classes: their count, 0 where it has none. */
int model_classes(Ctx *, const Graph *, const char ***names);
const char *model_input(Ctx *, const Graph *); /* NULL where it says nothing */
/* What goes in and comes out, of a graph or a program. */
typedef struct Ports { int n_in, n_out; const char **in_name, **out_name; Type *in, *out; } Ports;
void model_ports(Cmd *, const Model *, Ports *);
void model_free(Model *);
bool model_pass_options(Cmd *, PassOptions *);   /* --target (the first) --force --skip */
/* target.c: what --target names, in its order; NULL with a diagnostic. */
const Target *target_native(void); /* the most capable whose instructions this processor has */
const Target *const *targets_of(Cmd *, int *n);
Graph *graph_copy(Graph *);
const char *ident_from_path(Cmd *, const char *path); /* base name without suffix as an identifier */

/* data.c: tensors from files; errors located by path. */
Tensor *tensor_read(Ctx *, const char *path, char **name);       /* .npy or .pb; name may be NULL */
bool tensor_write(Ctx *, const char *path, const Tensor *);       /* .npy */
Tensor *tensor_random(Ctx *, const Type *, uint64_t seed);        /* floats: uniform in [-1, 1); codes: uniform over the type */
Tensor *tensor_as(Ctx *, const Tensor *, const Type *);           /* converted and reshaped; NULL with E0702 where it does not fit */
Tensor *samples_read(Ctx *, const char *path);                    /* .npy, .npz:NAME, idx(.gz), CIFAR .bin: [N, ...] */
bool labels_read(Ctx *, const char *spec, int64_t **labels, int64_t *n); /* in the context's arena */

int sh(Ctx *, const char *const *argv, const char *what);         /* runs a program, output to stderr only on failure; 0 or E0503 and -1 */
char *temp_dir(Ctx *);                                            /* fresh, in the context's arena */
void temp_dir_remove(const char *dir);                            /* the files in it, then itself (one level and include/, tb_data/) */

#endif
