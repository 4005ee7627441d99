/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * event - dev:after, dev:every and the events that they start.
 *
 * The host keeps the timers and saves them; what it keeps of ours is a key. The event's name and arguments are in the
 * table `calls` under that key: a list of name, number of arguments, whether it repeats, timer, arguments. Numbers, not names,
 * since looking up a number takes no memory, and an event starts outside of any protected call.
 */
#include <errno.h>
#include <string.h>

#include "lua/binding.h"

#define TIMER_TYPE "timer"
#define PERIOD_MIN 1000u /* ns */

struct timer {
    int64_t id;
    uint64_t key;
};

static uint64_t check_seconds(lua_State *L, int i, const char *method)
{
    lua_Number seconds;

    if (lua_type(L, i) != LUA_TNUMBER)
        luaL_error(L, "dev:%s: the time is a number of seconds, not %s", method, luaL_typename(L, i));
    seconds = lua_tonumber(L, i);
    if (!(seconds >= 0))
        luaL_error(L, "dev:%s: %f s is not from 0 up", method, seconds);
    return seconds < 9e9 ? (uint64_t)(seconds * 1e9 + 0.5) : UINT64_C(9000000000000000000);
}

static void check_event(lua_State *L, struct script *s, const char *method)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->events_ref);
    lua_pushvalue(L, 3);
    if (lua_type(L, 3) != LUA_TSTRING || lua_rawget(L, -2) != LUA_TFUNCTION) {
        const char *name = luaL_tolstring(L, 3, NULL);

        lua_rawgeti(L, LUA_REGISTRYINDEX, s->events_ref);
        util_push_suggestion(L, -1, name);
        luaL_error(L, "dev:%s: no event named %s%s", method, name, lua_tostring(L, -1));
    }
    lua_pop(L, 2);
}

static void push_call(lua_State *L, int top, const char *method, bool repeat)
{
    if (top - 3 > SCRIPT_ARGS)
        luaL_error(L, "dev:%s: more than %d arguments", method, SCRIPT_ARGS);
    lua_createtable(L, top, 0);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, CALL_NAME);
    lua_pushinteger(L, top - 3);
    lua_rawseti(L, -2, CALL_ARGS);
    lua_pushboolean(L, repeat);
    lua_rawseti(L, -2, CALL_EVERY);
    lua_pushinteger(L, 0);
    lua_rawseti(L, -2, CALL_TIMER);
    for (int i = 4; i <= top; i++) {
        int type = lua_type(L, i);

        if (type != LUA_TNIL && type != LUA_TBOOLEAN && type != LUA_TNUMBER && type != LUA_TSTRING)
            luaL_error(L, "dev:%s: argument %d is a %s; an event takes plain values: nil, booleans, numbers, strings",
                       method, i - 3, luaL_typename(L, i));
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, CALL_FIRST + i - 4);
    }
}

static int start_timer(lua_State *L, const char *method, bool repeat)
{
    struct script *s = script_of(L);
    int top = lua_gettop(L);
    uint64_t delay, key;
    struct timer *timer;
    int64_t id;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    if (!lua_rawequal(L, 1, -1))
        return luaL_error(L, "call it as dev:%s(...), with a colon", method);
    lua_settop(L, top);
    if (!s->regs)
        return luaL_error(L, "dev:%s: time runs once the device does; dev.on:reset is a place to start from", method);
    delay = check_seconds(L, 2, method);
    if (repeat && delay < PERIOD_MIN)
        return luaL_error(L, "dev:every: the period must be at least 1 us");
    check_event(L, s, method);
    push_call(L, top, method, repeat);
    /* All that can raise comes before the timer is the host's. */
    timer = lua_newuserdatauv(L, sizeof *timer, 0);
    luaL_setmetatable(L, TIMER_TYPE);
    key = s->next_key++;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->calls_ref);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, (lua_Integer)key);
    id = s->host->timer_after(s->host, delay, repeat ? delay : 0, EVENT_CALL, key);
    if (id < 0) {
        lua_pushnil(L);
        lua_rawseti(L, -2, (lua_Integer)key);
        luaL_pushfail(L);
        lua_pushfstring(L, "%s", id == -ENOSPC ? "too many timers" : "no timer");
        return 2;
    }
    /* So that one which a reload leaves without its event can be cancelled. */
    lua_pushinteger(L, id);
    lua_rawseti(L, -4, CALL_TIMER);
    lua_pop(L, 1);
    timer->id = id;
    timer->key = key;
    return 1;
}

int event_after(lua_State *L)
{
    return start_timer(L, "after", false);
}

int event_every(lua_State *L)
{
    return start_timer(L, "every", true);
}

static int timer_cancel(lua_State *L)
{
    struct script *s = script_of(L);
    struct timer *timer = luaL_checkudata(L, 1, TIMER_TYPE);
    bool there = timer->id > 0 && !s->host->timer_cancel(s->host, timer->id);

    timer->id = 0;
    if (there && !task_last(s, timer->key))
        event_done(s, timer->key);
    lua_pushboolean(L, there);
    return 1;
}

/* The event's function and arguments, from calls[key], onto the task's stack; false if it is not there. */
static bool push_event(struct script *s, lua_State *co, uint64_t key, int *nargs, bool *every)
{
    int call;
    lua_Integer n;

    lua_rawgeti(co, LUA_REGISTRYINDEX, s->calls_ref);
    if (lua_rawgeti(co, -1, (lua_Integer)key) != LUA_TTABLE || !lua_checkstack(co, SCRIPT_ARGS + 8)) {
        lua_settop(co, 0);
        return false;
    }
    lua_remove(co, 1);
    call = 1;
    lua_rawgeti(co, call, CALL_EVERY);
    *every = lua_toboolean(co, -1);
    lua_rawgeti(co, call, CALL_ARGS);
    n = lua_tointeger(co, -1);
    lua_settop(co, 1);
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->events_ref);
    lua_rawgeti(co, call, CALL_NAME);
    if (lua_rawget(co, -2) != LUA_TFUNCTION) {
        lua_settop(co, 0);
        return false;
    }
    lua_remove(co, 2); /* call, function */
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->dev_ref);
    for (lua_Integer i = 0; i < n; i++)
        lua_rawgeti(co, call, CALL_FIRST + i);
    lua_remove(co, call);
    *nargs = (int)n + 1;
    return true;
}

int event_start(struct script *s, uint64_t key, bool oneshot)
{
    struct task *t = task_get(s, "event");
    int nargs, rc;
    bool every;

    if (!t)
        return -ENOMEM;
    t->kind = TASK_EVENT;
    t->key = key;
    if (!push_event(s, t->co, key, &nargs, &every)) {
        task_put(t);
        return -ENOENT;
    }
    t->oneshot = oneshot || !every;
    rc = task_run(t, nargs);
    if (rc)
        return rc;
    if (t->oneshot)
        event_done(s, key);
    task_put(t);
    return 0;
}

void event_fire(struct script *s, uint64_t key)
{
    event_start(s, key, false);
}

void event_done(struct script *s, uint64_t key)
{
    lua_State *L = s->L;

    /* Writing nil over an entry that is there takes no memory. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->calls_ref);
    if (lua_rawgeti(L, -1, (lua_Integer)key) != LUA_TNIL) {
        lua_pushnil(L);
        lua_rawseti(L, -3, (lua_Integer)key);
    }
    lua_pop(L, 2);
}

static int new_calls(lua_State *L)
{
    struct script *s = script_of(L);

    lua_newtable(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, s->calls_ref);
    return 0;
}

void event_clear(struct script *s)
{
    lua_pushcfunction(s->L, new_calls);
    state_call(s, 0, 0, "reset");
}

void event_open(lua_State *L)
{
    static const luaL_Reg methods[] = { { "cancel", timer_cancel }, { NULL, NULL } };
    struct script *s = script_of(L);

    luaL_newmetatable(L, TIMER_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, TIMER_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_newtable(L);
    s->calls_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    s->next_key = 1;
}
