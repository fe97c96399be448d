/* Recipes: what is read, every way of being wrong with its place and hint, changes by --set, and that what is printed reads back. */
#include "tests/unit/suite.h"
#include "trainer/recipe.h"

#include <stdlib.h>
#include <string.h>

#define HEAD "popshift: recipe/1\nnet: {builtin: lenet5, classes: 10, width: 0.5}\n"
#define DATA "data: {train: [a, b], test: [c, d]}\n"
#define PHASE "phases: [{lr: constant(0.1), epochs: 3}]\n"

static const char full[] =
  "popshift: recipe/1   # a comment\n"
  "net: {builtin: lenet5, classes: 10, width: 1.5, norm: false, variant: \"2\"}\n"
  "data:\n"
  "  train: [images, labels]\n"
  "  test: [\"caf\\u00e9 \\U0001F600: \\\"x\\\"\", /t/labels]\n"
  "  scale: 0.00392156862745098\n"
  "  mean: [0.25, -0.5, 1e-3]\n"
  "  std: [0.3]\n"
  "  augment: {crop: 4, flip: true}\n"
  "  samples: 1000\n  validation: 0.125\n"
  "batch: 64\nshards: 4\nseed: 9007199254740992\n"
  "quant:\n"
  "  - {match: first|last, weight: uniq/8, act: uniq/8}\n"
  "  - {match: \"conv?_*|fc\", weight: uniq/2, act: none, grain: kernel}\n"
  "  - {match: \"*\", weight: uniq/2, act: uniq/3}\n"
  "phases:\n"
  "  - {name: float, optimizer: sgd, lr: cosine(0.05), warmup: {epochs: 1, lr: 0.001}, momentum: 0.875, nesterov: true, weight_decay: 5e-4, epochs: 8}\n"
  "  - {quant: true, optimizer: adam, lr: \"step(0.1, 0.5, 3, 4.5)\", betas: [0.8, 0.99], epsilon: 1e-7, ema: 0.75, epochs: 5, calibrate: 7, statistics: 9}\n"
  "  - name: w2-a2.last\n"
  "    quant: true\n"
  "    lr: constant(1)\n"
  "    warmup: {epochs: 2, lr: 0.5, shape: constant}\n"
  "    epochs: 2\n";

static Recipe *parse(Ctx *c, const char *text) { return recipe_parse(c, "dir/r.yaml", text, strlen(text)); }

static const char repeated[] = HEAD DATA
  "quant: [{match: \"*\", weight: alq/6, groups: part, parts: 2, sigma: 1e-5}]\n"
  "phases:\n"
  "  - {name: float, optimizer: amsgrad, betas: [0.8, 0.9], lr: constant(0.1), epochs: 1}\n"
  "  - repeat: 3\n"
  "    phases:\n"
  "      - {name: prune, quant: true, keep: false, alq: prune, prune: 0.4, top_k: 0.05, optimizer: amsgrad, lr: constant(1e-6), epochs: 1}\n"
  "      - {name: coord, quant: true, alq: coord, optimizer: adam, lr: constant(1e-4), epochs: 2}\n"
  "  - {quant: true, alq: ste, lr: constant(1e-4), epochs: 2}\n";

START_TEST(repeats) {
  Ctx *c = ctx_new();
  Recipe *r = recipe_parse(c, "r.yaml", repeated, strlen(repeated));
  diag_print(c, stderr, false);
  ck_assert(r && r->n_phase == 8);
  static const char *const names[] = {"float", "prune-1", "coord-1", "prune-2", "coord-2", "prune-3", "coord-3", "phase8"};
  for (int i = 0; i < 8; i++) {
    const Phase *p = &r->phase[i];
    ck_assert_str_eq(p->name, names[i]);
    ck_assert(p->alq.mode == (i == 7 ? ALQ_STE : !i ? ALQ_BASIS : i % 2 ? ALQ_PRUNE : ALQ_COORD) && p->keep == (i % 2 == 0 || i == 7));
    if (p->alq.mode == ALQ_PRUNE) ck_assert(p->alq.prune == 0.4 && p->alq.top_k == 0.05 && p->optim.kind == OPTIM_AMSGRAD);
  }
  ck_assert(r->phase->optim.kind == OPTIM_AMSGRAD && r->phase->optim.beta1 == 0.8);
  ck_assert(recipe_set(r, (const char *const[]){"phases.1.phases.1.epochs=5", "phases.1.repeat=2"}, 2));
  ck_assert(r->n_phase == 6 && r->phase[2].epochs == 5 && r->phase[4].epochs == 5);
  ck_assert(!recipe_set(r, (const char *const[]){"phases.1.repeat=200"}, 1) && r->n_phase == 6);
  ctx_free(c);
}
END_TEST

START_TEST(reads) {
  Ctx *c = ctx_new();
  Recipe *r = parse(c, full);
  diag_print(c, stderr, false);
  ck_assert_ptr_nonnull(r);
  ck_assert_str_eq(r->dir, "dir");
  ck_assert(!strcmp(r->net.builtin, "lenet5") && !r->net.onnx && r->net.classes == 10 && r->net.n_option == 3);
  ck_assert(!strcmp(recipe_net_option(r, "norm")->text, "false") && !strcmp(recipe_net_option(r, "variant")->text, "2") && !recipe_net_option(r, "width")->text);
  ck_assert_double_eq(recipe_net_option(r, "width")->value, 1.5);
  ck_assert_ptr_null(recipe_net_option(r, "depth"));
  ck_assert(r->data.train.n == 2 && r->data.train.kind == FILES_PAIR && !strcmp(r->data.test.name[0], "caf\xc3\xa9 \xf0\x9f\x98\x80: \"x\""));
  ck_assert(r->data.n_mean == 3 && r->data.mean[1] == -0.5 && r->data.n_std == 1 && r->data.crop == 4 && r->data.flip && r->data.samples == 1000 && r->data.validation == 0.125);
  ck_assert(r->batch == 64 && r->shards == 4 && r->seed == UINT64_C(1) << 53 && r->quant.n == 3 && r->n_phase == 3);
  ck_assert(r->quant.row[1].weight.q == QUANT_UNIQ && r->quant.row[1].weight.bits == 2 && r->quant.row[1].act.q == QUANT_NONE && r->quant.row[1].grain == GRAIN_KERNEL);
  const Phase *p = r->phase;
  ck_assert(!p->quant && p->optim.kind == OPTIM_SGD && p->optim.momentum == 0.875 && p->optim.nesterov && p->optim.weight_decay == 5e-4 && p->epochs == 8);
  ck_assert(p->lr.kind == LR_COSINE && p->lr.base == 0.05 && p->lr.final == 0 && p->lr.warm_epochs == 1 && p->lr.warm_lr == 0.001 && !p->lr.warm_constant);
  p++;
  ck_assert_str_eq(p->name, "phase2");
  ck_assert(p->quant && p->optim.kind == OPTIM_ADAM && p->optim.beta1 == 0.8 && p->optim.beta2 == 0.99 && p->optim.epsilon == 1e-7 && p->calibrate == 7 && p->statistics == 9);
  ck_assert(p->lr.kind == LR_STEP && p->lr.base == 0.1 && p->lr.factor == 0.5 && p->lr.n_at == 2 && p->lr.at[1] == 4.5);
  p++;
  ck_assert_str_eq(p->name, "w2-a2.last");
  ck_assert(p->optim.momentum == 0.9 && p->optim.weight_decay == 0 && p->lr.warm_constant && p->line == 22);
  ck_assert_str_eq(recipe_path(r, NULL, "x"), "dir/x");
  ck_assert_str_eq(recipe_path(r, "/data/", "x"), "/data/x");
  ck_assert_str_eq(recipe_path(r, "/data", "/x"), "/x");
  ctx_free(c);
}
END_TEST

/* Names of models and runs are printed so that the text means the same in any folder; what older versions wrote relative to it is the same recipe. */
START_TEST(names_from_anywhere) {
  Ctx *c = ctx_new();
  static const char *const lines[] = {"init: ../out/a\n", "distill: {teacher: b.onnx}\n"};
  char *dir = realpath(TEST_DIR, NULL);
  for (int i = 0; i < 3; i++) {
    const char *head = i < 2 ? HEAD : "popshift: recipe/1\nnet: {onnx: m.onnx}\n";
    const char *text = arena_printf(c->own, "%s" DATA PHASE "%s", head, i < 2 ? lines[i] : ""), *other = arena_printf(c->own, "%sbatch: 64\n", text);
    Recipe *r = recipe_parse(c, TEST_DIR "/r.yaml", text, strlen(text));
    Str s = {.ctx = c}, again = {.ctx = c};
    ck_assert_ptr_nonnull(r);
    recipe_print(&s, r);
    ck_assert_msg(strstr(s.p, arena_printf(c->own, ": %s/%s", dir, i == 0 ? "../out/a" : i == 1 ? "b.onnx" : "m.onnx")) || strstr(s.p, arena_printf(c->own, ": \"%s/", dir)), "%s", s.p);
    ck_assert(recipe_same(r, text) && recipe_same(r, s.p) && !recipe_same(r, other) && !recipe_same(r, "no recipe: [") && !c->n_errors);
    recipe_print(&again, recipe_parse(c, "/elsewhere/r.yaml", s.p, s.n));
    ck_assert_str_eq(s.p, again.p);
    str_free(&s), str_free(&again);
  }
  free(dir);
  ctx_free(c);
}
END_TEST

START_TEST(row_of_layer) {
  Ctx *c = ctx_new();
  Recipe *r = parse(c, full);
  static const struct { const char *layer; bool first, last; int row; } rows[] = {
    {"conv1_a", true, false, 0}, {"conv1_a", false, true, 0}, {"conv1_a", false, false, 1}, {"conv1_", false, false, 1}, {"conv1", false, false, 2},
    {"conv12_a", false, false, 2}, {"fc", false, false, 1}, {"fc2", false, false, 2}, {"first", false, false, 2}, {NULL, false, false, 2}, {NULL, true, false, 0}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    ck_assert_ptr_eq(recipe_quant(&r->quant, rows[i].layer, rows[i].first, rows[i].last), &r->quant.row[rows[i].row]);
  r->quant.n = 2;
  ck_assert_ptr_null(recipe_quant(&r->quant, "x", false, false));
  ctx_free(c);
}
END_TEST

START_TEST(round_trip) {
  static const char *const texts[] = {full, repeated, HEAD DATA PHASE,
    HEAD DATA "label_smoothing: 0.1\nauxiliary: {mode: two-pass, weight: 0.5, at: layer}\nsupervision: {weight: 0.01}\ndistill: {teacher: \"a b\", temperature: 4}\n"
      "quant: [{match: \"*\", weight: dorefa/2}]\nphases: [{quant: true, lr: constant(0.1), epochs: 2, ssp: {until: 0.25, fragment: layer}}]", "popshift: recipe/1\nnet: {onnx: m.onnx}\ndata: {train: data_1.bin, test: [t.bin]}\n" PHASE,
    HEAD "data: {train: [a, b], test: c.csv, label_column: 3, layout: nhwc}\n" PHASE, /* keys of either set's files */
                                      HEAD "data: {train: [a.bin, b.bin]}\nphases: [{lr: \"cosine(0.1, 0.001)\", epochs: 2, momentum: 0}]"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    Ctx *c = ctx_new();
    Str a = {.ctx = c}, b = {.ctx = c};
    Recipe *r = parse(c, texts[i]), *q;
    diag_print(c, stderr, false);
    ck_assert_ptr_nonnull(r);
    recipe_print(&a, r);
    q = recipe_parse(c, "dir/r.yaml", a.p, a.n);
    diag_print(c, stderr, false);
    ck_assert_msg(q != NULL, "%s", a.p);
    recipe_print(&b, q);
    ck_assert_str_eq(a.p, b.p);
    ck_assert_mem_eq(&r->data.scale, &q->data.scale, sizeof r->data - offsetof(RecipeData, scale));
    ck_assert(r->batch == q->batch && r->seed == q->seed && r->data.train.kind == q->data.train.kind);
    ck_assert(r->label_smoothing == q->label_smoothing && r->auxiliary.mode == q->auxiliary.mode && r->auxiliary.at == q->auxiliary.at);
    ck_assert(r->auxiliary.weight == q->auxiliary.weight && r->supervision.at == q->supervision.at && r->supervision.weight == q->supervision.weight);
    ck_assert(r->distill.temperature == q->distill.temperature && !r->distill.teacher == !q->distill.teacher);
    ck_assert((r->label_smoothing > 0) == (strstr(texts[i], "two-pass") != NULL) && (r->auxiliary.mode == AUX_TWO_PASS) == (r->label_smoothing > 0));
    for (int k = 0; k < r->n_phase; k++) {
      ck_assert(r->phase[k].ssp.start == q->phase[k].ssp.start && r->phase[k].ssp.until == q->phase[k].ssp.until && r->phase[k].ssp.layers == q->phase[k].ssp.layers);
      ck_assert_str_eq(r->phase[k].name, q->phase[k].name);
      ck_assert_mem_eq(&r->phase[k].lr, &q->phase[k].lr, sizeof r->phase[k].lr);
      ck_assert(r->phase[k].optim.ema == q->phase[k].optim.ema && r->phase[k].optim.weight_decay == q->phase[k].optim.weight_decay && r->phase[k].optim.momentum == q->phase[k].optim.momentum);
    }
    str_free(&a);
    str_free(&b);
    ctx_free(c);
  }
}
END_TEST

/* The text must be refused by an error on this line that contains `says` (and a hint that contains `hint`). */
static const struct { const char *text; int line; const char *says, *hint; } wrong[] = {
  {"", 1, "empty", NULL},
  {"---\n", 2, "must be a map", NULL},
  {"- a\n", 1, "must be a map", NULL},
  {"popshift: target/1\n", 1, "not recipe/1", NULL},
  {"net: {builtin: lenet5}\n" DATA PHASE, 1, "key 'popshift' is missing", NULL},
  {HEAD DATA, 1, "key 'phases' is missing", NULL},
  {HEAD DATA PHASE "bach: 3\n", 5, "bach: unknown key", "'batch'"},
  {HEAD DATA PHASE "batch: 3\nbatch: 4\n", 6, "duplicate key: 'batch'", NULL},
  {HEAD "data:\n  train: [a, b]\n  scle: 2\n" PHASE, 5, "data.scle: unknown key", "'scale'"},
  {HEAD "data: {train: [a, b], scale: big}\n" PHASE, 3, "data.scale: 'big' is not a number", NULL},
  {HEAD "data: {train: [a, b], scale: \"1\"}\n" PHASE, 3, "data.scale: '1' is not a number", NULL},
  {HEAD "data: {train: [a, b], scale: nan}\n" PHASE, 3, "data.scale: 'nan' is not a number", NULL},
  {HEAD "data: {train: [a, b], scale: inf}\n" PHASE, 3, "data.scale: inf is not in", NULL},
  {HEAD "data: {train: [a, b], std: [0.5, 0]}\n" PHASE, 3, "data.std.1: 0 is not in", NULL},
  {HEAD "data: {train: [a, b], mean: [1, 2], std: [1, 2, 3]}\n" PHASE, 3, "2 numbers of mean, but 3 of std", NULL},
  {HEAD "data: {train: [a, b], mean: 1}\n" PHASE, 3, "data.mean: must be a list, not a single value", NULL},
  {HEAD "data: {train: [a, b, c]}\n" PHASE, 3, "data.train: must be [images, labels]", NULL},
  {HEAD "data: {train: [a, b.bin]}\n" PHASE, 3, "data.train: must be [images, labels]", NULL},
  {HEAD "data: {train: [a.csv, b.csv]}\n" PHASE, 3, "data.train: must be [images, labels]", NULL},
  {HEAD "data: {train: a.csv, label: fine}\n" PHASE, 3, "data.label: only of CIFAR batches", NULL},
  {HEAD "data: {train: [a, b], size: [8, 8]}\n" PHASE, 3, "data.size: only of folders of pictures", NULL},
  {HEAD "data: {train: a, size: [8]}\n" PHASE, 3, "data.size: must be 2 whole numbers", NULL},
  {HEAD "data: {train: a, size: [8, 9.5]}\n" PHASE, 3, "data.size: must be 2 whole numbers", NULL},
  {HEAD "data: {train: a, size: [0, 9]}\n" PHASE, 3, "data.size.0: 0 is not in", NULL},
  {HEAD "data: {train: a, channels: 2}\n" PHASE, 3, "data.channels: must be 1 or 3", NULL},
  {HEAD "data: {train: a.bin, label: fin}\n" PHASE, 3, "data.label: must be fine or coarse", "did you mean 'fine'?"},
  {HEAD "data: {train: a.bin, clases: [a, b]}\n" PHASE, 3, "data.clases: unknown key", "did you mean 'classes'?"},
  {HEAD "data: {train: a.bin, classes: [a, b, a]}\n" PHASE, 3, "data.classes.2: 'a' is there twice", NULL},
  {HEAD "data: {train: a.bin, classes: [a]}\n" PHASE, 3, "data.classes: 1 names, not 2 .. 256", NULL},
  {HEAD "data: {train: [a, \"\"]}\n" PHASE, 3, "data.train.1: must not be empty", NULL},
  {HEAD "data: {train: [a, {b: c}]}\n" PHASE, 3, "data.train.1: must be a single value, not a map", NULL},
  {HEAD "data: {train: [a, b], validation: 0.95}\n" PHASE, 3, "data.validation: 0.95 is not in 0 .. 0.9", NULL},
  {HEAD "data: {train: [a, b], valdiation: 0.1}\n" PHASE, 3, "data.valdiation: unknown key", "'validation'"},
  {HEAD "data: {test: [a, b]}\n" PHASE, 3, "data: key 'train' is missing", NULL},
  {HEAD "data: {train: [a, b], augment: {flip: maybe}}\n" PHASE, 3, "data.augment.flip: must be false or true, not 'maybe'", NULL},
  {HEAD "data: {train: [a, b], augment: {crop: 65}}\n" PHASE, 3, "data.augment.crop: 65 is not in 0 .. 64", NULL},
  {HEAD "data: {train: [a, b], augment: {crop: 2.5}}\n" PHASE, 3, "data.augment.crop: '2.5' is not an integer", NULL},
  {HEAD DATA PHASE "auxiliary: {weight: 1}\n", 5, "auxiliary: key 'mode' is missing", NULL},
  {HEAD DATA PHASE "auxiliary: {mode: onepass}\n", 5, "auxiliary.mode: must be none, one-pass or two-pass, not 'onepass'", "'one-pass'"},
  {HEAD DATA PHASE "auxiliary: {mode: none, at: down}\n", 5, "auxiliary.at: must be block or layer, not 'down'", NULL},
  {HEAD DATA PHASE "supervision: {weight: -1}\n", 5, "supervision.weight: -1 is not in", NULL},
  {HEAD DATA PHASE "distill: {temperature: 0, teacher: a}\n", 5, "distill.temperature: 0 is not in", NULL},
  {HEAD DATA PHASE "label_smoothing: 2\n", 5, "label_smoothing: 2 is not in 0 .. 1", NULL},
  {HEAD DATA "phases:\n  - {lr: constant(1), epochs: 1, ssp: {}}\n", 5, "ssp: only of a quantized phase", NULL},
  {HEAD DATA PHASE "batch: 0\n", 5, "batch: 0 is not in", NULL},
  {HEAD DATA PHASE "batch: 99999999999999999999\n", 5, "batch: '99999999999999999999' is not an integer", NULL},
  {HEAD DATA PHASE "batch: 100\n", 1, "shards: 8 do not divide the batch of 100", NULL},
  {HEAD DATA PHASE "seed: -1\n", 5, "seed: -1 is not in", NULL},
  {"popshift: recipe/1\nnet: {classes: 10}\n" DATA PHASE, 2, "'builtin' or 'onnx' is missing", NULL},
  {"popshift: recipe/1\nnet: {bulitin: lenet5}\n" DATA PHASE, 2, "net.bulitin: unknown key", "'builtin'"},
  {"popshift: recipe/1\nnet: {builtin: a, onnx: b}\n" DATA PHASE, 2, "only one of them", NULL},
  {"popshift: recipe/1\nnet: {builtin: a, width: 1e10}\n" DATA PHASE, 2, "net.width: 1e+10 is not in -1e+09 .. 1e+09", NULL},
  {"popshift: recipe/1\nnet: {builtin: a, width: [1]}\n" DATA PHASE, 2, "net.width: must be a single value, not a list", NULL},
  {"popshift: recipe/1\nnet: {builtin: a, norm: ''}\n" DATA PHASE, 2, "net.norm: must not be empty", NULL},
  {"popshift: recipe/1\nnet: lenet5\n" DATA PHASE, 2, "net: must be a map, not a single value", NULL},
  {HEAD DATA PHASE "quant:\n  - {match: a, weight: unik/2}\n", 6, "quant.0.weight: must be none, uniq, lsq", "'uniq'"},
  {HEAD DATA PHASE "quant:\n  - {match: a, weight: uniq}\n", 6, "quant.0.weight: must be uniq/BITS, not 'uniq'", NULL},
  {HEAD DATA PHASE "quant:\n  - {match: a, weight: uniq/9}\n", 6, "quant.0.weight: uniq has 1 .. 8 bits, not 9", NULL},
  {HEAD DATA PHASE "quant:\n  - {match: a, act: none/9}\n", 6, "quant.0.act: none has no bits", NULL},
  {HEAD DATA PHASE "quant:\n  - {weight: uniq/2}\n", 6, "quant.0: key 'match' is missing", NULL},
  {HEAD DATA PHASE "quant:\n  - {match: a, grain: layers}\n", 6, "quant.0.grain: must be layer or kernel, not 'layers'", "'layer'"},
  {HEAD DATA PHASE "quant:\n  - {match: a, wieght: uniq/2}\n", 6, "quant.0.wieght: unknown key", "'weight'"},
  {HEAD DATA PHASE "quant:\n  - {match: a, weight: s3/2,\n     latent: plain}\n", 7, "quant.0.latent: unknown key", "'latents'"},
  {HEAD DATA PHASE "quant:\n  - {match: a, weight: uniq/2, groups: kernel}\n", 6, "quant.0.groups: an option of alq, not of this row's quantizers", NULL},
  {HEAD DATA "phases:\n  - repaet: 2\n    phases: [{lr: constant(1), epochs: 1}]\n", 5, "phases.0.repaet: unknown key", "'repeat'"},
  {HEAD DATA "phases:\n  - {lr: constant(1), epochs: 1, warmup: {epoch: 1}}\n", 5, "phases.0.warmup.epoch: unknown key", "'epochs'"},
  {HEAD DATA "phases:\n  - lr: constant(1)\n    epochs: 1\n    quant:\n      - {mach: a}\n", 8, "phases.0.quant.0.mach: unknown key", "'match'"},
  {HEAD "data: {train: [a, b], augment: {flp: true}}\n" PHASE, 3, "data.augment.flp: unknown key", "'flip'"},
  {HEAD DATA PHASE "distill: {techer: a}\n", 5, "distill.techer: unknown key", "'teacher'"},
  {HEAD DATA "phases: []\n", 4, "phases: 0 phases", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epoch: 3}\n", 5, "phases.0.epoch: unknown key", "'epochs'"},
  {HEAD DATA "phases:\n  - {lr: cosin(0.1), epochs: 3}\n", 5, "phases.0.lr: must be constant, cosine or step, not 'cosin'", "'cosine'"},
  {HEAD DATA "phases:\n  - {lr: cosine, epochs: 3}\n", 5, "phases.0.lr: must be cosine(...)", NULL},
  {HEAD DATA "phases:\n  - {lr: 0.1, epochs: 3}\n", 5, "phases.0.lr: must be constant, cosine or step, not '0.1'", "'constant(0.1)'"},
  {HEAD DATA "phases:\n  - {lr: cosine(), epochs: 3}\n", 5, "phases.0.lr: must be cosine(lr)", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(-1), epochs: 3}\n", 5, "phases.0.lr: -1 is not in", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1)x, epochs: 3}\n", 5, "is not NAME(number, ...)", NULL},
  {HEAD DATA "phases:\n  - {lr: \"constant(1,)\", epochs: 3}\n", 5, "is not NAME(number, ...)", NULL},
  {HEAD DATA "phases:\n  - {lr: \"constant(1 2)\", epochs: 3}\n", 5, "is not NAME(number, ...)", NULL},
  {HEAD DATA "phases:\n  - {lr: step(0.1, 0.1, 10), epochs: 3}\n", 5, "'step(0.1' is not NAME", "quotes"},
  {HEAD DATA "phases:\n  - {lr: \"step(0.1, 0.1)\", epochs: 3}\n", 5, "must be step(lr, factor, epoch, ...)", NULL},
  {HEAD DATA "phases:\n  - {lr: \"step(0.1, 0.1, 5, 5)\", epochs: 3}\n", 5, "the epochs must ascend", NULL},
  {HEAD DATA "phases:\n  - {lr: \"step(1,1,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17)\", epochs: 3}\n", 5, "more than 18 numbers", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, betas: [0.9, 0.99]}\n", 5, "phases.0.betas: not for optimizer sgd", NULL},
  {HEAD DATA "phases:\n  - {optimizer: adam, lr: cosine(0.1), epochs: 3, momentum: 0}\n", 5, "phases.0.momentum: not for optimizer adam", NULL},
  {HEAD DATA "phases:\n  - {optimizer: radam, lr: cosine(0.1), epochs: 3, nesterov: true}\n", 5, "phases.0.nesterov: not for optimizer radam", NULL},
  {HEAD DATA "phases:\n  - {optimizer: rmsprop, lr: cosine(0.1), epochs: 3}\n", 5, "rmsprop", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, ema: 1}\n", 5, "phases.0.ema: 1 is not in", NULL},
  {HEAD DATA "phases:\n  - {optimizer: adam, lr: cosine(0.1), epochs: 3, betas: [0.9]}\n", 5, "phases.0.betas: must be two numbers", NULL},
  {HEAD DATA "phases:\n  - {optimizer: adam, lr: cosine(0.1), epochs: 3, betas: [0.9, 1]}\n", 5, "phases.0.betas.1: 1 is not in", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, nesterov: true, momentum: 0}\n", 5, "needs momentum", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, warmup: {epochs: 4}}\n", 5, "phases.0.warmup.epochs: 4, but the phase has 3", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, warmup: {lr: 4}}\n", 5, "phases.0.warmup: key 'epochs' is missing", NULL},
  {HEAD DATA "phases:\n  - {name: ../x, lr: cosine(0.1), epochs: 3}\n", 5, "phases.0.name: '../x' is to begin file names", NULL},
  {HEAD DATA "phases:\n  - {name: a, lr: cosine(0.1), epochs: 3}\n  - {name: a, lr: cosine(0.1), epochs: 3}\n", 6, "phases.1.name: a phase before it is called 'a', too", NULL},
  {HEAD DATA "quant: [{match: x, weight: uniq/2}]\nphases:\n  - {quant: true, lr: cosine(0.1), epochs: 3}\n  - {lr: cosine(0.1), epochs: 3}\n", 7, "phases.1: a phase that is not quantized after one that is", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, alq: basis}\n", 5, "phases.0.alq: only of a phase with quant: true", NULL},
  {HEAD DATA "quant: [{match: x, weight: uniq/2}]\nphases:\n  - {quant: true, lr: cosine(0.1), epochs: 3, alq: coord}\n", 6, "phases.0.alq: no row under 'quant' has weights of alq", NULL},
  {HEAD DATA "quant: [{match: x, weight: alq/2}]\nphases:\n  - {quant: true, lr: cosine(0.1), epochs: 3, alq: coordinates}\n", 6, "phases.0.alq: must be basis, coord, prune, ste or reconstruct", NULL},
  {HEAD DATA "quant: [{match: x, weight: alq/2}]\nphases:\n  - {quant: true, lr: cosine(0.1), epochs: 3, top_k: 0.1}\n", 6, "phases.0.top_k: only of a phase with alq: prune", NULL},
  {HEAD DATA "quant: [{match: x, weight: alq/2}]\nphases:\n  - {quant: true, alq: prune, lr: cosine(0.1), epochs: 3, statistics: 9}\n", 6, "phases.0.statistics: not of a phase with alq: prune", NULL},
  {HEAD "data: {train: [a.bin], shape: [1, 2, 3]}\n" PHASE, 3, "data.shape: only of arrays and CSV", NULL},
  {HEAD "data: {train: folder, shape: [1, 2, 3]}\n" PHASE, 3, "data.shape: only of arrays and CSV", NULL},
  {HEAD "data: {train: a.csv, test: [b, c], size: [2, 3]}\n" PHASE, 3, "data.size: only of folders of pictures", NULL},
  {HEAD DATA "phases:\n  - repeat: 2\n    phases: [{lr: cosine(0.1), epoch: 3}]\n", 6, "phases.0.phases.0.epoch: unknown key", "epochs"},
  {HEAD DATA "phases:\n  - {repeat: 0, phases: []}\n", 5, "phases.0.repeat: 0 is not in", NULL},
  {HEAD DATA "phases:\n  - {repeat: 100, phases: [{lr: cosine(0.1), epochs: 3}, {lr: cosine(0.1), epochs: 3}]}\n", 5, "more than 128 phases", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, calibrate: 4}\n", 5, "only of a phase with quant: true", NULL},
  {HEAD DATA "phases:\n  - {lr: cosine(0.1), epochs: 3, quant: true}\n", 5, "no rows under 'quant'", NULL},
  {HEAD DATA "quant: [{match: \"*\", weight: uniq/2, act: alq/2}]\nphases:\n  - {lr: cosine(0.1), epochs: 3}\n  - {lr: cosine(0.1), epochs: 3, quant: true, ssp: {start: 0.5}}\n", 7, "phases.1.ssp: not with quantizers of alq", NULL},
  {HEAD "data: &a {train: [a, b]}\n" PHASE, 3, "anchors are not allowed: 'a'", NULL},
  {HEAD DATA "batch: *a\n" PHASE, 4, "aliases are not allowed: 'a'", NULL},
  {HEAD DATA "batch: !!int 8\n" PHASE, 4, "tags are not allowed", NULL},
  {HEAD DATA PHASE "--- {}\n", 5, "more than one document", NULL},
  {HEAD DATA PHASE "{a: b\n", 6, "not YAML", NULL},
  {HEAD DATA PHASE "? [a]\n: b\n", 5, "a key must be a word", NULL},
  {HEAD DATA PHASE "batch: \"\\0\"\n", 5, "control character", NULL},
  {HEAD DATA PHASE "batch: \"\\e[2J\"\n", 5, "control character", NULL},
  {HEAD DATA PHASE "batch: \"\\u009b\"\n", 5, "control character", NULL},
  {HEAD DATA PHASE "batch: \xff\n", -1, "not YAML", NULL},
  {HEAD DATA PHASE "batch: [[[[[[[[[[1]]]]]]]]]]\n", 5, "nested too deep", NULL},
};

START_TEST(refuses) {
  Ctx *c = ctx_new();
  ck_assert_ptr_null(parse(c, wrong[_i].text));
  bool found = false;
  for (const Diag *d = c->diags; d; d = d->next)
    if (strstr(d->text, wrong[_i].says)) {
      found = true;
      ck_assert(d->code == E0703 && !strcmp(d->loc.file, "dir/r.yaml"));
      if (wrong[_i].line > 0) ck_assert_msg(d->loc.line == wrong[_i].line, "%s: line %d", d->text, d->loc.line);
      if (wrong[_i].hint) ck_assert_msg(d->hint && strstr(d->hint, wrong[_i].hint), "%s: hint %s", d->text, d->hint ? d->hint : "none");
    }
  if (!found) diag_print(c, stderr, false);
  ck_assert_msg(found, "nothing said '%s'", wrong[_i].says);
  ctx_free(c);
}
END_TEST

/* Quantized phases without rows go on with those of the phase before, from which only rows of their own part. */
START_TEST(rows_go_on) {
  Ctx *c = ctx_new();
  Recipe *r = parse(c, HEAD DATA "quant: [{match: \"*\", weight: uniq/4}]\nphases:\n"
    "  - {lr: constant(1), epochs: 1}\n  - {quant: true, lr: constant(1), epochs: 1}\n  - {quant: [{match: \"*\", weight: alq/3}], lr: constant(1), epochs: 1}\n"
    "  - {quant: true, alq: coord, lr: constant(1), epochs: 1}\n  - {quant: true, lr: constant(1), epochs: 1}\n");
  if (!r) diag_print(c, stderr, false);
  ck_assert_ptr_nonnull(r);
  static const int bits[] = {4, 4, 3, 3, 3};
  for (int i = 0; i < 5; i++) ck_assert_int_eq(r->phase[i].rows.row[0].weight.bits, bits[i]);
  ck_assert_ptr_nonnull(parse(c, HEAD DATA "phases:\n  - {quant: [{match: \"*\", weight: uniq/3}], lr: constant(1), epochs: 1}\n  - {quant: true, lr: constant(1), epochs: 1}\n"));
  ctx_free(c);
}
END_TEST

/* A row has each option once, for its weights and its inputs, and of words the number: quantizers that share an option have the same words. */
START_TEST(shared_options) {
  for (int a = 0; a < QUANTIZER_COUNT; a++)
    for (const char *o = quantizer_info[a].options; *o; o += strcspn(o, " "), o += *o == ' ')
      for (int b = 0; b < a; b++)
        for (const char *p = quantizer_info[b].options; *p; p += strcspn(p, " "), p += *p == ' ') {
          size_t key = strcspn(o, "=") + 1, n = strcspn(o, " ");
          if (!strncmp(o, p, key) && memchr(o, '|', n)) ck_assert_msg(strcspn(p, " ") == n && !strncmp(o, p, n), "%s, %s: %s", quantizer_info[a].name, quantizer_info[b].name, o);
        }
}
END_TEST

START_TEST(all_errors_at_once) {
  Ctx *c = ctx_new();
  ck_assert_ptr_null(parse(c, HEAD DATA "batch: x\nphases:\n  - {lr: a, epochs: b}\n  - {epochs: -1}\n"));
  ck_assert_int_eq(c->n_errors, 5);
  ctx_free(c);
}
END_TEST

START_TEST(limits) {
  Ctx *c = ctx_new();
  Str s = {.ctx = c};
  str_put(&s, "a: [");
  for (int i = 0; i < 20000; i++) str_put(&s, "1,");
  str_put(&s, "]");
  ck_assert_ptr_null(parse(c, s.p));
  ck_assert_ptr_nonnull(strstr(c->diags->text, "more than 10000 values"));
  s.n = 0;
  for (int i = 0; i < 100000; i++) str_put(&s, "[");
  ck_assert_ptr_null(parse(c, s.p));
  s.n = 0;
  str_put(&s, "a: ");
  for (int i = 0; i < 5000; i++) str_put(&s, "x");
  ck_assert_ptr_null(parse(c, s.p));
  while (s.n <= 1 << 20) str_put(&s, "                                                                               \n");
  ck_assert_ptr_null(parse(c, s.p));
  ck_assert_int_eq(c->n_errors, 4);
  str_free(&s);
  ctx_free(c);
}
END_TEST

START_TEST(hostile) { /* cut short or with one byte changed: read or refused with an error, never worse */
  for (size_t i = 0; i < sizeof full; i += 3) {
    Ctx *c = ctx_new();
    char *text = malloc(sizeof full);
    memcpy(text, full, sizeof full);
    Recipe *r = recipe_parse(c, "r", text, i);
    ck_assert(!r == (c->n_errors > 0));
    if (i < sizeof full - 1) text[i] = (char)(text[i] ^ (1 << i % 7));
    r = recipe_parse(c, "r", text, sizeof full - 1);
    ck_assert(r || c->n_errors > 0);
    free(text);
    ctx_free(c);
  }
}
END_TEST

START_TEST(sets) {
  Ctx *c = ctx_new();
  Recipe *r = parse(c, full);
  static const char *const good[] = {"phases.0.epochs=3", "batch=32", "data.mean.1=0.25", "data.augment.flip=false", "net.width=2", "net.depth=20", "quant.2.weight=uniq/4",
                                     "phases.1.lr=step(0.2, 0.1, 1)", "quant.3={match: x, weight: none}", "phases.2.weight_decay=1e-3", "data.std=[1, 2, 3]",
                                     "phases.2.name=a_b", "phases.3={quant: true, lr: constant(1), epochs: 1}", "phases.3.warmup.epochs=1"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    bool ok = recipe_set(r, &(const char *){good[i]}, 1);
    diag_print(c, stderr, false);
    ck_assert_msg(ok, "%s", good[i]);
  }
  ck_assert(r->phase[0].epochs == 3 && r->batch == 32 && r->data.mean[1] == 0.25 && !r->data.flip && r->data.crop == 4 && recipe_net_option(r, "width")->value == 2);
  ck_assert(recipe_net_option(r, "depth")->value == 20 && r->quant.row[2].weight.bits == 4 && r->phase[1].lr.base == 0.2 && r->phase[1].lr.n_at == 1 && r->quant.n == 4);
  ck_assert(r->phase[2].optim.weight_decay == 1e-3 && r->data.n_std == 3 && !strcmp(r->phase[2].name, "a_b") && r->n_phase == 4 && r->phase[3].lr.warm_epochs == 1);
  Str before = {.ctx = c}, after = {.ctx = c};
  recipe_print(&before, r);
  static const struct { const char *set, *file, *says, *hint; } bad[] = {
    {"phases.0.epochs=-3", "--set phases.0.epochs", "phases.0.epochs: -3 is not in", NULL},
    {"phases.0.epoch=3", "--set phases.0.epoch", "phases.0.epoch: unknown key", "'epochs'"},
    {"batc=3", "--set batc", "batc: unknown key", "'batch'"},
    {"phases.9.epochs=3", "--set phases.9.epochs", "'9' is no place", "the list has 4 elements"},
    {"phases.x.epochs=3", "--set phases.x.epochs", "'x' is no place", NULL},
    {"phases.-1.epochs=3", "--set phases.-1.epochs", "'-1' is no place", NULL},
    {"batch.size=3", "--set batch.size", "'size' is no place", NULL},
    {"batch..=3", "--set batch..", "'' is no place", NULL},
    {"a.a.a.a.a.a.a.a.a.a.a=3", "--set a.a.a.a.a.a.a.a.a.a.a", "is no place", NULL},
    {"batch", "--set", "'batch' is not KEY=VALUE", NULL},
    {"=3", "--set", "is not KEY=VALUE", NULL},
    {"batch=", "--set batch", "empty", NULL},
    {"batch=[", "--set batch", "not YAML", NULL},
    {"batch=*x", "--set batch", "aliases", NULL},
    {"shards=5", NULL, "shards: 5 do not divide the batch of 32", NULL},
    {"popshift=recipe/2", "--set popshift", "not recipe/1", NULL}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const Diag *last = NULL;
    int errors = c->n_errors;
    ck_assert_msg(!recipe_set(r, &(const char *){bad[i].set}, 1), "%s", bad[i].set);
    ck_assert_int_gt(c->n_errors, errors);
    for (const Diag *d = c->diags; d; d = d->next) if (strstr(d->text, bad[i].says)) last = d;
    ck_assert_msg(last != NULL, "%s: nothing said '%s'", bad[i].set, bad[i].says);
    if (bad[i].file) ck_assert_str_eq(last->loc.file, bad[i].file);
    if (bad[i].hint) ck_assert_msg(last->hint && strstr(last->hint, bad[i].hint), "%s", bad[i].set);
  }
  recipe_print(&after, r);
  ck_assert_str_eq(before.p, after.p);
  ck_assert(recipe_set(r, (const char *const[]){"batch=7", "shards=7"}, 2) && r->batch == 7 && r->shards == 7); /* right together only */
  str_free(&before);
  str_free(&after);
  ctx_free(c);
}
END_TEST

START_TEST(shipped) {
  static const char *const names[] = {"lenet5-fashion", "mlp-mnist"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    Ctx *c = ctx_new();
    char path[4096];
    snprintf(path, sizeof path, "%s/../trainer/recipes/%s.yaml", TEST_DIR, names[i]);
    Recipe *r = recipe_read(c, path);
    diag_print(c, stderr, false);
    ck_assert_ptr_nonnull(r);
    ck_assert(r->n_phase == 2 && !r->phase[0].quant && r->phase[1].quant && r->quant.row[0].weight.bits == 8 && r->quant.row[1].act.bits == 2);
    ctx_free(c);
  }
  Ctx *c = ctx_new();
  ck_assert_ptr_null(recipe_read(c, "/nowhere/r.yaml"));
  ck_assert_int_eq(diag_exit(c), EXIT_IO);
  ctx_free(c);
}
END_TEST

int main(void) {
  Suite *s = suite_create("train_recipe");
  TCase *t = tcase_create("recipe");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, repeats);
  tcase_add_test(t, reads);
  tcase_add_test(t, names_from_anywhere);
  tcase_add_test(t, row_of_layer);
  tcase_add_test(t, round_trip);
  tcase_add_loop_test(t, refuses, 0, (int)(sizeof wrong / sizeof *wrong));
  tcase_add_test(t, all_errors_at_once);
  tcase_add_test(t, rows_go_on);
  tcase_add_test(t, shared_options);
  tcase_add_test(t, limits);
  tcase_add_test(t, hostile);
  tcase_add_test(t, sets);
  tcase_add_test(t, shipped);
  suite_add_tcase(s, t);
  return suite_run(s);
}
