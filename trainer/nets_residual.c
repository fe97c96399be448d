/* Residual networks: K. He et al., 2016 (CVPR), and with the activation before each convolution (ECCV), as UniQ trains them; M. Sandler et al.,
 * MobileNetV2 (CVPR 2018). */
#include "trainer/nets_impl.h"

#include <math.h>
#include <string.h>

typedef struct Shape { int stages, blocks[4]; int64_t channels; bool bottleneck; } Shape;

/* 3x3, or for large images 7x7 in steps of 2 and a max pool; bn and activation where they do not come first in the blocks. */
static Node *stem(Build *b, Node *x, int64_t channels, bool large) {
  x = nb_conv(b, x, "conv1", large ? &(Conv){nb_wide(b, channels), 7, 2, 3, 0} : &(Conv){nb_wide(b, channels), 3, 1, 1, 0}, false);
  if (large || b->act != ACT_PRE) x = nb_bn(b, x, "bn1");
  if (large || b->act != ACT_PRE) x = nb_act(b, x);
  return large ? nb_max_pool(b, x, 3, 2, 1) : x;
}

static Node *resnet(Build *b, Node *x, const Shape *s, bool large, int classes) {
  int64_t least = INT64_C(1) << (s->stages + large);
  if (x->t.d[2].n < least || x->t.d[3].n < least) return NULL;
  x = stem(b, x, s->channels, large);
  for (int stage = 0; stage < s->stages; stage++)
    for (int i = 0; i < s->blocks[stage]; i++) {
      int64_t c = nb_wide(b, s->channels << stage), stride = stage && !i ? 2 : 1;
      Block k = {.at = nb_name(b, "stage%d.block%d", stage + 1, i + 1), .n = 2, .c = {{c, 3, stride, 1, 0}, {c, 3, 1, 1, 0}}};
      if (s->bottleneck) k = (Block){.at = k.at, .n = 3, .narrow = true, .c = {{c, 1, 1, 0, 0}, {c, 3, stride, 1, 0}, {4 * c, 1, 1, 0, 0}}};
      x = nb_block(b, x, &k);
    }
  if (b->act == ACT_PRE) x = nb_act(b, nb_bn(b, x, "bn"));
  return nb_linear(b, nb_global_average(b, x), "fc", classes, true);
}

#define CIFAR(n) \
  Node *net_resnet##n(Build *b, Node *x, int classes) { \
    enum { blocks = (n - 2) / 6 }; \
    return resnet(b, x, &(Shape){3, {blocks, blocks, blocks}, 16, false}, false, classes); \
  }
CIFAR(8)
CIFAR(14)
CIFAR(20)
CIFAR(32)
#define IMAGENET(n, bottleneck, ...) \
  Node *net_resnet##n(Build *b, Node *x, int classes) { \
    return resnet(b, x, &(Shape){4, {__VA_ARGS__}, 64, bottleneck}, !nb_small_stem(b, x), classes); \
  }
IMAGENET(18, false, 2, 2, 2, 2)
IMAGENET(34, false, 3, 4, 6, 3)
IMAGENET(50, true, 3, 4, 6, 3)

/* A multiple of 8, at least 8 and not less than nine tenths of channels * width. */
static int64_t eights(const Build *b, double channels) {
  double c = channels * b->width, n = fmax(8, floor((c + 4) / 8) * 8);
  return (int64_t)(n < 0.9 * c ? n + 8 : n);
}

/* For small images the first and the second step of 2 are left out. */
Node *net_mobilenet_v2(Build *b, Node *x, int classes) {
  static const struct { int expand, channels, blocks, stride; } stage[] = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2},
                                                                            {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  bool small = nb_small_stem(b, x);
  int64_t least = small ? 8 : 32;
  if (x->t.d[2].n < least || x->t.d[3].n < least) return NULL;
  b->six = true;
  x = nb_act(b, nb_bn(b, nb_conv(b, x, "conv1", &(Conv){eights(b, 32), 3, small ? 1 : 2, 1, 0}, false), "bn1"));
  for (int s = 0; s < 7; s++)
    for (int i = 0; i < stage[s].blocks; i++) {
      int64_t in = x->t.d[1].n, wide = in * stage[s].expand, out = eights(b, stage[s].channels), stride = i || (small && s == 1) ? 1 : stage[s].stride;
      Block k = {.at = nb_name(b, "stage%d.block%d", s + 1, i + 1), .narrow = true, .mobile = true};
      if (wide != in) k.c[k.n++] = (Conv){wide, 1, 1, 0, 0};
      k.c[k.n++] = (Conv){wide, 3, stride, 1, wide};
      k.c[k.n++] = (Conv){out, 1, 1, 0, 0};
      x = nb_block(b, x, &k);
    }
  x = nb_act(b, nb_bn(b, nb_conv(b, x, "conv2", &(Conv){(int64_t)fmax(1280, (double)eights(b, 1280)), 1, 1, 0, 0}, false), "bn2"));
  return nb_linear(b, nb_global_average(b, x), "fc", classes, true);
}
