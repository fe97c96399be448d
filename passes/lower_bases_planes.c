/* Bases with planes in lanes, where there are no positions to lie beside each other: full layers. Groups come first: the planes that one group
 * has in all outputs read the same numbers, and are summed SIDE at a time, each in the order of its terms,
 *   acc[lane] += bit of the lane in masks[chunk, r] ? x[r] : -x[r]
 * then added to their outputs' sums, which so run through groups and planes in eval's order. Chunks are filled up with planes that nobody reads. */
#include "passes/lower_bases.h"

enum { SIDE = 16, HALF = 8 }; /* planes of a chunk; lanes of a vector */

struct PlaneTables {
  int masks, ends, alphas, bits; /* u16 [chunk, r]; chunks of each group u32 [b, g]; f32 [plane]; 1 << lane */
  int sums, totals;              /* f64: of the planes of a group; of the outputs */
  int64_t chunks, most;          /* of all groups, of one */
  Tensor count;                  /* i32 [b, g, o] */
};

int64_t planes_chunks(const Node *n, const PassOptions *opt, int64_t *most) {
  int bits;
  int64_t all = 0, greatest = 0, planes = n->in[1]->t.d[0].n;
  if (n->n_in == 6 || opt->hls || !planes || !elem_eq(n->in[2]->t.e, F32) || !lanes_target(opt->target, &bits) || bits < 256) return 0;
  const Tensor *count = n->in[3]->a.value;
  int64_t blocks = count->t.d[0].n, outs = count->t.d[1].n, groups = count->t.d[2].n;
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t g = 0; g < groups; g++) {
      int64_t of = 0;
      for (int64_t o = 0; o < outs; o++) of += tensor_i(count, (block * outs + o) * groups + g);
      of = (of + SIDE - 1) / SIDE;
      all += of;
      greatest = of > greatest ? of : greatest;
    }
  if (most) *most = greatest;
  return all * SIDE <= planes + planes / 4 ? all : 0; /* signs that nobody reads cost bytes and time */
}

/* The tables' data: planes in the order [b, g, o, j]. first: by [b, o, g], the group's first plane in the node's order. */
static void fill(const Bases *b, const int64_t *first, uint16_t *masks, uint32_t *ends, float *alphas, int32_t *counts) {
  const Node *n = b->n;
  for (int64_t block = 0; block < b->blocks; block++)
    for (int64_t g = 0; g < b->groups; g++) {
      int64_t place = 0;
      for (int64_t o = 0; o < b->outs; o++) {
        int64_t group = (block * b->outs + o) * b->groups + g, end = first[group + 1];
        *counts++ = (int32_t)(end - first[group]);
        for (int64_t plane = first[group]; plane < end; plane++, place++) {
          uint16_t bit = (uint16_t)(1 << place % SIDE), *row = masks + place / SIDE * b->terms;
          for (int64_t r = 0; r < b->terms; r++) if (tensor_i(n->in[1]->a.value, plane * b->terms + r) > 0) row[r] |= bit;
          *alphas++ = (float)tensor_f(n->in[2]->a.value, plane);
        }
      }
      *ends = (uint32_t)((place + SIDE - 1) / SIDE);
      masks += *ends++ * b->terms;
    }
}

static PlaneTables *make(Lower *l, const Bases *b, int64_t chunks, int64_t most) {
  Program *p = l->p;
  const char *name = b->n->loc.name ? b->n->loc.name : "bases";
  PlaneTables *t = NEW(p->arena, PlaneTables);
  int64_t groups = b->blocks * b->groups;
  uint16_t *masks = NEWN(p->arena, uint16_t, chunks * b->terms);
  uint32_t *ends = NEWN(p->arena, uint32_t, groups);
  float *alphas = NEWN(p->arena, float, b->planes);
  int32_t *counts = NEWN(p->arena, int32_t, groups * b->outs);
  uint64_t *wide = NEWN(p->arena, uint64_t, SIDE);
  uint32_t *narrow = NEWN(p->arena, uint32_t, SIDE);
  int64_t *first = NEWN(l->tmp, int64_t, groups * b->outs + 1);
  for (int64_t i = 0; i < groups * b->outs; i++) first[i + 1] = first[i] + tensor_i(b->n->in[3]->a.value, i);
  fill(b, first, masks, ends, alphas, counts);
  for (int k = 0; k < SIDE; k++) wide[k] = narrow[k] = 1u << k;
  *t = (PlaneTables){.chunks = chunks, .most = most, .count = {.t = type_make(I32, 1, (int64_t[]){groups * b->outs}), .n = groups * b->outs, .st = ST_I32, .data = counts}};
  t->masks = program_buf(p, nest_name(p, "masks", name), UINTK(16), SP_ROM, chunks * b->terms, masks);
  t->ends = program_buf(p, nest_name(p, "ends", name), UINTK(32), SP_ROM, groups, ends);
  t->alphas = program_buf(p, nest_name(p, "alphas", name), F32, SP_ROM, b->planes, alphas);
  t->bits = program_buf(p, nest_name(p, "bits", name), UINTK(b->acc.bits), SP_ROM, SIDE, b->acc.bits == 64 ? (const void *)wide : narrow);
  t->sums = program_buf(p, nest_name(p, "sums", name), F64, SP_ARENA, most * SIDE, NULL);
  t->totals = program_buf(p, nest_name(p, "totals", name), F64, SP_ARENA, b->outs, NULL);
  return t;
}

PlaneTables *planes_tables(Lower *l, const Bases *b) {
  int64_t most, chunks = planes_chunks(b->n, l->opt, &most);
  if (!chunks) return NULL;
  if (l->bases.n != b->n) l->bases.n = b->n, l->bases.planar = make(l, b, chunks, most);
  return l->bases.planar;
}

static Expr *variable(Lower *l, const char *name, NType t) {
  int var = nest_var(l->p, l->nest, name, t, false);
  ns_vardef(l->p, l->at, var, elem_is_float(t.e) ? nx_const_f(l->p, t, 0) : nx_const_i(l->p, t, 0));
  return nx_var(l->p, l->nest, var);
}

static void add_to(Lower *l, Expr *var, Expr *e) { ns_set(l->p, l->at, var->var, nx2(l->p, S_ADD, var, e)); }

/* sums[16 c ..] := the planes of chunk c of the group that `in` says; chunk: its number of all. */
static void chunk_sums(Lower *l, const Bases *b, Expr *chunk, Lin c, Lin *in, int lead) {
  Program *p = l->p;
  const PlaneTables *t = b->planar;
  Elem u = UINTK(b->acc.bits);
  NType words = ntv(u, HALF);
  Expr *acc[SIDE / HALF];
  for (int h = 0; h < SIDE / HALF; h++) acc[h] = variable(l, "acc", ntv(b->acc, HALF));
  Lin r, first = lin_mad(l, lin_c(0), lin_atom(l, chunk, 0, t->chunks - 1), b->terms);
  Scope outer = loops_open(l, (const char *)b->n + 11, 1, &b->terms, &r, NULL, NULL);
  in[lead + 2] = r;
  Expr *x = let(l, "x", nx_splat(p, nx_cast(p, value(l, b->n->in[0], in), b->acc), HALF)), *minus = let(l, "m", nx1(p, S_NEG, x));
  Expr *w = let(l, "w", nx_splat(p, nx_cast(p, nx_load(p, t->masks, lin_expr(l, lin_mad(l, first, r, 1)), 1), u), HALF));
  for (int h = 0; h < SIDE / HALF; h++) {
    Expr *off = nx2(p, S_EQ, nx2(p, S_AND, w, nx_load(p, t->bits, nx_idx(p, h * HALF), HALF)), nx_const_i(p, words, 0));
    add_to(l, acc[h], nx3(p, S_SELECT, off, minus, x));
  }
  block_leave(l, outer);
  for (int h = 0; h < SIDE / HALF; h++) ns_store(p, l->at, t->sums, lin_expr(l, lin_mad(l, lin_c(h * HALF), c, SIDE)), nx_cast(p, acc[h], F64));
}

/* totals[o] += alpha times the sum of each plane that output o has of the group; plane: the next one of all. */
static void add_group(Lower *l, const Bases *b, Expr *plane, Lin block, Lin g) {
  Program *p = l->p;
  const PlaneTables *t = b->planar;
  const char *key = (const char *)b->n;
  Expr *none = NULL, *place = variable(l, "place", nt(p->index));
  Lin o, j, group = lin_mad(l, g, block, b->groups);
  Scope outer = loops_open(l, key + 12, 1, &b->outs, &o, NULL, NULL);
  Expr *count = plane_count(l, b, lin_mad(l, o, group, b->outs)), *total = nx_load(p, t->totals, lin_expr(l, o), 1);
  loops_open(l, key + 13, 1, &b->most, &j, &none, &count);
  Expr *alpha = nx_cast(p, nx_load(p, t->alphas, lin_expr(l, lin_atom(l, plane, 0, b->planes - 1)), 1), F64);
  Expr *sum = nx_load(p, t->sums, lin_expr(l, lin_atom(l, place, 0, t->most * SIDE - 1)), 1);
  ns_store(p, l->at, t->totals, lin_expr(l, o), nx2(p, S_ADD, total, nx2(p, S_MUL, alpha, sum)));
  add_to(l, place, nx_idx(p, 1));
  add_to(l, plane, nx_idx(p, 1));
  block_leave(l, outer);
}

void planes_body(Lower *l, const Bases *given, Lin *out, int lead) {
  Program *p = l->p;
  Bases b = *given;
  PlaneTables *t = b.planar;
  const char *key = (const char *)b.n, *name = b.n->loc.name ? b.n->loc.name : "bases";
  Lin in[MAX_RANK], o, g, c;
  Expr *none = NULL, *plane = variable(l, "plane", nt(p->index)), *chunk = variable(l, "chunk", nt(p->index));
  if (b.counts == 0) b.counts = bit_table(l, "counts", name, &t->count, 1 << b.count_bits, 32, 0);
  for (int d = 0; d < lead; d++) in[d] = out[d];
  Scope outer = loops_open(l, key + 7, 1, &b.blocks, &in[lead], NULL, NULL);
  Scope s = loops_open(l, key + 8, 1, &b.outs, &o, NULL, NULL);
  ns_store(p, l->at, t->totals, lin_expr(l, o), nx_const_f(p, nt(F64), 0));
  block_leave(l, s);
  s = loops_open(l, key + 9, 1, &b.groups, &g, NULL, NULL);
  in[lead + 1] = g;
  Expr *end = nx_cast(p, nx_load(p, t->ends, lin_expr(l, lin_mad(l, g, in[lead], b.groups)), 1), p->index);
  Scope each = loops_open(l, key + 10, 1, &t->most, &c, &none, &end);
  chunk_sums(l, &b, chunk, c, in, lead);
  add_to(l, chunk, nx_idx(p, 1));
  block_leave(l, each);
  add_group(l, &b, plane, in[lead], g);
  block_leave(l, s);
  s = loops_open(l, key + 14, 1, &b.outs, &o, NULL, NULL);
  out[lead] = in[lead], out[lead + 1] = o;
  Expr *y = bases_scaled(l, &b, nx_load(p, t->totals, lin_expr(l, o), 1));
  ns_store(p, l->at, l->buf[b.n->id], lin_expr(l, lin_flat(l, &b.n->t, out)), y);
  block_leave(l, s);
  block_leave(l, outer);
}
