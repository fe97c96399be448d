#include "runtime/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 1 << 16 };

/* The header is a Python dict display. Only the part of Python that numpy writes is read: string keys in either quote,
 * string, bool and tuple-of-int values. */
typedef struct Scan { const char *p, *end; } Scan;

static void skip_space(Scan *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
    s->p++;
}

static int take(Scan *s, char c) {
  skip_space(s);
  if (s->p == s->end || *s->p != c)
    return 0;
  s->p++;
  return 1;
}

static int take_word(Scan *s, const char *word) {
  size_t n = strlen(word);
  skip_space(s);
  if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n))
    return 0;
  s->p += n;
  return 1;
}

/* A quoted string without escapes, of fewer than cap characters. */
static int take_string(Scan *s, char *out, size_t cap) {
  skip_space(s);
  if (s->p == s->end || (*s->p != '\'' && *s->p != '"'))
    return 0;
  char quote = *s->p++;
  size_t n = 0;
  while (s->p < s->end && *s->p != quote) {
    if (*s->p == '\\' || n + 1 == cap)
      return 0;
    out[n++] = *s->p++;
  }
  if (s->p == s->end)
    return 0;
  s->p++;
  out[n] = 0;
  return 1;
}

static int take_int(Scan *s, int64_t *v) {
  skip_space(s);
  const char *first = s->p;
  int64_t x = 0;
  for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++) {
    if (x > (INT64_MAX - 9) / 10)
      return 0;
    x = 10 * x + (*s->p - '0');
  }
  if (s->p == first)
    return 0;
  if (s->p < s->end && *s->p == 'L') /* numpy under Python 2 wrote longs */
    s->p++;
  *v = x;
  return 1;
}

typedef struct Header {
  char descr[16];
  int fortran, rank;
  int64_t dims[RT_MAX_RANK];
  unsigned seen; /* 1 descr, 2 fortran_order, 4 shape */
} Header;

static const char *read_shape(Scan *s, Header *h) {
  if (!take(s, '('))
    return "NPY header: shape is not a tuple";
  while (!take(s, ')')) {
    if (h->rank == RT_MAX_RANK)
      return "more than 32 dimensions";
    if (!take_int(s, &h->dims[h->rank]))
      return "NPY header: a dimension is not a number, or too large";
    h->rank++;
    if (!take(s, ',') && (skip_space(s), s->p == s->end || *s->p != ')'))
      return "NPY header: shape is not a tuple";
  }
  return NULL;
}

static const char *read_header(Scan *s, Header *h) {
  if (!take(s, '{'))
    return "NPY header is not a dictionary";
  while (!take(s, '}')) {
    char key[16];
    unsigned bit = 0;
    if (!take_string(s, key, sizeof key) || !take(s, ':'))
      return "NPY header: malformed key";
    if (!strcmp(key, "descr")) {
      bit = 1;
      skip_space(s);
      if (s->p < s->end && *s->p == '[')
        return "NPY arrays of structures are not supported";
      if (!take_string(s, h->descr, sizeof h->descr))
        return "NPY header: malformed descr";
    } else if (!strcmp(key, "fortran_order")) {
      bit = 2;
      h->fortran = take_word(s, "True");
      if (!h->fortran && !take_word(s, "False"))
        return "NPY header: fortran_order is neither True nor False";
    } else if (!strcmp(key, "shape")) {
      bit = 4;
      if (h->seen & 4)
        return "NPY header: a key comes twice";
      const char *wrong = read_shape(s, h);
      if (wrong)
        return wrong;
    } else
      return "NPY header: unknown key";
    if (h->seen & bit)
      return "NPY header: a key comes twice";
    h->seen |= bit;
    if (!take(s, ',') && (skip_space(s), s->p == s->end || *s->p != '}'))
      return "NPY header: malformed dictionary";
  }
  skip_space(s);
  if (s->p != s->end)
    return "NPY header: text after the dictionary";
  if (h->seen != 7)
    return "NPY header lacks descr, fortran_order or shape";
  return NULL;
}

static const char *check_descr(const char *d, char *kind, int *size) {
  if (d[0] == '>')
    return "big-endian NPY data is not supported";
  if ((d[0] != '<' && d[0] != '|' && d[0] != '=') || !d[1] || d[2] < '1' || d[2] > '9' || d[3])
    return "NPY element type is not supported";
  *kind = d[1];
  *size = d[2] - '0';
  int ok = *kind == 'f' ? *size == 2 || *size == 4 || *size == 8
         : *kind == 'i' || *kind == 'u' ? *size == 1 || *size == 2 || *size == 4 || *size == 8
         : *kind == 'b' && *size == 1;
  if (!ok || (d[0] == '|' && *size != 1))
    return "NPY element type is not supported";
  return NULL;
}

const char *rt_npy_parse(const void *bytes, size_t n, uint64_t max_bytes, RtArray *a) {
  const unsigned char *b = bytes;
  memset(a, 0, sizeof *a);
  if (n < 8 || memcmp(b, "\x93NUMPY", 6))
    return "not an NPY file";
  if (b[6] < 1 || b[6] > 3 || b[7] != 0)
    return "NPY version is not 1.0, 2.0 or 3.0";
  size_t lead = b[6] == 1 ? 10 : 12;
  if (n < lead)
    return "NPY file is cut short";
  uint32_t len = b[8] | (uint32_t)b[9] << 8;
  if (b[6] > 1)
    len |= (uint32_t)b[10] << 16 | (uint32_t)b[11] << 24;
  if (len > MAX_HEADER)
    return "NPY header is larger than 64 KiB";
  if (n - lead < len)
    return "NPY file is cut short";
  Header h = {0};
  Scan s = {(const char *)b + lead, (const char *)b + lead + len};
  char kind;
  int size;
  const char *wrong = read_header(&s, &h);
  if (!wrong)
    wrong = check_descr(h.descr, &kind, &size);
  if (!wrong && h.fortran && h.rank > 1)
    wrong = "NPY array in Fortran order is not supported: save numpy.ascontiguousarray(x)";
  if (wrong)
    return wrong;
  /* Before anything is allocated: the header may declare what the file does not have. */
  size_t have = n - lead - len;
  wrong = rt_array_new(a, kind, size, h.rank, h.dims, have < max_bytes ? have : max_bytes);
  if (wrong)
    return have < max_bytes && !strcmp(wrong, "array larger than the limit") ? "NPY file is cut short" : wrong;
  size_t want = (size_t)a->n * (size_t)size;
  if (have != want) {
    rt_array_free(a);
    return "bytes after the end of the NPY array";
  }
  memcpy(a->data, b + lead + len, want);
  if (!rt_host_is_little())
    rt_array_swap(a);
  if (kind == 'b')
    for (size_t i = 0; i < want; i++)
      ((unsigned char *)a->data)[i] = ((unsigned char *)a->data)[i] != 0;
  return NULL;
}

const char *rt_npy_read(const char *path, uint64_t max_bytes, RtArray *a) {
  unsigned char *bytes;
  size_t n;
  memset(a, 0, sizeof *a);
  uint64_t limit = max_bytes > UINT64_MAX - MAX_HEADER - 12 ? UINT64_MAX : max_bytes + MAX_HEADER + 12;
  const char *wrong = rt_file_read(path, limit, &bytes, &n);
  if (!wrong)
    wrong = rt_npy_parse(bytes, n, max_bytes, a);
  free(bytes);
  return wrong;
}

const char *rt_npy_format(const RtArray *a, unsigned char **bytes, size_t *n) {
  char dict[64 + 24 * RT_MAX_RANK];
  int len = snprintf(dict, sizeof dict, "{'descr': '%c%c%d', 'fortran_order': False, 'shape': (", a->size == 1 ? '|' : '<',
                     a->kind, a->size);
  for (int i = 0; i < a->rank; i++)
    len += snprintf(dict + len, sizeof dict - (size_t)len, "%s%" PRId64, i ? ", " : "", a->dims[i]);
  len += snprintf(dict + len, sizeof dict - (size_t)len, "%s), }", a->rank == 1 ? "," : "");
  size_t lead = (10 + (size_t)len + 1 + 63) / 64 * 64, body = (size_t)a->n * a->size;
  unsigned char *b = malloc(lead + body);
  *bytes = NULL;
  *n = 0;
  if (!b)
    return "out of memory";
  memset(b, ' ', lead);
  memcpy(b, "\x93NUMPY\x01\x00", 8);
  b[8] = (unsigned char)((lead - 10) & 255);
  b[9] = (unsigned char)((lead - 10) >> 8);
  memcpy(b + 10, dict, (size_t)len);
  b[lead - 1] = '\n';
  if (body)
    memcpy(b + lead, a->data, body);
  if (!rt_host_is_little() && body) {
    RtArray view = *a;
    view.data = b + lead;
    rt_array_swap(&view);
  }
  *bytes = b;
  *n = lead + body;
  return NULL;
}

const char *rt_npy_write(const char *path, const RtArray *a) {
  unsigned char *b;
  size_t n;
  const char *wrong = rt_npy_format(a, &b, &n);
  if (wrong)
    return wrong;
  FILE *f = fopen(path, "wb");
  if (!f)
    wrong = "cannot open for writing";
  else {
    if (fwrite(b, 1, n, f) != n)
      wrong = "cannot write";
    if (fclose(f) && !wrong)
      wrong = "cannot write";
  }
  free(b);
  return wrong;
}
