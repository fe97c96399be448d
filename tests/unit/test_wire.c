/* The wire scan: what it must refuse, where it says the fault is, and how long it takes. */
#include "frontend/frontend.h"
#include "frontend/wire.h"
#include "tests/unit/suite.h"
#include "wire_build.h"

#include <time.h>

static ErrCode error_of(const Ctx *ctx) { return ctx->diags ? ctx->diags->code : ERR_COUNT; }

static void refused(const char *bytes, size_t n, WireMsg root, ErrCode code, const char *text) {
  Ctx *ctx = ctx_new();
  ck_assert(!wire_check(ctx, "t.onnx", bytes, n, root));
  ck_assert_int_eq(error_of(ctx), code);
  ck_assert_ptr_nonnull(strstr(ctx->diags->text, text));
  ctx_free(ctx);
}

static void accepted(Pb b, WireMsg root) {
  Ctx *ctx = ctx_new();
  bool ok = wire_check(ctx, "t.onnx", b.p, b.n, root);
  ck_assert_msg(ok, "%s", ctx->diags ? ctx->diags->text : "");
  ctx_free(ctx);
  free(b.p);
}

/* model > graph > node > attribute > graph > node > ..., depth messages within each other */
static Pb nested(int depth) {
  static const int field[] = {1, 5, 6}; /* graph.node, node.attribute, attribute.g */
  size_t cap = (size_t)depth * 11 + 16, at = cap;
  char *p = malloc(cap);
  for (int i = depth - 1; i >= 0; i--) {
    Pb head = {0};
    pb_varint(&head, (uint64_t)(i == 0 ? 7 : field[(i - 1) % 3]) << 3 | 2);
    pb_varint(&head, cap - at);
    at -= head.n;
    memcpy(p + at, head.p, head.n);
    free(head.p);
  }
  memmove(p, p + at, cap - at);
  return (Pb){p, cap - at};
}

START_TEST(depth) {
  accepted(nested(63), W_MODEL);
  for (int d = 64; d <= 100000; d = d < 5000 ? d * 4 : d * 20) {
    Pb b = nested(d);
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    refused(b.p, b.n, W_MODEL, E0102, "nest deeper than 64, at byte");
    clock_gettime(CLOCK_MONOTONIC, &t1);
    ck_assert_double_lt((double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec), 0.1);
    free(b.p);
  }
  Pb b = nested(100000);
  Ctx *ctx = ctx_new();
  ck_assert_ptr_null(onnx_import(ctx, "deep.onnx", b.p, b.n, NULL));
  ck_assert_int_eq(error_of(ctx), E0102);
  ctx_free(ctx);
  free(b.p);
} END_TEST

START_TEST(types_nest_too) {
  Pb b = {0};
  for (int i = 0; i < 40; i++) { /* TypeProto.sequence_type.elem_type */
    Pb seq = {0}, type = {0};
    pb_message(&seq, 1, b);
    pb_message(&type, 4, seq);
    b = type;
  }
  refused(b.p, b.n, W_TYPE, E0102, "nest deeper");
  free(b.p);
} END_TEST

START_TEST(lengths) {
  refused("\x3a\x7f", 2, W_MODEL, E0101, "the field at byte 0 claims 127 bytes, the file has 0 more");
  refused("\x3a\x02\x0a\x05zzzzz", 9, W_MODEL, E0102, "the field at byte 2 claims 5 bytes, its message has 0 more");
  refused("\x3a\x01\x0a\x00", 4, W_MODEL, E0102, "passes the end of its message");
  refused("\x08", 1, W_MODEL, E0101, "ends inside a field");
  refused("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, W_MODEL, E0101, "more than 10 bytes");
  refused("\x0d\x00", 2, W_MODEL, E0101, "claims 4 bytes");
  refused("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, W_MODEL, E0101, "claims 9223372036854775807 bytes");
} END_TEST

START_TEST(fields) {
  refused("\x00\x00", 2, W_MODEL, E0101, "starts no field");
  refused("\x38\x01", 2, W_MODEL, E0101, "should be a message");
  refused("\x0b", 1, W_MODEL, E0101, "wire type 3");
  refused("\x3a\x00\x3a\x00", 4, W_MODEL, E0102, "is there twice");
  refused("\x0a\x00\x22\x00", 4, W_TYPE, E0102, "is there twice");
  Pb b = {0};
  pb_text(&b, 9, "\x0a\xff\xff\xff"); /* raw_data of a tensor is no message, whatever it looks like */
  accepted(b, W_TENSOR);
} END_TEST

START_TEST(truncated) {
  Pb b = {0}, graph = {0}, node = {0};
  pb_text(&node, 1, "x");
  pb_text(&node, 2, "y");
  pb_text(&node, 4, "Relu");
  pb_message(&graph, 1, node);
  pb_message(&b, 7, graph);
  for (size_t n = 1; n < b.n; n++) refused(b.p, n, W_MODEL, E0101, "byte");
  accepted(b, W_MODEL);
} END_TEST

int main(void) {
  Suite *s = suite_create("wire");
  TCase *t = tcase_create("wire");
  tcase_add_test(t, depth);
  tcase_add_test(t, types_nest_too);
  tcase_add_test(t, lengths);
  tcase_add_test(t, fields);
  tcase_add_test(t, truncated);
  suite_add_tcase(s, t);
  return suite_run(s);
}
