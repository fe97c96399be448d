/* Quantizers. Each is one file, quant_NAME.c, which defines `const QuantizerOps quant_NAME`, and one row of quantizers.def.
 *
 * A quantizer is put in by rewriting the network's graph: it gets a layer's weights or its input as a node x of f32 and gives the node
 * that the layer reads in its place. What it builds is the whole of its meaning: the forward pass is the graph, the backward pass its
 * derivative (diff.h), where quant and dequant with one scale are straight through between their bounds and `straight(y, s)`
 * gives y and is differentiated as s. Freezing folds what depends on parameters alone (freeze.c), and the compiler finds the
 * codes again; so nothing of a quantizer but its numbers is left in an exported model. */
#ifndef POPSHIFT_TRAINER_QUANTIZER_H
#define POPSHIFT_TRAINER_QUANTIZER_H

#include "trainer/net.h"
#include "trainer/rng.h"
#include "trainer/trainlog.h"

/* One quantizer in a network. It keeps its numbers in parameters [first, first + n) of the net. */
struct Site {
  const char *layer;
  const QuantRow *row;
  int bits;
  bool weight;             /* of weights, else of the layer's input */
  bool up;                 /* of inputs: graph and training images show that they are never negative */
  int w;                   /* the layer's weights, a parameter of the net */
  int x, y;                /* ids of x, and of what the layer reads in its place, in the net's graph */
  int at;                  /* id of the layer in the graph without quantizers */
  int64_t elements;        /* of x for which one step size stands; of inputs all, per sample */
  double batch;            /* samples of one training step */
  int64_t fan_out;         /* of weights: output channels times positions of the kernel */
  uint64_t seed;           /* the recipe's */
  int first, n;
  const void *own;         /* what its quantizer keeps besides, in the net's arena: fixed when it is put in */
};

/* While it is put in. */
typedef struct Put {
  Net *net;
  Graph *g;
  Site *site;
  const Recipe *r;
  const Node *layer;       /* the contract, in the graph without quantizers */
  int k;                   /* which of its operands */
  Node *x;
  Type channels;           /* of weights: one number for each output channel */
  Node *plane[8]; int n_plane; /* an act may give its operand as a sum of these: the layer is then the sum of its products with each of them, and
                            * its derivative that of the operand */
  Type steps;              /* one number for the layer, or for each output channel, as the row's grain says; broadcasts against x */
} Put;

/* Of the images of one calibration batch: means of x, x^2, |x| and the extremes, in the layers' order behind quantized layers. */
typedef struct ActStats { double mean, square, abs, min, max; } ActStats;
enum { ACT_STATS = sizeof(ActStats) / sizeof(double) };

/* One step of training, after the optimizer's. */
typedef struct After {
  Net *net;
  Site *site;
  const Recipe *r;
  const Phase *phase;
  int64_t iteration, per_epoch;  /* iteration: in the phase, of this step, from 0 */
} After;

/* One step in place of the optimizer's, of all weights that the quantizer's sites take. */
typedef struct Update {
  Net *net;
  const Recipe *r;
  const Phase *phase;
  int64_t iteration, per_epoch;  /* iteration: in the phase, of this step, from 0 */
  double lr;
  const float *const *grad;      /* by parameter: of the mean loss, summed over the batch */
  void (*each)(void *pool, size_t n, void (*task)(void *arg, size_t begin, size_t end), void *arg); /* items 0 .. n-1 in pieces, in parallel */
  void *pool;
} Update;

typedef struct QuantizerOps {
  Node *(*weight)(Put *);                                          /* NULL: not for weights */
  Node *(*act)(Put *);                                             /* NULL: not for activations */
  void (*init_weight)(const Net *, const Site *);                  /* parameters from the weights as they are; NULL: nothing to do */
  void (*init_act)(const Net *, const Site *, const ActStats *, int n); /* from the n >= 1 batches so far, called after each */
  void (*after)(const After *);                                    /* NULL: the optimizer is all */
  double (*width)(const Net *, const Site *);                      /* bits that a weight takes on average, exported; NULL: site->bits */
  void (*metrics)(const Net *, const Site *, Metrics *);           /* what it logs of an epoch, by metric_add; NULL: nothing */
  void (*update)(const Update *, Quantizer);                       /* NULL: the optimizer steps the weights. Called once per step for all sites */
  double (*code_bits)(const Net *, const Site *);                  /* without what describes them (scales, tables); NULL: as width */
  const char *(*wrong)(const Node *layer, int k, const QuantRow *, bool weight, bool up); /* why it cannot be put at operand k or its input; NULL: it can */
  bool (*valid)(const Net *, const Site *);                        /* tables just read from a file are such as its code relies on; NULL: any are */
  bool grain;              /* of weights: the row's grain may be kernel; where there is an option `scale`, with that alone */
  const char *in_float;    /* of weights that are codes whatever the input is: why a frozen layer may be float all the same. NULL: of a float input it is */
} QuantizerOps;
extern const QuantizerOps *const quantizer_ops[QUANTIZER_COUNT];
static inline const QuantizerOps *site_ops(const Site *s) { return quantizer_ops[s->weight ? s->row->weight.q : s->row->act.q]; }

/* A parameter LAYER.WHAT of the quantizer, filled with one number, as a node. Trained (PARAM_QUANT, without decay) or kept by its
 * own code (PARAM_TABLE). put_last is the parameter itself, to change what the optimizer does with it. */
Node *put_param(Put *, const char *what, ParamRole, const Type *, float fill);
Param *put_last(const Put *);
/* Latent variables LAYER.WHAT, one for each weight, trained: weight decay acts on them. */
Node *put_latent(Put *, const char *what);
/* A table like put_param's that has the sum of a node's value over the batch (over its shards) of a step when `after` is called. The node
 * is one of training alone: it costs nothing where it is not needed. */
void put_stat(Put *, const char *what, Node *);
void step_set(Param *, int64_t i, double v);                        /* at least 1e-8, and never below a thousandth of it in training */
/* alq_act.c */
Node *alq_act(Put *);
void alq_init_act(const Net *, const Site *, const ActStats *, int n);
void alq_after(const After *);
Param *site_param(const Net *, const Site *, int i);               /* the i-th that was put */

/* Where codes lie: about 0 without it, half-integer zero point (LEVELS_SYMMETRIC); from 0 up; two's complement. */
typedef enum Levels { LEVELS_SYMMETRIC, LEVELS_UP, LEVELS_SIGNED } Levels;
/* dequant(quant(x)), straight through between the bounds; step trained where it depends on parameters. */
Node *fake_quant(Graph *, Node *x, Node *step, int bits, Levels);
/* Quantizers with a trained step size, uniform levels at its distance: LAYER.weight_step as the row's grain says, LAYER.act_step; their
 * gradients are scaled as LSQ's (uniq_grad_scale). */
Node *put_step_weight(Put *, Levels);
Node *put_step_act(Put *);
/* Their first values. UniQ's: of weights Table 1's step times the deviation of what one step serves; of inputs the greatest over the batches
 * of Table 1's step times sqrt(2 * mean of squares), the deviation before a ReLU, but no farther than the greatest number that was seen.
 * lsq: 2 mean|x| / sqrt(greatest code), of inputs on the first batch. */
void first_step_weight(const Net *, const Site *, bool lsq);
void first_step_act(const Net *, const Site *, const ActStats *, int n, bool lsq);
Levels act_levels(const Site *);                                   /* of inputs with a step size: UP where never negative, else SIGNED, of one bit SYMMETRIC */
int64_t levels_above(int bits, Levels);                            /* codes above 0: 2^b - 1, else 2^(b-1) - 1 */
Node *straight(Graph *, Node *y, Node *surrogate);
Node *stop_gradient(Graph *, Node *);                              /* a constant to derivatives */
/* 2^-k of whole numbers k in 0 .. 2^bits - 1, as f32; without derivative. */
Node *halvings(Graph *, Node *k, int bits);
/* Random numbers of the recipe's seed for parameter p of the net (an index): rng_fill_normal and _uniform, unlike any other's. */
void fill_normal(const Net *, const Site *, int p, double deviation);
void fill_uniform(const Net *, const Site *, int p, double from, double to);

/* Moments of the weights that each of the steps serves, in the arena: means of w, |w|, w^2, the sample deviation, the greatest |w|. */
typedef struct Moments { double n, mean, abs, square, deviation, max; } Moments;
int64_t weight_step(const Param *w, const Param *steps, int64_t i); /* which of its steps element i of the weights has */
Moments *weight_moments(Arena *, const Net *, const Site *, const Param *steps);

#endif
