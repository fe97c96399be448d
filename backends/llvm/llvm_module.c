/* The module: constants, a function per nest, and the interface of the generated C (DESIGN: one workspace is one instance). */
#include "backends/llvm/llvm_impl.h"
#include "runtime/popshift_rt.h"

#include <assert.h>
#include <llvm-c/Analysis.h>
#include <stdlib.h>
#include <string.h>

/* Bytes as they lie in the target's memory; loads give them their type. */
static void rom(Gen *g, int buf) {
  const Buf *b = &g->p->bufs[buf];
  size_t size = store_size(elem_store(b->e)), n = (size_t)b->n * size;
  const char *bytes = b->rom;
  char *swapped = NULL;
  if (g->target->big_endian && size > 1) {
    swapped = malloc(n ? n : 1);
    if (!swapped)
      abort();
    for (size_t i = 0; i < n; i++)
      swapped[i] = bytes[i / size * size + (size - 1 - i % size)];
    bytes = swapped;
  }
  LLVMValueRef data = LLVMConstStringInContext2(g->c, bytes, n, 1);
  LLVMValueRef v = LLVMAddGlobal(g->m, LLVMTypeOf(data), arena_printf(g->scratch.arena, "%s.%s", g->p->name, b->name));
  LLVMSetInitializer(v, data);
  LLVMSetGlobalConstant(v, 1);
  LLVMSetLinkage(v, LLVMPrivateLinkage);
  LLVMSetUnnamedAddress(v, LLVMGlobalUnnamedAddr);
  LLVMSetAlignment(v, 64);
  g->rom[buf] = v;
  free(swapped);
}

static LLVMValueRef status(Gen *g, int s) { return LLVMConstInt(g->i32, (unsigned)s, 0); }

/* if (bad) return s; goes on in a new block. */
static void refuse(Gen *g, LLVMValueRef bad, int s) {
  LLVMBasicBlockRef out = llvm_block(g, "bad"), on = llvm_block(g, "ok");
  LLVMBuildCondBr(g->b, bad, out, on);
  LLVMPositionBuilderAtEnd(g->b, out);
  LLVMBuildRet(g->b, status(g, s));
  LLVMPositionBuilderAtEnd(g->b, on);
}

static void refuse_null(Gen *g, LLVMValueRef p) { refuse(g, LLVMBuildIsNull(g->b, p, ""), POPSHIFT_NULL); }

static void refuse_misaligned(Gen *g, LLVMValueRef p, unsigned align) {
  if (align <= 1)
    return;
  LLVMValueRef low = LLVMBuildAnd(g->b, LLVMBuildPtrToInt(g->b, p, g->size, ""), LLVMConstInt(g->size, align - 1, 0), "");
  refuse(g, LLVMBuildIsNotNull(g->b, low, ""), POPSHIFT_ALIGN);
}

static LLVMValueRef entry(Gen *g, const char *suffix, int n, LLVMTypeRef *types) {
  char *symbol = arena_printf(g->scratch.arena, "%s_%s", g->p->name, suffix);
  g->fn = LLVMAddFunction(g->m, symbol, LLVMFunctionType(g->i32, types, (unsigned)n, 0));
  llvm_machine_attributes(g, g->fn);
  unsigned kind = LLVMGetEnumAttributeKindForName("signext", 7); /* C's int in a register, where the ABI asks */
  LLVMAddAttributeAtIndex(g->fn, LLVMAttributeReturnIndex, LLVMCreateEnumAttribute(g->c, kind, 0));
  LLVMPositionBuilderAtEnd(g->b, llvm_block(g, "entry"));
  return g->fn;
}

static LLVMValueRef offset(Gen *g, LLVMValueRef base, LLVMValueRef bytes) {
  return LLVMBuildInBoundsGEP2(g->b, g->i8, base, &bytes, 1, "");
}

/* Calls of nests; where: the arena's buffers are set, the caller knows the others. */
static void calls(Gen *g, LLVMValueRef workspace, LLVMValueRef *where, const int *nests, int n_nests, int **args) {
  const Program *p = g->p;
  LLVMValueRef *actual = NEWN(g->scratch.arena, LLVMValueRef, p->n_bufs + 1);
  for (int b = 0; b < p->n_bufs; b++)
    if (p->bufs[b].sp == SP_ARENA)
      where[b] = p->bufs[b].off > 0 ? offset(g, workspace, LLVMConstInt(g->size, (uint64_t)p->bufs[b].off, 0)) : workspace;
  for (int s = 0; s < n_nests; s++) {
    int nest = nests[s], n = 0;
    for (; args[nest][n] >= 0; n++) {
      actual[n] = where[args[nest][n]];
      assert(actual[n]);
    }
    LLVMValueRef fn = g->fns[nest];
    LLVMBuildCall2(g->b, LLVMGlobalGetValueType(fn), fn, actual, (unsigned)n, "");
  }
}

/* status NAME_init(void *workspace, size_t bytes, const NAME_env *env): weights are in the module, so env is not read. */
static void init_function(Gen *g, int **args) {
  LLVMValueRef fn = entry(g, "init", 3, (LLVMTypeRef[]){g->ptr, g->size, g->ptr});
  LLVMValueRef need = LLVMConstInt(g->size, (uint64_t)g->p->arena_bytes, 0);
  refuse_null(g, LLVMGetParam(fn, 0));
  refuse_misaligned(g, LLVMGetParam(fn, 0), 64);
  refuse(g, LLVMBuildICmp(g->b, LLVMIntULT, LLVMGetParam(fn, 1), need, ""), POPSHIFT_SIZE);
  calls(g, LLVMGetParam(fn, 0), NEWN(g->scratch.arena, LLVMValueRef, g->p->n_bufs + 1), g->p->inits, g->p->n_inits, args);
  LLVMBuildRet(g->b, status(g, POPSHIFT_OK));
}

static uint64_t port_bytes(const Program *p, const Port *port) {
  const Buf *b = &p->bufs[port->buf];
  return (uint64_t)b->n * store_size(elem_store(b->e));
}

/* Element pointers of the struct of pointers that `ports` are; checked. */
static void load_ports(Gen *g, LLVMValueRef from, const Port *ports, int n, LLVMValueRef *at) {
  for (int i = 0; i < n; i++) {
    LLVMValueRef index = LLVMConstInt(g->i32, (unsigned)i, 0);
    LLVMValueRef slot = LLVMBuildInBoundsGEP2(g->b, g->ptr, from, &index, 1, "");
    at[i] = LLVMBuildLoad2(g->b, g->ptr, slot, g->p->bufs[ports[i].buf].name);
    refuse_null(g, at[i]);
    refuse_misaligned(g, at[i], llvm_align(g->p->bufs[ports[i].buf].e));
  }
}

/* The calls for one sample; at: its elements, by port, inputs first. */
static void steps(Gen *g, LLVMValueRef workspace, LLVMValueRef *at, int **args) {
  const Program *p = g->p;
  LLVMValueRef *where = NEWN(g->scratch.arena, LLVMValueRef, p->n_bufs + 1);
  for (int i = 0; i < p->n_ins + p->n_outs; i++) {
    const Port *port = i < p->n_ins ? &p->ins[i] : &p->outs[i - p->n_ins];
    where[port->buf] = at[i];
  }
  calls(g, workspace, where, p->steps, p->n_steps, args);
}

/* status NAME_run(void *workspace, const NAME_in *in, const NAME_out *out, size_t batch) */
static void run_function(Gen *g, int **args) {
  const Program *p = g->p;
  LLVMValueRef fn = entry(g, "run", 4, (LLVMTypeRef[]){g->ptr, g->ptr, g->ptr, g->size});
  LLVMValueRef batch = LLVMGetParam(fn, 3), *at = NEWN(g->scratch.arena, LLVMValueRef, p->n_ins + p->n_outs + 1);
  for (unsigned i = 0; i < 3; i++)
    refuse_null(g, LLVMGetParam(fn, i));
  refuse_misaligned(g, LLVMGetParam(fn, 0), 64);
  load_ports(g, LLVMGetParam(fn, 1), p->ins, p->n_ins, at);
  load_ports(g, LLVMGetParam(fn, 2), p->outs, p->n_outs, at + p->n_ins);
  uint64_t most = 1;
  for (int i = 0; i < p->n_ins + p->n_outs; i++) {
    uint64_t bytes = port_bytes(p, i < p->n_ins ? &p->ins[i] : &p->outs[i - p->n_ins]);
    most = bytes > most ? bytes : most;
  }
  uint64_t address_space = LLVMPointerSize(g->target->layout) >= 8 ? INT64_MAX : (UINT64_C(1) << (8 * LLVMPointerSize(g->target->layout) - 1)) - 1;
  refuse(g, LLVMBuildICmp(g->b, LLVMIntUGT, batch, LLVMConstInt(g->size, address_space / most, 0), ""), POPSHIFT_COUNT);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(g->b), body = llvm_block(g, "sample"), done = llvm_block(g, "done");
  LLVMBuildCondBr(g->b, LLVMBuildIsNull(g->b, batch, ""), done, body);
  LLVMPositionBuilderAtEnd(g->b, body);
  LLVMValueRef left = LLVMBuildPhi(g->b, g->size, "left"), *now = NEWN(g->scratch.arena, LLVMValueRef, p->n_ins + p->n_outs + 1);
  for (int i = 0; i < p->n_ins + p->n_outs; i++) now[i] = LLVMBuildPhi(g->b, g->ptr, "");
  steps(g, LLVMGetParam(fn, 0), now, args);
  for (int i = 0; i < p->n_ins + p->n_outs; i++) { /* pointers move on: a product with the sample's number would be a multiplication */
    const Port *port = i < p->n_ins ? &p->ins[i] : &p->outs[i - p->n_ins];
    LLVMValueRef next = offset(g, now[i], LLVMConstInt(g->size, port_bytes(p, port), 0));
    if (p->no_multiply) next = llvm_opaque(g, next);
    LLVMAddIncoming(now[i], (LLVMValueRef[]){at[i], next}, (LLVMBasicBlockRef[]){before, LLVMGetInsertBlock(g->b)}, 2);
  }
  LLVMValueRef next = LLVMBuildSub(g->b, left, LLVMConstInt(g->size, 1, 0), "");
  LLVMAddIncoming(left, (LLVMValueRef[]){batch, next}, (LLVMBasicBlockRef[]){before, LLVMGetInsertBlock(g->b)}, 2);
  LLVMBuildCondBr(g->b, LLVMBuildIsNull(g->b, next, ""), done, body);
  LLVMPositionBuilderAtEnd(g->b, done);
  LLVMBuildRet(g->b, status(g, POPSHIFT_OK));
}

LLVMModuleRef llvm_module(Gen *g) {
  const Program *p = g->p;
  assert(p->arena_bytes >= 0 && "the program is planned");
  g->scratch = *p;
  Arena *scratch = g->scratch.arena = arena_new(g->ctx);
  if (!g->m) {
    g->m = LLVMModuleCreateWithNameInContext(p->name, g->c);
    LLVMSetSourceFileName(g->m, p->name, strlen(p->name));
    LLVMSetTarget(g->m, g->target->triple);
    LLVMSetModuleDataLayout(g->m, g->target->layout);
  }
  g->b = LLVMCreateBuilderInContext(g->c);
  g->i1 = LLVMInt1TypeInContext(g->c);
  g->i8 = LLVMInt8TypeInContext(g->c);
  g->i32 = LLVMInt32TypeInContext(g->c);
  g->size = LLVMIntPtrTypeInContext(g->c, g->target->layout);
  g->ptr = LLVMPointerTypeInContext(g->c, 0);
  g->rom = NEWN(scratch, LLVMValueRef, p->n_bufs + 1);
  g->fns = NEWN(scratch, LLVMValueRef, p->n_nests + 1);
  int **args = NEWN(scratch, int *, p->n_nests + 1);
  for (int b = 0; b < p->n_bufs; b++)
    if (p->bufs[b].sp == SP_ROM)
      rom(g, b);
  for (int n = 0; n < p->n_nests; n++)
    llvm_nest(g, n, args);
  init_function(g, args);
  run_function(g, args);
  LLVMDisposeBuilder(g->b);
  arena_free(scratch);
  g->scratch.arena = NULL;
  return g->m;
}
