/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault - SIGBUS inside a client's mapping becomes a page of zeros, or the failure of the copy that met it.
 *
 * The registry is a list of chunks of areas that only grows, so that the handler may walk it at any time. The mutex is
 * for watch and unwatch only. The handler counts itself into an area before it touches it, and unwatch waits for that
 * count: nothing is ever mapped over an address range that has been given back.
 * Runs on any thread; on_sigbus and what it calls run in a signal handler.
 */
#include "core/base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/base/log.h"

#define CHUNK 64

/*
 * Each page replaced on its own may cost a kernel mapping, of which a process has 65,530. Where an area has lost this
 * many pages, 1/FINE_PAGES of it goes at a time: a client cannot use all of them up, and loses at most that
 * much memory besides what it took away.
 */
#define FINE_PAGES 1024u

struct chunk {
    struct chunk *next; /* fixed once the chunk is in the list */
    struct fault_area areas[CHUNK];
};

static struct {
    pthread_mutex_t lock;
    bool installed;
    struct sigaction former;
    struct fault_area *free;
    _Atomic(struct chunk *) chunks;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The copy that this thread is in, if size is not 0. */
static _Thread_local struct {
    volatile uintptr_t start;
    volatile size_t size;
    sigjmp_buf escape;
} copying;

/* The bitmap of replaced pages; NULL if there is no memory for one. Sparse: the kernel backs what is touched. */
static uint64_t *replaced_bitmap(struct fault_area *area, size_t pages)
{
    uint64_t *bitmap = atomic_load(&area->bitmap);
    size_t bytes = (pages + 63) / 64 * sizeof *bitmap;
    void *fresh;

    if (bitmap)
        return bitmap;
    fresh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED)
        return NULL;
    if (atomic_compare_exchange_strong(&area->bitmap, &bitmap, fresh))
        return fresh;
    munmap(fresh, bytes); /* another thread was first */
    return bitmap;
}

static void mark_replaced(struct fault_area *area, size_t first, size_t count, size_t pages)
{
    uint64_t *bitmap = replaced_bitmap(area, pages);

    if (!bitmap) {
        atomic_store(&area->all, true);
        return;
    }
    for (size_t page = first; page < first + count; page++)
        __atomic_fetch_or(&bitmap[page / 64], UINT64_C(1) << (page % 64), __ATOMIC_RELAXED);
    atomic_fetch_add(&area->replaced, count);
}

static bool map_zeros(uintptr_t at, size_t size, int prot)
{
    return mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/* The area is held by `busy`. The marks come first: whoever sees zeros must find the mark. */
static bool replace(struct fault_area *area, uintptr_t start, size_t offset)
{
    size_t page = atomic_load(&area->page), pages = atomic_load(&area->size) / page;
    int prot = atomic_load(&area->prot);
    size_t count = 1, first = offset / page;

    if (atomic_load(&area->replaced) >= FINE_PAGES && pages > FINE_PAGES)
        count = (pages + FINE_PAGES - 1) / FINE_PAGES;
    first -= first % count;
    if (count > pages - first)
        count = pages - first;
    mark_replaced(area, first, count, pages);
    atomic_store(&area->bad, true);
    if (map_zeros(start + first * page, count * page, prot))
        return true;
    /* No more mappings to be had: one in place of all of the area needs no more than there are. */
    atomic_store(&area->all, true);
    return map_zeros(start, pages * page, prot);
}

static bool take(struct fault_area *area, uintptr_t address)
{
    uintptr_t start = atomic_load(&area->start);
    bool done = false;

    if (!start || address - start >= atomic_load(&area->size))
        return false;
    atomic_fetch_add(&area->busy, 1);
    start = atomic_load(&area->start);
    if (start && address - start < atomic_load(&area->size))
        done = replace(area, start, address - start);
    atomic_fetch_sub(&area->busy, 1);
    return done;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;
    int saved = errno;

    if (info->si_code > 0) { /* the kernel's word about an address, not a kill */
        if (address - copying.start < copying.size) {
            const ucontext_t *interrupted = context;

            copying.size = 0;
            pthread_sigmask(SIG_SETMASK, &interrupted->uc_sigmask, NULL); /* which the jump does not bring back */
            siglongjmp(copying.escape, 1);
        }
        for (struct chunk *chunk = atomic_load(&registry.chunks); chunk; chunk = chunk->next) {
            for (unsigned i = 0; i < CHUNK; i++) {
                if (take(&chunk->areas[i], address)) {
                    errno = saved;
                    return;
                }
            }
        }
    }
    sigaction(SIGBUS, &registry.former, NULL);
    if (info->si_code <= 0)
        raise(number); /* it would not come again by itself */
    errno = saved;
}

int fault_init(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int result = 0;

    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&registry.lock);
    if (!registry.installed) {
        if (sigaction(SIGBUS, &action, &registry.former) == 0) {
            registry.installed = true;
        } else {
            result = -errno;
            log_error(NULL, "cannot handle SIGBUS: %s", strerror(errno));
        }
    }
    pthread_mutex_unlock(&registry.lock);
    return result;
}

/* Called with the lock held. */
static struct fault_area *free_area(void)
{
    struct fault_area *area = registry.free;
    struct chunk *chunk;

    if (area) {
        registry.free = area->next_free;
        return area;
    }
    chunk = calloc(1, sizeof *chunk);
    if (!chunk)
        return NULL;
    for (unsigned i = 1; i < CHUNK; i++) {
        chunk->areas[i].next_free = registry.free;
        registry.free = &chunk->areas[i];
    }
    chunk->next = atomic_load(&registry.chunks);
    atomic_store(&registry.chunks, chunk);
    return &chunk->areas[0];
}

struct fault_area *fault_watch_pages(void *start, size_t size, int prot, size_t page)
{
    struct fault_area *area;

    pthread_mutex_lock(&registry.lock);
    area = free_area();
    pthread_mutex_unlock(&registry.lock);
    if (!area)
        return NULL;
    atomic_store(&area->size, size);
    atomic_store(&area->page, page);
    atomic_store(&area->prot, prot);
    atomic_store(&area->bad, false);
    atomic_store(&area->all, false);
    atomic_store(&area->replaced, 0);
    atomic_store(&area->start, (uintptr_t)start);
    return area;
}

struct fault_area *fault_watch(void *start, size_t size, int prot)
{
    return fault_watch_pages(start, size, prot, (size_t)sysconf(_SC_PAGESIZE));
}

void fault_unwatch(struct fault_area *area)
{
    size_t pages = atomic_load(&area->size) / atomic_load(&area->page);
    uint64_t *bitmap;

    atomic_store(&area->start, 0);
    while (atomic_load(&area->busy))
        sched_yield();
    bitmap = atomic_exchange(&area->bitmap, NULL);
    if (bitmap)
        munmap(bitmap, (pages + 63) / 64 * sizeof *bitmap);
    pthread_mutex_lock(&registry.lock);
    area->next_free = registry.free;
    registry.free = area;
    pthread_mutex_unlock(&registry.lock);
}

bool fault_lost(const struct fault_area *area, const void *at, size_t len)
{
    uintptr_t start = atomic_load(&area->start);
    size_t page = atomic_load(&area->page), first, last;
    const uint64_t *bitmap;

    if (!atomic_load(&area->bad) || len == 0)
        return false;
    bitmap = atomic_load(&area->bitmap);
    if (atomic_load(&area->all) || !bitmap)
        return true;
    first = ((uintptr_t)at - start) / page;
    last = ((uintptr_t)at + (len - 1) - start) / page;
    for (size_t word = first / 64; word <= last / 64; word++) {
        uint64_t bits = __atomic_load_n(&bitmap[word], __ATOMIC_RELAXED);

        if (word == first / 64)
            bits &= UINT64_MAX << (first % 64);
        if (word == last / 64)
            bits &= UINT64_MAX >> (63 - last % 64);
        if (bits)
            return true;
    }
    return false;
}

/* In a function of its own because of what sigsetjmp does to local variables: there are none that change. */
__attribute__((noinline)) int fault_copy(void *client, void *buf, size_t len, bool write)
{
    if (sigsetjmp(copying.escape, 0))
        return -EFAULT; /* the handler has ended the copy */
    copying.start = (uintptr_t)client;
    copying.size = len;
    atomic_signal_fence(memory_order_seq_cst);
    /* memmove: buf may be a window into the same memory. */
    if (write)
        memmove(client, buf, len);
    else
        memmove(buf, client, len);
    atomic_signal_fence(memory_order_seq_cst);
    copying.size = 0;
    return 0;
}
