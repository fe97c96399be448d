/* One call of an operator: its attributes, its operands' values, and builders that check what comes from a model. */
#include "frontend/import.h"
#include "frontend/scope.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool ox_fail(OpCall *c, ErrCode code, const char *fmt, ...) {
  va_list ap;
  char text[512];
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return diag(c->ctx, code, &c->loc, "%s", text);
}

/* Attributes */

static const Onnx__AttributeProto *own_attr(const Onnx__NodeProto *p, const char *name) {
  for (size_t i = 0; i < p->n_attribute; i++)
    if (p->attribute[i]->name && !strcmp(p->attribute[i]->name, name)) return p->attribute[i];
  return NULL;
}

/* An attribute that refers to one of the function's is that of the call, or the function's default, or absent. */
const Onnx__AttributeProto *scope_attr(const Scope *s, const Onnx__NodeProto *p, const char *name) {
  const Onnx__AttributeProto *a = own_attr(p, name);
  while (a && a->ref_attr_name && *a->ref_attr_name) {
    if (!s || !s->fn) return NULL;
    const char *ref = a->ref_attr_name;
    const Onnx__FunctionProto *fn = s->fn;
    a = own_attr(s->call, ref);
    for (size_t i = 0; !a && i < fn->n_attribute_proto; i++)
      if (fn->attribute_proto[i]->name && !strcmp(fn->attribute_proto[i]->name, ref)) return fn->attribute_proto[i];
    s = s->parent;
  }
  return a;
}

const Onnx__AttributeProto *ox_attr(const OpCall *c, const char *name) { return scope_attr(c->scope, c->p, name); }

/* The table's entry of an attribute: kind, whether it must be there, default text; the rest after it. NULL at the end. */
typedef struct Spec { const char *name; size_t len; char kind; bool must; const char *dflt; size_t dflt_len; } Spec;
static const char *next_spec(const char *p, Spec *s) {
  while (*p == ' ') p++;
  if (!*p) return NULL;
  s->name = p;
  s->len = strcspn(p, ":");
  p += s->len + 1;
  s->kind = *p++;
  s->must = *p == '!';
  if (s->must) p++;
  s->dflt = *p == '=' ? ++p : NULL;
  s->dflt_len = strcspn(p, " ");
  return p + s->dflt_len;
}

static bool find_spec(const OpCall *c, const char *name, Spec *s) {
  for (const char *p = c->row->attrs; (p = next_spec(p, s)) != NULL;)
    if (strlen(name) == s->len && !memcmp(name, s->name, s->len)) return true;
  return false;
}

int64_t ox_int(const OpCall *c, const char *name) {
  Spec s;
  const Onnx__AttributeProto *a = ox_attr(c, name);
  bool known = find_spec(c, name, &s);
  assert(known && s.kind == 'i');
  return a ? a->i : known && s.dflt ? strtoll(s.dflt, NULL, 10) : 0;
}

double ox_float(const OpCall *c, const char *name) {
  Spec s;
  const Onnx__AttributeProto *a = ox_attr(c, name);
  bool known = find_spec(c, name, &s);
  assert(known && s.kind == 'f');
  return a ? (double)a->f : known && s.dflt ? strtod(s.dflt, NULL) : 0;
}

const char *ox_str(OpCall *c, const char *name) {
  Spec s;
  const Onnx__AttributeProto *a = ox_attr(c, name);
  bool known = find_spec(c, name, &s);
  assert(known && s.kind == 's');
  if (a) return arena_strndup(c->g->arena, (const char *)a->s.data, a->s.len);
  return known && s.dflt ? arena_strndup(c->g->arena, s.dflt, s.dflt_len) : "";
}

int ox_ints(const OpCall *c, const char *name, const int64_t **v) {
  const Onnx__AttributeProto *a = ox_attr(c, name);
  if (!a) return -1;
  *v = a->ints;
  return (int)a->n_ints;
}

static const struct { char kind; int type; const char *what; } attr_kinds[] = {
  {'i', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, "an integer"},
  {'f', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, "a float"},
  {'s', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, "a string"},
  {'t', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR, "a tensor"},
  {'g', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH, "a graph"},
  {'I', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, "a list of integers"},
  {'K', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, "a list of integers"},
  {'P', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, "a list of integers"},
  {'R', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, "a list of integers"},
  {'F', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS, "a list of floats"},
  {'S', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS, "a list of strings"},
  {'X', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSOR, "a sparse tensor"},
};

/* The kind of the value, and the length of a list against the rank of input 0. */
static bool attr_check(OpCall *c, const Spec *s, const Onnx__AttributeProto *a) {
  size_t k = 0;
  while (attr_kinds[k].kind != s->kind) k++;
  bool there = a->has_type ? (int)a->type == attr_kinds[k].type : true;
  if (s->kind == 'i') there &= a->has_i;
  if (s->kind == 'f') there &= a->has_f;
  if (s->kind == 's') there &= a->has_s;
  if (s->kind == 't') there &= a->t != NULL;
  if (s->kind == 'g') there &= a->g != NULL;
  if (s->kind == 'X') there &= a->sparse_tensor != NULL;
  if (!there) return ox_fail(c, E0203, "attribute %s is not %s", a->name, attr_kinds[k].what);
  if ((int64_t)(a->n_ints + a->n_floats + a->n_strings) > c->ctx->limits.list)
    return ox_fail(c, E0402, "attribute %s has more than %lld entries", a->name, (long long)c->ctx->limits.list);
  if (!strchr("KPR", s->kind) || !ox_in(c, 0)) return true;
  int rank = ox_in(c, 0)->t.rank;
  int64_t want = s->kind == 'R' ? rank : (rank > 2 ? rank - 2 : 0) * (s->kind == 'P' ? 2 : 1);
  if ((int64_t)a->n_ints == want) return true;
  return ox_fail(c, E0204, "%s has %zu value%s, input has %d %s", a->name, a->n_ints, a->n_ints == 1 ? "" : "s",
                 s->kind == 'R' ? rank : rank > 2 ? rank - 2 : 0, s->kind == 'R' ? "dims" : "spatial dims");
}

bool ox_attrs_check(OpCall *c) {
  Spec s;
  for (size_t i = 0; i < c->p->n_attribute; i++) {
    const char *name = c->p->attribute[i]->name;
    if (!name || !*name) return ox_fail(c, E0203, "an attribute has no name");
    for (size_t j = 0; j < i && j < 64; j++)
      if (!strcmp(c->p->attribute[j]->name, name)) return ox_fail(c, E0203, "attribute %s is there twice", name);
    if (!find_spec(c, name, &s)) return ox_fail(c, E0203, "%s has no attribute %s", c->row->name, name);
    const Onnx__AttributeProto *a = ox_attr(c, name);
    if (a && !attr_check(c, &s, a)) return false;
  }
  for (const char *p = c->row->attrs; (p = next_spec(p, &s)) != NULL;)
    if (s.must) {
      char *name = arena_strndup(c->g->arena, s.name, s.len);
      if (!ox_attr(c, name)) return ox_fail(c, E0203, "attribute %s is missing", name);
    }
  return true;
}

/* Operands */

int ox_list(OpCall *c, int i, const char *what, int64_t *v, int max) {
  const Tensor *t = ox_value(c, ox_in(c, i), what);
  if (!t) return -1;
  if (t->t.rank > 1 || !elem_is_code(t->t.e) || t->n > max) {
    ox_fail(c, E0207, "%s should be a list of at most %d integers", what, max);
    return -1;
  }
  for (int64_t k = 0; k < t->n; k++) v[k] = tensor_i(t, k);
  return (int)t->n;
}

bool ox_static(OpCall *c, const Node *n) {
  if (!n) return false;
  for (int i = 0; i < n->t.rank; i++)
    if (n->t.d[i].sym) {
      const char *sym = c->g->syms[n->t.d[i].sym - 1];
      ox_fail(c, E0304, "dimension %d of an operand is the symbol %s, the operator needs its size", i, sym);
      diag_hint(c->ctx, "--dim %s=1", sym);
      return false;
    }
  return true;
}

bool ox_axis(OpCall *c, int64_t axis, int rank, int *out) {
  if (axis < -rank || axis >= rank) return ox_fail(c, E0204, "axis %lld is outside a value of rank %d", (long long)axis, rank);
  *out = (int)(axis < 0 ? axis + rank : axis);
  return true;
}

bool ox_axes(OpCall *c, const char *attr, int i, int rank, uint32_t *bits, bool *absent) {
  int64_t list[2 * MAX_RANK];
  const int64_t *v = list;
  int n = attr ? ox_ints(c, attr, &v) : -1;
  *bits = 0, *absent = n < 0 && !ox_in(c, i);
  if (*absent) return true;
  if (n < 0 && (n = ox_list(c, i, "axes", list, 2 * MAX_RANK)) < 0) return false;
  for (int k = 0; k < n; k++) {
    int axis;
    if (!ox_axis(c, v[k], rank, &axis)) return false;
    if (*bits >> axis & 1) return ox_fail(c, E0204, "axis %d is there twice", axis);
    *bits |= 1u << axis;
  }
  return true;
}

int64_t ox_count(const Type *t, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; i++) n *= t->d[i].n;
  return n;
}

/* Builders */

Node *ox_num(OpCall *c, Elem e, double v) {
  return elem_is_float(e) ? node_const_f(c->g, e, v) : node_const_i(c->g, e, (int64_t)v);
}

Node *ox_map(OpCall *c, Scalar s, int n, Node *const *in) {
  const ScalarInfo *info = &scalar_info[s];
  int first = s == S_SELECT ? 1 : 0;
  for (int i = 0; i < n; i++) if (!in[i]) return NULL;
  Type t = in[0]->t;
  for (int i = 1; i < n; i++)
    if (!type_broadcast(&t, &in[i]->t, &t)) {
      ox_fail(c, E0207, "shapes do not broadcast");
      return NULL;
    }
  for (int i = first; i < n; i++)
    if (!elem_eq(in[i]->t.e, in[first]->t.e)) {
      ox_fail(c, E0206, "operands have different element types");
      return NULL;
    }
  if ((info->on == 'F' && !elem_is_float(in[0]->t.e)) || (info->on == 'I' && !elem_is_code(in[0]->t.e))) {
    ox_fail(c, E0206, "%s needs %s", info->name, info->on == 'F' ? "floats" : "integers");
    return NULL;
  }
  return n == 1 ? node_map1(c->g, s, in[0]) : n == 2 ? node_map2(c->g, s, in[0], in[1]) : node_map3(c->g, s, in[0], in[1], in[2]);
}
Node *ox_map1(OpCall *c, Scalar s, Node *a) { return ox_map(c, s, 1, &a); }
Node *ox_map2(OpCall *c, Scalar s, Node *a, Node *b) { return ox_map(c, s, 2, (Node *[]){a, b}); }
Node *ox_map3(OpCall *c, Scalar s, Node *a, Node *b, Node *d) { return ox_map(c, s, 3, (Node *[]){a, b, d}); }
Node *ox_cast(OpCall *c, Node *x, Elem e) { return x ? node_cast(c->g, x, e) : NULL; }

static Node *formula_word(OpCall *c, const char *word, size_t len, Node *const *args, double n) {
  char name[32];
  assert(len < sizeof name);
  memcpy(name, word, len);
  name[len] = 0;
  Elem e = args[0]->t.e;
  if (len == 1 && name[0] >= 'x' && name[0] <= 'z') return args[name[0] - 'x'];
  if (len == 1 && name[0] == 'n') return ox_num(c, e, n);
  if (name[0] == '$') return ox_num(c, e, ox_float(c, name + 1));
  char *end;
  double v = strtod(name, &end);
  assert(*end == 0);
  return ox_num(c, e, v);
}

Node *ox_formula(OpCall *c, const char *text, Node *const *args, double n) {
  Node *stack[8];
  int sp = 0;
  if (!args[0]) return NULL;
  for (const char *p = text; *p;) {
    size_t len = strcspn(p, " ");
    char word[16] = {0};
    if (len < sizeof word) memcpy(word, p, len);
    Scalar s = word[0] && len > 1 ? scalar_find(word) : S_NONE;
    if (s != S_NONE) {
      int arity = scalar_info[s].arity;
      assert(sp >= arity);
      sp -= arity;
      stack[sp] = ox_map(c, s, arity, stack + sp);
    } else {
      assert(sp < 8);
      stack[sp] = formula_word(c, p, len, args, n);
    }
    if (!stack[sp++]) return NULL;
    p += len;
    while (*p == ' ') p++;
  }
  assert(sp == 1);
  return stack[0];
}

Node *ox_reshape_d(OpCall *c, Node *x, int rank, const Dim *dims) { return x ? node_reshape(c->g, x, rank, dims) : NULL; }

Node *ox_reshape(OpCall *c, Node *x, int rank, const int64_t *dims) {
  Dim d[MAX_RANK];
  assert(rank <= MAX_RANK);
  for (int i = 0; i < rank; i++) d[i] = dim_c(dims[i]);
  return ox_reshape_d(c, x, rank, d);
}

Node *ox_broadcast_to(OpCall *c, Node *x, int rank, const int64_t *dims) {
  if (!x) return NULL;
  Type want = type_make(x->t.e, rank, dims), t;
  if (!type_broadcast(&x->t, &want, &t) || !type_eq(&t, &want)) {
    ox_fail(c, E0207, "a value does not broadcast to the shape it needs");
    return NULL;
  }
  return node_broadcast(c->g, x, rank, want.d);
}

Node *ox_along(OpCall *c, Node *x, int axis, int rank) {
  if (!x) return NULL;
  int64_t n = 0, dims[MAX_RANK];
  if (x->t.rank > 1) { ox_fail(c, E0207, "a parameter of rank %d should be a vector", x->t.rank); return NULL; }
  if (x->t.rank == 0) return x;
  if (!ox_static(c, x)) return NULL;
  n = x->t.d[0].n;
  for (int i = 0; i < rank; i++) dims[i] = i == axis ? n : 1;
  return ox_reshape(c, x, rank, dims);
}

Node *ox_reduce(OpCall *c, Scalar s, Node *x, uint32_t axes, bool keep) { return x ? node_reduce_axes(c->g, s, x, axes, keep) : NULL; }

Tensor *ox_tensor(OpCall *c, Elem e, int rank, const int64_t *dims) {
  Type t = type_make(e, rank, dims);
  int64_t n, bytes;
  if (!type_count(&t, &n) || !mul_ok(n, (int64_t)store_size(elem_store(e)), &bytes) || bytes > c->ctx->limits.fold) {
    ox_fail(c, E0402, "a constant of the operator would be larger than %lld bytes", (long long)c->ctx->limits.fold);
    diag_hint(c->ctx, "--limit fold=N");
    return NULL;
  }
  return tensor_new(c->ctx, &t);
}

Node *ox_const_ints(OpCall *c, Elem e, int rank, const int64_t *dims, const int64_t *v) {
  Tensor *t = ox_tensor(c, e, rank, dims);
  if (!t) return NULL;
  for (int64_t i = 0; i < t->n; i++) tensor_set_i(t, i, v[i]);
  return node_const(c->g, t);
}

Node *ox_gather_list(OpCall *c, Node *x, int axis, const int64_t *index, int64_t n) {
  Node *i = x ? ox_const_ints(c, I64, 1, &n, index) : NULL;
  return i ? node_gather(c->g, x, i, axis) : NULL;
}

Node *ox_transpose(OpCall *c, Node *x, const int *perm) { return x ? node_transpose(c->g, x, perm) : NULL; }
