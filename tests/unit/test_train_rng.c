/* Random numbers: the published vectors of Philox4x32-10, distributions, and that a number depends on its counter alone. */
#include "tests/unit/suite.h"
#include "trainer/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

START_TEST(philox_vectors) { /* kat_vectors of the authors' Random123 */
  static const struct { uint32_t c[4], k[2], want[4]; } rows[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint32_t out[4];
    philox4x32(rows[i].c, rows[i].k, out);
    ck_assert_mem_eq(out, rows[i].want, sizeof out);
  }
}
END_TEST

START_TEST(names) { /* where each part of a number's name goes, and that all of it counts */
  Rng r = {0x299f31d0a4093822, RNG_AUGMENT};
  uint32_t a[4], b[4];
  rng_block(r, 0x12345678, UINT64_C(0x85a308d3243f6a88), a);
  philox4x32((uint32_t[]){0x243f6a88, 0x85a308d3, 0x12345678, 0x03000000}, (uint32_t[]){0xa4093822, 0x299f31d0}, b);
  ck_assert_mem_eq(a, b, sizeof a);
  const struct { Rng r; uint64_t hi, lo; } other[] = {
    {{r.seed + 1, r.stream}, 5, 7}, {{r.seed ^ UINT64_C(1) << 63, r.stream}, 5, 7}, {{r.seed, RNG_QUANT}, 5, 7}, {r, 6, 7}, {r, 5, 8}, {r, 7, 5}, {r, 5, 7 + (UINT64_C(1) << 40)}};
  rng_block(r, 5, 7, a);
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
    rng_block(other[i].r, other[i].hi, other[i].lo, b);
    ck_assert_int_ne(memcmp(a, b, sizeof a), 0);
  }
}
END_TEST

START_TEST(uniform) {
  enum { N = 100000 };
  Rng r = {1, RNG_INIT};
  double sum = 0, squares = 0;
  for (int i = 0; i < N; i++) {
    float u = rng_uniform(r, 3, (uint64_t)i);
    ck_assert(u >= 0 && u < 1);
    sum += u, squares += u * u;
  }
  ck_assert_double_eq_tol(sum / N, 0.5, 0.004);
  ck_assert_double_eq_tol(squares / N, 1.0 / 3, 0.004);
  float x[1000], y[1000];
  rng_fill_uniform(r, 3, 1000, -0.25f, 0.25f, x);
  for (int i = 0; i < 1000; i++) ck_assert(x[i] >= -0.25f && x[i] < 0.25f && x[i] == (float)(-0.25 + 0.5 * rng_uniform(r, 3, (uint64_t)i)));
  rng_fill_uniform(r, 4, 1000, 16777216, 16777218, y); /* two binary32 in the interval, and rounding goes to its end */
  for (int i = 0; i < 1000; i++) ck_assert(y[i] >= 16777216 && y[i] < 16777218);
}
END_TEST

START_TEST(normal) {
  enum { N = 100000 };
  Rng r = {2, RNG_INIT};
  float *x = malloc(N * sizeof *x);
  double m[5] = {0};
  int beyond = 0;
  rng_fill_normal(r, 9, N, 1, x);
  for (int i = 0; i < N; i++) {
    ck_assert(isfinite(x[i]) && x[i] == rng_normal(r, 9, (uint64_t)i));
    for (int k = 1; k < 5; k++) m[k] += pow(x[i], k) / N;
    beyond += fabsf(x[i]) > 1.959964f;
  }
  ck_assert_double_eq_tol(m[1], 0, 0.013);
  ck_assert_double_eq_tol(m[2], 1, 0.02);
  ck_assert_double_eq_tol(m[3], 0, 0.05);
  ck_assert_double_eq_tol(m[4], 3, 0.15);
  ck_assert_double_eq_tol((double)beyond / N, 0.05, 0.003);
  float y[10];
  rng_fill_normal(r, 9, 10, 0.5f, y);
  for (int i = 0; i < 10; i++) ck_assert_float_eq_tol(y[i], 0.5f * x[i], 1e-7f);
  free(x);
  /* Bits that must not move: checkpoints and published runs depend on them. */
  ck_assert_float_eq(rng_normal((Rng){1, RNG_INIT}, 0, 0), -0x1.64e422p+0f);
  ck_assert_float_eq(rng_uniform((Rng){1, RNG_INIT}, 0, 0), 0x1.3e7e7p-1f);
}
END_TEST

START_TEST(below) {
  enum { N = 60000 };
  Rng r = {3, RNG_SHUFFLE};
  int hits[6] = {0};
  for (int i = 0; i < N; i++) hits[rng_below(r, 0, (uint64_t)i, 6)]++;
  for (int k = 0; k < 6; k++) ck_assert_int_lt(abs(hits[k] - N / 6), 450); /* 5 deviations */
  /* n = 3 * 2^30: without rejection the lowest third would come twice as often as the others. */
  int third[3] = {0};
  uint32_t n = 3u << 30;
  for (int i = 0; i < N; i++) {
    uint32_t v = rng_below(r, 1, (uint64_t)i, n);
    ck_assert_uint_lt(v, n);
    third[v >> 30]++;
  }
  for (int k = 0; k < 3; k++) ck_assert_int_lt(abs(third[k] - N / 3), 600);
  ck_assert_uint_eq(rng_below(r, 0, 0, 1), 0);
  for (int i = 0; i < 1000; i++) ck_assert_uint_lt(rng_below(r, 2, (uint64_t)i, (1u << 31) + 1), (1u << 31) + 1); /* half rejected */
}
END_TEST

START_TEST(permutation) {
  enum { N = 1000 };
  Rng r = {4, RNG_SHUFFLE};
  int32_t p[N], q[N];
  char seen[N] = {0};
  rng_permutation(r, 0, N, p);
  for (int i = 0; i < N; i++) {
    ck_assert(p[i] >= 0 && p[i] < N && !seen[p[i]]);
    seen[p[i]] = 1;
  }
  rng_permutation(r, 0, N, q);
  ck_assert_mem_eq(p, q, sizeof p);
  rng_permutation(r, 1, N, q);
  int same = 0;
  for (int i = 0; i < N; i++) same += p[i] == q[i];
  ck_assert_int_lt(same, 10);
  int32_t count[6] = {0}, t[3]; /* all six orders of three are equally likely */
  for (uint64_t e = 0; e < 6000; e++) {
    rng_permutation(r, e, 3, t);
    count[2 * t[0] + (t[1] > t[2])]++;
  }
  for (int k = 0; k < 6; k++) ck_assert_int_lt(abs(count[k] - 1000), 150);
  rng_permutation(r, 0, 1, t);
  ck_assert_int_eq(t[0], 0);
  rng_permutation(r, 0, 0, t);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_rng");
  TCase *t = tcase_create("rng");
  tcase_add_test(t, philox_vectors);
  tcase_add_test(t, names);
  tcase_add_test(t, uniform);
  tcase_add_test(t, normal);
  tcase_add_test(t, below);
  tcase_add_test(t, permutation);
  suite_add_tcase(s, t);
  return suite_run(s);
}
