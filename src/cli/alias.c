/* alias.c - hone alias: a name of the team's own for a model or a version. */
#include "cli/store.h"
#include "cli/verbs.h"
#include "lab/registry.h"

static int run(const cli_args *args) {
    hone_store *store;
    hone_error err = {0};
    hone_resolved where = {0};
    int rc = cli_store_open(&store, args);
    if (rc != CLI_OK) return rc;
    hone_status status = hone_registry_point(store, args->word[0], args->word[1], &err);
    if (status == HONE_OK) status = hone_registry_resolve(store, args->word[0], false, &where, &err);
    if (status != HONE_OK)
        rc = cli_fail(args, &err);
    else if (args->json)
        rc = cli_print_json(args, json_pack("{s:s, s:s}", "name", args->word[0], "version", where.version));
    else
        cli_say(args, "%s is %s from the next request on", args->word[0], where.version);
    hone_resolved_free(&where);
    hone_store_close(store);
    return rc;
}

const cli_verb cli_verb_alias = {
    .name = "alias",
    .usage = "alias NAME TARGET",
    .about = "let a name stand for a model or a version",
    .example = "hone alias extract ft:smollm2:org:skills:7f3a",
    .more =
        "A name that is an alias already moves: the next request gets the new version, replies that run keep theirs.\n"
        "`hone rm NAME` takes the alias away, not what it points at.",
    .min_words = 2,
    .max_words = 2,
    .run = run,
};
