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

static Loc at(const char *file, int line) { return (Loc){.file = file, .line = line, .node = -1}; }

/* What was probably meant, or all that there are. */
static bool hint(const Recipe *r, const char *word, const char *const *names, int n) {
  const char *near = nearest(word, names, n);
  Str all = {.ctx = r->ctx};
  for (int i = 0; i < n; i++) str_printf(&all, "%s%s", i ? ", " : "", names[i]);
  if (near) diag_hint(r->ctx, "did you mean '%s'?", near);
  else diag_hint(r->ctx, "there are %s", all.p);
  str_free(&all);
  return false;
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

static bool unknown_option(const Recipe *r, const NetInfo *info, const NetOption *o) {
  const char *names[RECIPE_OPTIONS + 1] = {"width"};
  int n = 1;
  for (const char *k = info->options; *k && n < RECIPE_OPTIONS; k += strcspn(k, " "), k += *k == ' ') names[n++] = arena_strndup(r->ctx->own, k, strcspn(k, "="));
  Loc loc = at(o->file, o->line);
  diag(r->ctx, E0703, &loc, "net.%s: %s has no such option", o->key, info->name);
  return hint(r, o->key, names, n);
}

/* One of the words between bars, n bytes. */
static bool unknown_word(const Recipe *r, const NetOption *o, const char *words, size_t n) {
  const char *names[RECIPE_OPTIONS];
  int count = 0;
  for (const char *w = words; w < words + n && count < RECIPE_OPTIONS; w += strcspn(w, "| ") + 1) names[count++] = arena_strndup(r->ctx->own, w, strcspn(w, "| "));
  Loc loc = at(o->file, o->line);
  diag(r->ctx, E0703, &loc, "net.%s: must be one of %.*s", o->key, (int)n, words);
  const char *near = o->text ? nearest(o->text, names, count) : NULL;
  if (near) diag_hint(r->ctx, "did you mean '%s'?", near);
  return false;
}

static bool check_option(const Recipe *r, const NetInfo *info, const NetOption *o) {
  static const struct { const char *key; int lo, hi; } whole[] = {{"hidden", 0, 65536}, {"bases", 1, 16}};
  size_t n;
  const char *words = declared(info, o->key, &n);
  Loc loc = at(o->file, o->line);
  if (!strcmp(o->key, "width")) return (!o->text && o->value > 0 && o->value <= 64) || diag(r->ctx, E0703, &loc, "net.width: must be above 0 and at most 64");
  if (!words) return unknown_option(r, info, o);
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    if (strcmp(o->key, whole[i].key)) continue;
    int lo = !i && strcmp(info->name, "vgg_small") ? 1 : whole[i].lo;
    bool ok = !o->text && o->value >= lo && o->value <= whole[i].hi && o->value == floor(o->value);
    return ok || diag(r->ctx, E0703, &loc, "net.%s: must be a whole number from %d to %d", o->key, lo, whole[i].hi);
  }
  return is_word_of(words, n, o->text) || unknown_word(r, o, words, n);
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

/* The recipe's network, its name and options looked at; NULL with E0703. */
static const NetInfo *info_of(const Recipe *r) {
  const char *names[32];
  const NetInfo *info = NULL;
  Loc loc = at(r->net.where, r->net.line);
  for (int i = 0; i < n_net_info; i++) {
    names[i] = net_info[i].name;
    if (!strcmp(names[i], r->net.builtin)) info = &net_info[i];
  }
  bool ok = info || diag(r->ctx, E0703, &loc, "net.builtin: there is no network '%.100s'", r->net.builtin) || hint(r, r->net.builtin, names, n_net_info);
  for (int i = 0; info && i < r->net.n_option; i++) ok = check_option(r, info, &r->net.option[i]) && ok;
  return ok ? info : NULL;
}

bool net_check(const Recipe *r) { return !r->net.builtin || info_of(r); }

Net *net_builtin(Ctx *ctx, const Recipe *r, int c, int h, int w) {
  const NetInfo *info = info_of(r);
  if (!info) return NULL;
  Net *net = net_new(ctx, r->net.builtin, (int)r->net.classes);
  Build b = {.net = net, .g = net->g, .r = r, .info = info};
  read_options(&b);
  Node *x = net_images(net, r, c, h, w), *y = x ? makers[info - net_info](&b, x, net->classes) : NULL;
  Loc loc = at(r->net.where, r->net.line);
  if (x && !y) diag(ctx, E0703, &loc, "images of %dx%d are too small for %s", h, w, r->net.builtin);
  if (!y) { net_free(net); return NULL; }
  graph_out(net->g, "logits", y);
  return net;
}
