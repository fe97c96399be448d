/* run: a model on tensors from files; outputs to .npy files or a summary on standard output. */
#include "tools/ends.h"
#include "tools/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Job {
  Cmd *c;
  Model m;
  Ends ends;
  Ports p;           /* as engines have them */
  Tensor **in;       /* per port: the given data, maybe of many samples */
  Tensor **expect;   /* per output, or NULL */
  json_t *json;      /* outputs of the engine now running; NULL without --json */
  double rtol, atol;
  int64_t samples;   /* runs to make: the leading axis of inputs whose model dimension is 1 */
} Job;

static int name_index(const char *const *names, int n, const char *name) {
  for (int i = 0; i < n; i++) if (!strcmp(names[i], name)) return i;
  return -1;
}

/* "[NAME=]FILE": the port it belongs to; without NAME the next unnamed one, *next. */
static int port_of(Job *j, const char *spec, bool input, int *next, const char **file) {
  const char *rest, *name = cmd_split(j->c, spec, &rest);
  int i = name ? (input ? name_index(j->p.in_name, j->p.n_in, name) : name_index(j->p.out_name, j->p.n_out, name)) : -1;
  *file = i >= 0 ? rest : spec;
  if (i >= 0) return i;
  if (name && strncmp(spec, "random:", 7) && !strchr(name, '/') && !strchr(name, '.')) {
    diag(j->c->ctx, E0702, NULL, "the model has no %s '%s'", input ? "input" : "output", name);
    return -1;
  }
  int n = input ? j->p.n_in : j->p.n_out;
  if (*next >= n) { diag(j->c->ctx, E0702, NULL, "more --%s than the model has (%d)", input ? "input" : "expect", n); return -1; }
  return (*next)++;
}

static bool read_inputs(Job *j) {
  int next = 0;
  for (int k = 0; k < j->c->flag[FLAG_input].n; k++) {
    const char *file;
    int i = port_of(j, j->c->flag[FLAG_input].v[k], true, &next, &file);
    if (i < 0) return false;
    if (!strncmp(file, "random:", 7)) {
      char *end;
      uint64_t seed = strtoull(file + 7, &end, 10);
      if (!file[7] || *end) return diag(j->c->ctx, E0701, NULL, "--input random:SEED takes a number, not '%s'", file + 7);
      j->in[i] = tensor_random(j->c->ctx, &j->ends.model.in[i], seed + (uint64_t)i);
    } else j->in[i] = tensor_read(j->c->ctx, file, NULL);
    if (!j->in[i]) return false;
  }
  for (int i = 0; i < j->p.n_in; i++)
    if (!j->in[i]) {
      diag(j->c->ctx, E0702, NULL, "no value for input '%s'", j->p.in_name[i]);
      diag_hint(j->c->ctx, "give --input %s=FILE.npy, or --input %s=random:1", j->p.in_name[i], j->p.in_name[i]);
      return false;
    }
  next = 0;
  for (int k = 0; k < j->c->flag[FLAG_expect].n; k++) {
    const char *file;
    int i = port_of(j, j->c->flag[FLAG_expect].v[k], false, &next, &file);
    if (i < 0 || !(j->expect[i] = tensor_read(j->c->ctx, file, NULL))) return false;
  }
  return true;
}

/* What given data of input i stands for: values as the model has them, which the edge converts, or as the port has them (codes, words). */
static bool given_as_model(const Job *j, int i) {
  if (!j->ends.on || !j->ends.e.in[i].convert) return false;
  return elem_is_float(j->in[i]->t.e) || elem_is_code(j->ends.model.in[i].e);
}

/* How many samples the inputs hold: an input of k times the model's elements, where the model's leading dimension is 1. */
static bool count_samples(Job *j) {
  j->samples = 1;
  for (int i = 0; i < j->p.n_in; i++) {
    int64_t want;
    const Type *t = given_as_model(j, i) ? &j->ends.model.in[i] : &j->p.in[i];
    if (!type_count(t, &want)) return diag(j->c->ctx, E0304, NULL, "input '%s' has an unknown dimension", j->p.in_name[i]);
    if (j->in[i]->n == want) continue;
    if (!j->in[i]->n) return diag(j->c->ctx, E0702, NULL, "input '%s' holds no sample", j->p.in_name[i]);
    bool leading = t->rank > 0 && t->d[0].n == 1 && want > 0 && j->in[i]->n % want == 0;
    int64_t k = leading ? j->in[i]->n / want : 0;
    if (!leading || (j->samples > 1 && k != j->samples))
      return diag(j->c->ctx, E0702, NULL, "input '%s' has %" PRId64 " elements, the model wants %" PRId64, j->p.in_name[i], j->in[i]->n, want);
    j->samples = k;
  }
  return true;
}

static Tensor *sample_of(Ctx *ctx, const Tensor *all, const Type *t, int64_t samples, int64_t s) {
  int64_t n;
  type_count(t, &n);
  if (samples == 1 || all->n == n) return tensor_as(ctx, all, t);
  Tensor part = *all;
  part.t = *t;
  part.t.e = all->t.e;
  part.n = n;
  part.data = (char *)all->data + (size_t)(s * n) * store_size(all->st);
  return tensor_as(ctx, &part, t);
}

/* Sample s of input i as the port has it. */
static Tensor *port_sample(Job *j, int i, int64_t s) {
  if (!given_as_model(j, i)) return sample_of(j->c->ctx, j->in[i], &j->p.in[i], j->samples, s);
  Tensor *x = sample_of(j->c->ctx, j->in[i], &j->ends.model.in[i], j->samples, s);
  Tensor *y = x ? edge_convert(j->c->ctx, &j->ends.e.in[i], x) : NULL;
  tensor_free(x);
  return y;
}

/* Puts sample s's value among all samples'. */
static bool collect(Job *j, Tensor **all, const Tensor *one, int64_t s) {
  if (!*all) {
    Type t = one->t;
    if (j->samples > 1 && t.rank > 0 && t.d[0].n == 1) t.d[0].n = j->samples;
    else if (j->samples > 1) {
      for (int d = t.rank; d > 0; d--) t.d[d] = t.d[d - 1];
      t.d[0] = dim_c(j->samples);
      t.rank++;
    }
    if (!(*all = tensor_new(j->c->ctx, &t))) return false;
  }
  size_t bytes = (size_t)one->n * store_size(one->st);
  memcpy((char *)(*all)->data + (size_t)s * bytes, one->data, bytes);
  return true;
}

/* all: as the ports have them; values: as the model has them, where float results are expected. */
static bool run_samples(Job *j, Engine *e, Tensor **all, Tensor **values) {
  Ctx *ctx = j->c->ctx;
  Tensor **in = NEWN(ctx->own, Tensor *, j->p.n_in + 1), **out = NEWN(ctx->own, Tensor *, j->p.n_out + 1);
  for (int64_t s = 0; s < j->samples; s++) {
    for (int i = 0; i < j->p.n_in; i++)
      if (!(in[i] = port_sample(j, i, s))) return false;
    if (!engine_run(e, in, out)) return false;
    for (int i = 0; i < j->p.n_in; i++) tensor_free(in[i]);
    for (int o = 0; o < j->p.n_out; o++) {
      if (!collect(j, &all[o], out[o], s)) return false;
      bool code = j->expect[o] && elem_is_code(j->expect[o]->t.e);
      if (j->expect[o] && !code && j->ends.on && j->ends.e.out[o].convert) {
        Tensor *v = edge_convert(ctx, &j->ends.e.out[o], out[o]);
        if (!v || !collect(j, &values[o], v, s)) return false;
        tensor_free(v);
      }
      tensor_free(out[o]);
    }
  }
  return true;
}

static bool beyond_int64(const Tensor *t, int64_t i) { return t->st == ST_U64 && tensor_i(t, i) < 0; }

static json_t *tensor_json(Ctx *ctx, const char *name, const Tensor *t, const char *file) {
  Str s = {.ctx = ctx};
  json_t *shape = json_array(), *o;
  for (int i = 0; i < t->t.rank; i++) json_array_append_new(shape, json_integer(t->t.d[i].n));
  elem_print(&s, t->t.e);
  o = json_pack("{s:o s:s s:o}", "name", json_text(ctx->own, name), "type", s.p, "shape", shape);
  str_free(&s);
  if (file) { json_object_set_new(o, "file", json_text(ctx->own, file)); return o; }
  json_t *v = json_array();
  for (int64_t i = 0; i < t->n; i++)
    json_array_append_new(v, elem_is_float(t->t.e) || beyond_int64(t, i) ? json_number(tensor_f(t, i)) : json_integer(tensor_i(t, i)));
  json_object_set_new(o, "values", v);
  return o;
}

static void print_tensor(const char *name, const Tensor *t) {
  Str s = {.ctx = t->ctx};
  str_quoted(&s, name);
  str_put(&s, ": ");
  type_print(&s, NULL, &t->t);
  str_put(&s, " =");
  for (int64_t i = 0; i < t->n && i < 16; i++) {
    str_put(&s, " ");
    if (t->st == ST_F64) str_f64(&s, tensor_f(t, i));
    else if (elem_is_float(t->t.e)) str_f32(&s, (float)tensor_f(t, i));
    else if (beyond_int64(t, i)) str_printf(&s, "%" PRIu64, (uint64_t)tensor_i(t, i));
    else str_printf(&s, "%" PRId64, tensor_i(t, i));
  }
  if (t->n > 16) str_printf(&s, " ... (%lld elements)", (long long)t->n);
  puts(s.p);
  str_free(&s);
}

static bool check_expected(Job *j, Tensor *const *all, Tensor *const *values) {
  bool ok = true;
  for (int o = 0; o < j->p.n_out; o++) {
    if (!j->expect[o]) continue;
    const Tensor *got = values[o] ? values[o] : all[o];
    Tensor *want = tensor_as(j->c->ctx, j->expect[o], &got->t);
    if (!want) return false;
    int64_t first;
    double worst;
    int64_t bad = tensor_diff(got, want, j->atol, j->rtol, &first, &worst);
    if (j->json) json_object_set_new(json_array_get(j->json, (size_t)o), "differ", json_integer(bad));
    else printf("output '%s': %lld of %lld elements differ, greatest difference %.9g\n", j->p.out_name[o], (long long)bad, (long long)want->n, worst);
    if (bad) ok = diag(j->c->ctx, E0601, NULL, "output '%s' differs at element %lld: %.9g, expected %.9g", j->p.out_name[o], (long long)first,
                       tensor_f(got, first), tensor_f(want, first));
  }
  return ok;
}

static bool write_outputs(Job *j, Tensor *const *all) {
  const char *dir = cmd_get(j->c, FLAG_out);
  if (!dir || !strcmp(dir, "-")) {
    for (int o = 0; o < j->p.n_out; o++)
      if (j->json) json_array_append_new(j->json, tensor_json(j->c->ctx, j->p.out_name[o], all[o], NULL));
      else print_tensor(j->p.out_name[o], all[o]);
    return true;
  }
  struct stat st;
  if (mkdir(dir, 0777) && (stat(dir, &st) || !S_ISDIR(st.st_mode)))
    return diag(j->c->ctx, E0502, &(Loc){.file = dir, .line = -1, .node = -1}, "cannot make the folder");
  for (int o = 0; o < j->p.n_out; o++) {
    const char *file = arena_printf(j->c->ctx->own, "%s/output_%d.npy", dir, o);
    if (!tensor_write(j->c->ctx, file, all[o])) return false;
    if (j->json) json_array_append_new(j->json, tensor_json(j->c->ctx, j->p.out_name[o], all[o], file));
  }
  return true;
}

int verb_run(Cmd *c) {
  Job j = {.c = c};
  PassOptions opt;
  EngineKind kind[ENGINE_COUNT];
  int n_kind;
  const char *path = cmd_model(c);
  if (!path || !model_pass_options(c, &opt) || !engines_of(c, ENGINE_EVAL, kind, &n_kind) ||
      !cmd_double(c, FLAG_rtol, 1e-3, 0, &j.rtol) || !cmd_double(c, FLAG_atol, 1e-5, 0, &j.atol)) return EXIT_USAGE;
  if (!model_load_static(c, path, &j.m)) return diag_exit(c->ctx);
  if (!model_ends(c, &j.m, &opt, &j.ends)) return diag_exit(c->ctx);
  j.p = j.ends.port;
  j.in = NEWN(c->ctx->own, Tensor *, j.p.n_in + 1);
  j.expect = NEWN(c->ctx->own, Tensor *, j.p.n_out + 1);
  if (!read_inputs(&j) || !count_samples(&j)) return diag_exit(c->ctx);
  json_t *runs = cmd_has(c, FLAG_json) ? json_array() : NULL;
  bool ok = true;
  for (int k = 0; ok && k < n_kind; k++) {
    Engine *e = engine_for(c->ctx, kind[k], &j.m.s, &opt);
    Tensor **all = NEWN(c->ctx->own, Tensor *, j.p.n_out + 1), **values = NEWN(c->ctx->own, Tensor *, j.p.n_out + 1);
    if (runs) j.json = json_array();
    else if (n_kind > 1) printf("engine %s\n", engine_names[kind[k]]);
    ok = e && run_samples(&j, e, all, values) && write_outputs(&j, all) && check_expected(&j, all, values);
    if (runs) json_array_append_new(runs, json_pack("{s:s s:o}", "engine", engine_names[kind[k]], "outputs", j.json));
    engine_free(e);
  }
  if (runs) json_print(runs);
  ends_free(&j.ends);
  model_free(&j.m);
  return ok ? EXIT_OK : diag_exit(c->ctx);
}
