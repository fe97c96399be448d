/* Data sets: IDX and CIFAR files made here, their errors, the floats of a batch by hand, augmentation that depends on its name alone. */
#include "trainer/dataset.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static Ctx *c;
static Arena *a;

static void setup(void) {
  strcpy(dir, "/tmp/popshift_dataset_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(dir));
  c = ctx_new();
  a = arena_new(c);
}

static void teardown(void) {
  static const char *const names[] = {"images", "labels", "a.bin", "b.bin"};
  char path[128];
  for (int i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, names[i]);
    unlink(path);
  }
  rmdir(dir);
  ctx_free(c);
}

static void put_file(const char *name, const void *bytes, size_t n) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  ck_assert(file_write(c, path, bytes, n));
}

/* Bytes i * 37 + 11, any shape of one-byte dims. */
static void put_idx(const char *name, int element, int rank, const uint8_t *dims, int modulus) {
  uint8_t b[4096] = {0, 0, (uint8_t)element, (uint8_t)rank};
  size_t n = 1, at = 4;
  for (int i = 0; i < rank; i++, at += 4) b[at + 3] = dims[i], n *= dims[i];
  for (size_t i = 0; i < n; i++) b[at + i] = (uint8_t)((i * 37 + 11) % (size_t)modulus);
  put_file(name, b, at + n);
}

static void put_cifar(const char *name, int count, int first) {
  uint8_t *b = calloc((size_t)count, 3073);
  for (int i = 0; i < count; i++) {
    b[3073 * i] = (uint8_t)((first + i) % 10);
    memset(b + 3073 * i + 1, first + i, 3072);
  }
  put_file(name, b, 3073 * (size_t)count);
  free(b);
}

static Recipe *recipe(const char *data) {
  char text[1024];
  snprintf(text, sizeof text, "popshift: recipe/1\nnet: {builtin: x}\ndata: {%s}\nphases: [{lr: constant(1), epochs: 1}]\n", data);
  Recipe *r = recipe_parse(c, "r.yaml", text, strlen(text));
  ck_assert_ptr_nonnull(r);
  return r;
}

static void refused(const char *data, int classes, ErrCode code, const char *file, const char *says) {
  Recipe *r = recipe(data);
  ck_assert_ptr_null(dataset_load(c, a, r, &r->data.train, dir, classes, 0));
  const Diag *d = c->diags;
  while (d && d->next) d = d->next;
  ck_assert_ptr_nonnull(d);
  ck_assert_msg(d->code == code && strstr(d->text, says) && d->loc.file && strstr(d->loc.file, file), "%s: %s", d->loc.file, d->text);
}

START_TEST(loads_idx) {
  put_idx("images", 8, 3, (uint8_t[]){10, 4, 5}, 256);
  put_idx("labels", 8, 1, (uint8_t[]){10}, 7);
  Recipe *r = recipe("train: [images, labels]");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->n == 10 && s->c == 1 && s->h == 4 && s->w == 5 && s->classes == 7);
  for (int i = 0; i < 200; i++) ck_assert_int_eq(s->image[i], (i * 37 + 11) & 255);
  for (int i = 0; i < 10; i++) ck_assert_int_eq(s->label[i], (i * 37 + 11) % 7);
  s = dataset_load(c, a, r, &r->data.train, dir, 8, 3);
  ck_assert(s && s->n == 3 && s->classes == 8 && s->image[59] == ((59 * 37 + 11) & 255));
  put_idx("images", 8, 4, (uint8_t[]){10, 3, 4, 5}, 256);
  s = dataset_load(c, a, r, &r->data.train, dir, 7, 100);
  ck_assert(s && s->n == 10 && s->c == 3 && s->h == 4 && s->w == 5);
}
END_TEST

START_TEST(loads_cifar) {
  put_cifar("a.bin", 3, 0);
  put_cifar("b.bin", 4, 3);
  Recipe *r = recipe("train: [a.bin, b.bin], test: b.bin");
  for (int samples = 0; samples < 9; samples++) {
    Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 10, samples);
    int want = samples && samples < 7 ? samples : 7;
    ck_assert(s && s->n == want && s->c == 3 && s->h == 32 && s->w == 32);
    for (int i = 0; i < want; i++) ck_assert(s->label[i] == i && s->image[3072 * i] == i && s->image[3072 * i + 3071] == i);
  }
  Dataset *t = dataset_load(c, a, r, &r->data.test, dir, 10, 0);
  ck_assert(t && t->n == 4 && t->label[0] == 3);
}
END_TEST

START_TEST(refuses) {
  put_idx("images", 8, 3, (uint8_t[]){10, 4, 5}, 256);
  put_idx("labels", 8, 1, (uint8_t[]){10}, 7);
  refused("train: [images, labels]", 6, E0104, "labels", "is not one of 6 classes");
  refused("train: [nothing, labels]", 0, E0501, "nothing", "cannot open");
  refused("train: [images, nothing]", 0, E0501, "nothing", "cannot open");
  refused("train: [labels, labels]", 0, E0104, "labels", "images must be");
  refused("train: [images, images]", 0, E0104, "images", "labels must be [N]");
  put_idx("labels", 8, 1, (uint8_t[]){9}, 7);
  refused("train: [images, labels]", 0, E0104, "labels", "9 labels for the 10 images");
  put_idx("labels", 9, 1, (uint8_t[]){10}, 256); /* signed: 11 + 37 * 4 is -97 */
  refused("train: [images, labels]", 0, E0104, "labels", "label -97 of sample 4 is no whole number of 0 .. 255");
  put_idx("images", 8, 3, (uint8_t[]){0, 4, 5}, 256);
  put_idx("labels", 8, 1, (uint8_t[]){0}, 7);
  refused("train: [images, labels]", 0, E0104, "images", "no images");
  put_file("images", "hello", 5);
  refused("train: [images, labels]", 0, E0104, "images", "not an IDX file");
  put_cifar("a.bin", 3, 0);
  put_file("b.bin", "hello", 5);
  refused("train: [a.bin, b.bin]", 0, E0104, "b.bin", "CIFAR");
  refused("train: [a.bin, c.bin]", 0, E0501, "c.bin", "cannot open");
}
END_TEST

START_TEST(values) { /* both layouts, by hand, in binary64 rounded once */
  put_idx("images", 8, 4, (uint8_t[]){6, 3, 4, 5}, 256);
  put_idx("labels", 8, 1, (uint8_t[]){6}, 7);
  Recipe *r = recipe("train: [images, labels], scale: 0.00392156862745098, mean: [0.1, 0.2, 0.3], std: [0.7], augment: {crop: 1, flip: true}");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  const int32_t index[] = {4, 0, 4, 5};
  Transform t;
  float x[4 * 60];
  int32_t label[4];
  for (int layout = 0; layout < 2; layout++) {
    ck_assert(transform_init(&t, a, r, s, (Layout)layout, false));
    dataset_batch(s, &t, index, 4, 3, x, label);
    for (int i = 0; i < 4; i++) {
      ck_assert_int_eq(label[i], (index[i] * 37 + 11) % 7);
      for (int ch = 0; ch < 3; ch++)
        for (int p = 0; p < 20; p++) {
          int raw = ((index[i] * 60 + ch * 20 + p) * 37 + 11) & 255;
          float got = x[i * 60 + (layout == LAYOUT_NCHW ? ch * 20 + p : p * 3 + ch)];
          ck_assert_float_eq(got, (float)((raw * 0.00392156862745098 - (ch + 1) / 10.0) / 0.7));
        }
    }
  }
  ck_assert(!transform_init(&t, a, recipe("train: [images, labels], mean: [1, 2]"), s, LAYOUT_NCHW, false));
  ck_assert_ptr_nonnull(strstr(c->diags->text, "the images have 3"));
}
END_TEST

/* Which of the (2p+1)^2 * 2 pictures x [h, w] of sample `of` is: dy, dx, flip; false where none. */
static bool which(const Dataset *s, const Transform *t, int of, const float *x, int *dy, int *dx, int *flip) {
  for (*dy = -t->crop; *dy <= t->crop; ++*dy)
    for (*dx = -t->crop; *dx <= t->crop; ++*dx)
      for (*flip = 0; *flip <= t->flip; ++*flip) {
        bool same = true;
        for (int i = 0; i < s->h && same; i++)
          for (int j = 0; j < s->w && same; j++) {
            int y = i + *dy, at = (*flip ? s->w - 1 - j : j) + *dx;
            int raw = y < 0 || y >= s->h || at < 0 || at >= s->w ? 0 : s->image[(of * s->h + y) * s->w + at];
            same = x[i * s->w + j] == (float)(raw * 0.5 - 1);
          }
        if (same) return true;
      }
  return false;
}

START_TEST(augments) {
  put_idx("images", 8, 3, (uint8_t[]){60, 6, 7}, 251);
  put_idx("labels", 8, 1, (uint8_t[]){60}, 7);
  Recipe *r = recipe("train: [images, labels], scale: 0.5, mean: [1], augment: {crop: 1, flip: true}");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  Transform t;
  ck_assert(transform_init(&t, a, r, s, LAYOUT_NCHW, true));
  int32_t index[60], label[60];
  float x[60 * 42], y[60 * 42];
  int seen[3][3][2] = {0};
  for (int i = 0; i < 60; i++) index[i] = 59 - i;
  for (int epoch = 0; epoch < 20; epoch++) {
    dataset_batch(s, &t, index, 60, epoch, x, label);
    for (int i = 0; i < 60; i++) {
      int dy, dx, flip;
      ck_assert(which(s, &t, index[i], x + 42 * i, &dy, &dx, &flip));
      seen[dy + 1][dx + 1][flip]++;
      dataset_batch(s, &t, index + i, 1, epoch, y, NULL); /* alone as in company */
      ck_assert_mem_eq(x + 42 * i, y, 42 * sizeof *y);
    }
  }
  for (int i = 0; i < 18; i++) { /* 1200 over 18 */
    int n = (&seen[0][0][0])[i];
    ck_assert(n > 35 && n < 105);
  }
  dataset_batch(s, &t, index, 60, 0, x, NULL);
  dataset_batch(s, &t, index, 60, 0, y, NULL);
  ck_assert_mem_eq(x, y, sizeof x);
  dataset_batch(s, &t, index, 60, 1, y, NULL);
  ck_assert_mem_ne(x, y, sizeof x);
  t.rng.seed++;
  dataset_batch(s, &t, index, 60, 0, y, NULL);
  ck_assert_mem_ne(x, y, sizeof x);
  t.rng.seed--;
  t.layout = LAYOUT_NHWC; /* one channel: the same */
  dataset_batch(s, &t, index, 60, 0, y, NULL);
  ck_assert_mem_eq(x, y, sizeof x);
}
END_TEST

START_TEST(fashion_mnist) {
  static const char folder[] = "/usr/share/datasets/fashion-mnist";
  char path[128];
  snprintf(path, sizeof path, "%s/../trainer/recipes/lenet5-fashion.yaml", TEST_DIR);
  Recipe *r = recipe_read(c, path);
  ck_assert_ptr_nonnull(r);
  if (access(folder, R_OK)) {
    fprintf(stderr, "fashion_mnist: skipped, no %s (Debian: dataset-fashion-mnist)\n", folder);
    return;
  }
  Dataset *s = dataset_load(c, a, r, &r->data.test, folder, 10, 0);
  ck_assert(s && s->n == 10000 && s->c == 1 && s->h == 28 && s->w == 28 && s->classes == 10);
  Transform t;
  ck_assert(transform_init(&t, a, r, s, LAYOUT_NCHW, false));
  int32_t index[100], label[100], count[10] = {0};
  float *x = malloc(sizeof *x * 100 * 784);
  double sum = 0;
  for (int b = 0; b < 100; b++) {
    for (int i = 0; i < 100; i++) index[i] = 100 * b + i;
    dataset_batch(s, &t, index, 100, 0, x, label);
    for (int i = 0; i < 78400; i++) sum += x[i];
    for (int i = 0; i < 100; i++) count[label[i]]++;
  }
  for (int k = 0; k < 10; k++) ck_assert_int_eq(count[k], 1000);
  ck_assert_double_eq_tol(sum / 7840000, 0.2868, 0.001); /* pixels between 0 and 1, by the recipe's scale */
  free(x);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_dataset");
  TCase *t = tcase_create("dataset");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, loads_idx);
  tcase_add_test(t, loads_cifar);
  tcase_add_test(t, refuses);
  tcase_add_test(t, values);
  tcase_add_test(t, augments);
  tcase_add_test(t, fashion_mnist);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed != 0;
}
