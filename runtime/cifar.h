/* CIFAR binary batches (Krizhevsky, 2009): records of one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100), then
 * 3x32x32 bytes: red plane, green plane, blue plane, each row by row. */
#ifndef POPSHIFT_RT_CIFAR_H
#define POPSHIFT_RT_CIFAR_H

#include "runtime/array.h"

/* images: u8 [N,3,32,32]; labels: u8 [N], the last label byte (fine). label_bytes: 1, 2, or 0: by the size, which must
 * then fit only one of the two; RT_CIFAR_COARSE: 2, and the labels are the first. Labels must be below 10, 100, or 20 where coarse. */
enum { RT_CIFAR_COARSE = -2 };
const char *rt_cifar_parse(const void *bytes, size_t n, int label_bytes, uint64_t max_bytes, RtArray *images, RtArray *labels);
const char *rt_cifar_read(const char *path, int label_bytes, uint64_t max_bytes, RtArray *images, RtArray *labels);

#endif
