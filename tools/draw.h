/* Pictures of a graph: DOT text, and an SVG of its own (layers from inputs to outputs, constants left out). */
#ifndef POPSHIFT_TOOLS_DRAW_H
#define POPSHIFT_TOOLS_DRAW_H

#include "ir/graph.h"

void draw_dot(Str *, const Graph *);
void draw_svg(Str *, const Graph *);
/* What a node is: "map add", "contract int", with its element type and shape in two lines of text. */
void node_label(Str *, const Graph *, const Node *);

#endif
