/* The schema's map `data`: which files, how they are read, what is done to images. */
#include "trainer/recipe_read.h"

static bool read_mean(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeData *data = to;
  return read_numbers(d, n, data->mean, &data->n_mean, RECIPE_CHANNELS, f->lo, f->hi);
}

static bool read_std(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeData *data = to;
  return read_numbers(d, n, data->std, &data->n_std, RECIPE_CHANNELS, f->lo, f->hi);
}

static bool ends_in(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

/* What the names say: batches, a table, one file of arrays, a folder, or images and labels. */
static bool files_kind(Decoder *d, const Doc *n, RecipeFiles *f) {
  int bins = 0, tables = 0;
  for (int i = 0; i < f->n; i++) bins += ends_in(f->name[i], ".bin"), tables += ends_in(f->name[i], ".csv");
  f->kind = bins ? FILES_CIFAR : tables ? FILES_CSV : f->n == 1 && !ends_in(f->name[0], ".npz") ? FILES_FOLDER : FILES_PAIR;
  if (f->kind == FILES_PAIR && f->n == 1) f->name[f->n++] = f->name[0];
  bool ok = f->kind == FILES_CIFAR ? bins == f->n : f->kind == FILES_PAIR ? f->n == 2 : f->n == 1;
  return ok || diag(d->ctx, E0703, at(d, n), "%s: must be [images, labels], CIFAR batches whose names end in .bin, one .npz or .csv, or a folder of folders", path(d));
}

static bool read_files(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeFiles *files = to;
  bool ok = true;
  files->line = n->line;
  if (n->shape == SHAPE_SCALAR) ok = read_text(d, n, &files->name[files->n++], f);
  else {
    if (!is_shape(d, n, SHAPE_LIST)) return false;
    if (n->item.n > RECIPE_FILES) return diag(d->ctx, E0703, at(d, n), "%s: more than %d files", path(d), RECIPE_FILES);
    for (int i = 0; i < n->item.n; i++) {
      size_t was = enter(d, NULL, i);
      ok = read_text(d, n->item.p[i].v, &files->name[files->n++], f) && ok;
      leave(d, was);
    }
  }
  return ok && files_kind(d, n, files);
}

/* One of the names to an int, which is their order. */
static bool read_choice(Decoder *d, const Doc *n, const char *const *names, int count, int *which) {
  return is_shape(d, n, SHAPE_SCALAR) && one_of(d, n, n->text, names, count, which);
}

static bool read_label(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {"fine", "coarse"};
  int which;
  (void)f;
  if (!read_choice(d, n, names, 2, &which)) return false;
  *(CifarLabel *)to = which ? CIFAR_COARSE : CIFAR_FINE;
  return true;
}

static bool read_layout(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {"nchw", "nhwc"};
  int which;
  (void)f;
  if (!read_choice(d, n, names, 2, &which)) return false;
  *(bool *)to = which;
  return true;
}

/* Just f->hi whole numbers of 1 .. f->lo: sides. */
static bool read_sides(Decoder *d, const Doc *n, void *to, const Field *f) {
  double v[3];
  int count = 0, want = (int)f->hi;
  if (!read_numbers(d, n, v, &count, want, 1, f->lo)) return false;
  bool whole = count == want;
  for (int i = 0; i < count; i++) whole = whole && v[i] == floor(v[i]), ((int *)to)[i] = (int)v[i];
  return whole || diag(d->ctx, E0703, at(d, n), "%s: must be %d whole numbers", path(d), want);
}

static bool read_channels(Decoder *d, const Doc *n, void *to, const Field *f) {
  if (!read_int(d, n, to, f)) return false;
  return *(int *)to != 2 || diag(d->ctx, E0703, at(d, n), "%s: must be 1 or 3", path(d));
}

static bool read_classes(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeData *data = to;
  bool ok = true;
  if (n->shape == SHAPE_SCALAR) return read_text(d, n, &data->class_file, f);
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  if (n->item.n < 2 || n->item.n > RECIPE_CLASSES) return diag(d->ctx, E0703, at(d, n), "%s: %d names, not 2 .. %d", path(d), n->item.n, RECIPE_CLASSES);
  for (int i = 0; i < n->item.n; i++) {
    const char **name = &data->classes[i];
    size_t was = enter(d, NULL, i);
    bool read = read_text(d, n->item.p[i].v, name, f);
    for (int k = 0; read && k < i; k++)
      if (data->classes[k] && !strcmp(data->classes[k], *name)) read = diag(d->ctx, E0703, at(d, n->item.p[i].v), "%s: '%.100s' is there twice", path(d), *name);
    ok = ok && read;
    leave(d, was);
  }
  data->n_classes = n->item.n;
  return ok;
}

static bool read_augment(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_map(d, n, to, FIELDS({"crop", read_int, offsetof(RecipeData, crop), 0, 64, false}, {"flip", read_bool, offsetof(RecipeData, flip), 0, 0, false},
                                  {"cutout", read_int, offsetof(RecipeData, cutout), 0, 1024, false}));
}

bool recipe_read_data(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeData *data = to;
  (void)f;
  if (!read_map(d, n, data, FIELDS({"train", read_files, offsetof(RecipeData, train), 0, 0, true}, {"test", read_files, offsetof(RecipeData, test), 0, 0, false},
                                   {"scale", read_f64, offsetof(RecipeData, scale), 1e-9, 1e9, false}, {"mean", read_mean, 0, -1e9, 1e9, false},
                                   {"std", read_std, 0, 1e-9, 1e9, false}, {"augment", read_augment, 0, 0, 0, false},
                                   {"samples", read_i64, offsetof(RecipeData, samples), 1, 1e9, false}, {"validation", read_f64, offsetof(RecipeData, validation), 0, 0.9, false},
                                   {"label", read_label, offsetof(RecipeData, label), 0, 0, false},
                                   {"label_column", read_int, offsetof(RecipeData, label_column), 1, 1e6, false}, {"layout", read_layout, offsetof(RecipeData, nhwc), 0, 0, false},
                                   {"shape", read_sides, offsetof(RecipeData, shape), 65535, 3, false}, {"size", read_sides, offsetof(RecipeData, size), 8192, 2, false},
                                   {"channels", read_channels, offsetof(RecipeData, channels), 1, 3, false}, {"classes", read_classes, 0, 0, 0, false})))
    return false;
  enum { PAIR = 1 << FILES_PAIR, CIFAR = 1 << FILES_CIFAR, CSV = 1 << FILES_CSV, FOLDER = 1 << FILES_FOLDER };
  static const struct { const char *key; int kinds; const char *what; } only[] = {{"label", CIFAR, "CIFAR batches"}, {"label_column", CSV, "CSV"}, {"layout", PAIR, "arrays"},
    {"shape", PAIR | CSV, "arrays and CSV"}, {"size", FOLDER, "folders of pictures"}, {"channels", FOLDER, "folders of pictures"}};
  int kinds = 1 << data->train.kind | (data->test.n ? 1 << data->test.kind : 0);
  for (int i = 0; i < 6; i++)
    if (doc_find(n, only[i].key) && !(kinds & only[i].kinds))
      return diag(d->ctx, E0703, at(d, doc_find(n, only[i].key)), "%s.%s: only of %s", path(d), only[i].key, only[i].what);
  if (data->n_mean > 1 && data->n_std > 1 && data->n_mean != data->n_std)
    return diag(d->ctx, E0703, at(d, n), "%s: %d numbers of mean, but %d of std", path(d), data->n_mean, data->n_std);
  return true;
}
