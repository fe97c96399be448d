/* Pictures: PNG by libpng and JPEG by libjpeg-turbo, each where the runtime is built with it. */
#ifndef POPSHIFT_RT_IMAGE_H
#define POPSHIFT_RT_IMAGE_H

#include "runtime/array.h"

/* u8 [H,W,C] with C = 1 (grey) or 3 (red, green, blue). The kind is seen by the first bytes. Palettes are spelled out, 16 bits become 8, alpha
 * is left out; gamma and colour profiles are not applied. Damaged or cut short: refused, though some of it could be shown. */
const char *rt_image_parse(const void *bytes, size_t n, uint64_t max_bytes, RtArray *);
const char *rt_image_read(const char *path, uint64_t max_bytes, RtArray *);

/* Bilinear, half to even: pixel (y, x) of h x w is read at ((y + 1/2) H/h - 1/2, (x + 1/2) W/w - 1/2), the border repeated. */
const char *rt_image_resize(const RtArray *from, int64_t h, int64_t w, uint64_t max_bytes, RtArray *to);
/* To 1 channel ((299 red + 587 green + 114 blue + 500) / 1000) or to 3 that are the same; as it is where it has them. */
const char *rt_image_channels(RtArray *, int channels);

#endif
