/* Processors' features; and vector code as variants of one source: every intrinsic, dot products, tables and logic, each variant that this
 * processor runs against the interpreter. */
#include "backends/c/c_backend.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

#include <stdlib.h>
#include <string.h>

static Ctx *ctx;
static void setup(void) { ctx = ctx_new(); }
static void teardown(void) { ctx_free(ctx); }

START_TEST(built_in_targets_can_be_asked) {
  if (_i >= n_targets) ck_abort_msg("the loop is longer than the table");
  RtMachine m = {targets[_i].name, target_arch(&targets[_i]), targets[_i].features};
  size_t n;
  ck_assert_msg(!rt_feature_unknown(&m, &n), "%s: %s", m.name, m.features);
  ck_assert_ptr_nonnull(rt_arch_macro(m.arch));
  ck_assert_ptr_eq(target_find(m.name), &targets[_i]);
  ck_assert(_i == 0 || strcmp(targets[_i - 1].name, m.name) < 0);
}
END_TEST

START_TEST(questions) {
  RtTest t[RT_TESTS];
  uint32_t saves;
  ck_assert_int_eq(rt_tests(&(RtMachine){"m", "x86_64", "popcnt,ssse3,avx2,bmi,avx512vnni"}, t, &saves), 3);
  ck_assert_uint_eq(t[0].mask, UINT32_C(1) << 23 | UINT32_C(1) << 9);
  ck_assert(t[0].leaf == 1 && t[0].reg == 'c' && t[1].leaf == 7 && t[1].reg == 'b' && t[2].reg == 'c');
  ck_assert_uint_eq(t[1].mask, 1u << 5 | 1u << 3);
  ck_assert_uint_eq(saves, 0xe6);
  ck_assert_int_eq(rt_tests(&(RtMachine){"m", "arm", "dsp"}, t, &saves), 0);
  size_t n;
  const char *unknown = rt_feature_unknown(&(RtMachine){"m", "x86_64", "avx2,avx3,bmi"}, &n);
  ck_assert(unknown && n == 4 && !strncmp(unknown, "avx3", 4));
  ck_assert_int_eq(rt_features_count(&(RtMachine){"m", "", ""}), 0);
  ck_assert_int_eq(rt_features_count(&(RtMachine){"m", "x86_64", "a,b,c"}), 3);
  ck_assert(rt_machine_is_this(&(RtMachine){"m", "", ""}) && !rt_machine_is_this(&(RtMachine){"m", "pdp11", ""}));
#if defined(__x86_64__)
#define SAME(feature) ck_assert_int_eq(rt_machine_is_this(&(RtMachine){"m", "x86_64", feature}), !!__builtin_cpu_supports(feature))
  SAME("ssse3"); SAME("popcnt"); SAME("fma"); SAME("bmi"); SAME("bmi2"); SAME("avx2"); SAME("avx512f"); SAME("avx512bw"); SAME("avx512vl");
  SAME("avx512dq"); SAME("avx512cd"); SAME("avx512vnni"); SAME("avx512bitalg"); SAME("avx512vpopcntdq");
#endif
}
END_TEST

/* x: bytes, y: 64-bit words; every operation whose C has a spelling for some machine. */
static Program *vectors(void) {
  Program *p = program_new(ctx, "vec");
  p->ins = NEWN(p->arena, Port, 3);
  p->outs = NEWN(p->arena, Port, n_intrins + 8);
  int buf[3];
  const Elem elems[3] = {INTK(8), UINTK(8), UINTK(64)};
  for (int k = 0; k < 3; k++) {
    int64_t n = k < 2 ? 256 : 32;
    buf[k] = program_buf(p, nest_name(p, "x", NULL), elems[k], SP_IN, n, NULL);
    p->ins[p->n_ins++] = (Port){k == 0 ? "a" : k == 1 ? "b" : "c", buf[k], type_make(elems[k], 1, &n)};
  }
  Nest *nest = program_nest(p, "n", NULL, NULL);
  for (int i = 0; i < n_intrins + 4; i++) {
    Expr *v[3], *r;
    if (i < n_intrins) {
      for (int k = 0; k < intrins[i].n; k++) {
        NType t = intrins[i].arg[k];
        int from = elem_eq(t.e, UINTK(8)) ? 1 : elem_eq(t.e, INTK(8)) ? 0 : elem_eq(t.e, UINTK(64)) ? 2 : -1;
        v[k] = from >= 0 ? nx_load(p, buf[from], nx_idx(p, 3 * k), t.lanes) : nx_cast(p, nx_load(p, buf[0], nx_idx(p, 7), t.lanes), t.e);
        v[k] = ns_name(p, nest, &nest->body, "v", v[k]);
      }
      r = nx_intrin(p, i, intrins[i].n, v);
    } else if (i == n_intrins) { /* bytes of one sign: 128 added and taken off */
      r = nx_dot(p, nx_splat(p, nx_const_i(p, nt(I32), 5), 16), nx_load(p, buf[0], nx_idx(p, 0), 64), nx_load(p, buf[0], nx_idx(p, 64), 64));
    } else if (i == n_intrins + 1) {
      r = nx_dot(p, nx_splat(p, nx_const_i(p, nt(I32), -9), 8), nx_load(p, buf[1], nx_idx(p, 1), 32), nx_load(p, buf[0], nx_idx(p, 2), 32));
    } else if (i == n_intrins + 2) {
      r = nx_lut3(p, 0xca, nx_load(p, buf[2], nx_idx(p, 0), 8), nx_load(p, buf[2], nx_idx(p, 8), 8), nx_load(p, buf[2], nx_idx(p, 16), 8));
    } else {
      r = nx_shuf(p, nx_load(p, buf[1], nx_idx(p, 0), 64), nx_load(p, buf[1], nx_idx(p, 100), 64));
    }
    int64_t n = r->t.lanes;
    int out = program_buf(p, nest_name(p, "y", NULL), r->t.e, SP_OUT, n, NULL);
    p->outs[p->n_outs++] = (Port){arena_printf(p->arena, "y%d", i), out, type_make(r->t.e, 1, &n)};
    ns_store(p, &nest->body, out, nx_idx(p, 0), r);
  }
  ck_assert(program_verify(ctx, p) && pass_plan(p, NULL));
  return p;
}

static const char *const compilers[] = {"gcc -O0 -Wall -Wextra -Werror -Wno-psabi", "gcc -O2 -Wall -Wextra -Werror -Wno-psabi", "clang-19 -O1 -Wall -Wextra -Werror", "clang-19 -O3 -march=native"};

static void host_print(Str *s, const Program *p, uint8_t (*in)[256], void **want) {
  str_put(s, "#include \"vec.h\"\n#include <stdio.h>\n#include <string.h>\nstatic _Alignas(64) unsigned char ws[VEC_WORKSPACE_BYTES];\n");
  for (int k = 0; k < p->n_ins; k++) {
    str_printf(s, "static _Alignas(64) const unsigned char in%d[256] = {", k);
    for (int i = 0; i < 256; i++) str_printf(s, "%d,", in[k][i]);
    str_put(s, "};\n");
  }
  for (int k = 0; k < p->n_outs; k++) {
    size_t bytes = (size_t)p->bufs[p->outs[k].buf].n * store_size(elem_store(p->bufs[p->outs[k].buf].e));
    str_printf(s, "static _Alignas(64) unsigned char out%d[%zu];\nstatic const unsigned char want%d[%zu] = {", k, bytes, k, bytes);
    for (size_t i = 0; i < bytes; i++) str_printf(s, "%d,", ((unsigned char *)want[k])[i]);
    str_put(s, "};\n");
  }
  str_put(s, "int main(void) {\n  static const char *const names[] = VEC_VARIANTS;\n  int bad = 0, ran = 0;\n  for (int v = 0; v < 4; v++) {\n"
             "    vec_env env = {0};\n    env.variant = names[v];\n    if (vec_init(ws, sizeof ws, &env) == VEC_VARIANT) { printf(\"%s: not on this processor\\n\", names[v]); continue; }\n"
             "    ran++;\n    vec_in in = {(const void *)in0, (const void *)in1, (const void *)in2};\n    vec_out out = {");
  for (int k = 0; k < p->n_outs; k++) str_printf(s, "(void *)out%d, ", k);
  str_put(s, "};\n    if (vec_run(ws, &in, &out, 1)) return 2;\n");
  for (int k = 0; k < p->n_outs; k++) str_printf(s, "    if (memcmp(out%d, want%d, sizeof want%d)) { printf(\"%%s: output %d\\n\", names[v]); bad = 1; }\n", k, k, k, k);
  str_put(s, "  }\n  return bad || !ran;\n}\n");
}

START_TEST(vectors_in_every_variant) {
  char command[512], dir[] = "variants.XXXXXX";
  snprintf(command, sizeof command, "command -v %.*s >/dev/null", (int)strcspn(compilers[_i], " "), compilers[_i]);
  if (system(command)) { printf("skipped: no %s\n", compilers[_i]); return; }
  Program *p = vectors();
  static uint8_t in[3][256];
  for (int k = 0; k < 3; k++) for (int i = 0; i < 256; i++) in[k][i] = (uint8_t)(i * 73 + k * 11 + (i * i >> 3));
  void **want = NEWN(p->arena, void *, p->n_outs);
  for (int k = 0; k < p->n_outs; k++) want[k] = arena_aligned(p->arena, 1024);
  ck_assert(program_run(ctx, p, (const void *[]){in[0], in[1], in[2]}, want));
  const Target *big = target_find("x86-64-v4-amx"), *v3 = target_find("x86-64-v3");
  CVariant v[] = {{p, {"big", "x86_64", big->features}}, {p, {"v3", "x86_64", v3->features}}, {p, {"dot", "aarch64", "dotprod"}}, {p, {"plain", "", ""}}};
  OutFiles files = {0};
  ck_assert(c_emit_variants(ctx, v, 4, NULL, &files));
  ck_assert_ptr_nonnull(mkdtemp(dir));
  for (int i = 0; i < files.n; i++) ck_assert(file_write(ctx, arena_printf(p->arena, "%s/%s", dir, files.p[i].name), files.p[i].text.p, files.p[i].text.n));
  Str host = {.ctx = ctx};
  host_print(&host, p, in, want);
  ck_assert(file_write(ctx, arena_printf(p->arena, "%s/main.c", dir), host.p, host.n));
  str_free(&host);
  snprintf(command, sizeof command, "cd %s && %s -std=c11 main.c vec.c -o run && ./run", dir, compilers[_i]);
  int rc = system(command);
  const char *source = files.p[1].text.p, *region = strstr(source, "/* For big. */"), *end = strstr(source, "/* For v3. */");
  ck_assert(region && end && region < end);
  for (const char *c = region; (c = strstr(c, "defined(__AVX")) != NULL && c < end; c++) /* AVX-VNNI is no feature of `big`; `!`: how wide vectors are passed */
    ck_assert_msg(!strncmp(c, "defined(__AVXVNNI__)", 20) || c[-1] == '!', "not known inside the region: %.40s", c);
  out_files_free(&files);
  snprintf(command, sizeof command, "rm -rf %s", dir);
  ck_assert_int_eq(system(command), 0);
  ck_assert_msg(rc == 0, "%s", compilers[_i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("variants");
  TCase *t = tcase_create("variants");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 120);
  tcase_add_loop_test(t, built_in_targets_can_be_asked, 0, n_targets);
  tcase_add_test(t, questions);
  tcase_add_loop_test(t, vectors_in_every_variant, 0, sizeof compilers / sizeof *compilers);
  suite_add_tcase(s, t);
  return suite_run(s);
}
