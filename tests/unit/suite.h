/* What every Check program ends with. */
#ifndef POPSHIFT_TESTS_UNIT_SUITE_H
#define POPSHIFT_TESTS_UNIT_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Runs the suite, as loudly as $CK_VERBOSITY says; what main returns. */
static inline int suite_run(Suite *s) {
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_ENV);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
