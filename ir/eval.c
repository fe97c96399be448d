/* Evaluation of graphs: the meaning. Nodes are computed in order, each into a new tensor, freed after its last use. What an
 * operator computes is in eval_map.c (element by element), eval_contract.c, eval_reduce.c (by affine accesses, which
 * eval_access.c walks), eval_train.c (training), eval_bases.c (multi-bit bases), eval_data.c (the rest) and scalar.c (single elements). */
#include "ir/eval_impl.h"

#include <assert.h>
#include <string.h>

static bool eval_reshape(const Eval *e) {
  assert(e->in[0]->n == e->y->n && e->in[0]->st == e->y->st);
  if (e->y->n) memcpy(e->y->data, e->in[0]->data, (size_t)e->y->n * store_size(e->y->st));
  return true;
}

static bool eval_const(const Eval *e) {
  return eval_reshape(&(Eval){e->ctx, e->n, (Tensor *const[]){(Tensor *)(uintptr_t)e->n->a.value}, e->y});
}

static EvalOp *const eval_ops[OP_COUNT] = {
  [OP_CONST] = eval_const, [OP_ARG] = NULL, /* given by the caller */
  [OP_MAP] = eval_map, [OP_VIEW] = eval_view, [OP_RESHAPE] = eval_reshape, [OP_STRAIGHT] = eval_reshape, [OP_CONCAT] = eval_concat, [OP_GATHER] = eval_gather,
  [OP_REDUCE] = eval_reduce, [OP_ARGREDUCE] = eval_argreduce, [OP_CUM] = eval_cum, [OP_CONTRACT] = eval_contract,
  [OP_QUANT] = eval_quant, [OP_DEQUANT] = eval_dequant, [OP_THRESHOLDS] = eval_thresholds, [OP_REQUANT] = eval_requant,
  [OP_PACK] = eval_pack, [OP_BN] = eval_bn, [OP_BN_TRAIN] = eval_bn_train, [OP_BN_GRAD] = eval_bn_grad, [OP_QUANT_GRAD] = eval_quant_grad,
  [OP_LOCATE] = eval_locate, [OP_BASES] = eval_bases, [OP_SCATTER] = eval_scatter,
};

bool eval_cancelled(const Eval *e) {
  if (!e->ctx->cancel || !*e->ctx->cancel) return false;
  diag(e->ctx, E0602, &e->n->loc, "evaluation interrupted");
  return true;
}

Tensor *eval_tensor(Ctx *ctx, const Node *n, const Type *t) {
  int64_t count, bytes;
  if (type_count(t, &count) && mul_ok(count, (int64_t)store_size(elem_store(t->e)), &bytes) &&
      bytes > ctx->limits.memory - ctx->memory_used) {
    diag(ctx, E0401, &n->loc, "evaluating needs %lld bytes more, beyond the limit of %lld (--limit memory=N)",
         (long long)bytes, (long long)ctx->limits.memory);
    return NULL;
  }
  return tensor_new(ctx, t);
}

/* Element operations of a node; false where they pass 2^62. */
static bool node_work(const Node *n, int64_t *work) {
  if (!type_count(&n->t, work)) return false;
  for (int k = 0; k < n->n_in; k++) {
    int64_t count;
    if (!type_count(&n->in[k]->t, &count)) return false;
    if (count > *work && n->op != OP_GATHER && n->op != OP_CONTRACT) *work = count;
  }
  int64_t factor = 1;
  if (n->op == OP_CONTRACT || n->op == OP_REDUCE || n->op == OP_LOCATE) {
    int64_t ext[MAX_ITERS];
    if (!type_count(&n->t, work)) return false;
    int total = iters_extents(n, ext);
    for (int i = n->a.iters->n_out; i < total; i++) {
      if (ext[i] == 0) { *work = 0; return true; }
      if (!mul_ok(factor, ext[i], &factor)) return *work == 0;
    }
  } else if (n->op == OP_BASES) { /* every plane's terms at every position */
    int64_t per = n->in[3]->t.d[0].n * n->in[3]->t.d[1].n;
    if (!type_count(&n->in[1]->t, &factor) || !type_count(&n->t, work)) return false;
    *work = per ? *work / per : 0;
  } else if (n->op == OP_THRESHOLDS) {
    factor = n->in[1]->t.d[1].n;
  }
  return mul_ok(*work, factor, work) && *work <= INT64_C(1) << 62;
}

/* Adds the node's work to *total; false with a diagnostic where the node has symbols or passes the limit. */
static bool charge(Ctx *ctx, const Node *n, int64_t *total) {
  bool known = type_static(&n->t);
  if (n->a.iters) for (int i = 0; i < n->a.iters->n_red; i++) known = known && !n->a.iters->red[i].sym;
  for (int k = 0; k < n->n_in; k++) known = known && type_static(&n->in[k]->t);
  if (!known) return diag(ctx, E0304, &n->loc, "%s: symbolic dimensions must be bound before evaluation", op_info[n->op].name);
  int64_t work;
  if (n->op == OP_CONST || n->op == OP_ARG) return true;
  if (!node_work(n, &work) || !add_ok(*total, work, total) || *total > ctx->limits.work)
    return diag(ctx, E0402, &n->loc, "%s: more than %lld element operations (--limit work=N)", op_info[n->op].name,
                (long long)ctx->limits.work);
  return true;
}

static Tensor *compute(Ctx *ctx, const Node *n, Tensor *const *in) {
  assert(eval_ops[n->op]);
  Eval e = {ctx, n, in, NULL};
  if (eval_cancelled(&e)) return NULL;
  e.y = eval_tensor(ctx, n, &n->t);
  if (e.y && !eval_ops[n->op](&e)) {
    tensor_free(e.y);
    return NULL;
  }
  return e.y;
}

Tensor *node_eval(Ctx *ctx, const Node *n, Tensor *const *ins) {
  int64_t work = 0;
  return charge(ctx, n, &work) ? compute(ctx, n, ins) : NULL;
}

/* Values of the nodes while a graph is evaluated. */
typedef struct Values {
  Ctx *ctx;
  const Graph *g;
  Tensor **value;  /* by node id; NULL before its turn and after its last use */
  bool *owned;     /* to be freed here: not of constants and arguments */
  int *last;       /* id of the last node that reads it; n_nodes: an output; -1: nobody */
} Values;

static void mark_uses(Values *v) {
  const Graph *g = v->g;
  for (int i = 0; i < g->n_nodes; i++) v->last[i] = -1;
  for (int i = 0; i < g->n_outs; i++) v->last[g->outs[i].v->id] = g->n_nodes;
  for (int i = g->n_nodes - 1; i >= 0; i--) {
    const Node *n = g->nodes[i];
    for (int k = 0; v->last[i] >= 0 && k < n->n_in; k++)
      if (v->last[n->in[k]->id] < i) v->last[n->in[k]->id] = i;
  }
}

static void release(Values *v, const Node *n, int after) {
  uint32_t id = n->id;
  if (v->last[id] > after) return;
  if (v->owned[id]) tensor_free(v->value[id]);
  v->value[id] = NULL;
  v->owned[id] = false;
}

static bool eval_node(Values *v, const Node *n, Tensor *const *ins, Tensor **in, EvalHook *hook, void *user) {
  int id = (int)n->id;
  if (n->op == OP_ARG || n->op == OP_CONST) {
    v->value[id] = n->op == OP_ARG ? ins[n->a.index] : (Tensor *)(uintptr_t)n->a.value; /* read only */
    assert(v->value[id] && v->value[id]->n >= 0 && elem_eq(v->value[id]->t.e, n->t.e));
    return true;
  }
  for (int k = 0; k < n->n_in; k++) in[k] = v->value[n->in[k]->id];
  uint32_t x = n->n_in ? n->in[0]->id : 0;
  if (n->op == OP_RESHAPE && v->owned[x] && v->last[x] == id) { /* the same elements: takes the tensor over */
    v->value[id] = v->value[x];
    v->value[id]->t = n->t;
    v->owned[x] = false;
  } else {
    v->value[id] = compute(v->ctx, n, in);
  }
  v->owned[id] = v->value[id] != NULL;
  if (!v->value[id] || (hook && !hook(user, n, v->value[id]))) return false;
  for (int k = 0; k < n->n_in; k++) release(v, n->in[k], id);
  return true;
}

/* Hands the outputs' tensors to the caller: copies where a tensor is not ours, or is output twice. */
static bool take_outputs(Values *v, Tensor **outs) {
  const Graph *g = v->g;
  for (int i = 0; i < g->n_outs; i++) {
    const Node *n = g->outs[i].v;
    if (v->owned[n->id]) outs[i] = v->value[n->id];
    else {
      outs[i] = eval_tensor(v->ctx, n, &n->t);
      if (outs[i] && outs[i]->n) memcpy(outs[i]->data, v->value[n->id]->data, (size_t)outs[i]->n * store_size(outs[i]->st));
    }
    v->owned[n->id] = false;
    if (outs[i]) continue;
    for (int k = 0; k < i; k++) { tensor_free(outs[k]); outs[k] = NULL; }
    return false;
  }
  return true;
}

bool graph_eval(Ctx *ctx, const Graph *g, Tensor *const *ins, Tensor **outs, EvalHook *hook, void *user) {
  Arena *scratch = arena_new(ctx);
  int most = 1;
  for (int i = 0; i < g->n_nodes; i++) if (g->nodes[i]->n_in > most) most = g->nodes[i]->n_in;
  Values v = {.ctx = ctx, .g = g};
  v.value = NEWN(scratch, Tensor *, g->n_nodes + 1);
  v.owned = NEWN(scratch, bool, g->n_nodes + 1);
  v.last = NEWN(scratch, int, g->n_nodes + 1);
  Tensor **in = NEWN(scratch, Tensor *, most);
  int64_t work = 0;
  bool ok = true;
  mark_uses(&v);
  for (int i = 0; ok && i < g->n_nodes; i++) if (v.last[i] >= 0) ok = charge(ctx, g->nodes[i], &work);
  for (int i = 0; ok && i < g->n_nodes; i++)
    if (v.last[i] >= 0) ok = eval_node(&v, g->nodes[i], ins, in, hook, user);
  ok = ok && take_outputs(&v, outs);
  for (int i = 0; i < g->n_nodes; i++) if (v.owned[i]) tensor_free(v.value[i]);
  arena_free(scratch);
  return ok;
}
