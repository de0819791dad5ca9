/* serve.c - `hone serve`: the controller.
 * Order: the configuration file, the models named at start, the way to stop, the verb. */
#include <cyaml/cyaml.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/model.h"
#include "cli/store.h"
#include "cli/verbs.h"
#include "lab/registry.h"
#include "model/model.h"

/* ---- The configuration file: the options' names, and the same meaning; an option given beside it wins ---- */

#define MAX_SECONDS 4000000u /* in milliseconds it fits 32 bits */

typedef struct {
    char *listen, *precision, *kv_type, *organization;
    char **model;
    unsigned model_count;
    uint32_t threads, copies, max_sequences, max_step_rows, max_length, max_waiting, max_wait, timeout, stall,
        pin_percent;
    uint64_t kv_mb, adapter_mb, max_waiting_tokens;
    bool require_key, no_prefix, no_drafts;
} file_config;

static const cyaml_schema_value_t name_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 4096)};
#define TEXT(key, member)                                                                                              \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, file_config, member, 1, 4096)
#define NUMBER(key, member) CYAML_FIELD_UINT(key, CYAML_FLAG_OPTIONAL, file_config, member)
static const cyaml_schema_field_t config_fields[] = {
    TEXT("listen", listen),
    TEXT("precision", precision),
    TEXT("kv-type", kv_type),
    TEXT("organization", organization),
    CYAML_FIELD_SEQUENCE("model", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, file_config, model, &name_schema, 0, 1000),
    NUMBER("threads", threads),
    NUMBER("copies", copies),
    NUMBER("max-sequences", max_sequences),
    NUMBER("max-step-rows", max_step_rows),
    NUMBER("max-length", max_length),
    NUMBER("max-waiting", max_waiting),
    NUMBER("max-waiting-tokens", max_waiting_tokens),
    NUMBER("max-wait", max_wait),
    NUMBER("timeout", timeout),
    NUMBER("stall", stall),
    NUMBER("kv-mb", kv_mb),
    NUMBER("adapter-mb", adapter_mb),
    NUMBER("pin-percent", pin_percent),
    CYAML_FIELD_BOOL("no-prefix", CYAML_FLAG_OPTIONAL, file_config, no_prefix),
    CYAML_FIELD_BOOL("no-drafts", CYAML_FLAG_OPTIONAL, file_config, no_drafts),
    CYAML_FIELD_BOOL("require-key", CYAML_FLAG_OPTIONAL, file_config, require_key),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t config_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, file_config, config_fields)};

static void log_yaml(cyaml_log_t level, void *ctx, const char *format, va_list args) {
    (void)level;
    (void)ctx;
    vfprintf(stderr, format, args);
}
static const cyaml_config_t yaml = {.log_fn = log_yaml, .log_level = CYAML_LOG_WARNING, .mem_fn = cyaml_mem};

/* ---- State ---- */

typedef struct {
    const cli_args *args;
    hone_loop *loop;
    hone_offload *offload; /* for what waits for the disk */
    hone_store *store;
    hone_controller *controller;
    hone_jobs *jobs;
    hone_api *api;
    uint32_t signals;
    bool http_done, jobs_done;
} server;

/* ---- The models named at start ---- */

/* A path gets a local name: the last part of it, without .gguf. */
static hone_status name_path(server *s, const hone_resolved *r, char *name, size_t n, hone_error *err) {
    hone_model_info info;
    char full[PATH_MAX];
    if (!realpath(r->path, full)) return hone_fail(err, HONE_ERR_NOT_FOUND, "%s: no such file or folder", r->path);
    const hone_status status = hone_model_inspect(&info, r->path, err);
    if (status != HONE_OK) return status;
    const char *slash = strrchr(full, '/');
    snprintf(name, n, "%s", slash ? slash + 1 : full);
    char *dot = strstr(name, ".gguf");
    const bool gguf = dot && dot[5] == 0;
    if (gguf) *dot = 0;
    const hone_rec_model rec = {.name = name,
                                .source = r->path,
                                .origin = full,
                                .licence = info.licence[0] ? info.licence : NULL,
                                .format = gguf ? "gguf" : "hf",
                                .path = full,
                                .bytes = (int64_t)info.bytes,
                                .created_at = hone_clock_unix()};
    hone_model_info_free(&info);
    return hone_store_model_put(s->store, &rec, err);
}

static hone_status wake(server *s, const char *name, hone_error *err) {
    hone_resolved r;
    hone_component *component;
    hone_status status = hone_registry_resolve(s->store, name, true, &r, err);
    if (status != HONE_OK) return status;
    char local[PATH_MAX];
    hone_rec_model known;
    const bool stored = hone_store_model_get(s->store, r.base, &known, NULL) == HONE_OK;
    if (stored) {
        hone_rec_model_free(&known);
        status = hone_controller_component(s->controller, r.path, &component, err);
    } else {
        char full[PATH_MAX];
        status = name_path(s, &r, local, sizeof(local), err);
        if (status == HONE_OK && realpath(r.path, full)) {
            cli_say(s->args, "%s is served as '%s'", r.path, local);
            status = hone_controller_component(s->controller, full, &component, err);
        }
    }
    if (status == HONE_OK && r.tensors_path) { /* an adapter that is named stays resident */
        hone_adapter_files files = {.config_path = r.config_path, .tensors_path = r.tensors_path};
        memcpy(files.digest, r.digest, sizeof(files.digest));
        status = hone_component_pin(component, &files, err);
    }
    if (status == HONE_OK) hone_component_wake(component);
    hone_resolved_free(&r);
    return status;
}

/* ---- Stopping: newcomers get 503, streams end, the trainer writes its checkpoint; a second signal ends at once ----
 */

static void stop_if_done(server *s) {
    if (s->http_done && s->jobs_done) hone_loop_stop(s->loop);
}
static void on_http_done(void *arg) {
    server *s = arg;
    s->http_done = true;
    hone_controller_drain(s->controller);
    stop_if_done(s);
}
static void on_jobs_done(void *arg) {
    server *s = arg;
    s->jobs_done = true;
    stop_if_done(s);
}
static void on_signal(void *arg) {
    server *s = arg;
    if (s->signals++) {
        hone_loop_stop(s->loop);
        return;
    }
    hone_log(HONE_LOG_INFO, "serve", "stopping: running requests end in their own time; a second signal ends them now");
    hone_api_stop(s->api, on_http_done, s);
    hone_jobs_stop(s->jobs, on_jobs_done, s);
}

/* ---- The verb ---- */

static bool split_address(const cli_args *args, const char *listen, char *address, size_t n, uint16_t *port) {
    const char *colon = strrchr(listen, ':');
    char *end = NULL;
    const long number = colon ? strtol(colon + 1, &end, 10) : -1;
    const size_t length = colon ? (size_t)(colon - listen) : 0;
    if (!colon || colon[1] == 0 || *end || number < 0 || number > 65535 || length == 0 || length >= n) {
        cli_usage(args, "--listen '%s': expected ADDRESS:PORT, like 127.0.0.1:8080", listen);
        return false;
    }
    const bool brackets = listen[0] == '[' && listen[length - 1] == ']';
    memcpy(address, listen + brackets, length - 2 * (size_t)brackets);
    address[length - 2 * (size_t)brackets] = 0;
    *port = (uint16_t)number;
    return true;
}

static hone_status start(server *s, const file_config *f, const char *home, hone_controller_config *c,
                         hone_api_config *a, hone_error *err) {
    static char program[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (n <= 0) return hone_fail(err, HONE_ERR_IO, "cannot read /proc/self/exe");
    char *tiles = hone_path_join(home, "tile");
    if (!tiles) return hone_fail(err, HONE_ERR_NOMEM, "no memory for a path");
    c->program = program;
    c->tile_folder = tiles;
    hone_status status = hone_loop_open(&s->loop, err);
    if (status == HONE_OK) status = hone_offload_open(&s->offload, s->loop, err);
    if (status == HONE_OK) status = hone_store_open(&s->store, home, HONE_HOME_CONTROLLER, err);
    if (status == HONE_OK) status = hone_controller_open(&s->controller, hone_loop_base(s->loop), c, err);
    const hone_jobs_config j = {.loop = s->loop,
                                .store = s->store,
                                .offload = s->offload,
                                .program = program,
                                .organization = a->organization,
                                .precision_f32 = c->precision == HONE_PRECISION_F32};
    if (status == HONE_OK) status = hone_jobs_open(&s->jobs, &j, err);
    a->loop = s->loop;
    a->store = s->store;
    a->controller = s->controller;
    a->jobs = s->jobs;
    a->offload = s->offload;
    if (status == HONE_OK) status = hone_api_open(&s->api, a, err);
    for (unsigned i = 0; i < f->model_count && status == HONE_OK; i++) status = wake(s, f->model[i], err);
    const char *name;
    for (uint32_t i = 0; status == HONE_OK && (name = cli_nth(s->args, "model", i)); i++) status = wake(s, name, err);
    if (status == HONE_OK) status = hone_loop_on_signal(s->loop, SIGTERM, on_signal, s, err);
    if (status == HONE_OK) status = hone_loop_on_signal(s->loop, SIGINT, on_signal, s, err);
    hone_free(tiles);
    return status;
}

static int run(const cli_args *args) {
    file_config *f = NULL, none = {0};
    const char *path = cli_get(args, "config");
    if (path) {
        const cyaml_err_t e = cyaml_load_file(path, &yaml, &config_schema, (cyaml_data_t **)&f, NULL);
        if (e != CYAML_OK) return cli_fail_text(args, "%s: %s", path, cyaml_strerror(e));
    }
    const file_config *given = f ? f : &none;
    hone_controller_config c = hone_controller_defaults();
    hone_api_config a = {.http = hone_http_defaults(), .need_key = given->require_key || cli_has(args, "require-key")};
    const char *listen = cli_get(args, "listen") ? cli_get(args, "listen")
                         : given->listen         ? given->listen
                                                 : "127.0.0.1:8080";
    const char *precision = cli_get(args, "precision") ? cli_get(args, "precision") : given->precision;
    a.organization = cli_get(args, "organization") ? cli_get(args, "organization") : given->organization;
    uint64_t kv_mb = given->kv_mb, adapter_mb = given->adapter_mb;
    if (given->threads) c.threads = given->threads;
    if (given->copies) c.copies = given->copies;
    if (given->max_waiting) c.max_waiting = given->max_waiting;
    if (given->max_waiting_tokens) c.max_waiting_tokens = given->max_waiting_tokens;
    uint32_t max_wait = given->max_wait ? given->max_wait : c.max_wait_ms / 1000;
    uint32_t timeout = given->timeout ? given->timeout : c.timeout_ms / 1000;
    uint32_t stall = given->stall ? given->stall : c.stall_ms / 1000;
    if (given->max_sequences) c.engine.max_sequences = given->max_sequences;
    c.engine.max_step_rows = given->max_step_rows;
    c.engine.max_length = given->max_length;
    c.engine.pin_percent = given->pin_percent;
    c.engine.no_prefix = given->no_prefix || cli_has(args, "no-prefix");
    if (given->no_drafts || cli_has(args, "no-drafts")) c.engine.max_draft = HONE_NO_DRAFT;
    char address[256];
    uint16_t port;
    int rc = CLI_USAGE;
    char *home = NULL;
    server s = {.args = args};
    if (precision && strcmp(precision, "f32") != 0 && strcmp(precision, "serving") != 0) {
        cli_usage(args, "--precision '%s': expected f32 or serving", precision);
        goto done;
    }
    if (precision && precision[0] == 'f') c.precision = HONE_PRECISION_F32;
    const char *kv_type = cli_get(args, "kv-type") ? cli_get(args, "kv-type") : given->kv_type;
    if (!cli_kv_type(args, kv_type, c.precision, &c.engine.kv_type)) goto done;
    if (!split_address(args, listen, address, sizeof(address), &port) ||
        !cli_u32(args, "threads", 1, 1024, &c.threads) || !cli_u32(args, "copies", 1, 64, &c.copies) ||
        !cli_u32(args, "max-waiting", 1, 1000000, &c.max_waiting) ||
        !cli_uint(args, "max-waiting-tokens", 1, 1ull << 40, &c.max_waiting_tokens) ||
        !cli_u32(args, "max-wait", 1, MAX_SECONDS, &max_wait) || !cli_u32(args, "timeout", 1, MAX_SECONDS, &timeout) ||
        !cli_u32(args, "stall", 1, MAX_SECONDS, &stall) ||
        !cli_u32(args, "max-sequences", 1, 4096, &c.engine.max_sequences) ||
        !cli_u32(args, "max-step-rows", 1, 65536, &c.engine.max_step_rows) ||
        !cli_u32(args, "max-length", 1, 1u << 24, &c.engine.max_length) ||
        !cli_u32(args, "pin-percent", 1, 90, &c.engine.pin_percent) || !cli_uint(args, "kv-mb", 1, 1u << 24, &kv_mb) ||
        !cli_uint(args, "adapter-mb", 1, 1u << 24, &adapter_mb))
        goto done;
    if (max_wait > MAX_SECONDS || timeout > MAX_SECONDS || stall > MAX_SECONDS) {
        cli_usage(args, "max-wait, timeout and stall are at most %u seconds", MAX_SECONDS);
        goto done;
    }
    c.max_wait_ms = max_wait * 1000;
    c.timeout_ms = timeout * 1000;
    c.stall_ms = stall * 1000;
    c.engine.kv_bytes = kv_mb << 20;
    c.engine.adapter_bytes = adapter_mb << 20;
    a.http.address = address;
    a.http.port = port;
    if (!(home = cli_home(args))) goto done;
    hone_error err = {.position = HONE_NO_POSITION};
    hone_status status = start(&s, given, home, &c, &a, &err);
    if (status == HONE_OK) {
        const bool six = strchr(address, ':') != NULL;
        char url[300];
        snprintf(url, sizeof(url), "http://%s%s%s:%u", six ? "[" : "", address, six ? "]" : "", hone_api_port(s.api));
        cli_server_url_write(s.store, url);
        if (args->json)
            cli_print_json(args, json_pack("{s:s, s:s, s:i, s:i}", "url", url, "address", address, "port",
                                           (int)hone_api_port(s.api), "pid", (int)getpid()));
        else
            cli_say(args, "listening on %s  (home: %s)", url, home);
        fflush(stdout);
        status = hone_loop_run(s.loop, &err);
    }
    rc = status == HONE_OK ? CLI_OK : cli_fail(args, &err);
done:
    hone_api_close(s.api); /* first: what it still runs is cancelled at the controller */
    hone_jobs_close(s.jobs);
    hone_controller_close(s.controller);
    hone_offload_close(s.offload); /* what was begun ends, with nobody left to tell; it may need the store */
    hone_store_close(s.store);
    hone_loop_close(s.loop);
    hone_free(home);
    cyaml_free(&yaml, &config_schema, f, 0);
    return rc;
}

static const cli_option options[] = {
    {"listen", "ADDR:PORT", "where to listen (127.0.0.1:8080); other than loopback needs a key"},
    {"model", "NAME",
     "start its copy at once, keep its adapter resident; may be repeated. Others: with their first request"},
    {"config", "FILE.yaml", "the same settings from a file; options win"},
    {"precision", "f32|serving", "f32: activations and sums in f32, slower, for comparison"},
    {"kv-type", "bf16|int8|f32", "keys and values; int8: half the memory of bf16, other bits (fingerprint kv8)"},
    {"threads", "N", "of a copy (one per core)"},
    {"copies", "N", "of each model (1)"},
    {"max-sequences", "N", "requests that one copy runs at once (32)"},
    {"max-step-rows", "N", "tokens of one step at most"},
    {"max-length", "N", "positions of one request at most (the model's context)"},
    {"max-waiting", "N", "requests that may wait for one model (1024); over it 429"},
    {"max-waiting-tokens", "N", "tokens that their prompts may hold together (4194304); over it 429"},
    {"max-wait", "SECONDS", "that a newcomer would have to wait, as predicted (120); over it 429"},
    {"timeout", "SECONDS", "in which a request must begin (600), unless it says so itself; then 504"},
    {"stall", "SECONDS", "after which a copy that makes no step is started again (60)"},
    {"kv-mb", "N", "memory for keys and values of one copy"},
    {"adapter-mb", "N", "memory for resident adapters of one copy"},
    {"pin-percent", "N", "of kv-mb, what prefixes asked to stay may hold (25)"},
    {"no-prefix", NULL, "compute every prompt whole: no prefix is kept for later requests"},
    {"no-drafts", NULL, "one token a step and stream: nothing is guessed ahead (the bytes are the same either way)"},
    {"organization", "NAME", "third part of ft: names (org)"},
    {"require-key", NULL, "ask for an API key on loopback too"},
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_serve = {
    .name = "serve",
    .usage = "serve [--listen 127.0.0.1:8080] [--model NAME]... [--config FILE.yaml]",
    .about = "serve models behind the OpenAI API, and train them",
    .example = "hone serve --model smollm2\nhone serve --listen 0.0.0.0:8080 --config serve.yaml",
    .more = "SIGTERM stops it gracefully: running requests end, a training job writes its checkpoint and goes on at "
            "the next start.",
    .options = options,
    .run = run,
};
