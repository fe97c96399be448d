/* Program -> NAME.h and NAME.c. */
#include "backends/c/c_unit.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Nests */

/* Sums of up to 8 neighbouring elements, which GCC 12 takes for vectors of 8 bytes: products of a depthwise convolution of 4 channels, inlined
 * into run, went into the wrong sums at -O3. Loops over more are vectorized right. */
static bool sums_few(const Printer *pr, const Program *p) {
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (b->sp == SP_REG && pr->writes[i] && b->n > 1 && b->n <= 8 && elem_is_code(b->e)) return true;
  }
  return false;
}

static void nest_function(Unit *u, const Nest *n, const Str *body) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  bool any = u->tasks.n > 0;
  c_loc_comment(pr->o, n);
  if (sums_few(pr, p)) {
    pr->needs |= NEED_SCALAR;
    str_printf(pr->o, "%s_SCALAR\n", pr->upper);
  }
  str_printf(pr->o, "static void %s(", c_global(pr, n->name));
  if (any) str_printf(pr->o, "const %s_env *env", pr->name);
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (b->sp == SP_ROM || b->sp == SP_REG || (!pr->reads[i] && !pr->writes[i])) continue;
    str_printf(pr->o, "%s%s%s *restrict %s", any ? ", " : "", pr->writes[i] ? "" : "const ", c_mem_type(pr, b->e), c_local(pr, b->name));
    any = true;
  }
  str_put(pr->o, any ? ") {\n" : "void) {\n");
  for (int i = 0; i < p->n_bufs; i++) {
    if (p->bufs[i].sp != SP_REG || (!pr->reads[i] && !pr->writes[i])) continue;
    bool private = false;
    for (int k = 0; k < u->tasks.n; k++) private = private || c_task_private(&u->tasks.p[k], &p->bufs[i], i);
    if (!private) c_reg(pr, i);
  }
  str_put(pr->o, body->p ? body->p : "");
  str_put(pr->o, "}\n\n");
}

static void nest_emit(Unit *u, const Nest *n) {
  Printer *pr = &u->pr;
  c_nest_open(pr, n);
  u->tasks.n = 0;
  c_tasks_find(u, &n->body);
  if (u->tasks.n) u->parallel = true;
  const Stmt **loops = NEWN(pr->arena, const Stmt *, u->tasks.n + 1);
  for (int i = 0; i < u->tasks.n; i++) loops[i] = u->tasks.p[i].loop;
  Str body = {.ctx = pr->ctx};
  pr->tasks = loops;
  pr->n_tasks = u->tasks.n;
  pr->task_call = c_task_call;
  pr->o = &body;
  c_block(pr, &n->body, 2);
  pr->o = &u->functions;
  nest_function(u, n, &body);
  str_free(&body);
  for (int i = 0; i < u->p->n_bufs; i++) if (u->p->bufs[i].sp == SP_ROM && pr->reads[i]) u->rom_used[i] = true;
}

/* Entry points */

static void checks_print(Unit *u, Str *s) {
  const Program *p = u->p;
  const char *up = u->pr.upper;
  str_printf(s, "  if (!workspace || !in || !out) return %s_NULL;\n  if ((uintptr_t)workspace %% 64u) return %s_ALIGN;\n", up, up);
  for (int k = 0; k < p->n_ins + p->n_outs; k++) {
    bool is_in = k < p->n_ins;
    const char *dir = is_in ? "in" : "out", *name = is_in ? u->in[k] : u->out[k - p->n_ins];
    const Buf *b = &p->bufs[(is_in ? p->ins[k] : p->outs[k - p->n_ins]).buf];
    size_t size = store_size(elem_store(b->e));
    str_printf(s, "  if (!%s->%s) return %s_NULL;\n", dir, name, up);
    if (size > 1) str_printf(s, "  if ((uintptr_t)%s->%s %% %zuu) return %s_ALIGN;\n", dir, name, size, up);
    if (b->n) str_printf(s, "  if (batch > SIZE_MAX / 2u / %s) return %s_COUNT;\n", c_size(u, c_buf_bytes(b)), up);
  }
}

/* Those to a sample's elements move on from sample to sample: a product of its number would be a multiplication. */
enum Pointers { WORKSPACE, SAMPLE, ADVANCE };

static void pointers_print(Unit *u, Str *s, const uint8_t *reads, const uint8_t *writes, enum Pointers what) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (!reads[i] && !writes[i]) continue;
    const char *t = c_mem_type(pr, b->e), *name = c_local(pr, b->name);
    if (b->sp == SP_ARENA && what == WORKSPACE) {
      str_printf(s, "  %s%s *const %s = (%s%s *)(void *)(base + %s);\n", writes[i] ? "" : "const ", t, name,
                 writes[i] ? "" : "const ", t, c_size(u, b->off));
    }
    bool is_in = b->sp == SP_IN, is_out = b->sp == SP_OUT;
    if ((is_in || is_out) && what == ADVANCE) str_printf(s, "    %s += %s;\n", name, c_size(u, b->n));
    if ((is_in || is_out) && what == ADVANCE && p->no_multiply) str_printf(s, "    %s_KEEP(%s);\n", u->pr.upper, name);
    for (int k = 0; what == SAMPLE && is_in && k < p->n_ins; k++)
      if (p->ins[k].buf == i) str_printf(s, "  const %s *%s = in->%s;\n", t, name, u->in[k]);
    for (int k = 0; what == SAMPLE && is_out && k < p->n_outs; k++)
      if (p->outs[k].buf == i) str_printf(s, "  %s *%s = out->%s;\n", t, name, u->out[k]);
  }
}

/* One call per step; what each nest touches is found again. */
static void calls_print(Unit *u, Str *s, const int *steps, int n_steps, uint8_t *reads, uint8_t *writes) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  for (int k = 0; k < n_steps; k++) {
    const Nest *n = p->nests[steps[k]];
    c_nest_open(pr, n);
    u->tasks.n = 0;
    c_tasks_find(u, &n->body);
    bool any = u->tasks.n > 0;
    str_printf(s, "    %s(%s", c_global(pr, n->name), any ? "env" : "");
    for (int i = 0; i < p->n_bufs; i++) {
      const Buf *b = &p->bufs[i];
      if (b->sp == SP_ROM || b->sp == SP_REG || (!pr->reads[i] && !pr->writes[i])) continue;
      str_printf(s, "%s%s", any ? ", " : "", c_local(pr, b->name));
      any = true;
      reads[i] |= pr->reads[i];
      writes[i] |= pr->writes[i];
    }
    str_put(s, ");\n");
  }
}

static void init_print(Unit *u, Str *s) {
  const char *nm = u->pr.name, *up = u->pr.upper;
  str_printf(s, "%s%s_status %s_%sinit(void *workspace, size_t bytes, const %s_env *env) {\n", u->all ? "static " : "", nm, nm, u->pr.variant, nm);
  str_printf(s, "  if (!workspace) return %s_NULL;\n  if ((uintptr_t)workspace %% 64u) return %s_ALIGN;\n", up, up);
  if (u->all) str_printf(s, "  if (bytes < %s) return %s_SIZE;\n", c_size(u, c_workspace_bytes(u)), up);
  else str_printf(s, "  if (bytes < %s_WORKSPACE_BYTES) return %s_SIZE;\n", up, up);
  if (u->parallel) {
    str_printf(s, "  %s_env *const kept = (%s_env *)workspace;\n  kept->weights = NULL;\n  kept->size = 0u;\n", nm, nm);
    str_put(s, "  kept->parallel_for = NULL;\n  kept->user = NULL;\n  kept->variant = NULL;\n  if (env) *kept = *env;\n");
  } else {
    str_put(s, "  (void)env;\n");
  }
  if (u->p->n_inits) {
    uint8_t *reads = NEWN(u->pr.arena, uint8_t, u->p->n_bufs + 1), *writes = NEWN(u->pr.arena, uint8_t, u->p->n_bufs + 1);
    Str calls = {.ctx = u->pr.ctx};
    calls_print(u, &calls, u->p->inits, u->p->n_inits, reads, writes);
    str_printf(s, "  unsigned char *const base = (unsigned char *)workspace%s;\n", u->parallel ? " + 64" : "");
    pointers_print(u, s, reads, writes, false);
    if (u->parallel) str_put(s, "  env = kept;\n");
    str_put(s, calls.p ? calls.p : "");
    str_free(&calls);
  }
  str_printf(s, "  return %s_OK;\n}\n\n", up);
}

static void run_print(Unit *u, Str *s) {
  const char *nm = u->pr.name;
  const Program *p = u->p;
  uint8_t *reads = NEWN(u->pr.arena, uint8_t, p->n_bufs + 1), *writes = NEWN(u->pr.arena, uint8_t, p->n_bufs + 1);
  Str calls = {.ctx = u->pr.ctx};
  calls_print(u, &calls, p->steps, p->n_steps, reads, writes);
  bool arena = false;
  for (int i = 0; i < p->n_bufs; i++) arena = arena || (p->bufs[i].sp == SP_ARENA && (reads[i] || writes[i]));
  str_printf(s, "%s%s_status %s_%srun(void *workspace, const %s_in *in, const %s_out *out, size_t batch) {\n", u->all ? "static " : "", nm, nm,
             u->pr.variant, nm, nm);
  checks_print(u, s);
  if (u->parallel) str_printf(s, "  const %s_env *const env = (const %s_env *)workspace;\n", nm, nm);
  if (arena) str_printf(s, "  unsigned char *const base = (unsigned char *)workspace%s;\n", u->parallel ? " + 64" : "");
  pointers_print(u, s, reads, writes, WORKSPACE);
  pointers_print(u, s, reads, writes, SAMPLE);
  str_put(s, "  for (; batch > 0u; batch--) {\n");
  str_put(s, calls.p ? calls.p : "");
  pointers_print(u, s, reads, writes, ADVANCE);
  str_printf(s, "  }\n  return %s_OK;\n}\n", u->pr.upper);
  str_free(&calls);
}

/* The file */

static void float_rules(Str *s) {
  str_put(s, "#include <float.h>\n\n/* Every operation is one IEEE 754 rounding in its own type: no contraction, no wider registers. */\n"
             "#if defined(__FAST_MATH__)\n#error \"this code needs IEEE arithmetic: compile it without -ffast-math\"\n#endif\n"
             "#if !defined(FLT_EVAL_METHOD) || (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16)\n"
             "#error \"float expressions have excess precision: on x86-32 use -msse2 -mfpmath=sse\"\n#endif\n"
             "#if defined(__clang__)\n#pragma STDC FP_CONTRACT OFF\n#elif defined(__GNUC__) /* GCC 12 interchanges the loops of float sums, which changes their order */\n"
             "#pragma GCC optimize(\"fp-contract=off\", \"no-math-errno\", \"no-trapping-math\", \"no-loop-interchange\")\n"
             "#elif defined(__STDC_VERSION__)\n#pragma STDC FP_CONTRACT OFF\n#endif\n");
}

/* GCC 12's vectorizer of straight-line code adds comparisons of k-bit integers into a k-bit sum as the masks they are, -1 for each
 * true one: 3 of 8 levels of an i8 become 253. From -O2 on; loops are vectorized right. */
static void compiler_rules(Str *s) {
  str_put(s, "#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 /* sums of comparisons came out negative */\n"
             "#pragma GCC optimize(\"no-tree-slp-vectorize\")\n#endif\n");
}

/* Short names, since large models have millions of them; undefined behind the data. Nothing of the program is called, so none of
 * its names can be taken for these. */
void c_word_macros(Str *s, bool begin) {
  if (!begin) { str_put(s, "#undef W8\n#undef W16\n#undef W32\n\n"); return; }
  str_put(s, "\n/* Words of constant data hold their first element in the lowest bits. */\n"
             "#if !defined(__BYTE_ORDER__) && !defined(_WIN32)\n"
             "#error \"byte order unknown: define __BYTE_ORDER__, __ORDER_BIG_ENDIAN__ and __ORDER_LITTLE_ENDIAN__\"\n#endif\n"
             "#if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__\n"
             "#define W32(x) (((uint64_t)(x) << 32) | ((uint64_t)(x) >> 32))\n"
             "#define W16(x) (((W32(x) & UINT64_C(0xffff0000ffff0000)) >> 16) | ((W32(x) & UINT64_C(0x0000ffff0000ffff)) << 16))\n"
             "#define W8(x) (((W16(x) & UINT64_C(0xff00ff00ff00ff00)) >> 8) | ((W16(x) & UINT64_C(0x00ff00ff00ff00ff)) << 8))\n"
             "#else\n#define W32(x) x\n#define W16(x) x\n#define W8(x) x\n#endif\n\n");
}

bool c_unit_floats(const Unit *u) {
  if (u->pr.needs & NEED_MATH) return true;
  const Program *p = u->p;
  for (int i = 0; i < p->n_bufs; i++) if (elem_is_float(p->bufs[i].e)) return true;
  for (int i = 0; i < p->n_nests; i++)
    for (int k = 0; k < p->nests[i]->n_vars; k++) if (elem_is_float(p->nests[i]->vars[k].t.e)) return true;
  for (int i = 0; i < u->pr.used.n; i++)
    if (elem_is_float(u->pr.used.p[i].t.e) || elem_is_float(u->pr.used.p[i].from.e)) return true;
  return false;
}

void c_head(Unit *u, Str *s, unsigned needs, bool floats) {
  const char *up = u->pr.upper;
  c_banner(u, s);
  str_printf(s, "#include \"%s.h\"\n\n", u->pr.name);
  if (needs & NEED_LANES)
    str_put(s, "#if !defined(__GNUC__)\n#error \"this code needs the vector types of GCC or Clang\"\n#endif\n"
               "#pragma GCC diagnostic ignored \"-Wpsabi\" /* functions over vectors are static and inline */\n");
  compiler_rules(s);
  if (floats) float_rules(s);
  if (needs & NEED_MATH) str_put(s, "#include <math.h>\n");
  if (needs & NEED_STRING) str_put(s, "#include <string.h>\n");
  if (needs & NEED_MACHINE)
    str_put(s, "#if defined(__SSE2__)\n#include <immintrin.h>\n#elif defined(__ARM_NEON)\n#include <arm_neon.h>\n#endif\n");
  if (needs & NEED_UNROLL)
    str_printf(s, "\n#if defined(__clang__)\n#define %s_UNROLL _Pragma(\"clang loop unroll(full)\")\n#elif defined(__GNUC__) && __GNUC__ >= 8\n"
                  "#define %s_UNROLL _Pragma(\"GCC unroll 64\")\n#else\n#define %s_UNROLL\n#endif\n", up, up, up);
  if (needs & NEED_SCALAR)
    str_printf(s, "\n#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12 /* wrong in vectors of 8 bytes */\n"
                  "#define %s_SCALAR __attribute__((optimize(\"no-tree-loop-vectorize\")))\n#else\n#define %s_SCALAR\n#endif\n", up, up);
  if (u->p && u->p->no_multiply)
    str_printf(s, "\n#if defined(__GNUC__) /* no multiple of anything, for all that compilers know */\n#define %s_KEEP(p) __asm__(\"\" : \"+r\"(p))\n"
                  "#else\n#define %s_KEEP(p) ((void)0)\n#endif\n", up, up);
  str_put(s, "\n");
}

void c_entries(Unit *u, Str *s) {
  init_print(u, s);
  run_print(u, s);
}

static void source_print(Unit *u, Str *s) {
  Printer *pr = &u->pr;
  Str data = {.ctx = pr->ctx};
  pr->o = &data;
  for (int i = 0; i < u->p->n_bufs; i++) {
    if (!u->rom_used[i]) continue;
    c_rom(pr, i);
    str_put(&data, "\n");
  }
  c_head(u, s, pr->needs, c_unit_floats(u));
  if (pr->helpers.n) str_putn(s, pr->helpers.p, pr->helpers.n);
  if (pr->needs & NEED_WORDS) c_word_macros(s, true);
  if (data.n) str_putn(s, data.p, data.n);
  if (pr->needs & NEED_WORDS) c_word_macros(s, false);
  if (u->functions.n) str_putn(s, u->functions.p, u->functions.n);
  c_entries(u, s);
  str_free(&data);
}

bool c_unit_open(Unit *u, Ctx *ctx, const Program *p, const COptions *opt, const char *variant) {
  assert(!p->exact && p->arena_bytes >= 0);
  *u = (Unit){.p = p, .opt = opt};
  if (!c_printer_open(&u->pr, ctx, p, opt && opt->name ? opt->name : p->name, false)) return false;
  u->pr.variant = variant;
  u->functions.ctx = ctx;
  u->rom_used = NEWN(u->pr.arena, bool, p->n_bufs + 1);
  c_ports(u);
  return true;
}

void c_unit_close(Unit *u) {
  str_free(&u->functions);
  c_printer_close(&u->pr);
}

void c_unit_functions(Unit *u) {
  const Program *p = u->p;
  bool *done = NEWN(u->pr.arena, bool, p->n_nests + 1);
  for (int i = -p->n_inits; i < p->n_steps; i++) {
    int k = i < 0 ? p->inits[p->n_inits + i] : p->steps[i];
    if (done[k]) continue;
    done[k] = true;
    nest_emit(u, p->nests[k]);
  }
}

bool c_emit(Ctx *ctx, const Program *p, const COptions *opt, OutFiles *files) {
  Unit u;
  if (!c_unit_open(&u, ctx, p, opt, "")) return false;
  c_unit_functions(&u);
  Str source = {.ctx = ctx};
  source_print(&u, &source);
  Arena *keep = files->arena ? files->arena : p->arena;
  c_header(&u, out_file(files, keep, arena_printf(u.pr.arena, "%s.h", u.pr.name)));
  Str *c = out_file(files, keep, arena_printf(u.pr.arena, "%s.c", u.pr.name));
  str_putn(c, source.p, source.n);
  str_free(&source);
  c_unit_close(&u);
  return true;
}
