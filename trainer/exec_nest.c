/* Groups of element-wise nodes as Programs of one nest over vectors of 16, four at a time, compiled by LLVM's JIT where the build has it: between
 * memory and memory every value is in a register. Operation for operation what exec_fuse.c's rows compute and in their order of sums, so the
 * same bits; what they cannot say (sums whose partial sums are no whole vectors, operands that repeat otherwise than by channels that lie last,
 * binary64 scales, transcendental functions) stays with the rows.
 *
 * Channels of which 64 is no multiple are read from a copy with 15 more behind them, the first ones again, so that 16 lie beside each other
 * wherever a vector begins. */
#include "trainer/exec_impl.h"

#ifdef POPSHIFT_LLVM
#include "backends/llvm/llvm_backend.h"
#endif

#include <string.h>

enum { LANES = 16, STRIDE = 64, VECS = STRIDE / LANES };

enum { CUT_WITHIN = CUTS, CUT_END, CUT_LO, CUT_NAN, CUT_ZP, CUT_INVERSE, CUT_FIELDS }; /* floats of Cuts, in order */

typedef struct Gen {
  const Exec *e;
  const Fuse *f;
  Program *p;
  Nest *n;
  int *port;               /* by register: buffer of a source, or of an op whose value is kept; -1 */
  Expr **once;             /* by register: of sources that are one number, and of channels that divide 64: VECS of them */
  Expr **truth, **num;     /* by register, of the vector at hand; truth: of bools, num is made from it where a number is wanted */
  Expr **cut[CUT_FIELDS];  /* by field of Cuts, by op */
} Gen;

static NType vec(void) { return ntv(F32, LANES); }
static Expr *real(Gen *g, float v) { return nx_const_f(g->p, vec(), (double)v); }
static int64_t width_of(const FuseSum *s) { return s->c > 1 ? s->width : STRIDE; } /* of partial sums */
static bool kept(const Gen *g, const FuseOp *op) { return g->e->v[op->value].kept; }

/* What nests can say */

static bool source_fits(const Exec *e, const Read *r) {
  if (elem_eq(e->v[r->value].t.e, F64)) return false;
  return r->whole || (!r->outer && (r->mid == 1 || r->inner == 1));
}

static bool divides(int64_t c) { return c % LANES == 0 && STRIDE % c == 0; }
static int64_t padded(const Read *r) { return r->whole || r->mid == 1 || divides(r->mid) ? 0 : r->mid + LANES - 1; } /* 0: read as it is */

static bool op_fits(const FuseOp *op) {
  const Node *n = op->n;
  return n->op == OP_MAP ? op->row != NULL : n->op == OP_VIEW || n->op == OP_QUANT || n->op == OP_QUANT_GRAD || n->op == OP_DEQUANT;
}

static bool fits(const Exec *e, const Fuse *f) {
  if (f->count < WORTH || f->count % LANES || (f->n_sums && f->block % LANES)) return false;
  for (int i = 0; i < f->n_sources; i++) if (!source_fits(e, &f->source[i].read)) return false;
  for (int i = 0; i < f->n_ops; i++) if (!op_fits(&f->op[i])) return false;
  for (int i = 0; i < f->n_sums; i++) if (f->sum[i].c > 1 && f->sum[i].width % LANES) return false;
  return true;
}

/* Values */

static Expr *num(Gen *g, int reg) {
  if (!g->num[reg]) g->num[reg] = nx3(g->p, S_SELECT, g->truth[reg], real(g, 1), real(g, 0));
  return g->num[reg];
}
static Expr *truth(Gen *g, int reg) {
  if (!g->truth[reg]) g->truth[reg] = nx1(g->p, S_NOT, nx2(g->p, S_EQ, g->num[reg], real(g, 0)));
  return g->truth[reg];
}

/* The Scalar rows of exec_loops.c. Bools are 0 and 1. */
static Expr *map(Gen *g, const FuseOp *op) {
  Scalar s = op->n->a.scalar;
  const int *in = op->in;
  if (s == S_AND || s == S_OR || s == S_XOR) return nx2(g->p, s, truth(g, in[0]), truth(g, in[1]));
  if (s == S_NOT) return nx1(g->p, s, truth(g, in[0]));
  if (s == S_SELECT) return nx3(g->p, s, truth(g, in[0]), num(g, in[1]), num(g, in[2]));
  if (s == S_CAST) return num(g, in[0]);
  return op->n->n_in == 1 ? nx1(g->p, s, num(g, in[0])) : nx2(g->p, s, num(g, in[0]), num(g, in[1]));
}

static Expr *least_code(Gen *g, Expr *v, float lo, float hi) { /* exec_loops.c's code_of */
  Program *p = g->p;
  Expr *m = real(g, 0x1.8p23f);
  v = nx3(p, S_SELECT, nx2(p, S_EQ, v, v), v, real(g, 0));
  v = nx3(p, S_SELECT, nx2(p, S_LT, v, real(g, lo)), real(g, lo), nx3(p, S_SELECT, nx2(p, S_LT, real(g, hi), v), real(g, hi), v));
  return nx2(p, S_SUB, nx2(p, S_ADD, v, m), m);
}

static Expr *cut(const Gen *g, const FuseOp *op, int field) { return g->cut[field][op - g->f->op]; }

static Expr *counted(Gen *g, const FuseOp *op, Expr *x) {
  Program *p = g->p;
  Expr *code = cut(g, op, CUT_LO);
  for (int k = 0; k < CUTS; k++) code = nx2(p, S_ADD, code, nx3(p, S_SELECT, nx2(p, S_LE, cut(g, op, k), x), real(g, 1), real(g, 0)));
  return nx3(p, S_SELECT, nx2(p, S_EQ, x, x), code, cut(g, op, CUT_NAN));
}

static Expr *quant(Gen *g, const FuseOp *op) {
  Program *p = g->p;
  float code = op->zp_code ? op->code : 0, lo = (float)op->n->a.lo, hi = (float)op->n->a.hi;
  Expr *x = num(g, op->in[0]);
  if (fuse_cuts(g->f, op)) return counted(g, op, x);
  Expr *v = nx2(p, S_DIV, x, num(g, op->in[1]));
  if (op->in[2] >= 0) v = nx2(p, S_ADD, v, num(g, op->in[2]));
  return nx2(p, S_ADD, least_code(g, v, lo - code, hi - code), real(g, code));
}

/* x and its dy, by flags 0 and 1 */
static Expr *quant_grad(Gen *g, const FuseOp *op) {
  Program *p = g->p;
  bool cuts = fuse_cuts(g->f, op), ds = op->n->a.flag;
  float lo = (float)op->n->a.lo, hi = (float)op->n->a.hi;
  Expr *dy = num(g, op->in[0]), *x = num(g, op->in[1]), *zp = cuts ? cut(g, op, CUT_ZP) : real(g, (float)op->n->a.fill), *zero = real(g, 0);
  Expr *v = cuts ? NULL : nx2(p, S_DIV, x, num(g, op->in[2])), *u = cuts ? NULL : nx2(p, S_ADD, v, zp);
  Expr *within = cuts ? nx2(p, S_AND, nx2(p, S_LE, cut(g, op, CUT_WITHIN), x), nx2(p, S_LT, x, cut(g, op, CUT_END)))
                      : nx2(p, S_AND, nx2(p, S_LT, real(g, lo), u), nx2(p, S_LT, u, real(g, hi)));
  if (!ds) return nx3(p, S_SELECT, within, dy, zero);
  Expr *code = cuts ? counted(g, op, x) : least_code(g, u, lo, hi);
  Expr *slope = nx3(p, S_SELECT, within, cuts ? nx2(p, S_MUL, x, cut(g, op, CUT_INVERSE)) : v, zero);
  return nx2(p, S_MUL, dy, nx2(p, S_SUB, nx2(p, S_SUB, code, zp), slope));
}

static Expr *value_of(Gen *g, const FuseOp *op) {
  switch (op->n->op) {
  case OP_MAP: return map(g, op);
  case OP_QUANT: return quant(g, op);
  case OP_QUANT_GRAD: return quant_grad(g, op);
  case OP_DEQUANT: {
    Expr *x = num(g, op->in[0]);
    if (op->in[2] >= 0) x = nx2(g->p, S_SUB, x, num(g, op->in[2]));
    return nx2(g->p, S_MUL, x, num(g, op->in[1]));
  }
  default: return num(g, op->in[0]); /* OP_VIEW */
  }
}

/* Memory */

static int buffer(Gen *g, const char *kind, int i, Elem e, Space sp, int64_t n) {
  char name[24];
  snprintf(name, sizeof name, "%s%d", kind, i);
  int b = program_buf(g->p, name, e, sp, n, NULL);
  Port port = {g->p->bufs[b].name, b, {.e = e, .rank = 1, .d = {dim_c(n)}}};
  if (sp == SP_IN) g->p->ins[g->p->n_ins++] = port;
  if (sp == SP_OUT) g->p->outs[g->p->n_outs++] = port;
  return b;
}

static Expr *one(Gen *g, Block *into, int buf, int64_t at) {
  return ns_name(g->p, g->n, into, "k", nx_splat(g->p, nx_load(g->p, buf, nx_idx(g->p, at), 1), LANES));
}

/* Ports, and what is loaded once. Order of ports: sources, cuts; kept values, sums (fuse_run_code). */
static void begin(Gen *g, Block *into) {
  const Fuse *f = g->f;
  Arena *a = g->p->arena;
  g->port = NEWN(a, int, f->n_regs);
  g->once = NEWN(a, Expr *, f->n_regs * VECS);
  g->truth = NEWN(a, Expr *, f->n_regs), g->num = NEWN(a, Expr *, f->n_regs);
  for (int k = 0; k < CUT_FIELDS; k++) g->cut[k] = NEWN(a, Expr *, f->n_ops);
  g->p->ins = NEWN(a, Port, f->n_sources + f->n_ops + 1), g->p->outs = NEWN(a, Port, f->n_ops + f->n_sums + 1);
  for (int i = 0; i < f->n_sources; i++) {
    const Source *s = &f->source[i];
    const Read *r = &s->read;
    int64_t n = r->whole ? f->count : r->mid;
    int b = g->port[s->reg] = buffer(g, "in", i, F32, SP_IN, padded(r) ? padded(r) : n);
    if (n == 1) g->once[s->reg * VECS] = one(g, into, b, 0);
    else if (!r->whole && divides(n))
      for (int64_t k = 0; k < n; k += LANES) g->once[s->reg * VECS + k / LANES] = ns_name(g->p, g->n, into, "c", nx_load(g->p, b, nx_idx(g->p, k), LANES));
  }
  for (int i = 0; i < f->n_ops; i++) {
    if (!fuse_cuts(f, &f->op[i])) continue;
    int b = buffer(g, "cuts", i, F32, SP_IN, CUT_FIELDS);
    for (int k = 0; k < CUT_FIELDS; k++) g->cut[k][i] = one(g, into, b, k);
  }
  for (int i = 0; i < f->n_ops; i++) if (kept(g, &f->op[i])) g->port[f->op[i].reg] = buffer(g, "out", i, F32, SP_OUT, f->count);
}

/* (i + 16 j) % c, once for all that has c channels. */
typedef struct Phases { VEC(struct OfPeriod { int64_t c; Expr *at; }) of; } Phases;
static Expr *phase(Gen *g, Block *into, Phases *known, Expr *i, int64_t c) {
  for (int k = 0; k < known->of.n; k++) if (known->of.p[k].c == c) return known->of.p[k].at;
  Expr *at = ns_name(g->p, g->n, into, "at", nx2(g->p, S_MOD, i, nx_idx(g->p, c)));
  vec_push(g->p->arena, &known->of, ((struct OfPeriod){c, at}));
  return at;
}

static void load_sources(Gen *g, Block *into, Expr *i, int j, int vecs) {
  Phases known = {0};
  for (int k = 0; k < g->f->n_sources; k++) {
    const Source *s = &g->f->source[k];
    const Read *r = &s->read;
    Expr *v;
    if (!r->whole && r->mid == 1) v = g->once[s->reg * VECS];
    else if (!r->whole && divides(r->mid) && (vecs > 1 || r->mid == LANES)) v = g->once[s->reg * VECS + j % (r->mid / LANES)];
    else v = ns_name(g->p, g->n, into, "x", nx_load(g->p, g->port[s->reg], r->whole ? i : phase(g, into, &known, i, r->mid), LANES));
    g->num[s->reg] = v, g->truth[s->reg] = NULL;
  }
}

/* `vecs` vectors from i on; from: where the block begins that sums are of; of one vector i is no multiple of 64. */
static void body(Gen *g, Block *into, Expr *i, Expr *from, int vecs, const int *acc) {
  const Fuse *f = g->f;
  Program *p = g->p;
  for (int j = 0; j < vecs; j++) {
    Expr *at = ns_name(p, g->n, into, "e", nx2(p, S_ADD, i, nx_idx(p, j * LANES)));
    Phases known = {0};
    load_sources(g, into, at, j, vecs);
    for (int k = 0; k < f->n_ops; k++) {
      const FuseOp *op = &f->op[k];
      Expr *v = ns_name(p, g->n, into, "v", value_of(g, op));
      bool is_truth = v->t.e.kind == EK_BOOL;
      g->truth[op->reg] = is_truth ? v : NULL, g->num[op->reg] = is_truth ? NULL : v;
      if (kept(g, op)) ns_store(p, into, g->port[op->reg], at, num(g, op->reg));
    }
    for (int k = 0; k < f->n_sums; k++) {
      int64_t width = width_of(&f->sum[k]);
      Expr *to = vecs > 1 && width == STRIDE ? nx_idx(p, j * LANES) : phase(g, into, &known, nx2(p, S_SUB, at, from), width);
      ns_store(p, into, acc[k], to, nx2(p, S_ADD, nx_load(p, acc[k], to, LANES), num(g, f->sum[k].reg)));
    }
  }
}

static int lanes_of(int64_t n) { return n % 8 == 0 ? 8 : n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : 1; } /* binary64 */

static Stmt *loop(Gen *g, Block *into, const char *name, Expr *lo, Expr *hi, int64_t step, int64_t max) {
  return ns_for(g->p, into, nest_var(g->p, g->n, name, nt(g->p->index), true), lo, hi, step, max);
}

/* total += what a block has added up: as exec_sum.c's sum_fold, and as the tree of exec_loops.c's sum */
static void fold(Gen *g, Block *into, const FuseSum *s, int acc, int total) {
  Program *p = g->p;
  if (s->c > 1) {
    int lanes = lanes_of(s->c);
    for (int64_t k = 0; k < s->width; k += s->c) {
      Stmt *all = loop(g, into, "k", nx_idx(p, 0), nx_idx(p, s->c), lanes, -1);
      Expr *at = nx_var(p, g->n, all->var), *sum = nx_load(p, acc, nx2(p, S_ADD, at, nx_idx(p, k)), lanes);
      ns_store(p, &all->body, total, at, nx2(p, S_ADD, nx_load(p, total, at, lanes), nx_cast(p, sum, F64)));
    }
    return;
  }
  for (int half = STRIDE / 2; half; half /= 2)
    for (int k = 0; k < half; k += LANES) {
      int lanes = half < LANES ? half : LANES;
      ns_store(p, into, acc, nx_idx(p, k), nx2(p, S_ADD, nx_load(p, acc, nx_idx(p, k), lanes), nx_load(p, acc, nx_idx(p, k + half), lanes)));
    }
  Expr *zero = nx_idx(p, 0);
  ns_store(p, into, total, zero, nx2(p, S_ADD, nx_load(p, total, zero, 1), nx_cast(p, nx_load(p, acc, zero, 1), F64)));
}

static void clear(Program *p, Block *into, int buf, Elem e, int64_t n) {
  int lanes = elem_eq(e, F64) ? lanes_of(n) : LANES;
  for (int64_t k = 0; k < n; k += lanes) ns_store(p, into, buf, nx_idx(p, k), nx_const_f(p, ntv(e, lanes), 0));
}

/* From `from` to `end`, at most `most` elements: 64 at a time, and those that are left by vectors. */
static void vectors(Gen *g, Block *into, Expr *from, Expr *end, int64_t most, const int *acc) {
  Program *p = g->p;
  Expr *whole = ns_name(p, g->n, into, "whole", nx2(p, S_SUB, end, nx2(p, S_MOD, nx2(p, S_SUB, end, from), nx_idx(p, STRIDE))));
  Stmt *strides = loop(g, into, "i", from, whole, STRIDE, most / STRIDE);
  body(g, &strides->body, nx_var(p, g->n, strides->var), from, VECS, acc);
  if (g->f->count % STRIDE == 0 && g->f->block % STRIDE == 0) return;
  Stmt *rest = loop(g, into, "i", whole, end, LANES, VECS - 1);
  body(g, &rest->body, nx_var(p, g->n, rest->var), from, 1, acc);
}

static void with_sums(Gen *g, Block *into) {
  const Fuse *f = g->f;
  Program *p = g->p;
  int *acc = NEWN(p->arena, int, f->n_sums), *total = NEWN(p->arena, int, f->n_sums), *out = NEWN(p->arena, int, f->n_sums);
  for (int k = 0; k < f->n_sums; k++) {
    acc[k] = buffer(g, "acc", k, F32, SP_REG, width_of(&f->sum[k]));
    total[k] = buffer(g, "total", k, F64, SP_REG, f->sum[k].c);
    out[k] = buffer(g, "sum", k, F32, SP_OUT, f->sum[k].c);
    clear(p, into, total[k], F64, f->sum[k].c);
  }
  Stmt *blocks = loop(g, into, "b", nx_idx(p, 0), nx_idx(p, f->count), f->block, -1);
  Expr *b = nx_var(p, g->n, blocks->var);
  for (int k = 0; k < f->n_sums; k++) clear(p, &blocks->body, acc[k], F32, p->bufs[acc[k]].n);
  Expr *end = nx2(p, S_MIN, nx2(p, S_ADD, b, nx_idx(p, f->block)), nx_idx(p, f->count));
  vectors(g, &blocks->body, b, end, f->block, acc);
  for (int k = 0; k < f->n_sums; k++) fold(g, &blocks->body, &f->sum[k], acc[k], total[k]);
  for (int k = 0; k < f->n_sums; k++) {
    int lanes = lanes_of(f->sum[k].c);
    for (int64_t c = 0; c < f->sum[k].c; c += lanes) ns_store(p, into, out[k], nx_idx(p, c), nx_cast(p, nx_load(p, total[k], nx_idx(p, c), lanes), F32));
  }
}

Program *fuse_program(const Exec *e, const Fuse *f) {
  if (!fits(e, f)) return NULL;
  Program *p = program_new(e->ctx, "loop");
  Gen g = {.e = e, .f = f, .p = p};
  p->index = I64;
  p->arena_bytes = p->arena_bound = 0;
  g.n = program_nest(p, "all", NULL, NULL);
  begin(&g, &g.n->body);
  if (f->n_sums) with_sums(&g, &g.n->body);
  else vectors(&g, &g.n->body, nx_idx(p, 0), nx_idx(p, f->count), f->count, NULL);
  return p;
}

#ifdef POPSHIFT_LLVM

static LlvmJit *compiled(Exec *e, Program *p) {
  Str s = {.ctx = e->ctx};
  program_print(&s, p);
  for (int i = 0; i < e->compiled.n; i++)
    if (!strcmp(e->compiled.p[i].text, s.p)) { str_free(&s); return e->compiled.p[i].jit; }
  for (int i = 0; e->o.like && i < e->o.like->compiled.n; i++)
    if (!strcmp(e->o.like->compiled.p[i].text, s.p)) { str_free(&s); return e->o.like->compiled.p[i].jit; }
  DiagMark before = diag_mark(e->ctx);
  LlvmJit *jit = program_verify(e->ctx, p) ? llvm_jit_new(e->ctx, p, &(LlvmOptions){.opt = 1}) : NULL;
  if (!jit) diag_drop(e->ctx, before); /* rows do the same */
  vec_push(e->arena, &e->compiled, ((struct Compiled){arena_strdup(e->arena, s.p), jit}));
  str_free(&s);
  return jit;
}

void fuse_compile(Exec *e) {
  for (int s = 0; s < e->steps.n; s++) {
    Fuse *f = e->steps.p[s].fuse;
    Program *p = f ? fuse_program(e, f) : NULL;
    if (!p) continue;
    f->code = compiled(e, p);
    for (int i = 0; i < f->n_sources; i++)
      if (padded(&f->source[i].read)) f->source[i].padded = arena_aligned(e->arena, (size_t)padded(&f->source[i].read) * sizeof(float));
    f->code_in = NEWN(e->arena, const void *, p->n_ins + 1), f->code_out = NEWN(e->arena, void *, p->n_outs + 1);
    program_free(p);
  }
}

bool fuse_run_code(const Exec *e, Fuse *f) {
  int in = 0, out = 0;
  char workspace[64] __attribute__((aligned(64)));
  for (int i = 0; i < f->n_sources; i++) {
    const Source *s = &f->source[i];
    const float *x = e->v[s->read.value].data;
    for (int64_t k = 0; s->padded && k < padded(&s->read); k++) s->padded[k] = x[k % s->read.mid];
    f->code_in[in++] = s->padded ? s->padded : x;
  }
  for (int i = 0; i < f->n_ops; i++) if (fuse_cuts(f, &f->op[i])) f->code_in[in++] = &f->op[i].cut;
  for (int i = 0; i < f->n_ops; i++) if (e->v[f->op[i].value].kept) f->code_out[out++] = e->v[f->op[i].value].data;
  for (int i = 0; i < f->n_sums; i++) f->code_out[out++] = e->v[f->sum[i].value].data;
  return llvm_jit_run(f->code, workspace, f->code_in, f->code_out);
}

void fuse_free_code(Exec *e) {
  for (int i = 0; i < e->compiled.n; i++) llvm_jit_free(e->compiled.p[i].jit);
}

#else
void fuse_compile(Exec *e) { (void)e; }
bool fuse_run_code(const Exec *e, Fuse *f) { (void)e, (void)f; return false; }
void fuse_free_code(Exec *e) { (void)e; }
#endif
