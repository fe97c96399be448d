/* Generated C against the interpreter, bit for bit, under several compilers and every warning. */
#include "backends/c/c_backend.h"
#include "tests/unit/backend_programs.h"
#include "tests/unit/suite.h"

#define WARNINGS "-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wcast-qual -Wcast-align=strict -Wshadow " \
  "-Wundef -Wvla -Wdouble-promotion -Wfloat-equal -Wstrict-aliasing=2 -Wmissing-prototypes -Werror"
#define CLANG_WARNINGS "-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wcast-qual -Wcast-align -Wshadow " \
  "-Wundef -Wvla -Wdouble-promotion -Wfloat-equal -Wstrict-aliasing=2 -Wmissing-prototypes -Werror"

static Ctx *ctx;
static char dir[64];

static void setup(void) {
  ctx = ctx_new();
  strcpy(dir, "/tmp/popshift_c_XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  ck_assert_int_eq(system(command), 0);
  ctx_free(ctx);
}

static const char *const compilers[] = {
  "gcc -O0 " WARNINGS, "gcc -O3 -march=native " WARNINGS, "clang-19 -O2 " CLANG_WARNINGS,
  "gcc -O1 -std=gnu99 -mfma -fsanitize=undefined -fno-sanitize-recover=undefined",
  "clang-19 -O3 -march=native " CLANG_WARNINGS
};
enum { N_COMPILERS = sizeof compilers / sizeof *compilers };

static OutFiles emit(const Program *p, const COptions *opt) {
  OutFiles files = {0};
  bool ok = c_emit(ctx, p, opt, &files);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  ck_assert_int_eq(files.n, 2);
  for (int i = 0; i < files.n; i++) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, files.p[i].name);
    ck_assert(file_write(ctx, path, files.p[i].text.p, files.p[i].text.n));
  }
  return files;
}

static void shell(const char *command) {
  int rc = system(command);
  if (rc) fprintf(stderr, "failed: %s\n", command);
  ck_assert_int_eq(rc, 0);
}

static void *build(const char *name, int k) {
  char command[2048];
  snprintf(command, sizeof command, "cd %s && %s -shared -fPIC %s.c -o %s_%d.so -lm", dir, compilers[k], name, name, k);
  shell(command);
  snprintf(command, sizeof command, "%s/%s_%d.so", dir, name, k);
  void *so = dlopen(command, RTLD_NOW | RTLD_LOCAL);
  ck_assert_msg(so != NULL, "%s", dlerror());
  return so;
}

typedef struct Env { const void *weights; size_t size; void (*parallel_for)(void *, size_t, void (*)(void *, size_t, size_t), void *); void *user; } Env;
typedef int Init(void *, size_t, const Env *);
typedef int Run(void *, const void *const *, void *const *, size_t);

static void *symbol(void *so, const char *name, const char *what) {
  char text[128];
  snprintf(text, sizeof text, "%s_%s", name, what);
  void *f = dlsym(so, text);
  ck_assert_ptr_nonnull(f);
  return f;
}

static size_t bytes_of(const Buf *b) { return (size_t)b->n * store_size(elem_store(b->e)); }

/* In pieces of odd sizes, back to front. */
static void pieces(void *user, size_t n, void (*task)(void *, size_t, size_t), void *arg) {
  ++*(int *)user;
  for (size_t end = n; end > 0;) {
    size_t begin = end > 3 ? end - 3 : 0;
    task(arg, begin, end);
    end = begin;
  }
}

enum { BATCH = 2 };

static void run_and_compare(const Program *p, void *so, const char *name, const char *how, Env *env) {
  Run *run;
  Init *init;
  *(void **)&run = symbol(so, name, "run");
  *(void **)&init = symbol(so, name, "init");
  void *in[32], *out[256], *want[256], *one_in[32], *one_out[256];
  for (int i = 0; i < p->n_ins; i++) in[i] = calloc(BATCH, bytes_of(&p->bufs[p->ins[i].buf]) + 8);
  for (int i = 0; i < p->n_outs; i++) {
    out[i] = calloc(BATCH, bytes_of(&p->bufs[p->outs[i].buf]) + 8);
    want[i] = calloc(BATCH, bytes_of(&p->bufs[p->outs[i].buf]) + 8);
  }
  size_t ws_bytes = (size_t)p->arena_bytes + 128;
  void *ws = aligned_alloc(64, (ws_bytes + 63) / 64 * 64);
  for (int b = 0; b < BATCH; b++) {
    for (int i = 0; i < p->n_ins; i++) {
      const Buf *buf = &p->bufs[p->ins[i].buf];
      one_in[i] = (char *)in[i] + (size_t)b * bytes_of(buf);
      random_fill(buf, one_in[i]);
    }
    for (int i = 0; i < p->n_outs; i++) one_out[i] = (char *)want[i] + (size_t)b * bytes_of(&p->bufs[p->outs[i].buf]);
    bool ok = program_run(ctx, p, (const void *const *)one_in, one_out);
    if (!ok) diag_print(ctx, stderr, false);
    ck_assert(ok);
  }
  ck_assert_int_eq(init(ws, ws_bytes, env), 0);
  ck_assert_int_eq(run(ws, (const void *const *)in, out, BATCH), 0);
  ck_assert_int_eq(run(ws, (const void *const *)in, out, BATCH), 0); /* and again on a used workspace */
  for (int i = 0; i < p->n_outs; i++) {
    const Buf *buf = &p->bufs[p->outs[i].buf];
    for (int b = 0; b < BATCH; b++) {
      int64_t at;
      const char *x = (char *)out[i] + (size_t)b * bytes_of(buf), *y = (char *)want[i] + (size_t)b * bytes_of(buf);
      bool same = same_elements(buf, x, y, &at);
      Val u = {0}, v = {0};
      if (!same) { u = store_get(elem_store(buf->e), x, at); v = store_get(elem_store(buf->e), y, at); }
      ck_assert_msg(same, "%s: output %s [%d] is %lld %g, not %lld %g", how, p->outs[i].name, (int)at, (long long)u.i, u.f,
                    (long long)v.i, v.f);
    }
  }
  for (int i = 0; i < p->n_ins; i++) free(in[i]);
  for (int i = 0; i < p->n_outs; i++) { free(out[i]); free(want[i]); }
  free(ws);
}

/* The sanitizers watch the printing, not the compilers, where the time goes: there each program is compiled by two of them. */
static bool takes_compiler(const Program *p, int k, int n) {
#ifdef POPSHIFT_HOSTILE
  return k == p->n_bufs % n || k == (p->n_bufs + 2) % n;
#else
  return p && k < n;
#endif
}

static void check_as(const Program *p, int first, int last) {
  OutFiles files = emit(p, NULL);
  for (int k = first; k < last; k++) {
    if (!takes_compiler(p, k - first, last - first)) continue;
    void *so = build(p->name, k);
    run_and_compare(p, so, p->name, compilers[k], NULL);
    dlclose(so);
  }
  out_files_free(&files);
}

static void check(const Program *p) { check_as(p, 0, N_COMPILERS); }

static const Elem natives[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_INT, 8}, {EK_INT, 16}, {EK_INT, 32}, {EK_INT, 64}, {EK_UINT, 8},
                               {EK_UINT, 16}, {EK_UINT, 32}, {EK_UINT, 64}, {EK_BOOL, 1}};
enum { N_NATIVES = sizeof natives / sizeof *natives };

START_TEST(rows) { check(rows_program(ctx, natives[_i], natives, N_NATIVES, false, 1)); }
END_TEST

START_TEST(rows_of_lanes) {
  Elem e = natives[_i];
  int most = 512 / (e.bits < 8 ? 8 : e.bits);
  check_as(rows_program(ctx, e, natives, N_NATIVES, false, _i % 2 ? 4 : most < 16 ? most : 16), 0, 3);
}
END_TEST

/* Sums of comparisons as thresholds make them, in the width of what is compared: gcc 12 turns them into sums of masks from -O2 on. */
#define LEVEL(k, rest) "add(cast<i32>(le(i8(" #k "), v)), " rest ")"
#define LEVELS LEVEL(91, LEVEL(64, LEVEL(32, LEVEL(24, LEVEL(17, LEVEL(11, LEVEL(7, "cast<i32>(le(i8(3), v))")))))))
#define ONE_OF(i) "  nest one_" #i " {\n    let v: i8 = x[" #i "]\n    one[" #i "] := and(cast<u8>(" LEVELS "), 15)\n  }\n"
static const char text_levels[] =
  "popshift.program 1\nprogram @levels index i32 {\n"
  "  in x : i8[64] port 0 \"x\" i8[64]\n"
  "  out one : u8[4] port 0 \"one\" u8[4]\n"
  "  out y : u8[64] port 1 \"y\" u8[64]\n"
  "  plan 0 bound 0\n"
  ONE_OF(0) ONE_OF(1) ONE_OF(2) ONE_OF(3)
  "  nest every {\n"
  "    for i 0..64 {\n"
  "      let v: i8 = x[i]\n"
  "      y[i] := cast<u8>(" LEVELS ")\n"
  "    }\n"
  "  }\n"
  "  run one_0\n  run one_1\n  run one_2\n  run one_3\n  run every\n"
  "}\n";
START_TEST(levels) { check(text_program(ctx, text_levels)); }
END_TEST

/* A variable set to itself is not worth a statement: clang warns. */
static const char text_self[] =
  "popshift.program 1\nprogram @self index i32 {\n"
  "  in x : i32[4] port 0 \"x\" i32[4]\n  out y : i32[4] port 0 \"y\" i32[4]\n"
  "  nest n { for i 0..4 { var s: i32 = x[i]\n for k 0..3 { s := s }\n y[i] := add(s, 1) } }\n  run n\n}\n";
START_TEST(self) { check(text_program(ctx, text_self)); }
END_TEST

START_TEST(statements) { check(text_program(ctx, text_statements)); }
END_TEST

START_TEST(deep) { check(deep_program(ctx, false)); }
END_TEST

static const char text_lanes[] =
  "popshift.program 1\nprogram @lanes index i64 {\n"
  "  in x : i8[256] port 0 \"x\" i8[256]\n  in u : u8[256] port 1 \"u\" u8[256]\n  in s : i16[64] port 2 \"s\" i16[64]\n"
  "  in f : f32[64] port 3 \"f\" f32[64]\n  in b : bool[64] port 4 \"b\" bool[64]\n"
  "  out y : i32[96] port 0 \"y\" i32[96]\n  out z : u8[192] port 1 \"z\" u8[192]\n  out w : u64[40] port 2 \"w\" u64[40]\n"
  "  out g : f32[64] port 3 \"g\" f32[64]\n  out q : bool[48] port 4 \"q\" bool[48]\n  out o : u64[40] port 5 \"o\" u64[40]\n"
  "  reg r : i32[16]\n"
  "  nest dots {\n"
  "    y[0:16] := dot(0, u[0:64], x[0:64])\n    y[16:16] := dot(y[0:16], x[64:64], x[128:64])\n"
  "    y[32:8] := dot(-1, x[0:32], u[32:32])\n    y[40:4] := dot(7, u[3:16], u[100:16])\n"
  "    y[44:8] := dot(1, s[0:16], s[16:16])\n    y[52:16] := dot(1, s[0:32], s[32:32])\n    y[68] := dot(3, x[0:4], u[1:4])\n"
  "    y[69] := cast<i32>(hred(x[0:16]))\n    y[70] := hred(y[0:16])\n    y[71:4] := @sdot_4(y[0:4], x[5:16], x[31:16])\n"
  "    y[75:16] := @vnni_dp4_16(y[4:16], u[7:64], x[9:64])\n    y[91] := 1\n    y[92:4] := splat<4>(y[3])\n"
  "  }\n"
  "  nest bytes {\n"
  "    z[0:64] := shuf(u[0:64], u[64:64])\n    z[64:16] := shuf(u[1:16], u[33:16])\n    z[80:32] := shuf(u[5:32], u[7:32])\n"
  "    z[112:64] := lut3<150>(u[0:64], u[64:64], u[128:64])\n    z[176:8] := perm<7,6,5,4,3,2,1,0>(u[9:8])\n"
  "    z[184:4] := perm<3,3,0,9>(u[0:16])\n    z[188] := lut3<232>(u[0], u[1], u[2])\n    z[189] := 1\n    z[190] := 2\n    z[191] := 3\n"
  "  }\n";
static const char text_lanes_2[] =
  "  nest words {\n"
  "    w[0:8] := pop(bits<u64>(cast<i64>(s[0:8])))\n    let v: u64x8 = lut3<23>(w[0:8], w[0:8], splat<8>(w[3]))\n"
  "    w[8:8] := shr(shl(v, 5), 2)\n    w[16:4] := @sum8_4(u[11:32])\n    w[20:8] := @popcnt64_8(v)\n    w[28:8] := lut3<202>(v, w[0:8], w[8:8])\n"
  "    w[36:4] := cast<u64>(b[0:4])\n"
  "  }\n"
  "  nest masks {\n"
  "    let m: boolx16 = and(lt(f[0:16], f[16:16]), not(b[0:16]))\n"
  "    q[0:16] := m\n    q[16:16] := or(eq(f[0:16], f[32:16]), isnan(f[0:16]))\n"
  "    g[0:16] := select(m, f[0:16], mul(f[16:16], 3))\n    g[16:16] := cast<f32>(cast<i8>(f[3:16]))\n"
  "    g[32:16] := select(lt(s[0:16], cast<i16>(x[0:16])), f[32:16], splat<16>(f[0]))\n"
  "    var acc: f32x16 = 0\n    for i 0..4 { acc := add(acc, mul(f[mul(i, 16):16], f[0:16])) }\n    g[48:16] := acc\n"
  "    q[32:8] := perm<1,0,3,2,5,4,7,6>(m)\n    q[40] := perm<3>(m)\n    q[41:4] := cond(b[0], boolx4(1), b[3:4])\n    q[45] := 1\n    q[46:2] := select(b[0:2], b[2:2], boolx2(1))\n"
  "  }\n"
  "  nest pieces {\n"
  "    o[0:8] := relane<u64>(u[0:64])\n    o[8] := relane<u64>(u[9:8])\n    o[9:4] := pop(o[0:4])\n    o[13:2] := pop(o[1:2])\n"
  "    let h: i16x32 = relane<i16>(o[0:8])\n    o[15:4] := relane<u64>(perm<0,16,1,17,2,18,3,19,4,20,5,21,6,22,7,23>(perm<4,5,6,7,8,9,10,11,20,21,22,23,24,25,26,27>(h), perm<0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15>(h)))\n"
  "    o[19] := cast<u64>(mask(lt(h, 77)))\n    o[20] := mask(le(u[0:64], 128))\n    o[21] := cast<u64>(mask(eq(u[0:16], 0)))\n"
  "    o[22] := cast<u64>(mask(lt(o[0:8], splat<8>(o[8]))))\n    o[23:8] := cast<u64>(x[0:8])\n    o[31:8] := @sum8_8(u[77:64])\n    o[39] := cast<u64>(perm<9>(x[0:8], x[8:8]))\n"
  "  }\n"
  "  run dots\n  run bytes\n  run words\n  run masks\n  run pieces\n}\n";

START_TEST(lanes) {
  char text[8192];
  snprintf(text, sizeof text, "%s%s", text_lanes, text_lanes_2);
  check(text_program(ctx, text));
}
END_TEST

static const char text_parallel[] =
  "popshift.program 1\nprogram @par index i32 {\n"
  "  in x : i8[640] port 0 \"x\" i8[640]\n  out y : i32[64] port 0 \"y\" i32[64]\n  out z : i32[10] port 1 \"z\" i32[10]\n"
  "  arena t : i32[64] at 64\n  reg acc : i32[2]\n  reg table : i32[4]\n  plan 320 bound 256\n"
  "  nest a {\n"
  "    for i 0..4 { table[i] := mul(i, i) }\n    let k: i32 = add(cast<i32>(x[3]), 5)\n    var o: i32 = k\n    o := mul(o, 77777777)\n"
  "    for i 1..64 step 3 parallel {\n"
  "      for j 0..2 { acc[j] := 0 }\n"
  "      for r 0..10 { acc[and(r, 1)] := add(acc[and(r, 1)], mul(cast<i32>(x[add(mul(i, 10), r)]), k)) }\n"
  "      for j 0..min(3, sub(64, i)) max 3 { t[add(i, j)] := add(add(acc[0], table[j]), mul(acc[1], o)) }\n"
  "    }\n    t[0] := o\n"
  "  }\n"
  "  nest b { for i 0..64 parallel { y[i] := mul(t[i], 3) } }\n"
  "  nest c { var s: i32 = 0\n for i 0..10 parallel { s := add(s, y[i])\n z[i] := s } }\n"
  "  run a\n  run b\n  run c\n}\n";

START_TEST(parallel) {
  Program *p = text_program(ctx, text_parallel);
  OutFiles files = emit(p, NULL);
  for (int k = 0; k < N_COMPILERS; k++) {
    void *so = build("par", k);
    run_and_compare(p, so, "par", compilers[k], NULL);
    int calls = 0;
    Env env = {NULL, 0, pieces, &calls};
    run_and_compare(p, so, "par", compilers[k], &env);
    ck_assert_int_eq(calls, 2 * 2 * BATCH); /* two runs, two of the three loops */
    dlclose(so);
  }
  out_files_free(&files);
}
END_TEST

/* Large constant data goes through words. */
START_TEST(words) {
  Program *p = program_new(ctx, "W8_a_name_of_forty_characters_as_allowed");
  p->arena_bytes = p->arena_bound = 0;
  for (int k = 0; k < N_NATIVES; k++) {
    Elem e = natives[k];
    enum { N = 2500 + 1 };
    void *data = arena_alloc(p->arena, N * 8);
    for (int i = 0; i < N; i++) store_set(elem_store(e), data, i, random_val(e));
    char name[16];
    snprintf(name, sizeof name, "o%d", k);
    int rom = program_buf(p, nest_name(p, "w", name), e, SP_ROM, N, data), y = port(p, name, e, SP_OUT, N);
    Nest *n = program_nest(p, nest_name(p, "n", name), NULL, NULL);
    int i = nest_var(p, n, "i", nt(p->index), true);
    Stmt *loop = ns_for(p, &n->body, i, nx_idx(p, 0), nx_idx(p, N), 1, -1);
    ns_store(p, &loop->body, y, nx_var(p, n, i), nx_load(p, rom, nx_var(p, n, i), 1));
  }
  ck_assert(program_verify(ctx, p));
  check(p);
}
END_TEST

/* What a host of the other byte order would see: the elements of each 64-bit word back to front. Words with few bits are short
 * literals, which must not be shifted as such. */
START_TEST(words_of_big_endian_hosts) {
  Program *p = program_new(ctx, "big");
  p->arena_bytes = p->arena_bound = 0;
  static const Elem elems[] = {{EK_UINT, 8}, {EK_UINT, 16}, {EK_UINT, 32}, {EK_UINT, 64}};
  enum { N = 1200 };
  for (int k = 0; k < 4; k++) {
    void *data = arena_alloc(p->arena, N * 8);
    for (int i = 0; i < N; i += 3) store_set(elem_store(elems[k]), data, i, (Val){.i = i % 251});
    int rom = program_buf(p, nest_name(p, "w", NULL), elems[k], SP_ROM, N, data), y = port(p, "y", elems[k], SP_OUT, N);
    Nest *n = program_nest(p, nest_name(p, "n", NULL), NULL, NULL);
    int i = nest_var(p, n, "i", nt(p->index), true);
    Stmt *loop = ns_for(p, &n->body, i, nx_idx(p, 0), nx_idx(p, N), 1, -1);
    ns_store(p, &loop->body, y, nx_var(p, n, i), nx_load(p, rom, nx_var(p, n, i), 1));
  }
  OutFiles files = emit(p, NULL);
  shell(arena_printf(p->arena, "cd %s && gcc -std=c99 -pedantic -Wall -Wextra -U__BYTE_ORDER__ -D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__ "
                     "-Wno-builtin-macro-redefined -Werror -shared -fPIC big.c -o big.so", dir));
  void *so = dlopen(arena_printf(p->arena, "%s/big.so", dir), RTLD_NOW | RTLD_LOCAL);
  ck_assert_ptr_nonnull(so);
  Run *run;
  *(void **)&run = symbol(so, "big", "run");
  _Alignas(64) static char ws[64], io[4][N * 8];
  ck_assert_int_eq(run(ws, (const void *[]){NULL}, (void *[]){io[0], io[1], io[2], io[3]}, 1), 0);
  for (int k = 0; k < 4; k++) {
    int per = 64 / elems[k].bits;
    for (int i = 0; i < N; i++) {
      int from = i / per * per + per - 1 - i % per;
      ck_assert_int_eq(store_get(elem_store(elems[k]), io[k], i).i, from % 3 ? 0 : from % 251);
    }
  }
  dlclose(so);
  out_files_free(&files);
}
END_TEST

/* Names and notes that try to leave their place. */
START_TEST(injection) {
  static const char *const names[] = {
    "x */ int injected_fn(void){return 42;} /*", "a\nint injected_fn(void);", "a.b", "a_b", "A_B", "\"quote\\", "int", "register", "?\?/",
    "\xe2\x80\xae\xc3\xa9", "", "9", "in", "none", "_x", "COUNT", "NULL", "//", "floorf"
  };
  enum { N = sizeof names / sizeof *names };
  Program *p = program_new(ctx, "inj");
  p->arena_bytes = p->arena_bound = 0;
  for (int k = 0; k < N; k++) {
    int x = port(p, names[k], I8, SP_IN, 2 + k % 3), y = port(p, names[k], F32, SP_OUT, 2 + k % 3);
    Loc loc = LOC_NONE;
    loc.node = k;
    loc.name = names[k];
    loc.op = names[N - 1 - k];
    Nest *n = program_nest(p, nest_name(p, NULL, names[k]), &loc, names[(k + 5) % N]);
    int i = nest_var(p, n, k % 2 ? "inj_run" : "end_i", nt(p->index), true);
    Stmt *loop = ns_for(p, &n->body, i, nx_idx(p, 0), nx_idx(p, 2 + k % 3), 1, -1);
    ns_store(p, &loop->body, y, nx_var(p, n, i), nx1(p, S_FLOOR, nx_cast(p, nx_load(p, x, nx_var(p, n, i), 1), F32)));
  }
  ck_assert(program_verify(ctx, p));
  OutFiles files = emit(p, &(COptions){.model_sha = "00*/ evil"});
  for (int i = 0; i < files.n; i++)
    for (size_t k = 0; k < files.p[i].text.n; k++) {
      char c = files.p[i].text.p[k];
      ck_assert_msg(c == '\n' || (c >= 0x20 && c < 0x7f), "byte %d in %s", c, files.p[i].name);
    }
  void *so = build("inj", 0);
  ck_assert_ptr_null(dlsym(so, "injected_fn"));
  run_and_compare(p, so, "inj", "injection", NULL);
  dlclose(so);
  char command[512];
  snprintf(command, sizeof command, "cd %s && printf '#include \"inj.h\"\\nint main() { inj_in i; (void)i; return inj_run(nullptr, nullptr, "
           "nullptr, 0) != INJ_NULL; }\\n' > m.cpp && g++ -std=c++17 -pedantic -Wall -Wextra -Werror -c m.cpp && gcc -std=c99 -c inj.c && "
           "g++ m.o inj.o -o m -lm && ./m && test $(nm inj.o | grep -c ' T ') = 2", dir);
  shell(command);
  COptions bad = {.name = "x; int y"};
  OutFiles none = {0};
  ck_assert(!c_emit(ctx, p, &bad, &none));
  ck_assert_int_eq(diag_exit(ctx), EXIT_USAGE);
  out_files_free(&files);
}
END_TEST

START_TEST(checks_and_sizes) {
  Program *p = text_program(ctx, text_statements);
  OutFiles a = emit(p, &(COptions){.name = "Net1"}), b = emit(p, &(COptions){.name = "Net1"});
  for (int i = 0; i < a.n; i++) ck_assert(a.p[i].text.n == b.p[i].text.n && !memcmp(a.p[i].text.p, b.p[i].text.p, a.p[i].text.n));
  const char *h = a.p[0].text.p;
  ck_assert_ptr_nonnull(strstr(h, "#define NET1_WORKSPACE_BYTES 256u\n"));
  ck_assert_ptr_nonnull(strstr(h, "#define NET1_FLASH_BYTES 33u"));
  ck_assert_ptr_nonnull(strstr(h, "#define NET1_IN_X_COUNT 96u\n#define NET1_IN_X_RANK 1\n#define NET1_IN_X_DIMS {96}\n"));
  void *so = build("Net1", 0);
  Run *run;
  Init *init;
  *(void **)&run = symbol(so, "Net1", "run");
  *(void **)&init = symbol(so, "Net1", "init");
  _Alignas(64) static char ws[256], io[8][512];
  const void *in[2] = {io[0], io[1]};
  void *out[5] = {io[2], io[3], io[4], io[5], io[6]};
  ck_assert_int_eq(init(NULL, 256, NULL), 1);
  ck_assert_int_eq(init(ws + 4, 256, NULL), 2);
  ck_assert_int_eq(init(ws, 255, NULL), 3);
  ck_assert_int_eq(init(ws, 256, NULL), 0);
  ck_assert_int_eq(run(ws, in, out, 1), 0);
  ck_assert_int_eq(run(ws, in, out, 0), 0);
  ck_assert_int_eq(run(ws, in, out, SIZE_MAX / 4), 4);
  in[1] = io[1] + 2;
  ck_assert_int_eq(run(ws, in, out, 1), 2);
  in[1] = NULL;
  ck_assert_int_eq(run(ws, in, out, 1), 1);
  ck_assert_int_eq(run(ws, NULL, out, 1), 1);
  dlclose(so);
  out_files_free(&a);
  out_files_free(&b);
}
END_TEST

/* Integer models need no library and no other header. */
START_TEST(freestanding) {
  Program *p = text_program(ctx, text_parallel);
  OutFiles files = emit(p, NULL);
  const char *c = files.p[1].text.p;
  for (const char *at = c; (at = strstr(at, "#include ")); at++) ck_assert_int_eq(strncmp(at, "#include \"par.h\"", 16), 0);
  char command[512];
  snprintf(command, sizeof command, "cd %s && gcc -std=c99 -O2 -ffreestanding -c par.c && test -z \"$(nm -u par.o | grep -v -E 'memcpy|memset')\" && "
           "test -z \"$(nm par.o | grep -E ' [BbDdCc] ')\"", dir);
  shell(command);
  out_files_free(&files);
}
END_TEST

static TCase *tcase(Suite *s, const char *name) {
  TCase *t = tcase_create(name);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 600);
  suite_add_tcase(s, t);
  return t;
}

int main(void) {
  Suite *s = suite_create("c_backend");
  TCase *t = tcase(s, "programs");
  tcase_add_test(tcase(s, "levels"), levels);
  tcase_add_test(t, self);
  tcase_add_test(t, statements);
  tcase_add_test(t, deep);
  tcase_add_test(t, parallel);
  tcase_add_test(t, words);
  tcase_add_test(t, words_of_big_endian_hosts);
  tcase_add_test(t, injection);
  tcase_add_test(t, checks_and_sizes);
  tcase_add_test(t, freestanding);
  tcase_add_loop_test(tcase(s, "rows"), rows, 0, N_NATIVES);
  t = tcase(s, "lanes");
  tcase_add_test(t, lanes);
  tcase_add_loop_test(t, rows_of_lanes, 0, N_NATIVES);
  return suite_run(s);
}
