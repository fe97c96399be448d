/* Generated HLS projects, simulated with the project's own ap_int.h, against the interpreter bit for bit. */
#include "backends/hls/hls_backend.h"
#include "tests/unit/backend_programs.h"
#include "tests/unit/suite.h"

static Ctx *ctx;
static char dir[64];

static void setup(void) {
  ctx = ctx_new();
  strcpy(dir, "/tmp/popshift_hls_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  ck_assert_int_eq(system(command), 0);
  ctx_free(ctx);
}

static void shell(const char *command) {
  int rc = system(command);
  if (rc) fprintf(stderr, "failed: %s\n", command);
  ck_assert_int_eq(rc, 0);
}

static OutFiles emit(const Program *p, const HlsOptions *opt) {
  OutFiles files = {0};
  bool ok = hls_emit(ctx, p, opt, &files);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  char path[256];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, i ? "tb_data" : "include");
    mkdir(path, 0777);
  }
  for (int i = 0; i < files.n; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, files.p[i].name);
    ck_assert(file_write(ctx, path, files.p[i].text.n ? files.p[i].text.p : "", files.p[i].text.n));
  }
  return files;
}

static void *build(const char *name, const char *flags) {
  char command[1024];
  snprintf(command, sizeof command, "cd %s && %s -Wall -Wextra -Werror -Wno-unknown-pragmas -ffp-contract=off -Iinclude -shared -fPIC %s.cpp -o %s.so",
           dir, flags, name, name);
  shell(command);
  snprintf(command, sizeof command, "%s/%s.so", dir, name);
  void *so = dlopen(command, RTLD_NOW | RTLD_LOCAL);
  ck_assert_msg(so != NULL, "%s", dlerror());
  return so;
}

typedef void Bridge(const void *const *, void *const *);
typedef struct Data { void *in[32], *out[300], *want[300]; } Data;

static void data_new(const Program *p, Data *d) {
  for (int i = 0; i < p->n_ins; i++) {
    const Buf *b = &p->bufs[p->ins[i].buf];
    d->in[i] = calloc((size_t)b->n + 1, 8);
    random_fill(b, d->in[i]);
  }
  for (int i = 0; i < p->n_outs; i++) {
    d->out[i] = calloc((size_t)p->bufs[p->outs[i].buf].n + 1, 8);
    d->want[i] = calloc((size_t)p->bufs[p->outs[i].buf].n + 1, 8);
  }
  bool ok = program_run(ctx, p, (const void *const *)d->in, d->want);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
}

static void data_free(const Program *p, Data *d) {
  for (int i = 0; i < p->n_ins; i++) free(d->in[i]);
  for (int i = 0; i < p->n_outs; i++) { free(d->out[i]); free(d->want[i]); }
}

static void compare(const Program *p, void *so) {
  char text[128];
  Bridge *bridge;
  snprintf(text, sizeof text, "%s_bridge", p->name);
  *(void **)&bridge = dlsym(so, text);
  ck_assert_ptr_nonnull(*(void **)&bridge);
  Data d;
  data_new(p, &d);
  bridge((const void *const *)d.in, d.out);
  for (int i = 0; i < p->n_outs; i++) {
    const Buf *b = &p->bufs[p->outs[i].buf];
    int64_t at;
    bool same = same_elements(b, d.out[i], d.want[i], &at);
    Val u = {0}, v = {0};
    if (!same) { u = store_get(elem_store(b->e), d.out[i], at); v = store_get(elem_store(b->e), d.want[i], at); }
    ck_assert_msg(same, "output %s [%d] is %lld %g, not %lld %g", p->outs[i].name, (int)at, (long long)u.i, u.f, (long long)v.i, v.f);
  }
  data_free(p, &d);
}

static void check(const Program *p, const char *flags) {
  OutFiles files = emit(p, NULL);
  void *so = build(p->name, flags);
  compare(p, so);
  dlclose(so);
  out_files_free(&files);
}

static const Elem elems[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_INT, 8}, {EK_INT, 16}, {EK_INT, 32}, {EK_INT, 64}, {EK_UINT, 8},
                             {EK_UINT, 16}, {EK_UINT, 32}, {EK_UINT, 64}, {EK_BOOL, 1}, {EK_INT, 1}, {EK_INT, 3}, {EK_UINT, 2},
                             {EK_INT, 13}, {EK_INT, 31}, {EK_UINT, 33}, {EK_INT, 63}, {EK_UINT, 63}, {EK_UINT, 1}};
enum { N_ELEMS = sizeof elems / sizeof *elems };

START_TEST(rows) { check(rows_program(ctx, elems[_i], elems, N_ELEMS, true, 1), "g++ -std=c++14 -O1"); }
END_TEST

START_TEST(statements) {
  check(text_program(ctx, text_statements), "g++ -std=c++14 -O0");
  check(text_program(ctx, text_statements), "g++ -std=c++17 -O2 -fsanitize=undefined -fno-sanitize-recover=undefined");
}
END_TEST

static const char text_exact[] =
  "popshift.program 1\nprogram @mv index i32 exact {\n"
  "  in x : u3[64] part cyclic 4 port 0 \"x */ #pragma\" u3[64]\n  in s : f32[16] port 1 \"s\" f32[16]\n"
  "  out y : i5[16] port 0 \"y\" i5[16]\n  out z : f64[16] port 1 \"z\" f64[16]\n"
  "  rom w : i2[1024] part cyclic 8 = hex\n";
static const char text_exact_2[] =
  "  rom t : i13[6] = {-4096, -100, -3, 0, 17, 4095}\n  rom big : u63[2] = {9223372036854775807, 1}\n"
  "  arena a : i11[16]\n  reg acc : i11[4] part complete\n  reg thr : i13[6] part complete\n"
  "  nest matvec \"matrix times vector\" { ; node 3 \"fc\\n*/\" (MatMul)\n"
  "    for i 0..16 step 4 {\n"
  "      for j 0..4 unroll { acc[j] := 0 }\n"
  "      for r 0..64 pipeline ii 1 {\n"
  "        for j 0..4 unroll { acc[j] := add(acc[j], mul(cast<i11>(w[add(mul(add(i, j), 64), r)]), cast<i11>(x[r]))) }\n"
  "      }\n"
  "      for j 0..4 unroll { a[add(i, j)] := acc[j] }\n"
  "    }\n"
  "  }\n"
  "  nest thresholds {\n"
  "    for k 0..6 unroll { thr[k] := t[k] }\n"
  "    for i 0..16 pipeline {\n"
  "      var n: i5 = -3\n      var m: i40 = 549755813887\n"
  "      for k 0..6 unroll { n := add(n, cast<i5>(le(thr[k], cast<i13>(a[i])))) }\n"
  "      for k 0..cast<i32>(and(a[i], 3)) max 4 { m := mul(m, i40(-5)) }\n"
  "      y[i] := n\n"
  "      let h: i40 = shr(m, cast<i40>(x[i]))\n"
  "      z[i] := mul(cast<f64>(add(h, cast<i40>(shr(big[0], u63(40))))), cast<f64>(sqrt(abs(s[i]))))\n"
  "    }\n"
  "  }\n"
  "  run matvec\n  run thresholds\n}\n";

static Program *exact_program(void) {
  Str s = {.ctx = ctx};
  str_put(&s, text_exact);
  for (int i = 0; i < 32; i++) {
    str_put(&s, "    \"");
    for (int k = 0; k < 32; k++) str_put(&s, (const char *[]){"00", "01", "ff", "fe"}[rnd() % 4]);
    str_put(&s, "\"\n");
  }
  str_put(&s, text_exact_2);
  Program *p = text_program(ctx, s.p);
  str_free(&s);
  return p;
}

START_TEST(exact) {
  check(exact_program(), "g++ -std=c++14 -O1");
  check(deep_program(ctx, true), "g++ -std=c++14 -O1");
}
END_TEST

enum { VECTORS = 3 };

/* The project as a user gets it: csim.sh passes on true vectors and fails on a false one. */
START_TEST(project) {
  Program *p = exact_program();
  const Tensor *in[VECTORS * 2], *out[VECTORS * 2];
  for (int v = 0; v < VECTORS; v++) {
    Data d;
    data_new(p, &d);
    for (int k = 0; k < 2; k++) {
      Tensor *x = tensor_new(ctx, &p->ins[k].t), *y = tensor_new(ctx, &p->outs[k].t);
      memcpy(x->data, d.in[k], (size_t)x->n * store_size(x->st));
      memcpy(y->data, d.want[k], (size_t)y->n * store_size(y->st));
      in[v * 2 + k] = x;
      out[v * 2 + k] = y;
    }
    data_free(p, &d);
  }
  HlsOptions opt = {.name = "top_mv", .n_vectors = VECTORS, .in = in, .out = out, .clock_ns = 7.5};
  OutFiles files = emit(p, &opt);
  char command[512];
  snprintf(command, sizeof command, "cd / && sh %s/csim.sh > %s/log && grep -q '^0 of 3 vectors differ' %s/log", dir, dir, dir);
  shell(command);
  const char *cpp = files.p[0].text.p;
  static const char *const must[] = {
    "#pragma HLS DATAFLOW\n", "#pragma HLS PIPELINE II=1\n", "#pragma HLS UNROLL\n", "static const ap_int<2> top_mv_w[1024]",
    "#pragma HLS ARRAY_PARTITION variable=top_mv_w type=cyclic factor=8 dim=1\n", "#pragma HLS ARRAY_PARTITION variable=acc type=complete",
    "void top_mv(const ap_uint<3> x[64], const float s[16], ap_int<5> y[16], double z[16])", "#pragma HLS LOOP_TRIPCOUNT max=4"
  };
  /* x feeds both nests, so the exact program has no legal dataflow */
  ck_assert_ptr_null(strstr(cpp, must[0]));
  for (size_t i = 1; i < sizeof must / sizeof *must; i++) ck_assert_msg(strstr(cpp, must[i]) != NULL, "%s", must[i]);
  int8_t *y = (int8_t *)out[1 * 2]->data;
  y[3] = (int8_t)(y[3] == 1 ? 2 : 1);
  out_files_free(&files);
  files = emit(p, &opt);
  snprintf(command, sizeof command, "sh %s/csim.sh > %s/log; test $? = 1 && grep -q '^1 of 3 vectors differ' %s/log", dir, dir, dir);
  shell(command);
  for (int i = 0; i < files.n; i++)
    for (size_t k = 0; k < files.p[i].text.n; k++) {
      char c = files.p[i].text.p[k];
      ck_assert_msg(c == '\n' || (c >= 0x20 && c < 0x7f), "byte %d in %s", c, files.p[i].name);
    }
  out_files_free(&files);
}
END_TEST

START_TEST(dataflow) {
  Program *p = text_program(ctx,
    "popshift.program 1\nprogram @flow index i32 exact {\n"
    "  in x : u3[8] port 0 \"int\" u3[8]\n  out y : i5[8] port 0 \"x\" i5[8]\n  arena a : u3[8]\n  arena b : u3[8]\n"
    "  nest n1 { for i 0..8 { a[i] := add(x[i], 1) } }\n  nest n2 { for i 0..8 { b[i] := mul(a[i], a[i]) } }\n"
    "  nest n3 { for i 0..8 { y[i] := cast<i5>(b[i]) } }\n  run n1\n  run n2\n  run n3\n}\n");
  OutFiles files = emit(p, NULL);
  ck_assert_ptr_nonnull(strstr(files.p[0].text.p, "#pragma HLS DATAFLOW\n"));
  out_files_free(&files);
  check(p, "g++ -std=c++14 -O1");
}
END_TEST

START_TEST(refused) {
  OutFiles files = {0};
  Program *p = text_program(ctx, "popshift.program 1 program @v index i32 exact { in x : i8[8] port 0 \"x\" i8[8] out y : i8[8] port 0 \"y\" i8[8] "
                                 "nest n { y[0:8] := x[0:8] } run n }");
  ck_assert(!hls_emit(ctx, p, NULL, &files));
  ck_assert_int_eq(diag_exit(ctx), EXIT_UNSUPPORTED);
  p = text_program(ctx, "popshift.program 1 program @v index i32 exact { out y : i8[1] port 0 \"y\" i8[1] nest n { y[0] := 1 } run n }");
  ck_assert(!hls_emit(ctx, p, &(HlsOptions){.part = "x} ; exec rm {"}, &files));
  ck_assert(!hls_emit(ctx, p, &(HlsOptions){.name = "a;b"}, &files));
  ck_assert_int_eq(files.n, 0);
  check(p, "g++ -std=c++14 -O1");
}
END_TEST

int main(void) {
  Suite *s = suite_create("hls_backend");
  TCase *t = tcase_create("programs");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 300);
  tcase_add_test(t, statements);
  tcase_add_test(t, exact);
  tcase_add_test(t, project);
  tcase_add_test(t, dataflow);
  tcase_add_test(t, refused);
  suite_add_tcase(s, t);
  t = tcase_create("rows");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, rows, 0, N_ELEMS);
  suite_add_tcase(s, t);
  return suite_run(s);
}
