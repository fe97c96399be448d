/* The schema: one table per map, one reader per kind of value. Reading goes on after an error, so that all are told at once. */
#include "trainer/recipe_read.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const QuantizerInfo quantizer_info[QUANTIZER_COUNT] = {
  [QUANT_NONE] = {"none", 0, 0, true, true, "", "stays float"},
#define Q(NAME, name, lo, hi, w, a, options, what) [QUANT_##NAME] = {#name, lo, hi, w, a, options, what},
#include "trainer/quantizers.def"
#undef Q
};

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
  const Doc *name = doc_find(n, doc_find(n, "builtin") ? "builtin" : "onnx");
  net->where = name ? name->file : n->file, net->line = name ? name->line : n->line;
  if (!doc_find(n, "builtin")) { /* an option of a builtin net may have any name, so only here is a key unknown */
    if (!read_map(d, n, net, known, 3)) return false;
    return net->onnx || diag(d->ctx, E0703, at(d, n), "%s: key 'builtin' or 'onnx' is missing", path(d));
  }
  bool ok = true;
  for (int i = 0; i < n->item.n; i++) {
    const DocItem *item = &n->item.p[i];
    const Field *k = known;
    NetOption option = {item->key, NULL, 0, item->v->file, item->line};
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

static bool read_row_option(Decoder *d, const Doc *n, const char *key, const char *spec, QuantRow *row) {
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

/* A key that is neither the table's nor an option of the row's quantizers. */
static bool unknown_row_key(Decoder *d, const DocItem *item, const QuantizerInfo *const of[2], const Field *fields, int n) {
  const char *names[4 + 2 * RECIPE_OPTIONS];
  Str whose = {.ctx = d->ctx};
  for (int i = 0; i < n; i++) names[i] = fields[i].key;
  for (int k = 0; k < 2; k++)
    for (const char *o = of[k]->options; *o && n < 4 + 2 * RECIPE_OPTIONS; o += strcspn(o, " "), o += *o == ' ') names[n++] = arena_strndup(d->ctx->own, o, strcspn(o, "="));
  for (int q = 1; q < QUANTIZER_COUNT; q++) if (option_spec(quantizer_info[q].options, item->key)) str_printf(&whose, "%s%s", whose.n ? ", " : "", quantizer_info[q].name);
  at(d, item->v);
  d->loc.line = item->line;
  if (whose.n) diag(d->ctx, E0703, &d->loc, "%s: an option of %s, not of this row's quantizers", path(d), whose.p);
  else diag(d->ctx, E0703, &d->loc, "%s: unknown key", path(d));
  str_free(&whose);
  return suggest(d, item->key, names, n);
}

/* Keys that the row's quantizers have are options; the others are the table's, or unknown. */
static bool read_row(Decoder *d, const Doc *n, QuantRow *row) {
  static const Field fields[] = {{"match", read_text, offsetof(QuantRow, match), 0, 0, true}, {"weight", read_quantizer, offsetof(QuantRow, weight), 0, 0, false},
                                 {"act", read_quantizer, offsetof(QuantRow, act), 0, 0, false}, {"grain", read_grain, offsetof(QuantRow, grain), 0, 0, false}};
  enum { FIELDS_OF_ROW = sizeof fields / sizeof *fields };
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
    const Field *f = fields;
    while (f < fields + FIELDS_OF_ROW && strcmp(f->key, item->key)) f++;
    size_t was = enter(d, item->key, 0);
    if (spec) ok = read_row_option(d, item->v, item->key, spec, row) && ok;
    else if (f == fields + FIELDS_OF_ROW) ok = unknown_row_key(d, item, of, fields, FIELDS_OF_ROW);
    else rest.item.p[rest.item.n++] = *item;
    leave(d, was);
  }
  return read_map(d, &rest, row, fields, FIELDS_OF_ROW) && ok;
}

static bool read_rows(Decoder *d, const Doc *n, QuantRows *to) {
  bool ok = true;
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  if (n->item.n > RECIPE_QUANT) return diag(d->ctx, E0703, at(d, n), "%s: more than %d rows", path(d), RECIPE_QUANT);
  to->row = NEWN(d->ctx->own, QuantRow, n->item.n + 1);
  for (int i = 0; i < n->item.n; i++) {
    QuantRow *row = &to->row[to->n++];
    size_t was = enter(d, NULL, i);
    row->file = n->item.p[i].v->file, row->line = n->item.p[i].v->line;
    ok = read_row(d, n->item.p[i].v, row) && ok;
    leave(d, was);
  }
  return ok;
}

static bool read_quant(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_rows(d, n, to);
}

/* extras */

static bool choice(Decoder *d, const Doc *n, const char *const *names, int count, int *which) {
  return is_shape(d, n, SHAPE_SCALAR) && one_of(d, n, n->text, names, count, which);
}

static bool read_tap(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {[TAP_BLOCK] = "block", [TAP_LAYER] = "layer", [TAP_DOWN] = "down"};
  int which = 0;
  if (!choice(d, n, names, (int)f->hi, &which)) return false;
  *(TapAt *)to = (TapAt)which;
  return true;
}

static bool read_aux_mode(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {[AUX_NONE] = "none", [AUX_ONE_PASS] = "one-pass", [AUX_TWO_PASS] = "two-pass"};
  int which = 0;
  (void)f;
  if (!choice(d, n, names, 3, &which)) return false;
  *(AuxMode *)to = (AuxMode)which;
  return true;
}

static bool read_auxiliary(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_map(d, n, to, FIELDS({"mode", read_aux_mode, offsetof(Auxiliary, mode), 0, 0, true}, {"weight", read_f64, offsetof(Auxiliary, weight), 0, 1e3, false},
                                   {"at", read_tap, offsetof(Auxiliary, at), 0, 2, false}));
}

static bool read_supervision(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_map(d, n, to, FIELDS({"weight", read_f64, offsetof(Supervision, weight), 0, 1e3, true}, {"at", read_tap, offsetof(Supervision, at), 0, 3, false}));
}

static bool read_distill(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  return read_map(d, n, to, FIELDS({"teacher", read_text, offsetof(Distill, teacher), 0, 0, true}, {"temperature", read_f64, offsetof(Distill, temperature), 1e-3, 1e3, false},
                                   {"weight", read_f64, offsetof(Distill, weight), 0, 1e3, false}));
}

static bool read_fragment(Decoder *d, const Doc *n, void *to, const Field *f) {
  static const char *const names[] = {"block", "layer"};
  int which = 0;
  (void)f;
  if (!choice(d, n, names, 2, &which)) return false;
  *(bool *)to = which;
  return true;
}

static bool read_ssp(Decoder *d, const Doc *n, void *to, const Field *f) {
  Ssp *s = to;
  (void)f;
  s->start = 0.5;
  return read_map(d, n, s, FIELDS({"start", read_f64, offsetof(Ssp, start), 0, 1, false}, {"until", read_f64, offsetof(Ssp, until), 1e-9, 1, false},
                                  {"fragment", read_fragment, offsetof(Ssp, layers), 0, 0, false}));
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
  if (!one_of(d, n, arena_strndup(d->ctx->own, n->text, len), names, 3, &which)) {
    if (parse_f64(n->text, strlen(n->text), v)) diag_hint(d->ctx, "did you mean 'constant(%s)'?", n->text);
    return false;
  }
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

static bool read_optimizer(Decoder *d, const Doc *n, void *to, const Field *f) {
  int which;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->text, optim_names, OPTIM_KINDS, &which)) return false;
  *(OptimKind *)to = (OptimKind)which;
  return true;
}

static bool read_alq(Decoder *d, const Doc *n, void *to, const Field *f) {
  int which;
  (void)f;
  if (!is_shape(d, n, SHAPE_SCALAR) || !one_of(d, n, n->text, alq_mode_names, ALQ_MODES, &which)) return false;
  *(AlqMode *)to = (AlqMode)which;
  return true;
}

/* What a table cannot say: keys of the other optimizer, and values that only together make sense. */
static bool check_phase(Decoder *d, const Doc *n, const Phase *p) {
  static const char *const of_sgd[] = {"momentum", "nesterov", NULL}, *const of_adam[] = {"betas", "epsilon", NULL}, *const of_prune[] = {"prune", "top_k", NULL};
  bool ok = true, adam = p->optim.kind != OPTIM_SGD;
  for (const char *const *k = adam ? of_sgd : of_adam; *k; k++)
    if (doc_find(n, *k)) ok = diag(d->ctx, E0703, at(d, doc_find(n, *k)), "%s.%s: not for optimizer %s", path(d), *k, optim_names[p->optim.kind]);
  for (const char *const *k = of_prune; *k && p->alq.mode != ALQ_PRUNE; k++)
    if (doc_find(n, *k)) ok = diag(d->ctx, E0703, at(d, doc_find(n, *k)), "%s.%s: only of a phase with alq: prune", path(d), *k);
  if (!p->quant && doc_find(n, "alq")) ok = diag(d->ctx, E0703, at(d, doc_find(n, "alq")), "%s.alq: only of a phase with quant: true", path(d));
  if (p->optim.nesterov && p->optim.momentum == 0) ok = diag(d->ctx, E0703, at(d, n), "%s.nesterov: needs momentum", path(d));
  if (p->lr.warm_epochs > (double)p->epochs)
    ok = diag(d->ctx, E0703, at(d, n), "%s.warmup.epochs: %g, but the phase has %" PRId64, path(d), p->lr.warm_epochs, p->epochs);
  if (!p->quant && doc_find(n, "calibrate")) ok = diag(d->ctx, E0703, at(d, doc_find(n, "calibrate")), "%s.calibrate: only of a phase with quant: true", path(d));
  if (p->statistics && p->alq.mode == ALQ_PRUNE) ok = diag(d->ctx, E0703, at(d, doc_find(n, "statistics")), "%s.statistics: not of a phase with alq: prune, where they stay", path(d));
  if (!p->quant && doc_find(n, "ssp")) ok = diag(d->ctx, E0703, at(d, doc_find(n, "ssp")), "%s.ssp: only of a quantized phase", path(d));
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
        {"name", read_text, offsetof(Phase, name), 0, 0, false}, {"keep", read_bool, offsetof(Phase, keep), 0, 0, false},
        {"alq", read_alq, offsetof(Phase, alq.mode), 0, 0, false}, {"prune", read_f64, offsetof(Phase, alq.prune), 0, 0.99, false},
        {"top_k", read_f64, offsetof(Phase, alq.top_k), 1e-6, 1, false}, {"quant", read_phase_quant, 0, 0, 0, false},
        {"optimizer", read_optimizer, offsetof(Phase, optim.kind), 0, 0, false}, {"lr", read_lr, offsetof(Phase, lr), 0, 0, true},
        {"warmup", read_warmup, offsetof(Phase, lr), 0, 0, false}, {"momentum", read_f64, offsetof(Phase, optim.momentum), 0, 0.99999, false},
        {"nesterov", read_bool, offsetof(Phase, optim.nesterov), 0, 0, false}, {"betas", read_betas, offsetof(Phase, optim), 0, 0.999999, false},
        {"epsilon", read_f64, offsetof(Phase, optim.epsilon), 1e-30, 1, false}, {"weight_decay", read_f64, offsetof(Phase, optim.weight_decay), 0, 1, false},
        {"ema", read_f64, offsetof(Phase, optim.ema), 0, 0.999999, false},
        {"epochs", read_i64, offsetof(Phase, epochs), 0, 100000, true}, {"calibrate", read_i64, offsetof(Phase, calibrate), 1, 1000000, false},
        {"statistics", read_i64, offsetof(Phase, statistics), 0, 1000000, false},
        {"ssp", read_ssp, offsetof(Phase, ssp), 0, 0, false})))
    return false;
  return check_phase(d, n, p);
}

/* A phase's name begins the names of its files: letters, digits, - and _, and dots within; no two phases have the same. */
static bool check_names(Decoder *d, const Doc *const *of, const Recipe *r) {
  bool ok = true, quant = false;
  for (int i = 0; i < r->n_phase; i++) {
    const Phase *p = &r->phase[i];
    bool same = false, letters = *p->name && *p->name != '.' && strlen(p->name) <= 64;
    for (const char *c = p->name; *c; c++) letters = letters && (strchr("-_.", *c) || (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z'));
    for (int k = 0; k < i; k++) same = same || !strcmp(r->phase[k].name, p->name);
    if (!letters) ok = diag(d->ctx, E0703, at(d, of[i]), "%s.%d.name: '%.100s' is to begin file names: letters, digits, -, _ and dots within, at most 64", path(d), i, p->name);
    if (same) ok = diag(d->ctx, E0703, at(d, of[i]), "%s.%d.name: a phase before it is called '%.64s', too", path(d), i, p->name);
    if (quant && !p->quant) ok = diag(d->ctx, E0703, at(d, of[i]), "%s.%d: a phase that is not quantized after one that is", path(d), i);
    quant = quant || p->quant;
  }
  return ok;
}

/* One phase more; round: of a repetition, from 1, else 0. */
static bool add_phase(Decoder *d, const Doc *v, int round, const Doc **of) {
  Recipe *r = d->r;
  if (r->n_phase == RECIPE_PHASES) return diag(d->ctx, E0703, at(d, v), "%s: more than %d phases", path(d), RECIPE_PHASES);
  Phase *p = &r->phase[r->n_phase];
  *p = (Phase){.optim = {.momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8}, .ssp = {.until = 20.0 / 35}, .calibrate = 20, .keep = true, .alq = {ALQ_BASIS, 0.3, 0.01}, .line = v->line};
  of[r->n_phase++] = v;
  bool ok = read_phase(d, v, p);
  if (!p->name) p->name = arena_printf(d->ctx->own, "phase%d", r->n_phase);
  else if (round) p->name = arena_printf(d->ctx->own, "%s-%d", p->name, round);
  return ok;
}

/* {repeat: N, phases: [..]}: its phases N times, -1, -2 .. behind their names. */
typedef struct Repeat { int times; const Doc *phases; } Repeat;

static bool read_repeated(Decoder *d, const Doc *n, void *to, const Field *f) {
  (void)f;
  *(const Doc **)to = n;
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  return n->item.n >= 1 || diag(d->ctx, E0703, at(d, n), "%s: no phases", path(d));
}

static bool add_repeated(Decoder *d, const Doc *v, const Doc **of) {
  Repeat repeat = {0};
  if (!read_map(d, v, &repeat, FIELDS({"repeat", read_int, offsetof(Repeat, times), 1, RECIPE_PHASES, true}, {"phases", read_repeated, offsetof(Repeat, phases), 0, 0, true})))
    return false;
  bool ok = true;
  for (int round = 1; ok && round <= repeat.times; round++)
    for (int i = 0; i < repeat.phases->item.n; i++) {
      size_t was = enter(d, "phases", 0), inner = enter(d, NULL, i);
      ok = add_phase(d, repeat.phases->item.p[i].v, round, of) && ok;
      leave(d, inner), leave(d, was);
    }
  return ok;
}

static bool read_phases(Decoder *d, const Doc *n, void *to, const Field *f) {
  const Doc *of[RECIPE_PHASES];
  bool ok = true;
  (void)to, (void)f;
  if (!is_shape(d, n, SHAPE_LIST)) return false;
  if (n->item.n < 1 || n->item.n > RECIPE_PHASES) return diag(d->ctx, E0703, at(d, n), "%s: %d phases, not 1 .. %d", path(d), n->item.n, RECIPE_PHASES);
  for (int i = 0; i < n->item.n; i++) {
    const Doc *v = n->item.p[i].v;
    size_t was = enter(d, NULL, i);
    ok = (doc_find(v, "repeat") || doc_find(v, "phases") ? add_repeated(d, v, of) : add_phase(d, v, 0, of)) && ok;
    leave(d, was);
  }
  return check_names(d, of, d->r) && ok;
}

static bool rows_have_alq(const QuantRows *rows) {
  bool act = false;
  for (int i = 0; i < rows->n; i++) act = act || rows->row[i].act.q == QUANT_ALQ;
  return act || rows_have(rows, QUANT_ALQ);
}

bool recipe_decode(Recipe *r) {
  Decoder d = {.ctx = r->ctx, .r = r, .path = {.ctx = r->ctx}};
  r->data.scale = 1;
  r->data.label_column = 1;
  r->batch = 128;
  r->shards = 8;
  r->seed = 1;
  r->sign_epochs = 10;
  r->auxiliary.weight = 1;
  r->supervision.at = TAP_DOWN;
  r->distill.temperature = r->distill.weight = 1;
  bool ok = read_map(&d, r->root, r, FIELDS(
    {"popshift", read_version, 0, 0, 0, true}, {"net", read_net, offsetof(Recipe, net), 0, 0, true}, {"data", recipe_read_data, offsetof(Recipe, data), 0, 0, true},
    {"batch", read_i64, offsetof(Recipe, batch), 1, 65536, false}, {"shards", read_i64, offsetof(Recipe, shards), 1, 256, false},
    {"seed", read_seed, offsetof(Recipe, seed), 0, 0x1p53, false}, {"init", read_text, offsetof(Recipe, init), 0, 0, false},
    {"label_smoothing", read_f64, offsetof(Recipe, label_smoothing), 0, 1, false}, {"auxiliary", read_auxiliary, offsetof(Recipe, auxiliary), 0, 0, false},
    {"supervision", read_supervision, offsetof(Recipe, supervision), 0, 0, false}, {"distill", read_distill, offsetof(Recipe, distill), 0, 0, false},
    {"sign_epochs", read_i64, offsetof(Recipe, sign_epochs), 1, 100000, false}, {"quant", read_quant, offsetof(Recipe, quant), 0, 0, false}, {"phases", read_phases, 0, 0, 0, true}));
  if (ok && r->batch % r->shards)
    ok = diag(d.ctx, E0703, at(&d, r->root), "shards: %" PRId64 " do not divide the batch of %" PRId64, r->shards, r->batch);
  for (int i = 0; i < r->n_phase; i++) { /* a quantized phase goes on with the quantizers of the one before */
    bool goes_on = i && r->phase[i].quant && r->phase[i - 1].quant;
    if (!r->phase[i].own_rows) r->phase[i].rows = goes_on ? r->phase[i - 1].rows : r->quant;
  }
  for (int i = 0; i < r->n_phase && ok; i++)
    if (r->phase[i].quant && !r->phase[i].rows.n) {
      d.loc = (Loc){r->file, r->phase[i].line, -1, NULL, NULL};
      ok = diag(d.ctx, E0703, &d.loc, "phases.%d.quant: there are no rows under 'quant'", i);
    }
  for (int i = 0; i < r->n_phase && ok; i++)
    if (r->phase[i].ssp.start > 0 && rows_have_alq(&r->phase[i].rows)) {
      d.loc = (Loc){r->file, r->phase[i].line, -1, NULL, NULL};
      ok = diag(d.ctx, E0703, &d.loc, "phases.%d.ssp: not with quantizers of alq, whose weights and inputs have no unrounded fragments", i);
    }
  for (int i = 0; i < r->n_phase && ok; i++)
    if (r->phase[i].alq.mode != ALQ_BASIS && !rows_have(&r->phase[i].rows, QUANT_ALQ)) {
      d.loc = (Loc){r->file, r->phase[i].line, -1, NULL, NULL};
      ok = diag(d.ctx, E0703, &d.loc, "phases.%d.alq: no row under 'quant' has weights of alq", i);
    }
  str_free(&d.path);
  return ok;
}
