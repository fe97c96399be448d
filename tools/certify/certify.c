/* certify FILE: proves a certificate ("schema": "popshift.certificate/1", docs/VERIFY.md) again, without the compiler's passes. For every
 * layer, every row and every integer in its range, the function as it was recognized is computed step by step, the compiled form is
 * computed from its constants, and they must be the same number; the range must hold the sums of weights that are given. Shares
 * with the compiler only the formulas of transcendental functions (ir/math.h), which are those functions' meaning.
 * Exit codes: 0 proved, 1 no certificate, 2 usage, 3 a step that it does not know, 4 refused, 5 cannot read. */
#include "ir/math.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide;
typedef struct Kind { char kind; int bits; } Kind; /* f float, b bfloat, i, u, o bool, s shift, p bipolar */
typedef struct Operand { int from; Kind k; size_t n; Val *v; } Operand;
typedef enum Code { C_MAP, C_QUANT, C_DEQUANT, C_THRESHOLDS, C_REQUANT } Code;
typedef struct Step { Code code; Scalar s; Kind k; Round round; int64_t lo, hi, levels; int shift, n_in; Operand in[4]; } Step;
typedef struct Form { int kind; /* 0 thresholds, 1 requant, 2 table */ int64_t *t, *a, *b, levels, lo, hi, f[2], *least, *most; size_t n_t, n_a, n_b, n_within; int shift; } Form;
typedef struct Layer { const char *name; int n_in, n; int64_t rows, *lo, *hi, *share, lo2, hi2; Kind in[2]; Step step[66]; Val v[70]; Form form; } Layer;

static _Noreturn void stop(int rc, const char *what, const char *where) {
  fprintf(stderr, "certify: %s%s%s\n", what, where ? ": " : "", where ? where : "");
  exit(rc);
}

/* Zeroed memory that lasts as long as the process, chained so that leak checkers see it. */
static void *keep(size_t n, size_t size) {
  static void **last;
  void **p = calloc(1 + (n * size + sizeof *p - 1) / sizeof *p, sizeof *p);
  if (!p) stop(EXIT_LIMIT, "no memory", NULL);
  *p = last, last = p;
  return p + 1;
}

/* ---- JSON */
static json_t *member(json_t *o, const char *key) {
  json_t *v = json_object_get(o, key);
  if (!v) stop(EXIT_MODEL, "a member is missing", key);
  return v;
}
static int64_t integer(json_t *o, const char *key) {
  json_t *v = member(o, key);
  if (!json_is_integer(v)) stop(EXIT_MODEL, "not an integer", key);
  return json_integer_value(v);
}
static const char *text(json_t *o, const char *key) {
  const char *s = json_string_value(member(o, key));
  if (!s) stop(EXIT_MODEL, "not a text", key);
  return s;
}
static int64_t *integers(json_t *o, const char *key, size_t *n) {
  json_t *a = member(o, key);
  if (!json_is_array(a) || !(*n = json_array_size(a))) stop(EXIT_MODEL, "not a list of integers", key);
  int64_t *v = keep(*n, sizeof *v);
  for (size_t i = 0; i < *n; i++) {
    if (!json_is_integer(json_array_get(a, i))) stop(EXIT_MODEL, "not a list of integers", key);
    v[i] = json_integer_value(json_array_get(a, i));
  }
  return v;
}
static void pair_of(json_t *o, const char *key, int64_t out[2]) {
  size_t n;
  int64_t *v = integers(o, key, &n);
  if (n != 2) stop(EXIT_MODEL, "not two integers", key);
  out[0] = v[0], out[1] = v[1];
}
static Kind kind_of(const char *s) {
  Kind k = {*s == 'b' && s[1] == 'f' ? 'b' : *s == 'b' && s[1] == 'a' ? 'p' : *s == 'b' ? 'o' : *s, 1};
  const char *digits = s + strcspn(s, "0123456789");
  if (*digits) k.bits = atoi(digits);
  if (!strchr("fbiuosp", k.kind) || k.bits < 1 || k.bits > 64 || (k.kind == 'u' && k.bits == 64) || (k.kind == 'p' && k.bits > 1))
    stop(EXIT_UNSUPPORTED, "type", s);
  return k;
}
static bool is_float(Kind k) { return k.kind == 'f' || k.kind == 'b'; }
static Operand operand_of(json_t *j, int before) {
  Operand o = {.from = -1};
  if (json_is_integer(j)) {
    o.from = (int)json_integer_value(j);
    if (o.from < 0 || o.from >= before) stop(EXIT_MODEL, "a step reads what comes later", NULL);
    return o;
  }
  json_t *a = member(j, "values");
  o.k = kind_of(text(j, "type"));
  o.n = json_array_size(a);
  if (!o.n) stop(EXIT_MODEL, "an operand without values", NULL);
  o.v = keep(o.n, sizeof *o.v);
  for (size_t i = 0; i < o.n; i++) {
    json_t *x = json_array_get(a, i);
    if (is_float(o.k) ? !json_is_string(x) : !json_is_integer(x)) stop(EXIT_MODEL, "values of the wrong type", NULL);
    o.v[i] = is_float(o.k) ? (Val){.f = strtod(json_string_value(x), NULL)} : (Val){.i = json_integer_value(x)};
  }
  return o;
}

static Round round_of(const char *s) {
  for (int r = 0; r < RND_COUNT; r++) if (!strcmp(round_names[r], s)) return (Round)r;
  stop(EXIT_MODEL, "no such rounding", s);
}

static Step step_of(json_t *j, int before, int64_t rows) {
  Step s = {.k = kind_of(text(j, "type"))};
  const char *op = text(j, "op");
  json_t *in = member(j, "in");
  s.n_in = (int)json_array_size(in);
  s.code = !strcmp(op, "quant") ? C_QUANT : !strcmp(op, "dequant") ? C_DEQUANT : !strcmp(op, "thresholds") ? C_THRESHOLDS : !strcmp(op, "requant") ? C_REQUANT : C_MAP;
  if (s.code == C_MAP && !(s.s = scalar_find(op))) stop(EXIT_UNSUPPORTED, "step", op);
  static const int least[] = {1, 2, 2, 4, 3}, most[] = {3, 3, 3, 4, 3};
  int want = s.code == C_MAP ? scalar_info[s.s].arity : 0;
  if (s.n_in < least[s.code] || s.n_in > most[s.code] || (want && s.n_in != want)) stop(EXIT_MODEL, "operands of a step", op);
  for (int k = 0; k < s.n_in; k++) s.in[k] = operand_of(json_array_get(in, (size_t)k), before);
  if (s.code == C_QUANT) s.round = round_of(text(j, "round"));
  if (s.code == C_QUANT || s.code == C_REQUANT) s.lo = integer(j, "lo"), s.hi = integer(j, "hi");
  if (s.code == C_REQUANT) s.shift = (int)integer(j, "shift");
  s.levels = s.code == C_THRESHOLDS ? integer(j, "levels") : 1;
  if (s.shift < 0 || s.shift > 63 || s.levels < 0) stop(EXIT_MODEL, "a step's attributes", op);
  for (int k = 0; k < s.n_in; k++) {
    int64_t each = s.code == C_THRESHOLDS && k == 1 ? s.levels : 1;
    if (s.in[k].from < 0 && (int64_t)s.in[k].n != each && (int64_t)s.in[k].n != rows * each) stop(EXIT_MODEL, "constants are not one for each row", op);
    if (s.in[k].from >= 0 && (s.code == C_THRESHOLDS || s.code == C_REQUANT) && k) stop(EXIT_UNSUPPORTED, "levels that are not constant", NULL);
  }
  return s;
}

/* ---- the meaning of steps */
/* v to p bits of mantissa, half to even, the last place never below 2^least; beyond most: infinite. */
static double to_bits(double v, int p, int least, double most) {
  int e;
  if (!isfinite(v) || v == 0) return v;
  frexp(v, &e);
  e = e - p < least ? least : e - p;
  v = ldexp(nearbyint(ldexp(v, -e)), e);
  return fabs(v) > most ? copysign(INFINITY, v) : v;
}
static double to_float(Kind k, double v) { /* 16 bits by way of f32 */
  if (k.kind == 'b') return to_bits((float)v, 8, -133, 0x1.FEp127);
  return k.bits == 64 ? v : k.bits == 32 ? (double)(float)v : to_bits((float)v, 11, -24, 65504);
}
static double code_float(Kind k, int64_t v) { return k.bits == 64 ? (double)v : to_float(k, (float)v); }
static int64_t least_of(Kind k) { return k.kind == 'i' ? INT64_MIN >> (64 - k.bits) : k.kind == 'p' ? -1 : k.kind == 's' ? INT64_MIN : 0; }
static int64_t most_of(Kind k) { return k.kind == 'i' || k.kind == 'u' ? INT64_MAX >> (64 - k.bits - (k.kind == 'u')) : k.kind == 's' ? INT64_MAX : 1; }
static int64_t wrap(Kind k, int64_t v) {
  if ((k.kind != 'i' && k.kind != 'u') || k.bits == 64) return v;
  uint64_t m = (UINT64_C(1) << k.bits) - 1, u = (uint64_t)v & m;
  return k.kind == 'i' && u >> (k.bits - 1) ? (int64_t)(u | ~m) : (int64_t)u;
}
static int64_t truncated(Kind k, double v) {
  return isnan(v) ? 0 : v <= (double)least_of(k) ? least_of(k) : v >= (double)most_of(k) ? most_of(k) : (int64_t)v;
}

static Val float_op(Scalar s, Kind to, Val a, Val b, Val c) {
  double y, x = a.f, z = b.f;
  switch (s) {
  case S_ADD: y = x + z; break; case S_SUB: y = x - z; break;
  case S_MUL: y = x * z; break; case S_DIV: y = x / z; break;
  case S_MOD: y = fmod(x, z); if (y != 0 && signbit(y) != signbit(z)) y += z; break;
  case S_FMOD: y = fmod(x, z); break; case S_MAX: y = x > z || x != x ? x : z; break; case S_MIN: y = x < z || x != x ? x : z; break;
  case S_NEG: y = -x; break; case S_ABS: y = fabs(x); break;
  case S_FLOOR: y = floor(x); break; case S_CEIL: y = ceil(x); break;
  case S_TRUNC: y = trunc(x); break; case S_ROUND: y = nearbyint(x); break;
  case S_SQRT: y = sqrt(x); break; case S_SIGN: y = isnan(x) ? x : (x > 0) - (x < 0); break;
  case S_EQ: return (Val){.i = x == z}; case S_LT: return (Val){.i = x < z}; case S_LE: return (Val){.i = x <= z};
  case S_ISNAN: return (Val){.i = x != x}; case S_ISINF: return (Val){.i = isinf(x) != 0};
  case S_SELECT: return a.i ? b : c;
  default:
    if (!math_has(s)) stop(EXIT_UNSUPPORTED, "step on floats", scalar_info[s].name);
    y = math_eval(s, x, z);
  }
  return (Val){.f = to_float(to, y)};
}

static Val code_op(Scalar s, Kind to, Val a, Val b, Val c) {
  int64_t x = a.i, z = b.i, y;
  uint64_t u = (uint64_t)x, w = (uint64_t)z;
  switch (s) {
  case S_ADD: y = (int64_t)(u + w); break; case S_SUB: y = (int64_t)(u - w); break;
  case S_MUL: y = (int64_t)(u * w); break; case S_DIV: y = z == 0 ? 0 : z == -1 ? (int64_t)(0 - u) : x / z; break;
  case S_MAX: y = x > z ? x : z; break; case S_MIN: y = x < z ? x : z; break;
  case S_NEG: y = (int64_t)(0 - u); break; case S_ABS: y = x < 0 ? (int64_t)(0 - u) : x; break;
  case S_AND: y = x & z; break; case S_OR: y = x | z; break;
  case S_XOR: y = x ^ z; break; case S_NOT: y = to.kind == 'o' ? !x : ~x; break;
  case S_SHL: y = w > 63 ? 0 : (int64_t)(u << w); break; case S_SHR: y = x >> (w > 63 ? 63 : w); break;
  case S_EQ: return (Val){.i = x == z}; case S_LT: return (Val){.i = x < z}; case S_LE: return (Val){.i = x <= z};
  case S_SELECT: y = x ? z : c.i; break; case S_SIGN: y = (x > 0) - (x < 0); break;
  default: stop(EXIT_UNSUPPORTED, "step on codes", scalar_info[s].name);
  }
  return (Val){.i = wrap(to, y)};
}

static double rounded(Round r, double v, bool f32) {
  double a = fabs(v), y;
  switch (r) {
  case RND_EVEN: return nearbyint(v); case RND_CEIL: return ceil(v);
  case RND_FLOOR: return floor(v); case RND_DOWN: return trunc(v);
  case RND_UP: y = ceil(a); break; case RND_HALF_UP: y = floor(f32 ? (double)((float)a + 0.5f) : a + 0.5); break;
  default: y = ceil(f32 ? (double)((float)a - 0.5f) : a - 0.5);
  }
  return copysign(y, v);
}

/* The operator table's equations of quant and dequant: in the scale's type, f32 for the narrower ones. */
static int64_t quantized(const Step *s, double x, double scale, Kind sk, const Val *zp, Kind zk) {
  bool f32 = sk.bits != 64, early = zp && (is_float(zk) || s->k.kind == 'p');
  double v = f32 ? (double)((float)x / (float)scale) : x / scale, z = !early ? 0 : is_float(zk) ? zp->f : f32 ? (double)(float)zp->i : (double)zp->i;
  if (early) v = f32 ? (double)((float)v + (float)z) : v + z;
  if (s->k.kind == 'p') return v >= 0 ? 1 : -1;
  v = rounded(s->round, v, f32);
  wide q = isnan(v) ? 0 : v >= 0x1p62 ? (wide)1 << 62 : v <= -0x1p62 ? -((wide)1 << 62) : (wide)v;
  if (zp && !early) q += zp->i;
  return q < s->lo ? s->lo : q > s->hi ? s->hi : (int64_t)q;
}
static double dequantized(const Step *s, int64_t x, double scale, Kind sk, const Val *zp, Kind zk) {
  bool f32 = sk.bits != 64;
  if (zp && is_float(zk)) return to_float(s->k, f32 ? (double)(((float)x - (float)zp->f) * (float)scale) : ((double)x - zp->f) * scale);
  int64_t d = (int64_t)((uint64_t)x - (uint64_t)(zp ? zp->i : 0));
  return to_float(s->k, f32 ? (double)((float)d * (float)scale) : (double)d * scale);
}

static Val step_run(const Step *s, const Val *v, const Kind *kinds, int64_t row) {
  Val a[4] = {{0}};
  Kind k[4] = {{0}};
  for (int i = 0; i < s->n_in; i++) {
    const Operand *o = &s->in[i];
    a[i] = o->from >= 0 ? v[o->from] : o->v[o->n == 1 ? 0 : row];
    k[i] = o->from >= 0 ? kinds[o->from] : o->k;
  }
  const Val *zp = s->n_in > 2 ? &a[2] : NULL;
  int64_t count = 0;
  switch (s->code) {
  case C_QUANT: return (Val){.i = quantized(s, a[0].f, a[1].f, k[1], zp, k[2])};
  case C_DEQUANT: return (Val){.f = dequantized(s, a[0].i, a[1].f, k[1], zp, k[2])};
  case C_REQUANT: count = (int64_t)((uint64_t)a[0].i * (uint64_t)a[1].i + (uint64_t)a[2].i) >> s->shift;
    return (Val){.i = count < s->lo ? s->lo : count > s->hi ? s->hi : count};
  case C_THRESHOLDS:
    for (int64_t j = 0; j < s->levels; j++) {
      Val t = s->in[1].v[((int64_t)s->in[1].n == s->levels ? 0 : row) * s->levels + j];
      count += is_float(k[0]) ? t.f <= a[0].f : t.i <= a[0].i;
    }
    return (Val){.i = a[2].i + a[3].i * count};
  default: break;
  }
  Kind from = k[s->s == S_SELECT];
  if (s->s == S_CAST) {
    if (s->k.kind == 'o') return (Val){.i = is_float(from) ? a[0].f != 0 : a[0].i != 0};
    if (is_float(from)) return is_float(s->k) ? (Val){.f = to_float(s->k, a[0].f)} : (Val){.i = truncated(s->k, a[0].f)};
    return is_float(s->k) ? (Val){.f = code_float(s->k, a[0].i)} : (Val){.i = wrap(s->k, a[0].i)};
  }
  return is_float(from) ? float_op(s->s, s->k, a[0], a[1], a[2]) : code_op(s->s, s->k, a[0], a[1], a[2]);
}

static Val meaning(Layer *l, const Kind *kinds, int64_t row, int64_t x, int64_t y) {
  l->v[0].i = x;
  if (l->n_in > 1) l->v[1].i = y;
  for (int i = 0; i < l->n; i++) l->v[l->n_in + i] = step_run(&l->step[i], l->v, kinds, row);
  return l->v[l->n_in + l->n - 1];
}

/* ---- the compiled form */
static int ascending(const void *a, const void *b) { return (*(const int64_t *)a > *(const int64_t *)b) - (*(const int64_t *)a < *(const int64_t *)b); }

static void form_read(json_t *j, Layer *l) {
  Form *f = &l->form;
  const char *kind = text(j, "kind");
  size_t n = 0; *f = (Form){.f = {1, 0}};
  if (l->n_in == 2) pair_of(j, "factors", f->f);
  if (l->n_in == 2 && json_object_get(j, "least")) f->least = integers(j, "least", &f->n_within), f->most = integers(j, "most", &n);
  if (f->least && (f->n_within != (size_t)l->rows || n != f->n_within)) stop(EXIT_MODEL, "bounds of sums are not one for each row", l->name);
  if (!strcmp(kind, "thresholds")) {
    f->levels = integer(j, "levels");
    f->t = integers(j, "t", &f->n_t), f->a = integers(j, "base", &f->n_a), f->b = integers(j, "step", &f->n_b);
    if (f->levels < 1 || (f->n_t != (size_t)f->levels && f->n_t != (size_t)(f->levels * l->rows))) stop(EXIT_MODEL, "thresholds of a layer", l->name);
    for (size_t r = 0; r < f->n_t / (size_t)f->levels; r++) qsort(f->t + (size_t)f->levels * r, (size_t)f->levels, sizeof *f->t, ascending);
  } else if (!strcmp(kind, "requant")) {
    f->kind = 1;
    f->a = integers(j, "m", &f->n_a), f->b = integers(j, "b", &f->n_b);
    f->shift = (int)integer(j, "shift"), f->lo = integer(j, "lo"), f->hi = integer(j, "hi");
    if (f->shift < 0 || f->shift > 63) stop(EXIT_MODEL, "the shift of a layer", l->name);
  } else if (!strcmp(kind, "table")) {
    f->kind = 2;
    f->t = integers(j, "values", &f->n_t);
    if (json_object_get(j, "offset")) f->a = integers(j, "offset", &f->n_a);
    else f->a = keep(1, sizeof *f->a), f->n_a = 1;
    f->n_b = 1;
  } else stop(EXIT_UNSUPPORTED, "form", kind);
  if ((f->n_a != 1 && (int64_t)f->n_a != l->rows) || (f->n_b != 1 && (int64_t)f->n_b != l->rows)) stop(EXIT_MODEL, "rows of a layer", l->name);
}

/* False: no number, for an index outside the table or more than 64 bits. */
static bool form_run(const Form *f, int64_t row, int64_t x, int64_t *y) {
  int64_t a = f->a[f->n_a == 1 ? 0 : row], b = f->b ? f->b[f->n_b == 1 ? 0 : row] : 0;
  if (f->kind == 0) {
    const int64_t *t = f->t + ((int64_t)f->n_t == f->levels ? 0 : row) * f->levels;
    int64_t lo = 0; /* how many are at most x */
    for (int64_t hi = f->levels, m; m = (lo + hi) / 2, lo < hi;) *(t[m] <= x ? &lo : &hi) = t[m] <= x ? m + 1 : m;
    return *y = a + b * lo, true;
  }
  if (f->kind == 2) {
    int64_t at = x + a;
    if (at < 0 || at >= (int64_t)f->n_t) return false;
    return *y = f->t[at], true;
  }
  wide p = (wide)x * a + b;
  if (p != (int64_t)p) return false;
  int64_t q = (int64_t)p >> f->shift;
  *y = q < f->lo ? f->lo : q > f->hi ? f->hi : q;
  return true;
}

/* ---- a layer */
static bool refuse(const Layer *l, int64_t row, const char *what) { return printf("refused: layer %s, row %" PRId64 ": %s\n", l->name, row, what), false; }

/* The range holds the sums of weights: min is pos*lo + neg*hi, max pos*hi + neg*lo. */
static bool sums_hold(const Layer *l, json_t *sums, int64_t *proved) {
  size_t np, nn, nr;
  int64_t of[2], *pos = integers(sums, "positive", &np), *neg = integers(sums, "negative", &nn), *row = integers(sums, "row", &nr);
  pair_of(sums, "of", of);
  if (np != nn || np != nr || of[0] > of[1]) stop(EXIT_MODEL, "sums of a layer", l->name);
  bool *seen = keep((size_t)l->rows, sizeof *seen);
  for (size_t i = 0; i < np; i++) {
    int64_t r = row[i];
    if (r < 0 || r >= l->rows || pos[i] < 0 || neg[i] > 0) stop(EXIT_MODEL, "sums of a layer", l->name);
    seen[r] = true;
    if ((wide)pos[i] * of[0] + (wide)neg[i] * of[1] < l->lo[r] || (wide)pos[i] * of[1] + (wide)neg[i] * of[0] > l->hi[r])
      return refuse(l, r, "the sums of its weights leave the range");
  }
  for (int64_t r = 0; r < l->rows; r++) if (!seen[r]) return refuse(l, r, "no sum of weights is given");
  ++*proved;
  return true;
}

static bool layer_check(Layer *l, json_t *in, uint64_t *values, int64_t *proved) {
  Kind kinds[70] = {l->in[0], l->in[1]};
  json_t *sums = json_object_get(json_array_get(in, 0), "sums");
  char what[200];
  for (int i = 0; i < l->n; i++) kinds[l->n_in + i] = l->step[i].k;
  if (is_float(kinds[l->n_in + l->n - 1])) stop(EXIT_MODEL, "a layer does not end in a code", l->name);
  for (int64_t r = 0; r < l->rows; r++) {
    int64_t add = l->share ? l->share[r] : 0;
    wide lo = l->lo[r] + (wide)(add < 0 ? add : 0), hi = l->hi[r] + (wide)(add > 0 ? add : 0);
    if (l->lo[r] > l->hi[r] || lo < least_of(l->in[0]) || hi > most_of(l->in[0])) return refuse(l, r, "the range is not one of its type");
    for (int64_t x = l->lo[r];; x++) {
      for (int64_t y = l->lo2; y <= l->hi2; y++) {
        int64_t want = meaning(l, kinds, r, x + add, y).i, got = 0;
        wide sum = (wide)l->form.f[0] * x + (wide)l->form.f[1] * y;
        if (l->form.least && (sum < l->form.least[r] || sum > l->form.most[r])) continue; /* they never meet */
        bool ok = sum == (int64_t)sum && form_run(&l->form, r, (int64_t)sum, &got);
        if (!ok || got != want) {
          int n = l->n_in == 1 ? snprintf(what, sizeof what, "at %" PRId64, x) : snprintf(what, sizeof what, "at %" PRId64 ", %" PRId64, x, y);
          if (ok) snprintf(what + n, sizeof what - (size_t)n, " the compiled form gives %" PRId64 ", the meaning %" PRId64, got, want);
          else snprintf(what + n, sizeof what - (size_t)n, " the compiled form has no value, the meaning %" PRId64, want);
          return refuse(l, r, what);
        }
        ++*values;
      }
      if (x == l->hi[r]) break;
    }
  }
  return !sums || sums_hold(l, sums, proved);
}

static bool check(json_t *j, uint64_t *values, int64_t *proved) {
  static Layer l;
  size_t n;
  json_t *in = member(j, "in"), *steps = member(j, "meaning");
  l = (Layer){.name = text(j, "layer"), .n_in = (int)json_array_size(in), .n = (int)json_array_size(steps), .rows = integer(j, "rows")};
  l.in[1] = (Kind){'i', 64};
  if (l.n_in < 1 || l.n_in > 2 || l.n < 1 || l.n > 66 || l.rows < 1) stop(EXIT_MODEL, "a layer's shape", l.name);
  for (int i = 0; i < l.n_in; i++) l.in[i] = kind_of(text(json_array_get(in, (size_t)i), "type"));
  l.lo = integers(json_array_get(in, 0), "lo", &n);
  if ((int64_t)n == l.rows) l.hi = integers(json_array_get(in, 0), "hi", &n);
  if (l.hi && (int64_t)n == l.rows && json_object_get(json_array_get(in, 0), "share")) l.share = integers(json_array_get(in, 0), "share", &n);
  if (!l.hi || (int64_t)n != l.rows) stop(EXIT_MODEL, "ranges are not one for each row", l.name);
  if (l.n_in == 2) l.lo2 = integer(json_array_get(in, 1), "lo"), l.hi2 = integer(json_array_get(in, 1), "hi");
  if (l.lo2 > l.hi2 || l.hi2 == INT64_MAX || l.lo2 < least_of(l.in[1]) || l.hi2 > most_of(l.in[1])) stop(EXIT_MODEL, "the second range of", l.name);
  for (int i = 0; i < l.n; i++) l.step[i] = step_of(json_array_get(steps, (size_t)i), l.n_in + i, l.rows);
  form_read(member(j, "form"), &l);
  return layer_check(&l, in, values, proved);
}

int main(int argc, char **argv) {
  json_error_t e;
  if (argc != 2) stop(EXIT_USAGE, "usage: certify FILE", NULL);
  FILE *f = fopen(argv[1], "rb");
  if (!f) stop(EXIT_IO, argv[1], strerror(errno));
  json_t *j = json_loadf(f, 0, &e);
  fclose(f);
  if (!j) stop(EXIT_MODEL, argv[1], e.text);
  if (strcmp(text(j, "schema"), "popshift.certificate/1")) stop(EXIT_MODEL, "not a certificate of this version", argv[1]);
  json_t *layers = member(j, "layers");
  int refused = 0, n = (int)json_array_size(layers);
  uint64_t values = 0; int64_t proved = 0;
  for (int i = 0; i < n; i++) refused += !check(json_array_get(layers, (size_t)i), &values, &proved);
  printf("%d of %d functions proved on %" PRIu64 " integers; ranges of %" PRId64 " follow from sums of weights\n", n - refused, n, values, proved);
  printf("not covered: %" PRId64 " levels of the model's own, %" PRId64 " quantizations of floats\n", integer(j, "unexplained"), integer(j, "float_quantizers"));
  json_decref(j);
  return refused ? EXIT_MISMATCH : EXIT_OK;
}
