/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * luastate - the Lua state of a tester's script: its libraries, the modules that vfu-client carries inside, servers as
 * objects. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/lua.h"

#include <errno.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SPAWN "vfu.client.spawn"
#define ARGS_MAX 256
#define LOG_BYTES 65536u

static const unsigned char client_module[] = {
#include "sdk/lua/module/client.lua.h"
};
static const unsigned char test_module[] = {
#include "sdk/lua/module/test.lua.h"
};

int lua_refused(lua_State *L, int err, const char *text)
{
    const char *name = strerrorname_np(-err);

    lua_pushnil(L);
    lua_pushstring(L, text);
    if (name)
        lua_pushstring(L, name);
    else
        lua_pushinteger(L, -err);
    return 3;
}

uint64_t lua_seconds(lua_State *L, int at, uint64_t otherwise)
{
    double seconds;

    if (lua_isnoneornil(L, at))
        return otherwise;
    seconds = luaL_checknumber(L, at);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e9, at, "seconds are 0 to 1e9");
    return (uint64_t)(seconds * 1e9 + 0.5);
}

/* ---- servers ---- */

static struct vfuc_spawn **spawn_at(lua_State *L)
{
    struct vfuc_spawn **s = luaL_checkudata(L, 1, SPAWN);

    if (!*s)
        luaL_error(L, "the server is gone");
    return s;
}

static const char **spawn_argv(lua_State *L, int at)
{
    lua_Integer n = (luaL_checktype(L, at, LUA_TTABLE), (lua_Integer)lua_rawlen(L, at));
    const char **argv;

    luaL_argcheck(L, n >= 1 && n <= ARGS_MAX, at, "1 to 256 words make a command");
    argv = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *argv, 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_rawgeti(L, at, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "word %d of the command is no string", (int)i + 1);
        argv[i] = lua_tostring(L, -1); /* lives in the table */
        lua_pop(L, 1);
    }
    argv[n] = NULL;
    return argv;
}

/* spawn(argv, {timeout =, folder =, echo =, stdout =}): the server, or nil, text, errno, what it said. */
static int core_spawn(lua_State *L)
{
    struct vfuc_spawn_options options = { .struct_size = sizeof options };
    const char **argv = spawn_argv(L, 1);
    struct vfuc_spawn **s;
    char log[4096];
    int err;

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 2, "echo");
    lua_getfield(L, 2, "stdout");
    options.flags = (lua_toboolean(L, -2) ? VFUC_SPAWN_ECHO : 0) | (lua_toboolean(L, -1) ? 0 : VFUC_SPAWN_NO_STDOUT);
    lua_getfield(L, 2, "timeout");
    options.timeout_ns = lua_seconds(L, -1, 0);
    lua_getfield(L, 2, "folder");
    options.folder = lua_tostring(L, -1);
    s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = NULL;
    luaL_setmetatable(L, SPAWN);
    *s = vfuc_spawn_new(&options);
    if (!*s)
        return lua_refused(L, -ENOENT, "cannot make a folder for the server");
    err = vfuc_spawn_start(*s, argv);
    if (!err)
        return 1;
    lua_refused(L, err, vfuc_spawn_error(*s));
    vfuc_spawn_log(*s, log, sizeof log);
    lua_pushstring(L, log);
    return 4;
}

static int spawn_socket(lua_State *L)
{
    lua_pushstring(L, vfuc_spawn_socket(*spawn_at(L)));
    return 1;
}

static int spawn_pid(lua_State *L)
{
    lua_pushinteger(L, vfuc_spawn_pid(*spawn_at(L)));
    return 1;
}

/* nil while it runs; else how it ended, and whether that was well. */
static int spawn_ended(lua_State *L)
{
    char text[64];
    int status;

    if (vfuc_spawn_ended(*spawn_at(L), &status) != 1)
        return 0;
    lua_pushstring(L, vfuc_spawn_status(status, text, sizeof text));
    lua_pushboolean(L, status == 0);
    return 2;
}

/* How it ended, and whether that was well; nil, text where it had to be killed. */
static int spawn_stop(lua_State *L)
{
    struct vfuc_spawn *s = *spawn_at(L);
    char text[64];
    int status, err = vfuc_spawn_stop(s, &status);

    if (err)
        return lua_refused(L, err, vfuc_spawn_error(s));
    lua_pushstring(L, vfuc_spawn_status(status, text, sizeof text));
    lua_pushboolean(L, status == 0);
    return 2;
}

static int spawn_kill(lua_State *L)
{
    vfuc_spawn_kill(*spawn_at(L), NULL);
    return 0;
}

static int spawn_log(lua_State *L)
{
    luaL_Buffer buffer;
    char *text = luaL_buffinitsize(L, &buffer, LOG_BYTES);

    luaL_pushresultsize(&buffer, vfuc_spawn_log(*spawn_at(L), text, LOG_BYTES));
    return 1;
}

static int spawn_gc(lua_State *L)
{
    struct vfuc_spawn **s = luaL_checkudata(L, 1, SPAWN);

    vfuc_spawn_free(*s);
    *s = NULL;
    return 0;
}

void luaspawn_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "socket", spawn_socket }, { "pid", spawn_pid }, { "ended", spawn_ended }, { "stop", spawn_stop },
        { "kill", spawn_kill },     { "log", spawn_log }, { "free", spawn_gc },     { "__gc", spawn_gc },
        { NULL, NULL },
    };

    luaL_newmetatable(L, SPAWN);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, core_spawn);
    lua_setfield(L, -2, "spawn");
}

/* ---- the state ---- */

static int core_now(lua_State *L)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec * 1e-9);
    return 1;
}

static int core_sleep(lua_State *L)
{
    uint64_t ns = lua_seconds(L, 1, 0);
    struct timespec left = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

    while (nanosleep(&left, &left) && errno == EINTR)
        ;
    return 0;
}

/* The vfu-host beside this program, as it is installed and built; else the one on the path. */
static void push_host(lua_State *L)
{
    const char *given = getenv("VFU_HOST");
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    char *slash;

    path[n > 0 ? n : 0] = '\0';
    slash = strrchr(path, '/');
    if (slash)
        strcpy(slash + 1, "vfu-host");
    if (given && *given)
        lua_pushstring(L, given);
    else
        lua_pushstring(L, slash && access(path, X_OK) == 0 ? path : "vfu-host");
}

static int open_core(lua_State *L)
{
    lua_newtable(L);
    push_host(L);
    lua_setfield(L, -2, "host");
    lua_pushcfunction(L, core_sleep);
    lua_setfield(L, -2, "sleep");
    luaconn_open(L);
    luajson_open(L);
    luaspawn_open(L);
    lua_pushcfunction(L, core_now);
    lua_setfield(L, -2, "now");
    return 1;
}

static int open_client(lua_State *L)
{
    if (luaL_loadbuffer(L, (const char *)client_module, sizeof client_module, "=vfu.client"))
        return lua_error(L);
    lua_call(L, 0, 1);
    return 1;
}

static int open_test(lua_State *L)
{
    if (luaL_loadbuffer(L, (const char *)test_module, sizeof test_module, "=vfu.test"))
        return lua_error(L);
    lua_call(L, 0, 1);
    return 1;
}

/* The device's script instead of its test, say. */
static int open_vfu(lua_State *L)
{
    luaL_where(L, 2); /* 1 is require's */
    lua_pushliteral(L, "module 'vfu' is for devices, which vfu-host runs; a test requires vfu.test, a script vfu.client");
    lua_concat(L, 2);
    return lua_error(L);
}

/* What stands beside the script is found first. */
static void search_beside(lua_State *L, const char *script)
{
    const char *slash = strrchr(script, '/');

    lua_getglobal(L, "package");
    if (slash)
        lua_pushlstring(L, script, (size_t)(slash - script));
    else
        lua_pushstring(L, ".");
    lua_pushstring(L, "/?.lua;");
    lua_getfield(L, -3, "path");
    lua_concat(L, 3);
    lua_setfield(L, -2, "path");
    lua_pop(L, 1);
}

lua_State *luastate_new(const char *script)
{
    static const luaL_Reg modules[] = {
        { "vfu.client", open_client }, { "vfu.test", open_test }, { "vfu", open_vfu }, { NULL, NULL },
    };
    lua_State *L = luaL_newstate();

    if (!L)
        return NULL;
    luaL_openlibs(L);
    luaL_requiref(L, "vfu.client.core", open_core, 0);
    lua_pop(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    luaL_setfuncs(L, modules, 0);
    lua_pop(L, 1);
    search_beside(L, script);
    return L;
}

int luastate_traceback(lua_State *L)
{
    const char *text = luaL_tolstring(L, 1, NULL);

    luaL_traceback(L, L, text, 1);
    return 1;
}

/* ---- vfu-client SOCKET run ---- */

/* Stack: socket, connection; the script's value is its exit status. */
static int run_script(lua_State *L)
{
    char **argv = lua_touserdata(L, 3);
    int argc = (int)lua_tointeger(L, 4);

    lua_newtable(L);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
    if (luaL_loadfile(L, argv[0]))
        return lua_error(L);
    luaL_requiref(L, "vfu.client", open_client, 0);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "vfu.client.core");
    lua_getfield(L, -1, "client");
    lua_getfield(L, -1, "adopt");
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    lua_replace(L, -5);
    lua_pop(L, 3);
    for (int i = 1; i < argc; i++)
        lua_pushstring(L, argv[i]);
    lua_call(L, argc, 1);
    return 1;
}

int script_run(struct vfuc *c, const char *socket, char **argv, int argc)
{
    lua_State *L = luastate_new(argv[0]);
    int status = EXIT_SUCCESS;

    if (!L) {
        fputs("vfu-client: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, luastate_traceback);
    lua_pushcfunction(L, run_script);
    lua_pushstring(L, socket);
    luaconn_borrow(L, c);
    lua_pushlightuserdata(L, argv);
    lua_pushinteger(L, argc);
    if (lua_pcall(L, 4, 1, 1)) {
        fflush(stdout);
        fprintf(stderr, "vfu-client: %s\n", lua_tostring(L, -1));
        status = EXIT_FAILURE;
    } else if (lua_isboolean(L, -1)) {
        status = lua_toboolean(L, -1) ? EXIT_SUCCESS : EXIT_FAILURE;
    } else if (lua_isinteger(L, -1)) {
        status = (int)(lua_tointeger(L, -1) & 0xff);
    }
    lua_close(L);
    return status;
}
