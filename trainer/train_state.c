/* The state of a run as a checkpoint, and back: everything that the next step depends on, bit for bit. */
#include "trainer/train_impl.h"

#include "trainer/checkpoint.h"
#include "trainer/quantizer.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *entry(Arena *a, const char *kind, const Param *p) { return arena_printf(a, "%s:%s", kind, p->name); }

bool state_save(Trainer *t) {
  if (t->ranks.me) return true;
  Arena *scratch = arena_new(t->ctx);
  Ckpt *c = ckpt_new(t->ctx);
  Str recipe = {.ctx = t->ctx};
  recipe_print(&recipe, t->r);
  ckpt_put_text(c, "recipe", recipe.p);
  ckpt_put_i64(c, "phase", t->phase), ckpt_put_i64(c, "epoch", t->epoch), ckpt_put_i64(c, "step", t->step);
  ckpt_put_i64(c, "iteration", t->iteration), ckpt_put_i64(c, "quantized", net_quantized(t->net));
  ckpt_put_i64(c, "correct", t->correct), ckpt_put_i64(c, "seen", t->seen);
  ckpt_put(c, "loss", CKPT_F64, 1, &t->loss);
  ckpt_put(c, "signs", CKPT_U8, signs_count(t->net), t->sign);
  for (int p = 0; p < t->net->n_p; p++) {
    const Param *q = &t->net->p[p];
    ckpt_put(c, entry(scratch, "value", q), CKPT_F32, q->n, q->value);
    ckpt_put(c, entry(scratch, "least", q), CKPT_F32, 1, &q->least);
    ckpt_put(c, entry(scratch, "state", q), CKPT_F32, state_floats(t, p), t->group[p].state);
    if (t->group[p].average) ckpt_put(c, entry(scratch, "average", q), CKPT_F32, q->n, t->group[p].average);
  }
  bool ok = ckpt_write(c, path_in(t, "checkpoint.ckpt"));
  ckpt_free(c);
  str_free(&recipe);
  arena_free(scratch);
  return ok;
}

static bool same_recipe(Trainer *t, const Ckpt *c, const char *path) {
  const char *then = ckpt_get_text(c, "recipe");
  bool same = then && recipe_same(t->r, then);
  Loc loc = LOC_NONE;
  loc.file = path;
  if (then && !same) {
    diag(t->ctx, E0703, &loc, "the checkpoint is of another recipe");
    diag_hint(t->ctx, "leave --resume out to start anew, or take the recipe.yaml beside the checkpoint, with the same --data");
  }
  return same;
}

static bool get_place(Trainer *t, const Ckpt *c) {
  int64_t phase = 0, quantized = 0;
  const double *loss = ckpt_get(c, "loss", CKPT_F64, 1);
  bool ok = loss && ckpt_get_i64(c, "phase", &phase) && ckpt_get_i64(c, "epoch", &t->epoch) && ckpt_get_i64(c, "step", &t->step) &&
            ckpt_get_i64(c, "iteration", &t->iteration) && ckpt_get_i64(c, "quantized", &quantized) && ckpt_get_i64(c, "correct", &t->correct) &&
            ckpt_get_i64(c, "seen", &t->seen);
  if (!ok) return false;
  if (phase < 0 || phase >= t->r->n_phase || t->epoch < 0 || t->step < 0 || t->step > t->per_epoch || t->iteration < 0 || t->epoch > t->r->phase[phase].epochs)
    return diag(t->ctx, E0106, NULL, "%s: a place that the recipe does not have", path_in(t, "checkpoint.ckpt"));
  t->phase = (int)phase;
  t->loss = *loss;
  if (quantized) net_quantize(t->net, t->r, &t->r->phase[phase].rows);
  return true;
}

bool state_init(Trainer *t) {
  if (!t->r->init) return true;
  const char *path = recipe_path(t->r, NULL, t->r->init);
  struct stat st;
  if (!stat(path, &st) && S_ISDIR(st.st_mode)) path = arena_printf(t->arena, "%s/checkpoint.ckpt", path);
  Ckpt *c = ckpt_read(t->ctx, path);
  if (!c) return false;
  Loc loc = LOC_NONE;
  loc.file = path;
  int found = 0, lacking = 0;
  Str lacks = {.ctx = t->ctx}; /* the first of them */
  bool ok = true;
  for (int p = 0; ok && p < t->net->n_p; p++) {
    Param *q = &t->net->p[p];
    const CkptEntry *e = ckpt_find(c, entry(t->arena, "value", q));
    if (!e && q->like) memcpy(q->value, t->net->p[q->like - 1].value, (size_t)q->n * sizeof *q->value); /* which has been read */
    else if (!e && lacking++ < 8) str_printf(&lacks, "%s%s", lacks.n ? ", " : "", q->name);
    if (!e) continue;
    if (e->kind != CKPT_F32 || e->count != q->n) ok = diag(t->ctx, E0703, &loc, "its %s has %lld elements, not %lld", q->name, (long long)e->count, (long long)q->n);
    else memcpy(q->value, e->data, (size_t)q->n * sizeof *q->value), found++;
    for (int64_t i = 0; ok && i < q->n; i++) if (!isfinite(q->value[i])) ok = diag(t->ctx, E0106, &loc, "%s is not finite", q->name);
  }
  if (ok && !found) ok = diag(t->ctx, E0703, &loc, "it has none of the network's parameters");
  else if (ok && lacking) diag_warn(t->ctx, E0801, &loc, "it has no %s%s: %d of the parameters begin as the recipe says", lacks.p, lacking > 8 ? ", .." : "", lacking);
  str_free(&lacks);
  ckpt_free(c);
  return ok;
}

bool state_load(Trainer *t, bool *found) {
  const char *path = path_in(t, "checkpoint.ckpt");
  *found = false;
  if (access(path, F_OK)) return true;
  Ckpt *c = ckpt_read(t->ctx, path);
  if (!c) return false;
  bool ok = same_recipe(t, c, path) && get_place(t, c);
  const int8_t *sign = ok ? ckpt_get(c, "signs", CKPT_U8, signs_count(t->net)) : NULL;
  if (sign) memcpy(t->sign, sign, (size_t)signs_count(t->net));
  ok = sign != NULL;
  Arena *scratch = arena_new(t->ctx);
  for (int p = 0; ok && p < t->net->n_p; p++) {
    Param *q = &t->net->p[p];
    const float *value = ckpt_get(c, entry(scratch, "value", q), CKPT_F32, q->n), *least = ckpt_get(c, entry(scratch, "least", q), CKPT_F32, 1);
    ok = value && least;
    for (int64_t i = 0; ok && i < q->n; i++)
      if (!isfinite(value[i])) ok = diag(t->ctx, E0106, NULL, "%s: %s is not finite", path, q->name);
    if (ok) memcpy(q->value, value, (size_t)q->n * sizeof *value), q->least = *least;
  }
  for (int i = 0; ok && i < t->net->n_site; i++) {
    const Site *s = &t->net->site[i];
    if (site_ops(s)->valid && !site_ops(s)->valid(t->net, s)) ok = diag(t->ctx, E0106, NULL, "%s: what it has of layer '%s' is not a quantizer's state", path, s->layer);
  }
  ok = ok && phase_build(t);
  for (int p = 0; ok && p < t->net->n_p; p++) {
    const Param *q = &t->net->p[p];
    int64_t n = state_floats(t, p);
    const float *state = ckpt_get(c, entry(scratch, "state", q), CKPT_F32, n);
    const float *average = t->group[p].average ? ckpt_get(c, entry(scratch, "average", q), CKPT_F32, q->n) : NULL;
    ok = state && (average || !t->group[p].average);
    for (int64_t i = 0; ok && average && i < q->n; i++) if (!isfinite(average[i])) ok = diag(t->ctx, E0106, NULL, "%s: the average of %s is not finite", path, q->name);
    if (ok && average) memcpy(t->group[p].average, average, (size_t)q->n * sizeof *average);
    if (ok && n) memcpy(t->group[p].state, state, (size_t)n * sizeof *state);
  }
  arena_free(scratch);
  ckpt_free(c);
  *found = ok;
  return ok;
}
