/* Adding to a certificate. Internal to passes/. */
#ifndef POPSHIFT_PASSES_CERTIFICATE_ADD_H
#define POPSHIFT_PASSES_CERTIFICATE_ADD_H

#include "passes/certificate.h"
#include "passes/range.h"
#include "passes/region.h"

/* The region's steps and constants; of *form are taken lo, hi, lo2, hi2, factor and offset. The number for Attr.certified. */
int certificate_add(Certificate *, Ranges *, const Region *, const CertEntry *form);
/* The same function with these n of its rows only; one row for all stays one. Returns the new entry's number; that of no entry as it is. */
int certificate_cut(Certificate *, int number, const int64_t *kept, int64_t n);
int64_t certificate_rows(const Certificate *, int number); /* 0: no such entry */
/* The same function of `sum`, a node of the graph that the ranges are of, which is share[r] less (r: rows along `axis`, or rows 1: all). Returns
 * the new entry's number, or CERT_LOST. */
int certificate_share(Certificate *, Ranges *, int number, const Node *sum, int axis, const int64_t *share, int64_t rows);
enum { CERT_LOST = -1 };   /* Attr.certified of what had an entry, but is no longer what that says */
/* Thresholds are about to be clipped to the range that their integers have now, lo[r]..hi[r] in row r (rows 1: of all), which may be narrower
 * than it was: so does the entry's. */
void certificate_narrow(Certificate *, Ranges *, const Node *levels, int64_t rows, const int64_t *lo, const int64_t *hi);

#endif
