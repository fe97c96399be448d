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

/* What a machine is like (docs/TARGETS.md): a file of passes/targets/, or a user's own. Costs are cycles (0: free; select compares sums). */
typedef enum Cost {
#define COST(key, required, deflt, what) COST_##key,
#include "passes/costs.def"
#undef COST
  COST_COUNT
} Cost;
typedef struct Target {
  const char *name, *what;      /* name: letters, digits, '.', '_' and '-' */
  int word;                     /* bits of a packed word: 32 or 64 */
  const char *features;         /* gcc's and LLVM's names with commas between: "avx2,fma"; "": none */
  const char *triple, *cpu;     /* as LLVM names them; NULL: this machine, what compilers assume */
  const char *gcc;              /* flags for generated C; "": none */
  double cost[COST_COUNT];      /* of instructions; negative: the machine has none */
  /* of the kernels' steps (steps.def) */
  double cost_mac;              /* int8 multiply-accumulate */
  double cost_fmac;             /* float multiply-accumulate */
  double cost_word;             /* load, and/xor, popcount, add of one word */
  double cost_pack;             /* put one code into a word */
  double cost_shift;            /* an activation added by its place in a list */
  double cost_unpack;           /* take one weight of less than a byte out of its word */
  double cost_flash;            /* what a byte of constant data is worth, in cycles of a run */
} Target;
extern const Target targets[]; extern const int n_targets; /* built in, by name */
const Target *target_find(const char *name); /* NULL where unknown */
bool target_has(const Target *, const char *feature);
const char *target_arch(const Target *);     /* x86_64, aarch64, arm, riscv32, riscv64, another's name in its triple, or "": any */
/* From a file `popshift: target/1`; lives as long as the context. NULL with E0704 or what reading a file gives. */
Target *target_parse(Ctx *, const char *file, const char *text, size_t n);
Target *target_read(Ctx *, const char *path);

typedef struct Force { Kernel kernel; const char *layer; } Force; /* layer NULL: all contractions of codes */

/* What prune and widths take out: output channels of a layer that are one number, or that nobody reads; thresholds out of reach. */
typedef enum Dead { DEAD_CONSTANT, DEAD_UNREAD, DEAD_THRESHOLDS, DEAD_COUNT } Dead;
/* An output that is the next run's input (--state): ports of the graph by number. */
typedef struct Keep { int out, in; } Keep;

typedef struct PassOptions {
  const Target *target;
  bool no_multiply;               /* codes without multiplication or division, else E0309 */
  bool hls;                       /* lower for HLS: exact widths, no packing, pipelined loops */
  Force *force; int n_force;
  bool verify_each;               /* always on in hostile builds: verify and compare before and after */
  uint32_t skip;                  /* bit PASS_x: leave that pass out (optional passes only) */
  /* Called with the state before (after = false) and after each pass. Exactly one of graph, program is not NULL. */
  void (*dump)(void *user, PassId, bool after, const Graph *, const Program *);
  void *dump_user;
  struct Certificate *certificate; /* where pass thresholds notes what it replaces, or NULL (passes/certificate.h) */
  const Keep *keep; int n_keep;   /* for engines and backends: program_keep (edges.h) makes them of the planned program */
  Tensor *const *keep_first;      /* [n_keep] what init writes */
  double *seconds;                /* [PASS_COUNT], added to; or NULL */
  void (*dead)(void *user, Dead, const Node *at, int64_t n); /* a contract, or thresholds, of the graph before; or NULL */
  void *dead_user;
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

/* unmultiply.c: false with E0309 for each float operation between codes and codes, and where nothing is quantized. */
bool integer_part(Ctx *, const Graph *);

/* What recognize made of each contract, for --explain: codes and their origin, or why it stays float. Of the graph after recognize. */
void explain_recognize(Str *, const Graph *);
/* A contract of a graph after select: the range of its sums, proven, and the target's estimate of its cycles (-1: none). */
typedef struct LayerFact { const Node *n; bool known; int64_t lo, hi; double cycles; } LayerFact;
int layer_facts(Arena *, const Graph *, const Target *, LayerFact **); /* their count; in the arena */

/* What select saw and chose, for --explain: one line per contract. */
void explain_select(Str *, const Graph *, const PassOptions *);

#endif
