/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lua - Lua inside vfu-client: the tester's own scripts, with the whole standard library. The modules vfu.client and
 * vfu.test are Lua (sdk/lua/module) on top of "vfu.client.core", which luaconn.c and luacore.c make.
 *
 * Core functions that fail return nil, the text, and the errno's name where there is one; the modules raise it at the
 * line of the script. One thread.
 */
#ifndef CLIENT_LUA_H
#define CLIENT_LUA_H

#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>

#include <vfu/client.h>

/* nil, vfuc_error(), errno's name. */
int lua_refused(lua_State *L, int err, const char *text);
/* Seconds as nanoseconds; those that make no sense raise. `otherwise` where there are none. */
uint64_t lua_seconds(lua_State *L, int at, uint64_t otherwise);

void luaconn_open(lua_State *L); /* adds to the table on top */
/* Pushes a connection that stays the caller's. */
void luaconn_borrow(lua_State *L, struct vfuc *c);
/* The connection at the index, or NULL if there is nil or it is closed. */
struct vfuc *luaconn_get(lua_State *L, int at);

void luajson_push(lua_State *L, const json_t *value);
/* A new value, NULL if it cannot be JSON. Tables with [1] are arrays. */
json_t *luajson_get(lua_State *L, int at);
void luajson_open(lua_State *L);

void luaspawn_open(lua_State *L);

/* A state with the libraries, and modules to require; those beside `script` too. NULL if memory is out. */
lua_State *luastate_new(const char *script);
/* Pushes the text of the error on top with its traceback, in its place: a message handler. */
int luastate_traceback(lua_State *L);

/* vfu-client SOCKET run SCRIPT [ARGUMENT]...: the exit status. */
int script_run(struct vfuc *c, const char *socket, char **argv, int argc);

#endif
