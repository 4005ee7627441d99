/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench - what vfu-host costs, as a ratio to a bare peer that does nothing but receive and send the same bytes.
 *
 * Both are driven by the same loops (work.c) in the same run, in turns, on one core: machines are noisy, and the ratio
 * of two means that were taken side by side is what stays the same from one to the next. One thread, and a process for
 * each peer.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <vfu/client.h>
#include <vfu/protocol.h>

/* A process at the other end of a socket. */
struct peer {
    const char *name;
    const char *plugin; /* NULL: the bare one */
    pid_t pid;
    clockid_t clock;    /* CPU time of the process */
    struct vfuc *client; /* negotiated; NULL for the bare one */
    int fd;
    char dir[64], socket[96];
    unsigned long rss;  /* KiB, with a client and nothing done yet */
    double start_ms;    /* from exec to the end of the negotiation */
    bool ram;           /* BAR0 is memory */
};

/* Those of peer.c end the program with a line on stderr where something does not work: there is nothing to measure. */
void peer_start_bare(struct peer *peer);
void peer_start_host(struct peer *peer, const char *program, const char *plugin);
void peer_stop(struct peer *peer);
uint64_t peer_cpu(const struct peer *peer);     /* ns */
unsigned long peer_rss(const struct peer *peer); /* KiB */
uint64_t bench_now(void);                        /* ns */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

struct sample {
    double wall, cpu; /* ns for one operation: this side and the peer together; the peer's process alone */
};

struct work {
    const char *name;
    const char *unit;
    uint64_t full, quick; /* operations in one round */
    uint32_t rounds;
    bool ram;             /* needs a BAR that is memory */
    bool client;          /* goes through the client library: no bare peer; the work before is its lean twin */
    void (*run)(struct peer *peer, uint64_t n);
};

extern const struct work works[];
extern const size_t nworks;

#endif
