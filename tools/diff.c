#include "tools/diff.h"

#include <ctype.h>
#include <string.h>

enum { STEPS_MAX = 3000 }; /* edits that are searched for; beyond, what lies between the common ends is replaced */

typedef struct Line { const char *text, *key; int n; uint64_t data; bool kept; int other; } Line; /* data: of the lines of data below it */
typedef VEC(Line) Lines;

/* A value's or a datum's number at p: its length with the sigil, or 0. */
static int number_at(const char *p) {
  int n = 1;
  if (*p != '%' && *p != '$') return 0;
  while (isdigit((unsigned char)p[n])) n++;
  return n > 1 ? n : 0;
}

static const char *key_of(Arena *a, const char *s, int n) {
  char *key = NEWN(a, char, n + 1), *k = key;
  for (int i = 0; i < n;) {
    int d = number_at(s + i);
    *k++ = s[i];
    i += d ? d : 1;
  }
  return key;
}

static void split(Arena *a, const char *s, Lines *l) {
  while (*s) {
    size_t n = strcspn(s, "\n");
    const char *text = s + strspn(s, " ");
    if (l->n && text > s && *text == '"') { /* FNV-1a */
      uint64_t *h = &l->p[l->n - 1].data;
      for (size_t i = 0; i < n; i++) *h = (*h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
    } else if (strncmp(text, "props ", 6)) { /* what is known of the graph is no part of it */
      Line x = {.text = s, .key = key_of(a, s, (int)n), .n = (int)n, .data = UINT64_C(0xcbf29ce484222325), .other = -1};
      vec_push(a, l, x);
    }
    s += n + (s[n] == '\n');
  }
}

static bool alike(const Line *a, const Line *b) { return a->data == b->data && !strcmp(a->key, b->key); }

static void pair_up(Lines *a, Lines *b, int i, int j) {
  a->p[i].kept = b->p[j].kept = true;
  a->p[i].other = j;
  b->p[j].other = i;
}

/* Myers, An O(ND) difference algorithm, 1986: the fewest edits between a[i0..i1) and b[j0..j1); v of every step is kept to walk back. */
static void edits(Arena *arena, Lines *a, Lines *b, int i0, int i1, int j0, int j1) {
  int n = i1 - i0, m = j1 - j0, most = n + m < STEPS_MAX ? n + m : STEPS_MAX, d, k = 0;
  int **trace = NEWN(arena, int *, most + 2), *v = NEWN(arena, int, 2 * most + 3);
  int *mid = v + most + 1;
  bool done = false;
  for (d = 0; d <= most && !done; d++) {
    trace[d] = NEWN(arena, int, 2 * d + 3);
    memcpy(trace[d], mid - d - 1, sizeof(int) * (size_t)(2 * d + 3));
    for (k = -d; k <= d; k += 2) {
      int x = k == -d || (k != d && mid[k - 1] < mid[k + 1]) ? mid[k + 1] : mid[k - 1] + 1;
      while (x < n && x - k < m && x - k >= 0 && alike(&a->p[i0 + x], &b->p[j0 + x - k])) x++;
      mid[k] = x;
      if ((done = x >= n && x - k >= m)) break;
    }
  }
  if (!done) return;
  for (int x = n, y = m; --d >= 0;) {
    const int *was = trace[d] + d + 1;
    k = x - y;
    int from = k == -d || (k != d && was[k - 1] < was[k + 1]) ? k + 1 : k - 1, px = d ? was[from] : 0, py = d ? px - from : 0;
    while (x > px && y > py && x > 0 && y > 0 && alike(&a->p[i0 + x - 1], &b->p[j0 + y - 1])) pair_up(a, b, i0 + --x, j0 + --y);
    if (!d) break;
    x = px, y = py;
  }
}

/* Number -> line that defines it: "  %7: ..." or "data $0: ...". -1 where there is none. */
static int *definitions(Arena *a, const Lines *l, int *most, char sigil) {
  *most = 0;
  for (int round = 0, *at = NULL;; round++) {
    for (int i = 0; i < l->n; i++) {
      const char *p = l->p[i].text;
      p += strspn(p, " ");
      if (!strncmp(p, "data ", 5)) p += 5;
      int n = number_at(p), v = 0;
      if (!n || *p != sigil || p[n] != ':') continue;
      for (int k = 1; k < n && v < 1 << 20; k++) v = v * 10 + p[k] - '0';
      if (round) at[v] = i;
      else if (v >= *most) *most = v + 1;
    }
    if (round) return at;
    at = NEWN(a, int, *most + 1);
    for (int i = 0; i <= *most; i++) at[i] = -1;
  }
}

typedef struct Defs { int *at[2], most[2]; } Defs; /* of % and $ */

static int definition(const Defs *d, const char *p, int n) {
  int kind = *p == '$', v = 0;
  for (int k = 1; k < n && v < 1 << 20; k++) v = v * 10 + p[k] - '0';
  return v < d->most[kind] ? d->at[kind][v] : -1;
}

/* Pairs whose operands are no pairs of each other are changes. */
static void check_operands(Arena *arena, Lines *a, Lines *b) {
  Defs da, db;
  for (int k = 0; k < 2; k++) da.at[k] = definitions(arena, a, &da.most[k], "%$"[k]), db.at[k] = definitions(arena, b, &db.most[k], "%$"[k]);
  for (int i = 0; i < a->n; i++) {
    if (!a->p[i].kept) continue;
    const char *p = a->p[i].text, *q = b->p[a->p[i].other].text, *end = p + a->p[i].n;
    bool same = true;
    while (p < end && same) {
      int n = number_at(p), m = number_at(q);
      if (n && m) {
        int x = definition(&da, p, n), y = definition(&db, q, m);
        same = x < 0 || y < 0 || x == i || a->p[x].other == y || !a->p[x].kept; /* what was redefined shows where it is */
        p += n, q += m;
      } else p++, q++;
    }
    if (same) continue;
    Line *o = &b->p[a->p[i].other];
    a->p[i].kept = o->kept = false;
    a->p[i].other = o->other = -1;
  }
}

static void put(Str *out, char mark, const Line *l, int width, bool color) {
  const char *on = !color ? "" : mark == '+' ? "\033[32m" : mark == '-' ? "\033[31m" : "";
  bool cut = l->n > width;
  str_printf(out, "%s%c %.*s%s%s\n", on, mark, cut ? width - 3 : l->n, l->text, cut ? "..." : "", *on ? "\033[0m" : "");
}

bool text_diff(Str *out, Ctx *ctx, const char *was, const char *now, int context, int width, bool color) {
  Arena *arena = arena_new(ctx);
  Lines a = {0}, b = {0};
  split(arena, was, &a);
  split(arena, now, &b);
  int head = 0, tail = 0, changes = 0;
  while (head < a.n && head < b.n && alike(&a.p[head], &b.p[head])) pair_up(&a, &b, head, head), head++;
  while (tail < a.n - head && tail < b.n - head && alike(&a.p[a.n - 1 - tail], &b.p[b.n - 1 - tail])) pair_up(&a, &b, a.n - 1 - tail, b.n - 1 - tail), tail++;
  edits(arena, &a, &b, head, a.n - tail, head, b.n - tail);
  check_operands(arena, &a, &b);
  for (int i = 0; i < a.n; i++) changes += !a.p[i].kept;
  for (int j = 0; j < b.n; j++) changes += !b.p[j].kept;
  int shown = -1; /* the last line of b that is printed */
  for (int i = 0, j = 0; changes && (i < a.n || j < b.n);) {
    bool less = i < a.n && !a.p[i].kept, more = j < b.n && !b.p[j].kept;
    if (!less && !more) { i++, j++; continue; }
    int from = j - context > shown + 1 ? j - context : shown + 1;
    if (from > shown + 1) str_put(out, "  ...\n");
    for (; from < j; from++) put(out, ' ', &b.p[from], width, color);
    while (i < a.n && !a.p[i].kept) put(out, '-', &a.p[i++], width, color);
    while (j < b.n && !b.p[j].kept) put(out, '+', &b.p[j++], width, color);
    shown = j - 1;
    for (int k = 0; k < context && j + k < b.n && b.p[j + k].kept; k++) {
      if (i + k < a.n && !a.p[i + k].kept) break;
      put(out, ' ', &b.p[j + k], width, color);
      shown = j + k;
    }
  }
  arena_free(arena);
  return changes > 0;
}
