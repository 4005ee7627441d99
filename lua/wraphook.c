/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wraphook - the hooks of inner:wrap, and `next`, the original of each. Those of DMA are in wrapdma.c.
 *
 * Every hook runs on a coroutine: it may be inside of another one, whose `next` has led to it. Hooks of writes, DMA and
 * interrupts may wait. Runs on the device's thread.
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

struct wrapper *wraphook_wrapper(const struct vfu_host *table)
{
    return (struct wrapper *)VFU_WRAP_OF(table);
}

/* Where calls of the inner plugin go on. */
const struct vfu_host *wraphook_host(const struct wrapper *w)
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

struct task *wraphook_new(struct script *s, uint32_t hook)
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
int wraphook_start(struct task *t)
{
    lua_pushcfunction(t->co, call_hook);
    lua_pushlightuserdata(t->co, t);
    return task_run(t, 1);
}

void wraphook_report(const struct task *t, const char *format, const char *type, size_t n, uint32_t size)
{
    char text[128], what[64];

    snprintf(what, sizeof what, "%s hook", names[t->hook]);
    snprintf(text, sizeof text, format, type, n, size);
    state_report_result(t->s, what, t->s->wrap->hooks[t->hook], text);
}

/* nil, "EIO" or a message of dev.dma's at i: its negative number. */
int32_t wraphook_error(lua_State *co, int i)
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
bool wraphook_failed(const struct task *t, int32_t *status)
{
    lua_State *co = t->co;

    *status = t->status;
    if (lua_gettop(co) < 2)
        return lua_gettop(co) == 0 ? t->status != 0 : false;
    if (lua_toboolean(co, 1) || lua_isnil(co, 2))
        return false;
    *status = wraphook_error(co, 2);
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

    if (lua_gettop(co) >= 2 && wraphook_failed(t, &status))
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
        wraphook_report(t, "it returned %s of %zu bytes, not of %u", "a string", n, a->size);
        return bus_error(a);
    }
    wraphook_report(t, a->size > 8 ? "it returned %s, not a string" : "it returned %s, not an integer", util_kind(co, 1, room), 0, 0);
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
    t = wraphook_new(s, hook);
    if (!t)
        return bus_error(a);
    t->index = a->region;
    t->offset = a->offset;
    t->size = a->size;
    t->value = a->value;
    t->data = a->data;
    rc = wraphook_start(t);
    if (rc)
        return rc < 0 ? bus_error(a) : 0; /* a write that waits is answered */
    if (hook == WRAP_READ)
        status = take_read(t, a);
    else if (!wraphook_failed(t, &status))
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

void wraphook_note(lua_State *L, int32_t status)
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
    wraphook_note(L, status);
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
    wraphook_note(L, status);
    if (status)
        return push_error(L, status);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- interrupts ---- */

static int32_t hook_irq_raise(const struct vfu_host *table, uint32_t vector)
{
    struct wrapper *w = wraphook_wrapper(table);
    struct task *t = wraphook_new(w->s, WRAP_RAISE);
    int32_t status = 0;

    if (!t)
        return 0;
    t->index = vector;
    if (wraphook_start(t) == 0) {
        status = t->status; /* of `next`; 0: the inner plugin sees no difference to one that was sent */
        task_put(t);
    }
    return status;
}

/* Of the level register: bits that have risen are one interrupt of vector 0. What the hook has not passed on stays low for the host. */
static int32_t hook_irq_level(const struct vfu_host *table, uint64_t bits)
{
    struct wrapper *w = wraphook_wrapper(table);
    uint64_t risen = bits & ~w->level;
    struct task *t;

    w->level = bits;
    w->passed &= bits;
    if (w->s->frozen) /* a state is loaded: they have risen elsewhere */
        w->passed = bits;
    t = w->s->frozen || !risen ? NULL : wraphook_new(w->s, WRAP_RAISE);
    if (t) {
        t->offset = 1;
        t->value = risen;
        if (wraphook_start(t) == 0)
            task_put(t);
    }
    return wraphook_host(w)->irq_level(wraphook_host(w), w->passed); /* also that bits have fallen */
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
        status = wraphook_host(w)->irq_level(wraphook_host(w), w->passed);
    } else {
        status = wraphook_host(w)->irq_raise(wraphook_host(w), vector < 0 || vector > 2047 ? 2048 : (uint32_t)vector);
    }
    wraphook_note(L, status);
    return irq_push_result(L, status);
}

/* ---- opening, restarting ---- */

void wraphook_open(lua_State *L, struct wrapper *w)
{
    static const lua_CFunction nexts[WRAP_HOOKS] = {
        [WRAP_READ] = next_read,                 [WRAP_WRITE] = next_write, [WRAP_DMA_READ] = wrapdma_next_read,
        [WRAP_DMA_WRITE] = wrapdma_next_write,   [WRAP_RAISE] = next_raise,
    };
    struct vfu_host *table = &w->wrap.table;

    for (int i = 0; i < WRAP_HOOKS; i++) {
        lua_pushcfunction(L, nexts[i]);
        w->next[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    wrapdma_open(w);
    if (wraphook_has(w->s, WRAP_RAISE)) {
        table->irq_raise = hook_irq_raise;
        table->irq_level = hook_irq_level;
    }
}

/* One that was waiting when it was saved, from its first line. */
void wraphook_restart(struct script *s, const struct task *saved)
{
    struct task *t = wraphook_new(s, saved->hook);

    if (!t)
        return;
    t->index = saved->index;
    t->offset = saved->offset;
    t->size = saved->size;
    t->value = saved->value;
    t->key = saved->key;
    if (!wraphook_start(t))
        task_put(t);
}
