/* Other programs and temporary folders. */
#include "tools/cmd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int sh(Ctx *ctx, const char *const *argv, const char *what) {
  char out[] = "/tmp/popshift-XXXXXX";
  int fd = mkstemp(out), status = 0;
  if (fd < 0) { diag(ctx, E0502, &(Loc){.file = out, .line = -1, .node = -1}, "cannot make a temporary file: %s", strerror(errno)); return -1; }
  fflush(NULL);
  pid_t pid = fork();
  if (!pid) {
    dup2(fd, 1);
    dup2(fd, 2);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0) dup2(null, 0);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
  }
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  bool ok = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!ok) {
    char text[400] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    diag(ctx, E0503, NULL, "%s failed: %s", what, *text ? text : "no message");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) diag_hint(ctx, "is it installed? gcc or clang will do");
  }
  close(fd);
  unlink(out);
  return ok ? 0 : -1;
}

char *temp_dir(Ctx *ctx) {
  const char *base = getenv("TMPDIR");
  char *dir = arena_printf(ctx->own, "%s/popshift-XXXXXX", base && *base ? base : "/tmp");
  if (!mkdtemp(dir)) { diag(ctx, E0502, &(Loc){.file = dir, .line = -1, .node = -1}, "cannot make a temporary folder: %s", strerror(errno)); return NULL; }
  /* the folders that an HLS project has */
  mkdir(arena_printf(ctx->own, "%s/include", dir), 0700);
  mkdir(arena_printf(ctx->own, "%s/tb_data", dir), 0700);
  return dir;
}


static void empty_dir(const char *dir) {
  DIR *d = opendir(dir);
  struct dirent *e;
  if (!d) return;
  while ((e = readdir(d))) if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) unlinkat(dirfd(d), e->d_name, 0);
  closedir(d);
}

void temp_dir_remove(const char *dir) {
  static const char *const sub[] = {"include", "tb_data"};
  char path[4200];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, sub[i]);
    empty_dir(path);
    rmdir(path);
  }
  empty_dir(dir);
  rmdir(dir);
}
