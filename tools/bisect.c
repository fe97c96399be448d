#include "tools/bisect.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

int64_t bits_differ(const Tensor *a, const Tensor *b, int64_t *first) {
  size_t size = store_size(a->st);
  int64_t bad = 0;
  *first = -1;
  for (int64_t i = 0; i < a->n; i++) {
    if (!memcmp((const char *)a->data + (size_t)i * size, (const char *)b->data + (size_t)i * size, size)) continue;
    double x = tensor_f(a, i), y = tensor_f(b, i);
    if (x != x && y != y) continue;
    if (!bad++) *first = i;
  }
  return bad;
}

double step_of(const Node *n) {
  double s = 0;
  while (n->op == OP_RESHAPE || n->op == OP_VIEW) n = n->in[0];
  return n->op == OP_DEQUANT && node_uniform(n->in[1], &s) ? fabs(s) : 0;
}

/* ---- an engine against eval: a cut of the graph after node m has as outputs what later nodes or the outputs read of 0..m. Before the first
 * node nothing differs, after the last something does: between, halving finds a node with all it reads the same and itself not. */

typedef struct Cut { Graph *g; Output *outs; int n; } Cut;

static bool is_value(const Node *n) { return n->op != OP_CONST && n->op != OP_ARG; }

static void cut_after(Cmd *c, Graph *g, int m, Cut *cut) {
  Output *own = g->outs, *outs = NEWN(c->ctx->own, Output, g->n_nodes + g->n_outs + 1);
  bool *want = NEWN(c->ctx->own, bool, g->n_nodes + 1);
  int n_own = g->n_outs, n = 0;
  for (int i = m + 1; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i]->n_in; k++) want[g->nodes[i]->in[k]->id] = true;
  for (int o = 0; o < g->n_outs; o++) want[g->outs[o].v->id] = true;
  for (int i = 0; i <= m; i++)
    if (want[i] && is_value(g->nodes[i])) outs[n++] = (Output){g->nodes[i], arena_printf(c->ctx->own, "v%d", i)};
  g->outs = outs, g->n_outs = n;
  *cut = (Cut){n ? graph_copy(g) : NULL, outs, n};
  g->outs = own, g->n_outs = n_own;
}

/* Whether a value of the cut differs; which: the first of them, with text. */
static bool cut_differs(Cmd *c, EngineKind k, const Cut *cut, Tensor *const *in, const PassOptions *o, bool *differs, const Node **which, const char **text) {
  Tensor **want = NEWN(c->ctx->own, Tensor *, cut->n + 1), **got = NEWN(c->ctx->own, Tensor *, cut->n + 1);
  *differs = false;
  if (!cut->g) return true;
  Engine *e = engine_new(c->ctx, k, cut->g, o);
  bool ok = e && graph_eval(c->ctx, cut->g, in, want, NULL, NULL) && engine_run(e, in, got);
  for (int i = 0; ok && i < cut->n; i++) {
    int64_t first, bad = bits_differ(got[i], want[i], &first);
    if (bad && !*differs) {
      *differs = true;
      *which = cut->outs[i].v;
      *text = arena_printf(c->ctx->own, "%" PRId64 " of %" PRId64 " elements differ, first at %" PRId64 ": %.9g, eval %.9g", bad, got[i]->n, first,
                           tensor_f(got[i], first), tensor_f(want[i], first));
    }
  }
  for (int i = 0; i < cut->n; i++) tensor_free(want[i]), tensor_free(got[i]);
  engine_free(e);
  graph_free(cut->g);
  return ok;
}

static const char *node_text(Cmd *c, const Graph *g, const Node *n) {
  Str t = {.ctx = c->ctx};
  if (n->loc.name || n->loc.node >= 0) {
    if (n->loc.node >= 0) str_printf(&t, "node %d ", n->loc.node);
    str_quoted(&t, n->loc.name ? n->loc.name : "");
    if (n->loc.op) str_printf(&t, " (%s)", n->loc.op);
    str_put(&t, ", ");
  }
  str_printf(&t, "%%%u = %s%s%s : ", n->id, op_info[n->op].name, n->op == OP_MAP ? " " : "", n->op == OP_MAP ? scalar_info[n->a.scalar].name : "");
  type_print(&t, g, &n->t);
  const char *s = arena_strdup(c->ctx->own, t.p);
  str_free(&t);
  return s;
}

bool bisect_engine(Cmd *c, EngineKind k, Graph *g, Tensor *const *in, const PassOptions *o) {
  State s = {.graph = graph_copy(g)};
  const Node *which = NULL;
  const char *text = "";
  Cut cut;
  bool differs;
  if (!s.graph || (!(g->props & (P_RECOGNIZED | P_SELECTED)) && !passes_standard(c->ctx, &s, PASS_recognize, o))) return false;
  g = s.graph;
  int lo = -1, hi = g->n_nodes - 1;
  cut_after(c, g, hi, &cut);
  if (!cut_differs(c, k, &cut, in, o, &differs, &which, &text)) return false;
  while (differs && hi - lo > 1) {
    int m = lo + (hi - lo) / 2;
    bool here;
    cut_after(c, g, m, &cut);
    if (!cut_differs(c, k, &cut, in, o, &here, &which, &text)) return false;
    if (here) hi = m;
    else lo = m;
  }
  if (differs) { /* which may be of a cut that was not the last */
    cut_after(c, g, hi, &cut);
    if (!cut_differs(c, k, &cut, in, o, &differs, &which, &text)) return false;
  }
  if (differs) diag_note(c->ctx, "first differing layer: %s: %s", node_text(c, g, g->nodes[hi]), text);
  else diag_note(c->ctx, "no layer: the engine agrees with eval where the graph after recognize enters the passes alone");
  graph_free(g);
  return true;
}

/* ---- eval against stored values */

typedef struct Stored { Cmd *c; const char *dir; } Stored;

static const char *stored_path(const Stored *s, const char *value) {
  char *p = arena_printf(s->c->ctx->own, "%s/%s.npy", s->dir, value);
  for (char *q = p + strlen(s->dir) + 1; *q; q++) if (!isalnum((unsigned char)*q) && !strchr("._-+", *q)) *q = '_';
  return p;
}
static bool is_stored(void *user, const char *value) { return !access(stored_path(user, value), R_OK); }

/* A value beyond the tolerances, and beyond one step of its quantization. */
static bool beyond(Cmd *c, const Graph *g, int o, const Tensor *got, const Tensor *want, double rtol, double atol, Str *say) {
  int64_t first;
  double worst, step = step_of(g->outs[o].v);
  int64_t bad = tensor_diff(got, want, atol, rtol, &first, &worst);
  if (elem_is_code(got->t.e)) step = 1;
  if (!bad || (step > 0 && worst <= step * 1.001)) return false;
  str_printf(say, "first value that differs from the stored one: '%s' of %s: %" PRId64 " of %" PRId64 " elements, first at %" PRId64 ": %.9g, stored %.9g",
             g->outs[o].name, node_text(c, g, g->outs[o].v), bad, got->n, first, tensor_f(got, first), tensor_f(want, first));
  return true;
}

bool bisect_stored(Cmd *c, const char *model, const char *dir, Tensor *const *in, const PassOptions *opt, double rtol, double atol, bool *agree, Str *say) {
  Stored st = {c, dir};
  Model m;
  int n = 0, at = -1;
  if (!model_load_exposed(c, model, is_stored, &st, &m)) return false;
  Graph *g = m.s.graph;
  Engine *e = g ? engine_new(c->ctx, ENGINE_EVAL, g, opt) : NULL;
  Tensor **got = g ? NEWN(c->ctx->own, Tensor *, g->n_outs + 1) : NULL;
  bool ok = e && engine_run(e, in, got);
  /* the outputs of the model come first, and are last in order */
  for (int round = 0; ok && round < 2 && at < 0; round++)
    for (int o = 0; ok && o < g->n_outs && at < 0; o++) {
      const char *path = stored_path(&st, g->outs[o].name);
      if (access(path, R_OK)) continue;
      Tensor *t = tensor_read(c->ctx, path, NULL), *want = t ? tensor_as(c->ctx, t, &got[o]->t) : NULL;
      ok = want != NULL;
      n += round == 0;
      if (ok && round == (o < m.n_outs) && beyond(c, g, o, got[o], want, rtol, atol, say)) at = o;
      tensor_free(want);
    }
  if (ok && at < 0 && n) str_printf(say, "%d stored values agree", n);
  *agree = at < 0;
  for (int o = 0; got && o < g->n_outs; o++) tensor_free(got[o]);
  engine_free(e);
  model_free(&m);
  return ok;
}
