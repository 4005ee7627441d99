/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params - the script's parameters: from {NAME = {default, doc=, ...}} to the host's table, and the values back.
 *
 * Runs inside vfu.device, so that dev.params can be used in the rest of the script.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"

#define CHOICES_MAX 4096

static const struct {
    const char *name;
    uint32_t type;
} type_names[] = {
    { "int", VFU_PARAM_INT },       { "integer", VFU_PARAM_INT },   { "bool", VFU_PARAM_BOOL },
    { "boolean", VFU_PARAM_BOOL },  { "string", VFU_PARAM_STRING }, { "enum", VFU_PARAM_ENUM },
    { "number", VFU_PARAM_NUMBER },
};

static const char *type_name(uint32_t type)
{
    size_t i = 0;

    while (type_names[i].type != type)
        i++;
    return type_names[i].name;
}

/* The type that the default at -1 has, unless `type` or `enum` says it. */
static void find_type(lua_State *L, int spec, struct vfu_param *p, const char *what)
{
    const char *said = util_opt_string(L, spec, what, "type");

    if (lua_isboolean(L, -1))
        p->type = VFU_PARAM_BOOL;
    else if (lua_isinteger(L, -1))
        p->type = VFU_PARAM_INT;
    else if (lua_isnumber(L, -1) && lua_type(L, -1) == LUA_TNUMBER)
        p->type = VFU_PARAM_NUMBER;
    else if (lua_isnil(L, -1) || lua_type(L, -1) == LUA_TSTRING)
        p->type = p->choices ? VFU_PARAM_ENUM : VFU_PARAM_STRING;
    else
        luaL_error(L, "%s: its default is %s; it can be a number, boolean or string", what, luaL_typename(L, -1));
    if (!said)
        return;
    for (size_t i = 0; i < sizeof type_names / sizeof type_names[0]; i++)
        if (!strcmp(type_names[i].name, said)) {
            uint32_t type = type_names[i].type;
            bool same = type == p->type || lua_isnil(L, -1) || (type == VFU_PARAM_NUMBER && p->type == VFU_PARAM_INT);

            if (!same)
                luaL_error(L, "%s: its type is %s, its default is not", what, said);
            p->type = type;
            return;
        }
    luaL_error(L, "%s: no type \"%s\"; there are int, bool, string, enum and number", what, said);
}

static void read_choices(lua_State *L, int spec, struct vfu_param *p, const char *what)
{
    const char **choices;
    lua_Integer n;

    if (lua_getfield(L, spec, "enum") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    n = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
    if (n < 1)
        luaL_error(L, "%s: enum is a list of strings", what);
    if (n > CHOICES_MAX)
        luaL_error(L, "%s: its enum has more than %d strings", what, CHOICES_MAX);
    choices = util_alloc(L, ((size_t)n + 1) * sizeof *choices);
    for (lua_Integer k = 0; k < n; k++) {
        if (lua_rawgeti(L, -1, k + 1) != LUA_TSTRING)
            luaL_error(L, "%s: enum is a list of strings", what);
        choices[k] = util_strdup(L, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    p->choices = choices;
    lua_pop(L, 1);
}

static void read_default(lua_State *L, struct vfu_param *p, const char *what)
{
    if (lua_isnil(L, -1))
        return;
    if (p->type == VFU_PARAM_BOOL)
        p->fallback = lua_toboolean(L, -1) ? "on" : "off";
    else
        p->fallback = util_strdup(L, luaL_tolstring(L, -1, NULL)), lua_pop(L, 1);
    if (p->type == VFU_PARAM_ENUM) {
        const char *const *c = p->choices;

        while (*c && strcmp(*c, p->fallback))
            c++;
        if (!*c)
            luaL_error(L, "%s: its default \"%s\" is not in its enum", what, p->fallback);
    }
}

static void read_range(lua_State *L, int spec, struct vfu_param *p, const char *what)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } ends[] = { { "min", VFU_PARAM_HAS_MIN }, { "max", VFU_PARAM_HAS_MAX } };

    for (int i = 0; i < 2; i++) {
        lua_Integer v = 0;

        if (lua_getfield(L, spec, ends[i].key) != LUA_TNIL) {
            if (p->type != VFU_PARAM_INT && p->type != VFU_PARAM_NUMBER)
                luaL_error(L, "%s: %s is for numbers", what, ends[i].key);
            v = util_check_integer(L, -1, ends[i].key);
            p->flags |= ends[i].flag;
            *(i ? &p->max : &p->min) = v;
        }
        lua_pop(L, 1);
    }
}

static void read_param(lua_State *L, int spec, const char *name, struct vfu_param *p)
{
    static const char *const options[] = { "doc", "min", "max", "enum", "required", "type", NULL };
    char what[96];

    snprintf(what, sizeof what, "parameter %s", name);
    if (!util_is_name(name))
        luaL_error(L, "a parameter's name is an identifier, not \"%s\"", name);
    p->name = name;
    if (!lua_istable(L, spec)) { /* NAME = default, for short */
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, spec);
        lua_rawseti(L, -2, 1);
        lua_replace(L, spec);
    }
    util_keys(L, spec, what, options, true);
    if (lua_rawlen(L, spec) > 1)
        luaL_error(L, "%s: one default, please: {default, doc = ...}", what);
    p->doc = util_opt_string(L, spec, what, "doc");
    if (util_opt_bool(L, spec, what, "required"))
        p->flags |= VFU_PARAM_REQUIRED;
    read_choices(L, spec, p, what);
    lua_rawgeti(L, spec, 1);
    find_type(L, spec, p, what);
    if (p->type == VFU_PARAM_ENUM && !p->choices)
        luaL_error(L, "%s: an enum needs enum = {...}", what);
    if (p->choices && p->type != VFU_PARAM_ENUM)
        luaL_error(L, "%s: enum is for strings, its type is %s", what, type_name(p->type));
    read_default(L, p, what);
    lua_pop(L, 1);
    read_range(L, spec, p, what);
}

static int compare_params(const void *a, const void *b)
{
    return strcmp(((const struct vfu_param *)a)->name, ((const struct vfu_param *)b)->name);
}

static void push_value(lua_State *L, struct script *s, const struct vfu_param *p)
{
    const char *text;
    int64_t integer;
    double number;
    int32_t err;

    lua_pushnil(L);
    if (p->type == VFU_PARAM_INT || p->type == VFU_PARAM_BOOL) {
        err = s->host->param_int(s->host, p->name, &integer);
        if (!err && p->type == VFU_PARAM_INT)
            lua_pushinteger(L, integer);
        else if (!err)
            lua_pushboolean(L, integer != 0);
    } else if (p->type == VFU_PARAM_NUMBER) {
        err = s->host->param_number(s->host, p->name, &number);
        if (!err)
            lua_pushnumber(L, number);
    } else {
        err = s->host->param_string(s->host, p->name, &text);
        if (!err)
            lua_pushstring(L, text);
    }
    if (err && err != -ENOENT)
        luaL_error(L, "parameter %s cannot be read: error %d", p->name, (int)-err);
    if (!err)
        lua_remove(L, -2);
}

static int params_newindex(lua_State *L)
{
    return luaL_error(L, "parameters cannot be assigned");
}

static int params_missing(lua_State *L)
{
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";

    /* A declared one without a value reads nil. */
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        lua_pushnil(L);
        return 1;
    }
    util_push_suggestion(L, lua_upvalueindex(1), key);
    return luaL_error(L, "no parameter named %s%s", key, lua_tostring(L, -1));
}

void params_declare(lua_State *L, struct script *s, int spec)
{
    struct vfu_param *params;
    uint32_t n = 0;
    int32_t err;

    bool given = lua_getfield(L, spec, "params") != LUA_TNIL;
    if (given && !lua_istable(L, -1))
        luaL_error(L, "vfu.device: params is a table {NAME = {default, doc = ...}}");
    if (given)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
            n++;
    params = util_alloc(L, (n + 1) * sizeof *params);
    n = 0;
    if (given)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING)
                luaL_error(L, "vfu.device: params is a table {NAME = {default, doc = ...}}");
            read_param(L, lua_gettop(L), util_strdup(L, lua_tostring(L, -2)), &params[n++]);
        }
    lua_pop(L, 1);
    qsort(params, n, sizeof *params, compare_params); /* a table has no order, a list for people has */
    if (s->wrap)
        params[n] = (struct vfu_param){ .name = "inner.", .doc = "inner.KEY=VALUE: the wrapped plugin's parameters",
                                        .type = VFU_PARAM_STRING, .flags = VFU_PARAM_PREFIX };
    err = s->host->params_declare(s->host, params, n + (s->wrap != NULL), sizeof *params);
    if (err) {
        s->result = err; /* explained by the host */
        luaL_error(L, "the parameters do not fit");
    }

    lua_createtable(L, 0, (int)n); /* values */
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, (int)n); /* names */
    for (uint32_t i = 0; i < n; i++) {
        push_value(L, s, &params[i]);
        lua_setfield(L, -4, params[i].name);
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, params[i].name);
    }
    lua_pushcclosure(L, params_missing, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    util_push_proxy(L, "params", params_newindex);
}
