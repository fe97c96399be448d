/* Names, types and comments of generated code. Everything that a model wrote passes here. */
#include "backends/c/c_print.h"

#include <string.h>

bool c_printer_open(Printer *pr, Ctx *ctx, const Program *p, const char *name, bool hls) {
  *pr = (Printer){.ctx = ctx, .p = p, .name = name, .hls = hls, .variant = ""};
  if (!nest_name_ok(name)) {
    Str s = {.ctx = ctx};
    str_quoted(&s, name);
    diag(ctx, E0701, NULL, "%s cannot name generated code: letters, digits and _, not reserved, at most 40 characters", s.p);
    diag_hint(ctx, "--name IDENT gives another; without it the file's name is taken");
    str_free(&s);
    return false;
  }
  pr->arena = arena_new(ctx);
  char *upper = arena_strdup(pr->arena, name);
  for (char *c = upper; *c; c++) if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
  pr->upper = upper;
  pr->helpers.ctx = ctx;
  pr->meanings = *p;
  pr->meanings.arena = pr->arena;
  pr->reads = NEWN(pr->arena, uint8_t, p->n_bufs + 1);
  pr->writes = NEWN(pr->arena, uint8_t, p->n_bufs + 1);
  pr->words = NEWN(pr->arena, bool, p->n_bufs + 1);
  for (int i = 0; i < p->n_bufs; i++) pr->words[i] = !hls && p->bufs[i].sp == SP_ROM && c_rom_is_words(&p->bufs[i]);
  return true;
}

void c_printer_close(Printer *pr) {
  str_free(&pr->helpers);
  arena_free(pr->arena);
}

static bool starts(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

/* floorf, sqrtl: library functions whose plain form is reserved. */
static bool is_variant(const char *name) {
  size_t n = strlen(name);
  if (n < 3 || (name[n - 1] != 'f' && name[n - 1] != 'l')) return false;
  char plain[64];
  snprintf(plain, sizeof plain, "%.*s", (int)n - 1, name);
  return !nest_name_ok(plain);
}

const char *c_local(Printer *pr, const char *name) {
  size_t n = strlen(pr->name);
  bool own = (!strncmp(name, pr->name, n) && (!name[n] || name[n] == '_')) ||
             (!strncmp(name, pr->upper, n) && (!name[n] || name[n] == '_')) || starts(name, "end_") || starts(name, "p_");
  static const char *const taken[] = {"workspace", "bytes", "env", "arg", "begin", "end", "batch", "sample", "base"};
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) own = own || !strcmp(name, taken[i]);
  return own || is_variant(name) ? arena_printf(pr->arena, "p_%s", name) : name;
}

const char *c_global(Printer *pr, const char *name) {
  static const char *const api[] = {"in", "out", "env", "status", "init", "run", "task", "bridge", "state", "top", "tb"};
  bool own = starts(name, "h_") || starts(name, "p_") || starts(name, "IN_") || starts(name, "OUT_");
  for (size_t i = 0; i < sizeof api / sizeof *api; i++) own = own || !strcmp(name, api[i]);
  return arena_printf(pr->arena, own ? "%s_%sp_%s" : "%s_%s%s", pr->name, pr->variant, name);
}

const char *c_rom_name(Printer *pr, int buf) { return pr->rom_name ? pr->rom_name[buf] : c_global(pr, pr->p->bufs[buf].name); }

/* Only printable ASCII stays; what could end or begin a comment, continue a line or spell a trigraph is broken up. */
void c_comment(Str *s, const char *text) {
  size_t n = 0;
  char last = ' ';
  for (const char *c = text; *c && n < 120; c++, n++) {
    char x = *c >= 0x20 && *c < 0x7f ? *c : '.';
    if (x == '\\') x = '|';
    if ((x == '/' && (last == '*' || last == '/')) || (x == '*' && last == '/') || (x == '?' && last == '?')) x = '.';
    str_putn(s, &x, 1);
    last = x;
  }
  if (last == '*' || last == '/') str_put(s, " ");
}

void c_loc_comment(Str *s, const Nest *n) {
  const char *sep = "";
  if (n->loc.node < 0 && !n->loc.name && !n->loc.op && !n->note) return;
  str_put(s, "/* ");
  if (n->loc.node >= 0) { str_printf(s, "node %d", n->loc.node); sep = " "; }
  if (n->loc.name) { str_printf(s, "%s'", sep); c_comment(s, n->loc.name); str_put(s, "'"); sep = " "; }
  if (n->loc.op) { str_printf(s, "%s(", sep); c_comment(s, n->loc.op); str_put(s, ")"); sep = " "; }
  if (n->note) { str_put(s, *sep ? ": " : ""); c_comment(s, n->note); }
  str_put(s, " */\n");
}

/* Types */

bool c_is_ap(const Printer *pr, Elem e) {
  return pr->hls && elem_is_int(e) && e.bits != 8 && e.bits != 16 && e.bits != 32 && e.bits != 64;
}

static const char *lane_type(Printer *pr, Elem e) {
  if (e.kind == EK_FLOAT) return e.bits == 32 ? "float" : "double";
  if (e.kind == EK_BOOL) return pr->hls ? "bool" : "int";
  if (c_is_ap(pr, e)) return arena_printf(pr->arena, e.kind == EK_INT ? "ap_int<%d>" : "ap_uint<%d>", e.bits);
  return arena_printf(pr->arena, e.kind == EK_INT ? "int%d_t" : "uint%d_t", e.bits);
}

const char *c_suffix(Printer *pr, NType t) {
  const char *kind = t.e.kind == EK_FLOAT ? "f" : t.e.kind == EK_INT ? "i" : t.e.kind == EK_UINT ? "u" : "b";
  if (t.lanes == 1) return arena_printf(pr->arena, "%s%d", kind, t.e.bits);
  return arena_printf(pr->arena, "%s%dx%d", kind, t.e.bits, t.lanes);
}

const char *c_type(Printer *pr, NType t) {
  if (t.lanes == 1) return lane_type(pr, t.e);
  return c_help(pr, HELP_TYPE, t, t, 0, NULL);
}

const char *c_unsigned(Printer *pr, NType t) {
  if (t.lanes > 1) return c_type(pr, ntv(UINTK(t.e.bits), t.lanes));
  return t.e.bits > 32 ? "uint64_t" : "uint32_t";
}

const char *c_mask(Printer *pr, NType t) {
  return c_type(pr, ntv(t.e.kind == EK_BOOL ? I8 : INTK(t.e.bits), t.lanes));
}

const char *c_mem_type(Printer *pr, Elem e) {
  if (e.kind == EK_BOOL && !pr->hls) return "uint8_t";
  return lane_type(pr, e);
}
