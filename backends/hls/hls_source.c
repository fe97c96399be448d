/* NAME.cpp and NAME.h: a function per nest, the top function, and a bridge for simulation in process. */
#include "backends/hls/hls_unit.h"

#include <inttypes.h>
#include <string.h>

int64_t hls_count(const Buf *b) { return b->n ? b->n : 1; }

const char *hls_store_type(const Buf *b) {
  static const char *const types[] = {
    [ST_F32] = "float", [ST_F64] = "double", [ST_I8] = "int8_t", [ST_U8] = "uint8_t", [ST_I16] = "int16_t",
    [ST_U16] = "uint16_t", [ST_I32] = "int32_t", [ST_U32] = "uint32_t", [ST_I64] = "int64_t", [ST_U64] = "uint64_t"
  };
  return types[elem_store(b->e)];
}

/* Canonical dataflow: every array goes from one process to one later process, and no process runs twice. */
bool hls_dataflow(const Unit *u) {
  const Program *p = u->p;
  if (p->n_steps < 2) return false;
  for (int i = 0; i < p->n_steps; i++)
    for (int k = 0; k < i; k++) if (p->steps[i] == p->steps[k]) return false;
  for (int b = 0; b < p->n_bufs; b++) {
    int writers = 0, readers = 0, writer = -1, reader = -1;
    if (p->bufs[b].sp == SP_ROM || p->bufs[b].sp == SP_REG) continue;
    for (int i = 0; i < p->n_steps; i++) {
      const Touch *t = &u->touch[p->steps[i]];
      if (t->writes[b]) { writers++; writer = i; }
      if (t->reads[b] && !t->writes[b]) { readers++; reader = i; }
    }
    if (writers > 1 || readers > 1 || (p->bufs[b].sp == SP_OUT && readers)) return false;
    if (writers && readers && reader < writer) return false;
  }
  return true;
}

static void partition(Unit *u, const char *name, const Buf *b) {
  if (b->part.kind == PART_COMPLETE) str_printf(u->pr.o, "#pragma HLS ARRAY_PARTITION variable=%s type=complete dim=1\n", name);
  if (b->part.kind == PART_CYCLIC)
    str_printf(u->pr.o, "#pragma HLS ARRAY_PARTITION variable=%s type=cyclic factor=%d dim=1\n", name, b->part.factor);
}

static bool is_param(const Touch *t, const Buf *b, int i) {
  return b->sp != SP_ROM && b->sp != SP_REG && (t->reads[i] || t->writes[i]);
}

static void process_print(Unit *u, int k) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  const Nest *n = p->nests[k];
  Touch *t = &u->touch[k];
  c_nest_open(pr, n);
  memcpy(t->reads, pr->reads, (size_t)p->n_bufs);
  memcpy(t->writes, pr->writes, (size_t)p->n_bufs);
  for (int i = 0; i < p->n_bufs; i++) { u->all.reads[i] |= t->reads[i]; u->all.writes[i] |= t->writes[i]; }
  c_loc_comment(pr->o, n);
  str_printf(pr->o, "static void %s(", c_global(pr, n->name));
  const char *sep = "";
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (!is_param(t, b, i)) continue;
    str_printf(pr->o, "%s%s%s %s[%" PRId64 "]", sep, t->writes[i] ? "" : "const ", c_mem_type(pr, b->e), c_local(pr, b->name), hls_count(b));
    sep = ", ";
  }
  str_put(pr->o, ") {\n");
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (b->sp == SP_ROM && t->reads[i]) partition(u, c_global(pr, b->name), b);
    if (b->sp != SP_REG || (!t->reads[i] && !t->writes[i])) continue;
    str_printf(pr->o, "  %s %s[%" PRId64 "];\n", c_mem_type(pr, b->e), c_local(pr, b->name), hls_count(b));
    partition(u, c_local(pr, b->name), b);
  }
  c_block(pr, &n->body, 2);
  str_put(pr->o, "}\n\n");
}

static void top_params(Unit *u, Str *s) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  for (int k = 0; k < p->n_ins + p->n_outs; k++) {
    bool in = k < p->n_ins;
    const Buf *b = &p->bufs[(in ? p->ins[k] : p->outs[k - p->n_ins]).buf];
    str_printf(s, "%s%s%s %s[%" PRId64 "]", k ? ", " : "", in ? "const " : "", c_mem_type(pr, b->e), c_local(pr, b->name), hls_count(b));
  }
}

static void top_print(Unit *u) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  str_printf(pr->o, "void %s(", pr->name);
  top_params(u, pr->o);
  str_put(pr->o, ") {\n");
  for (int k = 0; k < p->n_ins + p->n_outs; k++) {
    const Buf *b = &p->bufs[(k < p->n_ins ? p->ins[k] : p->outs[k - p->n_ins]).buf];
    if (b->part.kind == PART_NONE) str_printf(pr->o, "#pragma HLS INTERFACE mode=ap_memory port=%s\n", c_local(pr, b->name));
    partition(u, c_local(pr, b->name), b);
  }
  str_put(pr->o, "#pragma HLS INTERFACE mode=ap_ctrl_hs port=return\n");
  if (hls_dataflow(u)) str_put(pr->o, "#pragma HLS DATAFLOW\n");
  for (int i = 0; i < p->n_bufs; i++) {
    const Buf *b = &p->bufs[i];
    if (b->sp != SP_ARENA || (!u->all.reads[i] && !u->all.writes[i])) continue;
    str_printf(pr->o, "  %s_LOCAL %s %s[%" PRId64 "];\n", pr->upper, c_mem_type(pr, b->e), c_local(pr, b->name), hls_count(b));
    partition(u, c_local(pr, b->name), b);
  }
  for (int k = 0; k < p->n_steps; k++) {
    const Touch *t = &u->touch[p->steps[k]];
    const char *sep = "";
    str_printf(pr->o, "  %s(", c_global(pr, p->nests[p->steps[k]]->name));
    for (int i = 0; i < p->n_bufs; i++) {
      if (!is_param(t, &p->bufs[i], i)) continue;
      str_printf(pr->o, "%s%s", sep, c_local(pr, p->bufs[i].name));
      sep = ", ";
    }
    str_put(pr->o, ");\n");
  }
  str_put(pr->o, "}\n\n");
}

/* Ports as plain storage: copied into arrays of the exact types and back. */
static void bridge_print(Unit *u) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  str_printf(pr->o, "#ifndef __SYNTHESIS__\nextern \"C\" void %s_bridge(const void *const *ins, void *const *outs) {\n", pr->name);
  for (int k = 0; k < p->n_ins + p->n_outs; k++) {
    bool in = k < p->n_ins;
    const Buf *b = &p->bufs[(in ? p->ins[k] : p->outs[k - p->n_ins]).buf];
    const char *name = c_local(pr, b->name), *t = c_mem_type(pr, b->e);
    str_printf(pr->o, "  %s *%s = new %s[%" PRId64 "]();\n", t, name, t, hls_count(b));
    if (in) str_printf(pr->o, "  for (int64_t end_i = 0; end_i < %" PRId64 "; end_i++) %s[end_i] = (%s)((const %s *)ins[%d])[end_i];\n",
                       b->n, name, t, hls_store_type(b), k);
  }
  if (!p->n_ins) str_put(pr->o, "  (void)ins;\n");
  if (!p->n_outs) str_put(pr->o, "  (void)outs;\n");
  str_printf(pr->o, "  %s(", pr->name);
  for (int k = 0; k < p->n_ins + p->n_outs; k++)
    str_printf(pr->o, "%s%s", k ? ", " : "", c_local(pr, p->bufs[(k < p->n_ins ? p->ins[k] : p->outs[k - p->n_ins]).buf].name));
  str_put(pr->o, ");\n");
  for (int k = 0; k < p->n_outs; k++) {
    const Buf *b = &p->bufs[p->outs[k].buf];
    const char *t = hls_store_type(b);
    str_printf(pr->o, "  for (int64_t end_i = 0; end_i < %" PRId64 "; end_i++) ((%s *)outs[%d])[end_i] = (%s)%s[end_i];\n", b->n, t, k, t,
               c_local(pr, b->name));
  }
  for (int k = 0; k < p->n_ins + p->n_outs; k++)
    str_printf(pr->o, "  delete[] %s;\n", c_local(pr, p->bufs[(k < p->n_ins ? p->ins[k] : p->outs[k - p->n_ins]).buf].name));
  str_put(pr->o, "}\n#endif\n");
}

void hls_source(Unit *u, Str *s) {
  Printer *pr = &u->pr;
  const Program *p = u->p;
  Str nests = {.ctx = pr->ctx};
  bool *done = NEWN(pr->arena, bool, p->n_nests + 1);
  pr->o = &nests;
  for (int i = 0; i < p->n_steps; i++) {
    if (done[p->steps[i]]) continue;
    done[p->steps[i]] = true;
    process_print(u, p->steps[i]);
  }
  top_print(u);
  bridge_print(u);
  str_printf(s, "/* Generated by Popshift. */\n#include \"%s.h\"\n\n#include <cmath>\n\n", pr->name);
  str_printf(s, "#ifdef __SYNTHESIS__\n#define %s_LOCAL\n#else\n#define %s_LOCAL static /* not on the simulator's stack */\n#endif\n\n",
             pr->upper, pr->upper);
  if (pr->helpers.n) str_putn(s, pr->helpers.p, pr->helpers.n);
  pr->o = s;
  for (int i = 0; i < p->n_bufs; i++) {
    if (p->bufs[i].sp != SP_ROM || !u->all.reads[i]) continue;
    c_rom(pr, i);
    str_put(s, "\n");
  }
  str_putn(s, nests.p, nests.n);
  str_free(&nests);
}

void hls_header(Unit *u, Str *s) {
  Printer *pr = &u->pr;
  str_printf(s, "/* Generated by Popshift. */\n#ifndef %s_H\n#define %s_H\n\n#include <stdint.h>\n\n#include \"ap_int.h\"\n\n", pr->upper, pr->upper);
  for (int k = 0; k < u->p->n_ins + u->p->n_outs; k++) {
    const Port *q = k < u->p->n_ins ? &u->p->ins[k] : &u->p->outs[k - u->p->n_ins];
    str_printf(s, "/* %s: ", c_local(pr, u->p->bufs[q->buf].name));
    c_comment(s, q->name);
    str_put(s, ", ");
    elem_print(s, q->t.e);
    str_put(s, "[");
    for (int i = 0; i < q->t.rank; i++) str_printf(s, i ? ",%" PRId64 : "%" PRId64, q->t.d[i].n);
    str_put(s, "] */\n");
  }
  str_printf(s, "void %s(", pr->name);
  top_params(u, s);
  str_printf(s, ");\n\n/* Simulation in process: pointers to the ports' elements in their narrowest native types. */\n"
                "extern \"C\" void %s_bridge(const void *const *ins, void *const *outs);\n\n#endif\n", pr->name);
}
