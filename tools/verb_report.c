/* report: what runs of training ended with. Runs whose recipes differ in the seed alone are one row: mean and deviation. */
#include "tools/runs.h"

#ifdef POPSHIFT_TRAINER
#include "trainer/curves.h"
#include "trainer/trainlog.h"
#endif

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct RunInfo { const char *folder, *recipe; int64_t seed; json_t *result; } RunInfo; /* recipe: its text without the seed */
typedef struct Runs { RunInfo *p; int n, cap; VEC(struct Seen { dev_t device; ino_t node; }) seen; } Runs; /* seen: folders */
typedef struct Stat { double sum, squares, mean, deviation; int n; } Stat; /* deviation: of the sample, n - 1; NaN of one */

static const struct { const char *key, *title; double times; int decimals; } columns[] = {
  {"test_accuracy", "test %", 100, 2}, {"frozen_accuracy", "exact %", 100, 2}, {"weight_bits", "bits", 1, 2}, {"weight_bytes", "bytes", 1, 0}, {"train_accuracy", "train %", 100, 2},
  {"validation_accuracy", "valid %", 100, 2}}; /* the last is not shown where no run has it */
enum { COLUMNS = 6, CELLS = COLUMNS + 4, DEEP = 4 }; /* DEEP: folders in folders that are looked through for runs */

/* Reading */

/* A line of a recipe; where it begins with another run, `seed=N` in that one's path is no difference. */
static void put_line(Str *s, const char *line, size_t n, int64_t seed) {
  char own[32];
  size_t len = (size_t)snprintf(own, sizeof own, "seed=%" PRId64, seed);
  for (size_t i = 0; i < n; i++) {
    bool is = !strncmp(line, "init: ", 6) && i + len <= n && !strncmp(line + i, own, len) && (i + len == n || !isdigit((unsigned char)line[i + len]));
    str_putn(s, line + i, 1);
    if (is) str_put(s, "eed="), i += len - 1;
  }
  str_put(s, "\n");
}

/* The recipe without its line `seed: N`, which comes before init's. */
static bool read_recipe(Ctx *ctx, RunInfo *r) {
  char *text;
  size_t n;
  Str s = {.ctx = ctx};
  if (!file_read(ctx, arena_printf(ctx->own, "%s/recipe.yaml", r->folder), &text, &n)) return false;
  for (const char *p = text; *p;) {
    size_t len = strcspn(p, "\n");
    if (!strncmp(p, "seed: ", 6)) parse_i64(p + 6, len - 6, &r->seed);
    else put_line(&s, p, len, r->seed);
    p += len + (p[len] == '\n');
  }
  r->recipe = arena_strdup(ctx->own, s.n ? s.p : "");
  str_free(&s);
  free(text);
  return true;
}

static bool has(Ctx *ctx, const char *folder, const char *name) { return !access(arena_printf(ctx->own, "%s/%s", folder, name), F_OK); }

static bool add_run(Ctx *ctx, Runs *runs, const char *folder) {
  RunInfo r = {.folder = folder, .seed = -1};
  bool begun = has(ctx, folder, "recipe.yaml"); /* a run whose first phase goes on has no result yet */
  r.result = result_read(ctx, folder, !begun);
  if (!r.result && begun && !ctx->n_errors) r.result = json_pack("{s:s s:[]}", "state", "running", "phases");
  if (!r.result) return false;
  if (!json_is_array(json_object_get(r.result, "phases"))) {
    Loc loc = {arena_printf(ctx->own, "%s/result.json", folder), -1, -1, NULL, NULL};
    json_decref(r.result);
    return diag(ctx, E0103, &loc, "no list of phases");
  }
  vec_push(ctx->own, runs, r);
  return read_recipe(ctx, &runs->p[runs->n - 1]);
}

static bool add_folder(Ctx *, Runs *, const char *folder, int depth);

/* True the second time, by whatever way: links, or named twice. */
static bool seen(Ctx *ctx, Runs *runs, const char *folder) {
  struct stat s;
  if (stat(folder, &s)) return false;
  for (int i = 0; i < runs->seen.n; i++) if (runs->seen.p[i].device == s.st_dev && runs->seen.p[i].node == s.st_ino) return true;
  vec_push(ctx->own, &runs->seen, ((struct Seen){s.st_dev, s.st_ino}));
  return false;
}

/* What is in the folders of one that is no run itself, in the order of their names; of what is no run's file a warning says that it is left out. */
static void add_within(Ctx *ctx, Runs *runs, const char *folder, int depth) {
  struct dirent **names = NULL;
  int n = depth < DEEP ? scandir(folder, &names, NULL, alphasort) : 0;
  for (int i = 0; i < n; i++) {
    const char *path = arena_printf(ctx->own, "%s/%s", folder, names[i]->d_name);
    DiagMark before = diag_mark(ctx);
    if (*names[i]->d_name != '.' && !add_folder(ctx, runs, path, depth + 1)) {
      diag_drop(ctx, before);
      diag_warn(ctx, E0801, NULL, "'%s' is left out: `popshift report` of it alone says why", path);
    }
    free(names[i]);
  }
  free(names);
}

/* A recipe beside what a run writes; alone it may be anybody's. */
static bool is_run(Ctx *ctx, const char *folder) {
  if (has(ctx, folder, "sweep.json") || has(ctx, folder, "result.json")) return true;
  return has(ctx, folder, "recipe.yaml") && (has(ctx, folder, "checkpoint.ckpt") || has(ctx, folder, "log.jsonl") || has(ctx, folder, ".lock"));
}

/* A run, all of a sweep that have left something, or the runs and sweeps in a folder of such; depth: from the one that was named. */
static bool add_folder(Ctx *ctx, Runs *runs, const char *folder, int depth) {
  size_t n = strlen(folder);
  while (n > 1 && folder[n - 1] == '/') n--;
  folder = arena_strndup(ctx->own, folder, n);
  if (seen(ctx, runs, folder)) return true;
  if (!is_run(ctx, folder)) {
    int before = runs->n;
    add_within(ctx, runs, folder, depth);
    return depth || runs->n > before || add_run(ctx, runs, folder); /* which says that there is none */
  }
  json_t *sweep = json_file(ctx, arena_printf(ctx->own, "%s/sweep.json", folder), SWEEP_SCHEMA, false), *o;
  size_t i;
  if (ctx->n_errors) return false;
  if (!sweep) return add_run(ctx, runs, folder);
  bool ok = true;
  json_array_foreach(json_object_get(sweep, "runs"), i, o) {
    const char *name = json_string_value(json_object_get(o, "folder"));
    if (!name || strchr(name, '/') || *name == '.') ok = diag(ctx, E0103, &(Loc){arena_printf(ctx->own, "%s/sweep.json", folder), -1, -1, NULL, NULL}, "run %zu has no folder's name", i);
    if (!ok) break;
    const char *run = arena_printf(ctx->own, "%s/%s", folder, name);
    if (!has(ctx, run, "result.json")) continue;
    if (!(ok = add_run(ctx, runs, run))) break;
  }
  json_decref(sweep);
  return ok;
}

/* Groups */

static const json_t *phase_of(const RunInfo *r, const char *name) {
  const json_t *phases = json_object_get(r->result, "phases");
  for (size_t i = 0; i < json_array_size(phases); i++) {
    const char *is = json_string_value(json_object_get(json_array_get(phases, i), "name"));
    if (is && !strcmp(is, name)) return json_array_get(phases, i);
  }
  return NULL;
}

static bool in_group(const Runs *runs, int of, int i) { return !strcmp(runs->p[of].recipe, runs->p[i].recipe); }

static bool is_first(const Runs *runs, int i) {
  for (int k = 0; k < i; k++) if (in_group(runs, k, i)) return false;
  return true;
}

static Stat stat_of(const Runs *runs, int group, const char *phase, const char *key) {
  Stat s = {0};
  for (int i = group; i < runs->n; i++) {
    const json_t *p = in_group(runs, group, i) ? phase_of(&runs->p[i], phase) : NULL, *v = p ? json_object_get(p, key) : NULL;
    if (!json_is_number(v)) continue;
    s.sum += json_number_value(v);
    s.n++;
  }
  s.mean = s.n ? s.sum / s.n : NAN;
  for (int i = group; i < runs->n; i++) {
    const json_t *p = in_group(runs, group, i) ? phase_of(&runs->p[i], phase) : NULL, *v = p ? json_object_get(p, key) : NULL;
    if (json_is_number(v)) s.squares += (json_number_value(v) - s.mean) * (json_number_value(v) - s.mean);
  }
  s.deviation = s.n > 1 ? sqrt(s.squares / (s.n - 1)) : NAN;
  return s;
}

/* The folder of one run; of several the first's, with the value of seed as a star. */
static const char *label_of(Ctx *ctx, const Runs *runs, int group, int n) {
  const char *folder = runs->p[group].folder, *slash = strrchr(folder, '/'), *seed = strstr(slash ? slash : folder, "seed=");
  if (n == 1) return folder;
  if (!seed) return arena_printf(ctx->own, "%s and %d more", folder, n - 1);
  return arena_printf(ctx->own, "%.*s*%s", (int)(seed + 5 - folder), folder, seed + strcspn(seed, ","));
}

/* As JSON */

static json_t *stat_json(Stat s) {
  json_t *o = json_pack("{s:f s:i}", "mean", s.mean, "runs", s.n);
  if (s.n > 1) json_object_set_new(o, "deviation", json_real(s.deviation));
  return o;
}

static json_t *group_json(const Runs *runs, int group) {
  json_t *folders = json_array(), *seeds = json_array(), *phases = json_array(), *p;
  size_t i;
  for (int k = group; k < runs->n; k++) {
    if (!in_group(runs, group, k)) continue;
    json_array_append_new(folders, json_pack("{s:s s:s}", "folder", runs->p[k].folder, "state", result_state(runs->p[k].result)));
    json_array_append_new(seeds, json_integer(runs->p[k].seed));
  }
  json_array_foreach(json_object_get(runs->p[group].result, "phases"), i, p) {
    const char *name = json_string_value(json_object_get(p, "name"));
    if (!name) continue;
    json_t *o = json_pack("{s:s}", "name", name);
    for (int c = 0; c < COLUMNS; c++) {
      Stat s = stat_of(runs, group, name, columns[c].key);
      if (s.n) json_object_set_new(o, columns[c].key, stat_json(s));
    }
    json_array_append_new(phases, o);
  }
  return json_pack("{s:o s:o s:o}", "runs", folders, "seeds", seeds, "phases", phases);
}

/* As a table */

typedef struct Row { const char *cell[CELLS]; } Row;
typedef struct Rows { Row *p; int n, cap; } Rows;

/* What files say, printable. */
static const char *printable(Ctx *ctx, const char *text) {
  char *t = arena_strdup(ctx->own, text);
  for (char *p = t; *p; p++) if ((unsigned char)*p < 32 || *p == 127) *p = '?';
  return t;
}

static const char *number(Ctx *ctx, Stat s, double times, int decimals) {
  if (!s.n) return "";
  if (s.n > 1 && s.deviation > 0) return arena_printf(ctx->own, "%.*f \xc2\xb1 %.*f", decimals, times * s.mean, decimals, times * s.deviation);
  return arena_printf(ctx->own, "%.*f", decimals, times * s.mean);
}

static void group_rows(Ctx *ctx, const Runs *runs, int group, Rows *rows) {
  int n = 0, ended = 0;
  bool diverged = false;
  json_t *p;
  size_t i;
  for (int k = group; k < runs->n; k++) {
    if (!in_group(runs, group, k)) continue;
    const char *state = result_state(runs->p[k].result);
    n++, ended += !strcmp(state, "finished"), diverged = diverged || !strcmp(state, "diverged");
  }
  const char *state = ended == n ? "finished" : n == 1 ? result_state(runs->p[group].result) : arena_printf(ctx->own, "%d of %d finished%s", ended, n, diverged ? ", some diverged" : "");
  const json_t *phases = json_object_get(runs->p[group].result, "phases");
  json_array_foreach(phases, i, p) {
    const char *name = json_string_value(json_object_get(p, "name"));
    if (!name) continue;
    Row r = {{i ? "" : printable(ctx, label_of(ctx, runs, group, n)), printable(ctx, name)}};
    r.cell[2] = arena_printf(ctx->own, "%d", stat_of(runs, group, name, "weight_bytes").n);
    for (int c = 0; c < COLUMNS; c++) r.cell[3 + c] = number(ctx, stat_of(runs, group, name, columns[c].key), columns[c].times, columns[c].decimals);
    r.cell[3 + COLUMNS] = i ? "" : state;
    vec_push(ctx->own, rows, r);
  }
  if (json_array_size(phases)) return;
  Row r = {{printable(ctx, label_of(ctx, runs, group, n)), "", "0"}};
  for (int c = 3; c < CELLS; c++) r.cell[c] = c == CELLS - 1 ? state : "";
  vec_push(ctx->own, rows, r);
}

static int width(const char *s) {
  int n = 0;
  for (; *s; s++) n += (*s & 0xc0) != 0x80;
  return n;
}

static void pad(Str *s, int n) { while (n-- > 0) str_put(s, " "); }

static void put_table(Str *s, const Rows *rows, bool markdown) {
  int wide[CELLS] = {0}, skip = 2 + COLUMNS;
  for (int i = 1; i < rows->n; i++) if (*rows->p[i].cell[2 + COLUMNS]) skip = -1;
  for (int i = 0; i < rows->n; i++) for (int c = 0; c < CELLS; c++) if (width(rows->p[i].cell[c]) > wide[c]) wide[c] = width(rows->p[i].cell[c]);
  for (int i = 0; i < rows->n; i++) {
    if (markdown) str_put(s, "|");
    for (int c = 0; c < CELLS; c++) {
      const char *cell = rows->p[i].cell[c];
      bool left = c < 2 || c == CELLS - 1;
      if (c == skip) continue;
      if (markdown) {
        str_put(s, " ");
        for (const char *p = cell; *p; p++) str_printf(s, *p == '|' ? "\\%c" : "%c", *p);
        str_put(s, " |");
        continue;
      }
      if (!left) pad(s, wide[c] - width(cell));
      str_put(s, cell);
      if (left && c < CELLS - 1) pad(s, wide[c] - width(cell));
      str_put(s, c < CELLS - 1 ? "  " : "");
    }
    while (!markdown && s->n && s->p[s->n - 1] == ' ') s->p[--s->n] = 0;
    str_put(s, "\n");
    if (markdown && !i) {
      str_put(s, "|");
      for (int c = 0; c < CELLS; c++) if (c != skip) str_put(s, c < 2 || c == CELLS - 1 ? " --- |" : " ---: |");
      str_put(s, "\n");
    }
  }
}

static void put_rows(Ctx *ctx, const Runs *runs, bool markdown, Str *s) {
  Rows rows = {0};
  Row head = {{"run", "phase", "runs"}};
  for (int k = 0; k < COLUMNS; k++) head.cell[3 + k] = columns[k].title;
  head.cell[3 + COLUMNS] = "state";
  vec_push(ctx->own, &rows, head);
  for (int i = 0; i < runs->n; i++) if (is_first(runs, i)) group_rows(ctx, runs, i, &rows);
  put_table(s, &rows, markdown);
}

/* As a page */

#ifdef POPSHIFT_TRAINER
typedef struct Series { CurveSeries *p; int n, cap; } Series;

static double of_row(const LogRow *r, int family) {
  const double v[] = {100 * r->test_accuracy, 100 * r->validation_accuracy, r->loss, r->lr};
  if (family < 4) return v[family];
  for (int i = 0; i < r->n_metric; i++) if (!strcmp(r->metric[i].name, "bits.all")) return r->metric[i].value;
  return NAN;
}

/* A group's line in each family: the mean of its runs that have the epoch. Runs whose log cannot be read have none. */
static void add_series(Ctx *ctx, const Runs *runs, int group, Series *all) {
  static const char *const families[] = {"test accuracy, %", "validation accuracy, %", "training loss", "learning rate", "bits of weights"};
  enum { FAMILIES = sizeof families / sizeof *families };
  int members = 0;
  int64_t most = 0;
  LogRow **rows = NEWN(ctx->own, LogRow *, runs->n);
  int *n = NEWN(ctx->own, int, runs->n);
  for (int i = group; i < runs->n; i++) {
    const char *log = arena_printf(ctx->own, "%s/log.jsonl", runs->p[i].folder);
    if (!in_group(runs, group, i)) continue;
    members++;
    DiagMark before = diag_mark(ctx);
    if (access(log, F_OK)) continue;
    if (!trainlog_read(ctx, ctx->own, log, &rows[i], &n[i])) {
      diag_drop(ctx, before);
      diag_warn(ctx, E0801, NULL, "'%s' is no log: its run has no curves", log);
      n[i] = 0;
      continue;
    }
    for (int k = 0; k < n[i]; k++) most = rows[i][k].epoch > most && rows[i][k].epoch < 1 << 20 ? rows[i][k].epoch : most;
  }
  for (int f = 0; f < FAMILIES; f++) {
    double *sum = NEWN(ctx->own, double, most + 1), *epoch = NEWN(ctx->own, double, most + 1);
    int *count = NEWN(ctx->own, int, most + 1), points = 0;
    for (int i = group; i < runs->n; i++)
      for (int k = 0; k < n[i]; k++) {
        int64_t e = rows[i][k].epoch;
        double v = of_row(&rows[i][k], f);
        if (e >= 0 && e <= most && isfinite(v)) sum[e] += v, count[e]++;
      }
    for (int64_t e = 0; e <= most; e++) if (count[e]) epoch[points] = (double)e, sum[points++] = sum[e] / count[e];
    if (points) vec_push(ctx->own, all, ((CurveSeries){arena_printf(ctx->own, "%s.%s", families[f], printable(ctx, label_of(ctx, runs, group, members))), epoch, sum, points}));
  }
}

static bool put_page(Ctx *ctx, const Runs *runs, Str *s) {
  Series all = {0};
  Str table = {.ctx = ctx};
  put_rows(ctx, runs, false, &table);
  for (int i = 0; i < runs->n; i++) if (is_first(runs, i)) add_series(ctx, runs, i, &all);
  curves_page(s, "Runs", table.p, all.p, all.n);
  str_free(&table);
  return true;
}
#else
static bool put_page(Ctx *ctx, const Runs *runs, Str *s) {
  (void)runs, (void)s;
  return diag(ctx, E0307, NULL, "pages of curves are the trainer's, which is not built in (configure with -DPOPSHIFT_TRAINER=ON)");
}
#endif

static bool is_page(const char *out) {
  size_t n = out ? strlen(out) : 0;
  return n >= 5 && !strcmp(out + n - 5, ".html");
}

static bool write_report(Cmd *c, const Runs *runs) {
  Str s = {.ctx = c->ctx};
  const char *out = cmd_get(c, FLAG_out) ? cmd_get(c, FLAG_out) : "-";
  bool ok = true;
  if (cmd_has(c, FLAG_json)) {
    json_t *groups = json_array(), *top;
    for (int i = 0; i < runs->n; i++) if (is_first(runs, i)) json_array_append_new(groups, group_json(runs, i));
    top = json_pack("{s:s s:o}", "schema", "popshift.runs/1", "groups", groups);
    char *text = json_dumps(top, JSON_PRESERVE_ORDER | JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(top);
    if (!text) ctx_fatal(c->ctx);
    str_put(&s, text), str_put(&s, "\n");
    free(text);
  } else if (is_page(out)) {
    ok = put_page(c->ctx, runs, &s);
  } else {
    put_rows(c->ctx, runs, cmd_has(c, FLAG_markdown), &s);
  }
  ok = ok && file_write(c->ctx, out, s.p, s.n);
  str_free(&s);
  return ok;
}

int verb_report(Cmd *c) {
  Runs runs = {0};
  if (!c->n_args) { diag(c->ctx, E0701, NULL, "report takes folders of runs or sweeps"); return EXIT_USAGE; }
  if (cmd_has(c, FLAG_json) && cmd_has(c, FLAG_markdown)) { diag(c->ctx, E0701, NULL, "--json or --markdown, not both"); return EXIT_USAGE; }
  if ((cmd_has(c, FLAG_json) || cmd_has(c, FLAG_markdown)) && is_page(cmd_get(c, FLAG_out))) { diag(c->ctx, E0701, NULL, "a page is neither --json nor --markdown: another -o"); return EXIT_USAGE; }
  bool ok = true;
  for (int i = 0; i < c->n_args && ok; i++) ok = add_folder(c->ctx, &runs, c->args[i], 0);
  ok = ok && write_report(c, &runs);
  for (int i = 0; i < runs.n; i++) json_decref(runs.p[i].result);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
