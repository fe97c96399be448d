/* quant and dequant, operation by operation as quant_eval and dequant_eval define them. */
#include "passes/lower.h"

#include <assert.h>

/* The sign of v on |r|. */
static Expr *with_sign(Lower *l, Expr *r, Expr *v) {
  Program *p = l->p;
  Elem word = v->t.e.bits == 64 ? I64 : I32;
  Expr *sign = nx2(p, S_AND, nx_bits(p, v, word), nx_const_i(p, nt(word), elem_lo(word)));
  return nx_bits(p, nx2(p, S_OR, nx_bits(p, r, word), sign), v->t.e);
}

static Expr *round_expr(Lower *l, Round mode, Expr *v) {
  Program *p = l->p;
  if (mode == RND_UP || mode == RND_HALF_UP || mode == RND_HALF_DOWN) v = let(l, "v", v);
  Expr *half = nx_const_f(p, v->t, 0.5);
  switch (mode) {
  case RND_EVEN: return nx1(p, S_ROUND, v);
  case RND_CEIL: return nx1(p, S_CEIL, v);
  case RND_FLOOR: return nx1(p, S_FLOOR, v);
  case RND_DOWN: return nx1(p, S_TRUNC, v);
  case RND_UP: return with_sign(l, nx1(p, S_CEIL, nx1(p, S_ABS, v)), v);
  /* for |v| < 0.5 the ceiling is -0 or 0 and its sign is lost: both are the code 0 */
  case RND_HALF_UP: return with_sign(l, nx1(p, S_FLOOR, nx2(p, S_ADD, nx1(p, S_ABS, v), half)), v);
  case RND_HALF_DOWN: return with_sign(l, nx1(p, S_CEIL, nx2(p, S_SUB, nx1(p, S_ABS, v), half)), v);
  default: assert(!"a rounding mode"); return v;
  }
}

static Expr *clamp_code(Lower *l, Expr *q, int64_t lo, int64_t hi) {
  Program *p = l->p;
  return nx2(p, S_MIN, nx2(p, S_MAX, q, nx_const_i(p, q->t, lo)), nx_const_i(p, q->t, hi));
}

/* clamp(r + z, lo, hi) of a rounded r and a known zero point: clamped as a float where every bound is one; NaN becomes 0. */
static Expr *clamp_known(Lower *l, const Node *n, Expr *r, int64_t z) {
  Program *p = l->p;
  int64_t lo, hi, far = INT64_C(1) << 24;
  if (!add_ok(n->a.lo, -z, &lo) || !add_ok(n->a.hi, -z, &hi) || lo < -far || hi > far || z < -far || z > far) return NULL;
  r = nx2(p, S_MIN, nx_const_f(p, r->t, (double)hi), r); /* constant first: a NaN passes */
  r = nx2(p, S_MAX, nx_const_f(p, r->t, (double)lo), r);
  Expr *q = nx2(p, S_ADD, nx_cast(p, r, I32), nx_const_i(p, nt(I32), z));
  return lo > 0 || hi < 0 ? clamp_code(l, q, n->a.lo, n->a.hi) : q;
}

/* The same for any zero point: r limited to +-2^62, a sum beyond 64 bits to the nearest. */
static Expr *clamp_any(Lower *l, const Node *n, Expr *r, Expr *zp) {
  Program *p = l->p;
  NType w = nt(I64);
  int64_t far = INT64_C(1) << 62;
  Expr *q = clamp_code(l, nx_cast(p, r, I64), -far, far);
  if (zp && zp->t.e.bits <= 32) q = nx2(p, S_ADD, q, nx_cast(p, zp, I64));
  else if (zp) {
    Expr *zero = nx_const_i(p, w, 0);
    q = let(l, "q", q);
    zp = let(l, "z", nx_cast(p, zp, I64));
    Expr *sum = let(l, "s", nx2(p, S_ADD, q, zp));
    Expr *over = nx2(p, S_AND, nx2(p, S_XOR, q, sum), nx2(p, S_XOR, zp, sum));
    Expr *end = nx3(p, S_SELECT, nx2(p, S_LT, zp, zero), nx_const_i(p, w, INT64_MIN), nx_const_i(p, w, INT64_MAX));
    q = nx3(p, S_SELECT, nx2(p, S_LT, over, zero), end, sum);
  }
  return clamp_code(l, q, n->a.lo, n->a.hi);
}

static bool is_one(const Expr *e) { return e->kind == EX_CONST && elem_is_float(e->t.e) && e->value.f == 1; }

Expr *quant_expr(Lower *l, const Node *n, Expr *x, Expr *scale, Expr *zp) {
  Program *p = l->p;
  Elem t = n->in[1]->t.e.bits == 64 ? F64 : F32;
  bool float_zp = zp && elem_is_float(n->in[2]->t.e), bipolar = n->t.e.kind == EK_BASES && n->t.e.bits == 1;
  if (x->t.e.bits > 32) x = nx_cast(p, x, F64); /* wide codes are rounded twice */
  Expr *v = nx_cast(p, x, t);
  if (!is_one(scale)) v = nx2(p, S_DIV, v, nx_cast(p, scale, t));
  if (zp && (float_zp || bipolar)) v = nx2(p, S_ADD, v, nx_cast(p, zp, t));
  if (bipolar) {
    NType r = nt(lower_elem(l, n->t.e));
    return nx3(p, S_SELECT, nx2(p, S_LE, nx_const_f(p, nt(t), 0), v), nx_const_i(p, r, 1), nx_const_i(p, r, -1));
  }
  Expr *r = round_expr(l, n->a.round, v), *q = NULL;
  int64_t z = 0;
  if (!zp || float_zp || nx_is_const(zp, &z)) q = clamp_known(l, n, r, z);
  if (!q) q = clamp_any(l, n, r, float_zp ? NULL : zp);
  return wrap_to(l, q, n->t.e, n->a.lo, n->a.hi);
}

Expr *dequant_expr(Lower *l, const Node *n, Expr *x, Expr *scale, Expr *zp) {
  Program *p = l->p;
  Elem t = n->in[1]->t.e.bits == 64 ? F64 : F32;
  if (zp && elem_is_float(n->in[2]->t.e)) {
    Expr *v = nx2(p, S_SUB, nx_cast(p, x, t), nx_cast(p, zp, t));
    return round_to(l, nx2(p, S_MUL, v, nx_cast(p, scale, t)), n->t.e);
  }
  Elem d = n->in[0]->t.e.bits < 32 && (!zp || n->in[2]->t.e.bits < 32) && x->t.e.bits <= 32 ? I32 : I64;
  if (!zp && x->t.e.bits <= 32 && x->t.e.kind == EK_INT) d = I32;
  Expr *q = nx_cast(p, x, d);
  if (zp) q = nx2(p, S_SUB, q, nx_cast(p, zp, d));
  if (!is_one(scale)) return round_to(l, nx2(p, S_MUL, nx_cast(p, q, t), nx_cast(p, scale, t)), n->t.e);
  return round_to(l, nx_cast(p, q, d.bits == 32 && n->t.e.bits < 64 ? F32 : t), n->t.e); /* an i32 rounds once either way */
}
