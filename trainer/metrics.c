/* Numbers by name that an epoch is logged with, beside loss and accuracy. */
#include "trainer/train_impl.h"

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
  for (int p = 0; t->net->quantized && p < t->net->n_p; p++) {
    const Param *step = &t->net->p[p];
    if (step->role == PARAM_STEP_W) metric_add(m, "bits", metric_layer(m, t->net->p[step->of].name), step->bits);
  }
}
