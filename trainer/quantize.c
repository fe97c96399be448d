/* Quantizers as graph rewriting: every contract of parameters, in order the network's layers, gets a quantizer on its weights and
 * one of its own on its input, as the recipe's first matching row says:
 *
 *   x ──> quant ──> dequant ──┐
 *   w ──> quant ──> dequant ──┴─> contract         step sizes are parameters; a weight's zero point is (N-1)/2
 *
 * An input that may be negative gets codes in two's complement (of one bit: +-step/2): 0 stays a level, so padding is a code. */
#include "trainer/net.h"

#include <math.h>
#include <string.h>

/* The operand of a layer that is a weight parameter, or -1. */
static int weight_operand(const Net *net, const Node *n) {
  if (n->op != OP_CONTRACT || n->a.scalar != S_MUL || n->n_in != 2 || !elem_eq(n->t.e, F32)) return -1;
  for (int k = 1; k >= 0; k--) {
    const Node *w = n->in[k];
    if (w->op == OP_ARG && w->a.index > 0 && net->p[w->a.index - 1].role == PARAM_WEIGHT) return k;
  }
  return -1;
}

static int layer_count(const Net *net) {
  int layers = 0;
  for (int i = 0; i < net->g->n_nodes; i++) layers += weight_operand(net, net->g->nodes[i]) >= 0;
  return layers;
}

static const char *layer_name(Net *net, const Node *n, int k) {
  const char *name = net->p[n->in[k]->a.index - 1].name, *dot = strrchr(name, '.');
  return dot && !strcmp(dot, ".weight") ? arena_strndup(net->arena, name, (size_t)(dot - name)) : name;
}

/* Values that can never be negative, as far as the graph alone tells; depth bounds the walk. */
static bool non_negative(const Node *n, int depth) {
  double v;
  if (depth == 0) return false;
  switch (n->op) {
  case OP_ARG: return n->a.index == 0; /* the image */
  case OP_CONST:
    for (int64_t i = 0; i < n->a.value->n; i++) if (!(tensor_f(n->a.value, i) >= 0)) return false;
    return true;
  case OP_MAP:
    if (n->a.scalar == S_ABS || n->a.scalar == S_EXP || n->a.scalar == S_SQRT) return true;
    if (n->a.scalar == S_MAX && node_uniform(n->in[1], &v) && v >= 0) return true;
    if (n->a.scalar != S_MUL && n->a.scalar != S_DIV && n->a.scalar != S_ADD && n->a.scalar != S_MIN && n->a.scalar != S_MAX) return false;
    return non_negative(n->in[0], depth - 1) && non_negative(n->in[1], depth - 1);
  case OP_VIEW:
    return (access_inside(n, 0) || n->a.fill >= 0) && non_negative(n->in[0], depth - 1);
  case OP_RESHAPE: case OP_REDUCE: /* sums, products, extremes */
    return non_negative(n->in[0], depth - 1);
  case OP_CONCAT:
    for (int k = 0; k < n->n_in; k++) if (!non_negative(n->in[k], depth - 1)) return false;
    return true;
  case OP_DEQUANT: return n->in[0]->op == OP_QUANT && n->in[0]->t.e.kind == EK_UINT && n->n_in < 3;
  default: return false;
  }
}

typedef struct Put { Net *net; Graph *g; } Put;

static Node *step_arg(Put *p, const char *layer, const char *what, ParamRole role, const Type *t, int bits, int64_t elements, int of) {
  const char *name = net_unique(p->net, arena_printf(p->net->arena, "%s.%s", layer, what));
  int i = net_param(p->net, name, role, t);
  Param *q = &p->net->p[i];
  q->bits = bits, q->elements = elements, q->of = of;
  for (int64_t k = 0; k < q->n; k++) q->value[k] = 1;
  return graph_arg(p->g, name, t);
}

/* Codes: levels symmetric about 0 without it (UniQ's weights); from 0 up (activations); two's complement (inputs that may be negative). */
typedef enum Levels { LEVELS_SYMMETRIC, LEVELS_UP, LEVELS_SIGNED } Levels;

static Node *fake_quant(Graph *g, Node *x, Node *step, int bits, Levels levels) {
  int64_t top = (INT64_C(1) << bits) - 1, half = INT64_C(1) << (bits - 1);
  if (levels == LEVELS_SIGNED) return node_dequant(g, node_quant(g, x, step, NULL, INTK(bits), -half, half - 1, RND_EVEN), step, NULL, F32);
  Node *zp = levels == LEVELS_SYMMETRIC ? node_const_f(g, F32, (double)top / 2) : NULL;
  return node_dequant(g, node_quant(g, x, step, zp, UINTK(bits), 0, top, RND_EVEN), step, zp, F32);
}

/* One step, or one per output channel: along the dimensions of the weights that the contract's result has. */
static Type step_type(const Node *n, int k, Grain grain, int64_t *elements) {
  const Type *w = &n->in[k]->t;
  Type t = type_make(F32, 1, (int64_t[]){1});
  int64_t count = 1, each = 1;
  for (int i = 0; i < w->rank; i++) count *= w->d[i].n;
  *elements = count;
  if (grain == GRAIN_LAYER) return t;
  t = *w;
  for (int d = 0; d < w->rank; d++) {
    bool output = false;
    for (int i = 0; i < n->t.rank; i++) output |= n->a.iters->acc[k][d].coef[i] != 0;
    if (output) each *= w->d[d].n;
    else t.d[d] = dim_c(1);
  }
  *elements = count / each;
  return t;
}

static Node *quantized_layer(Put *p, const Recipe *r, const Node *old, Node **in, int k, bool first, bool last) {
  Net *net = p->net;
  const char *layer = layer_name(net, old, k);
  const QuantRow *row = recipe_quant(r, layer, first, last);
  Graph *g = p->g;
  if (row && row->weight.q == QUANT_UNIQ) {
    int64_t elements;
    Type t = step_type(old, k, row->grain, &elements);
    Node *step = step_arg(p, layer, "weight_step", PARAM_STEP_W, &t, row->weight.bits, elements, old->in[k]->a.index - 1);
    in[k] = fake_quant(g, in[k], step, row->weight.bits, LEVELS_SYMMETRIC);
  }
  if (row && row->act.q == QUANT_UNIQ) {
    int64_t elements = 1;
    for (int i = 0; i < old->in[!k]->t.rank; i++) if (!old->in[!k]->t.d[i].sym) elements *= old->in[!k]->t.d[i].n;
    Type t = type_make(F32, 1, (int64_t[]){1});
    bool up = non_negative(old->in[!k], 64);
    Node *step = step_arg(p, layer, "act_step", PARAM_STEP_A, &t, row->act.bits, elements, -1);
    net->p[net->n_p - 1].is_signed = !up;
    in[!k] = fake_quant(g, in[!k], step, row->act.bits, up ? LEVELS_UP : row->act.bits == 1 ? LEVELS_SYMMETRIC : LEVELS_SIGNED);
  }
  return node_clone(g, old, in);
}

bool net_quantize(Net *net, const Recipe *r) {
  Graph *old = net->g, *g = graph_new(net->ctx, old->name, NULL);
  Arena *scratch = arena_new(net->ctx);
  Node **map = NEWN(scratch, Node *, old->n_nodes + 1);
  Put p = {net, g};
  int layers = layer_count(net), layer = 0;
  graph_sym(g, old->syms[0]);
  for (int i = 0; i < old->n_args; i++) map[old->args[i]->id] = graph_arg(g, old->arg_names[i], &old->args[i]->t);
  for (int i = 0; i < old->n_nodes; i++) {
    const Node *n = old->nodes[i];
    if (n->op == OP_ARG) continue;
    Node **in = NEWN(scratch, Node *, n->n_in + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k]->id];
    int k = weight_operand(net, n);
    g->at = n->loc;
    if (k >= 0) layer++;
    map[i] = k >= 0 ? quantized_layer(&p, r, n, in, k, layer == 1, layer == layers) : node_clone(g, n, in);
  }
  for (int i = 0; i < old->n_outs; i++) graph_out(g, old->outs[i].name, map[old->outs[i].v->id]);
  arena_free(scratch);
  graph_free(old);
  net->g = g;
  net->quantized = true;
  return true;
}

bool net_can_quantize(Net *net, const Recipe *r) {
  int layers = layer_count(net), layer = 0;
  bool used[RECIPE_QUANT] = {false}, any = false;
  for (int i = 0; i < net->g->n_nodes; i++) {
    int k = weight_operand(net, net->g->nodes[i]);
    if (k < 0) continue;
    layer++;
    const QuantRow *row = recipe_quant(r, layer_name(net, net->g->nodes[i], k), layer == 1, layer == layers);
    if (row) used[row - r->quant] = true;
    any = any || (row && (row->weight.q != QUANT_NONE || row->act.q != QUANT_NONE));
  }
  Loc loc = LOC_NONE;
  loc.file = r->file;
  for (int i = 0; i < r->n_quant; i++) {
    loc.line = r->quant[i].line;
    if (!used[i]) diag_warn(net->ctx, E0802, &loc, "quant.%d: no layer of the network is left for '%.100s'", i, r->quant[i].match);
  }
  if (any) return true;
  return diag(net->ctx, E0703, &(Loc){.file = r->file, .line = -1, .node = -1}, "a quantized phase, and no row of `quant` that quantizes a layer");
}
