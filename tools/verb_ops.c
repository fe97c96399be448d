/* ops: the operators that are read, or those of a model that are not. */
#include "tools/cmd.h"
#include "tools/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void missing_json(Cmd *c, const char *lines) {
  json_t *list = json_array();
  for (const char *p = lines, *e; p && *p; p = *e ? e + 1 : e) {
    e = p + strcspn(p, "\n");
    json_array_append_new(list, json_text(c->ctx->own, arena_strndup(c->ctx->own, p, (size_t)(e - p))));
  }
  json_print(json_pack("{s:o}", "missing", list));
}

static int ops_missing(Cmd *c, const char *path) {
  char *bytes;
  size_t n;
  Str s = {.ctx = c->ctx};
  int missing = 0;
  if (!file_read(c->ctx, path, &bytes, &n)) return EXIT_IO;
  bool ok = onnx_missing(c->ctx, path, bytes, n, &s, &missing);
  free(bytes);
  if (ok && cmd_has(c, FLAG_json)) missing_json(c, s.p);
  else if (ok) fputs(missing ? s.p : "every operator of the model is read\n", stdout);
  str_free(&s);
  return !ok ? diag_exit(c->ctx) : missing ? EXIT_UNSUPPORTED : EXIT_OK;
}

static const char *opset_range(OnnxOp o, char buf[32]) {
  if (o.upto >= 1000) snprintf(buf, 32, "%d+", o.since);
  else snprintf(buf, 32, "%d-%d", o.since, o.upto);
  return buf;
}

int verb_ops(Cmd *c) {
  if (c->n_args) { diag(c->ctx, E0701, NULL, "ops takes no argument"); return EXIT_USAGE; }
  if (cmd_has(c, FLAG_missing)) return ops_missing(c, cmd_get(c, FLAG_missing));
  bool md = cmd_has(c, FLAG_markdown);
  if (md && cmd_has(c, FLAG_json)) { diag(c->ctx, E0701, NULL, "ops takes --json or --markdown, not both"); return EXIT_USAGE; }
  json_t *list = json_array();
  if (md) printf("| domain | operator | opset | limits |\n|---|---|---|---|\n");
  for (int i = 0; i < onnx_op_count(); i++) {
    OnnxOp o = onnx_op_get(i);
    char range[32];
    const char *domain = *o.domain ? o.domain : "ai.onnx";
    opset_range(o, range);
    if (cmd_has(c, FLAG_json))
      json_array_append_new(list, json_pack("{s:s s:s s:i s:i s:s}", "domain", domain, "name", o.name, "since", o.since, "upto", o.upto, "limits", o.limits));
    else if (md) printf("| %s | %s | %s | %s |\n", domain, o.name, range, o.limits);
    else printf("%-22s %-26s %-8s %s\n", domain, o.name, range, o.limits);
  }
  if (cmd_has(c, FLAG_json)) json_print(list);
  else json_decref(list);
  return EXIT_OK;
}
