/* Protobuf messages by hand, for tests: a growing buffer, fields, and nested messages built innermost first. */
#ifndef POPSHIFT_TESTS_WIRE_BUILD_H
#define POPSHIFT_TESTS_WIRE_BUILD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Pb { char *p; size_t n; } Pb;

static inline void pb_bytes(Pb *b, const void *p, size_t n) {
  b->p = realloc(b->p, b->n + n + 1);
  if (n) memcpy(b->p + b->n, p, n);
  b->n += n;
}
static inline void pb_varint(Pb *b, uint64_t v) {
  for (; v >= 128; v >>= 7) { char c = (char)(v | 128); pb_bytes(b, &c, 1); }
  char c = (char)v;
  pb_bytes(b, &c, 1);
}
static inline void pb_int(Pb *b, int field, int64_t v) { pb_varint(b, (uint64_t)field << 3); pb_varint(b, (uint64_t)v); }
static inline void pb_data(Pb *b, int field, const void *p, size_t n) { pb_varint(b, (uint64_t)field << 3 | 2); pb_varint(b, n); pb_bytes(b, p, n); }
static inline void pb_text(Pb *b, int field, const char *s) { pb_data(b, field, s, strlen(s)); }
static inline void pb_float(Pb *b, int field, float f) { pb_varint(b, (uint64_t)field << 3 | 5); pb_bytes(b, &f, 4); }
/* Adds the message and frees it. */
static inline void pb_message(Pb *b, int field, Pb sub) { pb_data(b, field, sub.p, sub.n); free(sub.p); }

#endif
