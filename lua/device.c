/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device - vfu.device: what the device as a whole is. Runs while the script loads.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lua/binding.h"

#define ROM_MAX ((size_t)16 << 20)

/* A file that is named in the script is beside it. */
static void read_rom(lua_State *L, struct script *s, const char *name)
{
    const char *slash = strrchr(s->path, '/'), *objection;
    uint8_t *image;
    size_t n;
    FILE *f;

    luaL_Buffer path;

    luaL_buffinit(L, &path);
    if (name[0] != '/' && slash)
        luaL_addlstring(&path, s->path, (size_t)(slash + 1 - s->path));
    luaL_addstring(&path, name);
    luaL_pushresult(&path);
    image = lua_newuserdatauv(L, ROM_MAX + 1, 0);
    state_watch(s, lua_tostring(L, -2));
    objection = util_no_file(lua_tostring(L, -2), ROM_MAX);
    if (objection)
        luaL_error(L, "vfu.device: rom: cannot open %s: %s", lua_tostring(L, -2), objection);
    f = fopen(lua_tostring(L, -2), "rb");
    if (!f)
        luaL_error(L, "vfu.device: rom: cannot open %s: %s", lua_tostring(L, -2), strerror(errno));
    n = fread(image, 1, ROM_MAX + 1, f);
    bool failed = ferror(f);
    fclose(f);
    if (failed || !n || n > ROM_MAX)
        luaL_error(L, "vfu.device: rom: %s is %s", lua_tostring(L, -2),
                   failed ? "not readable"
                   : n    ? "over 16 MiB"
                          : "empty");
    s->d.rom = memcpy(util_alloc(L, n), image, n);
    s->d.rom_size = n;
    lua_pop(L, 2);
}

static void read_msix(lua_State *L, struct script *s, int pci)
{
    static const char *const options[] = { "vectors", "bar", "table", "pba", NULL };
    int type = lua_getfield(L, pci, "msix"), i = lua_gettop(L);

    s->d.msix_bar = VFU_NONE;
    if (type == LUA_TTABLE) {
        util_keys(L, i, "pci.msix", options, false);
        s->d.msix_vectors = (uint32_t)util_opt_integer(L, i, "pci.msix", "vectors", 1, 1, 2048);
        s->d.msix_bar = (uint32_t)util_opt_integer(L, i, "pci.msix", "bar", VFU_NONE, 0, 5);
        if (s->d.msix_bar == VFU_NONE)
            luaL_error(L, "pci.msix: say which bar, or msix = %d for one of its own", (int)s->d.msix_vectors);
        s->d.msix_table = (uint32_t)util_opt_integer(L, i, "pci.msix", "table", 0, 0, INT32_MAX);
        s->d.msix_pba = (uint32_t)util_opt_integer(L, i, "pci.msix", "pba", s->d.msix_table + s->d.msix_vectors * 16, 0,
                                                   INT32_MAX);
    }
    lua_pop(L, 1);
    if (type != LUA_TTABLE)
        s->d.msix_vectors = (uint32_t)util_opt_integer(L, pci, "pci", "msix", 0, 0, 2048);
    if (s->d.msix_vectors)
        s->d.caps |= VFU_CAP_MSIX;
}

static void read_pci(lua_State *L, struct script *s, int spec)
{
    static const char *const options[] = {
        "vendor", "device", "subsystem_vendor", "subsystem", "revision", "class", "intx",
        "msi",    "msix",   "express",          "flr",       "pm",       "rom",   NULL
    };
    struct vfu_desc *d = &s->d;
    const char *rom;
    int i;

    if (lua_getfield(L, spec, "pci") != LUA_TTABLE)
        luaL_error(L, "vfu.device: pci = {vendor = ..., device = ...} is missing");
    i = lua_gettop(L);
    util_keys(L, i, "pci", options, false);
    if (lua_getfield(L, i, "vendor") == LUA_TNIL || lua_getfield(L, i, "device") == LUA_TNIL)
        luaL_error(L, "pci: vendor and device are needed");
    lua_pop(L, 2);
    d->vendor = (uint16_t)util_opt_integer(L, i, "pci", "vendor", 0, 0, 0xffff);
    d->device = (uint16_t)util_opt_integer(L, i, "pci", "device", 0, 0, 0xffff);
    d->subsystem_vendor = (uint16_t)util_opt_integer(L, i, "pci", "subsystem_vendor", 0, 0, 0xffff);
    d->subsystem = (uint16_t)util_opt_integer(L, i, "pci", "subsystem", 0, 0, 0xffff);
    d->revision = (uint32_t)util_opt_integer(L, i, "pci", "revision", 0, 0, 0xff);
    d->class_code = (uint32_t)util_opt_integer(L, i, "pci", "class", 0xff0000, 0, 0xffffff);
    d->msi_vectors = (uint32_t)util_opt_integer(L, i, "pci", "msi", 0, 0, 32);
    if (d->msi_vectors & (d->msi_vectors - 1))
        luaL_error(L, "pci: msi must be 1, 2, 4, 8, 16 or 32, not %d", (int)d->msi_vectors);
    if (util_opt_bool(L, i, "pci", "intx"))
        d->caps |= VFU_CAP_INTX;
    if (d->msi_vectors)
        d->caps |= VFU_CAP_MSI;
    read_msix(L, s, i);
    if (util_opt_bool(L, i, "pci", "express"))
        d->pci_flags |= VFU_PCI_EXPRESS;
    if (util_opt_bool(L, i, "pci", "flr"))
        d->pci_flags |= VFU_PCI_FLR | VFU_PCI_EXPRESS;
    if (util_opt_bool(L, i, "pci", "pm"))
        d->pci_flags |= VFU_PCI_PM;
    rom = util_opt_string(L, i, "pci", "rom");
    if (rom)
        read_rom(L, s, rom);
    lua_pop(L, 1);
}

static void read_irq(lua_State *L, struct script *s, int spec)
{
    static const char *const options[] = { "level", "mask", NULL };

    if (lua_getfield(L, spec, "irq") != LUA_TNIL) {
        if (!lua_istable(L, -1))
            luaL_error(L, "vfu.device: irq is a table {level = \"REG\", mask = \"REG\"}");
        util_keys(L, -1, "irq", options, false);
        s->irq_level = util_opt_string(L, -1, "irq", "level");
        s->irq_mask = util_opt_string(L, -1, "irq", "mask");
        if (!s->irq_level)
            luaL_error(L, "irq: level = \"REG\" is missing");
        if (!(s->d.caps & (VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX)))
            luaL_error(L, "irq: the device has no interrupt; give pci an intx = true, msi or msix");
    }
    lua_pop(L, 1);
}

static void read_dma(lua_State *L, struct script *s, int spec)
{
    static const char *const options[] = { "map", NULL };
    int type = lua_getfield(L, spec, "dma");

    if (type == LUA_TTABLE) {
        util_keys(L, -1, "dma", options, false);
        s->d.caps |= VFU_CAP_DMA;
        if (util_opt_bool(L, -1, "dma", "map"))
            s->d.caps |= VFU_CAP_DMA_MAP;
    } else if (type == LUA_TBOOLEAN) {
        s->d.caps |= lua_toboolean(L, -1) ? VFU_CAP_DMA : 0;
    } else if (type != LUA_TNIL) {
        luaL_error(L, "vfu.device: dma is true or {map = true}, not %s", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

void device_needs(lua_State *L, struct script *s, int spec, const char *what)
{
    static const struct {
        const char *name;
        uint64_t flag;
    } table[] = {
        { "dma", VFU_CAP_DMA },
        { "dma_map", VFU_CAP_DMA_MAP },
        { "intx", VFU_CAP_INTX },
        { "msi", VFU_CAP_MSI },
        { "msix", VFU_CAP_MSIX },
        { "mmap", VFU_CAP_MMAP },
        { "ffi", VFU_CAP_FFI },
        { "client_fds", VFU_CAP_CLIENT_FDS },
        { "client_twin_socket", VFU_CAP_CLIENT_TWIN_SOCKET },
        { "client_write_multi", VFU_CAP_CLIENT_WRITE_MULTI },
    };
    lua_Integer n;

    if (lua_getfield(L, spec, "needs") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    if (!lua_istable(L, -1))
        luaL_error(L, "%s: needs is a list of capability names", what);
    n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer k = 1; k <= n; k++) {
        const char *name = lua_rawgeti(L, -1, k) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
        size_t i = 0;

        while (i < sizeof table / sizeof table[0] && strcmp(table[i].name, name))
            i++;
        if (i == sizeof table / sizeof table[0])
            luaL_error(L, "needs: \"%s\" is no capability that this build gives to scripts", name);
        s->d.needs |= table[i].flag;
        s->d.caps |= table[i].flag & UINT32_MAX; /* above are the client's, which no device declares */
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void check_device_name(lua_State *L)
{
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
    size_t n = strlen(name);

    if (!n || n > 63 || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != n)
        luaL_error(L, "vfu.device: a name is 1 to 63 letters, digits, '-', '_' and '.'");
}

void device_state(lua_State *L, struct script *s, int spec, const char *what)
{
    if (lua_getfield(L, spec, "state") != LUA_TNIL) {
        if (!lua_istable(L, -1))
            luaL_error(L, "%s: state is a table {name = value}", what);
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->state_ref);
        for (lua_pushnil(L); lua_next(L, -3); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || !util_is_name(lua_tostring(L, -2)))
                luaL_error(L, "%s: state: a name is an identifier, not %s", what, luaL_tolstring(L, -2, NULL));
            object_check_state(L, -1, lua_tostring(L, -2));
            lua_pushvalue(L, -2);
            lua_pushinteger(L, save_kind(L, -2));
            lua_rawset(L, -5);
            lua_pushvalue(L, -1);
            object_member(L, s, lua_tostring(L, -3), s->where, false);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

int declare_device(lua_State *L)
{
    static const char *const options[] = { "doc", "pci", "params", "state", "irq", "dma", "needs", NULL };
    struct script *s = script_of(L);

    if (s->declared)
        return luaL_error(L, "vfu.device: one script, one device; this is the second");
    if (s->wrap)
        return luaL_error(L, "vfu.device: this script has opened a plugin; the device is what inner:wrap returns");
    check_device_name(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    util_keys(L, 2, "vfu.device", options, false);
    s->where = util_where(L, 1);
    s->d.name = util_strdup(L, lua_tostring(L, 1));
    s->d.doc = util_opt_string(L, 2, "vfu.device", "doc");
    s->d.caps = VFU_CAP_RESET | VFU_CAP_TIMERS | VFU_CAP_MIGRATION | VFU_CAP_RELOAD;
    read_pci(L, s, 2);
    read_irq(L, s, 2);
    read_dma(L, s, 2);
    device_needs(L, s, 2, "vfu.device");
    module_check_needs(L);
    object_device(L, s); /* at 3 */
    params_declare(L, s, 2);
    object_member(L, s, "params", "", false);
    device_state(L, s, 2, "vfu.device");
    s->declared = true;
    return 1;
}
