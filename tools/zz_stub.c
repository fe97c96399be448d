#include "backends/hls/hls_backend.h"
bool hls_emit(Ctx *c, const Program *p, const HlsOptions *o, OutFiles *f) { (void)p;(void)o;(void)f; return diag(c, E0307, NULL, "no hls"); }
