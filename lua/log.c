/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log - what a script says: print, vfu.log, dev:guest_error; and vfu.now, vfu.hex, vfu.size, vfu.random,
 * vfu.version.
 *
 * Runs on the script's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "lua/binding.h"

/* string.format of the arguments from i on, or the one alone as text. */
static const char *format_args(lua_State *L, int i)
{
    int n = lua_gettop(L) - i + 1;

    if (n <= 1 && lua_type(L, i) != LUA_TSTRING)
        return luaL_tolstring(L, i, NULL);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, i);
    lua_call(L, n, 1);
    return lua_tostring(L, i);
}

static int log_level(lua_State *L)
{
    struct script *s = script_of(L);
    uint32_t level = (uint32_t)lua_tointeger(L, lua_upvalueindex(2));

    luaL_checkany(L, 1);
    s->host->log(s->host, level, format_args(L, 1));
    return 0;
}

static int log_print(lua_State *L)
{
    struct script *s = script_of(L);
    int n = lua_gettop(L);
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    s->host->log(s->host, VFU_LOG_INFO, lua_tostring(L, -1));
    return 0;
}

/* Not a closure: dev's methods are plain functions. */
int log_guest_error(lua_State *L)
{
    struct script *s = script_of(L);
    int n;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    if (!lua_rawequal(L, 1, -1))
        return luaL_error(L, "call it as dev:guest_error(...), with a colon");
    lua_pop(L, 1);
    luaL_checkany(L, 2);
    n = lua_gettop(L) - 1;
    if (n > 1 || lua_type(L, 2) == LUA_TSTRING) {
        lua_pushliteral(L, ""); /* any string's methods are the string library */
        lua_getfield(L, -1, "format");
        lua_replace(L, -2);
        lua_insert(L, 2);
        lua_call(L, n, 1);
    }
    s->host->guest_error(s->host, luaL_tolstring(L, 2, NULL));
    return 0;
}

static int log_now(lua_State *L)
{
    struct script *s = script_of(L);

    lua_pushnumber(L, (lua_Number)s->host->now(s->host) / 1e9);
    return 1;
}

static int log_hex(lua_State *L)
{
    char text[24];

    snprintf(text, sizeof text, "0x%llx", (unsigned long long)util_check_integer(L, 1, "vfu.hex: the value"));
    lua_pushstring(L, text);
    return 1;
}

static int log_size(lua_State *L)
{
    lua_Integer value;

    if (util_integer(L, 1, &value)) {
        lua_pushinteger(L, value);
        return 1;
    }
    if (lua_type(L, 1) != LUA_TSTRING || !util_size(lua_tostring(L, 1), &value))
        return luaL_error(L, "vfu.size: a size is a number with K, M, G or T, not %s", luaL_tolstring(L, 1, NULL));
    lua_pushinteger(L, value);
    return 1;
}

static int log_newindex(lua_State *L)
{
    return luaL_error(L, "vfu.log cannot be assigned");
}

/* With the vfu table on top. */
/* vfu.random(n): bytes of the kernel's, fit for keys. */
static int log_random(lua_State *L)
{
    lua_Integer n = util_check_integer(L, 1, "vfu.random: the number of bytes");
    luaL_Buffer b;
    size_t done = 0;
    char *bytes;

    if (n < 0 || n > 1 << 20)
        return luaL_error(L, "vfu.random: %I bytes; from 0 to 1048576 can be had at once", n);
    bytes = luaL_buffinitsize(L, &b, (size_t)n);
    while (done < (size_t)n) {
        ssize_t got = getrandom(bytes + done, (size_t)n - done, 0);

        if (got < 0 && errno != EINTR)
            return luaL_error(L, "vfu.random: %s", strerror(errno));
        done += got > 0 ? (size_t)got : 0;
    }
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

void log_open(lua_State *L)
{
    static const struct {
        const char *name;
        uint32_t level;
    } levels[] = {
        { "debug", VFU_LOG_DEBUG }, { "info", VFU_LOG_INFO }, { "warn", VFU_LOG_WARN }, { "error", VFU_LOG_ERROR }
    };
    static const luaL_Reg functions[] = {
        { "now", log_now }, { "hex", log_hex }, { "size", log_size }, { "random", log_random }, { NULL, NULL }
    };

    luaL_setfuncs(L, functions, 0);
    lua_pushstring(L, script_of(L)->host->version);
    lua_setfield(L, -2, "version");
    lua_newtable(L);
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        lua_getglobal(L, LUA_STRLIBNAME);
        lua_getfield(L, -1, "format");
        lua_remove(L, -2);
        lua_pushinteger(L, levels[i].level);
        lua_pushcclosure(L, log_level, 2);
        lua_setfield(L, -2, levels[i].name);
    }
    util_push_proxy(L, "log", log_newindex);
    lua_setfield(L, -2, "log");
    lua_pushcfunction(L, log_print);
    lua_setglobal(L, "print");
}
