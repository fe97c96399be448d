/* C backend: Program -> one .c and one .h, C99 (docs/ARCHITECTURE.md, "Generated C"). */
#ifndef POPSHIFT_BACKENDS_C_H
#define POPSHIFT_BACKENDS_C_H

#include "ir/nest.h"
#include "runtime/cpu.h"

typedef struct COptions {
  const char *name;      /* prefix of every symbol; NULL: the program's name */
  int word;              /* bytes of a pointer on the machine, for the stack's figure; 0: 8 */
  const char *model_sha; /* hex SHA-256 of the model file for the banner, or NULL */
  const char *const *class_name; int n_classes; /* of a classifier's outputs, in order: a macro in the header; 0: none */
  const char *input;     /* how images become input, a line, or NULL */
} COptions;

/* Adds NAME.c and NAME.h to files. The program is planned and verified and not exact. False with a diagnostic. */
bool c_emit(Ctx *, const Program *, const COptions *, OutFiles *files);

/* Several programs of one model, each for its machine, in one NAME.c: init chooses the first that the processor can run. Variants come in the
 * order of preference, the last one runs anywhere: its arch is "". Features are in runtime/cpu.def. */
typedef struct CVariant { const Program *p; RtMachine machine; } CVariant;
bool c_emit_variants(Ctx *, const CVariant *, int n, const COptions *, OutFiles *files);

/* Bytes of the constants that steps read, as the C text lays them out; of padding between them linkers add their own. */
int64_t c_flash_bytes(const Program *);
/* At most so many bytes of stack under NAME_run at -O1 and above: arrays of the nests, and for the deepest nest a word for each
 * variable and buffer, besides what calls keep. */
int64_t c_stack_bytes(const Program *, int word);

/* Pieces that the HLS backend prints alike. Text of a scalar row over operand texts is in c_scalar[]: a format with %0 %1 %2. */
#endif
