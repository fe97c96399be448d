/* Pictures in memory for tests: two JPEGs, and PNGs of any size. */
#ifndef POPSHIFT_TESTS_PICTURES_H
#define POPSHIFT_TESTS_PICTURES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 8x8: grey 0 19 41 60 80 99 121 140 in every row; and one colour, (199, 50, 10). */
static const unsigned char grey_jpeg[] = {
  255, 216, 255, 224, 0, 16, 74, 70, 73, 70, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 255, 219, 0, 67, 0, 3, 2, 2, 3, 2, 2, 3, 3, 3, 3, 4,
  3, 3, 4, 5, 8, 5, 5, 4, 4, 5, 10, 7, 7, 6, 8, 12, 10, 12, 12, 11, 10, 11, 11, 13, 14, 18, 16, 13, 14, 17, 14, 11, 11, 16, 22, 16,
  17, 19, 20, 21, 21, 21, 12, 15, 23, 24, 22, 20, 24, 18, 20, 21, 20, 255, 192, 0, 11, 8, 0, 8, 0, 8, 1, 1, 17, 0, 255, 196, 0, 20, 0, 1,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 255, 196, 0, 23, 16, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 8, 68, 129, 255, 218, 0, 8, 1, 1, 0, 0, 63, 0, 50, 41, 49, 97, 255, 217,
};
static const unsigned char colour_jpeg[] = {
  255, 216, 255, 224, 0, 16, 74, 70, 73, 70, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 255, 219, 0, 67, 0, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 2,
  2, 2, 2, 2, 4, 3, 2, 2, 2, 2, 5, 4, 4, 3, 4, 6, 5, 6, 6, 6, 5, 6, 6, 6, 7, 9, 8, 6, 7, 9, 7, 6, 6, 8, 11, 8,
  9, 10, 10, 10, 10, 10, 6, 8, 11, 12, 11, 10, 12, 9, 10, 10, 10, 255, 219, 0, 67, 1, 2, 2, 2, 2, 2, 2, 5, 3, 3, 5, 10, 7, 6, 7,
  10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10,
  10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 255, 192, 0, 17, 8, 0, 8, 0, 8, 3, 1, 17, 0, 2, 17, 1, 3, 17, 1, 255, 196, 0,
  20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 255, 196, 0, 20, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 255, 196, 0, 21, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 9, 255, 196, 0, 20, 17, 1, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 218, 0, 12, 3, 1, 0, 2, 17, 3, 17, 0, 63, 0, 51, 137, 106, 112, 255, 217,
};

typedef struct Bytes { unsigned char *p; size_t n, cap; } Bytes;

static void put(Bytes *b, const void *p, size_t n) {
  if (b->n + n > b->cap) {
    b->cap = 2 * (b->n + n);
    b->p = realloc(b->p, b->cap);
  }
  if (n) memcpy(b->p + b->n, p, n);
  b->n += n;
}

static void little(Bytes *b, uint32_t v, int size) {
  for (int i = 0; i < size; i++) put(b, &(unsigned char){(unsigned char)(v >> 8 * i)}, 1);
}

static void big(Bytes *b, uint32_t v) {
  for (int i = 3; i >= 0; i--) put(b, &(unsigned char){(unsigned char)(v >> 8 * i)}, 1);
}

static uint32_t crc32_of(const unsigned char *p, size_t n) {
  uint32_t c = ~0u;
  for (size_t i = 0; i < n; i++) {
    c ^= p[i];
    for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
  }
  return ~c;
}

static void chunk(Bytes *b, const char *type, const unsigned char *p, size_t n) {
  Bytes c = {0};
  put(&c, type, 4), put(&c, p, n);
  big(b, (uint32_t)n), put(b, c.p, c.n), big(b, crc32_of(c.p, c.n));
  free(c.p);
}

/* PNG of h x w pixels in rows of `row` bytes (deflate's stored blocks), byte i of the pixels is i * 7 + 3. */
static void png_of(Bytes *b, uint32_t h, uint32_t w, int depth, int colour, size_t row, const unsigned char *palette, size_t n_palette) {
  Bytes head = {0}, raw = {0}, z = {0};
  big(&head, w), big(&head, h), put(&head, (unsigned char[]){(unsigned char)depth, (unsigned char)colour, 0, 0, 0}, 5);
  for (size_t y = 0, k = 0; y < h; y++) {
    put(&raw, "", 1);
    for (size_t x = 0; x < row; x++, k++) put(&raw, &(unsigned char){(unsigned char)(palette ? k % (n_palette / 3) : k * 7 + 3)}, 1);
  }
  uint32_t s1 = 1, s2 = 0;
  for (size_t i = 0; i < raw.n; i++) s1 = (s1 + raw.p[i]) % 65521, s2 = (s2 + s1) % 65521;
  put(&z, "\x78\x01\x01", 3), little(&z, (uint32_t)raw.n, 2), little(&z, ~(uint32_t)raw.n & 0xffff, 2), put(&z, raw.p, raw.n), big(&z, s2 << 16 | s1);
  put(b, "\x89PNG\r\n\x1a\n", 8), chunk(b, "IHDR", head.p, head.n);
  if (palette) chunk(b, "PLTE", palette, n_palette);
  chunk(b, "IDAT", z.p, z.n), chunk(b, "IEND", NULL, 0);
  free(head.p), free(raw.p), free(z.p);
}

#endif
