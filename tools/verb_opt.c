/* opt: runs passes and shows the state between them. Every dump is a model that any verb reads. */
#include "tools/cmd.h"
#include "tools/diff.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Dumper { Cmd *c; const PassOptions *opt; const char *dir; int n; bool failed; Str was; } Dumper; /* was: the state before the pass, for --diff */

static bool state_text(Ctx *ctx, const Graph *g, const Program *p, const char *path, const char *banner) {
  Str s = {.ctx = ctx};
  if (g) graph_print(&s, g);
  else program_print(&s, p);
  bool ok = true;
  if (strcmp(path, "-")) ok = file_write(ctx, path, s.p, s.n);
  else {
    if (banner) printf("; %s\n", banner);
    fwrite(s.p, 1, s.n, stdout);
  }
  str_free(&s);
  return ok;
}

/* --diff: what the pass changed, or one line. */
static void print_diff(Dumper *d, PassId p, const Graph *g, const Program *prog) {
  enum { CONTEXT = 1, WIDTH = 150 };
  const char *none = getenv("NO_COLOR");
  Ctx *ctx = d->c->ctx;
  Str now = {.ctx = ctx}, out = {.ctx = ctx};
  if (g) graph_print(&now, g);
  else program_print(&now, prog);
  bool lowered = pass_info[p].level == LEVEL_LOWER; /* another language: nothing to match */
  bool changed = !lowered && text_diff(&out, ctx, d->was.p, now.p, CONTEXT, WIDTH, isatty(STDOUT_FILENO) && !(none && *none));
  printf("; %s %s%s\n%s", changed || lowered ? "after" : "unchanged by", pass_info[p].name, lowered ? ": the program" : "", lowered ? now.p : changed ? out.p : "");
  str_free(&now);
  str_free(&out);
}

static bool names_pass(const Cmd *c, FlagId f, PassId p) {
  for (int i = 0; i < c->flag[f].n; i++) if (!strcmp(c->flag[f].v[i], pass_info[p].name)) return true;
  return false;
}

static void explain(const Dumper *d, PassId p, const Graph *g) {
  Str s = {.ctx = d->c->ctx};
  if (p == PASS_recognize) explain_recognize(&s, g);
  else explain_select(&s, g, d->opt);
  if (s.p) fputs(s.p, stderr);
  str_free(&s);
}

static void dump(void *user, PassId p, bool after, const Graph *g, const Program *prog) {
  Dumper *d = user;
  if (after && (p == PASS_recognize || p == PASS_select) && cmd_has(d->c, FLAG_explain)) explain(d, p, g);
  bool want = after ? cmd_has(d->c, FLAG_print_after_all) || names_pass(d->c, FLAG_print_after, p) : names_pass(d->c, FLAG_print_before, p);
  if (cmd_has(d->c, FLAG_diff)) {
    bool wanted = cmd_has(d->c, FLAG_print_after_all) || names_pass(d->c, FLAG_print_after, p);
    if (after && wanted) print_diff(d, p, g, prog);
    str_free(&d->was);
    d->was = (Str){.ctx = d->c->ctx};
    if (!after && wanted) g ? graph_print(&d->was, g) : program_print(&d->was, prog);
    return;
  }
  if (!want || d->failed) return;
  Arena *a = d->c->ctx->own;
  const char *banner = arena_printf(a, "%s %s", after ? "after" : "before", pass_info[p].name);
  const char *path = d->dir ? arena_printf(a, "%s/%02d-%s%s.ir", d->dir, d->n, after ? "" : "before-", pass_info[p].name) : "-";
  d->n++;
  d->failed = !state_text(d->c->ctx, g, prog, path, banner);
}

static int passes_of(Cmd *c, FlagId f, PassId *ids, int max) {
  int n = 0;
  for (int i = 0; i < c->flag[f].n; i++)
    for (const char *s = c->flag[f].v[i]; *s;) {
      size_t len = strcspn(s, ",");
      const char *name = arena_strndup(c->ctx->own, s, len);
      int p = pass_find(name);
      if (p < 0 || n == max) {
        const char *names[PASS_COUNT];
        for (int k = 0; k < PASS_COUNT; k++) names[k] = pass_info[k].name;
        const char *near = nearest(name, names, PASS_COUNT);
        diag(c->ctx, E0701, NULL, p < 0 ? "no pass '%s'" : "too many passes at '%s'", name);
        if (near) diag_hint(c->ctx, "did you mean %s? `popshift list passes` shows all", near);
        return -1;
      }
      ids[n++] = (PassId)p;
      s += len + (s[len] == ',');
    }
  return n;
}

int verb_opt(Cmd *c) {
  Model m;
  PassOptions o;
  PassId ids[64], stop[1];
  const char *path = cmd_model(c), *out = cmd_get(c, FLAG_out);
  Dumper d = {.c = c, .opt = &o};
  struct stat st;
  int n = passes_of(c, FLAG_passes, ids, 64), n_stop = passes_of(c, FLAG_stop_after, stop, 1);
  PassId checked[64];
  if (!path || n < 0 || n_stop < 0 || passes_of(c, FLAG_print_before, checked, 64) < 0 || passes_of(c, FLAG_print_after, checked, 64) < 0 ||
      !model_pass_options(c, &o))
    return EXIT_USAGE;
  if (cmd_has(c, FLAG_diff) && !cmd_has(c, FLAG_print_after_all) && !cmd_has(c, FLAG_print_after)) {
    diag(c->ctx, E0701, NULL, "--diff goes with --print-after-all or --print-after PASS");
    return EXIT_USAGE;
  }
  bool dumps = cmd_has(c, FLAG_print_after_all) || cmd_has(c, FLAG_print_after) || cmd_has(c, FLAG_print_before);
  if (out && *out && out[strlen(out) - 1] == '/' && mkdir(out, 0777) && stat(out, &st)) {
    diag(c->ctx, E0502, &(Loc){.file = out, .line = -1, .node = -1}, "cannot make the folder");
    return EXIT_IO;
  }
  if (out && !stat(out, &st) && S_ISDIR(st.st_mode) && !cmd_has(c, FLAG_diff)) { d.dir = out; out = NULL; }
  o.dump = dump;
  o.dump_user = &d;
  o.hls = cmd_has(c, FLAG_hls);
  o.verify_each = true;
  if (!model_load(c, path, &m)) return diag_exit(c->ctx);
  if (cmd_has(c, FLAG_passes)) {
    if (!passes_run(c->ctx, &m.s, ids, n, &o)) return diag_exit(c->ctx);
  } else if (!passes_standard(c->ctx, &m.s, n_stop ? (int)stop[0] : -1, &o)) return diag_exit(c->ctx);
  if (out || !dumps) d.failed |= !state_text(c->ctx, m.s.graph, m.s.program, out ? out : "-", NULL);
  if (m.s.graph) graph_free(m.s.graph);
  if (m.s.program) program_free(m.s.program);
  return d.failed ? diag_exit(c->ctx) : EXIT_OK;
}
