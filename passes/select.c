/* select: one way of computing per contraction, from the target's costs or as forced. */
#include "passes/contract.h"

#include <assert.h>
#include <string.h>

/* Bit planes */

bool planes_of(Elem e, Planes *p) {
  *p = (Planes){.packed = e};
  if (elem_is_float(e) || (e.kind == EK_BASES && e.bits > 1)) return false;
  if (e.kind == EK_BASES) {
    p->n = 1, p->coef[0] = 2, p->offset = -1;
    return true;
  }
  if (e.kind == EK_SHIFT) {
    if (elem_hi(e) > 64) return false;
    p->packed = e = elem_for_range(elem_lo(e), elem_hi(e));
  }
  p->n = e.bits;
  if (p->n > MAX_PLANES) return false;
  for (int i = 0; i < p->n; i++) p->coef[i] = INT64_C(1) << i;
  if (e.kind == EK_INT) p->coef[p->n - 1] *= -1;
  return true;
}

/* The one dimension of an operand that runs along reduction iterator j with step 1, all of it, besides at most one other
 * iterator; no other dimension may depend on j. */
static bool pack_side(const Node *n, int operand, int j, PackSide *side) {
  const Iters *it = n->a.iters;
  const Type *t = &n->in[operand]->t;
  int at = it->n_out + j, found = -1, other = -1;
  for (int d = 0; d < t->rank; d++) {
    const Affine *a = &it->acc[operand][d];
    if (!a->coef[at]) continue;
    if (found >= 0 || a->coef[at] != 1 || a->div != 1 || a->base != 0) return false;
    found = d;
    for (int i = 0; i < it->n_out + it->n_red; i++) {
      if (i == at || !a->coef[i]) continue;
      if (other >= 0 || i >= it->n_out || a->coef[i] < it->red[j].n) return false;
      other = i;
    }
    int64_t last = it->red[j].n - 1 + (other >= 0 ? a->coef[other] * (n->t.d[other].n - 1) : 0);
    if (last >= t->d[d].n) return false; /* never outside along this dimension */
  }
  side->operand = operand;
  side->dim = found;
  side->other = other;
  return found >= 0;
}

static bool choose_iter(const Node *n, const Target *t, BitPlan *p) {
  const Iters *it = n->a.iters;
  int64_t total = 1;
  bool any = false;
  for (int j = 0; j < it->n_red; j++) total *= it->red[j].n;
  for (int j = 0; j < it->n_red; j++) {
    PackSide act = p->act, weight = p->weight;
    int64_t k = it->red[j].n;
    if (k < 1 || !pack_side(n, act.operand, j, &act) || !pack_side(n, weight.operand, j, &weight) || weight.other >= 0) continue;
    int64_t words = total / k * ((k + t->word - 1) / t->word);
    if (any && words >= p->words) continue;
    any = true;
    p->act = act, p->weight = weight, p->iter = j, p->k = k, p->words = words;
  }
  return any;
}

bool bitserial_plan(const Node *n, const Target *t, BitPlan *p, const char **why) {
  *p = (BitPlan){.iter = -1};
  if (n->a.scalar != S_MUL || n->n_in != 2) return *why = "not a product of two codes", false;
  if (elem_is_float(n->in[0]->t.e) || elem_is_float(n->in[1]->t.e) || elem_is_float(n->t.e)) return *why = "operands are floats", false;
  int w = node_is_const(n->in[1]) ? 1 : 0;
  if (!node_is_const(n->in[w])) return *why = "no operand is constant", false;
  p->weight.operand = w;
  p->act.operand = 1 - w;
  if (!planes_of(n->in[1 - w]->t.e, &p->act.planes) || !planes_of(n->in[w]->t.e, &p->weight.planes))
    return *why = "more than 8 bits", false;
  if (!access_inside(n, w)) return *why = "weights accessed outside", false;
  if (!access_inside(n, 1 - w) && w == 0) return *why = "activations padded as second operand", false;
  if (n->a.iters->n_out + n->a.iters->n_red + 2 > MAX_ITERS || n->in[0]->t.rank + 2 > MAX_RANK || n->in[1]->t.rank + 2 > MAX_RANK)
    return *why = "too many dimensions", false;
  if (!choose_iter(n, t, p)) return *why = "no reduction iterator that packs", false;
  const Planes *a = &p->act.planes, *b = &p->weight.planes;
  p->xor_ = a->n == 1 && b->n == 1 && a->offset && b->offset;
  p->sum = !p->xor_ && b->offset;
  return true;
}

/* Choice */

typedef struct Choice { Kernel kernel; const char *why; } Choice;

static const Force *forced(const Node *n, const PassOptions *opt) {
  const Force *all = NULL;
  for (int i = 0; i < opt->n_force; i++) {
    const Force *f = &opt->force[i];
    if (!f->layer) all = f;
    else if (n->loc.name && !strcmp(f->layer, n->loc.name)) return f;
  }
  return all;
}

/* The cheapest of the candidates that are possible, the first of equals; without a target the first that is possible.
 * False with E0308 where what is forced for this layer by name is impossible. */
static bool decide(Ctx *ctx, const Node *n, const PassOptions *opt, Choice *c) {
  const Force *f = forced(n, opt);
  double least = 0;
  *c = (Choice){.kernel = KERNEL_AUTO, .why = "cheapest"};
  for (int k = KERNEL_AUTO + 1; k < KERNEL_COUNT; k++) {
    const char *why;
    bool can = candidates[k].possible(n, opt, &why);
    if (f && (int)f->kernel == k && can) return *c = (Choice){f->kernel, "forced"}, true;
    if (f && (int)f->kernel == k && f->layer)
      return diag(ctx, E0308, &n->loc, "kernel %s is not possible here: %s", kernel_names[k], why);
    if (!can) continue;
    double cost = opt->target ? candidates[k].cost(n, opt->target) : 0;
    if (c->kernel != KERNEL_AUTO && cost >= least) continue;
    c->kernel = (Kernel)k;
    least = cost;
  }
  return true;
}

static Node *select_rule(Rewrite *rw, const Node *n, Node *const *in) {
  const PassOptions *opt = rw->user;
  Choice c = {.kernel = KERNEL_BITSERIAL}; /* of words already */
  if (n->op != OP_CONTRACT) return NULL;
  if (n->a.scalar == S_MUL && !decide(rw->g->ctx, n, opt, &c)) return NULL;
  Attr a = n->a;
  a.kernel = c.kernel;
  rw->changes++;
  return node_new(rw->g, OP_CONTRACT, &n->t, n->n_in, in, &a, &n->loc);
}

static bool no_layer(Graph *g, Kernel k, const char *layer) {
  const char **names = NEWN(g->ctx->own, const char *, g->n_nodes + 1);
  int n = 0;
  for (int i = 0; i < g->n_nodes; i++)
    if (g->nodes[i]->op == OP_CONTRACT && g->nodes[i]->loc.name) names[n++] = g->nodes[i]->loc.name;
  diag(g->ctx, E0308, NULL, "kernel %s is forced for \"%s\", but no such layer contracts", kernel_names[k], layer);
  const char *near = nearest(layer, names, n);
  if (near) diag_hint(g->ctx, "did you mean \"%s\"? --explain shows every layer", near);
  else diag_hint(g->ctx, n ? "--explain shows every layer, \"%s\" is one" : "no layer that contracts has a name%s", n ? names[0] : "");
  return false;
}

/* Layers that are forced by name must exist. */
static bool forces_exist(Graph *g, const PassOptions *opt) {
  for (int i = 0; i < opt->n_force; i++) {
    const char *layer = opt->force[i].layer;
    bool found = !layer;
    for (int k = 0; k < g->n_nodes && !found; k++)
      found = g->nodes[k]->op == OP_CONTRACT && g->nodes[k]->loc.name && !strcmp(g->nodes[k]->loc.name, layer);
    if (!found) return no_layer(g, opt->force[i].kernel, layer);
  }
  return true;
}

Graph *pass_select(Graph *g, const PassOptions *opt) {
  Graph *r = forces_exist(g, opt) ? graph_rewrite(g, select_rule, (void *)(uintptr_t)opt, NULL) : NULL;
  graph_free(g);
  return r;
}

/* With tenths below 100; no locale has a say in it. */
static void put_cycles(Str *s, double cycles) {
  long long tenths = (long long)(cycles * 10 + 0.5);
  if (tenths < 1000) str_printf(s, "%lld.%lld", tenths / 10, tenths % 10);
  else str_printf(s, "%lld", (tenths + 5) / 10);
}

void explain_select(Str *s, const Graph *g, const PassOptions *opt) {
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    Choice c;
    if (n->op != OP_CONTRACT || n->a.scalar != S_MUL) continue;
    if (!decide(g->ctx, n, opt, &c)) continue;
    str_printf(s, "node %d ", n->loc.node);
    str_quoted(s, n->loc.name ? n->loc.name : "");
    str_put(s, " ");
    type_print(s, g, &n->in[0]->t);
    str_put(s, " . ");
    type_print(s, g, &n->in[1]->t);
    str_put(s, " -> ");
    type_print(s, g, &n->t);
    str_printf(s, ": %s (%s)\n", kernel_names[c.kernel], c.why);
    for (int k = KERNEL_AUTO + 1; k < KERNEL_COUNT; k++) {
      const char *why;
      str_printf(s, "  %c %-9s ", k == (int)c.kernel ? '*' : ' ', kernel_names[k]);
      if (!candidates[k].possible(n, opt, &why)) {
        str_printf(s, "impossible: %s\n", why);
        continue;
      }
      if (opt->target) {
        put_cycles(s, candidates[k].cost(n, opt->target));
        str_put(s, " cycles");
      }
      if (candidates[k].note) candidates[k].note(s, n, opt);
      str_put(s, "\n");
    }
  }
}
