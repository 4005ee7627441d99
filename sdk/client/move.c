/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * move - the commands migrate, snapshot and restore: a device's state from one server to another, to a file, from a
 * file.
 *
 * A file is a header and the state as the server gave it. The header says which device the state is of, how long it
 * is, and a checksum of everything; a file that is not whole never gets its name, and one that is damaged or another
 * device's never reaches a device. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REGIONS 9u
#define MAGIC "VFUSTATE"
#define VERSION 1u
#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

/* Which device it is: two that agree take each other's state, as far as can be seen from outside. */
struct move_identity {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_revision;
    uint32_t nregions;
    uint64_t sizes[REGIONS];
};

/* Little-endian, as all of the protocol. */
struct move_header {
    char magic[8];
    uint32_t version;
    uint32_t size; /* of this header: the state begins there */
    struct move_identity identity;
    uint64_t length;   /* of the state */
    uint64_t checksum; /* FNV-1a, 64 bits, of this header, with 0 here, and the state */
};
_Static_assert(sizeof(struct move_header) == 120, "no padding");

static uint64_t move_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t move_sum(uint64_t sum, const void *data, size_t size)
{
    const uint8_t *byte = data;

    for (size_t i = 0; i < size; i++)
        sum = (sum ^ byte[i]) * FNV_PRIME;
    return sum;
}

__attribute__((format(printf, 1, 2))) static int move_fail(const char *format, ...)
{
    va_list args;

    fputs("vfu-client: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return EXIT_FAILURE;
}

/* ---- who it is ---- */

static uint32_t move_u16(const uint8_t *p)
{
    return (uint32_t)(p[0] | p[1] << 8);
}

static int move_identify(struct vfuc *c, struct move_identity *id)
{
    struct vfuc_device device;
    uint8_t config[64] = { 0 };
    int err = vfuc_device_info(c, &device);

    memset(id, 0, sizeof *id);
    id->nregions = err ? 0 : device.num_regions < REGIONS ? device.num_regions : REGIONS;
    for (uint32_t i = 0; i < id->nregions && !err; i++) {
        struct vfuc_region region;

        err = vfuc_region_info(c, i, &region, NULL, 0);
        /* A server may count VGA and still refuse to speak of it. */
        if (err == -EINVAL && i == VFUC_VGA)
            return 0;
        if (!err && region.fd >= 0)
            close(region.fd);
        id->sizes[i] = err ? 0 : region.size;
    }
    if (err || id->sizes[VFUC_CONFIG] < sizeof config)
        return err;
    err = vfuc_read(c, VFUC_CONFIG, 0, config, sizeof config);
    id->vendor = (uint16_t)move_u16(config);
    id->device = (uint16_t)move_u16(config + 2);
    id->class_revision = move_u16(config + 8) | move_u16(config + 10) << 16;
    id->subsystem_vendor = (uint16_t)move_u16(config + 0x2c);
    id->subsystem = (uint16_t)move_u16(config + 0x2e);
    return err;
}

/* Where they differ, in words; NULL if they do not. */
static const char *move_differs(const struct move_identity *a, const struct move_identity *b, char *text, size_t room)
{
    if (a->vendor != b->vendor || a->device != b->device)
        snprintf(text, room, "%04x:%04x, not %04x:%04x", a->vendor, a->device, b->vendor, b->device);
    else if (a->subsystem_vendor != b->subsystem_vendor || a->subsystem != b->subsystem)
        snprintf(text, room, "of subsystem %04x:%04x, not %04x:%04x", a->subsystem_vendor, a->subsystem,
                 b->subsystem_vendor, b->subsystem);
    else if (a->class_revision != b->class_revision)
        snprintf(text, room, "of class and revision %08x, not %08x", a->class_revision, b->class_revision);
    else {
        for (uint32_t i = 0; i < REGIONS; i++) {
            if (a->sizes[i] == b->sizes[i])
                continue;
            snprintf(text, room, "one whose region %u has 0x%" PRIx64 " bytes, not 0x%" PRIx64, i, a->sizes[i],
                     b->sizes[i]);
            return text;
        }
        return NULL;
    }
    return text;
}

/* ---- what came of it ---- */

static void move_report(const struct settings *s, const char *what, const struct vfuc_transfer *t, uint64_t stood,
                        uint64_t whole)
{
    if (s->json)
        printf("{\"done\": \"%s\", \"bytes\": %" PRIu64 ", \"bytes_while_running\": %" PRIu64
               ", \"stopped_ns\": %" PRIu64 ", \"total_ns\": %" PRIu64 "}\n",
               what, t->running_bytes + t->stopped_bytes, t->running_bytes, stood, whole);
    else
        printf("%s: %" PRIu64 " bytes, %" PRIu64 " of them while it ran; it stood still for %.3f ms of %.3f ms\n", what,
               t->running_bytes + t->stopped_bytes, t->running_bytes, (double)stood / 1e6, (double)whole / 1e6);
}

/* ---- migrate ---- */

static int move_to_client(void *ctx, const void *data, size_t size)
{
    return vfuc_migration_write(ctx, data, size);
}

/* The target gave up: it is brought to where it can be used again, and the source runs on. */
static int move_undo(struct vfuc *from, struct vfuc *to, const char *why)
{
    int runs = vfuc_migration_set(from, VFUC_MIG_RUNNING);

    move_fail("%s", why);
    vfuc_reset(to);
    return move_fail("the source %s", runs ? vfuc_error(from) : "runs on as if nothing had happened");
}

static int move_state(const struct settings *s, struct vfuc *from, struct vfuc *to, const char *from_path,
                      const char *to_path)
{
    struct vfuc_transfer t = { .struct_size = sizeof t };
    uint64_t start = move_now(), stood;
    char text[600];
    int err = vfuc_migration_set(to, VFUC_MIG_RESUMING);

    if (err) {
        snprintf(text, sizeof text, "%s: %s", to_path, vfuc_error(to));
        return move_undo(from, to, text);
    }
    err = vfuc_save(from, &t, move_to_client, to);
    if (err) {
        bool target = *vfuc_error(to);

        snprintf(text, sizeof text, "%s: %s", target ? to_path : from_path, vfuc_error(target ? to : from));
        return move_undo(from, to, text);
    }
    err = vfuc_migration_set(to, VFUC_MIG_STOP);
    if (!err)
        err = vfuc_migration_set(to, VFUC_MIG_RUNNING);
    if (err) {
        snprintf(text, sizeof text, "%s: %s", to_path, vfuc_error(to));
        return move_undo(from, to, text);
    }
    stood = move_now() - t.stopped_at;
    /* There is one of it, and it is there now: what stays behind must not go on with the same work. */
    if (vfuc_reset(from) < 0)
        move_fail("%s: it has moved, but what stays behind cannot be reset: %s", from_path, vfuc_error(from));
    move_report(s, "moved", &t, stood, move_now() - start);
    return 0;
}

static int move_check(struct vfuc *from, struct vfuc *to, const char *from_path, const char *to_path)
{
    struct move_identity a, b;
    uint64_t flags;
    char text[160];

    if (move_identify(from, &a) < 0 || vfuc_migration_flags(from, &flags) < 0)
        return move_fail("%s: %s", from_path, vfuc_error(from));
    if (move_identify(to, &b) < 0 || vfuc_migration_flags(to, &flags) < 0)
        return move_fail("%s: %s", to_path, vfuc_error(to));
    if (move_differs(&a, &b, text, sizeof text))
        return move_fail("%s is another device than %s: it is %s", from_path, to_path, text);
    return 0;
}

int move_migrate(const struct settings *s, const char *from_path, const char *to_path)
{
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = s->timeout_ns };
    struct vfuc *from = vfuc_new(&options), *to = vfuc_new(&options);
    struct settings here = *s;
    int status = EXIT_FAILURE;

    if (!from || !to) {
        move_fail("out of memory");
        goto out;
    }
    here.socket = from_path;
    status = main_connect(from, &here);
    here.socket = to_path;
    if (!status)
        status = main_connect(to, &here);
    if (!status)
        status = move_check(from, to, from_path, to_path);
    if (!status)
        status = move_state(s, from, to, from_path, to_path);
out:
    vfuc_free(from);
    vfuc_free(to);
    return status;
}

/* ---- snapshot ---- */

struct move_file {
    const char *path;
    int fd;
    uint64_t length, sum;
    int error; /* errno of the file */
};

static int move_write_all(int fd, const void *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        data = (const uint8_t *)data + n;
        size -= (size_t)n;
    }
    return 0;
}

static int move_to_file(void *ctx, const void *data, size_t size)
{
    struct move_file *file = ctx;
    int err = move_write_all(file->fd, data, size);

    file->length += size;
    file->error = -err;
    return err;
}

static uint64_t move_header_sum(const struct move_header *header)
{
    struct move_header zero = *header;

    zero.checksum = 0;
    return move_sum(FNV_START, &zero, sizeof zero);
}

/* The sum begins with the header, which is known last: the state is read back for it, from the page cache. */
static int move_seal(struct move_file *file, struct move_header *header)
{
    static uint8_t piece[65536];
    uint64_t sum;
    off_t at = sizeof *header;

    header->length = file->length;
    sum = move_header_sum(header);
    for (uint64_t left = file->length; left;) {
        ssize_t n = pread(file->fd, piece, left < sizeof piece ? left : sizeof piece, at);

        if (n <= 0)
            return n ? -errno : -EIO;
        sum = move_sum(sum, piece, (size_t)n);
        at += n;
        left -= (uint64_t)n;
    }
    header->checksum = sum;
    if (pwrite(file->fd, header, sizeof *header, 0) != (ssize_t)sizeof *header)
        return errno ? -errno : -EIO;
    return fsync(file->fd) < 0 ? -errno : 0;
}

/* The device runs again as soon as its state is out. */
static int move_take(struct vfuc *c, const struct settings *s, struct move_file *file)
{
    struct move_header header = { .magic = MAGIC, .version = VERSION, .size = sizeof header };
    struct vfuc_transfer t = { .struct_size = sizeof t };
    uint64_t start = move_now(), stood;
    int err = move_identify(c, &header.identity);

    if (err)
        return main_failed(s, c);
    err = move_write_all(file->fd, &header, sizeof header);
    if (err)
        return move_fail("cannot write %s: %s", file->path, strerror(-err));
    err = vfuc_save(c, &t, move_to_file, file);
    if (err && file->error)
        return move_fail("cannot write %s: %s", file->path, strerror(file->error));
    if (!err)
        err = vfuc_migration_set(c, VFUC_MIG_RUNNING);
    if (err)
        return main_failed(s, c);
    stood = move_now() - t.stopped_at;
    err = move_seal(file, &header);
    if (err)
        return move_fail("cannot write %s: %s", file->path, strerror(-err));
    move_report(s, "saved", &t, stood, move_now() - start);
    return 0;
}

int move_snapshot(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    struct move_file file = { .path = argv[0] };
    struct stat st;
    char *name;
    int status;

    (void)argc;
    if (!c)
        return 0;
    /* The rename would put a file where it stands. */
    if (stat(file.path, &st) == 0 && !S_ISREG(st.st_mode))
        return move_fail("%s is no regular file, and is left as it is", file.path);
    if (asprintf(&name, "%s.XXXXXX", file.path) < 0)
        return move_fail("out of memory");
    file.fd = mkostemp(name, O_CLOEXEC);
    if (file.fd < 0) {
        status = move_fail("cannot make a file beside %s: %s", file.path, strerror(errno));
        free(name);
        return status;
    }
    status = move_take(c, s, &file);
    if (!status && rename(name, file.path) < 0)
        status = move_fail("cannot give the file its name %s: %s", file.path, strerror(errno));
    if (status)
        unlink(name);
    close(file.fd);
    free(name);
    return status;
}

/* ---- restore ---- */

static int move_from_file(void *ctx, void *data, size_t max)
{
    struct move_file *file = ctx;
    size_t n = file->length < max ? (size_t)file->length : max;
    ssize_t r;

    if (!n)
        return 0;
    do {
        r = read(file->fd, data, n);
    } while (r < 0 && errno == EINTR);
    if (r <= 0) {
        file->error = r ? errno : EIO;
        return -file->error;
    }
    file->length -= (uint64_t)r;
    return (int)r;
}

/* 0: a whole file, which was read through, and stands at the beginning of the state again. */
static int move_open(struct move_file *file, struct move_header *header)
{
    static uint8_t piece[65536];
    struct stat st;
    ssize_t n;
    int r;

    if (fstat(file->fd, &st) < 0 || !S_ISREG(st.st_mode))
        return move_fail("%s is no regular file", file->path);
    n = read(file->fd, header, sizeof *header);
    if (n < 0)
        return move_fail("cannot read %s: %s", file->path, strerror(errno));
    if ((size_t)n < sizeof header->magic || memcmp(header->magic, MAGIC, sizeof header->magic) != 0)
        return move_fail("%s is no snapshot: vfu-client SOCKET snapshot FILE makes one", file->path);
    if ((size_t)n < sizeof *header)
        return move_fail("%s is cut off: it has %zd bytes, its header alone has %zu", file->path, n, sizeof *header);
    if (header->version != VERSION || header->size != sizeof *header)
        return move_fail("%s is a snapshot of version %" PRIu32 "; this program reads version %u", file->path,
                         header->version, VERSION);
    if ((uint64_t)st.st_size - sizeof *header != header->length)
        return move_fail("%s is %s: it has %" PRIu64 " bytes, and should have %" PRIu64, file->path,
                         (uint64_t)st.st_size - sizeof *header < header->length ? "cut off"
                                                                                : "longer than it should be",
                         (uint64_t)st.st_size, header->length + sizeof *header);
    file->length = header->length;
    file->sum = move_header_sum(header);
    while ((r = move_from_file(file, piece, sizeof piece)) > 0)
        file->sum = move_sum(file->sum, piece, (size_t)r);
    if (r < 0)
        return move_fail("cannot read %s: %s", file->path, strerror(-r));
    if (file->sum != header->checksum)
        return move_fail("%s is damaged: its checksum is %016" PRIx64 ", and should be %016" PRIx64, file->path,
                         file->sum, header->checksum);
    if (lseek(file->fd, sizeof *header, SEEK_SET) < 0)
        return move_fail("cannot read %s: %s", file->path, strerror(errno));
    file->length = header->length;
    return 0;
}

static int move_put(struct vfuc *c, const struct settings *s, struct move_file *file, const struct move_header *header)
{
    struct vfuc_transfer t = { .struct_size = sizeof t };
    uint64_t start = move_now();
    struct move_identity id;
    char text[160];
    int err = move_identify(c, &id);

    if (err)
        return main_failed(s, c);
    if (move_differs(&header->identity, &id, text, sizeof text))
        return move_fail("%s is the state of another device: %s", file->path, text);
    err = vfuc_load(c, &t, move_from_file, file);
    if (!err)
        err = vfuc_migration_set(c, VFUC_MIG_RUNNING);
    if (!err) {
        move_report(s, "restored", &t, move_now() - t.stopped_at, move_now() - start);
        return 0;
    }
    if (file->error)
        move_fail("cannot read %s: %s", file->path, strerror(file->error));
    else
        main_failed(s, c);
    if (t.stopped_bytes && vfuc_reset(c) == 0)
        move_fail("%s: the device was reset: a part of the state may have been in it", s->socket);
    else if (!t.stopped_bytes)
        vfuc_migration_set(c, VFUC_MIG_RUNNING);
    return EXIT_FAILURE;
}

int move_restore(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    struct move_file file = { .path = argv[0] };
    struct move_header header;
    int status;

    (void)argc;
    if (!c)
        return 0;
    file.fd = open(file.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file.fd < 0)
        return move_fail("cannot open %s: %s", file.path, strerror(errno));
    status = move_open(&file, &header);
    if (!status)
        status = move_put(c, s, &file, &header);
    close(file.fd);
    return status;
}
