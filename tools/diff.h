/* What a pass changed: two printed states line by line. */
#ifndef POPSHIFT_TOOLS_DIFF_H
#define POPSHIFT_TOOLS_DIFF_H

#include "ir/base.h"

/* Lines of was and now that differ, with `context` lines around them; false where none does. Values are numbered anew by every pass: two
 * lines are the same where they are so but for numbers (%3, $1), and what they read are the same lines. A block of data is shown by its
 * first line, and compared whole. Lines beyond `width` columns are cut. */
bool text_diff(Str *out, Ctx *, const char *was, const char *now, int context, int width, bool color);

#endif
