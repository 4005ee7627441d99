/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hang - tells while it lasts that something does not return: a thread of its own looks after what others do. Any
 * thread. One watch is a few hundred nanoseconds: nothing for the fast path.
 */
#ifndef CORE_HANG_H
#define CORE_HANG_H

#include <stdbool.h>
#include <stdint.h>

struct hang {
    struct hang *next;
    uint64_t start, deadline; /* ns of the monotonic clock, which nobody makes virtual */
    void (*late)(void *ctx);  /* NULL once it was called */
    void *ctx;
};

/* From now to hang_end. If that takes longer than `ns`, late(ctx) is called, once, on the watcher's thread; it must not
 * wait for anybody. *h lives in the caller's frame. */
void hang_begin(struct hang *h, uint64_t ns, void (*late)(void *ctx), void *ctx);
/* How long it took, ns. late is not being called any more. */
uint64_t hang_end(struct hang *h);

#endif
