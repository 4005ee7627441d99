/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/transport over a socket pair: framing under every cut, descriptors and whose they are, data that goes
 * past the buffer, output to a peer that is slow. One thread. Each test ends with as many descriptors as it began with.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/wire/transport.h"
#include "tests/unit/pcapng.h"

#define HEADER ((uint32_t)sizeof(struct vfu_msg_header))

static struct transport t;
static int peer;

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static unsigned fds_before;

static int open_kind(int kind)
{
    int pair[2];

    fds_before = count_fds();
    assert_int_equal(socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(transport_open(&t, pair[0]), 0);
    peer = pair[1];
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return open_kind(SOCK_STREAM);
}

/* Packets keep what left in one send apart from what left in the next. */
static int set_up_packets(void **state)
{
    (void)state;
    return open_kind(SOCK_SEQPACKET);
}

static int tear_down(void **state)
{
    (void)state;
    transport_close(&t);
    if (peer >= 0)
        close(peer);
    assert_int_equal(count_fds(), fds_before);
    return 0;
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 7 + 5);
}

/* A message at `bytes`: the id says which, the body is a pattern that depends on it. */
static uint32_t make(uint8_t *bytes, uint16_t id, uint32_t body)
{
    struct vfu_msg_header header = { .id = id, .command = VFU_CMD_REGION_READ, .size = HEADER + body };

    memcpy(bytes, &header, HEADER);
    for (uint32_t i = 0; i < body; i++)
        bytes[HEADER + i] = pattern(i + id);
    return HEADER + body;
}

static void send_fds(int fd, const void *bytes, size_t n, const int *fds, unsigned nfds)
{
    char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(8)));
    struct iovec iov = { (void *)(uintptr_t)bytes, n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    struct cmsghdr *c;

    assert_true(nfds <= 64);
    memset(control, 0, sizeof control);
    if (nfds) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)n);
}

static void send_bytes(const void *bytes, size_t n)
{
    send_fds(peer, bytes, n, NULL, 0);
}

/* A file whose inode tells it from others: what arrives can be compared with what was sent. */
static int a_file(void)
{
    FILE *f = tmpfile();
    int fd;

    assert_non_null(f);
    fd = fcntl(fileno(f), F_DUPFD_CLOEXEC, 0);
    assert_true(fd >= 0);
    fclose(f);
    return fd;
}

static void assert_same_file(int a, int b)
{
    struct stat x, y;

    assert_int_equal(fstat(a, &x), 0);
    assert_int_equal(fstat(b, &y), 0);
    assert_true(x.st_ino == y.st_ino && x.st_dev == y.st_dev);
}

static void check_body(const struct message *m)
{
    assert_int_equal(m->size, m->header.size - HEADER);
    for (uint32_t i = 0; i < m->size; i++) {
        if (m->body[i] != pattern(i + m->header.id))
            fail_msg("message %u, byte %u is wrong", m->header.id, i);
    }
}

/* The next message is there, is this one, and has so many descriptors; the caller ends it. */
static void expect(struct message *m, uint16_t id, uint32_t nfds)
{
    assert_int_equal(transport_next(&t, m), 1);
    assert_int_equal(m->header.id, id);
    check_body(m);
    assert_int_equal(m->nfds, nfds);
}

static void receive_all(void)
{
    int got;

    while ((got = transport_receive(&t)) == TRANSPORT_MORE)
        ;
    assert_int_equal(got, TRANSPORT_EMPTY);
}

/* ---- framing ----------------------------------------------------------------------------------------------- */

static void test_single_bytes(void **state)
{
    uint8_t bytes[HEADER + 24];
    uint32_t size = make(bytes, 7, 24);
    struct message m;

    (void)state;
    assert_int_equal(transport_receive(&t), TRANSPORT_EMPTY);
    for (uint32_t i = 0; i < size; i++) {
        assert_int_equal(transport_next(&t, &m), 0);
        send_bytes(bytes + i, 1);
        assert_int_equal(transport_receive(&t), TRANSPORT_EMPTY);
    }
    expect(&m, 7, 0);
    transport_done(&t, &m);
    assert_int_equal(transport_next(&t, &m), 0);
    assert_int_equal(transport_receive(&t), TRANSPORT_EMPTY);
}

static void test_glued(void **state)
{
    static uint8_t bytes[64 * 1024];
    struct message m;
    size_t n = 0;

    (void)state;
    for (uint16_t id = 0; id < 500; id++)
        n += make(bytes + n, id, id % 97);
    send_bytes(bytes, n);
    receive_all();
    for (uint16_t id = 0; id < 500; id++) {
        expect(&m, id, 0);
        transport_done(&t, &m);
    }
    assert_int_equal(transport_next(&t, &m), 0);
}

static void test_every_cut(void **state)
{
    uint8_t bytes[256];
    size_t n = make(bytes, 1, 20);
    struct message m;

    (void)state;
    n += make(bytes + n, 2, 0);
    n += make(bytes + n, 3, 33);
    for (size_t cut = 1; cut < n; cut++) {
        uint16_t id = 1;

        send_bytes(bytes, cut);
        receive_all();
        while (transport_next(&t, &m) == 1) {
            assert_int_equal(m.header.id, id++);
            check_body(&m);
            transport_done(&t, &m);
        }
        send_bytes(bytes + cut, n - cut);
        receive_all();
        for (; id <= 3; id++) {
            expect(&m, id, 0);
            transport_done(&t, &m);
        }
        assert_int_equal(transport_next(&t, &m), 0);
    }
}

static void test_bad_sizes(void **state)
{
    static const uint32_t sizes[] = { 0, 1, HEADER - 1, TRANSPORT_MAX_MESSAGE + 1, 0x80000000u, UINT32_MAX };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct vfu_msg_header header = { .id = 99, .command = 4, .size = sizes[i] };
        struct message m;

        send_bytes(&header, sizeof header);
        receive_all();
        assert_int_equal(transport_next(&t, &m), -EINVAL);
        assert_int_equal(m.header.id, 99);
        assert_int_equal(m.header.size, sizes[i]);
        assert_int_equal(m.nfds, 0);
        /* It stays so: nothing behind it is looked at. */
        assert_int_equal(transport_next(&t, &m), -EINVAL);
        tear_down(state);
        set_up(state);
    }
}

/* The largest message there may be, behind a small one, through a socket that holds less. */
static void test_largest(void **state)
{
    uint8_t *bytes = malloc(TRANSPORT_MAX_MESSAGE + HEADER);
    size_t n, at = 0;
    struct message m;

    (void)state;
    assert_non_null(bytes);
    n = make(bytes, 1, 0);
    n += make(bytes + n, 2, TRANSPORT_MAX_MESSAGE - HEADER);
    for (int turn = 0; turn < 3; turn++, at = 0) {
        while (at < n) {
            ssize_t sent = send(peer, bytes + at, n - at, MSG_DONTWAIT);

            if (sent > 0)
                at += (size_t)sent;
            else
                assert_int_equal(errno, EAGAIN);
            receive_all();
        }
        expect(&m, 1, 0);
        transport_done(&t, &m);
        expect(&m, 2, 0);
        transport_done(&t, &m);
        assert_int_equal(transport_next(&t, &m), 0);
    }
    free(bytes);
}

/* Messages that nobody handles fill the buffer; it takes no more, loses nothing, and goes on. */
static void test_full(void **state)
{
    static uint8_t bytes[8192];
    uint16_t sent = 0, seen = 0;
    struct message m;
    int got = 0;

    (void)state;
    for (int i = 0; i < 4000 && got != TRANSPORT_FULL; i++) {
        uint32_t size = make(bytes, sent, 8000);

        send_bytes(bytes, size);
        sent++;
        got = transport_receive(&t);
    }
    assert_int_equal(got, TRANSPORT_FULL);
    assert_int_equal(transport_receive(&t), TRANSPORT_FULL);
    for (; seen < 40; seen++) {
        expect(&m, seen, 0);
        transport_done(&t, &m);
    }
    receive_all();
    for (; seen < sent; seen++) {
        expect(&m, seen, 0);
        transport_done(&t, &m);
    }
    assert_int_equal(transport_next(&t, &m), 0);
}

static void test_end_of_stream(void **state)
{
    uint8_t bytes[64];
    struct message m;
    int got;

    (void)state;
    send_bytes(bytes, make(bytes, 5, 10));
    send_bytes(bytes, 20); /* and a piece of another */
    close(peer);
    peer = -1;
    while ((got = transport_receive(&t)) == TRANSPORT_MORE || got == TRANSPORT_EMPTY)
        ;
    assert_int_equal(got, TRANSPORT_EOF);
    expect(&m, 5, 0);
    transport_done(&t, &m);
    assert_int_equal(transport_next(&t, &m), 0);
    assert_int_equal(transport_receive(&t), TRANSPORT_EOF);
}

/* What waits unread here when it closes is a reset to the peer that looks: the end, no error. */
static void test_reset_is_the_end(void **state)
{
    uint8_t *room = transport_room(&t, 32);

    (void)state;
    assert_non_null(room);
    transport_commit(&t, make(room, 1, 16));
    assert_int_equal(transport_flush(&t), 0);
    close(peer);
    peer = -1;
    assert_int_equal(transport_receive(&t), TRANSPORT_EOF);
}

static void test_open_bad_fd(void **state)
{
    struct transport bad;

    (void)state;
    assert_int_equal(transport_open(&bad, -1), -EBADF);
    assert_int_equal(bad.fd, -1);
    transport_close(&bad);
}

/* ---- descriptors ------------------------------------------------------------------------------------------- */

static void test_fds_of_one(void **state)
{
    uint8_t bytes[64];
    int fds[3] = { a_file(), a_file(), a_file() };
    struct message m;

    (void)state;
    send_fds(peer, bytes, make(bytes, 1, 8), fds, 3);
    receive_all();
    expect(&m, 1, 3);
    assert_false(m.fds_lost);
    for (int i = 0; i < 3; i++) {
        assert_same_file(m.fds[i], fds[i]);
        assert_true(fcntl(m.fds[i], F_GETFD) & FD_CLOEXEC);
    }
    /* One is kept by the handler, the others go. */
    close(fds[0]);
    fds[0] = m.fds[1];
    m.fds[1] = -1;
    transport_done(&t, &m);
    assert_same_file(fds[0], fds[1]);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

/* Between messages without any, glued by one receive: the middle one has them. */
static void test_fds_among_glued(void **state)
{
    uint8_t bytes[256];
    int fd = a_file();
    struct message m;

    (void)state;
    send_bytes(bytes, make(bytes, 1, 4));
    send_bytes(bytes, make(bytes, 2, 4));
    send_fds(peer, bytes, make(bytes, 3, 4), &fd, 1);
    send_bytes(bytes, make(bytes, 4, 4));
    send_fds(peer, bytes, make(bytes, 5, 4), &fd, 1);
    receive_all();
    for (uint16_t id = 1; id <= 5; id++) {
        expect(&m, id, id == 3 || id == 5);
        if (m.nfds)
            assert_same_file(m.fds[0], fd);
        assert_false(m.fds_lost);
        transport_done(&t, &m);
    }
    close(fd);
}

/* One send with two messages and descriptors: they are of the one that the last byte belongs to, whole or not. */
static void test_fds_at_the_last_byte(void **state)
{
    static const size_t missing[] = { 0, 30, HEADER + 39, HEADER + 40 };
    uint8_t bytes[256];
    int fd = a_file();
    struct message m;
    size_t n;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        bool of_first = missing[i] == HEADER + 40;

        n = make(bytes, 1, 4);
        n += make(bytes + n, 2, 40);
        send_fds(peer, bytes, n - missing[i], &fd, 1);
        receive_all();
        expect(&m, 1, of_first);
        transport_done(&t, &m);
        if (missing[i]) {
            assert_int_equal(transport_next(&t, &m), 0);
            send_bytes(bytes + n - missing[i], missing[i]);
            receive_all();
        }
        expect(&m, 2, !of_first);
        if (!of_first)
            assert_same_file(m.fds[0], fd);
        transport_done(&t, &m);
    }
    close(fd);
}

static void test_fds_in_pieces(void **state)
{
    uint8_t bytes[256];
    int fds[2] = { a_file(), a_file() };
    struct message m;
    uint32_t n = make(bytes, 1, 40);

    (void)state;
    send_fds(peer, bytes, 10, fds, 1); /* not even a header */
    receive_all();
    assert_int_equal(transport_next(&t, &m), 0);
    send_fds(peer, bytes + 10, n - 10, fds + 1, 1);
    send_bytes(bytes, make(bytes, 2, 0));
    receive_all();
    expect(&m, 1, 2);
    assert_same_file(m.fds[0], fds[0]);
    assert_same_file(m.fds[1], fds[1]);
    transport_done(&t, &m);
    expect(&m, 2, 0);
    transport_done(&t, &m);
    close(fds[0]);
    close(fds[1]);
}

static void test_too_many_fds(void **state)
{
    uint8_t bytes[256];
    struct message m;
    int fds[64], fd = a_file();

    (void)state;
    for (int i = 0; i < 64; i++)
        fds[i] = fd;
    send_fds(peer, bytes, make(bytes, 1, 4), fds, TRANSPORT_FDS);
    send_fds(peer, bytes, make(bytes, 2, 4), fds, TRANSPORT_FDS + 1);
    send_fds(peer, bytes, make(bytes, 3, 4), fds, 64);
    send_bytes(bytes, make(bytes, 4, 4));
    for (uint16_t id = 1; id <= 4; id++) {
        unsigned before = count_fds();

        while (transport_next(&t, &m) == 0)
            assert_true(transport_receive(&t) <= TRANSPORT_EMPTY);
        assert_int_equal(m.header.id, id);
        assert_int_equal(m.fds_lost, id == 2 || id == 3);
        assert_true(m.nfds <= TRANSPORT_FDS);
        assert_int_equal(m.nfds, id == 4 ? 0 : m.fds_lost ? m.nfds : TRANSPORT_FDS);
        transport_done(&t, &m);
        assert_int_equal(count_fds(), before);
    }
    close(fd);
}

/* More sets than are kept, and more descriptors in all than a message may have. */
static void test_many_sets_of_fds(void **state)
{
    static const struct {
        unsigned pieces, each, expected;
    } cases[] = { { 3, 8, 16 }, { 8, 1, 4 }, { 8, 16, 16 }, { 2, 8, 16 } };
    int fds[16], fd = a_file();

    (void)state;
    for (int i = 0; i < 16; i++)
        fds[i] = fd;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned before = count_fds();
        uint8_t bytes[256];
        uint32_t n = make(bytes, 1, 40), at = 0;
        struct message m;

        for (unsigned piece = 0; piece < cases[i].pieces; piece++, at += 2)
            send_fds(peer, bytes + at, 2, fds, cases[i].each);
        send_bytes(bytes + at, n - at);
        send_bytes(bytes, make(bytes, 2, 0));
        receive_all();
        expect(&m, 1, cases[i].expected);
        assert_int_equal(m.fds_lost, cases[i].pieces * cases[i].each != cases[i].expected);
        transport_done(&t, &m);
        expect(&m, 2, 0);
        assert_false(m.fds_lost);
        transport_done(&t, &m);
        assert_int_equal(count_fds(), before);
    }
    close(fd);
}

static void test_no_room_for_fds(void **state)
{
    struct rlimit old, low;
    uint8_t bytes[64];
    struct message m;
    int fds[4], fd = a_file(), highest;

    (void)state;
    for (int i = 0; i < 4; i++)
        fds[i] = fd;
    send_fds(peer, bytes, make(bytes, 1, 8), fds, 4);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    highest = dup(fd); /* the lowest number that is free: room for one, then none */
    close(highest);
    low = old;
    low.rlim_cur = (rlim_t)highest + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_true(transport_receive(&t) <= TRANSPORT_EMPTY);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    expect(&m, 1, 1);
    assert_true(m.fds_lost);
    assert_same_file(m.fds[0], fd);
    transport_done(&t, &m);
    send_fds(peer, bytes, make(bytes, 2, 8), fds, 4);
    receive_all();
    expect(&m, 2, 4);
    assert_false(m.fds_lost);
    transport_done(&t, &m);
    close(fd);
}

static void test_put_back(void **state)
{
    uint8_t bytes[64];
    int fds[2] = { a_file(), a_file() };
    struct message m;

    (void)state;
    send_fds(peer, bytes, make(bytes, 1, 8), fds, 2);
    send_fds(peer, bytes, make(bytes, 2, 8), fds, 1);
    send_bytes(bytes, make(bytes, 3, 8));
    receive_all();
    for (int i = 0; i < 5; i++) {
        expect(&m, 1, 2);
        assert_same_file(m.fds[1], fds[1]);
        transport_put_back(&t, &m);
        assert_int_equal(m.nfds, 0);
    }
    /* More comes in while it waits. */
    send_fds(peer, bytes, make(bytes, 4, 8), fds, 1);
    receive_all();
    expect(&m, 1, 2);
    transport_done(&t, &m);
    expect(&m, 2, 1);
    transport_put_back(&t, &m);
    expect(&m, 2, 1);
    transport_done(&t, &m);
    expect(&m, 3, 0);
    transport_put_back(&t, &m);
    expect(&m, 3, 0);
    transport_done(&t, &m);
    expect(&m, 4, 1);
    transport_put_back(&t, &m); /* left to transport_close */
    close(fds[0]);
    close(fds[1]);
}

/* Those that never belonged to a whole message are closed with the transport: tear_down counts. */
static void test_fds_left_behind(void **state)
{
    uint8_t bytes[64];
    int fd = a_file();
    struct message m;

    (void)state;
    send_fds(peer, bytes, make(bytes, 1, 40) - 1, &fd, 1);
    receive_all();
    assert_int_equal(transport_next(&t, &m), 0);
    close(fd);
}

/* ---- data that goes past the buffer ------------------------------------------------------------------------ */

#define DATA 100000u

/* In the buffer: a header, 16 bytes of a command, and what `have` says of its data. */
static uint8_t *begin_sink(uint8_t *message, uint32_t have, uint8_t *memory)
{
    struct vfu_msg_header header;
    const uint8_t *body;
    size_t there;

    make(message, 1, 16 + DATA);
    send_bytes(message, HEADER + 16 + have);
    receive_all();
    assert_int_equal(transport_peek(&t, &header, &body, &there), 1);
    assert_int_equal(header.size, HEADER + 16 + DATA);
    assert_int_equal(there, 16 + have);
    assert_memory_equal(body, message + HEADER, there);
    memset(memory, 0, DATA + 1);
    memory[DATA] = 0x5a;
    transport_sink(&t, HEADER + 16, memory, DATA);
    return message + HEADER + 16 + have;
}

static void test_sink(void **state)
{
    static const uint32_t had[] = { 0, 1, 1000, DATA - 1, DATA };
    uint8_t *message = malloc(DATA + 4096), *memory = malloc(DATA + 1);
    struct vfu_msg_header header;
    const uint8_t *body;
    struct message m;
    size_t n;

    (void)state;
    assert_true(message && memory);
    for (size_t i = 0; i < sizeof had / sizeof had[0]; i++) {
        uint8_t *rest = begin_sink(message, had[i], memory), small[64];
        uint32_t left = DATA - had[i];

        while (left) {
            uint32_t piece = left < 30000 ? left : 30000;

            assert_false(transport_sunk(&t));
            assert_int_equal(transport_next(&t, &m), 0);
            assert_int_equal(transport_peek(&t, &header, &body, &n), 0);
            left -= piece;
            /* The last piece has the next message glued to it. */
            if (!left)
                piece += make(rest + piece, 2, 20);
            send_bytes(rest, piece);
            receive_all();
            rest += piece;
        }
        assert_true(transport_sunk(&t));
        assert_int_equal(memory[DATA], 0x5a);
        for (uint32_t j = 0; j < DATA; j++) {
            if (memory[j] != pattern(16 + j + 1))
                fail_msg("byte %u of the data is wrong", j);
        }
        if (had[i] == DATA) {
            send_bytes(small, make(small, 2, 20));
            receive_all();
        }
        expect(&m, 2, 0);
        transport_done(&t, &m);
        assert_int_equal(transport_next(&t, &m), 0);
    }
    free(message);
    free(memory);
}

/* Descriptors that ride on such a write are nobody's; above all not the next message's. */
static void test_sink_drops_fds(void **state)
{
    uint8_t *message = malloc(DATA + 4096), *memory = malloc(DATA + 1), *rest;
    struct message m;
    int fd = a_file();
    unsigned before;

    (void)state;
    assert_true(message && memory);
    make(message, 1, 16 + DATA);
    before = count_fds();
    send_fds(peer, message, HEADER + 16 + 100, &fd, 1); /* with its header */
    receive_all();
    assert_int_equal(count_fds(), before + 1);
    transport_sink(&t, HEADER + 16, memory, DATA);
    assert_int_equal(count_fds(), before);
    rest = message + HEADER + 16 + 100;
    send_fds(peer, rest, 5000, &fd, 1); /* in the middle */
    send_fds(peer, rest + 5000, 5000, &fd, 1);
    receive_all();
    assert_int_equal(count_fds(), before);
    rest += 10000;
    send_bytes(rest, DATA - 12100);
    rest += DATA - 12100;
    /* The end of the data and a message behind it in one send: they are the message's. */
    send_fds(peer, rest, 2000 + make(rest + 2000, 2, 20), &fd, 1);
    receive_all();
    assert_true(transport_sunk(&t));
    expect(&m, 2, 1);
    assert_same_file(m.fds[0], fd);
    transport_done(&t, &m);
    send_bytes(message, make(message, 3, 0));
    receive_all();
    expect(&m, 3, 0);
    transport_done(&t, &m);
    free(message);
    free(memory);
    close(fd);
}

/* A sink's message and the next one's descriptors are in the buffer together when the sink begins. */
static void test_sink_keeps_the_next_fds(void **state)
{
    uint8_t bytes[512], memory[64];
    uint32_t n = make(bytes, 1, 16 + sizeof memory);
    struct message m;
    int fd = a_file();

    (void)state;
    send_fds(peer, bytes, n, &fd, 1);
    send_fds(peer, bytes + n, make(bytes + n, 2, 4), &fd, 1);
    receive_all();
    transport_sink(&t, HEADER + 16, memory, sizeof memory);
    assert_true(transport_sunk(&t));
    assert_memory_equal(memory, bytes + HEADER + 16, sizeof memory);
    expect(&m, 2, 1);
    transport_done(&t, &m);
    close(fd);
}

/* ---- output ------------------------------------------------------------------------------------------------ */

static void put(uint16_t id, uint32_t body)
{
    uint8_t *room = transport_room(&t, HEADER + body);

    assert_non_null(room);
    transport_commit(&t, make(room, id, body));
}

/* One packet: its length, and how many descriptors came (closed). -1: none there. */
static ssize_t take_packet(uint8_t *bytes, size_t room, unsigned *nfds)
{
    char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(8)));
    struct iovec iov = { bytes, room };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    ssize_t n = recvmsg(peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int fds[64];

    *nfds = 0;
    if (n < 0)
        return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        unsigned some = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

        memcpy(fds, CMSG_DATA(c), some * sizeof(int));
        for (unsigned i = 0; i < some; i++)
            close(fds[i]);
        *nfds += some;
    }
    return n;
}

static void test_coalescing(void **state)
{
    uint8_t bytes[4096], expected[4096];
    unsigned nfds;
    size_t n = 0;

    (void)state;
    assert_false(transport_pending(&t));
    assert_int_equal(transport_flush(&t), 0);
    for (uint16_t id = 0; id < 10; id++) {
        put(id, id * 8);
        n += make(expected + n, id, id * 8);
    }
    assert_non_null(transport_room(&t, 100)); /* asked for, not committed */
    assert_true(transport_pending(&t));
    assert_int_equal(transport_flush(&t), 0);
    assert_false(transport_pending(&t));
    assert_int_equal(take_packet(bytes, sizeof bytes, &nfds), (ssize_t)n);
    assert_memory_equal(bytes, expected, n);
    assert_int_equal(take_packet(bytes, sizeof bytes, &nfds), -1);
}

static void test_carried_leave_alone(void **state)
{
    uint8_t bytes[4096];
    int fds[TRANSPORT_FDS], fd = a_file();
    unsigned nfds;

    (void)state;
    for (unsigned i = 0; i < TRANSPORT_FDS; i++)
        fds[i] = fd;
    for (int first = 0; first < 2; first++) {
        if (!first) {
            put(1, 8);
            put(2, 8);
        }
        assert_true(transport_can_carry(&t));
        transport_carry(&t, HEADER + 24, fds, TRANSPORT_FDS, false);
        put(3, 24);
        assert_false(transport_can_carry(&t));
        put(4, 8);
        assert_int_equal(transport_flush(&t), 0);
        assert_true(transport_can_carry(&t));
        if (!first) {
            assert_int_equal(take_packet(bytes, sizeof bytes, &nfds), 2 * (HEADER + 8));
            assert_int_equal(nfds, 0);
        }
        assert_int_equal(take_packet(bytes, sizeof bytes, &nfds), HEADER + 24);
        assert_int_equal(nfds, TRANSPORT_FDS);
        assert_int_equal(take_packet(bytes, sizeof bytes, &nfds), HEADER + 8);
        assert_int_equal(nfds, 0);
    }
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC); /* still ours */
    close(fd);
}

static void test_carried_are_closed(void **state)
{
    uint8_t bytes[64];
    int fd = a_file(), spare = dup(fd);
    unsigned nfds;

    (void)state;
    transport_carry(&t, HEADER + 8, &fd, 1, true);
    put(1, 8);
    assert_int_equal(transport_flush(&t), 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(take_packet(bytes, sizeof bytes, &nfds), HEADER + 8);
    assert_int_equal(nfds, 1);
    /* Never sent: transport_close does it, tear_down counts. */
    transport_carry(&t, HEADER + 8, &spare, 1, true);
    put(2, 8);
}

static void test_memory_behind(void **state)
{
    static const char text[] = "what stands in memory";
    uint8_t bytes[256], expected[256];
    unsigned nfds;
    int fd = a_file();

    (void)state;
    for (int carried = 0; carried < 2; carried++) {
        if (carried)
            transport_carry(&t, HEADER + 16, &fd, 1, false);
        put(1, 16);
        transport_append_memory(&t, (const uint8_t *)text, sizeof text);
        assert_true(transport_pending(&t));
        assert_null(transport_room(&t, 16));
        assert_int_equal(transport_flush(&t), 0);
        assert_non_null(transport_room(&t, 16));
        make(expected, 1, 16);
        memcpy(expected + HEADER + 16, text, sizeof text);
        assert_int_equal(take_packet(bytes, sizeof bytes, &nfds), HEADER + 16 + sizeof text);
        assert_memory_equal(bytes, expected, HEADER + 16 + sizeof text);
        assert_int_equal(nfds, carried);
    }
    close(fd);
}

static void tiny_socket(void)
{
    int tiny = 1;

    assert_int_equal(setsockopt(t.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny), 0);
}

/* Reads what the peer has, `some` bytes at a time, flushing in between: everything arrives, in order, once. */
static void drain(const uint8_t *expected, size_t n, size_t some)
{
    uint8_t *bytes = malloc(some);
    size_t at = 0;
    int busy = 0;

    assert_non_null(bytes);
    while (at < n) {
        int error = transport_flush(&t);
        ssize_t got = recv(peer, bytes, some, MSG_DONTWAIT);

        assert_true(error == 0 || error == -EAGAIN);
        busy += error == -EAGAIN;
        assert_true(got > 0 && (size_t)got <= n - at);
        assert_memory_equal(bytes, expected + at, (size_t)got);
        at += (size_t)got;
    }
    assert_true(busy > 0);
    assert_int_equal(transport_flush(&t), 0);
    assert_false(transport_pending(&t));
    assert_int_equal(recv(peer, bytes, some, MSG_DONTWAIT), -1);
    free(bytes);
}

static void test_short_sends(void **state)
{
    uint8_t *expected = malloc(800000), *memory = malloc(200000);
    size_t n = 0;

    (void)state;
    assert_true(expected && memory);
    tiny_socket();
    for (uint16_t id = 1; id <= 3; id++) {
        put(id, 100000);
        n += make(expected + n, id, 100000);
    }
    assert_int_equal(transport_flush(&t), -EAGAIN);
    assert_int_equal(transport_flush(&t), -EAGAIN);
    /* More is added to what waits. */
    put(4, 100000);
    n += make(expected + n, 4, 100000);
    for (size_t i = 0; i < 200000; i++)
        memory[i] = expected[n + i] = pattern(i * 3);
    transport_append_memory(&t, memory, 200000);
    n += 200000;
    drain(expected, n, 1777);
    free(expected);
    free(memory);
}

/* Output goes round: room is made by moving what waits to the front, never by losing it. */
static void test_room(void **state)
{
    uint8_t *expected = malloc(4 * TRANSPORT_MAX_MESSAGE), bytes[20000];
    size_t n = 0, at = 0;
    ssize_t got;
    int refused = 0;

    (void)state;
    assert_non_null(expected);
    assert_null(transport_room(&t, SIZE_MAX));
    assert_null(transport_room(&t, 2 * TRANSPORT_MAX_MESSAGE));
    assert_non_null(transport_room(&t, TRANSPORT_MAX_MESSAGE));
    tiny_socket();
    for (uint16_t id = 0; id < 40; id++) {
        while (!transport_room(&t, HEADER + 90000)) {
            refused++;
            assert_int_equal(transport_flush(&t), -EAGAIN);
            got = recv(peer, bytes, sizeof bytes, MSG_DONTWAIT);
            assert_true(got > 0);
            assert_memory_equal(bytes, expected + at, (size_t)got);
            at += (size_t)got;
        }
        put(id, 90000);
        n += make(expected + n, id, 90000);
    }
    assert_true(refused > 20);
    drain(expected + at, n - at, 20000);
    free(expected);
}

/* While a message with descriptors waits, the buffer is not moved under it. */
static void test_room_while_carrying(void **state)
{
    uint8_t bytes[200000];
    int fd = a_file();
    unsigned nfds, all = 0;
    size_t n = 0, sent = 0;
    ssize_t got;

    (void)state;
    tiny_socket();
    put(1, 150000);
    transport_carry(&t, HEADER + 8, &fd, 1, true);
    put(2, 8);
    sent = 2 * HEADER + 150008;
    assert_int_equal(transport_flush(&t), -EAGAIN);
    while (transport_room(&t, HEADER + 100000)) {
        put(3, 100000);
        sent += HEADER + 100000;
    }
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    while (n < sent) {
        transport_flush(&t);
        got = take_packet(bytes, sizeof bytes, &nfds);
        assert_true(got > 0);
        /* A receive ends with the bytes that they came with: the message's own. */
        if (nfds)
            assert_true(n + (size_t)got == 2 * HEADER + 150008);
        n += (size_t)got;
        all += nfds;
    }
    assert_int_equal(all, 1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* Each message is in the trace once, with its descriptors, however it came and left; so is what the end found. */
static void test_trace(void **state)
{
    char path[] = "/tmp/vfu-transport.XXXXXX";
    int fds[2] = { a_file(), a_file() }, named = mkstemp(path);
    static const char *const comments[] = { "fds: 2", "", "side", "fds: 1; side", "not a message: its size makes no sense",
                                            "cut short: the connection ended" };
    static const uint32_t sizes[] = { 24, 40, 20, 24, 16, 30 }, haves[] = { 24, 40, 20, 24, 16, 20 };
    const struct vfu_msg_header absurd = { .id = 5, .size = 3 };
    struct tracefile *file;
    struct pcapng all;
    struct message m;
    uint8_t bytes[256];
    uint32_t n;

    (void)state;
    assert_true(named >= 0);
    close(named);
    assert_int_equal(tracefile_open(&file, path, TRACEFILE_SNAP), 0);
    assert_int_equal(tracefile_device(file, "d", "s", &t.tap), 0);
    send_fds(peer, bytes, make(bytes, 1, 8), fds, 2);
    send_bytes(bytes, make(bytes, 2, 24));
    receive_all();
    for (int again = 0; again < 2; again++) {
        assert_int_equal(transport_next(&t, &m), 1);
        assert_int_equal(m.nfds, 2);
        if (!again)
            transport_put_back(&t, &m);
    }
    transport_done(&t, &m);
    expect(&m, 2, 0);
    transport_done(&t, &m);
    t.tap_note = "side";
    put(3, 4);
    transport_carry(&t, HEADER + 8, fds, 1, false);
    put(4, 8);
    assert_int_equal(transport_flush(&t), 0);
    send_bytes(&absurd, sizeof absurd);
    receive_all();
    for (int again = 0; again < 2; again++)
        assert_int_equal(transport_next(&t, &m), -EINVAL);
    t.rx_head += sizeof absurd;
    t.rx_position += sizeof absurd;
    n = make(bytes, 6, 14);
    send_bytes(bytes, n - 10);
    receive_all();
    assert_int_equal(transport_next(&t, &m), 0);
    transport_close(&t);
    tracefile_close(file);
    close(fds[0]);
    close(fds[1]);
    assert_null(pcapng_read(&all, path));
    assert_int_equal(all.npackets, 6);
    for (size_t i = 0; i < all.npackets; i++) {
        assert_string_equal(all.packets[i].comment, comments[i]);
        assert_int_equal(all.packets[i].size, sizes[i]);
        assert_int_equal(all.packets[i].have, haves[i]);
        assert_int_equal(all.packets[i].flags, i == 2 || i == 3 ? TRACEFILE_OUT : TRACEFILE_IN);
        assert_int_equal(all.packets[i].bytes[0], i + 1);
    }
    pcapng_free(&all);
    unlink(path);
}

static void test_peer_gone(void **state)
{
    (void)state;
    put(1, 16);
    close(peer);
    peer = -1;
    assert_int_equal(transport_flush(&t), -EPIPE); /* and no SIGPIPE */
    assert_true(transport_pending(&t));
}

#define STREAM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define PACKETS(test) cmocka_unit_test_setup_teardown(test, set_up_packets, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM(test_single_bytes),
        STREAM(test_glued),
        STREAM(test_every_cut),
        STREAM(test_bad_sizes),
        STREAM(test_largest),
        STREAM(test_full),
        STREAM(test_end_of_stream),
        STREAM(test_reset_is_the_end),
        STREAM(test_open_bad_fd),
        STREAM(test_fds_of_one),
        STREAM(test_fds_among_glued),
        STREAM(test_fds_at_the_last_byte),
        STREAM(test_fds_in_pieces),
        STREAM(test_too_many_fds),
        STREAM(test_many_sets_of_fds),
        STREAM(test_no_room_for_fds),
        STREAM(test_put_back),
        STREAM(test_trace),
        STREAM(test_fds_left_behind),
        STREAM(test_sink),
        STREAM(test_sink_drops_fds),
        STREAM(test_sink_keeps_the_next_fds),
        PACKETS(test_coalescing),
        PACKETS(test_carried_leave_alone),
        PACKETS(test_carried_are_closed),
        PACKETS(test_memory_behind),
        STREAM(test_short_sends),
        STREAM(test_room),
        STREAM(test_room_while_carrying),
        STREAM(test_peer_gone),
    };

    return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
