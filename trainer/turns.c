/* Each output's part of the graph, which is what it needs and no earlier output does, is a graph of its own: its arguments are the values of
 * earlier parts that it reads, its outputs those that later parts read. It is planned, run once, and its plan freed. */
#include "trainer/turns.h"

#include "trainer/exec_impl.h"

#include <string.h>

typedef struct Turns {
  Ctx *ctx;
  Dnn *dnn;
  const Graph *g;
  Arena *arena;
  int *part;                     /* by id: the first output that needs it; n_outs: none does */
  bool *read;                    /* by id: it is an output, or a part after its own reads it */
  const void **data;             /* by id: of constants, arguments and what is read, row-major */
  Node **map;                    /* by id: in the graph of the part at hand */
  VEC(int) arg, out;             /* ids of that graph's arguments and outputs */
} Turns;

static bool is_given(const Node *n) { return n->op == OP_ARG || n->op == OP_CONST; }

static void share_out(Turns *t) {
  const Graph *g = t->g;
  for (int i = 0; i < g->n_nodes; i++) t->part[i] = g->n_outs;
  for (int o = g->n_outs - 1; o >= 0; o--) t->part[g->outs[o].v->id] = o, t->read[g->outs[o].v->id] = true;
  for (int i = g->n_nodes - 1; i >= 0; i--)
    for (int k = 0; k < g->nodes[i]->n_in; k++) {
      int *at = &t->part[g->nodes[i]->in[k]->id];
      if (t->part[i] < *at) *at = t->part[i];
    }
  for (int i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i]->n_in; k++) {
      uint32_t x = g->nodes[i]->in[k]->id;
      t->read[x] |= t->part[i] < g->n_outs && t->part[x] < t->part[i];
    }
}

/* x in the part's graph: a node of its own, a constant, or an argument that is made here. */
static Node *operand(Turns *t, Graph *part, const Node *x) {
  Node **at = &t->map[x->id];
  if (*at) return *at;
  if (x->op == OP_CONST) return *at = node_clone(part, x, NULL);
  vec_push(t->arena, &t->arg, (int)x->id);
  return *at = graph_arg(part, arena_printf(t->arena, "v%u", (unsigned)x->id), &x->t);
}

static Graph *part_graph(Turns *t, int o) {
  const Graph *g = t->g;
  Graph *part = graph_new(t->ctx, g->name, NULL);
  memset(t->map, 0, sizeof *t->map * (size_t)g->n_nodes);
  t->arg.n = t->out.n = 0;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (t->part[i] != o || is_given(n)) continue;
    Node **in = NEWN(t->arena, Node *, n->n_in + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = operand(t, part, n->in[k]);
    t->map[i] = node_clone(part, n, in);
    if (!t->read[i]) continue;
    vec_push(t->arena, &t->out, i);
    graph_out(part, arena_printf(t->arena, "v%d", i), t->map[i]);
  }
  return part;
}

static bool run_part(Turns *t, int o) {
  Graph *part = part_graph(t, o);
  Exec *e = t->out.n ? exec_new(t->ctx, t->dnn, part) : NULL;
  Arena *moved = arena_new(t->ctx);
  for (int i = 0; e && i < t->arg.n; i++) {
    const void *x = t->data[t->arg.p[i]];
    int64_t n = 0;
    if (exec_channels_last(e, i) && type_count(&part->args[i]->t, &n)) {
      float *last = NEWN(moved, float, n + 1);
      lie_move(&part->args[i]->t, x, last, true);
      x = last;
    }
    exec_bind(e, i, x);
  }
  bool ok = !t->out.n || (e && exec_run(e));
  for (int i = 0; ok && i < t->out.n; i++) {
    const Type *type = &part->outs[i].v->t;
    int64_t n = 0;
    type_count(type, &n);
    size_t bytes = (size_t)n * store_size(elem_store(type->e));
    void *to = arena_aligned(t->arena, bytes + 1);
    memcpy(to, exec_out(e, i), bytes);
    t->data[t->out.p[i]] = to;
  }
  arena_free(moved);
  exec_free(e);
  graph_free(part);
  return ok;
}

bool run_in_turns(Ctx *ctx, Dnn *dnn, const Graph *g, const void *const *arg, bool (*each)(void *user, int out, const void *value), void *user) {
  Arena *a = arena_new(ctx);
  Turns t = {.ctx = ctx, .dnn = dnn, .g = g, .arena = a, .part = NEWN(a, int, g->n_nodes + 1), .read = NEWN(a, bool, g->n_nodes + 1),
             .data = NEWN(a, const void *, g->n_nodes + 1), .map = NEWN(a, Node *, g->n_nodes + 1)};
  bool ok = true;
  share_out(&t);
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (is_given(n)) t.data[i] = n->op == OP_ARG ? arg[n->a.index] : n->a.value->data;
  }
  for (int o = 0; ok && o < g->n_outs; o++) {
    uint32_t v = g->outs[o].v->id;
    ok = (t.data[v] || run_part(&t, o)) && each(user, o, t.data[v]);
  }
  arena_free(a);
  return ok;
}
