/* ops.c - /livez, /readyz, /metrics.
 *
 * Counters end in _total.  The `vllm:` twins carry the same figures under the names that vLLM's dashboards read; they
 * keep their colon. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/private.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/metrics.h"

struct api_metrics {
    hone_metrics *all;
    hone_metric *http, *http_seconds;
    hone_metric *requests, *prompt, *output, *ttft, *itl, *e2e;
    hone_metric *running, *waiting, *vllm_cache;
    hone_metric *copies, *state, *restarts, *pages_free, *pages_total, *memory, *adapters;
    hone_metric *steps, *prefill, *decode;
    hone_metric *waiting_tokens, *wait_seconds, *refused, *expired, *stalls;
    hone_metric *preemptions, *prefix, *pages_cached, *drafted, *accepted, *forced, *mask_seconds, *used,
        *adapter_bytes;
    hone_metric *vllm_prefix_queries;
    hone_metric *jobs, *jobs_now, *trained;
    hone_metric *connections, *start;
};

static const double seconds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                 0.75,  1,     2.5,  5,    7.5,  10,   20,   40,  80,   160};
#define N_SECONDS (sizeof(seconds) / sizeof(seconds[0]))

static const char *state_name(hone_component_state s) {
    static const char *const names[] = {"asleep", "preparing", "starting", "running", "failed"};
    return names[s];
}

hone_status api_metrics_open(hone_api *api, hone_error *err) {
    struct api_metrics *m = hone_zalloc(1, sizeof(*m));
    if (!m) return hone_fail(err, HONE_ERR_NOMEM, "no memory for metrics");
    api->metrics = m;
    const hone_status status = hone_metrics_open(&m->all, err);
    if (status != HONE_OK) return status;
    bool ok = true;
#define FAMILY(slot, type, name, help, labels)                                                                         \
    ok = (m->slot = hone_metrics_add(m->all, type, name, help, labels, NULL, 0)) && ok
#define TIMES(slot, name, help)                                                                                        \
    ok = (m->slot = hone_metrics_add(m->all, HONE_HISTOGRAM, name, help, "model_name", seconds, N_SECONDS)) && ok
#define TWIN(of, name, help) ok = hone_metrics_twin(m->all, m->of, name, help) && ok
    FAMILY(http, HONE_COUNTER, "hone_http_requests_total", "HTTP requests by route and status", "route,status");
    ok = (m->http_seconds = hone_metrics_add(m->all, HONE_HISTOGRAM, "hone_http_request_seconds",
                                             "Time of HTTP requests", "route", seconds, N_SECONDS)) &&
         ok;
    FAMILY(connections, HONE_GAUGE, "hone_http_connections", "Open connections", "");
    FAMILY(start, HONE_GAUGE, "hone_start_time_seconds", "When this process began to serve, seconds since 1970", "");
    FAMILY(requests, HONE_COUNTER, "hone_requests_total", "Generation requests that ended, by reason",
           "model_name,finished_reason");
    FAMILY(prompt, HONE_COUNTER, "hone_prompt_tokens_total", "Prompt tokens of requests that ended", "model_name");
    FAMILY(output, HONE_COUNTER, "hone_generation_tokens_total", "Output tokens of requests that ended", "model_name");
    TIMES(ttft, "hone_time_to_first_token_seconds", "From the request to its first token");
    TIMES(itl, "hone_inter_token_latency_seconds", "Between two tokens of one output");
    TIMES(e2e, "hone_request_seconds", "From the request to its end");
    TWIN(requests, "vllm:request_success_total", "Count of successfully processed requests");
    TWIN(prompt, "vllm:prompt_tokens_total", "Number of prefill tokens processed");
    TWIN(output, "vllm:generation_tokens_total", "Number of generation tokens processed");
    TWIN(ttft, "vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds");
    TWIN(itl, "vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds");
    TWIN(e2e, "vllm:e2e_request_latency_seconds", "Histogram of end to end request latency in seconds");
    FAMILY(running, HONE_GAUGE, "hone_requests_running", "Requests at copies", "model_name");
    FAMILY(waiting, HONE_GAUGE, "hone_requests_waiting", "Requests held or queued", "model_name");
    TWIN(running, "vllm:num_requests_running", "Number of requests in model execution batches");
    TWIN(waiting, "vllm:num_requests_waiting", "Number of requests waiting to be processed");
    FAMILY(vllm_cache, HONE_GAUGE, "vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage",
           "model_name");
    FAMILY(copies, HONE_GAUGE, "hone_copies_ready", "Copies that answer", "model_name");
    FAMILY(state, HONE_GAUGE, "hone_component_state", "1 for the state that a component is in", "model_name,state");
    FAMILY(restarts, HONE_COUNTER, "hone_copy_restarts_total", "Copies that died without being asked to", "model_name");
    FAMILY(pages_free, HONE_GAUGE, "hone_kv_pages_free", "Free pages of keys and values", "model_name");
    FAMILY(pages_total, HONE_GAUGE, "hone_kv_pages", "Pages of keys and values", "model_name");
    FAMILY(memory, HONE_GAUGE, "hone_copy_memory_bytes", "Planned memory of one copy", "model_name,part");
    FAMILY(adapters, HONE_GAUGE, "hone_adapters_resident", "Adapters that copies hold", "model_name");
    FAMILY(steps, HONE_COUNTER, "hone_engine_steps_total", "Steps of the copies that run", "model_name");
    FAMILY(prefill, HONE_COUNTER, "hone_engine_prefill_tokens_total", "Prompt tokens computed by the copies that run",
           "model_name");
    FAMILY(decode, HONE_COUNTER, "hone_engine_decode_tokens_total", "Output tokens computed by the copies that run",
           "model_name");
    FAMILY(waiting_tokens, HONE_GAUGE, "hone_queue_prompt_tokens", "Prompt tokens of the requests that wait",
           "model_name");
    FAMILY(wait_seconds, HONE_GAUGE, "hone_queue_wait_seconds",
           "Predicted wait of a newcomer; 0 while nothing is known", "model_name");
    FAMILY(refused, HONE_COUNTER, "hone_requests_refused_total",
           "Requests answered 429, by the bound that they did not fit", "model_name,bound");
    FAMILY(expired, HONE_COUNTER, "hone_requests_expired_total", "Requests answered 504: not begun at their deadline",
           "model_name");
    FAMILY(stalls, HONE_COUNTER, "hone_copy_stalls_total", "Copies killed because they made no step", "model_name");
    FAMILY(preemptions, HONE_COUNTER, "hone_engine_preemptions_total",
           "Sequences that lost their pages to others and were computed again", "model_name");
    FAMILY(prefix, HONE_COUNTER, "hone_engine_prefix_tokens_total", "Prompt tokens taken from the prefix tree",
           "model_name");
    FAMILY(pages_cached, HONE_GAUGE, "hone_kv_pages_cached", "Free pages that hold prefixes", "model_name");
    FAMILY(drafted, HONE_COUNTER, "hone_engine_drafted_tokens_total", "Tokens drafted by speculation", "model_name");
    FAMILY(accepted, HONE_COUNTER, "hone_engine_accepted_tokens_total", "Drafted tokens that were right", "model_name");
    FAMILY(forced, HONE_COUNTER, "hone_engine_forced_tokens_total", "Tokens that a grammar left no choice for",
           "model_name");
    FAMILY(mask_seconds, HONE_COUNTER, "hone_engine_mask_seconds_total", "Time spent on token masks of grammars",
           "model_name");
    FAMILY(used, HONE_GAUGE, "hone_engine_memory_bytes", "Memory that the engines hold: keys, values and scratch",
           "model_name");
    FAMILY(adapter_bytes, HONE_GAUGE, "hone_adapter_bytes", "Memory of resident adapters", "model_name");
    TWIN(preemptions, "vllm:num_preemptions_total", "Cumulative number of preemptions");
    FAMILY(vllm_prefix_queries, HONE_COUNTER, "vllm:prefix_cache_queries_total",
           "Prefix cache queries, in terms of number of queried tokens", "model_name");
    TWIN(prefix, "vllm:prefix_cache_hits_total", "Prefix cache hits, in terms of number of cached tokens");
    FAMILY(jobs, HONE_COUNTER, "hone_jobs_total", "Fine-tuning jobs that ended, by state", "state");
    FAMILY(jobs_now, HONE_GAUGE, "hone_jobs", "Fine-tuning jobs that are not at their end", "state");
    FAMILY(trained, HONE_COUNTER, "hone_trained_tokens_total", "Tokens that counted in a loss", "");
#undef FAMILY
#undef TIMES
#undef TWIN
    if (!ok) return hone_fail(err, HONE_ERR_NOMEM, "no memory for metrics");
    hone_metric_set(m->start, NULL, (double)hone_clock_unix());
    return HONE_OK;
}

void api_metrics_close(hone_api *api) {
    if (!api->metrics) return;
    hone_metrics_close(api->metrics->all);
    hone_free(api->metrics);
    api->metrics = NULL;
}

void api_metrics_http(hone_api *api, const hone_request *req) {
    char status[16];
    snprintf(status, sizeof(status), "%d", hone_request_status(req));
    const char *route = hone_request_route(req);
    const char *labels[] = {route ? route : "none", status};
    hone_metric_add(api->metrics->http, labels, 1);
    hone_metric_observe(api->metrics->http_seconds, labels, hone_request_seconds(req));
}

void api_metrics_request(hone_api *api, const char *model, const api_request_figures *f) {
    struct api_metrics *m = api->metrics;
    const char *labels[] = {model, f->finish};
    hone_metric_add(m->requests, labels, 1);
    hone_metric_add(m->prompt, labels, f->prompt_tokens);
    hone_metric_add(m->output, labels, f->output_tokens);
    hone_metric_observe(m->e2e, labels, f->last_token - f->started);
    if (f->first_token == 0) return;
    hone_metric_observe(m->ttft, labels, f->first_token - f->started);
}

hone_series *api_metrics_gaps(hone_api *api, const char *model) {
    return hone_metric_series(api->metrics->itl, &model);
}

/* What others keep is read when somebody asks. */
static void gather(hone_api *api) {
    struct api_metrics *m = api->metrics;
    for (hone_component *c = NULL; (c = hone_controller_next(api->cfg.controller, c));) {
        hone_component_status s;
        hone_component_get_status(c, &s);
        const char *path = hone_component_path(c);
        const char *slash = strrchr(path, '/');
        const char *name = slash && slash[1] ? slash + 1 : path;
        const char *labels[] = {name, NULL};
        hone_metric_set(m->running, labels, s.running);
        hone_metric_set(m->waiting, labels, s.waiting);
        hone_metric_set(m->vllm_cache, labels,
                        s.engine.pages_total ? 1 - (double)s.engine.pages_free / s.engine.pages_total : 0);
        hone_metric_set(m->copies, labels, s.copies_ready);
        hone_metric_set(m->restarts, labels, (double)s.restarts);
        hone_metric_set(m->pages_free, labels, s.engine.pages_free);
        hone_metric_set(m->pages_total, labels, s.engine.pages_total);
        hone_metric_set(m->adapters, labels, s.engine.adapters);
        hone_metric_set(m->steps, labels, (double)s.engine.steps);
        hone_metric_set(m->prefill, labels, (double)s.engine.prefill_tokens);
        hone_metric_set(m->decode, labels, (double)s.engine.decode_tokens);
        const hone_engine_stats *e = &s.engine;
        hone_metric_set(m->waiting_tokens, labels, (double)s.waiting_tokens);
        hone_metric_set(m->wait_seconds, labels, s.wait_seconds);
        hone_metric_set(m->expired, labels, (double)s.expired);
        hone_metric_set(m->stalls, labels, (double)s.stalls);
        hone_metric_set(m->preemptions, labels, (double)e->preemptions);
        hone_metric_set(m->prefix, labels, (double)e->prefix_tokens);
        hone_metric_set(m->vllm_prefix_queries, labels, (double)(e->prefix_tokens + e->prefill_tokens));
        hone_metric_set(m->pages_cached, labels, e->pages_cached);
        hone_metric_set(m->drafted, labels, (double)e->drafted);
        hone_metric_set(m->accepted, labels, (double)e->accepted);
        hone_metric_set(m->forced, labels, (double)e->forced);
        hone_metric_set(m->mask_seconds, labels, (double)e->grammar_mask_ns / 1e9);
        hone_metric_set(m->used, labels, (double)e->memory);
        hone_metric_set(m->adapter_bytes, labels, (double)e->adapter_bytes);
        static const char *const bounds[HONE_REFUSED_KINDS] = {"requests", "prompt_tokens", "wait"};
        for (int i = 0; i < HONE_REFUSED_KINDS; i++) {
            labels[1] = bounds[i];
            hone_metric_set(m->refused, labels, (double)s.refused[i]);
        }
        for (int i = HONE_COMPONENT_ASLEEP; i <= HONE_COMPONENT_FAILED; i++) {
            labels[1] = state_name((hone_component_state)i);
            hone_metric_set(m->state, labels, (int)s.state == i);
        }
        const struct {
            const char *part;
            uint64_t bytes;
        } parts[] = {
            {"weights", s.plan.weights}, {"kv", s.plan.kv}, {"scratch", s.plan.scratch}, {"adapters", s.plan.adapters}};
        for (size_t i = 0; i < 4; i++) {
            labels[1] = parts[i].part;
            hone_metric_set(m->memory, labels, (double)parts[i].bytes);
        }
    }
    hone_jobs_figures j;
    hone_jobs_get_figures(api->cfg.jobs, &j);
    const struct {
        const char *state;
        double n;
    } ends[] = {{"succeeded", (double)j.succeeded}, {"failed", (double)j.failed}, {"cancelled", (double)j.cancelled}},
      now[] = {{"validating_files", j.checking}, {"running", j.running}, {"queued", j.queued}};
    for (size_t i = 0; i < 3; i++) {
        hone_metric_set(m->jobs, &ends[i].state, ends[i].n);
        hone_metric_set(m->jobs_now, &now[i].state, now[i].n);
    }
    hone_metric_set(m->trained, NULL, (double)j.trained_tokens);
    hone_metric_set(m->connections, NULL, hone_http_count(api->http).open_connections);
}

void api_metrics_text(void *arg, hone_request *req) {
    hone_api *api = arg;
    hone_buf text = {0};
    gather(api);
    hone_metrics_write(api->metrics->all, &text);
    hone_reply_buf(req, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
}

void api_livez(void *arg, hone_request *req) {
    (void)arg;
    hone_reply_bytes(req, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

/* Ready: the server takes requests and no component that was started is still on its way, has failed, or
 * makes no step with work before it. */
void api_readyz(void *arg, hone_request *req) {
    hone_api *api = arg;
    json_t *list = json_array();
    bool ready = !api->stopping;
    for (hone_component *c = NULL; (c = hone_controller_next(api->cfg.controller, c));) {
        hone_component_status s;
        hone_component_get_status(c, &s);
        ready = ready && !s.stalled && (s.state == HONE_COMPONENT_RUNNING || s.state == HONE_COMPONENT_ASLEEP);
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:b, s:s?}", "path", hone_component_path(c),
                                              "state", state_name(s.state), "copies_ready", (int)s.copies_ready,
                                              "copies_wanted", (int)s.copies_wanted, "stalled", s.stalled, "failure",
                                              s.failure[0] ? s.failure : NULL));
    }
    json_t *body = json_pack("{s:s, s:o}", "status",
                             api->stopping ? "stopping"
                             : ready       ? "ready"
                                           : "not ready",
                             "components", list);
    hone_reply_json(req, ready ? 200 : 503, body);
    json_decref(body);
}
