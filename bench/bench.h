/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench - what vfu-host costs, as a ratio to a bare peer that does nothing but receive and send the same bytes.
 *
 * Both are driven by the same loops (access.c, maps.c, messages.c) in the same run, in turns, on one core: machines are
 * noisy, and the ratio of two means that were taken side by side is what stays the same from one to the next. One
 * thread, and a process for each peer.
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

#define BENCH_PEERS 12u
#define BENCH_WORKS 40u
#define BENCH_ROUNDS 32u
#define BENCH_MIB 1048576u

/* ---- peers (peer.c, bare.c) */

/* What a peer is, and so which works it takes part in. */
#define PEER_BARE 1u        /* answers without a thought */
#define PEER_EDU 2u         /* has edu's registers */
#define PEER_PLAIN 4u       /* bench/plain.c */
#define PEER_BELLS 8u       /* testdev: doorbells in the BAR of its registers */
#define PEER_RAM 16u        /* BAR0 is memory */
#define PEER_BARE_APART 32u /* on a core of its own */
#define PEER_APART 64u      /* a host there, spinning */

/* A process at the other end of a socket. */
struct peer {
    char name[40];
    uint32_t kind;   /* PEER_* */
    uint32_t offset; /* in BAR0, of the four bytes that are read and written */
    int core;        /* where its process stays; -1: where this one is */
    const char *program, *plugin, *param; /* of a host; param may be NULL */
    uint32_t spin_us;
    pid_t pid;
    clockid_t clock;     /* CPU time of the process */
    struct vfuc *client; /* negotiated; NULL for the bare one */
    int fd;
    char dir[64], socket[96];
    unsigned long rss; /* KiB, with a client and nothing done yet */
    double start_ms;   /* from exec to the end of the negotiation */
};

/* They end the program with a line on stderr where something does not work: there is nothing to measure. The members
 * from kind to spin_us are set before; name too if it shall not be the plugin's. */
void peer_start_bare(struct peer *peer);
void peer_start_host(struct peer *peer);
void peer_stop(struct peer *peer);
uint64_t peer_cpu(const struct peer *peer);      /* ns */
unsigned long peer_rss(const struct peer *peer); /* KiB */
/* This process stays on a core from now on; -1: nothing happens. */
void peer_pin(int core);
/* What the bare peer's process does until its socket ends. */
void bare_serve(int fd) __attribute__((noreturn));

uint64_t bench_now(void); /* ns */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- works (work.c has the list) */

struct work {
    const char *name;
    const char *asked;    /* of the hosts' ratio or time, in words; NULL: nothing */
    uint64_t full, quick; /* operations in one round */
    uint32_t rounds;
    uint32_t who;         /* PEER_*; the first of them is what the others are held against, but: */
    uint32_t twin;        /* if not 0: the same peer, just before, in the work so many rows above */
    const char *twin_name;
    void (*prepare)(struct peer *peer, uint64_t n); /* not measured; NULL: nothing to do */
    void (*run)(struct peer *peer, uint64_t n);
    void (*finish)(struct peer *peer, uint64_t n); /* not measured */
};

extern const struct work works[];
extern const size_t nworks;

/* bench/plain.c has four-byte registers there. START_*: so many DMA messages of DMA_SIZE at DMA_AREA, one by one. */
#define BENCH_REGISTER 0x90u
#define BENCH_START_READS 0xa0u
#define BENCH_START_WRITES 0xa4u
#define BENCH_DMA_SIZE 4096u
#define BENCH_DMA_AREA 0x10000000u

/* Messages that several works send, and the way there and back. */
struct access_message {
    struct vfu_msg_header header;
    struct vfu_msg_region_access access;
    uint32_t value;
} __attribute__((packed));

extern uint8_t work_buffer[2 * BENCH_MIB];
/* fd >= 0 goes along. */
void work_send(const struct peer *peer, const void *bytes, size_t size, int fd);
/* Exactly `size` bytes into work_buffer: replies, of which an error ends the program; or anything. */
void work_receive(const struct peer *peer, size_t size);
void work_receive_any(const struct peer *peer, size_t size);
/* A read of the peer's four bytes, 32 bytes long; and its answer, which says that all before it has been done. */
struct access_message work_read_message(const struct peer *peer, uint16_t id);
void work_settle(const struct peer *peer);

/* access.c */
void access_read(struct peer *peer, uint64_t n);
void access_client_read(struct peer *peer, uint64_t n);
void access_pipelined(struct peer *peer, uint64_t n);
void access_posted(struct peer *peer, uint64_t n);
void access_multi_posted(struct peer *peer, uint64_t n);
void access_multi_replied(struct peer *peer, uint64_t n);
void access_big_read(struct peer *peer, uint64_t n);
void access_big_write(struct peer *peer, uint64_t n);

/* maps.c */
void maps_no_fd(struct peer *peer, uint64_t n);
void maps_no_fd_batch(struct peer *peer, uint64_t n);
void maps_random(struct peer *peer, uint64_t n);
void maps_random_batch(struct peer *peer, uint64_t n);
void maps_make_file(struct peer *peer, uint64_t n);
void maps_memfd(struct peer *peer, uint64_t n);
void maps_memfd_batch(struct peer *peer, uint64_t n);
void maps_many_fds(struct peer *peer, uint64_t n);
void maps_unmap(struct peer *peer, uint64_t n);
void maps_unmap_all(struct peer *peer, uint64_t n);

/* messages.c */
void messages_prepare(struct peer *peer, uint64_t n);
void messages_read(struct peer *peer, uint64_t n);
void messages_write(struct peer *peer, uint64_t n);

/* ---- results (report.c) */

struct result {
    bool there;
    double wall[BENCH_ROUNDS], cpu[BENCH_ROUNDS];        /* ns for one operation: all of it; the peer's process alone */
    double ratio[BENCH_ROUNDS], cpu_ratio[BENCH_ROUNDS]; /* of what it is held against, in the same round */
};

struct report {
    const struct peer *peers;
    size_t npeers;
    struct result (*results)[BENCH_PEERS]; /* of each work */
    bool quick;
    int argc;
    char **argv;
};

void report_text(const struct report *report);
void report_json(const struct report *report);
void report_markdown(const struct report *report);

#endif
