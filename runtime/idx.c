#include "runtime/idx.h"

#include <stdlib.h>
#include <string.h>

#ifdef POPSHIFT_ZLIB
#include <zlib.h>

static const char *inflate_all(z_stream *z, uint64_t max_bytes, unsigned char **out, size_t *n_out) {
  size_t cap = 0, used = 0;
  for (;;) {
    if (used == cap) {
      if (used > max_bytes)
        return "array larger than the limit";
      cap = cap ? 2 * cap : 1 << 16;
      unsigned char *q = realloc(*out, cap);
      if (!q)
        return "out of memory";
      *out = q;
    }
    size_t room = cap - used;
    z->next_out = *out + used;
    z->avail_out = room > 1u << 30 ? 1u << 30 : (uInt)room;
    uInt before = z->avail_out;
    int rc = inflate(z, Z_NO_FLUSH);
    used += before - z->avail_out;
    if (rc == Z_STREAM_END)
      break;
    if (rc == Z_BUF_ERROR || (rc == Z_OK && z->avail_in == 0 && z->avail_out))
      return "gzip data is cut short";
    if (rc != Z_OK)
      return rc == Z_MEM_ERROR ? "out of memory" : "gzip data is damaged";
  }
  if (z->avail_in)
    return "bytes after the end of the gzip data";
  *n_out = used;
  return NULL;
}

static const char *gunzip(const unsigned char *b, size_t n, uint64_t max_bytes, unsigned char **out, size_t *n_out) {
  z_stream z = {0};
  *out = NULL;
  if (n > 0xffffffffu)
    return "gzip data larger than 4 GiB";
  if (inflateInit2(&z, 15 + 16) != Z_OK)
    return "out of memory";
  z.next_in = (Bytef *)(uintptr_t)b;
  z.avail_in = (uInt)n;
  const char *wrong = inflate_all(&z, max_bytes, out, n_out);
  inflateEnd(&z);
  if (wrong) {
    free(*out);
    *out = NULL;
  }
  return wrong;
}
#endif

static int element(unsigned char code, char *kind, int *size) {
  switch (code) {
  case 0x08: return *kind = 'u', *size = 1;
  case 0x09: return *kind = 'i', *size = 1;
  case 0x0B: return *kind = 'i', *size = 2;
  case 0x0C: return *kind = 'i', *size = 4;
  case 0x0D: return *kind = 'f', *size = 4;
  case 0x0E: return *kind = 'f', *size = 8;
  default: return 0;
  }
}

static const char *parse_plain(const unsigned char *b, size_t n, uint64_t max_bytes, RtArray *a) {
  char kind;
  int size;
  if (n < 4 || b[0] || b[1])
    return "not an IDX file";
  if (!element(b[2], &kind, &size))
    return "IDX element type is unknown";
  int rank = b[3];
  if (rank > RT_MAX_RANK)
    return "more than 32 dimensions";
  size_t lead = 4 + 4 * (size_t)rank;
  if (n < lead)
    return "IDX file is cut short";
  int64_t dims[RT_MAX_RANK];
  for (int i = 0; i < rank; i++) {
    const unsigned char *p = b + 4 + 4 * i;
    dims[i] = (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
  }
  size_t have = n - lead;
  const char *wrong = rt_array_new(a, kind, size, rank, dims, have < max_bytes ? have : max_bytes);
  if (wrong)
    return have < max_bytes && !strcmp(wrong, "array larger than the limit") ? "IDX file is cut short" : wrong;
  size_t want = (size_t)a->n * (size_t)size;
  if (have != want) {
    rt_array_free(a);
    return "bytes after the end of the IDX array";
  }
  memcpy(a->data, b + lead, want);
  if (rt_host_is_little())
    rt_array_swap(a);
  return NULL;
}

const char *rt_idx_parse(const void *bytes, size_t n, uint64_t max_bytes, RtArray *a) {
  const unsigned char *b = bytes;
  memset(a, 0, sizeof *a);
  if (n < 2 || b[0] != 0x1f || b[1] != 0x8b)
    return parse_plain(b, n, max_bytes, a);
#ifdef POPSHIFT_ZLIB
  unsigned char *plain;
  size_t n_plain;
  const char *wrong = gunzip(b, n, max_bytes, &plain, &n_plain);
  if (wrong)
    return wrong;
  wrong = parse_plain(plain, n_plain, max_bytes, a);
  free(plain);
  return wrong;
#else
  return "gzip file, but this program was built without zlib";
#endif
}

const char *rt_idx_read(const char *path, uint64_t max_bytes, RtArray *a) {
  unsigned char *bytes;
  size_t n;
  memset(a, 0, sizeof *a);
  uint64_t limit = max_bytes > UINT64_MAX - 1024 ? UINT64_MAX : max_bytes + 1024;
  const char *wrong = rt_file_read(path, limit, &bytes, &n);
  if (!wrong)
    wrong = rt_idx_parse(bytes, n, max_bytes, a);
  free(bytes);
  return wrong;
}
