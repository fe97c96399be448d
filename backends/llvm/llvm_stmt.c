/* Statements, and a nest as one internal function of the addresses of its buffers. */
#include "backends/llvm/llvm_impl.h"

#include <assert.h>
#include <string.h>

static void block(Gen *g, const Block *b);

LLVMBasicBlockRef llvm_block(Gen *g, const char *name) { return LLVMAppendBasicBlockInContext(g->c, g->fn, name); }

/* At the head of the function, so that a variable inside a loop takes its place once. */
LLVMValueRef llvm_entry_alloca(Gen *g, LLVMTypeRef t, const char *name) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b), entry = LLVMGetEntryBasicBlock(g->fn);
  LLVMValueRef first = LLVMGetFirstInstruction(entry);
  if (first)
    LLVMPositionBuilderBefore(g->b, first);
  else
    LLVMPositionBuilderAtEnd(g->b, entry);
  LLVMValueRef v = LLVMBuildAlloca(g->b, t, name);
  LLVMPositionBuilderAtEnd(g->b, here);
  return v;
}

/* !{self, !{"llvm.loop..."}}: a loop's metadata begins with itself. */
static void mark_loop(Gen *g, LLVMValueRef branch, const Stmt *s) {
  LLVMMetadataRef hint[2], list[2];
  const char *name = NULL;
  int n = 1;
  if (s->mark == MARK_UNROLL)
    name = s->max > 0 && s->max <= 64 ? "llvm.loop.unroll.full" : "llvm.loop.unroll.enable";
  if (s->mark == MARK_VECTOR) {
    name = "llvm.loop.vectorize.enable";
    hint[n++] = LLVMValueAsMetadata(LLVMConstInt(g->i1, 1, 0));
  }
  if (!name)
    return;
  hint[0] = LLVMMDStringInContext2(g->c, name, strlen(name));
  LLVMMetadataRef self = LLVMTemporaryMDNode(g->c, NULL, 0);
  list[0] = self;
  list[1] = LLVMMDNodeInContext2(g->c, hint, (size_t)n);
  LLVMMetadataRef loop = LLVMMDNodeInContext2(g->c, list, 2);
  LLVMMetadataReplaceAllUsesWith(self, loop);
  LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(g->c, "llvm.loop", 9), LLVMMetadataAsValue(g->c, loop));
}

/* No index reaches the end of its type (FOR's max), so the step does not wrap. */
void llvm_for(Gen *g, const Stmt *s) {
  const Var *var = &g->nest->vars[s->var];
  LLVMTypeRef t = llvm_type(g, var->t);
  bool is_signed = llvm_is_signed(var->t.e);
  LLVMIntPredicate below = is_signed ? LLVMIntSLT : LLVMIntULT;
  LLVMValueRef lo = llvm_expr(g, s->e), hi = llvm_expr(g, s->e2);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(g->b), body = llvm_block(g, var->name), after = llvm_block(g, "end");
  LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, below, lo, hi, ""), body, after);
  LLVMPositionBuilderAtEnd(g->b, body);
  LLVMValueRef i = LLVMBuildPhi(g->b, t, var->name);
  g->vars[s->var] = i;
  block(g, &s->body);
  LLVMValueRef step = LLVMConstInt(t, (uint64_t)s->step, 1);
  LLVMValueRef next = is_signed ? LLVMBuildNSWAdd(g->b, i, step, "") : LLVMBuildNUWAdd(g->b, i, step, "");
  LLVMBasicBlockRef last = LLVMGetInsertBlock(g->b);
  LLVMAddIncoming(i, (LLVMValueRef[]){lo, next}, (LLVMBasicBlockRef[]){before, last}, 2);
  mark_loop(g, LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, below, next, hi, ""), body, after), s);
  LLVMMoveBasicBlockAfter(after, last);
  LLVMPositionBuilderAtEnd(g->b, after);
}

static void stmt_for(Gen *g, const Stmt *s) {
  if (!llvm_dot_loop(g, s))
    llvm_for(g, s);
}

static void stmt_if(Gen *g, const Stmt *s) {
  LLVMValueRef c = llvm_expr(g, s->e);
  bool has_else = s->other.first != NULL;
  LLVMBasicBlockRef yes = llvm_block(g, "then"), no = has_else ? llvm_block(g, "else") : NULL, after = llvm_block(g, "end");
  LLVMBuildCondBr(g->b, c, yes, has_else ? no : after);
  LLVMPositionBuilderAtEnd(g->b, yes);
  block(g, &s->body);
  LLVMBuildBr(g->b, after);
  if (has_else) {
    LLVMPositionBuilderAtEnd(g->b, no);
    block(g, &s->other);
    LLVMBuildBr(g->b, after);
  }
  LLVMPositionBuilderAtEnd(g->b, after);
}

static void stmt_let(Gen *g, const Stmt *s) { g->vars[s->var] = llvm_expr(g, s->e); }

static void stmt_vardef(Gen *g, const Stmt *s) {
  LLVMValueRef v = llvm_expr(g, s->e);
  const Var *var = &g->nest->vars[s->var];
  if (!g->in_memory[s->var]) {
    g->vars[s->var] = llvm_entry_alloca(g, llvm_type(g, var->t), var->name);
    g->in_memory[s->var] = true;
  }
  LLVMBuildStore(g->b, v, g->vars[s->var]);
}

static void stmt_set(Gen *g, const Stmt *s) { LLVMBuildStore(g->b, llvm_expr(g, s->e), g->vars[s->var]); }

static void stmt_store(Gen *g, const Stmt *s) {
  Elem e = g->p->bufs[s->buf].e;
  LLVMValueRef index = llvm_expr(g, s->e2), v = llvm_to_memory(g, e, s->e->t.lanes, llvm_expr(g, s->e));
  LLVMSetAlignment(LLVMBuildStore(g->b, v, llvm_address(g, s->buf, index)), llvm_align(e));
}

static void (*const kinds[])(Gen *, const Stmt *) = {
  [ST_FOR] = stmt_for, [ST_IF] = stmt_if, [ST_LET] = stmt_let, [ST_VARDEF] = stmt_vardef, [ST_SET] = stmt_set,
  [ST_STORE] = stmt_store
};

static void block(Gen *g, const Block *b) {
  for (const Stmt *s = b->first; s; s = s->next) {
    llvm_memo_cut(g, 0);
    kinds[s->kind](g, s);
  }
}

/* Which buffers a nest touches. */
typedef struct Uses { bool *read, *written; } Uses;

static void use_expr(void *user, const Expr *x) {
  if (x->kind == EX_LOAD)
    ((Uses *)user)->read[x->buf] = true;
}

static void use_stmt(void *user, const Stmt *s) {
  if (s->kind == ST_STORE)
    ((Uses *)user)->written[s->buf] = true;
  stmt_exprs(s, use_expr, user);
}

static void attribute(Gen *g, LLVMValueRef fn, unsigned at, const char *name, uint64_t value) {
  unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
  assert(kind);
  LLVMAddAttributeAtIndex(fn, at, LLVMCreateEnumAttribute(g->c, kind, value));
}

static void text_attribute(Gen *g, LLVMValueRef fn, const char *name, const char *value) {
  LLVMAddAttributeAtIndex(fn, (unsigned)LLVMAttributeFunctionIndex,
                          LLVMCreateStringAttribute(g->c, name, (unsigned)strlen(name), value, (unsigned)strlen(value)));
}

void llvm_machine_attributes(Gen *g, LLVMValueRef fn) {
  attribute(g, fn, (unsigned)LLVMAttributeFunctionIndex, "nounwind", 0);
  text_attribute(g, fn, "target-cpu", g->target->cpu);
  if (g->target->features[0])
    text_attribute(g, fn, "target-features", g->target->features);
}

/* The plan keeps buffers apart that live at the same step, and the caller's are its own: no two parameters alias. */
static void buffer_attributes(Gen *g, unsigned at, const Buf *b, bool written) {
  uint64_t bytes = (uint64_t)b->n * store_size(elem_store(b->e));
  attribute(g, g->fn, at, "noalias", 0);
  attribute(g, g->fn, at, "nocapture", 0);
  attribute(g, g->fn, at, "nonnull", 0);
  attribute(g, g->fn, at, "noundef", 0);
  attribute(g, g->fn, at, "align", b->sp == SP_ARENA ? 64 : llvm_align(b->e));
  if (bytes)
    attribute(g, g->fn, at, "dereferenceable", bytes);
  if (!written)
    attribute(g, g->fn, at, "readonly", 0);
}

/* Sets g->fns[nest] and args[nest]: the buffers of its parameters in order, ended by -1. */
void llvm_nest(Gen *g, int nest, int **args) {
  const Program *p = g->p;
  const Nest *n = p->nests[nest];
  Arena *scratch = g->scratch.arena;
  Uses u = {NEWN(scratch, bool, p->n_bufs + 1), NEWN(scratch, bool, p->n_bufs + 1)};
  stmt_visit(&n->body, use_stmt, &u);
  LLVMTypeRef *types = NEWN(scratch, LLVMTypeRef, p->n_bufs + 1);
  int *order = NEWN(scratch, int, p->n_bufs + 1), count = 0;
  for (int b = 0; b < p->n_bufs; b++)
    if ((u.read[b] || u.written[b]) && p->bufs[b].sp != SP_ROM && p->bufs[b].sp != SP_REG) {
      types[count] = g->ptr;
      order[count++] = b;
    }
  order[count] = -1;
  args[nest] = order;
  LLVMTypeRef ft = LLVMFunctionType(LLVMVoidTypeInContext(g->c), types, (unsigned)count, 0);
  char *symbol = arena_printf(scratch, "%s.%s", p->name, n->name); /* no C identifier has a dot */
  g->fns[nest] = g->fn = LLVMAddFunction(g->m, symbol, ft);
  g->nest = n;
  g->at = NEWN(scratch, LLVMValueRef, p->n_bufs + 1);
  g->vars = NEWN(scratch, LLVMValueRef, n->n_vars + 1);
  g->in_memory = NEWN(scratch, bool, n->n_vars + 1);
  LLVMSetLinkage(g->fn, LLVMInternalLinkage);
  llvm_machine_attributes(g, g->fn);
  attribute(g, g->fn, (unsigned)LLVMAttributeFunctionIndex, "noinline", 0); /* parameters are what tells buffers apart */
  LLVMPositionBuilderAtEnd(g->b, llvm_block(g, "entry"));
  for (int i = 0; i < count; i++) {
    const Buf *b = &p->bufs[order[i]];
    g->at[order[i]] = LLVMGetParam(g->fn, (unsigned)i);
    LLVMSetValueName2(g->at[order[i]], b->name, strlen(b->name));
    buffer_attributes(g, (unsigned)i + 1, b, u.written[order[i]]);
  }
  for (int b = 0; b < p->n_bufs; b++) {
    const Buf *buf = &p->bufs[b];
    if (buf->sp == SP_ROM)
      g->at[b] = g->rom[b];
    if (buf->sp == SP_REG && (u.read[b] || u.written[b])) {
      LLVMTypeRef t = LLVMArrayType2(llvm_mem_type(g, buf->e, 1), (uint64_t)(buf->n ? buf->n : 1));
      g->at[b] = llvm_entry_alloca(g, t, buf->name);
      LLVMSetAlignment(g->at[b], 64);
    }
  }
  block(g, &n->body);
  LLVMBuildRetVoid(g->b);
}
