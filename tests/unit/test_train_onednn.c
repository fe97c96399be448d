/* Every operation of trainer/onednn.h against loops in binary64 on many shapes; the same bits from run to run, for any
 * OMP_NUM_THREADS, and with two workers at once. */
#include "tests/unit/suite.h"
#include "trainer/onednn.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN(a) ((int)(sizeof(a) / sizeof *(a)))

static Ctx *ctx;
static Dnn *dnn;

static void setup(void) { ctx = ctx_new(); dnn = dnn_new(ctx); ck_assert_ptr_nonnull(dnn); }
static void teardown(void) { dnn_free(dnn); ctx_free(ctx); }

static void *floats64(size_t n) { /* also outside of tests: no ck_assert */
  void *p = NULL;
  if (posix_memalign(&p, 64, n * 4 + 64)) abort();
  memset(p, 0xff, n * 4 + 64); /* NaN: what is not written is seen */
  return p;
}
static float *noise(size_t n, uint32_t seed) {
  float *p = floats64(n);
  for (size_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    p[i] = (float)((int32_t)(seed >> 8) - (1 << 23)) / (float)(1 << 23);
  }
  return p;
}
static int64_t product(int n, const int64_t *d) {
  int64_t p = 1;
  for (int i = 0; i < n; i++) p *= d[i];
  return p;
}

/* A sum of terms in binary64, how far a binary32 sum of them may lie from it, and the comparison. */
typedef struct Sum { double sum, size; int64_t terms; } Sum;
static void add(Sum *s, double term) { s->sum += term; s->size += fabs(term); s->terms++; }
static void near(const char *what, size_t i, float got, const Sum *s, bool relu) {
  double want = relu && s->sum < 0 ? 0 : s->sum, bound = (double)(s->terms + 8) * FLT_EPSILON * s->size;
  if (!(fabs(got - want) <= bound)) ck_abort_msg("%s, element %zu: %.9g, not %.9g +- %.3g", what, i, got, want, bound);
}

static void run(DnnOp *op, const DnnArgs *args) {
  if (!op || !dnn_run(op, args)) { diag_print(ctx, stderr, false); ck_abort_msg("refused"); }
  dnn_op_free(op);
}

/* Convolution: y, dx, dw and db are four readings of the same list of products. */

typedef struct Terms { Sum *y, *dx, *dw, *db; } Terms;

static void conv_terms(const DnnConv *c, const float *x, const float *w, const float *b, const float *dy, const Terms *t) {
  int64_t in = product(c->nd, c->in), k = product(c->nd, c->k), out = product(c->nd, c->out), ig = c->ic / c->groups, og = c->oc / c->groups;
  for (int64_t n = 0; n < c->n; n++)
    for (int64_t o = 0; o < out; o++)
      for (int64_t oc = 0; oc < c->oc; oc++) {
        size_t yi = (size_t)((n * out + o) * c->oc + oc);
        if (b) add(&t->y[yi], b[oc]);
        add(&t->db[oc], dy[yi]);
        for (int64_t j = 0; j < k; j++) {
          int64_t at = 0, orest = o, jrest = j, scale = 1;
          bool inside = true;
          for (int d = c->nd - 1; d >= 0; d--) {
            int64_t p = orest % c->out[d] * c->stride[d] + jrest % c->k[d] * c->dilation[d] - c->pad[d];
            inside = inside && p >= 0 && p < c->in[d];
            at += p * scale;
            scale *= c->in[d];
            orest /= c->out[d];
            jrest /= c->k[d];
          }
          for (int64_t i = 0; inside && i < ig; i++) {
            size_t xi = (size_t)((n * in + at) * c->ic + oc / og * ig + i), wi = (size_t)((oc * ig + i) * k + j);
            add(&t->y[yi], (double)x[xi] * w[wi]);
            add(&t->dx[xi], (double)dy[yi] * w[wi]);
            add(&t->dw[wi], (double)dy[yi] * x[xi]);
          }
        }
      }
}

static void check_conv(const DnnConv *c, bool bias, bool relu) {
  size_t nx = (size_t)(c->n * c->ic * product(c->nd, c->in)), ny = (size_t)(c->n * c->oc * product(c->nd, c->out)),
         nw = (size_t)(c->oc * (c->ic / c->groups) * product(c->nd, c->k)), nb = (size_t)c->oc;
  float *x = noise(nx, 1), *w = noise(nw, 2), *b = noise(nb, 3), *dy = noise(ny, 4);
  float *y = floats64(ny), *dx = floats64(nx), *dw = floats64(nw), *db = floats64(nb);
  Terms t = {calloc(ny, sizeof(Sum)), calloc(nx, sizeof(Sum)), calloc(nw, sizeof(Sum)), calloc(nb, sizeof(Sum))};
  conv_terms(c, x, w, bias ? b : NULL, dy, &t);
  run(dnn_conv_forward(dnn, c, bias, relu), &(DnnArgs){.x = x, .w = w, .b = bias ? b : NULL, .y = y});
  run(dnn_conv_grad_x(dnn, c), &(DnnArgs){.dy = dy, .w = w, .dx = dx});
  run(dnn_conv_grad_w(dnn, c, bias), &(DnnArgs){.x = x, .dy = dy, .dw = dw, .db = bias ? db : NULL});
  for (size_t i = 0; i < ny; i++) near("y", i, y[i], &t.y[i], relu);
  for (size_t i = 0; i < nx; i++) near("dx", i, dx[i], &t.dx[i], false);
  for (size_t i = 0; i < nw; i++) near("dw", i, dw[i], &t.dw[i], false);
  for (size_t i = 0; bias && i < nb; i++) near("db", i, db[i], &t.db[i], false);
  void *all[] = {x, w, b, dy, y, dx, dw, db, t.y, t.dx, t.dw, t.db};
  for (int i = 0; i < LEN(all); i++) free(all[i]);
}

/* nd, n, groups, ic, oc, in, k, out, stride, dilation, pad */
static const DnnConv convs[] = {
  {2, 3, 1, 1, 20, {28, 28}, {5, 5}, {24, 24}, {1, 1}, {1, 1}, {0, 0}},      /* LeNet-5 */
  {2, 3, 1, 20, 50, {12, 12}, {5, 5}, {8, 8}, {1, 1}, {1, 1}, {0, 0}},
  {2, 2, 1, 16, 16, {9, 9}, {3, 3}, {9, 9}, {1, 1}, {1, 1}, {1, 1}},         /* ResNet */
  {2, 2, 1, 3, 16, {11, 11}, {3, 3}, {11, 11}, {1, 1}, {1, 1}, {1, 1}},
  {2, 2, 1, 16, 32, {8, 8}, {3, 3}, {4, 4}, {2, 2}, {1, 1}, {1, 1}},
  {2, 2, 1, 16, 32, {8, 8}, {1, 1}, {4, 4}, {2, 2}, {1, 1}, {0, 0}},         /* a stride leaves a remainder */
  {2, 2, 1, 3, 64, {23, 21}, {7, 7}, {12, 11}, {2, 2}, {1, 1}, {3, 3}},
  {2, 1, 1, 7, 5, {10, 13}, {3, 2}, {4, 6}, {2, 2}, {1, 1}, {0, 0}},
  {2, 2, 1, 5, 7, {7, 9}, {3, 4}, {7, 9}, {1, 1}, {1, 1}, {0, 1}},           /* more padding behind than before, and the reverse */
  {2, 2, 1, 5, 7, {7, 9}, {3, 4}, {7, 9}, {1, 1}, {1, 1}, {2, 2}},
  {2, 2, 1, 6, 9, {11, 10}, {3, 3}, {7, 8}, {1, 1}, {2, 3}, {0, 2}},
  {2, 1, 1, 16, 16, {11, 11}, {3, 3}, {4, 4}, {2, 2}, {2, 2}, {0, 0}},
  {2, 2, 3, 6, 9, {8, 7}, {3, 3}, {8, 7}, {1, 1}, {1, 1}, {1, 1}},           /* groups */
  {2, 2, 2, 32, 64, {8, 8}, {3, 3}, {4, 4}, {2, 2}, {1, 1}, {1, 1}},
  {2, 2, 4, 8, 8, {6, 6}, {1, 1}, {6, 6}, {1, 1}, {1, 1}, {0, 0}},
  {2, 2, 16, 16, 16, {9, 8}, {3, 3}, {9, 8}, {1, 1}, {1, 1}, {1, 1}},        /* depthwise */
  {2, 2, 13, 13, 13, {9, 9}, {3, 3}, {5, 5}, {2, 2}, {1, 1}, {1, 1}},
  {2, 1, 6, 6, 12, {7, 7}, {3, 3}, {7, 7}, {1, 1}, {2, 2}, {2, 2}},
  {2, 1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0}},
  {2, 1, 1, 4, 3, {2, 2}, {5, 5}, {2, 2}, {1, 1}, {1, 1}, {2, 2}},           /* the window is larger than x */
  {1, 3, 1, 3, 10, {17}, {5}, {9}, {2}, {1}, {2}},
  {1, 2, 1, 32, 32, {40}, {9}, {24}, {1}, {2}, {0}},
  {1, 2, 5, 10, 5, {11}, {4}, {11}, {1}, {1}, {3}},
  {3, 1, 1, 3, 5, {5, 6, 7}, {3, 3, 3}, {5, 6, 7}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
  {3, 1, 1, 16, 16, {6, 5, 5}, {2, 3, 3}, {3, 2, 3}, {2, 2, 2}, {1, 1, 1}, {0, 0, 1}},
  {3, 1, 2, 4, 6, {6, 5, 7}, {2, 3, 2}, {4, 5, 5}, {1, 1, 1}, {2, 1, 2}, {0, 1, 0}},
};

START_TEST(convolutions) {
  check_conv(&convs[_i], true, false);
  check_conv(&convs[_i], true, true);
  check_conv(&convs[_i], false, false);
}
END_TEST

/* Matrix product */

static size_t extent(int64_t batch, int64_t r, int64_t c, const int64_t *s) {
  return (size_t)((batch - 1) * s[0] + (r - 1) * s[1] + (c - 1) * s[2] + 1);
}

static void check_matmul(const DnnMatmul *d) {
  size_t nx = extent(d->batch, d->m, d->k, d->x), nw = extent(d->batch, d->k, d->n, d->w), ny = extent(d->batch, d->m, d->n, d->y);
  float *x = noise(nx, 1), *w = noise(nw, 2), *b = noise((size_t)d->n, 3), *y = noise(ny, 4), *old = noise(ny, 4);
  bool *written = calloc(ny, sizeof *written);
  run(dnn_matmul(dnn, d), &(DnnArgs){.x = x, .w = w, .b = d->bias ? b : NULL, .y = y});
  for (int64_t i = 0; i < d->batch; i++)
    for (int64_t r = 0; r < d->m; r++)
      for (int64_t c = 0; c < d->n; c++) {
        Sum s = {0, 0, 0};
        if (d->bias) add(&s, b[c]);
        for (int64_t k = 0; k < d->k; k++)
          add(&s, (double)x[i * d->x[0] + r * d->x[1] + k * d->x[2]] * w[i * d->w[0] + k * d->w[1] + c * d->w[2]]);
        size_t at = (size_t)(i * d->y[0] + r * d->y[1] + c * d->y[2]);
        near("y", at, y[at], &s, false);
        written[at] = true;
      }
  for (size_t i = 0; i < ny; i++) ck_assert(written[i] || y[i] == old[i]);
  free(x), free(w), free(b), free(y), free(old), free(written);
}

/* batch, m, n, k, strides of x, w, y, bias */
static const DnnMatmul matmuls[] = {
  {1, 16, 500, 800, {0, 800, 1}, {0, 1, 800}, {0, 500, 1}, true},
  {1, 64, 10, 500, {0, 500, 1}, {0, 1, 500}, {0, 10, 1}, true},
  {1, 500, 80, 16, {0, 1, 500}, {0, 80, 1}, {0, 80, 1}, false},
  {1, 7, 5, 3, {0, 3, 1}, {0, 5, 1}, {0, 5, 1}, false},
  {1, 7, 5, 3, {0, 1, 9}, {0, 1, 4}, {0, 6, 1}, true},
  {1, 7, 5, 3, {0, 3, 1}, {0, 5, 1}, {0, 1, 7}, false},
  {1, 1, 33, 17, {0, 17, 1}, {0, 33, 1}, {0, 33, 1}, true},
  {1, 33, 1, 17, {0, 17, 1}, {0, 1, 1}, {0, 1, 1}, true},
  {1, 9, 11, 1, {0, 1, 1}, {0, 11, 1}, {0, 11, 1}, true},
  {1, 9, 11, 1, {0, 1, 9}, {0, 1, 1}, {0, 11, 1}, false},
  {1, 1, 1, 1, {0, 1, 1}, {0, 1, 1}, {0, 1, 1}, true},
  {5, 7, 9, 4, {28, 4, 1}, {36, 9, 1}, {63, 9, 1}, false},
  {5, 7, 9, 4, {30, 1, 7}, {40, 1, 4}, {63, 9, 1}, true},
  {4, 6, 10, 8, {48, 8, 1}, {0, 10, 1}, {60, 10, 1}, true},   /* one w: longer rows */
  {4, 6, 10, 8, {48, 1, 6}, {0, 1, 8}, {60, 10, 1}, true},
  {4, 6, 10, 8, {0, 8, 1}, {80, 10, 1}, {60, 10, 1}, false},
  {4, 6, 10, 8, {48, 1, 6}, {80, 1, 8}, {66, 1, 6}, false},   /* y transposed */
  {4, 6, 10, 8, {0, 8, 1}, {80, 1, 8}, {60, 1, 6}, false},
  {2, 5, 6, 3, {15, 3, 1}, {18, 6, 1}, {30, 1, 5}, true},
  {3, 5, 8, 6, {6, 18, 1}, {48, 8, 1}, {8, 24, 1}, false},    /* heads between rows */
};

START_TEST(matrix_products) { check_matmul(&matmuls[_i]); }
END_TEST

/* Pooling */

/* Positions of window o in x, row-major; -1 outside. Returns the window's size. */
static int64_t window(const DnnPool *p, int64_t o, int64_t *at) {
  int64_t k = product(p->nd, p->k);
  for (int64_t j = 0; j < k; j++) {
    int64_t orest = o, jrest = j, scale = 1;
    at[j] = 0;
    for (int d = p->nd - 1; d >= 0; d--) {
      int64_t i = orest % p->out[d] * p->stride[d] + jrest % p->k[d] * p->dilation[d] - p->pad[d];
      if (i < 0 || i >= p->in[d]) at[j] = INT64_MIN / 2;
      at[j] += i * scale;
      scale *= p->in[d];
      orest /= p->out[d];
      jrest /= p->k[d];
    }
    if (at[j] < 0) at[j] = -1;
  }
  return k;
}

/* ties: x takes few values, so that windows hold several greatest elements. */
static void check_pool(const DnnPool *p, bool ties) {
  int64_t in = product(p->nd, p->in), out = product(p->nd, p->out), at[64];
  size_t nx = (size_t)(p->n * p->c * in), ny = (size_t)(p->n * p->c * out);
  float *x = noise(nx, 1), *dy = noise(ny, 2), *y = floats64(ny), *dx = floats64(nx);
  for (size_t i = 0; ties && i < nx; i++) x[i] = floorf(2 * x[i]) - 1; /* -3 .. 0: below what padding might be taken for */
  Sum *sy = calloc(ny, sizeof *sy), *sx = calloc(nx, sizeof *sx);
  for (int64_t n = 0; n < p->n; n++)
    for (int64_t o = 0; o < out; o++) {
      int64_t k = window(p, o, at), inside = 0;
      for (int64_t j = 0; j < k; j++) inside += at[j] >= 0;
      double share = 1.0 / (double)(p->kind == DNN_AVG ? inside : k);
      for (int64_t c = 0; c < p->c; c++) {
        size_t yi = (size_t)((n * out + o) * p->c + c), best = 0;
        bool any = false;
        for (int64_t j = 0; j < k; j++) {
          if (at[j] < 0) continue;
          size_t xi = (size_t)((n * in + at[j]) * p->c + c);
          if (p->kind == DNN_MAX) {
            if (!any || x[xi] > x[best]) best = xi;
            any = true;
          } else {
            add(&sy[yi], x[xi] * share);
            add(&sx[xi], dy[yi] * share);
          }
        }
        if (p->kind == DNN_MAX) { sy[yi] = (Sum){x[best], 0, 0}; add(&sx[best], dy[yi]); }
      }
    }
  DnnOp *forward = dnn_pool_forward(dnn, p), *grad = dnn_pool_grad(dnn, p);
  ck_assert(forward && grad);
  ck_assert_uint_eq(dnn_workspace(forward), dnn_workspace(grad));
  ck_assert_int_eq(dnn_workspace(forward) > 0, p->kind == DNN_MAX);
  void *ws = floats64(dnn_workspace(forward));
  run(forward, &(DnnArgs){.x = x, .y = y, .ws = ws});
  run(grad, &(DnnArgs){.dy = dy, .dx = dx, .ws = ws});
  for (size_t i = 0; i < ny; i++) near("y", i, y[i], &sy[i], false);
  for (size_t i = 0; i < nx; i++) near("dx", i, dx[i], &sx[i], false);
  free(x), free(dy), free(y), free(dx), free(sy), free(sx), free(ws);
}

/* kind, nd, n, c, in, k, out, stride, dilation, pad */
static const DnnPool pools[] = {
  {DNN_MAX, 2, 3, 20, {24, 24}, {2, 2}, {12, 12}, {2, 2}, {1, 1}, {0, 0}},
  {DNN_MAX, 2, 2, 50, {9, 7}, {2, 3}, {4, 3}, {2, 2}, {1, 1}, {0, 0}},
  {DNN_MAX, 2, 2, 16, {9, 9}, {3, 3}, {5, 5}, {2, 2}, {1, 1}, {1, 1}},
  {DNN_MAX, 2, 2, 5, {8, 8}, {3, 3}, {4, 4}, {2, 2}, {1, 1}, {0, 0}},       /* padding behind alone */
  {DNN_MAX, 2, 2, 7, {7, 7}, {3, 3}, {7, 7}, {1, 1}, {1, 1}, {1, 1}},
  {DNN_MAX, 2, 1, 16, {9, 9}, {3, 2}, {5, 7}, {1, 1}, {2, 2}, {0, 0}},
  {DNN_MAX, 2, 1, 1, {5, 5}, {5, 5}, {1, 1}, {1, 1}, {1, 1}, {0, 0}},
  {DNN_MAX, 1, 2, 6, {13}, {3}, {6}, {2}, {1}, {0}},
  {DNN_MAX, 3, 1, 17, {5, 6, 7}, {2, 2, 3}, {2, 3, 3}, {2, 2, 2}, {1, 1, 1}, {0, 0, 0}},
};

START_TEST(poolings) {
  for (DnnPoolKind kind = DNN_MAX; kind <= DNN_AVG_PAD; kind++) {
    DnnPool p = pools[_i];
    p.kind = kind;
    check_pool(&p, false);
    check_pool(&p, true);
  }
}
END_TEST

/* Bits: a hash over the results of a fixed list of operations, in a context of its own. */

static uint64_t hash(uint64_t h, const float *p, size_t n) {
  for (size_t i = 0; i < n * 4; i++) h = (h ^ ((const unsigned char *)p)[i]) * UINT64_C(0x100000001b3);
  return h;
}

static bool run_free(DnnOp *op, const DnnArgs *args) {
  bool ok = op && dnn_run(op, args) && dnn_run(op, args);
  dnn_op_free(op);
  return ok;
}

/* 0 where something failed. */
static uint64_t all_bits(void) {
  Ctx *own = ctx_new();
  Dnn *d = dnn_new(own);
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  bool ok = d != NULL;
  const DnnConv shapes[] = {{2, 16, 1, 1, 20, {28, 28}, {5, 5}, {24, 24}, {1, 1}, {1, 1}, {0, 0}},
                            {2, 16, 1, 20, 50, {12, 12}, {5, 5}, {8, 8}, {1, 1}, {1, 1}, {0, 0}},
                            {2, 16, 1, 16, 16, {32, 32}, {3, 3}, {32, 32}, {1, 1}, {1, 1}, {1, 1}},
                            {2, 16, 24, 24, 24, {8, 8}, {3, 3}, {8, 8}, {1, 1}, {1, 1}, {1, 1}}};
  for (int i = 0; ok && i < LEN(shapes); i++) {
    const DnnConv *c = &shapes[i];
    size_t nx = (size_t)(c->n * c->ic * product(c->nd, c->in)), ny = (size_t)(c->n * c->oc * product(c->nd, c->out)),
           nw = (size_t)(c->oc * (c->ic / c->groups) * product(c->nd, c->k)), nb = (size_t)c->oc;
    float *x = noise(nx, 1), *w = noise(nw, 2), *b = noise(nb, 3), *y = floats64(ny), *dx = floats64(nx), *dw = floats64(nw), *db = floats64(nb);
    float *g = noise(ny, 5);
    ok = run_free(dnn_conv_forward(d, c, true, false), &(DnnArgs){.x = x, .w = w, .b = b, .y = y});
    if (ok) h = hash(h, y, ny);
    ok = ok && run_free(dnn_conv_grad_x(d, c), &(DnnArgs){.dy = g, .w = w, .dx = dx}) &&
         run_free(dnn_conv_grad_w(d, c, true), &(DnnArgs){.x = x, .dy = g, .dw = dw, .db = db});
    if (ok) h = hash(hash(hash(h, dx, nx), dw, nw), db, nb);
    void *all[] = {x, w, b, y, dx, dw, db, g};
    for (int k = 0; k < LEN(all); k++) free(all[k]);
  }
  DnnMatmul m = {1, 64, 500, 800, {0, 800, 1}, {0, 1, 800}, {0, 500, 1}, true};
  float *x = noise(64 * 800, 1), *w = noise(500 * 800, 2), *b = noise(500, 3), *y = floats64(64 * 500);
  ok = ok && run_free(dnn_matmul(d, &m), &(DnnArgs){.x = x, .w = w, .b = b, .y = y});
  if (ok) h = hash(h, y, 64 * 500);
  free(x), free(w), free(b), free(y);
  dnn_free(d);
  ctx_free(own);
  return ok ? h : 0;
}

static void *bits_thread(void *out) {
  for (int i = 0; i < 3; i++) ((uint64_t *)out)[i] = all_bits();
  return NULL;
}

/* This program again, alone, with OMP_NUM_THREADS set before libgomp starts; it prints its bits. */
static uint64_t bits_with(const char *threads) {
  int fd[2];
  ck_assert_int_eq(pipe(fd), 0);
  pid_t pid = fork();
  ck_assert_int_ge(pid, 0);
  if (!pid) {
    setenv("OMP_NUM_THREADS", threads, 1);
    dup2(fd[1], 1);
    execl("/proc/self/exe", "bits", "bits", (char *)NULL);
    _exit(1);
  }
  close(fd[1]);
  uint64_t h = 0;
  int status;
  ck_assert_int_eq(read(fd[0], &h, sizeof h), sizeof h);
  close(fd[0]);
  waitpid(pid, &status, 0);
  ck_assert_int_eq(status, 0);
  return h;
}

START_TEST(same_bits) {
  uint64_t first = all_bits(), a[3], b[3];
  ck_assert_uint_ne(first, 0);
  ck_assert_uint_eq(all_bits(), first);
  const char *const threads[] = {"1", "2", "4"};
  for (int i = 0; i < LEN(threads); i++) ck_assert_uint_eq(bits_with(threads[i]), first);
  pthread_t t[2];
  ck_assert_int_eq(pthread_create(&t[0], NULL, bits_thread, a), 0);
  ck_assert_int_eq(pthread_create(&t[1], NULL, bits_thread, b), 0);
  for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
  for (int i = 0; i < 3; i++) ck_assert(a[i] == first && b[i] == first);
}
END_TEST

/* An operation sees new weights on its next run, and lives on when a later one enlarges the scratch. */
START_TEST(run_again) {
  const DnnConv *small = &convs[2], *large = &convs[6];
  size_t nx = 2 * 16 * 81, nw = 16 * 16 * 9, big = 1 << 17;
  float *x = noise(nx, 1), *w = noise(nw, 2), *y = floats64(nx), *fresh = floats64(nx), *bx = noise(big, 4), *by = noise(big, 5), *bw = floats64(big);
  DnnOp *op = dnn_conv_forward(dnn, small, false, false);
  ck_assert(op && dnn_run(op, &(DnnArgs){.x = x, .w = w, .y = y}));
  for (size_t i = 0; i < nw; i++) w[i] = 1 - w[i];
  run(dnn_conv_grad_w(dnn, large, false), &(DnnArgs){.x = bx, .dy = by, .dw = bw});
  ck_assert(dnn_run(op, &(DnnArgs){.x = x, .w = w, .y = y}));
  dnn_op_free(op);
  run(dnn_conv_forward(dnn, small, false, false), &(DnnArgs){.x = x, .w = w, .y = fresh});
  ck_assert_int_eq(memcmp(y, fresh, nx * sizeof *y), 0);
  free(x), free(w), free(y), free(fresh), free(bx), free(by), free(bw);
}
END_TEST

/* Each is refused with one diagnostic of this code and gives nothing. */
static void refused(DnnOp *op, ErrCode code) {
  ck_assert_ptr_null(op);
  ck_assert_int_eq(ctx->n_errors, 1);
  ck_assert_int_eq(ctx->diags->code, code);
  teardown();
  setup();
}

START_TEST(refusals) {
  DnnConv c = {2, 1, 1, 2, 2, {5, 5}, {3, 3}, {3, 3}, {1, 1}, {1, 1}, {0, 0}}, bad;
  bad = c; bad.nd = 4; refused(dnn_conv_forward(dnn, &bad, true, false), E0307);
  bad = c; bad.out[1] = 2; refused(dnn_conv_forward(dnn, &bad, true, false), E0207);
  bad = c; bad.stride[0] = 0; refused(dnn_conv_grad_x(dnn, &bad), E0207);
  bad = c; bad.groups = 3; refused(dnn_conv_grad_w(dnn, &bad, false), E0207);
  bad = c; bad.n = 0; refused(dnn_conv_forward(dnn, &bad, true, false), E0207);
  bad = c; bad.n = INT64_MAX / 2; refused(dnn_conv_forward(dnn, &bad, true, false), E0402);
  bad = c; bad.pad[0] = -1; refused(dnn_conv_forward(dnn, &bad, true, false), E0207);
  refused(dnn_matmul(dnn, &(DnnMatmul){1, 4, 4, 4, {0, 8, 2}, {0, 4, 1}, {0, 4, 1}, false}), E0307);
  refused(dnn_matmul(dnn, &(DnnMatmul){1, 4, 4, 4, {0, 4, 1}, {0, 4, 1}, {0, 3, 1}, false}), E0307);
  refused(dnn_pool_forward(dnn, &(DnnPool){DNN_MAX, 2, 1, 1, {4, 4}, {2, 2}, {4, 4}, {2, 2}, {1, 1}, {2, 2}}), E0207);
  DnnOp *op = dnn_conv_forward(dnn, &c, true, false);
  ck_assert_ptr_nonnull(op);
  ck_assert(!dnn_run(op, &(DnnArgs){0}));
  dnn_op_free(op);
  refused(NULL, E0902);
  ctx->limits.memory = ctx->memory_used + 100000;
  c = (DnnConv){2, 1, 1, 256, 256, {5, 5}, {3, 3}, {3, 3}, {1, 1}, {1, 1}, {0, 0}};
  refused(dnn_conv_forward(dnn, &c, true, false), E0401);
}
END_TEST

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "bits")) {
    uint64_t h = all_bits();
    return write(1, &h, sizeof h) != sizeof h;
  }
  Suite *s = suite_create("train_onednn");
  TCase *t = tcase_create("all");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, convolutions, 0, LEN(convs));
  tcase_add_loop_test(t, matrix_products, 0, LEN(matmuls));
  tcase_add_loop_test(t, poolings, 0, LEN(pools));
  tcase_add_test(t, same_bits);
  tcase_add_test(t, run_again);
  tcase_add_test(t, refusals);
  suite_add_tcase(s, t);
  return suite_run(s);
}
