/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma - dev.dma: client memory by value, and views of it.
 *
 * Addresses and lengths may be anything a guest wrote. Memory that is reached by messages only makes the hook wait
 * (task.c), where it may; elsewhere it gives nil, "would wait". Runs on the device's thread.
 */
#include <errno.h>
#include <string.h>

#include "lua/binding.h"

#define DMA_TYPE "dma"
#define VIEW_TYPE "view"

struct view {
    struct vfu_dma_window window;
    bool open;
};

const char *dma_message(int32_t status)
{
    switch (status) {
    case -EFAULT:
        return "no such memory";
    case -ENOTCONN:
    case -ECANCELED:
        return "client gone";
    case -EWOULDBLOCK:
        return "would wait";
    case -ETIMEDOUT:
        return "the client did not answer in time";
    case -EIO:
        return "the client answered with an error";
    case -ENOBUFS:
        return "too many requests in flight";
    case -EBUSY:
        return "the device is stopped";
    case -ENOTSUP:
        return "DMA is not granted";
    case -EINVAL:
        return "not possible";
    default:
        return "DMA failed";
    }
}

static int push_failure(lua_State *L, int32_t status)
{
    luaL_pushfail(L);
    lua_pushstring(L, dma_message(status));
    return 2;
}

/* dev.dma is `dma` at 1, for the call dev.dma:read(...). */
static struct script *check_dma(lua_State *L)
{
    if (!luaL_testudata(L, 1, DMA_TYPE))
        luaL_error(L, "call it as dev.dma:method(...), with a colon");
    return script_of(L);
}

int dma_read_through(lua_State *L, const struct vfu_host *host, lua_Integer addr, lua_Integer n)
{
    int top = lua_gettop(L);
    luaL_Buffer b;
    int32_t err;
    char *data;

    if (!buffer_length(L, n))
        return 2;
    if (!n) {
        lua_pushliteral(L, "");
        return 1;
    }
    data = luaL_buffinitsize(L, &b, (size_t)n);
    err = host->dma_read(host, (uint64_t)addr, data, (uint64_t)n);
    if (!err) {
        luaL_pushresultsize(&b, (size_t)n);
        return 1;
    }
    luaL_pushresultsize(&b, 0);
    lua_settop(L, top);
    if (err == -EWOULDBLOCK && task_may_wait(L))
        return task_wait_dma(L, host, (uint64_t)addr, NULL, (uint64_t)n, 0, 0);
    return push_failure(L, err);
}

static int dma_read(lua_State *L)
{
    struct script *s = check_dma(L);
    lua_Integer addr = util_check_integer(L, 2, "the address"), n = util_check_integer(L, 3, "the length");

    return dma_read_through(L, s->host, addr, n);
}

static int write_bytes(lua_State *L, const struct vfu_host *host, uint64_t addr, const void *data, uint64_t n)
{
    int32_t err = host->dma_write(host, addr, data, n);

    if (!err) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (err == -EWOULDBLOCK && task_may_wait(L))
        return task_wait_dma(L, host, addr, data, n, VFU_DMA_WRITE, 0);
    return push_failure(L, err);
}

int dma_write_through(lua_State *L, const struct vfu_host *host, lua_Integer addr, const char *data, size_t n)
{
    if (!buffer_length(L, (lua_Integer)n))
        return 2;
    if (!n) {
        lua_pushboolean(L, 1);
        return 1;
    }
    return write_bytes(L, host, (uint64_t)addr, data, n);
}

static int dma_write(lua_State *L)
{
    struct script *s = check_dma(L);
    lua_Integer addr;
    const char *data;
    size_t n;

    if (lua_isnil(L, 3) && lua_gettop(L) >= 4) {
        lua_settop(L, 4);
        return 2;
    }
    addr = util_check_integer(L, 2, "the address");
    if (lua_type(L, 3) != LUA_TSTRING)
        return luaL_error(L, "write takes a string, not %s", luaL_typename(L, 3));
    data = lua_tolstring(L, 3, &n);
    return dma_write_through(L, s->host, addr, data, n);
}

static int access_integer(lua_State *L)
{
    uint32_t width = buffer_width(L);
    struct script *s = check_dma(L);
    uint64_t addr = (uint64_t)util_check_integer(L, 2, "the address");
    uint8_t data[8];
    int32_t err;

    if (!lua_isnone(L, 3)) {
        buffer_pull_integer(data, width, util_check_integer(L, 3, "the value"));
        return write_bytes(L, s->host, addr, data, width);
    }
    err = s->host->dma_read(s->host, addr, data, width);
    if (!err)
        return buffer_push_integer(L, data, width);
    if (err == -EWOULDBLOCK && task_may_wait(L))
        return task_wait_dma(L, s->host, addr, NULL, width, 0, width);
    return push_failure(L, err);
}

/* ---- views ---- */

static int dma_view(lua_State *L)
{
    struct script *s = check_dma(L);
    lua_Integer addr = util_check_integer(L, 2, "the address"), n = util_check_integer(L, 3, "the length");
    const char *mode = luaL_optstring(L, 4, "r");
    uint32_t prot = 0;
    struct view *v;
    int32_t err;

    if (strcmp(mode, "r") && strcmp(mode, "w") && strcmp(mode, "rw"))
        return luaL_error(L, "a view's mode is \"r\", \"w\" or \"rw\", not \"%s\"", mode);
    if (!(s->d.caps & VFU_CAP_DMA_MAP))
        return luaL_error(L, "views need dma = {map = true} in vfu.device");
    prot |= strchr(mode, 'r') ? VFU_DMA_PROT_READ : 0;
    prot |= strchr(mode, 'w') ? VFU_DMA_PROT_WRITE : 0;
    if (n < 1)
        return push_failure(L, -EINVAL);
    v = lua_newuserdatauv(L, sizeof *v, 0);
    memset(v, 0, sizeof *v);
    luaL_setmetatable(L, VIEW_TYPE);
    v->window.struct_size = sizeof v->window;
    err = s->host->dma_map(s->host, (uint64_t)addr, (uint64_t)n, prot, &v->window);
    if (err)
        return push_failure(L, err);
    v->open = true;
    return 1;
}

/* The view at 1 if [off, off + n) of it can be used; else NULL after pushing nil, message. */
static struct view *check_view(lua_State *L, lua_Integer off, lua_Integer n, uint32_t prot)
{
    struct view *v = luaL_checkudata(L, 1, VIEW_TYPE);

    if (!v->open || !v->window.data) {
        luaL_pushfail(L);
        lua_pushstring(L, v->open ? "memory gone" : "view closed");
        return NULL;
    }
    if (!(v->window.prot & prot)) {
        luaL_pushfail(L);
        lua_pushstring(L, prot & VFU_DMA_PROT_WRITE ? "view not for writing" : "view not for reading");
        return NULL;
    }
    return buffer_fault(L, v->window.len, off, n) ? NULL : v;
}

/* Memory that the client has taken away under us read as zero: say so instead. */
static int checked(lua_State *L, struct view *v, int nresults)
{
    struct script *s = script_of(L);
    int32_t err = s->host->dma_check(s->host, &v->window);

    return err ? push_failure(L, err) : nresults;
}

static int view_read(lua_State *L)
{
    lua_Integer off = util_check_integer(L, 2, "the offset"), n = util_check_integer(L, 3, "the length");
    struct view *v = check_view(L, off, n, VFU_DMA_PROT_READ);

    if (!v || !buffer_length(L, n))
        return 2;
    lua_pushlstring(L, (const char *)v->window.data + off, (size_t)n);
    return checked(L, v, 1);
}

static int wrote(lua_State *L, struct view *v, lua_Integer off, uint64_t n)
{
    struct script *s = script_of(L);

    s->host->dma_dirty(s->host, v->window.addr + (uint64_t)off, n);
    lua_pushboolean(L, 1);
    return checked(L, v, 1);
}

static int view_write(lua_State *L)
{
    struct view *v;
    const char *data;
    lua_Integer off;
    size_t n;

    if (lua_isnil(L, 3) && lua_gettop(L) >= 4) {
        lua_settop(L, 4);
        return 2;
    }
    off = util_check_integer(L, 2, "the offset");
    if (lua_type(L, 3) != LUA_TSTRING)
        return luaL_error(L, "write takes a string, not %s", luaL_typename(L, 3));
    data = lua_tolstring(L, 3, &n);
    v = check_view(L, off, (lua_Integer)n, VFU_DMA_PROT_WRITE);
    if (!v)
        return 2;
    memcpy(v->window.data + off, data, n);
    return wrote(L, v, off, n);
}

static int view_integer(lua_State *L)
{
    uint32_t width = buffer_width(L);
    lua_Integer off = util_check_integer(L, 2, "the offset");
    bool write = !lua_isnone(L, 3);
    struct view *v = check_view(L, off, width, write ? VFU_DMA_PROT_WRITE : VFU_DMA_PROT_READ);

    if (!v)
        return 2;
    if (write) {
        buffer_pull_integer(v->window.data + off, width, util_check_integer(L, 3, "the value"));
        return wrote(L, v, off, width);
    }
    return checked(L, v, buffer_push_integer(L, v->window.data + off, width));
}

static int view_unpack(lua_State *L)
{
    lua_Integer off = lua_isnoneornil(L, 3) ? 0 : util_check_integer(L, 3, "the offset");
    struct view *v;

    luaL_checkstring(L, 2);
    v = check_view(L, off, 0, VFU_DMA_PROT_READ);
    if (!v)
        return 2;
    return checked(L, v, buffer_unpack(L, v->window.data + off, v->window.len - (uint64_t)off, off));
}

static int view_len(lua_State *L)
{
    const struct view *v = luaL_checkudata(L, 1, VIEW_TYPE);

    lua_pushinteger(L, v->open ? (lua_Integer)v->window.len : 0);
    return 1;
}

/* close, __close and __gc */
static int view_close(lua_State *L)
{
    struct view *v = luaL_checkudata(L, 1, VIEW_TYPE);
    struct script *s = script_of(L);

    if (v->open) {
        v->open = false;
        s->host->dma_unmap(s->host, &v->window);
    }
    return 0;
}

void dma_push(lua_State *L)
{
    lua_newuserdatauv(L, 1, 0);
    luaL_setmetatable(L, DMA_TYPE);
}

void dma_open(lua_State *L)
{
    static const luaL_Reg dma_methods[] = {
        { "read", dma_read }, { "write", dma_write }, { "view", dma_view }, { NULL, NULL },
    };
    static const luaL_Reg view_methods[] = {
        { "read", view_read },   { "write", view_write }, { "unpack", view_unpack },
        { "close", view_close }, { NULL, NULL },
    };
    static const luaL_Reg view_meta[] = {
        { "__len", view_len }, { "__gc", view_close }, { "__close", view_close }, { NULL, NULL }
    };

    buffer_new_type(L, DMA_TYPE, dma_methods, access_integer);
    lua_pop(L, 1);
    buffer_new_type(L, VIEW_TYPE, view_methods, view_integer);
    luaL_setfuncs(L, view_meta, 0);
    lua_pop(L, 1);
}
