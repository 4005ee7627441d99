/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the extensions vfu.config/1 and vfu.regions/1, both ways: of a plugin, of one inside of another, of a script.
 * One thread, but for those of the calls from another one.
 */
#include "tests/unit/odd_host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OWN_CAP 9 /* vendor specific */

static const struct vfu_host_config *config;
static const struct vfu_host_regions *regions;

/* A device with one of everything that config space can have. */
static void shape(struct vfu_desc *desc)
{
    static const struct vfu_bar bars[] = {
        { .index = 0, .size = 4096, .access_sizes = 15 },
        { .index = 2, .type = VFU_BAR_MEM64, .size = 1 << 20, .flags = VFU_BAR_RAM | VFU_BAR_MMAP },
        { .index = 4, .type = VFU_BAR_IO, .size = 16 },
    };
    static const uint8_t own[] = { 8, 0x11, 0x22, 0x33, 0x44, 0x55 };
    static const struct vfu_pci_cap caps[] = { { .id = OWN_CAP, .size = sizeof own, .bytes = own } };
    static const struct vfu_reg list[] = {
        { .name = "PLAIN", .size = 4, .group = VFU_NONE },
        { .name = "OWN", .region = VFU_REGION_CONFIG, .offset = 0xf0, .size = 4, .group = VFU_NONE, .reset = 0x01020304 },
        { .name = "BIG", .region = VFU_REGION_CONFIG, .offset = 0xf6, .size = 2, .group = VFU_NONE, .reset = 0x0a0b,
          .flags = VFU_REG_BIG_ENDIAN },
    };
    static const struct vfu_regmap map = {
        .struct_size = sizeof map, .regs = list, .nregs = 3, .reg_size = sizeof list[0],
    };
    static const struct vfu_doorbell bells[] = {
        { .bar = 0, .offset = 0x10, .size = 4 },
        { .bar = 0, .offset = 0x20, .size = 4 },
        { .bar = 4, .offset = 4, .size = 2 },
    };
    static const uint8_t rom[] = { 0x55, 0xaa };

    desc->caps |= VFU_CAP_DOORBELL | VFU_CAP_MMAP;
    desc->pci_flags = VFU_PCI_FLR | VFU_PCI_PM;
    desc->vendor = 0x1234;
    desc->device = 0x5678;
    desc->bars = bars;
    desc->nbars = 3;
    desc->bar_size = sizeof bars[0];
    desc->pci_caps = caps;
    desc->npci_caps = 1;
    desc->pci_cap_size = sizeof caps[0];
    desc->regmap = &map;
    desc->doorbells = bells;
    desc->ndoorbells = 3;
    desc->doorbell_size = sizeof bells[0];
    desc->rom = rom;
    desc->rom_size = sizeof rom;
}

static void find_extensions(void)
{
    config = odd_table->extension(odd_table, VFU_EXT_CONFIG);
    regions = odd_table->extension(odd_table, VFU_EXT_REGIONS);
    assert_non_null(config);
    assert_non_null(regions);
    assert_null(odd_table->extension(odd_table, "vfu.config/2"));
}

static void make(void)
{
    odd_plan.shape = shape;
    odd_make();
    find_extensions();
}

static uint32_t soft_read(uint32_t offset, uint32_t size)
{
    uint32_t value = 0;

    assert_int_equal(device_read(odd_dev, VFU_REGION_CONFIG, offset, size, (uint8_t *)&value), 0);
    return value;
}

static void soft_write(uint32_t offset, uint32_t size, uint32_t value)
{
    assert_int_equal(device_write(odd_dev, VFU_REGION_CONFIG, offset, size, (uint8_t *)&value), 0);
}

static uint32_t hard_read(uint32_t offset, uint32_t size)
{
    uint32_t value = 0;

    assert_int_equal(config->read(odd_table, offset, size, &value), 0);
    return value;
}

static int32_t hard_write(uint32_t offset, uint32_t size, uint32_t value)
{
    return config->write(odd_table, offset, size, &value);
}

static uint32_t own_cap(void)
{
    uint32_t at = soft_read(0x34, 1);

    while (soft_read(at, 1) != OWN_CAP)
        at = soft_read(at + 1, 1);
    return at;
}

/* ---- config space: the host's side ------------------------------------------------------------------------------- */

static void test_reads(void **state)
{
    uint8_t hard[4096], soft[4096];

    (void)state;
    make();
    soft_write(4, 2, 6);
    assert_int_equal(config->read(odd_table, 0, sizeof hard, hard), 0);
    assert_int_equal(device_read(odd_dev, VFU_REGION_CONFIG, 0, sizeof soft, soft), 0);
    assert_memory_equal(hard, soft, sizeof hard);
    assert_int_equal(hard_read(0xf0, 4), 0x01020304);
    assert_int_equal(hard_read(0xf6, 2), 0x0b0a);
    assert_int_equal(hard_read(0xf7, 1), 0x0b);
    assert_int_equal(config->read(odd_table, 4096, 1, hard), -EINVAL);
    assert_int_equal(config->read(odd_table, 4095, 2, hard), -EINVAL);
    assert_int_equal(config->read(odd_table, UINT32_MAX, 2, hard), -EINVAL);
    assert_int_equal(config->read(odd_table, 2, UINT32_MAX, hard), -EINVAL);
    assert_int_equal(config->read(odd_table, 4096, 0, hard), 0);
    assert_int_equal(odd_nlines, 0);
}

static void test_writes(void **state)
{
    uint32_t at;

    (void)state;
    make();
    at = own_cap();
    assert_int_equal(soft_read(at + 3, 4), 0x44332211);
    assert_int_equal(hard_write(at + 3, 4, 0xa1b2c3d4), 0);
    assert_int_equal(soft_read(at + 3, 4), 0xa1b2c3d4);
    soft_write(at + 3, 4, 0);
    assert_int_equal(soft_read(at + 3, 4), 0xa1b2c3d4);
    /* STATUS: an error is set, and cleared by software. The rest is written as it stands. */
    assert_int_equal(hard_write(6, 2, soft_read(6, 2) | 0x2000), 0);
    assert_int_equal(soft_read(6, 2) & 0xf900, 0x2000);
    soft_write(6, 2, 0x2000);
    assert_int_equal(soft_read(6, 2) & 0xf900, 0);
    assert_int_equal(hard_write(0, 4, 0x56781234), 0); /* the same as before */
    assert_int_equal(odd_nlines, 0);
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    assert_int_equal(soft_read(at + 3, 4), 0x44332211);
}

static void test_refused_writes(void **state)
{
    static const struct {
        uint32_t offset, size, value;
    } bad[] = {
        { 0, 2, 0x1235 }, { 4, 2, 2 }, { 6, 2, 0x2001 }, { 8, 4, 1 }, { 0x10, 4, 0x1000 }, { 0x18, 4, 0xfff00000 },
        { 0x30, 4, 1 }, { 0x34, 1, 0 }, { 0x3c, 1, 5 }, { 0x3d, 1, 2 }, { 0x40, 1, 5 }, { 0x44, 2, 3 },
        { 0xf0, 4, 0x01020304 }, { 0xee, 4, 0 }, { 0x100, 4, 1 }, { 4095, 1, 1 },
    };
    uint8_t before[4096], after[4096];
    uint32_t at;

    (void)state;
    make();
    at = own_cap();
    assert_int_equal(config->read(odd_table, 0, sizeof before, before), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(hard_write(bad[i].offset, bad[i].size, bad[i].value), -EACCES);
    assert_int_equal(hard_write(at, 2, 0), -EACCES); /* id and link of its own capability */
    assert_int_equal(hard_write(at + 6, 4, UINT32_MAX), -EACCES); /* beyond it: not even in part */
    assert_int_equal(hard_write(4096, 1, 0), -EINVAL);
    assert_int_equal(hard_write(4094, 4, 0), -EINVAL);
    assert_int_equal(config->read(odd_table, 0, sizeof after, after), 0);
    assert_memory_equal(before, after, sizeof after);
    odd_assert_said_once("odd: plugin fault (odd): it writes 2 bytes at 0 of config space");
    assert_int_equal(odd_nlines, 1);
}

/* What the device has set goes with the state; what nobody can set does not. */
static void test_restored(void **state)
{
    uint8_t saved[4096];
    uint32_t at;

    (void)state;
    make();
    at = own_cap();
    assert_int_equal(hard_write(at + 3, 4, 0xa1b2c3d4), 0);
    memcpy(saved, odd_dev->config.bytes, sizeof saved);
    saved[0] = saved[at] = saved[at + 1] = 0;
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    pci_config_restore(&odd_dev->config, saved);
    assert_int_equal(soft_read(at + 3, 4), 0xa1b2c3d4);
    assert_int_equal(soft_read(0, 4), 0x56781234);
    assert_int_equal(own_cap(), at);
}

/* ---- config space: the plugin's side ----------------------------------------------------------------------------- */

static struct vfu_config_call calls[16];
static unsigned ncalls;

static void on_written(void *self, const struct vfu_config_call *call)
{
    assert_ptr_equal(self, &odd_self);
    assert_int_equal(call->struct_size, sizeof *call);
    assert_true(ncalls < 16);
    calls[ncalls++] = *call;
}

static void assert_call(unsigned i, uint32_t offset, uint32_t size, uint32_t old, uint32_t value, uint32_t raw)
{
    assert_true(i < ncalls);
    assert_int_equal(calls[i].offset, offset);
    assert_int_equal(calls[i].size, size);
    assert_int_equal(calls[i].old, old);
    assert_int_equal(calls[i].value, value);
    assert_int_equal(calls[i].raw, raw);
}

static void test_written(void **state)
{
    (void)state;
    ncalls = 0;
    odd_plan.written = on_written;
    make();
    assert_int_equal(ncalls, 0);
    soft_write(4, 2, 0xf006);
    assert_call(0, 4, 2, 0, 6, 0xf006);
    soft_write(0x10, 4, 0xffffffff);
    assert_call(1, 0x10, 4, 0, 0xfffff000, 0xffffffff);
    soft_write(0, 4, 1); /* changes nothing */
    assert_call(2, 0, 4, 0x56781234, 0x56781234, 1);
    soft_write(0xf0, 4, 1); /* its own register */
    assert_int_equal(ncalls, 3);
    soft_write(0xec, 4, 7);
    assert_call(3, 0xec, 4, 0, 0, 7);
    assert_int_equal(device_write(odd_dev, VFU_REGION_CONFIG, 0x10, 8, (const uint8_t[8]){ 0 }), 0);
    assert_int_equal(ncalls, 6); /* two dwords */
    assert_int_equal(device_write(odd_dev, VFU_REGION_CONFIG, 0xf4, 4, (const uint8_t[4]){ 0 }), 0);
    assert_call(6, 0xf4, 2, 0, 0, 0); /* up to the register */
    device_freeze(odd_dev);
    soft_write(4, 2, 4);
    device_thaw(odd_dev);
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    assert_int_equal(ncalls, 7);
}

static void test_written_last(void **state)
{
    uint32_t express;

    (void)state;
    ncalls = 0;
    odd_plan.written = on_written;
    make();
    for (express = soft_read(0x34, 1); soft_read(express, 1) != 0x10;)
        express = soft_read(express + 1, 1);
    soft_write(4, 2, 6);
    ncalls = 0;
    soft_write(express + 8, 2, 0x8000); /* function level reset */
    assert_int_equal(ncalls, 1);
    assert_int_equal(calls[0].raw, 0x8000);
    assert_int_equal(calls[0].value & 0x8000, 0);
    assert_int_equal(soft_read(4, 2), 0);
}

/* ---- regions ------------------------------------------------------------------------------------------------------ */

static struct vfu_region_state look(uint32_t region)
{
    struct vfu_region_state s = { .struct_size = sizeof s };

    assert_int_equal(regions->look(odd_table, region, &s), 0);
    assert_int_equal(s.struct_size, sizeof s);
    return s;
}

static void test_places(void **state)
{
    struct vfu_region_state s = { .struct_size = sizeof s };
    struct vfu_region_state part = { .struct_size = 8, .size = 77, .address = 88 };

    (void)state;
    make();
    assert_int_equal(look(0).size, 4096);
    assert_int_equal(look(0).address, 0);
    assert_int_equal(look(0).flags, 0);
    soft_write(0x10, 4, 0xfe000fff);
    soft_write(0x18, 4, 0x00300000);
    soft_write(0x1c, 4, 0x12);
    soft_write(0x20, 4, 0xc011);
    soft_write(0x30, 4, 0xfd000000);
    assert_int_equal(look(0).address, 0xfe000000);
    assert_true(look(2).address == UINT64_C(0x1200300000));
    assert_int_equal(look(4).address, 0xc010);
    assert_int_equal(look(VFU_REGION_ROM).address, 0xfd000000);
    soft_write(4, 2, 1);
    assert_int_equal(look(0).flags | look(2).flags | look(VFU_REGION_ROM).flags, 0);
    assert_int_equal(look(4).flags, VFU_REGION_DECODED);
    soft_write(4, 2, 2);
    assert_int_equal(look(0).flags & look(2).flags, VFU_REGION_DECODED);
    assert_int_equal(look(4).flags | look(VFU_REGION_ROM).flags, 0);
    soft_write(0x30, 4, 0xfd000001);
    assert_int_equal(look(VFU_REGION_ROM).flags, VFU_REGION_DECODED);
    assert_int_equal(look(VFU_REGION_CONFIG).size, 4096);
    for (uint32_t region = 0; region < 12; region++) {
        bool there = region == 0 || region == 2 || region == 4 || region == 6 || region == 7;

        assert_int_equal(regions->look(odd_table, region, &s), there ? 0 : -ENOENT);
    }
    assert_int_equal(regions->look(odd_table, UINT32_MAX, &s), -ENOENT);
    /* A plugin of an SDK that knew less. */
    assert_int_equal(regions->look(odd_table, 0, &part), 0);
    assert_int_equal(part.flags, VFU_REGION_DECODED);
    assert_int_equal(part.size, 77);
    assert_int_equal(part.address, 88);
    assert_int_equal(odd_nlines, 0);
}

static void test_bells(void **state)
{
    struct ioevent_offer offer;
    uint8_t bytes[256];
    int fds[TRANSPORT_FDS];

    (void)state;
    make();
    odd_attach();
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(regions->doorbell(odd_table, i), 0);
    assert_int_equal(regions->doorbell(odd_table, 3), -ENOENT);
    assert_int_equal(regions->doorbell(odd_table, UINT32_MAX), -ENOENT);
    ioevent_plan(&odd_dev->ioevent, 0, 1, &offer);
    assert_int_equal(ioevent_give(&odd_dev->ioevent, &offer, bytes, fds), 0);
    assert_int_equal(regions->doorbell(odd_table, 0), 1);
    assert_int_equal(regions->doorbell(odd_table, 1), 0); /* for which the client had no room */
    assert_int_equal(regions->doorbell(odd_table, 2), 0);
    device_detach(odd_dev);
    assert_int_equal(regions->doorbell(odd_table, 0), 0);
}

/* ---- where they may be called ------------------------------------------------------------------------------------- */

static int32_t too_early(const struct vfu_host *t)
{
    const struct vfu_host_config *c = t->extension(t, VFU_EXT_CONFIG);
    const struct vfu_host_regions *r = t->extension(t, VFU_EXT_REGIONS);
    struct vfu_region_state s = { .struct_size = sizeof s };
    uint32_t value;

    assert_int_equal(c->read(t, 0, 4, &value), -EINVAL);
    assert_int_equal(c->write(t, 0, 4, &value), -EINVAL);
    assert_int_equal(r->look(t, 0, &s), -EINVAL);
    assert_int_equal(r->doorbell(t, 0), -EINVAL);
    return 0;
}

static void test_too_early(void **state)
{
    (void)state;
    odd_plan.on_describe = too_early;
    make();
    odd_assert_said_once("config read is called before create");
    odd_assert_said_once("config write is called before create");
    odd_assert_said_once("regions look is called before create");
    odd_assert_said_once("regions doorbell is called before create");
}

static atomic_int finished;
static int32_t results[4];

static void *call_all(void *arg)
{
    struct vfu_region_state s = { .struct_size = sizeof s };
    uint32_t value = 0;

    (void)arg;
    results[0] = config->read(odd_table, 0, 4, &value);
    results[1] = config->write(odd_table, 0, 4, &value);
    results[2] = regions->look(odd_table, 0, &s);
    results[3] = regions->doorbell(odd_table, 1);
    atomic_store(&finished, 1);
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t thread;

    (void)state;
    for (int i = 0; i < 2; i++) {
        odd_nlines = 0;
        atomic_store(&finished, 0);
        if (i)
            odd_plan.caps |= VFU_CAP_THREADS;
        make();
        assert_int_equal(pthread_create(&thread, NULL, call_all, NULL), 0);
        odd_run(&finished, MS);
        assert_int_equal(pthread_join(thread, NULL), 0);
        for (int k = 0; k < 4; k++)
            assert_int_equal(results[k], i ? 0 : -EPERM);
        assert_int_equal(odd_nlines, i ? 0 : 4);
        device_free(odd_dev);
        odd_dev = NULL;
    }
}

/* ---- inside of another plugin ------------------------------------------------------------------------------------- */

static void test_inside(void **state)
{
    char filter[PATH_MAX], odd[PATH_MAX], item[PATH_MAX + 16], *items[] = { item };

    (void)state;
    ncalls = 0;
    odd_plan.written = on_written;
    odd_plan.shape = shape;
    odd_built(filter, "plugins/filter/.libs/filter.so");
    snprintf(item, sizeof item, "plugin=%s", odd_built(odd, "tests/unit/.libs/odd_plugin.so"));
    assert_int_equal(odd_make_with(filter, items, 1, 0), 0);
    find_extensions();
    soft_write(4, 2, 6);
    assert_call(0, 4, 2, 0, 6, 6);
    assert_int_equal(hard_read(4, 2), 6);
    assert_int_equal(look(0).flags, VFU_REGION_DECODED);
    assert_int_equal(regions->doorbell(odd_table, 2), 0);
    assert_int_equal(hard_write(own_cap() + 3, 1, 9), 0);
    assert_int_equal(odd_nlines, 0);
    assert_int_equal(hard_write(0x10, 4, 9), -EACCES);
    assert_int_equal(odd_said("plugin fault"), 1);
}

/* ---- from a script ------------------------------------------------------------------------------------------------ */

static const char script[] =
    "local vfu = require 'vfu'\n"
    "local d = vfu.device('placed', { pci = { vendor = 0x1234, device = 0x5678 } })\n"
    "local bar = d:bar(0, { size = 4096, doorbells = { { 0x100, 4 }, { 0x200, 4 } } }, { vfu.reg('GO', 0, 4) })\n"
    "d:config({ caps = { { id = 9, bytes = '\\8\\1\\2\\3\\4\\5\\6\\7\\8\\9' } } }, { vfu.reg('OWN', 0xf0, 4) })\n"
    "local seen = ''\n"
    "function d.on:config(offset, size, value, old)\n"
    "  seen = seen .. string.format('%x+%d:%x>%x ', offset, size, old, value)\n"
    "end\n"
    "function d.on:doorbell() end\n"
    "function d.write:GO(v)\n"
    "  if v == 1 then vfu.log.warn('%s', seen) seen = ''\n"
    "  elseif v == 2 then\n"
    "    vfu.log.warn('%x %s %s %s %s', bar.address, bar.decoded, bar.mapped, bar:doorbell_fd(0), bar:doorbell_fd(1))\n"
    "  elseif v == 3 then\n"
    "    vfu.log.warn('%x %x %s %d', self:config_read(0), self:config_read(2, 2),\n"
    "                 select(2, self:config_read(1 << 40)), #self:config_read(0, 64))\n"
    "    assert(not self:config_read(256) and not self:config_read(-1, 1) and not self:config_read(0, -1))\n"
    "    assert(self:config_read(0x43, 8) == 0x0807060504030201)\n"
    "  elseif v == 4 then\n"
    "    assert(self:config_write(0x43, 0xaabb, 2) and self:config_write(0x45, 'xyz'))\n"
    "    assert(self:config_write(6, self:config_read(6, 2) | 1 << 13, 2))\n"
    "    local ok, text = self:config_write(256, 1)\n"
    "    assert(not ok and text == 'beyond config space')\n"
    "    assert(not self:config_write(0, ('x'):rep(5000)))\n"
    "    vfu.log.warn('written %s %s', pcall(self.config_write, self, 0, 1, 9))\n"
    "  elseif v == 5 then self:config_write(0x10, 0x1000)\n"
    "  elseif v == 6 then bar:doorbell_fd(2)\n"
    "  elseif v == 7 then bar.address = 5 end\n"
    "end\n"
    "return d\n";

static void go(uint32_t value)
{
    odd_nlines = 0;
    assert_int_equal(device_write(odd_dev, 0, 0, 4, (uint8_t *)&value), 0);
}

static void test_script(void **state)
{
    char path[] = "./extendXXXXXX.lua", dir[PATH_MAX];
    int fd = mkstemps(path, 4);

    (void)state;
    assert_true(fd >= 0 && write(fd, script, sizeof script - 1) == (ssize_t)sizeof script - 1);
    close(fd);
    setenv("VFU_PLUGIN_PATH", odd_built(dir, "lua/.libs"), 1);
    fd = odd_make_with(path, NULL, 0, 0);
    unlink(path);
    assert_int_equal(fd, 0);
    soft_write(0x10, 4, 0xfe000000);
    soft_write(4, 2, 2);
    soft_write(0xf0, 4, 2);
    go(1);
    odd_assert_said_once("placed: 10+4:0>fe000000 4+2:0>2 ");
    go(2);
    odd_assert_said_once("placed: fe000000 true false false false");
    go(3);
    odd_assert_said_once("placed: 56781234 5678 beyond config space 64");
    assert_int_equal(odd_nlines, 1);
    go(4);
    odd_assert_said_once("written false");
    odd_assert_said_once("an integer has a size of 1 to 8, not 9");
    assert_int_equal(soft_read(0x43, 4), 0x7978aabb);
    assert_int_equal(soft_read(6, 2) >> 13, 1);
    go(5);
    odd_assert_said_once("not all of the 4 bytes at 0x10 are the device's to change");
    odd_assert_said_once("plugin fault (lua): it writes 4 bytes at 0x10 of config space");
    go(6);
    odd_assert_said_once("BAR 0 has 2 doorbells, counted from 0, and none is 2");
    go(7);
    odd_assert_said_once("hooks are set while the script loads");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, odd_setup, odd_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_reads),       TEST(test_writes),  TEST(test_refused_writes), TEST(test_restored),
        TEST(test_written),     TEST(test_written_last), TEST(test_places),    TEST(test_bells),
        TEST(test_too_early),   TEST(test_threads), TEST(test_inside),         TEST(test_script),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
