/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fair - a device that keeps the processor to itself stands back behind its neighbours. See fair.c.
 * Runs on the device's thread.
 */
#ifndef CORE_FAIR_H
#define CORE_FAIR_H

#include <stdbool.h>
#include <stdint.h>

struct fair {
    const char *who;   /* the device's name */
    uint64_t (*errors)(void *ctx); /* how many the device's callbacks and its client have made so far */
    void *ctx;
    bool replaceable;  /* another thread can take over: the way back for a process without privileges */
    bool lowered;
    bool asked;        /* for another thread, and none has come yet */
    int nice;          /* the thread's own, before it was lowered */
    uint64_t next;     /* when to look again, ns of a coarse clock */
    uint64_t cpu;      /* of this thread, at the last look */
    uint64_t sleeps;   /* how often it had slept by then */
    uint64_t failed;   /* and errors() by then */
    uint64_t calm;     /* since when it has been no burden, 0: it is one */
};

/* First thing on a thread that runs a device's loop. */
void fair_start(struct fair *fair);
/* At the end of a round. True: this thread cannot get its priority back, let another one go on (asked for once). */
bool fair_round(struct fair *fair);

#endif
