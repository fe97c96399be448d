#include "runtime/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The cell begin .. end as a number; 0 where it is none. As binary32 it is rounded once. */
static int number(const char *begin, const char *end, int as_f4, double *v) {
  char text[64], *rest;
  while (begin < end && is_blank(*begin))
    begin++;
  while (end > begin && is_blank(end[-1]))
    end--;
  size_t n = (size_t)(end - begin);
  if (!n || n >= sizeof text)
    return 0;
  memcpy(text, begin, n);
  text[n] = 0;
  if (strspn(text, "0123456789+-.eE") != n) /* no words, no hexadecimals */
    return 0;
  *v = as_f4 ? (double)strtof(text, &rest) : strtod(text, &rest);
  return !*rest && rest != text && isfinite(*v);
}

typedef struct Table { double *v; size_t n, cap; uint64_t max; int as_f4; int64_t rows, columns; } Table;

static const char *push(Table *t, double v) {
  size_t size = t->as_f4 ? sizeof(float) : sizeof(double);
  if (t->n >= t->max / size)
    return "array larger than the limit";
  if (t->n == t->cap) {
    size_t cap = t->cap ? 2 * t->cap : 1024;
    void *q = realloc(t->v, cap * size);
    if (!q)
      return "out of memory";
    t->v = q;
    t->cap = cap;
  }
  if (t->as_f4)
    ((float *)(void *)t->v)[t->n++] = (float)v;
  else
    t->v[t->n++] = v;
  return NULL;
}

/* One line; *is_number 0: a cell that is wanted holds none. What it pushed until then is taken back by the caller. */
static const char *read_line(Table *t, const char *p, const char *end, int column, int *is_number) {
  int64_t cells = 0;
  *is_number = 1;
  for (;;) {
    const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
    cells++;
    if (!column || cells == column) {
      double v;
      if (!number(p, stop, t->as_f4, &v)) {
        *is_number = 0;
        return NULL;
      }
      const char *wrong = push(t, v);
      if (wrong)
        return wrong;
    }
    if (!comma || cells == column)
      break;
    p = comma + 1;
  }
  if (column) {
    *is_number = cells == column;
    return NULL;
  }
  if (!t->columns)
    t->columns = cells;
  return cells == t->columns ? NULL : "another number of cells than the first row has";
}

static const char *read_all(Table *t, const char *p, const char *end, int column, int *line) {
  int header = 1;
  for (*line = 1; p < end; ++*line) {
    const char *stop = memchr(p, '\n', (size_t)(end - p)), *last = stop ? stop : end, *first = p;
    while (first < last && is_blank(*first))
      first++;
    p = stop ? stop + 1 : end;
    if (first == last)
      continue;
    size_t was = t->n;
    int is_number;
    const char *wrong = read_line(t, first, last, column, &is_number);
    if (wrong)
      return wrong;
    if (is_number)
      t->rows++;
    else if (!header)
      return column ? "the column holds no number here" : "a cell holds no number";
    else
      t->n = was;
    header = 0;
  }
  *line = 0;
  return NULL;
}

const char *rt_csv_parse(const void *bytes, size_t n, int column, uint64_t max_bytes, RtArray *a, int *line) {
  Table t = {.max = max_bytes, .as_f4 = !column};
  memset(a, 0, sizeof *a);
  const char *wrong = read_all(&t, bytes, (const char *)bytes + n, column, line);
  if (!wrong) {
    int64_t dims[2] = {t.rows, t.columns};
    wrong = rt_array_new(a, 'f', t.as_f4 ? 4 : 8, t.as_f4 ? 2 : 1, dims, max_bytes);
  }
  if (!wrong && t.n)
    memcpy(a->data, t.v, t.n * a->size);
  free(t.v);
  return wrong;
}

const char *rt_csv_read(const char *path, int column, uint64_t max_bytes, RtArray *a, int *line) {
  unsigned char *bytes;
  size_t n;
  memset(a, 0, sizeof *a);
  *line = 0;
  const char *wrong = rt_file_read(path, max_bytes, &bytes, &n);
  if (!wrong)
    wrong = rt_csv_parse(bytes, n, column, max_bytes, a, line);
  free(bytes);
  return wrong;
}
