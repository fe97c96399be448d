/* Pictures of a graph. The SVG places a node in the row after its latest input and, within a row, near its inputs. */
#include "tools/draw.h"

#include <stdlib.h>
#include <string.h>

void node_label(Str *s, const Graph *g, const Node *n) {
  str_put(s, op_info[n->op].name);
  if (op_info[n->op].attrs & AT_SCALAR) str_printf(s, " %s", scalar_info[n->a.scalar].name ? scalar_info[n->a.scalar].name : "mul");
  if (n->op == OP_CONTRACT && n->a.kernel) str_printf(s, " (%s)", kernel_names[n->a.kernel]);
  if (n->op == OP_ARG) str_printf(s, " %.30s", g->arg_names[n->a.index]);
}

/* Quoted DOT text: quotes and backslashes escaped, the rest outside printable ASCII as ?. */
static void dot_text(Str *s, const char *text) {
  for (const char *p = text; *p; p++) {
    if (*p == '"' || *p == '\\') str_put(s, "\\");
    str_putn(s, *p >= 32 && *p < 127 ? p : "?", 1);
  }
}

void draw_dot(Str *s, const Graph *g) {
  str_printf(s, "digraph model {\n  rankdir=TB; node [shape=box, fontname=\"sans-serif\", fontsize=10];\n");
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (n->op == OP_CONST) continue;
    Str l = {.ctx = s->ctx}, t = {.ctx = s->ctx};
    node_label(&l, g, n);
    type_print(&t, g, &n->t);
    str_printf(s, "  n%u [label=\"", n->id);
    dot_text(s, l.p);
    str_put(s, "\\n");
    dot_text(s, t.p);
    if (n->loc.name) { str_put(s, "\\n"); dot_text(s, n->loc.name); }
    str_printf(s, "\"%s];\n", elem_is_code(n->t.e) ? ", style=filled, fillcolor=\"#d8f0d8\"" : "");
    str_free(&l);
    str_free(&t);
    for (int k = 0; k < n->n_in; k++) if (n->in[k]->op != OP_CONST) str_printf(s, "  n%u -> n%u;\n", n->in[k]->id, n->id);
  }
  for (int i = 0; i < g->n_outs; i++) {
    str_printf(s, "  o%d [label=\"", i);
    dot_text(s, g->outs[i].name);
    str_printf(s, "\", shape=ellipse];\n  n%u -> o%d;\n", g->outs[i].v->id, i);
  }
  str_put(s, "}\n");
}

enum { BOX_W = 190, BOX_H = 44, GAP_X = 24, GAP_Y = 30, MARGIN = 20 };
typedef struct Place { int row; double x; bool shown; } Place;

/* Rows, then columns: inputs' mean position, pushed right where a neighbour sits. Returns the row count; *width in pixels. */
static int place_nodes(const Graph *g, Place *p, double *width) {
  int rows = 0;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    p[i].shown = n->op != OP_CONST;
    for (int k = 0; k < n->n_in; k++)
      if (p[n->in[k]->id].shown && p[n->in[k]->id].row >= p[i].row) p[i].row = p[n->in[k]->id].row + 1;
    if (p[i].shown && p[i].row >= rows) rows = p[i].row + 1;
  }
  double *right = calloc((size_t)rows + 1, sizeof *right);
  if (!right) abort();
  *width = BOX_W;
  for (int i = 0; i < g->n_nodes; i++) {
    if (!p[i].shown) continue;
    double want = 0;
    int n_in = 0;
    for (int k = 0; k < g->nodes[i]->n_in; k++)
      if (p[g->nodes[i]->in[k]->id].shown) { want += p[g->nodes[i]->in[k]->id].x; n_in++; }
    if (n_in) want /= n_in;
    double *r = &right[p[i].row];
    p[i].x = want > *r ? want : *r;
    *r = p[i].x + BOX_W + GAP_X;
    if (p[i].x + BOX_W > *width) *width = p[i].x + BOX_W;
  }
  free(right);
  return rows;
}

void draw_svg(Str *s, const Graph *g) {
  Place *p = calloc((size_t)g->n_nodes + 1, sizeof *p);
  if (!p) abort();
  double width;
  int rows = place_nodes(g, p, &width);
  str_printf(s, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n",
             width + 2 * MARGIN, rows * (BOX_H + GAP_Y) + 2 * MARGIN);
  for (int i = 0; i < g->n_nodes; i++) {
    if (!p[i].shown) continue;
    for (int k = 0; k < g->nodes[i]->n_in; k++) {
      const Place *a = &p[g->nodes[i]->in[k]->id];
      if (!a->shown) continue;
      double x1 = MARGIN + a->x + BOX_W / 2.0, y1 = MARGIN + a->row * (BOX_H + GAP_Y) + BOX_H;
      double x2 = MARGIN + p[i].x + BOX_W / 2.0, y2 = MARGIN + p[i].row * (BOX_H + GAP_Y);
      str_printf(s, "<path d=\"M%.1f %.1f C%.1f %.1f %.1f %.1f %.1f %.1f\" fill=\"none\" stroke=\"#888\"/>\n", x1, y1, x1, y1 + 16, x2, y2 - 16, x2, y2);
    }
  }
  for (int i = 0; i < g->n_nodes; i++) {
    if (!p[i].shown) continue;
    const Node *n = g->nodes[i];
    double x = MARGIN + p[i].x, y = MARGIN + p[i].row * (BOX_H + GAP_Y);
    Str l = {.ctx = s->ctx}, t = {.ctx = s->ctx};
    node_label(&l, g, n);
    type_print(&t, g, &n->t);
    str_printf(s, "<g><title>");
    if (n->loc.name) str_html(s, n->loc.name);
    str_printf(s, "</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" rx=\"5\" fill=\"%s\" stroke=\"#555\"/>"
               "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" font-weight=\"bold\">", x, y, BOX_W, BOX_H,
               n->op == OP_ARG ? "#e8e8ff" : elem_is_code(n->t.e) ? "#d8f0d8" : "#fff4d8", x + BOX_W / 2.0, y + 18);
    str_html(s, l.p);
    str_printf(s, "</text><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", x + BOX_W / 2.0, y + 34);
    str_html(s, t.p);
    str_put(s, "</text></g>\n");
    str_free(&l);
    str_free(&t);
  }
  str_put(s, "</svg>\n");
  free(p);
}
