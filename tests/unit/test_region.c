/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit test of core/region: how accesses are cut among window, registers, memory and raw handler, what unmapped bytes
 * answer, and which BARs are refused. One thread.
 */
#include <errno.h>
#include <fcntl.h>
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

#include "core/pci/region.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define R(NAME, OFFSET, SIZE, ...)                                                                                     \
    { .name = NAME, .region = 2, .group = VFU_NONE, .offset = OFFSET, .size = SIZE, __VA_ARGS__ }

/* Everything that a device is called with, as text: "w A 0x12; raw r 0x8+2;" */
static char trace[4096];

static void __attribute__((format(printf, 1, 2))) note(const char *format, ...)
{
    size_t n = strlen(trace);
    va_list args;

    va_start(args, format);
    vsnprintf(trace + n, sizeof trace - n, format, args);
    va_end(args);
}

static void traced(const char *expected)
{
    assert_string_equal(trace, expected);
    trace[0] = 0;
}

static int32_t on_read(void *self, struct vfu_reg_call *call)
{
    (void)self;
    note("r%u ", call->hook);
    return 0;
}

static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    (void)self;
    note("w%u=%llx ", call->hook, (unsigned long long)call->value);
    return 0;
}

static int raw_result;
static uint64_t raw_fails_at = UINT64_MAX;

/* Reads as the low byte of each address. */
static int32_t on_raw(void *self, struct vfu_access *access)
{
    assert_ptr_equal(self, trace);
    assert_int_equal(access->struct_size, sizeof *access);
    assert_int_equal(access->region, 2);
    assert_true((access->size > 8) == (access->data != NULL));
    if (access->flags & VFU_ACCESS_WRITE)
        note("W%llx+%u=%llx ", (unsigned long long)access->offset, access->size,
             (unsigned long long)(access->data ? access->data[access->size - 1] : access->value));
    else
        note("R%llx+%u ", (unsigned long long)access->offset, access->size);
    if (raw_result || access->offset == raw_fails_at)
        return raw_result ? raw_result : -EIO;
    if (access->flags & VFU_ACCESS_WRITE)
        return 0;
    for (uint32_t i = 0; i < access->size; i++) {
        if (access->data)
            access->data[i] = (uint8_t)(access->offset + i);
        else
            access->value |= (uint64_t)(uint8_t)(access->offset + i) << (8 * i);
    }
    access->value |= access->size < 8 ? UINT64_C(0xab) << 56 : 0; /* cut off */
    return 0;
}

static bool window_takes_all;

/* Serves what lies within it whole, as the MSI-X table does. */
static bool on_window(void *ctx, uint64_t offset, uint32_t size, uint8_t *bytes, bool write)
{
    struct region *region = ctx;

    assert_true(offset < region->window_end && offset + size > region->window_start);
    if (!window_takes_all && (offset < region->window_start || offset + size > region->window_end))
        return false;
    note("win%c%llx+%u ", write ? 'w' : 'r', (unsigned long long)offset, size);
    if (!write)
        memset(bytes, 0x77, size);
    return true;
}

static const struct vfu_regmap_ops ops = { sizeof ops, 0, on_read, on_write, NULL };

struct device {
    struct regmap *map;
    struct region region;
};

#define HOOKED (VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE)

/* 0x0 A, 4 bytes; 0x4 nothing; 0x6 B, 1 byte; 0x7 nothing; 0x8 C, 8 bytes; 0x40 D, 4 bytes. */
static const struct vfu_reg layout[] = {
    R("A", 0, 4, .flags = HOOKED, .hook = 1, .reset = 0x03020100), R("B", 6, 1, .flags = HOOKED, .hook = 2, .reset = 6),
    R("C", 8, 8, .flags = HOOKED, .hook = 3, .reset = UINT64_C(0x0f0e0d0c0b0a0908)),
    R("D", 0x40, 4, .flags = HOOKED, .hook = 4, .reset = 0x43424140),
};

static void make(struct device *device, const struct vfu_bar *bar, uint32_t nregs)
{
    struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = layout, .nregs = nregs };
    const uint64_t sizes[REGMAP_REGIONS] = { [2] = bar->size };

    assert_int_equal(regmap_new(&device->map, "test", &desc, sizes), 0);
    assert_int_equal(regmap_bind(device->map, &ops, NULL), 0);
    assert_int_equal(region_init(&device->region, "test", bar, device->map), 0);
    if (bar->flags & VFU_BAR_RAW) {
        device->region.raw = on_raw;
        device->region.self = trace;
    }
    trace[0] = 0;
    raw_result = 0;
    raw_fails_at = UINT64_MAX;
    window_takes_all = false;
}

static void unmake(struct device *device)
{
    region_fini(&device->region);
    regmap_free(device->map);
}

/* Reads and compares with hexadecimal bytes; "" for -EINVAL. */
static void reads(struct device *device, uint64_t offset, uint32_t size, const char *hex)
{
    uint8_t *bytes = malloc(size); /* as long as it is, so that a sanitizer sees a byte too far */
    char text[256] = "";
    int err;

    assert_true(bytes && size < sizeof text / 2);
    memset(bytes, 0xcc, size);
    err = region_read(&device->region, offset, size, bytes);
    assert_int_equal(err, *hex ? 0 : -EINVAL);
    for (uint32_t i = 0; i < size && !err; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, hex);
    free(bytes);
}

static int writes(struct device *device, uint64_t offset, uint32_t size, uint64_t value)
{
    uint8_t *bytes = malloc(size);
    int err;

    assert_non_null(bytes);
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i < 8 ? value >> (8 * i) : i);
    err = region_write(&device->region, offset, size, bytes);
    free(bytes);
    return err;
}

/* ---- cutting ------------------------------------------------------------------------------------------------ */

static void test_registers(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .unmapped = VFU_UNMAPPED_ONES };
    struct device device;

    (void)state;
    make(&device, &bar, 4);
    reads(&device, 0, 4, "00010203");
    traced("r1 ");
    reads(&device, 2, 2, "0203");
    reads(&device, 3, 1, "03");
    traced("r1 r1 ");
    reads(&device, 0, 8, "00010203ffff06ff"); /* lowest address first, ones between */
    traced("r1 r2 ");
    assert_int_equal(writes(&device, 0, 8, UINT64_C(0x1122334455667788)), 0);
    traced("w1=55667788 w2=22 ");
    reads(&device, 4, 4, "ffff22ff");
    reads(&device, 4, 2, "ffff");
    traced("r2 ");
    assert_int_equal(writes(&device, 4, 2, 1), 0);
    assert_int_equal(writes(&device, 12, 4, 0x44332211), 0);
    traced("w3=443322110b0a0908 ");
    /* Misaligned and odd widths count as unmapped as a whole. */
    for (uint32_t size = 2; size <= 8; size++) {
        reads(&device, 1, size, &"ffffffffffffffff"[16 - 2 * size]);
        assert_int_equal(writes(&device, 1, size, 0), 0);
        if (size & (size - 1))
            reads(&device, 0, size, &"ffffffffffffffff"[16 - 2 * size]);
    }
    traced("");
    /* Longer: the widest pieces that are aligned. */
    reads(&device, 0, 12, "88776655ffff22ff08090a0b");
    traced("r1 r2 r3 ");
    reads(&device, 1, 16, "776655ffff22ff08090a0b11223344ff");
    traced("r1 r1 r2 r3 ");
    assert_int_equal(writes(&device, 0x3c, 12, 0), 0);
    traced("w4=0 ");
    reads(&device, 0x74, 12, "ffffffffffffffffffffffff");
    unmake(&device);
}

static void test_sizes(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .access_sizes = 4 | 8 };
    struct device device;

    (void)state;
    make(&device, &bar, 4);
    reads(&device, 0, 1, "00");
    reads(&device, 2, 2, "0000");
    assert_int_equal(writes(&device, 0, 2, 0x55), 0);
    traced("");
    reads(&device, 0, 4, "00010203");
    reads(&device, 4, 4, "00000600");
    reads(&device, 8, 8, "08090a0b0c0d0e0f");
    traced("r1 r2 r3 ");
    /* The ends of a long access that no allowed width reaches are unmapped. */
    reads(&device, 2, 16, "0000000006000809"
                          "0a0b0c0d0e0f0000");
    traced("r2 r3 ");
    reads(&device, 1, 9, "000000000006000000");
    traced("r2 ");
    unmake(&device);
}

static void test_error(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .unmapped = VFU_UNMAPPED_ERROR, .access_sizes = 1 | 4 | 8 };
    struct device device;

    (void)state;
    make(&device, &bar, 4);
    reads(&device, 0, 4, "00010203");
    reads(&device, 3, 1, "03");
    reads(&device, 8, 8, "08090a0b0c0d0e0f");
    traced("r1 r1 r3 ");
    reads(&device, 0, 8, ""); /* one byte is enough, and no hook is called before it is found */
    reads(&device, 4, 4, "");
    reads(&device, 0, 2, "");
    reads(&device, 1, 4, "");
    reads(&device, 0, 12, "");
    reads(&device, 0x20, 1, "");
    reads(&device, 0x3c, 16, "");
    assert_int_equal(writes(&device, 0, 8, 0), -EINVAL);
    assert_int_equal(writes(&device, 6, 12, 0), -EINVAL);
    assert_int_equal(writes(&device, 5, 1, 0), -EINVAL);
    assert_int_equal(writes(&device, 127, 1, 0), -EINVAL);
    traced("");
    assert_int_equal(writes(&device, 6, 1, 9), 0);
    traced("w2=9 ");
    unmake(&device);
}

static void test_long_registers(void **state)
{
    const struct vfu_reg reg = R("A", 0, 4, .count = 16, .flags = HOOKED, .hook = 1);
    struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = &reg, .nregs = 1 };
    const uint64_t sizes[REGMAP_REGIONS] = { [2] = 64 };
    const struct vfu_bar bar = { .index = 2, .size = 64, .unmapped = VFU_UNMAPPED_ERROR };
    struct device device;

    (void)state;
    assert_int_equal(regmap_new(&device.map, "test", &desc, sizes), 0);
    assert_int_equal(regmap_bind(device.map, &ops, NULL), 0);
    assert_int_equal(region_init(&device.region, "test", &bar, device.map), 0);
    trace[0] = 0;
    assert_int_equal(writes(&device, 2, 12, UINT64_C(0x8877665544332211)), 0);
    traced("w1=22110000 w1=66554433 w1=9088877 w1=b0a ");
    reads(&device, 0, 16, "0000112233445566778808090a0b0000");
    unmake(&device);
}

/* ---- memory ------------------------------------------------------------------------------------------------- */

static void test_memory(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 8192, .flags = VFU_BAR_RAM };
    struct device device;
    uint8_t big[8192], back[8192];

    (void)state;
    make(&device, &bar, 0);
    assert_null(device.region.map);
    assert_int_equal(device.region.fd, -1);
    assert_int_equal(writes(&device, 4088, 8, UINT64_C(0x8877665544332211)), 0);
    reads(&device, 4090, 2, "3344");
    reads(&device, 4089, 2, "0000"); /* misaligned: unmapped, even over memory */
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 7);
    assert_int_equal(region_write(&device.region, 1, 8191, big), 0); /* longer ones go through whole */
    assert_int_equal(region_read(&device.region, 1, 8191, back), 0);
    assert_memory_equal(big, back, 8191);
    assert_memory_equal(device.region.memory + 1, big, 8191);
    assert_ptr_equal(region_plain(&device.region, 0, 8192, true), device.region.memory);
    assert_ptr_equal(region_plain(&device.region, 3, 100, false), device.region.memory + 3);
    assert_ptr_equal(region_plain(&device.region, 8, 8, true), device.region.memory + 8);
    assert_null(region_plain(&device.region, 3, 2, true));
    assert_null(region_plain(&device.region, 0, 3, true));
    assert_null(region_plain(&device.region, 0, 0, true));
    assert_null(region_plain(&device.region, 0, 8193, true));
    assert_null(region_plain(&device.region, 1, UINT64_MAX, true));
    assert_null(region_plain(&device.region, 8192, 1, true));
    assert_null(region_plain(&device.region, UINT64_MAX, 2, true));
    unmake(&device);
    assert_null(device.region.memory);
}

static void test_memory_and_registers(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAM, .access_sizes = 2 | 4 | 8 };
    struct device device;

    (void)state;
    make(&device, &bar, 4);
    for (uint32_t i = 0; i < 128; i++)
        device.region.memory[i] = (uint8_t)(0x80 | i);
    reads(&device, 0, 8, "0001020384850687");
    traced("r1 r2 ");
    assert_int_equal(writes(&device, 4, 4, 0xddccbbaa), 0);
    traced("w2=cc ");
    reads(&device, 4, 4, "aabbccdd");
    assert_int_equal(device.region.memory[6], 0x86); /* under the register nothing has changed */
    traced("r2 ");
    reads(&device, 0x36, 20, "b6b7b8b9babbbcbdbebf40414243c4c5c6c7c8c9");
    traced("r4 ");
    reads(&device, 0x35, 20, "00b6b7b8b9babbbcbdbebf40414243c4c5c6c700"); /* no width of 1: the ends are unmapped */
    traced("r4 ");
    assert_int_equal(writes(&device, 0x38, 16, UINT64_C(0x1716151413121110)), 0);
    traced("w4=b0a0908 ");
    reads(&device, 0x38, 16, "101112131415161708090a0b0c0d0e0f");
    assert_non_null(region_plain(&device.region, 0x10, 0x30, true));
    assert_non_null(region_plain(&device.region, 0x44, 0x3c, true));
    assert_non_null(region_plain(&device.region, 0x12, 0x10, true));
    assert_null(region_plain(&device.region, 0x11, 0x10, true)); /* would be cut, with unmapped ends */
    assert_null(region_plain(&device.region, 0x10, 0x32, true));
    assert_null(region_plain(&device.region, 0, 0x10, true));
    assert_null(region_plain(&device.region, 0x43, 0x20, true));
    unmake(&device);
}

static void test_mappable(void **state)
{
    const struct vfu_area areas[] = { { 4096, 4096 }, { 12288, 4096 } };
    const struct vfu_bar bar = { .index = 2, .size = 16384, .flags = VFU_BAR_RAM | VFU_BAR_MMAP, .areas = areas,
        .nareas = 2 };
    struct device device;
    uint8_t *theirs;

    (void)state;
    make(&device, &bar, 4);
    assert_true(device.region.fd >= 0);
    assert_int_equal(device.region.nareas, 2);
    assert_int_equal(device.region.areas[1].offset, 12288);
    theirs = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, device.region.fd, 0);
    assert_true(theirs != MAP_FAILED);
    memcpy(theirs + 4096, "here", 4);
    reads(&device, 4096, 4, "68657265");
    assert_int_equal(writes(&device, 12288, 4, 0x31323334), 0);
    assert_memory_equal(theirs + 12288, "4321", 4);
    munmap(theirs, 16384);
    assert_true(ftruncate(device.region.fd, 0) < 0); /* the client cannot take it away from under us */
    assert_true(ftruncate(device.region.fd, 1 << 20) < 0);
    unmake(&device);
}

static void test_rom(void **state)
{
    uint8_t image[3000];
    struct device device = { .map = NULL };

    (void)state;
    memset(image, 0x55, sizeof image);
    assert_int_equal(region_init_rom(&device.region, "test", image, sizeof image), 0);
    assert_int_equal(device.region.size, 4096);
    assert_int_equal(device.region.index, VFU_REGION_ROM);
    reads(&device, 2992, 8, "5555555555555555");
    reads(&device, 3000, 8, "0000000000000000");
    reads(&device, 2990, 12, "555555555555555555550000");
    assert_int_equal(writes(&device, 0, 4, 0), 0); /* dropped */
    assert_int_equal(writes(&device, 1, 4, 0), 0);
    assert_int_equal(writes(&device, 0, 64, 0), 0);
    reads(&device, 0, 4, "55555555");
    assert_non_null(region_plain(&device.region, 0, 4096, false));
    assert_null(region_plain(&device.region, 0, 4096, true));
    region_fini(&device.region);
    assert_int_equal(region_init_rom(&device.region, "test", image, 1), 0);
    assert_int_equal(device.region.size, 2048);
    region_fini(&device.region);
}

/* ---- raw handler -------------------------------------------------------------------------------------------- */

static void test_raw(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAW, .access_sizes = 1 | 2 | 4 };
    struct device device;

    (void)state;
    make(&device, &bar, 0);
    reads(&device, 0x10, 4, "10111213");
    assert_int_equal(writes(&device, 2, 2, 0x1234), 0);
    traced("R10+4 W2+2=1234 ");
    reads(&device, 0, 8, "0000000000000000"); /* a width that is not allowed */
    reads(&device, 1, 2, "0000");
    traced("");
    reads(&device, 3, 13, "030405060708090a0b0c0d0e0f"); /* long ones whole, as they are */
    assert_int_equal(writes(&device, 1, 100, 0), 0);
    traced("R3+13 W1+100=63 ");
    raw_result = -EINVAL;
    reads(&device, 0, 4, "");
    reads(&device, 0, 40, "");
    assert_int_equal(writes(&device, 0, 4, 0), -EINVAL);
    raw_result = -EIO;
    assert_int_equal(writes(&device, 0, 40, 0), -EIO);
    unmake(&device);
}

static void test_raw_and_registers(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAW, .unmapped = VFU_UNMAPPED_ERROR };
    struct device device;

    (void)state;
    make(&device, &bar, 4);
    reads(&device, 0, 8, "0001020304050607");
    traced("r1 R4+2 r2 R7+1 ");
    assert_int_equal(writes(&device, 0, 8, UINT64_C(0x0706050403020100)), 0);
    traced("w1=3020100 W4+2=504 w2=6 W7+1=7 ");
    reads(&device, 5, 1, "05");
    reads(&device, 0x20, 16, "202122232425262728292a2b2c2d2e2f"); /* integers, since there are registers */
    traced("R5+1 R20+8 R28+8 ");
    reads(&device, 0x3d, 10, "3d3e3f40414243444546");
    traced("R3d+1 R3e+2 r4 R44+2 R46+1 ");
    reads(&device, 1, 4, ""); /* misaligned: unmapped, which is an error here */
    traced("");
    raw_fails_at = 4;
    assert_int_equal(writes(&device, 0, 8, 0), -EIO); /* what comes behind is not done */
    traced("w1=0 W4+2=0 ");
    unmake(&device);
}

static void test_big_endian(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAW | VFU_BAR_BIG_ENDIAN };
    struct device device;

    (void)state;
    make(&device, &bar, 4);
    reads(&device, 0, 4, "03020100");
    reads(&device, 0, 8, "0302010005040607");
    assert_int_equal(writes(&device, 0, 4, 0x44332211), 0);
    assert_int_equal(writes(&device, 2, 2, 0x6655), 0);
    assert_int_equal(writes(&device, 0x20, 4, 0x44332211), 0);
    traced("r1 r1 R4+2 r2 R7+1 w1=11223344 w1=11225566 W20+4=11223344 ");
    reads(&device, 8, 8, "0f0e0d0c0b0a0908");
    reads(&device, 0x20, 2, "2120");
    unmake(&device);
}

/* ---- window ------------------------------------------------------------------------------------------------- */

static void test_window(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAW, .access_sizes = 4 };
    struct device device;

    (void)state;
    for (uint32_t nregs = 0; nregs <= 4; nregs += 4) {
        make(&device, &bar, nregs);
        device.region.window = on_window;
        device.region.window_ctx = &device.region;
        device.region.window_start = 0x20;
        device.region.window_end = 0x34;
        reads(&device, 0x20, 8, "7777777777777777"); /* widths and alignment are its own business */
        reads(&device, 0x21, 3, "777777");
        assert_int_equal(writes(&device, 0x33, 1, 0), 0);
        traced("winr20+8 winr21+3 winw33+1 ");
        reads(&device, 0x1c, 4, "1c1d1e1f");
        reads(&device, 0x34, 4, "34353637");
        traced("R1c+4 R34+4 ");
        reads(&device, 0x18, 36, "18191a1b1c1d1e1f777777777777777777777777777777777777777734353637"
                                 "38393a3b");
        traced("R18+4 R1c+4 winr20+20 R34+4 R38+4 ");
        reads(&device, 0x1e, 12, "000077777777777777777777"); /* what is left before it fits no width */
        traced("winr20+10 ");
        window_takes_all = true;
        reads(&device, 0x1c, 8, "7777777777777777");
        traced("winr1c+8 ");
        unmake(&device);
    }
}

/* Over memory, with errors for what is unmapped: the window's bytes are mapped. */
static void test_window_and_memory(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAM };
    const struct vfu_bar bare = { .index = 2, .size = 128, .unmapped = VFU_UNMAPPED_ERROR };
    struct device device;

    (void)state;
    make(&device, &bar, 0);
    device.region.window = on_window;
    device.region.window_ctx = &device.region;
    device.region.window_start = 0x20;
    device.region.window_end = 0x30;
    memset(device.region.memory, 0x11, 128);
    reads(&device, 0x11, 48, "111111111111111111111111111111"
                             "77777777777777777777777777777777"
                             "1111111111111111111111111111111111");
    traced("winr20+16 ");
    assert_null(region_plain(&device.region, 0, 0x21, false));
    assert_null(region_plain(&device.region, 0x2f, 1, false));
    assert_non_null(region_plain(&device.region, 0, 0x20, true));
    assert_non_null(region_plain(&device.region, 0x30, 0x50, true));
    unmake(&device);

    make(&device, &bare, 4);
    device.region.window = on_window;
    device.region.window_ctx = &device.region;
    device.region.window_start = 0x10;
    device.region.window_end = 0x40;
    reads(&device, 8, 60, "08090a0b0c0d0e0f777777777777777777777777777777777777777777777777777777777777777777777777"
                          "77777777777777777777777740414243");
    traced("r3 winr10+48 r4 ");
    reads(&device, 8, 61, "");
    traced("");
    unmake(&device);
}

/* ---- the inline ways ---------------------------------------------------------------------------------------- */

/* Exactly what region_read and region_write would do, or nothing. */
static void in_one_look(struct region *region, uint64_t offset, uint32_t size, bool reads_so, bool writes_so)
{
    uint8_t bytes[16], before[16];

    memset(bytes, 0xee, sizeof bytes);
    memcpy(before, bytes, sizeof bytes);
    assert_int_equal(region_read_plain(region, offset, size, bytes), reads_so);
    if (reads_so)
        assert_memory_equal(bytes, region->memory + offset, size);
    assert_memory_equal(bytes + (reads_so ? size : 0), before, sizeof bytes - (reads_so ? size : 0));
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(0xa0 + i + offset);
    assert_int_equal(region_write_plain(region, offset, size, bytes), writes_so);
    if (writes_so)
        assert_memory_equal(region->memory + offset, bytes, size);
}

static void test_inline_memory(void **state)
{
    const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAM, .access_sizes = 1 | 2 | 4 };
    struct device device;

    (void)state;
    make(&device, &bar, 0);
    for (uint32_t size = 0; size <= 16; size++) {
        for (uint64_t offset = 0; offset < 128; offset++) {
            bool fits = (size == 1 || size == 2 || size == 4) && offset % size == 0;

            in_one_look(&device.region, offset, size, fits, fits);
        }
        in_one_look(&device.region, 128, size, false, false);
        in_one_look(&device.region, UINT64_C(1) << 40, size, false, false);
        in_one_look(&device.region, UINT64_MAX - 3, size, false, false);
    }
    in_one_look(&device.region, 0, 0x80000004, false, false);
    device.region.window = on_window;
    device.region.window_ctx = &device.region;
    device.region.window_start = 0x20;
    device.region.window_end = 0x30;
    in_one_look(&device.region, 0x1c, 4, true, true);
    in_one_look(&device.region, 0x20, 4, false, false);
    in_one_look(&device.region, 0x2f, 1, false, false);
    in_one_look(&device.region, 0x30, 4, true, true);
    region_watch(&device.region, true); /* then every access comes by */
    region_watch(&device.region, true);
    in_one_look(&device.region, 0, 4, false, false);
    region_watch(&device.region, false);
    in_one_look(&device.region, 0, 4, true, true);
    unmake(&device);
}

static void test_no_inline_memory(void **state)
{
    const struct vfu_bar tiny = { .index = 2, .size = 4, .type = VFU_BAR_IO, .flags = VFU_BAR_RAM };
    const struct vfu_bar asked = { .index = 2, .size = 128, .flags = VFU_BAR_RAM | VFU_BAR_INTERCEPT };
    const struct vfu_bar shared = { .index = 2, .size = 128, .flags = VFU_BAR_RAM };
    const uint8_t image[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    struct region rom;
    struct device device;

    (void)state;
    make(&device, &tiny, 0);
    in_one_look(&device.region, 0, 4, true, true);
    in_one_look(&device.region, 0, 8, false, false);
    unmake(&device);
    make(&device, &asked, 0);
    in_one_look(&device.region, 0, 4, false, false);
    region_watch(&device.region, true);
    region_watch(&device.region, false);
    in_one_look(&device.region, 0, 4, false, false);
    unmake(&device);
    make(&device, &shared, 4); /* there are registers, and memory between them */
    in_one_look(&device.region, 0x20, 4, false, false);
    unmake(&device);
    assert_int_equal(region_init_rom(&rom, "test", image, sizeof image), 0);
    in_one_look(&rom, 0, 8, true, false);
    in_one_look(&rom, 2040, 8, true, false);
    region_fini(&rom);
    in_one_look(&rom, 0, 8, false, false);
}

/* ---- against the rules, word by word ------------------------------------------------------------------------ */

/* What an access of the model device does, one piece after the other, without any shortcut. */
static void by_the_book(struct device *device, uint64_t offset, uint32_t size, uint8_t *bytes, bool write)
{
    static const uint32_t widths[] = { 8, 4, 2, 1 };
    struct region *region = &device->region;
    uint32_t done = 0;

    while (done < size) {
        uint64_t at = offset + done;
        uint32_t width = 0;

        if (size <= 8) {
            if ((region->access_sizes & size) && !(size & (size - 1)) && !(offset % size))
                width = size;
        } else {
            for (uint32_t i = 0; i < 4 && !width; i++)
                if ((region->access_sizes & widths[i]) && !(at % widths[i]) && widths[i] <= size - done)
                    width = widths[i];
        }
        if (!width) { /* unmapped: all of a short access, a byte of a long one */
            width = size <= 8 ? size : 1;
            if (!write)
                memset(bytes + done, 0, width);
            done += width;
            continue;
        }
        for (uint32_t i = 0; i < width;) {
            uint64_t span;
            struct reg_cell *cell = regmap_find(device->map, 2, at + i, at + width, &span);

            if (span > width - i)
                span = width - i;
            if (cell && write)
                regmap_write(device->map, cell, at + i, (uint32_t)span, bytes + done + i);
            else if (cell)
                regmap_read(device->map, cell, at + i, (uint32_t)span, bytes + done + i);
            else if (write)
                memcpy(region->memory + at + i, bytes + done + i, span);
            else
                memcpy(bytes + done + i, region->memory + at + i, span);
            i += (uint32_t)span;
        }
        done += width;
    }
}

static void test_random(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (uint32_t sizes = 1; sizes <= 15; sizes++) {
        const struct vfu_bar bar = { .index = 2, .size = 128, .flags = VFU_BAR_RAM, .access_sizes = sizes };
        struct device one, two;

        make(&one, &bar, 4);
        make(&two, &bar, 4);
        for (int i = 0; i < 2000; i++) {
            uint8_t a[128], b[128];
            char first[sizeof trace];
            uint32_t offset, size;
            bool write;

            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            offset = (seed >> 33) & 127;
            size = 1 + (uint32_t)(seed >> 40) % ((seed >> 32) & 1 ? 16 : 128);
            if (size > 128 - offset)
                size = 128 - offset;
            write = (seed >> 60) & 1;
            for (uint32_t k = 0; k < size; k++)
                a[k] = b[k] = (uint8_t)(seed >> (k % 7 * 8)) ^ (uint8_t)k;
            assert_int_equal(write ? region_write(&one.region, offset, size, a) : region_read(&one.region, offset,
                size, a), 0);
            memcpy(first, trace, sizeof trace);
            trace[0] = 0;
            by_the_book(&two, offset, size, b, write);
            traced(first);
            assert_memory_equal(a, b, size);
        }
        assert_memory_equal(one.region.memory, two.region.memory, 128);
        unmake(&one);
        unmake(&two);
    }
}

/* ---- refusals ----------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    static const struct vfu_area odd[] = { { 4096, 100 } }, beyond[] = { { 12288, 8192 } }, wrap[] = { { 4096,
        UINT64_MAX - 4095 } },
                                 swapped[] = { { 8192, 4096 }, { 4096, 4096 } }, overlap[] = { { 4096, 8192 }, { 8192,
                                     4096 } },
                                 regs[] = { { 8192, 4096 }, { 12288, 4096 } }, empty[] = { { 4096, 0 } };
    const uint32_t map = VFU_BAR_RAM | VFU_BAR_MMAP;
    const struct {
        struct vfu_bar bar;
        const char *words; /* NULL: taken */
    } cases[] = {
        { { .index = 0, .size = 16 }, NULL },
        { { .index = 6, .size = 16 }, "there is no BAR 6" },
        { { .index = 0, .type = 3, .size = 16 }, "there is no BAR 0 of type 3" },
        { { .index = 5, .type = VFU_BAR_MEM64, .size = 16 }, "BAR 5 cannot be a 64-bit BAR" },
        { { .index = 0, .size = 0 }, "BAR 0: a size of 0x0" },
        { { .index = 0, .size = 48 }, "BAR 0: a size of 0x30" },
        { { .index = 0, .size = 8 }, "power of two from 0x10 to 0x80000000" },
        { { .index = 0, .size = UINT64_C(1) << 32 }, "a 32-bit memory BAR" },
        { { .index = 0, .size = UINT64_C(1) << 31 }, NULL },
        { { .index = 0, .type = VFU_BAR_MEM64, .size = UINT64_C(1) << 62 }, NULL },
        { { .index = 0, .type = VFU_BAR_MEM64, .size = UINT64_C(1) << 63 }, "a 64-bit memory BAR" },
        { { .index = 0, .type = VFU_BAR_IO, .size = 4 }, NULL },
        { { .index = 0, .type = VFU_BAR_IO, .size = 512 }, "an I/O BAR" },
        { { .index = 0, .type = VFU_BAR_IO, .size = 4, .flags = VFU_BAR_PREFETCH }, "cannot be mapped or prefetched" },
        { { .index = 0, .type = VFU_BAR_IO, .size = 4, .flags = VFU_BAR_RAM }, NULL },
        { { .index = 0, .size = 16, .flags = 1u << 9 }, "unknown flags" },
        { { .index = 0, .size = 16, .access_sizes = 16 }, "access sizes 0x10" },
        { { .index = 0, .size = 16, .unmapped = 3 }, "unmapped 3" },
        { { .index = 0, .size = 16, .flags = VFU_BAR_RAM | VFU_BAR_RAW }, "either memory or has a raw handler" },
        { { .index = 0, .size = 4096, .flags = VFU_BAR_MMAP }, "only if it is memory" },
        { { .index = 0, .size = 2048, .flags = map }, "less than a page" },
        { { .index = 0, .size = 4096, .flags = map }, NULL },
        { { .index = 0, .size = 16384, .flags = VFU_BAR_RAM, .areas = odd, .nareas = 1 }, "not mappable" },
        { { .index = 0, .size = 16384, .flags = map, .nareas = 1 }, "list that is missing" },
        { { .index = 0, .size = 16384, .flags = map, .areas = odd, .nareas = 5000 }, "too many mappable areas" },
        { { .index = 0, .size = 16384, .flags = map, .areas = odd, .nareas = 1 }, "area 0 (offset 0x1000, size 0x64)" },
        { { .index = 0, .size = 16384, .flags = map, .areas = empty, .nareas = 1 }, "area 0" },
        { { .index = 0, .size = 16384, .flags = map, .areas = beyond, .nareas = 1 }, "area 0" },
        { { .index = 0, .size = 16384, .flags = map, .areas = wrap, .nareas = 1 }, "area 0" },
        { { .index = 0, .size = 16384, .flags = map, .areas = swapped, .nareas = 2 }, "area 1" },
        { { .index = 0, .size = 16384, .flags = map, .areas = overlap, .nareas = 2 }, "area 1" },
        { { .index = 0, .size = 16384, .flags = map, .areas = regs, .nareas = 2 }, NULL },
        { { .index = 2, .size = 16384, .flags = map, .areas = regs, .nareas = 2 },
          "BAR 2: register A lies in the mappable area 0x3000-0x3fff" },
        { { .index = 2, .size = 16384, .flags = map, .areas = regs, .nareas = 1 }, NULL },
        { { .index = 2, .size = 16384, .flags = map }, "BAR 2: register A lies in the mappable area 0x0-0x3fff" },
    };
    const struct vfu_reg reg = R("A", 0x3ffc, 4, 0);
    struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = &reg, .nregs = 1 };
    const uint64_t sizes[REGMAP_REGIONS] = { [2] = 16384 };
    struct regmap *regmap;

    (void)state;
    assert_int_equal(regmap_new(&regmap, "test", &desc, sizes), 0);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        int fd = memfd_create("log", 0), saved = dup(2), err;
        struct region region;
        char text[1024];
        ssize_t n;

        dup2(fd, 2);
        err = region_init(&region, "test", &cases[i].bar, regmap);
        dup2(saved, 2);
        n = pread(fd, text, sizeof text - 1, 0);
        text[n < 0 ? 0 : n] = 0;
        close(fd);
        close(saved);
        assert_int_equal(err, cases[i].words ? -EINVAL : 0);
        if (cases[i].words ? !strstr(text, cases[i].words) : *text)
            fail_msg("\"%s\" is not what \"%s\" says", cases[i].words ? cases[i].words : "", text);
        if (!err)
            region_fini(&region);
    }
    regmap_free(regmap);
}

static void test_no_memory(void **state)
{
    const struct vfu_bar bar = { .index = 0, .type = VFU_BAR_MEM64, .size = UINT64_C(1) << 62, .flags = VFU_BAR_RAM };
    int null = open("/dev/null", O_WRONLY), saved = dup(2);
    struct region region;

    (void)state;
    dup2(null, 2);
    assert_int_equal(region_init(&region, "test", &bar, NULL), -ENOMEM);
    assert_int_equal(region_init_rom(&region, "test", (const uint8_t *)"", 0), -EINVAL);
    assert_int_equal(region_init_rom(&region, "test", NULL, 5), -EINVAL);
    assert_int_equal(region_init_rom(&region, "test", (const uint8_t *)"", (16 << 20) + 1), -EINVAL);
    dup2(saved, 2);
    close(saved);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),         cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_error),             cmocka_unit_test(test_long_registers),
        cmocka_unit_test(test_memory),            cmocka_unit_test(test_memory_and_registers),
        cmocka_unit_test(test_mappable),          cmocka_unit_test(test_rom),
        cmocka_unit_test(test_raw),               cmocka_unit_test(test_raw_and_registers),
        cmocka_unit_test(test_big_endian),        cmocka_unit_test(test_window),
        cmocka_unit_test(test_window_and_memory), cmocka_unit_test(test_random),
        cmocka_unit_test(test_inline_memory),     cmocka_unit_test(test_no_inline_memory),
        cmocka_unit_test(test_refused),           cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
