/* The certificate of a compiled model as JSON ("schema": "popshift.certificate/1", docs/VERIFY.md): for every function of integers that pass
 * thresholds replaced, what it means, on which integers, why they are in that range, and the constants that the finished graph has for it. */
#ifndef POPSHIFT_TOOLS_CERTIFICATE_H
#define POPSHIFT_TOOLS_CERTIFICATE_H

#include "passes/certificate.h"

#include <jansson.h>

/* g: the graph that is lowered. Entries that no node of it carries are left out; nodes that no entry explains are counted as unexplained. */
json_t *certificate_json(const Certificate *, Ctx *, const Graph *g, const char *model_sha, const char *target);

#endif
