/* popshift VERB ...: finds the verb, reads its flags by popt, runs it, prints the diagnostics. */
#include "tools/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <popt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { const char *name, *args; int available; const char *what; int (*run)(Cmd *); } VerbInfo;
static int verb_missing(Cmd *c);
#define VERB_FN_1(name) verb_##name
#define VERB_FN_0(name) verb_missing
static const VerbInfo verbs[VERB_COUNT] = {
#define VERB(name, args, available, what) [VERB_##name] = {#name, args, available, what, VERB_FN_##available(name)},
#include "tools/verbs.def"
#undef VERB
};

typedef struct { const char *name; char letter; const char *arg, *verbs; int available; const char *help; } FlagInfo;
static const FlagInfo flags[FLAG_COUNT] = {
#define FLAG(id, long_, short_, arg, verbs, available, help) [FLAG_##id] = {long_, short_, arg, verbs, available, help},
#include "tools/flags.def"
#undef FLAG
};

static volatile int interrupted;
static void on_signal(int sig) { (void)sig; if (interrupted) _exit(EXIT_INTERRUPTED); interrupted = 1; }

static int verb_missing(Cmd *c) {
  diag(c->ctx, E0306, NULL, "verb '%s' is not available in this version", verbs[c->verb].name);
  return EXIT_UNSUPPORTED;
}

static bool flag_of_verb(FlagId f, VerbId v) {
  return flags[f].verbs[0] == '*' || strchr(flags[f].verbs, VERB_LETTERS[v]) != NULL;
}

static void usage(FILE *to) {
  fprintf(to, "popshift %s: compiler and code generator for low-bit neural networks\n\nusage: popshift VERB ... (popshift VERB -h)\n\n",
          POPSHIFT_VERSION);
  for (int v = 0; v < VERB_COUNT; v++)
    if (verbs[v].available) fprintf(to, "  %-8s %-42s %s\n", verbs[v].name, verbs[v].args, verbs[v].what);
  fprintf(to, "\nexit: 0 ok, 1 the model is wrong, 2 usage, 3 unsupported, 4 mismatch, 5 input/output, 6 a limit, 70 a bug of ours, 130 interrupted\n");
}

static void usage_verb(FILE *to, VerbId v) {
  fprintf(to, "usage: popshift %s %s [flags]\n%s\n\n", verbs[v].name, verbs[v].args, verbs[v].what);
  for (int f = 0; f < FLAG_COUNT; f++) {
    if (!flag_of_verb(f, v) || !flags[f].available) continue;
    char left[96], letter[8] = "    ";
    if (flags[f].letter) snprintf(letter, sizeof letter, "-%c, ", flags[f].letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, flags[f].name, flags[f].arg ? " " : "", flags[f].arg ? flags[f].arg : "");
    fprintf(to, strlen(left) < 34 ? "  %-34s %s\n" : "  %s\n                                     %s\n", left, flags[f].help);
  }
}

static void flag_add(Cmd *c, FlagId f, const char *value) {
  const char **v = NEWN(c->ctx->own, const char *, c->flag[f].n + 1);
  for (int i = 0; i < c->flag[f].n; i++) v[i] = c->flag[f].v[i];
  v[c->flag[f].n] = value;
  c->flag[f].v = v;
  c->flag[f].n++;
}

/* Reads argv[1..] into c; false after a diagnostic. *help is set where -h was given. */
static bool parse(Cmd *c, int argc, const char **argv, bool *help) {
  struct poptOption table[FLAG_COUNT + 2];
  int n = 0;
  memset(table, 0, sizeof table);
  for (int f = 0; f < FLAG_COUNT; f++)
    if (flag_of_verb(f, c->verb))
      table[n++] = (struct poptOption){flags[f].name, flags[f].letter, flags[f].arg ? POPT_ARG_STRING : POPT_ARG_NONE, NULL, f + 1, NULL, NULL};
  table[n++] = (struct poptOption){"help", 'h', POPT_ARG_NONE, NULL, FLAG_COUNT + 1, NULL, NULL};
  poptContext p = poptGetContext("popshift", argc, argv, table, 0);
  int got;
  while ((got = poptGetNextOpt(p)) > 0) {
    if (got == FLAG_COUNT + 1) { *help = true; continue; }
    FlagId f = (FlagId)(got - 1);
    char *arg = poptGetOptArg(p);
    flag_add(c, f, arg ? arena_strdup(c->ctx->own, arg) : "");
    free(arg);
    if (!flags[f].available) diag(c->ctx, E0306, NULL, "--%s is not available in this version", flags[f].name);
  }
  if (got < -1) {
    const char *bad = poptBadOption(p, POPT_BADOPTION_NOALIAS);
    diag(c->ctx, E0701, NULL, "%s: %s", bad, poptStrerror(got));
    const char *names[FLAG_COUNT];
    int k = 0;
    for (int f = 0; f < FLAG_COUNT; f++) if (flag_of_verb(f, c->verb)) names[k++] = flags[f].name;
    while (*bad == '-') bad++;
    const char *near = nearest(bad, names, k);
    if (near && strcmp(near, bad)) diag_hint(c->ctx, "did you mean --%s?", near);
  }
  const char *a;
  VEC(const char *) args = {0};
  while ((a = poptGetArg(p))) vec_push(c->ctx->own, &args, arena_strdup(c->ctx->own, a));
  c->args = args.p;
  c->n_args = args.n;
  poptFreeContext(p);
  return c->ctx->n_errors == 0;
}

static bool limits_apply(Cmd *c) {
  for (int i = 0; i < c->flag[FLAG_limit].n; i++) {
    const char *rest, *key = cmd_split(c, c->flag[FLAG_limit].v[i], &rest);
    char *end = NULL;
    errno = 0;
    long long v = rest ? strtoll(rest, &end, 10) : 0;
    if (!key || !*rest || *end || errno || v < 0) return diag(c->ctx, E0701, NULL, "--limit takes KEY=N with N >= 0");
    const char *near = limit_set(c->ctx, key, v);
    if (near) {
      diag(c->ctx, E0701, NULL, "--limit has no key '%s'", key);
      if (*near) diag_hint(c->ctx, "did you mean %s?", near);
      return false;
    }
  }
  return true;
}

static int run(Cmd *c, int argc, const char **argv) {
  const char *names[VERB_COUNT];
  for (int v = 0; v < VERB_COUNT; v++) names[v] = verbs[v].name;
  if (argc < 2) { usage(stderr); return EXIT_USAGE; }
  if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) { usage(stdout); return EXIT_OK; }
  if (!strcmp(argv[1], "--version")) { printf("popshift %s\n", POPSHIFT_VERSION); return EXIT_OK; }
  int v = 0;
  while (v < VERB_COUNT && strcmp(argv[1], names[v])) v++;
  if (v == VERB_COUNT) {
    diag(c->ctx, E0701, NULL, "no verb '%s'", argv[1]);
    const char *near = nearest(argv[1], names, VERB_COUNT);
    if (near) diag_hint(c->ctx, "did you mean %s? `popshift -h` lists them", near);
    return EXIT_USAGE;
  }
  c->verb = (VerbId)v;
  bool help = false;
  bool ok = parse(c, argc - 1, argv + 1, &help);
  if (help) { usage_verb(stdout, c->verb); return EXIT_OK; }
  int64_t threads;
  if (!ok || !limits_apply(c) || !cmd_int(c, FLAG_threads, 1, 1, 64, &threads)) return diag_exit(c->ctx);
  return verbs[v].run(c);
}

int main(int argc, const char **argv) {
  for (int fd = 0; fd < 3; fd++) /* closed ones would be given to files that are opened later */
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) < 0) return EXIT_IO;
  setlocale(LC_ALL, "C");
  struct sigaction sa = {.sa_handler = on_signal};
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  signal(SIGPIPE, SIG_IGN);
  Cmd c = {.ctx = ctx_new()};
  c.ctx->cancel = &interrupted;
  int rc = run(&c, argc, argv);
  if (cmd_has(&c, FLAG_quiet)) { /* remarks and warnings are not wanted */
    Diag **p = &c.ctx->diags;
    while (*p) if ((*p)->is_error) p = &(*p)->next; else *p = (*p)->next;
  }
  diag_print(c.ctx, stderr, isatty(2) && !getenv("NO_COLOR"));
  if (rc == EXIT_OK || (rc == EXIT_USAGE && diag_exit(c.ctx))) rc = diag_exit(c.ctx); /* a file that a flag names may be what is wrong */
  errno = 0;
  if (fflush(stdout) || ferror(stdout)) {
    if (rc == EXIT_OK) rc = EXIT_IO;
    if (errno != EPIPE) /* a reader that has enough, like head, is no error worth words */
      fprintf(stderr, "popshift: error E0502: cannot write standard output: %s\n", errno ? strerror(errno) : "an earlier write failed");
  }
  ctx_free(c.ctx);
  return rc;
}
