/* Features of processors: the table, the questions, and this machine's answers. */
#include "runtime/cpu.h"

#include <string.h>

static const RtFeature rows[] = {
#define CPU(name, arch, macro, leaf, sub, reg, bit, saves) {name, arch, macro, leaf, sub, reg, bit, saves},
#include "runtime/cpu.def"
#undef CPU
};

const RtFeature *rt_feature_next(const char *arch, const char **features) {
  const char *f = *features;
  size_t n = strcspn(f, ",");
  *features = f + n + (f[n] == ',');
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (!strcmp(rows[i].arch, arch) && strlen(rows[i].name) == n && !strncmp(rows[i].name, f, n)) return &rows[i];
  return NULL;
}

const char *rt_feature_unknown(const RtMachine *m, size_t *n) {
  for (const char *f = m->features, *at; *(at = f);) {
    *n = strcspn(at, ",");
    if (!rt_feature_next(m->arch, &f)) return at;
  }
  return NULL;
}

int rt_features_count(const RtMachine *m) {
  int n = m->features[0] != 0;
  for (const char *f = m->features; *f; f++) n += *f == ',';
  return n;
}

int rt_tests(const RtMachine *m, RtTest tests[RT_TESTS], uint32_t *saves) {
  int n = 0;
  bool x86 = !strcmp(m->arch, "x86_64"), a64 = !strcmp(m->arch, "aarch64");
  *saves = 0;
  for (const char *f = m->features; *f && (x86 || a64);) {
    const RtFeature *r = rt_feature_next(m->arch, &f);
    if (!r) continue;
    int i = 0;
    *saves |= r->saves;
    while (i < n && !(x86 && tests[i].leaf == r->leaf && tests[i].sub == r->sub && tests[i].reg == r->reg)) i++;
    if (i == n) tests[n++] = (RtTest){r->leaf, r->sub, r->reg, r->bit, 0};
    tests[i].mask |= UINT32_C(1) << (x86 ? r->bit : 0);
  }
  return n;
}

const char *rt_arch_macro(const char *arch) {
  static const char *const macros[][2] = {
    {"", "1"}, {"x86_64", "defined(__x86_64__)"}, {"aarch64", "defined(__aarch64__)"}, {"arm", "defined(__arm__)"},
    {"riscv32", "defined(__riscv) && __riscv_xlen == 32"}, {"riscv64", "defined(__riscv) && __riscv_xlen == 64"}};
  for (size_t i = 0; i < sizeof macros / sizeof *macros; i++) if (!strcmp(macros[i][0], arch)) return macros[i][1];
  return NULL;
}

/* This machine */

#if defined(__x86_64__)
static uint32_t cpuid(int leaf, int sub, char reg) {
  uint32_t a = 0, b, c = 0, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  if (a < (uint32_t)leaf) return 0;
  a = (uint32_t)leaf, c = (uint32_t)sub;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return reg == 'a' ? a : reg == 'b' ? b : reg == 'c' ? c : d;
}
static bool saved(uint32_t mask) {
  uint32_t a, d;
  if (!mask) return true;
  if (!(cpuid(1, 0, 'c') >> 27 & 1)) return false; /* OSXSAVE */
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (a & mask) == mask;
}
static bool answers(const RtTest *t) { return (cpuid(t->leaf, t->sub, t->reg) & t->mask) == t->mask; }
#define HERE "x86_64"
#elif defined(__aarch64__) && defined(__linux__)
static bool saved(uint32_t mask) { return mask == 0; }
static bool answers(const RtTest *t) {
  uint64_t v;
  __asm__("mrs %0, ID_AA64ISAR0_EL1" : "=r"(v));
  return (v >> t->bit & 15) != 0;
}
#define HERE "aarch64"
#else
static bool saved(uint32_t mask) { return mask == 0; }
static bool answers(const RtTest *t) { return t->mask == 0; }
#define HERE "unknown"
#endif

bool rt_machine_is_this(const RtMachine *m) {
  RtTest tests[RT_TESTS];
  uint32_t saves;
  size_t len;
  if (!*m->arch) return true;
  if (strcmp(m->arch, HERE) || rt_feature_unknown(m, &len)) return false;
  int n = rt_tests(m, tests, &saves);
  for (int i = 0; i < n; i++) if (!answers(&tests[i])) return false;
  return saved(saves);
}
