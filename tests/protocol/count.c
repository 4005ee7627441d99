/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * count - loaded into a host with LD_PRELOAD: counts what it allocates in the file that VFU_COUNT names, for a test to
 * look at while the host runs. Any thread; the counters are atomic.
 */
#include "tests/protocol/count.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What glibc calls its own. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

#define EXPORT __attribute__((visibility("default")))

static struct count nobody;
static struct count *count = &nobody;

__attribute__((constructor)) static void count_open(void)
{
    const char *path = getenv("VFU_COUNT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory;

    if (fd < 0)
        return;
    memory = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED)
        count = memory;
    close(fd);
}

static void *counted(void *memory, size_t size)
{
    uint64_t largest = __atomic_load_n(&count->largest, __ATOMIC_RELAXED);

    __atomic_fetch_add(&count->allocations, 1, __ATOMIC_RELAXED);
    while (size > largest &&
           !__atomic_compare_exchange_n(&count->largest, &largest, size, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return memory;
}

EXPORT void *malloc(size_t size)
{
    return counted(__libc_malloc(size), size);
}

EXPORT void *calloc(size_t n, size_t size)
{
    return counted(__libc_calloc(n, size), n * size);
}

EXPORT void *realloc(void *memory, size_t size)
{
    return counted(__libc_realloc(memory, size), size);
}

EXPORT void *reallocarray(void *memory, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return counted(__libc_realloc(memory, bytes), bytes);
}

EXPORT int posix_memalign(void **memory, size_t alignment, size_t size)
{
    *memory = counted(__libc_memalign(alignment, size), size);
    return *memory ? 0 : ENOMEM;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return counted(__libc_memalign(alignment, size), size);
}

EXPORT void free(void *memory)
{
    if (memory)
        __atomic_fetch_add(&count->frees, 1, __ATOMIC_RELAXED);
    __libc_free(memory);
}
