/* Statements as C: loops, branches, variables, stores. What nobody reads is not printed. */
#include "backends/c/c_print.h"

#include <inttypes.h>
#include <string.h>

void c_indent(Printer *pr, int n) { str_printf(pr->o, "%*s", n, ""); }

bool c_alive(const Printer *pr, const Stmt *s) {
  if (s->kind == ST_SET && s->e->kind == EX_VAR && s->e->var == s->var) return false;
  return (s->kind != ST_LET && s->kind != ST_VARDEF && s->kind != ST_SET) || pr->uses[s->var] > 0;
}

/* Uses */

typedef struct Count { Printer *pr; int *uses; int but; } Count;

static void count_expr(void *user, const Expr *x) {
  Count *c = user;
  if (x->kind == EX_VAR && x->var != c->but) c->uses[x->var]++;
  if (x->kind == EX_LOAD) c->pr->reads[x->buf] = 1;
  if (x->t.lanes > 1) c->pr->has_lanes = true;
}

static void count_block(Count *c, const Block *b) {
  for (const Stmt *s = b->first; s; s = s->next) {
    if (!c_alive(c->pr, s)) continue;
    c->but = s->kind == ST_SET ? s->var : -1; /* x := x + 1 alone does not make x useful */
    stmt_exprs(s, count_expr, c);
    if (s->kind == ST_STORE) c->pr->writes[s->buf] = 1;
    count_block(c, &s->body);
    count_block(c, &s->other);
  }
}

/* Ranges follow the text, since a variable may be bound again in another block. */
static void bind(Printer *pr, const Stmt *s) {
  Range t = c_elem_range(pr->nest->vars[s->var].t.e), lo, hi;
  if (s->kind == ST_VARDEF) { pr->range[s->var] = t; return; }
  if (s->kind == ST_LET) { pr->range[s->var] = c_range(pr, s->e); return; }
  lo = c_range(pr, s->e);
  hi = c_range(pr, s->e2);
  if (!lo.known || !hi.known) { pr->range[s->var] = t; return; }
  pr->range[s->var] = (Range){lo.lo, hi.hi - 1 > lo.lo ? hi.hi - 1 : lo.lo, true};
}

/* Variables that only modular arithmetic changes are held as unsigned: sums stay free of conversions, in the form that
 * compilers turn into dot-product instructions. */
static void find_modular(Printer *pr, const Block *b) {
  for (const Stmt *s = b->first; s; s = s->next) {
    if (s->kind == ST_FOR || s->kind == ST_LET || s->kind == ST_VARDEF) bind(pr, s);
    if (s->kind == ST_SET && pr->nest->vars[s->var].t.e.bits >= 32 && c_modular(pr, s->e)) pr->modular[s->var] = true;
    find_modular(pr, &s->body);
    find_modular(pr, &s->other);
  }
}

void c_nest_open(Printer *pr, const Nest *n) {
  pr->nest = n;
  pr->n_named = pr->named.n = 0;
  pr->has_lanes = false;
  pr->modular = NULL;
  pr->range = NEWN(pr->arena, Range, n->n_vars + 1);
  int *old = NEWN(pr->arena, int, n->n_vars + 1), *now = NEWN(pr->arena, int, n->n_vars + 1);
  for (int i = 0; i < n->n_vars; i++) old[i] = 1;
  for (bool same = false; !same;) {
    memset(now, 0, sizeof *now * (size_t)n->n_vars);
    memset(pr->reads, 0, (size_t)pr->p->n_bufs);
    memset(pr->writes, 0, (size_t)pr->p->n_bufs);
    pr->uses = old;
    count_block(&(Count){pr, now, -1}, &n->body);
    same = true;
    for (int i = 0; i < n->n_vars; i++) same = same && !old[i] == !now[i];
    int *swap = old; old = now; now = swap;
    pr->uses = old;
  }
  bool *modular = NEWN(pr->arena, bool, n->n_vars + 1);
  pr->modular = modular;
  find_modular(pr, &n->body);
}

/* Statements */

static void value_print(Printer *pr, const Expr *e) {
  if (e->t.lanes > 1 && e->t.e.kind == EK_BOOL) c_mask_expr(pr, e, 8);
  else c_expr(pr, e, PREC_LOOSE);
}

static const char *var_name(Printer *pr, int v) { return c_local(pr, pr->nest->vars[v].name); }

static void define_print(Printer *pr, const Stmt *s) {
  NType t = pr->nest->vars[s->var].t;
  bool modular = pr->modular[s->var];
  str_printf(pr->o, "%s%s %s = ", s->kind == ST_LET ? "const " : "", modular ? c_unsigned(pr, t) : c_type(pr, t), var_name(pr, s->var));
  if (modular) c_unsigned_expr(pr, s->e, PREC_LOOSE);
  else value_print(pr, s->e);
  str_put(pr->o, ";\n");
}

static void set_print(Printer *pr, const Stmt *s) {
  const Expr *e = s->e;
  bool adds = e->kind == EX_SCALAR && e->s == S_ADD && e->a[0]->kind == EX_VAR && e->a[0]->var == s->var;
  str_put(pr->o, var_name(pr, s->var));
  if (pr->modular[s->var] && adds) {
    str_put(pr->o, " += ");
    c_unsigned_expr(pr, e->a[1], PREC_LOOSE);
  } else if (pr->modular[s->var]) {
    str_put(pr->o, " = ");
    c_unsigned_expr(pr, e, PREC_LOOSE);
  } else {
    str_put(pr->o, " = ");
    value_print(pr, e);
  }
  str_put(pr->o, ";\n");
}

static void store_print(Printer *pr, const Stmt *s) {
  const Expr *e = s->e;
  const char *name = c_local(pr, pr->p->bufs[s->buf].name);
  if (e->t.lanes > 1) {
    str_printf(pr->o, "%s(&%s[", c_help(pr, HELP_STORE, e->t, e->t, 0, NULL), name);
    c_expr(pr, s->e2, PREC_LOOSE);
    str_put(pr->o, "], ");
    value_print(pr, e);
    str_put(pr->o, ");\n");
    return;
  }
  str_printf(pr->o, "%s[", name);
  c_expr(pr, s->e2, PREC_LOOSE);
  str_put(pr->o, "] = ");
  if (e->t.e.kind == EK_BOOL && !pr->hls) { str_put(pr->o, "(uint8_t)"); c_expr(pr, e, PREC_UNARY); }
  else c_expr(pr, e, PREC_LOOSE);
  str_put(pr->o, ";\n");
}

/* C99 promises 63 nested parentheses, and clang stops at 256: what is deeper is computed before the statement. */
enum { DEPTH = 20 };

static int split(Printer *pr, const Expr *x, bool guarded, int indent);

static bool is_deep(const Expr *x, int left) {
  if (left == 0) return true;
  for (int i = 0; i < x->n; i++) if (is_deep(x->a[i], left - 1)) return true;
  return false;
}

static const char *name_new(Printer *pr, const Expr *x) {
  Named n = {x, arena_printf(pr->arena, "end_e%d", pr->n_named++)};
  vec_push(pr->arena, &pr->named, n);
  return n.name;
}

/* A choice with deep sides as a branch. */
static void split_cond(Printer *pr, const Expr *x, int indent) {
  Str head = {.ctx = pr->ctx}, *o = pr->o;
  split(pr, x->a[0], false, indent);
  pr->o = &head;
  c_expr(pr, x->a[0], PREC_LOOSE);
  pr->o = o;
  const char *name = arena_printf(pr->arena, "end_e%d", pr->n_named++);
  str_printf(pr->o, "%*s%s %s;\n%*sif (%s) {\n", indent, "", c_type(pr, x->t), name, indent, "", head.p);
  int outside = pr->named.n;
  for (int i = 1; i < 3; i++) {
    pr->named.n = outside; /* what a branch names is unknown after it */
    split(pr, x->a[i], false, indent + 2);
    str_printf(pr->o, "%*s%s = ", indent + 2, "", name);
    value_print(pr, x->a[i]);
    str_printf(pr->o, i == 1 ? ";\n%*s} else {\n" : ";\n%*s}\n", indent, "");
  }
  pr->named.n = outside;
  vec_push(pr->arena, &pr->named, ((Named){x, name}));
  str_free(&head);
}

/* Returns the depth that is left. guarded: evaluated under a condition. */
static int split(Printer *pr, const Expr *x, bool guarded, int indent) {
  int depth = 0;
  bool mask = x->t.lanes > 1 && x->t.e.kind == EK_BOOL;
  if (c_named(pr, x)) return 0;
  if (x->kind == EX_COND && !guarded && !mask && is_deep(x, DEPTH)) { split_cond(pr, x, indent); return 0; }
  for (int i = 0; i < x->n; i++) {
    int d = split(pr, x->a[i], guarded || (x->kind == EX_COND && i > 0), indent);
    if (d > depth) depth = d;
  }
  if (++depth < DEPTH || guarded || mask) return depth;
  Str text = {.ctx = pr->ctx}, *o = pr->o;
  pr->o = &text;
  value_print(pr, x);
  pr->o = o;
  c_indent(pr, indent);
  str_printf(pr->o, "const %s %s = %s;\n", c_type(pr, x->t), name_new(pr, x), text.p);
  str_free(&text);
  return 0;
}

/* One line, broken at spaces where it is long: generated statements have no strings. */
static void line_put(Printer *pr, const char *text, int indent) {
  enum { WIDTH = 125 };
  while (strlen(text) + (size_t)indent > WIDTH) {
    const char *cut = text + (indent < WIDTH - 40 ? WIDTH - indent : 40);
    while (cut > text && *cut != ' ') cut--;
    if (cut == text) cut = strchr(text, ' ');
    if (!cut) break;
    str_printf(pr->o, "%*s", indent, "");
    str_putn(pr->o, text, (size_t)(cut - text));
    str_put(pr->o, "\n");
    text = cut + 1;
    if (indent % 2 == 0) indent += 5; /* the first line's is even */
  }
  str_printf(pr->o, "%*s%s", indent, "", text);
}

/* Iterations, -1 where the text does not tell. */
static int64_t trips(const Stmt *s) {
  int64_t lo, hi;
  if (!nx_is_const(s->e, &lo) || !nx_is_const(s->e2, &hi)) return -1;
  return hi > lo ? (hi - lo - 1) / s->step + 1 : 0;
}

static void hls_pragmas(Printer *pr, const Stmt *s, int indent) {
  if (s->mark == MARK_UNROLL || s->mark == MARK_VECTOR) str_put(pr->o, "#pragma HLS UNROLL\n");
  if (s->mark == MARK_PIPELINE) {
    str_put(pr->o, "#pragma HLS PIPELINE");
    if (s->ii) str_printf(pr->o, " II=%d", s->ii);
    str_put(pr->o, "\n");
  }
  if (trips(s) < 0) str_printf(pr->o, "#pragma HLS LOOP_TRIPCOUNT max=%" PRId64 "\n", s->max);
  (void)indent;
}

/* for (lo; < hi; += step), also where var + step would pass the end of the index type. */
static void for_print(Printer *pr, const Stmt *s, int indent) {
  const char *v = var_name(pr, s->var), *t = c_type(pr, nt(pr->p->index));
  Range hi = c_range(pr, s->e2);
  bool simple = s->e2->kind == EX_CONST || (s->e2->kind == EX_VAR && !pr->modular[s->e2->var]);
  bool near = s->step > 1 && (!hi.known || hi.hi > elem_hi(pr->p->index) - s->step);
  if (s->mark == MARK_UNROLL && !pr->hls && trips(s) > 0 && trips(s) <= 64) {
    pr->needs |= NEED_UNROLL;
    str_printf(pr->o, "%s_UNROLL\n", pr->upper);
    c_indent(pr, indent);
  }
  str_printf(pr->o, "for (%s %s = ", t, v);
  c_expr(pr, s->e, PREC_LOOSE);
  if (!simple) { str_printf(pr->o, ", end_%s = ", v); c_expr(pr, s->e2, PREC_LOOSE); }
  str_printf(pr->o, "; %s < ", v);
  if (simple) c_expr(pr, s->e2, PREC_ADD);
  else str_printf(pr->o, "end_%s", v);
  if (!near && s->step == 1) {
    str_printf(pr->o, "; %s++", v);
  } else if (!near) {
    str_printf(pr->o, "; %s += %" PRId64, v, s->step);
  } else {
    Str end = {.ctx = pr->ctx}, *o = pr->o;
    pr->o = &end;
    if (simple) c_expr(pr, s->e2, PREC_MUL);
    else str_printf(pr->o, "end_%s", v);
    pr->o = o;
    str_printf(pr->o, "; %s = %s - %s > %" PRId64 " ? %s + %" PRId64 " : %s", v, end.p, v, s->step, v, s->step, end.p);
    str_free(&end);
  }
  str_put(pr->o, ") {\n");
}

static void simple_print(Printer *pr, const Stmt *s, int indent) {
  Str text = {.ctx = pr->ctx}, *o = pr->o;
  pr->o = &text;
  if (s->kind == ST_SET) set_print(pr, s);
  else if (s->kind == ST_STORE) store_print(pr, s);
  else define_print(pr, s);
  pr->o = o;
  line_put(pr, text.p, indent);
  str_free(&text);
}

static void stmt_print(Printer *pr, const Stmt *s, int indent) {
  if (s->kind == ST_FOR || s->kind == ST_LET || s->kind == ST_VARDEF) bind(pr, s);
  if (!c_alive(pr, s)) return;
  for (int i = 0; s->kind == ST_FOR && i < pr->n_tasks; i++)
    if (pr->tasks[i] == s && pr->task_call) { pr->task_call(pr, i, indent); return; }
  pr->named.n = 0;
  if (s->e) split(pr, s->e, false, indent);
  if (s->e2) split(pr, s->e2, false, indent);
  switch (s->kind) {
    case ST_FOR:
      c_indent(pr, indent);
      for_print(pr, s, indent);
      if (pr->hls) hls_pragmas(pr, s, indent);
      c_block(pr, &s->body, indent + 2);
      c_indent(pr, indent);
      str_put(pr->o, "}\n");
      break;
    case ST_IF:
      c_indent(pr, indent);
      str_put(pr->o, "if (");
      c_expr(pr, s->e, PREC_LOOSE);
      str_put(pr->o, ") {\n");
      c_block(pr, &s->body, indent + 2);
      c_indent(pr, indent);
      if (s->other.first) {
        str_put(pr->o, "} else {\n");
        c_block(pr, &s->other, indent + 2);
        c_indent(pr, indent);
      }
      str_put(pr->o, "}\n");
      break;
    default: simple_print(pr, s, indent); break;
  }
}

void c_block(Printer *pr, const Block *b, int indent) {
  for (const Stmt *s = b->first; s; s = s->next) stmt_print(pr, s, indent);
}
