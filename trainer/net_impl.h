/* Shared by net.c, extras.c and freeze.c only: how a net's nodes come into a graph bound to a batch, and a step's graph while it is made. */
#ifndef POPSHIFT_TRAINER_NET_IMPL_H
#define POPSHIFT_TRAINER_NET_IMPL_H

#include "trainer/net.h"

typedef enum BindBn { BN_KEEP, BN_SPELL, BN_BATCH } BindBn;
typedef struct Bind { Dim n; BindBn bn; bool surrogates; } Bind; /* bn stays, becomes maps, or bn_train; straight stays or is its value */

/* A node over new operands with the batch in place of the symbol. */
Node *bind_node(Graph *g, const Node *old, Node *const *in, const Bind *b);
Param *net_param_room(Net *);       /* for one more parameter, at p[n_p] */
void net_make_extras(Net *);        /* adds the parameters that extras_build takes */
Node *param_const(Graph *g, const Param *p);

typedef struct BatchNorm { Node *bn; int mean, var; } BatchNorm; /* bn_train, and the parameters of its statistics, or -1 */

typedef struct Step {
  Net *net;
  bool make;             /* parameters of extras are added; else `next` is the next of them */
  int next;
  Bind bind;
  Graph *g;
  Node **map;            /* by id in the net's graph */
  Node *target;          /* f32[batch,classes], rows of sum 1 */
  int64_t total;         /* samples over all shards */
  VEC(Node *) y, dy;     /* what the loss is differentiated by, and its gradients */
  Node *objective;       /* the sum of losses of each sample, f32[batch,1] */
  VEC(BatchNorm) bn;
  Node **rounded;        /* by fragment's weights, inputs: bool[1]; NULL without Net.ssp */
  Arena *scratch;
} Step;

/* weight * loss, f32[batch,1], joins the objective, with its gradient by y. */
void step_add(Step *, Node *loss, double weight, Node *y, Node *dy);
void step_cross_entropy(Step *, Node *y, double weight); /* loss: -sum target * log softmax(y) */
/* extras.c: what Net.extras says joins the loss. Node i of the net's graph, where a quantizer's result, may be left unrounded. */
void extras_build(Step *);
Node *extras_precision(const Step *, int i, Node *y, Node *const *map);

#endif
