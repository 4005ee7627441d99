/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wrap_private - what wrap.c, wraphook.c and wrapdma.c share: the plugin that a script wraps, and the hooks around it.
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

/* ---- wraphook.c ---- */
/* Sets the functions of w->wrap.table that hooks take the place of, and their `next`. */
void wraphook_open(lua_State *L, struct wrapper *w);
struct wrapper *wraphook_wrapper(const struct vfu_host *table);
const struct vfu_host *wraphook_host(const struct wrapper *w); /* where calls of the inner plugin go on */
struct task *wraphook_new(struct script *s, uint32_t hook);    /* NULL after a report */
int wraphook_start(struct task *t);                            /* as task_run */
/* What is wrong with a result: a format of a kind, a number of bytes, and how many there should be. */
void wraphook_report(const struct task *t, const char *format, const char *type, size_t n, uint32_t size)
    __attribute__((format(printf, 2, 0)));
int32_t wraphook_error(lua_State *co, int i); /* nil, "EIO" or a message of dev.dma's at i: its negative number */
bool wraphook_failed(const struct task *t, int32_t *status);
void wraphook_note(lua_State *L, int32_t status); /* of a `next`, for the hook that runs */

/* ---- wrapdma.c ---- */
void wrapdma_open(struct wrapper *w);
int wrapdma_next_read(lua_State *L);
int wrapdma_next_write(lua_State *L);

#endif
