/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * doorbell - the doorbells of a BAR, and dev.on:doorbell(bar, index, value), which counts them from 0 in each BAR.
 *
 * The hook runs like those of reset and attach: it never waits. What has to wait goes into an event: dev:after(0, ...).
 */
#include <string.h>

#include <vfu/wrap.h>

#include "lua/binding.h"

/* Those of one BAR with the same name have the same number. */
static uint32_t share_number(lua_State *L, const struct vfu_doorbell *bells, const char **names, uint32_t k, int i)
{
    uint32_t highest = 0;

    names[k] = util_opt_string(L, i, "a doorbell", "share");
    for (uint32_t j = 0; j < k && names[k]; j++) {
        if (names[j] && !strcmp(names[j], names[k]))
            return bells[j].share;
        if (bells[j].share > highest)
            highest = bells[j].share;
    }
    return names[k] ? highest + 1 : 0;
}

/* {offset, size [, match =] [, share = "name"] [, shadow = true]}, on top of the stack. */
static void read_bell(lua_State *L, const struct bar_decl *bar, struct vfu_doorbell *bell, const char *what, int n)
{
    static const char *const options[] = { "match", "share", "shadow", NULL };
    lua_Integer pair[2] = { 0, 0 };
    int i = lua_gettop(L);

    if (!lua_istable(L, i))
        luaL_error(L, "%s: doorbells is a list of {offset, size}", what);
    util_keys(L, i, "a doorbell", options, true);
    for (int j = 0; j < 2; j++) {
        lua_rawgeti(L, i, j + 1);
        pair[j] = util_check_integer(L, -1, "doorbells: offset and size");
        lua_pop(L, 1);
    }
    if (pair[1] < 0 || pair[1] > 8 || (pair[1] & (pair[1] - 1)))
        luaL_error(L, "%s: doorbell %d: a size is 0 (any), 1, 2, 4 or 8, not %I", what, n, pair[1]);
    if (pair[0] < 0 || (uint64_t)pair[0] >= bar->b.size || (uint64_t)pair[1] > bar->b.size - (uint64_t)pair[0])
        luaL_error(L, "%s: doorbell %d is not inside", what, n);
    if (pair[1] && pair[0] % pair[1])
        luaL_error(L, "%s: doorbell %d is not at a multiple of its size", what, n);
    bell->bar = bar->b.index;
    bell->offset = (uint64_t)pair[0];
    bell->size = (uint32_t)pair[1];
    if (lua_getfield(L, i, "match") != LUA_TNIL) {
        bell->match = (uint64_t)util_check_integer(L, -1, "doorbells: match");
        bell->flags = VFU_DOORBELL_MATCH;
        if (!bell->size || (bell->size < 8 && bell->match >> (8 * bell->size)))
            luaL_error(L, "%s: doorbell %d: match does not fit its size", what, n);
    }
    lua_pop(L, 1);
    if (util_opt_bool(L, i, "a doorbell", "shadow"))
        bell->flags |= VFU_DOORBELL_SHADOW;
}

void doorbell_declare(lua_State *L, struct bar_decl *bar, const char *what)
{
    const char **names;
    lua_Unsigned n;

    if (lua_getfield(L, 3, "doorbells") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    if (!lua_istable(L, -1))
        luaL_error(L, "%s: doorbells is a list of {offset, size}", what);
    n = lua_rawlen(L, -1);
    if (n > VFU_DOORBELLS_MAX)
        luaL_error(L, "%s: a device has up to %d doorbells", what, (int)VFU_DOORBELLS_MAX);
    bar->bells = util_alloc(L, (size_t)n * sizeof *bar->bells + 1);
    names = util_alloc(L, (size_t)n * sizeof *names + 1);
    for (uint32_t k = 0; k < n; k++) {
        lua_rawgeti(L, -1, k + 1);
        read_bell(L, bar, &bar->bells[k], what, (int)k + 1);
        bar->bells[k].share = share_number(L, bar->bells, names, k, lua_gettop(L));
        if (bar->bells[k].flags == (VFU_DOORBELL_MATCH | VFU_DOORBELL_SHADOW) ||
            (bar->bells[k].share && (bar->bells[k].flags & VFU_DOORBELL_SHADOW)))
            luaL_error(L, "%s: doorbell %d: shadow goes neither with match nor with share", what, (int)k + 1);
        lua_pop(L, 1);
    }
    bar->nbells = (uint32_t)n;
    lua_pop(L, 1);
}

void doorbell_finish(lua_State *L, struct script *s, struct vfu_desc *desc)
{
    struct vfu_doorbell *all;
    uint32_t n = 0;

    for (uint32_t i = 0; i < 6; i++)
        n += s->bars[i] ? s->bars[i]->nbells : 0;
    if (!n)
        return;
    if (s->on[HOOK_DOORBELL] == LUA_NOREF && !(s->virtio && n == s->bars[0]->nbells))
        util_fail(L, s->where, "there are doorbells, but no function dev.on:doorbell");
    all = util_alloc(L, n * sizeof *all);
    n = 0;
    for (uint32_t i = 0; i < 6; i++) {
        struct bar_decl *bar = s->bars[i];

        if (!bar || !bar->nbells)
            continue;
        bar->first_bell = n;
        memcpy(all + n, bar->bells, bar->nbells * sizeof *all);
        n += bar->nbells;
    }
    desc->caps |= VFU_CAP_DOORBELL;
    desc->doorbells = all;
    desc->ndoorbells = n;
    desc->doorbell_size = sizeof *all;
}

void doorbell_ring(void *self, uint32_t index, uint64_t value)
{
    struct script *s = self;
    const struct bar_decl *bar = NULL;

    if (s->wrap) {
        vfu_wrap_doorbell(wrap_inner(s), index, value);
        return;
    }
    if (s->virtio && virtio_ring(s, index, value))
        return;
    for (uint32_t i = 0; i < 6; i++)
        if (s->bars[i] && s->bars[i]->nbells && index >= s->bars[i]->first_bell)
            bar = s->bars[i];
    if (!bar || s->on[HOOK_DOORBELL] == LUA_NOREF)
        return;
    lua_pushinteger(s->L, bar->b.index);
    lua_pushinteger(s->L, (lua_Integer)(index - bar->first_bell));
    lua_pushinteger(s->L, (lua_Integer)value);
    hooks_on(s, HOOK_DOORBELL, "doorbell", 3);
}
