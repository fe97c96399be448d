/* The interpreter against scalar_eval, direct C and the rules of nest.h. */
#include "ir/nest_impl.h"
#include "tests/unit/holds.h"
#include "tests/unit/suite.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

static uint64_t seed = 88172645463325252u;
static uint64_t rnd(void) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return seed;
}

/* Numbers of every size, with the edges often. */
static Val random_val(Elem e) {
  Val v;
  uint64_t r = rnd();
  if (elem_is_code(e)) {
    static const int64_t edges[] = {0, 1, -1, 2, 3, 7, 8, 31, 32, 63, 64, INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN, 127, -128};
    int64_t x = r % 3 == 0 ? edges[rnd() % 17] : (int64_t)(rnd() >> (rnd() % 64));
    v.i = code_wrap(e, r & 64 ? (int64_t)(0 - (uint64_t)x) : x);
    return v;
  }
  static const double edges[] = {0, -0.0, 1, -1, 0.5, 1.5, 2.5, -0.5, INFINITY, -INFINITY, NAN, 255.9, -128.6, 0x1p31, -0x1p31, 0x1p63,
                                 -0x1p63, 0x1p64, 1e30, 1e-40, 0x1p-126, 3.999, 16777217};
  double d;
  uint64_t bits = rnd();
  memcpy(&d, &bits, 8);
  if (r % 3 == 0) d = edges[rnd() % 23];
  else if (r % 3 == 1) d = (double)((int64_t)rnd() >> (rnd() % 60)) / 64;
  v.f = e.bits == 32 ? (double)(float)d : d;
  return v;
}

static bool same_val(Elem e, Val a, Val b) {
  if (!elem_is_float(e)) return a.i == b.i;
  return (a.f != a.f && b.f != b.f) || !memcmp(&a, &b, sizeof a);
}

static const Elem elems[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_INT, 8}, {EK_INT, 16}, {EK_INT, 32}, {EK_INT, 64}, {EK_UINT, 8},
                             {EK_UINT, 16}, {EK_UINT, 32}, {EK_UINT, 64}, {EK_BOOL, 1}, {EK_INT, 1}, {EK_INT, 3}, {EK_UINT, 2},
                             {EK_INT, 31}, {EK_UINT, 33}, {EK_INT, 63}, {EK_UINT, 63}, {EK_INT, 2}};
enum { N_ELEMS = sizeof elems / sizeof *elems, CASES = 512 };

/* y[i] = row(a[i], b[i]) in `lanes` lanes at a time, on random operands. */
static void check_row(Scalar s, Elem e, Elem result, int lanes) {
  int arity = scalar_info[s].arity;
  Program *p = program_new(ctx, "rows");
  p->exact = true;
  Elem in_e[3] = {s == S_SELECT ? BOOL : e, e, e};
  void *data[3];
  int bufs[3];
  p->ins = NEWN(p->arena, Port, 3);
  for (int k = 0; k < arity; k++) {
    data[k] = calloc(CASES, 8);
    for (int i = 0; i < CASES; i++) store_set(elem_store(in_e[k]), data[k], i, random_val(in_e[k]));
    bufs[k] = program_buf(p, nest_name(p, "in", NULL), in_e[k], SP_IN, CASES, NULL);
    p->ins[p->n_ins++] = (Port){"x", bufs[k], type_make(in_e[k], 1, (int64_t[]){CASES})};
  }
  int y = program_buf(p, "y", result, SP_OUT, CASES, NULL);
  p->outs = NEW(p->arena, Port);
  *p->outs = (Port){"y", y, type_make(result, 1, (int64_t[]){CASES})};
  p->n_outs = 1;
  Nest *n = program_nest(p, "n", NULL, NULL);
  int i = nest_var(p, n, "i", nt(p->index), true);
  Stmt *loop = ns_for(p, &n->body, i, nx_idx(p, 0), nx_idx(p, CASES), lanes, -1);
  Expr *a[3];
  for (int k = 0; k < arity; k++) a[k] = nx_load(p, bufs[k], nx_var(p, n, i), lanes);
  Expr *x = s == S_CAST ? nx_cast(p, a[0], result) : s == S_BITS ? nx_bits(p, a[0], result) :
            arity == 1 ? nx1(p, s, a[0]) : arity == 2 ? nx2(p, s, a[0], a[1]) : nx3(p, s, a[0], a[1], a[2]);
  ns_store(p, &loop->body, y, nx_var(p, n, i), x);
  void *out = calloc(CASES, 8);
  bool ok = program_verify(ctx, p) && program_run(ctx, p, (const void *const *)data, &out);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  for (int j = 0; j < CASES; j++) {
    Val v[3];
    for (int k = 0; k < arity; k++) v[k] = store_get(elem_store(in_e[k]), data[k], j);
    Val want = scalar_eval(s, e, result, v), got = store_get(elem_store(result), out, j);
    holds_msg(same_val(result, want, got), "%s of %d/%d to %d/%d, %d lanes: %g %" PRId64 " wanted %g %" PRId64 " got %g %" PRId64,
                  scalar_info[s].name, e.kind, e.bits, result.kind, result.bits, lanes, v[0].f, v[0].i, want.f, want.i, got.f, got.i);
  }
  for (int k = 0; k < arity; k++) free(data[k]);
  free(out);
  program_free(p);
}

static bool transcendental(Scalar s) { return s == S_POW || (s >= S_EXP && s <= S_ERF); }

START_TEST(rows_are_scalar_eval) {
  Scalar s = (Scalar)_i;
  const ScalarInfo *r = &scalar_info[s];
  if (s == S_NONE || transcendental(s)) return;
  bool on_bool = s == S_MAX || s == S_MIN || s == S_AND || s == S_OR || s == S_XOR || s == S_NOT || s == S_EQ || s == S_LT ||
                 s == S_LE || s == S_SELECT || s == S_CAST;
  for (int k = 0; k < N_ELEMS; k++) {
    Elem e = elems[k];
    if ((r->on == 'F' && !elem_is_float(e)) || (r->on == 'I' && elem_is_float(e)) || (e.kind == EK_BOOL && !on_bool)) continue;
    for (int j = 0; j < N_ELEMS; j++) {
      if (r->result != 'C' && j) break;
      Elem to = r->result == 'A' ? e : r->result == 'B' ? BOOL : elems[j];
      if (s == S_BITS && (e.bits != to.bits || (e.bits != 32 && e.bits != 64))) continue;
      check_row(s, e, to, 1);
      check_row(s, e, to, 8);
    }
  }
}
END_TEST

/* A program from text with inputs and outputs of any storage. */
static bool run_text(const char *text, const void *const *ins, void *const *outs) {
  Program *p = program_parse(ctx, "t.nest", text, strlen(text));
  if (!p) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(p);
  bool ok = program_run(ctx, p, ins, outs);
  program_free(p);
  return ok;
}

#define HEAD "popshift.program 1\nprogram @p index i32 exact {\n"

START_TEST(statements) {
  int32_t y[6], x[8] = {3, 1, 4, 1, 5, 9, 2, 6};
  bool ok = run_text(HEAD
    " in x : i32[8] port 0 \"x\" i32[8]\n out y : i32[6] port 0 \"y\" i32[6]\n reg r : i32[8]\n arena t : i32[8]\n"
    " nest a {\n"
    "  for i 0..8 { r[i] := mul(x[i], 2) }\n"
    "  for i 0..8 step 3 { t[i] := r[i]  if lt(add(i, 1), 8) { t[add(i, 1)] := 7 } else { let q: i32 = i t[q] := sub(0, q) } }\n"
    "  t[2] := 0 t[5] := 0\n"
    " }\n"
    " nest b {\n"
    "  var sum: i32 = 0\n"
    "  let old: i32 = sum\n"
    "  for i 0..8 { for k 0..add(i, 1) max 8 { sum := add(sum, mul(t[k], i)) } }\n"
    "  y[0] := sum y[1] := old\n"
    "  var m: i32 = -1\n"
    "  for i 5..5 { m := 3 }\n"
    "  y[2] := m\n"
    "  let before: i32 = m m := 8 y[3] := before\n"
    "  var end: i32 = 3 var n: i32 = 0\n"
    "  for i 0..end max 3 { end := 100 n := add(n, 1) }\n" /* the end is evaluated once */
    "  y[4] := n\n"
    "  y[5] := cond(lt(m, 0), t[sub(m, 1000)], add(t[0], end))\n"
    " }\n run a run b\n}\n", (const void *[]){x}, (void *[]){y});
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  int32_t t[8] = {0}, sum = 0;
  for (int i = 0; i < 8; i += 3) { t[i] = 2 * x[i]; if (i + 1 < 8) t[i + 1] = 7; else t[i] = -i; }
  for (int i = 0; i < 8; i++) for (int k = 0; k < i + 1; k++) sum += t[k] * i;
  ck_assert_int_eq(y[0], sum);
  ck_assert_int_eq(y[1], 0);
  ck_assert_int_eq(y[2], -1);
  ck_assert_int_eq(y[3], -1);
  ck_assert_int_eq(y[4], 3);
  ck_assert_int_eq(y[5], t[0] + 100);
}
END_TEST

/* In-place updates, shared and hoisted values. */
START_TEST(updates) {
  int32_t y[16], x[4] = {5, -3, 40, 1};
  bool ok = run_text(HEAD
    " in x : i32[4] port 0 \"x\" i32[4]\n out y : i32[16] port 0 \"y\" i32[16]\n"
    " nest a {\n"
    "  var v: i32x4 = x[0:4]\n"
    "  for i 0..4 {\n"
    "   let w: i32 = mul(i, i)\n"
    "   for k 0..3 { v := add(v, splat<4>(add(mul(i, 10), w))) v := perm<1,2,3,0>(v) v := select(lt(v, splat<4>(k)), v, add(v, 1)) }\n"
    "   y[mul(i, 4):4] := v\n"
    "  }\n"
    " }\n run a\n}\n", (const void *[]){x}, (void *[]){y});
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  int32_t v[4] = {5, -3, 40, 1};
  for (int i = 0; i < 4; i++) {
    for (int k = 0; k < 3; k++) {
      for (int l = 0; l < 4; l++) v[l] += 10 * i + i * i;
      int32_t first = v[0];
      for (int l = 0; l < 4; l++) v[l] = l < 3 ? v[l + 1] : first;
      for (int l = 0; l < 4; l++) if (v[l] >= k) v[l]++;
    }
    for (int l = 0; l < 4; l++) ck_assert_int_eq(y[4 * i + l], v[l]);
  }
}
END_TEST

/* What the interpreter must refuse: body of a nest over t : i32[8] (ARENA), r : i32[8] (REG), y : i32[2] (OUT), i = 3. */
static const struct { const char *body; ErrCode code; const char *says; } refused[] = {
  {"y[add(i, -1)] := 1", E0211, "index 2 is outside y of 2"},
  {"y[sub(i, 4)] := 1", E0211, "index -1 is outside y"},
  {"y[0] := t[0]", E0211, "t[0] is read before it is written"},
  {"y[0] := r[7]", E0211, "r[7] is read before"},
  {"y[0] := y[1]", E0211, "y[1] is read before"},
  {"t[0:4] := 1 y[0] := hred(t[1:4])", E0211, "t[4] is read before"},
  {"t[0:4] := 1 t[4:4] := 1 y[0] := hred(t[add(i, 2):4])", E0211, "index 5 is outside t"},
  {"t[add(i, 2):4] := 1", E0211, "index 5 is outside t"},
  {"y[0] := cond(lt(i, 4), t[0], 1)", E0211, "t[0] is read"},
  {"for k 0..mul(i, 5) max 14 { y[0] := 1 }", E0211, "more iterations"},
  {"y[0] := 1", E0211, "never writes y[1]"},
};

START_TEST(refusals) {
  Str s = {.ctx = ctx};
  int32_t y[2];
  str_printf(&s, HEAD " out y : i32[2] port 0 \"y\" i32[2]\n reg r : i32[8]\n arena t : i32[8]\n"
             " nest a { for i 3..4 { %s } }\n nest b { for i 0..8 { r[i] := i } }\n run b run a\n}\n", refused[_i].body);
  bool ok = run_text(s.p, NULL, (void *[]){y});
  bool fine = !ok && ctx->n_errors == 1 && ctx->diags->code == refused[_i].code && strstr(ctx->diags->text, refused[_i].says);
  if (!fine) diag_print(ctx, stderr, false);
  ck_assert_msg(fine, "case %d", _i);
  ck_assert_str_eq(ctx->diags->loc.file, "t.nest");
  if (_i + 1 < (int)(sizeof refused / sizeof *refused)) ck_assert_int_eq(ctx->diags->loc.line, 6);
  str_free(&s);
}
END_TEST

static const char long_run[] = HEAD " out y : i32[1] port 0 \"y\" i32[1]\n"
  " nest a { y[0] := 0 for i 0..2000000000 { for k 0..2000000000 { y[0] := add(y[0], k) } } }\n run a\n}\n";

START_TEST(work_is_limited) {
  int32_t y[1];
  ctx->limits.work = 10000000;
  ck_assert(!run_text(long_run, NULL, (void *[]){y}));
  ck_assert_int_eq(ctx->diags->code, E0402);
}
END_TEST

START_TEST(cancelled) {
  int32_t y[1];
  volatile int stop = 1;
  ctx->cancel = &stop;
  ck_assert(!run_text(long_run, NULL, (void *[]){y}));
  ck_assert_int_eq(ctx->diags->code, E0602);
}
END_TEST

START_TEST(memory_is_limited) {
  int32_t y[1];
  ck_assert(!run_text(HEAD " out y : i32[1] port 0 \"y\" i32[1]\n arena t : f64[2000000000]\n nest a { y[0] := 1 }\n run a\n}\n",
                      NULL, (void *[]){y}));
  ck_assert_int_eq(ctx->diags->code, E0401);
}
END_TEST

/* Planned programs run in one arena. */
START_TEST(planned) {
  int32_t y[4];
  ck_assert(run_text(HEAD " out y : i32[4] port 0 \"y\" i32[4]\n arena a : i32[4] at 0\n arena b : i32[4] at 64\n arena c : i32[4] at 0\n"
                     " plan 128 bound 128\n"
                     " nest n1 { for i 0..4 { a[i] := i } }\n nest n2 { for i 0..4 { b[i] := mul(a[i], a[i]) } }\n"
                     " nest n3 { for i 0..4 { c[i] := add(b[i], 1) } }\n nest n4 { for i 0..4 { y[i] := c[i] } }\n"
                     " run n1 run n2 run n3 run n4\n}\n", NULL, (void *[]){y}));
  for (int i = 0; i < 4; i++) ck_assert_int_eq(y[i], i * i + 1);
}
END_TEST

/* Rounding to 16-bit floats: every f16 and bf16 number, its neighbours and midpoints, and random words. */

static uint32_t half_case(int i) {
  uint32_t base;
  if (i < 65536 * 5) {
    float f = f16_to_f32((uint16_t)(i / 5));
    memcpy(&base, &f, 4);
    return base + (uint32_t[]){0, 1, 0x0fff, 0x1000, 0x1001}[i % 5];
  }
  i -= 65536 * 5;
  if (i < 65536 * 4) return ((uint32_t)(i / 4) << 16) + (uint32_t[]){0, 1, 0x7fff, 0x8000}[i % 4];
  return (uint32_t)rnd();
}

START_TEST(round_16) {
  enum { N = 65536 * 5 + 65536 * 4 + (1 << 20) };
  uint32_t *x = malloc(N * sizeof *x);
  float *h = malloc(N * sizeof *h), *b = malloc(N * sizeof *b);
  for (int i = 0; i < N; i++) x[i] = half_case(i);
  Program *p = program_new(ctx, "halves");
  int xb = program_buf(p, "x", F32, SP_IN, N, NULL), hb = program_buf(p, "h", F32, SP_OUT, N, NULL), bb = program_buf(p, "b", F32, SP_OUT, N, NULL);
  p->ins = &(Port){"x", xb, type_make(F32, 1, (int64_t[]){N})};
  p->outs = (Port[]){{"h", hb, type_make(F32, 1, (int64_t[]){N})}, {"b", bb, type_make(F32, 1, (int64_t[]){N})}};
  p->n_ins = 1; p->n_outs = 2;
  Nest *n = program_nest(p, "n", NULL, NULL);
  int lanes = _i ? 16 : 1;
  Expr *i = nx_var(p, n, nest_var(p, n, "i", nt(I32), true));
  Stmt *s = ns_for(p, &n->body, i->var, nx_idx(p, 0), nx_idx(p, N), lanes, -1);
  Expr *v = ns_name(p, n, &s->body, "v", nx_load(p, xb, i, lanes));
  ns_store(p, &s->body, hb, i, nx_round_f16(p, v));
  ns_store(p, &s->body, bb, i, nx_round_bf16(p, v));
  bool ok = program_verify(ctx, p) && program_run(ctx, p, (const void *[]){x}, (void *[]){h, b});
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  for (int k = 0; k < N; k++) {
    float f;
    memcpy(&f, &x[k], 4);
    float want_h = round_f16(f), want_b = round_bf16(f);
    holds_msg(!memcmp(&want_h, &h[k], 4), "f16 of %08x (%a): %a, not %a", x[k], f, h[k], want_h);
    holds_msg(!memcmp(&want_b, &b[k], 4), "bf16 of %08x (%a): %a, not %a", x[k], f, b[k], want_b);
  }
  free(x); free(h); free(b);
}
END_TEST

/* At least 30 million scalar operations a second in a release build (a MAC is 5: two loads, cast, mul, add). */
START_TEST(speed) {
  int8_t *x = calloc(1000, 1), *w = calloc(1000000, 1);
  int32_t *y = calloc(1000, 4);
  for (int i = 0; i < 1000; i++) x[i] = (int8_t)rnd();
  for (int i = 0; i < 1000000; i++) w[i] = (int8_t)rnd();
  clock_t start = clock();
  ck_assert(run_text(HEAD " in x : i8[1000] port 0 \"x\" i8[1000]\n in w : i8[1000000] port 1 \"w\" i8[1000000]\n"
    " out y : i32[1000] port 0 \"y\" i32[1000]\n"
    " nest a { for i 0..1000 { var s: i32 = 0 for k 0..1000 { s := add(s, mul(cast<i32>(x[k]), cast<i32>(w[add(mul(i, 1000), k)]))) } y[i] := s } }\n"
    " run a\n}\n", (const void *[]){x, w}, (void *[]){y}));
  double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
  printf("interpreter: %.1f M MAC/s\n", 1 / seconds);
#ifndef POPSHIFT_HOSTILE
  ck_assert_msg(seconds < 1, "%g s for 1e6 MAC", seconds);
#endif
  int32_t sum = 0;
  for (int k = 0; k < 1000; k++) sum += x[k] * w[999000 + k];
  ck_assert_int_eq(y[999], sum);
  free(x); free(w); free(y);
}
END_TEST

/* Bits of lanes as other lanes, lane 0 the lowest; as a word; and the lanes of two vectors. */
START_TEST(pieces) {
  static const char text[] =
    "popshift.program 1\nprogram @pieces index i32 {\n  in a : u8[16] port 0 \"a\" u8[16]\n  out y : u64[8] port 0 \"y\" u64[8]\n"
    "  nest n {\n    y[0:2] := relane<u64>(a[0:16])\n    let h: i16x8 = relane<i16>(relane<u64>(a[0:16]))\n"
    "    y[2] := cast<u64>(cast<i64>(perm<7>(h)))\n    y[3] := relane<u64>(a[8:8])\n    y[4] := cast<u64>(mask(lt(a[0:16], 3)))\n"
    "    y[5:2] := cast<u64>(perm<1,2>(a[0:2], a[6:2]))\n    y[7] := cast<u64>(perm<3>(a[0:2], a[6:2]))\n  }\n  run n\n}\n";
  Ctx *c = ctx_new();
  Program *p = program_parse(c, "pieces", text, sizeof text - 1);
  diag_print(c, stderr, false);
  ck_assert_ptr_nonnull(p);
  uint8_t a[16] = {1, 2, 3, 4, 5, 6, 7, 8, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xf7};
  uint64_t y[8], want[8] = {UINT64_C(0x0807060504030201), UINT64_C(0xf766554433221100), (uint64_t)(int64_t)(int16_t)0xf766,
                            UINT64_C(0xf766554433221100), 0x103, 2, 7, 8};
  ck_assert(program_run(c, p, (const void *[]){a}, (void *[]){y}));
  for (int i = 0; i < 8; i++) ck_assert_msg(y[i] == want[i], "%d: %llx", i, (unsigned long long)y[i]);
  program_free(p);
  ctx_free(c);
}
END_TEST

int main(void) {
  Suite *s = suite_create("nest_interp");
  TCase *t = tcase_create("interp");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, rows_are_scalar_eval, 1, SCALAR_COUNT);
  tcase_add_test(t, statements);
  tcase_add_test(t, pieces);
  tcase_add_test(t, updates);
  tcase_add_loop_test(t, refusals, 0, sizeof refused / sizeof *refused);
  tcase_add_test(t, work_is_limited);
  tcase_add_test(t, cancelled);
  tcase_add_test(t, memory_is_limited);
  tcase_add_test(t, planned);
  tcase_add_loop_test(t, round_16, 0, 2);
  tcase_add_test(t, speed);
  suite_add_tcase(s, t);
  return suite_run(s);
}
