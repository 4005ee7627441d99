/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hooks - dev.read, dev.write, dev.event, dev.on, bar.read, bar.write: taken in while the script loads, called later.
 *
 * Write hooks run on a coroutine, since they may wait; read hooks, lock functions and lifecycle hooks run on the main
 * stack and never wait. Callbacks come from the host on the device's thread, one at a time.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <vfu/wrap.h>

#include "lua/binding.h"

enum { KIND_READ, KIND_WRITE, KIND_EVENT, KIND_ON };
static const char *const kind_names[] = { "read", "write", "event", "on" };
const char *const hooks_on_names[] = {
    [HOOK_RESET] = "reset",
    [HOOK_ATTACH] = "attach",
    [HOOK_DETACH] = "detach",
    [HOOK_POWER] = "power",
    [HOOK_SAVE] = "save",
    [HOOK_LOAD] = "load",
    [HOOK_DOORBELL] = "doorbell",
    [HOOK_CONFIG] = "config",
    NULL,
};

/* ---- taking them in ---- */

static void set_ref(lua_State *L, int *ref)
{
    if (*ref != LUA_NOREF)
        luaL_unref(L, LUA_REGISTRYINDEX, *ref);
    *ref = LUA_NOREF;
    if (!lua_isnil(L, -1)) {
        lua_pushvalue(L, -1);
        *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}

static int *find_on(lua_State *L, struct script *s, const char *name)
{
    const char *better;

    if (s->wrap && !strcmp(name, hooks_on_names[HOOK_DOORBELL]))
        luaL_error(L, "doorbells are the wrapped plugin's: wrap's write = sees what rings them");
    for (int i = 0; i < HOOKS; i++)
        if (!strcmp(hooks_on_names[i], name))
            return &s->on[i];
    better = util_suggest(name, hooks_on_names);
    luaL_error(L, "no hook named on:%s%s%s%s", name, better ? "; did you mean " : "", better ? better : "",
               better ? "?" : "");
    return NULL;
}

/* The register's place for its hook; group is NULL for registers outside of groups. */
static int *find_reg_hook(lua_State *L, struct script *s, int kind, const char *group, const char *name)
{
    struct reg_decl *reg;

    if (group)
        lua_pushfstring(L, "%s.%s", group, name);
    else
        lua_pushstring(L, name);
    reg = map_find(s, lua_tostring(L, -1));
    lua_pop(L, 1);
    if (reg)
        return kind == KIND_READ ? &reg->read_ref : &reg->write_ref;
    lua_newtable(L);
    for (uint32_t i = 0; i < s->reglist.n; i++) {
        reg = s->reglist.items[i];
        lua_pushboolean(L, 1);
        if (!group && reg->r.group == VFU_NONE)
            lua_setfield(L, -2, reg->r.name);
        else if (group && reg->r.group != VFU_NONE && !strncmp(reg->full, group, strlen(group)) &&
                 reg->full[strlen(group)] == '.')
            lua_setfield(L, -2, reg->r.name);
        else
            lua_pop(L, 1);
    }
    if (!group)
        for (uint32_t i = 0; i < s->groups.n; i++)
            if (!strcmp(((struct group_decl *)s->groups.items[i])->g.name, name))
                luaL_error(L, "%s is a group: dev.%s.%s:REG", name, kind_names[kind], name);
    util_push_suggestion(L, -1, name);
    luaL_error(L, "no register named %s%s%s%s", group ? group : "", group ? "." : "", name, lua_tostring(L, -1));
    return NULL;
}

static int *find_hook(lua_State *L, int kind, const char *name)
{
    struct script *s = script_of(L);
    const char *group = lua_tostring(L, lua_upvalueindex(2));

    if (kind == KIND_ON)
        return find_on(L, s, name);
    if (s->wrap)
        luaL_error(L, "the registers are the wrapped plugin's: %s accesses are seen by wrap's %s =", kind_names[kind],
                   kind_names[kind]);
    return find_reg_hook(L, s, kind, group, name);
}

static const char *hook_name(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING || !util_is_name(lua_tostring(L, 2)))
        luaL_error(L, "a hook is named by an identifier, not %s", luaL_tolstring(L, 2, NULL));
    return lua_tostring(L, 2);
}

static int hooks_newindex(lua_State *L)
{
    struct script *s = script_of(L);
    int kind = (int)lua_tointeger(L, lua_upvalueindex(1));
    const char *name = hook_name(L);

    if (s->sealed)
        return luaL_error(L, "hooks are set while the script loads, not later");
    if (!lua_isfunction(L, 3) && !lua_isnil(L, 3))
        return luaL_error(L, "%s.%s must be a function, not %s", kind_names[kind], name, luaL_typename(L, 3));
    if (kind == KIND_EVENT) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->events_ref);
        lua_pushvalue(L, 2);
        lua_pushvalue(L, 3);
        lua_rawset(L, -3);
        return 0;
    }
    int *ref = find_hook(L, kind, name);
    lua_settop(L, 3);
    set_ref(L, ref);
    return 0;
}

static void push_kind(lua_State *L, int kind, const char *group);

static int hooks_index(lua_State *L)
{
    struct script *s = script_of(L);
    int kind = (int)lua_tointeger(L, lua_upvalueindex(1));
    const char *name = hook_name(L);

    if (kind == KIND_EVENT) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->events_ref);
        lua_pushvalue(L, 2);
        lua_rawget(L, -2);
        return 1;
    }
    if (kind != KIND_ON && lua_isnil(L, lua_upvalueindex(2)))
        for (uint32_t i = 0; i < s->groups.n; i++)
            if (!strcmp(((struct group_decl *)s->groups.items[i])->g.name, name)) {
                push_kind(L, kind, name);
                return 1;
            }
    int *ref = find_hook(L, kind, name);
    if (*ref == LUA_NOREF)
        lua_pushnil(L);
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, *ref);
    return 1;
}

static void push_functions(lua_State *L, lua_CFunction index, lua_CFunction newindex, int n)
{
    /* object, n upvalues -> object with a metatable of the two */
    lua_createtable(L, 0, 3);
    for (int i = 0; i < n; i++)
        lua_pushvalue(L, -1 - n);
    lua_pushcclosure(L, index, n);
    lua_setfield(L, -2, "__index");
    for (int i = 0; i < n; i++)
        lua_pushvalue(L, -1 - n);
    lua_pushcclosure(L, newindex, n);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "hooks");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2 - n);
    lua_pop(L, n);
}

static void push_kind(lua_State *L, int kind, const char *group)
{
    lua_newtable(L);
    lua_pushinteger(L, kind);
    if (group)
        lua_pushstring(L, group);
    else
        lua_pushnil(L);
    push_functions(L, hooks_index, hooks_newindex, 2);
}

void hooks_push(lua_State *L, const char *kind)
{
    struct script *s = script_of(L);
    int i = 0;

    while (strcmp(kind_names[i], kind))
        i++;
    if (i == KIND_ON) {
        static const char *const kinds[] = {
            [VFU_RESET_POWER] = "power", [VFU_RESET_BUS] = "bus", [VFU_RESET_FLR] = "flr"
        };

        for (int k = 0; k < 3; k++) {
            lua_pushstring(L, kinds[k]);
            s->kind_refs[k] = luaL_ref(L, LUA_REGISTRYINDEX);
        }
    }
    if (i == KIND_EVENT) {
        lua_newtable(L);
        s->events_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    push_kind(L, i, NULL);
}

/* ---- a BAR: read, write, ram; the rest is in config.c ---- */

static int bar_index(lua_State *L)
{
    struct bar_decl *bar = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = luaL_tolstring(L, 2, NULL);
    int ref = !strcmp(name, "read") ? bar->read_ref : !strcmp(name, "write") ? bar->write_ref : LUA_NOREF;

    if (!strcmp(name, "ram")) {
        if (!(bar->b.flags & VFU_BAR_RAM))
            return luaL_error(L, "BAR %d has no ram: give it ram = true", (int)bar->b.index);
        lua_pushvalue(L, lua_upvalueindex(2));
        return 1;
    }
    if (strcmp(name, "read") && strcmp(name, "write")) {
        if (config_bar_index(L, bar, name))
            return 1;
        return luaL_error(L, "a BAR has read, write, ram, address, decoded, mapped and doorbell_fd, not %s", name);
    }
    if (ref == LUA_NOREF)
        lua_pushnil(L);
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    return 1;
}

static int bar_newindex(lua_State *L)
{
    struct bar_decl *bar = lua_touserdata(L, lua_upvalueindex(1));
    const char *name = luaL_tolstring(L, 2, NULL);

    if (script_of(L)->sealed)
        return luaL_error(L, "hooks are set while the script loads, not later");
    if (strcmp(name, "read") && strcmp(name, "write"))
        return luaL_error(L, "a BAR takes functions read and write, not %s", name);
    if (!lua_isfunction(L, 3) && !lua_isnil(L, 3))
        return luaL_error(L, "bar.%s must be a function, not %s", name, luaL_typename(L, 3));
    lua_settop(L, 3);
    set_ref(L, *name == 'r' ? &bar->read_ref : &bar->write_ref);
    return 0;
}

void hooks_push_bar(lua_State *L, struct bar_decl *bar)
{
    lua_newtable(L);
    lua_pushlightuserdata(L, bar);
    if (bar->b.flags & VFU_BAR_RAM)
        buffer_push_ram(L, bar);
    else
        lua_pushnil(L);
    push_functions(L, bar_index, bar_newindex, 2);
}

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

int32_t hooks_read(void *self, struct vfu_reg_call *call)
{
    struct script *s = self;
    lua_State *L = s->L;
    const struct reg_decl *reg = reg_of(s, call->hook);
    lua_Integer value;
    char what[128];
    int rc, n;

    if (!reg || reg->read_ref == LUA_NOREF)
        return s->wrap ? vfu_wrap_read(wrap_inner(s), call) : 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, reg->read_ref);
    lua_pushvalue(L, STACK_DEVICE);
    lua_pushinteger(L, (lua_Integer)call->value);
    n = 2 + push_indexes(L, call);
    state_enter(s);
    rc = lua_pcall(L, n, 1, STACK_TRACEBACK);
    state_leave(s);
    if (rc == LUA_OK && util_integer(L, -1, &value)) {
        lua_pop(L, 1);
        call->value = (uint64_t)value;
        return VFU_REPLACE;
    }
    describe_call(what, sizeof what, "read", reg, call);
    if (rc == LUA_OK) {
        char text[80];

        snprintf(text, sizeof text, "the hook returned %s, not an integer", luaL_typename(L, -1));
        state_report_text(s, what, text);
    } else {
        state_report(s, L, what);
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

int32_t hooks_write(void *self, struct vfu_reg_call *call)
{
    struct script *s = self;
    const struct reg_decl *reg = reg_of(s, call->hook);
    lua_Integer value;
    struct task *t;
    int32_t result = 0;
    int rc;

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
        if (util_integer(t->co, 1, &value)) {
            call->value = (uint64_t)value;
            result = VFU_REPLACE;
        } else {
            char what[128], text[96];

            describe_call(what, sizeof what, "write", reg, call);
            snprintf(text, sizeof text, "the hook returned %s, not nil or an integer", luaL_typename(t->co, 1));
            state_report_text(s, what, text);
            result = -EIO;
        }
    }
    task_put(t);
    return result;
}

int32_t hooks_locked(void *self, uint32_t hook, const struct vfu_reg_call *call)
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
        state_report(s, L, what);
    }
    lua_pop(L, 1);
    return held;
}

int hooks_on(struct script *s, int hook, const char *name, int nargs)
{
    lua_State *L = s->L;
    int nresults = hook == HOOK_SAVE;

    if (s->on[hook] == LUA_NOREF) {
        lua_pop(L, nargs);
        return -ENOENT;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->on[hook]);
    lua_pushvalue(L, STACK_DEVICE);
    lua_rotate(L, -nargs - 2, 2);
    return state_call(s, nargs + 1, nresults, name);
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

static int32_t take_read(struct script *s, struct vfu_access *a, const char *what)
{
    lua_State *L = s->L;
    lua_Integer value;
    char text[96];
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
        snprintf(text, sizeof text, "bar.read returned %s, not %s", luaL_typename(L, -2),
                 a->size > 8 ? "a string" : "an integer");
    }
    state_report_text(s, what, text);
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
    rc = take_read(s, a, what);
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
void hooks_restart(struct script *s, const struct task *saved)
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

int32_t hooks_access(void *self, struct vfu_access *access)
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
