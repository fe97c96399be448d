/* Graphs as text: printing. The grammar, read by graph_parse.c:
 *
 *   file     = "popshift.graph 1" graph {data}
 *   graph    = "graph" "@" name "(" [port {"," port}] ")" "->" "(" [port {"," port}] ")" "{"
 *              ["props" {word} newline] {node newline} "return" [value {"," value}] "}"
 *   port     = "%" name ":" type                          the graph's arguments, and the names and types of its outputs
 *   node     = value ":" type "=" op [word] [value {"," value}] [literal] [iters] {word "=" number | word} ["fused"]
 *   value    = "%" name | "%" digits                      an argument by its name, another node by its number or any name
 *   name     = ident | string                             ident: [A-Za-z_][A-Za-z0-9_.]*
 *   type     = elem ["[" [dim {"," dim}] "]"]             elem: f32 bf16 i8 u3 bool shift<3> bases<1>
 *   dim      = digits | name ["<=" digits]                a symbol and its bound
 *   literal  = number | "[" [number {"," number}] "]" | "$" digits      of const: row-major, or a data line's
 *   iters    = "[" {name} ["|" {name ":" dim}] "]" {"(" [affine {"," affine}] ")"}        one list per operand
 *   affine   = sum | "(" sum ")" "/" digits
 *   sum      = ["-"] term {("+" | "-") term}
 *   term     = digits | name ["*" digits]
 *   data     = "data" "$" digits ":" type "=" "hex" {string}   little-endian elements at the storage of their type
 *   string   = '"' ... '"' with \" \\ \n \t \xNN
 *
 * The word after op is the row of scalar.def, for operators that have one. A comment runs from ';' to the end of its
 * line; after a node, `; node 5 "fc1" (Conv)` is its location (each part may be missing). Output iterators take their
 * extents from the node's type. Printed numbers count the nodes that are not arguments, from 0. */
#include "ir/graph_impl.h"

#include <inttypes.h>
#include <string.h>

const AttrField attr_fields[ATTR_FIELDS] = {
  {"axis", AT_AXIS, FIELD_INT32, offsetof(Attr, axis), true},
  {"round", AT_ROUND, FIELD_ROUND, offsetof(Attr, round), true},
  {"shift", AT_SHIFT, FIELD_INT32, offsetof(Attr, shift), true},
  {"lo", AT_LO, FIELD_INT64, offsetof(Attr, lo), true},
  {"hi", AT_HI, FIELD_INT64, offsetof(Attr, hi), true},
  {"flag", AT_FLAG, FIELD_INT32, offsetof(Attr, flag), false},
  {"fill", AT_FILL, FIELD_DOUBLE, offsetof(Attr, fill), false},
  {"kernel", AT_KERNEL, FIELD_KERNEL, offsetof(Attr, kernel), false},
};

const PropName prop_names[PROP_NAMES] = {
  {P_TYPED, "typed"}, {P_CANON, "canon"}, {P_RECOGNIZED, "recognized"},
  {P_STATIC, "static"}, {P_SELECTED, "selected"}, {P_PLANNED, "planned"},
};

static void put_name(Str *s, const char *name) {
  bool ident = ident_start(name[0]);
  for (const char *c = name; *c && ident; c++) ident = ident_char(*c);
  if (ident) str_put(s, name);
  else str_quoted(s, name);
}

static void put_dim(Str *s, const Graph *g, Dim d) {
  if (!d.sym) { str_printf(s, "%" PRId64, d.n); return; }
  if (g && d.sym <= (uint32_t)g->n_syms) put_name(s, g->syms[d.sym - 1]);
  else str_printf(s, "?%" PRIu32, d.sym); /* for messages only */
  if (d.n >= 0) str_printf(s, "<=%" PRId64, d.n);
}

void type_print(Str *s, const Graph *syms_of, const Type *t) {
  elem_print(s, t->e);
  for (int i = 0; i < t->rank; i++) {
    str_put(s, i ? "," : "[");
    put_dim(s, syms_of, t->d[i]);
  }
  if (t->rank) str_put(s, "]");
}

/* What printing keeps: each node's number, and the tensors of data lines in order of their first use. */
typedef struct Printer {
  Str *s;
  const Graph *g;
  Arena *scratch;
  int *number;
  VEC(const Tensor *) data;
  int *slots;             /* open addressing by pointer: index into data + 1 */
  size_t n_slots;         /* a power of two, over twice the nodes */
} Printer;

static void put_value(Printer *p, const Node *n) {
  str_put(p->s, "%");
  if (n->op == OP_ARG) put_name(p->s, p->g->arg_names[n->a.index]);
  else str_printf(p->s, "%d", p->number[n->id]);
}

static void put_element(Str *s, const Tensor *x, int64_t i) {
  if (x->st == ST_F32) str_f32(s, (float)tensor_f(x, i));
  else if (x->st == ST_F64) str_f64(s, tensor_f(x, i));
  else if (x->st == ST_U64) str_printf(s, "%" PRIu64, (uint64_t)tensor_i(x, i));
  else str_printf(s, "%" PRId64, tensor_i(x, i));
}

static void put_literal(Printer *p, const Tensor *x) {
  str_put(p->s, " ");
  if (x->n > INLINE_ELEMENTS) {
    size_t h = (uintptr_t)x / 16;
    while (p->slots[h % p->n_slots] && p->data.p[p->slots[h % p->n_slots] - 1] != x) h++;
    int *slot = &p->slots[h % p->n_slots];
    if (!*slot) {
      vec_push(p->scratch, &p->data, x);
      *slot = p->data.n;
    }
    str_printf(p->s, "$%d", *slot - 1);
    return;
  }
  if (x->t.rank) str_put(p->s, "[");
  for (int64_t i = 0; i < x->n; i++) {
    if (i) str_put(p->s, ", ");
    put_element(p->s, x, i);
  }
  if (x->t.rank) str_put(p->s, "]");
}

static void put_letter(Str *s, const Iters *it, int i) {
  str_printf(s, "%c", i < it->n_out ? OUT_LETTERS[i] : RED_LETTERS[i - it->n_out]);
}

/* +v or -v; the sign is left out where it is + and nothing was written before. */
static bool put_sign(Str *s, int64_t v, bool first) {
  if (v < 0) str_put(s, "-");
  else if (!first) str_put(s, "+");
  return false;
}

static uint64_t magnitude(int64_t v) { return v < 0 ? -(uint64_t)v : (uint64_t)v; }

static void put_affine(Str *s, const Iters *it, const Affine *a) {
  bool first = true;
  if (a->div != 1) str_put(s, "(");
  for (int i = 0; i < it->n_out + it->n_red; i++) {
    if (!a->coef[i]) continue;
    first = put_sign(s, a->coef[i], first);
    put_letter(s, it, i);
    if (magnitude(a->coef[i]) != 1) str_printf(s, "*%" PRIu64, magnitude(a->coef[i]));
  }
  if (a->base || first) {
    put_sign(s, a->base, first);
    str_printf(s, "%" PRIu64, magnitude(a->base));
  }
  if (a->div != 1) str_printf(s, ")/%" PRId64, a->div);
}

static void put_iters(Printer *p, const Node *n) {
  const Iters *it = n->a.iters;
  str_put(p->s, " [");
  for (int i = 0; i < it->n_out; i++) {
    if (i) str_put(p->s, " ");
    put_letter(p->s, it, i);
  }
  if (it->n_red) str_put(p->s, it->n_out ? " |" : "|");
  for (int i = 0; i < it->n_red; i++) {
    str_put(p->s, " ");
    put_letter(p->s, it, it->n_out + i);
    str_put(p->s, ":");
    put_dim(p->s, p->g, it->red[i]);
  }
  str_put(p->s, "]");
  for (int k = 0; k < n->n_in; k++) {
    str_put(p->s, "(");
    for (int d = 0; d < n->in[k]->t.rank; d++) {
      if (d) str_put(p->s, ", ");
      put_affine(p->s, it, &it->acc[k][d]);
    }
    str_put(p->s, ")");
  }
}

bool field_is_zero(const AttrField *f, const Attr *a) {
  static const char zero[8];
  size_t size = f->kind == FIELD_INT64 || f->kind == FIELD_DOUBLE ? 8 : 4; /* enumerations are int */
  return !memcmp((const char *)a + f->offset, zero, size);
}

static void put_fields(Str *s, const Node *n) {
  for (int i = 0; i < ATTR_FIELDS; i++) {
    const AttrField *f = &attr_fields[i];
    const void *at = (const char *)&n->a + f->offset;
    if (!(op_info[n->op].attrs & f->mask)) continue;
    if (!f->always && field_is_zero(f, &n->a)) continue;
    str_printf(s, " %s=", f->name);
    switch (f->kind) {
    case FIELD_INT32: str_printf(s, "%" PRId32, *(const int32_t *)at); break;
    case FIELD_INT64: str_printf(s, "%" PRId64, *(const int64_t *)at); break;
    case FIELD_DOUBLE: str_f64(s, *(const double *)at); break;
    case FIELD_ROUND: str_put(s, round_names[*(const Round *)at]); break;
    case FIELD_KERNEL: str_put(s, kernel_names[*(const Kernel *)at]); break;
    }
  }
  if (n->a.fused) str_put(s, " fused");
}

static void put_loc(Str *s, const Loc *l) {
  if (l->node < 0 && !l->name && !l->op) return;
  str_put(s, "   ; node");
  if (l->node >= 0) str_printf(s, " %d", l->node);
  if (l->name) {
    str_put(s, " ");
    str_quoted(s, l->name);
  }
  if (l->op) {
    str_put(s, " (");
    put_name(s, l->op);
    str_put(s, ")");
  }
}

static void put_node(Printer *p, const Node *n) {
  str_put(p->s, "  ");
  put_value(p, n);
  str_put(p->s, ": ");
  type_print(p->s, p->g, &n->t);
  str_printf(p->s, " = %s", op_info[n->op].name);
  if (op_info[n->op].attrs & AT_SCALAR) str_printf(p->s, " %s", n->a.scalar ? scalar_info[n->a.scalar].name : "none");
  for (int i = 0; i < n->n_in; i++) {
    str_put(p->s, i ? ", " : " ");
    put_value(p, n->in[i]);
  }
  if (n->op == OP_CONST) put_literal(p, n->a.value);
  if (n->a.iters) put_iters(p, n);
  put_fields(p->s, n);
  put_loc(p->s, &n->loc);
  str_put(p->s, "\n");
}

/* Lines of 48 bytes, lowest byte of each element first. */
static void put_data(Printer *p, int i) {
  enum { LINE = 48 };
  static const char digits[] = "0123456789abcdef";
  const Tensor *x = p->data.p[i];
  int size = (int)store_size(x->st), column = 0;
  str_printf(p->s, "data $%d: ", i);
  type_print(p->s, NULL, &x->t);
  str_put(p->s, " = hex");
  for (int64_t e = 0; e < x->n; e++) {
    uint64_t bits = 0;
    if (size == 8) memcpy(&bits, (const uint64_t *)x->data + e, 8);
    else if (size == 4) bits = ((const uint32_t *)x->data)[e]; /* of floats too: built with -fno-strict-aliasing */
    else bits = (uint64_t)tensor_i(x, e);
    for (int b = 0; b < size; b++, bits >>= 8) {
      if (!column) str_put(p->s, "\n  \"");
      str_putn(p->s, (const char[]){digits[bits >> 4 & 15], digits[bits & 15]}, 2);
      if (++column == LINE) { str_put(p->s, "\""); column = 0; }
    }
  }
  str_put(p->s, column ? "\"\n" : "\n");
}

static void put_ports(Printer *p, int n, bool outs) {
  const Graph *g = p->g;
  str_put(p->s, "(");
  for (int i = 0; i < n; i++) {
    str_put(p->s, i ? ", %" : "%");
    put_name(p->s, outs ? g->outs[i].name : g->arg_names[i]);
    str_put(p->s, ": ");
    type_print(p->s, g, outs ? &g->outs[i].v->t : &g->args[i]->t);
  }
  str_put(p->s, ")");
}

void graph_print(Str *s, const Graph *g) {
  Arena *scratch = arena_new(g->ctx);
  Printer p = {.s = s, .g = g, .scratch = scratch, .number = NEWN(scratch, int, g->n_nodes + 1)};
  for (p.n_slots = 16; p.n_slots < 2 * (size_t)g->n_nodes; p.n_slots *= 2) {}
  p.slots = NEWN(scratch, int, p.n_slots);
  for (int i = 0, n = 0; i < g->n_nodes; i++) p.number[i] = g->nodes[i]->op == OP_ARG ? -1 : n++;
  str_put(s, "popshift.graph 1\ngraph @");
  put_name(s, g->name);
  put_ports(&p, g->n_args, false);
  str_put(s, " -> ");
  put_ports(&p, g->n_outs, true);
  str_put(s, " {\n");
  if (g->props) {
    str_put(s, "  props");
    for (int i = 0; i < PROP_NAMES; i++)
      if (g->props & prop_names[i].prop) str_printf(s, " %s", prop_names[i].name);
    str_put(s, "\n");
  }
  for (int i = 0; i < g->n_facts; i++) {
    str_put(s, "  fact ");
    str_quoted(s, g->facts[i].key);
    str_put(s, " ");
    str_quoted(s, g->facts[i].value);
    str_put(s, "\n");
  }
  for (int i = 0; i < g->n_nodes; i++)
    if (g->nodes[i]->op != OP_ARG) put_node(&p, g->nodes[i]);
  str_put(s, "  return");
  for (int i = 0; i < g->n_outs; i++) {
    str_put(s, i ? ", " : " ");
    put_value(&p, g->outs[i].v);
  }
  str_put(s, "\n}\n");
  for (int i = 0; i < p.data.n; i++) put_data(&p, i);
  arena_free(scratch);
}
