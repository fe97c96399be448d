/* What a model says of itself: names of classes, how images become its input. */
#include "tools/cmd.h"

#include <string.h>

int model_classes(Ctx *ctx, const Graph *g, const char ***names) {
  const char *text = g ? graph_fact_get(g, "popshift.classes") : NULL;
  VEC(const char *) v = {0};
  for (const char *p = text; p && *p;) {
    size_t n = strcspn(p, "\n");
    vec_push(ctx->own, &v, arena_strndup(ctx->own, p, n));
    p += n + (p[n] == '\n');
  }
  *names = v.p;
  return v.n;
}

const char *model_input(Ctx *ctx, const Graph *g) {
  const char *text = g ? graph_fact_get(g, "popshift.input") : NULL;
  return text ? arena_strdup(ctx->own, text) : NULL;
}
