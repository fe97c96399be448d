/* Lanes: a contraction computed for a block of outputs at once; of words here, of codes that multiply in lower_dot.c. Output channels lie
 * in the lanes of vectors of 64-bit words, a word of activations is splat over them, and a tile of up to four rows (pixels) times four vectors
 * of channels is counted in registers (lower_count.c). The constant words are laid out anew, in the order in which the loops read them:
 *   [block of channels][reductions][plane][vector][lane].
 * In the end the counts of `parts` neighbouring vectors are put together in the pieces of one vector: lane i of vector j is channel
 * parts*i + j, so that shifts by 32 or 16 bits bring them in order. What follows is one element's expression over all lanes
 * (lower_widen.c, lower_lanes_out.c); where that does not exist, a loop over the sums. */
#include "passes/contract.h"
#include "passes/lower_lanes.h"

#include <string.h>

enum { VECS = 4 };

/* Vectors of a target: bits, and how words are counted. */
static bool machine(const Target *t, int *bits, Count *count) {
  if (!t || t->word != 64) return false;
  bool x86 = !strcmp(target_arch(t), "x86_64"), arm = !strcmp(target_arch(t), "aarch64");
  *bits = x86 && target_has(t, "avx512bw") && target_has(t, "avx512dq") ? 512 : x86 && target_has(t, "avx2") ? 256 : arm ? 128 : 0;
  *count = target_has(t, "avx512vpopcntdq") || arm ? COUNT_EACH : COUNT_CARRY;
  return *bits > 0;
}

bool lanes_target(const Target *t, int *bits) {
  Count count;
  return machine(t, bits, &count);
}

static const Node *element_of(const Node *root) { return root->op == OP_PACK ? root->in[0] : root; }

void lanes_probe(Lower *l, const Node *root) {
  const Node *e = element_of(root);
  int64_t ext[MAX_RANK] = {0};
  Lin idx[MAX_RANK];
  for (int d = 0; d < e->t.rank; d++) ext[d] = e->t.d[d].n;
  Scope outer = loops_open(l, NULL, e->t.rank, ext, idx, NULL, NULL);
  if (e == root) compute(l, e, idx);
  else value(l, e, idx);
  block_leave(l, outer);
}

bool lanes_wanted(const Lower *l, const Node *root) {
  int bits;
  Count count;
  const Node *n = l->tile.met;
  if (l->opt->hls || !n || (root->op == OP_PACK && l->buf[root->in[0]->id] >= 0)) return false;
  if (n->a.scalar == S_MUL) return dot_plan(l, n, &(Lanes){.w = 0});
  return machine(l->opt->target, &bits, &count);
}

/* Which operand are the constant words; both are of 64 bits, the other one lies in a buffer and is never read outside. */
static bool find_operands(const Lower *l, const Node *n, int *w) {
  for (int k = 0; k < 2; k++)
    if (!elem_eq(n->in[k]->t.e, UINTK(64))) return false;
  *w = node_is_const(n->in[1]) ? 1 : 0;
  return node_is_const(n->in[*w]) && !node_is_const(n->in[1 - *w]) && l->buf[n->in[1 - *w]->id] >= 0 && access_inside(n, 1 - *w) &&
         access_inside(n, *w);
}

/* The one output iterator that moves the constant words, and not the activations. */
static int lane_iter(const Node *n, int w) {
  int found = -1;
  for (int v = 0; v < n->t.rank; v++) {
    if (n->t.d[v].n == 1 || !contract_depends(n, w, v)) continue;
    if (found >= 0 || contract_depends(n, 1 - w, v)) return -1;
    found = v;
  }
  return found;
}

/* Rows: the longest loop that moves the activations. */
static void find_rows(Lower *l, const Loops *loops, const Lanes *s) {
  Tile *t = &l->tile;
  int64_t best = 1;
  for (int i = 0; i < loops->nd; i++) {
    int v = tile_iter(l, t->n, loops->atom[i]);
    if (v < 0 || v == t->iter || loops->ext[i] < best || !contract_depends(t->n, 1 - s->w, v)) continue;
    best = loops->ext[i];
    t->row_dim = loops->dim[i];
  }
  t->rows = best < s->rows ? (int)best : s->rows;
}

/* Words of one block of channels, in the order of the loops. */
static void lay_block(const Lower *l, const Lanes *s, int64_t start, uint64_t *to) {
  const Node *n = l->tile.n;
  const Iters *it = n->a.iters;
  const Node *w = n->in[s->w];
  int64_t ext[MAX_ITERS], at[MAX_ITERS] = {0};
  int total = iters_extents(n, ext), plane = s->pairs.iter[s->w] < 0 ? -1 : it->n_out + s->pairs.iter[s->w];
  int64_t size = (int64_t)s->vecs * s->lanes, pw = s->pairs.extent[s->w];
  for (int i = 0; i < it->n_out; i++) ext[i] = 1;
  ext[l->tile.iter] = size;
  for (;;) {
    int64_t i = 0, flat = 0;
    for (int d = 0; d < w->t.rank; d++) {
      const Affine *a = &it->acc[s->w][d];
      int64_t x = a->base + a->coef[l->tile.iter] * start;
      for (int k = 0; k < total; k++) x += a->coef[k] * at[k];
      i = i * w->t.d[d].n + x / a->div;
    }
    for (int k = it->n_out; k < total; k++)
      if (k != plane) flat = flat * lanes_extent(s, n, k - it->n_out) + (lanes_extent(s, n, k - it->n_out) > 1 ? at[k] : 0);
    int64_t c = at[l->tile.iter], group = (int64_t)s->parts * s->lanes;
    int64_t vec = c / group * s->parts + c % s->parts, lane = c % group / s->parts;
    flat = ((flat * pw + (plane < 0 ? 0 : at[plane])) * s->vecs + vec) * s->lanes + lane;
    to[flat] = (uint64_t)tensor_i(w->a.value, i);
    int k = total - 1;
    while (k >= 0 && ++at[k] == ext[k]) at[k--] = 0;
    if (k < 0) return;
  }
}

/* Extent of reduction j among the loops over words: planes have none. */
int64_t lanes_extent(const Lanes *s, const Node *n, int j) {
  return j == s->pairs.iter[0] || j == s->pairs.iter[1] ? 1 : n->a.iters->red[j].n;
}

static void lay_words(Lower *l, Lanes *s) {
  const Node *n = l->tile.n;
  int64_t words = s->pairs.extent[s->w];
  for (int j = 0; j < n->a.iters->n_red; j++) words *= lanes_extent(s, n, j);
  int64_t size = (int64_t)s->vecs * s->lanes, blocks = (s->channels + size - 1) / size;
  s->block_words = words * size;
  uint64_t *to = NEWN(l->p->arena, uint64_t, blocks * s->block_words);
  for (int64_t b = 0; b < blocks; b++) {
    int64_t start = b * size < s->channels - size ? b * size : s->channels - size;
    lay_block(l, s, start, to + b * s->block_words);
  }
  s->words = program_buf(l->p, nest_name(l->p, "w", n->loc.name ? n->loc.name : "words"), UINTK(64), SP_ROM, blocks * s->block_words, to);
}

/* How many vectors share one: pieces of 16 bits where no count is larger, and the node's sums are no wider. */
static bool find_parts(Lower *l, const Node *n, Lanes *s) {
  Elem e = lower_elem(l, n->t.e);
  int64_t most = 64;
  for (int j = 0; j < n->a.iters->n_red; j++) most *= lanes_extent(s, n, j);
  most *= (int64_t)s->pairs.extent[0] * s->pairs.extent[1];
  if (elem_is_float(e) || e.bits > 32 || most > INT32_MAX) return false;
  s->piece = e.bits <= 16 && most < 65536 ? INTK(16) : I32;
  s->parts = 64 / s->piece.bits;
  return true;
}

static bool fits_pack(const Lower *l, const Node *root, const Lanes *s) {
  int64_t size = (int64_t)s->vecs * s->lanes;
  return root->op != OP_PACK || (l->tile.dim == root->in[0]->t.rank - 1 && root->t.e.bits == 64 &&
         root->t.d[root->t.rank - 2].n <= LANE_CODE_BITS && s->channels % size == 0 && 64 % size == 0);
}

static bool plan_words(Lower *l, const Node *n, Lanes *s) {
  int bits;
  if (!machine(l->opt->target, &bits, &s->count) || !find_operands(l, n, &s->w) || !pairs_find(n, &s->pairs) || !find_parts(l, n, s)) return false;
  s->lanes = bits / 64;
  s->rows = s->pairs.n > 2 || s->count == COUNT_CARRY ? 2 : 4;
  return true;
}

/* Vectors of a block: as many as there are channels for, and as share one. */
static bool find_vecs(Lanes *s) {
  int most = s->pairs.n > 2 || s->count == COUNT_CARRY ? s->parts : VECS;
  for (s->vecs = most > s->parts ? most : s->parts; s->vecs * s->lanes > s->channels;) {
    if (s->vecs > s->parts) s->vecs -= s->parts;
    else if (s->parts > 2) s->parts = s->vecs = 2, s->piece = I32;
    else return false;
  }
  return true;
}

bool lanes_decide(Lower *l, const Node *root) {
  const Node *n = l->tile.met;
  Tile *t = &l->tile;
  const Loops *loops = loops_find(l, NULL);
  Lanes *s = NEW(l->tmp, Lanes);
  bool products = n->a.scalar == S_MUL;
  if (t->seen != 1 || !loops || !(products ? dot_plan(l, n, s) : plan_words(l, n, s))) return false;
  t->iter = lane_iter(n, s->w);
  t->dim = -1;
  for (int i = 0; i < loops->nd; i++)
    if (t->iter >= 0 && tile_iter(l, n, loops->atom[i]) == t->iter) t->dim = loops->dim[i];
  if (t->dim < 0) return false;
  s->channels = n->t.d[t->iter].n;
  if (s->channels != element_of(root)->t.d[t->dim].n || (!products && !find_vecs(s)) || !tile_over(l, loops)) return false;
  if (products) dot_vecs(s);
  t->n = n;
  find_rows(l, loops, s);
  if (!fits_pack(l, root, s)) { t->n = NULL; return false; }
  s->words = l->buf[n->in[1 - s->w]->id]; /* of the dry run, which may find that it fails */
  s->sums = -1;
  t->lanes = s;
  return true;
}

/* Output iterators of the contraction in row r, at the block's first channel. */
void lanes_row(Lower *l, int r, Lin *it) {
  const Tile *tile = &l->tile;
  Lin idx[MAX_RANK];
  for (int d = 0; d < tile->rank; d++) idx[d] = tile->first[d];
  if (tile->rows > 1) idx[tile->row_dim] = lin_mad(l, idx[tile->row_dim], lin_c(r), 1);
  for (int v = 0; v < tile->n->t.rank; v++) it[v] = tile_moved(l, tile->idx[v], idx);
}

/* Blocks of channels (for codes that are packed: words of them) are the outermost loop: their words stay in the cache. */
static void section(Lower *l, const Node *root, const void *key, int64_t first, int64_t count, int64_t blocks) {
  Tile *tile = &l->tile;
  Lanes *s = tile->lanes;
  const Node *x = element_of(root);
  int64_t ext[MAX_RANK] = {0}, size = (int64_t)s->vecs * s->lanes;
  int groups = s->vecs / s->parts, planes = root->op == OP_PACK ? (int)root->t.d[root->t.rank - 2].n : 0;
  Lin number;
  if (!count) return;
  Scope outer = loops_open(l, key, 1, &count, &number, NULL, NULL);
  number = lin_mad(l, number, lin_c(first), 1);
  tile->rank = x->t.rank;
  for (int d = 0; d < x->t.rank; d++) ext[d] = x->t.d[d].n;
  ext[tile->dim] = 1;
  if (tile->rows > 1) ext[tile->row_dim] = (ext[tile->row_dim] + tile->rows - 1) / tile->rows;
  Lin start = root->op == OP_PACK ? lin_mad(l, lin_c(0), number, 64) : tile_start(l, number, size, s->channels);
  loops_open(l, (const char *)key + 1, x->t.rank, ext, tile->first, NULL, NULL);
  if (tile->rows > 1) tile->first[tile->row_dim] = tile_start(l, tile->first[tile->row_dim], tile->rows, x->t.d[tile->row_dim].n);
  Expr *bits[TILE_ROWS][LANE_CODE_BITS] = {{NULL}};
  for (int64_t b = 0; b < blocks; b++) {
    tile->first[tile->dim] = lin_mad(l, start, lin_c(b * size), 1);
    s->block = lin_mad(l, lin_c(b), number, root->op == OP_PACK ? 64 / size : 1);
    s->count == COUNT_DOT ? dot_count(l) : lanes_count(l);
    for (int g = 0; g < groups; g++) {
      if (!planes) lanes_store(l, root, g);
      for (int r = 0; planes && r < tile->rows; r++)
        if (!lanes_bits(l, root, r, g, (int)(b * size) + g * s->parts * s->lanes, bits[r])) s->failed = true;
    }
  }
  for (int r = 0; planes && !s->failed && r < tile->rows; r++) lanes_pack(l, root, number, r, bits[r]);
  block_leave(l, outer);
}

void lanes_body(Lower *l, const Node *root) {
  Lanes *s = l->tile.lanes;
  int64_t size = (int64_t)s->vecs * s->lanes;
  if (!l->dry) s->count == COUNT_DOT ? dot_lay(l, s) : lay_words(l, s);
  if (root->op != OP_PACK) section(l, root, s, 0, (s->channels + size - 1) / size, 1);
  else {
    section(l, root, s, 0, s->channels / 64, 64 / size);
    section(l, root, (const char *)s + 2, s->channels / 64, s->channels % 64 != 0, s->channels % 64 / size);
  }
}

bool lanes_fit(Lower *l) {
  if (!l->tile.lanes || !l->tile.lanes->failed) return true;
  l->tile = (Tile){.seen = 0};
  return false;
}
