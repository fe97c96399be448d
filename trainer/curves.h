/* Training curves: one SVG that stands alone, and an HTML page with it, a table of epochs and the recipe. */
#ifndef POPSHIFT_TRAINER_CURVES_H
#define POPSHIFT_TRAINER_CURVES_H

#include "ir/base.h"

typedef struct CurvePoint {
  double epoch;                  /* ascending, over all phases */
  double train_loss;             /* NaN: none, in this and the next three */
  double train_accuracy, test_accuracy; /* 0 .. 1 */
  double validation_accuracy;
} CurvePoint;

typedef struct CurvePhase { const char *name; double begin, end; } CurvePhase; /* epochs; the second ends where the third begins */

/* Any other number: the page draws series whose names agree up to the first dot in one panel. */
typedef struct CurveSeries { const char *name; double *epoch, *value; int n; } CurveSeries;

typedef struct Curves {
  const char *title;             /* texts are escaped */
  const char *subtitle;          /* or NULL */
  const CurvePoint *point;
  int n_point;
  const CurvePhase *phase;
  int n_phase;
  const CurveSeries *series;     /* on the page only */
  int n_series;
} Curves;

void curves_svg(Str *, const Curves *);
/* A page of series alone, a panel for each family, above it a text as it is; for several runs, each a series of a family. */
void curves_page(Str *, const char *title, const char *above, const CurveSeries *, int n);
void curves_html(Str *, const Curves *, const char *recipe); /* recipe: text, or NULL */

#endif
