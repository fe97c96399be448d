/* schedule: small changes of plain loops that keep every bit.
 * 1. A load that is the same in every iteration moves into a LET before the loop, the outermost possible one. That is where
 *    the loop runs at least once and reaches the load in each iteration, nothing in it stores to the buffer, and nothing in it
 *    binds or sets a variable of the index.
 * 2. Innermost loops of 2 to 4 constant iterations are marked to be unrolled (CPU programs only: on an FPGA that costs area). */
#include "passes/pass.h"

#include <string.h>

enum { MOST_HOISTED = 32, MOST_UNROLLED = 4 };

typedef struct Hoisted { const Expr *load; Expr *var; } Hoisted;

typedef struct Schedule {
  Program *p;
  Nest *n;
  bool unroll;
  int loop;              /* the current loop's number */
  int *bound, *stored;   /* of variables and buffers: the last loop found to bind or set, to store to it */
  int cap_bound;
  Arena *scratch;
  Block before;          /* LETs to stand before the loop */
  Hoisted hoisted[MOST_HOISTED];
  int n_hoisted;
} Schedule;

static void note_changes(void *user, const Stmt *s) {
  Schedule *c = user;
  if (s->kind == ST_STORE) c->stored[s->buf] = c->loop;
  else if (s->var >= 0) c->bound[s->var] = c->loop;
}

static bool invariant(const Schedule *c, const Expr *x) {
  if (x->kind == EX_VAR && c->bound[x->var] == c->loop) return false;
  if (x->kind == EX_LOAD && c->stored[x->buf] == c->loop) return false;
  for (int i = 0; i < x->n; i++) if (!invariant(c, x->a[i])) return false;
  return true;
}

static bool same_expr(const Expr *a, const Expr *b) {
  if (a == b) return true;
  if (a->kind != b->kind || !elem_eq(a->t.e, b->t.e) || a->t.lanes != b->t.lanes || a->s != b->s || a->var != b->var ||
      a->buf != b->buf || a->imm != b->imm || a->n != b->n || memcmp(&a->value, &b->value, sizeof a->value) ||
      (a->kind == EX_PERM && memcmp(a->perm, b->perm, a->t.lanes))) return false;
  for (int i = 0; i < a->n; i++) if (!same_expr(a->a[i], b->a[i])) return false;
  return true;
}

/* The variable that holds this load before the loop; the load itself where there are too many already. */
static Expr *hoist(Schedule *c, Expr *x) {
  for (int i = 0; i < c->n_hoisted; i++) if (same_expr(c->hoisted[i].load, x)) return c->hoisted[i].var;
  if (c->n_hoisted == MOST_HOISTED) return x;
  Expr *var = ns_name(c->p, c->n, &c->before, c->p->bufs[x->buf].name, x);
  c->hoisted[c->n_hoisted++] = (Hoisted){x, var};
  return var;
}

/* x with its invariant loads replaced; operands that may not be evaluated are left. Expressions may be shared: x is kept. */
static Expr *hoist_loads(Schedule *c, Expr *x) {
  if (x->kind == EX_LOAD && invariant(c, x)) return hoist(c, x);
  Expr *y = x;
  for (int i = 0; i < (x->kind == EX_COND ? 1 : x->n); i++) {
    Expr *a = hoist_loads(c, x->a[i]);
    if (a == x->a[i]) continue;
    if (y == x) {
      y = NEW(c->p->arena, Expr);
      *y = *x;
    }
    y->a[i] = a;
  }
  return y;
}

static bool constant_trips(const Stmt *s, int64_t *trips) {
  int64_t lo, hi;
  if (!nx_is_const(s->e, &lo) || !nx_is_const(s->e2, &hi)) return false;
  *trips = hi > lo ? (hi - lo - 1) / s->step + 1 : 0;
  return true;
}

/* Every statement that each iteration reaches. */
static void hoist_block(Schedule *c, const Block *b) {
  int64_t trips;
  for (Stmt *s = b->first; s; s = s->next) {
    if (s->e) s->e = hoist_loads(c, s->e);
    if (s->e2) s->e2 = hoist_loads(c, s->e2);
    if (s->kind == ST_FOR && constant_trips(s, &trips) && trips > 0) hoist_block(c, &s->body);
  }
}

static bool has_loop(const Block *b) {
  for (const Stmt *s = b->first; s; s = s->next)
    if (s->kind == ST_FOR || has_loop(&s->body) || has_loop(&s->other)) return true;
  return false;
}

/* Variables that ns_name adds are bound outside the loop at hand: their entries are 0. */
static void grow_bound(Schedule *c) {
  if (c->n->n_vars + MOST_HOISTED <= c->cap_bound) return;
  int cap = 2 * (c->n->n_vars + MOST_HOISTED);
  c->bound = arena_grow(c->scratch, c->bound, sizeof *c->bound * (size_t)c->cap_bound, sizeof *c->bound * (size_t)cap);
  c->cap_bound = cap;
}

static void schedule_block(Schedule *c, Block *b) {
  int64_t trips;
  for (Stmt **at = &b->first; *at; at = &(*at)->next) {
    Stmt *s = *at;
    if (s->kind == ST_FOR && constant_trips(s, &trips) && trips > 0) {
      grow_bound(c);
      c->loop++;
      c->n_hoisted = 0;
      block_init(&c->before);
      note_changes(c, s);
      stmt_visit(&s->body, note_changes, c);
      hoist_block(c, &s->body);
      if (c->n_hoisted) {
        *at = c->before.first;
        *c->before.tail = s;
        at = c->before.tail;
      }
      if (c->unroll && s->mark == MARK_SERIAL && trips > 1 && trips <= MOST_UNROLLED && !has_loop(&s->body)) s->mark = MARK_UNROLL;
    }
    schedule_block(c, &s->body);
    schedule_block(c, &s->other);
  }
}

bool pass_schedule(Program *p, const PassOptions *options) {
  Schedule c = {.p = p, .unroll = !p->exact && !(options && options->hls), .scratch = arena_new(p->ctx)};
  c.stored = NEWN(c.scratch, int, p->n_bufs);
  for (int i = 0; i < p->n_nests; i++) {
    c.n = p->nests[i];
    c.cap_bound = 0;
    schedule_block(&c, &c.n->body);
  }
  arena_free(c.scratch);
  return true;
}
