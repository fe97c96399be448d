/* graph_eval on small graphs: every operator against its equation in ops.def, spelled out element by element. */
#include "ir/graph.h"
#include "tests/unit/holds.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static Ctx *ctx;
static Graph *g;
static uint64_t rng_state = 1;

static void setup(void) { ctx = ctx_new(); g = graph_new(ctx, "g", NULL); }
static void teardown(void) { graph_free(g); ctx_free(ctx); }

static int64_t rng(int64_t n) {
  rng_state = rng_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (int64_t)((rng_state >> 33) % (uint64_t)n);
}

static void set(Tensor *t, int64_t i, double v) {
  if (elem_is_float(t->t.e)) tensor_set_f(t, i, v);
  else tensor_set_i(t, i, (int64_t)v);
}

/* Random numbers that fit the type; floats with many bits, so that the order of a sum shows. */
static Tensor *noise(Elem e, int rank, const int64_t *dims) {
  Type type = type_make(e, rank, dims);
  Tensor *t = tensor_new(ctx, &type);
  for (int64_t i = 0; i < t->n; i++) {
    if (elem_is_float(e)) tensor_set_f(t, i, (double)(rng(1 << 24) - (1 << 23)) * ldexp(1, (int)rng(12) - 26));
    else if (elem_eq(e, BIPOLAR)) tensor_set_i(t, i, rng(2) ? 1 : -1);
    else if (e.bits > 31) tensor_set_i(t, i, (rng(1 << 30) << (e.bits - 31)) ^ rng(1 << 30));
    else tensor_set_i(t, i, elem_lo(e) + rng(elem_hi(e) - elem_lo(e) + 1));
  }
  return t;
}
static Node *random_const(Elem e, int rank, const int64_t *dims) { return node_const(g, noise(e, rank, dims)); }
#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

static Node *list(Elem e, int n, const double *v) {
  Type type = type_make(e, 1, (int64_t[]){n});
  Tensor *t = tensor_new(ctx, &type);
  for (int i = 0; i < n; i++) set(t, i, v[i]);
  return node_const(g, t);
}
#define LIST(e, ...) list(e, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]){__VA_ARGS__})

/* The node's value, through a whole graph. */
static Tensor *value(Node *n) {
  Tensor *out = NULL;
  g->n_outs = 0;
  graph_out(g, "y", n);
  bool ok = graph_verify(ctx, g) && graph_eval(ctx, g, NULL, &out, NULL, NULL);
  if (!ok) diag_print(ctx, stderr, false);
  ck_assert(ok);
  ck_assert(type_eq(&out->t, &n->t));
  return out;
}

static void expect(Node *n, int count, const double *want) {
  Tensor *t = value(n);
  ck_assert_int_eq(t->n, count);
  for (int i = 0; i < count; i++) {
    double got = tensor_f(t, i);
    holds_msg((isnan(got) && isnan(want[i])) || (got == want[i] && signbit(got) == signbit(want[i])), "[%d] is %g, not %g", i, got, want[i]);
  }
  tensor_free(t);
}
#define EXPECT(n, ...) expect(n, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]){__VA_ARGS__})

/* ops.def's equations, naively */

static bool next(int64_t *it, const int64_t *ext, int from, int to) {
  for (int i = to - 1; i >= from; i--) {
    if (++it[i] < ext[i]) return true;
    it[i] = 0;
  }
  return false;
}

/* Offset of the element, or -1 outside. */
static int64_t locate(const Type *t, const Affine *acc, const int64_t *it, int n) {
  int64_t off = 0;
  for (int d = 0; d < t->rank; d++) {
    int64_t v = acc[d].base;
    for (int i = 0; i < n; i++) v += acc[d].coef[i] * it[i];
    if (v % acc[d].div || v / acc[d].div < 0 || v / acc[d].div >= t->d[d].n) return -1;
    off = off * t->d[d].n + v / acc[d].div;
  }
  return off;
}

static double fold(Scalar s, double a, double b) {
  switch (s) {
  case S_ADD: return a + b;
  case S_MUL: return a * b;
  case S_MAX: return a > b || isnan(a) ? a : b;
  case S_MIN: return a < b || isnan(a) ? a : b;
  case S_AND: return (double)((int64_t)a & (int64_t)b);
  default: return (double)((int64_t)a | (int64_t)b);
  }
}

/* One term of a contraction of numbers, as a float of the given width or an exact integer. */
static double term(const Node *n, const double *v) {
  bool f32 = elem_is_float(n->t.e) && n->t.e.bits < 64;
  double p = v[0] * v[1];
  if (n->a.scalar == S_AND) p = __builtin_popcountll((uint64_t)v[0] & (uint64_t)v[1]);
  if (n->a.scalar == S_XOR) p = __builtin_popcountll((uint64_t)v[0] ^ (uint64_t)v[1]);
  if (f32) p = (float)p;
  if (n->n_in < 3) return p;
  return f32 ? (double)((float)p * (float)v[2]) : p * v[2];
}

static double naive_sum(const Node *n, const int64_t *ext, int total, int64_t *it) {
  int n_out = n->a.iters->n_out;
  bool f32 = elem_is_float(n->t.e) && n->t.e.bits < 64, reduce = n->op == OP_REDUCE;
  Scalar s = n->a.scalar;
  double acc = !reduce || s == S_ADD || s == S_OR ? 0 : s == S_MUL ? 1 : s == S_AND ? -1 : s == S_MAX ? -INFINITY : INFINITY;
  for (int i = n_out; i < total; i++) if (ext[i] == 0) return acc;
  do {
    double v[3] = {0};
    bool outside = false;
    for (int k = 0; k < n->n_in; k++) {
      int64_t at = locate(&n->in[k]->t, n->a.iters->acc[k], it, total);
      outside |= at < 0;
      holds(at >= 0 || k == 0);
      v[k] = at < 0 ? n->a.fill : tensor_f(n->in[k]->a.value, at);
    }
    if (reduce && outside) continue;
    acc = reduce ? fold(s, acc, v[0]) : acc + term(n, v);
    if (f32) acc = (float)acc;
  } while (next(it, ext, n_out, total));
  return acc;
}

/* Compares view, reduce, contract of constants with the equation; codes small enough for exact doubles. */
static void check_affine(Node *n) {
  Tensor *t = value(n);
  int64_t ext[MAX_ITERS], it[MAX_ITERS] = {0}, i = 0;
  int total = iters_extents(n, ext), n_out = n->a.iters->n_out;
  if (t->n) do {
    double want, got = tensor_f(t, i++);
    if (n->op == OP_VIEW) {
      int64_t at = locate(&n->in[0]->t, n->a.iters->acc[0], it, total);
      want = at < 0 ? n->a.fill : tensor_f(n->in[0]->a.value, at);
    } else {
      want = naive_sum(n, ext, total, it);
    }
    if (elem_is_code(t->t.e)) {
      if (isinf(want)) want = (double)(want < 0 ? elem_lo(t->t.e) : elem_hi(t->t.e));
      int64_t w = (int64_t)want;
      want = (double)scalar_eval(S_CAST, I64, t->t.e, (Val[]){{.i = w}}).i;
    } else if (t->t.e.bits == 16) {
      want = round_f16((float)want);
    }
    holds_msg(got == want && signbit(got) == signbit(want), "element %lld is %a, not %a", (long long)i - 1, got, want);
  } while (next(it, ext, 0, n_out));
  holds(i == t->n);
  tensor_free(t);
}

/* A random access of n_iters iterators to an operand; inside: b and c of a contraction, never outside. */
static Node *random_operand(Elem e, const int64_t *ext, int n_iters, bool inside, Affine *acc) {
  int64_t dims[3];
  int rank = 1 + (int)rng(3);
  for (int d = 0; d < rank; d++) {
    int64_t lo = 0, hi = 0;
    acc[d] = (Affine){.div = 1};
    for (int i = 0; i < n_iters; i++) {
      int64_t c = rng(3) ? 0 : rng(5) - 2, far = c * (ext[i] > 0 ? ext[i] - 1 : 0);
      acc[d].coef[i] = c;
      if (far < 0) lo += far;
      else hi += far;
    }
    if (inside) {
      acc[d].base = -lo + rng(2);
      dims[d] = hi + acc[d].base + 1 + rng(2);
    } else {
      acc[d].base = rng(7) - 3 - (rng(2) ? lo : 0);
      acc[d].div = rng(3) ? 1 : 1 + rng(4);
      dims[d] = 1 + rng((hi - lo) / acc[d].div + 3);
    }
  }
  return random_const(e, rank, dims);
}

START_TEST(random_accesses) {
  static const Scalar folds[] = {S_ADD, S_MUL, S_MAX, S_MIN, S_AND, S_OR};
  static const Elem elems[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_FLOAT, 16}, {EK_INT, 4}, {EK_UINT, 8}, {EK_INT, 8}, {EK_UINT, 16}};
  rng_state = (uint64_t)_i + 1;
  for (int round = 0; round < 60; round++) {
    int64_t ext[MAX_ITERS];
    int n_out = (int)rng(4), n_red = (int)rng(4), kind = (int)rng(4), n_iters = n_out + (kind == 0 ? 0 : n_red);
    Elem e = elems[rng(7)], result = elem_is_float(e) ? e : rng(2) ? I32 : I64;
    Affine acc[3][MAX_RANK];
    Iters it = {.n_out = (uint8_t)n_out, .n_red = (uint8_t)(kind == 0 ? 0 : n_red), .acc = {acc[0], acc[1], acc[2]}};
    for (int i = 0; i < n_iters; i++) ext[i] = rng(20) ? 1 + rng(rng(8) ? 6 : 300) % (i ? 9 : 400) : rng(2);
    for (int i = 0; i < it.n_red; i++) it.red[i] = dim_c(ext[n_out + i]);
    if (kind == 3) e = UINTK(rng(2) ? 32 : 16);
    Node *in[3] = {random_operand(e, ext, n_iters, false, acc[0])};
    double fill = rng(2) ? 0 : 1 + (double)rng(3);
    if (kind == 0) {
      Type t = type_make(e, n_out, ext);
      check_affine(node_view(g, in[0], &t, acc[0], fill));
    } else if (kind == 1) {
      Scalar s = folds[rng(elem_is_float(e) ? 4 : 6)];
      if (s == S_MUL && elem_is_code(e)) s = S_ADD; /* products pass what doubles hold */
      bool bits = s == S_AND || s == S_OR;
      Type t = type_make(s == S_ADD ? result : e, n_out, ext);
      if (bits && e.kind != EK_UINT && e.kind != EK_INT) continue;
      check_affine(node_reduce(g, s, in[0], &t, &it));
    } else {
      int n_in = 2 + (int)rng(2);
      Scalar s = kind == 2 ? S_MUL : rng(2) ? S_AND : S_XOR;
      if (kind == 3) result = I32;
      Type t = type_make(result, n_out, ext);
      for (int k = 1; k < n_in; k++) in[k] = random_operand(k == 2 && elem_is_code(e) ? I8 : e, ext, n_iters, true, acc[k]);
      check_affine(node_contract(g, s, &t, n_in, in, &it, fill));
    }
  }
}
END_TEST

/* Two divisors of one iterator: x[i/2, i/3] is inside for every sixth i only. */
START_TEST(two_divisors) {
  Affine a[2] = {affine_iter(0, 1, 0), affine_iter(0, 1, 0)}, b[1] = {affine_iter(0, 1, 0)};
  Node *x = random_const(F32, DIMS(20, 13)), *w = random_const(F32, DIMS(40)), *in[2] = {x, w};
  Type t = type_make(F32, DIMS(40)), one = type_scalar(F32);
  a[0].div = 2;
  a[1].div = 3;
  Iters reduce = {.n_out = 1, .acc = {a, b}}, sum = {.n_red = 1, .red = {dim_c(40)}, .acc = {a, b}};
  check_affine(node_view(g, x, &t, a, 9));
  check_affine(node_reduce(g, S_MAX, x, &t, &reduce));
  check_affine(node_reduce(g, S_ADD, x, &one, &sum));
  check_affine(node_contract(g, S_MUL, &t, 2, in, &reduce, 3));
  check_affine(node_contract(g, S_MUL, &one, 2, in, &sum, 3));
  check_affine(node_contract(g, S_MUL, &one, 2, in, &sum, 0));
}
END_TEST

/* Contractions of y[m, n] whose outputs along m read the same of x: more of them than are summed side by side, with the sum or n innermost. */
START_TEST(outputs_side_by_side) {
  static const Elem elems[] = {{EK_FLOAT, 32}, {EK_FLOAT, 64}, {EK_INT, 8}, {EK_INT, 16}};
  static const int64_t sizes[][3] = {{64, 3, 100}, {65, 3, 100}, {130, 3, 100}, {130, 300, 5}, {193, 40, 7}, {2, 300, 9}}; /* m, n, k */
  static const Affine row = {.coef = {[1] = 1}, .div = 1}, sum = {.coef = {[2] = 1}, .div = 1}, out = {.coef = {[0] = 1}, .div = 1};
  const int64_t *d = sizes[_i / 6];
  int kind = _i % 6; /* four types of numbers, then words by and, xor */
  Elem e = kind < 4 ? elems[kind] : UINTK(32), result = kind < 2 ? e : kind == 3 ? I64 : I32;
  rng_state = (uint64_t)_i + 1;
  Affine x[2] = {row, sum}, w[2] = {out, sum};
  Iters it = {.n_out = 2, .n_red = 1, .red = {dim_c(d[2])}, .acc = {x, w, w}};
  Node *in[3] = {random_const(e, DIMS(d[1], d[2])), random_const(e, DIMS(d[0], d[2])), random_const(elem_is_float(e) ? e : I8, DIMS(d[0], d[2]))};
  Type t = type_make(result, DIMS(d[0], d[1]));
  for (int n_in = 2; n_in < 4; n_in++) check_affine(node_contract(g, kind < 4 ? S_MUL : kind == 4 ? S_AND : S_XOR, &t, n_in, in, &it, 0));
  x[1].base = -2; /* the first terms lie outside, and count as 3 */
  check_affine(node_contract(g, kind < 4 ? S_MUL : S_XOR, &t, 2, in, &it, 3));
}
END_TEST

/* y[n, m, oy, ox] of x[n, c, h, w], one loop per letter. */
static double conv_at(const Tensor *x, const Tensor *w, int groups, int64_t n, int64_t m, int64_t oy, int64_t ox, const int64_t *stride,
                      const int64_t *dilation, const int64_t *pad, bool is_float) {
  int64_t per = w->t.d[0].n / groups, cg = w->t.d[1].n, h = x->t.d[2].n, wd = x->t.d[3].n, sum = 0;
  float fsum = 0;
  for (int64_t c = 0; c < cg; c++)
    for (int64_t i = 0; i < w->t.d[2].n; i++)
      for (int64_t j = 0; j < w->t.d[3].n; j++) {
        int64_t y = oy * stride[0] + i * dilation[0] - pad[0], z = ox * stride[1] + j * dilation[1] - pad[1];
        if (y < 0 || y >= h || z < 0 || z >= wd) continue;
        int64_t a = ((n * x->t.d[1].n + m / per * cg + c) * h + y) * wd + z, b = ((m * cg + c) * w->t.d[2].n + i) * w->t.d[3].n + j;
        if (is_float) {
          volatile float product = (float)tensor_f(x, a) * (float)tensor_f(w, b);
          fsum += product;
        } else {
          sum += tensor_i(x, a) * tensor_i(w, b);
        }
      }
  return is_float ? fsum : (double)sum;
}

START_TEST(convolutions) {
  static const struct { int64_t groups, c, m, h, w, kh, kw, stride[2], dilation[2], pad[2]; } cases[] = {
    {1, 3, 4, 9, 11, 3, 3, {1, 1}, {1, 1}, {1, 1}}, {1, 3, 5, 9, 11, 3, 2, {2, 3}, {1, 1}, {1, 0}},
    {1, 2, 3, 12, 9, 3, 3, {1, 2}, {2, 3}, {2, 3}}, {4, 8, 12, 7, 7, 3, 3, {2, 2}, {1, 1}, {1, 1}},
    {6, 6, 6, 8, 8, 3, 3, {1, 1}, {1, 1}, {1, 1}},  {1, 16, 40, 1, 1, 1, 1, {1, 1}, {1, 1}, {0, 0}},
    {1, 2, 2, 3, 3, 5, 5, {1, 1}, {1, 1}, {4, 4}},
  };
  for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++)
    for (int f = 0; f < 2; f++) {
      int64_t out[2], kernel[2] = {cases[k].kh, cases[k].kw}, in[2] = {cases[k].h, cases[k].w}, c = cases[k].c, m = cases[k].m;
      for (int i = 0; i < 2; i++)
        out[i] = (in[i] + 2 * cases[k].pad[i] - (kernel[i] - 1) * cases[k].dilation[i] - 1) / cases[k].stride[i] + 1;
      Node *x = random_const(f ? F32 : U8, DIMS(2, c, in[0], in[1])), *w = random_const(f ? F32 : I8, DIMS(m, c / cases[k].groups, kernel[0], kernel[1]));
      Tensor *y = value(node_conv(g, x, w, (int)cases[k].groups, cases[k].stride, cases[k].dilation, cases[k].pad, out, 0, f ? F32 : I32));
      for (int64_t i = 0; i < y->n; i++) {
        double want = conv_at(x->a.value, w->a.value, (int)cases[k].groups, i / (m * out[0] * out[1]), i / (out[0] * out[1]) % m,
                              i / out[1] % out[0], i % out[1], cases[k].stride, cases[k].dilation, cases[k].pad, f);
        holds_msg(tensor_f(y, i) == want, "case %d element %lld: %a, not %a", (int)k, (long long)i, tensor_f(y, i), want);
      }
      tensor_free(y);
    }
}
END_TEST

/* ConvTranspose: y[o] = sum over c, i of x[c, (o + pad - i) / stride] w[c, i], against scattering. */
START_TEST(transposed_convolution) {
  enum { C = 3, N = 5, K = 4, STRIDE = 2, PAD = 1, OUT = (N - 1) * STRIDE + K - 2 * PAD };
  Node *x = random_const(I8, DIMS(C, N)), *w = random_const(I8, DIMS(C, K));
  Affine ax[2] = {affine_iter(1, 1, 0), affine_iter(0, 1, PAD)}, aw[2] = {affine_iter(1, 1, 0), affine_iter(2, 1, 0)};
  ax[1].coef[2] = -1;
  ax[1].div = STRIDE;
  Iters it = {.n_out = 1, .n_red = 2, .red = {dim_c(C), dim_c(K)}, .acc = {ax, aw}};
  Type t = type_make(I32, DIMS(OUT));
  double want[OUT] = {0};
  for (int c = 0; c < C; c++)
    for (int i = 0; i < N; i++)
      for (int k = 0; k < K; k++) {
        int o = i * STRIDE + k - PAD;
        if (o >= 0 && o < OUT) want[o] += (double)(tensor_i(x->a.value, c * N + i) * tensor_i(w->a.value, c * K + k));
      }
  expect(node_contract(g, S_MUL, &t, 2, (Node *[]){x, w}, &it, 0), OUT, want);
}
END_TEST

START_TEST(matrix_products) {
  for (int round = 0; round < 12; round++) {
    int64_t b = 1 + rng(3), m = 1 + rng(20), k = 1 + rng(70), n = 1 + rng(300);
    bool f = round & 1;
    Node *x = random_const(f ? F32 : I8, DIMS(b, m, k)), *w = random_const(f ? F32 : INTK(4), DIMS(k, n));
    Tensor *y = value(node_matmul(g, x, w, f ? F32 : I32));
    for (int64_t i = 0; i < y->n; i++) {
      double sum = 0;
      for (int64_t j = 0; j < k; j++) {
        double p = tensor_f(x->a.value, i / n * k + j) * tensor_f(w->a.value, j * n + i % n);
        sum = f ? (double)((float)sum + (float)p) : sum + p;
      }
      holds(tensor_f(y, i) == sum);
    }
    tensor_free(y);
  }
}
END_TEST

/* K - 2 popcount(a xor w) of packed signs is the product of the signs. */
START_TEST(bit_serial) {
  enum { M = 3, N = 4, K = 100 };
  Node *a = random_const(BIPOLAR, DIMS(M, K)), *b = random_const(BIPOLAR, DIMS(N, K));
  Affine aa[2] = {affine_iter(0, 1, 0), affine_iter(2, 1, 0)}, ab[2] = {affine_iter(1, 1, 0), affine_iter(2, 1, 0)};
  Iters it = {.n_out = 2, .n_red = 1, .red = {dim_c(K)}, .acc = {aa, ab}};
  Type t = type_make(I32, DIMS(M, N)), words = type_make(UINTK(64), DIMS(0, 1, 2));
  Tensor *direct = value(node_contract(g, S_MUL, &t, 2, (Node *[]){a, b}, &it, 0));
  Node *packed[2], *from[2] = {a, b};
  for (int i = 0; i < 2; i++) {
    words.d[0] = dim_c(i ? N : M);
    packed[i] = node_new(g, OP_PACK, &words, 1, &from[i], &(Attr){.axis = 1}, NULL);
  }
  Affine pa[3] = {affine_iter(0, 1, 0), affine_iter(2, 0, 0), affine_iter(2, 1, 0)};
  Affine pb[3] = {affine_iter(1, 1, 0), affine_iter(2, 0, 0), affine_iter(2, 1, 0)};
  Iters pit = {.n_out = 2, .n_red = 1, .red = {dim_c(2)}, .acc = {pa, pb}};
  Tensor *pops = value(node_contract(g, S_XOR, &t, 2, packed, &pit, 0));
  for (int i = 0; i < M * N; i++) holds(tensor_i(direct, i) == K - 2 * tensor_i(pops, i));
}
END_TEST

START_TEST(packing) {
  Node *x = LIST(INTK(3), -4, 3, 1, -1), *u;
  Type t = type_make(UINTK(32), DIMS(3, 1));
  EXPECT(node_new(g, OP_PACK, &t, 1, &x, &(Attr){.axis = 0}, NULL), 14, 10, 9);
  u = LIST(UINTK(1), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1);
  t = type_make(UINTK(32), DIMS(1, 2));
  EXPECT(node_new(g, OP_PACK, &t, 1, &u, &(Attr){.axis = 0}, NULL), 0x80000001u, 2);
}
END_TEST

START_TEST(broadcasting_maps) {
  static const int64_t shapes[][2][4] = {
    {{2, 3, 4, 5}, {1, 3, 1, 1}}, {{2, 3, 4, 5}, {2, 3, 4, 5}}, {{2, 1, 4, 1}, {1, 3, 1, 5}}, {{1, 1, 1, 1}, {2, 3, 1, 300}}, {{1, 700, 1, 1}, {1, 700, 1, 1}},
    {{0, 3, 1, 1}, {1, 3, 1, 2}}, {{1, 1, 1, 600}, {3, 1, 1, 600}},
  };
  for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
    for (int rank = 4; rank >= 2; rank -= 2) {
      const int64_t *da = shapes[s][0], *db = shapes[s][1] + (4 - rank);
      Node *a = random_const(F32, 4, da), *b = random_const(F32, rank, db);
      Node *n = node_map2(g, S_SUB, a, b);
      Tensor *y = value(n);
      for (int64_t i = 0; i < y->n; i++) {
        int64_t rest = i, ia = 0, ib = 0, sa = 1, sb = 1;
        for (int d = 3; d >= 0; d--) {
          int64_t at = rest % n->t.d[d].n;
          rest /= n->t.d[d].n;
          ia += (da[d] == 1 ? 0 : at) * sa;
          sa *= da[d];
          if (d < 4 - rank) continue;
          ib += (shapes[s][1][d] == 1 ? 0 : at) * sb;
          sb *= shapes[s][1][d];
        }
        holds(tensor_f(y, i) == (float)(tensor_f(a->a.value, ia) - tensor_f(b->a.value, ib)));
      }
      tensor_free(y);
    }
}
END_TEST

START_TEST(maps) {
  Node *a = LIST(I8, 100, -100, 7), *b = LIST(I8, 100, -100, -3), *c = LIST(BOOL, 1, 0, 1), *f = LIST(F32, 1.5, -2.5, NAN);
  EXPECT(node_map2(g, S_ADD, a, b), -56, 56, 4);
  EXPECT(node_map_as(g, S_ADD, INTK(9), 2, (Node *[]){a, b}), 200, -200, 4);
  EXPECT(node_map3(g, S_SELECT, c, a, b), 100, -100, 7);
  EXPECT(node_map2(g, S_LT, a, b), 0, 0, 0);
  EXPECT(node_cast(g, f, U8), 1, 0, 0);
  EXPECT(node_map1(g, S_ROUND, f), 2, -2, NAN);
  EXPECT(node_map1(g, S_EXP, node_const_f(g, F32, 0)), 1);
  EXPECT(node_map2(g, S_MAX, f, LIST(F32, NAN, -3, 1)), NAN, -2.5, NAN);
}
END_TEST

START_TEST(quantization) {
  Node *x = LIST(F32, -1.25, 0.25, 0.75, 100, NAN), *s = node_const_f(g, F32, 0.5), *z = node_const_i(g, U8, 4);
  EXPECT(node_quant(g, x, s, z, U8, 0, 255, RND_EVEN), 2, 4, 6, 204, 4);
  EXPECT(node_quant(g, x, s, NULL, INTK(3), -3, 3, RND_CEIL), -2, 1, 2, 3, 0);
  EXPECT(node_dequant(g, node_quant(g, x, s, z, U8, 0, 255, RND_EVEN), s, z, F32), -1, 0, 1, 100, 0);
  EXPECT(node_dequant(g, LIST(I8, -3, 2, 5), LIST(F32, 1, 0.5, 3), NULL, F32), -3, 1, 15);
}
END_TEST

static Node *thresholds(Node *x, int axis, Node *t, Node *base, Node *step, Elem e) {
  Type type = x->t;
  type.e = e;
  return node_new(g, OP_THRESHOLDS, &type, 4, (Node *[]){x, t, base, step}, &(Attr){.axis = axis}, NULL);
}

START_TEST(fractional_zero_points) { /* (x - zp) * scale with zp subtracted in float */
  EXPECT(node_dequant(g, LIST(U8, 0, 1, 2, 3), LIST(F32, 0.5), LIST(F32, 1.5), F32), -0.75, -0.25, 0.25, 0.75);
  EXPECT(node_dequant(g, LIST(U8, 0, 3), LIST(F64, 0.5), LIST(F64, 1.5), F64), -0.75, 0.75);
}
END_TEST

START_TEST(threshold_counts) {
  Node *one = node_const_i(g, I8, 1), *zero = node_const_i(g, I8, 0);
  Dim d23[2] = {dim_c(2), dim_c(3)}, d13[2] = {dim_c(1), dim_c(3)};
  Node *x = node_reshape(g, LIST(I32, -5, 0, 5, 9, 2, 7), 2, d23);
  Node *per_row = node_reshape(g, LIST(I32, -5, 0, 6, 7, 2, 9), 2, d23); /* the second is not sorted */
  EXPECT(thresholds(x, 0, per_row, zero, one, U8), 1, 2, 2, 3, 1, 2);
  EXPECT(thresholds(x, 1, node_reshape(g, LIST(I32, 0, 5, 5), 2, d13), LIST(I8, -2, 0, 10), LIST(I8, 1, 2, -3), I8), -2, 2, 1, 1, 2, 1);
  EXPECT(thresholds(LIST(F32, NAN, 0.5, -0.0, INFINITY), 0, node_reshape(g, LIST(F32, 0, 0.5, 1), 2, d13), LIST(I8, -1), LIST(I8, 2), I8), -1, 3, 1, 5);
  Node *u = LIST(UINTK(64), 0, 5, 0x1p63), *tu = node_reshape(g, LIST(UINTK(64), 1, 5, 0x1p62), 2, d13);
  EXPECT(thresholds(u, 0, tu, zero, one, U8), 0, 2, 3);
  Node *many = random_const(I32, DIMS(700)), *levels = random_const(I32, DIMS(1, 40));
  Tensor *y = value(thresholds(many, 0, levels, zero, one, U8));
  for (int i = 0; i < 700; i++) {
    int count = 0;
    for (int j = 0; j < 40; j++) count += tensor_i(levels->a.value, j) <= tensor_i(many->a.value, i);
    holds(tensor_i(y, i) == count);
  }
}
END_TEST

START_TEST(requantization) {
  Type t = type_make(U8, DIMS(2, 2));
  Dim d[2] = {dim_c(2), dim_c(2)};
  Node *x = node_reshape(g, LIST(I32, 100, -100, 1000, -7), 2, d);
  Node *in[3] = {x, LIST(I32, 3, 5), LIST(I64, 0, 8)};
  EXPECT(node_new(g, OP_REQUANT, &t, 3, in, &(Attr){.axis = 1, .shift = 2, .lo = 0, .hi = 200}, NULL), 75, 0, 200, 0);
  t.e = I8;
  EXPECT(node_new(g, OP_REQUANT, &t, 3, in, &(Attr){.axis = 0, .shift = 3, .lo = -128, .hi = 127}, NULL), 37, -38, 127, -4);
}
END_TEST

START_TEST(moving) {
  Dim d[2] = {dim_c(2), dim_c(3)};
  Node *x = node_reshape(g, LIST(F32, 1, 2, 3, 4, 5, 6), 2, d), *index = LIST(I64, -1, 0, 7, -9);
  EXPECT(node_gather(g, x, index, 1), 3, 1, 3, 1, 6, 4, 6, 4);
  EXPECT(node_gather(g, x, node_const_i(g, I32, -1), 0), 4, 5, 6);
  EXPECT(node_concat(g, 3, (Node *[]){x, x, x}, 1), 1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6, 4, 5, 6);
  EXPECT(node_concat(g, 2, (Node *[]){x, x}, 0), 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6);
  EXPECT(node_transpose(g, x, (int[]){1, 0}), 1, 4, 2, 5, 3, 6);
  EXPECT(node_slice(g, x, 1, 2, -2, 2), 3, 1, 6, 4);
  EXPECT(node_pad(g, x, (int64_t[]){0, 1}, (int64_t[]){-1, 1}, -INFINITY), -INFINITY, 1, 2, 3, -INFINITY);
  EXPECT(node_broadcast(g, LIST(F32, 1, 2), 2, (Dim[]){dim_c(2), dim_c(2)}), 1, 2, 1, 2);
  EXPECT(node_reshape(g, node_map1(g, S_NEG, x), 1, (Dim[]){dim_c(6)}), -1, -2, -3, -4, -5, -6);
}
END_TEST

static Node *along(Op op, Scalar s, Node *x, int flag, int64_t n) {
  Type t = x->t;
  if (op == OP_ARGREDUCE) { t.e = I64; t.d[0] = dim_c(n); }
  return node_new(g, op, &t, 1, &x, &(Attr){.scalar = s, .axis = 0, .flag = flag}, NULL);
}

START_TEST(scans) {
  Node *x = LIST(F32, 2, 3, 5, 3), *n = LIST(F32, 1, NAN, 7, NAN), *c = LIST(I8, 100, 100, -3);
  Dim d22[2] = {dim_c(2), dim_c(2)};
  EXPECT(along(OP_CUM, S_ADD, x, 0, 0), 2, 5, 10, 13);
  EXPECT(along(OP_CUM, S_ADD, x, 1, 0), 0, 2, 5, 10);
  EXPECT(along(OP_CUM, S_MUL, x, 2, 0), 90, 45, 15, 3);
  EXPECT(along(OP_CUM, S_MUL, x, 3, 0), 45, 15, 3, 1);
  EXPECT(along(OP_CUM, S_ADD, c, 0, 0), 100, -56, -59);
  EXPECT(along(OP_CUM, S_ADD, node_reshape(g, x, 2, d22), 0, 0), 2, 3, 7, 6);
  EXPECT(along(OP_ARGREDUCE, S_MAX, LIST(F32, 1, 5, 5, 0), 0, 1), 1);
  EXPECT(along(OP_ARGREDUCE, S_MAX, LIST(F32, 1, 5, 5, 0), 1, 1), 2);
  EXPECT(along(OP_ARGREDUCE, S_MIN, LIST(I8, 1, -5, 5, -5), 0, 1), 1);
  EXPECT(along(OP_ARGREDUCE, S_MIN, n, 0, 1), 1);
  EXPECT(along(OP_ARGREDUCE, S_MAX, n, 1, 1), 3);
  EXPECT(along(OP_ARGREDUCE, S_MAX, node_reshape(g, x, 2, d22), 0, 1), 1, 0);
}
END_TEST

START_TEST(reductions) {
  Node *x = LIST(F32, 1, NAN, 3), *none = list(F32, 0, NULL), *codes = list(I8, 0, NULL), *b = LIST(BOOL, 1, 0, 1);
  EXPECT(node_reduce_axes(g, S_MAX, x, 1, false), NAN);
  EXPECT(node_reduce_axes(g, S_MIN, x, 1, true), NAN);
  EXPECT(node_reduce_axes(g, S_MAX, none, 1, false), -INFINITY);
  EXPECT(node_reduce_axes(g, S_ADD, none, 1, false), 0);
  EXPECT(node_reduce_axes(g, S_MIN, codes, 1, false), 127);
  EXPECT(node_reduce_axes(g, S_AND, b, 1, false), 0);
  EXPECT(node_reduce_axes(g, S_OR, b, 1, false), 1);
  EXPECT(node_reduce_axes(g, S_ADD, LIST(I8, 100, 100), 1, false), -56);
  EXPECT(node_reduce_axes(g, S_ADD, LIST(F32, 0x1p24, 1, 1), 1, false), 0x1p24); /* in order */
  EXPECT(node_reduce_axes(g, S_ADD, LIST(F32, -0.0, -0.0), 1, false), 0.0);
  EXPECT(node_reduce_axes(g, S_MAX, LIST(UINTK(64), 1, 0x1p63, 7), 1, false), 0x1p63);
  /* a wide result of narrow codes does not wrap at 32 bits */
  Affine a = affine_iter(0, 1, 0);
  Iters it = {.n_red = 1, .red = {dim_c(2)}, .acc = {&a}};
  Type t = type_scalar(I64);
  EXPECT(node_reduce(g, S_MUL, LIST(I32, 0x1p30, 0x1p30), &t, &it), 0x1p60);
}
END_TEST

/* Padding an infinite weight: 0 * inf is NaN by the equation. */
START_TEST(fill_meets_infinity) {
  Dim d[3] = {dim_c(1), dim_c(1), dim_c(2)};
  Node *x = node_reshape(g, LIST(F32, 1, 2), 3, d), *w = node_reshape(g, LIST(F32, INFINITY, 1), 3, d);
  EXPECT(node_conv(g, x, w, 1, (int64_t[]){1}, (int64_t[]){1}, (int64_t[]){1}, (int64_t[]){3}, 0, F32), NAN, INFINITY, INFINITY);
}
END_TEST

/* Whole graphs: arguments, lifetimes, limits */

typedef struct Seen { int nodes; int64_t most; int stop_at; } Seen;
static bool watch(void *user, const Node *n, const Tensor *t) {
  Seen *s = user;
  ck_assert(type_eq(&n->t, &t->t));
  if (ctx->memory_used > s->most) s->most = ctx->memory_used;
  return ++s->nodes != s->stop_at;
}

START_TEST(graphs) {
  Type t = type_make(F32, DIMS(1 << 16));
  Node *a = graph_arg(g, "a", &t), *b = graph_arg(g, "b", &t), *x = node_map2(g, S_ADD, a, b);
  for (int i = 0; i < 30; i++) x = node_map2(g, S_ADD, x, i & 1 ? x : b);
  Node *r = node_reshape(g, x, 2, (Dim[]){dim_c(1 << 8), dim_c(1 << 8)});
  graph_out(g, "x", x);
  graph_out(g, "again", x);
  graph_out(g, "r", r);
  graph_out(g, "a", a);
  node_map1(g, S_EXP, x); /* dead */
  Tensor *ins[2] = {noise(F32, DIMS(1 << 16)), noise(F32, DIMS(1 << 16))}, *outs[4] = {0};
  Tensor *copy = tensor_copy(ins[0]);
  int64_t before = ctx->memory_used;
  Seen seen = {0};
  ck_assert(graph_eval(ctx, g, ins, outs, watch, &seen));
  ck_assert_int_eq(seen.nodes, 32);
  ck_assert_int_lt(seen.most - before, 3 * (1 << 18) + (1 << 16)); /* no more than two values and the new one */
  ck_assert(tensor_eq(outs[0], outs[1]) && outs[0] != outs[1] && tensor_eq(outs[3], copy) && outs[3] != ins[0]);
  ck_assert(outs[2]->t.rank == 2 && !memcmp(outs[2]->data, outs[0]->data, 1 << 18));
  for (int i = 0; i < 4; i++) tensor_free(outs[i]);
  ck_assert_int_eq(ctx->memory_used, before);
  seen = (Seen){.stop_at = 5};
  ck_assert(!graph_eval(ctx, g, ins, outs, watch, &seen));
  ck_assert_int_eq(seen.nodes, 5);
  ck_assert_int_eq(ctx->memory_used, before);
}
END_TEST

static void refused(Node *n, ErrCode code) {
  Tensor *out = NULL;
  int64_t before = ctx->memory_used;
  g->n_outs = 0;
  graph_out(g, "y", n);
  ck_assert(!graph_eval(ctx, g, NULL, &out, NULL, NULL));
  ck_assert(!out && ctx->n_errors == 1 && ctx->diags->code == code);
  ck_assert_str_eq(ctx->diags->loc.name, "here");
  ck_assert_int_lt(ctx->memory_used - before, 1 << 18); /* the scratch and diagnostic arenas at most */
}

START_TEST(limits) {
  volatile int stop = 1;
  g->at = (Loc){.name = "here", .line = -1, .node = 3};
  Node *x = node_map1(g, S_NEG, random_const(F32, DIMS(1000)));
  Node *big = node_broadcast(g, x, 3, (Dim[]){dim_c(1 << 20), dim_c(1 << 10), dim_c(1000)});
  switch (_i) {
  case 0: refused(big, E0401); break;
  case 1: refused(node_reduce_axes(g, S_ADD, big, 7, false), E0401); break;
  case 2:
    ctx->limits.work = 999;
    refused(x, E0402);
    break;
  case 3: {
    ctx->limits.work = 1000 * 1000;
    Dim row[2] = {dim_c(1), dim_c(1000)}, column[2] = {dim_c(1000), dim_c(1)};
    Node *outer = node_matmul(g, node_reshape(g, x, 2, column), node_reshape(g, x, 2, row), F32);
    refused(outer, E0402); /* with the map and the reshapes it is more */
    break;
  }
  case 4:
    ctx->cancel = &stop;
    refused(x, E0602);
    break;
  default: {
    Type t = {.e = F32, .rank = 1, .d = {{-1, graph_sym(g, "N")}}};
    refused(node_map1(g, S_NEG, graph_arg(g, "a", &t)), E0304);
  }
  }
}
END_TEST

/* x[n, c]: rows 0 and 1, channels 1 2 and 3 8 (means 2 and 5, variances 1 and 9); eps makes the roots 2 and 4. */
START_TEST(batch_normalization) {
  Node *x = node_reshape(g, LIST(F32, 1, 2, 3, 8), 2, (Dim[]){{2, 0}, {2, 0}}), *gamma = LIST(F32, 4, 8), *beta = LIST(F32, 10, 20);
  Type c = {.e = F32, .rank = 1, .d = {{2, 0}}};
#define BN(op, flag_, eps, ...) node_new(g, op, flag_ ? &c : &x->t, (int)(sizeof((Node *[]){__VA_ARGS__}) / sizeof(Node *)), (Node *[]){__VA_ARGS__}, &(Attr){.flag = flag_, .fill = eps}, NULL)
  EXPECT(BN(OP_BN, 0, 1, x, gamma, beta, LIST(F32, 1, 2), LIST(F32, 3, 15)), 10, 20, 14, 32); /* gains 2 and 2 */
  EXPECT(BN(OP_BN_TRAIN, 1, 3, x, gamma, beta), 2, 5);
  EXPECT(BN(OP_BN_TRAIN, 2, 3, x, gamma, beta), 1, 9);
  EXPECT(BN(OP_BN_TRAIN, 0, 3, x, LIST(F32, 4, 0), beta), 8, 20, 12, 20);
  Node *dy = node_reshape(g, LIST(F32, 1, 0, 0, 0), 2, (Dim[]){{2, 0}, {2, 0}});
  EXPECT(BN(OP_BN_GRAD, 2, 3, dy, x, gamma), 1, 0);
  EXPECT(BN(OP_BN_GRAD, 1, 3, dy, x, gamma), -0.5, 0);
  EXPECT(BN(OP_BN_GRAD, 0, 3, dy, x, gamma), 0.75, 0, -0.75, 0); /* 2*(1 - 1/2 - 1/2*1/4), 2*(-1/2 + 1/8) */
  Node *spelled = node_bn_spelled(g, (Node *[]){x, gamma, beta, LIST(F32, 1, 2), LIST(F32, 3, 15)}, 1);
  EXPECT(spelled, 10, 20, 14, 32);
#undef BN
}
END_TEST

/* u = x/2 + 1.5 of codes 0 .. 3 is -0.5, 1.5 (to even: 2), 3, NaN (0); inside is the second alone. */
START_TEST(quantization_gradient) {
  Node *dy = LIST(F32, 2, 4, 8, 16), *x = LIST(F32, -4, 0, 3, NAN), *two = node_const_f(g, F32, 2);
#define GRAD(dy, x, scale, ...) node_new(g, OP_QUANT_GRAD, &x->t, 3, (Node *[]){dy, x, scale}, &(Attr){__VA_ARGS__}, NULL)
  EXPECT(GRAD(dy, x, two, .hi = 3, .fill = 1.5), 0, 4, 0, 0);
  EXPECT(GRAD(dy, x, two, .hi = 3, .fill = 1.5, .flag = 1), -3, 2, 12, -24);
  EXPECT(GRAD(dy, x, LIST(F32, 4, 1, 0.75, 1), .lo = -2, .hi = 1, .flag = 1), 0, 0, 8, 0); /* u = -1, 0, 4, NaN */
#undef GRAD
}
END_TEST

START_TEST(places) {
  Node *x = LIST(F32, 3, 7, 7, 1, NAN, 2);
  Type t = {.e = I64, .rank = 1, .d = {{3, 0}}};
  Affine acc[1] = {affine_iter(0, 2, -1)}; /* windows -1..0, 1..2, 3..4 */
  acc[0].coef[1] = 1;
  Iters it = {.n_out = 1, .n_red = 1, .red = {dim_c(2)}, .acc = {acc}};
  EXPECT(node_new(g, OP_LOCATE, &t, 1, &x, &(Attr){.scalar = S_MAX, .iters = &it}, NULL), 0, 1, 4);
  EXPECT(node_new(g, OP_LOCATE, &t, 1, &x, &(Attr){.scalar = S_MIN, .iters = &it}, NULL), 0, 1, 4);
  acc[0] = affine_iter(0, 3, 5);
  acc[0].coef[1] = 1;
  EXPECT(node_new(g, OP_LOCATE, &t, 1, &x, &(Attr){.scalar = S_MAX, .iters = &it}, NULL), 5, -1, -1);
  Type y = {.e = F32, .rank = 1, .d = {{4, 0}}}, c = {.e = I8, .rank = 1, .d = {{2, 0}}};
  Node *at = LIST(I64, 1, 3, 1, -1, 4), *v = LIST(F32, 0.5, 2, 0.25, 9, 9);
  EXPECT(node_new(g, OP_SCATTER, &y, 2, (Node *[]){v, at}, NULL, NULL), 0, 0.75, 0, 2);
  EXPECT(node_new(g, OP_SCATTER, &c, 2, (Node *[]){LIST(I8, 100, 100, 1), LIST(I64, 0, 0, 1)}, NULL, NULL), -56, 1);
}
END_TEST

START_TEST(single_nodes) {
  Node *x = LIST(F32, 1, 2), *y = node_map2(g, S_ADD, x, x);
  Tensor *c = node_eval(ctx, x, NULL);
  ck_assert(tensor_eq(c, x->a.value) && c != x->a.value);
  Tensor *sum = node_eval(ctx, y, (Tensor *[]){c, c});
  ck_assert(tensor_f(sum, 0) == 2 && tensor_f(sum, 1) == 4);
}
END_TEST

int main(void) {
  Suite *s = suite_create("eval");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, random_accesses, 0, 25);
  tcase_add_test(t, two_divisors);
  tcase_add_loop_test(t, outputs_side_by_side, 0, 36);
  tcase_add_test(t, convolutions);
  tcase_add_test(t, transposed_convolution);
  tcase_add_test(t, matrix_products);
  tcase_add_test(t, bit_serial);
  tcase_add_test(t, packing);
  tcase_add_test(t, broadcasting_maps);
  tcase_add_test(t, maps);
  tcase_add_test(t, quantization);
  tcase_add_test(t, fractional_zero_points);
  tcase_add_test(t, threshold_counts);
  tcase_add_test(t, requantization);
  tcase_add_test(t, moving);
  tcase_add_test(t, scans);
  tcase_add_test(t, reductions);
  tcase_add_test(t, fill_meets_infinity);
  tcase_add_test(t, graphs);
  tcase_add_loop_test(t, limits, 0, 6);
  tcase_add_test(t, batch_normalization);
  tcase_add_test(t, quantization_gradient);
  tcase_add_test(t, places);
  tcase_add_test(t, single_nodes);
  suite_add_tcase(s, t);
  return suite_run(s);
}
