/* args.c - from argv to checked values, by the verb's own table; the contract is in cli.h.
 * Refuses: unknown options, options without their value, too few or too many words.
 * Order: parse, look up, typed values, the state folder. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"

const cli_option cli_common[] = {
    {"json", NULL, "one JSON object on stdout, for programs"},
    {"home", "DIR", "the state folder (default: $HONE_HOME, else ~/.local/share/hone)"},
    {"quiet", NULL, "no lines for people on stderr"},
    {"help", NULL, "this text"},
    {NULL, NULL, NULL},
};

static const cli_option *find(const cli_option *options, const char *name, size_t n) {
    for (const cli_option *o = options; o && o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0) return o;
    return NULL;
}

/* --name, --name=value or --name value; *i moves over what was used. */
static int take_option(cli_args *out, int argc, char **argv, int *i) {
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    const size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const cli_option *o = find(out->verb->options, name, n);
    if (!o) o = find(cli_common, name, n);
    if (!o)
        return cli_usage(out, "unknown option --%.*s; see `hone help %s`", (int)(n > 60 ? 60 : n), name,
                         out->verb->name);
    const char *value = "";
    if (o->value) {
        if (!equals && *i + 1 >= argc) return cli_usage(out, "--%s needs a value: %s", o->name, o->value);
        value = equals ? equals + 1 : argv[++*i];
    } else if (equals) {
        return cli_usage(out, "--%s takes no value", o->name);
    }
    out->given[out->n_given++] = (cli_given){o->name, value};
    return CLI_OK;
}

static bool known_word(const char *const *words, const char *word) {
    for (; *words; words++)
        if (strcmp(*words, word) == 0) return true;
    return false;
}

static int check_words(const cli_args *a) {
    const cli_verb *v = a->verb;
    if (a->n_word < v->min_words) return cli_usage(a, "too few words; usage: hone %s", v->usage);
    if (a->n_word > v->max_words)
        return cli_usage(a, "'%s' is one word too many; usage: hone %s", a->word[v->max_words], v->usage);
    if (v->words && a->n_word && !known_word(v->words, a->word[0]))
        return cli_usage(a, "there is no `hone %s %s`; see `hone help %s`", v->name, a->word[0], v->name);
    return CLI_OK;
}

int cli_args_parse(cli_args *out, const cli_verb *verb, const char *program, int argc, char **argv) {
    *out = (cli_args){.verb = verb, .program = program};
    out->word = hone_zalloc((size_t)argc + 1, sizeof(*out->word));
    out->given = hone_zalloc((size_t)argc + 1, sizeof(*out->given));
    if (!out->word || !out->given) {
        fprintf(stderr, "hone: no memory\n");
        return CLI_FAILED;
    }
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strcmp(argv[i], "-h") == 0) {
            out->given[out->n_given++] = (cli_given){"help", ""};
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            const int rc = take_option(out, argc, argv, &i);
            if (rc != CLI_OK) return rc;
        } else {
            out->word[out->n_word++] = argv[i];
        }
    }
    out->json = cli_has(out, "json");
    out->quiet = cli_has(out, "quiet");
    return cli_has(out, "help") ? CLI_OK : check_words(out);
}

void cli_args_free(cli_args *args) {
    hone_free(args->word);
    hone_free(args->given);
    *args = (cli_args){0};
}

/* Look up ----------------------------------------------------------------------------------------------------------*/

const char *cli_get(const cli_args *args, const char *name) {
    const char *value = NULL;
    for (uint32_t i = 0; i < args->n_given; i++)
        if (strcmp(args->given[i].name, name) == 0) value = args->given[i].value;
    return value;
}

bool cli_has(const cli_args *args, const char *name) {
    return cli_get(args, name) != NULL;
}

const char *cli_nth(const cli_args *args, const char *name, uint32_t i) {
    for (uint32_t g = 0; g < args->n_given; g++)
        if (strcmp(args->given[g].name, name) == 0 && i-- == 0) return args->given[g].value;
    return NULL;
}

const char *cli_need(const cli_args *args, const char *name) {
    const char *value = cli_get(args, name);
    if (!value) cli_usage(args, "--%s is missing; see `hone help %s`", name, args->verb->name);
    return value;
}

/* Typed values -----------------------------------------------------------------------------------------------------*/

bool cli_uint(const cli_args *args, const char *name, uint64_t min, uint64_t max, uint64_t *value) {
    const char *text = cli_get(args, name);
    if (!text) return true;
    char *end = NULL;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    /* strtoull takes blanks and a minus sign; a count has neither. */
    if (text[0] < '0' || text[0] > '9' || *end || errno || n < min || n > max) {
        cli_usage(args, "--%s %s: must be a whole number between %llu and %llu", name, text, (unsigned long long)min,
                  (unsigned long long)max);
        return false;
    }
    *value = n;
    return true;
}

bool cli_u32(const cli_args *args, const char *name, uint32_t min, uint32_t max, uint32_t *value) {
    uint64_t wide = *value;
    if (!cli_uint(args, name, min, max, &wide)) return false;
    *value = (uint32_t)wide;
    return true;
}

bool cli_real(const cli_args *args, const char *name, double min, double max, double *value) {
    const char *text = cli_get(args, name);
    if (!text) return true;
    char *end = NULL;
    const double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x) || x < min || x > max) {
        cli_usage(args, "--%s %s: must be a number between %g and %g", name, text, min, max);
        return false;
    }
    *value = x;
    return true;
}

bool cli_int_list(const cli_args *args, const char *name, int64_t min, int64_t max, int64_t **out, size_t *n) {
    *out = NULL;
    *n = 0;
    const char *text = cli_get(args, name);
    size_t cap = 0;
    while (text && *text) {
        char *end = NULL;
        errno = 0;
        const long long x = strtoll(text, &end, 10);
        if (end == text || errno || (*end && *end != ',') || x < min || x > max) {
            cli_usage(args, "--%s: '%.20s' is no whole number between %lld and %lld", name, text, (long long)min,
                      (long long)max);
            hone_free(*out);
            *out = NULL;
            return false;
        }
        if (!hone_grow(out, &cap, *n, sizeof(**out))) {
            cli_fail_text(args, "no memory");
            hone_free(*out);
            *out = NULL;
            return false;
        }
        (*out)[(*n)++] = x;
        text = *end ? end + 1 : end;
    }
    return true;
}

/* The state folder -------------------------------------------------------------------------------------------------*/

char *cli_home(const cli_args *args) {
    const char *given = cli_get(args, "home");
    if (!given) given = getenv("HONE_HOME");
    char *path = NULL;
    if (given && *given) {
        path = hone_strdup(given);
    } else {
        const char *home = getenv("HOME");
        if (!home || !*home) {
            cli_fail_text(args, "neither --home nor HONE_HOME nor HOME is set");
            return NULL;
        }
        path = hone_path_join(home, ".local/share/hone");
    }
    if (!path) cli_fail_text(args, "no memory");
    return path;
}
