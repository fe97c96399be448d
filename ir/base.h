/* Memory, diagnostics and limits: what every room shares. Nothing here is global; all state hangs on a Ctx. */
#ifndef POPSHIFT_IR_BASE_H
#define POPSHIFT_IR_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes of the command, also the classes of errors (errors.def). */
enum Exit {
  EXIT_OK = 0, EXIT_MODEL = 1, EXIT_USAGE = 2, EXIT_UNSUPPORTED = 3, EXIT_MISMATCH = 4,
  EXIT_IO = 5, EXIT_LIMIT = 6, EXIT_BUG = 70, EXIT_INTERRUPTED = 130
};

typedef enum ErrCode {
#define E(code, exit, what) E##code,
#include "ir/errors.def"
#undef E
  ERR_COUNT
} ErrCode;

typedef struct { const char *code; int exit; const char *what; } ErrInfo;
extern const ErrInfo err_info[ERR_COUNT]; /* code is the text "E0204" */

/* Where something is wrong. Unknown parts are NULL, or -1. */
typedef struct Loc {
  const char *file; /* the model's file */
  int32_t line;     /* of a text file, from 1 */
  int32_t node;     /* index in the ONNX graph, from 0 */
  const char *name; /* the node's name */
  const char *op;   /* the ONNX operator, or ours */
} Loc;
#define LOC_NONE ((Loc){NULL, -1, -1, NULL, NULL})

typedef struct Diag {
  struct Diag *next;
  ErrCode code;
  bool is_error;    /* false: a warning or a remark */
  Loc loc;
  char *text;       /* one line */
  char *note, *hint;/* or NULL */
} Diag;

/* Limits on what a model may ask for; --limit KEY=N sets them, limits.def has the defaults and their reasons. */
typedef struct Limits {
#define LIMIT(key, deflt, what) int64_t key;
#include "ir/limits.def"
#undef LIMIT
} Limits;

typedef struct Arena Arena;
typedef struct Tensor Tensor;

typedef struct Ctx {
  Diag *diags, **diag_tail;
  int n_errors;
  Limits limits;
  int64_t memory_used;           /* bytes in live arenas and tensors */
  Arena *arenas;                 /* all live, freed with the context */
  Tensor *tensors;               /* all live, freed with the context */
  Arena *own;                    /* diagnostics and what lives as long as the context */
  /* Called when the memory limit is passed or malloc fails; must not return. NULL: message on stderr, exit(6). */
  void (*fatal)(struct Ctx *, void *user);
  void *fatal_user;
  volatile int *cancel;          /* nonzero: long loops (eval, interpreter) stop with E0602; may be NULL */
} Ctx;

Ctx *ctx_new(void);
_Noreturn void ctx_fatal(Ctx *);            /* no memory: calls ctx->fatal */
void ctx_free(Ctx *);                       /* frees every arena and tensor made in it; NULL is fine */
const char *limit_set(Ctx *, const char *key, int64_t value); /* NULL, or the nearest key when KEY is unknown */

/* Adds an error; always false, so that a caller may `return diag(...)`. fmt is one line without full stop. */
bool diag(Ctx *, ErrCode, const Loc *, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void diag_warn(Ctx *, ErrCode, const Loc *, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void diag_note(Ctx *, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* to the newest diagnostic */
void diag_hint(Ctx *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* `file: node 17 "conv_3" (Conv): error E0204: text` + note + hint lines; model text is escaped to printable ASCII. */
void diag_print(const Ctx *, FILE *, bool colour);
/* Takes back the diagnostics since a mark: of what was tried, and has another way. */
typedef struct DiagMark { Diag **tail; int errors; } DiagMark;
DiagMark diag_mark(const Ctx *);
void diag_drop(Ctx *, DiagMark);
int diag_exit(const Ctx *);                 /* exit code of the first error, 0 without one */

/* Arena: one lifetime. Memory is zeroed and 16-aligned; never NULL (ctx->fatal past limits.memory). */
Arena *arena_new(Ctx *);
void arena_free(Arena *);
void *arena_alloc(Arena *, size_t bytes);
void *arena_aligned(Arena *, size_t bytes);                                /* the same, 64-aligned */
void *arena_grow(Arena *, void *old, size_t old_bytes, size_t new_bytes); /* copies; old stays in the arena */
char *arena_strdup(Arena *, const char *);
char *arena_strndup(Arena *, const char *, size_t);
char *arena_printf(Arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define NEW(arena, T) ((T *)arena_alloc((arena), sizeof(T)))
#define NEWN(arena, T, n) ((T *)arena_alloc((arena), sizeof(T) * (size_t)(n)))

/* Growable vector in an arena: VEC(Node *) v = {0}; vec_push(arena, &v, x). */
#define VEC(T) struct { T *p; int n, cap; }
#define vec_push(arena, v, x) do { \
    if ((v)->n == (v)->cap) { int cap_ = (v)->cap ? 2 * (v)->cap : 8; \
      (v)->p = arena_grow((arena), (v)->p, sizeof *(v)->p * (size_t)(v)->cap, sizeof *(v)->p * (size_t)cap_); \
      (v)->cap = cap_; } \
    (v)->p[(v)->n++] = (x); } while (0)

/* Growable text: the one way to build output. Doubles are printed without locale. */
typedef struct Str { char *p; size_t n, cap; Ctx *ctx; } Str; /* p is NUL-terminated after the first write; free with str_free */
void str_printf(Str *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_put(Str *, const char *text);
void str_putn(Str *, const char *bytes, size_t n);
void str_free(Str *);
/* Shortest decimal that reads back to the same value; "inf", "-inf", "nan". f32: shortest for binary32. */
void str_f64(Str *, double);
void str_f32(Str *, float);
/* Their inverse, and integers: all of the text, without locale; false where it is no number (or beyond int64). */
bool parse_f64(const char *text, size_t n, double *);
bool parse_f32(const char *text, size_t n, float *);
bool parse_i64(const char *text, size_t n, int64_t *);
/* "..." with \" \\ \n \t and \xNN for the rest outside printable ASCII: for texts, JSON uses its own library. */
void str_quoted(Str *, const char *);
void str_html(Str *, const char *text); /* for HTML and SVG: < > & " ' escaped, others outside printable ASCII and newline as ? */

double clock_seconds(void);   /* of a monotonic clock, for durations */

/* Whole files. Reading refuses more than limits.file bytes. Writing goes to a temporary name in the same directory and
 * renames, so that nothing half-written stays; path "-" is standard output. E05xx on failure. */
bool file_read(Ctx *, const char *path, char **bytes, size_t *n); /* malloc'd and NUL-terminated beyond n; caller frees */
bool file_write(Ctx *, const char *path, const char *bytes, size_t n);
/* The same for a file that one process writes again and again: synced, so that after a crash there is the old file or the new one;
 * path.tmp, where a killed process left it, is overwritten. */
bool file_replace(Ctx *, const char *path, const char *bytes, size_t n);

/* Files to be written together: a backend's result. Names are relative to the output's folder. */
typedef struct OutFile { const char *name; Str text; } OutFile;
typedef struct OutFiles { OutFile *p; int n, cap; Arena *arena; } OutFiles;
Str *out_file(OutFiles *, Arena *, const char *name);  /* adds an empty one; the pointer is valid until the next call */
void out_files_free(OutFiles *);

/* Checked arithmetic: false on overflow. */
static inline bool mul_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_mul_overflow(a, b, r); }
static inline bool add_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_add_overflow(a, b, r); }

/* Nearest of n names by edit distance, NULL when none is near: for suggestions. */
const char *nearest(const char *word, const char *const *names, int n);

#endif
