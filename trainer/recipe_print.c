/* Recipes as canonical text, and the questions that the trainer asks of one. */
#include "trainer/recipe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One code point of valid UTF-8 (the YAML reader let nothing else in). */
static uint32_t code_point(const unsigned char **p) {
  uint32_t c = *(*p)++;
  if (c < 0x80) return c;
  int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
  for (c &= 0x3fu >> more; more && **p; more--) c = c << 6 | (*(*p)++ & 0x3fu);
  return c;
}

static bool is_plain(const char *text) {
  size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-|");
  return n && !text[n] && !strchr("-|+", *text) && strncmp(text, "...", 3);
}

static void put_text(Str *s, const char *text) {
  double v;
  if (is_plain(text) && !parse_f64(text, strlen(text), &v)) {
    str_put(s, text);
    return;
  }
  str_put(s, "\"");
  for (const unsigned char *p = (const unsigned char *)text; *p;) {
    uint32_t c = code_point(&p);
    if (c == '"' || c == '\\') str_printf(s, "\\%c", (int)c);
    else if (c >= 32 && c < 127) str_printf(s, "%c", (int)c);
    else str_printf(s, c > 0xffff ? "\\U%08X" : "\\u%04X", (unsigned)c);
  }
  str_put(s, "\"");
}

static void put_field(Str *s, const char *key, const char *text) {
  str_put(s, key);
  put_text(s, text);
}

/* A file's name, as it is from anywhere: in the recipe's folder where there is one. */
static void put_path(Str *s, const char *key, const Recipe *r, const char *name) {
  char *dir = *name == '/' ? NULL : realpath(r->dir, NULL);
  put_field(s, key, dir ? arena_printf(r->ctx->own, "%s/%s", dir, name) : name);
  free(dir);
}

static void put_number(Str *s, const char *key, double v) {
  str_put(s, key);
  str_f64(s, v);
}

static void put_numbers(Str *s, const char *key, const double *v, int n) {
  if (!n) return;
  for (int i = 0; i < n; i++) put_number(s, i ? ", " : key, v[i]);
  str_put(s, "]\n");
}

static void put_files(Str *s, const char *key, const RecipeFiles *f) {
  if (!f->n) return;
  if (f->kind == FILES_PAIR && f->name[0] == f->name[1]) { /* one .npz */
    put_field(s, key, f->name[0]);
    str_put(s, "]\n");
    return;
  }
  for (int i = 0; i < f->n; i++) put_field(s, i ? ", " : key, f->name[i]);
  str_put(s, "]\n");
}

/* How the files are to be read, where it is not the default. */
static void put_format(Str *s, const RecipeData *d) {
  if (d->label) str_printf(s, "  label: %s\n", d->label == CIFAR_COARSE ? "coarse" : "fine");
  if (d->train.kind == FILES_CSV || (d->test.n && d->test.kind == FILES_CSV)) str_printf(s, "  label_column: %d\n", d->label_column);
  if (d->nhwc) str_put(s, "  layout: nhwc\n");
  if (d->shape[0]) str_printf(s, "  shape: [%d, %d, %d]\n", d->shape[0], d->shape[1], d->shape[2]);
  if (d->size[0]) str_printf(s, "  size: [%d, %d]\n", d->size[0], d->size[1]);
  if (d->channels) str_printf(s, "  channels: %d\n", d->channels);
  for (int i = 0; i < d->n_classes; i++) put_field(s, i ? ", " : "  classes: [", d->classes[i]);
  if (d->n_classes) str_put(s, "]\n");
  if (d->class_file) put_field(s, "  classes: ", d->class_file), str_put(s, "\n");
}

static void put_quantizer(Str *s, const char *key, QuantSpec q) {
  str_printf(s, ", %s: %s", key, quantizer_info[q.q].name);
  if (q.q) str_printf(s, "/%d", q.bits);
}

static void put_rows(Str *s, const char *indent, const QuantRows *rows) {
  for (int i = 0; i < rows->n; i++) {
    const QuantRow *row = &rows->row[i];
    str_put(s, indent);
    put_field(s, "- {match: ", row->match);
    put_quantizer(s, "weight", row->weight);
    put_quantizer(s, "act", row->act);
    str_printf(s, ", grain: %s", row->grain == GRAIN_KERNEL ? "kernel" : "layer");
    for (int k = 0; k < row->n_option; k++) {
      const QuantOption *o = &row->option[k];
      str_printf(s, ", %s: ", o->key);
      if (o->text) put_text(s, o->text);
      else str_f64(s, o->value);
    }
    str_put(s, "}\n");
  }
}

static void put_lr(Str *s, const Schedule *l) {
  static const char *const names[] = {[LR_CONSTANT] = "constant(", [LR_COSINE] = "cosine(", [LR_STEP] = "step("};
  str_put(s, "    lr: ");
  put_number(s, names[l->kind], l->base);
  if (l->kind == LR_COSINE && l->final != 0) put_number(s, ", ", l->final);
  if (l->kind == LR_STEP) put_number(s, ", ", l->factor);
  for (int i = 0; l->kind == LR_STEP && i < l->n_at; i++) put_number(s, ", ", l->at[i]);
  str_put(s, ")\n");
  if (l->warm_epochs == 0) return;
  put_number(s, "    warmup: {epochs: ", l->warm_epochs);
  put_number(s, ", lr: ", l->warm_lr);
  str_printf(s, ", shape: %s}\n", l->warm_constant ? "constant" : "linear");
}

static void put_phase(Str *s, const Phase *p) {
  const Optim *o = &p->optim;
  bool adam = o->kind != OPTIM_SGD;
  put_field(s, "  - name: ", p->name);
  str_printf(s, p->own_rows ? "\n    quant:\n" : "\n    quant: %s\n", p->quant ? "true" : "false");
  if (p->own_rows) put_rows(s, "      ", &p->rows);
  if (!p->keep) str_put(s, "    keep: false\n");
  if (p->quant && rows_have(&p->rows, QUANT_ALQ)) {
    str_printf(s, "    alq: %s\n", alq_mode_names[p->alq.mode]);
    if (p->alq.mode == ALQ_PRUNE) put_number(s, "    prune: ", p->alq.prune), put_number(s, "\n    top_k: ", p->alq.top_k), str_put(s, "\n");
  }
  str_printf(s, "    optimizer: %s\n", optim_names[o->kind]);
  put_lr(s, &p->lr);
  if (adam) {
    put_numbers(s, "    betas: [", (const double[]){o->beta1, o->beta2}, 2);
    put_number(s, "    epsilon: ", o->epsilon);
  } else {
    put_number(s, "    momentum: ", o->momentum);
    str_printf(s, "\n    nesterov: %s", o->nesterov ? "true" : "false");
  }
  put_number(s, "\n    weight_decay: ", o->weight_decay);
  if (o->ema > 0) put_number(s, "\n    ema: ", o->ema);
  str_printf(s, "\n    epochs: %" PRId64 "\n", p->epochs);
  if (p->quant) str_printf(s, "    calibrate: %" PRId64 "\n", p->calibrate);
  if (p->statistics) str_printf(s, "    statistics: %" PRId64 "\n", p->statistics);
  if (p->ssp.start == 0) return;
  put_number(s, "    ssp: {start: ", p->ssp.start);
  put_number(s, ", until: ", p->ssp.until);
  str_printf(s, ", fragment: %s}\n", p->ssp.layers ? "layer" : "block");
}

/* Only what is on. */
static void put_extras(Str *s, const Recipe *r) {
  static const char *const at[] = {[TAP_BLOCK] = "block", [TAP_LAYER] = "layer", [TAP_DOWN] = "down"};
  if (r->label_smoothing != 0) put_number(s, "label_smoothing: ", r->label_smoothing), str_put(s, "\n");
  if (r->auxiliary.mode) {
    put_number(s, r->auxiliary.mode == AUX_ONE_PASS ? "auxiliary: {mode: one-pass, weight: " : "auxiliary: {mode: two-pass, weight: ", r->auxiliary.weight);
    str_printf(s, ", at: %s}\n", at[r->auxiliary.at]);
  }
  if (r->supervision.weight != 0) {
    put_number(s, "supervision: {weight: ", r->supervision.weight);
    str_printf(s, ", at: %s}\n", at[r->supervision.at]);
  }
  if (!r->distill.teacher) return;
  put_path(s, "distill: {teacher: ", r, r->distill.teacher);
  put_number(s, ", temperature: ", r->distill.temperature);
  put_number(s, ", weight: ", r->distill.weight);
  str_put(s, "}\n");
}

void recipe_print(Str *s, const Recipe *r) {
  if (r->net.builtin) put_field(s, "popshift: recipe/1\nnet: {builtin: ", r->net.builtin);
  else put_path(s, "popshift: recipe/1\nnet: {onnx: ", r, r->net.onnx);
  if (r->net.classes) str_printf(s, ", classes: %" PRId64, r->net.classes);
  for (int i = 0; i < r->net.n_option; i++) {
    put_field(s, ", ", r->net.option[i].key);
    if (r->net.option[i].text) put_field(s, ": ", r->net.option[i].text);
    else put_number(s, ": ", r->net.option[i].value);
  }
  str_put(s, "}\ndata:\n");
  put_files(s, "  train: [", &r->data.train);
  put_files(s, "  test: [", &r->data.test);
  put_number(s, "  scale: ", r->data.scale);
  str_put(s, "\n");
  put_numbers(s, "  mean: [", r->data.mean, r->data.n_mean);
  put_numbers(s, "  std: [", r->data.std, r->data.n_std);
  put_format(s, &r->data);
  str_printf(s, "  augment: {crop: %d, flip: %s", r->data.crop, r->data.flip ? "true" : "false");
  if (r->data.cutout) str_printf(s, ", cutout: %d", r->data.cutout);
  str_put(s, "}\n");
  if (r->data.samples) str_printf(s, "  samples: %" PRId64 "\n", r->data.samples);
  if (r->data.validation > 0) put_number(s, "  validation: ", r->data.validation), str_put(s, "\n");
  str_printf(s, "batch: %" PRId64 "\nshards: %" PRId64 "\nseed: %" PRIu64 "\nsign_epochs: %" PRId64 "\n", r->batch, r->shards, r->seed, r->sign_epochs);
  if (r->init) put_path(s, "init: ", r, r->init), str_put(s, "\n");
  put_extras(s, r);
  if (r->quant.n) str_put(s, "quant:\n");
  put_rows(s, "  ", &r->quant);
  str_put(s, "phases:\n");
  for (int i = 0; i < r->n_phase; i++) put_phase(s, &r->phase[i]);
}

bool recipe_same(const Recipe *r, const char *text) {
  Str now = {.ctx = r->ctx}, then = {.ctx = r->ctx};
  DiagMark mark = diag_mark(r->ctx);
  recipe_print(&now, r);
  const Recipe *old = strcmp(now.p, text) ? recipe_parse(r->ctx, r->file, text, strlen(text)) : r;
  diag_drop(r->ctx, mark);
  if (old) recipe_print(&then, old);
  bool same = old && !strcmp(now.p, then.p);
  str_free(&now), str_free(&then);
  return same;
}

/* Glob of n bytes: * any text, ? any byte. Going back to the last star suffices. */
static bool glob(const char *p, size_t n, const char *text) {
  const char *end = p + n, *star = NULL, *again = NULL;
  while (*text) {
    if (p < end && *p == '*') star = ++p, again = text;
    else if (p < end && (*p == '?' || *p == *text)) p++, text++;
    else if (star) p = star, text = ++again;
    else return false;
  }
  while (p < end && *p == '*') p++;
  return p == end;
}

static bool matches(const char *match, const char *layer, bool first, bool last) {
  for (const char *p = match;; p++) {
    size_t n = strcspn(p, "|");
    bool is_first = n == 5 && !memcmp(p, "first", 5), is_last = n == 4 && !memcmp(p, "last", 4);
    if (is_first || is_last ? (is_first && first) || (is_last && last) : glob(p, n, layer ? layer : "")) return true;
    p += n;
    if (!*p) return false;
  }
}

const QuantRow *recipe_quant(const QuantRows *rows, const char *layer, bool first, bool last) {
  for (int i = 0; i < rows->n; i++) if (matches(rows->row[i].match, layer, first, last)) return &rows->row[i];
  return NULL;
}

bool rows_have(const QuantRows *rows, Quantizer weight) {
  for (int i = 0; i < rows->n; i++) if (rows->row[i].weight.q == weight) return true;
  return false;
}

double row_option(const QuantRow *row, const char *key, double otherwise) {
  for (int i = 0; i < row->n_option; i++) if (!strcmp(row->option[i].key, key)) return row->option[i].value;
  return otherwise;
}

const char *recipe_path(const Recipe *r, const char *data_dir, const char *name) {
  if (*name == '/') return name;
  const char *dir = data_dir ? data_dir : r->dir;
  size_t n = strlen(dir);
  return arena_printf(r->ctx->own, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

const NetOption *recipe_net_option(const Recipe *r, const char *key) {
  for (int i = 0; i < r->net.n_option; i++) if (!strcmp(r->net.option[i].key, key)) return &r->net.option[i];
  return NULL;
}
