/* http_route.c - from a method and a path to a handler.
 * Order: compiling patterns, comparing two patterns, matching a path.
 *
 * A few dozen routes are looked through one by one: a tree would save a microsecond. */
#include <string.h>

#include "base/mem.h"
#include "net/http_internal.h"

static hone_status compile(net_route *out, const hone_http_route *route, hone_error *err) {
    out->route = *route;
    if (!route->method || !route->handle || !route->pattern || route->pattern[0] != '/')
        return hone_fail(err, HONE_ERR_ARG,
                         "http: route '%s' needs a method, a handle and a pattern that begins with /",
                         route->pattern ? route->pattern : "");
    const char *at = route->pattern + 1;
    for (bool more = true; more;) {
        if (out->n_segments == NET_MAX_SEGMENTS)
            return hone_fail(err, HONE_ERR_ARG, "http: route '%s' has too many segments", route->pattern);
        const size_t n = strcspn(at, "/");
        net_segment *s = &out->segment[out->n_segments++];
        more = at[n] == '/';
        *s = (net_segment){NET_SEGMENT_LITERAL, at, n};
        if (n && at[0] == '{') {
            if (n < 3 || at[n - 1] != '}')
                return hone_fail(err, HONE_ERR_ARG, "http: route '%s' has a broken parameter", route->pattern);
            *s = (net_segment){NET_SEGMENT_PARAM, at + 1, n - 2};
            if (n > 5 && strncmp(at + n - 4, "...", 3) == 0) {
                *s = (net_segment){NET_SEGMENT_REST, at + 1, n - 5};
                if (more) return hone_fail(err, HONE_ERR_ARG, "http: route '%s' goes on after {...}", route->pattern);
            }
        }
        at += n + 1;
    }
    return HONE_OK;
}

/* Below 0: a is the more particular one at the first segment where they differ in kind; 0: they match the same paths,
 * if their literals agree. */
static int compare(const net_route *a, const net_route *b) {
    for (size_t i = 0; i < a->n_segments && i < b->n_segments; i++)
        if (a->segment[i].kind != b->segment[i].kind) return (int)a->segment[i].kind - (int)b->segment[i].kind;
    return 0;
}

static bool is_same(const net_route *a, const net_route *b) {
    if (strcmp(a->route.method, b->route.method) != 0 || a->n_segments != b->n_segments || compare(a, b) != 0)
        return false;
    for (size_t i = 0; i < a->n_segments; i++)
        if (a->segment[i].kind == NET_SEGMENT_LITERAL &&
            (a->segment[i].n != b->segment[i].n ||
             memcmp(a->segment[i].text, b->segment[i].text, a->segment[i].n) != 0))
            return false;
    return true;
}

hone_status net_routes_compile(net_route **out, const hone_http_route *routes, size_t n, hone_error *err) {
    *out = NULL;
    net_route *compiled = hone_zalloc(n, sizeof(*compiled));
    if (!compiled) return hone_fail(err, HONE_ERR_NOMEM, "http: no memory for routes");
    for (size_t i = 0; i < n; i++) {
        hone_status status = compile(&compiled[i], &routes[i], err);
        for (size_t k = 0; k < i && status == HONE_OK; k++)
            if (is_same(&compiled[k], &compiled[i]))
                status =
                    hone_fail(err, HONE_ERR_ARG, "http: two routes for %s %s", routes[i].method, routes[i].pattern);
        if (status != HONE_OK) {
            hone_free(compiled);
            return status;
        }
    }
    *out = compiled;
    return HONE_OK;
}

/* A path cut at its slashes, each segment decoded.  More segments than any pattern has can still meet a {rest...},
 * which takes the raw path from its beginning on. */
typedef struct {
    const char *raw[NET_MAX_SEGMENTS + 1];
    const char *text[NET_MAX_SEGMENTS + 1];
    size_t n;
} cut_path;

static bool cut(cut_path *out, const char *path, char *memory) {
    out->n = 0;
    for (const char *at = path + 1; out->n <= NET_MAX_SEGMENTS;) {
        const size_t n = strcspn(at, "/");
        if (!net_percent_decode(at, n, false, memory)) return false;
        out->raw[out->n] = at;
        out->text[out->n++] = memory;
        memory += strlen(memory) + 1;
        if (at[n] == 0) break;
        at += n + 1;
    }
    return true;
}

static bool matches(const net_route *route, const cut_path *path) {
    const size_t n = route->n_segments;
    const bool rest = route->segment[n - 1].kind == NET_SEGMENT_REST;
    if (rest ? path->n < n : path->n != n) return false;
    for (size_t i = 0; i < n; i++) {
        const net_segment *s = &route->segment[i];
        if (s->kind == NET_SEGMENT_LITERAL ? strlen(path->text[i]) != s->n || memcmp(path->text[i], s->text, s->n) != 0
                                           : path->text[i][0] == 0)
            return false;
    }
    return true;
}

static void add_method(char allow[128], const char *method) {
    const size_t n = strlen(allow);
    if (n + strlen(method) + 3 <= 128 && !strstr(allow, method)) {
        if (n) strcat(allow, ", ");
        strcat(allow, method);
    }
}

/* Names and values of the parameters into text, which has room for them. */
static bool take_params(const net_route *route, const cut_path *path, net_pair *params, size_t *n_params, char *text) {
    for (size_t i = 0; i < route->n_segments; i++) {
        const net_segment *s = &route->segment[i];
        if (s->kind == NET_SEGMENT_LITERAL) continue;
        memcpy(text, s->text, s->n);
        text[s->n] = 0;
        params[*n_params].name = text;
        text += s->n + 1;
        const char *raw = path->raw[i];
        const size_t n = s->kind == NET_SEGMENT_REST ? strlen(raw) : strcspn(raw, "/");
        if (!net_percent_decode(raw, n, false, text)) return false;
        params[(*n_params)++].value = text;
        text += strlen(text) + 1;
    }
    return true;
}

const net_route *net_routes_find(const net_route *routes, size_t n, const char *method, const char *path,
                                 net_pair **params, size_t *n_params, char **text, char allow[128], net_fault *fault) {
    *params = NULL;
    *n_params = 0;
    *text = NULL;
    *fault = (net_fault){0};
    allow[0] = 0;
    const size_t n_path = strlen(path);
    const net_route *best = NULL;
    cut_path segments = {.n = 0};
    char *memory = hone_zalloc(n_path + NET_MAX_SEGMENTS + 2, 1);
    if (!memory) {
        *fault = (net_fault){503, "no memory for the request"};
        return NULL;
    }
    if (path[0] == '/' && !cut(&segments, path, memory)) {
        hone_free(memory);
        *fault = (net_fault){400, "the path is not well encoded"};
        return NULL;
    }
    for (size_t i = 0; i < n && path[0] == '/'; i++) {
        if (!matches(&routes[i], &segments)) continue;
        const char *own = routes[i].route.method;
        add_method(allow, own);
        if (strcmp(own, "GET") == 0) add_method(allow, "HEAD");
        const bool right = strcmp(own, method) == 0 || (strcmp(own, "GET") == 0 && strcmp(method, "HEAD") == 0);
        if (right && (!best || compare(&routes[i], best) < 0)) best = &routes[i];
    }
    if (!best) {
        *fault =
            allow[0] ? (net_fault){405, "this method is not allowed here"} : (net_fault){404, "there is no such path"};
    } else {
        size_t need = n_path + 1;
        for (size_t i = 0; i < best->n_segments; i++) need += best->segment[i].n + 2;
        *params = hone_zalloc(best->n_segments, sizeof(**params));
        *text = hone_zalloc(need, 1);
        if (!*params || !*text)
            *fault = (net_fault){503, "no memory for the request"};
        else if (!take_params(best, &segments, *params, n_params, *text))
            *fault = (net_fault){400, "the path is not well encoded"};
    }
    hone_free(memory);
    return fault->status ? NULL : best;
}
