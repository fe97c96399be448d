/* Helper functions of generated code: printed at their first use, the ones that they call before them. */
#include "backends/c/c_print.h"

#include <assert.h>
#include <string.h>

typedef struct HelpInfo { const char *name; int arity; const char *scalar, *lanes; } HelpInfo;
static const HelpInfo infos[HELP_COUNT] = {
#define HELP(NAME, name, arity, scalar, lanes) [HELP_##NAME] = {name, arity, scalar, lanes},
#include "backends/c/helpers.def"
#undef HELP
};

typedef struct Spec { Help help; NType t, from; int imm; const uint8_t *perm; const char *name; } Spec;

static const char *unsigned_same(Printer *pr, NType t) { return c_type(pr, ntv(UINTK(t.e.bits), t.lanes)); }
static const char *math_suffix(NType t) { return t.e.bits == 32 ? "f" : ""; }

/* A body with its placeholders filled in, each line indented by two. */
static void body_print(Printer *pr, Str *s, const Spec *h, const char *text) {
  if (*text != '#') str_put(s, "  ");
  for (const char *c = text; *c; c++) {
    if (*c == '\n') { str_put(s, c[1] == '#' ? "\n" : "\n  "); continue; }
    if (*c != '%' || !strchr("toUVMwfx{", c[1])) { str_putn(s, c, 1); continue; }
    switch (*++c) {
      case 't': str_put(s, c_type(pr, h->t)); break;
      case 'o': str_put(s, c_type(pr, h->from)); break;
      case 'U': str_put(s, c_unsigned(pr, h->from)); break;
      case 'V': str_put(s, unsigned_same(pr, h->from)); break;
      case 'M': str_put(s, c_mask(pr, h->from)); break;
      case 'w': str_printf(s, "%d", h->from.e.bits); break;
      case 'f': str_put(s, math_suffix(h->from)); break;
      case 'x': str_put(s, h->from.e.bits == 32 ? "3.4028234663852886e38f" : "1.7976931348623157e308"); break;
      case '{': { /* the only one: the count of a word's bits */
        NType word = nt(UINTK(h->from.e.bits > 32 ? 64 : 32));
        str_put(s, c_help(pr, HELP_POPW, nt(I32), word, 0, NULL));
        c = strchr(c, '}');
        break;
      }
    }
  }
  str_put(s, "\n");
}

static void head_print(Printer *pr, Str *s, const Spec *h, int arity) {
  const char *o = c_type(pr, h->from);
  str_printf(s, "static inline %s %s(%s a", c_type(pr, h->t), h->name, o);
  if (arity > 1) str_printf(s, ", %s b", o);
  if (arity > 2) str_printf(s, ", %s c", o);
  str_put(s, ") {\n");
}

/* Special bodies */

static void vector_print(Printer *pr, Str *s, const Spec *h) {
  pr->needs |= NEED_LANES;
  int bytes = h->t.lanes * (h->t.e.kind == EK_BOOL ? 1 : h->t.e.bits / 8);
  const char *lane = h->t.e.kind == EK_BOOL ? "int8_t" : c_type(pr, nt(h->t.e));
  str_printf(s, "typedef %s %s __attribute__((vector_size(%d)));\n", lane, h->name, bytes);
}

static void select_print(Printer *pr, Str *s, const Spec *h) {
  const char *t = c_type(pr, h->t);
  if (h->t.lanes == 1) {
    str_printf(s, "static inline %s %s(%s c, %s a, %s b) {\n  return (%s)(c ? a : b);\n}\n\n", t, h->name,
               c_type(pr, nt(BOOL)), t, t, t);
    return;
  }
  const char *m = c_mask(pr, h->t);
  str_printf(s, "static inline %s %s(%s c, %s a, %s b) {\n  return (%s)(((%s)a & c) | ((%s)b & ~c));\n}\n\n", t, h->name, m,
             t, t, t, m, m);
}

/* One instruction where the machine has one; never a library call. */
static void popcount_print(Printer *pr, Str *s, const Spec *h) {
  bool wide = h->from.e.bits == 64;
  const char *t = c_type(pr, h->from);
  (void)pr;
  str_printf(s, "static inline int %s(%s a) {\n#if defined(__GNUC__) && (defined(__POPCNT__) || defined(__aarch64__) || "
             "defined(__riscv_zbb))\n  return __builtin_popcount%s(a);\n#else\n", h->name, t, wide ? "ll" : "");
  if (wide)
    str_put(s, "  a = a - ((a >> 1) & UINT64_C(0x5555555555555555));\n"
               "  a = (a & UINT64_C(0x3333333333333333)) + ((a >> 2) & UINT64_C(0x3333333333333333));\n"
               "  a = (a + (a >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);\n"
               "  return (int)((a * UINT64_C(0x0101010101010101)) >> 56);\n#endif\n}\n\n");
  else
    str_put(s, "  a = a - ((a >> 1) & 0x55555555u);\n  a = (a & 0x33333333u) + ((a >> 2) & 0x33333333u);\n"
               "  a = (a + (a >> 4)) & 0x0f0f0f0fu;\n  return (int)((a * 0x01010101u) >> 24);\n#endif\n}\n\n");
}

/* Float to code: truncated, saturated, NaN to 0. A bound 2^k that the float type holds exactly decides; below it the
 * truncated number fits. */
static void saturate_print(Printer *pr, Str *s, const Spec *h) {
  Elem to = h->t.e;
  const char *t = c_type(pr, h->t);
  bool sign = to.kind == EK_INT;
  int bits = to.bits - (sign ? 1 : 0);
  head_print(pr, s, h, 1);
  double above = 1;
  for (int i = 0; i < bits; i++) above *= 2;
  Val most = {.i = sign || to.bits < 64 ? elem_hi(to) : -1}, least = {.i = elem_lo(to)}, zero = {.i = 0};
  str_put(s, "  if (a >= ");
  c_const(pr, nt(h->from.e), (Val){.f = above}, PREC_LOOSE);
  str_put(s, ") return ");
  c_const(pr, h->t, most, PREC_LOOSE);
  str_put(s, ";\n  if (a <= ");
  c_const(pr, nt(h->from.e), (Val){.f = sign ? -above : 0}, PREC_LOOSE);
  str_put(s, ") return ");
  c_const(pr, h->t, least, PREC_LOOSE);
  str_put(s, ";\n  return a <= a ? ");
  str_printf(s, c_is_ap(pr, to) ? "%s((int64_t)a) : " : "(%s)a : ", t);
  c_const(pr, h->t, zero, PREC_LOOSE);
  str_put(s, ";\n}\n\n");
}

/* a ? f1 : f0 bit by bit, f0 and f1 of b and c by their four bits. */
static void lut3_print(Printer *pr, Str *s, const Spec *h) {
  static const char *const two[16] = {
    "b & ~b", "~(b | c)", "~b & c", "~b", "b & ~c", "~c", "b ^ c", "~(b & c)", "b & c", "~(b ^ c)", "c", "~b | c", "b",
    "b | ~c", "b | c", "b | ~b"
  };
  int f0 = h->imm & 15, f1 = h->imm >> 4;
  bool bits = h->t.e.kind == EK_BOOL && h->t.lanes == 1;
  const char *t = c_type(pr, h->t);
  head_print(pr, s, h, 3);
  int width = h->t.lanes * h->t.e.bits;
  bool ternlog = h->t.e.kind != EK_BOOL && (width == 512 || width == 256 || width == 128);
  if (ternlog) {
    pr->needs |= NEED_MACHINE;
    const char *w = width == 512 ? "512" : width == 256 ? "256" : "";
    str_printf(s, "#if defined(%s)\n", width == 512 ? "__AVX512F__" : "__AVX512VL__");
    str_printf(s, "  return (%s)_mm%s_ternarylogic_epi64((__m%di)a, (__m%di)b, (__m%di)c, %d);\n#else\n", t, w, width, width,
               width, h->imm);
  }
  const char *mask = bits ? " & 1" : "";
  str_put(s, "  (void)a;\n  (void)b;\n  (void)c;\n");
  if (f0 == f1) str_printf(s, "  return (%s)((%s)%s);\n", t, two[f0], mask);
  else if (f0 == (~f1 & 15)) str_printf(s, "  return (%s)((a ^ (%s))%s);\n", t, two[f0], mask);
  else if ((f0 & f1) == f0) str_printf(s, "  return (%s)(((%s) | (a & (%s)))%s);\n", t, two[f0], two[f1], mask);
  else if ((f0 & f1) == f1) str_printf(s, "  return (%s)(((%s) | (~a & (%s)))%s);\n", t, two[f1], two[f0], mask);
  else str_printf(s, "  return (%s)(((a & (%s)) | (~a & (%s)))%s);\n", t, two[f1], two[f0], mask);
  if (ternlog) str_put(s, "#endif\n");
  str_put(s, "}\n\n");
}

/* A union: bits of floats may be read so in the HLS tools, which do not synthesize memcpy here. */
static void hls_bits_print(Printer *pr, Str *s, const Spec *h) {
  head_print(pr, s, h, 1);
  str_printf(s, "  union { %s from; %s to; } u;\n  u.from = a;\n  return u.to;\n}\n\n", c_type(pr, h->from), c_type(pr, h->t));
}

/* Lane by lane through the function of one lane. */
static void by_lanes_print(Printer *pr, Str *s, const Spec *h, int arity) {
  const char *one = c_help(pr, h->help, nt(h->t.e), nt(h->from.e), h->imm, h->perm);
  head_print(pr, s, h, arity);
  str_printf(s, "  %s r = {0};\n  for (int i = 0; i < %d; i++) r[i] = %s(a[i]%s);\n  return r;\n}\n\n", c_type(pr, h->t),
             h->t.lanes, one, arity > 1 ? ", b[i]" : "");
}

static void help_print(Printer *pr, Str *s, const Spec *h) {
  const HelpInfo *info = &infos[h->help];
  const char *body = h->t.lanes == 1 && h->from.lanes == 1 ? info->scalar : info->lanes;
  switch (h->help) {
    case HELP_TYPE: vector_print(pr, s, h); return;
    case HELP_SELECT: select_print(pr, s, h); return;
    case HELP_POPW: popcount_print(pr, s, h); return;
    case HELP_LUT3: lut3_print(pr, s, h); return;
    case HELP_POP:
      if (h->t.lanes == 1 || !c_lane_pop(pr, s, &(Used){h->help, h->t, h->from, h->imm, h->perm, h->name})) break;
      return;
    case HELP_SAT:
      if (h->t.lanes > 1) by_lanes_print(pr, s, h, 1);
      else saturate_print(pr, s, h);
      return;
    case HELP_BITS:
      pr->needs |= NEED_STRING;
      if (pr->hls) { hls_bits_print(pr, s, h); return; }
      break;
    case HELP_FMODF: case HELP_MODF: case HELP_FABS: case HELP_FLOOR: case HELP_CEIL: case HELP_TRUNC: case HELP_ROUND:
    case HELP_SQRT: case HELP_ISINF: pr->needs |= NEED_MATH; break;
    default: break;
  }
  if (!info->scalar) {
    c_lane_help(pr, s, &(Used){h->help, h->t, h->from, h->imm, h->perm, h->name});
    return;
  }
  if (!body) { by_lanes_print(pr, s, h, info->arity); return; }
  Str text = {.ctx = pr->ctx};
  body_print(pr, &text, h, body);
  head_print(pr, s, h, info->arity);
  str_put(s, text.p);
  str_put(s, "}\n\n");
  str_free(&text);
}

static const char *help_name(Printer *pr, Help help, NType t, NType from, int imm, const uint8_t *perm) {
  const HelpInfo *info = &infos[help];
  const char *ts = c_suffix(pr, t), *fs = c_suffix(pr, from);
  if (help == HELP_TYPE) return arena_printf(pr->arena, "%s_%sh_%s", pr->name, pr->variant, ts);
  if (help == HELP_INTRIN) return arena_printf(pr->arena, "%s_%sh_%s", pr->name, pr->variant, intrins[imm].name);
  if (help == HELP_LUT3) return arena_printf(pr->arena, "%s_%sh_lut3_%d_%s", pr->name, pr->variant, imm, ts);
  if (help == HELP_DOT) return arena_printf(pr->arena, "%s_%sh_dot_%s_%s%s", pr->name, pr->variant, ts, fs, imm == EK_INT ? "_i" : "_u");
  if (perm) return arena_printf(pr->arena, "%s_%sh_%s%d_%s", pr->name, pr->variant, info->name, pr->used.n, ts);
  bool one = elem_eq(t.e, from.e) && t.lanes == from.lanes;
  return arena_printf(pr->arena, one ? "%s_%sh_%s_%s" : "%s_%sh_%s_%s_%s", pr->name, pr->variant, info->name, fs, ts);
}

static bool same_type(NType a, NType b) { return elem_eq(a.e, b.e) && a.lanes == b.lanes; }

/* GCC says of vectors beyond the machine's registers, taken or given by value, that their ABI changed, whatever is asked of it, though
 * such a function is static. Where they are beyond, their function takes them in a struct, by address, and is always inlined. */
static int vector_bytes(NType t) { return t.lanes > 1 ? t.lanes * (t.e.kind == EK_BOOL ? 8 : t.e.bits) / 8 : 0; }

static void lanes_put(Str *o, const Spec *h, const char *text, size_t n) {
  static const char head[] = "static inline ", unused[] = "static inline __attribute__((unused)) ";
  const char *open = strchr(text, '('), *close = strchr(text, ')');
  if (n < sizeof head || strncmp(text, head, sizeof head - 1) || !open || !close) { str_putn(o, text, n); return; }
  const char *type = text + sizeof head - 1, *body = strchr(close, '\n') + 1;
  int a = vector_bytes(h->t), b = vector_bytes(h->from), bytes = a > b ? a : b;
  if (bytes > 16) {
    str_printf(o, "#if defined(__x86_64__) && !defined(__clang__) && !defined(%s)\n", bytes > 32 ? "__AVX512F__" : "__AVX__");
    str_printf(o, "struct %s_a {\n", h->name);
    for (const char *p = open + 1, *end; p < close; p = end + 2) {
      end = p + strcspn(p, ",)");
      str_printf(o, "  %.*s;\n", (int)(end - p), p);
    }
    str_printf(o, "};\n#define %s(...) %s_f(&(const struct %s_a){__VA_ARGS__})\n", h->name, h->name, h->name);
    str_printf(o, "static inline __attribute__((unused, always_inline)) %.*s_f(const struct %s_a *in) {\n", (int)(open - type), type, h->name);
    for (const char *p = open + 1, *end; p < close; p = end + 2) {
      end = p + strcspn(p, ",)");
      const char *name = end;
      while (name[-1] != ' ' && name[-1] != '*') name--;
      str_printf(o, "  %.*s = in->%.*s;\n", (int)(end - p), p, (int)(end - name), name);
    }
    str_put(o, "#else\n");
  }
  str_put(o, unused);
  str_putn(o, type, (size_t)(body - type));
  if (bytes > 16) str_put(o, "#endif\n");
  str_putn(o, body, n - (size_t)(body - text));
}

const char *c_help(Printer *pr, Help help, NType t, NType from, int imm, const uint8_t *perm) {
  for (int i = 0; i < pr->used.n; i++) {
    const Used *u = &pr->used.p[i];
    if (u->help == help && same_type(u->t, t) && same_type(u->from, from) && u->imm == imm && !u->perm == !perm &&
        (!perm || !memcmp(u->perm, perm, t.lanes))) return u->name;
  }
  Spec h = {help, t, from, imm, perm, help_name(pr, help, t, from, imm, perm)};
  Used u = {help, t, from, imm, perm, h.name};
  vec_push(pr->arena, &pr->used, u);
  Str text = {.ctx = pr->ctx}, *o = pr->o;
  pr->o = &text; /* c_const and c_expr write to pr->o */
  help_print(pr, &text, &h);
  pr->o = o;
  if (help == HELP_TYPE && text.n) str_put(&text, "\n");
  if (t.lanes > 1 || from.lanes > 1) { /* may serve only the plain side of an #if */
    if (text.n) lanes_put(&pr->helpers, &h, text.p, text.n);
  } else if (text.n) {
    str_putn(&pr->helpers, text.p, text.n);
  }
  str_free(&text);
  return h.name;
}
