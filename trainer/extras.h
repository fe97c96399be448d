/* What only training has: the auxiliary gradient module and stochastic structured precision (B. Zhuang, L. Liu, M. Tan, C. Shen, I. Reid,
 * "Training quantized neural networks with a full-precision auxiliary module", CVPR 2020; equations of arXiv 1903.11236v1), additional losses and
 * distillation, which it is compared with. All of it is made when the graph of a step is (net_train_graph), so the net's own graph, what is
 * evaluated, and what is exported never have any of it.
 *
 * Auxiliary chain over taps O_0 (the stem), O_1, .. with 1x1 convolutions in float, each with a bn of its own:
 *   one-pass   b_0 = phi_0(O_0);  b_p = relu(down(b_(p-1)) + phi_p(O_p))
 *   two-pass   g_0 = phi_0(O_0);  g_p = down(g_(p-1)) + phi_p(O_p)      (Eq. 1), O_p from a second pass with private bn (Alg. 1)
 * down: itself, or a 1x1 convolution in steps and bn where the shape changes. Logits by average pool and a product; loss CE(F) + weight CE(H).
 * Additional losses: relu, average pool and a product at taps between the stem and the last block, weight times their cross-entropy.
 * Distillation: weight T^2 KL(softmax(teacher/T) || softmax(y/T)). */
#ifndef POPSHIFT_TRAINER_EXTRAS_H
#define POPSHIFT_TRAINER_EXTRAS_H

#include "trainer/net.h"

/* Parameters for what the recipe has; takes the teacher, which may be NULL. False with E0703 where the network has no taps for it. */
bool net_add_extras(Net *, const Recipe *, Net *teacher);

/* Fragments of Net.ssp: of: [n_site], the fragment of each quantizer. Their number. */
int net_fragments(const Net *, bool layers, int *of);
/* Whether weights (what even) and inputs (odd) are rounded in an iteration: n numbers, 1 or 0. t: share of the phase that is done. */
void ssp_draw(const Ssp *, uint64_t seed, int64_t iteration, double t, int n, float *rounded);

#endif
