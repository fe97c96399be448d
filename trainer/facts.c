/* What a network that is frozen says of itself: the names of its classes, and how pictures become its input. */
#include "trainer/train_impl.h"

#include <jansson.h>
#include <string.h>

/* Names, a line each. */
static bool class_names(Trainer *t) {
  const Dataset *d = t->train;
  Str s = {.ctx = t->ctx};
  Loc loc = {t->r->file, -1, -1, NULL, NULL};
  bool ok = true;
  for (int k = 0; ok && d->class_name && k < d->classes; k++) {
    const char *name = d->class_name[k];
    json_t *text = json_string(name);
    if (!text || !*name || strlen(name) > 255) ok = diag(t->ctx, E0703, &loc, "the name of class %d is empty, longer than 255 bytes or no UTF-8", k);
    for (const char *c = name; ok && *c; c++) if ((unsigned char)*c < 32) ok = diag(t->ctx, E0703, &loc, "the name of class %d has a control character", k);
    json_decref(text);
    str_printf(&s, "%s%s", k ? "\n" : "", name);
  }
  if (ok && s.n > (size_t)t->ctx->limits.name) ok = diag(t->ctx, E0402, &loc, "the names of classes have %zu bytes, at most %lld can be", s.n, (long long)t->ctx->limits.name);
  if (ok && s.n) t->net->class_fact = arena_strdup(t->net->arena, s.p);
  str_free(&s);
  return ok;
}

static void numbers(Str *s, const char *key, const double *v, int n) {
  if (!n) return;
  str_printf(s, ",\"%s\":[", key);
  for (int i = 0; i < n; i++) str_put(s, i ? "," : ""), str_f64(s, v[i]);
  str_put(s, "]");
}

bool net_facts(Trainer *t, const char *of_model) {
  const RecipeData *r = &t->r->data;
  const Dataset *d = t->train;
  Str s = {.ctx = t->ctx};
  if (!class_names(t)) return false;
  str_printf(&s, "{\"pixels\":\"%s\",\"layout\":\"NCHW\",\"shape\":[%d,%d,%d]", d->real ? "f32" : "u8", d->c, d->h, d->w);
  if (r->size[0]) str_put(&s, ",\"resize\":\"bilinear\"");
  if (r->train.kind == FILES_FOLDER || r->train.kind == FILES_CIFAR) str_printf(&s, ",\"channels\":\"%s\"", d->c == 1 ? "grey" : "RGB");
  if (t->normalizes) { /* the model does it: (pixel * scale - mean) / std */
    str_put(&s, ",\"normalized_inside\":{\"scale\":");
    str_f64(&s, r->scale);
    numbers(&s, "mean", r->mean, r->n_mean), numbers(&s, "std", r->std, r->n_std);
    str_put(&s, "}");
  }
  str_put(&s, "}");
  t->net->input_fact = arena_strdup(t->net->arena, of_model ? of_model : s.p);
  str_free(&s);
  return true;
}
