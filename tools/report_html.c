/* A report as a picture: bars per layer, what prune took out in lighter colour. Names are the model's: escaped. */
#include "tools/report.h"

#include <inttypes.h>

enum { ROW = 22, TOP = 64, NAMES = 210, BAR = 200, GAP = 90, COLUMNS = 3 };

static const char style[] =
  "<style>.r-t{fill:#1c2128;font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}.r-d{fill:#636c76}.r-h{font-weight:600}"
  ".r-now{fill:#1f6fd6}.r-was{fill:#cfe0f6}.r-a{fill:#0b8a6a}.r-w{fill:#d9480f}"
  "@media (prefers-color-scheme:dark){.r-t{fill:#e8ecf1}.r-d{fill:#98a3af}.r-now{fill:#6cb0ff}.r-was{fill:#2a3d57}.r-a{fill:#4fd6ae}.r-w{fill:#ff9a5c}}</style>\n";

static void label(Str *s, int x, int y, const char *cls, const char *anchor, const char *words) {
  str_printf(s, "<text x=\"%d\" y=\"%d\" class=\"r-t %s\" text-anchor=\"%s\">", x, y, cls, anchor);
  str_html(s, words);
  str_put(s, "</text>");
}

static void number(Str *s, int x, int y, int64_t v) {
  Str n = {.ctx = s->ctx};
  static const char *const unit[] = {"", " K", " M", " G", " T", " P"};
  int64_t one = 1, tenths;
  size_t u = 0;
  for (; v / one >= 10000 && u + 1 < sizeof unit / sizeof *unit; u++) one *= 1000;
  tenths = one == 1 ? v * 10 : v / (one / 10) + (v % (one / 10) >= one / 20);
  str_printf(&n, "%" PRId64, tenths / 10);
  if (u) str_printf(&n, ".%d", (int)(tenths % 10));
  str_put(&n, unit[u]);
  label(s, x, y, "r-d", "start", n.p);
  str_free(&n);
}

/* Pixels of v where most fills a bar; what is not nothing is seen. */
static int width_of(int64_t v, int64_t most) { return v <= 0 || most <= 0 ? 0 : 1 + (int)((double)v / (double)most * (BAR - 1)); }

static void bar(Str *s, int x, int y, int height, const char *cls, int64_t v, int64_t most) {
  str_printf(s, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" class=\"%s\"/>", x, y, width_of(v, most), height, cls);
}

static int64_t greatest(int64_t a, int64_t b) { return a > b ? a : b; }

static void layer(Str *s, const Layer *l, int y, int64_t most_macs, int64_t most_bytes, int64_t most_bits) {
  int x = NAMES, step = BAR + GAP;
  str_put(s, "<g><title>");
  str_html(s, l->name);
  str_printf(s, ": %" PRId64 " constant, %" PRId64 " unread channels, %" PRId64 " thresholds out of reach</title>", l->dead[DEAD_CONSTANT],
             l->dead[DEAD_UNREAD], l->dead[DEAD_THRESHOLDS]);
  Str name = {.ctx = s->ctx};
  str_printf(&name, "%.28s", l->name[0] ? l->name : l->op);
  label(s, NAMES - 12, y + 14, "", "end", name.p);
  str_free(&name);
  bar(s, x, y + 4, ROW - 8, "r-was", l->macs_before, most_macs);
  bar(s, x, y + 4, ROW - 8, "r-now", l->macs, most_macs);
  number(s, x + width_of(greatest(l->macs, l->macs_before), most_macs) + 6, y + 14, l->macs);
  x += step;
  bar(s, x, y + 4, ROW - 8, "r-was", l->bytes_before, most_bytes);
  bar(s, x, y + 4, ROW - 8, "r-now", l->weight_bytes, most_bytes);
  number(s, x + width_of(greatest(l->weight_bytes, l->bytes_before), most_bytes) + 6, y + 14, l->weight_bytes);
  x += step;
  bar(s, x, y + 3, (ROW - 8) / 2, "r-w", l->w_bits, most_bits);
  bar(s, x, y + 4 + (ROW - 8) / 2, (ROW - 8) / 2, "r-a", l->a_bits, most_bits);
  Str bits = {.ctx = s->ctx};
  str_printf(&bits, "%d by %d", l->w_bits, l->a_bits);
  label(s, x + width_of(greatest(l->w_bits, l->a_bits), most_bits) + 6, y + 14, "r-d", "start", bits.p);
  str_free(&bits);
  str_put(s, "</g>\n");
}

void report_svg(Str *s, const Report *r) {
  static const char *const heads[COLUMNS] = {"multiply-accumulates", "bytes of weights", "bits: weights by activations"};
  int64_t macs = 0, bytes = 0, bits = 0;
  for (int i = 0; i < r->n_layers; i++) {
    const Layer *l = &r->layers[i];
    macs = greatest(macs, greatest(l->macs, l->macs_before));
    bytes = greatest(bytes, greatest(l->weight_bytes, l->bytes_before));
    bits = greatest(bits, greatest(l->w_bits, l->a_bits));
  }
  int width = NAMES + COLUMNS * (BAR + GAP), height = TOP + r->n_layers * ROW + 12;
  str_printf(s, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" role=\"img\">\n<title>cost of every layer</title>\n%s", width, height, width, style);
  for (int k = 0; k < COLUMNS; k++) label(s, NAMES + k * (BAR + GAP), 22, "r-h", "start", heads[k]);
  if (r->compared) label(s, NAMES, 42, "r-d", "start", "light: constant or unread, not computed any more");
  for (int i = 0; i < r->n_layers; i++) layer(s, &r->layers[i], TOP + i * ROW, macs, bytes, bits);
  str_put(s, "</svg>\n");
}
