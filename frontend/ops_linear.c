/* Contractions: convolutions, matrix products, einsum. */
#include "frontend/import.h"

#include <string.h>

static bool done(OpCall *c, Node *y) { c->out[0] = y; return y != NULL; }

/* Windows */

#define WINDOW_MAX (INT64_C(1) << 31) /* of every size, so that products stay below 2^63 */

/* One list of a window, every entry in lo..WINDOW_MAX; dflt where the attribute is absent. */
static bool window_list(OpCall *c, const char *name, int64_t lo, int64_t dflt, int n, int64_t *to) {
  const int64_t *v;
  int given = ox_ints(c, name, &v);
  for (int i = 0; i < n; i++) {
    to[i] = given < 0 ? dflt : v[i];
    if (to[i] < lo || to[i] > WINDOW_MAX) return ox_fail(c, E0204, "%s has the entry %lld", name, (long long)to[i]);
  }
  return true;
}

typedef enum AutoPad { PAD_GIVEN, PAD_VALID, PAD_UPPER, PAD_LOWER } AutoPad;
static bool auto_pad(OpCall *c, AutoPad *mode) {
  static const char *const names[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
  const char *s = ox_str(c, "auto_pad");
  for (int i = 0; i < 4; i++) if (!strcmp(s, names[i]) || (i == 0 && !*s)) { *mode = (AutoPad)i; return true; }
  return ox_fail(c, E0204, "auto_pad is \"%s\"", s);
}

/* Stride, dilation, pads and extents of x: what convolutions of both directions and pools share. */
static bool window_common(OpCall *c, const Node *x, const int64_t *kernel, Window *w, AutoPad *mode) {
  int64_t pads[2 * MAX_SPATIAL] = {0};
  w->n = x->t.rank - 2;
  if (w->n < 1 || w->n > MAX_SPATIAL) return ox_fail(c, E0302, "%d spatial dimensions", w->n);
  if (!auto_pad(c, mode) || !window_list(c, "strides", 1, 1, w->n, w->stride) || !window_list(c, "dilations", 1, 1, w->n, w->dilation) ||
      !window_list(c, "pads", 0, 0, 2 * w->n, pads)) return false;
  for (int i = 0; i < w->n; i++) {
    if (x->t.d[2 + i].sym) return ox_static(c, x);
    w->in[i] = x->t.d[2 + i].n;
    w->kernel[i] = kernel[i];
    w->before[i] = *mode == PAD_GIVEN ? pads[i] : 0;
    w->after[i] = *mode == PAD_GIVEN ? pads[w->n + i] : 0;
    if (kernel[i] < 1 || kernel[i] > WINDOW_MAX || w->in[i] > WINDOW_MAX) return ox_fail(c, E0204, "kernel dimension %d is %lld", i, (long long)kernel[i]);
  }
  return true;
}

/* ceil_mode: a window that starts beyond the input and its front padding is left out. */
bool ox_window(OpCall *c, const Node *x, const int64_t *kernel, Window *w) {
  AutoPad mode;
  bool ceil = strstr(c->row->attrs, "ceil_mode") && ox_int(c, "ceil_mode");
  if (!window_common(c, x, kernel, w, &mode)) return false;
  for (int i = 0; i < w->n; i++) {
    int64_t extent = (w->kernel[i] - 1) * w->dilation[i] + 1, s = w->stride[i];
    if (mode == PAD_UPPER || mode == PAD_LOWER) {
      w->out[i] = (w->in[i] + s - 1) / s;
      int64_t total = (w->out[i] - 1) * s + extent - w->in[i];
      if (total < 0) total = 0;
      w->before[i] = mode == PAD_UPPER ? total / 2 : (total + 1) / 2;
      w->after[i] = total - w->before[i];
      continue;
    }
    int64_t span = w->in[i] + w->before[i] + w->after[i] - extent;
    if (span < 0) return ox_fail(c, E0207, "the window of %lld is larger than dimension %d with its padding", (long long)extent, i);
    w->out[i] = span / s + 1;
    if (ceil && span % s && w->out[i] * s < w->in[i] + w->before[i]) w->out[i]++;
  }
  return true;
}

/* Convolutions */

static bool conv_shapes(OpCall *c, const Node *x, const Node *w, int64_t groups, bool transposed) {
  if (x->t.rank < 3) return ox_fail(c, E0207, "the input has rank %d", x->t.rank);
  if (w->t.rank != x->t.rank) return ox_fail(c, E0207, "weights have rank %d, the input has %d", w->t.rank, x->t.rank);
  if (!ox_static(c, w)) return false;
  if (x->t.d[1].sym) return ox_static(c, x);
  int64_t ch = x->t.d[1].n, per = w->t.d[1].n, m = w->t.d[0].n;
  if (groups < 1 || groups > WINDOW_MAX) return ox_fail(c, E0204, "group is %lld", (long long)groups);
  if (transposed ? m != ch || ch % groups : per * groups != ch || m % groups)
    return ox_fail(c, E0207, "%lld channels, %lld groups and weights [%lld, %lld, ..] do not fit", (long long)ch, (long long)groups, (long long)m, (long long)per);
  const int64_t *k;
  int n = ox_ints(c, "kernel_shape", &k);
  for (int i = 0; i < n; i++) if (k[i] != w->t.d[2 + i].n) return ox_fail(c, E0204, "kernel_shape differs from the weights");
  return true;
}

Node *ox_conv(OpCall *c, Node *x, Node *w, Elem result) {
  Window win;
  int64_t kernel[MAX_RANK], groups = ox_int(c, "group");
  if (!x || !w || !conv_shapes(c, x, w, groups, false)) return NULL;
  for (int i = 2; i < w->t.rank; i++) kernel[i - 2] = w->t.d[i].n;
  if (!ox_window(c, x, kernel, &win)) return NULL;
  return node_conv(c->g, x, w, (int)groups, win.stride, win.dilation, win.before, win.out, 0, result);
}

/* A bias per channel. */
static Node *with_bias(OpCall *c, Node *y, Node *bias) {
  if (!y || !bias) return y;
  if (bias->t.rank != 1 || !dim_eq(bias->t.d[0], y->t.d[1])) { ox_fail(c, E0207, "the bias does not have one value per channel"); return NULL; }
  return ox_map2(c, S_ADD, y, ox_fold(c, ox_along(c, bias, 1, y->t.rank)));
}

bool op_conv(OpCall *c) {
  return done(c, with_bias(c, ox_conv(c, c->in[0], c->in[1], c->in[0]->t.e), ox_in(c, 2)));
}

/* A zero point taken away, in as many bits as the differences need; a vector lies along axis. */
static Node *centred(OpCall *c, Node *x, Node *zp, int axis) {
  double z;
  if (!zp || (node_uniform(zp, &z) && z == 0)) return x;
  if (!elem_eq(zp->t.e, x->t.e)) { ox_fail(c, E0206, "a zero point has another type than its operand"); return NULL; }
  if (zp->t.rank == 1 && !zp->t.d[0].sym && zp->t.d[0].n == 1) zp = ox_reshape(c, zp, 0, NULL);
  if (zp->t.rank <= 1) zp = ox_along(c, zp, axis, x->t.rank);
  Type t;
  if (!zp || !type_broadcast(&x->t, &zp->t, &t) || !type_shape_eq(&t, &x->t)) {
    if (zp) ox_fail(c, E0207, "a zero point does not fit its operand");
    return NULL;
  }
  int64_t lo = elem_lo(x->t.e), hi = elem_hi(x->t.e);
  if (node_is_const(zp)) {
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (int64_t i = 0; i < zp->a.value->n; i++) {
      int64_t v = tensor_i(zp->a.value, i);
      least = v < least ? v : least, most = v > most ? v : most;
    }
    if (least <= most) return ox_fold(c, node_map_as(c->g, S_SUB, elem_for_range(lo - most, hi - least), 2, (Node *[]){x, zp}));
  }
  return ox_fold(c, node_map_as(c->g, S_SUB, elem_for_range(lo - hi, hi - lo), 2, (Node *[]){x, zp}));
}

bool op_conv_integer(OpCall *c) {
  return done(c, ox_conv(c, centred(c, c->in[0], ox_in(c, 2), 0), centred(c, c->in[1], ox_in(c, 3), 0), I32));
}

/* Pads and extents of ConvTranspose: out = stride * (in - 1) + output_padding + extent - before - after. */
static bool transposed_window(OpCall *c, const Node *x, const int64_t *kernel, Window *w) {
  AutoPad mode;
  int64_t extra[MAX_SPATIAL];
  const int64_t *shape;
  if (!window_common(c, x, kernel, w, &mode) || !window_list(c, "output_padding", 0, 0, w->n, extra)) return false;
  bool given = ox_ints(c, "output_shape", &shape) >= 0;
  for (int i = 0; i < w->n; i++) {
    if (w->in[i] == 0) return ox_fail(c, E0207, "spatial dimension %d is empty", i);
    int64_t full = w->stride[i] * (w->in[i] - 1) + extra[i] + (w->kernel[i] - 1) * w->dilation[i] + 1, total;
    if (given || mode == PAD_UPPER || mode == PAD_LOWER) {
      w->out[i] = given ? shape[i] : w->in[i] * w->stride[i];
      if (w->out[i] < 1 || w->out[i] > WINDOW_MAX) return ox_fail(c, E0204, "output_shape has the entry %lld", (long long)w->out[i]);
      total = full - w->out[i];
      if (total < 0) total = 0;
      w->before[i] = mode == PAD_UPPER ? total / 2 : total - total / 2;
      w->after[i] = total - w->before[i];
    } else w->out[i] = full - w->before[i] - w->after[i];
    if (w->out[i] < 1) return ox_fail(c, E0207, "spatial dimension %d of the result is empty", i);
  }
  return true;
}

/* y[n, g, m, o..] = sum over c, k.. of x[n, g, c, (o + before - k * dilation) / stride] * w[g, c, m, k..]. */
bool op_conv_transpose(OpCall *c) {
  Window win;
  Node *x = c->in[0], *w = c->in[1];
  int64_t kernel[MAX_RANK], g = ox_int(c, "group"), dims[MAX_RANK];
  if (!conv_shapes(c, x, w, g, true)) return false;
  for (int i = 2; i < w->t.rank; i++) kernel[i - 2] = w->t.d[i].n;
  if (!transposed_window(c, x, kernel, &win)) return false;
  int sp = win.n, n_out = 3 + sp;
  int64_t per = w->t.d[0].n / g, m = w->t.d[1].n;
  Dim xd[MAX_RANK] = {x->t.d[0], dim_c(g), dim_c(per)}, yd[MAX_RANK] = {x->t.d[0], dim_c(g * m)};
  Type t = {.e = x->t.e, .rank = (uint8_t)n_out, .d = {x->t.d[0], dim_c(g), dim_c(m)}};
  Affine ax[MAX_RANK], aw[MAX_RANK];
  Iters it = {.n_out = (uint8_t)n_out, .n_red = (uint8_t)(1 + sp), .acc = {ax, aw}};
  dims[0] = g, dims[1] = per, dims[2] = m;
  it.red[0] = dim_c(per);
  for (int i = 0; i < 3; i++) { ax[i] = affine_iter(i < 2 ? i : n_out, 1, 0); aw[i] = affine_iter(i == 0 ? 1 : i == 1 ? n_out : 2, 1, 0); }
  for (int i = 0; i < sp; i++) {
    xd[3 + i] = dim_c(win.in[i]);
    yd[2 + i] = t.d[3 + i] = dim_c(win.out[i]);
    dims[3 + i] = kernel[i];
    it.red[1 + i] = dim_c(kernel[i]);
    ax[3 + i] = affine_iter(3 + i, 1, win.before[i]);
    ax[3 + i].coef[n_out + 1 + i] = -win.dilation[i];
    ax[3 + i].div = win.stride[i];
    aw[3 + i] = affine_iter(n_out + 1 + i, 1, 0);
  }
  Node *in[2] = {ox_reshape_d(c, x, 3 + sp, xd), ox_fold(c, ox_reshape(c, w, 3 + sp, dims))};
  if (!in[1]) return false;
  Node *y = ox_reshape_d(c, node_contract(c->g, S_MUL, &t, 2, in, &it, 0), 2 + sp, yd);
  return done(c, with_bias(c, y, ox_in(c, 2)));
}

/* Matrix products */

static Node *matmul(OpCall *c, Node *a, Node *b, Elem result) {
  if (!a || !b) return NULL;
  Node *y = node_matmul(c->g, a, b, result);
  if (!y) ox_fail(c, E0207, "the operands' shapes do not fit a matrix product");
  return y;
}

bool op_matmul(OpCall *c) { return done(c, matmul(c, c->in[0], c->in[1], c->in[0]->t.e)); }

/* a's zero point may be per row, b's per column. */
bool op_matmul_integer(OpCall *c) {
  Node *a = c->in[0], *b = c->in[1];
  return done(c, matmul(c, centred(c, a, ox_in(c, 2), a->t.rank > 1 ? a->t.rank - 2 : 0), centred(c, b, ox_in(c, 3), b->t.rank ? b->t.rank - 1 : 0), I32));
}

Node *ox_gemm(OpCall *c, Node *a, Node *b) {
  if (!a || !b) return NULL;
  bool ta = ox_int(c, "transA") != 0, tb = ox_int(c, "transB") != 0;
  if (a->t.rank != 2 || b->t.rank != 2) { ox_fail(c, E0207, "operands have rank %d and %d, not 2", a->t.rank, b->t.rank); return NULL; }
  Dim k = a->t.d[ta ? 0 : 1];
  if (!dim_eq(k, b->t.d[tb ? 1 : 0])) { ox_fail(c, E0207, "the reduced dimensions of the operands differ"); return NULL; }
  Type t = {.e = a->t.e, .rank = 2, .d = {a->t.d[ta ? 1 : 0], b->t.d[tb ? 0 : 1]}};
  Affine fa[2] = {affine_iter(ta ? 2 : 0, 1, 0), affine_iter(ta ? 0 : 2, 1, 0)}, fb[2] = {affine_iter(tb ? 1 : 2, 1, 0), affine_iter(tb ? 2 : 1, 1, 0)};
  Iters it = {.n_out = 2, .n_red = 1, .red = {k}, .acc = {fa, fb}};
  return node_contract(c->g, S_MUL, &t, 2, (Node *[]){a, b}, &it, 0);
}

bool op_gemm(OpCall *c) {
  double alpha = ox_float(c, "alpha"), beta = ox_float(c, "beta");
  Node *y = ox_gemm(c, c->in[0], c->in[1]), *bias = ox_in(c, 2);
  if (!y) return false;
  if (alpha != 1) y = ox_map2(c, S_MUL, y, ox_num(c, y->t.e, alpha));
  if (bias && beta != 1) bias = ox_fold(c, ox_map2(c, S_MUL, bias, ox_num(c, bias->t.e, beta)));
  Type t = y->t;
  if (bias) {
    y = ox_map2(c, S_ADD, y, bias);
    if (y && (y->t.rank != 2 || !dim_eq(y->t.d[0], t.d[0]) || !dim_eq(y->t.d[1], t.d[1]))) return ox_fail(c, E0207, "C does not broadcast to the result");
  }
  return done(c, y);
}

/* Einsum: labels are letters, '.' is one dimension of the ellipsis, counted from its end as '0'.. */

typedef struct Labels { char l[MAX_RANK]; int n; } Labels;

/* One term of the equation, up to a comma, an arrow or the end. rank < 0: the output, the ellipsis has `dots` dimensions. */
static bool term(OpCall *c, const char **p, int rank, int *dots, Labels *out) {
  int letters = 0, ellipsis = 0;
  for (const char *q = *p; *q && *q != ',' && *q != '-'; q++) {
    if ((*q >= 'a' && *q <= 'z') || (*q >= 'A' && *q <= 'Z')) letters++;
    else if (!strncmp(q, "...", 3) && !ellipsis) { ellipsis = 1; q += 2; }
    else if (*q != ' ') return ox_fail(c, E0204, "the equation does not parse");
  }
  int here = !ellipsis ? 0 : rank < 0 ? *dots : rank - letters;
  if (here < 0 || here + letters > MAX_RANK || (rank >= 0 && here + letters != rank)) return ox_fail(c, E0204, "the equation does not fit an operand's rank");
  if (rank >= 0 && here > *dots) *dots = here;
  out->n = 0;
  for (; **p && **p != ',' && **p != '-'; ++*p) {
    if (**p == '.') { for (int i = here; i-- > 0;) out->l[out->n++] = (char)('0' + i); *p += 2; }
    else if (**p != ' ') out->l[out->n++] = **p;
  }
  return true;
}

/* Without an arrow: the ellipsis, then labels that occur once, in alphabetical order. */
static void implicit_output(const Labels *in, int n_in, int dots, Labels *out) {
  out->n = 0;
  for (int i = dots; i-- > 0;) out->l[out->n++] = (char)('0' + i);
  for (int ch = 'A'; ch <= 'z'; ch++) {
    int times = 0;
    for (int k = 0; k < n_in; k++) for (int i = 0; i < in[k].n; i++) times += in[k].l[i] == ch;
    if (times == 1 && out->n < MAX_RANK) out->l[out->n++] = (char)ch;
  }
}

/* Iterators for all labels: outputs in their order, then the others as they occur. */
static Node *einsum(OpCall *c, const Labels *in, const Labels *out) {
  char label[MAX_ITERS];
  Dim ext[MAX_ITERS];
  int n = 0;
  Affine acc[3][MAX_RANK];
  for (int i = 0; i < out->n; i++) { label[n] = out->l[i]; ext[n++] = dim_c(1); }
  for (int k = 0; k < c->n_in; k++)
    for (int d = 0; d < in[k].n; d++) {
      Dim here = c->in[k]->t.d[d];
      int i = 0;
      while (i < n && label[i] != in[k].l[d]) i++;
      if (i == MAX_ITERS) { ox_fail(c, E0302, "more than %d labels", MAX_ITERS); return NULL; }
      if (i == n) { label[n] = in[k].l[d]; ext[n++] = dim_c(1); }
      bool one = !here.sym && here.n == 1, was_one = !ext[i].sym && ext[i].n == 1;
      if (was_one) ext[i] = here;
      else if (!one && !dim_eq(ext[i], here)) { ox_fail(c, E0207, "label %c has two sizes", label[i]); return NULL; }
    }
  Type t = {.e = c->in[0]->t.e, .rank = (uint8_t)out->n};
  Iters it = {.n_out = (uint8_t)out->n, .n_red = (uint8_t)(n - out->n), .acc = {acc[0], acc[1], acc[2]}};
  for (int i = 0; i < n; i++) { if (i < out->n) t.d[i] = ext[i]; else it.red[i - out->n] = ext[i]; }
  for (int k = 0; k < c->n_in; k++)
    for (int d = 0; d < in[k].n; d++) {
      int i = 0;
      while (label[i] != in[k].l[d]) i++;
      acc[k][d] = affine_iter(i, dim_eq(c->in[k]->t.d[d], ext[i]) ? 1 : 0, 0);
    }
  return c->n_in > 1 ? node_contract(c->g, S_MUL, &t, c->n_in, c->in, &it, 0) : it.n_red ? node_reduce(c->g, S_ADD, c->in[0], &t, &it)
       : node_view(c->g, c->in[0], &t, acc[0], 0);
}

bool op_einsum(OpCall *c) {
  const char *p = ox_str(c, "equation");
  Labels in[3], out;
  int dots = 0;
  for (int k = 0; k < c->n_in; k++) {
    if (!c->in[k]) return ox_fail(c, E0205, "input %d is missing", k);
    if (k && *p++ != ',') return ox_fail(c, E0204, "the equation has fewer terms than operands");
    if (!term(c, &p, c->in[k]->t.rank, &dots, &in[k])) return false;
  }
  if (!*p) implicit_output(in, c->n_in, dots, &out);
  else if (p[0] != '-' || p[1] != '>') return ox_fail(c, E0204, "the equation does not parse");
  else {
    p += 2;
    if (!term(c, &p, -1, &dots, &out)) return false;
    if (*p) return ox_fail(c, E0204, "the equation does not parse");
  }
  for (int i = 0; i < out.n; i++)
    for (int k = 0; k < i; k++) if (out.l[k] == out.l[i]) return ox_fail(c, E0204, "label %c is twice in the output", out.l[i]);
  return done(c, einsum(c, in, &out));
}
