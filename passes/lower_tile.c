/* Tiles: a contraction computed for neighbouring elements of one dimension at once, so that a loop over them, innermost,
 * loads one operand side by side and the other once. Each accumulator still adds in the order of the reduction. */
#include "passes/contract.h"
#include "passes/lower.h"

enum {
  TILE = 32,         /* accumulators: fills 8 SSE or 4 AVX registers, measured best or near it for gcc and clang, f32 and i32 */
  TILE_LEAST = 4, REDUCTION_LEAST = 4
};

void tile_note(Lower *l, const Node *n, const Lin *idx) {
  if (!l->dry) return;
  Lin *copy = NEWN(l->tmp, Lin, n->t.rank + 1);
  for (int d = 0; d < n->t.rank; d++) copy[d] = idx[d];
  l->tile.seen += l->guarded ? 2 : 1; /* computed under a test: not for a whole tile */
  l->tile.met = n;
  l->tile.idx = copy;
}

/* Whether neighbours along output iterator v read every operand at the same element or at neighbouring ones, inside. */
static bool reads_neighbours(const Lower *l, const Node *n, int v) {
  int unit = 0;
  for (int k = 0; k < n->n_in; k++) {
    const Node *x = n->in[k];
    int64_t step = 0, stride = 1;
    bool depends = false;
    for (int d = x->t.rank - 1; d >= 0; d--) {
      const Affine *a = &n->a.iters->acc[k][d];
      if (a->coef[v]) {
        depends = true;
        if (a->div != 1 || !dim_inside(n, k, d)) return false;
        step += a->coef[v] * stride;
      }
      stride *= x->t.d[d].n;
    }
    if (!depends) continue;
    if (step != 1 || (l->buf[x->id] < 0 && !node_is_const(x))) return false;
    unit++;
  }
  return unit > 0;
}

static bool is_atom(Lin x, int atom) { return x.c == 0 && x.n == 1 && x.t[0].atom == atom && x.t[0].k == 1; }

static bool has_atom(Lin x, int atom) {
  for (int i = 0; i < x.n; i++)
    if (x.t[i].atom == atom) return true;
  return false;
}

/* The output iterator of the contraction that is this loop of the nest and no other's; -1: none. */
static int iter_of(const Lower *l, const Node *n, int atom) {
  int found = -1;
  for (int v = 0; v < n->t.rank; v++) {
    if (!has_atom(l->tile.idx[v], atom)) continue;
    if (found >= 0 || !is_atom(l->tile.idx[v], atom)) return -1;
    found = v;
  }
  return found;
}

static int loop_dim(const Loops *loops, int atom) {
  for (int i = 0; i < loops->nd; i++)
    if (loops->atom[i] == atom) return loops->dim[i];
  return -1;
}

/* True where the form is made of the nest's own loops only. */
static bool known_atoms(const Tile *tile, const Loops *loops, Lin x) {
  for (int i = 0; i < x.n; i++) {
    const Atom *a = &tile->atoms[x.t[i].atom];
    if (a->kind == ATOM_EXPR ? loop_dim(loops, x.t[i].atom) < 0 : !known_atoms(tile, loops, a->of)) return false;
  }
  return true;
}

/* A form of the dry run over the nest's loops, now over the given index. */
static Lin moved(Lower *l, Lin x, const Lin *idx) {
  const Tile *tile = &l->tile;
  Lin y = lin_c(x.c);
  for (int i = 0; i < x.n; i++) {
    const Atom *a = &tile->atoms[x.t[i].atom];
    Lin term = a->kind == ATOM_EXPR ? idx[loop_dim(&tile->loops, x.t[i].atom)] :
               a->kind == ATOM_DIV ? lin_div(l, moved(l, a->of, idx), a->d) : lin_mod(l, moved(l, a->of, idx), a->d);
    y = lin_mad(l, y, term, x.t[i].k);
  }
  return y;
}

bool tile_decide(Lower *l) {
  const Node *n = l->tile.met;
  Tile *t = &l->tile;
  const Loops *loops = loops_find(l, NULL);
  int64_t reductions = 1, best = 0;
  if (t->seen != 1 || l->opt->hls || n->a.scalar != S_MUL || !loops) return false;
  for (int j = 0; j < n->a.iters->n_red; j++) reductions *= n->a.iters->red[j].n;
  if (reductions < REDUCTION_LEAST) return false;
  for (int i = 0; i < loops->nd; i++) {
    int v = iter_of(l, n, loops->atom[i]);
    int64_t ext = loops->ext[i] < TILE ? loops->ext[i] : TILE;
    if (v < 0 || ext < TILE_LEAST || ext < best || !reads_neighbours(l, n, v)) continue;
    best = ext;
    t->dim = loops->dim[i];
    t->iter = v;
  }
  if (!best) return false;
  t->n = n;
  t->loops = *loops;
  t->atoms = NEWN(l->tmp, Atom, l->atoms.n + 1);
  for (int i = 0; i < l->atoms.n; i++) t->atoms[i] = l->atoms.p[i];
  for (int v = 0; v < n->t.rank; v++)
    if (!known_atoms(t, loops, t->idx[v])) return false;
  t->size = best;
  t->buf = program_buf(l->p, nest_name(l->p, "sum", n->loc.name ? n->loc.name : ""), contract_elem(l, n), SP_REG, best, NULL);
  return true;
}

/* Loop over the tile's elements, entered. */
static Scope lanes_open(Lower *l, int64_t size, Lin *t) {
  Scope s = {l->at, l->memo.n};
  int var = nest_var(l->p, l->nest, "t", nt(l->p->index), true);
  Stmt *loop = ns_for(l->p, l->at, var, nx_idx(l->p, 0), nx_idx(l->p, size), 1, size);
  loop->mark = MARK_VECTOR;
  l->at = &loop->body;
  *t = lin_atom(l, nx_var(l->p, l->nest, var), 0, size - 1);
  return s;
}

/* Adds the products of one reduction step to all accumulators. What does not change along the tile is computed once. */
static void add_products(Lower *l, const Node *n, const Lin *it, bool skip, void *user) {
  const Tile *tile = &l->tile;
  int64_t size = *(int64_t *)user;
  Expr *x[3] = {NULL};
  Lin at[MAX_ITERS], t;
  for (int i = 0; i < n->a.iters->n_out + n->a.iters->n_red; i++) at[i] = it[i];
  for (int k = 0; k < n->n_in; k++) {
    bool depends = false;
    for (int d = 0; d < n->in[k]->t.rank; d++) depends = depends || n->a.iters->acc[k][d].coef[tile->iter];
    if (!depends) x[k] = let(l, "a", contract_operand(l, n, k, it, skip));
  }
  Scope s = lanes_open(l, size, &t);
  at[tile->iter] = lin_mad(l, tile->base, t, 1);
  for (int k = 0; k < n->n_in; k++)
    if (!x[k]) x[k] = contract_operand(l, n, k, at, skip);
  Expr *where = lin_expr(l, t), *sum = nx_load(l->p, tile->buf, where, 1);
  ns_store(l->p, l->at, tile->buf, where, nx2(l->p, S_ADD, sum, contract_product(l, n, x, sum->t.e)));
  block_leave(l, s);
}

Expr *tile_value(Lower *l, const Node *n, const Lin *idx) {
  Lin at = lin_mad(l, idx[l->tile.iter], l->tile.base, -1);
  return contract_result(l, n, nx_load(l->p, l->tile.buf, lin_expr(l, at), 1));
}

/* `count` tiles of `size` elements from element `first` of the tiled dimension on. The tiles are the outermost loop: their
 * share of a constant operand stays in the cache. */
static void tiles(Lower *l, const Node *root, const void *key, int64_t first, int64_t count, int64_t size) {
  Tile *tile = &l->tile;
  const Node *n = tile->n;
  int64_t ext[MAX_RANK];
  Lin idx[MAX_RANK], it[MAX_ITERS], number, t;
  if (count == 0 || size == 0) return;
  Scope outer = loops_open(l, key, 1, &count, &number, NULL, NULL);
  tile->base = lin_mad(l, lin_c(first), number, size);
  for (int d = 0; d < root->t.rank; d++) ext[d] = d == tile->dim ? 1 : root->t.d[d].n;
  loops_open(l, (const char *)key + 1, root->t.rank, ext, idx, NULL, NULL);
  idx[tile->dim] = tile->base;
  Scope s = lanes_open(l, size, &t);
  ns_store(l->p, l->at, tile->buf, lin_expr(l, t), contract_zero(l, l->p->bufs[tile->buf].e));
  block_leave(l, s);
  for (int v = 0; v < n->t.rank; v++) it[v] = moved(l, tile->idx[v], idx);
  contract_loops(l, n, it, 0, add_products, &size);
  s = lanes_open(l, size, &t);
  idx[tile->dim] = lin_mad(l, tile->base, t, 1);
  tile->ready = n;
  Expr *e = root == n ? tile_value(l, n, idx) : compute(l, root, idx);
  ns_store(l->p, l->at, l->buf[root->id], lin_expr(l, lin_flat(l, &root->t, idx)), e);
  tile->ready = NULL;
  block_leave(l, outer);
}

void tile_body(Lower *l, const Node *root) {
  const char *key = (const char *)&l->tile; /* two sets of loops, told apart from those of nodes */
  int64_t n = root->t.d[l->tile.dim].n, size = l->tile.size;
  tiles(l, root, key, 0, n / size, size);
  tiles(l, root, key + 2, n - n % size, 1, n % size);
}
