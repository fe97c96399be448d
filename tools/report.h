/* What a compiled model costs, layer by layer: for inspect, in text, JSON ("schema": "popshift.report/1") and HTML. */
#ifndef POPSHIFT_TOOLS_REPORT_H
#define POPSHIFT_TOOLS_REPORT_H

#include "passes/pass.h"

#include <jansson.h>

typedef struct Layer {
  const char *name, *op;   /* of the model's node, or ours */
  const char *kernel;      /* "removed" where nothing of it is computed */
  Type in, out;
  int w_bits, a_bits;      /* bits of a weight and an activation code; 32 for f32 */
  int64_t macs;            /* multiply-accumulates the layer stands for: bit-serial planes are not counted twice */
  int64_t bit_ops;         /* macs * w_bits * a_bits, of bases of the planes there are; 0 for float layers */
  int64_t weight_bytes;    /* of its constant operand as stored */
  /* Where passes were watched: */
  bool known;              /* lo, hi, acc: the proven range of its sums, and their type */
  int64_t lo, hi;
  Elem acc;
  double est_cycles;       /* by the target's costs; -1: not known */
  int64_t dead[DEAD_COUNT];
  int64_t macs_before, bytes_before; /* without prune; -1: not known */
} Layer;

typedef struct Report {
  Arena *arena;
  Layer *layers; int n_layers;
  int64_t flash, stack, arena_bytes, arena_bound; /* of the program; -1 where it was not planned */
  int64_t macs, bit_ops;
  int64_t dead[DEAD_COUNT];
  bool compared;                           /* what follows is known: the same without prune */
  int64_t flash_before, arena_before, macs_before, bit_ops_before;
} Report;

/* Both may be NULL; the graph is after select (fuse is best). Everything in it lives in the arena. */
void report_make(Report *, Arena *, const Graph *, const Program *, const Target *);

/* What passes tell while they run. report_watch sets the dead callback and dump of the options; the Watch must outlive their use. */
/* Of the nth contract with that name and operator; where select left several, nobody says which of them the dead channels were. */
typedef struct Told { const char *name, *op; int nth; bool selected, known; int64_t lo, hi; Elem acc; double cycles; int64_t dead[DEAD_COUNT]; } Told;
typedef struct Watch { Arena *arena; const Target *target; VEC(Told) layers; } Watch;
void report_watch(Watch *, Arena *, PassOptions *);
void report_told(Report *, const Watch *);
/* The same model's report without prune. Layers of which nothing is left join r. */
void report_compare(Report *r, const Report *before);
extern const char *const dead_names[DEAD_COUNT]; /* as the report's keys */

void report_svg(Str *, const Report *); /* report_html.c: bars per layer; self-contained */
json_t *json_text(Arena *, const char *);  /* any bytes as a string: what is neither printable ASCII nor a line's end becomes '?' */
json_t *json_number(double);               /* infinities and NaN, which JSON has not, as strings */
void json_print(json_t *);                 /* to standard output, and frees it */
json_t *report_json(const Report *, Ctx *, const char *model_sha, const char *target);

#endif
