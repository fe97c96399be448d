/* Exact Program -> an HLS project. */
#include "backends/hls/hls_unit.h"

#include <string.h>

/* Zynq-7020, on the PYNQ-Z2: what low-bit networks are most often shown on. */
#define DEFAULT_PART "xc7z020clg400-1"

typedef struct Lanes { bool any; } Lanes;
static void find_lanes(void *user, const Expr *x) {
  if (x->t.lanes > 1 || x->kind == EX_DOT || x->kind == EX_SHUF) ((Lanes *)user)->any = true;
}
static void find_lanes_stmt(void *user, const Stmt *s) { stmt_exprs(s, find_lanes, user); }

static bool part_ok(const char *part) {
  for (const char *c = part; *c; c++)
    if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') && *c != '-' && *c != '_' && *c != '.') return false;
  return *part && strlen(part) <= 60;
}

static const char **port_names(Printer *pr, const Port *ports, int n) {
  const char **names = NEWN(pr->arena, const char *, n + 1);
  Program *set = program_new(pr->ctx, "ports");
  for (int i = 0; i < n; i++) names[i] = arena_strdup(pr->arena, nest_name(set, NULL, ports[i].name));
  program_free(set);
  return names;
}

static bool suits(Ctx *ctx, const Program *p, const char *part) {
  for (int i = 0; i < p->n_nests; i++) {
    Lanes l = {false};
    stmt_visit(&p->nests[i]->body, find_lanes_stmt, &l);
    if (l.any) return diag(ctx, E0307, &p->nests[i]->loc, "nest %s has vectors, which are for CPUs: HLS unrolls loops instead", p->nests[i]->name);
  }
  if (!part_ok(part)) {
    Str s = {.ctx = ctx};
    str_quoted(&s, part);
    diag(ctx, E0701, NULL, "%s is no name of a part", s.p);
    str_free(&s);
    return false;
  }
  return true;
}

bool hls_emit(Ctx *ctx, const Program *p, const HlsOptions *opt, OutFiles *files) {
  static const HlsOptions none = {0};
  Unit u = {.p = p, .opt = opt ? opt : &none};
  u.part = u.opt->part ? u.opt->part : DEFAULT_PART;
  if (!suits(ctx, p, u.part) || !c_printer_open(&u.pr, ctx, p, u.opt->name ? u.opt->name : p->name, true)) return false;
  Arena *a = u.pr.arena;
  u.in = port_names(&u.pr, p->ins, p->n_ins);
  u.out = port_names(&u.pr, p->outs, p->n_outs);
  u.touch = NEWN(a, Touch, p->n_nests + 1);
  for (int i = 0; i < p->n_nests; i++) u.touch[i] = (Touch){NEWN(a, uint8_t, p->n_bufs + 1), NEWN(a, uint8_t, p->n_bufs + 1)};
  u.all = (Touch){NEWN(a, uint8_t, p->n_bufs + 1), NEWN(a, uint8_t, p->n_bufs + 1)};
  Arena *keep = files->arena ? files->arena : p->arena;
  hls_source(&u, out_file(files, keep, arena_printf(a, "%s.cpp", u.pr.name)));
  hls_header(&u, out_file(files, keep, arena_printf(a, "%s.h", u.pr.name)));
  hls_testbench(&u, out_file(files, keep, arena_printf(a, "%s_tb.cpp", u.pr.name)));
  hls_vectors(&u, files, keep);
  hls_scripts(&u, files, keep);
  c_printer_close(&u.pr);
  return true;
}
