/* The runner's check of what canon gives. Internal to passes/. */
#ifndef POPSHIFT_PASSES_CANON_H
#define POPSHIFT_PASSES_CANON_H

#include "ir/graph.h"

bool graph_is_canon(const Graph *);

#endif
