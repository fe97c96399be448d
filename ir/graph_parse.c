/* Graphs as text: reading. The grammar is in graph_text.c. No recursion; every list is bounded by the text that is
 * there, and no tensor is made before the text that can fill it was seen to be long enough. */
#include "ir/graph_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SYMS = 1000, MAX_FACTS = 16 };

/* A name in the text: "%name" of a value, "#12" of a numbered one, "$3" of a data line. */
typedef struct Entry { const char *key; Node *node; Tensor *data; bool filled; int32_t line; } Entry;

typedef struct Port { const char *name; Type t; } Port;

typedef struct Parser {
  Ctx *ctx;
  Graph *g;
  Arena *scratch;
  const char *file, *at, *end;
  int32_t line;
  VEC(Entry) entries;
  int *slots, n_slots;    /* open addressing: index into entries + 1; n_slots is a power of two */
  size_t promised;        /* hex digits that data lines must still hold */
  VEC(Port) outs;
  VEC(Node *) values;     /* operands of the node at hand */
  const char *iters[MAX_ITERS]; /* names of the node's iterators */
} Parser;

static bool fail(Parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(Parser *p, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char text[400];
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  Loc loc = LOC_NONE;
  loc.file = p->file;
  loc.line = p->line;
  return diag(p->ctx, E0103, &loc, "%s", text);
}

/* Characters */

static char peek(const Parser *p) { return p->at < p->end ? *p->at : '\0'; }

static void skip_blank(Parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\r')) p->at++;
}

static void skip(Parser *p) {
  for (;;) {
    skip_blank(p);
    if (peek(p) == ';') {
      while (p->at < p->end && *p->at != '\n') p->at++;
    } else if (peek(p) == '\n') {
      p->line++;
      p->at++;
    } else {
      return;
    }
  }
}

/* Takes `token` after any space; where it does not follow, the place is left as it was. A word must end there. */
static bool accept(Parser *p, const char *token) {
  const char *at = p->at;
  int32_t line = p->line;
  size_t n = strlen(token);
  skip(p);
  if ((size_t)(p->end - p->at) >= n && !memcmp(p->at, token, n)) {
    p->at += n;
    if (!ident_char(token[n - 1]) || !ident_char(peek(p))) return true;
  }
  p->at = at;
  p->line = line;
  return false;
}

static bool expect(Parser *p, const char *token) {
  if (accept(p, token)) return true;
  skip(p);
  if (p->at == p->end) return fail(p, "'%s' expected, but the text ends", token);
  int n = 0;
  while (n < 20 && p->at + n < p->end && p->at[n] != '\n' && p->at[n]) n++;
  return fail(p, "'%s' expected before '%.*s'", token, n, p->at);
}

static size_t span(const Parser *p, bool (*in)(char)) {
  const char *c = p->at;
  while (c < p->end && in(*c)) c++;
  return (size_t)(c - p->at);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_number(char c) { return ident_char(c) || c == '-' || c == '+'; }
static bool is_ident(char c) { return ident_char(c); }

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Tokens */

static bool read_string(Parser *p, const char **out) {
  if (!expect(p, "\"")) return false;
  const char *close = p->at;
  while (close < p->end && *close != '"' && *close != '\n')
    close += *close == '\\' && close + 1 < p->end && close[1] != '\n' ? 2 : 1;
  if (close >= p->end || *close != '"') return fail(p, "string without its closing quote");
  if (close - p->at > 4 * p->ctx->limits.name) return fail(p, "name longer than %" PRId64 " bytes", p->ctx->limits.name);
  char *text = arena_alloc(p->scratch, (size_t)(close - p->at) + 1), *to = text;
  for (; p->at < close; p->at++) {
    if (*p->at == '\0') return fail(p, "a zero byte in a string");
    if (*p->at != '\\') { *to++ = *p->at; continue; }
    char c = *++p->at;
    if (c == 'n') *to++ = '\n';
    else if (c == 't') *to++ = '\t';
    else if (c == '"' || c == '\\') *to++ = c;
    else if (c == 'x' && close - p->at > 2 && hex_digit(p->at[1]) >= 0 && hex_digit(p->at[2]) >= 0 &&
             (p->at[1] != '0' || p->at[2] != '0')) {
      *to++ = (char)(hex_digit(p->at[1]) << 4 | hex_digit(p->at[2]));
      p->at += 2;
    } else {
      return fail(p, "unknown escape in a string");
    }
  }
  p->at = close + 1;
  *out = text;
  return true;
}

static bool read_word(Parser *p, const char **out) {
  skip(p);
  size_t n = ident_start(peek(p)) ? span(p, is_ident) : 0;
  if (!n) return fail(p, "a name expected");
  if (n > (size_t)p->ctx->limits.name) return fail(p, "name longer than %" PRId64 " bytes", p->ctx->limits.name);
  *out = arena_strndup(p->scratch, p->at, n);
  p->at += n;
  return true;
}

static bool read_name(Parser *p, const char **out) {
  skip(p);
  return peek(p) == '"' ? read_string(p, out) : read_word(p, out);
}

/* Digits as a number up to `most`. */
static bool read_uint(Parser *p, uint64_t most, uint64_t *out) {
  skip(p);
  uint64_t v = 0;
  if (!is_digit(peek(p))) return fail(p, "a number expected");
  for (; is_digit(peek(p)); p->at++)
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p->at - '0'), &v) || v > most)
      return fail(p, "number greater than %" PRIu64, most);
  *out = v;
  return true;
}

static bool read_int64(Parser *p, int64_t *out) {
  skip(p);
  size_t n = span(p, is_number);
  if (!parse_i64(p->at, n, out)) return fail(p, "an integer expected");
  p->at += n;
  return true;
}

static bool read_dim(Parser *p, Dim *d) {
  skip(p);
  uint64_t v;
  if (is_digit(peek(p))) {
    if (!read_uint(p, INT64_MAX, &v)) return false;
    *d = dim_c((int64_t)v);
    return true;
  }
  const char *name;
  if (!read_name(p, &name)) return false;
  *d = (Dim){-1, graph_sym(p->g, name)};
  if (p->g->n_syms > MAX_SYMS) return fail(p, "more than %d symbols", MAX_SYMS);
  if (!accept(p, "<=")) return true;
  if (!read_uint(p, INT64_MAX, &v)) return false;
  d->n = (int64_t)v;
  return true;
}

static bool read_type(Parser *p, Type *t) {
  skip(p);
  size_t n = span(p, is_ident);
  if (p->at + n < p->end && p->at[n] == '<') {
    while (p->at + n < p->end && n < 16 && p->at[n] != '>') n++;
    n += p->at + n < p->end;
  }
  *t = (Type){0};
  if (!elem_parse(p->at, n, &t->e)) return fail(p, "an element type expected");
  p->at += n;
  if (peek(p) != '[') return true;
  p->at++;
  if (accept(p, "]")) return true;
  do {
    if (t->rank == MAX_RANK) return fail(p, "more than %d dimensions", MAX_RANK);
    if (!read_dim(p, &t->d[t->rank])) return false;
    t->rank++;
  } while (accept(p, ","));
  return expect(p, "]");
}

/* Names */

static uint32_t hash(const char *key) {
  uint32_t h = 2166136261u; /* FNV-1a */
  for (; *key; key++) h = (h ^ (unsigned char)*key) * 16777619u;
  return h;
}

/* The entry of a key, made where missing; valid until the next call. */
static Entry *entry(Parser *p, const char *key) {
  if (2 * (p->entries.n + 1) > p->n_slots) {
    p->n_slots = p->n_slots ? 2 * p->n_slots : 256;
    p->slots = NEWN(p->scratch, int, p->n_slots);
    for (int i = 0; i < p->entries.n; i++) {
      uint32_t h = hash(p->entries.p[i].key);
      while (p->slots[h & (uint32_t)(p->n_slots - 1)]) h++;
      p->slots[h & (uint32_t)(p->n_slots - 1)] = i + 1;
    }
  }
  uint32_t h = hash(key);
  int *slot;
  for (;; h++) {
    slot = &p->slots[h & (uint32_t)(p->n_slots - 1)];
    if (!*slot) break;
    if (!strcmp(p->entries.p[*slot - 1].key, key)) return &p->entries.p[*slot - 1];
  }
  Entry e = {.key = key, .line = p->line};
  vec_push(p->scratch, &p->entries, e);
  *slot = p->entries.n;
  return &p->entries.p[p->entries.n - 1];
}

/* %name or %digits as a key. */
static bool read_key(Parser *p, const char **key) {
  if (!expect(p, "%")) return false;
  const char *name;
  if (is_digit(peek(p))) {
    size_t n = span(p, is_digit);
    *key = arena_printf(p->scratch, "#%.*s", n < 20 ? (int)n : 20, p->at);
    p->at += n;
    return n < 20 || fail(p, "number of a value too long");
  }
  if (!read_name(p, &name)) return false;
  *key = arena_printf(p->scratch, "%%%s", name);
  return true;
}

static bool read_value(Parser *p, Node **n) {
  const char *key;
  if (!read_key(p, &key)) return false;
  *n = entry(p, key)->node;
  return *n || fail(p, "%%%s is used before it is defined", key + 1);
}

static bool define(Parser *p, const char *key, Node *n) {
  Entry *e = entry(p, key);
  if (e->node) return fail(p, "%%%s is defined twice", key + 1);
  e->node = n;
  return true;
}

/* Constants */

static bool read_element(Parser *p, Tensor *x, int64_t i) {
  skip(p);
  size_t n = span(p, is_number);
  double d = 0;
  float f = 0;
  int64_t v = 0;
  uint64_t u = 0;
  if (x->st == ST_U64) {
    if (!read_uint(p, x->t.e.bits == 64 ? UINT64_MAX : (uint64_t)elem_hi(x->t.e), &u)) return false;
    tensor_set_i(x, i, (int64_t)u);
    return true;
  }
  if (x->t.e.kind == EK_FLOAT && x->t.e.bits == 32) {
    if (!parse_f32(p->at, n, &f)) return fail(p, "a number expected");
    tensor_set_f(x, i, f);
  } else if (elem_is_float(x->t.e)) {
    if (!parse_f64(p->at, n, &d)) return fail(p, "a number expected");
    tensor_set_f(x, i, d);
  } else {
    if (!parse_i64(p->at, n, &v)) return fail(p, "an integer expected");
    if (v < elem_lo(x->t.e) || v > elem_hi(x->t.e)) return fail(p, "%" PRId64 " is not a number of the constant's type", v);
    tensor_set_i(x, i, v);
  }
  p->at += n;
  return true;
}

/* The size of a constant in elements; false where it is not static or takes more than `room` elements of text. */
static bool const_count(Parser *p, const Type *t, size_t room, int64_t *n) {
  if (!type_static(t)) return fail(p, "a constant needs known dimensions");
  if (!type_count(t, n) || (uint64_t)*n > room) return fail(p, "the constant's shape has more elements than there is text for");
  return true;
}

static bool read_data_ref(Parser *p, const Type *t, const Tensor **value) {
  uint64_t number;
  int64_t n;
  if (!read_uint(p, INT32_MAX, &number)) return false;
  Entry *e = entry(p, arena_printf(p->scratch, "$%" PRIu64, number));
  if (!e->data) {
    size_t digits = 2 * store_size(elem_store(t->e)), left = (size_t)(p->end - p->at);
    if (!const_count(p, t, (left - (p->promised < left ? p->promised : left)) / digits, &n)) return false;
    p->promised += (size_t)n * digits;
    e->data = tensor_new(p->ctx, t);
    if (!e->data) return false;
  }
  if (!type_eq(&e->data->t, t)) return fail(p, "$%" PRIu64 " is used with two types", number);
  *value = e->data;
  return true;
}

static bool read_literal(Parser *p, const Type *t, const Tensor **value) {
  int64_t n;
  if (accept(p, "$")) return read_data_ref(p, t, value);
  bool list = accept(p, "[");
  if (!list && t->rank) return fail(p, "'[' or '$' expected");
  if (!const_count(p, t, (size_t)(p->end - p->at), &n)) return false;
  if (!list && n != 1) return fail(p, "one number for a shape of %" PRId64, n);
  Tensor *x = tensor_new(p->ctx, t);
  if (!x) return false;
  *value = x;
  for (int64_t i = 0; i < n; i++)
    if ((i && !expect(p, ",")) || !read_element(p, x, i)) return false;
  return list ? expect(p, "]") : true;
}

static bool read_data(Parser *p) {
  uint64_t number;
  Type t;
  if (!expect(p, "$") || !read_uint(p, INT32_MAX, &number)) return false;
  Entry *e = entry(p, arena_printf(p->scratch, "$%" PRIu64, number));
  if (!e->data) return fail(p, "no constant uses $%" PRIu64, number);
  if (e->filled) return fail(p, "$%" PRIu64 " is given twice", number);
  e->filled = true;
  Tensor *x = e->data;
  if (!expect(p, ":") || !read_type(p, &t) || !expect(p, "=") || !expect(p, "hex")) return false;
  if (!type_eq(&t, &x->t)) return fail(p, "$%" PRIu64 " has another type where it is used", number);
  int size = (int)store_size(x->st);
  int64_t done = 0, bytes = x->n * size;
  uint64_t bits = 0;
  while (accept(p, "\"")) {
    for (; p->at < p->end && *p->at != '"'; p->at += 2) {
      int high = hex_digit(*p->at), low = p->end - p->at > 1 ? hex_digit(p->at[1]) : -1;
      if (high < 0 || low < 0) return fail(p, "pairs of hexadecimal digits expected");
      if (done == bytes) return fail(p, "more bytes than the type of $%" PRIu64 " has", number);
      bits |= (uint64_t)(high << 4 | low) << 8 * (done % size);
      if (++done % size) continue;
      char *to = (char *)x->data + (done - size);
      if (size == 1) *(uint8_t *)to = (uint8_t)bits;
      else if (size == 2) *(uint16_t *)(void *)to = (uint16_t)bits;
      else if (size == 4) *(uint32_t *)(void *)to = (uint32_t)bits;
      else *(uint64_t *)(void *)to = bits;
      bits = 0;
    }
    if (!expect(p, "\"")) return false;
  }
  return done == bytes || fail(p, "%" PRId64 " bytes where $%" PRIu64 " has %" PRId64, done, number, bytes);
}

/* Accesses */

static bool read_iter_name(Parser *p, int total) {
  const char *name;
  if (total == MAX_ITERS) return fail(p, "more than %d iterators", MAX_ITERS);
  if (!read_word(p, &name)) return false;
  for (int i = 0; i < total; i++)
    if (!strcmp(p->iters[i], name)) return fail(p, "iterator %s is declared twice", name);
  p->iters[total] = name;
  return true;
}

/* One term with its sign: adds to base or a coefficient. */
static bool read_term(Parser *p, int total, bool negative, Affine *a) {
  uint64_t v = 1, most = (uint64_t)INT64_MAX + negative;
  int64_t *to = &a->base;
  skip(p);
  if (is_digit(peek(p))) {
    if (!read_uint(p, most, &v)) return false;
  } else {
    const char *name;
    int i = 0;
    if (!read_word(p, &name)) return false;
    while (i < total && strcmp(p->iters[i], name)) i++;
    if (i == total) return fail(p, "unknown iterator %.40s", name);
    to = &a->coef[i];
    if (accept(p, "*") && !read_uint(p, most, &v)) return false;
  }
  int64_t term = negative ? (int64_t)(0 - v) : (int64_t)v;
  return add_ok(*to, term, to) || fail(p, "an access overflows");
}

static bool read_affine(Parser *p, int total, Affine *a) {
  uint64_t div = 1;
  *a = (Affine){.div = 1};
  bool divided = accept(p, "("), negative = accept(p, "-");
  for (;;) {
    if (!read_term(p, total, negative, a)) return false;
    if (accept(p, "+")) negative = false;
    else if (accept(p, "-")) negative = true;
    else break;
  }
  if (!divided) return true;
  if (!expect(p, ")") || !expect(p, "/") || !read_uint(p, INT64_MAX, &div)) return false;
  a->div = (int64_t)div;
  return true;
}

static bool read_iters(Parser *p, const Type *t, Iters *it) {
  int total = 0;
  *it = (Iters){0};
  if (!expect(p, "[")) return false;
  for (skip(p); peek(p) != '|' && peek(p) != ']'; skip(p))
    if (!read_iter_name(p, total++)) return false;
  if (total != t->rank) return fail(p, "%d output iterators where the node's rank is %d", total, t->rank);
  it->n_out = (uint8_t)total;
  if (accept(p, "|"))
    for (skip(p); peek(p) != ']'; skip(p)) {
      if (!read_iter_name(p, total++) || !expect(p, ":") || !read_dim(p, &it->red[it->n_red])) return false;
      it->n_red++;
    }
  if (!expect(p, "]")) return false;
  for (int k = 0; k < p->values.n; k++) {
    int rank = p->values.p[k]->t.rank;
    it->acc[k] = NEWN(p->scratch, Affine, rank + 1);
    if (!expect(p, "(")) return false;
    for (int d = 0; d < rank; d++)
      if ((d && !expect(p, ",")) || !read_affine(p, total, &it->acc[k][d])) return false;
    if (!expect(p, ")")) return false;
  }
  return true;
}

/* Nodes */

static bool read_choice(Parser *p, const char *const *names, int n, int *out) {
  const char *word;
  if (!read_word(p, &word)) return false;
  for (*out = 0; *out < n; ++*out)
    if (!strcmp(word, names[*out])) return true;
  return fail(p, "%.40s is not one of its values", word);
}

static bool read_field(Parser *p, const AttrField *f, Attr *a) {
  void *to = (char *)a + f->offset;
  int64_t v = 0;
  int choice = 0;
  size_t n;
  switch (f->kind) {
  case FIELD_INT32:
    if (!read_int64(p, &v)) return false;
    if (v < INT32_MIN || v > INT32_MAX) return fail(p, "%s is out of range", f->name);
    *(int32_t *)to = (int32_t)v;
    return true;
  case FIELD_INT64: return read_int64(p, to);
  case FIELD_DOUBLE:
    skip(p);
    n = span(p, is_number);
    if (!parse_f64(p->at, n, to)) return fail(p, "a number expected");
    p->at += n;
    return true;
  case FIELD_ROUND:
    if (!read_choice(p, round_names, RND_COUNT, &choice)) return false;
    *(Round *)to = (Round)choice;
    return true;
  case FIELD_KERNEL:
    if (!read_choice(p, kernel_names, KERNEL_COUNT, &choice)) return false;
    *(Kernel *)to = (Kernel)choice;
    return true;
  }
  return false;
}

/* NAME=VALUE and `fused`, up to the end of the line. */
static bool read_fields(Parser *p, Op op, Attr *a) {
  uint32_t seen = 0;
  for (skip_blank(p); ident_start(peek(p)); skip_blank(p)) {
    const char *word;
    int i = 0;
    if (!read_word(p, &word)) return false;
    if (!strcmp(word, "fused")) { a->fused = true; continue; }
    while (i < ATTR_FIELDS && (strcmp(attr_fields[i].name, word) || !(op_info[op].attrs & attr_fields[i].mask))) i++;
    if (i == ATTR_FIELDS) return fail(p, "%s has no attribute %.40s", op_info[op].name, word);
    if (seen & attr_fields[i].mask) return fail(p, "%s is given twice", word);
    seen |= attr_fields[i].mask;
    if (!expect(p, "=") || !read_field(p, &attr_fields[i], a)) return false;
  }
  for (int i = 0; i < ATTR_FIELDS; i++)
    if (attr_fields[i].always && op_info[op].attrs & ~seen & attr_fields[i].mask)
      return fail(p, "%s needs %s=", op_info[op].name, attr_fields[i].name);
  return true;
}

/* `; node 5 "fc1" (Conv)` on the rest of the line; any other comment is left alone. */
static bool read_loc(Parser *p, Loc *l) {
  uint64_t v;
  skip_blank(p);
  if (peek(p) != ';') return true;
  const char *comment = p->at++;
  skip_blank(p);
  if (p->end - p->at < 5 || memcmp(p->at, "node ", 5)) { p->at = comment; return true; }
  p->at += 5;
  skip_blank(p);
  if (is_digit(peek(p))) {
    if (!read_uint(p, INT32_MAX, &v)) return false;
    l->node = (int32_t)v;
    skip_blank(p);
  }
  if (peek(p) == '"' && !read_string(p, &l->name)) return false;
  skip_blank(p);
  if (peek(p) == '(') {
    p->at++;
    if (!read_name(p, &l->op) || !expect(p, ")")) return false;
  }
  skip_blank(p);
  return p->at == p->end || peek(p) == '\n' || fail(p, "a location is: node NUMBER \"NAME\" (OPERATOR)");
}

static bool read_op(Parser *p, Op *op, Scalar *scalar) {
  const char *word;
  int i = 0;
  if (!read_word(p, &word)) return false;
  while (i < OP_COUNT && (i == OP_ARG || strcmp(op_info[i].name, word))) i++;
  if (i == OP_COUNT) return fail(p, "unknown operator %.40s", word);
  *op = (Op)i;
  *scalar = S_NONE;
  if (!(op_info[i].attrs & AT_SCALAR)) return true;
  if (!read_word(p, &word)) return false;
  *scalar = scalar_find(word);
  return *scalar || fail(p, "unknown scalar operation %.40s", word);
}

static bool read_node(Parser *p) {
  const char *key;
  Type t;
  Op op = OP_CONST;
  Attr a = {0};
  Iters it;
  Loc loc = LOC_NONE;
  loc.file = p->file;
  if (!read_key(p, &key)) return false;
  loc.line = p->line;
  if (!expect(p, ":") || !read_type(p, &t) || !expect(p, "=") || !read_op(p, &op, &a.scalar)) return false;
  p->values.n = 0;
  skip_blank(p);
  if (peek(p) == '%') do {
    Node *n;
    if (!read_value(p, &n)) return false;
    vec_push(p->scratch, &p->values, n);
  } while (accept(p, ","));
  if (p->values.n < op_info[op].min_in || p->values.n > op_info[op].max_in)
    return fail(p, "%s with %d operands", op_info[op].name, p->values.n);
  if (op == OP_CONST && !read_literal(p, &t, &a.value)) return false;
  if (op_info[op].attrs & AT_ITERS) {
    if (!read_iters(p, &t, &it)) return false;
    a.iters = &it;
  }
  if (!read_fields(p, op, &a) || !read_loc(p, &loc)) return false;
  if (p->at < p->end && peek(p) != '\n' && peek(p) != ';') return fail(p, "end of the line expected");
  int64_t most = p->ctx->limits.nodes;
  if (p->g->n_nodes >= most) return diag(p->ctx, E0402, &loc, "more than %" PRId64 " nodes (--limit nodes=N)", most);
  return define(p, key, node_new(p->g, op, &t, p->values.n, p->values.p, &a, &loc));
}

/* The graph */

static bool read_ports(Parser *p, bool outs) {
  if (!expect(p, "(")) return false;
  if (accept(p, ")")) return true;
  do {
    Port port;
    if (!expect(p, "%") || !read_name(p, &port.name) || !expect(p, ":") || !read_type(p, &port.t)) return false;
    if (outs) vec_push(p->scratch, &p->outs, port);
    else {
      p->g->at.line = p->line;
      Node *n = graph_arg(p->g, port.name, &port.t);
      if (!define(p, arena_printf(p->scratch, "%%%s", port.name), n)) return false;
    }
    if (p->g->n_nodes > p->ctx->limits.nodes) return fail(p, "more than %" PRId64 " nodes", p->ctx->limits.nodes);
  } while (accept(p, ","));
  return expect(p, ")");
}

static bool read_props(Parser *p) {
  if (!accept(p, "props")) return true;
  for (skip_blank(p); ident_start(peek(p)); skip_blank(p)) {
    const char *word;
    int i = 0;
    if (!read_word(p, &word)) return false;
    while (i < PROP_NAMES && strcmp(prop_names[i].name, word)) i++;
    if (i == PROP_NAMES) return fail(p, "unknown property %.40s", word);
    p->g->props |= prop_names[i].prop;
  }
  return true;
}

static bool read_facts(Parser *p) {
  while (accept(p, "fact")) {
    const char *key, *value;
    skip(p);
    if (!read_string(p, &key)) return false;
    skip(p);
    if (!read_string(p, &value)) return false;
    if (strncmp(key, "popshift.", 9)) return fail(p, "a fact's key begins with \"popshift.\"");
    if (graph_fact_get(p->g, key)) return fail(p, "fact %.100s twice", key);
    if (p->g->n_facts == MAX_FACTS) return fail(p, "more than %d facts", MAX_FACTS);
    graph_fact(p->g, key, value);
  }
  return true;
}

static bool read_return(Parser *p) {
  for (int i = 0; i < p->outs.n; i++) {
    Node *n;
    if ((i && !expect(p, ",")) || !read_value(p, &n)) return false;
    if (!type_eq(&n->t, &p->outs.p[i].t))
      return fail(p, "output %.100s has another type in the graph's first line", p->outs.p[i].name);
    graph_out(p->g, p->outs.p[i].name, n);
  }
  return true;
}

static bool read_graph(Parser *p) {
  const char *name;
  if (!expect(p, "popshift.graph") || !expect(p, "1") || !expect(p, "graph") || !expect(p, "@") || !read_name(p, &name))
    return false;
  p->g->name = arena_strdup(p->g->arena, name);
  if (!read_ports(p, false) || !expect(p, "->") || !read_ports(p, true) || !expect(p, "{") || !read_props(p) || !read_facts(p))
    return false;
  while (!accept(p, "return")) {
    skip(p);
    if (peek(p) != '%') return fail(p, "a node or 'return' expected");
    if (!read_node(p)) return false;
  }
  if (!read_return(p) || !expect(p, "}")) return false;
  while (accept(p, "data")) if (!read_data(p)) return false;
  skip(p);
  if (p->at != p->end) return fail(p, "something follows the graph");
  for (int i = 0; i < p->entries.n; i++) {
    const Entry *e = &p->entries.p[i];
    p->line = e->line;
    if (e->data && !e->filled) return fail(p, "%s has no data line", e->key);
  }
  return true;
}

Graph *graph_parse(Ctx *ctx, const char *file, const char *text, size_t n) {
  Parser p = {.ctx = ctx, .file = file, .at = text, .end = text + n, .line = 1, .scratch = arena_new(ctx)};
  p.g = graph_new(ctx, "g", file);
  p.g->at.file = p.g->file;
  bool ok = read_graph(&p);
  p.g->at = LOC_NONE;
  arena_free(p.scratch);
  if (ok && graph_verify(ctx, p.g)) return p.g;
  graph_free(p.g);
  return NULL;
}
