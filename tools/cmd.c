/* Values of flags. */
#include "tools/cmd.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const flag_names[FLAG_COUNT] = {
#define FLAG(id, long_, short_, arg, verbs, available, help) [FLAG_##id] = long_,
#include "tools/flags.def"
#undef FLAG
};

bool cmd_int(Cmd *c, FlagId f, int64_t deflt, int64_t lo, int64_t hi, int64_t *out) {
  const char *s = cmd_get(c, f);
  *out = deflt;
  if (!s) return true;
  char *end;
  errno = 0;
  long long v = strtoll(s, &end, 10);
  if (!*s || *end || errno || v < lo || v > hi)
    return diag(c->ctx, E0701, NULL, "--%s takes a whole number from %lld to %lld, not '%s'", flag_names[f], (long long)lo, (long long)hi, s);
  *out = v;
  return true;
}

bool cmd_doubles(Cmd *c, FlagId f, double *v, int max, int *n) {
  const char *s = cmd_get(c, f);
  *n = 0;
  for (bool more = s != NULL; more; s++) {
    char *end;
    double x = strtod(s, &end);
    if (end == s || (*end && *end != ',') || !isfinite(x) || *n == max)
      return diag(c->ctx, E0701, NULL, max == 1 ? "--%s takes a number, not '%s'" : "--%s takes numbers with commas, not '%s'", flag_names[f], cmd_get(c, f));
    v[(*n)++] = x;
    more = *end;
    s = end;
  }
  return true;
}

bool cmd_double(Cmd *c, FlagId f, double deflt, double least, double *out) {
  int n;
  double v;
  if (!cmd_doubles(c, f, &v, 1, &n)) return false;
  *out = n ? v : deflt;
  return !n || v >= least || diag(c->ctx, E0701, NULL, "--%s takes a number from %g on, not '%s'", flag_names[f], least, cmd_get(c, f));
}

const char *cmd_split(Cmd *c, const char *text, const char **rest) {
  const char *eq = strchr(text, '=');
  *rest = eq ? eq + 1 : NULL;
  return eq && eq > text ? arena_strndup(c->ctx->own, text, (size_t)(eq - text)) : NULL;
}

const char *cmd_model(Cmd *c) {
  if (c->n_args == 1) return c->args[0];
  diag(c->ctx, E0701, NULL, "takes one model, %d given", c->n_args);
  return NULL;
}
