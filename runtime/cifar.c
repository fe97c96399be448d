#include "runtime/cifar.h"

#include <stdlib.h>
#include <string.h>

enum { PIXELS = 3 * 32 * 32 };

const char *rt_cifar_parse(const void *bytes, size_t n, int label_bytes, uint64_t max_bytes, RtArray *images, RtArray *labels) {
  const unsigned char *b = bytes;
  memset(images, 0, sizeof *images);
  memset(labels, 0, sizeof *labels);
  if (label_bytes == 0) {
    int ten = n % (PIXELS + 1) == 0, hundred = n % (PIXELS + 2) == 0;
    if (ten && hundred && n)
      return "size fits CIFAR-10 and CIFAR-100 records: say which";
    label_bytes = hundred && !ten ? 2 : 1;
  }
  int coarse = label_bytes == RT_CIFAR_COARSE;
  if (coarse)
    label_bytes = 2;
  size_t record = PIXELS + (size_t)label_bytes;
  if (n == 0 || n % record)
    return "not a whole number of CIFAR records";
  int64_t count = (int64_t)(n / record), dims[4] = {count, 3, 32, 32};
  const char *wrong = rt_array_new(images, 'u', 1, 4, dims, max_bytes);
  if (!wrong)
    wrong = rt_array_new(labels, 'u', 1, 1, dims, max_bytes);
  int classes = coarse ? 20 : label_bytes == 1 ? 10 : 100, which = coarse ? 0 : label_bytes - 1;
  for (int64_t i = 0; i < count && !wrong; i++, b += record) {
    if (b[which] >= classes)
      wrong = "a CIFAR label is out of range";
    ((unsigned char *)labels->data)[i] = b[which];
    memcpy((unsigned char *)images->data + i * PIXELS, b + label_bytes, PIXELS);
  }
  if (wrong) {
    rt_array_free(images);
    rt_array_free(labels);
  }
  return wrong;
}

const char *rt_cifar_read(const char *path, int label_bytes, uint64_t max_bytes, RtArray *images, RtArray *labels) {
  unsigned char *bytes;
  size_t n;
  memset(images, 0, sizeof *images);
  memset(labels, 0, sizeof *labels);
  uint64_t limit = max_bytes > UINT64_MAX / 2 ? UINT64_MAX : 2 * max_bytes;
  const char *wrong = rt_file_read(path, limit, &bytes, &n);
  if (!wrong)
    wrong = rt_cifar_parse(bytes, n, label_bytes, max_bytes, images, labels);
  free(bytes);
  return wrong;
}
