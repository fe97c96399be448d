/* Passes: graph -> graph, graph -> program, program -> program. File = pass = function = name on the command line = folder of its tests.
 * passes.def has one row each: needs, gives, keeps. The runner checks needs, runs, verifies what was promised, dumps
 * when asked, times. */
#ifndef POPSHIFT_PASSES_PASS_H
#define POPSHIFT_PASSES_PASS_H

#include "ir/nest.h"

typedef enum PassId {
#define PASS(name, level, needs, gives, keeps, what) PASS_##name,
#include "passes/passes.def"
#undef PASS
  PASS_COUNT
} PassId;

/* What a pass leaves unchanged; the hostile build evaluates before and after on random inputs and checks just that.
 * KEEPS_BITS: every output bit. KEEPS_CODES: outputs may move by what the fixing of the meaning moves (recognize only):
 * codes by one step at ties, floats within the bound of its summation. */
typedef enum Keeps { KEEPS_BITS, KEEPS_CODES } Keeps;
typedef enum Level { LEVEL_GRAPH, LEVEL_LOWER, LEVEL_PROGRAM } Level;

/* What a machine is like: one row of targets.def. Costs are cycles of one scalar operation (0: free; select compares sums). */
typedef struct Target {
  const char *name, *what;
  int word;               /* bits of a packed word: 32 or 64 */
  double cost_mac;        /* int8 multiply-accumulate */
  double cost_fmac;       /* float multiply-accumulate */
  double cost_word;       /* load, and/xor, popcount, add of one word */
  double cost_pack;       /* put one code into a word */
  const char *triple, *cpu, *features; /* of objects, as LLVM names them; NULL: this machine, what compilers assume */
} Target;
extern const Target targets[]; extern const int n_targets;
const Target *target_find(const char *name); /* NULL where unknown */

typedef struct Force { Kernel kernel; const char *layer; } Force; /* layer NULL: all contractions of codes */

typedef struct PassOptions {
  const Target *target;
  bool hls;                       /* lower for HLS: exact widths, no packing, pipelined loops */
  Force *force; int n_force;
  bool verify_each;               /* always on in hostile builds: verify and compare before and after */
  uint32_t skip;                  /* bit PASS_x: leave that pass out (optional passes only) */
  /* Called with the state before (after = false) and after each pass. Exactly one of graph, program is not NULL. */
  void (*dump)(void *user, PassId, bool after, const Graph *, const Program *);
  void *dump_user;
  struct Certificate *certificate; /* where pass thresholds notes what it replaces, or NULL (passes/certificate.h) */
  double *seconds;                /* [PASS_COUNT], added to; or NULL */
} PassOptions;

typedef struct PassInfo {
  const char *name; Level level; uint32_t needs, gives; Keeps keeps; const char *what;
  Graph *(*graph)(Graph *, const PassOptions *);      /* consumes its argument; NULL with a diagnostic */
  Program *(*lower)(Graph *, const PassOptions *);    /* consumes its argument */
  bool (*program)(Program *, const PassOptions *);
} PassInfo;
extern const PassInfo pass_info[PASS_COUNT];
int pass_find(const char *name); /* -1 where unknown */
bool pass_optional(PassId);      /* it gives nothing that another needs: --skip may leave it out, and every value stays */

#define PASS(name, level, needs, gives, keeps, what) PASS_DECL_##level(name)
#define PASS_DECL_LEVEL_GRAPH(name) Graph *pass_##name(Graph *, const PassOptions *);
#define PASS_DECL_LEVEL_LOWER(name) Program *pass_##name(Graph *, const PassOptions *);
#define PASS_DECL_LEVEL_PROGRAM(name) bool pass_##name(Program *, const PassOptions *);
#include "passes/passes.def"
#undef PASS

/* Either a graph or a program: a state between passes. */
typedef struct State { Graph *graph; Program *program; } State;
/* Runs the n named passes in order on *s, replacing it. False with a diagnostic; *s is then freed and empty. */
bool passes_run(Ctx *, State *s, const PassId *ids, int n, const PassOptions *);
/* The standard pipeline from where *s is (its properties) to a planned program; or to the end of pass `last` (-1: all). */
bool passes_standard(Ctx *, State *s, int last, const PassOptions *);
/* The standard pipeline on a copy of g, evaluated after every pass on n sets of inputs. False with E0901, which names the first pass after
 * which a value differs. Fixing the meaning (KEEPS_CODES) may move values: how many goes into say. */
bool passes_compared(Ctx *, Graph *g, Tensor *const *const *in, int n, const PassOptions *, Str *say);
/* No dimension is unknown; else false with E0304 that names the first of them. */
bool graph_static(Ctx *, const Graph *);

/* What select saw and chose, for --explain: one line per contract. */
void explain_select(Str *, const Graph *, const PassOptions *);

#endif
