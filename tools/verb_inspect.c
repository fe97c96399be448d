/* inspect: what is in a model and what it costs when compiled. */
#include "tools/cmd.h"
#include "tools/draw.h"
#include "tools/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

static void layer_table(Str *s, const Report *r, const Graph *g) {
  str_printf(s, "\n%-28s %-14s %-9s %6s %6s %12s %14s %12s  %s\n", "layer", "op", "kernel", "w bits", "a bits", "MACs", "bit ops", "weight bytes", "output");
  for (int i = 0; i < r->n_layers; i++) {
    const Layer *l = &r->layers[i];
    Str t = {.ctx = g->ctx}, name = {.ctx = g->ctx};
    type_print(&t, g, &l->out);
    str_quoted(&name, l->name);
    name.p[name.n - 1] = 0;
    size_t long_by = name.n - 2 > NAME_COLUMN ? name.n - 2 - NAME_COLUMN : 0; /* of a long name the end tells more */
    if (long_by) memcpy(name.p + 1 + long_by, "...", 3);
    str_printf(s, "%-28s %-14.14s %-9s %6d %6d %12" PRId64 " %14" PRId64 " %12" PRId64 "  %s\n", name.p + 1 + long_by, l->op, l->kernel, l->w_bits, l->a_bits, l->macs,
               l->bit_ops, l->weight_bytes, t.p);
    str_free(&t);
    str_free(&name);
  }
  str_printf(s, "\ntotal   %" PRId64 " MACs, %" PRId64 " bit operations\n", r->macs, r->bit_ops);
  if (r->flash >= 0)
    str_printf(s, "memory  %" PRId64 " bytes of constants, workspace %" PRId64 " bytes (no plan can be below %" PRId64 "), stack at most %" PRId64 " bytes\n", r->flash, r->arena_bytes, r->arena_bound, r->stack);
}

static bool write_html(Cmd *c, const char *path, const Str *text, const Graph *g) {
  Str s = {.ctx = c->ctx};
  str_put(&s, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>popshift inspect</title>"
              "<style>body{font-family:sans-serif;margin:2em}pre{overflow:auto;background:#f6f6f6;padding:1em}</style>\n<h1>Model</h1><pre>");
  str_html(&s, text->p);
  str_put(&s, "</pre>\n<h1>Network</h1><p>Green: integer codes; yellow: float; blue: inputs. Constants are left out.</p>\n");
  draw_svg(&s, g);
  str_put(&s, "</html>\n");
  bool ok = file_write(c->ctx, path, s.p, s.n);
  str_free(&s);
  return ok;
}

int verb_inspect(Cmd *c) {
  Model m;
  PassOptions o;
  const char *path = cmd_model(c);
  if (!path || !model_pass_options(c, &o)) return EXIT_USAGE;
  if (!model_load(c, path, &m)) return diag_exit(c->ctx);
  if (!m.s.graph) { diag(c->ctx, E0307, NULL, "inspect starts from a graph, and this is a program"); return EXIT_UNSUPPORTED; }
  Graph *shown = graph_copy(m.s.graph);
  State after = {.graph = graph_copy(m.s.graph)}, planned = {0};
  if (!shown || !after.graph || !passes_standard(c->ctx, &after, PASS_fuse, &o)) return diag_exit(c->ctx);
  planned.graph = graph_copy(after.graph);
  if (!planned.graph || !passes_standard(c->ctx, &planned, -1, &o)) return diag_exit(c->ctx);
  Report r;
  report_make(&r, c->ctx->own, after.graph, planned.program, o.target);
  Str s = {.ctx = c->ctx};
  model_facts(c, &m, &s);
  ports(&s, shown);
  layer_table(&s, &r, after.graph);
  bool ok = true;
  if (cmd_has(c, FLAG_json)) {
    json_print(report_json(&r, c->ctx, m.sha, o.target->name));
  } else fputs(s.p, stdout);
  if (cmd_has(c, FLAG_html)) ok = write_html(c, cmd_get(c, FLAG_html), &s, shown);
  str_free(&s);
  program_free(planned.program);
  graph_free(after.graph);
  graph_free(shown);
  graph_free(m.s.graph);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
