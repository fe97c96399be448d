/* The ways of computing a contraction that select weighs: one row per kernel. A kernel is added by its name in ir/graph.h, a
 * row here, and what layout or lower make of it. */
#include "passes/contract.h"

static double count_of(const Type *t) {
  int64_t n = 0;
  type_count(t, &n);
  return (double)n;
}

double contract_macs(const Node *n) {
  double macs = count_of(&n->t);
  for (int j = 0; j < n->a.iters->n_red; j++) macs *= (double)n->a.iters->red[j].n;
  return macs;
}

static bool floats(const Node *n) { return elem_is_float(n->t.e) || elem_is_float(n->in[0]->t.e) || elem_is_float(n->in[1]->t.e); }

/* float: multiply and add as they stand */

static bool float_possible(const Node *n, const PassOptions *opt, const char **why) {
  (void)opt;
  *why = "operands are codes";
  return floats(n);
}
static double float_cost(const Node *n, const Target *t) { return contract_macs(n) * t->cost_fmac; }

/* int: bytes multiply, sums are exact */

static bool int_possible(const Node *n, const PassOptions *opt, const char **why) {
  (void)opt;
  *why = "operands are floats";
  return !floats(n);
}
static double int_cost(const Node *n, const Target *t) { return contract_macs(n) * t->cost_mac; }

/* bitserial: words of all plane pairs for every output, packing of the activations, one more plane pass per group of outputs
 * where a sum of activations is needed */

static bool bitserial_possible(const Node *n, const PassOptions *opt, const char **why) {
  BitPlan plan;
  if (opt->hls) return *why = "HLS multiplies exact widths", false;
  if (!opt->target) return *why = "no target", false;
  return bitserial_plan(n, opt->target, &plan, why);
}
static double bitserial_cost(const Node *n, const Target *t) {
  BitPlan plan;
  const char *why;
  if (!bitserial_plan(n, t, &plan, &why)) return 0;
  int pa = plan.act.planes.n, pw = plan.weight.planes.n;
  double words = count_of(&n->t) * (double)plan.words * pa;
  double cost = words * pw * t->cost_word + count_of(&n->in[plan.act.operand]->t) * pa * t->cost_pack;
  return plan.sum ? cost + words * t->cost_word / 8 : cost; /* shared by at least 8 outputs */
}
static void bitserial_note(Str *s, const Node *n, const PassOptions *opt) {
  BitPlan p;
  const char *why;
  if (bitserial_plan(n, opt->target, &p, &why))
    str_printf(s, " (%d x %d planes of %lld words)", p.act.planes.n, p.weight.planes.n, (long long)p.words);
}

const Candidate candidates[KERNEL_COUNT] = {
  [KERNEL_FLOAT] = {float_possible, float_cost, NULL},
  [KERNEL_INT] = {int_possible, int_cost, NULL},
  [KERNEL_BITSERIAL] = {bitserial_possible, bitserial_cost, bitserial_note},
};
