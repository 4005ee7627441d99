/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wraphook - the hooks of inner:wrap, and `next`, the original of each.
 *
 * Every hook runs on a coroutine: it may be inside of another one, whose `next` has led to it. Hooks of writes, DMA and
 * interrupts may wait; who has asked for DMA by dma_read or dma_write is then told to submit it, as where memory is reached
 * by messages, and what it submits is the hook's that waits already. Runs on the device's thread.
 */
#include "lua/wrap_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const names[WRAP_HOOKS] = {
    [WRAP_READ] = "read",           [WRAP_WRITE] = "write", [WRAP_DMA_READ] = "dma_read",
    [WRAP_DMA_WRITE] = "dma_write", [WRAP_RAISE] = "raise",
};

const char *wraphook_name(uint32_t hook)
{
    return hook < WRAP_HOOKS ? names[hook] : "?";
}

bool wraphook_has(const struct script *s, uint32_t hook)
{
    return s->wrap && hook < WRAP_HOOKS && s->wrap->hooks[hook] != LUA_NOREF;
}

bool wraphook_saved(const struct task *t)
{
    return t->hook == WRAP_WRITE || t->hook == WRAP_RAISE; /* DMA the inner plugin submits anew */
}

static struct wrapper *wrapper_of(const struct vfu_host *table)
{
    return (struct wrapper *)VFU_WRAP_OF(table);
}

/* Where calls of the inner plugin go on. */
static const struct vfu_host *inner_host(const struct wrapper *w)
{
    return w->wrap.inner->host;
}

/* ---- running ---- */

static int push_arguments(lua_State *L, struct task *t)
{
    switch (t->hook) {
    case WRAP_READ:
    case WRAP_WRITE:
        lua_pushinteger(L, t->index);
        lua_pushinteger(L, (lua_Integer)t->offset);
        lua_pushinteger(L, t->size);
        if (t->hook == WRAP_READ)
            return 3;
        if (t->size <= 8) {
            lua_pushinteger(L, (lua_Integer)t->value);
            return 4;
        }
        /* In `calls`, where saving finds it. */
        lua_rawgeti(L, LUA_REGISTRYINDEX, t->s->calls_ref);
        if (t->data) {
            lua_pushlstring(L, (const char *)t->data, t->size);
            lua_pushvalue(L, -1);
            lua_rawseti(L, -3, (lua_Integer)t->s->next_key);
            t->key = t->s->next_key++;
        } else {
            lua_rawgeti(L, -1, (lua_Integer)t->key);
        }
        lua_remove(L, -2);
        return 4;
    case WRAP_DMA_READ:
        lua_pushinteger(L, (lua_Integer)t->value);
        lua_pushinteger(L, t->size);
        return 2;
    case WRAP_DMA_WRITE:
        lua_pushinteger(L, (lua_Integer)t->value);
        lua_pushlstring(L, (const char *)t->data, t->size);
        return 2;
    default:
        lua_pushinteger(L, t->index);
        return 1;
    }
}

static int call_ended(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return lua_gettop(L) - 1;
}

/* The first function of the coroutine, under whose protection the arguments are made. */
static int call_hook(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    struct wrapper *w = t->s->wrap;
    int n;

    lua_rawgeti(L, LUA_REGISTRYINDEX, w->hooks[t->hook]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->s->dev_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, w->next[t->hook]);
    n = push_arguments(L, t);
    t->data = NULL;
    lua_callk(L, n + 2, LUA_MULTRET, 0, call_ended);
    return call_ended(L, LUA_OK, 0);
}

static struct task *new_hook(struct script *s, uint32_t hook)
{
    struct task *t = task_get(s, names[hook]);

    if (!t)
        return NULL;
    t->kind = TASK_WRAP;
    t->hook = hook;
    t->index = t->size = 0;
    t->offset = t->value = t->key = 0;
    t->data = NULL;
    t->of = NULL;
    t->status = 0;
    t->nowait = hook == WRAP_READ;
    return t;
}

/* As task_run. */
static int start_hook(struct task *t)
{
    lua_pushcfunction(t->co, call_hook);
    lua_pushlightuserdata(t->co, t);
    return task_run(t, 1);
}

static void report(struct task *t, const char *format, const char *type, size_t n, uint32_t size)
{
    char text[128], what[64];

    snprintf(what, sizeof what, "%s hook", names[t->hook]);
    snprintf(text, sizeof text, format, type, n, size);
    state_report_result(t->s, what, t->s->wrap->hooks[t->hook], text);
}

/* nil, "EIO" or a message of dev.dma's at i: its negative number. */
static int32_t error_at(lua_State *co, int i)
{
    static const int32_t known[] = { -EFAULT, -ENOTCONN, -EWOULDBLOCK, -ETIMEDOUT, -EIO, -ENOBUFS, -EBUSY, -ENOTSUP,
                                     -EINVAL };
    const char *text = lua_type(co, i) == LUA_TSTRING ? lua_tostring(co, i) : "";
    int number = util_errno(text);

    for (size_t k = 0; k < sizeof known / sizeof known[0] && !number; k++)
        if (!strcmp(text, dma_message(known[k])))
            number = -known[k];
    return number ? -number : -EIO;
}

/* nil or false and a message is a failure; nothing at all is what the last `next` has given. */
static bool failed(const struct task *t, int32_t *status)
{
    lua_State *co = t->co;

    *status = t->status;
    if (lua_gettop(co) < 2)
        return lua_gettop(co) == 0 ? t->status != 0 : false;
    if (lua_toboolean(co, 1) || lua_isnil(co, 2))
        return false;
    *status = error_at(co, 2);
    return true;
}

/* ---- software's accesses ---- */

static int32_t bus_error(struct vfu_access *a)
{
    if (!(a->flags & VFU_ACCESS_WRITE) && a->size > 8)
        memset(a->data, 0xff, a->size);
    a->value = UINT64_MAX;
    return 0;
}

static int32_t take_read(struct task *t, struct vfu_access *a)
{
    lua_State *co = t->co;
    char room[32];
    lua_Integer value;
    int32_t status;
    size_t n = 0;

    if (lua_gettop(co) >= 2 && failed(t, &status))
        return status;
    if (a->size <= 8 && lua_gettop(co) && util_integer(co, 1, &value)) {
        a->value = (uint64_t)value;
        return 0;
    }
    if (a->size > 8 && lua_type(co, 1) == LUA_TSTRING) {
        const char *data = lua_tolstring(co, 1, &n);

        if (n == a->size) {
            memcpy(a->data, data, n);
            return 0;
        }
        report(t, "it returned %s of %zu bytes, not of %u", "a string", n, a->size);
        return bus_error(a);
    }
    report(t, a->size > 8 ? "it returned %s, not a string" : "it returned %s, not an integer", util_kind(co, 1, room), 0, 0);
    return bus_error(a);
}

int32_t wraphook_intercept(void *self, struct vfu_access *a)
{
    struct script *s = self;
    uint32_t hook = a->flags & VFU_ACCESS_WRITE ? WRAP_WRITE : WRAP_READ;
    int32_t status = 0;
    struct task *t;
    int rc;

    if (!wraphook_has(s, hook))
        return s->wrap ? vfu_wrap_intercept(&s->wrap->wrap, a) : -EIO;
    t = new_hook(s, hook);
    if (!t)
        return bus_error(a);
    t->index = a->region;
    t->offset = a->offset;
    t->size = a->size;
    t->value = a->value;
    t->data = a->data;
    rc = start_hook(t);
    if (rc)
        return rc < 0 ? bus_error(a) : 0; /* a write that waits is answered */
    if (hook == WRAP_READ)
        status = take_read(t, a);
    else if (!failed(t, &status))
        status = 0;
    task_put(t);
    return status;
}

/* The access that arguments 1 to 3 of `next` name. */
static struct vfu_access check_access(lua_State *L, uint32_t flags)
{
    lua_Integer bar = util_check_integer(L, 1, "next: the BAR"), offset = util_check_integer(L, 2, "next: the offset"),
                size = util_check_integer(L, 3, "next: the size");

    if (bar < 0 || bar > 5)
        luaL_error(L, "next: a BAR is from 0 to 5, not %I", bar);
    if (size < 1 || (uint64_t)size > SCRIPT_TRANSFER)
        luaL_error(L, "next: a size is from 1 to %I, not %I", (lua_Integer)SCRIPT_TRANSFER, size);
    if (!script_of(L)->sealed)
        luaL_error(L, "next: the device does not run yet");
    return (struct vfu_access){ .struct_size = sizeof(struct vfu_access), .region = (uint32_t)bar,
                                .offset = (uint64_t)offset, .size = (uint32_t)size, .flags = flags };
}

static int push_error(lua_State *L, int32_t status)
{
    luaL_pushfail(L);
    lua_pushstring(L, util_errno_name(-status));
    return 2;
}

static void note_status(lua_State *L, int32_t status)
{
    struct task *t = script_of(L)->task;

    if (t && t->kind == TASK_WRAP)
        t->status = status;
}

static int next_read(lua_State *L)
{
    struct vfu_access a = check_access(L, 0);
    struct wrapper *w = script_of(L)->wrap;
    luaL_Buffer b;
    int32_t status;

    if (a.size > 8) {
        a.data = (uint8_t *)luaL_buffinitsize(L, &b, a.size);
        memset(a.data, 0, a.size);
    }
    status = vfu_wrap_intercept(&w->wrap, &a);
    if (a.size > 8)
        luaL_pushresultsize(&b, a.size);
    else
        lua_pushinteger(L, (lua_Integer)(a.value & UINT64_MAX >> (64 - 8 * a.size)));
    note_status(L, status);
    return status ? push_error(L, status) : 1;
}

static int next_write(lua_State *L)
{
    struct vfu_access a = check_access(L, VFU_ACCESS_WRITE);
    struct wrapper *w = script_of(L)->wrap;
    int32_t status;
    size_t n = 0;

    if (a.size > 8) {
        const char *data = lua_type(L, 4) == LUA_TSTRING ? lua_tolstring(L, 4, &n) : NULL;

        if (n != a.size)
            return luaL_error(L, "next: %d bytes are written by a string of as many, not %s", (int)a.size,
                              data ? "another" : luaL_typename(L, 4));
        a.data = (uint8_t *)(uintptr_t)data;
    } else {
        a.value = (uint64_t)util_check_integer(L, 4, "next: the value") & UINT64_MAX >> (64 - 8 * a.size);
    }
    status = vfu_wrap_intercept(&w->wrap, &a);
    note_status(L, status);
    if (status)
        return push_error(L, status);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- DMA ---- */

static bool is_dma(const struct task *t)
{
    return t->kind == TASK_WRAP && (t->hook == WRAP_DMA_READ || t->hook == WRAP_DMA_WRITE);
}

bool wraphook_parks(const struct task *t)
{
    return is_dma(t) && !t->of;
}

static int32_t take_dma(struct task *t, void *buf)
{
    lua_State *co = t->co;
    char room[32];
    int32_t status;
    size_t n = 0;

    if (failed(t, &status))
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
        report(t, "it returned %s of %zu bytes, not of %u", "a string", n, t->size);
        return -EIO;
    }
    report(t, "it returned %s, not a string or nil, message", util_kind(co, 1, room), 0, 0);
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

void wraphook_over(struct task *t, int32_t status)
{
    struct vfu_dma_op *of = t->of;

    if (!of)
        return;
    t->of = NULL;
    append_ended(t->s->wrap, of, status ? status : take_dma(t, of->buf));
}

void wraphook_cancel(struct script *s)
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
    t = new_hook(s, hook);
    if (!t)
        return -ENOBUFS;
    t->value = addr;
    t->size = (uint32_t)len;
    t->data = buf;
    rc = start_hook(t);
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
    return dma_now(wrapper_of(table), WRAP_DMA_READ, addr, buf, len);
}

static int32_t hook_dma_write(const struct vfu_host *table, uint64_t addr, const void *buf, uint64_t len)
{
    return dma_now(wrapper_of(table), WRAP_DMA_WRITE, addr, (void *)(uintptr_t)buf, len);
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
    struct wrapper *w = wrapper_of(table);
    struct script *s = w->s;
    uint32_t hook = op && op->flags & VFU_DMA_WRITE ? WRAP_DMA_WRITE : WRAP_DMA_READ;
    struct task *t;

    /* What is wrong with it, the host says. */
    if (!op || op->struct_size < sizeof *op || !op->done || (op->len && !op->buf) || !wraphook_has(s, hook))
        return inner_host(w)->dma_submit(inner_host(w), op);
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
    t = new_hook(s, hook);
    if (!t)
        return -ENOBUFS;
    t->value = op->addr;
    t->size = (uint32_t)op->len;
    t->data = op->buf;
    t->of = op;
    if (start_hook(t) == 0) { /* else it waits, or wraphook_over has been called */
        wraphook_over(t, 0);
        task_put(t);
    }
    return 0;
}

static int next_dma_read(lua_State *L)
{
    lua_Integer addr = util_check_integer(L, 1, "next: the address"), n = util_check_integer(L, 2, "next: the length");

    return dma_read_through(L, inner_host(script_of(L)->wrap), addr, n);
}

static int next_dma_write(lua_State *L)
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
    results = dma_write_through(L, inner_host(script_of(L)->wrap), addr, data, n);
    note_status(L, results == 2 ? error_at(L, -1) : 0);
    return results;
}

/* ---- interrupts ---- */

static int32_t hook_irq_raise(const struct vfu_host *table, uint32_t vector)
{
    struct wrapper *w = wrapper_of(table);
    struct task *t = new_hook(w->s, WRAP_RAISE);
    int32_t status = 0;

    if (!t)
        return 0;
    t->index = vector;
    if (start_hook(t) == 0) {
        status = t->status; /* of `next`; 0: the inner plugin sees no difference to one that was sent */
        task_put(t);
    }
    return status;
}

/* Of the level register: bits that have risen are one interrupt of vector 0. What the hook has not passed on stays low for the host. */
static int32_t hook_irq_level(const struct vfu_host *table, uint64_t bits)
{
    struct wrapper *w = wrapper_of(table);
    uint64_t risen = bits & ~w->level;
    struct task *t;

    w->level = bits;
    w->passed &= bits;
    if (w->s->frozen) /* a state is loaded: they have risen elsewhere */
        w->passed = bits;
    if (w->s->frozen || !risen)
        return inner_host(w)->irq_level(inner_host(w), w->passed);
    t = new_hook(w->s, WRAP_RAISE);
    if (!t)
        return 0;
    t->offset = 1;
    t->value = risen;
    if (start_hook(t) == 0)
        task_put(t);
    return 0;
}

static int next_raise(lua_State *L)
{
    struct script *s = script_of(L);
    struct wrapper *w = s->wrap;
    struct task *t = s->task;
    lua_Integer vector = util_check_integer(L, 1, "next: the vector");
    int32_t status;

    if (!s->sealed)
        return luaL_error(L, "next: the device does not run yet");
    if (t && t->kind == TASK_WRAP && t->hook == WRAP_RAISE && t->offset && vector == 0) {
        w->passed |= t->value & w->level; /* what has fallen in the meantime is over */
        status = inner_host(w)->irq_level(inner_host(w), w->passed);
    } else {
        status = inner_host(w)->irq_raise(inner_host(w), vector < 0 || vector > 2047 ? 2048 : (uint32_t)vector);
    }
    note_status(L, status);
    return irq_push_result(L, status);
}

/* ---- opening, restarting ---- */

void wraphook_open(lua_State *L, struct wrapper *w)
{
    static const lua_CFunction nexts[WRAP_HOOKS] = {
        [WRAP_READ] = next_read,           [WRAP_WRITE] = next_write, [WRAP_DMA_READ] = next_dma_read,
        [WRAP_DMA_WRITE] = next_dma_write, [WRAP_RAISE] = next_raise,
    };
    struct vfu_host *table = &w->wrap.table;

    for (int i = 0; i < WRAP_HOOKS; i++) {
        lua_pushcfunction(L, nexts[i]);
        w->next[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    if (wraphook_has(w->s, WRAP_DMA_READ))
        table->dma_read = hook_dma_read;
    if (wraphook_has(w->s, WRAP_DMA_WRITE))
        table->dma_write = hook_dma_write;
    if (wraphook_has(w->s, WRAP_DMA_READ) || wraphook_has(w->s, WRAP_DMA_WRITE))
        table->dma_submit = hook_dma_submit;
    if (wraphook_has(w->s, WRAP_RAISE)) {
        table->irq_raise = hook_irq_raise;
        table->irq_level = hook_irq_level;
    }
}

/* One that was waiting when it was saved, from its first line. */
void wraphook_restart(struct script *s, const struct task *saved)
{
    struct task *t = new_hook(s, saved->hook);

    if (!t)
        return;
    t->index = saved->index;
    t->offset = saved->offset;
    t->size = saved->size;
    t->value = saved->value;
    t->key = saved->key;
    if (!start_hook(t))
        task_put(t);
}
