/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit test of core/regmap: what software reads and what a write makes of a register, for every access kind and every
 * way to write a part of it; hooks, locks, arrays and groups, levels, resets, saving by name. One thread.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfu/plugin.h>

#include "core/regmap/regmap.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define REG(NAME, OFFSET, SIZE, ACCESS, ...)                                                                           \
    { .name = NAME, .region = 0, .group = VFU_NONE, .offset = OFFSET, .size = SIZE, .access = VFU_ACCESS_##ACCESS,     \
      __VA_ARGS__ }
#define HOOKS (VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE)

static const uint64_t sizes[REGMAP_REGIONS] = { 1 << 20, 4096, 0, 0, 0, 0, 2048, 256 };

/* ---- a plugin that does as it is told and remembers ---------------------------------------------------------- */

struct fake {
    struct regmap *map;
    struct vfu_reg_call last; /* as it came */
    unsigned reads, writes, lock_calls;
    int32_t result;    /* of read and write */
    uint64_t use;      /* put into call->value */
    int32_t locked;
    uint32_t lock_hook;
    void (*inside)(struct fake *fake, struct vfu_reg_call *call);
    uint64_t bits[8]; /* levels reported */
    unsigned nbits;
};

static int32_t hook(struct fake *fake, struct vfu_reg_call *call)
{
    fake->last = *call;
    if (fake->inside)
        fake->inside(fake, call);
    call->value = fake->use;
    return fake->result;
}

static int32_t on_read(void *self, struct vfu_reg_call *call)
{
    ((struct fake *)self)->reads++;
    return hook(self, call);
}

static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    ((struct fake *)self)->writes++;
    return hook(self, call);
}

static int32_t on_locked(void *self, uint32_t number, const struct vfu_reg_call *call)
{
    struct fake *fake = self;

    fake->lock_calls++;
    fake->lock_hook = number;
    fake->last = *call;
    return fake->locked;
}

static void on_level(void *ctx, uint64_t bits)
{
    struct fake *fake = ctx;

    assert_true(fake->nbits < LENGTH(fake->bits));
    fake->bits[fake->nbits++] = bits;
}

static const struct vfu_regmap_ops ops = { sizeof ops, 0, on_read, on_write, on_locked };

static struct regmap *make(struct fake *fake, const struct vfu_regmap *desc)
{
    struct regmap *map = NULL;

    assert_int_equal(regmap_new(&map, "test", desc, sizes), 0);
    assert_int_equal(regmap_bind(map, &ops, fake), 0);
    if (fake)
        fake->map = map;
    regmap_reset(map, VFU_RESET_POWER);
    return map;
}

static struct regmap *make_regs(struct fake *fake, const struct vfu_reg *regs, uint32_t n)
{
    struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = regs, .nregs = n, .reg_size = sizeof *regs };

    return make(fake, &desc);
}

/* Software's access to one register; the integer is little-endian bytes. */
static uint64_t rd(struct regmap *map, uint64_t offset, uint32_t size)
{
    uint8_t bytes[9] = { 0, 0, 0, 0, 0, 0, 0, 0, 0x5a };
    uint64_t value = 0, span;
    struct reg_cell *cell = regmap_find(map, 0, offset, offset + size, &span);

    assert_non_null(cell);
    assert_true(span >= size);
    bytes[size] = 0x5a;
    regmap_read(map, cell, offset, size, bytes);
    assert_int_equal(bytes[size], 0x5a);
    for (uint32_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void wr(struct regmap *map, uint64_t offset, uint32_t size, uint64_t value)
{
    uint8_t bytes[8];
    uint64_t span;
    struct reg_cell *cell = regmap_find(map, 0, offset, offset + size, &span);

    assert_non_null(cell);
    assert_true(span >= size);
    for (uint32_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    regmap_write(map, cell, offset, size, bytes);
}

static uint64_t get(struct regmap *map, uint32_t reg)
{
    return regmap_get(map, reg, VFU_NONE, VFU_NONE);
}

static void set(struct regmap *map, uint32_t reg, uint64_t value)
{
    assert_int_equal(regmap_set(map, reg, VFU_NONE, VFU_NONE, value), 0);
}

/* What is written to standard error meanwhile. */
static int log_fd = -1, saved_fd = -1;

static void log_begin(void)
{
    log_fd = memfd_create("log", 0);
    saved_fd = dup(2);
    assert_true(log_fd >= 0 && saved_fd >= 0);
    dup2(log_fd, 2);
}

static void log_end(char text[1024])
{
    ssize_t n;

    dup2(saved_fd, 2);
    close(saved_fd);
    n = pread(log_fd, text, 1023, 0);
    text[n < 0 ? 0 : n] = 0;
    close(log_fd);
}

/* ---- access kinds ------------------------------------------------------------------------------------------- */

/* One write of `size` bytes at byte `at` of a 4-byte register that holds 0x0ff055aa, then what it holds and reads. */
static const struct {
    uint32_t access, at, size;
    uint64_t written, holds, reads, after_read;
} kinds[] = {
#define OLD UINT64_C(0x0ff055aa)
    { VFU_ACCESS_RW, 0, 4, 0x12345678, 0x12345678, 0x12345678, 0x12345678 },
    { VFU_ACCESS_RW, 0, 1, 0x78, 0x0ff05578, 0x0ff05578, 0x0ff05578 },
    { VFU_ACCESS_RW, 1, 1, 0x78, 0x0ff078aa, 0x0ff078aa, 0x0ff078aa },
    { VFU_ACCESS_RW, 1, 2, 0x1234, 0x0f1234aa, 0x0f1234aa, 0x0f1234aa },
    { VFU_ACCESS_RW, 2, 2, 0x1234, 0x123455aa, 0x123455aa, 0x123455aa },
    { VFU_ACCESS_RW, 0, 3, 0x123456, 0x0f123456, 0x0f123456, 0x0f123456 },
    { VFU_ACCESS_RW, 3, 1, 0xff, 0xfff055aa, 0xfff055aa, 0xfff055aa },
    { VFU_ACCESS_INHERIT, 2, 1, 0x11, 0x0f1155aa, 0x0f1155aa, 0x0f1155aa },
    { VFU_ACCESS_RO, 0, 4, 0x12345678, OLD, OLD, OLD },
    { VFU_ACCESS_RO, 1, 1, 0x12, OLD, OLD, OLD },
    { VFU_ACCESS_RESERVED, 0, 4, 0x12345678, OLD, OLD, OLD },
    { VFU_ACCESS_WO, 0, 4, 0x12345678, 0x12345678, 0, 0x12345678 },
    { VFU_ACCESS_WO, 1, 1, 0x78, 0x00007800, 0, 0x00007800 },
    { VFU_ACCESS_WO, 2, 2, 0x1234, 0x12340000, 0, 0x12340000 },
    { VFU_ACCESS_W1C, 0, 4, 0xff00000f, 0x00f055a0, 0x00f055a0, 0x00f055a0 },
    { VFU_ACCESS_W1C, 1, 1, 0xff, 0x0ff000aa, 0x0ff000aa, 0x0ff000aa },
    { VFU_ACCESS_W1C, 0, 2, 0x00ff, 0x0ff05500, 0x0ff05500, 0x0ff05500 },
    { VFU_ACCESS_W1C, 0, 4, 0, OLD, OLD, OLD },
    { VFU_ACCESS_W1S, 0, 4, 0xf000000f, 0xfff055af, 0xfff055af, 0xfff055af },
    { VFU_ACCESS_W1S, 3, 1, 0xf0, 0xfff055aa, 0xfff055aa, 0xfff055aa },
    { VFU_ACCESS_W1T, 0, 4, 0xff0000ff, 0xf0f05555, 0xf0f05555, 0xf0f05555 },
    { VFU_ACCESS_W1T, 0, 1, 0xff, 0x0ff05555, 0x0ff05555, 0x0ff05555 },
    { VFU_ACCESS_W0C, 0, 4, 0xff0000ff, 0x0f0000aa, 0x0f0000aa, 0x0f0000aa },
    { VFU_ACCESS_W0C, 1, 1, 0x0f, 0x0ff005aa, 0x0ff005aa, 0x0ff005aa },
    { VFU_ACCESS_W0C, 0, 4, 0xffffffff, OLD, OLD, OLD },
    { VFU_ACCESS_RC, 0, 4, 0xffffffff, OLD, OLD, 0 },
    { VFU_ACCESS_RS, 0, 4, 0, OLD, OLD, 0xffffffff },
    { VFU_ACCESS_WONCE, 0, 4, 0x12345678, 0x12345678, 0x12345678, 0x12345678 },
    { VFU_ACCESS_WONCE, 1, 1, 0x11, 0x0ff011aa, 0x0ff011aa, 0x0ff011aa },
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        /* The register stands between two others, which nothing of this may touch, and at an odd place. */
        struct vfu_reg regs[] = { REG("A", 0x11, 1, RW, .reset = 0x77), REG("R", 0x12, 4, RW, .reset = OLD),
                                  REG("B", 0x16, 8, RW, .reset = UINT64_C(0x8877665544332211)) };
        struct regmap *map;

        regs[1].access = kinds[i].access;
        for (int big = 0; big < 2; big++) {
            uint64_t written = kinds[i].written;
            uint32_t at = kinds[i].at;

            map = make_regs(NULL, regs, 3);
            if (big) { /* the same bits, from the other end */
                regmap_big_endian(map, 0);
                at = 4 - kinds[i].at - kinds[i].size;
                written = __builtin_bswap64(written) >> (64 - 8 * kinds[i].size);
            }
            wr(map, 0x12 + at, kinds[i].size, written);
            assert_int_equal(get(map, 1), kinds[i].holds);
            assert_int_equal(big ? __builtin_bswap32((uint32_t)rd(map, 0x12, 4)) : rd(map, 0x12, 4), kinds[i].reads);
            assert_int_equal(get(map, 1), kinds[i].after_read);
            assert_int_equal(get(map, 0), 0x77);
            assert_int_equal(get(map, 2), UINT64_C(0x8877665544332211));
            regmap_free(map);
        }
    }
}

static void test_widths(void **state)
{
    const struct vfu_reg regs[] = { REG("A", 0, 1, RW), REG("B", 1, 2, RW), REG("C", 3, 4, RW), REG("D", 7, 8, RW) };
    struct regmap *map = make_regs(NULL, regs, 4);

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t all = UINT64_MAX >> (64 - 8 * regs[i].size), value = UINT64_C(0xf1e2d3c4b5a69788) & all;

        wr(map, regs[i].offset, regs[i].size, value);
        assert_int_equal(get(map, i), value);
        assert_int_equal(rd(map, regs[i].offset, regs[i].size), value);
        set(map, i, UINT64_MAX); /* cut */
        assert_int_equal(get(map, i), all);
        for (uint32_t b = 0; b < regs[i].size; b++) {
            wr(map, regs[i].offset + b, 1, b);
            assert_int_equal(rd(map, regs[i].offset + b, 1), b);
        }
    }
    assert_int_equal(get(map, 3), UINT64_C(0x0706050403020100));
    assert_int_equal(rd(map, 9, 3), 0x040302);
    regmap_free(map);
}

/* rc and rs act on the bytes that were read: the other half of a counter is not lost. */
static void test_partial_reads(void **state)
{
    const struct vfu_reg regs[] = { REG("RC", 0, 8, RC, .reset = UINT64_C(0x1122334455667788)), REG("RS", 8, 2, RS) };
    struct regmap *map = make_regs(NULL, regs, 2);

    (void)state;
    assert_int_equal(rd(map, 0, 4), 0x55667788);
    assert_int_equal(get(map, 0), UINT64_C(0x1122334400000000));
    assert_int_equal(rd(map, 7, 1), 0x11);
    assert_int_equal(get(map, 0), UINT64_C(0x0022334400000000));
    assert_int_equal(rd(map, 9, 1), 0);
    assert_int_equal(get(map, 1), 0xff00);
    regmap_free(map);
}

static void test_fields(void **state)
{
    static const struct vfu_field fields[] = {
        { .name = "EN", .lsb = 0, .width = 1 },
        { .name = "MODE", .lsb = 1, .width = 3, .reset = 5 },
        { .name = "BUSY", .lsb = 4, .width = 1, .access = VFU_ACCESS_RO, .reset = 1 },
        { .name = "DONE", .lsb = 5, .width = 1, .access = VFU_ACCESS_W1C, .reset = 1 },
        { .name = "GO", .lsb = 6, .width = 1, .access = VFU_ACCESS_WO },
        { .name = "SEEN", .lsb = 7, .width = 1, .access = VFU_ACCESS_RC, .reset = 1 },
        { .name = "KEY", .lsb = 16, .width = 8, .access = VFU_ACCESS_WONCE },
        { .name = "NOT", .lsb = 24, .width = 4, .access = VFU_ACCESS_W0C, .reset = 0xf },
    };
    const struct vfu_reg regs[] = { REG("CTRL", 0, 4, RW, .reset = 0x80001000, .fields = fields, .nfields = 8,
                                        .field_size = sizeof fields[0]) };
    struct regmap *map = make_regs(NULL, regs, 1);

    (void)state;
    assert_int_equal(get(map, 0), 0x8f0010ba);
    /* Bits without a field stay as they are; so does what a byte write leaves out. */
    wr(map, 0, 1, 0x00);
    assert_int_equal(get(map, 0), 0x8f0010b0);
    wr(map, 0, 4, 0x7a5affff);
    assert_int_equal(get(map, 0), 0x8a5a10df); /* GO is kept, DONE cleared, KEY taken */
    assert_int_equal(rd(map, 0, 4), 0x8a5a109f);
    assert_int_equal(get(map, 0), 0x8a5a105f); /* SEEN has been read */
    wr(map, 2, 1, 0x11);
    assert_int_equal(get(map, 0), 0x8a5a101f & ~0x40); /* KEY was written once; GO counts as 0 */
    set(map, 0, 0xffffffff);
    assert_int_equal(get(map, 0), 0xffffffff);
    regmap_free(map);
}

static void test_wonce(void **state)
{
    const struct vfu_reg regs[] = { REG("A", 0, 4, WONCE), REG("B", 4, 2, WONCE, .flags = VFU_REG_STICKY) };
    struct regmap *map = make_regs(NULL, regs, 2);

    (void)state;
    wr(map, 0, 2, 0x1111); /* each byte has its one write */
    wr(map, 0, 4, 0x22222222);
    assert_int_equal(get(map, 0), 0x22221111);
    wr(map, 0, 4, 0x33333333);
    assert_int_equal(get(map, 0), 0x22221111);
    set(map, 0, 7); /* the hardware writes as often as it likes */
    assert_int_equal(get(map, 0), 7);
    wr(map, 4, 2, 0x4444);
    regmap_reset(map, VFU_RESET_BUS);
    wr(map, 0, 4, 0x55555555);
    wr(map, 4, 2, 0x5555);
    assert_int_equal(get(map, 0), 0x55555555);
    assert_int_equal(get(map, 1), 0x4444);
    regmap_reset(map, VFU_RESET_POWER);
    wr(map, 4, 2, 0x5555);
    assert_int_equal(get(map, 1), 0x5555);
    regmap_free(map);
}

static void test_unimp(void **state)
{
    static const struct vfu_field fields[] = { { .name = "A", .width = 4 },
                                               { .name = "B", .lsb = 4, .width = 4, .access = VFU_ACCESS_UNIMP } };
    static const struct vfu_group groups[] = { { "CH", 0, 4, 0x100, 0x10 } };
    const struct vfu_reg regs[] = { REG("PART", 0, 1, RW, .fields = fields, .nfields = 2), REG("ALL", 4, 4, UNIMP,
        .reset = 7),
                                    REG("IN", 0, 4, UNIMP, .count = 2) };
    struct vfu_reg copy[3];
    struct vfu_regmap desc = { sizeof desc, 0, copy, 3, 0, groups, 1, 0, NULL, 0, 0 };
    struct regmap *map;
    char text[1024];

    (void)state;
    memcpy(copy, regs, sizeof copy);
    copy[2].group = 0;
    map = make(NULL, &desc);
    log_begin();
    (void)rd(map, 0, 1);
    wr(map, 0, 1, 0x0f); /* nothing of it is unimplemented */
    log_end(text);
    assert_string_equal(text, "");
    log_begin();
    wr(map, 0, 1, 0x1f);
    wr(map, 0, 1, 0x20);
    log_end(text);
    assert_non_null(strstr(text, "PART"));
    assert_ptr_equal(strstr(text, "PART"), strrchr(text, 'P')); /* once */
    assert_int_equal(get(map, 0), 0x00);
    log_begin();
    assert_int_equal(rd(map, 4, 4), 7);
    wr(map, 4, 4, 9);
    assert_int_equal(rd(map, 5, 2), 0);
    assert_int_equal(rd(map, 4, 4), 7);
    log_end(text);
    assert_non_null(strstr(text, "register ALL (BAR 0, offset 0x4)"));
    assert_null(strchr(strchr(text, '\n') + 1, '\n'));
    log_begin();
    wr(map, 0x124, 4, 1);
    wr(map, 0x134, 4, 1);
    log_end(text);
    assert_non_null(strstr(text, "CH[2].IN[1]"));
    assert_null(strstr(text, "CH[3]"));
    regmap_free(map);
}

/* ---- hooks -------------------------------------------------------------------------------------------------- */

static void test_write_hook(void **state)
{
    const struct vfu_reg regs[] = { REG("A", 0, 4, RW, .flags = HOOKS, .hook = 42, .reset = 0x11223344),
                                    REG("C", 4, 2, W1C, .flags = HOOKS, .reset = 0xffff),
                                    REG("Z", 6, 2, W0C, .flags = HOOKS, .reset = 0xffff),
                                    REG("O", 8, 2, WO, .flags = HOOKS, .reset = 0xffff),
                                    REG("R", 10, 1, RO, .flags = HOOKS, .reset = 0x33) };
    struct fake fake = { 0 };
    struct regmap *map = make_regs(&fake, regs, 5);

    (void)state;
    wr(map, 1, 2, 0xbeef);
    assert_int_equal(fake.writes, 1);
    assert_int_equal(fake.last.struct_size, sizeof fake.last);
    assert_int_equal(fake.last.hook, 42);
    assert_int_equal(fake.last.reg, 0);
    assert_int_equal(fake.last.index, VFU_NONE);
    assert_int_equal(fake.last.group_index, VFU_NONE);
    assert_int_equal(fake.last.size, 4);
    assert_int_equal(fake.last.value, 0x11beef44);
    assert_int_equal(fake.last.old, 0x11223344);
    assert_int_equal(fake.last.raw, 0x11beef44);
    assert_int_equal(get(map, 0), 0x11beef44);
    fake.result = VFU_REPLACE;
    fake.use = UINT64_C(0xaabbccdd00000001); /* cut to the width */
    wr(map, 0, 4, 5);
    assert_int_equal(get(map, 0), 1);
    fake.result = -EIO;
    wr(map, 0, 4, 0x99);
    assert_int_equal(get(map, 0), 1);
    fake.result = 0;
    wr(map, 4, 1, 0x0f); /* bytes that are not written count as 0 for w1c ... */
    assert_int_equal(fake.last.value, 0xfff0);
    assert_int_equal(fake.last.raw, 0x000f);
    wr(map, 7, 1, 0x0f); /* ... as 1 for w0c ... */
    assert_int_equal(fake.last.value, 0x0fff);
    assert_int_equal(fake.last.raw, 0x0fff);
    wr(map, 8, 1, 0x12); /* ... as 0 for wo ... */
    assert_int_equal(fake.last.value, 0x12);
    assert_int_equal(fake.last.raw, 0x12);
    wr(map, 10, 1, 0x55); /* and a read-only register's hook hears of it all the same */
    assert_int_equal(fake.last.value, 0x33);
    assert_int_equal(fake.last.raw, 0x55);
    assert_int_equal(fake.writes, 7);
    assert_int_equal(fake.reads, 0);
    regmap_free(map);
}

static void bump(struct fake *fake, struct vfu_reg_call *call)
{
    set(fake->map, call->reg, get(fake->map, call->reg) + 1);
}

static void reset_inside(struct fake *fake, struct vfu_reg_call *call)
{
    (void)call;
    regmap_reset(fake->map, VFU_RESET_BUS);
}

static void test_read_hook(void **state)
{
    const struct vfu_reg regs[] = { REG("A", 0, 4, RW, .flags = HOOKS, .reset = 0x10), REG("C", 4, 4, RC,
        .flags = HOOKS, .reset = 0xff),
                                    REG("O", 8, 4, WO, .flags = HOOKS, .reset = 0x77) };
    struct fake fake = { 0 };
    struct regmap *map = make_regs(&fake, regs, 3);

    (void)state;
    assert_int_equal(rd(map, 0, 4), 0x10);
    assert_int_equal(fake.last.value, 0x10);
    fake.result = VFU_REPLACE;
    fake.use = UINT64_C(0x1122334455667788);
    assert_int_equal(rd(map, 0, 4), 0x55667788);
    assert_int_equal(rd(map, 2, 1), 0x66);
    assert_int_equal(get(map, 0), 0x10); /* it is not stored */
    assert_int_equal(rd(map, 4, 2), 0x7788);
    assert_int_equal(fake.last.value, 0xff); /* seen before it is cleared */
    assert_int_equal(get(map, 1), 0);
    assert_int_equal(rd(map, 8, 4), 0x55667788);
    assert_int_equal(fake.last.value, 0x77);
    fake.result = 0;
    assert_int_equal(rd(map, 8, 4), 0);
    fake.inside = bump;
    assert_int_equal(rd(map, 0, 4), 0x11); /* what the hook has made of it */
    fake.inside = NULL;
    set(map, 1, 0xff);
    fake.result = -EIO; /* a bus error, which clears nothing */
    assert_int_equal(rd(map, 4, 4), 0xffffffff);
    assert_int_equal(rd(map, 5, 1), 0xff);
    assert_int_equal(get(map, 1), 0xff);
    fake.result = 0;
    fake.inside = reset_inside;
    set(map, 1, 0x1);
    assert_int_equal(rd(map, 4, 4), 0xff);
    assert_int_equal(get(map, 1), 0xff); /* the reset has the last word */
    regmap_free(map);
}

static void test_hook_and_reset(void **state)
{
    const struct vfu_reg regs[] = { REG("A", 0, 4, RW, .flags = HOOKS, .reset = 0x10) };
    struct fake fake = { .inside = reset_inside };
    struct regmap *map = make_regs(&fake, regs, 1);

    (void)state;
    set(map, 0, 5);
    wr(map, 0, 4, 6);
    assert_int_equal(get(map, 0), 0x10);
    set(map, 0, 5);
    fake.result = -EIO;
    wr(map, 0, 4, 6);
    assert_int_equal(get(map, 0), 0x10); /* the value from before the reset does not come back */
    fake.inside = bump;
    fake.result = 0;
    wr(map, 0, 4, 6);
    assert_int_equal(get(map, 0), 7);
    regmap_free(map);
}

static void test_commit_last(void **state)
{
    const struct vfu_reg regs[] = {
        REG("A", 0, 8, RW, .flags = VFU_REG_HOOK_WRITE | VFU_REG_COMMIT_LAST, .reset = UINT64_C(0x1111111122222222)),
        REG("C", 8, 4, W1C, .flags = VFU_REG_HOOK_WRITE | VFU_REG_COMMIT_LAST, .reset = 0xffffffff),
        REG("B", 12, 4, RW, .flags = VFU_REG_HOOK_WRITE | VFU_REG_COMMIT_LAST | VFU_REG_BIG_ENDIAN,
            .reset = 0x01020304),
    };
    struct fake fake = { 0 };
    struct regmap *map = make_regs(&fake, regs, 3);

    (void)state;
    wr(map, 0, 4, 0xaaaaaaaa);
    assert_int_equal(fake.writes, 0);
    assert_int_equal(get(map, 0), UINT64_C(0x1111111122222222));
    wr(map, 4, 4, 0xbbbbbbbb);
    assert_int_equal(fake.writes, 1);
    assert_int_equal(fake.last.value, UINT64_C(0xbbbbbbbbaaaaaaaa));
    assert_int_equal(fake.last.old, UINT64_C(0x1111111122222222));
    wr(map, 6, 2, 0xcccc); /* the rest as it stands */
    assert_int_equal(get(map, 0), UINT64_C(0xccccbbbbaaaaaaaa));
    wr(map, 0, 8, 1); /* in one go */
    assert_int_equal(get(map, 0), 1);
    assert_int_equal(fake.writes, 3);
    wr(map, 8, 1, 0xff);
    wr(map, 11, 1, 0x0f);
    assert_int_equal(fake.last.raw, 0x0f0000ff);
    assert_int_equal(get(map, 1), 0xf0ffff00);
    /* Big endian: the highest address is the last one here too. */
    wr(map, 12, 2, 0xbbaa);
    assert_int_equal(get(map, 2), 0x01020304);
    wr(map, 14, 2, 0xddcc);
    assert_int_equal(get(map, 2), 0xaabbccdd);
    /* A reset forgets what was collected. */
    wr(map, 0, 4, 0x77777777);
    regmap_reset(map, VFU_RESET_FLR);
    wr(map, 4, 4, 0x88888888);
    assert_int_equal(get(map, 0), UINT64_C(0x8888888822222222));
    regmap_free(map);
}

/* ---- locks -------------------------------------------------------------------------------------------------- */

static void test_locks(void **state)
{
    static const struct vfu_group groups[] = { { "CH", 0, 3, 0x100, 0x20 } };
    struct vfu_reg regs[] = { REG("CMD", 0, 4, RW), REG("SRC", 4, 4, RW), REG("DST", 8, 4, RW,
        .flags = VFU_REG_HOOK_WRITE),
                              REG("CTL", 0, 4, RW), REG("DATA", 4, 4, RW), REG("RING", 8, 4, RW, .count = 2),
                              REG("SIZE", 16, 4, RW, .count = 2), REG("KEY", 0x200, 8, RW,
                                  .flags = VFU_REG_COMMIT_LAST) };
    static const struct vfu_lock locks[] = {
        { 1, 0, 1, 1, 0, 0 },  { 2, 0, 1, 1, 0, 0 },   { 2, 0, 0xf0, 0x50, 1, 0 }, { 2, VFU_NONE, 0, 0, 0, 77 },
        { 4, 3, 1, 1, 0, 0 },  { 5, 6, ~0u, 9, 0, 0 }, { 6, 6, 0x80, 0x80, 0, 0 }, { 7, 0, 1, 1, 0, 0 },
    };
    struct vfu_regmap desc = { sizeof desc, 0, regs, 8, sizeof regs[0], groups, 1, sizeof groups[0], locks, 8,
        sizeof locks[0] };
    struct fake fake = { 0 };
    struct regmap *map;

    (void)state;
    for (int i = 3; i < 7; i++)
        regs[i].group = 0;
    map = make(&fake, &desc);
    wr(map, 4, 4, 1);
    assert_int_equal(get(map, 1), 1);
    wr(map, 0, 4, 1);
    wr(map, 4, 4, 2);
    wr(map, 5, 1, 2);
    assert_int_equal(get(map, 1), 1);
    set(map, 1, 3); /* not for the hardware */
    assert_int_equal(get(map, 1), 3);
    /* Several locks, all of which must be open: a bit clear, a field at 5, and the function's word. */
    wr(map, 0, 4, 0x40);
    wr(map, 8, 4, 1);
    assert_int_equal(fake.lock_calls, 0);
    wr(map, 0, 4, 0x51);
    wr(map, 8, 4, 1);
    assert_int_equal(fake.lock_calls, 0);
    wr(map, 0, 4, 0x50);
    fake.locked = 1;
    wr(map, 9, 1, 0x12);
    assert_int_equal(fake.lock_calls, 1);
    assert_int_equal(fake.lock_hook, 77);
    assert_int_equal(fake.last.value, 0x1200);
    assert_int_equal(fake.last.old, 0);
    assert_int_equal(fake.writes, 0);
    assert_int_equal(get(map, 2), 0);
    fake.locked = -EIO;
    wr(map, 8, 4, 1);
    assert_int_equal(get(map, 2), 0);
    fake.locked = 0;
    wr(map, 8, 4, 1);
    assert_int_equal(get(map, 2), 1);
    assert_int_equal(fake.writes, 1);
    /* In groups and arrays the condition is the one beside it. */
    wr(map, 0x120, 4, 1);
    for (uint32_t g = 0; g < 3; g++)
        wr(map, 0x104 + 0x20 * g, 4, 5);
    assert_int_equal(regmap_get(map, 4, VFU_NONE, 0), 5);
    assert_int_equal(regmap_get(map, 4, VFU_NONE, 1), 0);
    assert_int_equal(regmap_get(map, 4, VFU_NONE, 2), 5);
    wr(map, 0x134, 4, 9); /* CH[1].SIZE[1] */
    wr(map, 0x128, 4, 7);
    wr(map, 0x12c, 4, 7);
    assert_int_equal(regmap_get(map, 5, 0, 1), 7);
    assert_int_equal(regmap_get(map, 5, 1, 1), 0);
    wr(map, 0x110, 4, 0x81); /* a register may lock itself: this write is judged by what it held before */
    wr(map, 0x110, 4, 0);
    assert_int_equal(regmap_get(map, 6, 0, 0), 0x81);
    /* Pieces are judged one by one; a lock on the last drops what was collected. */
    wr(map, 0x200, 4, 0x11);
    wr(map, 0, 4, 1);
    wr(map, 0x204, 4, 0x22);
    wr(map, 0, 4, 0);
    assert_int_equal(get(map, 7), 0);
    wr(map, 0x204, 4, 0x33);
    assert_int_equal(get(map, 7), UINT64_C(0x3300000000));
    regmap_free(map);
}

/* ---- arrays and groups -------------------------------------------------------------------------------------- */

static void test_instances(void **state)
{
    static const struct vfu_group groups[] = { { "CH", 0, 3, 0x1000, 0x800 } };
    struct vfu_reg regs[] = { REG("RING", 0x10, 2, RW, .count = 4, .stride = 8, .flags = HOOKS, .hook = 1),
                              REG("CTRL", 0, 4, RW, .flags = HOOKS, .hook = 2),
                              REG("Q", 0x10, 1, RW, .count = 5, .flags = HOOKS, .hook = 3), REG("ONE", 0, 1, RW,
                                  .count = 1) };
    struct vfu_regmap desc = { sizeof desc, 0, regs, 4, 0, groups, 1, 0, NULL, 0, 0 };
    struct fake fake = { 0 };
    struct regmap *map;
    struct reg_cell *cell;
    char name[64], tiny[6];
    uint64_t span;

    (void)state;
    regs[1].group = regs[2].group = 0;
    map = make(&fake, &desc);
    wr(map, 0x10 + 3 * 8, 2, 0x1234);
    assert_int_equal(fake.last.index, 3);
    assert_int_equal(fake.last.group_index, VFU_NONE);
    assert_int_equal(regmap_get(map, 0, 3, VFU_NONE), 0x1234);
    wr(map, 0x1800, 4, 7);
    assert_int_equal(fake.last.hook, 2);
    assert_int_equal(fake.last.index, VFU_NONE);
    assert_int_equal(fake.last.group_index, 1);
    wr(map, 0x2014, 1, 9);
    assert_int_equal(fake.last.index, 4);
    assert_int_equal(fake.last.group_index, 2);
    assert_int_equal(regmap_get(map, 2, 4, 2), 9);
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t i = 0; i < 5; i++)
            assert_int_equal(regmap_set(map, 2, i, g, 0x40 + g * 5 + i), 0);
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t i = 0; i < 5; i++)
            assert_int_equal(rd(map, 0x1010 + g * 0x800 + i, 1), 0x40 + g * 5 + i);
    /* Indexes that do not fit. */
    assert_int_equal(regmap_set(map, 0, 4, VFU_NONE, 1), -EINVAL);
    assert_int_equal(regmap_set(map, 0, VFU_NONE, VFU_NONE, 1), -EINVAL);
    assert_int_equal(regmap_set(map, 0, 0, 0, 1), -EINVAL);
    assert_int_equal(regmap_set(map, 1, VFU_NONE, 3, 1), -EINVAL);
    assert_int_equal(regmap_set(map, 1, 0, 0, 1), -EINVAL);
    assert_int_equal(regmap_set(map, 3, VFU_NONE, VFU_NONE, 1), -EINVAL);
    assert_int_equal(regmap_set(map, 4, VFU_NONE, VFU_NONE, 1), -EINVAL);
    assert_int_equal(regmap_get(map, 4, VFU_NONE, VFU_NONE), 0);
    assert_int_equal(regmap_get(map, 2, 5, 0), 0);

    cell = regmap_find(map, 0, 0x2013, 0x3000, &span);
    regmap_name(map, cell, name, sizeof name);
    assert_string_equal(name, "CH[2].Q[3]");
    regmap_name(map, cell, tiny, sizeof tiny);
    assert_string_equal(tiny, "CH[2]");
    cell = regmap_find(map, 0, 0, 0x10, &span);
    regmap_name(map, cell, name, sizeof name);
    assert_string_equal(name, "ONE[0]");
    /* Gaps: to the next register, or the limit. */
    assert_null(regmap_find(map, 0, 1, 0x100, &span));
    assert_int_equal(span, 0xf);
    assert_null(regmap_find(map, 0, 1, 5, &span));
    assert_int_equal(span, 4);
    assert_null(regmap_find(map, 0, 0x2015, 0x100000, &span));
    assert_int_equal(span, 0x100000 - 0x2015);
    assert_null(regmap_find(map, 1, 0, 16, &span));
    assert_int_equal(span, 16);
    assert_true(regmap_any(map, 0));
    assert_false(regmap_any(map, 1));
    assert_false(regmap_any(map, 99));
    regmap_free(map);
}

/* Every byte of maps that need many page tables, share them, have none or reach over page borders. */
static void test_finding(void **state)
{
    static const struct {
        uint64_t offset, stride, size;
        uint32_t count, bytes;
    } cases[] = {
        { 0xffe, 0x1000, 1 << 20, 255, 4 },             /* each over a border, alike */
        { 0xffd, 0x1003, UINT64_C(1) << 24, 4000, 8 },  /* all different: more than there are tables for */
        { 3, UINT64_C(1) << 40, UINT64_C(1) << 60, 1000, 4 }, /* too far apart for a directory */
        { 0, 1, 1 << 16, 65536, 1 },                    /* dense */
        { UINT64_C(0xfffffffffffff000) >> 2, 8, UINT64_C(1) << 62, 100, 8 }, /* at the far end */
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        const struct vfu_reg reg = REG("R", cases[i].offset, cases[i].bytes, RW, .count = cases[i].count,
            .stride = cases[i].stride);
        struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = &reg, .nregs = 1 };
        const uint64_t size[REGMAP_REGIONS] = { cases[i].size };
        struct regmap *map;

        assert_int_equal(regmap_new(&map, "test", &desc, size), 0);
        for (uint32_t k = 0; k < cases[i].count; k++)
            assert_int_equal(regmap_set(map, 0, k, VFU_NONE, k & 0xff), 0);
        for (uint32_t k = 0; k < cases[i].count; k++) {
            uint64_t at = cases[i].offset + k * cases[i].stride, span;

            for (uint32_t b = 0; b < cases[i].bytes; b++) {
                struct reg_cell *cell = regmap_find(map, 0, at + b, cases[i].size, &span);
                uint8_t byte;

                assert_non_null(cell);
                assert_int_equal(span, cases[i].bytes - b);
                regmap_read(map, cell, at + b, 1, &byte);
                assert_int_equal(byte, b ? 0 : k & 0xff);
            }
            if (cases[i].stride > cases[i].bytes) {
                assert_null(regmap_find(map, 0, at + cases[i].bytes, cases[i].size, &span));
                assert_int_equal(span, k + 1 < cases[i].count ? cases[i].stride - cases[i].bytes
                                                              : cases[i].size - at - cases[i].bytes);
            }
        }
        regmap_free(map);
    }
}

/* ---- levels and resets -------------------------------------------------------------------------------------- */

static void set_mask_inside(struct fake *fake, struct vfu_reg_call *call)
{
    (void)call;
    set(fake->map, 1, 0xff);
    fake->lock_calls = fake->nbits; /* how many were reported by now */
}

static void test_level(void **state)
{
    const struct vfu_reg regs[] = { REG("IRQ", 0, 4, W1C), REG("MASK", 4, 1, RW), REG("DO", 8, 4, RW,
        .flags = VFU_REG_HOOK_WRITE),
                                    REG("LVL", 12, 4, RC, .flags = VFU_REG_STICKY) };
    struct fake fake = { 0 };
    struct regmap *map = make_regs(&fake, regs, 4);

    (void)state;
    assert_int_equal(regmap_watch_level(map, 0, 1, on_level, &fake), 0);
    set(map, 0, 0x103);
    assert_int_equal(fake.nbits, 0); /* masked */
    wr(map, 4, 1, 0x1);
    assert_int_equal(fake.nbits, 1);
    assert_int_equal(fake.bits[0], 1);
    wr(map, 4, 1, 0x1);
    assert_int_equal(fake.nbits, 1);
    fake.inside = set_mask_inside; /* at once, from within another register's hook */
    wr(map, 8, 4, 1);
    assert_int_equal(fake.lock_calls, 2);
    assert_int_equal(fake.bits[1], 3);
    wr(map, 0, 1, 0x02);
    assert_int_equal(fake.bits[2], 1);
    assert_int_equal(fake.nbits, 3);
    regmap_reset(map, VFU_RESET_BUS);
    assert_int_equal(fake.nbits, 4);
    assert_int_equal(fake.bits[3], 0);
    assert_int_equal(regmap_restore(map, "IRQ", 7), 0);
    assert_int_equal(regmap_restore(map, "MASK", 5), 0);
    assert_int_equal(fake.nbits, 4);
    regmap_level(map);
    assert_int_equal(fake.bits[4], 5);
    /* Without a mask, and a read that clears. A reset tells even what has not changed. */
    fake.nbits = 0;
    fake.inside = NULL;
    assert_int_equal(regmap_watch_level(map, 3, VFU_NONE, on_level, &fake), 0);
    set(map, 3, 0x80000001);
    assert_int_equal(fake.bits[0], 0x80000001);
    regmap_reset(map, VFU_RESET_BUS);
    assert_int_equal(fake.nbits, 2);
    assert_int_equal(fake.bits[1], 0x80000001);
    (void)rd(map, 12, 1);
    assert_int_equal(fake.bits[2], 0x80000000);
    assert_int_equal(fake.nbits, 3);
    regmap_free(map);
}

static void test_level_hook(void **state)
{
    const struct vfu_reg regs[] = { REG("IRQ", 0, 4, RW, .flags = VFU_REG_HOOK_WRITE), REG("ARR", 4, 4, RW,
        .count = 2) };
    struct fake fake = { 0 };
    struct regmap *map = make_regs(&fake, regs, 2);
    char text[1024];

    (void)state;
    assert_int_equal(regmap_watch_level(map, 0, VFU_NONE, on_level, &fake), 0);
    fake.result = VFU_REPLACE;
    fake.use = 0x10;
    wr(map, 0, 4, 1); /* told of what the hook makes of it, not of what was written */
    assert_int_equal(fake.nbits, 1);
    assert_int_equal(fake.bits[0], 0x10);
    fake.result = -EIO;
    wr(map, 0, 4, 0);
    assert_int_equal(fake.nbits, 1);
    log_begin();
    assert_int_equal(regmap_watch_level(map, 1, VFU_NONE, on_level, &fake), -EINVAL);
    assert_int_equal(regmap_watch_level(map, 0, 2, on_level, &fake), -EINVAL);
    log_end(text);
    assert_non_null(strstr(text, "ARR"));
    assert_int_equal(regmap_watch_level(map, VFU_NONE, VFU_NONE, NULL, NULL), 0);
    regmap_reset(map, VFU_RESET_POWER);
    assert_int_equal(fake.nbits, 1);
    regmap_free(map);
}

static void test_reset(void **state)
{
    const struct vfu_reg regs[] = { REG("A", 0, 4, RW, .reset = 1), REG("S", 4, 4, RW, .reset = 2,
        .flags = VFU_REG_STICKY),
                                    REG("N", 8, 2, RW, .reset = UINT64_MAX) };
    struct regmap *map = make_regs(NULL, regs, 3);

    (void)state;
    for (uint32_t kind = VFU_RESET_BUS; kind <= VFU_RESET_FLR; kind++) {
        wr(map, 0, 4, 5);
        wr(map, 4, 4, 6);
        regmap_reset(map, kind);
        assert_int_equal(get(map, 0), 1);
        assert_int_equal(get(map, 1), 6);
    }
    regmap_reset(map, VFU_RESET_POWER);
    assert_int_equal(get(map, 1), 2);
    assert_int_equal(get(map, 2), 0xffff);
    regmap_free(map);
}

/* ---- saving ------------------------------------------------------------------------------------------------- */

struct saved {
    char name[32];
    uint32_t size;
    uint64_t value;
};

struct saving {
    struct saved items[32];
    unsigned n, stop;
};

static int keep(void *ctx, const char *name, uint32_t size, uint64_t value)
{
    struct saving *saving = ctx;
    struct saved *item = &saving->items[saving->n++];

    assert_true(saving->n <= LENGTH(saving->items));
    snprintf(item->name, sizeof item->name, "%s", name);
    item->size = size;
    item->value = value;
    return saving->n == saving->stop ? 17 : 0;
}

static void test_saving(void **state)
{
    static const struct vfu_group groups[] = { { "CH", 0, 2, 0x100, 0x20 } };
    struct vfu_reg regs[] = { REG("Z", 0x80, 2, RW), REG("CTRL", 0, 4, RW, .count = 2), REG("ONCE", 0, 4, WONCE),
                              REG("HALF", 8, 8, RW, .flags = VFU_REG_COMMIT_LAST) };
    struct vfu_regmap desc = { sizeof desc, 0, regs, 4, 0, groups, 1, 0, NULL, 0, 0 };
    static const char *const names[] = { "Z", "CH[0].CTRL[0]", "CH[0].CTRL[1]", "CH[1].CTRL[0]", "CH[1].CTRL[1]",
                                         "ONCE", "ONCE!once", "HALF", "HALF!bytes", "HALF!mask" };
    static const char *const unknown[] = { "", "Q", "CH", "CH[0]", "CH[2].CTRL[0]", "CH[0].CTRL[2]", "CH[0].CTRL",
        "CH.CTRL[0]",
                                           "Z[0]", "Z.X", "Z[", "Z[]", "Z[1", "CH[00000000000001].CTRL[0]",
                                               "CH[-1].CTRL[0]",
                                           "CTRL[0]", "Z!once", "ONCE!", "ONCE!twice", "ONCE!mask", "HALF!once",
                                               "!once", ".", "CH[0]..CTRL[0]",
                                           "CH[0].CTRL[0].X", "CH[0]CTRL[0]" };
    struct regmap *map, *other;
    struct saving saving = { .n = 0 };
    char longest[400];

    (void)state;
    regs[1].group = 0;
    map = make(NULL, &desc);
    other = make(NULL, &desc);
    wr(map, 0x80, 2, 0xbeef);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(regmap_set(map, 1, i & 1, i >> 1, 0x100 + i), 0);
    wr(map, 0, 2, 0x77);
    wr(map, 8, 4, 0x12345678);
    assert_int_equal(regmap_each(map, keep, &saving), 0);
    assert_int_equal(saving.n, LENGTH(names));
    for (unsigned i = 0; i < saving.n; i++)
        assert_string_equal(saving.items[i].name, names[i]);
    assert_int_equal(saving.items[0].size, 2);
    assert_int_equal(saving.items[3].value, 0x102);
    wr(other, 0, 4, 1); /* what it remembers goes with the restored value */
    wr(other, 8, 2, 1);
    for (unsigned i = 0; i < saving.n; i++)
        assert_int_equal(regmap_restore(other, saving.items[i].name, saving.items[i].value), 0);
    wr(other, 0, 4, 0x11112222);
    assert_int_equal(get(other, 2), 0x11110077);
    wr(other, 12, 4, 0x9abcdef0);
    assert_int_equal(get(other, 3), UINT64_C(0x9abcdef012345678));
    assert_int_equal(regmap_get(other, 1, 1, 1), 0x103);
    assert_int_equal(regmap_restore(other, "Z", UINT64_MAX), 0);
    assert_int_equal(get(other, 0), 0xffff);
    for (size_t i = 0; i < LENGTH(unknown); i++)
        assert_int_equal(regmap_restore(other, unknown[i], 1), -ENOENT);
    memset(longest, 'A', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(regmap_restore(other, longest, 1), -ENOENT);
    saving = (struct saving){ .stop = 3 };
    assert_int_equal(regmap_each(map, keep, &saving), 17);
    assert_int_equal(saving.n, 3);
    regmap_free(map);
    regmap_free(other);
}

static void test_empty(void **state)
{
    struct regmap *map = NULL;
    uint64_t span;
    uint32_t n = 1;
    struct saving saving = { .n = 0 };

    (void)state;
    assert_int_equal(regmap_new(&map, NULL, NULL, sizes), 0);
    assert_int_equal(regmap_bind(map, NULL, NULL), 0);
    regmap_reset(map, VFU_RESET_POWER);
    assert_null(regmap_find(map, 0, 5, 9, &span));
    assert_int_equal(span, 4);
    assert_int_equal(regmap_restore(map, "A", 0), -ENOENT);
    assert_int_equal(regmap_each(map, keep, &saving), 0);
    assert_int_equal(saving.n, 0);
    (void)regmap_regs(map, &n);
    assert_int_equal(n, 0);
    assert_false(regmap_any(NULL, 0));
    regmap_free(map);
    regmap_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),          cmocka_unit_test(test_widths),     cmocka_unit_test(test_partial_reads),
        cmocka_unit_test(test_fields),         cmocka_unit_test(test_wonce),      cmocka_unit_test(test_unimp),
        cmocka_unit_test(test_write_hook),     cmocka_unit_test(test_read_hook),  cmocka_unit_test(test_hook_and_reset),
        cmocka_unit_test(test_commit_last),    cmocka_unit_test(test_locks),      cmocka_unit_test(test_instances),
        cmocka_unit_test(test_finding),        cmocka_unit_test(test_level),      cmocka_unit_test(test_level_hook),
        cmocka_unit_test(test_reset),          cmocka_unit_test(test_saving),     cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
