/* The pass runner and the standard pipeline.
 *
 *   Graph ── infer ──> typed ── clean ── recognize ── clean ── encode, sink ── clean ── thresholds ── clean ── prune ── clean ──┐
 *         from the                          │                       │                      │                     │             │
 *         frontend                  fixes the meaning:      only element-wise      integers from the      what is constant     │
 *                                   exact integers          steps before quants    first quant to the     or unread goes       │
 *                                   of codes                                       last dequant                                │
 *         clean = canon, fold, cse, dce until nothing changes, then canon; tidy = fold, cse, dce                               │
 *   ┌──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
 *   └─ widths ── tidy ── select ── layout ── tidy ── fuse ── lower ──> Program ── schedule ── unmultiply ── plan ──> backends
 *        │                 │         │                │        │                     │            │           │
 *      narrowest         a kernel  packed          one loop   Nests                loops    --no-multiply   offsets
 *      types             each      words
 *
 * Each pass is a row of passes.def. The runner checks what it needs, dumps, times, and verifies what it gives; with verify_each (always in
 * hostile builds) also the whole verifier, and the values on random inputs before and after. */
#include "passes/pass.h"

#include "passes/canon.h"
#include "passes/compare.h"
#include "passes/recognize.h"

#include <assert.h>
#include <string.h>

#define PTR_LEVEL_GRAPH(name) .graph = pass_##name
#define PTR_LEVEL_LOWER(name) .lower = pass_##name
#define PTR_LEVEL_PROGRAM(name) .program = pass_##name
const PassInfo pass_info[PASS_COUNT] = {
#define PASS(name, level, needs, gives, keeps, what) [PASS_##name] = {#name, level, needs, gives, keeps, what, PTR_##level(name)},
#include "passes/passes.def"
#undef PASS
};

int pass_find(const char *name) {
  for (int i = 0; i < PASS_COUNT; i++)
    if (!strcmp(name, pass_info[i].name)) return i;
  return -1;
}

bool pass_optional(PassId id) { return pass_info[id].gives == 0 && pass_info[id].level != LEVEL_LOWER; }

/* Properties as predicates */

static bool all_static(const Graph *g) {
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    if (!type_static(&n->t)) return false;
    for (int k = 0; n->a.iters && k < n->a.iters->n_red; k++)
      if (n->a.iters->red[k].sym) return false;
  }
  return true;
}

static bool all_recognized(const Graph *g) {
  for (int i = 0; i < g->n_nodes; i++)
    if (contract_recognizable(g->nodes[i], g->nodes[i]->in)) return false;
  return true;
}

static bool all_selected(const Graph *g) {
  for (int i = 0; i < g->n_nodes; i++)
    if (g->nodes[i]->op == OP_CONTRACT && g->nodes[i]->a.kernel == KERNEL_AUTO) return false;
  return true;
}

static bool typed(const Graph *g) { return graph_verify(g->ctx, g); }

static const struct { uint32_t prop; const char *name, *from; bool (*holds)(const Graph *); } props[] = {
  {P_TYPED, "typed", "infer", typed},
  {P_CANON, "canonical", "canon", graph_is_canon},
  {P_RECOGNIZED, "recognized", "recognize", all_recognized},
  {P_STATIC, "static", "infer", all_static},
  {P_SELECTED, "selected", "select", all_selected},
};
enum { PROPS = sizeof props / sizeof *props };

bool graph_static(Ctx *ctx, const Graph *g) {
  if (all_static(g)) return true;
  for (int i = 0; i < g->n_args; i++)
    for (int k = 0; k < g->args[i]->t.rank; k++) {
      uint32_t sym = g->args[i]->t.d[k].sym;
      if (!sym) continue;
      Loc loc = {.file = g->file, .line = -1, .node = -1};
      diag(ctx, E0304, &loc, "dimension %s of input '%s' is not known", g->syms[sym - 1], g->arg_names[i]);
      diag_hint(ctx, "give --dim %s=N, or the whole shape by --shape %s=N,N,...", g->syms[sym - 1], g->arg_names[i]);
      return false;
    }
  return diag(ctx, E0304, &(Loc){.file = g->file, .line = -1, .node = -1}, "a dimension depends on the data");
}

/* Sets the bits that a pass needs where they hold. */
static bool check_needs(Ctx *ctx, Graph *g, const PassInfo *p) {
  for (int i = 0; i < PROPS; i++) {
    if (!(p->needs & props[i].prop) || g->props & props[i].prop) continue;
    int errors = ctx->n_errors;
    if (props[i].holds(g)) {
      g->props |= props[i].prop;
      continue;
    }
    if (props[i].prop == P_STATIC) return graph_static(ctx, g);
    Loc loc = {.file = g->file, .line = -1, .node = -1};
    if (ctx->n_errors == errors) diag(ctx, E0701, &loc, "pass %s needs a %s graph", p->name, props[i].name);
    diag_hint(ctx, "run %s before it", props[i].from);
    return false;
  }
  return true;
}

static bool broken(Ctx *ctx, const char *file, const PassInfo *p, const char *what) {
  return diag(ctx, E0901, &(Loc){.file = file, .line = -1, .node = -1}, "pass %s: %s", p->name, what);
}

static bool check_gives(Ctx *ctx, Graph *g, const PassInfo *p, bool verify) {
  int errors = ctx->n_errors;
  if (p->level == LEVEL_GRAPH && verify && !graph_verify(ctx, g)) return broken(ctx, g->file, p, "the graph does not verify");
  for (int i = 0; i < PROPS; i++)
    if (p->gives & props[i].prop && !props[i].holds(g))
      return ctx->n_errors == errors ? broken(ctx, g->file, p, arena_printf(g->arena, "the graph is not %s", props[i].name)) : false;
  g->props |= p->gives;
  if (!(p->gives & P_CANON)) g->props &= ~(uint32_t)P_CANON; /* other passes may leave other spellings */
  return true;
}

/* Running */

static bool verifies(const PassOptions *o) {
#ifdef POPSHIFT_HOSTILE
  (void)o;
  return true;
#else
  return o->verify_each;
#endif
}

static bool apply(State *s, const PassInfo *p, const PassOptions *o) {
  switch (p->level) {
  case LEVEL_GRAPH: s->graph = p->graph(s->graph, o); return s->graph != NULL;
  case LEVEL_LOWER: s->program = p->lower(s->graph, o); s->graph = NULL; return s->program != NULL;
  default: return p->program(s->program, o);
  }
}

static void state_free(State *s) {
  graph_free(s->graph);
  if (s->program) program_free(s->program);
  *s = (State){0};
}

static bool run_one(Ctx *ctx, State *s, PassId id, const PassOptions *o, Compare *c) {
  const PassInfo *p = &pass_info[id];
  bool graphs = p->level != LEVEL_PROGRAM;
  const char *what = NULL, *file = s->graph && s->graph->file && verifies(o) ? arena_strdup(ctx->own, s->graph->file) : NULL; /* the graph goes */
  if (o->skip >> id & 1) return true;
  if (graphs ? !s->graph : !s->program) return diag(ctx, E0701, &LOC_NONE, "pass %s needs a %s", p->name, graphs ? "graph" : "program");
  if (s->graph && !check_needs(ctx, s->graph, p)) return false;
  if (o->dump) o->dump(o->dump_user, id, false, s->graph, s->program);
  double start = clock_seconds();
  bool ok = apply(s, p, o);
  if (o->seconds) o->seconds[id] += clock_seconds() - start;
  if (!ok) return false;
  if (s->graph && !check_gives(ctx, s->graph, p, verifies(o))) return false;
  if (s->program && verifies(o) && !program_verify(ctx, s->program)) return broken(ctx, file, p, "the program does not verify");
  if (o->dump) o->dump(o->dump_user, id, true, s->graph, s->program);
  Check check = p->keeps == KEEPS_BITS ? CHECK_BITS : CHECK_CODES;
  return !c || compare_state(c, s->graph, s->program, check, &what) || broken(ctx, file, p, what);
}

/* The values before the first pass, where they are compared. */
static bool compare_start(Compare *c, Ctx *ctx, const State *s, const PassOptions *o) {
  const char *what;
  if (!verifies(o) || !s->graph) return false;
  compare_init(c, ctx, s->graph, o->verify_each ? 0 : INT64_C(1) << 22);
  if (!c->on || compare_state(c, s->graph, NULL, CHECK_NONE, &what)) return true;
  compare_free(c);
  return false;
}

bool passes_run(Ctx *ctx, State *s, const PassId *ids, int n, const PassOptions *o) {
  Compare c;
  bool compares = compare_start(&c, ctx, s, o), ok = true;
  for (int i = 0; ok && i < n; i++) ok = run_one(ctx, s, ids[i], o, compares ? &c : NULL);
  if (compares) compare_free(&c);
  if (!ok) state_free(s);
  return ok;
}

/* The standard pipeline */

/* canon, fold, cse, dce until the graph stays as it is; its size tells. */
static bool clean(Ctx *ctx, State *s, const PassOptions *o, Compare *c) {
  enum { ROUNDS = 8 };
  static const PassId ids[] = {PASS_canon, PASS_fold, PASS_cse, PASS_dce};
  int nodes = -1, edges = -1;
  for (int round = 0; round < ROUNDS; round++) {
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
      if (!run_one(ctx, s, ids[i], o, c)) return false;
    int e = 0;
    for (int i = 0; i < s->graph->n_nodes; i++) e += s->graph->nodes[i]->n_in;
    if (s->graph->n_nodes == nodes && e == edges) break;
    nodes = s->graph->n_nodes;
    edges = e;
  }
  return o->skip >> PASS_canon & 1 || run_one(ctx, s, PASS_canon, o, c);
}

typedef enum After { NOTHING, CLEAN, TIDY } After; /* TIDY: fold, cse and dce */
static const struct { PassId id; After after; } pipeline[] = {
  {PASS_infer, CLEAN}, {PASS_recognize, CLEAN}, {PASS_encode, NOTHING}, {PASS_sink, CLEAN}, {PASS_thresholds, CLEAN}, {PASS_prune, CLEAN}, {PASS_widths, TIDY},
  {PASS_select, NOTHING}, {PASS_layout, TIDY}, {PASS_fuse, NOTHING}, {PASS_lower, NOTHING}, {PASS_schedule, NOTHING}, {PASS_unmultiply, NOTHING}, {PASS_plan, NOTHING},
};
enum { PIPELINE = sizeof pipeline / sizeof *pipeline };

static bool is_clean(int id) { return id == PASS_canon || id == PASS_fold || id == PASS_cse || id == PASS_dce; }

/* Where a state enters the pipeline. */
static PassId entry(const State *s) {
  if (s->program) return s->program->arena_bytes >= 0 ? PASS_COUNT : PASS_schedule;
  if (!(s->graph->props & P_TYPED)) return PASS_infer;
  if (s->graph->props & P_SELECTED) return PASS_layout;
  return s->graph->props & P_RECOGNIZED ? PASS_encode : PASS_infer;
}

static bool run_after(Ctx *ctx, State *s, After after, const PassOptions *o, Compare *c) {
  if (after == NOTHING || !s->graph) return true;
  if (after == CLEAN) return clean(ctx, s, o, c);
  return run_one(ctx, s, PASS_fold, o, c) && run_one(ctx, s, PASS_cse, o, c) && run_one(ctx, s, PASS_dce, o, c);
}

bool passes_standard(Ctx *ctx, State *s, int last, const PassOptions *o) {
  Compare c;
  PassId first = entry(s);
  bool compares = compare_start(&c, ctx, s, o), ok = true, done = false;
  for (int i = 0; ok && !done && i < PIPELINE; i++) {
    if (pipeline[i].id < first) continue;
    if (last >= 0 && !is_clean(last) && (int)pipeline[i].id > last) break;
    ok = run_one(ctx, s, pipeline[i].id, o, compares ? &c : NULL);
    done = last == (int)pipeline[i].id;
    ok = ok && (done || run_after(ctx, s, pipeline[i].after, o, compares ? &c : NULL));
    done = done || (last >= 0 && is_clean(last)); /* to the end of the first cleaning */
  }
  if (compares) compare_free(&c);
  if (!ok) state_free(s);
  return ok;
}
