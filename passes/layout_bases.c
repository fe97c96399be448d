/* bases: signs against codes term by term, or against packed planes of the codes. */
#include "passes/contract.h"

#include <math.h>

static double count_of(const Type *t) {
  int64_t n = 0;
  type_count(t, &n);
  return (double)n;
}

/* One signed addition takes a shift, a test, a load and the sum: no target's table knows it. In lanes (lower_bases.c) it was measured. */
static double signed_add(const Node *n, const PassOptions *opt) {
  int lanes = bases_lanes(n, opt);
  return lanes > 1 ? 4.0 / lanes : opt->target->cost_mac < 1 ? 1.5 : opt->target->cost_mac + 1;
}
enum { PLANE_CYCLES = 6 }; /* of a packed plane, besides its words */

static bool packs(const Node *n, const PassOptions *opt, Planes *p) {
  if (n->n_in != 5 || elem_is_float(n->in[0]->t.e) || opt->hls || !opt->target || n->in[0]->t.rank == MAX_RANK) return false;
  return planes_of(n->in[0], p);
}

BasesCost bases_cost(const Node *n, const PassOptions *opt) {
  BasesCost c = {.can_pack = false};
  Planes p;
  if (!opt->target) return c;
  const Type *counts = &n->in[3]->t;
  double positions = count_of(&n->t) / (double)(counts->d[0].n * counts->d[1].n > 0 ? counts->d[0].n * counts->d[1].n : 1);
  double planes = positions * (double)n->in[1]->t.d[0].n;
  int word = opt->target->word;
  c.terms = planes * (double)bases_n(n) * signed_add(n, opt);
  c.can_pack = packs(n, opt, &p);
  if (!c.can_pack) return c;
  c.words = (bases_n(n) + word - 1) / word;
  c.planes = p.n;
  double by_word = fmax(opt->target->cost_word, 1), by_bit = fmax(opt->target->cost_pack, 1); /* here words are never in lanes */
  c.packed = planes * ((double)c.words * (p.n + 1) * by_word + PLANE_CYCLES) + count_of(&n->in[0]->t) * p.n * by_bit;
  return c;
}

Kernel bases_kernel(const Node *n, const PassOptions *opt, Kernel forced) {
  if (n->n_in == 6) return KERNEL_BITSERIAL;
  if (elem_is_float(n->in[0]->t.e)) return KERNEL_FLOAT;
  BasesCost c = bases_cost(n, opt);
  if (forced == KERNEL_INT || (forced == KERNEL_BITSERIAL && c.can_pack)) return forced;
  return c.can_pack && c.packed < c.terms ? KERNEL_BITSERIAL : KERNEL_INT;
}

Node *layout_bases(Graph *g, const Node *n, Node *const *in, const PassOptions *opt) {
  Planes p;
  if (n->a.kernel != KERNEL_BITSERIAL || !packs(n, opt, &p)) return NULL;
  Node *x = node_cast(g, in[0], p.packed);
  Type w = x->t, ct = type_make(I32, 1, (int64_t[]){p.n + 1});
  int k = w.rank - 1;
  w.e = UINTK(opt->target->word);
  w.d[w.rank++] = dim_c((x->t.d[k].n + opt->target->word - 1) / opt->target->word);
  w.d[k] = dim_c(p.n);
  Tensor *c = tensor_new(g->ctx, &ct);
  if (!c) return NULL;
  for (int i = 0; i < p.n; i++) tensor_set_i(c, i, p.coef[i]);
  tensor_set_i(c, p.n, p.offset);
  x = node_new(g, OP_PACK, &w, 1, &x, &(Attr){.axis = k}, NULL);
  return node_bases(g, x, in[1], in[2], in[3], in[4], node_const(g, c), n->t.e, KERNEL_BITSERIAL);
}
