/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/fault: mappings whose file shrinks while this process copies from them or holds pointers into them.
 * What must end the process does so in a child.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/fault.h"

#define PAGE ((size_t)4096)

static struct sigaction ours;

/* cmocka puts a handler of its own for SIGBUS around each test. */
static void begin(void **state)
{
    (void)state;
    assert_int_equal(sigaction(SIGBUS, &ours, NULL), 0);
}

struct memory {
    int fd;
    size_t size;
    volatile uint8_t *at;
    struct fault_area *area;
};

static void open_memory(struct memory *memory, size_t size)
{
    memory->size = size;
    memory->fd = memfd_create("memory", MFD_CLOEXEC);
    assert_true(memory->fd >= 0);
    assert_int_equal(ftruncate(memory->fd, (off_t)size), 0);
    memory->at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
    assert_ptr_not_equal(memory->at, MAP_FAILED);
    memory->area = fault_watch((void *)memory->at, size, PROT_READ | PROT_WRITE);
    assert_non_null(memory->area);
}

static void close_memory(struct memory *memory)
{
    fault_unwatch(memory->area);
    munmap((void *)memory->at, memory->size);
    close(memory->fd);
}

static bool lost(const struct memory *memory, size_t page, size_t pages)
{
    return fault_lost(memory->area, (const uint8_t *)memory->at + page * PAGE, pages * PAGE);
}

static void test_pointer_meets_zeros(void **state)
{
    struct memory memory;

    begin(state);
    open_memory(&memory, 8 * PAGE);
    memory.at[0] = 1;
    memory.at[5 * PAGE] = 5;
    assert_false(atomic_load(&memory.area->bad));
    assert_int_equal(ftruncate(memory.fd, 4 * PAGE), 0);

    errno = 77;
    assert_int_equal(memory.at[5 * PAGE], 0);
    assert_int_equal(errno, 77);
    assert_true(atomic_load(&memory.area->bad));
    memory.at[7 * PAGE + 8] = 9; /* a write goes nowhere, and its page reads as it was written */
    assert_int_equal(memory.at[7 * PAGE + 8], 9);

    assert_true(lost(&memory, 5, 1));
    assert_true(lost(&memory, 7, 1));
    assert_true(lost(&memory, 0, 8));
    assert_false(lost(&memory, 0, 5));
    assert_false(lost(&memory, 6, 1)); /* gone, but nobody has touched it */
    assert_false(lost(&memory, 5, 0));

    /* What the file still has goes on being the file. */
    assert_int_equal(memory.at[0], 1);
    memory.at[3 * PAGE] = 3;
    uint8_t byte = 0;
    assert_int_equal(pread(memory.fd, &byte, 1, 3 * PAGE), 1);
    assert_int_equal(byte, 3);
    close_memory(&memory);
}

static void test_slot_is_used_again(void **state)
{
    struct memory memory;
    struct fault_area *former;

    begin(state);
    open_memory(&memory, 2 * PAGE);
    former = memory.area;
    assert_int_equal(ftruncate(memory.fd, 0), 0);
    assert_int_equal(memory.at[0], 0);
    assert_true(lost(&memory, 0, 1));
    close_memory(&memory);

    open_memory(&memory, 2 * PAGE);
    assert_ptr_equal(memory.area, former);
    assert_false(atomic_load(&memory.area->bad));
    assert_false(lost(&memory, 0, 2));
    close_memory(&memory);
}

static void test_many_areas(void **state)
{
    enum { N = 200 };
    static struct memory memories[N];

    begin(state);
    for (int i = 0; i < N; i++)
        open_memory(&memories[i], PAGE);
    for (int i = 0; i < N; i += 2)
        assert_int_equal(ftruncate(memories[i].fd, 0), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(memories[i].at[0], 0);
        assert_int_equal(lost(&memories[i], 0, 1), i % 2 == 0);
    }
    for (int i = 0; i < N; i++)
        close_memory(&memories[i]);
}

static void test_copy(void **state)
{
    struct memory memory;
    uint8_t buf[3 * PAGE], bytes[3 * PAGE];

    begin(state);
    open_memory(&memory, 4 * PAGE);
    memset(bytes, 0x5a, sizeof bytes);
    assert_int_equal(fault_copy((uint8_t *)memory.at + 100, bytes, sizeof bytes, true), 0);
    assert_int_equal(fault_copy((uint8_t *)memory.at + 100, buf, sizeof buf, false), 0);
    assert_memory_equal(buf, bytes, sizeof buf);

    assert_int_equal(ftruncate(memory.fd, 2 * PAGE), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fault_copy((uint8_t *)memory.at + PAGE, buf, sizeof buf, false), -EFAULT);
        assert_int_equal(fault_copy((uint8_t *)memory.at + PAGE, buf, sizeof buf, true), -EFAULT);
    }
    assert_int_equal(fault_copy((uint8_t *)memory.at, buf, 2 * PAGE, false), 0);
    /* A copy replaces nothing: when the file is long enough again, it works again. */
    assert_false(atomic_load(&memory.area->bad));
    assert_int_equal(ftruncate(memory.fd, 4 * PAGE), 0);
    assert_int_equal(fault_copy((uint8_t *)memory.at + PAGE, bytes, sizeof bytes, true), 0);
    assert_int_equal(fault_copy((uint8_t *)memory.at + PAGE, buf, sizeof buf, false), 0);
    assert_memory_equal(buf, bytes, sizeof buf);
    close_memory(&memory);
}

/* A pointer that is used while no copy is under way must not be taken for part of the last one. */
static void test_pointer_after_copy(void **state)
{
    struct memory memory;
    uint8_t byte;

    begin(state);
    open_memory(&memory, PAGE);
    assert_int_equal(fault_copy((uint8_t *)memory.at, &byte, 1, false), 0);
    assert_int_equal(ftruncate(memory.fd, 0), 0);
    assert_int_equal(memory.at[0], 0);
    assert_true(lost(&memory, 0, 1));
    assert_int_equal(fault_copy((uint8_t *)memory.at, &byte, 1, false), 0); /* zeros by now: fault_lost tells */
    close_memory(&memory);

    open_memory(&memory, PAGE);
    assert_int_equal(ftruncate(memory.fd, 0), 0);
    assert_int_equal(fault_copy((uint8_t *)memory.at, &byte, 1, false), -EFAULT);
    assert_int_equal(memory.at[0], 0);
    assert_true(lost(&memory, 0, 1));
    close_memory(&memory);
}

/* Larger pages, as hugetlbfs has them: the whole page goes, and its neighbours stay. */
static void test_large_pages(void **state)
{
    const size_t large = 16 * PAGE;
    size_t room = 5 * large;
    uint8_t *reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *start = (uint8_t *)(((uintptr_t)reserved + large - 1) & ~(uintptr_t)(large - 1));
    int fd = memfd_create("memory", MFD_CLOEXEC);
    struct fault_area *area;

    begin(state);
    assert_ptr_not_equal(reserved, MAP_FAILED);
    assert_int_equal(ftruncate(fd, (off_t)(4 * large)), 0);
    assert_ptr_equal(mmap(start, 4 * large, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), start);
    area = fault_watch_pages(start, 4 * large, PROT_READ | PROT_WRITE, large);
    assert_non_null(area);
    memset(start, 1, 4 * large);
    assert_int_equal(ftruncate(fd, (off_t)(2 * large)), 0);
    assert_int_equal(*(volatile uint8_t *)(start + 3 * large + 5 * PAGE + 1), 0);
    assert_true(fault_lost(area, start + 3 * large, 1));
    assert_true(fault_lost(area, start + 4 * large - 1, 1));
    assert_false(fault_lost(area, start, 3 * large));
    assert_int_equal(start[2 * large - 1], 1);
    fault_unwatch(area);
    munmap(reserved, room);
    close(fd);
}

/* Pages lost one by one all over a large mapping cost a bounded number of kernel mappings. */
static void test_scattered_losses(void **state)
{
    const size_t pages = 16384;
    struct memory memory;
    char line[512];
    unsigned lines = 0;
    FILE *maps;

    begin(state);
    open_memory(&memory, pages * PAGE);
    assert_int_equal(ftruncate(memory.fd, (off_t)PAGE), 0);
    for (size_t page = 2; page < pages; page += 2)
        assert_int_equal(memory.at[page * PAGE], 0);
    for (size_t page = 2; page < pages; page += 2)
        assert_true(lost(&memory, page, 1));
    assert_false(lost(&memory, 0, 1));
    maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        lines++;
    fclose(maps);
    assert_in_range(lines, 1000, 5000);
    close_memory(&memory);
}

struct racer {
    const struct memory *memory;
    pthread_barrier_t *barrier;
    bool copies;
    int failures;
};

static void *race(void *argument)
{
    struct racer *racer = argument;
    uint8_t bytes[64];

    pthread_barrier_wait(racer->barrier);
    for (size_t at = 0; at < racer->memory->size; at += PAGE / 2) {
        if (racer->copies)
            racer->failures += fault_copy((uint8_t *)racer->memory->at + at, bytes, sizeof bytes, false) == -EFAULT;
        else
            racer->failures += racer->memory->at[at] != 0;
    }
    return NULL;
}

static void test_threads(void **state)
{
    enum { THREADS = 6 };

    begin(state);
    for (int round = 0; round < 20; round++) {
        struct memory memory;
        struct racer racers[THREADS];
        pthread_t threads[THREADS];
        pthread_barrier_t barrier;

        open_memory(&memory, 64 * PAGE);
        assert_int_equal(ftruncate(memory.fd, 0), 0);
        pthread_barrier_init(&barrier, NULL, THREADS);
        for (int i = 0; i < THREADS; i++) {
            racers[i] = (struct racer){&memory, &barrier, i % 3 == 0, 0};
            assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
            if (!racers[i].copies)
                assert_int_equal(racers[i].failures, 0);
        }
        pthread_barrier_destroy(&barrier);
        for (size_t page = 0; page < 64; page++)
            assert_true(lost(&memory, page, 1));
        close_memory(&memory);
    }
}

/* While one thread meets faults in its mapping, others come and go in the registry. */
static void *come_and_go(void *argument)
{
    _Atomic(bool) *stop = argument;

    while (!atomic_load(stop)) {
        struct memory memory;

        open_memory(&memory, PAGE);
        if (ftruncate(memory.fd, 0) || memory.at[0] != 0 || !lost(&memory, 0, 1))
            abort();
        close_memory(&memory);
    }
    return NULL;
}

static void test_registry_in_motion(void **state)
{
    _Atomic(bool) stop = false;
    pthread_t threads[2];

    begin(state);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, (void *)&stop), 0);
    for (int i = 0; i < 300; i++) {
        struct memory memory;

        open_memory(&memory, 2 * PAGE);
        assert_int_equal(ftruncate(memory.fd, PAGE), 0);
        assert_int_equal(memory.at[PAGE], 0);
        assert_true(lost(&memory, 1, 1));
        assert_false(lost(&memory, 0, 1));
        close_memory(&memory);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* The signal that a child ends with when it does `what`; the default disposition is what was there before. */
static int child_ends_with(void (*what)(void))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        what();
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void touch_unwatched(void)
{
    int fd = memfd_create("memory", MFD_CLOEXEC);
    volatile uint8_t *at;

    if (ftruncate(fd, PAGE))
        return;
    at = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (ftruncate(fd, 0))
        return;
    (void)*at;
}

static void touch_after_unwatch(void)
{
    struct memory memory;

    open_memory(&memory, PAGE);
    fault_unwatch(memory.area);
    if (ftruncate(memory.fd, 0))
        return;
    (void)*memory.at;
}

static void kill_self(void)
{
    kill(getpid(), SIGBUS);
}

static void test_not_ours(void **state)
{
    begin(state);
    assert_int_equal(child_ends_with(touch_unwatched), SIGBUS);
    assert_int_equal(child_ends_with(touch_after_unwatch), SIGBUS);
    assert_int_equal(child_ends_with(kill_self), SIGBUS);
}

static void test_init_twice(void **state)
{
    struct sigaction now;

    begin(state);
    assert_ptr_not_equal(ours.sa_sigaction, NULL);
    assert_int_equal(fault_init(), 0);
    sigaction(SIGBUS, NULL, &now);
    assert_ptr_equal(now.sa_sigaction, ours.sa_sigaction);
    /* The former disposition is still the one of before the first call. */
    assert_int_equal(child_ends_with(kill_self), SIGBUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointer_meets_zeros), cmocka_unit_test(test_slot_is_used_again),
        cmocka_unit_test(test_many_areas),          cmocka_unit_test(test_copy),
        cmocka_unit_test(test_pointer_after_copy),  cmocka_unit_test(test_large_pages),
        cmocka_unit_test(test_scattered_losses),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_registry_in_motion),  cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_init_twice),
    };

    /* A sanitizer has its own handler of SIGBUS, which ends a child by _exit: the tests mean the system's. */
    signal(SIGBUS, SIG_DFL);
    if (fault_init() || sigaction(SIGBUS, NULL, &ours))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
