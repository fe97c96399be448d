/* The interpreter's code: a nest becomes one array of register instructions (nest_compile.c), which nest_interp.c runs.
 * A register is a 64-bit slot; a value of L lanes has L slots in a row. Codes lie sign or zero extended (bool: 0 or 1), f32 as
 * a float, f64 as a double. */
#ifndef POPSHIFT_IR_NEST_CODE_H
#define POPSHIFT_IR_NEST_CODE_H

#include "ir/nest_impl.h"

typedef union Slot { int64_t i; uint64_t u; double d; float f; } Slot;

/* One row per lane-wise instruction: C over the slots *d, *a, *b, *c of one lane and the shift s = 64 - bits of the type.
 * Suffix: S signed codes, U unsigned codes and bool, F f32, D f64, X any. WS, WU: wrapped to the type. */
#define WS(x) ((int64_t)((uint64_t)(x) << s) >> s)
#define WU(x) ((uint64_t)(x) << s >> s)
#define CODE_BOTH(R, K, m, W) \
  R(ADD_##K, d->m = W(a->u + b->u)) \
  R(SUB_##K, d->m = W(a->u - b->u)) \
  R(MUL_##K, d->m = W(a->u * b->u)) \
  R(NEG_##K, d->m = W(0 - a->u)) \
  R(NOT_##K, d->m = W(~a->u)) \
  R(SHL_##K, d->m = WU(b->u) < 64u - s ? W(a->u << b->u) : 0) \
  R(MAX_##K, d->m = a->m > b->m ? a->m : b->m) \
  R(MIN_##K, d->m = a->m < b->m ? a->m : b->m) \
  R(LT_##K, d->i = a->m < b->m) \
  R(LE_##K, d->i = a->m <= b->m) \
  R(POP_##K, d->m = W(__builtin_popcountll(WU(a->u)))) \
  R(WRAP_##K, d->m = W(a->u))
#define CODE_FLOAT(R, K, m, T, FLOOR, CEIL, TRUNC, RINT, SQRT, ABS) \
  R(ADD_##K, d->m = a->m + b->m) \
  R(SUB_##K, d->m = a->m - b->m) \
  R(MUL_##K, d->m = a->m * b->m) \
  R(DIV_##K, d->m = a->m / b->m) \
  R(MAX_##K, d->m = a->m > b->m || a->m != a->m ? a->m : b->m) \
  R(MIN_##K, d->m = a->m < b->m || a->m != a->m ? a->m : b->m) \
  R(NEG_##K, d->m = -a->m) \
  R(ABS_##K, d->m = ABS(a->m)) \
  R(FLOOR_##K, d->m = FLOOR(a->m)) \
  R(CEIL_##K, d->m = CEIL(a->m)) \
  R(TRUNC_##K, d->m = TRUNC(a->m)) \
  R(ROUND_##K, d->m = RINT(a->m)) \
  R(SQRT_##K, d->m = SQRT(a->m)) \
  R(EQ_##K, d->i = a->m == b->m) \
  R(LT_##K, d->i = a->m < b->m) \
  R(LE_##K, d->i = a->m <= b->m) \
  R(ISNAN_##K, d->i = a->m != a->m) \
  R(BOOL_##K, d->i = a->m != 0) \
  R(TO_S_##K, d->i = to_signed((double)a->m, s)) \
  R(TO_U_##K, d->u = to_unsigned((double)a->m, s)) \
  R(FROM_S_##K, d->m = (T)a->i) \
  R(FROM_U_##K, d->m = (T)a->u)
#define CODE_LANES(R) \
  CODE_BOTH(R, S, i, WS) \
  CODE_BOTH(R, U, u, WU) \
  CODE_FLOAT(R, F, f, float, floorf, ceilf, truncf, rintf, sqrtf, fabsf) \
  CODE_FLOAT(R, D, d, double, floor, ceil, trunc, rint, sqrt, fabs) \
  R(DIV_S, d->i = b->i == 0 ? 0 : b->i == -1 ? WS(0 - a->u) : a->i / b->i) \
  R(DIV_U, d->u = b->u == 0 ? 0 : a->u / b->u) \
  R(MOD_S, d->i = floor_mod(a->i, b->i)) \
  R(FMOD_S, d->i = b->i == 0 || b->i == -1 ? 0 : a->i % b->i) \
  R(MOD_U, d->u = b->u == 0 ? 0 : a->u % b->u) \
  R(ABS_S, d->i = a->i < 0 ? WS(0 - a->u) : a->i) \
  R(SHR_S, d->i = WU(b->u) < 64u - s ? a->i >> b->u : a->i >> 63) \
  R(SHR_U, d->u = b->u < 64u - s ? a->u >> b->u : 0) \
  R(AND_X, d->u = a->u & b->u) \
  R(OR_X, d->u = a->u | b->u) \
  R(XOR_X, d->u = a->u ^ b->u) \
  R(EQ_X, d->i = a->u == b->u) \
  R(BOOL_X, d->i = a->u != 0) \
  R(SELECT_X, d->u = a->i ? b->u : c->u) \
  R(MOVE_X, d->u = a->u) \
  R(FD, d->d = (double)a->f) \
  R(DF, d->f = (float)a->d) \
  R(BITS_FS, d->i = (int32_t)bits_of(a->f)) \
  R(BITS_FU, d->u = bits_of(a->f)) \
  R(BITS_TO_F, d->f = of_bits((uint32_t)a->u))

/* Loads and stores by storage: the store's name, its C type, the slot's member. */
#define CODE_STORES(R) \
  R(F32, float, f) R(F64, double, d) R(I8, int8_t, i) R(U8, uint8_t, u) R(I16, int16_t, i) R(U16, uint16_t, u) \
  R(I32, int32_t, i) R(U32, uint32_t, u) R(I64, int64_t, i) R(U64, uint64_t, u)

typedef enum Code {
#define R(name, text) CODE_##name, CODE_##name##_V,
  CODE_LANES(R)
#undef R
#define R(st, type, m) CODE_LD_##st, CODE_LDW_##st, CODE_LDV_##st, CODE_ST_##st, CODE_STV_##st,
  CODE_STORES(R)   /* LD: never unwritten; LDW, LDV: looks at the map; ST, STV mark it */
#undef R
  CODE_SCALAR,     /* any row, by scalar_eval: p is the Expr */
  CODE_SPLAT, CODE_HRED, CODE_DOT, CODE_LUT3, CODE_SHUF, CODE_PERM, CODE_RELANE, CODE_MASK, /* p is the Expr */
  CODE_JUMP,       /* by imm */
  CODE_JUMP_ZERO,  /* by imm, if a is 0 */
  CODE_FOR,        /* d = a; past the END where a >= b; p is a Loop */
  CODE_END,        /* d += step; back by imm while d < b */
  CODE_STOP
} Code;

typedef struct Ins {
  uint16_t op, lanes;
  int32_t d, a, b, c;
  uint8_t s;            /* 64 - bits */
  int64_t imm;
  const void *p;
} Ins;

typedef struct Access { void *data; uint8_t *map; int64_t n; int buf; const Stmt *st; } Access; /* map[i]: i was written; NULL: all is */
typedef struct Loop { int64_t step, max, cost; int64_t size; const Stmt *st; } Loop; /* cost: instructions of one iteration; size: of the body */

typedef struct NestCode {
  Ins *ins;
  int64_t cost;         /* outside loops */
  Slot *image; int n_slots;  /* constants are in place */
  int *regs, n_regs;    /* REG buffers whose maps are cleared at the start */
} NestCode;

typedef struct RunBuf { void *data; uint8_t *map; } RunBuf; /* of each of the program's buffers */
/* Everything is made in the arena. meanings: a program of its own for intrin.def's expressions. */
NestCode *nest_compile(Arena *, Program *meanings, const Program *, const Nest *, const RunBuf *bufs);

#endif
