/* Loops over dot products of neighbours in memory, for machines with an instruction for it (LLVM's own vectorizer finds that
 * instruction only where a whole reduction is one vector):
 *   for r in lo..hi { acc := acc + i32(x[i + r]) * i32(y[j + r]) }        x, y: 8-bit codes, or 16-bit signed ones
 * becomes vector sums, which stay vectors through all the loops around that do nothing else, and are added to acc behind
 * them. Sums of codes wrap, so their order does not matter. */
#include "backends/llvm/llvm_impl.h"

#include <assert.h>

struct DotLoop {
  const Stmt *s;             /* the innermost loop */
  const Expr *x, *y;         /* loads */
  int acc;                   /* variable */
  int64_t lo, hi;
  LLVMValueRef sum[3];       /* addresses of sums of 16, 8, 4 lanes; NULL: not needed */
};

enum { MOST_LANES = 16 };

static bool mentions(const Expr *e, int var) {
  if (e->kind == EX_VAR)
    return e->var == var;
  for (int i = 0; i < e->n; i++)
    if (mentions(e->a[i], var))
      return true;
  return false;
}

/* True where e grows by *step as var grows by 1. */
static bool linear(const Expr *e, int var, int64_t *step) {
  int64_t a, b, c;
  *step = 0;
  if (!mentions(e, var))
    return true;
  if (e->kind == EX_VAR) {
    *step = 1;
    return true;
  }
  if (e->kind != EX_SCALAR || e->n != 2 || !linear(e->a[0], var, &a) || !linear(e->a[1], var, &b))
    return false;
  if (e->s == S_ADD)
    *step = a + b;
  else if (e->s == S_SUB)
    *step = a - b;
  else if (e->s == S_MUL && nx_is_const(e->a[1], &c))
    return mul_ok(a, c, step);
  else
    return false;
  return true;
}

/* i32(load) with neighbours in neighbouring iterations. */
static const Expr *factor(const Expr *e, const Stmt *loop, int acc) {
  int64_t step;
  if (e->kind != EX_SCALAR || e->s != S_CAST || !elem_eq(e->t.e, I32) || e->t.lanes != 1)
    return NULL;
  const Expr *x = e->a[0];
  bool ok = x->kind == EX_LOAD && elem_is_int(x->t.e) &&
            linear(x->a[0], loop->var, &step) && step == 1 && !mentions(x->a[0], acc);
  return ok ? x : NULL;
}

static bool match(Gen *g, const Stmt *s, DotLoop *d) {
  const Stmt *set = s->body.first;
  if (s->step != 1 || !nx_is_const(s->e, &d->lo) || !nx_is_const(s->e2, &d->hi) || set->kind != ST_SET || set->next)
    return false;
  const Expr *e = set->e;
  if (!elem_eq(e->t.e, I32) || e->t.lanes != 1 || e->kind != EX_SCALAR || e->s != S_ADD)
    return false;
  int at = e->a[0]->kind == EX_VAR && e->a[0]->var == set->var ? 1 : 0; /* which operand is the product */
  const Expr *product = e->a[at], *old = e->a[1 - at];
  if (old->kind != EX_VAR || old->var != set->var || product->kind != EX_SCALAR || product->s != S_MUL)
    return false;
  d->s = s;
  d->acc = set->var;
  d->x = factor(product->a[0], s, d->acc);
  d->y = factor(product->a[1], s, d->acc);
  if (!d->x || !d->y || d->x->t.e.bits != d->y->t.e.bits)
    return false;
  int bits = d->x->t.e.bits, q = bits == 8 ? 4 : 2;
  return (bits == 8 || bits == 16) && d->hi - d->lo >= 4 * q && llvm_has_dot(g, bits, llvm_is_signed(d->x->t.e), llvm_is_signed(d->y->t.e));
}

/* s is such a loop, or loops around one only. */
static bool find(Gen *g, const Stmt *s, DotLoop *d) {
  if (!s->body.first)
    return false;
  if (s->body.first->kind != ST_FOR)
    return match(g, s, d);
  return !s->body.first->next && find(g, s->body.first, d) && !mentions(s->e, d->acc) && !mentions(s->e2, d->acc);
}

static LLVMTypeRef sum_type(Gen *g, int lanes) { return LLVMVectorType(g->i32, (unsigned)lanes); }

static LLVMValueRef load(Gen *g, const Expr *x, int count) {
  Elem e = x->t.e;
  LLVMValueRef at = llvm_address(g, x->buf, llvm_expr(g, x->a[0]));
  LLVMValueRef v = LLVMBuildLoad2(g->b, llvm_mem_type(g, e, count), at, "");
  LLVMSetAlignment(v, llvm_align(e));
  return v;
}

/* sum += products of q * lanes elements from the loop variable's value i on. */
static void one_step(Gen *g, const DotLoop *d, int lanes, LLVMValueRef sum, LLVMValueRef i) {
  int bits = d->x->t.e.bits, q = bits == 8 ? 4 : 2;
  g->vars[d->s->var] = i;
  llvm_memo_cut(g, 0);
  LLVMValueRef a[3] = {LLVMBuildLoad2(g->b, sum_type(g, lanes), sum, ""), load(g, d->x, q * lanes), load(g, d->y, q * lanes)};
  LLVMBuildStore(g->b, llvm_dot_of(g, bits, lanes, llvm_is_signed(d->x->t.e), llvm_is_signed(d->y->t.e), a), sum);
}

/* The innermost loop: the widest sums in a loop, then one step of each narrower width that fits, then single elements. */
static void steps(Gen *g, const DotLoop *d) {
  LLVMTypeRef index = llvm_type(g, nt(g->p->index));
  int64_t at = d->lo;
  int q = d->x->t.e.bits == 8 ? 4 : 2;
  for (int w = 0, lanes = MOST_LANES; w < 3; w++, lanes /= 2) {
    int64_t end = at + (d->hi - at) / (q * lanes) * (q * lanes);
    if (end == at)
      continue;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(g->b), body = llvm_block(g, "dot"), after = llvm_block(g, "end");
    LLVMBuildBr(g->b, body);
    LLVMPositionBuilderAtEnd(g->b, body);
    LLVMValueRef i = LLVMBuildPhi(g->b, index, "r");
    one_step(g, d, lanes, d->sum[w], i);
    LLVMValueRef next = LLVMBuildNSWAdd(g->b, i, LLVMConstInt(index, (uint64_t)(q * lanes), 1), "");
    LLVMAddIncoming(i, (LLVMValueRef[]){LLVMConstInt(index, (uint64_t)at, 1), next},
                    (LLVMBasicBlockRef[]){before, LLVMGetInsertBlock(g->b)}, 2);
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, next, LLVMConstInt(index, (uint64_t)end, 1), ""), body, after);
    LLVMPositionBuilderAtEnd(g->b, after);
    at = end;
  }
  if (at == d->hi)
    return;
  Stmt rest = *d->s;
  rest.e = nx_idx(&g->scratch, at);
  llvm_memo_cut(g, 0);
  llvm_for(g, &rest);
}

static void begin_sums(Gen *g, DotLoop *d) {
  int64_t left = d->hi - d->lo;
  int q = d->x->t.e.bits == 8 ? 4 : 2;
  for (int w = 0, lanes = MOST_LANES; w < 3; w++, lanes /= 2) {
    d->sum[w] = NULL;
    if (left < q * lanes)
      continue;
    left %= q * lanes;
    d->sum[w] = llvm_entry_alloca(g, sum_type(g, lanes), "sum");
    LLVMBuildStore(g->b, LLVMConstNull(sum_type(g, lanes)), d->sum[w]);
  }
}

static void end_sums(Gen *g, const DotLoop *d) {
  LLVMValueRef acc = LLVMBuildLoad2(g->b, g->i32, g->vars[d->acc], "");
  for (int w = 0, lanes = MOST_LANES; w < 3; w++, lanes /= 2) {
    if (!d->sum[w])
      continue;
    LLVMTypeRef t = sum_type(g, lanes);
    LLVMValueRef v = LLVMBuildLoad2(g->b, t, d->sum[w], "");
    acc = LLVMBuildAdd(g->b, acc, llvm_call(g, "llvm.vector.reduce.add", 1, &t, 1, &v), "");
  }
  LLVMBuildStore(g->b, acc, g->vars[d->acc]);
}

bool llvm_dot_loop(Gen *g, const Stmt *s) {
  DotLoop d;
  if (g->dot && g->dot->s == s) {
    steps(g, g->dot);
    return true;
  }
  if (g->dot || !find(g, s, &d))
    return false;
  assert(g->in_memory[d.acc]);
  begin_sums(g, &d);
  g->dot = &d;
  if (s == d.s)
    steps(g, &d);
  else
    llvm_for(g, s);
  g->dot = NULL;
  end_sums(g, &d);
  return true;
}
