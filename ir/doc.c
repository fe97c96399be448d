/* The events of libyaml are read one by one, so that nothing which our files have no use for (anchors, aliases, tags, several
 * documents, duplicate keys) gets past, and depth and size are bounded before memory is. */
#include "ir/doc.h"

#include <string.h>
#include <yaml.h>

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = DOC_DEPTH, MAX_NODES = DOC_NODES, MAX_TEXT = DOC_TEXT };

typedef struct Loader {
  Ctx *ctx;
  ErrCode code;
  const char *file;
  bool lines;                    /* the text is a file's */
  yaml_parser_t yaml;
  int nodes;
} Loader;

static bool wrong_at(Loader *l, const yaml_mark_t *at, const char *text, const char *what) {
  Loc loc = LOC_NONE;
  loc.file = l->file;
  loc.line = l->lines ? (int)at->line + 1 : -1;
  return diag(l->ctx, l->code, &loc, what ? "%s: '%.100s'" : "%s", text, what);
}

static bool next_event(Loader *l, yaml_event_t *e) {
  if (yaml_parser_parse(&l->yaml, e)) return true;
  if (l->yaml.error == YAML_MEMORY_ERROR) ctx_fatal(l->ctx);
  const char *problem = l->yaml.problem ? l->yaml.problem : "unreadable";
  return wrong_at(l, l->yaml.error == YAML_READER_ERROR ? &l->yaml.mark : &l->yaml.problem_mark, "not YAML", problem);
}

static bool plain_event(Loader *l, const yaml_event_t *e) {
  const yaml_char_t *anchor = NULL, *tag = NULL;
  if (e->type == YAML_ALIAS_EVENT) return wrong_at(l, &e->start_mark, "aliases are not allowed", (const char *)e->data.alias.anchor);
  if (e->type == YAML_SCALAR_EVENT) anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
  if (e->type == YAML_SEQUENCE_START_EVENT) anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
  if (e->type == YAML_MAPPING_START_EVENT) anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
  if (anchor) return wrong_at(l, &e->start_mark, "anchors are not allowed", (const char *)anchor);
  if (tag) return wrong_at(l, &e->start_mark, "tags are not allowed", (const char *)tag);
  return true;
}

/* Texts end up in logs and on terminals: ASCII's and Latin-1's control characters, zero among them, have no place in one. */
static bool has_control(const char *text, size_t n) {
  const unsigned char *p = (const unsigned char *)text;
  for (size_t i = 0; i < n; i++) if (p[i] < 32 || p[i] == 127 || (p[i] == 0xc2 && i + 1 < n && p[i + 1] < 0xa0)) return true;
  return false;
}

/* A scalar's text; NULL with an error. */
static const char *scalar_text(Loader *l, const yaml_event_t *e) {
  const char *text = (const char *)e->data.scalar.value;
  size_t n = e->data.scalar.length;
  if (n <= MAX_TEXT && !has_control(text, n)) return arena_strndup(l->ctx->own, text, n);
  wrong_at(l, &e->start_mark, n > MAX_TEXT ? "a text of more than 4096 bytes" : "a text with a control character in it", NULL);
  return NULL;
}

static Doc *load_node(Loader *l, const yaml_event_t *e, int depth);

/* Reads one event and what it begins. *end: it was the end of the enclosing list or map. */
static Doc *load_next(Loader *l, int depth, bool *end) {
  yaml_event_t e;
  if (!next_event(l, &e)) return NULL;
  *end = e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT;
  Doc *n = *end ? NULL : load_node(l, &e, depth);
  yaml_event_delete(&e);
  return n;
}

static bool load_items(Loader *l, Doc *n, int depth) {
  for (;;) {
    DocItem item = {0};
    bool end = false;
    Doc *v = load_next(l, depth + 1, &end);
    if (end) return true;
    if (!v) return false;
    item.line = v->line;
    if (n->shape == SHAPE_MAP) {
      yaml_mark_t at = {.line = (size_t)(v->line > 0 ? v->line - 1 : 0)};
      if (v->shape != SHAPE_SCALAR) return wrong_at(l, &at, "a key must be a word", NULL);
      if (doc_find(n, v->text)) return wrong_at(l, &at, "duplicate key", v->text);
      item.key = v->text;
      if (!(v = load_next(l, depth + 1, &end))) return false;
    }
    item.v = v;
    vec_push(l->ctx->own, &n->item, item);
  }
}

static Doc *load_node(Loader *l, const yaml_event_t *e, int depth) {
  if (!plain_event(l, e)) return NULL;
  bool scalar = e->type == YAML_SCALAR_EVENT;
  if (++l->nodes > MAX_NODES || depth > MAX_DEPTH) {
    wrong_at(l, &e->start_mark, depth > MAX_DEPTH ? "nested too deep" : "more than 10000 values", NULL);
    return NULL;
  }
  Doc *n = NEW(l->ctx->own, Doc);
  n->file = l->file;
  n->line = l->lines ? (int)e->start_mark.line + 1 : -1;
  n->shape = scalar ? SHAPE_SCALAR : e->type == YAML_SEQUENCE_START_EVENT ? SHAPE_LIST : SHAPE_MAP;
  if (!scalar) return load_items(l, n, depth) ? n : NULL;
  n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
  n->text = scalar_text(l, e);
  return n->text ? n : NULL;
}

/* Passes over one event that must be of this type. */
static bool expect(Loader *l, yaml_event_type_t type, const char *otherwise) {
  yaml_event_t e;
  if (!next_event(l, &e)) return false;
  bool ok = e.type == type || wrong_at(l, &e.start_mark, otherwise, NULL);
  yaml_event_delete(&e);
  return ok;
}

Doc *doc_load(Ctx *ctx, ErrCode code, const char *file, bool lines, const char *text, size_t n) {
  Loader l = {.ctx = ctx, .code = code, .file = arena_strdup(ctx->own, file), .lines = lines};
  bool end = false;
  if (n > MAX_BYTES) {
    wrong_at(&l, &(yaml_mark_t){0}, "more than 1 MiB", NULL);
    return NULL;
  }
  if (!yaml_parser_initialize(&l.yaml)) ctx_fatal(ctx);
  yaml_parser_set_input_string(&l.yaml, (const unsigned char *)text, n);
  Doc *root = NULL;
  if (expect(&l, YAML_STREAM_START_EVENT, "not YAML") && expect(&l, YAML_DOCUMENT_START_EVENT, "empty")) root = load_next(&l, 1, &end);
  if (root && !(expect(&l, YAML_DOCUMENT_END_EVENT, "not YAML") && expect(&l, YAML_STREAM_END_EVENT, "more than one document"))) root = NULL;
  yaml_parser_delete(&l.yaml);
  return root;
}

const Doc *doc_find(const Doc *map, const char *key) {
  if (map && map->shape == SHAPE_MAP)
    for (int i = 0; i < map->item.n; i++) if (!strcmp(map->item.p[i].key, key)) return map->item.p[i].v;
  return NULL;
}
