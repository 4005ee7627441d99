/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_client - the client library against a server that this file plays itself: what the server says is written into
 * the socket beforehand, and what the client has sent is read afterwards. Threads only where a socket is too small.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <vfu/client.h>
#include <vfu/protocol.h>

#define HEADER sizeof(struct vfu_msg_header)
#define MIB 1048576u
#define MS VFUC_NS_PER_MS
#define CAPS "{\"capabilities\":{\"max_msg_fds\":4,\"max_data_xfer_size\":1048576,\"write_multiple\":true}}"

struct server {
    struct vfuc *c;
    int fd, twin;
    uint16_t id; /* the next request's */
    struct vfu_msg_header header; /* of the last message taken */
    uint8_t body[8192];
    int fds[16];
    uint32_t nfds;
};

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void put_fds(int fd, uint16_t id, uint16_t command, uint32_t flags, uint32_t error, const void *body,
                    uint32_t size, const int *fds, uint32_t nfds)
{
    struct vfu_msg_header header = { id, command, (uint32_t)HEADER + size, flags, error };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = { 0 };
    struct iovec iov[2] = { { &header, HEADER }, { (void *)body, size } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

    if (nfds) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)header.size);
}

static void put(struct server *s, uint16_t id, uint16_t command, uint32_t flags, uint32_t error, const void *body,
                uint32_t size)
{
    put_fds(s->fd, id, command, flags, error, body, size, NULL, 0);
}

static void good(struct server *s, uint16_t command, const void *body, uint32_t size)
{
    put(s, s->id++, command, VFU_MSG_REPLY, 0, body, size);
}

static void bad(struct server *s, uint16_t command, uint32_t error)
{
    put(s, s->id++, command, VFU_MSG_REPLY | VFU_MSG_ERROR, error, NULL, 0);
}

static void read_exactly(int fd, void *to, size_t size)
{
    for (size_t have = 0; have < size;) {
        ssize_t n = recv(fd, (uint8_t *)to + have, size - have, MSG_DONTWAIT);

        assert_true(n > 0);
        have += (size_t)n;
    }
}

/* The next message that the client has sent. */
static void take_from(struct server *s, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control;
    struct iovec iov = { &s->header, HEADER };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control.bytes };

    assert_int_equal(recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), (ssize_t)HEADER);
    s->nfds = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        s->nfds = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(s->fds, CMSG_DATA(c), s->nfds * sizeof(int));
    }
    assert_true(s->header.size >= HEADER && s->header.size - HEADER <= sizeof s->body);
    read_exactly(fd, s->body, s->header.size - HEADER);
}

static void take(struct server *s, uint16_t command)
{
    take_from(s, s->fd);
    assert_int_equal(s->header.command, command);
}

static void nothing(int fd)
{
    uint8_t byte;

    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void start_with(struct server *s, const struct vfuc_options *given)
{
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = 2000 * MS };
    int pair[2];

    memset(s, 0, sizeof *s);
    s->twin = -1;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    s->c = vfuc_new(given ? given : &options);
    assert_non_null(s->c);
    s->fd = pair[0];
    s->header.id = (uint16_t)pair[1];
}

static int attach(struct server *s)
{
    return vfuc_attach(s->c, s->header.id);
}

static void start(struct server *s)
{
    start_with(s, NULL);
    good(s, VFU_CMD_VERSION, "\0\0\0\0" CAPS, 4 + sizeof CAPS);
    assert_int_equal(attach(s), 0);
    take(s, VFU_CMD_VERSION);
}

static void stop(struct server *s)
{
    vfuc_free(s->c);
    close(s->fd);
    if (s->twin >= 0)
        close(s->twin);
}

static void put_access(struct server *s, uint16_t command, uint64_t offset, uint32_t region, uint32_t count,
                       const void *data)
{
    uint8_t body[256];
    struct vfu_msg_region_access access = { offset, region, count };

    memcpy(body, &access, sizeof access);
    if (data)
        memcpy(body + sizeof access, data, count);
    good(s, command, body, (uint32_t)sizeof access + (data ? count : 0));
}

/* ---- negotiation */

static void test_version(void **state)
{
    const struct vfuc_server *v;
    struct server s;

    (void)state;
    start(&s);
    v = vfuc_server(s.c);
    assert_non_null(v);
    assert_int_equal(v->max_msg_fds, 4);
    assert_int_equal(v->max_data_xfer_size, MIB);
    assert_int_equal(v->max_dma_maps, 65535);
    assert_int_equal(v->pgsizes, 4096);
    assert_true(v->write_multiple);
    assert_false(v->twin_socket);
    assert_false(v->migration);
    assert_string_equal(v->json, CAPS);
    /* What went out: 0.0, and JSON that ends in NUL. */
    assert_memory_equal(s.body, "\0\0\0\0{", 5);
    assert_int_equal(s.body[s.header.size - HEADER - 1], 0);
    assert_non_null(strstr((char *)s.body + 4, "\"max_msg_fds\":16"));
    assert_non_null(strstr((char *)s.body + 4, "\"write_multiple\":true"));
    assert_non_null(strstr((char *)s.body + 4, "\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":1048576}"));
    assert_null(strstr((char *)s.body + 4, "twin_socket"));
    stop(&s);
}

static void test_version_options(void **state)
{
    static const char answer[] = "\0\0\0\0{\"capabilities\":{\"migration\":{\"max_bitmap_size\":99}}}";
    struct vfuc_options options = {
        .struct_size = sizeof options, .max_data_xfer_size = 65536, .migration_pgsize = 65536
    };
    struct server s;

    (void)state;
    start_with(&s, &options);
    good(&s, VFU_CMD_VERSION, answer, sizeof answer);
    assert_int_equal(attach(&s), 0);
    take(&s, VFU_CMD_VERSION);
    /* No larger a bitmap than data fit a reply. */
    assert_non_null(strstr((char *)s.body + 4, "\"migration\":{\"pgsize\":65536,\"max_bitmap_size\":65536}"));
    assert_true(vfuc_server(s.c)->migration);
    assert_int_equal(vfuc_server(s.c)->migration_pgsize, 4096);
    assert_int_equal(vfuc_server(s.c)->migration_max_bitmap_size, 99);
    stop(&s);

    options.migration_max_bitmap_size = 8;
    start_with(&s, &options);
    good(&s, VFU_CMD_VERSION, "\0\0\0\0", 4);
    assert_int_equal(attach(&s), 0);
    take(&s, VFU_CMD_VERSION);
    assert_non_null(strstr((char *)s.body + 4, "\"max_bitmap_size\":8}"));
    stop(&s);

    options.flags = VFUC_NO_MIGRATION | VFUC_NO_WRITE_MULTI;
    start_with(&s, &options);
    good(&s, VFU_CMD_VERSION, "\0\0\0\0", 4);
    assert_int_equal(attach(&s), 0);
    take(&s, VFU_CMD_VERSION);
    assert_null(strstr((char *)s.body + 4, "migration"));
    assert_null(strstr((char *)s.body + 4, "write_multiple"));
    assert_false(vfuc_server(s.c)->migration);
    stop(&s);

    options.flags = VFUC_NO_MIGRATION << 1; /* unknown */
    assert_null(vfuc_new(&options));
}

static void test_version_defaults(void **state)
{
    struct vfuc_options options = { .struct_size = sizeof options, .json = "" };
    struct server s;

    (void)state;
    start_with(&s, &options);
    good(&s, VFU_CMD_VERSION, "\0\0\0\0", 4);
    assert_int_equal(attach(&s), 0);
    take(&s, VFU_CMD_VERSION);
    assert_int_equal(s.header.size, HEADER + 4);
    assert_int_equal(vfuc_server(s.c)->max_msg_fds, 1);
    assert_int_equal(vfuc_server(s.c)->max_data_xfer_size, MIB);
    assert_false(vfuc_server(s.c)->write_multiple);
    assert_string_equal(vfuc_server(s.c)->json, "");
    stop(&s);
}

static void test_version_refused(void **state)
{
#define REPLY(text) text, sizeof(text)
    static const struct {
        const char *body;
        size_t size;
        const char *says;
    } table[] = {
        { "\0\0\0", 3, "3 bytes" },
        { "\1\0\0\0", 4, "protocol 1.0" },
        { "\0\0\1\0", 4, "protocol 0.1" },
        { "\0\0\0\0{}", 6, "NUL" },
        { REPLY("\0\0\0\0nonsense"), "bad JSON" },
        { REPLY("\0\0\0\0[1]"), "no object" },
        { REPLY("\0\0\0\0{\"capabilities\":1}"), "no object" },
        { REPLY("\0\0\0\0{\"capabilities\":{\"max_msg_fds\":\"2\"}}"), "max_msg_fds" },
        { REPLY("\0\0\0\0{\"capabilities\":{\"max_data_xfer_size\":0}}"), "max_data_xfer_size" },
        { REPLY("\0\0\0\0{\"capabilities\":{\"pgsizes\":-1}}"), "pgsizes" },
        { REPLY("\0\0\0\0{\"capabilities\":{\"write_multiple\":1}}"), "write_multiple" },
        { REPLY("\0\0\0\0{\"capabilities\":{\"migration\":[]}}"), "migration" },
        { REPLY("\0\0\0\0{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":0}}}"), "not asked for" },
        { REPLY("\0\0\0\0{\"capabilities\":{\"twin_socket\":4}}"), "twin_socket" },
    };
    int before = count_fds();

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct server s;

        start_with(&s, NULL);
        good(&s, VFU_CMD_VERSION, table[i].body, (uint32_t)table[i].size);
        assert_int_equal(attach(&s), -EPROTO);
        assert_non_null(strstr(vfuc_error(s.c), table[i].says));
        assert_null(vfuc_server(s.c));
        assert_int_equal(vfuc_fd(s.c), -1);
        stop(&s);
    }
    assert_int_equal(count_fds(), before);
}

static void test_version_error(void **state)
{
    struct server s;

    (void)state;
    start_with(&s, NULL);
    bad(&s, VFU_CMD_VERSION, EINVAL);
    assert_int_equal(attach(&s), -EINVAL);
    assert_non_null(strstr(vfuc_error(s.c), "VERSION"));
    stop(&s);
}

static void start_twin(struct server *s)
{
    static const char caps[] = "\0\0\0\0{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":0}}}";
    struct vfuc_options options = { .struct_size = sizeof options, .flags = VFUC_TWIN_SOCKET, .timeout_ns = 1000 * MS };
    int pair[2];

    start_with(s, &options);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    put_fds(s->fd, s->id++, VFU_CMD_VERSION, VFU_MSG_REPLY, 0, caps, sizeof caps, &pair[1], 1);
    close(pair[1]);
    s->twin = pair[0];
    assert_int_equal(attach(s), 0);
    take(s, VFU_CMD_VERSION);
    assert_non_null(strstr((char *)s->body + 4, "\"twin_socket\":{\"supported\":true}"));
}

static void test_twin(void **state)
{
    int before = count_fds();
    struct server s;

    (void)state;
    start_twin(&s);
    assert_true(vfuc_server(s.c)->twin_socket);
    assert_true(vfuc_twin_fd(s.c) >= 0);
    stop(&s);
    assert_int_equal(count_fds(), before);
}

static void test_options(void **state)
{
    struct vfuc_options options = { .struct_size = sizeof options, .max_msg_fds = 65 };

    (void)state;
    assert_null(vfuc_new(&options));
    options = (struct vfuc_options){ .struct_size = sizeof options, .max_data_xfer_size = UINT64_C(65) * MIB };
    assert_null(vfuc_new(&options));
    options = (struct vfuc_options){ .struct_size = sizeof options, .flags = 1u << 31 };
    assert_null(vfuc_new(&options));
    options = (struct vfuc_options){ .struct_size = 3 };
    assert_null(vfuc_new(&options));
}

static void test_not_connected(void **state)
{
    struct vfuc *c = vfuc_new(NULL);
    char name[200];
    uint64_t value;

    (void)state;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(vfuc_connect(c, name), -ENAMETOOLONG);
    assert_int_equal(vfuc_connect(c, "/nowhere/at/all"), -ENOENT);
    assert_non_null(strstr(vfuc_error(c), "/nowhere/at/all"));
    assert_int_equal(vfuc_get(c, 0, 0, 4, &value), -ENOTCONN);
    assert_int_equal(vfuc_reset(c), -ENOTCONN);
    assert_int_equal(vfuc_drain(c), -ENOTCONN);
    assert_int_equal(vfuc_raw_send(c, "x", 1, 0, NULL, 0), -ENOTCONN);
    vfuc_free(c);
    vfuc_free(NULL);
}

/* A listener that accepts nobody; its queue is full. And nobody at all, waited for. */
static void test_connect_limit(void **state)
{
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = 30 * MS };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
        waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char dir[] = "/tmp/vfu-client.XXXXXX";
    struct vfuc *c = vfuc_new(&options);

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", dir);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(vfuc_connect(c, address.sun_path), -ECONNREFUSED);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(connect(waiting, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(vfuc_connect(c, address.sun_path), -ETIMEDOUT);
    assert_non_null(strstr(vfuc_error(c), address.sun_path));
    close(waiting);
    close(listener);
    unlink(address.sun_path);
    rmdir(dir);
    vfuc_free(c);
    options.flags = VFUC_WAIT;
    c = vfuc_new(&options);
    assert_int_equal(vfuc_connect(c, address.sun_path), -ENOENT);
    vfuc_free(c);
}

/* ---- accesses */

static void test_read_write(void **state)
{
    struct vfu_msg_region_access access;
    struct server s;
    uint64_t value;

    (void)state;
    start(&s);
    put_access(&s, VFU_CMD_REGION_READ, 0x90, 2, 4, "\x78\x56\x34\x12");
    assert_int_equal(vfuc_get(s.c, VFUC_BAR(2), 0x90, 4, &value), 0);
    assert_int_equal(value, 0x12345678);
    take(&s, VFU_CMD_REGION_READ);
    assert_int_equal(s.header.size, 32);
    assert_int_equal(s.header.flags, 0);
    memcpy(&access, s.body, sizeof access);
    assert_int_equal(access.offset, 0x90);
    assert_int_equal(access.region, 2);
    assert_int_equal(access.count, 4);

    put_access(&s, VFU_CMD_REGION_WRITE, 8, 0, 8, NULL);
    assert_int_equal(vfuc_put(s.c, 0, 8, 8, UINT64_C(0x1122334455667788)), 0);
    take(&s, VFU_CMD_REGION_WRITE);
    assert_int_equal(s.header.size, 40);
    assert_memory_equal(s.body + 16, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);

    assert_int_equal(vfuc_get(s.c, 0, 0, 3, &value), -EINVAL);
    assert_int_equal(vfuc_read(s.c, 0, 0, &value, 0), -EINVAL);
    nothing(s.fd);
    stop(&s);
}

static void test_errors(void **state)
{
    struct server s;
    uint64_t value;

    (void)state;
    start(&s);
    bad(&s, VFU_CMD_REGION_READ, EINVAL);
    assert_int_equal(vfuc_get(s.c, 3, 0x44, 4, &value), -EINVAL);
    assert_non_null(strstr(vfuc_error(s.c), "0x44 of region 3"));
    bad(&s, VFU_CMD_REGION_WRITE, 0);
    assert_int_equal(vfuc_put(s.c, 0, 0, 4, 0), -EIO);
    bad(&s, VFU_CMD_REGION_WRITE, 0x80000000u);
    assert_int_equal(vfuc_put(s.c, 0, 0, 4, 0), -EIO);
    bad(&s, VFU_CMD_DEVICE_RESET, EOPNOTSUPP);
    assert_int_equal(vfuc_reset(s.c), -EOPNOTSUPP);
    good(&s, VFU_CMD_DEVICE_RESET, NULL, 0);
    assert_int_equal(vfuc_reset(s.c), 0);
    stop(&s);
}

/* Replies that are not what they should be: the connection is over, and says why. */
static void test_wrong_replies(void **state)
{
    static const struct {
        int id;
        uint16_t command;
        uint32_t flags, size;
        struct vfu_msg_region_access access;
        const char *says;
    } table[] = {
        { 5, VFU_CMD_REGION_READ, 1, 20, { 0, 0, 4 }, "answers nothing; the next one expected is 1;" },
        { 256, VFU_CMD_REGION_READ, 1, 20, { 0, 0, 4 }, "answers nothing" },
        { 0, VFU_CMD_REGION_WRITE, 1, 20, { 0, 0, 4 }, "expected REGION_READ" },
        { 0, VFU_CMD_REGION_READ, 1, 16, { 0, 0, 4 }, "32 bytes, expected 36" },
        { 0, VFU_CMD_REGION_READ, 1, 24, { 0, 0, 4 }, "40 bytes, expected 36" },
        { 0, VFU_CMD_REGION_READ, 1, 20, { 0, 0, 3 }, "3 bytes; expected" },
        { 0, VFU_CMD_REGION_READ, 1, 20, { 4, 0, 4 }, "offset 0x4" },
        { 0, VFU_CMD_REGION_READ, 1, 20, { 0, 1, 4 }, "region 1" },
        { 0, VFU_CMD_REGION_READ, 2, 20, { 0, 0, 4 }, "senseless flags" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint8_t body[32] = { 0 };
        struct server s;
        uint64_t value;
        char first[256];

        start(&s);
        memcpy(body, &table[i].access, sizeof table[i].access);
        put(&s, (uint16_t)(s.id + table[i].id), table[i].command, table[i].flags, 0, body, table[i].size);
        assert_int_equal(vfuc_get(s.c, 0, 0, 4, &value), -EPROTO);
        if (!strstr(vfuc_error(s.c), table[i].says))
            fail_msg("row %zu: %s", i, vfuc_error(s.c));
        snprintf(first, sizeof first, "%s", vfuc_error(s.c));
        assert_int_equal(vfuc_reset(s.c), -EPROTO);
        assert_string_equal(vfuc_error(s.c), first);
        stop(&s);
    }
}

static void test_senseless_size(void **state)
{
    struct vfu_msg_header header = { 1, VFU_CMD_REGION_READ, 15, VFU_MSG_REPLY, 0 };
    struct server s;
    uint64_t value;

    (void)state;
    start(&s);
    assert_int_equal(send(s.fd, &header, sizeof header, 0), (ssize_t)sizeof header);
    assert_int_equal(vfuc_get(s.c, 0, 0, 4, &value), -EPROTO);
    assert_non_null(strstr(vfuc_error(s.c), "15 bytes"));
    stop(&s);
}

static void test_timeout(void **state)
{
    struct server s;
    uint64_t value;
    uint16_t late;

    (void)state;
    start(&s);
    vfuc_timeout(s.c, 20 * MS);
    late = s.id++;
    assert_int_equal(vfuc_get(s.c, 0, 0, 4, &value), -ETIMEDOUT);
    assert_non_null(strstr(vfuc_error(s.c), "20 ms"));
    /* The late reply is dropped, and the next one is found. */
    put(&s, late, VFU_CMD_REGION_READ, VFU_MSG_REPLY, 0, "\0\0\0\0\0\0\0\0\0\0\0\0\4\0\0\0abcd", 20);
    put_access(&s, VFU_CMD_REGION_READ, 4, 0, 4, "\1\0\0\0");
    assert_int_equal(vfuc_get(s.c, 0, 4, 4, &value), 0);
    assert_int_equal(value, 1);
    stop(&s);
}

static void test_closed(void **state)
{
    struct server s;
    uint64_t value;

    (void)state;
    start(&s);
    shutdown(s.fd, SHUT_WR);
    assert_int_equal(vfuc_get(s.c, 0, 0, 4, &value), -ENOTCONN);
    assert_int_equal(vfuc_get(s.c, 0, 0, 4, &value), -ENOTCONN);
    assert_non_null(strstr(vfuc_error(s.c), "closed"));
    vfuc_close(s.c);
    assert_int_equal(vfuc_fd(s.c), -1);
    stop(&s);
}

static void test_posted(void **state)
{
    struct vfuc_multi writes[2] = { { 0, 0, 4, { 1 } }, { 4, 0, 4, { 2 } } };
    uint64_t done = 2;
    struct server s;

    (void)state;
    start(&s);
    for (uint8_t i = 0; i < 3; i++)
        assert_int_equal(vfuc_post(s.c, 0, 16, &i, 1), 0);
    nothing(s.fd);
    assert_int_equal(vfuc_flush(s.c), 0);
    for (uint8_t i = 0; i < 3; i++) {
        take(&s, VFU_CMD_REGION_WRITE);
        assert_int_equal(s.header.flags, VFU_MSG_NO_REPLY);
        assert_int_equal(s.body[16], i);
    }
    nothing(s.fd);
    s.id += 3;

    good(&s, VFU_CMD_REGION_WRITE_MULTI, &done, sizeof done);
    assert_int_equal(vfuc_write_multi(s.c, writes, 2, false), 2);
    take(&s, VFU_CMD_REGION_WRITE_MULTI);
    assert_int_equal(s.header.size, HEADER + 8 + 48);
    assert_int_equal(s.body[0], 2);
    assert_int_equal(s.body[8 + 24 + 16], 2);
    assert_int_equal(vfuc_write_multi(s.c, writes, 2, true), 0);
    s.id++;
    done = 3;
    good(&s, VFU_CMD_REGION_WRITE_MULTI, &done, sizeof done);
    assert_int_equal(vfuc_write_multi(s.c, writes, 2, false), -EPROTO);
    stop(&s);
}

static void test_pipelined(void **state)
{
    uint8_t reply[20] = { 0 };
    uint32_t values[3] = { 0 };
    int status[3] = { 1, 1, 1 };
    struct server s;

    (void)state;
    start(&s);
    reply[12] = 4;
    /* In another order than asked for; one fails. */
    reply[0] = 8;
    reply[16] = 0x33;
    put(&s, (uint16_t)(s.id + 2), VFU_CMD_REGION_READ, VFU_MSG_REPLY, 0, reply, 20);
    put(&s, (uint16_t)(s.id + 1), VFU_CMD_REGION_READ, VFU_MSG_REPLY | VFU_MSG_ERROR, EFAULT, NULL, 0);
    reply[0] = 0;
    reply[16] = 0x11;
    put(&s, s.id, VFU_CMD_REGION_READ, VFU_MSG_REPLY, 0, reply, 20);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(vfuc_queue_read(s.c, 0, i * 4, &values[i], 4, &status[i]), 0);
    assert_int_equal(vfuc_drain(s.c), -EFAULT);
    assert_int_equal(status[0], 0);
    assert_int_equal(status[1], -EFAULT);
    assert_int_equal(status[2], 0);
    assert_int_equal(values[0], 0x11);
    assert_int_equal(values[1], 0);
    assert_int_equal(values[2], 0x33);
    assert_int_equal(vfuc_drain(s.c), 0);
    s.id += 3;
    /* All lost: nobody answers. */
    vfuc_timeout(s.c, 10 * MS);
    assert_int_equal(vfuc_queue_write(s.c, 0, 0, "x", 1, &status[0]), 0);
    assert_int_equal(vfuc_queue_read(s.c, 0, 0, &values[0], 4, &status[1]), 0);
    assert_int_equal(vfuc_drain(s.c), -ETIMEDOUT);
    assert_int_equal(status[0], -ETIMEDOUT);
    assert_int_equal(status[1], -ETIMEDOUT);
    stop(&s);
}

/* ---- with a server in a thread: it answers reads with the low bytes of the offset, and takes writes */

static void *echo(void *arg)
{
    int fd = *(int *)arg;
    static uint8_t body[2 * MIB], reply[2 * MIB];

    for (;;) {
        struct vfu_msg_region_access access;
        struct vfu_msg_header header;
        struct iovec iov[3];
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

        if (recv(fd, &header, sizeof header, MSG_WAITALL) != (ssize_t)sizeof header)
            return NULL;
        if (header.size > HEADER &&
            recv(fd, body, header.size - HEADER, MSG_WAITALL) != (ssize_t)(header.size - HEADER))
            return NULL;
        if (header.flags & VFU_MSG_NO_REPLY)
            continue;
        memcpy(&access, body, sizeof access);
        header.size = HEADER + sizeof access;
        header.flags = VFU_MSG_REPLY;
        iov[0] = (struct iovec){ &header, sizeof header };
        iov[1] = (struct iovec){ &access, sizeof access };
        if (header.command == VFU_CMD_REGION_READ) {
            for (uint32_t i = 0; i < access.count; i++)
                reply[i] = (uint8_t)((access.offset + i) * 7 >> 3);
            header.size += access.count;
            iov[2] = (struct iovec){ reply, access.count };
            msg.msg_iovlen = 3;
        }
        if (sendmsg(fd, &msg, MSG_NOSIGNAL) != (ssize_t)header.size)
            return NULL;
    }
}

static void test_big(void **state)
{
    static uint8_t data[3 * MIB + 5];
    pthread_t thread;
    struct server s;

    (void)state;
    start(&s);
    assert_int_equal(pthread_create(&thread, NULL, echo, &s.fd), 0);
    assert_int_equal(vfuc_read(s.c, 0, 3, data, sizeof data), 0);
    for (size_t i = 0; i < sizeof data; i++) {
        if (data[i] != (uint8_t)((3 + i) * 7 >> 3))
            fail_msg("byte %zu is wrong", i);
    }
    assert_int_equal(vfuc_write(s.c, 0, 0, data, sizeof data), 0);
    /* More in flight than fits: queueing takes replies in by itself. */
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(vfuc_queue_read(s.c, 0, i * 1000, data + i * 200000, 200000, NULL), 0);
    assert_int_equal(vfuc_drain(s.c), 0);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(data[i * 200000 + 199999], (uint8_t)((i * 1000 + 199999) * 7 >> 3));
    /* Ids wrap around, with more than 256 in flight asked for. */
    for (uint32_t i = 0; i < 70000; i++)
        assert_int_equal(vfuc_queue_read(s.c, 0, i, data + i, 1, NULL), 0);
    assert_int_equal(vfuc_drain(s.c), 0);
    for (uint32_t i = 0; i < 70000; i++) {
        if (data[i] != (uint8_t)((uint64_t)i * 7 >> 3))
            fail_msg("read %u is wrong", i);
    }
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(vfuc_post(s.c, 0, i, data, 8), 0);
    assert_int_equal(vfuc_post(s.c, 0, 0, data, MIB), 0);
    assert_int_equal(vfuc_post(s.c, 0, 0, data, MIB + 1), -EMSGSIZE);
    assert_int_equal(vfuc_read(s.c, 0, 0, data, 16), 0);
    vfuc_free(s.c);
    pthread_join(thread, NULL);
    close(s.fd);
}

/* ---- memory */

static void put_dma(int fd, uint16_t id, uint16_t command, uint64_t address, uint64_t count, const void *data,
                    uint32_t size)
{
    uint8_t body[256];

    memcpy(body, &address, 8);
    memcpy(body + 8, &count, 8);
    if (size)
        memcpy(body + 16, data, size);
    put_fds(fd, id, command, 0, 0, body, 16 + size, NULL, 0);
}

static void expect_dma(struct server *s, int fd, uint16_t id, uint16_t command, uint32_t error, const char *data,
                       uint32_t size)
{
    take_from(s, fd);
    assert_int_equal(s->header.id, id);
    assert_int_equal(s->header.command, command);
    assert_int_equal(s->header.flags, error ? VFU_MSG_REPLY | VFU_MSG_ERROR : VFU_MSG_REPLY);
    assert_int_equal(s->header.error, error);
    assert_int_equal(s->header.size, error ? HEADER : HEADER + 16 + size);
    if (size)
        assert_memory_equal(s->body + 16, data, size);
}

static uint8_t *lend(struct server *s, uint64_t address, uint32_t flags)
{
    struct vfu_msg_dma_map map;
    void *mem = NULL;

    good(s, VFU_CMD_DMA_MAP, NULL, 0);
    assert_int_equal(vfuc_memory_new(s->c, address, 8192, flags, &mem), 0);
    take(s, VFU_CMD_DMA_MAP);
    memcpy(&map, s->body, sizeof map);
    assert_int_equal(map.argsz, 32);
    assert_int_equal(map.flags, flags & 3);
    assert_int_equal(map.address, address);
    assert_int_equal(map.size, 8192);
    assert_int_equal(s->nfds, flags & VFUC_DMA_MESSAGES ? 0 : 1);
    for (uint32_t i = 0; i < s->nfds; i++)
        close(s->fds[i]);
    return mem;
}

static void check_dma(struct server *s, int fd)
{
    uint8_t *low = lend(s, 0x10000, VFUC_DMA_RW | VFUC_DMA_MESSAGES), *high = lend(s, 0x12000, VFUC_DMA_READ);
    uint64_t requests, bytes;

    memcpy(low + 8188, "ABCD", 4);
    memcpy(high, "EFGH", 4);
    /* The server asks while we wait for a reply of its own: inside one region, over two, in the wrong direction, with a
     * hole, around the end, for nothing, with a lie about the size, with a command that is not for us. */
    put_dma(fd, 90, VFU_CMD_DMA_WRITE, 0x10010, 5, "hello", 5);
    put_dma(fd, 90, VFU_CMD_DMA_READ, 0x11ffc, 8, NULL, 0);
    put_dma(fd, 91, VFU_CMD_DMA_WRITE, 0x11ffc, 8, "12345678", 8);
    put_dma(fd, 92, VFU_CMD_DMA_READ, 0x13ffc, 8, NULL, 0);
    put_dma(fd, 93, VFU_CMD_DMA_READ, UINT64_MAX - 3, 8, NULL, 0);
    put_dma(fd, 94, VFU_CMD_DMA_READ, 0x10000, 0, NULL, 0);
    put_dma(fd, 95, VFU_CMD_DMA_READ, 0x10000, UINT64_MAX, NULL, 0);
    put_dma(fd, 96, VFU_CMD_DMA_WRITE, 0x10000, 8, "1234", 4);
    put_dma(fd, 97, VFU_CMD_REGION_READ, 0, 0, NULL, 0);
    if (fd == s->twin)
        assert_int_equal(vfuc_serve(s->c, 100 * MS), 9);
    good(s, VFU_CMD_DEVICE_RESET, NULL, 0);
    assert_int_equal(vfuc_reset(s->c), 0);
    if (fd != s->twin)
        take(s, VFU_CMD_DEVICE_RESET);
    expect_dma(s, fd, 90, VFU_CMD_DMA_WRITE, 0, NULL, 0);
    assert_memory_equal(low + 0x10, "hello", 5);
    expect_dma(s, fd, 90, VFU_CMD_DMA_READ, 0, "ABCDEFGH", 8);
    expect_dma(s, fd, 91, VFU_CMD_DMA_WRITE, EFAULT, NULL, 0);
    assert_memory_equal(low + 8188, "ABCD", 4);
    expect_dma(s, fd, 92, VFU_CMD_DMA_READ, EFAULT, NULL, 0);
    expect_dma(s, fd, 93, VFU_CMD_DMA_READ, EFAULT, NULL, 0);
    expect_dma(s, fd, 94, VFU_CMD_DMA_READ, EINVAL, NULL, 0);
    expect_dma(s, fd, 95, VFU_CMD_DMA_READ, EINVAL, NULL, 0);
    expect_dma(s, fd, 96, VFU_CMD_DMA_WRITE, EINVAL, NULL, 0);
    expect_dma(s, fd, 97, VFU_CMD_REGION_READ, ENOSYS, NULL, 0);
    vfuc_dma_stats(s->c, &requests, &bytes);
    assert_int_equal(requests, 9);
    assert_int_equal(bytes, 13);
}

static void test_dma(void **state)
{
    int before = count_fds();
    struct server s;

    (void)state;
    start(&s);
    check_dma(&s, s.fd);
    assert_int_equal(vfuc_serve(s.c, 0), 0);
    stop(&s);
    assert_int_equal(count_fds(), before);
}

static void test_dma_twin(void **state)
{
    struct server s;

    (void)state;
    start_twin(&s);
    check_dma(&s, s.twin);
    stop(&s);
}

static void test_memory(void **state)
{
    struct vfu_msg_dma_unmap unmap = { 24, 0, 0x10000, 8192 };
    uint8_t own[4096];
    struct server s;
    void *mem;

    (void)state;
    start(&s);
    lend(&s, 0x10000, VFUC_DMA_RW);
    assert_int_equal(vfuc_memory_new(s.c, 0x11000, 4096, VFUC_DMA_RW, &mem), -EEXIST);
    assert_int_equal(vfuc_memory_new(s.c, 0x20001, 4096, VFUC_DMA_RW, &mem), -EINVAL);
    assert_int_equal(vfuc_memory_new(s.c, 0x20000, 0, VFUC_DMA_RW, &mem), -EINVAL);
    assert_int_equal(vfuc_memory_new(s.c, 0x20000, 4096, 0, &mem), -EINVAL);
    assert_int_equal(vfuc_memory_free(s.c, 0x20000), -ENOENT);
    bad(&s, VFU_CMD_DMA_MAP, ENOSPC);
    assert_int_equal(vfuc_memory_new(s.c, 0x20000, 4096, VFUC_DMA_RW, &mem), -ENOSPC);
    take(&s, VFU_CMD_DMA_MAP);
    close(s.fds[0]);
    /* Both kinds of reply are in use: with the request's payload, and without. */
    good(&s, VFU_CMD_DMA_UNMAP, &unmap, sizeof unmap);
    assert_int_equal(vfuc_memory_free(s.c, 0x10000), 0);
    take(&s, VFU_CMD_DMA_UNMAP);
    good(&s, VFU_CMD_DMA_MAP, NULL, 0);
    assert_int_equal(vfuc_dma_map(s.c, 0x30000, 4096, VFUC_DMA_RW, -1, 0, own), 0);
    take(&s, VFU_CMD_DMA_MAP);
    good(&s, VFU_CMD_DMA_UNMAP, NULL, 0);
    assert_int_equal(vfuc_dma_unmap(s.c, 0x30000, 4096), 0);
    take(&s, VFU_CMD_DMA_UNMAP);
    put_dma(s.fd, 1, VFU_CMD_DMA_READ, 0x30000, 4, NULL, 0);
    assert_int_equal(vfuc_serve(s.c, 100 * MS), 1);
    expect_dma(&s, s.fd, 1, VFU_CMD_DMA_READ, EFAULT, NULL, 0);
    stop(&s);
}

static int hook(void *ctx, bool write, uint64_t address, void *data, uint64_t size)
{
    int *calls = ctx;

    (*calls)++;
    if (address == 0x666)
        return -EACCES;
    if (!write)
        memset(data, 'z', size);
    return 0;
}

static void test_dma_hook(void **state)
{
    struct server s;
    int calls = 0;

    (void)state;
    start(&s);
    vfuc_on_dma(s.c, hook, &calls);
    put_dma(s.fd, 1, VFU_CMD_DMA_READ, 0x1234, 3, NULL, 0);
    put_dma(s.fd, 2, VFU_CMD_DMA_WRITE, 0x666, 3, "abc", 3);
    assert_int_equal(vfuc_serve(s.c, 100 * MS), 2);
    assert_int_equal(calls, 2);
    expect_dma(&s, s.fd, 1, VFU_CMD_DMA_READ, 0, "zzz", 3);
    expect_dma(&s, s.fd, 2, VFU_CMD_DMA_WRITE, EACCES, NULL, 0);
    stop(&s);
}

/* ---- what the device says */

static void test_info(void **state)
{
    uint32_t device[4] = { 16, 3, 9, 5 }, irq[4] = { 16, 7, 2, 64 };
    struct vfuc_device d;
    struct vfuc_irq i;
    struct server s;

    (void)state;
    start(&s);
    good(&s, VFU_CMD_DEVICE_GET_INFO, device, sizeof device);
    assert_int_equal(vfuc_device_info(s.c, &d), 0);
    assert_int_equal(d.flags, VFUC_DEVICE_RESET | VFUC_DEVICE_PCI);
    assert_int_equal(d.num_regions, 9);
    assert_int_equal(d.num_irqs, 5);
    good(&s, VFU_CMD_DEVICE_GET_IRQ_INFO, irq, sizeof irq);
    assert_int_equal(vfuc_irq_info(s.c, VFUC_MSIX, &i), 0);
    assert_int_equal(i.count, 64);
    assert_int_equal(i.flags, VFUC_IRQ_EVENTFD | VFUC_IRQ_MASKABLE | VFUC_IRQ_AUTOMASKED);
    good(&s, VFU_CMD_DEVICE_GET_IRQ_INFO, irq, sizeof irq);
    assert_int_equal(vfuc_irq_info(s.c, VFUC_MSI, &i), -EPROTO);
    stop(&s);
}

struct sparse_reply {
    struct vfio_region_info info;
    struct vfio_info_cap_header type;
    uint32_t type_data[2];
    struct vfio_info_cap_header head;
    uint32_t nr_areas, reserved;
    struct vfuc_area areas[2];
};

static struct sparse_reply sparse(void)
{
    struct sparse_reply r = { .info = { .argsz = sizeof r, .flags = 15, .index = 2, .size = 65536, .offset = 0x7000 } };

    r.info.cap_offset = offsetof(struct sparse_reply, type);
    r.type = (struct vfio_info_cap_header){ 2, 1, offsetof(struct sparse_reply, head) };
    r.head = (struct vfio_info_cap_header){ VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 };
    r.nr_areas = 2;
    r.areas[0] = (struct vfuc_area){ 4096, 4096 };
    r.areas[1] = (struct vfuc_area){ 16384, 8192 };
    return r;
}

static void put_region(struct server *s, const struct sparse_reply *reply)
{
    int fd = memfd_create("region", MFD_CLOEXEC);

    put_fds(s->fd, s->id++, VFU_CMD_DEVICE_GET_REGION_INFO, VFU_MSG_REPLY, 0, reply, sizeof *reply, &fd, 1);
    close(fd);
}

static void test_region_info(void **state)
{
    struct sparse_reply reply = sparse();
    int before = count_fds();
    struct vfuc_area areas[4];
    struct vfuc_region r;
    struct server s;

    (void)state;
    start(&s);
    put_region(&s, &reply);
    assert_int_equal(vfuc_region_info(s.c, 2, &r, areas, 4), 0);
    assert_int_equal(r.size, 65536);
    assert_int_equal(r.offset, 0x7000);
    assert_int_equal(r.flags, 15);
    assert_int_equal(r.nareas, 2);
    assert_int_equal(areas[1].offset, 16384);
    assert_int_equal(areas[1].size, 8192);
    assert_true(r.fd >= 0);
    close(r.fd);
    /* Room for one, and for none; an fd that nobody asked for. */
    put_region(&s, &reply);
    assert_int_equal(vfuc_region_info(s.c, 2, &r, areas, 1), 0);
    assert_int_equal(r.nareas, 2);
    close(r.fd);
    reply.info.flags = 3;
    put_region(&s, &reply);
    assert_int_equal(vfuc_region_info(s.c, 2, &r, NULL, 0), 0);
    assert_int_equal(r.fd, -1);
    assert_int_equal(r.nareas, 0);
    stop(&s);
    assert_int_equal(count_fds(), before);
}

static void test_region_info_wrong(void **state)
{
    int before = count_fds();

    (void)state;
    for (int i = 0; i < 6; i++) {
        struct sparse_reply reply = sparse();
        struct vfuc_area areas[4];
        struct vfuc_region r;
        struct server s;

        start(&s);
        if (i == 0)
            reply.head.next = offsetof(struct sparse_reply, type); /* a loop */
        if (i == 1)
            reply.info.cap_offset = sizeof reply - 4;
        if (i == 2)
            reply.info.cap_offset = UINT32_MAX;
        if (i == 3)
            reply.nr_areas = 3;
        if (i == 4)
            reply.nr_areas = UINT32_MAX;
        if (i == 5)
            reply.info.index = 3;
        put_region(&s, &reply);
        assert_int_equal(vfuc_region_info(s.c, 2, &r, areas, 4), -EPROTO);
        stop(&s);
    }
    assert_int_equal(count_fds(), before);
}

/* ---- interrupts */

static void test_irqs(void **state)
{
    int before = count_fds();
    struct vfio_irq_set set;
    uint64_t one = 1;
    int last;
    struct server s;

    (void)state;
    start(&s);
    /* Six vectors at four descriptors a message. */
    good(&s, VFU_CMD_DEVICE_SET_IRQS, NULL, 0);
    good(&s, VFU_CMD_DEVICE_SET_IRQS, NULL, 0);
    assert_int_equal(vfuc_irq_arm(s.c, VFUC_MSIX, 6), 0);
    take(&s, VFU_CMD_DEVICE_SET_IRQS);
    assert_int_equal(s.nfds, 4);
    for (int i = 0; i < 4; i++)
        close(s.fds[i]);
    take(&s, VFU_CMD_DEVICE_SET_IRQS);
    assert_int_equal(s.nfds, 2);
    memcpy(&set, s.body, sizeof set);
    assert_int_equal(set.flags, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER);
    assert_int_equal(set.index, VFUC_MSIX);
    assert_int_equal(set.start, 4);
    assert_int_equal(set.count, 2);
    last = s.fds[1];
    close(s.fds[0]);

    assert_int_equal(vfuc_irq_wait(s.c, VFUC_MSIX, 5, MS), 0);
    assert_int_equal(write(last, &one, sizeof one), (ssize_t)sizeof one);
    assert_int_equal(write(last, &one, sizeof one), (ssize_t)sizeof one);
    assert_int_equal(vfuc_irq_wait(s.c, VFUC_MSIX, 5, 1000 * MS), 2);
    assert_int_equal(vfuc_irq_wait(s.c, VFUC_MSIX, 6, MS), -ENOENT);
    assert_int_equal(vfuc_irq_wait(s.c, VFUC_MSI, 0, MS), -ENOENT);
    assert_int_equal(vfuc_irq_wait(s.c, 77, 0, MS), -ENOENT);
    assert_int_equal(vfuc_irq_fd(s.c, VFUC_MSIX, 6), -1);
    /* DMA is served while an interrupt is waited for. */
    put_dma(s.fd, 5, VFU_CMD_DMA_READ, 0x1000, 4, NULL, 0);
    assert_int_equal(vfuc_irq_wait(s.c, VFUC_MSIX, 0, MS), 0);
    expect_dma(&s, s.fd, 5, VFU_CMD_DMA_READ, EFAULT, NULL, 0);
    close(last);

    good(&s, VFU_CMD_DEVICE_SET_IRQS, NULL, 0);
    assert_int_equal(vfuc_irq_unmask(s.c, VFUC_INTX, 0, 1), 0);
    take(&s, VFU_CMD_DEVICE_SET_IRQS);
    memcpy(&set, s.body, sizeof set);
    assert_int_equal(set.flags, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK);
    good(&s, VFU_CMD_DEVICE_SET_IRQS, NULL, 0);
    assert_int_equal(vfuc_irq_disarm(s.c, VFUC_MSIX), 0);
    assert_int_equal(vfuc_irq_fd(s.c, VFUC_MSIX, 0), -1);
    bad(&s, VFU_CMD_DEVICE_SET_IRQS, EINVAL);
    assert_int_equal(vfuc_irq_arm(s.c, VFUC_MSI, 2), -EINVAL);
    assert_int_equal(vfuc_irq_arm(s.c, VFUC_MSI, 0), -EINVAL);
    assert_int_equal(vfuc_irq_arm(s.c, 9, 1), -EINVAL);
    take(&s, VFU_CMD_DEVICE_SET_IRQS);
    take(&s, VFU_CMD_DEVICE_SET_IRQS);
    for (uint32_t i = 0; i < s.nfds; i++)
        close(s.fds[i]);
    stop(&s);
    assert_int_equal(count_fds(), before);
}

/* ---- raw */

static void *reader(void *arg)
{
    static size_t sizes[64];
    int fd = *(int *)arg;
    uint8_t bytes[256];
    ssize_t n;

    for (size_t i = 0; i < 63 && (n = recv(fd, bytes, sizeof bytes, 0)) > 0; i++)
        sizes[i] = (size_t)n;
    return sizes;
}

static void test_raw(void **state)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = VFUC_NO_VERSION, .timeout_ns = 1000 * MS };
    uint8_t bytes[100] = { 0 };
    uint64_t value;
    pthread_t thread;
    size_t *sizes, got = 0;
    struct server s;

    (void)state;
    start_with(&s, &options);
    assert_int_equal(attach(&s), 0);
    assert_int_equal(vfuc_get(s.c, 0, 0, 4, &value), -ENOTCONN);
    put(&s, 7, 1234, 99, 5, "body", 4);
    assert_int_equal(vfuc_raw_recv(s.c, bytes, sizeof bytes, NULL, NULL, 100 * MS), 20);
    assert_int_equal(bytes[0], 7);
    assert_memory_equal(bytes + 16, "body", 4);
    assert_int_equal(vfuc_raw_recv(s.c, bytes, sizeof bytes, NULL, NULL, MS), -ETIMEDOUT);
    put(&s, 7, 1234, 99, 5, bytes, 90);
    assert_int_equal(vfuc_raw_recv(s.c, bytes, sizeof bytes, NULL, NULL, MS), -EMSGSIZE);
    /* Pieces arrive on their own, or several at once where the reader is late; never a part of one. */
    assert_int_equal(pthread_create(&thread, NULL, reader, &s.fd), 0);
    assert_int_equal(vfuc_raw_send(s.c, bytes, 100, 7, NULL, 0), 0);
    shutdown(vfuc_fd(s.c), SHUT_WR);
    pthread_join(thread, (void **)&sizes);
    for (int i = 0; sizes[i]; i++) {
        got += sizes[i];
        assert_true(got % 7 == 0 || got == 100);
    }
    assert_int_equal(got, 100);
    close(s.fd);
    s.fd = -1;
    vfuc_close(s.c);
    vfuc_free(s.c);
}

static void test_request(void **state)
{
    int before = count_fds(), fd = eventfd(0, EFD_CLOEXEC), got[2];
    uint8_t reply[8];
    struct vfuc_request r = { .command = VFU_CMD_DEVICE_FEATURE, .body = "12345678", .size = 8, .fds = &fd, .nfds = 1,
                              .reply = reply, .reply_max = sizeof reply, .reply_fds = got, .reply_fds_max = 2 };
    struct server s;

    (void)state;
    start(&s);
    put_fds(s.fd, s.id++, VFU_CMD_DEVICE_FEATURE, VFU_MSG_REPLY, 0, "abcdef", 6, (int[]){ fd, fd, fd }, 3);
    assert_int_equal(vfuc_request(s.c, &r), 0);
    assert_int_equal(r.reply_size, 6);
    assert_int_equal(r.reply_nfds, 2);
    assert_memory_equal(reply, "abcdef", 6);
    close(got[0]);
    close(got[1]);
    take(&s, VFU_CMD_DEVICE_FEATURE);
    assert_int_equal(s.nfds, 1);
    close(s.fds[0]);
    r.nfds = 0;
    good(&s, VFU_CMD_DEVICE_FEATURE, "too long for it", 15);
    assert_int_equal(vfuc_request(s.c, &r), -EMSGSIZE);
    r.posted = true;
    assert_int_equal(vfuc_request(s.c, &r), 0);
    close(fd);
    stop(&s);
    assert_int_equal(count_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_version_defaults),
        cmocka_unit_test(test_version_options),
        cmocka_unit_test(test_version_refused),
        cmocka_unit_test(test_version_error),
        cmocka_unit_test(test_twin),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_not_connected),
        cmocka_unit_test(test_connect_limit),
        cmocka_unit_test(test_read_write),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_wrong_replies),
        cmocka_unit_test(test_senseless_size),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_posted),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_big),
        cmocka_unit_test(test_dma),
        cmocka_unit_test(test_dma_twin),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_dma_hook),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_region_info),
        cmocka_unit_test(test_region_info_wrong),
        cmocka_unit_test(test_irqs),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_request),
    };

    return cmocka_run_group_tests_name("client library", tests, NULL, NULL);
}
