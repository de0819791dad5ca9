/* sandbox.c - Landlock and seccomp; the contract is in sandbox.h. */
#include "fleet/sandbox.h"

#include <errno.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Every file right of Landlock's first version; a rule set without rules then allows none of them. */
static int landlock(void) {
    const struct landlock_ruleset_attr all = {
        .handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
                             LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                             LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                             LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                             LANDLOCK_ACCESS_FS_MAKE_SYM};
    const int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
    if (fd < 0) return errno;
    const int rc = syscall(SYS_landlock_restrict_self, fd, 0) == 0 ? 0 : errno;
    close(fd);
    return rc;
}

/* A list of what is refused rather than of what is allowed: a library that uses one more harmless call after an upgrade
 * must not kill a copy in production. */
static int filter(void) {
    static const int refused[] = {SCMP_SYS(open),
                                  SCMP_SYS(openat),
                                  SCMP_SYS(openat2),
                                  SCMP_SYS(creat),
                                  SCMP_SYS(socket),
                                  SCMP_SYS(socketpair),
                                  SCMP_SYS(connect),
                                  SCMP_SYS(bind),
                                  SCMP_SYS(listen),
                                  SCMP_SYS(accept),
                                  SCMP_SYS(accept4),
                                  SCMP_SYS(execve),
                                  SCMP_SYS(execveat),
                                  SCMP_SYS(fork),
                                  SCMP_SYS(vfork),
                                  SCMP_SYS(ptrace),
                                  SCMP_SYS(process_vm_readv),
                                  SCMP_SYS(process_vm_writev),
                                  SCMP_SYS(unlink),
                                  SCMP_SYS(unlinkat),
                                  SCMP_SYS(rename),
                                  SCMP_SYS(renameat),
                                  SCMP_SYS(renameat2),
                                  SCMP_SYS(mkdir),
                                  SCMP_SYS(mkdirat),
                                  SCMP_SYS(link),
                                  SCMP_SYS(linkat),
                                  SCMP_SYS(symlink),
                                  SCMP_SYS(symlinkat),
                                  SCMP_SYS(mount),
                                  SCMP_SYS(umount2),
                                  SCMP_SYS(bpf),
                                  SCMP_SYS(io_uring_setup)};
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    if (!ctx) return ENOMEM;
    int rc = 0;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]) && rc == 0; i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
        if (rc == -EDOM || rc == -EINVAL) rc = 0; /* a call that this libseccomp or machine does not know */
    }
    if (rc == 0) rc = seccomp_load(ctx);
    seccomp_release(ctx);
    return -rc;
}

void hone_sandbox_enter(char *text, size_t n) {
    int land = EPERM, sec = EPERM;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) {
        land = landlock();
        sec = filter();
    }
    if (land == 0 && sec == 0)
        snprintf(text, n, "landlock, seccomp");
    else if (land == 0 || sec == 0)
        snprintf(text, n, "%s; no %s here: %s", land == 0 ? "landlock" : "seccomp", land ? "landlock" : "seccomp",
                 strerror(land ? land : sec));
    else
        snprintf(text, n, "none; landlock: %s", strerror(land));
}
