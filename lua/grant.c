/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * grant - dev:granted(NAME): whether a capability is in force now, so that a script can look before it tries.
 *
 * The names are those of --deny and --dump-plugin; those that begin with client_ are the attached client's. Runs on the
 * device's thread.
 */
#include <string.h>

#include "lua/binding.h"

static const struct {
    const char *name;
    uint64_t flag;
} grants[] = {
    { "dma", VFU_CAP_DMA },
    { "dma_map", VFU_CAP_DMA_MAP },
    { "intx", VFU_CAP_INTX },
    { "msi", VFU_CAP_MSI },
    { "msix", VFU_CAP_MSIX },
    { "reset", VFU_CAP_RESET },
    { "mmap", VFU_CAP_MMAP },
    { "doorbell", VFU_CAP_DOORBELL },
    { "migration", VFU_CAP_MIGRATION },
    { "timers", VFU_CAP_TIMERS },
    { "fd_watch", VFU_CAP_FD_WATCH },
    { "poll", VFU_CAP_POLL },
    { "threads", VFU_CAP_THREADS },
    { "ffi", VFU_CAP_FFI },
    { "reload", VFU_CAP_RELOAD },
    { "client_fds", VFU_CAP_CLIENT_FDS },
    { "client_twin_socket", VFU_CAP_CLIENT_TWIN_SOCKET },
    { "client_write_multi", VFU_CAP_CLIENT_WRITE_MULTI },
};
#define GRANTS (sizeof grants / sizeof grants[0])

int grant_granted(lua_State *L)
{
    struct script *s = script_of(L);
    const char *names[GRANTS + 1] = { NULL }, *name, *better;

    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    if (!lua_rawequal(L, 1, -1))
        return luaL_error(L, "call it as dev:granted(name), with a colon");
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "dev:granted takes a capability's name, not %s", luaL_typename(L, 2));
    if (!s->regs)
        return luaL_error(L, "capabilities are granted once the device runs, not while the script loads");
    name = lua_tostring(L, 2);
    for (size_t i = 0; i < GRANTS; i++) {
        names[i] = grants[i].name;
        if (!strcmp(names[i], name)) {
            lua_pushboolean(L, (s->host->granted(s->host) & grants[i].flag) != 0);
            return 1;
        }
    }
    better = util_suggest(name, names);
    return luaL_error(L, "no capability named %s%s%s%s", name, better ? "; did you mean " : "", better ? better : "",
                      better ? "?" : "");
}
