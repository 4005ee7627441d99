/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proto - a table of cases against a real host on a real socket: what is sent, byte by byte, and what must come back.
 *
 * A case is one to eight messages, and leaves the connection as it found it: what it maps, it unmaps; what it arms, it
 * disarms. That lets the runner send it whole, cut in two at every byte, in pieces of random size, and in one bulk with
 * all the others. Behind each case an ordinary read must still work. One thread.
 */
#ifndef TESTS_PROTO_H
#define TESTS_PROTO_H

#include <errno.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfu/client.h>
#include <vfu/protocol.h>

enum proto_outcome {
    PROTO_REPLY,   /* a reply without error and with this body */
    PROTO_ERROR,   /* the header alone: reply, error, errno; the connection goes on */
    PROTO_REFUSED, /* the same, and the connection may or may not be closed behind it */
    PROTO_GONE,    /* the same, and then the connection is closed */
    PROTO_NOTHING, /* no reply */
};

/* What rides on a message. Made anew each time it is sent. */
enum proto_fd { PROTO_NO_FD, PROTO_EVENTFD, PROTO_MEMFD, PROTO_MEMFD_SMALL, PROTO_NULL, PROTO_PIPE, PROTO_SOCKET };
#define PROTO_MEMFD_SIZE 1048576 /* PROTO_MEMFD_SMALL: 4096 */

struct proto_message {
    uint32_t used; /* 1 where there is a message */
    uint16_t command;
    uint32_t flags;
    uint32_t size;  /* 0: what it is */
    const uint8_t *body;
    uint32_t nbody;
    uint32_t pad;   /* zero bytes behind the body */
    enum proto_fd fd;
    uint32_t nfds;  /* of that kind; 0 with a kind means 1 */
    enum proto_outcome outcome;
    int error;      /* errno; 0: any but 0 */
    const uint8_t *expect;
    uint32_t nexpect;
    bool prefix;    /* the reply may go on behind `expect` */
    uint32_t skip, nskip; /* bytes of it that may be anything */
    int reply_fds;  /* descriptors that come with the reply; -1: any number */
};

struct proto_case {
    const char *name;
    bool no_version; /* sent first thing, without the runner's own negotiation */
    bool alone;      /* not with others in one bulk */
    struct proto_message m[8];
};

/* Little-endian integers, and how messages are written down. */
#define B1(x) (uint8_t)((x) & 0xff)
#define B2(x) B1(x), B1((x) >> 8)
#define B4(x) B2((uint32_t)(x)), B2((uint32_t)(x) >> 16)
#define B8(x) B4((uint64_t)(x)), B4((uint64_t)(x) >> 32)

#define CMD(name) .used = 1, .command = VFU_CMD_##name
#define CMD_NUMBER(n) .used = 1, .command = (n)
#define POSTED .flags = VFU_MSG_NO_REPLY
/* A string's bytes, NUL included. */
#define TEXT(text) .body = (const uint8_t *)(text), .nbody = sizeof(text)
#define PROTO_SPLIT(member, count, ...)                                                                                \
    .member = (const uint8_t[]){ __VA_ARGS__ }, .count = sizeof((const uint8_t[]){ __VA_ARGS__ })
#define BODY(...) PROTO_SPLIT(body, nbody, __VA_ARGS__)
#define REPLIES(...) .outcome = PROTO_REPLY, PROTO_SPLIT(expect, nexpect, __VA_ARGS__)
#define BEGINS(...) .outcome = PROTO_REPLY, .prefix = true, PROTO_SPLIT(expect, nexpect, __VA_ARGS__)
#define REPLIES_EMPTY .outcome = PROTO_REPLY
#define FAILS(e) .outcome = PROTO_ERROR, .error = (e)
#define REFUSED(e) .outcome = PROTO_REFUSED, .error = (e)
#define GONE(e) .outcome = PROTO_GONE, .error = (e)
#define EXCEPT(at, n) .skip = (at), .nskip = (n)
#define SILENT .outcome = PROTO_NOTHING

/* Tables, each in a file of its own; the list of them is in cases.c. */
struct proto_table {
    const char *name;
    const struct proto_case *cases;
    size_t n;
};
#define PROTO_TABLE(topic) const struct proto_table proto_##topic = { #topic, cases, sizeof cases / sizeof cases[0] }
extern const struct proto_table *const proto_tables[];
extern const size_t proto_ntables;

/* ---- host.c: the host under test ------------------------------------------------------------------------------- */

struct proto_host {
    int pid;
    char dir[64], socket[96];
    const char *plugin;
};
/* Starts the program named by VFU_HOST; waits until it listens. False with a line on stderr. */
bool proto_host_start(struct proto_host *host, const char *plugin, char *const *params);
/* SIGTERM; true if it ends with exit 0 in time and has removed its socket. */
bool proto_host_stop(struct proto_host *host);
/* Descriptors that it has open, or -1. */
int proto_host_fds(const struct proto_host *host);
bool proto_host_alive(const struct proto_host *host);

/* ---- run.c: sending a case ----------------------------------------------------------------------------------------
 */

/* How the bytes of each message are cut. */
struct proto_cut {
    size_t first;     /* one cut, behind so many bytes; 0: none */
    uint32_t random;  /* not 0: a seed for pieces of 1 to 24 bytes */
};

/* Runs a case on *c, which is connected if need be and NULL afterwards if the connection has gone or is in doubt. NULL
 * if all is well, else what is wrong. */
const char *proto_run(struct proto_host *host, struct vfuc **c, const struct proto_case *test,
                      const struct proto_cut *cut);
/* Many cases in one bulk. */
const char *proto_run_bulk(struct proto_host *host, const struct proto_case *const *tests, size_t n);
/* The length of a case's longest message. */
size_t proto_longest(const struct proto_case *test);

#endif
