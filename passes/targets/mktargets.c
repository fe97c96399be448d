/* mktargets OUT.c TARGET.yaml...: the table of targets that are built in, as C. Runs when Popshift is built. */
#include "passes/pass.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b) { return strcmp((*(Target *const *)a)->name, (*(Target *const *)b)->name); }

static void text(Str *s, const char *key, const char *v) {
  if (!v) return;
  str_printf(s, ", .%s = ", key);
  str_quoted(s, v);
}

static void row(Str *s, const Target *t) {
  str_put(s, "  {.name = ");
  str_quoted(s, t->name);
  text(s, "what", t->what);
  text(s, "features", t->features);
  text(s, "triple", t->triple);
  text(s, "cpu", t->cpu);
  text(s, "gcc", t->gcc);
  str_printf(s, ", .word = %d, .cost = {", t->word);
  for (int k = 0; k < COST_COUNT; k++) {
    str_put(s, k ? ", " : "");
    str_f64(s, t->cost[k]);
  }
  str_put(s, "}");
#define STEP(key, field, what) str_put(s, ", ." #field " = "); str_f64(s, t->field);
#include "passes/steps.def"
#undef STEP
  str_put(s, "},\n");
}

int main(int argc, char **argv) {
  Ctx *ctx = ctx_new();
  int n = argc - 2;
  bool ok = n > 0;
  Target **t = NEWN(ctx->own, Target *, n + 1);
  for (int i = 0; ok && i < n; i++) ok = (t[i] = target_read(ctx, argv[2 + i])) != NULL;
  if (ok) {
    qsort(t, (size_t)n, sizeof *t, by_name);
    Str s = {.ctx = ctx};
    str_put(&s, "#include \"passes/pass.h\"\n\nconst Target targets[] = {\n");
    for (int i = 0; i < n; i++) row(&s, t[i]);
    str_put(&s, "};\nconst int n_targets = sizeof targets / sizeof *targets;\n");
    ok = file_write(ctx, argv[1], s.p, s.n);
    str_free(&s);
  }
  diag_print(ctx, stderr, false);
  ctx_free(ctx);
  return ok ? 0 : 1;
}
