/* The graph's ends as codes: what the generated function takes and gives where --io codes or packed asks for it. */
#ifndef POPSHIFT_PASSES_EDGES_H
#define POPSHIFT_PASSES_EDGES_H

#include "passes/pass.h"

typedef enum EdgeIo { EDGE_FLOAT, EDGE_CODES, EDGE_PACKED } EdgeIo;

typedef struct EdgeOptions {
  EdgeIo io;
  const bool *channels_last;    /* [inputs] --layout IN=nhwc; NULL: none */
  const Keep *keep; int n_keep; /* these need no quantization: nobody sees them */
} EdgeOptions;

/* One port. convert: a graph of one argument and one output, between what the model has and what the port has (inputs: model's value
 * to port's; outputs: port's to model's); NULL where they are the same. */
typedef struct Edge { Graph *convert; PortMeaning meaning; } Edge;
typedef struct Edges { int n_in, n_out; Edge *in, *out; } Edges;

/* Consumes a recognized graph (quants at the edges: after sink) and gives one whose ports are as asked, such that
 * out.convert(result(in.convert(x))) is the old graph's value of x, bit by bit. NULL with E0302 where an edge is not quantized.
 * Tensors are the context's, e lives in the arena; edges_free frees the graphs. */
Graph *graph_edges(Graph *, const EdgeOptions *, Arena *, Edges *e);
void edges_free(Edges *);
/* x as the port has it (in), or as the model has it (out). A copy where nothing changes; NULL with a diagnostic. */
Tensor *edge_convert(Ctx *, const Edge *, Tensor *x);

/* A planned program without the ports of the pairs: the outputs stay in the workspace and are the inputs of the next run; init
 * writes first[k], of input k's type. False with a diagnostic. */
bool program_keep(Program *, const Keep *, Tensor *const *first, int n);

#endif
