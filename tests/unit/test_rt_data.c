/* NPZ, CSV and pictures: read back, every way to be cut or damaged, archives that unpack to more than they should. Files that a library is
 * missing for are refused by name, and the rest of their test is left out. */
#include "runtime/csv.h"
#include "runtime/image.h"
#include "runtime/npy.h"
#include "runtime/npz.h"
#include "tests/unit/pictures.h"
#include "tests/unit/suite.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX = 1 << 20 };

static char path[64];

static void setup(void) {
  strcpy(path, "/tmp/popshift_data_XXXXXX");
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  close(fd);
}

static void teardown(void) { unlink(path); }

static void save(const unsigned char *p, size_t n) {
  FILE *f = fopen(path, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(p, 1, n, f), n);
  ck_assert_int_eq(fclose(f), 0);
}

/* NPZ */

typedef struct Member { const char *name; int method; const unsigned char *p; size_t n, plain; uint32_t crc; } Member;

static void zip_of(Bytes *z, const Member *m, int n) {
  uint32_t at[8];
  for (int i = 0; i < n; i++) {
    at[i] = (uint32_t)z->n;
    little(z, 0x04034b50, 4), little(z, 20, 2), little(z, 0, 2), little(z, (uint32_t)m[i].method, 2), little(z, 0, 4), little(z, m[i].crc, 4);
    little(z, (uint32_t)m[i].n, 4), little(z, (uint32_t)m[i].plain, 4), little(z, (uint32_t)strlen(m[i].name), 2), little(z, 0, 2);
    put(z, m[i].name, strlen(m[i].name)), put(z, m[i].p, m[i].n);
  }
  uint32_t start = (uint32_t)z->n;
  for (int i = 0; i < n; i++) {
    little(z, 0x02014b50, 4), little(z, 20, 2), little(z, 20, 2), little(z, 0, 2), little(z, (uint32_t)m[i].method, 2), little(z, 0, 4), little(z, m[i].crc, 4);
    little(z, (uint32_t)m[i].n, 4), little(z, (uint32_t)m[i].plain, 4), little(z, (uint32_t)strlen(m[i].name), 2), little(z, 0, 2), little(z, 0, 2);
    little(z, 0, 2), little(z, 0, 2), little(z, 0, 4), little(z, at[i], 4), put(z, m[i].name, strlen(m[i].name));
  }
  uint32_t size = (uint32_t)z->n - start;
  little(z, 0x06054b50, 4), little(z, 0, 4), little(z, (uint32_t)n, 2), little(z, (uint32_t)n, 2), little(z, size, 4), little(z, start, 4), little(z, 0, 2);
}

static Member stored(const char *name, const unsigned char *p, size_t n) { return (Member){name, 0, p, n, n, crc32_of(p, n)}; }

static unsigned char *npy_of(char kind, int size, int rank, const int64_t *dims, size_t *n) {
  RtArray a;
  unsigned char *bytes;
  ck_assert_ptr_null(rt_array_new(&a, kind, size, rank, dims, MAX));
  for (int64_t i = 0; i < a.n * size; i++) ((unsigned char *)a.data)[i] = (unsigned char)(i + 1);
  ck_assert_ptr_null(rt_npy_format(&a, &bytes, n));
  rt_array_free(&a);
  return bytes;
}

static bool no_library(const char *wrong) {
  if (!wrong || !strstr(wrong, "built without")) return false;
  printf("left out: %s\n", wrong);
  return true;
}

START_TEST(npz_members) {
  size_t nx, ny;
  unsigned char *x = npy_of('u', 1, 2, (int64_t[]){3, 4}, &nx), *y = npy_of('i', 8, 1, (int64_t[]){3}, &ny);
  Bytes z = {0};
  zip_of(&z, (Member[]){stored("x.npy", x, nx), stored("dir/y.npy", y, ny), stored("bad.npy", x, nx - 1)}, 3);
  save(z.p, z.n);
  RtArray a;
  const char *wrong = rt_npz_read(path, "x", MAX, &a);
  if (no_library(wrong)) return;
  ck_assert_msg(!wrong, "%s", wrong);
  ck_assert(a.kind == 'u' && a.rank == 2 && a.n == 12 && ((unsigned char *)a.data)[11] == 12);
  rt_array_free(&a);
  ck_assert_ptr_null(rt_npz_read(path, "dir/y", MAX, &a));
  ck_assert(a.kind == 'i' && a.size == 8 && a.n == 3 && ((int64_t *)a.data)[0] == 0x0807060504030201);
  rt_array_free(&a);
  ck_assert_ptr_nonnull(strstr(rt_npz_read(path, "z", MAX, &a), "no array of this name"));
  ck_assert_ptr_nonnull(strstr(rt_npz_read(path, "bad", MAX, &a), "cut short"));
  ck_assert_ptr_nonnull(strstr(rt_npz_read(path, "x", 11, &a), "limit"));
  ck_assert_str_eq(rt_npz_read("/nonexistent.npz", "x", MAX, &a), "cannot open");
  ck_assert(rt_npz_has(path, "x") && !rt_npz_has(path, "y") && !rt_npz_has("/nonexistent.npz", "x"));
  for (size_t cut = 0; cut < z.n; cut++) { /* nothing of a cut archive is believed */
    save(z.p, cut);
    ck_assert_msg(rt_npz_read(path, "x", MAX, &a) != NULL, "%zu of %zu bytes", cut, z.n);
  }
  for (size_t i = 0; i < z.n; i++) { /* damaged anywhere: refused, or another member was hit; never other numbers */
    z.p[i] ^= 0x41;
    save(z.p, z.n);
    if (!rt_npz_read(path, "x", MAX, &a)) ck_assert(a.n == 12 && ((unsigned char *)a.data)[0] == 1 && ((unsigned char *)a.data)[11] == 12);
    rt_array_free(&a);
    z.p[i] ^= 0x41;
  }
  free(x), free(y), free(z.p);
}
END_TEST

/* Deflate, one block of fixed codes: a zero byte, then `runs` times 258 more of them. */
static void bomb_of(Bytes *b, int runs) {
  uint32_t acc = 0;
  int have = 0;
  const struct { uint32_t code; int n; } head[] = {{1, 1}, {1, 2}, {0x0c, 8}}, run[] = {{0xa3, 8}, {0, 5}}, end[] = {{0, 7}, {0, 7}}; /* bits as they come */
  for (int i = 0; i < 3 + 2 * runs + 2; i++) {
    uint32_t code = i < 3 ? head[i].code : i < 3 + 2 * runs ? run[(i - 3) % 2].code : end[i - 3 - 2 * runs].code;
    acc |= code << have;
    for (have += i < 3 ? head[i].n : i < 3 + 2 * runs ? run[(i - 3) % 2].n : 7; have >= 8; have -= 8, acc >>= 8) put(b, &(unsigned char){(unsigned char)acc}, 1);
  }
}

START_TEST(npz_bomb) { /* 4 MiB in 26 KB: where it says so, and where it says that it is small */
  Bytes deflated = {0}, z = {0};
  bomb_of(&deflated, 16384);
  size_t plain = 1 + 258 * 16384;
  unsigned char *zeros = calloc(plain, 1);
  uint32_t crc = crc32_of(zeros, plain);
  zip_of(&z, (Member[]){{"x.npy", 8, deflated.p, deflated.n, plain, crc}, {"lie.npy", 8, deflated.p, deflated.n, 100, crc}}, 2);
  save(z.p, z.n);
  RtArray a;
  const char *wrong = rt_npz_read(path, "x", 1000, &a);
  if (!no_library(wrong)) {
    ck_assert_str_eq(wrong, "array larger than the limit");
    ck_assert_str_eq(rt_npz_read(path, "x", 64 << 20, &a), "not an NPY file"); /* with room it is unpacked: the bomb is one */
    ck_assert_ptr_nonnull(rt_npz_read(path, "lie", 1000, &a));
    ck_assert_ptr_nonnull(rt_npz_read(path, "lie", 64 << 20, &a));
  }
  free(zeros), free(deflated.p), free(z.p);
}
END_TEST

START_TEST(by_name) {
  RtArray a;
  ck_assert_ptr_null(rt_npz_colon("a.npy"));
  ck_assert_ptr_null(rt_npz_colon("a:b"));
  ck_assert_ptr_null(rt_npz_colon(".npz"));
  ck_assert_str_eq(rt_npz_colon("a.npz:b"), ":b");
  ck_assert_str_eq(rt_npz_colon("a.npz"), "");
  ck_assert_ptr_nonnull(strstr(rt_any_read("a.npz", MAX, &a), "which array"));
  ck_assert_str_eq(rt_any_read("/nonexistent.npy", MAX, &a), "cannot open");
  ck_assert_str_eq(rt_any_read("/nonexistent", MAX, &a), "cannot open");
}
END_TEST

/* CSV */

START_TEST(csv_tables) {
  static const struct { const char *text; int column; int64_t rows, columns; double first, last; const char *wrong; int line; } rows[] = {
    {"1,2\n3,4\n", 0, 2, 2, 1, 4, NULL, 0},
    {"a,b\r\n1, 2\r\n\r\n 3 ,4e1", 0, 2, 2, 1, 40, NULL, 0},
    {"1,2\n3,4\n", 2, 2, 1, 2, 4, NULL, 0},
    {"file,label\nx.wav,7\ny.wav,-1\n", 2, 2, 1, 7, -1, NULL, 0},
    {"label\n", 1, 0, 0, 0, 0, NULL, 0},
    {"", 0, 0, 0, 0, 0, NULL, 0},
    {"0.1,255", 0, 1, 2, 0.1f, 255, NULL, 0},
    {"1,2\n3\n", 0, 0, 0, 0, 0, "another number of cells", 2},
    {"1,2\n3,4,5\n", 0, 0, 0, 0, 0, "another number of cells", 2},
    {"1,2\n3,x\n", 0, 0, 0, 0, 0, "holds no number", 2},
    {"1,2\n3,\n", 0, 0, 0, 0, 0, "holds no number", 2},
    {"1,2\n\n3,nan\n", 0, 0, 0, 0, 0, "holds no number", 3},
    {"1,2\n3,1e999\n", 0, 0, 0, 0, 0, "holds no number", 2},
    {"1,2\n3,0x10\n", 0, 0, 0, 0, 0, "holds no number", 2},
    {"\xef\xbb\xbf" "1,2\n3,4\n", 0, 2, 2, 1, 4, NULL, 0},
    {"\xef\xbb\xbf" "a,b\n3,4\n", 0, 1, 2, 3, 4, NULL, 0},
    {"1,\n3,4\n", 0, 0, 0, 0, 0, "neither a header nor a row", 1},
    {"\n1,nan\n3,4\n", 0, 0, 0, 0, 0, "neither a header nor a row", 2},
    {"x.wav,\ny.wav,-1\n", 2, 1, 1, -1, -1, NULL, 0},
    {"1\n2,3\n", 2, 0, 0, 0, 0, "neither a header nor a row", 1},
    {"1,2\n3\n", 2, 0, 0, 0, 0, "the column holds no number", 2},
    {"1,2\n3,99999999999999999999999999999999999999999999999999999999999999999999999999999\n", 0, 0, 0, 0, 0, "holds no number", 2}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    RtArray a;
    int line;
    size_t n = strlen(rows[i].text);
    char *exact = malloc(n + 1); /* a byte too far is seen */
    memcpy(exact, rows[i].text, n);
    exact = realloc(exact, n ? n : 1);
    const char *wrong = rt_csv_parse(exact, n, rows[i].column, MAX, &a, &line);
    free(exact);
    ck_assert_int_eq(line, rows[i].line);
    if (rows[i].wrong) { ck_assert_msg(wrong && strstr(wrong, rows[i].wrong), "%zu: %s", i, wrong ? wrong : "accepted"); continue; }
    ck_assert_msg(!wrong, "%zu: %s", i, wrong);
    ck_assert(a.kind == 'f' && a.dims[0] == rows[i].rows && a.rank == (rows[i].column ? 1 : 2));
    if (a.n && rows[i].column) ck_assert(((double *)a.data)[0] == rows[i].first && ((double *)a.data)[a.n - 1] == rows[i].last);
    if (a.n && !rows[i].column) ck_assert(a.dims[1] == rows[i].columns && ((float *)a.data)[0] == (float)rows[i].first && ((float *)a.data)[a.n - 1] == (float)rows[i].last);
    rt_array_free(&a);
  }
  RtArray a;
  int line;
  ck_assert_ptr_nonnull(strstr(rt_csv_parse("1,2,3\n", 6, 0, 11, &a, &line), "limit"));
  ck_assert_ptr_nonnull(rt_csv_parse("1\0,2\n", 5, 0, 11, &a, &line)); /* a zero byte is no number */
  ck_assert_ptr_null(rt_csv_parse("1\0,b\n", 5, 0, 11, &a, &line)); /* this is a header */
  ck_assert_int_eq(a.n, 0);
  rt_array_free(&a);
}
END_TEST

/* Pictures */

static const char *exact_image(const unsigned char *p, size_t n, RtArray *a) {
  unsigned char *copy = malloc(n ? n : 1);
  memcpy(copy, p, n);
  const char *wrong = rt_image_parse(copy, n, MAX, a);
  free(copy);
  return wrong;
}

/* Cut anywhere: refused. Damaged anywhere: refused or read, never worse. */
static void torture(unsigned char *p, size_t n, size_t tail) {
  RtArray a;
  for (size_t cut = 0; cut < n; cut++) {
    const char *wrong = exact_image(p, cut, &a);
    ck_assert_msg(wrong || n - cut <= tail, "%zu of %zu bytes", cut, n);
    rt_array_free(&a);
  }
  for (size_t i = 0; i < n; i++)
    for (int bit = 0; bit < 8; bit++) {
      p[i] ^= (unsigned char)(1 << bit);
      exact_image(p, n, &a);
      rt_array_free(&a);
      p[i] ^= (unsigned char)(1 << bit);
    }
}

START_TEST(png_pictures) {
  static const unsigned char palette[] = {255, 0, 0, 0, 255, 0, 1, 2, 3};
  static const struct { int depth, colour, channels; size_t row; int first, last; } rows[] = {
    {8, 0, 1, 5, 3, (19 * 7 + 3) & 255}, {8, 2, 3, 15, 3, (59 * 7 + 3) & 255}, {8, 6, 3, 20, 3, (78 * 7 + 3) & 255}, {8, 4, 1, 10, 3, (38 * 7 + 3) & 255},
    {8, 3, 3, 5, 255, 0}, {1, 0, 1, 1, 0, 255}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    Bytes b = {0};
    RtArray a;
    png_of(&b, 4, 5, rows[i].depth, rows[i].colour, rows[i].row, rows[i].colour == 3 ? palette : NULL, 9);
    const char *wrong = exact_image(b.p, b.n, &a);
    if (no_library(wrong)) { free(b.p); return; }
    ck_assert_msg(!wrong, "%zu: %s", i, wrong);
    ck_assert(a.kind == 'u' && a.size == 1 && a.rank == 3 && a.dims[0] == 4 && a.dims[1] == 5 && a.dims[2] == rows[i].channels);
    ck_assert_int_eq(((unsigned char *)a.data)[0], rows[i].first);
    ck_assert_int_eq(((unsigned char *)a.data)[a.n - 1], rows[i].last);
    rt_array_free(&a);
    torture(b.p, b.n, 12); /* the empty last chunk */
    ck_assert_ptr_nonnull(strstr(rt_image_parse(b.p, b.n, (uint64_t)a.n + 3, &a), "limit"));
    free(b.p);
  }
  Bytes huge = {0};
  RtArray a;
  png_of(&huge, 1, 1, 8, 0, 1, NULL, 0);
  for (int i = 16; i < 24; i++) huge.p[i] = i % 4 < 2 ? 0 : 255; /* 65535 x 65535 */
  Bytes head = {0};
  put(&head, huge.p + 12, 17);
  uint32_t crc = crc32_of(head.p, head.n);
  for (int i = 0; i < 4; i++) huge.p[29 + i] = (unsigned char)(crc >> (24 - 8 * i));
  ck_assert_ptr_nonnull(strstr(exact_image(huge.p, huge.n, &a), "limit"));
  free(huge.p), free(head.p);
  ck_assert_str_eq(exact_image((const unsigned char *)"GIF89a", 6, &a), "neither a PNG nor a JPEG picture");
}
END_TEST

START_TEST(jpeg_pictures) {
  static const unsigned char want[] = {0, 19, 41, 60, 80, 99, 121, 140};
  RtArray a;
  const char *wrong = exact_image(grey_jpeg, sizeof grey_jpeg, &a);
  if (no_library(wrong)) return;
  ck_assert_msg(!wrong, "%s", wrong);
  ck_assert(a.rank == 3 && a.dims[0] == 8 && a.dims[1] == 8 && a.dims[2] == 1);
  for (int i = 0; i < 64; i++) ck_assert_int_eq(((unsigned char *)a.data)[i], want[i % 8]);
  ck_assert_ptr_null(rt_image_channels(&a, 3));
  ck_assert(a.dims[2] == 3 && a.n == 192 && ((unsigned char *)a.data)[3] == 19 && ((unsigned char *)a.data)[5] == 19);
  rt_array_free(&a);
  ck_assert_ptr_null(exact_image(colour_jpeg, sizeof colour_jpeg, &a));
  ck_assert(a.dims[2] == 3);
  for (int i = 0; i < 64; i++) ck_assert(((unsigned char *)a.data)[3 * i] == 199 && ((unsigned char *)a.data)[3 * i + 1] == 50 && ((unsigned char *)a.data)[3 * i + 2] == 10);
  ck_assert_ptr_null(rt_image_channels(&a, 1));
  ck_assert(a.n == 64 && ((unsigned char *)a.data)[63] == (299 * 199 + 587 * 50 + 114 * 10 + 500) / 1000);
  rt_array_free(&a);
  ck_assert_ptr_nonnull(strstr(rt_image_parse(grey_jpeg, sizeof grey_jpeg, 63, &a), "limit"));
  unsigned char copy[512];
  memcpy(copy, colour_jpeg, sizeof colour_jpeg);
  torture(copy, sizeof colour_jpeg, 2); /* the end's marker */
}
END_TEST

START_TEST(resizes) { /* by hand: 2x2 to 4x4 at -1/4 (the border), 1/4, 3/4, 5/4 (the border) */
  RtArray a, b;
  ck_assert_ptr_null(rt_array_new(&a, 'u', 1, 3, (int64_t[]){2, 2, 1}, MAX));
  memcpy(a.data, "\x00\x64\xc8\xff", 4);
  ck_assert_ptr_null(rt_image_resize(&a, 4, 4, MAX, &b));
  static const unsigned char want[] = {0, 25, 75, 100, 50, 72, 117, 139, 150, 167, 200, 216, 200, 214, 241, 255};
  for (int i = 0; i < 16; i++) ck_assert_int_eq(((unsigned char *)b.data)[i], want[i]);
  rt_array_free(&a);
  ck_assert_ptr_null(rt_image_resize(&b, 2, 1, MAX, &a)); /* 4x4 to 2x1: rows 1/2 and 5/2, column 3/2 */
  ck_assert(a.dims[0] == 2 && a.dims[1] == 1 && a.n == 2);
  ck_assert_int_eq(((unsigned char *)a.data)[0], 72); /* (25 + 75 + 72 + 117) / 4 */
  ck_assert_int_eq(((unsigned char *)a.data)[1], 206); /* (167 + 200 + 214 + 241) / 4 = 205.5 */
  rt_array_free(&a);
  ck_assert_ptr_nonnull(strstr(rt_image_resize(&b, 1000, 1000, 999999, &a), "limit"));
  ck_assert_ptr_null(rt_image_resize(&b, 4, 4, MAX, &a));
  ck_assert_mem_eq(a.data, b.data, 16);
  rt_array_free(&a);
  rt_array_free(&b);
}
END_TEST

int main(void) {
  Suite *s = suite_create("rt_data");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, npz_members);
  tcase_add_test(t, npz_bomb);
  tcase_add_test(t, by_name);
  tcase_add_test(t, csv_tables);
  tcase_add_test(t, png_pictures);
  tcase_add_test(t, jpeg_pictures);
  tcase_add_test(t, resizes);
  suite_add_tcase(s, t);
  return suite_run(s);
}
