/* Layer by layer cost of a compiled graph. */
#include "tools/report.h"

#include "backends/c/c_backend.h"

#include <math.h>
#include <string.h>

/* The constant among a contract's operands, through the views and reshapes that layout puts before it. */
static const Node *weights_of(const Node *n, int *which) {
  for (int k = 1; k >= 0; k--) {
    const Node *w = n->in[k];
    while (w->op == OP_VIEW || w->op == OP_RESHAPE || node_is_map(w, S_CAST)) w = w->in[0];
    if (w->op == OP_CONST) { *which = k; return w; }
  }
  *which = 1;
  return NULL;
}

/* The codes behind an operand of a bit-serial contract: what was packed. */
static const Node *unpacked(const Node *n) {
  while (n->op == OP_PACK || n->op == OP_VIEW || n->op == OP_RESHAPE) n = n->in[0];
  return n;
}

static Layer layer_of(const Node *n) {
  Layer l = {.node = n, .name = n->loc.name ? n->loc.name : "", .op = n->loc.op ? n->loc.op : op_info[n->op].name, .out = n->t,
             .kernel = kernel_names[n->a.kernel], .macs = 1};
  int which;
  const Node *w = weights_of(n, &which), *x = unpacked(n->in[1 - which]);
  bool serial = n->a.scalar != S_MUL;
  int64_t ext[MAX_ITERS];
  int total = iters_extents(n, ext), planes = 0;
  l.in = x->t;
  for (int i = 0; i < total; i++) l.macs *= ext[i];
  l.a_bits = x->t.e.bits;
  if (serial) { /* words of W codes, times the planes of both operands: [.., planes, words] */
    const Type *tx = &n->in[1 - which]->t;
    planes = tx->rank > 1 ? (int)tx->d[tx->rank - 2].n : 1;
    l.w_bits = 1;
    if (w && n->n_in == 3) { int64_t c; if (type_count(&n->in[2]->t, &c) && planes) l.w_bits = (int)(c / planes); }
    l.macs = l.macs * tx->e.bits / (planes ? planes : 1) / (l.w_bits ? l.w_bits : 1);
  } else l.w_bits = n->in[which]->t.e.bits;
  l.bit_ops = elem_is_code(n->in[0]->t.e) ? l.macs * l.w_bits * l.a_bits : 0;
  if (w) l.weight_bytes = w->a.value->n * (int64_t)store_size(w->a.value->st);
  return l;
}

void report_make(Report *r, Arena *a, const Graph *g, const Program *p, const Target *t) {
  memset(r, 0, sizeof *r);
  r->arena = a;
  r->flash = r->stack = r->arena_bytes = r->arena_bound = -1;
  VEC(Layer) v = {0};
  for (int i = 0; g && i < g->n_nodes; i++)
    if (g->nodes[i]->op == OP_CONTRACT && type_static(&g->nodes[i]->t)) {
      Layer l = layer_of(g->nodes[i]);
      r->macs += l.macs;
      r->bit_ops += l.bit_ops;
      vec_push(a, &v, l);
    }
  r->layers = v.p;
  r->n_layers = v.n;
  if (!p) return;
  r->arena_bytes = p->arena_bytes;
  r->arena_bound = p->arena_bound;
  r->flash = c_flash_bytes(p);
  r->stack = c_stack_bytes(p, t->word / 8);
}

static json_t *type_json(Ctx *c, const Type *t) {
  Str s = {.ctx = c};
  type_print(&s, NULL, t);
  json_t *j = json_string(s.p);
  str_free(&s);
  return j;
}

json_t *json_text(Arena *a, const char *s) {
  char *copy = arena_strdup(a, s);
  for (char *p = copy; *p; p++) if (*p != '\n' && (*p < 32 || *p > 126)) *p = '?';
  return json_string(copy);
}

json_t *json_number(double v) { return isfinite(v) ? json_real(v) : json_string(isnan(v) ? "nan" : v < 0 ? "-inf" : "inf"); }

void json_print(json_t *j) {
  json_dumpf(j, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
  putchar('\n');
  json_decref(j);
}

json_t *report_json(const Report *r, Ctx *c, const char *model_sha, const char *target) {
  json_t *layers = json_array();
  for (int i = 0; i < r->n_layers; i++) {
    const Layer *l = &r->layers[i];
    json_array_append_new(layers, json_pack("{s:o s:o s:s s:o s:o s:i s:i s:I s:I s:I}", "name", json_text(r->arena, l->name), "op", json_text(r->arena, l->op),
      "kernel", l->kernel, "in", type_json(c, &l->in), "out", type_json(c, &l->out), "w_bits", l->w_bits, "a_bits", l->a_bits,
      "macs", (json_int_t)l->macs, "bit_ops", (json_int_t)l->bit_ops, "weight_bytes", (json_int_t)l->weight_bytes));
  }
  return json_pack("{s:s s:s s:s s:o s:{s:I s:I s:I s:I s:I s:I}}", "schema", "popshift.report/1", "model", model_sha, "target", target, "layers", layers,
                   "totals", "flash", (json_int_t)r->flash, "arena", (json_int_t)r->arena_bytes, "arena_bound", (json_int_t)r->arena_bound, "stack", (json_int_t)r->stack,
                   "macs", (json_int_t)r->macs, "bit_ops", (json_int_t)r->bit_ops);
}
