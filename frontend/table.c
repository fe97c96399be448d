/* The operators that are read. */
#include "frontend/import.h"

#include <string.h>

const OpRow onnx_rows[] = {
#define ROW(domain, name, since, upto, fn, how, min_in, max_in, max_out, flags, types, attrs, limits) \
  {domain, #name, since, upto, fn, how, min_in, max_in, max_out, flags, types, attrs, limits},
#include "frontend/operators.def"
#undef ROW
};
const int onnx_n_rows = sizeof onnx_rows / sizeof onnx_rows[0];

const OpRow *onnx_row(const char *domain, const char *name, int64_t opset, const OpRow **any) {
  *any = NULL;
  for (int i = 0; i < onnx_n_rows; i++) {
    const OpRow *r = &onnx_rows[i];
    if (strcmp(r->name, name) || strcmp(r->domain, domain)) continue;
    if (opset >= r->since && opset <= r->upto) return r;
    *any = r;
  }
  return NULL;
}

int onnx_op_count(void) { return onnx_n_rows; }

OnnxOp onnx_op_get(int i) {
  const OpRow *r = &onnx_rows[i];
  return (OnnxOp){r->domain, r->name, r->since, r->upto, r->limits};
}
