/* Networks without ways around, but for their variants: the first layer and the last stay as they are. */
#include "trainer/nets_impl.h"

#include <string.h>

/* fc1 .. of n units each, hidden layers of [N,units]. With variants from layer `from` on. */
static Node *hidden_layers(Build *b, Node *x, int layers, int bn_from, int64_t n) {
  for (int i = 1; i <= layers; i++) {
    const char *fc = nb_name(b, "fc%d", i), *bn = b->norm ? nb_name(b, "bn%d", bn_from + i) : NULL;
    bool varies = i > 1;
    Layer l = {.conv = fc, .bn = bn, .hidden = n, .skip = varies && b->variant >= VARIANT_BIREAL, .from = x};
    if (varies) x = nb_layer(b, x, &l);
    else x = nb_linear(b, x, fc, n, !bn), x = bn ? nb_bn(b, x, bn) : x;
    x = nb_act(b, x);
  }
  return x;
}

Node *net_mlp(Build *b, Node *x, int classes) {
  return nb_linear(b, hidden_layers(b, nb_flat(b, x), 3, 0, nb_wide(b, (int64_t)nb_number(b, "hidden"))), "fc4", classes, true);
}

/* conv<i>, bn<i>, activation, max pool; the pool earlier where the layer varies: behind the convolution, before its bn. */
Node *net_lenet5(Build *b, Node *x, int classes) {
  static const int64_t channels[] = {20, 50};
  if (x->t.d[2].n < 16 || x->t.d[3].n < 16) return NULL;
  for (int i = 0; i < 2; i++) {
    const char *conv = nb_name(b, "conv%d", i + 1), *bn = b->norm ? nb_name(b, "bn%d", i + 1) : NULL;
    Conv c = {nb_wide(b, channels[i]), 5, 1, 0, 0};
    if (i && b->variant >= VARIANT_BIREAL) {
      x = nb_act(b, nb_layer(b, x, &(Layer){.conv = conv, .bn = bn, .c = c, .pool = true, .skip = true, .from = x}));
      continue;
    }
    x = nb_conv(b, x, conv, &c, !bn);
    if (bn) x = nb_max_pool(b, nb_act(b, nb_bn(b, x, bn)), 2, 2, 0);
    else x = nb_act(b, nb_max_pool(b, x, 2, 2, 0)); /* ALQ's order: a quarter of the activations */
  }
  x = hidden_layers(b, nb_flat(b, x), 1, 2, nb_wide(b, 500));
  return nb_linear(b, x, "fc2", classes, true);
}

/* ALQ's (Z. Qu et al., CVPR 2020), without its biases before bn, which do nothing: conv-bn-relu conv-pool-bn-relu, three times. hidden 0: LQ-Net's. */
Node *net_vgg_small(Build *b, Node *x, int classes) {
  int64_t hidden = (int64_t)nb_number(b, "hidden");
  if (x->t.d[2].n < 8 || x->t.d[3].n < 8) return NULL;
  for (int i = 0; i < 6; i++) {
    const char *conv = nb_name(b, "conv%d", i + 1), *bn = b->norm ? nb_name(b, "bn%d", i + 1) : NULL;
    Layer l = {.conv = conv, .bn = bn, .c = {nb_wide(b, INT64_C(128) << i / 2), 3, 1, 1, 0}, .pool = i % 2, .skip = i && b->variant >= VARIANT_BIREAL, .from = x};
    if (i) x = nb_layer(b, x, &l);
    else x = nb_conv(b, x, conv, &l.c, !bn), x = bn ? nb_bn(b, x, bn) : x;
    x = nb_act(b, x);
  }
  x = nb_flat(b, x);
  if (hidden) x = hidden_layers(b, x, 2, 6, nb_wide(b, hidden));
  return nb_linear(b, x, hidden ? "fc3" : "fc1", classes, true);
}
