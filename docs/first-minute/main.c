/* Runs the generated network (fashion.c, fashion.h: `popshift compile fashion.onnx -o fashion.c`) on images in IDX files, shows a few
 * of them, and says how many it gets right and how long one takes.
 *   fashion IMAGES LABELS [PREDICTIONS]      PREDICTIONS: the predicted class of every image is written there, a line each */
#include "fashion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIDE = 28, PIXELS = FASHION_IN_IMAGE_COUNT, CLASSES = FASHION_OUT_LOGITS_COUNT, SHOWN = 3, CUT = 1 };

static const char *const class_names[10] = {"T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"};

static const char *class_name(int c) { return c >= 0 && c < 10 ? class_names[c] : "?"; }

static void stop(const char *path, const char *why) {
  fprintf(stderr, "%s: %s\n", path, why);
  exit(1);
}

/* An IDX file (two zero bytes, 8 for bytes, the rank, every dimension as four bytes from the highest, the data) whose items have
 * `each` bytes; their number to *n. The caller frees. */
static uint8_t *idx_read(const char *path, size_t each, size_t *n) {
  uint8_t head[16];
  FILE *f = fopen(path, "rb");
  if (!f) stop(path, "cannot be opened");
  size_t rank = each == 1 ? 1 : 3, size = 4 + 4 * rank;
  if (fread(head, 1, size, f) != size || head[0] || head[1] || head[2] != 8 || head[3] != rank) stop(path, "is not an IDX file of this kind (compressed?)");
  *n = (size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7];
  for (size_t i = 8; i < size; i += 4)
    if (head[i] || head[i + 1] || head[i + 2] || head[i + 3] != SIDE) stop(path, "does not have images of 28 x 28");
  uint8_t *data = malloc(*n * each + 1);
  if (!data || fread(data, 1, *n * each, f) != *n * each) stop(path, "is cut short");
  fclose(f);
  return data;
}

/* Up to SHOWN images side by side, two rows of pixels to a line of text. */
static void show(const uint8_t *images, const size_t *which, int count, const uint8_t *labels, const int *class) {
  static const char ramp[] = " .:-=+*#%@";
  for (int y = 0; y < SIDE; y += 2, putchar('\n'))
    for (int k = 0; k < count; k++)
      for (int x = CUT; x < SIDE - CUT; x++) {
        const uint8_t *p = images + which[k] * PIXELS + y * SIDE + x;
        putchar(ramp[(p[0] + p[SIDE]) * 9 / 510]);
      }
  for (int k = 0; k < count; k++) {
    char text[64];
    int right = class[which[k]] == labels[which[k]];
    snprintf(text, sizeof text, right ? "%s" : "%s? no: %s", class_name(class[which[k]]), class_name(labels[which[k]]));
    printf("%*s", SIDE - 2 * CUT - (int)(SIDE - 2 * CUT - strlen(text)) / 2, text);
    printf("%*s", (int)(SIDE - 2 * CUT - strlen(text)) / 2, "");
  }
  printf("\n\n");
}

int main(int argc, char **argv) {
  if (argc < 3 || argc > 4) {
    fprintf(stderr, "usage: %s IMAGES LABELS [PREDICTIONS]\n", argv[0]);
    return 2;
  }
  size_t n, n_labels, right = 0, wrong[SHOWN], first[SHOWN];
  int n_wrong = 0, n_first = 0;
  uint8_t *images = idx_read(argv[1], PIXELS, &n), *labels = idx_read(argv[2], 1, &n_labels);
  if (!n || n_labels != n) stop(argv[2], "has another number of items than the images");
  int *class = malloc(n * sizeof *class);
  float logits[CLASSES];
  char *memory = malloc(FASHION_WORKSPACE_BYTES + FASHION_WORKSPACE_ALIGN); /* all that the network needs */
  if (!class || !memory) stop(argv[0], "no memory");
  char *workspace = memory + (FASHION_WORKSPACE_ALIGN - (uintptr_t)memory % FASHION_WORKSPACE_ALIGN) % FASHION_WORKSPACE_ALIGN;
  if (fashion_init(workspace, FASHION_WORKSPACE_BYTES, NULL) != FASHION_OK) stop(argv[0], "fashion_init refuses");

  clock_t start = clock();
  for (size_t i = 0; i < n; i++) {
    fashion_in in = {images + i * PIXELS};
    fashion_out out = {logits};
    if (fashion_run(workspace, &in, &out, 1) != FASHION_OK) stop(argv[0], "fashion_run refuses");
    class[i] = 0;
    for (int k = 1; k < CLASSES; k++) if (logits[k] > logits[class[i]]) class[i] = k;
  }
  double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;

  for (size_t i = 0; i < n; i++) {
    int ok = class[i] == labels[i];
    right += (size_t)ok;
    if (ok && n_first < SHOWN) first[n_first++] = i;
    if (!ok && n_wrong < SHOWN) wrong[n_wrong++] = i;
  }
  if (n_first) show(images, first, n_first, labels, class);
  if (n_wrong) show(images, wrong, n_wrong, labels, class);
  printf("%lu of %lu right: %.2f %%\n", (unsigned long)right, (unsigned long)n, 100.0 * (double)right / (double)n);
  printf("%.1f microseconds an image on one core, %u bytes of workspace, %u bytes of constants\n", 1e6 * seconds / (double)n, FASHION_WORKSPACE_BYTES, FASHION_FLASH_BYTES);
  if (argc == 4) {
    FILE *f = fopen(argv[3], "w");
    if (!f) stop(argv[3], "cannot be written");
    for (size_t i = 0; i < n; i++) fprintf(f, "%d\n", class[i]);
    if (fclose(f)) stop(argv[3], "cannot be written");
  }
  free(memory), free(class), free(labels), free(images);
  return 0;
}
