/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wrap_private - what wrap.c and wraphook.c share: the plugin that a script wraps, and the hooks around it.
 *
 * Used by the script's thread, as struct script is.
 */
#ifndef LUA_WRAP_PRIVATE_H
#define LUA_WRAP_PRIVATE_H

#include <vfu/wrap.h>

#include "lua/binding.h"

enum { WRAP_READ, WRAP_WRITE, WRAP_DMA_READ, WRAP_DMA_WRITE, WRAP_RAISE, WRAP_HOOKS };

struct wrapper {
    struct vfu_wrap wrap; /* first */
    struct script *s;
    bool wrapped;                           /* inner:wrap has been called */
    int inner_ref;                          /* the object of the script */
    int hooks[WRAP_HOOKS], next[WRAP_HOOKS]; /* functions, or LUA_NOREF */
    union {
        struct vfu_desc desc;
        char room[1024]; /* what describe is promised */
    } inner;             /* what the inner plugin has said of itself */
    struct vfu_bar bars[6];
    uint64_t level, passed; /* bits of the level register: all, and those that the raise hook has passed on */
    struct vfu_dma_op *ended; /* of the inner plugin, not told yet, in order; linked by reserved[0] */
    bool ended_armed, orphans_armed;
};

/* Sets the functions of w->wrap.table that hooks take the place of, and their `next`. */
void wraphook_open(lua_State *L, struct wrapper *w);

#endif
