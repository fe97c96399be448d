/* inspect: what is in a model and what it costs when compiled. */
#include "tools/cmd.h"
#include "tools/draw.h"
#include "tools/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Printable, without quotes around. */
static void quoted_words(Str *s, const char *text) {
  for (; *text; text++) str_printf(s, "%c", *text >= 32 && *text < 127 ? *text : '?');
}

static void ports(Str *s, const Graph *g) {
  for (int i = 0; i < g->n_args; i++) {
    str_put(s, "input   ");
    str_quoted(s, g->arg_names[i]);
    str_put(s, " : ");
    type_print(s, g, &g->args[i]->t);
    str_put(s, "\n");
  }
  for (int i = 0; i < g->n_outs; i++) {
    str_put(s, "output  ");
    str_quoted(s, g->outs[i].name);
    str_put(s, " : ");
    type_print(s, g, &g->outs[i].v->t);
    str_put(s, "\n");
  }
  const char **names, *input = model_input(g->ctx, g);
  int n = model_classes(g->ctx, g, &names);
  if (input) str_put(s, "images  "), quoted_words(s, input), str_put(s, "\n");
  if (n) str_printf(s, "classes %d:", n);
  for (int i = 0; i < n; i++) str_put(s, i ? ", " : " "), str_quoted(s, names[i]);
  if (n) str_put(s, "\n");
}

static void model_facts(Cmd *c, const Model *m, Str *s) {
  char *bytes;
  size_t n;
  OnnxInfo info;
  str_printf(s, "model   %s\nsha256  %s\n", m->path, m->sha);
  if (!m->is_onnx || !file_read(c->ctx, m->path, &bytes, &n)) return;
  if (onnx_info(c->ctx, c->ctx->own, m->path, bytes, n, &info)) {
    str_printf(s, "ONNX    IR version %" PRId64 ", %d nodes, producer ", info.ir_version, info.n_nodes);
    str_quoted(s, info.producer ? info.producer : "");
    str_put(s, ", opsets");
    for (int i = 0; i < info.n_opsets; i++) {
      str_put(s, " ");
      str_quoted(s, info.opsets[i].domain && *info.opsets[i].domain ? info.opsets[i].domain : "ai.onnx");
      str_printf(s, " %" PRId64, info.opsets[i].version);
    }
    str_put(s, "\n");
  }
  free(bytes);
}

enum { NAME_COLUMN = 28 };

/* The name quoted, of a long one the end, which tells more. */
static void layer_name(Str *s, const char *text) {
  Str name = {.ctx = s->ctx};
  str_quoted(&name, text);
  name.p[name.n - 1] = 0;
  size_t long_by = name.n - 2 > NAME_COLUMN ? name.n - 2 - NAME_COLUMN : 0;
  if (long_by) memcpy(name.p + 1 + long_by, "...", 3);
  str_printf(s, "%-28s", name.p + 1 + long_by);
  str_free(&name);
}

static void layer_table(Str *s, const Report *r, const Graph *g) {
  str_printf(s, "\n%-28s %-14s %-9s %6s %6s %12s %14s %12s %22s  %s\n", "layer", "op", "kernel", "w bits", "a bits", "MACs", "bit ops", "weight bytes", "range of sums", "output");
  for (int i = 0; i < r->n_layers; i++) {
    const Layer *l = &r->layers[i];
    Str t = {.ctx = g->ctx}, range = {.ctx = g->ctx};
    type_print(&t, g, &l->out);
    if (l->known) str_printf(&range, "%" PRId64 "..%" PRId64, l->lo, l->hi);
    layer_name(s, l->name);
    str_printf(s, " %-14.14s %-9s %6d %6d %12" PRId64 " %14" PRId64 " %12" PRId64 " %22s  %s\n", l->op, l->kernel, l->w_bits, l->a_bits, l->macs,
               l->bit_ops, l->weight_bytes, l->known ? range.p : "", t.p);
    str_free(&t);
    str_free(&range);
  }
  str_printf(s, "\ntotal   %" PRId64 " MACs, %" PRId64 " bit operations\n", r->macs, r->bit_ops);
  if (r->flash >= 0)
    str_printf(s, "memory  %" PRId64 " bytes of constants, workspace %" PRId64 " bytes (no plan can be below %" PRId64 "), stack at most %" PRId64 " bytes\n", r->flash, r->arena_bytes, r->arena_bound, r->stack);
}

/* " 123 -> 45", padded; nothing where nothing changed. */
static void change(Str *s, int64_t before, int64_t now) {
  Str t = {.ctx = s->ctx};
  if (before >= 0 && before != now) str_printf(&t, "%" PRId64 " -> %" PRId64, before, now);
  str_printf(s, " %26s", t.n ? t.p : "");
  str_free(&t);
}

/* What is not computed any more, and what that saves. */
static void dead_table(Str *s, const Report *r) {
  if (!r->dead[DEAD_CONSTANT] && !r->dead[DEAD_UNREAD] && !r->dead[DEAD_THRESHOLDS]) {
    str_put(s, "dead    nothing: no channel is constant or unread, every threshold can be reached\n");
    return;
  }
  str_printf(s, "\n%-28s %9s %7s %11s %26s %26s\n", "dead, and not computed", "constant", "unread", "thresholds", "MACs", "weight bytes");
  for (int i = 0; i < r->n_layers; i++) {
    const Layer *l = &r->layers[i];
    if (!l->dead[DEAD_CONSTANT] && !l->dead[DEAD_UNREAD] && !l->dead[DEAD_THRESHOLDS] && (l->macs_before < 0 || l->macs_before == l->macs)) continue;
    layer_name(s, l->name);
    str_printf(s, " %9" PRId64 " %7" PRId64 " %11" PRId64, l->dead[DEAD_CONSTANT], l->dead[DEAD_UNREAD], l->dead[DEAD_THRESHOLDS]);
    change(s, l->macs_before, l->macs);
    change(s, l->bytes_before, l->weight_bytes);
    str_put(s, "\n");
  }
  str_printf(s, "\nsaved   %" PRId64 " of %" PRId64 " MACs", r->macs_before - r->macs, r->macs_before);
  if (r->flash >= 0 && r->flash_before >= 0)
    str_printf(s, ", %" PRId64 " of %" PRId64 " bytes of constants, %" PRId64 " of %" PRId64 " of workspace", r->flash_before - r->flash, r->flash_before,
               r->arena_before - r->arena_bytes, r->arena_before);
  str_printf(s, "\nwhy     %" PRId64 " output channels are one number, %" PRId64 " are read by nobody; %" PRId64 " thresholds are never or always reached\n",
             r->dead[DEAD_CONSTANT], r->dead[DEAD_UNREAD], r->dead[DEAD_THRESHOLDS]);
}

static const char page_style[] =
  ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;margin:2em;background:#fff;color:#1c2128}"
  "h1{font-size:1.2rem;margin:2rem 0 .5rem}svg{max-width:100%}pre{overflow:auto;background:#f3f6fa;padding:1em;border-radius:6px;font-size:12px}"
  "@media (prefers-color-scheme:dark){body{background:#14181d;color:#e8ecf1}pre{background:#1c222a}}";

static bool write_html(Cmd *c, const char *path, const Str *text, const Report *r, const Graph *g) {
  Str s = {.ctx = c->ctx};
  str_printf(&s, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>popshift inspect</title>"
                 "<style>%s</style>\n<h1>Layers</h1>\n", page_style);
  report_svg(&s, r);
  str_put(&s, "<h1>Model</h1><pre>");
  str_html(&s, text->p);
  str_put(&s, "</pre>\n<h1>Network</h1><p>Green: integer codes; yellow: float; blue: inputs. Constants are left out.</p>\n");
  draw_svg(&s, g);
  str_put(&s, "</html>\n");
  bool ok = file_write(c->ctx, path, s.p, s.n);
  str_free(&s);
  return ok;
}

/* The model through the whole pipeline; false with a diagnostic. */
static bool cost(Cmd *c, Graph *model, const PassOptions *o, Report *r) {
  State fused = {.graph = graph_copy(model)}, planned = {0};
  if (!fused.graph || !passes_standard(c->ctx, &fused, PASS_fuse, o)) return false;
  PassOptions quiet = *o; /* what select had to say is said */
  quiet.dump = NULL, quiet.dead = NULL;
  planned.graph = graph_copy(fused.graph);
  bool ok = planned.graph && passes_standard(c->ctx, &planned, -1, &quiet);
  if (ok) report_make(r, c->ctx->own, fused.graph, planned.program, o->target);
  graph_free(fused.graph);
  program_free(planned.program);
  return ok;
}

/* With what prune and widths found, and what it saves. */
static bool full_report(Cmd *c, Graph *model, const PassOptions *opt, Report *r) {
  PassOptions o = *opt;
  Watch w;
  Report before;
  report_watch(&w, c->ctx->own, &o);
  if (!cost(c, model, &o, r)) return false;
  report_told(r, &w);
  before = *r;
  PassOptions without = *opt;
  without.skip |= 1u << PASS_prune;
  if ((r->dead[DEAD_CONSTANT] || r->dead[DEAD_UNREAD]) && !cost(c, model, &without, &before)) return false;
  report_compare(r, &before);
  return true;
}

int verb_inspect(Cmd *c) {
  Model m;
  PassOptions o;
  Report r;
  const char *path = cmd_model(c);
  if (!path || !model_pass_options(c, &o)) return EXIT_USAGE;
  if (!model_load(c, path, &m)) return diag_exit(c->ctx);
  if (!m.s.graph) { diag(c->ctx, E0307, NULL, "inspect starts from a graph, and this is a program"); return EXIT_UNSUPPORTED; }
  if (!full_report(c, m.s.graph, &o, &r)) return diag_exit(c->ctx);
  Str s = {.ctx = c->ctx};
  model_facts(c, &m, &s);
  ports(&s, m.s.graph);
  layer_table(&s, &r, m.s.graph);
  dead_table(&s, &r);
  bool ok = true;
  if (cmd_has(c, FLAG_json)) {
    const char **names, *input = model_input(c->ctx, m.s.graph);
    int n = model_classes(c->ctx, m.s.graph, &names);
    json_t *j = report_json(&r, c->ctx, m.sha, o.target->name), *list = json_array(), *images = input ? json_loads(input, 0, NULL) : NULL;
    for (int i = 0; i < n; i++) json_array_append_new(list, json_string(names[i]));
    if (n) json_object_set(j, "classes", list);
    if (images) json_object_set_new(j, "images", images);
    json_decref(list);
    json_print(j);
  } else fputs(s.p, stdout);
  if (cmd_has(c, FLAG_html)) ok = write_html(c, cmd_get(c, FLAG_html), &s, &r, m.s.graph);
  str_free(&s);
  graph_free(m.s.graph);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
