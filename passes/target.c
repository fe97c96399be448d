/* The machines that select knows; their table is made of passes/targets/ when Popshift is built. */
#include "passes/pass.h"

#include <string.h>

const Target *target_find(const char *name) {
  for (int i = 0; i < n_targets; i++)
    if (!strcmp(targets[i].name, name)) return &targets[i];
  return NULL;
}

bool target_has(const Target *t, const char *feature) {
  size_t n = strlen(feature);
  for (const char *f = t->features; *f; f += strcspn(f, ",") + (f[strcspn(f, ",")] == ','))
    if (strcspn(f, ",") == n && !strncmp(f, feature, n)) return true;
  return false;
}

const char *target_arch(const Target *t) {
  static const char *const archs[][2] = {{"thumb", "arm"}, {"arm64", "aarch64"}, {"arm", "arm"}, {"aarch64", "aarch64"}, {"x86_64", "x86_64"},
    {"riscv32", "riscv32"}, {"riscv64", "riscv64"}};
  if (!t->triple) return "";
  for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
    if (!strncmp(t->triple, archs[i][0], strlen(archs[i][0]))) return archs[i][1];
  return t->triple;
}
