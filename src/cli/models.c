/* models.c - hone models, hone show, hone rm: what is here.
 * Order: opening, models, show, rm, the verbs. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/model.h"
#include "cli/store.h"
#include "cli/verbs.h"

/* Opening ----------------------------------------------------------------------------------------------------------*/

int cli_store_open(hone_store **out, const cli_args *args) {
    hone_error err = {0};
    *out = NULL;
    char *home = cli_home(args);
    if (!home) return CLI_FAILED;
    const hone_status status = hone_store_open(out, home, HONE_HOME_GUEST, &err);
    hone_free(home);
    return status == HONE_OK ? CLI_OK : cli_fail(args, &err);
}

void cli_server_url_write(hone_store *store, const char *url) {
    char *path = hone_path_join(hone_home_run(hone_store_home(store)), "url");
    hone_error err = {0};
    if (path && hone_file_write_atomic(path, url, strlen(url), &err) != HONE_OK)
        hone_log(HONE_LOG_WARN, "serve", "%s", err.message); /* only `hone job cancel` misses it */
    hone_free(path);
}

char *cli_server_url_read(hone_store *store) {
    hone_home *home = hone_store_home(store);
    hone_buf url = {0};
    char *path = hone_path_join(hone_home_run(home), "url");
    const bool runs = hone_home_controller(home) != 0;
    if (!runs || !path || hone_file_read(path, &url, 300, NULL) != HONE_OK) hone_buf_free(&url);
    hone_free(path);
    return url.n ? hone_buf_take(&url, NULL) : NULL;
}

const char *cli_date(int64_t unix_seconds, char text[CLI_TEXT]) {
    const time_t t = (time_t)unix_seconds;
    struct tm parts;
    if (unix_seconds <= 0 || !gmtime_r(&t, &parts) || !strftime(text, CLI_TEXT, "%Y-%m-%d %H:%M", &parts)) return "";
    return text;
}

/* Models -----------------------------------------------------------------------------------------------------------*/

typedef struct {
    hone_list_model models;
    hone_list_version versions;
    hone_list_alias aliases;
} listing;

static void listing_free(listing *l) {
    hone_list_model_free(&l->models);
    hone_list_version_free(&l->versions);
    hone_list_alias_free(&l->aliases);
}

static json_t *model_json(const hone_rec_model *m) {
    json_t *info = m->info ? hone_json_parse(m->info, strlen(m->info), NULL) : NULL;
    return json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:I, s:I, s:o?}", "name", m->name, "kind", "base",
                     "source", m->source, "origin", m->origin, "licence", m->licence, "format", m->format, "digest",
                     m->digest, "path", m->path, "bytes", (json_int_t)m->bytes, "created_at", (json_int_t)m->created_at,
                     "info", info);
}

static json_t *version_json(const hone_rec_version *v) {
    return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s, s:s, s:I, s:I}", "name", v->id, "kind", "version", "base",
                     v->base, "base_digest", v->base_digest, "job", v->job_id, "config_digest", v->config_digest,
                     "weights_digest", v->weights_digest, "bytes", (json_int_t)v->bytes, "created_at",
                     (json_int_t)v->created_at);
}

static int models_json(const cli_args *args, const listing *l) {
    json_t *all = json_array();
    for (size_t i = 0; i < l->models.n; i++) json_array_append_new(all, model_json(&l->models.rows[i]));
    for (size_t i = 0; i < l->versions.n; i++) json_array_append_new(all, version_json(&l->versions.rows[i]));
    for (size_t i = 0; i < l->aliases.n; i++)
        json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "name", l->aliases.rows[i].name, "kind", "alias",
                                             "target", l->aliases.rows[i].target));
    return cli_print_json(args, json_pack("{s:o}", "models", all));
}

static int models_table(const cli_args *args, const listing *l) {
    enum { COLUMNS = 5 };
    static const bool right[COLUMNS] = {false, false, true, false, false};
    const size_t n = 1 + l->models.n + l->versions.n + l->aliases.n;
    if (n == 1) {
        cli_say(args, "nothing is here yet; `hone help pull` shows how to get a model");
        return CLI_OK;
    }
    const char **cell = hone_zalloc(n * COLUMNS, sizeof(*cell));
    char(*text)[2][CLI_TEXT] = hone_zalloc(n, sizeof(*text));
    int rc = cell && text ? CLI_OK : cli_fail_text(args, "no memory");
    size_t r = 0;
    if (rc == CLI_OK) {
        static const char *const head[COLUMNS] = {"name", "kind", "size", "since", "licence or base"};
        memcpy(cell, head, sizeof(head));
        for (size_t i = 0; i < l->models.n; i++) {
            const hone_rec_model *m = &l->models.rows[i];
            const char **c = cell + ++r * COLUMNS;
            c[0] = m->name;
            c[1] = m->format;
            c[2] = cli_bytes((uint64_t)m->bytes, text[r][0]);
            c[3] = cli_date(m->created_at, text[r][1]);
            c[4] = m->licence ? m->licence : "licence not known";
        }
        for (size_t i = 0; i < l->versions.n; i++) {
            const hone_rec_version *v = &l->versions.rows[i];
            const char **c = cell + ++r * COLUMNS;
            c[0] = v->id;
            c[1] = "adapter";
            c[2] = cli_bytes((uint64_t)v->bytes, text[r][0]);
            c[3] = cli_date(v->created_at, text[r][1]);
            c[4] = v->base;
        }
        for (size_t i = 0; i < l->aliases.n; i++) {
            const char **c = cell + ++r * COLUMNS;
            c[0] = l->aliases.rows[i].name;
            c[1] = "alias";
            c[4] = l->aliases.rows[i].target;
        }
        cli_table(cell, (uint32_t)n, COLUMNS, right);
    }
    hone_free(cell);
    hone_free(text);
    return rc;
}

static int run_models(const cli_args *args) {
    hone_store *store;
    hone_error err = {0};
    listing l = {0};
    int rc = cli_store_open(&store, args);
    if (rc != CLI_OK) return rc;
    const hone_page all = {0};
    hone_status status = hone_store_model_list(store, all, &l.models, &err);
    if (status == HONE_OK) status = hone_store_version_list(store, all, &l.versions, &err);
    if (status == HONE_OK) status = hone_store_alias_list(store, all, &l.aliases, &err);
    if (status != HONE_OK) {
        rc = cli_fail(args, &err);
    } else if (cli_has(args, "names")) {
        for (size_t i = 0; i < l.models.n; i++) puts(l.models.rows[i].name);
        for (size_t i = 0; i < l.versions.n; i++) puts(l.versions.rows[i].id);
        for (size_t i = 0; i < l.aliases.n; i++) puts(l.aliases.rows[i].name);
    } else {
        rc = args->json ? models_json(args, &l) : models_table(args, &l);
    }
    listing_free(&l);
    hone_store_close(store);
    return rc;
}

/* Show -------------------------------------------------------------------------------------------------------------*/

static void line(const char *what, const char *value) {
    if (value && *value) printf("%-10s %s\n", what, value);
}

static json_t *shape_json(const hone_model_info *i) {
    const hone_arch *a = &i->arch;
    return json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "family", a->family, "weights",
                     i->format, "parameters", (json_int_t)i->parameters, "bytes", (json_int_t)i->bytes, "layers",
                     (int)a->n_layer, "width", (int)a->width, "heads", (int)a->n_head, "kv_heads", (int)a->n_kv_head,
                     "head_width", (int)a->head_dim, "mlp_width", (int)a->mlp_width, "vocabulary", (int)a->vocab,
                     "context", (int)a->max_position);
}

static void shape_lines(const hone_model_info *i) {
    const hone_arch *a = &i->arch;
    char size[CLI_TEXT];
    line("family", a->family);
    printf("%-10s %u layers, width %u, %u heads over %u of keys and values, head width %u, MLP %u\n", "shape",
           a->n_layer, a->width, a->n_head, a->n_kv_head, a->head_dim, a->mlp_width);
    printf("%-10s %u tokens, context %u\n", "vocabulary", a->vocab, a->max_position);
    printf("%-10s %s, %.1f million parameters, %s (%llu B)\n", "weights", i->format, (double)i->parameters / 1e6,
           cli_bytes(i->bytes, size), (unsigned long long)i->bytes);
}

/* What the weights' own files say, and whether their template can be rendered. */
static int show_files(const cli_args *args, const hone_resolved *where, json_t *into, const char *licence) {
    hone_error err = {0};
    hone_model_info info = {0};
    if (hone_model_inspect(&info, where->path, &err) != HONE_OK) return cli_fail(args, &err);
    hone_text *text = NULL;
    const bool readable = hone_text_open(&text, where->path, &err) == HONE_OK;
    const char *template = !readable ? err.message : text->chat ? "chat" : "none";
    if (into) {
        json_object_set_new(into, "shape", shape_json(&info));
        json_object_set_new(into, "template", json_string(template));
        if (!licence && info.licence[0]) json_object_set_new(into, "licence", json_string(info.licence));
    } else {
        if (!licence) line("licence", info.licence[0] ? info.licence : "not known");
        shape_lines(&info);
        line("template", template);
    }
    hone_text_close(text);
    hone_model_info_free(&info);
    return CLI_OK;
}

static int show_version(const cli_args *args, hone_store *store, const hone_resolved *where) {
    hone_rec_version v = {0};
    if (hone_store_version_get(store, where->version, &v, NULL) != HONE_OK) return CLI_OK;
    char size[CLI_TEXT], date[CLI_TEXT];
    int rc = CLI_OK;
    if (args->json) {
        rc = cli_print_json(args, version_json(&v));
    } else {
        line("name", v.id);
        line("base", v.base);
        line("job", v.job_id);
        line("adapter", v.weights_digest);
        line("size", cli_bytes((uint64_t)v.bytes, size));
        line("since", cli_date(v.created_at, date));
    }
    hone_rec_version_free(&v);
    return rc;
}

static int show_base(const cli_args *args, hone_store *store, const hone_resolved *where) {
    hone_rec_model m = {0};
    hone_list_version versions = {0};
    hone_list_alias aliases = {0};
    const bool known = store && hone_store_model_get(store, where->base, &m, NULL) == HONE_OK;
    if (store && hone_store_version_list(store, (hone_page){0}, &versions, NULL) != HONE_OK) versions.n = 0;
    if (store && hone_store_alias_list(store, (hone_page){0}, &aliases, NULL) != HONE_OK) aliases.n = 0;
    json_t *out = NULL, *of_it = NULL;
    char date[CLI_TEXT];
    if (args->json) {
        out = known ? model_json(&m)
                    : json_pack("{s:s, s:s, s:s}", "name", where->base, "kind", "base", "path", where->path);
        of_it = json_array();
    } else {
        line("name", where->base);
        line("source", m.source);
        line("origin", m.origin);
        line("licence", m.licence);
        line("digest", m.digest);
        line("path", where->path);
        line("since", cli_date(m.created_at, date));
    }
    int rc = show_files(args, where, out, m.licence);
    for (size_t i = 0; i < versions.n; i++) {
        if (strcmp(versions.rows[i].base, where->base) != 0) continue;
        if (out)
            json_array_append_new(of_it, json_string(versions.rows[i].id));
        else
            line("version", versions.rows[i].id);
    }
    for (size_t i = 0; !out && i < aliases.n; i++)
        if (strcmp(aliases.rows[i].target, where->base) == 0) line("alias", aliases.rows[i].name);
    if (out) {
        json_object_set_new(out, "versions", of_it);
        if (rc == CLI_OK)
            rc = cli_print_json(args, out);
        else
            json_decref(out);
    }
    hone_rec_model_free(&m);
    hone_list_version_free(&versions);
    hone_list_alias_free(&aliases);
    return rc;
}

static int run_show(const cli_args *args) {
    hone_resolved where;
    hone_store *store = NULL;
    int rc = cli_model_resolve(&where, args, args->word[0]);
    if (rc == CLI_OK && !strchr(args->word[0], '/')) rc = cli_store_open(&store, args);
    if (rc == CLI_OK) rc = where.tensors_path ? show_version(args, store, &where) : show_base(args, store, &where);
    hone_store_close(store);
    hone_resolved_free(&where);
    return rc;
}

/* Rm ---------------------------------------------------------------------------------------------------------------*/

static hone_status remove_one(hone_store *store, const char *name, const char **what, hone_error *err) {
    *what = "alias";
    hone_status status = hone_store_alias_delete(store, name, err);
    if (status != HONE_ERR_NOT_FOUND) return status;
    *what = "version";
    status = hone_store_version_delete(store, name, err);
    if (status != HONE_ERR_NOT_FOUND) return status;
    *what = "model";
    return hone_store_model_delete(store, name, err);
}

static int run_rm(const cli_args *args) {
    hone_store *store;
    hone_error err = {0};
    int rc = cli_store_open(&store, args);
    if (rc != CLI_OK) return rc;
    const char *what;
    if (remove_one(store, args->word[0], &what, &err) != HONE_OK)
        rc = err.code == HONE_ERR_NOT_FOUND ? cli_fail_text(args, "nothing here is called %s", args->word[0])
                                            : cli_fail(args, &err);
    else if (args->json)
        rc = cli_print_json(args, json_pack("{s:s, s:s}", "removed", args->word[0], "kind", what));
    else
        cli_say(args, "removed the %s %s", what, args->word[0]);
    hone_store_close(store);
    return rc;
}

/* The verbs --------------------------------------------------------------------------------------------------------*/

static const cli_option models_options[] = {
    {"names", NULL, "nothing but the names, one a line"},
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_models = {
    .name = "models",
    .usage = "models [--names]",
    .about = "the models, versions and aliases that are here",
    .example = "hone models",
    .options = models_options,
    .run = run_models,
};

const cli_verb cli_verb_show = {
    .name = "show",
    .usage = "show NAME",
    .about = "one of them: family, shape, format, licence, origin, versions",
    .example = "hone show smollm2",
    .min_words = 1,
    .max_words = 1,
    .run = run_show,
};

const cli_verb cli_verb_rm = {
    .name = "rm",
    .usage = "rm NAME",
    .about = "remove a model, a version or an alias",
    .example = "hone rm ft:smollm2:org:titles:ab12cd34",
    .more = "A model that was taken from a path is forgotten; its files stay.",
    .min_words = 1,
    .max_words = 1,
    .run = run_rm,
};
