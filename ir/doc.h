/* Strict YAML as a tree: what recipes and targets are written in. */
#ifndef POPSHIFT_IR_DOC_H
#define POPSHIFT_IR_DOC_H

#include "ir/base.h"

enum { DOC_DEPTH = 8, DOC_NODES = 10000, DOC_TEXT = 4096 };

typedef enum DocShape { SHAPE_SCALAR, SHAPE_LIST, SHAPE_MAP } DocShape;
typedef struct Doc Doc;
typedef struct DocItem { const char *key; Doc *v; int line; } DocItem; /* key NULL in a list; unique in a map */
struct Doc {
  DocShape shape;
  const char *file;
  int line;                      /* from 1; -1 where the text is no file's */
  const char *text;              /* of a scalar */
  bool quoted;                   /* then it is no number and no truth value */
  VEC(DocItem) item;
};

/* One document without anchors, aliases, tags, duplicate keys or control characters, of at most 1 MiB and DOC_DEPTH deep; lives as
 * long as the context. lines: the text is a file's, and messages name its lines. NULL with the error `code`. */
Doc *doc_load(Ctx *, ErrCode code, const char *file, bool lines, const char *text, size_t n);
const Doc *doc_find(const Doc *map, const char *key); /* NULL where absent, or not a map */

#endif
