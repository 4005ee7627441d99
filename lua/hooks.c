/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hooks - dev.read, dev.write, dev.event, dev.on, bar.read, bar.write: taken in while the script loads. Those of accesses
 * are called by access.c, events by event.c, dev.on here: on the main stack, where nothing waits. The device's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

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
    [HOOK_DRIVER] = "driver",
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
    if (!s->virtio && !strcmp(name, hooks_on_names[HOOK_DRIVER]))
        luaL_error(L, "on:driver is for devices of virtio.device");
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
    if (reg && s->virtio && virtio_owns(s, reg->id))
        luaL_error(L, "register %s is the virtio transport's; it has no hook of the script's", name);
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

/* ---- those of its life ---- */

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
