#include "runtime/image.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 65535 };

#ifdef POPSHIFT_PNG
#include <png.h>

typedef struct Source { const unsigned char *p; size_t left; } Source;

static void png_take(png_structp png, png_bytep to, size_t n) {
  Source *s = png_get_io_ptr(png);
  if (n > s->left)
    png_error(png, "cut short");
  memcpy(to, s->p, n);
  s->p += n;
  s->left -= n;
}

static void png_quiet(png_structp png, png_const_charp text) { (void)png, (void)text; }

static void png_fail(png_structp png, png_const_charp text) {
  (void)text;
  longjmp(*(jmp_buf *)png_get_error_ptr(png), 1);
}

/* Everything behind the setjmp of its caller. */
static const char *png_decode(png_structp png, png_infop info, uint64_t max_bytes, RtArray *a, png_bytep *volatile *rows) {
  png_set_user_limits(png, MAX_SIDE, MAX_SIDE);
  png_read_info(png, info);
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  int64_t dims[3] = {png_get_image_height(png, info), png_get_image_width(png, info), png_get_channels(png, info)};
  if ((dims[2] != 1 && dims[2] != 3) || png_get_bit_depth(png, info) != 8)
    return "PNG picture is neither grey nor colour";
  const char *wrong = rt_array_new(a, 'u', 1, 3, dims, max_bytes);
  if (wrong)
    return wrong;
  *rows = malloc(sizeof **rows * (size_t)dims[0]);
  if (!*rows)
    return "out of memory";
  for (int64_t y = 0; y < dims[0]; y++)
    (*rows)[y] = (png_bytep)a->data + y * dims[1] * dims[2];
  png_read_image(png, *rows);
  png_read_end(png, NULL);
  return NULL;
}

static const char *read_png(const void *bytes, size_t n, uint64_t max_bytes, RtArray *a) {
  Source source = {bytes, n};
  jmp_buf out;
  png_bytep *volatile rows = NULL;
  const char *volatile wrong = NULL;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &out, png_fail, png_quiet);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  if (!info) {
    png_destroy_read_struct(&png, NULL, NULL);
    return "out of memory";
  }
  png_set_read_fn(png, &source, png_take);
  if (!setjmp(out))
    wrong = png_decode(png, info, max_bytes, a, &rows);
  else
    wrong = "PNG picture is damaged, cut short or too large";
  free(rows);
  png_destroy_read_struct(&png, &info, NULL);
  return wrong;
}
#endif

#ifdef POPSHIFT_JPEG
#include <jpeglib.h>

/* Many scans over few bytes cost much time: more than any picture has are refused. */
enum { MAX_SCANS = 500 };

typedef struct JpegError { struct jpeg_error_mgr base; jmp_buf out; } JpegError;

static void jpeg_fail(j_common_ptr c) { longjmp(((JpegError *)c->err)->out, 1); }
static void jpeg_message(j_common_ptr c, int level) { if (level < 0) jpeg_fail(c); } /* a warning: damaged data */
static void jpeg_quiet(j_common_ptr c) { (void)c; }
static void jpeg_watch(j_common_ptr c) { if (((j_decompress_ptr)c)->input_scan_number > MAX_SCANS) jpeg_fail(c); }

static const char *jpeg_decode(struct jpeg_decompress_struct *d, const void *bytes, size_t n, uint64_t max_bytes, RtArray *a) {
  jpeg_mem_src(d, bytes, (unsigned long)n);
  jpeg_read_header(d, TRUE);
  if (d->num_components != 1 && d->num_components != 3)
    return "JPEG picture is neither grey nor of three colours";
  d->out_color_space = d->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  d->dct_method = JDCT_ISLOW;
  int64_t dims[3] = {d->image_height, d->image_width, d->num_components};
  const char *wrong = rt_array_new(a, 'u', 1, 3, dims, max_bytes);
  if (wrong)
    return wrong;
  jpeg_start_decompress(d);
  while (d->output_scanline < d->output_height) {
    JSAMPROW row = (JSAMPROW)a->data + (size_t)d->output_scanline * (size_t)dims[1] * (size_t)dims[2];
    jpeg_read_scanlines(d, &row, 1);
  }
  jpeg_finish_decompress(d);
  return NULL;
}

static const char *read_jpeg(const void *bytes, size_t n, uint64_t max_bytes, RtArray *a) {
  struct jpeg_decompress_struct d;
  struct jpeg_progress_mgr watch = {.progress_monitor = jpeg_watch};
  JpegError error;
  const char *volatile wrong = NULL;
  d.err = jpeg_std_error(&error.base);
  error.base.error_exit = jpeg_fail;
  error.base.emit_message = jpeg_message;
  error.base.output_message = jpeg_quiet;
  if (setjmp(error.out)) {
    jpeg_destroy_decompress(&d);
    return "JPEG picture is damaged, cut short or too large";
  }
  memset(&d, 0, sizeof d);
  d.err = &error.base;
  jpeg_create_decompress(&d);
  d.progress = &watch;
  wrong = jpeg_decode(&d, bytes, n, max_bytes, a);
  jpeg_destroy_decompress(&d);
  return wrong;
}
#endif

const char *rt_image_parse(const void *bytes, size_t n, uint64_t max_bytes, RtArray *a) {
  const unsigned char *b = bytes;
  const char *wrong = "neither a PNG nor a JPEG picture";
  (void)max_bytes; /* without both libraries */
  memset(a, 0, sizeof *a);
  if (n >= 8 && !memcmp(b, "\x89PNG\r\n\x1a\n", 8)) {
#ifdef POPSHIFT_PNG
    wrong = read_png(bytes, n, max_bytes, a);
#else
    wrong = "PNG picture, but this program was built without libpng";
#endif
  } else if (n >= 3 && b[0] == 0xff && b[1] == 0xd8 && b[2] == 0xff) {
#ifdef POPSHIFT_JPEG
    wrong = read_jpeg(bytes, n, max_bytes, a);
#else
    wrong = "JPEG picture, but this program was built without libjpeg";
#endif
  }
  if (wrong)
    rt_array_free(a);
  return wrong;
}

const char *rt_image_read(const char *path, uint64_t max_bytes, RtArray *a) {
  unsigned char *bytes;
  size_t n;
  memset(a, 0, sizeof *a);
  const char *wrong = rt_file_read(path, max_bytes, &bytes, &n);
  if (!wrong)
    wrong = rt_image_parse(bytes, n, max_bytes, a);
  free(bytes);
  return wrong;
}

/* Between which two of `from` pixels pixel i of `to` lies, and how far from the first. */
static double place(int64_t i, int64_t to, int64_t from, int64_t *a, int64_t *b) {
  double at = ((double)i + 0.5) * (double)from / (double)to - 0.5;
  if (at < 0)
    at = 0;
  if (at > (double)(from - 1))
    at = (double)(from - 1);
  *a = (int64_t)at;
  *b = *a + 1 < from ? *a + 1 : *a;
  return at - (double)*a;
}

const char *rt_image_resize(const RtArray *from, int64_t h, int64_t w, uint64_t max_bytes, RtArray *to) {
  int64_t dims[3] = {h, w, from->dims[2]}, height = from->dims[0], width = from->dims[1], c = dims[2];
  const unsigned char *x = from->data;
  memset(to, 0, sizeof *to);
  if (!from->n || h < 1 || w < 1)
    return "a picture without pixels";
  const char *wrong = rt_array_new(to, 'u', 1, 3, dims, max_bytes);
  if (wrong)
    return wrong;
  unsigned char *y = to->data;
  for (int64_t i = 0; i < h; i++) {
    int64_t top, bottom, left, right;
    double down = place(i, h, height, &top, &bottom);
    for (int64_t j = 0; j < w; j++) {
      double along = place(j, w, width, &left, &right);
      for (int64_t k = 0; k < c; k++) {
        double a = x[(top * width + left) * c + k], b = x[(top * width + right) * c + k];
        double e = x[(bottom * width + left) * c + k], f = x[(bottom * width + right) * c + k];
        double above = a + (b - a) * along, below = e + (f - e) * along;
        *y++ = (unsigned char)nearbyint(above + (below - above) * down);
      }
    }
  }
  return NULL;
}

const char *rt_image_channels(RtArray *a, int channels) {
  if (a->dims[2] == channels)
    return NULL;
  RtArray to;
  int64_t pixels = a->dims[0] * a->dims[1], dims[3] = {a->dims[0], a->dims[1], channels};
  const char *wrong = rt_array_new(&to, 'u', 1, 3, dims, UINT64_MAX);
  if (wrong)
    return wrong;
  const unsigned char *x = a->data;
  unsigned char *y = to.data;
  for (int64_t i = 0; i < pixels; i++) {
    if (channels == 1)
      y[i] = (unsigned char)((299 * x[3 * i] + 587 * x[3 * i + 1] + 114 * x[3 * i + 2] + 500) / 1000);
    else
      y[3 * i] = y[3 * i + 1] = y[3 * i + 2] = x[i];
  }
  rt_array_free(a);
  *a = to;
  return NULL;
}
