/* Sweeps: the product of all --set lists, a folder for each combination. sweep.json has them in order with their ends; it is replaced
 * whenever one ends, so a sweep that was killed goes on with the first that has no end. */
#include "tools/runs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_RUNS = 10000, NAME_BYTES = 200 };

typedef struct Axis { const char *key; const char **p; int n, cap; } Axis; /* p: each KEY=VALUE */
typedef struct Sweep { Cmd *c; Axis *axis; int n_axis; int64_t n_runs; } Sweep;

/* To the next comma outside quotes and brackets; at the end 0. */
static size_t to_comma(const char *p) {
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; p[i]; i++) {
    if (quote) {
      if (p[i] == '\\' && quote == '"' && p[i + 1]) i++;
      else if (p[i] == quote) quote = 0;
    } else if (p[i] == '"' || p[i] == '\'') quote = p[i];
    else if (strchr("([{", p[i])) depth++;
    else if (strchr(")]}", p[i])) depth--;
    else if (p[i] == ',' && depth <= 0) return i;
  }
  return strlen(p);
}

static const char *values_of(const char *set) {
  const char *eq = strchr(set, '=');
  return eq ? eq + 1 : NULL;
}

bool sweep_asked(const Cmd *c) {
  for (int i = 0; i < c->flag[FLAG_set].n; i++) {
    const char *v = values_of(c->flag[FLAG_set].v[i]);
    if (v && v[to_comma(v)]) return true;
  }
  return false;
}

static bool axes_of(Sweep *s) {
  Ctx *ctx = s->c->ctx;
  s->axis = NEWN(ctx->own, Axis, s->c->flag[FLAG_set].n + 1);
  s->n_runs = 1;
  for (int i = 0; i < s->c->flag[FLAG_set].n; i++) {
    const char *set = s->c->flag[FLAG_set].v[i], *v = values_of(set);
    Loc loc = {"--set", -1, -1, NULL, NULL};
    if (!v || v - set < 2) return diag(ctx, E0703, &loc, "'%.100s' is not KEY=VALUE", set);
    Axis *a = &s->axis[s->n_axis++];
    a->key = arena_strndup(ctx->own, set, (size_t)(v - set - 1));
    for (int k = 0; k < s->n_axis - 1; k++)
      if (!strcmp(s->axis[k].key, a->key)) return diag(ctx, E0703, &loc, "%s is there twice; in a sweep one list says all values", a->key);
    for (bool more = true; more; v++) {
      size_t n = to_comma(v);
      const char *value = arena_printf(ctx->own, "%s=%.*s", a->key, (int)n, v);
      for (int k = 0; k < a->n; k++) if (!strcmp(a->p[k], value)) return diag(ctx, E0703, &loc, "%s is there twice", value);
      vec_push(ctx->own, a, value);
      v += n;
      more = *v;
    }
    if (!mul_ok(s->n_runs, a->n, &s->n_runs) || s->n_runs > MOST_RUNS) return diag(ctx, E0703, &loc, "more than %d runs", MOST_RUNS);
  }
  return true;
}

/* Assignments of run i: the last list changes fastest. */
static const char **assignments(const Sweep *s, int64_t i) {
  const char **set = NEWN(s->c->ctx->own, const char *, s->n_axis + 1);
  for (int k = s->n_axis - 1; k >= 0; i /= s->axis[k--].n) set[k] = s->axis[k].p[i % s->axis[k].n];
  return set;
}

/* The values that differ, as a folder's name; quotes and blanks are left out, what else file names do not have is _. A run whose name another has, too, gets its number. */
static const char *folder_name(const Sweep *s, const char *const *set, int64_t i, char **before) {
  Arena *a = s->c->ctx->own;
  Str name = {.ctx = s->c->ctx};
  for (int k = 0; k < s->n_axis; k++) {
    if (s->axis[k].n < 2) continue;
    if (name.n) str_put(&name, ",");
    for (const char *c = set[k]; *c; c++)
      if (!strchr(" '\"", *c)) str_printf(&name, "%c", strchr("=.-+()", *c) || (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ? *c : '_');
  }
  bool same = name.n > NAME_BYTES;
  for (int64_t k = 0; k < i && !same; k++) same = !strcmp(before[k], name.p);
  char *text = same ? arena_printf(a, "%.100s~%" PRId64, name.p, i) : arena_strdup(a, name.p);
  str_free(&name);
  return before[i] = text;
}

static json_t *index_new(const Sweep *s) {
  json_t *runs = json_array();
  char **name = NEWN(s->c->ctx->own, char *, s->n_runs + 1);
  for (int64_t i = 0; i < s->n_runs; i++) {
    const char **set = assignments(s, i);
    json_t *o = json_object(), *list = json_array();
    json_object_set_new(o, "folder", json_string(folder_name(s, set, i, name)));
    for (int k = 0; k < s->n_axis; k++) json_array_append_new(list, json_string(set[k]));
    json_object_set_new(o, "set", list);
    json_object_set_new(o, "state", json_string("waiting"));
    json_array_append_new(runs, o);
  }
  return json_pack("{s:s s:o}", "schema", SWEEP_SCHEMA, "runs", runs);
}

/* A sweep goes on only as it began: the same runs in the same folders. */
static bool same_runs(const json_t *a, const json_t *b) {
  const json_t *x = json_object_get(a, "runs"), *y = json_object_get(b, "runs");
  bool same = json_array_size(x) == json_array_size(y);
  for (size_t i = 0; same && i < json_array_size(x); i++)
    same = json_equal(json_object_get(json_array_get(x, i), "folder"), json_object_get(json_array_get(y, i), "folder")) &&
           json_equal(json_object_get(json_array_get(x, i), "set"), json_object_get(json_array_get(y, i), "set"));
  return same;
}

static bool begin(Sweep *s, const char *out, const char *path, json_t **index) {
  Ctx *ctx = s->c->ctx;
  if (mkdir(out, 0777) && errno != EEXIST) return diag(ctx, E0502, NULL, "cannot make folder '%s': %s", out, strerror(errno));
  *index = index_new(s);
  json_t *old = cmd_has(s->c, FLAG_resume) ? json_file(ctx, path, SWEEP_SCHEMA, false) : NULL;
  if (ctx->n_errors) return false;
  bool same = !old || same_runs(old, *index);
  json_decref(old);
  Loc loc = {path, -1, -1, NULL, NULL};
  if (!same) {
    diag(ctx, E0703, &loc, "this folder has another sweep");
    diag_hint(ctx, "give the --set lists as they were, or leave --resume out to start anew");
    return false;
  }
  return json_file_write(ctx, path, *index);
}

static void say(const Sweep *s, int64_t i, const char *name, double start, int64_t trained) {
  if (cmd_has(s->c, FLAG_quiet)) return;
  fprintf(stderr, "run %" PRId64 " of %" PRId64 ": %s", i + 1, s->n_runs, name);
  double left = trained ? (clock_seconds() - start) / (double)trained * (double)(s->n_runs - i) : 0;
  if (left >= 1) fprintf(stderr, " (about %d:%02d:%02d left in all)", (int)(left / 3600), (int)(left / 60) % 60, (int)left % 60);
  fputc('\n', stderr);
  fflush(stderr);
}

bool sweep_each(Cmd *c, SweepRun *run, void *user) {
  Sweep s = {.c = c};
  bool ok = axes_of(&s), skipped;
  for (int64_t i = 0; ok && i < s.n_runs; i++) ok = run(user, NULL, assignments(&s, i), s.n_axis, &skipped) == RUN_OK;
  return ok;
}

bool sweep_run(Cmd *c, const char *out, SweepRun *run, void *user) {
  Sweep s = {.c = c};
  json_t *index = NULL;
  const char *path = arena_printf(c->ctx->own, "%s/sweep.json", out);
  bool ok = axes_of(&s) && begin(&s, out, path, &index);
  double start = clock_seconds();
  int64_t trained = 0, diverged = 0;
  for (int64_t i = 0; ok && i < s.n_runs; i++) {
    json_t *o = json_array_get(json_object_get(index, "runs"), (size_t)i);
    const char *name = json_string_value(json_object_get(o, "folder"));
    bool skipped = false;
    say(&s, i, name, start, trained);
    RunEnd end = run(user, arena_printf(c->ctx->own, "%s/%s", out, name), assignments(&s, i), s.n_axis, &skipped);
    trained += !skipped, diverged += end == RUN_DIVERGED;
    json_object_set_new(o, "state", json_string(end == RUN_OK ? "finished" : end == RUN_DIVERGED ? "diverged" : "stopped"));
    ok = json_file_write(c->ctx, path, index) && end != RUN_FAILED;
  }
  if (ok && cmd_has(c, FLAG_json)) json_dumpf(index, stdout, JSON_PRESERVE_ORDER | JSON_INDENT(2)), putchar('\n');
  json_decref(index);
  if (ok && diverged) diag_warn(c->ctx, E0802, NULL, "%" PRId64 " of %" PRId64 " runs diverged", diverged, s.n_runs);
  return ok;
}
