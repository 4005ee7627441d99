/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irq - dev.irq: raise, lower, error, request. What the level register does by itself is the host's.
 *
 * Runs on the device's thread.
 */
#include <errno.h>
#include <stdio.h>

#include "lua/binding.h"

static struct script *check_irq(lua_State *L)
{
    struct script *s = script_of(L);

    if (!lua_istable(L, 1))
        luaL_error(L, "call it as dev.irq:method(...), with a colon");
    if (!(s->d.caps & (VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX)))
        luaL_error(L, "the device has no interrupt; give pci an intx = true, msi or msix");
    if (!s->regs)
        luaL_error(L, "interrupts are there once the device runs, not while the script loads");
    return s;
}

/* The vector at 2, which may come from a register; false after a guest error and pushing nil, message. */
static bool take_vector(lua_State *L, struct script *s, const char *done, uint32_t *vector)
{
    lua_Integer n = (s->d.caps & VFU_CAP_INTX) ? 1 : 0, v = 0;
    char text[96];

    if (!lua_isnoneornil(L, 2))
        v = util_check_integer(L, 2, "the vector");
    if (s->d.caps & VFU_CAP_MSI && s->d.msi_vectors > n)
        n = s->d.msi_vectors;
    if (s->d.caps & VFU_CAP_MSIX && s->d.msix_vectors > n)
        n = s->d.msix_vectors;
    *vector = (uint32_t)v;
    if (v >= 0 && v < n)
        return true;
    snprintf(text, sizeof text, "interrupt vector %lld is %s, and the device has 0 to %d", (long long)v, done,
             (int)n - 1);
    s->host->guest_error(s->host, text);
    luaL_pushfail(L);
    lua_pushliteral(L, "no such vector");
    return false;
}

/* 0 sent, 1 pending: true. Not armed: false. Beyond those declared: nil, message. */
int irq_push_result(lua_State *L, int32_t rc)
{
    if (rc >= 0 || rc == -ENOENT) {
        lua_pushboolean(L, rc >= 0);
        return 1;
    }
    luaL_pushfail(L);
    lua_pushstring(L, rc == -EINVAL    ? "no such vector"
                      : rc == -ENOTSUP ? "interrupts are not granted"
                                       : "no interrupt");
    return 2;
}

static int irq_raise(lua_State *L)
{
    struct script *s = check_irq(L);
    uint32_t vector;

    return take_vector(L, s, "raised", &vector) ? irq_push_result(L, s->host->irq_raise(s->host, vector)) : 2;
}

static int irq_lower(lua_State *L)
{
    struct script *s = check_irq(L);
    uint32_t vector;

    return take_vector(L, s, "lowered", &vector) ? irq_push_result(L, s->host->irq_lower(s->host, vector)) : 2;
}

static int irq_error(lua_State *L)
{
    struct script *s = check_irq(L);

    return irq_push_result(L, s->host->irq_signal(s->host, VFU_IRQ_ERR));
}

static int irq_request(lua_State *L)
{
    struct script *s = check_irq(L);

    return irq_push_result(L, s->host->irq_signal(s->host, VFU_IRQ_REQ));
}

static int irq_newindex(lua_State *L)
{
    return luaL_error(L, "dev.irq has nothing to assign; raise or lower it");
}

void irq_push(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "raise", irq_raise },     { "lower", irq_lower }, { "error", irq_error },
        { "request", irq_request }, { NULL, NULL },
    };

    luaL_newlib(L, methods);
    util_push_proxy(L, "irq", irq_newindex);
}
