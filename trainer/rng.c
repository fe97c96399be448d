#include "trainer/rng.h"

#include "ir/math.h"

#include <math.h>

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

void rng_block(Rng r, uint64_t hi, uint64_t lo, uint32_t out[4]) {
  hi |= (uint64_t)r.stream << 56;
  const uint32_t counter[4] = {(uint32_t)lo, (uint32_t)(lo >> 32), (uint32_t)hi, (uint32_t)(hi >> 32)};
  const uint32_t key[2] = {(uint32_t)r.seed, (uint32_t)(r.seed >> 32)};
  philox4x32(counter, key, out);
}

float rng_uniform(Rng r, uint64_t hi, uint64_t lo) {
  uint32_t w[4];
  rng_block(r, hi, lo, w);
  return (float)(w[0] >> 8) * 0x1p-24f;
}

static double unit53(uint32_t high, uint32_t low) { return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53; } /* [0, 1) */

static double normal(Rng r, uint64_t hi, uint64_t lo) {
  uint32_t w[4];
  rng_block(r, hi, lo, w);
  double radius = sqrt(-2 * math_eval(S_LOG, 1 - unit53(w[0], w[1]), 0));
  return radius * math_eval(S_COS, 0x1.921fb54442d18p+2 * unit53(w[2], w[3]), 0);
}

float rng_normal(Rng r, uint64_t hi, uint64_t lo) { return (float)normal(r, hi, lo); }

/* A word below 2^32 mod n is passed over: what remains is a multiple of n. After four such words the block is permuted again. */
uint32_t rng_below(Rng r, uint64_t hi, uint64_t lo, uint32_t n) {
  const uint32_t key[2] = {(uint32_t)r.seed, (uint32_t)(r.seed >> 32)};
  uint32_t w[4], reject = -n % n;
  for (rng_block(r, hi, lo, w);; philox4x32(w, key, w))
    for (int i = 0; i < 4; i++)
      if (w[i] >= reject) return w[i] % n;
}

void rng_permutation(Rng r, uint64_t epoch, int64_t n, int32_t *out) {
  for (int64_t i = 0; i < n; i++) out[i] = (int32_t)i;
  for (int64_t i = n - 1; i > 0; i--) {
    uint32_t j = rng_below(r, epoch, (uint64_t)i, (uint32_t)i + 1);
    int32_t t = out[i];
    out[i] = out[j];
    out[j] = t;
  }
}

void rng_fill_uniform(Rng r, uint64_t row, int64_t n, float from, float to, float *out) {
  for (int64_t i = 0; i < n; i++) {
    float v = (float)(from + ((double)to - from) * rng_uniform(r, row, (uint64_t)i));
    out[i] = v < to || from == to ? v : nextafterf(to, from); /* rounding up may reach `to` */
  }
}

void rng_fill_normal(Rng r, uint64_t row, int64_t n, float deviation, float *out) {
  for (int64_t i = 0; i < n; i++) out[i] = (float)(deviation * normal(r, row, (uint64_t)i));
}
