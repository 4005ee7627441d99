/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of a device's time, in core/clock, core/advance and core/timers: virtual time that stands still, is advanced, and
 * becomes real again; and of core/ask. A device without a client, on one thread, but for those who ask.
 */
#include "tests/unit/odd_host.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define SECOND (1000 * MS)

/* What came due, and when by the device's time. */
static struct {
    uint32_t event;
    uint64_t now;
} seen[256];
static unsigned nseen;
static void (*action)(uint32_t event);
static atomic_int done;
static int result;

static void happened(void *self, uint32_t event, uint64_t arg)
{
    (void)self, (void)arg;
    if (nseen < 256) {
        seen[nseen].event = event;
        seen[nseen].now = odd_table->now(odd_table);
    }
    nseen++;
    if (action)
        action(event);
}

static void advanced(struct device *dev, void *ctx, int error)
{
    assert_ptr_equal(dev, odd_dev);
    assert_ptr_equal(ctx, &done);
    result = error;
    atomic_store(&done, 1);
}

static int setup(void **state)
{
    nseen = 0;
    action = NULL;
    atomic_store(&done, 0);
    odd_setup(state);
    odd_plan.event = happened;
    odd_make();
    assert_int_equal(device_clock(odd_dev, true), 0);
    return 0;
}

static int64_t after(uint64_t delay, uint64_t period, uint32_t event)
{
    return odd_table->timer_after(odd_table, delay, period, event, 0);
}

static int advance(uint64_t ns)
{
    int error = advance_start(odd_dev, ns, advanced, &done);

    if (error)
        return error;
    odd_run(&done, MS / 10);
    atomic_store(&done, 0);
    return result;
}

static void stands_still(void **state)
{
    uint64_t now = odd_table->now(odd_table);

    (void)state;
    assert_true(after(1, 0, 1) > 0);
    odd_run(NULL, 5 * MS);
    assert_int_equal(nseen, 0);
    assert_true(odd_table->now(odd_table) == now);
    /* But what needs no time happens. */
    assert_true(after(0, 0, 2) > 0);
    odd_run(NULL, MS);
    assert_int_equal(nseen, 1);
    assert_int_equal(seen[0].event, 2);
    assert_int_equal(advance(1), 0);
    assert_int_equal(nseen, 2);
    assert_true(seen[1].now == now + 1);
}

static void chain(uint32_t event)
{
    if (event == 1)
        after(250 * MS, 0, 2);
    if (event == 2)
        after(0, 0, 3);
}

/* Everything in order, each at its time, with what it sets. */
static void in_order(void **state)
{
    static const struct {
        uint32_t event;
        uint64_t at;
    } expected[] = { { 9, 100 * MS }, { 1, 150 * MS }, { 9, 200 * MS }, { 9, 300 * MS },
                     { 2, 400 * MS }, { 9, 400 * MS }, { 3, 400 * MS }, { 9, 500 * MS } };
    uint64_t start = odd_table->now(odd_table);

    (void)state;
    action = chain;
    after(150 * MS, 0, 1);
    assert_true(after(100 * MS, 100 * MS, 9) > 0);
    assert_int_equal(advance(550 * MS), 0);
    assert_int_equal(odd_dev->advance.events, 8);
    assert_int_equal(nseen, 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(seen[i].event, expected[i].event);
        assert_true(seen[i].now == start + expected[i].at);
    }
    assert_true(odd_table->now(odd_table) == start + 550 * MS);
    /* An hour of it. */
    assert_int_equal(advance(3600 * SECOND), 0);
    assert_int_equal(odd_dev->advance.events, 36000);
}

static void again_at_once(uint32_t event)
{
    after(0, 0, event);
}

static void for_ever(void **state)
{
    uint64_t start = odd_table->now(odd_table);

    (void)state;
    action = again_at_once;
    after(SECOND, 0, 1);
    assert_int_equal(advance(2 * SECOND), -ELOOP);
    assert_true(odd_table->now(odd_table) == start + SECOND);
    assert_int_equal(odd_dev->advance.events, ADVANCE_INSTANT_MAX);
    action = NULL;
}

static void deferred_for_ever(void *arg)
{
    (*(unsigned *)arg)++;
    odd_table->defer(odd_table, deferred_for_ever, arg);
}

/* Work that is deferred comes before the next event, but not for ever. */
static void deferred(void **state)
{
    unsigned times = 0;

    (void)state;
    assert_int_equal(odd_table->defer(odd_table, deferred_for_ever, &times), 0);
    after(SECOND, 0, 1);
    assert_int_equal(advance(SECOND), 0);
    assert_int_equal(nseen, 1);
    assert_true(times > 100);
}

/* Over a switch the time goes on, and so does what is left. */
static void switches(void **state)
{
    uint64_t now;
    struct timer_image image;

    (void)state;
    after(10 * SECOND, 0, 1);
    assert_int_equal(advance(4 * SECOND), 0);
    now = odd_table->now(odd_table);
    assert_int_equal(device_clock(odd_dev, false), 0);
    assert_true(odd_table->now(odd_table) >= now);
    assert_true(odd_table->now(odd_table) - now < 4 * SECOND);
    assert_int_equal(timers_save(&odd_dev->timers, &image, 1), 1);
    assert_true(image.left <= 6 * SECOND && image.left > SECOND);
    assert_int_equal(device_clock(odd_dev, true), 0);
    assert_int_equal(advance(6 * SECOND), 0);
    assert_int_equal(nseen, 1);
    /* In real time it comes by itself. */
    after(MS, 0, 2);
    assert_int_equal(device_clock(odd_dev, false), 0);
    while (nseen < 2)
        odd_run(NULL, MS);
    assert_int_equal(seen[1].event, 2);
    assert_int_equal(odd_dev->timers.pending, 0);
}

static void stopped(void **state)
{
    struct timer_image image;

    (void)state;
    after(10 * SECOND, 0, 1);
    device_freeze(odd_dev);
    assert_int_equal(advance(SECOND), -EBUSY);
    /* The clock may change all the same; what is left does not. */
    assert_int_equal(device_clock(odd_dev, false), 0);
    assert_int_equal(timers_save(&odd_dev->timers, &image, 1), 1);
    assert_true(image.left == 10 * SECOND);
    assert_int_equal(device_clock(odd_dev, true), 0);
    device_thaw(odd_dev);
    assert_int_equal(timers_save(&odd_dev->timers, &image, 1), 1);
    assert_true(image.left == 10 * SECOND);
    assert_int_equal(advance(10 * SECOND), 0);
    assert_int_equal(nseen, 1);
}

static void becomes_real(uint32_t event)
{
    (void)event;
    device_clock(odd_dev, false);
}

static void one_at_a_time(void **state)
{
    (void)state;
    assert_int_equal(advance_start(odd_dev, SECOND, advanced, &done), 0);
    assert_int_equal(advance_start(odd_dev, SECOND, advanced, &done), -EALREADY);
    odd_run(&done, MS / 10);
    atomic_store(&done, 0);
    assert_int_equal(advance(UINT64_MAX), -ERANGE);
    assert_int_equal(advance(INT64_MAX), -ERANGE);
    action = becomes_real;
    after(SECOND, 0, 1);
    assert_int_equal(advance(2 * SECOND), -ECANCELED);
    action = NULL;
    assert_false(odd_dev->clock.virtual);
}

/* Real time goes on from the end of the virtual one, and stays a time; there is no way beyond it. */
static void end_of_time(void **state)
{
    (void)state;
    assert_int_equal(advance(CLOCK_END - odd_table->now(odd_table)), 0);
    assert_true(odd_table->now(odd_table) == CLOCK_END);
    assert_int_equal(advance(1), -ERANGE);
    assert_int_equal(advance(0), 0);
    assert_int_equal(device_clock(odd_dev, false), 0);
    assert_true(odd_table->now(odd_table) >= CLOCK_END && odd_table->now(odd_table) < INT64_MAX);
    while (odd_table->now(odd_table) == CLOCK_END)
        ;
    assert_int_equal(advance(0), -ERANGE);
    assert_int_equal(advance(UINT64_MAX), -ERANGE);
    assert_false(odd_dev->clock.virtual);
}

static unsigned polls;

static int32_t poll_once(void *self)
{
    (void)self;
    return ++polls % 3 == 0;
}

static void polling(void **state)
{
    odd_teardown(state);
    odd_setup(state);
    odd_plan.caps |= VFU_CAP_POLL;
    odd_plan.poll = poll_once;
    odd_make();
    assert_int_equal(device_clock(odd_dev, true), 0);
    assert_int_equal(odd_table->poll_every(odd_table, MS), 0);
    odd_run(NULL, MS);
    polls = 0;
    assert_int_equal(advance(SECOND), 0);
    assert_true(polls >= 1000);
}

/* ---- ask ------------------------------------------------------------------------------------------------------ */

struct question {
    struct ask_item item; /* first */
    pthread_t thread;
    unsigned place;
};
static unsigned answered;

static void answer(struct ask_item *item)
{
    struct question *q = (struct question *)item;

    assert_true(pthread_equal(q->thread, pthread_self()));
    q->place = ++answered;
    if (answered == 3)
        atomic_store(&done, 1);
}

static void *post_three(void *arg)
{
    struct question *q = arg;

    for (int i = 0; i < 4; i++)
        assert_int_equal(ask_post(&odd_dev->ask, &q[i].item), 0);
    assert_true(ask_withdraw(&odd_dev->ask, &q[1].item));
    assert_false(ask_withdraw(&odd_dev->ask, &q[1].item));
    return NULL;
}

static void asked_from_elsewhere(void **state)
{
    struct question q[4];
    pthread_t thread;

    (void)state;
    answered = 0;
    for (int i = 0; i < 4; i++)
        q[i] = (struct question){ .item.run = answer, .thread = pthread_self() };
    assert_int_equal(pthread_create(&thread, NULL, post_three, q), 0);
    pthread_join(thread, NULL);
    odd_run(&done, MS / 10);
    assert_int_equal(q[0].place, 1);
    assert_int_equal(q[1].place, 0);
    assert_int_equal(q[2].place, 2);
    assert_int_equal(q[3].place, 3);
    assert_false(ask_withdraw(&odd_dev->ask, &q[0].item));
    /* The last one withdrawn leaves a list that works. */
    assert_int_equal(ask_post(&odd_dev->ask, &q[0].item), 0);
    assert_true(ask_withdraw(&odd_dev->ask, &q[0].item));
    assert_int_equal(ask_post(&odd_dev->ask, &q[1].item), 0);
    ask_run(&odd_dev->ask);
    assert_int_equal(q[1].place, 4);
    odd_run(NULL, MS);
}

static void ask_again(struct ask_item *item)
{
    answered++;
    assert_int_equal(ask_post(&odd_dev->ask, item), 0);
}

/* Who asks again and again is answered once a round, so that the device gets its turn. */
static void asked_without_end(void **state)
{
    struct ask_item item = { .run = ask_again };

    (void)state;
    answered = 0;
    assert_int_equal(ask_post(&odd_dev->ask, &item), 0);
    for (unsigned i = 1; i <= 5; i++) {
        loop_step(&odd_dev->loop);
        assert_int_equal(answered, i);
    }
    /* Held, it is the same, and there is something to look at again. */
    ask_hold(&odd_dev->ask, true);
    for (unsigned i = 6; i <= 9; i++) {
        uint64_t woken = 0;

        ask_run(&odd_dev->ask);
        assert_int_equal(answered, i);
        assert_int_equal(read(odd_dev->ask.wake, &woken, sizeof woken), sizeof woken);
    }
    ask_hold(&odd_dev->ask, false);
    assert_true(ask_withdraw(&odd_dev->ask, &item));
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, setup, odd_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(stands_still), WITH(in_order), WITH(for_ever), WITH(deferred),      WITH(switches),
        WITH(stopped),      WITH(one_at_a_time), WITH(polling), WITH(asked_from_elsewhere),
        WITH(end_of_time),  WITH(asked_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
