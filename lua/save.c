/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * save - the script's state as bytes: "vfu.migration/1"; back again is load.c.
 *
 * After the magic and a version come records, each a letter and its fields; integers are little-endian, a text is its
 * length (4 bytes) and its bytes. What a script keeps beside registers is in them: its state values, what its save
 * hook returned, its pending events, and the hooks that are waiting, as their calls.
 *
 *   S name kind value       a state value, and what it was declared as
 *   H value                 the result of dev.on:save
 *   C key every timer name n *value   a pending event
 *   K key                   greater than all that have been given: those of alarms are with the host alone
 *   D key text              the data of a long raw write
 *   E key oneshot           a waiting event
 *   W reg new old raw i j   a waiting write hook
 *   R bar offset size value key  a waiting bar.write
 *   X hook index offset size value key  a waiting hook of a wrapper
 *   .                       the end
 *
 * Runs on the device's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lua/binding.h"

/* ---- out ---- */

struct writer {
    struct script *s;
    struct vfu_sink *sink;
    int32_t err;
    char path[256];
};

static void put(lua_State *L, struct writer *w, const void *data, uint64_t n)
{
    w->err = n ? w->sink->write(w->sink, data, n) : 0;
    if (w->err)
        luaL_error(L, "the host does not take the state (error %d)", (int)-w->err);
}

static void put_integer(lua_State *L, struct writer *w, uint64_t v, uint32_t width)
{
    uint8_t bytes[8];

    buffer_pull_integer(bytes, width, (lua_Integer)v);
    put(L, w, bytes, width);
}

static void put_text(lua_State *L, struct writer *w, const char *text, size_t n)
{
    put_integer(L, w, n, 4);
    put(L, w, text, n);
}

static void put_letter(lua_State *L, struct writer *w, char letter)
{
    put(L, w, &letter, 1);
}

static void put_value(lua_State *L, struct writer *w, int i, int depth);

/* The tail of the path while a table's item is written: ".name" or "[1]". */
static size_t extend_path(lua_State *L, struct writer *w, int key)
{
    size_t at = strlen(w->path);

    if (lua_type(L, key) == LUA_TSTRING)
        snprintf(w->path + at, sizeof w->path - at, ".%s", lua_tostring(L, key));
    else if (lua_isinteger(L, key))
        snprintf(w->path + at, sizeof w->path - at, "[%lld]", (long long)lua_tointeger(L, key));
    else
        snprintf(w->path + at, sizeof w->path - at, "[%s]", luaL_typename(L, key));
    return at;
}

static void put_table(lua_State *L, struct writer *w, int i, int depth)
{
    if (lua_getmetatable(L, i))
        luaL_error(L, "%s has a metatable, which cannot be saved", w->path);
    if (depth >= SAVE_DEPTH)
        luaL_error(L, "%s is nested too deep, or holds itself", w->path);
    luaL_checkstack(L, 8, "state");
    put_letter(L, w, '{');
    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
        int key = lua_absindex(L, -2);
        size_t at = extend_path(L, w, key);

        put_value(L, w, key, SAVE_DEPTH);
        put_value(L, w, key + 1, depth + 1);
        w->path[at] = '\0';
    }
    put_letter(L, w, '}');
}

static void put_value(lua_State *L, struct writer *w, int i, int depth)
{
    const struct buffer *b;
    const char *text;
    double number;
    uint64_t bits;
    size_t n;

    switch (lua_type(L, i)) {
    case LUA_TNIL:
        put_letter(L, w, 'n');
        return;
    case LUA_TBOOLEAN:
        put_letter(L, w, lua_toboolean(L, i) ? 't' : 'f');
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, i)) {
            put_letter(L, w, 'i');
            put_integer(L, w, (uint64_t)lua_tointeger(L, i), 8);
            return;
        }
        number = lua_tonumber(L, i);
        memcpy(&bits, &number, sizeof bits);
        put_letter(L, w, 'd');
        put_integer(L, w, bits, 8);
        return;
    case LUA_TSTRING:
        text = lua_tolstring(L, i, &n);
        if (n > UINT32_MAX)
            luaL_error(L, "%s is too long to be saved", w->path);
        put_letter(L, w, 's');
        put_text(L, w, text, n);
        return;
    case LUA_TTABLE:
        put_table(L, w, i, depth);
        return;
    default:
        b = buffer_test(L, i);
        if (!b || !b->data)
            luaL_error(L, "%s is a %s, which cannot be saved", w->path, luaL_typename(L, i));
        put_letter(L, w, 'b');
        put_text(L, w, (const char *)b->data, b->size);
    }
}

int save_kind(lua_State *L, int i)
{
    switch (lua_type(L, i)) {
    case LUA_TBOOLEAN:
        return 'f';
    case LUA_TNUMBER:
        return 'i';
    case LUA_TSTRING:
        return 's';
    case LUA_TTABLE:
        return '{';
    default:
        return 'b';
    }
}

static void put_state(lua_State *L, struct writer *w)
{
    struct script *s = w->s;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->members_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *name = lua_tostring(L, -2);

        snprintf(w->path, sizeof w->path, "state %s", name);
        put_letter(L, w, 'S');
        put_text(L, w, name, strlen(name));
        put_letter(L, w, (char)lua_tointeger(L, -1));
        lua_pushvalue(L, -2);
        lua_rawget(L, -5);
        put_value(L, w, lua_gettop(L), 0);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
}

static void put_calls(lua_State *L, struct writer *w)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, w->s->calls_ref);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        int call = lua_gettop(L);
        size_t n;

        if (lua_type(L, call) == LUA_TSTRING) {
            const char *text = lua_tolstring(L, call, &n);

            put_letter(L, w, 'D');
            put_integer(L, w, (uint64_t)lua_tointeger(L, -2), 8);
            put_text(L, w, text, n);
            continue;
        }
        put_letter(L, w, 'C');
        put_integer(L, w, (uint64_t)lua_tointeger(L, -2), 8);
        lua_rawgeti(L, call, CALL_EVERY);
        put_integer(L, w, (uint64_t)lua_toboolean(L, -1), 1);
        lua_rawgeti(L, call, CALL_TIMER);
        put_integer(L, w, (uint64_t)lua_tointeger(L, -1), 8);
        lua_rawgeti(L, call, CALL_NAME);
        const char *name = lua_tolstring(L, -1, &n);
        put_text(L, w, name, n);
        lua_rawgeti(L, call, CALL_ARGS);
        lua_Integer args = lua_tointeger(L, -1);
        put_integer(L, w, (uint64_t)args, 4);
        lua_settop(L, call);
        for (lua_Integer k = 0; k < args; k++) {
            lua_rawgeti(L, call, CALL_FIRST + k);
            put_value(L, w, call + 1, 0);
            lua_settop(L, call);
        }
    }
    lua_pop(L, 1);
}

static void put_task(lua_State *L, struct writer *w, const struct task *t)
{
    if (t->kind == TASK_QUEUE)
        return; /* its chain is read again, and starts it */
    if (t->kind == TASK_EVENT) {
        put_letter(L, w, 'E');
        put_integer(L, w, t->key, 8);
        put_integer(L, w, t->oneshot, 1);
    } else if (t->kind == TASK_WRITE) {
        put_letter(L, w, 'W');
        put_text(L, w, t->reg->full, strlen(t->reg->full));
        put_integer(L, w, t->value, 8);
        put_integer(L, w, t->old, 8);
        put_integer(L, w, t->raw, 8);
        put_integer(L, w, t->index, 4);
        put_integer(L, w, t->group_index, 4);
    } else if (t->kind == TASK_WRAP) {
        if (!wraphook_saved(t))
            return;
        put_letter(L, w, 'X');
        put_integer(L, w, t->hook, 4);
        put_integer(L, w, t->index, 4);
        put_integer(L, w, t->offset, 8);
        put_integer(L, w, t->size, 4);
        put_integer(L, w, t->value, 8);
        put_integer(L, w, t->key, 8);
    } else {
        put_letter(L, w, 'R');
        put_integer(L, w, t->bar->b.index, 4);
        put_integer(L, w, t->offset, 8);
        put_integer(L, w, t->size, 4);
        put_integer(L, w, t->value, 8);
        put_integer(L, w, t->key, 8);
    }
}

static int save_all(lua_State *L)
{
    struct writer *w = lua_touserdata(L, 1);
    struct script *s = w->s;

    put(L, w, SAVE_MAGIC, 4);
    put_integer(L, w, SAVE_VERSION, 4);
    put_letter(L, w, 'K');
    put_integer(L, w, s->next_key, 8);
    put_state(L, w);
    if (s->on[HOOK_SAVE] != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->on[HOOK_SAVE]);
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
        lua_call(L, 1, 1);
        if (!lua_isnil(L, -1) && !lua_istable(L, -1))
            luaL_error(L, "on:save must return a table, not %s", luaL_typename(L, -1));
        snprintf(w->path, sizeof w->path, "the table of on:save");
        put_letter(L, w, 'H');
        put_value(L, w, lua_gettop(L), 0);
        lua_pop(L, 1);
    }
    put_calls(L, w);
    for (const struct task *t = s->restart; t; t = t->next)
        put_task(L, w, t);
    for (const struct task *t = s->tasks; t; t = t->next)
        put_task(L, w, t);
    put_letter(L, w, '.');
    return 0;
}

bool save_empty(struct script *s)
{
    lua_State *L = s->L;
    bool empty = s->on[HOOK_SAVE] == LUA_NOREF && !s->restart;

    for (const struct task *t = s->tasks; t; t = t->next)
        empty = empty && t->kind == TASK_WRAP && !wraphook_saved(t);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->calls_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
    for (int i = -2; i < 0 && empty; i++) {
        lua_pushnil(L);
        if (lua_next(L, i - 1)) {
            empty = false;
            lua_pop(L, 2);
        }
    }
    lua_pop(L, 2);
    return empty;
}

int32_t save_save(void *self, struct vfu_sink *sink)
{
    struct script *s = self;

    int32_t err = s->virtio ? virtio_save(s, sink) : 0;

    if (err)
        return err;
    return s->wrap ? wrap_save(s, sink) : save_own(s, sink);
}

int32_t save_own(struct script *s, struct vfu_sink *sink)
{
    struct writer w = { .s = s, .sink = sink };

    lua_pushcfunction(s->L, save_all);
    lua_pushlightuserdata(s->L, &w);
    if (state_call(s, 1, 0, "save"))
        return w.err ? w.err : -EIO;
    return 0;
}
