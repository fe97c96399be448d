/* Shared by graph_text.c, graph_parse.c and graph_verify.c only. */
#ifndef POPSHIFT_IR_GRAPH_IMPL_H
#define POPSHIFT_IR_GRAPH_IMPL_H

#include "ir/graph.h"

/* Attributes printed as NAME=VALUE, one row each, in this order. Those with `always` unset are left out when zero. */
typedef enum FieldKind { FIELD_INT32, FIELD_INT64, FIELD_DOUBLE, FIELD_ROUND, FIELD_KERNEL } FieldKind;
typedef struct AttrField { const char *name; uint32_t mask; FieldKind kind; size_t offset; bool always; } AttrField;
enum { ATTR_FIELDS = 8 };
extern const AttrField attr_fields[ATTR_FIELDS];
bool field_is_zero(const AttrField *, const Attr *); /* by bits: -0.0 is not */

typedef struct PropName { uint32_t prop; const char *name; } PropName;
enum { PROP_NAMES = 6 };
extern const PropName prop_names[PROP_NAMES];

/* Letters of output and of reduction iterators, by position; all different. */
#define OUT_LETTERS "nmyxuvwzpq"
#define RED_LETTERS "cijklrsabdefghot"
enum { INLINE_ELEMENTS = 16 }; /* a constant of more elements goes to a data line */

static inline bool ident_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static inline bool ident_char(char c) { return ident_start(c) || (c >= '0' && c <= '9') || c == '.'; }

#endif
