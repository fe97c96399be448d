/* Data sets: IDX and CIFAR files made here, their errors, the floats of a batch by hand, augmentation that depends on its name alone. */
#include "tests/unit/suite.h"
#include "trainer/dataset.h"

#include "runtime/npy.h"
#include "tests/unit/pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  ck_assert_int_eq(system(command), 0);
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
  ck_assert((t = dataset_load(c, a, r, &r->data.test, dir, 0, 0)) && t->classes == 10);
  ck_assert((t = dataset_load(c, a, r, &r->data.test, dir, 7, 0)) && t->classes == 7);
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

/* f4 or f8 [..]: element i is i / 4 - 3; u1: i * 37 + 11; i8: i % 7. */
static void put_npy(const char *name, char kind, int size, int rank, const int64_t *dims, double change, int at) {
  RtArray x;
  unsigned char *bytes;
  size_t n;
  ck_assert_ptr_null(rt_array_new(&x, kind, size, rank, dims, 1 << 20));
  for (int64_t i = 0; i < x.n; i++) {
    double v = i == at ? change : kind == 'f' ? (double)i / 4 - 3 : kind == 'u' ? (double)((i * 37 + 11) & 255) : (double)(i % 7);
    if (kind == 'f' && size == 4) ((float *)x.data)[i] = (float)v;
    else if (kind == 'f') ((double *)x.data)[i] = v;
    else if (kind == 'u') ((uint8_t *)x.data)[i] = (uint8_t)v;
    else ((int64_t *)x.data)[i] = (int64_t)v;
  }
  ck_assert_ptr_null(rt_npy_format(&x, &bytes, &n));
  put_file(name, bytes, n);
  free(bytes);
  rt_array_free(&x);
}

START_TEST(loads_npy) {
  put_npy("x.npy", 'f', 8, 4, (int64_t[]){6, 4, 5, 3}, 0, -1);
  put_npy("y.npy", 'i', 8, 2, (int64_t[]){6, 1}, 0, -1);
  Recipe *r = recipe("train: [x.npy, y.npy], layout: nhwc, scale: 0.5, mean: [1, 2, 3], std: [2], augment: {flip: true, cutout: 3}");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 0, 4);
  ck_assert(s && s->n == 4 && s->c == 3 && s->h == 4 && s->w == 5 && s->classes == 4 && !s->image && s->label[3] == 3);
  for (int i = 0; i < 4; i++)
    for (int ch = 0; ch < 3; ch++)
      for (int p = 0; p < 20; p++) ck_assert_float_eq(s->real[(i * 3 + ch) * 20 + p], (float)((i * 20 + p) * 3 + ch) / 4 - 3);
  Transform t;
  float x[60];
  ck_assert(transform_init(&t, a, r, s, LAYOUT_NHWC, false));
  dataset_batch(s, &t, (int32_t[]){2}, 1, 0, x, NULL);
  for (int ch = 0; ch < 3; ch++) for (int p = 0; p < 20; p++) ck_assert_float_eq(x[p * 3 + ch], (float)(((double)((40 + p) * 3 + ch) / 4 - 3) * 0.5 - ch - 1) / 2);
  r = recipe("train: [x.npy, y.npy]"); /* 5 x 3 pixels of 4 channels then */
  s = dataset_load(c, a, r, &r->data.train, dir, 9, 0);
  ck_assert(s && s->n == 6 && s->c == 4 && s->h == 5 && s->w == 3 && s->classes == 9 && s->real[7] == 7 / 4.0f - 3);
  put_npy("x.npy", 'u', 1, 2, (int64_t[]){6, 24}, 0, -1);
  r = recipe("train: [x.npy, y.npy], shape: [2, 3, 4]");
  s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->c == 2 && s->h == 3 && s->w == 4 && s->image[100] == ((100 * 37 + 11) & 255) && !s->real);
  dataset_as_real(a, s);
  ck_assert_float_eq(s->real[100], (float)((100 * 37 + 11) & 255));
  r = recipe("train: [x.npy, y.npy]");
  s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->c == 1 && s->h == 1 && s->w == 24);
}
END_TEST

START_TEST(refuses_npy) {
  put_npy("x.npy", 'f', 4, 3, (int64_t[]){6, 2, 2}, 0, -1);
  put_npy("y.npy", 'f', 8, 1, (int64_t[]){6}, 0.5, 2);
  refused("train: [x.npy, y.npy]", 0, E0104, "y.npy", "label -3 of sample 0");
  put_npy("y.npy", 'i', 8, 1, (int64_t[]){6}, 256, 2);
  refused("train: [x.npy, y.npy]", 0, E0104, "y.npy", "label 256 of sample 2");
  put_npy("y.npy", 'i', 8, 1, (int64_t[]){6}, 0, -1);
  put_npy("x.npy", 'f', 4, 3, (int64_t[]){6, 2, 2}, NAN, 9);
  refused("train: [x.npy, y.npy]", 0, E0104, "x.npy", "sample 2 has a number that is not finite");
  put_npy("x.npy", 'f', 8, 3, (int64_t[]){6, 2, 2}, 1e300, 23);
  refused("train: [x.npy, y.npy]", 0, E0104, "x.npy", "sample 5 has a number that is not finite");
  refused("train: [x.npy, y.npy], shape: [1, 2, 3]", 0, E0104, "x.npy", "samples have 4 numbers, the recipe's data.shape 6");
  put_npy("x.npy", 'u', 1, 1, (int64_t[]){6}, 0, -1);
  refused("train: [x.npy, y.npy]", 0, E0104, "x.npy", "images must be");
  put_npy("x.npy", 'u', 1, 4, (int64_t[]){6, 65, 2, 3}, 0, -1);
  refused("train: [x.npy, y.npy]", 0, E0104, "x.npy", "images of 65 channels");
  refused("train: [no.npz:x, y.npy]", 0, E0501, "no.npz", "cannot open");
  put_file("a.npz", "PK", 2);
  refused("train: a.npz", 0, E0104, "a.npz", "NPZ");
  refused("train: [\"a.npz:x\", y.npy]", 0, E0104, "a.npz:x", "NPZ");
}
END_TEST

START_TEST(loads_csv) {
  static const char bytes[] = "p0,p1,label,p2,p3\n0,1,2,3,4\n5,6,0,255,8\n", real[] = "0,1,2\n1,0.5,-3\n";
  put_file("t.csv", bytes, sizeof bytes - 1);
  Recipe *r = recipe("train: t.csv, label_column: 3, shape: [1, 2, 2], classes: [a, b, c]");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->n == 2 && s->h == 2 && s->w == 2 && s->classes == 3 && s->label[0] == 2 && s->label[1] == 0);
  ck_assert_mem_eq(s->image, "\0\1\3\4\5\6\377\10", 8);
  ck_assert_str_eq(s->class_name[2], "c");
  put_file("t.csv", real, sizeof real - 1);
  r = recipe("train: t.csv");
  s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->n == 2 && s->w == 2 && s->classes == 2 && !s->image && s->real[2] == 0.5f && s->real[3] == -3);
  refused("train: t.csv, label_column: 4", 0, E0104, "t.csv", "3 columns: labels are to be in column 4");
  refused("train: t.csv, label_column: 3", 0, E0104, "t.csv", "label -3 of sample 1");
  refused("train: t.csv, classes: [a, b, c]", 0, E0703, "r.yaml", "3 names of classes, the data have 2");
  put_file("t.csv", "1,2\n3,4\n5,x\n", 13);
  refused("train: t.csv", 0, E0104, "t.csv", "a cell holds no number");
  const Diag *d = c->diags;
  while (d->next) d = d->next;
  ck_assert_int_eq(d->loc.line, 3);
  put_file("t.csv", "a,b\n", 4);
  refused("train: t.csv", 0, E0104, "t.csv", "no images");
}
END_TEST

START_TEST(cifar100_labels) {
  enum { RECORD = 3074 };
  uint8_t *b = calloc(3, RECORD);
  Str fine = {.ctx = c};
  for (int i = 0; i < 3; i++) b[RECORD * i] = (uint8_t)(19 - i), b[RECORD * i + 1] = (uint8_t)(99 - i), memset(b + RECORD * i + 2, i + 1, 3072);
  put_file("a.bin", b, 3 * RECORD);
  for (int i = 0; i < 100; i++) str_printf(&fine, "name %d\r\n", i);
  put_file("fine_label_names.txt", fine.p, fine.n);
  Recipe *r = recipe("train: a.bin, label: coarse");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 20, 0);
  ck_assert(s && s->n == 3 && s->label[2] == 17 && s->image[3072] == 2 && s->classes == 20 && !s->class_name);
  r = recipe("train: a.bin, label: fine");
  s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->label[2] == 97 && s->classes == 100 && s->class_name);
  b[1] = 7, put_file("a.bin", b, RECORD); /* by the records, not by the labels that they happen to have */
  s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->n == 1 && s->classes == 100 && s->class_name);
  b[1] = 99, put_file("a.bin", b, 3 * RECORD);
  ck_assert_str_eq(s->class_name[99], "name 99");
  r = recipe("train: a.bin, classes: fine_label_names.txt");
  ck_assert_ptr_nonnull(dataset_load(c, a, r, &r->data.train, dir, 100, 0));
  refused("train: a.bin, label: coarse, classes: fine_label_names.txt", 20, E0104, "fine_label_names.txt", "100 names of classes, the data have 20");
  b[RECORD] = 20;
  put_file("a.bin", b, 3 * RECORD);
  refused("train: a.bin, label: coarse", 0, E0104, "a.bin", "a CIFAR label is out of range");
  put_file("a.bin", b, 3073);
  refused("train: a.bin, label: fine", 0, E0104, "a.bin", "not a whole number of CIFAR records");
  str_free(&fine);
  free(b);
}
END_TEST

static void put_png(const char *name, uint32_t h, uint32_t w, bool colour) {
  Bytes b = {0};
  png_of(&b, h, w, 8, colour ? 2 : 0, w * (colour ? 3 : 1), NULL, 0);
  put_file(name, b.p, b.n);
  free(b.p);
}

START_TEST(loads_folder) {
  static const char *const folders[] = {"set", "set/b", "set/a", "set/.hidden"};
  char path[128];
  for (int i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
    ck_assert_int_eq(mkdir(path, 0777), 0);
  }
  refused("train: set", 0, E0104, "set/a", "no picture");
  put_png("set/a/1.png", 4, 5, true);
  put_png("set/a/2.PNG", 4, 5, true);
  put_png("set/b/0.png", 4, 5, true);
  put_file("set/b/notes.txt", "x", 1);
  put_file("set/README", "x", 1);
  Recipe *r = recipe("train: set");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  const Diag *d = c->diags;
  while (d && d->next) d = d->next;
  if (!s && d && strstr(d->text, "built without")) { printf("loads_folder left out: %s\n", d->text); return; }
  ck_assert(s && s->n == 3 && s->c == 3 && s->h == 4 && s->w == 5 && s->classes == 2 && s->label[0] == 0 && s->label[1] == 1 && s->label[2] == 0);
  ck_assert_str_eq(s->class_name[1], "b");
  for (int k = 0; k < 60; k++) ck_assert_int_eq(s->image[60 + k], ((k % 20 * 3 + k / 20) * 7 + 3) & 255);
  r = recipe("train: set, classes: [b, c, a], size: [2, 3], channels: 1");
  s = dataset_load(c, a, r, &r->data.train, dir, 0, 2);
  ck_assert(s && s->n == 2 && s->c == 1 && s->h == 2 && s->w == 3 && s->classes == 3 && s->label[0] == 2 && s->label[1] == 0);
  refused("train: set, classes: [b, aa]", 0, E0104, "set/a", "none of the classes");
  put_file("names", "c\nb\na\n\n", 7);
  r = recipe("train: set, classes: names");
  s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  ck_assert(s && s->classes == 3 && s->label[0] == 2 && s->label[1] == 1 && !strcmp(s->class_name[0], "c"));
  refused("train: set", 3, E0104, "set", "2 classes are named here, not 3");
  refused("train: set, classes: nothing", 0, E0501, "nothing", "cannot open");
  put_png("set/b/1.png", 5, 4, true);
  refused("train: set", 0, E0104, "set/b/1.png", "5x4 pixels, the first one 4x5");
  put_png("set/b/1.png", 4, 5, false);
  refused("train: set", 0, E0104, "set/b/1.png", "has grey levels, the first one has colours");
  put_file("set/b/1.png", "\x89PNG\r\n\x1a\n", 8);
  refused("train: set", 0, E0104, "set/b/1.png", "damaged, cut short");
  put_file("set/b/1.png", "hello", 5);
  refused("train: set", 0, E0104, "set/b/1.png", "neither a PNG nor a JPEG");
  refused("train: nothing", 0, E0501, "nothing", "cannot open folder");
  refused("train: set/a", 0, E0104, "set/a", "0 folders of classes");
}
END_TEST

/* The square is where the random pixel is, clipped at the border, and has the value that normalization makes 0. */
START_TEST(cuts_out) {
  put_idx("images", 8, 3, (uint8_t[]){20, 6, 7}, 251);
  put_idx("labels", 8, 1, (uint8_t[]){20}, 7);
  Recipe *r = recipe("train: [images, labels], scale: 0.5, mean: [20], augment: {cutout: 3}");
  Dataset *s = dataset_load(c, a, r, &r->data.train, dir, 0, 0);
  Transform t, p;
  ck_assert(transform_init(&t, a, r, s, LAYOUT_NCHW, true) && transform_init(&p, a, r, s, LAYOUT_NCHW, false));
  ck_assert(t.cutout == 3 && t.hole[0] == 0 && !p.cutout);
  float x[42], y[42];
  int middles = 0, sizes = 0;
  bool seen[6][7] = {{false}};
  for (int i = 0; i < 20; i++)
    for (int epoch = 0; epoch < 40; epoch++) {
      dataset_batch(s, &t, &i, 1, epoch, x, NULL);
      dataset_batch(s, &p, &i, 1, epoch, y, NULL);
      int top = 9, left = 9, bottom = -1, right = -1, n = 0;
      for (int k = 0; k < 42; k++) {
        if (x[k] == y[k]) continue;
        ck_assert_float_eq(x[k], 0);
        n++;
        if (k / 7 < top) top = k / 7;
        if (k / 7 > bottom) bottom = k / 7;
        if (k % 7 < left) left = k % 7;
        if (k % 7 > right) right = k % 7;
      }
      int missing = (bottom - top + 1) * (right - left + 1) - n; /* pixels that are 0 anyway */
      ck_assert(n > 2 && bottom - top < 3 && right - left < 3 && missing <= 2);
      sizes += n;
      if (bottom - top == 2 && right - left == 2 && !seen[top + 1][left + 1]) seen[top + 1][left + 1] = true, middles++;
    }
  ck_assert_int_eq(middles, 4 * 5); /* every inner pixel was the middle once */
  ck_assert(sizes > 800 * 6 && sizes < 800 * 8); /* 16/6 x 19/7 = 7.2 on average */
  Recipe *raw = recipe("train: [images, labels], augment: {cutout: 3}");
  ck_assert(transform_init(&t, a, raw, s, LAYOUT_NCHW, true));
  transform_hole(&t, r, s);
  ck_assert_float_eq(t.hole[0], 40); /* the byte that is 20 after scaling */
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

/* Sample i of n has label i and is filled with it. */
static Dataset numbered(int n, bool real) {
  Dataset s = {.n = n, .c = 2, .h = 1, .w = 3, .classes = 256, .label = NEWN(a, uint8_t, n)};
  if (real) s.real = NEWN(a, float, n * 6);
  else s.image = NEWN(a, uint8_t, n * 6);
  for (int i = 0; i < n; i++) {
    s.label[i] = (uint8_t)i;
    for (int k = 0; k < 6; k++) if (real) s.real[i * 6 + k] = (float)i; else s.image[i * 6 + k] = (uint8_t)i;
  }
  return s;
}

/* Its samples are whole and in their order; marks which there are. */
static void mark(const Dataset *s, bool *there) {
  for (int64_t i = 0; i < s->n; i++) {
    ck_assert(!i || s->label[i] > s->label[i - 1]);
    for (int k = 0; k < 6; k++) ck_assert(s->real ? s->real[i * 6 + k] == (float)s->label[i] : s->image[i * 6 + k] == s->label[i]);
    there[s->label[i]] = true;
  }
}

START_TEST(splits) { /* every sample is in one of the two; the seed alone says which */
  for (int k = 0; k < 2; k++) {
    bool real = k;
    bool out[2][200] = {{false}}, kept[200] = {false}, other[200] = {false};
    for (int run = 0; run < 3; run++) {
      Dataset s = numbered(200, real), *v = dataset_split(a, &s, 0.2, (Rng){run == 2 ? 8 : 7, RNG_SPLIT});
      ck_assert(v && v->n == 40 && s.n == 160 && v->classes == 256 && v->c == 2 && (v->real != NULL) == real && (v->image != NULL) != real);
      mark(v, run < 2 ? out[run] : other);
      if (run == 1) mark(&s, kept);
    }
    int same = 0, late = 0;
    for (int i = 0; i < 200; i++) {
      ck_assert(out[0][i] == out[1][i] && kept[i] != out[1][i]);
      same += out[0][i] && other[i], late += out[0][i] && i >= 100;
    }
    ck_assert(same < 20 && late > 8 && late < 32); /* by chance 8 and 20 of 40 */
  }
  Dataset s = numbered(3, false);
  ck_assert_ptr_null(dataset_split(a, &s, 0.1, (Rng){1, RNG_SPLIT}));
  ck_assert_ptr_null(dataset_split(a, &s, 0.9, (Rng){1, RNG_SPLIT}));
  ck_assert(s.n == 3);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_dataset");
  TCase *t = tcase_create("dataset");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, loads_idx);
  tcase_add_test(t, loads_cifar);
  tcase_add_test(t, splits);
  tcase_add_test(t, refuses);
  tcase_add_test(t, values);
  tcase_add_test(t, augments);
  tcase_add_test(t, loads_npy);
  tcase_add_test(t, refuses_npy);
  tcase_add_test(t, loads_csv);
  tcase_add_test(t, cifar100_labels);
  tcase_add_test(t, loads_folder);
  tcase_add_test(t, cuts_out);
  tcase_add_test(t, fashion_mnist);
  suite_add_tcase(s, t);
  return suite_run(s);
}
