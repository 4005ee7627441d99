/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * budget - stops a callback that runs too long.
 *
 * Every Lua thread of a script has a count hook. One ticker thread in the process looks at each script's epoch a few
 * times per budget; an epoch that stays the same is copied to `stale`, and the count hook, which compares the two,
 * raises. From then on it is called for every instruction, so that a pcall of the script cannot hold it off.
 *
 * Where no callback has run for a while the ticker sleeps until one begins. state_enter, which every callback goes
 * through, cannot afford a barrier between its store of the epoch and its look at `budget_asleep`: the ticker has the
 * kernel make one on every processor that runs the process (membarrier) before it looks at the epochs a last time.
 *
 * The list of scripts and the ticker are the binding's only shared state, guarded by `lock`. The epochs are atomics.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lua/binding.h"

#define BUDGET_COUNT 1000          /* instructions between two looks at `stale` */
#define BUDGET_TICKS 8             /* looks per budget */
#define BUDGET_CALM 8              /* looks without a callback, then the ticker sleeps */
#define BUDGET_STUCK 10            /* budgets after which a callback that does not stop is reported */
#define TICK_MIN UINT64_C(1000000) /* ns */
#define TICK_MAX UINT64_C(125000000)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static pthread_t ticker;
static bool ticker_runs, ticker_ends, ticker_may_sleep;
static struct script *scripts;
_Atomic bool budget_asleep;

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* True if it runs, or has run since the last look. */
static bool look_at(struct script *s, uint64_t now)
{
    uint64_t epoch = atomic_load_explicit(&s->epoch, memory_order_relaxed);

    if (!(epoch & 1) || epoch != s->seen_epoch) {
        bool ran = epoch != s->seen_epoch;

        s->seen_epoch = epoch;
        s->seen_ns = now;
        s->stuck = false;
        return ran;
    }
    if (now - s->seen_ns < s->budget)
        return true;
    atomic_store_explicit(&s->stale, epoch, memory_order_relaxed);
    if (!s->stuck && now - s->seen_ns > BUDGET_STUCK * s->budget) {
        s->stuck = true;
        s->host->log(s->host, VFU_LOG_ERROR,
                     "a callback is far beyond its time in one library function (a pattern "
                     "match that backtracks?) and cannot be stopped");
    }
    return true;
}

/* Looks at all; in *pause when to do so again. True if any of them runs, or has run. */
static bool look(uint64_t now, uint64_t *pause)
{
    bool ran = false;

    *pause = TICK_MAX;
    for (struct script *s = scripts; s; s = s->next_timed) {
        ran |= look_at(s, now);
        if (s->budget / BUDGET_TICKS < *pause)
            *pause = s->budget / BUDGET_TICKS;
    }
    if (*pause < TICK_MIN)
        *pause = TICK_MIN;
    return ran;
}

static void sleep_until_one_begins(uint64_t now)
{
    uint64_t pause;

    atomic_store_explicit(&budget_asleep, true, memory_order_relaxed);
    /* From here on a callback that begins either sees that, or is seen. */
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
        ticker_may_sleep = false;
    else if (!look(now, &pause))
        while (atomic_load_explicit(&budget_asleep, memory_order_relaxed) && !ticker_ends)
            pthread_cond_wait(&wake, &lock);
    atomic_store_explicit(&budget_asleep, false, memory_order_relaxed);
}

void budget_wake(void)
{
    pthread_mutex_lock(&lock);
    atomic_store_explicit(&budget_asleep, false, memory_order_relaxed);
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
}

static void *tick(void *arg)
{
    unsigned calm = 0;

    (void)arg;
    pthread_mutex_lock(&lock);
    while (!ticker_ends) {
        uint64_t now = clock_ns(), pause;
        struct timespec until;

        calm = look(now, &pause) ? 0 : calm + 1;
        if (calm >= BUDGET_CALM && ticker_may_sleep) {
            sleep_until_one_begins(now);
            calm = 0;
            continue;
        }
        now += pause;
        until.tv_sec = (time_t)(now / 1000000000u);
        until.tv_nsec = (long)(now % 1000000000u);
        pthread_cond_timedwait(&wake, &lock, &until);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static int start_ticker(void)
{
    pthread_condattr_t monotonic;
    sigset_t all, old;
    int err;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    ticker_ends = false;
    ticker_may_sleep = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    /* Signals are the host's: none may choose this thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&ticker, NULL, tick, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err) {
        pthread_cond_destroy(&wake);
        return -err;
    }
    ticker_runs = true;
    return 0;
}

int budget_start(struct script *s)
{
    int err = 0;

    pthread_mutex_lock(&lock);
    if (!ticker_runs)
        err = start_ticker();
    if (!err) {
        s->next_timed = scripts;
        scripts = s;
        pthread_cond_signal(&wake);
    }
    pthread_mutex_unlock(&lock);
    if (err)
        vfu_logf(s->host, VFU_LOG_ERROR, "cannot start the thread that limits a script's time: %s", strerror(-err));
    return err;
}

void budget_stop(struct script *s)
{
    pthread_t ended;

    pthread_mutex_lock(&lock);
    for (struct script **p = &scripts; *p; p = &(*p)->next_timed)
        if (*p == s) {
            *p = s->next_timed;
            break;
        }
    /* The last one out ends the thread: the file may be unloaded after it. */
    if (scripts || !ticker_runs) {
        pthread_mutex_unlock(&lock);
        return;
    }
    ticker_ends = true;
    ticker_runs = false;
    ended = ticker;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    pthread_join(ended, NULL);
}

void budget_set(struct script *s, uint64_t ns)
{
    pthread_mutex_lock(&lock);
    s->budget = ns;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
}

static bool time_is_up(const struct script *s)
{
    return atomic_load_explicit(&s->stale, memory_order_relaxed) ==
           atomic_load_explicit(&s->epoch, memory_order_relaxed);
}

static void on_count(lua_State *L, lua_Debug *ar);

static void stop(lua_State *L, lua_Debug *ar)
{
    struct script *s = script_of(L);

    s->tripped = true;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    lua_getinfo(L, "Sl", ar);
    /* luaL_error would put the caller's line in front. */
    lua_pushfstring(L, "%s:%d: stopped after its time of %f s", ar->short_src, ar->currentline, (double)s->budget / 1e9);
    lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    if (time_is_up(script_of(L)))
        stop(L, ar);
    else if (lua_gethookcount(L) == 1)
        budget_arm(L); /* a coroutine of the script's that outlived a stopped callback */
}

/* What Lua has called is at level 0; who called it is told. */
void budget_check(lua_State *L)
{
    lua_Debug ar;

    if (time_is_up(script_of(L)) && (lua_getstack(L, 1, &ar) || lua_getstack(L, 0, &ar)))
        stop(L, &ar);
}

bool budget_stopped(lua_State *L)
{
    return lua_gethookcount(L) == 1;
}

void budget_arm(lua_State *L)
{
    lua_sethook(L, on_count, LUA_MASKCOUNT, BUDGET_COUNT);
}
