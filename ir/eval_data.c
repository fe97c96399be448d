/* Evaluation of the operators that move elements or walk along one axis: concat, gather, argreduce, cum, pack. */
#include "ir/eval_impl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

bool eval_concat(const Eval *e) {
  char *y = e->y->data;
  int64_t outer = around(&e->n->t, e->n->a.axis).outer;
  for (int64_t o = 0; o < outer; o++) {
    for (int k = 0; k < e->n->n_in; k++) {
      const Tensor *x = e->in[k];
      assert(x->st == e->y->st);
      size_t bytes = (size_t)(x->n / outer) * store_size(x->st);
      if (bytes) memcpy(y, (const char *)x->data + (size_t)o * bytes, bytes);
      y += bytes;
    }
    if ((o & 0xfff) == 0 && eval_cancelled(e)) return false;
  }
  return true;
}

bool eval_gather(const Eval *e) {
  const Tensor *x = e->in[0], *index = e->in[1];
  Around a = around(&x->t, e->n->a.axis);
  if (e->y->n == 0) return true;
  if (a.n == 0) return diag(e->ctx, E0207, &e->n->loc, "gather from an empty axis");
  size_t bytes = (size_t)a.inner * store_size(x->st);
  char *y = e->y->data;
  for (int64_t o = 0; o < a.outer; o++) {
    for (int64_t i = 0; i < index->n; i++) {
      int64_t at = tensor_i(index, i);
      if (elem_is_u64(index->t.e) && at < 0) at = INT64_MAX;
      if (at < 0) at += a.n;
      at = at < 0 ? 0 : at >= a.n ? a.n - 1 : at;
      memcpy(y, (const char *)x->data + (size_t)(o * a.n + at) * bytes, bytes);
      y += bytes;
    }
    if ((o & 0xfff) == 0 && eval_cancelled(e)) return false;
  }
  return true;
}

/* True where v takes the place of the best so far. */
static bool better(const Node *n, Elem e, Val v, Val best) {
  bool max = n->a.scalar == S_MAX, last = n->a.flag & 1;
  if (!elem_is_float(e)) {
    if (v.i == best.i) return last;
    bool less = elem_is_u64(e) ? (uint64_t)v.i < (uint64_t)best.i : v.i < best.i;
    return max ? !less : less;
  }
  if (isnan(best.f)) return isnan(v.f) && last;
  if (isnan(v.f)) return true;
  return v.f == best.f ? last : max ? v.f > best.f : v.f < best.f;
}

bool eval_argreduce(const Eval *e) {
  const Tensor *x = e->in[0];
  Around a = around(&x->t, e->n->a.axis);
  for (int64_t i = 0; a.n > 0 && i < a.outer * a.inner; i++) {
    int64_t first = i / a.inner * a.n * a.inner + i % a.inner;
    Val v[RUN], best = {0}, at = {.i = 0};
    for (int64_t j = 0; j < a.n; j += RUN) {
      int n = (int)(a.n - j < RUN ? a.n - j : RUN);
      vals_load(x, first + j * a.inner, a.inner, v, n);
      for (int k = 0; k < n; k++)
        if (j + k == 0 || better(e->n, x->t.e, v[k], best)) { best = v[k]; at.i = j + k; }
    }
    vals_store(e->y, i, &at, 1);
    if ((i & 0xfff) == 0 && eval_cancelled(e)) return false;
  }
  return true;
}

/* The running value is kept in binary32 for 16-bit floats, as in reduce; every element is rounded. */
bool eval_cum(const Eval *e) {
  enum { EXCLUSIVE = 1, REVERSE = 2 };
  const Attr *at = &e->n->a;
  Elem to = e->n->t.e, run = elem_is_float(to) && to.bits < 32 ? F32 : to;
  Around a = around(&e->n->t, at->axis);
  bool is_float = elem_is_float(to), product = at->scalar == S_MUL;
  assert(is_float == elem_is_float(e->in[0]->t.e));
  for (int64_t i = 0; i < a.outer * a.inner; i++) {
    int64_t first = i / a.inner * a.n * a.inner + i % a.inner, step = a.inner;
    if (at->flag & REVERSE) { first += (a.n - 1) * step; step = -step; }
    Val acc = is_float ? (Val){.f = product} : (Val){.i = product};
    for (int64_t j = 0; j < a.n; j++) {
      Val args[2] = {acc}, y;
      vals_load(e->in[0], first + j * step, 1, &args[1], 1);
      Val next = scalar_eval(at->scalar, run, run, args);
      y = at->flag & EXCLUSIVE ? acc : next;
      if (is_float) y.f = elem_round(to, y.f);
      vals_store(e->y, first + j * step, &y, 1);
      acc = next;
    }
    if ((i & 0xfff) == 0 && eval_cancelled(e)) return false;
  }
  return true;
}

bool eval_pack(const Eval *e) {
  const Tensor *x = e->in[0];
  const Type *t = &e->n->t;
  int64_t k = x->t.d[x->t.rank - 1].n, planes = t->d[t->rank - 2].n, words = t->d[t->rank - 1].n;
  int width = t->e.bits;
  bool bipolar = x->t.e.kind == EK_BASES && x->t.e.bits == 1;
  if (e->y->n == 0) return true;
  for (int64_t row = 0; row < e->y->n / (planes * words); row++) {
    for (int64_t w = 0; w < words; w++) {
      Val v[64];
      int n = (int)(k - w * width < width ? k - w * width : width);
      if (n <= 0) break;
      vals_load(x, row * k + w * width, 1, v, n);
      if (bipolar) for (int i = 0; i < n; i++) v[i].i = v[i].i > 0;
      for (int64_t p = 0; p < planes; p++) {
        uint64_t word = 0;
        for (int i = 0; i < n; i++) word |= (uint64_t)(v[i].i >> (p > 63 ? 63 : p) & 1) << i;
        vals_store(e->y, (row * planes + p) * words + w, &(Val){.i = (int64_t)word}, 1);
      }
    }
    if ((row & 0xfff) == 0 && eval_cancelled(e)) return false;
  }
  return true;
}
