/* Every row of intrin.def: its meaning parses, has the row's types, and interpreted equals a direct C reference; so does its
 * expansion. Where this machine has the instruction, the C spelling's machine code is the C backend's to test. */
#include "ir/nest_impl.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

static uint64_t seed = 88172645463325252u;
static uint64_t rnd(void) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return seed;
}

typedef void Reference(const void *const *a, void *y);

static void dp4(const int32_t *acc, const uint8_t *u, const int8_t *s, int32_t *y, int lanes) {
  for (int l = 0; l < lanes; l++) {
    int64_t sum = acc[l];
    for (int i = 0; i < 4; i++) sum += u[4 * l + i] * s[4 * l + i];
    y[l] = (int32_t)(uint32_t)(uint64_t)sum;
  }
}
static void ref_dp4_16(const void *const *a, void *y) { dp4(a[0], a[1], a[2], y, 16); }
static void ref_dp4_8(const void *const *a, void *y) { dp4(a[0], a[1], a[2], y, 8); }

static void ref_popcnt64_8(const void *const *a, void *y) {
  for (int l = 0; l < 8; l++) {
    uint64_t x = ((const uint64_t *)a[0])[l], n = 0;
    for (; x; x &= x - 1) n++;
    ((uint64_t *)y)[l] = n;
  }
}

static void ref_maddubs_16(const void *const *a, void *y) {
  const uint8_t *u = a[0];
  const int8_t *s = a[1];
  for (int l = 0; l < 16; l++) {
    int v = u[2 * l] * s[2 * l] + u[2 * l + 1] * s[2 * l + 1];
    ((int16_t *)y)[l] = (int16_t)(v > 32767 ? 32767 : v < -32768 ? -32768 : v);
  }
}

static void ref_sum8_4(const void *const *a, void *y) {
  for (int l = 0; l < 4; l++) {
    uint64_t n = 0;
    for (int i = 0; i < 8; i++) n += ((const uint8_t *)a[0])[8 * l + i];
    ((uint64_t *)y)[l] = n;
  }
}

static void ref_sum8_8(const void *const *a, void *y) {
  for (int h = 0; h < 2; h++) ref_sum8_4((const void *const[]){(const uint8_t *)a[0] + 32 * h}, (uint64_t *)y + 4 * h);
}

static void ref_sdot_4(const void *const *a, void *y) {
  for (int l = 0; l < 4; l++) {
    int64_t sum = ((const int32_t *)a[0])[l];
    for (int i = 4 * l; i < 4 * l + 4; i++) sum += ((const int8_t *)a[1])[i] * ((const int8_t *)a[2])[i];
    ((int32_t *)y)[l] = (int32_t)(uint32_t)(uint64_t)sum;
  }
}

static void ref_cnt8_16(const void *const *a, void *y) {
  for (int l = 0; l < 16; l++) {
    int n = 0;
    for (int i = 0; i < 8; i++) n += ((const uint8_t *)a[0])[l] >> i & 1;
    ((uint8_t *)y)[l] = (uint8_t)n;
  }
}

static void ref_keep(const void *const *a, void *y) { *(uint32_t *)y = *(const uint32_t *)a[0]; }

static const struct { const char *name; Reference *f; } references[] = {
  {"vnni_dp4_16", ref_dp4_16}, {"vnni_dp4_8", ref_dp4_8}, {"popcnt64_8", ref_popcnt64_8}, {"maddubs_16", ref_maddubs_16},
  {"sum8_4", ref_sum8_4}, {"sum8_8", ref_sum8_8}, {"sdot_4", ref_sdot_4}, {"cnt8_16", ref_cnt8_16}, {"keep", ref_keep}
};

static Reference *reference(const char *name) {
  for (size_t i = 0; i < sizeof references / sizeof *references; i++) if (!strcmp(name, references[i].name)) return references[i].f;
  ck_abort_msg("no reference for %s", name);
  return NULL;
}

START_TEST(row_is_its_meaning) {
  if (_i >= n_intrins) ck_abort_msg("the loop is longer than the table");
  const Intrin *r = &intrins[_i];
  Program *p = program_new(ctx, "one");
  uint64_t data[3][8], y[2][8], want[8];
  const void *ins[3] = {data[0], data[1], data[2]};
  int bufs[3];
  p->ins = NEWN(p->arena, Port, 3);
  p->outs = NEWN(p->arena, Port, 2);
  for (int k = 0; k < r->n; k++) {
    bufs[k] = program_buf(p, nest_name(p, "x", NULL), r->arg[k].e, SP_IN, r->arg[k].lanes, NULL);
    p->ins[p->n_ins++] = (Port){"x", bufs[k], type_make(r->arg[k].e, 1, (int64_t[]){r->arg[k].lanes})};
  }
  Nest *n = program_nest(p, "n", NULL, NULL);
  Expr *args[3];
  for (int k = 0; k < r->n; k++) args[k] = ns_name(p, n, &n->body, "v", nx_load(p, bufs[k], nx_idx(p, 0), r->arg[k].lanes));
  for (int k = 0; k < 2; k++) {
    int out = program_buf(p, nest_name(p, "y", NULL), r->result.e, SP_OUT, r->result.lanes, NULL);
    p->outs[p->n_outs++] = (Port){"y", out, type_make(r->result.e, 1, (int64_t[]){r->result.lanes})};
    ns_store(p, &n->body, out, nx_idx(p, 0), k ? intrin_expand(p, _i, args) : nx_intrin(p, _i, r->n, args));
  }
  bool ok = program_verify(ctx, p);
  for (int round = 0; ok && round < 500; round++) {
    for (int k = 0; k < 3; k++)
      for (int i = 0; i < 8; i++) data[k][i] = round == 0 ? 0 : round == 1 ? ~UINT64_C(0) : round == 2 ? UINT64_C(0x8080808080808080) :
                                               round == 3 ? UINT64_C(0x7f7f7f7f7f7f7f7f) : rnd();
    ok = program_run(ctx, p, ins, (void *[]){y[0], y[1]});
    reference(r->name)(ins, want);
    size_t bytes = r->result.lanes * store_size(elem_store(r->result.e));
    ck_assert_msg(!memcmp(y[0], want, bytes), "%s", r->name);
    ck_assert_msg(!memcmp(y[1], want, bytes), "%s expanded", r->name);
  }
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  ck_assert(r->feature && r->c && r->c_macro && nest_name_ok(r->name));
  for (int k = 0; k < r->n; k++) {
    char operand[3] = {'%', (char)('0' + k), 0};
    ck_assert_msg(strstr(r->c, operand), "%s: %s", r->name, operand);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("nest_intrin");
  TCase *t = tcase_create("intrin");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, row_is_its_meaning, 0, n_intrins);
  suite_add_tcase(s, t);
  return suite_run(s);
}
