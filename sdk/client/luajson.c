/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * luajson - values of JSON as values of Lua and back, and the control socket, whose requests are such values. null is
 * nil; a table with [1], or with nothing in it and the mark of an array, is an array. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/lua.h"
#include "sdk/client/text.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONTROL "vfu.client.control"
#define DEPTH 64
#define LINE_MAX_BYTES (16u << 20)
#define SLICE_MS 20 /* how long a DMA request of the device may lie while the control socket is waited for */

/* ---- values ---- */

static void push(lua_State *L, const json_t *value, int depth)
{
    const char *key;
    json_t *item;
    size_t i;

    luaL_checkstack(L, 4, "JSON is nested too deeply");
    switch (depth > DEPTH ? JSON_NULL : json_typeof(value)) {
    case JSON_OBJECT:
        lua_newtable(L);
        json_object_foreach((json_t *)value, key, item) {
            push(L, item, depth + 1);
            lua_setfield(L, -2, key);
        }
        break;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(value), 0);
        json_array_foreach(value, i, item) {
            push(L, item, depth + 1);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(value));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(value));
        break;
    default:
        lua_pushnil(L);
    }
}

void luajson_push(lua_State *L, const json_t *value)
{
    push(L, value, 0);
}

static json_t *get(lua_State *L, int at, int depth);

static json_t *get_array(lua_State *L, int at, int depth)
{
    json_t *array = json_array();
    lua_Integer n = (lua_Integer)lua_rawlen(L, at);

    for (lua_Integer i = 1; array && i <= n; i++) {
        json_t *value;

        lua_rawgeti(L, at, i);
        value = get(L, lua_gettop(L), depth + 1);
        lua_pop(L, 1);
        if (json_array_append_new(array, value)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *get_object(lua_State *L, int at, int depth)
{
    json_t *object = json_object();

    for (lua_pushnil(L); object && lua_next(L, at); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING ||
            json_object_set_new(object, lua_tostring(L, -2), get(L, lua_gettop(L), depth + 1))) {
            json_decref(object);
            lua_pop(L, 2);
            return NULL;
        }
    }
    return object;
}

static json_t *get(lua_State *L, int at, int depth)
{
    size_t size;
    const char *bytes;

    if (depth > DEPTH || !lua_checkstack(L, 4))
        return NULL;
    switch (lua_type(L, at)) {
    case LUA_TNIL:
        return json_null();
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, at));
    case LUA_TNUMBER:
        return lua_isinteger(L, at) ? json_integer(lua_tointeger(L, at)) : json_real(lua_tonumber(L, at));
    case LUA_TSTRING:
        bytes = lua_tolstring(L, at, &size);
        return text_json(bytes, size); /* what devices print may be anything */
    case LUA_TTABLE:
        return lua_rawlen(L, at) ? get_array(L, at, depth) : get_object(L, at, depth);
    default:
        return NULL;
    }
}

json_t *luajson_get(lua_State *L, int at)
{
    return get(L, lua_absindex(L, at), 0);
}

static int core_decode(lua_State *L)
{
    json_error_t error;
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    json_t *value = json_loadb(bytes, size, JSON_DECODE_ANY, &error);

    if (!value) {
        lua_pushnil(L);
        lua_pushstring(L, error.text);
        return 2;
    }
    luajson_push(L, value);
    json_decref(value);
    return 1;
}

/* ---- the control socket ---- */

struct control {
    int fd;
    char *line;
    size_t length, room;
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int core_control(lua_State *L)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = luaL_checkstring(L, 1);
    struct control *control = lua_newuserdatauv(L, sizeof *control, 0);

    memset(control, 0, sizeof *control);
    control->fd = -1;
    luaL_setmetatable(L, CONTROL);
    if (strlen(path) >= sizeof address.sun_path)
        return lua_refused(L, -ENAMETOOLONG, "the path is too long for a socket");
    strcpy(address.sun_path, path);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (control->fd < 0 || connect(control->fd, (struct sockaddr *)&address, sizeof address) < 0)
        return lua_refused(L, -errno, strerror(errno));
    return 1;
}

/* Waits until the control socket can be read or written, and answers the device's DMA meanwhile: 0 or -errno. */
static int control_wait(const struct control *control, short events, struct vfuc *c, uint64_t deadline)
{
    for (;;) {
        struct pollfd fds[3] = {
            { .fd = control->fd, .events = events },
            { .fd = c ? vfuc_fd(c) : -1, .events = POLLIN },
            { .fd = c ? vfuc_twin_fd(c) : -1, .events = POLLIN },
        };
        uint64_t now = now_ms();
        int n, slice = c ? SLICE_MS : 1000;

        if (now >= deadline)
            return -ETIMEDOUT;
        /* what lies in the client's buffer already wakes up no poll */
        if (c && vfuc_serve(c, 0) < 0)
            c = NULL;
        n = poll(fds, 3, deadline - now < (uint64_t)slice ? (int)(deadline - now) : slice);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && fds[0].revents)
            return 0;
    }
}

static int control_send(struct control *control, const char *bytes, size_t size, struct vfuc *c, uint64_t deadline)
{
    while (size > 0) {
        ssize_t n = send(control->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        int err = n < 0 && errno == EAGAIN ? control_wait(control, POLLOUT, c, deadline) : n < 0 ? -errno : 0;

        if (err && err != -EINTR)
            return err;
        bytes += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* The next line is control->line, `length` bytes with the newline; what is behind it stays for the next call. */
static int control_line(struct control *control, struct vfuc *c, uint64_t deadline)
{
    for (;;) {
        char *end = control->length ? memchr(control->line, '\n', control->length) : NULL;
        ssize_t n;
        int err;

        if (end)
            return (int)(end - control->line) + 1;
        if (control->length == control->room) {
            size_t room = control->room ? control->room * 2 : 4096;
            char *line = room > LINE_MAX_BYTES ? NULL : realloc(control->line, room);

            if (!line)
                return -EMSGSIZE;
            control->line = line;
            control->room = room;
        }
        n = recv(control->fd, control->line + control->length, control->room - control->length, MSG_DONTWAIT);
        if (n > 0) {
            control->length += (size_t)n;
            continue;
        }
        err = n == 0 ? -ECONNRESET : errno == EAGAIN ? control_wait(control, POLLIN, c, deadline) : -errno;
        if (err && err != -EINTR)
            return err;
    }
}

/* control:call(request, conn, seconds): the reply that carries the request's id; events are passed over. */
static int control_call(lua_State *L)
{
    struct control *control = luaL_checkudata(L, 1, CONTROL);
    struct vfuc *c = luaconn_get(L, 3);
    uint64_t deadline = now_ms() + lua_seconds(L, 4, UINT64_C(5000000000)) / 1000000;
    json_t *request = luajson_get(L, 2), *reply = NULL;
    char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_int_t id = json_integer_value(json_object_get(request, "id"));
    int n = -EINVAL;

    json_decref(request);
    if (line) {
        n = control_send(control, line, strlen(line), c, deadline);
        if (!n)
            n = control_send(control, "\n", 1, c, deadline);
    }
    free(line);
    while (n >= 0) {
        n = control_line(control, c, deadline);
        if (n < 0)
            break;
        reply = json_loadb(control->line, (size_t)n, 0, NULL);
        control->length -= (size_t)n;
        memmove(control->line, control->line + n, control->length);
        if (json_is_integer(json_object_get(reply, "id")) && json_integer_value(json_object_get(reply, "id")) == id)
            break;
        json_decref(reply);
        reply = NULL;
    }
    if (n < 0)
        return lua_refused(L, n, strerror(-n));
    luajson_push(L, reply);
    json_decref(reply);
    return 1;
}

static int control_gc(lua_State *L)
{
    struct control *control = luaL_checkudata(L, 1, CONTROL);

    if (control->fd >= 0)
        close(control->fd);
    free(control->line);
    control->fd = -1;
    control->line = NULL;
    control->length = control->room = 0;
    return 0;
}

void luajson_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "call", control_call }, { "close", control_gc }, { "__gc", control_gc }, { NULL, NULL },
    };

    luaL_newmetatable(L, CONTROL);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, core_decode);
    lua_setfield(L, -2, "decode");
    lua_pushcfunction(L, core_control);
    lua_setfield(L, -2, "control");
}
