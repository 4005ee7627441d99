/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/dma and core/filemap: hostile maps, many maps, memory that goes away, windows, and random work that is
 * compared with a model which knows every page.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfu/protocol.h>

#include "core/pci/dma.h"
#include "core/base/fault.h"
#include "core/pci/filemap.h"
#include "core/base/log.h"

#define PAGE UINT64_C(4096)
#define R VFU_DMA_MAP_READABLE
#define W VFU_DMA_MAP_WRITEABLE
#define RW (R | W)
#define TOP UINT64_C(0xfffffffffffff000) /* the last page there is */

static struct sigaction ours;

/* cmocka puts a handler of its own for SIGBUS around each test. */
static void begin(void **state)
{
    (void)state;
    assert_int_equal(sigaction(SIGBUS, &ours, NULL), 0);
}

static struct dma *new_dma(uint32_t max)
{
    struct dma *dma = NULL;

    assert_int_equal(dma_new(&dma, "test", max), 0);
    assert_non_null(dma);
    return dma;
}

static int memory(uint64_t size)
{
    int fd = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static unsigned count_fds(void)
{
    return count_entries("/proc/self/fd");
}

static unsigned count_mappings(const char *name)
{
    char line[512];
    unsigned n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        n += strstr(line, name) != NULL;
    fclose(maps);
    return n;
}

static uint32_t random_below(uint32_t n)
{
    static uint64_t x = 0x2545f4914f6cdd1d;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)((x >> 11) % n);
}

/* ---- map and unmap ---- */

static void test_hostile_maps(void **state)
{
    int fd = memory(8 * PAGE), read_only, write_only, path_only, pair[2], dir = open("/", O_RDONLY | O_DIRECTORY);
    char name[64];
    struct dma *dma = new_dma(3);

    begin(state);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    read_only = open(name, O_RDONLY);
    write_only = open(name, O_WRONLY);
    path_only = open(name, O_PATH);
    assert_true(read_only >= 0 && write_only >= 0 && path_only >= 0 && dir >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(dma_map(dma, 16 * PAGE, 4 * PAGE, RW, -1, 0), 0);

    const struct {
        uint64_t address, size;
        uint32_t flags;
        int fd;
        uint64_t offset;
        int result;
    } cases[] = {
        {0, 0, RW, -1, 0, -EINVAL},
        {0, 1, RW, -1, 0, -EINVAL},
        {0, PAGE + 1, RW, -1, 0, -EINVAL},
        {0, PAGE - 1, RW, -1, 0, -EINVAL},
        {1, PAGE, RW, -1, 0, -EINVAL},
        {PAGE / 2, PAGE, RW, -1, 0, -EINVAL},
        {0, PAGE, RW, -1, 1, -EINVAL},
        {0, PAGE, RW, fd, 512, -EINVAL},
        {TOP, 2 * PAGE, RW, -1, 0, -EINVAL},
        {PAGE, UINT64_MAX, RW, -1, 0, -EINVAL},
        {PAGE, TOP, RW, -1, 0, -EEXIST},     /* ends at 2^64 exactly, over what is there */
        {2 * PAGE, TOP, RW, -1, 0, -EINVAL}, /* and one page further */
        {0, PAGE, 0, -1, 0, -EINVAL},
        {0, PAGE, 4, -1, 0, -EINVAL},
        {0, PAGE, RW | 8, -1, 0, -EINVAL},
        {0, PAGE, UINT32_MAX, -1, 0, -EINVAL},
        {0, PAGE, RW, -1, TOP, -EINVAL},
        {0, PAGE, RW, fd, TOP, -EINVAL},
        {0, TOP, RW, fd, PAGE, -EINVAL},
        {PAGE, (UINT64_C(1) << 63) - PAGE, RW, fd, PAGE, -EINVAL},
        {0, PAGE, RW, fd, UINT64_C(1) << 62, -EINVAL},
        {0, PAGE, RW, fd, (UINT64_C(1) << 63) - PAGE, -EINVAL},
        {0, PAGE, RW, fd, 8 * PAGE, -EINVAL},
        {0, 9 * PAGE, RW, fd, 0, -EINVAL},
        {0, 2 * PAGE, RW, fd, 7 * PAGE, -EINVAL},
        {UINT64_C(1) << 62, UINT64_C(1) << 62, RW, fd, 0, -EINVAL},
        {0, PAGE, RW, pair[0], 0, -EINVAL},
        {0, PAGE, R, dir, 0, -EINVAL},
        {0, PAGE, RW, 1 << 20, 0, -EINVAL},
        {0, PAGE, RW, read_only, 0, -EACCES},
        {0, PAGE, W, read_only, 0, -EACCES},
        {0, PAGE, W, write_only, 0, -EACCES},
        {0, PAGE, R, path_only, 0, -EACCES},
        {16 * PAGE, 4 * PAGE, RW, -1, 0, -EEXIST},
        {16 * PAGE, PAGE, RW, -1, 0, -EEXIST},
        {19 * PAGE, PAGE, RW, -1, 0, -EEXIST},
        {15 * PAGE, 2 * PAGE, RW, -1, 0, -EEXIST},
        {19 * PAGE, 2 * PAGE, RW, -1, 0, -EEXIST},
        {17 * PAGE, PAGE, RW, fd, 0, -EEXIST},
        {0, 64 * PAGE, R, -1, 0, -EEXIST},
        /* and what is right */
        {20 * PAGE, PAGE, R, read_only, 0, 0},
        {15 * PAGE, PAGE, RW, fd, 7 * PAGE, 0},
        {0, PAGE, RW, -1, 0, -ENOSPC},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t before = dma_count(dma);
        int result = dma_map(dma, cases[i].address, cases[i].size, cases[i].flags, cases[i].fd, cases[i].offset);

        if (result != cases[i].result)
            fail_msg("case %zu: %d instead of %d", i, result, cases[i].result);
        assert_int_equal(dma_count(dma), before + (result == 0));
    }

    assert_int_equal(dma_unmap(dma, 16 * PAGE, PAGE), -ENOENT);
    assert_int_equal(dma_unmap(dma, 17 * PAGE, 3 * PAGE), -ENOENT);
    assert_int_equal(dma_unmap(dma, 16 * PAGE, 5 * PAGE), -ENOENT);
    assert_int_equal(dma_unmap(dma, 16 * PAGE, 0), -ENOENT);
    assert_int_equal(dma_unmap(dma, 0, PAGE), -ENOENT);
    assert_int_equal(dma_unmap(dma, TOP, PAGE), -ENOENT);
    assert_int_equal(dma_count(dma), 3);
    assert_int_equal(dma_unmap(dma, 16 * PAGE, 4 * PAGE), 0);
    assert_int_equal(dma_unmap(dma, 16 * PAGE, 4 * PAGE), -ENOENT);
    assert_int_equal(dma_count(dma), 2);
    dma_free(dma);
    close(fd), close(read_only), close(write_only), close(path_only), close(pair[0]), close(pair[1]), close(dir);
}

static void test_sealed(void **state)
{
    struct dma *dma = new_dma(8);
    int fd = memory(PAGE);

    begin(state);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    assert_int_equal(dma_map(dma, 0, PAGE, RW, fd, 0), -EACCES);
    assert_int_equal(dma_map(dma, 0, PAGE, R, fd, 0), 0);
    dma_free(dma);
    close(fd);
}

static void test_end_of_addresses(void **state)
{
    struct dma *dma = new_dma(8);
    int fd = memory(2 * PAGE);
    uint64_t value = 0x1122334455667788, got = 0;
    uint8_t *pointer, byte = 9;
    uint64_t piece;

    begin(state);
    assert_int_equal(dma_map(dma, TOP, PAGE, RW, fd, PAGE), 0);
    assert_int_equal(dma_map(dma, 0, PAGE, RW, fd, 0), 0);
    assert_int_equal(dma_copy(dma, UINT64_MAX - 7, &value, 8, true), 0);
    assert_int_equal(dma_copy(dma, UINT64_MAX - 7, &got, 8, false), 0);
    assert_true(got == value);
    assert_int_equal(dma_copy(dma, UINT64_MAX, &byte, 1, true), 0);
    assert_int_equal(dma_copy(dma, UINT64_MAX, &got, 2, false), -EFAULT); /* it does not go round */
    assert_int_equal(dma_copy(dma, UINT64_MAX - 6, &got, 8, false), -EFAULT);
    assert_int_equal(dma_check(dma, TOP, PAGE, true), 0);
    assert_int_equal(dma_check(dma, TOP, PAGE + 1, true), -EFAULT);
    assert_int_equal(dma_check(dma, TOP, UINT64_MAX, true), -EFAULT);
    assert_int_equal(dma_check(dma, 0, UINT64_MAX, true), -EFAULT);
    assert_int_equal(dma_check(dma, UINT64_MAX, 0, true), 0);
    assert_int_equal(dma_piece(dma, UINT64_MAX - 3, UINT64_MAX, true, &pointer, &piece), 0);
    assert_int_equal(piece, 4);
    assert_int_equal(pread(fd, &byte, 1, 2 * (off_t)PAGE - 1), 1);
    assert_int_equal(byte, 9);
    assert_int_equal(dma_unmap(dma, TOP, PAGE), 0);
    assert_int_equal(dma_check(dma, UINT64_MAX, 1, false), -EFAULT);

    /* One region over nearly everything. */
    assert_int_equal(dma_map(dma, PAGE, TOP, RW, -1, 0), 0);
    assert_int_equal(dma_check(dma, PAGE, TOP, true), 1);
    assert_int_equal(dma_check(dma, 0, UINT64_MAX, true), 1);
    assert_int_equal(dma_unmap(dma, PAGE, TOP), 0);
    dma_free(dma);
    close(fd);
}

/* ---- many ---- */

#define MANY 65535u

static uint64_t address_of(uint32_t i)
{
    return UINT64_C(0x100000000) + i * 3 * PAGE;
}

static uint64_t size_of(uint32_t i)
{
    return (1 + i % 2) * PAGE; /* so that there are holes, or the next region is one page away */
}

struct census {
    uint32_t n;
    uint64_t end;
};

static int count_region(void *ctx, uint64_t address, uint64_t size, uint32_t flags, bool mapped)
{
    struct census *census = ctx;

    if (census->n && address < census->end)
        return 1;
    if (address != address_of(census->n) || size != size_of(census->n) || flags != RW || mapped)
        return 2;
    census->end = address + size;
    census->n++;
    return 0;
}

static void shuffle(uint32_t *list, uint32_t n)
{
    for (uint32_t i = n - 1; i > 0; i--) {
        uint32_t j = random_below(i + 1), other = list[i];

        list[i] = list[j];
        list[j] = other;
    }
}

static void many(uint32_t *order)
{
    struct dma *dma = new_dma(MANY);
    struct census census = {0, 0};

    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(dma_map(dma, address_of(order[i]), size_of(order[i]), RW, -1, 0), 0);
    assert_int_equal(dma_count(dma), MANY);
    assert_int_equal(dma_map(dma, 0, PAGE, RW, -1, 0), -ENOSPC);
    assert_int_equal(dma_each(dma, count_region, &census), 0);
    assert_int_equal(census.n, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t which = random_below(MANY);
        uint64_t within = random_below(3 * PAGE), piece;
        uint8_t *pointer;
        int result = dma_piece(dma, address_of(which) + within, 2 * PAGE, false, &pointer, &piece);

        assert_int_equal(result, within < size_of(which) ? 0 : -EFAULT);
        if (result == 0)
            assert_int_equal(piece, size_of(which) - within);
    }
    /* Half of them go in another order; the others are still there. */
    shuffle(order, MANY);
    for (uint32_t i = 0; i < MANY / 2; i++)
        assert_int_equal(dma_unmap(dma, address_of(order[i]), size_of(order[i])), 0);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(dma_check(dma, address_of(order[i]), size_of(order[i]), true), i < MANY / 2 ? -EFAULT : 1);
    assert_int_equal(dma_count(dma), MANY - MANY / 2);
    dma_unmap_all(dma);
    assert_int_equal(dma_count(dma), 0);
    assert_int_equal(dma_check(dma, address_of(5), 1, true), -EFAULT);
    assert_int_equal(dma_map(dma, address_of(5), PAGE, RW, -1, 0), 0);
    dma_free(dma);
}

static void test_many(void **state)
{
    uint32_t *order = calloc(MANY, sizeof *order);

    begin(state);
    assert_non_null(order);
    for (uint32_t i = 0; i < MANY; i++)
        order[i] = i;
    many(order);
    for (uint32_t i = 0; i < MANY; i++)
        order[i] = MANY - 1 - i;
    many(order);
    shuffle(order, MANY);
    many(order);
    free(order);
}

/* A client that maps and unmaps so as to leave as many nearly empty blocks as it can. */
static void test_hollow(void **state)
{
    struct dma *dma = new_dma(MANY);
    struct census census = {0, 0};

    begin(state);
    for (uint32_t round = 0; round < 64; round++) {
        for (uint32_t i = 0; i < 512; i++)
            assert_int_equal(dma_map(dma, address_of(round * 512 + i), PAGE, RW, -1, 0), 0);
        for (uint32_t i = 0; i < 512; i++)
            if (i % 128)
                assert_int_equal(dma_unmap(dma, address_of(round * 512 + i), PAGE), 0);
    }
    assert_int_equal(dma_count(dma), 64 * 4);
    for (uint32_t i = 0; i < 64 * 512; i++)
        assert_int_equal(dma_check(dma, address_of(i), PAGE, true), i % 128 ? -EFAULT : 1);
    dma_unmap_all(dma);
    assert_int_equal(dma_each(dma, count_region, &census), 0);
    assert_int_equal(census.n, 0);
    dma_free(dma);
}

/* One file, many fds: one mapping, and no fd kept. */
static void test_one_file_many_fds(void **state)
{
    enum { N = 2000 };
    struct dma *dma = new_dma(N + 1);
    unsigned fds = count_fds();
    int fd = memory(N * PAGE);
    uint32_t value;

    begin(state);
    for (uint32_t i = 0; i < N; i++) {
        int other = dup(fd);

        assert_true(other >= 0);
        assert_int_equal(dma_map(dma, i * PAGE, PAGE, RW, other, (N - 1 - i) * PAGE), 0);
        close(other);
    }
    assert_int_equal(count_mappings("memfd:memory"), 1);
    assert_int_equal(dma_map(dma, N * PAGE, PAGE, R, fd, 0), 0);
    assert_int_equal(count_mappings("memfd:memory"), 2); /* read-only is a mapping of its own */
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(dma_copy(dma, i * PAGE, &i, sizeof i, true), 0);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(pread(fd, &value, sizeof value, (off_t)((N - 1 - i) * PAGE)), sizeof value);
        assert_int_equal(value, i);
    }
    close(fd);
    assert_int_equal(count_fds(), fds);
    dma_unmap_all(dma);
    assert_int_equal(count_mappings("memfd:memory"), 0);
    dma_free(dma);
}

static void test_many_files(void **state)
{
    enum { N = 300 };
    struct dma *dma = new_dma(N);
    unsigned fds = count_fds();

    begin(state);
    for (uint32_t i = 0; i < N; i++) {
        int fd = memory(PAGE);

        assert_int_equal(dma_map(dma, i * PAGE, PAGE, RW, fd, 0), 0);
        assert_int_equal(pwrite(fd, &i, sizeof i, 0), sizeof i);
        close(fd);
    }
    assert_int_equal(count_fds(), fds);
    assert_int_equal(count_mappings("memfd:memory"), N);
    for (uint32_t i = 0, value; i < N; i++) {
        assert_int_equal(dma_copy(dma, i * PAGE, &value, sizeof value, false), 0);
        assert_int_equal(value, i);
    }
    for (uint32_t i = 0; i < N; i += 2)
        assert_int_equal(dma_unmap(dma, i * PAGE, PAGE), 0);
    assert_int_equal(count_mappings("memfd:memory"), N / 2);
    dma_free(dma);
    assert_int_equal(count_mappings("memfd:memory"), 0);
}

static void test_file_grows(void **state)
{
    enum { N = 4096 };
    struct dma *dma = new_dma(N + 1);
    int fd = memory(PAGE);
    uint32_t value;

    begin(state);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(dma_map(dma, i * PAGE, PAGE, RW, fd, i * PAGE), 0);
        assert_int_equal(dma_copy(dma, i * PAGE, &i, sizeof i, true), 0);
        assert_int_equal(dma_map(dma, i * PAGE + PAGE, PAGE, RW, fd, i * PAGE + PAGE), -EINVAL); /* not that long yet */
        assert_int_equal(ftruncate(fd, (off_t)(i * PAGE + 2 * PAGE)), 0);
    }
    assert_in_range(count_mappings("memfd:memory"), 1, 8); /* it has doubled a few times */
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(dma_copy(dma, i * PAGE, &value, sizeof value, false), 0);
        assert_int_equal(value, i);
    }
    dma_free(dma);
    assert_int_equal(count_mappings("memfd:memory"), 0);
    close(fd);
}

/* Files too large for the address space: the part asked for is mapped; one that is itself too large is refused. */
static void test_enormous_file(void **state)
{
    struct dma *dma = new_dma(8);
    uint64_t size = UINT64_C(1) << 50, value = 1, got = 0;
    int fd = memory(size);

    begin(state);
    assert_int_equal(dma_map(dma, 0, PAGE, RW, fd, size - PAGE), 0);
    assert_int_equal(dma_map(dma, PAGE, 2 * PAGE, RW, fd, size - 2 * PAGE), 0);
    assert_int_equal(dma_copy(dma, 8, &value, 8, true), 0);
    assert_int_equal(dma_copy(dma, 2 * PAGE + 8, &got, 8, false), 0); /* the same page of the file */
    assert_int_equal(got, 1);
    assert_int_equal(dma_map(dma, size, UINT64_C(1) << 45, RW, fd, 0), -ENOMEM);
    assert_int_equal(dma_map(dma, size, FILEMAP_MAX_BYTES, RW, fd, 0), -ENOMEM);
    assert_int_equal(dma_count(dma), 2);
    dma_free(dma);
    close(fd);
}

/* ---- access ---- */

struct writes {
    uint32_t n;
    uint64_t address, len;
};

static void note_write(void *ctx, uint64_t address, uint64_t len)
{
    struct writes *writes = ctx;

    writes->n++;
    writes->address = address;
    writes->len = len;
}

static void test_directions_and_holes(void **state)
{
    struct dma *dma = new_dma(8);
    int fd = memory(8 * PAGE);
    struct writes writes = {0, 0, 0};
    uint8_t buf[6 * PAGE], *pointer;
    uint64_t piece;

    begin(state);
    dma_on_write(dma, note_write, &writes);
    assert_int_equal(dma_map(dma, 1 * PAGE, PAGE, RW, fd, 1 * PAGE), 0);
    assert_int_equal(dma_map(dma, 2 * PAGE, PAGE, R, fd, 2 * PAGE), 0);
    assert_int_equal(dma_map(dma, 3 * PAGE, PAGE, W, fd, 3 * PAGE), 0);
    assert_int_equal(dma_map(dma, 5 * PAGE, PAGE, RW, fd, 5 * PAGE), 0);
    assert_int_equal(dma_map(dma, 6 * PAGE, PAGE, RW, -1, 0), 0);
    memset(buf, 1, sizeof buf);

    const struct {
        uint64_t address, len;
        int read, write; /* of dma_check */
    } cases[] = {
        {1 * PAGE, PAGE, 0, 0},
        {1 * PAGE, PAGE + 1, 0, -EFAULT},
        {1 * PAGE, 2 * PAGE, 0, -EFAULT},
        {1 * PAGE, 2 * PAGE + 1, -EFAULT, -EFAULT},
        {2 * PAGE, 1, 0, -EFAULT},
        {3 * PAGE, PAGE, -EFAULT, 0},
        {3 * PAGE, PAGE + 1, -EFAULT, -EFAULT},
        {0, 1, -EFAULT, -EFAULT},
        {PAGE - 1, 2, -EFAULT, -EFAULT},
        {4 * PAGE, 1, -EFAULT, -EFAULT},
        {5 * PAGE - 1, 2, -EFAULT, -EFAULT},
        {5 * PAGE, PAGE, 0, 0},
        {5 * PAGE, 2 * PAGE, 1, 1},
        {6 * PAGE, 1, 1, 1},
        {6 * PAGE, PAGE + 1, -EFAULT, -EFAULT},
        {7 * PAGE, 1, -EFAULT, -EFAULT},
        {UINT64_MAX, 1, -EFAULT, -EFAULT},
        {UINT64_MAX, 0, 0, 0},
        {4 * PAGE, 0, 0, 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int write = 0; write < 2; write++) {
            int expected = write ? cases[i].write : cases[i].read;

            if (dma_check(dma, cases[i].address, cases[i].len, write) != expected)
                fail_msg("case %zu: dma_check", i);
            writes.n = 0;
            if (dma_copy(dma, cases[i].address, buf, cases[i].len, write) != (expected > 0 ? -EWOULDBLOCK : expected))
                fail_msg("case %zu: dma_copy", i);
            assert_int_equal(writes.n, write && expected == 0 && cases[i].len);
        }
    }
    assert_int_equal(dma_copy(dma, PAGE + 3, buf, 5, true), 0);
    assert_int_equal(writes.address, PAGE + 3);
    assert_int_equal(writes.len, 5);
    dma_wrote(dma, 77, 3);
    assert_int_equal(writes.address, 77);

    /* What is partly without a mapping has not been copied at all. */
    memset(buf, 1, sizeof buf);
    assert_int_equal(dma_copy(dma, 5 * PAGE, buf, PAGE, true), 0);
    memset(buf, 2, sizeof buf);
    assert_int_equal(dma_copy(dma, 5 * PAGE, buf, 2 * PAGE, true), -EWOULDBLOCK);
    assert_int_equal(dma_copy(dma, 5 * PAGE, buf, PAGE, false), 0);
    assert_int_equal(buf[0], 1);

    assert_int_equal(dma_piece(dma, 2 * PAGE + 4, 2 * PAGE, false, &pointer, &piece), 0);
    assert_int_equal(piece, PAGE - 4);
    assert_non_null(pointer);
    assert_int_equal(dma_piece(dma, 2 * PAGE + 4, 2, true, &pointer, &piece), -EFAULT);
    assert_int_equal(dma_piece(dma, 6 * PAGE, 2, true, &pointer, &piece), 0);
    assert_int_equal(piece, 2);
    assert_null(pointer);
    assert_int_equal(dma_piece(dma, 4 * PAGE, 2, false, &pointer, &piece), -EFAULT);
    dma_free(dma);
    close(fd);
}

static void test_span(void **state)
{
    enum { N = 700 };
    struct dma *dma = new_dma(N);
    int fd = memory(N * PAGE);
    uint8_t *bytes = malloc(N * PAGE), *got = malloc(N * PAGE);

    begin(state);
    assert_non_null(bytes);
    assert_non_null(got);
    for (uint32_t i = 0; i < N; i++) /* each page elsewhere in the file */
        assert_int_equal(dma_map(dma, (i + 9) * PAGE, PAGE, RW, fd, i * 341 % N * PAGE), 0);
    for (size_t i = 0; i < N * PAGE; i++)
        bytes[i] = (uint8_t)random_below(256);
    assert_int_equal(dma_copy(dma, 9 * PAGE, bytes, N * PAGE, true), 0);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(pread(fd, got, PAGE, (off_t)(i * 341 % N * PAGE)), PAGE);
        assert_memory_equal(got, bytes + i * PAGE, PAGE);
    }
    assert_int_equal(dma_copy(dma, 9 * PAGE, got, N * PAGE, false), 0);
    assert_memory_equal(got, bytes, N * PAGE);
    assert_int_equal(dma_copy(dma, 10 * PAGE - 3, got, 300 * PAGE + 5, false), 0);
    assert_memory_equal(got, bytes + PAGE - 3, 300 * PAGE + 5);
    assert_int_equal(dma_unmap(dma, 409 * PAGE, PAGE), 0);
    assert_int_equal(dma_copy(dma, 9 * PAGE, got, N * PAGE, false), -EFAULT);
    dma_free(dma);
    free(bytes);
    free(got);
    close(fd);
}

/* ---- random work against a model ---- */

#define MODEL_PAGES 256u
struct model_page {
    uint32_t flags;  /* 0: nothing */
    uint32_t first;  /* page that its region begins with */
    uint32_t size;   /* pages of it */
    int32_t shown; /* page of the file, or -1 */
};

static void model_map(struct dma *dma, struct model_page *model, int fd)
{
    uint32_t first = random_below(MODEL_PAGES), size = 1 + random_below(8), flags = 1 + random_below(3);
    uint32_t shown = random_below(MODEL_PAGES - 8);
    bool mapped = random_below(4), there = false;
    int result;

    if (first + size > MODEL_PAGES)
        size = MODEL_PAGES - first;
    for (uint32_t i = 0; i < size; i++)
        there |= model[first + i].flags != 0;
    result = dma_map(dma, first * PAGE, size * PAGE, flags, mapped ? fd : -1, mapped ? shown * PAGE : 0);
    assert_int_equal(result, there ? -EEXIST : 0);
    for (uint32_t i = 0; !there && i < size; i++)
        model[first + i] = (struct model_page){flags, first, size, mapped ? (int32_t)(shown + i) : -1};
}

static void model_unmap(struct dma *dma, struct model_page *model)
{
    uint32_t first = random_below(MODEL_PAGES), size = model[first].size ? model[first].size : 1;
    bool exact = model[first].flags && model[first].first == first;

    assert_int_equal(dma_unmap(dma, first * PAGE, size * PAGE), exact ? 0 : -ENOENT);
    if (exact)
        memset(&model[first], 0, size * sizeof model[0]);
}

static void model_copy(struct dma *dma, const struct model_page *model, uint8_t *file)
{
    static uint8_t buf[8 * PAGE], expected[8 * PAGE];
    uint32_t address = random_below(MODEL_PAGES * PAGE - sizeof buf), len = 1 + random_below(sizeof buf - 1);
    bool write = random_below(2);
    int result = 0;

    for (uint32_t page = address / PAGE; page <= (address + len - 1) / PAGE; page++) {
        if (!(model[page].flags & (write ? W : R)))
            result = -EFAULT;
        else if (model[page].shown < 0 && result == 0)
            result = -EWOULDBLOCK;
    }
    for (uint32_t i = 0; i < len; i++)
        buf[i] = (uint8_t)random_below(256);
    if (result == 0 && !write) {
        for (uint32_t i = 0; i < len; i++)
            expected[i] = file[(size_t)model[(address + i) / PAGE].shown * PAGE + (address + i) % PAGE];
    }
    assert_int_equal(dma_copy(dma, address, buf, len, write), result);
    if (result == 0 && !write)
        assert_memory_equal(buf, expected, len);
    for (uint32_t i = len; result == 0 && write && i-- > 0;) /* backwards: of two that show one byte the later wins */
        expected[i] = buf[i];
    if (result == 0 && write) {
        for (uint32_t i = 0; i < len; i++) {
            uint32_t page = (address + i) / PAGE;
            bool again = false;

            for (uint32_t later = page + 1; later <= (address + len - 1) / PAGE; later++)
                again |= model[later].shown == model[page].shown;
            if (!again)
                assert_int_equal(file[(size_t)model[page].shown * PAGE + (address + i) % PAGE], expected[i]);
        }
    }
}

static void test_random_work(void **state)
{
    struct dma *dma = new_dma(MODEL_PAGES);
    struct model_page model[MODEL_PAGES] = {0};
    int fd = memory(MODEL_PAGES * PAGE);
    uint8_t *file = mmap(NULL, MODEL_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    begin(state);
    assert_ptr_not_equal(file, MAP_FAILED);
    for (int i = 0; i < 6000; i++) {
        uint32_t what = random_below(8);

        if (what < 5)
            model_map(dma, model, fd);
        else if (what < 6)
            model_unmap(dma, model);
        else
            model_copy(dma, model, file);
    }
    dma_free(dma);
    munmap(file, MODEL_PAGES * PAGE);
    close(fd);
}

/* ---- memory that goes away ---- */

static void test_shrink(void **state)
{
    struct dma *dma = new_dma(8);
    int fd = memory(8 * PAGE);
    struct writes writes = {0, 0, 0};
    uint8_t buf[4 * PAGE];

    begin(state);
    assert_int_equal(dma_map(dma, 0, 4 * PAGE, RW, fd, 0), 0);
    assert_int_equal(dma_map(dma, 4 * PAGE, 4 * PAGE, RW, fd, 4 * PAGE), 0);
    memset(buf, 7, sizeof buf);
    assert_int_equal(dma_copy(dma, 2 * PAGE, buf, sizeof buf, true), 0);
    assert_int_equal(ftruncate(fd, 3 * PAGE), 0);
    dma_on_write(dma, note_write, &writes);
    assert_int_equal(dma_copy(dma, 4 * PAGE, buf, 4, false), -EFAULT);
    assert_int_equal(writes.n, 0);
    assert_int_equal(dma_copy(dma, 2 * PAGE, buf, 2 * PAGE, true), -EFAULT); /* the first page is written: dirty */
    assert_int_equal(writes.n, 1);
    assert_int_equal(writes.len, 2 * PAGE);
    assert_int_equal(dma_copy(dma, 2 * PAGE, buf, PAGE, false), 0);
    assert_int_equal(buf[0], 7);
    assert_int_equal(dma_map(dma, 8 * PAGE, PAGE, RW, fd, 3 * PAGE), -EINVAL);
    /* Longer again: everything works, as a new file would. */
    assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
    assert_int_equal(dma_copy(dma, 4 * PAGE, buf, sizeof buf, false), 0);
    assert_int_equal(buf[0], 0);
    assert_int_equal(dma_map(dma, 8 * PAGE, PAGE, RW, fd, 3 * PAGE), 0);
    assert_int_equal(count_mappings("memfd:memory"), 1);
    dma_free(dma);
    close(fd);
}

struct shrinker {
    struct dma *dma;
    int fd;
    int faults, successes, others;
};

static void *copy_on_and_on(void *argument)
{
    struct shrinker *s = argument;
    static _Thread_local uint8_t buf[16 * PAGE];

    for (int i = 0; i < 400; i++) {
        int result = dma_copy(s->dma, 0, buf, sizeof buf, i % 2);

        s->faults += result == -EFAULT;
        s->successes += result == 0;
        s->others += result != 0 && result != -EFAULT;
    }
    return NULL;
}

/* Devices on threads of their own, whose clients shrink and grow files all the time. */
static void test_shrink_threads(void **state)
{
    enum { N = 4 };
    struct shrinker shrinkers[N];
    pthread_t threads[N];
    int fd = memory(16 * PAGE);

    begin(state);
    for (int i = 0; i < N; i++) {
        shrinkers[i] = (struct shrinker){.dma = new_dma(8), .fd = fd};
        assert_int_equal(dma_map(shrinkers[i].dma, 0, 16 * PAGE, RW, fd, 0), 0);
        assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
        assert_int_equal(dma_copy(shrinkers[i].dma, 9 * PAGE, &(uint8_t){0}, 1, false), -EFAULT);
        assert_int_equal(ftruncate(fd, 16 * PAGE), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, copy_on_and_on, &shrinkers[i]), 0);
    }
    for (int i = 0; i < 2000; i++)
        assert_int_equal(ftruncate(fd, (off_t)((i % 2 ? 16 : i / 2 % 16) * PAGE)), 0);
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(shrinkers[i].others, 0);
        assert_int_equal(shrinkers[i].faults + shrinkers[i].successes, 400);
        dma_free(shrinkers[i].dma);
    }
    close(fd);
}

/* ---- windows ---- */

static struct vfu_dma_window new_window(void)
{
    struct vfu_dma_window window = {.struct_size = sizeof window};

    return window;
}

static void test_windows(void **state)
{
    struct dma *dma = new_dma(8), *other = new_dma(8);
    int fd = memory(8 * PAGE);
    struct vfu_dma_window window = new_window(), a[5];
    uint8_t bytes[8];

    begin(state);
    assert_int_equal(dma_map(dma, 0, 4 * PAGE, RW, fd, 0), 0);
    assert_int_equal(dma_map(dma, 4 * PAGE, PAGE, R, fd, 4 * PAGE), 0);
    assert_int_equal(dma_map(dma, 5 * PAGE, PAGE, RW, -1, 0), 0);

    const struct {
        uint64_t address, len;
        uint32_t prot;
        int result;
    } cases[] = {
        {0, 0, 3, -EINVAL},
        {0, 1, 0, -EINVAL},
        {0, 1, 4, -EINVAL},
        {0, 4 * PAGE + 1, 1, -EFAULT}, /* two regions */
        {4 * PAGE, 1, 3, -EFAULT},
        {4 * PAGE, 1, 2, -EFAULT},
        {5 * PAGE, 1, 1, -EFAULT},
        {6 * PAGE, 1, 1, -EFAULT},
        {1, UINT64_MAX, 1, -EFAULT},
        {UINT64_MAX, 2, 1, -EFAULT},
        {4 * PAGE, PAGE, 1, 0},
        {0, 4 * PAGE, 3, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        window = new_window();
        if (dma_window_open(dma, cases[i].address, cases[i].len, cases[i].prot, &window) != cases[i].result)
            fail_msg("case %zu", i);
        if (cases[i].result == 0) {
            assert_int_equal(dma_window_check(&window), 0);
            assert_int_equal(dma_window_close(dma, &window), 0);
        }
        assert_null(window.data);
        assert_int_equal(dma_window_check(&window), -EFAULT);
        assert_int_equal(dma_window_close(dma, &window), -ENOENT);
    }
    window.struct_size = 8;
    assert_int_equal(dma_window_open(dma, 0, 1, 1, &window), -EINVAL);

    for (int i = 0; i < 5; i++) {
        a[i] = new_window();
        assert_int_equal(dma_window_open(dma, i == 4 ? 4 * PAGE : (uint64_t)i * 8, 8, VFU_DMA_PROT_READ, &a[i]), 0);
    }
    memcpy(a[1].data, "windows!", 8);
    assert_int_equal(dma_copy(dma, 8, bytes, 8, false), 0);
    assert_memory_equal(bytes, "windows!", 8);
    assert_int_equal(dma_window_close(other, &a[1]), -EINVAL);
    assert_int_equal(dma_window_close(dma, &a[1]), 0); /* from the middle, the front, the end */
    assert_int_equal(dma_window_close(dma, &a[3]), 0);
    assert_int_equal(dma_window_close(dma, &a[0]), 0);
    assert_non_null(a[2].data);
    assert_int_equal(dma_unmap(dma, 0, 4 * PAGE), 0);
    assert_null(a[2].data);
    assert_int_equal(dma_window_check(&a[2]), -EFAULT);
    assert_int_equal(dma_window_close(dma, &a[2]), -ENOENT);
    assert_int_equal(dma_window_check(&a[4]), 0); /* another region's */
    dma_unmap_all(dma);
    assert_null(a[4].data);
    dma_free(dma);
    dma_free(other);
    close(fd);
}

static void test_window_shrinks(void **state)
{
    struct dma *dma = new_dma(16);
    int fd = memory(8 * PAGE);
    struct vfu_dma_window low = new_window(), high = new_window(), fresh = new_window();
    uint8_t byte = 1;

    begin(state);
    assert_int_equal(dma_map(dma, 0, 8 * PAGE, RW, fd, 0), 0);
    assert_int_equal(dma_window_open(dma, 0, 4 * PAGE, 3, &low), 0);
    assert_int_equal(dma_window_open(dma, 4 * PAGE, 4 * PAGE, 3, &high), 0);
    high.data[PAGE] = 1;
    assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
    assert_int_equal(((volatile uint8_t *)high.data)[PAGE], 0);
    assert_int_equal(dma_window_check(&high), -EFAULT);
    assert_int_equal(dma_window_check(&low), 0);
    low.data[0] = 3;
    assert_int_equal(pread(fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 3);

    /* The page that was replaced stays so for this region, also when the file is as long as before... */
    assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
    assert_int_equal(dma_copy(dma, 5 * PAGE, &byte, 1, false), -EFAULT);
    assert_int_equal(dma_copy(dma, 5 * PAGE, &byte, 1, true), -EFAULT);
    assert_int_equal(dma_copy(dma, 4 * PAGE, &byte, 1, true), 0);
    assert_int_equal(dma_copy(dma, 6 * PAGE, &byte, 1, true), 0);
    assert_int_equal(dma_copy(dma, 0, &byte, 1, true), 0);
    assert_int_equal(dma_window_check(&low), 0);
    /* ... and one that is mapped now has the file's. */
    assert_int_equal(dma_map(dma, 8 * PAGE, PAGE, RW, fd, 5 * PAGE), 0);
    assert_int_equal(dma_map(dma, 9 * PAGE, PAGE, RW, fd, 5 * PAGE), 0);
    byte = 9;
    assert_int_equal(dma_copy(dma, 8 * PAGE, &byte, 1, true), 0);
    assert_int_equal(dma_window_open(dma, 9 * PAGE, PAGE, 1, &fresh), 0);
    assert_int_equal(fresh.data[0], 9);
    assert_int_equal(dma_window_check(&fresh), 0);
    assert_int_equal(dma_unmap(dma, 0, 8 * PAGE), 0);
    assert_null(low.data);
    assert_null(high.data);
    assert_int_equal(fresh.data[0], 9);
    dma_free(dma);
    close(fd);
}

/* Ending a region's windows does not look at the others'. */
static void test_many_windows(void **state)
{
    enum { REGIONS = 64, EACH = 200 };
    static struct vfu_dma_window windows[REGIONS][EACH];
    struct dma *dma = new_dma(REGIONS);
    int fd = memory(REGIONS * PAGE);

    begin(state);
    for (uint32_t i = 0; i < REGIONS; i++)
        assert_int_equal(dma_map(dma, i * PAGE, PAGE, RW, fd, i * PAGE), 0);
    for (uint32_t j = 0; j < EACH; j++) {
        for (uint32_t i = 0; i < REGIONS; i++) {
            windows[i][j] = new_window();
            assert_int_equal(dma_window_open(dma, i * PAGE + j, 1, 3, &windows[i][j]), 0);
        }
    }
    for (uint32_t i = 0; i < REGIONS; i++) {
        assert_int_equal(dma_unmap(dma, i * PAGE, PAGE), 0);
        for (uint32_t j = 0; j < EACH; j++) {
            assert_null(windows[i][j].data);
            if (i + 1 < REGIONS)
                assert_non_null(windows[i + 1][j].data);
        }
    }
    dma_free(dma);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_maps),
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_end_of_addresses),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_hollow),
        cmocka_unit_test(test_one_file_many_fds),
        cmocka_unit_test(test_many_files),
        cmocka_unit_test(test_file_grows),
        cmocka_unit_test(test_enormous_file),
        cmocka_unit_test(test_directions_and_holes),
        cmocka_unit_test(test_span),
        cmocka_unit_test(test_random_work),
        cmocka_unit_test(test_shrink),
        cmocka_unit_test(test_shrink_threads),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_window_shrinks),
        cmocka_unit_test(test_many_windows),
    };

    log_threshold = LOG_ERROR; /* what is provoked here is no news */
    if (fault_init() || sigaction(SIGBUS, NULL, &ours))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
