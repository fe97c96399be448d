/* Programs that every backend must print: all rows of scalar.def over all types, and texts with every statement and
 * expression. Used by test_c_backend.c and test_hls_backend.c. */
#ifndef POPSHIFT_TESTS_BACKEND_PROGRAMS_H
#define POPSHIFT_TESTS_BACKEND_PROGRAMS_H

#include "ir/nest_impl.h"

#include <check.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS_N = 512 };

static uint64_t seed = 88172645463325252u;
static inline uint64_t rnd(void) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return seed;
}

/* Numbers of every size, with the edges often. */
static inline Val random_val(Elem e) {
  static const int64_t codes[] = {0, 1, -1, 2, 3, 7, 8, 31, 32, 63, 64, INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN, 127, -128};
  static const double reals[] = {0, -0.0, 1, -1, 0.5, 1.5, 2.5, -0.5, INFINITY, -INFINITY, NAN, 255.9, -128.6, 0x1p31, -0x1p31, 0x1p63,
                                 -0x1p63, 0x1p64, 1e30, 1e-40, 0x1p-126, 3.999, 16777217};
  uint64_t r = rnd(), bits = rnd();
  Val v;
  if (elem_is_code(e)) {
    int64_t x = r % 3 == 0 ? codes[bits % 17] : (int64_t)(bits >> (rnd() % 64));
    v.i = code_wrap(e, r & 64 ? (int64_t)(0 - (uint64_t)x) : x);
    return v;
  }
  double d = 0;
  memcpy(&d, &bits, 8);
  if (r % 3 == 0) d = reals[bits % 23];
  else if (r % 3 == 1) d = (double)((int64_t)bits >> (rnd() % 60)) / 64;
  v.f = e.bits == 32 ? (double)(float)d : d;
  return v;
}

static inline void random_fill(const Buf *b, void *data) {
  for (int64_t i = 0; i < b->n; i++) store_set(elem_store(b->e), data, i, random_val(b->e));
}

static inline bool same_elements(const Buf *b, const void *x, const void *y, int64_t *at) {
  for (*at = 0; *at < b->n; ++*at) {
    Val u = store_get(elem_store(b->e), x, *at), v = store_get(elem_store(b->e), y, *at);
    bool nan = elem_is_float(b->e) && u.f != u.f && v.f != v.f;
    if (!nan && memcmp(&u, &v, sizeof u)) return false;
  }
  return true;
}

static inline int port(Program *p, const char *name, Elem e, Space sp, int64_t n) {
  int b = program_buf(p, nest_name(p, NULL, name), e, sp, n, NULL), *count = sp == SP_IN ? &p->n_ins : &p->n_outs;
  Port **ports = sp == SP_IN ? &p->ins : &p->outs, *old = *ports;
  *ports = NEWN(p->arena, Port, *count + 1);
  if (*count) memcpy(*ports, old, sizeof **ports * (size_t)*count);
  (*ports)[(*count)++] = (Port){arena_strdup(p->arena, name), b, type_make(e, 1, (int64_t[]){n})};
  return b;
}

static inline bool row_allowed(Scalar s, Elem e) {
  bool sums = s == S_ADD || s == S_SUB || s == S_MUL || s == S_DIV || s == S_MOD || s == S_FMOD || s == S_NEG || s == S_ABS ||
              s == S_SIGN || s == S_SHL || s == S_SHR || s == S_POP;
  if (s == S_POW || (s >= S_EXP && s <= S_ERF) || s == S_CAST || s == S_BITS || s == S_NONE) return false;
  if (scalar_info[s].on == 'F' && !elem_is_float(e)) return false;
  if (scalar_info[s].on == 'I' && elem_is_float(e)) return false;
  return e.kind != EK_BOOL || !sums;
}

static inline void rows_nest(Program *p, Scalar s, Elem to, const int in[3], int lanes, int c) {
  char name[40];
  snprintf(name, sizeof name, "%s_%d_%d%s", scalar_info[s].name, to.kind, to.bits, c >= 0 ? "_k" : "");
  Elem e = p->bufs[in[1]].e, out = s == S_CAST || s == S_BITS ? to : scalar_info[s].result == 'B' ? BOOL : e;
  int y = port(p, name, out, SP_OUT, ROWS_N);
  Nest *n = program_nest(p, nest_name(p, "n", name), NULL, name);
  int i = nest_var(p, n, "i", nt(p->index), true);
  Stmt *loop = ns_for(p, &n->body, i, nx_idx(p, 0), nx_idx(p, ROWS_N), lanes, -1);
  Expr *a[3];
  for (int k = 0; k < 3; k++) a[k] = nx_load(p, in[k], nx_var(p, n, i), lanes);
  if (c >= 0) a[2] = nx_const_i(p, ntv(e, lanes), c);
  int arity = scalar_info[s].arity;
  Expr *x = s == S_CAST ? nx_cast(p, a[1], to) : s == S_BITS ? nx_bits(p, a[1], to) : arity == 1 ? nx1(p, s, a[1]) :
            arity == 2 ? nx2(p, s, a[1], a[2]) : nx3(p, s, a[0], a[1], a[2]);
  ns_store(p, &loop->body, y, nx_var(p, n, i), x);
}

/* Every row over e, also with constant right operands, and casts and bits to every type of the list. */
static inline Program *rows_program(Ctx *ctx, Elem e, const Elem *all, int n_all, bool exact, int lanes) {
  Program *p = program_new(ctx, "rows");
  p->exact = exact;
  p->arena_bytes = p->arena_bound = 0;
  int in[3] = {port(p, "c", BOOL, SP_IN, ROWS_N), port(p, "a", e, SP_IN, ROWS_N), port(p, "b", e, SP_IN, ROWS_N)};
  for (Scalar s = S_NONE + 1; s < SCALAR_COUNT; s++) {
    if (!row_allowed(s, e)) continue;
    rows_nest(p, s, e, in, lanes, -1);
    if (scalar_info[s].arity == 2 && !elem_is_float(e) && e.bits > 3) rows_nest(p, s, e, in, lanes, 3);
  }
  for (int k = 0; k < n_all; k++) {
    if (lanes * all[k].bits > 512) continue;
    if (!elem_eq(all[k], e)) rows_nest(p, S_CAST, all[k], in, lanes, -1);
    bool floats = elem_is_float(e) || elem_is_float(all[k]);
    if (e.bits == all[k].bits && e.kind != EK_BOOL && all[k].kind != EK_BOOL && (!floats || e.bits >= 32))
      rows_nest(p, S_BITS, all[k], in, lanes, -1);
  }
  ck_assert_msg(program_verify(ctx, p), "rows do not verify");
  return p;
}

static inline Program *text_program(Ctx *ctx, const char *text) {
  Program *p = program_parse(ctx, "test", text, strlen(text));
  if (!p) diag_print(ctx, stderr, false);
  ck_assert_msg(p != NULL, "program does not parse");
  if (p->arena_bytes < 0) p->arena_bytes = p->arena_bound = 0;
  return p;
}

/* Statements and scalar expressions; codes and floats; REG, ROM, ARENA; branches and guarded loads; loops with bounds that
 * are computed; a reduction; an outer variable that is set. */
static const char text_statements[] =
  "popshift.program 1\nprogram @stmts index i32 {\n"
  "  in x : i8[96] port 0 \"x\" i8[96]\n"
  "  in f : f32[32] port 1 \"f\" f32[32]\n"
  "  out y : i32[32] port 0 \"y\" i32[32]\n"
  "  out g : f32[32] port 1 \"g\" f32[32]\n"
  "  out z : u8[32] port 2 \"z\" u8[32]\n"
  "  out q : bool[32] port 3 \"q\" bool[32]\n"
  "  out w : i64[8] port 4 \"w\" i64[8]\n"
  "  rom k : i8[9] = {1, -2, 3, 127, -128, 0, 5, -6, 7}\n"
  "  rom t : f32[4] = {0.5, -0, 1e-42, 3.4e+38}\n"
  "  rom big : i16[4] = {-32768, 32767, 1, -1}\n"
  "  arena a : i32[32] at 0\n"
  "  arena h : f32[32] at 128\n"
  "  reg acc : i32[4]\n"
  "  plan 256 bound 256\n"
  "  nest conv \"contract \\\"int8\\\" */ // ?\\x3f/\" {\n"
  "    for i 0..32 step 4 {\n"
  "      for j 0..4 unroll { acc[j] := 0 }\n"
  "      for r 0..9 {\n"
  "        for j 0..4 unroll { acc[j] := add(acc[j], mul(cast<i32>(x[add(add(i, j), mul(r, 7))]), cast<i32>(k[r]))) }\n"
  "      }\n"
  "      for j 0..4 unroll { a[add(i, j)] := acc[j] }\n"
  "    }\n"
  "  }\n"
  "  nest pool {\n"
  "    for i 0..32 pipeline ii 1 {\n"
  "      var m: i32 = -2147483648\n"
  "      var s: i32 = 17\n"
  "      for r 0..3 {\n"
  "        let at: i32 = sub(add(i, r), 1)\n"
  "        let in_: bool = and(le(i32(0), at), lt(at, 32))\n"
  "        m := max(m, cond(in_, a[at], -2147483648))\n"
  "        s := add(s, cast<i32>(x[i]))\n"
  "        if in_ { s := add(s, mul(a[at], 1000003)) } else { s := sub(s, -2147483648) }\n"
  "      }\n"
  "      y[i] := add(xor(m, s), -5)\n"
  "      q[i] := lt(m, s)\n"
  "    }\n"
  "  }\n"
  "  nest floats {\n"
  "    for i 0..32 {\n"
  "      let v: f32 = add(mul(f[i], t[fmod(i, 4)]), 0.1)\n"
  "      let bad: f32 = select(isnan(v), inf, v)\n"
  "      h[i] := sub(v, mul(div(v, 3), bad))\n"
  "      g[i] := round(sub(h[i], nan))\n"
  "      if lt(f[i], v) { g[i] := max(floor(v), neg(sqrt(abs(f[i])))) }\n"
  "      z[i] := cast<u8>(mul(f[i], 1.5))\n"
  "    }\n"
  "  }\n"
  "  nest bounds {\n"
  "    for i 0..8 {\n"
  "      var n: i64 = 1\n"
  "      for j div(i, 2)..min(add(i, 3), 9) step 2 max 6 {\n"
  "        n := sub(mul(n, i64(6364136223846793005)), cast<i64>(x[add(mul(i, 9), j)]))\n"
  "        let unused: i32 = add(j, 1)\n"
  "      }\n"
  "      for j 0..cast<i32>(and(n, i64(3))) max 4 { n := shl(n, cast<i64>(big[j])) }\n"
  "      w[i] := n\n"
  "    }\n"
  "  }\n"
  "  run conv\n  run pool\n  run floats\n  run bounds\n}\n";

/* Expressions deeper than compilers nest parentheses, one of them under a condition. */
static inline Program *deep_program(Ctx *ctx, bool exact) {
  Program *p = program_new(ctx, "deep");
  p->exact = exact;
  p->arena_bytes = p->arena_bound = 0;
  Elem e = exact ? INTK(23) : I32;
  int x = port(p, "x", e, SP_IN, 8), f = port(p, "f", F32, SP_IN, 8), y = port(p, "y", e, SP_OUT, 8), g = port(p, "g", F32, SP_OUT, 8);
  int shared = port(p, "shared", F32, SP_OUT, 8), branch = port(p, "branch", F32, SP_OUT, 8);
  Nest *n = program_nest(p, "deep_", NULL, NULL);
  int i = nest_var(p, n, "i", nt(p->index), true);
  Stmt *loop = ns_for(p, &n->body, i, nx_idx(p, 0), nx_idx(p, 8), 1, -1);
  Expr *iv = nx_var(p, n, i), *v = nx_load(p, x, iv, 1), *w = nx_load(p, f, iv, 1);
  for (int k = 0; k < 600; k++) {
    v = nx2(p, k % 3 ? S_XOR : S_MUL, nx2(p, S_ADD, v, nx_load(p, x, nx_idx(p, k % 8), 1)), nx_const_i(p, nt(e), 3 * k + 1));
    w = nx2(p, k % 2 ? S_SUB : S_DIV, nx_load(p, f, nx_idx(p, k % 8), 1), w);
    if (k == 300) v = nx_cond(p, nx2(p, S_LT, iv, nx_idx(p, 3)), nx_load(p, x, nx_idx(p, 1), 1), v);
  }
  /* shared: read twice by one statement, and in a branch and behind it */
  Expr *d = nx_load(p, f, iv, 1), *c, *zero = nx_const_f(p, nt(F32), 0), *test = nx2(p, S_LT, iv, nx_idx(p, 3));
  for (int k = 0; k < 25; k++) d = nx2(p, k % 2 ? S_SUB : S_MUL, d, nx_load(p, f, nx_idx(p, k % 8), 1));
  c = nx_cond(p, test, nx2(p, S_SUB, d, zero), nx2(p, S_MUL, d, d));
  ns_store(p, &loop->body, y, iv, v);
  ns_store(p, &loop->body, g, iv, w);
  ns_store(p, &loop->body, shared, iv, nx2(p, S_MUL, d, nx2(p, S_MAX, nx2(p, S_ADD, d, zero), zero)));
  ns_store(p, &loop->body, branch, iv, nx2(p, S_ADD, c, d));
  ck_assert(program_verify(ctx, p));
  return p;
}

#endif
