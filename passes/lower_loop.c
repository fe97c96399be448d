/* Blocks, loops and the two runs of a nest: the first finds which dimensions can be walked by one loop. */
#include "passes/lower.h"

#include <assert.h>

Scope block_enter(Lower *l, Block *b) {
  Scope s = {l->at, l->memo.n};
  l->at = b;
  return s;
}

void block_leave(Lower *l, Scope s) {
  l->at = s.at;
  l->memo.n = s.memo;
}

Loops *loops_find(Lower *l, const void *key) {
  for (int i = 0; i < l->loops.n; i++)
    if (l->loops.p[i].key == key) return &l->loops.p[i];
  return NULL;
}

/* One loop, entered. */
static Expr *loop_open(Lower *l, const char *name, Expr *lo, Expr *hi, int64_t ext) {
  if (ext > INT32_MAX && l->p->index.bits < 64) l->wide = true, ext = 0;
  int var = nest_var(l->p, l->nest, name, nt(l->p->index), true);
  Stmt *s = ns_for(l->p, l->at, var, lo ? lo : nx_idx(l->p, 0), hi ? hi : nx_idx(l->p, ext), 1, ext);
  l->at = &s->body;
  return nx_var(l->p, l->nest, var);
}

/* Live dimensions first..last-1 as one loop; returns the atom of its variable. */
static int run_open(Lower *l, const char *name, const Loops *note, int first, int last, Lin *idx, Expr *lo, Expr *hi) {
  Type run = {.rank = (uint8_t)(last - first)};
  int64_t n = 1;
  for (int i = first; i < last; i++) run.d[i - first] = dim_c(note->ext[i]), n *= note->ext[i];
  Expr *v = loop_open(l, name, lo, hi, n);
  idx[0] = lin_atom(l, v, 0, n - 1);
  int atom = l->atoms.n - 1;
  if (last - first > 1) lin_unflat(l, idx[0], &run, idx);
  return atom;
}

Scope loops_open(Lower *l, const void *key, int nd, const int64_t *ext, Lin *idx, Expr *const *lo, Expr *const *hi) {
  Scope scope = {l->at, l->memo.n};
  const char *name = key ? "r" : "i";
  const Loops *found = l->dry ? NULL : loops_find(l, key);
  Loops note = {.key = key};
  int *dim = note.dim; /* live dimensions: those that need a loop */
  assert(nd <= MAX_ITERS);
  for (int i = 0; i < nd; i++) {
    bool bound = lo && (lo[i] || hi[i]);
    if (ext[i] == 1 && !bound) {
      idx[i] = lin_c(0);
      continue;
    }
    if (bound) note.apart |= 1u << note.nd | (note.nd ? 1u << (note.nd - 1) : 0);
    note.ext[note.nd] = ext[i];
    dim[note.nd++] = i;
  }
  if (found) note.apart |= found->apart;
  for (int i = 0, last; i < note.nd; i = last) {
    Lin part[MAX_ITERS];
    last = i + 1;
    while (found && last < note.nd && !(note.apart >> (last - 1) & 1)) last++;
    int d = dim[i];
    note.atom[i] = run_open(l, name, &note, i, last, part, lo ? lo[d] : NULL, lo ? hi[d] : NULL);
    for (int j = i; j < last; j++) idx[dim[j]] = part[j - i];
  }
  if (l->dry) vec_push(l->tmp, &l->loops, note);
  return scope;
}

static int64_t coef_of(Lin x, int atom) {
  for (int i = 0; i < x.n; i++)
    if (x.t[i].atom == atom) return x.t[i].k;
  return 0;
}

/* Dimensions i and i+1 join where every index steps as much from one row of i+1 to the next as within a row. */
static void loops_decide(Lower *l) {
  for (int g = 0; g < l->loops.n; g++) {
    Loops *a = &l->loops.p[g];
    for (int i = 0; i + 1 < a->nd; i++)
      for (int u = 0; u < l->used.n; u++)
        if (coef_of(l->used.p[u], a->atom[i]) != a->ext[i + 1] * coef_of(l->used.p[u], a->atom[i + 1])) a->apart |= 1u << i;
    loops_find(l, a->key)->apart |= a->apart;
  }
}

static void nest_run(Lower *l, Nest *nest, bool dry, const Node *n, LowerBody *body) {
  if (dry) l->used.n = l->loops.n = 0;
  l->dry = dry;
  l->nest = nest;
  l->at = &nest->body;
  l->atoms.n = l->memo.n = 0;
  body(l, n);
  if (dry) loops_decide(l);
}

/* Bodies over lanes are tried in dry runs; the last dry run is of the one that is chosen. */
static LowerBody *lanes_choose(Lower *l, Nest *probe, const Node *n, LowerBody *body) {
  bool tried = false;
  if ((body == element_body || body == pack_body) && lanes_wanted(l, n)) {
    l->tile = (Tile){.seen = 0};
    block_init(&probe->body);
    nest_run(l, probe, true, n, lanes_probe);
    if (lanes_decide(l, n)) {
      block_init(&probe->body);
      nest_run(l, probe, true, n, lanes_body);
      if (lanes_fit(l)) return lanes_body;
    }
    tried = true;
  }
  for (int i = 0; body == pack_body && pack_lanes_next(l, n, i); i++) {
    if (l->pack->failed) continue;
    block_init(&probe->body);
    nest_run(l, probe, true, n, pack_lanes_body);
    if (!l->pack->failed) return pack_lanes_body;
    tried = true;
  }
  if (!tried) return body;
  l->tile = (Tile){.seen = 0};
  block_init(&probe->body);
  nest_run(l, probe, true, n, body);
  return body;
}

void nest_build(Lower *l, const char *name, const Node *n, const char *note, LowerBody *body) {
  Nest *probe = NEW(l->tmp, Nest);
  probe->name = "probe";
  block_init(&probe->body);
  l->tile = (Tile){.seen = 0};
  nest_run(l, probe, true, n, body);
  body = lanes_choose(l, probe, n, body);
  if (body == element_body && tile_decide(l)) {
    body = tile_body;
    block_init(&probe->body);
    nest_run(l, probe, true, n, body);
  }
  nest_run(l, program_nest(l->p, name, &n->loc, note), false, n, body);
}
