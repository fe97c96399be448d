#include "ir/type.h"
#include "tests/unit/holds.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <string.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

static const struct { const char *text; Elem e; int64_t lo, hi; Store st; } elems[] = {
  {"f16", {EK_FLOAT, 16}, 0, 0, ST_F32}, {"bf16", {EK_BF16, 16}, 0, 0, ST_F32}, {"f32", {EK_FLOAT, 32}, 0, 0, ST_F32}, {"f64", {EK_FLOAT, 64}, 0, 0, ST_F64},
  {"i1", {EK_INT, 1}, -1, 0, ST_I8}, {"i8", {EK_INT, 8}, -128, 127, ST_I8}, {"i9", {EK_INT, 9}, -256, 255, ST_I16}, {"i32", {EK_INT, 32}, INT32_MIN, INT32_MAX, ST_I32},
  {"i64", {EK_INT, 64}, INT64_MIN, INT64_MAX, ST_I64}, {"u1", {EK_UINT, 1}, 0, 1, ST_U8}, {"u17", {EK_UINT, 17}, 0, 131071, ST_U32},
  {"u63", {EK_UINT, 63}, 0, INT64_MAX, ST_U64}, {"u64", {EK_UINT, 64}, 0, INT64_MAX, ST_U64}, {"bool", {EK_BOOL, 1}, 0, 1, ST_U8},
  {"shift<2>", {EK_SHIFT, 2}, -1, 1, ST_I8}, {"shift<4>", {EK_SHIFT, 4}, -64, 64, ST_I8}, {"shift<5>", {EK_SHIFT, 5}, -16384, 16384, ST_I16},
  {"shift<7>", {EK_SHIFT, 7}, -(INT64_C(1) << 62), INT64_C(1) << 62, ST_I64}, {"bases<1>", {EK_BASES, 1}, -1, 1, ST_I8},
  {"bases<3>", {EK_BASES, 3}, 0, 7, ST_U8}, {"bases<16>", {EK_BASES, 16}, 0, 65535, ST_U16},
};

START_TEST(elements) {
  Elem e;
  Str s = {.ctx = ctx};
  ck_assert(elem_valid(elems[_i].e));
  elem_print(&s, elems[_i].e);
  ck_assert_str_eq(s.p, elems[_i].text);
  ck_assert(elem_parse(s.p, s.n, &e) && elem_eq(e, elems[_i].e));
  ck_assert_int_eq(elem_store(e), elems[_i].st);
  if (elem_is_code(e)) {
    ck_assert_int_eq(elem_lo(e), elems[_i].lo);
    ck_assert_int_eq(elem_hi(e), elems[_i].hi);
  }
  str_free(&s);
}
END_TEST

START_TEST(elements_that_are_not) {
  static const char *const no[] = {"", "f", "f8", "f32x", "i0", "i65", "i08", "i-1", "u", "boolx", "shift<1>", "shift<8>", "shift3", "shift<>", "bases<17>",
                                   "bases<1", "bf32", "f<32>", "i 8", "bf", "i999999999999999999999"};
  Elem e;
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) ck_assert_msg(!elem_parse(no[i], strlen(no[i]), &e), "%s", no[i]);
}
END_TEST

START_TEST(narrowest) {
  static const struct { int64_t lo, hi; Elem e; } c[] = {
    {0, 0, {EK_UINT, 1}}, {0, 255, {EK_UINT, 8}}, {0, 256, {EK_UINT, 9}}, {-1, 0, {EK_INT, 1}}, {-1, 1, {EK_INT, 2}}, {-128, 127, {EK_INT, 8}},
    {-129, 0, {EK_INT, 9}}, {0, INT64_MAX, {EK_UINT, 63}}, {INT64_MIN, 0, {EK_INT, 64}},
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    Elem e = elem_for_range(c[i].lo, c[i].hi);
    ck_assert_int_eq(e.kind, c[i].e.kind);
    ck_assert_int_eq(e.bits, c[i].e.bits);
  }
}
END_TEST

START_TEST(counts) {
  int64_t n;
  Type t = type_make(F32, 3, (int64_t[]){2, 3, 4});
  ck_assert(type_count(&t, &n) && n == 24);
  t = type_make(F32, 3, (int64_t[]){INT64_MAX, INT64_MAX, 0});
  ck_assert(type_count(&t, &n) && n == 0);
  t = type_make(F32, 2, (int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40});
  ck_assert(!type_count(&t, &n));
  t = type_scalar(F32);
  ck_assert(type_count(&t, &n) && n == 1);
  t = (Type){.e = F32, .rank = 1, .d = {{5, 1}}};
  ck_assert(!type_count(&t, &n) && !type_static(&t));
}
END_TEST

START_TEST(broadcasting) {
  Type a = type_make(F32, 3, (int64_t[]){2, 1, 4}), b = type_make(I8, 2, (int64_t[]){3, 1}), y, want = type_make(F32, 3, (int64_t[]){2, 3, 4});
  ck_assert(type_broadcast(&a, &b, &y) && type_eq(&y, &want));
  Type n = {.e = F32, .rank = 3, .d = {{-1, 1}, {1, 0}, {4, 0}}}, m = n;
  ck_assert(type_broadcast(&n, &b, &y) && y.d[0].sym == 1 && y.d[1].n == 3);
  m.d[0].sym = 2;
  ck_assert(!type_broadcast(&n, &m, &y));
  Type zero = type_make(F32, 1, (int64_t[]){0}), one = type_make(F32, 1, (int64_t[]){1});
  ck_assert(type_broadcast(&zero, &one, &y) && y.d[0].n == 0);
  b = type_make(F32, 1, (int64_t[]){3});
  ck_assert(!type_broadcast(&a, &b, &y));
}
END_TEST

START_TEST(tensors_account_for_memory) {
  int64_t before = ctx->memory_used;
  Type t = type_make(INTK(12), 2, (int64_t[]){3, 5});
  Tensor *x = tensor_new(ctx, &t);
  ck_assert_int_eq(x->n, 15);
  ck_assert_int_eq(x->st, ST_I16);
  ck_assert_uint_eq((uintptr_t)x->data % 64, 0);
  ck_assert_int_gt(ctx->memory_used, before);
  tensor_set_i(x, 14, -2048);
  Tensor *y = tensor_copy(x);
  ck_assert(tensor_eq(x, y) && tensor_i(y, 14) == -2048 && tensor_f(y, 14) == -2048);
  tensor_set_i(y, 0, 1);
  ck_assert(!tensor_eq(x, y));
  tensor_free(x);
  tensor_free(y);
  tensor_free(NULL);
  ck_assert_int_eq(ctx->memory_used, before);
  t = type_make(F32, 1, (int64_t[]){INT64_C(1) << 40});
  ck_assert_ptr_null(tensor_new(ctx, &t));
  ck_assert_int_eq(ctx->diags->code, E0401);
  t = type_make(F32, 2, (int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40});
  ck_assert_ptr_null(tensor_new(ctx, &t));
  t.d[0].sym = 1;
  ck_assert_ptr_null(tensor_new(ctx, &t));
  ck_assert_int_eq(ctx->n_errors, 3);
  t = type_make(F32, 1, (int64_t[]){0});
  ck_assert_ptr_nonnull(tensor_new(ctx, &t));
}
END_TEST

START_TEST(unsigned_64) {
  Type t = type_make(UINTK(64), 1, (int64_t[]){1});
  Tensor *x = tensor_new(ctx, &t);
  tensor_set_i(x, 0, -1);
  ck_assert(tensor_i(x, 0) == -1);
  ck_assert(tensor_f(x, 0) == 0x1p64);
}
END_TEST

START_TEST(half_is_exact) {
  for (uint32_t h = 0; h < 65536; h++) {
    float f = f16_to_f32((uint16_t)h);
    uint16_t back = f32_to_f16(f);
    if (isnan(f)) ck_assert((back & 0x7c00) == 0x7c00 && (back & 0x3ff));
    else ck_assert_uint_eq(back, h);
    /* halfway to the next number goes to the even one, a little more goes up, a little less down */
    if ((h & 0x7fff) >= 0x7bff) continue;
    double mid = ((double)f + (double)f16_to_f32((uint16_t)(h + 1))) / 2;
    holds(f32_to_f16((float)mid) == (h & 1 ? h + 1 : h));
    float away = nextafterf((float)mid, mid < 0 || (h & 0x8000) ? -INFINITY : INFINITY), toward = nextafterf((float)mid, 0);
    holds(f32_to_f16(away) == h + 1);
    holds(f32_to_f16(toward) == h);
  }
  ck_assert_uint_eq(f32_to_f16(65519.996f), 0x7bff);
  ck_assert_uint_eq(f32_to_f16(65520.0f), 0x7c00);
  ck_assert_uint_eq(f32_to_f16(-INFINITY), 0xfc00);
}
END_TEST

START_TEST(sixteen_bits_round_once) {
  Type h = type_scalar(F16), b = type_scalar(BF16);
  Tensor *x = tensor_new(ctx, &h), *y = tensor_new(ctx, &b);
  /* just above a tie of binary16: by way of binary32 it would become the tie */
  tensor_set_f(x, 0, 1 + 0x1p-11 + 0x1p-50);
  ck_assert(tensor_f(x, 0) == 1 + 0x1p-10);
  tensor_set_f(x, 0, 1 + 0x1p-11);
  ck_assert(tensor_f(x, 0) == 1);
  tensor_set_f(x, 0, 1e300);
  ck_assert(isinf(tensor_f(x, 0)));
  tensor_set_f(x, 0, -1e-300);
  ck_assert(tensor_f(x, 0) == 0 && signbit(tensor_f(x, 0)));
  tensor_set_f(y, 0, 1 + 0x1p-8 + 0x1p-50);
  ck_assert(tensor_f(y, 0) == 1 + 0x1p-7);
  tensor_set_f(y, 0, 1 + 0x1p-8);
  ck_assert(tensor_f(y, 0) == 1);
  ck_assert(isnan(round_bf16(NAN)) && isinf(round_bf16(INFINITY)) && round_bf16(-1.5f) == -1.5f);
}
END_TEST

START_TEST(differences) {
  Type t = type_make(F32, 1, (int64_t[]){4});
  Tensor *a = tensor_new(ctx, &t), *b = tensor_new(ctx, &t);
  int64_t first;
  double worst;
  tensor_set_f(a, 0, NAN);
  tensor_set_f(b, 0, NAN);
  tensor_set_f(a, 1, INFINITY);
  tensor_set_f(b, 1, INFINITY);
  tensor_set_f(b, 2, 1e-6);
  ck_assert_int_eq(tensor_diff(a, b, 1e-5, 0, &first, &worst), 0);
  ck_assert_int_eq(first, -1);
  ck_assert_int_eq(tensor_diff(a, b, 0, 0, &first, NULL), 1);
  ck_assert_int_eq(first, 2);
  tensor_set_f(b, 0, 0);
  tensor_set_f(b, 1, -INFINITY);
  ck_assert_int_eq(tensor_diff(a, b, 1, 1, &first, &worst), 2);
  ck_assert(first == 0 && isinf(worst));
}
END_TEST

int main(void) {
  Suite *s = suite_create("type");
  TCase *t = tcase_create("type");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, elements, 0, (int)(sizeof elems / sizeof *elems));
  tcase_add_test(t, elements_that_are_not);
  tcase_add_test(t, narrowest);
  tcase_add_test(t, counts);
  tcase_add_test(t, broadcasting);
  tcase_add_test(t, tensors_account_for_memory);
  tcase_add_test(t, unsigned_64);
  tcase_add_test(t, half_is_exact);
  tcase_add_test(t, sixteen_bits_round_once);
  tcase_add_test(t, differences);
  suite_add_tcase(s, t);
  return suite_run(s);
}
