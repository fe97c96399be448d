/* NPZ: a zip of NPY files (numpy.savez, numpy.savez_compressed), read by libzip where the runtime is built with it. */
#ifndef POPSHIFT_RT_NPZ_H
#define POPSHIFT_RT_NPZ_H

#include "runtime/array.h"

/* Of FILE.npz:NAME the colon, of FILE.npz the text's end; NULL where it is no such name. */
const char *rt_npz_colon(const char *spec);

/* The array NAME (stored as NAME.npy). Whatever the file declares, no more than max_bytes and a header are unpacked. */
const char *rt_npz_read(const char *path, const char *name, uint64_t max_bytes, RtArray *);
/* 1 where the file has an array of this name; 0 where not, or where it cannot be read. */
int rt_npz_has(const char *path, const char *name);

/* An array by its file's name: .npy, .npz:NAME, else IDX. */
const char *rt_any_read(const char *spec, uint64_t max_bytes, RtArray *);

#endif
