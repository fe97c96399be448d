/* Tiles: a contraction computed for a block of outputs at once, `lanes` neighbours along one dimension times up to four
 * `rows` along another, each with its own accumulator. A step of the reduction loads what the lanes share once per row and what
 * the rows share once per lane; every accumulator still adds in the order of the reduction. A dimension that the block does
 * not divide ends with a block that overlaps the one before it and computes the same again. */
#include "passes/contract.h"
#include "passes/lower.h"

/* Measured with gcc 12 and clang 19 at -O2 and -O3, SSE2 to AVX-512, f32 and i32 accumulators: 4 x 16 is best or near it
 * everywhere; one row alone wants more lanes to hide the latency of additions. */
enum { ROWS = 4, LANES = 16, LANES_ALONE = 64, LANES_LEAST = 4, REDUCTION_LEAST = 4 };

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

int tile_iter(const Lower *l, const Node *n, int atom) {
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

bool tile_known(const Tile *tile, const Loops *loops, Lin x) {
  for (int i = 0; i < x.n; i++) {
    const Atom *a = &tile->atoms[x.t[i].atom];
    if (a->kind == ATOM_EXPR ? loop_dim(loops, x.t[i].atom) < 0 : !tile_known(tile, loops, a->of)) return false;
  }
  return true;
}

Lin tile_moved(Lower *l, Lin x, const Lin *idx) {
  const Tile *tile = &l->tile;
  Lin y = lin_c(x.c);
  for (int i = 0; i < x.n; i++) {
    const Atom *a = &tile->atoms[x.t[i].atom];
    Lin term = a->kind == ATOM_EXPR ? idx[loop_dim(&tile->loops, x.t[i].atom)] :
               a->kind == ATOM_DIV ? lin_div(l, tile_moved(l, a->of, idx), a->d) : lin_mod(l, tile_moved(l, a->of, idx), a->d);
    y = lin_mad(l, y, term, x.t[i].k);
  }
  return y;
}

bool contract_depends(const Node *n, int k, int v) {
  for (int d = 0; d < n->in[k]->t.rank; d++)
    if (n->a.iters->acc[k][d].coef[v]) return true;
  return false;
}

/* Rows: an output iterator that changes one operand and not another, never across a border. */
static bool makes_rows(const Node *n, int v) {
  bool shared = false;
  for (int k = 0; k < n->n_in; k++) {
    if (!contract_depends(n, k, v)) shared = true;
    else if (!access_inside(n, k)) return false;
  }
  return shared;
}

static void find_rows(Lower *l, const Loops *loops) {
  Tile *t = &l->tile;
  int64_t best = 1;
  for (int i = 0; i < loops->nd; i++) {
    int v = tile_iter(l, t->n, loops->atom[i]);
    if (v < 0 || v == t->iter || loops->ext[i] < best || !makes_rows(t->n, v)) continue;
    best = loops->ext[i];
    t->row_dim = loops->dim[i];
  }
  t->rows = best < ROWS ? (int)best : ROWS;
}

static int64_t lanes_of(int64_t ext, int rows) {
  int64_t most = rows > 1 ? LANES : LANES_ALONE;
  while (most > LANES && ext < most) most /= 2;
  return ext < most ? ext : most;
}

/* Share of lanes that do new work, in blocks of LANES; few lanes are unrolled by compilers before they are vectorized. */
static double lanes_worth(int64_t ext) {
  if (ext < LANES) return (double)ext / (4 * LANES);
  return (double)ext / (double)((ext + LANES - 1) / LANES * LANES);
}

bool tile_over(Lower *l, const Loops *loops) {
  Tile *t = &l->tile;
  t->loops = *loops;
  t->atoms = NEWN(l->tmp, Atom, l->atoms.n + 1);
  for (int i = 0; i < l->atoms.n; i++) t->atoms[i] = l->atoms.p[i];
  for (int v = 0; v < t->met->t.rank; v++)
    if (!tile_known(t, loops, t->idx[v])) return false;
  return true;
}

bool tile_decide(Lower *l) {
  const Node *n = l->tile.met;
  Tile *t = &l->tile;
  const Loops *loops = loops_find(l, NULL);
  int64_t reductions = 1, best = 0;
  double worth = 0;
  if (t->seen != 1 || l->opt->hls || n->a.scalar != S_MUL || n->a.kernel == KERNEL_PACKED || !loops) return false;
  for (int j = 0; j < n->a.iters->n_red; j++) reductions *= n->a.iters->red[j].n;
  if (reductions < REDUCTION_LEAST) return false;
  for (int i = 0; i < loops->nd; i++) {
    int v = tile_iter(l, n, loops->atom[i]);
    if (v < 0 || loops->ext[i] < LANES_LEAST || lanes_worth(loops->ext[i]) <= worth || !reads_neighbours(l, n, v)) continue;
    best = loops->ext[i];
    worth = lanes_worth(best);
    t->dim = loops->dim[i];
    t->iter = v;
  }
  if (!best) return false;
  if (!tile_over(l, loops)) return false;
  t->n = n;
  find_rows(l, loops);
  t->size = lanes_of(best, t->rows);
  for (int r = 0; r < t->rows; r++)
    t->buf[r] = program_buf(l->p, nest_name(l->p, "sum", n->loc.name ? n->loc.name : ""), contract_elem(l, n), SP_REG, t->size, NULL);
  return true;
}

/* Loop over the lanes, entered. */
static Scope lanes_open(Lower *l, Lin *t) {
  Scope s = {l->at, l->memo.n};
  int64_t size = l->tile.size;
  int var = nest_var(l->p, l->nest, "t", nt(l->p->index), true);
  Stmt *loop = ns_for(l->p, l->at, var, nx_idx(l->p, 0), nx_idx(l->p, size), 1, size);
  loop->mark = MARK_VECTOR;
  l->at = &loop->body;
  *t = lin_atom(l, nx_var(l->p, l->nest, var), 0, size - 1);
  return s;
}

/* Output iterators of the contraction in row r, at the first lane. */
static void row_iters(Lower *l, int r, Lin *it) {
  const Tile *tile = &l->tile;
  Lin idx[MAX_RANK];
  for (int d = 0; d < tile->rank; d++) idx[d] = tile->first[d];
  if (tile->rows > 1) idx[tile->row_dim] = lin_mad(l, idx[tile->row_dim], lin_c(r), 1);
  for (int v = 0; v < tile->n->t.rank; v++) it[v] = tile_moved(l, tile->idx[v], idx);
}

/* Adds the products of one reduction step to all accumulators. */
static void add_products(Lower *l, const Node *n, const Lin *it, bool skip, void *user) {
  const Tile *tile = &l->tile;
  int n_out = n->a.iters->n_out, row_iter = -1;
  Expr *x[ROWS][3] = {{NULL}};
  Lin at[ROWS][MAX_ITERS], t;
  (void)user;
  for (int r = 0; r < tile->rows; r++) {
    row_iters(l, r, at[r]);
    for (int j = 0; j < n->a.iters->n_red; j++) at[r][n_out + j] = it[n_out + j];
  }
  for (int v = 0; v < n_out; v++)
    if (tile->rows > 1 && !lin_eq(at[0][v], at[1][v])) row_iter = v;
  for (int k = 0; k < n->n_in; k++)
    for (int r = 0; r < tile->rows && !contract_depends(n, k, tile->iter); r++)
      x[r][k] = r && !contract_depends(n, k, row_iter) ? x[0][k] : let(l, "a", contract_operand(l, n, k, at[r], skip));
  Scope s = lanes_open(l, &t);
  for (int r = 0; r < tile->rows; r++) at[r][tile->iter] = lin_mad(l, at[r][tile->iter], t, 1);
  for (int k = 0; k < n->n_in; k++)
    for (int r = 0; r < tile->rows && contract_depends(n, k, tile->iter); r++)
      x[r][k] = r && !contract_depends(n, k, row_iter) ? x[0][k] : let(l, "b", contract_operand(l, n, k, at[r], skip));
  Expr *where = lin_expr(l, t);
  for (int r = 0; r < tile->rows; r++) {
    Expr *sum = nx_load(l->p, tile->buf[r], where, 1);
    ns_store(l->p, l->at, tile->buf[r], where, nx2(l->p, S_ADD, sum, contract_product(l, n, x[r], sum->t.e)));
  }
  block_leave(l, s);
}

Expr *tile_value(Lower *l, const Node *n) {
  if (l->tile.sum) return contract_result(l, n, l->tile.sum);
  return contract_result(l, n, nx_load(l->p, l->tile.buf[l->tile.row], lin_expr(l, l->tile.lane), 1));
}

Lin tile_start(Lower *l, Lin number, int64_t size, int64_t n) {
  Lin start = lin_mad(l, lin_c(0), number, size);
  if (n % size == 0 || n < size) return start;
  return lin_atom(l, let(l, "at", nx2(l->p, S_MIN, lin_expr(l, start), lin_expr(l, lin_c(n - size)))), 0, n - size);
}

/* The blocks of lanes are the outermost loop: their share of a constant operand stays in the cache. */
void tile_body(Lower *l, const Node *root) {
  Tile *tile = &l->tile;
  const Node *n = tile->n;
  int64_t ext[MAX_RANK], size = tile->size, lanes = root->t.d[tile->dim].n, count = (lanes + size - 1) / size;
  Lin number, it[MAX_ITERS], t;
  Scope outer = loops_open(l, tile, 1, &count, &number, NULL, NULL);
  tile->rank = root->t.rank;
  for (int d = 0; d < root->t.rank; d++) ext[d] = root->t.d[d].n;
  ext[tile->dim] = 1;
  if (tile->rows > 1) ext[tile->row_dim] = (ext[tile->row_dim] + tile->rows - 1) / tile->rows;
  Lin start = tile_start(l, number, size, lanes);
  loops_open(l, NULL, root->t.rank, ext, tile->first, NULL, NULL);
  tile->first[tile->dim] = start;
  if (tile->rows > 1) tile->first[tile->row_dim] = tile_start(l, tile->first[tile->row_dim], tile->rows, root->t.d[tile->row_dim].n);
  Scope s = lanes_open(l, &t);
  for (int r = 0; r < tile->rows; r++)
    ns_store(l->p, l->at, tile->buf[r], lin_expr(l, t), contract_zero(l, l->p->bufs[tile->buf[r]].e));
  block_leave(l, s);
  row_iters(l, 0, it);
  contract_loops(l, n, it, 0, add_products, NULL);
  tile->ready = n;
  for (tile->row = 0; tile->row < tile->rows; tile->row++) {
    Lin idx[MAX_RANK];
    s = lanes_open(l, &tile->lane);
    for (int d = 0; d < root->t.rank; d++) idx[d] = tile->first[d];
    idx[tile->dim] = lin_mad(l, idx[tile->dim], tile->lane, 1);
    if (tile->rows > 1) idx[tile->row_dim] = lin_mad(l, idx[tile->row_dim], lin_c(tile->row), 1);
    store_element(l, root, idx, root == n ? tile_value(l, n) : NULL);
    block_leave(l, s);
  }
  tile->ready = NULL;
  block_leave(l, outer);
}
