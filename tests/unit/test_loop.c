/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/loop: timers against a model, work, watches that go away under events, and other threads. Clean under
 * the thread sanitizer.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/loop.h"

#define MS UINT64_C(1000000)

static struct loop loop;

static int set_up(void **state)
{
    (void)state;
    return loop_init(&loop);
}

static int tear_down(void **state)
{
    (void)state;
    loop_fini(&loop);
    return 0;
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(&loop);
}

static void stop_timer(struct loop_timer *timer)
{
    (void)timer;
    loop_stop(&loop);
}

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* ---- timers ------------------------------------------------------------------------------------------------ */

#define TIMERS 4000u

struct numbered {
    struct loop_timer timer;
    uint64_t order; /* when it was armed, 0: it is not */
};
static struct numbered timers[TIMERS];
static uint64_t orders;
static unsigned armed, fired;
static struct numbered *previous;

static bool comes_before(const struct numbered *a, const struct numbered *b)
{
    return a->timer.deadline != b->timer.deadline ? a->timer.deadline < b->timer.deadline : a->order < b->order;
}

static void disarm(struct numbered *n)
{
    armed -= n->order != 0;
    n->order = 0;
    loop_disarm(&loop, &n->timer);
    assert_int_equal(n->timer.place, 0);
}

static void model_fired(struct loop_timer *timer)
{
    struct numbered *n = (struct numbered *)timer;

    assert_true(n->order != 0);
    assert_int_equal(timer->place, 0);
    if (previous)
        assert_true(previous->timer.deadline < timer->deadline ||
                    (previous->timer.deadline == timer->deadline && previous->timer.sequence < timer->sequence));
    /* Nobody who should have come first still waits: a sample, and those beside it. */
    for (int i = 0; i < 20; i++) {
        struct numbered *other = &timers[any(TIMERS)];

        assert_true(other == n || !other->order || comes_before(n, other));
    }
    previous = n;
    n->order = 0;
    armed--;
    fired++;
    if (any(4) == 0)
        disarm(&timers[any(TIMERS)]);
    if (any(16) == 0)
        disarm(n); /* is not armed any more: nothing happens */
    if (armed == 0)
        loop_stop(&loop);
}

static void test_timers_and_model(void **state)
{
    (void)state;
    memset(timers, 0, sizeof timers);
    orders = armed = fired = 0;
    previous = NULL;
    for (uint32_t i = 0; i < TIMERS; i++)
        timers[i].timer.fn = model_fired;
    for (int i = 0; i < 30000; i++) {
        struct numbered *n = &timers[any(TIMERS)];

        if (any(3) == 0) {
            disarm(n);
            continue;
        }
        armed += n->order == 0;
        n->order = ++orders;
        assert_int_equal(loop_arm(&loop, &n->timer, any(500)), 0);
        assert_int_equal(loop.timers.n, armed);
    }
    assert_true(armed > 1000);
    loop_run(&loop);
    assert_true(fired > 500);
    assert_int_equal(loop.timers.n, 0);
}

static char trace[256];
static size_t ntrace;

static void note(char c)
{
    assert_true(ntrace + 1 < sizeof trace);
    trace[ntrace++] = c;
    trace[ntrace] = '\0';
}

static void clear_trace(void)
{
    ntrace = 0;
    trace[0] = '\0';
}

struct lettered {
    struct loop_timer timer;
    char letter;
    struct lettered *other;
    int left;
};

static void note_timer(struct loop_timer *timer)
{
    note(((struct lettered *)timer)->letter);
}

static void disarm_other(struct loop_timer *timer)
{
    note_timer(timer);
    loop_disarm(&loop, &((struct lettered *)timer)->other->timer);
}

static void test_order_and_cancel(void **state)
{
    struct lettered t[6];
    struct loop_timer last = { .fn = stop_timer };
    uint64_t now = loop_now();

    (void)state;
    clear_trace();
    for (int i = 0; i < 6; i++)
        t[i] = (struct lettered){ .timer.fn = note_timer, .letter = (char)('a' + i), .other = &t[3] };
    t[1].timer.fn = disarm_other;
    assert_int_equal(loop_arm(&loop, &t[0].timer, now), 0);
    assert_int_equal(loop_arm(&loop, &t[3].timer, now), 0); /* cancelled by b */
    assert_int_equal(loop_arm(&loop, &t[1].timer, now - 1), 0);
    assert_int_equal(loop_arm(&loop, &t[2].timer, now), 0);
    assert_int_equal(loop_arm(&loop, &t[4].timer, 0), 0);
    assert_int_equal(loop_arm(&loop, &t[5].timer, 0), 0);
    assert_int_equal(loop_arm(&loop, &t[4].timer, now), 0); /* moved: it is the last one set now */
    assert_int_equal(loop_arm(&loop, &last, now + MS), 0);
    loop_run(&loop);
    assert_string_equal(trace, "fbace");
    assert_true(loop_now() >= now + MS);
}

static void again(struct loop_timer *timer)
{
    struct lettered *t = (struct lettered *)timer;

    note('t');
    if (--t->left)
        assert_int_equal(loop_arm(&loop, timer, 0), 0);
}

static void work_between(void *arg)
{
    unsigned *left = arg;

    note('w');
    if (--*left)
        assert_int_equal(loop_defer(&loop, work_between, left), 0);
    else
        loop_stop(&loop);
}

/* A timer that is always due again lets the work of each round have its turn. */
static void test_timer_arms_itself(void **state)
{
    struct lettered t = { .timer.fn = again, .left = 4 };
    unsigned left = 6;

    (void)state;
    clear_trace();
    assert_int_equal(loop_arm(&loop, &t.timer, 0), 0);
    assert_int_equal(loop_defer(&loop, work_between, &left), 0);
    loop_run(&loop);
    assert_string_equal(trace, "twtwtwtwww");
}

static void test_time_passes(void **state)
{
    struct loop_timer timer = { .fn = stop_timer }, never = { .fn = stop_timer };
    uint64_t start = loop_now(), took;

    (void)state;
    assert_int_equal(loop_arm(&loop, &never, UINT64_MAX), 0);
    assert_int_equal(loop_arm(&loop, &timer, start + 5 * MS), 0);
    loop_run(&loop);
    took = loop_now() - start;
    assert_true(took >= 5 * MS && took < 2000 * MS);
    assert_int_equal(loop.timers.n, 1);
    assert_true(never.place != 0);
}

/* Without epoll_pwait2 a timer may be late by a millisecond, and is never early. */
static void test_time_passes_in_ms(void **state)
{
    loop.no_pwait2 = true;
    test_time_passes(state);
}

/* ---- the alarm --------------------------------------------------------------------------------------------- */

#define HOUR (3600 * 1000 * MS)

struct alarm_case {
    struct loop_timer timer;
    uint64_t first;
    unsigned idles;
};

/* What message DMA does, without the messages: its time limit is armed anew each time the loop would sleep. */
static bool move_limit(void *ctx)
{
    struct alarm_case *c = ctx;

    if (c->idles == 0)
        c->first = c->timer.deadline;
    assert_true(loop.alarm == c->first); /* set once, for the oldest */
    if (++c->idles < 100) {
        assert_int_equal(loop_arm(&loop, &c->timer, c->first + c->idles * MS), 0);
    } else {
        loop_disarm(&loop, &c->timer); /* it stays set, which costs nothing */
        loop_stop(&loop);
    }
    return true;
}

static void test_alarm_is_set_once(void **state)
{
    struct alarm_case c = { .timer.fn = stop_timer };

    (void)state;
    loop.idle = move_limit;
    loop.idle_ctx = &c;
    assert_int_equal(loop_arm(&loop, &c.timer, loop_now() + HOUR), 0);
    loop_run(&loop);
    assert_int_equal(c.idles, 100);
    assert_true(loop.alarm == c.first);
}

static bool nearer(void *ctx)
{
    struct alarm_case *c = ctx;

    if (c->idles++ == 0) {
        assert_int_equal(loop_arm(&loop, &c->timer, c->first - HOUR), 0);
    } else {
        assert_true(loop.alarm == c->first - HOUR);
        loop_stop(&loop);
    }
    return true;
}

/* One that is due before the alarm moves it. */
static void test_alarm_moves_forward(void **state)
{
    struct alarm_case c = { .timer.fn = stop_timer, .first = loop_now() + 2 * HOUR };
    struct loop_timer other = { .fn = stop_timer };

    (void)state;
    loop.idle = nearer;
    loop.idle_ctx = &c;
    assert_int_equal(loop_arm(&loop, &other, c.first), 0);
    loop_run(&loop);
    assert_int_equal(c.idles, 2);
}

static bool take_it_back(void *ctx)
{
    const struct itimerspec soon = { .it_value.tv_nsec = 1 };
    struct alarm_case *c = ctx;

    if (c->idles++ == 0) {
        assert_true(loop.alarm == c->timer.deadline);
        loop_disarm(&loop, &c->timer);
        assert_int_equal(timerfd_settime(loop.alarm_watch.fd, 0, &soon, NULL), 0); /* an hour later */
        return false; /* sleeps until the alarm goes off, for nobody */
    }
    assert_true(loop.alarm == UINT64_MAX);
    loop_stop(&loop);
    return true;
}

static void test_alarm_for_nobody(void **state)
{
    struct alarm_case c = { .timer.fn = stop_timer };

    (void)state;
    loop.idle = take_it_back;
    loop.idle_ctx = &c;
    assert_int_equal(loop_arm(&loop, &c.timer, loop_now() + HOUR), 0);
    loop_run(&loop);
    assert_int_equal(c.idles, 2);
}

static void mixed_fired(struct loop_timer *timer)
{
    struct numbered *other = &timers[any(200)];

    assert_true(loop_now() >= timer->deadline); /* never early */
    assert_true(!previous || previous->timer.deadline <= timer->deadline);
    previous = (struct numbered *)timer;
    if (other->timer.place && any(4) == 0) {
        loop_disarm(&loop, &other->timer);
        armed--;
    }
    if (--armed == 0)
        loop_stop(&loop);
}

/* Near and far ones, some taken back: all that are left fire, in order. */
static void test_near_and_far(void **state)
{
    uint64_t now = loop_now();

    (void)state;
    memset(timers, 0, sizeof timers);
    previous = NULL;
    for (armed = 0; armed < 200; armed++) {
        timers[armed].timer.fn = mixed_fired;
        assert_int_equal(loop_arm(&loop, &timers[armed].timer, now + any(5 * (uint32_t)LOOP_NEAR_NS)), 0);
    }
    loop_run(&loop);
    assert_int_equal(armed, 0);
    assert_int_equal(loop.timers.n, 0);
}

/* ---- work -------------------------------------------------------------------------------------------------- */

static void note_work(void *arg)
{
    note(*(const char *)arg);
}

static void defer_more(void *arg)
{
    note_work(arg);
    assert_int_equal(loop_defer(&loop, note_work, (void *)(uintptr_t) "X"), 0);
    assert_int_equal(loop_post(&loop, stop, NULL), 0);
}

static void test_work_order(void **state)
{
    (void)state;
    clear_trace();
    assert_int_equal(loop_defer(&loop, note_work, (void *)(uintptr_t) "a"), 0);
    assert_int_equal(loop_defer(&loop, defer_more, (void *)(uintptr_t) "b"), 0);
    assert_int_equal(loop_post(&loop, note_work, (void *)(uintptr_t) "p"), 0);
    assert_int_equal(loop_defer(&loop, note_work, (void *)(uintptr_t) "c"), 0);
    assert_int_equal(loop_post(&loop, note_work, (void *)(uintptr_t) "q"), 0);
    loop_run(&loop);
    assert_string_equal(trace, "abcpqX");
}

static unsigned ran;

static void count(void *arg)
{
    (void)arg;
    ran++;
}

static void test_work_limit(void **state)
{
    (void)state;
    ran = 0;
    for (unsigned i = 0; i < 65536; i++) {
        assert_int_equal(loop_defer(&loop, count, NULL), 0);
        assert_int_equal(loop_post(&loop, count, NULL), 0);
    }
    assert_int_equal(loop_defer(&loop, count, NULL), -ENOSPC);
    assert_int_equal(loop_post(&loop, count, NULL), -ENOSPC);
    loop_stop(&loop);
    loop_run(&loop); /* what is deferred runs also when it ends */
    assert_int_equal(ran, 2 * 65536);
}

/* Work that never ends does not keep a timer or the stop away. */
static void for_ever(void *arg)
{
    ran++;
    assert_int_equal(loop_defer(&loop, for_ever, arg), 0);
}

static void test_work_for_ever(void **state)
{
    struct loop_timer timer = { .fn = stop_timer };

    (void)state;
    ran = 0;
    assert_int_equal(loop_defer(&loop, for_ever, NULL), 0);
    assert_int_equal(loop_arm(&loop, &timer, loop_now() + MS), 0);
    loop_run(&loop);
    assert_true(ran > 2);
}

static bool idle_twice(void *ctx)
{
    unsigned *calls = ctx;

    if (++*calls == 3)
        loop_stop(&loop);
    return true;
}

static void test_idle(void **state)
{
    unsigned calls = 0;

    (void)state;
    loop.idle = idle_twice;
    loop.idle_ctx = &calls;
    loop_run(&loop);
    assert_int_equal(calls, 3);
}

/* ---- watches ----------------------------------------------------------------------------------------------- */

#define WATCHES 24

struct removing {
    struct loop_watch watch;
    bool there;
    unsigned calls;
};
static struct removing *watches[WATCHES];
static unsigned watch_calls;

/* Takes itself and a neighbour away, and frees both: their events of this round must not be seen any more. */
static void remove_pair(struct loop_watch *watch, uint32_t ready)
{
    struct removing *own = (struct removing *)watch;
    int at = 0;

    assert_true(ready & EPOLLIN);
    while (watches[at] != own)
        at++;
    watch_calls++;
    for (int i = at; i >= 0 && i < WATCHES; i += i == at ? (at % 2 ? -1 : 1) : WATCHES) {
        if (!watches[i])
            continue;
        loop_remove(&loop, &watches[i]->watch);
        close(watches[i]->watch.fd);
        memset(watches[i], 0x5a, sizeof *watches[i]);
        free(watches[i]);
        watches[i] = NULL;
    }
}

static void test_remove_while_pending(void **state)
{
    struct loop_timer timer = { .fn = stop_timer };

    (void)state;
    watch_calls = 0;
    for (int i = 0; i < WATCHES; i++) {
        watches[i] = calloc(1, sizeof *watches[i]);
        assert_non_null(watches[i]);
        watches[i]->watch = (struct loop_watch){ .fd = eventfd(1, EFD_NONBLOCK), .events = EPOLLIN, .fn = remove_pair };
        assert_int_equal(loop_add(&loop, &watches[i]->watch), 0);
    }
    assert_int_equal(loop_arm(&loop, &timer, 0), 0);
    loop_run(&loop);
    assert_int_equal(watch_calls, WATCHES / 2);
    for (int i = 0; i < WATCHES; i++)
        assert_null(watches[i]);
}

static int pair[2];

static void echo(struct loop_watch *watch, uint32_t ready)
{
    char byte;

    if (ready & EPOLLOUT) {
        note('o');
        assert_int_equal(loop_change(&loop, watch, EPOLLIN | EPOLLRDHUP), 0);
        assert_int_equal(loop_change(&loop, watch, EPOLLIN | EPOLLRDHUP), 0);
        assert_int_equal(write(pair[1], "x", 1), 1);
    } else if (read(watch->fd, &byte, 1) == 1) {
        note(byte);
        close(pair[1]);
    } else {
        assert_true(ready & (EPOLLRDHUP | EPOLLHUP));
        note('h');
        loop_remove(&loop, watch);
        loop_stop(&loop);
    }
}

static void test_watch(void **state)
{
    struct loop_watch watch = { .events = EPOLLOUT, .fn = echo };
    struct loop_watch bad = { .fd = -1, .events = EPOLLIN, .fn = echo };

    (void)state;
    clear_trace();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    watch.fd = pair[0];
    assert_int_equal(loop_add(&loop, &bad), -EBADF);
    assert_int_equal(loop_add(&loop, &watch), 0);
    assert_int_equal(loop_add(&loop, &watch), -EEXIST);
    loop_run(&loop);
    assert_string_equal(trace, "oxh");
    close(pair[0]);
}

/* A stop in one callback leaves the round's other events alone. */
static void stop_and_count(struct loop_watch *watch, uint32_t ready)
{
    (void)watch;
    (void)ready;
    watch_calls++;
    loop_stop(&loop);
}

static void test_stop_ends_the_round(void **state)
{
    struct loop_watch w[4];

    (void)state;
    watch_calls = 0;
    for (int i = 0; i < 4; i++) {
        w[i] = (struct loop_watch){ .fd = eventfd(1, EFD_NONBLOCK), .events = EPOLLIN, .fn = stop_and_count };
        assert_int_equal(loop_add(&loop, &w[i]), 0);
    }
    loop_run(&loop);
    assert_int_equal(watch_calls, 1);
    for (int i = 0; i < 4; i++)
        close(w[i].fd);
}

/* ---- other threads ----------------------------------------------------------------------------------------- */

#define POSTERS 4
#define POSTS 5000u

struct post {
    unsigned thread, number;
};
static struct post posts[POSTERS][POSTS];
static unsigned next_of[POSTERS], total;

static void take_post(void *arg)
{
    struct post *post = arg;

    assert_true(loop_mine(&loop));
    assert_int_equal(post->number, next_of[post->thread]++);
    if (++total == POSTERS * POSTS)
        loop_stop(&loop);
}

static void *poster(void *arg)
{
    struct post *mine = arg;

    for (unsigned i = 0; i < POSTS; i++)
        while (loop_post(&loop, take_post, &mine[i]) == -ENOSPC)
            ;
    return NULL;
}

static void run_posters(void)
{
    pthread_t threads[POSTERS];

    memset(next_of, 0, sizeof next_of);
    total = 0;
    for (unsigned i = 0; i < POSTERS; i++) {
        for (unsigned j = 0; j < POSTS; j++)
            posts[i][j] = (struct post){ i, j };
        assert_int_equal(pthread_create(&threads[i], NULL, poster, posts[i]), 0);
    }
    loop_run(&loop);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(total, POSTERS * POSTS);
}

static void test_posts(void **state)
{
    (void)state;
    run_posters();
}

static void test_posts_while_spinning(void **state)
{
    (void)state;
    loop.spin_us = 50;
    run_posters();
}

static void *runner(void *arg)
{
    (void)arg;
    loop_run(&loop);
    return NULL;
}

static uint32_t runs;

static void ran_once(void *arg)
{
    (void)arg;
    __atomic_store_n(&runs, 1, __ATOMIC_RELEASE);
}

/* Nothing else wakes it: the stop does. Asleep, spinning, or busy with timers. */
static void stop_from_outside(void)
{
    pthread_t thread;

    runs = 0;
    assert_true(loop_mine(&loop));
    assert_int_equal(loop_post(&loop, ran_once, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, runner, NULL), 0);
    while (!__atomic_load_n(&runs, __ATOMIC_ACQUIRE))
        usleep(100);
    assert_false(loop_mine(&loop));
    loop_stop(&loop);
    pthread_join(thread, NULL);
    assert_true(loop_mine(&loop));
}

static void rearm(struct loop_timer *timer)
{
    assert_int_equal(loop_arm(&loop, timer, loop_now() + 1000), 0);
}

static void never_read(struct loop_watch *watch, uint32_t ready)
{
    (void)watch;
    (void)ready;
}

static void test_stop_from_outside(void **state)
{
    struct loop_timer timer = { .fn = rearm };
    struct loop_watch watch = { .events = EPOLLIN, .fn = never_read };

    for (int i = 0; i < 20; i++) {
        loop.spin_us = i % 3 == 1 ? 100 : 0;
        if (i % 3 == 2) {
            assert_int_equal(loop_arm(&loop, &timer, 0), 0);
            watch.fd = eventfd(1, EFD_NONBLOCK);
            assert_int_equal(loop_add(&loop, &watch), 0); /* ready for ever */
        }
        stop_from_outside();
        if (i % 3 == 2)
            close(watch.fd);
        loop_disarm(&loop, &timer);
        tear_down(state);
        assert_int_equal(set_up(state), 0);
    }
}

static void test_stop_before_run(void **state)
{
    (void)state;
    loop_stop(&loop);
    loop_run(&loop);
    assert_true(loop_mine(&loop));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_timers_and_model),
        TEST(test_order_and_cancel),
        TEST(test_timer_arms_itself),
        TEST(test_time_passes),
        TEST(test_time_passes_in_ms),
        TEST(test_alarm_is_set_once),
        TEST(test_alarm_moves_forward),
        TEST(test_alarm_for_nobody),
        TEST(test_near_and_far),
        TEST(test_work_order),
        TEST(test_work_limit),
        TEST(test_work_for_ever),
        TEST(test_idle),
        TEST(test_remove_while_pending),
        TEST(test_watch),
        TEST(test_stop_ends_the_round),
        TEST(test_posts),
        TEST(test_posts_while_spinning),
        TEST(test_stop_from_outside),
        TEST(test_stop_before_run),
    };

    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
