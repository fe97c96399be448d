#define _GNU_SOURCE
#include "frontend/tensor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Component by component with O_NOFOLLOW, where the kernel has no openat2. dir is not closed. */
static int open_by_steps(int dir, const char *location) {
  int at = dup(dir);
  for (const char *p = location; at >= 0;) {
    size_t len = strcspn(p, "/");
    char part[256];
    if (len == 0 || len >= sizeof part || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.')) break;
    memcpy(part, p, len);
    part[len] = 0;
    bool last = p[len] == 0;
    int next = openat(at, part, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (last ? 0 : O_DIRECTORY));
    close(at);
    if (last || next < 0) return next;
    at = next;
    p += len + 1;
  }
  if (at >= 0) { close(at); errno = EXDEV; }
  return -1;
}

static int open_beneath(int dir, const char *location) {
  struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  long fd = syscall(SYS_openat2, dir, location, &how, sizeof how);
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return (int)fd;
  return open_by_steps(dir, location);
}

int external_open(const TensorSource *src, const char *location) {
  int dir = open(src->root && *src->root ? src->root : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) { diag(src->ctx, E0105, &src->loc, "folder of external data: %s", strerror(errno)); return -1; }
  int fd = open_beneath(dir, location);
  int why = errno;
  close(dir);
  struct stat st;
  if (fd < 0)
    diag(src->ctx, E0105, &src->loc, "external data \"%s\": %s", location,
         why == EXDEV || why == ELOOP ? "outside the model's folder, or a link" : strerror(why));
  else if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1) {
    diag(src->ctx, E0105, &src->loc, "external data \"%s\" is not a regular file with one name", location);
    close(fd);
    fd = -1;
  }
  return fd;
}

/* Non-negative decimal. */
static bool number(const char *text, int64_t *v) {
  *v = 0;
  if (!*text) return false;
  for (; *text; text++)
    if (*text < '0' || *text > '9' || !mul_ok(*v, 10, v) || !add_ok(*v, *text - '0', v)) return false;
  return true;
}

static bool entries(const TensorSource *src, const Onnx__TensorProto *p, const char **location, int64_t *offset, int64_t *length) {
  *location = NULL, *offset = 0, *length = -1;
  for (size_t i = 0; i < p->n_external_data; i++) {
    const char *key = p->external_data[i]->key, *value = p->external_data[i]->value;
    if (!key || !value) return diag(src->ctx, E0105, &src->loc, "an entry of the external data has no key or no value");
    if (!strcmp(key, "location")) *location = value;
    else if (!strcmp(key, "offset") || !strcmp(key, "length")) {
      if (!number(value, key[0] == 'o' ? offset : length))
        return diag(src->ctx, E0105, &src->loc, "%s of external data is \"%s\", not a number of bytes", key, value);
    } else if (strcmp(key, "checksum") && strcmp(key, "basepath"))
      return diag(src->ctx, E0105, &src->loc, "external data has the unknown entry \"%s\"", key);
  }
  return *location || diag(src->ctx, E0105, &src->loc, "external data names no file");
}

static bool read_all(int fd, uint8_t *to, int64_t n, int64_t offset) {
  while (n > 0) {
    ssize_t got = pread(fd, to, n > (1 << 30) ? 1 << 30 : (size_t)n, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got, n -= got, offset += got;
  }
  return true;
}

const uint8_t *external_read(const TensorSource *src, Arena *arena, const Onnx__TensorProto *p, int64_t need) {
  const char *location;
  int64_t offset, length;
  if (!entries(src, p, &location, &offset, &length)) return NULL;
  int fd = external_open(src, location);
  if (fd < 0) return NULL;
  struct stat st;
  uint8_t *bytes = NULL;
  if (fstat(fd, &st) != 0)
    diag(src->ctx, E0105, &src->loc, "external data \"%s\": %s", location, strerror(errno));
  else if (offset > st.st_size || (length >= 0 && length > st.st_size - offset))
    diag(src->ctx, E0105, &src->loc, "external data \"%s\" has %lld bytes, its tensor lies beyond them", location, (long long)st.st_size);
  else if ((length >= 0 ? length : st.st_size - offset) < need || (length >= 0 && length != need))
    diag(src->ctx, src->bad, &src->loc, "external data has %lld bytes, the shape needs %lld",
         (long long)(length >= 0 ? length : st.st_size - offset), (long long)need);
  else {
    bytes = arena_alloc(arena, (size_t)need);
    if (!read_all(fd, bytes, need, offset)) {
      diag(src->ctx, E0105, &src->loc, "external data \"%s\" cannot be read", location);
      bytes = NULL;
    }
  }
  close(fd);
  return bytes;
}
