/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * origin - see origin.h.
 *
 * Nothing here may ask the file system: fstat and fstatfs make a request of a FUSE server, and wait for the answer.
 * F_GET_SEALS is answered by shmem and hugetlbfs alone. For the rest statx tells the mount, and the list of mounts its
 * type. Those of another mount namespace are not in that list: there anybody can mount FUSE, or an overlay on top of
 * it, but nobody without privileges a file system of a block device, which is known by its device number.
 */
#include "core/base/origin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int origin_look(int fd, struct statx *file)
{
    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID, file) < 0 ? -errno : 0;
}

/* Of a line "id parent major:minor root point options [optional]... - type source options" */
static bool is_fuse(const char *line)
{
    const char *type = strstr(line, " - ");

    if (!type)
        return true;
    type += strlen(" - ");
    return !strncmp(type, "fuse", 4) && (type[4] == ' ' || type[4] == '.' || !strncmp(type + 4, "blk", 3));
}

const char *origin_objection_in(FILE *mountinfo, uint64_t id, bool block_device)
{
    static const char unknown[] = "it is on a file system that is not mounted here, so it may be of FUSE";
    const char *objection = block_device ? NULL : unknown;
    char *line = NULL;
    size_t room = 0;

    while (getline(&line, &room, mountinfo) > 0) {
        uint64_t at;

        if (sscanf(line, "%" SCNu64, &at) != 1 || at != id)
            continue;
        objection = is_fuse(line) ? "it is on a FUSE file system" : NULL;
        break;
    }
    free(line);
    return objection;
}

const char *origin_objection(int fd, const struct statx *file)
{
    const char *objection;
    FILE *mountinfo;

    if (fcntl(fd, F_GET_SEALS) >= 0)
        return NULL;
    mountinfo = file->stx_mask & STATX_MNT_ID ? fopen("/proc/self/mountinfo", "re") : NULL;
    if (!mountinfo)
        return file->stx_dev_major ? NULL : "which file system it is on cannot be found out";
    objection = origin_objection_in(mountinfo, file->stx_mnt_id, file->stx_dev_major != 0);
    fclose(mountinfo);
    return objection;
}

static unsigned closers;

static void *close_it(void *arg)
{
    close((int)(intptr_t)arg);
    __atomic_sub_fetch(&closers, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* False: there are too many of them, or there is no thread to be had. */
static bool close_apart(int fd)
{
    pthread_attr_t attributes;
    sigset_t all, former;
    pthread_t thread;
    int error;

    if (__atomic_add_fetch(&closers, 1, __ATOMIC_RELAXED) <= ORIGIN_CLOSERS && !pthread_attr_init(&attributes)) {
        sigfillset(&all);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_sigmask(SIG_SETMASK, &all, &former); /* signals are main's */
        error = pthread_create(&thread, &attributes, close_it, (void *)(intptr_t)fd);
        pthread_sigmask(SIG_SETMASK, &former, NULL);
        pthread_attr_destroy(&attributes);
        if (!error)
            return true;
    }
    __atomic_sub_fetch(&closers, 1, __ATOMIC_RELAXED);
    return false;
}

void origin_close(int fd)
{
    struct statx file;

    if (origin_look(fd, &file) == 0 && (S_ISREG(file.stx_mode) || S_ISDIR(file.stx_mode)) &&
        origin_objection(fd, &file) && close_apart(fd))
        return;
    close(fd);
}
