/* Scan, Loop and If: bodies are imported step by step, with what each step reads; what is known of counts and conditions must be
 * known before. Functions of steps are then ordinary nodes: constants fold, equal nodes merge, types narrow. */
#include "frontend/import.h"

#include <string.h>

enum { STEPS_MAX = 4096 }; /* operands of one concat */

/* A dimension of 1 at axis goes, or comes. */
static Node *drop_axis(OpCall *c, Node *x, int axis) {
  Dim d[MAX_RANK];
  if (!x) return NULL;
  for (int i = 0, k = 0; i < x->t.rank; i++) if (i != axis) d[k++] = x->t.d[i];
  return ox_fold(c, ox_reshape_d(c, x, x->t.rank - 1, d));
}

static Node *add_axis(OpCall *c, Node *x, int axis) {
  Dim d[MAX_RANK];
  if (!x) return NULL;
  if (x->t.rank == MAX_RANK) { ox_fail(c, E0402, "a stacked output has more than %d dimensions", MAX_RANK); return NULL; }
  for (int i = 0, k = 0; i <= x->t.rank; i++) d[i] = i == axis ? dim_c(1) : x->t.d[k++];
  return ox_reshape_d(c, x, x->t.rank + 1, d);
}

/* The steps' values one after another along a new axis. */
static Node *stack(OpCall *c, Node **steps, int64_t n, int64_t axis, bool backwards) {
  Node **v = NEWN(c->g->arena, Node *, n + 1);
  int at;
  if (!ox_axis(c, axis, steps[0]->t.rank + 1, &at)) return NULL;
  for (int64_t t = 0; t < n; t++) {
    if (!type_eq(&steps[t]->t, &steps[0]->t)) { ox_fail(c, E0207, "an output of the body has another type in step %lld", (long long)t); return NULL; }
    if (!(v[backwards ? n - 1 - t : t] = add_axis(c, steps[t], at))) return NULL;
  }
  return n == 1 ? v[0] : node_concat(c->g, (int)n, v, at);
}

static const Onnx__GraphProto *body_of(OpCall *c, const char *name) {
  const Onnx__AttributeProto *a = ox_attr(c, name);
  return a ? a->g : NULL;
}

/* Entry k of an attribute list, 0 where the list is absent. */
static int64_t entry(OpCall *c, const char *name, int k) {
  const int64_t *v;
  int n = ox_ints(c, name, &v);
  return k < n ? v[k] : 0;
}

static bool list_fits(OpCall *c, const char *name, int want) {
  const int64_t *v;
  int n = ox_ints(c, name, &v);
  return n < 0 || n == want || ox_fail(c, E0204, "%s has %d entries, not %d", name, n, want);
}

/* The state of a body keeps its type from step to step. */
static bool same_state(OpCall *c, const Node *a, const Node *b, int k) {
  return type_eq(&a->t, &b->t) || ox_fail(c, E0207, "state %d changes its type from step to step", k);
}

/* Steps of a scan: the common extent of its sequences along their axes. */
static bool scan_axes(OpCall *c, int n_state, int n_scan, int *axis, int64_t *steps) {
  *steps = -1;
  for (int k = 0; k < n_scan; k++) {
    Node *x = c->in[n_state + k];
    if (!ox_axis(c, entry(c, "scan_input_axes", k), x->t.rank, &axis[k]) || !ox_static(c, x)) return false;
    int64_t n = x->t.d[axis[k]].n;
    if (*steps >= 0 && n != *steps) return ox_fail(c, E0207, "sequences have %lld and %lld steps", (long long)*steps, (long long)n);
    *steps = n;
  }
  if (*steps < 1) return ox_fail(c, E0302, "a scan without a step");
  return *steps <= STEPS_MAX || ox_fail(c, E0402, "a scan of %lld steps; at most %d are unrolled", (long long)*steps, STEPS_MAX);
}

bool op_scan(OpCall *c) {
  const Onnx__GraphProto *b = body_of(c, "body");
  int64_t n_scan = ox_int(c, "num_scan_inputs"), steps;
  int n_state = c->n_in - (int)n_scan, n_out = (int)b->n_output;
  if (n_scan < 1 || n_scan > c->n_in) return ox_fail(c, E0204, "num_scan_inputs is %lld, of %d inputs", (long long)n_scan, c->n_in);
  if (n_out < n_state || c->n_out > n_out) return ox_fail(c, E0205, "the body has %d outputs", n_out);
  for (int i = 0; i < c->n_in; i++) if (!c->in[i]) return ox_fail(c, E0205, "input %d is missing", i);
  if (!list_fits(c, "scan_input_axes", (int)n_scan) || !list_fits(c, "scan_input_directions", (int)n_scan) ||
      !list_fits(c, "scan_output_axes", n_out - n_state) || !list_fits(c, "scan_output_directions", n_out - n_state)) return false;
  int *axis = NEWN(c->g->arena, int, n_scan);
  if (!scan_axes(c, n_state, (int)n_scan, axis, &steps)) return false;
  Node **in = NEWN(c->g->arena, Node *, c->n_in + 1), **out = NEWN(c->g->arena, Node *, n_out + 1);
  Node **all = NEWN(c->g->arena, Node *, n_out * steps + 1);
  Body *body = ox_body(c, b, c->n_in);
  for (int i = 0; i < n_state; i++) in[i] = c->in[i];
  for (int64_t t = 0; body && t < steps; t++) {
    for (int k = 0; k < n_scan; k++) {
      int64_t at = entry(c, "scan_input_directions", k) ? steps - 1 - t : t;
      in[n_state + k] = drop_axis(c, node_slice(c->g, c->in[n_state + k], axis[k], at, 1, 1), axis[k]);
      if (!in[n_state + k]) return false;
    }
    if (!ox_body_step(c, body, t, in, out)) return false;
    for (int i = 0; i < n_state; i++) {
      if (!same_state(c, in[i], out[i], i)) return false;
      in[i] = out[i];
    }
    for (int o = n_state; o < n_out; o++) all[o * steps + t] = out[o];
  }
  for (int o = 0; body && o < c->n_out; o++) {
    bool back = o >= n_state && entry(c, "scan_output_directions", o - n_state);
    c->out[o] = o < n_state ? in[o] : stack(c, all + o * steps, steps, entry(c, "scan_output_axes", o - n_state), back);
    if (!c->out[o]) return false;
  }
  return body != NULL;
}

/* A condition that is known: 0 or 1; -1 with a diagnostic. */
static int condition(OpCall *c, Node *n, const char *what) {
  if (!n) return 1;
  const Tensor *t = ox_value(c, n, what);
  if (!t) return -1;
  if (t->n != 1) { ox_fail(c, E0207, "%s has %lld elements", what, (long long)t->n); return -1; }
  return tensor_i(t, 0) != 0;
}

bool op_loop(OpCall *c) {
  const Onnx__GraphProto *b = body_of(c, "body");
  int n_state = c->n_in > 2 ? c->n_in - 2 : 0, n_out = (int)b->n_output, go = condition(c, ox_in(c, 1), "the loop's condition");
  int64_t most = STEPS_MAX, steps = 0;
  const Tensor *trips = ox_in(c, 0) ? ox_value(c, c->in[0], "the trip count") : NULL;
  if (go < 0 || (ox_in(c, 0) && !trips)) return false;
  if (trips) most = trips->n == 1 ? tensor_i(trips, 0) : -1;
  if (trips && most < 0) most = 0;
  if (n_out < n_state + 1 || c->n_out > n_out - 1) return ox_fail(c, E0205, "the body has %d outputs", n_out);
  for (int i = 2; i < c->n_in; i++) if (!c->in[i]) return ox_fail(c, E0205, "input %d is missing", i);
  Node **in = NEWN(c->g->arena, Node *, n_state + 3), **out = NEWN(c->g->arena, Node *, n_out + 1);
  VEC(Node *) *all = arena_alloc(c->g->arena, sizeof *all * (size_t)(n_out + 1));
  Body *body = ox_body(c, b, n_state + 2);
  in[1] = node_const_i(c->g, BOOL, 1);
  for (int i = 0; i < n_state; i++) in[2 + i] = c->in[2 + i];
  for (; body && go && steps < most; steps++) {
    if (steps == STEPS_MAX) return ox_fail(c, E0402, "a loop of more than %d steps is not unrolled", STEPS_MAX);
    in[0] = node_const_i(c->g, I64, steps);
    if (!ox_body_step(c, body, steps, in, out)) return false;
    if ((go = condition(c, out[0], "the condition that the loop's body computes")) < 0) return false;
    for (int i = 0; i < n_state; i++) {
      in[2 + i] = out[1 + i];
    }
    for (int o = n_state + 1; o < n_out; o++) vec_push(c->g->arena, &all[o], out[o]);
  }
  for (int o = 0; body && o < c->n_out; o++) {
    if (o >= n_state && !steps) return ox_fail(c, E0302, "an output of no step");
    c->out[o] = o < n_state ? in[2 + o] : stack(c, all[o + 1].p, steps, 0, false);
    if (!c->out[o]) return false;
  }
  return body != NULL;
}

/* A known condition takes one branch; else both are computed and one is chosen, where they give the same types. */
bool op_if(OpCall *c) {
  Node *cond = ox_fold(c, c->in[0]);
  Node **out[2];
  if (!cond) return false;
  if (node_is_const(cond) && cond->a.value->n != 1) return ox_fail(c, E0207, "the condition has %lld elements", (long long)cond->a.value->n);
  for (int k = 0; k < 2; k++) {
    const Onnx__GraphProto *b = body_of(c, k == 0 ? "then_branch" : "else_branch");
    if (node_is_const(cond) && (tensor_i(cond->a.value, 0) != 0) != (k == 0)) continue;
    if ((int)b->n_output < c->n_out) return ox_fail(c, E0205, "a branch has %zu outputs", b->n_output);
    out[k] = NEWN(c->g->arena, Node *, b->n_output + 1);
    Body *body = ox_body(c, b, 0);
    if (!body || !ox_body_step(c, body, -1, NULL, out[k])) return false;
  }
  for (int o = 0; o < c->n_out; o++) {
    if (node_is_const(cond)) { c->out[o] = out[tensor_i(cond->a.value, 0) ? 0 : 1][o]; continue; }
    const Type *a = &out[0][o]->t, *b = &out[1][o]->t;
    if (!type_eq(a, b)) return ox_fail(c, E0305, "the condition must be constant: the branches give values of different types");
    if (!ox_static(c, cond)) return false;
    c->out[o] = ox_map3(c, S_SELECT, ox_reshape(c, cond, 0, NULL), out[0][o], out[1][o]);
    if (!c->out[o]) return false;
  }
  return true;
}
