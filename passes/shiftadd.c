#include "passes/shiftadd.h"

#include <assert.h>
#include <string.h>

int csd_digits(int64_t c, Digit digits[64]) {
  Digit up[65];
  int n = 0;
  bool minus = c < 0;
  uint64_t v = minus ? 0 - (uint64_t)c : (uint64_t)c, carry = 0;
  for (int e = 0; e < 64 && (v >> e || carry); e++) {
    uint64_t low = (v >> e & 1) + carry, next = e < 63 ? v >> (e + 1) & 1 : 0;
    carry = low + next > 1; /* odd and followed by a one: -1 here, one more above */
    if (low == 1) up[n++] = (Digit){(int8_t)(carry ? -1 : 1), (uint8_t)e};
  }
  for (int i = 0; i < n; i++) {
    digits[i] = up[n - 1 - i];
    if (minus) digits[i].sign = (int8_t)-digits[i].sign;
  }
  return n;
}

static int keep_row(void) {
  for (int i = 0; i < n_intrins; i++)
    if (!strcmp(intrins[i].name, "keep")) return i;
  assert(!"intrin.def has a row `keep`");
  return 0;
}

static Expr *c_of(Program *p, const Expr *like, int64_t v) { return nx_const_i(p, like->t, v); }
static Expr *shl(Program *p, Expr *x, int k) { return nx2(p, S_SHL, x, c_of(p, x, k)); }
static Expr *shr(Program *p, Expr *x, int k) { return nx2(p, S_SHR, x, c_of(p, x, k)); }

/* 64 bits are kept as two words: a machine of 32 bits holds them so. */
Expr *sa_keep(Program *p, Expr *x) {
  Elem e = x->t.e, word = UINTK(32), wide = UINTK(64);
  int row = keep_row();
  if (x->kind == EX_CONST) return x;
  if (e.bits < 32) return nx_cast(p, nx_intrin(p, row, 1, (Expr *[]){nx_cast(p, x, word)}), e);
  if (e.bits == 32) return nx_cast(p, nx_intrin(p, row, 1, (Expr *[]){nx_cast(p, x, word)}), e);
  x = nx_cast(p, x, wide);
  Expr *low = nx_intrin(p, row, 1, (Expr *[]){nx_cast(p, x, word)}), *high = nx_intrin(p, row, 1, (Expr *[]){nx_cast(p, shr(p, x, 32), word)});
  return nx_cast(p, nx2(p, S_OR, nx_cast(p, low, wide), shl(p, nx_cast(p, high, wide), 32)), e);
}

Expr *sa_times(Program *p, Expr *x, int64_t c) {
  Digit d[64];
  Elem e = x->t.e;
  if (e.bits < 64) c = (int64_t)((uint64_t)c << (64 - e.bits)) >> (64 - e.bits); /* as a signed number: fewer digits */
  int n = csd_digits(c, d);
  if (n == 0) return c_of(p, x, 0);
  Expr *u = nx_cast(p, x, UINTK(e.bits < 32 ? 32 : e.bits)), *sum = NULL;
  for (int pass = 0; pass < 2; pass++) /* what is added first: no negation */
    for (int i = 0; i < n; i++) {
      if ((d[i].sign < 0) != (pass == 1)) continue;
      Expr *t = shl(p, u, d[i].exp);
      if (n > 1 && d[i].exp) t = sa_keep(p, t);
      sum = !sum ? (pass ? nx1(p, S_NEG, t) : t) : nx2(p, pass ? S_SUB : S_ADD, sum, t);
    }
  return nx_cast(p, sum, e);
}

static int bits_of(uint64_t v) {
  int n = 0;
  while (v) n++, v >>= 1;
  return n;
}

Expr *sa_product(Program *p, Expr *x, Expr *y, int64_t lo, int64_t hi) {
  Elem e = x->t.e, u = UINTK(e.bits < 32 ? 32 : e.bits), word = UINTK(32);
  int high = bits_of(hi < 0 ? ~(uint64_t)hi : (uint64_t)hi), low = bits_of(lo < 0 ? ~(uint64_t)lo : 0), n = high > low ? high : low;
  bool sign = lo < 0;
  Expr *a = nx_cast(p, x, u), *b = nx_cast(p, y, u), *sum = NULL;
  if (n + sign > 33) return NULL;
  for (int k = 0; k < n + sign; k++) { /* the top bit of a signed number counts -2^n */
    Expr *bit = nx_cast(p, nx2(p, S_AND, shr(p, b, k), c_of(p, b, 1)), word);
    Expr *mask = sa_keep(p, nx1(p, S_NEG, bit));
    mask = nx_cast(p, nx_cast(p, nx_cast(p, mask, I32), INTK(u.bits)), u);
    Expr *t = nx2(p, S_AND, mask, shl(p, a, k));
    bool minus = sign && k == n;
    sum = sum ? nx2(p, minus ? S_SUB : S_ADD, sum, t) : minus ? nx1(p, S_NEG, t) : t;
  }
  return sum ? nx_cast(p, sum, e) : c_of(p, x, 0);
}

/* floor(x/d) = floor(x*m / 2^s) for all 0 <= x <= hi where m = ceil(2^s/d) and hi*(m*d - 2^s) < 2^s: with x = q*d + r the product
 * is q*2^s + r*2^s/d + x*(m*d - 2^s)/d, and r*2^s/d <= 2^s - 2^s/d. */
Expr *sa_quotient(Program *p, Expr *x, int64_t d, int64_t hi) {
  assert(d > 0 && hi >= 0);
  if (hi < d) return c_of(p, x, 0);
  if ((d & (d - 1)) == 0) return shr(p, x, bits_of((uint64_t)d) - 1);
  for (int s = 1; s < 62; s++) {
    int64_t m = ((INT64_C(1) << s) + d - 1) / d, error, product;
    if (!mul_ok(hi, m * d - (INT64_C(1) << s), &error) || !mul_ok(hi, m, &product)) return NULL;
    if (error >= INT64_C(1) << s) continue;
    Elem wide = UINTK(product <= UINT32_MAX && x->t.e.bits <= 32 ? 32 : 64);
    return nx_cast(p, shr(p, sa_times(p, nx_cast(p, nx_cast(p, x, UINTK(x->t.e.bits)), wide), m), s), x->t.e);
  }
  return NULL;
}

/* Counts of the four bits that each nibble pair of a word holds: bytes of 0..8. */
static Expr *byte_counts(Program *p, Expr *x, Expr *(*name)(void *, Expr *), void *user) {
  x = name(user, x);
  x = name(user, nx2(p, S_SUB, x, nx2(p, S_AND, shr(p, x, 1), c_of(p, x, 0x55555555))));
  x = name(user, nx2(p, S_ADD, nx2(p, S_AND, x, c_of(p, x, 0x33333333)), nx2(p, S_AND, shr(p, x, 2), c_of(p, x, 0x33333333))));
  return nx2(p, S_AND, nx2(p, S_ADD, x, shr(p, x, 4)), c_of(p, x, 0x0f0f0f0f));
}

Expr *sa_count(Program *p, Expr *x, Expr *(*name)(void *, Expr *), void *user) {
  Elem e = x->t.e, word = UINTK(32);
  x = nx_cast(p, x, UINTK(e.bits));
  Expr *bytes;
  if (e.bits == 64) {
    x = name(user, x);
    bytes = byte_counts(p, nx_cast(p, x, word), name, user);
    bytes = nx2(p, S_ADD, bytes, byte_counts(p, nx_cast(p, shr(p, x, 32), word), name, user));
  } else
    bytes = byte_counts(p, nx_cast(p, x, word), name, user);
  bytes = name(user, bytes);
  bytes = name(user, nx2(p, S_ADD, bytes, shr(p, bytes, 8)));
  return nx_cast(p, nx2(p, S_AND, nx2(p, S_ADD, bytes, shr(p, bytes, 16)), c_of(p, bytes, 0x7f)), e);
}
