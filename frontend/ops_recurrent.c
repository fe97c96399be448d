/* LSTM, GRU and RNN, unrolled: one product of all steps' inputs, then the equations of the ONNX reference for each step.
 * T steps, B samples, I inputs, H cells, G gates (rows of W, R: LSTM i o f c, GRU z r h); f, g, h are the activations. */
#include "frontend/import.h"

#include <string.h>
#include <strings.h>

enum { STEPS_MAX = 4096 };

typedef struct Rnn {
  OpCall *c;
  int gates;
  int64_t T, B, I, H;
  const char *act[3];      /* formulas of f, g, h, of the direction at hand */
  double clip;             /* 0: none */
  Node *lens;              /* [B, 1] steps of each sample, i64; NULL: all T */
  Node *xw, *r, *b, *p;    /* of the direction: [T, B, G*H], [H, G*H], [2*G*H] or NULL, [3*H] or NULL */
  bool reset_after;        /* GRU: linear_before_reset */
  bool coupled;            /* LSTM: input_forget */
} Rnn;

static const struct { const char *name, *formula; } activations[] = {
  {"Sigmoid", "1  x neg exp 1 add  div"}, {"Tanh", "x tanh"}, {"Relu", "x 0 max"}, {"Softsign", "x  x abs 1 add  div"},
  {"HardSigmoid", "x 0.2 mul 0.5 add 1 min 0 max"}, {"Softplus", "x 0 max  x abs neg exp 1 add log  add"}};

/* The activations of direction d, from the attribute or the operator's own. */
static bool find_activations(Rnn *r, int d, int n, const char *const *own) {
  const Onnx__AttributeProto *a = ox_attr(r->c, "activations");
  if (ox_attr(r->c, "activation_alpha") || ox_attr(r->c, "activation_beta")) return ox_fail(r->c, E0302, "activations with parameters");
  for (int i = 0; i < n; i++) {
    size_t k = 0, at = (size_t)(d * n + i);
    const char *name = own[i];
    if (a) {
      if (at >= a->n_strings) return ox_fail(r->c, E0204, "activations has %zu entries, %d are needed for each direction", a->n_strings, n);
      name = arena_strndup(r->c->g->arena, (const char *)a->strings[at].data, a->strings[at].len);
    }
    while (k < sizeof activations / sizeof *activations && strcasecmp(activations[k].name, name)) k++;
    if (k == sizeof activations / sizeof *activations) return ox_fail(r->c, E0302, "activation %.40s", name);
    r->act[i] = activations[k].formula;
  }
  return true;
}

static Node *part(Rnn *r, Node *x, int axis, int64_t start, int64_t n) { return x ? node_slice(r->c->g, x, axis, start, 1, n) : NULL; }
static Node *gate(Rnn *r, Node *x, int k) { return part(r, x, x ? x->t.rank - 1 : 0, k * r->H, r->H); }
static Node *add(Rnn *r, Node *a, Node *b) { return b ? ox_map2(r->c, S_ADD, a, b) : a; }
static Node *mul(Rnn *r, Node *a, Node *b) { return ox_map2(r->c, S_MUL, a, b); }

static Node *activate(Rnn *r, int k, Node *x) {
  if (x && r->clip > 0) x = ox_map2(r->c, S_MIN, ox_map2(r->c, S_MAX, x, ox_num(r->c, x->t.e, -r->clip)), ox_num(r->c, x->t.e, r->clip));
  return x ? ox_formula(r->c, r->act[k], &x, 0) : NULL;
}

/* h . R of n gates from gate k on. */
static Node *product(Rnn *r, Node *h, int k, int n) {
  Node *w = part(r, r->r, 1, k * r->H, n * r->H);
  return h && w ? node_matmul(r->c->g, h, w, h->t.e) : NULL;
}

/* Wb + Rb. */
static Node *both_biases(Rnn *r) {
  int64_t n = r->gates * r->H;
  return r->b ? ox_fold(r->c, ox_map2(r->c, S_ADD, part(r, r->b, 0, 0, n), part(r, r->b, 0, n, n))) : NULL;
}

static bool rnn_step(Rnn *r, Node *x, Node **h, Node **c) {
  (void)c;
  *h = activate(r, 0, add(r, add(r, x, product(r, *h, 0, 1)), both_biases(r)));
  return *h != NULL;
}

static bool lstm_step(Rnn *r, Node *x, Node **h, Node **c) {
  Node *z = add(r, add(r, x, product(r, *h, 0, 4)), both_biases(r)), *i = gate(r, z, 0), *o = gate(r, z, 1), *f = gate(r, z, 2);
  if (!z) return false;
  if (r->p) i = add(r, i, mul(r, gate(r, r->p, 0), *c)), f = add(r, f, mul(r, gate(r, r->p, 2), *c));
  i = activate(r, 0, i);
  f = r->coupled && i ? ox_map2(r->c, S_SUB, ox_num(r->c, i->t.e, 1), i) : activate(r, 0, f);
  *c = add(r, mul(r, f, *c), mul(r, i, activate(r, 1, gate(r, z, 3))));
  if (!*c) return false;
  if (r->p) o = add(r, o, mul(r, gate(r, r->p, 1), *c));
  Rnn plain = *r; /* the cell itself is not clipped */
  plain.clip = 0;
  *h = mul(r, activate(r, 0, o), activate(&plain, 2, *c));
  return *h != NULL;
}

static bool gru_step(Rnn *r, Node *x, Node **h, Node **c) {
  int64_t n = 3 * r->H;
  Node *wb = part(r, r->b, 0, 0, n), *rb = part(r, r->b, 0, n, n), *zr = part(r, x, x->t.rank - 1, 0, 2 * r->H), *hh = gate(r, x, 2);
  (void)c;
  zr = add(r, zr, product(r, *h, 0, 2));
  if (r->b) zr = add(r, zr, ox_fold(r->c, ox_map2(r->c, S_ADD, part(r, wb, 0, 0, 2 * r->H), part(r, rb, 0, 0, 2 * r->H))));
  if (!zr) return false;
  Node *z = activate(r, 0, gate(r, zr, 0)), *reset = activate(r, 0, gate(r, zr, 1)), *y;
  if (r->reset_after) y = mul(r, reset, add(r, product(r, *h, 2, 1), r->b ? gate(r, rb, 2) : NULL));
  else y = add(r, product(r, mul(r, reset, *h), 2, 1), r->b ? gate(r, rb, 2) : NULL);
  hh = activate(r, 1, add(r, add(r, hh, r->b ? gate(r, wb, 2) : NULL), y));
  Node *keep = z ? ox_map2(r->c, S_SUB, ox_num(r->c, z->t.e, 1), z) : NULL;
  *h = add(r, mul(r, keep, hh), mul(r, z, *h));
  return *h != NULL;
}

typedef bool Step(Rnn *, Node *x, Node **h, Node **c);

/* All steps of a direction: ys[t] is [B, H]; h and c go from first to last. */
static bool run_steps(Rnn *r, Step *step, bool backwards, Node **ys, Node **h, Node **c) {
  for (int64_t k = 0; k < r->T; k++) {
    int64_t t = backwards ? r->T - 1 - k : k;
    Node *x = ox_reshape(r->c, part(r, r->xw, 0, t, 1), 2, (int64_t[]){r->B, r->gates * r->H}), *h0 = *h, *c0 = *c;
    if (!x || !step(r, x, h, c)) return false;
    ys[t] = *h;
    if (!r->lens) continue;
    Node *on = ox_map2(r->c, S_LT, node_const_i(r->c->g, I64, t), r->lens);
    ys[t] = ox_map3(r->c, S_SELECT, on, *h, ox_num(r->c, (*h)->t.e, 0));
    *h = ox_map3(r->c, S_SELECT, on, *h, h0);
    if (*c) *c = ox_map3(r->c, S_SELECT, on, *c, c0);
    if (!ys[t] || !*h) return false;
  }
  return true;
}

/* Direction d of an operand [D, ..]. */
static Node *of_direction(Rnn *r, int k, int d) {
  Node *x = ox_in(r->c, k);
  int64_t dims[MAX_RANK];
  if (!x) return NULL;
  for (int i = 1; i < x->t.rank; i++) dims[i - 1] = x->t.d[i].n;
  return ox_fold(r->c, ox_reshape(r->c, part(r, x, 0, d, 1), x->t.rank - 1, dims));
}

static bool shaped(Rnn *r, int k, const char *what, int rank, int64_t a, int64_t b, int64_t c) {
  Node *x = ox_in(r->c, k);
  int64_t want[3] = {a, b, c};
  if (!x) return true;
  bool ok = x->t.rank == rank;
  for (int i = 0; ok && i < rank; i++) ok = !x->t.d[i].sym && x->t.d[i].n == want[i];
  return ok || ox_fail(r->c, E0207, "%s does not have the shape that the other operands give", what);
}

/* Operands, shapes, and X in the order [T, B, I]. */
static bool open_rnn(Rnn *r, bool batch_first, int directions, Node **x) {
  static const int swap[] = {1, 0, 2};
  OpCall *c = r->c;
  *x = c->in[0];
  if ((*x)->t.rank != 3 || c->in[1]->t.rank != 3) return ox_fail(c, E0207, "X and W have rank 3");
  for (int i = 0; i < c->n_in; i++) if (c->in[i] && !ox_static(c, c->in[i])) return false;
  if (batch_first && !(*x = ox_transpose(c, *x, swap))) return false;
  r->T = (*x)->t.d[0].n, r->B = (*x)->t.d[1].n, r->I = (*x)->t.d[2].n;
  r->H = c->in[1]->t.d[1].n / r->gates;
  int64_t n = r->gates * r->H, given = ox_int(c, "hidden_size"), s0 = batch_first ? r->B : directions, s1 = batch_first ? directions : r->B;
  if (given && given != r->H) return ox_fail(c, E0204, "hidden_size is %lld, W has %lld", (long long)given, (long long)r->H);
  if (r->T < 1 || r->T > STEPS_MAX) return ox_fail(c, E0402, "%lld steps; from 1 to %d are unrolled", (long long)r->T, STEPS_MAX);
  if (!shaped(r, 1, "W", 3, directions, n, r->I) || !shaped(r, 2, "R", 3, directions, n, r->H) || !shaped(r, 3, "B", 2, directions, 2 * n, 0) ||
      !shaped(r, 4, "sequence_lens", 1, r->B, 0, 0) || !shaped(r, 5, "initial_h", 3, s0, s1, r->H)) return false;
  if (r->gates == 4 && (!shaped(r, 6, "initial_c", 3, s0, s1, r->H) || !shaped(r, 7, "P", 2, directions, 3 * r->H, 0))) return false;
  if (ox_in(c, 4)) r->lens = ox_reshape(c, ox_cast(c, c->in[4], I64), 2, (int64_t[]){r->B, 1});
  r->clip = ox_attr(c, "clip") ? ox_float(c, "clip") : 0;
  for (int k = 5; batch_first && k < 7 && k < c->n_in; k++)
    if (c->in[k] && !(c->in[k] = ox_transpose(c, c->in[k], swap))) return false;
  return true;
}

/* A state [B, H] at first. */
static Node *first_state(Rnn *r, int k, int d) {
  Elem e = r->c->in[0]->t.e;
  return ox_in(r->c, k) ? of_direction(r, k, d) : ox_broadcast_to(r->c, ox_num(r->c, e, 0), 2, (int64_t[]){r->B, r->H});
}

/* [D, B, H] of the directions' last states, or [B, D, H]. */
static Node *states(Rnn *r, Node *const *last, int directions, bool batch_first) {
  Node *v[2];
  for (int d = 0; d < directions; d++)
    if (!last[d] || !(v[d] = ox_reshape(r->c, last[d], 3, (int64_t[]){batch_first ? r->B : 1, batch_first ? 1 : r->B, r->H}))) return NULL;
  return directions == 1 ? v[0] : node_concat(r->c->g, 2, v, batch_first ? 1 : 0);
}

/* [T, D, B, H], or [B, T, D, H]. */
static Node *sequence(Rnn *r, Node **const *ys, int directions, bool batch_first) {
  static const int perm[] = {2, 0, 1, 3};
  Node **v = NEWN(r->c->g->arena, Node *, r->T * directions + 1);
  for (int64_t t = 0; t < r->T; t++)
    for (int d = 0; d < directions; d++)
      if (!(v[t * directions + d] = ox_reshape(r->c, ys[d][t], 3, (int64_t[]){1, r->B, r->H}))) return NULL;
  Node *y = r->T * directions == 1 ? v[0] : node_concat(r->c->g, (int)(r->T * directions), v, 0);
  y = ox_reshape(r->c, y, 4, (int64_t[]){r->T, directions, r->B, r->H});
  return batch_first ? ox_transpose(r->c, y, perm) : y;
}

bool op_recurrent(OpCall *c) {
  static const struct { const char *name; int gates, acts; Step *step; const char *own[3]; } kinds[] = {
    {"RNN", 1, 1, rnn_step, {"Tanh"}}, {"LSTM", 4, 3, lstm_step, {"Sigmoid", "Tanh", "Tanh"}}, {"GRU", 3, 2, gru_step, {"Sigmoid", "Tanh"}}};
  int k = 0;
  while (strcmp(kinds[k].name, c->row->how)) k++;
  const char *dir = ox_str(c, "direction");
  bool both = !strcmp(dir, "bidirectional"), backwards = !strcmp(dir, "reverse"), batch_first = ox_int(c, "layout") != 0, lstm = kinds[k].gates == 4;
  int directions = both ? 2 : 1;
  if (!both && !backwards && strcmp(dir, "forward")) return ox_fail(c, E0204, "direction is '%.40s'", dir);
  Rnn r = {.c = c, .gates = kinds[k].gates};
  r.reset_after = !lstm && r.gates == 3 && ox_int(c, "linear_before_reset");
  r.coupled = lstm && ox_int(c, "input_forget");
  Node *x, **ys[2], *h[2] = {NULL, NULL}, *cell[2] = {NULL, NULL};
  if (!open_rnn(&r, batch_first, directions, &x)) return false;
  if (r.T * directions > STEPS_MAX) return ox_fail(c, E0402, "%lld steps of both directions; up to %d are unrolled", (long long)r.T, STEPS_MAX);
  for (int d = 0; d < directions; d++) {
    Node *w = ox_transpose(c, of_direction(&r, 1, d), (int[]){1, 0});
    if (!w || !find_activations(&r, d, kinds[k].acts, kinds[k].own)) return false;
    r.xw = node_matmul(c->g, x, w, x->t.e);
    r.r = ox_transpose(c, of_direction(&r, 2, d), (int[]){1, 0});
    r.b = of_direction(&r, 3, d);
    r.p = lstm ? of_direction(&r, 7, d) : NULL;
    h[d] = first_state(&r, 5, d);
    cell[d] = lstm ? first_state(&r, 6, d) : NULL;
    ys[d] = NEWN(c->g->arena, Node *, r.T + 1);
    if (!r.xw || !r.r || !h[d] || !run_steps(&r, kinds[k].step, backwards || d == 1, ys[d], &h[d], &cell[d])) return false;
  }
  for (int o = 0; o < c->n_out; o++) {
    c->out[o] = o == 0 ? sequence(&r, ys, directions, batch_first) : states(&r, o == 1 ? h : cell, directions, batch_first);
    if (!c->out[o]) return false;
  }
  return true;
}
