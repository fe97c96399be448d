/* Bit packing against its definition, and the thread pool. */
#include "runtime/pack.h"
#include "runtime/pool.h"
#include "tests/unit/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

START_TEST(pack_dense) {
  for (int k = 1; k <= 8; k++)
    for (size_t n = 0; n < 40; n++) {
      uint8_t codes[40], back[40], *packed = malloc(rt_packed_bytes(n, k) + 1);
      for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)((i * 91 + 13) & ((1u << k) - 1));
      memset(packed, 0xa5, rt_packed_bytes(n, k) + 1);
      rt_pack(codes, n, k, packed);
      for (size_t bit = 0; bit < 8 * rt_packed_bytes(n, k); bit++) {
        int want = bit / (size_t)k < n ? codes[bit / (size_t)k] >> bit % (size_t)k & 1 : 0;
        ck_assert_int_eq(packed[bit / 8] >> bit % 8 & 1, want);
      }
      ck_assert_uint_eq(packed[rt_packed_bytes(n, k)], 0xa5);
      rt_unpack(packed, n, k, 0, back);
      ck_assert_int_eq(memcmp(codes, back, n), 0);
      rt_unpack(packed, n, k, 1, back);
      for (size_t i = 0; i < n; i++)
        ck_assert_int_eq((int8_t)back[i], codes[i] >= 1 << (k - 1) ? codes[i] - (1 << k) : codes[i]);
      free(packed);
    }
}
END_TEST

#define PLANES(W) \
  START_TEST(pack_planes##W) { \
    for (int k = 1; k <= 8; k++) \
      for (size_t n = 0; n < 2 * W + 3; n++) { \
        int8_t codes[2 * W + 3] = {0}, back[2 * W + 3]; \
        for (size_t i = 0; i < n; i++) { \
          unsigned u = (unsigned)(i * 57 + 5) & ((1u << k) - 1); \
          codes[i] = (int8_t)(u >= 1u << (k - 1) ? (int)u - (1 << k) : (int)u); \
        } \
        size_t words = rt_plane_words(n, W); \
        uint##W##_t *out = malloc((size_t)k * words * sizeof *out + 1); \
        rt_pack_planes##W(codes, n, k, out); \
        for (int p = 0; p < k; p++) \
          for (size_t i = 0; i < words * W; i++) \
            ck_assert_int_eq(out[(size_t)p * words + i / W] >> i % W & 1, i < n ? (uint8_t)codes[i] >> p & 1 : 0); \
        rt_unpack_planes##W(out, n, k, 1, back); \
        ck_assert_int_eq(memcmp(codes, back, n), 0); \
        if (k == 1) { \
          for (size_t i = 0; i < n; i++) \
            codes[i] = codes[i] ? 1 : -1; \
          uint##W##_t *bi = malloc(words * sizeof *bi + 1); \
          rt_pack_bipolar##W(codes, n, bi); \
          ck_assert_int_eq(memcmp(bi, out, words * sizeof *bi), 0); \
          free(bi); \
        } \
        free(out); \
      } \
  } \
  END_TEST
PLANES(8)
PLANES(16)
PLANES(32)
PLANES(64)

enum { ITEMS = 1000 };
typedef struct Work { RtPool *pool; _Atomic int hits[ITEMS]; size_t n; atomic_int pieces; } Work;

static void touch(void *arg, size_t begin, size_t end) {
  Work *w = arg;
  atomic_fetch_add(&w->pieces, 1);
  for (size_t i = begin; i < end; i++)
    atomic_fetch_add(&w->hits[i], 1);
}

static void nested(void *arg, size_t begin, size_t end) {
  Work *w = arg;
  for (size_t i = begin; i < end; i++)
    rt_pool_for(w->pool, w->n, touch, w);
}

START_TEST(pool_covers) {
  static const size_t sizes[] = {0, 1, 2, 3, 7, 8, 63, 999, ITEMS};
  ck_assert_ptr_null(rt_pool_new(-1));
  ck_assert_ptr_null(rt_pool_new(257));
  rt_pool_free(NULL);
  for (int threads = 0; threads <= 9; threads++) {
    RtPool *p = rt_pool_new(threads);
    ck_assert_ptr_nonnull(p);
    ck_assert(threads ? rt_pool_threads(p) == threads : rt_pool_threads(p) >= 1);
    for (int rep = 0; rep < 8; rep++)
      for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        Work w = {.pool = p, .n = sizes[s]};
        rt_pool_for(p, w.n, touch, &w);
        for (size_t i = 0; i < ITEMS; i++)
          ck_assert_int_eq(w.hits[i], i < w.n);
        ck_assert_int_le(w.pieces, rt_pool_threads(p));
      }
    Work w = {.pool = p, .n = 5};
    rt_pool_for(p, 20, nested, &w);
    for (size_t i = 0; i < 5; i++)
      ck_assert_int_eq(w.hits[i], 20);
    rt_pool_free(p);
  }
}
END_TEST

static void *caller(void *arg) {
  for (int i = 0; i < 200; i++) {
    Work w = {.pool = arg, .n = 100};
    rt_pool_for(arg, 100, touch, &w);
    for (int k = 0; k < 100; k++)
      if (w.hits[k] != 1)
        return "wrong";
  }
  return NULL;
}

START_TEST(pool_two_callers) {
  RtPool *p = rt_pool_new(3);
  pthread_t t[4];
  for (int i = 0; i < 4; i++)
    ck_assert_int_eq(pthread_create(&t[i], NULL, caller, p), 0);
  for (int i = 0; i < 4; i++) {
    void *wrong;
    pthread_join(t[i], &wrong);
    ck_assert_ptr_null(wrong);
  }
  rt_pool_free(p);
}
END_TEST

int main(void) {
  Suite *s = suite_create("rt_pool");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, pack_dense);
  tcase_add_test(t, pack_planes8);
  tcase_add_test(t, pack_planes16);
  tcase_add_test(t, pack_planes32);
  tcase_add_test(t, pack_planes64);
  tcase_add_test(t, pool_covers);
  tcase_add_test(t, pool_two_callers);
  suite_add_tcase(s, t);
  return suite_run(s);
}
