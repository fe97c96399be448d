/* list: the compiler's tables. */
#include "tools/cmd.h"
#include "tools/report.h"
#ifdef POPSHIFT_TRAINER
#include "trainer/net.h"
#endif

#include <string.h>

/* A row of a table: text, or an object in rows. */
static void row(json_t *rows, json_t *o, const char *text) {
  if (rows) json_array_append(rows, o);
  else puts(text);
  json_decref(o);
}

static void list_passes(Ctx *c, json_t *rows) {
  for (int i = 0; i < PASS_COUNT; i++) {
    const PassInfo *p = &pass_info[i];
    const char *level = p->level == LEVEL_GRAPH ? "graph" : p->level == LEVEL_LOWER ? "lower" : "program";
    row(rows, json_pack("{s:s s:s s:b s:s}", "name", p->name, "level", level, "optional", pass_optional((PassId)i), "what", p->what),
        arena_printf(c->own, "%-11s %-8s %-8s %s", p->name, level, pass_optional((PassId)i) ? "optional" : "", p->what));
  }
}
static void list_targets(Ctx *c, json_t *rows) {
  int wide = 0;
  for (int i = 0; i < n_targets; i++) if ((int)strlen(targets[i].name) > wide) wide = (int)strlen(targets[i].name);
  if (!rows) printf("%-*s  word  %s\n", wide, "name", "what; features");
  for (int i = 0; i < n_targets; i++) {
    const Target *t = &targets[i];
    json_t *o = json_pack("{s:s s:i s:s s:s* s:s* s:s}", "name", t->name, "word", t->word, "what", t->what, "triple", t->triple, "cpu", t->cpu, "gcc", t->gcc);
    json_t *features = json_array(), *cost = json_object(), *kernels = json_object();
    for (const char *f = t->features; *f; f += strcspn(f, ",") + (f[strcspn(f, ",")] == ',')) json_array_append_new(features, json_stringn(f, strcspn(f, ",")));
#define COST(key, required, deflt, text) json_object_set_new(cost, #key, t->cost[COST_##key] < 0 ? json_null() : json_real(t->cost[COST_##key]));
#include "passes/costs.def"
#undef COST
#define STEP(key, field, text) json_object_set_new(kernels, #key, json_real(t->field));
#include "passes/steps.def"
#undef STEP
    json_object_set_new(o, "features", features);
    json_object_set_new(o, "cost", cost);
    json_object_set_new(o, "kernels", kernels);
    row(rows, o, arena_printf(c->own, "%-*s  %4d  %s%s%s", wide, t->name, t->word, t->what, *t->features ? "; " : "", t->features));
  }
}
static void list_errors(Ctx *c, json_t *rows) {
  for (int i = 0; i < ERR_COUNT; i++)
    row(rows, json_pack("{s:s s:i s:s}", "code", err_info[i].code, "exit", err_info[i].exit, "what", err_info[i].what),
        arena_printf(c->own, "%s  exit %-3d %s", err_info[i].code, err_info[i].exit, err_info[i].what));
}
static void list_limits(Ctx *c, json_t *rows) {
  static const struct { const char *key; int64_t deflt; const char *what; } limits[] = {
#define LIMIT(key, deflt, what) {#key, deflt, what},
#include "ir/limits.def"
#undef LIMIT
  };
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    row(rows, json_pack("{s:s s:I s:s}", "key", limits[i].key, "default", (json_int_t)limits[i].deflt, "what", limits[i].what),
        arena_printf(c->own, "%-14s %14lld  %s", limits[i].key, (long long)limits[i].deflt, limits[i].what));
}

#ifdef POPSHIFT_TRAINER
static void list_quantizers(Ctx *c, json_t *rows) {
  for (int i = 1; i < QUANTIZER_COUNT; i++) {
    const QuantizerInfo *q = &quantizer_info[i];
    const char *of = q->weight && q->act ? "weights and activations" : q->weight ? "weights" : "activations";
    row(rows, json_pack("{s:s s:i s:i s:b s:b s:s s:s}", "name", q->name, "least_bits", q->lo, "most_bits", q->hi, "weights", q->weight, "activations", q->act, "options", q->options, "what", q->what),
        arena_printf(c->own, "%-8s %d..%d bits, %s: %s%s%s", q->name, q->lo, q->hi, of, q->what, *q->options ? "; options " : "", q->options));
  }
}
static void list_nets(Ctx *c, json_t *rows) {
  for (int i = 0; i < n_net_info; i++)
    row(rows, json_pack("{s:s s:s s:s}", "name", net_info[i].name, "options", arena_printf(c->own, "width=1 %s", net_info[i].options), "what", net_info[i].what),
        arena_printf(c->own, "%-12s %s\n             width=1 %s", net_info[i].name, net_info[i].what, net_info[i].options));
}
#else
#define list_quantizers NULL
#define list_nets NULL
#endif

int verb_list(Cmd *c) {
  static const struct { const char *name; void (*print)(Ctx *, json_t *); } tables[] = {
    {"passes", list_passes}, {"targets", list_targets}, {"errors", list_errors}, {"limits", list_limits}, {"quantizers", list_quantizers}, {"nets", list_nets}};
  const char *what = c->n_args == 1 ? c->args[0] : "";
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    if (!strcmp(what, tables[i].name)) {
      if (tables[i].print) {
        json_t *rows = cmd_has(c, FLAG_json) ? json_array() : NULL;
        tables[i].print(c->ctx, rows);
        if (rows) json_print(rows);
        return EXIT_OK;
      }
      diag(c->ctx, E0307, NULL, "list %s: the trainer is not built in", what);
      return EXIT_UNSUPPORTED;
    }
  diag(c->ctx, E0701, NULL, "list takes one of passes, targets, quantizers, nets, errors, limits");
  return EXIT_USAGE;
}
