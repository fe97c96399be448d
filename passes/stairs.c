#include "passes/stairs.h"

#include <math.h>

__extension__ typedef __int128 wide;

static int64_t middle(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + ((uint64_t)b - (uint64_t)a) / 2); }

/* A function that only rises (dir 1) or only falls (dir -1): level j is reached where it is (j + 1) * unit from y0. */
typedef struct Climb { StairsFn *f; void *user; int64_t y0, dir, unit; } Climb;

static bool reaches(const Climb *c, int64_t y, int64_t j) { return (y - c->y0) * c->dir >= (j + 1) * c->unit; }

/* What is known of a level: at a it is not reached, at b it is, where the value is y. From the first guess on steps grow in one direction
 * (side) until it is in between; then by halves (side 0). */
typedef struct Level { int64_t j, a, b, y, guess; uint64_t gone; int side; } Level;

static void level_probed(const Climb *c, Level *l, int64_t y) {
  bool down = reaches(c, y, l->j), first = l->gone == 0;
  if (down) l->b = l->guess, l->y = y;
  else l->a = l->guess;
  uint64_t step = first ? 1 : l->gone, room = (uint64_t)l->b - (uint64_t)l->a;
  if (first) l->side = down ? -1 : 1;
  if (l->side == (down ? -1 : 1) && step < room) l->guess = (int64_t)(down ? (uint64_t)l->b - step : (uint64_t)l->a + step);
  else l->side = 0, l->guess = middle(l->a, l->b);
  l->gone += step;
}

/* n levels from their guesses on, all at once, so that f is asked for many values in one call. */
static void search(const Climb *c, Level *l, int n) {
  int64_t x[STAIRS_RUN], y[STAIRS_RUN];
  int of[STAIRS_RUN], m;
  do {
    m = 0;
    for (int i = 0; i < n; i++)
      if (l[i].b - 1 != l[i].a) x[m] = l[i].guess, of[m++] = i;
    if (m) c->f(c->user, x, y, m);
    for (int i = 0; i < m; i++) level_probed(c, &l[of[i]], y[i]);
  } while (m);
}

/* Where level i after `from` is, if levels are `gap` apart; inside from..hi, which are not neighbours. */
static int64_t guess_at(int64_t from, int64_t hi, double gap, int64_t i) {
  double d = gap * (double)(i + 1);
  uint64_t most = (uint64_t)hi - (uint64_t)from - 1;
  return (int64_t)((uint64_t)from + (d < 1 ? 1 : d < (double)most ? (uint64_t)d : most));
}

bool stairs_ends(StairsFn *f, void *user, int64_t lo, int64_t hi, int64_t unit, int64_t max, Stairs *s) {
  int64_t ends[2] = {lo, hi}, y[2];
  f(user, ends, y, 2);
  int64_t rise = y[1] - y[0], dir = rise < 0 ? -1 : 1;
  *s = (Stairs){.lo = lo, .hi = hi, .y0 = y[0], .step = dir * unit, .n = rise * dir / unit};
  return rise % unit == 0 && s->n <= max;
}

static Climb climb_of(StairsFn *f, void *user, const Stairs *s) {
  return (Climb){f, user, s->y0, s->step < 0 ? -1 : 1, s->step < 0 ? -s->step : s->step};
}

static double width_of(const Stairs *s) { return (double)((uint64_t)s->hi - (uint64_t)s->lo) / (double)(s->n + 1); }

void stairs_find(Arena *arena, StairsFn *f, void *user, Stairs *s) {
  s->at = NEWN(arena, int64_t, s->n + 1);
  Climb c = climb_of(f, user, s);
  int64_t from = s->lo, y_from = s->y0;   /* levels up to j-1 are reached at `from` */
  int64_t line = s->lo, line_j = -1;      /* since level line_j, which is at `line`, steps are `gap` wide */
  double gap = width_of(s);
  for (int64_t j = 0; j < s->n;) {
    if (reaches(&c, y_from, j)) { /* a step of several levels at once */
      s->at[j++] = from;
      continue;
    }
    Level l[STAIRS_RUN];
    int n = j == 0 ? 1 : (int)(j < STAIRS_RUN ? j : STAIRS_RUN);
    if (n > s->n - j) n = (int)(s->n - j);
    int64_t expected = from, before = from;
    for (int i = 0; i < n; i++) {
      expected = guess_at(before, s->hi, gap, i);
      l[i] = (Level){.j = j + i, .a = before, .b = s->hi, .y = s->y0 + s->n * s->step, .guess = expected};
    }
    search(&c, l, n);
    for (int i = 0; i < n; i++) s->at[j + i] = from = l[i].b, y_from = l[i].y;
    if ((uint64_t)from - (uint64_t)expected + 2 > 4) line = before, line_j = j - 1;
    j += n;
    gap = (double)((uint64_t)from - (uint64_t)line) / (double)(j - 1 - line_j);
  }
}

void stairs_near(StairsFn *f, void *user, const Stairs *s, int64_t j, int64_t n, int64_t *at) {
  Climb c = climb_of(f, user, s);
  for (int64_t i = 0; i < n; i += STAIRS_RUN) {
    Level l[STAIRS_RUN];
    int m = (int)(n - i < STAIRS_RUN ? n - i : STAIRS_RUN);
    for (int k = 0; k < m; k++) {
      int64_t g = at[i + k];
      l[k] = (Level){.j = j + i + k, .a = s->lo, .b = s->hi, .guess = g <= s->lo ? s->lo + 1 : g >= s->hi ? s->hi - 1 : g};
    }
    search(&c, l, m);
    for (int k = 0; k < m; k++) at[i + k] = l[k].b;
  }
}

/* Constraints on the line m*x + b, in units of 2^shift: at ge[i].x it reaches ge[i].y, at lt[i].x it stays below lt[i].y. */
typedef struct Point { int64_t x, y; } Point;
typedef struct Bounds { Point *ge, *lt; int64_t n_ge, n_lt; bool flat; int64_t lo, hi; } Bounds;

/* Keeps the points that a line below them (side 1) or above them (side -1) can touch; the others follow. x must not fall. */
static int64_t hull(Point *p, int64_t n, int side) {
  int64_t k = 0;
  for (int64_t i = 1; i < n; i++)
    if (p[i].x < p[i - 1].x) return n;
  for (int64_t i = 0; i < n; p[k++] = p[i++])
    while (k > 1) {
      const Point *a = &p[k - 2], *b = &p[k - 1];
      wide turn = ((wide)b->x - a->x) * ((wide)p[i].y - a->y) - ((wide)b->y - a->y) * ((wide)p[i].x - a->x);
      if (side > 0 ? turn > 0 : turn < 0) break;
      k--;
    }
  return k;
}

/* A falling staircase is a rising one of -x. */
static void bounds_make(Arena *arena, const Stairs *s, int64_t ylo, int64_t yhi, Bounds *c) {
  bool falls = s->step < 0;
  int64_t first = falls ? s->y0 - s->n : s->y0, last = falls ? s->y0 : s->y0 + s->n;
  *c = (Bounds){.flat = s->n == 0, .lo = falls ? -s->hi : s->lo, .hi = falls ? -s->lo : s->hi};
  c->ge = NEWN(arena, Point, s->n + 1);
  c->lt = NEWN(arena, Point, s->n + 1);
  if (first > ylo) c->ge[c->n_ge++] = (Point){c->lo, first};
  for (int64_t j = 0; j < s->n; j++) { /* level first+j+1 begins: reached at one point, not yet at the other */
    int64_t k = falls ? s->n - 1 - j : j, below = s->under ? s->under[k] : s->at[k] - 1;
    c->ge[c->n_ge++] = (Point){falls ? -below : s->at[k], first + j + 1};
    c->lt[c->n_lt++] = (Point){falls ? -s->at[k] : below, first + j + 1};
  }
  if (last < yhi) c->lt[c->n_lt++] = (Point){c->hi, last + 1};
  c->n_ge = hull(c->ge, c->n_ge, -1);
  c->n_lt = hull(c->lt, c->n_lt, 1);
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

bool stairs_may_be_line(StairsFn *f, void *user, const Stairs *s) {
  enum { SAMPLES = STAIRS_RUN / 2 };
  Level l[SAMPLES];
  Point ge[SAMPLES], lt[SAMPLES];
  Climb climb = climb_of(f, user, s);
  if (s->n < 16 * SAMPLES) return true;
  for (int i = 0; i < SAMPLES; i++) {
    int64_t j = (s->n - 1) / (SAMPLES - 1) * i;
    l[i] = (Level){.j = j, .a = s->lo, .b = s->hi, .guess = guess_at(s->lo, s->hi, width_of(s), j)};
  }
  search(&climb, l, SAMPLES);
  for (int i = 0; i < SAMPLES; i++) {
    bool falls = s->step < 0;
    int64_t y = falls ? s->y0 - l[i].j : s->y0 + l[i].j + 1;
    ge[i] = (Point){falls ? -l[i].a : l[i].b, y};
    lt[i] = (Point){falls ? -l[i].b : l[i].a, y};
  }
  Bounds c = {.ge = ge, .lt = lt, .n_ge = SAMPLES, .n_lt = SAMPLES};
  return room(&c, best_slope(&c, s->n)) > -0x1p-20;
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
