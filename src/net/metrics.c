/* metrics.c - Prometheus text; the contract is in metrics.h. */
#include "net/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* A client that sends ever new label values (model names) must not fill the memory. */
#define MAX_SERIES 10000u

typedef struct series {
    struct series *next;
    char *labels;     /* {a="x",b="y"} without the braces */
    double value;     /* of a histogram: the sum */
    uint64_t *bucket; /* [n_bounds + 1] not cumulative */
} series;

struct hone_metric {
    hone_metric *next;
    hone_metric_type type;
    const char *name, *help, *labels;
    const double *bounds;
    uint32_t n_bounds, n_series;
    series *first, *last;
};

struct hone_metrics {
    hone_metric *first, *last;
};

hone_status hone_metrics_open(hone_metrics **out, hone_error *err) {
    *out = hone_zalloc(1, sizeof(**out));
    return *out ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory for metrics");
}

void hone_metrics_close(hone_metrics *m) {
    if (!m) return;
    while (m->first) {
        hone_metric *f = m->first;
        m->first = f->next;
        while (f->first) {
            series *s = f->first;
            f->first = s->next;
            hone_free(s->labels);
            hone_free(s->bucket);
            hone_free(s);
        }
        hone_free(f);
    }
    hone_free(m);
}

hone_metric *hone_metrics_add(hone_metrics *m, hone_metric_type type, const char *name, const char *help,
                              const char *labels, const double *bounds, uint32_t n_bounds) {
    hone_metric *f = hone_zalloc(1, sizeof(*f));
    if (!f) return NULL;
    *f = (hone_metric){
        .type = type, .name = name, .help = help, .labels = labels, .bounds = bounds, .n_bounds = n_bounds};
    if (m->last)
        m->last->next = f;
    else
        m->first = f;
    m->last = f;
    return f;
}

/* name="value",... with the value's backslashes, quotes and line feeds escaped. */
static void write_labels(hone_buf *out, const char *names, const char *const *values) {
    for (uint32_t i = 0; *names; i++) {
        const size_t n = strcspn(names, ",");
        hone_buf_format(out, "%s%.*s=\"", i ? "," : "", (int)n, names);
        for (const char *v = values[i] ? values[i] : ""; *v; v++) {
            if (*v == '\\' || *v == '"') hone_buf_char(out, '\\');
            if (*v == '\n')
                hone_buf_text(out, "\\n");
            else
                hone_buf_char(out, *v);
        }
        hone_buf_char(out, '"');
        names += n + (names[n] == ',');
    }
}

static series *find(hone_metric *f, const char *const *values) {
    hone_buf labels = {0};
    write_labels(&labels, f->labels, values);
    series *s = f->first;
    while (s && strcmp(s->labels, hone_buf_str(&labels)) != 0) s = s->next;
    if (s || f->n_series >= MAX_SERIES || !(s = hone_zalloc(1, sizeof(*s)))) {
        hone_buf_free(&labels);
        return s;
    }
    s->labels = hone_buf_take(&labels, NULL);
    if (f->type == HONE_HISTOGRAM) s->bucket = hone_zalloc(f->n_bounds + 1, sizeof(*s->bucket));
    if (!s->labels || (f->type == HONE_HISTOGRAM && !s->bucket)) {
        hone_free(s->labels);
        hone_free(s->bucket);
        hone_free(s);
        return NULL;
    }
    if (f->last)
        f->last->next = s;
    else
        f->first = s;
    f->last = s;
    f->n_series++;
    return s;
}

void hone_metric_add(hone_metric *f, const char *const *values, double by) {
    series *s = find(f, values);
    if (s) s->value += by;
}

void hone_metric_set(hone_metric *f, const char *const *values, double to) {
    series *s = find(f, values);
    if (s) s->value = to;
}

void hone_metric_observe(hone_metric *f, const char *const *values, double value) {
    series *s = find(f, values);
    if (!s) return;
    uint32_t i = 0;
    while (i < f->n_bounds && value > f->bounds[i]) i++;
    s->bucket[i]++;
    s->value += value;
}

static void write_sample(hone_buf *out, const char *name, const char *suffix, const char *labels, const char *more,
                         double value) {
    hone_buf_format(out, "%s%s", name, suffix);
    if (labels[0] || more[0]) hone_buf_format(out, "{%s%s%s}", labels, labels[0] && more[0] ? "," : "", more);
    hone_buf_format(out, " %.17g\n", value);
}

static void write_histogram(const hone_metric *f, const series *s, hone_buf *out) {
    uint64_t total = 0;
    char bound[64];
    for (uint32_t i = 0; i <= f->n_bounds; i++) {
        total += s->bucket[i];
        if (i < f->n_bounds)
            snprintf(bound, sizeof(bound), "le=\"%g\"", f->bounds[i]);
        else
            snprintf(bound, sizeof(bound), "le=\"+Inf\"");
        write_sample(out, f->name, "_bucket", s->labels, bound, (double)total);
    }
    write_sample(out, f->name, "_sum", s->labels, "", s->value);
    write_sample(out, f->name, "_count", s->labels, "", (double)total);
}

void hone_metrics_write(const hone_metrics *m, hone_buf *out) {
    static const char *const types[] = {"counter", "gauge", "histogram"};
    for (const hone_metric *f = m->first; f; f = f->next) {
        hone_buf_format(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, types[f->type]);
        for (const series *s = f->first; s; s = s->next) {
            if (f->type == HONE_HISTOGRAM)
                write_histogram(f, s, out);
            else
                write_sample(out, f->name, "", s->labels, "", s->value);
        }
    }
}
