/* Constant data. Large arrays are written as 64-bit hexadecimal words, which compilers read several times faster than
 * element lists (4 MiB of bytes with gcc 12: 1.3 s instead of 4.5 s); a union gives them their elements back. */
#include "backends/c/c_print.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { LIST_BYTES = 1024, LINE = 120 };

static double float_at(const Buf *b, int64_t i) {
  return b->e.bits == 32 ? (double)((const float *)b->rom)[i] : ((const double *)b->rom)[i];
}

static uint64_t bits_at(const Buf *b, size_t size, int64_t i) {
  switch (size) {
    case 1: return ((const uint8_t *)b->rom)[i];
    case 2: return ((const uint16_t *)b->rom)[i];
    case 4: return ((const uint32_t *)b->rom)[i];
    default: return ((const uint64_t *)b->rom)[i];
  }
}

bool c_rom_is_words(const Buf *b) {
  size_t size = store_size(elem_store(b->e));
  if (b->n * (int64_t)size > LIST_BYTES) return true;
  if (elem_is_float(b->e))
    for (int64_t i = 0; i < b->n; i++) if (!isfinite(float_at(b, i))) return true;
  return false;
}

/* Element 0 in the lowest bits of a word; the macro W<bits> puts it first in memory. */
static void words_print(Printer *pr, const Buf *b) {
  size_t size = store_size(elem_store(b->e)), per = 8 / size;
  int64_t words = (b->n + (int64_t)per - 1) / (int64_t)per;
  str_printf(pr->o, "static const union { uint64_t w[%" PRId64 "]; %s e[%" PRId64 "]; } %s = {{", words, c_mem_type(pr, b->e),
             words * (int64_t)per, c_rom_name(pr, (int)(b - pr->p->bufs)));
  pr->needs |= NEED_WORDS;
  int column = LINE;
  for (int64_t i = 0; i < words; i++) {
    uint64_t w = 0;
    for (size_t k = 0; k < per; k++) {
      int64_t at = i * (int64_t)per + (int64_t)k;
      if (at < b->n) w |= bits_at(b, size, at) << (8 * size * k);
    }
    char text[32];
    int n = size == 8 ? snprintf(text, sizeof text, "0x%" PRIx64 "u", w)
                      : snprintf(text, sizeof text, "W%d(0x%" PRIx64 "u)", (int)(8 * size), w);
    if (column + n + 2 > LINE) { str_put(pr->o, "\n "); column = 1; }
    str_printf(pr->o, " %s,", text);
    column += n + 2;
  }
  str_put(pr->o, "\n}};\n");
}

static void element_print(Printer *pr, const Buf *b, int64_t i) {
  if (elem_is_float(b->e)) {
    double v = float_at(b, i);
    if (isfinite(v)) c_const(pr, nt(b->e), (Val){.f = v}, PREC_LOOSE);
    else str_put(pr->o, isnan(v) ? "NAN" : v < 0 ? "-INFINITY" : "INFINITY"); /* HLS only */
    return;
  }
  size_t size = store_size(elem_store(b->e));
  uint64_t bits = bits_at(b, size, i);
  int shift = 64 - 8 * (int)size;
  Val v = {.i = b->e.kind == EK_INT ? (int64_t)(bits << shift) >> shift : (int64_t)bits};
  Elem plain = c_is_ap(pr, b->e) ? (b->e.bits > 32 ? (b->e.kind == EK_INT ? I64 : UINTK(64)) : I32) : b->e;
  c_const(pr, nt(b->e.kind == EK_BOOL ? I8 : plain), v, PREC_LOOSE);
}

static void list_print(Printer *pr, const Buf *b) {
  int64_t n = b->n ? b->n : 1;
  str_printf(pr->o, "static const %s %s[%" PRId64 "] = {", c_mem_type(pr, b->e), c_rom_name(pr, (int)(b - pr->p->bufs)), n);
  Str one = {.ctx = pr->ctx}, *o = pr->o;
  int column = LINE;
  for (int64_t i = 0; i < b->n; i++) {
    one.n = 0;
    pr->o = &one;
    element_print(pr, b, i);
    pr->o = o;
    if (column + (int)one.n + 2 > LINE) { str_put(o, "\n "); column = 1; }
    str_printf(o, " %s,", one.p);
    column += (int)one.n + 2;
  }
  str_put(o, b->n ? "\n};\n" : "0};\n");
  str_free(&one);
}

void c_rom(Printer *pr, int buf) {
  const Buf *b = &pr->p->bufs[buf];
  if (pr->words[buf]) words_print(pr, b);
  else list_print(pr, b);
}
