#define _FILE_OFFSET_BITS 64
#include "runtime/array.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rt_array_free(RtArray *a) {
  free(a->data);
  memset(a, 0, sizeof *a);
}

const char *rt_array_new(RtArray *a, char kind, int size, int rank, const int64_t *dims, uint64_t max_bytes) {
  memset(a, 0, sizeof *a);
  if (rank < 0 || rank > RT_MAX_RANK)
    return "more than 32 dimensions";
  int64_t n = 1;
  int empty = 0;
  for (int i = 0; i < rank; i++) {
    if (dims[i] < 0)
      return "negative dimension";
    if (dims[i] == 0)
      empty = 1;
    else if (n > INT64_MAX / dims[i])
      return "size of the array overflows";
    else
      n *= dims[i];
  }
  if (empty)
    n = 0;
  if ((uint64_t)n > max_bytes / (uint64_t)size || (uint64_t)n > SIZE_MAX / (size_t)size)
    return "array larger than the limit";
  a->data = calloc(n ? (size_t)n : 1, (size_t)size);
  if (!a->data)
    return "out of memory";
  a->kind = kind;
  a->size = (uint8_t)size;
  a->rank = (uint8_t)rank;
  for (int i = 0; i < rank; i++)
    a->dims[i] = dims[i];
  a->n = n;
  return NULL;
}

/* Reads in growing pieces: works for pipes too, and a wrong size in the directory costs nothing. */
const char *rt_file_read(const char *path, uint64_t max_bytes, unsigned char **bytes, size_t *n) {
  *bytes = NULL;
  *n = 0;
  FILE *f = fopen(path, "rb");
  if (!f)
    return "cannot open";
  unsigned char *p = NULL;
  size_t used = 0, cap = 0;
  const char *wrong = NULL;
  for (;;) {
    if (used == cap) {
      cap = cap ? 2 * cap : 1 << 16;
      unsigned char *q = realloc(p, cap);
      if (!q) {
        wrong = "out of memory";
        break;
      }
      p = q;
    }
    size_t got = fread(p + used, 1, cap - used, f);
    used += got;
    if (used > max_bytes) {
      wrong = "file larger than the limit";
      break;
    }
    if (!got) {
      if (ferror(f))
        wrong = "cannot read";
      break;
    }
  }
  fclose(f);
  if (wrong) {
    free(p);
    return wrong;
  }
  *bytes = p;
  *n = used;
  return NULL;
}

void rt_array_swap(RtArray *a) {
  unsigned char *p = a->data;
  for (int64_t i = 0; i < a->n; i++, p += a->size) {
    for (int lo = 0, hi = a->size - 1; lo < hi; lo++, hi--) {
      unsigned char t = p[lo];
      p[lo] = p[hi];
      p[hi] = t;
    }
  }
}

int rt_host_is_little(void) {
  const uint16_t one = 1;
  unsigned char first;
  memcpy(&first, &one, 1);
  return first;
}
