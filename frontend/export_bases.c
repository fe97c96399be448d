/* Multi-bit bases in core operators, all in binary64: the group of every plane by Gather, its signed sum, times its alpha; then a table
 * of each output's planes, its first row a zero, summed by CumSum, which keeps the order. Not a function: the tables are the counts'. */
#include "frontend/export.h"

/* Packed planes u<W>[.., k, words] as numbers f64[.., n]. */
static const char *numbers(Export *x, const Node *n, const char *const *in) {
  const Type *t = &n->in[0]->t;
  int rank = t->rank;
  int64_t k = t->d[rank - 2].n, width = t->e.bits, terms = bases_n(n), zero = 0, last = -1, planes = rank - 2;
  const Tensor *coef = n->in[5]->a.value;
  Tensor *c = tensor_new(x->ctx, &(Type){.e = F64, .rank = 1, .d = {dim_c(k)}});
  if (!c) return NULL;
  for (int64_t p = 0; p < k; p++) tensor_set_f(c, p, tensor_f(coef, p));
  Type bits = *t, row = *t; /* [.., k, words, W], [.., k, words*W] */
  bits.rank++;
  bits.d[rank] = dim_c(width);
  row.d[rank - 1] = dim_c(t->d[rank - 1].n * width);
  const char *v = x_reshape(x, x_bits(x, in[0], t->e, F64), &bits, &row);
  v = x_node(x, "Slice", 4, (const char *const[]){v, x_ints(x, 1, &zero), x_ints(x, 1, &terms), x_ints(x, 1, &last)});
  v = x2(x, "Mul", v, x_tensor(x, c, onnx_type_of(F64), 2, (int64_t[]){k, 1}, "planes"));
  v = x_reduce(x, "ReduceSum", v, 1, &planes, false);
  return x2(x, "Add", v, x_float(x, F64, tensor_f(coef, k)));
}

/* Sums of rows over the dimension before the last, in order. */
static const char *in_order(Export *x, const char *v, int64_t axis, int64_t count) {
  v = x2(x, "CumSum", v, x_int(x, I64, axis));
  v = x2(x, "Gather", v, x_int(x, I64, count - 1));
  x_attr_i(x, "axis", axis);
  return v;
}

/* sum of sign*x of every plane, f64[.., E]; of codes all partial sums are exact, in any order. */
static const char *signed_sums(Export *x, const Node *n, const char *const *in, const int64_t *group, int64_t planes, int lead) {
  const Type *t = &n->in[0]->t;
  int64_t dims[1] = {planes}, axis = lead + 1, terms = bases_n(n);
  Type each = {.e = F64}, joined = {.e = F64}; /* [.., B, G, n], [.., B*G, n] */
  for (int d = 0; d < lead; d++) each.d[d] = joined.d[d] = t->d[d];
  each.rank = (uint8_t)(lead + 3);
  joined.rank = (uint8_t)(lead + 2);
  for (int d = 0; d < 2; d++) each.d[lead + d] = t->d[lead + d];
  each.d[lead + 2] = joined.d[lead + 1] = dim_c(terms);
  joined.d[lead] = dim_c(t->d[lead].n * t->d[lead + 1].n);
  const char *v = n->n_in == 6 ? numbers(x, n, in) : x_cast(x, in[0], t->e, F64);
  if (!v) return NULL;
  v = x2(x, "Gather", x_reshape(x, v, &each, &joined), x_indices(x, 1, dims, group));
  x_attr_i(x, "axis", lead);
  v = x2(x, "Mul", v, x_cast(x, in[1], BIPOLAR, F64));
  return elem_is_float(t->e) ? in_order(x, v, axis, terms) : x_reduce(x, "ReduceSum", v, 1, &axis, false);
}

const char *write_bases(Export *x, const Node *n, const char *const *in) {
  const Tensor *counts = n->in[3]->a.value;
  int lead = n->t.rank - 2;
  int64_t outs = counts->t.d[0].n * counts->t.d[1].n, groups = counts->t.d[2].n, planes = n->in[1]->t.d[0].n, most = 0;
  int64_t *of_out = NEWN(x->arena, int64_t, outs + 1), *group = NEWN(x->arena, int64_t, planes + 1);
  for (int64_t i = 0; i < counts->n; i++) of_out[i / groups] += tensor_i(counts, i);
  for (int64_t o = 0; o < outs; o++) most = of_out[o] > most ? of_out[o] : most;
  int64_t *table = NEWN(x->arena, int64_t, (most + 1) * outs + 1); /* plane + 1; 0: none */
  for (int64_t i = 0, e = 0, slot = 0; i < counts->n; i++) {
    int64_t o = i / groups, b = o / counts->t.d[1].n;
    if (i % groups == 0) slot = 1;
    for (int64_t j = tensor_i(counts, i); j > 0; j--) {
      group[e] = b * groups + i % groups;
      table[slot++ * outs + o] = ++e;
    }
  }
  const char *v = signed_sums(x, n, in, group, planes, lead);
  if (!v) return NULL;
  int64_t before[MAX_RANK] = {0}, after[MAX_RANK] = {0}, dims[2] = {most + 1, outs};
  v = x2(x, "Mul", v, x_cast(x, in[2], n->in[2]->t.e, F64));
  before[lead] = 1;
  v = x2(x, "Gather", x_pad(x, v, F64, lead + 1, before, after, 0), x_indices(x, 2, dims, table));
  x_attr_i(x, "axis", lead);
  v = in_order(x, v, lead, most + 1);
  Type flat = n->t, one = type_scalar(F64);
  flat.rank--;
  flat.d[lead] = dim_c(outs);
  v = x2(x, "Mul", v, x_reshape(x, x_cast(x, in[4], n->in[4]->t.e, F64), &n->in[4]->t, &one));
  return x_cast(x, x_reshape(x, v, &flat, &n->t), F64, n->t.e);
}
