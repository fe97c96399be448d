/* Planning and running. Each node of the graph that exec_spell.c leaves becomes a step, joins a group of element-wise nodes, or is
 * another's memory:
 *
 *   contract, pool      ── exec_match.c ──> STEP_DNN        add-reduce ──> part of a group, or STEP_SUM        reshape ──> an alias
 *   map quant dequant   ── exec_fuse.c  ──> STEP_FUSE       bn_train's statistics ──> STEP_STATS (exec_sum.c)
 *                                                           what is left ──> STEP_EVAL, by eval's function
 *
 * between them STEP_LIE where a value must lie otherwise (exec_lie.c). Nodes are taken in order, but element-wise ones and reshapes only
 * when a step needs them (plan_tree): so the derivative of a ReLU is computed where it is used, not where x is. */
#include "trainer/exec_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Planning */

static void mark(Exec *e, const Node *n) { e->v[n->id].live = true; }

static DnnOp *matched_op(Exec *e, const Match *m) {
  switch (m->kind) {
  case MATCH_CONV: return dnn_conv_forward(e->dnn, &m->conv, false, false);
  case MATCH_CONV_GRAD_X: return dnn_conv_grad_x(e->dnn, &m->conv);
  case MATCH_CONV_GRAD_W: return dnn_conv_grad_w(e->dnn, &m->conv, false);
  case MATCH_PRODUCT: return dnn_matmul(e->dnn, &m->product);
  case MATCH_POOL: return dnn_pool_forward(e->dnn, &m->pool);
  case MATCH_POOL_GRAD: case MATCH_SUM_GRAD: case MATCH_NONE: break;
  }
  return dnn_pool_grad(e->dnn, &m->pool);
}

/* Matches a node and makes its operation; what oneDNN refuses is left to eval, and its diagnostic dropped. */
static void match(Exec *e, const Node *n) {
  Match *m = &e->match[n->id];
  if (e->op[n->id] || (n->op == OP_RESHAPE && e->uses[n->in[0]->id] > 1)) return;
  if (exact_sum(e, n->op == OP_RESHAPE ? n->in[0] : n)) return;
  *m = match_node(e->g, n);
  if (m->kind == MATCH_POOL_GRAD) match(e, m->forward); /* its workspace */
  if (m->kind == MATCH_POOL_GRAD && !e->op[m->forward->id]) m->kind = MATCH_NONE;
  if (!m->kind) return;
  DiagMark before = diag_mark(e->ctx);
  if ((e->op[n->id] = matched_op(e, m))) return;
  m->kind = MATCH_NONE;
  diag_drop(e->ctx, before);
}

/* From the outputs back. A matched gradient of a pool reads the pool, not its locate. */
static void mark_live(Exec *e) {
  const Graph *g = e->g;
  for (int i = 0; i < g->n_outs; i++) mark(e, g->outs[i].v);
  for (int i = g->n_nodes - 1; i >= 0; i--) {
    const Node *n = g->nodes[i];
    if (!e->v[i].live) continue;
    match(e, n);
    const Match *m = &e->match[i];
    if (m->kind) mark(e, m->in[0]), mark(e, m->kind == MATCH_POOL_GRAD ? m->forward : m->in[1] ? m->in[1] : m->in[0]);
    else for (int k = 0; k < n->n_in; k++) mark(e, n->in[k]);
  }
}

static Step *step_add(Exec *e, StepKind kind, const Node *n) {
  Step s = {.kind = kind, .in = {-1, -1}, .out = {-1, -1}};
  if (n) vec_push(e->arena, &s.nodes, (int)n->id);
  if (n) e->v[n->id].step = e->steps.n;
  vec_push(e->arena, &e->steps, s);
  return &e->steps.p[e->steps.n - 1];
}

/* Where a step puts a node's value that it makes in one layout: the value itself, or a copy that is then moved into it. */
static int result_in(Exec *e, const Node *n, Lie lie) {
  return lies_as(&e->v[n->id], lie) ? (int)n->id : value_copy(e, (int)n->id, lie);
}
static void finish_in(Exec *e, const Node *n, int made) {
  if (made == (int)n->id) return;
  e->v[made].step = e->steps.n - 1;
  e->v[n->id].step = e->steps.n;
  vec_push(e->arena, &e->steps, ((Step){.kind = STEP_LIE, .in = {made, -1}, .out = {(int)n->id, -1}}));
}

/* Element-wise groups */

static bool group_takes(Exec *e, int at, const Node *n, bool last) {
  const Step *s = &e->steps.p[at];
  Read r;
  if (s->kind != STEP_FUSE || s->last != last) return false;
  if (!type_shape_eq(&e->g->nodes[s->nodes.p[0]]->t, &n->t)) return false;
  for (int k = 0; k < n->n_in; k++) {
    if (e->v[n->in[k]->id].step == at && group_member(s, (int)n->in[k]->id)) continue;
    int v = group_operand(e, n, k, last, &r, false);
    if (v < 0 || e->v[v].step >= at) return false;
  }
  return true;
}

static bool plan_fuse(Exec *e, const Node *n) {
  bool last = e->v[n->id].lie == LIE_LAST;
  Read r;
  int earliest = e->from;
  if (!fusable(n) || e->v[n->id].lie == LIE_STORED) return false;
  for (int k = 0; k < n->n_in; k++) {
    Read whole;
    const Node *x = n->in[k];
    Type t = x->t;
    if (n->op == OP_VIEW) view_spreads(n, &t);
    bool any = read_pattern(&n->t, last, &t, false, &whole) || (n->op != OP_VIEW && read_pattern(&n->t, last, &t, last, &whole));
    if (!any || (elem_eq(x->t.e, I32) && e->v[x->id].lie == LIE_STORED)) return false;
    if (e->v[x->id].step > earliest) earliest = e->v[x->id].step;
  }
  for (int at = earliest; at < e->steps.n; at++)
    if (group_takes(e, at, n, last)) {
      vec_push(e->arena, &e->steps.p[at].nodes, (int)n->id);
      e->v[n->id].step = at;
      return true;
    }
  for (int k = 0; k < n->n_in; k++) if (group_operand(e, n, k, last, &r, true) < 0) return false;
  step_add(e, STEP_FUSE, n)->last = last;
  return true;
}

/* oneDNN */

static int step_of(const Exec *e, const Node *n) { /* the step whose node it is, past a step that only moves it */
  for (int s = 0; s < e->steps.n; s++)
    for (int i = 0; i < e->steps.p[s].nodes.n; i++) if (e->steps.p[s].nodes.p[i] == (int)n->id) return s;
  return -1;
}

static bool plan_match(Exec *e, const Node *n) {
  const Match m = e->match[n->id];
  bool product = m.kind == MATCH_PRODUCT, weights = m.kind == MATCH_CONV || m.kind == MATCH_CONV_GRAD_X;
  if (!m.kind) return false;
  int x = value_as(e, (int)m.in[0]->id, product ? LIE_ROWS : LIE_LAST), w = -1;
  if (m.kind < MATCH_POOL) w = value_as(e, (int)m.in[1]->id, product || weights ? LIE_ROWS : LIE_LAST);
  int y = result_in(e, n, product || m.kind == MATCH_CONV_GRAD_W ? LIE_ROWS : LIE_LAST);
  DnnOp *op = e->op[n->id];
  Step *s = step_add(e, STEP_DNN, n);
  s->match = m, s->op = op, s->in[0] = x, s->in[1] = w, s->out[0] = y;
  if (m.kind == MATCH_POOL && dnn_workspace(op)) s->ws = arena_aligned(e->arena, dnn_workspace(op));
  if (m.kind == MATCH_POOL_GRAD) s->ws = e->steps.p[step_of(e, m.forward)].ws;
  finish_in(e, n, y);
  return true;
}

/* The statistics of one value are one step. */
static bool plan_stats(Exec *e, const Node *n) {
  if (n->op != OP_BN_TRAIN || !n->a.flag) return false;
  int x = value_as(e, (int)n->in[0]->id, LIE_LAST), to = n->a.flag - 1, at = 0;
  int64_t c = n->t.d[0].n;
  while (at < e->steps.n && (e->steps.p[at].kind != STEP_STATS || e->steps.p[at].in[0] != x)) at++;
  if (at < e->steps.n && e->steps.p[at].out[to] >= 0) return false; /* of another epsilon, which does not matter here: exec_spell has no such */
  if (at == e->steps.n) {
    Step *s = step_add(e, STEP_STATS, NULL);
    s->in[0] = x;
    s->scratch = arena_aligned(e->arena, (size_t)(4 * c) * sizeof(double) + (size_t)(2 * sum_width(c)) * sizeof(float));
  }
  e->steps.p[at].out[to] = (int)n->id;
  vec_push(e->arena, &e->steps.p[at].nodes, (int)n->id);
  e->v[n->id].step = at;
  return true;
}

/* The rest */

static bool plan_sum(Exec *e, const Node *n) {
  Sum s;
  int id = n->n_in ? (int)n->in[0]->id : -1;
  if (n->op != OP_REDUCE || !elem_eq(n->t.e, F32) || e->v[n->id].lie == LIE_LAST || exact_sum(e, n)) return false;
  Lie lie = e->v[id].lie;
  int at = e->v[id].step;
  if (at >= 0 && fuse_sums(e, n, &e->steps.p[at], &s)) {
    vec_push(e->arena, &e->steps.p[at].sums, (int)n->id);
    e->v[n->id].step = at;
    return true;
  }
  if (!sum_match(n, lie == LIE_LAST, &s)) {
    if (lie != LIE_LAST || !sum_match(n, false, &s)) return false;
    lie = LIE_ROWS;
  }
  int x = value_as(e, id, lie == LIE_STORED ? LIE_ROWS : lie);
  Step *st = step_add(e, STEP_SUM, n);
  st->in[0] = x, st->out[0] = (int)n->id;
  st->sum = NEW(e->arena, Sum);
  *st->sum = s;
  st->scratch = arena_aligned(e->arena, (size_t)s.out * sizeof(double) + (size_t)(s.out + 1024) * sizeof(float)); /* sum_width(c) <= out + 1024 */
  return true;
}

static bool plan_alias(Exec *e, const Node *n) {
  if (n->op != OP_RESHAPE || e->v[n->id].lie == LIE_LAST) return false;
  int x = value_as(e, (int)n->in[0]->id, e->v[n->id].lie);
  e->v[n->id].alias = x;
  e->v[n->id].step = e->v[x].step;
  return true;
}

static bool plan_eval(Exec *e, const Node *n) {
  int *in = NEWN(e->arena, int, n->n_in + 1);
  for (int k = 0; k < n->n_in; k++) in[k] = value_as(e, (int)n->in[k]->id, LIE_STORED);
  int y = result_in(e, n, LIE_STORED);
  Step *s = step_add(e, STEP_EVAL, n);
  s->operand = in, s->n_operand = n->n_in;
  s->out[0] = y;
  finish_in(e, n, y);
  return true;
}

static bool plan_node(Exec *e, const Node *n) {
  int errors = e->ctx->n_errors;
  if (n->op == OP_ARG || n->op == OP_CONST) return true;
  bool done = plan_match(e, n) || (e->ctx->n_errors == errors && (plan_stats(e, n) || plan_alias(e, n) || plan_fuse(e, n) || plan_sum(e, n)));
  return done || (e->ctx->n_errors == errors && plan_eval(e, n));
}

static bool waits(const Exec *e, const Node *n) { return !e->match[n->id].kind && (n->op == OP_RESHAPE || fusable(n)); }

typedef struct Waiting { int64_t count; int id; } Waiting;

static int by_size(const void *a, const void *b) {
  const Waiting *x = a, *y = b;
  return x->count != y->count ? (x->count < y->count ? -1 : 1) : x->id < y->id ? -1 : x->id > y->id;
}

static int what_it_reads(const Exec *e, const Node *n, const Node *const **in) {
  const Match *m = &e->match[n->id];
  *in = m->kind ? m->in : (const Node *const *)n->in;
  return m->kind ? 1 + (m->in[1] != NULL) : n->n_in;
}

/* Plans a node after the nodes that waited for it, which form one loop where they can: none begins before all they read is there. What is
 * element-wise reads nothing larger than itself, so the smaller come first, and those of one size begin after them. */
static bool plan_tree(Exec *e, const Node *root) {
  VEC(Waiting) tree = {0};
  const Node *n = root;
  bool ok = true;
  e->from = 0;
  if (!e->waiting[root->id]) return true;
  e->waiting[root->id] = false;
  for (int i = 0; n; n = i < tree.n ? e->g->nodes[tree.p[i].id] : NULL, i++) {
    const Node *const *in;
    int n_in = what_it_reads(e, n, &in);
    for (int k = 0; k < n_in; k++) {
      int x = (int)in[k]->id;
      if (e->waiting[x]) vec_push(e->arena, &tree, ((Waiting){e->v[x].count, x}));
      else if (e->v[x].step > e->from) e->from = e->v[x].step;
      e->waiting[x] = false;
    }
  }
  if (tree.n) qsort(tree.p, (size_t)tree.n, sizeof *tree.p, by_size);
  int last = e->from;
  for (int i = 0; ok && i < tree.n; i++) {
    if (i && tree.p[i].count > tree.p[i - 1].count) e->from = last;
    ok = plan_node(e, e->g->nodes[tree.p[i].id]);
    if (e->v[tree.p[i].id].step > last) last = e->v[tree.p[i].id].step;
  }
  return ok && plan_node(e, root);
}

/* What another step than its own reads, or the caller, has memory. */
static void mark_kept(Exec *e) {
  for (int s = 0; s < e->steps.n; s++) {
    const Step *st = &e->steps.p[s];
    for (int k = 0; k < 2; k++) {
      if (st->in[k] >= 0) e->v[st->in[k]].kept = true;
      if (st->out[k] >= 0) e->v[st->out[k]].kept = true;
    }
    for (int k = 0; k < st->sums.n; k++) e->v[st->sums.p[k]].kept = true;
    for (int k = 0; k < st->n_operand; k++) e->v[st->operand[k]].kept = true;
    if (st->kind != STEP_FUSE) continue;
    for (int i = 0; i < st->nodes.n; i++) {
      const Node *n = e->g->nodes[st->nodes.p[i]];
      Read r;
      for (int k = 0; k < n->n_in; k++) {
        int v = group_operand(e, n, k, st->last, &r, false);
        if (v >= 0 && (e->v[v].step != s || v >= e->g->n_nodes)) e->v[v].kept = true;
      }
    }
  }
  for (int i = 0; i < e->g->n_outs; i++) e->v[e->outs[i]].kept = true;
  for (int v = e->n_v - 1; v >= 0; v--) if (e->v[v].kept && e->v[v].alias >= 0) e->v[e->v[v].alias].kept = true;
}

Exec *exec_new_as(Ctx *ctx, Dnn *dnn, const Graph *given, const ExecOptions *o) {
  Graph *g = exec_spell(given);
  if (!g) return NULL;
  Arena *arena = arena_new(ctx);
  Exec *e = NEW(arena, Exec);
  *e = (Exec){.ctx = ctx, .arena = arena, .dnn = dnn, .g = g, .loops = loops_best(), .o = *o, .n_v = g->n_nodes, .cap_v = 2 * g->n_nodes + 16};
  e->v = NEWN(arena, Value, e->cap_v);
  e->match = NEWN(arena, Match, g->n_nodes + 1);
  e->op = NEWN(arena, DnnOp *, g->n_nodes + 1);
  e->outs = NEWN(arena, int, g->n_outs + 1);
  e->uses = NEWN(arena, int, g->n_nodes + 1);
  for (int i = 0; i < g->n_nodes; i++) for (int k = 0; k < g->nodes[i]->n_in; k++) e->uses[g->nodes[i]->in[k]->id]++;
  for (int i = 0; i < g->n_outs; i++) e->uses[g->outs[i].v->id]++;
  bool ok = true;
  for (int i = 0; i < g->n_nodes; i++) {
    e->v[i] = (Value){.t = g->nodes[i]->t, .step = -1, .alias = -1, .as = {-1, -1, -1}};
    if (!type_count(&g->nodes[i]->t, &e->v[i].count)) ok = diag(ctx, E0304, &g->nodes[i]->loc, "a dimension is not known");
  }
  if (ok) mark_live(e), choose_lies(e);
  e->waiting = NEWN(arena, bool, g->n_nodes + 1);
  for (int i = 0; i < g->n_nodes; i++) e->waiting[i] = e->v[i].live && g->nodes[i]->op != OP_ARG && g->nodes[i]->op != OP_CONST;
  for (int i = 0; ok && i < g->n_nodes; i++) if (!waits(e, g->nodes[i])) ok = plan_tree(e, g->nodes[i]);
  for (int i = 0; ok && i < g->n_outs; i++) ok = plan_tree(e, g->outs[i].v);
  for (int i = 0; ok && i < g->n_outs; i++) e->outs[i] = value_as(e, (int)g->outs[i].v->id, LIE_STORED);
  if (!ok) { exec_free(e); return NULL; }
  mark_kept(e);
  for (int s = 0; s < e->steps.n; s++) if (e->steps.p[s].kind == STEP_FUSE) e->steps.p[s].fuse = fuse_new(e, &e->steps.p[s]);
  assign_memory(e);
  fuse_compile(e);
  exact_compile(e);
  for (int i = 0; i < g->n_nodes; i++) if (node_is_const(g->nodes[i])) e->v[i].data = g->nodes[i]->a.value->data;
  return e;
}

Exec *exec_new(Ctx *ctx, Dnn *dnn, const Graph *g) { return exec_new_as(ctx, dnn, g, &(ExecOptions){0}); }

void exec_free(Exec *e) {
  if (!e) return;
  for (int i = 0; i < e->g->n_nodes; i++) dnn_op_free(e->op[i]);
  fuse_free_code(e);
  graph_free(e->g);
  arena_free(e->arena);
}

/* Running */

bool exec_channels_last(const Exec *e, int arg) { return e->v[e->g->args[arg]->id].lie == LIE_LAST; }

void exec_bind(Exec *e, int arg, const void *data) { e->v[e->g->args[arg]->id].data = (void *)(uintptr_t)data; }

static float *f32(const Exec *e, int v) { return v < 0 ? NULL : e->v[v].data; }

static bool dnn_step(Exec *e, Step *s) {
  float *x = f32(e, s->in[0]), *w = f32(e, s->in[1]), *y = f32(e, s->out[0]);
  DnnArgs a = {.ws = s->ws};
  switch (s->match.kind) {
  case MATCH_CONV_GRAD_X: a.dy = x, a.w = w, a.dx = y; break;
  case MATCH_CONV_GRAD_W: a.x = x, a.dy = w, a.dw = y; break;
  case MATCH_POOL_GRAD: case MATCH_SUM_GRAD: a.dy = x, a.dx = y; break;
  default: a.x = x, a.w = w, a.y = y; break;
  }
  if (!dnn_run(s->op, &a)) return false;
  if ((s->match.kind == MATCH_POOL || s->match.kind == MATCH_SUM_GRAD) && s->match.pool.kind != DNN_MAX) { /* averages become sums */
    float size = 1;
    for (int i = 0; i < s->match.pool.nd; i++) size *= (float)s->match.pool.k[i];
    for (int64_t i = 0; i < e->v[s->out[0]].count; i++) y[i] *= size;
  }
  return true;
}

static void stats_step(Exec *e, Step *s) {
  int64_t c = e->g->nodes[s->nodes.p[0]]->t.d[0].n;
  float *spare = (float *)(void *)(s->scratch + 4 * c), *mean = s->out[0] < 0 ? spare : f32(e, s->out[0]), *var = s->out[1] < 0 ? spare : f32(e, s->out[1]);
  stats_run(e->loops, f32(e, s->in[0]), e->v[s->in[0]].count / c, c, mean, var, s->scratch);
}

static bool eval_step(Exec *e, Step *s) {
  const Node *n = e->g->nodes[s->nodes.p[0]];
  Arena *scratch = arena_new(e->ctx);
  Tensor *in = NEWN(scratch, Tensor, n->n_in + 1), **at = NEWN(scratch, Tensor *, n->n_in + 1);
  for (int k = 0; k < n->n_in; k++) {
    const Value *v = &e->v[s->operand[k]];
    in[k] = (Tensor){.ctx = e->ctx, .t = v->t, .n = v->count, .st = elem_store(v->t.e), .data = v->data};
    at[k] = &in[k];
  }
  Tensor *y = node_eval(e->ctx, n, at);
  arena_free(scratch);
  if (!y) return false;
  if (y->n) memcpy(e->v[s->out[0]].data, y->data, (size_t)y->n * store_size(y->st));
  tensor_free(y);
  return true;
}

bool exec_run(Exec *e) {
  bool ok = true;
  for (int v = 0; v < e->n_v; v++) if (e->v[v].alias >= 0) e->v[v].data = e->v[e->v[v].alias].data;
  for (int i = 0; ok && i < e->steps.n; i++) {
    Step *s = &e->steps.p[i];
    switch (s->kind) {
    case STEP_FUSE: fuse_run(e, s->fuse); break;
    case STEP_DNN: ok = dnn_step(e, s); break;
    case STEP_SUM: sum_run(e->loops, s->sum, f32(e, s->in[0]), f32(e, s->out[0]), s->scratch); break;
    case STEP_STATS: stats_step(e, s); break;
    case STEP_LIE: if (!e->ran || !step_once(e, s)) lie_run(&e->v[s->in[0]], &e->v[s->out[0]]); break;
    case STEP_EVAL: ok = s->alone ? exact_run(e, s) : eval_step(e, s); break;
    }
  }
  e->ran = ok;
  return ok;
}

const void *exec_out(const Exec *e, int out) { return e->v[e->outs[out]].data; }

void exec_print(Str *s, const Exec *e) {
  static const char *const kinds[] = {[STEP_FUSE] = "loop", [STEP_DNN] = "onednn", [STEP_SUM] = "sum", [STEP_STATS] = "statistics", [STEP_LIE] = "copy", [STEP_EVAL] = "eval"};
  static const char *const matches[] = {"", "conv", "conv_grad_x", "conv_grad_w", "matmul", "pool", "pool_grad", "sum_grad"};
  for (int i = 0; i < e->steps.n; i++) {
    const Step *st = &e->steps.p[i];
    str_put(s, kinds[st->kind]);
    if ((st->fuse && st->fuse->code) || st->alone) str_put(s, " compiled");
    if (st->kind == STEP_EVAL && !st->alone && exact_sum(e, e->g->nodes[st->nodes.p[0]])) str_put(s, " in order"); /* not what nothing else could do */
    if (st->kind == STEP_DNN) str_printf(s, " %s", matches[st->match.kind]);
    if (st->kind == STEP_LIE) str_printf(s, " %d", st->in[0]);
    for (int k = 0; k < st->nodes.n; k++) {
      const Node *n = e->g->nodes[st->nodes.p[k]];
      str_printf(s, "%s%s", k ? ", " : ": ", n->op == OP_MAP ? scalar_info[n->a.scalar].name : op_info[n->op].name);
      if (st->kind == STEP_EVAL) type_print(s, NULL, &n->t);
    }
    for (int k = 0; k < st->sums.n; k++) str_put(s, ", sum");
    str_put(s, "\n");
  }
}
