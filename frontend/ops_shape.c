/* Operators that move elements or make constants of shapes. */
#include "frontend/import.h"

#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* The shape with elements [at, at + n) of axis replaced by their product split as given; x must be static there. */
static Node *permuted(OpCall *c, Node *x, int rank, const int64_t *dims, const int *perm, int out_rank, const int64_t *out) {
  return ox_reshape(c, ox_transpose(c, ox_reshape(c, x, rank, dims), perm), out_rank, out);
}

bool op_concat(OpCall *c) {
  int axis;
  Type t = c->in[0]->t;
  if (!ox_axis(c, ox_int(c, "axis"), t.rank, &axis)) return false;
  for (int i = 0; i < c->n_in; i++) {
    if (!c->in[i]) return ox_fail(c, E0205, "input %d is missing", i);
    const Type *u = &c->in[i]->t;
    if (u->rank != t.rank) return ox_fail(c, E0207, "input %d has rank %d, input 0 has %d", i, u->rank, t.rank);
    for (int d = 0; d < t.rank; d++)
      if (d != axis && !dim_eq(u->d[d], t.d[d])) return ox_fail(c, E0207, "input %d differs from input 0 in dimension %d", i, d);
    if (u->d[axis].sym) return ox_static(c, c->in[i]);
  }
  Node *y = NULL; /* more operands than one node takes: in groups */
  for (int at = 0; at < c->n_in;) {
    Node *group[4096];
    int n = 0;
    if (y) group[n++] = y;
    while (n < 4096 && at < c->n_in) group[n++] = c->in[at++];
    y = node_concat(c->g, n, group, axis);
  }
  return done(c, y);
}

bool op_constant(OpCall *c) {
  const Onnx__AttributeProto *a;
  if (c->p->n_attribute != 1) return ox_fail(c, E0203, "a Constant has one attribute, not %zu", c->p->n_attribute);
  if ((a = ox_attr(c, "value")) != NULL) {
    TensorSource src = {.ctx = c->ctx, .loc = c->loc, .bad = E0208, .root = import_root(c->im)};
    Tensor *t = onnx_tensor(&src, a->t);
    return done(c, t ? node_const(c->g, t) : NULL);
  }
  if (ox_attr(c, "value_float")) return done(c, ox_num(c, F32, ox_float(c, "value_float")));
  if (ox_attr(c, "value_int")) return done(c, node_const_i(c->g, I64, ox_int(c, "value_int")));
  if ((a = ox_attr(c, "value_ints")) != NULL) {
    int64_t n = (int64_t)a->n_ints;
    return done(c, ox_const_ints(c, I64, 1, &n, a->ints));
  }
  if ((a = ox_attr(c, "value_floats")) != NULL) {
    int64_t n = (int64_t)a->n_floats;
    Tensor *t = ox_tensor(c, F32, 1, &n);
    if (t && n) memcpy(t->data, a->floats, (size_t)n * 4);
    return done(c, t ? node_const(c->g, t) : NULL);
  }
  if (ox_attr(c, "sparse_value")) return ox_fail(c, E0303, "sparse tensors are not supported");
  if (ox_attr(c, "value_string") || ox_attr(c, "value_strings")) return ox_fail(c, E0303, "strings are not supported");
  return ox_fail(c, E0203, "the Constant has no value");
}

/* A constant shape operand: dims >= 0 whose product fits. */
static bool shape_operand(OpCall *c, int i, const char *what, int64_t *dims, int *rank) {
  int64_t n = 1;
  if ((*rank = ox_list(c, i, what, dims, MAX_RANK)) < 0) return false;
  for (int k = 0; k < *rank; k++)
    if (dims[k] < 0 || !mul_ok(n, dims[k] ? dims[k] : 1, &n) || n > INT64_C(1) << 56)
      return ox_fail(c, E0207, "%s has the entry %lld", what, (long long)dims[k]);
  return true;
}

bool op_constant_of_shape(OpCall *c) {
  int64_t dims[MAX_RANK];
  int rank;
  const Onnx__AttributeProto *a = ox_attr(c, "value");
  Node *v = NULL;
  if (!shape_operand(c, 0, "the shape", dims, &rank)) return false;
  if (a) {
    TensorSource src = {.ctx = c->ctx, .loc = c->loc, .bad = E0208, .root = import_root(c->im)};
    Tensor *t = onnx_tensor(&src, a->t);
    if (!t) return false;
    if (t->n != 1) return ox_fail(c, E0204, "value has %lld elements", (long long)t->n);
    v = ox_reshape(c, node_const(c->g, t), 0, NULL);
  } else v = ox_num(c, F32, 0);
  return done(c, ox_broadcast_to(c, ox_fold(c, v), rank, dims));
}

bool op_expand(OpCall *c) {
  int64_t dims[MAX_RANK];
  int rank;
  if (!shape_operand(c, 1, "the shape", dims, &rank)) return false;
  Type want = type_make(c->in[0]->t.e, rank, dims), t;
  if (!type_broadcast(&c->in[0]->t, &want, &t)) return ox_fail(c, E0207, "the input does not broadcast with the shape");
  return done(c, node_broadcast(c->g, c->in[0], t.rank, t.d));
}

bool op_eye_like(OpCall *c) {
  const Type *t = &c->in[0]->t;
  Elem e = t->e;
  const Onnx__AttributeProto *dtype = ox_attr(c, "dtype");
  if (dtype && !onnx_elem(dtype->i >= 0 && dtype->i < 1000 ? (int)dtype->i : -1, &e)) return ox_fail(c, E0303, "dtype is not supported");
  if (t->rank != 2) return ox_fail(c, E0207, "the input has rank %d, not 2", t->rank);
  if (!ox_static(c, c->in[0])) return false;
  int64_t dims[2] = {t->d[0].n, t->d[1].n}, k = ox_int(c, "k");
  Tensor *y = ox_tensor(c, e, 2, dims);
  if (!y) return false;
  for (int64_t i = 0; i < dims[0]; i++) {
    int64_t j;
    if (!add_ok(i, k, &j) || j < 0 || j >= dims[1]) continue;
    if (elem_is_float(e)) tensor_set_f(y, i * dims[1] + j, 1);
    else tensor_set_i(y, i * dims[1] + j, 1);
  }
  return done(c, node_const(c->g, y));
}

bool op_flatten(OpCall *c) {
  const Type *t = &c->in[0]->t;
  int axis;
  int64_t a = ox_int(c, "axis");
  if (a == t->rank) axis = t->rank;
  else if (!ox_axis(c, a, t->rank, &axis)) return false;
  Dim d[2] = {dim_c(1), dim_c(1)};
  for (int half = 0; half < 2; half++) { /* a half with one symbolic dimension and ones is that dimension */
    int from = half ? axis : 0, to = half ? t->rank : axis, syms = 0;
    int64_t n = 1;
    for (int i = from; i < to; i++) {
      if (t->d[i].sym) { syms++; d[half] = t->d[i]; }
      else n *= t->d[i].n;
    }
    if (!syms) d[half] = dim_c(n);
    else if (syms > 1 || n != 1) return ox_static(c, c->in[0]);
  }
  return done(c, ox_reshape_d(c, c->in[0], 2, d));
}

bool op_one_hot(OpCall *c) {
  const Tensor *d = ox_value(c, c->in[1], "depth");
  Node *index = c->in[0], *values = c->in[2];
  int axis, rank = index->t.rank + 1;
  if (!d) return false;
  int64_t depth = d->n == 1 ? (int64_t)tensor_f(d, 0) : -1;
  if (depth < 1 || depth > 1 << 30) return ox_fail(c, E0204, "depth is not a positive number");
  if (rank > MAX_RANK) return ox_fail(c, E0402, "the result has more than %d dimensions", MAX_RANK);
  if (!ox_axis(c, ox_int(c, "axis"), rank, &axis)) return false;
  if (values->t.rank != 1 || values->t.d[0].sym || values->t.d[0].n != 2) return ox_fail(c, E0207, "values are not [off, on]");
  Dim dims[MAX_RANK];
  for (int i = 0, k = 0; i < rank; i++) dims[i] = i == axis ? dim_c(1) : index->t.d[k++];
  Tensor *iota = ox_tensor(c, I64, 1, &depth);
  if (!iota) return false;
  for (int64_t i = 0; i < depth; i++) tensor_set_i(iota, i, i);
  Node *args[3] = {ox_cast(c, index, I64), NULL, NULL};
  Node *at = ox_formula(c, "x 0 lt  x n add  x select", args, (double)depth);
  Node *hit = ox_map2(c, S_EQ, ox_reshape_d(c, at, rank, dims), ox_along(c, node_const(c->g, iota), axis, rank));
  Node *off = ox_reshape(c, node_slice(c->g, values, 0, 0, 1, 1), 0, NULL), *on = ox_reshape(c, node_slice(c->g, values, 0, 1, 1, 1), 0, NULL);
  return done(c, ox_map3(c, S_SELECT, hit, ox_fold(c, on), ox_fold(c, off)));
}

bool op_range(OpCall *c) {
  const Tensor *v[3];
  static const char *const what[] = {"start", "limit", "delta"};
  for (int i = 0; i < 3; i++) {
    if (!(v[i] = ox_value(c, c->in[i], what[i]))) return false;
    if (v[i]->n != 1) return ox_fail(c, E0207, "%s is not a scalar", what[i]);
  }
  Elem e = v[0]->t.e;
  double start = tensor_f(v[0], 0), limit = tensor_f(v[1], 0), delta = tensor_f(v[2], 0), count = (limit - start) / delta;
  if (!(delta != 0) || !(count < 1e15)) return ox_fail(c, E0204, "delta is 0, or there are too many steps");
  int64_t n = count > 0 ? (int64_t)count + (count > (double)(int64_t)count) : 0;
  Tensor *y = ox_tensor(c, e, 1, &n);
  for (int64_t i = 0; y && i < n; i++) {
    if (elem_is_float(e)) tensor_set_f(y, i, start + (double)i * delta);
    else tensor_set_i(y, i, tensor_i(v[0], 0) + i * tensor_i(v[2], 0));
  }
  return done(c, y ? node_const(c->g, y) : NULL);
}

/* Entries of Reshape: 0 copies (unless allowzero), one -1 is what is left; a symbol of the input may be what is left. */
bool op_reshape(OpCall *c) {
  const Type *t = &c->in[0]->t;
  int64_t v[MAX_RANK], have = 1, want = 1;
  int rank = ox_list(c, 1, "the shape", v, MAX_RANK), infer = -1;
  bool copied[MAX_RANK] = {false}, allow_zero = ox_int(c, "allowzero") != 0;
  Dim d[MAX_RANK], left = dim_c(1);
  if (rank < 0) return false;
  for (int i = 0; i < rank; i++) {
    if (v[i] == -1) {
      if (infer >= 0) return ox_fail(c, E0207, "the shape has two -1");
      infer = i;
      continue;
    }
    if (v[i] == 0 && !allow_zero) {
      if (i >= t->rank) return ox_fail(c, E0207, "the shape copies dimension %d, the input has rank %d", i, t->rank);
      d[i] = t->d[i];
      copied[i] = true;
    } else if (v[i] < 0) return ox_fail(c, E0207, "the shape has the entry %lld", (long long)v[i]);
    else d[i] = dim_c(v[i]);
    if (!d[i].sym && !mul_ok(want, d[i].n, &want)) return ox_fail(c, E0207, "the shape has too many elements");
  }
  for (int i = 0; i < t->rank; i++) {
    bool taken = i < rank && copied[i] && t->d[i].sym;
    if (!t->d[i].sym) have *= t->d[i].n;
    else if (!taken && left.sym) return ox_static(c, c->in[0]);
    else if (!taken) left = t->d[i];
  }
  if (left.sym && (infer < 0 || have != want)) return ox_static(c, c->in[0]);
  if (infer >= 0) {
    if (!left.sym && (want == 0 ? have != 0 : have % want)) return ox_fail(c, E0207, "%lld elements do not fit the shape", (long long)have);
    d[infer] = left.sym ? left : dim_c(want ? have / want : 0);
  } else if (have != want) return ox_fail(c, E0207, "the input has %lld elements, the shape %lld", (long long)have, (long long)want);
  return done(c, ox_reshape_d(c, c->in[0], rank, d));
}

bool op_shape(OpCall *c) {
  const Type *t = &c->in[0]->t;
  int64_t v[MAX_RANK], from = ox_int(c, "start"), to = ox_attr(c, "end") ? ox_int(c, "end") : t->rank, n = 0;
  if (from < 0) from = from + t->rank < 0 ? 0 : from + t->rank;
  if (to < 0) to = to + t->rank < 0 ? 0 : to + t->rank;
  for (int64_t i = from; i < to && i < t->rank; i++) {
    if (t->d[i].sym) return ox_static(c, c->in[0]);
    v[n++] = t->d[i].n;
  }
  return done(c, ox_const_ints(c, I64, 1, &n, v));
}

bool op_size(OpCall *c) {
  return ox_static(c, c->in[0]) && done(c, node_const_i(c->g, I64, ox_count(&c->in[0]->t, 0, c->in[0]->t.rank)));
}

/* starts, ends, axes and steps: attributes before opset 10, operands since. */
bool op_slice(OpCall *c) {
  int64_t list[4][MAX_RANK];
  const int64_t *v[4] = {list[0], list[1], list[2], list[3]};
  static const char *const what[] = {"starts", "ends", "axes", "steps"};
  int n[4] = {-1, -1, -1, -1}, rank = c->in[0]->t.rank;
  Node *y = c->in[0];
  uint32_t seen = 0;
  for (int i = 0; i < 4; i++) {
    if (c->opset < 10) n[i] = i < 3 ? ox_ints(c, what[i], &v[i]) : -1;
    else if (ox_in(c, i + 1) && (n[i] = ox_list(c, i + 1, what[i], list[i], MAX_RANK)) < 0) return false;
  }
  if (n[0] < 0 || n[1] < 0) return ox_fail(c, E0203, "starts or ends are missing");
  for (int i = 1; i < 4; i++) if (n[i] >= 0 && n[i] != n[0]) return ox_fail(c, E0204, "%s has %d values, starts has %d", what[i], n[i], n[0]);
  for (int k = 0; k < n[0]; k++) {
    int axis;
    if (!ox_axis(c, n[2] >= 0 ? v[2][k] : k, rank, &axis)) return false;
    int64_t step = n[3] >= 0 ? v[3][k] : 1, from = v[0][k], to = v[1][k];
    if (step == 0 || step == INT64_MIN || seen >> axis & 1) return ox_fail(c, E0204, "step 0, or axis %d twice", axis);
    seen |= 1u << axis;
    if (y->t.d[axis].sym) {
      if (step == 1 && from == 0 && to >= INT32_MAX) continue;
      return ox_static(c, c->in[0]);
    }
    int64_t dim = y->t.d[axis].n, low = step > 0 ? 0 : -1, high = step > 0 ? dim : dim - 1;
    if (from < 0) from = from < -dim ? -1 : from + dim;
    if (to < 0) to = to < -dim ? -1 : to + dim;
    from = from < (step > 0 ? 0 : low) ? (step > 0 ? 0 : low) : from > high ? high : from;
    to = to < low ? low : to > dim ? dim : to;
    int64_t span = step > 0 ? to - from : from - to, size = step > 0 ? step : -step;
    int64_t count = span > 0 ? (span - 1) / size + 1 : 0;
    y = node_slice(c->g, y, axis, count ? from : 0, count > 1 ? step : 1, count);
  }
  return done(c, y);
}

bool op_split(OpCall *c) {
  int axis, n = c->n_out;
  int64_t list[1024], total = 0;
  const int64_t *v = list;
  if (!ox_axis(c, ox_int(c, "axis"), c->in[0]->t.rank, &axis)) return false;
  if (n > 1024) return ox_fail(c, E0402, "more than 1024 outputs");
  if (c->in[0]->t.d[axis].sym) return ox_static(c, c->in[0]);
  int64_t dim = c->in[0]->t.d[axis].n;
  int given = ox_ints(c, "split", &v);
  if (given < 0 && ox_in(c, 1) && (given = ox_list(c, 1, "split", list, 1024)) < 0) return false;
  if (given < 0) {
    int64_t per = (dim + n - 1) / n;
    if (c->opset < 18 && dim % n) return ox_fail(c, E0204, "%lld does not split into %d equal parts", (long long)dim, n);
    if (ox_attr(c, "num_outputs") && ox_int(c, "num_outputs") != n) return ox_fail(c, E0204, "num_outputs is %lld, the node has %d", (long long)ox_int(c, "num_outputs"), n);
    for (int i = 0; i < n; i++) list[i] = per * (i + 1) <= dim ? per : dim > per * i ? dim - per * i : 0;
    given = n;
    v = list;
  }
  if (given != n) return ox_fail(c, E0204, "split has %d values, the node %d outputs", given, n);
  for (int i = 0; i < n; i++)
    if (v[i] < 0 || !add_ok(total, v[i], &total)) return ox_fail(c, E0204, "split has the entry %lld", (long long)v[i]);
  if (total != dim) return ox_fail(c, E0204, "split sums to %lld, the dimension is %lld", (long long)total, (long long)dim);
  int64_t at = 0;
  for (int i = 0; i < n; i++) {
    c->out[i] = node_slice(c->g, c->in[0], axis, v[i] ? at : 0, 1, v[i]);
    at += v[i];
  }
  return true;
}

bool op_squeeze(OpCall *c) {
  const Type *t = &c->in[0]->t;
  uint32_t axes;
  bool absent;
  Dim d[MAX_RANK];
  int rank = 0;
  if (!ox_axes(c, "axes", 1, t->rank, &axes, &absent)) return false;
  for (int i = 0; i < t->rank; i++) {
    bool one = !t->d[i].sym && t->d[i].n == 1, drop = absent ? one : (axes >> i & 1);
    if (drop && !one) return ox_fail(c, E0207, "dimension %d is not 1", i);
    if (!drop) d[rank++] = t->d[i];
  }
  return done(c, ox_reshape_d(c, c->in[0], rank, d));
}

bool op_unsqueeze(OpCall *c) {
  const Type *t = &c->in[0]->t;
  int64_t list[MAX_RANK];
  const int64_t *v = list;
  int n = ox_ints(c, "axes", &v);
  if (n < 0 && (n = ox_list(c, 1, "axes", list, MAX_RANK)) < 0) return false;
  if (t->rank + n > MAX_RANK) return ox_fail(c, E0402, "the result has more than %d dimensions", MAX_RANK);
  uint32_t axes = 0;
  Dim d[MAX_RANK];
  for (int i = 0; i < n; i++) {
    int axis;
    if (!ox_axis(c, v[i], t->rank + n, &axis)) return false;
    if (axes >> axis & 1) return ox_fail(c, E0204, "axis %d is there twice", axis);
    axes |= 1u << axis;
  }
  for (int i = 0, k = 0; i < t->rank + n; i++) d[i] = axes >> i & 1 ? dim_c(1) : t->d[k++];
  return done(c, ox_reshape_d(c, c->in[0], t->rank + n, d));
}

bool op_tile(OpCall *c) {
  int64_t r[MAX_RANK], total = 1;
  Node *x = c->in[0];
  int rank = x->t.rank, n = ox_list(c, 1, "repeats", r, MAX_RANK);
  if (n < 0) return false;
  if (n != rank) return ox_fail(c, E0207, "repeats has %d values, the input has rank %d", n, rank);
  for (int i = 0; i < rank; i++) {
    if (r[i] < 0 || !mul_ok(total, r[i] ? r[i] : 1, &total) || total > INT64_C(1) << 40) return ox_fail(c, E0204, "repeats has the entry %lld", (long long)r[i]);
    if (r[i] == 1) continue;
    if (!ox_static(c, x)) return false;
    int64_t pre = ox_count(&x->t, 0, i), d = x->t.d[i].n, post = ox_count(&x->t, i + 1, rank);
    int64_t apart[] = {pre, 1, d, post}, full[] = {pre, r[i], d, post}, dims[MAX_RANK];
    for (int k = 0; k < rank; k++) dims[k] = k == i ? d * r[i] : x->t.d[k].n;
    x = ox_reshape(c, ox_broadcast_to(c, ox_reshape(c, x, 4, apart), 4, full), rank, dims);
    if (!x) return false;
  }
  return done(c, x);
}

bool op_transpose(OpCall *c) {
  int rank = c->in[0]->t.rank, perm[MAX_RANK];
  const int64_t *v;
  int n = ox_ints(c, "perm", &v);
  uint32_t seen = 0;
  for (int i = 0; i < rank; i++) {
    if (n >= 0 && (v[i] < 0 || v[i] >= rank || seen >> v[i] & 1)) return ox_fail(c, E0204, "perm is not a permutation");
    perm[i] = n < 0 ? rank - 1 - i : (int)v[i];
    seen |= 1u << perm[i];
  }
  return done(c, ox_transpose(c, c->in[0], perm));
}

bool op_trilu(OpCall *c) {
  const Type *t = &c->in[0]->t;
  int64_t k = 0, dims[2];
  bool upper = ox_int(c, "upper") != 0;
  if (ox_in(c, 1)) {
    const Tensor *v = ox_value(c, c->in[1], "k");
    if (!v) return false;
    if (v->n != 1) return ox_fail(c, E0207, "k is not a scalar");
    k = tensor_i(v, 0);
  }
  if (t->rank < 2) return ox_fail(c, E0207, "the input has rank %d", t->rank);
  for (int i = 0; i < 2; i++) {
    if (t->d[t->rank - 2 + i].sym) return ox_static(c, c->in[0]);
    dims[i] = t->d[t->rank - 2 + i].n;
  }
  Tensor *mask = ox_tensor(c, BOOL, 2, dims);
  if (!mask) return false;
  for (int64_t i = 0; i < dims[0]; i++)
    for (int64_t j = 0; j < dims[1]; j++) tensor_set_i(mask, i * dims[1] + j, upper ? j - i >= k : j - i <= k);
  return done(c, ox_map3(c, S_SELECT, node_const(c->g, mask), c->in[0], ox_num(c, t->e, 0)));
}

/* [N, C, H, W] in blocks of b x b: both ways are a reshape, a transposition and a reshape. */
static bool blocks(OpCall *c, int64_t *b, int64_t d[4]) {
  const Type *t = &c->in[0]->t;
  *b = ox_int(c, "blocksize");
  if (t->rank != 4) return ox_fail(c, E0207, "the input has rank %d, not 4", t->rank);
  if (*b < 1 || *b > 1 << 20) return ox_fail(c, E0204, "blocksize is %lld", (long long)*b);
  if (!ox_static(c, c->in[0])) return false;
  for (int i = 0; i < 4; i++) d[i] = t->d[i].n;
  return true;
}

bool op_depth_to_space(OpCall *c) {
  int64_t b, d[4];
  if (!blocks(c, &b, d)) return false;
  const char *mode = ox_str(c, "mode");
  bool crd = !strcmp(mode, "CRD");
  if (!crd && strcmp(mode, "DCR")) return ox_fail(c, E0204, "mode is \"%s\"", mode);
  if (d[1] % (b * b)) return ox_fail(c, E0207, "%lld channels are not blocks of %lld", (long long)d[1], (long long)(b * b));
  int64_t ch = d[1] / (b * b), dcr_dims[] = {d[0], b, b, ch, d[2], d[3]}, crd_dims[] = {d[0], ch, b, b, d[2], d[3]}, out[] = {d[0], ch, d[2] * b, d[3] * b};
  static const int dcr_perm[] = {0, 3, 4, 1, 5, 2}, crd_perm[] = {0, 1, 4, 2, 5, 3};
  return done(c, permuted(c, c->in[0], 6, crd ? crd_dims : dcr_dims, crd ? crd_perm : dcr_perm, 4, out));
}

bool op_space_to_depth(OpCall *c) {
  int64_t b, d[4];
  if (!blocks(c, &b, d)) return false;
  const char *mode = ox_str(c, "mode");
  bool crd = !strcmp(mode, "CRD");
  if (!crd && strcmp(mode, "DCR")) return ox_fail(c, E0204, "mode is \"%s\"", mode);
  if (d[2] % b || d[3] % b) return ox_fail(c, E0207, "height and width are not multiples of %lld", (long long)b);
  int64_t dims[] = {d[0], d[1], d[2] / b, b, d[3] / b, b}, out[] = {d[0], d[1] * b * b, d[2] / b, d[3] / b};
  static const int dcr_perm[] = {0, 3, 5, 1, 2, 4}, crd_perm[] = {0, 1, 3, 5, 2, 4};
  return done(c, permuted(c, c->in[0], 6, dims, crd ? crd_perm : dcr_perm, 4, out));
}
