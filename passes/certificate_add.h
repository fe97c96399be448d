/* Adding to a certificate. Internal to passes/. */
#ifndef POPSHIFT_PASSES_CERTIFICATE_ADD_H
#define POPSHIFT_PASSES_CERTIFICATE_ADD_H

#include "passes/certificate.h"
#include "passes/range.h"
#include "passes/region.h"

/* The region's steps and constants; of *form are taken lo, hi, lo2, hi2, factor and offset. The number for Attr.certified. */
int certificate_add(Certificate *, Ranges *, const Region *, const CertEntry *form);

#endif
