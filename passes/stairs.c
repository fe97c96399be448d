#include "passes/stairs.h"

#include <math.h>

__extension__ typedef __int128 wide;

static int64_t middle(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + ((uint64_t)b - (uint64_t)a) / 2); }

bool stairs_find(Arena *arena, StairsFn *f, void *user, int64_t lo, int64_t hi, int64_t unit, int64_t max, Stairs *s) {
  int64_t y0 = f(user, lo), y1 = f(user, hi), rise = y1 - y0, dir = rise < 0 ? -1 : 1;
  *s = (Stairs){.lo = lo, .hi = hi, .y0 = y0, .step = dir * unit, .n = rise * dir / unit};
  if (rise % unit != 0 || s->n > max) return false;
  s->at = NEWN(arena, int64_t, s->n + 1);
  int64_t from = lo, y_from = y0; /* f(from) has fewer than j+1 steps done, or from is at[j-1] */
  for (int64_t j = 0; j < s->n; j++) {
    int64_t a = from, b = hi, need = (j + 1) * unit;
    if ((y_from - y0) * dir >= need) { /* a step of several levels at once */
      s->at[j] = from;
      continue;
    }
    while (b - 1 != a) { /* f(a) is short of it, f(b) is not */
      int64_t m = middle(a, b);
      if ((f(user, m) - y0) * dir >= need) b = m;
      else a = m;
    }
    s->at[j] = from = b;
    y_from = f(user, b);
  }
  return true;
}

/* Constraints on the line m*x + b, in units of 2^shift: at ge[i].x it reaches ge[i].y, at lt[i].x it stays below lt[i].y. */
typedef struct Point { int64_t x, y; } Point;
typedef struct Bounds { Point *ge, *lt; int64_t n_ge, n_lt; bool flat; int64_t lo, hi; } Bounds;

/* A falling staircase is a rising one of -x. */
static void bounds_make(Arena *arena, const Stairs *s, int64_t ylo, int64_t yhi, Bounds *c) {
  bool falls = s->step < 0;
  int64_t first = falls ? s->y0 - s->n : s->y0, last = falls ? s->y0 : s->y0 + s->n;
  *c = (Bounds){.flat = s->n == 0, .lo = falls ? -s->hi : s->lo, .hi = falls ? -s->lo : s->hi};
  c->ge = NEWN(arena, Point, s->n + 1);
  c->lt = NEWN(arena, Point, s->n + 1);
  for (int64_t j = 0; j < s->n; j++) { /* level first+j+1 begins: reached at one point, not yet at the other */
    int64_t k = falls ? s->n - 1 - j : j, below = s->under ? s->under[k] : s->at[k] - 1;
    c->ge[c->n_ge++] = (Point){falls ? -below : s->at[k], first + j + 1};
    c->lt[c->n_lt++] = (Point){falls ? -s->at[k] : below, first + j + 1};
  }
  if (first > ylo) c->ge[c->n_ge++] = (Point){c->lo, first};
  if (last < yhi) c->lt[c->n_lt++] = (Point){c->hi, last + 1};
}

/* Room for the intercept at slope u: concave in u. */
static double room(const Bounds *c, double u) {
  double most = INFINITY, least = -INFINITY;
  for (int64_t i = 0; i < c->n_lt; i++) most = fmin(most, (double)c->lt[i].y - u * (double)c->lt[i].x);
  for (int64_t i = 0; i < c->n_ge; i++) least = fmax(least, (double)c->ge[i].y - u * (double)c->ge[i].x);
  return most - least;
}

static double best_slope(const Bounds *c, int64_t levels) {
  double a = 0, b = 2.0 * (double)levels + 2;
  if (c->n_ge == 0 || c->n_lt == 0) return 0;
  for (int i = 0; i < 200; i++) {
    double p = a + (b - a) / 3, q = b - (b - a) / 3;
    if (room(c, p) < room(c, q)) a = p;
    else b = q;
  }
  return (a + b) / 2;
}

static bool line_fits(const Bounds *c, int64_t m, int shift, int64_t *b) {
  const wide limit = (wide)1 << 62;
  wide most = limit, least = -limit;
  for (int64_t i = 0; i < c->n_lt; i++) {
    wide v = (wide)c->lt[i].y * ((wide)1 << shift) - 1 - (wide)m * c->lt[i].x;
    if (v < most) most = v;
  }
  for (int64_t i = 0; i < c->n_ge; i++) {
    wide v = (wide)c->ge[i].y * ((wide)1 << shift) - (wide)m * c->ge[i].x;
    if (v > least) least = v;
  }
  if (least > most) return false;
  wide v = least == -limit ? most : most == limit ? least : least + (most - least) / 2;
  if (least == -limit && most == limit) v = 0;
  wide e0 = (wide)m * c->lo, e1 = (wide)m * c->hi;
  if (v >= limit || v <= -limit || e0 + v >= limit || e0 + v <= -limit || e1 + v >= limit || e1 + v <= -limit) return false;
  if (e0 >= limit || e0 <= -limit || e1 >= limit || e1 <= -limit) return false;
  *b = (int64_t)v;
  return true;
}

static bool row_fits(const Bounds *c, double slope, int shift, int64_t *m, int64_t *b) {
  double scaled = ldexp(slope, shift);
  if (!(scaled < 0x1p62)) return false;
  if (c->flat) return *m = 0, line_fits(c, 0, shift, b);
  for (int64_t k = 0; k < 2; k++) {
    *m = (int64_t)floor(scaled) + k;
    if (line_fits(c, *m, shift, b)) return true;
  }
  return false;
}

bool stairs_lines(Arena *arena, const Stairs *rows, int64_t n, int64_t ylo, int64_t yhi, int64_t *m, int64_t *b, int *shift) {
  Bounds *c = NEWN(arena, Bounds, n);
  double *slope = NEWN(arena, double, n);
  for (int64_t r = 0; r < n; r++) {
    if ((rows[r].step != 1 && rows[r].step != -1) || rows[r].lo < -INT64_MAX) return false;
    bounds_make(arena, &rows[r], ylo, yhi, &c[r]);
    slope[r] = c[r].flat ? 0 : best_slope(&c[r], rows[r].n);
    if (!c[r].flat && !(room(&c[r], slope[r]) > 0)) return false;
  }
  for (int s = 0; s <= 62; s++) {
    int64_t r = 0;
    while (r < n && row_fits(&c[r], slope[r], s, &m[r], &b[r])) r++;
    if (r < n) continue;
    for (r = 0; r < n; r++)
      if (rows[r].step < 0) m[r] = -m[r];
    *shift = s;
    return true;
  }
  return false;
}
