/* Data sets as a folder with one folder of pictures for each class. */
#include "trainer/dataset.h"

#include "runtime/image.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef struct Names { const char **p; int n, cap; } Names;

static Loc in_file(const char *path) { return (Loc){path, -1, -1, NULL, NULL}; }

static int by_bytes(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_picture(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

/* Folders, or pictures, in a folder by the order of their bytes; hidden ones do not count. */
static bool list(Ctx *ctx, Arena *arena, const char *path, bool folders, Names *names) {
  DIR *dir = opendir(path);
  Loc loc = in_file(path);
  if (!dir) return diag(ctx, E0501, &loc, "cannot open folder: %s", strerror(errno));
  const struct dirent *e;
  while ((e = readdir(dir))) {
    struct stat st;
    if (*e->d_name == '.' || (!folders && !is_picture(e->d_name))) continue;
    if (stat(arena_printf(arena, "%s/%s", path, e->d_name), &st) || !(folders ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode))) continue;
    vec_push(arena, names, arena_strdup(arena, e->d_name));
  }
  closedir(dir);
  if (names->n) qsort(names->p, (size_t)names->n, sizeof *names->p, by_bytes);
  return true;
}

/* The classes' names: the recipe's, where it lists them; a folder's own else. False where a folder is none of them. */
static bool name_classes(Ctx *ctx, Arena *arena, const RecipeData *d, const char *path, const Names *folders, int *class_of, Dataset *s) {
  s->classes = d->n_classes ? d->n_classes : folders->n;
  s->class_name = d->n_classes ? d->classes : (const char *const *)folders->p;
  for (int i = 0; i < folders->n; i++) {
    class_of[i] = i;
    if (!d->n_classes) continue;
    int k = 0;
    while (k < d->n_classes && strcmp(d->classes[k], folders->p[i])) k++;
    class_of[i] = k;
    if (k < d->n_classes) continue;
    Loc loc = in_file(arena_printf(arena, "%s/%s", path, folders->p[i]));
    diag(ctx, E0104, &loc, "the folder is none of the classes");
    const char *near = nearest(folders->p[i], d->classes, d->n_classes);
    if (near) diag_hint(ctx, "did you mean '%s'?", near);
    return false;
  }
  return true;
}

/* Picture i of the set: [H,W,C] to [C,H,W]. The first one gives the size where the recipe has none. */
static bool take_picture(Ctx *ctx, Arena *arena, const RecipeData *d, const char *path, int64_t i, Dataset *s) {
  RtArray a = {0}, sized = {0};
  Loc loc = in_file(path);
  uint64_t limit = ctx->limits.file < 0 ? 0 : (uint64_t)ctx->limits.file;
  const char *wrong = rt_image_read(path, limit, &a);
  if (!wrong && d->channels) wrong = rt_image_channels(&a, d->channels);
  if (!wrong && d->size[0]) {
    wrong = rt_image_resize(&a, d->size[0], d->size[1], limit, &sized);
    rt_array_free(&a);
    a = sized;
  }
  bool ok = !wrong || diag(ctx, E0104, &loc, "%s", wrong);
  if (ok && !i) {
    s->h = (int)a.dims[0], s->w = (int)a.dims[1], s->c = (int)a.dims[2];
    int64_t bytes;
    if (!mul_ok(s->n, dataset_sample(s), &bytes)) ctx_fatal(ctx);
    s->image = arena_alloc(arena, (size_t)bytes);
  }
  if (ok && (a.dims[0] != s->h || a.dims[1] != s->w)) {
    ok = diag(ctx, E0104, &loc, "the picture has %" PRId64 "x%" PRId64 " pixels, the first one %dx%d (height x width)", a.dims[0], a.dims[1], s->h, s->w);
    diag_hint(ctx, "data.size: [%d, %d] gives all of them one size", s->h, s->w);
  } else if (ok && a.dims[2] != s->c) {
    ok = diag(ctx, E0104, &loc, "the picture has %s, the first one has %s", a.dims[2] == 1 ? "grey levels" : "colours", s->c == 1 ? "grey levels" : "colours");
    diag_hint(ctx, "data.channels: 1 or 3 makes all of them alike");
  }
  int64_t pixels = (int64_t)s->h * s->w;
  for (int64_t k = 0; ok && k < pixels * s->c; k++) s->image[i * pixels * s->c + k] = ((const uint8_t *)a.data)[k % pixels * s->c + k / pixels];
  rt_array_free(&a);
  return ok;
}

/* The first pictures of all classes, then the second of all: so the first `samples` of them have all classes alike. */
bool dataset_folder(Ctx *ctx, Arena *arena, const RecipeData *d, const char *path, int64_t samples, Dataset *s) {
  Arena *scratch = arena_new(ctx);
  Names folders = {0};
  Loc loc = in_file(path);
  int64_t most = 0;
  bool ok = list(ctx, arena, path, true, &folders);
  if (ok && (folders.n < 2 || folders.n > RECIPE_CLASSES)) ok = diag(ctx, E0104, &loc, "%d folders of classes, not 2 .. %d", folders.n, RECIPE_CLASSES);
  Names *files = NEWN(scratch, Names, folders.n + 1);
  int *class_of = NEWN(scratch, int, folders.n + 1);
  ok = ok && name_classes(ctx, arena, d, path, &folders, class_of, s);
  for (int f = 0; ok && f < folders.n; f++) {
    const char *folder = arena_printf(scratch, "%s/%s", path, folders.p[f]);
    ok = list(ctx, scratch, folder, false, &files[f]);
    if (ok && !files[f].n) loc.file = arena_strdup(ctx->own, folder), ok = diag(ctx, E0104, &loc, "no picture (.png, .jpg, .jpeg) in this class's folder");
    s->n += files[f].n;
    if (files[f].n > most) most = files[f].n;
  }
  if (ok && samples && samples < s->n) s->n = samples;
  if (ok) s->label = arena_alloc(arena, (size_t)s->n);
  int64_t at = 0;
  for (int64_t i = 0; ok && i < most && at < s->n; i++)
    for (int f = 0; ok && f < folders.n && at < s->n; f++) {
      if (i >= files[f].n) continue;
      const char *file = arena_printf(ctx->own, "%s/%s/%s", path, folders.p[f], files[f].p[i]);
      s->label[at] = (uint8_t)class_of[f];
      ok = take_picture(ctx, arena, d, file, at++, s);
      if (ok && ctx->cancel && *ctx->cancel) ok = diag(ctx, E0602, NULL, "interrupted while reading pictures");
    }
  arena_free(scratch);
  return ok;
}
