/* Models from files, and the pass options that flags ask for. */
#include "tools/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

static void sha256(const char *bytes, size_t n, char hex[65]) {
  SHA2_CTX s;
  uint8_t d[SHA256_DIGEST_LENGTH];
  SHA256Init(&s);
  SHA256Update(&s, (const uint8_t *)bytes, n);
  SHA256Final(d, &s);
  for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(hex + 2 * i, 3, "%02x", d[i]);
}

static bool dims_of(Cmd *c, ImportOptions *o) {
  int n = c->flag[FLAG_dim].n;
  DimBind *d = NEWN(c->ctx->own, DimBind, n + 1);
  for (int i = 0; i < n; i++) {
    const char *rest, *name = cmd_split(c, c->flag[FLAG_dim].v[i], &rest);
    char *end = NULL;
    errno = 0;
    long long v = rest ? strtoll(rest, &end, 10) : 0;
    if (rest && end && !strncmp(end, "..", 2)) return diag(c->ctx, E0306, NULL, "--dim %s=LO..HI is not available in this version", name);
    if (!name || !*rest || *end || errno || v < 0) return diag(c->ctx, E0701, NULL, "--dim takes NAME=N, not '%s'", c->flag[FLAG_dim].v[i]);
    d[i] = (DimBind){name, v, v};
  }
  o->dims = d;
  o->n_dims = n;
  return true;
}

static bool shapes_of(Cmd *c, ImportOptions *o, const InputBind *more, int n_more) {
  int n = c->flag[FLAG_shape].n;
  ShapeBind *s = NEWN(c->ctx->own, ShapeBind, n + n_more + 1);
  for (int i = 0; i < n; i++) {
    const char *rest, *name = cmd_split(c, c->flag[FLAG_shape].v[i], &rest);
    bool ok = name != NULL;
    if (ok) s[i].input = name;
    while (ok && *rest) {
      char *end;
      errno = 0;
      long long v = strtoll(rest, &end, 10);
      ok = !errno && end != rest && v >= 0 && s[i].rank < MAX_RANK && (!*end || (*end == ',' && end[1]));
      if (ok) s[i].dim[s[i].rank++] = v;
      rest = *end ? end + 1 : end;
    }
    if (!ok) return diag(c->ctx, E0701, NULL, "--shape takes INPUT=N,N,..., not '%s'", c->flag[FLAG_shape].v[i]);
  }
  for (int i = 0; i < n_more; i++) {
    s[n + i] = (ShapeBind){.input = more[i].input, .rank = more[i].value->t.rank, .if_there = true};
    for (int k = 0; k < more[i].value->t.rank; k++) s[n + i].dim[k] = more[i].value->t.d[k].n;
  }
  o->shapes = s;
  o->n_shapes = n + n_more;
  return true;
}

static bool binds_of(Cmd *c, ImportOptions *o, const InputBind *more, int n_more) {
  int n = c->flag[FLAG_bind].n;
  InputBind *b = NEWN(c->ctx->own, InputBind, n + n_more + 1);
  for (int i = 0; i < n; i++) {
    const char *rest, *name = cmd_split(c, c->flag[FLAG_bind].v[i], &rest);
    if (!name) return diag(c->ctx, E0701, NULL, "--bind takes INPUT=FILE, not '%s'", c->flag[FLAG_bind].v[i]);
    Tensor *t = tensor_read(c->ctx, rest, NULL);
    if (!t) return false;
    b[i] = (InputBind){.input = name, .value = t};
  }
  for (int i = 0; i < n_more; i++) b[n + i] = more[i];
  o->binds = b;
  o->n_binds = n + n_more;
  return true;
}

/* The text's first word behind blank lines and comments. */
static bool begins(const char *bytes, size_t n, const char *word) {
  size_t i = 0, k = strlen(word);
  for (bool comment = false; i < n && (comment || isspace((unsigned char)bytes[i]) || bytes[i] == ';'); i++)
    comment = bytes[i] != '\n' && (comment || bytes[i] == ';');
  return n - i > k && !memcmp(bytes + i, word, k);
}

static bool load_as(Cmd *c, const char *path, ImportOptions o, const InputBind *given, int n_given, Model *m) {
  memset(m, 0, sizeof *m);
  m->path = path;
  char *bytes;
  size_t n;
  o.external_root = cmd_get(c, FLAG_external);
  if (!dims_of(c, &o) || !shapes_of(c, &o, given, n_given) || !binds_of(c, &o, given, n_given)) return false;
  if (!file_read(c->ctx, path, &bytes, &n)) return false;
  sha256(bytes, n, m->sha);
  if (begins(bytes, n, "popshift.graph")) m->s.graph = graph_parse(c->ctx, path, bytes, n);
  else if (begins(bytes, n, "popshift.program")) m->s.program = program_parse(c->ctx, path, bytes, n);
  else {
    m->is_onnx = true;
    m->s.graph = onnx_import(c->ctx, path, bytes, n, &o);
  }
  free(bytes);
  if (!m->is_onnx && (o.n_dims || o.n_shapes > n_given || o.n_binds > n_given))
    return diag(c->ctx, E0701, NULL, "--dim, --shape and --bind apply to ONNX models");
  return m->s.graph || m->s.program;
}

static bool load(Cmd *c, const char *path, int64_t batch, const InputBind *given, int n_given, Model *m) {
  return load_as(c, path, (ImportOptions){.batch = batch}, given, n_given, m);
}

typedef struct Exposed { bool (*also)(void *, const char *); void *user; int n; } Exposed;
static bool exposed(void *user, const char *value) {
  Exposed *e = user;
  bool yes = e->also(e->user, value);
  e->n += yes;
  return yes;
}

bool model_load_exposed(Cmd *c, const char *path, bool (*also)(void *, const char *), void *user, Model *m) {
  Exposed e = {also, user, 0};
  if (!load_as(c, path, (ImportOptions){.batch = 1, .also = exposed, .also_user = &e}, NULL, 0, m)) return false;
  m->n_outs = (m->s.graph ? m->s.graph->n_outs : 0) - e.n;
  return true;
}

bool model_load_as(Cmd *c, const char *path, const InputBind *given, int n, Model *m) { return load(c, path, 1, given, n, m); }
bool model_load_batch(Cmd *c, const char *path, int64_t batch, Model *m) { return load(c, path, batch, NULL, 0, m); }
bool model_load(Cmd *c, const char *path, Model *m) { return load(c, path, 1, NULL, 0, m); }

bool model_load_static(Cmd *c, const char *path, Model *m) {
  if (!model_load(c, path, m)) return false;
  if (!m->s.graph || graph_static(c->ctx, m->s.graph)) return true;
  model_free(m);
  return false;
}

void model_free(Model *m) {
  if (m->s.graph) graph_free(m->s.graph);
  if (m->s.program) program_free(m->s.program);
  m->s = (State){0};
}

void model_ports(Cmd *c, const Model *m, Ports *p) {
  const Graph *g = m->s.graph;
  const Program *q = m->s.program;
  Arena *a = c->ctx->own;
  p->n_in = g ? g->n_args : q->n_ins;
  p->n_out = g ? g->n_outs : q->n_outs;
  p->in_name = NEWN(a, const char *, p->n_in + 1);
  p->out_name = NEWN(a, const char *, p->n_out + 1);
  p->in = NEWN(a, Type, p->n_in + 1);
  p->out = NEWN(a, Type, p->n_out + 1);
  for (int i = 0; i < p->n_in; i++) {
    p->in_name[i] = g ? g->arg_names[i] : q->ins[i].name;
    p->in[i] = g ? g->args[i]->t : q->ins[i].t;
  }
  for (int i = 0; i < p->n_out; i++) {
    p->out_name[i] = g ? g->outs[i].name : q->outs[i].name;
    p->out[i] = g ? g->outs[i].v->t : q->outs[i].t;
  }
}

static Node *copy_rule(Rewrite *rw, const Node *old, Node *const *in) { (void)rw; (void)old; (void)in; return NULL; }
Graph *graph_copy(Graph *g) { return graph_rewrite(g, copy_rule, NULL, NULL); }

static bool forces_of(Cmd *c, PassOptions *o) {
  o->n_force = c->flag[FLAG_force].n;
  o->force = NEWN(c->ctx->own, Force, o->n_force + 1);
  for (int i = 0; i < o->n_force; i++) {
    const char *spec = c->flag[FLAG_force].v[i], *at = strchr(spec, '@');
    const char *kind = at ? arena_strndup(c->ctx->own, spec, (size_t)(at - spec)) : spec;
    if (!strcmp(kind, "int8")) kind = "int";
    int k = KERNEL_COUNT - 1;
    while (k > 0 && strcmp(kind, kernel_names[k])) k--;
    if (k == KERNEL_AUTO) {
      diag(c->ctx, E0701, NULL, "--force has no kind '%s'", kind);
      Str kinds = {.ctx = c->ctx};
      for (int q = KERNEL_AUTO + 1; q < KERNEL_COUNT; q++) str_printf(&kinds, "%s%s", q == KERNEL_AUTO + 1 ? "" : q == KERNEL_COUNT - 1 ? " and " : ", ", kernel_names[q]);
      const char *near = nearest(kind, kernel_names + 1, KERNEL_COUNT - 1);
      if (near) diag_hint(c->ctx, "did you mean %s? kinds are %s", near, kinds.p);
      else diag_hint(c->ctx, "kinds are %s; KIND@LAYER takes the layer's name as `popshift inspect` shows it", kinds.p);
      str_free(&kinds);
      return false;
    }
    o->force[i] = (Force){(Kernel)k, at ? at + 1 : NULL};
    for (int q = 0; q < i; q++) {
      const char *a = o->force[q].layer, *b = o->force[i].layer;
      if (o->force[q].kernel != (Kernel)k && (a && b ? !strcmp(a, b) : a == b))
        return diag(c->ctx, E0701, NULL, "--force %s contradicts --force %s", spec, c->flag[FLAG_force].v[q]);
    }
  }
  return true;
}

static bool skips_of(Cmd *c, PassOptions *o) {
  for (int i = 0; i < c->flag[FLAG_skip].n; i++)
    for (const char *s = c->flag[FLAG_skip].v[i]; *s;) {
      size_t n = strcspn(s, ",");
      const char *name = arena_strndup(c->ctx->own, s, n);
      int p = pass_find(name);
      if (p < 0) return diag(c->ctx, E0701, NULL, "--skip: no pass '%s' (`popshift list passes`)", name);
      if (!pass_optional((PassId)p)) {
        diag(c->ctx, E0701, NULL, "--skip: pass %s is needed", name);
        diag_hint(c->ctx, "what may be left out gives nothing that others need: see `popshift list passes`");
        return false;
      }
      if (p == PASS_unmultiply && o->no_multiply) {
        diag(c->ctx, E0701, NULL, "--skip unmultiply contradicts --no-multiply, which is that pass");
        diag_hint(c->ctx, "without --no-multiply the pass does nothing");
        return false;
      }
      o->skip |= 1u << p;
      s += n + (s[n] == ',');
    }
  return true;
}

bool model_pass_options(Cmd *c, PassOptions *o) {
  memset(o, 0, sizeof *o);
  int n;
  const Target *const *list = targets_of(c, &n);
  if (!list) return false;
  if (n > 1 && c->verb != VERB_compile) return diag(c->ctx, E0701, NULL, "--target takes one target here; several are for compile");
  o->target = list[0];
  o->no_multiply = cmd_has(c, FLAG_no_multiply);
  return forces_of(c, o) && skips_of(c, o);
}

const char *ident_from_path(Cmd *c, const char *path) {
  const char *base = strrchr(path, '/');
  base = base ? base + 1 : path;
  const char *dot = strrchr(base, '.');
  size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
  char *id = arena_printf(c->ctx->own, "%s%.*s", isalpha((unsigned char)*base) ? "" : "m_", (int)(n > 40 ? 40 : n), base);
  for (char *p = id; *p; p++) if (!isalnum((unsigned char)*p)) *p = '_';
  return id;
}
