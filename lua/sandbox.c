/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandbox - Lua's own libraries as far as scripts have them.
 *
 * What reaches out of the state is left out. What could hold a callback beyond its time is done anew: a function of C is
 * no instruction that counts, however long it takes; and neither the handler of an xpcall nor the to-be-closed variables
 * of a coroutine may run in a thread that the count hook has stopped, since Lua keeps hooks off there. Runs on the
 * script's thread.
 */
#include <stdint.h>
#include <string.h>

#include "lua/binding.h"

#define LOOK_EVERY 4096 /* elements between two looks at the time */

/* ---- the basic library ---- */

/* load(chunk, name, mode, env) with the mode fixed: binary chunks can be made to corrupt the interpreter. */
static int safe_load(lua_State *L)
{
    bool has_env = !lua_isnone(L, 4);

    lua_settop(L, 4);
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_settop(L, has_env ? 5 : 4); /* a nil environment is not the same as none */
    lua_call(L, has_env ? 4 : 3, LUA_MULTRET);
    return lua_gettop(L);
}

static int safe_setmetatable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "__gc is not available to scripts; use a to-be-closed variable");
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static int safe_collectgarbage(lua_State *L)
{
    const char *what = luaL_optstring(L, 1, "collect");

    if (!strcmp(what, "count")) {
        lua_pushnumber(L, (lua_Number)script_of(L)->used / 1024);
    } else if (!strcmp(what, "collect") || !strcmp(what, "step")) {
        lua_gc(L, LUA_GCCOLLECT);
        budget_check(L);
        lua_pushinteger(L, 0);
    } else {
        return luaL_error(L, "collectgarbage(\"%s\") is not available to scripts: collection is the host's", what);
    }
    return 1;
}

/* The handler of an xpcall; the script's is the upvalue. */
static int handle(lua_State *L)
{
    if (script_of(L)->tripped)
        return 1;
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* Stack: function, handler, then the results, or the handler's. */
static int finish_xpcall(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
    if (!lua_toboolean(L, -1)) {
        lua_pushvalue(L, -2);
        return 2;
    }
    lua_replace(L, 2);
    return lua_gettop(L) - 1;
}

static int safe_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle, 1);
    lua_replace(L, 2);
    lua_pushvalue(L, 1);
    lua_insert(L, 3);
    return finish_xpcall(L, lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, finish_xpcall), 0);
}

/* ---- coroutines ---- */

static bool died_of_time(lua_State *co)
{
    int status = lua_status(co);

    return status != LUA_OK && status != LUA_YIELD && budget_stopped(co);
}

static int end_thread(lua_State *co, lua_State *from)
{
#if LUA_VERSION_RELEASE_NUM >= 50406
    return lua_closethread(co, from);
#else
    (void)from;
    return lua_resetthread(co);
#endif
}

static int safe_close(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    lua_Debug ar;

    luaL_argexpected(L, co, 1, "coroutine");
    if (co == L || (lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar)))
        return luaL_error(L, "cannot close a %s coroutine", co == L ? "running" : "normal");
    if (died_of_time(co)) {
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "stopped: its to-be-closed variables do not run");
        return 2;
    }
    if (end_thread(co, L) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

/* The error on top of the coroutine, as an error of this call. */
static int raise_from(lua_State *L, lua_State *co)
{
    int status = lua_status(co);

    if (status != LUA_OK && status != LUA_YIELD && !budget_stopped(co))
        status = end_thread(co, L);
    lua_xmove(co, L, 1);
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

/* What coroutine.wrap has made; its coroutine is the upvalue. */
static int resume_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int n = lua_gettop(L), status;

    if (!lua_checkstack(co, n))
        return luaL_error(L, "too many arguments to resume");
    lua_xmove(L, co, n);
    status = lua_resume(co, L, n, &n);
    if (status != LUA_OK && status != LUA_YIELD)
        return raise_from(L, co);
    if (!lua_checkstack(L, n + 1)) {
        lua_pop(co, n);
        return luaL_error(L, "too many results to resume");
    }
    lua_xmove(co, L, n);
    return n;
}

static int safe_wrap(lua_State *L)
{
    lua_State *co;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, resume_wrapped, 1);
    return 1;
}

/* ---- strings ---- */

/* string.rep(text, n [, between]) */
static int safe_rep(lua_State *L)
{
    size_t size, gap, n;
    const char *text = luaL_checklstring(L, 1, &size), *between = luaL_optlstring(L, 3, "", &gap);
    lua_Integer times = luaL_checkinteger(L, 2);
    luaL_Buffer b;
    char *at;

    if (times <= 0 || size + gap == 0) { /* also nothing, however often */
        lua_pushliteral(L, "");
        return 1;
    }
    if (__builtin_mul_overflow(size + gap, (size_t)times, &n) || n > SIZE_MAX / 2)
        return luaL_error(L, "resulting string too large");
    n -= gap; /* there is none behind the last */
    at = luaL_buffinitsize(L, &b, n);
    memcpy(at, text, size);
    if (times > 1)
        memcpy(at + size, between, gap);
    for (size_t done = times > 1 ? size + gap : size, more; done < n; done += more) {
        more = done < n - done ? done : n - done;
        memcpy(at + done, at, more); /* twice as much each time */
    }
    luaL_pushresultsize(&b, n);
    budget_check(L);
    return 1;
}

/* ---- tables: a metatable makes one as long as it says, and a few entries far apart may do so, too ---- */

static lua_Integer length(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    return luaL_len(L, 1);
}

/* t[to + k] = t[from + k] for n values of k: from 0 upwards, or the last first. */
static void move(lua_State *L, int t, lua_Integer from, int u, lua_Integer to, lua_Unsigned n, bool up)
{
    for (lua_Unsigned i = 0; i < n; i++) {
        lua_Unsigned k = up ? i : n - 1 - i;

        lua_geti(L, t, (lua_Integer)((lua_Unsigned)from + k));
        lua_seti(L, u, (lua_Integer)((lua_Unsigned)to + k));
        if (i % LOOK_EVERY == LOOK_EVERY - 1)
            budget_check(L);
    }
}

/* table.insert(t, [pos,] value) */
static int safe_insert(lua_State *L)
{
    lua_Integer end = (lua_Integer)((lua_Unsigned)length(L) + 1), at = end;

    switch (lua_gettop(L)) {
    case 2:
        break;
    case 3:
        at = luaL_checkinteger(L, 2);
        luaL_argcheck(L, (lua_Unsigned)at - 1 < (lua_Unsigned)end, 2, "position out of bounds");
        move(L, 1, at, 1, at + 1, (lua_Unsigned)(end - at), false);
        break;
    default:
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lua_seti(L, 1, at);
    return 0;
}

/* table.remove(t [, pos]) */
static int safe_remove(lua_State *L)
{
    lua_Integer n = length(L), at = luaL_optinteger(L, 2, n);

    if (at != n)
        luaL_argcheck(L, (lua_Unsigned)at - 1 <= (lua_Unsigned)n, 2, "position out of bounds");
    lua_settop(L, 1);
    lua_geti(L, 1, at);
    if (at < n) {
        move(L, 1, at + 1, 1, at, (lua_Unsigned)(n - at), true);
        at = n;
    }
    lua_pushnil(L);
    lua_seti(L, 1, at);
    return 1;
}

/* table.move(t, first, last, to [, u]) */
static int safe_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3), to = luaL_checkinteger(L, 4);
    int u = lua_isnoneornil(L, 5) ? 1 : 5;

    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, u, LUA_TTABLE);
    if (last >= first) {
        lua_Unsigned n = (lua_Unsigned)last - (lua_Unsigned)first + 1;

        luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3, "too many elements to move");
        luaL_argcheck(L, to <= LUA_MAXINTEGER - (lua_Integer)n + 1, 4, "destination wrap around");
        move(L, 1, first, u, to, n, to > last || to <= first || (u == 5 && !lua_compare(L, 1, 5, LUA_OPEQ)));
    }
    lua_pushvalue(L, u);
    return 1;
}

/* ---- opening ---- */

static const struct {
    const char *library, *name;
    lua_CFunction fn; /* the original is its upvalue. NULL: there is none */
} replaced[] = {
    { LUA_GNAME, "dofile", NULL },
    { LUA_GNAME, "loadfile", NULL },
    { LUA_GNAME, "load", safe_load },
    { LUA_GNAME, "setmetatable", safe_setmetatable },
    { LUA_GNAME, "collectgarbage", safe_collectgarbage },
    { LUA_GNAME, "xpcall", safe_xpcall },
    { LUA_COLIBNAME, "close", safe_close },
    { LUA_COLIBNAME, "wrap", safe_wrap },
    { LUA_STRLIBNAME, "dump", NULL },
    { LUA_STRLIBNAME, "rep", safe_rep },
    { LUA_TABLIBNAME, "insert", safe_insert },
    { LUA_TABLIBNAME, "remove", safe_remove },
    { LUA_TABLIBNAME, "move", safe_move },
};

static void replace(lua_State *L)
{
    for (size_t i = 0; i < sizeof replaced / sizeof replaced[0]; i++) {
        lua_getglobal(L, replaced[i].library);
        if (replaced[i].fn) {
            lua_getfield(L, -1, replaced[i].name);
            lua_pushcclosure(L, replaced[i].fn, 1);
        } else {
            lua_pushnil(L);
        }
        lua_setfield(L, -2, replaced[i].name);
        lua_pop(L, 1);
    }
}

/* As much of os as tells the time, and of `package` as scripts use: what is loaded. */
static void reduce(lua_State *L)
{
    static const char *const kept[] = { "time", "date", "clock", "difftime" };

    lua_newtable(L);
    lua_getglobal(L, LUA_OSLIBNAME);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        lua_getfield(L, -1, kept[i]);
        lua_setfield(L, -3, kept[i]);
    }
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, LUA_OSLIBNAME);
    lua_newtable(L);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "loaded");
    lua_setglobal(L, LUA_LOADLIBNAME);
    lua_pop(L, 1);
    lua_setglobal(L, LUA_OSLIBNAME);
}

void sandbox_open(lua_State *L)
{
    static const luaL_Reg libs[] = {
        { LUA_GNAME, luaopen_base },       { LUA_TABLIBNAME, luaopen_table }, { LUA_STRLIBNAME, luaopen_string },
        { LUA_MATHLIBNAME, luaopen_math }, { LUA_UTF8LIBNAME, luaopen_utf8 }, { LUA_COLIBNAME, luaopen_coroutine },
        { LUA_OSLIBNAME, luaopen_os },
    };

    for (size_t i = 0; i < sizeof libs / sizeof libs[0]; i++) {
        luaL_requiref(L, libs[i].name, libs[i].func, 1);
        lua_pop(L, 1);
    }
    replace(L);
    reduce(L);
    lua_pushcfunction(L, state_require);
    lua_setglobal(L, "require");
}
