/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_clib - libraries: ffi.load and ffi.C, their functions, variables and constants as members.
 *
 * A library is never unloaded: code of it may still be reached, by threads of its own or from callbacks. Runs on the
 * script's thread.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "lua/ffi_private.h"

#define CLIB_TYPE "ffi library"

struct clib {
    void *handle;
    const char *name;
};

void clib_push(lua_State *L, void *handle, const char *name)
{
    struct clib *lib = lua_newuserdatauv(L, sizeof *lib, 1);

    lib->handle = handle;
    lib->name = name;
    lua_newtable(L); /* functions that have been looked up */
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, CLIB_TYPE);
}

/* "z" is libz.so; a path without a leading slash starts at the script, as files of a script do. */
static const char *push_file(lua_State *L, const char *name)
{
    const char *path = script_of(L)->path, *slash = strrchr(path, '/');

    if (!strchr(name, '/')) {
        if (strstr(name, ".so"))
            return lua_pushstring(L, name);
        return lua_pushfstring(L, strncmp(name, "lib", 3) ? "lib%s.so" : "%s.so", name);
    }
    if (*name == '/' || !slash)
        return lua_pushstring(L, name);
    lua_pushlstring(L, path, (size_t)(slash + 1 - path));
    lua_pushstring(L, name);
    lua_concat(L, 2);
    return lua_tostring(L, -1);
}

int clib_load(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *file, *why;
    char *kept;
    void *handle;

    lua_settop(L, 1);
    kept = util_strdup(L, name);
    file = push_file(L, name);
    handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        why = dlerror();
        return luaL_error(L, "ffi.load: %s", why ? why : file);
    }
    clib_push(L, handle, kept);
    return 1;
}

static void *symbol(lua_State *L, const struct clib *lib, const char *name)
{
    void *p = lib->handle ? dlsym(lib->handle, name) : dlsym(RTLD_DEFAULT, name);

    if (!p)
        luaL_error(L, "%s has no symbol %s", lib->name, name);
    return p;
}

static const struct cname *declared(lua_State *L, const struct clib *lib, const char *key)
{
    const struct cname *name = cdecl_lookup(L, key);

    if (name && name->kind != CNAME_TYPE)
        return name;
    if (name)
        luaL_error(L, "%s is a type, not a symbol of %s", key, lib->name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, room_of(L)->names_ref);
    util_push_suggestion(L, -1, key);
    luaL_error(L, "%s is not declared: give ffi.cdef its prototype%s", key, lua_tostring(L, -1));
    return NULL;
}

static int clib_func(lua_State *L);

static int clib_index(lua_State *L)
{
    struct clib *lib = luaL_checkudata(L, 1, CLIB_TYPE);
    const char *key = luaL_checkstring(L, 2);
    const struct cname *name;
    struct cdata *c;
    void *p;

    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL)
        return 1;
    if (!strcmp(key, "func")) {
        lua_pushcfunction(L, clib_func);
        return 1;
    }
    name = declared(L, lib, key);
    if (name->kind == CNAME_CONSTANT) {
        lua_pushinteger(L, name->value);
        return 1;
    }
    p = symbol(L, lib, key);
    if (name->kind == CNAME_VARIABLE) {
        conv_push(L, name->type, p, name->readonly, 0);
        return 1;
    }
    c = cdata_push(L, name->type, p, 0);
    c->name = ctype_keep(L, key, strlen(key));
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 3);
    return 1;
}

static int clib_newindex(lua_State *L)
{
    struct clib *lib = luaL_checkudata(L, 1, CLIB_TYPE);
    const char *key = luaL_checkstring(L, 2);
    const struct cname *name = declared(L, lib, key);

    if (name->kind != CNAME_VARIABLE || name->readonly)
        return luaL_error(L, "%s is no variable that can be written", key);
    if (name->type->open || !conv_put(L, name->type, symbol(L, lib, key), 3, CONV_STORE))
        return luaL_error(L, "%s: %s", key, name->type->open ? "an open array" : lua_tostring(L, -1));
    return 0;
}

/* lib:func(name, ret, args...): one function, without a cdef. "..." is the last of a variadic one's. */
static int clib_func(lua_State *L)
{
    struct clib *lib = luaL_checkudata(L, 1, CLIB_TYPE);
    const char *key = luaL_checkstring(L, 2);
    int top = lua_gettop(L);
    bool variadic = top > 4 && lua_type(L, top) == LUA_TSTRING && !strcmp(lua_tostring(L, top), "...");
    struct ctype *ret = module_type(L, 3);
    struct cfield params[CTYPE_ARGS] = { { 0 } };
    struct cdata *c;
    int n = top - 3 - variadic;

    if (n > (int)CTYPE_ARGS)
        return luaL_error(L, "%s: over %d parameters", key, (int)CTYPE_ARGS);
    if (ctype_no_value(ret))
        return luaL_error(L, "%s returns '%s': %s", key, ctype_name(L, ret, false), ctype_no_value(ret));
    for (int i = 0; i < n; i++) {
        struct ctype *t = module_type(L, 4 + i);

        if (t->kind == CTYPE_ARRAY)
            t = ctype_pointer(L, t->elem, t->elem_const);
        else if (t->kind == CTYPE_FUNCTION)
            t = ctype_pointer(L, t, false);
        if (t->kind == CTYPE_VOID || ctype_no_value(t))
            return luaL_error(L, "parameter %d of %s cannot be '%s'", i + 1, key, ctype_name(L, t, false));
        params[i].type = t;
    }
    c = cdata_push(L, ctype_function(L, ret, params, (uint32_t)n, variadic), symbol(L, lib, key), 0);
    c->name = ctype_keep(L, key, strlen(key));
    return 1;
}

static int clib_tostring(lua_State *L)
{
    const struct clib *lib = luaL_checkudata(L, 1, CLIB_TYPE);

    lua_pushfstring(L, "library: %s", lib->name);
    return 1;
}

static int clib_gc(lua_State *L)
{
    struct clib *lib = luaL_checkudata(L, 1, CLIB_TYPE);

    if (lib->handle)
        dlclose(lib->handle); /* its memory stays, see above */
    lib->handle = NULL;
    return 0;
}

void clib_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__index", clib_index },       { "__newindex", clib_newindex }, { "__tostring", clib_tostring },
        { "__gc", clib_gc },             { NULL, NULL },
    };

    luaL_newmetatable(L, CLIB_TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pushliteral(L, CLIB_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
