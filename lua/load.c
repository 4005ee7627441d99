/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load - a script's state from the bytes that save.c has made of it.
 *
 * What is loaded comes from outside: every length is checked against what is left. Runs on the device's thread.
 */
#include <errno.h>
#include <string.h>

#include "lua/binding.h"

#define SAVE_RECORDS 200000u

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

static const char *kind_name(int kind)
{
    return kind == 'i' ? "number" : kind == 's' ? "string" : kind == '{' ? "table" : kind == 'b' ? "buffer" : "boolean";
}

static void take_state(lua_State *L, struct reader *r)
{
    struct script *s = r->s;
    int base = lua_gettop(L);
    const char *name = take_text(L, r);

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
    lua_pushvalue(L, base + 1);
    bool known = lua_rawget(L, -2) != LUA_TNIL;
    int kind = (int)lua_tointeger(L, -1), was = (int)take_integer(L, r, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->members_ref);
    lua_pushvalue(L, base + 1);
    if (known)
        lua_rawget(L, -2);
    take_value(L, r, 0);
    if (!known)
        vfu_logf(s->host, VFU_LOG_WARN, "state %s is saved, but the script has none of that name", name);
    else if (kind != was && kind != 'f' && was != 'f') /* a boolean may stand for "none yet", of anything */
        vfu_logf(s->host, VFU_LOG_WARN, "state %s is declared as a %s now, and was a %s: it begins anew", name,
                 kind_name(kind), kind_name(was));
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
    uint64_t key = take_integer(L, r, 8), every = take_integer(L, r, 1), timer = take_integer(L, r, 8), n;

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
    lua_pushinteger(L, (lua_Integer)timer);
    lua_rawseti(L, base + 2, CALL_TIMER);
    for (uint64_t i = 0; i < n; i++) {
        take_value(L, r, SAVE_DEPTH);
        lua_rawseti(L, base + 2, CALL_FIRST + (lua_Integer)i);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->events_ref);
    lua_pushvalue(L, base + 1);
    if (lua_rawget(L, -2) != LUA_TFUNCTION) {
        vfu_logf(s->host, VFU_LOG_WARN, "event %s is pending, but the script has none of that name",
                 lua_tostring(L, base + 1));
        (void)s->host->timer_cancel(s->host, (int64_t)timer);
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
    if (!s->wrap || !wraphook_has(s, proto.hook) || !wraphook_saved(&proto)) {
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
    case 'K':
        key = take_integer(L, r, 8);
        note_key(r->s, key ? key - 1 : 0);
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
    if (version < SAVE_OLDEST || version > SAVE_VERSION)
        return luaL_error(L, "the saved state is of version %I, and this takes %d to %d", (lua_Integer)version,
                          (int)SAVE_OLDEST, (int)SAVE_VERSION);
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

void load_drop(struct script *s)
{
    while (s->restart) {
        struct task *t = s->restart;

        s->restart = t->next;
        state_alloc(s, t, sizeof *t, 0);
    }
}

int32_t load_load(void *self, struct vfu_source *source)
{
    struct script *s = self;

    task_close_all(s);
    event_clear(s);
    load_drop(s);
    int32_t err = s->virtio ? virtio_load(s, source) : 0;

    if (err)
        return err;
    return s->wrap ? wrap_load(s, source) : load_own(s, source);
}

int32_t load_own(struct script *s, struct vfu_source *source)
{
    lua_pushcfunction(s->L, load_all);
    lua_pushlightuserdata(s->L, source);
    if (state_call(s, 1, 0, "load")) {
        load_drop(s);
        return -EINVAL;
    }
    return 0;
}

void load_restart(struct script *s)
{
    while (s->restart) {
        struct task *t = s->restart;

        s->restart = t->next;
        if (t->kind == TASK_EVENT)
            event_start(s, t->key, t->oneshot);
        else
            access_restart(s, t);
        state_alloc(s, t, sizeof *t, 0);
    }
}
