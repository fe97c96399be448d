/* Adding to a certificate. Internal to passes/. */
#ifndef POPSHIFT_PASSES_CERTIFICATE_ADD_H
#define POPSHIFT_PASSES_CERTIFICATE_ADD_H

#include "passes/certificate.h"
#include "passes/range.h"
#include "passes/region.h"

/* The region's steps and constants; of *form are taken lo, hi, lo2, hi2, factor and offset. The number for Attr.certified. */
int certificate_add(Certificate *, Ranges *, const Region *, const CertEntry *form);
/* Thresholds are about to be clipped to the range that their integers have now, lo[r]..hi[r] in row r (rows 1: of all), which may be narrower
 * than it was: so does the entry's. */
void certificate_narrow(Certificate *, Ranges *, const Node *levels, int64_t rows, const int64_t *lo, const int64_t *hi);

#endif
