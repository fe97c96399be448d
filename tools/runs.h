/* Runs of training as folders: what each left (result.json), and sweeps of them (sweep.json). */
#ifndef POPSHIFT_TOOLS_RUNS_H
#define POPSHIFT_TOOLS_RUNS_H

#include "tools/cmd.h"

#include <jansson.h>

#define RESULT_SCHEMA "popshift.train/1"
#define SWEEP_SCHEMA "popshift.sweep/1"

/* FOLDER/result.json, of this schema; NULL where it is not there, or with E0501 or E0103 where told is set or it is there and wrong. */
json_t *result_read(Ctx *, const char *folder, bool told);
json_t *json_file(Ctx *, const char *path, const char *schema, bool told);
bool json_file_write(Ctx *, const char *path, const json_t *); /* replaced at once */

/* "diverged", "finished", or "running" (stopped, too). */
const char *result_state(const json_t *result);

/* sweep.c: --set KEY=V1,V2 of several. True where some --set lists more than one value. */
bool sweep_asked(const Cmd *);
/* Every combination, each in a folder of its own under out. run: trains in a folder with these assignments and says how it ended. */
typedef enum RunEnd { RUN_OK, RUN_DIVERGED, RUN_FAILED } RunEnd;
typedef RunEnd SweepRun(void *user, const char *folder, const char *const *set, int n, bool *skipped);
bool sweep_run(Cmd *, const char *out, SweepRun *, void *user);
bool sweep_each(Cmd *, SweepRun *, void *user); /* of each combination, without a folder (NULL); stops where one fails */

#endif
