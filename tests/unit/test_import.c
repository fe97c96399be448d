/* Import: rules of models, each with its error and place; functions, folding, bindings; broken and hostile files. */
#include "frontend/frontend.h"
#include "tests/unit/suite.h"
#include "wire_build.h"

#include <setjmp.h>
#include <unistd.h>

/* Models by hand. Types are FLOAT (1) or INT64 (7). */

static Pb value_info(const char *name, int type, int rank, const int64_t *dims) {
  Pb v = {0}, t = {0}, tt = {0}, shape = {0};
  for (int i = 0; i < rank; i++) {
    Pb d = {0};
    if (dims[i] >= 0) pb_int(&d, 1, dims[i]);
    else pb_text(&d, 2, "N");
    pb_message(&shape, 1, d);
  }
  pb_int(&tt, 1, type);
  pb_message(&tt, 2, shape);
  pb_message(&t, 1, tt);
  pb_text(&v, 1, name);
  pb_message(&v, 2, t);
  return v;
}

static Pb node(const char *op, const char *domain, const char *in, const char *out) {
  Pb n = {0};
  char text[256], *save = NULL;
  for (int k = 1; k <= 2; k++) {
    snprintf(text, sizeof text, "%s", k == 1 ? in : out);
    for (char *p = strtok_r(text, " ", &save); p; p = strtok_r(NULL, " ", &save)) pb_text(&n, k, strcmp(p, "-") ? p : "");
  }
  pb_text(&n, 4, op);
  if (*domain) pb_text(&n, 7, domain);
  return n;
}

static void attr_int(Pb *n, const char *name, int64_t v) {
  Pb a = {0};
  pb_text(&a, 1, name);
  pb_int(&a, 3, v);
  pb_int(&a, 20, 2);
  pb_message(n, 5, a);
}

static void attr_ints(Pb *n, const char *name, int count, const int64_t *v) {
  Pb a = {0};
  pb_text(&a, 1, name);
  for (int i = 0; i < count; i++) pb_int(&a, 8, v[i]);
  pb_int(&a, 20, 7);
  pb_message(n, 5, a);
}

static Pb tensor(const char *name, int type, int rank, const int64_t *dims, const void *raw, size_t bytes) {
  Pb t = {0};
  for (int i = 0; i < rank; i++) pb_int(&t, 1, dims[i]);
  pb_int(&t, 2, type);
  if (name) pb_text(&t, 8, name);
  pb_data(&t, 9, raw, bytes);
  return t;
}

/* A model around the graph's fields: IR 8, opset of the default domain; extra: more fields of the model. */
static Pb model_of(Pb graph, int opset, Pb extra) {
  Pb m = {0}, set = {0};
  pb_int(&m, 1, 8);
  pb_int(&set, 2, opset);
  pb_message(&m, 8, set);
  pb_message(&m, 7, graph);
  pb_bytes(&m, extra.p, extra.n);
  free(extra.p);
  return m;
}

static Pb xy_graph(Pb nodes) {
  static const int64_t dims[] = {2, 3};
  Pb g = {0};
  pb_bytes(&g, nodes.p, nodes.n);
  free(nodes.p);
  pb_message(&g, 11, value_info("x", 1, 2, dims));
  pb_message(&g, 12, value_info("y", 1, 2, dims));
  return g;
}

static Pb one(Pb n) {
  Pb g = {0};
  pb_message(&g, 1, n);
  return g;
}

static const Diag *first_error(const Ctx *ctx) {
  const Diag *d = ctx->diags;
  while (d && !d->is_error) d = d->next;
  return d;
}

/* Consumes m. text: part of the message. node: where, -1 not at a node. */
static void refused(Pb m, ErrCode code, int node_index, const char *text) {
  Ctx *ctx = ctx_new();
  ck_assert_ptr_null(onnx_import(ctx, "t.onnx", m.p, m.n, NULL));
  const Diag *d = first_error(ctx);
  ck_assert_ptr_nonnull(d);
  ck_assert_msg(d->code == code && strstr(d->text, text), "%s: %s", err_info[d->code].code, d->text);
  ck_assert_int_eq(d->loc.node, node_index);
  ctx_free(ctx);
  free(m.p);
}

static Graph *accepted(Ctx *ctx, Pb m, const ImportOptions *opt) {
  Graph *g = onnx_import(ctx, "t.onnx", m.p, m.n, opt);
  const Diag *d = first_error(ctx);
  ck_assert_msg(g != NULL, "%s: %s", d ? err_info[d->code].code : "", d ? d->text : "");
  free(m.p);
  return g;
}

static Pb none(void) { return (Pb){0}; }
static Pb of_node(Pb n) { return model_of(xy_graph(one(n)), 13, none()); }

START_TEST(model_rules) {
  Pb m = {0};
  pb_int(&m, 1, 8);
  refused(m, E0101, -1, "no graph");
  refused(none(), E0101, -1, "empty");
  m = none();
  pb_message(&m, 7, xy_graph(one(node("Relu", "", "x", "y"))));
  refused(m, E0210, -1, "no IR version");
  m = none();
  pb_int(&m, 1, 8);
  pb_message(&m, 7, xy_graph(one(node("Relu", "", "x", "y"))));
  refused(m, E0210, -1, "no opset");
  refused(model_of(xy_graph(one(node("Relu", "", "x", "y"))), 999, none()), E0210, -1, "opset 999");
  m = none();
  pb_int(&m, 1, 99);
  pb_message(&m, 7, xy_graph(one(node("Relu", "", "x", "y"))));
  refused(m, E0210, -1, "IR version 99");
} END_TEST

START_TEST(name_rules) {
  Pb g = one(node("Relu", "", "x", "y"));
  pb_message(&g, 1, node("Abs", "", "x", "y"));
  refused(model_of(xy_graph(g), 13, none()), E0202, 1, "another producer");
  refused(of_node(node("Relu", "", "z", "y")), E0201, 0, "nothing produces");
  g = one(node("Relu", "", "a", "y"));
  pb_message(&g, 1, node("Abs", "", "x", "a"));
  refused(model_of(xy_graph(g), 13, none()), E0201, 0, "node 1 produces later");
  refused(of_node(node("Relu", "", "x", "z")), E0201, -1, "output");
  refused(of_node(node("Relu", "", "x", "x")), E0202, 0, "another producer");
  static const int64_t dims[] = {1};
  float one_f = 1;
  g = one(node("Relu", "", "x", "y"));
  pb_message(&g, 5, tensor("w", 1, 1, dims, &one_f, 4));
  pb_message(&g, 5, tensor("w", 1, 1, dims, &one_f, 4));
  refused(model_of(xy_graph(g), 13, none()), E0202, -1, "two values");
} END_TEST

START_TEST(node_rules) {
  Pb n = node("Relu", "", "x", "y");
  attr_int(&n, "alpha", 1);
  refused(of_node(n), E0203, 0, "no attribute alpha");
  n = node("Concat", "", "x", "y");
  refused(of_node(n), E0203, 0, "axis is missing");
  n = node("Concat", "", "x x", "y");
  attr_int(&n, "axis", 2);
  refused(of_node(n), E0204, 0, "axis 2 is outside");
  n = node("Transpose", "", "x", "y");
  attr_ints(&n, "perm", 3, (int64_t[]){0, 1, 2});
  refused(of_node(n), E0204, 0, "perm has 3 values, input has 2 dims");
  refused(of_node(node("Add", "", "x", "y")), E0205, 0, "1 input");
  refused(of_node(node("And", "", "x x", "y")), E0206, 0, "element type f32");
  n = node("Softmax", "", "x", "y");
  attr_ints(&n, "axis", 1, (int64_t[]){1});
  refused(of_node(n), E0203, 0, "axis is not an integer");
  n = node("Softmax", "", "x", "y");
  attr_int(&n, "axis", 1);
  attr_int(&n, "axis", 1);
  refused(of_node(n), E0203, 0, "twice");
  n = node("MaxPool", "", "x", "y");
  attr_ints(&n, "kernel_shape", 2, (int64_t[]){2, 2});
  refused(of_node(n), E0204, 0, "kernel_shape has 2 values");
} END_TEST

/* Every unsupported node in one run, each with its place. */
START_TEST(unsupported_at_once) {
  Pb g = one(node("Foo", "", "x", "a"));
  pb_message(&g, 1, node("Relu", "", "a", "b"));
  pb_message(&g, 1, node("Bar", "my.domain", "b", "c"));
  pb_message(&g, 1, node("Gelu", "", "c", "y"));
  Pb m = model_of(xy_graph(g), 13, none());
  Ctx *ctx = ctx_new();
  ck_assert_ptr_null(onnx_import(ctx, "t.onnx", m.p, m.n, NULL));
  ck_assert_int_eq(ctx->n_errors, 3);
  const Diag *d = first_error(ctx);
  ck_assert_int_eq(d->loc.node, 0);
  ck_assert_str_eq(d->next->loc.op, "Bar");
  ck_assert_ptr_nonnull(strstr(d->next->text, "my.domain"));
  ck_assert_ptr_nonnull(strstr(d->next->next->text, "opsets 20 to"));
  Str report = {.ctx = ctx};
  int missing;
  ck_assert(onnx_missing(ctx, "t.onnx", m.p, m.n, &report, &missing));
  ck_assert_int_eq(missing, 3);
  ck_assert_ptr_nonnull(strstr(report.p, "\"Bar\" of \"my.domain\": 1 node"));
  str_free(&report);
  ctx_free(ctx);
  free(m.p);
} END_TEST

START_TEST(tensor_rules) {
  static const struct { int64_t dims[3]; int rank, type; size_t bytes; ErrCode code; const char *text; } rows[] = {
    {{2, 2, 0}, 2, 1, 15, E0208, "15 bytes, the shape needs 16"},
    {{INT64_MAX, INT64_MAX, 0}, 2, 1, 4, E0208, "2^56"},
    {{INT64_MAX, 0, 0}, 1, 3, 4, E0208, "2^56"},
    {{-1, 0, 0}, 1, 1, 4, E0208, "dimension 0 is -1"},
    {{3, 0, 0}, 1, 22, 1, E0208, "1 bytes, the shape needs 2"},
    {{1, 0, 0}, 1, 17, 1, E0303, "FLOAT8E4M3FN"},
    {{1, 0, 0}, 1, 14, 8, E0303, "COMPLEX64"},
    {{1, 0, 0}, 1, 0, 1, E0208, "no element type"},
    {{1, 0, 0}, 1, 77, 1, E0303, "does not know"},
    {{1 << 20, 1 << 20, 1 << 10}, 3, 1, 4, E0208, "the shape needs 4503599627370496"},
  };
  char raw[64] = {0};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    Pb g = one(node("Relu", "", "x", "y"));
    pb_message(&g, 5, tensor("w", rows[i].type, rows[i].rank, rows[i].dims, raw, rows[i].bytes));
    refused(model_of(xy_graph(g), 13, none()), rows[i].code, -1, rows[i].text);
  }
} END_TEST

/* All element types from raw_data, sub-byte ones unpacked lowest first. */
START_TEST(tensor_values) {
  static const struct { int type, n; const char *raw; size_t bytes; double v[4]; } rows[] = {
    {1, 1, "\x00\x00\x80\x3f", 4, {1}}, {2, 2, "\xff\x01", 2, {255, 1}}, {3, 2, "\xff\x01", 2, {-1, 1}},
    {4, 1, "\xff\xff", 2, {65535}}, {5, 1, "\xfe\xff", 2, {-2}}, {6, 1, "\xff\xff\xff\xff", 4, {-1}},
    {9, 2, "\x02\x00", 2, {1, 0}}, {10, 1, "\x00\x3e", 2, {1.5}}, {16, 1, "\xc0\x3f", 2, {1.5}},
    {11, 1, "\x00\x00\x00\x00\x00\x00\xf8\x3f", 8, {1.5}}, {12, 1, "\xff\xff\xff\xff", 4, {4294967295.0}},
    {21, 3, "\xa5\x0f", 2, {5, 10, 15}}, {22, 3, "\xa5\x0f", 2, {5, -6, -1}},
    {25, 4, "\xe4", 1, {0, 1, 2, 3}}, {26, 4, "\xe4", 1, {0, 1, -2, -1}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    Ctx *ctx = ctx_new();
    int64_t n = rows[i].n;
    char *name;
    Pb b = tensor("t", rows[i].type, 1, &n, rows[i].raw, rows[i].bytes);
    Tensor *t = onnx_read_tensor(ctx, "t.pb", b.p, b.n, &name);
    ck_assert_msg(t != NULL, "type %d", rows[i].type);
    ck_assert_str_eq(name, "t");
    for (int64_t k = 0; k < n; k++) ck_assert_double_eq(tensor_f(t, k), rows[i].v[k]);
    free(name);
    free(b.p);
    ctx_free(ctx);
  }
} END_TEST

/* Shape -> Gather -> Unsqueeze -> Concat -> Reshape leaves nothing but the reshape. */
START_TEST(shape_chain_folds) {
  int64_t zero = 0, minus = -1, n1 = 1;
  Pb g = one(node("Shape", "", "x", "s"));
  pb_message(&g, 1, node("Gather", "", "s zero", "d"));
  Pb u = node("Unsqueeze", "", "d axes", "u");
  pb_message(&g, 1, u);
  Pb c = node("Concat", "", "u minus", "shape");
  attr_int(&c, "axis", 0);
  pb_message(&g, 1, c);
  pb_message(&g, 1, node("Reshape", "", "x shape", "r"));
  pb_message(&g, 1, node("Relu", "", "r", "y"));
  pb_message(&g, 5, tensor("zero", 7, 0, NULL, &zero, 8));
  pb_message(&g, 5, tensor("axes", 7, 1, &n1, &zero, 8));
  pb_message(&g, 5, tensor("minus", 7, 1, &n1, &minus, 8));
  Ctx *ctx = ctx_new();
  Graph *got = accepted(ctx, model_of(xy_graph(g), 13, none()), NULL);
  ck_assert_int_eq(got->n_nodes, 3); /* x, 0 and max: the reshape keeps the shape */
  ck_assert_int_eq(got->outs[0].v->op, OP_MAP);
  ck_assert_int_eq(got->outs[0].v->loc.node, 5);
  ck_assert_str_eq(got->outs[0].v->loc.op, "Relu");
  graph_free(got);
  ctx_free(ctx);
} END_TEST

static Pb function(const char *name, Pb body_node) {
  Pb f = {0}, set = {0};
  pb_text(&f, 1, name);
  pb_text(&f, 10, "my");
  pb_text(&f, 4, "a");
  pb_text(&f, 5, "b");
  pb_text(&f, 6, "slope");
  pb_message(&f, 7, body_node);
  pb_int(&set, 2, 13);
  pb_message(&f, 9, set);
  Pb m = {0};
  pb_message(&m, 25, f);
  return m;
}

START_TEST(functions_inline) {
  Pb body = node("LeakyRelu", "", "a", "b"), ref = {0}, call = node("F", "my", "x", "y"), slope = {0};
  pb_text(&ref, 1, "alpha");
  pb_text(&ref, 21, "slope");
  pb_int(&ref, 20, 1);
  pb_message(&body, 5, ref);
  pb_text(&slope, 1, "slope");
  pb_float(&slope, 2, 0.5f);
  pb_int(&slope, 20, 1);
  pb_message(&call, 5, slope);
  Ctx *ctx = ctx_new();
  Graph *g = accepted(ctx, model_of(xy_graph(one(call)), 13, function("F", body)), NULL);
  Tensor *x = tensor_new(ctx, &g->args[0]->t), *y;
  for (int64_t i = 0; i < x->n; i++) tensor_set_f(x, i, (double)i - 3);
  ck_assert(graph_eval(ctx, g, &x, &y, NULL, NULL));
  ck_assert_double_eq(tensor_f(y, 0), -1.5);
  ck_assert_double_eq(tensor_f(y, 5), 2);
  graph_free(g);
  ctx_free(ctx);
  refused(model_of(xy_graph(one(node("F", "my", "x", "y"))), 13, function("F", node("F", "my", "a", "b"))), E0402, 0, "more than 100 deep");
} END_TEST

/* A function that calls itself twice: the node limit ends it, not time. */
START_TEST(functions_explode) {
  Pb m = {0}, g = one(node("F0", "my", "x", "y"));
  for (int i = 0; i < 40; i++) {
    Pb f = {0}, set = {0};
    char name[16], next[16];
    snprintf(name, sizeof name, "F%d", i);
    snprintf(next, sizeof next, "F%d", i + 1);
    pb_text(&f, 1, name);
    pb_text(&f, 10, "my");
    pb_text(&f, 4, "a");
    pb_text(&f, 5, "b");
    pb_message(&f, 7, node(i < 39 ? next : "Relu", i < 39 ? "my" : "", "a", "t"));
    pb_message(&f, 7, node(i < 39 ? next : "Relu", i < 39 ? "my" : "", "t", "b"));
    pb_int(&set, 2, 13);
    pb_message(&f, 9, set);
    pb_message(&m, 25, f);
  }
  Ctx *ctx = ctx_new();
  ctx->limits.nodes = 10000;
  m = model_of(xy_graph(g), 13, m);
  ck_assert_ptr_null(onnx_import(ctx, "t.onnx", m.p, m.n, NULL));
  ck_assert_int_eq(first_error(ctx)->code, E0402);
  ctx_free(ctx);
  free(m.p);
} END_TEST

START_TEST(dimensions) {
  static const int64_t dims[] = {-1, 3}, flat[] = {-1, 2, 3};
  int64_t n3 = 3;
  for (int how = 0; how < 3; how++) {
    Ctx *ctx = ctx_new();
    Pb g = one(node("Reshape", "", "x shape", "y"));
    pb_message(&g, 5, tensor("shape", 7, 1, &n3, flat, 24));
    pb_message(&g, 11, value_info("x", 1, 2, dims));
    pb_message(&g, 12, value_info("y", 1, 2, dims));
    Pb m = model_of(g, 13, none());
    DimBind d = {"N", 4, 4};
    ImportOptions opt = {.dims = &d, .n_dims = how == 1, .batch = how == 2};
    Graph *got = onnx_import(ctx, "t.onnx", m.p, m.n, &opt);
    if (how == 1) {
      ck_assert_ptr_nonnull(got);
      ck_assert_int_eq(got->outs[0].v->t.d[0].n, 2);
    } else {
      ck_assert_ptr_null(got); /* N symbolic: E0304 with the hint; N = 1: 3 elements in rows of 6 */
      ck_assert_int_eq(first_error(ctx)->code, how ? E0207 : E0304);
      if (!how) ck_assert_str_eq(first_error(ctx)->hint, "--dim N=1");
    }
    graph_free(got);
    ctx_free(ctx);
    free(m.p);
  }
} END_TEST

START_TEST(symbols_pass_through) {
  static const int64_t dims[] = {-1, 3};
  Pb g = one(node("Relu", "", "x", "a"));
  pb_message(&g, 1, node("Flatten", "", "a", "b"));
  Pb s = node("Softmax", "", "b", "y");
  pb_message(&g, 1, s);
  pb_message(&g, 11, value_info("x", 1, 2, dims));
  pb_message(&g, 12, value_info("y", 1, 2, dims));
  Ctx *ctx = ctx_new();
  Graph *got = accepted(ctx, model_of(g, 13, none()), NULL);
  ck_assert_uint_eq(got->outs[0].v->t.d[0].sym, 1);
  ck_assert_str_eq(got->syms[0], "N");
  graph_free(got);
  ctx_free(ctx);
} END_TEST

/* Operators that declare much and have little: refused, nothing allocated in proportion. */
START_TEST(bombs) {
  int64_t huge[2] = {1 << 30, 1 << 30}, n2 = 2;
  Pb g = one(node("ConstantOfShape", "", "s", "y"));
  pb_message(&g, 5, tensor("s", 7, 1, &n2, huge, 16));
  Ctx *ctx = ctx_new();
  Pb m = model_of(xy_graph(g), 13, none());
  Graph *got = onnx_import(ctx, "t.onnx", m.p, m.n, NULL);
  ck_assert_int_lt(ctx->memory_used, 1 << 20);
  graph_free(got);
  ctx_free(ctx);
  free(m.p);
  g = one(node("Tile", "", "x s", "y"));
  pb_message(&g, 5, tensor("s", 7, 1, &n2, huge, 16));
  refused(model_of(xy_graph(g), 13, none()), E0204, 0, "repeats");
} END_TEST

START_TEST(external_data) {
  char dir[] = "/tmp/popshift_ext_XXXXXX", path[256], model[256];
  static const struct { const char *location, *offset; bool ok; } rows[] = {
    {"w.bin", "4", true}, {"w.bin", "100", false}, {"w.bin", "-4", false}, {"../w.bin", "0", false}, {"/etc/passwd", "0", false},
    {"link.bin", "0", false}, {"sub/../w.bin", "0", false}, {"none.bin", "0", false}, {"w.bin", "9223372036854775807", false},
  };
  ck_assert_ptr_nonnull(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/w.bin", dir);
  snprintf(model, sizeof model, "%s/m.onnx", dir);
  float v[7] = {9, 1, 2, 3, 4, 5, 6};
  Ctx *io = ctx_new();
  ck_assert(file_write(io, path, (const char *)v, sizeof v));
  ctx_free(io);
  snprintf(path, sizeof path, "%s/link.bin", dir);
  ck_assert_int_eq(symlink("w.bin", path), 0);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    Pb w = {0}, g = one(node("Add", "", "x w", "y"));
    const char *entries[] = {"location", rows[i].location, "offset", rows[i].offset, "length", "24"};
    pb_int(&w, 1, 2);
    pb_int(&w, 1, 3);
    pb_int(&w, 2, 1);
    pb_text(&w, 8, "w");
    for (int k = 0; k < 6; k += 2) {
      Pb e = {0};
      pb_text(&e, 1, entries[k]);
      pb_text(&e, 2, entries[k + 1]);
      pb_message(&w, 13, e);
    }
    pb_int(&w, 14, 1);
    pb_message(&g, 5, w);
    Pb m = model_of(xy_graph(g), 13, none());
    Ctx *ctx = ctx_new();
    Graph *got = onnx_import(ctx, model, m.p, m.n, NULL);
    ck_assert_msg((got != NULL) == rows[i].ok, "%s %s", rows[i].location, rows[i].offset);
    if (!got) ck_assert_int_eq(first_error(ctx)->code, E0105);
    graph_free(got);
    ctx_free(ctx);
    free(m.p);
  }
  unlink(path);
  snprintf(path, sizeof path, "%s/w.bin", dir);
  unlink(path);
  rmdir(dir);
} END_TEST

static jmp_buf out_of_memory; /* a test program of one thread */
static void on_fatal(Ctx *ctx, void *user) { (void)ctx, (void)user; longjmp(out_of_memory, 1); }

/* 1: imported, 0: refused, -1: stopped at the memory limit. */
static int attempt(const char *bytes, size_t n) {
  Ctx *ctx = ctx_new();
  ctx->limits.memory = 64 << 20;
  ctx->fatal = on_fatal;
  if (setjmp(out_of_memory)) { ctx_free(ctx); return -1; }
  Graph *got = onnx_import(ctx, "m.onnx", bytes, n, &(ImportOptions){.batch = 1});
  int imported = got != NULL;
  ck_assert(imported == (first_error(ctx) == NULL));
  graph_free(got);
  ctx_free(ctx);
  return imported;
}

/* A small network, every byte changed in turn and cut at every byte: an answer, never a crash. */
START_TEST(mutants) {
  int64_t wd[] = {2, 1, 2, 2}, xd[] = {1, 1, 3, 3}, n2 = 2, shape[] = {1, -1};
  float w[8] = {1, -2, 3, -4, 5, -6, 7, -8};
  Pb c = node("Conv", "", "x w", "c"), g;
  attr_ints(&c, "pads", 4, (int64_t[]){1, 1, 0, 0});
  g = one(c);
  Pb p = node("MaxPool", "", "c", "p");
  attr_ints(&p, "kernel_shape", 2, (int64_t[]){2, 2});
  pb_message(&g, 1, p);
  pb_message(&g, 1, node("Reshape", "", "p s", "r"));
  pb_message(&g, 1, node("Softmax", "", "r", "y"));
  pb_message(&g, 5, tensor("w", 1, 4, wd, w, sizeof w));
  pb_message(&g, 5, tensor("s", 7, 1, &n2, shape, 16));
  pb_message(&g, 11, value_info("x", 1, 4, xd));
  pb_message(&g, 12, value_info("y", 1, 2, xd));
  Pb m = model_of(g, 13, none());
  uint32_t seed = 1;
  int imported = 0, refusals = 0;
  for (size_t i = 0; i < 6 * m.n; i++) {
    size_t at = i % m.n;
    char old = m.p[at];
    seed = seed * 1664525u + 1013904223u;
    if (i >= m.n) m.p[at] = i < 2 * m.n ? (char)(old ^ 1) : i < 3 * m.n ? (char)(old ^ 0x80) : (char)(seed >> 24);
    int got = attempt(m.p, i < m.n ? i : m.n);
    imported += got == 1;
    refusals += got == 0;
    m.p[at] = old;
  }
  ck_assert_int_gt(imported, 10);
  ck_assert_int_gt(refusals, 100);
  free(m.p);
} END_TEST

START_TEST(table) {
  ck_assert_int_ge(onnx_op_count(), 100);
  for (int i = 0; i < onnx_op_count(); i++) {
    OnnxOp a = onnx_op_get(i);
    ck_assert(a.since <= a.upto && *a.name && a.limits);
    for (int k = 0; k < i; k++) {
      OnnxOp b = onnx_op_get(k);
      ck_assert_msg(strcmp(a.name, b.name) || strcmp(a.domain, b.domain) || a.since > b.upto || b.since > a.upto, "%s twice", a.name);
    }
  }
} END_TEST

int main(void) {
  Suite *s = suite_create("import");
  TCase *t = tcase_create("import");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, model_rules);
  tcase_add_test(t, name_rules);
  tcase_add_test(t, node_rules);
  tcase_add_test(t, unsupported_at_once);
  tcase_add_test(t, tensor_rules);
  tcase_add_test(t, tensor_values);
  tcase_add_test(t, shape_chain_folds);
  tcase_add_test(t, functions_inline);
  tcase_add_test(t, functions_explode);
  tcase_add_test(t, dimensions);
  tcase_add_test(t, symbols_pass_through);
  tcase_add_test(t, bombs);
  tcase_add_test(t, external_data);
  tcase_add_test(t, mutants);
  tcase_add_test(t, table);
  suite_add_tcase(s, t);
  return suite_run(s);
}
