/* Inside recipes: the tree that recipe.c makes of YAML and recipe_decode.c reads. */
#ifndef POPSHIFT_TRAINER_RECIPE_IMPL_H
#define POPSHIFT_TRAINER_RECIPE_IMPL_H

#include "trainer/recipe.h"

typedef enum NodeShape { SHAPE_SCALAR, SHAPE_LIST, SHAPE_MAP } NodeShape;

typedef struct RecipeItem { const char *key; RecipeNode *v; int line; } RecipeItem; /* key NULL in a list; unique in a map */

struct RecipeNode {
  NodeShape shape;
  const char *file;              /* the recipe's, or "--set KEY" */
  int line;                      /* from 1; -1 of --set */
  const char *text;              /* of a scalar */
  bool quoted;                   /* then it is no number and no truth value */
  VEC(RecipeItem) item;
};

const RecipeNode *recipe_find(const RecipeNode *map, const char *key); /* NULL where absent, or not a map */
/* Everything but root, ctx, file and dir from r->root; false with at least one E0703. */
bool recipe_decode(Recipe *r);

#endif
