/* What a run says while it trains: a log of JSON lines, one object per epoch, and a line of progress on a terminal. */
#ifndef POPSHIFT_TRAINER_TRAINLOG_H
#define POPSHIFT_TRAINER_TRAINLOG_H

#include "ir/base.h"

/* A number by name, FAMILY.WHAT: wsvr.conv1, bits.fc1. The page of curves draws a family in one panel. */
typedef struct Metric { const char *name; double value; } Metric;
typedef struct Metrics { Metric *p; int n, cap; Arena *arena; } Metrics;
void metric_add(Metrics *, const char *family, const char *of, double value); /* names are copied to the arena */

/* One line: {"schema": "popshift.trainlog/1", "kind": "epoch", "phase": "float", "phase_index": 0, "epoch": 3, ...}. Numbers
 * that are not finite are left out of the line, and NaN where a line that is read has none; nine digits are kept.
 * "metrics": {"wsvr.conv1": 0.1, ...} where there are any. */
typedef struct LogRow {
  const char *phase;
  int phase_index;
  int64_t epoch;                 /* over all phases: epochs finished */
  int64_t iteration;             /* over all phases: iterations done */
  double loss, accuracy;         /* of the epoch's training; accuracy in 0 .. 1 */
  double validation_accuracy, test_accuracy;
  double lr;
  double images_per_second, seconds;
  const Metric *metric; int n_metric;
} LogRow;

typedef struct TrainLog TrainLog;

/* Opens path for appending. iteration < 0: a new log, replacing what is there; else a resumed run's: lines with a greater
 * iteration, and a last line that was cut short, are dropped (atomically). NULL with E0501, E0502 or E0103 (no log of ours). */
TrainLog *trainlog_open(Ctx *, const char *path, int64_t iteration);
bool trainlog_write(TrainLog *, const LogRow *); /* one write(2) per line; E0502 */
void trainlog_close(TrainLog *);                 /* NULL is fine */
/* All lines, in the arena; false with E0501 or E0103 and its line. */
bool trainlog_read(Ctx *, Arena *, const char *path, LogRow **rows, int *n);

typedef struct Progress {
  const char *phase;
  int64_t epoch, epochs;         /* from 1, over all phases */
  int64_t step, steps;           /* in the epoch, from 1 */
  double loss, accuracy;         /* so far in the epoch */
  double validation_accuracy, test_accuracy; /* NaN until known */
  double images_per_second, seconds_left;
} Progress;

typedef struct ProgressLine { FILE *f; bool terminal, quiet; double shown; int width; } ProgressLine;
ProgressLine progress_new(FILE *, bool quiet);
/* On a terminal at most ten times a second over the same line, elsewhere nothing. now: seconds of a monotonic clock. */
void progress_show(ProgressLine *, const Progress *, double now);
void progress_epoch(ProgressLine *, const Progress *); /* a line that stays, terminal or not */
void progress_clear(ProgressLine *);             /* before anything else is printed, and at the end */
void progress_text(Str *, const Progress *);     /* float 3/12 [120/469] loss 0.4312, 84.21 %, test 83.90 %, 10250 images/s, 1:02 left */

#endif
