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

static const char *name_of(const Node *n) { return n->loc.name ? n->loc.name : ""; }
static const char *op_of(const Node *n) { return n->loc.op ? n->loc.op : op_info[n->op].name; }

static Layer layer_of(Arena *a, const Node *n) {
  Layer l = {.name = arena_strdup(a, name_of(n)), .op = arena_strdup(a, op_of(n)), .out = n->t, .kernel = kernel_names[n->a.kernel], .macs = 1,
             .est_cycles = -1, .macs_before = -1, .bytes_before = -1};
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

/* macs of the dense layer; w_bits: most planes of a group; bit_ops: of the planes that are there. */
static Layer bases_layer(Arena *a, const Node *n) {
  Layer l = {.name = arena_strdup(a, name_of(n)), .op = arena_strdup(a, op_of(n)), .out = n->t, .kernel = kernel_names[n->a.kernel],
             .est_cycles = -1, .macs_before = -1, .bytes_before = -1};
  const Tensor *counts = n->in[3]->a.value;
  const Node *x = n->n_in == 6 ? unpacked(n->in[0]) : n->in[0];
  int64_t outputs, rows = counts->t.d[0].n * counts->t.d[1].n, planes = n->in[1]->t.d[0].n;
  type_count(&n->t, &outputs);
  l.in = x->t;
  l.a_bits = x->t.e.bits;
  for (int64_t i = 0; i < counts->n; i++) if (tensor_i(counts, i) > l.w_bits) l.w_bits = (int)tensor_i(counts, i);
  l.macs = outputs * counts->t.d[2].n * bases_n(n);
  l.bit_ops = elem_is_code(x->t.e) && rows ? outputs / rows * planes * bases_n(n) * l.a_bits : 0;
  l.weight_bytes = (planes * bases_n(n) + 7) / 8 + planes * (int64_t)store_size(n->in[2]->a.value->st) + (counts->n * (l.w_bits > 3 ? 4 : l.w_bits > 1 ? 2 : 1) + 7) / 8;
  return l;
}

void report_make(Report *r, Arena *a, const Graph *g, const Program *p, const Target *t) {
  memset(r, 0, sizeof *r);
  r->arena = a;
  r->flash = r->stack = r->arena_bytes = r->arena_bound = -1;
  VEC(Layer) v = {0};
  for (int i = 0; g && i < g->n_nodes; i++)
    if ((g->nodes[i]->op == OP_CONTRACT || g->nodes[i]->op == OP_BASES) && type_static(&g->nodes[i]->t)) {
      Layer l = g->nodes[i]->op == OP_BASES ? bases_layer(a, g->nodes[i]) : layer_of(a, g->nodes[i]);
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

/* Watching passes */

const char *const dead_names[DEAD_COUNT] = {[DEAD_CONSTANT] = "constant", [DEAD_UNREAD] = "unread", [DEAD_THRESHOLDS] = "thresholds"};

static bool is_named(const char *name, const char *op, const char *name2, const char *op2) { return !strcmp(name, name2) && !strcmp(op, op2); }

/* The entry of a contract, which its location names through every pass. */
static Told *told_of(Watch *w, const Node *n, int nth) {
  for (int i = 0; i < w->layers.n; i++)
    if (w->layers.p[i].nth == nth && is_named(w->layers.p[i].name, w->layers.p[i].op, name_of(n), op_of(n))) return &w->layers.p[i];
  Told t = {.name = arena_strdup(w->arena, name_of(n)), .op = arena_strdup(w->arena, op_of(n)), .nth = nth, .cycles = -1};
  vec_push(w->arena, &w->layers, t);
  return &w->layers.p[w->layers.n - 1];
}

/* Thresholds belong to the contract that they follow. */
static void hear_dead(void *user, Dead why, const Node *n, int64_t count) {
  const Node *c = n;
  while (c->op != OP_CONTRACT && c->n_in && !node_is_const(c->in[0])) c = c->in[0];
  told_of(user, c->op == OP_CONTRACT ? c : n, 0)->dead[why] += count;
}

static void hear_graph(void *user, PassId id, bool after, const Graph *g, const Program *p) {
  Watch *w = user;
  LayerFact *f;
  (void)p;
  if (!after || id != PASS_select || !g) return;
  Arena *scratch = arena_new(g->ctx);
  for (int i = 0, n = layer_facts(scratch, g, w->target, &f); i < n; i++) {
    int nth = 0;
    for (int k = 0; k < i; k++) nth += is_named(name_of(f[k].n), op_of(f[k].n), name_of(f[i].n), op_of(f[i].n));
    Told *t = told_of(w, f[i].n, nth);
    t->selected = true;
    t->known = f[i].known;
    t->lo = f[i].lo, t->hi = f[i].hi, t->acc = f[i].n->t.e;
    t->cycles = f[i].cycles;
  }
  arena_free(scratch);
}

void report_watch(Watch *w, Arena *a, PassOptions *o) {
  *w = (Watch){.arena = a, .target = o->target};
  o->dump = hear_graph;
  o->dead = hear_dead;
  o->dump_user = o->dead_user = w;
}

/* The k-th layer of that name and operator from `from` on; -1. */
static int find_layer(const Report *r, int from, const char *name, const char *op) {
  for (int i = from; i < r->n_layers; i++)
    if (is_named(r->layers[i].name, r->layers[i].op, name, op)) return i;
  return -1;
}

/* The layer that t is about: the only one that select saw under its name, or the nth of as many; -1. */
static int layer_told(const Report *r, const Watch *w, const Told *t, bool *only) {
  int selected = 0, layers = 0, at = find_layer(r, 0, t->name, t->op);
  for (int i = 0; i < w->layers.n; i++)
    selected += w->layers.p[i].selected && is_named(w->layers.p[i].name, w->layers.p[i].op, t->name, t->op);
  for (int i = 0; i < r->n_layers; i++) layers += is_named(r->layers[i].name, r->layers[i].op, t->name, t->op);
  *only = selected == 1;
  if (selected != 1 && selected != layers) return -1;
  for (int k = 0; at >= 0 && k < t->nth; k++) at = find_layer(r, at + 1, t->name, t->op);
  return at;
}

void report_told(Report *r, const Watch *w) {
  for (int i = 0; i < w->layers.n; i++) {
    const Told *t = &w->layers.p[i];
    bool only;
    int at = layer_told(r, w, t, &only);
    for (int k = 0; k < DEAD_COUNT; k++) r->dead[k] += t->dead[k];
    if (at < 0) continue;
    Layer *l = &r->layers[at];
    l->known = t->known;
    l->lo = t->lo, l->hi = t->hi, l->acc = t->acc;
    l->est_cycles = t->cycles;
    if (only) memcpy(l->dead, t->dead, sizeof l->dead);
  }
}

void report_compare(Report *r, const Report *before) {
  VEC(Layer) v = {0};
  int at = 0;
  r->compared = true;
  r->flash_before = before->flash, r->arena_before = before->arena_bytes;
  r->macs_before = before->macs, r->bit_ops_before = before->bit_ops;
  for (int i = 0; i < before->n_layers; i++) {
    const Layer *b = &before->layers[i];
    int now = find_layer(r, at, b->name, b->op);
    for (; now >= 0 && at < now; at++) vec_push(r->arena, &v, r->layers[at]); /* new ones */
    Layer l = now >= 0 ? r->layers[at++] : *b;
    if (now < 0) {
      l.kernel = "removed";
      l.macs = l.bit_ops = l.weight_bytes = 0;
    }
    l.macs_before = b->macs;
    l.bytes_before = b->weight_bytes;
    vec_push(r->arena, &v, l);
  }
  for (; at < r->n_layers; at++) vec_push(r->arena, &v, r->layers[at]);
  r->layers = v.p;
  r->n_layers = v.n;
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

static json_t *dead_json(const int64_t *dead) {
  json_t *j = json_object();
  for (int k = 0; k < DEAD_COUNT; k++) json_object_set_new(j, dead_names[k], json_integer(dead[k]));
  return j;
}

static json_t *layer_json(const Report *r, Ctx *c, const Layer *l) {
  json_t *j = json_pack("{s:o s:o s:s s:o s:o s:i s:i s:I s:I s:I}", "name", json_text(r->arena, l->name), "op", json_text(r->arena, l->op),
    "kernel", l->kernel, "in", type_json(c, &l->in), "out", type_json(c, &l->out), "w_bits", l->w_bits, "a_bits", l->a_bits,
    "macs", (json_int_t)l->macs, "bit_ops", (json_int_t)l->bit_ops, "weight_bytes", (json_int_t)l->weight_bytes);
  if (l->est_cycles >= 0) json_object_set_new(j, "est_cycles", json_number(l->est_cycles));
  if (l->known) {
    Type acc = type_scalar(l->acc);
    json_object_set_new(j, "accumulator", type_json(c, &acc));
    json_object_set_new(j, "range", json_pack("[I, I]", (json_int_t)l->lo, (json_int_t)l->hi));
  }
  if (l->macs_before >= 0)
    json_object_set_new(j, "before", json_pack("{s:I s:I}", "macs", (json_int_t)l->macs_before, "weight_bytes", (json_int_t)l->bytes_before));
  if (r->compared) json_object_set_new(j, "dead", dead_json(l->dead));
  return j;
}

json_t *report_json(const Report *r, Ctx *c, const char *model_sha, const char *target) {
  json_t *layers = json_array();
  for (int i = 0; i < r->n_layers; i++) json_array_append_new(layers, layer_json(r, c, &r->layers[i]));
  json_t *j = json_pack("{s:s s:s s:s s:o s:{s:I s:I s:I s:I s:I s:I}}", "schema", "popshift.report/1", "model", model_sha, "target", target, "layers", layers,
                        "totals", "flash", (json_int_t)r->flash, "arena", (json_int_t)r->arena_bytes, "arena_bound", (json_int_t)r->arena_bound, "stack", (json_int_t)r->stack,
                        "macs", (json_int_t)r->macs, "bit_ops", (json_int_t)r->bit_ops);
  if (!r->compared) return j;
  json_object_set_new(j, "before", json_pack("{s:I s:I s:I s:I}", "flash", (json_int_t)r->flash_before, "arena", (json_int_t)r->arena_before,
                                             "macs", (json_int_t)r->macs_before, "bit_ops", (json_int_t)r->bit_ops_before));
  json_object_set_new(j, "dead", dead_json(r->dead));
  return j;
}
