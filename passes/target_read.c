/* Targets from files: strict YAML `popshift: target/1`. Also part of mktargets, which makes the table of those built in. */
#include "ir/doc.h"
#include "passes/pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAME = 40, MOST_WORD = 64, MOST_FEATURES = 32, MOST_COST = 100000 };
static const double NONE = -1;

typedef struct Reader { Ctx *ctx; Target *t; bool step[16]; } Reader; /* step: by row of steps.def, given */

static const struct { const char *key; bool required; double deflt; } costs[COST_COUNT] = {
#define COST(key, required, deflt, what) {#key, required, deflt},
#include "passes/costs.def"
#undef COST
};
static const struct { const char *key; size_t at; } steps[] = {
#define STEP(key, field, what) {#key, offsetof(Target, field)},
#include "passes/steps.def"
#undef STEP
};
enum { N_STEPS = sizeof steps / sizeof *steps };

static Loc at(const Doc *d) { return (Loc){.file = d->file, .line = d->line, .node = -1}; }

static bool is_shape(Reader *r, const char *key, const Doc *d, DocShape shape) {
  static const char *const names[] = {"one word", "a list", "a map of keys"};
  Loc loc = at(d);
  return d->shape == shape || diag(r->ctx, E0704, &loc, "%s: must be %s, not %s", key, names[shape], names[d->shape]);
}

/* Index of a key among n; -1 with an error and a suggestion. */
static int known(Reader *r, const DocItem *item, const char *where, const char *const *keys, int n) {
  for (int i = 0; i < n; i++) if (!strcmp(item->key, keys[i])) return i;
  Loc loc = {.file = item->v->file, .line = item->line, .node = -1};
  diag(r->ctx, E0704, &loc, "%s%.100s: unknown key", where, item->key);
  const char *near = nearest(item->key, keys, n);
  if (near) diag_hint(r->ctx, "did you mean %s%s?", where, near);
  return -1;
}

/* What a text may consist of: all of these go into generated code or to compilers. */
static bool plain(Reader *r, const char *key, const Doc *d, const char *more, size_t most) {
  static const char some[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (!is_shape(r, key, d, SHAPE_SCALAR)) return false;
  size_t n = strlen(d->text);
  Loc loc = at(d);
  if (n < 1 || n > most) return diag(r->ctx, E0704, &loc, "%s: must have 1 to %zu characters", key, most);
  for (const char *c = d->text; *c; c++)
    if (!strchr(some, *c) && !strchr(more, *c)) return diag(r->ctx, E0704, &loc, "%s: '%.100s' has a character that is none of letters, digits, . _ -%s%s", key, d->text, *more ? " " : "", more);
  return true;
}

static bool number(Reader *r, const char *where, const char *key, const Doc *d, bool optional, double *to) {
  if (!is_shape(r, key, d, SHAPE_SCALAR)) return false;
  if (optional && !d->quoted && !strcmp(d->text, "none")) return *to = NONE, true;
  Loc loc = at(d);
  if (d->quoted || !parse_f64(d->text, strlen(d->text), to) || !isfinite(*to))
    return diag(r->ctx, E0704, &loc, "%s%s: '%.100s' is not a number of cycles%s", where, key, d->text, optional ? " or none" : "");
  return (*to >= 0 && *to <= MOST_COST) || diag(r->ctx, E0704, &loc, "%s%s: %g is not in 0 .. %d", where, key, *to, MOST_COST);
}

static bool read_costs(Reader *r, const Doc *d) {
  const char *keys[COST_COUNT];
  bool ok = is_shape(r, "cost", d, SHAPE_MAP);
  for (int k = 0; k < COST_COUNT; k++) keys[k] = costs[k].key, r->t->cost[k] = costs[k].deflt;
  for (int i = 0; i < d->item.n && d->shape == SHAPE_MAP; i++) {
    int k = known(r, &d->item.p[i], "cost.", keys, COST_COUNT);
    ok = k >= 0 && number(r, "cost.", keys[k], d->item.p[i].v, costs[k].deflt < 0, &r->t->cost[k]) && ok;
  }
  Loc loc = at(d);
  for (int k = 0; ok && k < COST_COUNT; k++)
    if (costs[k].required && !doc_find(d, keys[k])) ok = diag(r->ctx, E0704, &loc, "cost: key '%s' is missing", keys[k]);
  return ok;
}

static bool read_steps(Reader *r, const Doc *d) {
  const char *keys[N_STEPS];
  bool ok = is_shape(r, "kernels", d, SHAPE_MAP);
  for (int k = 0; k < N_STEPS; k++) keys[k] = steps[k].key;
  for (int i = 0; i < d->item.n && d->shape == SHAPE_MAP; i++) {
    int k = known(r, &d->item.p[i], "kernels.", keys, N_STEPS);
    ok = k >= 0 && number(r, "kernels.", keys[k], d->item.p[i].v, false, (double *)(void *)((char *)r->t + steps[k].at)) && ok;
    if (k >= 0) r->step[k] = true;
  }
  return ok;
}

/* A list of plain words, joined. */
static bool words(Reader *r, const char *key, const Doc *d, const char *more, const char *between, const char **to) {
  Str s = {.ctx = r->ctx};
  bool ok = is_shape(r, key, d, SHAPE_LIST);
  Loc loc = at(d);
  if (ok && d->item.n > MOST_FEATURES) ok = diag(r->ctx, E0704, &loc, "%s: more than %d", key, MOST_FEATURES);
  str_put(&s, "");
  for (int i = 0; ok && i < d->item.n; i++) {
    ok = plain(r, key, d->item.p[i].v, more, MOST_WORD);
    if (ok) str_printf(&s, "%s%s", i ? between : "", d->item.p[i].v->text);
  }
  *to = arena_strdup(r->ctx->own, s.p);
  str_free(&s);
  return ok;
}

/* A step that the file does not give, from the instructions that it is made of as gcc -O2 compiles it, the loop's own add and branch
 * not counted: unrolling hides them where a machine is fast, and where it is slow the figures were measured or counted. */
static void derive(Reader *r) {
  Target *t = r->t;
  const double *c = t->cost;
  double *step[N_STEPS], rounds = 4 * c[COST_shift] + 4 * c[COST_logic] + 3 * c[COST_add] + c[COST_mul]; /* c_helpers.c: popcount */
  double count = c[COST_popcount] < 0 ? rounds : c[COST_popcount];
  double formula[N_STEPS] = {
    2 * c[COST_load] + c[COST_fmul] + c[COST_fadd], 2 * c[COST_load] + c[COST_mul] + c[COST_add],
    2 * c[COST_load] + c[COST_logic] + count + c[COST_add], c[COST_load] + c[COST_logic] * 2 + c[COST_shift],
    2 * c[COST_load] + c[COST_shift] + c[COST_add], c[COST_shift] + c[COST_logic]};
  for (int k = 0; k < N_STEPS; k++) {
    step[k] = (double *)(void *)((char *)t + steps[k].at);
    if (!r->step[k]) *step[k] = formula[k];
  }
}

static bool read_scalar(Reader *r, const char *key, const Doc *d) {
  Target *t = r->t;
  Loc loc = at(d);
  if (!strcmp(key, "name")) return plain(r, key, d, "", MOST_NAME) && (t->name = d->text);
  if (!strcmp(key, "triple")) return plain(r, key, d, "", MOST_WORD) && (t->triple = d->text);
  if (!strcmp(key, "cpu")) return plain(r, key, d, "", MOST_WORD) && (t->cpu = d->text);
  if (!is_shape(r, key, d, SHAPE_SCALAR)) return false;
  if (!strcmp(key, "popshift"))
    return !strcmp(d->text, "target/1") || diag(r->ctx, E0704, &loc, "popshift: '%.100s' is not target/1, the version that is read here", d->text);
  if (!strcmp(key, "word")) {
    t->word = !strcmp(d->text, "32") ? 32 : !strcmp(d->text, "64") ? 64 : 0;
    return t->word || diag(r->ctx, E0704, &loc, "word: must be 32 or 64, not '%.100s'", d->text);
  }
  for (const char *c = d->text; *c; c++) if (*c < 32 || *c > 126) return diag(r->ctx, E0704, &loc, "%s: ASCII only", key);
  t->what = d->text;
  return true;
}

Target *target_parse(Ctx *ctx, const char *file, const char *text, size_t n) {
  static const char *const keys[] = {"popshift", "name", "word", "cost", "what", "triple", "cpu", "features", "gcc", "kernels"};
  enum { REQUIRED = 4, KEYS = sizeof keys / sizeof *keys };
  Reader r = {.ctx = ctx, .t = NEW(ctx->own, Target)};
  Doc *d = doc_load(ctx, E0704, file, true, text, n);
  if (!d || !is_shape(&r, "a target", d, SHAPE_MAP)) return NULL;
  bool ok = true;
  r.t->features = r.t->gcc = r.t->what = "";
  for (int i = 0; i < d->item.n; i++) {
    const Doc *v = d->item.p[i].v;
    switch (known(&r, &d->item.p[i], "", keys, KEYS)) {
      case -1: ok = false; break;
      case 3: ok = read_costs(&r, v) && ok; break;
      case 7: ok = words(&r, "features", v, "", ",", &r.t->features) && ok; break;
      case 8: ok = words(&r, "gcc", v, "=+", " ", &r.t->gcc) && ok; break;
      case 9: ok = read_steps(&r, v) && ok; break;
      default: ok = read_scalar(&r, d->item.p[i].key, v) && ok;
    }
  }
  Loc loc = at(d);
  for (int k = 0; k < REQUIRED; k++)
    if (!doc_find(d, keys[k])) ok = diag(ctx, E0704, &loc, "key '%s' is missing", keys[k]);
  if (!ok) return NULL;
  derive(&r);
  return r.t;
}

Target *target_read(Ctx *ctx, const char *path) {
  char *text;
  size_t n;
  if (!file_read(ctx, path, &text, &n)) return NULL;
  Target *t = target_parse(ctx, path, text, n);
  free(text);
  return t;
}
