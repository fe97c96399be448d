/* cse: the same operator with the same attributes on the same inputs is computed once. Equal constants are one constant. */
#include "passes/pass.h"

#include <string.h>

typedef struct Entry { const Node *old; Node *made; Node *const *in; struct Entry *next; } Entry;
typedef struct Table { Arena *a; Entry **bucket; uint32_t mask; } Table;

static uint64_t mix(uint64_t h, uint64_t v) { return (h ^ v) * UINT64_C(0x9E3779B97F4A7C15); }

static uint64_t hash_node(const Node *old, Node *const *in) {
  uint64_t h = mix(mix(old->op, old->a.scalar), (uint64_t)old->n_in << 32 | old->t.rank << 16 | old->t.e.kind << 8 | old->t.e.bits);
  for (int i = 0; i < old->t.rank; i++) h = mix(h, (uint64_t)old->t.d[i].n);
  for (int i = 0; i < old->n_in; i++) h = mix(h, in[i]->id);
  if (old->op == OP_CONST) {
    const Tensor *t = old->a.value;
    size_t bytes = (size_t)t->n * store_size(t->st), step = bytes / 64 + 1; /* a sample of the bytes */
    for (size_t i = 0; i < bytes; i += step) h = mix(h, ((const unsigned char *)t->data)[i]);
  }
  return h ^ h >> 29;
}

static Node *cse_rule(Rewrite *rw, const Node *old, Node *const *in) {
  Table *t = rw->user;
  if (old->a.fused) return NULL; /* belongs to one consumer */
  Entry **at = &t->bucket[hash_node(old, in) & t->mask];
  for (Entry *e = *at; e; e = e->next)
    if (attr_eq(e->old, old) && (old->n_in == 0 || memcmp(e->in, in, sizeof *in * (size_t)old->n_in) == 0)) {
      rw->changes++;
      return e->made;
    }
  Entry *e = NEW(t->a, Entry);
  *e = (Entry){old, node_clone(rw->g, old, in), NULL, *at};
  e->in = e->made->in;
  *at = e;
  return e->made;
}

Graph *pass_cse(Graph *old, const PassOptions *opt) {
  Table t = {.a = arena_new(old->ctx), .mask = 63};
  (void)opt;
  while (t.mask < (uint32_t)old->n_nodes) t.mask = t.mask * 2 + 1;
  t.bucket = NEWN(t.a, Entry *, t.mask + 1);
  Graph *g = graph_rewrite(old, cse_rule, &t, NULL);
  arena_free(t.a);
  graph_free(old);
  return g;
}
