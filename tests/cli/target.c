/* Runs a generated model with one u8 input and one i32 output on a bare machine or under qemu-user, and prints what it gives:
 * integers a line each, then how many bytes of stack it used. -DMODEL_H, -DNAME and -DUPPER name the model. */
#include MODEL_H

#define CAT2(a, b) a##b
#define CAT(a, b) CAT2(a, b)
#define API(x) CAT(NAME, x)
#define MACRO(x) CAT(UPPER, x)

void *memset(void *to, int v, size_t n) {
  volatile unsigned char *p = to; /* not to be made a call of itself */
  while (n--) *p++ = (unsigned char)v;
  return to;
}
void *memcpy(void *to, const void *from, size_t n) {
  volatile unsigned char *p = to;
  const unsigned char *q = from;
  while (n--) *p++ = *q++;
  return to;
}

#if defined(__arm__) /* semihosting: ARM DUI 0471, chapter 8 */
static long semihost(long what, const void *arg) {
  register long r0 __asm__("r0") = what;
  register const void *r1 __asm__("r1") = arg;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}
static void put(const char *s) { semihost(4, s); }
static void leave(void) { semihost(0x18, (const void *)0x20026); for (;;) continue; }
#else /* Linux on RISC-V: write, exit */
static long call(long n, long a, const void *b, long c) {
  register long a0 __asm__("a0") = a, a2 __asm__("a2") = c, a7 __asm__("a7") = n;
  register const void *a1 __asm__("a1") = b;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
  return a0;
}
static void put(const char *s) {
  long n = 0;
  while (s[n]) n++;
  call(64, 1, s, n);
}
static void leave(void) { call(93, 0, NULL, 0); for (;;) continue; }
#endif

static void put_int(int32_t v) { /* no division: it may not be there */
  static const uint32_t tens[10] = {1000000000u, 100000000u, 10000000u, 1000000u, 100000u, 10000u, 1000u, 100u, 10u, 1u};
  uint32_t u = v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
  char text[14], *p = text;
  if (v < 0) *p++ = '-';
  char *first = p;
  for (int i = 0; i < 10; i++) {
    char d = '0';
    while (u >= tens[i]) { u -= tens[i]; d++; }
    if (d != '0' || p > first || i == 9) *p++ = d;
  }
  *p++ = '\n';
  *p = 0;
  put(text);
}

enum { GUARD = 64, PAINTED = 1536 };
static struct { _Alignas(64) unsigned char bytes[MACRO(_WORKSPACE_BYTES) + GUARD]; } workspace;
static uint8_t x[MACRO(_IN_X_COUNT)];
static int32_t y[MACRO(_OUT_Y_COUNT)];

/* Below this frame lies a pattern; what the model overwrote of it is its stack. */
static __attribute__((noinline)) void paint(void) {
  volatile unsigned char below[PAINTED];
  for (int i = 0; i < PAINTED; i++) below[i] = 0xa5;
}
static __attribute__((noinline)) int painted(void) {
  volatile unsigned char below[PAINTED];
  int n = 0;
  while (n < PAINTED && below[n] == 0xa5) n++;
  return PAINTED - n;
}
static __attribute__((noinline)) int model(void) {
  const API(_in) in = {x};
  const API(_out) out = {y};
  return (int)API(_run)(workspace.bytes, &in, &out, 1);
}

void start(void) {
  uint8_t v = 11;
  for (size_t i = 0; i < sizeof x; i++, v = (uint8_t)(v + 37u)) x[i] = v;
  for (int i = 0; i < GUARD; i++) workspace.bytes[MACRO(_WORKSPACE_BYTES) + (size_t)i] = 0x5a;
  if (API(_init)(workspace.bytes, MACRO(_WORKSPACE_BYTES), NULL)) put("init failed\n");
  paint();
  if (model()) put("run failed\n");
  int used = painted();
  for (size_t i = 0; i < sizeof y / sizeof *y; i++) put_int(y[i]);
  for (int i = 0; i < GUARD; i++)
    if (workspace.bytes[MACRO(_WORKSPACE_BYTES) + (size_t)i] != 0x5a) put("workspace overrun\n");
  put("stack ");
  put_int(used);
  leave();
}

#if defined(__arm__)
extern char end_of_ram; /* target.ld */
__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {&end_of_ram, (const void *)start};
#else
__attribute__((naked, used)) void _start(void) { __asm__ volatile(".option push\n.option norelax\nla gp, __global_pointer$\n.option pop\ncall start"); }
#endif
