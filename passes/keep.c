/* keep: outputs that are the next run's inputs stay in the workspace (--state OUT=IN).
 *   init   kept[i] = first[i]
 *   run    the nests; then kept[i] = out[i], after the last of them read it
 * Kept buffers live from run to run, so that plan gives them bytes that nothing else uses. */
#include "passes/edges.h"
#include "passes/pass.h"

#include <string.h>

/* One nest that fills buf from another buffer, or with a number. */
static int fill_nest(Program *p, const char *name, int buf, int from, const Tensor *number) {
  Nest *n = program_nest(p, nest_name(p, name, p->bufs[buf].name), &LOC_NONE, name);
  Elem e = p->bufs[buf].e;
  int i = nest_var(p, n, "i", nt(p->index), true);
  Stmt *f = ns_for(p, &n->body, i, nx_idx(p, 0), nx_idx(p, p->bufs[buf].n), 1, -1);
  Expr *x = from >= 0 ? nx_load(p, from, nx_var(p, n, i), 1)
                      : elem_is_float(e) ? nx_const_f(p, nt(e), tensor_f(number, 0)) : nx_const_i(p, nt(e), tensor_i(number, 0));
  ns_store(p, &f->body, buf, nx_var(p, n, i), x);
  return p->n_nests - 1;
}

static bool uniform(const Tensor *t) {
  size_t size = store_size(t->st);
  for (int64_t i = 1; i < t->n; i++)
    if (memcmp((const char *)t->data + (size_t)i * size, t->data, size)) return false;
  return true;
}

/* What init does for one kept buffer. */
static void add_init(Program *p, int buf, const Tensor *first) {
  int from = -1;
  if (!uniform(first)) {
    size_t bytes = (size_t)first->n * store_size(first->st);
    void *rom = memcpy(arena_alloc(p->arena, bytes), first->data, bytes);
    from = program_buf(p, nest_name(p, "first", p->bufs[buf].name), p->bufs[buf].e, SP_ROM, first->n, rom);
  }
  int nest = fill_nest(p, "init", buf, from, first);
  p->n_steps--; /* program_nest made a step of it */
  p->inits = arena_grow(p->arena, p->inits, sizeof *p->inits * (size_t)p->n_inits, sizeof *p->inits * ((size_t)p->n_inits + 1));
  p->inits[p->n_inits++] = nest;
}

static int drop_ports(Port *ports, int n, const Keep *keep, int n_keep, bool outs) {
  int left = 0;
  for (int i = 0; i < n; i++) {
    bool gone = false;
    for (int k = 0; k < n_keep; k++) gone = gone || (outs ? keep[k].out : keep[k].in) == i;
    if (!gone) ports[left++] = ports[i];
  }
  return left;
}

bool program_keep(Program *p, const Keep *keep, Tensor *const *first, int n) {
  for (int k = 0; k < n; k++) {
    int in = p->ins[keep[k].in].buf, out = p->outs[keep[k].out].buf;
    if (p->bufs[in].n != p->bufs[out].n || !elem_eq(p->bufs[in].e, p->bufs[out].e) || first[k]->n != p->bufs[in].n)
      return diag(p->ctx, E0902, NULL, "the kept output %s and input %s differ", p->bufs[out].name, p->bufs[in].name);
    p->bufs[in].sp = SP_ARENA;
    p->bufs[in].keep = true;
    p->bufs[in].off = -1;
    p->bufs[out].sp = SP_ARENA;
    p->bufs[out].off = -1;
    if (p->bufs[in].n == 0) continue;
    add_init(p, in, first[k]);
  }
  /* behind all other nests: two kept values may be read to make each other */
  for (int k = 0; k < n; k++)
    if (p->bufs[p->ins[keep[k].in].buf].n) fill_nest(p, "keep", p->ins[keep[k].in].buf, p->outs[keep[k].out].buf, NULL);
  p->n_ins = drop_ports(p->ins, p->n_ins, keep, n, false);
  p->n_outs = drop_ports(p->outs, p->n_outs, keep, n, true);
  p->arena_bytes = -1;
  return pass_plan(p, NULL);
}
