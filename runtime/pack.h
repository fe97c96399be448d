/* Packing of k-bit codes: least significant bit first, channel (last dimension) fastest, tail bits 0. A row is the codes
 * of one position, K of them; k = 1..16. Codes are two's complement: a signed code's low k bits are packed. */
#ifndef POPSHIFT_RT_PACK_H
#define POPSHIFT_RT_PACK_H

#include <stddef.h>
#include <stdint.h>

/* Dense: code i of a row in bits k*i .. k*i+k-1 of its bytes; each row starts at a byte. */
static inline size_t rt_packed_bytes(size_t count, int k) {
  return (count * (size_t)k + 7) / 8;
}

/* codes: one per byte (k <= 8). out: rt_packed_bytes(count, k) bytes, written whole. */
static inline void rt_pack(const uint8_t *codes, size_t count, int k, uint8_t *out) {
  uint32_t acc = 0;
  int have = 0;
  const uint32_t mask = (1u << k) - 1;
  for (size_t i = 0; i < count; i++) {
    acc |= (codes[i] & mask) << have;
    have += k;
    while (have >= 8) {
      *out++ = (uint8_t)acc;
      acc >>= 8;
      have -= 8;
    }
  }
  if (have)
    *out = (uint8_t)acc;
}

/* The inverse; is_signed: codes are sign-extended to the byte. */
static inline void rt_unpack(const uint8_t *in, size_t count, int k, int is_signed, uint8_t *codes) {
  uint32_t acc = 0;
  int have = 0;
  const uint32_t mask = (1u << k) - 1, sign = is_signed ? 1u << (k - 1) : 0;
  for (size_t i = 0; i < count; i++) {
    if (have < k) {
      acc |= (uint32_t)*in++ << have;
      have += 8;
    }
    uint32_t v = acc & mask;
    codes[i] = (uint8_t)((v ^ sign) - sign);
    acc >>= k;
    have -= k;
  }
}

/* Planes: words of W bits; bit i of plane p's word w is bit p of code W*w+i; planes one after another, each
 * rt_plane_words(count, W) words. bipolar: codes are -1 or +1, one plane, bit set where +1. */
static inline size_t rt_plane_words(size_t count, int w) {
  return (count + (size_t)w - 1) / (size_t)w;
}

#define RT_PACK_PLANES(W) \
  static inline void rt_pack_planes##W(const int8_t *codes, size_t count, int k, uint##W##_t *out) { \
    size_t words = rt_plane_words(count, W); \
    for (int p = 0; p < k; p++) \
      for (size_t w = 0; w < words; w++) { \
        size_t first = w * W, last = count - first < W ? count - first : W; \
        uint##W##_t v = 0; \
        for (size_t i = 0; i < last; i++) \
          v = (uint##W##_t)(v | (uint##W##_t)((uint##W##_t)((uint8_t)codes[first + i] >> p & 1) << i)); \
        *out++ = v; \
      } \
  } \
  static inline void rt_unpack_planes##W(const uint##W##_t *in, size_t count, int k, int is_signed, int8_t *codes) { \
    size_t words = rt_plane_words(count, W); \
    for (size_t j = 0; j < count; j++) { \
      unsigned v = 0, sign = is_signed ? 1u << (k - 1) : 0; \
      for (int p = 0; p < k; p++) \
        v |= (unsigned)(in[(size_t)p * words + j / W] >> j % W & 1) << p; \
      codes[j] = (int8_t)(uint8_t)((v ^ sign) - sign); \
    } \
  } \
  static inline void rt_pack_bipolar##W(const int8_t *codes, size_t count, uint##W##_t *out) { \
    size_t words = rt_plane_words(count, W); \
    for (size_t w = 0; w < words; w++) { \
      size_t first = w * W, last = count - first < W ? count - first : W; \
      uint##W##_t v = 0; \
      for (size_t i = 0; i < last; i++) \
        v = (uint##W##_t)(v | (uint##W##_t)((uint##W##_t)(codes[first + i] > 0) << i)); \
      out[w] = v; \
    } \
  }
RT_PACK_PLANES(8)
RT_PACK_PLANES(16)
RT_PACK_PLANES(32)
RT_PACK_PLANES(64)
#undef RT_PACK_PLANES

#endif
