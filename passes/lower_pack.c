/* Packing over lanes: codes that lie in memory become words. Where neighbouring codes of a word are neighbours in memory, as many as
 * a vector holds are tested at once and become bits by a mask; where neighbours along another dimension are (pixels), the lanes are
 * those, a bit of each of their words at a time, in halves of 32 bits. Only whole words: the rest is packed bit by bit. */
#include "passes/lower_lanes.h"

enum { WORD = 64, HALF = 32, LEAST = 8 };

static Expr *bit_of(Lower *l, const Node *x, Expr *code, int k) {
  Program *p = l->p;
  if (x->t.e.kind == EK_BASES) return widen_simple(p, nx2(p, S_LT, nx_const_i(p, code->t, 0), code));
  if (code->t.e.kind == EK_BOOL) return code;
  return widen_simple(p, nx_cast(p, nx2(p, S_AND, code, nx_const_i(p, code->t, INT64_C(1) << k)), BOOL));
}

/* Bit k of the codes of n lanes along dimension dim from idx on, for each plane; false where they have no such form. */
static bool wide_bits(Lower *l, const Node *x, const Lin *idx, int dim, int n, int planes, Expr **bit) {
  Widen w;
  Block one;
  Lin in[MAX_RANK];
  int lane = nest_var(l->p, l->nest, "t", nt(l->p->index), true);
  widen_init(&w, l, n, lane, -1, NULL);
  block_init(&one);
  Scope s = block_enter(l, &one);
  for (int d = 0; d < x->t.rank; d++) in[d] = idx[d];
  in[dim] = lin_mad(l, in[dim], lin_atom(l, nx_var(l->p, l->nest, lane), 0, n - 1), 1);
  Expr *code = let(l, "x", value(l, x, in));
  block_leave(l, s);
  if (!widen_block(&w, &one, l->at)) return false;
  for (int k = 0; k < planes; k++) {
    bit[k] = widen(&w, bit_of(l, x, code, k));
    if (!bit[k] || bit[k]->kind == EX_SPLAT) return false;
  }
  return true;
}

static void store_word(Lower *l, const Node *root, const Lin *idx, Lin word, int k, Expr *v) {
  Lin out[MAX_RANK];
  int rank = root->in[0]->t.rank;
  for (int d = 0; d < rank - 1; d++) out[d] = idx[d];
  out[rank - 1] = lin_c(k);
  out[rank] = word;
  ns_store(l->p, l->at, l->buf[root->id], lin_expr(l, lin_flat(l, &root->t, out)), v);
}

/* Lanes along the packed dimension. */
static bool by_masks(Lower *l, const Node *root, Lin *idx, Lin word, int planes) {
  Program *p = l->p;
  Expr *all[LANE_CODE_BITS] = {NULL}, *bit[LANE_CODE_BITS];
  int n = l->pack->lanes, last = root->in[0]->t.rank - 1;
  for (int at = 0; at < WORD; at += n) {
    idx[last] = lin_mad(l, lin_c(at), word, WORD);
    if (!wide_bits(l, root->in[0], idx, last, n, planes, bit)) return false;
    for (int k = 0; k < planes; k++) {
      Expr *m = nx_cast(p, nx_mask(p, bit[k]), UINTK(WORD));
      if (at) m = nx2(p, S_SHL, m, nx_const_i(p, m->t, at));
      all[k] = let(l, "p", all[k] ? nx2(p, S_OR, all[k], m) : m);
    }
  }
  for (int k = 0; k < planes; k++) store_word(l, root, idx, word, k, all[k]);
  return true;
}

/* One half of the words of n lanes along dimension dim: a loop over its bits. */
static bool half_words(Lower *l, const Node *root, Lin *idx, Lin word, int half, int planes, Expr **got) {
  Program *p = l->p;
  int n = l->pack->lanes, last = root->in[0]->t.rank - 1, var[LANE_CODE_BITS];
  NType t = ntv(UINTK(HALF), n);
  int64_t count = HALF;
  Lin i;
  for (int k = 0; k < planes; k++) {
    var[k] = nest_var(p, l->nest, "half", t, false);
    ns_vardef(p, l->at, var[k], nx_const_i(p, t, 0));
    got[k] = nx_var(p, l->nest, var[k]);
  }
  Scope s = loops_open(l, (const char *)root + 1, 1, &count, &i, NULL, NULL);
  Expr *one = nx2(p, S_SHL, nx_const_i(p, nt(t.e), 1), nx_cast(p, lin_expr(l, i), t.e)), *bit[LANE_CODE_BITS];
  one = let(l, "one", nx_splat(p, one, n));
  idx[last] = lin_mad(l, lin_mad(l, lin_c((int64_t)half * HALF), word, WORD), i, 1);
  bool ok = wide_bits(l, root->in[0], idx, l->pack->dim, n, planes, bit);
  for (int k = 0; ok && k < planes; k++) ns_set(p, l->at, var[k], nx2(p, S_OR, got[k], nx3(p, S_SELECT, bit[k], one, nx_const_i(p, t, 0))));
  block_leave(l, s);
  return ok;
}

static bool by_lanes(Lower *l, const Node *root, Lin *idx, Lin word, int planes) {
  Program *p = l->p;
  Expr *half[2][LANE_CODE_BITS];
  int n = l->pack->lanes, dim = l->pack->dim, stride = 1;
  uint8_t order[64], lane;
  for (int h = 0; h < 2; h++)
    if (!half_words(l, root, idx, word, h, planes, half[h])) return false;
  for (int d = dim + 1; d < root->t.rank; d++) stride *= (int)root->t.d[d].n;
  for (int k = 0; k < planes; k++)
    for (int part = 0; part < 2; part++) {
      Lin at[MAX_RANK];
      for (int i = 0; i < n; i++) order[i] = (uint8_t)(part * n / 2 + i / 2 + (i % 2 ? n : 0));
      Expr *v = let(l, "v", nx_relane(p, nx_perm2(p, half[0][k], half[1][k], order, n), UINTK(WORD)));
      for (int d = 0; d < root->in[0]->t.rank; d++) at[d] = idx[d];
      for (int i = 0; i < n / 2; i += stride == 1 ? n / 2 : 1) {
        at[dim] = lin_mad(l, idx[dim], lin_c(part * n / 2 + i), 1);
        lane = (uint8_t)i;
        store_word(l, root, at, word, k, stride == 1 || n == 2 ? v : nx_perm(p, v, &lane, 1));
      }
    }
  return true;
}

void pack_lanes_body(Lower *l, const Node *root) {
  const Node *x = root->in[0];
  int last = x->t.rank - 1, planes = (int)root->t.d[last].n, dim = l->pack->dim;
  int64_t ext[MAX_RANK] = {0}, words = x->t.d[last].n / WORD, n = l->pack->lanes;
  Lin idx[MAX_RANK];
  for (int d = 0; d < last; d++) ext[d] = x->t.d[d].n;
  ext[last] = words;
  if (dim != last) ext[dim] = (ext[dim] + n - 1) / n;
  Scope outer = loops_open(l, root, x->t.rank, ext, idx, NULL, NULL);
  Lin word = idx[last];
  if (dim != last) idx[dim] = tile_start(l, idx[dim], n, x->t.d[dim].n);
  bool ok = dim == last ? by_masks(l, root, idx, word, planes) : by_lanes(l, root, idx, word, planes);
  block_leave(l, outer);
  l->pack->failed = !ok;
  if (ok && x->t.d[last].n % WORD) pack_rest(l, root);
}

/* The candidates in order: the packed dimension with ever fewer lanes, then each other one from the last on. Candidate number i
 * into l->pack; false where there are no more. */
bool pack_lanes_next(Lower *l, const Node *root, int i) {
  const Node *x = root->in[0];
  int bits, last = x->t.rank - 1;
  if (!lanes_target(l->opt->target, &bits) || l->opt->hls || root->t.e.bits != WORD || x->t.d[last].n < WORD || root->t.d[last].n > LANE_CODE_BITS) return false;
  if (x->op == OP_CONST || (l->tile.met && l->buf[x->id] < 0)) return false;
  PackLanes *p = l->pack = l->pack ? l->pack : NEW(l->tmp, PackLanes);
  if (i < 4) *p = (PackLanes){.dim = last, .lanes = bits / 8 >> i};
  else *p = (PackLanes){.dim = last + 3 - i, .lanes = bits / HALF};
  if (p->dim < 0) return false;
  bool fits = p->dim == last ? p->lanes >= LEAST && p->lanes <= WORD : x->t.d[p->dim].n >= p->lanes;
  p->failed = !fits;
  return true;
}
