/* Builders of ONNX nodes, constants and integer arithmetic. Integers are computed in i32 or i64 and wrapped: runtimes have
 * few operators for narrower types, and none for odd widths. */
#include "frontend/export.h"

#include <string.h>

enum { FLOAT = 1, BOOLEAN = 9, HALF = 10, DOUBLE = 11, BFLOAT = 16 };

Elem x_carrier(Elem e) {
  static const Elem of[] = {[ST_I8] = {EK_INT, 8}, [ST_U8] = {EK_UINT, 8}, [ST_I16] = {EK_INT, 16}, [ST_U16] = {EK_UINT, 16},
                            [ST_I32] = {EK_INT, 32}, [ST_U32] = {EK_UINT, 32}, [ST_I64] = {EK_INT, 64}, [ST_U64] = {EK_UINT, 64}};
  return elem_is_float(e) || e.kind == EK_BOOL ? e : of[elem_store(e)];
}

bool x_has_type(const Export *x, int data_type) {
  int bits = onnx_type_bits(data_type);
  return bits >= 8 || x->opset >= (bits == 4 ? 21 : 25);
}

/* Attributes */

static Onnx__NodeProto *newest(const Export *x) { return x->body->nodes.p[x->body->nodes.n - 1]; }

void x_domain(Export *x, const char *domain) { newest(x)->domain = arena_strdup(x->arena, domain); }

static Onnx__AttributeProto *attr(Export *x, const char *name, int type) {
  Onnx__NodeProto *p = newest(x);
  Onnx__AttributeProto *a = NEW(x->arena, Onnx__AttributeProto), **list = NEWN(x->arena, Onnx__AttributeProto *, p->n_attribute + 1);
  onnx__attribute_proto__init(a);
  a->name = arena_strdup(x->arena, name);
  a->has_type = true;
  a->type = (Onnx__AttributeProto__AttributeType)type;
  for (size_t i = 0; i < p->n_attribute; i++) list[i] = p->attribute[i];
  list[p->n_attribute++] = a;
  p->attribute = list;
  return a;
}

void x_attr_i(Export *x, const char *name, int64_t v) {
  Onnx__AttributeProto *a = attr(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
  a->has_i = true;
  a->i = v;
}

void x_attr_f(Export *x, const char *name, float v) {
  Onnx__AttributeProto *a = attr(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
  a->has_f = true;
  a->f = v;
}

void x_attr_is(Export *x, const char *name, int n, const int64_t *v) {
  Onnx__AttributeProto *a = attr(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
  a->n_ints = (size_t)n;
  a->ints = NEWN(x->arena, int64_t, n + 1);
  for (int i = 0; i < n; i++) a->ints[i] = v[i];
}

void x_attr_s(Export *x, const char *name, const char *v) {
  Onnx__AttributeProto *a = attr(x, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
  a->has_s = true;
  a->s.data = (uint8_t *)arena_strdup(x->arena, v);
  a->s.len = strlen(v);
}

/* Constants */

static Onnx__TensorProto *tensor_proto(Export *x, int type, int rank, const int64_t *dims, int64_t n) {
  Onnx__TensorProto *t = NEW(x->arena, Onnx__TensorProto);
  onnx__tensor_proto__init(t);
  t->n_dims = (size_t)rank;
  t->dims = NEWN(x->arena, int64_t, rank + 1);
  for (int i = 0; i < rank; i++) t->dims[i] = dims[i];
  t->has_data_type = true;
  t->data_type = type;
  t->has_raw_data = true;
  t->raw_data.len = (size_t)((n * onnx_type_bits(type) + 7) / 8);
  t->raw_data.data = arena_alloc(x->arena, t->raw_data.len + 1);
  return t;
}

/* Element i as raw_data has it: little endian, narrow ones from the lowest bit on. */
static void put(Onnx__TensorProto *t, int64_t i, uint64_t bits) {
  int width = onnx_type_bits(t->data_type);
  uint8_t *p = t->raw_data.data;
  if (width < 8) {
    int per = 8 / width;
    p[i / per] = (uint8_t)(p[i / per] | (bits & ((1u << width) - 1)) << i % per * width);
  } else for (int b = 0; b < width / 8; b++) p[i * (width / 8) + b] = (uint8_t)(bits >> 8 * b);
}

static uint64_t float_bits(int type, double v) {
  uint64_t d;
  uint32_t w;
  float f = (float)v;
  memcpy(&d, &v, sizeof d);
  memcpy(&w, &f, sizeof w);
  return type == DOUBLE ? d : type == FLOAT ? w : type == BFLOAT ? w >> 16 : f32_to_f16(f);
}

static bool is_float_type(int type) { return type == FLOAT || type == DOUBLE || type == HALF || type == BFLOAT; }

/* An initializer, or in a function a Constant. name: NULL for a provisional one. */
static const char *constant(Export *x, Onnx__TensorProto *t, const char *name) {
  if (x->body == &x->main) {
    t->name = name ? (char *)(uintptr_t)name : x_provisional(x, "const");
    vec_push(x->arena, &x->inits, t);
    return t->name;
  }
  x_node(x, "Constant", 0, NULL);
  attr(x, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR)->t = t;
  return newest(x)->output[0];
}

/* A name that is taken for something else is made longer until it is not. */
static const char *free_name(Export *x, const char *base) {
  const char *name = base;
  for (int k = 1; names_find(&x->body->names, name); k++) name = arena_printf(x->arena, "%s_%d", base, k);
  names_get(&x->body->names, name);
  return name;
}

/* In the graph the name of a small constant says its value: there is one of each. True where it is there already. */
static bool known(Export *x, const char **name) {
  if (x->body != &x->main) { *name = NULL; return false; }
  NameSlot *slot = names_find(&x->body->names, *name);
  if (slot && slot->made_by == CONST_NAME) return true;
  if (slot) *name = free_name(x, arena_printf(x->arena, "const/%s", *name));
  names_get(&x->body->names, *name)->made_by = CONST_NAME;
  return false;
}

const char *x_indices(Export *x, int rank, const int64_t *dims, const int64_t *v) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++) n *= dims[i];
  const char *name = NULL;
  if (n <= 8 && rank <= 1) {
    Str s = {.ctx = x->ctx};
    str_put(&s, rank ? "ints" : "int");
    for (int64_t i = 0; i < n; i++) str_printf(&s, "%c%lld", i ? ',' : '.', (long long)v[i]);
    name = arena_strdup(x->arena, s.p);
    str_free(&s);
    if (known(x, &name)) return name;
  }
  Onnx__TensorProto *t = tensor_proto(x, onnx_type_of(I64), rank, dims, n);
  for (int64_t i = 0; i < n; i++) put(t, i, (uint64_t)v[i]);
  return constant(x, t, name);
}

const char *x_ints(Export *x, int n, const int64_t *v) { return x_indices(x, 1, (int64_t[]){n}, v); }

static const char *scalar(Export *x, Elem e, uint64_t bits, const char *text) {
  Str s = {.ctx = x->ctx};
  elem_print(&s, e);
  str_printf(&s, ".%s", text);
  const char *name = arena_strdup(x->arena, s.p);
  str_free(&s);
  if (known(x, &name)) return name;
  Onnx__TensorProto *t = tensor_proto(x, onnx_type_of(e), 0, NULL, 1);
  put(t, 0, bits);
  return constant(x, t, name);
}

const char *x_int(Export *x, Elem e, int64_t v) {
  char text[32];
  snprintf(text, sizeof text, "%lld", (long long)v);
  return scalar(x, e, (uint64_t)v, text);
}

const char *x_float(Export *x, Elem e, double v) {
  Str s = {.ctx = x->ctx};
  str_f64(&s, v);
  const char *name = scalar(x, e, float_bits(onnx_type_of(e), v), s.p);
  str_free(&s);
  return name;
}

const char *x_tensor(Export *x, const Tensor *v, int type, int rank, const int64_t *dims, const char *base) {
  Onnx__TensorProto *t = tensor_proto(x, type, rank, dims, v->n);
  for (int64_t i = 0; i < v->n; i++) {
    uint32_t w = 0;
    if (type == FLOAT && v->st == ST_F32) { /* also the bits of a NaN */
      memcpy(&w, (const float *)v->data + i, sizeof w);
      put(t, i, w);
    } else if (type == BOOLEAN) put(t, i, tensor_i(v, i) != 0);
    else put(t, i, is_float_type(type) ? float_bits(type, tensor_f(v, i)) : (uint64_t)tensor_i(v, i));
  }
  return constant(x, t, x->body == &x->main ? free_name(x, base) : NULL);
}

/* Movement */

const char *x_cast(Export *x, const char *v, Elem from, Elem to) {
  int a = onnx_type_of(x_carrier(from)), b = onnx_type_of(x_carrier(to));
  if (a == b) return v;
  v = x1(x, "Cast", v);
  x_attr_i(x, "to", b);
  return v;
}

/* A shape with symbols, from the inputs that have them. */
static const char *dynamic_shape(Export *x, const Type *t) {
  const char *part[MAX_RANK];
  for (int i = 0; i < t->rank; i++) {
    int64_t axis = -1, end;
    const char *from = NULL;
    for (int k = 0; t->d[i].sym && k < x->g->n_args && !from; k++)
      for (int d = 0; d < x->g->args[k]->t.rank && !from; d++)
        if (x->g->args[k]->t.d[d].sym == t->d[i].sym) { from = x->g->arg_names[k]; axis = d; }
    if (!t->d[i].sym) part[i] = x_ints(x, 1, &t->d[i].n);
    else if (!from || x->body != &x->main) return x_fail(x, E0304, "dimension %d must be bound (--dim)", i);
    else {
      end = axis + 1;
      part[i] = x3(x, "Slice", x1(x, "Shape", from), x_ints(x, 1, &axis), x_ints(x, 1, &end));
    }
  }
  if (t->rank == 1) return part[0];
  const char *v = x_node(x, "Concat", t->rank, part);
  x_attr_i(x, "axis", 0);
  return v;
}

static const char *shape(Export *x, const Type *t) {
  int64_t d[MAX_RANK];
  if (!type_static(t)) return dynamic_shape(x, t);
  for (int i = 0; i < t->rank; i++) d[i] = t->d[i].n;
  return x_ints(x, t->rank, d);
}

const char *x_expand(Export *x, const char *v, const Type *to) {
  const char *s = shape(x, to);
  return s ? x2(x, "Expand", v, s) : NULL;
}

/* One symbol is what is left (-1), others are copied from the same place (0). */
const char *x_reshape(Export *x, const char *v, const Type *from, const Type *to) {
  int64_t d[MAX_RANK];
  bool same = from->rank == to->rank, zero = false, infer = false, fits = true;
  for (int i = 0; i < to->rank; i++) {
    same = same && dim_eq(from->d[i], to->d[i]);
    d[i] = to->d[i].n;
    if (!to->d[i].sym) zero |= d[i] == 0;
    else if (i < from->rank && dim_eq(from->d[i], to->d[i])) d[i] = 0;
    else { fits &= !infer; infer = true; d[i] = -1; }
  }
  if (same) return v;
  const char *s = fits && !(zero && !type_static(to)) ? x_ints(x, to->rank, d) : shape(x, to);
  if (!s) return NULL;
  v = x2(x, "Reshape", v, s);
  if (zero && x->opset >= 14) x_attr_i(x, "allowzero", 1);
  return zero && x->opset < 14 ? x_fail(x, E0302, "a dimension of 0 needs opset 14") : v;
}

const char *x_transpose(Export *x, const char *v, int rank, const int *perm) {
  int64_t p[MAX_ITERS];
  bool same = true;
  for (int i = 0; i < rank; i++) { p[i] = perm[i]; same = same && perm[i] == i; }
  if (same) return v;
  v = x1(x, "Transpose", v);
  x_attr_is(x, "perm", rank, p);
  return v;
}

const char *x_axes(Export *x, const char *op, const char *v, int n, const int64_t *axes) { return n ? x2(x, op, v, x_ints(x, n, axes)) : v; }

const char *x_reduce(Export *x, const char *op, const char *v, int n, const int64_t *axes, bool keep) {
  bool operand = x->opset >= 18 || !strcmp(op, "ReduceSum"); /* axes were an attribute */
  v = operand ? x2(x, op, v, x_ints(x, n, axes)) : x1(x, op, v);
  if (!operand) x_attr_is(x, "axes", n, axes);
  x_attr_i(x, "keepdims", keep);
  return v;
}

const char *x_pad(Export *x, const char *v, Elem e, int rank, const int64_t *before, const int64_t *after, double fill) {
  int64_t p[2 * MAX_ITERS];
  bool none = true;
  Elem c = x_carrier(e), wide = elem_is_code(c) && c.bits == 16 ? I32 : c;
  for (int i = 0; i < rank; i++) {
    p[i] = before[i];
    p[rank + i] = after[i];
    none = none && !before[i] && !after[i];
  }
  if (none) return v;
  if (elem_is_code(c) && (fill > 0x1p53 || fill < -0x1p53)) return x_fail(x, E0302, "padding with a number beyond 2^53");
  v = x3(x, "Pad", x_cast(x, v, c, wide), x_ints(x, 2 * rank, p), x_num(x, wide, fill));
  return x_cast(x, v, wide, c);
}

/* Integers */

Elem x_work(const Node *n, int first) {
  bool narrow = elem_is_float(n->t.e) || n->t.e.bits <= 30 || n->t.e.bits == 32;
  for (int k = first; k < n->n_in; k++) {
    Elem e = n->in[k]->t.e;
    int most = e.kind == EK_INT ? 32 : e.kind == EK_SHIFT ? 6 : 31;
    narrow = narrow && e.bits <= most;
  }
  if (n->t.e.kind == EK_SHIFT && n->t.e.bits == 7) narrow = false;
  return narrow ? I32 : I64;
}

const char *x_to(Export *x, const char *v, Elem work, Elem to, bool fits) {
  int k = to.bits;
  bool word = elem_is_int(to) || to.kind == EK_BOOL;
  if (fits || !word || k == work.bits || (to.kind != EK_BOOL && (k == 8 || k == 16 || k == 32))) return x_cast(x, v, work, to);
  if (k == 63 && to.kind == EK_UINT)
    v = x3(x, "Where", x2(x, "Less", v, x_int(x, work, 0)), x2(x, "Add", v, x_int(x, work, INT64_MIN)), v);
  else if (k == 63) v = x_shift_right(x, x2(x, "Mul", v, x_int(x, work, 2)), work, 1);
  else {
    const char *n = x_int(x, work, INT64_C(1) << k), *half = to.kind == EK_INT ? x_int(x, work, INT64_C(1) << (k - 1)) : NULL;
    v = x2(x, "Mod", half ? x2(x, "Add", v, half) : v, n);
    if (half) v = x2(x, "Sub", v, half);
  }
  return x_cast(x, v, work, to);
}

const char *x_ordered(Export *x, const char *v, Elem from, Elem work) {
  bool u64 = from.kind == EK_UINT && from.bits == 64;
  v = x_cast(x, v, from, work);
  return u64 ? x2(x, "Add", v, x_int(x, I64, INT64_MIN)) : v;
}

const char *x_shift_right(Export *x, const char *v, Elem work, int shift) {
  if (shift == 0) return v;
  if (shift >= work.bits - 1) return x3(x, "Where", x2(x, "Less", v, x_int(x, work, 0)), x_int(x, work, -1), x_int(x, work, 0));
  const char *p = x_int(x, work, INT64_C(1) << shift);
  return x2(x, "Div", x2(x, "Sub", v, x2(x, "Mod", v, p)), p);
}

const char *x_popcount(Export *x, const char *v, int bits) {
  int64_t count[256], dims = 256;
  for (int i = 0; i < 256; i++) count[i] = __builtin_popcount((unsigned)i);
  const char *table = x_indices(x, 1, &dims, count), *sum = NULL;
  for (int b = 0; b < bits; b += 8) {
    int n = bits - b < 8 ? bits - b : 8;
    const char *byte = x2(x, "Mod", x_shift_right(x, v, I64, b), x_int(x, I64, INT64_C(1) << n));
    byte = x2(x, "Gather", table, byte);
    sum = sum ? x2(x, "Add", sum, byte) : byte;
  }
  return sum;
}
