/* Inside recipes: the tree that ir/doc.c makes of YAML and recipe_decode.c reads. */
#ifndef POPSHIFT_TRAINER_RECIPE_IMPL_H
#define POPSHIFT_TRAINER_RECIPE_IMPL_H

#include "trainer/recipe.h"

/* Everything but root, ctx, file and dir from r->root; false with at least one E0703. */
bool recipe_decode(Recipe *r);

#endif
