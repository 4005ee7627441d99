/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loading scripts: what goes wrong is told once, at the author's line, with a suggestion; what is right becomes the
 * description that the host gets. One thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lua/fake.h"

#define HEAD "local vfu = require 'vfu'\nlocal reg, flag, field = vfu.reg, vfu.flag, vfu.field\n"
#define DEVICE HEAD "local d = vfu.device('d', { pci = { vendor = 1, device = 2, intx = true }, dma = true })\n"
#define BAR DEVICE "local b = d:bar(0, { size = 4096 }, {\n reg('STATUS', 0, 4, { flag('BUSY', 0) }), reg('CTRL', 4, 4),\n})\n"

/* Scripts that must not load. Text before "|" is a part of the message, each "|" another. */
static const struct {
    const char *script;
    const char *message;
} bad[] = {
    { "x = = 1", ".lua:1: |near '='" },
    { "local a = nil\n\na.b = 1", ".lua:3: |attempt to index|stack traceback" },
    { "return 1", "no device" },
    { HEAD "return 1", "no device" },
    { DEVICE, "must return its device, not nil" },
    { DEVICE "return {}", "must return its device" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, device = 2 }, irqs = {} })", ".lua:3: |no option \"irqs\"|did you mean irq?" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, devise = 2 } })", "no option \"devise\"|device?" },
    { HEAD "vfu.device('d', { })", "pci = {vendor" },
    { HEAD "vfu.device('d e', { pci = { vendor = 1, device = 2 } })", "a name is 1 to 63" },
    { HEAD "vfu.device('d', { pci = { vendor = 0x10000, device = 2 } })", "vendor must be an integer from 0 to 0xffff" },
    { HEAD "vfu.device('d', { pci = { vendor = '1', device = 2 } })", "vendor must be an integer" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, device = 2, msi = 3 } })", "msi must be 1, 2, 4" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, device = 2 }, irq = { level = 'X' } })", "the device has no interrupt" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, device = 2 }, needs = { 'fly' } })", "no capability" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, device = 2 }, state = { f = print } })", "a function cannot be saved" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, device = 2 }, state = { bar = 1 } })", "the name bar is taken" },
    { HEAD "vfu.device('d', { pci = { vendor = 1, device = 2 }, params = { n = { 1, mix = 2 } } })", "no option \"mix\"|min?" },
    { HEAD "local d = vfu.device('d', { pci = { vendor = 1, device = 2 }, params = { n = 1 } })\nprint(d.params.m)",
      "no parameter named m" },
    { DEVICE "vfu.device('e', { pci = { vendor = 1, device = 2 } })", "this is the second" },
    { DEVICE "d:bar(6, { size = 16 })", "from 0 to 5" },
    { DEVICE "d:bar(0, { size = 17 })", ".lua:4: |power of two" },
    { DEVICE "d:bar(0, { size = 16, type = 'mem' })", "cannot be \"mem\"|did you mean mem32?" },
    { DEVICE "d:bar(0, { size = 16, sizes = { 3 } })", "1, 2, 4 and 8, not 3" },
    { DEVICE "d:bar(0, { size = 16, unmaped = 'ones' })", "no option \"unmaped\"|unmapped?" },
    { DEVICE "d:bar(0, { size = 16, doorbells = { { 0, 4 } } }) return d", "no function dev.on:doorbell" },
    { DEVICE "d:bar(0, { size = 16, doorbells = { { 0, 3 } } })", "a size is 0 (any), 1, 2, 4 or 8, not 3" },
    { DEVICE "d:bar(0, { size = 16, doorbells = { { 2, 4 } } })", "multiple of its size" },
    { DEVICE "d:bar(0, { size = 16, doorbells = { { 16, 0 } } })", "doorbell 1 is not inside" },
    { DEVICE "d:bar(0, { size = 16, doorbells = { { 0, 1, match = 256 } } })", "match does not fit" },
    { DEVICE "d:bar(0, { size = 16, doorbells = { { 0, 4, shadow = true, share = 'a' } } })", "neither with match nor" },
    { DEVICE "d:bar(0, { size = 16, doorbells = { { 0, 4, mach = 1 } } })", "no option \"mach\"|match?" },
    { DEVICE "d:bar(0, { size = 4096, mmap = true })", "mmap needs ram" },
    { DEVICE "d:bar(0, { size = 16 }) d:bar(0, { size = 16 })", "BAR 0 is declared twice" },
    { DEVICE "d:bar(0, { size = 16, type = 'mem64' }) d:bar(1, { size = 16 })", "upper half" },
    { DEVICE "d.bar(0, { size = 16 })", "with a colon" },
    { DEVICE "d:bar(0, { size = 16 }, { reg('A', 0, 4),\nreg('B', 2, 4) })", ".lua:5: |register B overlaps A at offset 0x2" },
    { DEVICE "d:bar(0, { size = 16 }, { reg('A', 0, 4, { count = 4, stride = 4 }),\nreg('B', 12, 4) })", "B overlaps A" },
    { DEVICE "d:bar(0, { size = 16 }, {\n\nreg('A', 14, 4) })", ".lua:6: |register A ends at 0x12, outside of BAR 0" },
    { DEVICE "d:bar(0, { size = 16 }, { reg('A', 0, 4, { count = 5 }) })", "outside of BAR 0" },
    { DEVICE "d:bar(0, { size = 16 }, { reg('A', 0, 4), reg('A', 4, 4) })", "the name A is taken" },
    { DEVICE "d:bar(0, { size = 16 }, { reg('dma', 0, 4) })", "the name dma is taken" },
    { DEVICE "d:bar(0, { size = 16 }, { reg('A', 0, 3) })", "3 bytes; a register has 1, 2, 4 or 8" },
    { DEVICE "reg('A', 0, 4, 'rww')", "no access kind \"rww\"|rw?" },
    { DEVICE "reg('A', 0, 4, { rest = 1 })", "no option \"rest\"|reset?" },
    { DEVICE "reg('A', 0, 1, { reset = 256 })", "0x100 does not fit into 8 bits" },
    { DEVICE "reg('A', 0, 1, { flag('F', 8) })", "field F ends at bit 8" },
    { DEVICE "reg('A', 0, 1, { flag('F', 1), field('G', 0, 2) })", "fields F and G overlap" },
    { DEVICE "reg('A', 0, 1, { flag('F', 1), flag('F', 2) })", "two fields are named F" },
    { DEVICE "flag('value', 1)", "no field can be named value" },
    { DEVICE "field('E', 0, 1, { 'a', 'b', 'c' })", "does not fit into 1 bits" },
    { DEVICE "field('E', 0, 1, { 'a', 'a' })", "two values of its enum are named a" },
    { DEVICE "field('E', 0, 1, { 'a', a = 1 })", "two values of its enum are named a" },
    { DEVICE "field('E', 0, 1, { [0] = 'a', [1] = 'b' })", ".lua:4: |are for 0, 1, 2 and so on" },
    { DEVICE "vfu.group('G', 0, {}, setmetatable({}, { __len = function() return 0xffffffff end }))\nd:lock({ CTRL = true }, 'X')",
      ".lua:5: |no register named X" },
    { DEVICE "local s = string.rep('xx', 1 << 62)", ".lua:4: resulting string too large" },
    { DEVICE "coroutine.close(coroutine.running())", ".lua:4: cannot close a running coroutine" },
    { DEVICE "setmetatable(d, {})", ".lua:4: cannot change a protected metatable" },
    { DEVICE "reg('a b', 0, 1)", "must be an identifier" },
    { DEVICE "reg('A', 1.5, 1)", "must be an integer" },
    { DEVICE "reg('A', '0', 1)", "must be an integer, not string" },
    { BAR "function d.write:CTRI(v) end return d", ".lua:7: |no register named CTRI|did you mean CTRL?" },
    { BAR "function d.read:status(v) end return d", "did you mean STATUS?" },
    { BAR "d.write.CTRL = 5", "must be a function" },
    { BAR "function d.on:rset() end", "no hook named on:rset|did you mean reset?" },
    { BAR "function d.on:dorbell() end", "did you mean doorbell?" },
    { BAR "function b.reed() end", "a BAR takes functions read and write" },
    { BAR "d.speed = 1", "speed is not declared" },
    { BAR "d.CTRL = 1", "CTRL is a register: assign CTRL.value" },
    { BAR "d.lock = 1", "the device's own" },
    { BAR "print(d.CTRI)", ".lua:7: |no register, state or method CTRI|did you mean CTRL?" },
    { BAR "print(d.regs.CTRI)", "no register CTRI|CTRL?" },
    { BAR "d.CTRL.value = 1", "once the device runs" },
    { BAR "d:after(1, 'x')", "time runs once the device does" },
    { BAR "d:lock('CTRI', 'STATUS.BUSY')", "no register named CTRI" },
    { BAR "d:lock('CTRL', 'STATUS.BUZY')", "has no field BUZY" },
    { BAR "d:lock('CTRL', 5)", "the condition is" },
    { BAR "d:lock({ CTRL = true }, 'STATUS.BUSY')", ".lua:7: |this one is empty" },
    { BAR "d:config({}, { reg('C', 254, 4) })", "outside of config space" },
    { BAR "d:config({ caps = { { id = 9, bytes = 5 } } })", "bytes is a string" },
    { HEAD "local d = vfu.device('d', { pci = { vendor = 1, device = 2, msi = 1 },\nirq = { level = 'NOPE' } })\n"
           "d:bar(0, { size = 16 }, { reg('NOTE', 0, 4) }) return d",
      ".lua:3: |no register named NOPE; did you mean NOTE?" },
    { HEAD "vfu.devise('d')", ".lua:3: |vfu has no devise; did you mean device?" },
    { DEVICE "vfu.plugin('x')", "vfu.plugin: one script, one device; this is the second" },
    { DEVICE "dofile('x')", "attempt to call a nil value (global 'dofile')" },
    { DEVICE "io.open('x')", "'io'" },
    { DEVICE "os.execute('x')", "attempt to call a nil value (field 'execute')" },
    { DEVICE "string.dump(print)", "attempt to call a nil value (field 'dump')" },
    { DEVICE "debug.getinfo(1)", "'debug'" },
    { DEVICE "setmetatable({}, { __gc = print })", "__gc is not available" },
    { DEVICE "assert(load('\\27Lua'))", "attempt to load a binary chunk" },
    { DEVICE "collectgarbage('stop')", "not available to scripts" },
    { DEVICE "require 'ffi'", ".lua:4: |has no needs" },
    { DEVICE "require 'nosuch'", "no module \"nosuch\"" },
    { DEVICE "require '../x'", "bad module name" },
    { DEVICE "getmetatable(d).__newindex = nil", "attempt to index a string value|attempt" },
    { DEVICE "error({})", "table" },
    { DEVICE "error()", "nil" },
    { DEVICE "local function f() return 1 + f() end f()", "not enough memory: a script has 64 MiB" },
    { DEVICE "local t = {} for i = 1, 1e9 do t[i] = i end", "not enough memory" },
    { DEVICE "local s = string.rep('x', 1 << 30)", "not enough memory" },
};

static void test_bad_scripts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fake *f = calloc(1, sizeof *f);
        char parts[256], *part, *save;
        int rc = fake_load(f, bad[i].script);

        snprintf(parts, sizeof parts, "%s", bad[i].message);
        if (rc != -ENOEXEC || f->errors != 1)
            fail_msg("case %zu: %s\n-> %d, %u errors, log: %s", i, bad[i].script, rc, f->errors, f->log);
        for (part = strtok_r(parts, "|", &save); part; part = strtok_r(NULL, "|", &save))
            /* Under a sanitizer a script may meet its time limit before its memory's. */
            if (!strstr(f->log, part) && !(strstr(part, "memory") && strstr(f->log, "stopped after its time")))
                fail_msg("case %zu: %s\nlog: %swithout: %s", i, bad[i].script, f->log, part);
        fake_stop(f);
        free(f);
    }
}

static void test_bad_parameter(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    (void)state;
    f->items[0] = "nosuch=1";
    assert_int_equal(fake_load(f, DEVICE "return d"), -EINVAL);
    assert_string_equal(f->log, "no such parameter\n"); /* and nothing of ours */
    free(f);
}

static void test_description(void **state)
{
    struct fake *f = calloc(1, sizeof *f);
    const struct vfu_regmap *map;

    (void)state;
    assert_int_equal(fake_load(f, BAR "d:bar(2, { size = 1 << 32, type = 'mem64', prefetch = true, ram = true, mmap = true })\n"
                                      "local c = d:bar(4, { size = 64, type = 'io', sizes = { 1, 2 }, unmapped = 'ones' },\n"
                                      " { vfu.group('CH', 8, { count = 3, stride = 8 }, { reg('A', 0, 2, 'w1c', { count = 2, reset = -1 }),\n"
                                      "   reg('B', 4, 1, 'ro', { field('M', 1, 2, { off = 0, max = 3 }, { reset = 3, doc = 'm' }) }) }) })\n"
                                      "function d.write.CH:A() end function d.read:CTRL(v) return v end\n"
                                      "function c.read() return 1 end\n"
                                      "d:lock({ 'CTRL', 'CH.A' }, '!STATUS.BUSY') d:lock('STATUS', function() end)\n"
                                      "return d"),
                     0);
    map = f->desc.regmap;
    assert_string_equal(f->desc.name, "d");
    assert_int_equal(f->desc.caps & (VFU_CAP_DMA | VFU_CAP_INTX | VFU_CAP_MMAP | VFU_CAP_MSI),
                     VFU_CAP_DMA | VFU_CAP_INTX | VFU_CAP_MMAP);
    assert_int_equal(f->desc.nbars, 3);
    assert_int_equal(f->desc.bars[1].flags, VFU_BAR_PREFETCH | VFU_BAR_RAM | VFU_BAR_MMAP);
    assert_int_equal(f->desc.bars[2].flags, VFU_BAR_RAW);
    assert_int_equal(f->desc.bars[2].access_sizes, 3);
    assert_int_equal(f->desc.bars[2].unmapped, VFU_UNMAPPED_ONES);
    assert_int_equal(map->nregs, 4);
    assert_int_equal(map->ngroups, 1);
    assert_int_equal(map->groups[0].count, 3);
    assert_int_equal(map->regs[1].flags, VFU_REG_HOOK_READ);
    assert_int_equal(map->regs[2].flags, VFU_REG_HOOK_WRITE);
    assert_int_equal(map->regs[2].reset, 0xffff);
    assert_int_equal(map->regs[2].group, 0);
    assert_int_equal(map->regs[3].fields[0].reset, 3);
    assert_int_equal(map->regs[3].fields[0].nenums, 2);
    assert_int_equal(map->nlocks, 3);
    assert_int_equal(map->locks[0].mask, 1);
    assert_int_equal(map->locks[0].invert, 0);
    assert_int_equal(map->locks[2].cond, VFU_NONE);
    fake_stop(f);
    free(f);
}

/* Parameters have their types, and dev.params is there right after vfu.device. */
static void test_parameters(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    (void)state;
    f->items[0] = "size=0x40";
    f->items[1] = "mode=slow";
    assert_int_equal(fake_load(f, HEAD "local d = vfu.device('d', { pci = { vendor = 1, device = 2 }, params = {\n"
                                       " size = { 16, min = 16, max = 4096, doc = 'bytes' }, on = { true }, rate = { 1.5 },\n"
                                       " mode = { 'fast', enum = { 'fast', 'slow' } }, path = { nil, type = 'string' } } })\n"
                                       "local p = d.params\n"
                                       "assert(p.size == 64 and p.on == true and p.rate == 1.5 and p.mode == 'slow' and p.path == nil)\n"
                                       "assert(not pcall(function() p.size = 1 end))\n"
                                       "d:bar(0, { size = p.size })\nreturn d"),
                     0);
    assert_int_equal(f->nparams, 5);
    assert_string_equal(f->params[0].name, "mode"); /* in order of their names */
    assert_int_equal(f->params[0].type, VFU_PARAM_ENUM);
    assert_int_equal(f->params[4].flags, VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX);
    assert_int_equal(f->desc.bars[0].size, 64);
    fake_stop(f);
    free(f);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Modules and ROM images are looked for beside the script. */
static void test_files_beside(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    (void)state;
    write_file("fake_module.lua", "local name = ...\nassert(name == 'fake_module')\nreturn { size = 64 }");
    write_file("fake.rom", "image");
    assert_int_equal(fake_load(f, HEAD "local m = require 'fake_module'\nassert(m == require 'fake_module')\n"
                                       "assert(package.loaded.fake_module == m)\n"
                                       "local d = vfu.device('d', { pci = { vendor = 1, device = 2, rom = 'fake.rom' } })\n"
                                       "d:bar(0, { size = m.size })\nreturn d"),
                     0);
    assert_int_equal(f->desc.bars[0].size, 64);
    assert_int_equal(f->desc.rom_size, 5);
    assert_memory_equal(f->desc.rom, "image", 5);
    fake_stop(f);
    memset(f, 0, sizeof *f);
    write_file("fake_module.lua", "local x = \nreturn y z");
    assert_int_equal(fake_load(f, HEAD "require 'fake_module'"), -ENOEXEC);
    assert_non_null(strstr(f->log, "fake_module.lua:2:"));
    fake_stop(f);
    unlink("fake_module.lua");
    unlink("fake.rom");
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_scripts),
        cmocka_unit_test(test_bad_parameter),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_files_beside),
    };

    return cmocka_run_group_tests_name("lua load", tests, NULL, NULL);
}
