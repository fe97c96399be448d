/* One LLVM spelling per row of scalar.def: exact, total (no trap, no undefined case), lane by lane. */
#include "backends/llvm/llvm_impl.h"

#include <assert.h>
#include <string.h>

typedef struct Row { Gen *g; LLVMBuilderRef b; Elem e; LLVMTypeRef t; NType result; LLVMValueRef *a; } Row; /* e, t: operands' */

LLVMValueRef llvm_call(Gen *g, const char *name, int n_types, LLVMTypeRef *types, int n, LLVMValueRef *args) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  assert(id && "no such LLVM intrinsic");
  LLVMValueRef f = LLVMGetIntrinsicDeclaration(g->m, id, types, (size_t)n_types);
  return LLVMBuildCall2(g->b, LLVMIntrinsicGetType(g->c, id, types, (size_t)n_types), f, args, (unsigned)n, "");
}

static LLVMValueRef splat(const Row *r, LLVMValueRef one) {
  LLVMValueRef all[512];
  if (LLVMGetTypeKind(r->t) != LLVMVectorTypeKind)
    return one;
  unsigned n = LLVMGetVectorSize(r->t);
  assert(n <= 512);
  for (unsigned i = 0; i < n; i++)
    all[i] = one;
  return LLVMConstVector(all, n);
}

static LLVMTypeRef lane_type(const Row *r) {
  return LLVMGetTypeKind(r->t) == LLVMVectorTypeKind ? LLVMGetElementType(r->t) : r->t;
}

static LLVMValueRef code(const Row *r, int64_t v) { return splat(r, LLVMConstInt(lane_type(r), (uint64_t)v, 1)); }
static LLVMValueRef real(const Row *r, double v) { return splat(r, LLVMConstReal(lane_type(r), v)); }
static bool is_float(const Row *r) { return elem_is_float(r->e); }
static LLVMValueRef unary(const Row *r, const char *name) { return llvm_call(r->g, name, 1, (LLVMTypeRef[]){r->t}, 1, r->a); }

static LLVMValueRef less(const Row *r, LLVMValueRef x, LLVMValueRef y) {
  if (is_float(r))
    return LLVMBuildFCmp(r->b, LLVMRealOLT, x, y, "");
  return LLVMBuildICmp(r->b, llvm_is_signed(r->e) ? LLVMIntSLT : LLVMIntULT, x, y, "");
}

static LLVMValueRef is_zero(const Row *r, LLVMValueRef x) {
  return is_float(r) ? LLVMBuildFCmp(r->b, LLVMRealOEQ, x, real(r, 0), "") : LLVMBuildICmp(r->b, LLVMIntEQ, x, code(r, 0), "");
}

static LLVMValueRef row_add(const Row *r) {
  return is_float(r) ? LLVMBuildFAdd(r->b, r->a[0], r->a[1], "") : LLVMBuildAdd(r->b, r->a[0], r->a[1], "");
}

static LLVMValueRef row_sub(const Row *r) {
  return is_float(r) ? LLVMBuildFSub(r->b, r->a[0], r->a[1], "") : LLVMBuildSub(r->b, r->a[0], r->a[1], "");
}

static LLVMValueRef row_mul(const Row *r) {
  return is_float(r) ? LLVMBuildFMul(r->b, r->a[0], r->a[1], "") : LLVMBuildMul(r->b, r->a[0], r->a[1], "");
}

/* A divisor that cannot trap: 1 for 0, and for -1 under the least number (whose quotient by -1 wraps to itself). */
static LLVMValueRef safe_divisor(const Row *r) {
  LLVMValueRef bad = is_zero(r, r->a[1]);
  if (llvm_is_signed(r->e)) {
    LLVMValueRef least = LLVMBuildICmp(r->b, LLVMIntEQ, r->a[0], code(r, (int64_t)((uint64_t)1 << (r->e.bits - 1))), "");
    LLVMValueRef minus = LLVMBuildICmp(r->b, LLVMIntEQ, r->a[1], code(r, -1), "");
    bad = LLVMBuildOr(r->b, bad, LLVMBuildAnd(r->b, least, minus, ""), "");
  }
  return LLVMBuildSelect(r->b, bad, code(r, 1), r->a[1], "");
}

static LLVMValueRef row_div(const Row *r) {
  if (is_float(r))
    return LLVMBuildFDiv(r->b, r->a[0], r->a[1], "");
  LLVMValueRef d = safe_divisor(r);
  LLVMValueRef q = llvm_is_signed(r->e) ? LLVMBuildSDiv(r->b, r->a[0], d, "") : LLVMBuildUDiv(r->b, r->a[0], d, "");
  return LLVMBuildSelect(r->b, is_zero(r, r->a[1]), code(r, 0), q, "");
}

static LLVMValueRef row_fmod(const Row *r) {
  if (is_float(r))
    return LLVMBuildFRem(r->b, r->a[0], r->a[1], "");
  LLVMValueRef d = safe_divisor(r);
  return llvm_is_signed(r->e) ? LLVMBuildSRem(r->b, r->a[0], d, "") : LLVMBuildURem(r->b, r->a[0], d, "");
}

static LLVMValueRef row_mod(const Row *r) {
  LLVMValueRef m = row_fmod(r);
  if (!is_float(r) && !llvm_is_signed(r->e))
    return m;
  LLVMValueRef zero = is_float(r) ? real(r, 0) : code(r, 0);
  LLVMValueRef differ = LLVMBuildXor(r->b, less(r, m, zero), less(r, r->a[1], zero), "");
  LLVMValueRef fix = LLVMBuildAnd(r->b, differ, LLVMBuildNot(r->b, is_zero(r, m), ""), "");
  if (!is_float(r)) /* m = 0 where the true divisor is 0 */
    fix = LLVMBuildAnd(r->b, fix, LLVMBuildNot(r->b, is_zero(r, r->a[1]), ""), "");
  LLVMValueRef moved = is_float(r) ? LLVMBuildFAdd(r->b, m, r->a[1], "") : LLVMBuildAdd(r->b, m, r->a[1], "");
  return LLVMBuildSelect(r->b, fix, moved, m, "");
}

/* Whether a float is NaN, on its bits: LLVM 19 joins "x is NaN" with "|x| > c" into one comparison of x itself and loses the |x|. */
static LLVMValueRef is_nan(const Row *r, LLVMValueRef v) {
  LLVMTypeRef one = llvm_type(r->g, nt(UINTK(r->e.bits))), t = llvm_type(r->g, ntv(UINTK(r->e.bits), r->result.lanes));
  uint64_t magnitude = UINT64_MAX >> (65 - r->e.bits), infinity = r->e.bits == 64 ? UINT64_C(0x7ff) << 52 : UINT64_C(0xff) << 23;
  LLVMValueRef mask = splat(r, LLVMConstInt(one, magnitude, 0)), inf = splat(r, LLVMConstInt(one, infinity, 0));
  return LLVMBuildICmp(r->b, LLVMIntUGT, LLVMBuildAnd(r->b, LLVMBuildBitCast(r->b, v, t, ""), mask, ""), inf, "");
}

/* A number, not NaN, that is written out. */
static bool is_number(LLVMValueRef v) {
  LLVMBool lost;
  if (!LLVMIsAConstantFP(v)) return false;
  double d = LLVMConstRealGetDouble(v, &lost);
  return d == d;
}

/* (first beats second, or is NaN) ? first : second. Against a number one comparison does both. */
static LLVMValueRef extreme(const Row *r, bool max) {
  LLVMValueRef a = r->a[0], b = r->a[1];
  if (!is_float(r)) return LLVMBuildSelect(r->b, max ? less(r, b, a) : less(r, a, b), a, b, "");
  bool beats_or_nan = is_number(b);
  LLVMRealPredicate p = max ? beats_or_nan ? LLVMRealUGT : LLVMRealOGT : beats_or_nan ? LLVMRealULT : LLVMRealOLT;
  LLVMValueRef v = LLVMBuildSelect(r->b, LLVMBuildFCmp(r->b, p, a, b, ""), a, b, "");
  return beats_or_nan || is_number(a) ? v : LLVMBuildSelect(r->b, is_nan(r, a), a, v, "");
}

static LLVMValueRef row_max(const Row *r) { return extreme(r, true); }
static LLVMValueRef row_min(const Row *r) { return extreme(r, false); }

static LLVMValueRef row_neg(const Row *r) {
  return is_float(r) ? LLVMBuildFNeg(r->b, r->a[0], "") : LLVMBuildNeg(r->b, r->a[0], "");
}

static LLVMValueRef row_abs(const Row *r) {
  if (is_float(r))
    return unary(r, "llvm.fabs");
  if (!llvm_is_signed(r->e))
    return r->a[0];
  return LLVMBuildSelect(r->b, less(r, r->a[0], code(r, 0)), LLVMBuildNeg(r->b, r->a[0], ""), r->a[0], "");
}

static LLVMValueRef row_sign(const Row *r) {
  LLVMValueRef zero = is_float(r) ? real(r, 0) : code(r, 0), one = is_float(r) ? real(r, 1) : code(r, 1);
  LLVMValueRef minus = is_float(r) ? real(r, -1) : code(r, -1);
  LLVMValueRef kept = is_float(r) ? LLVMBuildSelect(r->b, is_zero(r, r->a[0]), zero, r->a[0], "") : zero; /* NaN stays */
  LLVMValueRef v = LLVMBuildSelect(r->b, less(r, zero, r->a[0]), one, kept, "");
  if (!is_float(r) && !llvm_is_signed(r->e))
    return v;
  return LLVMBuildSelect(r->b, less(r, r->a[0], zero), minus, v, "");
}

static LLVMValueRef row_floor(const Row *r) { return unary(r, "llvm.floor"); }
static LLVMValueRef row_ceil(const Row *r) { return unary(r, "llvm.ceil"); }
static LLVMValueRef row_trunc(const Row *r) { return unary(r, "llvm.trunc"); }
static LLVMValueRef row_round(const Row *r) { return unary(r, "llvm.rint"); } /* the default rounding mode: ties to even */
static LLVMValueRef row_sqrt(const Row *r) { return unary(r, "llvm.sqrt"); }
static LLVMValueRef row_and(const Row *r) { return LLVMBuildAnd(r->b, r->a[0], r->a[1], ""); }
static LLVMValueRef row_or(const Row *r) { return LLVMBuildOr(r->b, r->a[0], r->a[1], ""); }
static LLVMValueRef row_xor(const Row *r) { return LLVMBuildXor(r->b, r->a[0], r->a[1], ""); }
static LLVMValueRef row_not(const Row *r) { return LLVMBuildNot(r->b, r->a[0], ""); }
static LLVMValueRef row_pop(const Row *r) { return unary(r, "llvm.ctpop"); }

/* A select does not take over the poison of the side that it leaves. */
static LLVMValueRef row_shl(const Row *r) {
  LLVMValueRef fits = LLVMBuildICmp(r->b, LLVMIntULT, r->a[1], code(r, r->e.bits), "");
  return LLVMBuildSelect(r->b, fits, LLVMBuildShl(r->b, r->a[0], r->a[1], ""), code(r, 0), "");
}

static LLVMValueRef row_shr(const Row *r) {
  LLVMValueRef fits = LLVMBuildICmp(r->b, LLVMIntULT, r->a[1], code(r, r->e.bits), "");
  if (!llvm_is_signed(r->e))
    return LLVMBuildSelect(r->b, fits, LLVMBuildLShr(r->b, r->a[0], r->a[1], ""), code(r, 0), "");
  LLVMValueRef count = LLVMBuildSelect(r->b, fits, r->a[1], code(r, r->e.bits - 1), "");
  return LLVMBuildAShr(r->b, r->a[0], count, "");
}

static LLVMValueRef row_eq(const Row *r) {
  if (is_float(r))
    return LLVMBuildFCmp(r->b, LLVMRealOEQ, r->a[0], r->a[1], "");
  return LLVMBuildICmp(r->b, LLVMIntEQ, r->a[0], r->a[1], "");
}

static LLVMValueRef row_lt(const Row *r) { return less(r, r->a[0], r->a[1]); }

static LLVMValueRef row_le(const Row *r) {
  if (is_float(r))
    return LLVMBuildFCmp(r->b, LLVMRealOLE, r->a[0], r->a[1], "");
  return LLVMBuildICmp(r->b, llvm_is_signed(r->e) ? LLVMIntSLE : LLVMIntULE, r->a[0], r->a[1], "");
}

static LLVMValueRef row_isnan(const Row *r) { return is_nan(r, r->a[0]); }

static LLVMValueRef row_isinf(const Row *r) {
  return LLVMBuildFCmp(r->b, LLVMRealOEQ, unary(r, "llvm.fabs"), real(r, __builtin_inf()), "");
}

static LLVMValueRef row_select(const Row *r) { return LLVMBuildSelect(r->b, r->a[0], r->a[1], r->a[2], ""); }

/* A float as a code: cut off, within the code's range, NaN 0. x86 has no such conversion, and LLVM takes its vectors of llvm.fptosi.sat apart:
 * so there by comparisons. What a select leaves may be poison; both bounds are floats exactly. */
static LLVMValueRef saturated(const Row *r, LLVMTypeRef to) {
  Elem e = r->result.e;
  LLVMValueRef x = r->a[0];
  bool is_signed = llvm_is_signed(e);
  if (!r->g->target->x86 || e.bits > 32 || r->e.bits < 32) return llvm_call(r->g, is_signed ? "llvm.fptosi.sat" : "llvm.fptoui.sat", 2, (LLVMTypeRef[]){to, r->t}, 1, &x);
  Row codes = {.t = to};
  double end = (double)elem_hi(e) + 1, lo = (double)elem_lo(e);
  LLVMValueRef y = is_signed ? LLVMBuildFPToSI(r->b, x, to, "") : LLVMBuildFPToUI(r->b, x, to, "");
  y = LLVMBuildSelect(r->b, LLVMBuildFCmp(r->b, LLVMRealOGE, x, real(r, end), ""), code(&codes, elem_hi(e)), y, "");
  y = LLVMBuildSelect(r->b, LLVMBuildFCmp(r->b, LLVMRealOLT, x, real(r, lo), ""), code(&codes, elem_lo(e)), y, "");
  return LLVMBuildSelect(r->b, is_nan(r, x), code(&codes, 0), y, "");
}

static LLVMValueRef row_cast(const Row *r) {
  LLVMTypeRef to = llvm_type(r->g, r->result);
  Elem e = r->result.e;
  LLVMValueRef x = r->a[0];
  if (e.kind == EK_BOOL)
    return is_float(r) ? LLVMBuildFCmp(r->b, LLVMRealUNE, x, real(r, 0), "") : LLVMBuildICmp(r->b, LLVMIntNE, x, code(r, 0), "");
  if (is_float(r) && elem_is_float(e))
    return LLVMBuildFPCast(r->b, x, to, "");
  if (is_float(r))
    return saturated(r, to);
  if (elem_is_float(e))
    return llvm_is_signed(r->e) ? LLVMBuildSIToFP(r->b, x, to, "") : LLVMBuildUIToFP(r->b, x, to, "");
  return LLVMBuildIntCast2(r->b, x, to, llvm_is_signed(r->e), "");
}

static LLVMValueRef row_bits(const Row *r) { return LLVMBuildBitCast(r->b, r->a[0], llvm_type(r->g, r->result), ""); }

/* The transcendental rows have no column: lowering writes their formulas out before a Program exists. */
static LLVMValueRef (*const rows[SCALAR_COUNT])(const Row *) = {
  [S_ADD] = row_add, [S_SUB] = row_sub, [S_MUL] = row_mul, [S_DIV] = row_div, [S_MOD] = row_mod, [S_FMOD] = row_fmod,
  [S_MAX] = row_max, [S_MIN] = row_min, [S_NEG] = row_neg, [S_ABS] = row_abs, [S_SIGN] = row_sign, [S_FLOOR] = row_floor,
  [S_CEIL] = row_ceil, [S_TRUNC] = row_trunc, [S_ROUND] = row_round, [S_SQRT] = row_sqrt, [S_AND] = row_and, [S_OR] = row_or,
  [S_XOR] = row_xor, [S_NOT] = row_not, [S_SHL] = row_shl, [S_SHR] = row_shr, [S_POP] = row_pop, [S_EQ] = row_eq,
  [S_LT] = row_lt, [S_LE] = row_le, [S_ISNAN] = row_isnan, [S_ISINF] = row_isinf, [S_SELECT] = row_select,
  [S_CAST] = row_cast, [S_BITS] = row_bits
};

bool llvm_has_scalar(Scalar s) { return rows[s] != NULL; }

LLVMValueRef llvm_scalar(Gen *g, Scalar s, NType operand, NType result, LLVMValueRef *a) {
  assert(rows[s]);
  Row r = {g, g->b, operand.e, llvm_type(g, operand), result, a};
  return rows[s](&r);
}
