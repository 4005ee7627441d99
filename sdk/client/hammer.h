/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hammer - what the files of the command hammer share: one attached client whose behaviour changes with each phase
 * (actors.c), and strangers beside it who are not wanted (intruders.c). What anybody does follows from the seed: phase
 * number n draws from the seed and n alone, so that the same seed is the same sequence.
 *
 * The phases run on the command's thread. Intruders have a thread each, and touch nothing here but `intruders`.
 */
#ifndef CLIENT_HAMMER_H
#define CLIENT_HAMMER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vfu/client.h>

#include "sdk/client/cli.h"

#define HAMMER_REGIONS 9u
#define HAMMER_IRQS 5u
#define HAMMER_INTRUDERS 2u
#define HAMMER_BUCKETS 40u
#define HAMMER_MEMORY 0x100000u /* what the device may use, from DMA address 0 */

struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *rng);
/* Below n, which is not 0. */
uint64_t rng_below(struct rng *rng, uint64_t n);
/* Seed, and the number of a stream. */
struct rng rng_make(uint64_t seed, uint64_t stream);
void rng_bytes(struct rng *rng, void *data, size_t size);

struct intruders {
    const char *socket;
    uint64_t seed;
    uint32_t ids;         /* the first four bytes of config space */
    atomic_bool stop;
    atomic_bool pause;    /* the attached client has waited long for its turn */
    atomic_uint_fast64_t visits, refused, attached;
    atomic_bool wrong;    /* one of them was attached, and read something else than the ids */
    pthread_t threads[HAMMER_INTRUDERS];
    struct intruder {
        struct intruders *all;
        uint32_t number;
    } list[HAMMER_INTRUDERS];
    uint32_t running;
};

struct hammer {
    const struct settings *settings;
    struct vfuc *c;
    uint64_t seed;
    struct rng rng;             /* of this phase */
    uint64_t phase;             /* its number */
    const char *name;           /* and kind */
    char wrong[700];            /* "": the server has answered correctly so far */

    uint32_t nregions, nirqs;
    struct vfuc_region regions[HAMMER_REGIONS];
    uint32_t irqs[HAMMER_IRQS];
    bool can_reset;
    uint32_t ids, class_revision;

    uint64_t requests, refused, connects, closed, busy;
    uint64_t latency[HAMMER_BUCKETS]; /* of the reads in between: how many took up to 2^i ns */
    uint64_t slowest;                 /* ns */
    struct intruders intruders;
};

uint64_t hammer_now(void);
void hammer_pause(uint64_t ns);

/* Notes what is wrong, if it is the first thing; -1. */
int hammer_wrong(struct hammer *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What a call of the library returned: 0 if a server may answer so, -1 (noted) if it hangs, is gone, or answers
 * wrongly. */
int hammer_took(struct hammer *h, int result);
/* Attaches with these options, and waits for its turn. 0 or -1 (noted). */
int hammer_connect(struct hammer *h, uint32_t flags, uint32_t max_msg_fds, uint64_t max_data);
/* The same with drawn options, and memory for the device. */
int hammer_attach(struct hammer *h);
/* An undisturbed client gets what is right: 0 or -1 (noted). */
int hammer_check(struct hammer *h);

struct actor {
    const char *name;
    uint32_t weight;
    int (*run)(struct hammer *h); /* 0, or -1 (noted); may leave h->c closed */
};
extern const struct actor actors[];
extern const size_t nactors;

int intruders_start(struct intruders *intruders);
void intruders_stop(struct intruders *intruders);

#endif
