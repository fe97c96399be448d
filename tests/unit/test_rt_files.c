/* The readers of runtime/: round trips, real files, and every way of being malformed, truncation at each byte included. */
#include "runtime/cifar.h"
#include "runtime/idx.h"
#include "runtime/npy.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX = 1 << 20 };

/* An exact-size heap copy, so that the sanitizers see one byte too many. */
static const char *npy_exact(const void *p, size_t n, RtArray *a) {
  unsigned char *copy = malloc(n ? n : 1);
  if (n)
    memcpy(copy, p, n);
  const char *wrong = rt_npy_parse(copy, n, MAX, a);
  free(copy);
  return wrong;
}

static const char *idx_exact(const void *p, size_t n, RtArray *a) {
  unsigned char *copy = malloc(n ? n : 1);
  if (n)
    memcpy(copy, p, n);
  const char *wrong = rt_idx_parse(copy, n, MAX, a);
  free(copy);
  return wrong;
}

static size_t npy_text(unsigned char *out, int version, const char *dict, size_t data) {
  size_t len = strlen(dict), lead = version == 1 ? 10 : 12;
  memcpy(out, "\x93NUMPY", 6);
  out[6] = (unsigned char)version;
  out[7] = 0;
  out[8] = (unsigned char)(len & 255);
  out[9] = (unsigned char)(len >> 8);
  if (version > 1)
    out[10] = out[11] = 0;
  memcpy(out + lead, dict, len);
  for (size_t i = 0; i < data; i++)
    out[lead + len + i] = (unsigned char)(i + 1);
  return lead + len + data;
}

START_TEST(npy_round_trip) {
  static const struct { char kind; int size; } types[] = {{'f', 2}, {'f', 4}, {'f', 8}, {'i', 1}, {'i', 2}, {'i', 4}, {'i', 8},
                                                          {'u', 1}, {'u', 2}, {'u', 4}, {'u', 8}, {'b', 1}};
  static const int64_t dims[4] = {2, 3, 1, 5};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (int rank = 0; rank <= 4; rank++) {
      RtArray a, b;
      ck_assert_ptr_null(rt_array_new(&a, types[t].kind, types[t].size, rank, dims, MAX));
      for (int64_t i = 0; i < a.n * a.size; i++)
        ((unsigned char *)a.data)[i] = types[t].kind == 'b' ? i & 1 : (unsigned char)(37 * i + 11);
      unsigned char *bytes;
      size_t n;
      ck_assert_ptr_null(rt_npy_format(&a, &bytes, &n));
      ck_assert_uint_eq((n - (size_t)a.n * a.size) % 64, 0);
      ck_assert_ptr_null(npy_exact(bytes, n, &b));
      ck_assert(b.kind == a.kind && b.size == a.size && b.rank == rank && b.n == a.n);
      ck_assert_int_eq(memcmp(a.dims, b.dims, sizeof a.dims), 0);
      ck_assert_int_eq(memcmp(a.data, b.data, (size_t)a.n * a.size), 0);
      rt_array_free(&b);
      for (size_t cut = 0; cut < n; cut++) {
        ck_assert_ptr_nonnull(npy_exact(bytes, cut, &b));
        ck_assert_ptr_null(b.data);
      }
      for (size_t i = 0; i < n - (size_t)a.n * a.size; i++) /* any one damaged byte: refused or read, never worse */
        for (int bit = 0; bit < 8; bit++) {
          bytes[i] ^= (unsigned char)(1 << bit);
          npy_exact(bytes, n, &b);
          rt_array_free(&b);
          bytes[i] ^= (unsigned char)(1 << bit);
        }
      free(bytes);
      rt_array_free(&a);
    }
}
END_TEST

START_TEST(npy_headers) {
  static const struct { int version; const char *dict; size_t data; const char *wrong; } rows[] = {
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }  \n", 12, NULL},
    {2, "{\"shape\":(6,),\"descr\":\"<i2\",\"fortran_order\":False}", 12, NULL},
    {3, "{'descr': '<i2', 'fortran_order': False, 'shape': (6L,)}\n", 12, NULL},
    {1, "{'descr': '<i2', 'fortran_order': True, 'shape': (6,)}\n", 12, NULL},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775), }", 0, NULL},
    {1, "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }", 12, "Fortran"},
    {1, "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3), }", 12, "big-endian"},
    {1, "{'descr': '<i3', 'fortran_order': False, 'shape': (2, 2), }", 12, "element type"},
    {1, "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }", 12, "element type"},
    {1, "{'descr': '<c8', 'fortran_order': False, 'shape': (2, 2), }", 32, "element type"},
    {1, "{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (2,), }", 4, "structures"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (-2, 3), }", 12, "not a number"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (99999999999999999999,), }", 12, "too large"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 12, "overflows"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (4611686018427387904,), }", 12, "cut short"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }", 11, "cut short"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }", 13, "after the end"},
    {1, "{'descr': '<i2', 'fortran_order': 0, 'shape': (2, 3), }", 12, "fortran_order"},
    {1, "{'descr': '<i2', 'shape': (2, 3), }", 12, "lacks"},
    {1, "{'descr': '<i2', 'descr': '<i2', 'fortran_order': False, 'shape': (6,)}", 12, "twice"},
    {1, "{'shape': (2,3), 'descr': '<i2', 'fortran_order': False, 'shape': (6,)}", 12, "twice"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (6,), 'x': 1}", 12, "unknown key"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (6,)} x", 12, "after the dictionary"},
    {1, "{'descr': '<i2', 'fortran_order': False, 'shape': [6]}", 12, "tuple"},
    {1, "{'descr': '<i2', 'fortran_order': False 'shape': (6,)}", 12, "malformed"},
    {1, "{'descr': '<i2", 12, "malformed"},
    {1, "", 12, "dictionary"},
    {1, "{'descr': '<i1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}",
     1, "32 dimensions"},
    {4, "{'descr': '<i2', 'fortran_order': False, 'shape': (6,)}", 12, "version"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    unsigned char bytes[512];
    RtArray a;
    const char *wrong = npy_exact(bytes, npy_text(bytes, rows[i].version, rows[i].dict, rows[i].data), &a);
    if (rows[i].wrong)
      ck_assert_msg(wrong && strstr(wrong, rows[i].wrong), "%s: %s", rows[i].dict, wrong ? wrong : "accepted");
    else {
      ck_assert_msg(!wrong, "%s: %s", rows[i].dict, wrong);
      ck_assert_int_eq(a.n * a.size, (int64_t)rows[i].data);
      if (a.n)
        ck_assert_int_eq(((int16_t *)a.data)[1], 0x0403);
    }
    rt_array_free(&a);
  }
}
END_TEST

START_TEST(npy_limits) {
  unsigned char bytes[512];
  RtArray a;
  size_t n = npy_text(bytes, 1, "{'descr': '<i2', 'fortran_order': False, 'shape': (6,)}", 12);
  ck_assert_ptr_nonnull(rt_npy_parse(bytes, n, 11, &a));
  ck_assert_ptr_null(rt_npy_parse(bytes, n, 12, &a));
  rt_array_free(&a);
  ck_assert_str_eq(rt_npy_read("/nonexistent/x.npy", MAX, &a), "cannot open");
  ck_assert_ptr_nonnull(rt_npy_read("/", MAX, &a));
  char path[] = "/tmp/popshift_npy_XXXXXX";
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  close(fd);
  int64_t dims[1] = {6};
  ck_assert_ptr_null(rt_array_new(&a, 'i', 2, 1, dims, MAX));
  ck_assert_ptr_null(rt_npy_write(path, &a));
  rt_array_free(&a);
  ck_assert_ptr_nonnull(rt_npy_read(path, 11, &a));
  ck_assert_ptr_null(rt_npy_read(path, 12, &a));
  ck_assert_int_eq(a.n, 6);
  ck_assert_str_eq(rt_npy_write("/nonexistent/x.npy", &a), "cannot open for writing");
  rt_array_free(&a);
  unlink(path);
}
END_TEST

START_TEST(npy_real) {
  RtArray a;
  const char *wrong = rt_npy_read(SHARED_DIR "/data/lowbit/kws/inputs_1000.npy", 1 << 30, &a);
  if (wrong) {
    printf("npy_real skipped: %s\n", wrong);
    return;
  }
  ck_assert(a.kind == 'f' && a.size == 4 && a.rank == 4 && a.dims[0] == 1000 && a.n == 490000);
  rt_array_free(&a);
}
END_TEST

static size_t idx_text(unsigned char *out, int code, int rank, const uint32_t *dims, size_t data) {
  out[0] = out[1] = 0;
  out[2] = (unsigned char)code;
  out[3] = (unsigned char)rank;
  size_t n = 4;
  for (int i = 0; i < rank; i++)
    for (int s = 24; s >= 0; s -= 8)
      out[n++] = (unsigned char)(dims[i] >> s);
  for (size_t i = 0; i < data; i++)
    out[n++] = (unsigned char)(i + 1);
  return n;
}

START_TEST(idx_plain) {
  static const struct { int code; char kind; int size; } types[] = {{8, 'u', 1}, {9, 'i', 1}, {11, 'i', 2}, {12, 'i', 4},
                                                                    {13, 'f', 4}, {14, 'f', 8}};
  unsigned char b[512];
  RtArray a;
  uint32_t dims[3] = {2, 3, 4};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    size_t n = idx_text(b, types[t].code, 3, dims, 24 * (size_t)types[t].size);
    ck_assert_ptr_null(idx_exact(b, n, &a));
    ck_assert(a.kind == types[t].kind && a.size == types[t].size && a.rank == 3 && a.n == 24 && a.dims[2] == 4);
    if (types[t].code == 11)
      ck_assert_int_eq(((int16_t *)a.data)[0], 0x0102);
    if (types[t].code == 12)
      ck_assert_int_eq(((int32_t *)a.data)[1], 0x05060708);
    rt_array_free(&a);
    for (size_t cut = 0; cut < n; cut++)
      ck_assert_ptr_nonnull(idx_exact(b, cut, &a));
    ck_assert_ptr_nonnull(idx_exact(b, n + 1, &a));
  }
  uint32_t huge[3] = {0xffffffff, 0xffffffff, 0xffffffff};
  ck_assert_ptr_nonnull(strstr(idx_exact(b, idx_text(b, 8, 3, huge, 8), &a), "overflows"));
  ck_assert_ptr_nonnull(strstr(idx_exact(b, idx_text(b, 8, 1, huge, 8), &a), "cut short"));
  ck_assert_ptr_nonnull(strstr(idx_exact(b, idx_text(b, 10, 3, dims, 24), &a), "element type"));
  b[3] = 33;
  b[2] = 8;
  ck_assert_ptr_nonnull(idx_exact(b, 200, &a));
}
END_TEST

/* gzip of an IDX file u1[2,3] = 1..6, deflate "stored" block. */
static const unsigned char gz[] = {
  0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0x01, 18, 0, 0xed, 0xff, 0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6,
  0xe9, 0x24, 0x34, 0x1d, 18, 0, 0, 0};

static uint32_t crc32_of(const unsigned char *p, size_t n) {
  uint32_t c = ~0u;
  for (size_t i = 0; i < n; i++) {
    c ^= p[i];
    for (int k = 0; k < 8; k++)
      c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
  }
  return ~c;
}

START_TEST(idx_gzip) {
  unsigned char b[sizeof gz];
  memcpy(b, gz, sizeof gz);
  uint32_t crc = crc32_of(b + 15, 18);
  for (int i = 0; i < 4; i++)
    b[33 + i] = (unsigned char)(crc >> 8 * i);
  RtArray a;
  const char *wrong = idx_exact(b, sizeof b, &a);
  if (wrong && strstr(wrong, "without zlib")) {
    printf("idx_gzip skipped: %s\n", wrong);
    return;
  }
  ck_assert_msg(!wrong, "%s", wrong);
  ck_assert(a.n == 6 && a.rank == 2 && ((unsigned char *)a.data)[5] == 6);
  rt_array_free(&a);
  for (size_t cut = 0; cut < sizeof b; cut++)
    ck_assert_ptr_nonnull(idx_exact(b, cut, &a));
  for (size_t i = 0; i < sizeof b; i++)
    for (int bit = 0; bit < 8; bit++) {
      b[i] ^= (unsigned char)(1 << bit);
      idx_exact(b, sizeof b, &a);
      rt_array_free(&a);
      b[i] ^= (unsigned char)(1 << bit);
    }
  b[33] ^= 1;
  ck_assert_ptr_nonnull(strstr(idx_exact(b, sizeof b, &a), "damaged"));
}
END_TEST

START_TEST(idx_real) {
  RtArray a, l;
  const char *wrong = rt_idx_read(SHARED_DIR "/data/mnist/t10k-images-idx3-ubyte.gz", 1 << 30, &a);
  if (wrong) {
    printf("idx_real skipped: %s\n", wrong);
    return;
  }
  ck_assert(a.rank == 3 && a.dims[0] == 10000 && a.dims[1] == 28 && a.dims[2] == 28);
  rt_array_free(&a);
  ck_assert_ptr_nonnull(rt_idx_read(SHARED_DIR "/data/mnist/t10k-images-idx3-ubyte.gz", 1 << 20, &a)); /* a bomb's defence */
  ck_assert_ptr_null(rt_idx_read(SHARED_DIR "/data/mnist/t10k-labels-idx1-ubyte.gz", 1 << 30, &l));
  ck_assert(l.n == 10000 && ((unsigned char *)l.data)[0] == 7);
  rt_array_free(&l);
}
END_TEST

START_TEST(cifar_batches) {
  enum { N = 3 };
  for (int lb = 1; lb <= 2; lb++) {
    size_t record = 3072 + (size_t)lb, n = N * record;
    unsigned char *b = malloc(n + 1);
    for (size_t i = 0; i <= n; i++)
      b[i] = (unsigned char)(i * 7);
    for (int r = 0; r < N; r++)
      for (int k = 0; k < lb; k++)
        b[(size_t)r * record + (size_t)k] = (unsigned char)(r + 4);
    RtArray im, la;
    for (int ask = 0; ask <= lb; ask += lb) {
      ck_assert_ptr_null(rt_cifar_parse(b, n, ask, MAX, &im, &la));
      ck_assert(im.n == N * 3072 && im.rank == 4 && la.n == N && ((unsigned char *)la.data)[2] == 6);
      ck_assert_int_eq(memcmp((unsigned char *)im.data + 3072, b + record + lb, 3072), 0);
      rt_array_free(&im);
      rt_array_free(&la);
    }
    for (size_t cut = 0; cut <= n + 1; cut++) {
      const char *wrong = rt_cifar_parse(b, cut, lb, MAX, &im, &la);
      ck_assert_int_eq(!wrong, cut > 0 && cut % record == 0);
      rt_array_free(&im);
      rt_array_free(&la);
    }
    b[lb - 1] = lb == 1 ? 10 : 100;
    ck_assert_ptr_nonnull(strstr(rt_cifar_parse(b, n, lb, MAX, &im, &la), "label"));
    ck_assert(!im.data && !la.data);
    b[lb - 1] = 0;
    ck_assert_ptr_nonnull(strstr(rt_cifar_parse(b, n, lb, 100, &im, &la), "limit"));
    free(b);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("rt_files");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 60);
  tcase_add_test(t, npy_round_trip);
  tcase_add_test(t, npy_headers);
  tcase_add_test(t, npy_limits);
  tcase_add_test(t, npy_real);
  tcase_add_test(t, idx_plain);
  tcase_add_test(t, idx_gzip);
  tcase_add_test(t, idx_real);
  tcase_add_test(t, cifar_batches);
  suite_add_tcase(s, t);
  return suite_run(s);
}
