/* Helper functions over lanes: memory, sums, dot products, byte tables, permutations, intrinsics. Each has a plain body, and
 * an instruction where the compiler says that the machine has it. */
#include "backends/c/c_print.h"

#include <stdlib.h>
#include <string.h>

static void memory_print(Printer *pr, Str *s, const Used *h) {
  const char *t = c_type(pr, h->t), *e = c_mem_type(pr, h->t.e);
  bool mask = h->t.e.kind == EK_BOOL;
  const char *raw = mask ? c_type(pr, ntv(U8, h->t.lanes)) : t;
  if (h->help == HELP_LOAD) {
    str_printf(s, "static inline %s %s(const %s *p) {\n  %s r;\n  __builtin_memcpy(&r, p, sizeof r);\n", t, h->name, e, raw);
    str_printf(s, mask ? "  return (%s)(r != 0);\n}\n\n" : "  return r;\n}\n\n", t);
  } else {
    str_printf(s, "static inline void %s(%s *p, %s a) {\n", h->name, e, t);
    str_printf(s, mask ? "  const %s r = (%s)(a & 1);\n" : "  const %s r = a;\n", raw, raw);
    str_put(s, "  __builtin_memcpy(p, &r, sizeof r);\n}\n\n");
  }
}

static void splat_print(Printer *pr, Str *s, const Used *h) {
  const char *t = c_type(pr, h->t);
  str_printf(s, "static inline %s %s(%s a) {\n", t, h->name, c_type(pr, nt(h->t.e)));
  if (h->t.e.kind == EK_BOOL) str_put(s, "  const int8_t m = (int8_t)-a;\n");
  str_printf(s, "  const %s r = {", t);
  for (int i = 0; i < h->t.lanes; i++) str_put(s, h->t.e.kind == EK_BOOL ? (i ? ", m" : "m") : (i ? ", a" : "a"));
  str_put(s, "};\n  return r;\n}\n\n");
}

static void sum_print(Printer *pr, Str *s, const Used *h) {
  const char *u = c_unsigned(pr, nt(h->t.e)), *t = c_type(pr, h->t);
  str_printf(s, "static inline %s %s(%s a) {\n  %s r = 0;\n  for (int i = 0; i < %d; i++) {\n", t, h->name, c_type(pr, h->from), u,
             h->from.lanes);
  str_printf(s, "    const %s e = a[i];\n    r += (%s)(e + 0);\n  }\n  return (%s)r;\n}\n\n", t, u, t);
}

static void perm_print(Printer *pr, Str *s, const Used *h) {
  const char *t = c_type(pr, h->t);
  if (h->from.lanes == 1) {
    str_printf(s, "static inline %s %s(%s a) {\n  const %s r = {", t, h->name, c_type(pr, h->from), t);
    bool mask = h->t.e.kind == EK_BOOL;
    for (int i = 0; i < h->t.lanes; i++) str_printf(s, "%s%s", i ? ", " : "", mask ? "(int8_t)-a" : "a");
  } else if (h->t.lanes == 1) {
    str_printf(s, "static inline %s %s(%s a) {\n  return a[%d]%s;\n}\n\n", t, h->name, c_type(pr, h->from), h->perm[0],
               h->t.e.kind == EK_BOOL ? " != 0" : "");
    return;
  } else {
    str_printf(s, "static inline %s %s(%s a) {\n  const %s r = {", t, h->name, c_type(pr, h->from), t);
    for (int i = 0; i < h->t.lanes; i++) str_printf(s, "%sa[%d]", i ? ", " : "", h->perm[i]);
  }
  str_put(s, "};\n  return r;\n}\n\n");
}

static void shuf_print(Printer *pr, Str *s, const Used *h) {
  static const struct { int lanes; const char *macro, *bits, *fn; } fast[] = {
    {16, "__SSSE3__", "128", "_mm_shuffle_epi8"}, {32, "__AVX2__", "256", "_mm256_shuffle_epi8"},
    {64, "__AVX512BW__", "512", "_mm512_shuffle_epi8"}
  };
  const char *t = c_type(pr, h->t);
  int k = 0;
  while (fast[k].lanes != h->t.lanes) k++;
  pr->needs |= NEED_MACHINE;
  str_printf(s, "static inline %s %s(%s a, %s b) {\n#if defined(%s)\n", t, h->name, t, t, fast[k].macro);
  str_printf(s, "  return (%s)%s((__m%si)a, (__m%si)b);\n#else\n", t, fast[k].fn, fast[k].bits, fast[k].bits);
  str_printf(s, "  %s r = {0};\n  for (int i = 0; i < %d; i++) r[i] = b[i] < 128 ? a[(i & ~15) + (b[i] & 15)] : (uint8_t)0;\n"
             "  return r;\n#endif\n}\n\n", t, h->t.lanes);
}

/* Dot products that a machine has: a and b by sign, 8 or 16 bits, lanes of the sum; text over a, b, c cast to its vectors. */
typedef struct DotRow { int bits, lanes; bool a_signed, b_signed; const char *cond, *text; } DotRow;
static const DotRow dots[] = {
  /* gcc 12 copies the sums of _mm512_dpbusd_epi32 in loops; the instruction itself does not suffer from that */
  {8, 16, false, true, "defined(__AVX512VNNI__) && !defined(__clang__)",
   "  __asm__(\"vpdpbusd %2, %1, %0\" : \"+v\"(a) : \"v\"(b), \"v\"(c));\n  return a;\n"},
  {8, 16, false, true, "defined(__AVX512VNNI__)", "  return (%t)_mm512_dpbusd_epi32((__m512i)a, (__m512i)b, (__m512i)c);\n"},
  {8, 8, false, true, "defined(__AVX512VNNI__) && defined(__AVX512VL__)",
   "  return (%t)_mm256_dpbusd_epi32((__m256i)a, (__m256i)b, (__m256i)c);\n"},
  {8, 8, false, true, "defined(__AVXVNNI__)", "  return (%t)_mm256_dpbusd_avx_epi32((__m256i)a, (__m256i)b, (__m256i)c);\n"},
  /* x + 128 is unsigned; 128 times the sum of c is taken off again */
  {8, 16, true, true, "defined(__AVX512VNNI__)",
   "  const __m512i h = _mm512_set1_epi8(-128);\n"
   "  const __m512i d = _mm512_dpbusd_epi32((__m512i)a, _mm512_xor_si512((__m512i)b, h), (__m512i)c);\n"
   "  return (%t)_mm512_sub_epi32(d, _mm512_dpbusd_epi32(_mm512_setzero_si512(), h, (__m512i)c));\n"},
  {8, 4, true, true, "defined(__ARM_FEATURE_DOTPROD)", "  return (%t)vdotq_s32((int32x4_t)a, (int8x16_t)b, (int8x16_t)c);\n"},
  {8, 4, false, false, "defined(__ARM_FEATURE_DOTPROD)", "  return (%t)vdotq_u32((uint32x4_t)a, (uint8x16_t)b, (uint8x16_t)c);\n"},
  {16, 16, true, true, "defined(__AVX512VNNI__)", "  return (%t)_mm512_dpwssd_epi32((__m512i)a, (__m512i)b, (__m512i)c);\n"},
  {16, 8, true, true, "defined(__AVX2__)",
   "  return (%t)_mm256_add_epi32((__m256i)a, _mm256_madd_epi16((__m256i)b, (__m256i)c));\n"},
  {16, 4, true, true, "defined(__SSE2__)", "  return (%t)_mm_add_epi32((__m128i)a, _mm_madd_epi16((__m128i)b, (__m128i)c));\n"},
};

static void dot_print(Printer *pr, Str *s, const Used *h) {
  bool a_signed = h->from.e.kind == EK_INT, b_signed = h->imm == EK_INT;
  int bits = h->from.e.bits, q = bits == 8 ? 4 : 2, shown = 0;
  const char *t = c_type(pr, h->t), *v = c_type(pr, h->from);
  const char *w = c_type(pr, ntv(b_signed ? INTK(bits) : UINTK(bits), h->from.lanes));
  bool swap = a_signed && !b_signed; /* the unsigned operand comes first */
  str_printf(s, "static inline %s %s(%s a, %s %s, %s %s) {\n", t, h->name, t, v, swap ? "c" : "b", w, swap ? "b" : "c");
  if (swap) { a_signed = false; b_signed = true; }
  for (size_t i = 0; i < sizeof dots / sizeof *dots; i++) {
    const DotRow *d = &dots[i];
    if (d->bits != bits || d->lanes != h->t.lanes || d->a_signed != a_signed || d->b_signed != b_signed) continue;
    pr->needs |= NEED_MACHINE;
    str_printf(s, "#%sif %s\n", shown++ ? "el" : "", d->cond);
    for (const char *c = d->text; *c; c++) {
      if (c[0] == '%' && c[1] == 't') { str_put(s, t); c++; }
      else str_putn(s, c, 1);
    }
  }
  if (shown) str_put(s, "#else\n");
  bool one = h->t.lanes == 1;
  if (!one) str_printf(s, "  %s r = {0};\n", t);
  str_put(s, one ? "  const int i = 0;\n  uint32_t u = (uint32_t)a;\n" : "");
  if (!one) str_printf(s, "  for (int i = 0; i < %d; i++) {\n    uint32_t u = (uint32_t)a[i];\n", h->t.lanes);
  str_printf(s, "%sfor (int k = 0; k < %d; k++) u += (uint32_t)b[%d * i + k] * (uint32_t)c[%d * i + k];\n", one ? "  " : "    ",
             q, q, q);
  str_put(s, one ? "  return (int32_t)u;\n" : "    r[i] = (int32_t)u;\n  }\n  return r;\n");
  str_put(s, shown ? "#endif\n}\n\n" : "}\n\n");
}

/* The machine's vector type of a value, as its header names it. */
static const char *machine_type(Printer *pr, NType t, bool x86) {
  int bits = t.lanes * t.e.bits;
  if (t.lanes == 1) return c_type(pr, t);
  if (x86) return arena_printf(pr->arena, "__m%d%s", bits, !elem_is_float(t.e) ? "i" : t.e.bits == 64 ? "d" : "");
  const char *kind = elem_is_float(t.e) ? "float" : t.e.kind == EK_INT ? "int" : "uint";
  return arena_printf(pr->arena, "%s%dx%d_t", kind, t.e.bits, t.lanes);
}

static void intrin_print(Printer *pr, Str *s, const Used *h) {
  static const char *const names[] = {"a", "b", "c"};
  const Intrin *in = &intrins[h->imm];
  bool x86 = !strncmp(in->c, "_mm", 3);
  bool plain = in->result.lanes == 1;
  if (!plain) pr->needs |= NEED_MACHINE;
  Nest fake = {.name = in->name};
  Var vars[3];
  Range range[3];
  Expr *args[3];
  for (int i = 0; i < in->n; i++) {
    vars[i] = (Var){names[i], in->arg[i], false};
    range[i] = c_elem_range(in->arg[i].e);
  }
  fake.vars = vars; fake.n_vars = in->n;
  for (int i = 0; i < in->n; i++) args[i] = nx_var(&pr->meanings, &fake, i);
  str_printf(s, "static inline %s %s(", c_type(pr, in->result), h->name);
  for (int i = 0; i < in->n; i++) str_printf(s, "%s%s %s", i ? ", " : "", c_type(pr, in->arg[i]), names[i]);
  str_printf(s, ") {\n#if defined(%s)\n  return (%s)", in->c_macro, c_type(pr, in->result));
  for (const char *c = in->c; *c; c++) {
    if (*c != '%') { str_putn(s, c, 1); continue; }
    int i = *++c - '0';
    str_printf(s, "(%s)%s", plain ? c_type(pr, in->arg[i]) : machine_type(pr, in->arg[i], x86), names[i]);
  }
  str_put(s, ";\n#else\n  return ");
  const Nest *nest = pr->nest;
  Range *ranges = pr->range;
  bool *modular = pr->modular;
  pr->nest = &fake; pr->range = range; pr->modular = NULL;
  const Expr *meaning = intrin_expand(&pr->meanings, h->imm, args);
  if (meaning->t.lanes > 1 && meaning->t.e.kind == EK_BOOL) c_mask_expr(pr, meaning, 8);
  else c_expr(pr, meaning, PREC_LOOSE);
  pr->nest = nest; pr->range = ranges; pr->modular = modular;
  str_put(s, ";\n#endif\n}\n\n");
}

void c_lane_help(Printer *pr, Str *s, const Used *h) {
  switch (h->help) {
    case HELP_LOAD: case HELP_STORE: memory_print(pr, s, h); break;
    case HELP_SPLAT: splat_print(pr, s, h); break;
    case HELP_HRED: sum_print(pr, s, h); break;
    case HELP_DOT: dot_print(pr, s, h); break;
    case HELP_SHUF: shuf_print(pr, s, h); break;
    case HELP_PERM: perm_print(pr, s, h); break;
    case HELP_INTRIN: intrin_print(pr, s, h); break;
    default: abort();
  }
}
