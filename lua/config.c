/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config - what the guest and the client have set up: dev:config_read, dev:config_write, dev.on:config, and where a BAR
 * is (bar.address, bar.decoded, bar.mapped, bar:doorbell_fd).
 *
 * dev:config, which declares, is in declare.c. The hook never waits, as those of reset and attach do not. Runs on the
 * device's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <vfu/wrap.h>

#include "lua/binding.h"

#define CONFIG_MAX 4096

static struct script *check_device(lua_State *L, const char *method)
{
    struct script *s = script_of(L);
    int top = lua_gettop(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    if (!lua_rawequal(L, 1, -1))
        luaL_error(L, "call it as dev:%s(...), with a colon", method);
    lua_settop(L, top);
    if (!s->regs)
        luaL_error(L, "dev:%s: config space is there once the device runs, not while the script loads", method);
    if (!s->config)
        luaL_error(L, "dev:%s: this host does not let a device at its config space", method);
    return s;
}

static int push_fault(lua_State *L)
{
    luaL_pushfail(L);
    lua_pushliteral(L, "beyond config space");
    return 2;
}

/* An offset or a size as the script gives it: predictable, whatever it is. */
static bool in_config(lua_Integer offset, lua_Integer size)
{
    return offset >= 0 && size > 0 && offset < CONFIG_MAX && size <= CONFIG_MAX;
}

/* dev:config_read(offset [, size]) */
int config_read(lua_State *L)
{
    struct script *s = check_device(L, "config_read");
    lua_Integer offset = util_check_integer(L, 2, "dev:config_read: the offset");
    lua_Integer size = lua_isnoneornil(L, 3) ? 4 : util_check_integer(L, 3, "dev:config_read: the size");
    uint8_t bytes[CONFIG_MAX] = { 0 };
    uint64_t value = 0;

    if (!in_config(offset, size) || s->config->read(s->host, (uint32_t)offset, (uint32_t)size, bytes) < 0)
        return push_fault(L);
    if (size > 8) {
        lua_pushlstring(L, (const char *)bytes, (size_t)size);
        return 1;
    }
    for (lua_Integer i = size; i-- > 0;)
        value = value << 8 | bytes[i];
    lua_pushinteger(L, (lua_Integer)value);
    return 1;
}

/* dev:config_write(offset, value [, size]): an integer of so many bytes, or a string's. */
int config_write(lua_State *L)
{
    struct script *s = check_device(L, "config_write");
    lua_Integer offset = util_check_integer(L, 2, "dev:config_write: the offset"), value, size;
    uint8_t integer[8];
    const void *bytes = integer;
    size_t length;
    int32_t error;

    if (lua_type(L, 3) == LUA_TSTRING) {
        bytes = lua_tolstring(L, 3, &length);
        size = length > CONFIG_MAX ? CONFIG_MAX + 1 : (lua_Integer)length;
        if (!lua_isnoneornil(L, 4))
            return luaL_error(L, "dev:config_write: a string has its own size");
    } else {
        value = util_check_integer(L, 3, "dev:config_write: the value");
        size = lua_isnoneornil(L, 4) ? 4 : util_check_integer(L, 4, "dev:config_write: the size");
        if (size < 1 || size > 8)
            return luaL_error(L, "dev:config_write: an integer has a size of 1 to 8, not %I", size);
        for (int i = 0; i < 8; i++)
            integer[i] = (uint8_t)((uint64_t)value >> (8 * i));
    }
    if (!in_config(offset, size))
        return push_fault(L);
    error = s->config->write(s->host, (uint32_t)offset, (uint32_t)size, bytes);
    if (error == -EACCES) {
        char at[16];

        snprintf(at, sizeof at, "0x%x", (unsigned)offset);
        return luaL_error(L, "dev:config_write: not all of the %I bytes at %s are the device's to change; own "
                          "capabilities are, and error bits of status registers", size, at);
    }
    if (error < 0)
        return push_fault(L);
    lua_pushboolean(L, 1);
    return 1;
}

void config_written(void *self, const struct vfu_config_call *call)
{
    struct script *s = self;

    if (s->wrap)
        vfu_wrap_config(wrap_inner(s), call);
    if (s->on[HOOK_CONFIG] == LUA_NOREF)
        return;
    lua_pushinteger(s->L, call->offset);
    lua_pushinteger(s->L, call->size);
    lua_pushinteger(s->L, call->value);
    lua_pushinteger(s->L, call->old);
    hooks_on(s, HOOK_CONFIG, "config", 4);
}

/* ---- a BAR ---- */

static const struct vfu_host_regions *check_regions(lua_State *L, struct script *s, const char *name)
{
    if (!s->regs)
        luaL_error(L, "bar.%s is known once the device runs, not while the script loads", name);
    if (!s->regions)
        luaL_error(L, "bar.%s: this host does not tell", name);
    return s->regions;
}

/* bar:doorbell_fd(index), which counts from 0 in each BAR. */
static int bar_doorbell_fd(lua_State *L)
{
    const struct bar_decl *bar = lua_touserdata(L, lua_upvalueindex(1));
    struct script *s = script_of(L);
    const struct vfu_host_regions *regions = check_regions(L, s, "doorbell_fd");
    lua_Integer index;

    if (!lua_istable(L, 1))
        return luaL_error(L, "call it as bar:doorbell_fd(index), with a colon");
    index = util_check_integer(L, 2, "bar:doorbell_fd: the index");
    if (index < 0 || index >= (lua_Integer)bar->nbells)
        return luaL_error(L, "BAR %d has %d doorbells, counted from 0, and none is %I", (int)bar->b.index,
                          (int)bar->nbells, index);
    lua_pushboolean(L, regions->doorbell(s->host, bar->first_bell + (uint32_t)index) > 0);
    return 1;
}

bool config_bar_index(lua_State *L, struct bar_decl *bar, const char *name)
{
    struct vfu_region_state state = { .struct_size = sizeof state };
    struct script *s = script_of(L);

    if (!strcmp(name, "doorbell_fd")) {
        lua_pushlightuserdata(L, bar);
        lua_pushcclosure(L, bar_doorbell_fd, 1);
        return true;
    }
    if (strcmp(name, "address") && strcmp(name, "decoded") && strcmp(name, "mapped"))
        return false;
    if (check_regions(L, s, name)->look(s->host, bar->b.index, &state) < 0)
        luaL_error(L, "bar.%s: the host does not know BAR %d", name, (int)bar->b.index);
    if (*name == 'a')
        lua_pushinteger(L, (lua_Integer)state.address);
    else
        lua_pushboolean(L, (state.flags & (*name == 'd' ? VFU_REGION_DECODED : VFU_REGION_MAPPED)) != 0);
    return true;
}
