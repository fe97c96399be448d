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

/* Constants as they are. */
static double dense_bytes(const Node *n, const Target *t) {
  double bytes = 0;
  (void)t;
  for (int k = 0; k < n->n_in; k++)
    if (node_is_const(n->in[k])) bytes += (double)n->in[k]->a.value->n * (double)store_size(n->in[k]->a.value->st);
  return bytes;
}

static bool floats(const Node *n) { return elem_is_float(n->t.e) || elem_is_float(n->in[0]->t.e) || elem_is_float(n->in[1]->t.e); }

/* float: multiply and add as they stand */

static bool float_possible(const Node *n, const PassOptions *opt, const char **why) {
  (void)opt;
  *why = "operands are codes";
  return floats(n);
}
static double float_cost(const Node *n, const Target *t) { return contract_macs(n) * t->cost_fmac; }

/* int: bytes multiply, sums are exact. Where multiplications are not wanted they are made of masks (unmultiply.c): slow, and only
 * for what has no other way. */

static bool bitserial_possible(const Node *n, const PassOptions *opt, const char **why);

static bool int_possible(const Node *n, const PassOptions *opt, const char **why) {
  const char *none;
  if (floats(n)) return *why = "operands are floats", false;
  if (opt->no_multiply && !opt->hls && (shift_possible(n, &none) || bitserial_possible(n, opt, &none))) return *why = "multiplies", false;
  return true;
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
static double bitserial_bytes(const Node *n, const Target *t) {
  BitPlan p;
  const char *why;
  if (!bitserial_plan(n, t, &p, &why)) return 0;
  double rows = (double)n->in[p.weight.operand]->a.value->n / (double)p.k; /* each of whole words */
  return rows * (double)((p.k + t->word - 1) / t->word) * p.weight.planes.n * t->word / 8;
}
static void bitserial_note(Str *s, const Node *n, const PassOptions *opt) {
  BitPlan p;
  const char *why;
  if (bitserial_plan(n, opt->target, &p, &why))
    str_printf(s, " (%d x %d planes of %lld words)", p.act.planes.n, p.weight.planes.n, (long long)p.words);
}

/* shift: an addition for each power of two in each weight; zeros are free */

static bool shift_can(const Node *n, const PassOptions *opt, const char **why) {
  if (opt->hls) return *why = "HLS multiplies exact widths", false;
  return shift_possible(n, why);
}
static double shift_cost(const Node *n, const Target *t) {
  double lists;
  return (shift_terms(n, &lists) + lists) * t->cost_shift; /* the end of a list costs as much as an addition */
}
static void shift_note(Str *s, const Node *n, const PassOptions *opt) {
  double macs = contract_macs(n), lists;
  (void)opt;
  str_printf(s, " (%lld additions for 100 products)", (long long)(macs > 0 ? 100 * shift_terms(n, &lists) / macs + 0.5 : 0));
}

/* packed: int, with each weight taken out of its word; the copy of the code that multiplies costs the same */

static bool packed_can(const Node *n, const PassOptions *opt, const char **why) {
  const char *none;
  bool asked = false;
  for (int i = 0; i < opt->n_force; i++) asked = asked || opt->force[i].kernel == KERNEL_PACKED;
  if (opt->hls) return *why = "HLS multiplies exact widths", false;
  if (!packed_possible(n, why)) return false;
  return asked || int_possible(n, opt, &none) || (*why = none, false);
}
static double packed_cost(const Node *n, const Target *t) { return contract_macs(n) * (t->cost_mac + t->cost_unpack); }

const Candidate candidates[KERNEL_COUNT] = {
  [KERNEL_FLOAT] = {float_possible, float_cost, NULL, dense_bytes},
  [KERNEL_INT] = {int_possible, int_cost, NULL, dense_bytes},
  [KERNEL_BITSERIAL] = {bitserial_possible, bitserial_cost, bitserial_note, bitserial_bytes},
  [KERNEL_SHIFT] = {shift_can, shift_cost, shift_note, shift_bytes},
  [KERNEL_PACKED] = {packed_can, packed_cost, NULL, packed_bytes},
};
