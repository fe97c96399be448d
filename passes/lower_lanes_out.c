/* What becomes of the counts of a block: sums of channels side by side, the rest of the nest over them, and stores: of vectors
 * where neighbouring channels are neighbours in memory; of vectors turned about where neighbouring rows (pixels) are; else lane by lane.
 * Codes that are packed become words by masks. */
#include "passes/lower_lanes.h"

/* Sums of group g in row r over parts*lanes channels, as pieces. */
static Expr *group_sums(Lower *l, int r, int g) {
  const Lanes *s = l->tile.lanes;
  Program *p = l->p;
  Expr *total = NULL;
  if (s->count == COUNT_DOT) return s->counts[0][r][g];
  for (int k = 0; k < s->pairs.n; k++) {
    Expr *x = NULL;
    for (int j = 0; j < s->parts; j++) {
      Expr *v = s->counts[k][r][g * s->parts + j];
      if (j) v = nx2(p, S_SHL, v, nx_const_i(p, v->t, j * s->piece.bits));
      x = x ? nx2(p, S_OR, x, v) : v;
    }
    x = nx_relane(p, x, s->piece);
    int64_t c = s->pairs.coef[k], m = c < 0 ? -c : c, by = 0;
    while (m > 1 && m % 2 == 0) m /= 2, by++;
    if (by) x = nx2(p, S_SHL, x, nx_const_i(p, x->t, by));
    if (m != 1) x = nx2(p, S_MUL, x, nx_const_i(p, x->t, m));
    total = !total ? (c < 0 ? nx1(p, S_NEG, x) : x) : nx2(p, c < 0 ? S_SUB : S_ADD, total, x);
  }
  return let(l, "sum", total);
}

/* Index of the element of a node of this rank that lane t of the block holds, in row r. */
static void lane_index(Lower *l, int rank, int r, Lin t, Lin *idx) {
  const Tile *tile = &l->tile;
  for (int d = 0; d < rank; d++) idx[d] = tile->first[d];
  idx[tile->dim] = lin_mad(l, idx[tile->dim], t, 1);
  if (tile->rows > 1) idx[tile->row_dim] = lin_mad(l, idx[tile->row_dim], lin_c(r), 1);
}

/* Statements over one element, with a variable for the lane and one for the sum; then over all lanes. */
typedef struct Element { Widen w; Block one; Scope scope; Lin lane; } Element;

static void element_open(Lower *l, Element *e, Expr *sums, int first) {
  const Tile *tile = &l->tile;
  int lane = nest_var(l->p, l->nest, "t", nt(l->p->index), true), sum = nest_var(l->p, l->nest, "s", nt(sums->t.e), false);
  widen_init(&e->w, l, sums->t.lanes, lane, sum, sums);
  block_init(&e->one);
  e->scope = block_enter(l, &e->one);
  e->lane = lin_mad(l, lin_c(first), lin_atom(l, nx_var(l->p, l->nest, lane), 0, sums->t.lanes - 1), 1);
  l->tile.ready = tile->n;
  l->tile.sum = nx_var(l->p, l->nest, sum);
}

static void element_close(Lower *l, Element *e) {
  block_leave(l, e->scope);
  l->tile.ready = NULL;
  l->tile.sum = NULL;
}

/* Stores */

/* The sums in memory, and a loop over those from..n-1. */
static void store_loop(Lower *l, const Node *root, Expr *sums, int r, int first, int from, int n) {
  Program *p = l->p;
  Lanes *s = l->tile.lanes;
  Lin idx[MAX_RANK];
  int all = sums->t.lanes;
  if (s->sums < 0) s->sums = program_buf(p, nest_name(p, "sum", l->tile.n->loc.name ? l->tile.n->loc.name : ""), sums->t.e, SP_REG, all, NULL);
  ns_store(p, l->at, s->sums, nx_idx(p, 0), sums);
  int var = nest_var(p, l->nest, "t", nt(p->index), true);
  Stmt *loop = ns_for(p, l->at, var, nx_idx(p, from), nx_idx(p, n), 1, n - from);
  loop->mark = MARK_VECTOR;
  Scope scope = block_enter(l, &loop->body);
  Lin t = lin_atom(l, nx_var(p, l->nest, var), from, n - 1);
  lane_index(l, root->t.rank, r, lin_mad(l, lin_c(first), t, 1), idx);
  l->tile.ready = l->tile.n;
  l->tile.sum = nx_load(p, s->sums, lin_expr(l, t), 1);
  store_element(l, root, idx, root == l->tile.n ? tile_value(l, root) : NULL);
  l->tile.ready = NULL;
  l->tile.sum = NULL;
  block_leave(l, scope);
}

/* Elements of row r from lane `first` on; NULL where they have no form over lanes. */
static Expr *wide_value(Lower *l, const Node *root, Expr *sums, int r, int first) {
  Element e;
  Lin idx[MAX_RANK];
  element_open(l, &e, sums, first);
  lane_index(l, root->t.rank, r, e.lane, idx);
  Expr *x = root == l->tile.n ? tile_value(l, root) : element_value(l, root, idx);
  element_close(l, &e);
  if (!widen_block(&e.w, &e.one, l->at)) return NULL;
  x = widen(&e.w, x);
  return x ? let(l, "v", x) : NULL;
}

/* Lanes from..from+n-1. */
static Expr *piece(Lower *l, Expr *x, int from, int n) {
  uint8_t at[64];
  if (n == x->t.lanes) return x;
  for (int i = 0; i < n; i++) at[i] = (uint8_t)(from + i);
  return nx_perm(l->p, x, at, n);
}

/* Groups of `unit` lanes of a and b in turn, from the lower or upper half of each. */
static Expr *interleaved(Lower *l, Expr *a, Expr *b, int unit, int half) {
  uint8_t at[64];
  int n = a->t.lanes;
  for (int i = 0; i < n; i++) at[i] = (uint8_t)(half * n / 2 + i / (2 * unit) * unit + i % unit + (i / unit % 2 ? n : 0));
  return let(l, "u", nx_perm2(l->p, a, b, at, n));
}

/* v[row], lanes of channels, become v[k], pieces of `rows` lanes of pixels: rows a power of two. Each step joins two pieces of
 * `unit` pixels, and parts their channels in two. */
static void turn(Lower *l, Expr **v, int rows) {
  Expr *u[TILE_ROWS];
  for (int unit = 1; unit < rows; unit *= 2) {
    for (int i = 0; i < rows; i++) u[i] = v[i];
    for (int to = 0; to < rows; to++) {
      int group = to / (2 * unit), part = to % (2 * unit) / 2;
      v[to] = interleaved(l, u[2 * group * unit + part], u[(2 * group + 1) * unit + part], unit, to % 2);
    }
  }
}

static Lin place_of(Lower *l, const Node *root, int r, int lane) {
  Lin idx[MAX_RANK];
  lane_index(l, root->t.rank, r, lin_c(lane), idx);
  return element_place(l, root, idx);
}

static bool neighbours(Lower *l, Lin a, Lin b) {
  Lin step = lin_mad(l, b, a, -1);
  return step.n == 0 && step.c == 1;
}

static void store_rows(Lower *l, const Node *root, Expr **v, int first) {
  Program *p = l->p;
  int rows = l->tile.rows, n = v[0]->t.lanes;
  bool turned = rows > 1 && !(rows & (rows - 1)) && n >= rows && neighbours(l, place_of(l, root, 0, first), place_of(l, root, 1, first));
  if (neighbours(l, place_of(l, root, 0, first), place_of(l, root, 0, first + 1))) {
    for (int r = 0; r < rows; r++) ns_store(p, l->at, l->to.buf, lin_expr(l, place_of(l, root, r, first)), v[r]);
    return;
  }
  if (turned) turn(l, v, rows);
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < n; i += turned ? rows : 1) {
      int lane = turned ? (r * n + i) / rows : i;
      ns_store(p, l->at, l->to.buf, lin_expr(l, place_of(l, root, turned ? 0 : r, first + lane)), piece(l, v[r], i, turned ? rows : 1));
    }
}

enum { LEAST = 4 };

/* Lanes first.. of all rows in pieces of up to n lanes; gives how many lanes are done, fewer than LEAST are left. -1: there is no such form. */
static int store_pieces(Lower *l, const Node *root, Expr *const *sums, int first, int lanes, int n) {
  Expr *v[TILE_ROWS];
  int from = 0;
  for (; from < lanes; from += n) {
    while (n > lanes - from) n /= 2;
    if (n < LEAST) break;
    for (int r = 0; r < l->tile.rows; r++)
      if (!(v[r] = wide_value(l, root, let(l, "sum", piece(l, sums[r], from, n)), r, first + from))) return -1;
    store_rows(l, root, v, first + from);
  }
  return from;
}

/* In pieces as wide as the types of the expression allow. */
void lanes_store(Lower *l, const Node *root, int g) {
  Expr *sums[TILE_ROWS];
  const Lanes *s = l->tile.lanes;
  int rows = l->tile.rows, all = s->parts * s->lanes, first = g * all, done = -1;
  int lanes = s->channels < all ? (int)s->channels : all;
  for (int r = 0; r < rows; r++) sums[r] = group_sums(l, r, g);
  for (int n = all; done < 0 && (n >= 2 * LEAST || n == all); n /= 2) done = store_pieces(l, root, sums, first, lanes, n);
  if (done < 0) done = 0;
  for (int r = 0; r < rows && done < lanes; r++) store_loop(l, root, sums[r], r, first, done, lanes);
}

/* Packing */

static int planes_of_pack(const Node *pack) { return (int)pack->t.d[pack->t.rank - 2].n; }

/* Bit k of the codes as the low bits of a word. */
static Expr *code_bits(Lower *l, Element *e, Expr *x, int k, bool sign) {
  Program *p = l->p;
  Expr *bit = sign ? nx2(p, S_LT, nx_const_i(p, x->t, 0), x) : nx_cast(p, nx2(p, S_AND, x, nx_const_i(p, x->t, INT64_C(1) << k)), BOOL);
  Expr *v = widen(&e->w, widen_simple(p, bit));
  return v && v->t.lanes >= 8 ? nx_cast(p, nx_mask(p, v), UINTK(64)) : NULL;
}

bool lanes_bits(Lower *l, const Node *pack, int r, int g, int at, Expr **word) {
  Element e;
  Lin idx[MAX_RANK];
  const Node *x = pack->in[0];
  const Lanes *s = l->tile.lanes;
  Program *p = l->p;
  element_open(l, &e, group_sums(l, r, g), g * s->parts * s->lanes);
  lane_index(l, x->t.rank, r, e.lane, idx);
  Expr *code = value(l, x, idx);
  element_close(l, &e);
  if (!widen_block(&e.w, &e.one, l->at)) return false;
  bool sign = x->t.e.kind == EK_BASES;
  if (code->t.e.kind == EK_BOOL) code = nx_cast(p, code, U8);
  for (int k = 0; k < planes_of_pack(pack); k++) {
    Expr *bits = code_bits(l, &e, code, k, sign);
    if (!bits) return false;
    if (at) bits = nx2(p, S_SHL, bits, nx_const_i(p, bits->t, at));
    word[k] = let(l, "p", word[k] ? nx2(p, S_OR, word[k], bits) : bits);
  }
  return true;
}

void lanes_pack(Lower *l, const Node *pack, Lin word, int r, Expr *const *bits) {
  const Tile *tile = &l->tile;
  int rank = pack->in[0]->t.rank;
  Lin out[MAX_RANK];
  for (int d = 0; d < rank - 1; d++) out[d] = tile->first[d];
  if (tile->rows > 1) out[tile->row_dim] = lin_mad(l, out[tile->row_dim], lin_c(r), 1);
  out[rank] = word;
  for (int k = 0; k < planes_of_pack(pack); k++) {
    out[rank - 1] = lin_c(k);
    ns_store(l->p, l->at, l->buf[pack->id], lin_expr(l, lin_flat(l, &pack->t, out)), bits[k]);
  }
}
