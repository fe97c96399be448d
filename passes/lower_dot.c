/* Dot products over lanes: a contraction that multiplies, for a block of outputs at once (lower_lanes.c). Output channels lie in the
 * lanes of vectors of 32-bit sums; a word of q neighbouring activations is splat over them, and every lane adds its q products in one
 * instruction (EX_DOT): bytes, unsigned by signed (VNNI) or signed (dotprod), or pairs of 16 bits (pmaddwd). Activations are neighbours along
 * a run of reductions, channels first, then a window's columns where rows of pixels lie close. A run that q does not divide ends
 * with a word that overlaps the one before it; what it has again meets weights of 0. The constant operand is laid out in the order of the loops:
 *   [block of channels][other reductions][word of the run][vector][lane][code of the word].
 * Bytes of the other sign enter with their top bit turned, as number + 128 (or - 128), and sums begin with what that adds.
 * Sums wrap modulo 2^32, so their order does not matter. Floats are words of one, which multiply and add in the order of the reductions. */
#include "passes/contract.h"
#include "passes/lower_lanes.h"

#include <string.h>

enum { UNROLLED = 4, LEAST_CHANNELS = 4, LEAST_SUMS = 8 }; /* fewer sums at once wait for each other */

/* Sums of a block: of row, vector and chain. */
typedef struct Sums { int chains, var[UNROLLED][TILE_ROWS][LANE_VECS]; } Sums;

DotMachine dot_machine(const Target *t) {
  DotMachine m = {.bits = 0};
  if (!t) return m;
  if (!strcmp(target_arch(t), "aarch64")) return target_has(t, "dotprod") ? (DotMachine){128, true, true, false} : m;
  if (strcmp(target_arch(t), "x86_64")) return m;
  if (target_has(t, "avx512vnni") && target_has(t, "avx512bw")) return (DotMachine){512, true, false, true};
  if (target_has(t, "avxvnni")) return (DotMachine){256, true, false, true};
  m.pairs = true;
  m.bits = target_has(t, "avx512bw") ? 512 : target_has(t, "avx2") ? 256 : 0;
  return m;
}

int dot_channel(const Node *n) {
  int best = -1;
  for (int v = 0; v < n->t.rank; v++) {
    bool fits = contract_depends(n, 1, v) && !contract_depends(n, 0, v);
    if (fits && (best < 0 || n->t.d[v].n > n->t.d[best].n)) best = v;
  }
  return best;
}

static bool floats(const Node *n) { return elem_eq(n->t.e, F32) && elem_eq(n->in[0]->t.e, F32) && elem_eq(n->in[1]->t.e, F32); }

bool dot_lanes(const Node *n, const PassOptions *opt) {
  int bits;
  if (n->n_in != 2 || n->a.scalar != S_MUL || opt->hls || opt->no_multiply || !lanes_target(opt->target, &bits)) return false;
  if (n->a.kernel == KERNEL_INT ? !dot_machine(opt->target).bits : n->a.kernel != KERNEL_FLOAT || !floats(n)) return false;
  for (int j = 0; j < n->a.iters->n_red; j++)
    if (n->a.iters->red[j].n == 0) return false;
  int v = node_is_const(n->in[1]) && !node_is_const(n->in[0]) ? dot_channel(n) : -1;
  int64_t least = n->a.kernel == KERNEL_INT || bits < 256 ? LEAST_CHANNELS : bits / 64; /* floats: half the lanes */
  return v >= 0 && n->t.d[v].n >= least;
}

int dot_word(const Node *n, const Target *t) {
  DotMachine m = dot_machine(t);
  const Elem e = n->in[0]->t.e;
  const Tensor *w = n->in[1]->a.value;
  int64_t lo = 0, hi = 0, bits = elem_is_float(e) ? 32 : 8 * (int64_t)store_size(elem_store(e));
  if (elem_is_float(e)) return 1;
  for (int64_t i = 0; i < w->n; i++) {
    int64_t v = tensor_i(w, i);
    lo = v < lo ? v : lo;
    hi = v > hi ? v : hi;
  }
  if (e.kind == EK_BOOL || bits > 16) return 0;
  if (m.bytes && bits == 8 && lo >= -128 && hi <= 127) return 4;
  return m.pairs && elem_hi(e) <= INT16_MAX && lo >= INT16_MIN && hi <= INT16_MAX ? 2 : 0;
}

/* What multiplies, and how activations are made that. */
static bool find_types(const Lower *l, const Node *n, Dots *d) {
  const Elem of_word[5] = {{0}, F32, INTK(16), {0}, I8};
  Elem x = n->in[0]->t.e;
  DotMachine m = dot_machine(l->opt->target);
  int q = dot_word(n, l->opt->target);
  *d = (Dots){.q = q, .act = of_word[q], .weight = of_word[q]};
  if (q < 4) return q == 1 || (q == 2 && elem_eq(lower_elem(l, x), d->act));
  if (!m.act_signed) d->act = U8;
  bool is_signed = lower_elem(l, x).kind == EK_INT, either = m.act_signed && elem_hi(x) <= 127;
  if (is_signed != m.act_signed && !either) d->flip = UINT32_C(0x80808080);
  return true;
}

/* Reductions along which operand k steps from element to neighbour, one after the other; of floats none, whose order stays. */
static bool find_run(const Node *n, int k, Dots *d) {
  int64_t step[MAX_ITERS] = {0}, stride = 1;
  const Iters *it = n->a.iters;
  for (int i = n->in[k]->t.rank - 1; i >= 0; i--) {
    if (it->acc[k][i].div != 1) return false;
    for (int j = 0; j < it->n_red; j++) step[j] += it->acc[k][i].coef[it->n_out + j] * stride;
    stride *= n->in[k]->t.d[i].n;
  }
  d->len = 1;
  if (d->q == 1) return true;
  for (int j = 0; j < it->n_red;) {
    if (step[j] != d->len || it->red[j].n < 2) { j++; continue; }
    d->run[d->n_run++] = j;
    d->len *= it->red[j].n;
    step[j] = 0;
    j = 0;
  }
  return d->len >= d->q;
}

/* The buffer of a node's elements in their order, also where reshapes have none: -1 without one. */
static int buffer_of(const Lower *l, const Node *x) {
  while (x->op == OP_RESHAPE && l->buf[x->id] < 0) x = x->in[0];
  return l->buf[x->id];
}

bool dot_plan(const Lower *l, const Node *n, Lanes *s) {
  DotMachine m = dot_machine(l->opt->target);
  int bits;
  s->w = 1;
  if (!dot_lanes(n, l->opt) || buffer_of(l, n->in[0]) < 0 || !access_inside(n, 0) || !access_inside(n, 1)) return false;
  if (!find_types(l, n, &s->dots) || !find_run(n, 0, &s->dots)) return false;
  s->parts = 1, s->piece = s->dots.q == 1 ? F32 : I32;
  if (!elem_eq(contract_elem(l, n), s->piece)) return false;
  lanes_target(l->opt->target, &bits);
  s->count = COUNT_DOT;
  s->lanes = (s->dots.q == 1 ? bits : m.bits) / 32;
  s->pairs = (Pairs){.iter = {-1, -1}, .extent = {1, 1}, .n = 1, .coef = {1}};
  return true;
}

/* Blocks of 1, 2 or 4 vectors, whichever leave the fewest lanes over, the greatest of those; as many rows as registers allow. */
void dot_vecs(Lanes *s) {
  int64_t least = INT64_MAX;
  int registers = s->lanes == 8 ? 8 : 16;
  for (int v = 1; v <= 4 && (v == 1 || (int64_t)v * s->lanes <= s->channels); v *= 2) {
    int64_t size = (int64_t)v * s->lanes, all = (s->channels + size - 1) / size * v;
    if (all <= least && (v < 4 || registers > 8)) least = all, s->vecs = v;
  }
  s->rows = registers / s->vecs < TILE_ROWS ? registers / s->vecs : TILE_ROWS;
}

/* Words of a run, the last one overlapping. */
static int64_t words_of(const Dots *d) { return (d->len + d->q - 1) / d->q; }

/* Extent of reduction j among the loops around runs. */
static int64_t outer_extent(const Dots *d, const Node *n, int j) {
  for (int i = 0; i < d->n_run; i++)
    if (d->run[i] == j) return 1;
  return n->a.iters->red[j].n;
}

/* Where the weight of channel c at reductions `at` lies. */
static int64_t weight_at(const Node *n, int iter, int64_t c, const int64_t *at) {
  const Node *w = n->in[1];
  int64_t i = 0;
  for (int d = 0; d < w->t.rank; d++) {
    const Affine *a = &n->a.iters->acc[1][d];
    int64_t x = a->base + a->coef[iter] * c;
    for (int j = 0; j < n->a.iters->n_red; j++) x += a->coef[n->a.iters->n_out + j] * at[j];
    i = i * w->t.d[d].n + x / a->div;
  }
  return i;
}

/* The channel of lane i of a block; -1: one lane of too many. */
static int64_t channel_of(const Lanes *s, int64_t block, int64_t i) {
  int64_t size = (int64_t)s->vecs * s->lanes, start = block * size;
  if (s->channels < size) return i < s->channels ? i : -1;
  return i + (start < s->channels - size ? start : s->channels - size);
}

/* The words of one channel, `step` codes apart; gives their sum, of floats 0. */
static int64_t lay_channel(const Node *n, const Dots *d, int iter, int64_t c, int64_t step, Elem e, char *to) {
  const Iters *it = n->a.iters;
  const Tensor *w = n->in[1]->a.value;
  int64_t at[MAX_ITERS] = {0}, sum = 0;
  for (;;) {
    for (int64_t k = 0; k < words_of(d); k++, to += (size_t)step * (size_t)(e.bits / 8)) {
      int64_t first = k * d->q + d->q <= d->len ? k * d->q : d->len - d->q;
      for (int q = 0; q < d->q; q++) {
        int64_t p = first + q;
        for (int i = 0; i < d->n_run; i++) at[d->run[i]] = p % it->red[d->run[i]].n, p /= it->red[d->run[i]].n;
        int64_t i = weight_at(n, iter, c, at), v = e.bits == 32 || first + q < k * d->q ? 0 : tensor_i(w, i);
        if (e.bits == 32) *(float *)(void *)to = (float)tensor_f(w, i);
        else if (e.bits == 8) ((int8_t *)to)[q] = (int8_t)v;
        else ((int16_t *)(void *)to)[q] = (int16_t)v;
        sum += v;
      }
    }
    int j = it->n_red - 1;
    for (; j >= 0; j--) {
      if (outer_extent(d, n, j) > 1 && ++at[j] < it->red[j].n) break;
      at[j] = 0;
    }
    if (j < 0) return sum;
  }
}

void dot_lay(Lower *l, Lanes *s) {
  const Node *n = l->tile.n;
  Dots *d = &s->dots;
  const char *name = n->loc.name ? n->loc.name : "dots";
  int64_t size = (int64_t)s->vecs * s->lanes, blocks = (s->channels + size - 1) / size, bytes = d->weight.bits / 8;
  s->block_words = words_of(d) * size * d->q; /* codes */
  for (int j = 0; j < n->a.iters->n_red; j++) s->block_words *= outer_extent(d, n, j);
  char *to = (char *)NEWN(l->p->arena, int64_t, (blocks * s->block_words * bytes + 7) / 8);
  int32_t *start = d->flip ? NEWN(l->p->arena, int32_t, blocks * size) : NULL;
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t i = 0; i < size; i++) {
      int64_t c = channel_of(s, b, i);
      int64_t sum = c < 0 ? 0 : lay_channel(n, d, l->tile.iter, c, size * d->q, d->weight, to + (b * s->block_words + i * d->q) * bytes);
      if (d->flip) start[b * size + i] = (int32_t)(uint32_t)(uint64_t)(d->act.kind == EK_UINT ? -128 * sum : 128 * sum);
    }
  s->words = program_buf(l->p, nest_name(l->p, "w", name), d->weight, SP_ROM, blocks * s->block_words, to);
  if (d->flip) d->start = program_buf(l->p, nest_name(l->p, "start", name), I32, SP_ROM, blocks * size, start);
}

/* A constant's vector; in the dry run, before there is one, only its index counts. */
static Expr *table_load(Lower *l, int buf, Lin at, Elem e, int lanes) {
  Expr *i = lin_expr(l, at);
  if (!l->dry) return nx_load(l->p, buf, i, lanes);
  return elem_is_float(e) ? nx_const_f(l->p, ntv(e, lanes), 0) : nx_const_i(l->p, ntv(e, lanes), 0);
}

/* The word of activations `pos` behind the first of the run, in row r, over all lanes. */
static Expr *act_word(Lower *l, const Node *n, const Lanes *s, int r, const Lin *red, Lin pos) {
  Program *p = l->p;
  const Dots *d = &s->dots;
  const Node *x = n->in[0];
  int n_out = n->a.iters->n_out, total = n_out + n->a.iters->n_red;
  Lin at[MAX_ITERS], in[MAX_RANK];
  lanes_row(l, r, at);
  for (int j = n_out; j < total; j++) at[j] = red[j - n_out];
  for (int i = 0; i < x->t.rank; i++) in[i] = lin_within(lin_access(l, &n->a.iters->acc[0][i], at, total), 0, x->t.d[i].n - 1);
  Expr *v = nx_load(p, buffer_of(l, x), lin_expr(l, lin_mad(l, lin_flat(l, &x->t, in), pos, 1)), d->q);
  if (d->q == 1) return let(l, "a", nx_splat(p, v, s->lanes));
  Expr *word = nx_relane(p, v, UINTK(32));
  if (d->flip) word = nx2(p, S_XOR, word, nx_const_i(p, word->t, d->flip));
  return let(l, "a", nx_relane(p, nx_splat(p, word, s->lanes), d->act));
}

/* Adds the products of one word: number `word` of the run that the other reductions are at, `pos` activations behind its first. */
static void add_dots(Lower *l, const Node *n, Lanes *s, const Lin *red, Lin word, Lin pos, int (*var)[LANE_VECS]) {
  Program *p = l->p;
  const Dots *d = &s->dots;
  Expr *a[TILE_ROWS];
  Lin flat = lin_c(0);
  for (int r = 0; r < l->tile.rows; r++) a[r] = act_word(l, n, s, r, red, pos);
  for (int j = 0; j < n->a.iters->n_red; j++)
    if (outer_extent(d, n, j) > 1) flat = lin_mad(l, red[j], flat, outer_extent(d, n, j));
  flat = lin_mad(l, word, flat, words_of(d));
  flat = lin_mad(l, lin_mad(l, lin_c(0), flat, (int64_t)s->vecs * s->lanes * d->q), s->block, s->block_words);
  for (int v = 0; v < s->vecs; v++) {
    Expr *w = let(l, "w", table_load(l, s->words, lin_mad(l, flat, lin_c((int64_t)v * s->lanes * d->q), 1), d->weight, s->lanes * d->q));
    for (int r = 0; r < l->tile.rows; r++) {
      Expr *sum = nx_var(p, l->nest, var[r][v]);
      ns_set(p, l->at, var[r][v], d->q == 1 ? nx2(p, S_ADD, sum, nx2(p, S_MUL, a[r], w)) : nx_dot(p, sum, a[r], w));
    }
  }
}

/* Sums from their start on; each is one or several chains, of which the first begins there. */
static void begin_sums(Lower *l, const Lanes *s, Sums *sums) {
  Program *p = l->p;
  NType t = ntv(s->piece, s->lanes);
  Expr *zero = elem_is_float(t.e) ? nx_const_f(p, t, 0) : nx_const_i(p, t, 0);
  for (int c = 0; c < sums->chains; c++)
    for (int v = 0; v < s->vecs; v++)
      for (int r = 0; r < l->tile.rows; r++) {
        Lin at = lin_mad(l, lin_c((int64_t)v * s->lanes), s->block, (int64_t)s->vecs * s->lanes);
        sums->var[c][r][v] = nest_var(p, l->nest, "acc", t, false);
        ns_vardef(p, l->at, sums->var[c][r][v], s->dots.flip && !c ? table_load(l, s->dots.start, at, I32, s->lanes) : zero);
      }
}

static void end_sums(Lower *l, Lanes *s, const Sums *sums) {
  for (int v = 0; v < s->vecs; v++)
    for (int r = 0; r < l->tile.rows; r++) {
      Expr *x = nx_var(l->p, l->nest, sums->var[0][r][v]);
      for (int c = 1; c < sums->chains; c++) x = nx2(l->p, S_ADD, x, nx_var(l->p, l->nest, sums->var[c][r][v]));
      s->counts[0][r][v] = sums->chains > 1 ? let(l, "sum", x) : x;
    }
}

void dot_count(Lower *l) {
  Lanes *s = l->tile.lanes;
  const Node *n = l->tile.n;
  const Dots *d = &s->dots;
  int64_t ext[MAX_ITERS], full = d->len / d->q;
  int unroll = full <= UNROLLED ? (int)full : full % 4 == 0 ? 4 : full % 2 == 0 ? 2 : 1, at_once = l->tile.rows * s->vecs;
  Lin red[MAX_ITERS], k;
  Sums sums = {.chains = at_once >= LEAST_SUMS ? 1 : LEAST_SUMS / at_once < unroll ? LEAST_SUMS / at_once : unroll};
  begin_sums(l, s, &sums);
  for (int j = 0; j < n->a.iters->n_red; j++) ext[j] = outer_extent(d, n, j);
  Scope outer = loops_open(l, n, n->a.iters->n_red, ext, red, NULL, NULL);
  int64_t steps = full / unroll;
  Scope inner = loops_open(l, d, 1, &steps, &k, NULL, NULL);
  for (int i = 0; i < unroll; i++) {
    Lin word = lin_mad(l, lin_c(i), k, unroll);
    add_dots(l, n, s, red, word, lin_mad(l, lin_c(0), word, d->q), sums.var[i % sums.chains]);
  }
  block_leave(l, inner);
  if (d->len % d->q) add_dots(l, n, s, red, lin_c(full), lin_c(d->len - d->q), sums.var[0]);
  block_leave(l, outer);
  end_sums(l, s, &sums);
}
