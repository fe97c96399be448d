/* Parallel loops: the body becomes a function over pieces of the iterations, which NAME_env's parallel_for runs. */
#include "backends/c/c_unit.h"

#include <inttypes.h>

static void scan_expr(void *user, const Expr *x) {
  Scan *c = user;
  if (x->kind == EX_LOAD) c->reads[x->buf] = 1;
  if (x->kind == EX_VAR) c->used[x->var] = true;
}

static void scan_block(Scan *c, const Block *b) {
  for (const Stmt *s = b->first; s; s = s->next) {
    if (s == c->skip || !c_alive(c->pr, s)) continue;
    stmt_exprs(s, scan_expr, c);
    if (s->kind == ST_STORE) c->writes[s->buf] = 1;
    if (s->kind == ST_SET) c->set[s->var] = true;
    if (s->kind == ST_FOR || s->kind == ST_LET || s->kind == ST_VARDEF) c->bound[s->var] = true;
    scan_block(c, &s->body);
    scan_block(c, &s->other);
  }
}

static Scan scan(Printer *pr, const Block *b, const Stmt *skip) {
  Arena *a = pr->arena;
  int nv = pr->nest->n_vars + 1, nb = pr->p->n_bufs + 1;
  Scan c = {pr, skip, NEWN(a, uint8_t, nb), NEWN(a, uint8_t, nb), NEWN(a, bool, nv), NEWN(a, bool, nv), NEWN(a, bool, nv)};
  scan_block(&c, b);
  return c;
}

/* True where the iterations can run apart: no outer variable is set, no REG buffer is shared with the rest and written. */
static bool splits(Printer *pr, const Task *t) {
  for (int i = 0; i < pr->nest->n_vars; i++) if (t->in.set[i] && !t->in.bound[i]) return false;
  for (int i = 0; i < pr->p->n_bufs; i++)
    if (pr->p->bufs[i].sp == SP_REG && t->in.writes[i] && (t->rest.reads[i] || t->rest.writes[i])) return false;
  return true;
}

void c_tasks_find(Unit *u, const Block *b) {
  for (const Stmt *s = b->first; s; s = s->next) {
    if (s->kind == ST_FOR && s->mark == MARK_PARALLEL) {
      Task t = {s, scan(&u->pr, &s->body, NULL), scan(&u->pr, &u->pr.nest->body, s)};
      if (splits(&u->pr, &t)) { vec_push(u->pr.arena, &u->tasks, t); continue; }
    }
    c_tasks_find(u, &s->body);
    c_tasks_find(u, &s->other);
  }
}

bool c_task_private(const Task *t, const Buf *b, int i) {
  return b->sp == SP_REG && (t->in.reads[i] || t->in.writes[i]) && !t->rest.reads[i] && !t->rest.writes[i];
}

static bool is_passed(const Task *t, const Buf *b, int i) {
  return b->sp != SP_ROM && (t->in.reads[i] || t->in.writes[i]) && !c_task_private(t, b, i);
}

static bool is_free(const Task *t, int v) { return t->in.used[v] && !t->in.bound[v] && v != t->loop->var; }

static const char *var_type(Printer *pr, int v) {
  NType t = pr->nest->vars[v].t;
  return pr->modular[v] ? c_unsigned(pr, t) : c_type(pr, t);
}

void c_reg(Printer *pr, int i) {
  const Buf *b = &pr->p->bufs[i];
  str_printf(pr->o, "  %s %s[%" PRId64 "]%s;\n", c_mem_type(pr, b->e), c_local(pr, b->name), b->n ? b->n : 1,
             pr->has_lanes ? " __attribute__((aligned(64)))" : "");
}

static const char *task_name(Printer *pr, const char *what, int k) {
  return arena_printf(pr->arena, "%s_%sh_%s%d_%s", pr->name, pr->variant, what, k, pr->nest->name);
}

static void struct_print(Printer *pr, const Task *t, const char *arg) {
  str_printf(pr->o, "struct %s {\n  %s end_lo;\n", arg, c_type(pr, nt(pr->p->index)));
  for (int i = 0; i < pr->p->n_bufs; i++) {
    const Buf *b = &pr->p->bufs[i];
    if (!is_passed(t, b, i)) continue;
    str_printf(pr->o, "  %s%s *%s;\n", t->in.writes[i] ? "" : "const ", c_mem_type(pr, b->e), c_local(pr, b->name));
  }
  for (int i = 0; i < pr->nest->n_vars; i++)
    if (is_free(t, i)) str_printf(pr->o, "  %s %s;\n", var_type(pr, i), c_local(pr, pr->nest->vars[i].name));
  str_put(pr->o, "};\n\n");
}

static void task_print(Printer *pr, const Task *t, int k) {
  const char *arg = task_name(pr, "arg", k), *index = c_type(pr, nt(pr->p->index));
  struct_print(pr, t, arg);
  str_printf(pr->o, "static void %s(void *arg, size_t begin, size_t end) {\n  const struct %s *end_arg = "
             "(const struct %s *)arg;\n", task_name(pr, "task", k), arg, arg);
  for (int i = 0; i < pr->p->n_bufs; i++) {
    const Buf *b = &pr->p->bufs[i];
    const char *name = c_local(pr, b->name);
    if (c_task_private(t, b, i)) c_reg(pr, i);
    if (is_passed(t, b, i))
      str_printf(pr->o, "  %s%s *restrict %s = end_arg->%s;\n", t->in.writes[i] ? "" : "const ", c_mem_type(pr, b->e), name, name);
  }
  for (int i = 0; i < pr->nest->n_vars; i++) {
    const char *name = c_local(pr, pr->nest->vars[i].name);
    if (is_free(t, i)) str_printf(pr->o, "  const %s %s = end_arg->%s;\n", var_type(pr, i), name, name);
  }
  str_printf(pr->o, "  for (size_t end_k = begin; end_k < end; end_k++) {\n    const %s %s = end_arg->end_lo + (%s)end_k", index,
             c_local(pr, pr->nest->vars[t->loop->var].name), index);
  if (t->loop->step != 1) str_printf(pr->o, " * %" PRId64, t->loop->step);
  str_put(pr->o, ";\n");
  c_block(pr, &t->loop->body, 4);
  str_put(pr->o, "  }\n}\n\n");
}

static void call_print(Printer *pr, const Task *t, int k, int in) {
  const Stmt *s = t->loop;
  const char *index = c_type(pr, nt(pr->p->index)), *task = task_name(pr, "task", k);
  str_printf(pr->o, "%*s{\n%*sconst %s end_lo = ", in - 2, "", in, "", index);
  c_expr(pr, s->e, PREC_LOOSE);
  str_printf(pr->o, ";\n%*sconst %s end_hi = ", in, "", index);
  c_expr(pr, s->e2, PREC_LOOSE);
  str_printf(pr->o, ";\n%*sconst size_t end_n = end_hi > end_lo ? ((size_t)end_hi - (size_t)end_lo - 1u) / %" PRId64 "u + 1u : 0u;\n",
             in, "", s->step);
  str_printf(pr->o, "%*sstruct %s end_arg;\n%*send_arg.end_lo = end_lo;\n", in, "", task_name(pr, "arg", k), in, "");
  for (int i = 0; i < pr->p->n_bufs; i++) {
    const char *name = c_local(pr, pr->p->bufs[i].name);
    if (is_passed(t, &pr->p->bufs[i], i)) str_printf(pr->o, "%*send_arg.%s = %s;\n", in, "", name, name);
  }
  for (int i = 0; i < pr->nest->n_vars; i++) {
    const char *name = c_local(pr, pr->nest->vars[i].name);
    if (is_free(t, i)) str_printf(pr->o, "%*send_arg.%s = %s;\n", in, "", name, name);
  }
  str_printf(pr->o, "%*sif (env->parallel_for) env->parallel_for(env->user, end_n, %s, &end_arg);\n", in, "", task);
  str_printf(pr->o, "%*selse %s(&end_arg, 0u, end_n);\n%*s}\n", in, "", task, in - 2, "");
}

void c_task_call(Printer *pr, int k, int indent) {
  Unit *u = (Unit *)(void *)pr; /* the unit's first member */
  Str *o = pr->o;
  pr->o = &u->functions;
  task_print(pr, &u->tasks.p[k], k);
  pr->o = o;
  call_print(pr, &u->tasks.p[k], k, indent + 2);
}
