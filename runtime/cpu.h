/* What processors can do, and how they are asked: for choosing among variants of the generated code. */
#ifndef POPSHIFT_RT_CPU_H
#define POPSHIFT_RT_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A machine that code is made for. arch: x86_64, aarch64, arm, riscv32, riscv64; "": any. features: names of cpu.def with commas between. */
typedef struct RtMachine { const char *name, *arch, *features; } RtMachine;

typedef struct RtFeature { const char *name, *arch, *macro; int leaf, sub; char reg; int bit; uint32_t saves; } RtFeature;
/* The feature that begins a list, which moves on behind it; NULL where arch has none of that name. */
const RtFeature *rt_feature_next(const char *arch, const char **features);
/* The first name of a machine's features that cpu.def does not have (*n: its length); NULL: it has all. */
const char *rt_feature_unknown(const RtMachine *, size_t *n);
int rt_features_count(const RtMachine *);

/* What is asked at run time: bits of a register, all of which must be 1 (x86_64), or one field, not 0 (aarch64: bit). */
enum { RT_TESTS = 8 };
typedef struct RtTest { int leaf, sub; char reg; int bit; uint32_t mask; } RtTest;
int rt_tests(const RtMachine *, RtTest tests[RT_TESTS], uint32_t *saves); /* their number; 0 where nothing can be asked */
const char *rt_arch_macro(const char *arch);    /* a preprocessor condition; NULL where unknown */
bool rt_machine_is_this(const RtMachine *);     /* this processor runs code for it */

#endif
