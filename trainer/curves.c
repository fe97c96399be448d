/* Two panels over one axis of epochs: accuracy above, loss below. Colours are told apart by the colour-blind and in grey, and a
 * reader in the dark gets others; there is no script, and nothing is loaded. Lengths are pixels of a 960 x 620 picture. */
#include "trainer/curves.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 960, HEIGHT = 620, LEFT = 74, RIGHT = 872, MARKERS = 60 };

typedef struct Panel {
  double top, bottom;            /* pixels */
  double lo, hi, step;           /* of the axis, in the numbers it shows */
  const char *title;
} Panel;

/* One line of a panel: which number of a point, times what the axis shows. */
typedef struct Line { size_t at; double times; const char *cls, *name, *unit; int decimals; } Line;

static const Line lines[] = {
  {offsetof(CurvePoint, train_accuracy), 100, "c-train", "training accuracy", " %", 2},
  {offsetof(CurvePoint, validation_accuracy), 100, "c-valid", "validation accuracy", " %", 2},
  {offsetof(CurvePoint, test_accuracy), 100, "c-test", "test accuracy", " %", 2},
  {offsetof(CurvePoint, train_loss), 1, "c-loss", "training loss", "", 4}};
enum { LINES = 4, LOSS = 3, TEST = 2, VALID = 1 };

static double value(const CurvePoint *p, const Line *l) { return l->times * *(const double *)((const char *)p + l->at); }

/* What diverged is not drawn. */
static bool shown(double v) { return fabs(v) < 1e30; }

/* Of validation nothing is drawn, no key either, where there is none. */
static bool drawn(const Curves *c, int l) {
  for (int i = 0; i < c->n_point && l == VALID; i++) if (shown(value(&c->point[i], &lines[l]))) return true;
  return l != VALID;
}

/* A tenth of a pixel is enough; without locale. */
static void px(Str *s, const char *before, double v) {
  str_put(s, before);
  str_f64(s, floor(10 * v + 0.5) / 10 + 0.0);
}

static void fixed(Str *s, double v, int decimals) { /* v >= 0 below 1e9, else as it is */
  double unit = pow(10, decimals);
  if (!(v >= 0 && v < 1e9)) { str_f64(s, v); return; }
  int64_t n = (int64_t)floor(v * unit + 0.5), u = (int64_t)unit;
  str_printf(s, "%lld", (long long)(n / u));
  if (decimals) str_printf(s, ".%0*lld", decimals, (long long)(n % u));
}

/* 1, 2 or 5 times a power of ten, so that at most `most` steps cover the span. */
static double nice_step(double span, int most) {
  double unit = pow(10, floor(log10(span / most)));
  static const double steps[] = {1, 2, 5, 10};
  for (int i = 0; i < 4; i++) if (span / (steps[i] * unit) <= most) return steps[i] * unit;
  return 20 * unit;
}

/* Axis around the finite values of the lines first .. last. */
static void scale(Panel *p, const Curves *c, int first, int last, bool from_zero, double most) {
  double lo = INFINITY, hi = -INFINITY;
  for (int i = 0; i < c->n_point; i++)
    for (int l = first; l <= last; l++) {
      double v = value(&c->point[i], &lines[l]);
      if (!shown(v)) continue;
      lo = fmin(lo, v);
      hi = fmax(hi, v);
    }
  if (lo > hi) lo = 0, hi = isfinite(most) ? most : 1;
  if (from_zero) lo = fmin(lo, 0);
  double least = fmax(0.1, fabs(hi) / 100); /* of the span: less would show rounding */
  if (hi - lo < least) *(hi + least > most ? &lo : &hi) += hi + least > most ? -least : least;
  p->step = nice_step(hi - lo, 5);
  p->lo = floor(lo / p->step + 1e-9) * p->step;
  p->hi = ceil(hi / p->step - 1e-9) * p->step;
  if (p->hi > most && hi <= most) p->hi = most;
}

static double last_epoch(const Curves *c) {
  double end = 0;
  for (int i = 0; i < c->n_point; i++) if (shown(c->point[i].epoch)) end = fmax(end, c->point[i].epoch);
  for (int i = 0; i < c->n_phase; i++) if (shown(c->phase[i].end)) end = fmax(end, c->phase[i].end);
  return end > 0 ? end : 1;
}

static double x_of(double epoch, double end) { return LEFT + (RIGHT - LEFT) * fmin(fmax(epoch / end, 0), 1); }
static double y_of(const Panel *p, double v) { return p->bottom + (p->top - p->bottom) * (v - p->lo) / (p->hi - p->lo); }

static const char style[] =
  "<style>\n"
  ".c-bg{fill:#fff}.c-text{fill:#1c2128;font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}.c-dim{fill:#636c76}\n"
  ".c-grid{stroke:#e3e7ec;stroke-width:1}.c-axis{stroke:#98a2ad;stroke-width:1}.c-band{fill:#eff3f8}.c-edge{stroke:#b4bec9;stroke-width:1;stroke-dasharray:3 4}\n"
  ".c-line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}.c-dot{stroke-width:1.5}.c-ring{fill:none;stroke-width:1.6}\n"
  ".c-train{stroke:#1f6fd6;fill:#1f6fd6}.c-test{stroke:#d9480f;fill:#d9480f}.c-valid{stroke:#8a3ffc;fill:#8a3ffc}.c-loss{stroke:#0b8a6a;fill:#0b8a6a}\n"
  ".c-line.c-train{stroke-dasharray:7 4}.c-line.c-valid{stroke-dasharray:2 3}.c-line,.c-ring{fill:none!important}text.c-train,text.c-test,text.c-valid,text.c-loss{stroke:none}\n"
  "@media (prefers-color-scheme:dark){.c-bg{fill:#14181d}.c-text{fill:#e8ecf1}.c-dim{fill:#98a3af}.c-grid{stroke:#262c34}.c-axis{stroke:#5a6572}\n"
  ".c-band{fill:#1c222a}.c-edge{stroke:#4a5562}.c-train{stroke:#6cb0ff;fill:#6cb0ff}.c-test{stroke:#ff9a5c;fill:#ff9a5c}.c-valid{stroke:#be95ff;fill:#be95ff}.c-loss{stroke:#4fd6ae;fill:#4fd6ae}}\n"
  "</style>\n";

static void text(Str *s, double x, double y, const char *cls, int size, const char *anchor, const char *words) {
  px(s, "<text x=\"", x);
  px(s, "\" y=\"", y);
  str_printf(s, "\" class=\"c-text %s\" font-size=\"%d\" text-anchor=\"%s\">", cls, size, anchor);
  str_html(s, words);
  str_put(s, "</text>\n");
}

static void segment(Str *s, double x1, double y1, double x2, double y2, const char *cls) {
  px(s, "<line x1=\"", x1);
  px(s, "\" y1=\"", y1);
  px(s, "\" x2=\"", x2);
  px(s, "\" y2=\"", y2);
  str_printf(s, "\" class=\"%s\"/>\n", cls);
}

static void draw_phases(Str *s, const Curves *c, const Panel *p, double end, bool names) {
  for (int i = 0; i < c->n_phase; i++) {
    double x1 = x_of(c->phase[i].begin, end), x2 = x_of(c->phase[i].end, end);
    if (i % 2) {
      px(s, "<rect class=\"c-band\" x=\"", x1);
      px(s, "\" y=\"", p->top);
      px(s, "\" width=\"", x2 - x1);
      px(s, "\" height=\"", p->bottom - p->top);
      str_put(s, "\"/>\n");
    }
    if (i) segment(s, x1, names ? p->top - 20 : p->top, x1, p->bottom, "c-edge");
    int room = (int)((x2 - x1 - 8) / 7), n = (int)strlen(c->phase[i].name); /* 7 pixels a letter */
    char name[128];
    if (!names || room < 3) continue;
    snprintf(name, sizeof name, n <= room ? "%.*s" : "%.*s...", n <= room ? n : room - 2, c->phase[i].name);
    text(s, x1 + (i ? 6 : 0), p->top - 8, "c-dim", 12, "start", name);
  }
}

static void draw_axes(Str *s, const Panel *p, double end, bool labels) {
  Str n = {.ctx = s->ctx};
  int decimals = p->step < 1 ? (int)ceil(-log10(p->step) - 1e-9) : 0;
  for (int i = 0; p->lo + i * p->step <= p->hi + 1e-9 * p->step; i++) {
    double v = p->lo + i * p->step, y = y_of(p, v);
    segment(s, LEFT, y, RIGHT, y, i ? "c-grid" : "c-axis");
    n.n = 0;
    fixed(&n, v, decimals < 8 ? decimals : 8);
    text(s, LEFT - 9, y + 4, "c-dim", 12, "end", n.p);
  }
  double step = fmax(1, nice_step(end, 12));
  for (int i = 0; i * step <= end + 1e-9; i++) {
    double x = x_of(i * step, end);
    segment(s, x, p->bottom, x, p->bottom + 5, "c-axis");
    n.n = 0;
    fixed(&n, i * step, 0);
    if (labels) text(s, x, p->bottom + 20, "c-dim", 12, "middle", n.p);
  }
  px(s, "<text transform=\"translate(22 ", (p->top + p->bottom) / 2);
  str_put(s, ") rotate(-90)\" class=\"c-text\" font-size=\"13\" text-anchor=\"middle\">");
  str_html(s, p->title);
  str_put(s, "</text>\n");
  str_free(&n);
}

static void draw_dot(Str *s, double x, double y, const char *cls, double r) {
  px(s, "<circle cx=\"", x);
  px(s, "\" cy=\"", y);
  px(s, "\" r=\"", r);
  str_printf(s, "\" class=\"%s\">", cls);
}

static void draw_line(Str *s, const Curves *c, const Panel *p, const Line *l, double end) {
  bool open = false;
  str_printf(s, "<path class=\"c-line %s\" d=\"", l->cls);
  for (int i = 0; i < c->n_point; i++) {
    double v = value(&c->point[i], l);
    if (!shown(v) || !shown(c->point[i].epoch)) { open = false; continue; }
    px(s, open ? "L" : "M", x_of(c->point[i].epoch, end));
    px(s, " ", y_of(p, v));
    open = true;
  }
  str_put(s, "\"/>\n");
  for (int i = 0; c->n_point <= MARKERS && i < c->n_point; i++) {
    double v = value(&c->point[i], l);
    char cls[32];
    if (!shown(v) || !shown(c->point[i].epoch)) continue;
    snprintf(cls, sizeof cls, "c-dot %s", l->cls);
    draw_dot(s, x_of(c->point[i].epoch, end), y_of(p, v), cls, 2.2);
    str_put(s, "<title>epoch ");
    str_f64(s, c->point[i].epoch);
    str_printf(s, ": %s ", l->name);
    fixed(s, v, l->decimals);
    str_printf(s, "%s</title></circle>\n", l->unit);
  }
}

/* The last values stand at the line's end; those that would touch are moved apart. */
static void draw_ends(Str *s, const Curves *c, const Panel *p, int first, int last, double end) {
  double y[LINES], x[LINES];
  int at[LINES];
  for (int l = first; l <= last; l++) {
    for (at[l] = c->n_point - 1; at[l] >= 0 && !shown(value(&c->point[at[l]], &lines[l]));) at[l]--;
    if (at[l] < 0) continue;
    y[l] = y_of(p, value(&c->point[at[l]], &lines[l]));
    x[l] = x_of(c->point[at[l]].epoch, end);
  }
  for (int round = 0; round < 8; round++) /* pairs, until none is left or enough is done */
    for (int a = first; a < last; a++)
      for (int b = a + 1; b <= last; b++) {
        if (at[a] < 0 || at[b] < 0 || fabs(y[a] - y[b]) >= 15) continue;
        double middle = (y[a] + y[b]) / 2, sign = y[a] < y[b] ? 1 : -1;
        y[a] = middle - sign * 7.5, y[b] = middle + sign * 7.5;
      }
  for (int l = first; l <= last; l++) {
    if (at[l] < 0) continue;
    Str n = {.ctx = s->ctx};
    fixed(&n, value(&c->point[at[l]], &lines[l]), lines[l].decimals);
    str_put(&n, lines[l].unit);
    text(s, x[l] + 9, y[l] + 4, lines[l].cls, 12, "start", n.p);
    str_free(&n);
  }
}

/* What a run is chosen by: validation where there is such, else test. */
static int chosen_by(const Curves *c) { return drawn(c, VALID) ? VALID : TEST; }

/* The point of its greatest accuracy, the first of equals; -1 without one. */
static int best_of(const Curves *c) {
  const Line *by = &lines[chosen_by(c)];
  int best = -1;
  for (int i = 0; i < c->n_point; i++)
    if (shown(value(&c->point[i], by)) && (best < 0 || value(&c->point[i], by) > value(&c->point[best], by))) best = i;
  return best;
}

static void draw_legend(Str *s, const Curves *c) {
  double x = LEFT;
  for (int l = 0; l < LINES; l++) {
    if (!drawn(c, l)) continue;
    str_printf(s, "<path class=\"c-line %s\" d=\"M", lines[l].cls);
    px(s, "", x);
    px(s, " 84H", x + 26);
    str_put(s, "\"/>\n");
    text(s, x + 33, 88, "", 13, "start", lines[l].name);
    x += 60 + 7.2 * (double)strlen(lines[l].name);
  }
  int best = best_of(c);
  if (best < 0) return;
  Str n = {.ctx = s->ctx};
  const Line *by = &lines[chosen_by(c)];
  draw_dot(s, x + 8, 84, chosen_by(c) == VALID ? "c-ring c-valid" : "c-ring c-test", 5.5);
  str_put(s, "</circle>\n");
  str_put(&n, chosen_by(c) == VALID ? "best validation " : "best test ");
  fixed(&n, value(&c->point[best], by), 2);
  str_put(&n, " % after epoch ");
  str_f64(&n, c->point[best].epoch);
  text(s, x + 20, 88, "", 13, "start", n.p);
  str_free(&n);
}

void curves_svg(Str *s, const Curves *c) {
  Panel accuracy = {.top = 138, .bottom = 394, .title = "accuracy, %"}, loss = {.top = 418, .bottom = 558, .title = "loss"};
  double end = last_epoch(c);
  int best = best_of(c);
  scale(&accuracy, c, 0, TEST, false, 100);
  scale(&loss, c, LOSS, LOSS, true, INFINITY);
  str_printf(s, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n<title>", WIDTH, HEIGHT, WIDTH, HEIGHT);
  str_html(s, c->title);
  str_printf(s, "</title>\n%s<rect class=\"c-bg\" width=\"%d\" height=\"%d\"/>\n", style, WIDTH, HEIGHT);
  px(s, "<text x=\"", LEFT);
  str_put(s, "\" y=\"36\" class=\"c-text\" font-size=\"20\" font-weight=\"600\">");
  str_html(s, c->title);
  str_put(s, "</text>\n");
  if (c->subtitle) text(s, LEFT, 57, "c-dim", 13, "start", c->subtitle);
  draw_legend(s, c);
  draw_phases(s, c, &accuracy, end, true);
  draw_phases(s, c, &loss, end, false);
  draw_axes(s, &accuracy, end, false);
  draw_axes(s, &loss, end, true);
  for (int l = 0; l < LINES; l++) if (drawn(c, l)) draw_line(s, c, l == LOSS ? &loss : &accuracy, &lines[l], end);
  if (best >= 0) {
    draw_dot(s, x_of(c->point[best].epoch, end), y_of(&accuracy, value(&c->point[best], &lines[chosen_by(c)])), chosen_by(c) == VALID ? "c-ring c-valid" : "c-ring c-test", 5.5);
    str_put(s, "</circle>\n");
  }
  draw_ends(s, c, &accuracy, 0, TEST, end);
  draw_ends(s, c, &loss, LOSS, LOSS, end);
  text(s, (LEFT + RIGHT) / 2.0, HEIGHT - 18, "", 13, "middle", c->n_point ? "epoch" : "epoch (no points yet)");
  str_put(s, "</svg>\n");
}

static void put_cell(Str *s, double v, const Line *l) {
  str_put(s, "<td>");
  if (shown(v)) {
    fixed(s, v, l->decimals);
    str_put(s, l->unit);
  }
  str_put(s, "</td>");
}

/* Families */

enum { FAMILY_HEIGHT = 230 };

static size_t family(const char *name) { return strcspn(name, "."); }
static bool same_family(const char *a, const char *b) { return family(a) == family(b) && !memcmp(a, b, family(a)); }

/* Colour i of n, around the circle, told from its neighbours in grey too. */
static void colour(Str *s, int i, int n) { str_printf(s, "hsl(%d,70%%,%d%%)", (210 + 360 * i / n) % 360, i % 2 ? 40 : 55); }

static void series_path(Str *s, const Panel *p, const CurveSeries *q, double end, int i, int n) {
  bool open = false;
  str_put(s, "<path class=\"c-line\" stroke=\"");
  colour(s, i, n);
  str_put(s, "\" d=\"");
  for (int k = 0; k < q->n; k++) {
    if (!shown(q->value[k]) || !shown(q->epoch[k])) { open = false; continue; }
    px(s, open ? "L" : "M", x_of(q->epoch[k], end));
    px(s, " ", y_of(p, q->value[k]));
    if (q->n == 1) px(s, "h", 2); /* a point alone is seen, too */
    open = true;
  }
  str_put(s, "\"><title>");
  str_html(s, q->name);
  str_put(s, "</title></path>\n");
}

static void family_legend(Str *s, const Curves *c, const char *name, int n) {
  str_put(s, "<p class=\"legend\">");
  for (int k = 0, i = 0; k < c->n_series; k++) {
    const CurveSeries *q = &c->series[k];
    if (!same_family(q->name, name)) continue;
    str_put(s, "<span><b style=\"background:");
    colour(s, i++, n);
    str_put(s, "\"></b>");
    str_html(s, q->name[family(q->name)] ? q->name + family(q->name) + 1 : q->name);
    str_put(s, " ");
    if (q->n && shown(q->value[q->n - 1])) str_printf(s, "%.4g", q->value[q->n - 1]);
    str_put(s, "</span>\n");
  }
  str_put(s, "</p>\n");
}

/* One panel for the family of series `first`. */
static void draw_family(Str *s, const Curves *c, int first) {
  const char *name = c->series[first].name;
  Panel p = {.top = 20, .bottom = FAMILY_HEIGHT - 40, .lo = INFINITY, .hi = -INFINITY};
  double end = last_epoch(c);
  int n = 0, i = 0;
  for (int k = first; k < c->n_series; k++) {
    const CurveSeries *q = &c->series[k];
    if (!same_family(q->name, name)) continue;
    n++;
    for (int e = 0; e < q->n; e++) if (shown(q->value[e])) p.lo = fmin(p.lo, q->value[e]), p.hi = fmax(p.hi, q->value[e]);
  }
  if (p.lo > p.hi) p.lo = 0, p.hi = 1;
  bool percent = family(name) && name[family(name) - 1] == '%'; /* runs are compared where they are, up to 100 */
  if (p.lo > 0 && p.lo < 0.7 * p.hi && !percent) p.lo = 0;
  double most = percent && p.hi <= 100 ? 100 : INFINITY;
  if (p.hi - p.lo <= 1e-6 * fabs(p.hi)) p.hi += fabs(p.hi) * 0.1 + (p.hi == 0), p.lo -= fabs(p.lo) * 0.1;
  p.step = nice_step(p.hi - p.lo, 5);
  p.lo = floor(p.lo / p.step + 1e-9) * p.step, p.hi = fmin(ceil(p.hi / p.step - 1e-9) * p.step, most);
  char *title = arena_strndup(s->ctx->own, name, family(name));
  p.title = ""; /* the heading has it */
  str_put(s, "<h2>");
  str_html(s, title);
  str_printf(s, "</h2>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, FAMILY_HEIGHT);
  draw_phases(s, c, &p, end, false);
  draw_axes(s, &p, end, true);
  for (int k = first; k < c->n_series; k++) if (same_family(c->series[k].name, name)) series_path(s, &p, &c->series[k], end, i++, n);
  str_put(s, "</svg>\n");
  family_legend(s, c, name, n);
}

static void draw_families(Str *s, const Curves *c) {
  for (int k = 0; k < c->n_series; k++) {
    int before = 0;
    while (before < k && !same_family(c->series[before].name, c->series[k].name)) before++;
    if (before == k) draw_family(s, c, k);
  }
}

static const char page_style[] =
  ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;"
  "background:#fff;color:#1c2128}svg{width:100%;height:auto}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
  "th,td{padding:.2rem .9rem;text-align:right;border-bottom:1px solid #e3e7ec}th:nth-child(2),td:nth-child(2){text-align:left}tr.best td{font-weight:600}"
  ".legend{font-size:13px;display:flex;flex-wrap:wrap;gap:.2rem 1rem}.legend b{display:inline-block;width:1.1rem;height:.2rem;margin:0 .4rem .25rem 0}"
  "pre{background:#f3f6fa;padding:1rem;border-radius:6px;overflow-x:auto}"
  "@media (prefers-color-scheme:dark){body{background:#14181d;color:#e8ecf1}th,td{border-color:#262c34}pre{background:#1c222a}}";

static void page_head(Str *s, const char *title) {
  str_put(s, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>");
  str_html(s, title);
  str_printf(s, "</title><style>%s</style></head><body>\n", page_style);
}

void curves_page(Str *s, const char *title, const char *above, const CurveSeries *series, int n) {
  CurvePhase all = {title, 0, 0};
  for (int i = 0; i < n; i++)
    for (int k = 0; k < series[i].n; k++) if (shown(series[i].epoch[k])) all.end = fmax(all.end, series[i].epoch[k]);
  Curves c = {.title = title, .phase = &all, .n_phase = 1, .series = series, .n_series = n};
  page_head(s, title);
  str_printf(s, "%s<h1>", style);
  str_html(s, title);
  str_put(s, "</h1>\n<pre>");
  str_html(s, above);
  str_put(s, "</pre>\n");
  draw_families(s, &c);
  str_put(s, "</body></html>\n");
}

void curves_html(Str *s, const Curves *c, const char *recipe) {
  int best = best_of(c);
  page_head(s, c->title);
  curves_svg(s, c);
  draw_families(s, c);
  bool valid = drawn(c, VALID);
  str_printf(s, "<h2>Epochs</h2>\n<table><tr><th>epoch</th><th>phase</th><th>training loss</th><th>training accuracy</th>%s<th>test accuracy</th></tr>\n",
             valid ? "<th>validation accuracy</th>" : "");
  for (int i = 0; i < c->n_point; i++) {
    const CurvePoint *p = &c->point[i];
    int k = 0;
    while (k < c->n_phase && p->epoch > c->phase[k].end) k++;
    str_put(s, i == best ? "<tr class=\"best\"><td>" : "<tr><td>");
    str_f64(s, p->epoch);
    str_put(s, "</td><td>");
    if (k < c->n_phase) str_html(s, c->phase[k].name);
    str_put(s, "</td>");
    put_cell(s, value(p, &lines[LOSS]), &lines[LOSS]);
    put_cell(s, value(p, &lines[0]), &lines[0]);
    if (valid) put_cell(s, value(p, &lines[VALID]), &lines[VALID]);
    put_cell(s, value(p, &lines[TEST]), &lines[TEST]);
    str_put(s, "</tr>\n");
  }
  str_put(s, "</table>\n");
  if (recipe) {
    str_put(s, "<h2>Recipe</h2>\n<pre>");
    str_html(s, recipe);
    str_put(s, "</pre>\n");
  }
  str_put(s, "</body></html>\n");
}
