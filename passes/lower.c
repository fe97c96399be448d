/* lower: Graph -> Program. Every node that keeps a buffer becomes one nest; see lower.h. */
#include "passes/lower.h"

#include <assert.h>
#include <string.h>

/* What has a nest of its own, whatever reads it. */
static void (*body_of(const Node *n))(Lower *, const Node *) {
  return n->op == OP_CUM ? cum_body : n->op == OP_PACK ? pack_body : n->op == OP_BASES ? bases_body : NULL;
}

static bool has_element(const Node *n) { return n->op != OP_CONCAT && !body_of(n); }

Expr *element_value(Lower *l, const Node *n, const Lin *idx) { return l->buf[n->id] == l->to.buf ? compute(l, n, idx) : value(l, n, idx); }

Lin element_place(Lower *l, const Node *n, const Lin *idx) {
  Lin at[MAX_RANK];
  for (int d = 0; d < n->t.rank; d++) at[d] = idx[d];
  if (l->to.offset) at[l->to.axis] = lin_mad(l, at[l->to.axis], lin_c(l->to.offset), 1);
  return lin_flat(l, l->to.t, at);
}

void store_element(Lower *l, const Node *n, const Lin *idx, Expr *e) {
  if (!e) e = element_value(l, n, idx);
  ns_store(l->p, l->at, l->to.buf, lin_expr(l, element_place(l, n, idx)), e);
}

void element_body(Lower *l, const Node *n) {
  int64_t ext[MAX_RANK];
  Lin idx[MAX_RANK];
  for (int d = 0; d < n->t.rank; d++) ext[d] = n->t.d[d].n;
  Scope outer = loops_open(l, NULL, n->t.rank, ext, idx, NULL, NULL);
  store_element(l, n, idx, NULL);
  block_leave(l, outer);
}

/* "contract, map add, quant": what a nest computes, its own operator last. */
static void describe(const Lower *l, Str *s, const Node *n, int *room) {
  for (int k = 0; k < n->n_in && *room > 0; k++) {
    const Node *x = n->in[k];
    if (x->op != OP_CONST && x->op != OP_VIEW && x->op != OP_RESHAPE && l->buf[x->id] < 0) describe(l, s, x, room);
  }
  if (--*room < 0) return;
  if (s->n) str_put(s, ", ");
  str_put(s, n->op == OP_MAP ? scalar_info[n->a.scalar].name : op_info[n->op].name);
  if ((n->op == OP_CONTRACT || n->op == OP_BASES) && n->a.kernel != KERNEL_AUTO) str_printf(s, " %s", kernel_names[n->a.kernel]);
}

static void build_nest(Lower *l, const Node *n, const char *label, void (*body)(Lower *, const Node *)) {
  int room = 8;
  Str note = {.ctx = l->p->ctx};
  describe(l, &note, n, &room);
  nest_build(l, nest_name(l->p, op_info[n->op].name, label), n, note.p, body);
  str_free(&note);
}

/* One nest; a concat has one for each input, which goes to its place in the result. */
static void lower_node(Lower *l, const Node *n) {
  const char *label = n->loc.name ? n->loc.name : "";
  int64_t count;
  if (!type_count(&n->t, &count) || count == 0) return;
  l->to = (Place){l->buf[n->id], &n->t, n->a.axis, 0};
  if (body_of(n)) build_nest(l, n, label, body_of(n));
  else if (n->op != OP_CONCAT) build_nest(l, n, label, element_body);
  for (int k = 0; n->op == OP_CONCAT && k < n->n_in; k++) {
    const Node *x = n->in[k];
    if (type_count(&x->t, &count) && count > 0) build_nest(l, x, label, element_body);
    l->to.offset += x->t.d[n->a.axis].n;
  }
}

/* Buffers of inputs, outputs and all nodes that keep one. */
static void make_buffers(Lower *l, const bool *live) {
  const Graph *g = l->g;
  Program *p = l->p;
  p->n_ins = g->n_args;
  p->n_outs = g->n_outs;
  p->ins = NEWN(p->arena, Port, p->n_ins + 1);
  p->outs = NEWN(p->arena, Port, p->n_outs + 1);
  for (int i = 0; i < g->n_nodes; i++) l->buf[i] = -1;
  for (int i = 0; i < g->n_args; i++) {
    const Node *a = g->args[i];
    int64_t n = 0;
    type_count(&a->t, &n);
    l->buf[a->id] = program_buf(p, nest_name(p, "", g->arg_names[i]), lower_elem(l, a->t.e), SP_IN, n, NULL);
    p->ins[i] = (Port){arena_strdup(p->arena, g->arg_names[i]), l->buf[a->id], a->t};
  }
  for (int i = 0; i < g->n_outs; i++) {
    const Node *v = g->outs[i].v;
    int64_t n = 0;
    type_count(&v->t, &n);
    int b = program_buf(p, nest_name(p, "", g->outs[i].name), lower_elem(l, v->t.e), SP_OUT, n, NULL);
    p->outs[i] = (Port){arena_strdup(p->arena, g->outs[i].name), b, v->t};
    if (v->op != OP_CONST && l->buf[v->id] < 0) l->buf[v->id] = b;
  }
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    int64_t count = 0;
    type_count(&n->t, &count);
    if (!live[i] || n->op == OP_CONST || l->buf[i] >= 0 || (n->a.fused && has_element(n))) continue;
    l->buf[i] = program_buf(p, nest_name(p, "t", n->loc.name ? n->loc.name : ""), lower_elem(l, n->t.e), SP_ARENA, count, NULL);
  }
}

static void build(Lower *l, const bool *live) {
  const Graph *g = l->g;
  Program *p = l->p;
  make_buffers(l, live);
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (live[i] && n->op != OP_CONST && n->op != OP_ARG && l->buf[i] >= 0) lower_node(l, n);
  }
  for (int i = 0; i < g->n_outs; i++) {
    const Node *v = g->outs[i].v;
    if (l->buf[v->id] == p->outs[i].buf || p->bufs[p->outs[i].buf].n == 0) continue;
    /* an output that another output, an input or a constant already is */
    l->to = (Place){p->outs[i].buf, &v->t, 0, 0};
    nest_build(l, nest_name(p, "copy", p->bufs[l->to.buf].name), v, "copy", element_body);
  }
}

/* HLS: the innermost loops start an iteration every cycle. True where the block has a loop. */
static bool pipeline_innermost(Block *b) {
  bool any = false;
  for (Stmt *s = b->first; s; s = s->next) {
    bool inner = pipeline_innermost(&s->body);
    inner = pipeline_innermost(&s->other) || inner;
    if (s->kind == ST_FOR && !inner) s->mark = MARK_PIPELINE, s->ii = 1;
    any = any || inner || s->kind == ST_FOR;
  }
  return any;
}

static Program *lower_with(Graph *g, const PassOptions *opt, Arena *tmp, const bool *live, const int *uses, Elem index, bool *wide) {
  Lower l = {.g = g, .opt = opt, .tmp = tmp, .uses = uses, .ranges = ranges_new(tmp, g),
             .sums = NEWN(tmp, int64_t *, g->n_nodes + 1), .buf = NEWN(tmp, int, g->n_nodes + 1)};
  l.p = program_new(g->ctx, nest_name_ok(g->name) ? g->name : "model");
  l.p->index = index;
  l.p->exact = opt->hls;
  build(&l, live);
  *wide = l.wide;
  if (opt->hls)
    for (int i = 0; i < l.p->n_nests; i++) pipeline_innermost(&l.p->nests[i]->body);
  return l.p;
}

/* Operators that no engine has: of training, or bn where canon was left out. */
static bool has_code(Ctx *ctx, const Graph *g, const bool *live) {
  bool ok = true;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    bool none = n->op == OP_BN || n->op == OP_BN_TRAIN || n->op == OP_BN_GRAD || n->op == OP_QUANT_GRAD || n->op == OP_LOCATE || n->op == OP_SCATTER || n->op == OP_STRAIGHT;
    if (live[i] && none) ok = diag(ctx, E0301, &n->loc, "no code for %s%s", op_info[n->op].name, n->op == OP_BN ? " (pass canon spells it out)" : ": it is of training graphs");
  }
  return ok;
}

Program *pass_lower(Graph *g, const PassOptions *opt) {
  Arena *tmp = arena_new(g->ctx);
  bool *live = NEWN(tmp, bool, g->n_nodes + 1), wide = false;
  int *uses = NEWN(tmp, int, g->n_nodes + 1);
  for (int i = 0; i < g->n_outs; i++) live[g->outs[i].v->id] = true, uses[g->outs[i].v->id]++;
  for (int i = g->n_nodes - 1; i >= 0; i--)
    for (int k = 0; live[i] && k < g->nodes[i]->n_in; k++) live[g->nodes[i]->in[k]->id] = true, uses[g->nodes[i]->in[k]->id]++;
  Program *p = has_code(g->ctx, g, live) && (!opt->no_multiply || integer_part(g->ctx, g)) ? lower_with(g, opt, tmp, live, uses, I32, &wide) : NULL;
  if (p && wide) {
    program_free(p);
    p = lower_with(g, opt, tmp, live, uses, I64, &wide);
  }
  arena_free(tmp);
  graph_free(g);
  return p;
}
