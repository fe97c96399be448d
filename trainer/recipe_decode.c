/* The schema: one table per map, one reader per kind of value. Reading goes on after an error, so that all are told at once. */
#include "trainer/recipe_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Decoder {
  Ctx *ctx;
  Recipe *r;
  Str path;                      /* of the value being read, as --set takes it */
  Loc loc;
} Decoder;

typedef struct Field Field;
typedef bool Reader(Decoder *, const Doc *, void *to, const Field *);
struct Field {
  const char *key;
  Reader *read;
  size_t at;                     /* offsetof in the struct */
  double lo, hi;                 /* of numbers */
  bool required;
};
#define FIELDS(...) (const Field[]){__VA_ARGS__}, (int)(sizeof (const Field[]){__VA_ARGS__} / sizeof(Field))

const QuantizerInfo quantizer_info[QUANTIZER_COUNT] = {
  [QUANT_NONE] = {"none", 0, 0, true, true, "", "stays float"},
#define Q(NAME, name, lo, hi, w, a, options, what) [QUANT_##NAME] = {#name, lo, hi, w, a, options, what},
#include "trainer/quantizers.def"
#undef Q
};

static const Loc *at(Decoder *d, const Doc *n) {
  d->loc = LOC_NONE;
  d->loc.file = n->file;
  d->loc.line = n->line;
  return &d->loc;
}

static const char *path(const Decoder *d) { return d->path.n ? d->path.p : "recipe"; }

static size_t enter(Decoder *d, const char *key, int index) {
  size_t was = d->path.n;
  if (was) str_put(&d->path, ".");
  if (key) str_put(&d->path, key);
  else str_printf(&d->path, "%d", index);
  return was;
}

static void leave(Decoder *d, size_t was) {
  d->path.n = was;
  d->path.p[was] = 0;
}

static bool is_shape(Decoder *d, const Doc *n, DocShape shape) {
  static const char *const names[] = {"a single value", "a list", "a map"};
  return n->shape == shape || diag(d->ctx, E0703, at(d, n), "%s: must be %s, not %s", path(d), names[shape], names[n->shape]);
}

static bool suggest(Decoder *d, const char *word, const char *const *names, int n) {
  const char *near = nearest(word, names, n);
  if (near) diag_hint(d->ctx, "did you mean '%s'?", near);
  return false;
}

/* One of n names, its index to *which. */
static bool one_of(Decoder *d, const Doc *n, const char *word, const char *const *names, int count, int *which) {
  *which = 0;
  for (int i = 0; i < count; i++) if (!strcmp(word, names[i])) { *which = i; return true; }
  Str all = {.ctx = d->ctx};
  for (int i = 0; i < count; i++) str_printf(&all, "%s%s", i == 0 ? "" : i == count - 1 ? " or " : ", ", names[i]);
  diag(d->ctx, E0703, at(d, n), "%s: must be %s, not '%.100s'", path(d), all.p, word);
  str_free(&all);
  return suggest(d, word, names, count);
}

static bool read_map(Decoder *d, const Doc *n, void *to, const Field *fields, int count) {
  if (!is_shape(d, n, SHAPE_MAP)) return false;
  bool ok = true;
  for (int i = 0; i < n->item.n; i++) {
    const DocItem *item = &n->item.p[i];
    const Field *f = fields;
    while (f < fields + count && strcmp(f->key, item->key)) f++;
    size_t was = enter(d, item->key, 0);
    if (f < fields + count) ok = f->read(d, item->v, (char *)to + f->at, f) && ok;
    else {
      const char *names[32];
      for (int k = 0; k < count; k++) names[k] = fields[k].key;
      at(d, item->v);
      d->loc.line = item->line;
      ok = diag(d->ctx, E0703, &d->loc, "%s: unknown key", path(d));
      suggest(d, item->key, names, count);
    }
    leave(d, was);
  }
  for (int k = 0; k < count; k++)
    if (fields[k].required && !doc_find(n, fields[k].key))
      ok = diag(d->ctx, E0703, at(d, n), "%s: key '%s' is missing", path(d), fields[k].key);
  return ok;
}

/* Values */

static bool number(Decoder *d, const Doc *n, const char *text, size_t len, double lo, double hi, double *to) {
  if (n->quoted || !parse_f64(text, len, to) || isnan(*to))
    return diag(d->ctx, E0703, at(d, n), "%s: '%.*s' is not a number", path(d), (int)(len < 100 ? len : 100), text);
  return (*to >= lo && *to <= hi) || diag(d->ctx, E0703, at(d, n), "%s: %g is not in %g .. %g", path(d), *to, lo, hi);
}

static bool read_f64(Decoder *d, const Doc *n, void *to, const Field *f) {
  return is_shape(d, n, SHAPE_SCALAR) && number(d, n, n->text, strlen(n->text), f->lo, f->hi, to);
}

static bool integer(Decoder *d, const Doc *n, const Field *f, int64_t *v) {
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  if (n->quoted || !parse_i64(n->text, strlen(n->text), v))
    return diag(d->ctx, E0703, at(d, n), "%s: '%.100s' is not an integer", path(d), n->text);
  return (*v >= f->lo && (double)*v <= f->hi) || diag(d->ctx, E0703, at(d, n), "%s: %" PRId64 " is not in %.0f .. %.0f", path(d), *v, f->lo, f->hi);
}

static bool read_i64(Decoder *d, const Doc *n, void *to, const Field *f) { return integer(d, n, f, to); }

static bool read_int(Decoder *d, const Doc *n, void *to, const Field *f) {
  int64_t v;
  if (!integer(d, n, f, &v)) return false;
  *(int *)to = (int)v;
  return true;
}

static bool read_seed(Decoder *d, const Doc *n, void *to, const Field *f) {
  int64_t v;
  if (!integer(d, n, f, &v)) return false;
  *(uint64_t *)to = (uint64_t)v;
  return true;
}

static bool read_bool(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {"false", "true"};
  int which;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->quoted ? "a text" : n->text, names, 2, &which)) return false;
  *(bool *)to = which;
  return true;
}

static bool read_text(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  if (!*n->text) return diag(d->ctx, E0703, at(d, n), "%s: must not be empty", path(d));
  *(const char **)to = n->text;
  return true;
}

static bool read_version(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)to, (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  return !strcmp(n->text, "recipe/1") || diag(d->ctx, E0703, at(d, n), "%s: '%.100s' is not recipe/1, the version that is read here", path(d), n->text);
}

/* 1 .. most numbers, each in lo .. hi. */
static bool read_numbers(Decoder *d, const Doc *n, double *to, int *count, int most, double lo, double hi) {
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  if (n->item.n < 1 || n->item.n > most) return diag(d->ctx, E0703, at(d, n), "%s: %d numbers, not 1 .. %d", path(d), n->item.n, most);
  bool ok = true;
  for (int i = 0; i < n->item.n; i++) {
    size_t was = enter(d, NULL, i);
    ok = read_f64(d, n->item.p[i].v, to + i, &(Field){.lo = lo, .hi = hi}) && ok;
    leave(d, was);
  }
  *count = n->item.n;
  return ok;
}

static bool read_mean(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeData *data = to;
  return read_numbers(d, n, data->mean, &data->n_mean, RECIPE_CHANNELS, f->lo, f->hi);
}

static bool read_std(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeData *data = to;
  return read_numbers(d, n, data->std, &data->n_std, RECIPE_CHANNELS, f->lo, f->hi);
}

static bool read_betas(Decoder *d, const Doc *n, void *to, const Field *f) {
  Optim *o = to;
  double b[2];
  int count = 0;
  if (!read_numbers(d, n, b, &count, 2, f->lo, f->hi)) return false;
  if (count != 2) return diag(d->ctx, E0703, at(d, n), "%s: must be two numbers", path(d));
  o->beta1 = b[0], o->beta2 = b[1];
  return true;
}

/* net, data */

/* A number, or a word (pre, false): which of them the network says. */
static bool read_net_option(Decoder *d, const Doc *n, NetOption *option) {
  double v;
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  if (!n->quoted && parse_f64(n->text, strlen(n->text), &v)) return number(d, n, n->text, strlen(n->text), -1e9, 1e9, &option->value);
  return read_text(d, n, &option->text, &(Field){0});
}

static bool read_net(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeNet *net = to;
  (void)f;
  static const Field known[] = {{"builtin", read_text, offsetof(RecipeNet, builtin), 0, 0, false}, {"onnx", read_text, offsetof(RecipeNet, onnx), 0, 0, false},
                                {"classes", read_i64, offsetof(RecipeNet, classes), 2, 256, false}};
  if (!is_shape(d, n, SHAPE_MAP)) return false;
  net->line = n->line;
  if (!doc_find(n, "builtin")) { /* an option of a builtin net may have any name, so only here is a key unknown */
    if (!read_map(d, n, net, known, 3)) return false;
    return net->onnx || diag(d->ctx, E0703, at(d, n), "%s: key 'builtin' or 'onnx' is missing", path(d));
  }
  bool ok = true;
  for (int i = 0; i < n->item.n; i++) {
    const DocItem *item = &n->item.p[i];
    const Field *k = known;
    NetOption option = {item->key, NULL, 0, item->line};
    while (k < known + 3 && strcmp(k->key, item->key)) k++;
    size_t was = enter(d, item->key, 0);
    if (k < known + 3) ok = k->read(d, item->v, (char *)net + k->at, k) && ok;
    else if (net->n_option == RECIPE_OPTIONS) ok = diag(d->ctx, E0703, at(d, item->v), "%s: more than %d options", path(d), RECIPE_OPTIONS);
    else {
      ok = read_net_option(d, item->v, &option) && ok;
      net->option[net->n_option++] = option;
    }
    leave(d, was);
  }
  if (net->onnx) ok = diag(d->ctx, E0703, at(d, n), "%s: builtin and onnx, but only one of them can be", path(d));
  return ok;
}

static bool ends_in(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

static bool read_files(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeFiles *files = to;
  bool ok = true;
  int bins = 0;
  files->line = n->line;
  if (n->shape == SHAPE_SCALAR) {
    ok = read_text(d, n, &files->name[files->n++], f);
    if (ok) bins = ends_in(files->name[0], ".bin");
  } else {
    if (!is_shape(d, n, SHAPE_LIST)) return false;
    if (n->item.n > RECIPE_FILES) return diag(d->ctx, E0703, at(d, n), "%s: more than %d files", path(d), RECIPE_FILES);
    for (int i = 0; i < n->item.n; i++) {
      size_t was = enter(d, NULL, i);
      if (read_text(d, n->item.p[i].v, &files->name[files->n++], f)) bins += ends_in(files->name[i], ".bin");
      else ok = false;
      leave(d, was);
    }
  }
  files->cifar = bins > 0 && bins == files->n;
  if (ok && !files->cifar && (files->n != 2 || bins))
    return diag(d->ctx, E0703, at(d, n), "%s: must be [images, labels] in IDX, or CIFAR batches whose names end in .bin", path(d));
  return ok;
}

static bool read_augment(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_map(d, n, to, FIELDS({"crop", read_int, offsetof(RecipeData, crop), 0, 64, false}, {"flip", read_bool, offsetof(RecipeData, flip), 0, 0, false}));
}

static bool read_data(Decoder *d, const Doc *n, void *to, const Field *f) {
  RecipeData *data = to;
  (void)f;
  if (!read_map(d, n, data, FIELDS({"train", read_files, offsetof(RecipeData, train), 0, 0, true}, {"test", read_files, offsetof(RecipeData, test), 0, 0, false},
                                   {"scale", read_f64, offsetof(RecipeData, scale), 1e-9, 1e9, false}, {"mean", read_mean, 0, -1e9, 1e9, false},
                                   {"std", read_std, 0, 1e-9, 1e9, false}, {"augment", read_augment, 0, 0, 0, false},
                                   {"samples", read_i64, offsetof(RecipeData, samples), 1, 1e9, false})))
    return false;
  if (data->n_mean > 1 && data->n_std > 1 && data->n_mean != data->n_std)
    return diag(d->ctx, E0703, at(d, n), "%s: %d numbers of mean, but %d of std", path(d), data->n_mean, data->n_std);
  return true;
}

/* quant */

static bool read_quantizer(Decoder *d, const Doc *n, void *to, const Field *f) {
  QuantSpec *s = to;
  const char *names[QUANTIZER_COUNT];
  int which;
  bool weight = !strcmp(f->key, "weight");
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  const char *slash = strchr(n->text, '/');
  char *name = arena_strndup(d->ctx->own, n->text, slash ? (size_t)(slash - n->text) : strlen(n->text));
  for (int q = 0; q < QUANTIZER_COUNT; q++) names[q] = quantizer_info[q].name;
  if (!one_of(d, n, name, names, QUANTIZER_COUNT, &which)) return false;
  const QuantizerInfo *info = &quantizer_info[which];
  int64_t bits = 0;
  s->q = (Quantizer)which;
  if (which == QUANT_NONE) return !slash || diag(d->ctx, E0703, at(d, n), "%s: none has no bits", path(d));
  if (weight ? !info->weight : !info->act) return diag(d->ctx, E0703, at(d, n), "%s: %s is not for %s", path(d), name, weight ? "weights" : "activations");
  if (!slash || !parse_i64(slash + 1, strlen(slash + 1), &bits))
    return diag(d->ctx, E0703, at(d, n), "%s: must be %s/BITS, not '%.100s'", path(d), name, n->text);
  if (bits < info->lo || bits > info->hi)
    return diag(d->ctx, E0703, at(d, n), "%s: %s has %d .. %d bits, not %" PRId64, path(d), name, info->lo, info->hi, bits);
  s->bits = (int)bits;
  return true;
}

static bool read_grain(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {[GRAIN_LAYER] = "layer", [GRAIN_KERNEL] = "kernel"};
  int which;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->text, names, 2, &which)) return false;
  *(Grain *)to = (Grain)which;
  return true;
}

/* The quantizer that a row names for `what`, or none: errors are told where the key is read. */
static const QuantizerInfo *named(const Doc *row, const char *what) {
  const Doc *n = doc_find(row, what);
  if (n && n->shape == SHAPE_SCALAR)
    for (int q = 1; q < QUANTIZER_COUNT; q++) {
      size_t len = strlen(quantizer_info[q].name);
      if (!strncmp(n->text, quantizer_info[q].name, len) && (!n->text[len] || n->text[len] == '/')) return &quantizer_info[q];
    }
  return &quantizer_info[QUANT_NONE];
}

/* "key=.." in a quantizer's options: what stands behind the =, or NULL. */
static const char *option_spec(const char *options, const char *key) {
  size_t n = strlen(key);
  for (const char *o = options; *o; o += strcspn(o, " "), o += *o == ' ')
    if (!strncmp(o, key, n) && o[n] == '=') return o + n + 1;
  return NULL;
}

static bool read_option(Decoder *d, const Doc *n, const char *key, const char *spec, QuantRow *row) {
  char *text = arena_strndup(d->ctx->own, spec, strcspn(spec, " ")), *dots = strstr(text, "..");
  QuantOption *o = &row->option[row->n_option];
  if (row->n_option == RECIPE_OPTIONS) return diag(d->ctx, E0703, at(d, n), "%s: more than %d options", path(d), RECIPE_OPTIONS);
  *o = (QuantOption){.key = key};
  if (dots) {
    if (!read_f64(d, n, &o->value, &(Field){.lo = strtod(text, NULL), .hi = strtod(dots + 2, NULL)})) return false;
  } else {
    const char *names[RECIPE_OPTIONS];
    int count = 0, which;
    for (char *p = text; p && count < RECIPE_OPTIONS; p = *p ? p : NULL) {
      size_t len = strcspn(p, "|");
      names[count++] = p;
      p += len;
      if (*p) *p++ = 0;
    }
    if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->text, names, count, &which)) return false;
    o->text = names[which], o->value = which;
  }
  row->n_option++;
  return true;
}

/* Keys that the row's quantizers have are options; the others are the table's, or unknown. */
static bool read_row(Decoder *d, const Doc *n, QuantRow *row) {
  static const Field fields[] = {{"match", read_text, offsetof(QuantRow, match), 0, 0, true}, {"weight", read_quantizer, offsetof(QuantRow, weight), 0, 0, false},
                                 {"act", read_quantizer, offsetof(QuantRow, act), 0, 0, false}, {"grain", read_grain, offsetof(QuantRow, grain), 0, 0, false}};
  if (!is_shape(d, n, SHAPE_MAP)) return false;
  const QuantizerInfo *of[2] = {named(n, "weight"), named(n, "act")};
  Doc rest = *n;
  bool ok = true;
  rest.item.n = 0;
  rest.item.p = NEWN(d->ctx->own, DocItem, n->item.n + 1);
  for (int i = 0; i < n->item.n; i++) {
    const DocItem *item = &n->item.p[i];
    const char *spec = option_spec(of[0]->options, item->key);
    if (!spec) spec = option_spec(of[1]->options, item->key);
    size_t was = enter(d, item->key, 0);
    if (spec) ok = read_option(d, item->v, item->key, spec, row) && ok;
    else rest.item.p[rest.item.n++] = *item;
    leave(d, was);
  }
  return read_map(d, &rest, row, fields, (int)(sizeof fields / sizeof *fields)) && ok;
}

static bool read_rows(Decoder *d, const Doc *n, QuantRows *to) {
  bool ok = true;
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  if (n->item.n > RECIPE_QUANT) return diag(d->ctx, E0703, at(d, n), "%s: more than %d rows", path(d), RECIPE_QUANT);
  to->row = NEWN(d->ctx->own, QuantRow, n->item.n + 1);
  for (int i = 0; i < n->item.n; i++) {
    QuantRow *row = &to->row[to->n++];
    size_t was = enter(d, NULL, i);
    row->line = n->item.p[i].v->line;
    ok = read_row(d, n->item.p[i].v, row) && ok;
    leave(d, was);
  }
  return ok;
}

static bool read_quant(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_rows(d, n, to);
}

/* phases */

/* NAME(number, ...): its numbers to v, at most LR_STEPS + 2. */
static bool arguments(Decoder *d, const Doc *n, const char *p, double *v, int *count) {
  for (*count = 0; *p && *p != ')'; (*count)++) {
    size_t space = strspn(p, " "), len = strcspn(p + space, ",) ");
    if (*count == LR_STEPS + 2) return diag(d->ctx, E0703, at(d, n), "%s: more than %d numbers", path(d), LR_STEPS + 2);
    if (!number(d, n, p + space, len, 0, 1e6, &v[*count])) return false;
    p += space + len;
    p += strspn(p, " ");
    if (*p == ',' && p[1 + strspn(p + 1, " ")] != ')') p++;
    else if (*p != ')') break;
  }
  if (*p == ')' && !p[1]) return true;
  diag(d->ctx, E0703, at(d, n), "%s: '%.100s' is not NAME(number, ...)", path(d), n->text);
  if (!strchr(n->text, ')')) diag_hint(d->ctx, "within { } a text that has a comma needs quotes");
  return false;
}

static bool read_lr(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {[LR_CONSTANT] = "constant", [LR_COSINE] = "cosine", [LR_STEP] = "step"};
  Schedule *s = to;
  double v[LR_STEPS + 2] = {0};
  int which, count;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR)) return false;
  size_t len = strcspn(n->text, "(");
  Doc plain = *n;
  plain.quoted = false; /* quotes are how a comma gets into { } */
  if (!one_of(d, n, arena_strndup(d->ctx->own, n->text, len), names, 3, &which)) return false;
  if (!n->text[len]) return diag(d->ctx, E0703, at(d, n), "%s: must be %s(...)", path(d), names[which]);
  if (!arguments(d, &plain, n->text + len + 1, v, &count)) return false;
  s->kind = (LrKind)which;
  s->base = v[0];
  if (s->kind == LR_CONSTANT && count != 1) return diag(d->ctx, E0703, at(d, n), "%s: must be constant(lr)", path(d));
  if (s->kind == LR_COSINE) {
    s->final = v[1];
    return (count == 1 || count == 2) || diag(d->ctx, E0703, at(d, n), "%s: must be cosine(lr) or cosine(lr, last lr)", path(d));
  }
  if (s->kind != LR_STEP) return true;
  s->factor = v[1];
  s->n_at = count - 2;
  if (count < 3) return diag(d->ctx, E0703, at(d, n), "%s: must be step(lr, factor, epoch, ...)", path(d));
  for (int i = 0; i < s->n_at; i++) {
    s->at[i] = v[i + 2];
    if (i && s->at[i] <= s->at[i - 1]) return diag(d->ctx, E0703, at(d, n), "%s: the epochs must ascend", path(d));
  }
  return true;
}

static bool read_shape(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {"linear", "constant"};
  int which;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->text, names, 2, &which)) return false;
  *(bool *)to = which;
  return true;
}

static bool read_warmup(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_map(d, n, to, FIELDS({"epochs", read_f64, offsetof(Schedule, warm_epochs), 0, 1e5, true}, {"lr", read_f64, offsetof(Schedule, warm_lr), 0, 1e6, false},
                                   {"shape", read_shape, offsetof(Schedule, warm_constant), 0, 0, false}));
}

static const char *const optimizers[] = {[OPTIM_SGD] = "sgd", [OPTIM_ADAM] = "adam", [OPTIM_AMSGRAD] = "amsgrad", [OPTIM_RADAM] = "radam"};

static bool read_optimizer(Decoder *d, const Doc *n, void *to, const Field *f) {
  int which;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->text, optimizers, 4, &which)) return false;
  *(OptimKind *)to = (OptimKind)which;
  return true;
}

/* What a table cannot say: keys of the other optimizer, and values that only together make sense. */
static bool check_phase(Decoder *d, const Doc *n, const Phase *p) {
  static const char *const of_sgd[] = {"momentum", "nesterov", NULL}, *const of_adam[] = {"betas", "epsilon", NULL};
  bool ok = true, adam = p->optim.kind != OPTIM_SGD;
  for (const char *const *k = adam ? of_sgd : of_adam; *k; k++)
    if (doc_find(n, *k)) ok = diag(d->ctx, E0703, at(d, doc_find(n, *k)), "%s.%s: not for optimizer %s", path(d), *k, optimizers[p->optim.kind]);
  if (p->optim.nesterov && p->optim.momentum == 0) ok = diag(d->ctx, E0703, at(d, n), "%s.nesterov: needs momentum", path(d));
  if (p->lr.warm_epochs > (double)p->epochs)
    ok = diag(d->ctx, E0703, at(d, n), "%s.warmup.epochs: %g, but the phase has %" PRId64, path(d), p->lr.warm_epochs, p->epochs);
  if (!p->quant && doc_find(n, "calibrate")) ok = diag(d->ctx, E0703, at(d, doc_find(n, "calibrate")), "%s.calibrate: only of a phase with quant: true", path(d));
  return ok;
}

/* true, false, or rows of its own. */
static bool read_phase_quant(Decoder *d, const Doc *n, void *to, const Field *f) {
  Phase *p = to;
  if (n->shape != SHAPE_LIST) return read_bool(d, n, &p->quant, f);
  p->quant = p->own_rows = true;
  return read_rows(d, n, &p->rows);
}

static bool read_phase(Decoder *d, const Doc *n, Phase *p) {
  if (!read_map(d, n, p, FIELDS(
        {"name", read_text, offsetof(Phase, name), 0, 0, false}, {"quant", read_phase_quant, 0, 0, 0, false},
        {"optimizer", read_optimizer, offsetof(Phase, optim.kind), 0, 0, false}, {"lr", read_lr, offsetof(Phase, lr), 0, 0, true},
        {"warmup", read_warmup, offsetof(Phase, lr), 0, 0, false}, {"momentum", read_f64, offsetof(Phase, optim.momentum), 0, 0.99999, false},
        {"nesterov", read_bool, offsetof(Phase, optim.nesterov), 0, 0, false}, {"betas", read_betas, offsetof(Phase, optim), 0, 0.999999, false},
        {"epsilon", read_f64, offsetof(Phase, optim.epsilon), 1e-30, 1, false}, {"weight_decay", read_f64, offsetof(Phase, optim.weight_decay), 0, 1, false},
        {"ema", read_f64, offsetof(Phase, optim.ema), 0, 0.999999, false},
        {"epochs", read_i64, offsetof(Phase, epochs), 0, 100000, true}, {"calibrate", read_i64, offsetof(Phase, calibrate), 1, 1000000, false})))
    return false;
  return check_phase(d, n, p);
}

/* A phase's name begins the names of its files: letters, digits, - and _, and dots within; no two phases have the same. */
static bool check_names(Decoder *d, const Doc *n, const Recipe *r) {
  bool ok = true, quant = false;
  for (int i = 0; i < r->n_phase; i++) {
    const Phase *p = &r->phase[i];
    bool same = false, letters = *p->name && *p->name != '.' && strlen(p->name) <= 64;
    for (const char *c = p->name; *c; c++) letters = letters && (strchr("-_.", *c) || (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z'));
    for (int k = 0; k < i; k++) same = same || !strcmp(r->phase[k].name, p->name);
    const Doc *at_phase = n->item.p[i].v;
    if (!letters) ok = diag(d->ctx, E0703, at(d, at_phase), "%s.%d.name: '%.100s' is to begin file names: letters, digits, -, _ and dots within, at most 64", path(d), i, p->name);
    if (same) ok = diag(d->ctx, E0703, at(d, at_phase), "%s.%d.name: a phase before it is called '%.64s', too", path(d), i, p->name);
    if (quant && !p->quant) ok = diag(d->ctx, E0703, at(d, at_phase), "%s.%d: a phase that is not quantized after one that is", path(d), i);
    quant = quant || p->quant;
  }
  return ok;
}

static bool read_phases(Decoder *d, const Doc *n, void *to, const Field *f) {
  Recipe *r = to;
  bool ok = true;
  (void)f;
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  if (n->item.n < 1 || n->item.n > RECIPE_PHASES) return diag(d->ctx, E0703, at(d, n), "%s: %d phases, not 1 .. %d", path(d), n->item.n, RECIPE_PHASES);
  for (int i = 0; i < n->item.n; i++) {
    const Doc *v = n->item.p[i].v;
    size_t was = enter(d, NULL, i);
    Phase *p = &r->phase[r->n_phase++];
    *p = (Phase){.optim = {.momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}, .calibrate = 20, .line = v->line};
    ok = read_phase(d, v, p) && ok;
    if (!p->name) p->name = arena_printf(d->ctx->own, "phase%d", i + 1);
    leave(d, was);
  }
  return check_names(d, n, r) && ok;
}

bool recipe_decode(Recipe *r) {
  Decoder d = {.ctx = r->ctx, .r = r, .path = {.ctx = r->ctx}};
  r->data.scale = 1;
  r->batch = 128;
  r->shards = 8;
  r->seed = 1;
  bool ok = read_map(&d, r->root, r, FIELDS(
    {"popshift", read_version, 0, 0, 0, true}, {"net", read_net, offsetof(Recipe, net), 0, 0, true}, {"data", read_data, offsetof(Recipe, data), 0, 0, true},
    {"batch", read_i64, offsetof(Recipe, batch), 1, 65536, false}, {"shards", read_i64, offsetof(Recipe, shards), 1, 256, false},
    {"seed", read_seed, offsetof(Recipe, seed), 0, 0x1p53, false}, {"init", read_text, offsetof(Recipe, init), 0, 0, false}, {"quant", read_quant, offsetof(Recipe, quant), 0, 0, false}, {"phases", read_phases, 0, 0, 0, true}));
  if (ok && r->batch % r->shards)
    ok = diag(d.ctx, E0703, at(&d, r->root), "shards: %" PRId64 " do not divide the batch of %" PRId64, r->shards, r->batch);
  for (int i = 0; i < r->n_phase; i++) if (!r->phase[i].own_rows) r->phase[i].rows = r->quant;
  for (int i = 0; i < r->n_phase && ok; i++)
    if (r->phase[i].quant && !r->phase[i].rows.n) {
      d.loc = (Loc){r->file, r->phase[i].line, -1, NULL, NULL};
      ok = diag(d.ctx, E0703, &d.loc, "phases.%d.quant: there are no rows under 'quant'", i);
    }
  str_free(&d.path);
  return ok;
}
