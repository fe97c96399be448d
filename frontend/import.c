/* A model's graph, node by node, as a Graph: names, constants, functions, folding. */
#include "frontend/model.h"
#include "frontend/scope.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct Import {
  Ctx *ctx;
  Arena *arena;                     /* scratch of the import */
  Graph *g;
  const Model *m;
  const ImportOptions *opt;
  const char *root;                 /* folder of external data */
  struct Known { const Tensor *value; uint8_t state[2]; } *known; int n_known; /* by node id: see below */
  int64_t n_nodes;                  /* ONNX nodes imported, inlined ones included */
};

/* Names */

static uint32_t hash(const char *s) {
  uint32_t h = 2166136261u;
  for (; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
  return h;
}

static NameSlot *slot_for(const Names *t, const char *name) {
  uint32_t i = hash(name) & (uint32_t)(t->cap - 1);
  while (t->slot[i].name && strcmp(t->slot[i].name, name)) i = (i + 1) & (uint32_t)(t->cap - 1);
  return &t->slot[i];
}

NameSlot *names_find(const Names *t, const char *name) {
  NameSlot *s = t->cap ? slot_for(t, name) : NULL;
  return s && s->name ? s : NULL;
}

NameSlot *names_get(Names *t, const char *name) {
  if (2 * t->n >= t->cap) {
    Names old = *t;
    t->cap = old.cap ? 2 * old.cap : 64;
    t->slot = NEWN(t->arena, NameSlot, t->cap);
    for (int i = 0; i < old.cap; i++) if (old.slot[i].name) *slot_for(t, old.slot[i].name) = old.slot[i];
  }
  NameSlot *s = slot_for(t, name);
  if (!s->name) { s->name = name; s->made_by = -1; t->n++; }
  return s;
}

/* Constants: nodes whose inputs are all constant are evaluated, except that a constant behind quant or dequant stays as it
 * is written: passes/encode.c wants to see it. */

/* What is known of a node: its value where it was computed; whether it is constant without [0] and with [1] looking through quant:
 * 0 not asked yet, 1 no, 2 yes. */
static struct Known *known(Import *im, uint32_t id) {
  if ((int)id >= im->n_known) {
    int n = im->g->cap_nodes > (int)id ? im->g->cap_nodes : (int)id + 1;
    im->known = arena_grow(im->arena, im->known, sizeof *im->known * (size_t)im->n_known, sizeof *im->known * (size_t)n);
    im->n_known = n;
  }
  return &im->known[id];
}

/* Static, below limits.fold, and at most 2^30 operations. */
static bool small(const Import *im, const Node *n) {
  int64_t count, bytes, work, ext[MAX_ITERS];
  if (!type_count(&n->t, &count) || !mul_ok(count, (int64_t)store_size(elem_store(n->t.e)), &bytes) || bytes > im->ctx->limits.fold) return false;
  work = count > 0 ? count : 1;
  if (!n->a.iters) return true;
  int total = iters_extents(n, ext);
  for (int i = n->a.iters->n_out; i < total; i++) if (n->a.iters->red[i - n->a.iters->n_out].sym || !mul_ok(work, ext[i] ? ext[i] : 1, &work)) return false;
  return work <= 1 << 30;
}

static bool constant_below(Import *im, const Node *n, bool through_quant, int depth) {
  uint8_t *state = &known(im, n->id)->state[through_quant];
  if (n->op == OP_CONST || *state) return n->op == OP_CONST || *state == 2;
  bool quant = n->op == OP_QUANT || n->op == OP_DEQUANT;
  bool yes = n->op != OP_ARG && depth < 1000 && (through_quant || !quant) && small(im, n);
  for (int i = 0; yes && i < n->n_in; i++) yes = constant_below(im, n->in[i], through_quant, depth + 1);
  known(im, n->id)->state[through_quant] = yes ? 2 : 1;
  return yes;
}

/* n must be constant_below. */
static const Tensor *evaluate(Import *im, Node *n) {
  if (n->op == OP_CONST) return n->a.value;
  if (known(im, n->id)->value) return known(im, n->id)->value;
  Tensor **ins = NEWN(im->arena, Tensor *, n->n_in + 1);
  for (int i = 0; i < n->n_in; i++) {
    ins[i] = (Tensor *)(uintptr_t)evaluate(im, n->in[i]);
    if (!ins[i]) return NULL;
  }
  const Tensor *t = node_eval(im->ctx, n, ins);
  known(im, n->id)->value = t;
  return t;
}

const Tensor *ox_value(OpCall *c, Node *n, const char *what) {
  if (!n) { ox_fail(c, E0205, "%s is missing", what); return NULL; }
  if (constant_below(c->im, n, true, 0)) return evaluate(c->im, n);
  ox_fail(c, E0305, "%s must be constant", what);
  diag_hint(c->ctx, "--bind INPUT=FILE makes an input a constant");
  return NULL;
}

Node *ox_fold(OpCall *c, Node *n) {
  if (!n || n->op == OP_CONST || !constant_below(c->im, n, false, 0)) return n;
  const Tensor *t = evaluate(c->im, n);
  return t ? node_const(c->g, t) : NULL;
}

const char *import_root(const Import *im) { return im->root; }

/* Nodes */

/* The type letter of input i. */
static char type_letter(const OpRow *r, int i) {
  int n = (int)strlen(r->types);
  return n == 0 ? 'a' : r->types[i < n ? i : n - 1];
}

static bool types_check(OpCall *c) {
  for (int i = 0; i < c->n_in; i++) {
    char k = type_letter(c->row, i);
    if (!c->in[i]) continue;
    if (k >= 'A' && k <= 'Z') k = (char)(k - 'A' + 'a');
    Elem e = c->in[i]->t.e;
    bool is_int = elem_is_int(e), ok = true;
    switch (k) {
    case 'f': ok = elem_is_float(e); break;
    case 'n': ok = elem_is_float(e) || is_int; break;
    case 'i': ok = is_int; break;
    case 'b': ok = e.kind == EK_BOOL; break;
    case 'l': ok = e.kind == EK_INT && (e.bits == 32 || e.bits == 64); break;
    case '=': ok = !c->in[0] || elem_eq(e, c->in[0]->t.e); break;
    case '^': ok = i == 0 || !c->in[i - 1] || elem_eq(e, c->in[i - 1]->t.e); break;
    }
    if (!ok) {
      Str s = {.ctx = c->ctx};
      elem_print(&s, e);
      ox_fail(c, E0206, "input %d has element type %s", i, s.p);
      str_free(&s);
      return false;
    }
  }
  return true;
}

static bool arity_check(OpCall *c) {
  const OpRow *r = c->row;
  int present = 0, outs = 0;
  for (int i = 0; i < c->n_in; i++) if (c->in[i]) present = i + 1;
  for (int i = 0; i < c->n_out; i++) if (*c->p->output[i]) outs = i + 1;
  if (present < r->min_in || (r->max_in >= 0 && present > r->max_in))
    return ox_fail(c, E0205, "%s has %d input%s", r->name, present, present == 1 ? "" : "s");
  for (int i = 0; i < r->min_in; i++)
    if (!c->in[i] && !(type_letter(r, i) >= 'A' && type_letter(r, i) <= 'Z')) return ox_fail(c, E0205, "input %d is missing", i);
  if (outs > c->n_out || (r->max_out >= 0 && outs > r->max_out))
    return ox_fail(c, E0302, "output %d of %s is not supported", outs - 1, r->name);
  return true;
}

/* Half floats of ROW_UP operators go through f32. */
static Node *widen(OpCall *c, Node *n) {
  bool half = n && elem_is_float(n->t.e) && n->t.e.bits == 16;
  return half ? ox_fold(c, node_cast(c->g, n, F32)) : n;
}

static bool run_importer(OpCall *c) {
  Elem narrow = {0, 0};
  bool up = false;
  if (!arity_check(c) || !types_check(c) || !ox_attrs_check(c)) return false;
  for (int i = 0; (c->row->flags & ROW_UP) && i < c->n_in; i++) {
    Node *wide = widen(c, c->in[i]);
    if (wide != c->in[i] && !up) { up = true; narrow = c->in[i]->t.e; }
    c->in[i] = wide;
  }
  if (!c->row->fn(c)) return false;
  for (int i = 0; i < c->n_out; i++) {
    if (up && c->out[i] && elem_eq(c->out[i]->t.e, F32)) c->out[i] = node_cast(c->g, c->out[i], narrow);
    if (c->out[i] && (c->out[i] = ox_fold(c, c->out[i])) == NULL) return false;
  }
  return true;
}

static bool scope_import(Import *, Scope *, const Onnx__FunctionProto *in, size_t n, Onnx__NodeProto *const *nodes);

static bool function_call(Import *im, Scope *caller, const Onnx__NodeProto *p, const Onnx__FunctionProto *f, OpCall *c) {
  if (caller->depth >= im->ctx->limits.inline_depth)
    return ox_fail(c, E0402, "functions call each other more than %lld deep", (long long)im->ctx->limits.inline_depth);
  if (c->n_in > (int)f->n_input || c->n_out > (int)f->n_output)
    return ox_fail(c, E0205, "function %s has %zu inputs and %zu outputs", f->name, f->n_input, f->n_output);
  Names names = {.arena = im->arena};
  Scope s = {.parent = caller, .call = p, .fn = f, .names = &names, .depth = caller->depth + 1,
             .index = caller->index >= 0 ? caller->index : c->loc.node};
  s.prefix = arena_printf(im->arena, "%s%s/", caller->prefix, *text_of(p->name) ? p->name : f->name);
  if ((int64_t)strlen(s.prefix) > im->ctx->limits.name) s.prefix = caller->prefix;
  for (size_t i = 0; i < f->n_input; i++) {
    NameSlot *slot = names_get(&names, f->input[i]);
    if (slot->set) return ox_fail(c, E0202, "function %s has two inputs %s", f->name, f->input[i]);
    slot->set = true;
    slot->node = i < (size_t)c->n_in ? c->in[i] : NULL;
  }
  if (!scope_import(im, &s, f, f->n_node, f->node)) return false;
  for (int i = 0; i < c->n_out; i++) {
    if (!*p->output[i]) continue;
    NameSlot *slot = names_find(&names, f->output[i]);
    if (!slot || !slot->set) return ox_fail(c, E0201, "function %s does not produce its output %s", f->name, f->output[i]);
    if (slot->bad) return false;
    c->out[i] = slot->node;
  }
  return true;
}

static NameSlot *scope_find(const Scope *s, const char *name) {
  NameSlot *slot = NULL;
  for (; s && !slot; s = s->outer) slot = names_find(s->names, name);
  return slot;
}

/* Operands by name. *bad: one of them failed earlier, so that this node is left out silently. */
static bool operands(OpCall *c, const Scope *s, bool *bad) {
  *bad = false;
  for (int i = 0; i < c->n_in; i++) {
    const char *name = c->p->input[i];
    if (!*name) continue;
    NameSlot *slot = scope_find(s, name);
    if (!slot) return ox_fail(c, E0201, "input %d is %s, which nothing produces", i, name);
    if (!slot->set) return ox_fail(c, E0201, "input %d is %s, which node %d produces later", i, name, slot->made_by);
    *bad |= slot->bad;
    c->in[i] = slot->node; /* NULL: an optional input that the function's caller left out */
  }
  return true;
}

/* Location and operand arrays of a node. */
static OpCall call_new(Import *im, const Scope *s, int index, const Onnx__NodeProto *p) {
  Graph *g = im->g;
  OpCall c = {.im = im, .ctx = im->ctx, .g = g, .p = p, .scope = s, .n_in = (int)p->n_input, .n_out = (int)p->n_output};
  c.in = NEWN(im->arena, Node *, c.n_in + 1);
  c.out = NEWN(im->arena, Node *, c.n_out + 1);
  c.loc = (Loc){.file = g->file, .line = -1, .node = s->index >= 0 ? s->index : index};
  if (*text_of(p->name) || *s->prefix) c.loc.name = arena_printf(g->arena, "%s%s", s->prefix, text_of(p->name));
  c.loc.op = arena_strdup(g->arena, p->op_type);
  return c;
}

static bool import_node(Import *im, Scope *s, const Onnx__FunctionProto *in, int index, const Onnx__NodeProto *p) {
  OpCall c = call_new(im, s, index, p);
  bool bad;
  im->g->at = c.loc;
  if (++im->n_nodes > im->ctx->limits.nodes) return ox_fail(&c, E0402, "more than %lld nodes after inlining", (long long)im->ctx->limits.nodes);
  bool ok = operands(&c, s, &bad);
  if (ok && !bad) {
    Resolved r = model_resolve(im->m, in, p);
    int errors = im->ctx->n_errors;
    c.row = r.row, c.opset = r.opset;
    if (!r.fn && !r.row) ok = ox_fail(&c, E0301, "operator %s of %s is not supported", text_of(p->op_type), *r.domain ? r.domain : "ai.onnx");
    else ok = r.fn ? function_call(im, s, p, r.fn, &c) : run_importer(&c);
    for (int i = 0; ok && i < c.n_out; i++)
      if (*p->output[i] && !c.out[i]) ok = false;
    assert(ok || c.bad || im->ctx->n_errors > errors);
    (void)errors;
  }
  for (int i = 0; i < c.n_out; i++) {
    if (!*p->output[i]) continue;
    NameSlot *slot = names_get(s->names, p->output[i]);
    slot->node = c.out[i];
    slot->bad = !ok || bad;
    slot->set = true;
  }
  return ok;
}

/* Who makes which name, before any node is imported: two producers, and the text of "produced later". */
static bool producers(Import *im, Scope *s, size_t n, Onnx__NodeProto *const *nodes) {
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < nodes[i]->n_output; k++) {
      if (!*nodes[i]->output[k]) continue;
      NameSlot *slot = names_get(s->names, nodes[i]->output[k]);
      if (slot->set || slot->made_by >= 0) {
        OpCall c = call_new(im, s, (int)i, nodes[i]);
        return ox_fail(&c, E0202, "output %s has another producer", nodes[i]->output[k]);
      }
      slot->made_by = (int32_t)i;
    }
  return true;
}

/* All nodes, so that all errors are seen; those after a failed operand are left out. Stops after many, and at a limit. */
static bool scope_import(Import *im, Scope *s, const Onnx__FunctionProto *in, size_t n, Onnx__NodeProto *const *nodes) {
  int errors = im->ctx->n_errors;
  if (!producers(im, s, n, nodes)) return false;
  for (size_t i = 0; i < n; i++) {
    if (im->ctx->cancel && *im->ctx->cancel) return diag(im->ctx, E0602, &im->m->loc, "interrupted");
    if (!import_node(im, s, in, (int)i, nodes[i]) && (im->ctx->n_errors - errors >= 100 || im->n_nodes > im->ctx->limits.nodes)) return false;
  }
  return im->ctx->n_errors == errors;
}

/* Inputs, initializers, outputs */

static Loc value_loc(const Import *im, const char *name) {
  return (Loc){.file = im->g->file, .line = -1, .node = -1, .name = name ? arena_strdup(im->g->arena, name) : NULL};
}

static bool add_constant(Import *im, Scope *s, const char *name, const Tensor *t) {
  Loc loc = value_loc(im, name);
  NameSlot *slot = names_get(s->names, name);
  if (slot->set) return diag(im->ctx, E0202, &loc, "the name has two values");
  im->g->at = loc;
  slot->node = node_const(im->g, t);
  slot->set = true;
  return true;
}

static bool initializers(Import *im, Scope *s, const Onnx__GraphProto *p) {
  for (size_t i = 0; i < p->n_initializer; i++) {
    const char *name = p->initializer[i]->name;
    TensorSource src = {.ctx = im->ctx, .loc = value_loc(im, name), .bad = E0208, .root = im->root};
    if (!name || !*name || (int64_t)strlen(name) > im->ctx->limits.name) return diag(im->ctx, E0201, &src.loc, "an initializer has no name, or too long a one");
    Tensor *t = onnx_tensor(&src, p->initializer[i]);
    if (!t || !add_constant(im, s, name, t)) return false;
  }
  if (p->n_sparse_initializer) return diag(im->ctx, E0303, &im->m->loc, "sparse initializers are not supported");
  return true;
}

/* Bodies */

struct Body { const Onnx__GraphProto *p; Names names; Scope consts; };

Body *ox_body(OpCall *c, const Onnx__GraphProto *p, int n_in) {
  Import *im = c->im;
  Body *b = NEW(im->arena, Body);
  b->p = p;
  b->names.arena = im->arena;
  b->consts = (Scope){.parent = c->scope->parent, .outer = c->scope, .call = c->scope->call, .fn = c->scope->fn, .names = &b->names,
                      .prefix = c->scope->prefix, .index = c->loc.node, .depth = c->scope->depth + 1};
  if (b->consts.depth > im->ctx->limits.inline_depth) { ox_fail(c, E0402, "bodies lie more than %lld deep", (long long)im->ctx->limits.inline_depth); return NULL; }
  if ((int)p->n_input != n_in) { ox_fail(c, E0205, "the body has %zu inputs, it is given %d", p->n_input, n_in); return NULL; }
  if (!initializers(im, &b->consts, p)) return NULL;
  im->g->at = c->loc;
  return b;
}

bool ox_body_step(OpCall *c, Body *b, int64_t step, Node *const *in, Node **out) {
  Import *im = c->im;
  const char *own = *text_of(c->p->name) ? c->p->name : c->row->name;
  Names names = {.arena = im->arena};
  Scope s = b->consts;
  s.outer = &b->consts;
  s.names = &names;
  s.prefix = step < 0 ? arena_printf(im->arena, "%s%s/", b->consts.prefix, own)
                      : arena_printf(im->arena, "%s%s/%lld/", b->consts.prefix, own, (long long)step);
  if ((int64_t)strlen(s.prefix) > im->ctx->limits.name) s.prefix = b->consts.prefix;
  for (size_t i = 0; i < b->p->n_input; i++) {
    NameSlot *slot = names_get(&names, text_of(b->p->input[i]->name));
    if (slot->set) return ox_fail(c, E0202, "the body has two inputs %s", slot->name);
    slot->set = true;
    slot->node = in[i];
  }
  bool ok = scope_import(im, &s, s.fn, b->p->n_node, b->p->node);
  im->g->at = c->loc;
  for (size_t i = 0; ok && i < b->p->n_output; i++) {
    const char *name = text_of(b->p->output[i]->name);
    NameSlot *slot = scope_find(&s, name);
    if (!slot || !slot->set) return ox_fail(c, E0201, "the body does not produce its output %s", name);
    if (slot->bad) { c->bad = true; return false; }
    if (!(out[i] = slot->node)) return ox_fail(c, E0201, "output %s of the body is absent", name);
  }
  return ok;
}

static const char *dim_name(Import *im, const char *input, size_t axis, const Onnx__TensorShapeProto__Dimension *p) {
  const char *name = p->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM ? text_of(p->dim_param) : "";
  return *name ? name : arena_printf(im->arena, "%s_%zu", input, axis);
}

/* One dimension of an input: constant, or a symbol with what --dim says about it. */
static bool input_dim(Import *im, const Loc *loc, const char *input, int axis, const Onnx__TensorShapeProto__Dimension *p, Dim *d) {
  bool fixed = p->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
  if (fixed && p->dim_value > 0) { *d = dim_c(p->dim_value); return true; }
  if (fixed && p->dim_value < -1) return diag(im->ctx, E0207, loc, "dimension %d of the input is %lld", axis, (long long)p->dim_value);
  if (fixed && p->dim_value == 0) { *d = dim_c(0); return true; }
  const char *name = dim_name(im, input, (size_t)axis, p);
  if ((int64_t)strlen(name) > im->ctx->limits.name) return diag(im->ctx, E0402, loc, "a dimension's name is too long");
  for (int i = 0; i < im->opt->n_dims; i++) {
    const DimBind *b = &im->opt->dims[i];
    if (strcmp(b->name, name)) continue;
    *d = b->lo == b->hi ? dim_c(b->hi) : (Dim){b->hi, graph_sym(im->g, name)};
    return true;
  }
  if (axis == 0 && im->opt->batch) {
    *d = dim_c(im->opt->batch);
    if (im->opt->batch == 1) diag_warn(im->ctx, E0801, loc, "the unknown dimension %s is taken as 1", name);
    return true;
  }
  if (im->g->n_syms >= 1000) return diag(im->ctx, E0402, loc, "more than 1000 unknown dimensions");
  *d = (Dim){-1, graph_sym(im->g, name)};
  return true;
}

/* The declared type, with --shape and --dim applied. */
static bool input_type(Import *im, const Loc *loc, const Onnx__ValueInfoProto *p, Type *t) {
  if (!p->type || p->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
    return diag(im->ctx, p->type && p->type->value_case ? E0303 : E0206, loc, "the input is not declared as a tensor");
  const Onnx__TypeProto__Tensor *tt = p->type->tensor_type;
  *t = (Type){0};
  if (!onnx_elem(tt->elem_type, &t->e)) return diag(im->ctx, E0303, loc, "inputs of %s are not supported", onnx_elem_name(tt->elem_type));
  for (int i = 0; i < im->opt->n_shapes; i++) {
    const ShapeBind *b = &im->opt->shapes[i];
    if (strcmp(b->input, p->name)) continue;
    *t = type_make(t->e, b->rank, b->dim);
    return true;
  }
  if (!tt->shape) {
    diag(im->ctx, E0304, loc, "the input's rank is not declared");
    diag_hint(im->ctx, "--shape %s=1,3,224,224", p->name);
    return false;
  }
  int64_t max = im->ctx->limits.rank < MAX_RANK ? im->ctx->limits.rank : MAX_RANK;
  if ((int64_t)tt->shape->n_dim > max) return diag(im->ctx, E0402, loc, "the input has more than %lld dimensions", (long long)max);
  t->rank = (uint8_t)tt->shape->n_dim;
  for (int i = 0; i < t->rank; i++) if (!input_dim(im, loc, p->name, i, tt->shape->dim[i], &t->d[i])) return false;
  int64_t n;
  if (type_static(t) && !type_count(t, &n)) return diag(im->ctx, E0402, loc, "the input has more than 2^62 elements");
  return true;
}

typedef VEC(const char *) Texts;

static bool one_of(Import *im, const char *flag, const char *what, const char *name, const Texts *t) {
  for (int i = 0; i < t->n; i++) if (!strcmp(name, t->p[i])) return true;
  Loc loc = {.file = im->m->loc.file, .line = -1, .node = -1};
  diag(im->ctx, E0702, &loc, "--%s: the model has no %s '%s'", flag, what, name);
  const char *near = t->n ? nearest(name, t->p, t->n) : NULL;
  if (near) diag_hint(im->ctx, "did you mean %s?", near);
  else if (t->n) diag_hint(im->ctx, "it has %s%s%s", t->p[0], t->n > 1 ? ", " : "", t->n > 2 ? "..." : t->n > 1 ? t->p[1] : "");
  return false;
}

/* What --dim, --shape and --bind name is there. */
static bool names_known(Import *im) {
  const Onnx__GraphProto *p = im->m->p->graph;
  const ImportOptions *o = im->opt;
  Texts in = {0}, dims = {0};
  if (!o->n_dims && !o->n_shapes && !o->n_binds) return true;
  for (size_t i = 0; i < p->n_input; i++) {
    const Onnx__ValueInfoProto *v = p->input[i];
    vec_push(im->arena, &in, v->name);
    if (!v->type || v->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !v->type->tensor_type->shape) continue;
    const Onnx__TensorShapeProto *s = v->type->tensor_type->shape;
    for (size_t k = 0; k < s->n_dim; k++)
      if (s->dim[k]->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE || s->dim[k]->dim_value == -1)
        vec_push(im->arena, &dims, dim_name(im, v->name, k, s->dim[k]));
  }
  for (int i = 0; i < o->n_dims; i++) if (!one_of(im, "dim", "unknown dimension", o->dims[i].name, &dims)) return false;
  for (int i = 0; i < o->n_shapes; i++) if (!o->shapes[i].if_there && !one_of(im, "shape", "input", o->shapes[i].input, &in)) return false;
  for (int i = 0; i < o->n_binds; i++) if (!o->binds[i].if_needed && !one_of(im, "bind", "input", o->binds[i].input, &in)) return false;
  return true;
}

static bool inputs(Import *im, Scope *s) {
  const Onnx__GraphProto *p = im->m->p->graph;
  for (size_t i = 0; i < p->n_input; i++) {
    const char *name = p->input[i]->name;
    if (!name || !*name || (int64_t)strlen(name) > im->ctx->limits.name) return diag(im->ctx, E0201, &im->m->loc, "input %zu has no name, or too long a one", i);
    Loc loc = value_loc(im, name);
    NameSlot *slot = names_get(s->names, name);
    if (slot->set && slot->made_by != -2) { slot->made_by = -2; continue; } /* an initializer: constant. -2: declared as input */
    if (slot->set) return diag(im->ctx, E0202, &loc, "two inputs have this name");
    const InputBind *bound = NULL;
    for (int b = 0; b < im->opt->n_binds; b++) if (!strcmp(im->opt->binds[b].input, name)) bound = &im->opt->binds[b];
    Type t;
    im->g->at = loc;
    if (bound && !bound->if_needed) {
      Tensor *copy = tensor_copy(bound->value);
      if (!copy) return false;
      slot->node = node_const(im->g, copy);
    } else if (!input_type(im, &loc, p->input[i], &t)) return false;
    else {
      slot->node = graph_arg(im->g, name, &t);
      if (bound && type_eq(&t, &bound->value->t)) *known(im, slot->node->id) = (struct Known){bound->value, {1, 2}};
    }
    slot->set = true;
    slot->made_by = -2;
  }
  return names_known(im);
}

/* -2 marks inputs only while inputs are read; a later producer must find "set". */
static bool outputs(Import *im, Scope *s) {
  const Onnx__GraphProto *p = im->m->p->graph;
  Names seen = {.arena = im->arena};
  if (!p->n_output) return diag(im->ctx, E0205, &im->m->loc, "the graph has no output");
  for (size_t i = 0; i < p->n_output; i++) {
    const char *name = text_of(p->output[i]->name);
    Loc loc = value_loc(im, name);
    NameSlot *slot = names_find(s->names, name), *twice = names_get(&seen, name);
    if (!slot || !slot->set) return diag(im->ctx, E0201, &loc, "nothing produces this output of the graph");
    if (twice->set) return diag(im->ctx, E0202, &loc, "two outputs have this name");
    twice->set = true;
    assert(slot->node);
    graph_out(im->g, name, slot->node);
  }
  for (size_t i = 0; im->opt->also && i < p->n_node; i++)
    for (size_t k = 0; k < p->node[i]->n_output; k++) {
      const char *name = text_of(p->node[i]->output[k]);
      NameSlot *slot = *name ? names_find(s->names, name) : NULL, *twice = *name ? names_get(&seen, name) : NULL;
      if (!slot || !slot->set || !slot->node || twice->set || !im->opt->also(im->opt->also_user, name)) continue;
      twice->set = true;
      graph_out(im->g, name, slot->node);
    }
  return true;
}

/* The graph */

static const char *identifier(Arena *a, const char *text) {
  char *s = arena_printf(a, "%s%.40s", (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ? "" : "model_", text);
  for (char *p = s; *p; p++)
    if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9'))) *p = '_';
  return s;
}

static const char *folder_of(Arena *a, const char *file) {
  const char *slash = file ? strrchr(file, '/') : NULL;
  return slash ? slash == file ? "/" : arena_strndup(a, file, (size_t)(slash - file)) : ".";
}

static int by_address(const void *a, const void *b) {
  uintptr_t x = (uintptr_t)*(Tensor *const *)a, y = (uintptr_t)*(Tensor *const *)b;
  return (x > y) - (x < y);
}

/* Frees constants that the import made and the live graph (NULL: none) does not hold. */
static void free_dead(Import *im, const Graph *live) {
  VEC(const Tensor *) held = {0}, made = {0};
  for (int i = 0; live && i < live->n_nodes; i++) if (live->nodes[i]->op == OP_CONST) vec_push(im->arena, &held, live->nodes[i]->a.value);
  for (int i = 0; i < im->g->n_nodes; i++) if (im->g->nodes[i]->op == OP_CONST) vec_push(im->arena, &made, im->g->nodes[i]->a.value);
  for (int i = 0; i < im->n_known; i++)
    if (im->known[i].value && im->g->nodes[i]->op != OP_ARG) vec_push(im->arena, &made, im->known[i].value);
  if (held.n) qsort(held.p, (size_t)held.n, sizeof *held.p, by_address);
  if (made.n) qsort(made.p, (size_t)made.n, sizeof *made.p, by_address);
  for (int i = 0; i < made.n; i++)
    if ((i == 0 || made.p[i] != made.p[i - 1]) && !(held.n && bsearch(&made.p[i], held.p, (size_t)held.n, sizeof *held.p, by_address)))
      tensor_free((Tensor *)(uintptr_t)made.p[i]);
}

static Node *keep(Rewrite *rw, const Node *old, Node *const *in) { (void)rw, (void)old, (void)in; return NULL; }

static bool import_graph(Import *im) {
  Names names = {.arena = im->arena};
  Scope top = {.names = &names, .prefix = "", .index = -1};
  const Onnx__GraphProto *p = im->m->p->graph;
  if (!initializers(im, &top, p)) return false;
  annotations_check(im->ctx, im->g->arena, im->g->file, im->m, &names);
  return inputs(im, &top) && scope_import(im, &top, NULL, p->n_node, p->node) && outputs(im, &top);
}

/* The metadata that Popshift writes; others' are not ours to keep. */
static void read_facts(Graph *g, const Onnx__ModelProto *p) {
  static const char *const keys[] = {"popshift.classes", "popshift.input"};
  for (size_t i = 0; i < p->n_metadata_props; i++) {
    const char *key = text_of(p->metadata_props[i]->key), *value = text_of(p->metadata_props[i]->value);
    for (int k = 0; k < 2; k++) {
      if (strcmp(key, keys[k])) continue;
      Loc loc = {.file = g->file, .line = -1, .node = -1};
      if (strlen(value) > (size_t)g->ctx->limits.name) diag_warn(g->ctx, E0802, &loc, "metadata %s is longer than the limit of names and left out", key);
      else graph_fact(g, key, value);
    }
  }
}

Graph *onnx_import(Ctx *ctx, const char *file, const char *bytes, size_t n, const ImportOptions *opt) {
  static const ImportOptions none = {0};
  Arena *arena = arena_new(ctx);
  Model m;
  Graph *g = NULL, *live = NULL;
  if (model_read(&m, ctx, arena, file, bytes, n) && model_supported(&m)) {
    g = graph_new(ctx, identifier(arena, text_of(m.p->graph->name)), file);
    Import im = {.ctx = ctx, .arena = arena, .g = g, .m = &m, .opt = opt ? opt : &none};
    im.root = im.opt->external_root ? im.opt->external_root : folder_of(arena, file);
    read_facts(g, m.p);
    if (import_graph(&im)) live = graph_rewrite(g, keep, NULL, NULL);
    free_dead(&im, live);
    graph_free(g);
  }
  arena_free(arena);
  if (live && !graph_verify(ctx, live)) { graph_free(live); live = NULL; }
  if (live) live->props |= P_TYPED;
  return live;
}
