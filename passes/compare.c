#include "passes/compare.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Element operations of one evaluation. */
static double graph_work(const Graph *g) {
  double sum = 0;
  for (int i = 0; i < g->n_nodes; i++) {
    const Node *n = g->nodes[i];
    double w = 1;
    for (int d = 0; d < n->t.rank; d++) w *= (double)n->t.d[d].n;
    for (int k = 0; n->a.iters && k < n->a.iters->n_red; k++) w *= (double)n->a.iters->red[k].n;
    sum += w;
  }
  return sum;
}

static uint64_t random_bits(uint64_t counter) { /* splitmix64's finalizer: S. Vigna, 2015 */
  uint64_t z = counter * UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

static void fill_random(Tensor *t, uint64_t seed) {
  Elem e = t->t.e;
  for (int64_t i = 0; i < t->n; i++) {
    uint64_t r = random_bits(seed + (uint64_t)i + 1);
    if (elem_is_float(e)) { /* near enough to normal: a sum of four uniform numbers, variance 1 */
      double v = 0;
      for (int k = 0; k < 4; k++) v += (double)(r >> 16 * k & 0xffff) / 65536 - 0.5;
      tensor_set_f(t, i, v * 1.7320508);
    } else if (e.kind == EK_BASES && e.bits == 1)
      tensor_set_i(t, i, r & 1 ? 1 : -1);
    else if (e.kind == EK_SHIFT) {
      int64_t hi = elem_hi(e), v = r & 1 ? 1 : -1;
      while (r >>= 1, r & 1 && 2 * (v < 0 ? -v : v) <= hi) v *= 2;
      tensor_set_i(t, i, r & 2 ? v : 0);
    } else {
      uint64_t span = (uint64_t)elem_hi(e) - (uint64_t)elem_lo(e) + 1;
      tensor_set_i(t, i, (int64_t)((uint64_t)elem_lo(e) + (span ? r % span : r)));
    }
  }
}

void compare_init(Compare *c, Ctx *ctx, const Graph *g, int64_t max_work) {
  *c = (Compare){.ctx = ctx, .a = arena_new(ctx), .on = true, .n_in = g->n_args, .n_out = g->n_outs};
  for (int i = 0; i < g->n_nodes; i++) c->on = c->on && type_static(&g->nodes[i]->t);
  c->on = c->on && (max_work == 0 || graph_work(g) <= (double)max_work);
  for (int s = 0; c->on && s < COMPARE_SETS; s++) {
    c->in[s] = NEWN(c->a, Tensor *, c->n_in + 1);
    c->out[s] = NEWN(c->a, Tensor *, c->n_out + 1);
    for (int i = 0; i < c->n_in; i++) {
      if (!(c->in[s][i] = tensor_new(ctx, &g->args[i]->t))) ctx_fatal(ctx);
      fill_random(c->in[s][i], (uint64_t)(s * 64 + i + 1) << 40);
    }
  }
}

void compare_free(Compare *c) {
  for (int s = 0; s < COMPARE_SETS; s++) {
    for (int i = 0; c->in[s] && i < c->n_in; i++) tensor_free(c->in[s][i]);
    for (int i = 0; c->out[s] && i < c->n_out; i++) tensor_free(c->out[s][i]);
  }
  arena_free(c->a);
}

static bool run_program(Ctx *ctx, Arena *a, const Program *p, Tensor *const *in, Tensor **out) {
  const void **pi = NEWN(a, const void *, p->n_ins + 1);
  void **po = NEWN(a, void *, p->n_outs + 1);
  for (int i = 0; i < p->n_ins; i++) pi[i] = in[i]->data;
  for (int i = 0; i < p->n_outs; i++) {
    if (!(out[i] = tensor_new(ctx, &p->outs[i].t))) ctx_fatal(ctx);
    po[i] = out[i]->data;
  }
  return program_run(ctx, p, pi, po);
}

static bool same_outputs(Compare *c, int set, Tensor *const *now, const char **what) {
  for (int i = 0; i < c->n_out; i++) {
    const Tensor *a = c->out[set][i], *b = now[i];
    if (!type_eq(&a->t, &b->t)) {
      *what = arena_printf(c->a, "output %d has another type", i);
      return false;
    }
    size_t size = store_size(a->st);
    for (int64_t k = 0; k < a->n; k++) {
      if (!memcmp((const char *)a->data + (size_t)k * size, (const char *)b->data + (size_t)k * size, size)) continue;
      *what = arena_printf(c->a, "output %d, element %" PRId64 ": %.17g before, %.17g after (random input %d)", i, k, tensor_f(a, k),
                           tensor_f(b, k), set);
      return false;
    }
  }
  return true;
}

/* Half of each output's elements are near. */
static bool near_outputs(Compare *c, int set, Tensor *const *now, const char **what) {
  for (int i = 0; i < c->n_out; i++) {
    const Tensor *a = c->out[set][i], *b = now[i];
    double lo = INFINITY, hi = -INFINITY;
    int64_t far = 0;
    if (!type_eq(&a->t, &b->t)) {
      *what = arena_printf(c->a, "output %d has another type", i);
      return false;
    }
    for (int64_t k = 0; k < a->n; k++) lo = fmin(lo, tensor_f(a, k)), hi = fmax(hi, tensor_f(a, k));
    double room = 0.05 * (hi - lo) + 1e-4 * fmax(fabs(hi), fabs(lo)) + (elem_is_code(a->t.e) ? 1 : 1e-30);
    for (int64_t k = 0; k < a->n; k++) far += fabs(tensor_f(a, k) - tensor_f(b, k)) > room;
    if (far * 2 <= a->n) continue;
    *what = arena_printf(c->a, "output %d: %" PRId64 " of %" PRId64 " elements are far from what they were", i, far, a->n);
    return false;
  }
  return true;
}

bool compare_state(Compare *c, const Graph *g, const Program *p, Check check, const char **what) {
  bool ok = true, near = check != CHECK_CODES;
  if (!c->on) return true;
  for (int s = 0; ok && s < COMPARE_SETS; s++) {
    Tensor **now = NEWN(c->a, Tensor *, c->n_out + 1);
    ok = g ? graph_eval(c->ctx, g, c->in[s], now, NULL, NULL) : run_program(c->ctx, c->a, p, c->in[s], now);
    if (!ok) *what = "it cannot be evaluated";
    if (ok && check == CHECK_BITS) ok = same_outputs(c, s, now, what);
    if (ok && check == CHECK_CODES) near = near_outputs(c, s, now, what) || near;
    for (int i = 0; i < c->n_out; i++) {
      tensor_free(c->out[s][i]);
      c->out[s][i] = now[i];
    }
  }
  return ok && near;
}

/* The whole pipeline on given inputs */

static Node *clone_rule(Rewrite *rw, const Node *old, Node *const *in) { (void)rw; (void)old; (void)in; return NULL; }

typedef struct Watched {
  Ctx *ctx;
  Arena *a;
  const PassOptions *opt;
  Tensor *const *const *in;
  int n, n_out, steps;
  Tensor ***last;            /* [set][output]; NULL before the first pass */
  Str *say;
  bool stop, failed;         /* a value has changed, or cannot be computed: said once */
} Watched;

/* Elements whose bits differ; first: the first of them. */
static int64_t changed(const Tensor *a, const Tensor *b, int64_t *first) {
  size_t size = store_size(a->st);
  int64_t n = 0;
  for (int64_t k = a->n - 1; k >= 0; k--)
    if (memcmp((const char *)a->data + (size_t)k * size, (const char *)b->data + (size_t)k * size, size)) *first = k, n++;
  return n;
}

static void compare_after(Watched *w, PassId p, Tensor *const *was, Tensor *const *now, int set) {
  const PassInfo *info = &pass_info[p];
  for (int o = 0; o < w->n_out && !w->stop; o++) {
    int64_t first = 0, bad;
    bool types = type_eq(&was[o]->t, &now[o]->t);
    if (types && !(bad = changed(was[o], now[o], &first))) continue;
    if (types && info->keeps == KEEPS_CODES) {
      str_printf(w->say, "; %s moves %" PRId64 " of %" PRId64 " values of output %d (input set %d)", info->name, bad, now[o]->n, o, set);
      continue;
    }
    w->stop = w->failed = true;
    if (!types) diag(w->ctx, E0901, NULL, "pass %s (step %d): output %d has another type", info->name, w->steps, o);
    else diag(w->ctx, E0901, NULL, "pass %s (step %d) changes %" PRId64 " of %" PRId64 " values of output %d, first at %" PRId64 ": %.17g before, %.17g after (input set %d)",
              info->name, w->steps, bad, now[o]->n, o, first, tensor_f(was[o], first), tensor_f(now[o], first), set);
  }
}

static void watch_pass(void *user, PassId p, bool after, const Graph *g, const Program *prog) {
  Watched *w = user;
  if (w->opt->dump) w->opt->dump(w->opt->dump_user, p, after, g, prog);
  if (w->stop || (!after && w->last)) return;
  w->steps += after;
  Tensor ***now = NEWN(w->a, Tensor **, w->n);
  int errors = w->ctx->n_errors;
  for (int s = 0; s < w->n && !w->stop; s++) {
    now[s] = NEWN(w->a, Tensor *, w->n_out + 1);
    bool ok = g ? graph_verify(w->ctx, g) && graph_eval(w->ctx, g, w->in[s], now[s], NULL, NULL) : run_program(w->ctx, w->a, prog, w->in[s], now[s]);
    if (!ok) {
      w->stop = true;
      w->failed = after;
      if (after) diag(w->ctx, E0901, NULL, "pass %s (step %d): what it leaves cannot be evaluated", pass_info[p].name, w->steps);
      else w->failed = w->ctx->n_errors > errors;
    } else if (w->last) compare_after(w, p, w->last[s], now[s], s);
    for (int o = 0; w->last && o < w->n_out; o++) tensor_free(w->last[s][o]);
  }
  w->last = now;
}

bool passes_compared(Ctx *ctx, Graph *g, Tensor *const *const *in, int n, const PassOptions *opt, Str *say) {
  Watched w = {.ctx = ctx, .a = arena_new(ctx), .opt = opt, .in = in, .n = n, .n_out = g->n_outs, .say = say};
  PassOptions o = *opt;
  State s = {.graph = graph_rewrite(g, clone_rule, NULL, NULL)};
  o.dump = watch_pass;
  o.dump_user = &w;
  bool ok = s.graph && passes_standard(ctx, &s, -1, &o);
  if (ok) program_free(s.program);
  for (int k = 0; w.last && k < n; k++)
    for (int i = 0; w.last[k] && i < w.n_out; i++) tensor_free(w.last[k][i]);
  arena_free(w.a);
  if (ok && !w.failed) str_printf(say, "; %d steps of the %s pipeline keep every value", w.steps, opt->hls ? "hls" : "native");
  return ok && !w.failed;
}
