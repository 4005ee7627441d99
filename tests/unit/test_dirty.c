/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/dirty: arguments from a hostile client, every page size, the ends of the address space, the limits,
 * and random marks and reports against a model with a byte for each page.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/pci/dirty.h"
#include "core/base/log.h"

#define PAGE UINT64_C(4096)
#define TOP UINT64_C(0xfffffffffffff000)
#define TIB (UINT64_C(1) << 40)

static uint64_t random_u64(void)
{
    static uint64_t x = 0x9e3779b97f4a7c15;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

static uint32_t random_below(uint32_t n)
{
    return (uint32_t)((random_u64() >> 11) % n);
}

static struct dirty *started(uint32_t max_blocks)
{
    struct dirty *dirty = NULL;

    assert_int_equal(dirty_new(&dirty, "test", max_blocks), 0);
    assert_int_equal(dirty_start(dirty, PAGE, NULL, 0), 0);
    return dirty;
}

static bool bit(const uint8_t *bitmap, uint64_t i)
{
    return bitmap[i / 8] >> (i % 8) & 1;
}

static uint64_t count_bits(const uint8_t *bitmap, uint64_t bytes)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < bytes; i++)
        n += (uint64_t)__builtin_popcount(bitmap[i]);
    return n;
}

/* How many bits a report of this range has. */
static uint64_t reported(struct dirty *dirty, uint64_t iova, uint64_t length, uint64_t page_size, bool clear)
{
    uint64_t bytes = dirty_bitmap_size(iova, length, page_size), n;
    uint8_t *bitmap = malloc(bytes);

    assert_non_null(bitmap);
    assert_int_equal(dirty_report(dirty, iova, length, page_size, bitmap, bytes, clear), 0);
    n = count_bits(bitmap, bytes);
    free(bitmap);
    return n;
}

static void test_start_arguments(void **state)
{
    static struct dirty_range many[DIRTY_MAX_RANGES + 1];
    struct dirty *dirty = NULL;
    const struct {
        uint64_t page_size;
        struct dirty_range ranges[3];
        uint32_t n;
        int result;
    } cases[] = {
        {0, {{0, 0}}, 0, -EINVAL},
        {1, {{0, 0}}, 0, -EINVAL},
        {2048, {{0, 0}}, 0, -EINVAL},
        {4097, {{0, 0}}, 0, -EINVAL},
        {12288, {{0, 0}}, 0, -EINVAL},
        {UINT64_MAX, {{0, 0}}, 0, -EINVAL},
        {PAGE, {{0, 0}}, 1, -EINVAL},
        {PAGE, {{0, 1}}, 1, -EINVAL},
        {PAGE, {{1, PAGE}}, 1, -EINVAL},
        {2 * PAGE, {{0, PAGE}}, 1, -EINVAL},
        {2 * PAGE, {{PAGE, 2 * PAGE}}, 1, -EINVAL},
        {PAGE, {{TOP, 2 * PAGE}}, 1, -EINVAL},
        {PAGE, {{PAGE, TOP}, {0, 2 * PAGE}}, 2, -EINVAL},
        {PAGE, {{0, PAGE}, {0, PAGE}}, 2, -EINVAL},
        {PAGE, {{8 * PAGE, PAGE}, {0, 2 * PAGE}, {PAGE, PAGE}}, 3, -EINVAL},
        {PAGE, {{0, PAGE}, {PAGE, UINT64_MAX}}, 2, -EINVAL},
        {PAGE, {{8 * PAGE, PAGE}, {0, 2 * PAGE}, {2 * PAGE, PAGE}}, 3, 0},
        {PAGE, {{TOP, PAGE}}, 1, 0},
        {PAGE, {{PAGE, TOP}, {0, PAGE}}, 2, 0},
        {UINT64_C(1) << 63, {{UINT64_C(1) << 63, UINT64_C(1) << 63}}, 1, 0},
        {2 * PAGE, {{0, 0}}, 0, 0},
    };

    (void)state;
    assert_int_equal(dirty_new(&dirty, NULL, 0), 0);
    assert_false(dirty_active(dirty));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int result = dirty_start(dirty, cases[i].page_size, cases[i].n ? cases[i].ranges : NULL, cases[i].n);

        if (result != cases[i].result)
            fail_msg("case %zu: %d instead of %d", i, result, cases[i].result);
        assert_int_equal(dirty_active(dirty), result == 0);
        if (result == 0) {
            assert_int_equal(dirty_start(dirty, PAGE, NULL, 0), -EBUSY);
            dirty_stop(dirty);
        }
    }
    for (uint32_t i = 0; i < DIRTY_MAX_RANGES + 1; i++)
        many[i] = (struct dirty_range){(uint64_t)(i * 2654435761u % 65536) * TIB, PAGE};
    assert_int_equal(dirty_start(dirty, PAGE, many, DIRTY_MAX_RANGES + 1), -E2BIG);
    assert_int_equal(dirty_start(dirty, PAGE, many, DIRTY_MAX_RANGES), 0);
    dirty_mark(dirty, 0, UINT64_MAX);
    assert_int_equal(reported(dirty, 0, UINT64_C(1) << 56, TIB, false), DIRTY_MAX_RANGES);
    dirty_free(dirty);
}

static void test_report_arguments(void **state)
{
    struct dirty *dirty = started(0);
    uint8_t bitmap[64];
    const struct {
        uint64_t iova, length, page_size, bytes;
        int result;
    } cases[] = {
        {0, 0, PAGE, 64, -EINVAL},
        {0, PAGE, 0, 64, -EINVAL},
        {0, PAGE, 1024, 64, -EINVAL},
        {0, PAGE, 3 * PAGE, 64, -EINVAL},
        {0, PAGE + 1, PAGE, 64, -EINVAL},
        {0, PAGE, 2 * PAGE, 64, -EINVAL},
        {8, PAGE, PAGE, 64, -EINVAL},
        {TOP, 2 * PAGE, PAGE, 64, -EINVAL},
        {PAGE, UINT64_MAX, PAGE, 64, -EINVAL},
        {0, 513 * PAGE, PAGE, 64, -EINVAL},
        {0, TOP, PAGE, 64, -EINVAL},
        {0, PAGE, PAGE, 7, -EINVAL},
        {0, PAGE, PAGE, 0, -EINVAL},
        {0, PAGE, PAGE, 8, 0},
        {TOP, PAGE, PAGE, 8, 0},
        {0, 512 * PAGE, PAGE, 64, 0},
        {0, UINT64_C(1) << 63, UINT64_C(1) << 63, 8, 0},
        {UINT64_C(1) << 63, UINT64_C(1) << 63, UINT64_C(1) << 60, 8, 0},
        {PAGE, 4 * PAGE, 2 * PAGE, 8, 0}, /* begins anywhere on a page */
    };

    (void)state;
    dirty_mark(dirty, 0, 1);
    dirty_mark(dirty, TOP, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t size = dirty_bitmap_size(cases[i].iova, cases[i].length, cases[i].page_size);

        memset(bitmap, 0xee, sizeof bitmap);
        if (dirty_report(dirty, cases[i].iova, cases[i].length, cases[i].page_size, bitmap, cases[i].bytes, false) !=
            cases[i].result)
            fail_msg("case %zu", i);
        if (cases[i].result)
            size = 0;
        else
            assert_true(size > 0 && size <= cases[i].bytes);
        for (size_t byte = 0; byte < sizeof bitmap; byte++) {
            if (byte >= size && bitmap[byte] != 0xee)
                fail_msg("case %zu: byte %zu was written", i, byte);
            if (byte < size && bitmap[byte] == 0xee)
                fail_msg("case %zu: byte %zu was not written", i, byte);
        }
    }
    dirty_stop(dirty);
    assert_int_equal(dirty_report(dirty, 0, PAGE, PAGE, bitmap, 64, false), -EINVAL);
    dirty_free(dirty);
}

static void test_inactive(void **state)
{
    struct dirty *dirty = NULL;

    (void)state;
    assert_int_equal(dirty_new(&dirty, "test", 0), 0);
    dirty_mark(dirty, 0, TIB);
    dirty_stop(dirty);
    assert_int_equal(dirty_start(dirty, PAGE, NULL, 0), 0);
    assert_int_equal(reported(dirty, 0, TIB, UINT64_C(1) << 30, false), 0);
    dirty_mark(dirty, 5 * PAGE, 0);
    assert_int_equal(reported(dirty, 0, 64 * PAGE, PAGE, false), 0);
    dirty_mark(dirty, 5 * PAGE, PAGE);
    dirty_stop(dirty);
    assert_int_equal(dirty_start(dirty, PAGE, NULL, 0), 0); /* begins empty again */
    assert_int_equal(reported(dirty, 0, 64 * PAGE, PAGE, false), 0);
    dirty_free(dirty);
}

static void test_ends(void **state)
{
    struct dirty *dirty = started(0);
    uint8_t bitmap[8];

    (void)state;
    dirty_mark(dirty, UINT64_MAX, 1);
    assert_int_equal(reported(dirty, TOP, PAGE, PAGE, true), 1);
    assert_int_equal(reported(dirty, TOP, PAGE, PAGE, true), 0);
    dirty_mark(dirty, TOP - 1, 4 * PAGE); /* would wrap: cut */
    assert_int_equal(reported(dirty, 0, 64 * PAGE, PAGE, true), 0);
    assert_int_equal(reported(dirty, TOP - 3 * PAGE, 4 * PAGE, PAGE, true), 2);
    dirty_mark(dirty, 0, UINT64_MAX);
    assert_int_equal(dirty_report(dirty, 0, UINT64_C(1) << 63, UINT64_C(1) << 58, bitmap, 8, false), 0);
    assert_int_equal(count_bits(bitmap, 8), 32);
    assert_int_equal(reported(dirty, UINT64_C(1) << 63, UINT64_C(1) << 63, UINT64_C(1) << 57, true), 64);
    assert_int_equal(reported(dirty, UINT64_C(1) << 63, UINT64_C(1) << 63, UINT64_C(1) << 57, true), 0);
    assert_int_equal(reported(dirty, 0, UINT64_C(1) << 63, UINT64_C(1) << 57, true), 64);
    dirty_free(dirty);
}

static void test_bytes_to_pages(void **state)
{
    struct dirty *dirty = started(0);
    uint8_t bitmap[8];

    (void)state;
    dirty_mark(dirty, 3 * PAGE - 1, 2);
    dirty_mark(dirty, 10 * PAGE, PAGE);
    dirty_mark(dirty, 20 * PAGE + 7, PAGE - 7);
    dirty_mark(dirty, 30 * PAGE + 1, PAGE);
    assert_int_equal(dirty_report(dirty, 0, 64 * PAGE, PAGE, bitmap, 8, false), 0);
    for (uint64_t page = 0; page < 64; page++)
        assert_int_equal(bit(bitmap, page),
                         page == 2 || page == 3 || page == 10 || page == 20 || page == 30 || page == 31);
    /* Merged into larger pages; from another start. */
    assert_int_equal(dirty_report(dirty, 0, 64 * PAGE, 4 * PAGE, bitmap, 8, false), 0);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(bit(bitmap, i), i == 0 || i == 2 || i == 5 || i == 7);
    assert_int_equal(dirty_report(dirty, 3 * PAGE, 32 * PAGE, 4 * PAGE, bitmap, 8, true), 0);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(bit(bitmap, i), i == 0 || i == 1 || i == 4 || i == 6 || i == 7);
    assert_int_equal(dirty_report(dirty, 0, 64 * PAGE, PAGE, bitmap, 8, false), 0);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(bit(bitmap, i), i == 2); /* what was not asked for stays */
    dirty_free(dirty);
}

static void test_ranges(void **state)
{
    const struct dirty_range ranges[] = {{100 * PAGE, 10 * PAGE}, {20 * PAGE, 2 * PAGE}, {TIB, TIB}};
    struct dirty *dirty = NULL;
    uint8_t bitmap[16];

    (void)state;
    assert_int_equal(dirty_new(&dirty, "test", 0), 0);
    assert_int_equal(dirty_start(dirty, PAGE, ranges, 3), 0);
    dirty_mark(dirty, 0, 105 * PAGE);
    assert_int_equal(dirty_report(dirty, 0, 128 * PAGE, PAGE, bitmap, 16, true), 0);
    for (uint64_t i = 0; i < 128; i++)
        assert_int_equal(bit(bitmap, i), i == 20 || i == 21 || (i >= 100 && i < 105));
    dirty_mark(dirty, 50 * PAGE, PAGE);
    dirty_mark(dirty, 110 * PAGE, PAGE);
    dirty_mark(dirty, 2 * TIB, PAGE);
    dirty_mark(dirty, TIB - PAGE, PAGE);
    assert_int_equal(reported(dirty, 0, 4 * TIB, 65536 * PAGE, false), 0);
    dirty_mark(dirty, 0, UINT64_MAX);
    assert_int_equal(reported(dirty, 0, 4 * TIB, TIB, false), 2);
    dirty_free(dirty);
}

/* Marks all over a huge address space: a report does not walk through what is empty. */
static void test_sparse(void **state)
{
    struct dirty *dirty = started(0);
    struct timespec before, after;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        dirty_mark(dirty, i << 53 | i * PAGE, 8);
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(reported(dirty, 0, UINT64_C(1) << 63, UINT64_C(1) << 53, false), 1000);
        assert_int_equal(reported(dirty, 0, UINT64_C(1) << 63, UINT64_C(1) << 63, false), 1);
        assert_int_equal(reported(dirty, UINT64_C(1) << 63, UINT64_C(1) << 63, UINT64_C(1) << 63, false), 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 2); /* walking would take years */
    assert_int_equal(reported(dirty, 0, UINT64_C(1) << 63, UINT64_C(1) << 53, true), 1000);
    assert_int_equal(reported(dirty, 0, UINT64_C(1) << 63, UINT64_C(1) << 53, true), 0);
    dirty_free(dirty);
}

/* Beyond the number of blocks the log turns coarse: no page is lost, and what is reported can be cleared. */
static void test_coarse(void **state)
{
    enum { MARKS = 3000, BLOCKS = 16 };
    struct dirty *dirty = started(BLOCKS);
    uint64_t where[MARKS];

    (void)state;
    for (uint32_t i = 0; i < MARKS; i++) {
        where[i] = (random_u64() >> 20) & ~(PAGE - 1);
        dirty_mark(dirty, where[i], 1);
    }
    for (uint32_t i = 0; i < MARKS; i++)
        assert_int_equal(reported(dirty, where[i], PAGE, PAGE, false), 1);
    assert_in_range(reported(dirty, 0, UINT64_C(1) << 44, UINT64_C(1) << 30, false), 1024, 16384);
    assert_int_equal(reported(dirty, UINT64_C(1) << 44, UINT64_C(1) << 44, UINT64_C(1) << 30, false), 0);
    assert_true(reported(dirty, 0, UINT64_C(1) << 44, UINT64_C(1) << 30, true) > 0);
    assert_int_equal(reported(dirty, 0, UINT64_C(1) << 44, UINT64_C(1) << 30, true), 0);
    /* Blocks that were cleared are there to be used again: exact. */
    dirty_mark(dirty, 5 * PAGE, 1);
    assert_int_equal(reported(dirty, 0, 64 * PAGE, PAGE, true), 1);
    dirty_free(dirty);
}

/* ---- random work against a model ---- */

#define MODEL_PAGES 20000u

static void check_against_model(struct dirty *dirty, uint8_t *model, uint64_t base)
{
    static uint8_t bitmap[MODEL_PAGES / 8 + 8];
    uint32_t shift = random_below(8), first = random_below(MODEL_PAGES - 1);
    uint32_t room = (MODEL_PAGES - first) >> shift, bits;
    bool clear = random_below(2);

    if (room == 0)
        return;
    bits = 1 + random_below(room);
    assert_int_equal(dirty_report(dirty, base + first * PAGE, ((uint64_t)bits << shift) * PAGE, PAGE << shift, bitmap,
                                  sizeof bitmap, clear),
                     0);
    for (uint32_t i = 0; i < bits; i++) {
        bool expected = false;

        for (uint32_t page = first + (i << shift); page < first + ((i + 1) << shift); page++) {
            expected |= model[page];
            if (clear)
                model[page] = 0;
        }
        if (expected != bit(bitmap, i))
            fail_msg("page size %u pages, from page %u: bit %u is %d", 1u << shift, first, i, bit(bitmap, i));
    }
    for (uint32_t i = bits; i < (bits + 63) / 64 * 64; i++)
        assert_false(bit(bitmap, i));
}

static void random_work(uint64_t base, uint32_t max_blocks)
{
    static uint8_t model[MODEL_PAGES];
    struct dirty *dirty = started(max_blocks);

    memset(model, 0, sizeof model);
    for (int i = 0; i < 3000; i++) {
        uint32_t longest = random_below(8) ? 40000 : 40000000;
        uint32_t at = random_below(MODEL_PAGES * 4096u), len = 1 + random_below(longest);

        if (len > MODEL_PAGES * 4096u - at)
            len = MODEL_PAGES * 4096u - at;
        dirty_mark(dirty, base + at, len);
        memset(&model[at / 4096], 1, (at + len - 1) / 4096 - at / 4096 + 1);
        check_against_model(dirty, model, base);
    }
    dirty_free(dirty);
}

static void test_random_work(void **state)
{
    (void)state;
    random_work(0, 0);
    random_work(TIB + 777 * PAGE, 0);
    random_work(TOP - (MODEL_PAGES - 1) * PAGE, 0);
}

/* As above with hardly any blocks: spans carry nearly all of it, and are exact while the list has room. */
static void test_random_work_coarse(void **state)
{
    (void)state;
    random_work(TIB + 777 * PAGE, 1);
    random_work(TOP - (MODEL_PAGES - 1) * PAGE, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_arguments), cmocka_unit_test(test_report_arguments),
        cmocka_unit_test(test_inactive),        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_bytes_to_pages),  cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_sparse),          cmocka_unit_test(test_coarse),
        cmocka_unit_test(test_random_work),     cmocka_unit_test(test_random_work_coarse),
    };

    log_threshold = LOG_ERROR; /* what is provoked here is no news */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
