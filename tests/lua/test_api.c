/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names of the Lua interface: what a running script can reach is what sdk/lua/library defines, option by option and
 * method by method, both ways; docs/lua-reference.md is what the definitions make. And the calls that have no test of
 * their own elsewhere: dev:granted, vfu.version, doorbells. One thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"
#include "tests/lua/fake.h"

#define LIBRARY "sdk/lua/library/"

/* In the order of the manual: that of sdk/lua/local.mk. */
static const char *const library[] = { LIBRARY "vfu.lua", LIBRARY "spec.lua", LIBRARY "device.lua", LIBRARY "memory.lua",
                                       LIBRARY "virtio.lua",
                                       LIBRARY "stream.lua", LIBRARY "wrap.lua", LIBRARY "ffi.lua", LIBRARY "client.lua",
                                       LIBRARY "test.lua", NULL };

/* Of the others: what scripts of vfu-client have. tests/client/names_test.lua looks at those. */
static const char *const elsewhere[] = { "vfu.client", "vfu.test", "vfu.Dut", "vfu.Window", "vfu.Memory",
                                         "vfu.ConnectOptions", "vfu.SpawnOptions", "vfu.MemoryOptions",
                                         "vfu.TestOptions", NULL };


static const char script[] =
    "local vfu = require 'vfu'\n"
    "require 'ffi'\n"
    "require 'vfu.virtio'\n"
    "local d = vfu.device('d', { pci = { vendor = 1, device = 2, intx = true }, dma = { map = true },\n"
    "  needs = { 'ffi' } })\n"
    "b = d:bar(0, { size = 4096, doorbells = { { 0, 4 }, { 8, 4, match = 5 } } }, {\n"
    "  vfu.reg('GRANT', 0x100, 4), vfu.reg('OUT', 0x104, 4) })\n"
    "local ram = d:bar(1, { size = 4096, ram = true, doorbells = { { 16, 0, shadow = true } } })\n"
    "local names = { 'dma', 'client_fds', 'intx', 'msix' }\n"
    "function d.write:GRANT(v)\n"
    "  if v == 9 then self:granted('dmaa') end\n"
    "  self.OUT.value = 0\n"
    "  for i, name in ipairs(names) do if self:granted(name) then self.OUT.value = self.OUT.value | 1 << i - 1 end end\n"
    "end\n"
    "function d.on:doorbell(bar, index, value) self.OUT.value = bar << 16 | index << 8 | value end\n"
    "print(vfu.version)\n"
    "return d\n";

static const char *source_path(const char *name)
{
    static char path[4096];
    const char *dir = getenv("VFU_SRCDIR");

    snprintf(path, sizeof path, "%s/%s", dir ? dir : ".", name);
    return path;
}

/* ---- sets of names: tables {name = kind} of a plain Lua state ---- */

/* A state with the definitions: `names` at 1, the generator's module at 2, its items at 3. */
static lua_State *definitions(void)
{
    lua_State *L = luaL_newstate();

    assert_non_null(L);
    luaL_openlibs(L);
    if (luaL_loadfile(L, source_path("sdk/lua/reference.lua")) || lua_pcall(L, 0, 1, 0))
        fail_msg("%s", lua_tostring(L, -1));
    lua_getfield(L, 1, "parse");
    lua_newtable(L);
    for (int i = 0; library[i]; i++) {
        lua_pushstring(L, source_path(library[i]));
        lua_rawseti(L, -2, i + 1);
    }
    if (lua_pcall(L, 1, 1, 0))
        fail_msg("%s", lua_tostring(L, -1));
    lua_getfield(L, 1, "names");
    lua_pushvalue(L, 2);
    if (lua_pcall(L, 1, 1, 0))
        fail_msg("%s", lua_tostring(L, -1));
    lua_insert(L, 1);
    return L;
}

static void mark(lua_State *defs, const char *name, unsigned *missing)
{
    lua_getfield(defs, 1, name);
    if (lua_isnil(defs, -1)) {
        print_error("%s is not defined in " LIBRARY "\n", name);
        (*missing)++;
    }
    lua_pop(defs, 1);
    lua_getfield(defs, LUA_REGISTRYINDEX, "seen");
    lua_pushboolean(defs, 1);
    lua_setfield(defs, -2, name);
    lua_pop(defs, 1);
}

/* The string keys of the table on top of L are names behind `prefix`; pops it. */
static void mark_table(lua_State *defs, lua_State *L, const char *prefix, const char *methods, unsigned *missing)
{
    char name[128];

    assert_true(lua_istable(L, -1));
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !strncmp(lua_tostring(L, -2), "__", 2))
            continue;
        snprintf(name, sizeof name, "%s%s%s", prefix, lua_isfunction(L, -1) ? methods : ".", lua_tostring(L, -2));
        mark(defs, name, missing);
    }
    lua_pop(L, 1);
}

/* The members behind the proxy on top of L, in its place. */
static void open_proxy(lua_State *L)
{
    assert_true(lua_getmetatable(L, -1));
    lua_getfield(L, -1, "__index");
    lua_replace(L, -3);
    lua_pop(L, 1);
}

static void mark_type(lua_State *defs, lua_State *L, const char *type, const char *prefix, unsigned *missing)
{
    assert_int_equal(luaL_getmetatable(L, type), LUA_TTABLE);
    lua_getfield(L, -1, "__index");
    mark_table(defs, L, prefix, ":", missing);
    lua_pop(L, 1);
}

/* ---- options: the lists in the source, which the binding checks a script's tables against ---- */

static const struct {
    const char *class, *file, *function, *array;
} options[] = {
    { "vfu.DeviceSpec.", "lua/device.c", "\nint declare_device(", "options[] = {" },
    { "vfu.PciSpec.", "lua/device.c", "\nstatic void read_pci(", "options[] = {" },
    { "vfu.MsixSpec.", "lua/device.c", "\nstatic void read_msix(", "options[] = {" },
    { "vfu.IrqSpec.", "lua/device.c", "\nstatic void read_irq(", "options[] = {" },
    { "vfu.DmaSpec.", "lua/device.c", "\nstatic void read_dma(", "options[] = {" },
    { "vfu.BarSpec.", "lua/declare.c", "\nint declare_bar(", "options[] = {" },
    { "vfu.ConfigSpec.", "lua/declare.c", "\nint declare_config(", "options[] = {" },
    { "vfu.CapSpec.", "lua/declare.c", "\nstatic void read_caps(", "options[] = {" },
    { "vfu.DoorbellSpec.", "lua/doorbell.c", "\nstatic void read_bell(", "options[] = {" },
    { "vfu.VirtioSpec.", "lua/virtio.c", "\nstatic int device_new(", "options[] = {" },
    { "vfu.VirtioQueue.", "lua/virtio.c", "\nstatic void read_queues(", "options[] = {" },
    { "vfu.WrapSpec.", "lua/wrap.c", "\nstatic int inner_wrap(", "options[] = {" },
    { "vfu.Frame.", "lua/display.c", "\nstatic int display_show(", "options[] = {" },
    { "vfu.RegSpec.", "lua/map.c", "\nstatic void read_reg_options(", "options[] = {" },
    { "vfu.FlagSpec.", "lua/map.c", "\nstatic void read_field_tail(", "options[] = {" },
    { "vfu.FieldSpec.", "lua/map.c", "\nstatic void read_field_tail(", "options[] = {" },
    { "vfu.GroupSpec.", "lua/map.c", "\nint map_group(", "options[] = {" },
    { "vfu.ParamSpec.", "lua/params.c", "\nstatic void read_param(", "options[] = {" },
    { "vfu.Stream.", "lua/stream.c", "\nstatic const char *const on_names", "= {" },
    { "vfu.Access=", "lua/map.c", "\nstatic const char *const access_names", "= {" },
    { "vfu.Capability=", "lua/grant.c", "\n} grants", "= {" },
};

static void mark_options(lua_State *defs, size_t k, unsigned *missing)
{
    static char text[1 << 17];
    const char *p, *end;
    char name[128];
    FILE *f = fopen(source_path(options[k].file), "r");

    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    p = strstr(text, options[k].function);
    p = p ? strstr(p, options[k].array) : NULL;
    end = p ? strstr(p, "};") : NULL;
    if (!end)
        fail_msg("%s has no %s%s: the test reads it there", options[k].file, options[k].function + 1, options[k].array);
    for (p = strchr(p, '"'); p && p < end; p = strchr(p, '"')) {
        const char *stop = strchr(p + 1, '"');

        assert_non_null(stop);
        snprintf(name, sizeof name, "%s%.*s", options[k].class, (int)(stop - p - 1), p + 1);
        if (stop > p + 1)
            mark(defs, name, missing);
        p = stop + 1;
    }
}

/* ---- the comparison ---- */

/* What is defined and cannot be marked: types, list items, hooks of any name, and what the checks below look at. */
static bool is_type(const char *name, const char *kind)
{
    for (int i = 0; elsewhere[i]; i++) {
        size_t n = strlen(elsewhere[i]);

        if (!strncmp(name, elsewhere[i], n) && (!name[n] || name[n] == '.' || name[n] == ':'))
            return true;
    }
    return !strcmp(kind, "class") || !strcmp(kind, "alias") || strchr(name, '[');
}

static void test_names(void **state)
{
    struct fake *f = calloc(1, sizeof *f);
    lua_State *defs = definitions(), *L;
    unsigned missing = 0, extra = 0;
    char name[128];

    (void)state;
    assert_non_null(f);
    fake_start(f, script);
    L = ((struct script *)f->self)->L;
    lua_newtable(defs);
    lua_setfield(defs, LUA_REGISTRYINDEX, "seen");

    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "vfu");
    lua_getfield(L, -1, "log");
    open_proxy(L);
    mark_table(defs, L, "vfu.Log", ".", &missing);
    mark_table(defs, L, "vfu", ".", &missing);
    lua_getfield(L, -1, "ffi");
    mark_table(defs, L, "ffi", ".", &missing);
    lua_getfield(L, -1, "vfu.virtio");
    mark_table(defs, L, "vfu.virtio", ".", &missing);
    lua_pop(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, ((struct script *)f->self)->members_ref);
    lua_getfield(L, -1, "irq");
    open_proxy(L);
    mark_table(defs, L, "vfu.Irq", ":", &missing);
    lua_newtable(L); /* the members without the script's own registers */
    for (lua_pushnil(L); lua_next(L, -3); lua_pop(L, 1)) {
        const char *key = lua_tostring(L, -2);

        if (!strcmp(key, "GRANT") || !strcmp(key, "OUT"))
            continue;
        lua_pushvalue(L, -1);
        lua_setfield(L, -4, key);
    }
    mark_table(defs, L, "vfu.Device", ":", &missing);
    lua_pop(L, 1);
    mark_type(defs, L, "dma", "vfu.Dma", &missing);
    mark_type(defs, L, "view", "vfu.View", &missing);
    mark_type(defs, L, "buffer", "vfu.Buffer", &missing);
    mark_type(defs, L, "timer", "vfu.Timer", &missing);
    mark_type(defs, L, "qmp", "vfu.Qmp", &missing);
    mark_type(defs, L, "stream", "vfu.Stream", &missing);
    mark_type(defs, L, "display", "vfu.Display", &missing);
    for (int i = 0; hooks_on_names[i]; i++) {
        snprintf(name, sizeof name, "vfu.OnHooks.%s", hooks_on_names[i]);
        mark(defs, name, &missing);
    }
    for (size_t k = 0; k < sizeof options / sizeof options[0]; k++)
        mark_options(defs, k, &missing);
    for (int i = 0; i < 3; i++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, ((struct script *)f->self)->kind_refs[i]);
        snprintf(name, sizeof name, "vfu.ResetKind=%s", lua_tostring(L, -1));
        mark(defs, name, &missing);
        lua_pop(L, 1);
    }
    for (const char *const *p = (const char *const[]){ "vfu.Plugin:wrap", "vfu.Plugin.name", "vfu.Plugin.version",
                                                       "vfu.Plugin.summary", "vfu.Device.inner", NULL }; *p; p++)
        mark(defs, *p, &missing); /* of scripts that wrap a plugin: tests/protocol/test_wrap.c */
    for (const char *const *p = (const char *const[]){ "vfu.VirtioDevice.queue", "vfu.VirtioDevice:feature",
                                                       "vfu.VirtioDevice:config_changed", "vfu.VirtioDevice:broken",
                                                       "vfu.Chain.readable", "vfu.Chain.writable", "vfu.Chain.id",
                                                       "vfu.Chain.queue", "vfu.Chain.alive", "vfu.Chain:read",
                                                       "vfu.Chain:write", "vfu.Chain:read_into", "vfu.Chain:write_from",
                                                       "vfu.Chain:done", NULL }; *p; p++)
        mark(defs, *p, &missing); /* of virtio devices: tests/virtio */
    mark(defs, "vfu.Bar.read", &missing); /* test_bar */
    mark(defs, "vfu.Bar.write", &missing);
    mark(defs, "vfu.Bar.ram", &missing);
    mark(defs, "vfu.Bar.address", &missing);
    mark(defs, "vfu.Bar.decoded", &missing);
    mark(defs, "vfu.Bar.mapped", &missing);
    mark(defs, "vfu.Bar:doorbell_fd", &missing);
    mark(defs, "vfu.Register.value", &missing); /* every other name is a field */

    lua_getfield(defs, LUA_REGISTRYINDEX, "seen");
    for (lua_pushnil(defs); lua_next(defs, 1); lua_pop(defs, 1)) {
        const char *defined = lua_tostring(defs, -2);

        if (is_type(defined, lua_tostring(defs, -1)))
            continue;
        if (lua_getfield(defs, -3, defined) == LUA_TNIL) {
            print_error("%s is defined in " LIBRARY ", and is not there\n", defined);
            extra++;
        }
        lua_pop(defs, 1);
    }
    assert_int_equal(missing, 0);
    assert_int_equal(extra, 0);
    lua_close(defs);
    fake_stop(f);
    free(f);
}

/* A BAR answers to its own names, and to nothing else; where it is, is known later. */
static void test_bar(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    (void)state;
    assert_non_null(f);
    assert_int_equal(fake_load(f, "local vfu = require 'vfu'\n"
                                  "local d = vfu.device('d', { pci = { vendor = 1, device = 2 } })\n"
                                  "local b = d:bar(0, { size = 16, ram = true })\n"
                                  "assert(b.read == nil and b.write == nil and #b.ram == 16)\n"
                                  "local ok, text = pcall(function() return b.size end)\n"
                                  "assert(not ok and text:find('a BAR has read, write, ram, address', 1, true))\n"
                                  "ok, text = pcall(function() return b.address end)\n"
                                  "assert(not ok and text:find('bar.address is known once the device runs', 1, true))\n"
                                  "ok, text = pcall(d.config_read, d, 0)\n"
                                  "assert(not ok and text:find('not while the script loads', 1, true))\n"
                                  "return d\n"),
                     0);
    fake_stop(f);
    free(f);
}

static void test_reference(void **state)
{
    lua_State *L = definitions();
    static char page[1 << 18];
    const char *made;
    FILE *f = fopen(source_path("docs/lua-reference.md"), "r");

    (void)state;
    assert_non_null(f);
    page[fread(page, 1, sizeof page - 1, f)] = '\0';
    fclose(f);
    lua_getfield(L, 2, "render");
    lua_pushvalue(L, 3);
    if (lua_pcall(L, 1, 1, 0))
        fail_msg("%s", lua_tostring(L, -1));
    made = lua_tostring(L, -1);
    if (strcmp(made, page)) {
        size_t i = 0;

        while (made[i] && made[i] == page[i])
            i++;
        fail_msg("docs/lua-reference.md is stale, run make lua-reference; the definitions make: %.80s", made + i);
    }
    lua_close(L);
}

/* ---- calls ---- */

static void test_calls(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    (void)state;
    assert_non_null(f);
    fake_start(f, script);
    assert_string_equal(f->info, "test\n");
    fake_write(f, 0, 0x100, 4, 1);
    assert_int_equal(fake_read(f, 0, 0x104, 4), 1 | 4); /* dma and intx; the fake host grants what is declared */
    assert_string_equal(f->log, "");
    fake_write(f, 0, 0x100, 4, 9);
    assert_non_null(strstr(f->log, "no capability named dmaa; did you mean dma?"));

    assert_true(f->desc.caps & VFU_CAP_DOORBELL);
    assert_int_equal(f->desc.ndoorbells, 3);
    assert_int_equal(f->desc.doorbells[1].flags, VFU_DOORBELL_MATCH);
    assert_int_equal(f->desc.doorbells[2].bar, 1);
    assert_int_equal(f->desc.doorbells[2].flags, VFU_DOORBELL_SHADOW);
    f->plugin->doorbell(f->self, 1, 5);
    assert_int_equal(fake_read(f, 0, 0x104, 4), 0x000105);
    f->plugin->doorbell(f->self, 2, 7);
    assert_int_equal(fake_read(f, 0, 0x104, 4), 0x010007);
    fake_stop(f);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
