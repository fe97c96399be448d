#include "passes/certificate_add.h"

#include "passes/access.h"

__extension__ typedef __int128 wide;

Certificate *certificate_new(Ctx *ctx) {
  Certificate *c = NEW(ctx->own, Certificate);
  c->a = ctx->own;
  return c;
}

static int64_t clamp62(wide v) { return v > (wide)1 << 62 ? INT64_C(1) << 62 : v < -((wide)1 << 62) ? -(INT64_C(1) << 62) : (int64_t)v; }

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

/* The sums of constants for every combination of the output iterators that the constant operand's access reads, for rows along the axis. */
static void sums_of(Certificate *c, Ranges *rs, const Node *n, int64_t rows, int axis, CertSums *s) {
  const Iters *it = n->a.iters;
  int64_t ext[MAX_ITERS], idx[MAX_ITERS] = {0}, outs = 1, reds = 1, times = 1;
  *s = (CertSums){0};
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
  int64_t each = rows > 1 && ext[axis] == 1 ? rows : 1; /* constants that do not vary along the axis serve every row */
  s->pos = NEWN(c->a, int64_t, outs * each);
  s->neg = NEWN(c->a, int64_t, outs * each);
  s->row = NEWN(c->a, int64_t, outs * each);
  for (int64_t o = 0; o < outs; o++) {
    s->row[o] = rows > 1 ? idx[axis] : 0;
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
  s->terms = reds * times;
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
  if (r->first == 1) sums_of(c, rs, r->base, r->rows, r->axis, &e.sums);
  vec_push(c->a, &c->entry, e);
  return c->entry.n;
}

/* The least and the greatest sums of every row. */
static void sums_ends(const CertEntry *e, int64_t *lo, int64_t *hi) {
  const CertSums *s = &e->sums;
  for (int64_t r = 0; r < e->rows; r++) lo[r] = INT64_MAX, hi[r] = INT64_MIN;
  for (int64_t i = 0; i < s->n; i++) {
    int64_t least = clamp62((wide)s->pos[i] * s->alo + (wide)s->neg[i] * s->ahi), most = clamp62((wide)s->pos[i] * s->ahi + (wide)s->neg[i] * s->alo);
    if (least < lo[s->row[i]]) lo[s->row[i]] = least;
    if (most > hi[s->row[i]]) hi[s->row[i]] = most;
  }
}

int64_t certificate_rows(const Certificate *c, int number) { return c && number > 0 && number <= c->entry.n ? c->entry.p[number - 1].rows : 0; }

static int64_t *chosen(Arena *a, const int64_t *v, const int64_t *kept, int64_t n) {
  int64_t *y = NEWN(a, int64_t, n + 1);
  for (int64_t i = 0; i < n; i++) y[i] = v[kept[i]];
  return y;
}

static void cut_operand(Arena *a, CertOperand *o, int64_t each, int64_t rows, const int64_t *kept, int64_t n) {
  if (o->from >= 0 || o->n != rows * each) return; /* one for all rows */
  Val *v = NEWN(a, Val, n * each + 1);
  for (int64_t i = 0; i < n * each; i++) v[i] = o->v[kept[i / each] * each + i % each];
  o->v = v, o->n = n * each;
}

static void cut_sums(Arena *a, CertSums *s, const int64_t *kept, int64_t n) {
  CertSums y = {.alo = s->alo, .ahi = s->ahi, .terms = s->terms};
  y.pos = NEWN(a, int64_t, s->n + 1), y.neg = NEWN(a, int64_t, s->n + 1), y.row = NEWN(a, int64_t, s->n + 1);
  for (int64_t i = 0; i < s->n; i++)
    for (int64_t r = 0; r < n; r++)
      if (kept[r] == s->row[i]) y.pos[y.n] = s->pos[i], y.neg[y.n] = s->neg[i], y.row[y.n++] = r;
  *s = y;
}

int certificate_cut(Certificate *c, int number, const int64_t *kept, int64_t n) {
  int64_t rows = certificate_rows(c, number);
  if (rows <= 1 || n == rows) return number;
  CertEntry e = c->entry.p[number - 1];
  CertStep *step = NEWN(c->a, CertStep, e.n_steps);
  for (int i = 0; i < e.n_steps; i++) {
    step[i] = e.step[i];
    for (int k = 0; k < step[i].n_in; k++) cut_operand(c->a, &step[i].in[k], step[i].op == OP_THRESHOLDS && k == 1 ? step[i].levels : 1, rows, kept, n);
  }
  e.step = step;
  e.lo = chosen(c->a, e.lo, kept, n), e.hi = chosen(c->a, e.hi, kept, n);
  if (e.share) e.share = chosen(c->a, e.share, kept, n);
  if (e.sum_lo) e.sum_lo = chosen(c->a, e.sum_lo, kept, n), e.sum_hi = chosen(c->a, e.sum_hi, kept, n);
  if (e.kept) e.kept = chosen(c->a, e.kept, kept, n);
  else {
    e.kept = NEWN(c->a, int64_t, n + 1);
    for (int64_t i = 0; i < n; i++) e.kept[i] = kept[i];
  }
  if (e.sums.n) cut_sums(c->a, &e.sums, kept, n);
  e.rows = n;
  vec_push(c->a, &c->entry, e);
  return c->entry.n;
}

/* The sums' own reason, where they do not leave the range. */
static void sums_inside(Certificate *c, CertEntry *e) {
  int64_t *lo = NEWN(c->a, int64_t, e->rows), *hi = NEWN(c->a, int64_t, e->rows);
  sums_ends(e, lo, hi);
  for (int64_t r = 0; r < e->rows && e->sums.n; r++)
    if (lo[r] < e->lo[r] || hi[r] > e->hi[r]) e->sums.n = 0;
}

int certificate_share(Certificate *c, Ranges *rs, int number, const Node *sum, int axis, const int64_t *share, int64_t rows) {
  int64_t had = certificate_rows(c, number);
  if (had == 0) return number;
  CertEntry e = c->entry.p[number - 1];
  if (e.n_in != 1 || (had > 1 && rows > 1 && had != rows)) return CERT_LOST;
  e.rows = had > rows ? had : rows;
  int64_t *lo = NEWN(c->a, int64_t, e.rows), *hi = NEWN(c->a, int64_t, e.rows), *all = NEWN(c->a, int64_t, e.rows);
  for (int64_t r = 0; r < e.rows; r++) {
    int64_t from = had > 1 ? r : 0, v = share[rows > 1 ? r : 0];
    if (__builtin_sub_overflow(e.lo[from], v, &lo[r]) || __builtin_sub_overflow(e.hi[from], v, &hi[r]) || !add_ok(e.share ? e.share[from] : 0, v, &all[r])) return CERT_LOST;
    if (lo[r] < elem_lo(sum->t.e)) lo[r] = elem_lo(sum->t.e);
    if (hi[r] > elem_hi(sum->t.e)) hi[r] = elem_hi(sum->t.e);
  }
  e.lo = lo, e.hi = hi, e.share = all;
  e.in[0] = sum->t.e;
  sums_of(c, rs, sum, e.rows, axis, &e.sums);
  if (e.sums.n) sums_inside(c, &e);
  vec_push(c->a, &c->entry, e);
  return c->entry.n;
}

/* f * v lies in plo..phi: where v does. */
static void narrow_factor(int64_t f, int64_t plo, int64_t phi, int64_t *lo, int64_t *hi) {
  int64_t a = (f > 0 ? plo : phi) / f, b = (f > 0 ? phi : plo) / f;
  if (a > *lo) *lo = a;
  if (b < *hi) *hi = b;
}

static int64_t sum_terms(const Node *n) {
  int64_t terms = 1;
  for (int i = 0; i < n->a.iters->n_red; i++) terms *= n->a.iters->red[i].n;
  return terms;
}

void certificate_narrow(Certificate *c, Ranges *rs, const Node *levels, int64_t rows, const int64_t *least, const int64_t *most) {
  int64_t lo, hi, lo2, hi2;
  if (!c || levels->a.certified < 1 || levels->a.certified > c->entry.n) return;
  CertEntry *e = &c->entry.p[levels->a.certified - 1];
  const Node *x = levels->in[0];
  bool moved = false;
  for (; node_is_map(x, S_CAST) || x->op == OP_RESHAPE; x = x->in[0]) moved = moved || x->op == OP_RESHAPE;
  if (e->n_in == 2) {
    if (!node_is_map(x, S_ADD) || !range_hull(rs, x->in[0], &lo, &hi) || !range_hull(rs, x->in[1], &lo2, &hi2)) return;
    for (int64_t r = 0; r < e->rows; r++) narrow_factor(e->factor[0], lo, hi, &e->lo[r], &e->hi[r]);
    narrow_factor(e->factor[1], lo2, hi2, &e->lo2, &e->hi2);
    e->sum_lo = NEWN(c->a, int64_t, e->rows);
    e->sum_hi = NEWN(c->a, int64_t, e->rows);
    for (int64_t r = 0; r < e->rows; r++) e->sum_lo[r] = least[rows > 1 ? r : 0], e->sum_hi[r] = most[rows > 1 ? r : 0];
    return;
  }
  CertEntry now = *e; /* the same sums of a narrower range of activations; where prune took terms, those that are left */
  bool sums = e->sums.n && weights_of(rs, x, &now.sums.alo, &now.sums.ahi) >= 0;
  if (sums && sum_terms(x) != e->sums.terms) {
    now.sums.n = 0;
    if (!moved || e->rows == 1) sums_of(c, rs, x, e->rows, levels->a.axis, &now.sums);
  }
  if (sums && now.sums.n) {
    bool as_wide = true;
    now.lo = NEWN(c->a, int64_t, e->rows), now.hi = NEWN(c->a, int64_t, e->rows);
    sums_ends(&now, now.lo, now.hi);
    for (int64_t r = 0; r < e->rows; r++) as_wide = as_wide && now.lo[r] >= least[rows > 1 ? r : 0] && now.hi[r] <= most[rows > 1 ? r : 0];
    if (as_wide) {
      *e = now;
      return;
    }
  }
  e->sums.n = 0; /* the range is what the passes know, no more a sum of weights */
  for (int64_t r = 0; r < e->rows; r++) {
    if (least[rows > 1 ? r : 0] > e->lo[r]) e->lo[r] = least[rows > 1 ? r : 0];
    if (most[rows > 1 ? r : 0] < e->hi[r]) e->hi[r] = most[rows > 1 ? r : 0];
  }
}
