/* SPDX-License-Identifier: BSD-3-Clause */
/* run - sends the messages of a case in whatever pieces, and judges what comes back. One thread. */
#define _GNU_SOURCE
#include "tests/protocol/proto.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEADER sizeof(struct vfu_msg_header)
#define MAX_MESSAGE 16384u
#define MAX_REPLY (2u << 20)
#define FDS 32u
#define REPLY_NS UINT64_C(3000000000)

static char run_text[512];
static uint8_t run_reply[MAX_REPLY];
static uint16_t run_id = 0x7000;

__attribute__((format(printf, 1, 2))) static const char *run_wrong(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(run_text, sizeof run_text, format, args);
    va_end(args);
    return run_text;
}

static int run_fd(enum proto_fd kind)
{
    int pair[2], fd = -1;

    switch (kind) {
    case PROTO_EVENTFD:
        return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    case PROTO_MEMFD:
    case PROTO_MEMFD_SMALL:
        fd = memfd_create("proto", MFD_CLOEXEC);
        if (fd >= 0 && ftruncate(fd, kind == PROTO_MEMFD ? PROTO_MEMFD_SIZE : 4096) < 0) {
            close(fd);
            fd = -1;
        }
        return fd;
    case PROTO_NULL:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case PROTO_PIPE:
        if (pipe2(pair, O_CLOEXEC) < 0)
            return -1;
        close(pair[0]);
        return pair[1];
    case PROTO_SOCKET:
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return -1;
        close(pair[0]);
        return pair[1];
    case PROTO_NO_FD:
        break;
    }
    return -1;
}

static uint32_t run_open(const struct proto_message *m, int fds[FDS])
{
    uint32_t n = m->fd == PROTO_NO_FD ? 0 : m->nfds ? m->nfds : 1, i;

    for (i = 0; i < n && i < FDS; i++) {
        fds[i] = run_fd(m->fd);
        if (fds[i] < 0)
            break;
    }
    return i;
}

static void run_close(int *fds, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        close(fds[i]);
}

static size_t run_length(const struct proto_message *m)
{
    return HEADER + m->nbody + m->pad;
}

static size_t run_build(const struct proto_message *m, uint16_t id, uint8_t *to)
{
    struct vfu_msg_header header = { id, m->command, m->size ? m->size : (uint32_t)run_length(m), m->flags, 0 };

    memcpy(to, &header, sizeof header);
    if (m->nbody)
        memcpy(to + HEADER, m->body, m->nbody);
    memset(to + HEADER + m->nbody, 0, m->pad);
    return run_length(m);
}

size_t proto_longest(const struct proto_case *test)
{
    size_t longest = 0;

    for (size_t i = 0; i < 8 && test->m[i].used; i++) {
        if (run_length(&test->m[i]) > longest)
            longest = run_length(&test->m[i]);
    }
    return longest;
}

static int run_send(struct vfuc *c, const uint8_t *bytes, size_t size, const struct proto_cut *cut, const int *fds,
                    uint32_t nfds)
{
    uint32_t seed = cut->random;
    size_t at = 0;
    int err = 0;

    if (!cut->random) {
        size_t piece = cut->first < size ? cut->first : size - 1;

        if (cut->first)
            err = vfuc_raw_send(c, bytes, piece, piece, fds, nfds);
        else
            piece = 0;
        return err ? err : vfuc_raw_send(c, bytes + piece, size - piece, 0, fds, piece ? 0 : nfds);
    }
    while (!err && at < size) {
        size_t n;

        seed = seed * 1664525u + 1013904223u;
        n = (seed >> 16) % 24 + 1;
        n = n < size - at ? n : size - at;
        err = vfuc_raw_send(c, bytes + at, n, n, fds, at ? 0 : nfds);
        at += n;
    }
    return err;
}

static const char *run_check_header(const struct proto_message *m, const struct vfu_msg_header *h, uint16_t id)
{
    bool fails = m->outcome != PROTO_REPLY;

    if (h->id != id)
        return run_wrong("reply id 0x%x, expected 0x%x", h->id, id);
    if (h->command != m->command)
        return run_wrong("reply to command %u, expected %u", h->command, m->command);
    if (!fails && h->flags & VFU_MSG_ERROR)
        return run_wrong("command %u fails: %s", m->command, strerror((int)h->error));
    if (fails && h->flags == VFU_MSG_REPLY)
        return run_wrong("command %u succeeds, expected %s", m->command, strerror(m->error));
    if (h->flags != (VFU_MSG_REPLY | (fails ? VFU_MSG_ERROR : 0)))
        return run_wrong("reply flags 0x%x, expected 0x%x", h->flags, VFU_MSG_REPLY | (fails ? VFU_MSG_ERROR : 0));
    if (!fails && h->error)
        return run_wrong("a good reply with errno %u", h->error);
    if (fails && (!h->error || (m->error && h->error != (uint32_t)m->error)))
        return run_wrong("errno %u (%s), expected %d (%s)", h->error, strerror((int)h->error), m->error,
                         strerror(m->error));
    if (fails && h->size != HEADER)
        return run_wrong("an error reply of %u bytes, expected the header alone", h->size);
    return NULL;
}

static const char *run_check_body(const struct proto_message *m, const uint8_t *body, size_t size)
{
    if (m->outcome != PROTO_REPLY)
        return NULL;
    if (m->prefix ? size < m->nexpect : size != m->nexpect)
        return run_wrong("reply body of %zu bytes, expected %s%u", size, m->prefix ? "at least " : "", m->nexpect);
    for (size_t i = 0; i < m->nexpect; i++) {
        if (i >= m->skip && i < m->skip + m->nskip)
            continue;
        if (body[i] != m->expect[i])
            return run_wrong("reply body, byte %zu: 0x%02x, expected 0x%02x", i, body[i], m->expect[i]);
    }
    return NULL;
}

/* One reply. *gone: the connection was closed instead. */
static const char *run_receive(struct vfuc *c, const struct proto_message *m, uint16_t id, bool *gone)
{
    struct vfu_msg_header header;
    uint32_t nfds = FDS;
    const char *wrong;
    int fds[FDS];
    int n = vfuc_raw_recv(c, run_reply, sizeof run_reply, fds, &nfds, REPLY_NS);

    *gone = n == 0;
    if (n < 0)
        return run_wrong("no reply to command %u: %s", m->command, vfuc_error(c));
    if (n == 0)
        return run_wrong("the host closed the connection instead of a reply to command %u", m->command);
    run_close(fds, nfds);
    memcpy(&header, run_reply, sizeof header);
    wrong = run_check_header(m, &header, id);
    if (!wrong)
        wrong = run_check_body(m, run_reply + HEADER, (size_t)n - HEADER);
    if (!wrong && m->reply_fds >= 0 && (uint32_t)m->reply_fds != nfds)
        wrong = run_wrong("%u descriptors came with the reply, expected %d", nfds, m->reply_fds);
    return wrong;
}

/* The ordinary read that must work whatever went before: vendor and device id. */
static const struct proto_message run_ping = { CMD(REGION_READ), BODY(B8(0), B4(VFUC_CONFIG), B4(4)),
                                               BEGINS(B8(0), B4(VFUC_CONFIG), B4(4)) };

static const char *run_good_request(struct vfuc *c)
{
    static uint8_t first[4];
    static bool known;
    uint8_t bytes[64];
    const char *wrong;
    bool gone;
    uint16_t id = run_id++;

    if (vfuc_raw_send(c, bytes, run_build(&run_ping, id, bytes), 0, NULL, 0) < 0)
        return run_wrong("a good request after it cannot be sent: %s", vfuc_error(c));
    wrong = run_receive(c, &run_ping, id, &gone);
    if (wrong) {
        char why[256];

        snprintf(why, sizeof why, "%s", wrong);
        return run_wrong("a good request after it: %s", why);
    }
    if (!known)
        memcpy(first, run_reply + HEADER + 16, sizeof first);
    known = true;
    return memcmp(first, run_reply + HEADER + 16, sizeof first) ? run_wrong("the ids of the device have changed")
                                                                : NULL;
}

static struct vfuc *run_connect(struct proto_host *host, bool version)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = version ? 0 : VFUC_NO_VERSION };
    struct vfuc *c = vfuc_new(&options);

    if (c && vfuc_connect(c, host->socket) < 0) {
        run_wrong("cannot connect: %s", vfuc_error(c));
        vfuc_free(c);
        c = NULL;
    }
    return c;
}

static const char *run_message(struct vfuc *c, const struct proto_message *m, const struct proto_cut *cut, bool *gone)
{
    static uint8_t bytes[MAX_MESSAGE];
    uint16_t id = run_id++;
    int fds[FDS];
    uint32_t nfds = run_open(m, fds);
    size_t size = run_build(m, id, bytes);
    const char *wrong;
    int err = run_send(c, bytes, size, cut, fds, nfds);

    run_close(fds, nfds);
    *gone = false;
    /* A host that closes early may do so before the last piece is sent. */
    if (err && m->outcome != PROTO_GONE && m->outcome != PROTO_REFUSED)
        return run_wrong("cannot send command %u: %s", m->command, vfuc_error(c));
    if (m->outcome == PROTO_NOTHING)
        return NULL;
    wrong = run_receive(c, m, id, gone);
    if (wrong)
        return wrong;
    if (m->outcome == PROTO_GONE) {
        int n = vfuc_raw_recv(c, run_reply, sizeof run_reply, NULL, NULL, REPLY_NS);

        *gone = true;
        if (n != 0)
            return run_wrong("the connection is not closed behind the error: %s",
                             n > 0 ? "another message came" : vfuc_error(c));
    }
    return NULL;
}

static const char *run_steps(struct proto_host *host, struct vfuc **c, const struct proto_case *test,
                             const struct proto_cut *cut)
{
    const char *wrong = NULL;
    bool gone = false, doubt = test->no_version, version = !test->no_version;

    if (test->no_version || !*c) {
        vfuc_free(*c);
        *c = run_connect(host, !test->no_version);
        if (!*c)
            return run_text;
    }
    for (size_t i = 0; i < 8 && test->m[i].used && !wrong && !gone; i++) {
        const struct proto_message *m = &test->m[i];

        wrong = run_message(*c, m, cut, &gone);
        doubt |= m->outcome == PROTO_REFUSED;
        version |= m->command == VFU_CMD_VERSION && m->outcome == PROTO_REPLY;
    }
    /* On this connection if it stands, else on the next one. */
    if (!wrong && !gone && !doubt)
        return run_good_request(*c);
    if (!wrong && !gone && version && test->no_version)
        wrong = run_good_request(*c);
    vfuc_free(*c);
    *c = NULL;
    if (wrong)
        return wrong;
    *c = run_connect(host, true);
    return *c ? run_good_request(*c) : run_text;
}

const char *proto_run(struct proto_host *host, struct vfuc **c, const struct proto_case *test,
                      const struct proto_cut *cut)
{
    const char *wrong = run_steps(host, c, test, cut);

    if (wrong) {
        vfuc_free(*c);
        *c = NULL;
    }
    return wrong;
}

/* All requests first, in as few sends as descriptors allow; then all replies, in order. */
const char *proto_run_bulk(struct proto_host *host, const struct proto_case *const *tests, size_t n)
{
    static uint8_t bytes[262144];
    struct vfuc *c = run_connect(host, true);
    uint16_t first = run_id, id = first;
    const char *wrong = NULL;
    size_t fill = 0;
    bool gone;

    if (!c)
        return run_text;
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < 8 && tests[t]->m[i].used; i++) {
            const struct proto_message *m = &tests[t]->m[i];
            int fds[FDS];
            uint32_t nfds = run_open(m, fds);

            if (nfds || fill + run_length(m) > sizeof bytes) {
                vfuc_raw_send(c, bytes, fill, 0, NULL, 0);
                fill = 0;
            }
            fill += run_build(m, id++, bytes + fill);
            if (nfds) {
                vfuc_raw_send(c, bytes, fill, 0, fds, nfds);
                fill = 0;
            }
            run_close(fds, nfds);
        }
    }
    run_id = id;
    if (fill && vfuc_raw_send(c, bytes, fill, 0, NULL, 0) < 0)
        wrong = run_wrong("cannot send: %s", vfuc_error(c));
    id = first;
    for (size_t t = 0; t < n && !wrong; t++) {
        for (size_t i = 0; i < 8 && tests[t]->m[i].used && !wrong; i++, id++) {
            if (tests[t]->m[i].outcome != PROTO_NOTHING)
                wrong = run_receive(c, &tests[t]->m[i], id, &gone);
        }
        if (wrong) {
            char why[256];

            snprintf(why, sizeof why, "%s", wrong);
            wrong = run_wrong("%s: %s", tests[t]->name, why);
        }
    }
    if (!wrong)
        wrong = run_good_request(c);
    vfuc_free(c);
    return wrong;
}
