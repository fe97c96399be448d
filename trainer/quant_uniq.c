/* UniQ, the learnable symmetric quantizer (uniq.h, Eq. 1-8):
 *   weights      y = D(q - (N-1)/2), q = clamp(round(x/D + (N-1)/2), 0, N-1)     N = 2^bits levels, none of them 0
 *   activations  y = D q,            q = clamp(round(x/D), 0, N-1)
 * An input that may be negative gets codes in two's complement (of one bit: +-D/2): 0 stays a level, so padding is a code.
 * levels: signed puts weights on two's complement codes, too. init: lsq takes LSQ's first steps. */
#include "trainer/quantizer.h"

static Levels weight_levels(const Site *s) { return row_option(s->row, "levels", 0) != 0 && s->bits > 1 ? LEVELS_SIGNED : LEVELS_SYMMETRIC; }

static Node *uniq_weight(Put *p) { return put_step_weight(p, weight_levels(p->site)); }

static void uniq_init_weight(const Net *net, const Site *s) { first_step_weight(net, s, row_option(s->row, "init", 0) != 0); }
static void uniq_init_act(const Net *net, const Site *s, const ActStats *batch, int n) { first_step_act(net, s, batch, n, row_option(s->row, "init", 0) != 0); }

const QuantizerOps quant_uniq = {.grain = true, .weight = uniq_weight, .act = put_step_act, .init_weight = uniq_init_weight, .init_act = uniq_init_act};
