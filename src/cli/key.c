/* key.c - hone key: API keys.  The secret is shown once and is nowhere afterwards. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/store.h"
#include "cli/verbs.h"

static int key_add(const cli_args *args, hone_store *store) {
    char secret[HONE_KEY_TEXT];
    hone_rec_key key = {0};
    hone_error err = {0};
    const char *name = args->n_word > 1 ? args->word[1] : "default";
    if (hone_store_key_add(store, name, secret, &key, &err) != HONE_OK) return cli_fail(args, &err);
    int rc = CLI_OK;
    if (args->json) {
        rc = cli_print_json(args, json_pack("{s:s, s:s, s:s}", "id", key.id, "name", key.name, "secret", secret));
    } else {
        cli_say(args, "key %s (%s); keep it now, it is not shown again:", key.id, key.name);
        puts(secret);
    }
    memset(secret, 0, sizeof(secret));
    hone_rec_key_free(&key);
    return rc;
}

static int key_list(const cli_args *args, hone_store *store) {
    enum { COLUMNS = 5 };
    hone_list_key list = {0};
    hone_error err = {0};
    if (hone_store_key_list(store, (hone_page){0}, &list, &err) != HONE_OK) return cli_fail(args, &err);
    int rc = CLI_OK;
    if (args->json) {
        json_t *all = json_array();
        for (size_t i = 0; i < list.n; i++) {
            const hone_rec_key *k = &list.rows[i];
            json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:I, s:I}", "id", k->id, "name", k->name, "prefix",
                                                 k->prefix, "created_at", (json_int_t)k->created_at, "last_used_at",
                                                 (json_int_t)k->last_used_at));
        }
        rc = cli_print_json(args, json_pack("{s:o}", "keys", all));
    } else if (list.n == 0) {
        cli_say(args, "no keys; `hone key add NAME` makes one");
    } else {
        const char **cell = hone_zalloc((list.n + 1) * COLUMNS, sizeof(*cell));
        char(*text)[2][CLI_TEXT] = hone_zalloc(list.n, sizeof(*text));
        static const char *const head[COLUMNS] = {"id", "name", "key", "since", "last used"};
        if (!cell || !text) {
            rc = cli_fail_text(args, "no memory");
        } else {
            memcpy(cell, head, sizeof(head));
            for (size_t i = 0; i < list.n; i++) {
                const char **c = cell + (i + 1) * COLUMNS;
                c[0] = list.rows[i].id;
                c[1] = list.rows[i].name;
                c[2] = list.rows[i].prefix;
                c[3] = cli_date(list.rows[i].created_at, text[i][0]);
                c[4] = list.rows[i].last_used_at ? cli_date(list.rows[i].last_used_at, text[i][1]) : "never";
            }
            cli_table(cell, (uint32_t)list.n + 1, COLUMNS, NULL);
        }
        hone_free(cell);
        hone_free(text);
    }
    hone_list_key_free(&list);
    return rc;
}

static int key_rm(const cli_args *args, hone_store *store) {
    hone_error err = {0};
    if (args->n_word < 2) return cli_usage(args, "which one? `hone key list` shows their ids");
    const hone_status status = hone_store_key_delete(store, args->word[1], &err);
    if (status == HONE_ERR_NOT_FOUND) return cli_fail_text(args, "there is no key %s", args->word[1]);
    if (status != HONE_OK) return cli_fail(args, &err);
    if (args->json) return cli_print_json(args, json_pack("{s:s}", "removed", args->word[1]));
    cli_say(args, "removed the key %s", args->word[1]);
    return CLI_OK;
}

static int run_key(const cli_args *args) {
    hone_store *store;
    int rc = cli_store_open(&store, args);
    if (rc != CLI_OK) return rc;
    switch (args->word[0][0]) {
    case 'a': rc = key_add(args, store); break;
    case 'l': rc = key_list(args, store); break;
    default: rc = key_rm(args, store); break;
    }
    hone_store_close(store);
    return rc;
}

static const char *const words[] = {"add", "list", "rm", NULL};

const cli_verb cli_verb_key = {
    .name = "key",
    .usage = "key add [NAME]\nkey list\nkey rm ID",
    .about = "API keys, without which only this machine may call the server",
    .example = "hone key add careers-site",
    .words = words,
    .min_words = 1,
    .max_words = 2,
    .run = run_key,
};
