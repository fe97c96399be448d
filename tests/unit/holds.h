/* Assertions inside loops over elements. Check notes every assertion that holds, which is most of such a loop's time, and many
 * times that under sanitizers; these note only what fails. */
#ifndef POPSHIFT_TESTS_HOLDS_H
#define POPSHIFT_TESTS_HOLDS_H

#include <check.h>

#define holds(cond) do { if (!(cond)) ck_abort_msg("%s", #cond); } while (0)
#define holds_msg(cond, ...) do { if (!(cond)) ck_abort_msg(__VA_ARGS__); } while (0)

#endif
