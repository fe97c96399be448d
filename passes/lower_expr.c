/* The expression of one element of a node: a load where it has a buffer, else its operator over its inputs' elements. */
#include "passes/lower.h"

#include <assert.h>

Expr *let(Lower *l, const char *name, Expr *e) {
  return ns_name(l->p, l->nest, l->at, name, e);
}

Expr *load(Lower *l, int buf, const Type *t, const Lin *idx) {
  return nx_load(l->p, buf, lin_expr(l, lin_flat(l, t, idx)), 1);
}

int rom_buf(Lower *l, const Node *n) {
  if (l->buf[n->id] < 0) {
    const char *name = nest_name(l->p, "w", n->loc.name ? n->loc.name : "const");
    l->buf[n->id] = program_buf(l->p, name, lower_elem(l, n->t.e), SP_ROM, n->a.value->n, n->a.value->data);
  }
  return l->buf[n->id];
}

static Expr *literal(Lower *l, Elem e, const Tensor *t, int64_t i) {
  NType type = nt(lower_elem(l, e));
  return elem_is_float(e) ? nx_const_f(l->p, type, tensor_f(t, i)) : nx_const_i(l->p, type, tensor_i(t, i));
}

static Expr *fill_expr(Lower *l, const Node *n) {
  NType type = nt(lower_elem(l, n->t.e));
  return elem_is_float(n->t.e) ? nx_const_f(l->p, type, n->a.fill) : nx_const_i(l->p, type, (int64_t)n->a.fill);
}

/* Test that x, a multiple of div, is an index below extent. *index: x / div. NULL where it always is; *never: it never is. */
Expr *in_range(Lower *l, Lin x, int64_t div, int64_t extent, Lin *index, bool *never) {
  Expr *test = NULL, *zero = nx_idx(l->p, 0);
  *index = lin_c(0);
  if (extent == 0 || x.hi < 0 || x.lo > (extent - 1) * div) {
    *never = true;
    return NULL;
  }
  bool low = x.lo < 0, high = x.hi > (extent - 1) * div;
  Expr *e = low || high || div > 1 ? lin_expr(l, x) : NULL;
  if (low) test = nx2(l->p, S_LE, zero, e);
  if (high) {
    Expr *t = nx2(l->p, S_LE, e, lin_expr(l, lin_c((extent - 1) * div)));
    test = test ? nx2(l->p, S_AND, test, t) : t;
  }
  if (div > 1) {
    Lin rest = lin_mod(l, x, div);
    if (rest.n == 0 && rest.c != 0) *never = true;
    else if (rest.n) {
      Expr *t = nx2(l->p, S_EQ, nx2(l->p, S_FMOD, e, lin_expr(l, lin_c(div))), zero);
      test = test ? nx2(l->p, S_AND, test, t) : t;
    }
  }
  *index = lin_within(lin_div(l, x, div), 0, extent - 1);
  return test;
}

Expr *choose(Lower *l, Expr *cond, const Node *n, const Lin *idx, Expr *otherwise) {
  int64_t known;
  if (cond && nx_is_const(cond, &known)) {
    if (!known) return otherwise;
    cond = NULL;
  }
  if (!cond) return value(l, n, idx);
  Block inside;
  block_init(&inside);
  Scope s = block_enter(l, &inside);
  l->guarded++;
  Expr *e = value(l, n, idx);
  l->guarded--;
  block_leave(l, s);
  if (!inside.first) return nx_cond(l->p, cond, e, otherwise);
  int var = nest_var(l->p, l->nest, "v", e->t, false);
  ns_vardef(l->p, l->at, var, otherwise);
  ns_set(l->p, &inside, var, e);
  ns_if(l->p, l->at, cond)->body = inside;
  return nx_var(l->p, l->nest, var);
}

static Expr *view_expr(Lower *l, const Node *n, const Lin *idx) {
  const Node *x = n->in[0];
  Lin in[MAX_RANK];
  Expr *test = NULL;
  bool never = false;
  for (int d = 0; d < x->t.rank; d++) {
    const Affine *a = &n->a.iters->acc[0][d];
    Expr *t = in_range(l, lin_access(l, a, idx, n->t.rank), a->div, x->t.d[d].n, &in[d], &never);
    if (t) test = test ? nx2(l->p, S_AND, test, t) : t;
  }
  return never ? fill_expr(l, n) : choose(l, test, x, in, fill_expr(l, n));
}

static Expr *gather_expr(Lower *l, const Node *n, const Lin *idx) {
  const Node *x = n->in[0], *index = n->in[1];
  int axis = n->a.axis, ri = index->t.rank;
  int64_t extent = x->t.d[axis].n;
  Lin in[MAX_RANK];
  for (int d = 0; d < axis; d++) in[d] = idx[d];
  for (int d = axis + 1; d < x->t.rank; d++) in[d] = idx[d + ri - 1];
  Elem wide = index->t.e.bits < 32 ? I32 : I64;
  NType t = nt(wide);
  int64_t lo, hi;
  Expr *at = nx_cast(l->p, value(l, index, idx + axis), wide);
  bool known = range_hull(l->ranges, index, &lo, &hi);
  if (!known || lo < 0) {
    at = let(l, "k", at);
    at = nx3(l->p, S_SELECT, nx2(l->p, S_LT, at, nx_const_i(l->p, t, 0)), nx2(l->p, S_ADD, at, nx_const_i(l->p, t, extent)), at);
  }
  if (!known || hi >= extent) at = nx2(l->p, S_MIN, at, nx_const_i(l->p, t, extent - 1));
  if (!known || lo < -extent) at = nx2(l->p, S_MAX, at, nx_const_i(l->p, t, 0));
  in[axis] = lin_atom(l, let(l, "k", nx_cast(l->p, at, l->p->index)), 0, extent - 1);
  return value(l, x, in);
}

/* Index of operand k where the node's operands broadcast. */
static void broadcast_index(const Node *n, const Type *t, const Lin *idx, Lin *in) {
  int skip = n->t.rank - t->rank;
  for (int d = 0; d < t->rank; d++) in[d] = t->d[d].n == 1 ? lin_c(0) : idx[d + skip];
}

static Expr *elementwise_expr(Lower *l, const Node *n, const Lin *idx) {
  Expr *x[3];
  for (int k = 0; k < n->n_in; k++) {
    Lin in[MAX_RANK];
    broadcast_index(n, &n->in[k]->t, idx, in);
    x[k] = value(l, n->in[k], in);
  }
  switch (n->op) {
  case OP_MAP: return map_expr(l, n, x);
  case OP_QUANT: return quant_expr(l, n, x[0], x[1], n->n_in > 2 ? x[2] : NULL);
  default: return dequant_expr(l, n, x[0], x[1], n->n_in > 2 ? x[2] : NULL);
  }
}

Expr *compute(Lower *l, const Node *n, const Lin *idx) {
  Lin in[MAX_RANK];
  switch (n->op) {
  case OP_MAP: case OP_QUANT: case OP_DEQUANT: return elementwise_expr(l, n, idx);
  case OP_VIEW: return view_expr(l, n, idx);
  case OP_RESHAPE:
    lin_unflat(l, lin_flat(l, &n->t, idx), &n->in[0]->t, in);
    return value(l, n->in[0], in);
  case OP_GATHER: return gather_expr(l, n, idx);
  case OP_REDUCE: return reduce_expr(l, n, idx);
  case OP_ARGREDUCE: return argreduce_expr(l, n, idx);
  case OP_CONTRACT: return contract_expr(l, n, idx);
  case OP_THRESHOLDS: return thresholds_expr(l, n, idx, value(l, n->in[0], idx));
  case OP_REQUANT: return requant_expr(l, n, idx, value(l, n->in[0], idx));
  default: assert(!"has no element expression"); return NULL;
  }
}

static bool memo_fits(const Lower *l, const Memo *m, const Node *n, const Lin *idx) {
  (void)l;
  if (m->n != n) return false;
  for (int d = 0; d < n->t.rank; d++)
    if (!lin_eq(m->idx[d], idx[d])) return false;
  return true;
}

Expr *value(Lower *l, const Node *n, const Lin *idx) {
  int64_t count;
  double same;
  if (n->op == OP_CONST) {
    if (node_uniform(n, &same)) return literal(l, n->t.e, n->a.value, 0);
    bool fixed = true;
    Lin flat = lin_flat(l, &n->t, idx);
    fixed = flat.n == 0;
    if (fixed && type_count(&n->t, &count) && flat.c >= 0 && flat.c < count) return literal(l, n->t.e, n->a.value, flat.c);
    return load(l, rom_buf(l, n), &n->t, idx);
  }
  if (l->buf[n->id] >= 0) return load(l, l->buf[n->id], &n->t, idx);
  if (n == l->tile.ready) return tile_value(l, n);
  for (int i = l->memo.n - 1; i >= 0; i--)
    if (memo_fits(l, &l->memo.p[i], n, idx)) return l->memo.p[i].e;
  Expr *e = compute(l, n, idx);
  if (l->uses[n->id] < 2 || n->op == OP_VIEW || n->op == OP_RESHAPE) return e;
  Lin *copy = NEWN(l->tmp, Lin, n->t.rank + 1);
  for (int d = 0; d < n->t.rank; d++) copy[d] = idx[d];
  Memo m = {n, copy, let(l, "t", e)};
  vec_push(l->tmp, &l->memo, m);
  return m.e;
}
