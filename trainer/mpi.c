/* Ranks by MPI; nothing else of the project sees it. */
#include "trainer/ranks.h"

#include <stdlib.h>

Ranks ranks_told(void) {
  static const char *const names[][2] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"PMI_RANK", "PMI_SIZE"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *me = getenv(names[i][0]), *count = getenv(names[i][1]);
    if (count) return (Ranks){me ? atoi(me) : 0, atoi(count)};
  }
  return (Ranks){0, 1};
}

#ifdef POPSHIFT_MPI

#include <mpi.h>

enum { AT_ONCE = 1 << 28 }; /* MPI counts in int */

bool ranks_start(Ctx *ctx, Ranks *r) {
  int level;
  *r = (Ranks){0, 1};
  if (ranks_told().count <= 1) return true;
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) || MPI_Comm_rank(MPI_COMM_WORLD, &r->me) || MPI_Comm_size(MPI_COMM_WORLD, &r->count))
    return diag(ctx, E0902, NULL, "MPI does not start");
  return true;
}

void ranks_end(const Ranks *r, bool ok) {
  if (r->count > 1 && ok) MPI_Finalize();
}

bool ranks_any(const Ranks *r, bool mine) {
  int some = mine;
  if (r->count > 1) MPI_Allreduce(MPI_IN_PLACE, &some, 1, MPI_INT, MPI_LOR, MPI_COMM_WORLD);
  return some;
}

void ranks_send(const Ranks *r, int from, void *data, int64_t bytes) {
  for (int64_t at = 0; r->count > 1 && at < bytes; at += AT_ONCE)
    MPI_Bcast((char *)data + at, (int)(bytes - at < AT_ONCE ? bytes - at : AT_ONCE), MPI_BYTE, from, MPI_COMM_WORLD);
}

void ranks_sum(const Ranks *r, int64_t *sum) {
  if (r->count > 1) MPI_Allreduce(MPI_IN_PLACE, sum, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
}

void ranks_join(const Ranks *r, int32_t *data, int64_t n) {
  for (int64_t at = 0; r->count > 1 && at < n; at += AT_ONCE)
    MPI_Allreduce(MPI_IN_PLACE, data + at, (int)(n - at < AT_ONCE ? n - at : AT_ONCE), MPI_INT32_T, MPI_SUM, MPI_COMM_WORLD);
}

#else

bool ranks_start(Ctx *ctx, Ranks *r) {
  *r = (Ranks){0, 1};
  return ranks_told().count <= 1 || diag(ctx, E0307, NULL, "started by mpirun, but MPI is not built in (configure with -DPOPSHIFT_MPI=ON)");
}
void ranks_end(const Ranks *r, bool ok) { (void)r, (void)ok; }
bool ranks_any(const Ranks *r, bool mine) { (void)r; return mine; }
void ranks_send(const Ranks *r, int from, void *data, int64_t bytes) { (void)r, (void)from, (void)data, (void)bytes; }
void ranks_sum(const Ranks *r, int64_t *sum) { (void)r, (void)sum; }
void ranks_join(const Ranks *r, int32_t *data, int64_t n) { (void)r, (void)data, (void)n; }

#endif
