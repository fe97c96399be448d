/* Reverse-mode differentiation of graphs, by rewriting: the derivative is more nodes of the same graph. */
#ifndef POPSHIFT_TRAINER_DIFF_H
#define POPSHIFT_TRAINER_DIFF_H

#include "ir/graph.h"

/* The vector-Jacobian product: for each of the n nodes wrt, grads[i] has its shape and element type and is
 * sum over o of dy[o] * (derivative of y[o] by wrt[i]); NULL where y does not depend on it. dy has y's type; floats only.
 * Rounding is differentiated straight through: quant passes the gradient of the codes where the unrounded code lies strictly
 * between its bounds; scales get their gradients (UniQ, Eq. 6 as corrected: docs/TRAINING.md, "UniQ").
 * False with E0301 at each node on the way that has no derivative. */
bool graph_vjp(Graph *g, Node *y, Node *dy, Node *const *wrt, int n, Node **grads);

/* The same of n_y nodes, the sum of their products; a node may be there twice. */
bool graph_vjp_sum(Graph *g, int n_y, Node *const *y, Node *const *dy, Node *const *wrt, int n, Node **grads);

/* x summed over what broadcasting repeated, to type t's shape. */
Node *sum_to(Graph *g, Node *x, const Type *t);

/* Derivative formulas of a row of scalar.def (derive.def), one per operand; NULL: zero. known: false for a row that was forgotten. */
typedef struct Derivative { bool known; const char *operand[3]; } Derivative;
extern const Derivative derivatives[SCALAR_COUNT];

#endif
