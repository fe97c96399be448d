/* One idea: an operation is a oneDNN primitive and a list of slots, one per operand. A slot knows which pointer of DnnArgs it binds and,
 * where the primitive wants another layout than ours, the inner buffer and the reorder before or after. Convolutions keep activations
 * channels last and let oneDNN choose the layout of weights: its jit kernels take odd channel counts there without padding (20 -> 50
 * channels: 120 GFLOP/s forward on an AVX-512 core, 72 in blocked layouts with their reorders, 69 with channels first), and its gemm
 * takes what they refuse. Scratch is the Dnn's, since its operations never run at the same time. */
#include "trainer/onednn.h"

#include <dnnl.h>
#include <dnnl_debug.h>
#include <string.h>

#include "ir/type.h"

void omp_set_num_threads(int); /* of libgomp; its header is not on every compiler's path */

enum { MAX_SLOTS = 10 };

struct Dnn {
  Ctx *ctx;
  Arena *arena;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_attr_t attr; /* strict f32, scratch from us */
  Tensor *scratch;            /* the most any operation asked for; NULL while none did */
};

typedef struct Slot {
  size_t field;               /* offset in DnnArgs */
  int arg;                    /* DNNL_ARG_... */
  bool output;
  dnnl_memory_t user, inner;  /* inner: NULL where the primitive takes our layout */
  Tensor *buffer;             /* inner's */
  dnnl_primitive_t reorder;   /* user to inner, or back for an output */
  dnnl_memory_t scratch;      /* the reorder's, or NULL */
} Slot;

struct DnnOp {
  Dnn *dnn;
  Arena *arena;
  const char *what;           /* for messages */
  dnnl_primitive_t primitive;
  dnnl_primitive_desc_t pd;   /* while it is made */
  Slot slots[MAX_SLOTS];
  int n_slots;
  dnnl_memory_t scratch;      /* or NULL */
  int64_t repeat, step[MAX_SLOTS]; /* runs, and floats by which each slot moves between them */
  size_t workspace;
};

static bool failed(Ctx *ctx, ErrCode code, const char *what, dnnl_status_t status) {
  return diag(ctx, code, NULL, "oneDNN, %s: %s", what, dnnl_status2str(status));
}

/* Engines, primitives and runs look at the calling thread's OpenMP setting. */
static void single_thread(void) { omp_set_num_threads(1); }

Dnn *dnn_new(Ctx *ctx) {
  single_thread();
  Arena *arena = arena_new(ctx);
  Dnn *dnn = NEW(arena, Dnn);
  *dnn = (Dnn){.ctx = ctx, .arena = arena};
  dnnl_status_t s = dnnl_engine_create(&dnn->engine, dnnl_cpu, 0);
  if (!s) s = dnnl_stream_create(&dnn->stream, dnn->engine, dnnl_stream_in_order);
  if (!s) s = dnnl_primitive_attr_create(&dnn->attr);
  if (!s) s = dnnl_primitive_attr_set_scratchpad_mode(dnn->attr, dnnl_scratchpad_mode_user);
  if (!s) s = dnnl_primitive_attr_set_fpmath_mode(dnn->attr, dnnl_fpmath_mode_strict);
  if (!s) return dnn;
  failed(ctx, E0902, "start", s);
  dnn_free(dnn);
  return NULL;
}

void dnn_free(Dnn *dnn) {
  if (!dnn) return;
  tensor_free(dnn->scratch);
  if (dnn->attr) dnnl_primitive_attr_destroy(dnn->attr);
  if (dnn->stream) dnnl_stream_destroy(dnn->stream);
  if (dnn->engine) dnnl_engine_destroy(dnn->engine);
  arena_free(dnn->arena);
}

void dnn_op_free(DnnOp *op) {
  if (!op) return;
  for (int i = 0; i < op->n_slots; i++) {
    Slot *s = &op->slots[i];
    if (s->reorder) dnnl_primitive_destroy(s->reorder);
    if (s->user) dnnl_memory_destroy(s->user);
    if (s->inner) dnnl_memory_destroy(s->inner);
    if (s->scratch) dnnl_memory_destroy(s->scratch);
    tensor_free(s->buffer);
  }
  if (op->scratch) dnnl_memory_destroy(op->scratch);
  if (op->primitive) dnnl_primitive_destroy(op->primitive);
  if (op->pd) dnnl_primitive_desc_destroy(op->pd);
  arena_free(op->arena);
}

size_t dnn_workspace(const DnnOp *op) { return op->workspace; }

/* Running */

static bool bind(const DnnOp *op, const DnnArgs *args, int64_t run) {
  Dnn *dnn = op->dnn;
  for (int i = 0; i < op->n_slots; i++) {
    float *p;
    memcpy(&p, (const char *)args + op->slots[i].field, sizeof p);
    if (!p) return diag(dnn->ctx, E0902, NULL, "oneDNN, %s: operand %d is missing", op->what, i);
    dnnl_status_t s = dnnl_memory_set_data_handle(op->slots[i].user, run ? p + run * op->step[i] : p);
    if (s) return failed(dnn->ctx, E0902, op->what, s);
  }
  return true;
}

/* args: room for one more, the scratch. */
static dnnl_status_t execute(const DnnOp *op, dnnl_primitive_t primitive, int n, dnnl_exec_arg_t *args, dnnl_memory_t scratch) {
  Dnn *dnn = op->dnn;
  if (scratch) {
    dnnl_status_t s = dnnl_memory_set_data_handle(scratch, dnn->scratch->data);
    if (s) return s;
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, scratch};
  }
  return dnnl_primitive_execute(primitive, dnn->stream, n, args);
}

static dnnl_status_t run_reorders(const DnnOp *op, bool output) {
  for (int i = 0; i < op->n_slots; i++) {
    const Slot *s = &op->slots[i];
    if (!s->inner || s->output != output) continue;
    dnnl_exec_arg_t args[3] = {{DNNL_ARG_FROM, output ? s->inner : s->user}, {DNNL_ARG_TO, output ? s->user : s->inner}};
    dnnl_status_t status = execute(op, s->reorder, 2, args, s->scratch);
    if (status) return status;
  }
  return dnnl_success;
}

bool dnn_run(DnnOp *op, const DnnArgs *given) {
  single_thread();
  for (int64_t run = 0; run < op->repeat; run++) {
    dnnl_exec_arg_t args[MAX_SLOTS + 1];
    if (!bind(op, given, run)) return false;
    for (int i = 0; i < op->n_slots; i++)
      args[i] = (dnnl_exec_arg_t){op->slots[i].arg, op->slots[i].inner ? op->slots[i].inner : op->slots[i].user};
    dnnl_status_t s = run_reorders(op, false);
    if (!s) s = execute(op, op->primitive, op->n_slots, args, op->scratch);
    if (!s) s = run_reorders(op, true);
    if (!s) s = dnnl_stream_wait(op->dnn->stream);
    if (s) return failed(op->dnn->ctx, E0902, op->what, s);
  }
  return true;
}

/* Making operations */

static DnnOp *op_new(Dnn *dnn, const char *what) {
  single_thread();
  Arena *arena = arena_new(dnn->ctx);
  DnnOp *op = NEW(arena, DnnOp);
  *op = (DnnOp){.dnn = dnn, .arena = arena, .what = what, .repeat = 1};
  return op;
}

static Tensor *floats(Ctx *ctx, size_t bytes) {
  Type t = type_make(F32, 1, (int64_t[]){(int64_t)(bytes / 4 + 1)});
  return tensor_new(ctx, &t);
}

/* Memory for what pd wants as scratch, NULL where it wants none; the Dnn's scratch grows to hold it. */
static bool make_scratch(DnnOp *op, const_dnnl_primitive_desc_t pd, dnnl_memory_t *memory) {
  Dnn *dnn = op->dnn;
  const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  size_t bytes = md ? dnnl_memory_desc_get_size(md) : 0;
  if (!bytes) return true;
  if (!dnn->scratch || (size_t)dnn->scratch->n * 4 < bytes) {
    Tensor *larger = floats(dnn->ctx, bytes);
    if (!larger) return false;
    tensor_free(dnn->scratch);
    dnn->scratch = larger;
  }
  dnnl_status_t s = dnnl_memory_create(memory, md, dnn->engine, DNNL_MEMORY_NONE);
  return !s || failed(dnn->ctx, E0902, op->what, s);
}

/* The inner buffer of a slot and its reorder. */
static bool make_inner(DnnOp *op, Slot *s, const dnnl_memory_desc_t *user, const dnnl_memory_desc_t *inner) {
  Dnn *dnn = op->dnn;
  s->buffer = floats(dnn->ctx, dnnl_memory_desc_get_size(inner));
  if (!s->buffer) return false;
  dnnl_primitive_desc_t pd = NULL;
  dnnl_status_t status = dnnl_memory_create(&s->inner, inner, dnn->engine, s->buffer->data);
  if (!status)
    status = s->output ? dnnl_reorder_primitive_desc_create(&pd, inner, dnn->engine, user, dnn->engine, dnn->attr)
                       : dnnl_reorder_primitive_desc_create(&pd, user, dnn->engine, inner, dnn->engine, dnn->attr);
  if (!status) status = dnnl_primitive_create(&s->reorder, pd);
  bool ok = status ? failed(dnn->ctx, E0307, op->what, status) : make_scratch(op, pd, &s->scratch);
  if (pd) dnnl_primitive_desc_destroy(pd);
  return ok;
}

/* Operand arg: DnnArgs's pointer at field, laid out as user says (NULL: as the primitive does). */
static bool slot(DnnOp *op, int arg, size_t field, const dnnl_memory_desc_t *user, bool output) {
  Slot *s = &op->slots[op->n_slots++];
  *s = (Slot){.field = field, .arg = arg, .output = output};
  const dnnl_memory_desc_t *inner = dnnl_primitive_desc_query_md(op->pd, dnnl_query_exec_arg_md, arg);
  if (!inner || !inner->ndims) return failed(op->dnn->ctx, E0902, op->what, dnnl_invalid_arguments);
  if (!user) user = inner;
  dnnl_status_t status = dnnl_memory_create(&s->user, user, op->dnn->engine, DNNL_MEMORY_NONE);
  if (status) return failed(op->dnn->ctx, E0902, op->what, status);
  return dnnl_memory_desc_equal(user, inner) || make_inner(op, s, user, inner);
}
#define IN(op, arg, field, md) slot(op, arg, offsetof(DnnArgs, field), md, false)
#define OUT(op, arg, field, md) slot(op, arg, offsetof(DnnArgs, field), md, true)

/* Once every slot is there (ok): the primitive and its scratch. NULL, and op freed, on failure. */
static DnnOp *finish(DnnOp *op, bool ok) {
  if (ok) {
    dnnl_status_t s = dnnl_primitive_create(&op->primitive, op->pd);
    ok = s ? failed(op->dnn->ctx, E0307, op->what, s) : make_scratch(op, op->pd, &op->scratch);
  }
  if (!ok) { dnn_op_free(op); return NULL; }
  dnnl_primitive_desc_destroy(op->pd);
  op->pd = NULL;
  return op;
}

/* Descriptions of memory */

static dnnl_memory_desc_t strided(int rank, const int64_t *dims, const int64_t *strides) {
  dnnl_memory_desc_t md;
  dnnl_dims_t d = {0}, s = {0};
  memcpy(d, dims, (size_t)rank * sizeof *d);
  memcpy(s, strides, (size_t)rank * sizeof *s);
  if (dnnl_memory_desc_init_by_strides(&md, rank, d, dnnl_f32, s)) memset(&md, 0, sizeof md); /* refused where it is used */
  return md;
}

static dnnl_memory_desc_t row_major(int rank, const int64_t *dims) {
  int64_t strides[DNNL_MAX_NDIMS];
  for (int64_t i = rank - 1, step = 1; i >= 0; step *= dims[i--]) strides[i] = step;
  return strided(rank, dims, strides);
}

/* dims in oneDNN's order [n, c, spatial..]. */
static dnnl_memory_desc_t channels_last(int nd, int64_t n, int64_t c, const int64_t *spatial) {
  int64_t dims[5] = {n, c}, strides[5] = {0, 1}, step = c;
  for (int i = nd - 1; i >= 0; step *= spatial[i--]) {
    dims[2 + i] = spatial[i];
    strides[2 + i] = step;
  }
  strides[0] = step;
  return strided(nd + 2, dims, strides);
}

static dnnl_memory_desc_t any_layout(const dnnl_memory_desc_t *like) {
  dnnl_memory_desc_t md;
  if (dnnl_memory_desc_init_by_tag(&md, like->ndims, like->dims, dnnl_f32, dnnl_format_tag_any)) memset(&md, 0, sizeof md);
  return md;
}

/* n*c*spatial, all positive, fits what kernels index with 32 bits. */
static bool check_size(Ctx *ctx, const char *what, int nd, int64_t n, int64_t c, const int64_t *spatial) {
  int64_t total = 1, dims[5] = {n, c};
  for (int i = 0; i < nd; i++) dims[2 + i] = spatial[i];
  for (int i = 0; i < nd + 2; i++) {
    if (dims[i] < 1) return diag(ctx, E0207, NULL, "%s: a dimension of %lld", what, (long long)dims[i]);
    if (!mul_ok(total, dims[i], &total) || total > INT32_MAX) return diag(ctx, E0402, NULL, "%s: more than 2^31-1 elements", what);
  }
  return true;
}

/* What convolutions and poolings share, in oneDNN's terms. */
typedef struct Window { dnnl_dims_t k, stride, dilation, before, after; } Window;

/* after: padding such that floor division gives out; 0 where the windows leave less than a stride of x over. */
static bool make_window(Ctx *ctx, const char *what, int nd, const int64_t *in, const int64_t *k, const int64_t *out,
                        const int64_t *stride, const int64_t *dilation, const int64_t *pad, Window *w) {
  const int64_t most = 1 << 30;
  if (nd < 1 || nd > 3) return diag(ctx, E0307, NULL, "%s: %d spatial dimensions; 1 to 3 are supported", what, nd);
  *w = (Window){{0}, {0}, {0}, {0}, {0}};
  for (int i = 0; i < nd; i++) {
    if (in[i] < 1 || k[i] < 1 || out[i] < 1 || stride[i] < 1 || dilation[i] < 1 || pad[i] < 0 || in[i] > most || k[i] > most ||
        out[i] > most || stride[i] > most || dilation[i] > most || pad[i] > most)
      return diag(ctx, E0207, NULL, "%s: a window, stride, dilation or padding out of range", what);
    int64_t exact = (out[i] - 1) * stride[i] + (k[i] - 1) * dilation[i] + 1 - in[i] - pad[i];
    if (exact <= -stride[i]) return diag(ctx, E0207, NULL, "%s: more than a stride of its input is left over", what);
    w->k[i] = k[i];
    w->stride[i] = stride[i];
    w->dilation[i] = dilation[i] - 1;
    w->before[i] = pad[i];
    w->after[i] = exact > 0 ? exact : 0;
  }
  return true;
}

/* Convolution */

typedef enum Dir { FORWARD, GRAD_X, GRAD_W } Dir;
static const char *const conv_names[] = {"convolution", "a convolution's gradient of x", "a convolution's gradient of w"};

typedef struct ConvMds { dnnl_memory_desc_t x, w, b, y; } ConvMds; /* b: all zero without bias */

static bool conv_mds(Ctx *ctx, const DnnConv *c, const char *what, bool bias, ConvMds *m, Window *win) {
  if (!make_window(ctx, what, c->nd, c->in, c->k, c->out, c->stride, c->dilation, c->pad, win)) return false;
  if (c->groups < 1 || c->ic < 1 || c->oc < 1 || c->ic % c->groups || c->oc % c->groups)
    return diag(ctx, E0207, NULL, "%s: %lld groups of %lld and %lld channels", what, (long long)c->groups, (long long)c->ic, (long long)c->oc);
  if (!check_size(ctx, what, c->nd, c->n, c->ic, c->in) || !check_size(ctx, what, c->nd, c->n, c->oc, c->out) ||
      !check_size(ctx, what, c->nd, c->oc, c->ic / c->groups, c->k))
    return false;
  int64_t dims[6], *d = dims;
  if (c->groups > 1) *d++ = c->groups;
  *d++ = c->oc / c->groups;
  *d++ = c->ic / c->groups;
  for (int i = 0; i < c->nd; i++) *d++ = c->k[i];
  memset(m, 0, sizeof *m);
  m->x = channels_last(c->nd, c->n, c->ic, c->in);
  m->y = channels_last(c->nd, c->n, c->oc, c->out);
  m->w = row_major((int)(d - dims), dims);
  if (bias) m->b = row_major(1, &c->oc);
  return true;
}

static dnnl_status_t conv_desc(Dir dir, const ConvMds *m, const Window *w, dnnl_convolution_desc_t *d) {
  const dnnl_alg_kind_t alg = dnnl_convolution_direct;
  switch (dir) {
  case FORWARD:
    return dnnl_dilated_convolution_forward_desc_init(d, dnnl_forward_training, alg, &m->x, &m->w, &m->b, &m->y, w->stride, w->dilation,
                                                      w->before, w->after);
  case GRAD_X:
    return dnnl_dilated_convolution_backward_data_desc_init(d, alg, &m->x, &m->w, &m->y, w->stride, w->dilation, w->before, w->after);
  case GRAD_W: break;
  }
  return dnnl_dilated_convolution_backward_weights_desc_init(d, alg, &m->x, &m->w, &m->b, &m->y, w->stride, w->dilation, w->before, w->after);
}

/* oneDNN's first choice for these layouts; *pd is NULL on failure. */
static dnnl_status_t conv_pd(Dnn *dnn, Dir dir, const ConvMds *m, const Window *win, const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd) {
  dnnl_convolution_desc_t d;
  dnnl_primitive_desc_t hint = NULL;
  dnnl_status_t s = dnnl_success;
  *pd = NULL;
  if (dir != FORWARD) {
    s = conv_desc(FORWARD, m, win, &d);
    if (!s) s = dnnl_primitive_desc_create(&hint, &d, dnn->attr, dnn->engine, NULL);
  }
  if (!s) s = conv_desc(dir, m, win, &d);
  if (!s) s = dnnl_primitive_desc_create(pd, &d, attr, dnn->engine, hint);
  if (hint) dnnl_primitive_desc_destroy(hint);
  return s;
}

static dnnl_status_t relu_attr(Dnn *dnn, dnnl_primitive_attr_t *attr) {
  dnnl_post_ops_t post = NULL;
  dnnl_status_t s = dnnl_primitive_attr_clone(attr, dnn->attr);
  if (!s) s = dnnl_post_ops_create(&post);
  if (!s) s = dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_relu, 0, 0);
  if (!s) s = dnnl_primitive_attr_set_post_ops(*attr, post);
  if (post) dnnl_post_ops_destroy(post);
  return s;
}

static DnnOp *conv(Dnn *dnn, const DnnConv *c, Dir dir, bool bias, bool relu) {
  ConvMds m;
  Window win;
  if (!conv_mds(dnn->ctx, c, conv_names[dir], bias, &m, &win)) return NULL;
  DnnOp *op = op_new(dnn, conv_names[dir]);
  dnnl_primitive_attr_t attr = NULL;
  dnnl_status_t s = relu ? relu_attr(dnn, &attr) : dnnl_success;
  ConvMds wish = m;
  wish.w = any_layout(&m.w);
  if (!s) s = conv_pd(dnn, dir, &wish, &win, attr ? attr : dnn->attr, &op->pd);
  if (attr) dnnl_primitive_attr_destroy(attr);
  bool ok = s ? failed(dnn->ctx, E0307, op->what, s) : true;
  if (dir == FORWARD)
    ok = ok && IN(op, DNNL_ARG_SRC, x, &m.x) && IN(op, DNNL_ARG_WEIGHTS, w, &m.w) && (!bias || IN(op, DNNL_ARG_BIAS, b, &m.b)) &&
         OUT(op, DNNL_ARG_DST, y, &m.y);
  else if (dir == GRAD_X)
    ok = ok && IN(op, DNNL_ARG_DIFF_DST, dy, &m.y) && IN(op, DNNL_ARG_WEIGHTS, w, &m.w) && OUT(op, DNNL_ARG_DIFF_SRC, dx, &m.x);
  else
    ok = ok && IN(op, DNNL_ARG_SRC, x, &m.x) && IN(op, DNNL_ARG_DIFF_DST, dy, &m.y) && OUT(op, DNNL_ARG_DIFF_WEIGHTS, dw, &m.w) &&
         (!bias || OUT(op, DNNL_ARG_DIFF_BIAS, db, &m.b));
  return finish(op, ok);
}

DnnOp *dnn_conv_forward(Dnn *dnn, const DnnConv *c, bool bias, bool relu) { return conv(dnn, c, FORWARD, bias, relu); }
DnnOp *dnn_conv_grad_x(Dnn *dnn, const DnnConv *c) { return conv(dnn, c, GRAD_X, false, false); }
DnnOp *dnn_conv_grad_w(Dnn *dnn, const DnnConv *c, bool bias) { return conv(dnn, c, GRAD_W, bias, false); }

/* Matrix product */

/* A matrix [r, c] with strides s (batch, row, column) as oneDNN wants them: dense along one of its two dimensions, the other stride
 * not less than that dimension; strides along a single element are made so. False where they cannot be. */
static bool matrix_md(int64_t r, int64_t c, const int64_t *s, dnnl_memory_desc_t *md) {
  int64_t row = s[1], col = s[2];
  if (c == 1) col = 1;
  else if (r == 1) row = col == 1 ? c : 1;
  if (r == 1 && col == 1) row = c;
  if (!((col == 1 && row >= c) || (row == 1 && col >= r)) || row > INT32_MAX || col > INT32_MAX || s[0] < 0) return false;
  *md = strided(2, (int64_t[]){r, c}, (int64_t[]){row, col});
  return true;
}

/* The same product transposed: y' = w' . x'. */
static DnnMatmul transposed(const DnnMatmul *d) {
  return (DnnMatmul){d->batch, d->n, d->m, d->k, {d->w[0], d->w[2], d->w[1]}, {d->x[0], d->x[2], d->x[1]}, {d->y[0], d->y[2], d->y[1]}, d->bias};
}

DnnOp *dnn_matmul(Dnn *dnn, const DnnMatmul *d) {
  const char *what = "matrix product";
  Ctx *ctx = dnn->ctx;
  /* oneDNN's kernels write rows. */
  bool swap = !d->bias && d->y[1] == 1 && d->y[2] != 1;
  size_t left = swap ? offsetof(DnnArgs, w) : offsetof(DnnArgs, x), right = swap ? offsetof(DnnArgs, x) : offsetof(DnnArgs, w);
  DnnMatmul p = swap ? transposed(d) : *d;
  /* A batch that only lengthens the rows is one matrix. */
  int64_t rows, x_step, y_step;
  if (p.batch > 1 && p.w[0] == 0 && mul_ok(p.m, p.batch, &rows) && mul_ok(p.m, p.x[1], &x_step) && mul_ok(p.m, p.y[1], &y_step) &&
      p.x[0] == x_step && p.y[0] == y_step) {
    p.m = rows;
    p.batch = 1;
  }
  if (!check_size(ctx, what, 0, p.m, p.k, NULL) || !check_size(ctx, what, 0, p.k, p.n, NULL) ||
      !check_size(ctx, what, 0, p.m, p.n, NULL) || !check_size(ctx, what, 0, p.batch, 1, NULL))
    return NULL;
  dnnl_memory_desc_t x, w, y, b;
  if (!matrix_md(p.m, p.k, p.x, &x) || !matrix_md(p.k, p.n, p.w, &w) || !matrix_md(p.m, p.n, p.y, &y) || (p.batch > 1 && p.y[0] == 0)) {
    diag(ctx, E0307, NULL, "%s: strides of neither a row-major nor a transposed matrix", what);
    return NULL;
  }
  memset(&b, 0, sizeof b);
  if (p.bias) b = row_major(2, (int64_t[]){1, p.n});
  DnnOp *op = op_new(dnn, what);
  dnnl_matmul_desc_t md;
  dnnl_status_t s = dnnl_matmul_desc_init(&md, &x, &w, &b, &y);
  if (!s) s = dnnl_primitive_desc_create(&op->pd, &md, dnn->attr, dnn->engine, NULL);
  bool ok = s ? failed(ctx, E0307, what, s) : true;
  op->repeat = p.batch;
  op->step[0] = p.x[0];
  op->step[1] = p.w[0];
  op->step[2] = p.y[0];
  ok = ok && slot(op, DNNL_ARG_SRC, left, &x, false) && slot(op, DNNL_ARG_WEIGHTS, right, &w, false) && OUT(op, DNNL_ARG_DST, y, &y) &&
       (!p.bias || IN(op, DNNL_ARG_BIAS, b, &b));
  return finish(op, ok);
}

/* Pooling */

/* Does every window along one dimension reach into x? */
static bool windows_reach(int64_t in, int64_t k, int64_t out, int64_t stride, int64_t dilation, int64_t pad) {
  for (int64_t o = 0; o < out; o++) {
    int64_t first = o * stride - pad, skip = first < 0 ? (-first + dilation - 1) / dilation : 0;
    if (skip >= k || first + skip * dilation >= in) return false;
  }
  return true;
}

static DnnOp *pool(Dnn *dnn, const DnnPool *p, bool grad) {
  static const dnnl_alg_kind_t algs[] = {dnnl_pooling_max, dnnl_pooling_avg_exclude_padding, dnnl_pooling_avg_include_padding};
  const char *what = grad ? "pooling's gradient" : "pooling";
  Ctx *ctx = dnn->ctx;
  Window w;
  if (!make_window(ctx, what, p->nd, p->in, p->k, p->out, p->stride, p->dilation, p->pad, &w) ||
      !check_size(ctx, what, p->nd, p->n, p->c, p->in) || !check_size(ctx, what, p->nd, p->n, p->c, p->out))
    return NULL;
  for (int i = 0; i < p->nd; i++)
    if (!windows_reach(p->in[i], p->k[i], p->out[i], p->stride[i], p->dilation[i], p->pad[i]))
      { diag(ctx, E0207, NULL, "%s: a window lies in the padding alone", what); return NULL; }
  dnnl_memory_desc_t x = channels_last(p->nd, p->n, p->c, p->in), y = channels_last(p->nd, p->n, p->c, p->out);
  DnnOp *op = op_new(dnn, what);
  dnnl_pooling_v2_desc_t d;
  dnnl_primitive_desc_t forward = NULL;
  dnnl_status_t s = dnnl_pooling_v2_forward_desc_init(&d, dnnl_forward_training, algs[p->kind], &x, &y, w.stride, w.k, w.dilation, w.before, w.after);
  if (!s) s = dnnl_primitive_desc_create(&forward, &d, dnn->attr, dnn->engine, NULL);
  if (grad) {
    if (!s) s = dnnl_pooling_v2_backward_desc_init(&d, algs[p->kind], &x, &y, w.stride, w.k, w.dilation, w.before, w.after);
    if (!s) s = dnnl_primitive_desc_create(&op->pd, &d, dnn->attr, dnn->engine, forward);
    if (forward) dnnl_primitive_desc_destroy(forward);
  } else op->pd = forward;
  bool ok = s ? failed(ctx, E0307, what, s) : true;
  if (grad) ok = ok && IN(op, DNNL_ARG_DIFF_DST, dy, &y) && OUT(op, DNNL_ARG_DIFF_SRC, dx, &x);
  else ok = ok && IN(op, DNNL_ARG_SRC, x, &x) && OUT(op, DNNL_ARG_DST, y, &y);
  if (ok && p->kind == DNN_MAX) {
    ok = slot(op, DNNL_ARG_WORKSPACE, offsetof(DnnArgs, ws), NULL, !grad);
    const dnnl_memory_desc_t *ws = dnnl_primitive_desc_query_md(op->pd, dnnl_query_workspace_md, 0);
    op->workspace = ws ? dnnl_memory_desc_get_size(ws) : 0;
  }
  return finish(op, ok);
}

DnnOp *dnn_pool_forward(Dnn *dnn, const DnnPool *p) { return pool(dnn, p, false); }
DnnOp *dnn_pool_grad(Dnn *dnn, const DnnPool *p) { return pool(dnn, p, true); }
