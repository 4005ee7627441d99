/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report - dev:report(name, data, {fatal = true}): what people and programs around the device should learn (vfu.report/1).
 *
 * Runs on the device's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"

#define ITEMS_MAX 32
#define NAME_BYTES 63
#define STRING_BYTES 1023

static const char *check_name(lua_State *L, const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

    if (!n || n > NAME_BYTES || name[n])
        luaL_error(L, "dev:report: \"%s\" is no name: those are of letters, digits, '-', '_' and '.', up to %d of them", name,
                   NAME_BYTES);
    return name;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct vfu_report_item *)a)->key, ((const struct vfu_report_item *)b)->key);
}

/* The value on top, under the key below it, both of which stay. */
static void take_item(lua_State *L, struct vfu_report_item *item)
{
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "dev:report: the keys of its data are names, not %s", luaL_tolstring(L, -2, NULL));
    item->key = check_name(L, lua_tostring(L, -2));
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        item->type = VFU_REPORT_BOOLEAN;
        item->integer = lua_toboolean(L, -1);
        return;
    case LUA_TNUMBER:
        item->type = lua_isinteger(L, -1) ? VFU_REPORT_INTEGER : VFU_REPORT_NUMBER;
        item->integer = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        item->number = lua_tonumber(L, -1);
        return;
    case LUA_TSTRING:
        item->type = VFU_REPORT_STRING;
        item->string = lua_tostring(L, -1);
        if (strlen(item->string) > STRING_BYTES)
            luaL_error(L, "dev:report: %s has more than %d bytes", item->key, STRING_BYTES);
        return;
    default:
        luaL_error(L, "dev:report: %s is a string, a number or a boolean, not %s", item->key, luaL_typename(L, -1));
    }
}

int report_report(lua_State *L)
{
    static const char *const options[] = { "fatal", NULL };
    struct script *s = script_of(L);
    struct vfu_report_item items[ITEMS_MAX] = { 0 };
    struct vfu_report report = {
        .struct_size = sizeof report,
        .items = items,
        .item_size = sizeof items[0],
    };
    const struct vfu_host_report *to;

    lua_settop(L, 4);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    if (!lua_rawequal(L, 1, -1))
        return luaL_error(L, "call it as dev:report(...), with a colon");
    lua_pop(L, 1);
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "dev:report: the name is a string such as \"panicked\", not %s", luaL_typename(L, 2));
    report.name = check_name(L, lua_tostring(L, 2));
    if (!lua_isnil(L, 3) && !lua_istable(L, 3))
        return luaL_error(L, "dev:report: the data are a table of names and values, not %s", luaL_typename(L, 3));
    if (!lua_isnil(L, 4)) {
        util_keys(L, 4, "dev:report", options, false);
        if (util_opt_bool(L, 4, "dev:report", "fatal"))
            report.flags |= VFU_REPORT_FATAL;
    }
    if (!s->regs)
        return luaL_error(L, "dev:report: a device reports once it runs, not while the script loads");
    to = s->host->extension(s->host, VFU_EXT_REPORT);
    if (!to)
        return luaL_error(L, "dev:report: this host takes no reports");
    if (lua_istable(L, 3)) {
        lua_pushnil(L);
        while (lua_next(L, 3)) {
            if (report.nitems == ITEMS_MAX)
                return luaL_error(L, "dev:report: the data have more than %d items", ITEMS_MAX);
            take_item(L, &items[report.nitems++]);
            lua_pop(L, 1);
        }
    }
    qsort(items, report.nitems, sizeof items[0], by_key); /* a table has no order of its own */
    if (to->report(s->host, &report) == -EINVAL)
        return luaL_error(L, "dev:report: the host does not take it");
    return 0;
}
