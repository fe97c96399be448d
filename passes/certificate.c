#include "passes/certificate_add.h"

#include "passes/access.h"

__extension__ typedef __int128 wide;

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

/* The constant operand of a sum of products of codes with constants, and the range of the others, padding included; -1 for other nodes. */
static int weights_of(Ranges *rs, const Node *n, int64_t *alo, int64_t *ahi) {
  if (n->op != OP_CONTRACT || n->a.scalar != S_MUL || n->n_in != 2) return -1;
  int kw = node_is_const(n->in[1]) ? 1 : 0;
  if (!node_is_const(n->in[kw]) || !access_inside(n, kw) || !type_static(&n->t) || !range_hull(rs, n->in[1 - kw], alo, ahi)) return -1;
  if (access_inside(n, 1 - kw)) return kw;
  if (n->a.fill < (double)*alo) *alo = (int64_t)n->a.fill;
  if (n->a.fill > (double)*ahi) *ahi = (int64_t)n->a.fill;
  return kw;
}

/* The sums of constants for every combination of the output iterators that the constant operand's access reads. */
static void sums_of(Certificate *c, Ranges *rs, const Region *r, CertSums *s) {
  const Node *n = r->base;
  const Iters *it = n->a.iters;
  int64_t ext[MAX_ITERS], idx[MAX_ITERS] = {0}, outs = 1, reds = 1, times = 1;
  int kw = weights_of(rs, n, &s->alo, &s->ahi), rank = kw < 0 ? 0 : n->in[kw]->t.rank;
  if (kw < 0) return;
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
  int64_t each = r->rows > 1 && ext[r->axis] == 1 ? r->rows : 1; /* constants that do not vary along the axis serve every row */
  s->pos = NEWN(c->a, int64_t, outs * each);
  s->neg = NEWN(c->a, int64_t, outs * each);
  s->row = NEWN(c->a, int64_t, outs * each);
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
  s->n = outs * each;
  for (int64_t o = outs; o < s->n; o++) s->pos[o] = s->pos[o % outs], s->neg[o] = s->neg[o % outs], s->row[o] = o / outs;
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

static int64_t clamp62(wide v) { return v > (wide)1 << 62 ? INT64_C(1) << 62 : v < -((wide)1 << 62) ? -(INT64_C(1) << 62) : (int64_t)v; }

/* The same sums of a narrower range of activations. */
static void narrow_sums(CertEntry *e, int64_t alo, int64_t ahi) {
  CertSums *s = &e->sums;
  s->alo = alo, s->ahi = ahi;
  for (int64_t r = 0; r < e->rows; r++) e->lo[r] = INT64_MAX, e->hi[r] = INT64_MIN;
  for (int64_t i = 0; i < s->n; i++) {
    int64_t lo = clamp62((wide)s->pos[i] * alo + (wide)s->neg[i] * ahi), hi = clamp62((wide)s->pos[i] * ahi + (wide)s->neg[i] * alo);
    if (lo < e->lo[s->row[i]]) e->lo[s->row[i]] = lo;
    if (hi > e->hi[s->row[i]]) e->hi[s->row[i]] = hi;
  }
}

/* f * v lies in plo..phi: where v does. */
static void narrow_factor(int64_t f, int64_t plo, int64_t phi, int64_t *lo, int64_t *hi) {
  int64_t a = (f > 0 ? plo : phi) / f, b = (f > 0 ? phi : plo) / f;
  if (a > *lo) *lo = a;
  if (b < *hi) *hi = b;
}

void certificate_narrow(Certificate *c, Ranges *rs, const Node *levels, int64_t rows, const int64_t *least, const int64_t *most) {
  int64_t lo, hi, lo2, hi2;
  if (!c || levels->a.certified < 1 || levels->a.certified > c->entry.n) return;
  CertEntry *e = &c->entry.p[levels->a.certified - 1];
  const Node *x = levels->in[0];
  while (node_is_map(x, S_CAST) || x->op == OP_RESHAPE) x = x->in[0];
  if (e->n_in == 2) {
    if (!node_is_map(x, S_ADD) || !range_hull(rs, x->in[0], &lo, &hi) || !range_hull(rs, x->in[1], &lo2, &hi2)) return;
    for (int64_t r = 0; r < e->rows; r++) narrow_factor(e->factor[0], lo, hi, &e->lo[r], &e->hi[r]);
    narrow_factor(e->factor[1], lo2, hi2, &e->lo2, &e->hi2);
    e->sum_lo = NEWN(c->a, int64_t, e->rows);
    e->sum_hi = NEWN(c->a, int64_t, e->rows);
    for (int64_t r = 0; r < e->rows; r++) e->sum_lo[r] = least[rows > 1 ? r : 0], e->sum_hi[r] = most[rows > 1 ? r : 0];
    return;
  }
  if (e->sums.n && weights_of(rs, x, &lo, &hi) >= 0) {
    bool as_wide = true;
    narrow_sums(e, lo, hi);
    for (int64_t r = 0; r < e->rows; r++) as_wide = as_wide && e->lo[r] >= least[rows > 1 ? r : 0] && e->hi[r] <= most[rows > 1 ? r : 0];
    if (as_wide) return;
  }
  e->sums.n = 0; /* the range is what the passes know, no more a sum of weights */
  for (int64_t r = 0; r < e->rows; r++) {
    if (least[rows > 1 ? r : 0] > e->lo[r]) e->lo[r] = least[rows > 1 ? r : 0];
    if (most[rows > 1 ? r : 0] < e->hi[r]) e->hi[r] = most[rows > 1 ? r : 0];
  }
}
