/* One quant/dequant vocabulary: rules of recognize that need one node and what is known of its operands. Internal to passes/. */
#ifndef POPSHIFT_PASSES_SPELL_H
#define POPSHIFT_PASSES_SPELL_H

#include "passes/values.h"

typedef struct Spell {
  Facts *facts, *fresh;  /* of the old graph, of the new one */
  bool *wanted;          /* by old id: a contraction, a sum or an output reads this float, perhaps through movements and affine steps */
} Spell;                 /* the Rewrite's user */

void find_wanted(const Graph *, Facts *, bool *wanted);

/* Each: the new node, or NULL where the rule does not apply; rw->changes counts. */
Node *spell_quant(Rewrite *, const Node *old, Node *const *in);   /* quant: float steps above it join (spell.c) */
Node *spell_dequant(Rewrite *, const Node *old, Node *const *in); /* dequant: its zero point, casts and sums of codes (spell.c) */
Node *spell_codes(Rewrite *, const Node *old, Node *const *in);   /* map of codes: clips, sums, casts, selects of quant (spell.c) */
Node *spell_affine(Rewrite *, const Node *old, Node *const *in);  /* map of dequantized codes by constants (arith.c) */
Node *spell_float(Rewrite *, const Node *old, Node *const *in);   /* a map whose floats are integers, signs or few multiples (arith.c) */

/* A constant at once where the operands are. */
Node *folded_map(Graph *, Scalar, Elem, Node *a, Node *b);

#endif
