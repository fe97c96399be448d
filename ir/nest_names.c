/* Identifiers of generated programs: made from any text, never a word that C, C++, an HLS tool or a header they include
 * has taken, unique. Buffers and nests share one name space; variables are unique in their nest and never hide a buffer. */
#include "ir/nest_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 40

/* Words that are no names, sorted by strcmp. C99, C11, C++17 keywords; words of the Nest text; macros and functions of the
 * standard headers (a file-scope object of a builtin function's name draws a warning or worse); Vitis HLS types. */
static const char *const reserved[] = {
  "BUFSIZ", "CHAR_BIT", "CHAR_MAX", "CHAR_MIN", "DBL_MAX", "DBL_MIN", "EDOM", "EOF", "ERANGE", "FILE", "FLT_MAX",
  "FLT_MIN", "HUGE_VAL", "I", "INFINITY", "INT16_C", "INT16_MAX", "INT16_MIN", "INT32_C", "INT32_MAX", "INT32_MIN",
  "INT64_C", "INT64_MAX", "INT64_MIN", "INT8_C", "INT8_MAX", "INT8_MIN", "INT_MAX", "INT_MIN", "LONG_MAX", "LONG_MIN",
  "M_E", "M_PI", "NAN", "NDEBUG", "NULL", "RAND_MAX", "SIZE_MAX", "UINT16_C", "UINT16_MAX", "UINT32_C", "UINT32_MAX",
  "UINT64_C", "UINT64_MAX", "UINT8_C", "UINT8_MAX", "UINT_MAX", "abort", "abs", "acos", "acosh", "alignas", "alignof",
  "alloca", "and", "and_eq", "ap_fixed", "ap_int", "ap_ufixed", "ap_uint", "arena", "asin", "asinh", "asm", "assert",
  "atan", "atan2", "atanh", "atexit", "atof", "atoi", "atol", "auto", "bcmp", "bcopy", "bitand", "bitor", "bool",
  "break", "bzero", "cabs", "calloc", "carg", "case", "catch", "cbrt", "ceil", "char", "char16_t", "char32_t", "cimag",
  "class", "clock", "compl", "complex", "concept", "conj", "const", "const_cast", "constexpr", "continue", "copysign",
  "cos", "cosh", "creal", "decltype", "default", "delete", "div", "do", "double", "drem", "dynamic_cast", "else", "enum",
  "environ", "erf", "erfc", "errno", "exit", "exp", "exp10", "exp2", "explicit", "expm1", "export", "extern", "fabs",
  "false", "far", "fdim", "ffs", "float", "floor", "fma", "fmax", "fmin", "fmod", "for", "free", "frexp", "friend",
  "gamma", "goto", "half", "huge", "hypot", "i386", "if", "ilogb", "imaxabs", "in", "index", "inf", "inline", "int",
  "int16_t", "int32_t", "int64_t", "int8_t", "intmax_t", "intptr_t", "isinf", "isnan", "j0", "j1", "jn", "labs", "ldexp",
  "let", "lgamma", "linux", "llabs", "log", "log10", "log1p", "log2", "logb", "long", "lrint", "main", "malloc", "max",
  "memchr", "memcmp", "memcpy", "memmove", "memset", "min", "modf", "mutable", "namespace", "nan", "near", "nearbyint",
  "nest", "new", "nextafter", "noexcept", "noreturn", "not", "not_eq", "nullptr", "off_t", "offsetof", "operator", "or",
  "or_eq", "out", "plan", "pow", "printf", "private", "program", "protected", "ptrdiff_t", "public", "putchar", "puts",
  "qsort", "rand", "realloc", "reg", "register", "reinterpret_cast", "remainder", "requires", "restrict", "return", "rint",
  "rom", "round", "run", "scalb", "scalbn", "short", "signal", "signed", "significand", "sin", "sincos", "sinh", "size_t",
  "sizeof", "snprintf", "sprintf", "sqrt", "srand", "ssize_t", "static", "static_assert", "static_cast", "stderr", "stdin",
  "stdout", "strcmp", "strcpy", "strlen", "struct", "switch", "system", "tan", "tanh", "template", "tgamma", "this",
  "thread_local", "throw", "time", "true", "trunc", "try", "typedef", "typeid", "typename", "typeof", "uint16_t",
  "uint32_t", "uint64_t", "uint8_t", "uintmax_t", "uintptr_t", "union", "unix", "unsigned", "using", "var", "virtual",
  "void", "volatile", "wchar_t", "while", "xor", "xor_eq", "y0", "y1", "yn"
};

static int word_cmp(const void *a, const void *b) { return strcmp(a, *(const char *const *)b); }

static bool is_reserved(const char *word) {
  return bsearch(word, reserved, sizeof reserved / sizeof *reserved, sizeof *reserved, word_cmp) != NULL;
}

static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool nest_name_ok(const char *name) {
  if (!name || !*name || name[0] == '_' || (name[0] >= '0' && name[0] <= '9')) return false;
  size_t n = 0;
  while (is_word(name[n])) n++;
  return !name[n] && n <= NAME_MAX_LEN && !is_reserved(name);
}

/* The set of taken names: open addressing, grown at half full. A key is a name, or `nest/variable`. */
enum { TAKEN_GLOBAL = 1, TAKEN_VAR = 2 };
typedef struct Entry { const char *key; int taken, next, id; } Entry; /* next: suffix to try; id: see name_find */
typedef struct NameSet { Entry *p; uint32_t n, cap; } NameSet;

static Entry *slot(const NameSet *s, const char *key) {
  uint32_t h = 2166136261u;
  for (const char *c = key; *c; c++) h = (h ^ (uint8_t)*c) * 16777619u;
  h &= s->cap - 1;
  while (s->p[h].key && strcmp(s->p[h].key, key)) h = (h + 1) & (s->cap - 1);
  return &s->p[h];
}

/* The entry of the key, added where missing. Valid until the next call. */
static Entry *entry(Program *p, const char *key) {
  if (!p->names) p->names = NEW(p->arena, NameSet);
  NameSet *s = p->names;
  if (2 * s->n >= s->cap) {
    NameSet big = {.n = s->n, .cap = s->cap ? 2 * s->cap : 64};
    big.p = NEWN(p->arena, Entry, big.cap);
    for (uint32_t i = 0; i < s->cap; i++) if (s->p[i].key) *slot(&big, s->p[i].key) = s->p[i];
    *s = big;
  }
  Entry *e = slot(s, key);
  if (!e->key) { e->key = arena_strdup(p->arena, key); s->n++; }
  return e;
}

/* prefix and text as one identifier of at most NAME_MAX_LEN characters. */
static void sanitize(char out[NAME_MAX_LEN + 1], const char *prefix, const char *text) {
  size_t n = 0;
  if (!prefix && nest_name_ok(text)) { strcpy(out, text); return; }
  for (const char *c = prefix ? prefix : ""; *c && n < NAME_MAX_LEN; c++) out[n++] = *c;
  bool gap = n > 0, first = true; /* a gap becomes one '_' before the next character; "t" and "4" join as t4 */
  for (const char *c = text ? text : ""; *c && n < NAME_MAX_LEN; c++) {
    if (!is_word(*c) || *c == '_') { gap = n > 0; continue; }
    bool digit = *c >= '0' && *c <= '9';
    if (n == 0 && digit) out[n++] = 'v';
    if (gap && !(first && digit) && n + 1 < NAME_MAX_LEN) out[n++] = '_';
    out[n++] = *c;
    gap = first = false;
  }
  if (n == 0) out[n++] = 'v';
  out[n] = 0;
  if (is_reserved(out)) {
    if (n == NAME_MAX_LEN) n--;
    out[n] = '_'; out[n + 1] = 0;
  }
}

/* base, or base_2, base_3 ... within the length. */
static void suffixed(char out[NAME_MAX_LEN + 1], const char *base, int k) {
  char suffix[16] = "";
  if (k > 1) snprintf(suffix, sizeof suffix, "_%d", k);
  int room = NAME_MAX_LEN - (int)strlen(suffix), n = (int)strlen(base);
  if (n > room) n = room;
  memcpy(out, base, (size_t)n);
  strcpy(out + n, suffix);
}

const char *nest_name(Program *p, const char *prefix, const char *text) {
  char base[NAME_MAX_LEN + 1], name[NAME_MAX_LEN + 1];
  sanitize(base, prefix, text);
  int k = entry(p, base)->next;
  for (k = k ? k : 1;; k++) {
    suffixed(name, base, k);
    if (!entry(p, name)->taken) break;
  }
  entry(p, base)->next = k + 1;
  Entry *e = entry(p, name);
  e->taken |= TAKEN_GLOBAL;
  return e->key;
}

const char *name_take(Program *p, const char *name, int id) {
  Entry *e = entry(p, name);
  e->taken |= TAKEN_GLOBAL;
  e->id = id + 1;
  return e->key;
}

int name_find(const Program *p, const Nest *n, const char *name) {
  char key[2 * NAME_MAX_LEN + 2];
  if (!p->names || strlen(name) > NAME_MAX_LEN) return -1;
  snprintf(key, sizeof key, n ? "%s/%s" : "%s%s", n ? n->name : "", name);
  const Entry *e = slot(p->names, key);
  return e->key ? e->id - 1 : -1;
}

const char *name_take_var(Program *p, const char *nest, const char *text, int id) {
  char base[NAME_MAX_LEN + 1], name[NAME_MAX_LEN + 1], key[2 * NAME_MAX_LEN + 2];
  assert(nest_name_ok(nest));
  sanitize(base, NULL, text);
  snprintf(key, sizeof key, "%s/%s", nest, base);
  int k = entry(p, key)->next;
  for (k = k ? k : 1;; k++) {
    suffixed(name, base, k);
    if (entry(p, name)->taken & TAKEN_GLOBAL) continue;
    snprintf(key, sizeof key, "%s/%s", nest, name);
    if (!entry(p, key)->taken) break;
  }
  Entry *own = entry(p, key);
  own->taken = TAKEN_VAR;
  own->id = id + 1;
  snprintf(key, sizeof key, "%s/%s", nest, base);
  entry(p, key)->next = k + 1;
  Entry *e = entry(p, name);
  e->taken |= TAKEN_VAR;
  return e->key;
}
