/* folder.h - a temporary folder for a test, removed with all that is in it. */
#ifndef HONE_TESTS_FOLDER_H
#define HONE_TESTS_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

typedef struct {
    char path[64];
    char at[256]; /* room for folder_at() */
} folder;

static inline void folder_make(folder *f) {
    snprintf(f->path, sizeof(f->path), "/tmp/hone-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

static inline const char *folder_at(folder *f, const char *name) {
    snprintf(f->at, sizeof(f->at), "%s/%s", f->path, name);
    return f->at;
}

static inline int folder_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void folder_remove(folder *f) {
    nftw(f->path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
