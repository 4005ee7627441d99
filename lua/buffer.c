/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * buffer - vfu.buffer and bar.ram: device memory with checked access; and what views of client memory share with it.
 *
 * Offsets and lengths may be anything a guest wrote: what does not fit gives nil and a message before any memory is
 * taken. Integers are little-endian. Runs on the script's thread.
 */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "lua/binding.h"

#define BUFFER_TYPE "buffer"

/* ---- shared with views ---- */

/* True after pushing nil and a message: [off, off + n) is not inside size bytes. */
bool buffer_fault(lua_State *L, uint64_t size, lua_Integer off, lua_Integer n)
{
    if (n >= 0 && off >= 0 && (uint64_t)n <= size && (uint64_t)off <= size - (uint64_t)n)
        return false;
    luaL_pushfail(L);
    if (n < 0)
        lua_pushfstring(L, "negative length %I", n);
    else
        lua_pushfstring(L, "%I bytes at offset %I are outside of %I", n, off, (lua_Integer)size);
    return true;
}

bool buffer_length(lua_State *L, lua_Integer n)
{
    if (n >= 0 && (uint64_t)n <= SCRIPT_TRANSFER)
        return true;
    luaL_pushfail(L);
    if (n < 0)
        lua_pushfstring(L, "negative length %I", n);
    else
        lua_pushfstring(L, "%I bytes are too many at once, %I is the most", n, (lua_Integer)SCRIPT_TRANSFER);
    return false;
}

/* In one access of the processor, if it can be: a view's bytes may be an index that a guest reads meanwhile. */
int buffer_push_integer(lua_State *L, const uint8_t *data, uint32_t width)
{
    uint16_t v16;
    uint32_t v32;
    uint64_t v = 0;

    switch (width) {
    case 1:
        v = *data;
        break;
    case 2:
        memcpy(&v16, data, sizeof v16);
        v = le16toh(v16);
        break;
    case 4:
        memcpy(&v32, data, sizeof v32);
        v = le32toh(v32);
        break;
    default:
        memcpy(&v, data, sizeof v);
        v = le64toh(v);
    }
    lua_pushinteger(L, (lua_Integer)v);
    return 1;
}

void buffer_pull_integer(uint8_t *data, uint32_t width, lua_Integer value)
{
    uint16_t v16 = htole16((uint16_t)value);
    uint32_t v32 = htole32((uint32_t)value);
    uint64_t v64 = htole64((uint64_t)value);

    switch (width) {
    case 1:
        *data = (uint8_t)value;
        break;
    case 2:
        memcpy(data, &v16, sizeof v16);
        break;
    case 4:
        memcpy(data, &v32, sizeof v32);
        break;
    default:
        memcpy(data, &v64, sizeof v64);
    }
}

void buffer_new_type(lua_State *L, const char *type, const luaL_Reg *methods, lua_CFunction integer)
{
    static const struct {
        const char *name;
        uint32_t width;
    } widths[] = { { "u8", 1 }, { "u16", 2 }, { "u32", 4 }, { "u64", 8 } };

    luaL_newmetatable(L, type);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        lua_pushinteger(L, widths[i].width);
        lua_pushcclosure(L, integer, 1);
        lua_setfield(L, -2, widths[i].name);
    }
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, type);
    lua_setfield(L, -2, "__metatable");
}

uint32_t buffer_width(lua_State *L)
{
    return (uint32_t)lua_tointeger(L, lua_upvalueindex(1));
}

/* string.unpack(fmt, data) for the format at 2; the position it returns last becomes an offset of the object. */
int buffer_unpack(lua_State *L, const uint8_t *data, uint64_t left, lua_Integer off)
{
    int base = lua_gettop(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, script_of(L)->unpack_ref);
    lua_pushvalue(L, 2);
    lua_pushlstring(L, (const char *)data, left < 65536 ? left : 65536);
    lua_call(L, 2, LUA_MULTRET);
    lua_pushinteger(L, off + lua_tointeger(L, -1) - 1);
    lua_replace(L, -2);
    return lua_gettop(L) - base;
}

/* ---- buffers ---- */

struct buffer *buffer_test(lua_State *L, int i)
{
    return luaL_testudata(L, i, BUFFER_TYPE);
}

static struct buffer *check_buffer(lua_State *L)
{
    struct buffer *b = luaL_checkudata(L, 1, BUFFER_TYPE);

    if (!b->data)
        luaL_error(L, "a BAR's ram is there once the device runs, not while the script loads");
    return b;
}

int buffer_new(lua_State *L)
{
    lua_Integer n = util_check_integer(L, 1, "a buffer's size");
    struct buffer *b;

    if (n < 1 || (uint64_t)n > SCRIPT_TRANSFER)
        return luaL_error(L, "a buffer has 1 to %I bytes, not %I", (lua_Integer)SCRIPT_TRANSFER, n);
    b = lua_newuserdatauv(L, sizeof *b + (size_t)n, 0);
    b->size = (uint64_t)n;
    b->data = b->own;
    memset(b->own, 0, (size_t)n);
    luaL_setmetatable(L, BUFFER_TYPE);
    return 1;
}

void buffer_push_ram(lua_State *L, struct bar_decl *bar)
{
    struct buffer *b = lua_newuserdatauv(L, sizeof *b, 0);

    b->size = bar->b.size;
    b->data = NULL; /* bound in create */
    bar->ram = b;
    luaL_setmetatable(L, BUFFER_TYPE);
    lua_pushvalue(L, -1);
    luaL_ref(L, LUA_REGISTRYINDEX); /* as long as the script, whatever it keeps of its BAR */
}

static int buffer_read(lua_State *L)
{
    struct buffer *b = check_buffer(L);
    lua_Integer off = util_check_integer(L, 2, "the offset"), n = util_check_integer(L, 3, "the length");

    if (buffer_fault(L, b->size, off, n) || !buffer_length(L, n))
        return 2;
    lua_pushlstring(L, (const char *)b->data + off, (size_t)n);
    return 1;
}

static int buffer_write(lua_State *L)
{
    struct buffer *b = check_buffer(L);
    const char *data;
    lua_Integer off;
    size_t n;

    /* (addr, nil, message), the result of a read that failed, is passed on. */
    if (lua_isnil(L, 3) && lua_gettop(L) >= 4) {
        lua_settop(L, 4);
        return 2;
    }
    off = util_check_integer(L, 2, "the offset");
    if (lua_type(L, 3) != LUA_TSTRING)
        return luaL_error(L, "write takes a string, not %s", luaL_typename(L, 3));
    data = lua_tolstring(L, 3, &n);
    if (buffer_fault(L, b->size, off, (lua_Integer)n))
        return 2;
    memcpy(b->data + off, data, n);
    lua_pushboolean(L, 1);
    return 1;
}

static int access_integer(lua_State *L)
{
    uint32_t width = buffer_width(L);
    struct buffer *b = check_buffer(L);
    lua_Integer off = util_check_integer(L, 2, "the offset");

    if (buffer_fault(L, b->size, off, width))
        return 2;
    if (lua_isnone(L, 3))
        return buffer_push_integer(L, b->data + off, width);
    buffer_pull_integer(b->data + off, width, util_check_integer(L, 3, "the value"));
    lua_pushboolean(L, 1);
    return 1;
}

static int buffer_unpack_at(lua_State *L)
{
    struct buffer *b = check_buffer(L);
    lua_Integer off = lua_isnoneornil(L, 3) ? 0 : util_check_integer(L, 3, "the offset");

    luaL_checkstring(L, 2);
    if (buffer_fault(L, b->size, off, 0))
        return 2;
    return buffer_unpack(L, b->data + off, b->size - (uint64_t)off, off);
}

static int buffer_len(lua_State *L)
{
    const struct buffer *b = luaL_checkudata(L, 1, BUFFER_TYPE);

    lua_pushinteger(L, (lua_Integer)b->size);
    return 1;
}

void buffer_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "read", buffer_read },
        { "write", buffer_write },
        { "unpack", buffer_unpack_at },
        { NULL, NULL },
    };

    buffer_new_type(L, BUFFER_TYPE, methods, access_integer);
    lua_pushcfunction(L, buffer_len);
    lua_setfield(L, -2, "__len");
    lua_pop(L, 1);
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_getfield(L, -1, "unpack");
    script_of(L)->unpack_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}
