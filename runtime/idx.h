/* IDX, the file format of MNIST (yann.lecun.com/exdb/mnist): big-endian, u1 i1 i2 i4 f4 f8; plain, or in gzip where the
 * runtime is built with zlib. */
#ifndef POPSHIFT_RT_IDX_H
#define POPSHIFT_RT_IDX_H

#include "runtime/array.h"

const char *rt_idx_parse(const void *bytes, size_t n, uint64_t max_bytes, RtArray *); /* gzip is seen by its magic */
const char *rt_idx_read(const char *path, uint64_t max_bytes, RtArray *);

#endif
