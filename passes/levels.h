/* Levels of integers: a code-valued function of one integer as thresholds, requant or table nodes. Internal to passes/. */
#ifndef POPSHIFT_PASSES_LEVELS_H
#define POPSHIFT_PASSES_LEVELS_H

#include "ir/graph.h"
#include "passes/stairs.h"

enum {
  TABLE_RANGE = 1 << 16,   /* entries of a table's row */
  TABLE_MAX = 1 << 20,     /* of all rows */
  TABLE_CHEAP = 1 << 14,   /* a table of this size is better than many thresholds */
  LEVELS_FEW = 15          /* up to here thresholds are preferred */
};

/* A function of an integer x for every row: rows is 1, or the extent of x's dimension axis. */
typedef struct Levels {
  Elem result;
  int axis;
  int64_t rows, *lo, *hi;  /* [rows] range of x */
  Stairs *row;             /* [rows] where every row is a staircase, else NULL */
  int64_t most;            /* levels of the row that has most */
} Levels;

typedef int64_t LevelsFn(void *user, int64_t row, int64_t x);

/* Each returns NULL where the form is not possible. */
Node *levels_thresholds(Graph *, const Levels *, Node *x);
Node *levels_requant(Graph *, Arena *scratch, const Levels *, Node *x);  /* exact at every level, or NULL */
Node *levels_table(Graph *, const Levels *, LevelsFn *, void *user, Node *x);
int64_t levels_table_size(const Levels *, int64_t *least, int64_t *range); /* entries; 0 where too many */

#endif
