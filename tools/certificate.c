#include "tools/certificate.h"

#include "tools/report.h"

static json_t *elem_json(Ctx *c, Elem e) {
  Str s = {.ctx = c};
  elem_print(&s, e);
  json_t *j = json_string(s.p);
  str_free(&s);
  return j;
}

/* Codes as integers, floats as exact hex text. */
static json_t *val_json(Elem e, Val v) {
  char text[64];
  if (!elem_is_float(e)) return json_integer((json_int_t)v.i);
  snprintf(text, sizeof text, "%a", v.f);
  return json_string(text);
}

static json_t *ints_json(const int64_t *v, int64_t n) {
  json_t *a = json_array();
  for (int64_t i = 0; i < n; i++) json_array_append_new(a, json_integer((json_int_t)v[i]));
  return a;
}

static json_t *tensor_json(const Tensor *t) {
  json_t *a = json_array();
  for (int64_t i = 0; i < t->n; i++) json_array_append_new(a, json_integer((json_int_t)tensor_i(t, i)));
  return a;
}

static json_t *operand_json(Ctx *c, const CertOperand *o) {
  if (o->from >= 0) return json_integer(o->from);
  json_t *v = json_array();
  for (int64_t i = 0; i < o->n; i++) json_array_append_new(v, val_json(o->e, o->v[i]));
  return json_pack("{s:o s:o}", "type", elem_json(c, o->e), "values", v);
}

static json_t *step_json(Ctx *c, const CertStep *s) {
  json_t *in = json_array(), *j;
  for (int k = 0; k < s->n_in; k++) json_array_append_new(in, operand_json(c, &s->in[k]));
  j = json_pack("{s:s s:o s:o}", "op", s->op == OP_MAP ? scalar_info[s->scalar].name : op_info[s->op].name, "type", elem_json(c, s->e), "in", in);
  if (s->op == OP_QUANT) json_object_set_new(j, "round", json_string(round_names[s->round]));
  if (s->op == OP_THRESHOLDS) json_object_set_new(j, "levels", json_integer((json_int_t)s->levels));
  if (s->op == OP_REQUANT) json_object_set_new(j, "shift", json_integer(s->shift));
  if (s->op == OP_QUANT || s->op == OP_REQUANT) {
    json_object_set_new(j, "lo", json_integer((json_int_t)s->lo));
    json_object_set_new(j, "hi", json_integer((json_int_t)s->hi));
  }
  return j;
}

/* What a number passes through unchanged. */
static const Node *through(const Node *n) {
  while (node_is_map(n, S_CAST) || n->op == OP_RESHAPE || n->op == OP_VIEW) n = n->in[0];
  return n;
}

static bool scaled(const Node *n, int64_t expected, int64_t *factor) {
  double f;
  *factor = 1;
  if (expected == 1) return true;
  n = through(n);
  for (int k = 0; k < 2 && node_is_map(n, S_MUL); k++)
    if (node_uniform(n->in[1 - k], &f)) { *factor = (int64_t)f; return true; }
  return false;
}

/* The constants that node n has; NULL where it is not of the shape that the entry says. */
static json_t *form_json(const CertEntry *e, const Node *n) {
  const Node *x = n->op == OP_GATHER ? n->in[1] : n->in[0];
  json_t *j = NULL;
  if (n->op == OP_GATHER) {
    if (!node_is_const(n->in[0])) return NULL;
    j = json_pack("{s:s s:o}", "kind", "table", "values", tensor_json(n->in[0]->a.value));
    if (e->offset) {
      x = through(x);
      if (!node_is_map(x, S_ADD) || !node_is_const(x->in[1])) { json_decref(j); return NULL; }
      json_object_set_new(j, "offset", tensor_json(x->in[1]->a.value));
      x = x->in[0];
    }
  } else {
    for (int k = 1; k < n->n_in; k++) if (!node_is_const(n->in[k])) return NULL;
    if (n->op == OP_THRESHOLDS)
      j = json_pack("{s:s s:I s:o s:o s:o}", "kind", "thresholds", "levels", (json_int_t)n->in[1]->t.d[1].n, "t", tensor_json(n->in[1]->a.value),
                    "base", tensor_json(n->in[2]->a.value), "step", tensor_json(n->in[3]->a.value));
    else if (n->op == OP_REQUANT)
      j = json_pack("{s:s s:o s:o s:i s:I s:I}", "kind", "requant", "m", tensor_json(n->in[1]->a.value), "b", tensor_json(n->in[2]->a.value),
                    "shift", n->a.shift, "lo", (json_int_t)n->a.lo, "hi", (json_int_t)n->a.hi);
    else return NULL;
  }
  if (e->n_in == 2) {
    int64_t f[2];
    x = through(x);
    if (!node_is_map(x, S_ADD) || !scaled(x->in[0], e->factor[0], &f[0]) || !scaled(x->in[1], e->factor[1], &f[1])) { json_decref(j); return NULL; }
    json_object_set_new(j, "factors", ints_json(f, 2));
    if (e->sum_lo) {
      json_object_set_new(j, "least", ints_json(e->sum_lo, e->rows));
      json_object_set_new(j, "most", ints_json(e->sum_hi, e->rows));
    }
  }
  return j;
}

static json_t *entry_json(Ctx *c, const CertEntry *e, json_t *form) {
  json_t *in = json_array(), *steps = json_array();
  for (int i = 0; i < e->n_in; i++) {
    json_t *x = json_pack("{s:o s:o s:o}", "type", elem_json(c, e->in[i]), "lo", i ? json_integer((json_int_t)e->lo2) : ints_json(e->lo, e->rows),
                          "hi", i ? json_integer((json_int_t)e->hi2) : ints_json(e->hi, e->rows));
    if (!i && e->sums.n)
      json_object_set_new(x, "sums", json_pack("{s:[I,I] s:o s:o s:o}", "of", (json_int_t)e->sums.alo, (json_int_t)e->sums.ahi, "positive",
        ints_json(e->sums.pos, e->sums.n), "negative", ints_json(e->sums.neg, e->sums.n), "row", ints_json(e->sums.row, e->sums.n)));
    if (!i && e->share) json_object_set_new(x, "share", ints_json(e->share, e->rows));
    json_array_append_new(in, x);
  }
  for (int i = 0; i < e->n_steps; i++) json_array_append_new(steps, step_json(c, &e->step[i]));
  json_t *j = json_pack("{s:o s:s s:I s:o s:o s:o s:o}", "layer", json_text(c->own, e->layer), "from", e->op, "rows", (json_int_t)e->rows, "in", in, "type",
                   elem_json(c, e->out), "meaning", steps, "form", form);
  if (e->kept) json_object_set_new(j, "kept", ints_json(e->kept, e->rows));
  return j;
}

json_t *certificate_json(const Certificate *cert, Ctx *c, const Graph *g, const char *sha, const char *target) {
  json_t *layers = json_array();
  int unexplained = 0, floats = 0;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    floats += n->op == OP_QUANT;
    if (n->a.certified < 1 || n->a.certified > cert->entry.n) { /* below 0: prune changed it */
      unexplained += n->a.certified < 0 || n->op == OP_THRESHOLDS || n->op == OP_REQUANT;
      continue;
    }
    const CertEntry *e = &cert->entry.p[n->a.certified - 1];
    json_t *form = form_json(e, n);
    if (form) json_array_append_new(layers, entry_json(c, e, form));
    else unexplained++;
  }
  return json_pack("{s:s s:s s:s s:o s:i s:i}", "schema", "popshift.certificate/1", "model", sha, "target", target, "layers", layers,
                   "float_quantizers", floats, "unexplained", unexplained);
}
