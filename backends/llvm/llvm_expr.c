/* Expressions. */
#include "backends/llvm/llvm_impl.h"

#include <assert.h>
#include <string.h>

LLVMTypeRef llvm_type(Gen *g, NType t) {
  LLVMTypeRef e;
  if (elem_is_float(t.e))
    e = elem_store(t.e) == ST_F64 ? LLVMDoubleTypeInContext(g->c) : LLVMFloatTypeInContext(g->c);
  else if (t.e.kind == EK_SHIFT || t.e.kind == EK_BASES) /* their numbers need the whole storage */
    e = LLVMIntTypeInContext(g->c, 8 * (unsigned)store_size(elem_store(t.e)));
  else
    e = LLVMIntTypeInContext(g->c, t.e.bits);
  return t.lanes == 1 ? e : LLVMVectorType(e, t.lanes);
}

LLVMTypeRef llvm_mem_type(Gen *g, Elem e, int lanes) {
  if (elem_is_float(e))
    return llvm_type(g, ntv(e, lanes));
  LLVMTypeRef t = LLVMIntTypeInContext(g->c, 8 * (unsigned)store_size(elem_store(e)));
  return lanes == 1 ? t : LLVMVectorType(t, (unsigned)lanes);
}

unsigned llvm_align(Elem e) { return (unsigned)store_size(elem_store(e)); }

LLVMValueRef llvm_address(Gen *g, int buf, LLVMValueRef index) {
  LLVMTypeRef t = llvm_mem_type(g, g->p->bufs[buf].e, 1);
  return LLVMBuildInBoundsGEP2(g->b, t, g->at[buf], &index, 1, "");
}

/* Value types narrower than their storage (bool; exact widths) are extended by their sign. */
LLVMValueRef llvm_to_memory(Gen *g, Elem e, int lanes, LLVMValueRef v) {
  LLVMTypeRef mem = llvm_mem_type(g, e, lanes);
  return LLVMTypeOf(v) == mem ? v : LLVMBuildIntCast2(g->b, v, mem, llvm_is_signed(e), "");
}

static LLVMValueRef from_memory(Gen *g, const Expr *x, LLVMValueRef v) {
  LLVMTypeRef t = llvm_type(g, x->t);
  return LLVMTypeOf(v) == t ? v : LLVMBuildTrunc(g->b, v, t, "");
}

static LLVMValueRef splat(Gen *g, LLVMValueRef one, int lanes) {
  LLVMTypeRef v = LLVMVectorType(LLVMTypeOf(one), (unsigned)lanes), zeros = LLVMVectorType(g->i32, (unsigned)lanes);
  LLVMValueRef first = LLVMBuildInsertElement(g->b, LLVMGetPoison(v), one, LLVMConstInt(g->i32, 0, 0), "");
  return LLVMBuildShuffleVector(g->b, first, LLVMGetPoison(v), LLVMConstNull(zeros), "");
}

static LLVMValueRef expr_const(Gen *g, const Expr *x, LLVMValueRef *a) {
  (void)a;
  LLVMTypeRef t = llvm_type(g, nt(x->t.e));
  LLVMValueRef one = elem_is_float(x->t.e) ? LLVMConstReal(t, x->value.f) : LLVMConstInt(t, (uint64_t)x->value.i, 1);
  return x->t.lanes == 1 ? one : splat(g, one, x->t.lanes);
}

static LLVMValueRef expr_var(Gen *g, const Expr *x, LLVMValueRef *a) {
  (void)a;
  LLVMValueRef v = g->vars[x->var];
  return g->in_memory[x->var] ? LLVMBuildLoad2(g->b, llvm_type(g, x->t), v, g->nest->vars[x->var].name) : v;
}

static LLVMValueRef expr_load(Gen *g, const Expr *x, LLVMValueRef *a) {
  Elem e = g->p->bufs[x->buf].e;
  LLVMValueRef v = LLVMBuildLoad2(g->b, llvm_mem_type(g, e, x->t.lanes), llvm_address(g, x->buf, a[0]), "");
  LLVMSetAlignment(v, llvm_align(e));
  return from_memory(g, x, v);
}

static LLVMValueRef expr_scalar(Gen *g, const Expr *x, LLVMValueRef *a) {
  NType operand = x->s == S_SELECT ? x->a[1]->t : x->a[0]->t;
  return llvm_scalar(g, x->s, operand, x->t, a);
}

static unsigned head_of(const Expr *x) { return (unsigned)((uintptr_t)x >> 4) * 2654435761u >> 24; }

static LLVMValueRef memo_find(const Gen *g, const Expr *x) {
  for (int i = g->memo.head[head_of(x)]; i >= 0; i = g->memo.p[i].next)
    if (g->memo.p[i].x == x)
      return g->memo.p[i].v;
  return NULL;
}

static void memo_add(Gen *g, const Expr *x, LLVMValueRef v) {
  int *head = &g->memo.head[head_of(x)];
  struct MemoEntry e = {x, v, *head};
  *head = g->memo.n;
  vec_push(g->scratch.arena, &g->memo, e);
}

void llvm_memo_cut(Gen *g, int n) {
  if (n == 0)
    memset(g->memo.head, -1, sizeof g->memo.head);
  else
    for (int i = g->memo.n - 1; i >= n; i--)
      g->memo.head[head_of(g->memo.p[i].x)] = g->memo.p[i].next;
  g->memo.n = n;
}

/* Control flow: only the chosen side is evaluated. */
static LLVMValueRef expr_cond(Gen *g, const Expr *x) {
  LLVMValueRef c = llvm_expr(g, x->a[0]);
  LLVMBasicBlockRef side[2] = {llvm_block(g, "yes"), llvm_block(g, "no")}, join = llvm_block(g, "join");
  LLVMValueRef v[2];
  LLVMBuildCondBr(g->b, c, side[0], side[1]);
  for (int i = 0; i < 2; i++) {
    LLVMPositionBuilderAtEnd(g->b, side[i]);
    int known = g->memo.n;
    v[i] = llvm_expr(g, x->a[1 + i]);
    llvm_memo_cut(g, known);
    side[i] = LLVMGetInsertBlock(g->b); /* the side may have grown blocks of its own */
    LLVMBuildBr(g->b, join);
  }
  LLVMPositionBuilderAtEnd(g->b, join);
  LLVMValueRef phi = LLVMBuildPhi(g->b, llvm_type(g, x->t), "");
  LLVMAddIncoming(phi, v, side, 2);
  return phi;
}

static LLVMValueRef expr_splat(Gen *g, const Expr *x, LLVMValueRef *a) { return x->t.lanes == 1 ? a[0] : splat(g, a[0], x->t.lanes); }

static LLVMValueRef expr_hred(Gen *g, const Expr *x, LLVMValueRef *a) {
  NType from = x->a[0]->t;
  if (from.lanes == 1)
    return a[0];
  if (!elem_is_float(from.e))
    return llvm_call(g, "llvm.vector.reduce.add", 1, (LLVMTypeRef[]){LLVMTypeOf(a[0])}, 1, a);
  LLVMValueRef sum = LLVMBuildExtractElement(g->b, a[0], LLVMConstInt(g->i32, 0, 0), "");
  for (unsigned i = 1; i < from.lanes; i++)
    sum = LLVMBuildFAdd(g->b, sum, LLVMBuildExtractElement(g->b, a[0], LLVMConstInt(g->i32, i, 0), ""), "");
  return sum;
}

/* Vectors lie in memory lane 0 first, and bitcasts keep the bytes there: on big-endian machines the pieces of a wide lane
 * lie the other way round. v with each group of k lanes turned about. */
static LLVMValueRef turn_groups(Gen *g, LLVMValueRef v, int k) {
  LLVMValueRef order[512];
  int n = (int)LLVMGetVectorSize(LLVMTypeOf(v));
  assert(n <= 512);
  for (int i = 0; i < n; i++)
    order[i] = LLVMConstInt(g->i32, (unsigned)(i / k * k + k - 1 - i % k), 0);
  return LLVMBuildShuffleVector(g->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(order, (unsigned)n), "");
}

static LLVMValueRef expr_relane(Gen *g, const Expr *x, LLVMValueRef *a) {
  int to = x->t.e.bits, from = x->a[0]->t.e.bits;
  LLVMValueRef v = a[0];
  if (g->target->big_endian && to > from)
    v = turn_groups(g, v, to / from);
  v = LLVMBuildBitCast(g->b, v, llvm_type(g, x->t), "");
  return g->target->big_endian && to < from ? turn_groups(g, v, from / to) : v;
}

static LLVMValueRef expr_mask(Gen *g, const Expr *x, LLVMValueRef *a) {
  LLVMValueRef v = g->target->big_endian ? turn_groups(g, a[0], x->a[0]->t.lanes) : a[0];
  return LLVMBuildBitCast(g->b, v, llvm_type(g, x->t), "");
}

static LLVMValueRef expr_perm(Gen *g, const Expr *x, LLVMValueRef *a) { return llvm_perm(g, x, a); }

/* The machine's instruction, else the meaning of the row over variables that hold the arguments (each evaluated once). */
static LLVMValueRef expr_intrin(Gen *g, const Expr *x, LLVMValueRef *a) {
  LLVMValueRef v = llvm_intrin(g, x, a);
  if (v)
    return v;
  Nest frame = {.name = g->nest->name};
  Expr *args[3] = {0};
  const Nest *nest = g->nest;
  LLVMValueRef *vars = g->vars;
  bool *in_memory = g->in_memory, none[3] = {0};
  for (int i = 0; i < x->n; i++) {
    args[i] = NEW(g->scratch.arena, Expr);
    *args[i] = (Expr){.kind = EX_VAR, .t = x->a[i]->t, .var = i, .buf = -1};
  }
  g->nest = &frame;
  g->vars = a;
  g->in_memory = none;
  v = llvm_expr(g, intrin_expand(&g->scratch, x->imm, args));
  g->nest = nest;
  g->vars = vars;
  g->in_memory = in_memory;
  return v;
}

typedef LLVMValueRef Build(Gen *, const Expr *, LLVMValueRef *a);
static Build *const kinds[] = {
  [EX_CONST] = expr_const, [EX_VAR] = expr_var, [EX_LOAD] = expr_load, [EX_SCALAR] = expr_scalar, [EX_SPLAT] = expr_splat,
  [EX_HRED] = expr_hred, [EX_DOT] = llvm_dot, [EX_LUT3] = llvm_lut3, [EX_SHUF] = llvm_shuf, [EX_PERM] = expr_perm,
  [EX_RELANE] = expr_relane, [EX_MASK] = expr_mask,
  [EX_INTRIN] = expr_intrin
};

LLVMValueRef llvm_expr(Gen *g, const Expr *x) {
  LLVMValueRef a[3], v = x->n ? memo_find(g, x) : NULL;
  if (v)
    return v;
  if (x->kind == EX_COND)
    v = expr_cond(g, x);
  else {
    assert((size_t)x->kind < sizeof kinds / sizeof *kinds && x->n <= 3);
    for (int i = 0; i < x->n; i++)
      a[i] = llvm_expr(g, x->a[i]);
    v = kinds[x->kind](g, x, a);
  }
  if (x->n)
    memo_add(g, x, v);
  return v;
}
