/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wrapdma - the hooks dma_read and dma_write of inner:wrap, and their `next`.
 *
 * A hook may wait; who has asked for DMA by dma_read or dma_write is then told to submit it, as where memory is reached by
 * messages, and what it submits is the hook's that waits already. Runs on the device's thread.
 */
#include "lua/wrap_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the inner plugin's operations ---- */

static bool is_dma(const struct task *t)
{
    return t->kind == TASK_WRAP && (t->hook == WRAP_DMA_READ || t->hook == WRAP_DMA_WRITE);
}

bool wrapdma_parks(const struct task *t)
{
    return is_dma(t) && !t->of;
}

static int32_t take_dma(struct task *t, void *buf)
{
    lua_State *co = t->co;
    char room[32];
    int32_t status;
    size_t n = 0;

    if (wraphook_failed(t, &status))
        return status;
    if (t->hook == WRAP_DMA_WRITE)
        return 0;
    if (lua_gettop(co) && lua_type(co, 1) == LUA_TSTRING) {
        const char *data = lua_tolstring(co, 1, &n);

        if (n == t->size) {
            if (n)
                memcpy(buf, data, n);
            return 0;
        }
        wraphook_report(t, "it returned %s of %zu bytes, not of %u", "a string", n, t->size);
        return -EIO;
    }
    wraphook_report(t, "it returned %s, not a string or nil, message", util_kind(co, 1, room), 0, 0);
    return -EIO;
}

static struct vfu_dma_op *next_ended(const struct vfu_dma_op *op)
{
    return (struct vfu_dma_op *)(uintptr_t)op->reserved[0];
}

/* The op is ours between the inner plugin's dma_submit and its `done`, the host's words in it too. */
static void tell_ended(void *arg)
{
    struct wrapper *w = arg;

    w->ended_armed = false;
    while (w->ended) {
        struct vfu_dma_op *op = w->ended;

        w->ended = next_ended(op);
        op->done(w->wrap.inner->self, op, (int32_t)(int64_t)op->reserved[1]);
    }
}

static void append_ended(struct wrapper *w, struct vfu_dma_op *op, int32_t status)
{
    struct vfu_dma_op *last = w->ended;

    op->reserved[0] = 0;
    op->reserved[1] = (uint64_t)(int64_t)(status == -ENOTCONN ? -ECANCELED : status);
    while (last && last->reserved[0])
        last = next_ended(last);
    if (last)
        last->reserved[0] = (uintptr_t)op;
    else
        w->ended = op;
    if (!w->ended_armed && !w->s->host->defer(w->s->host, tell_ended, w))
        w->ended_armed = true;
}

void wrapdma_over(struct task *t, int32_t status)
{
    struct vfu_dma_op *of = t->of;

    if (!of)
        return;
    t->of = NULL;
    append_ended(t->s->wrap, of, status ? status : take_dma(t, of->buf));
}

void wrapdma_cancel(struct script *s)
{
    struct wrapper *w = s->wrap;
    struct task *t = s->tasks;

    while (t) {
        if (is_dma(t)) {
            task_close(t);
            t = s->tasks; /* what it closes may have started others */
        } else {
            t = t->next;
        }
    }
    for (struct vfu_dma_op *op = w->ended; op; op = next_ended(op))
        op->reserved[1] = (uint64_t)(int64_t)-ECANCELED;
    tell_ended(w);
}

/* Hooks that wait for an inner plugin that did not submit, when it has had its time for that. */
static void drop_orphans(void *arg)
{
    struct wrapper *w = arg;
    struct task *t = w->s->tasks;

    w->orphans_armed = false;
    while (t) {
        if (is_dma(t) && !t->of) {
            task_close(t);
            t = w->s->tasks;
        } else {
            t = t->next;
        }
    }
}

static int32_t too_long(struct script *s, uint64_t len)
{
    char text[96];

    snprintf(text, sizeof text, "DMA of %llu bytes at once; hooks take up to %llu", (unsigned long long)len,
             (unsigned long long)SCRIPT_TRANSFER);
    state_report_text(s, "", text);
    return -EINVAL;
}

/* dma_read and dma_write of the inner plugin. */
static int32_t dma_now(struct wrapper *w, uint32_t hook, uint64_t addr, void *buf, uint64_t len)
{
    struct script *s = w->s;
    int32_t status;
    struct task *t;
    int rc;

    if (len > SCRIPT_TRANSFER)
        return too_long(s, len);
    t = wraphook_new(s, hook);
    if (!t)
        return -ENOBUFS;
    t->value = addr;
    t->size = (uint32_t)len;
    t->data = buf;
    rc = wraphook_start(t);
    if (rc < 0)
        return -EIO;
    if (rc) {
        if (!w->orphans_armed && !s->host->defer(s->host, drop_orphans, w))
            w->orphans_armed = true;
        return -EWOULDBLOCK;
    }
    status = take_dma(t, buf);
    task_put(t);
    return status;
}

static int32_t hook_dma_read(const struct vfu_host *table, uint64_t addr, void *buf, uint64_t len)
{
    return dma_now(wraphook_wrapper(table), WRAP_DMA_READ, addr, buf, len);
}

static int32_t hook_dma_write(const struct vfu_host *table, uint64_t addr, const void *buf, uint64_t len)
{
    return dma_now(wraphook_wrapper(table), WRAP_DMA_WRITE, addr, (void *)(uintptr_t)buf, len);
}

/* The one that waits since the inner plugin has been told to submit. The list has the newest first. */
static struct task *find_orphan(struct script *s, uint32_t hook, const struct vfu_dma_op *op)
{
    struct task *found = NULL;

    for (struct task *t = s->tasks; t; t = t->next)
        if (is_dma(t) && !t->of && t->hook == hook && t->value == op->addr && t->size == op->len)
            found = t;
    return found;
}

static bool in_flight(const struct script *s, const struct vfu_dma_op *op)
{
    for (const struct task *t = s->tasks; t; t = t->next)
        if (is_dma(t) && t->of == op)
            return true;
    for (const struct vfu_dma_op *o = s->wrap->ended; o; o = next_ended(o))
        if (o == op)
            return true;
    return false;
}

static int32_t hook_dma_submit(const struct vfu_host *table, struct vfu_dma_op *op)
{
    struct wrapper *w = wraphook_wrapper(table);
    struct script *s = w->s;
    uint32_t hook = op && op->flags & VFU_DMA_WRITE ? WRAP_DMA_WRITE : WRAP_DMA_READ;
    struct task *t;

    /* What is wrong with it, the host says. */
    if (!op || op->struct_size < sizeof *op || !op->done || (op->len && !op->buf) || !wraphook_has(s, hook))
        return wraphook_host(w)->dma_submit(wraphook_host(w), op);
    if (op->len > SCRIPT_TRANSFER)
        return too_long(s, op->len);
    if (in_flight(s, op))
        return -EALREADY;
    t = find_orphan(s, hook, op);
    if (t) {
        t->of = op;
        if (t->parked)
            task_unpark(t);
        return 0;
    }
    t = wraphook_new(s, hook);
    if (!t)
        return -ENOBUFS;
    t->value = op->addr;
    t->size = (uint32_t)op->len;
    t->data = op->buf;
    t->of = op;
    if (wraphook_start(t) == 0) { /* else it waits, or wrapdma_over has been called */
        wrapdma_over(t, 0);
        task_put(t);
    }
    return 0;
}

/* ---- next ---- */

int wrapdma_next_read(lua_State *L)
{
    lua_Integer addr = util_check_integer(L, 1, "next: the address"), n = util_check_integer(L, 2, "next: the length");

    return dma_read_through(L, wraphook_host(script_of(L)->wrap), addr, n);
}

int wrapdma_next_write(lua_State *L)
{
    lua_Integer addr;
    const char *data;
    int results;
    size_t n;

    if (lua_isnil(L, 2) && lua_gettop(L) >= 3) { /* nil, message: as dev.dma:write has it */
        lua_settop(L, 3);
        return 2;
    }
    addr = util_check_integer(L, 1, "next: the address");
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "next: the data are a string, not %s", luaL_typename(L, 2));
    data = lua_tolstring(L, 2, &n);
    results = dma_write_through(L, wraphook_host(script_of(L)->wrap), addr, data, n);
    wraphook_note(L, results == 2 ? wraphook_error(L, -1) : 0);
    return results;
}

/* ---- opening ---- */

void wrapdma_open(struct wrapper *w)
{
    struct vfu_host *table = &w->wrap.table;
    bool reads = wraphook_has(w->s, WRAP_DMA_READ), writes = wraphook_has(w->s, WRAP_DMA_WRITE);

    if (reads)
        table->dma_read = hook_dma_read;
    if (writes)
        table->dma_write = hook_dma_write;
    if (reads || writes)
        table->dma_submit = hook_dma_submit;
}
