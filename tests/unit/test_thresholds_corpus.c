/* Every quantizer on every integer: widths 1..8, unsigned, signed, narrow and with a zero point, every rounding, over steps whose scales are
 * powers of two (ties are common), floats, per channel, tiny, in f64, with gains of both signs and zero, and activations between. The
 * compiled thresholds, lines and tables give the code that the recognized steps give for every integer of the accumulator's type; nothing
 * stays float; and the certificates are proved by popshift-certify.
 *   test_thresholds_corpus BITS      the same for accumulators of that many bits (10 without arguments) */
#include "passes/certificate.h"
#include "passes/pass.h"
#include "tests/unit/suite.h"
#include "tools/certificate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHANNELS = 3, WIDTHS = 8 };
enum { SIGNS_UNSIGNED, SIGNS_SIGNED, SIGNS_NARROW, SIGNS_ZERO_POINT, SIGNS };
enum { SCALE_TWO, SCALE_FLOAT, SCALE_CHANNEL, SCALE_TINY, SCALE_F64, SCALES };
enum { GAIN_NONE, GAIN_UP, GAIN_DOWN, GAIN_MIXED, GAINS };

#ifdef POPSHIFT_HOSTILE
static int bits = 8;
#else
static int bits = 10;
#endif

static Node *floats(Graph *g, Elem e, const double v[CHANNELS]) {
  Type t = type_make(e, 1, (int64_t[]){CHANNELS});
  Tensor *x = tensor_new(g->ctx, &t);
  for (int i = 0; i < CHANNELS; i++) tensor_set_f(x, i, v[i]);
  return node_const(g, x);
}

/* Scale of the integers; the step of a quantizer of `levels` levels is chosen so that they lie inside the integers' range. */
static double scale_of(int kind) { return kind == SCALE_TWO ? 0x1p-5 : kind == SCALE_TINY ? 1e-13 : 0.0123456789; }

/* dequant, gain and offset per channel as batch normalization has them, an activation: what comes before the quantizers. */
static Node *steps(Graph *g, Node *x, int scale, int gain, int act) {
  double s = scale_of(scale), reach = s * (double)(1 << (bits - 1));
  Elem e = scale == SCALE_F64 ? F64 : F32;
  Node *k = scale == SCALE_CHANNEL ? floats(g, e, (double[]){s, s * 0.37, 0x1p-7}) : node_const_f(g, e, s), *y = node_dequant(g, x, k, NULL, F32);
  static const double gains[GAINS][CHANNELS] = {{1, 1, 1}, {0.7, 1.25, 0.5}, {-0.7, -1.25, -0.5}, {-0.7, 0, 1e-12}};
  if (gain) {
    y = node_map2(g, S_MUL, y, floats(g, F32, gains[gain]));
    y = node_map2(g, S_ADD, y, floats(g, F32, (double[]){reach / 7, -reach / 5, gain == GAIN_UP ? 0 : reach / 64}));
  }
  if (act == 1) y = node_map2(g, S_MAX, y, node_const_f(g, F32, 0));
  if (act == 2) y = node_map2(g, S_MIN, node_map2(g, S_MAX, y, node_const_f(g, F32, -reach / 3)), node_const_f(g, F32, reach / 2));
  if (act == 3) y = node_map3(g, S_SELECT, node_map2(g, S_LT, y, node_const_f(g, F32, 0)), node_map2(g, S_MUL, y, node_const_f(g, F32, 0.1)), y);
  return y;
}

static void quantizer(Graph *g, Node *y, int scale, int width, int sign, Round round) {
  double reach = scale_of(scale) * (double)(1 << (bits - 1)), step = ldexp(reach, 1 - width);
  if (scale == SCALE_TWO && width > 2) step = ldexp(step, -1); /* some saturate */
  Node *s = scale == SCALE_CHANNEL ? floats(g, F32, (double[]){step, step * 0.4, step * 3}) : node_const_f(g, scale == SCALE_F64 ? F64 : F32, step);
  Elem e = sign == SIGNS_UNSIGNED ? UINTK(width) : INTK(width);
  Node *z = sign == SIGNS_ZERO_POINT ? node_const_i(g, e, width > 1 ? -1 : 0) : NULL;
  int64_t lo = elem_lo(e) + (sign == SIGNS_NARROW && width > 1), hi = elem_hi(e);
  graph_out(g, arena_printf(g->arena, "w%d_s%d_%s", width, sign, round_names[round]), node_quant(g, y, s, z, e, lo, hi, round));
}

static Graph *corpus(Ctx *ctx, int scale, int gain, int act) {
  Graph *g = graph_new(ctx, "corpus", NULL);
  Type t = type_make(INTK(bits), 2, (int64_t[]){INT64_C(1) << bits, CHANNELS});
  Node *y = steps(g, graph_arg(g, "x", &t), scale, gain, act), *one = node_const_f(g, F32, 1);
  for (int w = 1; w <= WIDTHS; w++)
    for (int s = 0; s < SIGNS; s++)
      for (int r = 0; r < RND_COUNT; r++) quantizer(g, y, scale, w, s, (Round)r);
  graph_out(g, "bipolar", node_quant(g, y, one, NULL, BIPOLAR, -1, 1, RND_EVEN));
  return g;
}

static Tensor *every_integer(Ctx *ctx, const Type *t) {
  Tensor *x = tensor_new(ctx, t);
  for (int64_t i = 0; i < x->n; i++) tensor_set_i(x, i, elem_lo(t->e) + i / CHANNELS);
  return x;
}

static Node *same_rule(Rewrite *rw, const Node *old, Node *const *in) { (void)rw; (void)old; (void)in; return NULL; }

/* The certificate as a file; the command that proves it, and what it says. */
static int proved(Ctx *ctx, const Certificate *cert, const Graph *g, char *said, size_t room) {
  char path[] = "/tmp/popshift_cert_XXXXXX", command[600];
  int fd = mkstemp(path);
  ck_assert(fd >= 0);
  close(fd);
  json_t *j = certificate_json(cert, ctx, g, "", "c99");
  ck_assert_int_eq((int)json_integer_value(json_object_get(j, "unexplained")), 0);
  ck_assert_int_eq((int)json_integer_value(json_object_get(j, "float_quantizers")), 0);
  ck_assert_int_eq(json_dump_file(j, path, 0), 0);
  json_decref(j);
  snprintf(command, sizeof command, "%s %s 2>&1", CERTIFY, path);
  FILE *f = popen(command, "r");
  ck_assert_ptr_nonnull(f);
  size_t n = fread(said, 1, room - 1, f);
  said[n] = 0;
  int rc = pclose(f);
  unlink(path);
  return rc;
}

static void check(int scale, int gain, int act) {
  Ctx *ctx = ctx_new();
  Graph *g = corpus(ctx, scale, gain, act);
  Certificate *cert = certificate_new(ctx);
  PassOptions o = {.target = target_find("c99"), .certificate = cert};
  State s = {.graph = graph_rewrite(g, same_rule, NULL, NULL)};
  Tensor *x = every_integer(ctx, &g->args[0]->t), **want = NEWN(ctx->own, Tensor *, g->n_outs), **got = NEWN(ctx->own, Tensor *, g->n_outs);
  bool ok = graph_eval(ctx, g, &x, want, NULL, NULL) && passes_standard(ctx, &s, PASS_fuse, &o) && graph_eval(ctx, s.graph, &x, got, NULL, NULL);
  diag_print(ctx, stderr, false);
  ck_assert(ok);
  for (int k = 0; k < g->n_outs; k++) {
    int64_t first;
    double worst;
    int64_t bad = tensor_diff(got[k], want[k], 0, 0, &first, &worst);
    ck_assert_msg(!bad, "scale %d gain %d act %d, %s: %lld integers differ, first %lld in channel %lld: %lld, meant %lld", scale, gain, act, g->outs[k].name, (long long)bad,
                  (long long)tensor_i(x, first), (long long)(first % CHANNELS), (long long)tensor_i(got[k], first), (long long)tensor_i(want[k], first));
  }
  for (int i = 0; i < s.graph->n_nodes; i++) ck_assert_msg(!elem_is_float(s.graph->nodes[i]->t.e), "%%%d stays float", i);
  char said[2000];
  ck_assert_msg(proved(ctx, cert, s.graph, said, sizeof said) == 0, "%s", said);
  ck_assert_msg(strstr(said, " functions proved on ") != NULL, "%s", said);
  graph_free(s.graph);
  graph_free(g);
  ctx_free(ctx);
}

START_TEST(every_integer_of_every_quantizer) {
  int scale = _i % SCALES, gain = _i / SCALES;
  check(scale, gain, (scale + gain) % 4); /* each activation with each scale and gain somewhere */
}
END_TEST

START_TEST(activations) { check(SCALE_FLOAT, GAIN_MIXED, _i); }
END_TEST

int main(int argc, char **argv) {
  if (argc > 1) bits = atoi(argv[1]);
  if (bits < 4 || bits > 20) return fprintf(stderr, "bits are 4 to 20\n"), 2;
  Suite *s = suite_create("thresholds_corpus");
  TCase *t = tcase_create("corpus");
  tcase_set_timeout(t, argc > 1 ? 36000 : 300);
  tcase_add_loop_test(t, every_integer_of_every_quantizer, 0, SCALES * GAINS);
  tcase_add_loop_test(t, activations, 0, 4);
  suite_add_tcase(s, t);
  return suite_run(s);
}
