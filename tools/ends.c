/* Flags --io, --layout and --state: which ports there are and what they have. */
#include "tools/ends.h"

#include <string.h>

static int index_of(const char *const *names, int n, const char *name) {
  for (int i = 0; i < n; i++) if (!strcmp(names[i], name)) return i;
  return -1;
}

static bool no_port(Cmd *c, const char *flag, const char *what, const char *name, const char *const *names, int n) {
  diag(c->ctx, E0702, NULL, "--%s: the model has no %s '%s'", flag, what, name);
  const char *near = n ? nearest(name, (const char **)(uintptr_t)names, n) : NULL;
  if (near) diag_hint(c->ctx, "did you mean %s?", near);
  return false;
}

static bool io_of(Cmd *c, EdgeIo *io) {
  const char *s = cmd_get(c, FLAG_io);
  *io = EDGE_FLOAT;
  if (!s || !strcmp(s, "float")) return true;
  if (!strcmp(s, "codes")) { *io = EDGE_CODES; return true; }
  if (!strcmp(s, "packed")) { *io = EDGE_PACKED; return true; }
  return diag(c->ctx, E0701, NULL, "--io takes float, codes or packed, not '%s'", s);
}

static bool layouts_of(Cmd *c, const Ports *p, EdgeOptions *o) {
  bool *last = NEWN(c->ctx->own, bool, p->n_in + 1);
  for (int k = 0; k < c->flag[FLAG_layout].n; k++) {
    const char *rest, *name = cmd_split(c, c->flag[FLAG_layout].v[k], &rest);
    if (!name || (strcmp(rest, "nhwc") && strcmp(rest, "nchw"))) return diag(c->ctx, E0701, NULL, "--layout takes INPUT=nhwc or INPUT=nchw, not '%s'", c->flag[FLAG_layout].v[k]);
    int i = index_of(p->in_name, p->n_in, name);
    if (i < 0) return no_port(c, "layout", "input", name, p->in_name, p->n_in);
    if (p->in[i].rank < 3) return diag(c->ctx, E0702, NULL, "--layout: input '%s' has no channels beside positions, its rank is %d", name, p->in[i].rank);
    last[i] = !strcmp(rest, "nhwc");
  }
  o->channels_last = last;
  return true;
}

static bool states_of(Cmd *c, const Ports *p, Ends *e) {
  e->keep = NEWN(c->ctx->own, Keep, c->flag[FLAG_state].n + 1);
  for (int k = 0; k < c->flag[FLAG_state].n; k++) {
    const char *in, *out = cmd_split(c, c->flag[FLAG_state].v[k], &in);
    if (!out || !*in) return diag(c->ctx, E0701, NULL, "--state takes OUTPUT=INPUT, not '%s'", c->flag[FLAG_state].v[k]);
    Keep q = {index_of(p->out_name, p->n_out, out), index_of(p->in_name, p->n_in, in)};
    if (q.out < 0) return no_port(c, "state", "output", out, p->out_name, p->n_out);
    if (q.in < 0) return no_port(c, "state", "input", in, p->in_name, p->n_in);
    for (int i = 0; i < e->n_keep; i++)
      if (e->keep[i].out == q.out || e->keep[i].in == q.in) return diag(c->ctx, E0701, NULL, "--state %s: one of the two is in another pair", c->flag[FLAG_state].v[k]);
    if (!type_eq(&p->out[q.out], &p->in[q.in])) {
      Str s = {.ctx = c->ctx};
      type_print(&s, NULL, &p->out[q.out]);
      str_put(&s, ", the input is ");
      type_print(&s, NULL, &p->in[q.in]);
      diag(c->ctx, E0702, NULL, "--state: output '%s' is not of the type of input '%s': the output is %s", out, in, s.p);
      str_free(&s);
      return false;
    }
    e->keep[e->n_keep++] = q;
  }
  return true;
}

/* One side's ports and edges. */
typedef struct Side { Edge *edge; Type *port, *model; const char **port_name, **model_name; } Side;

/* Without the kept ones, moved together; how many of n are left. */
static int drop_side(const Ends *e, const Side *s, int n, bool out) {
  int left = 0;
  for (int i = 0; i < n; i++) {
    bool gone = false;
    for (int k = 0; k < e->n_keep; k++) gone = gone || (out ? e->keep[k].out : e->keep[k].in) == i;
    if (gone) { graph_free(s->edge[i].convert); continue; }
    s->edge[left] = s->edge[i];
    s->port[left] = s->port[i], s->model[left] = s->model[i];
    s->port_name[left] = s->model_name[left] = s->port_name[i];
    left++;
  }
  return left;
}

static void drop_kept(Ends *e) {
  Side in = {e->e.in, e->port.in, e->model.in, e->port.in_name, e->model.in_name}, out = {e->e.out, e->port.out, e->model.out, e->port.out_name, e->model.out_name};
  e->e.n_in = e->port.n_in = e->model.n_in = drop_side(e, &in, e->port.n_in, false);
  e->e.n_out = e->port.n_out = e->model.n_out = drop_side(e, &out, e->port.n_out, true);
}

/* Zero as each kept input has it. */
static bool first_values(Cmd *c, Ends *e) {
  e->first = NEWN(c->ctx->own, Tensor *, e->n_keep + 1);
  for (int k = 0; k < e->n_keep; k++) {
    Tensor *zero = tensor_new(c->ctx, &e->model.in[e->keep[k].in]);
    if (!zero || !(e->first[k] = edge_convert(c->ctx, &e->e.in[e->keep[k].in], zero))) return false;
    tensor_free(zero);
  }
  return true;
}

/* Up to where quants meet the inputs, and dequants the outputs; bits stay. */
static bool prepare(Cmd *c, Model *m, const PassOptions *opt) {
  static const PassId tidy[] = {PASS_cse, PASS_dce};
  PassOptions o = *opt;
  o.dump = NULL;
  return passes_standard(c->ctx, &m->s, PASS_sink, &o) && passes_run(c->ctx, &m->s, tidy, 2, &o);
}

bool model_ends(Cmd *c, Model *m, PassOptions *opt, Ends *e) {
  EdgeOptions o = {0};
  *e = (Ends){0};
  if (!io_of(c, &o.io)) return false;
  e->on = o.io != EDGE_FLOAT || cmd_has(c, FLAG_layout) || cmd_has(c, FLAG_state);
  if (!e->on) { model_ports(c, m, &e->port); e->model = e->port; return true; }
  if (!m->s.graph) return diag(c->ctx, E0307, NULL, "--io, --layout and --state start from a graph, and this is a program");
  if (!graph_static(c->ctx, m->s.graph)) return false;
  model_ports(c, m, &e->model);
  if (!layouts_of(c, &e->model, &o) || !states_of(c, &e->model, e)) return false;
  o.keep = e->keep, o.n_keep = e->n_keep;
  if (!prepare(c, m, opt)) return false;
  if (!(m->s.graph = graph_edges(m->s.graph, &o, c->ctx->own, &e->e))) return false;
  model_ports(c, m, &e->port);
  if (!first_values(c, e)) return false;
  drop_kept(e);
  opt->keep = e->keep, opt->n_keep = e->n_keep, opt->keep_first = e->first;
  return true;
}

void ends_free(Ends *e) { edges_free(&e->e); }

bool ends_run(Ctx *ctx, const Ends *e, Engine *engine, Tensor *const *ins, Tensor **outs) {
  if (!e->on) return engine_run(engine, ins, outs);
  Tensor **x = NEWN(ctx->own, Tensor *, e->e.n_in + 1), **y = NEWN(ctx->own, Tensor *, e->e.n_out + 1);
  bool ok = true;
  for (int i = 0; ok && i < e->e.n_in; i++) ok = (x[i] = edge_convert(ctx, &e->e.in[i], ins[i])) != NULL;
  ok = ok && engine_run(engine, x, y);
  for (int i = 0; ok && i < e->e.n_out; i++) ok = (outs[i] = edge_convert(ctx, &e->e.out[i], y[i])) != NULL;
  for (int i = 0; i < e->e.n_in; i++) tensor_free(x[i]);
  for (int i = 0; i < e->e.n_out; i++) tensor_free(y[i]);
  return ok;
}

void ends_describe(const Ends *e, Program *p) {
  if (!e->on) return;
  PortMeaning *in = NEWN(p->arena, PortMeaning, p->n_ins + 1), *out = NEWN(p->arena, PortMeaning, p->n_outs + 1);
  for (int i = 0; i < p->n_ins; i++) in[i] = e->e.in[i].meaning;
  for (int i = 0; i < p->n_outs; i++) out[i] = e->e.out[i].meaning;
  p->in_means = in, p->out_means = out;
}
