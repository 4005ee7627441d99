/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * follow - reloads devices whose files have changed: see follow.h. Main's thread, but for reload_device, which is the
 * device's, and files_changed, which is any.
 *
 * Folders are watched, not files: editors write beside a file and rename, and what is renamed over is another file. A
 * write that is not closed yet is given more time to end.
 */
#include "core/device/follow.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/device/reload.h"

#define SETTLE_NS UINT64_C(20000000)
#define OPEN_NS UINT64_C(500000000)  /* for a file that is being written */
#define RETRY_NS UINT64_C(1000000000) /* for a folder that is not there */
#define CHANGES (IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO)
#define ENDS (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)

struct folder {
    struct folder *next;
    int wd; /* -1: it is not there */
    bool used;
    char path[];
};

struct watched {
    struct watched *next;
    struct device *dev;
    bool changed;
};

/* One file as a name in a folder. A file with a symbolic link on its way has two. */
struct entry {
    struct entry *next;
    struct folder *folder;
    struct watched *device;
    char name[];
};

struct follow {
    struct loop *loop;
    struct loop_watch inotify;
    struct loop_timer timer;
    struct folder *folders;
    struct watched *devices;
    struct entry *entries;
    bool open;  /* a file is being written */
    bool stale; /* atomic: a device has named a file since the last rescan */
};

/* ---- on the device's thread ---- */

static void reload_device(void *arg)
{
    struct device *dev = arg;
    char why[2];

    __atomic_store_n(&dev->reload_queued, false, __ATOMIC_RELEASE);
    (void)reload_now(dev, why, sizeof why); /* logged */
}

/* ---- what to look at ---- */

static struct folder *folder_of(struct follow *f, const char *path, size_t len)
{
    struct folder *folder = f->folders;

    while (folder && (strlen(folder->path) != len || memcmp(folder->path, path, len) != 0))
        folder = folder->next;
    if (folder)
        return folder;
    folder = calloc(1, sizeof *folder + len + 1);
    if (!folder)
        return NULL;
    memcpy(folder->path, path, len);
    folder->wd = -1;
    folder->next = f->folders;
    f->folders = folder;
    return folder;
}

/* True: it was not there before. */
static bool look_at(struct follow *f, struct folder *folder)
{
    if (folder->wd >= 0)
        return false;
    folder->wd = inotify_add_watch(f->inotify.fd, folder->path, CHANGES | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
    if (folder->wd < 0 && errno == ENOSPC)
        log_warn(NULL, "--reload: %s cannot be watched: raise fs.inotify.max_user_watches", folder->path);
    return folder->wd >= 0;
}

static void add_entry(struct follow *f, struct watched *device, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t len = !slash || slash == path ? 1 : (size_t)(slash - path); /* of ".", "/" or what is before it */
    struct folder *folder = folder_of(f, slash ? path : ".", len);
    struct entry *entry = folder ? calloc(1, sizeof *entry + strlen(name) + 1) : NULL;

    if (!entry)
        return;
    strcpy(entry->name, name);
    entry->folder = folder;
    entry->device = device;
    entry->next = f->entries;
    f->entries = entry;
    folder->used = true;
    look_at(f, folder);
}

static void add_file(struct follow *f, struct watched *device, const char *path)
{
    char real[PATH_MAX];

    add_entry(f, device, path);
    if (realpath(path, real) && strcmp(real, path) != 0)
        add_entry(f, device, real);
}

static void free_entries(struct follow *f)
{
    while (f->entries) {
        struct entry *entry = f->entries;

        f->entries = entry->next;
        free(entry);
    }
}

static void drop_folders(struct follow *f, bool all)
{
    struct folder **link = &f->folders;

    while (*link) {
        struct folder *folder = *link;

        if (folder->used && !all) {
            link = &folder->next;
            continue;
        }
        if (folder->wd >= 0)
            inotify_rm_watch(f->inotify.fd, folder->wd);
        *link = folder->next;
        free(folder);
    }
}

/* The lists of the devices may have changed: all entries anew. */
static void rescan(void *arg)
{
    struct follow *f = arg;

    __atomic_store_n(&f->stale, false, __ATOMIC_RELAXED);
    free_entries(f);
    for (struct folder *folder = f->folders; folder; folder = folder->next)
        folder->used = false;
    for (struct watched *device = f->devices; device; device = device->next) {
        char *path;

        for (unsigned i = 0; (path = files_get(device->dev->files, i)); i++) {
            add_file(f, device, path);
            free(path);
        }
    }
    drop_folders(f, false);
}

static void files_changed(void *ctx)
{
    struct follow *f = ctx;

    __atomic_store_n(&f->stale, true, __ATOMIC_RELEASE);
    (void)loop_post(f->loop, rescan, f);
}

/* ---- what happens ---- */

/* A script that has been deleted may come back. */
static bool all_there(struct watched *device)
{
    char *path = files_get(device->dev->files, 0);
    bool there = path && access(path, F_OK) == 0;

    if (!there && path)
        log_info(device->dev->name, "%s is gone; the device goes on without it", path);
    free(path);
    return there;
}

static bool find_missing(struct follow *f)
{
    bool missing = false;

    for (struct folder *folder = f->folders; folder; folder = folder->next) {
        if (look_at(f, folder)) {
            for (struct entry *entry = f->entries; entry; entry = entry->next)
                entry->device->changed |= entry->folder == folder;
        }
        missing |= folder->wd < 0;
    }
    return missing;
}

/* A device that is busy, or held at a break, reloads once however often its files are saved meanwhile. */
static void ask_device(struct device *dev)
{
    if (!__atomic_exchange_n(&dev->reload_queued, true, __ATOMIC_ACQ_REL) && loop_post(&dev->loop, reload_device, dev))
        __atomic_store_n(&dev->reload_queued, false, __ATOMIC_RELEASE);
}

static void settled(struct loop_timer *timer)
{
    struct follow *f = (struct follow *)((char *)timer - offsetof(struct follow, timer));
    bool missing = find_missing(f);

    f->open = false;
    for (struct watched *device = f->devices; device; device = device->next) {
        if (device->changed && all_there(device))
            ask_device(device->dev);
        device->changed = false;
    }
    rescan(f); /* a symbolic link may lead elsewhere now */
    if (missing)
        (void)loop_arm(f->loop, &f->timer, loop_now() + RETRY_NS);
}

static bool mark(struct follow *f, const struct inotify_event *event)
{
    bool any = false;

    if (event->mask & IN_Q_OVERFLOW) {
        for (struct watched *device = f->devices; device; device = device->next)
            device->changed = any = true;
        return any;
    }
    for (struct folder *folder = f->folders; folder; folder = folder->next) {
        if (folder->wd != event->wd || !(event->mask & ENDS))
            continue;
        if (!(event->mask & IN_IGNORED))
            inotify_rm_watch(f->inotify.fd, folder->wd);
        folder->wd = -1;
        any = true;
    }
    for (struct entry *entry = f->entries; entry && event->len && (event->mask & CHANGES); entry = entry->next) {
        if (entry->folder->wd != event->wd || strcmp(entry->name, event->name) != 0)
            continue;
        entry->device->changed = any = true;
        f->open = !(event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO));
    }
    return any;
}

static void inotify_ready(struct loop_watch *watch, uint32_t ready)
{
    struct follow *f = (struct follow *)((char *)watch - offsetof(struct follow, inotify));
    union {
        struct inotify_event first;
        char bytes[4096];
    } room;
    bool any = false;
    ssize_t n;

    (void)ready;
    /* What has happened may have happened to a file that was named just before. */
    if (__atomic_load_n(&f->stale, __ATOMIC_ACQUIRE))
        rescan(f);
    while ((n = read(watch->fd, room.bytes, sizeof room.bytes)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)(room.bytes + at);

            any |= mark(f, event);
            at += (ssize_t)sizeof *event + event->len;
        }
    }
    if (any)
        (void)loop_arm(f->loop, &f->timer, loop_now() + (f->open ? OPEN_NS : SETTLE_NS));
}

/* ---- life ---- */

int follow_new(struct follow **out, struct loop *loop)
{
    struct follow *f = calloc(1, sizeof *f);
    int error = 0;

    if (!f)
        return -ENOMEM;
    f->loop = loop;
    f->timer.fn = settled;
    f->inotify = (struct loop_watch){
        .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC),
        .events = EPOLLIN,
        .fn = inotify_ready,
    };
    if (f->inotify.fd < 0)
        error = -errno;
    if (!error)
        error = loop_add(loop, &f->inotify);
    if (error) {
        log_error(NULL, "--reload: files cannot be watched: %s", strerror(-error));
        if (f->inotify.fd >= 0)
            close(f->inotify.fd);
        free(f);
        return error;
    }
    *out = f;
    return 0;
}

int follow_device(struct follow *f, struct device *dev)
{
    struct watched *device = calloc(1, sizeof *device);

    if (!device)
        return -ENOMEM;
    device->dev = dev;
    device->next = f->devices;
    f->devices = device;
    files_listen(dev->files, files_changed, f);
    rescan(f);
    return 0;
}

void follow_free(struct follow *f)
{
    if (!f)
        return;
    while (f->devices) {
        struct watched *device = f->devices;

        f->devices = device->next;
        files_listen(device->dev->files, NULL, NULL);
        free(device);
    }
    free_entries(f);
    drop_folders(f, true);
    loop_disarm(f->loop, &f->timer);
    loop_remove(f->loop, &f->inotify);
    close(f->inotify.fd);
    free(f);
}
