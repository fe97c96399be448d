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

/* One line; *is_number 0: a cell that is wanted holds none. */
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

/* The next line that is not empty, without the spaces before it; 0 at the end. */
static int next_line(const char **p, const char *end, const char **first, const char **last, int *line) {
  while (*p < end) {
    const char *stop = memchr(*p, '\n', (size_t)(end - *p));
    *first = *p;
    *last = stop ? stop : end;
    *p = stop ? stop + 1 : end;
    ++*line;
    while (*first < *last && is_blank(**first))
      ++*first;
    if (*first < *last)
      return 1;
  }
  return 0;
}

/* A header: no cell is a number. */
static int is_words(const char *p, const char *end) {
  for (;;) {
    const char *comma = memchr(p, ',', (size_t)(end - p));
    double v;
    if (number(p, comma ? comma : end, 0, &v))
      return 0;
    if (!comma)
      return 1;
    p = comma + 1;
  }
}

/* Behind a mark of the byte order, which UTF-8 does not need. */
static const char *behind_mark(const char *p, size_t n) { return n > 2 && !memcmp(p, "\xef\xbb\xbf", 3) ? p + 3 : p; }

static const char *read_all(Table *t, const char *p, const char *end, int column, int *line) {
  const char *first, *last;
  for (int header = 1; next_line(&p, end, &first, &last, line); header = 0) {
    int is_number;
    if (header && is_words(first, last))
      continue;
    const char *wrong = read_line(t, first, last, column, &is_number);
    if (wrong)
      return wrong;
    if (!is_number && header)
      return "a cell holds no number, others do: neither a header nor a row";
    if (!is_number)
      return column ? "the column holds no number here" : "a cell holds no number";
    t->rows++;
  }
  *line = 0;
  return NULL;
}

const char *rt_csv_parse(const void *bytes, size_t n, int column, uint64_t max_bytes, RtArray *a, int *line) {
  Table t = {.max = max_bytes, .as_f4 = !column};
  memset(a, 0, sizeof *a);
  *line = 0;
  const char *wrong = read_all(&t, behind_mark(bytes, n), (const char *)bytes + n, column, line);
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

int rt_csv_line(const char *path, uint64_t max_bytes, int64_t row) {
  unsigned char *bytes;
  size_t n;
  int line = 0;
  if (rt_file_read(path, max_bytes, &bytes, &n))
    return 0;
  const char *p = behind_mark((const char *)bytes, n), *end = (const char *)bytes + n, *first, *last;
  if (next_line(&p, end, &first, &last, &line) && is_words(first, last))
    row++;
  while (row > 0 && next_line(&p, end, &first, &last, &line))
    row--;
  free(bytes);
  return line;
}
