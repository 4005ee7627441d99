/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp - vfu.qmp(address), whose execute(command, arguments, callback) has a word with QEMU (vfu.qmp/1).
 *
 * The host sends and waits; a result comes as a call of its own, on the device's thread, which cannot wait, as hooks of
 * reset and attach cannot. Tables become JSON and back. The address is what the object holds. What is sent is not part
 * of the device's state: a script that is loaded anew hears no more of it.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "lua/binding.h"

#define QMP_TYPE "qmp"
#define BOX_TYPE "qmp arguments"
#define DEPTH_MAX 32
#define VALUES_MAX 4096

struct qmp_ud {
    const char *address;
};

/* A callback that waits for its result. */
struct qmp_call {
    struct script *s;
    int fn_ref;
};

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* What is made of a script's table. */
struct making {
    const char *problem;
    unsigned values; /* so far: a table may hold itself, twice */
};

static json_t *to_json(lua_State *L, int i, int depth, struct making *m);

static bool is_list(lua_State *L, int i)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, i), keys = 0;

    lua_pushnil(L);
    while (lua_next(L, i)) {
        lua_pop(L, 1);
        keys++;
    }
    return n > 0 && keys == n;
}

static json_t *list_to_json(lua_State *L, int i, int depth, struct making *m)
{
    json_t *list = json_array();
    lua_Integer n = (lua_Integer)lua_rawlen(L, i);

    for (lua_Integer k = 1; k <= n && !m->problem; k++) {
        lua_rawgeti(L, i, k);
        json_array_append_new(list, to_json(L, lua_gettop(L), depth, m));
        lua_pop(L, 1);
    }
    return list;
}

static json_t *object_to_json(lua_State *L, int i, int depth, struct making *m)
{
    json_t *object = json_object();

    lua_pushnil(L);
    while (lua_next(L, i)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            m->problem = "a table is a list from 1 on, or has names for its keys";
        else if (json_object_set_new(object, lua_tostring(L, -2), to_json(L, lua_gettop(L), depth, m)) && !m->problem)
            m->problem = "a key is not UTF-8";
        lua_pop(L, m->problem ? 2 : 1);
        if (m->problem)
            break;
    }
    return object;
}

/* Nothing in here raises: what is allocated would be lost. */
static json_t *to_json(lua_State *L, int i, int depth, struct making *m)
{
    json_t *json = NULL;
    const char *text;
    size_t n;

    if (depth > DEPTH_MAX || m->values++ > VALUES_MAX || !lua_checkstack(L, 8)) {
        m->problem = "the arguments are too many, or nested too deeply";
        return NULL;
    }
    switch (lua_type(L, i)) {
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, i));
    case LUA_TNUMBER:
        json = lua_isinteger(L, i) ? json_integer(lua_tointeger(L, i)) : json_real(lua_tonumber(L, i));
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, i, &n);
        json = json_stringn(text, n);
        break;
    case LUA_TTABLE:
        return is_list(L, i) ? list_to_json(L, i, depth + 1, m) : object_to_json(L, i, depth + 1, m);
    default:
        m->problem = "values are booleans, numbers, strings and tables of them";
        return NULL;
    }
    if (!json)
        m->problem = "a string is not UTF-8, or a number is none";
    return json;
}

static void push_json(lua_State *L, const json_t *json, int depth)
{
    const char *key;
    json_t *value;
    size_t i;

    if (depth > DEPTH_MAX || !lua_checkstack(L, 8))
        luaL_error(L, "QEMU's answer is nested too deeply");
    if (json_is_object(json)) {
        lua_createtable(L, 0, (int)json_object_size(json));
        json_object_foreach((json_t *)(uintptr_t)json, key, value) {
            push_json(L, value, depth + 1);
            lua_setfield(L, -2, key);
        }
    } else if (json_is_array(json)) {
        lua_createtable(L, (int)json_array_size(json), 0);
        json_array_foreach(json, i, value) {
            push_json(L, value, depth + 1);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
    } else if (json_is_string(json)) {
        lua_pushlstring(L, json_string_value(json), json_string_length(json));
    } else if (json_is_integer(json)) {
        lua_pushinteger(L, json_integer_value(json));
    } else if (json_is_real(json)) {
        lua_pushnumber(L, json_real_value(json));
    } else if (json_is_boolean(json)) {
        lua_pushboolean(L, json_is_true(json));
    } else {
        lua_pushnil(L);
    }
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

struct outcome {
    const struct vfu_qmp_result *result;
    const json_t *json;
    int fn_ref;
};

static int call_back(lua_State *L)
{
    const struct outcome *outcome = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, outcome->fn_ref);
    if (outcome->result->status) {
        luaL_pushfail(L);
        lua_pushstring(L, outcome->result->text);
    } else {
        push_json(L, outcome->json, 0);
        lua_pushnil(L);
    }
    lua_call(L, 2, 0);
    return 0;
}

static void call_done(void *arg, const struct vfu_qmp_result *result)
{
    struct qmp_call *call = arg;
    struct script *s = call->s;
    json_t *json = NULL;

    if (result->status != -ECANCELED) { /* else the device is at its end */
        struct outcome outcome = { .result = result, .fn_ref = call->fn_ref };

        if (!result->status)
            outcome.json = json = json_loads(result->text, JSON_DECODE_ANY, NULL);
        lua_pushcfunction(s->L, call_back);
        lua_pushlightuserdata(s->L, &outcome);
        state_call(s, 1, 0, "callback of qmp:execute");
        json_decref(json);
    }
    luaL_unref(s->L, LUA_REGISTRYINDEX, call->fn_ref);
    free(call);
}

/* ---- qmp:execute ------------------------------------------------------------------------------------------------- */

static int refused(lua_State *L, const struct qmp_ud *ud, int32_t error)
{
    switch (error) {
    case -EACCES:
        return luaL_error(L, "qmp:execute: %s is no parameter's value on the command line: a device talks to what its "
                          "operator names", ud->address);
    case -EINVAL:
        return luaL_error(L, "qmp:execute: a command has a name of up to 255 bytes, and arguments of up to 64 KiB");
    default:
        luaL_pushfail(L);
        lua_pushstring(L, error == -ENOSPC ? "too many commands wait already" : strerror(-error));
        return 2;
    }
}

/* What is not Lua's, and must not be lost when something raises. */
struct box {
    json_t *json;
    char *text;
};

static int box_free(lua_State *L)
{
    struct box *box = lua_touserdata(L, 1);

    json_decref(box->json);
    free(box->text);
    *box = (struct box){ 0 };
    return 0;
}

/* The text of the arguments at i, in a box that is pushed; NULL: there are none. */
static const char *push_arguments(lua_State *L, int i)
{
    struct making making = { 0 };
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = (struct box){ 0 };
    luaL_setmetatable(L, BOX_TYPE);
    if (lua_isnil(L, i))
        return NULL;
    if (lua_type(L, i) != LUA_TTABLE)
        luaL_error(L, "qmp:execute: arguments are a table of names and values, not %s", luaL_typename(L, i));
    box->json = object_to_json(L, i, 0, &making);
    box->text = making.problem ? NULL : json_dumps(box->json, JSON_COMPACT);
    if (!box->text)
        luaL_error(L, "qmp:execute: %s", making.problem ? making.problem : "not enough memory");
    return box->text;
}

/* The call that is waited for; NULL without memory. The last that may raise. */
static struct qmp_call *new_call(lua_State *L, struct script *s, int i)
{
    struct qmp_call *call;

    lua_pushvalue(L, i);
    i = luaL_ref(L, LUA_REGISTRYINDEX);
    call = malloc(sizeof *call);
    if (call)
        *call = (struct qmp_call){ s, i };
    else
        luaL_unref(L, LUA_REGISTRYINDEX, i);
    return call;
}

static int qmp_execute(lua_State *L)
{
    struct script *s = script_of(L);
    struct qmp_ud *ud = luaL_checkudata(L, 1, QMP_TYPE);
    struct vfu_qmp_command command = { .struct_size = sizeof command, .address = ud->address };
    const struct vfu_host_qmp *qmp;
    struct qmp_call *call = NULL;
    int32_t error;

    lua_settop(L, 4);
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "qmp:execute: the command is a string such as \"system_reset\", not %s",
                          luaL_typename(L, 2));
    if (!lua_isnil(L, 4) && !lua_isfunction(L, 4))
        return luaL_error(L, "qmp:execute: the callback is a function, not %s", luaL_typename(L, 4));
    if (!s->regs)
        return luaL_error(L, "qmp:execute: commands are sent once the device runs, not while the script loads");
    qmp = s->host->extension(s->host, VFU_EXT_QMP);
    if (!qmp)
        return luaL_error(L, "qmp:execute: this host has no QMP");
    command.command = lua_tostring(L, 2);
    command.arguments = push_arguments(L, 3);
    if (lua_isfunction(L, 4)) {
        command.done = call_done;
        command.arg = call = new_call(L, s, 4);
    }
    error = command.done && !call ? -ENOMEM : qmp->execute(s->host, &command);
    if (error) {
        if (call)
            luaL_unref(L, LUA_REGISTRYINDEX, call->fn_ref);
        free(call);
        return refused(L, ud, error);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int qmp_tostring(lua_State *L)
{
    struct qmp_ud *ud = luaL_checkudata(L, 1, QMP_TYPE);

    lua_pushfstring(L, "qmp %s", ud->address);
    return 1;
}

/* vfu.qmp(address): nil for no address, so that a parameter left empty stands for "no QMP". */
int qmp_new(lua_State *L)
{
    const char *address;
    struct qmp_ud *ud;

    if (lua_isnoneornil(L, 1)) {
        lua_pushnil(L);
        return 1;
    }
    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "vfu.qmp: the address is a string \"unix:PATH\", not %s", luaL_typename(L, 1));
    address = lua_tostring(L, 1);
    if (!*address) {
        lua_pushnil(L);
        return 1;
    }
    if (strncmp(address, "unix:", 5) || !address[5])
        return luaL_error(L, "vfu.qmp: \"%s\" is no address: QMP is at unix:PATH", address);
    if (strlen(address + 5) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return luaL_error(L, "vfu.qmp: %s is too long for a socket's path", address + 5);
    ud = lua_newuserdatauv(L, sizeof *ud, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    ud->address = address;
    luaL_setmetatable(L, QMP_TYPE);
    return 1;
}

void qmp_open(lua_State *L)
{
    static const luaL_Reg methods[] = { { "execute", qmp_execute }, { NULL, NULL } };

    luaL_newmetatable(L, BOX_TYPE);
    lua_pushcfunction(L, box_free);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newmetatable(L, QMP_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, qmp_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, QMP_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
