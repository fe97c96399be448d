/* Quantizers as graph rewriting: every contract of parameters, in order the network's layers, gets the quantizer of its weights and
 * one of its own on its input, as the first matching row says (quantizer.h). */

#include "trainer/net_impl.h"
#include "trainer/quantizer.h"
#include "trainer/uniq.h"

#include <math.h>
#include <string.h>

#define Q(NAME, name, lo, hi, w, a, options, what) extern const QuantizerOps quant_##name;
#include "trainer/quantizers.def"
#undef Q
const QuantizerOps *const quantizer_ops[QUANTIZER_COUNT] = {
#define Q(NAME, name, lo, hi, w, a, options, what) [QUANT_##NAME] = &quant_##name,
#include "trainer/quantizers.def"
#undef Q
};

/* The operand of a layer that is a weight parameter, or -1. */
static int weight_operand(const Net *net, const Node *n) {
  if (n->op != OP_CONTRACT || n->a.scalar != S_MUL || n->n_in != 2 || !elem_eq(n->t.e, F32)) return -1;
  for (int k = 1; k >= 0; k--) {
    const Node *w = n->in[k];
    if (w->op == OP_ARG && w->a.index > 0 && net->p[w->a.index - 1].role == PARAM_WEIGHT) return k;
  }
  return -1;
}

static int layer_count(const Graph *g, const Net *net) {
  int layers = 0;
  for (int i = 0; i < g->n_nodes; i++) layers += weight_operand(net, g->nodes[i]) >= 0;
  return layers;
}

const char *net_layer_name(const Net *net, int p, Arena *a) {
  const char *name = net->p[p].name, *dot = strrchr(name, '.');
  return dot && !strcmp(dot, ".weight") ? arena_strndup(a, name, (size_t)(dot - name)) : name;
}

static const char *layer_name(Net *net, const Node *n, int k) { return net_layer_name(net, n->in[k]->a.index - 1, net->arena); }

/* Values that can never be negative, as far as the graph and the images tell; depth bounds the walk. */
static bool non_negative(const Net *net, const Node *n, int depth) {
  double v;
  if (depth == 0) return false;
  switch (n->op) {
  case OP_ARG: return n->a.index == 0 && !net->negative; /* the image */
  case OP_CONST:
    for (int64_t i = 0; i < n->a.value->n; i++) if (!(tensor_f(n->a.value, i) >= 0)) return false;
    return true;
  case OP_MAP:
    if (n->a.scalar == S_ABS || n->a.scalar == S_EXP || n->a.scalar == S_SQRT) return true;
    if (n->a.scalar == S_MAX && node_uniform(n->in[1], &v) && v >= 0) return true;
    if (n->a.scalar != S_MUL && n->a.scalar != S_DIV && n->a.scalar != S_ADD && n->a.scalar != S_MIN && n->a.scalar != S_MAX) return false;
    return non_negative(net, n->in[0], depth - 1) && non_negative(net, n->in[1], depth - 1);
  case OP_VIEW:
    return (access_inside(n, 0) || n->a.fill >= 0) && non_negative(net, n->in[0], depth - 1);
  case OP_RESHAPE: case OP_REDUCE: /* sums, products, extremes */
    return non_negative(net, n->in[0], depth - 1);
  case OP_CONCAT:
    for (int k = 0; k < n->n_in; k++) if (!non_negative(net, n->in[k], depth - 1)) return false;
    return true;
  case OP_DEQUANT: return n->in[0]->op == OP_QUANT && n->in[0]->t.e.kind == EK_UINT && n->n_in < 3;
  default: return false;
  }
}

/* What quantizers are built of */

Node *put_param(Put *p, const char *what, ParamRole role, const Type *t, float fill) {
  const char *name = net_unique(p->net, arena_printf(p->net->arena, "%s.%s", p->site->layer, what));
  int i = net_param(p->net, name, role, t); /* may move them all */
  Param *q = &p->net->p[i];
  for (int64_t k = 0; k < q->n; k++) q->value[k] = fill;
  p->site->n++;
  return graph_arg(p->g, name, t);
}

Node *put_latent(Put *p, const char *what) {
  Node *x = put_param(p, what, PARAM_QUANT, &p->x->t, 0);
  put_last(p)->decay_mul = 1;
  return x;
}

void put_stat(Put *p, const char *what, Node *n) {
  put_param(p, what, PARAM_TABLE, &n->t, 0);
  vec_push(p->net->arena, &p->net->stat, ((Stat){p->net->n_p - 1, (int)n->id}));
}

Param *put_last(const Put *p) { return &p->net->p[p->net->n_p - 1]; }
Param *site_param(const Net *net, const Site *s, int i) { return &net->p[s->first + i]; }

void step_set(Param *p, int64_t i, double v) {
  p->value[i] = (float)(v > 1e-8 ? v : 1e-8);
  if (!i || p->value[i] * 1e-3f < p->least) p->least = p->value[i] * 1e-3f;
}

Node *fake_quant(Graph *g, Node *x, Node *step, int bits, Levels levels) {
  int64_t top = (INT64_C(1) << bits) - 1, half = INT64_C(1) << (bits - 1);
  if (levels == LEVELS_SIGNED) return node_dequant(g, node_quant(g, x, step, NULL, INTK(bits), -half, half - 1, RND_EVEN), step, NULL, F32);
  Node *zp = levels == LEVELS_SYMMETRIC ? node_const_f(g, F32, (double)top / 2) : NULL;
  return node_dequant(g, node_quant(g, x, step, zp, UINTK(bits), 0, top, RND_EVEN), step, zp, F32);
}

Levels act_levels(const Site *s) { return s->up ? LEVELS_UP : s->bits == 1 ? LEVELS_SYMMETRIC : LEVELS_SIGNED; }
int64_t levels_above(int bits, Levels l) { return (INT64_C(1) << (bits - (l != LEVELS_UP))) - 1; }

Node *put_step_weight(Put *p, Levels levels) {
  const Site *s = p->site;
  Node *step = put_param(p, "weight_step", PARAM_QUANT, &p->steps, 1);
  put_last(p)->grad_mul = (float)uniq_grad_scale(s->bits, 1, (double)s->elements);
  return fake_quant(p->g, p->x, step, s->bits, levels);
}

Node *put_step_act(Put *p) {
  const Site *s = p->site;
  Node *step = put_param(p, "act_step", PARAM_QUANT, &p->steps, 1);
  put_last(p)->grad_mul = (float)uniq_grad_scale(s->bits, !s->up, (double)s->elements * s->batch);
  return fake_quant(p->g, p->x, step, s->bits, act_levels(s));
}

void first_step_weight(const Net *net, const Site *s, bool lsq) {
  Param *step = site_param(net, s, 0);
  Arena *scratch = arena_new(net->ctx);
  const Moments *m = weight_moments(scratch, net, s, step);
  double unit = uniq_step_w(s->bits), above = fmax(1, (double)levels_above(s->bits, LEVELS_SIGNED));
  for (int64_t i = 0; i < step->n; i++) step_set(step, i, lsq ? 2 * m[i].abs / sqrt(above) : unit * m[i].deviation);
  arena_free(scratch);
}

void first_step_act(const Net *net, const Site *s, const ActStats *batch, int n, bool lsq) {
  double unit = s->up ? uniq_step_a(s->bits) * sqrt(2) : uniq_step_w(s->bits), step = 0, top = 0, above = (double)levels_above(s->bits, act_levels(s));
  for (int i = 0; i < n; i++) step = fmax(step, unit * sqrt(batch[i].square)), top = fmax(top, fmax(batch[i].max, -batch[i].min));
  step = fmin(step, top / (above > 0 ? above : 0.5));
  step_set(site_param(net, s, 0), 0, lsq ? 2 * batch[0].abs / sqrt(fmax(1, above)) : step);
}

Node *straight(Graph *g, Node *y, Node *surrogate) { return node_new(g, OP_STRAIGHT, &y->t, 2, (Node *[]){y, surrogate}, NULL, NULL); }

Node *stop_gradient(Graph *g, Node *x) {
  Tensor *zero = tensor_new(g->ctx, &x->t);
  if (!zero) ctx_fatal(g->ctx);
  return straight(g, x, node_const(g, zero));
}

Node *halvings(Graph *g, Node *k, int bits) {
  Node *y = NULL, *one = node_const_f(g, F32, 1);
  for (int b = bits - 1; b >= 0; b--) { /* by binary digits, the highest first */
    double step = (double)(1 << b);
    Node *has = node_map2(g, S_LE, node_const_f(g, F32, step), k), *part = node_map3(g, S_SELECT, has, node_const_f(g, F32, ldexp(1, -(1 << b))), one);
    y = y ? node_map2(g, S_MUL, y, part) : part;
    if (b) k = node_map2(g, S_SUB, k, node_map3(g, S_SELECT, has, node_const_f(g, F32, step), node_const_f(g, F32, 0)));
  }
  return y ? y : one;
}

void fill_normal(const Net *net, const Site *s, int p, double deviation) {
  rng_fill_normal((Rng){s->seed, RNG_QUANT}, (uint64_t)p, net->p[p].n, (float)deviation, net->p[p].value);
}

void fill_uniform(const Net *net, const Site *s, int p, double from, double to) {
  rng_fill_uniform((Rng){s->seed, RNG_QUANT}, (uint64_t)p, net->p[p].n, (float)from, (float)to, net->p[p].value);
}

int64_t weight_step(const Param *w, const Param *step, int64_t i) {
  int64_t at = 0, scale = 1;
  if (step->n == 1) return 0;
  for (int d = w->t.rank - 1; d >= 0; i /= w->t.d[d--].n) {
    at += step->t.d[d].n == 1 ? 0 : i % w->t.d[d].n * scale;
    scale *= step->t.d[d].n;
  }
  return at;
}

Moments *weight_moments(Arena *a, const Net *net, const Site *s, const Param *steps) {
  const Param *w = &net->p[s->w];
  Moments *moments = NEWN(a, Moments, steps->n);
  for (int64_t i = 0; i < w->n; i++) {
    Moments *m = &moments[weight_step(w, steps, i)];
    double v = (double)w->value[i];
    m->n++, m->mean += v, m->abs += fabs(v), m->square += v * v, m->max = fmax(m->max, fabs(v));
  }
  for (Moments *m = moments; m < moments + steps->n; m++) {
    double var = m->n > 1 ? (m->square - m->mean * m->mean / m->n) / (m->n - 1) : m->square;
    m->deviation = sqrt(var > 0 ? var : 0);
    m->mean /= m->n, m->abs /= m->n, m->square /= m->n;
  }
  return moments;
}

/* Putting them in */

/* One step, or one per output channel: along the dimensions of the weights that the contract's result has. */
static Type step_type(const Node *n, int k, Grain grain, int64_t *elements) {
  const Type *w = &n->in[k]->t;
  Type t = type_make(F32, 1, (int64_t[]){1});
  int64_t count = 1, each = 1;
  for (int i = 0; i < w->rank; i++) count *= w->d[i].n;
  *elements = count;
  if (grain == GRAIN_LAYER) return t;
  t = *w;
  for (int d = 0; d < w->rank; d++) {
    bool output = false;
    for (int i = 0; i < n->t.rank; i++) output |= n->a.iters->acc[k][d].coef[i] != 0;
    if (output) each *= w->d[d].n;
    else t.d[d] = dim_c(1);
  }
  *elements = count / each;
  return t;
}

/* Output channels of operand k times the positions of its kernel (dimensions from the third on). */
static int64_t fan_out(const Node *n, int k) {
  const Type *w = &n->in[k]->t;
  int64_t per, fan = 1;
  step_type(n, k, GRAIN_KERNEL, &per);
  for (int d = 0; d < w->rank; d++) fan *= w->d[d].n;
  fan /= per;
  for (int d = 2; d < w->rank; d++) fan *= w->d[d].n;
  return fan;
}

/* The quantizer of weights (node x stands for them) or of the layer's input, of a network with room for one more. */
static Node *put(Put *p, const QuantRow *row, bool weight, Node *x) {
  QuantSpec spec = weight ? row->weight : row->act;
  const Node *other = p->layer->in[!p->k];
  if (spec.q == QUANT_NONE) return x;
  Site *s = p->site = &p->net->site[p->net->n_site++];
  *s = (Site){.layer = layer_name(p->net, p->layer, p->k), .row = row, .bits = spec.bits, .weight = weight, .w = p->layer->in[p->k]->a.index - 1,
              .x = (int)x->id, .at = (int)p->layer->id, .elements = 1, .batch = (double)p->r->batch, .fan_out = weight ? fan_out(p->layer, p->k) : 0,
              .seed = p->r->seed, .first = p->net->n_p};
  p->x = x;
  if (weight) p->channels = step_type(p->layer, p->k, GRAIN_KERNEL, &s->elements), p->steps = step_type(p->layer, p->k, row->grain, &s->elements);
  else {
    for (int i = 0; i < other->t.rank; i++) if (!other->t.d[i].sym) s->elements *= other->t.d[i].n;
    p->steps = type_make(F32, 1, (int64_t[]){1});
    s->up = non_negative(p->net, other, 64);
  }
  if (weight && quantizer_ops[spec.q]->update) p->net->p[s->w].taken = true;
  Node *y = weight ? quantizer_ops[spec.q]->weight(p) : quantizer_ops[spec.q]->act(p);
  s->y = (int)y->id;
  return y;
}

/* The layer on its new operands. */
static Node *layer_of(Graph *g, const Node *n, Node **in, Put *p) {
  Node *sum = NULL, *x = p->k < 0 ? NULL : in[!p->k];
  for (int i = 0; i < p->n_plane && p->n_plane > 1; i++) {
    in[!p->k] = p->plane[i];
    Node *y = node_clone(g, n, in);
    sum = sum ? node_map2(g, S_ADD, sum, y) : y;
  }
  p->n_plane = 0;
  if (!sum) return node_clone(g, n, in);
  in[!p->k] = x;
  return straight(g, sum, node_clone(g, n, in));
}

void net_quantize(Net *net, const Recipe *r, const QuantRows *rows) {
  if (!net->plain) net->plain = net->g, net->n_plain = net->n_p - net->n_aux;
  else graph_free(net->g);
  Graph *old = net->plain, *g = net->g = graph_new(net->ctx, old->name, NULL);
  Arena *scratch = arena_new(net->ctx);
  Node **map = NEWN(scratch, Node *, old->n_nodes + 1);
  Put p = {.net = net, .g = g, .r = r};
  int layers = layer_count(old, net), layer = 0;
  Param *aux = NEWN(scratch, Param, net->n_aux + 1);
  memcpy(aux, net->p + net->n_p - net->n_aux, sizeof *aux * (size_t)net->n_aux);
  net->n_p = net->n_plain;
  for (int i = 0; i < net->n_site; i++) if (net->site[i].weight) net->p[net->site[i].w].decay_mul = 1; /* a quantizer may have changed it */
  net->n_site = net->stat.n = 0;
  net->site = NEWN(net->arena, Site, 2 * layers + 1);
  for (int i = 0; i < net->n_plain; i++) net->p[i].taken = false;
  graph_sym(g, old->syms[0]);
  for (int i = 0; i < old->n_args; i++) map[old->args[i]->id] = graph_arg(g, old->arg_names[i], &old->args[i]->t);
  for (int i = 0; i < old->n_nodes; i++) {
    const Node *n = old->nodes[i];
    if (n->op == OP_ARG) continue;
    Node **in = NEWN(scratch, Node *, n->n_in + 1);
    for (int k = 0; k < n->n_in; k++) in[k] = map[n->in[k]->id];
    p.layer = n, p.k = weight_operand(net, n);
    g->at = n->loc;
    const QuantRow *row = p.k < 0 ? NULL : recipe_quant(rows, layer_name(net, n, p.k), layer == 0, layer + 1 == layers);
    layer += p.k >= 0;
    if (row) in[p.k] = put(&p, row, true, in[p.k]), in[!p.k] = put(&p, row, false, in[!p.k]);
    map[i] = layer_of(g, n, in, &p);
  }
  for (int i = 0; i < old->n_outs; i++) graph_out(g, old->outs[i].name, map[old->outs[i].v->id]);
  for (int i = 0; i < net->tap.n; i++) net->tap.p[i].node = (int)map[net->tap.p[i].plain]->id;
  for (int i = 0; i < net->n_aux; i++) *net_param_room(net) = aux[i], net->n_p++;
  arena_free(scratch);
}

/* Why the row's grain is none of its weights', or NULL. */
static const char *wrong_grain(const QuantRow *row) {
  const QuantizerInfo *info = &quantizer_info[row->weight.q];
  if (row->grain == GRAIN_LAYER) return NULL;
  if (!row->weight.q) return "grain: kernel, which is of weights";
  if (!quantizer_ops[row->weight.q]->grain) return "grain: kernel, but its weights have no step or scale for each output channel";
  return strstr(info->options, "scale=") && row_option(row, "scale", 0) == 0 ? "grain: kernel, but without scale: layer its weights have no scale" : NULL;
}

/* Neither quantizer of the row has an objection; else E0703 at the row. */
static bool can_put(Net *net, const Node *layer, int k, const QuantRow *row) {
  const QuantSpec *const spec[2] = {&row->weight, &row->act};
  for (int a = 0; a < 2; a++) {
    const QuantizerOps *ops = spec[a]->q == QUANT_NONE ? NULL : quantizer_ops[spec[a]->q];
    const char *why = ops && ops->wrong ? ops->wrong(layer, k, row, !a, non_negative(net, layer->in[!k], 64)) : NULL;
    if (!why && ops) why = wrong_grain(row);
    Loc loc = {.file = row->file, .line = row->line, .node = -1};
    if (why) return diag(net->ctx, E0703, &loc, "%s/%d of layer '%s': %s", quantizer_info[spec[a]->q].name, spec[a]->bits, layer_name(net, layer, k), why);
  }
  return true;
}

/* A pattern of the row without * and ?, that is no layer's name: a typo. NULL: there is none. */
static const char *no_layer(const QuantRow *row, const char *const *layer, int n, Arena *a) {
  for (const char *p = row->match;; p++) {
    size_t len = strcspn(p, "|");
    char *name = arena_strndup(a, p, len);
    bool known = strpbrk(name, "*?") || !strcmp(name, "first") || !strcmp(name, "last");
    for (int i = 0; i < n; i++) known = known || !strcmp(name, layer[i]);
    if (!known) return name;
    p += len;
    if (!*p) return NULL;
  }
}

static bool matches_none(const QuantRow *row, const char *const *layer, int n) {
  const QuantRows alone = {(QuantRow *)(uintptr_t)row, 1};
  for (int i = 0; i < n; i++) if (recipe_quant(&alone, layer[i], !i, i + 1 == n)) return false;
  return true;
}

/* Row i of the phase means layers that there are: a name is one's, and a row that quantizes has some. Else false with E0703 at the row. */
static bool row_has_layers(const Net *net, const Phase *ph, int i, bool used, const char *const *layer, int n) {
  const QuantRow *row = &ph->rows.row[i];
  Arena *a = net->ctx->own;
  const char *rows = ph->own_rows ? arena_printf(a, "phase '%s', quant", ph->name) : "quant", *typo = no_layer(row, layer, n, a);
  bool none = !typo && matches_none(row, layer, n), quantizes = row->weight.q != QUANT_NONE || row->act.q != QUANT_NONE;
  Loc loc = {.file = row->file, .line = row->line, .node = -1};
  if (!typo && !(none && quantizes)) {
    if (!used) diag_warn(net->ctx, E0802, &loc, "%s.%d: no layer of the network is left for '%.100s'", rows, i, row->match);
    return true;
  }
  diag(net->ctx, E0703, &loc, typo ? "%s.%d.match: there is no layer '%.100s'" : "%s.%d.match: no layer has a name like '%.100s'", rows, i, typo ? typo : row->match);
  const char *near = nearest(typo ? typo : row->match, layer, n);
  Str all = {.ctx = net->ctx};
  for (int k = 0; k < n && k < 40; k++) str_printf(&all, "%s%s", k ? ", " : "", layer[k]);
  if (near) diag_hint(net->ctx, "did you mean '%s'?", near);
  else diag_hint(net->ctx, "the layers are %s%s", all.p, n > 40 ? ", .." : "");
  str_free(&all);
  return false;
}

bool net_can_quantize(Net *net, const Recipe *r, const Phase *ph) {
  const Graph *g = net->plain ? net->plain : net->g;
  int layers = layer_count(g, net), layer = 0;
  const char **name = NEWN(net->ctx->own, const char *, layers + 1);
  bool used[RECIPE_QUANT] = {false}, any = false, ok = true;
  for (int i = 0; i < g->n_nodes; i++) {
    int k = weight_operand(net, g->nodes[i]);
    if (k < 0) continue;
    name[layer++] = layer_name(net, g->nodes[i], k);
    const QuantRow *row = recipe_quant(&ph->rows, name[layer - 1], layer == 1, layer == layers);
    if (row) used[row - ph->rows.row] = true;
    if (row && !can_put(net, g->nodes[i], k, row)) return false;
    any = any || (row && (row->weight.q != QUANT_NONE || row->act.q != QUANT_NONE));
  }
  if (!layers) return diag(net->ctx, E0703, &(Loc){.file = r->file, .line = -1, .node = -1}, "the network has no convolution or product of float weights to quantize: is the model quantized already?");
  for (int i = 0; i < ph->rows.n; i++) ok = row_has_layers(net, ph, i, used[i], name, layers) && ok;
  if (any || !ok) return ok;
  return diag(net->ctx, E0703, &(Loc){.file = r->file, .line = -1, .node = -1}, "a quantized phase, and no row of `quant` that quantizes a layer");
}

static bool has_float_contract(const Graph *g, const char *layer) {
  for (int k = 0; k < g->n_nodes; k++) {
    const Node *n = g->nodes[k];
    if (n->op == OP_CONTRACT && elem_is_float(n->t.e) && n->loc.name && layer && !strcmp(n->loc.name, layer)) return true;
  }
  return false;
}

void net_warn_of_floats(const Net *net, const Graph *g) {
  for (int i = 0; i < net->n_site; i++) {
    const Site *s = &net->site[i];
    const char *why = s->weight ? site_ops(s)->in_float : NULL;
    if (!s->weight || (s->row->act.q == QUANT_NONE && !why) || !has_float_contract(g, net->plain->nodes[s->at]->loc.name)) continue;
    diag_warn(net->ctx, E0802, &(Loc){.file = s->row->file, .line = s->row->line, .node = -1}, "layer '%s' is compiled with float weights: %s", s->layer,
              why ? why : "its levels are not found again in the frozen network");
  }
}

const Site *net_weight_site(const Net *net, int p) {
  for (int i = 0; i < net->n_site; i++) if (net->site[i].weight && net->site[i].w == p) return &net->site[i];
  return NULL;
}

double net_code_bits(const Net *net, int p) {
  const Site *s = net_weight_site(net, p);
  return s && site_ops(s)->code_bits ? site_ops(s)->code_bits(net, s) : net_weight_bits(net, p);
}

double net_weight_bits(const Net *net, int p) {
  const Site *s = net_weight_site(net, p);
  if (s) return site_ops(s)->width ? site_ops(s)->width(net, s) : s->bits;
  for (int i = 0; i < net->n_site; i++) if (p >= net->site[i].first && p < net->site[i].first + net->site[i].n) return 0;
  return 32;
}
