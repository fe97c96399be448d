/* Constants as fields of bits in words: signs and counts of bases (lower_bases.c), and the weights of
 * kernel packed: those of less than a byte lie densely in 32-bit words, as a stream of bits: field i of k bits is
 *   bits k*i .. k*i+k-1, bit b of the stream being bit b mod 32 of word b/32;
 * i<k> and u<k> as two's complement, bases<1> as a set bit for +1, shift<k> as a sign above m of k-1 bits: 0 for m = 0, else 2^(m-1).
 * ceil(n*k/32) words hold n weights. A field that may lie across two words (k not a power of two) is read from both. */
#include "passes/contract.h"
#include "passes/lower.h"

static const Node *weights(const Node *n) { return node_is_const(n->in[1]) ? n->in[1] : n->in[0]; }

bool packed_possible(const Node *n, const char **why) {
  if (n->a.scalar != S_MUL || n->n_in != 2) return *why = "not a product of two codes", false;
  if (elem_is_float(n->in[0]->t.e) || elem_is_float(n->in[1]->t.e)) return *why = "operands are floats", false;
  const Node *w = weights(n);
  Elem e = w->t.e;
  if (!node_is_const(w)) return *why = "no operand is constant", false;
  if (e.bits > 7 || e.kind == EK_BOOL || (e.kind == EK_BASES && e.bits > 1)) return *why = "weights are not numbers of less than 8 bits", false;
  if (e.kind == EK_SHIFT && e.bits > 5) return *why = "powers of two beyond 2^14", false;
  if (w->a.value->n >= INT32_MAX / 8) return *why = "too many weights", false;
  return true;
}

double packed_bytes(const Node *n, const Target *t) {
  (void)t;
  const Node *w = weights(n);
  return 4 * (double)((w->a.value->n * w->t.e.bits + 31) / 32);
}

/* A number of element type e as a field of `bits`, which hold it. */
static uint32_t field_of(Elem e, int64_t v, int bits) {
  uint32_t m = 0, top = UINT32_C(1) << (bits - 1);
  if (e.kind == EK_BASES) return v > 0;
  if (e.kind != EK_SHIFT) return (uint32_t)v & (2 * top - 1);
  for (int64_t size = v < 0 ? -v : v; size; size >>= 1) m++;
  return m | (v < 0 ? top : 0);
}

int bit_table(Lower *l, const char *prefix, const char *name, const Tensor *t, int bits, int word, int spare) {
  for (int i = 0; i < l->tables.n; i++)
    if (l->tables.p[i].of == t && l->tables.p[i].bits == bits && l->tables.p[i].word == word) return l->tables.p[i].buf;
  int64_t words = (t->n * bits + word - 1) / word + spare;
  uint32_t *half = NEWN(l->p->arena, uint32_t, words * word / 32 + 1);
  for (int64_t i = 0; i < t->n; i++) { /* two words of 32 bits are one of 64 */
    uint64_t f = (uint64_t)field_of(t->t.e, tensor_i(t, i), bits) << (bits * i % 32);
    half[bits * i / 32] |= (uint32_t)f;
    if (f >> 32) half[bits * i / 32 + 1] |= (uint32_t)(f >> 32);
  }
  uint64_t *wide = word == 64 ? NEWN(l->p->arena, uint64_t, words + 1) : NULL;
  for (int64_t i = 0; wide && i < words; i++) wide[i] = half[2 * i] | (uint64_t)half[2 * i + 1] << 32;
  BitTable made = {t, bits, word, program_buf(l->p, nest_name(l->p, prefix, name), UINTK(word), SP_ROM, words, wide ? (const void *)wide : half)};
  vec_push(l->tmp, &l->tables, made);
  return made.buf;
}

/* The word that holds a bit. */
static Expr *word_at(Lower *l, int buf, Expr *bit) {
  return nx_load(l->p, buf, nx2(l->p, S_SHR, bit, nx_idx(l->p, 5)), 1);
}

/* The number that the low bits of a field mean; above them is anything. */
static Expr *number(Lower *l, Elem e, Expr *f) {
  Program *p = l->p;
  NType w = f->t, i = nt(I32);
  Expr *one = nx_const_i(p, w, 1);
  if (e.kind == EK_UINT) return nx2(p, S_AND, f, nx_const_i(p, w, (INT64_C(1) << e.bits) - 1));
  if (e.kind == EK_INT) {
    Expr *by = nx_const_i(p, i, 32 - e.bits);
    return nx2(p, S_SHR, nx_cast(p, nx2(p, S_SHL, f, nx_const_i(p, w, 32 - e.bits)), I32), by);
  }
  if (e.kind == EK_BASES) {
    f = nx_cast(p, nx2(p, S_AND, f, one), I32);
    return nx2(p, S_SUB, nx2(p, S_ADD, f, f), nx_const_i(p, i, 1));
  }
  f = let(l, "f", f);
  Expr *m = nx2(p, S_AND, f, nx_const_i(p, w, (INT64_C(1) << (e.bits - 1)) - 1));
  Expr *size = nx2(p, S_SHR, nx2(p, S_SHL, one, m), one), *minus = nx2(p, S_AND, nx2(p, S_SHR, f, nx_const_i(p, w, e.bits - 1)), one);
  minus = let(l, "minus", minus);
  return nx_cast(p, nx2(p, S_ADD, nx2(p, S_XOR, size, nx1(p, S_NEG, minus)), minus), I32);
}

Expr *packed_value(Lower *l, const Node *w, const Lin *idx) {
  Program *p = l->p;
  int k = w->t.e.bits, buf = bit_table(l, "packed", w->loc.name ? w->loc.name : "const", w->a.value, k, 32, 0);
  Expr *bit = let(l, "bit", lin_expr(l, lin_mad(l, lin_c(0), lin_flat(l, &w->t, idx), k)));
  Expr *low = nx_cast(p, nx2(p, S_AND, bit, nx_idx(p, 31)), UINTK(32)), *mask = nx_const_i(p, nt(UINTK(32)), 31);
  Expr *f = nx2(p, S_SHR, word_at(l, buf, bit), low);
  if (32 % k) { /* across: bits of the next word, else a copy of the same */
    Expr *high = nx2(p, S_AND, nx1(p, S_NEG, low), mask);
    f = nx2(p, S_OR, f, nx2(p, S_SHL, word_at(l, buf, nx2(p, S_ADD, bit, nx_idx(p, k - 1))), high));
  }
  return nx_cast(p, number(l, w->t.e, f), lower_elem(l, w->t.e));
}
