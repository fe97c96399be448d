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

/* Of the lanes of one vector or of two. */
static void perm_print(Printer *pr, Str *s, const Used *h) {
  const char *t = c_type(pr, h->t), *v = c_type(pr, h->from);
  bool two = h->imm == 2, bools = h->t.e.kind == EK_BOOL;
  int n = h->from.lanes;
  str_printf(s, two ? "static inline %s %s(%s a, %s b) {\n  (void)a;\n  (void)b;\n" : "static inline %s %s(%s a) {\n", t, h->name, v, v);
  if (h->t.lanes == 1) {
    str_printf(s, "  return %s[%d]%s;\n}\n\n", h->perm[0] < n ? "a" : "b", h->perm[0] % n, bools ? " != 0" : "");
    return;
  }
  if (n > 1) {
    str_printf(s, "#if defined(__clang__) || __GNUC__ >= 12\n  return __builtin_shufflevector(a, %s", two ? "b" : "a");
    for (int i = 0; i < h->t.lanes; i++) str_printf(s, ", %d", h->perm[i]);
    str_put(s, ");\n#else\n");
  }
  str_printf(s, "  const %s r = {", t);
  for (int i = 0; i < h->t.lanes; i++)
    if (n == 1) str_printf(s, "%s%s", i ? ", " : "", bools ? "(int8_t)-a" : "a");
    else str_printf(s, "%s%s[%d]", i ? ", " : "", h->perm[i] < n ? "a" : "b", h->perm[i] % n);
  str_put(s, n > 1 ? "};\n  return r;\n#endif\n}\n\n" : "};\n  return r;\n}\n\n");
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
  str_printf(s, "  uint8_t x[%d], y[%d];\n  __builtin_memcpy(x, &a, sizeof x);\n  __builtin_memcpy(y, &b, sizeof y);\n", h->t.lanes, h->t.lanes);
  str_printf(s, "  for (int i = 0; i < %d; i++) y[i] = y[i] < 128 ? x[(i & ~15) + (y[i] & 15)] : (uint8_t)0;\n"
             "  __builtin_memcpy(&a, y, sizeof y);\n  return a;\n#endif\n}\n\n", h->t.lanes);
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
  {16, 16, true, true, "defined(__AVX512BW__)",
   "  return (%t)_mm512_add_epi32((__m512i)a, _mm512_madd_epi16((__m512i)b, (__m512i)c));\n"},
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

/* Popcounts of lanes of 64 bits: an instruction, or byte tables and sums of bytes, or shifts. */
static const struct { int lanes; const char *cond, *text; } pops[] = {
  {8, "defined(__AVX512VPOPCNTDQ__)", "  return (%t)_mm512_popcnt_epi64((__m512i)a);\n"},
  {4, "defined(__AVX512VPOPCNTDQ__) && defined(__AVX512VL__)", "  return (%t)_mm256_popcnt_epi64((__m256i)a);\n"},
  {8, "defined(__AVX512BW__)",
   "  const __m512i m = _mm512_set1_epi8(15), v = (__m512i)a, k = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));\n"
   "  const __m512i n = _mm512_add_epi8(_mm512_shuffle_epi8(k, _mm512_and_si512(v, m)),\n"
   "                                    _mm512_shuffle_epi8(k, _mm512_and_si512(_mm512_srli_epi16(v, 4), m)));\n"
   "  return (%t)_mm512_sad_epu8(n, _mm512_setzero_si512());\n"},
  {4, "defined(__AVX2__)",
   "  const __m256i m = _mm256_set1_epi8(15), v = (__m256i)a, k = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));\n"
   "  const __m256i n = _mm256_add_epi8(_mm256_shuffle_epi8(k, _mm256_and_si256(v, m)),\n"
   "                                    _mm256_shuffle_epi8(k, _mm256_and_si256(_mm256_srli_epi16(v, 4), m)));\n"
   "  return (%t)_mm256_sad_epu8(n, _mm256_setzero_si256());\n"},
  {2, "defined(__aarch64__) && defined(__ARM_NEON)", "  return (%t)vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8((uint8x16_t)a))));\n"}
};

bool c_lane_pop(Printer *pr, Str *s, const Used *h) {
  const char *t = c_type(pr, h->t);
  int shown = 0;
  for (size_t i = 0; i < sizeof pops / sizeof *pops; i++) {
    if (pops[i].lanes != h->t.lanes || h->t.e.kind != EK_UINT || h->t.e.bits != 64) continue;
    if (!shown) {
      str_printf(s, "static inline %s %s(%s a) {\n#if %s\n", t, h->name, c_type(pr, h->from), pops[i].cond);
      pr->needs |= NEED_MACHINE;
    } else str_printf(s, "#elif %s\n", pops[i].cond);
    for (const char *c = pops[i].text; *c; c++)
      if (*c == '%') { str_put(s, t); c++; }
      else str_putn(s, c, 1);
    shown++;
  }
  if (!shown) return false;
  /* sums of 2, 4, 8, then all bits of a lane, by shifts */
  str_put(s, "#else\n  a = a - ((a >> 1) & 0x5555555555555555u);\n  a = (a & 0x3333333333333333u) + ((a >> 2) & 0x3333333333333333u);\n"
             "  a = (a + (a >> 4)) & 0x0f0f0f0f0f0f0f0fu;\n  a = a + (a >> 8);\n  a = a + (a >> 16);\n  a = a + (a >> 32);\n  return a & 127u;\n#endif\n}\n\n");
  return true;
}

/* Integers of another width. GCC converts by more than twice the width, or less than half, lane by lane: in steps, then. */
static void resize_print(Printer *pr, Str *s, const Used *h) {
  int from = h->from.e.bits, to = h->t.e.bits, n = h->t.lanes, most = n * (from > to ? from : to), least = n * (from < to ? from : to);
  const char *t = c_type(pr, h->t);
  bool byte = from == 8 || to == 8, words = from == 16 || to == 16, machine = least >= 128 && most <= 512 && (to > from || most >= 256);
  str_printf(s, "static inline %s %s(%s a) {\n", t, h->name, c_type(pr, h->from));
  if (machine) {
    const char *cond = most == 512 ? (byte && words ? "__AVX512BW__" : "__AVX512F__") : to < from ? "__AVX512VL__" : "__AVX2__";
    pr->needs |= NEED_MACHINE;
    str_printf(s, "#if defined(%s)%s\n", cond, most < 512 && to < from && byte && words ? " && defined(__AVX512BW__)" : "");
    str_printf(s, "  return (%s)_mm%d_cvtep%c%d_epi%d((__m%di)a);\n#else\n", t, most, h->from.e.kind == EK_INT || to < from ? 'i' : 'u', from, to, n * from);
  }
  str_put(s, "  return ");
  int steps = 0;
  for (int b = from; b != to; b = to > from ? b * 2 : b / 2) steps++;
  for (int i = 0; i < steps; i++) str_put(s, "__builtin_convertvector(");
  str_put(s, "a");
  for (int b = from; b != to;) {
    b = to > from ? b * 2 : b / 2;
    Elem e = b == to ? h->t.e : (Elem){h->from.e.kind, (uint8_t)b};
    str_printf(s, ", %s)", c_type(pr, ntv(e, n)));
  }
  str_put(s, machine ? ";\n#endif\n}\n\n" : ";\n}\n\n");
}

/* GNU casts keep the bytes; where the lowest byte comes last, lanes are moved one by one. */
static void relane_print(Printer *pr, Str *s, const Used *h) {
  const char *t = c_type(pr, h->t), *u = c_type(pr, ntv(UINTK(h->t.e.bits), 1)), *v = c_type(pr, ntv(UINTK(h->from.e.bits), 1));
  int to = h->t.e.bits, from = h->from.e.bits, k = to > from ? to / from : from / to;
  str_printf(s, "static inline %s %s(%s a) {\n#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__\n  return (%s)a;\n#else\n",
             t, h->name, c_type(pr, h->from), t);
  str_printf(s, "  %s r = {0};\n", t);
  if (h->t.lanes == 1)
    str_printf(s, "  for (int i = 0; i < %d; i++) r = (%s)((%s)r | (%s)((%s)(%s)a[i] << (i * %d)));\n", h->from.lanes, t, u, u, u, v, from);
  else if (to > from)
    str_printf(s, "  for (int i = 0; i < %d; i++) r[i / %d] = (%s)((%s)r[i / %d] | (%s)((%s)(%s)a[i] << (i %% %d * %d)));\n", h->from.lanes, k,
               c_type(pr, nt(h->t.e)), u, k, u, u, v, k, from);
  else if (h->from.lanes == 1)
    str_printf(s, "  for (int i = 0; i < %d; i++) r[i] = (%s)((%s)a >> (i * %d));\n", h->t.lanes, c_type(pr, nt(h->t.e)), v, to);
  else
    str_printf(s, "  for (int i = 0; i < %d; i++) r[i] = (%s)((%s)a[i / %d] >> (i %% %d * %d));\n", h->t.lanes, c_type(pr, nt(h->t.e)), v, k, k, to);
  str_put(s, "  return r;\n#endif\n}\n\n");
}

/* The sign bits of lanes that are 0 or -1. */
static const struct { int lanes, bits; const char *cond, *text; } masks[] = {
  {64, 8, "defined(__AVX512BW__)", "_mm512_movepi8_mask((__m512i)a)"},
  {32, 16, "defined(__AVX512BW__)", "_mm512_movepi16_mask((__m512i)a)"},
  {16, 32, "defined(__AVX512DQ__)", "_mm512_movepi32_mask((__m512i)a)"},
  {8, 64, "defined(__AVX512DQ__)", "_mm512_movepi64_mask((__m512i)a)"},
  {32, 8, "defined(__AVX2__)", "_mm256_movemask_epi8((__m256i)a)"},
  {8, 32, "defined(__AVX2__)", "_mm256_movemask_ps((__m256)a)"},
  {16, 8, "defined(__SSE2__)", "_mm_movemask_epi8((__m128i)a)"}
};

static void mask_print(Printer *pr, Str *s, const Used *h) {
  const char *t = c_type(pr, h->t);
  int bits = h->t.e.bits;
  str_printf(s, "static inline %s %s(%s a) {\n", t, h->name, c_type(pr, h->from));
  for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
    if (masks[i].lanes != h->from.lanes || masks[i].bits != h->from.e.bits) continue;
    pr->needs |= NEED_MACHINE;
    str_printf(s, "#if %s\n  return (%s)%s;\n#endif\n", masks[i].cond, t, masks[i].text);
  }
  const char *wide = bits == 64 ? "uint64_t" : "uint32_t";
  str_printf(s, "  %s r = 0;\n  for (int i = 0; i < %d; i++) r |= (%s)(a[i] & 1) << i;\n  return (%s)r;\n}\n\n", wide, bits, wide, t);
}

void c_lane_help(Printer *pr, Str *s, const Used *h) {
  switch (h->help) {
    case HELP_LOAD: case HELP_STORE: memory_print(pr, s, h); break;
    case HELP_SPLAT: splat_print(pr, s, h); break;
    case HELP_HRED: sum_print(pr, s, h); break;
    case HELP_DOT: dot_print(pr, s, h); break;
    case HELP_SHUF: shuf_print(pr, s, h); break;
    case HELP_PERM: perm_print(pr, s, h); break;
    case HELP_RESIZE: resize_print(pr, s, h); break;
    case HELP_RELANE: relane_print(pr, s, h); break;
    case HELP_MASK: mask_print(pr, s, h); break;
    case HELP_INTRIN: intrin_print(pr, s, h); break;
    default: abort();
  }
}
