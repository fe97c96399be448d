/* The LLVM backend against the interpreter: every scalar row, expression and statement kind, bit for bit (any NaN is NaN),
 * with this machine's instructions and without; files for other machines; the exported interface. */
#include "backends/llvm/llvm_backend.h"
#include "tests/unit/holds.h"
#include "runtime/popshift_rt.h"
#include "tests/unit/suite.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PORTS = 64 };

/* A program under construction with its input data. */
typedef struct T {
  Ctx *ctx;
  Program *p;
  const void *in[MAX_PORTS];
} T;

static T begin(void) {
  T t = {.ctx = ctx_new()};
  t.p = program_new(t.ctx, "m");
  t.p->arena_bytes = 0;
  t.p->ins = NEWN(t.p->arena, Port, MAX_PORTS);
  t.p->outs = NEWN(t.p->arena, Port, MAX_PORTS);
  return t;
}

static void end(T *t) {
  diag_print(t->ctx, stderr, false);
  program_free(t->p);
  ctx_free(t->ctx);
}

static size_t bytes_of(const Buf *b) { return (size_t)b->n * store_size(elem_store(b->e)); }

static int port(T *t, Port *ports, int *n, const char *name, Elem e, Space sp, int64_t count) {
  ck_assert_int_lt(*n, MAX_PORTS);
  int b = program_buf(t->p, name, e, sp, count, NULL);
  ports[(*n)++] = (Port){name, b, type_make(e, 1, &count)};
  return b;
}

static int input(T *t, const char *name, Elem e, int64_t n, const void *data) {
  t->in[t->p->n_ins] = data;
  return port(t, t->p->ins, &t->p->n_ins, name, e, SP_IN, n);
}

static int output(T *t, const char *name, Elem e, int64_t n) {
  return port(t, t->p->outs, &t->p->n_outs, name, e, SP_OUT, n);
}

static Expr *num(T *t, int64_t v) { return nx_idx(t->p, v); }
static Expr *add(T *t, Expr *a, Expr *b) { return nx2(t->p, S_ADD, a, b); }

static bool element_eq(Store st, const char *a, const char *b) {
  if (!memcmp(a, b, store_size(st)))
    return true;
  float f, g;
  double d, e;
  memcpy(&f, a, sizeof f);
  memcpy(&g, b, sizeof g);
  if (st == ST_F32)
    return f != f && g != g;
  if (st != ST_F64)
    return false;
  memcpy(&d, a, sizeof d);
  memcpy(&e, b, sizeof e);
  return d != d && e != e;
}

static void compare(const T *t, void **want, void **got, const char *cpu) {
  for (int o = 0; o < t->p->n_outs; o++) {
    const Buf *b = &t->p->bufs[t->p->outs[o].buf];
    size_t size = store_size(elem_store(b->e));
    for (size_t i = 0; i < (size_t)b->n; i++) {
      char *w = (char *)want[o] + i * size, *g = (char *)got[o] + i * size;
      uint64_t wb = 0, gb = 0;
      memcpy(&wb, w, size);
      memcpy(&gb, g, size);
      holds_msg(element_eq(elem_store(b->e), w, g), "%s, %s[%zu]: %#llx, not %#llx", cpu ? cpu : "host", b->name, i,
                    (unsigned long long)gb, (unsigned long long)wb);
    }
  }
}

static const char *const cpus[] = {NULL,
#ifdef __x86_64__
                                   "x86-64", "x86-64-v3"
#endif
};

enum { N_CPUS = sizeof cpus / sizeof *cpus };

/* The sanitizers watch our emission and not LLVM's code, where most of the time goes: there each program is for one of the machines. */
static bool takes_cpu(const Program *p, size_t cpu) {
#ifdef POPSHIFT_HOSTILE
  return cpu == (size_t)p->n_bufs % N_CPUS;
#else
  return p && cpu < N_CPUS;
#endif
}

/* Other machines, under qemu: only with POPSHIFT_CROSS set, as it takes minutes, and where the tools are installed. */
typedef struct Cross { LlvmOptions o; const char *cc, *run; } Cross;
static const Cross crosses[] = {
  {{"aarch64-linux-gnu", NULL, NULL, 2}, "aarch64-linux-gnu-gcc", "qemu-aarch64"},
  {{"aarch64-linux-gnu", "generic", "+dotprod", 2}, "aarch64-linux-gnu-gcc", "qemu-aarch64"},
  {{"aarch64-linux-gnu", "generic", "+dotprod,+i8mm", 2}, "aarch64-linux-gnu-gcc", "qemu-aarch64"},
  {{"riscv64-linux-gnu", NULL, NULL, 2}, "riscv64-linux-gnu-gcc", "qemu-riscv64"},
  {{"s390x-linux-gnu", NULL, NULL, 2}, "s390x-linux-gnu-gcc", "qemu-s390x"}, /* big-endian */
  {{"i686-linux-gnu", NULL, NULL, 2}, "i686-linux-gnu-gcc", "qemu-i386"},
  {{"armv7-linux-gnueabihf", "cortex-a9", NULL, 2}, "arm-linux-gnueabihf-gcc", "qemu-arm"}
};

/* A program that reads the inputs, calls the module and writes the outputs: elements little-endian on both sides. */
static void cross_main(Str *s, const Program *p) {
  str_printf(s, "#include <stdio.h>\n#include <stdlib.h>\nint m_run(void *, void **, void **, size_t);\n"
             "static void move(FILE *f, char *p, long n, long size, int in) {\n"
             "  const int one = 1, big = !*(const char *)&one;\n  for (long i = 0; i < n; i++)\n"
             "    for (long k = 0; k < size; k++) {\n      char *c = p + i * size + (big ? size - 1 - k : k);\n"
             "      if (in) *c = (char)getc(f); else putc(*c, f);\n    }\n}\n"
             "int main(int argc, char **argv) {\n  FILE *f = fopen(argv[1], \"rb\"), *g = fopen(argv[2], \"wb\");\n"
             "  void *ws = aligned_alloc(64, %d), *in[%d], *out[%d];\n  (void)argc;\n", (int)p->arena_bytes + 64, p->n_ins + 1, p->n_outs + 1);
  for (int k = 0; k < p->n_ins + p->n_outs; k++) {
    bool in = k < p->n_ins;
    int i = in ? k : k - p->n_ins;
    const Buf *b = &p->bufs[(in ? p->ins : p->outs)[i].buf];
    str_printf(s, "  %s[%d] = calloc(%zu, 1);\n", in ? "in" : "out", i, bytes_of(b) + 1);
    if (in)
      str_printf(s, "  move(f, in[%d], %d, %d, 1);\n", i, (int)b->n, (int)store_size(elem_store(b->e)));
  }
  str_put(s, "  int status = m_run(ws, in, out, 1);\n");
  for (int i = 0; i < p->n_outs; i++) {
    const Buf *b = &p->bufs[p->outs[i].buf];
    str_printf(s, "  move(g, out[%d], %d, %d, 0);\n", i, (int)b->n, (int)store_size(elem_store(b->e)));
  }
  str_put(s, "  return status || fclose(g);\n}\n");
}

static void check_cross(T *t, void **want, void **got) {
  for (size_t m = 0; getenv("POPSHIFT_CROSS") && m < sizeof crosses / sizeof *crosses; m++) {
    const Cross *c = &crosses[m];
    char dir[] = "/tmp/popshift_cross_XXXXXX", path[64], command[256];
    snprintf(command, sizeof command, "command -v %s >/dev/null && command -v %s >/dev/null", c->cc, c->run);
    if (system(command)) {
      printf("%s skipped: no %s or %s\n", c->o.triple, c->cc, c->run);
      continue;
    }
    ck_assert_ptr_nonnull(mkdtemp(dir));
    Str obj = {.ctx = t->ctx}, text = {.ctx = t->ctx}, data = {.ctx = t->ctx};
    ck_assert(llvm_emit(t->ctx, t->p, &c->o, LLVM_OBJ, &obj));
    cross_main(&text, t->p);
    for (int i = 0; i < t->p->n_ins; i++)
      str_putn(&data, t->in[i], bytes_of(&t->p->bufs[t->p->ins[i].buf]));
    const Str *files[3] = {&obj, &text, &data};
    static const char *const names[3] = {"m.o", "main.c", "in"};
    for (int i = 0; i < 3; i++) {
      snprintf(path, sizeof path, "%s/%s", dir, names[i]);
      ck_assert(file_write(t->ctx, path, files[i]->p ? files[i]->p : "", files[i]->n));
    }
    snprintf(command, sizeof command, "cd %s && %s -O1 main.c m.o -static -lm -o main && %s ./main in out", dir, c->cc, c->run);
    ck_assert_msg(!system(command), "%s", command);
    char *bytes;
    size_t n, at = 0;
    snprintf(path, sizeof path, "%s/out", dir);
    ck_assert(file_read(t->ctx, path, &bytes, &n));
    for (int i = 0; i < t->p->n_outs; i++) {
      memcpy(got[i], bytes + at, bytes_of(&t->p->bufs[t->p->outs[i].buf]));
      at += bytes_of(&t->p->bufs[t->p->outs[i].buf]);
    }
    ck_assert_uint_eq(at, n);
    compare(t, want, got, c->o.triple);
    free(bytes);
    str_free(&obj);
    str_free(&text);
    str_free(&data);
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert_int_eq(system(command), 0);
  }
}

/* The interpreter and the JIT, with this machine's instructions and with fewer, agree. */
static void check(T *t, int opt) {
  ck_assert_msg(program_verify(t->ctx, t->p), "%s", t->ctx->diags ? t->ctx->diags->text : "");
  void *want[MAX_PORTS], *got[MAX_PORTS];
  for (int o = 0; o < t->p->n_outs; o++) {
    size_t n = bytes_of(&t->p->bufs[t->p->outs[o].buf]);
    want[o] = calloc(n + 16, 1);
    got[o] = calloc(n + 16, 1);
  }
  ck_assert_msg(program_run(t->ctx, t->p, t->in, want), "%s", t->ctx->diags ? t->ctx->diags->text : "");
  void *workspace = NULL;
  ck_assert_int_eq(posix_memalign(&workspace, 64, (size_t)t->p->arena_bytes + 64), 0);
  for (size_t c = 0; c < N_CPUS; c++) {
    if (!takes_cpu(t->p, c))
      continue;
    LlvmOptions o = {.cpu = cpus[c], .opt = opt};
    LlvmJit *j = llvm_jit_new(t->ctx, t->p, &o);
    ck_assert_msg(j != NULL, "%s", t->ctx->diags ? t->ctx->diags->text : "");
    for (int k = 0; k < t->p->n_outs; k++)
      memset(got[k], 0xa5, bytes_of(&t->p->bufs[t->p->outs[k].buf]) + 16);
    ck_assert(llvm_jit_run(j, workspace, t->in, got));
    compare(t, want, got, cpus[c]);
    for (int k = 0; k < t->p->n_outs; k++)
      for (int i = 0; i < 16; i++)
        ck_assert_uint_eq(((unsigned char *)got[k])[bytes_of(&t->p->bufs[t->p->outs[k].buf]) + (size_t)i], 0xa5);
    llvm_jit_free(j);
  }
  check_cross(t, want, got);
  free(workspace);
  for (int o = 0; o < t->p->n_outs; o++) {
    free(want[o]);
    free(got[o]);
  }
}

/* Scalar rows */

enum { SPECIALS = 32, PAIRS = SPECIALS * SPECIALS };

static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 31) * UINT64_C(0x7fb5d329728ea185);
  x = (x ^ x >> 27) * UINT64_C(0x81dadef4bc2dd44d);
  return x ^ x >> 33;
}

/* The i-th interesting number of a type, at its storage. */
static void special(Elem e, int i, char *out) {
  static const double reals[] = {0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3, 1e-45, -1e-40, 1e-310, 3.4e38, -3.4e38, 1e39, 127.5,
                                 128, -128.5, 255.5, 32767.5, 2147483647.0, 2147483648.0, -2147483649.0, 4294967295.5, 9.3e18,
                                 1.9e19, 0.1, 16777217};
  size_t size = store_size(elem_store(e));
  if (elem_is_float(e)) {
    double d = i < 29 ? reals[i] : i == 29 ? __builtin_inf() : i == 30 ? -__builtin_inf() : __builtin_nan("");
    float f = (float)d;
    memcpy(out, e.bits == 32 ? (void *)&f : (void *)&d, size);
    return;
  }
  uint64_t high = UINT64_C(1) << (e.bits - 1), v = i < 10 ? (uint64_t)(i - 4) : i < 16 ? high + (uint64_t)(i - 12) : mix((uint64_t)i);
  if (i >= 16 && i < 20)
    v = (uint64_t)e.bits + (uint64_t)(i - 18);
  if (i >= 20 && i < 24)
    v = UINT64_C(1) << (i - 20) * 7 % e.bits;
  if (e.kind == EK_BOOL)
    v &= 1;
  memcpy(out, &v, size); /* little-endian, as the project's machines are */
}

static char *pairs_of(Elem e, bool second) {
  size_t size = store_size(elem_store(e));
  char *data = malloc(PAIRS * size);
  for (int i = 0; i < PAIRS; i++)
    special(e, second ? i % SPECIALS : i / SPECIALS, data + (size_t)i * size);
  return data;
}

static bool row_applies(Scalar s, Elem e) {
  if (s == S_NONE || s == S_POW || (s >= S_EXP && s <= S_ERF))
    return false;
  if (e.kind == EK_BOOL) /* no arithmetic on bool: nest_verify */
    return s == S_MAX || s == S_MIN || s == S_AND || s == S_OR || s == S_XOR || s == S_NOT || s == S_EQ || s == S_LT || s == S_LE ||
           s == S_SELECT || s == S_CAST;
  return scalar_info[s].on == 'B' || (scalar_info[s].on == 'F') == elem_is_float(e);
}

static const Elem elems[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_INT, 8}, {EK_INT, 16}, {EK_INT, 32}, {EK_INT, 64}, {EK_UINT, 8},
                             {EK_UINT, 16}, {EK_UINT, 32}, {EK_UINT, 64}, {EK_BOOL, 1}};
enum { N_ELEMS = sizeof elems / sizeof *elems };

/* y[i] = row(a[i], b[i]) by `lanes`; c: for select, whether a < b. */
static void row_nest(T *t, Scalar s, Elem result, int a, int b, int lanes) {
  static char names[MAX_PORTS][16];
  char *name = names[t->p->n_outs];
  Elem e = t->p->bufs[a].e;
  snprintf(name, sizeof names[0], "y_%s_%d", scalar_info[s].name, t->p->n_outs);
  int y = output(t, name, result, PAIRS);
  Nest *n = program_nest(t->p, arena_printf(t->p->arena, "n_%s", name), NULL, NULL);
  int i = nest_var(t->p, n, "i", nt(t->p->index), true);
  Stmt *f = ns_for(t->p, &n->body, i, num(t, 0), num(t, PAIRS), lanes, -1);
  Expr *at = nx_var(t->p, n, i), *x = nx_load(t->p, a, at, lanes), *z = nx_load(t->p, b, at, lanes), *v;
  if (s == S_CAST)
    v = nx_cast(t->p, x, result);
  else if (s == S_BITS)
    v = nx_bits(t->p, x, result);
  else if (s == S_SELECT)
    v = nx3(t->p, s, e.kind == EK_BOOL ? x : nx2(t->p, S_LT, x, z), z, x);
  else
    v = scalar_info[s].arity == 1 ? nx1(t->p, s, x) : nx2(t->p, s, x, z);
  ns_store(t->p, &f->body, y, at, v);
}

START_TEST(scalar_rows) {
  Elem e = elems[_i % N_ELEMS];
  int lanes = _i < N_ELEMS ? 1 : e.kind == EK_BOOL || e.bits == 8 ? 32 : 256 / e.bits;
  T t = begin();
  char *x = pairs_of(e, false), *z = pairs_of(e, true);
  int a = input(&t, "a", e, PAIRS, x), b = input(&t, "b", e, PAIRS, z);
  int rows = 0;
  for (int s = 1; s < SCALAR_COUNT; s++) {
    if (!row_applies((Scalar)s, e))
      continue;
    rows++;
    if (s == S_CAST)
      for (int k = 0; k < N_ELEMS; k++)
        row_nest(&t, S_CAST, elems[k], a, b, lanes * (elems[k].kind == EK_BOOL ? 1 : elems[k].bits) > 512 ? 512 / elems[k].bits : lanes);
    else if (s == S_BITS) {
      for (int k = 0; k < N_ELEMS; k++)
        if (elems[k].bits == e.bits && (e.bits == 32 || e.bits == 64))
          row_nest(&t, S_BITS, elems[k], a, b, lanes);
    } else
      row_nest(&t, (Scalar)s, scalar_info[s].result == 'B' ? BOOL : e, a, b, lanes);
  }
  ck_assert_int_ge(rows, 11);
  check(&t, _i < N_ELEMS ? 2 : 1);
  free(x);
  free(z);
  end(&t);
}
END_TEST

/* Vector expressions */

static void random_bytes(void *p, size_t n, uint64_t seed) {
  for (size_t i = 0; i < n; i++)
    ((unsigned char *)p)[i] = (unsigned char)mix(seed * 1000003 + i);
}

/* A nest that stores one value to a new output. */
static void store_to_new(T *t, const char *name, Expr *v) {
  int y = output(t, name, v->t.e, v->t.lanes);
  Nest *n = program_nest(t->p, arena_printf(t->p->arena, "n_%s", name), NULL, NULL);
  ns_store(t->p, &n->body, y, num(t, 0), v);
}

START_TEST(dots) {
  static char names[64][16];
  static const int lanes[] = {1, 2, 4, 8, 16};
  int bits = _i % 2 ? 16 : 8, q = bits == 8 ? 4 : 2;
  T t = begin();
  unsigned char data[3][128];
  for (int k = 0; k < 3; k++)
    random_bytes(data[k], sizeof data[k], (uint64_t)k + 7);
  for (int k = 1; k < 3; k++)
    memset(data[k], k == 1 ? 0x80 : 0xff, 16); /* the extremes */
  int acc = input(&t, "acc", I32, 16, data[0]);
  int x[2] = {input(&t, "xs", INTK((unsigned)bits), 64, data[1]), input(&t, "xu", UINTK((unsigned)bits), 64, data[1])};
  int z[2] = {input(&t, "zs", INTK((unsigned)bits), 64, data[2]), input(&t, "zu", UINTK((unsigned)bits), 64, data[2])};
  for (int l = 0; l < 5; l++)
    for (int s = 0; s < 4; s++) {
      char *name = names[4 * l + s];
      snprintf(name, sizeof names[0], "d%d_%d", lanes[l], s);
      store_to_new(&t, name, nx_dot(t.p, nx_load(t.p, acc, num(&t, 0), lanes[l]), nx_load(t.p, x[s & 1], num(&t, 0), q * lanes[l]),
                                    nx_load(t.p, z[s >> 1], num(&t, 0), q * lanes[l])));
    }
  check(&t, _i < 2 ? 2 : 0);
  end(&t);
}
END_TEST

/* All 256 tables of one type: _i. */
START_TEST(lut3s) {
  static const struct { Elem e; int lanes; } types[] = {
    {{EK_UINT, 8}, 1}, {{EK_UINT, 8}, 64}, {{EK_UINT, 64}, 4}, {{EK_INT, 32}, 4}, {{EK_INT, 16}, 2}, {{EK_BOOL, 1}, 1}, {{EK_BOOL, 1}, 16}
  };
  Elem e = types[_i].e;
  int lanes = types[_i].lanes;
  T t = begin();
  unsigned char data[3][64];
  int in[3];
  static const char *const names[] = {"a", "b", "c"};
  for (int k = 0; k < 3; k++) {
    random_bytes(data[k], sizeof data[k], (uint64_t)(k + 99));
    for (int i = 0; i < 64 && e.kind == EK_BOOL; i++)
      data[k][i] &= 1;
    in[k] = input(&t, names[k], e, lanes, data[k]);
  }
  int y = output(&t, "y", e, 256 * lanes);
  Nest *n = program_nest(t.p, "luts", NULL, NULL);
  for (int imm = 0; imm < 256; imm++)
    ns_store(t.p, &n->body, y, num(&t, imm * lanes), nx_lut3(t.p, imm, nx_load(t.p, in[0], num(&t, 0), lanes),
                                                             nx_load(t.p, in[1], num(&t, 0), lanes), nx_load(t.p, in[2], num(&t, 0), lanes)));
  check(&t, 2);
  end(&t);
}
END_TEST

START_TEST(shuffles) {
  T t = begin();
  unsigned char table[64], index[64], wide[64];
  random_bytes(table, 64, 1);
  random_bytes(index, 64, 2);
  random_bytes(wide, 64, 3);
  int a = input(&t, "a", U8, 64, table), b = input(&t, "b", U8, 64, index), w = input(&t, "w", I32, 16, wide);
  static const char *const names[] = {"s16", "s32", "s64"};
  for (int k = 0; k < 3; k++)
    store_to_new(&t, names[k], nx_shuf(t.p, nx_load(t.p, a, num(&t, 0), 16 << k), nx_load(t.p, b, num(&t, 0), 16 << k)));
  static const uint8_t perm[16] = {15, 0, 3, 3, 7, 1, 14, 2, 9, 9, 8, 13, 4, 5, 6, 11};
  store_to_new(&t, "p16", nx_perm(t.p, nx_load(t.p, w, num(&t, 0), 16), perm, 16));
  store_to_new(&t, "p4", nx_perm(t.p, nx_load(t.p, w, num(&t, 0), 16), perm, 4));
  store_to_new(&t, "p1", nx_perm(t.p, nx_load(t.p, w, num(&t, 0), 16), perm, 1));
  store_to_new(&t, "up", nx_perm(t.p, nx_load(t.p, w, num(&t, 3), 1), (const uint8_t[8]){0}, 8));
  store_to_new(&t, "p8", nx_perm(t.p, nx_load(t.p, a, num(&t, 0), 16), perm, 8));
  static const uint8_t both[16] = {31, 0, 16, 3, 7, 17, 14, 2, 25, 9, 8, 30, 4, 5, 6, 11};
  store_to_new(&t, "two", nx_perm2(t.p, nx_load(t.p, a, num(&t, 0), 16), nx_load(t.p, b, num(&t, 0), 16), both, 16));
  store_to_new(&t, "two1", nx_perm2(t.p, nx_load(t.p, a, num(&t, 0), 16), nx_load(t.p, b, num(&t, 0), 16), both, 1));
  store_to_new(&t, "wider", nx_relane(t.p, nx_load(t.p, a, num(&t, 0), 64), UINTK(64)));
  store_to_new(&t, "word", nx_relane(t.p, nx_load(t.p, a, num(&t, 1), 8), UINTK(64)));
  store_to_new(&t, "narrower", nx_relane(t.p, nx_load(t.p, w, num(&t, 0), 16), INTK(16)));
  Expr *v = nx_load(t.p, a, num(&t, 0), 64);
  store_to_new(&t, "mask64", nx_mask(t.p, nx2(t.p, S_LT, v, nx_load(t.p, b, num(&t, 0), 64))));
  store_to_new(&t, "mask8", nx_mask(t.p, nx2(t.p, S_LT, nx_load(t.p, w, num(&t, 0), 8), nx_load(t.p, w, num(&t, 8), 8))));
  store_to_new(&t, "splat", nx_splat(t.p, nx_load(t.p, w, num(&t, 5), 1), 16));
  store_to_new(&t, "splatc", nx_splat(t.p, nx_const_i(t.p, nt(U8), 200), 64));
  store_to_new(&t, "hred32", nx_hred(t.p, nx_load(t.p, w, num(&t, 0), 16)));
  store_to_new(&t, "hred8", nx_hred(t.p, nx_load(t.p, a, num(&t, 0), 64)));
  check(&t, 2);
  end(&t);
}
END_TEST

/* Every row of intrin.def on random arguments. */
START_TEST(intrin_rows) {
  T t = begin();
  static char names[MAX_PORTS][24];
  unsigned char *data[MAX_PORTS];
  int n_data = 0;
  ck_assert_int_gt(n_intrins, 0);
  for (int row = 0; row < n_intrins && n_data < MAX_PORTS - 3; row++) {
    const Intrin *r = &intrins[row];
    Expr *args[3];
    for (int i = 0; i < r->n; i++) {
      size_t bytes = (size_t)r->arg[i].lanes * store_size(elem_store(r->arg[i].e));
      data[n_data] = malloc(bytes);
      random_bytes(data[n_data], bytes, (uint64_t)n_data + 31);
      snprintf(names[n_data], sizeof names[0], "x%d", n_data);
      args[i] = nx_load(t.p, input(&t, names[n_data], r->arg[i].e, r->arg[i].lanes, data[n_data]), num(&t, 0), r->arg[i].lanes);
      n_data++;
    }
    store_to_new(&t, r->name, nx_intrin(t.p, row, r->n, args));
  }
  check(&t, 2);
  for (int i = 0; i < n_data; i++)
    free(data[i]);
  end(&t);
}
END_TEST

/* Statements, spaces and steps */

START_TEST(loops) {
  T t = begin();
  if (_i)
    t.p->index = I64;
  NType ix = nt(t.p->index);
  int32_t bounds[6] = {3, 17, 5, 5, 9, 2}; /* pairs lo, hi: some loops run never */
  int in = input(&t, "bounds", t.p->index, 6, NULL), y = output(&t, "y", I32, 64);
  int64_t wide[6];
  for (int k = 0; k < 6; k++)
    wide[k] = bounds[k];
  t.in[0] = _i ? (void *)wide : (void *)bounds;
  Nest *n = program_nest(t.p, "loops", NULL, NULL);
  int i = nest_var(t.p, n, "i", ix, true), j = nest_var(t.p, n, "j", ix, true), k = nest_var(t.p, n, "k", ix, true);
  int sum = nest_var(t.p, n, "sum", nt(I32), false), twice = nest_var(t.p, n, "twice", nt(I32), false);
  Stmt *clear = ns_for(t.p, &n->body, k, num(&t, 0), num(&t, 64), 1, -1);
  clear->mark = MARK_VECTOR;
  ns_store(t.p, &clear->body, y, nx_var(t.p, n, k), nx_const_i(t.p, nt(I32), -1));
  ns_vardef(t.p, &n->body, sum, nx_const_i(t.p, nt(I32), 100));
  Stmt *outer = ns_for(t.p, &n->body, i, num(&t, 0), num(&t, 3), 1, -1);
  outer->mark = MARK_UNROLL;
  Expr *twice_i = nx2(t.p, S_MUL, nx_var(t.p, n, i), num(&t, 2));
  Stmt *inner = ns_for(t.p, &outer->body, j, nx_load(t.p, in, twice_i, 1), nx_load(t.p, in, add(&t, twice_i, num(&t, 1)), 1), 3, 64);
  ns_let(t.p, &inner->body, twice, nx2(t.p, S_MUL, nx_cast(t.p, nx_var(t.p, n, j), I32), nx_const_i(t.p, nt(I32), 2)));
  Stmt *choice = ns_if(t.p, &inner->body, nx2(t.p, S_LT, nx_var(t.p, n, twice), nx_const_i(t.p, nt(I32), 20)));
  ns_set(t.p, &choice->body, sum, nx2(t.p, S_ADD, nx_var(t.p, n, sum), nx_var(t.p, n, twice)));
  ns_set(t.p, &choice->other, sum, nx2(t.p, S_MUL, nx_var(t.p, n, sum), nx_const_i(t.p, nt(I32), 7)));
  Stmt *only = ns_if(t.p, &inner->body, nx2(t.p, S_EQ, nx_var(t.p, n, j), num(&t, 6)));
  ns_set(t.p, &only->body, sum, nx1(t.p, S_NEG, nx_var(t.p, n, sum)));
  ns_store(t.p, &inner->body, y, add(&t, nx_var(t.p, n, j), nx2(t.p, S_MUL, nx_var(t.p, n, i), num(&t, 20))), nx_var(t.p, n, sum));
  check(&t, _i % 2 ? 0 : 3);
  end(&t);
}
END_TEST

/* y[o] = 5 + sum over k, r of x[..] * w[..] by loops that llvm_dotloop.c takes, and by some that it must leave. */
START_TEST(dot_loops) {
  static const struct { Elem x, w; } types[] = {{{EK_UINT, 8}, {EK_INT, 8}}, {{EK_INT, 8}, {EK_UINT, 8}}, {{EK_INT, 8}, {EK_INT, 8}},
                                                {{EK_UINT, 8}, {EK_UINT, 8}}, {{EK_INT, 16}, {EK_INT, 16}}, {{EK_UINT, 16}, {EK_INT, 16}}};
  static const int trips[] = {7, 16, 17, 64, 100, 151};
  T t = begin();
  uint8_t x[1024], w[1024];
  random_bytes(x, sizeof x, 40);
  random_bytes(w, sizeof w, 41);
  int32_t limit[1] = {2};
  int a = input(&t, "x", types[_i].x, 512, x), b = input(&t, "w", types[_i].w, 512, w), lim = input(&t, "limit", I32, 1, limit);
  NType ix = nt(t.p->index), i32 = nt(I32);
  for (int k = 0; k < 6; k++)
    for (int form = 0; form < 4; form++) {
      const char *name = arena_printf(t.p->arena, "y%d_%d", k, form);
      int y = output(&t, name, I32, 4);
      Nest *n = program_nest(t.p, arena_printf(t.p->arena, "n_%s", name), NULL, NULL);
      int o = nest_var(t.p, n, "o", ix, true), j = nest_var(t.p, n, "j", ix, true), r = nest_var(t.p, n, "r", ix, true);
      int acc = nest_var(t.p, n, "acc", i32, false);
      Stmt *fo = ns_for(t.p, &n->body, o, num(&t, 0), num(&t, 4), 1, -1);
      ns_vardef(t.p, &fo->body, acc, nx_const_i(t.p, i32, 5));
      Expr *most = form & 1 ? nx_load(t.p, lim, num(&t, 0), 1) : num(&t, 2);
      Stmt *fj = ns_for(t.p, &fo->body, j, num(&t, 0), most, 1, 2);
      Stmt *fr = ns_for(t.p, &fj->body, r, num(&t, 3), num(&t, 3 + trips[k]), 1, -1);
      Expr *at = add(&t, nx2(t.p, S_SUB, nx_var(t.p, n, r), num(&t, 3)), nx2(t.p, S_MUL, nx_var(t.p, n, j), num(&t, 155)));
      Expr *xw[2] = {nx_cast(t.p, nx_load(t.p, a, at, 1), I32),
                     nx_cast(t.p, nx_load(t.p, b, form & 2 ? nx2(t.p, S_SUB, num(&t, 511), at) /* backwards */
                                                           : add(&t, at, nx2(t.p, S_MUL, nx_var(t.p, n, o), num(&t, 11))), 1), I32)};
      Expr *product = nx2(t.p, S_MUL, xw[k & 1], xw[~k & 1]);
      ns_set(t.p, &fr->body, acc, k & 1 ? nx2(t.p, S_ADD, product, nx_var(t.p, n, acc)) : nx2(t.p, S_ADD, nx_var(t.p, n, acc), product));
      ns_store(t.p, &fo->body, y, nx_var(t.p, n, o), nx_var(t.p, n, acc));
    }
  check(&t, 2);
  if (_i == 0) { /* the instruction is there */
    LlvmOptions o = {"x86_64-linux-gnu", "cascadelake", NULL, 2};
    Str s = {.ctx = t.ctx};
    ck_assert(llvm_emit(t.ctx, t.p, &o, LLVM_ASM, &s));
    ck_assert_ptr_nonnull(strstr(s.p, "vpdpbusd"));
    str_free(&s);
  }
  end(&t);
}
END_TEST

/* x -> arena a -> arena b (through REG and ROM, the edge by COND) -> y; the first nest runs twice. */
START_TEST(spaces) {
  enum { N = 50 };
  T t = begin();
  static const int16_t table[5] = {-300, 20, 1, -7, 9};
  int16_t x[N];
  random_bytes(x, sizeof x, 5);
  int in = input(&t, "x", INTK(16), N, x), y = output(&t, "y", INTK(16), N);
  int rom = program_buf(t.p, "w", INTK(16), SP_ROM, 5, table), reg = program_buf(t.p, "r", INTK(16), SP_REG, 5, NULL);
  int a = program_buf(t.p, "t1", INTK(16), SP_ARENA, N, NULL), b = program_buf(t.p, "t2", BOOL, SP_ARENA, N, NULL);
  t.p->bufs[a].off = 64;
  t.p->bufs[b].off = 192;
  t.p->arena_bytes = 256;
  NType ix = nt(t.p->index), h = nt(INTK(16));
  Nest *copy = program_nest(t.p, "copy", NULL, NULL);
  int i = nest_var(t.p, copy, "i", ix, true);
  Stmt *f = ns_for(t.p, &copy->body, i, num(&t, 0), num(&t, N), 1, -1);
  ns_store(t.p, &f->body, a, nx_var(t.p, copy, i), nx_load(t.p, in, nx_var(t.p, copy, i), 1));
  ns_store(t.p, &f->body, b, nx_var(t.p, copy, i), nx2(t.p, S_LT, nx_load(t.p, in, nx_var(t.p, copy, i), 1), nx_const_i(t.p, h, 0)));
  Nest *n = program_nest(t.p, "window", NULL, NULL);
  int o = nest_var(t.p, n, "o", ix, true), k = nest_var(t.p, n, "k", ix, true), acc = nest_var(t.p, n, "acc", h, false);
  Stmt *fill = ns_for(t.p, &n->body, k, num(&t, 0), num(&t, 5), 1, -1);
  ns_store(t.p, &fill->body, reg, nx_var(t.p, n, k), nx1(t.p, S_NEG, nx_load(t.p, rom, nx_var(t.p, n, k), 1)));
  Stmt *fo = ns_for(t.p, &n->body, o, num(&t, 0), num(&t, N), 1, -1);
  ns_vardef(t.p, &fo->body, acc, nx_const_i(t.p, h, 0));
  int k2 = nest_var(t.p, n, "k", ix, true);
  Stmt *fk = ns_for(t.p, &fo->body, k2, num(&t, 0), num(&t, 5), 1, -1);
  Expr *at = add(&t, add(&t, nx_var(t.p, n, o), nx_var(t.p, n, k2)), num(&t, -2));
  Expr *inside = nx2(t.p, S_AND, nx2(t.p, S_LE, num(&t, 0), at), nx2(t.p, S_LT, at, num(&t, N)));
  Expr *other = nx_cond(t.p, nx_cond(t.p, inside, nx_load(t.p, b, at, 1), nx_const_i(t.p, nt(BOOL), 0)), nx_const_i(t.p, h, 11),
                        nx_const_i(t.p, h, 5));
  Expr *v = nx2(t.p, S_ADD, nx_cond(t.p, inside, nx_load(t.p, a, at, 1), nx_const_i(t.p, h, 3)), other);
  ns_set(t.p, &fk->body, acc, nx2(t.p, S_ADD, nx_var(t.p, n, acc), nx2(t.p, S_MUL, v, nx_load(t.p, reg, nx_var(t.p, n, k2), 1))));
  ns_store(t.p, &fo->body, y, nx_var(t.p, n, o), nx_var(t.p, n, acc));
  int steps[3] = {0, 0, 1};
  t.p->steps = steps;
  t.p->n_steps = 3;
  check(&t, _i);
  end(&t);
}
END_TEST

/* Expressions that share operands: 3^9 nodes as a tree. */
START_TEST(shared) {
  T t = begin();
  uint32_t x[1] = {12345};
  Expr *v = nx_load(t.p, input(&t, "x", UINTK(32), 1, x), num(&t, 0), 1);
  for (int i = 0; i < 9; i++)
    v = nx2(t.p, S_XOR, nx2(t.p, S_MUL, v, v), nx2(t.p, S_ADD, v, nx_const_i(t.p, nt(UINTK(32)), i)));
  store_to_new(&t, "y", v);
  check(&t, 2);
  end(&t);
}
END_TEST

/* Files */

/* y = x . W (u8 x i8), a float output, and a vector sum: enough to need tables, calls and wide registers. */
static T example(void) {
  static int8_t w[8 * 32];
  random_bytes(w, sizeof w, 77);
  T t = begin();
  int x = input(&t, "x", U8, 32, NULL), y = output(&t, "y", I32, 8), z = output(&t, "z", F32, 8);
  int rom = program_buf(t.p, "w", I8, SP_ROM, 8 * 32, w);
  Nest *n = program_nest(t.p, "fc", NULL, NULL);
  int o = nest_var(t.p, n, "o", nt(t.p->index), true), acc = nest_var(t.p, n, "acc", nt(I32), false);
  Stmt *f = ns_for(t.p, &n->body, o, num(&t, 0), num(&t, 8), 1, -1);
  Expr *dot = nx_dot(t.p, nx_const_i(t.p, ntv(I32, 8), 0), nx_load(t.p, x, num(&t, 0), 32),
                     nx_load(t.p, rom, nx2(t.p, S_MUL, nx_var(t.p, n, o), num(&t, 32)), 32));
  ns_let(t.p, &f->body, acc, nx_hred(t.p, dot));
  ns_store(t.p, &f->body, y, nx_var(t.p, n, o), nx_var(t.p, n, acc));
  Expr *real = nx2(t.p, S_MUL, nx_cast(t.p, nx_var(t.p, n, acc), F32), nx_const_f(t.p, nt(F32), 0.001));
  ns_store(t.p, &f->body, z, nx_var(t.p, n, o), nx1(t.p, S_FLOOR, real));
  ck_assert(program_verify(t.ctx, t.p));
  return t;
}

static Str emit(T *t, const LlvmOptions *o, LlvmKind kind) {
  Str s = {.ctx = t->ctx};
  ck_assert_msg(llvm_emit(t->ctx, t->p, o, kind, &s), "%s: %s", o->triple ? o->triple : "host", t->ctx->diags ? t->ctx->diags->text : "");
  ck_assert_uint_gt(s.n, 100);
  return s;
}

static const LlvmOptions machines[] = {
  {"x86_64-linux-gnu", NULL, NULL, 2}, {"x86_64-linux-gnu", "sapphirerapids", NULL, 3}, {"aarch64-linux-gnu", NULL, NULL, 2},
  {"aarch64-linux-gnu", "cortex-a76", NULL, 2}, {"aarch64-linux-gnu", "generic", "+dotprod,+i8mm", 2},
  {"riscv64-linux-gnu", NULL, NULL, 2}, {"riscv32-unknown-elf", NULL, NULL, 2}, {"thumbv7em-none-eabihf", "cortex-m4", NULL, 2},
  {"thumbv6m-none-eabi", NULL, NULL, 1}, {"i686-linux-gnu", NULL, NULL, 2}, {"s390x-linux-gnu", NULL, NULL, 2},
  {"powerpc64le-linux-gnu", NULL, NULL, 2}, {"wasm32", NULL, NULL, 2}, {"armv7-linux-gnueabihf", NULL, NULL, 0},
  {"arm64-apple-macos", NULL, NULL, 2}, {"x86_64-pc-windows-msvc", NULL, NULL, 2}, {"msp430", NULL, NULL, 2}
};
enum { N_MACHINES = sizeof machines / sizeof *machines };

START_TEST(objects) {
  const LlvmOptions *o = &machines[_i];
  T t = example(), u = example();
  for (int kind = LLVM_LL; kind <= LLVM_OBJ; kind++) {
    Str a = emit(&t, o, (LlvmKind)kind), b = emit(&u, o, (LlvmKind)kind);
    ck_assert_msg(a.n == b.n && !memcmp(a.p, b.p, a.n), "%s: two runs differ", o->triple);
    if (kind == LLVM_LL || kind == LLVM_ASM) {
      ck_assert_ptr_nonnull(strstr(a.p, "m_run"));
      ck_assert_ptr_nonnull(strstr(a.p, "m_init"));
    }
    if (kind == LLVM_OBJ && strstr(o->triple, "linux"))
      ck_assert_int_eq(memcmp(a.p, "\x7f" "ELF", 4), 0);
    if (kind == LLVM_ASM && o->features)
      ck_assert(!strstr(o->features, "dotprod") || strstr(a.p, "usdot"));
    if (kind == LLVM_ASM && o->cpu && !strcmp(o->cpu, "cortex-a76"))
      ck_assert_ptr_nonnull(strstr(a.p, "sdot"));
    if (kind == LLVM_ASM && o->cpu && !strcmp(o->cpu, "sapphirerapids"))
      ck_assert_ptr_nonnull(strstr(a.p, "vpdpbusd"));
    if (kind == LLVM_LL && !system("command -v opt-19 >/dev/null")) {
      char path[] = "/tmp/popshift_ll_XXXXXX", command[128];
      int fd = mkstemp(path);
      ck_assert_int_eq(write(fd, a.p, a.n), (ssize_t)a.n);
      close(fd);
      snprintf(command, sizeof command, "opt-19 -passes=verify -disable-output %s", path);
      ck_assert_int_eq(system(command), 0);
      unlink(path);
    }
    str_free(&a);
    str_free(&b);
  }
  end(&t);
  end(&u);
}
END_TEST

START_TEST(refusals) {
  static const struct { LlvmOptions o; const char *text; } rows[] = {
    {{"nonsense-unknown", NULL, NULL, 2}, "No available targets"}, {{"x86_64-linux-gnu", "cortex-a76", NULL, 2}, "not a recognized processor"},
    {{"x86_64-linux-gnu", NULL, "+warp9", 2}, "not a recognized feature"}, {{"aarch64-linux-gnu", "help", NULL, 2}, "not a CPU"},
    {{"nvptx64-nvidia-cuda", NULL, NULL, 2}, "does not run"}, {{"armv7-linux-gnueabihf", NULL, "+neon", 2}, "subnormal"}
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    T t = example();
    Str s = {.ctx = t.ctx};
    ck_assert(!llvm_emit(t.ctx, t.p, &rows[i].o, LLVM_OBJ, &s));
    ck_assert_int_eq(t.ctx->n_errors, 1);
    ck_assert_int_eq(t.ctx->diags->code, E0307);
    ck_assert_msg(strstr(t.ctx->diags->text, rows[i].text), "%s", t.ctx->diags->text);
    ck_assert_ptr_null(strchr(t.ctx->diags->text, '\n'));
    str_free(&s);
    program_free(t.p);
    ctx_free(t.ctx);
  }
  T t = example();
  LlvmOptions other = {"riscv64-linux-gnu", NULL, NULL, 2};
  ck_assert_ptr_null(llvm_jit_new(t.ctx, t.p, &other));
  ck_assert_msg(strstr(t.ctx->diags->text, "this machine is"), "%s", t.ctx->diags->text);
  program_free(t.p);
  ctx_free(t.ctx);
}
END_TEST

/* The object, linked by the system's compiler into a library: statuses and batches of the C interface. */
typedef struct { const void *x; } In;
typedef struct { int32_t *y; float *z; } Out;

START_TEST(interface) {
  T t = example();
  LlvmOptions o = {.opt = 2};
  Str obj = emit(&t, &o, LLVM_OBJ);
  char dir[] = "/tmp/popshift_so_XXXXXX", path[64], command[160];
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/m.o", dir);
  ck_assert(file_write(t.ctx, path, obj.p, obj.n));
  str_free(&obj);
  snprintf(command, sizeof command, "cc -shared -o %s/m.so %s -lm", dir, path);
  if (system("command -v cc >/dev/null") || system(command))
    ck_abort_msg("cc does not link the object");
  snprintf(path, sizeof path, "%s/m.so", dir);
  void *lib = dlopen(path, RTLD_NOW);
  ck_assert_msg(lib != NULL, "%s", dlerror());
  int (*init)(void *, size_t, const void *), (*run)(void *, const In *, const Out *, size_t);
  *(void **)&init = dlsym(lib, "m_init");
  *(void **)&run = dlsym(lib, "m_run");
  ck_assert(init && run);
  _Alignas(64) static char ws[128];
  uint8_t x[3 * 32];
  random_bytes(x, sizeof x, 8);
  int32_t y[3][8], want[8];
  float z[3][8], want_z[8];
  In in = {x};
  Out out = {y[0], z[0]};
  ck_assert_int_eq(init(ws, 64, NULL), POPSHIFT_OK);
  ck_assert_int_eq(init(NULL, 64, NULL), POPSHIFT_NULL);
  ck_assert_int_eq(init(ws + 8, 64, NULL), POPSHIFT_ALIGN);
  ck_assert_int_eq(run(NULL, &in, &out, 1), POPSHIFT_NULL);
  ck_assert_int_eq(run(ws, NULL, &out, 1), POPSHIFT_NULL);
  ck_assert_int_eq(run(ws, &in, NULL, 1), POPSHIFT_NULL);
  ck_assert_int_eq(run(ws + 4, &in, &out, 1), POPSHIFT_ALIGN);
  ck_assert_int_eq(run(ws, &(In){NULL}, &out, 1), POPSHIFT_NULL);
  ck_assert_int_eq(run(ws, &in, &(Out){y[0], NULL}, 1), POPSHIFT_NULL);
  ck_assert_int_eq(run(ws, &in, &out, SIZE_MAX / 16), POPSHIFT_COUNT);
  ck_assert_int_eq(run(ws, &in, &out, 3), POPSHIFT_OK);
  for (int s = 0; s < 3; s++) {
    ck_assert(program_run(t.ctx, t.p, (const void *[]){x + 32 * s}, (void *[]){want, want_z}));
    ck_assert_int_eq(memcmp(want, y[s], sizeof want), 0);
    ck_assert_int_eq(memcmp(want_z, z[s], sizeof want_z), 0);
  }
  dlclose(lib);
  snprintf(command, sizeof command, "rm -r %s", dir);
  ck_assert_int_eq(system(command), 0);
  end(&t);
}
END_TEST

int main(void) {
  Suite *s = suite_create("llvm");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, scalar_rows, 0, 2 * N_ELEMS);
  tcase_add_loop_test(t, dots, 0, 4);
  tcase_add_loop_test(t, lut3s, 0, 7);
  tcase_add_test(t, shuffles);
  tcase_add_test(t, intrin_rows);
  tcase_add_loop_test(t, loops, 0, 4);
  tcase_add_loop_test(t, dot_loops, 0, 6);
  tcase_add_loop_test(t, spaces, 0, 4);
  tcase_add_test(t, shared);
  tcase_add_loop_test(t, objects, 0, N_MACHINES);
  tcase_add_test(t, refusals);
  tcase_add_test(t, interface);
  suite_add_tcase(s, t);
  return suite_run(s);
}
