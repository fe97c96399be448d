/* A network in training: a graph whose parameters are arguments, and their values. Built in, or any float graph whose constants
 * become parameters. Quantizers are put in by rewriting the graph (quantize.c); freeze.c turns it back into a graph for inference. */
#ifndef POPSHIFT_TRAINER_NET_H
#define POPSHIFT_TRAINER_NET_H

#include "ir/graph.h"
#include "trainer/recipe.h"

typedef enum ParamRole {
  PARAM_WEIGHT,        /* of a contract */
  PARAM_VECTOR,        /* biases, gains */
  PARAM_QUANT,         /* of a quantizer, trained by gradients: step sizes, latent weights */
  PARAM_TABLE,         /* of a quantizer, set by its own code */
  PARAM_STAT           /* running mean or variance of a bn */
} ParamRole;

typedef enum PriorDecay { PRIOR_CONSTANT, PRIOR_LINEAR, PRIOR_COSINE } PriorDecay;
typedef struct Param {
  const char *name;    /* unique */
  ParamRole role;
  Type t;
  int64_t n;
  float *value;        /* [n], 64-aligned, in the net's arena */
  float grad_mul;      /* gradients are multiplied by it */
  float decay_mul;     /* so is weight decay: 1, of quantizers' 0 */
  float least;         /* where above 0, they stay at or above it */
  float prior;         /* where the value is below 0, this times the phase's prior_factor is taken from the gradient: S3's Eq. 7 */
  PriorDecay prior_decay;
  int like;            /* above 0: it begins with the numbers of parameter like - 1 of the network, those of the recipe's init, too */
  bool taken;          /* its quantizer steps it, not the optimizer */
} Param;

static inline bool param_is_trained(const Param *p) { return p->role <= PARAM_QUANT; }
typedef struct Site Site; /* quantizer.h */

/* Where a block, or a layer of one, of a built-in network ends, before its activation: node ids in the graph without quantizers and in g.
 * In the layers' order; the first is the stem. */
typedef struct Tap { int plain, node; bool block; } Tap;
/* What training sums over a batch for a quantizer (put_stat): parameter, and id in g of the node with a shard's part. */
typedef struct Stat { int p, node; } Stat;

/* g: argument 0 is the raw images f32[N,C,H,W] with N a symbol, argument 1+i is parameter i; output 0 the logits f32[N,classes].
 * The last n_aux parameters are those of extras.h, which g does not have. */
typedef struct Net {
  Ctx *ctx;
  Arena *arena;
  Graph *g;
  Param *p; int n_p, cap_p;
  int classes;
  Graph *plain;        /* g as it was without quantizers, and how many parameters it had; NULL before there are some */
  int n_plain;
  Site *site; int n_site; /* in the layers' order; weights before inputs */
  bool real;           /* the images are floats: frozen networks take such, not bytes */
  bool negative;       /* and some numbers of the training set are below 0 */
  const char *class_fact, *input_fact; /* what frozen networks say of themselves (ir/graph.h: Fact), or NULL */
  VEC(Stat) stat;
  VEC(Tap) tap;
  int n_aux;
  const Recipe *extras;/* whose losses a step has besides the cross-entropy; NULL: none */
  struct Net *teacher; /* its own */
  const Ssp *ssp;      /* of the phase; NULL: everything is rounded */
} Net;

/* The recipe's built-in network is one, and has its options; else false with E0703 where it says so. */
bool net_check(const Recipe *);
/* data: channels, height, width of an image. Weights are He-normal by the recipe's seed. NULL with E0703 at the recipe's line. */
Net *net_builtin(Ctx *, const Recipe *, int c, int h, int w);
/* A batch whose size gives it away: a model that is imported with it may compute with its batch (shapes, reshapes), and the
 * dimensions that come from it are known again. A prime that no layer has. */
enum { NET_BATCH = 7919 };
/* A graph whose inputs are for one image, as one for a symbol N of them. Consumes it. NULL with E0302 at the node that mixes images. */
Graph *net_free_batch(Ctx *, Graph *);
/* From a float graph of one image input, f32 or u8 [N,C,H,W] with N a symbol, NET_BATCH or 1, and one output of logits: constants that a contract, an addition or a
 * bn reads become parameters. Consumes g. NULL with E0702 where it is not of that form. */
Net *net_of_graph(Ctx *, Graph *g, const Recipe *, int c, int h, int w);
void net_free(Net *);

/* An empty net; and its image argument with the recipe's normalization, x*(scale/std) - mean/std in binary32: NULL with E0703. */
Net *net_new(Ctx *, const char *name, int classes);
Node *net_images(Net *, const Recipe *, int c, int h, int w);
/* base, or base.2, base.3 ..: no parameter's name, nor another argument's. */
const char *net_unique(Net *, const char *base);
/* Adds a parameter of f32, zeroed. Its argument is made by who builds the graph. */
int net_param(Net *, const char *name, ParamRole, const Type *);

/* Adds a tap at x, a value of images [N,C,H,W]; others are passed over. */
void net_tap(Net *, const Node *x, bool block);

/* The graph with N = batch (0: the symbol stays); bn as it is, or spelled out in maps. */
Graph *net_bind(const Net *, int64_t batch, bool spell_bn);

/* One step's graph: arguments x, parameters, then of Net.ssp f32[1] for each fragment's weights and inputs (extras.h), labels i64[batch,1] last. */
typedef struct TrainGraph {
  Graph *g;
  int out_loss, out_correct; /* f32[batch,1]: cross-entropy of each sample; 1 where the first greatest logit is the label's */
  int out_objective;         /* f32[batch,1]: with the losses of extras; out_loss where there are none */
  int *out_grad;             /* by parameter: output with its gradient of the objective summed over samples / total; -1: none */
  int *out_mean, *out_var;   /* by parameter: of PARAM_STAT means and variances, the batch's; else -1 */
  int *out_sum;              /* by parameter: of put_stat, the shard's sums; else -1 */
  int arg_precision, n_precision; /* first of the arguments of Net.ssp, and how many */
} TrainGraph;
/* running: bn by its running statistics, which stay. */
bool net_train_graph(const Net *, int64_t batch, int64_t total, bool running, Arena *, TrainGraph *);
/* Calibration: output i has the ActStats of the i-th quantizer of inputs, f32[ACT_STATS]. */
Graph *net_calibration_graph(const Net *, int64_t batch);
/* Output i: the weights that the layer of the i-th quantizer of weights computes with. Images do not matter. */
Graph *net_weight_graph(const Net *);

/* quantize.c: quantizers as the rows say, in place of those that are there. */
void net_quantize(Net *, const Recipe *, const QuantRows *);
bool net_can_quantize(Net *, const Recipe *, const Phase *); /* some row quantizes some layer; else false with E0703 */
/* Says of each layer that was to be of codes and is a contract of floats in the frozen graph, recognized, that it is: E0802 at its row. */
void net_warn_of_floats(const Net *, const Graph *recognized);
const char *net_layer_name(const Net *, int p, Arena *); /* of the layer with the weights p: their name without ".weight" */
const Site *net_weight_site(const Net *, int p); /* the quantizer of the weights p, or NULL */
double net_code_bits(const Net *, int p);   /* of a weight's codes alone: ALQ's average bitwidth; 32 where it is not quantized */
double net_weight_bits(const Net *, int p); /* that an element of parameter p takes when exported: 32 where it is not quantized */

/* freeze.c: for inference: input u8 images (f32 where the net is real), weights as codes, batch symbolic (batch 0) or fixed. Outputs the logits. */
Graph *net_freeze(const Net *, const char *name, int64_t batch);

static inline bool net_quantized(const Net *net) { return net->plain != NULL; }
static inline int net_n_plain(const Net *net) { return net->plain ? net->n_plain : net->n_p - net->n_aux; } /* parameters of the network without quantizers */

typedef struct NetInfo { const char *name, *options, *what; } NetInfo;
extern const NetInfo net_info[];
extern const int n_net_info;

#endif
