/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * save - the script's state as bytes, and back: "vfu.migration/1".
 *
 * After the magic and a version come records, each a letter and its fields; integers are little-endian, a text is its
 * length (4 bytes) and its bytes. What a script keeps beside registers is in them: its state values, what its save
 * hook returned, its pending events, and the hooks that are waiting, as their calls.
 *
 *   S name value            a state value
 *   H value                 the result of dev.on:save
 *   C key every name n *value   a pending event
 *   D key text              the data of a long raw write
 *   E key oneshot           a waiting event
 *   W reg new old raw i j   a waiting write hook
 *   R bar offset size value key  a waiting bar.write
 *   X hook index offset size value key  a waiting hook of a wrapper
 *   .                       the end
 *
 * What is loaded comes from outside: every length is checked against what is left. Runs on the device's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lua/binding.h"

#define SAVE_MAGIC "VFUL"
#define SAVE_VERSION 1u
#define SAVE_DEPTH 64
#define SAVE_RECORDS 200000u

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

/* ---- in ---- */

struct reader {
    struct script *s;
    const uint8_t *p;
    uint64_t left;
};

static const uint8_t *take(lua_State *L, struct reader *r, uint64_t n)
{
    const uint8_t *p = r->p;

    if (n > r->left)
        luaL_error(L, "the saved state ends too early");
    r->p += n;
    r->left -= n;
    return p;
}

static uint64_t take_integer(lua_State *L, struct reader *r, uint32_t width)
{
    const uint8_t *p = take(L, r, width);
    uint64_t v = 0;

    for (uint32_t i = width; i--;)
        v = v << 8 | p[i];
    return v;
}

/* Pushes it; valid as long as it is on the stack. */
static const char *take_text(lua_State *L, struct reader *r)
{
    uint64_t n = take_integer(L, r, 4);

    return lua_pushlstring(L, (const char *)take(L, r, n), n);
}

static void take_value(lua_State *L, struct reader *r, int depth)
{
    struct buffer *b;
    double number;
    uint64_t n;

    luaL_checkstack(L, 8, "state");
    switch (*take(L, r, 1)) {
    case 'n':
        lua_pushnil(L);
        return;
    case 't':
        lua_pushboolean(L, 1);
        return;
    case 'f':
        lua_pushboolean(L, 0);
        return;
    case 'i':
        lua_pushinteger(L, (lua_Integer)take_integer(L, r, 8));
        return;
    case 'd':
        n = take_integer(L, r, 8);
        memcpy(&number, &n, sizeof number);
        lua_pushnumber(L, number);
        return;
    case 's':
        take_text(L, r);
        return;
    case 'b':
        n = take_integer(L, r, 4);
        const uint8_t *data = take(L, r, n);
        lua_pushcfunction(L, buffer_new);
        lua_pushinteger(L, (lua_Integer)n);
        lua_call(L, 1, 1);
        b = buffer_test(L, -1);
        memcpy(b->data, data, n);
        return;
    case '{':
        if (depth >= SAVE_DEPTH)
            luaL_error(L, "the saved state is nested too deep");
        lua_newtable(L);
        while (r->left && *r->p != '}') {
            take_value(L, r, SAVE_DEPTH);
            take_value(L, r, depth + 1);
            if (lua_isnil(L, -2) || (lua_type(L, -2) == LUA_TNUMBER && lua_tonumber(L, -2) != lua_tonumber(L, -2)))
                luaL_error(L, "the saved state is damaged: no such key");
            lua_rawset(L, -3);
        }
        take(L, r, 1);
        return;
    default:
        luaL_error(L, "the saved state is damaged: no such kind of value");
    }
}

/* A buffer stays the object it is, since the script may hold it elsewhere too; its bytes change. */
static bool fill_buffer(lua_State *L, struct script *s, const char *name)
{
    struct buffer *old = buffer_test(L, -2), *saved = buffer_test(L, -1);

    if (!old || !saved)
        return false;
    if (old->size != saved->size)
        vfu_logf(s->host, VFU_LOG_WARN, "state %s: %llu bytes were saved, %llu fit", name,
                 (unsigned long long)saved->size, (unsigned long long)old->size);
    memset(old->data, 0, old->size);
    memcpy(old->data, saved->data, old->size < saved->size ? old->size : saved->size);
    return true;
}

static void take_state(lua_State *L, struct reader *r)
{
    struct script *s = r->s;
    int base = lua_gettop(L);
    const char *name = take_text(L, r);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
    lua_pushvalue(L, base + 1);
    bool known = lua_rawget(L, -2) != LUA_TNIL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->members_ref);
    lua_pushvalue(L, base + 1);
    if (known)
        lua_rawget(L, -2);
    take_value(L, r, 0);
    if (!known)
        vfu_logf(s->host, VFU_LOG_WARN, "state %s is saved, but the script has none of that name", name);
    else if (!fill_buffer(L, s, name)) {
        lua_pushvalue(L, base + 1);
        lua_replace(L, -3); /* members, name, value */
        lua_rawset(L, -3);
    }
    lua_settop(L, base);
}

static void note_key(struct script *s, uint64_t key)
{
    if (key >= s->next_key && key < INT64_MAX)
        s->next_key = key + 1;
}

static void take_call(lua_State *L, struct reader *r)
{
    struct script *s = r->s;
    int base = lua_gettop(L);
    uint64_t key = take_integer(L, r, 8), every = take_integer(L, r, 1), n;

    take_text(L, r);
    n = take_integer(L, r, 4);
    if (n > SCRIPT_ARGS)
        luaL_error(L, "the saved state is damaged: an event of %I arguments", (lua_Integer)n);
    lua_createtable(L, (int)n + CALL_FIRST, 0);
    lua_pushvalue(L, base + 1);
    lua_rawseti(L, base + 2, CALL_NAME);
    lua_pushinteger(L, (lua_Integer)n);
    lua_rawseti(L, base + 2, CALL_ARGS);
    lua_pushboolean(L, every != 0);
    lua_rawseti(L, base + 2, CALL_EVERY);
    for (uint64_t i = 0; i < n; i++) {
        take_value(L, r, SAVE_DEPTH);
        lua_rawseti(L, base + 2, CALL_FIRST + (lua_Integer)i);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->events_ref);
    lua_pushvalue(L, base + 1);
    if (lua_rawget(L, -2) != LUA_TFUNCTION) {
        vfu_logf(s->host, VFU_LOG_WARN, "event %s is pending, but the script has none of that name",
                 lua_tostring(L, base + 1));
    } else {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->calls_ref);
        lua_pushvalue(L, base + 2);
        lua_rawseti(L, -2, (lua_Integer)key);
        note_key(s, key);
    }
    lua_settop(L, base);
}

static void take_data(lua_State *L, struct reader *r)
{
    uint64_t key = take_integer(L, r, 8);

    lua_rawgeti(L, LUA_REGISTRYINDEX, r->s->calls_ref);
    take_text(L, r);
    lua_rawseti(L, -2, (lua_Integer)key);
    note_key(r->s, key);
    lua_pop(L, 1);
}

static struct task *new_restart(lua_State *L, struct script *s, uint32_t kind)
{
    struct task *t = state_alloc(s, NULL, 0, sizeof *t), **end = &s->restart;

    if (!t)
        luaL_error(L, "not enough memory");
    memset(t, 0, sizeof *t);
    t->s = s;
    t->kind = kind;
    while (*end)
        end = &(*end)->next;
    *end = t;
    return t;
}

static void take_waiting_write(lua_State *L, struct reader *r)
{
    struct script *s = r->s;
    int base = lua_gettop(L);
    const char *name = take_text(L, r);
    struct reg_decl *reg = map_find(s, name);
    struct task proto = { .reg = reg };
    const struct group_decl *group = reg && reg->r.group != VFU_NONE ? s->groups.items[reg->r.group] : NULL;

    proto.value = take_integer(L, r, 8);
    proto.old = take_integer(L, r, 8);
    proto.raw = take_integer(L, r, 8);
    proto.index = (uint32_t)take_integer(L, r, 4);
    proto.group_index = (uint32_t)take_integer(L, r, 4);
    if (!reg || reg->write_ref == LUA_NOREF || (reg->r.count ? proto.index >= reg->r.count : proto.index != VFU_NONE) ||
        (group ? proto.group_index >= group->g.count : proto.group_index != VFU_NONE)) {
        vfu_logf(s->host, VFU_LOG_WARN, "a write of %s was waiting, but the script has no such hook now", name);
    } else {
        struct task *t = new_restart(L, s, TASK_WRITE);

        t->reg = proto.reg;
        t->value = proto.value;
        t->old = proto.old;
        t->raw = proto.raw;
        t->index = proto.index;
        t->group_index = proto.group_index;
    }
    lua_settop(L, base);
}

static void take_waiting_raw(lua_State *L, struct reader *r)
{
    struct script *s = r->s;
    uint32_t bar = (uint32_t)take_integer(L, r, 4);
    uint64_t offset = take_integer(L, r, 8), size = take_integer(L, r, 4), value = take_integer(L, r, 8);
    uint64_t key = take_integer(L, r, 8);
    struct task *t;

    if (bar > 5 || !s->bars[bar] || s->bars[bar]->write_ref == LUA_NOREF || offset > s->bars[bar]->b.size ||
        size > s->bars[bar]->b.size - offset) {
        vfu_logf(s->host, VFU_LOG_WARN, "a write of BAR %u was waiting, but the script has no such hook now", bar);
        return;
    }
    t = new_restart(L, s, TASK_RAW);
    t->bar = s->bars[bar];
    t->offset = offset;
    t->size = (uint32_t)size;
    t->value = value;
    t->key = key;
}

static void take_waiting_wrap(lua_State *L, struct reader *r)
{
    struct script *s = r->s;
    struct task proto = { .hook = (uint32_t)take_integer(L, r, 4) }, *t;

    proto.index = (uint32_t)take_integer(L, r, 4);
    proto.offset = take_integer(L, r, 8);
    proto.size = (uint32_t)take_integer(L, r, 4);
    proto.value = take_integer(L, r, 8);
    proto.key = take_integer(L, r, 8);
    if (!s->wrap || !wraphook_has(s, proto.hook)) {
        vfu_logf(s->host, VFU_LOG_WARN, "a hook of a wrapper was waiting, but the script has no such hook now");
        return;
    }
    t = new_restart(L, s, TASK_WRAP);
    t->hook = proto.hook;
    t->index = proto.index;
    t->offset = proto.offset;
    t->size = proto.size;
    t->value = proto.value;
    t->key = proto.key;
}

static bool take_record(lua_State *L, struct reader *r)
{
    struct task *t;
    uint64_t key;

    switch (*take(L, r, 1)) {
    case 'S':
        take_state(L, r);
        return true;
    case 'H':
        take_value(L, r, 0);
        lua_replace(L, 2);
        return true;
    case 'C':
        take_call(L, r);
        return true;
    case 'D':
        take_data(L, r);
        return true;
    case 'E':
        key = take_integer(L, r, 8);
        t = new_restart(L, r->s, TASK_EVENT);
        t->key = key;
        t->oneshot = take_integer(L, r, 1) != 0;
        return true;
    case 'W':
        take_waiting_write(L, r);
        return true;
    case 'R':
        take_waiting_raw(L, r);
        return true;
    case 'X':
        take_waiting_wrap(L, r);
        return true;
    case '.':
        return false;
    default:
        luaL_error(L, "the saved state is damaged: no such record");
        return false;
    }
}

static int load_all(lua_State *L)
{
    struct vfu_source *source = lua_touserdata(L, 1);
    struct script *s = script_of(L);
    struct reader r = { .s = s, .left = source->left(source) };
    uint32_t records = 0;
    uint8_t *bytes;

    if (r.left > s->limit / 2)
        return luaL_error(L, "the saved state is larger than a script may be");
    lua_pushnil(L); /* 2: what the load hook gets */
    bytes = lua_newuserdatauv(L, r.left + 1, 0);
    if (source->read(source, bytes, r.left))
        return luaL_error(L, "the saved state cannot be read");
    r.p = bytes;
    if (memcmp(take(L, &r, 4), SAVE_MAGIC, 4))
        return luaL_error(L, "the saved state is not of a Lua device");
    uint64_t version = take_integer(L, &r, 4);
    if (version != SAVE_VERSION)
        return luaL_error(L, "the saved state is of version %I, this is version %d", (lua_Integer)version,
                          (int)SAVE_VERSION);
    while (take_record(L, &r))
        if (++records > SAVE_RECORDS)
            return luaL_error(L, "the saved state has too many records");
    if (s->on[HOOK_LOAD] != LUA_NOREF && !lua_isnil(L, 2)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->on[HOOK_LOAD]);
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
        lua_pushvalue(L, 2);
        lua_call(L, 2, 0);
    }
    return 0;
}

void save_drop(struct script *s)
{
    while (s->restart) {
        struct task *t = s->restart;

        s->restart = t->next;
        state_alloc(s, t, sizeof *t, 0);
    }
}

int32_t save_load(void *self, struct vfu_source *source)
{
    struct script *s = self;

    task_close_all(s);
    event_clear(s);
    save_drop(s);
    return s->wrap ? wrap_load(s, source) : save_take(s, source);
}

int32_t save_take(struct script *s, struct vfu_source *source)
{
    lua_pushcfunction(s->L, load_all);
    lua_pushlightuserdata(s->L, source);
    if (state_call(s, 1, 0, "load")) {
        save_drop(s);
        return -EINVAL;
    }
    return 0;
}

void save_restart(struct script *s)
{
    while (s->restart) {
        struct task *t = s->restart;

        s->restart = t->next;
        if (t->kind == TASK_EVENT)
            event_start(s, t->key, t->oneshot);
        else
            hooks_restart(s, t);
        state_alloc(s, t, sizeof *t, 0);
    }
}
