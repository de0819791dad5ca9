/* home.c - the state folder; the contract is in home.h.
 * Order: where it is, making it, the controller's lock.
 *
 * The lock is an open-file-description lock (fcntl F_OFD_SETLK) on run/controller.pid: it ends with the process,
 * survives a fork, and can be asked about without being taken, so that a guest that looks never gets in a controller's
 * way. */
#include "store/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

struct hone_home {
    char *path, *db, *artifacts, *journal, *run, *pid_file;
    int lock; /* descriptor, -1: not held */
};

/* ---- where it is ---- */

static char *default_path(hone_error *err) {
    const char *given = getenv("HONE_HOME"), *user = getenv("HOME");
    char *path = NULL;
    if (given && *given)
        path = hone_strdup(given);
    else if (user && *user)
        path = hone_path_join(user, ".local/share/hone");
    else {
        hone_fail(err, HONE_ERR_ARG, "no state folder: give --home DIR, or set HONE_HOME or HOME");
        return NULL;
    }
    if (!path) hone_fail(err, HONE_ERR_NOMEM, "no memory");
    return path;
}

static hone_status absolute(char **out, const char *path, hone_error *err) {
    char *real = realpath(path, NULL);
    if (!real) return hone_fail(err, HONE_ERR_IO, "%s: %s", path, strerror(errno));
    *out = hone_strdup(real);
    free(real); /* the C library's own, not from mem.h */
    return *out ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory");
}

/* ---- the lock ---- */

static struct flock whole_file(short type) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET};
}

/* The pid in the file; a controller that has just started may not have written it yet. */
static int read_pid(int fd) {
    for (int tries = 0; tries < 20; tries++) {
        char text[32] = {0};
        if (pread(fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) > 0) return atoi(text);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return 0;
}

static hone_status lock(hone_home *home, hone_error *err) {
    struct flock l = whole_file(F_WRLCK);
    home->lock = open(home->pid_file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (home->lock < 0) return hone_fail(err, HONE_ERR_IO, "%s: %s", home->pid_file, strerror(errno));
    if (fcntl(home->lock, F_OFD_SETLK, &l) != 0) {
        const int e = errno, pid = e == EAGAIN || e == EACCES ? read_pid(home->lock) : 0;
        close(home->lock);
        home->lock = -1;
        if (e == EAGAIN || e == EACCES)
            return hone_fail(err, HONE_ERR_BUSY,
                             "%s: in use by another controller, pid %d: stop it, or choose another --home", home->path,
                             pid);
        return hone_fail(err, HONE_ERR_IO, "%s: cannot lock: %s", home->pid_file, strerror(e));
    }
    char text[32];
    const int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(home->lock, 0) != 0 || pwrite(home->lock, text, (size_t)n, 0) != n)
        return hone_fail(err, errno == ENOSPC || errno == EDQUOT ? HONE_ERR_FULL : HONE_ERR_IO, "%s: %s",
                         home->pid_file, strerror(errno));
    return HONE_OK;
}

int hone_home_controller(const hone_home *home) {
    if (home->lock >= 0) return (int)getpid();
    const int fd = open(home->pid_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    struct flock l = whole_file(F_RDLCK);
    const int pid = fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK ? read_pid(fd) : 0;
    close(fd);
    return pid;
}

/* ---- making it ---- */

static hone_status make_part(char **out, const char *home, const char *name, bool is_folder, hone_error *err) {
    *out = hone_path_join(home, name);
    if (!*out) return hone_fail(err, HONE_ERR_NOMEM, "no memory");
    return is_folder ? hone_folder_make(*out, err) : HONE_OK;
}

hone_status hone_home_open(hone_home **out, const char *path, hone_home_role role, hone_error *err) {
    *out = NULL;
    char *chosen = path ? hone_strdup(path) : default_path(err);
    if (!chosen) return path ? hone_fail(err, HONE_ERR_NOMEM, "no memory") : err ? err->code : HONE_ERR_ARG;
    hone_home *home = hone_zalloc(1, sizeof(*home));
    hone_status status = home ? HONE_OK : hone_fail(err, HONE_ERR_NOMEM, "no memory");
    if (home) home->lock = -1;
    if (status == HONE_OK) status = hone_folder_make(chosen, err);
    if (status == HONE_OK) status = absolute(&home->path, chosen, err);
    if (status == HONE_OK) status = make_part(&home->db, home->path, "hone.db", false, err);
    if (status == HONE_OK) status = make_part(&home->artifacts, home->path, "artifact", true, err);
    if (status == HONE_OK) status = make_part(&home->journal, home->path, "journal", true, err);
    if (status == HONE_OK) status = make_part(&home->run, home->path, "run", true, err);
    if (status == HONE_OK) status = make_part(&home->pid_file, home->run, "controller.pid", false, err);
    if (status == HONE_OK && role == HONE_HOME_CONTROLLER) status = lock(home, err);
    hone_free(chosen);
    if (status != HONE_OK) {
        hone_home_close(home);
        return status;
    }
    *out = home;
    return HONE_OK;
}

void hone_home_close(hone_home *home) {
    if (!home) return;
    if (home->lock >= 0) close(home->lock); /* the file stays: removing it would race with the next controller's lock */
    hone_free(home->path);
    hone_free(home->db);
    hone_free(home->artifacts);
    hone_free(home->journal);
    hone_free(home->run);
    hone_free(home->pid_file);
    hone_free(home);
}

const char *hone_home_path(const hone_home *home) {
    return home->path;
}
const char *hone_home_db(const hone_home *home) {
    return home->db;
}
const char *hone_home_artifacts(const hone_home *home) {
    return home->artifacts;
}
const char *hone_home_journal(const hone_home *home) {
    return home->journal;
}
const char *hone_home_run(const hone_home *home) {
    return home->run;
}
