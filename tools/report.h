/* What a compiled model costs, layer by layer: for inspect, in text, JSON ("schema": "popshift.report/1") and HTML. */
#ifndef POPSHIFT_TOOLS_REPORT_H
#define POPSHIFT_TOOLS_REPORT_H

#include "passes/pass.h"

#include <jansson.h>

typedef struct Layer {
  const Node *node;        /* a contract of the graph after fuse */
  const char *name, *op;   /* of the model's node, or ours */
  const char *kernel;
  Type in, out;
  int w_bits, a_bits;      /* bits of a weight and an activation code; 32 for f32 */
  int64_t macs;            /* multiply-accumulates the layer stands for: bit-serial planes are not counted twice */
  int64_t bit_ops;         /* macs * w_bits * a_bits, 0 for float layers */
  int64_t weight_bytes;    /* of its constant operand as stored */
} Layer;

typedef struct Report {
  Arena *arena;
  Layer *layers; int n_layers;
  int64_t flash, stack, arena_bytes, arena_bound; /* of the program; -1 where it was not planned */
  int64_t macs, bit_ops;
} Report;

/* Both may be NULL; the graph is after select (fuse is best). Everything in it lives in the arena. */
void report_make(Report *, Arena *, const Graph *, const Program *, const Target *);
json_t *json_text(Arena *, const char *);  /* any bytes as a string: what is neither printable ASCII nor a line's end becomes '?' */
json_t *json_number(double);               /* infinities and NaN, which JSON has not, as strings */
void json_print(json_t *);                 /* to standard output, and frees it */
json_t *report_json(const Report *, Ctx *, const char *model_sha, const char *target);

#endif
