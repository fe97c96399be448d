/* Shared by the hls_*.c files only. */
#ifndef POPSHIFT_BACKENDS_HLS_UNIT_H
#define POPSHIFT_BACKENDS_HLS_UNIT_H

#include "backends/c/c_print.h"
#include "backends/hls/hls_backend.h"

typedef struct Touch { uint8_t *reads, *writes; } Touch; /* by buffer */

typedef struct Unit {
  Printer pr;
  const Program *p;
  const HlsOptions *opt;
  const char *part;
  const char **in, **out; /* identifiers of the ports: files and arrays of the testbench */
  Touch *touch;           /* by nest */
  Touch all;
} Unit;

bool hls_dataflow(const Unit *); /* each array has one writer and one reader after it */
int64_t hls_count(const Buf *);  /* elements of its array: at least one */
const char *hls_store_type(const Buf *);
void hls_source(Unit *, Str *);
void hls_header(Unit *, Str *);
void hls_testbench(Unit *, Str *);
void hls_vectors(Unit *, OutFiles *, Arena *);
void hls_scripts(Unit *, OutFiles *, Arena *);

#endif
