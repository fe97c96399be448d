/* Vector expressions whose best form differs by machine: an instruction where the machine has it, else generic IR. */
#include "backends/llvm/llvm_impl.h"

#include <assert.h>
#include <string.h>

static LLVMTypeRef int_vector(Gen *g, int bits, int lanes) {
  return LLVMVectorType(LLVMIntTypeInContext(g->c, (unsigned)bits), (unsigned)lanes);
}

/* A target's intrinsic by its full name. */
static LLVMValueRef call_target(Gen *g, const char *name, LLVMTypeRef result, int n, LLVMValueRef *args) {
  LLVMTypeRef types[8];
  for (int i = 0; i < n; i++)
    types[i] = LLVMTypeOf(args[i]);
  LLVMTypeRef ft = LLVMFunctionType(result, types, (unsigned)n, 0);
  LLVMValueRef f = LLVMGetNamedFunction(g->m, name);
  if (!f)
    f = LLVMAddFunction(g->m, name, ft); /* a name that starts with llvm. brings its attributes */
  return LLVMBuildCall2(g->b, ft, f, args, (unsigned)n, "");
}

/* Lanes first, first+step, ... of v. */
static LLVMValueRef pick(Gen *g, LLVMValueRef v, int first, int step, int count) {
  LLVMValueRef mask[512];
  assert(count <= 512);
  for (int i = 0; i < count; i++)
    mask[i] = LLVMConstInt(g->i32, (unsigned)(first + i * step), 0);
  if (count == 1)
    return LLVMBuildExtractElement(g->b, v, mask[0], "");
  return LLVMBuildShuffleVector(g->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(mask, (unsigned)count), "");
}

static LLVMValueRef join(Gen *g, LLVMValueRef lo, LLVMValueRef hi) {
  LLVMValueRef mask[512];
  unsigned n = LLVMGetVectorSize(LLVMTypeOf(lo));
  for (unsigned i = 0; i < 2 * n; i++)
    mask[i] = LLVMConstInt(g->i32, i, 0);
  return LLVMBuildShuffleVector(g->b, lo, hi, LLVMConstVector(mask, 2 * n), "");
}

/* Applies f to pieces of `lanes` lanes of the n operands (operand i has per[i] lanes for each lane of the result). */
typedef LLVMValueRef Piece(Gen *, const void *row, LLVMValueRef *a);
static LLVMValueRef pieces(Gen *g, Piece *f, const void *row, int total, int lanes, int n, const int *per, LLVMValueRef *a) {
  LLVMValueRef part[512];
  int count = total / lanes;
  for (int k = 0; k < count; k++) {
    LLVMValueRef b[3];
    for (int i = 0; i < n; i++)
      b[i] = count == 1 ? a[i] : pick(g, a[i], k * lanes * per[i], 1, lanes * per[i]);
    part[k] = f(g, row, b);
  }
  for (; count > 1; count /= 2) /* a power of two */
    for (int k = 0; k < count / 2; k++)
      part[k] = join(g, part[2 * k], part[2 * k + 1]);
  return part[0];
}

/* Dot products of neighbours: acc[i] += sum of q products. The machines' forms wrap and are exact in between. */
typedef struct Dot { Feature feature, also; int bits, lanes; bool a_signed, b_signed, byte_args; const char *name; } Dot;
static const Dot dots[] = {
  {FT_VNNI512, FT_NONE, 8, 16, false, true, false, "llvm.x86.avx512.vpdpbusd.512"},
  {FT_VNNI256, FT_NONE, 8, 8, false, true, false, "llvm.x86.avx512.vpdpbusd.256"},
  {FT_VNNI256, FT_NONE, 8, 4, false, true, false, "llvm.x86.avx512.vpdpbusd.128"},
  {FT_VNNI512, FT_NONE, 16, 16, true, true, false, "llvm.x86.avx512.vpdpwssd.512"},
  {FT_VNNI256, FT_NONE, 16, 8, true, true, false, "llvm.x86.avx512.vpdpwssd.256"},
  {FT_VNNI256, FT_NONE, 16, 4, true, true, false, "llvm.x86.avx512.vpdpwssd.128"},
  {FT_DOTPROD, FT_NONE, 8, 4, true, true, true, "llvm.aarch64.neon.sdot.v4i32.v16i8"},
  {FT_DOTPROD, FT_NONE, 8, 4, false, false, true, "llvm.aarch64.neon.udot.v4i32.v16i8"},
  {FT_DOTPROD, FT_I8MM, 8, 4, false, true, true, "llvm.aarch64.neon.usdot.v4i32.v16i8"}
};

static LLVMValueRef dot_piece(Gen *g, const void *row, LLVMValueRef *a) {
  const Dot *d = row;
  LLVMTypeRef acc = LLVMTypeOf(a[0]);
  LLVMValueRef args[3] = {a[0], a[1], a[2]};
  for (int i = 1; i < 3 && !d->byte_args; i++)
    args[i] = LLVMBuildBitCast(g->b, a[i], acc, "");
  return call_target(g, d->name, acc, 3, args);
}

static const Dot *find_dot(Gen *g, int bits, int lanes, bool a_signed, bool b_signed) {
  for (size_t i = 0; i < sizeof dots / sizeof *dots; i++) {
    const Dot *d = &dots[i];
    if (d->bits == bits && d->lanes <= lanes && d->a_signed == a_signed && d->b_signed == b_signed &&
        llvm_target_has(g->target, d->feature) && (d->also == FT_NONE || llvm_target_has(g->target, d->also)))
      return d;
  }
  return NULL;
}

static LLVMValueRef dot_generic(Gen *g, int q, int lanes, bool a_signed, bool b_signed, LLVMValueRef *a) {
  LLVMTypeRef wide = int_vector(g, 32, q * lanes);
  LLVMValueRef x = LLVMBuildIntCast2(g->b, a[1], wide, a_signed, ""), y = LLVMBuildIntCast2(g->b, a[2], wide, b_signed, "");
  LLVMValueRef product = LLVMBuildMul(g->b, x, y, ""), sum = NULL;
  for (int i = 0; i < q; i++) {
    LLVMValueRef part = pick(g, product, i, q, lanes);
    sum = sum ? LLVMBuildAdd(g->b, sum, part, "") : part;
  }
  return LLVMBuildAdd(g->b, a[0], sum, "");
}

/* A product of signs that the machine lacks, from one that it has: a byte x of one operand becomes x with its top bit turned,
 * which as the other sign is x - 128 or x + 128; `scale` times the dot product with `other` in its place makes up for it. */
typedef struct Turn { bool a_signed, b_signed, have_a, have_b; int operand, other, scale; } Turn;
static const Turn turns[] = {
  {true, true, false, true, 1, 128, -1}, /* (a + 128).b - 128.b */
  {false, true, true, true, 1, 64, 2},   /* (a - 128).b + 2(64.b) */
  {false, false, false, true, 2, 64, 2}  /* a.(b - 128) + 2(a.64) */
};

static LLVMValueRef bytes(Gen *g, LLVMTypeRef t, int v) {
  LLVMValueRef all[64];
  unsigned n = LLVMGetVectorSize(t);
  assert(n <= 64);
  for (unsigned i = 0; i < n; i++)
    all[i] = LLVMConstInt(g->i8, (unsigned)v, 0);
  return LLVMConstVector(all, n);
}

static LLVMValueRef dot_turned(Gen *g, const Turn *t, const Dot *d, int lanes, const int *per, LLVMValueRef *a) {
  LLVMTypeRef sum_type = LLVMTypeOf(a[0]), type = LLVMTypeOf(a[t->operand]);
  LLVMValueRef turned[3] = {a[0], a[1], a[2]}, rest[3] = {LLVMConstNull(sum_type), a[1], a[2]};
  turned[t->operand] = LLVMBuildXor(g->b, a[t->operand], bytes(g, type, 128), "");
  rest[t->operand] = bytes(g, type, t->other);
  LLVMValueRef sum = pieces(g, dot_piece, d, lanes, d->lanes, 3, per, turned);
  LLVMValueRef fix = pieces(g, dot_piece, d, lanes, d->lanes, 3, per, rest);
  if (t->scale < 0)
    return LLVMBuildSub(g->b, sum, fix, "");
  return LLVMBuildAdd(g->b, sum, LLVMBuildAdd(g->b, fix, fix, ""), ""); /* scale 2 */
}

static const Turn *find_turn(Gen *g, int lanes, bool as, bool bs, const Dot **d) {
  for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
    if (turns[i].a_signed == as && turns[i].b_signed == bs && (*d = find_dot(g, 8, lanes, turns[i].have_a, turns[i].have_b)) != NULL)
      return &turns[i];
  return NULL;
}

bool llvm_has_dot(Gen *g, int bits, bool as, bool bs) {
  const Dot *d;
  bool both = as && bs, any = as || bs; /* unsigned first */
  return find_dot(g, bits, 4, both, any) || (bits == 8 && find_turn(g, 4, both, any, &d));
}

LLVMValueRef llvm_dot_of(Gen *g, int bits, int lanes, bool as, bool bs, LLVMValueRef *a) {
  int q = bits == 8 ? 4 : 2, per[3] = {1, q, q};
  if (as && !bs) { /* products commute: unsigned first */
    LLVMValueRef t = a[1];
    a[1] = a[2];
    a[2] = t;
    as = false;
    bs = true;
  }
  const Dot *d = find_dot(g, bits, lanes, as, bs);
  if (d)
    return pieces(g, dot_piece, d, lanes, d->lanes, 3, per, a);
  const Turn *t = bits == 8 ? find_turn(g, lanes, as, bs, &d) : NULL;
  return t ? dot_turned(g, t, d, lanes, per, a) : dot_generic(g, q, lanes, as, bs, a);
}

LLVMValueRef llvm_dot(Gen *g, const Expr *x, LLVMValueRef *a) {
  Elem e = x->a[1]->t.e;
  return llvm_dot_of(g, e.bits, x->t.lanes, llvm_is_signed(e), llvm_is_signed(x->a[2]->t.e), a);
}

/* Functions of two bits: bit 2x+y of table. */
static LLVMValueRef lut2(Gen *g, int table, LLVMValueRef x, LLVMValueRef y) {
  LLVMBuilderRef b = g->b;
  LLVMValueRef v;
  bool inverted = table & 1; /* of f(0,0) = 1: the complement of its complement */
  switch (inverted ? ~table & 15 : table) {
  case 0: v = LLVMConstNull(LLVMTypeOf(x)); break;
  case 2: v = LLVMBuildAnd(b, y, LLVMBuildNot(b, x, ""), ""); break;
  case 4: v = LLVMBuildAnd(b, x, LLVMBuildNot(b, y, ""), ""); break;
  case 6: v = LLVMBuildXor(b, x, y, ""); break;
  case 8: v = LLVMBuildAnd(b, x, y, ""); break;
  case 10: v = y; break;
  case 12: v = x; break;
  default: v = LLVMBuildOr(b, x, y, ""); break; /* 14 */
  }
  return inverted ? LLVMBuildNot(b, v, "") : v;
}

static LLVMValueRef lut3_generic(Gen *g, int imm, LLVMValueRef *a) {
  int f[2] = {0, 0}; /* tables over a, b where c is 0, 1 */
  for (int i = 0; i < 8; i++)
    f[i & 1] |= (imm >> i & 1) << (i >> 1);
  LLVMValueRef c = a[2], base = lut2(g, f[0], a[0], a[1]);
  if (f[0] == f[1])
    return base;
  if ((f[0] ^ f[1]) == 15)
    return LLVMBuildXor(g->b, base, c, "");
  LLVMValueRef change = LLVMBuildAnd(g->b, c, lut2(g, f[0] ^ f[1], a[0], a[1]), "");
  return f[0] == 0 ? change : LLVMBuildXor(g->b, base, change, "");
}

typedef struct Ternary { Feature feature; int bits; const char *name; } Ternary;
static const Ternary ternaries[] = {
  {FT_AVX512F, 512, "llvm.x86.avx512.pternlog.d.512"},
  {FT_AVX512VL, 256, "llvm.x86.avx512.pternlog.d.256"},
  {FT_AVX512VL, 128, "llvm.x86.avx512.pternlog.d.128"}
};

/* As an intrinsic, since the middle end's reassociation breaks up three-input forms. */
LLVMValueRef llvm_lut3(Gen *g, const Expr *x, LLVMValueRef *a) {
  int bits = x->t.e.kind == EK_BOOL ? 1 : x->t.lanes * x->t.e.bits; /* bool vectors are masks */
  for (size_t i = 0; i < sizeof ternaries / sizeof *ternaries; i++) {
    const Ternary *t = &ternaries[i];
    if (t->bits != bits || !llvm_target_has(g->target, t->feature))
      continue;
    LLVMTypeRef words = int_vector(g, 32, bits / 32), types[4] = {words, words, words, g->i32};
    LLVMValueRef args[4];
    for (int k = 0; k < 3; k++)
      args[k] = LLVMBuildBitCast(g->b, a[k], words, "");
    args[3] = LLVMConstInt(g->i32, (unsigned)x->imm, 0);
    LLVMTypeRef ft = LLVMFunctionType(words, types, 4, 0);
    LLVMValueRef f = LLVMGetNamedFunction(g->m, t->name);
    if (!f)
      f = LLVMAddFunction(g->m, t->name, ft);
    return LLVMBuildBitCast(g->b, LLVMBuildCall2(g->b, ft, f, args, 4, ""), llvm_type(g, x->t), "");
  }
  return lut3_generic(g, x->imm, a);
}

/* Byte tables of 16 entries. */
typedef struct Shuf { Feature feature; int lanes; bool zero_past_15; const char *name; } Shuf;
static const Shuf shufs[] = {
  {FT_AVX512BW, 64, false, "llvm.x86.avx512.pshuf.b.512"},
  {FT_AVX2, 32, false, "llvm.x86.avx2.pshuf.b"},
  {FT_SSSE3, 16, false, "llvm.x86.ssse3.pshuf.b.128"},
  {FT_NEON, 16, true, "llvm.aarch64.neon.tbl1.v16i8"} /* 0 for every index over 15 */
};

static LLVMValueRef shuf_piece(Gen *g, const void *row, LLVMValueRef *a) {
  const Shuf *s = row;
  LLVMValueRef args[2] = {a[0], a[1]}, keep[64];
  for (int i = 0; i < s->lanes; i++)
    keep[i] = LLVMConstInt(g->i8, 0x8f, 0);
  if (s->zero_past_15)
    args[1] = LLVMBuildAnd(g->b, a[1], LLVMConstVector(keep, (unsigned)s->lanes), "");
  return call_target(g, s->name, LLVMTypeOf(a[0]), 2, args);
}

static LLVMValueRef shuf_generic(Gen *g, int lanes, LLVMValueRef *a) {
  LLVMValueRef r = LLVMGetPoison(LLVMTypeOf(a[0])), zero = LLVMConstInt(g->i8, 0, 0);
  for (int i = 0; i < lanes; i++) {
    LLVMValueRef at = LLVMConstInt(g->i32, (unsigned)i, 0), k = LLVMBuildExtractElement(g->b, a[1], at, "");
    LLVMValueRef low = LLVMBuildAnd(g->b, k, LLVMConstInt(g->i8, 15, 0), "");
    LLVMValueRef from = LLVMBuildOr(g->b, LLVMBuildZExt(g->b, low, g->i32, ""), LLVMConstInt(g->i32, (unsigned)(i & ~15), 0), "");
    LLVMValueRef v = LLVMBuildExtractElement(g->b, a[0], from, "");
    LLVMValueRef past = LLVMBuildICmp(g->b, LLVMIntSLT, k, zero, "");
    r = LLVMBuildInsertElement(g->b, r, LLVMBuildSelect(g->b, past, zero, v, ""), at, "");
  }
  return r;
}

LLVMValueRef llvm_shuf(Gen *g, const Expr *x, LLVMValueRef *a) {
  static const int per[2] = {1, 1};
  for (size_t i = 0; i < sizeof shufs / sizeof *shufs; i++)
    if (shufs[i].lanes <= x->t.lanes && llvm_target_has(g->target, shufs[i].feature))
      return pieces(g, shuf_piece, &shufs[i], x->t.lanes, shufs[i].lanes, 2, per, a);
  return shuf_generic(g, x->t.lanes, a);
}

LLVMValueRef llvm_perm(Gen *g, const Expr *x, LLVMValueRef *operands) {
  LLVMValueRef a = operands[0];
  LLVMValueRef mask[512];
  int from = x->a[0]->t.lanes, to = x->t.lanes;
  assert(to <= 512);
  for (int i = 0; i < to; i++)
    mask[i] = LLVMConstInt(g->i32, x->perm[i], 0);
  if (to == 1) {
    LLVMValueRef v = operands[x->perm[0] / from];
    return from == 1 ? v : LLVMBuildExtractElement(g->b, v, LLVMConstInt(g->i32, (unsigned)(x->perm[0] % from), 0), "");
  }
  if (from == 1) /* every index is 0 */
    a = LLVMBuildInsertElement(g->b, LLVMGetPoison(LLVMVectorType(LLVMTypeOf(a), 1)), a, LLVMConstInt(g->i32, 0, 0), "");
  LLVMValueRef b = x->n > 1 ? operands[1] : LLVMGetPoison(LLVMTypeOf(a));
  return LLVMBuildShuffleVector(g->b, a, b, LLVMConstVector(mask, (unsigned)to), "");
}

LLVMValueRef llvm_opaque(Gen *g, LLVMValueRef a) {
  LLVMTypeRef t = LLVMTypeOf(a), f = LLVMFunctionType(t, &t, 1, false);
  LLVMValueRef nothing = LLVMGetInlineAsm(f, "", 0, "=r,0", 4, false, false, LLVMInlineAsmDialectATT, false);
  return LLVMBuildCall2(g->b, f, nothing, &a, 1, "");
}

/* A row of intrin.def: LLVM's own types where the intrinsic has fixed ones, else those of the row. */
LLVMValueRef llvm_intrin(Gen *g, const Expr *x, LLVMValueRef *a) {
  const Intrin *in = &intrins[x->imm];
  if (in->llvm && !strcmp(in->llvm, "asm"))
    return llvm_opaque(g, a[0]);
  unsigned id = in->llvm ? LLVMLookupIntrinsicID(in->llvm, strlen(in->llvm)) : 0;
  if (!id || !llvm_target_has_named(g->target, in->feature))
    return NULL;
  LLVMValueRef args[8] = {0};
  LLVMTypeRef result = llvm_type(g, x->t), want = result, params[8];
  int n = x->n;
  bool fixed = !LLVMIntrinsicIsOverloaded(id);
  if (fixed) {
    LLVMTypeRef ft = LLVMIntrinsicGetType(g->c, id, NULL, 0);
    n = (int)LLVMCountParamTypes(ft);
    assert(n >= x->n && n <= 8);
    LLVMGetParamTypes(ft, params);
    want = LLVMGetReturnType(ft);
  }
  for (int i = 0; i < x->n; i++)
    args[i] = fixed && LLVMTypeOf(a[i]) != params[i] ? LLVMBuildBitCast(g->b, a[i], params[i], "") : a[i];
  for (int i = x->n; i < n; i++) /* what the row does not name is 0 */
    args[i] = LLVMConstNull(params[i]);
  LLVMValueRef v = call_target(g, in->llvm, want, n, args);
  return want == result ? v : LLVMBuildBitCast(g->b, v, result, "");
}
