/* Checkpoints: named arrays in one file, little-endian, with a checksum, replaced atomically.
 *   "popshift.ckpt 1\n"                                                   16 bytes
 *   u64 count of entries
 *   entries: u32 kind, u32 length of name, u64 count of elements, the name, zeros up to a multiple of 8, the elements, zeros up to one
 *   u64 FNV-1a of all bytes before it */
#ifndef POPSHIFT_TRAINER_CHECKPOINT_H
#define POPSHIFT_TRAINER_CHECKPOINT_H

#include "ir/base.h"

typedef enum CkptKind { CKPT_F32, CKPT_F64, CKPT_I64, CKPT_U8, CKPT_KINDS } CkptKind;

typedef struct CkptEntry {
  const char *name;              /* unique, not empty, at most limits.name bytes */
  CkptKind kind;
  int64_t count;
  const void *data;              /* [count], aligned to 8 after reading */
} CkptEntry;

typedef struct Ckpt Ckpt;

Ckpt *ckpt_new(Ctx *);
void ckpt_free(Ckpt *);          /* NULL is fine; also freed with the context */
/* Data is borrowed until ckpt_write has returned; names are copied. A name put twice is a bug (assert). */
void ckpt_put(Ckpt *, const char *name, CkptKind, int64_t count, const void *data);
void ckpt_put_i64(Ckpt *, const char *name, int64_t);        /* copied */
void ckpt_put_text(Ckpt *, const char *name, const char *);  /* u8 without its NUL; borrowed */
/* Writes beside path, syncs, renames, syncs the folder: after a crash there is the old file or the new one. E0502. */
bool ckpt_write(const Ckpt *, const char *path);

/* NULL with E0501, or E0106 where the file is not a checkpoint, is cut short, or its checksum differs. */
Ckpt *ckpt_read(Ctx *, const char *path);
Ckpt *ckpt_parse(Ctx *, const char *file, const void *bytes, size_t n); /* copies */
const CkptEntry *ckpt_find(const Ckpt *, const char *name);  /* NULL where absent */
/* The data of an entry of just this kind and count (count -1: any). NULL with E0106 saying what is there instead. */
const void *ckpt_get(const Ckpt *, const char *name, CkptKind, int64_t count);
bool ckpt_get_i64(const Ckpt *, const char *name, int64_t *);
const char *ckpt_get_text(const Ckpt *, const char *name);   /* NUL-terminated; NULL with E0106 */

#endif
