/* The machines that select knows. */
#include "passes/pass.h"

#include <string.h>

const Target targets[] = {
#define TARGET(n, w, mac, fmac, wcost, pack, feat, text) \
  {.name = n, .what = text, .word = w, .cost_mac = mac, .cost_fmac = fmac, .cost_word = wcost, .cost_pack = pack, .features = feat},
#include "passes/targets.def"
#undef TARGET
};
const int n_targets = sizeof targets / sizeof *targets;

const Target *target_find(const char *name) {
  for (int i = 0; i < n_targets; i++)
    if (!strcmp(targets[i].name, name)) return &targets[i];
  return NULL;
}
