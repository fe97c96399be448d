/* plan: gives every ARENA buffer an offset such that buffers alive at one step lie apart.
 * 1. Sizes are rounded up to 64 bytes; a buffer lives from the first to the last step that touches it.
 * 2. In an order (largest first), each buffer takes the smallest gap between placed buffers alive with it that holds it.
 * 3. The buffer that ends highest is put before all others and step 2 is repeated; the best of a bounded number of tries stays.
 * The bound, the most bytes alive at one step, ends the tries early. */
#include "passes/pass.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

typedef struct Item { int64_t size, off, best; int first, last, buf; } Item;

static int larger_first(const void *a, const void *b) {
  const Item *x = *(Item *const *)a, *y = *(Item *const *)b;
  if (x->size != y->size) return x->size > y->size ? -1 : 1;
  int long_x = x->last - x->first, long_y = y->last - y->first;
  if (long_x != long_y) return long_x > long_y ? -1 : 1;
  return x->buf - y->buf;
}

/* placed: n items by offset. The offset of the smallest gap for x among those alive with it. */
static int64_t best_gap(Item *const *placed, int n, const Item *x) {
  int64_t end = 0, best = -1, best_size = 0;
  for (int i = 0; i < n; i++) {
    const Item *p = placed[i];
    if (p->first > x->last || x->first > p->last) continue;
    int64_t gap = p->off - end;
    if (gap >= x->size && (best < 0 || gap < best_size)) { best = end; best_size = gap; }
    if (p->off + p->size > end) end = p->off + p->size;
  }
  return best < 0 ? end : best;
}

/* Places the items in this order; bytes needed. */
static int64_t place(Item *const *order, Item **placed, int n) {
  int64_t total = 0;
  for (int i = 0; i < n; i++) {
    Item *x = order[i];
    x->off = best_gap(placed, i, x);
    int at = i;
    for (; at > 0 && placed[at - 1]->off > x->off; at--) placed[at] = placed[at - 1];
    placed[at] = x;
    if (x->off + x->size > total) total = x->off + x->size;
  }
  return total;
}

static int64_t alive_bound(Arena *scratch, const Item *items, int n, int n_steps) {
  int64_t *delta = NEWN(scratch, int64_t, n_steps + 1), alive = 0, most = 0;
  for (int i = 0; i < n; i++) {
    delta[items[i].first] += items[i].size;
    delta[items[i].last + 1] -= items[i].size;
  }
  for (int k = 0; k < n_steps; k++) {
    alive += delta[k];
    if (alive > most) most = alive;
  }
  return most;
}

/* The highest item goes to the front. False where it is there already. */
static bool promote(Item **order, int n, int64_t total) {
  for (int i = 0; i < n; i++) {
    Item *x = order[i];
    if (x->off + x->size != total) continue;
    memmove(order + 1, order, sizeof *order * (size_t)i);
    order[0] = x;
    return i > 0;
  }
  return false;
}

bool pass_plan(Program *p, const PassOptions *options) {
  (void)options;
  Arena *scratch = arena_new(p->ctx);
  int *first = NEWN(scratch, int, p->n_bufs), *last = NEWN(scratch, int, p->n_bufs), n = 0;
  Item *items = NEWN(scratch, Item, p->n_bufs), **order = NEWN(scratch, Item *, p->n_bufs), **placed = NEWN(scratch, Item *, p->n_bufs);
  buf_lifetimes(p, first, last);
  int64_t sum = 0, size;
  for (int i = 0; i < p->n_bufs; i++) {
    Buf *b = &p->bufs[i];
    if (b->sp != SP_ARENA) continue;
    b->off = 0; /* of buffers that nobody touches */
    if (first[i] > last[i]) continue;
    if (!mul_ok(b->n, (int64_t)store_size(elem_store(b->e)), &size) || !add_ok(size, ALIGN - 1, &size) || !add_ok(sum, size, &sum)) {
      arena_free(scratch);
      return diag(p->ctx, E0402, NULL, "the buffers of %s are too large to add up", p->name);
    }
    items[n] = (Item){.size = size / ALIGN * ALIGN, .first = first[i], .last = last[i], .buf = i};
    order[n] = &items[n];
    n++;
  }
  p->arena_bound = alive_bound(scratch, items, n, p->n_steps);
  qsort(order, (size_t)n, sizeof *order, larger_first);
  int64_t total = place(order, placed, n), tries = n > 2000 ? 4 : 200;
  p->arena_bytes = total;
  for (int i = 0; i < n; i++) items[i].best = items[i].off;
  while (tries-- && p->arena_bytes > p->arena_bound && promote(order, n, total)) {
    total = place(order, placed, n);
    if (total >= p->arena_bytes) continue;
    p->arena_bytes = total;
    for (int i = 0; i < n; i++) items[i].best = items[i].off;
  }
  for (int i = 0; i < n; i++) p->bufs[items[i].buf].off = items[i].best;
  arena_free(scratch);
  return true;
}
