#include "passes/certificate_add.h"

#include "passes/access.h"

Certificate *certificate_new(Ctx *ctx) {
  Certificate *c = NEW(ctx->own, Certificate);
  c->a = ctx->own;
  return c;
}

static Val element(const Tensor *t, int64_t i) { return elem_is_float(t->t.e) ? (Val){.f = tensor_f(t, i)} : (Val){.i = tensor_i(t, i)}; }

/* Constant operand k of a step: one value where all rows have the same, else one for each. */
static void constant(Arena *a, const Region *r, const Node *n, int k, CertOperand *o) {
  const Tensor *t = n->in[k]->a.value;
  int64_t idx[MAX_RANK] = {0};
  o->from = -1;
  o->e = t->t.e;
  if (n->op == OP_THRESHOLDS || n->op == OP_REQUANT) { /* rows, or rows of levels */
    o->n = t->n;
    o->v = NEWN(a, Val, t->n);
    for (int64_t i = 0; i < t->n; i++) o->v[i] = element(t, i);
    return;
  }
  o->n = const_varies(t, n->t.rank) ? r->rows : 1;
  o->v = NEWN(a, Val, o->n);
  for (int64_t i = 0; i < o->n; i++) {
    idx[r->axis] = i;
    o->v[i] = element(t, bcast_index(&t->t, n->t.rank, idx));
  }
}

/* The sums of constants for every combination of the output iterators that the constant operand's access reads. */
static void sums_of(Certificate *c, Ranges *rs, const Region *r, CertSums *s) {
  const Node *n = r->base;
  const Iters *it = n->a.iters;
  int64_t ext[MAX_ITERS], idx[MAX_ITERS] = {0}, outs = 1, reds = 1, times = 1;
  int kw = n->n_in == 2 && node_is_const(n->in[1]) ? 1 : 0, rank = n->in[kw]->t.rank;
  if (n->op != OP_CONTRACT || n->a.scalar != S_MUL || n->n_in != 2 || !node_is_const(n->in[kw]) || !access_inside(n, kw)) return;
  if (!type_static(&n->t) || !range_hull(rs, n->in[1 - kw], &s->alo, &s->ahi)) return;
  if (!access_inside(n, 1 - kw)) {
    if (n->a.fill < (double)s->alo) s->alo = (int64_t)n->a.fill;
    if (n->a.fill > (double)s->ahi) s->ahi = (int64_t)n->a.fill;
  }
  int total = iters_extents(n, ext);
  for (int i = 0; i < total; i++) {
    bool used = false;
    for (int j = 0; j < rank; j++) used = used || it->acc[kw][j].coef[i] != 0;
    if (!used && i >= it->n_out) times *= ext[i];
    if (!used) ext[i] = 1;
    if (i < it->n_out) outs *= ext[i];
    else reds *= ext[i];
    if (outs > RANGE_MAX || reds > INT64_C(1) << 40) return;
  }
  s->n = outs;
  s->pos = NEWN(c->a, int64_t, outs);
  s->neg = NEWN(c->a, int64_t, outs);
  s->row = NEWN(c->a, int64_t, outs);
  for (int64_t o = 0; o < outs; o++) {
    s->row[o] = r->rows > 1 ? idx[r->axis] : 0;
    for (int64_t q = 0; q < reds; q++) {
      int64_t at = 0;
      for (int j = 0; j < rank; j++) {
        const Affine *f = &it->acc[kw][j];
        int64_t v = f->base;
        for (int i = 0; i < total; i++) v += f->coef[i] * idx[i];
        at = at * n->in[kw]->t.d[j].n + v / f->div;
      }
      int64_t w = tensor_i(n->in[kw]->a.value, at);
      *(w > 0 ? &s->pos[o] : &s->neg[o]) += w * times;
      for (int i = total - 1; i >= 0 && ++idx[i] == ext[i]; i--) idx[i] = 0;
    }
  }
}

/* Where an integer comes from: the nearest named node at or below it. */
static const char *layer_of(const Node *n) {
  while (!n->loc.name && n->n_in && (n->op == OP_MAP || n->op == OP_VIEW || n->op == OP_RESHAPE || n->op == OP_REDUCE)) n = n->in[0];
  return n->loc.name;
}

int certificate_add(Certificate *c, Ranges *rs, const Region *r, const CertEntry *form) {
  const Node *top = r->step[r->n - 1].n;
  CertEntry e = *form;
  const char *name = layer_of(r->base);
  if (!name) name = top->loc.name;
  e.layer = name ? arena_strdup(c->a, name) : arena_printf(c->a, "%%%u", top->id);
  e.op = arena_strdup(c->a, op_info[r->base->op].name);
  e.in[0] = r->base->t.e;
  e.in[1] = r->first > 1 ? r->leaf[1]->t.e : e.in[0];
  e.out = top->t.e;
  e.n_in = r->first;
  e.rows = r->rows;
  e.n_steps = r->n - r->first;
  e.step = NEWN(c->a, CertStep, e.n_steps);
  int64_t *lo = NEWN(c->a, int64_t, r->rows), *hi = NEWN(c->a, int64_t, r->rows);
  for (int64_t i = 0; i < r->rows; i++) lo[i] = form->lo[i], hi[i] = form->hi[i];
  e.lo = lo, e.hi = hi;
  for (int i = r->first; i < r->n; i++) {
    const Node *n = r->step[i].n;
    CertStep *s = &e.step[i - r->first];
    *s = (CertStep){.op = (Op)n->op, .scalar = n->a.scalar, .e = n->t.e, .round = n->a.round, .lo = n->a.lo, .hi = n->a.hi, .shift = n->a.shift, .n_in = n->n_in};
    if (n->op == OP_THRESHOLDS) s->levels = n->in[1]->t.d[1].n;
    for (int k = 0; k < n->n_in; k++) {
      int from = k < 3 ? r->step[i].in[k] : -1;
      if (from >= 0) s->in[k] = (CertOperand){.from = from, .e = n->in[k]->t.e};
      else constant(c->a, r, n, k, &s->in[k]);
    }
  }
  if (r->first == 1) sums_of(c, rs, r, &e.sums);
  vec_push(c->a, &c->entry, e);
  return c->entry.n;
}
