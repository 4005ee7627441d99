/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault - SIGBUS inside a client's mapping: the page becomes zeros, the mapping is marked bad, the thread goes on.
 *
 * A registry of mappings that a signal handler can read on any thread without a lock. A SIGBUS elsewhere is an ordinary
 * crash: the handler puts the former disposition back and lets the fault happen again.
 * The host's own copies go through fault_copy, which simply fails and replaces nothing; pages are replaced for those
 * who hold direct pointers.
 */
#ifndef CORE_FAULT_H
#define CORE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault_area {
    _Atomic(uintptr_t) start; /* 0: a free slot */
    _Atomic(size_t) size;
    _Atomic(size_t) page; /* what the kernel maps and unmaps at a time */
    atomic_int prot;
    atomic_bool bad; /* a page of it has been replaced */
    /* fault.c's own */
    atomic_bool all;            /* take every page for replaced */
    _Atomic(size_t) replaced;   /* pages */
    _Atomic(uint64_t *) bitmap; /* of replaced pages; made by the first fault */
    atomic_uint busy;           /* handlers at work on it */
    struct fault_area *next_free;
};

/* Installs the handler; before threads start. A second call does nothing. 0 or -errno. */
int fault_init(void);

/* NULL: out of memory. The area is watched until fault_unwatch, which comes before its munmap. Any thread.
 * fault_watch is for pages of the usual size; fault_watch_pages for others (a power of two). */
struct fault_area *fault_watch(void *start, size_t size, int prot);
struct fault_area *fault_watch_pages(void *start, size_t size, int prot, size_t page);
void fault_unwatch(struct fault_area *area);

/* True if a page of [at, at + len) has been replaced: what is there is not the client's memory any more. Any thread. */
bool fault_lost(const struct fault_area *area, const void *at, size_t len);

/* Copies between client memory and buf (write: into client memory). 0, or -EFAULT where client memory has gone: some
 * of it may have been copied. Any thread; client must be a mapping that is there at least in name. */
int fault_copy(void *client, void *buf, size_t len, bool write);

#endif
