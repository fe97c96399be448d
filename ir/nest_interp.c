/* The interpreter: runs the code of nest_code.h. Every index is checked; ARENA, REG and OUT buffers have a map of bytes that
 * tells which elements were written. */
#include "ir/nest_code.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static inline uint32_t bits_of(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline float of_bits(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }

/* Truncated and saturated to 64 - s bits; NaN gives 0. */
static inline int64_t to_signed(double v, unsigned s) {
  double end = (double)(UINT64_C(1) << (63 - s));
  if (v != v) return 0;
  if (v >= end) return INT64_MAX >> s;
  return v <= -end ? INT64_MIN >> s : (int64_t)v;
}
static inline uint64_t to_unsigned(double v, unsigned s) {
  double end = 2 * (double)(UINT64_C(1) << (63 - s));
  if (!(v > 0)) return 0;
  return v >= end ? UINT64_MAX >> s : (uint64_t)v;
}

static inline int64_t floor_mod(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  int64_t r = a % b;
  return r && (r < 0) != (b < 0) ? r + b : r;
}

typedef enum Stop { STOP_END, STOP_INDEX, STOP_UNWRITTEN, STOP_TRIPS, STOP_WORK, STOP_CANCEL } Stop;

typedef struct Machine {
  Ctx *ctx;
  const Program *p;
  RunBuf *bufs;
  int64_t chunk, work;     /* instructions until the next look at cancel and limits.work; and done before */
  const Access *access;    /* of a STOP_INDEX or STOP_UNWRITTEN */
  const Loop *loop;        /* of a STOP_TRIPS */
  int64_t index;
} Machine;

enum { CHUNK = 1 << 22 };

static Stop take_chunk(Machine *m, int64_t *left) {
  m->work += CHUNK - *left;
  *left = CHUNK;
  if (m->ctx->cancel && *m->ctx->cancel) return STOP_CANCEL;
  return m->work > m->ctx->limits.work ? STOP_WORK : STOP_END;
}

/* Instructions over whole vectors */

static void splat(const Ins *q, Slot *r) {
  Slot v = r[q->a];
  for (int l = 0; l < q->lanes; l++) r[q->d + l] = v;
}

static void hred(const Ins *q, Slot *r) {
  const Expr *x = q->p;
  uint64_t sum = 0;
  for (int l = 0; l < x->a[0]->t.lanes; l++) sum += r[q->a + l].u;
  r[q->d].i = code_wrap(x->t.e, (int64_t)sum);
}

static void dot(const Ins *q, Slot *r) {
  const Expr *x = q->p;
  int k = x->a[1]->t.lanes / x->t.lanes;
  for (int l = 0; l < q->lanes; l++) {
    uint64_t sum = r[q->a + l].u;
    for (int i = 0; i < k; i++) sum += r[q->b + k * l + i].u * r[q->c + k * l + i].u;
    r[q->d + l].i = (int32_t)(uint32_t)sum;
  }
}

static void lut3(const Ins *q, Slot *r) {
  const Expr *x = q->p;
  for (int l = 0; l < q->lanes; l++) {
    uint64_t a = r[q->a + l].u, b = r[q->b + l].u, c = r[q->c + l].u, v = 0;
    for (int i = 0; i < 8; i++)
      if (x->imm >> i & 1) v |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    r[q->d + l].i = code_wrap(x->t.e, (int64_t)v);
  }
}

static void shuf(const Ins *q, Slot *r) {
  for (int l = 0; l < q->lanes; l++) {
    uint64_t i = r[q->b + l].u;
    r[q->d + l].u = i >= 128 ? 0 : r[q->a + (l & ~15) + (int)(i & 15)].u;
  }
}

static void perm(const Ins *q, Slot *r) {
  const Expr *x = q->p;
  int n = x->a[0]->t.lanes;
  for (int l = 0; l < q->lanes; l++) r[q->d + l] = x->perm[l] < n ? r[q->a + x->perm[l]] : r[q->b + x->perm[l] - n];
}

/* Narrower lanes are pieces of a wider one, wider lanes are put together from narrower ones, the lowest first. */
static void relane(const Ins *q, Slot *r) {
  const Expr *x = q->p;
  int to = x->t.e.bits, from = x->a[0]->t.e.bits, k = to > from ? to / from : from / to;
  for (int l = 0; l < q->lanes; l++) {
    uint64_t v = 0;
    if (to > from)
      for (int i = 0; i < k; i++) v |= (r[q->a + k * l + i].u & (UINT64_MAX >> (64 - from))) << (i * from);
    else v = r[q->a + l / k].u >> (l % k * to);
    r[q->d + l].i = code_wrap(x->t.e, (int64_t)v);
  }
}

static void mask(const Ins *q, Slot *r) {
  const Expr *x = q->p;
  uint64_t v = 0;
  for (int l = 0; l < x->a[0]->t.lanes; l++) v |= (r[q->a + l].u & 1) << l;
  r[q->d].u = v;
}

static void scalar(const Ins *q, Slot *r) {
  const Expr *x = q->p;
  const int32_t at[3] = {q->a, q->b, q->c};
  for (int l = 0; l < q->lanes; l++) {
    Val v[3];
    for (int i = 0; i < x->n; i++) {
      Elem e = x->a[i]->t.e;
      Slot s = r[at[i] + l];
      if (!elem_is_float(e)) v[i].i = s.i;
      else v[i].f = e.bits == 32 ? (double)s.f : s.d;
    }
    Val y = scalar_eval(x->s, x->a[x->s == S_SELECT ? 1 : 0]->t.e, x->t.e, v);
    Slot *d = &r[q->d + l];
    if (!elem_is_float(x->t.e)) d->i = y.i;
    else if (x->t.e.bits == 32) d->f = (float)y.f;
    else d->d = y.f;
  }
}

/* The loop */

#define OUTSIDE(i, n, l) ((i) < 0 || (i) > (n) - (l))
#define STOP_AT(why, i) do { m->access = t; m->index = (i); return why; } while (0)

static Stop run(Machine *m, const Ins *q, Slot *r) {
  int64_t left = m->chunk;
  for (;; q++) {
    switch ((Code)q->op) {
#define R(name, text) \
    case CODE_##name: { \
      Slot *d = &r[q->d]; const Slot *a = &r[q->a], *b = &r[q->b], *c = &r[q->c]; \
      unsigned s = q->s; (void)b; (void)c; (void)s; text; \
      continue; \
    } \
    case CODE_##name##_V: { \
      unsigned s = q->s; (void)s; \
      for (int l = 0; l < q->lanes; l++) { \
        Slot *d = &r[q->d + l]; const Slot *a = &r[q->a + l], *b = &r[q->b + l], *c = &r[q->c + l]; \
        (void)b; (void)c; text; \
      } \
      continue; \
    }
    CODE_LANES(R)
#undef R
#define R(st, type, m_) \
    case CODE_LD_##st: { \
      const Access *t = q->p; \
      int64_t i = r[q->a].i; \
      if (OUTSIDE(i, t->n, 1)) STOP_AT(STOP_INDEX, i); \
      r[q->d].m_ = ((const type *)t->data)[i]; \
      continue; \
    } \
    case CODE_LDW_##st: { \
      const Access *t = q->p; \
      int64_t i = r[q->a].i; \
      if (OUTSIDE(i, t->n, 1)) STOP_AT(STOP_INDEX, i); \
      if (!t->map[i]) STOP_AT(STOP_UNWRITTEN, i); \
      r[q->d].m_ = ((const type *)t->data)[i]; \
      continue; \
    } \
    case CODE_LDV_##st: { \
      const Access *t = q->p; \
      int64_t i = r[q->a].i; \
      if (OUTSIDE(i, t->n, q->lanes)) STOP_AT(STOP_INDEX, i); \
      for (int l = 0; l < q->lanes; l++) { \
        if (t->map && !t->map[i + l]) STOP_AT(STOP_UNWRITTEN, i + l); \
        r[q->d + l].m_ = ((const type *)t->data)[i + l]; \
      } \
      continue; \
    } \
    case CODE_ST_##st: { \
      const Access *t = q->p; \
      int64_t i = r[q->a].i; \
      if (OUTSIDE(i, t->n, 1)) STOP_AT(STOP_INDEX, i); \
      ((type *)t->data)[i] = (type)r[q->b].m_; \
      t->map[i] = 1; \
      continue; \
    } \
    case CODE_STV_##st: { \
      const Access *t = q->p; \
      int64_t i = r[q->a].i; \
      if (OUTSIDE(i, t->n, q->lanes)) STOP_AT(STOP_INDEX, i); \
      for (int l = 0; l < q->lanes; l++) ((type *)t->data)[i + l] = (type)r[q->b + l].m_; \
      memset(t->map + i, 1, q->lanes); \
      continue; \
    }
    CODE_STORES(R)
#undef R
    case CODE_SCALAR: scalar(q, r); continue;
    case CODE_SPLAT: splat(q, r); continue;
    case CODE_HRED: hred(q, r); continue;
    case CODE_DOT: dot(q, r); continue;
    case CODE_LUT3: lut3(q, r); continue;
    case CODE_SHUF: shuf(q, r); continue;
    case CODE_PERM: perm(q, r); continue;
    case CODE_RELANE: relane(q, r); continue;
    case CODE_MASK: mask(q, r); continue;
    case CODE_JUMP: q += q->imm - 1; continue;
    case CODE_JUMP_ZERO: if (!r[q->a].i) q += q->imm - 1; continue;
    case CODE_FOR: {
      const Loop *l = q->p;
      int64_t lo = r[q->a].i, hi = r[q->b].i;
      if (lo >= hi) { q += l->size + 1; continue; }
      if ((int64_t)(((uint64_t)hi - (uint64_t)lo - 1) / (uint64_t)l->step) >= l->max) { m->loop = l; m->index = hi; return STOP_TRIPS; }
      r[q->d].i = lo;
      continue;
    }
    case CODE_END: {
      const Loop *l = q->p;
      left -= l->cost;
      if (left < 0) {
        Stop why = take_chunk(m, &left);
        if (why) return why;
      }
      int64_t next = r[q->d].i + l->step;
      if (next >= r[q->b].i) continue;
      r[q->d].i = next;
      q += q->imm - 1;
      continue;
    }
    case CODE_STOP: m->chunk = left; return STOP_END;
    }
  }
}

/* Around it */

/* A read too early or an index outside is a bug of ours, or of the text the program was read from. */
static ErrCode blame(const Program *p) { return p->file ? E0211 : E0902; }

static bool explain(Machine *m, const Nest *n, Stop why) {
  if (why == STOP_CANCEL) return diag(m->ctx, E0602, &n->loc, "interrupted in nest %s", n->name);
  if (why == STOP_WORK) return diag(m->ctx, E0402, &n->loc, "more than limits.work instructions, in nest %s", n->name);
  const Stmt *st = why == STOP_TRIPS ? m->loop->st : m->access->st;
  ErrCode code = blame(m->p);
  Loc loc = n->loc;
  if (m->p->file) loc.file = m->p->file;
  if (st->line) loc.line = st->line;
  if (why == STOP_TRIPS) {
    diag(m->ctx, code, &loc, "nest %s: more iterations up to %" PRId64 " than max %" PRId64, n->name, m->index, st->max);
  } else {
    const Buf *b = &m->p->bufs[m->access->buf];
    if (why == STOP_INDEX)
      diag(m->ctx, code, &loc, "nest %s: index %" PRId64 " is outside %s of %" PRId64 " elements", n->name, m->index, b->name, b->n);
    else diag(m->ctx, code, &loc, "nest %s: %s[%" PRId64 "] is read before it is written", n->name, b->name, m->index);
  }
  Str s = {.ctx = m->ctx};
  stmt_line_print(&s, m->p, n, st);
  diag_note(m->ctx, "in `%.300s`", s.p);
  str_free(&s);
  return false;
}

/* Bytes of the program's own buffers and their maps; false beyond limits.memory. */
static bool memory_fits(Ctx *ctx, const Program *p) {
  int64_t total = p->arena_bytes > 0 ? p->arena_bytes : 0, room = ctx->limits.memory - ctx->memory_used;
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    bool own = b->sp == SP_REG || (b->sp == SP_ARENA && p->arena_bytes < 0);
    if (b->sp != SP_IN && b->sp != SP_ROM) total += b->n + 16;
    if (own) total += b->n * (int64_t)store_size(elem_store(b->e)) + 64;
    if (total > room) return diag(ctx, E0401, NULL, "the interpreter needs more memory than the limit of %" PRId64 " bytes", ctx->limits.memory);
  }
  return true;
}

static RunBuf *make_bufs(Arena *a, const Program *p, void *workspace, bool first, const void *const *ins, void *const *outs) {
  RunBuf *r = NEWN(a, RunBuf, p->n_bufs);
  char *arena = workspace ? workspace : p->arena_bytes >= 0 ? arena_alloc(a, (size_t)p->arena_bytes + 1) : NULL;
  for (int i = 0; i < p->n_ins; i++) r[p->ins[i].buf].data = (void *)(uintptr_t)ins[i]; /* IN is never stored to */
  for (int i = 0; i < p->n_outs; i++) r[p->outs[i].buf].data = outs[i];
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (b->sp == SP_ROM) r[i].data = (void *)(uintptr_t)b->rom;
    else if (b->sp == SP_ARENA && arena && b->off >= 0) r[i].data = arena + b->off;
    else if (b->sp == SP_ARENA || b->sp == SP_REG) r[i].data = arena_alloc(a, (size_t)b->n * store_size(elem_store(b->e)) + 1);
    if (b->sp != SP_IN && b->sp != SP_ROM) r[i].map = arena_alloc(a, (size_t)b->n + 1);
    if (b->keep && !first) memset(r[i].map, 1, (size_t)b->n);
  }
  return r;
}

static bool outputs_written(Machine *m) {
  for (int i = 0; i < m->p->n_outs; i++) {
    const Buf *b = &m->p->bufs[m->p->outs[i].buf];
    const uint8_t *map = m->bufs[m->p->outs[i].buf].map, *hole = b->n ? memchr(map, 0, (size_t)b->n) : NULL;
    Loc loc = LOC_NONE;
    loc.file = m->p->file;
    if (hole) return diag(m->ctx, blame(m->p), &loc, "program %s never writes %s[%td]", m->p->name, b->name, hole - map);
  }
  return true;
}

bool program_run(Ctx *ctx, const Program *p, const void *const *ins, void *const *outs) {
  return program_run_in(ctx, p, NULL, true, ins, outs);
}

bool program_run_in(Ctx *ctx, const Program *p, void *workspace, bool first, const void *const *ins, void *const *outs) {
  if (!memory_fits(ctx, p)) return false;
  Program *meanings = program_new(ctx, "meanings");
  Arena *a = meanings->arena;
  Machine m = {.ctx = ctx, .p = p, .bufs = make_bufs(a, p, workspace, first, ins, outs), .chunk = CHUNK};
  NestCode **codes = NEWN(a, NestCode *, p->n_nests);
  bool ok = true;
  for (int i = first ? -p->n_inits : 0; ok && i < p->n_steps; i++) {
    int k = i < 0 ? p->inits[p->n_inits + i] : p->steps[i];
    const Nest *n = p->nests[k];
    if (!codes[k]) codes[k] = nest_compile(a, meanings, p, n, m.bufs);
    const NestCode *code = codes[k];
    for (int j = 0; j < code->n_regs; j++) memset(m.bufs[code->regs[j]].map, 0, (size_t)p->bufs[code->regs[j]].n);
    Arena *frame = arena_new(ctx);
    Slot *r = NEWN(frame, Slot, code->n_slots + 1);
    memcpy(r, code->image, sizeof *r * (size_t)code->n_slots);
    m.chunk -= code->cost;
    Stop why = m.chunk < 0 ? take_chunk(&m, &m.chunk) : STOP_END;
    if (!why) why = run(&m, code->ins, r);
    if (why) ok = explain(&m, n, why);
    arena_free(frame);
  }
  ok = ok && outputs_written(&m);
  program_free(meanings);
  return ok;
}
