/* The loops of element-wise groups. Compiled once per instruction set with LOOPS set to the table's name; without contraction or
 * reassociation every build gives the same bits. */
#include "trainer/exec_impl.h"

#include <math.h>

#ifndef LOOPS
#define LOOPS loops_plain
#endif

#define ROW(NAME, E) \
  static void row_##NAME(float *restrict y, const float *a, const float *b, const float *c, int n) { \
    (void)b, (void)c; \
    for (int i = 0; i < n; i++) y[i] = (E); \
  }

/* Nearest integer, ties to even, by adding 1.5*2^23; numbers from 2^22 on have no fraction that matters here or none at all. */
static inline float nearest_even(float v) {
  float m = 0x1.8p23f, r = (v + m) - m;
  return fabsf(v) < 0x1p22f ? copysignf(r, v) : rintf(v);
}

ROW(add, a[i] + b[i])
ROW(sub, a[i] - b[i])
ROW(mul, a[i] * b[i])
ROW(div, a[i] / b[i])
ROW(max, a[i] > b[i] || a[i] != a[i] ? a[i] : b[i])
ROW(min, a[i] < b[i] || a[i] != a[i] ? a[i] : b[i])
ROW(neg, -a[i])
ROW(abs, fabsf(a[i]))
ROW(round, nearest_even(a[i]))
ROW(sqrt, sqrtf(a[i]))
ROW(eq, a[i] == b[i] ? 1.0f : 0.0f)
ROW(lt, a[i] < b[i] ? 1.0f : 0.0f)
ROW(le, a[i] <= b[i] ? 1.0f : 0.0f)
ROW(and, a[i] * b[i])                         /* bool only */
ROW(or, a[i] + b[i] > 0 ? 1.0f : 0.0f)        /* bool only */
ROW(xor, a[i] != b[i] ? 1.0f : 0.0f)          /* bool only */
ROW(not, 1.0f - a[i])                         /* bool only */
ROW(select, a[i] != 0 ? b[i] : c[i])
ROW(cast, a[i])                               /* codes to floats and wider codes */

static void quant(float *restrict y, const float *x, const float *scale, const float *zp, float code, float lo, float hi, int n) {
  for (int i = 0; i < n; i++) {
    float v = x[i] / scale[i];
    if (zp) v += zp[i];
    v = v != v ? 0 : v;
    v = v < lo - code ? lo - code : v > hi - code ? hi - code : v; /* the bounds are integers: clamping before rounding is the same */
    float m = 0x1.8p23f;
    y[i] = ((v + m) - m) + code;
  }
}

static void dequant(float *restrict y, const float *x, const float *scale, const float *zp, int n) {
  if (zp) for (int i = 0; i < n; i++) y[i] = (x[i] - zp[i]) * scale[i];
  else for (int i = 0; i < n; i++) y[i] = x[i] * scale[i];
}

static void dequant_f64(float *restrict y, const float *x, const double *scale, int n) {
  for (int i = 0; i < n; i++) y[i] = (float)((double)x[i] * scale[i]);
}

static float sum(const float *x, int64_t n) {
  float acc[16] = {0};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; k++) acc[k] += x[i + k];
  for (; i < n; i++) acc[i & 15] += x[i];
  for (int half = 8; half; half /= 2)
    for (int k = 0; k < half; k++) acc[k] += acc[k + half];
  return acc[0];
}

static void add(float *restrict y, const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

const Loops LOOPS = {
  .row = {[S_ADD] = row_add, [S_SUB] = row_sub, [S_MUL] = row_mul, [S_DIV] = row_div, [S_MAX] = row_max, [S_MIN] = row_min, [S_NEG] = row_neg,
          [S_ABS] = row_abs, [S_ROUND] = row_round, [S_SQRT] = row_sqrt, [S_EQ] = row_eq, [S_LT] = row_lt, [S_LE] = row_le, [S_AND] = row_and,
          [S_OR] = row_or, [S_XOR] = row_xor, [S_NOT] = row_not, [S_SELECT] = row_select, [S_CAST] = row_cast},
  .quant = quant, .dequant = dequant, .dequant_f64 = dequant_f64, .sum = sum, .add = add,
};
