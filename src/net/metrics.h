/* metrics.h - counters, gauges and histograms as Prometheus text (exposition format 0.0.4).
 *
 * A family has a name, a help text and a type; a series is a family with label values.  Series are made on first use
 * and found again by their labels, through a hash table.  Counter names end in _total.
 *
 * Threads: one owner. */
#ifndef HONE_METRICS_H
#define HONE_METRICS_H

#include "base/buf.h"
#include <stdbool.h>

#include "base/status.h"

typedef struct hone_metrics hone_metrics;
typedef struct hone_metric hone_metric; /* a family */
typedef struct hone_series hone_series; /* a family with its label values; lives as long as the family */
typedef enum { HONE_COUNTER, HONE_GAUGE, HONE_HISTOGRAM } hone_metric_type;

hone_status hone_metrics_open(hone_metrics **out, hone_error *err);
void hone_metrics_close(hone_metrics *m); /* NULL is fine */

/* name, help and labels ("model,code"; "" none) are static texts.  bounds: upper bounds of a histogram's buckets,
 * ascending, without +Inf; static.  NULL without memory. */
hone_metric *hone_metrics_add(hone_metrics *m, hone_metric_type type, const char *name, const char *help,
                              const char *labels, const double *bounds, uint32_t n_bounds);

/* values[i] is the value of the i-th label; NULL for families without.  Without memory for a new series nothing is
 * counted. */
void hone_metric_add(hone_metric *f, const char *const *values, double by);        /* counter, gauge */
void hone_metric_set(hone_metric *f, const char *const *values, double to);        /* gauge; counter kept elsewhere */
void hone_metric_observe(hone_metric *f, const char *const *values, double value); /* histogram */

/* The series itself, for what counts many times a second; NULL without memory, which the calls on it bear. */
hone_series *hone_metric_series(hone_metric *f, const char *const *values);
void hone_series_add(hone_series *s, double by);
void hone_series_observe(hone_series *s, double value);

/* The same figures once more under another name; f stays the only one that is counted.  false without memory, or for f
 * NULL. */
bool hone_metrics_twin(hone_metrics *m, hone_metric *f, const char *name, const char *help);

/* All families in order of adding, series in order of first use. */
void hone_metrics_write(const hone_metrics *m, hone_buf *out);

#endif
