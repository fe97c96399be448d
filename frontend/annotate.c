/* quantization_annotation: FINN's and QONNX's claims about tensors (FORMATS 1, data types). A claim about a constant is checked; one about
 * anything computed is not needed, since what is provable is recognised without it, and not believed, since what is not would change values. */
#include "frontend/model.h"
#include "frontend/scope.h"

#include <math.h>
#include <string.h>

/* Range and steps of BIPOLAR, BINARY, TERNARY, INTn, UINTn; false for others (floats, fixed and scaled types). */
static bool datatype(const char *name, int64_t *lo, int64_t *hi, bool *no_zero) {
  *no_zero = !strcmp(name, "BIPOLAR");
  if (*no_zero || !strcmp(name, "TERNARY")) return *lo = -1, *hi = 1, true;
  if (!strcmp(name, "BINARY")) return *lo = 0, *hi = 1, true;
  bool is_unsigned = *name == 'U';
  int64_t bits;
  if (strncmp(name + is_unsigned, "INT", 3) || !parse_i64(name + is_unsigned + 3, strlen(name + is_unsigned + 3), &bits) || bits < 1 || bits > 53) return false;
  Elem e = is_unsigned ? UINTK(bits) : INTK(bits);
  return *lo = elem_lo(e), *hi = elem_hi(e), true;
}

void annotations_check(Ctx *ctx, Arena *arena, const char *file, const Model *m, const Names *names) {
  const Onnx__GraphProto *p = m->p->graph;
  for (size_t i = 0; i < p->n_quantization_annotation; i++) {
    const Onnx__TensorAnnotation *a = p->quantization_annotation[i];
    const NameSlot *slot = a->tensor_name ? names_find(names, a->tensor_name) : NULL;
    int64_t lo, hi;
    bool no_zero;
    if (!slot || !slot->node || !node_is_const(slot->node)) continue;
    for (size_t k = 0; k < a->n_quant_parameter_tensor_names; k++) {
      const Onnx__StringStringEntryProto *e = a->quant_parameter_tensor_names[k];
      if (strcmp(text_of(e->key), "finn_datatype") || !datatype(text_of(e->value), &lo, &hi, &no_zero)) continue;
      const Tensor *t = slot->node->a.value;
      for (int64_t j = 0; j < t->n; j++) {
        double v = tensor_f(t, j);
        if (v >= (double)lo && v <= (double)hi && v == floor(v) && !(no_zero && v == 0)) continue;
        Loc loc = {.file = file, .line = -1, .node = -1, .name = arena_strdup(arena, a->tensor_name)};
        diag_warn(ctx, E0802, &loc, "the tensor is annotated %s, but holds %g: its values count", text_of(e->value), v);
        break;
      }
    }
  }
}
