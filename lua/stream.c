/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream - vfu.stream(spec): bytes to and from a terminal, a socket or a file of the host (vfu.stream/1).
 *
 * A script names its streams while it loads; they are opened in create. Its functions readable, writable and peer are
 * called on the device's thread and never wait, as those of reset and attach.
 */
#include <errno.h>
#include <string.h>

#include "lua/binding.h"

#define STREAM_TYPE "stream"
#define CHUNK 4096 /* as much as the host keeps */

enum { ON_READABLE, ON_WRITABLE, ON_PEER, ONS };
static const char *const on_names[] = { "readable", "writable", "peer", NULL };

struct stream_decl {
    struct script *s;
    const char *spec;
    struct vfu_stream *handle; /* NULL before create */
    int on[ONS];
};

/* ---- what the host tells ---- */

static void call_on(struct stream_decl *d, int which, bool connected)
{
    lua_State *L = d->s->L;

    if (d->on[which] == LUA_NOREF)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, d->on[which]);
    lua_pushvalue(L, STACK_DEVICE);
    if (which == ON_PEER)
        lua_pushboolean(L, connected);
    state_call(d->s, which == ON_PEER ? 2 : 1, 0, on_names[which]);
}

static bool look(const struct stream_decl *d, struct vfu_stream_state *state)
{
    *state = (struct vfu_stream_state){ .struct_size = sizeof *state };
    return d->s->streaming->look(d->s->host, d->handle, state) == 0;
}

static void told(void *arg, uint32_t events)
{
    struct stream_decl *d = arg;
    struct vfu_stream_state state;

    if (events & VFU_STREAM_PEER && look(d, &state))
        call_on(d, ON_PEER, state.flags & VFU_STREAM_CONNECTED);
    if (events & VFU_STREAM_READABLE)
        call_on(d, ON_READABLE, false);
    if (events & VFU_STREAM_WRITABLE)
        call_on(d, ON_WRITABLE, false);
}

/* ---- life ---- */

int stream_open_all(struct script *s)
{
    if (!s->streams.n)
        return 0;
    s->streaming = s->host->extension(s->host, VFU_EXT_STREAM);
    if (!s->streaming) {
        s->host->log(s->host, VFU_LOG_ERROR, "this host has no streams");
        return -ENOTSUP;
    }
    for (uint32_t i = 0; i < s->streams.n; i++) {
        struct stream_decl *d = s->streams.items[i];
        const struct vfu_stream_spec spec = { .struct_size = sizeof spec, .spec = d->spec, .fn = told, .arg = d };
        int error = s->streaming->open(s->host, &spec, &d->handle);

        if (error)
            return error;
    }
    return 0;
}

void stream_close_all(struct script *s)
{
    for (uint32_t i = 0; i < s->streams.n; i++) {
        struct stream_decl *d = s->streams.items[i];

        if (d->handle)
            (void)s->streaming->close(s->host, d->handle);
        d->handle = NULL;
    }
}

/* ---- methods ---- */

static struct stream_decl *declared(lua_State *L)
{
    return *(struct stream_decl **)luaL_checkudata(L, 1, STREAM_TYPE);
}

static struct stream_decl *opened(lua_State *L, const char *method)
{
    struct stream_decl *d = declared(L);

    if (!d->handle)
        luaL_error(L, "stream:%s: a stream is open once the device runs, not while the script loads", method);
    return d;
}

/* stream:read([n]) -> string, and true if a break stands behind it */
static int stream_read(lua_State *L)
{
    struct stream_decl *d = opened(L, "read");
    lua_Integer most = lua_isnoneornil(L, 2) ? CHUNK : util_check_integer(L, 2, "stream:read: the most to read");
    char bytes[CHUNK];
    int64_t n;

    if (most < 0)
        return luaL_error(L, "stream:read: %I bytes cannot be read", most);
    n = d->s->streaming->read(d->s->host, d->handle, bytes, most < CHUNK ? (uint64_t)most : CHUNK);
    lua_pushlstring(L, bytes, n > 0 ? (size_t)n : 0);
    if (n == -EINTR) {
        lua_pushboolean(L, true);
        return 2;
    }
    return 1;
}

/* stream:write(string) -> how many bytes of it were taken */
static int stream_write(lua_State *L)
{
    struct stream_decl *d = opened(L, "write");
    size_t len;
    const char *bytes;
    int64_t n;

    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "stream:write: it takes a string, not %s", luaL_typename(L, 2));
    bytes = lua_tolstring(L, 2, &len);
    n = d->s->streaming->write(d->s->host, d->handle, bytes, len);
    lua_pushinteger(L, n > 0 ? n : 0);
    return 1;
}

static int stream_connected(lua_State *L)
{
    struct vfu_stream_state state;

    lua_pushboolean(L, look(opened(L, "connected"), &state) && state.flags & VFU_STREAM_CONNECTED);
    return 1;
}

static int stream_waiting(lua_State *L)
{
    struct vfu_stream_state state;

    lua_pushinteger(L, look(opened(L, "waiting"), &state) ? (lua_Integer)state.readable : 0);
    return 1;
}

static int stream_room(lua_State *L)
{
    struct vfu_stream_state state;

    lua_pushinteger(L, look(opened(L, "room"), &state) ? (lua_Integer)state.room : 0);
    return 1;
}

static int push_done(lua_State *L, int error)
{
    if (!error) {
        lua_pushboolean(L, true);
        return 1;
    }
    luaL_pushfail(L);
    lua_pushstring(L, error == -EAGAIN ? "no room" : error == -ENOTSUP ? "not with such a stream" : strerror(-error));
    return 2;
}

static int stream_send_break(lua_State *L)
{
    struct stream_decl *d = opened(L, "send_break");

    return push_done(L, d->s->streaming->send_break(d->s->host, d->handle));
}

static int stream_hang_up(lua_State *L)
{
    struct stream_decl *d = opened(L, "hang_up");

    return push_done(L, d->s->streaming->hang_up(d->s->host, d->handle));
}

/* ---- declaring ---- */

static int stream_newindex(lua_State *L)
{
    struct stream_decl *d = declared(L);
    const char *name = luaL_tolstring(L, 2, NULL), *better;
    int which = 0;

    lua_settop(L, 3);
    while (on_names[which] && strcmp(on_names[which], name))
        which++;
    better = util_suggest(name, on_names);
    if (!on_names[which])
        return luaL_error(L, "a stream takes functions readable, writable and peer, not %s%s%s%s", name,
                          better ? "; did you mean " : "", better ? better : "", better ? "?" : "");
    if (d->s->sealed)
        return luaL_error(L, "hooks are set while the script loads, not later");
    if (!lua_isfunction(L, 3) && !lua_isnil(L, 3))
        return luaL_error(L, "stream.%s must be a function, not %s", name, luaL_typename(L, 3));
    if (d->on[which] != LUA_NOREF)
        luaL_unref(L, LUA_REGISTRYINDEX, d->on[which]);
    d->on[which] = LUA_NOREF;
    if (!lua_isnil(L, 3))
        d->on[which] = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* vfu.stream(spec) */
int stream_new(lua_State *L)
{
    struct script *s = script_of(L);
    struct stream_decl *d, **box;
    const char *spec;

    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "vfu.stream: it takes a string such as \"pty\" or \"unix:PATH\", not %s", luaL_typename(L, 1));
    if (s->sealed)
        return luaL_error(L, "vfu.stream: streams are named while the script loads, not later");
    spec = lua_tostring(L, 1);
    box = lua_newuserdatauv(L, sizeof *box, 0);
    d = util_alloc(L, sizeof *d);
    d->s = s;
    d->spec = util_strdup(L, *spec ? spec : "null");
    for (int i = 0; i < ONS; i++)
        d->on[i] = LUA_NOREF;
    *box = d;
    luaL_setmetatable(L, STREAM_TYPE);
    util_append(L, &s->streams, d);
    return 1;
}

void stream_open_type(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "read", stream_read },       { "write", stream_write },           { "connected", stream_connected },
        { "waiting", stream_waiting }, { "room", stream_room },             { "send_break", stream_send_break },
        { "hang_up", stream_hang_up }, { NULL, NULL },
    };

    luaL_newmetatable(L, STREAM_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, stream_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, STREAM_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
