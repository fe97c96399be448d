/* Several variants in one source: constants that are equal stand once, each variant's functions stand between pragmas that let the
 * compiler use its processor's instructions, and a few lines ask the processor. A variant that a compiler or machine cannot build is
 * left out by the preprocessor; the last one is plain. */
#include "backends/c/c_unit.h"

#include <inttypes.h>
#include <string.h>

static bool asks(const RtMachine *m) { return !strcmp(m->arch, "x86_64") || !strcmp(m->arch, "aarch64"); }

/* Constants */

typedef struct Shared { int unit, buf; const char *name; uint64_t users; } Shared; /* users: bit by variant */
typedef VEC(Shared) Constants;

static bool same_data(const Buf *a, const Buf *b) {
  return elem_eq(a->e, b->e) && a->n == b->n && (a->n == 0 || !memcmp(a->rom, b->rom, (size_t)c_buf_bytes(a)));
}

/* Names for every constant, before functions are printed: equal ones get one. which: by variant and buffer, into Constants. */
static void constants_name(Unit *u, int n, Constants *all, int **which) {
  Arena *a = u[0].pr.arena;
  for (int v = 0; v < n; v++) {
    const Program *p = u[v].p;
    const char **names = NEWN(a, const char *, p->n_bufs + 1);
    which[v] = NEWN(a, int, p->n_bufs + 1);
    for (int i = 0; i < p->n_bufs; i++) {
      if (p->bufs[i].sp != SP_ROM) continue;
      int k = 0;
      while (k < all->n && !same_data(&u[all->p[k].unit].p->bufs[all->p[k].buf], &p->bufs[i])) k++;
      if (k == all->n) vec_push(a, all, ((Shared){v, i, arena_printf(a, "%s_d%d_%s", u->pr.name, k, p->bufs[i].name), 0}));
      which[v][i] = k;
      names[i] = all->p[k].name;
    }
    u[v].pr.rom_name = names;
  }
}

/* #if, where not every build has one of the variants. */
static void condition_open(Unit *u, Str *s, uint64_t users, int n) {
  const char *between = "#if ";
  for (int v = 0; v < n && !(users >> (n - 1) & 1); v++) {
    if (!(users >> v & 1)) continue;
    str_printf(s, "%s%s_V%d", between, u->pr.upper, v);
    between = " || ";
  }
  if (*between == ' ') str_put(s, "\n");
}

static int64_t constants_print(Unit *u, int n, Constants *all, int *const *which, Str *s) {
  int64_t bytes = 0;
  for (int v = 0; v < n; v++)
    for (int i = 0; i < u[v].p->n_bufs; i++) if (u[v].rom_used[i]) all->p[which[v][i]].users |= UINT64_C(1) << v;
  for (int k = 0; k < all->n; k++) {
    const Shared *c = &all->p[k];
    Unit *of = &u[c->unit];
    if (!c->users) continue;
    bytes += c_buf_bytes(&of->p->bufs[c->buf]);
    bool plain = c->users >> (n - 1) & 1;
    condition_open(u, s, c->users, n);
    of->pr.o = s;
    c_rom(&of->pr, c->buf);
    str_put(s, plain ? "\n" : "#endif\n\n");
  }
  return bytes;
}

/* Regions */

/* NAME_Vi is 1 where variant i can be built. GCC 11 and Clang 14 know every feature of runtime/cpu.def; on machines that cannot be asked
 * the compiler's flags decide. */
static void builds_print(Unit *u, int n, Str *s) {
  static const char known[] = "((defined(__clang__) && __clang_major__ >= 14) || (!defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 11))";
  for (int v = 0; v < n - 1; v++) {
    const RtMachine *m = &u->all->v[v].machine;
    str_printf(s, "#if %s", rt_arch_macro(m->arch));
    if (asks(m) && *m->features) str_printf(s, " && %s", known);
    else if (u[v].pr.needs & NEED_LANES) str_put(s, " && defined(__GNUC__)");
    for (const char *f = m->features; *f && !asks(m);) str_printf(s, " && defined(%s)", rt_feature_next(m->arch, &f)->macro);
    str_printf(s, "\n#define %s_V%d 1 /* %s */\n#else\n#define %s_V%d 0\n#endif\n", u->pr.upper, v, m->name, u->pr.upper, v);
  }
  str_put(s, "\n");
}

static void attributes_print(const RtMachine *m, Str *s) {
  const char *plus = strcmp(m->arch, "aarch64") ? "" : "+";
  for (const char *f = m->features; *f;) {
    size_t k = strcspn(f, ",");
    str_printf(s, "%s%s%.*s", f == m->features ? "" : *plus ? "" : ",", plus, (int)k, f);
    f += k + (f[k] == ',');
  }
}

static void region_open(Unit *u, int v, Str *s) {
  const RtMachine *m = &u->all->v[v].machine;
  str_printf(s, "/* For %s. */\n", m->name);
  if (v == u->all->n - 1) return;
  str_printf(s, "#if %s_V%d\n", u->pr.upper, v);
  if (!asks(m) || !*m->features) return;
  str_put(s, "#if defined(__clang__)\n#pragma clang attribute push(__attribute__((target(\"");
  attributes_print(m, s);
  str_put(s, "\"))), apply_to = function)\n#else\n#pragma GCC push_options\n#pragma GCC target(\"");
  attributes_print(m, s);
  if (strstr(m->features, "avx512f")) str_put(s, ",prefer-vector-width=512"); /* gcc's default is 256 */
  str_put(s, "\")\n#endif\n");
}

static void region_close(Unit *u, int v, Str *s) {
  const RtMachine *m = &u->all->v[v].machine;
  if (v == u->all->n - 1) return;
  if (asks(m) && *m->features) str_put(s, "#if defined(__clang__)\n#pragma clang attribute pop\n#else\n#pragma GCC pop_options\n#endif\n");
  str_put(s, "#endif\n\n");
}

/* The text with `defined(MACRO)` of the machine's features as 1: inside a region the compiler may use them, whether it says so or not. */
static void helpers_print(const RtMachine *m, const Str *helpers, Str *s) {
  const char *at = helpers->p;
  if (!helpers->n) return;
  for (const char *hit; asks(m) && (hit = strstr(at, "defined(")) != NULL;) {
    const char *name = hit + 8;
    size_t n = strcspn(name, ")");
    bool has = false;
    for (const char *f = m->features; *f && !has;) {
      const RtFeature *r = rt_feature_next(m->arch, &f);
      has = strlen(r->macro) == n && !strncmp(r->macro, name, n);
    }
    str_putn(s, at, (size_t)(has ? hit - at : name - at));
    if (has) str_put(s, "1");
    at = has ? name + n + 1 : name;
  }
  str_put(s, at);
}

/* Asking and choosing */

static void can_print(Unit *u, int n, Str *s) {
  const char *nm = u->pr.name;
  str_printf(s, "/* Whether this processor runs a variant. */\nstatic int %s_h_can(int v) {\n  switch (v) {\n", nm);
  for (int v = 0; v < n; v++) {
    const RtMachine *m = &u->all->v[v].machine;
    RtTest t[RT_TESTS];
    uint32_t saves;
    int k = rt_tests(m, t, &saves);
    if (v < n - 1) str_printf(s, "#if %s_V%d\n", u->pr.upper, v);
    str_printf(s, "    case %d: return ", v);
    for (int i = 0; i < k; i++) {
      if (*m->arch == 'x')
        str_printf(s, "(%s_h_cpuid(%du, %du, %d) & 0x%xu) == 0x%xu%s", nm, t[i].leaf, t[i].sub, t[i].reg - 'a', t[i].mask, t[i].mask, i < k - 1 ? " &&\n      " : "");
      else str_printf(s, "(%s_h_isar0() >> %d & 15u) != 0u%s", nm, t[i].bit, i < k - 1 ? " && " : "");
    }
    if (saves) str_printf(s, " &&\n      %s_h_saves(0x%xu)", nm, saves);
    str_put(s, k ? ";\n" : "1;\n");
    if (v < n - 1) str_put(s, "#endif\n");
  }
  str_put(s, "    default: return 0;\n  }\n}\n\n");
}

/* One function where a variant of this architecture asks, and the compiler builds it. text: @ is the prefix. */
static void question_print(Unit *u, int n, const char *arch, bool saves, const char *text, Str *s) {
  uint64_t users = 0;
  for (int v = 0; v < n - 1; v++) {
    RtTest t[RT_TESTS];
    uint32_t mask;
    if (!strcmp(u->all->v[v].machine.arch, arch) && rt_tests(&u->all->v[v].machine, t, &mask) && (mask || !saves)) users |= UINT64_C(1) << v;
  }
  if (!users) return;
  condition_open(u, s, users, n);
  for (const char *c = text; *c; c++)
    if (*c == '@') str_put(s, u->pr.name);
    else str_putn(s, c, 1);
  str_put(s, "#endif\n\n");
}

static void questions_print(Unit *u, int n, Str *s) {
  question_print(u, n, "x86_64", false,
    "/* A register of CPUID, a to d as 0 to 3; 0 where the processor has no such leaf. */\n"
    "static uint32_t @_h_cpuid(uint32_t leaf, uint32_t sub, int reg) {\n  uint32_t a = 0u, b, c = 0u, d;\n"
    "  __asm__ volatile(\"cpuid\" : \"+a\"(a), \"=b\"(b), \"+c\"(c), \"=d\"(d));\n  if (a < leaf) return 0u;\n  a = leaf;\n  c = sub;\n"
    "  __asm__ volatile(\"cpuid\" : \"+a\"(a), \"=b\"(b), \"+c\"(c), \"=d\"(d));\n"
    "  return reg == 0 ? a : reg == 1 ? b : reg == 2 ? c : d;\n}\n", s);
  question_print(u, n, "x86_64", true,
    "/* Whether the system saves these registers. */\nstatic int @_h_saves(uint32_t mask) {\n  uint32_t a, d;\n"
    "  if (!(@_h_cpuid(1u, 0u, 2) >> 27 & 1u)) return 0;\n"
    "  __asm__ volatile(\"xgetbv\" : \"=a\"(a), \"=d\"(d) : \"c\"(0));\n  (void)d;\n  return (a & mask) == mask;\n}\n", s);
  question_print(u, n, "aarch64", false,
    "/* What the processor says of itself. Linux answers from 4.11; systems that do not answer programs get the next variant. */\n"
    "static uint64_t @_h_isar0(void) {\n#if defined(__linux__) || !defined(__STDC_HOSTED__) || __STDC_HOSTED__ == 0\n  uint64_t r;\n"
    "  __asm__(\"mrs %0, ID_AA64ISAR0_EL1\" : \"=r\"(r));\n  return r;\n#else\n  return 0u;\n#endif\n}\n", s);
}

static void dispatch_print(Unit *u, int n, Str *s) {
  const char *nm = u->pr.name, *up = u->pr.upper;
  questions_print(u, n, s);
  can_print(u, n, s);
  str_printf(s, "%s_status %s_init(void *workspace, size_t bytes, const %s_env *env) {\n  static const char *const names[] = %s_VARIANTS;\n"
                "  const char *const asked = env ? env->variant : NULL;\n  int v = 0;\n", nm, nm, nm, up);
  str_printf(s, "  if (!workspace) return %s_NULL;\n  if ((uintptr_t)workspace %% 64u) return %s_ALIGN;\n", up, up);
  str_printf(s, "  if (bytes < %s_WORKSPACE_BYTES) return %s_SIZE;\n  for (; v < %d; v++) {\n    size_t k = 0;\n", up, up, n);
  str_put(s, "    while (asked && asked[k] && asked[k] == names[v][k]) k++;\n    if (asked && asked[k] != names[v][k]) continue;\n");
  str_printf(s, "    if (%s_h_can(v)) break;\n  }\n  *(int32_t *)workspace = v;\n  switch (v) {\n", nm);
  for (int v = 0; v < n; v++) {
    if (v < n - 1) str_printf(s, "#if %s_V%d\n", up, v);
    str_printf(s, "    case %d: return %s_v%d_init((unsigned char *)workspace + 64, bytes - 64u, env);\n%s", v, nm, v, v < n - 1 ? "#endif\n" : "");
  }
  str_printf(s, "    default: return %s_VARIANT;\n  }\n}\n\n", up);
  str_printf(s, "%s_status %s_run(void *workspace, const %s_in *in, const %s_out *out, size_t batch) {\n", nm, nm, nm, nm);
  str_printf(s, "  if (!workspace) return %s_NULL;\n  if ((uintptr_t)workspace %% 64u) return %s_ALIGN;\n  switch (*(const int32_t *)workspace) {\n", up, up);
  for (int v = 0; v < n; v++) {
    if (v < n - 1) str_printf(s, "#if %s_V%d\n", up, v);
    str_printf(s, "    case %d: return %s_v%d_run((unsigned char *)workspace + 64, in, out, batch);\n%s", v, nm, v, v < n - 1 ? "#endif\n" : "");
  }
  str_printf(s, "    default: return %s_VARIANT;\n  }\n}\n", up);
}

static void source_print(Unit *u, Variants *all, Constants *constants, int *const *which, Str *s) {
  int n = all->n;
  Str data = {.ctx = u->pr.ctx};
  all->flash = constants_print(u, n, constants, which, &data);
  unsigned needs = 0;
  bool floats = false;
  for (int v = 0; v < n; v++) {
    needs |= v < n - 1 ? u[v].pr.needs & ~(unsigned)NEED_LANES : u[v].pr.needs;
    floats = floats || c_unit_floats(&u[v]);
    int64_t stack = c_stack_bytes(u[v].p, u[v].opt && u[v].opt->word ? u[v].opt->word : 8);
    all->stack = all->stack > stack ? all->stack : stack;
    all->workspace = all->workspace > c_workspace_bytes(&u[v]) + 64 ? all->workspace : c_workspace_bytes(&u[v]) + 64;
  }
  c_head(u, s, needs, floats);
  if (!(needs & NEED_LANES)) str_put(s, "#if defined(__GNUC__)\n#pragma GCC diagnostic ignored \"-Wpsabi\" /* functions over vectors are static and inline */\n#endif\n");
  builds_print(u, n, s);
  if (needs & NEED_WORDS) c_word_macros(s, true);
  if (data.n) str_putn(s, data.p, data.n);
  if (needs & NEED_WORDS) c_word_macros(s, false);
  for (int v = 0; v < n; v++) {
    region_open(u, v, s);
    helpers_print(&all->v[v].machine, &u[v].pr.helpers, s);
    if (u[v].functions.n) str_putn(s, u[v].functions.p, u[v].functions.n);
    c_entries(&u[v], s);
    str_put(s, "\n");
    region_close(u, v, s);
  }
  dispatch_print(u, n, s);
  str_free(&data);
}

bool c_emit_variants(Ctx *ctx, const CVariant *v, int n, const COptions *opt, OutFiles *files) {
  if (n > 64) return diag(ctx, E0701, NULL, "more than 64 variants");
  Arena *a = arena_new(ctx);
  Variants all = {.v = v, .n = n};
  Unit *u = NEWN(a, Unit, n);
  int **which = NEWN(a, int *, n), opened = 0;
  bool ok = true;
  for (; ok && opened < n; opened += ok) {
    ok = c_unit_open(&u[opened], ctx, v[opened].p, opt, arena_printf(a, "v%d_", opened));
    u[opened].all = &all;
  }
  if (ok) {
    Constants constants = {0};
    Str source = {.ctx = ctx};
    constants_name(u, n, &constants, which);
    for (int i = 0; i < n; i++) c_unit_functions(&u[i]);
    source_print(u, &all, &constants, which, &source);
    Arena *keep = files->arena ? files->arena : v->p->arena;
    c_header(u, out_file(files, keep, arena_printf(a, "%s.h", u->pr.name)));
    Str *c = out_file(files, keep, arena_printf(a, "%s.c", u->pr.name));
    str_putn(c, source.p, source.n);
    str_free(&source);
  }
  for (int i = 0; i < opened; i++) c_unit_close(&u[i]);
  arena_free(a);
  return ok;
}
