/* mkmodel KIND [N]: an ONNX model on standard output, for the tests of the command: small real ones, and hostile ones.
 * Wire format by hand, so that files can be wrong in any way. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Bytes { unsigned char *p; size_t n, cap; } Bytes;

static void put(Bytes *b, const void *data, size_t n) {
  if (b->n + n > b->cap) {
    b->cap = 2 * (b->n + n) + 64;
    b->p = realloc(b->p, b->cap);
    if (!b->p) abort();
  }
  memcpy(b->p + b->n, data, n);
  b->n += n;
}
static void varint(Bytes *b, uint64_t v) {
  do { unsigned char c = (unsigned char)((v & 127) | (v > 127 ? 128 : 0)); put(b, &c, 1); v >>= 7; } while (v);
}
static void num(Bytes *b, int field, uint64_t v) { varint(b, (uint64_t)field << 3); varint(b, v); }
static void blob(Bytes *b, int field, const void *p, size_t n) { varint(b, (uint64_t)field << 3 | 2); varint(b, n); put(b, p, n); }
static void text(Bytes *b, int field, const char *s) { blob(b, field, s, strlen(s)); }
static void message(Bytes *b, int field, Bytes *m) { blob(b, field, m->p, m->n); free(m->p); }

/* A dimension below 0 is unknown, its name the letter of that code: -'N'. */
static void value_info(Bytes *graph, int field, const char *name, int elem, int rank, const int64_t *dims) {
  Bytes v = {0}, type = {0}, tensor = {0}, shape = {0};
  for (int i = 0; i < rank; i++) {
    Bytes d = {0};
    if (dims[i] < 0) text(&d, 2, (char[]){(char)-dims[i], 0});
    else num(&d, 1, (uint64_t)dims[i]);
    message(&shape, 1, &d);
  }
  num(&tensor, 1, (uint64_t)elem);
  message(&tensor, 2, &shape);
  message(&type, 1, &tensor);
  text(&v, 1, name);
  message(&v, 2, &type);
  message(graph, field, &v);
}

static void tensor(Bytes *graph, const char *name, int elem, int rank, const int64_t *dims, const void *raw, size_t n) {
  Bytes t = {0};
  for (int i = 0; i < rank; i++) num(&t, 1, (uint64_t)dims[i]);
  num(&t, 2, (uint64_t)elem);
  text(&t, 8, name);
  blob(&t, 9, raw, n);
  message(graph, 5, &t);
}

/* attr: "name=1,2,3|name=4" of ints, or NULL. in, out: names separated by '|'. */
static void node_in(Bytes *graph, const char *op, const char *domain, const char *name, const char *in, const char *out, const char *attr) {
  Bytes n = {0};
  const char *lists[2] = {in, out};
  for (int k = 0; k < 2; k++)
    for (const char *s = lists[k]; *s;) {
      size_t len = strcspn(s, "|");
      blob(&n, 1 + k, s, len);
      s += len + (s[len] == '|');
    }
  text(&n, 3, name);
  text(&n, 4, op);
  while (attr && *attr) {
    Bytes a = {0};
    const char *eq = strchr(attr, '='), *end = attr + strcspn(attr, "|");
    blob(&a, 1, attr, (size_t)(eq - attr));
    for (const char *s = eq + 1; s < end; s += strcspn(s, ",|"), s += *s == ',') num(&a, 8, (uint64_t)strtoll(s, NULL, 10));
    num(&a, 20, 7);
    message(&n, 5, &a);
    attr = end + (*end == '|');
  }
  if (*domain) text(&n, 7, domain);
  message(graph, 1, &n);
}
static void node(Bytes *graph, const char *op, const char *name, const char *in, const char *out, const char *attr) {
  node_in(graph, op, "", name, in, out, attr);
}

static void model(Bytes *graph, const char *producer, int64_t opset) {
  Bytes m = {0}, o = {0};
  num(&m, 1, 8);
  text(&m, 2, producer);
  message(&m, 7, graph);
  num(&o, 2, (uint64_t)opset);
  message(&m, 8, &o);
  fwrite(m.p, 1, m.n, stdout);
  free(m.p);
}

static uint32_t state = 12345;
static float next(void) { state = state * 1664525u + 1013904223u; return (float)(state >> 8) / 8388608.0f - 1; }

/* Conv 3x3, Relu, QuantizeLinear, DequantizeLinear, MaxPool, Flatten, MatMul with QDQ weights: every name from the array. */
static void tiny(const char *const name[12]) {
  Bytes g = {0};
  float w[4 * 2 * 9], fc[36 * 3], s1 = 0.05f, s2 = 0.02f;
  signed char q[36 * 3];
  unsigned char zp = 3;
  for (size_t i = 0; i < sizeof w / sizeof *w; i++) w[i] = next();
  for (size_t i = 0; i < sizeof fc / sizeof *fc; i++) q[i] = (signed char)(next() * 127);
  node(&g, "Conv", name[0], "x|w", "c", "pads=1,1,1,1");
  node(&g, "Relu", name[1], "c", "r", NULL);
  node(&g, "QuantizeLinear", name[2], "r|s1|z1", "q", NULL);
  node(&g, "DequantizeLinear", name[3], "q|s1|z1", "d", NULL);
  node(&g, "MaxPool", name[4], "d", "p", "kernel_shape=2,2");
  node(&g, "Flatten", name[5], "p", "f", NULL);
  node(&g, "DequantizeLinear", name[6], "k|s2", "kd", NULL);
  node(&g, "MatMul", name[7], "f|kd", name[9], NULL);
  text(&g, 2, name[10]);
  tensor(&g, "w", 1, 4, (int64_t[]){4, 2, 3, 3}, w, sizeof w);
  tensor(&g, "s1", 1, 0, NULL, &s1, 4);
  tensor(&g, "s2", 1, 0, NULL, &s2, 4);
  tensor(&g, "z1", 2, 0, NULL, &zp, 1);
  tensor(&g, "k", 3, 2, (int64_t[]){36, 3}, q, sizeof q);
  text(&g, 10, name[11]);
  value_info(&g, 11, "x", 1, 4, (int64_t[]){1, 2, 4, 4});
  value_info(&g, 12, name[9], 1, 2, (int64_t[]){1, 3});
  model(&g, name[8], 13);
}

static const char *const plain[12] = {"conv", "relu", "quant", "dequant", "pool", "flatten", "dq_w", "fc", "mkmodel", "y", "tiny", ""};
static const char *const nasty[12] = {
  "x */ int injected_fn(void){return 42;} /*", "a\"; system(\"true\"); \"", "line\nbreak\nint injected_fn(void){return 1;}", "int", "a.b", "a_b",
  "?\?/\nint injected_fn;", "<script>alert(1)</script>", "p\n#error injected\n", "while */ \n#error injected\n/*", "for(;;)\n#error", "doc\r#error injected\r"};

/* Two inputs and outputs whose names become the same identifier. */
static void clash(void) {
  Bytes g = {0};
  int64_t d[1] = {4};
  node(&g, "Add", "a.b", "a.b|a_b", "o.1", NULL);
  node(&g, "Sub", "a_b", "a.b|a_b", "o_1", NULL);
  node(&g, "Mul", "", "o.1|o_1", "o-1", NULL);
  value_info(&g, 11, "a.b", 1, 1, d);
  value_info(&g, 11, "a_b", 1, 1, d);
  value_info(&g, 12, "o.1", 1, 1, d);
  value_info(&g, 12, "o_1", 1, 1, d);
  value_info(&g, 12, "o-1", 1, 1, d);
  text(&g, 2, "clash");
  model(&g, "mkmodel", 13);
}

/* TypeProto within TypeProto (sequence of sequence of ...), n deep. */
static void nested(int n) {
  Bytes inner = {0};
  for (int i = 0; i < n; i++) { Bytes seq = {0}, type = {0}; message(&seq, 1, &inner); message(&type, 4, &seq); inner = type; }
  Bytes v = {0}, g = {0};
  text(&v, 1, "x");
  message(&v, 2, &inner);
  message(&g, 11, &v);
  text(&g, 2, "nested");
  model(&g, "mkmodel", 13);
}

/* An input, a constant, or a Resize that says it has n elements along each dimension, in a few hundred bytes. */
static void huge(const char *kind, int64_t n) {
  Bytes g = {0};
  int64_t big[2] = {n, n}, small[4] = {1, 1, 2, 2}, sizes[4] = {1, 1, n, n};
  if (!strcmp(kind, "huge-input")) {
    node(&g, "Relu", "r", "x", "y", NULL);
    value_info(&g, 11, "x", 1, 2, big);
    value_info(&g, 12, "y", 1, 2, big);
  } else if (!strcmp(kind, "huge-constant")) {
    tensor(&g, "w", 1, 2, big, "abcd", 4);
    node(&g, "Add", "a", "x|w", "y", NULL);
    value_info(&g, 11, "x", 1, 2, small + 2);
    value_info(&g, 12, "y", 1, 2, small + 2);
  } else if (!strcmp(kind, "huge-expand")) {
    tensor(&g, "s", 7, 1, (int64_t[]){2}, big, sizeof big);
    tensor(&g, "one", 1, 2, (int64_t[]){1, 1}, "\0\0\x80\x3f", 4);
    node(&g, "Expand", "e", "one|s", "v", NULL);
    node(&g, "ReduceSum", "e", "v", "w", NULL);
    node(&g, "Add", "a", "x|w", "y", NULL);
    value_info(&g, 11, "x", 1, 2, small + 2);
    value_info(&g, 12, "y", 1, 2, small + 2);
  } else {
    tensor(&g, "s", 7, 1, (int64_t[]){4}, sizes, sizeof sizes);
    node(&g, "Resize", "resize", "x|||s", "y", NULL);
    value_info(&g, 11, "x", 1, 4, small);
    value_info(&g, 12, "y", 1, 4, sizes);
  }
  text(&g, 2, "huge");
  model(&g, "mkmodel", 13);
}

/* Two unknown operators of two domains, and a known one between. */
static void unsupported(void) {
  Bytes g = {0};
  int64_t d[1] = {4};
  node_in(&g, "Frobnicate", "com.example", "first", "x", "a", NULL);
  node(&g, "Relu", "fine", "a", "b", NULL);
  node(&g, "StringNormalizer", "second", "b", "y", NULL);
  value_info(&g, 11, "x", 1, 1, d);
  value_info(&g, 12, "y", 1, 1, d);
  text(&g, 2, "unsupported");
  model(&g, "mkmodel", 13);
}

/* One node with an attribute of the wrong length, value or place: a table for the located messages. */
static void wrong(const char *what) {
  Bytes g = {0};
  int64_t x4[4] = {1, 2, 4, 4}, w4[4] = {4, 2, 3, 3};
  static const struct { const char *what, *op, *in, *attr; } rows[] = {
    {"strides", "Conv", "x|w", "strides=1"}, {"stride0", "Conv", "x|w", "strides=0,1"}, {"pads", "Conv", "x|w", "pads=1,1,1"}, {"group", "Conv", "x|w", "dilations=-1,1"},
    {"axis", "Softmax", "x", "axis=99"}, {"perm", "Transpose", "x", "perm=0,0,1,2"}, {"kernel", "MaxPool", "x", "kernel_shape=9223372036854775807,1"},
    {"unknown", "Relu", "nobody", NULL}, {"arity", "Relu", "x|x", NULL}, {"rank", "Conv", "x|x3", NULL}, {"self", "Relu", "y", NULL}};
  size_t i = 0;
  while (i < sizeof rows / sizeof *rows && strcmp(rows[i].what, what)) i++;
  if (i == sizeof rows / sizeof *rows) { fprintf(stderr, "mkmodel: wrong %s?\n", what); exit(2); }
  float w[4 * 2 * 9] = {0};
  tensor(&g, "w", 1, 4, w4, w, sizeof w);
  tensor(&g, "x3", 1, 3, w4, w, 4 * 2 * 3 * 4);
  node(&g, rows[i].op, "the_node", rows[i].in, "y", rows[i].attr);
  value_info(&g, 11, "x", 1, 4, x4);
  value_info(&g, 12, "y", 1, 4, x4);
  text(&g, 2, "wrong");
  model(&g, "mkmodel", 13);
}

/* y = relu(x), z = x + b; x: [N, T, 3] of unknown N and T. */
static void sizes(void) {
  static const int64_t d[3] = {-'N', -'T', 3}, one[1] = {3};
  Bytes g = {0};
  node(&g, "Relu", "r", "x", "y", NULL);
  node(&g, "Add", "a", "x|b", "z", NULL);
  value_info(&g, 11, "x", 1, 3, d);
  value_info(&g, 11, "b", 1, 1, one);
  value_info(&g, 12, "y", 1, 3, d);
  value_info(&g, 12, "z", 1, 3, d);
  text(&g, 2, "sizes");
  model(&g, "mkmodel", 13);
}

/* Sizes of ALQ weights, in bits: signs, alphas, counts of three bits. */
static int64_t alq_signs, alq_alphas, alq_counts;

/* rows x groups x n weights in groups that are sums of signed alphas in float, `bits` of them in the mean; most: of one group. With
 * columns, [groups*n, rows] as MatMul takes them. */
static void alq_weights(Bytes *g, const char *name, int rank, const int64_t *dims, int rows, int groups, int n, double bits, int most, int columns) {
  float *w = calloc((size_t)rows * (size_t)groups * (size_t)n, sizeof *w);
  int terms = groups * n;
  if (!w) abort();
  for (int i = 0; i < rows * groups; i++) {
    float alpha[6], size = 0.05f * (1.5f + next());
    int count = 0, whole = (int)bits;
    for (double u = (next() + 1) / 2; count < most && count < whole + (u < bits - whole); count++) {
      alpha[count] = size;
      size *= 0.5f + 0.2f * next();
    }
    for (int r = 0; r < n; r++) {
      float v = 0;
      for (int k = 0; k < count; k++) v += next() < 0 ? -alpha[k] : alpha[k];
      int row = i / groups, term = i % groups * n + r;
      w[columns ? term * rows + row : row * terms + term] = v;
    }
    alq_signs += count * n;
    alq_alphas += 32 * count;
    alq_counts += 3;
  }
  tensor(g, name, 1, rank, dims, w, sizeof *w * (size_t)rows * (size_t)terms);
  free(w);
}

/* relu, then codes of 2 (clipped) or 8 bits. */
static void alq_codes(Bytes *g, const char *x, const char *y, int bits, char layer) {
  char r[] = "r?", q[] = "q?", c[] = "c?", s[] = "s?", io[40];
  r[1] = q[1] = c[1] = s[1] = layer;
  float scale = bits == 2 ? 0.5f : 0.02f;
  tensor(g, s, 1, 0, NULL, &scale, 4);
  node(g, "Relu", r, x, r, NULL);
  snprintf(io, sizeof io, "%s|%s|z", r, s);
  node(g, "QuantizeLinear", q, io, q, NULL);
  snprintf(io, sizeof io, "%s|lo|hi", q);
  if (bits == 2) node(g, "Clip", c, io, c, NULL);
  snprintf(io, sizeof io, "%s|%s|z", bits == 2 ? c : q, s);
  node(g, "DequantizeLinear", y, io, y, NULL);
}

static void bias(Bytes *g, const char *name, int n) {
  float b[500];
  for (int i = 0; i < n; i++) b[i] = 0.1f * next();
  tensor(g, name, 1, 1, (int64_t[]){n}, b, 4 * (size_t)n);
}

/* LeNet5, 20-50-500-10, with ALQ's groups: conv kernels of 25, halves of fc1's 800, fc2's 500; activations of `bits`, or 0: floats at the input,
 * then 8. The sizes go to standard error, in bytes. */
static void alq(int bits) {
  Bytes g = {0};
  float unit = 1 / 255.0f;
  unsigned char zero = 0, three = 3;
  tensor(&g, "z", 2, 0, NULL, &zero, 1);
  tensor(&g, "lo", 2, 0, NULL, &zero, 1);
  tensor(&g, "hi", 2, 0, NULL, &three, 1);
  tensor(&g, "unit", 1, 0, NULL, &unit, 4);
  alq_weights(&g, "w1", 4, (int64_t[]){20, 1, 5, 5}, 20, 1, 25, 3.05, 4, 0);
  alq_weights(&g, "w2", 4, (int64_t[]){50, 20, 5, 5}, 50, 20, 25, 0.52, 2, 0);
  alq_weights(&g, "w3", 2, (int64_t[]){800, 500}, 500, 2, 400, 0.32, 2, 1);
  alq_weights(&g, "w4", 2, (int64_t[]){500, 10}, 10, 1, 500, 4, 4, 1);
  bias(&g, "b1", 20);
  bias(&g, "b2", 50);
  bias(&g, "b3", 500);
  bias(&g, "b4", 10);
  if (bits) {
    node(&g, "QuantizeLinear", "q0", "x|unit|z", "q0", NULL);
    node(&g, "DequantizeLinear", "d0", "q0|unit|z", "d0", NULL);
  }
  node(&g, "Conv", "conv1", bits ? "d0|w1|b1" : "x|w1|b1", "a1", NULL);
  node(&g, "MaxPool", "pool1", "a1", "p1", "kernel_shape=2,2|strides=2,2");
  alq_codes(&g, "p1", "d1", bits ? bits : 8, '1');
  node(&g, "Conv", "conv2", "d1|w2|b2", "a2", NULL);
  node(&g, "MaxPool", "pool2", "a2", "p2", "kernel_shape=2,2|strides=2,2");
  alq_codes(&g, "p2", "d2", bits ? bits : 8, '2');
  node(&g, "Flatten", "flatten", "d2", "f", NULL);
  node(&g, "MatMul", "fc1", "f|w3", "m3", NULL);
  node(&g, "Add", "fc1_bias", "m3|b3", "a3", NULL);
  alq_codes(&g, "a3", "d3", bits ? bits : 8, '3');
  node(&g, "MatMul", "fc2", "d3|w4", "m4", NULL);
  node(&g, "Add", "fc2_bias", "m4|b4", "y", NULL);
  text(&g, 2, "alq");
  value_info(&g, 11, "x", 1, 4, (int64_t[]){1, 1, 28, 28});
  value_info(&g, 12, "y", 1, 2, (int64_t[]){1, 10});
  model(&g, "mkmodel", 13);
  fprintf(stderr, "signs %" PRId64 " alphas %" PRId64 " counts %" PRId64 "\n", (alq_signs + 7) / 8, alq_alphas / 8, (alq_counts + 7) / 8);
}

/* y = x . w, w annotated with a data type that its values 1, -1, 0.5, 1 break, or keep. */
static void annotated(const char *datatype) {
  Bytes g = {0}, a = {0}, e = {0};
  const float w[4] = {1, -1, 0.5f, 1};
  node(&g, "MatMul", "m", "x|w", "y", NULL);
  text(&g, 2, "annotated");
  tensor(&g, "w", 1, 2, (int64_t[]){2, 2}, w, sizeof w);
  value_info(&g, 11, "x", 1, 2, (int64_t[]){1, 2});
  value_info(&g, 12, "y", 1, 2, (int64_t[]){1, 2});
  text(&e, 1, "finn_datatype");
  text(&e, 2, datatype);
  text(&a, 1, "w");
  message(&a, 2, &e);
  message(&g, 14, &a);
  model(&g, "mkmodel", 13);
}

int main(int argc, char **argv) {
  const char *kind = argc > 1 ? argv[1] : "";
  if (!strcmp(kind, "tiny")) tiny(plain);
  else if (!strcmp(kind, "sizes")) sizes();
  else if (!strcmp(kind, "nasty")) tiny(nasty);
  else if (!strcmp(kind, "clash")) clash();
  else if (!strcmp(kind, "nested") && argc > 2) nested(atoi(argv[2]));
  else if (!strncmp(kind, "huge-", 5) && argc > 2) huge(kind, strtoll(argv[2], NULL, 10));
  else if (!strcmp(kind, "alq") && argc > 2) alq(atoi(argv[2]));
  else if (!strcmp(kind, "annotated") && argc > 2) annotated(argv[2]);
  else if (!strcmp(kind, "unsupported")) unsupported();
  else if (!strcmp(kind, "wrong") && argc > 2) wrong(argv[2]);
  else { fprintf(stderr, "usage: mkmodel tiny|nasty|clash|nested N|huge-input N|huge-constant N|huge-expand N|huge-resize N|alq BITS|annotated TYPE|unsupported|wrong WHAT\n"); return 2; }
  return ferror(stdout) ? 1 : 0;
}
