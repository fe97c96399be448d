#include "tools/runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *json_file(Ctx *ctx, const char *path, const char *schema, bool told) {
  char *text;
  size_t n;
  json_error_t error;
  Loc loc = {path, -1, -1, NULL, NULL};
  if (!told && access(path, F_OK) && errno == ENOENT) return NULL;
  if (!file_read(ctx, path, &text, &n)) return NULL;
  json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
  free(text);
  const char *is = j ? json_string_value(json_object_get(j, "schema")) : NULL;
  if (is && !strcmp(is, schema)) return j;
  loc.line = j ? -1 : error.line;
  diag(ctx, E0103, &loc, j ? "its schema is not %s" : "%.0s%s", schema, error.text);
  json_decref(j);
  return NULL;
}

json_t *result_read(Ctx *ctx, const char *folder, bool told) { return json_file(ctx, arena_printf(ctx->own, "%s/result.json", folder), RESULT_SCHEMA, told); }

bool json_file_write(Ctx *ctx, const char *path, const json_t *j) {
  char *text = json_dumps(j, JSON_PRESERVE_ORDER | JSON_INDENT(1) | JSON_REAL_PRECISION(9));
  if (!text) ctx_fatal(ctx);
  Str s = {.ctx = ctx};
  str_put(&s, text);
  str_put(&s, "\n");
  free(text);
  bool ok = file_replace(ctx, path, s.p, s.n);
  str_free(&s);
  return ok;
}

const char *result_state(const json_t *result) {
  const char *s = json_string_value(json_object_get(result, "state"));
  return s && (!strcmp(s, "finished") || !strcmp(s, "diverged")) ? s : "running";
}
