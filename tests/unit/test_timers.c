/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/timers: ids, order, periods, freezing, and images that are honest or not. One thread. Time is made
 * here: where the loop would sleep, the clock goes on to the next deadline instead.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/loop.h"
#include "core/base/timers.h"

#define MS UINT64_C(1000000)
#define HOUR (3600 * 1000 * MS)

static struct loop loop;
static struct clock ticks;
static struct timers timers;

static uint64_t clock_ns = 1000 * HOUR;

/* In place of the C library's, for core/base/loop.c. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    (void)id;
    ts->tv_sec = (time_t)(clock_ns / 1000000000u);
    ts->tv_nsec = (long)(clock_ns % 1000000000u);
    return 0;
}

static bool let_time_pass(void *ctx)
{
    (void)ctx;
    assert_true(loop.timers.n > 0);
    assert_true(loop.timers.items[0]->deadline > clock_ns);
    clock_ns = loop.timers.items[0]->deadline;
    loop.alarm = UINT64_MAX; /* which has gone off */
    return true;
}

/* What fired, in order; the action runs inside. */
static struct {
    uint32_t event;
    uint64_t arg;
} fired[256];
static unsigned nfired, stop_at;
static void (*action)(uint32_t event, uint64_t arg);

static void fire(void *ctx, uint32_t event, uint64_t arg)
{
    assert_ptr_equal(ctx, &timers);
    assert_true(nfired < 256);
    fired[nfired].event = event;
    fired[nfired++].arg = arg;
    if (action)
        action(event, arg);
    if (nfired == stop_at)
        loop_stop(&loop);
}

static void begin(void)
{
    assert_int_equal(loop_init(&loop), 0);
    loop.idle = let_time_pass;
    clock_init(&ticks, &loop, false);
    timers_init(&timers, &ticks, fire, &timers);
    nfired = 0;
    stop_at = 0;
    action = NULL;
}

static void end(void)
{
    timers_fini(&timers);
    assert_int_equal(timers.pending, 0);
    assert_int_equal(loop.timers.n, 0);
    loop_fini(&loop);
}

static int set_up(void **state)
{
    (void)state;
    begin();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    end();
    return 0;
}

static int64_t after(uint64_t delay, uint64_t period, uint32_t event)
{
    int64_t id = timers_after(&timers, delay, period, event, event + UINT64_C(0x100000000));

    assert_true(id > 0);
    return id;
}

static void stop_timer(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(&loop);
}

/* Runs for so long, or until `n` have fired. */
static void run(unsigned n, uint64_t ns)
{
    struct loop_timer limit = { .fn = stop_timer };

    stop_at = n;
    assert_int_equal(loop_arm(&loop, &limit, loop_now() + ns), 0);
    loop.stopping = false;
    loop_run(&loop);
    loop_disarm(&loop, &limit);
}

static void expect_fired(const uint32_t *events, unsigned n)
{
    assert_int_equal(nfired, n);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(fired[i].event, events[i]);
        assert_true(fired[i].arg == events[i] + UINT64_C(0x100000000));
    }
    nfired = 0;
}
#define EXPECT_FIRED(...) \
    expect_fired((const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))

/* ---- ids and order ----------------------------------------------------------------------------------------- */

static void test_order(void **state)
{
    (void)state;
    after(3 * MS, 0, 3);
    after(0, 0, 0);
    after(2 * MS, 0, 2);
    after(0, 0, 1);
    after(UINT64_MAX, 0, 9);
    assert_int_equal(timers.pending, 5);
    run(4, HOUR);
    EXPECT_FIRED(0, 1, 2, 3);
    assert_int_equal(timers.pending, 1);
}

static void test_ids_are_not_reused(void **state)
{
    static int64_t ids[3000];

    (void)state;
    for (int i = 0; i < 3000; i++) {
        ids[i] = after(HOUR, 0, 1);
        if (i % 3)
            assert_int_equal(timers_cancel(&timers, ids[i]), 0);
    }
    for (int i = 0; i < 3000; i++)
        for (int j = i + 1; j < 3000; j += 1 + i % 7)
            assert_true(ids[i] != ids[j]);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(timers_cancel(&timers, ids[i]), i % 3 ? -ENOENT : 0);
    assert_int_equal(timers.pending, 0);
}

static void test_cancel(void **state)
{
    int64_t a = after(0, 0, 1), b = after(0, 0, 2);

    (void)state;
    assert_int_equal(timers_cancel(&timers, a), 0);
    assert_int_equal(timers_cancel(&timers, a), -ENOENT);
    assert_int_equal(timers_cancel(&timers, 0), -ENOENT);
    assert_int_equal(timers_cancel(&timers, -1), -ENOENT);
    assert_int_equal(timers_cancel(&timers, INT64_MIN), -ENOENT);
    assert_int_equal(timers_cancel(&timers, INT64_MAX), -ENOENT);
    assert_int_equal(timers_cancel(&timers, b + 1), -ENOENT);
    run(1, HOUR);
    EXPECT_FIRED(2);
    assert_int_equal(timers_cancel(&timers, b), -ENOENT); /* has run */
}

static int64_t victim, own;

static void cancel_both(uint32_t event, uint64_t arg)
{
    (void)arg;
    if (event == 1) {
        assert_int_equal(timers_cancel(&timers, victim), 0);
        assert_int_equal(timers_cancel(&timers, own), -ENOENT);
        victim = after(0, 0, 3);
    }
}

static void test_cancel_inside(void **state)
{
    (void)state;
    own = after(0, 0, 1);
    victim = after(0, 0, 2);
    action = cancel_both;
    run(2, HOUR);
    EXPECT_FIRED(1, 3);
}

static void test_limit(void **state)
{
    int64_t id = 0;

    (void)state;
    for (uint32_t i = 0; i < TIMERS_MAX; i++)
        id = after(HOUR, 0, i);
    assert_int_equal(timers_after(&timers, HOUR, 0, 0, 0), -ENOSPC);
    assert_int_equal(timers_cancel(&timers, id), 0);
    assert_true(after(HOUR, 0, 0) > 0);
    assert_int_equal(timers_after(&timers, 0, 0, 0, 0), -ENOSPC);
    timers_clear(&timers);
    assert_int_equal(timers.pending, 0);
    assert_int_equal(timers_cancel(&timers, id), -ENOENT);
    after(0, 0, 7);
    run(1, HOUR);
    EXPECT_FIRED(7);
}

/* ---- periods ----------------------------------------------------------------------------------------------- */

static void cancel_third(uint32_t event, uint64_t arg)
{
    (void)event;
    (void)arg;
    if (nfired == 3)
        assert_int_equal(timers_cancel(&timers, own), 0);
}

static void test_period(void **state)
{
    uint64_t start = loop_now();

    (void)state;
    own = after(2 * MS, MS, 1);
    action = cancel_third;
    run(3, HOUR);
    assert_true(loop_now() - start == 4 * MS);
    EXPECT_FIRED(1, 1, 1);
    assert_int_equal(timers.pending, 0);
    /* The id is the same for all its life; a period below the least is the least. */
    own = after(0, 1, 2);
    run(3, HOUR);
    EXPECT_FIRED(2, 2, 2);
    assert_int_equal(timers.pending, 0);
    action = NULL;
    start = loop_now();
    after(0, 1, 2);
    run(50, HOUR);
    assert_int_equal(nfired, 50);
    assert_true(loop_now() - start == 49 * TIMERS_MIN_PERIOD);
}

static void take_long(uint32_t event, uint64_t arg)
{
    (void)event;
    (void)arg;
    if (nfired == 2)
        clock_ns += 100 * MS;
}

/* What fell behind by a hundred periods fires twice at once, and has its period again. */
static void test_period_behind(void **state)
{
    uint64_t start = loop_now();

    (void)state;
    after(0, MS, 1);
    action = take_long;
    run(5, HOUR);
    EXPECT_FIRED(1, 1, 1, 1, 1);
    assert_true(loop_now() - start == 102 * MS);
}

/* A period beyond the end of the clock never comes round; it does not wrap to the past and fire at once. */
static void test_endless_period(void **state)
{
    struct timer_image image;

    (void)state;
    after(0, UINT64_MAX, 1);
    after(0, UINT64_MAX - 5, 2);
    run(0, 3 * MS);
    EXPECT_FIRED(1, 2);
    assert_int_equal(timers.pending, 2);
    assert_int_equal(timers_save(&timers, &image, 1), 2);
    assert_true(image.left > HOUR);
}

/* ---- freeze ------------------------------------------------------------------------------------------------ */

static void test_freeze(void **state)
{
    int64_t gone;

    (void)state;
    after(2 * MS, 0, 2);
    after(0, 0, 0);
    gone = after(MS, 0, 1);
    after(UINT64_MAX, 0, 9);
    after(MS, 5 * HOUR, 3);
    timers_freeze(&timers, true);
    timers_freeze(&timers, true);
    assert_int_equal(loop.timers.n, 0);
    after(0, 0, 4); /* may be set meanwhile */
    after(UINT64_MAX, 0, 9);
    assert_int_equal(timers_cancel(&timers, gone), 0);
    run(1, 4 * HOUR);
    assert_int_equal(nfired, 0);
    timers_freeze(&timers, false);
    timers_freeze(&timers, false);
    run(0, MS - 1);
    EXPECT_FIRED(0, 4);
    run(0, MS);
    EXPECT_FIRED(3);
    run(0, MS);
    EXPECT_FIRED(2);
    assert_int_equal(timers.pending, 3);
}

/* Those that are overdue when they are frozen go on in the order in which they were due. */
static void test_freeze_overdue(void **state)
{
    (void)state;
    after(2000, 0, 2);
    after(1000, 0, 1);
    after(3000, 0, 3);
    clock_ns += 100000;
    timers_freeze(&timers, true);
    timers_freeze(&timers, false);
    run(3, HOUR);
    EXPECT_FIRED(1, 2, 3);
}

static void freeze_inside(uint32_t event, uint64_t arg)
{
    (void)arg;
    if (event == 1)
        timers_freeze(&timers, true);
}

static void test_freeze_inside(void **state)
{
    (void)state;
    after(0, 2 * MS, 1);
    after(0, 0, 2);
    action = freeze_inside;
    run(0, 3 * MS);
    EXPECT_FIRED(1);
    assert_int_equal(timers.pending, 2);
    action = NULL;
    timers_freeze(&timers, false);
    run(2, HOUR);
    EXPECT_FIRED(2, 1);
}

/* ---- images ------------------------------------------------------------------------------------------------ */

static void test_round_trip(void **state)
{
    struct timer_image before[8], again[8];
    int64_t periodic, gone;

    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        nfired = 0;
        after(HOUR, 0, 5);
        after(0, 0, 1);
        gone = after(0, 0, 9);
        periodic = after(MS, 3 * HOUR, 2);
        after(UINT64_MAX, 0, 8);
        after(0, 0, 3);
        assert_int_equal(timers_cancel(&timers, gone), 0);
        timers_freeze(&timers, frozen);
        assert_int_equal(timers_save(&timers, NULL, 0), 5);
        assert_int_equal(timers_save(&timers, before, 8), 5);
        assert_int_equal(before[0].event, 1);
        assert_int_equal(before[1].event, 3);
        assert_int_equal(before[2].event, 2);
        assert_int_equal(before[2].id, periodic);
        assert_true(before[2].period == 3 * HOUR && before[2].left <= MS);
        assert_int_equal(before[3].event, 5);
        assert_int_equal(before[4].event, 8);
        /* To another host: it starts empty. */
        end();
        begin();
        after(0, 0, 77); /* replaced */
        assert_int_equal(timers_load(&timers, before, 5), 0);
        assert_int_equal(timers_save(&timers, again, 8), 5);
        for (int i = 0; i < 5; i++) {
            assert_true(again[i].id == before[i].id && again[i].event == before[i].event);
            assert_true(again[i].arg == before[i].arg && again[i].period == before[i].period);
            assert_true(again[i].left <= before[i].left);
        }
        assert_int_equal(timers_cancel(&timers, gone), -ENOENT);
        run(3, HOUR);
        EXPECT_FIRED(1, 3, 2);
        assert_int_equal(timers_cancel(&timers, periodic), 0);
        /* New ids are none of those that came with the image. */
        for (int i = 0; i < 20; i++) {
            int64_t id = after(HOUR, 0, 6);

            for (int j = 0; j < 5; j++)
                assert_true(id != before[j].id);
        }
        timers_clear(&timers);
    }
}

static void test_load_while_frozen(void **state)
{
    struct timer_image image[2] = { { .id = ((INT64_C(3) << 17) | 2) + 1, .left = 0, .event = 1, .arg = 0x100000001 },
                                    { .id = ((INT64_C(1) << 17) | 0) + 1, .left = 0, .event = 2, .arg = 0x100000002 } };

    (void)state;
    timers_freeze(&timers, true);
    assert_int_equal(timers_load(&timers, image, 2), 0);
    run(0, MS);
    assert_int_equal(nfired, 0);
    timers_freeze(&timers, false);
    run(2, HOUR);
    EXPECT_FIRED(1, 2);
}

static void test_save_is_cut(void **state)
{
    struct timer_image images[3];

    (void)state;
    memset(images, 0x5a, sizeof images);
    for (uint32_t i = 0; i < 5; i++)
        after(i * HOUR, 0, i);
    assert_int_equal(timers_save(&timers, images, 2), 5);
    assert_int_equal(images[1].event, 1);
    assert_int_equal(images[2].event, 0x5a5a5a5a);
}

#define ID(uses, slot) (((INT64_C(uses) << 17) | (slot)) + 1)

static void test_hostile_images(void **state)
{
    static const int64_t bad[] = {
        0,
        -1,
        INT64_MIN,
        INT64_MAX,
        INT64_MAX - 1,
        ID(0, 0),
        ID(0, 65535),
        ID(1, 65536),
        ID(1, 131071),
        ID(7, 3),              /* twice: it is in the good ones */
        ID(0x3fffffffffff, 5), /* one more use would leave 63 bits */
        ID(0x200000000000, 5),
    };
    struct timer_image images[3] = { { .id = ID(7, 3), .left = HOUR }, { .id = ID(1, 4), .left = HOUR } };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        images[2].id = bad[i];
        after(HOUR, 0, 1);
        if (timers_load(&timers, images, 3) != -EINVAL)
            fail_msg("taken: %lld", (long long)bad[i]);
        assert_int_equal(timers.pending, 0);
        assert_int_equal(loop.timers.n, 0);
        /* It goes on as if nothing had been. */
        for (int j = 0; j < 10; j++) {
            int64_t id = after(HOUR, 0, 1);

            assert_int_equal(timers_cancel(&timers, id), 0);
            after(HOUR, 0, 1);
        }
        timers_clear(&timers);
    }
    assert_int_equal(timers_load(&timers, images, TIMERS_MAX + 1), -EINVAL);
    assert_int_equal(timers_load(&timers, NULL, 0), 0);
}

/* The highest slot alone: all below are free and are used; times beyond the clock's end stay there. */
static void test_odd_images(void **state)
{
    struct timer_image images[2] = {
        { .id = ID(1, 65535), .left = UINT64_MAX, .period = 1, .event = 1 },
        { .id = ID(0x100000000000, 9), .left = INT64_MAX, .period = UINT64_MAX, .event = 2 }
    };
    struct timer_image back[2];
    int64_t id;

    (void)state;
    assert_int_equal(timers_load(&timers, images, 2), 0);
    assert_int_equal(timers_save(&timers, back, 2), 2);
    assert_int_equal(back[0].event, 2);
    assert_true(back[1].period == TIMERS_MIN_PERIOD);
    timers_freeze(&timers, true);
    timers_freeze(&timers, false);
    run(0, MS);
    assert_int_equal(nfired, 0);
    assert_int_equal(timers_cancel(&timers, ID(0x100000000000, 9)), 0);
    id = after(HOUR, 0, 3);
    assert_true(id > 0);
    for (uint32_t i = 0; i < TIMERS_MAX - 2; i++)
        assert_true(after(HOUR, 0, 3) != id);
    assert_int_equal(timers_after(&timers, HOUR, 0, 3, 0), -ENOSPC);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),
        TEST(test_ids_are_not_reused),
        TEST(test_cancel),
        TEST(test_cancel_inside),
        TEST(test_limit),
        TEST(test_period),
        TEST(test_period_behind),
        TEST(test_endless_period),
        TEST(test_freeze),
        TEST(test_freeze_overdue),
        TEST(test_freeze_inside),
        TEST(test_round_trip),
        TEST(test_load_while_frozen),
        TEST(test_save_is_cut),
        TEST(test_hostile_images),
        TEST(test_odd_images),
    };

    return cmocka_run_group_tests_name("timers", tests, NULL, NULL);
}
