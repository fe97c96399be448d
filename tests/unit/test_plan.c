/* plan and schedule: valid plans near the bound; the same bits after scheduling. */
#include "ir/nest_impl.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

static uint64_t seed = 88172645463325252u;
static int rnd(int n) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return (int)(seed >> 33) % n;
}

/* n_bufs buffers, each stored to at one step and read at a later one within `reach` steps. */
static Program *random_program(int n_steps, int n_bufs, int reach) {
  Program *p = program_new(ctx, "net");
  int *first = calloc((size_t)n_bufs, sizeof *first), *last = calloc((size_t)n_bufs, sizeof *last);
  for (int b = 0; b < n_bufs; b++) {
    program_buf(p, nest_name(p, "t", NULL), (Elem[]){F32, U8, I64}[rnd(3)], SP_ARENA, 1 + rnd(1 << rnd(14)), NULL);
    first[b] = rnd(n_steps);
    last[b] = first[b] + rnd(reach);
    if (last[b] >= n_steps) last[b] = n_steps - 1;
  }
  for (int k = 0; k < n_steps; k++) {
    Nest *n = program_nest(p, nest_name(p, "n", NULL), NULL, NULL);
    for (int b = 0; b < n_bufs; b++) {
      Elem e = p->bufs[b].e;
      Expr *zero = elem_is_float(e) ? nx_const_f(p, nt(e), 0) : nx_const_i(p, nt(e), 0);
      if (first[b] == k) ns_store(p, &n->body, b, nx_idx(p, 0), zero);
      if (last[b] == k) ns_name(p, n, &n->body, "v", nx_load(p, b, nx_idx(p, 0), 1));
    }
  }
  free(first); free(last);
  return p;
}

START_TEST(random_lifetimes) {
  double sum = 0, worst = 0;
  enum { ROUNDS = 200 };
  for (int i = 0; i < ROUNDS; i++) {
    Program *p = random_program(1 + rnd(60), 1 + rnd(80), 1 + rnd(12));
    bool ok = pass_plan(p, NULL) && program_verify(ctx, p); /* verify: apart where both live, aligned, inside */
    if (!ok) diag_print(ctx, stderr, false);
    ck_assert(ok);
    ck_assert_int_ge(p->arena_bytes, p->arena_bound);
    double ratio = (double)p->arena_bytes / (double)p->arena_bound;
    sum += ratio;
    if (ratio > worst) worst = ratio;
    program_free(p);
  }
  printf("plan: %.3f of the bound on average, %.3f at worst\n", sum / ROUNDS, worst);
  ck_assert(sum / ROUNDS < 1.3);
}
END_TEST

static Program *parse(const char *text) {
  Program *p = program_parse(ctx, "t.nest", text, strlen(text));
  if (!p) diag_print(ctx, stderr, false);
  ck_assert_ptr_nonnull(p);
  return p;
}

#define HEAD "popshift.program 1\nprogram @p index i32 {\n"

START_TEST(chain_and_bound) {
  /* A chain needs two neighbours at once; bytes count in units of 64. */
  Program *p = parse(HEAD " out y : u8[1] port 0 \"y\" u8[1]\n arena a : u8[100]\n arena b : u8[300]\n arena c : u8[200]\n arena d : u8[9]\n arena e : u8[1]\n"
    " nest n1 { a[0] := 1 }\n nest n2 { b[0] := a[0] }\n nest n3 { c[0] := b[0] }\n nest n4 { d[0] := c[0] }\n nest n5 { y[0] := d[0] }\n"
    " run n1 run n2 run n3 run n4 run n5\n}\n");
  ck_assert(pass_plan(p, NULL));
  ck_assert_int_eq(p->arena_bound, 320 + 256);
  ck_assert_int_eq(p->arena_bytes, 320 + 256);
  ck_assert_int_eq(p->bufs[5].off, 0);
  ck_assert(program_verify(ctx, p));
  p->bufs[1].off = p->bufs[2].off; /* a plan that the verifier must refuse */
  ck_assert(!program_verify(ctx, p));
}
END_TEST

START_TEST(plan_is_empty) {
  Program *p = parse(HEAD " out y : u8[1] port 0 \"y\" u8[1]\n nest n1 { y[0] := 1 }\n run n1\n}\n");
  ck_assert(pass_plan(p, NULL) && program_verify(ctx, p));
  ck_assert_int_eq(p->arena_bytes, 0);
  ck_assert_int_eq(p->arena_bound, 0);
}
END_TEST

/* Schedule */

static char *print(const Program *p) {
  Str s = {.ctx = ctx};
  program_print(&s, p);
  return s.p;
}

#define IO "  in x : i32[8] port 0 \"x\" i32[8]\n  out y : i32[64] port 0 \"y\" i32[64]\n  arena t : i32[8]\n"

static const struct { const char *what, *before, *after; } schedules[] = {
  {"invariant loads leave both loops; the index of one stays inside the outer",
   "    for i 0..8 {\n      for k 0..8 {\n        y[add(mul(i, 8), k)] := add(x[i], add(x[3], x[k]))\n      }\n    }\n",
   "    let x_2: i32 = x[3]\n    for i 0..8 {\n      let x_3: i32 = x[i]\n      for k 0..8 {\n"
   "        y[add(mul(i, 8), k)] := add(x_3, add(x_2, x[k]))\n      }\n    }\n"},
  {"stored to in the loop",
   "    t[0] := 0\n    for i 0..8 {\n      t[i] := add(t[0], x[i])\n    }\n    for i 0..64 {\n      y[i] := t[0]\n    }\n",
   "    t[0] := 0\n    for i 0..8 {\n      t[i] := add(t[0], x[i])\n    }\n    let t_2: i32 = t[0]\n    for i 0..64 {\n      y[i] := t_2\n    }\n"},
  {"not reached by every iteration",
   "    for i 0..64 {\n      y[i] := cond(lt(i, 8), x[7], 0)\n      if lt(i, 3) {\n        y[i] := x[5]\n      }\n    }\n",
   NULL},
  {"an index that is set in the loop; a loop that may not run",
   "    var m: i32 = 0\n    for i 0..64 {\n      y[i] := x[m]\n      m := mod(add(m, 1), 8)\n      for k 0..m max 8 {\n        y[i] := x[0]\n      }\n    }\n",
   NULL},
  {"short innermost loops are marked",
   "    for i 0..4 {\n      for k 0..4 {\n        y[add(mul(i, 4), k)] := 1\n      }\n    }\n    for i 16..64 {\n      y[i] := 1\n    }\n",
   "    for i 0..4 {\n      for k 0..4 unroll {\n        y[add(mul(i, 4), k)] := 1\n      }\n    }\n    for i 16..64 {\n      y[i] := 1\n    }\n"},
};

START_TEST(schedule) {
  Str text = {.ctx = ctx}, want = {.ctx = ctx};
  str_printf(&text, HEAD IO "  nest n {\n%s  }\n  run n\n}\n", schedules[_i].before);
  str_printf(&want, HEAD IO "  nest n {\n%s  }\n  run n\n}\n", schedules[_i].after ? schedules[_i].after : schedules[_i].before);
  int32_t x[8] = {5, 3, -1, 7, 11, 13, 2, 9}, y[2][64];
  Program *p = parse(text.p);
  bool full = program_run(ctx, p, (const void *[]){x}, (void *[]){y[0]});
  ck_assert(pass_schedule(p, NULL) && program_verify(ctx, p));
  char *got = print(p);
  ck_assert_msg(!strcmp(got, want.p), "%s:\n%s", schedules[_i].what, got);
  ck_assert(full && program_run(ctx, p, (const void *[]){x}, (void *[]){y[1]}));
  ck_assert(!memcmp(y[0], y[1], sizeof y[0]));
  free(got);
  str_free(&text);
  str_free(&want);
}
END_TEST

int main(void) {
  Suite *s = suite_create("plan");
  TCase *t = tcase_create("plan");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 120);
  tcase_add_test(t, random_lifetimes);
  tcase_add_test(t, chain_and_bound);
  tcase_add_test(t, plan_is_empty);
  tcase_add_loop_test(t, schedule, 0, sizeof schedules / sizeof *schedules);
  suite_add_tcase(s, t);
  return suite_run(s);
}
