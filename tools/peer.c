/* ONNX Runtime in a process of its own; see peer.h. */
#include "tools/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct Peer { Ctx *ctx; pid_t pid; FILE *to, *from; char version[64]; };

/* Says `ready VERSION` or `error TEXT`; then for each line N: seconds of N runs. Inputs are random, the outputs' memory is kept. */
static const char script[] =
  "import sys, time\n"
  "def fail(text):\n"
  "    print('error', ' '.join(str(text).split())[:300], flush=True)\n"
  "    sys.exit(1)\n"
  "try:\n"
  "    import numpy, onnxruntime\n"
  "except ImportError as e:\n"
  "    fail('%s has no numpy and onnxruntime (%s)' % (sys.executable, e))\n"
  "model, threads, dims = sys.argv[1], int(sys.argv[2]), dict(d.split('=') for d in sys.argv[3].split(',') if d)\n"
  "try:\n"
  "    options = onnxruntime.SessionOptions()\n"
  "    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1\n"
  "    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL\n"
  "    options.log_severity_level = 4\n"
  "    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])\n"
  "    types = {'tensor(float)': 'f4', 'tensor(double)': 'f8', 'tensor(float16)': 'f2', 'tensor(bool)': '?'}\n"
  "    binding, random = session.io_binding(), numpy.random.default_rng(1)\n"
  "    for i in session.get_inputs():\n"
  "        shape = [d if isinstance(d, int) else int(dims.get(d, 1)) for d in i.shape]\n"
  "        kind = types.get(i.type) or numpy.dtype(i.type[7:-1])\n"
  "        x = random.uniform(-1, 1, shape) if 'f' in str(kind) else random.integers(0, 2, shape)\n"
  "        binding.bind_cpu_input(i.name, numpy.ascontiguousarray(x.astype(kind)))\n"
  "    for o in session.get_outputs():\n"
  "        binding.bind_output(o.name)\n"
  "    session.run_with_iobinding(binding)\n"
  "except Exception as e:\n"
  "    fail(e)\n"
  "print('ready', onnxruntime.__version__, flush=True)\n"
  "for line in sys.stdin:\n"
  "    n = int(line)\n"
  "    start = time.perf_counter()\n"
  "    for _ in range(n):\n"
  "        session.run_with_iobinding(binding)\n"
  "    print(repr(time.perf_counter() - start), flush=True)\n";

static bool ended(Peer *p, const char *text) {
  return diag(p->ctx, E0503, NULL, "ONNX Runtime: %s", text && *text ? text : "its process ended without a word");
}

/* The two pipes and the process; its errors go where ours go. */
static bool spawn(Peer *p, char *const *argv) {
  int in[2], out[2];
  if (pipe(in)) return diag(p->ctx, E0503, NULL, "cannot make a pipe: %s", strerror(errno));
  if (pipe(out)) {
    close(in[0]), close(in[1]);
    return diag(p->ctx, E0503, NULL, "cannot make a pipe: %s", strerror(errno));
  }
  fflush(NULL);
  p->pid = fork();
  if (!p->pid) {
    dup2(in[0], 0), dup2(out[1], 1);
    close(in[0]), close(in[1]), close(out[0]), close(out[1]);
    execvp(argv[0], argv);
    printf("error cannot run %s: %s\n", argv[0], strerror(errno));
    fflush(stdout);
    _exit(127);
  }
  close(in[0]), close(out[1]);
  fcntl(in[1], F_SETFD, FD_CLOEXEC); /* another peer must not keep this one's input open */
  fcntl(out[0], F_SETFD, FD_CLOEXEC);
  p->to = fdopen(in[1], "w");
  p->from = fdopen(out[0], "r");
  return p->pid > 0 || diag(p->ctx, E0503, NULL, "cannot start a process: %s", strerror(errno));
}

Peer *peer_start(Ctx *ctx, const char *python, const char *model, int threads, const char *dims) {
  Peer *p = calloc(1, sizeof *p);
  char line[400], count[16];
  if (!p) abort();
  p->ctx = ctx;
  signal(SIGPIPE, SIG_IGN); /* of a process that ended: the write fails and says so */
  snprintf(count, sizeof count, "%d", threads);
  char *const argv[] = {(char *)(uintptr_t)python, (char *)(uintptr_t)"-c", (char *)(uintptr_t)script, (char *)(uintptr_t)model, count,
                        (char *)(uintptr_t)dims, NULL};
  bool ok = spawn(p, argv);
  if (ok && (!fgets(line, sizeof line, p->from) || strncmp(line, "ready ", 6))) {
    line[strcspn(line, "\n")] = 0;
    ok = ended(p, !strncmp(line, "error ", 6) ? line + 6 : NULL);
    diag_hint(ctx, "POPSHIFT_PYTHON or --python names a Python with numpy and onnxruntime");
  }
  if (!ok) {
    peer_stop(p);
    return NULL;
  }
  snprintf(p->version, sizeof p->version, "%.*s", (int)strcspn(line + 6, "\n"), line + 6);
  return p;
}

bool peer_time(Peer *p, int64_t runs, double *seconds) {
  char line[64], *end;
  fprintf(p->to, "%lld\n", (long long)runs);
  fflush(p->to);
  if (!fgets(line, sizeof line, p->from)) return ended(p, NULL);
  *seconds = strtod(line, &end) / (double)runs;
  return (end != line && *end == '\n') || ended(p, "it answered something else than seconds");
}

const char *peer_version(const Peer *p) { return p->version; }

void peer_stop(Peer *p) {
  if (!p) return;
  if (p->to) fclose(p->to);
  if (p->from) fclose(p->from);
  if (p->pid > 0) {
    int status;
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {}
  }
  free(p);
}
