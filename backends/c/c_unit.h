/* Shared by c_emit.c, c_header.c and c_task.c. */
#ifndef POPSHIFT_BACKENDS_C_UNIT_H
#define POPSHIFT_BACKENDS_C_UNIT_H

#include "backends/c/c_backend.h"
#include "backends/c/c_print.h"

/* What a part of a nest touches. */
typedef struct Scan {
  Printer *pr;
  const Stmt *skip;
  uint8_t *reads, *writes;  /* by buffer */
  bool *bound, *set, *used; /* by variable */
} Scan;

/* A parallel loop whose body is a function of its own. */
typedef struct Task { const Stmt *loop; Scan in, rest; } Task;

/* All variants of one model, the best first; the last runs anywhere. */
typedef struct Variants {
  const CVariant *v;
  int n;
  int64_t workspace, stack, flash; /* bytes of the largest, and of all constants */
} Variants;

typedef struct Unit {
  Printer pr;
  const Program *p;
  const COptions *opt;
  const char **in, **out;   /* members of the ports */
  const char **in_macro, **out_macro;
  bool *rom_used;
  bool parallel;            /* some nest has tasks: NAME_env is kept at the workspace's start */
  const Variants *all;      /* of which this is one; NULL: there is only this */
  Str functions;            /* of the nests */
  VEC(Task) tasks;          /* of the nest at hand */
} Unit;

/* c_emit.c */
bool c_unit_open(Unit *, Ctx *, const Program *, const COptions *, const char *variant); /* with ports; prints nothing */
void c_unit_close(Unit *);
void c_unit_functions(Unit *);                       /* fills functions and the printer's helpers */
void c_entries(Unit *, Str *);                       /* init and run */
void c_head(Unit *, Str *, unsigned needs, bool floats); /* up to the includes */
void c_word_macros(Str *, bool begin);
bool c_unit_floats(const Unit *);

/* c_header.c */
int64_t c_workspace_bytes(const Unit *);
void c_ports(Unit *);
void c_banner(Unit *, Str *);
void c_header(Unit *, Str *);
const char *c_size(Unit *, int64_t n);
int64_t c_buf_bytes(const Buf *);

/* c_task.c */
void c_tasks_find(Unit *, const Block *);
void c_task_call(Printer *, int task, int indent);     /* prints the task's function, and its call */
bool c_task_private(const Task *, const Buf *, int i); /* a REG buffer of the task's own */
void c_reg(Printer *, int buf);                        /* definition of a REG buffer */

#endif
