/* Float sums as eval orders them (ExecOptions.exact). A contraction is a program of its own, which the standard passes make and LLVM's JIT
 * compiles for this machine: the engines' promise of eval's bits holds for it, too. Where that is not to be had, and for reductions, whose
 * sums are few, eval's own functions compute. */
#include "trainer/exec_impl.h"

#include <stdio.h>

bool exact_sum(const Exec *e, const Node *n) {
  bool sum = n->op == OP_CONTRACT || (n->op == OP_REDUCE && n->a.scalar == S_ADD);
  return e->o.exact && sum && elem_is_float(n->t.e);
}

#ifdef POPSHIFT_LLVM
#include "backends/llvm/llvm_backend.h"

struct Alone {
  LlvmJit *jit;
  void *workspace; size_t bytes;
  int *in, n_in;           /* values of its arguments */
  const void **data;       /* where they are */
};

/* The node's graph: constants as they are, arguments for the rest. */
static Graph *alone(const Exec *e, const Node *n) {
  Graph *g = graph_new(e->ctx, "sum", NULL);
  Node **in = NEWN(e->arena, Node *, n->n_in);
  for (int k = 0; k < n->n_in; k++) {
    char name[16];
    snprintf(name, sizeof name, "x%d", k);
    in[k] = n->in[k]->op == OP_CONST ? node_clone(g, n->in[k], NULL) : graph_arg(g, name, &n->in[k]->t);
  }
  graph_out(g, "y", node_clone(g, n, in));
  return g;
}

static void compile(Exec *e, struct Alone *a, const Node *n) {
  DiagMark before = diag_mark(e->ctx);
  State st = {.graph = alone(e, n)};
  if (passes_standard(e->ctx, &st, -1, &(PassOptions){.target = e->o.machine})) a->jit = llvm_jit_new(e->ctx, st.program, &(LlvmOptions){.opt = 2});
  if (a->jit) {
    a->bytes = (size_t)st.program->arena_bytes;
    vec_push(e->arena, &e->compiled, ((struct Compiled){"", a->jit}));
  } else {
    diag_drop(e->ctx, before); /* eval does the same */
  }
  program_free(st.program);
}

/* Plans of one graph have the same steps. */
void exact_compile(Exec *e) {
  for (int s = 0; e->o.machine && s < e->steps.n; s++) {
    Step *st = &e->steps.p[s];
    const Node *n = st->kind == STEP_EVAL ? e->g->nodes[st->nodes.p[0]] : NULL;
    if (!n || n->op != OP_CONTRACT || !exact_sum(e, n)) continue;
    struct Alone *a = NEW(e->arena, struct Alone);
    const struct Alone *like = e->o.like ? e->o.like->steps.p[s].alone : NULL;
    *a = (struct Alone){.in = NEWN(e->arena, int, n->n_in), .data = NEWN(e->arena, const void *, n->n_in)};
    for (int k = 0; k < n->n_in; k++) if (n->in[k]->op != OP_CONST) a->in[a->n_in++] = st->operand[k];
    if (like) a->jit = like->jit, a->bytes = like->bytes;
    else if (!e->o.like) compile(e, a, n);
    if (!a->jit) continue;
    a->workspace = arena_aligned(e->arena, a->bytes + 64);
    st->alone = a;
  }
}

bool exact_run(const Exec *e, const Step *s) {
  struct Alone *a = s->alone;
  for (int k = 0; k < a->n_in; k++) a->data[k] = e->v[a->in[k]].data;
  return llvm_jit_run(a->jit, a->workspace, a->data, (void *[]){e->v[s->out[0]].data});
}

#else
void exact_compile(Exec *e) { (void)e; }
bool exact_run(const Exec *e, const Step *s) { (void)e, (void)s; return false; }
#endif
