/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * access - what software does: calls the hooks of registers, bar.read and bar.write, and lock functions.
 *
 * Write hooks run on a coroutine, since they may wait; read hooks and lock functions run on the main stack and never
 * wait. Callbacks come from the host on the device's thread, one at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <vfu/wrap.h>

#include "lua/binding.h"

/* ---- registers ---- */

static void describe_call(char *text, size_t len, const char *verb, const struct reg_decl *reg,
                          const struct vfu_reg_call *call)
{
    char where[48] = "";

    if (call->group_index != VFU_NONE && call->index != VFU_NONE)
        snprintf(where, sizeof where, " [%u][%u]", call->group_index, call->index);
    else if (call->group_index != VFU_NONE || call->index != VFU_NONE)
        snprintf(where, sizeof where, " [%u]", call->group_index != VFU_NONE ? call->group_index : call->index);
    if (*verb == 'r')
        snprintf(text, len, "%s of %s%s", verb, reg->full, where);
    else
        snprintf(text, len, "%s of 0x%llx to %s%s", verb, (unsigned long long)call->raw, reg->full, where);
}

static inline void push_index(lua_State *L, uint32_t index)
{
    if (index == VFU_NONE)
        lua_pushnil(L);
    else
        lua_pushinteger(L, index);
}

/* Group hooks get (i, j), others (i): how many were pushed. */
static inline int push_indexes(lua_State *L, const struct vfu_reg_call *call)
{
    if (call->group_index != VFU_NONE) {
        lua_pushinteger(L, call->group_index);
        push_index(L, call->index);
        return 2;
    }
    push_index(L, call->index);
    return 1;
}

static const struct reg_decl *reg_of(struct script *s, uint32_t hook)
{
    return hook < s->reglist.n ? s->reglist.items[hook] : NULL;
}

/* As util_integer, sooner for what nearly always comes. */
static inline bool take_integer(lua_State *L, int i, lua_Integer *value)
{
    if (!lua_isinteger(L, i))
        return util_integer(L, i, value);
    *value = lua_tointeger(L, i);
    return true;
}

int32_t access_read(void *self, struct vfu_reg_call *call)
{
    struct script *s = self;
    lua_State *L = s->L;
    const struct reg_decl *reg = reg_of(s, call->hook);
    lua_Integer value;
    char what[128];
    int rc, n;

    if (s->virtio && virtio_owns(s, call->reg))
        return virtio_read(s, call);
    if (!reg || reg->read_ref == LUA_NOREF)
        return s->wrap ? vfu_wrap_read(wrap_inner(s), call) : 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, reg->read_ref);
    lua_pushvalue(L, STACK_DEVICE);
    lua_pushinteger(L, (lua_Integer)call->value);
    n = 2;
    if (call->index != VFU_NONE || call->group_index != VFU_NONE) /* who gets no argument has nil */
        n += push_indexes(L, call);
    state_enter(s);
    rc = lua_pcall(L, n, 1, STACK_TRACEBACK);
    state_leave(s);
    if (rc == LUA_OK && take_integer(L, -1, &value)) {
        lua_pop(L, 1);
        call->value = (uint64_t)value;
        return VFU_REPLACE;
    }
    describe_call(what, sizeof what, "read", reg, call);
    if (rc == LUA_OK) {
        char text[80], room[32];

        snprintf(text, sizeof text, "the hook returned %s, not an integer", util_kind(L, -1, room));
        state_report_result(s, what, reg->read_ref, text);
    } else {
        state_report(s, L, what, NULL);
    }
    lua_pop(L, 1);
    return -EIO;
}

/* Runs the register's write hook on a task whose kind and arguments are set: as task_run. */
static int start_write(struct script *s, struct task *t)
{
    const struct vfu_reg_call call = { .index = t->index, .group_index = t->group_index };
    lua_State *co = t->co;
    int n;

    lua_rawgeti(co, LUA_REGISTRYINDEX, t->reg->write_ref);
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->dev_ref);
    lua_pushinteger(co, (lua_Integer)t->value);
    lua_pushinteger(co, (lua_Integer)t->old);
    n = 3 + push_indexes(co, &call);
    lua_pushinteger(co, (lua_Integer)t->raw);
    return task_run(t, n + 1);
}

int32_t access_write(void *self, struct vfu_reg_call *call)
{
    struct script *s = self;
    const struct reg_decl *reg = reg_of(s, call->hook);
    lua_Integer value;
    struct task *t;
    int32_t result = 0;
    int rc;

    if (s->virtio && virtio_owns(s, call->reg))
        return virtio_write(s, call);
    if (!reg || reg->write_ref == LUA_NOREF)
        return s->wrap ? vfu_wrap_write(wrap_inner(s), call) : 0;
    t = task_get(s, reg->full);
    if (!t)
        return -ENOMEM;
    t->kind = TASK_WRITE;
    t->reg = reg;
    t->value = call->value;
    t->old = call->old;
    t->raw = call->raw;
    t->index = call->index;
    t->group_index = call->group_index;
    rc = start_write(s, t);
    if (rc)
        return rc < 0 ? rc : 0;
    if (lua_gettop(t->co) && !lua_isnil(t->co, 1)) {
        if (take_integer(t->co, 1, &value)) {
            call->value = (uint64_t)value;
            result = VFU_REPLACE;
        } else {
            char what[128], text[96], room[32];

            describe_call(what, sizeof what, "write", reg, call);
            snprintf(text, sizeof text, "the hook returned %s, not nil or an integer", util_kind(t->co, 1, room));
            state_report_result(s, what, reg->write_ref, text);
            result = -EIO;
        }
    }
    task_put(t);
    return result;
}

int32_t access_locked(void *self, uint32_t hook, const struct vfu_reg_call *call)
{
    struct script *s = self;
    lua_State *L = s->L;
    const struct lock_decl *lock = hook < s->locks.n ? s->locks.items[hook] : NULL;
    const struct reg_decl *reg = lock ? reg_of(s, lock->l.reg) : NULL;
    bool held;
    int rc, n;

    if (!reg || lock->ref == LUA_NOREF)
        return s->wrap ? vfu_wrap_locked(wrap_inner(s), hook, call) : 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, lock->ref);
    lua_pushvalue(L, STACK_DEVICE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, lock->name_ref);
    lua_pushinteger(L, (lua_Integer)call->value);
    n = 3 + push_indexes(L, call);
    state_enter(s);
    rc = lua_pcall(L, n, 1, STACK_TRACEBACK);
    state_leave(s);
    held = rc || lua_toboolean(L, -1); /* who cannot tell keeps the register as it is */
    if (rc) {
        char what[128];

        describe_call(what, sizeof what, "lock", reg, call);
        state_report(s, L, what, NULL);
    }
    lua_pop(L, 1);
    return held;
}

/* ---- raw accesses ---- */

static int32_t bus_error(struct vfu_access *a)
{
    if (a->flags & VFU_ACCESS_WRITE)
        return 0;
    if (a->size > 8)
        memset(a->data, 0xff, a->size);
    a->value = UINT64_MAX;
    return 0;
}

static int32_t unmapped(const struct bar_decl *bar, struct vfu_access *a)
{
    if (bar->b.unmapped == VFU_UNMAPPED_ERROR)
        return -EINVAL;
    if (bar->b.unmapped == VFU_UNMAPPED_ONES)
        return bus_error(a);
    a->value = 0;
    if (a->size > 8 && !(a->flags & VFU_ACCESS_WRITE))
        memset(a->data, 0, a->size);
    return 0;
}

/* "EIO" at i of L: its negative number; other text is -EIO. */
static int32_t access_error(lua_State *L, int i)
{
    int err = lua_type(L, i) == LUA_TSTRING ? util_errno(lua_tostring(L, i)) : 0;

    return err ? -err : -EIO;
}

static int32_t take_read(struct script *s, const struct bar_decl *bar, struct vfu_access *a, const char *what)
{
    lua_State *L = s->L;
    lua_Integer value;
    char text[96], room[32];
    size_t n;

    if (lua_isnil(L, -2) && !lua_isnil(L, -1))
        return access_error(L, -1);
    if (a->size <= 8 && util_integer(L, -2, &value)) {
        a->value = (uint64_t)value;
        return 0;
    }
    if (a->size > 8 && lua_type(L, -2) == LUA_TSTRING) {
        const char *data = lua_tolstring(L, -2, &n);

        if (n == a->size) {
            memcpy(a->data, data, n);
            return 0;
        }
        snprintf(text, sizeof text, "bar.read returned %zu bytes, not %u", n, a->size);
    } else {
        snprintf(text, sizeof text, "bar.read returned %s, not %s", util_kind(L, -2, room),
                 a->size > 8 ? "a string" : "an integer");
    }
    state_report_result(s, what, bar->read_ref, text);
    return bus_error(a);
}

static int32_t raw_read(struct script *s, const struct bar_decl *bar, struct vfu_access *a)
{
    lua_State *L = s->L;
    char what[80];
    int32_t rc;

    snprintf(what, sizeof what, "read of %u bytes at 0x%llx of BAR %u", a->size, (unsigned long long)a->offset,
             a->region);
    lua_rawgeti(L, LUA_REGISTRYINDEX, bar->read_ref);
    lua_pushvalue(L, STACK_DEVICE);
    lua_pushinteger(L, (lua_Integer)a->offset);
    lua_pushinteger(L, a->size);
    if (state_call(s, 3, 2, what))
        return bus_error(a);
    rc = take_read(s, bar, a, what);
    lua_pop(L, 2);
    return rc;
}

struct long_write {
    const struct vfu_access *access;
    uint64_t key;
};

/* The string of a long write, which is kept under a key in case it has to be saved. In a protected call. */
static int push_data(lua_State *L)
{
    struct long_write *w = lua_touserdata(L, 1);
    struct script *s = script_of(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->calls_ref);
    lua_pushlstring(L, (const char *)w->access->data, w->access->size);
    w->key = s->next_key++;
    lua_rawseti(L, -2, (lua_Integer)w->key);
    return 0;
}

/* As start_write, for bar.write. */
static int start_raw(struct script *s, struct task *t)
{
    lua_State *co = t->co;

    lua_rawgeti(co, LUA_REGISTRYINDEX, t->bar->write_ref);
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->dev_ref);
    lua_pushinteger(co, (lua_Integer)t->offset);
    lua_pushinteger(co, t->size);
    if (t->key) {
        lua_rawgeti(co, LUA_REGISTRYINDEX, s->calls_ref);
        lua_rawgeti(co, -1, (lua_Integer)t->key);
        lua_remove(co, -2);
    } else {
        lua_pushinteger(co, (lua_Integer)t->value);
    }
    return task_run(t, 4);
}

static int32_t raw_write(struct script *s, const struct bar_decl *bar, struct vfu_access *a)
{
    struct long_write data = { .access = a };
    int32_t result = 0;
    struct task *t;

    t = task_get(s, "bar.write");
    if (!t)
        return 0;
    t->kind = TASK_RAW;
    t->bar = bar;
    t->offset = a->offset;
    t->size = a->size;
    t->value = a->value;
    t->key = 0;
    if (a->size > 8) {
        lua_pushcfunction(s->L, push_data);
        lua_pushlightuserdata(s->L, &data);
        if (state_call(s, 1, 0, "bar.write")) {
            task_put(t);
            return 0;
        }
        t->key = data.key;
    }
    if (start_raw(s, t))
        return 0;
    if (lua_gettop(t->co) > 1 && lua_isnil(t->co, 1) && !lua_isnil(t->co, 2))
        result = access_error(t->co, 2);
    task_put(t);
    return result;
}

/* A write that was waiting when it was saved, from its first line. */
void access_restart(struct script *s, const struct task *saved)
{
    struct task *t;

    if (saved->kind == TASK_WRAP) {
        wraphook_restart(s, saved);
        return;
    }
    t = task_get(s, "restart");
    if (!t)
        return;
    t->kind = saved->kind;
    t->reg = saved->reg;
    t->bar = saved->bar;
    t->value = saved->value;
    t->old = saved->old;
    t->raw = saved->raw;
    t->offset = saved->offset;
    t->size = saved->size;
    t->index = saved->index;
    t->group_index = saved->group_index;
    t->key = saved->key;
    if (!(t->kind == TASK_WRITE ? start_write(s, t) : start_raw(s, t)))
        task_put(t);
}

int32_t access_raw(void *self, struct vfu_access *access)
{
    struct script *s = self;
    const struct bar_decl *bar = access->region < 6 ? s->bars[access->region] : NULL;
    bool write = access->flags & VFU_ACCESS_WRITE;

    if (!bar)
        return s->wrap ? vfu_wrap_access(wrap_inner(s), access) : -EINVAL;
    if (write)
        return bar->write_ref == LUA_NOREF ? unmapped(bar, access) : raw_write(s, bar, access);
    return bar->read_ref == LUA_NOREF ? unmapped(bar, access) : raw_read(s, bar, access);
}
