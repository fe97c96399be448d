/* Programs as text: reading. The grammar is in nest_text.c. One error, the first; its line is in the location. */
#include "ir/nest_impl.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 64, NUMBER = 96 }; /* longest word and number */

typedef struct Parse {
  Ctx *ctx;
  const char *file, *at, *end;
  int line, expr_depth, block_depth;
  bool failed;
  Program *p;
  Nest *n;
  VEC(bool) live;          /* of the nest's variables: declared in an open block */
  const Nest *meaning;     /* whose variables are $0 $1 $2, or NULL */
} Parse;

/* Lexing */

static bool fail(Parse *s, const char *what) {
  if (s->failed) return false;
  s->failed = true;
  char found[24];
  int k = 0;
  for (const char *c = s->at; c < s->end && k < 20 && *c != '\n'; c++) found[k++] = *c;
  found[k] = 0;
  Loc loc = LOC_NONE;
  loc.file = s->file;
  loc.line = s->line;
  return diag(s->ctx, E0103, &loc, "%s, found `%s`", what, s->at >= s->end ? "end of text" : k ? found : "end of line");
}

static char peek(Parse *s) {
  for (; s->at < s->end; s->at++) {
    if (*s->at == '\n') s->line++;
    else if (*s->at == ';') { while (s->at + 1 < s->end && s->at[1] != '\n') s->at++; }
    else if (*s->at != ' ' && *s->at != '\t' && *s->at != '\r') return *s->at;
  }
  return 0;
}

static bool accept(Parse *s, const char *punct) {
  size_t n = strlen(punct);
  if (s->failed || !peek(s) || (size_t)(s->end - s->at) < n || memcmp(s->at, punct, n)) return false;
  s->at += n;
  return true;
}

static bool expect(Parse *s, const char *punct) {
  if (accept(s, punct)) return true;
  char what[32];
  snprintf(what, sizeof what, "expected `%s`", punct);
  return fail(s, what);
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The next word without consuming it; its length, 0 where there is none. */
static size_t word_ahead(Parse *s) {
  size_t n = 0;
  if (!is_letter(peek(s))) return 0;
  while (s->at + n < s->end && (is_letter(s->at[n]) || is_digit(s->at[n]))) n++;
  return n;
}

static bool word(Parse *s, char out[WORD + 1], const char *what) {
  size_t n = s->failed ? 0 : word_ahead(s);
  if (!n || n > WORD) return fail(s, what);
  memcpy(out, s->at, n);
  out[n] = 0;
  s->at += n;
  return true;
}

static bool accept_word(Parse *s, const char *w) {
  size_t n = s->failed ? 0 : word_ahead(s);
  if (!n || n != strlen(w) || memcmp(s->at, w, n)) return false;
  s->at += n;
  return true;
}

static bool expect_word(Parse *s, const char *w) {
  if (accept_word(s, w)) return true;
  char what[48];
  snprintf(what, sizeof what, "expected `%s`", w);
  return fail(s, what);
}

/* A decimal integer within lo..hi. */
static bool integer(Parse *s, int64_t lo, int64_t hi, int64_t *v, const char *what) {
  char text[32];
  size_t n = 0;
  char c = s->failed ? 0 : peek(s);
  if (c == '-') text[n++] = c;
  while (s->at + n < s->end && n < 24 && is_digit(s->at[n])) { text[n] = s->at[n]; n++; }
  text[n] = 0;
  if (!n || (n == 1 && c == '-')) return fail(s, what);
  errno = 0;
  *v = strtoll(text, NULL, 10);
  if (errno || *v < lo || *v > hi) return fail(s, what);
  s->at += n;
  return true;
}

static int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "..." as str_quoted prints it; in the program's arena. */
static const char *string(Parse *s) {
  if (!expect(s, "\"")) return NULL;
  const char *stop = s->at;
  while (stop < s->end && *stop != '"' && *stop != '\n') stop += *stop == '\\' && stop + 1 < s->end ? 2 : 1;
  if (stop >= s->end || *stop != '"') { fail(s, "expected a closed string"); return NULL; }
  if (stop - s->at > s->ctx->limits.name) { fail(s, "expected a shorter string"); return NULL; }
  char *out = arena_alloc(s->p->arena, (size_t)(stop - s->at) + 1), *to = out;
  while (s->at < stop) {
    char c = *s->at++;
    if (c == '\\') {
      c = *s->at++;
      if (c == 'n') c = '\n';
      else if (c == 't') c = '\t';
      else if (c == 'x' && stop - s->at >= 2 && hex_digit(s->at[0]) >= 0 && hex_digit(s->at[1]) >= 0) {
        c = (char)(hex_digit(s->at[0]) * 16 + hex_digit(s->at[1]));
        s->at += 2;
      } else if (c != '"' && c != '\\') { fail(s, "expected an escape: \\\" \\\\ \\n \\t \\xNN"); return NULL; }
    }
    if (!c) { fail(s, "expected no NUL in a string"); return NULL; }
    *to++ = c;
  }
  s->at = stop + 1;
  return out;
}

/* Types and numbers */

/* ELEM, of nests and ports: i8, f32, shift<3>. */
static bool elem(Parse *s, Elem *e) {
  size_t n = s->failed ? 0 : word_ahead(s);
  if (n && s->at + n < s->end && s->at[n] == '<') {
    do n++; while (s->at + n < s->end && is_digit(s->at[n]));
    if (s->at + n < s->end && s->at[n] == '>') n++;
  }
  if (!n || !elem_parse(s->at, n, e)) return fail(s, "expected an element type");
  s->at += n;
  return true;
}

/* All of a word as ELEM ["x" LANES]. */
static bool ntype_of(const char *w, NType *t) {
  const char *x = strchr(w, 'x');
  size_t n = x ? (size_t)(x - w) : strlen(w);
  long lanes = 1;
  if (x) {
    if (!is_digit(x[1]) || x[1] == '0' || strlen(x + 1) > 3) return false;
    char *end;
    lanes = strtol(x + 1, &end, 10);
    if (*end || lanes < 2) return false;
  }
  if (!elem_parse(w, n, &t->e)) return false;
  t->lanes = (uint16_t)lanes;
  return true;
}

static bool ntype(Parse *s, NType *t) {
  char w[WORD + 1];
  if (!word(s, w, "expected a type")) return false;
  return ntype_of(w, t) || fail(s, "expected a type before this");
}

/* Decimal without locale: strtod reads the locale's point. f32: rounded once, by strtof. */
static bool decimal(Parse *s, bool is32, double *v) {
  char text[NUMBER + 8], *stop;
  size_t n = 0;
  while (s->at + n < s->end && n < NUMBER && (is_digit(s->at[n]) || (s->at[n] && strchr("+-.eE", s->at[n])))) n++;
  memcpy(text, s->at, n);
  text[n] = 0;
  char *point = strchr(text, '.');
  if (point) *point = *localeconv()->decimal_point;
  *v = is32 ? (double)strtof(text, &stop) : strtod(text, &stop);
  if (!n || stop != text + n) return fail(s, "expected a number");
  s->at += n;
  return true;
}

static bool nan_bits(Parse *s, double *v) {
  uint64_t bits = UINT64_C(0x7ff8000000000000);
  if (accept(s, ":")) {
    int k = 0;
    for (bits = 0; s->at < s->end && k < 16 && hex_digit(*s->at) >= 0; k++) bits = bits << 4 | (uint64_t)hex_digit(*s->at++);
    if (bits << 12 == 0 || (bits >> 52 & 0x7ff) != 0x7ff) return fail(s, "expected the bits of a NaN");
  }
  memcpy(v, &bits, 8);
  return true;
}

static bool number(Parse *s, Elem e, Val *v) {
  v->i = 0;
  char c = peek(s);
  if (elem_is_float(e)) {
    if (accept_word(s, "nan")) return nan_bits(s, &v->f);
    bool minus = c == '-' && s->at + 1 < s->end && s->at[1] == 'i';
    if (minus) s->at++;
    if (accept_word(s, "inf")) { v->f = minus ? -(double)INFINITY : (double)INFINITY; return true; }
    return decimal(s, e.bits == 32, &v->f);
  }
  if (e.kind == EK_UINT && e.bits == 64) {
    char text[32];
    size_t n = 0;
    while (s->at + n < s->end && n < 24 && is_digit(s->at[n])) { text[n] = s->at[n]; n++; }
    text[n] = 0;
    errno = 0;
    v->i = (int64_t)strtoull(text, NULL, 10);
    if (!n || errno) return fail(s, "expected a number of the type");
    s->at += n;
    return true;
  }
  return integer(s, elem_lo(e), elem_hi(e), &v->i, "expected a number of the type");
}

/* Expressions */

static Expr *expr(Parse *s, NType want);

static Expr *constant(Parse *s, NType t) {
  if (!t.lanes) { fail(s, "expected TYPE(number): the place does not tell the type"); return NULL; }
  Expr *x = expr_new(s->p, EX_CONST, t, 0, NULL, NULL, NULL);
  return number(s, t.e, &x->value) ? x : NULL;
}

static NType result_type(const Expr *x) {
  switch (x->kind) {
    case EX_SCALAR:
      if (x->s == S_CAST || x->s == S_BITS) return ntv(x->t.e, x->a[0]->t.lanes);
      if (x->s == S_SELECT) return x->a[1]->t;
      return scalar_info[x->s].result == 'B' ? ntv(BOOL, x->a[0]->t.lanes) : x->a[0]->t;
    case EX_COND: return x->a[1]->t;
    case EX_SPLAT: case EX_PERM: return ntv(x->a[0]->t.e, x->t.lanes);
    case EX_HRED: return nt(x->a[0]->t.e);
    case EX_RELANE: return ntv(x->t.e, x->t.e.bits ? x->a[0]->t.lanes * x->a[0]->t.e.bits / x->t.e.bits : 0);
    case EX_MASK: return nt(UINTK(x->a[0]->t.lanes));
    case EX_INTRIN: return intrins[x->imm].result;
    default: return x->a[0]->t;
  }
}

/* `(` operands `)` of x, whose kind and parameters are set. */
static Expr *operands(Parse *s, Expr *x, int n, NType want) {
  if (!expect(s, "(")) return NULL;
  for (x->n = 0; x->n < n; x->n++) {
    if (x->kind == EX_PERM && x->n == 1 && accept(s, ")")) { x->t = result_type(x); return x; }
    if (x->n && !expect(s, ",")) return NULL;
    x->a[x->n] = expr(s, expr_wants(x, want, x->n, s->p->index));
    if (!x->a[x->n]) return NULL;
  }
  if (!expect(s, ")")) return NULL;
  x->t = result_type(x);
  return x;
}

static bool index_lanes(Parse *s, Expr **index, int64_t *lanes) {
  *lanes = 1;
  *index = expr(s, nt(s->p->index));
  if (!*index) return false;
  if (accept(s, ":") && !integer(s, 2, 512, lanes, "expected lanes, 2..512")) return false;
  return expect(s, "]");
}

/* Buffer of the name; -1 with an error. */
static int buffer(Parse *s, const char *name) {
  int b = name_find(s->p, NULL, name);
  if (b >= 0 && b < s->p->n_bufs) return b;
  fail(s, "expected a buffer's name before this");
  return -1;
}

static Expr *load(Parse *s, const char *name) {
  int buf = buffer(s, name);
  Expr *index;
  int64_t lanes;
  if (buf < 0 || !index_lanes(s, &index, &lanes)) return NULL;
  Expr *x = expr_new(s->p, EX_LOAD, ntv(s->p->bufs[buf].e, (int)lanes), 1, index, NULL, NULL);
  x->buf = buf;
  return x;
}

static Expr *perm(Parse *s) {
  uint8_t p[512];
  int64_t v;
  int n = 0;
  do {
    if (n == 512 || !integer(s, 0, 255, &v, "expected a lane, 0..255")) return NULL;
    p[n++] = (uint8_t)v;
  } while (accept(s, ","));
  if (!expect(s, ">")) return NULL;
  Expr *x = expr_new(s->p, EX_PERM, ntv(BOOL, n), 0, NULL, NULL, NULL);
  uint8_t *copy = NEWN(s->p->arena, uint8_t, n);
  memcpy(copy, p, (size_t)n);
  x->perm = copy;
  return operands(s, x, 2, nt(BOOL)); /* or one */
}

/* After NAME "<". */
static Expr *with_parameter(Parse *s, const char *name, NType want) {
  int64_t v;
  Expr *x = expr_new(s->p, EX_SCALAR, want, 0, NULL, NULL, NULL);
  if (!strcmp(name, "perm")) return perm(s);
  if (!strcmp(name, "cast") || !strcmp(name, "bits")) {
    x->s = *name == 'c' ? S_CAST : S_BITS;
    return elem(s, &x->t.e) && expect(s, ">") ? operands(s, x, 1, want) : NULL;
  }
  if (!strcmp(name, "relane")) {
    x->kind = EX_RELANE;
    return elem(s, &x->t.e) && expect(s, ">") ? operands(s, x, 1, want) : NULL;
  }
  if (!strcmp(name, "splat")) {
    x->kind = EX_SPLAT;
    if (!integer(s, 2, 512, &v, "expected lanes, 2..512")) return NULL;
    x->t.lanes = (uint16_t)v;
    return expect(s, ">") ? operands(s, x, 1, want) : NULL;
  }
  if (!strcmp(name, "lut3")) {
    x->kind = EX_LUT3;
    if (!integer(s, 0, 255, &v, "expected a table, 0..255")) return NULL;
    x->imm = (int)v;
    return expect(s, ">") ? operands(s, x, 3, want) : NULL;
  }
  fail(s, "expected cast, bits, relane, splat, lut3 or perm before `<`");
  return NULL;
}

/* At NAME "(". */
static Expr *call(Parse *s, const char *name, NType want) {
  static const struct { const char *name; ExprKind kind; int n; } kinds[] = {
    {"cond", EX_COND, 3}, {"hred", EX_HRED, 1}, {"dot", EX_DOT, 3}, {"shuf", EX_SHUF, 2}, {"mask", EX_MASK, 1}
  };
  Expr *x = expr_new(s->p, EX_SCALAR, want, 0, NULL, NULL, NULL);
  x->s = scalar_find(name);
  if (x->s == S_CAST || x->s == S_BITS) { fail(s, "expected `<`"); return NULL; }
  if (x->s != S_NONE) return operands(s, x, scalar_info[x->s].arity, want);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].name, name)) continue;
    x->kind = kinds[i].kind;
    return operands(s, x, kinds[i].n, want);
  }
  NType t;
  if (!ntype_of(name, &t)) { fail(s, "expected an operation or a type before this"); return NULL; }
  if (!expect(s, "(")) return NULL;
  x = constant(s, t);
  return x && expect(s, ")") ? x : NULL;
}

static Expr *intrin(Parse *s) {
  char w[WORD + 1];
  if (!word(s, w, "expected an intrinsic")) return NULL;
  Expr *x = expr_new(s->p, EX_INTRIN, nt(BOOL), 0, NULL, NULL, NULL);
  for (x->imm = 0; x->imm < n_intrins && strcmp(intrins[x->imm].name, w); x->imm++) {}
  if (x->imm == n_intrins || s->meaning) { fail(s, "expected an intrinsic of intrin.def before this"); return NULL; }
  return operands(s, x, intrins[x->imm].n, nt(BOOL));
}

static Expr *argument(Parse *s) {
  int64_t v;
  if (!s->meaning || !integer(s, 0, s->meaning->n_vars - 1, &v, "expected an argument")) {
    fail(s, "expected no argument here");
    return NULL;
  }
  return nx_var(s->p, s->meaning, (int)v);
}

static Expr *variable(Parse *s, const char *name) {
  int v = s->n ? name_find(s->p, s->n, name) : -1;
  if (v < 0 || !s->live.p[v]) { fail(s, "expected a variable in scope before this"); return NULL; }
  return nx_var(s->p, s->n, v);
}

static Expr *expr_in(Parse *s, NType want) {
  char c = peek(s), w[WORD + 1];
  if (c == '-' || is_digit(c)) return constant(s, want);
  if (accept(s, "@")) return intrin(s);
  if (accept(s, "$")) return argument(s);
  size_t n = word_ahead(s);
  if ((n == 3 && (!memcmp(s->at, "inf", 3) || !memcmp(s->at, "nan", 3)))) return constant(s, want);
  if (!word(s, w, "expected an expression")) return NULL;
  if (accept(s, "[")) return load(s, w);
  if (accept(s, "<")) return with_parameter(s, w, want);
  if (peek(s) == '(') return call(s, w, want);
  return variable(s, w);
}

static Expr *expr(Parse *s, NType want) {
  if (s->failed) return NULL;
  if (s->expr_depth == EXPR_DEPTH) { fail(s, "expected expressions nested less deeply"); return NULL; }
  s->expr_depth++;
  Expr *x = expr_in(s, want);
  s->expr_depth--;
  return s->failed ? NULL : x;
}

Expr *meaning_parse(Program *p, const Nest *n, const char *text, NType want) {
  Parse s = {.ctx = p->ctx, .file = "intrin.def", .at = text, .end = text + strlen(text), .line = 1, .p = p, .meaning = n};
  Expr *x = expr(&s, want);
  if (x && peek(&s)) fail(&s, "expected the end");
  return s.failed ? NULL : x;
}

/* Statements */

/* Declares a variable; one of the same name and type whose block has ended is taken again. -1 with an error. */
static int declare(Parse *s, const char *name, NType t, bool is_loop) {
  int v = name_find(s->p, s->n, name);
  if (v >= 0 && !s->live.p[v] && nt_same(s->n->vars[v].t, t) && s->n->vars[v].is_loop == is_loop) {
    s->live.p[v] = true;
    return v;
  }
  if (v >= 0 || !nest_name_ok(name) || name_find(s->p, NULL, name) >= 0) {
    fail(s, "expected a name that is free before this");
    return -1;
  }
  v = nest_var(s->p, s->n, name, t, is_loop);
  if (strcmp(s->n->vars[v].name, name)) { fail(s, "expected a name that is free before this"); return -1; }
  assert(v == s->live.n);
  vec_push(s->p->arena, &s->live, true);
  return v;
}

static bool block(Parse *s, Block *b);

static bool for_stmt(Parse *s, Block *into) {
  char w[WORD + 1];
  int64_t v;
  NType index = nt(s->p->index);
  if (!word(s, w, "expected a loop variable")) return false;
  Expr *lo = expr(s, index);
  if (!lo || !expect(s, "..")) return false;
  Expr *hi = expr(s, index);
  if (!hi) return false;
  Stmt *st = stmt_new(s->p, into, ST_FOR, -1, -1, lo, hi);
  st->step = 1;
  if (accept_word(s, "step") && !integer(s, 1, INT32_MAX, &st->step, "expected a step")) return false;
  st->max = const_trips(st);
  if (accept_word(s, "max") && !integer(s, 0, INT64_MAX, &st->max, "expected a count")) return false;
  if (st->max < 0) return fail(s, "expected `max`, as lo and hi are not constant");
  for (int m = 1; m < MARK_COUNT; m++) {
    if (accept_word(s, mark_names[m])) { st->mark = (Mark)m; break; }
  }
  if (accept_word(s, "ii")) {
    if (!integer(s, 1, UINT16_MAX, &v, "expected an initiation interval")) return false;
    st->ii = (uint16_t)v;
  }
  st->var = declare(s, w, index, true);
  if (st->var < 0 || !block(s, &st->body)) return false;
  s->live.p[st->var] = false;
  return true;
}

static bool if_stmt(Parse *s, Block *into) {
  Expr *c = expr(s, nt(BOOL));
  if (!c) return false;
  Stmt *st = stmt_new(s->p, into, ST_IF, -1, -1, c, NULL);
  return block(s, &st->body) && (!accept_word(s, "else") || block(s, &st->other));
}

static bool def_stmt(Parse *s, Block *into, StmtKind kind) {
  char w[WORD + 1];
  NType t;
  if (!word(s, w, "expected a variable") || !expect(s, ":") || !ntype(s, &t) || !expect(s, "=")) return false;
  Expr *e = expr(s, t);
  if (!e) return false;
  int v = declare(s, w, t, false);
  if (v < 0) return false;
  stmt_new(s->p, into, kind, v, -1, e, NULL);
  return true;
}

static bool stmt_read(Parse *s, Block *into) {
  char w[WORD + 1];
  Expr *e, *index;
  int64_t lanes;
  if (accept_word(s, "for")) return for_stmt(s, into);
  if (accept_word(s, "if")) return if_stmt(s, into);
  if (accept_word(s, "let")) return def_stmt(s, into, ST_LET);
  if (accept_word(s, "var")) return def_stmt(s, into, ST_VARDEF);
  if (!word(s, w, "expected a statement")) return false;
  if (accept(s, "[")) {
    int b = buffer(s, w);
    if (b < 0 || !index_lanes(s, &index, &lanes) || !expect(s, ":=")) return false;
    e = expr(s, ntv(s->p->bufs[b].e, (int)lanes));
    if (!e) return false;
    if (e->t.lanes != lanes) return fail(s, "expected a value of as many lanes before this");
    stmt_new(s->p, into, ST_STORE, -1, b, e, index);
    return true;
  }
  int v = name_find(s->p, s->n, w);
  if (v < 0 || !s->live.p[v]) return fail(s, "expected a variable in scope before this");
  if (!expect(s, ":=") || !(e = expr(s, s->n->vars[v].t))) return false;
  stmt_new(s->p, into, ST_SET, v, -1, e, NULL);
  return true;
}

static bool stmt(Parse *s, Block *into) {
  peek(s);
  Stmt **at = into->tail;
  int line = s->line;
  bool ok = stmt_read(s, into);
  if (*at) (*at)->line = line;
  return ok;
}

/* After the "{". */
static bool block_rest(Parse *s, Block *b) {
  if (s->block_depth == NEST_DEPTH) return fail(s, "expected blocks nested less deeply");
  s->block_depth++;
  VEC(int) own = {0}; /* declared here, for the end */
  while (!accept(s, "}")) {
    Stmt **tail = b->tail;
    if (!stmt(s, b)) return false;
    const Stmt *st = *tail;
    if (st->kind == ST_LET || st->kind == ST_VARDEF) vec_push(s->p->arena, &own, st->var);
  }
  for (int i = 0; i < own.n; i++) s->live.p[own.p[i]] = false;
  s->block_depth--;
  return true;
}

static bool block(Parse *s, Block *b) { return expect(s, "{") && block_rest(s, b); }

/* Items */

/* (Conv), or ("any text"). */
static const char *operator_name(Parse *s) {
  if (peek(s) == '"') return string(s);
  size_t n = 0;
  while (s->at + n < s->end && (is_letter(s->at[n]) || is_digit(s->at[n]) || s->at[n] == '.')) n++;
  s->at += n;
  return n ? arena_strndup(s->p->arena, s->at - n, n) : NULL;
}

/* `; node 5 "fc1" (Conv)` on the rest of the line; any other comment is left. */
static void location(Parse *s, Loc *loc) {
  const char *from = s->at, *stop = memchr(s->at, '\n', (size_t)(s->end - s->at));
  while (from < s->end && *from == ' ') from++;
  if (from >= s->end || *from != ';') return;
  Parse t = *s;
  t.at = from + 1;
  t.end = stop ? stop : s->end;
  Loc l = LOC_NONE;
  int64_t v = -1;
  if (accept_word(&t, "node") && is_digit(peek(&t)) && !integer(&t, 0, INT32_MAX, &v, "expected a node's number")) s->failed = true;
  l.node = (int32_t)v;
  if (peek(&t) == '"' && !(l.name = string(&t))) s->failed = true;
  if (accept(&t, "(") && (!(l.op = operator_name(&t)) || !accept(&t, ")"))) { s->failed |= t.failed; return; }
  if (!peek(&t)) *loc = l;
}

static bool nest_item(Parse *s) {
  char w[WORD + 1];
  if (!word(s, w, "expected a nest's name")) return false;
  if (!nest_name_ok(w) || name_find(s->p, NULL, w) >= 0) return fail(s, "expected a name that is free before this");
  const char *note = peek(s) == '"' ? string(s) : NULL;
  if (!expect(s, "{")) return false;
  int steps = s->p->n_steps;
  s->n = program_nest(s->p, w, NULL, note);
  s->p->n_steps = steps; /* steps are written out */
  s->live.n = 0;
  location(s, &s->n->loc);
  bool ok = block_rest(s, &s->n->body);
  s->n = NULL;
  return ok;
}

static bool nest_ref(Parse *s, int *id) {
  char w[WORD + 1];
  if (!word(s, w, "expected a nest's name")) return false;
  *id = name_find(s->p, NULL, w) - NEST_ID;
  return (*id >= 0 && *id < s->p->n_nests) || fail(s, "expected a nest's name before this");
}

static bool run_item(Parse *s) {
  Program *p = s->p;
  int id;
  if (!nest_ref(s, &id)) return false;
  VEC(int) v = {p->steps, p->n_steps, p->cap_steps};
  vec_push(p->arena, &v, id);
  p->steps = v.p; p->n_steps = v.n; p->cap_steps = v.cap;
  return true;
}

static bool init_item(Parse *s) {
  Program *p = s->p;
  int id;
  if (!nest_ref(s, &id)) return false;
  p->inits = arena_grow(p->arena, p->inits, sizeof *p->inits * (size_t)p->n_inits, sizeof *p->inits * ((size_t)p->n_inits + 1));
  p->inits[p->n_inits++] = id;
  return true;
}

/* Buffers */

static bool part(Parse *s, Part *p) {
  int64_t v;
  if (!accept_word(s, "part")) return true;
  if (accept_word(s, "complete")) { p->kind = PART_COMPLETE; return true; }
  if (!expect_word(s, "cyclic") || !integer(s, 1, 1 << 20, &v, "expected a factor")) return false;
  p->kind = PART_CYCLIC;
  p->factor = (int)v;
  return true;
}

/* Elements in "..." pieces of hex digits, each element's bytes least significant first. */
static bool hex_data(Parse *s, const Buf *b, void *data) {
  size_t size = store_size(elem_store(b->e)), total = (size_t)b->n * size, i = 0;
  uint64_t word = 0;
  while (accept(s, "\"")) {
    while (s->at < s->end && *s->at != '"') {
      int hi = hex_digit(*s->at), lo = s->at + 1 < s->end ? hex_digit(s->at[1]) : -1;
      if (hi < 0 || lo < 0 || i == total) return fail(s, i == total ? "expected the end of the data" : "expected hex digits");
      word |= (uint64_t)(hi * 16 + lo) << 8 * (i % size);
      s->at += 2;
      if (++i % size) continue;
      if (size == 1) ((uint8_t *)data)[i - 1] = (uint8_t)word;
      else if (size == 2) ((uint16_t *)data)[i / 2 - 1] = (uint16_t)word;
      else if (size == 4) ((uint32_t *)data)[i / 4 - 1] = (uint32_t)word;
      else ((uint64_t *)data)[i / 8 - 1] = word;
      word = 0;
    }
    if (!expect(s, "\"")) return false;
  }
  return i == total || fail(s, "expected more data before this");
}

/* Allocates no more than a small multiple of the text that is left. */
static bool rom_data(Parse *s, Buf *b) {
  if (!expect(s, "=")) return false;
  bool hex = accept_word(s, "hex");
  if (b->n > (s->end - s->at) / (hex ? 2 : 1)) return fail(s, "expected as much data as elements");
  void *data = arena_alloc(s->p->arena, (size_t)b->n * store_size(elem_store(b->e)) + 1);
  b->rom = data;
  if (hex) return hex_data(s, b, data);
  if (!expect(s, "{")) return false;
  for (int64_t i = 0; i < b->n; i++) {
    Val v;
    if ((i && !expect(s, ",")) || !number(s, b->e, &v)) return false;
    store_set(elem_store(b->e), data, i, v);
  }
  return expect(s, "}");
}

static bool port(Parse *s, int buf, bool is_out) {
  Program *p = s->p;
  Port **ports = is_out ? &p->outs : &p->ins;
  int *n = is_out ? &p->n_outs : &p->n_ins;
  int64_t at, d;
  Port q = {.buf = buf};
  if (!expect_word(s, "port") || !integer(s, 0, 1 << 20, &at, "expected the port's number")) return false;
  q.name = string(s);
  if (!q.name || !elem(s, &q.t.e) || !expect(s, "[")) return false;
  while (!accept(s, "]")) {
    if (q.t.rank == MAX_RANK) return fail(s, "expected fewer dimensions");
    if ((q.t.rank && !expect(s, ",")) || !integer(s, 0, INT64_MAX, &d, "expected a dimension")) return false;
    q.t.d[q.t.rank++] = dim_c(d);
  }
  if (at >= *n) { /* ports may come in any order; holes are the verifier's to find */
    if (at > *n + 4096) return fail(s, "expected ports numbered without holes");
    Port *more = NEWN(p->arena, Port, at + 1);
    for (int i = 0; i <= at; i++) { if (i < *n) more[i] = (*ports)[i]; else more[i].buf = -1; }
    *ports = more;
    *n = (int)at + 1;
  }
  if ((*ports)[at].buf >= 0) return fail(s, "expected a port number that is free before this");
  (*ports)[at] = q;
  return true;
}

static bool buf_item(Parse *s, Space sp) {
  char w[WORD + 1];
  Buf b = {.sp = sp, .off = -1};
  if (!word(s, w, "expected a buffer's name")) return false;
  if (!nest_name_ok(w) || name_find(s->p, NULL, w) >= 0) return fail(s, "expected a name that is free before this");
  if (!expect(s, ":") || !elem(s, &b.e) || !expect(s, "[")) return false;
  if (!integer(s, 0, INT64_C(1) << 48, &b.n, "expected a count of elements") || !expect(s, "]") || !part(s, &b.part)) return false;
  if (sp == SP_ROM && !rom_data(s, &b)) return false;
  b.keep = sp == SP_ARENA && accept_word(s, "keep");
  if (sp == SP_ARENA && accept_word(s, "at") && !integer(s, 0, INT64_C(1) << 48, &b.off, "expected an offset")) return false;
  int i = program_buf(s->p, w, b.e, sp, b.n, b.rom);
  s->p->bufs[i].part = b.part;
  s->p->bufs[i].off = b.off;
  s->p->bufs[i].keep = b.keep;
  return (sp != SP_IN && sp != SP_OUT) || port(s, i, sp == SP_OUT);
}

static bool item(Parse *s) {
  for (int sp = 0; sp <= SP_REG; sp++) if (accept_word(s, space_names[sp])) return buf_item(s, (Space)sp);
  if (accept_word(s, "nest")) return nest_item(s);
  if (accept_word(s, "init")) return init_item(s);
  if (accept_word(s, "run")) return run_item(s);
  if (accept_word(s, "plan"))
    return integer(s, 0, INT64_MAX, &s->p->arena_bytes, "expected bytes") && expect_word(s, "bound") &&
           integer(s, 0, INT64_MAX, &s->p->arena_bound, "expected bytes");
  return fail(s, "expected a buffer, plan, nest, init, run or `}`");
}

static bool header(Parse *s) {
  char w[WORD + 1];
  int64_t v;
  if (!expect_word(s, "popshift") || !expect(s, ".program") || !integer(s, 1, 1, &v, "expected version 1")) return false;
  if (!expect_word(s, "program") || !expect(s, "@") || !word(s, w, "expected the program's name")) return false;
  if (!nest_name_ok(w)) return fail(s, "expected a name that no language has taken before this");
  s->p = program_new(s->ctx, w);
  s->p->file = arena_strdup(s->p->arena, s->file ? s->file : "text");
  if (!expect_word(s, "index") || !elem(s, &s->p->index)) return false;
  s->p->exact = accept_word(s, "exact");
  s->p->no_multiply = accept_word(s, "no_multiply");
  return expect(s, "{");
}

Program *program_parse(Ctx *ctx, const char *file, const char *text, size_t n) {
  Parse s = {.ctx = ctx, .file = file, .at = text, .end = text + n, .line = 1};
  bool ok = header(&s);
  while (ok && !accept(&s, "}")) ok = item(&s);
  if (ok && peek(&s)) ok = fail(&s, "expected the end");
  if (ok && verify_as(ctx, s.p, E0103, file)) return s.p;
  program_free(s.p);
  return NULL;
}
