/* Where the executor's values lie: channels last wherever convolutions, pools and batch normalization meet element-wise nodes,
 * row-major elsewhere, copies between; and their memory, shared by lifetime. */
#include "trainer/exec_impl.h"

#include <assert.h>
#include <string.h>

bool lies_same(const Type *t) {
  int64_t spatial = 1;
  for (int i = 2; i < t->rank; i++) spatial *= t->d[i].n;
  return t->rank < 3 || t->d[1].n == 1 || spatial == 1;
}

/* Layouts */

typedef struct Classes { Exec *e; int *parent; bool *last, *rows; } Classes;

static int root(Classes *c, int i) {
  while (c->parent[i] != i) i = c->parent[i] = c->parent[c->parent[i]];
  return i;
}

static void join(Classes *c, const Node *a, const Node *b) {
  if (a->t.rank < 3 || !type_shape_eq(&a->t, &b->t)) return;
  int p = root(c, (int)a->id), q = root(c, (int)b->id);
  if (p == q) return;
  c->parent[p] = q;
  c->last[q] |= c->last[p];
  c->rows[q] |= c->rows[p];
}

static void want(Classes *c, const Node *n, bool last) { (last ? c->last : c->rows)[root(c, (int)n->id)] = true; }

static void node_wants(Classes *c, const Node *n) {
  const Match *m = &c->e->match[n->id];
  switch (m->kind) {
  case MATCH_CONV: case MATCH_CONV_GRAD_X: want(c, n, true), want(c, m->in[0], true), want(c, m->in[1], false); return;
  case MATCH_CONV_GRAD_W: want(c, n, false), want(c, m->in[0], true), want(c, m->in[1], true); return;
  case MATCH_POOL: case MATCH_POOL_GRAD: case MATCH_SUM_GRAD: want(c, n, true), want(c, m->in[0], true); return;
  default: break;
  }
  if (n->op == OP_BN_TRAIN) {
    want(c, n->in[0], true);
  } else if (fusable(n)) {
    for (int k = 0; k < n->n_in && n->op != OP_VIEW; k++) join(c, n, n->in[k]);
  } else if (n->op == OP_ARG ? n->a.index > 0 : n->op != OP_CONST) {
    want(c, n, false);
  }
}

static bool as_float(const Exec *e, const Node *n) {
  if (elem_eq(n->t.e, F32)) return true;
  if (e->match[n->id].kind) return true; /* sums of codes: matched only where they fit */
  return small_code(n->t.e);
}

void choose_lies(Exec *e) {
  const Graph *g = e->g;
  Arena *scratch = arena_new(e->ctx);
  Classes c = {e, NEWN(scratch, int, g->n_nodes + 1), NEWN(scratch, bool, g->n_nodes + 1), NEWN(scratch, bool, g->n_nodes + 1)};
  for (int i = 0; i < g->n_nodes; i++) c.parent[i] = i;
  for (int i = 0; i < g->n_nodes; i++) if (e->v[i].live) node_wants(&c, g->nodes[i]);
  for (int i = 0; i < g->n_nodes; i++) {
    int r = root(&c, i);
    bool last = c.last[r] && !c.rows[r] && !lies_same(&g->nodes[i]->t);
    bool given = g->nodes[i]->op == OP_CONST || (g->nodes[i]->op == OP_ARG && !elem_eq(g->nodes[i]->t.e, F32));
    e->v[i].lie = given ? LIE_STORED : !as_float(e, g->nodes[i]) ? LIE_STORED : last ? LIE_LAST : LIE_ROWS;
    if (e->v[i].lie == LIE_STORED && elem_eq(g->nodes[i]->t.e, F32)) e->v[i].lie = LIE_ROWS;
  }
  arena_free(scratch);
}

/* Copies */

bool lies_as(const Value *v, Lie lie) {
  if (v->lie == lie) return true;
  if (v->lie == LIE_STORED || lie == LIE_STORED) {
    Lie other = v->lie == LIE_STORED ? lie : v->lie;
    return elem_eq(v->t.e, F32) && (other == LIE_ROWS || lies_same(&v->t));
  }
  return lies_same(&v->t);
}

int value_copy(Exec *e, int value, Lie lie) {
  if (e->n_v == e->cap_v) {
    e->v = arena_grow(e->arena, e->v, sizeof *e->v * (size_t)e->cap_v, sizeof *e->v * (size_t)e->cap_v * 2);
    e->cap_v *= 2;
  }
  int copy = e->n_v++;
  e->v[copy] = e->v[value];
  e->v[copy].lie = lie;
  e->v[copy].alias = -1;
  e->v[copy].data = NULL;
  e->v[copy].kept = true;
  e->v[copy].step = e->steps.n;
  for (int i = 0; i < LIE_COUNT; i++) e->v[copy].as[i] = -1;
  e->v[value].as[lie] = copy;
  return copy;
}

int value_as(Exec *e, int value, Lie lie) {
  if (lies_as(&e->v[value], lie)) return value;
  if (e->v[value].as[lie] >= 0) return e->v[value].as[lie];
  int copy = value_copy(e, value, lie);
  vec_push(e->arena, &e->steps, ((Step){.kind = STEP_LIE, .in = {value, -1}, .out = {copy, -1}}));
  return copy;
}

int group_operand(Exec *e, const Node *n, int k, bool last, Read *r, bool add) {
  const Node *x = n->in[k];
  int id = (int)x->id;
  Type t;
  if (n->op == OP_VIEW) { /* dimensions are put in place first */
    view_spreads(n, &t);
    id = add ? value_as(e, id, LIE_ROWS) : lies_as(&e->v[id], LIE_ROWS) ? id : e->v[id].as[LIE_ROWS];
    return read_pattern(&n->t, last, &t, false, r) ? id : -1;
  }
  if (elem_eq(x->t.e, F64)) return read_pattern(&n->t, last, &x->t, false, r) ? id : -1; /* a constant scale */
  for (int pass = 0; pass < 2; pass++) { /* as it lies; then as the loop does */
    Lie lie = pass ? (last ? LIE_LAST : LIE_ROWS) : e->v[id].lie == LIE_STORED ? LIE_ROWS : e->v[id].lie;
    if (!read_pattern(&n->t, last, &x->t, lie == LIE_LAST, r)) continue;
    if (lies_as(&e->v[id], lie)) return id;
    return add ? value_as(e, id, lie) : e->v[id].as[lie];
  }
  return -1;
}

void lie_move(const Type *t, const float *x, float *y, bool to_last) {
  int64_t c = t->d[1].n, spatial = 1;
  for (int i = 2; i < t->rank; i++) spatial *= t->d[i].n;
  for (int64_t n = 0; n < t->d[0].n; n++, x += c * spatial, y += c * spatial)
    for (int64_t i = 0; i < c; i++)
      for (int64_t s = 0; s < spatial; s++) {
        if (to_last) y[s * c + i] = x[i * spatial + s];
        else y[i * spatial + s] = x[s * c + i];
      }
}

void lie_run(const Value *from, Value *to) {
  bool moves = (from->lie == LIE_LAST) != (to->lie == LIE_LAST) && !lies_same(&from->t);
  if (elem_eq(from->t.e, F32) || (from->lie != LIE_STORED && to->lie != LIE_STORED)) {
    if (moves) lie_move(&from->t, from->data, to->data, to->lie == LIE_LAST);
    else memcpy(to->data, from->data, (size_t)from->count * sizeof(float));
    return;
  }
  Tensor stored = {.t = from->t, .n = from->count, .st = elem_store(from->t.e), .data = from->lie == LIE_STORED ? from->data : to->data};
  Value *f = from->lie == LIE_STORED ? to : (Value *)(uintptr_t)from;
  float *x = f->data;
  int64_t c = moves ? from->t.d[1].n : 1, spatial = 1;
  for (int i = 2; moves && i < from->t.rank; i++) spatial *= from->t.d[i].n;
  for (int64_t i = 0; i < from->count; i++) {
    int64_t k = i % (c * spatial), at = i - k + k / spatial + k % spatial * c; /* i is row-major */
    if (!moves) at = i;
    if (from->lie == LIE_STORED) x[at] = (float)tensor_i(&stored, i);
    else tensor_set_i(&stored, i, (int64_t)x[at]);
  }
}

/* Memory */

static size_t bytes_of(const Value *v) { return ((size_t)v->count * (v->lie == LIE_STORED ? store_size(elem_store(v->t.e)) : sizeof(float)) + 63) / 64 * 64; }

static int owner(const Exec *e, int v) {
  while (e->v[v].alias >= 0) v = e->v[v].alias;
  return v;
}

static void read_at(const Exec *e, int *until, int value, int step) {
  if (value < 0) return;
  int o = owner(e, value);
  if (step > until[o]) until[o] = step;
}

bool step_once(const Exec *e, const Step *s) {
  return s->kind == STEP_LIE && s->in[0] < e->g->n_nodes && node_is_const(e->g->nodes[s->in[0]]);
}

enum { APART = 576 }; /* bytes between buffers: those of a power of two would meet in the same sets of a cache */

/* Greedy, in one block: at each step its outputs take the buffers that became free last, whose lines are still in a cache; then those whose last reader it was become free. */
void assign_memory(Exec *e) {
  Arena *scratch = arena_new(e->ctx);
  int *until = NEWN(scratch, int, e->n_v);
  struct Buffer { size_t at, size; int user, since; } *buf = NEWN(scratch, struct Buffer, e->n_v + 1);
  int n_buf = 0, *in = NEWN(scratch, int, e->n_v);
  size_t total = 0;
  for (int v = 0; v < e->n_v; v++) in[v] = -1;
  for (int s = 0; s < e->steps.n; s++) {
    const Step *st = &e->steps.p[s];
    for (int k = 0; k < 2; k++) read_at(e, until, st->in[k], s);
    for (int k = 0; k < st->n_operand; k++) read_at(e, until, st->operand[k], s);
    for (int i = 0; i < st->nodes.n; i++) {
      const Node *n = e->g->nodes[st->nodes.p[i]];
      for (int k = 0; st->kind == STEP_FUSE && k < n->n_in; k++) {
        read_at(e, until, (int)n->in[k]->id, s);
        for (int l = 0; l < LIE_COUNT; l++) read_at(e, until, e->v[n->in[k]->id].as[l], s);
      }
    }
  }
  for (int i = 0; i < e->g->n_outs; i++) read_at(e, until, e->outs[i], e->steps.n);
  for (int s = 0; s < e->steps.n; s++) { /* copies of constants are made once: memory of their own */
    Value *x = &e->v[e->steps.p[s].kind == STEP_LIE ? e->steps.p[s].out[0] : 0];
    if (!step_once(e, &e->steps.p[s])) continue;
    x->data = arena_aligned(e->arena, bytes_of(x));
  }
  for (int s = 0; s < e->steps.n; s++) {
    for (int v = 0; v < e->n_v; v++) {
      Value *x = &e->v[v];
      if (!x->live || !x->kept || x->step != s || x->alias >= 0 || step_once(e, &e->steps.p[s])) continue;
      size_t need = bytes_of(x);
      int best = -1;
      for (int b = 0; b < n_buf; b++) if (buf[b].user < 0 && buf[b].size >= need && buf[b].size <= 2 * need + 4096 && (best < 0 || buf[b].since > buf[best].since)) best = b;
      if (best < 0) buf[best = n_buf++] = (struct Buffer){total, need, -1, s}, total += need + APART;
      buf[best].user = v;
      in[v] = best;
    }
    for (int b = 0; b < n_buf; b++) if (buf[b].user >= 0 && until[buf[b].user] <= s) buf[b].user = -1, buf[b].since = s;
  }
  char *all = arena_aligned(e->arena, total);
  for (int v = 0; v < e->n_v; v++) if (in[v] >= 0) e->v[v].data = all + buf[in[v]].at;
  for (int v = 0; v < e->n_v; v++) if (e->v[v].alias >= 0) e->v[v].data = e->v[owner(e, v)].data;
  arena_free(scratch);
}
