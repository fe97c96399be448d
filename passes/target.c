/* The machines that select knows. */
#include "passes/pass.h"

#include <string.h>

const Target targets[] = {
#define TARGET(n, w, mac, fmac, wcost, pack, llvm_triple, llvm_cpu, llvm_features, text) \
  {.name = n, .what = text, .word = w, .cost_mac = mac, .cost_fmac = fmac, .cost_word = wcost, .cost_pack = pack, \
   .triple = llvm_triple, .cpu = llvm_cpu, .features = llvm_features},
#include "passes/targets.def"
#undef TARGET
};
const int n_targets = sizeof targets / sizeof *targets;

const Target *target_find(const char *name) {
  for (int i = 0; i < n_targets; i++)
    if (!strcmp(targets[i].name, name)) return &targets[i];
  return NULL;
}
