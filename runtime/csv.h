/* Numbers in CSV: cells with commas between, a line a row; spaces around a number and empty lines do not matter. A first line where a wanted
 * cell is no number is a header. */
#ifndef POPSHIFT_RT_CSV_H
#define POPSHIFT_RT_CSV_H

#include "runtime/array.h"

/* column 0: all of them, f4 [N, columns], every row as long as the first; else that column (from 1) alone, f8 [N], whatever the others hold.
 * Numbers are finite decimals. *line: where it is wrong, from 1; 0: not of one line. */
const char *rt_csv_parse(const void *bytes, size_t n, int column, uint64_t max_bytes, RtArray *, int *line);
const char *rt_csv_read(const char *path, int column, uint64_t max_bytes, RtArray *, int *line);

#endif
