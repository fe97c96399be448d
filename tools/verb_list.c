/* list: the compiler's tables. */
#include "tools/cmd.h"

#include <string.h>

static void list_passes(void) {
  for (int i = 0; i < PASS_COUNT; i++)
    printf("%-11s %-8s %s\n", pass_info[i].name,
           pass_info[i].level == LEVEL_GRAPH ? "graph" : pass_info[i].level == LEVEL_LOWER ? "lower" : "program", pass_info[i].what);
}
static void list_targets(void) {
  for (int i = 0; i < n_targets; i++) printf("%-20s %2d-bit words  %s\n", targets[i].name, targets[i].word, targets[i].what);
}
static void list_errors(void) {
  for (int i = 0; i < ERR_COUNT; i++) printf("%s  exit %-3d %s\n", err_info[i].code, err_info[i].exit, err_info[i].what);
}
static void list_limits(void) {
  static const struct { const char *key; int64_t deflt; const char *what; } rows[] = {
#define LIMIT(key, deflt, what) {#key, deflt, what},
#include "ir/limits.def"
#undef LIMIT
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) printf("%-14s %14lld  %s\n", rows[i].key, (long long)rows[i].deflt, rows[i].what);
}

int verb_list(Cmd *c) {
  static const struct { const char *name; void (*print)(void); } tables[] = {
    {"passes", list_passes}, {"targets", list_targets}, {"errors", list_errors}, {"limits", list_limits}, {"quantizers", NULL}, {"nets", NULL}};
  const char *what = c->n_args == 1 ? c->args[0] : "";
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    if (!strcmp(what, tables[i].name)) {
      if (tables[i].print) { tables[i].print(); return EXIT_OK; }
      diag(c->ctx, E0306, NULL, "list %s is not available in this version", what);
      return EXIT_UNSUPPORTED;
    }
  diag(c->ctx, E0701, NULL, "list takes one of passes, targets, errors, limits");
  return EXIT_USAGE;
}
