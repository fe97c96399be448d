#include "frontend/model.h"
#include "frontend/wire.h"

#include <stdlib.h>
#include <string.h>

/* "ai.onnx" is the default domain; several domains mean the QONNX operators. */
static const struct { const char *alias, *domain; } aliases[] = {
  {"ai.onnx", ""}, {"onnx.brevitas", QONNX_DOMAIN}, {"finn.custom_op.general", QONNX_DOMAIN}, {"qonnx", QONNX_DOMAIN},
  {"finn", QONNX_DOMAIN}, {"finn.custom_op.channels_last", "qonnx.custom_op.channels_last"},
};

static const char *canonical(const char *domain) {
  if (!domain) return "";
  for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
    if (!strcmp(domain, aliases[i].alias)) return aliases[i].domain;
  return domain;
}

/* The version that a list imports for a domain; -1 where it has no entry. */
static int64_t version_in(size_t n, Onnx__OperatorSetIdProto *const *list, const char *domain) {
  bool dflt = !*canonical(domain);
  for (size_t i = 0; i < n; i++) {
    const char *d = text_of(list[i]->domain);
    if (dflt ? !*canonical(d) : !strcmp(d, domain)) return list[i]->version;
  }
  return -1;
}

static int64_t opset_of(const Model *m, const Onnx__FunctionProto *in, const char *domain) {
  int64_t v = in ? version_in(in->n_opset_import, in->opset_import, domain) : -1;
  if (v < 0) v = version_in(m->p->n_opset_import, m->p->opset_import, domain);
  return v < 0 && *canonical(domain) ? 1 : v; /* real files leave out custom domains: version 1 */
}

static bool same(const char *a, const char *b) { return !strcmp(text_of(a), text_of(b)); }

static int function_order(const void *a, const void *b) {
  const Onnx__FunctionProto *x = *(const Onnx__FunctionProto *const *)a, *y = *(const Onnx__FunctionProto *const *)b;
  int c = strcmp(text_of(x->name), text_of(y->name));
  if (!c) c = strcmp(canonical(x->domain), canonical(y->domain));
  return c ? c : strcmp(text_of(x->overload), text_of(y->overload));
}

/* Position among the sorted functions; -1 where there is none. */
static ptrdiff_t function_find(const Model *m, const Onnx__FunctionProto *key) {
  if (!m->p->n_functions) return -1;
  const Onnx__FunctionProto **at = bsearch(&key, m->functions, m->p->n_functions, sizeof *m->functions, function_order);
  return at ? at - m->functions : -1;
}

Resolved model_resolve(const Model *m, const Onnx__FunctionProto *in, const Onnx__NodeProto *p) {
  const char *domain = canonical(p->domain);
  Resolved r = {.domain = domain};
  Onnx__FunctionProto key = {.name = p->op_type, .domain = p->domain, .overload = p->overload};
  ptrdiff_t at = function_find(m, &key);
  if (at >= 0) { r.fn = m->functions[at]; return r; }
  r.opset = opset_of(m, in, text_of(p->domain));
  r.row = onnx_row(domain, text_of(p->op_type), r.opset, &r.other);
  if (!r.row && !r.other && !*domain) r.row = onnx_row(QONNX_DOMAIN, text_of(p->op_type), 1, &r.other); /* FORMATS: also seen without */
  return r;
}

typedef struct Walk { const Model *m; SeeNode *see; void *user; bool *seen; size_t *todo, n_todo; } Walk;

/* Nodes, and those of the graphs that are their attributes; the branches of If only where both may be taken matter, which import finds out. */
static void walk_nodes(Walk *w, const Onnx__FunctionProto *in, size_t n, Onnx__NodeProto *const *nodes, bool body) {
  for (size_t i = 0; i < n; i++) {
    Resolved r = model_resolve(w->m, in, nodes[i]);
    ptrdiff_t f = r.fn ? function_find(w->m, r.fn) : -1;
    if (f >= 0 && !w->seen[f]) { w->seen[f] = true; w->todo[w->n_todo++] = (size_t)f; }
    w->see(w->user, in, body ? -1 : (int)i, nodes[i], &r);
    bool branches = r.row && !strcmp(r.row->name, "If");
    for (size_t k = 0; r.row && !branches && k < nodes[i]->n_attribute; k++) {
      const Onnx__GraphProto *g = nodes[i]->attribute[k]->g;
      if (g) walk_nodes(w, in, g->n_node, g->node, true);
    }
  }
}

/* Bodies are visited once each, in the order in which they are first called. */
void model_walk(const Model *m, SeeNode *see, void *user) {
  size_t n = m->p->n_functions;
  Arena *a = arena_new(m->ctx);
  Walk w = {m, see, user, NEWN(a, bool, n + 1), NEWN(a, size_t, n + 1), 0};
  for (size_t at = 0; at <= w.n_todo; at++) {
    const Onnx__FunctionProto *in = at ? m->functions[w.todo[at - 1]] : NULL;
    if (in) walk_nodes(&w, in, in->n_node, in->node, false);
    else walk_nodes(&w, NULL, m->p->graph->n_node, m->p->graph->node, false);
  }
  arena_free(a);
}

enum { MOST_REPORTS = 1000 };
typedef struct Report { const Model *m; int64_t n; } Report;

static void report_unsupported(void *user, const Onnx__FunctionProto *in, int index, const Onnx__NodeProto *p, const Resolved *r) {
  Report *report = user;
  const Model *m = report->m;
  if (r->fn || r->row || ++report->n > MOST_REPORTS) return;
  Loc loc = m->loc;
  loc.node = in ? -1 : index, loc.name = p->name, loc.op = p->op_type;
  const char *domain = *text_of(p->domain) ? p->domain : "ai.onnx";
  if (r->opset < 0) { diag(m->ctx, E0210, &loc, "the model imports no opset of the default domain"); return; }
  if (r->other)
    diag(m->ctx, E0301, &loc, "%s of %s is supported for opsets %d to %d, the model has %lld", text_of(p->op_type), domain, r->other->since,
         r->other->upto, (long long)r->opset);
  else
    diag(m->ctx, E0301, &loc, "operator %s of %s is not supported", text_of(p->op_type), domain);
  if (in) diag_note(m->ctx, "in the body of function %s", text_of(in->name));
}

bool model_supported(const Model *m) {
  Report report = {m, 0};
  model_walk(m, report_unsupported, &report);
  if (report.n > MOST_REPORTS)
    diag_note(m->ctx, "and %lld more nodes", (long long)(report.n - MOST_REPORTS));
  return report.n == 0;
}

static bool name_fits(const Model *m, const char *name, const char *what) {
  if (!name || (int64_t)strlen(name) <= m->ctx->limits.name) return true;
  return diag(m->ctx, E0402, &m->loc, "the name of a %s is longer than %lld bytes", what, (long long)m->ctx->limits.name);
}

static bool nodes_check(const Model *m, size_t n, Onnx__NodeProto *const *nodes, const char *where) {
  if ((int64_t)n > m->ctx->limits.nodes) return diag(m->ctx, E0402, &m->loc, "%s has more than %lld nodes", where, (long long)m->ctx->limits.nodes);
  for (size_t i = 0; i < n; i++) {
    const Onnx__NodeProto *p = nodes[i];
    Loc loc = m->loc;
    loc.node = (int32_t)i, loc.name = p->name, loc.op = p->op_type;
    if (!p->op_type || !*p->op_type) return diag(m->ctx, E0203, &loc, "a node has no operator");
    if (p->n_output == 0) return diag(m->ctx, E0205, &loc, "a node has no output");
    if (!name_fits(m, p->name, "node") || !name_fits(m, p->op_type, "operator") || !name_fits(m, p->domain, "domain")) return false;
    for (size_t k = 0; k < p->n_input; k++) if (!name_fits(m, p->input[k], "value")) return false;
    for (size_t k = 0; k < p->n_output; k++) if (!name_fits(m, p->output[k], "value")) return false;
    for (size_t k = 0; k < p->n_attribute; k++) { /* bodies; the wire check bounds their depth */
      const Onnx__GraphProto *g = p->attribute[k]->g;
      if (g && ((int64_t)(g->n_input + g->n_output + g->n_initializer) > m->ctx->limits.nodes || !nodes_check(m, g->n_node, g->node, "a body")))
        return diag(m->ctx, E0402, &loc, "a body is too large or malformed");
    }
  }
  return true;
}

static bool opsets_check(const Model *m) {
  if (!m->p->n_opset_import) return diag(m->ctx, E0210, &m->loc, "the model imports no opset");
  for (size_t i = 0; i < m->p->n_opset_import; i++) {
    const Onnx__OperatorSetIdProto *s = m->p->opset_import[i];
    for (size_t k = 0; k < i && k < 1000; k++)
      if (same(m->p->opset_import[k]->domain, s->domain) && m->p->opset_import[k]->version != s->version)
        return diag(m->ctx, E0210, &m->loc, "domain \"%s\" is imported in two versions", text_of(s->domain));
    if (*canonical(s->domain)) continue;
    if (!s->has_version || s->version < 1) return diag(m->ctx, E0210, &m->loc, "the opset version is %lld", (long long)s->version);
    if (s->version > ONNX_NEWEST)
      return diag(m->ctx, E0210, &m->loc, "the model has opset %lld, known are those up to %d", (long long)s->version, ONNX_NEWEST);
  }
  return true;
}

static bool functions_check(Model *m) {
  const Onnx__ModelProto *p = m->p;
  if ((int64_t)p->n_functions > m->ctx->limits.functions)
    return diag(m->ctx, E0402, &m->loc, "the model has more than %lld functions", (long long)m->ctx->limits.functions);
  m->functions = NEWN(m->arena, const Onnx__FunctionProto *, p->n_functions + 1);
  for (size_t i = 0; i < p->n_functions; i++) {
    const Onnx__FunctionProto *f = p->functions[i];
    if (!f->name || !*f->name) return diag(m->ctx, E0203, &m->loc, "function %zu has no name", i);
    if (!name_fits(m, f->name, "function") || !nodes_check(m, f->n_node, f->node, "a function")) return false;
    if (!name_fits(m, f->domain, "domain") || !name_fits(m, f->overload, "overload")) return false;
    m->functions[i] = f;
  }
  if (p->n_functions) qsort(m->functions, p->n_functions, sizeof *m->functions, function_order);
  for (size_t i = 1; i < p->n_functions; i++)
    if (!function_order(&m->functions[i - 1], &m->functions[i])) return diag(m->ctx, E0202, &m->loc, "function %s is defined twice", m->functions[i]->name);
  return true;
}

bool model_read(Model *m, Ctx *ctx, Arena *arena, const char *file, const char *bytes, size_t n) {
  *m = (Model){.ctx = ctx, .arena = arena, .loc = LOC_NONE};
  m->loc.file = file;
  if (n == 0) return diag(ctx, E0101, &m->loc, "the file is empty");
  if (!wire_check(ctx, file, bytes, n, W_MODEL)) return false;
  ProtobufCAllocator alloc = onnx_allocator(arena);
  m->p = onnx__model_proto__unpack(&alloc, n, (const uint8_t *)bytes);
  if (!m->p) return diag(ctx, E0101, &m->loc, "not an ONNX file: a field has the wrong wire type");
  if (!m->p->graph) return diag(ctx, E0101, &m->loc, "the file has no graph: not an ONNX model, or cut short");
  if (!m->p->has_ir_version || m->p->ir_version < 1) return diag(ctx, E0210, &m->loc, "the model has no IR version");
  if (m->p->ir_version > ONNX_IR_NEWEST)
    return diag(ctx, E0210, &m->loc, "the model has IR version %lld, known are those up to %d", (long long)m->p->ir_version, ONNX_IR_NEWEST);
  const Onnx__GraphProto *g = m->p->graph;
  if ((int64_t)(g->n_input + g->n_output + g->n_initializer) > ctx->limits.nodes)
    return diag(ctx, E0402, &m->loc, "the graph has more than %lld inputs, outputs and initializers", (long long)ctx->limits.nodes);
  return opsets_check(m) && functions_check(m) && nodes_check(m, m->p->graph->n_node, m->p->graph->node, "the graph");
}

/* Facts and coverage */

bool onnx_info(Ctx *ctx, Arena *arena, const char *file, const char *bytes, size_t n, OnnxInfo *info) {
  Model m;
  Arena *scratch = arena_new(ctx);
  bool ok = model_read(&m, ctx, scratch, file, bytes, n);
  *info = (OnnxInfo){0};
  if (ok) {
    info->ir_version = m.p->ir_version;
    info->producer = arena_strdup(arena, text_of(m.p->producer_name));
    info->producer_version = arena_strdup(arena, text_of(m.p->producer_version));
    for (size_t i = 0; i < m.p->n_opset_import && info->n_opsets < 16; i++) {
      info->opsets[info->n_opsets].domain = arena_strdup(arena, text_of(m.p->opset_import[i]->domain));
      info->opsets[info->n_opsets++].version = m.p->opset_import[i]->version;
    }
    info->n_nodes = (int)m.p->graph->n_node;
  }
  arena_free(scratch);
  return ok;
}

typedef struct Missing { const char *domain, *op; int64_t opset; bool known; int n; } Missing;
typedef struct MissingList { Arena *arena; VEC(Missing) v; } MissingList;

static void count_missing(void *user, const Onnx__FunctionProto *in, int index, const Onnx__NodeProto *p, const Resolved *r) {
  MissingList *l = user;
  (void)in, (void)index;
  if (r->fn || r->row) return;
  for (int i = 0; i < l->v.n; i++)
    if (!strcmp(l->v.p[i].domain, r->domain) && !strcmp(l->v.p[i].op, text_of(p->op_type)) && l->v.p[i].opset == r->opset) { l->v.p[i].n++; return; }
  if (l->v.n < MOST_REPORTS) vec_push(l->arena, &l->v, ((Missing){r->domain, text_of(p->op_type), r->opset, r->other != NULL, 1}));
}

bool onnx_missing(Ctx *ctx, const char *file, const char *bytes, size_t n, Str *report, int *n_missing) {
  Model m;
  MissingList list = {.arena = arena_new(ctx)};
  bool ok = model_read(&m, ctx, list.arena, file, bytes, n);
  if (ok) model_walk(&m, count_missing, &list);
  *n_missing = list.v.n;
  for (int i = 0; i < list.v.n; i++) {
    const Missing *x = &list.v.p[i];
    str_quoted(report, x->op);
    str_put(report, " of ");
    str_quoted(report, *x->domain ? x->domain : "ai.onnx");
    if (x->known) str_printf(report, " opset %lld", (long long)x->opset);
    str_printf(report, ": %d node%s\n", x->n, x->n == 1 ? "" : "s");
  }
  arena_free(list.arena);
  return ok;
}
