/* Element-wise operators. */
#include "frontend/import.h"

#include <math.h>
#include <string.h>

bool op_formula(OpCall *c) {
  Node *args[3] = {ox_in(c, 0), ox_in(c, 1), ox_in(c, 2)};
  c->out[0] = ox_formula(c, c->row->how, args, 0);
  if (c->out[0] && !strcmp(c->row->name, "PRelu") && c->out[0]->t.rank != c->in[0]->t.rank)
    return ox_fail(c, E0207, "the slope does not broadcast to the input");
  return c->out[0] != NULL;
}

bool op_variadic(OpCall *c) {
  Node *y = c->in[0];
  for (int i = 1; i < c->n_in; i++) {
    if (!c->in[i]) return ox_fail(c, E0205, "input %d is missing", i);
    Node *pair[3] = {y, c->in[i], NULL};
    y = ox_formula(c, c->row->how, pair, 0);
    if (!y) return false;
  }
  if (!strcmp(c->row->name, "Mean")) y = ox_map2(c, S_DIV, y, ox_num(c, y->t.e, c->n_in));
  c->out[0] = y;
  return y != NULL;
}

bool op_bitshift(OpCall *c) {
  const char *dir = ox_str(c, "direction");
  bool left = !strcmp(dir, "LEFT");
  if (!left && strcmp(dir, "RIGHT")) return ox_fail(c, E0204, "direction is \"%s\"", dir);
  if (c->in[0]->t.e.kind != EK_UINT) return ox_fail(c, E0206, "operands must be unsigned");
  c->out[0] = ox_map2(c, left ? S_SHL : S_SHR, c->in[0], c->in[1]);
  return c->out[0] != NULL;
}

bool op_cast(OpCall *c) {
  Elem to;
  if (c->n_in > 1) to = c->in[1]->t.e;
  else {
    int64_t type = ox_int(c, "to");
    if (type < 0 || type > 1000 || !onnx_elem((int)type, &to))
      return ox_fail(c, E0303, "a cast to %s is not supported", onnx_elem_name(type < 0 || type > 1000 ? -1 : (int)type));
  }
  /* beyond a 2- or 4-bit type floats wrap, as the standard's tests have it */
  Node *x = c->in[0];
  bool wraps = elem_is_code(to) && (to.bits == 2 || to.bits == 4) && elem_is_float(x->t.e);
  c->out[0] = ox_cast(c, wraps ? ox_cast(c, x, I32) : x, to);
  return true;
}

/* A bound of Clip: a scalar of x's type. */
static bool bound(OpCall *c, const char *attr, int i, Node **b) {
  *b = NULL;
  if (c->opset < 11) {
    if (ox_attr(c, attr)) *b = ox_num(c, c->in[0]->t.e, ox_float(c, attr));
    return true;
  }
  *b = ox_in(c, i);
  if (!*b || (*b)->t.rank == 0) return true;
  if ((*b)->t.rank != 1 || (*b)->t.d[0].sym || (*b)->t.d[0].n != 1) return ox_fail(c, E0207, "%s is not a scalar", attr);
  *b = ox_fold(c, ox_reshape(c, *b, 0, NULL));
  return *b != NULL;
}

bool op_clip(OpCall *c) {
  Node *lo, *hi, *y = c->in[0];
  if (!bound(c, "min", 1, &lo) || !bound(c, "max", 2, &hi)) return false;
  if (lo) y = ox_map2(c, S_MAX, y, lo);
  if (hi) y = ox_map2(c, S_MIN, y, hi);
  c->out[0] = y;
  return y != NULL;
}

bool op_dropout(OpCall *c) {
  if (ox_in(c, 2)) {
    const Tensor *t = ox_value(c, c->in[2], "training_mode");
    if (!t) return false;
    if (t->n != 1 || tensor_i(t, 0)) return ox_fail(c, E0302, "Dropout in training mode");
  }
  c->out[0] = c->in[0];
  if (c->n_out > 1 && *c->p->output[1]) {
    Node *one = ox_num(c, c->opset < 10 ? c->in[0]->t.e : BOOL, 1);
    c->out[1] = node_broadcast(c->g, one, c->in[0]->t.rank, c->in[0]->t.d);
  }
  return true;
}

bool op_gelu(OpCall *c) {
  const char *how = ox_str(c, "approximate");
  bool tanh_form = !strcmp(how, "tanh");
  if (!tanh_form && strcmp(how, "none")) return ox_fail(c, E0204, "approximate is \"%s\"", how);
  c->out[0] = ox_formula(c, tanh_form ? "x 0.5 mul  x x mul x mul 0.044715 mul x add 0.7978845608028654 mul tanh 1 add  mul"
                                      : "x 0.5 mul  x 0.7071067811865476 mul erf 1 add  mul", c->in, 0);
  return c->out[0] != NULL;
}

bool op_isinf(OpCall *c) {
  bool neg = ox_int(c, "detect_negative") != 0, pos = ox_int(c, "detect_positive") != 0;
  if (neg && pos) c->out[0] = ox_map1(c, S_ISINF, c->in[0]);
  else if (neg || pos) c->out[0] = ox_map2(c, S_EQ, c->in[0], ox_num(c, c->in[0]->t.e, neg ? -INFINITY : INFINITY));
  else c->out[0] = node_broadcast(c->g, ox_num(c, BOOL, 0), c->in[0]->t.rank, c->in[0]->t.d);
  return c->out[0] != NULL;
}

bool op_mod(OpCall *c) {
  c->out[0] = ox_map2(c, ox_int(c, "fmod") ? S_FMOD : S_MOD, c->in[0], c->in[1]);
  return c->out[0] != NULL;
}

/* Integers are raised in binary64: exact below 2^53. */
bool op_pow(OpCall *c) {
  Elem e = c->in[0]->t.e, in = elem_is_float(e) ? e : F64;
  c->out[0] = ox_cast(c, ox_map2(c, S_POW, ox_cast(c, c->in[0], in), ox_cast(c, c->in[1], in)), e);
  return c->out[0] != NULL;
}

bool op_shrink(OpCall *c) {
  Node *x = c->in[0], *bias, *lambda, *args[3];
  Elem e = x->t.e, in = elem_is_float(e) ? e : F64;
  args[0] = ox_cast(c, x, in);
  bias = ox_num(c, in, ox_float(c, "bias")), lambda = ox_num(c, in, ox_float(c, "lambd"));
  args[1] = bias, args[2] = lambda;
  c->out[0] = ox_cast(c, ox_formula(c, "x z neg lt  x y add  z x lt  x y sub  0  select  select", args, 0), e);
  return c->out[0] != NULL;
}
