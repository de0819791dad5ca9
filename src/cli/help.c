/* help.c - hone help, hone version, hone completion: what the table of verbs says of itself.
 * Order: one verb, all verbs, help, version, completion. */
#include <stdio.h>
#include <string.h>

#include "cli/verbs.h"

static void print_lines(FILE *to, const char *lines, const char *before) {
    while (*lines) {
        const size_t n = strcspn(lines, "\n");
        fprintf(to, "%s%.*s\n", before, (int)n, lines);
        lines += n + (lines[n] == '\n');
    }
}

static void print_options(FILE *to, const cli_option *options) {
    for (const cli_option *o = options; o && o->name; o++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        fprintf(to, "  %-26s %s\n", left, o->about);
    }
}

void cli_help_verb(const cli_verb *verb, FILE *to) {
    fprintf(to, "Example:\n");
    print_lines(to, verb->example, "  ");
    fprintf(to, "\n%s\n\nUsage:\n", verb->about);
    print_lines(to, verb->usage, "  hone ");
    if (verb->options && verb->options->name) {
        fprintf(to, "\nOptions:\n");
        print_options(to, verb->options);
    }
    if (verb->more) {
        fputc('\n', to);
        print_lines(to, verb->more, "");
    }
    fprintf(to, "\nEvery verb takes:\n");
    print_options(to, cli_common);
}

void cli_help_overview(FILE *to) {
    fprintf(to, "hone turns an open model and your own examples into a specialist behind the OpenAI API.\n\n");
    for (const cli_verb *const *v = cli_verbs; *v; v++)
        if (!(*v)->hidden) fprintf(to, "  %-10s %s\n", (*v)->name, (*v)->about);
    fprintf(to, "\n`hone help VERB` shows an example first.  `hone demo` shows the whole journey.\n");
}

static json_t *describe(const cli_verb *v) {
    json_t *options = json_array();
    for (const cli_option *o = v->options; o && o->name; o++)
        json_array_append_new(options,
                              json_pack("{s:s, s:s?, s:s}", "name", o->name, "value", o->value, "about", o->about));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", v->name, "about", v->about, "usage", v->usage, "example",
                     v->example, "options", options);
}

/* docs/commands.md: the same texts as one document; a test holds the file to them. */
static void print_markdown(void) {
    printf("# Commands\n\nMade by `hone help --markdown` from the program's own table of verbs.\n\n"
           "Results go to stdout, everything else to stderr; progress is drawn only on a terminal. The exit status is "
           "0 on "
           "success,\n1 on failure, 2 on wrong usage. NAME is a local name, an alias, a version (`ft:...`), or a path "
           "to a "
           "folder or file.\n\nEvery verb takes:\n\n```\n");
    print_options(stdout, cli_common);
    printf("```\n");
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        if ((*v)->hidden) continue;
        printf("\n## hone %s\n\n%s.\n\n```\n", (*v)->name, (*v)->about);
        print_lines(stdout, (*v)->usage, "hone ");
        printf("\n");
        print_lines(stdout, (*v)->example, "$ ");
        printf("```\n");
        if ((*v)->options) {
            printf("\n```\n");
            print_options(stdout, (*v)->options);
            printf("```\n");
        }
        if ((*v)->more) printf("\n%s\n", (*v)->more);
    }
}

static int run_help(const cli_args *args) {
    if (cli_has(args, "markdown")) {
        print_markdown();
        return CLI_OK;
    }
    if (args->n_word == 0 && args->json) {
        json_t *all = json_array();
        for (const cli_verb *const *v = cli_verbs; *v; v++)
            if (!(*v)->hidden) json_array_append_new(all, describe(*v));
        return cli_print_json(args, json_pack("{s:o}", "verbs", all));
    }
    if (args->n_word == 0) {
        cli_help_overview(stdout);
        return CLI_OK;
    }
    const cli_verb *verb = cli_verb_find(args->word[0]);
    if (!verb) return cli_usage(args, "there is no verb '%s'; `hone help` lists them", args->word[0]);
    if (args->json) return cli_print_json(args, describe(verb));
    cli_help_verb(verb, stdout);
    return CLI_OK;
}

static const cli_option help_options[] = {
    {"markdown", NULL, "all verbs as one document"},
    {NULL, NULL, NULL},
};

const cli_verb cli_verb_help = {
    .name = "help",
    .usage = "help [VERB]",
    .about = "what a verb does, an example first",
    .example = "hone help train",
    .options = help_options,
    .max_words = 1,
    .run = run_help,
};

/* Version ----------------------------------------------------------------------------------------------------------*/

static int run_version(const cli_args *args) {
    if (args->json) return cli_print_json(args, json_pack("{s:s, s:s}", "name", "hone", "version", HONE_VERSION));
    printf("hone %s\n", HONE_VERSION);
    return CLI_OK;
}

const cli_verb cli_verb_version = {
    .name = "version",
    .usage = "version",
    .about = "the version of this program",
    .example = "hone version",
    .run = run_version,
};

/* Completion: the build writes its output to share/bash-completion/completions/hone --------------------------------*/

static void print_options_of(const cli_option *options) {
    for (const cli_option *o = options; o && o->name; o++) printf(" --%s", o->name);
}

static int run_completion(const cli_args *args) {
    (void)args;
    printf("# bash completion for hone; made by `hone completion` from the program's own table of verbs\n"
           "_hone() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} words=\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W '");
    for (const cli_verb *const *v = cli_verbs; *v; v++)
        if (!(*v)->hidden) printf("%s%s", v == cli_verbs ? "" : " ", (*v)->name);
    printf("' -- \"$cur\"))\n"
           "        return\n"
           "    fi\n"
           "    case $verb:$prev in\n");
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        if ((*v)->hidden) continue;
        for (const cli_option *o = (*v)->options; o && o->name; o++) {
            if (!o->value) continue;
            /* Where a model is asked for, names of local models and files; elsewhere files. */
            if (strcmp(o->value, "NAME") == 0)
                printf(
                    "    %s:--%s) COMPREPLY=($(compgen -W \"$(hone models --names --quiet 2>/dev/null)\" -- \"$cur\") "
                    "$(compgen -f -- \"$cur\")); return ;;\n",
                    (*v)->name, o->name);
            else
                printf("    %s:--%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", (*v)->name, o->name);
        }
    }
    printf("    *:--home) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n"
           "    esac\n"
           "    case $verb in\n");
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        if ((*v)->hidden) continue;
        printf("    %s) words=' ", (*v)->name);
        for (const char *const *w = (*v)->words; w && *w; w++) printf("%s ", *w);
        if (*v == &cli_verb_help)
            for (const cli_verb *const *w = cli_verbs; *w; w++)
                if (!(*w)->hidden) printf("%s ", (*w)->name);
        printf("--json --home --quiet --help");
        print_options_of((*v)->options);
        printf("' ;;\n");
    }
    printf("    esac\n"
           "    case $cur in\n"
           "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
           "    *) COMPREPLY=($(compgen -W \"${words%%%% --*}\" -- \"$cur\") $(compgen -f -- \"$cur\")) ;;\n"
           "    esac\n"
           "}\n"
           "complete -o filenames -F _hone hone\n");
    return CLI_OK;
}

const cli_verb cli_verb_completion = {
    .name = "completion",
    .usage = "completion",
    .about = "the bash completion, made from this program's own table",
    .example = "hone completion >/etc/bash_completion.d/hone",
    .hidden = true,
    .run = run_completion,
};
