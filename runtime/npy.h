/* NPY, numpy's array file (numpy/lib/format.py, versions 1.0, 2.0 and 3.0). Little-endian f2 f4 f8, i1..i8, u1..u8 and b1,
 * in C order; structured, object and Fortran-ordered arrays are refused. */
#ifndef POPSHIFT_RT_NPY_H
#define POPSHIFT_RT_NPY_H

#include "runtime/array.h"

const char *rt_npy_parse(const void *bytes, size_t n, uint64_t max_bytes, RtArray *);
const char *rt_npy_read(const char *path, uint64_t max_bytes, RtArray *);

/* Version 1.0, data at a multiple of 64 bytes. *bytes is malloc'd; the caller frees. */
const char *rt_npy_format(const RtArray *, unsigned char **bytes, size_t *n);
/* Not atomic: the caller writes to a temporary name where that matters. */
const char *rt_npy_write(const char *path, const RtArray *);

#endif
