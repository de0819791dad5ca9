/* metrics.c - Prometheus text; the contract is in metrics.h. */
#include "net/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* A client that sends ever new label values (model names) must not fill the memory. */
#define MAX_SERIES 10000u

struct hone_series {
    hone_series *next, *chain; /* in order of first use; in its place of the hash table */
    const hone_metric *family;
    uint64_t hash;
    char *key; /* [n_key] the label values, a NUL behind each */
    size_t n_key;
    char *labels;     /* {a="x",b="y"} without the braces */
    double value;     /* of a histogram: the sum */
    uint64_t *bucket; /* [n_bounds + 1] not cumulative */
};

struct hone_metric {
    hone_metric *next;
    hone_metric_type type;
    const char *name, *help, *labels;
    const double *bounds;
    uint32_t n_bounds, n_series;
    uint32_t n_labels, n_table; /* n_table: a power of two, or 0 */
    hone_series **table;
    hone_series *first, *last;
    const hone_metric *twin_of; /* whose series are written; NULL: its own */
};

struct hone_metrics {
    hone_metric *first, *last;
};

static void free_series(hone_series *s) {
    if (!s) return;
    hone_free(s->key);
    hone_free(s->labels);
    hone_free(s->bucket);
    hone_free(s);
}

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
            hone_series *s = f->first;
            f->first = s->next;
            free_series(s);
        }
        hone_free(f->table);
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
    for (const char *c = labels; *c; c++) f->n_labels += c == labels || *c == ',';
    if (m->last)
        m->last->next = f;
    else
        m->first = f;
    m->last = f;
    return f;
}

bool hone_metrics_twin(hone_metrics *m, hone_metric *f, const char *name, const char *help) {
    if (!f) return false;
    hone_metric *twin = hone_metrics_add(m, f->type, name, help, f->labels, f->bounds, f->n_bounds);
    if (twin) twin->twin_of = f;
    return twin != NULL;
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

static bool grow_table(hone_metric *f) {
    const uint32_t n = f->n_table ? f->n_table * 2 : 8;
    hone_series **table = hone_zalloc(n, sizeof(hone_series *));
    if (!table) return false;
    for (hone_series *s = f->first; s; s = s->next) {
        s->chain = table[s->hash & (n - 1)];
        table[s->hash & (n - 1)] = s;
    }
    hone_free(f->table);
    f->table = table;
    f->n_table = n;
    return true;
}

static hone_series *make(hone_metric *f, const char *const *values, uint64_t hash, size_t n_key) {
    if (f->n_series >= MAX_SERIES || (f->n_series >= f->n_table && !grow_table(f))) return NULL;
    hone_series *s = hone_zalloc(1, sizeof(*s));
    if (!s) return NULL;
    hone_buf labels = {0};
    write_labels(&labels, f->labels, values);
    hone_buf_reserve(&labels, 1); /* a family without labels has a text too */
    s->family = f;
    s->hash = hash;
    s->n_key = n_key;
    s->labels = hone_buf_take(&labels, NULL);
    s->key = hone_zalloc(n_key ? n_key : 1, 1);
    if (f->type == HONE_HISTOGRAM) s->bucket = hone_zalloc(f->n_bounds + 1, sizeof(*s->bucket));
    if (!s->labels || !s->key || (f->type == HONE_HISTOGRAM && !s->bucket)) {
        free_series(s);
        return NULL;
    }
    char *at = s->key;
    for (uint32_t i = 0; i < f->n_labels; i++) {
        const size_t n = values[i] ? strlen(values[i]) : 0;
        if (n) memcpy(at, values[i], n);
        at += n + 1;
    }
    s->chain = f->table[hash & (f->n_table - 1)];
    f->table[hash & (f->n_table - 1)] = s;
    if (f->last)
        f->last->next = s;
    else
        f->first = s;
    f->last = s;
    f->n_series++;
    return s;
}

static bool same(const hone_series *s, const char *const *values, uint32_t n_labels) {
    const char *at = s->key;
    for (uint32_t i = 0; i < n_labels; i++) {
        if (strcmp(at, values[i] ? values[i] : "") != 0) return false;
        at += strlen(at) + 1;
    }
    return true;
}

hone_series *hone_metric_series(hone_metric *f, const char *const *values) {
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    size_t n_key = 0;
    for (uint32_t i = 0; i < f->n_labels; i++) {
        for (const char *v = values[i] ? values[i] : ""; *v; v++, n_key++)
            hash = (hash ^ (unsigned char)*v) * 0x100000001b3u;
        hash = (hash ^ 0xff) * 0x100000001b3u; /* a byte that no value holds */
        n_key++;
    }
    hash ^= hash >> 32;
    for (hone_series *s = f->n_table ? f->table[hash & (f->n_table - 1)] : NULL; s; s = s->chain)
        if (s->hash == hash && s->n_key == n_key && same(s, values, f->n_labels)) return s;
    return make(f, values, hash, n_key);
}

void hone_series_add(hone_series *s, double by) {
    if (s) s->value += by;
}

void hone_series_observe(hone_series *s, double value) {
    if (!s) return;
    const hone_metric *f = s->family;
    uint32_t i = 0;
    while (i < f->n_bounds && value > f->bounds[i]) i++;
    s->bucket[i]++;
    s->value += value;
}

void hone_metric_add(hone_metric *f, const char *const *values, double by) {
    hone_series_add(hone_metric_series(f, values), by);
}

void hone_metric_set(hone_metric *f, const char *const *values, double to) {
    hone_series *s = hone_metric_series(f, values);
    if (s) s->value = to;
}

void hone_metric_observe(hone_metric *f, const char *const *values, double value) {
    hone_series_observe(hone_metric_series(f, values), value);
}

static void write_sample(hone_buf *out, const char *name, const char *suffix, const char *labels, const char *more,
                         double value) {
    hone_buf_format(out, "%s%s", name, suffix);
    if (labels[0] || more[0]) hone_buf_format(out, "{%s%s%s}", labels, labels[0] && more[0] ? "," : "", more);
    hone_buf_format(out, " %.17g\n", value);
}

static void write_histogram(const hone_metric *f, const hone_series *s, hone_buf *out) {
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
        for (const hone_series *s = f->twin_of ? f->twin_of->first : f->first; s; s = s->next) {
            if (f->type == HONE_HISTOGRAM)
                write_histogram(f, s, out);
            else
                write_sample(out, f->name, "", s->labels, "", s->value);
        }
    }
}
