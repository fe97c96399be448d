/* What a network that is frozen says of itself: the names of its classes, and how pictures become its input. */
#include "trainer/train_impl.h"

#include <jansson.h>
#include <stdlib.h>
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

static json_t *numbers(const double *v, int n) {
  json_t *a = json_array();
  for (int i = 0; i < n; i++) json_array_append_new(a, json_real(v[i]));
  return a;
}

bool net_facts(Trainer *t, const char *of_model) {
  const RecipeData *r = &t->r->data;
  const Dataset *d = t->train;
  if (!class_names(t)) return false;
  if (of_model) { t->net->input_fact = arena_strdup(t->net->arena, of_model); return true; }
  json_t *o = json_pack("{s:s s:s s:[i,i,i]}", "pixels", d->real ? "f32" : "u8", "layout", "NCHW", "shape", d->c, d->h, d->w);
  if (r->size[0]) json_object_set_new(o, "resize", json_string("bilinear"));
  if (r->train.kind == FILES_FOLDER || r->train.kind == FILES_CIFAR) json_object_set_new(o, "channels", json_string(d->c == 1 ? "grey" : "RGB"));
  if (t->normalizes) { /* the model does it: (pixel * scale - mean) / std */
    json_t *n = json_pack("{s:f}", "scale", r->scale);
    if (r->n_mean) json_object_set_new(n, "mean", numbers(r->mean, r->n_mean));
    if (r->n_std) json_object_set_new(n, "std", numbers(r->std, r->n_std));
    json_object_set_new(o, "normalized_inside", n);
  }
  char *text = json_dumps(o, JSON_PRESERVE_ORDER | JSON_COMPACT | JSON_REAL_PRECISION(17));
  json_decref(o);
  if (!text) ctx_fatal(t->ctx);
  t->net->input_fact = arena_strdup(t->net->arena, text);
  free(text);
  return true;
}
