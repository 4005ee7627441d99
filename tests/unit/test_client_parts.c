/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_client_parts - mapped regions, doorbells, migration and dirty logs of the client library, against a server that
 * this file plays itself: what it says is written into the socket beforehand. Most of it is what no server should say.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vfu/client.h>
#include <vfu/protocol.h>

#define HEADER sizeof(struct vfu_msg_header)
#define CAPS "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":65536}}"

struct server {
    struct vfuc *c;
    int fd;
    uint16_t id;
    bool keep;           /* what is said is kept for play() */
    uint8_t lines[16][512];
    uint32_t nlines;
    pthread_t thread;
};

static int count_fds(void)
{
    DIR *list = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(list))
        n++;
    closedir(list);
    return n;
}

static void put(struct server *s, uint16_t command, uint32_t flags, uint32_t error, const void *body, uint32_t size,
                const int *fds, uint32_t nfds)
{
    struct vfu_msg_header header = { s->id++, command, (uint32_t)HEADER + size, flags, error };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = { 0 };
    struct iovec iov[2] = { { &header, HEADER }, { (void *)body, size } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

    if (s->keep) {
        assert_true(s->nlines < 16 && header.size <= sizeof s->lines[0]);
        memcpy(s->lines[s->nlines], &header, HEADER);
        if (size)
            memcpy(s->lines[s->nlines] + HEADER, body, size);
        s->nlines++;
        return;
    }
    if (nfds) {
        struct cmsghdr *cmsg;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
    }
    assert_int_equal(sendmsg(s->fd, &msg, MSG_NOSIGNAL), (ssize_t)header.size);
}

static void good(struct server *s, uint16_t command, const void *body, uint32_t size)
{
    put(s, command, VFU_MSG_REPLY, 0, body, size, NULL, 0);
}

static void bad(struct server *s, uint16_t command, uint32_t error)
{
    put(s, command, VFU_MSG_REPLY | VFU_MSG_ERROR, error, NULL, 0, NULL, 0);
}

static void start(struct server *s)
{
    int pair[2];

    memset(s, 0, sizeof *s);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    s->c = vfuc_new(NULL);
    assert_non_null(s->c);
    s->fd = pair[0];
    good(s, VFU_CMD_VERSION, "\0\0\0\0" CAPS, 4 + sizeof CAPS);
    assert_int_equal(vfuc_attach(s->c, pair[1]), 0);
}

/* An error reply ends what is taken in at once: what follows must not be there before it is asked for. Each line waits
 * for a request. */
static void *play_lines(void *arg)
{
    struct server *s = arg;

    for (uint32_t i = 0; i < s->nlines; i++) {
        struct vfu_msg_header header;
        uint8_t body[4096];

        if (recv(s->fd, &header, HEADER, MSG_WAITALL) != (ssize_t)HEADER)
            break;
        if (header.size > HEADER && recv(s->fd, body, header.size - HEADER, MSG_WAITALL) <= 0)
            break;
        memcpy(&header, s->lines[i], HEADER);
        if (send(s->fd, s->lines[i], header.size, MSG_NOSIGNAL) < 0)
            break;
    }
    return NULL;
}

static void play(struct server *s)
{
    assert_int_equal(pthread_create(&s->thread, NULL, play_lines, s), 0);
}

static void played(struct server *s)
{
    pthread_join(s->thread, NULL);
    s->nlines = 0;
}

/* From here on, and without what has been read by nobody. */
static void rehearse(struct server *s)
{
    uint8_t unread[4096];

    while (recv(s->fd, unread, sizeof unread, MSG_DONTWAIT) > 0)
        continue;
    s->keep = true;
}

static void stop(struct server *s)
{
    vfuc_free(s->c);
    close(s->fd);
}

static int file_of(off_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, size), 0);
    return fd;
}

/* ---- mapped regions */

struct region_reply {
    struct vfio_region_info info;
    struct vfio_info_cap_header cap;
    uint32_t nr_areas, reserved;
    uint64_t areas[4];
};

static struct region_reply region_reply(uint64_t size, uint32_t nareas)
{
    return (struct region_reply){
        .info = { .argsz = sizeof(struct region_reply), .flags = 7 | (nareas ? VFIO_REGION_INFO_FLAG_CAPS : 0),
                  .index = 1, .cap_offset = nareas ? sizeof(struct vfio_region_info) : 0, .size = size },
        .cap = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
        .nr_areas = nareas,
    };
}

static void test_map(void **state)
{
    struct region_reply reply = region_reply(0x10000, 2);
    struct vfuc_map maps[2];
    int before = count_fds(), fd = file_of(0x10000);
    struct server s;

    (void)state;
    start(&s);
    memcpy(reply.areas, (uint64_t[]){ 0x1000, 0x1000, 0x8000, 0x4000 }, sizeof reply.areas);
    put(&s, VFU_CMD_DEVICE_GET_REGION_INFO, VFU_MSG_REPLY, 0, &reply, sizeof reply, &fd, 1);
    assert_int_equal(vfuc_map_region(s.c, 1, maps, 2), 2);
    assert_int_equal(maps[1].offset, 0x8000);
    assert_int_equal(maps[1].size, 0x4000);
    assert_int_equal(pwrite(fd, "hello", 5, 0x9000), 5);
    assert_memory_equal((char *)maps[1].mem + 0x1000, "hello", 5);
    assert_ptr_equal(vfuc_mapped(s.c, 1, 0x9000, 0x3000), (char *)maps[1].mem + 0x1000);
    assert_null(vfuc_mapped(s.c, 1, 0x9000, 0x3001));
    assert_null(vfuc_mapped(s.c, 1, 0, 4));
    assert_null(vfuc_mapped(s.c, 1, UINT64_MAX, 4));
    assert_null(vfuc_mapped(s.c, 99, 0, 4));
    /* Once mapped, nobody is asked. */
    assert_int_equal(vfuc_map_region(s.c, 1, maps, 1), 2);
    assert_int_equal(vfuc_unmap_region(s.c, 1), 0);
    assert_int_equal(vfuc_unmap_region(s.c, 1), -ENOENT);
    assert_null(vfuc_mapped(s.c, 1, 0x9000, 4));
    assert_int_equal(vfuc_map_region(s.c, 9, NULL, 0), -EINVAL);
    stop(&s);
    close(fd);
    assert_int_equal(count_fds(), before);
}

static void test_map_refused(void **state)
{
    static const struct {
        uint64_t size, offset, area, length, file;
        int error;
    } table[] = {
        { 0x10000, 0, 0x1000, 0x1000, 0x1000, -EPROTO },              /* the file ends before it */
        { 0x10000, 0, 0xf000, 0x2000, 0x20000, -EPROTO },             /* beyond the region */
        { 0x10000, 0, UINT64_MAX - 0xfff, 0x2000, 0x20000, -EPROTO }, /* wraps */
        { 0x10000, 0, 0x1000, 0, 0x20000, -EPROTO },
        { 0x10000, 0, 0x800, 0x1000, 0x20000, -EINVAL },
        { 0x10000, 0, 0x1000, 0x10, 0x20000, -EINVAL },
        { 0x10000, 1, 0x1000, 0x1000, 0x20000, -EINVAL },
        { 0x10000, UINT64_MAX - 0xfff, 0x1000, 0x1000, 0x20000, -EPROTO },
    };
    int before = count_fds();

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct region_reply reply = region_reply(table[i].size, 1);
        int fd = file_of((off_t)table[i].file);
        struct server s;

        start(&s);
        reply.info.offset = table[i].offset;
        reply.areas[0] = table[i].area;
        reply.areas[1] = table[i].length;
        put(&s, VFU_CMD_DEVICE_GET_REGION_INFO, VFU_MSG_REPLY, 0, &reply, sizeof reply, &fd, 1);
        assert_int_equal(vfuc_map_region(s.c, 1, NULL, 0), table[i].error);
        assert_null(vfuc_mapped(s.c, 1, table[i].area, 1));
        stop(&s);
        close(fd);
    }
    assert_int_equal(count_fds(), before);
}

static void test_map_without(void **state)
{
    struct region_reply reply = region_reply(0x1000, 0);
    struct server s;

    (void)state;
    start(&s);
    good(&s, VFU_CMD_DEVICE_GET_REGION_INFO, &reply, sizeof reply.info);
    assert_int_equal(vfuc_map_region(s.c, 1, NULL, 0), -EPROTO);
    assert_non_null(strstr(vfuc_error(s.c), "no file came with it"));
    reply.info.flags = 3;
    good(&s, VFU_CMD_DEVICE_GET_REGION_INFO, &reply, sizeof reply.info);
    assert_int_equal(vfuc_map_region(s.c, 1, NULL, 0), -ENODEV);
    bad(&s, VFU_CMD_DEVICE_GET_REGION_INFO, EINVAL);
    assert_int_equal(vfuc_map_region(s.c, 1, NULL, 0), -EINVAL);
    stop(&s);
}

/* ---- doorbells */

struct bells_reply {
    struct vfu_msg_region_io_fds head;
    struct vfu_msg_sub_region_shadow list[3];
};

static struct bells_reply bells_reply(void)
{
    return (struct bells_reply){
        .head = { sizeof(struct bells_reply), 0, 2, 3 },
        .list = {
            { .offset = 0x10, .size = 4, .flags = VFU_IOEVENTFD_DATAMATCH, .datamatch = 7 },
            { .offset = 0x20, .size = 4, .type = VFU_IO_FD_TYPE_IOEVENTFD_SHADOW, .shadow_fd_index = 1,
              .shadow_offset = 12 },
            { .offset = 0x30, .size = 0, .fd_index = 0 },
        },
    };
}

static void test_bells(void **state)
{
    struct bells_reply reply = bells_reply();
    struct vfuc_doorbell list[3];
    int before = count_fds(), fds[2] = { eventfd(0, EFD_CLOEXEC), file_of(4096) };
    uint32_t values[5];
    uint64_t count;
    struct server s;

    (void)state;
    start(&s);
    assert_int_equal(vfuc_ring(s.c, 2, 0, 0), -ENOENT);
    put(&s, VFU_CMD_DEVICE_GET_REGION_IO_FDS, VFU_MSG_REPLY, 0, &reply, sizeof reply, fds, 2);
    assert_int_equal(vfuc_doorbells(s.c, 2, list, 3), 3);
    assert_int_equal(list[0].offset, 0x10);
    assert_int_equal(list[0].size, 4);
    assert_int_equal(list[0].match, 7);
    assert_int_equal(list[0].flags, VFUC_DOORBELL_MATCH);
    assert_int_equal(list[1].flags, VFUC_DOORBELL_SHADOW);
    assert_int_equal(list[2].size, 0);
    assert_int_equal(vfuc_ring(s.c, 2, 0, 0), 0);
    assert_int_equal(read(fds[0], &count, 8), 8);
    assert_int_equal(count, 1);
    /* Four bytes of the shadow, and not one more. */
    memset(values, 0xff, sizeof values);
    assert_int_equal(pwrite(fds[1], values, sizeof values, 0), sizeof values);
    assert_int_equal(vfuc_ring(s.c, 2, 1, 0x12345678), 0);
    assert_int_equal(pread(fds[1], values, sizeof values, 0), sizeof values);
    assert_int_equal(values[3], 0x12345678);
    assert_int_equal(values[2], UINT32_MAX);
    assert_int_equal(values[4], UINT32_MAX);
    assert_int_equal(vfuc_ring(s.c, 2, 3, 0), -ENOENT);
    assert_int_equal(vfuc_ring(s.c, 77, 0, 0), -ENOENT);
    assert_true(vfuc_doorbell_fd(s.c, 2, 0) >= 0);
    assert_int_equal(vfuc_doorbell_fd(s.c, 3, 0), -1);
    /* A counter that is full, of a descriptor that would wait: the ring is there already. */
    count = UINT64_MAX - 1;
    assert_int_equal(read(fds[0], &(uint64_t){ 0 }, 8), 8);
    assert_int_equal(write(fds[0], &count, 8), 8);
    assert_int_equal(vfuc_ring(s.c, 2, 0, 0), 0);
    /* None at all. */
    reply.head.count = 0;
    put(&s, VFU_CMD_DEVICE_GET_REGION_IO_FDS, VFU_MSG_REPLY, 0, &reply, sizeof reply.head, NULL, 0);
    assert_int_equal(vfuc_doorbells(s.c, 2, list, 3), 0);
    assert_int_equal(vfuc_ring(s.c, 2, 0, 0), -ENOENT);
    stop(&s);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(count_fds(), before);
}

static void spoil_size(struct bells_reply *r) { r->list[0].size = 3; }
static void spoil_fd(struct bells_reply *r) { r->list[0].fd_index = 2; }
static void spoil_kind(struct bells_reply *r) { r->list[0].fd_index = 1; }
static void spoil_shadow_fd(struct bells_reply *r) { r->list[1].shadow_fd_index = 9; }
static void spoil_shadow_kind(struct bells_reply *r) { r->list[1].shadow_fd_index = 0; }
static void spoil_shadow_end(struct bells_reply *r) { r->list[1].shadow_offset = 4096; }
static void spoil_shadow_wrap(struct bells_reply *r) { r->list[1].shadow_offset = UINT64_MAX - 3; }
static void spoil_shadow_odd(struct bells_reply *r) { r->list[1].shadow_offset = 2; }
static void spoil_region(struct bells_reply *r) { r->head.index = 3; }
static void spoil_count(struct bells_reply *r) { r->head.count = 4; }
static void spoil_many(struct bells_reply *r) { r->head.count = UINT32_MAX; }

static void test_bells_refused(void **state)
{
    static void (*const spoil[])(struct bells_reply *r) = {
        spoil_size, spoil_fd, spoil_kind, spoil_shadow_fd, spoil_shadow_kind, spoil_shadow_end, spoil_shadow_wrap,
        spoil_shadow_odd, spoil_region, spoil_count, spoil_many,
    };
    int before = count_fds();

    (void)state;
    for (size_t i = 0; i < sizeof spoil / sizeof spoil[0]; i++) {
        struct bells_reply reply = bells_reply();
        int fds[2] = { eventfd(0, EFD_CLOEXEC), file_of(4096) };
        struct server s;
        int r;

        start(&s);
        spoil[i](&reply);
        put(&s, VFU_CMD_DEVICE_GET_REGION_IO_FDS, VFU_MSG_REPLY, 0, &reply, sizeof reply, fds, 2);
        r = vfuc_doorbells(s.c, 2, NULL, 0);
        if (r != -EPROTO && r != -EMSGSIZE)
            fail_msg("spoiled list %zu is taken: %d", i, r);
        assert_int_equal(vfuc_ring(s.c, 2, 0, 0), -ENOENT);
        stop(&s);
        close(fds[0]);
        close(fds[1]);
    }
    assert_int_equal(count_fds(), before);
}

/* ---- migration */

static void state_is(struct server *s, uint32_t state)
{
    good(s, VFU_CMD_DEVICE_FEATURE, (uint32_t[4]){ 16, 0x20002, state, UINT32_MAX }, 16);
}

static void flags_are(struct server *s, uint64_t flags)
{
    uint8_t body[16] = { 16, 0, 0, 0, 1, 0, 1, 0 };

    memcpy(body + 8, &flags, 8);
    good(s, VFU_CMD_DEVICE_FEATURE, body, sizeof body);
}

/* `pad`: bytes behind what is valid, as some servers have them. */
static void data_are(struct server *s, const char *text, uint32_t pad)
{
    uint8_t body[256] = { 0 };
    uint32_t size = (uint32_t)strlen(text);

    memcpy(body, (uint32_t[2]){ 8 + size, size }, 8);
    memcpy(body + 8, text, size);
    good(s, VFU_CMD_MIG_DATA_READ, body, 8 + size + pad);
}

struct taken {
    char text[64];
    int fail;
};

static int take(void *ctx, const void *data, size_t size)
{
    struct taken *taken = ctx;

    if (taken->fail)
        return taken->fail;
    strncat(taken->text, data, size);
    return 0;
}

static void test_save(void **state)
{
    struct vfuc_transfer t = { .struct_size = sizeof t };
    struct taken taken = { "", 0 };
    struct server s;

    (void)state;
    start(&s);
    flags_are(&s, 5);
    state_is(&s, VFUC_MIG_PRE_COPY);
    data_are(&s, "early ", 0);
    data_are(&s, "", 100);
    state_is(&s, VFUC_MIG_STOP_COPY);
    data_are(&s, "late ", 40);
    data_are(&s, "end", 0);
    data_are(&s, "", 0);
    state_is(&s, VFUC_MIG_STOP);
    assert_int_equal(vfuc_save(s.c, &t, take, &taken), 0);
    assert_string_equal(taken.text, "early late end");
    assert_int_equal(t.running_bytes, 6);
    assert_int_equal(t.stopped_bytes, 8);
    assert_true(t.stopped_at > 0);
    stop(&s);
}

/* A device without PRE_COPY, one that says it has it and does not, and one that has nothing more to say in it. */
static void test_save_stopped(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct vfuc_transfer t = { .struct_size = sizeof t, .flags = i == 3 ? VFUC_SAVE_STOPPED : 0 };
        struct taken taken = { "", 0 };
        struct server s;

        start(&s);
        rehearse(&s);
        flags_are(&s, i == 0 ? 1 : 5);
        if (i == 1)
            bad(&s, VFU_CMD_DEVICE_FEATURE, EINVAL);
        if (i == 2) {
            state_is(&s, VFUC_MIG_PRE_COPY);
            bad(&s, VFU_CMD_MIG_DATA_READ, ENOMSG);
        }
        state_is(&s, VFUC_MIG_STOP_COPY);
        data_are(&s, "all", 0);
        data_are(&s, "", 0);
        state_is(&s, VFUC_MIG_STOP);
        play(&s);
        assert_int_equal(vfuc_save(s.c, &t, take, &taken), 0);
        played(&s);
        assert_string_equal(taken.text, "all");
        stop(&s);
    }
}

/* After each failure the device is told to run on, and the words are those of the first. */
static void test_save_fails(void **state)
{
    struct vfuc_transfer small = { .struct_size = sizeof small, .limit = 4 };
    struct taken taken = { "", -ENOSPC };
    struct server s;

    (void)state;
    start(&s);
    rehearse(&s);
    flags_are(&s, 1);
    state_is(&s, VFUC_MIG_STOP_COPY);
    data_are(&s, "bytes", 0);
    state_is(&s, VFUC_MIG_RUNNING);
    play(&s);
    assert_int_equal(vfuc_save(s.c, NULL, take, &taken), -ENOSPC);
    played(&s);
    assert_non_null(strstr(vfuc_error(s.c), "not taken"));
    taken.fail = 0;
    flags_are(&s, 1);
    state_is(&s, VFUC_MIG_STOP_COPY);
    data_are(&s, "bytes", 0);
    bad(&s, VFU_CMD_DEVICE_FEATURE, EIO);
    play(&s);
    assert_int_equal(vfuc_save(s.c, &small, take, &taken), -EFBIG);
    played(&s);
    assert_non_null(strstr(vfuc_error(s.c), "more than 4 bytes"));
    flags_are(&s, 2);
    state_is(&s, VFUC_MIG_RUNNING);
    play(&s);
    assert_int_equal(vfuc_save(s.c, NULL, take, &taken), -ENOTSUP);
    played(&s);
    bad(&s, VFU_CMD_DEVICE_FEATURE, ENOTTY);
    state_is(&s, VFUC_MIG_RUNNING);
    play(&s);
    assert_int_equal(vfuc_save(s.c, NULL, take, &taken), -ENOTTY);
    played(&s);
    small.flags = 0x80;
    play(&s);
    assert_int_equal(vfuc_save(s.c, &small, take, &taken), -EINVAL);
    played(&s);
    stop(&s);
}

/* More than was asked for, more than there is, less than a head. */
static void test_data_refused(void **state)
{
    static const uint32_t sizes[][3] = { { 8 + 20, 20, 28 }, { 8 + 10, 10, 12 }, { 8, UINT32_MAX, 8 }, { 0, 0, 4 } };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t body[64] = { 0 }, data[16];
        struct server s;

        start(&s);
        memcpy(body, sizes[i], 8);
        good(&s, VFU_CMD_MIG_DATA_READ, body, sizes[i][2]);
        assert_int_equal(vfuc_migration_read(s.c, data, sizeof data), -EPROTO);
        assert_non_null(strstr(vfuc_error(s.c), "header:"));
        stop(&s);
    }
}

static int bring(void *ctx, void *data, size_t max)
{
    int *left = ctx;

    assert_true(max >= 100);
    memset(data, 0x5a, 100);
    return *left < 0 ? *left : (*left)-- ? 100 : 0;
}

static void test_load(void **state)
{
    struct vfuc_transfer t = { .struct_size = sizeof t };
    int left = 2;
    struct server s;

    (void)state;
    start(&s);
    state_is(&s, VFUC_MIG_RESUMING);
    good(&s, VFU_CMD_MIG_DATA_WRITE, NULL, 0);
    good(&s, VFU_CMD_MIG_DATA_WRITE, NULL, 0);
    state_is(&s, VFUC_MIG_STOP);
    assert_int_equal(vfuc_load(s.c, &t, bring, &left), 0);
    assert_int_equal(t.stopped_bytes, 200);
    left = -EIO;
    state_is(&s, VFUC_MIG_RESUMING);
    assert_int_equal(vfuc_load(s.c, &t, bring, &left), -EIO);
    left = 1;
    state_is(&s, VFUC_MIG_RESUMING);
    good(&s, VFU_CMD_MIG_DATA_WRITE, NULL, 0);
    bad(&s, VFU_CMD_DEVICE_FEATURE, EINVAL);
    assert_int_equal(vfuc_load(s.c, &t, bring, &left), -EINVAL);
    assert_non_null(strstr(vfuc_error(s.c), "does not go to STOP"));
    left = 1;
    t.limit = 99;
    state_is(&s, VFUC_MIG_RESUMING);
    assert_int_equal(vfuc_load(s.c, &t, bring, &left), -EFBIG);
    stop(&s);
}

/* ---- dirty logs */

static void report_is(struct server *s, uint8_t fill, uint32_t bytes)
{
    static uint8_t body[70000];

    memset(body, 0, 32);
    memset(body + 32, fill, bytes);
    good(s, VFU_CMD_DEVICE_FEATURE, body, 32 + bytes);
}

static void test_dirty(void **state)
{
    static uint8_t bitmap[65536 + 8];
    struct vfuc_range range = { 0, 4096 };
    struct server s;

    (void)state;
    assert_int_equal(vfuc_dirty_bytes(4096, 4096), 8);
    assert_int_equal(vfuc_dirty_bytes(65 * UINT64_C(4096), 4096), 16);
    assert_int_equal(vfuc_dirty_bytes(4096, 512), 0);
    assert_int_equal(vfuc_dirty_bytes(4096, 12288), 0);
    assert_int_equal(vfuc_dirty_bytes(0, 4096), 0);
    start(&s);
    good(&s, VFU_CMD_DEVICE_FEATURE, NULL, 0);
    assert_int_equal(vfuc_dirty_start(s.c, 4096, &range, 1), 0);
    /* One that takes two messages. */
    report_is(&s, 0x11, 65536);
    report_is(&s, 0x22, 8);
    assert_int_equal(vfuc_dirty_report(s.c, 0, (65536 * UINT64_C(8) + 64) * 4096, 4096, bitmap, sizeof bitmap), 0);
    assert_int_equal(bitmap[0], 0x11);
    assert_int_equal(bitmap[65535], 0x11);
    assert_int_equal(bitmap[65536], 0x22);
    assert_int_equal(vfuc_dirty_report(s.c, 0, 4096, 4096, bitmap, 7), -EINVAL);
    assert_int_equal(vfuc_dirty_report(s.c, UINT64_MAX - 4095, 8192, 4096, bitmap, 8), -EINVAL);
    assert_int_equal(vfuc_dirty_report(s.c, 0, 4097, 4096, bitmap, 8), -EINVAL);
    good(&s, VFU_CMD_DEVICE_FEATURE, NULL, 0);
    assert_int_equal(vfuc_dirty_stop(s.c), 0);
    report_is(&s, 0x33, 16);
    assert_int_equal(vfuc_dirty_report(s.c, 0, 4096, 4096, bitmap, 8), -EPROTO);
    stop(&s);
}

static void test_dirty_legacy(void **state)
{
    uint8_t body[48] = { 0 }, bitmap[8];
    struct server s;

    (void)state;
    start(&s);
    good(&s, VFU_CMD_DIRTY_PAGES, NULL, 0);
    assert_int_equal(vfuc_dirty_pages(s.c, true), 0);
    body[40] = 0x80;
    good(&s, VFU_CMD_DIRTY_PAGES, body, 48);
    assert_int_equal(vfuc_dirty_pages_report(s.c, 0, 65536, 4096, bitmap, 8), 0);
    assert_int_equal(bitmap[0], 0x80);
    good(&s, VFU_CMD_DMA_UNMAP, body, 48);
    assert_int_equal(vfuc_dirty_unmap(s.c, 0, 65536, 4096, bitmap, 8), 0);
    assert_int_equal(bitmap[0], 0x80);
    assert_int_equal(vfuc_dirty_unmap(s.c, 0, UINT64_C(1) << 40, 4096, bitmap, SIZE_MAX), -EMSGSIZE);
    bad(&s, VFU_CMD_DIRTY_PAGES, ENOTSUP);
    assert_int_equal(vfuc_dirty_pages(s.c, false), -ENOTSUP);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),          cmocka_unit_test(test_map_refused),   cmocka_unit_test(test_map_without),
        cmocka_unit_test(test_bells),        cmocka_unit_test(test_bells_refused), cmocka_unit_test(test_save),
        cmocka_unit_test(test_save_stopped), cmocka_unit_test(test_save_fails),    cmocka_unit_test(test_data_refused),
        cmocka_unit_test(test_load),         cmocka_unit_test(test_dirty),         cmocka_unit_test(test_dirty_legacy),
    };

    return cmocka_run_group_tests_name("client, parts", tests, NULL, NULL);
}
