/* --target: names of the machines that are built in, files of a user's own, or this machine. */
#include "tools/cmd.h"
#include "runtime/cpu.h"

#include <string.h>

/* The target that asks for most of what this machine has; of equal ones the last by name. */
const Target *target_native(void) {
  const Target *best = target_find("c99");
  int most = -1;
  for (int i = 0; i < n_targets; i++) {
    RtMachine m = {targets[i].name, target_arch(&targets[i]), targets[i].features};
    if (!*m.arch || !rt_machine_is_this(&m) || rt_features_count(&m) < most) continue;
    most = rt_features_count(&m);
    best = &targets[i];
  }
  return best;
}

static const Target *target_named(Cmd *c, const char *name) {
  size_t n = strlen(name);
  if (strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".yaml"))) return target_read(c->ctx, name);
  const Target *t = strcmp(name, "native") ? target_find(name) : target_native();
  if (t) return t;
  const char **names = NEWN(c->ctx->own, const char *, n_targets);
  for (int i = 0; i < n_targets; i++) names[i] = targets[i].name;
  diag(c->ctx, E0701, NULL, "no target '%s'", name);
  const char *near = nearest(name, names, n_targets);
  if (near) diag_hint(c->ctx, "did you mean %s? `popshift list targets` shows all; a file's name ends in .yaml", near);
  else diag_hint(c->ctx, "`popshift list targets` shows all; `native` is this machine; a file's name ends in .yaml");
  return NULL;
}

const Target *const *targets_of(Cmd *c, int *n) {
  const char *s = cmd_get(c, FLAG_target);
  VEC(const Target *) list = {0};
  /* what runs here is for here; what is written is for any machine */
  if (!s) s = c->verb == VERB_run || c->verb == VERB_score || c->verb == VERB_bench ? "native" : "c99";
  bool more;
  *n = 0;
  do {
    size_t len = strcspn(s, ",");
    const Target *t = target_named(c, arena_strndup(c->ctx->own, s, len));
    if (!t) return NULL;
    for (int i = 0; i < list.n; i++)
      if (!strcmp(list.p[i]->name, t->name)) {
        diag(c->ctx, E0701, NULL, "--target names %s twice", t->name);
        return NULL;
      }
    vec_push(c->ctx->own, &list, t);
    more = s[len] == ',';
    s += len + more;
  } while (more);
  *n = list.n;
  return list.p;
}
