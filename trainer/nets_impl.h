/* Shared by the nets*.c files only: layers and blocks that built-in networks are made of. */
#ifndef POPSHIFT_TRAINER_NETS_IMPL_H
#define POPSHIFT_TRAINER_NETS_IMPL_H

#include "trainer/net.h"

typedef enum Activation { ACT_PRE, ACT_POST, ACT_NONE } Activation; /* bn-act-conv; conv-bn-act; conv-bn: a quantizer is all that is not linear */
typedef enum Variant { VARIANT_PLAIN, VARIANT_RESIDUAL, VARIANT_BIREAL, VARIANT_GROUPNET } Variant;

typedef struct Build {
  Net *net;
  Graph *g;
  const Recipe *r;
  const NetInfo *info;
  double width;
  bool norm;             /* batch normalization; else biases */
  bool six;              /* activations end at 6 */
  Activation act;
  Variant variant;
  int bases;             /* of each layer in the middle; 1 but for GroupNet */
} Build;

typedef struct Conv { int64_t out, k, stride, pad, groups; } Conv; /* groups 0: one */

/* nets_build.c: nodes of [N,C,H,W], or [N,units] for linear and flat. */
int64_t nb_wide(const Build *, int64_t channels);                          /* times width, at least 1 */
const char *nb_name(const Build *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
Node *nb_conv(Build *, Node *x, const char *layer, const Conv *, bool bias);
Node *nb_linear(Build *, Node *x, const char *layer, int64_t out, bool bias);
Node *nb_bn(Build *, Node *x, const char *layer);
Node *nb_act(Build *, Node *x);                                            /* ReLU, ReLU6, or x itself */
Node *nb_add(Build *, Node *x, Node *y, const char *at);
Node *nb_max_pool(Build *, Node *x, int64_t k, int64_t stride, int64_t pad);
Node *nb_flat(Build *, Node *x);
Node *nb_global_average(Build *, Node *x);                                 /* [N,C] */

/* A layer in the middle of a network, as the variant has it: conv, its bn where it follows (bn NULL: no bn), with a max pool between (pool),
 * and where skip says so a way around. GroupNet (B. Zhuang et al., CVPR 2019): sum over bases of scale * (each with its own weights and bn, and
 * the way around). Names: `conv`, `bn`, of GroupNet with .base1, .base2 .. appended, and conv.skip. from: what the way around starts from. */
typedef struct Layer { const char *conv, *bn; Conv c; int64_t hidden; bool pool, skip; Node *from; } Layer; /* hidden > 0: a product, not a convolution */
Node *nb_layer(Build *, Node *x, const Layer *);

/* Convolutions in a row with a way around them (variant residual), around each (Bi-Real, Z. Liu et al., ECCV 2018; GroupNet), or none. */
typedef struct Block {
  const char *at;        /* name before its layers' */
  int n;
  Conv c[3];
  bool narrow;           /* 1x1 convolutions change the channels: ways around are around all, and where one keeps its channels */
  bool mobile;           /* and narrow: no activation at the end, no way around where the shape changes */
} Block;
Node *nb_block(Build *, Node *x, const Block *);

bool nb_small_stem(const Build *, const Node *image);                      /* option stem; auto: images below 64 pixels */

#define NET(name, options, what) Node *net_##name(Build *, Node *x, int classes); /* NULL: images are too small */
#include "trainer/nets.def"
#undef NET

/* nets.c: options of the network, as the recipe has them or by default. */
double nb_number(const Build *, const char *key);
const char *nb_word(const Build *, const char *key);

#endif
