/* convert: the same graph in another form: .onnx, .ir, .dot, .svg; or with random weights of the same scale. */
#include "tools/cmd.h"
#include "tools/draw.h"

#include <math.h>
#include <string.h>

/* Counter-based generator (splitmix64 of seed and position): the same weights on every machine. */
static double uniform(uint64_t seed, uint64_t i) {
  uint64_t z = seed * 0x9e3779b97f4a7c15u + i * 0xd1342543de82ef95u + 0x632be59bd9b4e019u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Weights (constants of rank 2 and more): floats He-scaled, uniform with variance 2/fan-in; codes uniform over the range they had. */
static Node *randomize_rule(Rewrite *rw, const Node *old, Node *const *in) {
  (void)in;
  if (old->op != OP_CONST || old->t.rank < 2 || old->a.value->n < 2) return NULL;
  const Tensor *was = old->a.value;
  uint64_t seed = *(uint64_t *)rw->user + 7919u * (old->id + 1u);
  Tensor *t = tensor_new(rw->g->ctx, &was->t);
  if (!t) return NULL;
  int64_t fan_in = was->n / (was->t.d[0].n ? was->t.d[0].n : 1), lo = INT64_MAX, hi = INT64_MIN;
  double r = sqrt(6.0 / (double)(fan_in ? fan_in : 1));
  if (elem_is_code(was->t.e))
    for (int64_t i = 0; i < was->n; i++) {
      int64_t v = tensor_i(was, i);
      if (v < lo) lo = v;
      if (v > hi) hi = v;
    }
  for (int64_t i = 0; i < t->n; i++) {
    double u = uniform(seed, (uint64_t)i);
    if (elem_is_float(was->t.e)) tensor_set_f(t, i, r * (2 * u - 1));
    else if (elem_is_int(was->t.e)) tensor_set_i(t, i, lo + (int64_t)(u * ((double)hi - (double)lo + 1)));
    else tensor_set_i(t, i, tensor_i(was, (int64_t)(u * (double)was->n))); /* bipolar, shift: numbers that occur */
  }
  rw->changes++;
  return node_const(rw->g, t);
}

/* --format and --opset, which are for ONNX files only. */
static bool dialect(Cmd *c, bool onnx, OnnxFormat *format, int *opset) {
  const char *name = cmd_get(c, FLAG_format);
  int64_t n;
  int f = ONNX_FUNCTIONS;
  if (!cmd_int(c, FLAG_opset, ONNX_WRITE_DEFAULT, ONNX_WRITE_OLDEST, ONNX_WRITE_NEWEST, &n)) return false;
  if (!onnx && (name || cmd_has(c, FLAG_opset))) return diag(c->ctx, E0701, NULL, "--%s is for an .onnx file", name ? "format" : "opset");
  for (f = 0; name && f < ONNX_FORMATS && strcmp(name, onnx_format_names[f]); f++) {}
  if (f == ONNX_FORMATS) return diag(c->ctx, E0701, NULL, "--format is qdq, qonnx or functions, not '%s'", name);
  *format = name ? (OnnxFormat)f : ONNX_FUNCTIONS;
  *opset = (int)n;
  return true;
}

int verb_convert(Cmd *c) {
  Model m;
  OnnxFormat format = ONNX_FUNCTIONS;
  int opset = ONNX_WRITE_DEFAULT;
  const char *path = cmd_model(c), *out = cmd_get(c, FLAG_out), *dot = out ? strrchr(out, '.') : NULL;
  int64_t seed;
  if (!path || !cmd_int(c, FLAG_randomize, 0, 0, INT64_MAX, &seed)) return EXIT_USAGE;
  if (!out) { diag(c->ctx, E0701, NULL, "convert needs -o OUT"); return EXIT_USAGE; }
  bool ir = !strcmp(out, "-") || (dot && !strcmp(dot, ".ir")), is_dot = dot && !strcmp(dot, ".dot"), svg = dot && !strcmp(dot, ".svg");
  bool onnx = dot && !strcmp(dot, ".onnx");
  if (!ir && !is_dot && !svg && !onnx) { diag(c->ctx, E0701, NULL, "cannot tell from '%s' what to write: name it .onnx, .ir, .dot or .svg", out); return EXIT_USAGE; }
  if (!dialect(c, onnx, &format, &opset)) return EXIT_USAGE;
  if (!model_load_batch(c, path, !onnx, &m)) return diag_exit(c->ctx); /* ONNX can say an unknown batch */
  if (!m.s.graph && !ir) { diag(c->ctx, E0307, NULL, "only graphs are drawn or written as ONNX, and this is a program"); return EXIT_UNSUPPORTED; }
  Graph *g = m.s.graph;
  if (g && cmd_has(c, FLAG_randomize)) {
    uint64_t s = (uint64_t)seed;
    g = graph_rewrite(g, randomize_rule, &s, NULL);
    if (!g) return diag_exit(c->ctx);
  }
  Str s = {.ctx = c->ctx};
  bool ok = true;
  if (onnx) ok = onnx_export(c->ctx, g, format, opset, &s);
  else if (!g) program_print(&s, m.s.program);
  else if (ir) graph_print(&s, g);
  else if (is_dot) draw_dot(&s, g);
  else draw_svg(&s, g);
  ok = ok && file_write(c->ctx, out, s.p, s.n);
  str_free(&s);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
