/* edges: the graph's ends as codes (--io), in another memory order (--layout), and outputs kept as inputs (--state).
 *   input    arg f32 -> quant          becomes  arg of codes
 *   output   dequant -> out            becomes  out of codes
 *   packed   codes below 8 bits        become   words of u32: 1, 2 or 4 bits a code, least significant first, channels last, tail 0
 *   kept     out -> (next run's) arg   takes the quantization of the input's only reader, so that the pair is of codes too
 * What is cut off becomes one graph per port (edge_convert), so that float data runs on code ports, and results compare. */
#include "passes/edges.h"

#include "passes/access.h"

#include <string.h>

enum { WORD = 32 };

/* Movement between the model's dimensions and a port's: channels from dimension 1 to the last, or back. */
static Node *move_channels(Graph *g, Node *x, bool to_last) {
  int perm[MAX_RANK], r = x->t.rank;
  for (int i = 0; i < r; i++) perm[i] = to_last ? (i == 0 ? 0 : i == r - 1 ? 1 : i + 1) : (i == 0 ? 0 : i == 1 ? r - 1 : i - 1);
  return node_transpose(g, x, perm);
}

/* Bits that a packed code takes; 0: it stays a number of its own. */
static int packed_bits(Elem e) {
  if (e.kind != EK_INT && e.kind != EK_UINT && !elem_eq(e, BIPOLAR) && e.kind != EK_BOOL) return 0;
  return e.bits > 4 ? 0 : e.bits > 2 ? 4 : e.bits;
}

static Node *word_shifts(Graph *g, int bits) {
  Type t = type_make(UINTK(WORD), 1, (int64_t[]){WORD / bits});
  Tensor *s = tensor_new(g->ctx, &t);
  for (int64_t i = 0; s && i < s->n; i++) tensor_set_i(s, i, i * bits);
  return s ? node_const(g, s) : NULL;
}

/* words u32[W] as n codes of e, in the shape t. */
static Node *unpack(Graph *g, Node *words, int bits, const Type *t) {
  int64_t n, per = WORD / bits, w = words->t.d[0].n;
  Elem e = t->e;
  Node *shifts = word_shifts(g, bits);
  if (!shifts || !type_count(t, &n)) return NULL;
  Node *x = node_broadcast(g, node_reshape(g, words, 2, (Dim[]){dim_c(w), dim_c(1)}), 2, (Dim[]){dim_c(w), dim_c(per)});
  x = node_map2(g, S_AND, node_map2(g, S_SHR, x, shifts), node_const_i(g, UINTK(WORD), (INT64_C(1) << bits) - 1));
  x = node_slice(g, node_reshape(g, x, 1, (Dim[]){dim_c(w * per)}), 0, 0, 1, n);
  x = node_cast(g, x, I32);
  if (e.kind == EK_INT) {
    Node *sign = node_const_i(g, I32, INT64_C(1) << (e.bits - 1)), *mask = node_const_i(g, I32, (INT64_C(1) << e.bits) - 1);
    x = node_map2(g, S_SUB, node_map2(g, S_XOR, node_map2(g, S_AND, x, mask), sign), sign); /* the code's own bits, sign extended */
  } else if (elem_eq(e, BIPOLAR))
    x = node_map3(g, S_SELECT, node_map2(g, S_LT, node_const_i(g, I32, 0), x), node_const_i(g, e, 1), node_const_i(g, e, -1));
  else if (e.bits < bits)
    x = node_map2(g, S_AND, x, node_const_i(g, I32, (INT64_C(1) << e.bits) - 1));
  return node_reshape(g, node_cast(g, x, e), t->rank, t->d);
}

/* Codes as words: two's complement bits, +1 of +-1 as 1. */
static Node *pack(Graph *g, Node *x, int bits) {
  int64_t n, per = WORD / bits;
  Elem e = x->t.e;
  Node *shifts = word_shifts(g, bits);
  if (!shifts || !type_count(&x->t, &n)) return NULL;
  int64_t w = (n + per - 1) / per;
  x = node_cast(g, node_reshape(g, x, 1, (Dim[]){dim_c(n)}), I32);
  if (elem_eq(e, BIPOLAR)) x = node_map2(g, S_MAX, x, node_const_i(g, I32, 0));
  else x = node_map2(g, S_AND, x, node_const_i(g, I32, (INT64_C(1) << e.bits) - 1));
  x = node_pad(g, node_cast(g, x, UINTK(WORD)), (int64_t[]){0}, (int64_t[]){w * per - n}, 0);
  x = node_map2(g, S_SHL, node_reshape(g, x, 2, (Dim[]){dim_c(w), dim_c(per)}), shifts);
  return node_reduce_axes(g, S_OR, x, 2, false);
}

/* One port's way between the model's value and the port's. */
typedef struct Way {
  const Node *quant;             /* constant scale and zero point: of a quant or a dequant; NULL: the value itself is the port's */
  bool last;                     /* channels last */
  int bits;                      /* packed */
  Type code, port;               /* the codes in the port's order; what the port has */
} Way;

static Node *constant_of(Graph *g, const Node *n) { return n ? node_const(g, n->a.value) : NULL; }

static void way_finish(Way *w, const Type *value, const Node *code, EdgeIo io) {
  w->code = *value;
  w->code.e = code ? code->t.e : value->e;
  w->bits = io == EDGE_PACKED && w->code.rank > 0 ? packed_bits(w->code.e) : 0;
  if (w->bits && w->code.rank > 2) w->last = true;
  if (w->last)
    for (int i = 1; i < value->rank; i++) w->code.d[i] = value->d[i == value->rank - 1 ? 1 : i + 1];
  w->port = w->code;
  int64_t n;
  if (w->bits && type_count(&w->code, &n)) w->port = type_make(UINTK(WORD), 1, (int64_t[]){(n * w->bits + WORD - 1) / WORD});
}

/* Model order and type from the port's; and the other way. */
static Node *from_port(Graph *g, const Way *w, Node *x) {
  if (w->bits) x = unpack(g, x, w->bits, &w->code);
  return x && w->last ? move_channels(g, x, false) : x;
}
static Node *to_port(Graph *g, const Way *w, Node *x) {
  if (w->last) x = move_channels(g, x, true);
  return w->bits ? pack(g, x, w->bits) : x;
}

/* The meaning of the port's codes. */
static void meaning_of(const Way *w, PortMeaning *m) {
  *m = (PortMeaning){.t = w->code, .bits = w->bits, .channels_last = w->last};
  if (!w->quant) return;
  const Node *s = w->quant->in[1], *z = w->quant->n_in > 2 ? w->quant->in[2] : NULL;
  m->scale = s->a.value;
  m->zero = z ? z->a.value : NULL;
  uint32_t varies = const_varies(s->a.value, w->quant->t.rank) | (z ? const_varies(z->a.value, w->quant->t.rank) : 0);
  m->axis = varies ? __builtin_ctz(varies) : 0;
  if (w->last && m->axis > 0) m->axis = m->axis == 1 ? w->code.rank - 1 : m->axis - 1;
}

static Graph *convert_graph(Graph *of, const Way *w, const char *name, const Type *model, bool is_input) {
  bool same = !w->quant && !w->last && !w->bits;
  if (same) return NULL;
  Graph *g = graph_new(of->ctx, "edge", of->file);
  Node *x = graph_arg(g, name, is_input ? model : &w->port), *q[3];
  const Node *k = w->quant;
  if (!is_input) x = from_port(g, w, x);
  if (k && x) {
    q[0] = x, q[1] = constant_of(g, k->in[1]), q[2] = k->n_in > 2 ? constant_of(g, k->in[2]) : NULL;
    Type t = *model;
    t.e = is_input ? k->t.e : model->e;
    x = node_new(g, (Op)k->op, &t, k->n_in, q, &k->a, NULL);
  }
  if (is_input && x) x = to_port(g, w, x);
  if (!x) { graph_free(g); return NULL; }
  graph_out(g, name, x);
  return g;
}

/* Finding the quantization of a port */

static bool constant_quant(const Node *n) { return node_is_const(n->in[1]) && (n->n_in < 3 || node_is_const(n->in[2])); }

/* One step of scale and zero point for a header: varying along one dimension at most. */
static bool along_one(const Node *q) {
  uint32_t v = const_varies(q->in[1]->a.value, q->t.rank) | (q->n_in > 2 ? const_varies(q->in[2]->a.value, q->t.rank) : 0);
  return !(v & (v - 1)) && !(q->t.e.kind == EK_BASES && q->t.e.bits > 1);
}

static bool same_quant(const Node *a, const Node *b) {
  if (!attr_eq(a, b) || a->n_in != b->n_in) return false;
  for (int k = 1; k < a->n_in; k++)
    if (!tensor_eq(a->in[k]->a.value, b->in[k]->a.value)) return false;
  return true;
}

/* The quant that is all that reads argument a; NULL and *other: a reader that is none, or quantizes otherwise. */
static const Node *input_quant(const Graph *g, const Node *a, const bool *live, const Node **other) {
  const Node *q = NULL;
  *other = NULL;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    for (int k = 0; live[i] && k < n->n_in; k++) {
      if (n->in[k] != a) continue;
      bool fits = n->op == OP_QUANT && k == 0 && constant_quant(n) && type_shape_eq(&n->t, &a->t) && along_one(n);
      if (!fits || (q && !same_quant(q, n))) { *other = n; return NULL; }
      if (!q) q = n;
    }
  }
  return q;
}

static const char *said(Arena *a, const Node *n) {
  return arena_printf(a, "%s%s%s", n->op == OP_MAP ? scalar_info[n->a.scalar].name : op_info[n->op].name, n->loc.name ? " of node " : "", n->loc.name ? n->loc.name : "");
}

static bool input_refused(Graph *g, Arena *a, const char *name, const Node *other) {
  Loc loc = {.file = g->file, .line = -1, .node = -1, .name = name};
  if (other && other->op == OP_QUANT) diag(g->ctx, E0302, &loc, "this input is quantized in more than one way, so that its codes are not one set of numbers");
  else diag(g->ctx, E0302, &loc, "this input is not quantized where it enters%s%s", other ? ": it is read by " : "", other ? said(a, other) : "");
  return diag_hint(g->ctx, "--io codes takes models whose inputs go into QuantizeLinear or Quant at once; --io float takes this one"), false;
}

static bool output_refused(Graph *g, Arena *a, const char *name, const Node *v) {
  Loc loc = {.file = g->file, .line = -1, .node = -1, .name = name};
  diag(g->ctx, E0302, &loc, "this output is not quantized where it leaves: it is computed in float by %s", said(a, v));
  return diag_hint(g->ctx, "--io codes takes models whose outputs come from DequantizeLinear or Quant; --io float takes this one"), false;
}

/* Building */

typedef struct Ends {
  Graph *old, *g;
  Arena *a;
  Node **map;
  bool *live;
  Way *in, *out;
} Ends;

static void mark_live(Ends *e) {
  const Graph *g = e->old;
  for (int i = 0; i < g->n_outs; i++) e->live[g->outs[i].v->id] = true;
  for (int i = g->n_nodes - 1; i >= 0; i--)
    for (int k = 0; e->live[i] && k < g->nodes[i]->n_in; k++) e->live[g->nodes[i]->in[k]->id] = true;
}

static bool kept(const EdgeOptions *o, int out, int in) {
  for (int i = 0; i < o->n_keep; i++)
    if (o->keep[i].out == out || o->keep[i].in == in) return true;
  return false;
}

static bool find_ways(Ends *e, const EdgeOptions *o) {
  Graph *g = e->old;
  const Node *other;
  for (int i = 0; i < g->n_args; i++) {
    const Node *a = g->args[i];
    Way *w = &e->in[i];
    w->last = o->channels_last && o->channels_last[i];
    if (o->io != EDGE_FLOAT && elem_is_float(a->t.e)) {
      w->quant = input_quant(g, a, e->live, &other);
      if (!w->quant && !kept(o, -1, i) && e->live[a->id]) return input_refused(g, e->a, g->arg_names[i], other);
    }
    way_finish(w, &a->t, w->quant, kept(o, -1, i) ? EDGE_FLOAT : o->io);
  }
  for (int i = 0; i < g->n_outs; i++) {
    const Node *v = g->outs[i].v;
    Way *w = &e->out[i];
    if (kept(o, i, -1)) continue;
    if (o->io != EDGE_FLOAT && elem_is_float(v->t.e)) {
      if (v->op != OP_DEQUANT || !constant_quant(v) || !type_shape_eq(&v->t, &v->in[0]->t) || !along_one(v)) return output_refused(g, e->a, g->outs[i].name, v);
      w->quant = v;
    }
    way_finish(w, &v->t, w->quant ? w->quant->in[0] : NULL, o->io);
  }
  return true;
}

/* The old graph's nodes, with quants of code arguments replaced by what arrives. */
static bool copy_nodes(Ends *e) {
  Graph *g = e->g, *old = e->old;
  Node **arg = NEWN(e->a, Node *, old->n_args + 1);
  for (int i = 0; i < old->n_args; i++) {
    g->at = old->args[i]->loc;
    Node *a = graph_arg(g, old->arg_names[i], &e->in[i].port);
    if (!(arg[i] = from_port(g, &e->in[i], a))) return false;
    if (!e->in[i].quant) e->map[old->args[i]->id] = arg[i];
  }
  VEC(Node *) in = {0};
  for (int i = 0; i < old->n_nodes; i++) {
    const Node *n = old->nodes[i];
    if (n->op == OP_ARG || !e->live[i]) continue;
    g->at = n->loc;
    if (n->op == OP_QUANT && n->in[0]->op == OP_ARG && e->in[n->in[0]->a.index].quant) {
      e->map[i] = arg[n->in[0]->a.index];
      continue;
    }
    in.n = 0;
    for (int k = 0; k < n->n_in; k++) vec_push(e->a, &in, e->map[n->in[k]->id]);
    e->map[i] = node_clone(g, n, in.p);
  }
  return true;
}

/* The value that leaves at output i; a kept one as its input takes it. */
static Node *leaving(Ends *e, const EdgeOptions *o, int i) {
  const Node *v = e->old->outs[i].v;
  for (int k = 0; k < o->n_keep; k++) {
    if (o->keep[k].out != i) continue;
    const Way *w = &e->in[o->keep[k].in];
    const Node *q = w->quant;
    bool known = q && v->op == OP_DEQUANT && v->n_in == q->n_in && elem_eq(v->in[0]->t.e, q->t.e) && type_shape_eq(&v->t, &v->in[0]->t) && q->t.e.kind != EK_BASES;
    for (int j = 1; known && j < q->n_in; j++) known = node_is_const(v->in[j]) && tensor_eq(v->in[j]->a.value, q->in[j]->a.value);
    /* quant of its own dequant: |code - zero| of these types is below 2^20 (recognize, quant_of_dequant) */
    if (known && q->t.e.bits <= 16 && q->a.lo <= elem_lo(q->t.e) && q->a.hi >= elem_hi(q->t.e)) return to_port(e->g, w, e->map[v->in[0]->id]);
    if (!q) return to_port(e->g, w, e->map[v->id]);
    Node *in[3] = {e->map[v->id], constant_of(e->g, q->in[1]), q->n_in > 2 ? constant_of(e->g, q->in[2]) : NULL};
    return to_port(e->g, w, node_new(e->g, OP_QUANT, &q->t, q->n_in, in, &q->a, NULL));
  }
  const Way *w = &e->out[i];
  return to_port(e->g, w, w->quant ? e->map[v->in[0]->id] : e->map[v->id]);
}

static void describe_ports(Ends *e, const EdgeOptions *o, Edges *edges) {
  Graph *old = e->old;
  *edges = (Edges){old->n_args, old->n_outs, NEWN(e->a, Edge, old->n_args + 1), NEWN(e->a, Edge, old->n_outs + 1)};
  for (int i = 0; i < old->n_args; i++) {
    edges->in[i].convert = convert_graph(old, &e->in[i], old->arg_names[i], &old->args[i]->t, true);
    meaning_of(&e->in[i], &edges->in[i].meaning);
  }
  for (int i = 0; i < old->n_outs; i++) {
    if (kept(o, i, -1)) continue;
    edges->out[i].convert = convert_graph(old, &e->out[i], old->outs[i].name, &old->outs[i].v->t, false);
    meaning_of(&e->out[i], &edges->out[i].meaning);
  }
}

Graph *graph_edges(Graph *old, const EdgeOptions *o, Arena *a, Edges *edges) {
  Ends e = {.old = old, .a = a, .map = NEWN(a, Node *, old->n_nodes + 1), .live = NEWN(a, bool, old->n_nodes + 1),
            .in = NEWN(a, Way, old->n_args + 1), .out = NEWN(a, Way, old->n_outs + 1)};
  mark_live(&e);
  bool ok = find_ways(&e, o);
  if (ok) {
    e.g = graph_new(old->ctx, old->name, old->file);
    graph_facts_copy(e.g, old);
    e.g->props = old->props & (P_TYPED | P_RECOGNIZED | P_STATIC);
    ok = copy_nodes(&e);
    for (int i = 0; ok && i < old->n_outs; i++) {
      Node *v = leaving(&e, o, i);
      if (v) graph_out(e.g, old->outs[i].name, v);
      ok = v != NULL;
    }
    if (ok) e.g->at = LOC_NONE, describe_ports(&e, o, edges);
  }
  graph_free(old);
  if (!ok && e.g) graph_free(e.g);
  return ok ? e.g : NULL;
}

void edges_free(Edges *e) {
  for (int i = 0; i < e->n_in; i++) graph_free(e->in[i].convert);
  for (int i = 0; i < e->n_out; i++) graph_free(e->out[i].convert);
  *e = (Edges){0};
}

Tensor *edge_convert(Ctx *ctx, const Edge *e, Tensor *x) {
  Tensor *y;
  if (!e->convert) return tensor_copy(x);
  return graph_eval(ctx, e->convert, &x, &y, NULL, NULL) ? y : NULL;
}
