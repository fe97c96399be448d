/* Recipes from YAML, and changes to the tree. */
#include "trainer/recipe_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = DOC_DEPTH, MAX_NODES = DOC_NODES, MAX_TEXT = DOC_TEXT };

Recipe *recipe_parse(Ctx *ctx, const char *file, const char *text, size_t n) {
  Recipe *r = NEW(ctx->own, Recipe);
  const char *slash = strrchr(file, '/');
  r->ctx = ctx;
  r->file = arena_strdup(ctx->own, file);
  r->dir = !slash ? "." : arena_strndup(ctx->own, file, slash == file ? 1 : (size_t)(slash - file));
  r->root = doc_load(ctx, E0703, file, true, text, n);
  return r->root && recipe_decode(r) ? r : NULL;
}

Recipe *recipe_read(Ctx *ctx, const char *path) {
  char *text;
  size_t n;
  if (!file_read(ctx, path, &text, &n)) return NULL;
  Recipe *r = recipe_parse(ctx, path, text, n);
  free(text);
  return r;
}

static Doc *copy(Arena *a, const Doc *n) {
  Doc *c = NEW(a, Doc);
  *c = *n;
  c->item.p = NULL;
  c->item.n = c->item.cap = 0;
  for (int i = 0; i < n->item.n; i++) {
    DocItem item = n->item.p[i];
    item.v = copy(a, item.v);
    vec_push(a, &c->item, item);
  }
  return c;
}

/* The place for `key` in n, made where it is missing; NULL where n has no such place. */
static Doc **place(Arena *a, Doc *n, const char *key, const char *file) {
  DocItem made = {.key = n->shape == SHAPE_MAP ? key : NULL, .line = -1};
  int64_t at = -1;
  if (n->shape == SHAPE_MAP) {
    for (int i = 0; i < n->item.n; i++) if (!strcmp(n->item.p[i].key, key)) return &n->item.p[i].v;
  } else if (n->shape == SHAPE_SCALAR || !parse_i64(key, strlen(key), &at) || at < 0 || at > n->item.n) return NULL;
  else if (at < n->item.n) return &n->item.p[at].v;
  if (n->item.n >= MAX_NODES) return NULL;
  made.v = NEW(a, Doc);
  *made.v = (Doc){.shape = SHAPE_MAP, .file = file, .line = -1};
  vec_push(a, &n->item, made);
  return &n->item.p[n->item.n - 1].v;
}

/* Puts one assignment into the tree at root. */
static bool assign(Recipe *r, Doc **root, const char *assignment) {
  Arena *a = r->ctx->own;
  const char *equals = strchr(assignment, '=');
  Loc loc = LOC_NONE;
  loc.file = "--set";
  if (!equals || equals == assignment || equals - assignment > MAX_TEXT) return diag(r->ctx, E0703, &loc, "'%.100s' is not KEY=VALUE", assignment);
  char *key = arena_strndup(a, assignment, (size_t)(equals - assignment)), *rest = key;
  const char *file = loc.file = arena_printf(a, "--set %s", key);
  Doc *value = doc_load(r->ctx, E0703, file, false, equals + 1, strlen(equals + 1));
  if (!value) return false;
  Doc **at = root;
  for (int depth = 1; rest; depth++) {
    char *dot = strchr(rest, '.'), *part = rest;
    if (dot) *dot = 0;
    rest = dot ? dot + 1 : NULL;
    Doc **next = *part && depth < MAX_DEPTH ? place(a, *at, part, file) : NULL;
    if (!next) {
      diag(r->ctx, E0703, &loc, "'%.100s' is no place in the recipe", part);
      if ((*at)->shape == SHAPE_LIST) diag_hint(r->ctx, "the list has %d elements, which count from 0; %d adds one", (*at)->item.n, (*at)->item.n);
      return false;
    }
    at = next;
  }
  *at = value;
  return true;
}

bool recipe_set(Recipe *r, const char *const *assignments, int n) {
  Recipe changed = {.ctx = r->ctx, .file = r->file, .dir = r->dir, .root = copy(r->ctx->own, r->root)};
  for (int i = 0; i < n; i++) if (!assign(r, &changed.root, assignments[i])) return false;
  if (!recipe_decode(&changed)) return false;
  *r = changed;
  return true;
}
