/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socketpath - default socket paths, and the end of sockets' files. Main's thread.
 */
#include "core/wire/socketpath.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/log.h"

/* The folder must be a real one, ours, and closed to others: a stranger could have made it first. */
static int private_folder(const char *path)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        log_error(NULL, "cannot make the folder %s for sockets: %s; use --socket-path", path, strerror(errno));
        return -errno;
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077)) {
        log_error(NULL, "the folder %s is not private to this user; remove it or use --socket-path", path);
        return -EPERM;
    }
    return 0;
}

/* How many devices of this process have asked for this name before. */
static unsigned times_asked(const char *name)
{
    static char **names;
    static size_t nnames;
    char **grown;
    unsigned times = 0;

    for (size_t i = 0; i < nnames; i++)
        times += strcmp(names[i], name) == 0;
    grown = realloc(names, (nnames + 1) * sizeof *names);
    if (grown) {
        names = grown;
        names[nnames] = strdup(name);
        if (names[nnames])
            nnames++;
    }
    return times;
}

int socketpath_default(char path[SOCKETPATH_MAX], const char *name)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *temporary = getenv("TMPDIR");
    unsigned times = times_asked(name);
    char folder[SOCKETPATH_MAX - 80];
    int n, error;

    if (runtime && runtime[0] == '/')
        n = snprintf(folder, sizeof folder, "%s/vfu", runtime);
    else
        n = snprintf(folder, sizeof folder, "%s/vfu-%u", temporary && temporary[0] == '/' ? temporary : "/tmp",
                     (unsigned)geteuid());
    if (n >= (int)sizeof folder) {
        log_error(NULL, "the folder for sockets has too long a name; use --socket-path");
        return -ENAMETOOLONG;
    }
    error = private_folder(folder);
    if (error)
        return error;
    if (times)
        snprintf(path, SOCKETPATH_MAX, "%s/%.60s-%u.sock", folder, name, times + 1);
    else
        snprintf(path, SOCKETPATH_MAX, "%s/%.60s.sock", folder, name);
    return 0;
}

void socketpath_look(const char *path, struct socketpath_file *file)
{
    struct stat st;

    *file = (struct socketpath_file){ 0 };
    if (lstat(path, &st) == 0)
        *file = (struct socketpath_file){ st.st_dev, st.st_ino };
}

void socketpath_remove(const char *path, const struct socketpath_file *file)
{
    struct stat st;

    if (lstat(path, &st) == 0 && st.st_dev == file->dev && st.st_ino == file->ino)
        unlink(path);
}

const char *socketpath_whole(const char *path, char room[SOCKETPATH_MAX])
{
    struct sockaddr_un address;
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
    int n = here ? snprintf(room, SOCKETPATH_MAX, "%s/%s", strcmp(here, "/") ? here : "", path) : -1;

    free(here);
    return n < 0 || n >= SOCKETPATH_MAX || n >= (int)sizeof address.sun_path ? path : room;
}
