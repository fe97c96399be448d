/* Checkpoints: round trips, bytes that must not move, every truncation and every changed bit refused, and what is wrong with
 * files whose checksum was made to fit. */
#include "tests/unit/suite.h"
#include "trainer/checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const float weights[5] = {1.5f, -0.0f, 3e-40f, 0x1.fffffep127f, 7};
static const double rates[2] = {0.1, 1e-300};
static const int64_t counts[3] = {INT64_MIN, 0, 1234567890123};

static Ckpt *sample(Ctx *c) {
  Ckpt *k = ckpt_new(c);
  ckpt_put(k, "w", CKPT_F32, 5, weights);
  ckpt_put(k, "rates", CKPT_F64, 2, rates);
  ckpt_put(k, "counts of something", CKPT_I64, 3, counts);
  ckpt_put_text(k, "recipe", "popshift: recipe/1\n");
  ckpt_put(k, "empty", CKPT_F32, 0, NULL);
  ckpt_put_i64(k, "iteration", 42);
  return k;
}

static void bytes_of(Ctx *c, const Ckpt *k, const char *path, unsigned char **bytes, size_t *n) {
  char *text;
  ck_assert(ckpt_write(k, path));
  ck_assert(file_read(c, path, &text, n));
  *bytes = (unsigned char *)text;
  unlink(path);
}

static char path[64];
static void setup(void) {
  strcpy(path, "/tmp/popshift_ckpt_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(path));
  strcat(path, "/a.ckpt");
}
static void teardown(void) {
  unlink(path);
  *strrchr(path, '/') = 0;
  ck_assert_int_eq(rmdir(path), 0); /* nothing temporary stayed */
}

START_TEST(round_trip) {
  Ctx *c = ctx_new();
  Ckpt *k = sample(c);
  ck_assert(ckpt_write(k, path) && ckpt_write(k, path)); /* and over an old one */
  Ckpt *r = ckpt_read(c, path);
  diag_print(c, stderr, false);
  ck_assert_ptr_nonnull(r);
  ck_assert_mem_eq(ckpt_get(r, "w", CKPT_F32, 5), weights, sizeof weights);
  ck_assert_mem_eq(ckpt_get(r, "rates", CKPT_F64, -1), rates, sizeof rates);
  ck_assert_mem_eq(ckpt_get(r, "counts of something", CKPT_I64, 3), counts, sizeof counts);
  ck_assert_str_eq(ckpt_get_text(r, "recipe"), "popshift: recipe/1\n");
  ck_assert_ptr_nonnull(ckpt_get(r, "empty", CKPT_F32, 0));
  int64_t v;
  ck_assert(ckpt_get_i64(r, "iteration", &v) && v == 42);
  static const char *const names[] = {"w", "rates", "counts of something", "recipe", "empty", "iteration"};
  for (int i = 0; i < 6; i++) {
    const CkptEntry *e = ckpt_find(r, names[i]);
    ck_assert(e && !strcmp(e->name, names[i]) && (uintptr_t)e->data % 8 == 0);
  }
  ck_assert(!ckpt_find(r, "W") && !ckpt_find(r, "") && c->n_errors == 0);
  static const struct { const char *name; CkptKind kind; int64_t count; const char *says; } bad[] = {
    {"none", CKPT_F32, 1, "'none' is not in the checkpoint"}, {"w", CKPT_F32, 6, "'w' is f32[5], not f32[6]"}, {"w", CKPT_F64, -1, "'w' is f32, not f64"}};
  for (int i = 0; i < 3; i++) {
    ck_assert_ptr_null(ckpt_get(r, bad[i].name, bad[i].kind, bad[i].count));
    const Diag *d = c->diags;
    while (d->next) d = d->next;
    ck_assert(d->code == E0106 && !strcmp(d->loc.file, path));
    ck_assert_str_eq(d->text, bad[i].says);
  }
  ck_assert(!ckpt_get_i64(r, "w", &v) && !ckpt_get_text(r, "w"));
  ckpt_free(r);
  ckpt_free(k);
  ckpt_free(NULL);
  ctx_free(c);
}
END_TEST

START_TEST(many) {
  Ctx *c = ctx_new();
  Ckpt *k = ckpt_new(c);
  char name[32];
  for (int i = 0; i < 3000; i++) {
    snprintf(name, sizeof name, "layer%d.weight", i);
    ckpt_put_i64(k, name, i);
  }
  ck_assert(ckpt_write(k, path));
  Ckpt *r = ckpt_read(c, path);
  for (int64_t i = 0, v; i < 3000; i++) {
    snprintf(name, sizeof name, "layer%d.weight", (int)i);
    ck_assert(ckpt_get_i64(r, name, &v) && v == i);
  }
  k = ckpt_new(c);
  ck_assert(ckpt_write(k, path) && (r = ckpt_read(c, path)) && !ckpt_find(r, "layer0.weight"));
  ctx_free(c);
}
END_TEST

START_TEST(layout) { /* little-endian on every host */
  Ctx *c = ctx_new();
  Ckpt *k = ckpt_new(c);
  unsigned char *b;
  size_t n;
  ckpt_put(k, "w", CKPT_F32, 1, weights);
  bytes_of(c, k, path, &b, &n);
  static const unsigned char want[] = "popshift.ckpt 1\n\1\0\0\0\0\0\0\0" "\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0" "w\0\0\0\0\0\0\0" "\0\0\xc0\x3f\0\0\0\0";
  ck_assert_uint_eq(n, sizeof want - 1 + 8);
  ck_assert_mem_eq(b, want, sizeof want - 1);
  free(b);
  ctx_free(c);
}
END_TEST

static bool parse(Ctx *c, const unsigned char *b, size_t n) { /* of just this size, so that the sanitizers see one byte too many */
  unsigned char *copy = malloc(n ? n : 1);
  if (n) memcpy(copy, b, n);
  Ckpt *k = ckpt_parse(c, "x", copy, n);
  free(copy);
  ckpt_free(k);
  return k;
}

static void seal(unsigned char *b, size_t n) { /* FNV-1a */
  uint64_t h = UINT64_C(14695981039346656037);
  for (size_t i = 0; i < n - 8; i++) h = (h ^ b[i]) * UINT64_C(1099511628211);
  for (int i = 0; i < 8; i++) b[n - 8 + (size_t)i] = (unsigned char)(h >> 8 * i);
}

START_TEST(damaged) {
  Ctx *c = ctx_new();
  unsigned char *b;
  size_t n;
  bytes_of(c, sample(c), path, &b, &n);
  ck_assert(parse(c, b, n));
  for (size_t cut = 0; cut < n; cut++) ck_assert(!parse(c, b, cut));
  for (size_t i = 0; i < 8 * n; i++) {
    b[i / 8] ^= (unsigned char)(1 << i % 8);
    ck_assert(!parse(c, b, n));
    b[i / 8] ^= (unsigned char)(1 << i % 8);
  }
  int errors = c->n_errors;
  ck_assert_int_eq(errors, (int)(9 * n));
  /* With a checksum that fits, truncation and damage reach the lengths: an error or another checkpoint, never worse. */
  for (size_t cut = 8; cut < n; cut++) {
    unsigned char *t = malloc(cut);
    memcpy(t, b, cut);
    seal(t, cut);
    ck_assert(!parse(c, t, cut));
    free(t);
  }
  for (size_t i = 0; i < 8 * (n - 8); i++) {
    b[i / 8] ^= (unsigned char)(1 << i % 8);
    seal(b, n);
    parse(c, b, n);
    b[i / 8] ^= (unsigned char)(1 << i % 8);
  }
  free(b);
  ctx_free(c);
}
END_TEST

START_TEST(says_what) {
  static const struct { size_t at; const char *bytes; size_t n; const char *says; } rows[] = {
    {0, "P", 1, "not a checkpoint"}, {14, "2", 1, "another version"}, {16, "\2", 1, "cut short"}, {16, "\0", 1, "bytes after the last entry"},
    {16, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "more than 1000000"}, {24, "\4", 1, "unknown kind"}, {28, "\0", 1, "name is empty"}, {28, "\xff\xff\xff\xff", 4, "longer than limits"},
    {32, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "cut short"}, {32, "\0\0\0\0\0\0\0\x40", 8, "cut short"}, {40, "", 1, "zero byte"}};
  Ctx *c = ctx_new();
  unsigned char *b, *t;
  size_t n;
  Ckpt *k = ckpt_new(c);
  ckpt_put(k, "w", CKPT_F32, 5, weights);
  bytes_of(c, k, path, &b, &n);
  t = malloc(n);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    memcpy(t, b, n);
    memcpy(t + rows[i].at, rows[i].bytes, rows[i].n);
    seal(t, n);
    ck_assert(!parse(c, t, n));
    const Diag *d = c->diags;
    while (d->next) d = d->next;
    ck_assert_msg(d->code == E0106 && strstr(d->text, rows[i].says), "%s, not %s", d->text, rows[i].says);
  }
  free(b);
  free(t);
  k = ckpt_new(c);
  ckpt_put_i64(k, "ab", 1);
  ckpt_put_i64(k, "ac", 1);
  bytes_of(c, k, path, &b, &n);
  ck_assert_int_eq(b[24 + 32 + 17], 'c');
  b[24 + 32 + 17] = 'b';
  seal(b, n);
  ck_assert(!parse(c, b, n));
  free(b);
  ctx_free(c);
}
END_TEST

START_TEST(files) {
  Ctx *c = ctx_new();
  ck_assert_ptr_null(ckpt_read(c, "/nowhere/x.ckpt"));
  ck_assert(c->diags->code == E0501);
  ck_assert(!ckpt_write(sample(c), "/nowhere/x.ckpt"));
  ck_assert(c->diags->next->code == E0502);
  ck_assert(ckpt_write(sample(c), path));
  struct stat st;
  ck_assert_int_eq(stat(path, &st), 0);
  ck_assert(!ckpt_write(sample(c), strcat(strcpy((char[128]){0}, path), "/x"))); /* a file is no folder */
  Ckpt *k = ckpt_read(c, path); /* the old one is whole */
  ck_assert_ptr_nonnull(k);
  ctx_free(c);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_checkpoint");
  TCase *t = tcase_create("checkpoint");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, round_trip);
  tcase_add_test(t, many);
  tcase_add_test(t, layout);
  tcase_add_test(t, damaged);
  tcase_add_test(t, says_what);
  tcase_add_test(t, files);
  suite_add_tcase(s, t);
  return suite_run(s);
}
