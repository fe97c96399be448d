#include "runtime/npz.h"

#include "runtime/idx.h"
#include "runtime/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef POPSHIFT_LIBZIP
#include <zip.h>
#endif

enum { MAX_LEAD = (1 << 16) + 12, MAX_NAME = 4096 };

const char *rt_npz_colon(const char *spec) {
  size_t n = strlen(spec);
  if (n > 4 && !strcmp(spec + n - 4, ".npz"))
    return spec + n;
  const char *colon = strrchr(spec, ':');
  return colon && colon - spec > 4 && !memcmp(colon - 4, ".npz", 4) ? colon : NULL;
}

#ifdef POPSHIFT_LIBZIP
/* Zip archives say sizes, and lie: what comes out is counted. */
static const char *unpack(zip_file_t *f, uint64_t max, unsigned char **bytes, size_t *n) {
  size_t used = 0, cap = 0;
  for (;;) {
    if (used == cap) {
      if (used > max)
        return "array larger than the limit";
      cap = cap ? 2 * cap : 1 << 16;
      unsigned char *q = realloc(*bytes, cap);
      if (!q)
        return "out of memory";
      *bytes = q;
    }
    zip_int64_t got = zip_fread(f, *bytes + used, cap - used);
    if (got < 0)
      return "NPZ member is damaged or cut short";
    if (!got)
      break;
    used += (size_t)got;
  }
  if (used > max)
    return "array larger than the limit";
  *n = used;
  return NULL;
}

static const char *read_member(zip_t *z, const char *name, uint64_t max_bytes, RtArray *a) {
  char member[MAX_NAME + 8];
  unsigned char *bytes = NULL;
  size_t n = 0;
  if (strlen(name) > MAX_NAME)
    return "NPZ array's name is longer than 4096 bytes";
  snprintf(member, sizeof member, "%s.npy", name);
  zip_int64_t at = zip_name_locate(z, member, ZIP_FL_ENC_RAW);
  if (at < 0)
    return "no array of this name in the NPZ file";
  zip_file_t *f = zip_fopen_index(z, (zip_uint64_t)at, 0);
  if (!f)
    return "NPZ member cannot be read: encrypted, damaged, or packed by an unknown method";
  const char *wrong = unpack(f, max_bytes > UINT64_MAX - MAX_LEAD ? UINT64_MAX : max_bytes + MAX_LEAD, &bytes, &n);
  zip_fclose(f);
  if (!wrong)
    wrong = rt_npy_parse(bytes, n, max_bytes, a);
  free(bytes);
  return wrong;
}

const char *rt_npz_read(const char *path, const char *name, uint64_t max_bytes, RtArray *a) {
  int error = 0;
  memset(a, 0, sizeof *a);
  zip_t *z = zip_open(path, ZIP_RDONLY, &error);
  if (!z)
    return error == ZIP_ER_OPEN || error == ZIP_ER_NOENT || error == ZIP_ER_READ ? "cannot open" : "not an NPZ file, or cut short";
  const char *wrong = read_member(z, name, max_bytes, a);
  zip_discard(z);
  return wrong;
}

int rt_npz_has(const char *path, const char *name) {
  char member[MAX_NAME + 8];
  zip_t *z = strlen(name) > MAX_NAME ? NULL : zip_open(path, ZIP_RDONLY, NULL);
  if (!z)
    return 0;
  snprintf(member, sizeof member, "%s.npy", name);
  int has = zip_name_locate(z, member, ZIP_FL_ENC_RAW) >= 0;
  zip_discard(z);
  return has;
}
#else
const char *rt_npz_read(const char *path, const char *name, uint64_t max_bytes, RtArray *a) {
  (void)path, (void)name, (void)max_bytes;
  memset(a, 0, sizeof *a);
  return "NPZ file, but this program was built without libzip";
}

int rt_npz_has(const char *path, const char *name) {
  (void)path, (void)name;
  return 0;
}
#endif

const char *rt_any_read(const char *spec, uint64_t max_bytes, RtArray *a) {
  size_t n = strlen(spec);
  const char *colon = rt_npz_colon(spec);
  if (n > 4 && !strcmp(spec + n - 4, ".npy"))
    return rt_npy_read(spec, max_bytes, a);
  if (!colon)
    return rt_idx_read(spec, max_bytes, a);
  memset(a, 0, sizeof *a);
  if (!*colon)
    return "which array? FILE.npz:NAME";
  char *path = malloc((size_t)(colon - spec) + 1);
  if (!path)
    return "out of memory";
  memcpy(path, spec, (size_t)(colon - spec));
  path[colon - spec] = 0;
  const char *wrong = rt_npz_read(path, colon + 1, max_bytes, a);
  free(path);
  return wrong;
}
