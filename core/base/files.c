/* SPDX-License-Identifier: BSD-3-Clause */
/* files - the files that a device's plugin is made of: see files.h. Any thread. */
#include "core/base/files.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct file {
    char *path;
    unsigned round; /* of reloads: the last in which it was added */
};

struct files {
    pthread_mutex_t lock;
    struct file *list;
    unsigned n, room, round;
    void (*added)(void *ctx);
    void *ctx;
};

int files_new(struct files **out)
{
    struct files *files = calloc(1, sizeof *files);

    if (!files)
        return -ENOMEM;
    if (pthread_mutex_init(&files->lock, NULL)) {
        free(files);
        return -ENOMEM;
    }
    *out = files;
    return 0;
}

void files_free(struct files *files)
{
    if (!files)
        return;
    for (unsigned i = 0; i < files->n; i++)
        free(files->list[i].path);
    free(files->list);
    pthread_mutex_destroy(&files->lock);
    free(files);
}

static struct file *find(struct files *files, const char *path)
{
    for (unsigned i = 0; i < files->n; i++) {
        if (strcmp(files->list[i].path, path) == 0)
            return &files->list[i];
    }
    return NULL;
}

/* With the lock held. */
static int append(struct files *files, const char *path)
{
    if (files->n >= FILES_MAX)
        return -ENOSPC;
    if (files->n == files->room) {
        unsigned room = files->room ? 2 * files->room : 4;
        struct file *grown = realloc(files->list, room * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        files->list = grown;
        files->room = room;
    }
    files->list[files->n] = (struct file){ strdup(path), files->round };
    if (!files->list[files->n].path)
        return -ENOMEM;
    files->n++;
    return 0;
}

int files_add(struct files *files, const char *path)
{
    void (*added)(void *ctx) = NULL;
    struct file *file;
    void *ctx = NULL;
    int error = 0;

    if (!path || !*path)
        return -EINVAL;
    pthread_mutex_lock(&files->lock);
    file = find(files, path);
    if (file) {
        file->round = files->round;
    } else {
        error = append(files, path);
        added = error ? NULL : files->added;
        ctx = files->ctx;
    }
    pthread_mutex_unlock(&files->lock);
    if (added)
        added(ctx);
    return error;
}

void files_begin(struct files *files)
{
    pthread_mutex_lock(&files->lock);
    files->round++;
    pthread_mutex_unlock(&files->lock);
}

void files_end(struct files *files, bool forget)
{
    unsigned kept = 0;

    pthread_mutex_lock(&files->lock);
    for (unsigned i = 0; forget && i < files->n; i++) {
        if (files->list[i].round == files->round)
            files->list[kept++] = files->list[i];
        else
            free(files->list[i].path);
    }
    if (forget)
        files->n = kept;
    pthread_mutex_unlock(&files->lock);
}

char *files_get(struct files *files, unsigned n)
{
    char *path = NULL;

    pthread_mutex_lock(&files->lock);
    if (n < files->n)
        path = strdup(files->list[n].path);
    pthread_mutex_unlock(&files->lock);
    return path;
}

void files_listen(struct files *files, void (*added)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&files->lock);
    files->added = added;
    files->ctx = ctx;
    pthread_mutex_unlock(&files->lock);
}
