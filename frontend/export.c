/* ONNX out: the graph's nodes in order, each by the writer of its operator (export_map.c, export_access.c, export_contract.c,
 * export_quant.c, and the short ones here); names, functions, dead nodes, and the file. */
#include "frontend/export.h"

#include <limits.h>
#include <string.h>

const char *const onnx_format_names[ONNX_FORMATS] = {"qdq", "qonnx", "functions"};

/* Short writers */

static const char *write_reshape(Export *x, const Node *n, const char *const *in) {
  for (const Node *p = n->in[0];; p = p->in[0]) { /* back to where it came from */
    if (type_eq(&p->t, &n->t)) return x->value[p->id];
    if (x->raw[p->id].v && type_eq(&x->raw[p->id].t, &n->t)) return x->raw[p->id].v;
    if (p->op != OP_RESHAPE) break;
  }
  return x_reshape(x, in[0], &n->in[0]->t, &n->t);
}

static const char *write_concat(Export *x, const Node *n, const char *const *in) {
  const char *v = x_node(x, "Concat", n->n_in, in);
  x_attr_i(x, "axis", n->a.axis);
  return v;
}

/* Constant indices are written as they are clamped; others are left to the runtime, which may refuse those outside. */
static const char *write_gather(Export *x, const Node *n, const char *const *in) {
  const Node *index = n->in[1];
  const char *i = in[1];
  if (node_is_const(index)) {
    const Tensor *t = index->a.value;
    int64_t dims[MAX_RANK], size = n->in[0]->t.d[n->a.axis].n, *v = NEWN(x->arena, int64_t, t->n + 1);
    for (int d = 0; d < t->t.rank; d++) dims[d] = t->t.d[d].n;
    for (int64_t k = 0; k < t->n; k++) {
      int64_t at = tensor_i(t, k);
      if (elem_eq(t->t.e, UINTK(64)) && at < 0) at = INT64_MAX;
      if (!n->in[0]->t.d[n->a.axis].sym) {
        if (at < 0) at += size;
        at = at < 0 ? 0 : at >= size ? size - 1 : at;
      }
      v[k] = at;
    }
    i = x_indices(x, t->t.rank, dims, v);
  } else if (!elem_eq(index->t.e, I32)) i = x_cast(x, i, index->t.e, I64);
  const char *v = x2(x, "Gather", in[0], i);
  x_attr_i(x, "axis", n->a.axis);
  return v;
}

static const char *write_argreduce(Export *x, const Node *n, const char *const *in) {
  Elem e = n->in[0]->t.e;
  bool is_float = elem_is_float(e);
  const char *v = is_float ? in[0] : x_ordered(x, in[0], e, x_work(n->in[0], 0));
  v = x1(x, n->a.scalar == S_MAX ? "ArgMax" : "ArgMin", v);
  x_attr_i(x, "axis", n->a.axis);
  x_attr_i(x, "keepdims", 1);
  if (n->a.flag) x_attr_i(x, "select_last_index", 1);
  return x_to(x, v, I64, n->t.e, n->t.e.bits > 31);
}

/* Running products step by step: ONNX has CumProd since opset 26 only, and its runtimes later. */
static const char *cum_product(Export *x, const Node *n, const char *v, Elem e) {
  enum { EXCLUSIVE = 1, REVERSE = 2 };
  int64_t count = n->t.d[n->a.axis].n, axis = n->a.axis;
  if (n->t.d[axis].sym || count > 1024) return x_fail(x, E0302, "a running product of more than 1024 factors");
  const char **part = NEWN(x->arena, const char *, count + 1), *acc = NULL, *axes = x_ints(x, 1, &axis);
  for (int64_t k = 0; k < count; k++) {
    int64_t i = n->a.flag & REVERSE ? count - 1 - k : k, end = i + 1;
    const char *s = x_node(x, "Slice", 4, (const char *const[]){v, x_ints(x, 1, &i), x_ints(x, 1, &end), axes});
    const char *one = n->a.flag & EXCLUSIVE && !acc ? x_num(x, e, 1) : NULL;
    if (one) { /* of the slice's shape, also where that has symbols */
      Type t = n->t;
      t.e = e;
      t.d[axis] = dim_c(1);
      part[i] = x_expand(x, one, &t);
      acc = s;
      continue;
    }
    if (n->a.flag & EXCLUSIVE) part[i] = acc;
    acc = acc ? x2(x, "Mul", acc, s) : s;
    if (!(n->a.flag & EXCLUSIVE)) part[i] = acc;
  }
  if (count == 0) return v;
  const char *y = x_node(x, "Concat", (int)count, part);
  x_attr_i(x, "axis", axis);
  return y;
}

static const char *write_cum(Export *x, const Node *n, const char *const *in) {
  Elem e = n->t.e, work = elem_is_float(e) ? (e.bits == 64 ? F64 : F32) : x_work(n, 0);
  const char *v = x_cast(x, in[0], e, work);
  if (n->a.scalar == S_MUL) {
    v = cum_product(x, n, v, work);
  } else {
    v = x2(x, "CumSum", v, x_int(x, I64, n->a.axis));
    if (n->a.flag & 1) x_attr_i(x, "exclusive", 1);
    if (n->a.flag & 2) x_attr_i(x, "reverse", 1);
  }
  if (!v) return NULL;
  return elem_is_float(e) ? x_cast(x, v, work, e) : x_to(x, v, work, e, false);
}

static const char *write_bn(Export *x, const Node *n, const char *const *in) {
  const char *y = x_node(x, "BatchNormalization", 5, in);
  x_attr_f(x, "epsilon", (float)n->a.fill);
  return y;
}

static Writer *const writers[OP_COUNT] = {
  [OP_MAP] = write_map, [OP_VIEW] = write_view, [OP_RESHAPE] = write_reshape, [OP_CONCAT] = write_concat, [OP_GATHER] = write_gather,
  [OP_REDUCE] = write_reduce, [OP_ARGREDUCE] = write_argreduce, [OP_CUM] = write_cum, [OP_CONTRACT] = write_contract,
  [OP_QUANT] = write_quant, [OP_DEQUANT] = write_dequant, [OP_THRESHOLDS] = write_thresholds, [OP_REQUANT] = write_requant,
  [OP_PACK] = write_pack, [OP_BASES] = write_bases, [OP_BN] = write_bn,
}; /* none: of training graphs */

/* Functions */

/* What the writer may look at, as text. */
static const char *key_of(Export *x, const Node *n, bool dims) {
  const Attr *a = &n->a;
  Str s = {.ctx = x->ctx};
  str_printf(&s, "%s %s axis=%d flag=%d shift=%d round=%d lo=%lld hi=%lld fill=", op_info[n->op].name, a->scalar ? scalar_info[a->scalar].name : "",
             a->axis, a->flag, a->shift, (int)a->round, (long long)a->lo, (long long)a->hi);
  str_f64(&s, a->fill);
  for (int k = -1; k < n->n_in; k++) {
    Type t = k < 0 ? n->t : n->in[k]->t;
    if (!dims) for (int i = 0; i < t.rank; i++) t.d[i] = dim_c(0);
    str_put(&s, " ");
    type_print(&s, x->g, &t);
  }
  if (a->iters) str_printf(&s, " iters=%d,%d", a->iters->n_out, a->iters->n_red);
  const char *text = arena_strdup(x->arena, s.p);
  str_free(&s);
  return text;
}

static const char *name_new(Export *, Body *, const char *base);
static void settle(Export *, Body *, int from, const char *v);

static Onnx__FunctionProto *function_new(Export *x, const Node *n, Writer *w, int index) {
  Onnx__FunctionProto *f = NEW(x->arena, Onnx__FunctionProto);
  Body body = {.names = {.arena = x->arena}, .base = "t"}, *outer = x->body;
  const char *in[8];
  onnx__function_proto__init(f);
  const char *what = n->op == OP_MAP ? scalar_info[n->a.scalar].name : op_info[n->op].name;
  f->name = arena_printf(x->arena, "%s_%d", what, index);
  f->domain = arena_strdup(x->arena, POPSHIFT_DOMAIN);
  f->doc_string = arena_strdup(x->arena, n->op == OP_MAP ? scalar_info[n->a.scalar].equation : op_info[n->op].meaning);
  f->n_input = (size_t)n->n_in;
  f->input = NEWN(x->arena, char *, n->n_in + 1);
  for (int i = 0; i < n->n_in; i++) in[i] = f->input[i] = (char *)(uintptr_t)name_new(x, &body, (const char *const[]){"x", "a", "b", "c"}[i]);
  x->body = &body;
  const char *y = w(x, n, in);
  if (y) for (int i = 0; i < n->n_in; i++) if (!strcmp(y, in[i])) y = x1(x, "Identity", y);
  if (y) settle(x, &body, 0, y);
  x->body = outer;
  if (!y) return NULL;
  f->n_output = 1;
  f->output = NEWN(x->arena, char *, 1);
  f->output[0] = (char *)(uintptr_t)y;
  f->n_node = (size_t)body.nodes.n;
  f->node = body.nodes.p;
  return f;
}

const char *x_wrap(Export *x, const Node *n, const char *const *in, Writer *w, bool dims) {
  if (x->format != ONNX_FUNCTIONS || x->body != &x->main) return w(x, n, in);
  NameSlot *slot = names_get(&x->keys, key_of(x, n, dims));
  if (slot->made_by < 0) {
    Onnx__FunctionProto *f = function_new(x, n, w, x->functions.n);
    if (!f) return NULL;
    slot->made_by = x->functions.n;
    vec_push(x->arena, &x->functions, f);
  }
  const char *y = x_node(x, x->functions.p[slot->made_by]->name, n->n_in, in);
  x_domain(x, POPSHIFT_DOMAIN);
  return y;
}

/* Names */

/* Letters that every tool takes; long names are of no use. */
static bool sane(const char *s) {
  size_t n = s ? strlen(s) : 0;
  if (!n || n > 200) return false;
  for (size_t i = 0; i < n; i++) {
    bool letter = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9');
    if (!letter && !strchr("_-./:", s[i])) return false;
  }
  return true;
}

/* base, or base_1, base_2, ... */
static const char *name_new(Export *x, Body *b, const char *base) {
  const char *name = base;
  for (int k = 1; names_find(&b->names, name); k++) {
    NameSlot *slot = names_find(&b->names, base);
    if (slot->made_by >= k) k = slot->made_by + 1; /* tried before */
    if (slot->made_by != CONST_NAME) slot->made_by = k;
    name = arena_printf(x->arena, "%s_%d", base, k);
  }
  names_get(&b->names, name = arena_strdup(x->arena, name));
  return name;
}

const char *x_node(Export *x, const char *op, int n_in, const char *const *in) {
  Onnx__NodeProto *p = NEW(x->arena, Onnx__NodeProto);
  Body *b = x->body;
  onnx__node_proto__init(p);
  p->op_type = arena_strdup(x->arena, op);
  p->n_input = (size_t)n_in;
  p->input = NEWN(x->arena, char *, n_in + 1);
  for (int i = 0; i < n_in; i++) p->input[i] = (char *)(uintptr_t)(in[i] ? in[i] : "");
  p->n_output = 1;
  p->output = NEWN(x->arena, char *, 1);
  p->output[0] = x_provisional(x, b->base);
  vec_push(x->arena, &b->nodes, p);
  return p->output[0];
}

/* Provisional names are overwritten in place, wherever they are read: their final text must not depend on the order in which a
 * compiler evaluates the arguments of nested builders. */
enum { PROVISIONAL = 1 };
char *x_provisional(Export *x, const char *base) {
  char *s = arena_alloc(x->arena, strlen(base) + 32);
  snprintf(s, 32, "%c%d", PROVISIONAL, ++x->serial);
  return s;
}

static void name_finally(Body *b, char *s, const char *base) {
  do snprintf(s, strlen(base) + 32, "%s.%d", base, ++b->temps);
  while (names_find(&b->names, s));
  names_get(&b->names, s);
}

/* A settling: nodes of the body from `from` on in the order of a walk from the last one's operands on, each named when it comes. */
typedef struct Settle { Export *x; Body *b; int from, n, to; bool *seen; Onnx__NodeProto **order; } Settle;

static void settle_value(Settle *s, char *v) {
  if (*v != PROVISIONAL) return;
  for (int i = 0; i < s->n; i++) {
    Onnx__NodeProto *p = s->b->nodes.p[s->from + i];
    if (p->output[0] != v) continue;
    if (s->seen[i]) return;
    s->seen[i] = true;
    for (size_t k = 0; k < p->n_input; k++) settle_value(s, p->input[k]);
    name_finally(s->b, v, s->b->base);
    s->order[s->to++] = p;
    return;
  }
  for (int i = 0; i < s->x->inits.n; i++) if (s->x->inits.p[i]->name == v) name_finally(s->b, v, "const");
}

/* The nodes that v needs; the others go. */
static void settle(Export *x, Body *b, int from, const char *v) {
  int n = b->nodes.n - from;
  Settle s = {.x = x, .b = b, .from = from, .n = n, .seen = NEWN(x->arena, bool, n + 1), .order = NEWN(x->arena, Onnx__NodeProto *, n + 1)};
  settle_value(&s, (char *)(uintptr_t)v);
  for (int i = 0; i < s.to; i++) b->nodes.p[from + i] = s.order[i];
  b->nodes.n = from + s.to;
}

/* The name of a node's value: that of the ONNX node it came from, or its operator's. */
static const char *base_of(const Node *n) { return sane(n->loc.name) ? n->loc.name : op_info[n->op].name; }

/* The newest node's output under the name of the graph node; a value that was there before keeps its name. */
static const char *name_value(Export *x, const Node *n, const char *v, int from) {
  Body *b = x->body;
  if (b->nodes.n == from || strcmp(b->nodes.p[b->nodes.n - 1]->output[0], v)) return v;
  Onnx__NodeProto *p = b->nodes.p[b->nodes.n - 1];
  p->output[0] = p->name = (char *)(uintptr_t)name_new(x, b, base_of(n));
  return p->output[0];
}

const char *x_value(Export *x, const Node *n) {
  if (!x->value[n->id] && n->op == OP_CONST) {
    int64_t dims[MAX_RANK];
    for (int i = 0; i < n->t.rank; i++) dims[i] = n->t.d[i].n;
    x->value[n->id] = x_tensor(x, n->a.value, onnx_type_of(x_carrier(n->t.e)), n->t.rank, dims, base_of(n));
  }
  return x->value[n->id];
}

const char *x_fail(Export *x, ErrCode code, const char *fmt, ...) {
  va_list ap;
  char text[400];
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  const Node *n = x->at;
  Loc loc = n->loc;
  if (!loc.op) loc.op = op_info[n->op].name;
  diag(x->ctx, code, &loc, "%s%s%s: %s", op_info[n->op].name, n->op == OP_MAP ? " " : "", n->op == OP_MAP ? scalar_info[n->a.scalar].name : "", text);
  return NULL;
}

/* The graph */

static void live(Export *x, bool *need) {
  const Graph *g = x->g;
  for (int i = 0; i < g->n_outs; i++) need[g->outs[i].v->id] = true;
  for (int i = g->n_nodes - 1; i >= 0; i--) {
    const Node *n = g->nodes[i], *some[4];
    if (!need[i]) continue;
    x->decode[i] = decode_find(x, n);
    int k = x->decode[i] ? decode_operands(x->decode[i], some) : n->n_in;
    for (int j = 0; j < k; j++) need[(x->decode[i] ? some[j] : n->in[j])->id] = true;
  }
}

static void write_node(Export *x, const Node *n) {
  const char **in = NEWN(x->arena, const char *, n->n_in + 1), *v;
  int from = x->main.nodes.n, errors = x->ctx->n_errors;
  x->at = n;
  x->main.base = base_of(n);
  x->main.temps = 0;
  if (x->decode[n->id]) v = decode_write(x, n, x->decode[n->id]);
  else {
    for (int k = 0; k < n->n_in; k++) in[k] = x_value(x, n->in[k]);
    v = writers[n->op] ? writers[n->op](x, n, in) : x_fail(x, E0302, "ONNX has no %s: it is of training graphs", op_info[n->op].name);
  }
  if (!v && x->ctx->n_errors == errors) x_fail(x, E0302, "cannot be written");
  if (v) settle(x, &x->main, from, v);
  x->value[n->id] = v ? name_value(x, n, v, from) : ""; /* after an error: those that follow are still looked at */
}

static Onnx__ValueInfoProto *value_info(Export *x, const char *name, const Type *t, int data_type) {
  Onnx__ValueInfoProto *v = NEW(x->arena, Onnx__ValueInfoProto);
  Onnx__TypeProto *type = NEW(x->arena, Onnx__TypeProto);
  Onnx__TypeProto__Tensor *tensor = NEW(x->arena, Onnx__TypeProto__Tensor);
  Onnx__TensorShapeProto *shape = NEW(x->arena, Onnx__TensorShapeProto);
  onnx__value_info_proto__init(v);
  onnx__type_proto__init(type);
  onnx__type_proto__tensor__init(tensor);
  onnx__tensor_shape_proto__init(shape);
  v->name = (char *)(uintptr_t)name;
  v->type = type;
  type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  type->tensor_type = tensor;
  tensor->has_elem_type = true;
  tensor->elem_type = data_type;
  tensor->shape = shape;
  shape->n_dim = t->rank;
  shape->dim = NEWN(x->arena, Onnx__TensorShapeProto__Dimension *, t->rank + 1);
  for (int i = 0; i < t->rank; i++) {
    Onnx__TensorShapeProto__Dimension *d = shape->dim[i] = NEW(x->arena, Onnx__TensorShapeProto__Dimension);
    onnx__tensor_shape_proto__dimension__init(d);
    d->value_case = t->d[i].sym ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    if (t->d[i].sym) d->dim_param = (char *)(uintptr_t)x->g->syms[t->d[i].sym - 1];
    else d->dim_value = t->d[i].n;
  }
  return v;
}

/* The type at the graph's ends: just these numbers where the opset has them, else the carrier. */
static int end_type(const Export *x, Elem e) {
  int type = onnx_type_of(e);
  return type && x_has_type(x, type) ? type : onnx_type_of(x_carrier(e));
}

/* A value under another type or name. */
static const char *cast_to(Export *x, const char *v, int data_type) {
  const char *y = x1(x, "Cast", v);
  x_attr_i(x, "to", data_type);
  return y;
}

static void write_inputs(Export *x, Onnx__GraphProto *p) {
  const Graph *g = x->g;
  p->n_input = (size_t)g->n_args;
  p->input = NEWN(x->arena, Onnx__ValueInfoProto *, g->n_args + 1);
  for (int i = 0; i < g->n_args; i++) names_get(&x->main.names, g->arg_names[i]);
  for (int i = 0; i < g->n_outs; i++) names_get(&x->main.names, g->outs[i].name);
  for (int i = 0; i < g->n_args; i++) {
    const Node *n = g->args[i];
    int type = end_type(x, n->t.e);
    p->input[i] = value_info(x, g->arg_names[i], &n->t, type);
    x->main.base = "input";
    x->value[n->id] = type == onnx_type_of(x_carrier(n->t.e)) ? g->arg_names[i] : cast_to(x, g->arg_names[i], onnx_type_of(x_carrier(n->t.e)));
    settle(x, &x->main, x->main.nodes.n - (x->value[n->id] != g->arg_names[i]), x->value[n->id]);
  }
}

static Onnx__NodeProto *producer(const Export *x, const char *v) {
  for (int i = x->main.nodes.n - 1; i >= 0; i--) if (!strcmp(x->main.nodes.p[i]->output[0], v)) return x->main.nodes.p[i];
  return NULL;
}

/* The output takes over the name of the node that makes it, where that is used for nothing else yet; else Cast or Identity. */
static void write_outputs(Export *x, Onnx__GraphProto *p) {
  const Graph *g = x->g;
  p->n_output = (size_t)g->n_outs;
  p->output = NEWN(x->arena, Onnx__ValueInfoProto *, g->n_outs + 1);
  for (int i = 0; i < g->n_outs; i++) {
    const Node *n = g->outs[i].v;
    const char *name = g->outs[i].name, *v = x_value(x, n);
    int type = end_type(x, n->t.e);
    p->output[i] = value_info(x, name, &n->t, type);
    if (n->op == OP_ARG && !strcmp(name, g->arg_names[n->a.index])) continue; /* an input is also an output */
    x->main.base = name;
    if (type != onnx_type_of(x_carrier(n->t.e))) cast_to(x, v, type);
    else {
      Onnx__NodeProto *made = producer(x, v);
      bool taken = !made;
      for (int k = 0; k < i; k++) taken |= !strcmp(g->outs[k].name, v);
      if (!taken) { /* renamed wherever it is read */
        made->output[0] = (char *)(uintptr_t)name;
        for (int k = 0; k < x->main.nodes.n; k++)
          for (size_t j = 0; j < x->main.nodes.p[k]->n_input; j++)
            if (!strcmp(x->main.nodes.p[k]->input[j], v)) x->main.nodes.p[k]->input[j] = (char *)(uintptr_t)name;
        for (int k = 0; k < g->n_nodes; k++) if (x->value[k] && !strcmp(x->value[k], v)) x->value[k] = name;
        continue;
      }
      x1(x, "Identity", v);
    }
    x->main.nodes.p[x->main.nodes.n - 1]->output[0] = (char *)(uintptr_t)name;
  }
}

/* Nodes and initializers that no output needs are left out: a writer may go another way than through an operand. */
static void sweep(Export *x, Onnx__GraphProto *p) {
  Names used = {.arena = x->arena};
  int n = x->main.nodes.n, kept = 0;
  bool *keep = NEWN(x->arena, bool, n + 1);
  for (size_t i = 0; i < p->n_output; i++) names_get(&used, p->output[i]->name);
  for (int i = n - 1; i >= 0; i--) {
    const Onnx__NodeProto *node = x->main.nodes.p[i];
    keep[i] = names_find(&used, node->output[0]) != NULL;
    for (size_t k = 0; keep[i] && k < node->n_input; k++) names_get(&used, node->input[k]);
  }
  for (int i = 0; i < n; i++) if (keep[i]) x->main.nodes.p[kept++] = x->main.nodes.p[i];
  p->n_node = (size_t)kept;
  p->node = x->main.nodes.p;
  Names place = {.arena = x->arena}; /* initializers in the order of their first use: made_by is the index */
  for (int i = 0; i < x->inits.n; i++) names_get(&place, x->inits.p[i]->name)->made_by = i;
  p->initializer = NEWN(x->arena, Onnx__TensorProto *, x->inits.n + 1);
  for (size_t i = 0; i < p->n_node + p->n_output; i++) {
    bool node = i < p->n_node;
    for (size_t k = 0; k < (node ? p->node[i]->n_input : 1); k++) {
      NameSlot *s = names_find(&place, node ? p->node[i]->input[k] : p->output[i - p->n_node]->name);
      if (s && s->made_by >= 0) p->initializer[p->n_initializer++] = x->inits.p[s->made_by];
      if (s) s->made_by = -1;
    }
  }
}

/* The file */

/* The IR version that came with an opset (ONNX's table of releases). */
static int64_t ir_version(int opset) {
  static const int8_t of[] = {[13] = 7, [14] = 7, [15] = 8, [16] = 8, [17] = 8, [18] = 8, [19] = 9, [20] = 9, [21] = 10, [22] = 10,
                              [23] = 11, [24] = 12, [25] = 13, [26] = 13, [27] = 13, [28] = 14};
  return of[opset];
}

static Onnx__OperatorSetIdProto *opset_id(Export *x, const char *domain, int64_t version) {
  Onnx__OperatorSetIdProto *p = NEW(x->arena, Onnx__OperatorSetIdProto);
  onnx__operator_set_id_proto__init(p);
  p->domain = arena_strdup(x->arena, domain);
  p->has_version = true;
  p->version = version;
  return p;
}

/* Functions that are still called, and what they and the model import. */
static void finish(Export *x, Onnx__ModelProto *m) {
  int kept = 0;
  for (int i = 0; i < x->functions.n; i++) {
    Onnx__FunctionProto *f = x->functions.p[i];
    bool called = false;
    for (size_t k = 0; k < m->graph->n_node; k++) called |= !strcmp(m->graph->node[k]->op_type, f->name) && m->graph->node[k]->domain;
    if (!called) continue;
    f->n_opset_import = 1;
    f->opset_import = NEWN(x->arena, Onnx__OperatorSetIdProto *, 1);
    f->opset_import[0] = opset_id(x, "", x->opset);
    x->functions.p[kept++] = f;
  }
  m->n_functions = (size_t)kept;
  m->functions = x->functions.p;
  m->has_ir_version = true;
  m->ir_version = ir_version(x->opset);
  if (kept && m->ir_version < 8) m->ir_version = 8; /* the first with functions */
  m->producer_name = arena_strdup(x->arena, "popshift");
  m->opset_import = NEWN(x->arena, Onnx__OperatorSetIdProto *, 3);
  m->opset_import[m->n_opset_import++] = opset_id(x, "", x->opset);
  if (kept) m->opset_import[m->n_opset_import++] = opset_id(x, POPSHIFT_DOMAIN, 1);
  m->metadata_props = NEWN(x->arena, Onnx__StringStringEntryProto *, x->g->n_facts + 1);
  for (int i = 0; i < x->g->n_facts; i++) {
    Onnx__StringStringEntryProto *e = m->metadata_props[m->n_metadata_props++] = NEW(x->arena, Onnx__StringStringEntryProto);
    onnx__string_string_entry_proto__init(e);
    e->key = arena_strdup(x->arena, x->g->facts[i].key);
    e->value = arena_strdup(x->arena, x->g->facts[i].value);
  }
  if (x->qonnx) m->opset_import[m->n_opset_import++] = opset_id(x, "qonnx.custom_op.general", 1);
}

static bool pack(Export *x, Onnx__ModelProto *m, Str *out) {
  size_t n = onnx__model_proto__get_packed_size(m);
  Loc loc = {.file = x->g->file, .line = -1, .node = -1};
  if (n > INT_MAX) return diag(x->ctx, E0402, &loc, "the ONNX file would have %zu bytes, more than a protobuf message may", n);
  uint8_t *bytes = arena_alloc(x->arena, n + 1);
  onnx__model_proto__pack(m, bytes);
  str_putn(out, (const char *)bytes, n);
  return true;
}

static bool build(Export *x, Str *out) {
  const Graph *g = x->g;
  Onnx__ModelProto m = ONNX__MODEL_PROTO__INIT;
  Onnx__GraphProto p = ONNX__GRAPH_PROTO__INIT;
  bool *need = NEWN(x->arena, bool, g->n_nodes + 1);
  int errors = x->ctx->n_errors;
  m.graph = &p;
  p.name = (char *)(uintptr_t)g->name;
  live(x, need);
  write_inputs(x, &p);
  for (int i = 0; i < g->n_nodes; i++)
    if (need[i] && g->nodes[i]->op != OP_CONST && g->nodes[i]->op != OP_ARG) write_node(x, g->nodes[i]);
  if (x->ctx->n_errors > errors) return false;
  write_outputs(x, &p);
  sweep(x, &p);
  finish(x, &m);
  return pack(x, &m, out);
}

bool onnx_export(Ctx *ctx, const Graph *g, OnnxFormat format, int opset, Str *out) {
  Loc loc = {.file = g->file, .line = -1, .node = -1};
  if (opset < ONNX_WRITE_OLDEST || opset > ONNX_WRITE_NEWEST)
    return diag(ctx, E0302, &loc, "ONNX is written for opsets %d to %d, not %d", ONNX_WRITE_OLDEST, ONNX_WRITE_NEWEST, opset);
  for (int i = 0; i < g->n_outs; i++)
    for (int k = 0; k < g->n_args + i; k++) {
      const char *other = k < g->n_args ? g->arg_names[k] : g->outs[k - g->n_args].name;
      if (!strcmp(other, g->outs[i].name) && !(k < g->n_args && g->outs[i].v == g->args[k]))
        return diag(ctx, E0302, &loc, "two ends of the graph have the name %s, which ONNX does not allow", other);
    }
  Arena *arena = arena_new(ctx);
  Export x = {.ctx = ctx, .arena = arena, .g = g, .format = format, .opset = opset};
  x.main.names.arena = x.keys.arena = arena;
  x.body = &x.main;
  x.value = NEWN(arena, const char *, g->n_nodes + 1);
  x.raw = NEWN(arena, struct Raw, g->n_nodes + 1);
  x.decode = NEWN(arena, Decode *, g->n_nodes + 1);
  bool ok = build(&x, out);
  arena_free(arena);
  return ok;
}
