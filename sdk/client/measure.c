/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * measure - the command bench: what accesses of a device cost, beside what a socket costs that nobody thinks behind.
 *
 * That is a process which answers every request at once, over a socket pair; it speaks as much of the protocol as a
 * client needs. What goes there through the library, against the same bytes through bare system calls, is the
 * library's own cost. All works take turns, round by round: machines are noisy, and the ratios of what was taken side
 * by side hold. One thread, and the answering process.
 */
#define _GNU_SOURCE
#include "sdk/client/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vfu/protocol.h>

#define ROUNDS 9u
#define BATCH 64u
#define MULTI 200u

struct measure_access {
    struct vfu_msg_header header;
    struct vfu_msg_region_access access;
    uint32_t value;
} __attribute__((packed));
#define REQUEST 32u
#define REPLY 36u

struct bench {
    struct vfuc *c, *bare; /* of the device; of the process that answers */
    int lean;              /* to another one, without the library */
    uint32_t region;
    uint64_t offset;
    uint32_t value;        /* what stands there, and is written again */
    volatile uint32_t *word; /* of a mapped BAR, or NULL */
};

static uint64_t measure_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- who answers without a thought ---- */

/* A request is small enough to come in one piece; that it does is all that is asked of it. */
static void measure_answer(int fd)
{
    static uint8_t rx[65536], tx[4096];

    for (;;) {
        ssize_t n = recv(fd, rx, sizeof rx, 0);
        struct vfu_msg_header header;
        size_t size = sizeof header;

        if (n < (ssize_t)sizeof header)
            _exit(0);
        memcpy(&header, rx, sizeof header);
        if (header.command == VFU_CMD_VERSION)
            size += sizeof(struct vfu_msg_version);
        else if (header.command == VFU_CMD_REGION_READ && n == REQUEST)
            size = REPLY;
        memcpy(tx, rx, size < REQUEST ? size : REQUEST);
        header.flags = VFU_MSG_REPLY;
        header.size = (uint32_t)size;
        memcpy(tx, &header, sizeof header);
        if (send(fd, tx, size, MSG_NOSIGNAL) < 0)
            _exit(0);
    }
}

/* The near end of the socket, or -1. */
static int measure_start(pid_t *pid)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    *pid = fork();
    if (*pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(pair[0]);
        measure_answer(pair[1]);
    }
    close(pair[1]);
    if (*pid > 0)
        return pair[0];
    close(pair[0]);
    return -1;
}

/* ---- works: 0 or -errno ---- */

static int work_bare(struct bench *b, uint64_t n)
{
    struct measure_access request = { { 1, VFU_CMD_REGION_READ, REQUEST, 0, 0 }, { 0, 0, 4 }, 0 };
    uint8_t reply[REPLY];

    while (n--) {
        if (send(b->lean, &request, REQUEST, MSG_NOSIGNAL) != REQUEST || recv(b->lean, reply, REPLY, 0) != REPLY)
            return -EIO;
    }
    return 0;
}

static int work_library(struct bench *b, uint64_t n)
{
    uint32_t value;
    int err = 0;

    while (n-- && !err)
        err = vfuc_read(b->bare, 0, 0, &value, 4);
    return err;
}

static int work_read(struct bench *b, uint64_t n)
{
    uint32_t value;
    int err = 0;

    while (n-- && !err)
        err = vfuc_read(b->c, b->region, b->offset, &value, 4);
    return err;
}

static int work_write(struct bench *b, uint64_t n)
{
    int err = 0;

    while (n-- && !err)
        err = vfuc_write(b->c, b->region, b->offset, &b->value, 4);
    return err;
}

static int work_pipelined(struct bench *b, uint64_t n)
{
    uint32_t values[BATCH];
    int err = 0;

    for (uint64_t i = 0; i < n && !err; i += BATCH) {
        for (uint32_t k = 0; k < BATCH && !err; k++)
            err = vfuc_queue_read(b->c, b->region, b->offset, &values[k], 4, NULL);
        if (!err)
            err = vfuc_drain(b->c);
    }
    return err;
}

/* With a read behind them, whose reply says that all are done. */
static int work_posted(struct bench *b, uint64_t n)
{
    int err = 0;

    while (n-- && !err)
        err = vfuc_post(b->c, b->region, b->offset, &b->value, 4);
    return err ? err : work_read(b, 1);
}

static int work_multi(struct bench *b, uint64_t n)
{
    struct vfuc_multi writes[MULTI];
    int err = 0;

    for (uint32_t i = 0; i < MULTI; i++) {
        writes[i] = (struct vfuc_multi){ .offset = b->offset, .region = b->region, .count = 4 };
        memcpy(writes[i].data, &b->value, 4);
    }
    for (uint64_t i = 0; i < n && err >= 0; i += MULTI)
        err = vfuc_write_multi(b->c, writes, MULTI, false);
    return err < 0 ? err : 0;
}

static int work_mapped(struct bench *b, uint64_t n)
{
    uint32_t sum = 0;

    while (n--)
        sum += *b->word;
    b->value += sum & 0;
    return 0;
}

static const struct work {
    const char *name, *key;
    uint64_t n;
    int (*run)(struct bench *b, uint64_t n);
    size_t against; /* the row of its ratio */
} works[] = {
    { "bare socket, round trip", "bare", 2000, work_bare, 0 },
    { "... through this library", "library", 2000, work_library, 0 },
    { "read of 4 bytes", "read", 2000, work_read, 0 },
    { "write of 4 bytes", "write", 2000, work_write, 0 },
    { "read of 4 bytes, 64 in flight", "pipelined", 64 * 100, work_pipelined, 0 },
    { "posted write of 4 bytes", "posted", 20000, work_posted, 0 },
    { "WRITE_MULTI, 200 in each", "multi", 200 * 50, work_multi, 0 },
    { "load of 4 bytes from a mapped BAR", "mapped", 100000, work_mapped, 0 },
};
#define WORKS (sizeof works / sizeof works[0])

struct row {
    bool there;
    double each[ROUNDS], ratio[ROUNDS];
};

/* What this device cannot do is left out. */
static bool measure_has(const struct bench *b, size_t w)
{
    if (works[w].run == work_multi)
        return vfuc_server(b->c)->write_multiple;
    return works[w].run != work_mapped || b->word;
}

static int measure_round(struct bench *b, struct row *rows, uint32_t round)
{
    for (size_t w = 0; w < WORKS; w++) {
        uint64_t start = measure_now();
        int err;

        if (!measure_has(b, w))
            continue;
        err = works[w].run(b, works[w].n);
        if (err)
            return err;
        rows[w].there = true;
        rows[w].each[round] = (double)(measure_now() - start) / (double)works[w].n;
        rows[w].ratio[round] = rows[w].each[round] / rows[works[w].against].each[round];
    }
    return 0;
}

static int measure_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double measure_median(const double *values)
{
    double sorted[ROUNDS];

    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, ROUNDS, sizeof *sorted, measure_compare);
    return sorted[ROUNDS / 2];
}

/* What a request costs in the library, beyond the bare system calls. */
static double measure_own(const struct row *rows)
{
    double own[ROUNDS];

    for (uint32_t i = 0; i < ROUNDS; i++)
        own[i] = rows[1].each[i] - rows[0].each[i];
    return measure_median(own);
}

static void measure_text(const struct row *rows)
{
    printf("%-34s %12s %8s\n", "", "each", "of bare");
    for (size_t w = 0; w < WORKS; w++) {
        if (rows[w].there)
            printf("%-34s %9.1f ns %8.3f\n", works[w].name, measure_median(rows[w].each),
                   measure_median(rows[w].ratio));
    }
    printf("This library's own part of a request: %.0f ns. Medians of %u rounds, taken in turns.\n", measure_own(rows),
           ROUNDS);
}

static void measure_json(const struct row *rows)
{
    printf("{\"rounds\": %u, \"library_ns\": %.1f", ROUNDS, measure_own(rows));
    for (size_t w = 0; w < WORKS; w++) {
        if (rows[w].there)
            printf(", \"%s\": {\"ns\": %.2f, \"of_bare\": %.4f, \"n\": %" PRIu64 "}", works[w].key,
                   measure_median(rows[w].each), measure_median(rows[w].ratio), works[w].n);
    }
    printf("}\n");
}

/* The first mappable part of a BAR. */
static void measure_map(struct bench *b)
{
    for (uint32_t i = 0; i < 6 && !b->word; i++) {
        struct vfuc_map map;

        if (vfuc_map_region(b->c, i, &map, 1) > 0)
            b->word = map.mem;
    }
}

static int measure_run(struct bench *b, const struct settings *s)
{
    static struct row rows[WORKS];
    int err = vfuc_read(b->c, b->region, b->offset, &b->value, 4);

    if (err)
        return main_failed(s, b->c);
    measure_map(b);
    /* Once for nothing: memory, caches, the processor's clock. */
    err = measure_round(b, rows, 0);
    for (uint32_t round = 0; round < ROUNDS && !err; round++)
        err = measure_round(b, rows, round);
    if (err)
        return main_failed(s, b->c);
    if (s->json)
        measure_json(rows);
    else
        measure_text(rows);
    return 0;
}

int measure_bench(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    struct bench b = { .c = c, .region = VFUC_CONFIG, .lean = -1 };
    pid_t pids[2] = { -1, -1 };
    int fd, status = EXIT_FAILURE;

    if (argc == 1)
        return main_usage("an OFFSET is missing: bench [REGION OFFSET]");
    if (argc == 2 && !main_region(argv[0], &b.region))
        return main_usage("'%s' is no region: bar0 to bar5, rom, config, or an index", argv[0]);
    if (argc == 2 && !main_number(argv[1], UINT64_MAX, &b.offset))
        return main_usage("'%s' is no offset: a decimal number, or a hexadecimal one with 0x", argv[1]);
    if (!c)
        return 0;
    b.bare = vfuc_new(NULL);
    b.lean = measure_start(&pids[0]);
    fd = b.lean < 0 ? -1 : measure_start(&pids[1]);
    if (!b.bare || fd < 0 || vfuc_attach(b.bare, fd) < 0)
        fprintf(stderr, "vfu-client: cannot start the process that is measured against: %s\n", strerror(errno));
    else
        status = measure_run(&b, s);
    vfuc_free(b.bare);
    if (b.lean >= 0)
        close(b.lean);
    for (int i = 0; i < 2; i++) {
        if (pids[i] > 0)
            waitpid(pids[i], NULL, 0);
    }
    return status;
}
