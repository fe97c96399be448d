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

/* x/scale by multiplications, all bits of the quotient: two corrections by exact remainders (P. Markstein, 1990), for scales and results
 * that are far from the ends of binary32's range. Beyond +-2^60 x is cut: no code is so far away. */
typedef struct Divisor { float scale, inverse; } Divisor;
#ifdef __FMA__
static inline bool divides(float scale) { return scale > 0x1p-30f && scale < 0x1p30f; }
static inline float over(float x, Divisor d) {
  x = x > 0x1p60f ? 0x1p60f : x < -0x1p60f ? -0x1p60f : x;
  float q = x * d.inverse;
  q = fmaf(fmaf(-q, d.scale, x), d.inverse, q);
  return fmaf(fmaf(-q, d.scale, x), d.inverse, q);
}
#else
static inline bool divides(float scale) { (void)scale; return false; }
static inline float over(float x, Divisor d) { return x / d.scale; }
#endif

/* v = x[i]/scale[i] before each of the statements S. */
#define DIVIDED(S) \
  Divisor d = {*scale, 1 / *scale}; \
  if (one && divides(*scale)) for (int i = 0; i < n; i++) { float v = over(x[i], d); S } \
  else for (int i = 0; i < n; i++) { float v = x[i] / scale[i]; S }

static inline float code_of(float v, float lo, float hi) { /* the bounds are integers: clamping before rounding is the same */
  float m = 0x1.8p23f;
  v = v != v ? 0 : v;
  v = v < lo ? lo : v > hi ? hi : v;
  return (v + m) - m;
}

static void quant(float *restrict y, const float *x, const float *scale, const float *zp, float code, float lo, float hi, bool one, int n) {
  if (zp) { DIVIDED(y[i] = code_of(v + zp[i], lo - code, hi - code) + code;) }
  else { DIVIDED(y[i] = code_of(v, lo - code, hi - code) + code;) }
}

static void quant_dx(float *restrict y, const float *dy, const float *x, const float *scale, float zp, float lo, float hi, bool one, int n) {
  DIVIDED(float u = v + zp; y[i] = ((lo < u) & (u < hi)) ? dy[i] : 0;)
}

static void quant_ds(float *restrict y, const float *dy, const float *x, const float *scale, float zp, float lo, float hi, bool one, int n) {
  DIVIDED(float u = v + zp; y[i] = dy[i] * (code_of(u, lo, hi) - zp - (((lo < u) & (u < hi)) ? v : 0));)
}

static inline float counted(float x, const Cuts *c) {
  float code = c->lo + (x >= c->code[0] ? 1.0f : 0.0f) + (x >= c->code[1] ? 1.0f : 0.0f) + (x >= c->code[2] ? 1.0f : 0.0f);
  return x != x ? c->nan : code;
}

static void quant_cut(float *restrict y, const float *x, const Cuts *c, int n) {
  const Cuts k = *c;
  for (int i = 0; i < n; i++) y[i] = counted(x[i], &k);
}

static void quant_dx_cut(float *restrict y, const float *dy, const float *x, const Cuts *c, int n) {
  float within = c->within, end = c->end;
  for (int i = 0; i < n; i++) y[i] = ((x[i] >= within) & (x[i] < end)) ? dy[i] : 0;
}

static void quant_ds_cut(float *restrict y, const float *dy, const float *x, const Cuts *c, int n) {
  const Cuts k = *c;
  for (int i = 0; i < n; i++) {
    float v = ((x[i] >= k.within) & (x[i] < k.end)) ? x[i] * k.inverse : 0;
    y[i] = dy[i] * (counted(x[i], &k) - k.zp - v);
  }
}

static void dequant(float *restrict y, const float *x, const float *scale, const float *zp, int n) {
  if (zp) for (int i = 0; i < n; i++) y[i] = (x[i] - zp[i]) * scale[i];
  else for (int i = 0; i < n; i++) y[i] = x[i] * scale[i];
}

static void dequant_f64(float *restrict y, const float *x, const double *scale, int n) {
  for (int i = 0; i < n; i++) y[i] = (float)((double)x[i] * scale[i]);
}

typedef float Vec __attribute__((vector_size(64), aligned(4), may_alias)); /* 16 floats anywhere */
#define VECS(p) ((Vec *)(void *)(p))
#define CVECS(p) ((const Vec *)(const void *)(p))

static float sum(const float *x, int64_t n) {
  float acc[64] = {0};
  Vec a = {0}, b = {0}, c = {0}, d = {0};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) a += CVECS(x + i)[0], b += CVECS(x + i)[1], c += CVECS(x + i)[2], d += CVECS(x + i)[3];
  VECS(acc)[0] = a, VECS(acc)[1] = b, VECS(acc)[2] = c, VECS(acc)[3] = d;
  for (; i < n; i++) acc[i & 63] += x[i];
  for (int half = 32; half; half /= 2)
    for (int k = 0; k < half; k++) acc[k] += acc[k + half];
  return acc[0];
}

static float extreme(const float *x, int64_t n, bool least) {
  float sign = least ? -1 : 1, acc[64];
  int64_t i = 0;
  for (int k = 0; k < 64; k++) acc[k] = sign * x[k < n ? k : 0];
  for (; i + 64 <= n; i += 64)
    for (int k = 0; k < 64; k++) {
      float v = sign * x[i + k];
      acc[k] = v > acc[k] || v != v ? v : acc[k];
    }
  for (int k = 0; i < n; i++, k++) acc[k] = sign * x[i] > acc[k] || x[i] != x[i] ? sign * x[i] : acc[k];
  for (int half = 32; half; half /= 2)
    for (int k = 0; k < half; k++) acc[k] = acc[k + half] > acc[k] || acc[k + half] != acc[k + half] ? acc[k + half] : acc[k];
  return sign * acc[0];
}

/* Columns from `at` in strips of 64 and 16, then what is left of them. V: what a vector of them adds; E: one of them. */
#define COLUMNS(V, E) \
  int64_t rows = n / width, at = 0; \
  for (; at + 64 <= width; at += 64) { \
    Vec *y = VECS(acc + at), y0 = y[0], y1 = y[1], y2 = y[2], y3 = y[3]; \
    for (int64_t r = 0; r < rows; r++) { \
      int64_t i = r * width + at; \
      y0 += V(i, at), y1 += V(i + 16, at + 16), y2 += V(i + 32, at + 32), y3 += V(i + 48, at + 48); \
    } \
    y[0] = y0, y[1] = y1, y[2] = y2, y[3] = y3; \
  } \
  for (; at + 16 <= width; at += 16) { \
    Vec y = *VECS(acc + at); \
    for (int64_t r = 0; r < rows; r++) y += V(r * width + at, at); \
    *VECS(acc + at) = y; \
  } \
  for (int64_t r = 0; at < width && r < rows; r++) \
    for (int64_t k = at; k < width; k++) acc[k] += E(r * width + k, k); \
  for (int64_t k = 0; k < n % width; k++) acc[k] += E(rows * width + k, k);

static void columns(float *restrict acc, const float *x, int64_t width, int64_t n) {
#define V(i, k) (*CVECS(x + (i)))
#define E(i, k) (x[i])
  COLUMNS(V, E)
#undef V
#undef E
}

static void squares(float *restrict acc, const float *x, const float *mean, int64_t width, int64_t n) {
#define V(i, k) ((*CVECS(x + (i)) - *CVECS(mean + (k))) * (*CVECS(x + (i)) - *CVECS(mean + (k))))
#define E(i, k) ((x[i] - mean[k]) * (x[i] - mean[k]))
  COLUMNS(V, E)
#undef V
#undef E
}

const Loops LOOPS = {
  .row = {[S_ADD] = row_add, [S_SUB] = row_sub, [S_MUL] = row_mul, [S_DIV] = row_div, [S_MAX] = row_max, [S_MIN] = row_min, [S_NEG] = row_neg,
          [S_ABS] = row_abs, [S_ROUND] = row_round, [S_SQRT] = row_sqrt, [S_EQ] = row_eq, [S_LT] = row_lt, [S_LE] = row_le, [S_AND] = row_and,
          [S_OR] = row_or, [S_XOR] = row_xor, [S_NOT] = row_not, [S_SELECT] = row_select, [S_CAST] = row_cast},
  .quant = quant, .quant_dx = quant_dx, .quant_ds = quant_ds, .quant_cut = quant_cut, .quant_dx_cut = quant_dx_cut, .quant_ds_cut = quant_ds_cut,
  .dequant = dequant, .dequant_f64 = dequant_f64, .sum = sum, .extreme = extreme, .columns = columns, .squares = squares,
};
