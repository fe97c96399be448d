/* The built-in networks (nets.def) and their options; nets_*.c make them. */
#include "trainer/nets_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const NetInfo net_info[] = {
#define NET(name, options, what) {#name, options, what},
#include "trainer/nets.def"
#undef NET
};
const int n_net_info = sizeof net_info / sizeof *net_info;

static Node *(*const makers[])(Build *, Node *, int) = {
#define NET(name, options, what) net_##name,
#include "trainer/nets.def"
#undef NET
};

static Net *wrong(const Recipe *r, int line, Net *net, const char *fmt, const char *word) {
  Loc loc = LOC_NONE;
  loc.file = r->file, loc.line = line;
  diag(r->ctx, E0703, &loc, fmt, word);
  net_free(net);
  return NULL;
}

/* Options */

/* What nets.def says behind KEY=, n bytes; NULL: the network has no such option. */
static const char *declared(const NetInfo *info, const char *key, size_t *n) {
  size_t len = strlen(key);
  for (const char *o = info->options; len && *o; o += strcspn(o, " "), o += *o == ' ')
    if (!strncmp(o, key, len) && o[len] == '=') return *n = strcspn(o + len + 1, " "), o + len + 1;
  return NULL;
}

double nb_number(const Build *b, const char *key) {
  const NetOption *o = recipe_net_option(b->r, key);
  size_t n;
  const char *v = o ? NULL : declared(b->info, key, &n);
  return o ? o->value : v ? strtod(v, NULL) : 1;
}

const char *nb_word(const Build *b, const char *key) {
  const NetOption *o = recipe_net_option(b->r, key);
  size_t n;
  const char *v = o ? NULL : declared(b->info, key, &n);
  return o ? o->text : v ? arena_strndup(b->net->arena, v, strcspn(v, "| ")) : "";
}

static bool is_word_of(const char *words, size_t n, const char *text) {
  for (const char *w = words; text && w < words + n; w += strcspn(w, "| ") + 1)
    if (strcspn(w, "| ") == strlen(text) && !strncmp(w, text, strlen(text))) return true;
  return false;
}

static bool check_option(const Recipe *r, const NetInfo *info, const NetOption *o) {
  static const struct { const char *key; int lo, hi; } whole[] = {{"hidden", 0, 65536}, {"bases", 1, 16}};
  size_t n;
  const char *words = declared(info, o->key, &n);
  char text[160];
  if (!strcmp(o->key, "width")) {
    if (o->text || !(o->value > 0 && o->value <= 64)) return wrong(r, o->line, NULL, "width is above 0 and at most 64%s", "");
    return true;
  }
  if (!words) return wrong(r, o->line, NULL, "the network has no option '%s'", o->key);
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    if (strcmp(o->key, whole[i].key)) continue;
    int lo = !i && strcmp(info->name, "vgg_small") ? 1 : whole[i].lo;
    snprintf(text, sizeof text, "%s is a whole number from %d to %d", o->key, lo, whole[i].hi);
    bool ok = !o->text && o->value >= lo && o->value <= whole[i].hi && o->value == floor(o->value);
    return ok || wrong(r, o->line, NULL, "%s", text);
  }
  if (is_word_of(words, n, o->text)) return true;
  snprintf(text, sizeof text, "%s is one of %.*s", o->key, (int)n, words);
  return wrong(r, o->line, NULL, "%s", text);
}

static void read_options(Build *b) {
  static const char *const acts[] = {[ACT_PRE] = "pre", [ACT_POST] = "post", [ACT_NONE] = "none"};
  static const char *const variants[] = {[VARIANT_PLAIN] = "plain", [VARIANT_RESIDUAL] = "residual", [VARIANT_BIREAL] = "bireal", [VARIANT_GROUPNET] = "groupnet"};
  b->width = nb_number(b, "width");
  b->norm = strcmp(nb_word(b, "norm"), "false");
  b->act = ACT_POST;
  for (int i = 0; i < 3; i++) if (!strcmp(nb_word(b, "activation"), acts[i])) b->act = (Activation)i;
  for (int i = 0; i < 4; i++) if (!strcmp(nb_word(b, "variant"), variants[i])) b->variant = (Variant)i;
  b->bases = b->variant == VARIANT_GROUPNET ? (int)nb_number(b, "bases") : 1;
}

Net *net_builtin(Ctx *ctx, const Recipe *r, int c, int h, int w) {
  int which = 0;
  const char *names[32];
  for (int i = 0; i < n_net_info; i++) names[i] = net_info[i].name;
  while (which < n_net_info && strcmp(net_info[which].name, r->net.builtin)) which++;
  if (which == n_net_info) {
    const char *near = nearest(r->net.builtin, names, n_net_info);
    wrong(r, r->net.line, NULL, "there is no built-in network '%s'", r->net.builtin);
    diag_hint(ctx, near ? "did you mean '%s'? `popshift list nets` shows them" : "`popshift list nets` shows them%s", near ? near : "");
    return NULL;
  }
  for (int i = 0; i < r->net.n_option; i++) if (!check_option(r, &net_info[which], &r->net.option[i])) return NULL;
  Net *net = net_new(ctx, r->net.builtin, (int)r->net.classes);
  Build b = {.net = net, .g = net->g, .r = r, .info = &net_info[which]};
  read_options(&b);
  Node *x = net_images(net, r, c, h, w), *y = x ? makers[which](&b, x, net->classes) : NULL;
  if (!x) { net_free(net); return NULL; }
  if (!y) return wrong(r, r->net.line, net, "images are too small for %s", r->net.builtin);
  graph_out(net->g, "logits", y);
  return net;
}
