/* ONNX out and in again: what is read back evaluates to the same bits, for every operator, every element-wise row, random nets at
 * every stage, in every format. */
#include "frontend/frontend.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static Ctx *ctx;
static uint64_t state;

static void setup(void) { ctx = ctx_new(); state = 1; }
static void teardown(void) { ctx_free(ctx); }

static int64_t rng(int64_t n) {
  state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (int64_t)((state >> 33) % (uint64_t)n);
}

/* Values that are likely to show a difference: ends of ranges, signs, ties. */
static void noise(Tensor *t) {
  Elem e = t->t.e;
  static const double special[] = {0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e30, -1e30, INFINITY, -INFINITY, NAN};
  for (int64_t i = 0; i < t->n; i++) {
    int64_t pick = rng(8);
    if (elem_is_float(e)) tensor_set_f(t, i, pick == 0 ? special[rng(12)] : (double)(rng(1 << 20) - (1 << 19)) * ldexp(1, (int)rng(8) - 20));
    else if (elem_eq(e, BIPOLAR)) tensor_set_i(t, i, rng(2) ? 1 : -1);
    else if (e.kind == EK_SHIFT) tensor_set_i(t, i, rng(3) ? (rng(2) ? 1 : -1) * (INT64_C(1) << rng((1 << (e.bits - 1)) - 1)) : 0);
    else if (pick == 0) tensor_set_i(t, i, rng(2) ? elem_lo(e) : elem_hi(e));
    else if (e.bits > 31) tensor_set_i(t, i, (int64_t)((uint64_t)(rng(1 << 30) - (e.kind == EK_INT ? 1 << 29 : 0)) << rng(e.bits - 31)));
    else tensor_set_i(t, i, elem_lo(e) + rng(elem_hi(e) - elem_lo(e) + 1));
  }
}

/* Carried values of the same numbers: an export may widen types that ONNX lacks. */
static bool same_numbers(const Tensor *a, const Tensor *b) {
  if (elem_eq(a->t.e, b->t.e)) return tensor_eq(a, b);
  bool same = a->n == b->n && a->t.rank == b->t.rank && elem_is_code(a->t.e) && elem_is_code(b->t.e);
  for (int64_t i = 0; same && i < a->n; i++) same = tensor_i(a, i) == tensor_i(b, i);
  return same;
}

static void say(const Graph *g, const Graph *h, const char *what) {
  Str s = {.ctx = g->ctx};
  graph_print(&s, g);
  if (h) graph_print(&s, h);
  diag_print(g->ctx, stderr, false);
  fprintf(stderr, "%s:\n%s", what, s.p);
  str_free(&s);
}

/* Written, read and evaluated beside the graph on `times` inputs. The bytes are left in out where that is not NULL. */
static void round_trip(Graph *g, OnnxFormat format, int opset, int times) {
  Str bytes = {.ctx = ctx}, again = {.ctx = ctx};
  bool ok = graph_verify(ctx, g) && onnx_export(ctx, g, format, opset, &bytes) && onnx_export(ctx, g, format, opset, &again);
  if (!ok) say(g, NULL, "not written");
  ck_assert(ok);
  ck_assert(bytes.n == again.n && !memcmp(bytes.p, again.p, bytes.n));
  Graph *h = onnx_import(ctx, "again.onnx", bytes.p, bytes.n, &(ImportOptions){0});
  if (!h) say(g, NULL, "not read");
  ck_assert(h && h->n_args == g->n_args && h->n_outs == g->n_outs);
  for (int t = 0; t < times; t++) {
    Tensor *in[8], *to[8], *want[8], *got[8];
    for (int i = 0; i < g->n_args; i++) {
      ck_assert_str_eq(g->arg_names[i], h->arg_names[i]);
      in[i] = tensor_new(ctx, &g->args[i]->t);
      to[i] = tensor_new(ctx, &h->args[i]->t);
      noise(in[i]);
      ck_assert(in[i] && to[i] && in[i]->st == to[i]->st && in[i]->n == to[i]->n);
      memcpy(to[i]->data, in[i]->data, (size_t)in[i]->n * store_size(in[i]->st));
    }
    ok = graph_eval(ctx, g, in, want, NULL, NULL) && graph_eval(ctx, h, to, got, NULL, NULL);
    for (int i = 0; ok && i < g->n_outs; i++) ok = same_numbers(want[i], got[i]) && !strcmp(g->outs[i].name, h->outs[i].name);
    if (!ok) say(g, h, onnx_format_names[format]);
    ck_assert(ok);
    for (int i = 0; i < g->n_args; i++) { tensor_free(in[i]); tensor_free(to[i]); }
    for (int i = 0; i < g->n_outs; i++) { tensor_free(want[i]); tensor_free(got[i]); }
  }
  graph_free(h);
  str_free(&bytes);
  str_free(&again);
}

static Graph *parse(const char *text) {
  Graph *g = graph_parse(ctx, "t.ir", text, strlen(text));
  if (!g) diag_print(ctx, stderr, false);
  ck_assert_msg(g != NULL, "%s", text);
  return g;
}

/* Every row of scalar.def on every class of types that the verifier lets through. */

static const Elem elems[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_FLOAT, 16}, {EK_BF16, 16}, {EK_INT, 8}, {EK_UINT, 8}, {EK_INT, 16}, {EK_UINT, 16}, {EK_INT, 32},
  {EK_UINT, 32}, {EK_INT, 64}, {EK_UINT, 64}, {EK_BOOL, 1}, {EK_UINT, 1}, {EK_INT, 1}, {EK_UINT, 3}, {EK_INT, 5}, {EK_INT, 9}, {EK_UINT, 31}, {EK_INT, 31}, {EK_UINT, 33},
  {EK_INT, 63}, {EK_UINT, 63}, {EK_BASES, 1}, {EK_SHIFT, 3}};
enum { N_ELEMS = sizeof elems / sizeof elems[0] };

/* A node that breaks a rule is no test: verified in a context of its own messages. */
static bool legal(Graph *g) {
  int errors = ctx->n_errors;
  bool ok = graph_verify(ctx, g);
  ck_assert(ok == (ctx->n_errors == errors));
  return ok;
}

/* What a model says of itself goes along; what others say is not kept. */
START_TEST(facts) {
  static const char text[] = "popshift.graph 1\ngraph @g(%x: f32[2]) -> (%y: f32[2]) {\n  fact \"popshift.classes\" \"a\\nb \\xc3\\xa9\"\n  fact \"popshift.input\" \"{}\"\n"
                             "  fact \"popshift.other\" \"1\"\n  %0: f32[2] = map neg %x\n  return %0\n}\n";
  Graph *g = graph_parse(ctx, "t.ir", text, sizeof text - 1);
  Str bytes = {.ctx = ctx};
  ck_assert(g && g->n_facts == 3 && onnx_export(ctx, g, ONNX_QDQ, ONNX_WRITE_DEFAULT, &bytes));
  Graph *h = onnx_import(ctx, "again.onnx", bytes.p, bytes.n, NULL);
  ck_assert(h && h->n_facts == 2);
  ck_assert_str_eq(graph_fact_get(h, "popshift.classes"), "a\nb \xc3\xa9");
  ck_assert_str_eq(graph_fact_get(h, "popshift.input"), "{}");
  graph_free(h);
  ctx->limits.name = 3; /* a model that says too much: read without */
  h = onnx_import(ctx, "again.onnx", bytes.p, bytes.n, NULL);
  ck_assert(h && h->n_facts == 1);
  graph_free(h);
  graph_free(g);
  str_free(&bytes);
}
END_TEST

START_TEST(scalar_rows) {
  Scalar s = (Scalar)(_i + 1);
  int tried = 0;
  if (s == S_BITS) return; /* of Nest only */
  for (int e = 0; e < N_ELEMS; e++)
    for (int b = 0; b < N_ELEMS; b++) {
      int arity = scalar_info[s].arity;
      if (arity == 1 && s != S_CAST && b) break;
      Graph *g = graph_new(ctx, "g", NULL);
      Type t = type_make(elems[e], 1, (int64_t[]){40});
      if (s == S_SELECT) t.e = BOOL;
      Node *in[3] = {graph_arg(g, "x", &t)};
      if (s == S_SELECT) t.e = elems[e];
      if (arity > 1) {
        if (s != S_SELECT) t.e = elems[b];
        in[1] = graph_arg(g, "b", &t);
      }
      if (arity > 2) { t.e = elems[b]; in[2] = graph_arg(g, "c", &t); }
      for (int r = 0; r < (arity == 1 ? 1 : N_ELEMS); r++) {
        Elem y = scalar_info[s].result == 'B' ? BOOL : s == S_CAST ? elems[b] : arity == 1 ? elems[e] : elems[r];
        if (arity > 1 && scalar_info[s].result == 'B' && r) break;
        if (r % 5 != (e + b) % 5 && r != e && arity > 1 && scalar_info[s].result != 'B') continue; /* a fifth of the result types */
        g->n_outs = 0;
        graph_out(g, "y", node_map_as(g, s, y, arity, in));
        if (s == S_SELECT && r == e && b != e) continue; /* eval does not wrap c to the type of b */
        if (!legal(g)) continue;
        if (s == S_CAST && elem_is_float(elems[e]) && elem_is_code(y) && y.bits == 63) continue; /* refused: below */
        round_trip(g, ONNX_FUNCTIONS, 21, 1);
        tried++;
      }
      graph_free(g);
    }
  ck_assert_msg(tried > 0, "%s is tried on no type", scalar_info[s].name);
}
END_TEST

/* Structural operators: arguments, result, node. */
static const struct { const char *args, *y, *node; } nodes[] = {
  /* view: transposition, broadcast, slices both ways, pads, crops, steps, a divisor, two iterators in one index, a diagonal */
  {"%x: f32[2,3]", "f32[3,2]", "view %x [a b](b, a)"},
  {"%x: i5[3]", "i5[2,3,4]", "view %x [a b c](b)"},
  {"%x: f32[2,1,3]", "f32[2,4,3]", "view %x [a b c](a, 0, c)"},
  {"%x: u8[5,6]", "u8[2,3]", "view %x [a b](a*2+1, -b*2+5)"},
  {"%x: f32[4,5]", "f32[6,7]", "view %x [a b](a-1, b-1) fill=-0.5"},
  {"%x: i16[4,5]", "i16[3,7]", "view %x [a b](a+2, b-2) fill=-7"},
  {"%x: bool[4]", "bool[7]", "view %x [a](a-2)"},
  {"%x: f32[4]", "f32[9]", "view %x [a]((a+1)/2) fill=3"},
  {"%x: f32[3,6]", "f32[3,2,3]", "view %x [a b c](a, b*2+c)"},
  {"%x: f32[3,6]", "f32[4,2,5]", "view %x [a b c](a, b*3+c-1) fill=inf"},
  {"%x: f32[4,4]", "f32[4]", "view %x [a](a, a)"},
  {"%x: f32[4,4,2]", "f32[4,2]", "view %x [a b](a, a+1, b) fill=9"},
  {"%x: f32[4,5]", "f32[4]", "view %x [a](a, 3)"},
  {"%x: f32[4,5]", "f32[4]", "view %x [a](a, 7) fill=2"},
  {"%x: f32[4,5]", "f32[0,5]", "view %x [a b](a, b)"},
  {"%x: u64[9]", "u64[4,2]", "view %x [a b](a+b*4)"},
  {"%x: f32", "f32[2,2]", "view %x [a b]()"},
  /* reshape, concat, gather */
  {"%x: f32[2,6]", "f32[3,1,4]", "reshape %x"},
  {"%x: i9[2,6]", "i9[12]", "reshape %x"},
  {"%x: f32[2,0]", "f32[0,5]", "reshape %x"},
  {"%x: u3[2,2], %b: u3[2,3]", "u3[2,5]", "concat %x, %b axis=1"},
  {"%x: f32[3,4], %b: i32[2,2]", "f32[3,2,2]", "gather %x, %b axis=1"},
  {"%x: u4[3,4], %b: u2[2]", "u4[2,4]", "gather %x, %b axis=0"},
  {"%x: f32[3,4], %b: i64", "f32[4]", "gather %x, %b axis=0"},
  /* reduce: axes, kept ones, order, pools of every kind, no elements, every type */
  {"%x: f32[2,3,4]", "f32[2,4]", "reduce add %x [a b | c:3](a, c, b)"},
  {"%x: f32[2,3,4]", "f32[2,1,1]", "reduce add %x [a b c | d:3 e:4](a, d, e)"},
  {"%x: f32[2,3,4]", "f32[2]", "reduce add %x [a | e:4 d:3](a, d, e)"},
  {"%x: f32[2,3,4]", "f32[4,2]", "reduce mul %x [a b | d:3](b, d, a)"},
  {"%x: f32[2,3]", "f32[2,3]", "reduce add %x [a b](a, b)"},
  {"%x: f32[2,3]", "f32[2]", "reduce add %x [a | b:4](a, b)"},
  {"%x: f32[2,3]", "f32[2]", "reduce max %x [a | b:0](a, b)"},
  {"%x: i5[2,3]", "i5[2]", "reduce max %x [a | b:0](a, b)"},
  {"%x: f32[2]", "f32[2]", "reduce add %x [a | b:3](a)"},
  {"%x: f32[1,2,6,6]", "f32[1,2,3,3]", "reduce max %x [n c y x | i:2 j:2](n, c, y*2+i, x*2+j)"},
  {"%x: f64[1,2,6,7]", "f64[1,2,3,4]", "reduce max %x [n c y x | i:3 j:2](n, c, y*2+i-1, x*2+j-1)"},
  {"%x: u8[1,2,6]", "u8[1,2,2]", "reduce max %x [n c y | i:2](n, c, y*3+i*2)"},
  {"%x: u3[1,2,6,6]", "u3[1,2,3,3]", "reduce max %x [n c y x | i:3 j:3](n, c, y*2+i-1, x*2+j-1)"},
  {"%x: f32[1,2,6,6]", "f32[1,2,3,3]", "reduce min %x [n c y x | i:3 j:3](n, c, y*2+i-1, x*2+j-1)"},
  {"%x: f32[1,2,6,6]", "f32[1,2,3,3]", "reduce add %x [n c y x | i:3 j:3](n, c, y*2+i-1, x*2+j-1)"},
  {"%x: f16[2,5]", "f16[2]", "reduce add %x [a | b:5](a, b)"},
  {"%x: i8[2,5]", "i9[2]", "reduce add %x [a | b:5](a, b)"},
  {"%x: u8[2,5]", "i32[2]", "reduce mul %x [a | b:5](a, b)"},
  {"%x: u64[2,5]", "u64[2]", "reduce max %x [a | b:5](a, b)"},
  {"%x: i64[2,5]", "i64[2]", "reduce min %x [a | b:5](a, b)"},
  {"%x: bool[2,5]", "bool[2]", "reduce and %x [a | b:5](a, b)"},
  {"%x: bool[2,5]", "bool[2]", "reduce or %x [a | b:5](a, b)"},
  {"%x: u9[2,5,2]", "u9[2]", "reduce and %x [a | b:5 c:2](a, b, c)"},
  {"%x: i32[2,5]", "i32[2]", "reduce or %x [a | b:5](a, b)"},
  /* argreduce, cum */
  {"%x: f32[3,4]", "i64[3,1]", "argreduce max %x axis=1"},
  {"%x: u64[3,4]", "i32[1,4]", "argreduce min %x axis=0 flag=1"},
  {"%x: i5[3,4]", "u8[1,4]", "argreduce max %x axis=0"},
  {"%x: f32[3,4]", "f32[3,4]", "cum add %x axis=1"},
  {"%x: f16[3,4]", "f16[3,4]", "cum add %x axis=1 flag=2"},
  {"%x: i9[3,4]", "i9[3,4]", "cum add %x axis=0 flag=1"},
  {"%x: f32[3,4]", "f32[3,4]", "cum mul %x axis=1"},
  {"%x: f32[3,4]", "f32[3,4]", "cum mul %x axis=1 flag=3"},
  {"%x: i8[3,4]", "i8[3,4]", "cum mul %x axis=0 flag=1"},
  /* contract: matrix products, batches, transpositions, einsum, one term, three operands */
  {"%x: f32[3,4], %b: f32[4,5]", "f32[3,5]", "contract mul %x, %b [m n | k:4](m, k)(k, n)"},
  {"%x: f32[4], %b: f32[4]", "f32", "contract mul %x, %b [| k:4](k)(k)"},
  {"%x: f32[2,1,3,4], %b: f32[5,4,2]", "f32[2,5,3,2]", "contract mul %x, %b [a b m n | k:4](a, 0, m, k)(b, k, n)"},
  {"%x: f32[4,3], %b: f32[5,4]", "f32[3,5]", "contract mul %x, %b [m n | k:4](k, m)(n, k)"},
  {"%x: f16[3,4], %b: f16[4,5]", "f16[3,5]", "contract mul %x, %b [m n | k:4](m, k)(k, n)"},
  {"%x: f64[3,4,2], %b: f64[4,2,3]", "f64[3]", "contract mul %x, %b [m | k:4 l:2](m, k, l)(k, l, m)"},
  {"%x: f32[3,4,2], %b: f32[4,2]", "f32[3]", "contract mul %x, %b [m | l:2 k:4](m, k, l)(k, l)"},
  {"%x: f32[3,4], %b: f32[4,5], %c: f32[5]", "f32[3,5]", "contract mul %x, %b, %c [m n | k:4](m, k)(k, n)(n)"},
  {"%x: f32[3], %b: f32[5]", "f32[3,5]", "contract mul %x, %b [m n](m)(n)"},
  {"%x: f32[3], %b: f32[5]", "f32[3,2]", "contract mul %x, %b [m n | k:5](m)(k)"},
  {"%x: f32[4,4], %b: f32[4]", "f32", "contract mul %x, %b [| k:4](k, k)(k)"},
  {"%x: i8[3,4], %b: i8[4,5]", "i32[3,5]", "contract mul %x, %b [m n | k:4](m, k)(k, n)"},
  {"%x: u2[3,4], %b: bases<1>[4,5]", "i5[3,5]", "contract mul %x, %b [m n | k:4](m, k)(k, n)"},
  {"%x: u9[3,4], %b: shift<3>[5,4]", "i20[3,5]", "contract mul %x, %b [m n | k:4](m, k)(n, k)"},
  {"%x: i33[3,4], %b: i8[4,5]", "i64[3,5]", "contract mul %x, %b [m n | k:4](m, k)(k, n)"},
  {"%x: i8[3,4], %b: i8[4,5], %c: i8[4]", "i32[3,5]", "contract mul %x, %b, %c [m n | k:4](m, k)(k, n)(k)"},
  {"%x: u8[3,40], %b: u8[40,5]", "u8[3,5]", "contract mul %x, %b [m n | k:40](m, k)(k, n)"},
  /* convolutions: strides, dilations, pads, groups, other fills, transposed, codes */
  {"%x: f32[2,3,6,6], %b: f32[4,3,3,2]", "f32[2,4,3,5]", "contract mul %x, %b [n m y x | c:3 i:3 j:2](n, c, y*2+i-1, x+j)(m, c, i, j)"},
  {"%x: f32[1,4,7], %b: f32[6,2,2]", "f32[1,2,3,5]", "contract mul %x, %b [n g m y | c:2 i:2](n, g*2+c, y+i*2)(g*3+m, c, i)"},
  {"%x: f32[1,3,5,5], %b: f32[3,1,3,3]", "f32[1,3,1,5,5]", "contract mul %x, %b [n g m y x | c:1 i:3 j:3](n, g+c, y+i-1, x+j-1)(g+m, c, i, j)"},
  {"%x: f32[1,3,5], %b: f32[2,3,3]", "f32[1,2,5]", "contract mul %x, %b [n m y | c:3 i:3](n, c, y+i-1)(m, c, i) fill=0.25"},
  {"%x: u8[1,3,5,5], %b: i8[2,3,3,3]", "i32[1,2,5,5]", "contract mul %x, %b [n m y x | c:3 i:3 j:3](n, c, y+i-1, x+j-1)(m, c, i, j) fill=7"},
  {"%x: u2[1,4,5,5], %b: i2[4,2,3,3]", "i10[1,2,2,3,3]", "contract mul %x, %b [n g m y x | c:2 i:3 j:3](n, g*2+c, y+i, x+j)(g*2+m, c, i, j)"},
  {"%x: u9[1,3,5], %b: i4[2,3,3]", "i20[1,2,3]", "contract mul %x, %b [n m y | c:3 i:3](n, c, y+i)(m, c, i)"},
  {"%x: i20[1,3,5], %b: i14[2,3,3]", "i40[1,2,3]", "contract mul %x, %b [n m y | c:3 i:3](n, c, y+i)(m, c, i)"},
  {"%x: u8[1,5,5,3], %b: i8[2,3,3,3]", "i32[1,5,5,2]", "contract mul %x, %b [n y x m | i:3 j:3 c:3](n, y+i-1, x+j-1, c)(m, i, j, c)"},
  {"%x: f32[1,2,2,4,4], %b: f32[2,2,3,3,3]", "f32[1,2,3,9,9]", "contract mul %x, %b [n g m y x | c:2 i:3 j:3](n, g, c, (y-i)/2, (x-j)/2)(g, c, m, i, j)"},
  {"%x: f32[1,1,2,4], %b: f32[1,2,3,4]", "f32[1,1,3,8]", "contract mul %x, %b [n g m y | c:2 i:4](n, g, c, (y-i+1)/2)(g, c, m, i)"},
  /* popcounts of words */
  {"%x: u64[3,2], %b: u64[4,2]", "i32[3,4]", "contract and %x, %b [m n | k:2](m, k)(n, k)"},
  {"%x: u32[3,2], %b: u32[4,2]", "i32[3,4]", "contract xor %x, %b [m n | k:2](m, k)(n, k)"},
  {"%x: u64[3,2,2], %b: u64[4,2,2], %c: i8[2,2]", "i32[3,4]", "contract and %x, %b, %c [m n | p:2 q:2 k:2](m, p, k)(n, q, k)(p, q)"},
  {"%x: u32[1,3,2], %b: u32[4,2,2]", "i32[1,3,4]", "contract xor %x, %b [n y m | i:2 k:2](n, y+i-1, k)(m, i, k) fill=5"},
  {"%x: u9[3,2], %b: u9[2]", "i8[3]", "contract and %x, %b [m | k:2](m, k)(k)"},
  /* quant: all roundings; zero points of codes and floats; scales per channel; one bit; f64; odd ranges */
  {"%x: f32[4,30]", "i8[4,30]", "quant %x, %s round=even lo=-128 hi=127"},
  {"%x: f32[4,30]", "i3[4,30]", "quant %x, %s round=even lo=-3 hi=3"},
  {"%x: f32[4,30]", "u4[4,30]", "quant %x, %s round=ceil lo=0 hi=15"},
  {"%x: f32[4,30]", "u4[4,30]", "quant %x, %s round=floor lo=0 hi=14"},
  {"%x: f32[4,30]", "i32[4,30]", "quant %x, %s round=up lo=-2147483648 hi=2147483647"},
  {"%x: f32[4,30]", "i8[4,30]", "quant %x, %s round=down lo=-128 hi=127"},
  {"%x: f32[4,30]", "i8[4,30]", "quant %x, %s round=half_up lo=-128 hi=127"},
  {"%x: f32[4,30]", "i8[4,30]", "quant %x, %s round=half_down lo=-128 hi=127"},
  {"%x: f32[4,30]", "u8[4,30]", "quant %x, %s, %z round=even lo=0 hi=255"},
  {"%x: f32[4,30]", "u2[4,30]", "quant %x, %s, %h round=even lo=0 hi=3"},
  {"%x: f32[4,30]", "u8[4,30]", "quant %x, %sc, %z round=even lo=0 hi=255"},
  {"%x: f32[4,30]", "bases<1>[4,30]", "quant %x, %s round=even lo=-1 hi=1"},
  {"%x: f32[4,30]", "bases<1>[4,30]", "quant %x, %sc, %h round=even lo=-1 hi=1"},
  {"%x: f64[4,30]", "i16[4,30]", "quant %x, %sd round=even lo=-32768 hi=32767"},
  {"%x: f32[4,30]", "u16[4,30]", "quant %x, %sc round=even lo=0 hi=65535"},
  {"%x: f16[4,30]", "i8[4,30]", "quant %x, %s round=even lo=-128 hi=127"},
  {"%x: f32[30]", "i8[4,30]", "quant %x, %sc round=even lo=-128 hi=127"},
  {"%x: f32[4,30]", "i64[4,30]", "quant %x, %s round=even lo=-9223372036854775808 hi=9223372036854775807"},
  /* dequant */
  {"%x: i8[4,30]", "f32[4,30]", "dequant %x, %s"},
  {"%x: u3[4,30]", "f32[4,30]", "dequant %x, %sc"},
  {"%x: u8[4,30]", "f32[4,30]", "dequant %x, %s, %z"},
  {"%x: u8[4,30]", "f32[4,30]", "dequant %x, %sc, %z"},
  {"%x: bases<1>[4,30]", "f32[4,30]", "dequant %x, %sc"},
  {"%x: shift<3>[4,30]", "f32[4,30]", "dequant %x, %s"},
  {"%x: i32[4,30]", "f32[4,30]", "dequant %x, %s"},
  {"%x: i40[4,30]", "f32[4,30]", "dequant %x, %s"},
  {"%x: i20[4,30]", "f32[4,30]", "dequant %x, %sd"},
  {"%x: i8[4,30]", "f16[4,30]", "dequant %x, %s"},
  {"%x: i8[30]", "f32[4,30]", "dequant %x, %sc"},
  /* thresholds, requant, pack */
  {"%x: i9[2,3,4]", "u2[2,3,4]", "thresholds %x, %t3, %b0, %b1 axis=1"},
  {"%x: f32[2,3,4]", "i5[2,3,4]", "thresholds %x, %f3, %b3, %b3 axis=1"},
  {"%x: u64[2,3]", "u2[2,3]", "thresholds %x, %u1, %b0, %b1 axis=0"},
  {"%x: i9", "u2", "thresholds %x, %t1, %b0, %b1 axis=0"},
  {"%x: i20[2,3,4]", "i8[2,3,4]", "requant %x, %b3, %b3 axis=1 shift=3 lo=-100 hi=100"},
  {"%x: i20[2,3]", "u8[2,3]", "requant %x, %b1, %b0 axis=0 shift=0 lo=0 hi=255"},
  {"%x: i64[2,3]", "i8[2,3]", "requant %x, %b1, %b0 axis=0 shift=63 lo=-5 hi=5"},
  {"%x: u3[2,70]", "u64[2,3,2]", "pack %x axis=1"},
  {"%x: i5[33]", "u32[5,2]", "pack %x axis=0"},
  {"%x: bases<1>[2,3,64]", "u64[2,3,1,1]", "pack %x axis=2"},
  /* bases: codes, floats, packed planes; groups without planes, blocks */
  {"%x: u2[2,1,3,5]", "f32[2,1,4]", "bases %x, %bs, %ba, %bc, %s"},
  {"%x: f32[1,3,5]", "f32[1,4]", "bases %x, %bs, %ba, %bc, %sd"},
  {"%x: i8[2,2,3,5]", "f64[2,2,2]", "bases %x, %bs, %ba, %bd, %s"},
  {"%x: u32[2,1,3,2,1]", "f32[2,1,4]", "bases %x, %bs, %ba, %bc, %s, %bp kernel=bitserial"},
  {"%x: u64[2,1,3,1,1]", "f32[2,1,4]", "bases %x, %bs, %ba, %bc, %s, %bq kernel=bitserial"},
  /* fractional zero points; bn */
  {"%x: u2[4,30]", "f32[4,30]", "dequant %x, %s, %h"},
  {"%x: u2[4,30]", "f32[4,30]", "dequant %x, %sc, %h"},
  {"%x: u8[4,30]", "f64[4,30]", "dequant %x, %sd, %h"},
  {"%x: f32[2,3,4,5], %a: f32[3], %b: f32[3], %c: f32[3]", "f32[2,3,4,5]", "bn %x, %a, %b, %c, %v3 fill=1e-05"},
};
enum { N_NODES = sizeof nodes / sizeof nodes[0] };

static const char constants[] =
  "  %s: f32 = const 0.75\n  %sc: f32[4,1] = const [0.5, 0.1, 3, 1e-3]\n  %sd: f64 = const 0.3\n  %z: u8 = const 100\n  %h: f32 = const 1.5\n"
  "  %bs: bases<1>[4,5] = const [1, -1, 1, 1, -1, -1, -1, -1, 1, 1, 1, -1, 1, 1, -1, 1, 1, -1, 1, 1]\n  %ba: f32[4] = const [0.3, 0.1, 0.7, 1e-3]\n  %bc: u2[1,4,3] = const [1, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0]\n"
  "  %bd: u2[2,2,3] = const [1, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0]\n  %bp: i32[3] = const [1, -2, 0]\n  %bq: i32[2] = const [2, -1]\n"
  "  %t3: i9[3,3] = const [-3, 0, 4, 7, 2, 1, -200, 10, 200]\n  %f3: f32[3,2] = const [-0.5, 0.5, 0, 0, inf, nan]\n  %u1: u64[1,2] = const [5, 18446744073709551615]\n"
  "  %v3: f32[3] = const [0.5, 2, 1e-3]\n  %t1: i9[1,3] = const [-3, 0, 4]\n  %b0: u1 = const 0\n  %b1: u1 = const 1\n  %b3: i4[3] = const [-3, 2, 7]\n";

static Graph *node_graph(int i) {
  Str s = {.ctx = ctx};
  str_printf(&s, "popshift.graph 1\ngraph @g(%s) -> (%%y: %s) {\n%s  %%v: %s = %s\n  return %%v\n}\n", nodes[i].args, nodes[i].y, constants, nodes[i].y, nodes[i].node);
  Graph *g = parse(s.p);
  str_free(&s);
  return g;
}

START_TEST(structural_operators) { round_trip(node_graph(_i), ONNX_FUNCTIONS, 21, 3); }
END_TEST

/* A text for every operator. */
START_TEST(no_operator_is_forgotten) {
  bool there[OP_COUNT] = {[OP_ARG] = true, [OP_MAP] = true, [OP_BN_TRAIN] = true, [OP_BN_GRAD] = true, [OP_QUANT_GRAD] = true, [OP_LOCATE] = true, [OP_SCATTER] = true, [OP_STRAIGHT] = true}; /* training only */
  for (int i = 0; i < N_NODES; i++) {
    Graph *g = node_graph(i);
    for (int k = 0; k < g->n_nodes; k++) there[g->nodes[k]->op] = true;
    graph_free(g);
  }
  for (int op = 0; op < OP_COUNT; op++) ck_assert_msg(there[op], "%s", op_info[op].name);
}
END_TEST

/* Every opset that is written. */
START_TEST(opsets) {
  for (int i = 0; i < N_NODES; i++) {
    Graph *g = node_graph(i);
    Str bytes = {.ctx = ctx};
    int errors = ctx->n_errors;
    if (onnx_export(ctx, g, ONNX_FUNCTIONS, _i, &bytes)) round_trip(g, ONNX_FUNCTIONS, _i, 1);
    else ck_assert(_i < 18 && bytes.n == 0 && ctx->n_errors > errors); /* BitwiseAnd came with 18, allowzero with 14 */
    str_free(&bytes);
    graph_free(g);
  }
}
END_TEST

/* Weights and activations in all formats: codes come back as they were. */

static Graph *net(const char *text) {
  Str s = {.ctx = ctx};
  str_printf(&s, "popshift.graph 1\ngraph @g(%%x: f32[2,4]) -> (%%y: f32[2,3]) {\n%s  return %%y\n}\n", text);
  Graph *g = parse(s.p);
  str_free(&s);
  return g;
}

#define DENSE "  %y: f32[2,3] = contract mul %x, %w [m n | k:4](m, k)(n, k)\n"
static const struct { const char *text; } weights[] = {
  {"  %c: i2[3,4] = const [-1, 0, 1, 1, 0, 0, -1, 1, 1, 1, 0, 0]\n  %s: f32 = const 0.3\n  %w: f32[3,4] = dequant %c, %s\n" DENSE},
  {"  %c: u2[3,4] = const [0, 1, 2, 3, 3, 2, 1, 0, 1, 1, 2, 2]\n  %s: f32[3,1] = const [0.3, 1e-3, 7]\n  %w: f32[3,4] = dequant %c, %s\n" DENSE},
  {"  %c: u8[3,4] = const [0, 1, 255, 3, 3, 2, 1, 0, 1, 1, 2, 2]\n  %z: u8 = const 128\n  %s: f32 = const 0.3\n  %w: f32[3,4] = dequant %c, %s, %z\n" DENSE},
  {"  %c: bases<1>[3,4] = const [1, 1, -1, 1, 1, 1, 1, -1, -1, -1, 1, 1]\n  %s: f32 = const 0.3\n  %w: f32[3,4] = dequant %c, %s\n" DENSE},
  {"  %c: shift<3>[3,4] = const [1, 0, -4, 1, 2, 4, 1, -2, -1, -1, 1, 0]\n  %s: f32 = const 0.3\n  %w: f32[3,4] = dequant %c, %s\n" DENSE},
  /* UniQ: odd codes and half the step; and codes with a zero point of 1.5 */
  {"  %c: i3[3,4] = const [-3, -1, 1, 3, 3, 1, -1, -3, 1, 1, 1, 1]\n  %s: f32 = const 0.15\n  %w: f32[3,4] = dequant %c, %s\n" DENSE},
  {"  %c: u2[3,4] = const [0, 1, 2, 3, 3, 2, 1, 0, 1, 1, 2, 2]\n  %s: f32 = const 0.3\n  %z: f32 = const 1.5\n  %a: f32[3,4] = map cast %c\n"
   "  %b: f32[3,4] = map sub %a, %z\n  %w: f32[3,4] = map mul %b, %s\n" DENSE},
  {"  %c: u2[3,4] = const [0, 1, 2, 3, 3, 2, 1, 0, 1, 1, 2, 2]\n  %s: f32 = const 0.3\n  %z: f32 = const 0.3\n  %a: f32[3,4] = map cast %c\n"
   "  %b: f32[3,4] = map sub %a, %z\n  %w: f32[3,4] = map mul %b, %s\n" DENSE},
  /* weights in float behind a quantizer */
  {"  %f: f32[3,4] = const [-1, 0.2, 1, 0.6, 0, 0.4, -1, 1, 0.7, 1, 0, 0]\n  %s: f32 = const 0.3\n  %c: i3[3,4] = quant %f, %s round=even lo=-3 hi=3\n"
   "  %w: f32[3,4] = dequant %c, %s\n" DENSE},
};
enum { N_WEIGHTS = sizeof weights / sizeof weights[0] };

START_TEST(weight_formats) {
  for (int f = 0; f < ONNX_FORMATS; f++)
    for (int opset = 13; opset <= 28; opset += 4) round_trip(net(weights[_i].text), (OnnxFormat)f, opset, 2);
}
END_TEST

/* The first quant or const of codes and its numbers, in what is read back; qonnx: codes as quant gives them. */
static void codes_of(const char *text, OnnxFormat format, const int *want, const char *op, double zp) {
  Graph *g = net(text);
  Str bytes = {.ctx = ctx};
  ck_assert(onnx_export(ctx, g, format, 21, &bytes));
  Graph *h = onnx_import(ctx, "again.onnx", bytes.p, bytes.n, &(ImportOptions){0});
  ck_assert(h);
  const Tensor *codes = NULL;
  for (int i = 0; i < h->n_nodes && !codes; i++) {
    const Node *n = h->nodes[i];
    if (strcmp(op, op_info[n->op].name) || !elem_is_code(n->t.e) || n->t.rank != 2) continue;
    if (n->op == OP_CONST) codes = n->a.value;
    else {
      Tensor *in[3];
      for (int k = 0; k < n->n_in; k++) in[k] = (Tensor *)(uintptr_t)n->in[k]->a.value;
      codes = node_eval(ctx, n, in);
      ck_assert_msg(n->n_in < 3 ? zp == 0 : tensor_f(in[2], 0) == zp, "zero point");
    }
  }
  ck_assert_msg(codes != NULL && codes->n == 12, "no %s", op);
  for (int i = 0; i < 12; i++) ck_assert_int_eq(tensor_i(codes, i), want[i]);
  str_free(&bytes);
}

START_TEST(codes_come_back) {
  codes_of(weights[0].text, ONNX_QONNX, (int[]){-1, 0, 1, 1, 0, 0, -1, 1, 1, 1, 0, 0}, "quant", 0);
  codes_of(weights[2].text, ONNX_QONNX, (int[]){0, 1, 255, 3, 3, 2, 1, 0, 1, 1, 2, 2}, "quant", 128);
  codes_of(weights[3].text, ONNX_QONNX, (int[]){1, 1, -1, 1, 1, 1, 1, -1, -1, -1, 1, 1}, "quant", 0);
  codes_of(weights[5].text, ONNX_QONNX, (int[]){0, 1, 2, 3, 3, 2, 1, 0, 2, 2, 2, 2}, "quant", 1.5);
  codes_of(weights[6].text, ONNX_QONNX, (int[]){0, 1, 2, 3, 3, 2, 1, 0, 1, 1, 2, 2}, "quant", 1.5);
  codes_of(weights[5].text, ONNX_QDQ, (int[]){-3, -1, 1, 3, 3, 1, -1, -3, 1, 1, 1, 1}, "const", 0);
  codes_of(weights[6].text, ONNX_QDQ, (int[]){-3, -1, 1, 3, 3, 1, -1, -3, -1, -1, 1, 1}, "const", 0);
}
END_TEST

/* A trained network as it leaves the trainer: 8-bit input, UniQ weights of both spellings, batch norm, pool, 2-bit activations. */
static const char uniq[] =
  "popshift.graph 1\n"
  "graph @g(%x: f32[1,1,8,8]) -> (%y: f32[1,3]) {\n"
  "  %s0: f32 = const 0.0078125\n"
  "  %q0: i8[1,1,8,8] = quant %x, %s0 round=even lo=-128 hi=127\n"
  "  %d0: f32[1,1,8,8] = dequant %q0, %s0\n"
  "  %c: u2[2,1,2,2] = const [0, 1, 2, 3, 3, 2, 1, 0]\n"
  "  %h: f32 = const 1.5\n"
  "  %s: f32 = const 0.3\n"
  "  %a: f32[2,1,2,2] = map cast %c\n"
  "  %b: f32[2,1,2,2] = map sub %a, %h\n"
  "  %w: f32[2,1,2,2] = map mul %b, %s\n"
  "  %g: f32[2,1,1] = const [0.7, -1.3]\n"
  "  %v0: f32[1,2,7,7] = contract mul %d0, %w [n m y x | c:1 i:2 j:2](n, c, y+i, x+j)(m, c, i, j)\n"
  "  %v: f32[1,2,7,7] = map mul %v0, %g\n"
  "  %z: f32 = const 0\n"
  "  %r: f32[1,2,7,7] = map max %v, %z\n"
  "  %p: f32[1,2,3,3] = reduce max %r [n c y x | i:2 j:2](n, c, y*2+i, x*2+j)\n"
  "  %s1: f32 = const 0.2\n"
  "  %q1: u2[1,2,3,3] = quant %p, %s1 round=even lo=0 hi=3\n"
  "  %d1: f32[1,2,3,3] = dequant %q1, %s1\n"
  "  %f: f32[1,18] = reshape %d1\n"
  "  %k: i3[3,2] = const [-3, -1, 1, 3, 3, 1]\n"
  "  %k2: f32[3,2] = dequant %k, %s\n"
  "  %k3: f32[3,18] = view %k2 [m k](m, 0)\n"
  "  %y: f32[1,3] = contract mul %f, %k3 [n m | k:18](n, k)(m, k)\n"
  "  return %y\n"
  "}\n";

START_TEST(uniq_network) {
  for (int f = 0; f < ONNX_FORMATS; f++)
    for (int opset = 13; opset <= 28; opset++) round_trip(parse(uniq), (OnnxFormat)f, opset, 2);
}
END_TEST

/* Symbols stay symbols: a batch of unknown size through convolution, pool and flattening. */
START_TEST(symbols) {
  Graph *g = parse("popshift.graph 1\ngraph @g(%x: f32[N,2,4,4]) -> (%y: f32[N,8]) {\n  %w: f32[2,2,1,1] = const [1, 2, 3, 4]\n"
                   "  %a: f32[N,2,4,4] = contract mul %x, %w [n m y x | c:2 i:1 j:1](n, c, y+i, x+j)(m, c, i, j)\n"
                   "  %b: f32[N,2,2,2] = reduce max %a [n c y x | i:2 j:2](n, c, y*2+i, x*2+j)\n  %c: f32[N,8] = reshape %b\n  return %c\n}\n");
  for (int f = 0; f < ONNX_FORMATS; f++) {
    Str bytes = {.ctx = ctx};
    ck_assert(onnx_export(ctx, g, (OnnxFormat)f, 21, &bytes));
    Graph *h = onnx_import(ctx, "again.onnx", bytes.p, bytes.n, &(ImportOptions){0});
    ck_assert(h && h->n_syms == 1 && !strcmp(h->syms[0], "N") && h->args[0]->t.d[0].sym == 1 && h->outs[0].v->t.d[0].sym == 1);
    str_free(&bytes);
  }
}
END_TEST

/* Ends keep their names and their narrow types; an input may be an output, a value may be two. */
START_TEST(ends) {
  Graph *g = parse("popshift.graph 1\ngraph @g(%x: u4[3], %b: i4[3]) -> (%y: u4[3], %b: i4[3], %z: u4[3], %k: f32) {\n  %v: u4[3] = map max %x, %x\n  %c: f32 = const 2\n"
                   "  return %v, %b, %v, %c\n}\n");
  round_trip(g, ONNX_FUNCTIONS, 21, 2);
  round_trip(g, ONNX_FUNCTIONS, 15, 2);
  Str bytes = {.ctx = ctx};
  ck_assert(onnx_export(ctx, g, ONNX_FUNCTIONS, 21, &bytes));
  Graph *h = onnx_import(ctx, "again.onnx", bytes.p, bytes.n, &(ImportOptions){0});
  ck_assert(h && elem_eq(h->args[0]->t.e, UINTK(4)) && elem_eq(h->outs[0].v->t.e, UINTK(4)));
  str_free(&bytes);
}
END_TEST

/* A window of i64 whose padding is the least of all: ONNX's Pad is read for numbers up to 2^53 only. */
START_TEST(wide_padding_is_refused) {
  Graph *g = parse("popshift.graph 1\ngraph @g(%x: i64[2,5]) -> (%y: i64[2]) {\n  %v: i64[2] = reduce min %x [a | b:7](a, b-1)\n  return %v\n}\n");
  Str bytes = {.ctx = ctx};
  ck_assert(!onnx_export(ctx, g, ONNX_FUNCTIONS, 21, &bytes) && bytes.n == 0);
}
END_TEST

/* Everything that cannot be said is told at once, and nothing is written. */
START_TEST(all_errors_at_once) {
  Graph *g = parse("popshift.graph 1\ngraph @g(%x: i9[3]) -> (%y: u2[3], %z: i8[3]) {\n  %t: i9[1,1] = const [4]\n  %o: u1 = const 1\n"
                   "  %y: u2[3] = thresholds %x, %t, %o, %o axis=0   ; node 4 \"act\" (Quant)\n  %z: i8[3] = requant %x, %o, %o axis=0 shift=1 lo=0 hi=9\n  return %y, %z\n}\n");
  for (int f = 0; f < ONNX_FUNCTIONS; f++) {
    Str bytes = {.ctx = ctx};
    int errors = ctx->n_errors;
    ck_assert(!onnx_export(ctx, g, (OnnxFormat)f, 21, &bytes));
    ck_assert_int_eq(ctx->n_errors, errors + 2);
    ck_assert(bytes.n == 0);
  }
  const Diag *d = ctx->diags;
  ck_assert(d->code == E0302 && !strcmp(d->loc.name, "act") && strstr(d->text, "thresholds"));
  ck_assert(!strcmp(d->next->loc.op, "requant"));
  ck_assert(!onnx_export(ctx, g, ONNX_QDQ, 12, &(Str){.ctx = ctx}));
}
END_TEST

/* Random nets: floats with quantizers, and every stage of the pipeline. */

static Node *floats(Graph *g, int rank, const int64_t *d) {
  Type t = type_make(F32, rank, d);
  Tensor *v = tensor_new(ctx, &t);
  for (int64_t i = 0; i < v->n; i++) tensor_set_f(v, i, (double)(rng(2000) - 1000) / 500);
  return node_const(g, v);
}

static Node *fake_quant(Graph *g, Node *x) {
  static const struct { Elem e; int lo, hi; } ranges[] = {{{EK_UINT, 2}, 0, 3}, {{EK_INT, 3}, -3, 3}, {{EK_INT, 8}, -128, 127}, {{EK_UINT, 4}, 0, 15}, {{EK_BASES, 1}, -1, 1}};
  int k = (int)rng(5);
  Node *s = node_const_f(g, F32, rng(2) ? 0.25 : 0.1 + (double)rng(100) / 100);
  Node *q = node_quant(g, x, s, NULL, ranges[k].e, ranges[k].lo, ranges[k].hi, (Round)(rng(2) ? rng(RND_COUNT) : 0));
  return node_dequant(g, q, s, NULL, F32);
}

static Graph *random_net(void) {
  Graph *g = graph_new(ctx, "net", NULL);
  Type t = type_make(F32, 4, (int64_t[]){1, 2, 5, 6});
  Node *x = fake_quant(g, graph_arg(g, "x", &t));
  for (int64_t n = 1 + rng(4); n > 0; n--) {
    int64_t c = x->t.d[1].n, groups = rng(3) ? 1 : c, m = groups * (1 + rng(2)), k = 1 + rng(3), p = rng(k);
    if (x->t.rank == 2) {
      x = node_matmul(g, x, fake_quant(g, floats(g, 2, (int64_t[]){c, m})), F32);
    } else if (rng(3)) {
      int64_t out[2] = {x->t.d[2].n + 2 * p - k + 1, x->t.d[3].n + 2 * p - k + 1};
      if (out[0] < 1 || out[1] < 1) continue;
      x = node_conv(g, x, fake_quant(g, floats(g, 4, (int64_t[]){m, c / groups, k, k})), (int)groups, (int64_t[]){1, 1}, (int64_t[]){1, 1}, (int64_t[]){p, p}, out, 0, F32);
      x = node_map2(g, S_ADD, node_map2(g, S_MUL, x, floats(g, 3, (int64_t[]){m, 1, 1})), floats(g, 3, (int64_t[]){m, 1, 1}));
    } else {
      x = node_reshape(g, x, 2, (Dim[]){x->t.d[0], dim_c(c * x->t.d[2].n * x->t.d[3].n)});
    }
    if (rng(2)) x = node_map2(g, S_MAX, x, node_const_f(g, F32, 0));
    if (rng(3)) x = fake_quant(g, x);
  }
  graph_out(g, "y", x);
  return g;
}

START_TEST(random_nets) {
  static const PassId stages[] = {PASS_canon, PASS_recognize, PASS_sink, PASS_thresholds, PASS_widths, PASS_fuse};
  state = (uint64_t)_i * 77 + 5;
  State s = {.graph = random_net()};
  for (int f = 0; f < ONNX_FORMATS; f++) round_trip(s.graph, (OnnxFormat)f, 21, 2);
  for (size_t k = 0; k < sizeof stages / sizeof stages[0]; k++) {
    PassOptions o = {.target = target_find(_i % 2 ? "c99" : "x86-64-v3")};
    ck_assert(passes_standard(ctx, &s, stages[k], &o));
    round_trip(s.graph, ONNX_FUNCTIONS, 21, 2);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("export");
  TCase *c = tcase_create("export");
  tcase_set_timeout(c, 300);
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, facts);
  tcase_add_loop_test(c, scalar_rows, 0, SCALAR_COUNT - 1);
  tcase_add_loop_test(c, structural_operators, 0, N_NODES);
  tcase_add_test(c, no_operator_is_forgotten);
  tcase_add_loop_test(c, opsets, ONNX_WRITE_OLDEST, ONNX_WRITE_NEWEST + 1);
  tcase_add_loop_test(c, weight_formats, 0, N_WEIGHTS);
  tcase_add_test(c, codes_come_back);
  tcase_add_test(c, uniq_network);
  tcase_add_test(c, symbols);
  tcase_add_test(c, ends);
  tcase_add_test(c, wide_padding_is_refused);
  tcase_add_test(c, all_errors_at_once);
  tcase_add_loop_test(c, random_nets, 0, 60);
  suite_add_tcase(suite, c);
  return suite_run(suite);
}
