/* Numbers by name that an epoch is logged with, beside loss and accuracy. */
#include "trainer/train_impl.h"

#include "trainer/quantizer.h"

#include <string.h>

void metric_add(Metrics *m, const char *family, const char *of, double value) {
  Metric row = {arena_printf(m->arena, "%s.%s", family, of), value};
  vec_push(m->arena, m, row);
}

const char *metric_layer(Metrics *m, const char *weights) {
  size_t n = strlen(weights), end = strlen(".weight");
  return n > end && !strcmp(weights + n - end, ".weight") ? arena_strndup(m->arena, weights, n - end) : weights;
}

/* Of quantized networks the bits of each layer's weights. */
void metrics_collect(const Trainer *t, Metrics *m) {
  for (int i = 0; i < t->net->n_site; i++) {
    const Site *s = &t->net->site[i];
    if (s->weight) metric_add(m, "bits", s->layer, net_weight_bits(t->net, s->w));
  }
}
