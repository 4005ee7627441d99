/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task - hooks that may wait: write hooks and events, each on a coroutine of its own, out of a pool.
 *
 * A hook that asks for DMA which goes by messages, or sleeps, is suspended and resumed by the host's answer. A reset
 * closes it, a lost client ends its DMA wait. The buffer of a DMA in flight belongs to the task, and a task outlives
 * its DMA. Runs on the device's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"

#define TASKS_MAX 4096u

static int new_thread(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);

    t->co = lua_newthread(L);
    t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

struct task *task_get(struct script *s, const char *what)
{
    struct task *t = s->spare;

    if (t) {
        s->spare = t->next;
        t->next = NULL;
        return t;
    }
    if (s->ntasks >= TASKS_MAX) {
        state_report_text(s, what, "too many hooks wait already");
        return NULL;
    }
    t = state_alloc(s, NULL, 0, sizeof *t);
    if (!t) {
        state_report_text(s, what, "not enough memory");
        return NULL;
    }
    memset(t, 0, sizeof *t);
    t->s = s;
    t->ref = LUA_NOREF;
    lua_pushcfunction(s->L, new_thread);
    lua_pushlightuserdata(s->L, t);
    if (state_call(s, 1, 0, what)) {
        state_alloc(s, t, sizeof *t, 0);
        return NULL;
    }
    s->ntasks++;
    return t;
}

static void free_buffer(struct task *t)
{
    if (t->op.buf)
        state_alloc(t->s, t->op.buf, t->op.len, 0);
    t->op.buf = NULL;
}

static void unlink_task(struct task *t)
{
    if (!t->suspended)
        return;
    t->suspended = false;
    if (t->prev)
        t->prev->next = t->next;
    else
        t->s->tasks = t->next;
    if (t->next)
        t->next->prev = t->prev;
    t->prev = t->next = NULL;
}

static void link_task(struct task *t)
{
    if (t->suspended)
        return;
    t->suspended = true;
    t->prev = NULL;
    t->next = t->s->tasks;
    if (t->next)
        t->next->prev = t;
    t->s->tasks = t;
}

void task_put(struct task *t)
{
    struct script *s = t->s;

    unlink_task(t);
    lua_settop(t->co, 0);
    if ((t->kind == TASK_RAW || t->kind == TASK_WRAP) && t->key)
        event_done(s, t->key);
    if (t->queued)
        chain_over(t);
    t->chained = false;
    t->waiting = t->cancelled = t->oneshot = t->nowait = t->parked = false;
    t->alarm = 0;
    t->key = 0;
    t->next = s->spare;
    s->spare = t;
}

/* After an error or in the middle of a wait: its to-be-closed variables run, then the coroutine is as new. */
static void recycle(struct task *t)
{
    struct script *s = t->s;
    int rc;

    state_enter(s);
#if LUA_VERSION_RELEASE_NUM >= 50406
    rc = lua_closethread(t->co, NULL);
#else
    rc = lua_resetthread(t->co);
#endif
    if (s->tripped)
        budget_arm(t->co);
    state_leave(s);
    (void)rc; /* the error that ended it, or one of a to-be-closed variable, which nobody waits for */
}

void task_describe(const struct task *t, char *text, size_t len)
{
    if (t->kind == TASK_WRITE) {
        snprintf(text, len, "write of 0x%llx to %s", (unsigned long long)t->raw, t->reg->full);
    } else if (t->kind == TASK_RAW) {
        snprintf(text, len, "write of %u bytes at 0x%llx of BAR %u", t->size, (unsigned long long)t->offset,
                 t->bar->b.index);
    } else if (t->kind == TASK_WRAP) {
        snprintf(text, len, "%s hook", wraphook_name(t->hook));
    } else if (t->kind == TASK_QUEUE) {
        chain_describe(t, text, len);
    } else {
        lua_State *L = t->s->L;
        const char *name = "?";

        lua_rawgeti(L, LUA_REGISTRYINDEX, t->s->calls_ref);
        if (lua_rawgeti(L, -1, (lua_Integer)t->key) == LUA_TTABLE) {
            if (lua_rawgeti(L, -1, 1) == LUA_TSTRING)
                name = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
        snprintf(text, len, "event %s", name);
        lua_pop(L, 2);
    }
}

/* A coroutine that the count hook has stopped keeps its hooks off for good (lua_resume does not turn them on again), so
 * its next run would have no limit: it is left to the collector, its to-be-closed variables with it. */
static void discard(struct task *t)
{
    struct script *s = t->s;

    luaL_unref(s->L, LUA_REGISTRYINDEX, t->ref);
    if (t->queued)
        chain_over(t);
    if ((t->kind == TASK_RAW || t->kind == TASK_WRAP) && t->key)
        event_done(s, t->key);
    unlink_task(t);
    s->ntasks--;
    state_alloc(s, t, sizeof *t, 0);
}

static void fail(struct task *t, const char *text, bool stopped)
{
    char what[128];

    task_describe(t, what, sizeof what);
    state_report(t->s, t->co, what, text);
    if (t->kind == TASK_EVENT && t->oneshot)
        event_done(t->s, t->key);
    if (t->kind == TASK_WRAP)
        wrapdma_over(t, -EIO);
    if (t->kind == TASK_QUEUE)
        chain_failed(t);
    if (stopped) {
        discard(t);
        return;
    }
    recycle(t);
    task_put(t);
}

int task_run(struct task *t, int nargs)
{
    struct script *s = t->s;
    struct task *outer = s->task; /* a wrapper's hook whose `next` has led here, or NULL */
    int rc, nresults;
    bool stopped;

    s->task = t;
    state_enter(s);
    rc = lua_resume(t->co, outer ? outer->co : NULL, nargs, &nresults);
    stopped = s->tripped;
    if (__builtin_expect(stopped, 0))
        budget_arm(t->co);
    state_leave(s);
    s->task = outer;
    if (__builtin_expect(rc == LUA_OK, 1))
        return 0;
    if (rc == LUA_YIELD) {
        if (t->waiting) {
            link_task(t);
            return 1;
        }
        fail(t, "coroutine.yield in a hook, outside of a coroutine of the script's own", stopped);
        return -EIO;
    }
    fail(t, NULL, stopped);
    return -EIO;
}

bool task_may_wait(lua_State *L)
{
    struct script *s = script_of(L);

    return s->task && s->task->co == L && !s->task->nowait && lua_isyieldable(L);
}

static void resume_task(struct task *t)
{
    uint32_t kind = t->kind;

    if (task_run(t, 0))
        return;
    if (kind == TASK_EVENT && t->oneshot)
        event_done(t->s, t->key);
    if (kind == TASK_WRAP)
        wrapdma_over(t, 0);
    task_put(t); /* what a hook returns after it has waited is ignored */
}

/* ---- DMA by messages ---- */

/* On the hook's own stack, under the protection of its resume: results of the call that has waited. */
static int dma_finish(lua_State *L, int status, lua_KContext context)
{
    struct task *t = (struct task *)context;

    (void)status;
    t->waiting = false;
    if (t->status) {
        free_buffer(t);
        luaL_pushfail(L);
        lua_pushstring(L, dma_message(t->status));
        return 2;
    }
    if (t->op.flags & VFU_DMA_WRITE)
        lua_pushboolean(L, 1);
    else if (t->width)
        buffer_push_integer(L, t->op.buf, t->width);
    else
        lua_pushlstring(L, t->op.buf, t->op.len);
    free_buffer(t);
    return 1;
}

static void wake_deferred(void *arg)
{
    struct script *s = arg;

    s->wake_armed = false;
    if (!s->frozen)
        task_wake_cancelled(s);
}

/* self is the one of the plugin whose table the op went through, which need not be this script's. */
static void dma_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct task *t = op->user;
    struct script *s = t->s;

    (void)self;
    t->inflight = false;
    t->status = status;
    if (t->chained)
        chain_release(s);
    if (!t->suspended) { /* closed in the meantime */
        free_buffer(t);
        task_put(t);
        return;
    }
    if (status != -ECANCELED) {
        resume_task(t);
        return;
    }
    /* A reset closes it, a lost client wakes it, a stop asks again later: what comes next tells which it is. If
     * nothing does, the deferred call wakes it. */
    t->cancelled = true;
    if (!s->wake_armed && !s->host->defer(s->host, wake_deferred, s))
        s->wake_armed = true;
}

void task_waited(struct task *t)
{
    t->waiting = t->chained = false;
    free_buffer(t);
}

int task_wait_dma(lua_State *L, const struct vfu_host *host, uint64_t addr, const void *data, uint64_t len, uint32_t flags,
                  uint32_t width)
{
    return task_wait_for(L, host, addr, data, len, flags, width, dma_finish);
}

int task_wait_for(lua_State *L, const struct vfu_host *host, uint64_t addr, const void *data, uint64_t len, uint32_t flags,
                  uint32_t width, lua_KFunction more)
{
    struct script *s = script_of(L);
    struct task *t = s->task;
    int32_t err = 0;

    t->op.buf = state_alloc(s, NULL, 0, len);
    if (!t->op.buf) { /* what Lua does by itself for its own memory */
        lua_gc(L, LUA_GCCOLLECT);
        t->op.buf = state_alloc(s, NULL, 0, len);
    }
    if (!t->op.buf)
        return luaL_error(L, "not enough memory");
    if (data)
        memcpy(t->op.buf, data, len);
    t->op.struct_size = sizeof t->op;
    t->op.flags = flags;
    t->op.addr = addr;
    t->op.len = len;
    t->op.done = dma_done;
    t->op.user = t;
    t->width = width;
    t->via = host;
    t->parked = host != s->host && wrapdma_parks(t);
    if (!t->parked)
        err = host->dma_submit(host, &t->op);
    if (err) {
        t->chained = false;
        free_buffer(t);
        luaL_pushfail(L);
        lua_pushstring(L, dma_message(err));
        return 2;
    }
    if (t->chained)
        chain_hold(s);
    t->inflight = !t->parked;
    t->waiting = true;
    t->cancelled = false;
    return lua_yieldk(L, 0, (lua_KContext)t, more);
}

int32_t task_unpark(struct task *t)
{
    t->parked = false;
    t->status = t->via->dma_submit(t->via, &t->op);
    t->inflight = !t->status;
    if (t->status)
        resume_task(t);
    return t->status;
}

void task_wake_cancelled(struct script *s)
{
    /* A woken hook may start new waits, so look again from the start; each turn ends one wait. */
    for (struct task *t = s->tasks; t;) {
        if (!t->cancelled) {
            t = t->next;
            continue;
        }
        t->cancelled = false;
        t->status = -ENOTCONN;
        resume_task(t);
        t = s->tasks;
    }
}

/* After a stop: what it has cancelled is asked for once more. */
void task_resubmit(struct script *s)
{
    for (struct task *t = s->tasks; t; t = t->next) {
        if (!t->cancelled || t->via->dma_submit(t->via, &t->op))
            continue;
        if (t->chained)
            chain_hold(s);
        t->cancelled = false;
        t->inflight = true;
    }
    task_wake_cancelled(s);
}

/* A timer is cancelled. What a hook is called with stays for as long as it may have to be saved. */
bool task_last(struct script *s, uint64_t key)
{
    bool any = false;

    if (s->task && s->task->kind == TASK_EVENT && s->task->key == key)
        any = s->task->oneshot = true;
    for (struct task *t = s->tasks; t; t = t->next)
        if (t->kind == TASK_EVENT && t->key == key)
            any = t->oneshot = true;
    return any;
}

/* ---- sleep ---- */

static int sleep_finish(lua_State *L, int status, lua_KContext context)
{
    struct task *t = (struct task *)context;

    (void)L, (void)status;
    t->waiting = false;
    t->alarm = 0;
    return 0;
}

int task_sleep(lua_State *L)
{
    struct script *s = script_of(L);
    lua_Number seconds = luaL_checknumber(L, 1);
    struct task *t;
    int64_t id;

    if (!(seconds >= 0))
        return luaL_error(L, "vfu.sleep: %f s is not from 0 up", seconds);
    if (!task_may_wait(L)) {
        luaL_pushfail(L);
        lua_pushliteral(L, "would wait");
        return 2;
    }
    t = s->task;
    id = s->host->timer_after(s->host, seconds < 9e9 ? (uint64_t)(seconds * 1e9) : UINT64_C(9000000000000000000), 0,
                              EVENT_SLEEP, s->next_key);
    if (id < 0) {
        luaL_pushfail(L);
        lua_pushliteral(L, "too many timers");
        return 2;
    }
    t->alarm = s->next_key++;
    t->waiting = true;
    return lua_yieldk(L, 0, (lua_KContext)t, sleep_finish);
}

void task_wake_sleeper(struct script *s, uint64_t key)
{
    for (struct task *t = s->tasks; t; t = t->next)
        if (t->alarm == key) {
            resume_task(t);
            return;
        }
    /* One that was saved asleep starts from its first line instead; its old alarm means nothing. */
}

/* ---- the end ---- */

void task_close(struct task *t)
{
    if (t->kind == TASK_WRAP)
        wrapdma_over(t, -ECANCELED);
    recycle(t);
    unlink_task(t);
    if (t->inflight) {
        lua_settop(t->co, 0);
        t->waiting = false;
        return; /* dma_done puts it back */
    }
    free_buffer(t);
    task_put(t);
}

void task_close_all(struct script *s)
{
    while (s->tasks)
        task_close(s->tasks);
}

/* After lua_close: their coroutines are gone. */
void task_free(struct script *s)
{
    while (s->spare) {
        struct task *t = s->spare;

        s->spare = t->next;
        state_alloc(s, t, sizeof *t, 0);
    }
}
