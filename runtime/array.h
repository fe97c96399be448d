/* A dense array as tensor files hold it. Used by the readers beside it; nothing else of the project is needed. */
#ifndef POPSHIFT_RT_ARRAY_H
#define POPSHIFT_RT_ARRAY_H

#include <stddef.h>
#include <stdint.h>

#define RT_MAX_RANK 32

typedef struct RtArray {
  char kind;                 /* 'f' float, 'i' signed, 'u' unsigned, 'b' bool (one byte each, 0 or 1) */
  uint8_t size;              /* bytes of an element: 1 2 4 8 */
  uint8_t rank;              /* 0: one element */
  int64_t dims[RT_MAX_RANK]; /* >= 0 */
  int64_t n;                 /* product of dims */
  void *data;                /* row-major, in the host's byte order; malloc'd, never NULL after a successful read */
} RtArray;

/* Every function of the readers that returns const char * gives NULL, or what is wrong: a constant text of one line
 * that the caller prints after the file's name. After a failure the result is empty, and rt_array_free is harmless. */
void rt_array_free(RtArray *); /* leaves it empty */

/* Sets kind, size, rank, dims, n and zeroed data. Refuses more than max_bytes of data. */
const char *rt_array_new(RtArray *, char kind, int size, int rank, const int64_t *dims, uint64_t max_bytes);

/* All of a file, at most max_bytes of it; *bytes is malloc'd, the caller frees. */
const char *rt_file_read(const char *path, uint64_t max_bytes, unsigned char **bytes, size_t *n);

/* Bytes of every element back to front, where the file's byte order is not the host's. */
void rt_array_swap(RtArray *);
int rt_host_is_little(void);

#endif
