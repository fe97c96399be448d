/* Numbers in CSV: cells with commas between, a line a row; spaces around a number, empty lines and a mark of UTF-8 in front do not matter.
 * A first line where no cell is a number is a header. */
#ifndef POPSHIFT_RT_CSV_H
#define POPSHIFT_RT_CSV_H

#include "runtime/array.h"

/* column 0: all of them, f4 [N, columns], every row as long as the first; else that column (from 1) alone, f8 [N], whatever the others hold.
 * Numbers are finite decimals. *line: where it is wrong, from 1; 0: not of one line. */
const char *rt_csv_parse(const void *bytes, size_t n, int column, uint64_t max_bytes, RtArray *, int *line);
const char *rt_csv_read(const char *path, int column, uint64_t max_bytes, RtArray *, int *line);
int rt_csv_line(const char *path, uint64_t max_bytes, int64_t row); /* where a row, from 0, of a table that was read lies; 0: it cannot be read again */

#endif
