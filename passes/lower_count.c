/* Counts of words over lanes. Each word by itself: xor, popcount, add. Carry-save: two products enter in three operations of
 * three inputs,
 *   s1 = o ^ w1^a1,  s2 = s1 ^ w2^a2,  carry = s1 ? ~s2 : o,  o := s2     (with `and` in the place of the inner ^ where it is one)
 * carries are added in threes by full adders, and at the end of up to 31 words the planes of weight 1, 2, 4, .. are counted by one
 * byte table each, whose entries are already times the weight: a byte's sum is at most 8*31. */
#include "passes/lower_lanes.h"

#include <assert.h>
#include <string.h>

enum { CARRY_MOST = 31, CHUNK_LEAST = 4 };

/* The reduction's loops: extents, and what a step of the innermost one walks by itself: reductions `whole` in full, `chunk` words
 * of the reduction `cut`. */
typedef struct Steps { int64_t ext[MAX_ITERS]; uint32_t whole; int cut; int64_t chunk, n; } Steps;

static void plan_steps(const Lanes *s, const Node *n, Steps *t) {
  int n_red = n->a.iters->n_red;
  int64_t pairs = (int64_t)s->pairs.extent[0] * s->pairs.extent[1], room = s->count == COUNT_CARRY ? CARRY_MOST / pairs : 1;
  *t = (Steps){.cut = -1, .chunk = 1, .n = 1};
  for (int j = 0; j < n_red; j++) t->ext[j] = lanes_extent(s, n, j);
  for (int j = n_red - 1; j >= 0; j--) {
    int64_t e = t->ext[j];
    if (e * t->n <= room) {
      t->whole |= 1u << j, t->n *= e;
      continue;
    }
    for (int64_t c = room / t->n; c >= 2 && t->n * c >= CHUNK_LEAST && t->cut < 0; c--)
      if (e % c == 0) t->cut = j, t->chunk = c, t->n *= c;
    break;
  }
  for (int j = 0; j < n_red; j++)
    if (t->whole >> j & 1) t->ext[j] = 1;
  if (t->cut >= 0) t->ext[t->cut] /= t->chunk;
}

/* Index of step i: reductions of it, which the loops gave. */
static void step_at(Lower *l, const Lanes *s, const Node *n, const Steps *t, int64_t i, const Lin *it, Lin *at) {
  for (int j = n->a.iters->n_red - 1; j >= 0; j--) {
    int64_t e = lanes_extent(s, n, j);
    at[j] = it[j];
    if (t->whole >> j & 1) at[j] = lin_c(i % e), i /= e;
    if (t->cut == j) at[j] = lin_mad(l, lin_mad(l, lin_c(i % t->chunk), it[j], t->chunk), lin_c(0), 1);
  }
}

static Expr *act_word(Lower *l, const Node *n, const Lanes *s, int r, int plane, const Lin *red) {
  Lin at[MAX_ITERS];
  int n_out = n->a.iters->n_out, p = s->pairs.iter[1 - s->w];
  lanes_row(l, r, at);
  for (int j = 0; j < n->a.iters->n_red; j++) at[n_out + j] = red[j];
  if (p >= 0) at[n_out + p] = lin_c(plane);
  return nx_splat(l->p, contract_operand(l, n, 1 - s->w, at, false), s->lanes);
}

static Expr *weight_word(Lower *l, const Node *n, const Lanes *s, int plane, int vec, const Lin *red) {
  Lin flat = lin_c(0);
  for (int j = 0; j < n->a.iters->n_red; j++)
    if (lanes_extent(s, n, j) > 1) flat = lin_mad(l, red[j], flat, lanes_extent(s, n, j));
  int64_t size = (int64_t)s->vecs * s->lanes;
  flat = lin_mad(l, lin_c(plane * size + (int64_t)vec * s->lanes), flat, s->pairs.extent[s->w] * size);
  flat = lin_mad(l, flat, s->block, s->block_words);
  return nx_load(l->p, s->words, lin_expr(l, flat), s->lanes);
}

static int slot_of(const Lanes *s, int pa, int pw) { return s->pairs.slot[s->w ? pa * s->pairs.extent[1] + pw : pw * s->pairs.extent[1] + pa]; }

/* Accumulators of one coefficient. */
typedef struct Vars { int at[TILE_ROWS][LANE_VECS]; } Vars;

/* Each word by itself */

static void add_word(Lower *l, const Node *n, Lanes *s, const Lin *red, const Vars *vars) {
  Program *p = l->p;
  Expr *a[TILE_ROWS][MOST_PAIRS];
  int na = s->pairs.extent[1 - s->w];
  for (int r = 0; r < l->tile.rows; r++)
    for (int k = 0; k < na; k++) a[r][k] = let(l, "a", act_word(l, n, s, r, k, red));
  for (int pw = 0; pw < s->pairs.extent[s->w]; pw++)
    for (int v = 0; v < s->vecs; v++) {
      Expr *w = let(l, "w", weight_word(l, n, s, pw, v, red));
      for (int r = 0; r < l->tile.rows; r++)
        for (int k = 0; k < na; k++) {
          int var = vars[slot_of(s, k, pw)].at[r][v];
          Expr *count = nx1(p, S_POP, nx2(p, n->a.scalar, w, a[r][k]));
          ns_set(p, l->at, var, nx2(p, S_ADD, nx_var(p, l->nest, var), count));
        }
    }
}

/* Carry-save */

typedef struct Carry { Expr *one, *w, *a, *plane[LANE_PLANES][3]; int n[LANE_PLANES]; } Carry; /* w, a: a product that waits for another */
typedef struct CarryRows { Carry row[TILE_ROWS]; } CarryRows;

static void carry_in(Lower *l, Carry *c, int level, Expr *x) {
  Program *p = l->p;
  assert(level < LANE_PLANES);
  c->plane[level][c->n[level]++] = x;
  if (c->n[level] < 3) return;
  Expr **y = c->plane[level], *all[3] = {y[0], y[1], y[2]};
  c->plane[level][0] = let(l, "s", nx_lut3(p, 0x96, all[0], all[1], all[2]));
  c->n[level] = 1;
  carry_in(l, c, level + 1, let(l, "c", nx_lut3(p, 0xe8, all[0], all[1], all[2])));
}

static void product_in(Lower *l, Carry *c, Scalar op, Expr *w, Expr *a) {
  Program *p = l->p;
  int table = op == S_XOR ? 0x96 : 0x78;
  if (!c->one) {
    c->one = let(l, "o", nx2(p, op, w, a));
  } else if (!c->w) {
    c->w = w, c->a = a;
  } else {
    Expr *s1 = let(l, "s", nx_lut3(p, table, c->one, c->w, c->a));
    Expr *s2 = let(l, "o", nx_lut3(p, table, s1, w, a));
    Expr *out = let(l, "c", nx_lut3(p, 0x74, c->one, s1, s2));
    c->one = s2;
    c->w = NULL;
    carry_in(l, c, 1, out);
  }
}

static void carry_end(Lower *l, Carry *c, Scalar op) {
  Program *p = l->p;
  if (c->w) {
    Expr *one = c->one;
    c->one = let(l, "o", nx_lut3(p, op == S_XOR ? 0x96 : 0x78, one, c->w, c->a));
    carry_in(l, c, 1, let(l, "c", nx_lut3(p, op == S_XOR ? 0x60 : 0x80, one, c->w, c->a)));
  }
  for (int k = 1; k < LANE_PLANES; k++) {
    if (c->n[k] < 2) continue;
    Expr *x = c->plane[k][0], *y = c->plane[k][1];
    c->plane[k][0] = let(l, "s", nx2(p, S_XOR, x, y));
    c->n[k] = 1;
    carry_in(l, c, k + 1, let(l, "c", nx2(p, S_AND, x, y)));
  }
}

static int row_of(const char *name) {
  for (int i = 0; i < n_intrins; i++)
    if (!strcmp(intrins[i].name, name)) return i;
  return -1;
}

/* Byte counts of nibbles times 1, 2, 4, ..: LANE_PLANES vectors, one table for all nests. */
static int nibble_table(Lower *l, int bytes) {
  if (l->nibbles) return l->nibbles - 1;
  uint8_t *t = NEWN(l->p->arena, uint8_t, LANE_PLANES * bytes);
  for (int k = 0; k < LANE_PLANES; k++)
    for (int i = 0; i < bytes; i++) t[k * bytes + i] = (uint8_t)(__builtin_popcount(i & 15u) << k);
  l->nibbles = 1 + program_buf(l->p, nest_name(l->p, "w", "nibbles"), U8, SP_ROM, (int64_t)LANE_PLANES * bytes, t);
  return l->nibbles - 1;
}

static Expr *carry_count(Lower *l, const Lanes *s, const Carry *c) {
  Program *p = l->p;
  Expr *sum = NULL;
  int bytes = 8 * s->lanes;
  for (int k = 0; k < LANE_PLANES; k++) {
    Expr *x = k ? (c->n[k] ? c->plane[k][0] : NULL) : c->one;
    if (!x) continue;
    x = let(l, "b", nx_relane(p, x, U8));
    Expr *table = nx_load(p, nibble_table(l, bytes), nx_idx(p, (int64_t)k * bytes), bytes);
    Expr *low = nx_shuf(p, table, nx2(p, S_AND, x, nx_const_i(p, x->t, 15)));
    Expr *high = nx_shuf(p, table, nx2(p, S_SHR, x, nx_const_i(p, x->t, 4)));
    sum = let(l, "n", sum ? nx2(p, S_ADD, nx2(p, S_ADD, sum, low), high) : nx2(p, S_ADD, low, high));
  }
  return nx_intrin(p, row_of(s->lanes == 8 ? "sum8_8" : "sum8_4"), 1, &sum);
}

static void add_carries(Lower *l, const Node *n, Lanes *s, const Steps *t, const Lin *red, const Vars *vars) {
  Program *p = l->p;
  Lin at[MAX_ITERS];
  int na = s->pairs.extent[1 - s->w], rows = l->tile.rows;
  for (int v = 0; v < s->vecs; v++) {
    CarryRows *c = NEWN(l->tmp, CarryRows, s->pairs.n);
    for (int64_t i = 0; i < t->n; i++) {
      step_at(l, s, n, t, i, red, at);
      for (int pw = 0; pw < s->pairs.extent[s->w]; pw++) {
        Expr *w = let(l, "w", weight_word(l, n, s, pw, v, at));
        for (int r = 0; r < rows; r++)
          for (int k = 0; k < na; k++) product_in(l, &c[slot_of(s, k, pw)].row[r], n->a.scalar, w, act_word(l, n, s, r, k, at));
      }
    }
    for (int k = 0; k < s->pairs.n; k++)
      for (int r = 0; r < rows; r++) {
        carry_end(l, &c[k].row[r], n->a.scalar);
        int var = vars[k].at[r][v];
        ns_set(p, l->at, var, nx2(p, S_ADD, nx_var(p, l->nest, var), carry_count(l, s, &c[k].row[r])));
      }
  }
}

void lanes_count(Lower *l) {
  Lanes *s = l->tile.lanes;
  const Node *n = l->tile.n;
  Program *p = l->p;
  NType word = ntv(UINTK(64), s->lanes);
  Vars *vars = NEWN(l->tmp, Vars, s->pairs.n);
  Lin red[MAX_ITERS], at[MAX_ITERS];
  Steps t;
  plan_steps(s, n, &t);
  for (int k = 0; k < s->pairs.n; k++)
    for (int r = 0; r < l->tile.rows; r++)
      for (int v = 0; v < s->vecs; v++) {
        vars[k].at[r][v] = nest_var(p, l->nest, "acc", word, false);
        ns_vardef(p, l->at, vars[k].at[r][v], nx_const_i(p, word, 0));
        s->counts[k][r][v] = nx_var(p, l->nest, vars[k].at[r][v]);
      }
  Scope outer = loops_open(l, n, n->a.iters->n_red, t.ext, red, NULL, NULL);
  if (t.n > 1) add_carries(l, n, s, &t, red, vars);
  else {
    step_at(l, s, n, &t, 0, red, at);
    add_word(l, n, s, at, vars);
  }
  block_leave(l, outer);
}
