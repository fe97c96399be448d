/* Operators that pick elements by index: gathers, and pads that are gathers of constant indices. */
#include "frontend/import.h"

#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

bool op_gather(OpCall *c) {
  int axis;
  if (!ox_axis(c, ox_int(c, "axis"), c->in[0]->t.rank, &axis)) return false;
  if (c->in[0]->t.rank - 1 + c->in[1]->t.rank > MAX_RANK) return ox_fail(c, E0402, "the result has more than %d dimensions", MAX_RANK);
  return done(c, node_gather(c->g, c->in[0], c->in[1], axis));
}

/* Negative indices count from the end; i64. */
static Node *wrapped(OpCall *c, Node *index, int64_t dim) {
  Node *args[3] = {ox_cast(c, index, I64), NULL, NULL};
  return ox_formula(c, "x 0 lt  x n add  x select", args, (double)dim);
}

/* y[p] = x[p with p[axis] = index[p]]: the flat position is index * stride + what the other dimensions give. */
bool op_gather_elements(OpCall *c) {
  Node *x = c->in[0], *index = c->in[1];
  int axis, rank = x->t.rank;
  int64_t dims[MAX_RANK];
  if (!ox_axis(c, ox_int(c, "axis"), rank, &axis)) return false;
  if (index->t.rank != rank) return ox_fail(c, E0207, "indices have rank %d, data has %d", index->t.rank, rank);
  if (!ox_static(c, x) || !ox_static(c, index)) return false;
  for (int i = 0; i < rank; i++) {
    dims[i] = index->t.d[i].n;
    if (i != axis && dims[i] > x->t.d[i].n) return ox_fail(c, E0207, "indices are larger than data in dimension %d", i);
  }
  Tensor *rest = ox_tensor(c, I64, rank, dims);
  if (!rest) return false;
  int64_t stride = ox_count(&x->t, axis + 1, rank);
  for (int64_t i = 0; i < rest->n; i++) {
    int64_t left = i, at = 0, step = 1;
    for (int d = rank - 1; d >= 0; d--) {
      if (d != axis) at += left % dims[d] * step;
      left /= dims[d];
      step *= x->t.d[d].n;
    }
    tensor_set_i(rest, i, at);
  }
  Node *at = ox_map2(c, S_MUL, wrapped(c, index, x->t.d[axis].n), node_const_i(c->g, I64, stride));
  at = ox_map2(c, S_ADD, at, node_const(c->g, rest));
  int64_t flat = ox_count(&x->t, 0, rank);
  Node *line = ox_reshape(c, x, 1, &flat);
  return done(c, at ? node_gather(c->g, line, at, 0) : NULL);
}

/* indices [b.., i.., k] into data [b.., d1..dk, s..]: rows of the flattened [b * d1..dk, s..]. */
bool op_gather_nd(OpCall *c) {
  Node *x = c->in[0], *index = c->in[1];
  int64_t b = ox_int(c, "batch_dims"), dims[MAX_RANK], rows = 1;
  int rank = x->t.rank, ri = index->t.rank;
  if (!ox_static(c, x) || !ox_static(c, index)) return false;
  if (b < 0 || b >= rank || b >= ri) return ox_fail(c, E0204, "batch_dims is %lld", (long long)b);
  int64_t k = index->t.d[ri - 1].n;
  if (k < 1 || b + k > rank || ri - 1 + rank - b - k > MAX_RANK) return ox_fail(c, E0207, "indices of %lld dimensions do not fit data of rank %d", (long long)k, rank);
  for (int i = 0; i < b; i++) if (!dim_eq(x->t.d[i], index->t.d[i])) return ox_fail(c, E0207, "batch dimension %d differs", i);
  int64_t lead = ox_count(&index->t, 0, (int)b), inner = ox_count(&index->t, (int)b, ri - 1), flat[2] = {lead * inner, k};
  index = ox_reshape(c, index, 2, flat);
  Node *at = NULL;
  for (int j = (int)k - 1; j >= 0; j--) {
    Node *part = ox_reshape(c, node_slice(c->g, index, 1, j, 1, 1), 1, flat);
    part = ox_map2(c, S_MUL, wrapped(c, part, x->t.d[b + j].n), node_const_i(c->g, I64, rows));
    at = at ? ox_map2(c, S_ADD, at, part) : part;
    rows *= x->t.d[b + j].n;
  }
  if (lead > 1) {
    Tensor *batch = ox_tensor(c, I64, 1, flat);
    if (!batch) return false;
    for (int64_t i = 0; i < batch->n; i++) tensor_set_i(batch, i, i / inner * rows);
    at = ox_map2(c, S_ADD, at, node_const(c->g, batch));
  }
  int64_t shape[2] = {lead * rows, ox_count(&x->t, (int)(b + k), rank)};
  Node *y = at ? node_gather(c->g, ox_reshape(c, x, 2, shape), at, 0) : NULL;
  int n = 0;
  for (int i = 0; i < ri - 1; i++) dims[n++] = c->in[1]->t.d[i].n;
  for (int i = (int)(b + k); i < rank; i++) dims[n++] = x->t.d[i].n;
  return done(c, ox_reshape(c, y, n, dims));
}

/* Where element i of a padded axis comes from. */
static int64_t mirrored(char mode, int64_t i, int64_t n) {
  if (mode == 'e') return i < 0 ? 0 : i >= n ? n - 1 : i;
  if (mode == 'w') return (i % n + n) % n;
  if (n == 1) return 0;
  int64_t period = 2 * (n - 1), r = (i % period + period) % period;
  return r < n ? r : period - r;
}

static bool pad_by_gather(OpCall *c, char mode, const int64_t *before, const int64_t *after) {
  Node *y = c->in[0];
  for (int d = 0; d < c->in[0]->t.rank; d++) {
    if (!before[d] && !after[d]) continue;
    int64_t n = y->t.d[d].n, count = n + before[d] + after[d];
    if (n == 0) return ox_fail(c, E0207, "dimension %d is empty and cannot be padded from", d);
    Tensor *index = ox_tensor(c, I64, 1, &count);
    if (!index) return false;
    for (int64_t i = 0; i < count; i++) tensor_set_i(index, i, mirrored(mode, i - before[d], n));
    y = node_gather(c->g, y, node_const(c->g, index), d);
  }
  return done(c, y);
}

/* The pads of each axis, from the attribute or the operands. */
static bool pad_sizes(OpCall *c, int64_t *before, int64_t *after) {
  int64_t list[2 * MAX_RANK], axes[MAX_RANK];
  const int64_t *v = list;
  const Type *t = &c->in[0]->t;
  int n = c->opset < 11 ? ox_ints(c, "pads", &v) : ox_list(c, 1, "pads", list, 2 * MAX_RANK), n_axes = t->rank;
  if (n < 0) return c->opset < 11 ? ox_fail(c, E0203, "attribute pads is missing") : false;
  for (int i = 0; i < t->rank; i++) axes[i] = i, before[i] = after[i] = 0;
  if (ox_in(c, 3) && (n_axes = ox_list(c, 3, "axes", axes, MAX_RANK)) < 0) return false;
  if (n != 2 * n_axes) return ox_fail(c, E0204, "pads has %d values, %d axes are padded", n, n_axes);
  for (int i = 0; i < n_axes; i++) {
    int axis;
    if (!ox_axis(c, axes[i], t->rank, &axis)) return false;
    before[axis] = v[i], after[axis] = v[i + n_axes];
    if (!v[i] && !v[i + n_axes]) continue;
    if (t->d[axis].sym) return ox_static(c, c->in[0]);
    int64_t limit = INT64_C(1) << 40;
    if (v[i] < -limit || v[i] > limit || v[i + n_axes] < -limit || v[i + n_axes] > limit || t->d[axis].n + v[i] + v[i + n_axes] < 0)
      return ox_fail(c, E0204, "pads of axis %d are %lld and %lld", axis, (long long)v[i], (long long)v[i + n_axes]);
  }
  return true;
}

bool op_pad(OpCall *c) {
  int64_t before[MAX_RANK], after[MAX_RANK];
  const char *mode = ox_str(c, "mode");
  double fill = 0;
  if (!pad_sizes(c, before, after)) return false;
  if (!strcmp(mode, "edge") || !strcmp(mode, "reflect") || !strcmp(mode, "wrap")) return pad_by_gather(c, *mode, before, after);
  if (strcmp(mode, "constant")) return ox_fail(c, E0204, "mode is \"%s\"", mode);
  if (c->opset < 11) fill = ox_float(c, "value");
  else if (ox_in(c, 2)) {
    const Tensor *v = ox_value(c, c->in[2], "the constant value");
    if (!v) return false;
    if (v->n != 1) return ox_fail(c, E0207, "the constant value is not a scalar");
    fill = tensor_f(v, 0);
    if (elem_is_code(v->t.e) && (fill > 9007199254740992.0 || fill < -9007199254740992.0)) return ox_fail(c, E0302, "the constant value passes 2^53");
  }
  return done(c, node_pad(c->g, c->in[0], before, after, fill));
}
